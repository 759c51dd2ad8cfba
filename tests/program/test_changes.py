"""What happens to programs when the world around them changes, and to the world when a recording fails."""

from __future__ import annotations

import copy
import threading
import warnings
from typing import Any

import numpy as np
import pytest

import fastconv as fc
import fastconv.functional as F
from fastconv import nn
from fastconv.program import TrainingStep
from fastconv.train import Trainer

from .nets import NETS, SIZE
from .test_program import eager, randn, relative
from .test_training_step import batch, eager_step, loss_of


def sgd(net: Any, **options: Any) -> Any:
    return fc.optim.SGD(net.parameters(), **{"lr": 0.05, "momentum": 0.9, **options})


def arrays(net: Any) -> list[Any]:
    return [np.asarray(v).copy() for v in net.state_dict().values()]


def test_fewer_threads_than_planned_for() -> None:
    """Winograd may need more scratch memory with fewer workers."""
    net = nn.Sequential(nn.Conv2d(512, 512, 3, padding=1), nn.Conv2d(512, 512, 3, padding=1)).eval()
    x = randn(6, 512, 14, 14)
    before = fc.get_num_threads()
    try:
        fc.set_num_threads(2)
        prog = fc.compile(net, x)
        plan = prog._plan((x,))
        expected = plan.run((x,))
        fc.set_num_threads(1)
        np.testing.assert_array_equal(plan.run((x,)), expected)
    finally:
        fc.set_num_threads(before)


def test_precision_changes_between_plans() -> None:
    pytest.importorskip("ml_dtypes")
    net = nn.Conv2d(64, 64, 3, padding=1).eval()
    x = randn(1, 64, 28, 28)
    prog = fc.compile(net, x, dtype="bfloat16")
    try:
        for precision in ("high", "highest", "high"):
            fc.set_precision(precision)
            assert relative(prog(x), eager(net, x)) < 2e-2
    finally:
        fc.set_precision("high")


# A step that was recorded, and then something is changed.


def freeze(net: Any) -> None:
    for p in net.fc.parameters():
        p.requires_grad = False


def stop_statistics(net: Any) -> None:
    net.bn1.eval()


def slow_statistics(net: Any) -> None:
    net.bn1.momentum = 0.5


@pytest.mark.parametrize("change", [freeze, stop_statistics, slow_statistics])
def test_changes_are_followed(change: Any) -> None:
    fc.manual_seed(1)
    net = NETS["basic"]().to("float64")
    twin = copy.deepcopy(net)
    step, other = TrainingStep(net, loss_of, sgd(net)), sgd(twin)
    for i in range(4):
        if i == 2:
            change(net)
            change(twin)
        x, labels = batch(seed=i, dtype="float64")
        expected = eager_step(twin, loss_of, other, x, labels)
        assert step(x, labels)[0] == pytest.approx(expected, rel=1e-10)
    for a, b in zip(arrays(net), arrays(twin), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-8, atol=1e-12)


def test_a_hook_that_comes_later_is_called() -> None:
    net = NETS["vgg"]()
    trainer = Trainer(net, loss_of, sgd(net))
    trainer.step(*batch())
    calls: list[int] = []
    net.register_forward_hook(lambda *a: calls.append(1))
    with pytest.warns(UserWarning, match="forward hook"):
        trainer.step(*batch())
    trainer.step(*batch())
    assert len(calls) == 2


@pytest.mark.parametrize("dampening", [0.0, 0.5])
def test_momentum_goes_on_with_other_batch_sizes(dampening: float) -> None:
    fc.manual_seed(2)
    net = NETS["alexnet"]().to("float64")
    twin = copy.deepcopy(net)
    optimizer, other = sgd(net, dampening=dampening), sgd(twin, dampening=dampening)
    step = TrainingStep(net, loss_of, optimizer)
    step.plan(*batch(6, dtype="float64"))  # planned before anything ran: no state is made
    assert not optimizer.state_dict()["state"]
    for i, n in enumerate((4, 4, 6, 4, 6, 5)):
        x, labels = batch(n, i, "float64")
        expected = eager_step(twin, loss_of, other, x, labels)
        assert step(x, labels)[0] == pytest.approx(expected, rel=1e-10)
    eager_step(net, loss_of, optimizer, x, labels)
    eager_step(twin, loss_of, other, x, labels)
    step(x, labels)
    eager_step(twin, loss_of, other, x, labels)
    for a, b in zip(arrays(net), arrays(twin), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-8, atol=1e-12)


def test_parameters_that_are_not_equally_far() -> None:
    fc.manual_seed(3)
    net = NETS["vgg"]()
    last = list(net.parameters())[-1]
    last.requires_grad = False
    trainer = Trainer(net, loss_of, fc.optim.Adam(net.parameters(), lr=1e-3))
    trainer.step(*batch())
    last.requires_grad = True
    with pytest.warns(UserWarning, match="different numbers of steps"):
        trainer.step(*batch())
    trainer.step(*batch())
    assert trainer.optimizer.state[last]["step"] == 2


# Losses and labels as they are function by function.


def test_labels_used_with_numpy() -> None:
    def loss(output: Any, labels: Any) -> Any:
        weight = np.where(labels == 0, 10.0, 1.0).astype(np.float32)
        return F.mean(F.cross_entropy(output, labels, reduction="none") * weight)

    values = []
    for compiled in (True, False):
        fc.manual_seed(4)
        net = NETS["alexnet"]()
        trainer = Trainer(net, loss, sgd(net), compile=compiled)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            values.append(trainer.step(batch()[0], np.array([0, 1, 2, 0, 4, 5])))
    assert values[0] == values[1]


