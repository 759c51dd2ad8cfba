"""The parts of a data set that a run wants, from whatever holds them: a name, a folder, a table."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import FormatError, ShapeError
from .catalogue import DATASETS, SPLITS
from .dataset import Dataset
from .folder import ImageFiles, ImageFolder
from .idx import PathLike
from .image import printable
from .sources import load_dataset
from .splitting import Size, split
from .subset import Subset
from .table import CsvImages

__all__ = ["load_parts", "statistics"]

# Sub-folders that are parts, and not classes.
_FOLDERS = {
    "train": ("train", "training"),
    "bridge": ("bridge", "train-dev", "train_dev"),
    "dev": ("dev", "val", "valid", "validation"),
    "test": ("test",),
}
_SAMPLE = 1000
_BATCH = 50


def load_parts(
    source: PathLike,
    *,
    size: int | Sequence[int] | None = None,
    shares: Mapping[str, Size] | None = None,
    seed: int = 0,
    whole: bool = False,
    classes: Sequence[str] | None = None,
    on_missing: str = "raise",
    data_dir: PathLike | None = None,
    **options: Any,
) -> dict[str, Dataset]:
    """Train, bridge, dev and test images from one place.

    Args:
        source: a name that `load_dataset` knows (train and test); or a folder that has the
            sub-folders train and some of bridge, dev (val, valid, validation) and test, with a
            sub-folder for each class in every one; or a folder with one for each class, or a
            table for `CsvImages` (.csv): these are split.
        size: of the images of folders and tables; see `ImageFiles`.
        shares, seed: of a `split`, by default 0.8 train, 0.1 dev and 0.1 test.
        whole: a folder of classes or a table is not split but comes as one part, "all".
        classes: their order; of a folder by default those of the training images, sorted.
        on_missing: what is done where a part lacks a class, "raise" or "warn".
        data_dir: the folder with the files of a named set.
        options: more for `ImageFolder` or `CsvImages`.

    Returns:
        Part -> data set. Those of folders and tables are standardised by the mean and deviation of
        the training images, all parts alike, unless `mean` and `std` are given.

    Raises:
        ShapeError: there is no such data set, and the errors of `split`.
        FormatError, FileNotFoundError, ImportError, OSError: of the readers.
    """
    name = os.fspath(source)
    if name in DATASETS:
        return {part: load_dataset(name, part, data_dir=data_dir) for part in SPLITS}
    if data_dir is not None:
        raise ShapeError(f"load_parts: data_dir goes with a data set's name, not {printable(name)}")
    path = Path(name)
    if path.is_dir():
        folders = _part_folders(path)
        if folders:
            return _from_folders(folders, size, classes, on_missing, options)

        def open_all() -> ImageFiles:
            return ImageFolder(path, size=size, classes=classes, on_missing=on_missing, **options)

    elif path.is_file() and path.suffix.lower() == ".csv":

        def open_all() -> ImageFiles:
            return CsvImages(path, size=size, classes=classes, on_missing=on_missing, **options)

    elif path.exists():
        raise FormatError(f"load_parts: {printable(name)} is no folder and no .csv file")
    else:
        known = ", ".join(DATASETS)
        raise ShapeError(
            f"load_parts: there is no data set, folder or .csv file {printable(name)}; data sets "
            f"are {known}"
        )
    return _split(open_all, shares, seed, whole, on_missing, "mean" in options)


def _part_folders(root: Path) -> dict[str, Path]:
    """Part -> folder, where the sub-folders are parts; none where they are classes."""
    inside = {path.name: path for path in root.iterdir() if _is_shown_folder(path)}
    found = {
        part: inside[name] for part, names in _FOLDERS.items() for name in names if name in inside
    }
    has_classes = "train" in found and any(map(_is_shown_folder, found["train"].iterdir()))
    return found if has_classes and len(found) == len(inside) else {}


def _is_shown_folder(path: Path) -> bool:
    return path.is_dir() and not path.name.startswith(".")


def _from_folders(
    folders: Mapping[str, Path],
    size: int | Sequence[int] | None,
    classes: Sequence[str] | None,
    on_missing: str,
    options: Mapping[str, Any],
) -> dict[str, Dataset]:
    train = ImageFolder(
        folders["train"], size=size, classes=classes, on_missing=on_missing, **options
    )
    if "mean" not in options:
        train = train.with_statistics(*statistics(train))
    rest = {**options, "mean": train.mean, "std": train.std}
    parts: dict[str, Dataset] = {"train": train}
    for part, folder in folders.items():
        if part != "train":
            parts[part] = ImageFolder(
                folder,
                size=train.image_shape[1:],
                classes=train.classes,
                on_missing=on_missing,
                **rest,
            )
    return parts


def _split(
    open_all: Callable[[], ImageFiles],
    shares: Mapping[str, Size] | None,
    seed: int,
    whole: bool,
    on_missing: str,
    standardized: bool,
) -> dict[str, Dataset]:
    data = open_all()
    if whole:
        return {"all": data if standardized else data.with_statistics(*statistics(data))}
    sizes: dict[str, Any] = dict(shares or {})
    parts = split(data, **sizes, seed=seed, on_missing=on_missing)
    if not standardized and "train" in parts:
        data = data.with_statistics(*statistics(parts["train"]))
    return {part: Subset(data, old.indices, name=old.name) for part, old in parts.items()}


def statistics(
    dataset: Dataset, images: int = _SAMPLE
) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and standard deviation of each channel, of pixels as `Standardize` scales them.

    Args:
        dataset: a `Dataset`.
        images: how many, taken at equal distances; all where there are no more.

    Returns:
        (mean, std). A channel that is the same everywhere gets the deviation of one step of 255.

    Raises:
        ShapeError: there are no images.
    """
    count = min(len(dataset), max(1, images))
    if not count:
        raise ShapeError("statistics: the data set has no images")
    places = np.arange(count) * len(dataset) // count
    sums = np.zeros((2, dataset.image_shape[0]))
    scale, pixels = 1.0, 0
    for first in range(0, count, _BATCH):
        batch = dataset.fetch(places[first : first + _BATCH])
        scale = 255.0 if batch.dtype == np.uint8 else 1.0
        values = batch.transpose(1, 0, 2, 3).reshape(batch.shape[1], -1).astype(np.float64)
        sums += values.sum(1), (values * values).sum(1)
        pixels += values.shape[1]
    mean = sums[0] / pixels / scale
    variance = np.maximum(sums[1] / pixels / scale**2 - mean**2, 0.0)
    std = np.maximum(np.sqrt(variance), 1 / 255)
    return tuple(mean.tolist()), tuple(std.tolist())
