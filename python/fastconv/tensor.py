"""`Tensor`: an array that remembers how it was made, and the tape that differentiates it.

Every differentiable function of `fastconv.functional` records one `Node` with a closure that computes the
gradients of its inputs. `Tensor.backward` runs the closures in reverse order of recording and lets go of each
as soon as it has run, so that saved activations are freed as the backward pass goes.
"""

from __future__ import annotations

import heapq
import itertools
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import ContextDecorator
from typing import Any

import numpy as np

from . import _core, _ops
from ._arrays import (
    MemoryOrder,
    NDArray,
    dlpack,
    from_dlpack,
    is_floating,
    is_numeric,
    to_dtype,
    to_kind_of,
)
from ._symbolic import SymbolicArray, is_symbolic
from .errors import CaptureError, DeviceError, DTypeError, FastconvError, ShapeError

# backward(gradient of the output, which inputs need one) -> a gradient or None for each input
Backward = Callable[[NDArray, tuple[bool, ...]], Sequence[NDArray | None]]

_recording = itertools.count()


class _GradMode(threading.local):
    enabled = True


_grad_mode = _GradMode()


def is_grad_enabled() -> bool:
    """Whether operations on tensors that require gradients are recorded in this thread."""
    return _grad_mode.enabled


class _set_grad(ContextDecorator):
    """Recording switched on or off inside a `with` block or a decorated function; can be used again."""

    def __init__(self, enabled: bool) -> None:
        self._enabled = enabled
        self._before: list[bool] = []

    def __enter__(self) -> None:
        self._before.append(_grad_mode.enabled)
        _grad_mode.enabled = self._enabled

    def __exit__(self, *error: object) -> None:
        _grad_mode.enabled = self._before.pop()


def no_grad() -> _set_grad:
    """Context manager (or decorator, written `@fc.no_grad()`) inside which nothing is recorded."""
    return _set_grad(False)


def enable_grad() -> _set_grad:
    """Context manager that records again inside `no_grad`."""
    return _set_grad(True)


class Node:
    """One recorded operation: its differentiable inputs and how to find their gradients."""

    __slots__ = ("backward", "inputs", "needs", "number", "op")

    def __init__(self, op: str, inputs: tuple[Tensor | None, ...], backward: Backward) -> None:
        self.op = op
        self.inputs = inputs
        self.needs = tuple(t is not None and t.requires_grad for t in inputs)
        self.backward: Backward | None = backward
        self.number = next(_recording)

    def run(self, gradient: NDArray, retain: bool) -> Sequence[NDArray | None]:
        """The gradients of the inputs; without `retain`, what was saved for this is let go."""
        if self.backward is None:
            raise FastconvError(
                f"backward: {self.op} was already differentiated and its saved arrays are freed; "
                "pass retain_graph=True to the first backward"
            )
        gradients = self.backward(gradient, self.needs)
        if not retain:
            self.backward = None
            self.inputs = ()
        return gradients


