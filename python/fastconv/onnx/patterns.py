"""Activations and layer norms that files spell out, node by node, found again: one function in place of up to ten
nodes.

Sources: silu and gelu: Hendrycks and Gimpel, 2016; hardswish: Howard et al., 2019; mish: Misra, 2019; layer norm:
Ba et al., 2016."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable

from .graph import Graph, Node, uses_of
from .ops.registry import integers

# Nodes that a product is followed through: the compositions have fewer.
_LONGEST_PRODUCT = 16

Rule = Callable[["_Search", Node], Node | None]


def recognise(graph: Graph) -> None:
    """Put one node in the place of each composition; what it was made of goes when nobody else reads it."""
    search = _Search(graph)
    for number, node in enumerate(graph.nodes):
        for rule in _RULES:
            found = rule(search, node)
            if found is not None:
                graph.nodes[number] = search.makers[node.outputs[0]] = found
                break
    _norms(graph, search)


class _Search:
    def __init__(self, graph: Graph) -> None:
        self.constants = graph.constants
        self.makers = {name: node for node in graph.nodes for name in node.outputs if name}

    def number(self, name: str) -> float | None:
        """The value of a constant of one element, which adds no dimensions to what it is combined with."""
        array = self.constants.get(name)
        if array is None or array.size != 1 or array.ndim > 1 or array.dtype.kind not in "fiub":
            return None
        return float(array.item())

    def factor(self, name: str) -> float | None:
        """The same of floating point: what has it as an operand is floating point too."""
        array = self.constants.get(name)
        return self.number(name) if array is not None and array.dtype.kind == "f" else None

    def made_by(self, name: str, *ops: str) -> Node | None:
        node = self.makers.get(name)
        return node if node is not None and node.op in ops else None

    def product(self, name: str) -> tuple[float, list[str]]:
        """A value as a number times other values; a long product is not taken apart to its end."""
        scale, values, waiting = 1.0, list[str](), [name]
        for step in itertools.count():
            if not waiting:
                break
            value = waiting.pop()
            node = self.made_by(value, "Mul", "Div") if step < _LONGEST_PRODUCT else None
            divisor = self.factor(node.inputs[1]) if node is not None and node.op == "Div" else None
            given = self.factor(value)
            if node is not None and node.op == "Mul":
                waiting += node.inputs[::-1]
            elif node is not None and divisor:
                scale /= divisor
                waiting.append(node.inputs[0])
            elif given is not None:
                scale *= given
            else:
                values.append(value)
        return scale, values

    def plus(self, name: str, number: float) -> str | None:
        """x where a value is x + number."""
        node = self.made_by(name, "Add")
        for i in (0, 1) if node is not None else ():
            assert node is not None
            if _is(self.factor(node.inputs[1 - i]), number):
                return node.inputs[i]
        return None

    def bounds(self, node: Node) -> tuple[str, float, float] | None:
        """x, the least and the greatest value where a node only limits x."""
        if node.op == "Relu":
            return node.inputs[0], 0.0, math.inf
        if node.op == "Clip" and node.version < 11:
            return node.inputs[0], node.attributes["min"], node.attributes["max"]
        if node.op == "Clip":
            given = (*node.inputs, "", "")[1:3]
            low, high = (self.number(n) if n else None for n in given)
            if any(n and v is None for n, v in zip(given, (low, high), strict=True)):
                return None
            return (
                node.inputs[0],
                -math.inf if low is None else low,
                math.inf if high is None else high,
            )
        if node.op in ("Min", "Max") and len(node.inputs) == 2:
            for i in (0, 1):
                limit = self.number(node.inputs[1 - i])
                if limit is not None and self.constants[node.inputs[1 - i]].ndim == 0:
                    low, high = (-math.inf, limit) if node.op == "Min" else (limit, math.inf)
                    return node.inputs[i], low, high
        return None


def _is(value: float | None, number: float) -> bool:
    return value is not None and math.isclose(value, number, rel_tol=1e-6)


def _becomes(node: Node, op: str, version: int, x: str, **attributes: object) -> Node:
    return node.but(
        op=op, version=version, called=node.op, inputs=(x,), attributes=dict(attributes)
    )


def _clipped(search: _Search, node: Node) -> Node | None:
    """relu6 of two limits, one behind the other."""
    outer = search.bounds(node)
    maker = search.makers.get(outer[0]) if outer else None
    inner = search.bounds(maker) if maker is not None else None
    if outer is None or inner is None:
        return None
    if (max(outer[1], inner[1]), min(outer[2], inner[2])) != (0.0, 6.0):
        return None
    return _becomes(node, "Clip", 6, inner[0], min=0.0, max=6.0)


def _six_above_minus_three(search: _Search, name: str) -> str | None:
    """x where a value is relu6(x + 3)."""
    node = search.makers.get(name)
    found = search.bounds(node) if node is not None else None
    return search.plus(found[0], 3.0) if found and found[1:] == (0.0, 6.0) else None


def _hard_sigmoid(search: _Search, node: Node) -> Node | None:
    if node.op not in ("Mul", "Div"):
        return None
    scale, values = search.product(node.outputs[0])
    x = _six_above_minus_three(search, values[0]) if len(values) == 1 else None
    if x is None or not _is(scale, 1 / 6):
        return None
    return _becomes(node, "HardSigmoid", 6, x, alpha=1 / 6, beta=0.5)


def _gated(search: _Search, node: Node) -> Node | None:
    """x times a function of x: silu, hardswish, mish and both forms of gelu."""
    if node.op not in ("Mul", "Div"):
        return None
    scale, values = search.product(node.outputs[0])
    if len(values) != 2:
        return None
    for x, gate in (values, values[::-1]):
        maker = search.makers.get(gate)
        if maker is None:
            continue
        if maker.op == "Sigmoid" and maker.inputs[0] == x and _is(scale, 1):
            return _becomes(node, "Swish", 24, x, alpha=1.0)
        if _is_hard_sigmoid(maker) and maker.inputs[0] == x and _is(scale, 1):
            return _becomes(node, "HardSwish", 14, x)
        if _six_above_minus_three(search, gate) == x and _is(scale, 1 / 6):
            return _becomes(node, "HardSwish", 14, x)
        inside = search.made_by(maker.inputs[0], "Softplus") if maker.op == "Tanh" else None
        if inside is not None and inside.inputs[0] == x and _is(scale, 1):
            return _becomes(node, "Mish", 18, x)
        form = _gelu_gate(search, gate, x) if _is(scale, 0.5) else None
        if form is not None:
            return _becomes(node, "Gelu", 20, x, approximate=form)
    return None


def _is_hard_sigmoid(node: Node) -> bool:
    return (
        node.op == "HardSigmoid"
        and _is(node.attributes["alpha"], 1 / 6)
        and node.attributes["beta"] == 0.5
    )


def _gelu_gate(search: _Search, gate: str, x: str) -> str | None:
    """Which form of gelu has 0.5 x times this value: "none" for 1 + erf(x / sqrt(2)), "tanh" for its
    approximation."""
    inside = search.plus(gate, 1.0)
    node = search.made_by(inside, "Erf", "Tanh") if inside is not None else None
    if node is None:
        return None
    scale, values = search.product(node.inputs[0])
    if node.op == "Erf":
        return "none" if values == [x] and _is(scale, math.sqrt(0.5)) else None
    if not _is(scale, math.sqrt(2 / math.pi)):
        return None
    # x + 0.044715 x^3, or x (1 + 0.044715 x^2)
    if len(values) == 1:
        total = search.made_by(values[0], "Add")
        if total is None or x not in total.inputs:
            return None
        rest = total.inputs[1 - total.inputs.index(x)]
        return "tanh" if _is_power(search, rest, x, 3) else None
    if len(values) == 2 and x in values:
        squares = search.plus(values[1 - values.index(x)], 1.0)
        return "tanh" if squares is not None and _is_power(search, squares, x, 2) else None
    return None


def _is_power(search: _Search, name: str, x: str, power: int) -> bool:
    """Whether a value is 0.044715 x to a power."""
    scale, values = search.product(name)
    found = 0
    for value in values:
        node = search.made_by(value, "Pow")
        exponent = search.number(node.inputs[1]) if node is not None else None
        if value == x:
            found += 1
        elif node is not None and node.inputs[0] == x and exponent in (2.0, 3.0):
            found += int(exponent)
        else:
            return False
    return found == power and _is(scale, 0.044715)


_RULES: tuple[Rule, ...] = (_clipped, _hard_sigmoid, _gated)


def _norms(graph: Graph, search: _Search) -> None:
    """Layer and group norms, with the constants that they are multiplied by and that are added."""
    uses = uses_of(graph)
    readers = {n: i for i, node in enumerate(graph.nodes) for n in node.inputs}

    def affine(name: str, op: str) -> tuple[int, str] | None:
        """The node, and its constant, that alone reads a value and adds or multiplies that constant."""
        at = readers.get(name, -1) if uses[name] == 1 and name not in graph.outputs else -1
        node = graph.nodes[at] if at >= 0 else None
        if node is None or node.op != op:
            return None
        other = node.inputs[1 - node.inputs.index(name)]
        return (at, other) if other in graph.constants else None

    for number, node in enumerate(list(graph.nodes)):
        found = _normalised(search, node) or _grouped(search, node)
        if found is None:
            continue
        kind, x, attributes = found
        at, operands = number, [x]
        for op in ("Mul", "Add"):
            more = affine(graph.nodes[at].outputs[0], op)
            if more is None:
                if op == "Mul":
                    operands.append("")
                continue
            at = more[0]
            operands.append(more[1])
        graph.nodes[at] = graph.nodes[at].but(
            op=kind,
            called=graph.nodes[at].op,
            inputs=tuple(operands),
            attributes=attributes,
        )


def _grouped(search: _Search, node: Node) -> tuple[str, str, dict[str, object]] | None:
    """A group norm where a node gives an instance norm of groups, as rows, x's shape again."""
    shape = search.made_by(node.inputs[1], "Shape") if node.op == "Reshape" else None
    norm = search.made_by(node.inputs[0], "InstanceNormalization") if shape is not None else None
    rows = search.made_by(norm.inputs[0], "Reshape") if norm is not None else None
    if shape is None or norm is None or rows is None or shape.inputs[0] != rows.inputs[0]:
        return None
    scale, shift, sizes = (
        search.constants.get(n) for n in (norm.inputs[1], norm.inputs[2], rows.inputs[1])
    )
    if scale is None or shift is None or sizes is None or (scale != 1).any() or shift.any():
        return None
    whole = shape.get("start", 0) == 0 and shape.get("end") is None
    if (
        not scale.size
        or sizes.tolist() != [0, scale.size, -1]
        or rows.get("allowzero", 0)
        or not whole
    ):
        return None
    attributes = {"num_groups": int(scale.size), "epsilon": norm.attributes["epsilon"]}
    return "GroupNorm", rows.inputs[0], attributes


