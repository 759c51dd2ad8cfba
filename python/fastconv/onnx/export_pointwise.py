"""Translators: activations, arithmetic, softmax, reductions."""

from __future__ import annotations

import math
from collections.abc import Callable

from .export_layers import reduced
from .export_recording import Step
from .export_translation import Axes, Translation, identity, translates

# Functions of one number that are operators without attributes.
_PLAIN = {
    "relu": "Relu",
    "sigmoid": "Sigmoid",
    "tanh": "Tanh",
    "selu": "Selu",
    "neg": "Neg",
    "abs": "Abs",
    "exp": "Exp",
    "log": "Log",
    "sqrt": "Sqrt",
    "reciprocal": "Reciprocal",
    "erf": "Erf",
    "sign": "Sign",
    "floor": "Floor",
    "ceil": "Ceil",
    "round": "Round",
}
# Those with one number, as the attribute alpha.
_ALPHA = {"leaky_relu": "LeakyRelu", "elu": "Elu", "celu": "Celu"}
_Composed = Callable[[Translation, str, float, float], str]
_composed: dict[str, _Composed] = {}


def _composes(*kinds: str) -> Callable[[_Composed], _Composed]:
    """Registers what writes these functions of x with their two numbers."""

    def add(function: _Composed) -> _Composed:
        _composed.update(dict.fromkeys(kinds, function))
        return function

    return add


@_composes("relu6")
def _relu6(t: Translation, x: str, slope: float, bound: float) -> str:
    return _clipped(t, x, 0.0, 6.0)


@_composes("hardtanh", "clamp")
def _clipped(t: Translation, x: str, low: float, high: float) -> str:
    bounds = ["" if math.isinf(b) else t.graph.floats(b) for b in (low, high)]
    return t.emit("Clip", [x, *bounds])


@_composes("gelu")
def _gelu(t: Translation, x: str, slope: float, bound: float) -> str:
    if t.graph.opset >= 20:
        return t.emit("Gelu", [x])
    inner = t.emit("Erf", [t.emit("Mul", [x, t.graph.floats(math.sqrt(0.5))])])
    return _half_of(t, x, inner)


@_composes("gelu_tanh")
def _gelu_tanh(t: Translation, x: str, slope: float, bound: float) -> str:
    """0.5 x (1 + tanh(sqrt(2 / pi) (x + 0.044715 x^3)))."""
    if t.graph.opset >= 20:
        return t.emit("Gelu", [x], approximate="tanh")
    cube = t.emit("Mul", [t.emit("Mul", [x, x]), x])
    inner = t.emit("Add", [x, t.emit("Mul", [cube, t.graph.floats(0.044715)])])
    inner = t.emit("Mul", [inner, t.graph.floats(math.sqrt(2 / math.pi))])
    return _half_of(t, x, t.emit("Tanh", [inner]))


def _half_of(t: Translation, x: str, inner: str) -> str:
    """0.5 x (1 + inner)."""
    half = t.emit("Mul", [x, t.graph.floats(0.5)])
    return t.emit("Mul", [half, t.emit("Add", [inner, t.graph.floats(1.0)])])


@_composes("hardsigmoid")
def _hardsigmoid(t: Translation, x: str, slope: float, bound: float) -> str:
    return t.emit("HardSigmoid", [x], alpha=1 / 6, beta=0.5)


@_composes("hardswish")
def _hardswish(t: Translation, x: str, slope: float, bound: float) -> str:
    if t.graph.opset >= 14:
        return t.emit("HardSwish", [x])
    return t.emit("Mul", [x, _hardsigmoid(t, x, 0.0, 0.0)])


@_composes("silu")
def _silu(t: Translation, x: str, slope: float, bound: float) -> str:
    return t.emit("Mul", [x, t.emit("Sigmoid", [x])])


@_composes("softplus")
def _softplus(t: Translation, x: str, beta: float, threshold: float) -> str:
    scaled = x if beta == 1 else t.emit("Mul", [x, t.graph.floats(beta)])
    name = t.emit("Softplus", [scaled])
    if beta != 1:
        name = t.emit("Div", [name, t.graph.floats(beta)])
    if threshold >= 20:  # from where on log(1 + e^x) is x in float32
        return name
    return t.emit("Where", [t.emit("Greater", [scaled, t.graph.floats(threshold)]), x, name])


