"""From an ONNX file to a checked `Graph`."""

from __future__ import annotations

import os
from collections.abc import Iterable
from typing import Any

import numpy as np

from .._arrays import NDArray
from ..errors import DTypeError, FormatError
from ._package import onnx_package
from .graph import Graph, Input, Node
from .ops import known_names
from .tensors import TensorReader, element_type

PathLike = str | os.PathLike[str]

OLDEST_OPSET = 7
_MAX_BYTES = 2**31 - 1  # of a protobuf message
_DOMAINS = ("", "ai.onnx")
# Deprecated in an opset that exporters use all the same.
_STILL_WRITTEN = frozenset({"GroupNormalization"})
# Numbers of AttributeProto.AttributeType.
_FLOAT, _INT, _STRING, _TENSOR, _FLOATS, _INTS, _STRINGS = 1, 2, 3, 4, 6, 7, 8


def read(source: PathLike | bytes) -> Graph:
    """The graph of an ONNX file, or of its contents; raises as `onnx.load` does."""
    onnx = onnx_package("onnx.load")
    content, folder = _content(source)
    model = onnx.ModelProto()
    try:
        model.ParseFromString(content)
    except Exception as error:  # the parser's own DecodeError has no stable place
        raise FormatError(f"onnx.load: not an ONNX file, or damaged: {error}") from error
    return _Reader(onnx, TensorReader(folder)).graph(model)


def _content(source: PathLike | bytes) -> tuple[bytes, str | None]:
    if isinstance(source, (bytes, bytearray, memoryview)):
        return bytes(source), None
    if not isinstance(source, (str, os.PathLike)):
        raise DTypeError(
            f"onnx.load: expects a path or the bytes of a file, got {type(source).__name__}"
        )
    size = os.path.getsize(source)
    if size > _MAX_BYTES:
        raise FormatError(f"onnx.load: {os.fspath(source)} has {size} bytes, at most {_MAX_BYTES}")
    with open(source, "rb") as file:
        return file.read(), os.path.dirname(os.path.abspath(source))


