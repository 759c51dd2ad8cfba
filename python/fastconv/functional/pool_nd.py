"""One- and three-dimensional pooling by two-dimensional windows.

A row is a picture of height 1. A window of three dimensions is one of height and width, and then one along the
depth of what that gave: maxima, sums and means come apart in this way, and so do the divisors of means.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeAlias

import numpy as np

from .. import _ops
from .._arrays import ArrayLike, Spatial
from ..errors import ShapeError
from ..tensor import Tensor, as_array, finish, is_grad_enabled
from ._args import flag, integer
from ._unbatched import takes_one_example
from ._windows import AXES, memory_layout, outputs_of, picture, several
from .cast import astype
from .elementwise import mul
from .pool import run_pooling
from .shape import reshape

# An integer for every axis, or one each.
Sizes: TypeAlias = int | Sequence[int]
OutputSizes: TypeAlias = int | Sequence[int | None] | None


class Windows:
    """The checked windows of one function, along the axes of its input."""

    def __init__(
        self,
        op: str,
        kind: str,
        input: ArrayLike,
        count: int,
        layout: str,
        ceil_mode: bool = False,
        count_include_pad: bool = True,
        divisor: int | None = None,
    ) -> None:
        self.op, self.kind, self.layout, self.count = op, kind, layout, count
        self.last = memory_layout(op, layout)
        x = as_array(op, "input", input)
        self.channels, self.spatial = picture(op, x, count, self.last)
        self.batch, self.dtype = x.shape[0], x.dtype.newbyteorder("=")
        self.ceil_mode = flag(op, "ceil_mode", ceil_mode)
        self.include = flag(op, "count_include_pad", count_include_pad)
        self.divisor = divisor
        self.adaptive: tuple[int, ...] | None = None
        self.kernel = self.stride = self.padding = self.dilation = (1,) * count

    def sliding(self, kernel_size: Any, stride: Any, padding: Any, dilation: Any) -> Windows:
        op, count = self.op, self.count
        self.kernel = several(op, "kernel_size", kernel_size, count, 1)
        self.stride = self.kernel if stride is None else several(op, "stride", stride, count, 1)
        self.padding = several(op, "padding", padding, count, 0)
        self.dilation = several(op, "dilation", dilation, count, 1)
        for name, k, p in zip(AXES[count], self.kernel, self.padding, strict=True):
            if p > k // 2:
                raise ShapeError(
                    f"{op}: padding ({name}) must be at most half the kernel size, got padding {p} "
                    f"and kernel size {k}"
                )
        # Rounded up, a window may reach over the end by less than its stride.
        over = tuple(s - 1 if self.ceil_mode else 0 for s in self.stride)
        edges = tuple((p, p + more) for p, more in zip(self.padding, over, strict=True))
        outputs_of(op, self.spatial, self.kernel, self.stride, edges, self.dilation)
        return self

    def evenly(self, output_size: Any) -> Windows:
        op, count = self.op, self.count
        given = (
            list(output_size) if isinstance(output_size, (tuple, list)) else [output_size] * count
        )
        filled = [n if v is None else v for v, n in zip(given, self.spatial, strict=False)]
        self.adaptive = several(op, "output_size", filled + given[count:], count, 0)
        return self

    def run(self, input: ArrayLike, kind: str, first: int, shape: Any, indices: bool) -> Any:
        """Pooling along the axes from `first` on (none but the depth where it is -1), in another shape."""
        x = reshape(input, shape)
        array = as_array(self.op, "input", x)
        order = Spatial(self.op, array, self.layout)

        def two(values: tuple[int, ...], other: int) -> tuple[int, int]:
            if first == -1:
                return values[0], other
            return (other, values[0]) if self.count == 1 else (values[-2], values[-1])

        size = order.enter(array).shape
        if self.adaptive is not None:
            width = size[2 if order.layout == "NHWC" else 3]
            windows = two(self.adaptive, width if first == -1 else 1)
            plan = _ops.Pooling.adaptive(self.op, kind, size, windows, order.layout)
        else:
            plan = _ops.Pooling(
                self.op,
                kind,
                size,
                two(self.kernel, 1),
                two(self.stride, 1),
                two(self.padding, 0),
                two(self.dilation, 1),
                self.ceil_mode,
                self.include,
                self.divisor,
                order.layout,
            )
        return run_pooling(self.op, plan, x, order.enter(array), order, indices)

    def row(self, input: ArrayLike, indices: bool) -> Any:
        """The one-dimensional function: a row's places are those in its picture."""
        at = 1 if self.last else 2
        x = as_array(self.op, "input", input)
        y = self.run(input, self.kind, 0, (*x.shape[:at], 1, *x.shape[at:]), indices)
        made = y if indices else (y,)
        flat = tuple(reshape(v, (*v.shape[:at], *v.shape[at + 1 :])) for v in made)
        return flat if indices else flat[0]

    def plane(self, input: ArrayLike, indices: bool) -> Any:
        """The two-dimensional function."""
        shape = as_array(self.op, "input", input).shape
        return self.run(input, self.kind, 1, shape, indices)

    def volume(self, input: ArrayLike, indices: bool) -> Any:
        """The three-dimensional function."""
        n, c, (depth, height, width) = self.batch, self.channels, self.spatial
        shape = (n * depth, height, width, c) if self.last else (n, c * depth, height, width)
        planes = self.run(input, self.kind, 1, shape, indices)
        y, inside = planes if indices else (planes, None)
        at = 1 if self.last else 2
        p, q = y.shape[at : at + 2]
        shape = (n, depth, p * q, c) if self.last else (n, c, depth, p * q)
        slices = self.run(y, self.kind, -1, shape, indices)
        y, along = slices if indices else (slices, None)
        o = y.shape[at]
        full = (n, o, p, q, c) if self.last else (n, c, o, p, q)
        y = reshape(y, full)
        if not indices:
            return y
        joined = _ops.pool3d_positions(
            as_array(self.op, "index", inside).reshape(shape),
            as_array(self.op, "index", along),
            height * width,
            at,
        )
        return y, finish(self.op, joined.reshape(full), (input,), None)


