"""Activations and arithmetic, element by element."""

from __future__ import annotations

import functools
import math
from typing import Any

import numpy as np

from ... import functional as F
from ..._arrays import NDArray, is_floating
from ...errors import DTypeError
from ...functional.elementwise import sum_to
from ...tensor import Tensor, finish
from ..graph import Node
from ..tensors import element_type
from .registry import (
    KNOWN,
    MAX_KNOWN_BYTES,
    Inputs,
    Value,
    at,
    axis,
    computed,
    known,
    limited,
    scalar,
    values,
)
from .shapes import as_tensor, broadcast_shape, reshape

_UNARY: dict[str, str] = {
    "Abs": "abs",
    "Ceil": "ceil",
    "Erf": "erf",
    "Exp": "exp",
    "Floor": "floor",
    "HardSwish": "hardswish",
    "Log": "log",
    "Mish": "mish",
    "Neg": "neg",
    "Reciprocal": "reciprocal",
    "Relu": "relu",
    "Round": "round",
    "Sigmoid": "sigmoid",
    "Sign": "sign",
    "Softplus": "softplus",
    "Sqrt": "sqrt",
    "Tanh": "tanh",
}
_BINARY = {"Add": "add", "Div": "div", "Mul": "mul", "Pow": "pow", "Sub": "sub"}
_SEVERAL = {"Max": "maximum", "Mean": "add", "Min": "minimum", "Sum": "add"}


def operand(value: Value, other: Any) -> Any:
    """A known array as what arithmetic with `other` takes: a number where it can be, or of its type."""
    if isinstance(value, Tensor) or not isinstance(other, Tensor):
        return value
    if value.size == 1 and value.ndim <= other.ndim:
        return float(value.item())
    return value.astype(other.dtype)


@computed(*_UNARY)
def _unary(node: Node, inputs: Inputs, training: bool) -> Any:
    return getattr(F, _UNARY[node.op])(inputs[0])


@computed(*_BINARY)
def _binary(node: Node, inputs: Inputs, training: bool) -> Any:
    a, b = inputs
    broadcast_shape(node, a.shape, b.shape)
    if node.op == "Pow" and not isinstance(a, Tensor) and a.dtype.kind != "f":
        # The result is of the base's type.
        return np.asarray(np.power(a, values(node, b)).astype(a.dtype))
    return getattr(F, _BINARY[node.op])(operand(a, b), operand(b, a))


@computed(*_SEVERAL)
def _several(node: Node, inputs: Inputs, training: bool) -> Any:
    broadcast_shape(node, *(v.shape for v in inputs))
    # Known arrays last, so that each meets a Tensor.
    ordered = sorted(inputs, key=lambda v: not isinstance(v, Tensor))
    apply = getattr(F, _SEVERAL[node.op])
    total = functools.reduce(lambda a, b: apply(a, operand(b, a)), ordered)
    return F.mul(total, 1 / len(inputs)) if node.op == "Mean" else total


@computed("LeakyRelu")
def _leaky_relu(node: Node, inputs: Inputs, training: bool) -> Any:
    return F.leaky_relu(inputs[0], node.attributes["alpha"])


@computed("Elu", "Celu")
def _elu(node: Node, inputs: Inputs, training: bool) -> Any:
    apply = F.elu if node.op == "Elu" else F.celu
    return apply(inputs[0], node.attributes["alpha"])


@computed("Selu")
def _selu(node: Node, inputs: Inputs, training: bool) -> Any:
    alpha, gamma = node.attributes["alpha"], node.attributes["gamma"]
    return F.mul(F.elu(inputs[0], alpha), gamma)


@computed("Gelu")
def _gelu(node: Node, inputs: Inputs, training: bool) -> Any:
    return F.gelu(inputs[0], node.attributes["approximate"])


@computed("HardSigmoid")
def _hard_sigmoid(node: Node, inputs: Inputs, training: bool) -> Any:
    slope, shift = node.attributes["alpha"], node.attributes["beta"]
    if math.isclose(slope, 1 / 6, rel_tol=1e-6) and shift == 0.5:
        return F.hardsigmoid(inputs[0])
    return F.clamp(F.add(F.mul(inputs[0], slope), shift), 0.0, 1.0)


@computed("Softsign")
def _softsign(node: Node, inputs: Inputs, training: bool) -> Any:
    return F.div(inputs[0], F.add(F.abs(inputs[0]), 1.0))


@computed("Swish")
def _swish(node: Node, inputs: Inputs, training: bool) -> Any:
    x, scale = inputs[0], node.attributes["alpha"]
    return F.silu(x) if scale == 1 else F.mul(x, F.sigmoid(F.mul(x, scale)))


