"""Crops and borders: images of another size."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ...errors import ShapeError
from ...nn._args import integer, pair
from .batch import BatchShape, FloatArray, interval, uniform
from .geometry import outside_of
from .plan import Geometry, Outside
from .step import DrawnStep

__all__ = ["CenterCrop", "Pad", "RandomCrop", "RandomResizedCrop"]


def four_sides(owner: str, padding: Any) -> tuple[int, int, int, int]:
    """(left, top, right, bottom) of an integer, (sides, top and bottom), or four."""
    if not isinstance(padding, (tuple, list)):
        return (integer(owner, "padding", padding, 0),) * 4
    sides = tuple(integer(owner, "padding", v, 0) for v in padding)
    if len(sides) == 2:
        sides += sides
    if len(sides) != 4:
        raise ShapeError(
            f"{owner}: padding must be an integer, (left and right, top and bottom) or "
            f"(left, top, right, bottom), got {len(sides)} values"
        )
    left, top, right, bottom = sides
    return left, top, right, bottom


def cut(left: FloatArray, top: FloatArray) -> FloatArray:
    """(n, 3, 3): the results' first pixels are the images' pixels (left, top)."""
    made = np.tile(np.eye(3), (len(left), 1, 1))
    made[:, 0, 2], made[:, 1, 2] = left, top
    return made


class Pad(DrawnStep):
    """A border around images.

    Args:
        padding: pixels: an integer, (left and right, top and bottom), or (left, top, right, bottom).
        fill, fill_mode: as `warp_affine` has them.

    Raises:
        ShapeError, DTypeError: an argument is out of its range or of the wrong type.
    """

    shown = ("padding", "fill", "fill_mode")

    def __init__(self, padding: Any, fill: Any = 0.0, fill_mode: str = "area") -> None:
        self.padding = four_sides(self._name, padding)
        self.outside = outside_of(self._name, "bilinear", fill_mode, fill)
        self.fill, self.fill_mode = self.outside.fill, self.outside.fill_mode

    def _draw(self, shape: BatchShape, rng: np.random.Generator) -> Geometry:
        left, top, right, bottom = self.padding
        size = shape.height + top + bottom, shape.width + left + right
        corner = np.full(shape.images, -left, np.float64), np.full(shape.images, -top, np.float64)
        return Geometry(cut(*corner), size, self.outside)


class CenterCrop(DrawnStep):
    """The middle of images; where they are smaller than that, a border of zeros.

    Args:
        size: an integer or (height, width).

    Raises:
        ShapeError, DTypeError: the size is not positive, or no integer.
    """

    shown = ("size",)

    def __init__(self, size: Any) -> None:
        self.size = pair(self._name, "size", size, 1)

    def _draw(self, shape: BatchShape, rng: np.random.Generator) -> Geometry:
        height, width = self.size
        left = np.full(shape.images, np.rint((shape.width - width) / 2))
        top = np.full(shape.images, np.rint((shape.height - height) / 2))
        inside = height <= shape.height and width <= shape.width
        return Geometry(cut(left, top), self.size, None if inside else Outside())


class RandomCrop(DrawnStep):
    """A part of each image at a place drawn evenly, after a border.

    Args:
        size: of the part, an integer or (height, width).
        padding: pixels of border, as `Pad` takes them; None for none.
        pad_if_needed: widen the border where an image is smaller than `size`; otherwise that is an error.
        fill, fill_mode: of the border, as `warp_affine` has them.

    Raises:
        ShapeError, DTypeError: an argument is out of its range or of the wrong type; images are too small.
    """

    shown = ("size", "padding", "pad_if_needed", "fill", "fill_mode")

    def __init__(
        self,
        size: Any,
        padding: Any = None,
        pad_if_needed: bool = False,
        fill: Any = 0.0,
        fill_mode: str = "area",
    ) -> None:
        from ...nn._args import flag

        self.size = pair(self._name, "size", size, 1)
        self.padding = None if padding is None else four_sides(self._name, padding)
        self.pad_if_needed = flag(self._name, "pad_if_needed", pad_if_needed)
        self.outside = outside_of(self._name, "bilinear", fill_mode, fill)
        self.fill, self.fill_mode = self.outside.fill, self.outside.fill_mode

    def _draw(self, shape: BatchShape, rng: np.random.Generator) -> Geometry:
        left, top, right, bottom = self.padding or (0, 0, 0, 0)
        height, width = self.size
        if self.pad_if_needed:
            more = max(0, width - shape.width - left - right)
            left, right = left + more, right + more
            more = max(0, height - shape.height - top - bottom)
            top, bottom = top + more, bottom + more
        across = shape.width + left + right - width
        along = shape.height + top + bottom - height
        if across < 0 or along < 0:
            raise ShapeError(
                f"{self._name}: images of {shape.height}x{shape.width} with their border are smaller "
                f"than the crop of {height}x{width}"
            )
        x = rng.integers(0, across + 1, shape.images) - left
        y = rng.integers(0, along + 1, shape.images) - top
        bordered = any((left, top, right, bottom))
        matrices = cut(x.astype(np.float64), y.astype(np.float64))
        return Geometry(matrices, self.size, self.outside if bordered else None)


class RandomResizedCrop(DrawnStep):
    """A part of each image of random area and proportions, shown in a given size.

    As in Inception's training: ten times an area and a ratio are drawn, and the first that fits the image is
    taken at a place drawn evenly; else the largest middle part whose ratio is allowed. Pixels are
    interpolated without smoothing first, so that parts much larger than `size` lose detail unevenly.

    Args:
        size: of the results, an integer or (height, width).
        scale: (least, most) of the part's share of the image's area.
        ratio: (least, most) of its width over its height.

    Raises:
        ShapeError, DTypeError: an argument is out of its range or of the wrong type.
    """

    shown = ("size", "scale", "ratio")
    _tries = 10

    def __init__(self, size: Any, scale: Any = (0.08, 1.0), ratio: Any = (3 / 4, 4 / 3)) -> None:
        self.size = pair(self._name, "size", size, 1)
        self.scale = interval(self._name, "scale", scale, 1e-6, 1.0)
        self.ratio = interval(self._name, "ratio", ratio, 1e-3, 1e3)

    def _draw(self, shape: BatchShape, rng: np.random.Generator) -> Geometry:
        n, tries = shape.images, self._tries
        area = shape.height * shape.width * uniform(rng, self.scale, n * tries).reshape(n, tries)
        bounds = math.log(self.ratio[0]), math.log(self.ratio[1])
        ratio = np.exp(uniform(rng, bounds, n * tries)).reshape(n, tries)
        width, height = np.rint(np.sqrt(area * ratio)), np.rint(np.sqrt(area / ratio))
        fits = (width >= 1) & (width <= shape.width) & (height >= 1) & (height <= shape.height)
        first = fits.argmax(1)[:, np.newaxis]
        width, height = (np.take_along_axis(v, first, 1)[:, 0] for v in (width, height))
        whole = shape.width / shape.height
        held = min(max(whole, self.ratio[0]), self.ratio[1])
        fallback = (
            max(1.0, np.rint(min(shape.width, shape.height * held))),
            max(1.0, np.rint(min(shape.height, shape.width / held))),
        )
        found = fits.any(1)
        width = np.where(found, width, fallback[0])
        height = np.where(found, height, fallback[1])
        left = np.floor(rng.random(n) * (shape.width - width + 1))
        top = np.floor(rng.random(n) * (shape.height - height + 1))
        left = np.where(found, left, np.floor((shape.width - width) / 2))
        top = np.where(found, top, np.floor((shape.height - height) / 2))
        # The middle of pixel i of the result is (i + 1/2) / size along the part.
        across, along = width / self.size[1], height / self.size[0]
        matrices = cut(left + across / 2 - 0.5, top + along / 2 - 0.5)
        matrices[:, 0, 0], matrices[:, 1, 1] = across, along
        return Geometry(matrices, self.size, None)
