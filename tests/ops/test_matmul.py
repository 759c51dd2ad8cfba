"""matmul against NumPy in float64, gradients, bits, bad input."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import fastconv as fc
import fastconv.functional as F
from fastconv import _core
from tests.support import (
    assert_close,
    check_bfloat16,
    check_gradients,
    check_same_bits_for_threads,
    randn,
    rng,
)

CASES: list[tuple[tuple[int, ...], tuple[int, ...]]] = [
    ((3, 4), (4, 5)),
    ((4,), (4,)),
    ((4,), (4, 5)),
    ((3, 4), (4,)),
    ((2, 3, 4), (4, 5)),
    ((2, 3, 4), (1, 4, 5)),
    ((2, 3, 4), (2, 4, 5)),
    ((3, 4), (2, 4, 5)),
    ((5, 1, 3, 4), (2, 4, 6)),
    ((2, 1, 3, 4), (1, 3, 4, 2)),
    ((4,), (2, 4, 5)),
    ((2, 3, 4), (4,)),
    ((1, 1), (1, 1)),
    ((33, 130), (130, 70)),
    ((2, 9, 300), (300, 257)),
]
EMPTY: list[tuple[tuple[int, ...], tuple[int, ...]]] = [
    ((0, 3, 4), (4, 5)),
    ((3, 0), (0, 5)),
    ((2, 0, 4), (4, 5)),
    ((0,), (0,)),
    ((2, 3, 4), (2, 4, 0)),
]


def data(*shapes: tuple[int, ...], dtype: Any = np.float32) -> list[Any]:
    generator = rng(shapes)
    return [randn(generator, *s, dtype=dtype) for s in shapes]


@pytest.mark.parametrize(("a", "b"), CASES + EMPTY, ids=str)
def test_forward_and_backward(a: Any, b: Any) -> None:
    x, y = data(a, b)
    wide = np.asarray(np.matmul(x.astype(np.float64), y.astype(np.float64)))
    for dtype, tol in ((np.float32, 3e-6), (np.float64, 1e-14)):
        tensors = [fc.tensor(v.astype(dtype), requires_grad=True) for v in (x, y)]
        product = F.matmul(*tensors)
        assert product.dtype == dtype
        assert_close(product.numpy(), wide, tol)
        g = np.asarray(randn(rng(a, b, "g"), *wide.shape), dtype)
        product.backward(g)
        full = np.asarray(g, np.float64)
        left = x.astype(np.float64).reshape(x.shape if x.ndim > 1 else (1, -1))
        right = y.astype(np.float64).reshape(y.shape if y.ndim > 1 else (-1, 1))
        if y.ndim == 1:
            full = full[..., None]
        if x.ndim == 1:
            full = full[..., None, :]
        for t, gradient in zip(
            tensors,
            (full @ np.swapaxes(right, -1, -2), np.swapaxes(left, -1, -2) @ full),
            strict=True,
        ):
            own = left.shape if t is tensors[0] else right.shape
            gradient = gradient.sum(tuple(range(gradient.ndim - len(own))))
            same = tuple(d for d, n in enumerate(own) if n == 1 and gradient.shape[d] != 1)
            assert t.grad is not None
            assert_close(
                t.grad.numpy(), gradient.sum(same, keepdims=True).reshape(t.shape), 10 * tol
            )


@pytest.mark.parametrize(("a", "b"), CASES[:12], ids=str)
def test_gradients(a: Any, b: Any) -> None:
    check_gradients(F.matmul, data(a, b, dtype=np.float64))


@pytest.mark.parametrize(("a", "b"), CASES, ids=str)
def test_bfloat16_and_threads(a: Any, b: Any) -> None:
    x, y = data(a, b)
    if len(a) > 1 and len(b) > 1:
        check_bfloat16(F.matmul, [x, y])
    check_same_bits_for_threads(lambda: F.matmul(x, y))


@pytest.mark.parametrize(("a", "b"), CASES[4:10], ids=str)
def test_matches_torch(a: Any, b: Any) -> None:
    torch = pytest.importorskip("torch")
    x, y = data(a, b)
    expected = torch.matmul(torch.from_numpy(x), torch.from_numpy(y)).numpy()
    assert_close(F.matmul(x, y), expected, 3e-6)


def test_autocast() -> None:
    x, y = data((3, 4), (4, 5))
    with fc.autocast():
        assert str(F.matmul(x, y).dtype) == "bfloat16"


A = np.zeros((2, 3, 4), np.float32)


@pytest.mark.parametrize(
    ("call", "error", "text"),
    [
        (lambda: F.matmul(A, A), fc.ShapeError, "matmul: the inner sizes differ.*3, 4.*3, 4"),
        (lambda: F.matmul(A, A[0, 0, :3]), fc.ShapeError, "matmul: the inner sizes differ"),
        (
            lambda: F.matmul(A, np.zeros((3, 4, 1), "f4")),
            fc.ShapeError,
            "matmul: the leading dimensions do not broadcast",
        ),
        (lambda: F.matmul(A, np.float32(1)), fc.DTypeError, "matmul: other must be an array"),
        (lambda: F.matmul(A, np.zeros((), "f4")), fc.ShapeError, "matmul: expects vectors or"),
        (lambda: F.matmul(A, np.zeros((4, 2))), fc.DTypeError, "matmul: other must be float32"),
        (lambda: F.matmul(A.astype(int), A), fc.DTypeError, "matmul: input must be float32"),
        (lambda: _core.matmul(A, A, "both"), fc.ShapeError, "matmul: kind must be"),
        (lambda: _core.matmul(A[0, 0], A, "plain"), fc.ShapeError, "matmul: expects two matrices"),
    ],
)
def test_bad_arguments(call: Any, error: type[Exception], text: str) -> None:
    with pytest.raises(error, match=text):
        call()
