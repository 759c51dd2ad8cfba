"""Translators: activations, arithmetic, softmax, reductions."""

from __future__ import annotations

import math

from ..errors import CaptureError
from .export_layers import reduced
from .export_recording import Step
from .export_translation import Axes, Translation, identity, translates

_ACTIVATIONS = {"relu": "Relu", "sigmoid": "Sigmoid", "tanh": "Tanh"}


@translates("activation")
def _activation(t: Translation, step: Step) -> None:
    view = t.view(step.operands[0])
    kind, x = t.get(step, "kind"), view.name
    if kind in _ACTIVATIONS:
        name = t.emit(_ACTIVATIONS[kind], [x])
    elif kind == "relu6":
        name = t.emit("Clip", [x, t.graph.floats(0.0), t.graph.floats(6.0)])
    elif kind == "leaky_relu":
        name = t.emit("LeakyRelu", [x], alpha=t.get(step, "slope"))
    elif kind in ("gelu", "gelu_tanh"):
        name = _gelu(t, x, kind == "gelu_tanh")
    else:
        raise CaptureError(f"export: the activation {kind!r} has no translation")
    t.put(step.results[0], name, view.axes)


def _gelu(t: Translation, x: str, tanh: bool) -> str:
    if t.graph.opset >= 20:
        return t.emit("Gelu", [x], approximate="tanh" if tanh else "none")
    number = t.graph.floats
    if tanh:  # tanh(sqrt(2 / pi) (x + 0.044715 x^3))
        cube = t.emit("Mul", [t.emit("Mul", [x, x]), x])
        inner = t.emit("Add", [x, t.emit("Mul", [cube, number(0.044715)])])
        inner = t.emit("Tanh", [t.emit("Mul", [inner, number(math.sqrt(2 / math.pi))])])
    else:
        inner = t.emit("Erf", [t.emit("Mul", [x, number(math.sqrt(0.5))])])
    half = t.emit("Mul", [x, number(0.5)])
    return t.emit("Mul", [half, t.emit("Add", [inner, number(1.0)])])


_BINARY = {"add": "Add", "mul": "Mul"}


@translates("elementwise")
def _elementwise(t: Translation, step: Step) -> None:
    a, b = step.operands[:2]
    kind = t.get(step, "kind")
    names, axes = together(t, [a, b])
    t.put(step.results[0], t.emit(_binary(kind), names), axes)


@translates("elementwise_scalar")
def _elementwise_scalar(t: Translation, step: Step) -> None:
    view = t.view(step.operands[0])
    number = t.graph.floats(t.get(step, "value"))
    t.put(step.results[0], t.emit(_binary(t.get(step, "kind")), [view.name, number]), view.axes)


def _binary(kind: str) -> str:
    if kind not in _BINARY:
        raise CaptureError(f"export: the element-wise function {kind!r} has no translation")
    return _BINARY[kind]


def together(t: Translation, values: list[int | None]) -> tuple[list[str], Axes]:
    """Values in one order of dimensions, that of the largest of them, and that order."""
    ndims = {t.ndim(v) for v in values}
    if len(ndims) > 1:
        return [t.plain(v) for v in values], identity(max(ndims))
    largest = max(values, key=lambda v: math.prod(t.shape(v)))
    axes = t.view(largest).axes
    return [t.arranged(v, axes) for v in values], axes


@translates("softmax")
def _softmax(t: Translation, step: Step) -> None:
    view = t.view(step.operands[0])
    op = "LogSoftmax" if t.get(step, "log") else "Softmax"
    name = t.emit(op, [view.name], axis=view.axes[t.get(step, "dim")])
    t.put(step.results[0], name, view.axes)


_REDUCTIONS = {"sum": "ReduceSum", "mean": "ReduceMean"}


@translates("reduce")
def _reduce(t: Translation, step: Step) -> None:
    view = t.view(step.operands[0])
    kind, dims, keep = t.get(step, "kind"), t.get(step, "dim"), t.get(step, "keepdim")
    if kind not in _REDUCTIONS:
        raise CaptureError(f"export: the reduction {kind!r} has no translation")
    if not dims:  # which ONNX takes for all of them
        return t.put(step.results[0], view.name, view.axes)
    gone = sorted(view.axes[d] for d in dims)
    name = reduced(t, _REDUCTIONS[kind], view.name, gone, keep)
    axes = view.axes
    if not keep:
        left = [a for d, a in enumerate(view.axes) if d not in dims]
        axes = tuple(sorted(left).index(a) for a in left)
    t.put(step.results[0], name, axes)


@translates("reduce_backward")
def _reduce_backward(t: Translation, step: Step) -> None:
    """Sums' and means' gradients spread one number over what it came from: an expansion."""
    kind, dims = t.get(step, "kind"), t.get(step, "dim")
    (source,) = step.operands
    if kind not in _REDUCTIONS:
        raise CaptureError(f"export: the gradient of the reduction {kind!r} has no translation")
    name = t.plain(source)
    if kind == "mean":
        count = math.prod(t.fixed(step, step.results[0], dims))
        name = t.emit("Mul", [name, t.graph.floats(1 / count)])
    # Dimensions that stay are those of the operand: 1 leaves them alone.
    after = [
        tuple(s if d in dims else 1 for d, s in enumerate(shape))
        for shape in t.shapes(step.results[0])
    ]
    t.put(step.results[0], t.emit("Expand", [name, t.shape_of(step, after)]))
