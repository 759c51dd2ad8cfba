"""What recording a network needs around it: its arrays replaced and put back, its attributes watched, and the
structure of what it returns."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np

from ._arrays import NDArray, is_floating
from ._symbolic import Capture, SymbolicArray, is_symbolic
from .errors import CaptureError
from .tensor import Tensor, no_grad

# One capture at a time: the network's parameters have no contents meanwhile.
capturing = threading.Lock()


def arrays_of(net: Any) -> Iterator[tuple[str, Tensor]]:
    """The parameters and buffers of a network, each once, but for those that no op takes."""
    if not callable(getattr(net, "named_buffers", None)):
        raise CaptureError(f"compile: expects a Module, got {type(net).__name__}")
    seen: set[int] = set()
    for found in (net.named_parameters(), net.named_buffers()):
        for name, tensor in found:
            if id(tensor) not in seen and (is_floating(tensor.dtype) or tensor.dtype == np.int64):
                seen.add(id(tensor))
                yield name, tensor


@contextmanager
def replaced(stand_ins: dict[Tensor, SymbolicArray]) -> Iterator[None]:
    """Tensors hold symbolic arrays inside the block."""
    before = [(t, t._array, t.grad) for t in stand_ins]
    try:
        for tensor, symbol in stand_ins.items():
            tensor._array = symbol  # type: ignore[assignment]
            tensor.grad = None
        yield
    finally:
        for tensor, array, grad in before:
            tensor._array, tensor.grad = array, grad


def run_on_shape(net: Any, shape: Sequence[int], dtype: np.dtype[Any]) -> None:
    """Run a network on an input without contents, so that nothing is computed.

    Raises:
        CaptureError: it reads contents.
    """
    with capturing, Capture() as capture, no_grad(), unchanged(net):
        x = capture.input("x", shape, dtype)
        stand_ins = {t: capture.constant(t.numpy(), n) for n, t in arrays_of(net)}
        with replaced(stand_ins):
            net(Tensor(capture.picture(x)))


@contextmanager
def unchanged(net: Any, strict: bool = False) -> Iterator[None]:
    """The modules' attributes are afterwards what they were; with `strict` a change is refused."""
    before = [(m, dict(vars(m))) for _, m in net.named_modules()]
    changed = None
    try:
        yield
    finally:
        for module, attributes in before:
            now = vars(module)
            if len(now) != len(attributes) or any(
                now.get(k, now) is not v for k, v in attributes.items()
            ):
                changed = type(module).__name__
                now.clear()
                now.update(attributes)
    if changed and strict:
        raise CaptureError(
            f"compile: {changed} changes its attributes in forward, which must happen in every step"
        )


class Watch:
    """What a recorded step depends on beside the contents of arrays: the modules and their attributes, hooks
    among them, and which tensors there are and want gradients. Looked at in every step, so it must be quick."""

    def __init__(self, *roots: Any) -> None:
        trees = [r for r in roots if hasattr(r, "named_modules")]
        self._modules = [m for r in trees for _, m in r.named_modules()]
        self._now = [vars(m) for m in self._modules]
        self._before = [dict(attributes) for attributes in self._now]
        tensors = [t for r in trees for _, t in arrays_of(r)]
        self._tensors = [(t, t.numpy(), t.requires_grad) for t in tensors]

    def same(self) -> bool:
        """Whether everything is as it was."""
        # Loops: generators take half as long again.
        try:
            if self._now != self._before:
                return False
        except ValueError:  # an attribute was an array and is another one
            return False
        for tensor, array, requires_grad in self._tensors:
            if tensor._array is not array or tensor.requires_grad is not requires_grad:
                return False
        return not any([m._hooks for m in self._modules])


def flatten(value: Any, leaves: list[SymbolicArray]) -> Any:
    """The structure of a result: its arrays go to `leaves`, None stands for them."""
    symbol: Any = value._array if isinstance(value, Tensor) else None
    if is_symbolic(symbol):
        leaves.append(symbol)
        return None
    if isinstance(value, dict):
        return {k: flatten(v, leaves) for k, v in value.items()}
    if isinstance(value, (tuple, list)):
        parts = [flatten(v, leaves) for v in value]
        if hasattr(value, "_fields"):
            return type(value)(*parts)
        return type(value)(parts)
    raise CaptureError(
        f"compile: the network returned {type(value).__name__}, expected arrays that depend on its "
        "inputs, or tuples, lists and dictionaries of them"
    )


def unflatten(structure: Any, results: Iterator[NDArray]) -> Any:
    if structure is None:
        return next(results)
    if isinstance(structure, dict):
        return {k: unflatten(v, results) for k, v in structure.items()}
    parts = [unflatten(v, results) for v in structure]
    if hasattr(structure, "_fields"):
        return type(structure)(*parts)
    return type(structure)(parts)


def in_memory_order(value: Any) -> Any:
    """A result whose arrays are contiguous, by copies made here and not behind what follows."""
    array: Any = value._array if isinstance(value, Tensor) else None
    if is_symbolic(array):
        return Tensor(array.contiguous())
    if isinstance(value, dict):
        return {k: in_memory_order(v) for k, v in value.items()}
    if isinstance(value, (tuple, list)):
        parts = [in_memory_order(v) for v in value]
        return type(value)(*parts) if hasattr(value, "_fields") else type(value)(parts)
    return value
