"""Whole training steps as programs against the tape."""

from __future__ import annotations

import copy
import warnings
from typing import Any

import numpy as np
import pytest

import fastconv as fc
import fastconv.functional as F
from fastconv import nn
from fastconv.optim.optimizer import MASTER
from fastconv.program import TrainingStep
from fastconv.train import Trainer

from .nets import NETS, SIZE

OPTIMIZERS: dict[str, Any] = {
    "sgd": lambda p: fc.optim.SGD(p, lr=0.05),
    "momentum": lambda p: fc.optim.SGD(p, lr=0.02, momentum=0.9, weight_decay=1e-3),
    "dampened": lambda p: fc.optim.SGD(p, lr=0.05, momentum=0.9, dampening=0.5),
    "nesterov": lambda p: fc.optim.SGD(p, lr=0.02, momentum=0.9, nesterov=True),
    "maximize": lambda p: fc.optim.SGD(p, lr=1e-3, maximize=True),
    "adam": lambda p: fc.optim.Adam(p, lr=1e-3, weight_decay=1e-2),
    "adamw": lambda p: fc.optim.AdamW(p, lr=1e-3),
    "rmsprop": lambda p: fc.optim.RMSprop(p, lr=1e-4),
    "centered": lambda p: fc.optim.RMSprop(p, lr=1e-4, centered=True, momentum=0.5),
}


def loss_of(output: Any, labels: Any) -> Any:
    if isinstance(output, tuple):
        return F.cross_entropy(output[0], labels) + F.cross_entropy(output[1], labels) * 0.3
    return F.cross_entropy(output, labels)


def batch(n: int = 6, seed: int = 0, dtype: str = "float32") -> tuple[Any, Any]:
    rng = np.random.default_rng(seed)
    return rng.standard_normal((n, 3, SIZE, SIZE)).astype(dtype), rng.integers(0, 10, n)


def eager_step(net: Any, loss: Any, optimizer: Any, x: Any, labels: Any) -> float:
    optimizer.zero_grad()
    value = loss(net(fc.tensor(x)), labels)
    value.backward()
    optimizer.step()
    return float(value.item())


def compare(
    net: Any, make: Any, loss: Any = loss_of, steps: int = 6, dtype: str = "float32"
) -> None:
    """Losses and weights of a few steps on batches of two sizes, compiled and not."""
    twin = copy.deepcopy(net)
    optimizer, other = make(net.parameters()), make(twin.parameters())
    step = TrainingStep(net, loss, optimizer)
    exact = dtype == "float64"
    for i in range(steps):
        x, labels = batch(6 if i % 3 else 4, i, dtype)
        fc.manual_seed(i)
        got, output = step(x, labels)
        fc.manual_seed(i)
        expected = eager_step(twin, loss, other, x, labels)
        assert got == pytest.approx(expected, rel=1e-11 if exact else 1e-3)
        first = output[0] if isinstance(output, tuple) else output
        assert first.shape == (len(x), 10)
    for name, value in net.state_dict().items():
        a, b = np.asarray(value), np.asarray(twin.state_dict()[name])
        if a.dtype.kind == "i":
            np.testing.assert_array_equal(a, b, name)
            continue
        scale = np.abs(b).max() + 1e-3
        assert np.abs(a - b).max() <= (1e-9 if exact else 2e-3) * scale, name
    mine, theirs = optimizer.state_dict()["state"], other.state_dict()["state"]
    assert {k: set(v) for k, v in mine.items()} == {k: set(v) for k, v in theirs.items()}
    if exact:
        for key, values in mine.items():
            for name, value in values.items():
                np.testing.assert_allclose(value, theirs[key][name], rtol=1e-7, atol=1e-12)


@pytest.mark.parametrize("name", NETS)
def test_equals_the_tape(name: str) -> None:
    fc.manual_seed(3)
    compare(NETS[name](), OPTIMIZERS["momentum"])


@pytest.mark.parametrize("name", ["basic", "bottleneck", "densenet", "mobile"])
def test_equals_the_tape_in_float64(name: str) -> None:
    fc.manual_seed(3)
    compare(NETS[name]().to("float64"), OPTIMIZERS["momentum"], dtype="float64")


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_every_optimizer(name: str) -> None:
    fc.manual_seed(4)
    compare(NETS["vgg"]().to("float64"), OPTIMIZERS[name], dtype="float64")


