"""Reader for IDX files, the format of MNIST and Fashion-MNIST, plain or gzip-compressed.

Source: "The IDX file format" at the end of Y. LeCun, C. Cortes, C. Burges, *The MNIST database of
handwritten digits*. Two zero bytes, a type code, the number of dimensions, one big-endian 32-bit
size per dimension, then the elements, big-endian, last dimension fastest.
"""

from __future__ import annotations

import math
import os
import struct
import zlib
from typing import Any, BinaryIO, Protocol

import numpy as np
import numpy.typing as npt

from ..errors import FormatError

__all__ = ["PathLike", "load_idx", "read_idx"]

PathLike = str | os.PathLike[str]

_DTYPES = {0x08: "u1", 0x09: "i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}
_GZIP_MAGIC = b"\x1f\x8b"
_MAX_DIMS = 32  # NumPy's own limit before 2.0
_MAX_BYTES = 2**63 - 1
_CHUNK = 1 << 20
# No deflate stream expands more than 1032 times (zlib, "Technical Details").
_MAX_DEFLATE_RATIO = 1032


class _Source(Protocol):
    def read(self, size: int) -> bytes: ...


class _GzipSource:
    """Sequential gzip reader that never inflates more than `read` asks for.

    Several gzip members in a row read as one stream (RFC 1952, section 2.2). zlib checks the
    CRC-32 and the length of each member when its last byte has been read.
    """

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._inflate = zlib.decompressobj(wbits=31)
        self._pending = b""

    def read(self, size: int) -> bytes:
        """Up to `size` (> 0) bytes; empty only at the end of the last member."""
        while True:
            if self._inflate.eof:
                self._pending = self._inflate.unused_data or self._file.read(1 << 16)
                if not self._pending:
                    return b""
                self._inflate = zlib.decompressobj(wbits=31)
            elif not self._pending:
                self._pending = self._file.read(1 << 16)
                if not self._pending:
                    raise EOFError("the gzip stream ends before its end mark")
            data = self._inflate.decompress(self._pending, size)
            self._pending = self._inflate.unconsumed_tail
            if data:
                return data


def load_idx(path: PathLike) -> npt.NDArray[Any]:
    """Read an IDX file into an array.

    Args:
        path: the file, plain or gzip-compressed (told by its first bytes, not by its name).

    Returns:
        A new C-contiguous array in native byte order with the file's shape (1 to 32 dimensions)
        and type: uint8, int8, int16, int32, float32 or float64.

    Raises:
        FormatError: the header is not IDX, or the data is shorter or longer than the header says,
            or the compressed stream is damaged. Nothing beyond the declared size plus one byte is
            inflated, and a size that the file cannot hold is refused before memory is allocated.
        OSError: the file is missing or cannot be read.
    """
    return read_idx(path)


def read_idx(path: PathLike, sha256: str | None = None) -> npt.NDArray[Any]:
    """`load_idx`, which with `sha256` also checks the digest of the uncompressed file."""
    name = os.fspath(path)
    with open(name, "rb") as file:
        file_bytes = os.fstat(file.fileno()).st_size
        packed = file.read(2) == _GZIP_MAGIC
        file.seek(0)
        source: _Source = _GzipSource(file) if packed else file
        try:
            header, shape, code = _read_header(name, source)
            dtype = np.dtype(_DTYPES[code])
            nbytes = math.prod(shape) * dtype.itemsize
            limit = file_bytes * _MAX_DEFLATE_RATIO if packed else file_bytes - len(header)
            if nbytes > limit:
                raise FormatError(
                    f"load_idx: {name}: the header declares shape {shape}, {nbytes} bytes of data, "
                    f"but the file of {file_bytes} bytes holds at most {limit} (truncated?)"
                )
            array = np.empty(shape, dtype)
            _read_data(name, source, array)
        except (EOFError, zlib.error) as error:
            raise FormatError(f"load_idx: {name}: damaged gzip data: {error}") from error
    if sha256 is not None:
        import hashlib

        digest = hashlib.sha256(header)
        digest.update(array.reshape(-1).view(np.uint8).data)
        if digest.hexdigest() != sha256:
            raise FormatError(
                f"load_idx: {name}: SHA-256 of the uncompressed contents is {digest.hexdigest()}, "
                f"expected {sha256}"
            )
    if not dtype.isnative:
        array = array.byteswap(inplace=True).view(dtype.newbyteorder("="))
    return array


def _read_header(name: str, source: _Source) -> tuple[bytes, tuple[int, ...], int]:
    magic = _read_exactly(source, 4)
    if len(magic) < 4:
        raise FormatError(f"load_idx: {name}: {len(magic)} bytes, expected a header of 4 or more")
    zeros, code, ndim = struct.unpack(">HBB", magic)
    if zeros != 0 or code not in _DTYPES:
        known = ", ".join(f"{c:02x}" for c in _DTYPES)
        raise FormatError(
            f"load_idx: {name}: not an IDX file: starts with {magic.hex(' ')}, "
            f"expected 00 00, a type code ({known}) and the number of dimensions"
        )
    if not 1 <= ndim <= _MAX_DIMS:
        raise FormatError(f"load_idx: {name}: {ndim} dimensions, expected 1 to {_MAX_DIMS}")
    sizes = _read_exactly(source, 4 * ndim)
    if len(sizes) < 4 * ndim:
        raise FormatError(
            f"load_idx: {name}: truncated header: {4 + len(sizes)} bytes, "
            f"expected {4 + 4 * ndim} for {ndim} dimensions"
        )
    shape = struct.unpack(f">{ndim}I", sizes)
    # Zero sizes are left out: NumPy refuses (0, 2^32 - 1, 2^32 - 1, ...) although it is empty.
    if math.prod(d for d in shape if d) > _MAX_BYTES // np.dtype(_DTYPES[code]).itemsize:
        raise FormatError(f"load_idx: {name}: shape {shape} is more than {_MAX_BYTES} bytes")
    return magic + sizes, shape, code


def _read_data(name: str, source: _Source, array: npt.NDArray[Any]) -> None:
    out = array.reshape(-1).view(np.uint8).data
    filled = 0
    while filled < len(out):
        data = source.read(min(_CHUNK, len(out) - filled))
        if not data:
            raise FormatError(
                f"load_idx: {name}: truncated: {filled} bytes of data, expected {len(out)} "
                f"for shape {array.shape}"
            )
        out[filled : filled + len(data)] = data
        filled += len(data)
    if source.read(1):
        raise FormatError(
            f"load_idx: {name}: trailing bytes after the {len(out)} bytes of data "
            f"that shape {array.shape} declares"
        )


def _read_exactly(source: _Source, size: int) -> bytes:
    data = b""
    while len(data) < size:
        more = source.read(size - len(data))
        if not more:
            break
        data += more
    return data
