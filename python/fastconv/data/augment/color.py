"""Brightness, contrast, saturation, hue and shifts of channels.

Each step is a matrix over an image's channels, and neighbours in a Compose are multiplied, so that values are
rounded and clipped once, to 0 to 255 of uint8 and 0 to 1 of float32 images.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ...errors import ShapeError
from ...nn._args import number
from .batch import BatchShape, FloatArray, interval, symmetric, uniform
from .plan import Colors, chained, unchanged
from .step import DrawnStep

__all__ = ["Brightness", "ChannelShift", "ColorJitter", "Contrast", "Hue", "Saturation"]

# Red, green and blue in luma (ITU-R BT.601), which Pillow and torchvision use too.
LUMA = np.array([0.299, 0.587, 0.114])
# The two colour differences of YIQ in red, green and blue, and back.
_YIQ = np.array([LUMA, [0.5959, -0.2746, -0.3213], [0.2115, -0.5227, 0.3112]])
_RGB = np.linalg.inv(_YIQ)
_STRONGEST = 100.0


def factors(owner: str, name: str, value: Any) -> tuple[float, float]:
    """(least, most) factor: a pair of 0 or more, or a number b for 1 - b (0 or more) to 1 + b."""
    if isinstance(value, (tuple, list)):
        return interval(owner, name, value, 0.0, _STRONGEST)
    reach = number(owner, name, value, 0.0, _STRONGEST - 1)
    return max(0.0, 1 - reach), 1 + reach


def scaled(factor: FloatArray, shape: BatchShape) -> FloatArray:
    """Colour matrices that multiply all channels by a factor an image."""
    return unchanged(shape) * factor[:, np.newaxis, np.newaxis]


def require_color(owner: str, shape: BatchShape) -> bool:
    """Whether images have colours; ShapeError where they are neither grey nor red, green and blue."""
    if shape.channels not in (1, 3):
        raise ShapeError(f"{owner}: images must have 1 or 3 channels, got {shape.channels}")
    return shape.channels == 3


def saturated(factor: FloatArray, shape: BatchShape) -> FloatArray:
    """Colour matrices that move images away from their own grey by a factor, or towards it."""
    made = scaled(factor, shape)
    if shape.channels == 3:
        made[:, :, :3] += (1 - factor)[:, np.newaxis, np.newaxis] * LUMA
    return made


def turned(hue: FloatArray, shape: BatchShape) -> FloatArray:
    """Colour matrices that turn colours about grey, by shares of a whole turn; luma stays."""
    made = unchanged(shape)
    if shape.channels == 3:
        angle = 2 * np.pi * hue
        turn = np.zeros((shape.images, 3, 3))
        turn[:, 0, 0] = 1
        turn[:, 1, 1] = turn[:, 2, 2] = np.cos(angle)
        turn[:, 1, 2], turn[:, 2, 1] = np.sin(angle), -np.sin(angle)
        made[:, :, :3] = _RGB @ turn @ _YIQ
    return made


class Brightness(DrawnStep):
    """All values multiplied by a factor an image.

    Args:
        brightness: (least, most) factor, or a number b for max(0, 1 - b) to 1 + b.

    Raises:
        ShapeError, DTypeError: the factors are negative, above 100, or no numbers.
    """

    shown = ("brightness",)

    def __init__(self, brightness: Any) -> None:
        self.brightness = factors(self._name, "brightness", brightness)

    def _draw(self, shape: BatchShape, rng: np.random.Generator) -> Colors:
        return Colors(scaled(uniform(rng, self.brightness, shape.images), shape))


class Contrast(DrawnStep):
    """Images moved away from their mean grey by a factor, or towards it.

    v becomes f v + (1 - f) m, where m is the mean luma of the image (of its channels' mean where they are not
    three).

    Args:
        contrast: (least, most) factor, or a number c for max(0, 1 - c) to 1 + c.

    Raises:
        ShapeError, DTypeError: the factors are negative, above 100, or no numbers.
    """

    shown = ("contrast",)

    def __init__(self, contrast: Any) -> None:
        self.contrast = factors(self._name, "contrast", contrast)

    def _draw(self, shape: BatchShape, rng: np.random.Generator) -> Colors:
        return Colors(unchanged(shape), uniform(rng, self.contrast, shape.images))


class Saturation(DrawnStep):
    """Colours moved away from the grey of the same luma by a factor, or towards it; grey images stay.

    Args:
        saturation: (least, most) factor, or a number s for max(0, 1 - s) to 1 + s.

    Raises:
        ShapeError, DTypeError: the factors are negative, above 100, or no numbers; images have neither 1 nor 3
            channels.
    """

    shown = ("saturation",)

    def __init__(self, saturation: Any) -> None:
        self.saturation = factors(self._name, "saturation", saturation)

    def _draw(self, shape: BatchShape, rng: np.random.Generator) -> Colors | None:
        drawn = uniform(rng, self.saturation, shape.images)
        return Colors(saturated(drawn, shape)) if require_color(self._name, shape) else None


class Hue(DrawnStep):
    """Colours turned about grey in the plane of YIQ's two colour differences; luma and grey images stay.

    Unlike a turn in HSV, which torchvision makes, this is linear in red, green and blue.

    Args:
        hue: (least, most) share of a whole turn within [-0.5, 0.5], or a number h for (-h, h).

    Raises:
        ShapeError, DTypeError: the shares are out of range or no numbers; images have neither 1 nor 3 channels.
    """

    shown = ("hue",)

    def __init__(self, hue: Any) -> None:
        self.hue = symmetric(self._name, "hue", hue, 0.5)

    def _draw(self, shape: BatchShape, rng: np.random.Generator) -> Colors | None:
        drawn = uniform(rng, self.hue, shape.images)
        return Colors(turned(drawn, shape)) if require_color(self._name, shape) else None


class ColorJitter(DrawnStep):
    """Brightness, contrast, saturation and hue, in an order drawn for each image.

    Values are clipped after all four, where torchvision clips after each.

    Args:
        brightness, contrast, saturation, hue: as the classes of these names take them; 0 leaves a step out.

    Raises:
        ShapeError, DTypeError: as those classes have them.
    """

    shown = ("brightness", "contrast", "saturation", "hue")

    def __init__(
        self, brightness: Any = 0, contrast: Any = 0, saturation: Any = 0, hue: Any = 0
    ) -> None:
        self.brightness = factors(self._name, "brightness", brightness)
        self.contrast = factors(self._name, "contrast", contrast)
        self.saturation = factors(self._name, "saturation", saturation)
        self.hue = symmetric(self._name, "hue", hue, 0.5)

    def _draw(self, shape: BatchShape, rng: np.random.Generator) -> Colors:
        n = shape.images
        if self.saturation != (1.0, 1.0) or self.hue != (0.0, 0.0):
            require_color(self._name, shape)
        contrast = uniform(rng, self.contrast, n)
        # The three steps that are matrices, and in their order contrast, number 3, which is none.
        steps = np.stack(
            [
                scaled(uniform(rng, self.brightness, n), shape),
                saturated(uniform(rng, self.saturation, n), shape),
                turned(uniform(rng, self.hue, n), shape),
                unchanged(shape),
            ]
        )
        order = np.argsort(rng.random((n, 4)), 1)
        before, after = unchanged(shape), unchanged(shape)
        passed = np.zeros((n, 1, 1), bool)
        for which in order.T:
            step = steps[which, np.arange(n)]
            before = np.where(passed, before, chained(step, before))
            after = np.where(passed, chained(step, after), after)
            passed |= (which == 3)[:, np.newaxis, np.newaxis]
        return Colors(before, contrast, after)


class ChannelShift(DrawnStep):
    """A number added to each channel, drawn for each image and channel.

    Args:
        shift: (least, most) as parts of the brightest value, or a number s for (-s, s).

    Raises:
        ShapeError, DTypeError: the parts are not within [-1, 1], or no numbers.
    """

    shown = ("shift",)

    def __init__(self, shift: Any) -> None:
        self.shift = symmetric(self._name, "shift", shift, 1.0)

    def _draw(self, shape: BatchShape, rng: np.random.Generator) -> Colors:
        made = unchanged(shape)
        drawn = uniform(rng, self.shift, shape.images * shape.channels)
        made[:, :, -1] = shape.white * drawn.reshape(shape.images, shape.channels)
        return Colors(made)
