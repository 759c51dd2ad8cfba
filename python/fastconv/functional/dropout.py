"""Dropout."""

from __future__ import annotations

import numpy as np

from .. import _ops
from .._arrays import ArrayLike, MemoryOrder, NDArray, is_floating
from ..errors import DTypeError, ShapeError
from ..tensor import as_array, finish
from ._args import flag, number


def dropout(input: ArrayLike, p: float = 0.5, training: bool = True) -> ArrayLike:
    """Zero each element with probability `p`, divide the rest by 1 - p (Srivastava et al., 2014).

    The mask comes from the library's generator (`fastconv.manual_seed`): one key a call, which a
    counter-based generator (Philox-4x32-10; Salmon et al., 2011) expands alike for any number of
    threads and any processor. Without `training`, or with p = 0, the input itself comes back and
    no key is drawn.

    Raises:
        ShapeError: `p` is not in [0, 1].
        DTypeError: the input is not float32, float64 or bfloat16.
    """
    array = as_array("dropout", "input", input)
    rate = number("dropout", "p", p)
    if not 0 <= rate <= 1:
        raise ShapeError(f"dropout: p must be in [0, 1], got {rate}")
    if not is_floating(array.dtype) or array.dtype == np.float16 or array.dtype.itemsize > 8:
        raise DTypeError(f"dropout: input must be float32, float64 or bfloat16, got {array.dtype}")
    if not flag("dropout", "training", training) or rate == 0:
        return input
    order = MemoryOrder(array)
    key = _ops.dropout_key(array)
    y = _ops.dropout(order.enter(array), rate, key)

    def backward(g: NDArray, needs: tuple[bool, ...]) -> tuple[NDArray | None, ...]:
        return (order.leave(_ops.dropout(order.enter(g), rate, key)),)

    return finish("dropout", order.leave(y), (input,), backward)