class Tensor:
    """An array on a device that takes part in automatic differentiation.

    Attributes:
        shape, ndim, size, dtype: those of the NumPy array.
        device: "cpu".
        requires_grad: whether `backward` computes a gradient for it.
        grad: the gradient (a Tensor of the same shape) after `backward`, or None. Only on leaves.
    """

    __slots__ = ("__weakref__", "_array", "_node", "grad", "requires_grad")
    # NumPy's operators step back, so that `array * tensor` is the Tensor's.
    __array_priority__ = 1000
    __array_ufunc__ = None

    def __init__(self, data: Any, requires_grad: bool = False) -> None:
        known = isinstance(data, (np.ndarray, SymbolicArray))
        array: Any = data if known else _numbers("Tensor", data)
        if not is_numeric(array.dtype):
            raise DTypeError(f"Tensor: data must be numbers, got {array.dtype}")
        if requires_grad and not is_floating(array.dtype):
            raise DTypeError(
                f"tensor: only floating arrays can require gradients, got {array.dtype}"
            )
        self._array: NDArray = array
        self.requires_grad = bool(requires_grad)
        self.grad: Tensor | None = None
        self._node: Node | None = None

    @property
    def shape(self) -> tuple[int, ...]:
        return self._array.shape

    @property
    def ndim(self) -> int:
        return self._array.ndim

    @property
    def size(self) -> int:
        return self._array.size

    @property
    def dtype(self) -> np.dtype[Any]:
        return self._array.dtype

    @property
    def device(self) -> str:
        return "cpu"

    @property
    def is_leaf(self) -> bool:
        return self._node is None

    def numpy(self) -> NDArray:
        """The array itself, not a copy."""
        return self._array

    def item(self) -> float:
        """The value of a one-element tensor as a Python number."""
        return self._array.item()  # type: ignore[no-any-return]

    def astype(self, dtype: Any) -> Tensor:
        """The values in another element type; see `functional.astype`."""
        return _functional().astype(self, dtype)  # type: ignore[no-any-return]

    def detach(self) -> Tensor:
        """The same memory outside the tape."""
        return Tensor(self._array)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray:
        if is_symbolic(self._array):
            return self._array.__array__()
        same = dtype is None or np.dtype(dtype) == self.dtype
        if same and not copy:
            return self._array
        if copy is False:
            raise ValueError(f"a tensor of {self.dtype} cannot become {dtype} without a copy")
        return np.array(self._array, dtype=dtype, copy=True)

    def __bool__(self) -> bool:
        return bool(self._array)

    def __float__(self) -> float:
        return float(self.item())

    def __int__(self) -> int:
        return int(self.item())

    def __deepcopy__(self, memo: dict[int, Any]) -> Tensor:
        if self._node is not None:
            raise FastconvError(
                "deepcopy: only leaves can be copied, not results that take part in differentiation; "
                "use detach()"
            )
        grad = None if self.grad is None else self.grad._array.copy(order="K")
        copied = _rebuild(type(self), self._array.copy(order="K"), self.requires_grad, grad)
        memo[id(self)] = copied
        return copied

    def __reduce__(self) -> Any:
        if self._node is not None:
            raise FastconvError(
                "pickle: only leaves can be pickled, not results that take part in differentiation; "
                "use detach()"
            )
        grad = None if self.grad is None else self.grad._array
        return _rebuild, (type(self), self._array, self.requires_grad, grad)

    def __dlpack__(self, **options: Any) -> Any:
        if self.requires_grad:
            raise BufferError("a tensor that requires gradients cannot be exported; use detach()")
        return dlpack(self._array, **options)

    def __dlpack_device__(self) -> tuple[int, int]:
        return self._array.__dlpack_device__()

    def __len__(self) -> int:
        return len(self._array)

    def __repr__(self) -> str:
        text = np.array2string(self._array, separator=", ", prefix="tensor(")
        return f"tensor({text}, dtype={self.dtype}{', requires_grad=True' * self.requires_grad})"

    def backward(self, gradient: Any = None, retain_graph: bool = False) -> None:
        """Add the gradient of this tensor with respect to every leaf that requires one to its `grad`.

        Args:
            gradient: gradient of the final result with respect to this tensor, of its shape; may be left out
                for a one-element tensor, where it is 1.
            retain_graph: keep what the operations saved, so that `backward` can run again.

        Raises:
            FastconvError: nothing was recorded, or it has been freed.
            ShapeError: the gradient is missing for a larger tensor, or its shape differs.
        """
        if not self.requires_grad:
            raise FastconvError(
                "backward: this tensor does not require gradients and was not computed from one that does"
            )
        if gradient is None:
            if self.size != 1:
                raise ShapeError(
                    f"backward: a gradient is needed for a tensor of shape {self.shape}; "
                    "only one-element tensors have a default"
                )
            seed: NDArray = filled(self._array, self.shape, 1.0)
        else:
            seed = (
                gradient._array if isinstance(gradient, Tensor) else _numbers("backward", gradient)
            )
            if seed.shape != self.shape:
                raise ShapeError(
                    f"backward: the gradient must have shape {self.shape}, got {seed.shape}"
                )
            seed = seed.astype(self.dtype)
        with _set_grad(False):
            _run_tape(self, seed, retain_graph)

    # Arithmetic and shape methods are those of fastconv.functional.

    def __getitem__(self, key: Any) -> Tensor:
        """Parts by integers, slices, None and Ellipsis, as in NumPy; views where memory allows.

        For lists of places see `functional.index_select`.

        Raises:
            ShapeError: too many indices, or one outside of its dimension.
            DTypeError: another kind of index.
        """
        from .functional.indexing import getitem

        return getitem(self, key)  # type: ignore[no-any-return]

    def __iter__(self) -> Iterator[Tensor]:
        if not self.ndim:
            raise ShapeError("Tensor: a scalar has nothing to iterate over")
        return (self[i] for i in range(self.shape[0]))

    def __add__(self, other: Any) -> Tensor:
        return _functional().add(self, other)  # type: ignore[no-any-return]

    __radd__ = __add__

    def __mul__(self, other: Any) -> Tensor:
        return _functional().mul(self, other)  # type: ignore[no-any-return]

    __rmul__ = __mul__

    def __neg__(self) -> Tensor:
        return _functional().neg(self)  # type: ignore[no-any-return]

    def __abs__(self) -> Tensor:
        return _functional().abs(self)  # type: ignore[no-any-return]

    def __sub__(self, other: Any) -> Tensor:
        return _functional().sub(self, other)  # type: ignore[no-any-return]

    def __rsub__(self, other: Any) -> Tensor:
        return _functional().sub(other, self)  # type: ignore[no-any-return]

    def __truediv__(self, other: Any) -> Tensor:
        return _functional().div(self, other)  # type: ignore[no-any-return]

    def __rtruediv__(self, other: Any) -> Tensor:
        return _functional().div(other, self)  # type: ignore[no-any-return]

    def __pow__(self, exponent: Any) -> Tensor:
        return _functional().pow(self, exponent)  # type: ignore[no-any-return]

    def __rpow__(self, base: Any) -> Tensor:
        return _functional().pow(base, self)  # type: ignore[no-any-return]

    def __matmul__(self, other: Any) -> Tensor:
        return _functional().matmul(self, other)  # type: ignore[no-any-return]

    def __rmatmul__(self, other: Any) -> Tensor:
        return _functional().matmul(other, self)  # type: ignore[no-any-return]

    def sum(self, dim: Any = None, keepdim: bool = False) -> Tensor:
        """Sum over `dim` (an int, several, or None for all); see `functional.sum`."""
        return _functional().sum(self, dim, keepdim)  # type: ignore[no-any-return]

    def mean(self, dim: Any = None, keepdim: bool = False) -> Tensor:
        """Mean over `dim`; see `functional.mean`."""
        return _functional().mean(self, dim, keepdim)  # type: ignore[no-any-return]

    def reshape(self, *shape: Any) -> Tensor:
        """The same elements in another shape; see `functional.reshape`."""
        sizes = shape[0] if len(shape) == 1 and isinstance(shape[0], (tuple, list)) else shape
        return _functional().reshape(self, sizes)  # type: ignore[no-any-return]

    def flatten(self, start_dim: int = 0, end_dim: int = -1) -> Tensor:
        """Dimensions `start_dim` to `end_dim` joined into one; see `functional.flatten`."""
        return _functional().flatten(self, start_dim, end_dim)  # type: ignore[no-any-return]

    def permute(self, *dims: Any) -> Tensor:
        """The dimensions in another order; see `functional.permute`."""
        order = dims[0] if len(dims) == 1 and isinstance(dims[0], (tuple, list)) else dims
        return _functional().permute(self, order)  # type: ignore[no-any-return]

    def transpose(self, dim0: int, dim1: int) -> Tensor:
        """Two dimensions exchanged; see `functional.transpose`."""
        return _functional().transpose(self, dim0, dim1)  # type: ignore[no-any-return]

    def squeeze(self, dim: Any = None) -> Tensor:
        """Without dimensions of size 1; see `functional.squeeze`."""
        return _functional().squeeze(self, dim)  # type: ignore[no-any-return]

    def unsqueeze(self, dim: int) -> Tensor:
        """With a new dimension of size 1; see `functional.unsqueeze`."""
        return _functional().unsqueeze(self, dim)  # type: ignore[no-any-return]

    def expand(self, *shape: Any) -> Tensor:
        """Repeated along dimensions of size 1; see `functional.expand`."""
        sizes = shape[0] if len(shape) == 1 and isinstance(shape[0], (tuple, list)) else shape
        return _functional().expand(self, sizes)  # type: ignore[no-any-return]

    def split(self, split_size: Any, dim: int = 0) -> tuple[Tensor, ...]:
        """Consecutive pieces along `dim`; see `functional.split`."""
        return _functional().split(self, split_size, dim)  # type: ignore[no-any-return]

    def chunk(self, chunks: int, dim: int = 0) -> tuple[Tensor, ...]:
        """So many pieces along `dim`; see `functional.chunk`."""
        return _functional().chunk(self, chunks, dim)  # type: ignore[no-any-return]


