"""What the pickles of PyTorch checkpoints may refer to, and what stands for it here.

Source: the functions of PyTorch's `torch/_utils.py` that its pickles name, from version 0.3 to 2.x.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from .._arrays import NDArray
from .pickles import Builder, PickleError, Symbol

__all__ = ["BFLOAT16", "NumpyArray", "Storage", "StoredTensor", "builders", "storage_type"]

# bfloat16 is read as 16-bit words, which are widened later.
BFLOAT16 = "bfloat16"

# The types of storages, torch.FloatStorage and so on, by the start of their names.
_STORAGES = {
    "Double": "float64",
    "Float": "float32",
    "Half": "float16",
    "BFloat16": BFLOAT16,
    "Long": "int64",
    "Int": "int32",
    "Short": "int16",
    "Char": "int8",
    "Byte": "uint8",
    "Bool": "bool",
    "ComplexDouble": "complex128",
    "ComplexFloat": "complex64",
    "Untyped": "uint8",
}
_DTYPES = (
    *("float64", "float32", "float16", "bfloat16", "int64", "int32", "int16", "int8", "uint8"),
    *("uint16", "uint32", "uint64", "bool", "complex128", "complex64"),
)


class Storage(NamedTuple):
    """A stretch of one of the file's storages.

    Attributes:
        key: the name of the storage in the file.
        element: the type of its elements: NumPy's name, or "bfloat16".
        size: elements in the whole storage.
        start, length: the stretch, in elements.
    """

    key: str
    element: str
    size: int
    start: int
    length: int

    @property
    def nbytes(self) -> int:
        """Bytes of the whole storage."""
        return self.size * _read_as(self.element).itemsize


class StoredTensor(NamedTuple):
    """A strided view of a storage; offset and strides are in elements of the tensor's own type."""

    storage: Storage
    element: str
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]

    @property
    def dtype(self) -> np.dtype[Any]:
        """The type to read elements as."""
        return _read_as(self.element)

    @property
    def stretch(self) -> tuple[int, int]:
        """Where the storage's stretch begins and ends, in elements of the tensor's type."""
        stored, size = _read_as(self.storage.element).itemsize, self.dtype.itemsize
        begin = self.storage.start * stored
        return begin // size, (begin + self.storage.length * stored) // size


def _read_as(element: str) -> np.dtype[Any]:
    return np.dtype("uint16" if element == BFLOAT16 else element)


def storage_type(symbol: Any) -> str:
    """The element type of a storage class such as torch.FloatStorage."""
    name = symbol.name if isinstance(symbol, Symbol) else ""
    if not name.endswith("Storage"):
        raise PickleError("a storage without a type")
    return _STORAGES[name.removesuffix("Storage")]


def builders(size: int) -> dict[Symbol, Builder | None]:
    """The names that may occur in a pickle of `size` bytes, with what stands for calling them."""
    found: dict[Symbol, Builder | None] = dict(_BUILDERS)
    left = [size]

    def encode(text: Any, coding: Any) -> bytes:
        # Protocol 2 writes bytes so. Encoded again and again, one long string would fill the memory.
        if not isinstance(text, str) or coding != "latin1":
            raise TypeError
        left[0] -= len(text)
        if left[0] < 0:
            raise PickleError("more encoded bytes than the pickle has")
        return text.encode("latin1")

    found[Symbol("_codecs", "encode")] = encode
    return found


def _tensor(
    storage: Any, offset: Any, shape: Any, strides: Any, element: str | None = None
) -> StoredTensor:
    if not isinstance(storage, Storage):
        raise PickleError("a tensor without a storage")
    numbers = (offset, *_tuple(shape), *_tuple(strides))
    if any(type(n) is not int for n in numbers) or len(shape) != len(strides):
        raise PickleError("a tensor whose offset, shape and strides are no whole numbers")
    if any(not 0 <= n < 2**63 for n in numbers):
        raise PickleError(
            f"a tensor of shape {_short(shape)}, strides {_short(strides)} and offset {offset}, "
            "expected numbers from 0 to 2**63"
        )
    return StoredTensor(storage, element or storage.element, offset, tuple(shape), tuple(strides))


def _tuple(value: Any) -> tuple[Any, ...]:
    if not isinstance(value, (tuple, list)) or isinstance(value, Symbol):
        raise TypeError
    if len(value) > 64:
        raise PickleError(f"a tensor of {len(value)} dimensions, expected at most 64")
    return tuple(value)


def _short(numbers: Any) -> str:
    return str(tuple(numbers))[:80]


def _rebuild_tensor(storage: Any, offset: Any, shape: Any, strides: Any) -> StoredTensor:
    return _tensor(storage, offset, shape, strides)


def _rebuild_tensor_v2(
    storage: Any,
    offset: Any,
    shape: Any,
    strides: Any,
    requires_grad: Any,
    hooks: Any,
    metadata: Any = None,
) -> StoredTensor:
    return _tensor(storage, offset, shape, strides)