def test_labels_of_other_kinds() -> None:
    def loss(output: Any, labels: Any) -> Any:
        a, b, share = labels
        return F.cross_entropy(output, a) * share + F.cross_entropy(output, b) * (1 - share)

    net = NETS["alexnet"]()
    trainer = Trainer(net, loss, sgd(net))
    x, labels = batch()
    with pytest.warns(UserWarning, match="cannot be recorded"):
        assert np.isfinite(trainer.step(x, (labels, labels[::-1].copy(), 0.3)))


def test_an_error_of_the_user_is_raised_and_nothing_else_changes() -> None:
    net = NETS["alexnet"]()
    trainer = Trainer(net, loss_of, sgd(net))
    x, labels = batch()
    with pytest.raises(fc.ShapeError, match="conv2d"):
        trainer.step(x[:, :2], labels)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert np.isfinite(trainer.step(x, labels))
    assert trainer._program is not None


def test_class_weights_in_a_view() -> None:
    """What cannot be read where it is runs function by function."""
    weight = np.ones(10, np.float32)

    def loss(output: Any, labels: Any) -> Any:
        return F.binary_cross_entropy_with_logits(output, target, pos_weight=weight)

    target = np.ones((6, 10), np.float32)
    net = NETS["alexnet"]()
    trainer = Trainer(net, loss, sgd(net, lr=0.0))
    x, labels = batch()
    with pytest.warns(UserWarning, match="cannot be followed"):
        first = trainer.step(x, labels)
    weight *= 2
    assert trainer.step(x, labels) == pytest.approx(2 * first, rel=1e-5)


def test_output_at_a_loss_that_is_no_number() -> None:
    net = nn.Sequential(nn.Conv2d(3, 24, 1), nn.Conv2d(24, 4, 1))
    step = TrainingStep(net, lambda y, t: F.mean(y) * np.float32(np.inf).item(), sgd(net))
    x = randn(2, 3, 5, 5)
    value, output = step(x, np.zeros(2, np.int64))
    assert not np.isfinite(value)
    np.testing.assert_allclose(output, np.asarray(net(x)), rtol=1e-5, atol=1e-5)


# Networks that keep things, and other threads.


class Keeps(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(3 * SIZE * SIZE, 10)
        self.mean: Any = None

    def forward(self, x: Any) -> Any:
        y = self.fc(F.flatten(x, 1))
        m = F.mean(y.detach() * y.detach())
        self.mean = m if self.mean is None else self.mean * 0.9 + m * 0.1
        return y


def test_a_network_that_changes_itself() -> None:
    net = Keeps()
    trainer = Trainer(net, loss_of, sgd(net, lr=0.001))
    with pytest.warns(UserWarning, match="changes its attributes"):
        trainer.step(*batch())
    first = float(net.mean)
    trainer.step(*batch())
    assert np.isfinite(first) and float(net.mean) != first
    # A program works on its own copy.
    net = net.eval()
    prog = fc.compile(net, batch()[0])
    before = float(net.mean)
    prog(batch()[0])
    assert float(net.mean) == before


def test_a_program_inside_a_network() -> None:
    backbone = fc.compile(
        nn.Sequential(nn.Conv2d(3, 4, 3), nn.Flatten()).eval(), randn(1, 3, SIZE, SIZE)
    )

    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.fc = nn.Linear(4 * (SIZE - 2) ** 2, 10)

        def forward(self, x: Any) -> Any:
            return self.fc(fc.tensor(backbone(x)))

    net = Net()
    trainer = Trainer(net, loss_of, sgd(net, lr=0.001))
    with pytest.warns(UserWarning, match="inside another"):
        assert np.isfinite(trainer.step(*batch()))


def test_compiling_in_several_threads_while_the_network_runs() -> None:
    net = NETS["vgg"]().eval()
    x = randn(2, 3, SIZE, SIZE)
    expected = eager(net, x)
    failed: list[BaseException] = []

    def work(i: int) -> None:
        try:
            for _ in range(5):
                got = fc.compile(net, x)(x) if i % 2 else eager(net, x)
                assert relative(got, expected) < 1e-4
        except BaseException as error:
            failed.append(error)

    workers = [threading.Thread(target=work, args=(i,)) for i in range(4)]
    for w in workers:
        w.start()
    for w in workers:
        w.join()
    assert not failed


# Inference.


def test_the_network_may_go_back_to_training() -> None:
    net = NETS["mobile"]().eval()
    x = randn(4, 3, SIZE, SIZE)
    prog = fc.compile(net, x)
    expected = eager(net, x)
    net.train()
    np.testing.assert_allclose(prog(x[:2]), expected[:2], rtol=1e-4, atol=1e-5)
    with pytest.raises(fc.CaptureError, match=r"call net\.eval"):
        prog.refresh()


def test_dropout_that_is_always_on() -> None:
    class Net(nn.Module):
        def forward(self, x: Any) -> Any:
            return F.dropout(x, 0.5, True)

    x = np.ones((8, 100), np.float32)
    prog = fc.compile(Net().eval(), x)
    fc.manual_seed(5)
    first, second = prog(x), prog(x)
    assert set(np.unique(first)) == {0.0, 2.0} and not np.array_equal(first, second)
    fc.manual_seed(5)
    np.testing.assert_array_equal(prog(x), first)
    assert len(prog.profile(x, runs=1).steps) == 1


def test_refused_when_compiling() -> None:
    net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)).eval()
    net[1].train()
    with pytest.raises(fc.CaptureError, match="batch-norm is in training mode"):
        fc.compile(net, randn(2, 3, 6, 6))
    with pytest.raises(fc.DTypeError, match="not float32"):
        fc.compile(nn.Conv2d(3, 4, 3).to("float64").eval(), randn(1, 3, 5, 5), dtype="float32")
