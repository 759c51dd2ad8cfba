"""An ONNX graph under construction: nodes, initializers and names that are used once."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from .._arrays import NDArray
from ..errors import FormatError
from ._package import onnx_package

# What one protobuf message, and so one file without external data, may hold.
MOST_BYTES = 2**31 - 1
_SMALL = 64  # elements of constants that are kept once


def require_size(arrays: int) -> None:
    """FormatError where so many bytes of arrays do not fit in one file."""
    if arrays > MOST_BYTES:
        raise FormatError(
            f"export: the network's arrays take {arrays:,} bytes; an ONNX file holds at most "
            f"{MOST_BYTES:,}, and weights in files of their own are not written"
        )


class GraphBuilder:
    """Nodes and initializers of one opset."""

    def __init__(self, opset: int) -> None:
        self._onnx = onnx_package("export")
        self.opset = opset
        self.nodes: list[Any] = []
        self.made: set[str] = set()  # results of nodes
        self._initializers: list[Any] = []
        self._bytes = 0  # of the initializers, a little more than they take
        self._names: set[str] = set()
        self._nodes_named: set[str] = set()
        self._numbers: dict[str, int] = {}
        self._small: dict[tuple[str, tuple[int, ...], bytes], str] = {}

    def reserve(self, name: str) -> None:
        """Keep a value's name for the caller."""
        self._names.add(name)

    def fresh(self, base: str, taken: set[str] | None = None) -> str:
        """A name like `base` that no other value (or whatever `taken` names) has."""
        taken = self._names if taken is None else taken
        name = base
        while name in taken:
            number = self._numbers[base] = self._numbers.get(base, 0) + 1
            name = f"{base}_{number}"
        taken.add(name)
        return name

    def initializer(self, array: NDArray, base: str) -> str:
        """An array of the network under its own name."""
        name = self.fresh(base)
        contiguous = np.asarray(array, array.dtype.newbyteorder("="), order="C")
        self._bytes += array.nbytes + len(name) + 128
        self._initializers.append(self._onnx.numpy_helper.from_array(contiguous, name))
        return name

    def constant(self, value: Any, dtype: Any) -> str:
        """An array that the translation needs; equal small ones are one."""
        array = np.asarray(value, dtype)
        if array.size > _SMALL:
            return self.initializer(array, "constant")
        key = (array.dtype.str, array.shape, array.tobytes())
        if key not in self._small:
            self._small[key] = self.initializer(array, "constant")
        return self._small[key]

    def floats(self, value: Any) -> str:
        return self.constant(value, np.float32)

    def ints(self, value: Any) -> str:
        return self.constant(value, np.int64)

    def emit(
        self, op: str, inputs: Sequence[str], scope: str, outputs: int, attributes: dict[str, Any]
    ) -> list[str]:
        """Add a node; the names of its results."""
        name = self.fresh(f"{scope}/{op}" if scope else op, self._nodes_named)
        made = [
            self.fresh(f"{name}_output" if outputs == 1 else f"{name}_output_{i}")
            for i in range(outputs)
        ]
        self.nodes.append(self._onnx.helper.make_node(op, inputs, made, name, **attributes))
        self.made.update(made)
        return made

    def require_size(self) -> None:
        """FormatError where all of it does not fit in one file."""
        require_size(self._bytes + sum(node.ByteSize() + 16 for node in self.nodes))

    def rename(self, names: dict[str, str]) -> None:
        """Give values other names wherever they are made and read."""
        for node in self.nodes:
            for values in (node.input, node.output):
                for i, name in enumerate(values):
                    if name in names:
                        values[i] = names[name]

    def prune(self, outputs: Sequence[str]) -> None:
        """Take out the nodes and arrays that nothing reads."""
        read = set(outputs)
        kept = []
        for node in reversed(self.nodes):
            if read.intersection(node.output):
                kept.append(node)
                read.update(node.input)
        self.nodes = kept[::-1]
        self._initializers = [i for i in self._initializers if i.name in read]

    def model(self, name: str, doc: str, inputs: list[Any], outputs: list[Any]) -> Any:
        """The whole as a ModelProto."""
        from .. import __version__

        helper = self._onnx.helper
        graph = helper.make_graph(
            self.nodes, name, inputs, outputs, initializer=self._initializers, doc_string=doc
        )
        opset = helper.make_opsetid("", self.opset)
        return helper.make_model(
            graph,
            opset_imports=[opset],
            ir_version=helper.find_min_ir_version_for([opset]),
            producer_name="fastconv",
            producer_version=__version__,
            doc_string=doc,
        )

    def value_info(self, name: str, dtype: str, shape: Sequence[int | str | None]) -> Any:
        """What is known of an input or output."""
        kind = self._onnx.helper.np_dtype_to_tensor_dtype(np.dtype(dtype))
        return self._onnx.helper.make_tensor_value_info(name, kind, list(shape))
