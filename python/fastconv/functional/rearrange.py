"""Channels into pixels and back, channels of groups mixed, and patches of pictures as columns."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from .._arrays import LAYOUTS, ArrayLike, NDArray
from ..errors import ShapeError
from ..tensor import as_array
from ._args import floating, integer
from ._composed import composed
from ._taps import Taps
from ._unbatched import takes_one_example
from ._windows import memory_layout, outputs_of, several
from .pool_nd import Sizes
from .resize import resampled
from .shape import permute, reshape


def _picture(op: str, input: ArrayLike, layout: Any) -> tuple[tuple[int, ...], int, int, int]:
    """Sizes before the picture, channels, height and width of (..., C, H, W) or (..., H, W, C)."""
    shape = as_array(op, "input", input).shape
    if not isinstance(layout, str) or layout not in LAYOUTS:
        raise ShapeError(f"{op}: layout must be 'NCHW' or 'NHWC', got {layout!r}")
    if len(shape) < 3:
        raise ShapeError(f"{op}: input must have at least 3 dimensions, got shape {shape}")
    c, h, w = shape[-3:] if layout == "NCHW" else (shape[-1], *shape[-3:-1])
    return shape[:-3], c, h, w


def _factor(op: str, what: str, value: Any) -> int:
    factor = integer(op, what, value)
    if not 1 <= factor < 2**31:
        raise ShapeError(f"{op}: {what} must be at least 1, got {factor}")
    return factor


@composed
def pixel_shuffle(input: ArrayLike, upscale_factor: int, *, layout: str = "NCHW") -> ArrayLike:
    """Channels become pixels: (..., C r^2, H, W) -> (..., C, H r, W r) (Shi et al., 2016). Any element type.

    Args:
        input: (..., C r^2, H, W), or (..., H, W, C r^2) with layout "NHWC".
        upscale_factor: r; channel c r^2 + i r + j gives the pixels at (i, j) of each r x r block.

    Raises:
        ShapeError: fewer than three dimensions, or r^2 does not divide the channels.
        DTypeError: a factor that is not an integer.
    """
    op = "pixel_shuffle"
    r = _factor(op, "upscale_factor", upscale_factor)
    lead, c, h, w = _picture(op, input, layout)
    if c % (r * r):
        raise ShapeError(
            f"{op}: the square of upscale_factor {r} must divide the {c} channels of the input"
        )
    outer, n = c // (r * r), len(lead)
    first = tuple(range(n))
    if layout == "NHWC":
        parts = reshape(input, (*lead, h, w, outer, r, r))
        order = (n, n + 3, n + 1, n + 4, n + 2)
        return reshape(permute(parts, first + order), (*lead, h * r, w * r, outer))
    parts = reshape(input, (*lead, outer, r, r, h, w))
    order = (n, n + 3, n + 1, n + 4, n + 2)
    return reshape(permute(parts, first + order), (*lead, outer, h * r, w * r))


@composed
def pixel_unshuffle(input: ArrayLike, downscale_factor: int, *, layout: str = "NCHW") -> ArrayLike:
    """Pixels become channels, `pixel_shuffle` backwards: (..., C, H r, W r) -> (..., C r^2, H, W).

    Args:
        input: (..., C, H r, W r), or (..., H r, W r, C) with layout "NHWC".
        downscale_factor: r.

    Raises:
        ShapeError: fewer than three dimensions, or r does not divide height and width.
        DTypeError: a factor that is not an integer.
    """
    op = "pixel_unshuffle"
    r = _factor(op, "downscale_factor", downscale_factor)
    lead, c, h, w = _picture(op, input, layout)
    if h % r or w % r:
        raise ShapeError(
            f"{op}: downscale_factor {r} must divide height and width, got {h} and {w}"
        )
    high, wide, n = h // r, w // r, len(lead)
    first = tuple(range(n))
    if layout == "NHWC":
        parts = reshape(input, (*lead, high, r, wide, r, c))
        order = (n, n + 2, n + 4, n + 1, n + 3)
        return reshape(permute(parts, first + order), (*lead, high, wide, c * r * r))
    parts = reshape(input, (*lead, c, high, r, wide, r))
    order = (n, n + 2, n + 4, n + 1, n + 3)
    return reshape(permute(parts, first + order), (*lead, c * r * r, high, wide))


@composed
def channel_shuffle(input: ArrayLike, groups: int, *, layout: str = "NCHW") -> ArrayLike:
    """Channels of `groups` groups in turns: channel i of group g goes to i groups + g (Zhang et al., 2018).

    Args:
        input: (N, C, ...) of at least three dimensions, or (N, ..., C) with layout "NHWC". Any element type.
        groups: a divisor of C.

    Raises:
        ShapeError: too few dimensions, or the groups do not divide the channels.
        DTypeError: a number of groups that is not an integer.
    """
    op = "channel_shuffle"
    shape = as_array(op, "input", input).shape
    last = memory_layout(op, layout)
    count = _factor(op, "groups", groups)
    if len(shape) < 3:
        raise ShapeError(f"{op}: input must have at least 3 dimensions, got shape {shape}")
    at = len(shape) - 1 if last else 1
    if shape[at] % count:
        raise ShapeError(f"{op}: groups={count} must divide the {shape[at]} channels")
    parts = reshape(input, (*shape[:at], count, shape[at] // count, *shape[at + 1 :]))
    order = (*range(at), at + 1, at, *range(at + 2, len(shape) + 1))
    return reshape(permute(parts, order), shape)


def _places(size: int, outputs: int, taps: int, stride: int, before: int, dilation: int) -> NDArray:
    """Tap by tap, the place that each window reads along an axis, negative in the padding."""
    at = (np.arange(taps) * dilation - before)[:, None] + np.arange(outputs) * stride
    places: NDArray = np.where(at < size, at, -1).ravel()
    return places


class _Patches:
    """The checked windows of `unfold` and `fold` on pictures of one size."""

    def __init__(
        self,
        op: str,
        spatial: tuple[int, ...],
        kernel: Any,
        dilation: Any,
        padding: Any,
        stride: Any,
    ) -> None:
        self.kernel = several(op, "kernel_size", kernel, 2, 1)
        spread = several(op, "dilation", dilation, 2, 1)
        edges = several(op, "padding", padding, 2, 0)
        steps = several(op, "stride", stride, 2, 1)
        both = tuple((p, p) for p in edges)
        self.count = outputs_of(op, spatial, self.kernel, steps, both, spread)
        if math.prod(self.kernel) * math.prod(self.count) > 2**40:
            raise ShapeError(
                f"{op}: windows of {self.kernel} at {self.count} places are too many elements"
            )
        each = zip(spatial, self.count, self.kernel, steps, edges, spread, strict=True)
        self.taps = [Taps.of(one[0], _places(*one)) for one in each]


@composed
@takes_one_example(4)
def unfold(
    input: ArrayLike,
    kernel_size: Sizes,
    dilation: Sizes = 1,
    padding: Sizes = 0,
    stride: Sizes = 1,
) -> ArrayLike:
    """Patches as columns ("im2col"): a convolution is a product of its weights and these.

    Args:
        input: (N, C, H, W) or (C, H, W), float32, float64 or bfloat16.
        kernel_size, dilation, padding, stride: of the windows; an int or (height, width). Padding is zeros.

    Returns:
        (N, C R S, L): the elements of each of the L windows, which go row by row.

    Raises:
        ShapeError, DTypeError: the arguments do not fit; the message says how.
    """
    op = "unfold"
    x = as_array(op, "input", input)
    floating(op, "input", x)
    if x.ndim != 4:
        raise ShapeError(f"{op}: input must be (N, C, H, W) or (C, H, W), got shape {x.shape}")
    n, c, h, w = x.shape
    patches = _Patches(op, (h, w), kernel_size, dilation, padding, stride)
    (r, s), (p, q) = patches.kernel, patches.count
    y = resampled(op, input, x, [(2, patches.taps[0]), (3, patches.taps[1])])
    y = permute(reshape(y, (n, c, r, p, s, q)), (0, 1, 2, 4, 3, 5))
    return reshape(y, (n, c * r * s, p * q))


@composed
@takes_one_example(3)
def fold(
    input: ArrayLike,
    output_size: Sizes,
    kernel_size: Sizes,
    dilation: Sizes = 1,
    padding: Sizes = 0,
    stride: Sizes = 1,
) -> ArrayLike:
    """Columns added up where their patches lie ("col2im"): the gradient of `unfold`.

    Args:
        input: (N, C R S, L) or (C R S, L), float32, float64 or bfloat16.
        output_size: height and width of the picture.
        kernel_size, dilation, padding, stride: as for `unfold` of such a picture.

    Returns:
        (N, C, H, W) or (C, H, W).

    Raises:
        ShapeError, DTypeError: the arguments do not fit; the message says how.
    """
    op = "fold"
    x = as_array(op, "input", input)
    floating(op, "input", x)
    if x.ndim != 3:
        raise ShapeError(f"{op}: input must be (N, C R S, L) or (C R S, L), got shape {x.shape}")
    size = several(op, "output_size", output_size, 2, 1)
    patches = _Patches(op, size, kernel_size, dilation, padding, stride)
    (r, s), (p, q) = patches.kernel, patches.count
    n, rows, columns = x.shape
    if rows % (r * s) or columns != p * q:
        raise ShapeError(
            f"{op}: {p * q} windows of {r} x {s} need (N, C * {r * s}, {p * q}), got shape {x.shape}"
        )
    c = rows // (r * s)
    y = permute(reshape(input, (n, c, r, s, p, q)), (0, 1, 2, 4, 3, 5))
    y = reshape(y, (n, c, r * p, s * q))
    back = [(3, patches.taps[1].backward()), (2, patches.taps[0].backward())]
    return resampled(op, y, as_array(op, "input", y), back)