def test_groups_frozen_and_shared_parameters() -> None:
    fc.manual_seed(5)
    net = NETS["vgg"]().to("float64")
    next(net.parameters()).requires_grad = False

    def make(parameters: Any) -> Any:
        found = list(parameters)
        return fc.optim.SGD(
            [{"params": found[:3]}, {"params": found[3:], "lr": 0.001}], lr=0.01, momentum=0.9
        )

    compare(net, make, dtype="float64")


class Tied(nn.Module):
    """A parameter that is used twice, once through views of it."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 3, 3, padding=1)
        self.fc = nn.Linear(3, 10)

    def forward(self, x: Any) -> Any:
        y = F.tanh(self.conv(F.tanh(self.conv(x))))
        turned = F.permute(self.conv.weight, (1, 0, 2, 3))
        y = F.conv2d(y, turned) + y.mean() * F.sum(self.conv.weight)
        return self.fc(F.mean(y, (2, 3)))


def test_tied_weights() -> None:
    fc.manual_seed(6)
    compare(Tied().to("float64"), OPTIMIZERS["momentum"], dtype="float64")


@pytest.mark.parametrize(
    "loss",
    [
        nn.CrossEntropyLoss(label_smoothing=0.1),
        lambda o, t: F.cross_entropy(o, t, weight=np.arange(1.0, 11.0)),
        lambda o, t: F.cross_entropy(o, t, reduction="sum"),
        lambda o, t: F.cross_entropy(o, t, reduction="none").mean(),
    ],
)
def test_losses(loss: Any) -> None:
    fc.manual_seed(7)
    compare(NETS["vgg"]().to("float64"), OPTIMIZERS["sgd"], loss, dtype="float64")


def test_regression() -> None:
    fc.manual_seed(8)
    net, x = NETS["alexnet"]().to("float64"), batch(5, dtype="float64")[0]
    twin = copy.deepcopy(net)
    target = np.random.default_rng(1).standard_normal((5, 10))
    for loss in (F.mse_loss, F.l1_loss, F.huber_loss):
        step = TrainingStep(net, loss, fc.optim.SGD(net.parameters(), lr=0.01))
        other = fc.optim.SGD(twin.parameters(), lr=0.01)
        for _ in range(3):
            expected = eager_step(twin, loss, other, x, target)
            assert step(x, target)[0] == pytest.approx(expected, rel=1e-10)


def test_class_weights_are_read_where_they_are() -> None:
    fc.manual_seed(9)
    net = NETS["vgg"]().eval()
    weight = np.ones(10, np.float32)
    step = TrainingStep(
        net,
        lambda o, t: F.cross_entropy(o, t, weight=weight, reduction="sum"),
        fc.optim.SGD(net.parameters(), lr=0.0),
    )
    x, labels = batch()
    first = step(x, labels)[0]
    weight *= 2
    assert step(x, labels)[0] == pytest.approx(2 * first, rel=1e-6)


def test_learning_rate_is_an_input() -> None:
    fc.manual_seed(10)
    net = NETS["vgg"]()
    optimizer = fc.optim.SGD(net.parameters(), lr=0.0)
    step = TrainingStep(net, loss_of, optimizer)
    x, labels = batch()
    step(x, labels)
    plan = step.plan(x, labels)
    before = next(net.parameters()).numpy().copy()
    np.testing.assert_array_equal(next(net.parameters()).numpy(), before)
    optimizer.param_groups[0]["lr"] = 0.1
    step(x, labels)
    assert step.plan(x, labels) is plan
    assert np.abs(next(net.parameters()).numpy() - before).max() > 0
    optimizer.param_groups[0]["weight_decay"] = 0.1
    assert step.plan(x, labels) is not plan


@pytest.mark.parametrize("name", ["momentum", "nesterov", "adamw", "centered"])
def test_what_schedules_cycle_is_an_input(name: str) -> None:
    """A cycle of learning rate and momentum is one recorded step, and the numbers are the tape's."""
    fc.manual_seed(10)
    net = NETS["vgg"]().to("float64")
    twin = copy.deepcopy(net)
    optimizers = [OPTIMIZERS[name](n.parameters()) for n in (net, twin)]
    schedules = [fc.optim.OneCycleLR(o, max_lr=0.02, total_steps=8) for o in optimizers]
    step = TrainingStep(net, loss_of, optimizers[0])
    x, labels = batch(dtype="float64")
    plans, cycled = [], set()
    for i in range(8):
        fc.manual_seed(i)  # dropout
        value = step(x, labels)[0]
        plans.append(step.plan(x, labels))
        group = optimizers[0].param_groups[0]
        cycled.add(group.get("momentum", group.get("betas")))
        fc.manual_seed(i)
        expected = eager_step(twin, loss_of, optimizers[1], x, labels)
        assert value == pytest.approx(expected, rel=1e-9)
        for schedule in schedules:
            schedule.step()
    assert len(cycled) > 5 and all(plan is plans[0] for plan in plans)
    for ours, theirs in zip(net.parameters(), twin.parameters(), strict=True):
        np.testing.assert_allclose(ours.numpy(), theirs.numpy(), rtol=1e-6, atol=1e-9)
    if name != "adamw":  # without momentum there is another rule
        optimizers[0].param_groups[0]["momentum"] = 0.0
        assert step.plan(x, labels) is not plans[0]


