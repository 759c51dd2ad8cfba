"""`load`: an ONNX file as a `nn.Module`."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

import numpy as np

from .._arrays import ArrayLike, NDArray, is_floating
from .._symbolic import is_symbolic
from ..errors import DTypeError, FastconvError, FormatError, ShapeError
from ..nn import Module, Parameter
from ..tensor import Tensor, as_array
from .graph import Graph, Input, Node, uses_of
from .ops import run
from .reading import PathLike, read
from .rewriting import rewrite

__all__ = ["OnnxModule", "load"]

E = TypeVar("E", bound=FastconvError)

# Inputs of ops that are learned, by position, and those that batch normalisation keeps account in.
_LEARNED = {
    "BatchNormalization": (1, 2),
    "Conv": (1, 2),
    "ConvTranspose": (1, 2),
    "Gemm": (0, 1, 2),
    "GroupNorm": (1, 2),
    "GroupNormalization": (1, 2),
    "InstanceNormalization": (1, 2),
    "LayerNorm": (1, 2),
    "LayerNormalization": (1, 2),
    "Linear": (1, 2),
    "MatMul": (0, 1),
    "PRelu": (1,),
}
_TRACKED = {"BatchNormalization": (3, 4)}
# Behind one of the above a vector that is added or multiplied is its bias or scale.
_AFFINE = frozenset({"Add", "Mul"})


def load(path: PathLike | bytes) -> OnnxModule:
    """The network in an ONNX file.

    Weights of convolutions, linear layers and normalisations become parameters that can be trained, under their
    names in the file (dots make submodules); running statistics become buffers. What depends on constants
    alone is computed now, what depends on shapes at each call, so that sizes that the file leaves open, such as
    the batch's, may be any. Weights of MatMul and Gemm are kept as (outputs, inputs), as in `nn.Linear`. float16
    and bfloat16 files are computed in float32.

    Activations and norms that a file spells out (x * sigmoid(x), gelu by erf or tanh, hardswish by its limits;
    mean, difference and square root; group norm by instance norm) are run as one function; a norm's factor and
    summand so are parameters, as those of other normalisations. Factors and summands for each channel behind a
    layer stay parameters of their own, which train as the file has them; `fc.compile` puts them into the
    layer's weights, as it does batch norms, for inference only.

    Args:
        path: a file, or the contents of one. External data must lie in the file's folder or below it.

    Returns:
        A `Module`, in training mode as every new one: call `eval()` before inference. In training mode batch
        normalisation uses and updates statistics, and dropout drops.

    Raises:
        FormatError, which names the file: not an ONNX file; damaged; an opset below 7 or unknown; ops that are
            missing (all of them in one message); values that do not fit together.
        ImportError: the package onnx is not installed.
        OSError: the file cannot be read.

    Source: the Open Neural Network Exchange standard, https://onnx.ai/onnx/operators.
    """
    try:
        graph = read(path)
        rewrite(graph)
        return OnnxModule(graph)
    except FormatError as error:
        raise _of_file(error, path) from error


def _of_file(error: FormatError, path: PathLike | bytes) -> FormatError:
    """The same error with the file's name in front."""
    name = "" if isinstance(path, (bytes, bytearray, memoryview)) else str(os.fspath(path))
    text = str(error)
    return (
        error
        if not name or name in text
        else FormatError(f"onnx.load: {name}: {text.removeprefix('onnx.load: ')}")
    )


class _Scope(Module):
    """A part of the network's names; it computes nothing by itself."""


