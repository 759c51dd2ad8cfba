"""Weights in files: the safetensors format, written atomically and checked when read.

Source of the format: https://github.com/huggingface/safetensors, section "Format": eight bytes with
    the header's
length, a JSON header that says where each array lies, then the arrays one after another.
"""

from __future__ import annotations

import os
import secrets
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ._arrays import NDArray
from .errors import DTypeError, FormatError
from .tensor import as_array

if TYPE_CHECKING:
    from .nn import Module

__all__ = [
    "load",
    "load_metadata",
    "remove_stale_temporaries",
    "require_safetensors",
    "save",
    "write_atomically",
]

PathLike = str | os.PathLike[str]

_DTYPES = frozenset(
    np.dtype(name)
    for name in (
        *("bool", "int8", "uint8", "int16", "uint16", "int32", "uint32", "int64", "uint64"),
        *("float16", "float32", "float64"),
    )
)
_FILE_DTYPES = ("F64", "F32", "F16", "I64", "U64", "I32", "U32", "I16", "U16", "I8", "U8", "BOOL")
_MAX_HEADER = 100_000_000  # the format's own limit


def save(
    net_or_dict: Module | Mapping[str, Any],
    path: PathLike,
    metadata: Mapping[str, str] | None = None,
) -> None:
    """Write the arrays of a network or of a dictionary to a safetensors file.

    The file appears whole or not at all: until the last byte is on the disk, an older file of the
        same name
    stays as it was.

    Args:
        net_or_dict: a `nn.Module`, whose `state_dict()` is written, or a mapping of names to arrays
            (NumPy, `Tensor` or DLPack): bool, integers of 8 to 64 bits, float16, float32 or
            float64, of any shape.
        path: the file to write. A symbolic link is followed.
        metadata: names and values, both strings, to keep in the file's header.

    Raises:
        DTypeError: what is given is neither, or an array has an element type that is not listed
            above, or a name or a piece of metadata is not a string.
        ImportError: the package safetensors is not installed.
        OSError: the file cannot be written.
    """
    content = serialize("save", net_or_dict, metadata)
    write_atomically(path, content)


def load(path: PathLike) -> dict[str, NDArray]:
    """Read the arrays of a safetensors file.

    The sizes in the header are checked against the file's before memory is allocated.

    Args:
        path: the file.

    Returns:
        Names and new writable arrays, sorted by name. For a network:
        `net.load_state_dict(fc.load(path))`.

    Raises:
        FormatError: the file is damaged, truncated, too long, not safetensors, or has an element
            type that NumPy lacks (bfloat16, 8-bit floats).
        ImportError: the package safetensors is not installed.
        OSError: the file is missing (FileNotFoundError) or cannot be read.
    """
    return read("load", path)[0]


def load_metadata(path: PathLike) -> dict[str, str]:
    """The metadata that a safetensors file was saved with; no array is read. Raises as `load`
    does."""
    return read("load_metadata", path, arrays=False)[1]


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
        if array.dtype.newbyteorder("=") not in _DTYPES:
            raise DTypeError(
                f"{op}: {name!r} is {array.dtype}, expected bool, 8- to 64-bit integers, "
                "float16, float32 or float64"
            )
        arrays[name] = np.asarray(array, array.dtype.newbyteorder("<"), order="C")
    for key, text in (metadata or {}).items():
        if not isinstance(key, str) or not isinstance(text, str):
            raise DTypeError(f"{op}: metadata must map strings to strings, got {key!r}: {text!r}")
    package = _safetensors(op, "numpy")
    return package.save(arrays, dict(metadata) if metadata else None)  # type: ignore[no-any-return]


def read(
    op: str, path: PathLike, *, arrays: bool = True
) -> tuple[dict[str, NDArray], dict[str, str]]:
    """Arrays (none without `arrays`) and metadata of a safetensors file."""
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
            for key in names:
                array = file.get_tensor(key)
                found[key] = array if array.flags.writeable else array.copy()
            return found, metadata
    except FormatError:
        raise
    except package.SafetensorError as error:
        raise FormatError(f"{op}: {name}: not a valid safetensors file: {error}") from error
    except ValueError as error:  # a shape that NumPy cannot hold
        raise FormatError(f"{op}: {name}: {error}") from error


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


def write_atomically(path: PathLike, content: bytes) -> None:
    """Write a file that appears whole or not at all, whatever happens meanwhile.

    The bytes go to a temporary file in the same folder and to the disk, then take the name (POSIX
    rename), then the folder goes to the disk. When any of that fails, the temporary file is
    removed.
    """
    target = Path(os.path.realpath(path))
    if target.is_dir():
        raise IsADirectoryError(f"cannot write the file {os.fspath(path)}: it is a folder")
    temporary = target.with_name(f"{_temporary_start()}{os.getpid()}-{secrets.token_hex(4)}.tmp")
    try:
        with open(temporary, "xb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, target)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    folder = os.open(target.parent, os.O_RDONLY | getattr(os, "O_DIRECTORY", 0))
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def remove_stale_temporaries(folder: PathLike) -> None:
    """Remove temporary files left in `folder` by processes of this machine killed while writing."""
    start = _temporary_start()
    for leftover in Path(folder).glob(".fastconv-*.tmp"):
        pid = leftover.name.removeprefix(start).partition("-")[0]
        if leftover.name.startswith(start) and pid.isdigit() and not _is_running(int(pid)):
            leftover.unlink(missing_ok=True)


def _temporary_start() -> str:
    return f".fastconv-{os.uname().nodename}-"


def _is_running(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:
        return True
    return True
