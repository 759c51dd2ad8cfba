"""Batches as Keras's iterators give them: epochs that can be repeated, or one batch after the other for ever."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from ... import random as library_random
from ...errors import DTypeError, ShapeError
from ...nn._args import choice, flag, integer

if TYPE_CHECKING:
    from .keras_generator import ImageDataGenerator

__all__ = ["ArrayFlow", "Flow", "Saving", "part_of", "random_state"]

Array = npt.NDArray[Any]

_FORMATS = ("png", "jpeg", "jpg", "bmp", "gif", "ppm", "tiff", "webp")


def random_state(seed: int | None) -> np.random.RandomState:
    """The generator that Keras draws from, after its seed; None: of the library's random state."""
    if seed is None:
        seed = library_random.next_key() % 2**32
    return np.random.RandomState(integer("ImageDataGenerator", "seed", seed, 0) % 2**32)


def part_of(who: str, generator: ImageDataGenerator, subset: str | None) -> tuple[float, float]:
    """Where the images of "training" or "validation" begin and end; None: all of them."""
    if subset is None:
        return 0.0, 1.0
    choice(who, "subset", subset, ("training", "validation"))
    at = generator.validation_split
    return (0.0, at) if subset == "validation" else (at, 1.0)


@dataclass(frozen=True)
class Saving:
    """Where augmented images are kept to be looked at: files PREFIX_PLACE_NUMBER.FORMAT in a folder."""

    folder: Path
    prefix: str
    kind: str

    @classmethod
    def of(cls, who: str, folder: Any, prefix: Any, kind: Any) -> Saving | None:
        """Checked, and the folder made; None where no folder is named."""
        choice(who, "save_format", kind, _FORMATS)
        if not isinstance(prefix, str) or os.path.basename(prefix) != prefix:
            raise ShapeError(f"{who}: save_prefix must be a part of a file's name, got {prefix!r}")
        if folder is None:
            return None
        if not isinstance(folder, (str, os.PathLike)):
            raise DTypeError(f"{who}: save_to_dir is a {type(folder).__name__}, expected a folder")
        Path(folder).mkdir(parents=True, exist_ok=True)
        return cls(Path(folder), prefix, kind)

    def check(self, who: str, channels: int) -> None:
        """ShapeError where such files cannot hold images of so many channels."""
        if channels not in (1, 3, 4):
            raise ShapeError(
                f"{who}: save_to_dir takes images of 1, 3 or 4 channels, got {channels}"
            )
        if channels == 4 and self.kind in ("jpg", "jpeg", "bmp", "ppm"):
            raise ShapeError(f"{who}: save_format {self.kind!r} has no opacity, expected 'png'")

    def save(
        self,
        images: Array,
        places: npt.NDArray[np.int64],
        data_format: str,
        random: np.random.RandomState,
        names: int,
    ) -> None:
        """Write images, each stretched to 0 to 255, as Keras does: its own least value is black."""
        from PIL import Image

        if data_format == "channels_first":
            images = images.transpose(0, 2, 3, 1)
        for image, place in zip(images, places, strict=True):
            values = image - image.min()
            most = values.max()
            pixels = (values / most * 255 if most else values).astype(np.uint8)
            file = f"{self.prefix}_{place}_{random.randint(names)}.{self.kind}"
            Image.fromarray(pixels[..., 0] if pixels.shape[2] == 1 else pixels).save(
                self.folder / file
            )


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
    In the place of images, where other arrays came with them, is a list of all.

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
        saving: Saving | None,
        subset: str | None,
        ignore_class_split: bool,
    ) -> None:
        who = "ImageDataGenerator.flow"
        beside: list[Array] = []
        if isinstance(x, tuple) and len(x) == 2:
            x, more = x
            beside = [np.asarray(values) for values in (more if isinstance(more, list) else [more])]
        images = np.asarray(x)
        if images.dtype.kind not in "fiub":
            raise DTypeError(f"{who}: x must be numbers, got {images.dtype}")
        if images.ndim != 4 or 0 in images.shape[1:]:
            raise ShapeError(f"{who}: x must be images of four dimensions, got {images.shape}")
        others = [None if v is None else np.asarray(v) for v in (y, sample_weight)] + beside
        names = ["y", "sample_weight", *(f"x[1][{i}]" for i in range(len(beside)))]
        for name, values in zip(names, others, strict=True):
            if values is not None and (not values.ndim or len(values) != len(images)):
                raise ShapeError(
                    f"{who}: {name} must have {len(images)} elements, one an image, "
                    f"got shape {values.shape}"
                )
        if saving is not None:
            saving.check(who, images.shape[1 if generator.data_format == "channels_first" else 3])
        if subset is not None:
            first, last = (int(share * len(images)) for share in part_of(who, generator, subset))
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
            images = images[first:last]
            others = [None if values is None else values[first:last] for values in others]
        self.x, (self.y, self.sample_weight, *rest) = images, others
        self.x_misc = [values for values in rest if values is not None]
        self.saving = saving
        super().__init__(generator, len(images), batch_size, shuffle, seed)

    def _batch(self, indices: npt.NDArray[np.int64], random: np.random.RandomState) -> Any:
        made = self._augmented(self.x[indices], random)
        if self.saving is not None:
            data_format = self.image_data_generator.data_format
            self.saving.save(made, indices, data_format, random, 10**4)
        images = [made, *(values[indices] for values in self.x_misc)] if self.x_misc else made
        if self.y is None:
            return images
        if self.sample_weight is None:
            return images, self.y[indices]
        return images, self.y[indices], self.sample_weight[indices]