def _rebuild(kind: Any, array: NDArray, requires_grad: bool, grad: NDArray | None) -> Tensor:
    """A leaf of class `kind`, for copies and pickles."""
    made: Tensor = object.__new__(kind)
    made._array, made.requires_grad, made._node = array, requires_grad, None
    made.grad = None if grad is None else Tensor(grad)
    return made


def _functional() -> Any:
    from . import functional

    return functional


def tensor(
    data: Any, requires_grad: bool = False, device: str = "cpu", dtype: Any = None
) -> Tensor:
    """A new Tensor with a copy of `data` (array, nested list or number).

    Floating Python numbers and lists become float32; arrays keep their element type unless `dtype` says
    otherwise: anything that NumPy takes, or "bfloat16" (with the package ml_dtypes).

    Raises:
        DeviceError: `device` is not "cpu".
        DTypeError: an element type that no operation takes.
        ImportError: bfloat16 without ml_dtypes.
    """
    if not isinstance(device, str) or device != "cpu":
        raise DeviceError(f"tensor: device must be 'cpu', got {device!r}")
    if isinstance(data, Tensor):
        data = data.numpy()
    elif hasattr(data, "__dlpack__") and not isinstance(data, np.ndarray):
        data = from_dlpack("tensor", "data", data)
    is_array = isinstance(data, (np.ndarray, np.generic))
    array = _numbers("tensor", data)
    if dtype is not None:
        wanted = to_dtype("tensor", dtype)
        if not is_numeric(wanted):
            raise DTypeError(f"tensor: data must be numbers, got {wanted}")
    elif not is_array and array.dtype == np.float64:
        wanted = np.dtype(np.float32)
    else:
        wanted = array.dtype
    return Tensor(np.array(array, dtype=wanted.newbyteorder("="), order="C"), requires_grad)


