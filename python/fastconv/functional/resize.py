"""Resizing: nearest neighbours and linear or cubic interpolation, one dimension after the other."""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from .. import _ops
from .._arrays import LAYOUTS, ArrayLike, NDArray
from ..errors import DTypeError, ShapeError
from ..tensor import as_array, finish
from ._args import axis, flag, floating, integer, number
from ._taps import Taps
from .cast import convert

# mode -> dimensions of the input that it takes.
_RANKS = {
    "nearest": (3, 4, 5),
    "nearest-exact": (3, 4, 5),
    "linear": (3,),
    "bilinear": (4,),
    "trilinear": (5,),
    "bicubic": (4,),
}
MODES = tuple(_RANKS)
_MOST = 2**40  # so that tables of places fit
_CUBIC = -0.75  # Keys' a, as in PyTorch


def resample(
    input: ArrayLike, dim: int, index: ArrayLike, weight: ArrayLike | None = None
) -> ArrayLike:
    """Sums of chosen elements along `dim`: output o is the sum over t of weight[o, t] * input[index[o, t]].

    Resizing by any rule is this with a table of places and weights.

    Args:
        input: any shape; float32, float64 or bfloat16. Sums are of float32 at least.
        index: (outputs, taps) or (outputs,) integers below the dimension's size; negative ones read nothing.
        weight: numbers of the same shape, or None for 1. Table and weights are constant: gradients go to
            `input` alone.

    Returns:
        The input's shape with `outputs` in place of the dimension's size.

    Raises:
        ShapeError: `dim` does not exist, a place is outside, or the shapes differ.
        DTypeError: an element type that does not fit.
    """
    op = "resample"
    x = as_array(op, "input", input)
    at = axis(op, dim, x.ndim)
    if x.ndim == 0:
        raise ShapeError(f"{op}: input must have at least one dimension, got a scalar")
    floating(op, "input", x)
    places = as_array(op, "index", index)
    if places.dtype.kind not in "iu":
        raise DTypeError(f"{op}: index must be integers, got {places.dtype}")
    if places.ndim not in (1, 2):
        raise ShapeError(
            f"{op}: index must be (outputs, taps) or (outputs,), got shape {places.shape}"
        )
    if places.size and int(places.max()) >= x.shape[at]:
        raise ShapeError(
            f"{op}: index {places.max()} is outside of dimension {at} of size {x.shape[at]}"
        )
    factors = None
    if weight is not None:
        factors = as_array(op, "weight", weight)
        if factors.dtype.kind != "f":
            raise DTypeError(f"{op}: weight must be floating numbers, got {factors.dtype}")
        if factors.shape != places.shape:
            raise ShapeError(
                f"{op}: weight must have the shape {places.shape} of index, got {factors.shape}"
            )
    return resampled(op, input, x, [(at, Taps.of(x.shape[at], places, factors))])


def resampled(
    op: str, input: ArrayLike, x: NDArray, tables: Sequence[tuple[int, Taps]]
) -> ArrayLike:
    """The sums of one table after the other, each along its dimension; x is the input's array."""

    def run(v: NDArray, steps: Sequence[tuple[int, Taps]]) -> NDArray:
        # Several sums one after the other are rounded to bfloat16 once.
        narrow = len(steps) > 1 and _ops.is_bfloat16(v.dtype)
        result = convert(v, np.dtype(np.float32)) if narrow else v
        for at, taps in steps:
            result = taps.apply(result, at)
        return convert(result, v.dtype) if narrow else result

    def backward(g: NDArray, needs: tuple[bool, ...]) -> tuple[NDArray | None, ...]:
        return (run(g, [(at, taps.backward()) for at, taps in reversed(tables)]),)

    return finish(op, run(x, tables), (input,), backward)


