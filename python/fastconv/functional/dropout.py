"""Dropout of elements and of channels."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from .. import _ops
from .._arrays import LAYOUTS, ArrayLike, MemoryOrder, NDArray
from ..errors import ShapeError
from ..tensor import as_array, finish
from ._args import flag, floating, number
from ._composed import composed
from .elementwise import add, mul


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
    rate = _rate("dropout", p)
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
    """Zero whole channels of (N, C, L) or (C, L), or with C last in NHWC; otherwise as `dropout2d`."""
    return _of_channels("dropout1d", 3, input, p, training, layout)


def dropout2d(
    input: ArrayLike, p: float = 0.5, training: bool = True, *, layout: str = "NCHW"
) -> ArrayLike:
    """Zero each channel of each example with probability `p`, divide the rest by 1 - p (Tompson et al., 2015).

    Args:
        input: (N, C, H, W) or (N, C, L), with layout "NHWC" channels last; float32, float64 or bfloat16.
        p, training: as of `dropout`.

    Raises:
        ShapeError: `p` is not in [0, 1], or another number of dimensions.
        DTypeError: the input is not float32, float64 or bfloat16.
    """
    return _of_channels("dropout2d", 4, input, p, training, layout)


def dropout3d(
    input: ArrayLike, p: float = 0.5, training: bool = True, *, layout: str = "NCHW"
) -> ArrayLike:
    """Zero whole channels of (N, C, D, H, W) or (C, D, H, W), or with C last in NHWC; otherwise as `dropout2d`."""
    return _of_channels("dropout3d", 5, input, p, training, layout)


def _rate(op: str, p: Any) -> float:
    rate = number(op, "p", p)
    if not 0 <= rate <= 1:
        raise ShapeError(f"{op}: p must be in [0, 1], got {rate}")
    return rate


def _kept(x: NDArray, shape: tuple[int, ...], rate: float) -> NDArray:
    """1 / (1 - rate) with probability 1 - rate, else 0, in every run anew; of x's type."""
    return _ops.dropout(np.ones(shape, x.dtype.newbyteorder("=")), rate, _ops.dropout_key(x))


def _of_channels(
    op: str, ndim: int, input: ArrayLike, p: Any, training: Any, layout: Any
) -> ArrayLike:
    x = as_array(op, "input", input)
    rate = _rate(op, p)
    floating(op, "input", x)
    if x.ndim not in (ndim, ndim - 1):
        raise ShapeError(
            f"{op}: input must have {ndim - 1} or {ndim} dimensions, got shape {x.shape}"
        )
    if not isinstance(layout, str) or layout not in LAYOUTS:
        raise ShapeError(f"{op}: layout must be 'NCHW' or 'NHWC', got {layout!r}")
    if not flag(op, "training", training) or rate == 0:
        return input
    # As in PyTorch, three dimensions are a batch of rows even for pictures.
    batched = x.ndim == ndim or x.ndim == 3
    at = x.ndim - 1 if layout == "NHWC" else int(batched)
    kept = (0, at) if batched else (at,)
    shape = tuple(s if d in kept else 1 for d, s in enumerate(x.shape))
    return mul(input, _kept(x, shape, rate))


# What SELU makes of minus infinity, negated.
_SELU_FLOOR = 1.7580993408473766


@composed
def alpha_dropout(input: ArrayLike, p: float = 0.5, training: bool = False) -> ArrayLike:
    """Put SELU's lowest value in place of elements with probability `p`, then scale and shift all so that
    inputs of mean 0 and variance 1 keep both (Klambauer et al., 2017).

    Args:
        input: any shape; float32, float64 or bfloat16.
        p: in [0, 1]; with 1 all become 0, as in PyTorch.
        training: without it the input itself comes back.

    Raises:
        ShapeError: `p` is not in [0, 1].
        DTypeError: the input is not float32, float64 or bfloat16.
    """
    x = as_array("alpha_dropout", "input", input)
    return _alpha("alpha_dropout", input, x, x.shape, p, training)


@composed
def feature_alpha_dropout(
    input: ArrayLike, p: float = 0.5, training: bool = False, *, layout: str = "NCHW"
) -> ArrayLike:
    """`alpha_dropout` of whole channels of (N, C, ...), or (N, ..., C) in NHWC.

    Raises:
        ShapeError: `p` is not in [0, 1], or fewer than two dimensions.
        DTypeError: the input is not float32, float64 or bfloat16.
    """
    op = "feature_alpha_dropout"
    x = as_array(op, "input", input)
    if not isinstance(layout, str) or layout not in LAYOUTS:
        raise ShapeError(f"{op}: layout must be 'NCHW' or 'NHWC', got {layout!r}")
    if x.ndim < 2:
        raise ShapeError(f"{op}: input must have at least 2 dimensions, got shape {x.shape}")
    kept = (0, 1 if layout == "NCHW" else x.ndim - 1)
    shape = tuple(s if d in kept else 1 for d, s in enumerate(x.shape))
    return _alpha(op, input, x, shape, p, training)


def _alpha(
    op: str, input: ArrayLike, x: NDArray, shape: tuple[int, ...], p: Any, training: Any
) -> ArrayLike:
    rate = _rate(op, p)
    floating(op, "input", x)
    if not flag(op, "training", training) or rate == 0:
        return input
    if rate == 1:
        return mul(input, 0.0)
    scale = 1.0 / math.sqrt((_SELU_FLOOR**2 * rate + 1) * (1 - rate))
    kept = _kept(x, shape, rate)
    # What stays is scaled; what goes becomes -floor * scale; and all move by floor * scale * p.
    factor = _ops.elementwise_scalar("mul", kept, scale * (1 - rate))
    lift = _ops.elementwise_scalar("mul", kept, _SELU_FLOOR * scale * (1 - rate))
    lift = _ops.elementwise_scalar("add", lift, _SELU_FLOOR * scale * (rate - 1))
    return add(mul(input, factor), lift)
