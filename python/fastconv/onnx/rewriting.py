"""Rewriting a graph before it becomes a network: what is constant is computed once, and what convolutions and
linear layers can take over joins them."""

from __future__ import annotations

from typing import Any

import numpy as np

from .._arrays import NDArray
from ..errors import FastconvError, FormatError
from .graph import Graph, Node, uses_of
from .ops import KNOWN, run
from .ops.padding import amounts
from .ops.registry import MAX_REPEATED_BYTES
from .patterns import recognise

# Of all constants together that folding makes: the larger of this and four times what the file holds, and
# of those that are one element repeated.
MAX_FOLDED_BYTES = 1 << 28
# Not the same from run to run, or of no use as a constant.
_NEVER = frozenset({"Dropout"})


def rewrite(graph: Graph) -> None:
    """All of the rewriting, in place."""
    fold_constants(graph)
    join_padding(graph)
    recognise(graph)
    use_linear(graph)
    remove_unread(graph)


def fold_constants(graph: Graph) -> None:
    """Run what depends on constants alone.

    Raises:
        FormatError: it does not fit together, or its results would be very large.
    """
    most = max(MAX_FOLDED_BYTES, 4 * sum(v.nbytes for v in graph.constants.values()))
    kept, total, repeated = [], 0, 0
    same: dict[str, str] = {}  # what Identity makes of constants: another name, not another weight
    for node in graph.nodes:
        node = node.but(inputs=tuple(same.get(n, n) for n in node.inputs))
        renames = node.op == "Identity" and node.inputs[0] in graph.constants
        if renames and node.outputs[0] not in graph.outputs:
            same[node.outputs[0]] = node.inputs[0]
            continue
        inputs = [graph.constants.get(name) for name in node.inputs]
        known = all(v is not None or not n for v, n in zip(inputs, node.inputs, strict=True))
        if not known or node.op not in KNOWN or node.op in _NEVER:
            kept.append(node)
            continue
        try:
            made = run(node, inputs, False)
        except (FastconvError, MemoryError) as error:
            raise FormatError(f"onnx.load: {node} cannot be computed: {error}") from error
        for name, value in zip(node.outputs, made, strict=False):
            if node.op != "Constant":
                total += value.nbytes if any(value.strides) else 0
                repeated += 0 if any(value.strides) else value.nbytes
            if total > most or repeated > MAX_REPEATED_BYTES:
                raise FormatError(
                    f"onnx.load: constants that are computed have {total + repeated} bytes, {node} among them"
                )
            if name:
                graph.constants[name] = value
    graph.nodes = kept


def join_padding(graph: Graph) -> None:
    """Zeros around pictures become the padding of the convolution that alone reads them."""
    uses = uses_of(graph)
    makers = {name: node for node in graph.nodes for name in node.outputs}
    gone: set[int] = set()
    for number, node in enumerate(graph.nodes):
        pad = makers.get(node.inputs[0]) if node.op == "Conv" else None
        if pad is None or pad.op != "Pad" or uses[pad.outputs[0]] != 1:
            continue
        pads = _joined(graph, pad, node)
        if pads is not None:
            gone.add(id(pad))
            inputs = (pad.inputs[0], *node.inputs[1:])
            attributes = {**node.attributes, "pads": pads, "auto_pad": "NOTSET"}
            graph.nodes[number] = node.but(inputs=inputs, attributes=attributes)
    graph.nodes = [n for n in graph.nodes if id(n) not in gone]


def _joined(graph: Graph, pad: Node, conv: Node) -> tuple[int, ...] | None:
    """The pads of both together, or None where they cannot be one."""
    weight = graph.constants.get(conv.inputs[1])
    inputs = [graph.constants.get(n) for n in pad.inputs]
    fixed = all(v is not None or not n for v, n in zip(inputs[1:], pad.inputs[1:], strict=True))
    if weight is None or not fixed or pad.get("mode", "constant") != "constant":
        return None
    if conv.get("auto_pad", "NOTSET") not in ("NOTSET", "VALID"):
        return None
    fill = pad.get("value", 0.0) if pad.version < 11 else (inputs[2:3] or [None])[0]
    try:
        before, after = amounts(pad, weight.ndim, inputs)
    except FastconvError:
        return None  # said when it runs
    spatial = weight.ndim - 2
    own = (conv.get("pads") if conv.get("auto_pad", "NOTSET") == "NOTSET" else None) or ()
    own = own or (0,) * (2 * spatial)
    if (fill is not None and np.any(fill)) or any(before[:2] + after[:2]):
        return None
    if len(own) != 2 * spatial or min(before + after) < 0:
        return None
    return tuple(a + b for a, b in zip(own, before[2:] + after[2:], strict=True))


def use_linear(graph: Graph) -> None:
    """Products with constant matrices become linear layers, whose weights are (outputs, inputs)."""
    uses = uses_of(graph)
    readers: dict[str, int] = {}
    for number, node in enumerate(graph.nodes):
        for name in node.inputs:
            readers[name] = number
    gone: set[int] = set()
    for number, node in enumerate(graph.nodes):
        if number in gone or node.op not in ("MatMul", "Gemm") or not _is_linear(graph, node, uses):
            continue
        weight_name = node.inputs[1]
        if node.op == "MatMul" or not node.get("transB", 0):
            graph.constants[weight_name] = np.ascontiguousarray(graph.constants[weight_name].T)
        inputs, outputs = node.inputs, node.outputs
        after = (
            graph.nodes[readers[outputs[0]]]
            if uses[outputs[0]] == 1 and outputs[0] in readers
            else None
        )
        if node.op == "MatMul" and after is not None and after.op == "Add":
            bias = next((n for n in after.inputs if n != outputs[0]), "")
            rows = graph.constants[weight_name].shape[0]
            found = graph.constants.get(bias)
            if (
                found is not None
                and found.size == rows
                and found.shape == (rows,)
                and uses[bias] == 1
            ):
                gone.add(readers[outputs[0]])
                inputs, outputs = (*inputs, bias), after.outputs
        graph.nodes[number] = node.but(
            op="Linear", called=node.op, inputs=inputs, outputs=outputs, attributes={}
        )
    graph.nodes = [n for i, n in enumerate(graph.nodes) if i not in gone]


def _is_linear(graph: Graph, node: Node, uses: Any) -> bool:
    """Whether a node is x W^T + b with a matrix W of its own, and b a vector."""
    constants = graph.constants
    weight = constants.get(node.inputs[1])
    if weight is None or weight.ndim != 2 or uses[node.inputs[1]] != 1 or weight.dtype.kind != "f":
        return False
    if node.inputs[0] in constants:
        return False
    if node.op == "MatMul":
        return True
    rows = weight.shape[0 if node.get("transB", 0) else 1]
    bias: NDArray | None = constants.get(node.inputs[2]) if len(node.inputs) > 2 else None
    return (
        not node.get("transA", 0)
        and node.get("alpha", 1.0) == node.get("beta", 1.0) == 1
        and (len(node.inputs) < 3 or (bias is not None and bias.shape == (rows,)))
    )


def remove_unread(graph: Graph) -> None:
    """Leave out nodes whose results nobody reads, and constants that were only folded."""
    needed = set(graph.outputs)
    kept = []
    for node in reversed(graph.nodes):
        if needed.intersection(filter(None, node.outputs)):
            needed.update(node.inputs)
            kept.append(node)
    graph.nodes = kept[::-1]
    graph.constants = {n: v for n, v in graph.constants.items() if n in needed}
