"""Downloads that go on where they were cut off."""

from __future__ import annotations

import errno
import fcntl
import importlib
import os
import re
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO

from ..errors import FormatError

__all__ = ["DownloadError", "download", "require_pooch"]

_TIMEOUT_S = 30.0
_ATTEMPTS = 4  # without a byte of progress
_FIRST_WAIT_S = 0.5  # twice as long before each further one
_CHUNK = 1 << 13  # less than one is lost where a connection ends


class DownloadError(OSError):
    """The server cannot be reached, refuses, or drops the connection again and again."""


def require_pooch() -> Any:
    """The module pooch, which brings the HTTP library; ImportError where it is missing."""
    return importlib.import_module("pooch")


def download(url: str, target: Path, check: Callable[[Path], None]) -> None:
    """Fetch a file (RFC 9110, section 14: range requests).

    What has arrived lies in `target` with `.part` behind it; a later call asks for the rest. It
    gets its name when it is whole and checked. Of several processes one downloads.

    Args:
        check: raises FormatError where the file is not what it should be. A file that came in
            several parts is then fetched anew once; one that came in one is deleted.

    Raises:
        FormatError: `check`'s.
        DownloadError: see there. OSError: the disk is full or cannot be written.
        ImportError: pooch is not installed.
    """
    require_pooch()
    target.parent.mkdir(parents=True, exist_ok=True)
    part = target.with_name(f"{target.name}.part")
    while True:
        with open(part, "ab") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            if not _is_at(file, part):  # another process was faster
                if target.exists():
                    return
                continue
            try:
                pieces = _fetch(url, file)
            except BaseException:
                if not file.tell():
                    part.unlink()
                raise
            try:
                check(part)
            except FormatError:
                if pieces > 1:
                    _empty(file)
                    continue
                part.unlink()
                raise
            os.fsync(file.fileno())
            os.replace(part, target)
            return


def _is_at(file: BinaryIO, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(file.fileno()), os.stat(path))
    except FileNotFoundError:
        return False


def _fetch(url: str, file: BinaryIO) -> int:
    """Bring the file to its whole length; in how many parts it has come."""
    pieces = int(file.seek(0, os.SEEK_END) > 0)
    failures = 0
    while True:
        before = file.tell()
        try:
            done = _request(url, file)
        except _Interrupted as error:
            file.flush()
            moved = file.tell() > before
            pieces += moved
            failures = 1 if moved else failures + 1
            if failures >= _ATTEMPTS:
                raise DownloadError(str(error)) from error
            time.sleep(_FIRST_WAIT_S * 2 ** (failures - 1))
            continue
        file.flush()
        pieces += file.tell() > before
        if done:
            return pieces


def _empty(file: BinaryIO) -> None:
    file.truncate(0)
    file.seek(0)


class _Interrupted(Exception):
    """Something that may go better the next time."""


def _request(url: str, file: BinaryIO) -> bool:
    """Ask for what is missing and append it; False where the server wants to be asked again."""
    requests = importlib.import_module("requests")  # pooch's own
    start = file.tell()
    # Compressed on the way, the bytes would not be the file's.
    headers = {"Accept-Encoding": "identity"} | ({"Range": f"bytes={start}-"} if start else {})
    try:
        with requests.get(url, headers=headers, stream=True, timeout=_TIMEOUT_S) as reply:
            if reply.status_code == 416:  # nothing lies behind what has arrived
                if reply.headers.get("Content-Range", "").strip() == f"bytes */{start}":
                    return True
                _empty(file)
                return False
            if reply.status_code >= 500 or reply.status_code in (408, 429):
                raise _Interrupted(f"{reply.status_code} {reply.reason}")
            if reply.status_code not in (200, 206):
                raise DownloadError(f"{reply.status_code} {reply.reason}")
            if reply.status_code == 200:  # the whole file, asked for or not
                _empty(file)
                start = 0
            elif not re.match(rf"bytes {start}-", reply.headers.get("Content-Range", "")):
                _empty(file)
                return False
            length = reply.headers.get("Content-Length")
            _receive(reply, file, None if length is None else start + int(length))
    except requests.RequestException as error:
        if isinstance(error, (requests.ConnectionError, requests.Timeout)) or file.tell() > start:
            raise _Interrupted(str(error)) from error
        if isinstance(error, requests.exceptions.ChunkedEncodingError):
            raise _Interrupted(str(error)) from error
        raise DownloadError(str(error)) from error
    return True


def _receive(reply: Any, file: BinaryIO, whole: int | None) -> None:
    if whole is not None:
        free = shutil.disk_usage(os.path.dirname(os.path.abspath(file.name))).free
        if whole - file.tell() > free:
            needed = whole - file.tell()
            raise OSError(errno.ENOSPC, f"{needed:,} bytes are missing, {free:,} are free")
    for chunk in reply.iter_content(_CHUNK):
        file.write(chunk)
    if whole is not None and file.tell() != whole:
        raise _Interrupted(f"the connection ended at {file.tell()} of {whole} bytes")
