"""Zip archives from anywhere: their records are checked before one is read, and none is extracted."""

from __future__ import annotations

import os
import zipfile
import zlib
from types import TracebackType

import numpy as np

from .._arrays import NDArray
from ..errors import FormatError

__all__ = ["Archive"]

# A record may be this much longer than what the archive stores of it, and a small one more.
_MOST_EXPANSION = 10
_SMALL = 1 << 20
_CHUNK = 1 << 22
_DAMAGE = (
    zipfile.BadZipFile,
    zlib.error,
    EOFError,
    NotImplementedError,  # compression or a version that Python does not know
    RuntimeError,  # an encrypted record
    UnicodeDecodeError,
    ValueError,
    OSError,
)


class Archive:
    """A zip archive open for reading; use it in a `with` statement.

    Raises:
        FormatError: the archive is damaged or truncated, two of its records have one name or share
            bytes, a name leads out of the archive, or a record claims to be much longer than what is
            stored of it.
        OSError: the file is missing or cannot be read.
    """

    def __init__(self, op: str, path: str) -> None:
        self.op, self.path = op, path
        self._file = open(path, "rb")  # noqa: SIM115
        try:
            self._size = os.fstat(self._file.fileno()).st_size
            try:
                self._zip = zipfile.ZipFile(self._file)
            except _DAMAGE as error:
                raise self.refused(f"a damaged or truncated zip archive: {error}") from error
            self._records = self._checked()
        except BaseException:
            self._file.close()
            raise

    def __enter__(self) -> Archive:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._zip.close()
        self._file.close()

    def refused(self, reason: str) -> FormatError:
        """The error to raise, with the function and the file in front of `reason`."""
        return FormatError(f"{self.op}: {self.path}: {reason}")

    @property
    def names(self) -> list[str]:
        """The names of all records."""
        return list(self._records)

    def size(self, name: str) -> int:
        """Bytes of a record.

        Raises:
            FormatError: there is no such record.
        """
        if name not in self._records:
            raise self.refused(f"no record {name!r} in the archive")
        return self._records[name].file_size

    def read(self, name: str) -> NDArray:
        """A record as a new uint8 array, its checksum verified."""
        content: NDArray = np.empty(self.size(name), np.uint8)
        filled = 0
        try:
            with self._zip.open(self._records[name]) as record:
                while piece := record.read(_CHUNK):  # the last, empty one compares the checksum
                    if filled + len(piece) > content.size:
                        raise ValueError("longer than it says")
                    content[filled : filled + len(piece)] = np.frombuffer(piece, np.uint8)
                    filled += len(piece)
            if filled < content.size:
                raise EOFError(f"{filled} of {content.size} bytes")
        except _DAMAGE as error:
            raise self.refused(f"the record {name!r} is damaged: {error}") from error
        return content

    def _checked(self) -> dict[str, zipfile.ZipInfo]:
        records: dict[str, zipfile.ZipInfo] = {}
        end = 0
        for record in sorted(self._zip.infolist(), key=lambda info: info.header_offset):
            name = record.filename
            if name in records:
                raise self.refused(f"two records are called {name!r}")
            if name.startswith("/") or "\\" in name or ".." in name.split("/"):
                raise self.refused(f"the record {name!r} leads out of the archive")
            if record.header_offset < end:
                raise self.refused(f"the record {name!r} lies over the one before it")
            end = record.header_offset + record.compress_size
            if end > self._size:
                raise self.refused(f"the record {name!r} ends behind the file; truncated")
            if record.file_size > max(_MOST_EXPANSION * record.compress_size, _SMALL) or (
                record.compress_type == zipfile.ZIP_STORED
                and record.file_size != record.compress_size
            ):
                raise self.refused(
                    f"the record {name!r} claims {record.file_size} bytes, "
                    f"of which {record.compress_size} are stored"
                )
            records[name] = record
        return records
