"""Arithmetic of known arrays: what shapes are computed by, with ONNX's rules for integers."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from typing import Any

import numpy as np

from ..._arrays import NDArray
from ...errors import ShapeError
from ..graph import Node
from .registry import Inputs, at, axes, axis, integers, known, limited, scalar
from .shapes import broadcast_shape


def _divide(a: NDArray, b: NDArray) -> Any:
    if a.dtype.kind not in "iu":
        return a / b
    if not b.all():
        raise ShapeError("division by zero")
    if a.dtype.kind == "u":
        return a // b
    quotient = a // b  # rounded down; ONNX rounds towards zero
    return quotient + ((quotient < 0) & (quotient * b != a)).astype(a.dtype)


def _power(a: NDArray, b: NDArray) -> Any:
    if a.dtype.kind in "iu" and b.dtype.kind == "i" and b.size and int(b.min()) < 0:
        return np.power(a.astype(np.float64), b).astype(a.dtype)
    return np.power(a, b).astype(a.dtype)


def _check_size(node: Node, inputs: Inputs) -> None:
    """Refuse operands that do not broadcast, or to too large a result."""
    shape = broadcast_shape(node, *(v.shape for v in inputs))
    limited(node, shape, np.result_type(*(v.dtype for v in inputs)))


def _sigmoid(x: NDArray) -> Any:
    return 1 / (1 + np.exp(-x))


_UNARY: dict[str, Callable[[NDArray], Any]] = {
    "Abs": np.abs,
    "Ceil": np.ceil,
    "Exp": np.exp,
    "Floor": np.floor,
    "Log": np.log,
    "Neg": np.negative,
    "Not": np.logical_not,
    "Reciprocal": lambda x: np.ones((), x.dtype) / x,
    "Relu": lambda x: np.maximum(x, np.zeros((), x.dtype)),
    "Round": np.round,
    "Sigmoid": _sigmoid,
    "Sign": np.sign,
    "Sqrt": np.sqrt,
    "Tanh": np.tanh,
}
_BINARY: dict[str, Callable[[NDArray, NDArray], Any]] = {
    "Add": np.add,
    "And": np.logical_and,
    "Div": _divide,
    "Equal": np.equal,
    "Greater": np.greater,
    "GreaterOrEqual": np.greater_equal,
    "Less": np.less,
    "LessOrEqual": np.less_equal,
    "Mul": np.multiply,
    "Or": np.logical_or,
    "Pow": _power,
    "Sub": np.subtract,
    "Xor": np.logical_xor,
}
_SEVERAL: dict[str, Callable[[NDArray, NDArray], Any]] = {
    "Max": np.maximum,
    "Mean": np.add,
    "Min": np.minimum,
    "Sum": np.add,
}


@known(*_UNARY)
def _unary(node: Node, inputs: Inputs, training: bool) -> Any:
    with np.errstate(all="ignore"):
        return np.asarray(_UNARY[node.op](inputs[0]))


@known(*_BINARY)
def _binary(node: Node, inputs: Inputs, training: bool) -> Any:
    _check_size(node, inputs)
    with np.errstate(all="ignore"):
        try:
            return np.asarray(_BINARY[node.op](inputs[0], inputs[1]))
        except ShapeError as error:
            raise ShapeError(f"onnx: {node}: {error}") from error


@known("Mod")
def _mod(node: Node, inputs: Inputs, training: bool) -> Any:
    _check_size(node, inputs)
    with np.errstate(all="ignore"):
        return np.asarray((np.fmod if node.get("fmod", 0) else np.mod)(inputs[0], inputs[1]))


@known(*_SEVERAL)
def _several(node: Node, inputs: Inputs, training: bool) -> Any:
    _check_size(node, inputs)
    total = functools.reduce(_SEVERAL[node.op], inputs)
    if node.op == "Mean":
        total = total / np.asarray(len(inputs), total.dtype)
    return np.asarray(total)


@known("Where")
def _where(node: Node, inputs: Inputs, training: bool) -> Any:
    _check_size(node, inputs)
    return np.where(inputs[0], inputs[1], inputs[2])


@known("Clip")
def _clip(node: Node, inputs: Inputs, training: bool) -> Any:
    x, low, high = inputs[0], at(inputs, 1), at(inputs, 2)
    if node.version < 11:
        low, high = (np.asarray(node.attributes[n], x.dtype) for n in ("min", "max"))
    if low is not None:
        x = np.maximum(x, low)
    return np.asarray(x if high is None else np.minimum(x, high))


_REDUCTIONS: dict[str, Callable[..., Any]] = {
    "ReduceL1": lambda x, **how: np.abs(x).sum(**how),
    "ReduceL2": lambda x, **how: np.sqrt(np.square(x).sum(**how)),
    "ReduceLogSum": lambda x, **how: np.log(x.sum(**how)),
    "ReduceLogSumExp": lambda x, **how: np.log(np.exp(x).sum(**how)),
    "ReduceMax": np.max,
    "ReduceMean": np.mean,
    "ReduceMin": np.min,
    "ReduceProd": np.prod,
    "ReduceSum": np.sum,
    "ReduceSumSquare": lambda x, **how: np.square(x).sum(**how),
}


def reduced_axes(node: Node, inputs: Inputs) -> tuple[tuple[int, ...] | None, bool]:
    """Which dimensions a Reduce op takes together (None: the input is the result) and whether they stay."""
    given = at(inputs, 1) if "axes" not in node.attributes else node.get("axes")
    found = integers(node, "axes", given)
    if not found:
        if node.get("noop_with_empty_axes", 0):
            return None, True
        found = None
    return axes(node, found, inputs[0].ndim), bool(node.get("keepdims", 1))


def of_nothing(node: Node, x: Any, dims: tuple[int, ...], keep: bool) -> NDArray:
    """The largest or smallest of no elements: the type's least or greatest value."""
    smallest = node.op == "ReduceMin"
    if x.dtype.kind == "f":
        value: Any = math.inf if smallest else -math.inf
    elif x.dtype.kind == "b":
        value = smallest
    else:
        value = np.iinfo(x.dtype).max if smallest else np.iinfo(x.dtype).min
    shape = [1 if d in dims else s for d, s in enumerate(x.shape) if keep or d not in dims]
    return np.full(limited(node, shape, x.dtype), value, x.dtype)


