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
    if reduction not in ("none", "add", *_COMBINED):
        raise ShapeError(f"onnx: {node}: reduction must be none, add, mul, max or min")
    zeros = not isinstance(data, Tensor) and not data.any()
    if reduction == "add" or (reduction == "none" and zeros):
        like = updates if isinstance(updates, Tensor) else data
        spread = _spread(node, as_tensor(updates, like), index, data.shape, where, reduction)
        return spread if zeros else F.add(as_tensor(data, like), spread)
    if is_symbolic(index):
        raise CaptureError(f"onnx: {node} into an array needs indices that are known")
    like = data if isinstance(data, Tensor) else updates
    given = as_tensor(data, like)
    if reduction in _COMBINED:
        return _combined(node, given, index, as_tensor(updates, like), where, reduction)
    # Each element comes from the array or from the last update for its place.
    shape = given.shape
    source = np.broadcast_to(_along(np.arange(shape[where]), where, len(shape)), shape).copy()
    order = _along(np.arange(shape[where], shape[where] + index.shape[where]), where, len(shape))
    part = source[tuple(slice(None if d == where else n) for d, n in enumerate(index.shape))]
    np.put_along_axis(part, index, np.broadcast_to(order, index.shape), where)
    grown = _grown(as_tensor(updates, like), shape, where, 0.0)
    return _taken(F.concat([given, grown], where), source, where)


# Reductions, each with the number that changes nothing.
_COMBINED: dict[str, tuple[Any, float]] = {
    "mul": (F.mul, 1.0),
    "max": (F.maximum, -math.inf),
    "min": (F.minimum, math.inf),
}
_MOST_TURNS = 1024


def _combined(
    node: Node, data: Tensor, index: NDArray, updates: Tensor, where: int, reduction: str
) -> Tensor:
    """The first updates of all places at once, then the second ones."""
    combine, neutral = _COMBINED[reduction]
    moved = np.moveaxis(index, where, 0)
    count, rest = moved.shape[0], np.indices(moved.shape[1:], sparse=True)
    seen = np.zeros((data.shape[where], *moved.shape[1:]), np.int64)
    turn = np.empty(moved.shape, np.int64)
    for m in range(count):
        at = (moved[m], *rest)
        turn[m] = seen[at]
        seen[at] += 1
    fill = Tensor(
        np.full((*index.shape[:where], 1, *index.shape[where + 1 :]), neutral, data.dtype)
    )
    both = _grown(F.concat([updates, fill], where), data.shape, where, neutral)
    turns = int(seen.max(initial=0))
    if turns > _MOST_TURNS:
        raise ShapeError(
            f"onnx: {node}: {turns} updates of one place, at most {_MOST_TURNS} are done"
        )
    for now in range(turns):
        source = np.full(data.shape, count)
        part = source[tuple(slice(None if d == where else n) for d, n in enumerate(index.shape))]
        part = np.moveaxis(part, where, 0)
        chosen = np.nonzero(turn == now)
        at = (moved[chosen], *chosen[1:])
        part[at] = chosen[0]
        data = combine(data, _taken(both, source, where))
    return data


def _along(values: NDArray, where: int, ndim: int) -> NDArray:
    return values.reshape((-1,) + (1,) * (ndim - where - 1))


def _taken(x: Tensor, source: NDArray, where: int) -> Tensor:
    before, length, behind = _rows(source.shape, where)
    flat = F.reshape(x, (before, x.shape[where], behind))
    taken: Tensor = F.reshape(
        gathered("scatter_elements", flat, source.reshape((before, length, behind))), source.shape
    )
    return taken


def _grown(x: Tensor, shape: tuple[int, ...], where: int, fill: float) -> Tensor:
    """With `fill` behind it in all dimensions but `where`."""
    for d, n in enumerate(shape):
        if d != where and x.shape[d] < n:
            missing = (*x.shape[:d], n - x.shape[d], *x.shape[d + 1 :])
            x = F.concat([x, Tensor(np.full(missing, fill, x.dtype))], d)
    return x


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
    return _grown(made, shape, where, 0.0)
