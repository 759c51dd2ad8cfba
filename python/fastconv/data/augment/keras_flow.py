"""Batches as Keras's iterators give them: epochs that can be repeated, or one batch after the other for ever."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from ... import random as library_random
from ...errors import DTypeError, FormatError, ShapeError
from ...nn._args import choice, flag, integer
from .batch import size_of

if TYPE_CHECKING:
    from .keras_generator import ImageDataGenerator

__all__ = ["ArrayFlow", "Flow", "FolderFlow"]

Array = npt.NDArray[Any]


def random_state(seed: int | None) -> np.random.RandomState:
    """The generator that Keras draws from, after its seed; None: of the library's random state."""
    if seed is None:
        seed = library_random.next_key() % 2**32
    return np.random.RandomState(integer("ImageDataGenerator", "seed", seed, 0) % 2**32)


class Flow:
    """Batches of augmented images.

    `for batch in flow` is one epoch, and each loop is the next one; `len(flow)` is its number of batches. So
    a flow is what `Trainer.fit` takes as a list of batches. `next(flow)` gives one batch after the other
    without end, and `flow[i]` batch i of the order at hand. Batch number b since the beginning has random
    numbers that follow from seed + b, as in Keras. A run that goes on in the middle needs a `Loader` to have
    the same batches again.

    Attributes:
        n: images. batch_size, shuffle, seed: as given. total_batches_seen: batches made so far.
    """

    def __init__(
        self,
        generator: ImageDataGenerator,
        count: int,
        batch_size: int,
        shuffle: bool,
        seed: int | None,
    ) -> None:
        who = "ImageDataGenerator"
        self.image_data_generator, self.n = generator, count
        self.batch_size = integer(who, "batch_size", batch_size, 1)
        self.shuffle = flag(who, "shuffle", shuffle)
        self.seed = None if seed is None else integer(who, "seed", seed, 0)
        self.total_batches_seen = 0
        self.index_array: npt.NDArray[np.int64] | None = None
        self._forever: Iterator[Any] | None = None

    def __len__(self) -> int:
        return -(-self.n // self.batch_size)

    def __iter__(self) -> Iterator[Any]:
        for number in range(len(self)):
            random = self._random()
            if number == 0 or self.index_array is None:
                self._order(random)
            yield self._numbered(number, random)

    def __next__(self) -> Any:
        if not self.n:
            raise StopIteration
        while True:
            if self._forever is None:
                self._forever = iter(self)
            try:
                return next(self._forever)
            except StopIteration:
                self._forever = None

    def next(self) -> Any:
        """`next(flow)`."""
        return next(self)

    def __getitem__(self, index: int) -> Any:
        if not 0 <= index < len(self):
            raise IndexError(f"batch {index} of {len(self)}")
        random = self._random()
        if self.index_array is None:
            self._order(random)
        return self._numbered(index, random)

    def reset(self) -> None:
        """Make the next batch of `next(flow)` the first of an epoch."""
        self._forever = None

    def on_epoch_end(self) -> None:
        """Draw a new order for `flow[i]`."""
        self._order(random_state(None))

    def _random(self) -> np.random.RandomState:
        seed = None if self.seed is None else self.seed + self.total_batches_seen
        self.total_batches_seen += 1
        return random_state(seed)

    def _order(self, random: np.random.RandomState) -> None:
        order = random.permutation(self.n) if self.shuffle else np.arange(self.n)
        self.index_array = order.astype(np.int64)

    def _numbered(self, number: int, random: np.random.RandomState) -> Any:
        assert self.index_array is not None
        first = number * self.batch_size
        return self._batch(self.index_array[first : first + self.batch_size], random)

    def _augmented(self, images: Array, random: np.random.RandomState) -> Array:
        generator = self.image_data_generator
        height, width, _ = generator._sizes(images.shape[1:])
        made = generator.apply(images, generator.draw(len(images), height, width, random))
        return np.ascontiguousarray(generator.standardize(made))

    def _batch(self, indices: npt.NDArray[np.int64], random: np.random.RandomState) -> Any:
        raise NotImplementedError


class ArrayFlow(Flow):
    """Batches of arrays: (images, labels), (images, labels, weights), or images where there are no labels.

    See `Flow` and `ImageDataGenerator.flow`.
    """

    def __init__(
        self,
        generator: ImageDataGenerator,
        x: Any,
        y: Any,
        sample_weight: Any,
        batch_size: int,
        shuffle: bool,
        seed: int | None,
        subset: str | None,
        ignore_class_split: bool,
    ) -> None:
        who = "ImageDataGenerator.flow"
        images = np.asarray(x)
        if images.dtype.kind not in "fiub":
            raise DTypeError(f"{who}: x must be numbers, got {images.dtype}")
        if images.ndim != 4 or 0 in images.shape[1:]:
            raise ShapeError(f"{who}: x must be images of four dimensions, got {images.shape}")
        others = [None if v is None else np.asarray(v) for v in (y, sample_weight)]
        for name, values in zip(("y", "sample_weight"), others, strict=True):
            if values is not None and (not values.ndim or len(values) != len(images)):
                raise ShapeError(
                    f"{who}: {name} must have {len(images)} elements, one an image, "
                    f"got shape {values.shape}"
                )
        if subset is not None:
            choice(who, "subset", subset, ("training", "validation"))
            at = int(len(images) * generator.validation_split)
            labels = others[0]
            if (
                labels is not None
                and not ignore_class_split
                and not np.array_equal(np.unique(labels[:at]), np.unique(labels[at:]))
            ):
                raise ShapeError(
                    f"{who}: the parts for training and validation have different labels; shuffle "
                    "sorted data first, or pass ignore_class_split=True"
                )
            part = slice(at) if subset == "validation" else slice(at, None)
            images = images[part]
            others = [None if values is None else values[part] for values in others]
        self.x, (self.y, self.sample_weight) = images, others
        super().__init__(generator, len(images), batch_size, shuffle, seed)

    def _batch(self, indices: npt.NDArray[np.int64], random: np.random.RandomState) -> Any:
        images = self._augmented(self.x[indices], random)
        if self.y is None:
            return images
        if self.sample_weight is None:
            return images, self.y[indices]
        return images, self.y[indices], self.sample_weight[indices]


class FolderFlow(Flow):
    """Batches of images in files. See `Flow` and `ImageDataGenerator.flow_from_directory`.

    Attributes:
        samples: images. classes: each one's label. class_indices: name -> label.
        filepaths, filenames: each one's path, whole and within the folder.
    """

    def __init__(
        self,
        generator: ImageDataGenerator,
        directory: str | os.PathLike[str],
        target_size: Sequence[int],
        color_mode: str,
        classes: Sequence[str] | None,
        class_mode: str | None,
        batch_size: int,
        shuffle: bool,
        seed: int | None,
        subset: str | None,
        interpolation: str,
    ) -> None:
        from ..listing import class_folders, image_files, in_order_of

        who = "ImageDataGenerator.flow_from_directory"
        self.target_size = size_of(who, "target_size", target_size)
        self.color_mode = choice(who, "color_mode", color_mode, ("rgb", "grayscale"))
        modes = ("categorical", "binary", "sparse", "input")
        self.class_mode = (
            None if class_mode is None else choice(who, "class_mode", class_mode, modes)
        )
        filters = ("nearest", "bilinear", "bicubic", "lanczos", "box", "hamming")
        self.interpolation = choice(who, "interpolation", interpolation, filters)
        part = (0.0, 1.0)
        if subset is not None:
            choice(who, "subset", subset, ("training", "validation"))
            at = generator.validation_split
            part = (0.0, at) if subset == "validation" else (at, 1.0)
        self.directory = Path(directory)
        folders = class_folders(who, self.directory)
        if classes is not None:
            folders, missing = in_order_of(who, tuple(classes), folders)
            if missing:
                raise FormatError(f"{who}: {self.directory} has no sub-folder {missing[0]!r}")
        self.class_indices = {name: label for label, name in enumerate(folders)}
        self.filepaths: list[str] = []
        labels: list[int] = []
        for label, folder in enumerate(folders.values()):
            files = [os.fspath(path) for path in image_files(folder)]
            files = files[int(part[0] * len(files)) : int(part[1] * len(files))]
            self.filepaths += files
            labels += [label] * len(files)
        if not self.filepaths:
            raise FormatError(f"{who}: {self.directory} has no images")
        if self.class_mode == "binary" and len(folders) != 2:
            raise ShapeError(f"{who}: class_mode 'binary' is for 2 classes, got {len(folders)}")
        self.filenames = [os.path.relpath(path, self.directory) for path in self.filepaths]
        self.classes = np.array(labels, np.int32)
        self.samples = len(self.filepaths)
        super().__init__(generator, self.samples, batch_size, shuffle, seed)

    def _read(self, path: str) -> Array:
        from PIL import Image

        from ..image import decode_image

        mode = "RGB" if self.color_mode == "rgb" else "L"
        image = decode_image("ImageDataGenerator.flow_from_directory", path, mode)
        height, width = self.target_size
        if image.size != (width, height):
            image = image.resize(
                (width, height), getattr(Image.Resampling, self.interpolation.upper())
            )
        pixels = np.asarray(image).reshape(height, width, -1)
        last = self.image_data_generator.data_format == "channels_last"
        return pixels if last else pixels.transpose(2, 0, 1)

    def _batch(self, indices: npt.NDArray[np.int64], random: np.random.RandomState) -> Any:
        images = np.stack([self._read(self.filepaths[i]) for i in indices])
        made = self._augmented(images, random)
        labels, dtype = self.classes[indices], self.image_data_generator.dtype
        if self.class_mode is None:
            return made
        if self.class_mode == "input":
            return made, made.copy()
        if self.class_mode == "categorical":
            return made, np.eye(len(self.class_indices), dtype=dtype)[labels]
        return made, labels.astype(dtype)
