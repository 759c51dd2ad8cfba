"""Resize and Upsample: sums of taps along one axis after the other, by tables of places and weights."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ... import functional as F
from ..._arrays import NDArray
from ...errors import ShapeError
from ..graph import Node
from .registry import Inputs, at, axes, computed, integers, limited, values

_NEAREST: dict[str, Callable[[NDArray], NDArray]] = {
    "round_prefer_floor": lambda x: np.ceil(x - 0.5),
    "round_prefer_ceil": lambda x: np.floor(x + 0.5),
    "floor": np.floor,
    "ceil": np.ceil,
}
_MODES = ("nearest", "linear", "bilinear", "cubic")


@dataclass(frozen=True)
class _Rule:
    """How a node finds its elements: Resize's attributes."""

    mode: str
    coordinates: str
    nearest: str
    cubic: float = -0.75
    exclude_outside: bool = False
    antialias: bool = False
    outside: float = 0.0


@dataclass(frozen=True)
class _Axis:
    """One dimension: its old and new size, new / old as the file has it, and the part that is looked at."""

    old: int
    new: int
    scale: float
    start: float = 0.0
    end: float = 1.0


@computed("Upsample")
def _upsample(node: Node, inputs: Inputs, training: bool) -> Any:
    x = inputs[0]
    given = node.get("scales") if node.version < 9 else values(node, inputs[1])
    rule = _Rule(node.get("mode", "nearest"), "asymmetric", "floor")
    return _resized(node, x, _by_scales(node, x.shape, range(x.ndim), given), rule)


@computed("Resize")
def _resize(node: Node, inputs: Inputs, training: bool) -> Any:
    x = inputs[0]
    if node.version < 11:
        rule = _Rule(node.get("mode", "nearest"), "asymmetric", "floor")
        by_scales = _by_scales(node, x.shape, range(x.ndim), values(node, inputs[1]))
        return _resized(node, x, by_scales, rule)
    rule = _Rule(
        node.get("mode", "nearest"),
        node.get("coordinate_transformation_mode", "half_pixel"),
        node.get("nearest_mode", "round_prefer_floor"),
        node.get("cubic_coeff_a", -0.75),
        bool(node.get("exclude_outside", 0)),
        bool(node.get("antialias", 0)),
        node.get("extrapolation_value", 0.0),
    )
    dims = axes(node, node.get("axes") or None, x.ndim)
    scales, sizes = at(inputs, 2), at(inputs, 3)
    if scales is not None and scales.size:
        found = _by_scales(node, x.shape, dims, values(node, scales))
    else:
        found = _by_sizes(node, x.shape, dims, integers(node, "sizes", sizes) or ())
    if rule.coordinates == "tf_crop_and_resize":
        part = values(node, inputs[1]) if at(inputs, 1) is not None else np.zeros(0)
        if part.size != 2 * len(dims):
            raise ShapeError(f"onnx: {node}: roi has {part.size} numbers, expected {2 * len(dims)}")
        found = {
            d: _Axis(a.old, a.new, a.scale, float(part[i]), float(part[i + len(dims)]))
            for i, (d, a) in enumerate(found.items())
        }
    return _resized(node, x, found, rule)


def _by_scales(
    node: Node, shape: tuple[int, ...], dims: Sequence[int], given: Any
) -> dict[int, _Axis]:
    scales = [float(s) for s in given]
    if len(scales) != len(dims) or not all(0 < s < math.inf for s in scales):
        raise ShapeError(f"onnx: {node}: expects {len(dims)} positive scales, got {scales}")
    return {
        d: _Axis(shape[d], math.floor(shape[d] * s), s) for d, s in zip(dims, scales, strict=True)
    }


def _by_sizes(
    node: Node, shape: tuple[int, ...], dims: Sequence[int], sizes: tuple[int, ...]
) -> dict[int, _Axis]:
    if len(sizes) != len(dims) or min(sizes, default=1) < 1 or 0 in shape:
        raise ShapeError(f"onnx: {node}: the sizes {sizes} do not fit an input {shape}")
    policy = node.get("keep_aspect_ratio_policy", "stretch")
    scales = [n / shape[d] for d, n in zip(dims, sizes, strict=True)]
    if policy == "stretch":
        return {d: _Axis(shape[d], n, s) for d, n, s in zip(dims, sizes, scales, strict=True)}
    scale = min(scales) if policy == "not_larger" else max(scales)
    return {d: _Axis(shape[d], math.floor(scale * shape[d] + 0.5), scale) for d in dims}