class _Reader:
    def __init__(self, onnx: Any, tensors: TensorReader) -> None:
        self._onnx, self._tensors = onnx, tensors

    def graph(self, model: Any) -> Graph:
        opset = self._opset(model)
        graph = model.graph
        _require_text(graph)
        if model.functions:
            raise FormatError(
                f"onnx.load: the file defines functions of its own ({model.functions[0].name!r}), "
                "which are not read; inline them with onnx.inliner"
            )
        if graph.sparse_initializer:
            raise FormatError("onnx.load: sparse initializers are not read")
        self._refuse_missing(graph, opset)
        constants = self._initializers(graph.initializer)
        inputs = tuple(self._input(i) for i in graph.input if i.name not in constants)
        _refuse_twice("input", [i.name for i in graph.input])
        found = Graph(
            opset=opset,
            inputs=inputs,
            outputs=tuple(o.name for o in graph.output),
            nodes=[self._node(n, opset) for n in graph.node],
            constants=constants,
        )
        if not found.outputs:
            raise FormatError("onnx.load: the network has no outputs")
        found.sort()
        return found

    def _opset(self, model: Any) -> int:
        newest = self._onnx.defs.onnx_opset_version()
        versions = [o.version for o in model.opset_import if o.domain in _DOMAINS]
        if len(versions) != 1 or not model.HasField("graph"):
            raise FormatError("onnx.load: not an ONNX model: it has no graph or not one opset")
        if not OLDEST_OPSET <= versions[0] <= newest:
            raise FormatError(
                f"onnx.load: the file is of opset {versions[0]}, expected {OLDEST_OPSET} to {newest}"
            )
        return int(versions[0])

    def _refuse_missing(self, graph: Any, opset: int) -> None:
        """One error that names every op that cannot be run."""
        known = known_names()
        missing: dict[str, tuple[int, str]] = {}
        for node in graph.node:
            own = node.domain in _DOMAINS
            name = node.op_type if own else f"{node.domain}.{node.op_type}"
            if not own or node.op_type not in known:
                count, first = missing.get(name, (0, node.name or next(iter(node.output), "")))
                missing[name] = (count + 1, first)
        if missing:
            listed = "; ".join(f"{n} ({c} times, first {f!r})" for n, (c, f) in missing.items())
            raise FormatError(f"onnx.load: these ops are missing in fastconv: {listed}")

    def _initializers(self, tensors: Iterable[Any]) -> dict[str, NDArray]:
        constants: dict[str, NDArray] = {}
        for tensor in tensors:
            if not tensor.name or tensor.name in constants:
                raise FormatError(f"onnx.load: an initializer's name is {tensor.name!r}, or twice")
            constants[tensor.name] = self._tensors.read(tensor, f"initializer {tensor.name!r}")
        return constants

    def _input(self, value: Any) -> Input:
        kind = value.type.WhichOneof("value")
        if not value.name or kind != "tensor_type":
            raise FormatError(f"onnx.load: the input {value.name!r} is {kind}, expected a tensor")
        tensor = value.type.tensor_type
        dtype = element_type(f"the input {value.name!r}", tensor.elem_type)
        if not tensor.HasField("shape"):
            return Input(value.name, dtype, None)
        sizes = [d.dim_value if d.HasField("dim_value") else None for d in tensor.shape.dim]
        if len(sizes) > 32 or any(s is not None and s < 0 for s in sizes):
            raise FormatError(f"onnx.load: the input {value.name!r} has the shape {sizes[:33]}")
        return Input(value.name, dtype, tuple(sizes))

    def _node(self, node: Any, opset: int) -> Node:
        name = node.name or next(iter(node.output), "")
        what = f"{node.op_type} {name!r}"
        schema = self._schema(node.op_type, opset, what)
        inputs, outputs = tuple(node.input), tuple(node.output)
        while inputs and not inputs[-1]:
            inputs = inputs[:-1]
        for kind, given, least, most in (
            ("inputs", len(inputs), schema.min_input, schema.max_input),
            ("outputs", len(outputs), schema.min_output, schema.max_output),
        ):
            if not least <= given <= most:
                raise FormatError(
                    f"onnx.load: {what} has {given} {kind}, expected {least} to {most}"
                )
        if any(not i for i in inputs[: schema.min_input]) or not any(outputs):
            raise FormatError(f"onnx.load: {what} lacks an input or an output")
        attributes = self._attributes(node, schema, what)
        return Node(node.op_type, schema.since_version, name, inputs, outputs, attributes)

    def _schema(self, op: str, opset: int, what: str) -> Any:
        try:
            schema = self._onnx.defs.get_schema(op, opset, "")
        except self._onnx.defs.SchemaError as error:
            raise FormatError(f"onnx.load: {what}: there is no such op in opset {opset}") from error
        if schema.deprecated and op not in _STILL_WRITTEN:
            raise FormatError(f"onnx.load: {what} is no longer part of opset {opset}")
        return schema

    def _attributes(self, node: Any, schema: Any, what: str) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for attribute in node.attribute:
            name = attribute.name
            declared = schema.attributes.get(name)
            if declared is None or name in found:
                raise FormatError(f"onnx.load: {what} has the attribute {name!r}, unknown or twice")
            if attribute.ref_attr_name or int(declared.type) != attribute.type:
                raise FormatError(f"onnx.load: {what}: the attribute {name!r} has another type")
            found[name] = self._value(attribute, f"{what}: attribute {name!r}")
        for name, declared in schema.attributes.items():
            if name in found:
                continue
            if declared.required:
                raise FormatError(f"onnx.load: {what} lacks the attribute {name!r}")
            if declared.default_value.type:
                found[name] = self._value(declared.default_value, what)
        return found

    def _value(self, attribute: Any, what: str) -> Any:
        kind = attribute.type
        if kind == _FLOAT:
            return float(attribute.f)
        if kind == _INT:
            return int(attribute.i)
        if kind == _STRING:
            return _text(what, attribute.s)
        if kind == _TENSOR:
            return self._tensors.read(attribute.t, what)
        if kind == _FLOATS:
            return np.array(attribute.floats, np.float32)
        if kind == _INTS:
            return tuple(int(i) for i in attribute.ints)
        if kind == _STRINGS:
            return tuple(_text(what, s) for s in attribute.strings)
        raise FormatError(f"onnx.load: {what} holds a graph or another thing that is not read")


def _text(what: str, value: bytes) -> str:
    try:
        return value.decode()
    except UnicodeDecodeError as error:
        raise FormatError(f"onnx.load: {what} is no text: {value[:40]!r}") from error


def _require_text(graph: Any) -> None:
    """Names that are no text come from the parser as bytes."""
    names = [v.name for part in (graph.initializer, graph.input, graph.output) for v in part]
    for node in graph.node:
        names += [node.name, node.op_type, node.domain, *node.input, *node.output]
        names += [text for a in node.attribute for text in (a.name, a.ref_attr_name)]
    for name in names:
        if not isinstance(name, str):
            raise FormatError(f"onnx.load: a name is no text: {name[:40]!r}")


def _refuse_twice(what: str, names: list[str]) -> None:
    if len(set(names)) != len(names):
        twice = next(n for n in names if names.count(n) > 1)
        raise FormatError(f"onnx.load: there are two {what}s named {twice!r}")