@computed("ThresholdedRelu")
def _thresholded_relu(node: Node, inputs: Inputs, training: bool) -> Any:
    edge = node.attributes["alpha"]
    x = F.relu(inputs[0]) if edge >= 0 else inputs[0]
    return F.mul(x, _above(x, edge))


@computed("Shrink")
def _shrink(node: Node, inputs: Inputs, training: bool) -> Any:
    x = inputs[0]
    moved = F.sub(x, F.mul(F.sign(x), node.attributes["bias"]))
    return F.mul(moved, _above(F.abs(x), node.attributes["lambd"]))


def _above(x: Any, edge: float) -> Any:
    """1 where x is above the edge, else 0."""
    return F.relu(F.sign(F.sub(x, edge)))


@computed("PRelu")
def _prelu(node: Node, inputs: Inputs, training: bool) -> Any:
    x, slope = inputs
    if broadcast_shape(node, x.shape, slope.shape) != x.shape:
        raise DTypeError(f"onnx: {node}: a slope of {slope.shape} is larger than {x.shape}")
    channels = x.shape[1] if x.ndim > 1 else 1
    per_channel = (channels, *(1,) * (x.ndim - 2))
    if slope.size == 1 or (
        slope.size == channels and slope.shape[-len(per_channel) :] == per_channel
    ):
        return F.prelu(x, as_tensor(reshape(slope, (slope.size,)), x))
    below = F.relu(F.neg(x))
    return F.sub(F.relu(x), F.mul(below, operand(slope, x)))


@computed("Clip")
def _clip(node: Node, inputs: Inputs, training: bool) -> Any:
    if node.version < 11:
        low, high = node.attributes["min"], node.attributes["max"]
    else:
        low = scalar(node, "min", at(inputs, 1), -math.inf)
        high = scalar(node, "max", at(inputs, 2), math.inf)
    if low == -math.inf and high == math.inf:
        return inputs[0]
    if low == 0:
        if high == 6:
            return F.relu6(inputs[0])
        if high >= float(np.finfo(np.float32).max):
            return F.relu(inputs[0])
    # ONNX: where the lower bound is the larger one, the result is the upper bound.
    return F.clamp(inputs[0], min(low, high), high)


@computed("Mod")
def _mod(node: Node, inputs: Inputs, training: bool) -> Any:
    """The rest of a division by contents, with PyTorch's gradients: 1, and minus the whole quotient."""
    x, y = (values(node, v) for v in inputs)
    rest = KNOWN["Mod"](node, (x, y), training)
    if not is_floating(rest.dtype):
        return rest

    def backward(g: NDArray, needs: tuple[bool, ...]) -> tuple[NDArray | None, ...]:
        with np.errstate(all="ignore"):
            times = np.round((x - rest) / y).astype(g.dtype)
            of_y = np.ascontiguousarray(-g * times)
        return sum_to(g, x.shape) if needs[0] else None, sum_to(of_y, y.shape) if needs[1] else None

    return finish("Mod", rest, tuple(inputs), backward)


@computed("Softmax", "LogSoftmax")
def _softmax(node: Node, inputs: Inputs, training: bool) -> Any:
    x = inputs[0]
    apply = F.softmax if node.op == "Softmax" else F.log_softmax
    if node.version >= 13:
        return apply(x, axis(node, node.get("axis", -1), x.ndim))
    # Over all dimensions from the axis on together.
    where = axis(node, node.get("axis", 1), x.ndim)
    rows = reshape(x, (math.prod(x.shape[:where]), math.prod(x.shape[where:])))
    return reshape(apply(rows, 1), x.shape)


@computed("Where")
def _where(node: Node, inputs: Inputs, training: bool) -> Any:
    mask = values(node, inputs[0])
    a, b = inputs[1:]
    shape = broadcast_shape(node, mask.shape, a.shape, b.shape)
    like = a if isinstance(a, Tensor) else b
    parts = [F.reshape(F.expand(as_tensor(v, like), shape), (-1,)) for v in (a, b)]
    count = math.prod(shape)
    places = np.arange(count) + np.where(np.broadcast_to(mask, shape).reshape(-1), 0, count)
    return reshape(F.index_select(F.concat(parts), 0, places), shape)


@known("Cast")
@computed("Cast")
def _cast(node: Node, inputs: Inputs, training: bool) -> Any:
    x = inputs[0]
    wanted = element_type(f"the type of {node}", node.attributes["to"])
    if isinstance(x, Tensor) and wanted.kind == "f":
        # A network that was converted to another width computes in that one throughout.
        return x if wanted == np.float32 else F.astype(x, wanted)
    array = values(node, x)
    limited(node, array.shape, wanted, max(MAX_KNOWN_BYTES, 4 * array.nbytes))
    with np.errstate(invalid="ignore"):
        return array.astype(wanted)
