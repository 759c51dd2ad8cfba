"""`export`: a network as an ONNX file."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from .._arrays import NDArray, is_floating
from ..errors import DTypeError, ShapeError
from ..serialization import PathLike, write_atomically
from ..tensor import as_array

# Registers the translators.
from . import (  # noqa: F401
    export_layers,
    export_pointwise,
    export_pooling,
    export_resize,
    export_shapes,
)
from ._package import onnx_package
from .export_graph import GraphBuilder, require_size
from .export_recording import Shape, float_arrays, record
from .export_translation import Translation

__all__ = ["DEFAULT_OPSET", "OLDEST_OPSET", "export"]

DEFAULT_OPSET = 17
OLDEST_OPSET = 13
# Sizes that tell what depends on the batch. They are primes above one, so that few reshapes are without effect
# at one of them and not at the others.
_BATCHES = (7, 11, 13)


def export(
    net: Any,
    path: PathLike | None,
    example: Any,
    *,
    dynamic_batch: bool = True,
    opset: int = DEFAULT_OPSET,
    input_names: Sequence[str] | None = None,
    output_names: Sequence[str] | None = None,
) -> Any:
    """Write a network as an ONNX model.

    The network is recorded as `fastconv.compile` records it, in evaluation mode whatever its mode is; itself it
    does not change. Parameters and buffers become initializers under their state-dict names, nodes are named
    after the layers that they belong to. Channels-last networks keep their inputs' and outputs' dimensions and
    are channels-first inside.

    Args:
        net: a `nn.Module` of float32 parameters. What it runs may depend on the shapes of its inputs, not on
            their contents. It may return an array, or tuples, lists and dictionaries of arrays.
        path: the file to write, which appears whole or not at all; None writes none.
        example: a float32 array of the shape of the input, or a tuple or list of them for several inputs; only
            shapes and types are looked at.
        dynamic_batch: the first dimension of all inputs, which must be the same in the examples, is left open,
            under the name "batch". Else the model takes the examples' sizes only.
        opset: version of ONNX's operators, 13 or later.
        input_names, output_names: by default "input" and "output", with several "input_0" and so on; outputs
            in a dictionary have the names of its keys.

    Returns:
        The model, an `onnx.ModelProto` that `onnx.checker` has passed.

    Raises:
        CaptureError: what the network does depends on the contents of arrays, has no translation (the message
            names all of it), or follows the batch in a way that ONNX cannot; the last may go with
            `dynamic_batch=False`.
        DTypeError: anything but float32, or arguments of another type.
        ShapeError: an example does not fit the network; examples of different batch sizes; an opset out of
            range; names that are too few, too many or not different.
        FormatError: the arrays take more than the 2 GiB that one file may hold.
        ImportError: the package onnx is not installed.
        OSError: the file cannot be written.

    Source: Open Neural Network Exchange, operator schemas, https://onnx.ai/onnx/operators.
    """
    onnx = onnx_package("export")
    if not callable(getattr(net, "named_parameters", None)):
        raise DTypeError(f"export: expects a Module, got {type(net).__name__}")
    if not isinstance(dynamic_batch, bool):
        raise DTypeError(
            f"export: dynamic_batch must be True or False, got {type(dynamic_batch).__name__}"
        )
    _check_opset(opset, onnx.defs.onnx_opset_version())
    _check_arrays(net)
    examples = _examples(example)
    batches = _batches(examples, dynamic_batch)
    inputs = _names("input_names", input_names, ["input"], len(examples))

    trace = record(net, examples, batches)
    outputs = _names("output_names", output_names, _keys(trace.structure), len(trace.outputs))
    if shared := sorted(set(inputs) & set(outputs)):
        raise ShapeError(f"export: {shared[0]!r} is the name of an input and of an output")
    graph = GraphBuilder(opset)
    for name in (*inputs, *outputs):
        graph.reserve(name)
    translation = Translation(trace, graph, inputs)
    translation.run()
    translation.results(outputs)
    graph.require_size()

    def described(name: str, value: int) -> Any:
        sizes = _sizes(trace.shapes(value), trace.batches)
        return graph.value_info(name, trace.dtype(value), sizes)

    kind = type(net).__name__
    model = graph.model(
        kind,
        f"{kind}, in evaluation mode",
        [described(n, v) for n, v in zip(inputs, trace.inputs, strict=True)],
        [described(n, v) for n, v in zip(outputs, trace.outputs, strict=True)],
    )
    content = model.SerializeToString()
    onnx.checker.check_model(content, full_check=True)
    if path is not None:
        write_atomically(path, content)
    return model


def _check_opset(opset: Any, newest: int) -> None:
    if isinstance(opset, bool) or not isinstance(opset, (int, np.integer)):
        raise DTypeError(f"export: opset must be an integer, got {type(opset).__name__}")
    if not OLDEST_OPSET <= opset <= newest:
        raise ShapeError(f"export: opset must be {OLDEST_OPSET} to {newest}, got {opset}")


def _check_arrays(net: Any) -> None:
    total = 0
    for name, array in float_arrays(net):
        if array.dtype != np.float32:
            raise DTypeError(
                f"export: {name} is {array.dtype}, expected float32; net.to('float32') converts it"
            )
        total += array.nbytes
    require_size(total)


def _examples(example: Any) -> list[NDArray]:
    given = list(example) if isinstance(example, (tuple, list)) else [example]
    if not given:
        raise ShapeError("export: needs an example of each input")
    examples = [as_array("export", f"example {i}", e) for i, e in enumerate(given)]
    for i, array in enumerate(examples):
        if array.dtype != np.float32 and is_floating(array.dtype):
            raise DTypeError(f"export: example {i} is {array.dtype}, expected float32")
        if array.size == 0:
            raise ShapeError(f"export: example {i} of shape {array.shape} has no elements")
    return examples


def _batches(examples: list[NDArray], dynamic: bool) -> tuple[int, ...]:
    """The batch sizes to record at; none for the examples' own."""
    if not dynamic:
        return ()
    firsts = {a.shape[:1] for a in examples}
    if len(firsts) > 1 or () in firsts:
        raise ShapeError(
            "export: with dynamic_batch all inputs have a first dimension of one size, got shapes "
            + ", ".join(str(a.shape) for a in examples)
        )
    return _BATCHES


