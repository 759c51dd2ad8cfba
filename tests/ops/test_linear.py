"""The linear layer against float64 NumPy and PyTorch, gradients, bits, bad input."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import fastconv as fc
import fastconv.functional as F
from fastconv import _core
from tests.cases.linear import CASES
from tests.support import (
    assert_close,
    check_gradients,
    check_same_bits_for_threads,
    randn,
    rng,
)

cases = pytest.mark.parametrize(("x", "out"), CASES, ids=str)


def data(x: tuple[int, ...], out: int, dtype: Any = np.float32) -> list[Any]:
    g = rng(x, out)
    return [randn(g, *s, dtype=dtype) for s in (x, (out, x[-1]), (out,))]


@cases
def test_forward(x: tuple[int, ...], out: int) -> None:
    for dtype, tol in ((np.float32, 3e-6), (np.float64, 1e-14)):
        a, w, b = data(x, out, dtype)
        wide = [v.astype(np.float64) for v in (a, w, b)]
        assert_close(F.linear(a, w, b), wide[0] @ wide[1].T + wide[2], tol)
        assert_close(F.linear(a, w), wide[0] @ wide[1].T, tol)


@cases
def test_backward(x: tuple[int, ...], out: int) -> None:
    for dtype, tol in ((np.float32, 4e-6), (np.float64, 1e-13)):
        a, w, _ = data(x, out, dtype)
        dy = randn(rng(x, out, "dy"), *x[:-1], out, dtype=dtype)
        dx, dw, db = _core.linear_backward(a, w, dy, True, True, True)
        wide = [v.astype(np.float64) for v in (a, w, dy)]
        flat = wide[2].reshape(-1, out)
        assert_close(dx, wide[2] @ wide[1], tol)
        assert_close(dw, flat.T @ wide[0].reshape(-1, x[-1]), tol)
        assert_close(db, flat.sum(0), tol)
        assert _core.linear_backward(a, w, dy, False, False, False) == (None, None, None)


@pytest.mark.parametrize("shape", [(3, 4), (2, 3, 5), (6,)])
def test_gradients(shape: tuple[int, ...]) -> None:
    g = rng(shape)
    check_gradients(F.linear, [g.standard_normal(s) for s in (shape, (7, shape[-1]), (7,))])


@cases
def test_same_bits_for_threads(x: tuple[int, ...], out: int) -> None:
    a, w, b = data(x, out)
    dy = randn(rng(x, "dy"), *x[:-1], out)
    check_same_bits_for_threads(
        lambda: [F.linear(a, w, b), *_core.linear_backward(a, w, dy, True, True, True)]
    )


@cases
def test_against_torch(x: tuple[int, ...], out: int) -> None:
    torch = pytest.importorskip("torch")
    arrays = data(x, out)
    theirs = [torch.tensor(a, requires_grad=True) for a in arrays]
    ours = [fc.tensor(a, requires_grad=True) for a in arrays]
    ty, fy = torch.nn.functional.linear(*theirs), F.linear(*ours)
    assert_close(fy, ty.detach().numpy(), 1e-5)
    dy = randn(rng("dy"), *ty.shape)
    ty.backward(torch.tensor(dy))
    fy.backward(dy)
    for a, b in zip(ours, theirs, strict=True):
        assert_close(a.grad, b.grad.numpy(), 1e-5)


def test_empty_batch() -> None:
    x, w = np.zeros((0, 3), np.float32), np.ones((4, 3), np.float32)
    assert F.linear(x, w).shape == (0, 4)
    dx, dw, db = _core.linear_backward(x, w, np.zeros((0, 4), np.float32), True, True, True)
    assert dx is not None and dx.shape == (0, 3)
    np.testing.assert_array_equal(dw, np.zeros((4, 3)))
    np.testing.assert_array_equal(db, np.zeros(4))


X, W = np.zeros((2, 8), np.float32), np.zeros((5, 8), np.float32)


@pytest.mark.parametrize(
    ("call", "error", "match"),
    [
        (
            lambda: F.linear(X, W[:, :7]),
            fc.ShapeError,
            "expects 7 input features but the input has 8",
        ),
        (lambda: F.linear(X, W[0]), fc.ShapeError, "weight must have 2 dimensions"),
        (lambda: F.linear(X, W, X), fc.ShapeError, r"bias must have shape \(5,\)"),
        (lambda: F.linear(X, W[:0]), fc.ShapeError, "no empty dimension"),
        (lambda: F.linear(np.float32(1), W), fc.DTypeError, "input must be an array"),
        (lambda: F.linear(np.zeros((), "f4"), W), fc.ShapeError, "at least one dimension"),
        (lambda: F.linear(X, W.astype("f8")), fc.DTypeError, "weight must be float32"),
        (lambda: F.linear(X.astype("i8"), W), fc.DTypeError, "float64 or bfloat16"),
        (
            lambda: _core.linear_backward(X, W, X, True, True, True),
            fc.ShapeError,
            r"grad_output must have shape \(2, 5\)",
        ),
    ],
)
def test_bad_arguments(call: Any, error: type[Exception], match: str) -> None:
    with pytest.raises(error, match=match):
        call()