class OnnxModule(_Scope):
    """A network that was read from an ONNX file; see `onnx.load`.

    Called with its inputs in the file's order; the result is a Tensor, or a tuple of them where there are
    several outputs.

    Attributes:
        inputs: name, element type and sizes (None where free) of each input.
        outputs: the outputs' names.
        opset: the version of the standard that the file follows.
    """

    def __init__(self, graph: Graph) -> None:
        super().__init__()
        self.inputs: tuple[Input, ...] = graph.inputs
        self.outputs: tuple[str, ...] = graph.outputs
        self.opset: int = graph.opset
        self._graph = graph
        self._places: dict[str, tuple[str, ...]] = {}
        self._constants = _Constants()
        self._noted: Callable[[str, str, Any, tuple[Any, ...], int], None] | None = None
        self._watches: list[Callable[[Node, list[Any], Any], Any]] = []
        self._gone = _last_readers(graph)
        kinds = _kinds(graph)
        for name, kind in kinds.items():
            value = np.array(graph.constants.pop(name))
            self._places[name] = self._keep(name, value, kind == "learned")
        self._constants.update(graph.constants)
        graph.constants = {}

    def _keep(self, name: str, value: NDArray, learned: bool) -> tuple[str, ...]:
        """Make a parameter or buffer under a name of the file, where that can be; where it is."""
        path = name.split(".")
        if "" in path:
            path = [name.replace(".", "_")]
        home: Module = self
        for part in path[:-1]:
            found = vars(home).get(part)
            if not isinstance(found, Module):
                if found is not None or hasattr(home, part):
                    return self._keep(_free(self, name.replace(".", "_")), value, learned)
                found = _Scope()
                home.add_module(part, found)
            home = found
        if hasattr(home, path[-1]):
            return self._keep(_free(self, name.replace(".", "_")), value, learned)
        if learned:
            home.register_parameter(path[-1], Parameter(value))
        else:
            home.register_buffer(path[-1], value)
        return tuple(path)

    def forward(self, *args: ArrayLike) -> Any:
        if len(args) != len(self.inputs):
            raise ShapeError(
                f"OnnxModule: expects {len(self.inputs)} inputs ({self._named_inputs()}), got {len(args)}"
            )
        found: dict[str, Any] = {"": None, **self._constants}
        for name, place in self._places.items():
            found[name] = _at(self, place)
        for given, declared in zip(args, self.inputs, strict=True):
            found[declared.name] = _entering(declared, given)
        for node, gone in zip(self._graph.nodes, self._gone, strict=True):
            inputs = [found[name] for name in node.inputs]
            made = self._run(node, inputs)
            for watch in self._watches:
                other = watch(node, inputs, made[0])
                made = made if other is None else (other, *made[1:])
            if self._noted is not None and isinstance(made[0], Tensor):
                own = [v for v in inputs if isinstance(v, Parameter)]
                self._noted(
                    node.name,
                    node.called or node.op,
                    own,
                    made[0].shape,
                    _macs(node, inputs, made[0]),
                )
            for name, value in zip(node.outputs, made, strict=False):
                if name:
                    found[name] = value
            for name in gone:
                del found[name]
        results = tuple(_leaving(found[name]) for name in self.outputs)
        return results[0] if len(results) == 1 else results

    def _run(self, node: Node, inputs: list[Any]) -> tuple[Any, ...]:
        try:
            kept = self.frozen and node.op == "BatchNormalization"
            made: tuple[Any, ...] = run(node, inputs, self.training and not kept)
        except FastconvError as error:
            raise _named(error, node) from error
        if len(made) < len(node.outputs) and any(node.outputs[len(made) :]):
            raise ShapeError(f"onnx: {node} has the outputs {node.outputs}, not all of which exist")
        return made

    @property
    def nodes_by_name(self) -> dict[str, Node]:
        """The nodes in the order of execution, under their names in the file; of several nodes of one name the
        later ones under that of their first output."""
        found: dict[str, Node] = {}
        for node in self._graph.nodes:
            name = node.name if node.name not in found else node.outputs[0]
            found[name] = node
        return found

    def node_weight(self, name: str) -> Any:
        """The second input of a node, where it is a weight or a constant: filters of a convolution; else None."""
        inputs = self.nodes_by_name[name].inputs
        value = inputs[1] if len(inputs) > 1 else ""
        return (
            _at(self, self._places[value]) if value in self._places else self._constants.get(value)
        )

    @contextmanager
    def watching(self, note: Callable[[Node, list[Any], Any], Any]) -> Iterator[None]:
        """Inside, `note(node, inputs, result)` is called after each node with its first result; what it returns,
        if not None, takes the place of that."""
        self._watches.append(note)
        try:
            yield
        finally:
            self._watches.remove(note)

    def _note_calls(self, note: Any) -> Any:
        self._noted = note
        return _Noting(self)

    def _named_inputs(self) -> str:
        return ", ".join(i.name for i in self.inputs)

    def extra_repr(self) -> str:
        return (
            f"inputs={self._named_inputs()}, outputs={', '.join(self.outputs)}, opset={self.opset}"
        )