@known(*_REDUCTIONS)
def _reduce(node: Node, inputs: Inputs, training: bool) -> Any:
    x = inputs[0]
    dims, keep = reduced_axes(node, inputs)
    if dims is None:
        return x
    if not all(x.shape[d] for d in dims) and node.op in ("ReduceMax", "ReduceMin"):
        return of_nothing(node, x, dims, keep)
    with np.errstate(all="ignore"):
        return np.asarray(_REDUCTIONS[node.op](x, axis=dims, keepdims=keep)).astype(x.dtype)


@known("ArgMax", "ArgMin")
def _argument(node: Node, inputs: Inputs, training: bool) -> Any:
    x = inputs[0]
    where = axis(node, node.get("axis", 0), x.ndim)
    if x.shape[where] == 0:
        raise ShapeError(f"onnx: {node}: axis {where} of {x.shape} is empty")
    find = np.argmax if node.op == "ArgMax" else np.argmin
    if node.get("select_last_index", 0):
        found = x.shape[where] - 1 - find(np.flip(x, where), axis=where)
    else:
        found = find(x, axis=where)
    found = np.asarray(found, np.int64)
    return np.expand_dims(found, where) if node.get("keepdims", 1) else found


@known("CumSum")
def _cumulative_sum(node: Node, inputs: Inputs, training: bool) -> Any:
    x = inputs[0]
    where = sum_axis(node, inputs)
    flipped = np.flip(x, where) if node.get("reverse", 0) else x
    total = np.cumsum(flipped, where, dtype=x.dtype)
    if node.get("exclusive", 0):
        total = total - flipped
    return np.flip(total, where) if node.get("reverse", 0) else total


def sum_axis(node: Node, inputs: Inputs) -> int:
    """The dimension of a CumSum."""
    return axis(node, int(scalar(node, "axis", inputs[1], 0)), inputs[0].ndim)
