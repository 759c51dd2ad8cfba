"""What a data set is, and labelled images in memory."""

from __future__ import annotations

import mmap
from collections.abc import Sequence
from typing import Any, Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt

from ..errors import DTypeError, ShapeError
from .transforms import Standardize

__all__ = [
    "ArrayDataset",
    "Dataset",
    "checked_indices",
    "checked_labels",
    "checked_statistics",
    "checked_weights",
]


@runtime_checkable
class Dataset(Protocol):
    """Labelled images, wherever they are kept: what a `Loader` makes batches of.

    Anything with these members will do. One more is looked for: `weights`, (n,) numbers of at least
    0 or None, how much each image counts in training. Where worker processes fetch, it must be picklable; where
    threads do, `fetch` must bear several calls at a time.
    """

    def __len__(self) -> int:
        """How many images there are."""

    @property
    def labels(self) -> npt.NDArray[np.int64]:
        """(n,): the class of each image, 0 or more."""

    @property
    def classes(self) -> tuple[str, ...]:
        """The classes' names, by label; empty where they have none."""

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """(C, H, W) of every image."""

    def fetch(self, indices: npt.NDArray[np.int64]) -> npt.NDArray[Any]:
        """The images at the (k,) indices as a new (k, C, H, W) array, uint8 or float32."""

    def standardize(self) -> Standardize:
        """The transform from stored images to network input."""


class ArrayDataset:
    """Labelled images in an array, kept as uint8 until a batch is made.

    Args:
        images: uint8 (0 to 255) or float32 array of shape (N, H, W) or (N, C, H, W). It is not
            copied when its byte order is native, and a `np.memmap` is read batch by batch.
        labels: N integers.
        classes: class names; when given, each label must be in [0, len(classes)).
        mean, std: per channel (or one for all), of the images with uint8 scaled to [0, 1]; they
            define `standardize()`. The defaults leave the scaled values as they are.
        name: what error messages call the data set.
        weights: N numbers of at least 0: how much each image counts in training.

    Attributes:
        images: as given.
        labels: (N,) int64.
        classes: tuple of names.
        weights: (N,) float32, or None.
        mean, std: tuples of floats.

    Raises:
        ShapeError: dimensions, lengths, label values, mean or std do not fit.
        DTypeError: images are neither uint8 nor float32, or labels are not integers.
    """

    def __init__(
        self,
        images: npt.ArrayLike,
        labels: npt.ArrayLike,
        classes: Sequence[str] = (),
        *,
        mean: Sequence[float] = (0.0,),
        std: Sequence[float] = (1.0,),
        name: str = "dataset",
        weights: npt.ArrayLike | None = None,
    ) -> None:
        x = images if isinstance(images, np.memmap) else np.asarray(images)
        if not x.dtype.isnative and x.dtype.kind == "f":
            x = x.astype(x.dtype.newbyteorder("="))
        if x.dtype != np.uint8 and x.dtype != np.float32:
            raise DTypeError(f"{name}: images are {x.dtype}, expected uint8 or float32")
        if x.ndim not in (3, 4) or 0 in x.shape[1:]:
            raise ShapeError(
                f"{name}: images have shape {x.shape}, expected (N, H, W) or (N, C, H, W) "
                "with C, H and W at least 1"
            )
        channels = x.shape[1] if x.ndim == 4 else 1
        self._standardize = checked_statistics(name, mean, std, channels)
        self.images: npt.NDArray[Any] = x
        self.labels = checked_labels(name, labels, len(x), classes)
        self.classes: tuple[str, ...] = tuple(classes)
        self.mean = self._standardize.mean
        self.std = self._standardize.std
        self.name = name
        self.weights = None if weights is None else checked_weights(name, weights, len(x))

    def __len__(self) -> int:
        return len(self.images)

    def __repr__(self) -> str:
        return (
            f"ArrayDataset({self.name!r}, images={self.images.dtype}{list(self.images.shape)}, "
            f"classes={len(self.classes)})"
        )

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """(C, H, W) of one image, as a network gets it."""
        height, width = self.images.shape[-2:]
        return (self.images.shape[1] if self.images.ndim == 4 else 1, height, width)

    def fetch(self, indices: npt.ArrayLike) -> npt.NDArray[Any]:
        """The images at these places, a new array (k, C, H, W) of the stored type.

        Raises:
            ShapeError, DTypeError: the indices are no row of integers from 0 to N - 1.
        """
        chosen = checked_indices(f"{self.name}: fetch", indices, len(self))
        stored = self.images
        # `take` is faster, but copies the whole of what lies in another order.
        plain = stored.flags.c_contiguous and stored.flags.aligned
        picked = np.asarray(stored.take(chosen, axis=0) if plain else stored[chosen])
        return picked[:, np.newaxis] if picked.ndim == 3 else picked

    def standardize(self) -> Standardize:
        """The transform from stored images to network input, with this set's mean and std."""
        return self._standardize

    def subset(self, indices: slice | npt.ArrayLike) -> ArrayDataset:
        """The images chosen by a slice (shared memory) or by integer indices (copied)."""
        chosen = indices if isinstance(indices, slice) else np.asarray(indices)
        return ArrayDataset(
            self.images[chosen],
            self.labels[chosen],
            self.classes,
            mean=self.mean,
            std=self.std,
            name=self.name,
            weights=None if self.weights is None else self.weights[chosen],
        )

    def __getstate__(self) -> dict[str, Any]:
        """For worker processes: a file mapped as a whole is opened again there, not sent."""
        state = dict(self.__dict__)
        mapped = self.images
        lies_on: Any = mapped.base
        if (
            isinstance(mapped, np.memmap)
            and isinstance(lies_on, mmap.mmap)  # a slice's base is another array
            and mapped.mode != "c"  # changes of which are this process's alone
            and mapped.filename is not None
            and mapped.flags.c_contiguous
        ):
            state["images"] = None
            state["mapped"] = (str(mapped.filename), mapped.dtype, mapped.shape, mapped.offset)
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        mapped = state.pop("mapped", None)
        self.__dict__.update(state)
        if mapped is not None:
            path, dtype, shape, offset = mapped
            self.images = np.memmap(path, dtype, "r", offset, shape)