@_composes("mish")
def _mish(t: Translation, x: str, slope: float, bound: float) -> str:
    if t.graph.opset >= 18:
        return t.emit("Mish", [x])
    return t.emit("Mul", [x, t.emit("Tanh", [t.emit("Softplus", [x])])])


@_composes("threshold")
def _threshold(t: Translation, x: str, limit: float, value: float) -> str:
    """Through "less or equal", which NaN is not."""
    below = t.emit("LessOrEqual", [x, t.graph.floats(limit)])
    return t.emit("Where", [below, t.graph.floats(value), x])


@_composes("hardshrink")
def _hardshrink(t: Translation, x: str, limit: float, bound: float) -> str:
    inside = t.emit("LessOrEqual", [t.emit("Abs", [x]), t.graph.floats(limit)])
    return t.emit("Where", [inside, t.graph.floats(0.0), x])


@translates("activation", of={*_PLAIN, *_ALPHA, *_composed})
def _activation(t: Translation, step: Step) -> None:
    view = t.view(step.operands[0])
    kind, slope = t.get(step, "kind"), t.get(step, "slope")
    if kind in _PLAIN:
        name = t.emit(_PLAIN[kind], [view.name])
    elif kind in _ALPHA:
        name = t.emit(_ALPHA[kind], [view.name], alpha=slope)
    else:
        name = _composed[kind](t, view.name, slope, t.get(step, "bound") or 0.0)
    t.put(step.results[0], name, view.axes)


_BINARY = {
    "add": "Add",
    "sub": "Sub",
    "mul": "Mul",
    "div": "Div",
    "maximum": "Max",
    "minimum": "Min",
    "pow": "Pow",
    "prelu": "PRelu",
}


def _binary(t: Translation, step: Step, names: list[str]) -> str:
    kind = t.get(step, "kind")
    if kind == "equal":
        return t.emit("Cast", [t.emit("Equal", names)], to=_FLOAT)
    return t.emit(_BINARY[kind], names)


_FLOAT = 1  # TensorProto.FLOAT


@translates("elementwise", of={*_BINARY, "equal"})
def _elementwise(t: Translation, step: Step) -> None:
    names, axes = together(t, list(step.operands[:2]))
    t.put(step.results[0], _binary(t, step, names), axes)


@translates("elementwise_scalar", of={*_BINARY, "equal"})
def _elementwise_scalar(t: Translation, step: Step) -> None:
    view = t.view(step.operands[0])
    names = [view.name, t.graph.floats(t.get(step, "value"))]
    if t.get(step, "first"):
        names.reverse()
    t.put(step.results[0], _binary(t, step, names), view.axes)


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


_REDUCTIONS = {
    "sum": "ReduceSum",
    "mean": "ReduceMean",
    "amax": "ReduceMax",
    "amin": "ReduceMin",
    "prod": "ReduceProd",
}


@translates("reduce", of=_REDUCTIONS)
def _reduce(t: Translation, step: Step) -> None:
    view = t.view(step.operands[0])
    kind, dims, keep = t.get(step, "kind"), t.get(step, "dim"), t.get(step, "keepdim")
    if not dims:  # which ONNX takes for all of them
        return t.put(step.results[0], view.name, view.axes)
    gone = sorted(view.axes[d] for d in dims)
    name = reduced(t, _REDUCTIONS[kind], view.name, gone, keep)
    axes = view.axes
    if not keep:
        left = [a for d, a in enumerate(view.axes) if d not in dims]
        axes = tuple(sorted(left).index(a) for a in left)
    t.put(step.results[0], name, axes)


@translates("reduce_backward", of=("sum", "mean"))
def _reduce_backward(t: Translation, step: Step) -> None:
    """Sums' and means' gradients spread one number over what it came from: an expansion."""
    kind, dims = t.get(step, "kind"), t.get(step, "dim")
    (source,) = step.operands
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