@takes_one_example(3)
def max_pool1d(
    input: ArrayLike,
    kernel_size: Sizes,
    stride: Sizes | None = None,
    padding: Sizes = 0,
    dilation: Sizes = 1,
    ceil_mode: bool = False,
    return_indices: bool = False,
    *,
    layout: str = "NCHW",
) -> Any:
    """The maximum of each window of a row.

    Args:
        input: (N, C, L), or (N, L, C) with layout "NHWC"; float32, float64 or bfloat16.
        kernel_size, stride, padding, dilation, ceil_mode: as for `max_pool2d`, along the one axis.
        return_indices: return also where each maximum lies: int64, its place in the row.

    Returns:
        The maxima, (N, C, P) in the input's layout, or the pair (maxima, indices).

    Raises:
        ShapeError, DTypeError: the arguments do not fit; the message says how.
    """
    op = "max_pool1d"
    windows = Windows(op, "max", input, 1, layout, ceil_mode)
    windows.sliding(kernel_size, stride, padding, dilation)
    return windows.row(input, flag(op, "return_indices", return_indices))


@takes_one_example(5)
def max_pool3d(
    input: ArrayLike,
    kernel_size: Sizes,
    stride: Sizes | None = None,
    padding: Sizes = 0,
    dilation: Sizes = 1,
    ceil_mode: bool = False,
    return_indices: bool = False,
    *,
    layout: str = "NCHW",
) -> Any:
    """The maximum of each window of a volume.

    Args:
        input: (N, C, D, H, W), or (N, D, H, W, C) with layout "NHWC"; float32, float64 or bfloat16.
        kernel_size, stride, padding, dilation, ceil_mode: as for `max_pool2d`; an int or (depth, height, width).
        return_indices: return also where each maximum lies: int64 `(d * H + h) * W + w` in its volume.

    Returns:
        The maxima, (N, C, O, P, Q) in the input's layout, or the pair (maxima, indices).

    Raises:
        ShapeError, DTypeError: the arguments do not fit; the message says how.
    """
    op = "max_pool3d"
    windows = Windows(op, "max", input, 3, layout, ceil_mode)
    windows.sliding(kernel_size, stride, padding, dilation)
    return _maximum(windows, input, flag(op, "return_indices", return_indices))


def _maximum(windows: Windows, input: ArrayLike, indices: bool) -> Any:
    """Maxima of volumes; in bfloat16 the sums of gradients of overlapping windows are rounded once."""
    differentiates = isinstance(input, Tensor) and input.requires_grad and is_grad_enabled()
    if not differentiates or not _ops.is_bfloat16(windows.dtype):
        return windows.volume(input, indices)
    found = windows.volume(astype(input, np.float32), indices)
    if not indices:
        return astype(found, windows.dtype)
    return astype(found[0], windows.dtype), found[1]


def _divisor(op: str, value: Any) -> int | None:
    if value is None:
        return None
    divisor = integer(op, "divisor_override", value)
    if divisor == 0 or abs(divisor) > 2**62:
        raise ShapeError(f"{op}: divisor_override must not be 0 or beyond 2^62, got {divisor}")
    return divisor