def test_replaced_parameters_are_noticed() -> None:
    fc.manual_seed(11)
    net = NETS["vgg"]()
    optimizer = fc.optim.SGD(net.parameters(), lr=0.1, momentum=0.9)
    step = TrainingStep(net, loss_of, optimizer)
    x, labels = batch()
    step(x, labels)
    saved = copy.deepcopy(optimizer.state_dict())
    optimizer.load_state_dict(saved)  # new arrays
    step(x, labels)
    param = next(net.parameters())
    param._array = param.numpy().copy()
    before = param.numpy().copy()
    step(x, labels)
    assert np.abs(param.numpy() - before).max() > 0


@pytest.mark.parametrize("optimizer", ["momentum", "adam"])
def test_a_loss_that_is_no_number_changes_no_weight(optimizer: str) -> None:
    fc.manual_seed(12)
    net = NETS["vgg"]()
    made = OPTIMIZERS[optimizer](net.parameters())
    step = TrainingStep(net, loss_of, made)
    x, labels = batch()
    step(x, labels)
    before = copy.deepcopy((net.state_dict(), made.state_dict()["state"]))
    x[0, 0, 0, 0] = np.nan
    assert np.isnan(step(x, labels)[0])
    after = (net.state_dict(), made.state_dict()["state"])
    np.testing.assert_equal(
        [np.asarray(v) for v in after[0].values()], [np.asarray(v) for v in before[0].values()]
    )
    np.testing.assert_equal(after[1], before[1])
    x[0, 0, 0, 0] = 0
    assert np.isfinite(step(x, labels)[0])


def test_bad_labels() -> None:
    net = NETS["vgg"]()
    step = TrainingStep(net, loss_of, fc.optim.SGD(net.parameters(), lr=0.1))
    x, labels = batch()
    with pytest.raises(fc.ShapeError, match="label"):
        step(x, labels + 100)
    with pytest.raises(fc.ShapeError, match="target"):
        step(x, labels[:3])
    assert np.isfinite(step(x, labels)[0])


# The trainer.


class Branches(nn.Module):
    """What runs depends on the values."""

    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(3 * SIZE * SIZE, 10)

    def forward(self, x: Any) -> Any:
        y = self.fc(F.flatten(x, 1))
        return y * 2.0 if y.numpy().max() > 0 else y


def test_trainer_falls_back_with_one_warning() -> None:
    net = Branches()
    trainer = Trainer(net, loss_of, fc.optim.SGD(net.parameters(), lr=0.01))
    with pytest.warns(UserWarning, match="run function by function"):
        first = trainer.step(*batch())
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert trainer.step(*batch()) < first
    assert trainer.global_step == 2


@pytest.mark.parametrize("how", ["hook", "step", "class"])
def test_python_that_would_not_run_is_noticed(how: str) -> None:
    net = NETS["vgg"]()
    optimizer: Any = fc.optim.SGD(net.parameters(), lr=0.01)
    calls = []
    if how == "hook":
        net.register_forward_hook(lambda *a: calls.append(1))
    elif how == "step":
        original = optimizer.step
        optimizer.step = lambda: (calls.append(1), original())
    else:

        class Mine(fc.optim.SGD):
            def step(self, closure: Any = None) -> Any:
                calls.append(1)
                return super().step(closure)

        optimizer = Mine(net.parameters(), lr=0.01)
    trainer = Trainer(net, loss_of, optimizer)
    with pytest.warns(UserWarning, match="cannot be recorded"):
        trainer.step(*batch())
    trainer.step(*batch())
    assert len(calls) == 2


