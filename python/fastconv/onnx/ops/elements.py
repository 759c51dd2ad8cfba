"""GatherElements and ScatterElements: a place for each element."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ... import _ops
from ... import functional as F
from ..._arrays import NDArray
from ..._symbolic import is_symbolic
from ...errors import CaptureError, DTypeError, ShapeError
from ...functional.places import gathered
from ...tensor import Tensor, finish
from ..graph import Node
from .registry import Inputs, axis, computed, known
from .shapes import as_tensor


def _places(node: Node, value: Any, size: int) -> NDArray:
    """int64 places in [0, size). What a program computes is taken to be so, and checked when it runs."""
    index: NDArray = value.numpy() if isinstance(value, Tensor) else value
    if index.dtype.kind not in "iu":
        raise DTypeError(f"onnx: {node}: indices must be integers, got {index.dtype}")
    index = index.astype(np.dtype(np.int64), copy=False)
    if is_symbolic(index):
        return index
    if index.size and not -size <= int(index.min()) <= int(index.max()) < size:
        raise ShapeError(f"onnx: {node}: indices beyond the {size} elements of the axis")
    return np.where(index < 0, index + size, index)


def _rows(shape: tuple[int, ...], where: int) -> tuple[int, int, int]:
    return math.prod(shape[:where]), shape[where], math.prod(shape[where + 1 :])


def _same_rank(node: Node, index: NDArray, shape: tuple[int, ...], where: int) -> None:
    """Indices may span less than the array, but for the axis itself."""
    if index.ndim != len(shape) or any(
        n > of for d, (n, of) in enumerate(zip(index.shape, shape, strict=True)) if d != where
    ):
        raise ShapeError(f"onnx: {node}: indices of shape {index.shape} for an array of {shape}")


@known("GatherElements")
@computed("GatherElements")
def _gather_elements(node: Node, inputs: Inputs, training: bool) -> Any:
    x = inputs[0]
    where = axis(node, node.get("axis", 0), x.ndim)
    index = _places(node, inputs[1], x.shape[where])
    _same_rank(node, index, x.shape, where)
    for d, n in enumerate(index.shape):
        if d != where and n < x.shape[d]:
            x = x[(slice(None),) * d + (slice(n),)]
    if not isinstance(x, Tensor):
        if is_symbolic(index):
            x = Tensor(np.ascontiguousarray(x))
        else:
            return np.asarray(np.take_along_axis(x, index, where))
    before, _, behind = _rows(index.shape, where)
    flat = F.reshape(x, (before, x.shape[where], behind))
    made = gathered("gather_elements", flat, index.reshape((before, index.shape[where], behind)))
    return F.reshape(made, index.shape)


@known("ScatterElements", "Scatter")
@computed("ScatterElements", "Scatter")
def _scatter_elements(node: Node, inputs: Inputs, training: bool) -> Any:
    data, indices, updates = inputs
    where = axis(node, node.get("axis", 0), data.ndim)
    index = _places(node, indices, data.shape[where])
    _same_rank(node, index, data.shape, where)
    if updates.shape != index.shape:
        raise ShapeError(
            f"onnx: {node}: updates of shape {updates.shape} for indices of {index.shape}"
        )
    reduction = node.get("reduction", "none")
    reduction = reduction.decode() if isinstance(reduction, bytes) else reduction
    if not isinstance(data, Tensor) and not isinstance(updates, Tensor) and not is_symbolic(index):
        return _scattered_known(node, data, index, updates, where, reduction)
    if reduction not in ("none", "add"):
        raise CaptureError(f"onnx: {node}: reduction {reduction!r} of computed arrays is not there")
    zeros = not isinstance(data, Tensor) and not data.any()
    if reduction == "add" or zeros:
        like = updates if isinstance(updates, Tensor) else data
        spread = _spread(node, as_tensor(updates, like), index, data.shape, where, reduction)
        return spread if zeros else F.add(as_tensor(data, like), spread)
    if is_symbolic(index):
        raise CaptureError(f"onnx: {node} into an array needs indices that are known")
    # Each element comes from the array or from the last update for its place.
    source = np.broadcast_to(
        np.arange(data.shape[where]).reshape((-1,) + (1,) * (data.ndim - where - 1)), data.shape
    ).copy()
    order = np.arange(index.shape[where]).reshape((-1,) + (1,) * (data.ndim - where - 1))
    part = source[tuple(slice(None if d == where else n) for d, n in enumerate(index.shape))]
    np.put_along_axis(part, index, np.broadcast_to(order + data.shape[where], index.shape), where)
    like = data if isinstance(data, Tensor) else updates
    grown = as_tensor(updates, like)
    for d, n in enumerate(data.shape):
        if d != where and grown.shape[d] < n:
            missing = (*grown.shape[:d], n - grown.shape[d], *grown.shape[d + 1 :])
            grown = F.concat([grown, Tensor(np.zeros(missing, grown.dtype))], d)
    both = F.concat([as_tensor(data, like), grown], where)
    before, _, behind = _rows(data.shape, where)
    flat = F.reshape(both, (before, both.shape[where], behind))
    made = gathered("scatter_elements", flat, source.reshape((before, data.shape[where], behind)))
    return F.reshape(made, data.shape)


def _scattered_known(
    node: Node, data: NDArray, index: NDArray, updates: NDArray, where: int, reduction: str
) -> NDArray:
    made: NDArray = data.copy()
    part = made[tuple(slice(None if d == where else n) for d, n in enumerate(index.shape))]
    steps = {"add": np.add, "mul": np.multiply, "max": np.maximum, "min": np.minimum}
    if reduction == "none":
        np.put_along_axis(part, index, updates, where)
    elif reduction in steps:
        places = list(np.indices(index.shape, sparse=True))
        places[where] = index
        steps[reduction].at(part, tuple(places), updates)
    else:
        raise ShapeError(f"onnx: {node}: reduction must be none, add, mul, max or min")
    return made


def _spread(
    node: Node, updates: Tensor, index: NDArray, shape: tuple[int, ...], where: int, reduction: str
) -> Tensor:
    """Zeros with the updates at their places, or their sums."""
    before, count, behind = _rows(index.shape, where)
    flat = F.reshape(updates, (before, count, behind))
    places = index.reshape((before, count, behind))
    op = "scatter_elements"

    def backward(g: NDArray, needs: tuple[bool, ...]) -> tuple[NDArray | None, ...]:
        return (_ops.gather(op, g, places),)

    y = _ops.scatter(op, flat.numpy(), places, shape[where], reduction == "add")
    made = F.reshape(
        finish(op, y, (flat,), backward),
        (*index.shape[:where], shape[where], *index.shape[where + 1 :]),
    )
    for d, n in enumerate(shape):
        if d != where and made.shape[d] < n:
            missing = (*made.shape[:d], n - made.shape[d], *made.shape[d + 1 :])
            made = F.concat([made, Tensor(np.zeros(missing, made.dtype))], d)
    result: Tensor = made
    return result
