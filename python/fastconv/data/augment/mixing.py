"""Images mixed with others of their batch, and their labels with them."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from ...errors import DTypeError, ShapeError
from ...nn._args import integer, number

__all__ = ["CutMix", "MixUp"]

FloatImages = npt.NDArray[np.float32]


class _Mixing:
    """`mix(images, labels, rng) -> (images, labels)`, for a Loader's `mix`."""

    def __init__(self, num_classes: int, alpha: float = 1.0) -> None:
        name = type(self).__name__
        self.num_classes = integer(name, "num_classes", num_classes, 1)
        self.alpha = number(name, "alpha", alpha, 1e-6)

    def __repr__(self) -> str:
        return f"{type(self).__name__}(num_classes={self.num_classes}, alpha={self.alpha!r})"

    def __call__(
        self, images: FloatImages, labels: npt.NDArray[Any], rng: np.random.Generator
    ) -> tuple[FloatImages, FloatImages]:
        """Mix each image with the one at its place in a random order of the batch.

        Args:
            images: float32 (n, C, H, W), which are left as they are.
            labels: integers (n,), or class probabilities (n, num_classes).
            rng: where random numbers come from.

        Returns:
            New images, and float32 class probabilities (n, num_classes).

        Raises:
            ShapeError, DTypeError: shapes or types do not fit; a label is no class.
        """
        name = type(self).__name__
        if not isinstance(images, np.ndarray) or images.dtype != np.float32:
            kind = getattr(images, "dtype", type(images).__name__)
            raise DTypeError(f"{name}: images must be a float32 array, got {kind}")
        if images.ndim != 4:
            raise ShapeError(f"{name}: images must be (n, C, H, W), got shape {images.shape}")
        if not isinstance(rng, np.random.Generator):
            raise DTypeError(
                f"{name}: rng must be a numpy.random.Generator, got {type(rng).__name__}"
            )
        targets = class_probabilities(name, labels, len(images), self.num_classes)
        share = float(rng.beta(self.alpha, self.alpha))
        partner = rng.permutation(len(images))
        mixed, share = self._mix(images, partner, share, rng)
        kept = np.float32(share)
        return mixed, kept * targets + (np.float32(1) - kept) * targets[partner]

    def _mix(
        self,
        images: FloatImages,
        partner: npt.NDArray[np.int64],
        share: float,
        rng: np.random.Generator,
    ) -> tuple[FloatImages, float]:
        """Mixed images, and the first's share in each."""
        raise NotImplementedError


class MixUp(_Mixing):
    """Images and labels blended with others of their batch (Zhang et al., 2018).

    The share of the first is drawn from Beta(alpha, alpha), once a batch.

    Args:
        num_classes: classes of the labels.
        alpha: of the beta distribution, above 0; the smaller, the more often one of both nearly alone.

    Raises:
        ShapeError, DTypeError: an argument is out of its range or of the wrong type.
    """

    def _mix(
        self,
        images: FloatImages,
        partner: npt.NDArray[np.int64],
        share: float,
        rng: np.random.Generator,
    ) -> tuple[FloatImages, float]:
        mixed = images[partner]
        mixed *= np.float32(1 - share)
        mixed += np.float32(share) * images
        return mixed, share


class CutMix(_Mixing):
    """A rectangle of each image replaced by that of another of its batch (Yun et al., 2019).

    The rectangle is the same for a batch: its share of the area is 1 minus a number drawn from Beta(alpha,
    alpha), its proportions are the image's, its middle is drawn evenly, and what lies outside is cut off.
    Labels are blended in proportion to the areas.

    Args:
        num_classes: classes of the labels.
        alpha: of the beta distribution, above 0.

    Raises:
        ShapeError, DTypeError: an argument is out of its range or of the wrong type.
    """

    def _mix(
        self,
        images: FloatImages,
        partner: npt.NDArray[np.int64],
        share: float,
        rng: np.random.Generator,
    ) -> tuple[FloatImages, float]:
        height, width = images.shape[2:]
        half = 0.5 * np.sqrt(1 - share)
        y, x = int(rng.integers(height)), int(rng.integers(width))
        top, bottom = max(0, y - int(half * height)), min(height, y + int(half * height))
        left, right = max(0, x - int(half * width)), min(width, x + int(half * width))
        mixed = images.copy()
        mixed[:, :, top:bottom, left:right] = images[partner, :, top:bottom, left:right]
        return mixed, 1 - (bottom - top) * (right - left) / (height * width)


def class_probabilities(
    owner: str, labels: Any, count: int, num_classes: int
) -> npt.NDArray[np.float32]:
    """Integer labels (n,) as rows of zeros and a one; rows of probabilities as they are."""
    given = np.asarray(labels)
    if given.dtype.kind == "f":
        if given.shape != (count, num_classes):
            raise ShapeError(
                f"{owner}: class probabilities must be ({count}, {num_classes}), got {given.shape}"
            )
        return given.astype(np.float32)
    if given.dtype.kind not in "iu":
        raise DTypeError(
            f"{owner}: labels must be integers or class probabilities, got {given.dtype}"
        )
    if given.shape != (count,):
        raise ShapeError(f"{owner}: labels must be ({count},), got {given.shape}")
    if count and (given.min() < 0 or given.max() >= num_classes):
        raise ShapeError(
            f"{owner}: labels span {given.min()} to {given.max()}, expected 0 to {num_classes - 1}"
        )
    made = np.zeros((count, num_classes), np.float32)
    made[np.arange(count), given] = 1
    return made