def _numbers(op: str, data: Any) -> NDArray:
    """`data` as an array of real numbers, not necessarily a new one."""
    try:
        array = np.asarray(data)
    except (TypeError, ValueError) as error:
        raise DTypeError(f"{op}: data must be numbers in a regular array: {error}") from error
    if not is_numeric(array.dtype):
        raise DTypeError(f"{op}: data must be real numbers, got {array.dtype}")
    return array


def as_array(op: str, what: str, value: Any) -> NDArray:
    """The NumPy array behind an argument; DTypeError for what is not an array."""
    if isinstance(value, np.ndarray):
        return value
    if isinstance(value, Tensor):
        return value._array
    if is_symbolic(value):
        return value  # type: ignore[no-any-return]
    if hasattr(value, "__dlpack__"):
        return from_dlpack(op, what, value)
    raise DTypeError(
        f"{op}: {what} must be an array (NumPy, DLPack or fastconv.Tensor), got {type(value).__name__}"
    )


def finish(op: str, result: NDArray, inputs: tuple[Any, ...], backward: Backward | None) -> Any:
    """Hand `result` to the caller as the kind of array that `inputs` are, recording `backward` if needed.

    `inputs` are the arguments as the caller gave them, in the order of `backward`'s gradients; with
    `backward` None the result is never differentiated.
    """
    other = None
    has_tensor = records = False
    for value in inputs:
        if isinstance(value, Tensor):
            has_tensor = True
            records = records or value.requires_grad
        elif (
            other is None and value is not None and not isinstance(value, (np.ndarray, float, int))
        ):
            other = value
    if not has_tensor:
        return result if other is None else to_kind_of(other, result)
    output = Tensor(result)
    if records and backward is not None and _grad_mode.enabled:
        tensors = tuple(v if isinstance(v, Tensor) else None for v in inputs)
        output.requires_grad = True
        output._node = Node(op, tensors, backward)
    return output


