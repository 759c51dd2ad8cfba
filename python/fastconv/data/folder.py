"""Data sets of image files: a folder for each class."""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypedDict

import numpy as np
import numpy.typing as npt

from ..errors import DTypeError, FormatError, ShapeError
from .dataset import checked_indices, checked_labels, checked_statistics
from .fitting import Fit
from .idx import PathLike
from .image import WHITE, Background, printable
from .listing import EXTENSIONS, class_folders, image_files, in_order_of
from .prefetch import Ahead
from .store import Sink, store_key, stored
from .transforms import Standardize

if TYPE_CHECKING:
    from typing_extensions import Unpack

__all__ = ["Decoding", "ImageFiles", "ImageFolder"]

_NAMED = 5  # files that a warning names
_READY = 32  # decoded images that wait


class Decoding(TypedDict, total=False):
    """What `ImageFiles` explains, and its kinds pass on to it."""

    channels: int
    resize: str
    background: Background
    reduce: bool
    on_error: str
    cache: bool | PathLike
    mean: Sequence[float]
    std: Sequence[float]


class ImageFiles:
    """Image files with labels, decoded when they are fetched: what `ImageFolder` and `CsvImages`
    have in common.

    Args:
        paths: the files.
        labels: as many integers.
        classes: class names, or none.
        size: height and width, an integer or a pair; None: all files must have the first one's.
        channels: 3 for RGB, 1 for grey. Palettes, CMYK and 16 bits are converted, the EXIF
            orientation is applied.
        resize: "crop" (the largest part in the middle with the proportions of `size`), "squash" or
            "pad" (black).
        background: red, green and blue, 0 to 255, that transparent images are laid on; None: their
            transparency is dropped, and what colours the file has there show.
        reduce: whether a JPEG of more than twice `size` is decoded in a half, a quarter or an
            eighth of its size, which is several times as fast and changes pixels by one or two of
            255 on average. False: it is decoded whole.
        on_error: "raise": a file that is no readable image, or of too many pixels
            (`PIL.Image.MAX_IMAGE_PIXELS`), is an error when it is fetched. "skip": every file is
            decoded at once; those that cannot be are left out, listed in `skipped`, and reported
            in one warning.
        cache: True: images stay in memory once decoded. A folder: they are decoded at once into a
            file there, which is mapped into memory, also by later runs: for data larger than
            memory. It belongs to these files (names, sizes, times of change) and options; another
            one is made where those differ.
        mean, std: of `standardize()`, as `ArrayDataset` has them.
        name: what errors call the data set.
        skipped: what has been left out already.

    Attributes:
        paths: of the images, in their order. labels: (N,) int64. classes: tuple of names.
        skipped: file -> the reason why it was left out.

    Raises:
        ShapeError, DTypeError: an argument is out of range or of the wrong type.
        FormatError: no image is left; a file that is decoded at once cannot be.
        ImportError: Pillow is not installed (where something is decoded).
        OSError: a file cannot be read, or the cache cannot be written, on a full disk for one.
    """

    def __init__(
        self,
        paths: Iterable[PathLike],
        labels: npt.ArrayLike,
        classes: Sequence[str] = (),
        *,
        size: int | Sequence[int] | None,
        channels: int = 3,
        resize: str = "crop",
        background: Background = WHITE,
        reduce: bool = True,
        on_error: str = "raise",
        cache: bool | PathLike = False,
        mean: Sequence[float] = (0.0,),
        std: Sequence[float] = (1.0,),
        name: str = "ImageFiles",
        skipped: Mapping[str, str] | None = None,
    ) -> None:
        self.name = name
        self._who = who = type(self).__name__
        if on_error not in ("raise", "skip"):
            raise ShapeError(f"{who}: on_error must be 'raise' or 'skip', got {on_error!r}")
        if not isinstance(cache, (bool, str, os.PathLike)):
            raise DTypeError(f"{who}: cache is a {type(cache).__name__}, expected bool or a folder")
        self._fit = Fit(who, size, channels, resize, background, reduce)
        self._standardize = checked_statistics(who, mean, std, channels)
        self.paths = [os.fspath(path) for path in paths]
        self.labels = checked_labels(who, labels, len(self.paths), classes)
        self.classes: tuple[str, ...] = tuple(classes)
        self.skipped: dict[str, str] = dict(skipped or {})
        self._decoded: npt.NDArray[np.uint8] | None = None
        self._filled: npt.NDArray[np.bool_] | None = None  # None: all of them
        self._rows = np.arange(len(self.paths))  # of `_decoded`
        self._require_some()
        self._shape = (channels, *(self._fit.size or self._first_size(on_error)))
        failures = self._prepare(cache, on_error)
        self._leave_out(failures)
        if self.skipped:
            told = [f"{path}: {reason}" for path, reason in self.skipped.items()][:_NAMED]
            more = len(self.skipped) - len(told)
            warnings.warn(
                f"{who}: skipped {len(self.skipped)} of {len(self.paths) + len(self.skipped)}: "
                + "; ".join(told)
                + (f"; and {more} more (all are in .skipped)" if more else ""),
                stacklevel=3,
            )
        self._require_some()

    def __len__(self) -> int:
        return len(self.paths)

    def __repr__(self) -> str:
        return (
            f"{type(self).__name__}({self.name!r}, images=uint8{[len(self), *self._shape]}, "
            f"classes={len(self.classes)})"
        )

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """(C, H, W) of every image."""
        channels, height, width = self._shape
        return channels, height, width

    @property
    def mean(self) -> tuple[float, ...]:
        return self._standardize.mean

    @property
    def std(self) -> tuple[float, ...]:
        return self._standardize.std

    def standardize(self) -> Standardize:
        """The transform from stored images to network input, with this set's mean and std."""
        return self._standardize

    def with_statistics(self, mean: Sequence[float], std: Sequence[float]) -> Any:
        """The same images with another `standardize()`; decoded ones are shared."""
        other = object.__new__(type(self))
        other.__dict__.update(self.__dict__)
        other._standardize = checked_statistics(self._who, mean, std, self._shape[0])
        return other

    def fetch(self, indices: npt.ArrayLike) -> npt.NDArray[np.uint8]:
        """The images at these places, decoded: a new uint8 array (k, C, H, W).

        Raises:
            ShapeError, DTypeError: the indices are no row of integers from 0 to N - 1.
            FormatError: a file is no readable image, or of another size where `size` is None.
            OSError: a file is missing or cannot be read.
        """
        chosen = checked_indices(f"{self._who}: fetch", indices, len(self))
        if self._decoded is not None:
            if self._filled is not None:
                self._fill(chosen[~self._filled[self._rows[chosen]]])
            return np.asarray(self._decoded[self._rows[chosen]])
        out = np.empty((len(chosen), *self._shape), np.uint8)
        for row, place in zip(out, chosen.tolist(), strict=True):
            row[...] = self._read(self.paths[place])
        return out

    def __getstate__(self) -> dict[str, Any]:
        """For worker processes: each keeps images in its own memory; a file is mapped there."""
        state = dict(self.__dict__)
        if isinstance(self._decoded, np.memmap):
            state["_decoded"] = str(self._decoded.filename)
        elif self._decoded is not None:
            state["_decoded"], state["_filled"] = True, None
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        if isinstance(state["_decoded"], str):
            self._decoded = np.load(state["_decoded"], mmap_mode="r")
        elif state["_decoded"] is True:
            self._keep()

    # Decoding

    def _read(self, path: str) -> npt.NDArray[np.uint8]:
        image = self._fit(path)
        if image.shape != self._shape:
            got, expected = (f"{s[2]}x{s[1]}" for s in (image.shape, self._shape))
            raise FormatError(
                f"{self._who}: {printable(path)}: {got} pixels, expected {expected} as the first "
                "image has; give `size` to resize them"
            )
        return image

    def _first_size(self, on_error: str) -> tuple[int, int]:
        """(H, W) of the first image that can be decoded."""
        for path in self.paths:
            try:
                _, height, width = self._fit(path).shape
                return height, width
            except (FormatError, OSError):
                if on_error == "raise":
                    raise
        raise FormatError(f"{self._who}: {self.name}: none of {len(self)} files can be decoded")

    def _keep(self) -> None:
        rows = int(self._rows.max(initial=-1)) + 1
        self._decoded = np.empty((rows, *self._shape), np.uint8)
        self._filled = np.zeros(rows, bool)

    def _fill(self, places: npt.NDArray[np.int64]) -> None:
        assert self._decoded is not None and self._filled is not None
        for place in places.tolist():
            row = int(self._rows[place])
            self._decoded[row] = self._read(self.paths[place])
            self._filled[row] = True

    def _prepare(self, cache: bool | PathLike, on_error: str) -> dict[int, str]:
        """Decode what is to be decoded at once; what failed, and why."""
        if cache is True:
            self._keep()
        if not isinstance(cache, bool):
            options = f"{self._fit} {self._shape} {on_error}"
            key = store_key(self.paths, options)
            shape = (len(self), *self._shape)
            self._decoded, failures = stored(
                self._who, Path(cache), key, shape, lambda sink: self._read_all(sink, on_error)
            )
            return failures
        if on_error == "raise":
            return {}

        def keep(place: int, image: npt.NDArray[np.uint8]) -> None:
            if self._decoded is not None and self._filled is not None:
                self._decoded[place], self._filled[place] = image, True

        return self._read_all(keep, on_error)

    def _read_all(self, sink: Sink, on_error: str) -> dict[int, str]:
        """Decode every file, in as many threads as there are cores."""

        def read(path: str) -> npt.NDArray[np.uint8] | Exception:
            try:
                return self._read(path)
            except (FormatError, OSError) as error:
                return error

        failures = {}
        teams = [read] * (os.cpu_count() or 1)
        for place, result in enumerate(Ahead(iter(self.paths), teams, _READY)):
            if not isinstance(result, Exception):
                sink(place, result)
            elif on_error == "raise":
                raise result
            else:
                failures[place] = _reason(result)
        return failures

    def _leave_out(self, failures: Mapping[int, str]) -> None:
        if not failures:
            return
        kept = np.array([place for place in range(len(self)) if place not in failures], np.int64)
        for place, reason in failures.items():
            self.skipped[printable(self.paths[place])] = reason
        self.paths = [self.paths[place] for place in kept.tolist()]
        self.labels, self._rows = self.labels[kept], self._rows[kept]

    def _require_some(self) -> None:
        if not self.paths:
            left = f": all {len(self.skipped)} files were skipped" if self.skipped else ""
            raise FormatError(f"{self._who}: {self.name} has no images{left}")


