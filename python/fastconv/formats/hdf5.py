"""HDF5 files from anywhere, as the weights of Keras lie in them, read without the HDF5 library.

Damage makes that library crash or never come back, which a FormatError must stand for here.
"""

from __future__ import annotations

import math
import struct
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import BinaryIO

import numpy as np

from .._arrays import NDArray
from ..errors import FormatError
from .bfloat16 import widen
from .hdf5_objects import NOWHERE, ElementType, Hdf5File, Header

__all__ = ["Group", "open_hdf5"]

# All arrays together may be this many times as long as the file (they may be compressed), and more
# in a small one.
_MOST_EXPANSION = 10
_SMALL = 1 << 20
_COMPACT, _CONTIGUOUS, _CHUNKED = range(3)
_DEFLATE, _SHUFFLE, _CHECKSUM = 1, 2, 3


class Group:
    """A group of an open file. Its methods raise FormatError for what is damaged or refused."""

    def __init__(self, file: _Reader, header: Header) -> None:
        self._file, self._header = file, header

    @property
    def address(self) -> int:
        """Where it lies: the same for the same group under another name."""
        return self._header.address

    def groups(self) -> Iterator[tuple[str, Group]]:
        """The groups in this one, by name."""
        for name, target in sorted(self._header.links.items()):
            if target is not None and (header := self._file.header(target)).is_group:
                yield name, Group(self._file, header)

    def datasets(self) -> list[str]:
        """The names of the arrays in this group."""
        return [
            name
            for name, target in sorted(self._header.links.items())
            if target is not None and self._file.header(target).layout is not None
        ]

    def get(self, path: str) -> Group | None:
        """The group at `path` below this one, or None."""
        header = self._at(path)
        return Group(self._file, header) if header is not None and header.is_group else None

    def array(self, path: str) -> NDArray:
        """The array at `path`: a new one of numbers, bfloat16 as float32."""
        header = self._at(path)
        if header is None or header.layout is None:
            raise self._file.refused(f"no array at {path[:80]!r}")
        return self._file.array(path[:80], header)

    def text(self, name: str) -> str | None:
        """An attribute that is a string, or None where there is none."""
        found = self._file.texts(self._header, name)
        return found[0].decode("utf-8", "replace") if found else None

    def texts(self, name: str) -> list[str] | None:
        """An attribute that is a list of strings; long ones lie in parts, name0, name1 and so on."""
        parts: list[list[bytes]] = []
        if name in self._header.attributes:
            parts.append(self._file.texts(self._header, name) or [])
        else:
            while f"{name}{len(parts)}" in self._header.attributes:
                parts.append(self._file.texts(self._header, f"{name}{len(parts)}") or [])
        if not parts:
            return None
        return [text.decode("utf-8", "replace") for part in parts for text in part]

    def _at(self, path: str) -> Header | None:
        header = self._header
        for part in path.split("/"):
            if part in ("", ".", ".."):
                raise self._file.refused(f"the path {path[:80]!r} leads out of its group")
            if part not in header.links:
                return None
            target = header.links[part]
            if target is None:
                raise self._file.refused(f"{path[:80]!r} is a link to another place")
            header = self._file.header(target)
        return header


@contextmanager
def open_hdf5(op: str, path: str, content: BinaryIO, size: int) -> Iterator[Group]:
    """The root of an HDF5 file of `size` bytes, in the name of `op`.

    Raises:
        FormatError: no HDF5 file, or a damaged one.
    """
    file = _Reader(op, path, content, size)
    root = file.header(file.root)
    if not root.is_group:
        raise file.damaged("no group at its root")
    yield Group(file, root)


