"""Noise, blur and parts that are painted over."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ... import _core
from ...errors import ShapeError
from ...nn._args import flag, integer, number, pair
from .batch import (
    Augmentation,
    BatchShape,
    Images,
    check_images,
    interval,
    per_channel,
    probability,
    uniform,
)
from .plan import Boxes
from .step import DrawnStep

__all__ = ["Cutout", "GaussianBlur", "GaussianNoise"]


def either(owner: str, name: str, value: Any, low: float) -> tuple[float, float]:
    """(least, most) of a pair, or a number twice."""
    if isinstance(value, (tuple, list)):
        return interval(owner, name, value, low)
    fixed = number(owner, name, value, low)
    return fixed, fixed


class GaussianNoise(Augmentation):
    """Normal noise added to every value.

    Args:
        mean: of the noise, as a part of the brightest value.
        sigma: its standard deviation, likewise: a number, or (least, most) to draw one an image.
        clip: whether float32 results are clipped to [0, 1]; uint8 ones are clipped and rounded always.

    Raises:
        ShapeError, DTypeError: an argument is out of its range or of the wrong type.
    """

    shown = ("mean", "sigma", "clip")

    def __init__(self, mean: float = 0.0, sigma: Any = 0.1, clip: bool = True) -> None:
        self.mean = number(self._name, "mean", mean)
        self.sigma = either(self._name, "sigma", sigma, 0.0)
        self.clip = flag(self._name, "clip", clip)

    def __call__(self, images: Images, rng: np.random.Generator) -> Images:
        check_images(self._name, images, rng)
        shape = BatchShape.of(images)
        keys = rng.integers(-(2**63), 2**63 - 1, shape.images, dtype=np.int64)
        sigma = shape.white * uniform(rng, self.sigma, shape.images)
        bounds = (0.0, 1.0) if self.clip else (-math.inf, math.inf)
        made: Images = _core.gaussian_noise(images, keys, sigma, shape.white * self.mean, *bounds)
        return made


class GaussianBlur(Augmentation):
    """Images blurred by a Gaussian, beyond whose edges they are mirrored.

    Args:
        kernel_size: pixels along both axes, odd; at most 1023, and less than twice the image's.
        sigma: its standard deviation in pixels: a number, or (least, most) to draw one an image.

    Raises:
        ShapeError, DTypeError: an argument is out of its range or of the wrong type; images are too small.
    """

    shown = ("kernel_size", "sigma")

    def __init__(self, kernel_size: int, sigma: Any = (0.1, 2.0)) -> None:
        self.kernel_size = integer(self._name, "kernel_size", kernel_size, 1)
        if self.kernel_size % 2 == 0 or self.kernel_size > 1023:
            raise ShapeError(
                f"{self._name}: kernel_size must be odd and at most 1023, got {self.kernel_size}"
            )
        self.sigma = either(self._name, "sigma", sigma, 1e-3)

    def __call__(self, images: Images, rng: np.random.Generator) -> Images:
        check_images(self._name, images, rng)
        reach = self.kernel_size // 2
        if reach >= min(images.shape[2:]):
            raise ShapeError(
                f"{self._name}: images of {images.shape[2]}x{images.shape[3]} are too small for a "
                f"kernel of {self.kernel_size}, expected at least {reach + 1} pixels both ways"
            )
        sigma = uniform(rng, self.sigma, len(images))[:, np.newaxis]
        weights = np.exp(-0.5 * (np.arange(-reach, reach + 1) / sigma) ** 2)
        made: Images = _core.separable_blur(images, weights / weights.sum(1, keepdims=True))
        return made


class Cutout(DrawnStep):
    """Rectangles painted over, their middles drawn evenly over the image (DeVries and Taylor, 2017).

    Args:
        size: of a rectangle, an integer or (height, width); what lies outside of the image is cut off.
        number: rectangles an image.
        p: the probability that an image gets them.
        fill: their value, or one a channel.

    Raises:
        ShapeError, DTypeError: an argument is out of its range or of the wrong type.
    """

    shown = ("size", "number", "p", "fill")

    def __init__(self, size: Any, number: int = 1, p: float = 1.0, fill: Any = 0.0) -> None:
        self.size = pair(self._name, "size", size, 1)
        self.number = integer(self._name, "number", number, 1)
        self.p = probability(self._name, p)
        self.fill = per_channel(self._name, "fill", fill)

    def _draw(self, shape: BatchShape, rng: np.random.Generator) -> Boxes:
        n, height, width = shape.images, *self.size
        boxes = np.empty((n, self.number, 4), np.int64)
        boxes[..., 0] = rng.integers(0, shape.height, (n, self.number)) - height // 2
        boxes[..., 1] = rng.integers(0, shape.width, (n, self.number)) - width // 2
        boxes[..., 2], boxes[..., 3] = height, width
        boxes[rng.random(n) >= self.p, :, 2] = 0
        return Boxes(boxes, self.fill)
