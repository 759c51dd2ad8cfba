"""What an ONNX file says, checked and in plain Python: nodes in an order in which they can run."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from .._arrays import NDArray
from ..errors import FormatError

__all__ = ["Graph", "Input", "Node", "uses_of"]


@dataclass(frozen=True)
class Node:
    """One operation.

    Attributes:
        op: its type, as ONNX calls it.
        version: the opset in which this form of the op came into being.
        name: the node's own, or that of its first output.
        inputs, outputs: names of values; "" stands for one that is left out.
        attributes: those that the file gives, and the defaults of the others.
    """

    op: str
    version: int
    name: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    attributes: dict[str, Any]
    called: str = ""  # in the file, where rewriting has changed the type

    def __str__(self) -> str:
        return f"{self.called or self.op} {self.name!r}"

    def get(self, attribute: str, default: Any = None) -> Any:
        return self.attributes.get(attribute, default)

    def but(self, **changes: Any) -> Node:
        """The same with some fields replaced."""
        return replace(self, **changes)


@dataclass(frozen=True)
class Input:
    """An input of the network: its name, element type, and sizes, None where a size is free.

    `shape` is None where not even the rank is known.
    """

    name: str
    dtype: np.dtype[Any]
    shape: tuple[int | None, ...] | None


@dataclass
class Graph:
    """A network as its file describes it."""

    opset: int
    inputs: tuple[Input, ...]
    outputs: tuple[str, ...]
    nodes: list[Node]
    constants: dict[str, NDArray] = field(default_factory=dict)

    def __deepcopy__(self, memo: dict[int, Any]) -> Graph:
        return self  # never changes once the network is made

    def sort(self) -> None:
        """Bring the nodes into an order in which each value is made before it is read.

        Raises:
            FormatError: a value is made twice or never, or depends on itself.
        """
        makers: dict[str, int] = {}
        given = {i.name for i in self.inputs} | set(self.constants)
        for number, node in enumerate(self.nodes):
            for name in filter(None, node.outputs):
                if name in makers or name in given:
                    raise FormatError(f"onnx.load: the value {name!r} is made twice, by {node} too")
                makers[name] = number
        self.nodes = [self.nodes[n] for n in self._order(makers, given)]
        for name in self.outputs:
            if name not in makers and name not in given:
                raise FormatError(f"onnx.load: the output {name!r} is made by no node")

    def _order(self, makers: dict[str, int], given: set[str]) -> list[int]:
        readers: dict[int, list[int]] = {}
        waiting = []
        for number, node in enumerate(self.nodes):
            sources = set()
            for name in filter(None, node.inputs):
                if name in makers:
                    sources.add(makers[name])
                elif name not in given:
                    raise FormatError(f"onnx.load: {node} reads {name!r}, which nothing makes")
            waiting.append(len(sources))
            for source in sources:
                readers.setdefault(source, []).append(number)
        order = [n for n, count in enumerate(waiting) if count == 0]
        if all(m <= n for n, node in enumerate(self.nodes) for m in _made(node, makers, n)):
            return list(range(len(self.nodes)))  # as files should have it
        for number in order:
            for reader in readers.get(number, ()):
                waiting[reader] -= 1
                if waiting[reader] == 0:
                    order.append(reader)
        if len(order) < len(self.nodes):
            stuck = next(n for n, count in enumerate(waiting) if count > 0)
            raise FormatError(f"onnx.load: {self.nodes[stuck]} is part of a cycle or behind one")
        return order


def _made(node: Node, makers: dict[str, int], number: int) -> list[int]:
    """The numbers of the nodes that a node reads from; one more than its own for itself."""
    found = [makers[name] for name in node.inputs if name in makers]
    return [m + (m == number) for m in found]


def uses_of(graph: Graph) -> Counter[str]:
    """How often each value is read, by nodes or as an output."""
    uses: Counter[str] = Counter(graph.outputs)
    for node in graph.nodes:
        uses.update(filter(None, node.inputs))
    return uses


def names_of(values: Sequence[Any]) -> str:
    """A list for an error message."""
    return ", ".join(repr(v) for v in values)
