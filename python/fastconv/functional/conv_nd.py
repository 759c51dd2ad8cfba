"""One- and three-dimensional convolution on the two-dimensional kernels.

A row is a picture of height 1. In three dimensions the taps along the depth are more input channels of a
two-dimensional convolution over all slices of depth, and of its transposed form more output channels, which are
then added where they fall.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from typing import Any, NamedTuple, TypeAlias

import numpy as np

from .. import _ops
from .._arrays import ArrayLike, NDArray
from .._symbolic import is_symbolic
from ..errors import ShapeError
from ..tensor import Tensor, as_array, finish
from ._taps import Taps
from ._unbatched import takes_one_example
from ._windows import (
    bias_shape,
    groups_of,
    memory_layout,
    outputs_of,
    paddings,
    parameters,
    picture,
    representable,
    several,
    transposed_of,
)
from .autocast import lowered
from .cast import astype
from .conv import conv2d, conv_transpose2d
from .elementwise import add
from .indexing import narrow
from .shape import permute, reshape

# An integer for every axis, or one each.
Sizes: TypeAlias = int | Sequence[int]
# Of a checked geometry, for each axis.
Each: TypeAlias = tuple[Any, ...]


@takes_one_example(3)
def conv1d(
    input: ArrayLike,
    weight: ArrayLike,
    bias: ArrayLike | None = None,
    stride: Sizes = 1,
    padding: Sizes | str = 0,
    dilation: Sizes = 1,
    groups: int = 1,
    *,
    layout: str = "NCHW",
) -> ArrayLike:
    """One-dimensional convolution, computed as cross-correlation; see `conv2d`.

    Args:
        input: (N, C, L), or (N, L, C) with layout="NHWC".
        weight: (K, C / groups, R) in either layout.
        bias: (K,) or None.
        stride, dilation: elements.
        padding: zeros on each side; "valid" (none) or "same" (output as long as the input; stride 1 only).
        groups: input and output channels are split into this many groups that do not see each other.

    Returns:
        (N, K, P), or (N, P, K), with P = floor((L + 2 * padding - dilation * (R - 1) - 1) / stride) + 1.

    Raises:
        ShapeError: sizes or parameters that do not fit together.
        DTypeError: arrays that are not all of one type: float32, float64 or bfloat16.
    """
    op = "conv1d"
    last = memory_layout(op, layout)
    input, weight, bias = lowered(input, weight, bias)
    c = _direct(op, input, weight, bias, stride, padding, dilation, groups, 1, last)
    y = conv2d(
        _row(input, c.x, last),
        reshape(weight, (*c.w.shape[:2], 1, c.w.shape[2])),
        bias,
        (1, c.stride[0]),
        padding if isinstance(padding, str) else (0, c.padding[0][0]),
        (1, c.dilation[0]),
        groups,
        layout=layout,
    )
    return _from_row(y, last)


def _row(input: ArrayLike, x: NDArray, last: bool) -> ArrayLike:
    """(N, C, L) as a picture of height 1."""
    at = 1 if last else 2
    return reshape(input, (*x.shape[:at], 1, *x.shape[at:]))


def _from_row(y: ArrayLike, last: bool) -> ArrayLike:
    at = 1 if last else 2
    return reshape(y, (*y.shape[:at], *y.shape[at + 1 :]))


class _Direct(NamedTuple):
    """A checked convolution: its arrays, a number for each axis (padding before and after), output sizes."""

    x: NDArray
    w: NDArray
    stride: Each
    padding: Each
    dilation: Each
    sizes: Each


def _direct(
    op: str,
    input: ArrayLike,
    weight: ArrayLike,
    bias: ArrayLike | None,
    stride: Any,
    padding: Any,
    dilation: Any,
    groups: Any,
    count: int,
    last: bool,
) -> _Direct:
    x, w = as_array(op, "input", input), as_array(op, "weight", weight)
    b = None if bias is None else as_array(op, "bias", bias)
    channels, spatial = picture(op, x, count, last)
    parameters(op, x, w, b, count)
    divided = groups_of(op, groups, channels, w.shape[0])
    if channels < 1 or w.shape[1] * divided != channels:
        raise ShapeError(
            f"{op}: weight expects {w.shape[1]} input channels per group but the input has "
            f"{channels} in {divided} groups"
        )
    bias_shape(op, b, w.shape[0])
    steps = several(op, "stride", stride, count, 1)
    spread = several(op, "dilation", dilation, count, 1)
    edges = paddings(op, padding, w.shape[2:], steps, spread)
    sizes = outputs_of(op, spatial, w.shape[2:], steps, edges, spread)
    # In three dimensions every output slice has the depth's taps as channels.
    taps = w.shape[2] if count == 3 else 1
    representable(
        op, (x.shape[0], w.shape[0], *sizes), (x.shape[0], channels, sizes[0] * taps, *spatial[1:])
    )
    return _Direct(x, w, steps, edges, spread, sizes)


@takes_one_example(5)
def conv3d(
    input: ArrayLike,
    weight: ArrayLike,
    bias: ArrayLike | None = None,
    stride: Sizes = 1,
    padding: Sizes | str = 0,
    dilation: Sizes = 1,
    groups: int = 1,
    *,
    layout: str = "NCHW",
) -> ArrayLike:
    """Three-dimensional convolution, computed as cross-correlation; see `conv2d`.

    Args:
        input: (N, C, D, H, W), or (N, D, H, W, C) with layout="NHWC".
        weight: (K, C / groups, T, R, S) in either layout.
        bias: (K,) or None.
        stride, dilation: elements, an int or (depth, height, width).
        padding: zeros on each side, an int or (depth, height, width); "valid" (none) or "same" (output as large
            as the input; stride 1 only).
        groups: input and output channels are split into this many groups that do not see each other.

    Returns:
        (N, K, O, P, Q), or (N, O, P, Q, K), with O = floor((D + 2 * padding - dilation * (T - 1) - 1) / stride)
        + 1 and the other sizes alike.

    Raises:
        ShapeError: sizes or parameters that do not fit together.
        DTypeError: arrays that are not all of one type: float32, float64 or bfloat16.
    """
    op = "conv3d"
    last = memory_layout(op, layout)
    input, weight, bias = lowered(input, weight, bias)
    x, w, steps, edges, spread, sizes = _direct(
        op, input, weight, bias, stride, padding, dilation, groups, 3, last
    )
    k, each, taps, r, s = w.shape
    weight = _recorded(x, weight)
    n, depth = x.shape[0], sizes[0]
    height, width, c = _plane(x, last)
    size = x.shape[1 if last else 2]
    at = (steps[0], edges[0][0], spread[0])
    inner: Any = padding if isinstance(padding, str) else (edges[1][0], edges[2][0])
    flat = functools.partial(
        conv2d,
        stride=steps[1:],
        padding=inner,
        dilation=spread[1:],
        groups=groups,
        layout=layout,
    )
    if each == 1 and taps > 1 and not _ops.is_bfloat16(x.dtype.newbyteorder("=")):
        # Groups of one channel are far from a product's width with three too: a convolution for each tap.
        slices = input if last else _contiguous(permute(input, (0, 2, 1, 3, 4)))
        y = None
        for t in range(taps):
            place = _depth_taps(size, depth, 1, at[0], at[1] - t * at[2], 1)
            part = _moved(op, slices, place, 1)
            one = flat(
                reshape(part, (n * depth, *part.shape[2:])),
                reshape(narrow(weight, 2, t, 1), (k, 1, r, s)),
                bias if t == 0 else None,
            )
            y = one if y is None else add(y, one)
    elif last:
        y = _moved(op, input, _depth_taps(size, depth, taps, *at), 1)
        if taps > 1:
            y = reshape(y, (n, depth, taps, height, width, groups, each))
            y = permute(y, (0, 1, 3, 4, 5, 2, 6))
            weight = permute(weight, (0, 2, 1, 3, 4))
        y = reshape(y, (n * depth, height, width, taps * c))
        y = flat(y, reshape(weight, (k, each * taps, r, s)), bias)
    else:
        y = _moved(op, input, _depth_taps(size, depth, taps, *at), 2)
        y = permute(reshape(y, (n, c, depth, taps, height, width)), (0, 2, 1, 3, 4, 5))
        y = reshape(y, (n * depth, c * taps, height, width))
        y = flat(y, reshape(weight, (k, each * taps, r, s)), bias)
    if last:
        return reshape(y, (n, *sizes, k))
    return _contiguous(permute(reshape(y, (n, depth, k, *sizes[1:])), (0, 2, 1, 3, 4)))


def _recorded(x: Any, weight: ArrayLike) -> ArrayLike:
    """A plain array beside a program's: what is made of it is then made in every run, not once."""
    if not is_symbolic(x) or (isinstance(weight, Tensor) and weight.requires_grad):
        return weight
    array = as_array("conv3d", "weight", weight)
    return weight if is_symbolic(array) else Tensor(x.capture.met(array))


