"""What every augmentation takes and is: batches of images, a generator, and parameters that were checked
once.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from ...errors import DTypeError, ShapeError
from ...nn._args import number

__all__ = ["Augmentation", "BatchShape", "check_images", "interval", "per_channel", "symmetric"]

Images = npt.NDArray[Any]
FloatArray = npt.NDArray[np.float64]


class BatchShape(NamedTuple):
    """The size and element type of a batch (images, channels, height, width)."""

    images: int
    channels: int
    height: int
    width: int
    dtype: Any

    @classmethod
    def of(cls, images: Images) -> BatchShape:
        n, channels, height, width = images.shape
        return cls(n, channels, height, width, images.dtype)

    @property
    def white(self) -> float:
        """The brightest value: 255 of uint8, 1 of float32."""
        return 255.0 if self.dtype == np.uint8 else 1.0


class Augmentation:
    """A step that changes a batch of images at random, each image in its own way.

    `aug(images, rng)` takes uint8 or float32 images (n, C, H, W), float32 ones in [0, 1] where colours are
    changed, and a `numpy.random.Generator`, and returns a new array of the same element type. All random
    numbers come from `rng`, drawn for the whole batch at once, so that results follow from the images and the
    state of `rng` alone.
    """

    # The attributes that `repr` shows: the constructor's arguments.
    shown: tuple[str, ...] = ()

    def __call__(self, images: Images, rng: np.random.Generator) -> Images:
        """The augmented batch.

        Raises:
            ShapeError, DTypeError: `images` is no array (n, C, H, W) of uint8 or float32, the images are too
            small
                for the step, or `rng` is no generator.
        """
        raise NotImplementedError

    def __repr__(self) -> str:
        arguments = ", ".join(f"{name}={getattr(self, name)!r}" for name in self.shown)
        return f"{type(self).__name__}({arguments})"

    @property
    def _name(self) -> str:
        return type(self).__name__


def check_images(owner: str, images: Any, rng: Any) -> Images:
    """`images`, if they are what an augmentation takes."""
    if not isinstance(images, np.ndarray):
        raise DTypeError(f"{owner}: images must be an array, got {type(images).__name__}")
    if images.dtype != np.uint8 and images.dtype != np.float32:
        raise DTypeError(f"{owner}: images must be uint8 or float32, got {images.dtype}")
    if images.ndim != 4 or 0 in images.shape[1:]:
        raise ShapeError(
            f"{owner}: images must be (n, C, H, W) with C, H and W at least 1, got {images.shape}"
        )
    if not isinstance(rng, np.random.Generator):
        raise DTypeError(f"{owner}: rng must be a numpy.random.Generator, got {type(rng).__name__}")
    return images


def probability(owner: str, value: Any) -> float:
    """`value` as a probability called p."""
    return number(owner, "p", value, 0.0, 1.0)


def interval(
    owner: str, name: str, value: Any, low: float = -math.inf, high: float = math.inf
) -> tuple[float, float]:
    """(least, most) of a pair in that order, within [low, high]."""
    if not isinstance(value, (tuple, list)):
        raise DTypeError(
            f"{owner}: {name} must be a pair (least, most), got {type(value).__name__}"
        )
    if len(value) != 2:
        raise ShapeError(f"{owner}: {name} must be a pair (least, most), got {len(value)} values")
    least, most = (number(owner, name, v, low, high) for v in value)
    if least > most:
        raise ShapeError(f"{owner}: {name} must be (least, most), got ({least:g}, {most:g})")
    return least, most


def symmetric(
    owner: str, name: str, value: Any, high: float = math.inf, centre: float = 0.0
) -> tuple[float, float]:
    """A pair as it is, or centre - value to centre + value of a number of 0 or more."""
    if isinstance(value, (tuple, list)):
        return interval(owner, name, value, -high, high)
    reach = number(owner, name, value, 0.0, high)
    return centre - reach, centre + reach


def per_channel(owner: str, name: str, value: Any) -> float | tuple[float, ...]:
    """A finite number for all channels, or one each."""
    if isinstance(value, (tuple, list)):
        if not value:
            raise ShapeError(f"{owner}: {name} must be a number or one a channel, got none")
        return tuple(number(owner, name, v) for v in value)
    return number(owner, name, value)


def spread(owner: str, name: str, value: float | Sequence[float], channels: int) -> FloatArray:
    """What `per_channel` returned as an array of a value a channel."""
    values = np.atleast_1d(np.asarray(value, np.float64))
    if len(values) not in (1, channels):
        raise ShapeError(
            f"{owner}: {name} has {len(values)} values for images of {channels} channels"
        )
    return np.array(np.broadcast_to(values, channels))


def uniform(rng: np.random.Generator, bounds: tuple[float, float], count: int) -> FloatArray:
    """`count` numbers in [bounds[0], bounds[1])."""
    drawn: FloatArray = bounds[0] + (bounds[1] - bounds[0]) * rng.random(count)
    return drawn
