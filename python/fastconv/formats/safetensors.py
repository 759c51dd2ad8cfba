"""The safetensors format: arrays with a header, checked when read.

Source of the format: https://github.com/huggingface/safetensors, section "Format": eight bytes with
the header's length, a JSON header that says where each array lies, then the arrays one after another.
"""

from __future__ import annotations

import json
import os
import struct
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from .. import _core
from .._arrays import NDArray
from ..errors import DTypeError, FormatError
from ..tensor import as_array
from .bfloat16 import widen

if TYPE_CHECKING:
    from ..nn import Module

__all__ = ["read", "require_safetensors", "serialize"]

PathLike = str | os.PathLike[str]

_DTYPES = frozenset(
    np.dtype(name)
    for name in (
        *("bool", "int8", "uint8", "int16", "uint16", "int32", "uint32", "int64", "uint64"),
        *("float16", "float32", "float64"),
    )
)
_FILE_DTYPES = (
    *("F64", "F32", "F16", "BF16"),
    *("I64", "U64", "I32", "U32", "I16", "U16", "I8", "U8", "BOOL"),
)
_MAX_HEADER = 100_000_000  # the format's own limit


def serialize(
    op: str, net_or_dict: Module | Mapping[str, Any], metadata: Mapping[str, str] | None = None
) -> bytes:
    """The contents of a safetensors file; `op` is the function that error messages name."""
    given: Mapping[str, Any]
    if isinstance(net_or_dict, Mapping):
        given = net_or_dict
    elif callable(getattr(net_or_dict, "state_dict", None)):
        given = net_or_dict.state_dict()
    else:
        raise DTypeError(
            f"{op}: expected a Module or a mapping of names to arrays, "
            f"got {type(net_or_dict).__name__}"
        )
    arrays: dict[str, NDArray] = {}
    for name, value in given.items():
        if not isinstance(name, str):
            raise DTypeError(
                f"{op}: the name {name!r} is a {type(name).__name__}, expected a string"
            )
        array = as_array(op, f"{name!r}", np.asarray(value) if np.isscalar(value) else value)
        if _core.is_bfloat16(array.dtype):
            arrays[name] = np.asarray(array, order="C")
            continue
        if array.dtype.newbyteorder("=") not in _DTYPES:
            raise DTypeError(
                f"{op}: {name!r} is {array.dtype}, expected bool, 8- to 64-bit integers, "
                "bfloat16, float16, float32 or float64"
            )
        arrays[name] = np.asarray(array, array.dtype.newbyteorder("<"), order="C")
    for key, text in (metadata or {}).items():
        if not isinstance(key, str) or not isinstance(text, str):
            raise DTypeError(f"{op}: metadata must map strings to strings, got {key!r}: {text!r}")
    package = _safetensors(op, "numpy")
    return package.save(arrays, dict(metadata) if metadata else None)  # type: ignore[no-any-return]


def read(
    op: str, path: PathLike, *, arrays: bool = True, keep_bfloat16: bool = False
) -> tuple[dict[str, NDArray], dict[str, str]]:
    """Arrays (none without `arrays`) and metadata of a safetensors file. bfloat16 becomes float32
    unless it is kept."""
    name = os.fspath(path)
    _check_header(op, name)
    package = _safetensors(op)
    try:
        with package.safe_open(name, framework="numpy") as file:
            metadata = dict(file.metadata() or {})
            found: dict[str, NDArray] = {}
            names = sorted(file.keys()) if arrays else []
            for key in names:
                dtype = file.get_slice(key).get_dtype()
                if dtype not in _FILE_DTYPES:
                    raise FormatError(
                        f"{op}: {name}: {key!r} has element type {dtype}, "
                        f"expected one of {', '.join(_FILE_DTYPES)}"
                    )
            narrow = [key for key in names if file.get_slice(key).get_dtype() == "BF16"]
            wide = _bfloat16(op, name, narrow, keep_bfloat16) if narrow else {}
            for key in names:
                if key in wide:
                    found[key] = wide[key]
                    continue
                array = file.get_tensor(key)
                found[key] = array if array.flags.writeable else array.copy()
            return found, metadata
    except FormatError:
        raise
    except package.SafetensorError as error:
        raise FormatError(f"{op}: {name}: not a valid safetensors file: {error}") from error
    except ValueError as error:  # a shape that NumPy cannot hold
        raise FormatError(f"{op}: {name}: {error}") from error


def _bfloat16(op: str, name: str, keys: list[str], keep: bool) -> dict[str, NDArray]:
    """Arrays that NumPy has no type for; the package has checked where they lie."""
    found: dict[str, NDArray] = {}
    kept = _core.bfloat16_dtype(op) if keep else None
    with open(name, "rb") as file:
        (length,) = struct.unpack("<Q", file.read(8))
        header = json.loads(file.read(length))
        for key in keys:
            begin, end = header[key]["data_offsets"]
            file.seek(8 + length + begin)
            words = np.fromfile(file, "<u2", (end - begin) // 2)
            values = widen(words) if kept is None else words.astype(np.uint16).view(kept)
            found[key] = values.reshape(header[key]["shape"])
    return found


def _check_header(op: str, name: str) -> None:
    """Whether the header fits in the file, said more plainly than the package does."""
    with open(name, "rb") as file:
        size = os.fstat(file.fileno()).st_size
        first = file.read(8)
    if len(first) < 8:
        raise FormatError(
            f"{op}: {name}: has {size} bytes, expected at least 8; empty or truncated"
        )
    (header,) = struct.unpack("<Q", first)
    if header > _MAX_HEADER:
        raise FormatError(
            f"{op}: {name}: claims a header of {header} bytes, expected at most {_MAX_HEADER}; "
            "not a safetensors file"
        )
    if header > size - 8:
        raise FormatError(
            f"{op}: {name}: claims a header of {header} bytes but has only {size - 8} after its "
            "length; truncated"
        )


def require_safetensors(op: str) -> None:
    """ImportError, in the name of `op`, where the package is not installed."""
    _safetensors(op)


def _safetensors(op: str, module: str = "") -> Any:
    try:
        import safetensors
        import safetensors.numpy
    except ImportError as error:
        raise ImportError(
            f'{op} needs safetensors, which is not installed: pip install "fastconv[io]"'
        ) from error
    return safetensors.numpy if module else safetensors