def finish_all(
    op: str,
    results: Sequence[NDArray],
    inputs: tuple[Any, ...],
    backward: Callable[[Sequence[NDArray | None], tuple[bool, ...]], Sequence[NDArray | None]],
) -> tuple[Any, ...]:
    """`finish` for several results of one operation.

    `backward` gets the gradients of the results, None for those that nothing depends on, once for all.
    """
    outputs = tuple(finish(op, r, inputs, None) for r in results)
    tensors = tuple(v if isinstance(v, Tensor) else None for v in inputs)
    if not _grad_mode.enabled or not any(t is not None and t.requires_grad for t in tensors):
        return outputs
    gathered: list[NDArray | None] = [None] * len(outputs)

    def of_all(g: NDArray, needs: tuple[bool, ...]) -> Sequence[NDArray | None]:
        gradients = tuple(gathered)
        gathered[:] = [None] * len(gathered)
        return backward(gradients, needs)

    # Each result's gradient is put aside; what runs after all of them is the node behind this tensor.
    joint = Tensor(_NOTHING)
    joint.requires_grad = True
    joint._node = Node(op, tensors, of_all)
    for i, output in enumerate(outputs):

        def put_aside(
            g: NDArray, needs: tuple[bool, ...], i: int = i
        ) -> tuple[NDArray | None, ...]:
            gathered[i] = g
            return (_NOTHING,)

        output.requires_grad = True
        output._node = Node(op, (joint,), put_aside)
    return outputs


_NOTHING: NDArray = np.zeros(0, np.float32)


def _run_tape(root: Tensor, seed: NDArray, retain: bool) -> None:
    """Reverse-mode differentiation: nodes run latest first, each once all its uses have been counted."""
    if root._node is None:
        _add_to_leaf(root, seed, fresh=True)
        return
    pending: dict[int, NDArray] = {root._node.number: seed}
    owned: set[int] = set()  # nodes whose pending sum is our own array and may be added to in place
    heap = [(-root._node.number, root._node)]
    while heap:
        _, node = heapq.heappop(heap)
        gradient = pending.pop(node.number)
        inputs = node.inputs
        for source, g in zip(inputs, node.run(gradient, retain), strict=bool(inputs)):
            if source is None or g is None or not source.requires_grad:
                continue
            if source._node is None:
                _add_to_leaf(
                    source, g, fresh=g is not gradient and not isinstance(g.base, np.ndarray)
                )
                continue
            number = source._node.number
            if number not in pending:
                pending[number] = g
                heapq.heappush(heap, (-number, source._node))
            elif number in owned:
                pending[number] = _add(pending[number], g, out=pending[number])
            elif is_symbolic(g):
                pending[number] = _add(pending[number], g, out=g)
            else:
                # Into an array of its own: NumPy's operators turn 0-d arrays into scalars.
                pending[number] = _add(pending[number], g, out=np.empty_like(g))
                owned.add(number)


def filled(like: Any, shape: tuple[int, ...], value: float) -> NDArray:
    """An array of `value` of the element type of `like`, in a program where that is symbolic."""
    if is_symbolic(like):
        fill = {"shape": shape, "dtype": str(like.dtype), "value": value}
        return like.capture.node("fill", [], **fill)[0]  # type: ignore[no-any-return]
    return np.full(shape, value, like.dtype)


def add_in_place(op: str, state: NDArray, value: NDArray) -> None:
    """state += value where the array lies, in a program in every run."""
    if is_symbolic(value):
        capture: Any = value.capture  # type: ignore[attr-defined]
        if not capture.trains:
            raise CaptureError(f"compile: {op} is in training mode; call net.eval() first")
        capture.node("accumulate", [state, value])
        return
    if not state.flags.writeable:
        raise ShapeError(f"{op}: running statistics are read-only")
    state += value


def _add_to_leaf(leaf: Tensor, g: NDArray, fresh: bool) -> None:
    """Accumulate into `leaf.grad`, which never shares memory with another gradient."""
    if leaf.grad is None:
        leaf.grad = Tensor(g if fresh else g.copy(order="K"))
    else:
        leaf.grad._array = _add(leaf.grad._array, g, out=leaf.grad._array)


def _add(a: NDArray, b: NDArray, out: NDArray) -> NDArray:
    """a + b in `out`. NumPy's loops for bfloat16 take an element at a time: ours are tens of times faster."""
    if is_symbolic(out):
        order = MemoryOrder(a)
        return order.leave(_ops.elementwise("add", order.enter(a), order.enter(b)))
    if not _core.is_bfloat16(out.dtype):
        return np.add(a, b, out=out)
    order = MemoryOrder(out)
    np.copyto(order.enter(out), _core.elementwise("add", order.enter(a), order.enter(b)))
    return out
