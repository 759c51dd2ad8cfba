"""Files of weights that other libraries write, told apart by their contents."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from .._arrays import NDArray
from ..errors import DTypeError, FormatError

if TYPE_CHECKING:
    from .keras_layers import KerasLayer

__all__ = ["is_keras_file", "read_arrays", "read_keras"]

_HDF5_START = b"\x89HDF\r\n\x1a\n"
_ZIP_STARTS = (b"PK\x03\x04", b"PK\x05\x06")
# The pickle of a number, with which PyTorch's files before version 1.6 begin.
_LEGACY_START = b"\x80\x02\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19."
_TAR_WORD = slice(257, 262)


def read_arrays(
    op: str,
    path: str | os.PathLike[str],
    *,
    key: str | None = None,
    prefix: str = "",
    flatten_shape: Sequence[int] | None = None,
    unwrap: bool = False,
) -> dict[str, NDArray]:
    """What `fastconv.load` does, in the name of `op`. With `unwrap`, where a checkpoint of PyTorch
    has one inner dictionary of arrays only, that one is taken."""
    if key is not None and not isinstance(key, str):
        raise DTypeError(f"{op}: key must be a string, got {type(key).__name__}")
    if not isinstance(prefix, str):
        raise DTypeError(f"{op}: prefix must be a string, got {type(prefix).__name__}")
    name = os.fspath(path)
    with open(name, "rb") as file:
        start = file.read(512)
    arrays = _read(op, name, start, key, flatten_shape, unwrap)
    return _without(op, name, prefix, arrays) if prefix else arrays


def read_keras(
    op: str, path: str | os.PathLike[str], flatten_shape: Sequence[int] | None = None
) -> list[KerasLayer]:
    """The layers of a Keras file with their weights as PyTorch has them, in the name of `op`."""
    name = os.fspath(path)
    with open(name, "rb") as file:
        start = file.read(8)
    if start == _HDF5_START:
        from .keras_files import read_keras_hdf5

        return read_keras_hdf5(op, name, flatten_shape)
    if start.startswith(_ZIP_STARTS):
        from .archives import Archive
        from .keras_files import is_keras_archive, read_keras_archive

        with Archive(op, name) as archive:
            if is_keras_archive(archive.names):
                return read_keras_archive(archive, flatten_shape)
    raise FormatError(f"{op}: {name}: not a file of Keras, expected .keras or HDF5")


def is_keras_file(path: str | os.PathLike[str]) -> bool:
    """Whether a file is HDF5, or a zip archive of Keras by its records."""
    with open(path, "rb") as file:
        start = file.read(8)
    if not start.startswith(_ZIP_STARTS):
        return start == _HDF5_START
    from .archives import Archive
    from .keras_files import is_keras_archive

    with Archive("load", os.fspath(path)) as archive:
        return is_keras_archive(archive.names)


def _read(
    op: str,
    name: str,
    start: bytes,
    key: str | None,
    flatten_shape: Sequence[int] | None,
    unwrap: bool,
) -> dict[str, NDArray]:
    # Each reader is imported where its format is met: zipfile, say, takes longer than fastconv.
    if start.startswith(_LEGACY_START):
        from .torch_files import read_torch_legacy

        return read_torch_legacy(op, name, key, unwrap)
    is_keras = start.startswith(_HDF5_START)
    if start.startswith(_ZIP_STARTS):
        from .archives import Archive
        from .keras_files import is_keras_archive
        from .torch_files import is_torch_archive, read_torch_archive

        with Archive(op, name) as archive:
            if is_torch_archive(archive.names):
                return read_torch_archive(archive, key, unwrap)
            is_keras = is_keras_archive(archive.names)
            if not is_keras:
                raise archive.refused("a zip archive, but neither PyTorch's nor Keras's")
    if start[_TAR_WORD] == b"ustar":
        raise FormatError(
            f"{op}: {name}: a tar archive, as PyTorch wrote before version 0.3; save it again with a "
            "later one"
        )
    if key is not None:
        raise FormatError(f"{op}: {name}: key is for checkpoints of PyTorch, which this is not")
    if is_keras:
        from .keras_files import named_arrays

        return named_arrays(op, name, read_keras(op, name, flatten_shape))
    from .safetensors import read

    return read(op, name)[0]


def _without(op: str, name: str, prefix: str, arrays: dict[str, Any]) -> dict[str, NDArray]:
    found: dict[str, NDArray] = {}
    for full, array in arrays.items():
        short = full.removeprefix(prefix)
        if short in found:
            raise FormatError(f"{op}: {name}: two arrays are called {short!r} without {prefix!r}")
        found[short] = array
    return found
