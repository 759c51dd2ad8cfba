"""Finding a data set: in a folder, in the system's, in the cache, or by download."""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ..errors import FormatError, ShapeError
from .bundled import load_bundled
from .catalogue import SPLITS, DatasetInfo, dataset_info
from .cifar import load_cifar
from .dataset import ArrayDataset
from .download import DownloadError, require_pooch
from .download import download as download_file
from .idx import PathLike, read_idx

__all__ = ["cache_folder", "load_dataset"]


def load_dataset(
    name: str = "bundled",
    split: str = "train",
    *,
    data_dir: PathLike | None = None,
    base_url: str | None = None,
    download: bool = True,
) -> ArrayDataset:
    """Load a data set by name.

    "bundled" comes with the package (10,000 + 2,000 images of Fashion-MNIST). "cifar10" and
    "cifar100" (50,000 + 10,000) are read by `load_cifar`, from `data_dir` as it takes them, or else
    from the archive in `cache_folder`, whose MD5 must be the published one's. For "fashion-mnist"
    and "mnist" (60,000 + 10,000) the usual IDX files are looked for

    - in `data_dir` and nowhere else, when it is given: both spellings, `train-images-idx3-ubyte`
      and `train-images.idx3-ubyte`, plain or with `.gz`. Any files in that form will do;
    - otherwise in the folder of Debian's package `dataset-fashion-mnist`, then in `cache_folder`,
      then on the network, to be kept in `cache_folder`. The SHA-256 of the contents must then be
      the published set's.

    A download that was cut off goes on where it ended, in a later run too.

    Args:
        name: "bundled", "fashion-mnist", "mnist", "cifar10" or "cifar100".
        split: "train" or "test".
        data_dir: a folder with the files; of CIFAR the archive will do.
        base_url: a mirror to download from, ending where the file name starts.
        download: whether the network may be used.

    Returns:
        The data set: images (N, 28, 28) or (N, 3, 32, 32) uint8, labels int64, class names, mean
        and std.

    Raises:
        ShapeError: unknown name or split, or `data_dir` given for "bundled".
        FileNotFoundError: nothing was found; it says what was looked for and where.
        FormatError: a file was found but is damaged or not what its name says.
        ImportError: a download is needed and pooch is not installed.
    """
    info = dataset_info(name)
    if split not in SPLITS:
        raise ShapeError(f"load_dataset: split is {split!r}, expected 'train' or 'test'")
    if name == "bundled":
        if data_dir is not None:
            raise ShapeError(
                "load_dataset: 'bundled' is part of the package and takes no data_dir; "
                "expected 'fashion-mnist' or 'mnist' with one"
            )
        return load_bundled(split)
    if info.archive:
        return _load_archive(info, split, data_dir, base_url, download)
    if data_dir is not None:
        found = _find_split(Path(data_dir), split)
        if found is None:
            raise FileNotFoundError(
                f"load_dataset: {name} ({split}) is not in {os.fspath(data_dir)}: "
                f"looked for {_looked_for(split)}"
            )
        return _read_split(info, found, verify=False)
    cache = cache_folder() / name
    for folder in (*map(Path, info.system_folders), cache):
        found = _find_split(folder, split)
        if found is not None:
            try:
                return _read_split(info, found, verify=True)
            except FormatError:
                if folder != cache or not download:
                    raise
                break  # a damaged copy in the cache is replaced
    if not download:
        raise FileNotFoundError(
            _nowhere(info, split, cache, _looked_for(split), "downloads are switched off")
        )
    return _read_split(info, _download_split(info, split, cache, base_url), verify=True)


def cache_folder() -> Path:
    """Where downloads are kept, one folder per data set.

    `$FASTCONV_DATA_DIR` if set, else `$XDG_CACHE_HOME/fastconv`, else `~/.cache/fastconv`
    (XDG Base Directory Specification: a relative XDG_CACHE_HOME is ignored).
    """
    chosen = os.environ.get("FASTCONV_DATA_DIR")
    if chosen:
        return Path(chosen).expanduser()
    xdg = os.environ.get("XDG_CACHE_HOME", "")
    base = Path(xdg) if os.path.isabs(xdg) else Path.home() / ".cache"
    return base / "fastconv"


def _spellings(file_name: str) -> tuple[str, ...]:
    dotted = file_name.replace("-idx", ".idx")
    return (file_name, f"{file_name}.gz", dotted, f"{dotted}.gz")


def _looked_for(split: str) -> str:
    names = (f"{file_name} or {file_name.replace('-idx', '.idx')}" for file_name in SPLITS[split])
    return "; ".join(names) + "; each plain or with .gz"


