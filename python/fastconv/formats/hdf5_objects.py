"""The objects of an HDF5 file: headers, groups' links, types, shapes, attributes.

Source: HDF5 File Format Specification, version 3.0, https://support.hdfgroup.org/documentation: superblocks 0 to
3, object headers 1 and 2, groups by symbol tables or links in the header, attributes in the header: what the
library writes unless it is told to use its latest format.
"""

from __future__ import annotations

import math
import struct
from dataclasses import dataclass, field
from typing import Any, BinaryIO

import numpy as np

from ..errors import FormatError

__all__ = ["NOWHERE", "ElementType", "Hdf5File", "Header"]

NOWHERE = 2**64 - 1
_SIGNATURE = b"\x89HDF\r\n\x1a\n"
_MAX_MESSAGES = 1 << 16
_MAX_LINKS = 1 << 20
_MAX_TEXTS = 1 << 20

# Kinds of messages in an object's header
_SPACE, _LINK_INFO, _TYPE, _LINK, _EXTERNAL = 0x01, 0x02, 0x03, 0x06, 0x07
_LAYOUT, _FILTERS, _ATTRIBUTE, _CONTINUATION, _TABLE, _ATTRIBUTE_INFO = (
    0x08,
    0x0B,
    0x0C,
    0x10,
    0x11,
    0x15,
)

# Bytes -> (exponent's place and bits, mantissa's place and bits) of IEEE numbers
_FLOATS = {2: (10, 5, 0, 10), 4: (23, 8, 0, 23), 8: (52, 11, 0, 52)}
_BFLOAT16 = (7, 8, 0, 7)


@dataclass(frozen=True)
class ElementType:
    """The type of an array's elements.

    Attributes:
        size: bytes of an element.
        dtype: NumPy's type for numbers, None for anything else; bfloat16 is read as uint16.
        text: "fixed" or "heap" for strings, "" for anything else.
        bfloat16: whether the words are bfloat16.
    """

    size: int
    dtype: np.dtype[Any] | None = None
    text: str = ""
    bfloat16: bool = False


@dataclass
class Header:
    """What an object's header says: a group has `links`, a dataset a `layout`."""

    address: int
    links: dict[str, int | None] = field(default_factory=dict)  # None is a link to another place
    is_group: bool = False
    attributes: dict[str, bytes] = field(default_factory=dict)
    shape: tuple[int, ...] | None = None
    type: ElementType | None = None
    layout: bytes | None = None
    filters: bytes | None = None
    external: bool = False