def _keys(structure: Any) -> list[str]:
    """Names of outputs, one for each or one for all."""
    if isinstance(structure, dict) and all(
        isinstance(k, str) and k and v is None for k, v in structure.items()
    ):
        return list(structure)
    return ["output"]


def _names(what: str, given: Any, default: list[str], count: int) -> list[str]:
    if given is None:
        if len(default) == count:
            return default
        return [f"{default[0]}_{i}" for i in range(count)]
    if isinstance(given, str) or not isinstance(given, Sequence):
        raise DTypeError(f"export: {what} must be a sequence, got {type(given).__name__}")
    for name in given:
        if not isinstance(name, str):
            raise DTypeError(f"export: {what} must be strings, got {type(name).__name__}")
    if len(given) != count or len(set(given)) != count or not all(given):
        raise ShapeError(f"export: {what} must be {count} different names, got {list(given)}")
    return list(given)


def _sizes(shapes: list[Shape], batches: tuple[int, ...]) -> list[int | str | None]:
    """A shape as a file has it: sizes that depend on the batch by name."""
    sizes: list[int | str | None] = []
    for i, size in enumerate(shapes[0]):
        found = [shape[i] for shape in shapes]
        factor = size // batches[0]
        if all(s == size for s in found):
            sizes.append(size)
        elif found == [factor * n for n in batches]:
            sizes.append("batch" if factor == 1 else f"{factor}*batch")
        else:
            sizes.append(None)
    return sizes
