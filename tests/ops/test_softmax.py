"""softmax and log_softmax."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import fastconv as fc
import fastconv.functional as F
from tests.cases.softmax import CASES, Case
from tests.support import assert_close, check_gradients, check_same_bits_for_threads, randn, rng

FUNCTIONS = ["softmax", "log_softmax"]


def expected(function: str, x: Any, dim: int) -> Any:
    x = np.atleast_1d(np.asarray(x, np.float64))
    if x.size == 0:
        return x
    shifted = x - x.max(axis=dim, keepdims=True)
    total = np.exp(shifted).sum(axis=dim, keepdims=True)
    return shifted - np.log(total) if function == "log_softmax" else np.exp(shifted) / total


def logits(case: Case, dtype: Any) -> Any:
    return np.asarray(case.scale * randn(rng(str(case)), *case.shape), dtype)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("function", FUNCTIONS)
@pytest.mark.parametrize("case", CASES, ids=str)
def test_values(case: Case, function: str, dtype: Any) -> None:
    x = logits(case, dtype)
    y = getattr(F, function)(x, dim=case.dim)
    assert y.dtype == dtype and y.shape == x.shape
    tolerance = 2e-6 if dtype == np.float32 else 1e-13
    assert_close(np.atleast_1d(y), expected(function, x, case.dim), tolerance, str(case))


@pytest.mark.parametrize("function", FUNCTIONS)
@pytest.mark.parametrize(
    "case", [Case((3, 4)), Case((2, 3, 4), 1), Case((5,)), Case((2, 3), 0)], ids=str
)
def test_gradients(case: Case, function: str) -> None:
    x = rng(str(case)).standard_normal(case.shape)
    check_gradients(lambda t: getattr(F, function)(t, dim=case.dim), [x])


@pytest.mark.parametrize("function", FUNCTIONS)
@pytest.mark.parametrize("case", CASES, ids=str)
def test_float32_gradient_is_the_float64_one(case: Case, function: str) -> None:
    x, gradients = logits(case, np.float32), []
    g = np.asarray(randn(rng("g", str(case)), *case.shape), np.float32)
    for dtype in (np.float32, np.float64):
        t = fc.tensor(x.astype(dtype), requires_grad=True)
        getattr(F, function)(t, dim=case.dim).backward(g.astype(dtype))
        assert t.grad is not None
        gradients.append(t.grad.numpy())
    if function == "softmax" or x.size == 0:
        # The terms of the sum cancel: they are what the rounding scales with, not the result.
        np.testing.assert_allclose(gradients[0], gradients[1], rtol=0, atol=4e-6)
    else:
        assert_close(gradients[0], gradients[1], 1e-5)


@pytest.mark.parametrize("function", FUNCTIONS)
@pytest.mark.parametrize("case", [c for c in CASES if c.shape], ids=str)
def test_matches_torch(case: Case, function: str) -> None:
    torch = pytest.importorskip("torch")
    torch.set_num_threads(1)
    x = logits(case, np.float64)
    g = randn(rng("torch", str(case)), *case.shape, dtype=np.float64)
    theirs, ours = torch.from_numpy(x.copy()).requires_grad_(), fc.tensor(x, requires_grad=True)
    result = getattr(torch.nn.functional, function)(theirs, dim=case.dim)
    result.backward(torch.from_numpy(g))
    y = getattr(F, function)(ours, dim=case.dim)
    y.backward(g)
    assert_close(y, result.detach().numpy(), 1e-13)
    assert ours.grad is not None
    np.testing.assert_allclose(ours.grad.numpy(), theirs.grad.numpy(), rtol=1e-9, atol=1e-13)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("function", FUNCTIONS)
@pytest.mark.parametrize("inner", [1, 3, 37])
def test_nan_and_infinity(inner: int, function: str, dtype: Any) -> None:
    x = np.zeros((4, 40, inner), dtype)
    x[0, 5], x[1, 7], x[2], x[3, 39] = np.nan, np.inf, -np.inf, -np.inf
    y = getattr(F, function)(x, dim=1)
    assert np.isnan(y[0]).all() and np.isnan(y[2]).all()
    assert np.isnan(y[1, 7]).all()
    with np.errstate(invalid="ignore"):
        probabilities = np.exp(y[3]) if function == "log_softmax" else y[3]
    np.testing.assert_allclose(probabilities[:39], 1 / 39, rtol=1e-6)
    assert (probabilities[39] == 0).all()


@pytest.mark.parametrize("function", FUNCTIONS)
@pytest.mark.parametrize("dim", [0, 1, 2])
def test_threads(dim: int, function: str) -> None:
    x = randn(rng("threads"), 37, 65, 71)

    def run() -> Any:
        t = fc.tensor(x, requires_grad=True)
        y = getattr(F, function)(t, dim=dim)
        y.backward(x)
        assert t.grad is not None
        return y, t.grad

    check_same_bits_for_threads(run)


@pytest.mark.parametrize("function", FUNCTIONS)
def test_channels_last_views_stay_channels_last(function: str) -> None:
    nhwc = randn(rng("nhwc"), 2, 5, 4, 13)
    t, view = fc.tensor(nhwc, requires_grad=True), fc.Tensor(nhwc.transpose(0, 3, 1, 2), True)
    y, flat = getattr(F, function)(view, dim=1), getattr(F, function)(t, dim=3)
    assert y.numpy().transpose(0, 2, 3, 1).flags.c_contiguous
    np.testing.assert_array_equal(y.numpy().transpose(0, 2, 3, 1), flat.numpy())
    g = randn(rng("g"), 2, 13, 5, 4)
    y.backward(g)
    flat.backward(g.transpose(0, 2, 3, 1))
    assert view.grad is not None and t.grad is not None
    np.testing.assert_array_equal(view.grad.numpy().transpose(0, 2, 3, 1), t.grad.numpy())


@settings(deadline=None, max_examples=60, derandomize=True)
@given(st.sampled_from(FUNCTIONS), st.lists(st.integers(1, 20), min_size=1, max_size=4), st.data())
def test_any_shape(function: str, shape: list[int], data: Any) -> None:
    dim = data.draw(st.integers(-len(shape), len(shape) - 1))
    x = 5 * randn(rng(shape, dim), *shape)
    assert_close(getattr(F, function)(x, dim=dim), expected(function, x, dim), 2e-6)


@pytest.mark.parametrize(
    ("call", "error", "text"),
    [
        (
            lambda: F.softmax(np.zeros((2, 3), "f4"), dim=2),
            fc.ShapeError,
            r"softmax: dim must be in \[-2, 1\]",
        ),
        (lambda: F.softmax(np.zeros((2, 3), "f4"), dim=-3), fc.ShapeError, "softmax: dim"),
        (lambda: F.softmax(np.zeros((), "f4"), dim=1), fc.ShapeError, "softmax: dim"),
        (lambda: F.softmax(np.zeros(3, "f4"), dim=2**70), fc.ShapeError, "softmax: dim"),
        (
            lambda: F.softmax(np.zeros(3, "f4"), dim=0.0),
            fc.DTypeError,
            "softmax: dim must be an integer",
        ),
        (lambda: F.softmax(np.zeros(3, "f4"), dim=None), fc.DTypeError, "softmax: dim"),
        (lambda: F.softmax(np.zeros(3, "f4"), dim=True), fc.DTypeError, "softmax: dim"),
        (lambda: F.log_softmax(np.zeros(3, "i8")), fc.DTypeError, "log_softmax: .*int64"),
        (lambda: F.log_softmax("x"), fc.DTypeError, "log_softmax: input must be an array"),
    ],
)
def test_bad_arguments(call: Any, error: type[Exception], text: str) -> None:
    with pytest.raises(error, match=text):
        call()
