"""Labelled images in memory."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from ..errors import DTypeError, ShapeError
from .transforms import Standardize

__all__ = ["ArrayDataset"]


class ArrayDataset:
    """Labelled images in memory, kept as uint8 until a batch is made.

    Args:
        images: uint8 (0 to 255) or float32 array of shape (N, H, W) or (N, C, H, W). It is not
            copied when its byte order is native.
        labels: N integers.
        classes: class names; when given, each label must be in [0, len(classes)).
        mean, std: per channel (or one for all), of the images with uint8 scaled to [0, 1]; they
            define `standardize()`. The defaults leave the scaled values as they are.
        name: what error messages call the data set.

    Attributes:
        images: as given.
        labels: (N,) int64.
        classes: tuple of names.
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
    ) -> None:
        x, y = np.asarray(images), np.asarray(labels)
        if not x.dtype.isnative and x.dtype.kind == "f":
            x = x.astype(x.dtype.newbyteorder("="))
        if x.dtype != np.uint8 and x.dtype != np.float32:
            raise DTypeError(f"{name}: images are {x.dtype}, expected uint8 or float32")
        if x.ndim not in (3, 4) or 0 in x.shape[1:]:
            raise ShapeError(
                f"{name}: images have shape {x.shape}, expected (N, H, W) or (N, C, H, W) "
                "with C, H and W at least 1"
            )
        if y.dtype.kind not in "iu":
            raise DTypeError(f"{name}: labels are {y.dtype}, expected integers")
        if y.ndim != 1 or len(y) != len(x):
            raise ShapeError(
                f"{name}: labels have shape {y.shape}, expected ({len(x)},) for {len(x)} images"
            )
        if classes and len(y) and (y.min() < 0 or y.max() >= len(classes)):
            raise ShapeError(
                f"{name}: labels span {y.min()} to {y.max()}, "
                f"expected 0 to {len(classes) - 1} for {len(classes)} classes"
            )
        channels = x.shape[1] if x.ndim == 4 else 1
        self._standardize = Standardize(mean, std)
        if len(self._standardize.mean) not in (1, channels):
            raise ShapeError(
                f"{name}: mean and std have {len(self._standardize.mean)} values, "
                f"expected 1 or {channels} for {channels} channels"
            )
        self.images: npt.NDArray[Any] = x
        self.labels: npt.NDArray[np.int64] = y.astype(np.int64)
        self.classes: tuple[str, ...] = tuple(classes)
        self.mean = self._standardize.mean
        self.std = self._standardize.std
        self.name = name

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
        )
