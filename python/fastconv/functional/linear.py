"""The fully connected layer, and products of matrices."""

from __future__ import annotations

import numpy as np

from .. import _ops
from .._arrays import ArrayLike, NDArray
from ..errors import ShapeError
from ..tensor import as_array, finish
from ._args import floating
from .autocast import lowered
from .cast import convert
from .elementwise import sum_to


def linear(input: ArrayLike, weight: ArrayLike, bias: ArrayLike | None = None) -> ArrayLike:
    """y = x weight^T + bias on the last dimension.

    Args:
        input: (..., in_features).
        weight: (out_features, in_features).
        bias: (out_features,) or None.

    Returns:
        (..., out_features).

    Raises:
        ShapeError: the feature counts differ.
        DTypeError: arrays that are not all of one type: float32, float64 or bfloat16.
    """
    input, weight, bias = lowered(input, weight, bias)
    x, w = as_array("linear", "input", input), as_array("linear", "weight", weight)
    b = None if bias is None else as_array("linear", "bias", bias)
    y = _ops.linear(x, w, b)

    def backward(g: NDArray, needs: tuple[bool, ...]) -> tuple[NDArray | None, ...]:
        return _ops.linear_backward(x, w, g, *needs)

    return finish("linear", y, (input, weight, bias), backward)


def matmul(input: ArrayLike, other: ArrayLike) -> ArrayLike:
    """Products of matrices, as NumPy's matmul: the last two dimensions, those in front broadcast.

    Args:
        input: (..., M, K), or (K,), which is a row.
        other: (..., K, N), or (K,), which is a column.

    Returns:
        (..., M, N) without the dimensions that one-dimensional operands lack.

    Raises:
        ShapeError: inner sizes that differ, leading ones that do not broadcast, or a scalar.
        DTypeError: arrays that are not all of one type: float32, float64 or bfloat16.
    """
    op = "matmul"
    input, other = lowered(input, other)
    a, b = as_array(op, "input", input), as_array(op, "other", other)
    floating(op, "input", a)
    if not a.ndim or not b.ndim:
        raise ShapeError(f"{op}: expects vectors or matrices, got shapes {a.shape} and {b.shape}")
    if a.shape[-1] != b.shape[max(b.ndim - 2, 0)]:
        raise ShapeError(f"{op}: the inner sizes differ, got shapes {a.shape} and {b.shape}")
    left = a if a.ndim > 1 else a.reshape((1, *a.shape))
    right = b if b.ndim > 1 else b.reshape((*b.shape, 1))
    product = _ops.matmul(left, right, "plain")
    shape = product.shape[: -1 if b.ndim == 1 else None]
    if a.ndim == 1:
        shape = (*shape[: product.ndim - 2], *shape[product.ndim - 1 :])

    def backward(g: NDArray, needs: tuple[bool, ...]) -> tuple[NDArray | None, ...]:
        g = g.reshape(product.shape)
        da = db = None
        if needs[0]:
            da = _gradient(g, right, "transposed_b", left.shape).reshape(a.shape)
        if needs[1]:
            rows, of_rows = left, g
            if right.ndim == 2 and g.size and left.size:  # shared by all: one sum over all rows
                rows = left.reshape((-1, left.shape[left.ndim - 1]))
                of_rows = g.reshape((-1, g.shape[g.ndim - 1]))
            db = _gradient(rows, of_rows, "transposed_a", right.shape).reshape(b.shape)
        return da, db

    return finish(op, product.reshape(shape), (input, other), backward)


def _gradient(u: NDArray, v: NDArray, kind: str, shape: tuple[int, ...]) -> NDArray:
    """A product summed to the shape of the operand that was repeated; in bfloat16 rounded once."""
    if u.shape[:-2] == v.shape[:-2] == shape[:-2] or not _ops.is_bfloat16(u.dtype):
        return sum_to(_ops.matmul(u, v, kind), shape)
    wide = [convert(x, np.dtype(np.float32)) for x in (u, v)]
    return convert(sum_to(_ops.matmul(wide[0], wide[1], kind), shape), u.dtype)