def _rebuild_tensor_v3(
    storage: Any,
    offset: Any,
    shape: Any,
    strides: Any,
    requires_grad: Any,
    hooks: Any,
    dtype: Any,
    metadata: Any = None,
) -> StoredTensor:
    if not isinstance(dtype, Symbol) or dtype.name not in _DTYPES:
        raise PickleError(f"a tensor of an element type that is none of {', '.join(_DTYPES)}")
    return _tensor(storage, offset, shape, strides, dtype.name)


def _rebuild_parameter(data: Any, requires_grad: Any, hooks: Any, state: Any = None) -> Any:
    return _a_tensor(data)


def _rebuild_from_type_v2(function: Any, kind: Any, arguments: Any, state: Any) -> Any:
    build = _BUILDERS.get(function) if isinstance(function, Symbol) else None
    if build is None or build is _rebuild_from_type_v2 or type(arguments) is not tuple:
        raise TypeError
    return _a_tensor(build(*arguments))


def _a_tensor(value: Any) -> StoredTensor:
    if not isinstance(value, StoredTensor):
        raise PickleError("a parameter that is no tensor")
    return value


def _dictionary(items: Any = ()) -> dict[Any, Any]:
    if items != ():
        raise PickleError("a dictionary made of something else")
    return {}


def _counted_dictionary(factory: Any = None, items: Any = ()) -> dict[Any, Any]:
    return _dictionary(items)


def _size(numbers: Any) -> tuple[Any, ...]:
    return _tuple(numbers)


def _set(items: Any = ()) -> set[Any]:
    if not isinstance(items, list) or any(type(i) not in (str, int, float) for i in items):
        raise TypeError
    return set(items)


def _word(*arguments: Any) -> str:
    """What stands for a device or a memory layout."""
    return ":".join(str(a) for a in arguments if isinstance(a, (str, int)))[:80]


# NumPy's numbers and arrays, which training scripts like to put beside the weights


class NumpyDtype:
    """A NumPy element type on its way: its byte order comes with the state."""

    def __init__(self, name: Any, *rest: Any) -> None:
        if not isinstance(name, str) or len(name) > 3 or name[:1] not in "biufc":
            raise PickleError("a NumPy element type that is no number")
        self.dtype = np.dtype(name)

    def take_state(self, state: Any) -> None:
        order = state[1]
        if order not in ("<", ">", "|", "="):
            raise TypeError
        self.dtype = self.dtype.newbyteorder(order)


class NumpyArray:
    """A NumPy array on its way: shape and contents come with the state."""

    def __init__(self, *arguments: Any) -> None:
        self.array: NDArray = np.empty(0)

    def finished(self) -> NDArray:
        """A copy in the machine's byte order."""
        return self.array.astype(self.array.dtype.newbyteorder("="))

    def take_state(self, state: Any) -> None:
        _, shape, dtype, columns_first, content = state
        if not isinstance(dtype, NumpyDtype) or not isinstance(content, bytes):
            raise PickleError("a NumPy array that is not of numbers")
        flat = np.frombuffer(content, dtype.dtype)
        self.array = flat.reshape(_tuple(shape), order="F" if columns_first else "C")


def _scalar(dtype: Any, content: Any) -> NDArray:
    if not isinstance(dtype, NumpyDtype) or not isinstance(content, bytes):
        raise PickleError("a NumPy number without a type")
    return np.frombuffer(content, dtype.dtype).reshape(())


_BUILTINS = ("builtins", "__builtin__")
_BUILDERS: dict[Symbol, Builder | None] = {
    Symbol("collections", "OrderedDict"): _dictionary,
    Symbol("collections", "defaultdict"): _counted_dictionary,
    **{Symbol(module, "set"): _set for module in _BUILTINS},
    # what the missing values of a defaultdict would be
    **{Symbol(m, kind): None for m in _BUILTINS for kind in ("list", "dict", "int", "float")},
    Symbol("torch", "Size"): _size,
    Symbol("torch", "device"): _word,
    Symbol("torch.serialization", "_get_layout"): _word,
    Symbol("torch", "Tensor"): None,
    Symbol("torch.nn.parameter", "Parameter"): None,
    Symbol("torch.nn.parameter", "Buffer"): None,
    Symbol("torch._utils", "_rebuild_tensor"): _rebuild_tensor,
    Symbol("torch._utils", "_rebuild_tensor_v2"): _rebuild_tensor_v2,
    Symbol("torch._utils", "_rebuild_tensor_v3"): _rebuild_tensor_v3,
    Symbol("torch._utils", "_rebuild_parameter"): _rebuild_parameter,
    Symbol("torch._utils", "_rebuild_parameter_with_state"): _rebuild_parameter,
    Symbol("torch._tensor", "_rebuild_from_type_v2"): _rebuild_from_type_v2,
    Symbol("numpy", "dtype"): NumpyDtype,
    Symbol("numpy", "ndarray"): None,
    **{Symbol("torch", name): None for name in _DTYPES},
    **{
        Symbol(module, f"{name}Storage"): None
        for module in ("torch", "torch.cuda", "torch.storage")
        for name in _STORAGES
    },
}
for _module in ("numpy.core.multiarray", "numpy._core.multiarray"):
    _BUILDERS[Symbol(_module, "scalar")] = _scalar
    _BUILDERS[Symbol(_module, "_reconstruct")] = NumpyArray