class ImageFolder(ImageFiles):
    """Images in a folder that has a sub-folder for each class.

    A class has the image files of its folder and of folders inside it (by their extension:
    .jpg, .png, .webp ...); hidden files and folders are left out, links are followed.

    Args:
        root: the folder.
        size: height and width, an integer or a pair; None: all files must have the first one's.
        classes: names of the sub-folders in the order of the labels, so that two folders agree;
            by default all of them, sorted.
        on_missing: what is done about a class without images: "raise", or "warn" and go on.
        options: channels, resize, background, reduce, on_error, cache, mean, std of `ImageFiles`.

    Raises:
        FormatError: there are no sub-folders, or one of no class; a class has no images; and as
            `ImageFiles`.
        FileNotFoundError, NotADirectoryError: `root` is no folder.
    """

    def __init__(
        self,
        root: PathLike,
        *,
        size: int | Sequence[int] | None,
        classes: Sequence[str] | None = None,
        on_missing: str = "raise",
        **options: Unpack[Decoding],
    ) -> None:
        who = "ImageFolder"
        check_on_missing(who, on_missing)
        self.root = Path(root)
        folders = class_folders(who, self.root)
        missing: list[str] = []
        if classes is not None:
            if isinstance(classes, str):
                raise DTypeError(f"{who}: classes is a str, expected several names")
            classes = tuple(classes)
            folders, missing = in_order_of(who, classes, folders)
        names = tuple(folders) if classes is None else classes
        paths: list[Path] = []
        labels: list[int] = []
        for label, name in enumerate(names):
            files = [] if name in missing else list(image_files(folders[name]))
            if not files and name not in missing:
                missing.append(name)
            paths += files
            labels += [label] * len(files)
        if missing:
            message = _missing(who, self.root, missing, folders)
            if on_missing == "raise" or not paths:
                raise FormatError(message)
            warnings.warn(message, stacklevel=2)
        present = set(labels)
        super().__init__(
            paths,
            np.array(labels, np.int64),
            names,
            size=size,
            name=printable(self.root),
            **options,
        )
        lost = present - set(self.labels.tolist())
        if lost:
            message = f"{who}: every image of class {names[min(lost)]!r} was skipped"
            if on_missing == "raise":
                raise FormatError(message)
            warnings.warn(message, stacklevel=2)


def check_on_missing(who: str, on_missing: Any) -> None:
    """ShapeError unless it is "raise" or "warn"."""
    if on_missing not in ("raise", "warn"):
        raise ShapeError(f"{who}: on_missing must be 'raise' or 'warn', got {on_missing!r}")


def _missing(who: str, root: Path, missing: Sequence[str], folders: Mapping[str, Path]) -> str:
    name = missing[0]
    if name not in folders:
        what = f"class {name!r} has no sub-folder in {printable(root)}"
    else:
        others = sorted(printable(entry) for entry in os.listdir(folders[name]))
        inside = f"it has {', '.join(others[:_NAMED])}" if others else "it is empty"
        what = (
            f"class {name!r} has no images in {printable(folders[name])}: {inside}; expected "
            f"files with the extensions {' '.join(sorted(EXTENSIONS))}"
        )
    more = f" (and {len(missing) - 1} more classes)" if len(missing) > 1 else ""
    return f"{who}: {what}{more}"


def _reason(error: Exception) -> str:
    """Why a file was left out, without the names in front."""
    text = " ".join(str(error).split())
    return f"{type(error).__name__}: {text}" if isinstance(error, OSError) else text
