"""sum, mean, amax, amin and prod."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import fastconv as fc
import fastconv.functional as F
from tests.cases.reduce import CASES, Case
from tests.support import assert_close, check_gradients, check_same_bits_for_threads, randn, rng

FUNCTIONS = ["sum", "mean", "amax", "amin", "prod"]
EXTREMES = ("amax", "amin")


def expected(function: str, x: Any, dim: Any, keepdim: bool = False) -> Any:
    x = np.asarray(x, np.float64)
    dim = None if dim == () or x.ndim == 0 else dim
    if function not in ("sum", "mean"):
        return getattr(np, function)(x, axis=dim, keepdims=keepdim)
    terms = x.size if dim is None else np.prod([x.shape[d] for d in np.atleast_1d(dim)])
    total = x.sum(axis=dim, keepdims=keepdim)
    if function == "sum":
        return total
    with np.errstate(invalid="ignore"):
        return total / terms


def array(case: Case, dtype: Any, function: str = "sum") -> Any:
    x = np.asarray(randn(rng(str(case)), *case.shape) + 0.5, dtype)
    if function == "prod":  # of many terms, still of a size to compare
        x = np.asarray(1 + (x - 0.5) / (10 * np.sqrt(max(x.size, 1))), dtype)
    return x


def nothing_to_compare(case: Case, function: str) -> bool:
    """Whether there are results without terms, which extremes refuse."""
    dims = range(len(case.shape)) if case.dim in (None, ()) else np.atleast_1d(case.dim)
    reduced = np.prod([case.shape[d] for d in dims], dtype=int) if case.shape else 1
    kept = [s for d, s in enumerate(case.shape) if d not in dims]
    return function in EXTREMES and reduced == 0 and bool(np.prod(kept))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("keepdim", [False, True])
@pytest.mark.parametrize("function", FUNCTIONS)
@pytest.mark.parametrize("case", CASES, ids=str)
def test_values(case: Case, function: str, keepdim: bool, dtype: Any) -> None:
    x = array(case, dtype, function)
    if nothing_to_compare(case, function):
        with pytest.raises(fc.ShapeError, match=f"^{function}: .* has nothing to compare"):
            getattr(F, function)(x, case.dim, keepdim)
        return
    y = getattr(F, function)(x, case.dim, keepdim)
    assert y.dtype == dtype
    tolerance = 1e-7 if dtype == np.float32 else 1e-13
    assert_close(y, expected(function, x, case.dim, keepdim), tolerance, str(case))


@pytest.mark.parametrize("function", FUNCTIONS)
@pytest.mark.parametrize("case", [c for c in CASES if 0 < np.prod(c.shape) < 300], ids=str)
def test_gradients(case: Case, function: str) -> None:
    for keepdim in (False, True):
        check_gradients(
            lambda t, k=keepdim: getattr(F, function)(t, case.dim, k),
            [array(case, np.float64, function)],
        )


@pytest.mark.parametrize("function", FUNCTIONS)
@pytest.mark.parametrize("case", CASES, ids=str)
def test_matches_torch(case: Case, function: str) -> None:
    torch = pytest.importorskip("torch")
    torch.set_num_threads(1)
    if function == "prod" or nothing_to_compare(case, function):
        return  # torch.prod is over one dimension: below
    x = array(case, np.float32)
    theirs, ours = torch.from_numpy(x.copy()).requires_grad_(), fc.tensor(x, requires_grad=True)
    result = getattr(torch, function)(theirs, dim=() if case.dim is None else case.dim)
    g = np.asarray(randn(rng("g", str(case)), *result.shape))
    result.backward(torch.from_numpy(g))
    y = getattr(F, function)(ours, case.dim)
    y.backward(g)
    assert_close(y, result.detach().numpy(), 1e-5)
    assert ours.grad is not None
    assert_close(ours.grad, theirs.grad.numpy(), 2e-7)


@pytest.mark.parametrize("zeros", [0, 1, 2])
@pytest.mark.parametrize("dim", [0, 1, 2])
def test_products_match_torch(dim: int, zeros: int) -> None:
    torch = pytest.importorskip("torch")
    x = randn(rng("prod", dim), 4, 5, 6)
    x.swapaxes(0, dim)[:zeros, 1, 2:] = 0.0
    theirs, ours = torch.from_numpy(x.copy()).requires_grad_(), fc.tensor(x, requires_grad=True)
    result = torch.prod(theirs, dim)
    g = np.asarray(randn(rng("g"), *result.shape))
    result.backward(torch.from_numpy(g))
    y = F.prod(ours, dim)
    y.backward(g)
    assert_close(y, result.detach().numpy())
    assert ours.grad is not None
    assert_close(ours.grad, theirs.grad.numpy())


def test_gradients_of_products_with_zeros() -> None:
    x = rng("zeros").standard_normal((3, 4, 5))
    x[0, 0, 0] = x[1, 1, 1] = x[1, 2, 1] = x[2, 0, 3] = 0.0
    for dim in (None, 0, 1, (0, 2)):
        check_gradients(lambda t, d=dim: F.prod(t, d), [x])


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("function", EXTREMES)
def test_ties_share_the_gradient(function: str, dtype: Any) -> None:
    values = [[1, 3, 3, 0], [2, 2, 2, 2], [0, -1, 4, -1]]
    t = fc.tensor(np.array(values, dtype), requires_grad=True)
    getattr(F, function)(t, 1).backward(np.array([6, 8, 2], dtype))
    assert t.grad is not None
    right = [[0, 3, 3, 0], [2, 2, 2, 2], [0, 0, 2, 0]]
    if function == "amin":
        right = [[0, 0, 0, 6], [2, 2, 2, 2], [0, 1, 0, 1]]
    np.testing.assert_array_equal(t.grad.numpy(), right)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("size", [3, 16, 37, 20000])
@pytest.mark.parametrize("function", EXTREMES)
def test_extremes_of_special_values(function: str, size: int, dtype: Any) -> None:
    for at in {0, size // 2, size - 1}:
        for value in (np.nan, np.inf, -np.inf, -0.0):
            x = randn(rng("special", size), size, dtype=dtype)
            x[at] = value
            for y, dim in ((x, None), (x.reshape(1, -1).T, 0), (np.stack([x] * 70, 1), 0)):
                expected_y = getattr(np, function)(y, axis=dim)
                np.testing.assert_array_equal(getattr(F, function)(y, dim), expected_y)


def test_products_of_nothing() -> None:
    np.testing.assert_array_equal(F.prod(np.zeros((0, 3), "f4"), 0), np.ones(3, "f4"))
    assert F.amax(np.zeros((0, 3), "f4"), 1).shape == (0,)


@pytest.mark.parametrize("value", [1.0, 0.1, 1.1])
@pytest.mark.parametrize("shape", [(10_000_000,), (2_500_000, 4), (4, 2_500_000)])
def test_ten_million_terms_are_accurate(shape: tuple[int, ...], value: float) -> None:
    x = np.full(shape, value, np.float32)
    exact = float(np.float32(value))
    np.testing.assert_allclose(F.mean(x), exact, rtol=1e-7)
    np.testing.assert_allclose(F.sum(x), exact * x.size, rtol=1e-7)
    dim = int(np.argmax(shape))
    np.testing.assert_allclose(F.mean(x, dim), exact, rtol=1e-7)


@pytest.mark.parametrize("function", FUNCTIONS)
@pytest.mark.parametrize("dim", [None, 0, 1, 2, (0, 2), (1, 2)])
def test_threads(dim: Any, function: str) -> None:
    x = randn(rng("threads"), 67, 129, 71)

    def run() -> Any:
        t = fc.tensor(x, requires_grad=True)
        y = getattr(F, function)(t, dim)
        y.backward(y.numpy())
        assert t.grad is not None
        return y, t.grad

    check_same_bits_for_threads(run)


def test_one_long_sum_for_any_threads() -> None:
    x = randn(rng("long"), 3_000_001)
    check_same_bits_for_threads(lambda: [F.sum(x), F.mean(x.reshape(1, -1).T, 0)])


def test_channels_last_view() -> None:
    x = randn(rng("nhwc"), 2, 5, 4, 3).transpose(0, 3, 1, 2)
    for dim in (None, 1, (2, 3), (0, 2, 3)):
        t, plain = fc.Tensor(x, True), fc.tensor(x, True)
        a, b = F.mean(t, dim), F.mean(plain, dim)
        assert_close(a, b, 1e-7)
        for y in (a, b):
            y.backward(np.ones(y.shape, np.float32))
        assert t.grad is not None and plain.grad is not None
        np.testing.assert_array_equal(t.grad.numpy(), plain.grad.numpy())


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_nan_and_infinity(dtype: Any) -> None:
    x = np.ones((4, 50), dtype)
    x[0, 49], x[1, 3], x[2, [0, 1]] = np.nan, np.inf, (np.inf, -np.inf)
    with np.errstate(invalid="ignore"):
        np.testing.assert_array_equal(F.sum(x, 1), x.sum(1))
        np.testing.assert_array_equal(F.sum(x, 0), x.sum(0))


@settings(deadline=None, max_examples=80, derandomize=True)
@given(st.lists(st.integers(1, 7), max_size=6), st.booleans(), st.data())
def test_any_dimensions(shape: list[int], keepdim: bool, data: Any) -> None:
    x = np.asarray(randn(rng(shape), *shape), np.float32)
    dims = data.draw(st.lists(st.sampled_from(range(len(shape))), unique=True)) if shape else []
    for function in FUNCTIONS:
        got = getattr(F, function)(x, tuple(dims), keepdim)
        # Terms that cancel leave the rounding of the largest one.
        assert_close(got, expected(function, x, tuple(dims), keepdim), 1e-6)
        dim = tuple(d - len(shape) for d in dims)
        np.testing.assert_array_equal(getattr(F, function)(x, dim, keepdim), got)


X = np.zeros((4, 3), np.float32)


@pytest.mark.parametrize(
    ("call", "error", "text"),
    [
        (lambda: F.sum(X, 2), fc.ShapeError, r"sum: dim must be in \[-2, 1\]"),
        (lambda: F.mean(X, -3), fc.ShapeError, "mean: dim"),
        (lambda: F.mean(X, (0, 0)), fc.ShapeError, "mean: dim names a dimension twice"),
        (lambda: F.mean(X, (0, -2)), fc.ShapeError, "mean: dim names a dimension twice"),
        (lambda: F.mean(X, 0.5), fc.DTypeError, "mean: dim must be an integer"),
        (lambda: F.mean(X, "0"), fc.DTypeError, "mean: dim must be an integer"),
        (lambda: F.sum(X, (0, None)), fc.DTypeError, "sum: dim must be an integer"),
        (lambda: F.sum(X, 0, 1), fc.DTypeError, "sum: keepdim must be a bool"),
        (
            lambda: F.sum(X.astype(int)),
            fc.DTypeError,
            "sum: input must be float32, float64 or bfloat16",
        ),
        (lambda: F.mean(3.0), fc.DTypeError, "mean: input must be an array"),
    ],
)
def test_bad_arguments(call: Any, error: type[Exception], text: str) -> None:
    with pytest.raises(error, match=text):
        call()
