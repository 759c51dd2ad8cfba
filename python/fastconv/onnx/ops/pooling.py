"""Pooling over sliding and global windows."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ... import functional as F
from ..._arrays import NDArray
from ...errors import DTypeError, ShapeError
from ...tensor import Tensor
from ..graph import Node
from .registry import Inputs, computed, known, values
from .shapes import reshape
from .windows import Windows, one_or_all, pad_spatial, windows


def _fits(w: Windows) -> bool:
    """Whether `functional`'s own padding serves: the same on both sides, at most half a window."""
    return w.symmetric and all(2 * b <= k for b, k in zip(w.begin, w.kernel, strict=True))


def _explicit(
    w: Windows, x: Any, counts: tuple[int, ...]
) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Borders behind which exactly `counts` windows fit without padding."""
    end = tuple(
        (n - 1) * w.stride[d] + w.extent(d) - x.shape[2 + d] - w.begin[d]
        for d, n in enumerate(counts)
    )
    return w.begin, end


def _check_counts(node: Node, x: Any, counts: tuple[int, ...]) -> None:
    if min(counts) < 1:
        raise ShapeError(f"onnx: {node}: the windows are larger than the padded input {x.shape}")


@known("MaxPool")
def _max_pool_of_integers(node: Node, inputs: Inputs, training: bool) -> Any:
    x = inputs[0]
    if x.dtype.itemsize > 2:
        raise DTypeError(f"onnx: {node}: expects floats or integers of 8 bits, got {x.dtype}")
    made = _max_pool(node, [Tensor(x.astype(np.float32))], training)
    y, places = made if isinstance(made, tuple) else (made, None)
    y = values(node, y).astype(x.dtype)
    return y if places is None else (y, places)


@computed("MaxPool")
def _max_pool(node: Node, inputs: Inputs, training: bool) -> Any:
    x = inputs[0]
    w = windows(node, x, node.attributes["kernel_shape"])
    ceil = bool(node.get("ceil_mode", 0))
    counts = w.outputs(x.shape[2:], ceil)
    _check_counts(node, x, counts)
    wants_indices = len(node.outputs) > 1 and bool(node.outputs[1])
    pool = getattr(F, f"max_pool{len(w.kernel)}d")
    padded, begin, padding = x, w.begin, (0,) * len(w.kernel)
    if _fits(w):
        padding = w.begin
        begin = padding[:0]
    else:
        padded, ceil = pad_spatial(x, *_explicit(w, x, counts), -math.inf), False
    result = pool(
        padded,
        one_or_all(w.kernel),
        one_or_all(w.stride),
        one_or_all(padding),
        one_or_all(w.dilation),
        ceil,
        wants_indices,
    )
    if not wants_indices:
        return result
    places = values(node, result[1])
    where = list(np.unravel_index(places, padded.shape[2:]))
    if begin:
        where = [i - b for i, b in zip(where, begin, strict=True)]
    return result[0], _flat_places(x.shape, where, bool(node.get("storage_order", 0)))


def _flat_places(shape: tuple[int, ...], where: list[Any], columns_first: bool) -> NDArray:
    """Places in the whole input, flattened, of elements at `where` in their planes."""
    sizes = shape[2:]
    plane = math.prod(sizes)
    steps, step = [0] * len(sizes), 1
    for d in range(len(sizes)) if columns_first else reversed(range(len(sizes))):
        steps[d], step = step, step * sizes[d]
    flat: NDArray = sum(i * s for i, s in zip(where, steps, strict=True))
    planes = np.arange(shape[0] * shape[1]).reshape(shape[:2] + (1,) * len(sizes))
    return (flat + planes * plane).astype(np.int64)


@computed("AveragePool")
def _average_pool(node: Node, inputs: Inputs, training: bool) -> Any:
    x = inputs[0]
    w = windows(node, x, node.attributes["kernel_shape"])
    ceil, counts_padding = bool(node.get("ceil_mode", 0)), bool(node.get("count_include_pad", 0))
    counts = w.outputs(x.shape[2:], ceil)
    _check_counts(node, x, counts)
    if _fits(w) and max(w.dilation) == 1:
        pool = getattr(F, f"avg_pool{len(w.kernel)}d")
        stride, padding = one_or_all(w.stride), one_or_all(w.begin)
        return pool(x, one_or_all(w.kernel), stride, padding, ceil, counts_padding)
    total = _sums(x, w, counts)
    return F.mul(total, 1 / _divisors(x, w, counts, counts_padding).astype(x.dtype))


def _sums(x: Any, w: Windows, counts: tuple[int, ...]) -> Any:
    """The sums of `counts` windows, with zeros outside the input."""
    padded = pad_spatial(x, *_explicit(w, x, counts))
    kernel, stride = one_or_all(w.kernel), one_or_all(w.stride)
    if max(w.dilation) == 1:
        pool = getattr(F, f"avg_pool{len(w.kernel)}d")
        return F.mul(pool(padded, kernel, stride), float(math.prod(w.kernel)))
    ones = Tensor(np.ones((x.shape[1], 1, *w.kernel), x.dtype))
    convolve = getattr(F, f"conv{len(w.kernel)}d")
    return convolve(padded, ones, None, stride, 0, one_or_all(w.dilation), x.shape[1])


def _divisors(x: Any, w: Windows, counts: tuple[int, ...], counts_padding: bool) -> NDArray:
    """How many elements each window has: of the input, or of the input and its padding."""
    result = np.ones((1,) * len(counts))
    for d, n in enumerate(counts):
        size = x.shape[2 + d]
        taps = np.arange(n)[:, None] * w.stride[d] - w.begin[d]
        taps = taps + np.arange(w.kernel[d]) * w.dilation[d]
        low, high = (-w.begin[d], size + w.end[d]) if counts_padding else (0, size)
        inside = ((taps >= low) & (taps < high)).sum(1)
        result = result * inside.reshape((-1,) + (1,) * (len(counts) - 1 - d))
    return result


@computed("LpPool")
def _lp_pool(node: Node, inputs: Inputs, training: bool) -> Any:
    x = inputs[0]
    w = windows(node, x, node.attributes["kernel_shape"])
    counts = w.outputs(x.shape[2:], bool(node.get("ceil_mode", 0)))
    _check_counts(node, x, counts)
    power = node.get("p", 2)
    return _root(_sums(_power(x, power), w, counts), power)


def _power(x: Any, power: int) -> Any:
    return F.mul(x, x) if power == 2 else F.pow(F.abs(x), float(power))


def _root(x: Any, power: int) -> Any:
    return F.sqrt(x) if power == 2 else F.pow(x, 1.0 / power)


@computed("GlobalAveragePool", "GlobalMaxPool", "GlobalLpPool")
def _global_pool(node: Node, inputs: Inputs, training: bool) -> Any:
    x = inputs[0]
    if x.ndim < 3 or 0 in x.shape[2:]:
        raise ShapeError(f"onnx: {node}: expects (N, C, sizes of at least 1...), got {x.shape}")
    if node.op == "GlobalLpPool":
        power = node.get("p", 2)
        total = F.sum(_power(x, power), dim=tuple(range(2, x.ndim)), keepdim=True)
        return _root(total, power)
    # All sizes but the first in one, so that two-dimensional kernels serve.
    plane = x if x.ndim == 4 else reshape(x, (*x.shape[:3], math.prod(x.shape[3:])))
    pool = F.global_avg_pool2d if node.op == "GlobalAveragePool" else F.global_max_pool2d
    y = pool(plane)
    return reshape(y, (*x.shape[:2], *(1,) * (x.ndim - 2)))