def _plane(x: NDArray, last: bool) -> tuple[int, int, int]:
    """Height, width and channels of a five-dimensional array."""
    return (x.shape[2], x.shape[3], x.shape[4]) if last else (x.shape[3], x.shape[4], x.shape[1])


@functools.lru_cache(maxsize=64)
def _depth_taps(
    size: int, outputs: int, taps: int, stride: int, before: int, dilation: int
) -> Taps | None:
    """Places of the taps of each output, one output after the other; None where they are all in order."""
    if taps == 1 and stride == 1 and before == 0 and outputs == size:
        return None
    places = (np.arange(outputs) * stride - before)[:, None] + np.arange(taps) * dilation
    return Taps.of(size, np.where(places < size, places, -1).ravel())


def _moved(op: str, input: ArrayLike, taps: Taps | None, dim: int) -> ArrayLike:
    """The sums of `taps` along `dim`, recorded."""
    if taps is None:
        return input
    table = taps

    def backward(g: NDArray, needs: tuple[bool, ...]) -> tuple[NDArray | None, ...]:
        return (table.backward().apply(g, dim),)

    return finish(op, table.apply(as_array(op, "input", input), dim), (input,), backward)


def _contiguous(input: ArrayLike) -> ArrayLike:
    """The same in memory of its own order, so that what follows does not copy it each time."""
    x = as_array("contiguous", "input", input)
    y: NDArray = x.contiguous() if is_symbolic(x) else np.ascontiguousarray(x)  # type: ignore[attr-defined]

    def backward(g: NDArray, needs: tuple[bool, ...]) -> tuple[NDArray | None, ...]:
        return (g,)

    return finish("contiguous", y, (input,), backward)


