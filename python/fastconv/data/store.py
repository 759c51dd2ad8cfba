"""Decoded images on disk, mapped into memory: data sets larger than it, decoded once."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from .image import printable

__all__ = ["store_key", "stored"]

Sink = Callable[[int, npt.NDArray[np.uint8]], None]


def store_key(paths: Sequence[str], options: str) -> str:
    """What tells decoded images from others: names, sizes and times of the files, and options."""
    digest = hashlib.sha256(f"1 {options} {len(paths)}".encode())
    for path in paths:
        try:
            status = os.stat(path)
            facts = f"{status.st_size} {status.st_mtime_ns}"
        except OSError:
            facts = "missing"
        name = os.fsencode(os.path.abspath(path))
        digest.update(b"%d %s %s\n" % (len(name), name, facts.encode()))
    return digest.hexdigest()[:24]


def stored(
    who: str,
    folder: Path,
    key: str,
    shape: tuple[int, ...],
    fill: Callable[[Sink], dict[int, str]],
) -> tuple[npt.NDArray[np.uint8], dict[int, str]]:
    """The images of `key` and what could not be decoded: from the folder, or made there.

    The disk's space is taken before anything is decoded. The file gets its name when it is whole.

    Args:
        shape: (N, C, H, W).
        fill: decodes everything into the function that it is given; returns what failed and why.

    Raises:
        OSError: the disk is full, or the folder cannot be written.
        FormatError: `fill`'s.
    """
    images, failures = folder / f"images-{key}.npy", folder / f"images-{key}.json"
    known = _known(images, failures, shape)
    if known is not None:
        return known
    folder.mkdir(parents=True, exist_ok=True)
    needed = int(np.prod(shape, dtype=np.int64)) + 4096
    free = shutil.disk_usage(folder).free
    if needed > free:
        raise OSError(
            errno.ENOSPC,
            f"{who}: {shape[0]} decoded images need {needed:,} bytes, {free:,} are free",
            printable(folder),
        )
    number, scratch = tempfile.mkstemp(prefix=".images-", suffix=".part", dir=folder)
    os.close(number)
    try:
        array = np.lib.format.open_memmap(scratch, "w+", np.uint8, shape)
        with open(scratch, "r+b") as file:  # or a page that finds no room ends the process
            os.posix_fallocate(file.fileno(), 0, os.fstat(file.fileno()).st_size)
        failed = fill(array.__setitem__)
        array.flush()
        del array
        with open(scratch, "r+b") as file:
            os.fsync(file.fileno())
        text = json.dumps({str(place): reason for place, reason in failed.items()})
        partial = Path(f"{scratch}.json")
        partial.write_text(text, encoding="utf-8")
        os.replace(partial, failures)
        os.replace(scratch, images)
    except BaseException:
        for left in (scratch, f"{scratch}.json"):
            Path(left).unlink(missing_ok=True)
        raise
    return np.load(images, mmap_mode="r"), failed


def _known(
    images: Path, failures: Path, shape: tuple[int, ...]
) -> tuple[npt.NDArray[np.uint8], dict[int, str]] | None:
    try:
        array: Any = np.load(images, mmap_mode="r", allow_pickle=False)
        listed = json.loads(failures.read_text(encoding="utf-8"))
        failed = {int(place): str(reason) for place, reason in listed.items()}
    except (OSError, ValueError, AttributeError):
        return None  # none yet, or damaged: made anew
    return (array, failed) if array.shape == shape and array.dtype == np.uint8 else None
