"""Keras's iterators over image files: of folders with one for each class, and of tables."""

from __future__ import annotations

import os
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from ...errors import DTypeError, FormatError, ShapeError
from ...nn._args import choice, flag, pair
from ..image import decode_image, printable
from ..listing import EXTENSIONS, class_folders, image_files
from .keras_flow import Flow, Saving, part_of

if TYPE_CHECKING:
    from .keras_generator import ImageDataGenerator

__all__ = ["FileFlow", "FolderFlow", "Reading", "TableFlow"]

Array = npt.NDArray[Any]

_MODES = {"rgb": "RGB", "rgba": "RGBA", "grayscale": "L"}
_FILTERS = ("nearest", "bilinear", "bicubic", "lanczos", "box", "hamming")


@dataclass(frozen=True)
class Reading:
    """How files become images: (height, width), "rgb", "rgba" or "grayscale", one of Pillow's filters, and
    whether the middle is cut out before, so that proportions stay."""

    target_size: tuple[int, int]
    color_mode: str
    interpolation: str
    keep_aspect_ratio: bool

    @classmethod
    def of(
        cls, who: str, target_size: Any, color_mode: Any, interpolation: Any, keep_aspect_ratio: Any
    ) -> Reading:
        """Checked."""
        return cls(
            pair(who, "target_size", target_size, 1),
            choice(who, "color_mode", color_mode, tuple(_MODES)),
            choice(who, "interpolation", interpolation, _FILTERS),
            flag(who, "keep_aspect_ratio", keep_aspect_ratio),
        )

    def __call__(self, who: str, path: str) -> Array:
        """The image (height, width, channels) of a file; as Keras has it, transparency is dropped, not laid
        on a background, where "rgba" does not keep it."""
        from PIL import Image

        image = decode_image(who, path, _MODES[self.color_mode], background=None)
        height, width = self.target_size
        if image.size != (width, height):
            box = None
            if self.keep_aspect_ratio:
                wide = min(image.width, image.height * width // height)
                high = min(image.height, image.width * height // width)
                left, top = (image.width - wide) // 2, (image.height - high) // 2
                box = (left, top, left + wide, top + high)
            resampling = getattr(Image.Resampling, self.interpolation.upper())
            image = image.resize((width, height), resampling, box=box)
        return np.asarray(image).reshape(height, width, -1)


class FileFlow(Flow):
    """Batches of images in files, read as they are needed. See `Flow`.

    Attributes:
        samples: images. filepaths, filenames: each one's path, whole and within the folder.
        labels: one for each image, or one array for each output; None where there are none.
        sample_weight: one for each image, or None.
        classes: each image's label (a list of them where it has several). class_indices: name -> label.
    """

    who = "ImageDataGenerator"
    labels: Any = None
    classes: Any = None
    sample_weight: Array | None = None

    def __init__(
        self,
        generator: ImageDataGenerator,
        directory: str | os.PathLike[str],
        filenames: Sequence[str],
        class_indices: dict[str, int],
        class_mode: str | None,
        reading: Reading,
        saving: Saving | None,
        batch_size: int,
        shuffle: bool,
        seed: int | None,
    ) -> None:
        self.directory, self.class_indices, self.class_mode = directory, class_indices, class_mode
        self.reading, self.saving = reading, saving
        self.filenames = list(filenames)
        self.filepaths = [os.path.join(directory, name) for name in self.filenames]
        self.samples = len(self.filepaths)
        if saving is not None:
            saving.check(self.who, len(_MODES[reading.color_mode]))
        super().__init__(generator, self.samples, batch_size, shuffle, seed)

    def _batch(self, indices: npt.NDArray[np.int64], random: np.random.RandomState) -> Any:
        images = np.stack([self.reading(self.who, self.filepaths[i]) for i in indices])
        generator = self.image_data_generator
        if generator.data_format == "channels_first":
            images = images.transpose(0, 3, 1, 2)
        made = self._augmented(images, random)
        if self.saving is not None:
            self.saving.save(made, indices, generator.data_format, random, 10**7)
        if self.class_mode is None:
            return made
        answers = self._answers(made, indices)
        if self.sample_weight is None:
            return made, answers
        return made, answers, self.sample_weight[indices]

    def _answers(self, made: Array, indices: npt.NDArray[np.int64]) -> Any:
        dtype = self.image_data_generator.dtype
        if self.class_mode == "input":
            return made.copy()
        if self.class_mode == "multi_output":
            return [output[indices] for output in self.labels]
        if self.class_mode == "raw":
            return self.labels[indices]
        if self.class_mode == "categorical":
            rows = np.zeros((len(indices), len(self.class_indices)), dtype)
            for row, place in zip(rows, indices, strict=True):
                row[self.classes[place]] = 1
            return rows
        return np.array([self.classes[place] for place in indices], dtype)


class FolderFlow(FileFlow):
    """Batches of images in a folder with one for each class. See `FileFlow` and
    `ImageDataGenerator.flow_from_directory`."""

    who = "ImageDataGenerator.flow_from_directory"

    def __init__(
        self,
        generator: ImageDataGenerator,
        directory: str | os.PathLike[str],
        reading: Reading,
        saving: Saving | None,
        classes: Sequence[str] | None,
        class_mode: str | None,
        batch_size: int,
        shuffle: bool,
        seed: int | None,
        subset: str | None,
        follow_links: bool,
    ) -> None:
        who, root = self.who, Path(directory)
        modes = ("categorical", "binary", "sparse", "input")
        if class_mode is not None:
            choice(who, "class_mode", class_mode, modes)
        follow_links = flag(who, "follow_links", follow_links)
        part = part_of(who, generator, subset)
        folders = class_folders(who, root)
        if classes is not None:
            names = list(classes)
            missing = [name for name in names if name not in folders]
            if missing:
                raise FormatError(f"{who}: {printable(root)} has no sub-folder {missing[0]!r}")
            folders = {name: folders[name] for name in names}
        files: list[str] = []
        labels: list[int] = []
        for label, folder in enumerate(folders.values()):
            inside = [os.fspath(path) for path in image_files(folder, follow_links)]
            inside.sort(key=os.path.split)  # a folder's own files come before those of its folders
            inside = inside[int(part[0] * len(inside)) : int(part[1] * len(inside))]
            files += [os.path.relpath(path, root) for path in inside]
            labels += [label] * len(inside)
        if not files:
            raise FormatError(f"{who}: {printable(root)} has no images")
        if class_mode == "binary" and len(folders) != 2:
            raise ShapeError(f"{who}: class_mode 'binary' is for 2 classes, got {len(folders)}")
        self.labels = self.classes = np.array(labels, np.int32)
        super().__init__(
            generator,
            root,
            files,
            {name: label for label, name in enumerate(folders)},
            class_mode,
            reading,
            saving,
            batch_size,
            shuffle,
            seed,
        )


class TableFlow(FileFlow):
    """Batches of images that a table lists. See `FileFlow` and `ImageDataGenerator.flow_from_dataframe`."""

    who = "ImageDataGenerator.flow_from_dataframe"

    def __init__(
        self,
        generator: ImageDataGenerator,
        dataframe: Any,
        directory: str | os.PathLike[str] | None,
        x_col: Any,
        y_col: Any,
        weight_col: Any,
        reading: Reading,
        saving: Saving | None,
        classes: Sequence[str] | None,
        class_mode: str | None,
        batch_size: int,
        shuffle: bool,
        seed: int | None,
        subset: str | None,
        validate_filenames: bool,
    ) -> None:
        who = self.who
        modes = ("categorical", "binary", "sparse", "input", "multi_output", "raw")
        if class_mode is not None:
            choice(who, "class_mode", class_mode, modes)
        by_class = class_mode in ("categorical", "binary", "sparse")
        part = part_of(who, generator, subset)
        base = "" if directory is None else os.fspath(directory)
        paths = [_path(who, x_col, value) for value in _column(who, dataframe, x_col)]
        rows = np.arange(len(paths))
        if flag(who, "validate_filenames", validate_filenames):
            rows = np.array([i for i in rows if _is_image(os.path.join(base, paths[i]))], np.int64)
            if len(rows) < len(paths):
                warnings.warn(
                    f"{who}: left out {len(paths) - len(rows)} of {len(paths)} in column {x_col!r}, "
                    "which are no image files",
                    stacklevel=3,
                )
        labels: list[Any] = []
        indices: dict[str, int] = {}
        if by_class:
            labels = list(_column(who, dataframe, y_col, len(paths)))
            _check_labels(who, class_mode, y_col, labels)
            rows, labels, indices = _classed(who, class_mode, rows, labels, classes)
        elif classes is not None:
            warnings.warn(f"{who}: class_mode {class_mode!r} ignores classes", stacklevel=3)
        first, last = (int(share * len(rows)) for share in part)
        rows = rows[first:last]
        if not len(rows):
            raise FormatError(f"{who}: the table lists no images")
        if by_class:
            self.labels = self.classes = labels[first:last]
        elif class_mode == "raw":
            self.labels = _values(who, dataframe, y_col, len(paths))[rows]
        elif class_mode == "multi_output":
            if not isinstance(y_col, (list, tuple)):
                raise DTypeError(
                    f"{who}: class_mode 'multi_output' needs a list of columns as y_col, got {y_col!r}"
                )
            whole = [list(_column(who, dataframe, name, len(paths))) for name in y_col]
            self.labels = [np.array([values[row] for row in rows]) for values in whole]
        if weight_col is not None:
            weights = _values(who, dataframe, weight_col, len(paths))
            if weights.dtype.kind not in "fiu" or weights.ndim != 1:
                raise DTypeError(f"{who}: column {weight_col!r} must have numbers as weights")
            self.sample_weight = weights[rows]
        super().__init__(
            generator,
            base,
            [paths[row] for row in rows],
            indices,
            class_mode,
            reading,
            saving,
            batch_size,
            shuffle,
            seed,
        )


def _column(who: str, table: Any, name: Any, count: int | None = None) -> Any:
    """A column of anything that has some: pandas, a dictionary of sequences, a structured array."""
    try:
        values = table[name]
        length = len(values)
    except Exception as error:  # every library has its own for a column that is missing
        raise ShapeError(
            f"{who}: the {type(table).__name__} has no column {name!r} ({type(error).__name__})"
        ) from error
    if count is not None and length != count:
        raise ShapeError(f"{who}: column {name!r} has {length} rows, expected {count}")
    return values


def _values(who: str, table: Any, names: Any, count: int) -> Array:
    """A column as an array, or several as the columns of one."""
    if isinstance(names, (list, tuple)):
        return np.stack([np.asarray(_column(who, table, name, count)) for name in names], 1)
    return np.asarray(_column(who, table, names, count))


def _path(who: str, column: Any, value: Any) -> str:
    if not isinstance(value, (str, os.PathLike)):
        raise DTypeError(
            f"{who}: column {column!r} has a {type(value).__name__}, expected names of files"
        )
    return str(os.fspath(value))


def _is_image(path: str) -> bool:
    return os.path.splitext(path)[1].lower() in EXTENSIONS and os.path.isfile(path)


def _check_labels(who: str, class_mode: str | None, column: Any, labels: Sequence[Any]) -> None:
    several = class_mode == "categorical"
    kinds: tuple[type, ...] = (str, list, tuple) if several else (str,)
    wrong = next((label for label in labels if not isinstance(label, kinds)), None)
    if wrong is not None or any(label is None for label in labels):
        raise DTypeError(
            f"{who}: column {column!r} has a {type(wrong).__name__}; class_mode {class_mode!r} takes "
            f"names{' or lists of them' if several else ''}, class_mode 'raw' anything"
        )


def _classed(
    who: str,
    class_mode: str | None,
    rows: npt.NDArray[np.int64],
    labels: Sequence[Any],
    classes: Sequence[str] | None,
) -> tuple[npt.NDArray[np.int64], list[Any], dict[str, int]]:
    """Rows that have one of the classes, their labels as numbers, and the numbers of the classes."""
    named = {row: [labels[row]] if isinstance(labels[row], str) else labels[row] for row in rows}
    found = {name for names in named.values() for name in names}
    chosen = sorted(found) if classes is None else list(dict.fromkeys(classes))
    if class_mode == "binary" and len(chosen) != 2:
        raise ShapeError(f"{who}: class_mode 'binary' is for 2 classes, got {len(chosen)}")
    indices = {name: label for label, name in enumerate(chosen)}
    kept, numbers = [], []
    for row, names in named.items():
        known = [indices[name] for name in names if name in indices]
        if known:
            kept.append(row)
            numbers.append(known[0] if isinstance(labels[row], str) else known)
    return np.array(kept, np.int64), numbers, indices