@pytest.mark.parametrize("name", ["basic", "googlenet"])
def test_trainer_agrees_with_the_tape(name: str) -> None:
    losses = []
    for compiled in (True, False):
        fc.manual_seed(13)
        net = NETS[name]()
        trainer = Trainer(
            net, loss_of, fc.optim.SGD(net.parameters(), lr=0.02, momentum=0.9), compile=compiled
        )
        losses.append([trainer.step(*batch(seed=i)) for i in range(20)])
    np.testing.assert_allclose(losses[0], losses[1], rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("max_norm", [0.1, 1e9])
def test_clipped_gradients(max_norm: float) -> None:
    nets = []
    for compiled in (True, False):
        fc.manual_seed(14)
        net = NETS["alexnet"]().to("float64")
        trainer = Trainer(
            net,
            loss_of,
            fc.optim.SGD(net.parameters(), lr=0.1, momentum=0.9),
            dtype="float64",
            clip_grad_norm=max_norm,
            compile=compiled,
        )
        for i in range(3):
            trainer.step(*batch(seed=i, dtype="float64"))
        nets.append(net)
    for a, b in zip(*(n.state_dict().values() for n in nets), strict=True):
        np.testing.assert_allclose(np.asarray(a), np.asarray(b), rtol=1e-8, atol=1e-12)


def test_bad_clip() -> None:
    net = NETS["vgg"]()
    with pytest.raises(fc.ShapeError, match="clip_grad_norm must be at least 0"):
        Trainer(net, loss_of, fc.optim.SGD(net.parameters(), lr=0.1), clip_grad_norm=-1.0)


def test_the_loss_may_be_replaced() -> None:
    net = NETS["vgg"]().eval()
    trainer = Trainer(net, loss_of, fc.optim.SGD(net.parameters(), lr=0.0))
    x, labels = batch()
    trainer.step(x, labels)
    trainer.loss = lambda o, t: loss_of(o, t) * 0.0
    assert trainer.step(x, labels) == 0


# Pieces of a batch, and less memory.


def plain(classes: int = 10) -> nn.Module:
    """Nothing in it looks at a whole batch."""
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, 2, 1), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(8, 12, 3), nn.Tanh(),
        nn.Flatten(), nn.Linear(48, classes),
    )  # fmt: skip


@pytest.mark.parametrize("compiled", [False, True])
@pytest.mark.parametrize("pieces", [2, 3, 100])
@pytest.mark.parametrize("clip", [None, 0.05])
def test_pieces_add_up_to_the_batch(compiled: bool, pieces: int, clip: float | None) -> None:
    fc.manual_seed(0)
    net = plain().to("float64")
    twin = copy.deepcopy(net)
    trainers = [
        Trainer(
            n, loss_of, OPTIMIZERS["momentum"](n.parameters()), dtype="float64",
            compile=compiled, accumulate=k, clip_grad_norm=clip,
        )
        for n, k in ((net, pieces), (twin, 1))
    ]  # fmt: skip
    for i in range(4):
        x, labels = batch(7 if i % 2 else 5, i, "float64")
        got, expected = (t.step(x, labels) for t in trainers)
        assert got == pytest.approx(expected, rel=1e-12)
    for a, b in zip(net.parameters(), twin.parameters(), strict=True):
        np.testing.assert_allclose(a.numpy(), b.numpy(), rtol=1e-10, atol=1e-13)
    assert (trainers[0]._program is not None) == compiled


@pytest.mark.parametrize("name", ["basic", "googlenet"])
def test_pieces_compiled_and_not(name: str) -> None:
    """With batch-norm, dropout and several outputs: pieces see the same either way."""
    fc.manual_seed(0)
    net = NETS[name]().to("float64")
    twin = copy.deepcopy(net)
    losses: list[list[float]] = []
    for n, compiled in ((net, True), (twin, False)):
        optimizer = OPTIMIZERS["adam"](n.parameters())
        trainer = Trainer(n, loss_of, optimizer, dtype="float64", compile=compiled, accumulate=2)
        fc.manual_seed(1)
        losses.append([trainer.step(*batch(5, i, "float64")) for i in range(3)])
        assert (trainer._program is not None) == compiled
    np.testing.assert_allclose(losses[0], losses[1], rtol=1e-9)
    if name == "basic":
        for key, value in net.state_dict().items():
            np.testing.assert_allclose(value, twin.state_dict()[key], rtol=1e-7, atol=1e-10)


