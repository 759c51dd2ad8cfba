"""mse_loss, l1_loss, huber_loss and binary_cross_entropy_with_logits."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import fastconv as fc
import fastconv.functional as F
from tests.cases.pointwise_loss import CASES, Case
from tests.support import assert_close, check_gradients, check_same_bits_for_threads, randn, rng

REDUCTIONS = ["none", "mean", "sum"]
BCE = "binary_cross_entropy_with_logits"
FUNCTIONS = ["mse_loss", "l1_loss", "huber_loss", BCE]


def arguments(case: Case, dtype: Any) -> tuple[Any, Any, dict[str, Any]]:
    generator = rng(str(case))
    x = np.asarray(3 * randn(generator, *case.shape), dtype)
    t = np.asarray(
        generator.random(case.shape) if case.function == BCE else randn(generator, *case.shape),
        dtype,
    )
    factors = {
        name: (generator.random(shape) + 0.5).astype(dtype)
        for name, shape in (("weight", case.weight), ("pos_weight", case.pos_weight))
        if shape is not None
    }
    return x, t, {**case.options, **factors}


def expected(
    case: Case,
    x: Any,
    t: Any,
    reduction: str,
    delta: float = 1.0,
    weight: Any = 1,
    pos_weight: Any = 1,
) -> Any:
    x, t = np.asarray(x, np.float64), np.asarray(t, np.float64)
    d = np.abs(x - t)
    if case.function == "mse_loss":
        loss = d**2
    elif case.function == "l1_loss":
        loss = d
    elif case.function == "huber_loss":
        loss = np.where(d <= delta, d**2 / 2, delta * (d - delta / 2))
    else:
        log_s, log_1_s = -np.logaddexp(0, -x), -np.logaddexp(0, x)
        loss = -np.asarray(weight) * (np.asarray(pos_weight) * t * log_s + (1 - t) * log_1_s)
    return {"none": loss, "mean": loss.mean(), "sum": loss.sum()}[reduction]


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("reduction", REDUCTIONS)
@pytest.mark.parametrize("case", CASES, ids=str)
def test_values(case: Case, reduction: str, dtype: Any) -> None:
    x, t, options = arguments(case, dtype)
    loss = getattr(F, case.function)(x, t, reduction=reduction, **options)
    assert loss.dtype == dtype
    tolerance = 2e-6 if dtype == np.float32 else 1e-12
    assert_close(loss, expected(case, x, t, reduction, **options), tolerance, str(case))


@pytest.mark.parametrize("reduction", REDUCTIONS)
@pytest.mark.parametrize("case", [c for c in CASES if np.prod(c.shape) <= 200], ids=str)
def test_gradients_of_input_and_target(case: Case, reduction: str) -> None:
    x, t, options = arguments(case, np.float64)
    d = x - t
    for kink in (0.0, 1.0, -1.0):
        x = np.where(np.abs(d - kink) < 1e-3, x + 0.01, x)
    check_gradients(
        lambda a, b: getattr(F, case.function)(a, b, reduction=reduction, **options), [x, t]
    )


@pytest.mark.parametrize("reduction", REDUCTIONS)
@pytest.mark.parametrize("case", CASES, ids=str)
def test_matches_torch(case: Case, reduction: str) -> None:
    torch = pytest.importorskip("torch")
    torch.set_num_threads(1)
    x, t, options = arguments(case, np.float32)
    theirs = [torch.from_numpy(a.copy()).requires_grad_() for a in (x, t)]
    peer_options = {
        k: torch.from_numpy(v) if isinstance(v, np.ndarray) else v for k, v in options.items()
    }
    result = getattr(torch.nn.functional, case.function)(
        *theirs, reduction=reduction, **peer_options
    )
    g = np.asarray(randn(rng("g", str(case)), *result.shape))
    result.backward(torch.from_numpy(g))
    ours = [fc.tensor(a, requires_grad=True) for a in (x, t)]
    loss = getattr(F, case.function)(*ours, reduction=reduction, **options)
    loss.backward(g)
    assert_close(loss, result.detach().numpy(), 3e-6)
    for mine, other in zip(ours, theirs, strict=True):
        assert mine.grad is not None
        assert_close(mine.grad, other.grad.numpy(), 3e-6)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_bce_is_stable(dtype: Any) -> None:
    x = np.tile(np.array([1000.0, -1000.0, 1000.0, -1000.0, 0.0], dtype), 9)
    t = np.tile(np.array([1.0, 0.0, 0.0, 1.0, 0.5], dtype), 9)
    loss = F.binary_cross_entropy_with_logits(x, t, reduction="none")
    np.testing.assert_allclose(loss, np.tile([0, 0, 1000, 1000, np.log(2)], 9), rtol=1e-6)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("function", FUNCTIONS)
def test_nan_propagates(function: str, dtype: Any) -> None:
    x, t = np.zeros(37, dtype), np.zeros(37, dtype)
    x[[3, 36]], t[20] = np.nan, np.nan
    loss = getattr(F, function)(x, t, reduction="none")
    np.testing.assert_array_equal(np.flatnonzero(np.isnan(loss)), [3, 20, 36])
    assert np.isnan(getattr(F, function)(x, t))


def test_l1_gradient_at_equality_is_zero() -> None:
    x = fc.tensor(np.arange(40, dtype=np.float32), requires_grad=True)
    F.l1_loss(x, np.arange(40, dtype=np.float32), reduction="sum").backward()
    assert x.grad is not None and not x.grad.numpy().any()


@pytest.mark.parametrize("function", FUNCTIONS)
def test_empty(function: str) -> None:
    x = np.zeros((0, 3), np.float32)
    assert np.isnan(getattr(F, function)(x, x))
    assert getattr(F, function)(x, x, reduction="sum") == 0
    assert getattr(F, function)(x, x, reduction="none").shape == (0, 3)


@pytest.mark.parametrize("function", FUNCTIONS)
def test_threads(function: str) -> None:
    x, t = randn(rng("x"), 3, 70001), np.abs(randn(rng("t"), 3, 70001))

    def run() -> Any:
        a = fc.tensor(x, requires_grad=True)
        loss = getattr(F, function)(a, t)
        loss.backward()
        assert a.grad is not None
        return loss, a.grad

    check_same_bits_for_threads(run)


def test_large_sum_is_accurate() -> None:
    x = np.full(5_000_000, 1.1, np.float32)
    loss = F.l1_loss(x, np.zeros_like(x), reduction="sum")
    np.testing.assert_allclose(loss, x.sum(dtype=np.float64), rtol=1e-7)


X = np.zeros((4, 3), np.float32)


@pytest.mark.parametrize(
    ("call", "error", "text"),
    [
        (lambda: F.mse_loss(X, X[0]), fc.ShapeError, r"mse_loss: target must have shape \(4, 3\)"),
        (
            lambda: F.mse_loss(X, X.astype(np.float64)),
            fc.DTypeError,
            "mse_loss: target must be float32",
        ),
        (lambda: F.mse_loss(X.astype(int), X), fc.DTypeError, "mse_loss: input must be float32"),
        (lambda: F.mse_loss(X, None), fc.DTypeError, "mse_loss: target must be an array"),
        (lambda: F.l1_loss(X, X, reduction="batchmean"), fc.ShapeError, "l1_loss: reduction"),
        (lambda: F.huber_loss(X, X, delta=0.0), fc.ShapeError, "huber_loss: delta"),
        (lambda: F.huber_loss(X, X, delta=-1), fc.ShapeError, "huber_loss: delta"),
        (lambda: F.huber_loss(X, X, delta=np.nan), fc.ShapeError, "huber_loss: delta"),
        (lambda: F.huber_loss(X, X, delta="1"), fc.DTypeError, "huber_loss: delta"),
        (
            lambda: F.binary_cross_entropy_with_logits(X, X, np.ones(4, "f4")),
            fc.ShapeError,
            "weight must broad",
        ),
        (
            lambda: F.binary_cross_entropy_with_logits(X, X, pos_weight=np.ones((2, 4, 3), "f4")),
            fc.ShapeError,
            "pos_weight must broadcast",
        ),
        (
            lambda: F.binary_cross_entropy_with_logits(X, X, pos_weight=np.ones(3)),
            fc.DTypeError,
            "pos_weight must be float32",
        ),
        (
            lambda: F.binary_cross_entropy_with_logits(X, X, 2.0),
            fc.DTypeError,
            "weight must be an array",
        ),
    ],
)
def test_bad_arguments(call: Any, error: type[Exception], text: str) -> None:
    with pytest.raises(error, match=text):
        call()