def checked_indices(name: str, indices: npt.ArrayLike, count: int) -> npt.NDArray[np.int64]:
    """A row of int64 from 0 to count - 1."""
    chosen = np.asarray(indices)
    if chosen.dtype.kind not in "iu" and chosen.size:
        raise DTypeError(f"{name}: indices are {chosen.dtype}, expected integers")
    if chosen.ndim != 1:
        raise ShapeError(f"{name}: indices have shape {chosen.shape}, expected one dimension")
    if chosen.size and (chosen.min() < 0 or chosen.max() >= count):
        raise ShapeError(
            f"{name}: indices span {chosen.min()} to {chosen.max()}, "
            f"expected 0 to {count - 1} for {count} images"
        )
    return chosen.astype(np.int64, copy=False)


def checked_labels(
    name: str, labels: npt.ArrayLike, count: int, classes: Sequence[str]
) -> npt.NDArray[np.int64]:
    """`count` labels as int64, where there are classes each of them one's."""
    y = np.asarray(labels)
    if y.dtype.kind not in "iu":
        raise DTypeError(f"{name}: labels are {y.dtype}, expected integers")
    if y.ndim != 1 or len(y) != count:
        raise ShapeError(
            f"{name}: labels have shape {y.shape}, expected ({count},) for {count} images"
        )
    if classes and len(y) and (y.min() < 0 or y.max() >= len(classes)):
        raise ShapeError(
            f"{name}: labels span {y.min()} to {y.max()}, "
            f"expected 0 to {len(classes) - 1} for {len(classes)} classes"
        )
    return y.astype(np.int64)


def checked_weights(name: str, weights: npt.ArrayLike, count: int) -> npt.NDArray[np.float32]:
    """`count` weights as float32, finite and not negative."""
    w = np.asarray(weights)
    if w.dtype.kind not in "fiub":
        raise DTypeError(f"{name}: weights are {w.dtype}, expected numbers")
    if w.shape != (count,):
        raise ShapeError(
            f"{name}: weights have shape {w.shape}, expected ({count},) for {count} images"
        )
    w = w.astype(np.float32)
    if not np.isfinite(w).all() or (w < 0).any():
        raise ShapeError(f"{name}: weights must be finite and not negative")
    return w


def checked_statistics(
    name: str, mean: Sequence[float], std: Sequence[float], channels: int
) -> Standardize:
    """The transform with these means and deviations, one for all channels or one for each."""
    transform = Standardize(mean, std)
    if len(transform.mean) not in (1, channels):
        raise ShapeError(
            f"{name}: mean and std have {len(transform.mean)} values, "
            f"expected 1 or {channels} for {channels} channels"
        )
    return transform