class Hdf5File:
    """An open file. Whatever is wrong with it raises FormatError, in the name of `op`."""

    def __init__(self, op: str, path: str, content: BinaryIO, size: int) -> None:
        self.op, self.path, self.size = op, path, size
        self._content = content
        self._headers: dict[int, Header] = {}
        self._heaps: dict[int, dict[int, bytes]] = {}
        start = self.read(0, 48)
        version = start[8]
        if start[:8] != _SIGNATURE or version > 3:
            raise self.damaged("no superblock of a known version")
        sizes = start[13:15] if version < 2 else start[9:11]
        if sizes != b"\x08\x08":
            raise self.refused("an HDF5 file with addresses of other than 8 bytes")
        if version < 2:
            base, root = 24 + 4 * version, 64 + 4 * version
            self.root = self.number(root)
        else:
            base, self.root = 12, self.number(36)
        if self.number(base) != 0:
            raise self.refused("an HDF5 file within another file")

    def refused(self, reason: str) -> FormatError:
        """The error to raise, with the function and the file in front of `reason`."""
        return FormatError(f"{self.op}: {self.path}: {reason}")

    def damaged(self, reason: str) -> FormatError:
        """The same, of a file that breaks the format."""
        return self.refused(f"a damaged HDF5 file: {reason}")

    def read(self, address: int, count: int) -> bytes:
        """Bytes of the file."""
        if count < 0 or address < 0 or address + count > self.size:
            raise self.damaged(f"something {count} bytes long at {address} ends behind the file")
        self._content.seek(address)
        content = self._content.read(count)
        if len(content) != count:
            raise self.damaged("it has become shorter")
        return content

    def number(self, address: int) -> int:
        """Eight bytes as a number."""
        return int.from_bytes(self.read(address, 8), "little")

    # Headers

    def header(self, address: int) -> Header:
        """The header of the object at `address`."""
        found = self._headers.get(address)
        if found is None:
            found = Header(address)
            try:
                for kind, body in self._messages(address):
                    self._note(found, kind, body)
            except (struct.error, IndexError, ValueError, UnicodeError) as error:
                if isinstance(error, FormatError):
                    raise
                raise self.damaged(f"the object at {address}") from error
            self._headers[address] = found
        return found

    def _messages(self, address: int) -> list[tuple[int, bytes]]:
        start = self.read(address, 16)
        second = start[:4] == b"OHDR"
        head, ordered = 8, False
        if second:
            flags = start[5]
            place = 6 + (16 if flags & 0x20 else 0) + (4 if flags & 0x10 else 0)
            width = 1 << (flags & 3)
            blocks = [
                (
                    address + place + width,
                    int.from_bytes(self.read(address + place, width), "little"),
                )
            ]
            ordered = bool(flags & 0x04)
            head = 6 if ordered else 4
        elif start[:2] == b"\x01\x00":
            blocks = [(address + 16, int.from_bytes(start[8:12], "little"))]
        else:
            raise self.damaged(f"no object at {address}")
        messages: list[tuple[int, bytes]] = []
        seen = set()
        while blocks:
            begin, length = blocks.pop(0)
            if begin in seen or len(messages) > _MAX_MESSAGES:
                raise self.damaged(f"the object at {address} goes on without end")
            seen.add(begin)
            block, place = self.read(begin, length), 0
            while place + head <= len(block):
                if second:
                    kind, size, flags = struct.unpack_from("<BHB", block, place)
                else:
                    kind, size, flags = struct.unpack_from("<HHB", block, place)
                body = block[place + head : place + head + size]
                if len(body) != size:
                    raise self.damaged(f"the object at {address} has a message of {size} bytes")
                place += head + size
                if flags & 2 and kind in (_SPACE, _TYPE, _FILTERS, _ATTRIBUTE):
                    raise self.refused("an HDF5 file with shared types, which are not read")
                if kind == _CONTINUATION:
                    more, count = struct.unpack("<QQ", body[:16])
                    # Version 2 has a signature in front and a checksum behind.
                    blocks.append((more + 4, count - 8) if second else (more, count))
                else:
                    messages.append((kind, body))
        return messages

    def _note(self, header: Header, kind: int, body: bytes) -> None:
        if kind == _SPACE:
            header.shape = self._shape(body)
        elif kind == _TYPE:
            header.type = self._type(body)
        elif kind == _LAYOUT:
            header.layout = body
        elif kind == _FILTERS:
            header.filters = body
        elif kind == _EXTERNAL:
            header.external = True
        elif kind == _ATTRIBUTE:
            name, _ = self._attribute_parts(body)
            header.attributes[name] = body
        elif kind == _TABLE:
            header.is_group = True
            tree, heap = struct.unpack("<QQ", body[:16])
            header.links |= self._table(tree, heap)
        elif kind == _LINK:
            name, target = self._link(body)
            header.links[name] = target
        elif kind == _LINK_INFO:
            header.is_group = True
            self._refuse_heap(body, 8 if body[1] & 1 else 0)
        elif kind == _ATTRIBUTE_INFO:
            self._refuse_heap(body, 2 if body[1] & 1 else 0)

    def _refuse_heap(self, body: bytes, skipped: int) -> None:
        if int.from_bytes(body[2 + skipped : 10 + skipped], "little") != NOWHERE:
            raise self.refused("an HDF5 file of the library's latest format, which is not read")

    # Groups

    def _table(self, tree: int, heap: int) -> dict[str, int | None]:
        """The links of a group by a tree of names, which lie in a heap."""
        names = self._local_heap(heap)
        links: dict[str, int | None] = {}
        for leaf in self.tree(tree, 0, 8, _MAX_LINKS):
            node = self.read(leaf[1], 8)
            if node[:4] != b"SNOD":
                raise self.damaged(f"no names at {leaf[1]}")
            count = int.from_bytes(node[6:8], "little")
            entries = self.read(leaf[1] + 8, 40 * count)
            for place in range(0, len(entries), 40):
                offset, target, kind = struct.unpack_from("<QQI", entries, place)
                end = names.index(b"\0", offset)
                links[names[offset:end].decode()] = None if kind == 2 else target
            if len(links) > _MAX_LINKS:
                raise self.damaged("a group of too many names")
        return links

    def _local_heap(self, address: int) -> bytes:
        head = self.read(address, 32)
        if head[:4] != b"HEAP":
            raise self.damaged(f"no names at {address}")
        size, _, place = struct.unpack("<QQQ", head[8:])
        return self.read(place, size)

    def tree(self, root: int, kind: int, key: int, most: int) -> list[tuple[bytes, int]]:
        """Keys and addresses of the leaves of a tree, whose keys have `key` bytes."""
        leaves: list[tuple[bytes, int]] = []
        waiting, seen = [(root, 256)], 0
        while waiting:
            address, above = waiting.pop()
            head = self.read(address, 24)
            level, count = head[5], int.from_bytes(head[6:8], "little")
            seen += 1
            if head[:4] != b"TREE" or head[4] != kind or level >= above or seen > most:
                raise self.damaged(f"no part of a tree at {address}")
            body = self.read(address + 24, count * (key + 8))
            children = []
            for place in range(0, len(body), key + 8):
                child = int.from_bytes(body[place + key : place + key + 8], "little")
                children.append((body[place : place + key], child))
            if level == 0:
                leaves += children
                if len(leaves) > most:
                    raise self.damaged("a tree with too many leaves")
            else:
                waiting += [(child, level) for _, child in reversed(children)]
        return leaves

    def _link(self, body: bytes) -> tuple[str, int | None]:
        flags, place = body[1], 2
        kind = 0
        if flags & 0x08:
            kind, place = body[place], place + 1
        place += (8 if flags & 0x04 else 0) + (1 if flags & 0x10 else 0)
        width = 1 << (flags & 3)
        length = int.from_bytes(body[place : place + width], "little")
        place += width
        name = body[place : place + length].decode()
        place += length
        return name, struct.unpack("<Q", body[place : place + 8])[0] if kind == 0 else None

    # Types and shapes

    def _shape(self, body: bytes) -> tuple[int, ...] | None:
        version, rank = body[0], body[1]
        if version not in (1, 2):
            raise self.damaged(f"a shape of version {version}")
        if version == 2 and body[3] == 2:
            return None
        return struct.unpack_from(f"<{rank}Q", body, 8 if version == 1 else 4)

    def _type(self, body: bytes) -> ElementType:
        kind, bits = body[0] & 15, body[1]
        (size,) = struct.unpack_from("<I", body, 4)
        order = ">" if bits & 1 else "<"
        if kind == 0 and size in (1, 2, 4, 8):
            dtype = np.dtype(f"{order}{'i' if bits & 8 else 'u'}{size}")
            return ElementType(size, dtype)
        if kind == 1 and size in _FLOATS and not bits & 64:
            parts = tuple(body[12:16])
            if parts == _FLOATS[size]:
                return ElementType(size, np.dtype(f"{order}f{size}"))
            if size == 2 and parts == _BFLOAT16:
                return ElementType(2, np.dtype(f"{order}u2"), bfloat16=True)
        if kind == 3:
            return ElementType(size, text="fixed")
        if kind == 8:  # names for numbers, such as False and True
            return self._type(body[8:])
        if kind == 9 and bits & 15 == 1:
            return ElementType(16, text="heap")
        return ElementType(size)

    # Attributes

    def _attribute_parts(self, body: bytes) -> tuple[str, list[bytes]]:
        """An attribute's name, and its type, shape and contents."""
        version = body[0]
        sizes = struct.unpack_from("<HHH", body, 2)
        place = 9 if version == 3 else 8
        if version not in (1, 2, 3) or (version > 1 and body[1]):
            raise self.refused(
                f"an HDF5 file with attributes of version {version} and shared types"
            )
        parts = []
        for size in sizes:
            parts.append(body[place : place + size])
            place += size if version > 1 else (size + 7) // 8 * 8
        name = parts[0].partition(b"\0")[0].decode()
        return name, [*parts[1:], body[place:]]

    def texts(self, header: Header, name: str) -> list[bytes] | None:
        """The strings of an attribute, one for a single one; None where there is none, or none of
        strings."""
        body = header.attributes.get(name)
        if body is None:
            return None
        try:
            _, (form, space, content) = self._attribute_parts(body)
            element, shape = self._type(form), self._shape(space)
            if not element.text or shape is None:
                return None
            count = math.prod(shape)
            if count > _MAX_TEXTS or count * element.size > len(content):
                raise self.damaged(f"the attribute {name!r} is too short for {count} strings")
            pieces = [content[i * element.size : (i + 1) * element.size] for i in range(count)]
            if element.text == "fixed":
                return [piece.partition(b"\0")[0] for piece in pieces]
            return [self._from_heap(*struct.unpack("<IQI", piece)) for piece in pieces]
        except (struct.error, IndexError, ValueError) as error:
            if isinstance(error, FormatError):
                raise
            raise self.damaged(f"the attribute {name!r}") from error

    def _from_heap(self, length: int, address: int, index: int) -> bytes:
        if length == 0:
            return b""
        if address not in self._heaps:
            self._heaps[address] = self._heap(address)
        if index not in self._heaps[address]:
            raise self.damaged(f"no string {index} at {address}")
        return self._heaps[address][index][:length]

    def _heap(self, address: int) -> dict[int, bytes]:
        head = self.read(address, 16)
        if head[:4] != b"GCOL":
            raise self.damaged(f"no strings at {address}")
        heap = self.read(address, int.from_bytes(head[8:], "little"))
        found: dict[int, bytes] = {}
        place = 16
        while place + 16 <= len(heap):
            index, _, _, size = struct.unpack_from("<HHIQ", heap, place)
            if index == 0:  # what is free
                break
            found[index] = heap[place + 16 : place + 16 + size]
            if len(found[index]) != size:
                raise self.damaged(f"a string of {size} bytes at {address + place}")
            place += 16 + (size + 7) // 8 * 8
        return found