class _Reader(Hdf5File):
    """A file whose arrays are read, each after its size has been held against the file's."""

    def __init__(self, op: str, path: str, content: BinaryIO, size: int) -> None:
        super().__init__(op, path, content, size)
        self._left = max(_MOST_EXPANSION * size, _SMALL)

    def array(self, path: str, header: Header) -> NDArray:
        """The numbers of a dataset."""
        element, shape = header.type, header.shape
        if element is None or element.dtype is None or shape is None:
            raise self.refused(f"{path!r} is of another type, expected numbers")
        if header.external:
            raise self.refused(f"{path!r} lies in another file")
        count = math.prod(shape) * element.size
        if count > self._left:
            raise self.refused(f"{path!r} claims {count} bytes, more than the file can hold")
        self._left -= count
        try:
            content = self._content_of(path, header, element, shape, count)
            raw = content.view(element.dtype).reshape(shape)
        except (struct.error, IndexError, ValueError, zlib.error) as error:
            if isinstance(error, FormatError):
                raise
            raise self.damaged(f"the array {path!r}") from error
        array: NDArray = raw.astype(raw.dtype.newbyteorder("="), copy=False)
        marked = self.texts(header, "dtype") == [b"bfloat16"] and array.dtype == np.uint16
        return widen(array) if element.bfloat16 or marked else array

    def _content_of(
        self, path: str, header: Header, element: ElementType, shape: tuple[int, ...], count: int
    ) -> NDArray:
        """The bytes of a dataset."""
        layout = header.layout or b""
        version, kind = layout[0], layout[1]
        if version not in (3, 4) or kind > _CHUNKED or (version == 4 and kind == _CHUNKED):
            raise self.refused(f"{path!r} lies in a form that is not read (version {version})")
        if count == 0:
            return np.empty(0, np.uint8)
        if kind == _CHUNKED:
            return self._chunks(path, header, element, shape, layout)
        if kind == _COMPACT:
            (length,) = struct.unpack_from("<H", layout, 2)
            content = layout[4 : 4 + length]
        else:
            address, length = struct.unpack_from("<QQ", layout, 2)
            if address == NOWHERE:
                raise self.refused(f"{path!r} has no contents")
            content = self.read(address, min(length, count))
        if len(content) < count:
            raise self.damaged(f"{path!r} has {len(content)} bytes, expected {count}")
        copied: NDArray = np.frombuffer(content, np.uint8, count).copy()
        return copied

    def _chunks(
        self,
        path: str,
        header: Header,
        element: ElementType,
        shape: tuple[int, ...],
        layout: bytes,
    ) -> NDArray:
        """An array in pieces of one shape, whose places a tree tells."""
        rank = layout[2] - 1
        address, *chunk = struct.unpack_from(f"<Q{rank}I", layout, 3)
        if rank != len(shape) or rank == 0 or not all(chunk):
            raise self.damaged(f"{path!r} has pieces of another shape")
        if address == NOWHERE:
            raise self.refused(f"{path!r} has no contents")
        length = math.prod(chunk) * element.size
        wanted = math.prod(-(-n // c) for n, c in zip(shape, chunk, strict=True))
        # A last piece may be larger than what is left of the array; not out of proportion, though.
        if length > max(_MOST_EXPANSION * self.size, _SMALL):
            raise self.refused(
                f"{path!r} has pieces of {length} bytes, more than the file can hold"
            )
        filters = self._filters(path, header.filters)
        array: NDArray = np.empty((*shape, element.size), np.uint8)
        leaves = self.tree(address, 1, 8 + 8 * (rank + 1), 2 * wanted + 16)
        places = set()
        for key, child in leaves:
            stored, mask, *start = struct.unpack(f"<II{rank + 1}Q", key)
            origin = tuple(start[:rank])
            if any(s >= n or s % c for s, n, c in zip(origin, shape, chunk, strict=True)):
                raise self.damaged(f"{path!r} has a piece outside")
            content = self._filtered(self.read(child, stored), filters, mask, length, element.size)
            if len(content) != length:
                raise self.damaged(f"{path!r} has a piece of {len(content)} bytes, not {length}")
            piece = np.frombuffer(content, np.uint8).reshape(*chunk, element.size)
            ends = [min(s + c, n) for s, c, n in zip(origin, chunk, shape, strict=True)]
            target = tuple(slice(s, e) for s, e in zip(origin, ends, strict=True))
            array[target] = piece[tuple(slice(0, t.stop - t.start) for t in target)]
            places.add(origin)
        if len(places) != wanted:
            raise self.refused(f"{path!r} has {len(places)} of {wanted} pieces")
        return array.reshape(-1)

    def _filters(self, path: str, body: bytes | None) -> list[int]:
        """What was done to pieces before they were stored, in that order."""
        if body is None:
            return []
        version, count = body[0], body[1]
        place = 8 if version == 1 else 2
        found = []
        for _ in range(count):
            (kind,) = struct.unpack_from("<H", body, place)
            place += 2
            name = 0
            if version == 1 or kind >= 256:
                (name,) = struct.unpack_from("<H", body, place)
                place += 2
            _, values = struct.unpack_from("<HH", body, place)
            place += 4 + ((name + 7) // 8 * 8 if version == 1 else name) + 4 * values
            place += 4 if version == 1 and values % 2 else 0
            if kind not in (_DEFLATE, _SHUFFLE, _CHECKSUM):
                raise self.refused(f"{path!r} is compressed in a way that is not read ({kind})")
            found.append(kind)
        return found

    def _filtered(
        self, content: bytes, filters: list[int], mask: int, length: int, size: int
    ) -> bytes:
        """A piece as it was before the filters; `mask` names those that were left out."""
        for place, kind in reversed(list(enumerate(filters))):
            if mask >> place & 1:
                continue
            if kind == _DEFLATE:
                unpack = zlib.decompressobj()
                content = unpack.decompress(content, length + 5)
            elif kind == _CHECKSUM:
                content = content[:-4]
            else:
                whole = len(content) // size * size
                turned = np.frombuffer(content[:whole], np.uint8).reshape(size, -1).T
                content = turned.tobytes() + content[whole:]
        return content
