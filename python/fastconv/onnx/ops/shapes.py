"""Shapes and indices, for known and computed arrays alike."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ... import functional as F
from ...errors import DTypeError, ShapeError
from ...tensor import Tensor
from ..graph import Node
from .registry import (
    MAX_REPEATED_BYTES,
    Inputs,
    Value,
    at,
    axes,
    axis,
    computed,
    integers,
    known,
    limited,
    values,
)


def reshape(x: Value, shape: tuple[int, ...]) -> Any:
    if isinstance(x, Tensor):
        return x if x.shape == shape else F.reshape(x, shape)
    return x.reshape(shape)


def as_tensor(value: Value, like: Any) -> Tensor:
    """A known array as a Tensor of another one's element type."""
    if isinstance(value, Tensor):
        return value
    return Tensor(np.ascontiguousarray(value, like.dtype))


def transpose(x: Value, order: tuple[int, ...]) -> Any:
    if order == tuple(range(x.ndim)):
        return x
    return F.permute(x, order) if isinstance(x, Tensor) else x.transpose(order)


@known("Shape")
@computed("Shape")
def _shape(node: Node, inputs: Inputs, training: bool) -> Any:
    return np.array(inputs[0].shape[node.get("start", 0) : node.get("end")], np.int64)


@known("Size")
@computed("Size")
def _size(node: Node, inputs: Inputs, training: bool) -> Any:
    return np.array(inputs[0].size, np.int64)


@known("Reshape")
@computed("Reshape")
def _reshape(node: Node, inputs: Inputs, training: bool) -> Any:
    x = inputs[0]
    wanted = list(integers(node, "shape", inputs[1]) or ())
    if not node.get("allowzero", 0):
        if any(s == 0 and d >= x.ndim for d, s in enumerate(wanted)):
            raise ShapeError(f"onnx: {node}: {wanted} keeps a size that {x.shape} does not have")
        wanted = [x.shape[d] if s == 0 else s for d, s in enumerate(wanted)]
    known_size = math.prod(s for s in wanted if s != -1)
    if wanted.count(-1) == 1 and known_size > 0 and x.size % known_size == 0:
        wanted[wanted.index(-1)] = x.size // known_size
    if min(wanted, default=0) < 0 or math.prod(wanted) != x.size:
        raise ShapeError(f"onnx: {node}: an array of shape {x.shape} does not fit {wanted}")
    return reshape(x, tuple(wanted))


@known("Flatten")
@computed("Flatten")
def _flatten(node: Node, inputs: Inputs, training: bool) -> Any:
    x = inputs[0]
    given = node.get("axis", 1)
    where = given if given == x.ndim else axis(node, given, x.ndim)
    return reshape(x, (math.prod(x.shape[:where]), math.prod(x.shape[where:])))


@known("Squeeze")
@computed("Squeeze")
def _squeeze(node: Node, inputs: Inputs, training: bool) -> Any:
    x = inputs[0]
    given = integers(node, "axes", node.get("axes") if node.version < 13 else at(inputs, 1))
    gone = (
        tuple(d for d, s in enumerate(x.shape) if s == 1)
        if given is None
        else axes(node, given, x.ndim)
    )
    if any(x.shape[d] != 1 for d in gone):
        raise ShapeError(f"onnx: {node}: axes {gone} of {x.shape} are not all of size 1")
    return reshape(x, tuple(s for d, s in enumerate(x.shape) if d not in gone))


@known("Unsqueeze")
@computed("Unsqueeze")
def _unsqueeze(node: Node, inputs: Inputs, training: bool) -> Any:
    x = inputs[0]
    given = integers(node, "axes", node.get("axes") if node.version < 13 else inputs[1]) or ()
    ndim = x.ndim + len(given)
    new = axes(node, given, ndim)
    sizes = iter(x.shape)
    return reshape(x, tuple(1 if d in new else next(sizes) for d in range(ndim)))


@known("Transpose")
@computed("Transpose")
def _transpose(node: Node, inputs: Inputs, training: bool) -> Any:
    x = inputs[0]
    given = node.get("perm", tuple(reversed(range(x.ndim))))
    if len(given) != x.ndim:
        raise ShapeError(f"onnx: {node}: perm {given} for an array of {x.ndim} dimensions")
    return transpose(x, axes(node, given, x.ndim))


