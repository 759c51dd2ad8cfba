"""Reader for CIFAR-10 and CIFAR-100 in their binary versions.

Source: A. Krizhevsky, *Learning Multiple Layers of Features from Tiny Images* (2009), and the
description of the binary versions at https://www.cs.toronto.edu/~kriz/cifar.html. A record is the
label, in CIFAR-100 the coarse and the fine one, one byte each, then 3 x 32 x 32 bytes: red, green
and blue, row by row.
"""

from __future__ import annotations

import os
import tarfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np
import numpy.typing as npt

from ..errors import FormatError, ShapeError
from .catalogue import CIFAR100_COARSE, dataset_info
from .dataset import ArrayDataset
from .idx import PathLike
from .image import printable

__all__ = ["load_cifar"]

_PIXELS = 3 * 32 * 32
# A file of the published archives has 50,000 records at most.
_MOST_RECORDS = 1_000_000
_MOST_MEMBERS = 1000
_MOST_REST = 1 << 20  # bytes behind the last file


@dataclass(frozen=True)
class _Version:
    name: str
    labels: int  # bytes of a record before its pixels
    files: dict[str, tuple[str, ...]]
    pickled: tuple[str, ...]  # what tells the version with pickles


_VERSIONS = (
    _Version(
        "cifar10",
        1,
        {
            "train": tuple(f"data_batch_{i}.bin" for i in range(1, 6)),
            "test": ("test_batch.bin",),
        },
        ("data_batch_1", "test_batch"),
    ),
    _Version("cifar100", 2, {"train": ("train.bin",), "test": ("test.bin",)}, ("train", "test")),
)


def load_cifar(
    source: PathLike, split: str = "train", *, fine: bool = True, name: str | None = None
) -> ArrayDataset:
    """Read CIFAR-10 or CIFAR-100, binary version. The versions for Python are pickles, which
    could run code, and are not read.

    Args:
        source: the .tar.gz as published, the folder that it unpacks to, or one that has it inside.
        split: "train" (50,000 images in the published sets) or "test" (10,000).
        fine: of CIFAR-100, the 100 classes; otherwise the 20 coarse ones.
        name: "cifar10" or "cifar100", where a folder has both; by default what is found.

    Returns:
        Images (N, 3, 32, 32) uint8, int64 labels, class names, mean and std of the training images.

    Raises:
        FormatError: a file is damaged, or has labels that are out of range, or `source` has the
            version for Python only.
        FileNotFoundError: the files are missing; it says which.
        ShapeError: `split` or `name` is another one, or a folder has both sets.
    """
    if split not in ("train", "test"):
        raise ShapeError(f"load_cifar: split is {split!r}, expected 'train' or 'test'")
    if name not in (None, "cifar10", "cifar100"):
        raise ShapeError(f"load_cifar: name is {name!r}, expected 'cifar10' or 'cifar100'")
    versions = [version for version in _VERSIONS if name in (None, version.name)]
    path = Path(source)
    found = (_from_folder if path.is_dir() else _from_archive)(path, split, versions)
    version, records = found
    which = 1 if version.labels == 2 and fine else 0
    info = dataset_info(version.name)
    classes = info.classes if version.labels == 1 or fine else CIFAR100_COARSE
    labels = records[:, which].astype(np.int64)
    outside = np.flatnonzero(labels >= len(classes))
    if len(outside):
        first = int(outside[0])
        raise FormatError(
            f"load_cifar: {printable(path)}: image {first} of {split} has label {labels[first]}, "
            f"expected 0 to {len(classes) - 1}"
        )
    images = records[:, version.labels :].reshape(-1, 3, 32, 32)
    return ArrayDataset(images, labels, classes, mean=info.mean, std=info.std, name=version.name)


_Found = tuple[_Version, npt.NDArray[np.uint8]]


