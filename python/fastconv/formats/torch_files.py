"""PyTorch's checkpoints, without PyTorch and without running what is pickled in them.

Two formats: since version 1.6 a zip archive with `data.pkl` and one record a storage, before that
pickles one after the other with the storages behind them. Source: PyTorch's `torch/serialization.py`,
the functions `_save` and `_legacy_save`.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable
from typing import Any, BinaryIO, Literal

import numpy as np

from .._arrays import NDArray
from ..errors import FormatError
from .archives import Archive
from .bfloat16 import widen
from .pickles import PickleError, PickleMachine
from .torch_names import BFLOAT16, NumpyArray, Storage, StoredTensor, builders, storage_type

__all__ = ["is_torch_archive", "read_torch_archive", "read_torch_legacy"]

Refused = Callable[[str], FormatError]

_MAGIC = 0x1950A86A20F9469CFC6C
_LEGACY_VERSION = 1001
# Pickles lie in front of the storages in the old format, and hold names and shapes only.
_MAX_PICKLES = 1 << 26
# A tensor whose strides repeat elements may claim more of them than are stored, up to here.
_MOST_REPEATED = 1 << 20


def is_torch_archive(names: list[str]) -> bool:
    """Whether a zip archive with these records is a checkpoint of PyTorch."""
    return any(name.count("/") == 1 and name.endswith("/data.pkl") for name in names)


def read_torch_archive(archive: Archive, key: str | None, unwrap: bool) -> dict[str, NDArray]:
    """The arrays of a checkpoint in the zip format; see `fastconv.load`."""
    pickles = [n for n in archive.names if n.count("/") == 1 and n.endswith("/data.pkl")]
    if len(pickles) != 1:
        raise archive.refused(f"{len(pickles)} records data.pkl, expected one")
    root = pickles[0].removesuffix("data.pkl")
    if f"{root}constants.pkl" in archive.names:
        raise archive.refused(
            "a TorchScript archive, which holds code; expected torch.save(net.state_dict(), path)"
        )
    order: Literal["little", "big"] = "little"
    if f"{root}byteorder" in archive.names:
        text = archive.read(f"{root}byteorder").tobytes()
        if text not in (b"little", b"big"):
            raise archive.refused(f"the byte order is {text[:20]!r}, expected 'little' or 'big'")
        order = "little" if text == b"little" else "big"
    content = archive.read(pickles[0]).tobytes()
    machine = PickleMachine(content, builders(len(content)), _storage)
    value = _run(machine, archive.refused)

    def fetch(storage: Storage) -> NDArray:
        record = f"{root}data/{storage.key}"
        size = archive.size(record)
        if size != storage.nbytes:
            raise archive.refused(
                f"the record {record!r} has {size} bytes, expected {storage.nbytes} for "
                f"{storage.size} elements of {storage.element}"
            )
        return archive.read(record)

    return _arrays(
        _unwrapped(value) if unwrap else value, key, _Reader(fetch, order, archive.refused)
    )


def read_torch_legacy(op: str, path: str, key: str | None, unwrap: bool) -> dict[str, NDArray]:
    """The arrays of a checkpoint in the format before PyTorch 1.6; see `fastconv.load`."""

    def refused(reason: str) -> FormatError:
        return FormatError(f"{op}: {path}: {reason}")

    with open(path, "rb") as file:
        size = os.fstat(file.fileno()).st_size
        data = file.read(min(size, _MAX_PICKLES))
        names = builders(len(data))
        seen: dict[str, Storage] = {}

        def storage(description: Any) -> Storage:
            found = _storage(description)
            if seen.setdefault(found.key, found)[:3] != found[:3]:
                raise PickleError("a storage of two types or sizes")
            return found

        position, parts = 0, []
        for _ in ("magic number", "version", "system", "contents", "storages"):
            machine = PickleMachine(data, names, storage, position)
            parts.append(_run(machine, refused))
            position = machine.position
        magic, version, system, value, keys = parts
        if magic != _MAGIC or version != _LEGACY_VERSION or not isinstance(system, dict):
            raise refused("not a checkpoint of PyTorch, or older than version 0.3")
        order: Literal["little", "big"] = "little" if system.get("little_endian", True) else "big"
        places = _legacy_places(file, position, size, keys, seen, order, refused)

        def fetch(storage: Storage) -> NDArray:
            if storage.key not in places:
                raise refused(f"no storage {storage.key!r} in the file; damaged")
            file.seek(places[storage.key])
            return np.fromfile(file, np.uint8, storage.nbytes)

        return _arrays(_unwrapped(value) if unwrap else value, key, _Reader(fetch, order, refused))


def _legacy_places(
    file: BinaryIO,
    position: int,
    size: int,
    keys: Any,
    seen: dict[str, Storage],
    order: Literal["little", "big"],
    refused: Refused,
) -> dict[str, int]:
    """Where the storages of the old format begin: each is its number of elements, then the elements."""
    if not isinstance(keys, list):
        raise refused("no list of storages; damaged")
    places: dict[str, int] = {}
    for key in keys:
        if not isinstance(key, str) or key not in seen or key in places:
            raise refused("a damaged list of storages")
        file.seek(position)
        count = int.from_bytes(file.read(8), order, signed=True)
        if count != seen[key].size:
            raise refused(
                f"the storage {key!r} has {count} elements, expected {seen[key].size}; "
                "damaged or truncated"
            )
        places[key] = position + 8
        position += 8 + seen[key].nbytes
        if position > size:
            raise refused(f"the storage {key!r} ends behind the file; truncated")
    return places


def _run(machine: PickleMachine, refused: Refused) -> Any:
    try:
        return machine.run()
    except PickleError as error:
        raise refused(
            f"{error}; expected weights, as of torch.save(net.state_dict(), path)"
        ) from error


def _storage(description: Any) -> Storage:
    """The storage of a persistent id: ("storage", type, key, device, elements[, stretch])."""
    word, kind, key, _, count, *rest = description
    view = rest[0] if rest else None
    start, length = (0, count) if view is None else view[1:]
    numbers = (count, start, length)
    if word != "storage" or not isinstance(key, str) or any(type(n) is not int for n in numbers):
        raise PickleError("a damaged storage")
    if not (0 <= count < 2**60 and start >= 0 and length >= 0 and start + length <= count):
        raise PickleError(
            f"a storage of {count} elements and a stretch of it from {start}, {length} long"
        )
    return Storage(key, storage_type(kind), count, start, length)


class _Reader:
    """Makes arrays of stored tensors. Tensors of one storage become views of one array."""

    def __init__(
        self,
        fetch: Callable[[Storage], NDArray],
        order: Literal["little", "big"],
        refused: Refused,
    ) -> None:
        self.refused = refused
        self._fetch = fetch
        self._order: Literal["<", ">"] = "<" if order == "little" else ">"
        self._bytes: dict[str, NDArray] = {}
        self._elements: dict[tuple[str, str], NDArray] = {}

    def array(self, name: str, tensor: StoredTensor) -> NDArray:
        """The array of one tensor, checked against its storage before the storage is read."""
        count, size = math.prod(tensor.shape), tensor.dtype.itemsize
        begin, end = tensor.stretch
        first = begin + tensor.offset
        last = first + sum(
            (n - 1) * step for n, step in zip(tensor.shape, tensor.strides, strict=True)
        )
        if (count and last >= end) or count > max(end - begin, _MOST_REPEATED):
            raise self.refused(
                f"{name!r} has shape {tensor.shape}, strides {tensor.strides} and offset "
                f"{tensor.offset}, which do not fit its storage of {end - begin} elements"
            )
        try:
            if not count:
                return np.empty(
                    tensor.shape, np.float32 if tensor.element == BFLOAT16 else tensor.dtype
                )
            elements = self._typed(tensor)
            size = elements.itemsize
            view: NDArray = np.ndarray(
                tensor.shape,
                elements.dtype,
                elements.data,
                first * size,
                [
                    step * size if n > 1 else size
                    for n, step in zip(tensor.shape, tensor.strides, strict=True)
                ],
            )
            return view
        except FormatError:
            raise
        except ValueError as error:  # more dimensions than NumPy has, say
            raise self.refused(f"{name!r} of shape {tensor.shape}: {error}") from error

    def _typed(self, tensor: StoredTensor) -> NDArray:
        """The storage of `tensor` as an array of the tensor's type."""
        key = tensor.storage.key, tensor.element
        content = self._bytes.get(tensor.storage.key)
        if content is None:
            content = self._bytes[tensor.storage.key] = self._fetch(tensor.storage)
        if content.size != tensor.storage.nbytes:
            raise self.refused(f"the storage {tensor.storage.key!r} has two sizes; damaged")
        if key not in self._elements:
            words = content[: content.size // tensor.dtype.itemsize * tensor.dtype.itemsize]
            elements = words.view(tensor.dtype.newbyteorder(self._order))
            elements = elements.astype(tensor.dtype, copy=False)
            if tensor.element == BFLOAT16:
                elements = widen(elements)
            elif tensor.element == "bool":
                elements = elements.view(np.uint8) != 0
            self._elements[key] = elements
        return self._elements[key]


def _arrays(value: Any, key: str | None, reader: _Reader) -> dict[str, NDArray]:
    """The dictionary of arrays at `key` of what a checkpoint holds."""
    part: str | int
    for part in key.split(".") if key else []:
        if not isinstance(value, dict):
            raise reader.refused(f"nothing at the key {key!r}; {_contents(value)}")
        if part not in value and part.isdecimal() and len(part) < 10:
            part = int(part)  # the parameters in an optimiser's state
        if part not in value:
            raise reader.refused(f"nothing at the key {key!r}; {_contents(value)}")
        value = value[part]
    if not isinstance(value, dict):
        raise reader.refused(f"{_contents(value)}, expected a dictionary of arrays")
    arrays: dict[str, NDArray] = {}
    for name, item in value.items():
        if not isinstance(name, str) or not isinstance(
            item, (StoredTensor, NumpyArray, np.ndarray, bool, int, float)
        ):
            raise reader.refused(
                f"{_contents(value)}, expected names and arrays, but {str(name)[:80]!r} is a "
                f"{type(item).__name__}{_suggestion(value)}"
            )
        if isinstance(item, StoredTensor):
            arrays[name] = reader.array(name, item)
        elif isinstance(item, NumpyArray):
            arrays[name] = item.finished()
        elif type(item) is int and not -(2**63) <= item < 2**63:
            raise reader.refused(f"{name!r} is an integer of more than 64 bits")
        else:
            arrays[name] = np.array(item)
    return arrays


def _contents(value: Any) -> str:
    if not isinstance(value, dict):
        return f"holds a {type(value).__name__}"
    names = ", ".join(repr(name)[:40] for name in list(value)[:8])
    return f"holds a dictionary of {names}{' ...' if len(value) > 8 else ''}"


def _suggestion(value: dict[Any, Any]) -> str:
    """Which keys lead to dictionaries of tensors."""
    inner = _inner(value)
    return f"; choose one with key={' or '.join(repr(n)[:40] for n in inner[:4])}" if inner else ""


def _inner(value: dict[Any, Any]) -> list[str]:
    """The keys of the dictionaries of tensors in a dictionary."""
    return [
        name
        for name, item in value.items()
        if isinstance(name, str)
        and isinstance(item, dict)
        and any(isinstance(tensor, StoredTensor) for tensor in item.values())
    ]


def _unwrapped(value: Any) -> Any:
    """The only dictionary of tensors in one that has no tensors itself, or what was given."""
    if not isinstance(value, dict) or any(isinstance(v, StoredTensor) for v in value.values()):
        return value
    inner = _inner(value)
    return value[inner[0]] if len(inner) == 1 else value
