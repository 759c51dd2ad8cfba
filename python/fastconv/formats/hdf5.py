"""HDF5 files from anywhere, read by h5py: links out of the file and sizes beyond it are refused."""

from __future__ import annotations

import importlib
import math
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, BinaryIO

import numpy as np

from .._arrays import NDArray
from ..errors import FormatError
from .bfloat16 import widen

__all__ = ["Group", "open_hdf5"]

# All arrays together may be this many times as long as the file (they may be compressed), and more
# in a small one.
_MOST_EXPANSION = 10
_SMALL = 1 << 20
_MAX_NAMES = 1 << 20
# Strings of any length lie in heaps that begin so.
_HEAP = b"GCOL\x01\x00\x00\x00"
_CHUNK = 1 << 20


class Group:
    """A group of an open file. Its methods raise FormatError for what is damaged or refused."""

    def __init__(self, file: _File, group: Any) -> None:
        self._file, self._group = file, group

    def groups(self) -> Iterator[tuple[str, Group]]:
        """The groups in this one, by name."""
        for name in self._names():
            if isinstance(found := self.get(name), Group):
                yield name, found

    def datasets(self) -> list[str]:
        """The names of the arrays in this group."""
        return [name for name in self._names() if isinstance(self.get(name), Dataset)]

    def get(self, path: str) -> Group | Dataset | None:
        """What lies at `path` below this group, or None."""
        h5py, found = self._file.h5py, self._group
        for part in path.split("/"):
            if part in ("", ".", ".."):
                raise self._file.refused(f"the path {path[:80]!r} leads out of its group")
            with self._file.errors():
                link = found.get(part, getlink=True) if isinstance(found, h5py.Group) else None
                if link is None:
                    return None
                if not isinstance(link, h5py.HardLink):
                    raise self._file.refused(f"{path[:80]!r} is a link to another place")
                found = found[part]
        if isinstance(found, h5py.Dataset):
            return Dataset(self._file, found, path)
        return Group(self._file, found) if isinstance(found, h5py.Group) else None

    def array(self, path: str) -> NDArray:
        """The array at `path`: a new one of numbers, bfloat16 as float32."""
        found = self.get(path)
        if not isinstance(found, Dataset):
            raise self._file.refused(f"no array at {path[:80]!r}")
        return found.read()

    def text(self, name: str) -> str | None:
        """An attribute that is a string, or None where there is none."""
        value = self._attribute(name)
        if isinstance(value, bytes):
            value = value.decode("utf-8", "replace")
        return value if isinstance(value, str) else None

    def texts(self, name: str) -> list[str] | None:
        """An attribute that is a list of strings; long ones lie in parts, name0, name1 and so on."""
        parts: list[Any] = []
        whole = self._attribute(name)
        if whole is not None:
            parts.append(whole)
        else:
            while (part := self._attribute(f"{name}{len(parts)}")) is not None:
                parts.append(part)
        if not parts:
            return None
        words = [word for part in parts for word in np.asarray(part).reshape(-1).tolist()]
        return [w.decode("utf-8", "replace") if isinstance(w, bytes) else str(w) for w in words]

    def _attribute(self, name: str) -> Any:
        with self._file.errors():
            if name not in self._group.attrs:
                return None
            if math.prod(self._group.attrs.get_id(name).shape) > _MAX_NAMES:
                raise self._file.refused(f"the attribute {name!r} is too long")
            return self._group.attrs[name]

    def _names(self) -> list[str]:
        with self._file.errors():
            return list(self._group)


class Dataset:
    """An array in an open file, not yet read."""

    def __init__(self, file: _File, dataset: Any, path: str) -> None:
        self._file, self._dataset, self._path = file, dataset, path

    def read(self) -> NDArray:
        """The numbers, after their size has been held against the file's."""
        file, dataset, path = self._file, self._dataset, self._path[:80]
        with file.errors():
            shape, dtype = dataset.shape, dataset.dtype
            if shape is None or dtype.kind not in "fiub" or dtype.itemsize > 8:
                raise file.refused(f"{path!r} is of type {dtype}, expected numbers")
            if dataset.external or dataset.is_virtual:
                raise file.refused(f"{path!r} lies in another file")
            file.spend(path, math.prod(shape) * dtype.itemsize)
            array: NDArray = np.asarray(dataset[()])
            narrow = dataset.attrs.get("dtype") if dtype.kind == "u" else None
        if narrow in ("bfloat16", b"bfloat16") and array.dtype.itemsize == 2:
            return widen(array)
        return array.astype(array.dtype.newbyteorder("="), copy=False)


class _File:
    def __init__(self, op: str, path: str, size: int, h5py: Any) -> None:
        self.op, self.path, self.h5py = op, path, h5py
        self._left = max(_MOST_EXPANSION * size, _SMALL)

    def refused(self, reason: str) -> FormatError:
        return FormatError(f"{self.op}: {self.path}: {reason}")

    def spend(self, path: str, count: int) -> None:
        """Note `count` bytes of the array at `path`."""
        if count > self._left:
            raise self.refused(f"{path!r} claims {count} bytes, more than the file can hold")
        self._left -= count

    @contextmanager
    def errors(self) -> Iterator[None]:
        """FormatError for whatever h5py raises."""
        try:
            yield
        except FormatError:
            raise
        except (
            *(OSError, KeyError, RuntimeError, ValueError, TypeError, AttributeError),
            *(OverflowError, MemoryError, UnicodeError, IndexError),
        ) as error:
            message = " ".join(str(error).split())[:200]
            raise self.refused(f"a damaged HDF5 file: {message}") from error


@contextmanager
def open_hdf5(op: str, path: str, source: Any, size: int) -> Iterator[Group]:
    """The root of an HDF5 file of `size` bytes.

    Args:
        op: the function that errors name.
        path: the file that they name.
        source: a name, or a binary file, for h5py.

    Raises:
        FormatError: no HDF5 file, or a damaged one.
        ImportError: h5py is not installed.
    """
    try:
        h5py = importlib.import_module("h5py")
    except ImportError as error:
        raise ImportError(
            f'{op} needs h5py for {path}, which is not installed: pip install "fastconv[keras]"'
        ) from error
    holder = _File(op, path, size, h5py)
    if isinstance(source, str):
        with open(source, "rb") as content:
            _check_heaps(holder, content, size)
    else:
        _check_heaps(holder, source, size)
    with holder.errors():
        file = h5py.File(source, "r")
    with file:
        yield Group(holder, file)


def _check_heaps(holder: _File, content: BinaryIO, size: int) -> None:
    """Follow the objects of every heap of strings to its end: the HDF5 library, where one leads
    nowhere, does not come back.

    Source: HDF5 File Format Specification 3.0, section III.E, "Disk Format: Level 1E - Global Heap".
    """
    position = 0
    while position < size:
        content.seek(position)
        found = content.read(_CHUNK + len(_HEAP) - 1).find(_HEAP)
        if found < 0:
            position += _CHUNK
            continue
        begin = position + found
        content.seek(begin + len(_HEAP))
        length = int.from_bytes(content.read(8), "little")
        heap = content.read(length - 16) if 16 <= length <= size - begin else b""
        place, end = 0, len(heap)
        while place + 16 <= end:
            index = int.from_bytes(heap[place : place + 2], "little")
            count = int.from_bytes(heap[place + 8 : place + 16], "little")
            step = 16 + (count + 7) // 8 * 8 if index else count  # the object 0 is what is free
            if step < 16 or place + step > end:
                raise holder.refused("a damaged HDF5 file: a heap whose objects do not fit in it")
            place += step
        position = begin + len(_HEAP)
    content.seek(0)