def _from_folder(folder: Path, split: str, versions: list[_Version]) -> _Found:
    here = [folder, *sorted(entry for entry in folder.iterdir() if entry.is_dir())]
    matches = [
        (version, [place / file for file in version.files[split]])
        for place in here
        for version in versions
        if (place / version.files[split][0]).is_file()
    ]
    if len({version.name for version, _ in matches}) > 1:
        raise ShapeError(f"load_cifar: {printable(folder)} has both sets, expected a `name`")
    if not matches:
        raise _not_there(
            folder, split, versions, {p.name for place in here for p in place.iterdir()}
        )
    version, paths = matches[0]
    missing = [path.name for path in paths if not path.is_file()]
    if missing:
        raise FileNotFoundError(
            f"load_cifar: {printable(paths[0].parent)} has no {', '.join(missing)}"
        )
    sizes = [_records(path, path.stat().st_size, version) for path in paths]
    out = np.empty((sum(sizes), version.labels + _PIXELS), np.uint8)
    first = 0
    for path, count in zip(paths, sizes, strict=True):
        with open(path, "rb") as file:
            _read_into(file, out[first : first + count], path)
        first += count
    return version, out


def _from_archive(path: Path, split: str, versions: list[_Version]) -> _Found:
    parts: dict[str, npt.NDArray[np.uint8]] = {}
    seen: set[str] = set()
    found: _Version | None = None
    with _damage_named(path), tarfile.open(path, "r:gz") as archive:
        for member in archive:
            base = os.path.basename(member.name)
            if len(seen) > _MOST_MEMBERS or member.size > _MOST_RECORDS * (_PIXELS + 2):
                raise FormatError(
                    f"load_cifar: {printable(path)}: {member.name} is no part of CIFAR"
                )
            seen.add(base)
            for version in versions:
                if member.isfile() and base in version.files[split] and base not in parts:
                    found = version
                    count = _records(path / base, member.size, version)
                    parts[base] = np.empty((count, version.labels + _PIXELS), np.uint8)
                    stream = archive.extractfile(member)
                    assert stream is not None
                    _read_into(stream, parts[base], path / base)
        _check_rest(archive, path)
    if found is None:
        raise _not_there(path, split, versions, seen)
    missing = [file for file in found.files[split] if file not in parts]
    if missing:
        raise FileNotFoundError(f"load_cifar: {printable(path)} has no {', '.join(missing)}")
    return found, np.concatenate([parts[file] for file in found.files[split]])


def _check_rest(archive: tarfile.TarFile, path: Path) -> None:
    """Read to the end, where gzip's checksum of everything is."""
    assert archive.fileobj is not None
    if len(archive.fileobj.read(_MOST_REST)) == _MOST_REST:
        raise FormatError(f"load_cifar: {printable(path)}: more than CIFAR behind its end")


@contextmanager
def _damage_named(path: Path) -> Iterator[None]:
    try:
        yield
    except (tarfile.TarError, zlib.error, EOFError) as error:
        raise FormatError(f"load_cifar: {printable(path)}: damaged archive: {error}") from error
    except OSError as error:
        if error.errno is not None:  # of the file system's
            raise
        raise FormatError(f"load_cifar: {printable(path)}: damaged archive: {error}") from error


def _records(path: Path, size: int, version: _Version) -> int:
    count, rest = divmod(size, version.labels + _PIXELS)
    if rest or not count or count > _MOST_RECORDS:
        raise FormatError(
            f"load_cifar: {printable(path)}: {size} bytes, expected a multiple of "
            f"{version.labels + _PIXELS} (truncated?)"
        )
    return count


def _read_into(file: IO[bytes], out: npt.NDArray[np.uint8], path: Path) -> None:
    target: Any = out.reshape(-1).data
    filled = 0
    while filled < len(target):
        data = file.read(min(1 << 20, len(target) - filled))
        if not data:
            raise FormatError(
                f"load_cifar: {printable(path)}: {filled} bytes, expected {len(target)}"
            )
        target[filled : filled + len(data)] = data
        filled += len(data)


def _not_there(path: Path, split: str, versions: list[_Version], seen: set[str]) -> Exception:
    for version in versions:
        if seen.issuperset(version.pickled):
            return FormatError(
                f"load_cifar: {printable(path)} is the version for Python (pickles), which is not "
                "read: expected the binary version, "
                f"{dataset_info(version.name).archive}"
            )
    wanted = " or ".join(", ".join(version.files[split]) for version in versions)
    return FileNotFoundError(f"load_cifar: {printable(path)} has no {wanted}")