@takes_one_example(3)
def conv_transpose1d(
    input: ArrayLike,
    weight: ArrayLike,
    bias: ArrayLike | None = None,
    stride: Sizes = 1,
    padding: Sizes = 0,
    output_padding: Sizes = 0,
    groups: int = 1,
    dilation: Sizes = 1,
    *,
    layout: str = "NCHW",
) -> ArrayLike:
    """One-dimensional transposed convolution; see `conv_transpose2d`.

    Args:
        input: (N, C, L), or (N, L, C) with layout="NHWC".
        weight: (C, K / groups, R) in either layout.
        bias: (K,) or None.
        stride, padding, dilation: those of the convolution that this transposes.
        output_padding: elements added at the end of the output, fewer than the stride or the dilation.

    Returns:
        (N, K, P), or (N, P, K), with P = (L - 1) * stride - 2 * padding + dilation * (R - 1) + output_padding + 1.

    Raises:
        ShapeError, DTypeError: as `conv1d`.
    """
    op = "conv_transpose1d"
    last = memory_layout(op, layout)
    input, weight, bias = lowered(input, weight, bias)
    x, w, geometry, _ = _transposed(
        op, input, weight, bias, stride, padding, output_padding, dilation, groups, 1, last
    )
    steps, edges, extra, spread = geometry
    y = conv_transpose2d(
        _row(input, x, last),
        reshape(weight, (*w.shape[:2], 1, w.shape[2])),
        bias,
        (1, steps[0]),
        (0, edges[0]),
        (0, extra[0]),
        groups,
        (1, spread[0]),
        layout=layout,
    )
    return _from_row(y, last)


def _transposed(
    op: str,
    input: ArrayLike,
    weight: ArrayLike,
    bias: ArrayLike | None,
    stride: Any,
    padding: Any,
    output_padding: Any,
    dilation: Any,
    groups: Any,
    count: int,
    last: bool,
) -> tuple[NDArray, NDArray, tuple[Each, Each, Each, Each], Each]:
    """The arrays of a transposed convolution, checked; its geometry; output sizes."""
    x, w = as_array(op, "input", input), as_array(op, "weight", weight)
    b = None if bias is None else as_array(op, "bias", bias)
    channels, spatial = picture(op, x, count, last)
    parameters(op, x, w, b, count)
    divided = groups_of(op, groups, channels, 0)
    outputs = w.shape[1] * divided
    if channels < 1 or w.shape[0] != channels:
        raise ShapeError(
            f"{op}: weight expects {w.shape[0]} input channels but the input has {channels}"
        )
    bias_shape(op, b, outputs)
    steps = several(op, "stride", stride, count, 1)
    edges = several(op, "padding", padding, count, 0)
    extra = several(op, "output_padding", output_padding, count, 0)
    spread = several(op, "dilation", dilation, count, 1)
    sizes = transposed_of(op, spatial, w.shape[2:], steps, edges, extra, spread)
    # In three dimensions every input slice has the depth's taps as output channels.
    taps = w.shape[2] if count == 3 else 1
    representable(
        op, (x.shape[0], outputs, *sizes), (x.shape[0], outputs, spatial[0] * taps, *sizes[1:])
    )
    return x, w, (steps, edges, extra, spread), sizes