def _resized(node: Node, x: Any, along: dict[int, _Axis], rule: _Rule) -> Any:
    if rule.mode not in _MODES or (rule.mode == "nearest" and rule.nearest not in _NEAREST):
        raise ShapeError(f"onnx: {node}: the mode {rule.mode!r}, {rule.nearest!r} does not exist")
    outside: NDArray | None = None
    for d, axis in along.items():
        if axis.old == axis.new and axis.scale == 1 and rule.coordinates != "tf_crop_and_resize":
            continue
        if axis.new < 1 or axis.old < 1:
            raise ShapeError(f"onnx: {node}: size {axis.old} cannot become {axis.new}")
        limited(node, (axis.new, 4), np.float64)
        places = _coordinates(node, axis, rule.coordinates)
        index, weight = _taps(node, places, axis, rule)
        if rule.coordinates == "tf_crop_and_resize":
            beyond = (places < 0) | (places > axis.old - 1)
            weight = np.where(beyond[:, None], 0.0, weight)
            shaped = beyond.reshape((-1,) + (1,) * (x.ndim - 1 - d))
            outside = shaped if outside is None else outside | shaped
        x = F.resample(x, d, index, None if (weight == 1).all() else weight)
    if outside is not None and rule.outside != 0 and outside.any():
        x = F.add(x, np.asarray(outside * rule.outside, x.dtype))
    return x


def _coordinates(node: Node, a: _Axis, mode: str) -> NDArray:
    """Where in the input each element of the output lies."""
    o = np.arange(a.new, dtype=np.float64)
    if mode == "half_pixel" or (mode == "pytorch_half_pixel" and a.new > 1):
        return (o + 0.5) / a.scale - 0.5
    if mode == "pytorch_half_pixel":
        return np.zeros(1)
    if mode == "half_pixel_symmetric":
        # The part of a pixel that rounding the size down has taken is taken from both ends.
        offset = a.old / 2 * (1 - a.new / (a.scale * a.old))
        return offset + (o + 0.5) / a.scale - 0.5
    if mode == "align_corners":
        # The length that the scale gives, before it is rounded down.
        length = a.new if abs(a.scale * a.old - a.new) < 1e-6 else a.scale * a.old
        return o * ((a.old - 1) / (length - 1) if a.new > 1 else 0.0)
    if mode == "asymmetric":
        return o / a.scale
    if mode == "tf_half_pixel_for_nn":
        return (o + 0.5) / a.scale
    if mode == "tf_crop_and_resize":
        if a.new == 1:
            return np.array([0.5 * (a.start + a.end) * (a.old - 1)])
        return a.start * (a.old - 1) + o * ((a.end - a.start) * (a.old - 1) / (a.new - 1))
    raise ShapeError(f"onnx: {node}: coordinate_transformation_mode {mode!r} does not exist")


def _taps(node: Node, places: NDArray, a: _Axis, rule: _Rule) -> tuple[NDArray, NDArray]:
    """Which elements make up each output, and their weights: two arrays (outputs, taps)."""
    if rule.mode == "nearest":
        nearest = _NEAREST[rule.nearest](places)
        return np.clip(nearest, 0, a.old - 1).astype(np.int64)[:, None], np.ones((a.new, 1))
    # Antialiasing widens the kernel where the image becomes smaller.
    squeeze = min(a.scale, 1.0) if rule.antialias else 1.0
    reach = math.ceil((2 if rule.mode == "cubic" else 1) / squeeze)
    limited(node, (a.new, 2 * reach), np.float64)
    index = np.floor(places).astype(np.int64)[:, None] + np.arange(1 - reach, reach + 1)
    distance = np.abs(index - places[:, None]) * squeeze
    cubic = rule.mode == "cubic"
    weight = _cubic(distance, rule.cubic) if cubic else np.maximum(1 - distance, 0)
    if rule.exclude_outside:
        weight = np.where((index < 0) | (index >= a.old), 0.0, weight)
    if rule.exclude_outside or rule.antialias:
        weight = weight / weight.sum(1, keepdims=True)
    return np.clip(index, 0, a.old - 1), weight


def _cubic(d: NDArray, a: float) -> NDArray:
    """Keys' kernel (1981) at the distance d."""
    near = ((a + 2) * d - (a + 3)) * d * d + 1
    far = ((a * d - 5 * a) * d + 8 * a) * d - 4 * a
    return np.where(d <= 1, near, np.where(d < 2, far, 0.0))
