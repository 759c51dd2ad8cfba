"""What runs each op: on arrays of the network through `fastconv.functional`, on known arrays by NumPy."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

import numpy as np

from ..._arrays import NDArray
from ..._symbolic import is_symbolic
from ...errors import CaptureError, FastconvError, FormatError, ShapeError
from ...tensor import Tensor
from ..graph import Node

# A value of a network while it runs: a Tensor is what the network computes, a NumPy array is known from
# constants, integer inputs and shapes. None stands for an optional input that is left out.
Value: TypeAlias = Tensor | NDArray
Inputs: TypeAlias = Sequence[Any]
# function(node, inputs, training) -> a value, or a tuple of them for several outputs
Function: TypeAlias = Callable[[Node, Inputs, bool], Any]

COMPUTED: dict[str, Function] = {}
KNOWN: dict[str, Function] = {}
# Known arrays larger than this are taken for a mistake: in memory of their own, or of one repeated element.
MAX_KNOWN_BYTES = 1 << 28
MAX_REPEATED_BYTES = 1 << 30
# What makes no copy of an array, and what limits its results itself.
_OF_REPEATED = frozenset(
    {
        "Expand",
        "Gather",
        "Identity",
        "Shape",
        "Size",
        "Slice",
        "Squeeze",
        "Transpose",
        "Unsqueeze",
        "Where",
    }
)


def computed(*ops: str) -> Callable[[Function], Function]:
    """Registers what runs ops of which an input is a Tensor."""

    def register(function: Function) -> Function:
        COMPUTED.update(dict.fromkeys(ops, function))
        return function

    return register


def known(*ops: str) -> Callable[[Function], Function]:
    """Registers what runs ops of which all inputs are known."""

    def register(function: Function) -> Function:
        KNOWN.update(dict.fromkeys(ops, function))
        return function

    return register


def run(node: Node, inputs: Inputs, training: bool) -> Any:
    """The outputs of a node.

    Raises:
        FastconvError: the inputs do not fit the op or each other, in NumPy's words where only it has seen that.
    """
    try:
        return _run(node, inputs, training)
    except FastconvError:
        raise
    except (ArithmeticError, TypeError, ValueError) as error:
        raise ShapeError(f"onnx: {node} cannot be computed: {error}") from error


def _run(node: Node, inputs: Inputs, training: bool) -> Any:
    if node.op in KNOWN and not any(isinstance(v, Tensor) for v in inputs):
        _refuse_repeated(node, inputs)
        made = KNOWN[node.op](node, inputs, training)
    elif node.op in COMPUTED:
        made = COMPUTED[node.op](node, inputs, training)
    else:  # Only by NumPy: such as floor, whose gradient is 0.
        made = KNOWN[node.op](node, [None if v is None else values(node, v) for v in inputs], False)
    return made if isinstance(made, tuple) else (made,)


def _refuse_repeated(node: Node, inputs: Inputs) -> None:
    """Refuse what would write out a large array of which only a few elements are in memory."""
    for value in inputs if node.op not in _OF_REPEATED else ():
        if value is not None and any(
            n > 1 and step == 0 for n, step in zip(value.shape, value.strides, strict=True)
        ):
            limited(node, value.shape, value.dtype)


def at(inputs: Inputs, position: int) -> Any:
    """An input that may be left out."""
    return inputs[position] if position < len(inputs) else None


def values(node: Node, value: Value) -> NDArray:
    """The contents of a value.

    Raises:
        CaptureError: it is computed by a program, which is planned without contents.
    """
    if not isinstance(value, Tensor):
        return value
    array = value.numpy()
    if is_symbolic(array):
        raise CaptureError(
            f"onnx: {node} needs the contents of an array that depends on the network's input; "
            "a program has none while it is planned"
        )
    return array


def integers(node: Node, what: str, value: Any) -> tuple[int, ...] | None:
    """Sizes or axes that are an attribute or a known input; None where they are left out."""
    if value is None:
        return None
    if isinstance(value, tuple):
        return value
    array = values(node, value)
    if array.dtype.kind not in "iu" or array.ndim > 1:
        raise ShapeError(f"onnx: {node}: {what} must be a list of integers, got {_type(array)}")
    return tuple(int(v) for v in np.atleast_1d(array))


def scalar(node: Node, what: str, value: Any, default: float) -> float:
    """A number that is a known input."""
    if value is None:
        return default
    array = values(node, value)
    if array.size != 1:
        raise ShapeError(f"onnx: {node}: {what} must be one number, got {_type(array)}")
    return float(array.item())


def axis(node: Node, value: int, ndim: int) -> int:
    """A dimension counted from 0."""
    if not -ndim <= value < ndim:
        raise ShapeError(f"onnx: {node}: axis {value} of an array of {ndim} dimensions")
    return value % ndim


def axes(node: Node, given: Sequence[int] | None, ndim: int) -> tuple[int, ...]:
    """Distinct dimensions counted from 0; all where none are given."""
    if given is None:
        return tuple(range(ndim))
    found = tuple(axis(node, a, ndim) for a in given)
    if len(set(found)) != len(found):
        raise ShapeError(f"onnx: {node}: axes {tuple(given)} name a dimension twice")
    return found


def limited(
    node: Node, shape: Sequence[int], dtype: Any, most: int = MAX_KNOWN_BYTES
) -> tuple[int, ...]:
    """The shape of a known array that is about to be made.

    Raises:
        FormatError: it would be negative or larger than any constant of a network.
    """
    size = np.dtype(dtype).itemsize
    for n in shape:
        size *= max(int(n), 1)
    if any(n < 0 for n in shape) or len(shape) > 32 or size > most:
        raise FormatError(
            f"onnx: {node} asks for an array of shape {tuple(shape)[:33]}; constants have at most "
            f"{most} bytes"
        )
    return tuple(int(n) for n in shape)


def _type(array: NDArray) -> str:
    return f"{array.dtype} of shape {array.shape}"
