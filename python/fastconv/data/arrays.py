"""Data sets from NumPy's files: .npy, and .npz archives of them."""

from __future__ import annotations

import os
import zipfile
import zlib
from collections.abc import Sequence
from typing import Any

import numpy as np

from ..errors import FormatError, ShapeError
from .dataset import ArrayDataset
from .idx import PathLike
from .image import printable

__all__ = ["load_arrays"]


def load_arrays(
    images: PathLike,
    labels: PathLike | None = None,
    classes: Sequence[str] = (),
    *,
    images_key: str = "images",
    labels_key: str = "labels",
    mean: Sequence[float] = (0.0,),
    std: Sequence[float] = (1.0,),
) -> ArrayDataset:
    """An `ArrayDataset` from files of NumPy's formats (NEP 1).

    Args:
        images: a .npy file, which is mapped into memory and read batch by batch, so that it may be
            larger than memory; or a .npz archive, which is read whole.
        labels: a .npy file; left out, they are in the same .npz.
        classes, mean, std: as `ArrayDataset` has them.
        images_key, labels_key: the arrays' names in a .npz.

    Raises:
        FormatError: a file is damaged, is no such file or holds Python objects, or the archive
            has no array of that name.
        ShapeError, DTypeError: the arrays are not what `ArrayDataset` takes.
        OSError: a file is missing or cannot be read.
    """
    packed = zipfile.is_zipfile(images)
    if labels is None and not packed:
        raise ShapeError(
            f"load_arrays: {printable(images)} is no .npz archive: expected a file of labels too"
        )
    x = _load(images, images_key)
    y = _load(images if labels is None else labels, labels_key)
    name = printable(images)
    return ArrayDataset(x, y, classes, mean=mean, std=std, name=name)


def _load(path: PathLike, key: str) -> Any:
    name = printable(path)
    try:
        loaded: Any = np.load(os.fspath(path), mmap_mode="r", allow_pickle=False)
        if isinstance(loaded, np.ndarray):
            return loaded
        with loaded:
            if key not in loaded.files:
                raise FormatError(
                    f"load_arrays: {name} has no array {key!r}; it has {', '.join(loaded.files)}"
                )
            return loaded[key]
    except FormatError:
        raise
    except (ValueError, EOFError, zipfile.BadZipFile, zlib.error, NotImplementedError) as error:
        raise FormatError(f"load_arrays: {name}: not a readable .npy or .npz: {error}") from error
