"""Elements at places that other arrays name: embeddings, one-hot classes, maxima put back where they were."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from .. import _ops
from .._arrays import ArrayLike, NDArray
from .._symbolic import is_symbolic
from ..errors import DTypeError, ShapeError
from ..tensor import as_array, finish
from ._args import floating, integer
from ._composed import composed
from ._windows import memory_layout, several
from .pool_nd import Sizes
from .probability_loss import chosen
from .shape import reshape

MOST_CLASSES = 2**31


def integers(op: str, what: str, value: Any) -> NDArray:
    """Places as int64."""
    array = as_array(op, what, value)
    if array.dtype.kind not in "iu":
        raise DTypeError(f"{op}: {what} must be integers, got {array.dtype}")
    return array.astype(np.dtype(np.int64), copy=False)


def gathered(op: str, input: ArrayLike, index: NDArray) -> Any:
    """Of (A, L, B) the places (A or 1, M, B or 1), recorded: (A, M, B)."""
    x = as_array(op, "input", input)

    def backward(g: NDArray, needs: tuple[bool, ...]) -> tuple[NDArray | None, ...]:
        return (_ops.scatter(op, g, index, x.shape[1], True),)

    return finish(op, _ops.gather(op, x, index), (input,), backward)


def embedding(input: ArrayLike, weight: ArrayLike, padding_idx: int | None = None) -> Any:
    """Rows of a table: weight[input].

    Args:
        input: integers of any shape, in [0, V).
        weight: (V, D), float32, float64 or bfloat16.
        padding_idx: a row that gets no gradient; negative ones count from the end.

    Returns:
        (*input.shape, D).

    Raises:
        ShapeError: a weight of other dimensions, places outside of it.
        DTypeError: an input that is not of integers, or another type of weight.
    """
    op = "embedding"
    w = as_array(op, "weight", weight)
    floating(op, "weight", w)
    if w.ndim != 2:
        raise ShapeError(f"{op}: weight must be (V, D), got shape {w.shape}")
    places = integers(op, "input", input)
    rows, width = w.shape
    skipped = None
    if padding_idx is not None:
        skipped = integer(op, "padding_idx", padding_idx)
        if not -rows <= skipped < rows:
            raise ShapeError(f"{op}: padding_idx must be in [{-rows}, {rows}), got {skipped}")
    index = places.reshape((1, math.prod(places.shape), 1))
    y = _ops.gather(op, w.reshape((1, rows, width)), index)

    def backward(g: NDArray, needs: tuple[bool, ...]) -> tuple[NDArray | None, ...]:
        spread = g.reshape((1, math.prod(places.shape), width))
        dw: NDArray = _ops.scatter(op, spread, index, rows, True).reshape((rows, width))
        if skipped is not None:
            kept = np.ones((rows, 1), w.dtype.newbyteorder("="))
            kept[skipped] = 0
            dw = _ops.elementwise("mul", dw, kept)
        return dw, None

    return finish(op, y.reshape((*places.shape, width)), (weight, input), backward)


@composed
def one_hot(input: ArrayLike, num_classes: int = -1) -> Any:
    """1 at each label's class and 0 elsewhere, int64: (...) -> (..., num_classes).

    Args:
        input: integers of any shape, in [0, num_classes).
        num_classes: -1 for one more than the largest label, which programs do not know.

    Raises:
        ShapeError: a label that is outside (in programs it is of no class), or another number of classes.
        DTypeError: an input that is not of integers.
    """
    op = "one_hot"
    labels = integers(op, "input", input)
    classes = integer(op, "num_classes", num_classes)
    symbolic = is_symbolic(labels)
    if classes == -1 and not symbolic and labels.size:
        classes = int(labels.max()) + 1
    if not 1 <= classes <= MOST_CLASSES:
        why = ", which a program cannot find out" if classes == -1 and symbolic else ""
        raise ShapeError(f"{op}: num_classes must be at least 1, got {classes}{why}")
    if not symbolic and labels.size and not 0 <= int(labels.min()) <= int(labels.max()) < classes:
        raise ShapeError(
            f"{op}: labels must be in [0, {classes}), got {labels.min()} to {labels.max()}"
        )
    found = chosen(labels, classes, np.float32).astype(np.dtype(np.int64))
    return finish(op, found, (input,), None)


def max_unpool1d(
    input: ArrayLike,
    indices: ArrayLike,
    kernel_size: Sizes,
    stride: Sizes | None = None,
    padding: Sizes = 0,
    output_size: Any = None,
    *,
    layout: str = "NCHW",
) -> Any:
    """Maxima put back where `max_pool1d(..., return_indices=True)` found them; see `max_unpool2d`.

    Args:
        input, indices: (N, C, P) or (C, P), with layout "NHWC" channels last.
    """
    return _unpool(
        "max_unpool1d", 1, input, indices, kernel_size, stride, padding, output_size, layout
    )


def max_unpool2d(
    input: ArrayLike,
    indices: ArrayLike,
    kernel_size: Sizes,
    stride: Sizes | None = None,
    padding: Sizes = 0,
    output_size: Any = None,
    *,
    layout: str = "NCHW",
) -> Any:
    """Maxima put back where `max_pool2d(..., return_indices=True)` found them, zeros elsewhere.

    Where two windows name one place, the later one stays, as in PyTorch on a CPU. Source: Zeiler et al. (2011).

    Args:
        input: (N, C, P, Q) or (C, P, Q), with layout "NHWC" channels last; float32, float64 or bfloat16.
        indices: integers of its shape: places in the result's planes.
        kernel_size, stride, padding: of the pooling.
        output_size: the result's spatial sizes, or its whole shape; (P - 1) stride - 2 padding + kernel_size
            unless given, from which it differs by less than the stride.

    Returns:
        (N, C, H, W) or (C, H, W), or with channels last.

    Raises:
        ShapeError: shapes and sizes that do not fit, a place that is outside.
        DTypeError: arrays of other types.
    """
    return _unpool(
        "max_unpool2d", 2, input, indices, kernel_size, stride, padding, output_size, layout
    )


def max_unpool3d(
    input: ArrayLike,
    indices: ArrayLike,
    kernel_size: Sizes,
    stride: Sizes | None = None,
    padding: Sizes = 0,
    output_size: Any = None,
    *,
    layout: str = "NCHW",
) -> Any:
    """Maxima put back where `max_pool3d(..., return_indices=True)` found them; see `max_unpool2d`.

    Args:
        input, indices: (N, C, O, P, Q) or (C, O, P, Q), with layout "NHWC" channels last.
    """
    return _unpool(
        "max_unpool3d", 3, input, indices, kernel_size, stride, padding, output_size, layout
    )


def _unpool(
    op: str,
    count: int,
    input: ArrayLike,
    indices: ArrayLike,
    kernel_size: Any,
    stride: Any,
    padding: Any,
    output_size: Any,
    layout: Any,
) -> Any:
    x, last = as_array(op, "input", input), memory_layout(op, layout)
    floating(op, "input", x)
    places = integers(op, "indices", indices)
    if x.ndim not in (count + 1, count + 2) or 0 in x.shape:
        raise ShapeError(
            f"{op}: input must have {count + 1} or {count + 2} dimensions, none empty, got shape {x.shape}"
        )
    if places.shape != x.shape:
        raise ShapeError(f"{op}: indices must have the input's shape {x.shape}, got {places.shape}")
    kernel = several(op, "kernel_size", kernel_size, count, 1)
    steps = kernel if stride is None else several(op, "stride", stride, count, 1)
    edges = several(op, "padding", padding, count, 0)
    batch = x.shape[: x.ndim - count - 1]
    spatial = x.shape[len(batch) : -1] if last else x.shape[len(batch) + 1 :]
    channels = x.shape[-1] if last else x.shape[len(batch)]
    usual = [
        (n - 1) * s - 2 * p + k for n, s, p, k in zip(spatial, steps, edges, kernel, strict=True)
    ]
    sizes = _output(op, output_size, usual, steps, x.ndim, last)
    whole = math.prod(sizes)
    if math.prod(batch) * channels * whole >= 2**58:
        raise ShapeError(f"{op}: an output of {sizes} is too large")
    inner = math.prod(spatial)
    if last:
        flat: tuple[int, ...] = (math.prod(batch), inner, channels)
        shape = (*batch, *sizes, channels)
    else:
        flat = (math.prod(batch) * channels, inner, 1)
        shape = (*batch, channels, *sizes)
    index = places.reshape(flat)
    flattened = reshape(input, flat)

    def backward(g: NDArray, needs: tuple[bool, ...]) -> tuple[NDArray | None, ...]:
        return (_ops.gather(op, g, index),)

    y = _ops.scatter(op, as_array(op, "input", flattened), index, whole, False)
    return reshape(finish(op, y, (flattened,), backward), shape)


def _output(
    op: str, given: Any, usual: list[int], steps: tuple[int, ...], ndim: int, last: bool
) -> tuple[int, ...]:
    """The spatial sizes of an unpooling."""
    count = len(usual)
    sizes = usual
    if given is not None:
        values = list(given) if isinstance(given, (tuple, list)) else [given] * count
        if len(values) == ndim:
            values = values[ndim - count - 1 : -1] if last else values[-count:]
        if len(values) != count:
            raise ShapeError(f"{op}: output_size must have {count} sizes, got {len(values)}")
        sizes = [integer(op, "output_size", v) for v in values]
        for n, default, step in zip(sizes, usual, steps, strict=True):
            if not default - step < n < default + step:
                raise ShapeError(
                    f"{op}: output_size must differ from {tuple(usual)} by less than the stride, "
                    f"got {tuple(sizes)}"
                )
    if min(sizes) < 1:
        raise ShapeError(f"{op}: the output would have sizes {tuple(sizes)}")
    return tuple(sizes)