@takes_one_example(3)
def avg_pool1d(
    input: ArrayLike,
    kernel_size: Sizes,
    stride: Sizes | None = None,
    padding: Sizes = 0,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
    divisor_override: int | None = None,
    *,
    layout: str = "NCHW",
) -> ArrayLike:
    """The average of each window of a row.

    Args:
        input: (N, C, L), or (N, L, C) with layout "NHWC"; float32, float64 or bfloat16.
        others: as for `avg_pool2d`, along the one axis.

    Raises:
        ShapeError, DTypeError: the arguments do not fit; the message says how.
    """
    op = "avg_pool1d"
    divisor = _divisor(op, divisor_override)
    windows = Windows(op, "mean", input, 1, layout, ceil_mode, count_include_pad, divisor)
    return windows.sliding(kernel_size, stride, padding, 1).row(input, False)


@takes_one_example(5)
def avg_pool3d(
    input: ArrayLike,
    kernel_size: Sizes,
    stride: Sizes | None = None,
    padding: Sizes = 0,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
    divisor_override: int | None = None,
    *,
    layout: str = "NCHW",
) -> ArrayLike:
    """The average of each window of a volume.

    Args:
        input: (N, C, D, H, W), or (N, D, H, W, C) with layout "NHWC"; float32, float64 or bfloat16.
        others: as for `avg_pool2d`; an int or (depth, height, width).

    Raises:
        ShapeError, DTypeError: the arguments do not fit; the message says how.
    """
    op = "avg_pool3d"
    divisor = _divisor(op, divisor_override)
    # With a divisor of their own windows are summed first.
    one = None if divisor is None else 1
    windows = Windows(op, "mean", input, 3, layout, ceil_mode, count_include_pad, one)
    windows.sliding(kernel_size, stride, padding, 1)
    return _mean(windows, input, divisor)


def _mean(windows: Windows, input: ArrayLike, divisor: int | None = None) -> ArrayLike:
    """Means of volumes; in bfloat16 rounded once."""
    narrow = _ops.is_bfloat16(windows.dtype)
    y = windows.volume(astype(input, np.float32) if narrow else input, False)
    if divisor is not None:
        y = mul(y, 1.0 / divisor)
    return astype(y, windows.dtype) if narrow else y


@takes_one_example(3)
def adaptive_avg_pool1d(
    input: ArrayLike, output_size: OutputSizes, *, layout: str = "NCHW"
) -> ArrayLike:
    """Averages over windows that cover a row evenly; see `adaptive_avg_pool2d`.

    Args:
        input: (N, C, L), or (N, L, C) with layout "NHWC"; float32, float64 or bfloat16.
        output_size: P; None stands for the input's length.

    Raises:
        ShapeError, DTypeError: the arguments do not fit; the message says how.
    """
    windows = Windows("adaptive_avg_pool1d", "mean", input, 1, layout)
    return windows.evenly(output_size).row(input, False)


@takes_one_example(3)
def adaptive_max_pool1d(
    input: ArrayLike,
    output_size: OutputSizes,
    return_indices: bool = False,
    *,
    layout: str = "NCHW",
) -> Any:
    """Maxima over the windows of `adaptive_avg_pool1d`; `return_indices` as for `max_pool1d`.

    Raises:
        ShapeError, DTypeError: the arguments do not fit; the message says how.
    """
    op = "adaptive_max_pool1d"
    windows = Windows(op, "max", input, 1, layout).evenly(output_size)
    return windows.row(input, flag(op, "return_indices", return_indices))


@takes_one_example(5)
def adaptive_avg_pool3d(
    input: ArrayLike, output_size: OutputSizes, *, layout: str = "NCHW"
) -> ArrayLike:
    """Averages over windows that cover a volume evenly; see `adaptive_avg_pool2d`.

    Args:
        input: (N, C, D, H, W), or (N, D, H, W, C) with layout "NHWC"; float32, float64 or bfloat16.
        output_size: an int, or (depth, height, width); None stands for the input's size.

    Raises:
        ShapeError, DTypeError: the arguments do not fit; the message says how.
    """
    windows = Windows("adaptive_avg_pool3d", "mean", input, 3, layout)
    return _mean(windows.evenly(output_size), input)


@takes_one_example(5)
def adaptive_max_pool3d(
    input: ArrayLike,
    output_size: OutputSizes,
    return_indices: bool = False,
    *,
    layout: str = "NCHW",
) -> Any:
    """Maxima over the windows of `adaptive_avg_pool3d`; `return_indices` as for `max_pool3d`.

    Raises:
        ShapeError, DTypeError: the arguments do not fit; the message says how.
    """
    op = "adaptive_max_pool3d"
    windows = Windows(op, "max", input, 3, layout).evenly(output_size)
    return _maximum(windows, input, flag(op, "return_indices", return_indices))