@takes_one_example(5)
def conv_transpose3d(
    input: ArrayLike,
    weight: ArrayLike,
    bias: ArrayLike | None = None,
    stride: Sizes = 1,
    padding: Sizes = 0,
    output_padding: Sizes = 0,
    groups: int = 1,
    dilation: Sizes = 1,
    *,
    layout: str = "NCHW",
) -> ArrayLike:
    """Three-dimensional transposed convolution; see `conv_transpose2d`.

    Args:
        input: (N, C, D, H, W), or (N, D, H, W, C) with layout="NHWC".
        weight: (C, K / groups, T, R, S) in either layout.
        bias: (K,) or None.
        stride, padding, dilation: those of the convolution that this transposes, an int or (depth, height, width).
        output_padding: slices, rows and columns added at the end of the output, fewer than the stride or the
            dilation.

    Returns:
        (N, K, O, P, Q), or (N, O, P, Q, K), with
        O = (D - 1) * stride - 2 * padding + dilation * (T - 1) + output_padding + 1 and the other sizes alike.

    Raises:
        ShapeError, DTypeError: as `conv3d`.
    """
    op = "conv_transpose3d"
    last = memory_layout(op, layout)
    input, weight, bias = lowered(input, weight, bias)
    x, w, geometry, sizes = _transposed(
        op, input, weight, bias, stride, padding, output_padding, dilation, groups, 3, last
    )
    weight = _recorded(x, weight)
    stored = x.dtype if _ops.is_bfloat16(x.dtype.newbyteorder("=")) else None
    if stored is not None:  # sums over the depth's taps are rounded once
        input, weight, bias = (
            None if v is None else astype(v, np.float32) for v in (input, weight, bias)
        )
    steps, edges, extra, spread = geometry
    c, each, taps, r, s = w.shape
    k = each * groups
    n, depth = x.shape[0], x.shape[1 if last else 2]
    height, width, _ = _plane(x, last)
    places = _scattered(depth, sizes[0], taps, steps[0], edges[0], spread[0])
    if last:
        y = reshape(input, (n * depth, height, width, c))
        kernel = reshape(permute(weight, (0, 2, 1, 3, 4)), (c, taps * each, r, s))
    else:
        y = reshape(permute(input, (0, 2, 1, 3, 4)), (n * depth, c, height, width))
        kernel = reshape(weight, (c, each * taps, r, s))
    y = conv_transpose2d(
        y, kernel, None, steps[1:], edges[1:], extra[1:], groups, spread[1:], layout=layout
    )
    if last:
        y = reshape(y, (n, depth, *sizes[1:], groups, taps, each))
        y = permute(y, (0, 1, 5, 2, 3, 4, 6))
        y = _moved(op, reshape(y, (n, depth * taps, *sizes[1:], k)), places, 1)
    else:
        y = permute(reshape(y, (n, depth, k, taps, *sizes[1:])), (0, 2, 1, 3, 4, 5))
        y = _moved(op, reshape(y, (n, k, depth * taps, *sizes[1:])), places, 2)
    if bias is not None:
        y = add(y, bias if last else reshape(bias, (k, 1, 1, 1)))
    y = y if last else _contiguous(y)
    return y if stored is None else astype(y, stored.newbyteorder("="))


@functools.lru_cache(maxsize=64)
def _scattered(
    size: int, outputs: int, taps: int, stride: int, before: int, dilation: int
) -> Taps | None:
    """For each output the (input, tap) pairs that fall on it, numbered input by input."""
    if taps == 1 and stride == 1 and before == 0 and outputs == size:
        return None
    places = ((np.arange(size) * stride - before)[:, None] + np.arange(taps) * dilation).ravel()
    there = np.flatnonzero((places >= 0) & (places < outputs))
    order = there[np.argsort(places[there], kind="stable")]
    begin = np.concatenate([[0], np.cumsum(np.bincount(places[there], minlength=outputs))])
    return Taps(math.prod((size, taps)), begin, order)
