"""Weights of images: losses and steps against float64 references, batches that carry them, resumed runs."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import fastconv as fc
import fastconv.functional as F
from fastconv import nn
from fastconv.data import (
    ArrayDataset,
    BalancedSampler,
    ConcatDataset,
    Loader,
    Subset,
    WeightedDataset,
)
from fastconv.models import auxiliary_cross_entropy
from fastconv.train import ClassWeighted, ImageWeighted, MultiLoss, Trainer, evaluate
from fastconv.train.losses import Penalised
from tests.train.helpers import (
    BATCH,
    COUNT,
    StopAt,
    arrays_of,
    assert_same_checkpoint,
    small_data,
    small_loader,
    small_net,
    small_trainer,
)

WEIGHTS = np.random.default_rng(1).integers(0, 5, COUNT) / 2


def log_softmax(x: np.ndarray) -> np.ndarray:
    shifted = x - x.max(axis=1, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))


def of_labels(x: Any, y: Any, w: Any, classes: Any = None, smoothing: float = 0.0) -> float:
    """The definition, image by image: ignored ones (-100) count for nothing."""
    logs = log_softmax(x)
    factors = np.ones(x.shape[1]) if classes is None else np.asarray(classes, float)
    total = divisor = 0.0
    for i, label in enumerate(y):
        if label == -100:
            continue
        loss = -(1 - smoothing) * factors[label] * logs[i, label]
        loss -= smoothing / x.shape[1] * (factors * logs[i]).sum()
        total += w[i] * loss
        divisor += factors[label]
    return total / divisor


def case(rows: int = 7, classes: int = 4) -> tuple[Any, Any, Any]:
    rng = np.random.default_rng(rows)
    labels = rng.integers(0, classes, rows)
    return rng.normal(size=(rows, classes)), labels, rng.uniform(0, 3, rows)


FACTORS = [0.5, 2.0, 1.0, 3.0]


@pytest.mark.parametrize(
    ("loss", "expected"),
    [
        (F.cross_entropy, of_labels),
        (nn.CrossEntropyLoss(), of_labels),
        (auxiliary_cross_entropy, of_labels),
        (
            functools.partial(F.cross_entropy, label_smoothing=0.2),
            functools.partial(of_labels, smoothing=0.2),
        ),
        (
            nn.CrossEntropyLoss(weight=np.array(FACTORS), label_smoothing=0.1),
            functools.partial(of_labels, classes=FACTORS, smoothing=0.1),
        ),
        (ClassWeighted(F.cross_entropy, FACTORS), functools.partial(of_labels, classes=FACTORS)),
        (
            ClassWeighted(nn.CrossEntropyLoss(), FACTORS),
            functools.partial(of_labels, classes=FACTORS),
        ),
        (
            ClassWeighted(auxiliary_cross_entropy, FACTORS),
            functools.partial(of_labels, classes=FACTORS),
        ),
        (
            functools.partial(F.cross_entropy, weight=np.array(FACTORS)),
            functools.partial(of_labels, classes=FACTORS),
        ),
    ],
)
def test_losses_of_labels(loss: Any, expected: Any) -> None:
    x, y, w = case()
    for labels in (y, np.where(np.arange(7) == 3, -100, y)):
        t = fc.tensor(x, requires_grad=True)
        value = ImageWeighted(loss)(t, (labels, w))
        assert float(value.item()) == pytest.approx(expected(x, labels, w), rel=1e-12)
        value.backward()
        for i, j in np.ndindex(x.shape):
            moved = x.copy()
            moved[i, j] += 1e-6
            up = expected(moved, labels, w)
            moved[i, j] -= 2e-6
            slope = (up - expected(moved, labels, w)) / 2e-6
            assert t.grad.numpy()[i, j] == pytest.approx(slope, rel=1e-5, abs=1e-8)


def test_other_losses() -> None:
    x, y, w = case()
    target = np.random.default_rng(3).normal(size=x.shape)
    for loss, each in (
        (F.mse_loss, (x - target) ** 2),
        (nn.L1Loss(), abs(x - target)),
        (
            functools.partial(F.huber_loss, delta=0.5),
            np.where(
                abs(x - target) <= 0.5, 0.5 * (x - target) ** 2, 0.5 * (abs(x - target) - 0.25)
            ),
        ),
    ):
        value = ImageWeighted(loss)(fc.tensor(x), (target, w))
        assert float(value.item()) == pytest.approx((w[:, None] * each).mean(), rel=1e-12)
    soft = np.exp(log_softmax(target))
    value = ImageWeighted(F.cross_entropy)(fc.tensor(x), (soft, w))
    assert float(value.item()) == pytest.approx(
        (w * -(soft * log_softmax(x)).sum(axis=1)).mean(), rel=1e-12
    )
    # A label for each pixel.
    maps = np.random.default_rng(4).normal(size=(2, 3, 2, 2))
    labels = np.array([[[0, 1], [2, -100]], [[1, 1], [0, 2]]])
    flat = maps.transpose(0, 2, 3, 1).reshape(8, 3)
    value = ImageWeighted(F.cross_entropy)(fc.tensor(maps), (labels, np.array([2.0, 0.5])))
    expected = of_labels(flat, labels.ravel(), np.repeat([2.0, 0.5], 4))
    assert float(value.item()) == pytest.approx(expected, rel=1e-12)
    # Heads beside the network's own.
    value = ImageWeighted(auxiliary_cross_entropy)((fc.tensor(x), fc.tensor(2 * x)), (y, w))
    expected = of_labels(x, y, w) + 0.3 * of_labels(2 * x, y, w)
    assert float(value.item()) == pytest.approx(expected, rel=1e-12)

    def own(outputs: Any, labels: Any, sample_weight: Any) -> Any:
        return F.sum(F.mul(F.cross_entropy(outputs, labels, reduction="none"), sample_weight))

    value = ImageWeighted(own)(fc.tensor(x), (y, w))
    assert float(value.item()) == pytest.approx(7 * of_labels(x, y, w), rel=1e-12)


def test_losses_of_pytorch() -> None:
    torch = pytest.importorskip("torch")
    x, y, w = case(31)
    weighted = ImageWeighted(ClassWeighted(F.cross_entropy, FACTORS))(fc.tensor(x), (y, w))
    factors = torch.tensor(FACTORS, dtype=torch.float64)
    each = torch.nn.functional.cross_entropy(
        torch.tensor(x), torch.tensor(y), weight=factors, reduction="none"
    )
    expected = (each * torch.tensor(w)).sum() / factors[torch.tensor(y)].sum()
    assert float(weighted.item()) == pytest.approx(float(expected), rel=1e-12)


def test_tasks_and_penalties() -> None:
    x, y, w = case()
    two = MultiLoss(
        {"a": F.cross_entropy, "b": F.mse_loss}, {"b": 0.5}, [lambda: fc.tensor(np.array(3.0))]
    )
    outputs = {"a": fc.tensor(x), "b": fc.tensor(x)}
    value = ImageWeighted(two)(outputs, ({"a": y, "b": 0 * x}, w))
    expected = of_labels(x, y, w) + 0.5 * (w[:, None] * x**2).mean() + 3
    assert float(value.item()) == pytest.approx(expected, rel=1e-12)
    penalised = Penalised(F.cross_entropy, [lambda: fc.tensor(np.array(3.0))])
    value = ImageWeighted(penalised)(fc.tensor(x), (y, w))
    assert float(value.item()) == pytest.approx(of_labels(x, y, w) + 3, rel=1e-12)


def test_losses_that_cannot_be_weighted() -> None:
    x, y, w = case()
    for loss, match in (
        (lambda outputs, labels: F.sum(outputs), "<lambda> cannot be taken of each image"),
        (nn.CrossEntropyLoss(reduction="sum"), "has the reduction 'sum', expected 'mean'"),
        (functools.partial(F.mse_loss, reduction="none"), "mse_loss has the reduction 'none'"),
    ):
        with pytest.raises(fc.DTypeError, match=f"sample weights: .*{match}"):
            ImageWeighted(loss)
    with pytest.raises(fc.ShapeError, match=r"there are 6 weights, but losses of shape \(7,\)"):
        ImageWeighted(F.cross_entropy)(fc.tensor(x), (y, w[:6]))


# Steps


def linear(dtype: str, seed: int = 0) -> Any:
    fc.manual_seed(seed)
    net = nn.Sequential(nn.Flatten(), nn.Linear(36, 4))
    return net.to("float64") if dtype == "float64" else net


def batch(dtype: str = "float64") -> tuple[Any, Any, Any]:
    data = small_data(count=10)
    return data.images[:, None].astype(dtype) / 255, data.labels, WEIGHTS[:10]


@pytest.mark.parametrize("compiled", [True, False])
@pytest.mark.parametrize("accumulate", [1, 3])
def test_steps_against_float64(compiled: bool, accumulate: int) -> None:
    """Softmax regression by plain gradient descent, worked out by hand."""
    net = linear("float64")
    a, b = (p.numpy().copy() for p in net.parameters())
    trainer = Trainer(
        net,
        F.cross_entropy,
        fc.optim.SGD(net.parameters(), lr=0.5),
        dtype="float64",
        compile=compiled,
        accumulate=accumulate,
    )
    x, y, w = batch()
    rows = x.reshape(10, 36)
    for _ in range(4):
        loss = trainer.step(x, y, w)
        scores = rows @ a.T + b
        assert loss == pytest.approx(of_labels(scores, y, w), rel=1e-12)
        slope = np.exp(log_softmax(scores))
        slope[np.arange(10), y] -= 1
        slope *= w[:, None] / 10
        a, b = a - 0.5 * slope.T @ rows, b - 0.5 * slope.sum(axis=0)
        for p, expected in zip(net.parameters(), (a, b), strict=True):
            np.testing.assert_allclose(p.numpy(), expected, rtol=1e-11, atol=1e-14)
    assert (trainer._program is not None) == compiled  # it was recorded


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_recorded_steps_agree_with_those_function_by_function(dtype: str) -> None:
    if dtype == "bfloat16":
        pytest.importorskip("ml_dtypes")
    x, y, w = batch("float32")
    found = []
    for compiled in (True, False):
        net = linear("float32")
        optimizer = fc.optim.SGD(net.parameters(), lr=0.1)
        trainer = Trainer(
            net, F.cross_entropy, optimizer, dtype=dtype, compile=compiled, class_weight={1: 3.0}
        )
        losses = [trainer.step(x, y, w), trainer.step(x, y), trainer.step(x, y, w)]
        assert (trainer._program is not None) == compiled
        found.append((losses, [p.numpy().copy() for p in net.parameters()]))
    np.testing.assert_allclose(found[0][0], found[1][0], rtol=1e-5)
    for one, two in zip(found[0][1], found[1][1], strict=True):
        np.testing.assert_allclose(one, two, rtol=1e-4, atol=1e-6)


def test_weights_of_one_are_none() -> None:
    x, y, _ = batch("float32")
    found = []
    for weights in (None, np.ones(10)):
        net = linear("float32")
        trainer = Trainer(net, F.cross_entropy, fc.optim.SGD(net.parameters(), lr=0.1))
        found.append([trainer.step(x, y, weights) for _ in range(3)])
    np.testing.assert_allclose(found[0], found[1], rtol=1e-6)


def test_bad_weights() -> None:
    net = linear("float32")
    trainer = Trainer(net, F.cross_entropy, fc.optim.SGD(net.parameters(), lr=0.1))
    x, y, w = batch("float32")
    before = arrays_of(trainer)
    for bad, error, match in (
        (w[:9], fc.ShapeError, r"expected a weight for each of 10 images, got shape \(9,\)"),
        (-w, fc.ShapeError, "must be finite and not negative"),
        (np.full(10, np.nan), fc.ShapeError, "must be finite and not negative"),
        (["a"] * 10, fc.DTypeError, "must be numbers"),
    ):
        with pytest.raises(error, match=f"Trainer: .*{match}"):
            trainer.step(x, y, bad)
    own = Trainer(net, lambda outputs, labels: F.sum(outputs), trainer.optimizer)
    with pytest.raises(fc.DTypeError, match="cannot be taken of each image"):
        own.step(x, y, w)
    for wrong in ((x, y, w, w), (x,), x):
        with pytest.raises(fc.DTypeError, match="expected \\(images, labels\\) or"):
            trainer.fit([wrong], progress=False)
    assert arrays_of(trainer) == before


# Data


def weighted_data() -> ArrayDataset:
    data = small_data()
    return ArrayDataset(data.images, data.labels, data.classes, weights=WEIGHTS)


@pytest.mark.parametrize(
    "options", [{}, {"prefetch": 0}, {"workers": 2}, {"workers": 1, "worker": "process"}]
)
def test_loaders_give_weights(options: dict[str, Any]) -> None:
    loader = Loader(weighted_data(), BATCH, shuffle=True, seed=3, **options)
    plain = list(small_loader())
    made = list(loader)
    loader.close()
    order = np.concatenate([w for _, _, w in made])
    for (x, y, w), (images, labels) in zip(made, plain, strict=True):
        assert np.array_equal(x, images) and np.array_equal(y, labels) and w.dtype == np.float32
    again = Loader(
        ArrayDataset(np.zeros((COUNT, 1, 1), np.uint8), np.arange(COUNT)),
        BATCH,
        shuffle=True,
        seed=3,
    )
    assert np.array_equal(order, WEIGHTS[np.concatenate([y for _, y in again])])


def test_data_sets_with_weights() -> None:
    data = weighted_data()
    assert data.weights is not None and np.array_equal(data.weights, WEIGHTS)
    chosen = [5, 3, 3]
    for part in (data.subset(np.array(chosen)), Subset(data, chosen)):
        assert part.weights is not None and np.array_equal(part.weights, WEIGHTS[chosen])
    plain = small_data()
    assert Subset(plain, chosen).weights is None and ConcatDataset([plain, plain]).weights is None
    joined = ConcatDataset([plain, data])
    assert joined.weights is not None
    assert np.array_equal(joined.weights, np.concatenate([np.ones(COUNT), WEIGHTS]))
    wrapped = WeightedDataset(plain, WEIGHTS)
    assert np.array_equal(wrapped.fetch([4, 1]), plain.fetch([4, 1]))
    assert wrapped.weights is not None and np.array_equal(wrapped.weights, WEIGHTS)
    assert "WeightedDataset(ArrayDataset" in repr(wrapped)
    sampled = Loader(wrapped, BATCH, sampler=BalancedSampler(plain.labels))
    assert all(len(w) == len(y) for _, y, w in sampled)
    for weights, error, match in (
        (WEIGHTS[:3], fc.ShapeError, r"weights have shape \(3,\), expected \(44,\)"),
        (-WEIGHTS, fc.ShapeError, "must be finite and not negative"),
        (np.full(COUNT, np.inf), fc.ShapeError, "must be finite and not negative"),
        (["x"] * COUNT, fc.DTypeError, "expected numbers"),
    ):
        with pytest.raises(error, match=match):
            WeightedDataset(plain, weights)
        with pytest.raises(error, match=match):
            ArrayDataset(plain.images, plain.labels, weights=weights)
    with pytest.raises(fc.ShapeError, match="mix does not go with a data set that has weights"):
        Loader(data, BATCH, mix=lambda images, labels, rng: (images, labels))


def test_what_evaluates_leaves_weights_aside() -> None:
    net = small_net().eval()
    data, plain = weighted_data(), small_data()
    assert evaluate(net, F.cross_entropy, data) == evaluate(net, F.cross_entropy, plain)
    assert np.array_equal(fc.train.predict(net, data), fc.train.predict(net, plain))
    assert np.array_equal(fc.visualize.confusion(net, data), fc.visualize.confusion(net, plain))
    rates = small_trainer().find_learning_rate(data, steps=10, highest=0.01)
    assert rates.losses != small_trainer().find_learning_rate(plain, steps=10, highest=0.01).losses


# Runs


def weighted_loader() -> Loader:
    return Loader(weighted_data(), BATCH, shuffle=True, seed=3)


def test_images_of_no_weight_do_not_matter() -> None:
    """Nor do their labels, where the network has no statistics of batches."""
    data = small_data()
    found = []
    for turn in (0, 1):
        labels = np.where(WEIGHTS == 0, (data.labels + turn) % 4, data.labels)
        net = linear("float32")
        trainer = Trainer(net, F.cross_entropy, fc.optim.SGD(net.parameters(), lr=0.1))
        trainer.fit(
            Loader(ArrayDataset(data.images, labels, weights=WEIGHTS), BATCH, shuffle=True),
            epochs=2,
            progress=False,
        )
        found.append(arrays_of(trainer))
    assert found[0] == found[1]


@pytest.mark.parametrize("stop", [3, 9])
def test_resumed_runs_end_with_the_same_bits(tmp_path: Path, stop: int) -> None:
    pytest.importorskip("safetensors")
    whole = small_trainer(tmp_path / "whole")
    whole.fit(weighted_loader(), small_data(1), 3, progress=False)
    plain = small_trainer()
    plain.fit(small_loader(), small_data(1), 3, progress=False)
    assert arrays_of(plain) != arrays_of(whole)
    cut = small_trainer(tmp_path / "cut", callbacks=[StopAt(stop)])
    cut.fit(weighted_loader(), small_data(1), 3, progress=False)
    for other in (small_loader(), Loader(WeightedDataset(small_data(), WEIGHTS * 2), BATCH, True)):
        wrong = small_trainer()
        wrong.load(tmp_path / "cut" / "last.safetensors")
        with pytest.raises(fc.FastconvError, match="the checkpoint lies within an epoch of"):
            wrong.fit(other, epochs=3, progress=False)
    again = small_trainer(tmp_path / "cut")
    again.load(tmp_path / "cut" / "last.safetensors")
    again.fit(weighted_loader(), small_data(1), 3, progress=False)
    assert arrays_of(again) == arrays_of(whole)
    for name in ("last.safetensors", "best.safetensors"):
        assert_same_checkpoint(tmp_path / "whole" / name, tmp_path / "cut" / name)