def interpolate(
    input: ArrayLike,
    size: int | Sequence[int] | None = None,
    scale_factor: float | Sequence[float] | None = None,
    mode: str = "nearest",
    align_corners: bool | None = None,
    recompute_scale_factor: bool | None = None,
    *,
    layout: str = "NCHW",
) -> ArrayLike:
    """The input resized in its spatial dimensions, with PyTorch's numbers (without antialiasing).

    Args:
        input: (N, C, L), (N, C, H, W) or (N, C, D, H, W), with layout "NHWC" channels last; float32,
            float64 or bfloat16.
        size: the result's spatial sizes, an int for all or one for each.
        scale_factor: how many times as large instead; sizes are rounded down.
        mode: "nearest" takes input floor(o * scale) for output o, scale being input / output size or
            1 / scale_factor, "nearest-exact" floor((o + 1/2) * scale); "linear", "bilinear" and
            "trilinear" (3, 4 and 5 dimensions) weigh two neighbours a dimension, "bicubic" (4
            dimensions) four by Keys' kernel with a = -0.75 (Keys, 1981).
        align_corners: for linear and cubic modes: corners stay where they are (True), or pixels are
            areas whose edges stay (False, or None).
        recompute_scale_factor: True finds the scale from the sizes even where factors are given.

    Raises:
        ShapeError, DTypeError: the arguments do not fit; the message says how.
    """
    op = "interpolate"
    x = as_array(op, "input", input)
    floating(op, "input", x)
    if not isinstance(layout, str) or layout not in LAYOUTS:
        raise ShapeError(f"{op}: layout must be 'NCHW' or 'NHWC', got {layout!r}")
    if not isinstance(mode, str) or mode not in _RANKS:
        raise ShapeError(f"{op}: mode must be one of {', '.join(_RANKS)}, got {mode!r}")
    if x.ndim not in _RANKS[mode]:
        raise ShapeError(
            f"{op}: mode {mode!r} takes inputs of {' or '.join(map(str, _RANKS[mode]))} "
            f"dimensions, got shape {x.shape}"
        )
    nearest = mode.startswith("nearest")
    corners = False if align_corners is None else flag(op, "align_corners", align_corners)
    if nearest and align_corners is not None:
        raise ShapeError(f"{op}: align_corners is for linear and cubic modes, not {mode!r}")
    first = 1 if layout == "NHWC" else 2
    before = x.shape[first : first + x.ndim - 2]
    if 0 in before:
        raise ShapeError(f"{op}: input must have at least one pixel, got shape {x.shape}")
    after, scales = _sizes(op, before, size, scale_factor)
    if recompute_scale_factor is not None and flag(
        op, "recompute_scale_factor", recompute_scale_factor
    ):
        scales = (None,) * len(after)
    kind = mode if nearest else "cubic" if mode == "bicubic" else "linear"
    tables = [
        (first + i, table(kind, old, new, corners, scale))
        for i, (old, new, scale) in enumerate(zip(before, after, scales, strict=True))
        if old != new or not _keeps(kind, x.ndim, scale)
    ]
    return resampled(op, input, x, tables)


def _keeps(kind: str, rank: int, scale: float | None) -> bool:
    """Whether a dimension that keeps its size keeps its elements, as PyTorch has it, for any factor."""
    return scale is None or scale == 1 or kind == "linear" or (kind == "nearest" and rank == 4)


def _sizes(
    op: str, before: tuple[int, ...], size: Any, factor: Any
) -> tuple[tuple[int, ...], tuple[float | None, ...]]:
    """The result's spatial sizes, and the factors where they were given."""
    if (size is None) == (factor is None):
        raise ShapeError(f"{op}: expects either size or scale_factor")
    what = "size" if factor is None else "scale_factor"
    given = size if factor is None else factor
    values = list(given) if isinstance(given, (tuple, list)) else [given] * len(before)
    if len(values) != len(before):
        raise ShapeError(
            f"{op}: {what} must be one number or {len(before)}, got {len(values)} values"
        )
    scales: tuple[float | None, ...]
    if factor is None:
        after = tuple(integer(op, what, v) for v in values)
        scales = (None,) * len(after)
    else:
        factors = [number(op, what, v) for v in values]
        if not all(math.isfinite(f) and 0 < f <= _MOST for f in factors):
            raise ShapeError(f"{op}: scale_factor must be positive, got {factor}")
        after = tuple(math.floor(n * f) for n, f in zip(before, factors, strict=True))
        scales = tuple(factors)
    if not all(0 < n <= _MOST for n in after):
        raise ShapeError(f"{op}: sizes must be positive, got {after} from an input of {before}")
    return after, scales


@functools.lru_cache(maxsize=256)
def table(kind: str, old: int, new: int, corners: bool, factor: float | None) -> Taps:
    scale = old / new if factor is None else 1.0 / factor
    o = np.arange(new)
    if kind.startswith("nearest"):
        # In float32, as PyTorch finds its places.
        half = np.float32(0.5 if kind == "nearest-exact" else 0.0)
        ratio = np.float32(scale) if factor is not None else np.float32(old) / np.float32(new)
        places = np.floor((o.astype(np.float32) + half) * ratio).astype(np.int64)
        return Taps.of(old, np.minimum(places, old - 1))
    step = (old - 1) / (new - 1) if corners and new > 1 else 0.0
    at = o * step if corners else (o + 0.5) * scale - 0.5
    if kind == "linear":
        at = np.clip(at, 0.0, old - 1)
        low = np.floor(at).astype(np.int64)
        part = at - low
        return Taps.of(
            old,
            np.stack([low, np.minimum(low + 1, old - 1)], 1),
            np.stack([1.0 - part, part], 1),
        )
    low = np.floor(at).astype(np.int64)
    part = at - low
    places = np.stack([low + k for k in (-1, 0, 1, 2)], 1)
    weight = np.stack([_cubic(part + 1), _cubic(part), _cubic(1 - part), _cubic(2 - part)], 1)
    return Taps.of(old, np.clip(places, 0, old - 1), weight)


def _cubic(d: NDArray) -> NDArray:
    """Keys' kernel at the distance d in [0, 2]."""
    near = ((_CUBIC + 2) * d - (_CUBIC + 3)) * d * d + 1
    far = ((_CUBIC * d - 5 * _CUBIC) * d + 8 * _CUBIC) * d - 4 * _CUBIC
    return np.where(d <= 1, near, far)