def test_pieces_give_the_whole_output() -> None:
    net = plain()
    step = TrainingStep(net, loss_of, OPTIMIZERS["sgd"](net.parameters()), accumulate=3)
    _, output = step(*batch(7))
    assert output.shape == (7, 10)
    assert (
        len(step.plan(*batch(7)).dump().split("return ")) == 4
    )  # 3, 2 (the same size), 2 and the update


def test_a_piece_that_is_not_finite_leaves_nothing_behind() -> None:
    fc.manual_seed(0)
    net = plain()
    trainer = Trainer(net, loss_of, OPTIMIZERS["sgd"](net.parameters()), accumulate=3)
    x, labels = batch(6)
    trainer.step(x, labels)
    before = {k: np.array(v) for k, v in net.state_dict().items()}
    bad = x.copy()
    bad[4] = np.inf
    with pytest.raises(fc.FastconvError, match="the loss is"):
        trainer.step(bad, labels)
    for key, value in net.state_dict().items():
        np.testing.assert_array_equal(value, before[key])
    assert trainer._program is not None and trainer._program._sums
    assert all(not total.any() for total in trainer._program._sums.values())
    twin = copy.deepcopy(net)
    other = Trainer(twin, loss_of, OPTIMIZERS["sgd"](twin.parameters()), accumulate=3)
    assert trainer.step(x, labels) == other.step(x, labels)


@pytest.mark.parametrize("compiled", [False, True])
def test_an_exception_in_a_piece_leaves_nothing_behind(compiled: bool) -> None:
    fc.manual_seed(0)
    net = plain()
    twin = copy.deepcopy(net)
    x, labels = batch(6)
    bad = labels.copy()
    bad[4] = 99
    values = []
    for n, first in ((net, bad), (twin, None)):
        optimizer = OPTIMIZERS["sgd"](n.parameters())
        trainer = Trainer(n, loss_of, optimizer, accumulate=2, compile=compiled)
        if first is not None:
            with pytest.raises(fc.ShapeError, match="99"):
                trainer.step(x, first)
        values.append([trainer.step(x, labels), trainer.step(x, labels)])
        assert (trainer._program is not None) == compiled
    assert values[0] == values[1]


@pytest.mark.parametrize("compiled", [False, True])
@pytest.mark.parametrize("labels", [3, np.zeros(5, np.int64), (np.zeros(8), np.zeros(5)), None, {}])
def test_pieces_want_a_label_for_each_image(compiled: bool, labels: Any) -> None:
    net = plain()
    optimizer = OPTIMIZERS["sgd"](net.parameters())
    trainer = Trainer(net, loss_of, optimizer, accumulate=2, compile=compiled)
    with pytest.raises(fc.FastconvError, match="labels"):
        trainer.step(batch(8)[0], labels)
    step = TrainingStep(net, loss_of, optimizer, accumulate=2)
    for _ in range(2):
        with pytest.raises(fc.FastconvError, match="labels"):
            step(batch(8)[0], labels)
        step(*batch(8))


def test_pieces_with_frozen_foreign_and_bfloat16_parameters() -> None:
    """The joint norm is that of all gradients; masters add up in float32."""
    pytest.importorskip("ml_dtypes")
    for narrow in (False, True):
        updates = []
        for pieces in (1, 4):
            fc.manual_seed(0)
            net = plain()
            if narrow:
                net.bfloat16()
            parameters = list(net.parameters())
            parameters[2].requires_grad = False
            before = parameters[-2].numpy().astype(np.float32)
            optimizer = fc.optim.SGD(parameters[-2:], lr=0.5)
            step = TrainingStep(net, loss_of, optimizer, 0.05, accumulate=pieces)
            x, labels = batch(8)
            step(x.astype(parameters[0].dtype), labels)
            now = optimizer.state[parameters[-2]][MASTER] if narrow else parameters[-2].numpy()
            updates.append(now - before)
        scale = np.abs(updates[0]).max()
        assert np.abs(updates[0] - updates[1]).max() < (0.02 if narrow else 1e-4) * scale


