"""Dropout of elements and of channels."""

from __future__ import annotations

from typing import Any

import numpy as np

from .. import _ops
from .._arrays import LAYOUTS, ArrayLike, MemoryOrder, NDArray
from ..errors import ShapeError
from ..tensor import as_array, finish
from ._args import flag, floating, number
from .elementwise import mul


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
    floating("dropout", "input", array)
    if not flag("dropout", "training", training) or rate == 0:
        return input
    order = MemoryOrder(array)
    key = _ops.dropout_key(array)
    y = _ops.dropout(order.enter(array), rate, key)

    def backward(g: NDArray, needs: tuple[bool, ...]) -> tuple[NDArray | None, ...]:
        return (order.leave(_ops.dropout(order.enter(g), rate, key)),)

    return finish("dropout", order.leave(y), (input,), backward)


def dropout1d(
    input: ArrayLike, p: float = 0.5, training: bool = True, *, layout: str = "NCHW"
) -> ArrayLike:
    """Zero whole channels of (N, C, L), or (N, L, C) in NHWC; otherwise as `dropout2d`."""
    return _of_channels("dropout1d", 3, input, p, training, layout)


def dropout2d(
    input: ArrayLike, p: float = 0.5, training: bool = True, *, layout: str = "NCHW"
) -> ArrayLike:
    """Zero each channel of each example with probability `p`, divide the rest by 1 - p (Tompson et al., 2015).

    Args:
        input: (N, C, H, W), or (N, H, W, C) with layout "NHWC"; float32, float64 or bfloat16.
        p, training: as of `dropout`.

    Raises:
        ShapeError: `p` is not in [0, 1], or another number of dimensions.
        DTypeError: the input is not float32, float64 or bfloat16.
    """
    return _of_channels("dropout2d", 4, input, p, training, layout)


def dropout3d(
    input: ArrayLike, p: float = 0.5, training: bool = True, *, layout: str = "NCHW"
) -> ArrayLike:
    """Zero whole channels of (N, C, D, H, W), or (N, D, H, W, C) in NHWC; otherwise as `dropout2d`."""
    return _of_channels("dropout3d", 5, input, p, training, layout)


def _of_channels(
    op: str, ndim: int, input: ArrayLike, p: Any, training: Any, layout: Any
) -> ArrayLike:
    x = as_array(op, "input", input)
    rate = number(op, "p", p)
    if not 0 <= rate <= 1:
        raise ShapeError(f"{op}: p must be in [0, 1], got {rate}")
    floating(op, "input", x)
    if x.ndim != ndim:
        raise ShapeError(f"{op}: input must have {ndim} dimensions, got shape {x.shape}")
    if not isinstance(layout, str) or layout not in LAYOUTS:
        raise ShapeError(f"{op}: layout must be 'NCHW' or 'NHWC', got {layout!r}")
    if not flag(op, "training", training) or rate == 0:
        return input
    at = 1 if layout == "NCHW" else ndim - 1
    shape = tuple(s if d in (0, at) else 1 for d, s in enumerate(x.shape))
    mask = _ops.dropout(np.ones(shape, x.dtype.newbyteorder("=")), rate, _ops.dropout_key(x))
    return mul(input, mask)