def _normalised(search: _Search, node: Node) -> tuple[str, str, dict[str, object]] | None:
    """A layer norm where a node makes (x - mean) / sqrt(variance + eps)."""
    if node.op not in ("Div", "Mul") or len(node.inputs) != 2:
        return None
    for i in (0, 1) if node.op == "Mul" else (0,):
        centred = _centred(search, node.inputs[i])
        if centred is None:
            continue
        spread = _variance(search, node.inputs[1 - i], inverse=node.op == "Mul")
        if spread is not None and spread[0] == centred:
            return "LayerNorm", centred[0], {"axes": centred[1], "epsilon": spread[1]}
    return None


def _mean(search: _Search, name: str) -> tuple[str, tuple[int, ...]] | None:
    """What a ReduceMean that keeps its dimensions takes the mean of, and over which."""
    node = search.made_by(name, "ReduceMean")
    if node is None or not node.get("keepdims", 1):
        return None
    given = node.get("axes")
    if given is None and len(node.inputs) > 1:
        array = search.constants.get(node.inputs[1])
        given = integers(node, "axes", array) if array is not None else None
    return (node.inputs[0], tuple(given)) if given else None


def _centred(search: _Search, name: str) -> tuple[str, tuple[int, ...]] | None:
    """x and the dimensions where a value is x - mean(x)."""
    node = search.made_by(name, "Sub")
    found = _mean(search, node.inputs[1]) if node is not None else None
    return found if node is not None and found and found[0] == node.inputs[0] else None