def _nowhere(info: DatasetInfo, split: str, cache: Path, looked_for: str, reason: str) -> str:
    folders = ", ".join([*info.system_folders, str(cache)])
    return (
        f"load_dataset: {info.name} ({split}) is not in {folders} "
        f"(looked for {looked_for}), and {reason}. "
        "Give the folder that has the files (data_dir, or --data-dir on the command line)"
    )


def _find_split(folder: Path, split: str) -> tuple[Path, Path] | None:
    found = []
    for file_name in SPLITS[split]:
        # Some archives unpack to a folder of the file's name: only files count.
        paths = (folder / spelling for spelling in _spellings(file_name))
        path = next((p for p in paths if p.is_file()), None)
        if path is None:
            return None
        found.append(path)
    return found[0], found[1]


def _read_split(info: DatasetInfo, paths: tuple[Path, Path], *, verify: bool) -> ArrayDataset:
    images = _read_checked(info, paths[0], ndim=3, verify=verify)
    labels = _read_checked(info, paths[1], ndim=1, verify=verify)
    try:
        return ArrayDataset(
            images, labels, info.classes, mean=info.mean, std=info.std, name=info.name
        )
    except ShapeError as error:
        raise FormatError(f"load_dataset: {paths[0]} and {paths[1]}: {error}") from error


def _read_checked(info: DatasetInfo, path: Path, *, ndim: int, verify: bool) -> npt.NDArray[Any]:
    stem = path.name.removesuffix(".gz").replace(".idx", "-idx")
    array = read_idx(path, info.sha256[stem] if verify else None)
    if array.ndim != ndim or array.dtype != np.uint8:
        raise FormatError(
            f"load_dataset: {path}: {array.ndim}-dimensional {array.dtype}, "
            f"expected {ndim}-dimensional uint8"
        )
    return array


def _download_split(
    info: DatasetInfo, split: str, cache: Path, base_url: str | None
) -> tuple[Path, Path]:
    looked_for = _looked_for(split)
    images, labels = (
        _downloaded(
            info,
            split,
            cache / f"{file_name}.gz",
            base_url,
            partial(_check_contents, info.sha256[file_name]),
            looked_for,
        )
        for file_name in SPLITS[split]
    )
    return images, labels


def _check_contents(sha256: str, arrived: Path) -> None:
    read_idx(arrived, sha256)


def _downloaded(
    info: DatasetInfo,
    split: str,
    target: Path,
    base_url: str | None,
    check: Callable[[Path], None],
    looked_for: str,
) -> Path:
    """`target` fetched from the network."""
    try:
        require_pooch()
    except ImportError as error:
        reason = 'downloading it needs pooch, which is not installed: pip install "fastconv[io]"'
        raise ImportError(_nowhere(info, split, target.parent, looked_for, reason)) from error
    url = (base_url or info.base_url).rstrip("/") + f"/{target.name}"
    target.unlink(missing_ok=True)  # a damaged one
    try:
        download_file(url, target, check)
    except DownloadError as error:
        reason = f"downloading {url} failed: {error}"
        raise FileNotFoundError(_nowhere(info, split, target.parent, looked_for, reason)) from error
    except FormatError as error:
        raise FormatError(f"load_dataset: download of {url} refused: {error}") from error
    return target


# Sets that are one archive


def _load_archive(
    info: DatasetInfo, split: str, data_dir: PathLike | None, base_url: str | None, download: bool
) -> ArrayDataset:
    if data_dir is not None:
        given = Path(data_dir)
        inside = given / info.archive
        return load_cifar(inside if inside.is_file() else given, split, name=info.name)
    cache = cache_folder() / info.name
    kept, check = cache / info.archive, partial(_check_digest, info.md5)
    if kept.is_file():
        try:
            check(kept)
            return load_cifar(kept, split, name=info.name)
        except FormatError:
            if not download:
                raise
    elif not download:
        reason = "downloads are switched off"
        raise FileNotFoundError(_nowhere(info, split, cache, info.archive, reason))
    arrived = _downloaded(info, split, kept, base_url, check, info.archive)
    return load_cifar(arrived, split, name=info.name)


def _check_digest(md5: str, path: Path) -> None:
    import hashlib

    digest = hashlib.md5(usedforsecurity=False)
    with open(path, "rb") as file:
        while chunk := file.read(1 << 20):
            digest.update(chunk)
    if digest.hexdigest() != md5:
        raise FormatError(
            f"load_dataset: {path}: MD5 is {digest.hexdigest()}, expected {md5} (damaged?)"
        )