class _Noting:
    """Ends the notes of a network's nodes."""

    def __init__(self, net: OnnxModule) -> None:
        self._net = net

    def remove(self) -> None:
        self._net._noted = None


def _macs(node: Node, inputs: list[Any], result: Any) -> int:
    """Multiply-accumulates of one node."""
    if node.op in ("Conv", "ConvTranspose"):
        each = math.prod(inputs[1].shape[1:])
        return int(each * (result.size if node.op == "Conv" else inputs[0].size))
    if node.op in ("Linear", "MatMul"):
        return int(result.size * inputs[0].shape[-1])
    if node.op == "Gemm":
        return int(result.size * inputs[0].shape[0 if node.get("transA", 0) else 1])
    return 0


class _Constants(dict[str, NDArray]):
    """Arrays that never change."""

    def __deepcopy__(self, memo: dict[int, Any]) -> _Constants:
        return self

    def __eq__(self, other: object) -> bool:
        return self is other


def _kinds(graph: Graph) -> dict[str, str]:
    """Which constants are learned, and which are running statistics."""
    kinds: dict[str, str] = {}
    # For each value whether it comes from a layer that learns, or from scales and biases behind one.
    behind: dict[str, bool] = {}
    for node in graph.nodes:
        learned = list(_LEARNED.get(node.op, ()))
        scales = node.op in _AFFINE and next((behind[n] for n in node.inputs if n in behind), False)
        behind.update(dict.fromkeys(node.outputs, scales or node.op in _LEARNED))
        if scales:
            learned = [
                i
                for i, name in enumerate(node.inputs)
                if name in graph.constants and graph.constants[name].size > 1
            ]
        for positions, kind in ((learned, "learned"), (_TRACKED.get(node.op, ()), "tracked")):
            for name in (node.inputs[i] for i in positions if i < len(node.inputs)):
                if name in graph.constants and is_floating(graph.constants[name].dtype):
                    kinds.setdefault(name, kind)
    return kinds


def _last_readers(graph: Graph) -> list[tuple[str, ...]]:
    """For each node the values that nobody needs after it."""
    left = uses_of(graph)
    gone = []
    for node in graph.nodes:
        done = []
        for name in filter(None, node.inputs):
            left[name] -= 1
            if left[name] == 0:
                done.append(name)
        unread = [n for n in node.outputs if n and left[n] == 0]
        gone.append((*done, *unread))
    return gone


def _free(home: Module, name: str) -> str:
    while hasattr(home, name):
        name += "_"
    return name


def _at(home: Any, place: tuple[str, ...]) -> Any:
    for part in place:
        home = getattr(home, part)
    return home


def _entering(declared: Input, value: Any) -> Any:
    """An input as a Tensor, or where it is of integers and has contents as a known array."""
    if isinstance(value, (bool, int, float, np.generic)):
        value = np.asarray(value, declared.dtype)
    array: Any = as_array("OnnxModule", declared.name, value)
    if array.dtype == np.float16:
        array = value = array.astype(np.float32)
    if declared.shape is not None and array.ndim != len(declared.shape):
        raise ShapeError(
            f"OnnxModule: {declared.name} must have {len(declared.shape)} dimensions "
            f"{declared.shape}, got {array.shape}"
        )
    floating = is_floating(array.dtype)
    if floating != (declared.dtype.kind == "f"):
        raise DTypeError(
            f"OnnxModule: {declared.name} must be of {declared.dtype}, got {array.dtype}"
        )
    if not floating and not is_symbolic(array):
        return array
    return value if isinstance(value, Tensor) else Tensor(array)


def _leaving(value: Any) -> Tensor:
    return value if isinstance(value, Tensor) else Tensor(np.array(value))


def _named(error: E, node: Node) -> E:
    """The same error with the node's name in front."""
    text = str(error)
    return error if text.startswith("onnx: ") else type(error)(f"onnx: {node}: {text}")