def _variance(
    search: _Search, name: str, inverse: bool
) -> tuple[tuple[str, tuple[int, ...]], float] | None:
    """x and the dimensions, and eps, where a value is sqrt(variance + eps), or the inverse of that."""
    if inverse:
        node = search.made_by(name, "Reciprocal", "Pow")
        if node is not None and node.op == "Pow":
            return (
                _squares(search, node.inputs[0])
                if _is(search.number(node.inputs[1]), -0.5)
                else None
            )
        if node is None:
            return None
        name = node.inputs[0]
    root = search.made_by(name, "Sqrt", "Pow")
    if root is None or (root.op == "Pow" and not _is(search.number(root.inputs[1]), 0.5)):
        return None
    return _squares(search, root.inputs[0])


def _squares(search: _Search, name: str) -> tuple[tuple[str, tuple[int, ...]], float] | None:
    """x and the dimensions, and eps, where a value is mean((x - mean(x))^2) + eps."""
    total = search.made_by(name, "Add")
    for i in (0, 1) if total is not None else ():
        assert total is not None
        eps, mean = search.number(total.inputs[1 - i]), _mean(search, total.inputs[i])
        square = search.made_by(mean[0], "Pow", "Mul") if mean is not None else None
        if eps is None or not 0 < eps < math.inf or mean is None or square is None:
            continue
        twice = (
            square.inputs[0] == square.inputs[1]
            if square.op == "Mul"
            else search.number(square.inputs[1]) == 2.0
        )
        centred = _centred(search, square.inputs[0])
        if twice and centred is not None and centred[1] == mean[1]:
            return centred, eps
    return None
