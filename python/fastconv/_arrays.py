"""Arrays at the edge: whatever the caller holds goes in as NumPy and comes back as the same kind."""

from __future__ import annotations

import sys
from typing import Any, TypeAlias

import numpy as np

from . import _core
from .errors import DTypeError, ShapeError

NDArray: TypeAlias = np.ndarray[tuple[int, ...], np.dtype[Any]]
# A NumPy array, a fastconv Tensor, or any DLPack producer (torch, jax, cupy ...).
ArrayLike: TypeAlias = Any

LAYOUTS = ("NCHW", "NHWC")


def is_floating(dtype: np.dtype[Any]) -> bool:
    """Whether `dtype` is one of real numbers with a fraction: NumPy's own, or ml_dtypes' bfloat16."""
    return dtype.kind == "f" or _core.is_bfloat16(dtype)


def is_numeric(dtype: np.dtype[Any]) -> bool:
    """Whether `dtype` is one of real numbers: floating, integers or bool."""
    return dtype.kind in "fiub" or _core.is_bfloat16(dtype)


def to_dtype(op: str, dtype: Any) -> np.dtype[Any]:
    """What `dtype` names, "bfloat16" included; ImportError where that needs ml_dtypes and it is missing.

    Raises:
        DTypeError: nothing that NumPy knows.
    """
    if isinstance(dtype, str) and dtype == "bfloat16":
        return _core.bfloat16_dtype(op)
    try:
        if dtype is not None:  # NumPy's default
            found: np.dtype[Any] = np.dtype(dtype)
            return found
    except (TypeError, ValueError) as error:
        raise DTypeError(f"{op}: dtype {dtype!r} is not an element type") from error
    raise DTypeError(f"{op}: dtype None is not an element type")


def from_dlpack(op: str, what: str, value: Any) -> NDArray:
    """View a DLPack producer's memory as a NumPy array, without a copy."""
    try:
        return np.from_dlpack(value)
    except Exception as error:  # whatever the producer raises
        if str(getattr(value, "dtype", "")).endswith("bfloat16"):
            return _from_dlpack_bfloat16(op, what, value)
        raise DTypeError(f"{op}: {what} cannot be read through DLPack: {error}") from error


def _from_dlpack_bfloat16(op: str, what: str, value: Any) -> NDArray:
    """The same for bfloat16, which NumPy's own reader does not know."""
    _core.bfloat16_dtype(op)  # says what to install, in the name of `op`
    try:
        return _core.bfloat16_from_dlpack(value.__dlpack__())
    except Exception as error:
        raise DTypeError(f"{op}: {what} cannot be read through DLPack: {error}") from error


def dlpack(
    array: NDArray,
    stream: Any = None,
    max_version: tuple[int, int] | None = None,
    dl_device: tuple[int, int] | None = None,
    copy: bool | None = None,
) -> Any:
    """What `array.__dlpack__(...)` gives, for bfloat16 as well."""
    if not _core.is_bfloat16(array.dtype):
        options: dict[str, Any] = {"max_version": max_version, "dl_device": dl_device, "copy": copy}
        given = {name: value for name, value in options.items() if value is not None}
        return array.__dlpack__(stream=stream, **given)
    if stream is not None:
        raise RuntimeError("arrays on the CPU have no stream")
    if dl_device is not None and tuple(dl_device) != (1, 0):
        raise BufferError(f"this array is on the CPU, not on DLPack device {dl_device}")
    versioned = max_version is not None and max_version[0] >= 1
    return _core.bfloat16_to_dlpack(array.copy() if copy else array, versioned)


class _Producer:
    """A bfloat16 array as other libraries import it."""

    __slots__ = ("_array",)

    def __init__(self, array: NDArray) -> None:
        self._array = array

    def __dlpack__(self, **options: Any) -> Any:
        return dlpack(self._array, **options)

    def __dlpack_device__(self) -> tuple[int, int]:
        return (1, 0)


def to_kind_of(source: Any, result: NDArray) -> Any:
    """`result` as an array of the library that `source` comes from (it must import DLPack)."""
    producer = _Producer(result) if _core.is_bfloat16(result.dtype) else result
    namespace = getattr(source, "__array_namespace__", None)
    if namespace is not None:
        return namespace().from_dlpack(producer)
    module = sys.modules.get(type(source).__module__.partition(".")[0])
    for home in (module, getattr(module, "dlpack", None)):
        importer = getattr(home, "from_dlpack", None)
        if importer is not None:
            return importer(producer)
    return result


class Spatial:
    """Which memory order a spatial op runs in.

    `layout` is what the caller says. An NCHW array whose memory is channels-last (a transposed view) runs in
    NHWC, and its results are channels-last views too, so that no reorder happens anywhere.
    """

    __slots__ = ("flipped", "layout")

    def __init__(self, op: str, x: NDArray, layout: str) -> None:
        if not isinstance(layout, str) or layout not in LAYOUTS:
            raise ShapeError(f"{op}: layout must be 'NCHW' or 'NHWC', got {layout!r}")
        self.flipped = (
            layout == "NCHW"
            and x.ndim == 4
            and not x.flags.c_contiguous
            and x.transpose(0, 2, 3, 1).flags.c_contiguous
        )
        self.layout = "NHWC" if self.flipped else layout

    def enter(self, value: NDArray) -> NDArray:
        """A caller's array in the memory order that the op runs in."""
        return value.transpose(0, 2, 3, 1) if self.flipped and value.ndim == 4 else value

    def leave(self, value: NDArray) -> NDArray:
        """A result in the caller's dimension order."""
        return value.transpose(0, 3, 1, 2) if self.flipped and value.ndim == 4 else value

    def size(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        """A caller's shape in the order that the op runs in."""
        if self.flipped and len(shape) == 4:
            return (shape[0], shape[2], shape[3], shape[1])
        return shape


class MemoryOrder:
    """The dimension order in which a dense array's memory is contiguous.

    Element-wise ops run on it and hand the result back in the caller's order, so that a
    channels-last view stays channels-last and nothing is reordered.
    """

    __slots__ = ("axes", "inverse")

    def __init__(self, x: NDArray) -> None:
        self.axes: tuple[int, ...] | None = None
        self.inverse: tuple[int, ...] | None = None
        if x.flags.c_contiguous:
            return
        memory_axes = getattr(x, "memory_axes", None)  # a symbolic array's
        if memory_axes is not None:
            axes: tuple[int, ...] = memory_axes()
        else:
            axes = tuple(sorted(range(x.ndim), key=lambda d: -x.strides[d]))
        if x.transpose(axes).flags.c_contiguous:
            self.axes = axes
            self.inverse = tuple(sorted(range(x.ndim), key=axes.__getitem__))

    def enter(self, value: NDArray) -> NDArray:
        """An array of the caller's dimension order in memory order (a view)."""
        return value if self.axes is None else value.transpose(self.axes)

    def leave(self, value: NDArray) -> NDArray:
        """A result in the caller's dimension order (a view)."""
        return value if self.inverse is None else value.transpose(self.inverse)

    def dim(self, dim: int) -> int:
        """Where the caller's dimension `dim` (not negative) lies in memory order."""
        return dim if self.inverse is None else self.inverse[dim]

    def permute(self, values: tuple[int, ...]) -> tuple[int, ...]:
        """Values given for the caller's dimensions, in memory order."""
        return values if self.axes is None else tuple(values[d] for d in self.axes)
