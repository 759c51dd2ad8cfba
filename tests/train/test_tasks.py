"""Several outputs and losses, weights of classes, soft labels, shared parameters."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import fastconv as fc
from fastconv import functional as F
from fastconv import nn
from fastconv.data import Loader
from fastconv.errors import DTypeError, ShapeError
from fastconv.train import (
    MultiLoss,
    TopK,
    Trainer,
    balanced_weights,
    soft_sharing,
)
from tests.train.helpers import StopAt, arrays_of, small_data, small_loader, without_times

LOSSES: Any = {"quarter": F.cross_entropy, "right": F.cross_entropy, "sum": F.mse_loss}
WEIGHTS = {"right": 0.5, "sum": 0.25}


def targets(labels: Any) -> dict[str, Any]:
    whole = (np.asarray(labels).reshape(-1, 1) / 2).astype(np.float32)
    return {"quarter": labels, "right": labels % 2, "sum": whole}


def two_heads(kind: str = "dict", dtype: str = "float32") -> Any:
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.trunk = nn.Sequential(nn.Conv2d(1, 3, 3), nn.Tanh(), nn.Flatten())
            self.quarter, self.right = nn.Linear(48, 4), nn.Linear(48, 2)
            self.sum = nn.Linear(48, 1)

        def forward(self, x: Any) -> Any:
            x = self.trunk(x)
            found = {"quarter": self.quarter(x), "right": self.right(x), "sum": self.sum(x)}
            return found if kind == "dict" else tuple(found.values())

    return Net().to(dtype)


def task_trainer(kind: str = "dict", **options: Any) -> Trainer:
    fc.manual_seed(2)
    net = two_heads(kind, options.get("dtype", "float32"))
    losses = LOSSES if kind == "dict" else tuple(LOSSES.values())
    weights = WEIGHTS if kind == "dict" else [1.0, 0.5, 0.25]
    make = targets if kind == "dict" else lambda labels: tuple(targets(labels).values())
    optimizer = fc.optim.SGD(net.parameters(), lr=0.05, momentum=0.9)
    return Trainer(net, losses, optimizer, loss_weights=weights, targets=make, **options)


@pytest.mark.parametrize("accumulate", [1, 3])
@pytest.mark.parametrize("kind", ["dict", "tuple"])
def test_compiled_steps_agree_with_the_definition(kind: str, accumulate: int) -> None:
    """Against a twin whose three losses are written out."""
    x, labels = next(iter(small_loader(prefetch=0)))
    one, two = (task_trainer(kind, accumulate=accumulate, compile=c) for c in (True, False))
    fc.manual_seed(2)
    twin = two_heads(kind)
    optimizer = fc.optim.SGD(twin.parameters(), lr=0.05, momentum=0.9)
    for _ in range(4):
        optimizer.zero_grad()
        out = twin(fc.tensor(x))
        a, b, c = out.values() if kind == "dict" else out
        wanted = targets(labels)
        loss = F.cross_entropy(a, labels) + 0.5 * F.cross_entropy(b, wanted["right"])
        loss = loss + 0.25 * F.mse_loss(c, wanted["sum"])
        loss.backward()
        optimizer.step()
        for trainer in (one, two):
            assert trainer.step(x, labels) == pytest.approx(loss.item(), rel=1e-5)
    assert one._program is not None and two._program is None
    for trainer in (one, two):
        for name, array in twin.state_dict().items():
            np.testing.assert_allclose(
                trainer.net.state_dict()[name], array, rtol=2e-4, atol=1e-6, err_msg=name
            )


@pytest.mark.parametrize("compile", [True, False])
def test_history_has_each_task(compile: bool, tmp_path: Path) -> None:
    trainer = task_trainer(
        compile=compile,
        out_dir=tmp_path,
        metrics={"quarter": {"top2": TopK(2)}, "keys": lambda out, y: float(set(out) == set(y))},
    )
    data = small_data(7)
    history = trainer.fit(small_loader(), Loader(data, 7), epochs=4, progress=False)
    last = history[-1]
    assert last["val_keys"] == 1.0
    assert "val_accuracy" not in last and "train_accuracy" not in last
    for part in ("train", "val"):
        parts = [last[f"{part}_{task}_loss"] for task in LOSSES]
        total = parts[0] + 0.5 * parts[1] + 0.25 * parts[2]
        assert last[f"{part}_loss"] == pytest.approx(total, rel=1e-5)
        assert f"{part}_sum_accuracy" not in last
    outputs = trainer.predict(Loader(data, 5))
    assert outputs["quarter"].shape == (44, 4) and outputs["sum"].shape == (44, 1)
    right = outputs["right"].argmax(axis=1) == data.labels % 2
    assert last["val_right_accuracy"] == right.mean()
    assert last["val_quarter_top2"] >= last["val_quarter_accuracy"] > 0.8
    wanted = float(F.mse_loss(outputs["sum"], targets(data.labels)["sum"]))
    assert last["val_sum_loss"] == pytest.approx(wanted, rel=1e-5)


def test_tasks_resume_within_an_epoch(tmp_path: Path) -> None:
    whole = task_trainer()
    whole.fit(small_loader(), small_data(7), epochs=2, progress=False)
    part = task_trainer(callbacks=[StopAt(8)])
    part.fit(small_loader(), small_data(7), epochs=2, progress=False)
    part.save(tmp_path / "c")
    rest = task_trainer()
    rest.load(tmp_path / "c")
    assert set(rest.running.tasks) == set(LOSSES)
    rest.fit(small_loader(), small_data(7), epochs=2, progress=False)
    assert arrays_of(rest) == arrays_of(whole)
    assert without_times(rest.history) == without_times(whole.history)


@pytest.mark.parametrize("dtype", ["float64", "bfloat16"])
def test_other_precisions(dtype: str) -> None:
    fc.manual_seed(2)
    net = two_heads(dtype="float64" if dtype == "float64" else "float32")
    trainer = Trainer(
        net, LOSSES, fc.optim.SGD(net.parameters(), lr=0.05), targets=targets, dtype=dtype
    )
    history = trainer.fit(small_loader(), small_data(), epochs=8, progress=False)
    assert history[-1]["train_loss"] < 0.8 * history[0]["train_loss"]
    assert trainer._program is not None


def gradient_at(function: Any, array: Any, index: tuple[int, ...]) -> float:
    """By central differences, of a float64 array that `function` depends on."""
    before, step = array[index], 1e-5
    values = []
    for sign in (1, -1):
        array[index] = before + sign * step
        values.append(float(function().item()))
    array[index] = before
    return (values[0] - values[1]) / (2 * step)


def test_gradient_of_hard_sharing() -> None:
    """The trunk's gradient is that of the sum of all heads' losses."""
    fc.manual_seed(0)
    net = nn.MultiTask(
        nn.Sequential(nn.Conv2d(1, 2, 3), nn.Tanh(), nn.Flatten()),
        {"quarter": nn.Linear(32, 4), "right": nn.Linear(32, 2)},
    ).to("float64")
    rng = np.random.default_rng(0)
    x, labels = rng.standard_normal((5, 1, 6, 6)), np.arange(5) % 4
    joint = MultiLoss({"quarter": F.cross_entropy, "right": F.cross_entropy}, {"right": 0.3})
    wanted = {"quarter": labels, "right": labels % 2}

    def value() -> Any:
        return joint(net(fc.tensor(x)), wanted)

    value().backward()
    parameters = dict(net.named_parameters())
    assert set(parameters) == {
        f"{part}.{kind}"
        for part in ("trunk.0", "heads.quarter", "heads.right")
        for kind in ("weight", "bias")
    }
    for parameter in parameters.values():
        array = parameter.numpy()
        for index in list(np.ndindex(array.shape))[:: max(1, array.size // 4)]:
            expected = gradient_at(value, array, index)
            assert parameter.grad.numpy()[index] == pytest.approx(expected, rel=1e-6, abs=1e-9)


def test_gradient_of_soft_sharing() -> None:
    fc.manual_seed(0)
    a, b = (nn.Sequential(nn.Linear(3, 4), nn.Linear(4, n)).to("float64") for n in (2, 5))
    penalty = soft_sharing(a, b, 0.7)
    expected = 0.7 * sum(
        float(((p.numpy() - q.numpy()) ** 2).sum())
        for p, q in ((a[0].weight, b[0].weight), (a[0].bias, b[0].bias))
    )
    assert penalty().item() == pytest.approx(expected, rel=1e-12)
    penalty().backward()
    for p, q in ((a[0].weight, b[0].weight), (a[0].bias, b[0].bias)):
        for one, other in ((p, q), (q, p)):
            np.testing.assert_allclose(
                one.grad.numpy(), 2 * 0.7 * (one.numpy() - other.numpy()), rtol=1e-12
            )
            index = (0,) * one.ndim
            assert one.grad.numpy()[index] == pytest.approx(
                gradient_at(penalty, one.numpy(), index), rel=1e-6
            )
    assert a[1].weight.grad is None and b[1].bias.grad is None
    only = soft_sharing(a, b, 1.0, names=["0.bias"])
    assert only().item() == pytest.approx(
        float(((a[0].bias.numpy() - b[0].bias.numpy()) ** 2).sum()), rel=1e-12
    )


class Pair(nn.Module):
    """Two networks of one architecture, a task each."""

    def __init__(self) -> None:
        super().__init__()
        self.a = nn.Sequential(nn.Flatten(), nn.Linear(36, 8), nn.Tanh(), nn.Linear(8, 4))
        self.b = nn.Sequential(nn.Flatten(), nn.Linear(36, 8), nn.Tanh(), nn.Linear(8, 2))

    def forward(self, x: Any) -> Any:
        return {"quarter": self.a(x), "right": self.b(x)}


@pytest.mark.parametrize("compile", [True, False])
def test_soft_sharing_draws_networks_together(compile: bool) -> None:
    distances = []
    for strength in (0.0, 0.05):
        fc.manual_seed(3)
        net = Pair()
        trainer = Trainer(
            net,
            {"quarter": F.cross_entropy, "right": F.cross_entropy},
            fc.optim.SGD(net.parameters(), lr=0.1),
            targets=lambda labels: {"quarter": labels, "right": labels % 2},
            penalties=[soft_sharing(net.a, net.b, strength)],
            compile=compile,
        )
        trainer.fit(small_loader(), epochs=5, progress=False)
        assert (trainer._program is not None) == compile
        assert trainer.history[-1]["train_quarter_accuracy"] > 0.6
        distances.append(float(((net.a[1].weight.numpy() - net.b[1].weight.numpy()) ** 2).sum()))
    assert distances[1] < 0.7 * distances[0]


def plain_net(dtype: str = "float32") -> Any:
    fc.manual_seed(4)
    return nn.Sequential(nn.Flatten(), nn.Linear(36, 4)).to(dtype)


@pytest.mark.parametrize("compile", [True, False])
@pytest.mark.parametrize(
    "loss",
    [F.cross_entropy, nn.CrossEntropyLoss(), functools.partial(F.cross_entropy, label_smoothing=0)],
)
@pytest.mark.parametrize("given", [{0: 2.0, 2: 0.5}, [2.0, 1.0, 0.5, 1.0]])
def test_class_weights(compile: bool, loss: Any, given: Any) -> None:
    x, labels = next(iter(small_loader(prefetch=0)))
    net, twin = plain_net(), plain_net()
    trainer = Trainer(
        net, loss, fc.optim.SGD(net.parameters(), lr=0.1), class_weight=given, compile=compile
    )
    weight = np.array([2.0, 1.0, 0.5, 1.0], np.float32)
    optimizer = fc.optim.SGD(twin.parameters(), lr=0.1)
    for _ in range(3):
        optimizer.zero_grad()
        value = F.cross_entropy(twin(fc.tensor(x)), labels, weight=weight)
        value.backward()
        optimizer.step()
        assert trainer.step(x, labels) == pytest.approx(value.item(), rel=1e-6)
    assert (trainer._program is not None) == compile
    np.testing.assert_allclose(
        net.state_dict()["1.weight"], twin.state_dict()["1.weight"], rtol=1e-5, atol=1e-7
    )
    plain = float(F.cross_entropy(trainer.predict(x), labels))
    assert trainer.evaluate([(x, labels)])["loss"] == pytest.approx(plain, rel=1e-5)


def test_balanced_weights() -> None:
    labels = np.array([0] * 6 + [1] * 3 + [4] * 1)
    assert balanced_weights(labels) == {0: 10 / 18, 1: 10 / 9, 4: 10 / 3}
    utils = pytest.importorskip("sklearn.utils.class_weight")
    theirs = utils.compute_class_weight("balanced", classes=np.array([0, 1, 4]), y=labels)
    np.testing.assert_allclose(list(balanced_weights(labels).values()), theirs, rtol=1e-12)
    data = small_data().subset(np.r_[0:20, 20:44:4])  # more of class 0
    found = []
    for weights in ("balanced", balanced_weights(data.labels)):
        net = plain_net()
        trainer = Trainer(net, F.cross_entropy, fc.optim.SGD(net.parameters(), lr=0.1))
        trainer.fit(data, epochs=2, progress=False, class_weight=weights)
        found.append(arrays_of(trainer))
    assert found[0] == found[1]
    trainer.fit(data, epochs=3, progress=False)
    assert trainer.class_weight == balanced_weights(data.labels)


def test_class_weights_of_tasks() -> None:
    x, labels = next(iter(small_loader(prefetch=0)))
    trainer = task_trainer(class_weight={"right": {1: 3.0}})
    other = task_trainer()
    before = {name: loss for name, loss in other.loss.losses.items()}
    before["right"] = lambda out, y: F.cross_entropy(out, y, weight=np.float32([1, 3]))
    other.loss = MultiLoss(before, other.loss.weights)
    assert trainer.step(x, labels) == pytest.approx(other.step(x, labels), rel=1e-6)
    balanced = task_trainer(class_weight={"quarter": "balanced"})
    balanced.fit(small_loader(), epochs=1, progress=False)
    assert balanced._training_loss().losses["quarter"].weights == balanced_weights(
        small_data().labels
    )


@pytest.mark.parametrize("dtype", ["float32", "float64", "bfloat16"])
@pytest.mark.parametrize("compile", [True, False])
def test_soft_labels(compile: bool, dtype: str) -> None:
    rng = np.random.default_rng(0)
    x, _ = next(iter(small_loader(prefetch=0)))
    soft = rng.dirichlet(np.ones(4), len(x)).astype(np.float32)
    net = plain_net("float64" if dtype == "float64" else "float32")
    twin = plain_net("float64")
    trainer = Trainer(
        net,
        F.cross_entropy,
        fc.optim.SGD(net.parameters(), lr=0.5),
        compile=compile,
        dtype=dtype,
        class_weight={1: 2.0},
    )
    scores = twin(fc.tensor(x.astype(np.float64))).numpy()
    logs = scores - np.log(np.exp(scores).sum(axis=1, keepdims=True))
    expected = -(logs * soft * np.array([1, 2, 1, 1])).sum(axis=1).mean()
    tolerance = 2e-2 if dtype == "bfloat16" else 1e-5
    batches = [(x, soft)]
    history = trainer.fit(batches, batches, epochs=1, progress=False)
    assert history[0]["train_loss"] == pytest.approx(expected, rel=tolerance)
    assert history[0]["train_accuracy"] == np.mean(scores.argmax(axis=1) == soft.argmax(axis=1))
    assert (trainer._program is not None) == compile
    trainer.fit(batches, epochs=60, progress=False)
    assert trainer.history[-1]["train_loss"] < 0.9 * expected


BAD: list[Any] = [
    ({"loss": {}}, ShapeError, "there are no losses"),
    ({"loss": {"a": 3}}, DTypeError, "the loss of 'a' is a int"),
    ({"loss_weights": {"b": 1}}, DTypeError, "loss_weights go with a loss for each task"),
    ({"loss": {"a": F.mse_loss}, "loss_weights": {"b": 1}}, ShapeError, "weights for b, but"),
    ({"loss": {"a": F.mse_loss}, "loss_weights": {"a": -1}}, ShapeError, "the weight of 'a'"),
    ({"loss": {"a": F.mse_loss}, "loss_weights": 3}, DTypeError, "weights must be a mapping"),
    ({"penalties": [3]}, DTypeError, "a penalty is a int"),
    ({"targets": 3}, DTypeError, "targets is a int"),
]


@pytest.mark.parametrize(("change", "error", "match"), BAD)
def test_bad_construction(change: Any, error: Any, match: str) -> None:
    net = plain_net()
    arguments = {"loss": F.cross_entropy, **change}
    with pytest.raises(error, match=match):
        Trainer(net, optimizer=fc.optim.SGD(net.parameters(), lr=0.1), **arguments)


@pytest.mark.parametrize(
    ("loss", "given", "error", "match"),
    [
        (F.mse_loss, {0: 1.0}, DTypeError, "mse_loss takes no weights of classes"),
        (nn.CrossEntropyLoss(np.ones(4, np.float32)), {0: 1.0}, DTypeError, "weights already"),
        (F.cross_entropy, {4: 1.0}, ShapeError, "the network has 4"),
        (F.cross_entropy, [1.0, 2.0], ShapeError, "the network has 4"),
        (F.cross_entropy, {-1: 1.0}, ShapeError, "a class must be at least 0"),
        (F.cross_entropy, {0: -1.0}, ShapeError, "the weight of class 0"),
        (F.cross_entropy, "balanced", ShapeError, "call fit"),
        (F.cross_entropy, "even", ShapeError, "weights or 'balanced'"),
        (F.cross_entropy, 3, DTypeError, "expected a dictionary"),
    ],
)
def test_bad_class_weights(loss: Any, given: Any, error: Any, match: str) -> None:
    net = plain_net()
    x, labels = next(iter(small_loader(prefetch=0)))
    with pytest.raises(error, match=match):
        Trainer(net, loss, fc.optim.SGD(net.parameters(), lr=0.1), class_weight=given).step(
            x, labels
        )


@pytest.mark.parametrize("compile", [True, False])
def test_labels_that_do_not_fit(compile: bool) -> None:
    x, labels = next(iter(small_loader(prefetch=0)))
    trainer = task_trainer(compile=compile)
    trainer.targets = None
    for given, error, match in (
        ({"quarter": labels}, ShapeError, "labels have quarter, but no 'right'"),
        (labels, DTypeError, "labels must be a dictionary or a tuple"),
        ((labels,), ShapeError, "labels are 1 arrays, but no 'quarter'"),
        ({**targets(labels), "right": labels + 9}, ShapeError, "cross_entropy"),
    ):
        with pytest.raises(error, match=match):
            trainer.step(x, given)
    trainer.step(x, {**targets(labels), "extra": labels})
    assert (trainer._program is not None) == compile


def test_soft_sharing_needs_something_to_share() -> None:
    a, b = nn.Linear(2, 3), nn.Linear(3, 2)
    for call, match in (
        (lambda: soft_sharing(a, nn.Conv2d(1, 1, 1), 1.0), "no parameters of one name"),
        (lambda: soft_sharing(a, b, 1.0, names=["bias"]), "need a parameter 'bias' of one shape"),
        (lambda: soft_sharing(a, a, 1.0), "are one"),
        (lambda: soft_sharing(a, b, -1.0), "strength"),
    ):
        with pytest.raises(ShapeError, match=match):
            call()