@pytest.mark.parametrize("bad", [0, -1, 1.5, True, "2"])
def test_pieces_must_be_a_number(bad: Any) -> None:
    net = plain()
    with pytest.raises(fc.ShapeError, match="Trainer: accumulate must be an integer"):
        Trainer(net, loss_of, OPTIMIZERS["sgd"](net.parameters()), accumulate=bad)
    with pytest.raises(fc.ShapeError, match="TrainingStep: accumulate must be"):
        TrainingStep(net, loss_of, OPTIMIZERS["sgd"](net.parameters()), accumulate=bad)


@pytest.mark.parametrize("name", NETS)
def test_recomputing_changes_no_bit(name: str) -> None:
    fc.manual_seed(0)
    net = NETS[name]()
    twin = copy.deepcopy(net)
    losses = []
    for n, recompute in ((net, False), (twin, True)):
        trainer = Trainer(n, loss_of, OPTIMIZERS["momentum"](n.parameters()), recompute=recompute)
        fc.manual_seed(1)
        losses.append([trainer.step(*batch(6, i)) for i in range(3)])
        assert trainer._program is not None
    assert losses[0] == losses[1]
    for key, value in net.state_dict().items():
        np.testing.assert_array_equal(value, twin.state_dict()[key], key)


@pytest.mark.parametrize("name", ["basic", "densenet"])
def test_recomputing_takes_less_memory(name: str) -> None:
    net = NETS[name]()
    arenas = []
    for recompute in (False, True):
        optimizer = OPTIMIZERS["sgd"](net.parameters())
        step = TrainingStep(net, loss_of, optimizer, recompute=recompute)
        plan: Any = step.plan(*batch(16))
        arenas.append(plan.native.memory()["arena"])
        if recompute:
            before, after = plan.dump("fuse_batch_norm_load"), plan.dump("recompute")
            assert after.count("batch_norm_apply") > before.count("batch_norm_apply")
    assert arenas[1] < 0.92 * arenas[0]


@pytest.mark.parametrize("accumulate", [1, 4])
@pytest.mark.parametrize(("name", "optimizer"), [("basic", "momentum"), ("alexnet", "adam")])
def test_a_profile_changes_nothing(name: str, optimizer: str, accumulate: int) -> None:
    """The steps after a profile are those without one, to the bit: dropout's numbers too."""
    net = NETS[name]()
    losses, nets = [], []
    for profiled in (False, True):
        own = copy.deepcopy(net)
        fc.manual_seed(0)
        optimizer_of = OPTIMIZERS[optimizer]
        trainer = Trainer(own, loss_of, optimizer_of(own.parameters()), accumulate=accumulate)
        losses.append([])
        for i in range(3):
            losses[-1].append(trainer.step(*batch(6, i)))
            if profiled:
                profile = trainer.profile(*batch(6, 7), runs=2, limits=False)
                kinds = {step["op"] for step in profile.steps}
                assert {"conv2d", "conv2d_weight", "cross_entropy"} <= kinds
        nets.append(own)
    assert losses[0] == losses[1]
    for key, value in nets[0].state_dict().items():
        np.testing.assert_array_equal(value, nets[1].state_dict()[key], key)


def test_a_profile_leaves_the_mode() -> None:
    net = NETS["basic"]().eval()
    Trainer(net, loss_of, OPTIMIZERS["sgd"](net.parameters())).profile(
        *batch(), runs=1, limits=False
    )
    assert not any(module.training for module in net.modules())


@pytest.mark.parametrize("runs", [0, -1, 1.5, 10**12])
def test_a_profile_wants_runs(runs: Any) -> None:
    net = NETS["basic"]()
    trainer = Trainer(net, loss_of, OPTIMIZERS["sgd"](net.parameters()))
    with pytest.raises(fc.FastconvError, match=r"^profile: runs"):
        trainer.profile(*batch(), runs=runs, limits=False)


def test_a_profile_wants_a_program() -> None:
    net = NETS["basic"]()
    trainer = Trainer(net, loss_of, OPTIMIZERS["sgd"](net.parameters()), compile=False)
    with pytest.raises(fc.errors.CaptureError, match="function by function"):
        trainer.profile(*batch())