@known("Concat")
@computed("Concat")
def _concat(node: Node, inputs: Inputs, training: bool) -> Any:
    where = axis(node, node.attributes["axis"], inputs[0].ndim)
    computes = next((v for v in inputs if isinstance(v, Tensor)), None)
    if computes is not None:
        return F.concat([as_tensor(v, computes) for v in inputs], where)
    length = sum(v.shape[where] for v in inputs if v.ndim > where)
    limited(
        node, (*inputs[0].shape[:where], length, *inputs[0].shape[where + 1 :]), inputs[0].dtype
    )
    try:
        return np.concatenate(inputs, where)
    except ValueError as error:
        raise ShapeError(f"onnx: {node}: {error}") from error


@known("Split")
@computed("Split")
def _split(node: Node, inputs: Inputs, training: bool) -> Any:
    x = inputs[0]
    where = axis(node, node.get("axis", 0), x.ndim)
    size, pieces = x.shape[where], node.get("num_outputs", len(node.outputs))
    given = node.get("split") if node.version < 13 else at(inputs, 1)
    lengths = integers(node, "split", given)
    if lengths is None:
        if pieces != len(node.outputs) or (node.version < 18 and size % pieces):
            raise ShapeError(f"onnx: {node}: {size} elements do not make {pieces} equal pieces")
        each = -(-size // pieces)
        lengths = tuple(max(0, min(each, size - i * each)) for i in range(pieces))
    if sum(lengths) != size or min(lengths, default=0) < 0 or len(lengths) < len(node.outputs):
        raise ShapeError(f"onnx: {node}: {size} elements do not split into {lengths}")
    if isinstance(x, Tensor):
        return tuple(F.split(x, list(lengths), where))
    ends = np.cumsum((0, *lengths)).tolist()
    return tuple(
        np.take(x, np.arange(s, s + n), where) for s, n in zip(ends, lengths, strict=False)
    )


@known("Slice")
@computed("Slice")
def _slice(node: Node, inputs: Inputs, training: bool) -> Any:
    x = inputs[0]
    if node.version < 10:
        starts, ends, where = (node.get(n) for n in ("starts", "ends", "axes"))
        steps = None
    else:
        starts, ends = (integers(node, n, inputs[i]) for i, n in ((1, "starts"), (2, "ends")))
        where = integers(node, "axes", at(inputs, 3))
        steps = integers(node, "steps", at(inputs, 4))
    if where is None:
        where = tuple(range(len(starts)))
    steps = (1,) * len(starts) if steps is None else steps
    if not len(starts) == len(ends) == len(steps) == len(where) or 0 in steps:
        raise ShapeError(
            f"onnx: {node}: starts {starts}, ends {ends}, axes {where} and steps {steps} do not fit"
        )
    for d, start, end, step in zip(axes(node, where, x.ndim), starts, ends, steps, strict=True):
        first, last = _bounds(x.shape[d], start, end, step)
        if (first, last, step) == (0, x.shape[d], 1):
            continue
        if isinstance(x, Tensor):
            x = F.slice(x, d, first, last, step)
        else:
            x = x[(slice(None),) * d + (slice(first, last, step),)]
    return x


def _bounds(size: int, start: int, end: int, step: int) -> tuple[int, int | None]:
    """Start and end as Python's slices have them: ONNX clamps them to the array."""
    start += size if start < 0 else 0
    end += size if end < 0 else 0
    if step > 0:
        return min(max(start, 0), size), min(max(end, 0), size)
    first, last = min(max(start, 0), size - 1), min(max(end, -1), size - 1)
    return max(first, 0), None if last < 0 else last


@known("Gather")
@computed("Gather")
def _gather(node: Node, inputs: Inputs, training: bool) -> Any:
    x = inputs[0]
    index = values(node, inputs[1])
    where = axis(node, node.get("axis", 0), x.ndim)
    size = x.shape[where]
    if index.dtype.kind not in "iu":
        raise ShapeError(f"onnx: {node}: indices must be integers, got {index.dtype}")
    if index.size and not -size <= int(index.min()) <= int(index.max()) < size:
        raise ShapeError(f"onnx: {node}: indices beyond the {size} elements of axis {where}")
    places = np.where(index < 0, index + size, index).astype(np.int64)
    shape = (*x.shape[:where], *places.shape, *x.shape[where + 1 :])
    if isinstance(x, Tensor):
        return reshape(F.index_select(x, where, places.reshape(-1)), shape)
    limited(node, shape, x.dtype)
    return np.asarray(np.take(x, places, where))


def broadcast_shape(node: Node, *shapes: tuple[int, ...]) -> tuple[int, ...]:
    try:
        return np.broadcast_shapes(*shapes)
    except ValueError as error:
        raise ShapeError(f"onnx: {node}: shapes {shapes} do not broadcast") from error


@known("Expand")
@computed("Expand")
def _expand(node: Node, inputs: Inputs, training: bool) -> Any:
    x = inputs[0]
    wanted = limited(node, integers(node, "shape", inputs[1]) or (), np.bool_, 1 << 40)
    shape = broadcast_shape(node, x.shape, wanted)
    if isinstance(x, Tensor):
        return x if x.shape == shape else F.expand(x, shape)
    return np.broadcast_to(x, limited(node, shape, x.dtype, MAX_REPEATED_BYTES))


@known("Tile")
@computed("Tile")
def _tile(node: Node, inputs: Inputs, training: bool) -> Any:
    x = inputs[0]
    repeats = integers(node, "repeats", inputs[1]) or ()
    if len(repeats) != x.ndim:
        raise ShapeError(f"onnx: {node}: repeats {repeats} for an array of {x.ndim} dimensions")
    shape = limited(node, [s * r for s, r in zip(x.shape, repeats, strict=True)], x.dtype)
    if not isinstance(x, Tensor):
        return np.tile(x, repeats)
    for d, (size, repeat) in enumerate(zip(shape, repeats, strict=True)):
        if repeat != 1:
            x = F.index_select(x, d, np.arange(size) % max(x.shape[d], 1))
    return x


@known("ConstantOfShape")
def _constant_of_shape(node: Node, inputs: Inputs, training: bool) -> Any:
    value = node.get("value")
    fill = np.zeros(1, np.float32) if value is None else value
    if fill.size != 1:
        raise ShapeError(f"onnx: {node}: value must be one number, got shape {fill.shape}")
    wanted = integers(node, "shape", inputs[0]) or ()
    shape = limited(node, wanted, fill.dtype, MAX_REPEATED_BYTES)
    return np.broadcast_to(fill.reshape(()), shape)


@known("Range")
def _range(node: Node, inputs: Inputs, training: bool) -> Any:
    start, stop, step = (v.reshape(()) for v in inputs)
    if step == 0 or not np.isfinite([float(v) for v in (start, stop, step)]).all():
        raise ShapeError(f"onnx: {node}: from {start} to {stop} by {step}")
    count = max(0, math.ceil((stop.item() - start.item()) / step.item()))
    limited(node, (count,), start.dtype)
    return (np.arange(count) * step + start).astype(start.dtype)


@known("DepthToSpace", "SpaceToDepth")
@computed("DepthToSpace", "SpaceToDepth")
def _blocks(node: Node, inputs: Inputs, training: bool) -> Any:
    x, block = inputs[0], node.attributes["blocksize"]
    deep = node.op == "DepthToSpace"
    fits = x.ndim == 4 and block > 0
    if not fits or x.shape[1] % (block * block if deep else 1) or _odd(x, 1 if deep else block):
        raise ShapeError(f"onnx: {node}: blocks of {block} do not fit {x.shape}")
    n, c, h, w = x.shape
    if not deep:
        parts = reshape(x, (n, c, h // block, block, w // block, block))
        depth_first = node.get("mode", "DCR") == "CRD"
        moved = transpose(parts, (0, 1, 3, 5, 2, 4) if depth_first else (0, 3, 5, 1, 2, 4))
        return reshape(moved, (n, c * block * block, h // block, w // block))
    less = c // (block * block)
    if node.get("mode", "DCR") == "CRD":
        moved = transpose(reshape(x, (n, less, block, block, h, w)), (0, 1, 4, 2, 5, 3))
    else:
        moved = transpose(reshape(x, (n, block, block, less, h, w)), (0, 3, 4, 1, 5, 2))
    return reshape(moved, (n, less, h * block, w * block))


def _odd(x: Any, block: int) -> bool:
    return any(s % block for s in x.shape[2:])


@known("Identity")
@computed("Identity")
def _identity(node: Node, inputs: Inputs, training: bool) -> Any:
    return inputs[0]


@known("Constant")
def _constant(node: Node, inputs: Inputs, training: bool) -> Any:
    if len(node.attributes) != 1:
        raise ShapeError(f"onnx: {node} must have one value, got {sorted(node.attributes)}")
    ((name, value),) = node.attributes.items()
    dtypes = {"value_float": np.float32, "value_floats": np.float32}
    if name == "value":
        return value
    if name in ("value_string", "value_strings"):
        raise DTypeError(f"onnx: {node} holds text, expected numbers")
    return np.array(value, dtypes.get(name, np.int64))
