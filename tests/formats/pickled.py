"""Checkpoints of PyTorch put together by hand, so that they can be made without it, and wrong."""

from __future__ import annotations

import io
import struct
import zipfile
from pathlib import Path
from typing import Any

import numpy as np

STOP = b"."
LEGACY_MAGIC = 0x1950A86A20F9469CFC6C


class Code(bytes):
    """Bytes of a pickle that leave one value on its stack."""


def code(value: Any) -> bytes:
    """The pickle of a plain value, or of containers with `Code` in them, without its end."""
    if isinstance(value, Code):
        return value
    if value is None or value is True or value is False:
        return {None: b"N", True: b"\x88", False: b"\x89"}[value]
    if isinstance(value, int):
        raw = value.to_bytes(value.bit_length() // 8 + 1, "little", signed=True)
        return b"\x8a" + bytes([len(raw)]) + raw
    if isinstance(value, float):
        return b"G" + struct.pack(">d", value)
    if isinstance(value, str):
        raw = value.encode()
        return b"X" + struct.pack("<I", len(raw)) + raw
    if isinstance(value, bytes):
        return b"B" + struct.pack("<I", len(value)) + value
    if isinstance(value, tuple):
        return b"(" + b"".join(map(code, value)) + b"t"
    if isinstance(value, list):
        return b"](" + b"".join(map(code, value)) + b"e"
    assert isinstance(value, dict)
    return b"}(" + b"".join(code(k) + code(v) for k, v in value.items()) + b"u"


def name(module: str, attribute: str) -> Code:
    return Code(f"c{module}\n{attribute}\n".encode())


def call(module: str, attribute: str, *arguments: Any) -> Code:
    return Code(name(module, attribute) + code(tuple(arguments)) + b"R")


def storage(kind: str, key: Any, count: Any, *view: Any, module: str = "torch") -> Code:
    identity = ("storage", name(module, f"{kind}Storage"), key, "cpu", count, *view)
    return Code(code(identity) + b"Q")


def tensor(
    shape: tuple[int, ...],
    strides: tuple[int, ...],
    offset: Any = 0,
    stored: Code | None = None,
    function: str = "_rebuild_tensor_v2",
) -> Code:
    """A tensor of the storage "0" of 6 float32 numbers, or of `stored`."""
    stored = storage("Float", "0", 6) if stored is None else stored
    hooks = call("collections", "OrderedDict")
    return call("torch._utils", function, stored, offset, shape, strides, False, hooks)


def pickled(value: Any) -> bytes:
    return b"\x80\x02" + code(value) + STOP


SIX = np.arange(6, dtype="<f4")


def archive(
    value: Any,
    records: dict[str, bytes] | None = None,
    byteorder: bytes | None = b"little",
    root: str = "archive",
    compression: int = zipfile.ZIP_STORED,
) -> bytes:
    """A checkpoint in the zip format; `value` is what is pickled, or the pickle."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", compression) as file:
        file.writestr(f"{root}/data.pkl", value if type(value) is bytes else pickled(value))
        if byteorder is not None:
            file.writestr(f"{root}/byteorder", byteorder)
        for key, content in ({"0": SIX.tobytes()} if records is None else records).items():
            file.writestr(f"{root}/data/{key}", content)
        file.writestr(f"{root}/version", b"3\n")
    return out.getvalue()


def legacy(
    value: Any,
    storages: dict[str, Any] | None = None,
    little_endian: bool = True,
    version: int = 1001,
    keys: Any = None,
) -> bytes:
    """A checkpoint in the format before the zip one."""
    storages = {"0": SIX} if storages is None else storages
    system = {"protocol_version": 1001, "little_endian": little_endian, "type_sizes": {"int": 4}}
    head = [LEGACY_MAGIC, version, system, value, list(storages) if keys is None else keys]
    order = "<" if little_endian else ">"
    tail = (
        struct.pack(f"{order}q", array.size)
        + array.astype(array.dtype.newbyteorder(order)).tobytes()
        for array in storages.values()
    )
    return b"".join(map(pickled, head)) + b"".join(tail)


def write(folder: Path, content: bytes) -> Path:
    path = folder / "weights.pth"
    path.write_bytes(content)
    return path
