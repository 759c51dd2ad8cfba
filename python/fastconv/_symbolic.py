"""Arrays without contents, and the recording of what is computed with them.

While a network is compiled its inputs and parameters are `SymbolicArray`s: they have a shape, an element type
and a memory order, and every op that meets one adds a node to a graph instead of computing. Everything above
the native functions (layers, the tape, losses) runs as it always does and so is written only once.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from . import _core
from .errors import CaptureError, DTypeError, ShapeError

__all__ = ["Capture", "SymbolicArray", "active"]

# Captures under way in this process: ops look for symbolic arrays only then.
active = 0


class _Flags:
    __slots__ = ("c_contiguous",)

    def __init__(self, c_contiguous: bool) -> None:
        self.c_contiguous = c_contiguous


class SymbolicArray:
    """A value of a graph, seen with its dimensions in some order.

    `axes[i]` is the dimension in memory that dimension i is, so that a channels-last picture can be looked at
    as (N, C, H, W) and the ops find out that its memory is (N, H, W, C).
    """

    __slots__ = ("axes", "capture", "dtype", "physical", "shape", "value")
    base = None

    def __init__(
        self,
        capture: Capture,
        value: int,
        dtype: np.dtype[Any],
        physical: tuple[int, ...],
        axes: tuple[int, ...] | None = None,
    ) -> None:
        self.capture, self.value, self.dtype, self.physical = capture, value, dtype, physical
        self.axes = tuple(range(len(physical))) if axes is None else axes
        self.shape = tuple(physical[a] for a in self.axes)

    @property
    def ndim(self) -> int:
        return len(self.shape)

    @property
    def size(self) -> int:
        return math.prod(self.shape)

    @property
    def strides(self) -> tuple[int, ...]:
        steps = [self.dtype.itemsize] * self.ndim
        for i in range(self.ndim - 1, 0, -1):
            steps[i - 1] = steps[i] * self.physical[i]
        return tuple(steps[a] for a in self.axes)

    @property
    def flags(self) -> _Flags:
        return _Flags(self.axes == tuple(range(self.ndim)))

    def memory_axes(self) -> tuple[int, ...]:
        """The dimensions in their order in memory."""
        return tuple(sorted(range(self.ndim), key=self.axes.__getitem__))

    def transpose(self, *dims: Any) -> SymbolicArray:
        order = dims[0] if len(dims) == 1 and isinstance(dims[0], (tuple, list)) else dims
        order = tuple(order) or tuple(reversed(range(self.ndim)))
        axes = tuple(self.axes[d] for d in order)
        return SymbolicArray(self.capture, self.value, self.dtype, self.physical, axes)

    def contiguous(self) -> SymbolicArray:
        """The same with its dimensions in memory order, by a copy where they are not."""
        if self.flags.c_contiguous:
            return self
        return self.capture.node("transpose", [self.raw()], dims=self.axes)[0]

    def raw(self) -> SymbolicArray:
        """The array as it lies in memory."""
        return SymbolicArray(self.capture, self.value, self.dtype, self.physical)

    def reshape(self, *shape: Any) -> SymbolicArray:
        sizes = shape[0] if len(shape) == 1 and isinstance(shape[0], (tuple, list)) else shape
        wanted = [int(s) for s in sizes]
        if -1 in wanted:
            known = math.prod(s for s in wanted if s != -1)
            wanted[wanted.index(-1)] = self.size // known if known else 0
        if tuple(wanted) == self.shape:
            return self
        return self.capture.node("reshape", [self.contiguous()], shape=tuple(wanted))[0]

    def astype(self, dtype: Any, copy: bool = True) -> SymbolicArray:
        wanted = np.dtype(dtype)
        if wanted == self.dtype:
            return self
        kinds = {self.dtype.kind, wanted.kind}
        whole = kinds == {"i", "f"} and np.dtype(np.int64) in (self.dtype, wanted)
        if kinds & {"i", "u", "b"} and not whole:
            raise CaptureError(f"compile: {self.dtype} cannot become {wanted} inside a program")
        made = self.capture.node("cast", [self.raw()], dtype=str(wanted))[0]
        return SymbolicArray(self.capture, made.value, made.dtype, made.physical, self.axes)

    def copy(self, order: str = "C") -> SymbolicArray:
        return self  # values of a graph never change

    def item(self) -> Any:
        raise self._refusal("item()")

    def __getitem__(self, key: Any) -> SymbolicArray:
        if key is Ellipsis:
            return self
        if isinstance(key, tuple) and all(k is np.newaxis for k in key):
            return self.reshape((1,) * len(key) + self.shape)
        raise self._refusal("indexing")

    def __setitem__(self, key: Any, value: Any) -> None:
        if key is not Ellipsis or value is not self:
            raise self._refusal("assignment")

    def __iadd__(self, other: Any) -> SymbolicArray:
        if self.dtype != np.int64 or other != 1:
            raise self._refusal("arithmetic")
        self.capture.node("increment", [self])
        return self

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)  # what libraries ask for to find out what this is
        raise self._refusal(f".{name}")

    def __len__(self) -> int:
        return self.shape[0]

    def __array_ufunc__(self, *args: Any, **kwargs: Any) -> Any:
        raise self._refusal("NumPy")

    def __array__(self, *args: Any, **kwargs: Any) -> Any:
        raise self._refusal("NumPy")

    def __bool__(self) -> bool:
        raise self._refusal("bool()")

    def __float__(self) -> float:
        raise self._refusal("float()")

    def __int__(self) -> int:
        raise self._refusal("int()")

    def __iter__(self) -> Any:
        raise self._refusal("iteration")

    def __dlpack__(self, **options: Any) -> Any:
        raise self._refusal("DLPack")

    def __dlpack_device__(self) -> tuple[int, int]:
        return (1, 0)

    def __repr__(self) -> str:
        return f"<value {self.value} of a program: {self.dtype} {self.shape}>"

    def _refusal(self, what: str) -> CaptureError:
        return CaptureError(
            f"compile: {what} reads the contents of an array {self.shape} that has none while a "
            "network is recorded; what runs may depend on shapes, not on values"
        )


def _refuse(name: str) -> Any:
    def refuse(self: SymbolicArray, *others: Any) -> Any:
        raise self._refusal(name)

    return refuse


for _name in ("add", "sub", "mul", "truediv", "floordiv", "mod", "pow", "matmul", "and", "or"):
    setattr(SymbolicArray, f"__{_name}__", _refuse("arithmetic"))
    setattr(SymbolicArray, f"__r{_name}__", _refuse("arithmetic"))
for _name in ("neg", "abs", "invert"):
    setattr(SymbolicArray, f"__{_name}__", _refuse("arithmetic"))
for _name in ("lt", "le", "gt", "ge", "eq", "ne"):
    setattr(SymbolicArray, f"__{_name}__", _refuse("comparison"))
SymbolicArray.__hash__ = object.__hash__  # type: ignore[method-assign]


# Networks of no more channels than this are faster with each channel's picture in one piece: lanes run
# along columns there. (LeNet: 6 and 16.)
FEW_CHANNELS = 16


class Capture:
    """A graph under construction. Inside its `with` block ops on its arrays are recorded."""

    def __init__(
        self,
        live: bool = False,
        channels_last: bool = True,
        cache: _core.WeightCache | None = None,
        arrays: dict[int, tuple[Any, Any]] | None = None,
    ) -> None:
        """
        Args:
            live: arrays that ops meet (a loss's class weights, say) are read where they are at every run,
                where they are plain enough, instead of being copied now.
            channels_last: the memory order of pictures.
            cache: of what is made of constant weights, for all captures of a program.
            arrays: the copies of arrays that ops met in earlier captures, by id, with the arrays.
        """
        self.graph = _core.Graph(cache)
        self._live, self._channels_last = live, channels_last
        self.trains = live
        self.widest = 0  # output channels of the convolutions so far
        self.states: list[Any] = []  # arrays that runs change
        self.keys: list[int] = []  # inputs that are drawn from the random generator for every run
        self._copies = {} if arrays is None else arrays
        self._met: dict[int, tuple[Any, SymbolicArray]] = {}

    def __enter__(self) -> Capture:
        global active
        active += 1
        return self

    def __exit__(self, *error: object) -> None:
        global active
        active -= 1

    def fits(self) -> bool:
        """Whether the memory order suits what was recorded; if not, the other one does."""
        return not self._channels_last or self.widest == 0 or self.widest > FEW_CHANNELS

    def input(self, name: str, shape: Sequence[int], dtype: np.dtype[Any]) -> SymbolicArray:
        return self._array(self.graph.input(str(dtype), tuple(shape), name))

    def picture(self, array: SymbolicArray) -> SymbolicArray:
        """A 4-dimensional array reordered once, so that it and what is made of it is channels-last."""
        if array.ndim != 4 or not self._channels_last:
            return array
        made = self.node("transpose", [array], dims=(0, 2, 3, 1))[0]
        return made.transpose(0, 3, 1, 2)

    def state(self, array: Any, name: str) -> SymbolicArray:
        """An array that lives across runs, read and written where it is."""
        self.states.append(array)
        if array.dtype == np.int64:
            return self._array(self.graph.counter(array, name))
        return self._array(self.graph.state(array, name))

    def constant(self, array: Any, name: str = "") -> SymbolicArray:
        """An array that never changes; it is not copied."""
        return self._array(self.graph.constant(array, name))

    def met(self, array: Any) -> SymbolicArray:
        """An array that an op meets beside those of the network: a copy, or live."""
        found = self._met.get(id(array))
        if found is None:
            if self._live and array.dtype.kind == "f":
                if not array.flags.carray:
                    raise CaptureError(
                        "compile: an array that is a view or read-only cannot be followed from step to step"
                    )
                made = self.state(array, "")
            else:
                made = self.constant(self._copies.setdefault(id(array), (array, array.copy()))[1])
            # The array is held so that no other one gets its id.
            found = self._met[id(array)] = (array, made)
        return found[1]

    def key(self) -> SymbolicArray:
        self.keys.append(self.graph.input("int64", (), f"key{len(self.keys)}"))
        return self._array(self.keys[-1])

    def node(self, op: str, operands: Sequence[Any], /, **attributes: Any) -> list[SymbolicArray]:
        """Adds a node; operands are arrays of either sort, or None."""
        ids = [None if a is None else self.operand(a) for a in operands]
        return [self._array(v) for v in self.graph.add(op, ids, attributes)]

    def operand(self, array: Any) -> int:
        if isinstance(array, SymbolicArray):
            if array.capture is not self:
                raise CaptureError("compile: an array of another program")
            return array.contiguous().value
        if isinstance(array, np.ndarray):
            return self.met(array).value
        raise DTypeError(f"compile: expects arrays, got {type(array).__name__}")

    def _array(self, value: int) -> SymbolicArray:
        dtype, shape = self.graph.type(value)
        kind = _core.bfloat16_dtype("compile") if dtype == "bfloat16" else np.dtype(dtype)
        return SymbolicArray(self, value, kind, shape)


def is_symbolic(value: object) -> bool:
    """Whether `value` is a `SymbolicArray` (which type checkers take for impossible among arrays)."""
    return isinstance(value, SymbolicArray)


def capture_of(arguments: Sequence[Any]) -> Capture | None:
    """The capture whose arrays are among the arguments of a native function."""
    for value in arguments:
        if isinstance(value, SymbolicArray):
            return value.capture
        if isinstance(value, (list, tuple)):
            for item in value:
                if isinstance(item, SymbolicArray):
                    return item.capture
    return None


def pair(value: Any) -> tuple[int, int]:
    """An int or a pair as a pair of plain ints."""
    if isinstance(value, (int, np.integer)) and not isinstance(value, bool):
        return (int(value), int(value))
    sizes = tuple(int(v) for v in value)
    if len(sizes) != 2:
        raise ShapeError(f"expects an integer or a pair, got {value!r}")
    return sizes
