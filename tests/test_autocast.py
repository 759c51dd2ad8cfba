"""`autocast`: what becomes bfloat16 inside, what stays, and training with it."""

from __future__ import annotations

import threading
from typing import Any

import numpy as np
import pytest

import fastconv as fc
import fastconv.functional as F
from fastconv import nn
from fastconv.train import Trainer

ml_dtypes = pytest.importorskip("ml_dtypes")
BF16 = np.dtype(ml_dtypes.bfloat16)


def randn(*shape: int, seed: int = 0) -> Any:
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def net() -> nn.Module:
    fc.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1, bias=False), nn.BatchNorm2d(8), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(8, 16, 3), nn.ReLU(), nn.Flatten(), nn.Linear(64, 10),
    )  # fmt: skip


def test_convolutions_and_linear_layers_are_lowered() -> None:
    x, w, b = randn(2, 3, 6, 6), randn(4, 3, 3, 3, seed=1), randn(4, seed=2)
    low = [v.astype(BF16) for v in (x, w, b)]
    v = randn(5, 4, seed=3)
    with fc.autocast():
        y = F.conv2d(x, w, b)
        z = F.linear(v, w[:, 0, 0, 0][:, None] + randn(4, 4), b)
        t = F.conv_transpose2d(y, randn(4, 2, 2, 2))
    assert y.dtype == z.dtype == t.dtype == BF16
    np.testing.assert_array_equal(y, F.conv2d(*low))
    assert F.conv2d(x, w, b).dtype == np.float32


def test_what_comes_stays() -> None:
    x = randn(2, 4, 6, 6)
    with fc.autocast():
        assert F.relu(x).dtype == F.max_pool2d(x, 2).dtype == (F.add(x, x)).dtype == np.float32
        y = F.conv2d(x, randn(4, 4, 1, 1))
        assert F.add(x, y).dtype == F.cat([y, x], 1).dtype == BF16
        scale = np.ones(4, np.float32)
        assert F.batch_norm(y, scale * 0, scale, scale, scale).dtype == BF16
        wide = x.astype(np.float64)
        assert F.conv2d(wide, randn(4, 4, 1, 1).astype(np.float64)).dtype == np.float64
        assert F.mse_loss(y, F.conv2d(x, randn(4, 4, 1, 1))).dtype == np.float32
        assert F.mse_loss(x, y).dtype == np.float32
        assert F.cross_entropy(F.linear(randn(3, 4), randn(5, 4)), np.arange(3)).dtype == np.float32


def test_it_can_be_switched_off_inside() -> None:
    x, w = randn(1, 2, 4, 4), randn(2, 2, 3, 3)
    with fc.autocast():
        with fc.autocast(None):
            assert F.conv2d(x, w).dtype == np.float32
        assert F.conv2d(x, w).dtype == BF16
    for bad in ("float16", np.zeros(3), BF16):
        with pytest.raises(fc.DTypeError, match="autocast: dtype must be 'bfloat16' or None"):
            fc.autocast(bad).__enter__()


def test_it_belongs_to_a_thread() -> None:
    seen: list[Any] = []
    x, w = randn(1, 2, 4, 4), randn(2, 2, 3, 3)
    with fc.autocast():
        thread = threading.Thread(target=lambda: seen.append(F.conv2d(x, w).dtype))
        thread.start()
        thread.join()
    assert seen == [np.float32]


def test_gradients_come_back_in_the_operands_types() -> None:
    x, w, b = (
        fc.tensor(a, requires_grad=True) for a in (randn(2, 3, 6, 6), randn(4, 3, 3, 3), randn(4))
    )
    expected = F.conv2d(x, w, b)
    (expected * expected).sum().backward()
    exact = [t.grad.numpy().copy() for t in (x, w, b)]
    for t in (x, w, b):
        t.grad = None
    with fc.autocast():
        y = F.conv2d(x, w, b)
        loss = F.mse_loss(y, np.zeros(y.shape, np.float32), reduction="sum")
    loss.backward()
    for t, reference in zip((x, w, b), exact, strict=True):
        assert t.grad.dtype == np.float32
        assert np.abs(t.grad.numpy() - reference).max() < 0.02 * np.abs(reference).max()


@pytest.mark.parametrize("compiled", [False, True])
def test_a_trainer_learns_in_bfloat16(compiled: bool) -> None:
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 10, 64)
    x = randn(64, 3, 8, 8) * 0.3
    for i, label in enumerate(labels):
        x[i, :, :, label % 8] += 1 + label // 8
    losses: dict[str, list[float]] = {}
    for dtype in ("float32", "bfloat16"):
        model = net()
        optimizer = fc.optim.SGD(model.parameters(), lr=0.05, momentum=0.9)
        trainer = Trainer(model, F.cross_entropy, optimizer, dtype=dtype, compile=compiled)
        losses[dtype] = [trainer.step(x, labels) for _ in range(20)]
        assert all(p.dtype == np.float32 for p in model.parameters())
        assert trainer.predict(x, probabilities=True).dtype == np.float32
        assert trainer.evaluate([(x, labels)])["loss"] < losses[dtype][0]
    assert losses["bfloat16"] != losses["float32"]
    assert losses["bfloat16"][-1] < 0.5 * losses["bfloat16"][0]
    np.testing.assert_allclose(losses["bfloat16"][:5], losses["float32"][:5], rtol=0.03)


def test_a_program_equals_the_tape() -> None:
    x, labels = randn(4, 3, 8, 8), np.arange(4)
    losses = []
    for compiled in (False, True):
        model = net()
        optimizer = fc.optim.SGD(model.parameters(), lr=0.05)
        trainer = Trainer(model, F.cross_entropy, optimizer, dtype="bfloat16", compile=compiled)
        losses.append([trainer.step(x, labels) for _ in range(4)])
        assert (trainer._program is not None) == compiled
    np.testing.assert_allclose(losses[0], losses[1], rtol=2e-2)


def test_a_plan_is_made_anew_for_another_setting() -> None:
    model = net()
    step = fc.program.TrainingStep(model, F.cross_entropy, fc.optim.SGD(model.parameters(), lr=0.1))
    x, labels = randn(4, 3, 8, 8), np.arange(4)
    plain = step.plan(x, labels)
    with fc.autocast():
        low = step.plan(x, labels)
        assert low is not plain and step.plan(x, labels) is low
    assert step.plan(x, labels) is plain
    assert "bfloat16" in low.dump() and "bfloat16" not in plain.dump()


def test_the_trainer_wants_float32_parameters() -> None:
    model = net().to("float64")
    with pytest.raises(fc.DTypeError, match="is float64, expected float32"):
        Trainer(model, F.cross_entropy, fc.optim.SGD(model.parameters(), lr=0.1), dtype="bfloat16")
