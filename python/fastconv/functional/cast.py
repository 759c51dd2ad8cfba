"""From one element type to another."""

from __future__ import annotations

from typing import Any

import numpy as np

from .. import _ops
from .._arrays import ArrayLike, MemoryOrder, NDArray, is_floating, is_numeric, to_dtype
from ..errors import DTypeError
from ..tensor import as_array, finish


def astype(input: ArrayLike, dtype: Any) -> ArrayLike:
    """The values in another element type, in the same memory order.

    Gradients come back in the input's type. float32 becomes bfloat16 by rounding to the nearest, ties to
    even; NaN stays NaN.

    Args:
        input: any shape, any type of real numbers.
        dtype: what NumPy takes for an element type, or "bfloat16".

    Raises:
        DTypeError: a type that is not one of real numbers.
        ImportError: bfloat16 without the package ml_dtypes.
    """
    x = as_array("astype", "input", input)
    wanted = to_dtype("astype", dtype).newbyteorder("=")
    if not is_numeric(wanted) or not is_numeric(x.dtype):
        raise DTypeError(f"astype: expects types of real numbers, got {x.dtype} and {wanted}")

    def backward(g: NDArray, needs: tuple[bool, ...]) -> tuple[NDArray | None, ...]:
        return (convert(g, x.dtype.newbyteorder("=")),)

    differentiable = is_floating(x.dtype) and is_floating(wanted)
    return finish("astype", convert(x, wanted), (input,), backward if differentiable else None)


def convert(x: NDArray, dtype: np.dtype[Any]) -> NDArray:
    """A copy of `x` in another element type."""
    order = MemoryOrder(x)
    if x.dtype == np.float32 and _ops.is_bfloat16(dtype):
        return order.leave(_ops.to_bfloat16(order.enter(x)))
    if dtype == np.float32 and _ops.is_bfloat16(x.dtype):
        return order.leave(_ops.from_bfloat16(order.enter(x)))
    return x.astype(dtype)
