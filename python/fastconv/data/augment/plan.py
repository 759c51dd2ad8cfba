"""Steps drawn for a batch, joined into as few native passes as their order allows."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from ... import _core
from ...errors import ShapeError
from .batch import BatchShape, FloatArray, Images, spread

__all__ = ["Boxes", "Colors", "Geometry", "Outside", "Plan", "Tones"]


@dataclass(frozen=True)
class Outside:
    """How pixels between and outside those of an image are made."""

    interpolation: str = "bilinear"
    fill_mode: str = "area"
    fill: float | tuple[float, ...] = 0.0


@dataclass
class Geometry:
    """Where each image's pixels come from: (n, 3, 3) from places in the result to places in the image.

    `outside` is None for steps that never look outside of the image and copy pixels; they go with any other.
    """

    matrices: FloatArray
    size: tuple[int, int]
    outside: Outside | None


@dataclass
class Colors:
    """before, contrast, after: (n, C, C + 1) matrices, factors (n,), or None."""

    before: FloatArray
    contrast: FloatArray | None = None
    after: FloatArray | None = None


@dataclass
class Tones:
    """(n, 2) int32: kinds and values of tone curves."""

    curves: npt.NDArray[np.int32]


@dataclass
class Boxes:
    """(n, k, 4) int64 rectangles top, left, height, width, painted with `paint`."""

    rectangles: npt.NDArray[np.int64]
    paint: float | tuple[float, ...]


Drawn = Geometry | Colors | Tones | Boxes

_ORDER = (Geometry, Colors, Tones, Boxes)


class Plan:
    """A batch on its way through steps.

    What is added is kept until something cannot follow it in the same pass (geometry, then colours, tones,
    boxes); then the pass runs. `images()` runs what is left.
    """

    def __init__(self, owner: str, images: Images) -> None:
        self.owner, self._images, self._fresh = owner, images, False
        self._clear()

    def _clear(self) -> None:
        self._geometry: Geometry | None = None
        self._colors: Colors | None = None
        self._tones: Tones | None = None
        self._boxes: Boxes | None = None
        self._stage = 0

    @property
    def shape(self) -> BatchShape:
        """Of the batch as it is after the steps so far."""
        now = BatchShape.of(self._images)
        if self._geometry is not None:
            height, width = self._geometry.size
            now = now._replace(height=height, width=width)
        return now

    def add(self, drawn: Drawn | None) -> None:
        """Add a step; None is one that changes nothing."""
        if drawn is None:
            return
        stage = _ORDER.index(type(drawn))
        if stage < self._stage or not self._joined(drawn):
            self._run()
            self._joined(drawn)
        self._stage = stage

    def images(self) -> Images:
        """The batch after all steps: a new array."""
        self._run()
        return self._images if self._fresh else self._images.copy()

    def replace(self, images: Images) -> None:
        """Go on with images that were made of `images()`."""
        self._images, self._fresh = images, True

    def _joined(self, drawn: Drawn) -> bool:
        if isinstance(drawn, Geometry):
            return self._join_geometry(drawn)
        if isinstance(drawn, Colors):
            return self._join_colors(drawn)
        if isinstance(drawn, Tones):
            if self._tones is not None:
                return False
            self._tones = drawn
            return True
        if self._boxes is not None:
            if self._boxes.paint != drawn.paint:
                return False
            together = np.concatenate([self._boxes.rectangles, drawn.rectangles], 1)
            drawn = Boxes(together, drawn.paint)
        self._boxes = drawn
        return True

    def _join_geometry(self, drawn: Geometry) -> bool:
        first = self._geometry
        if first is None:
            self._geometry = drawn
            return True
        if None not in (first.outside, drawn.outside) and first.outside != drawn.outside:
            return False
        self._geometry = Geometry(
            first.matrices @ drawn.matrices, drawn.size, first.outside or drawn.outside
        )
        return True

    def _join_colors(self, drawn: Colors) -> bool:
        first = self._colors
        if first is None:
            self._colors = drawn
        elif first.contrast is None:
            before = chained(drawn.before, first.before)
            self._colors = Colors(before, drawn.contrast, drawn.after)
        elif drawn.contrast is None:
            after = drawn.before if first.after is None else chained(drawn.before, first.after)
            self._colors = Colors(first.before, first.contrast, after)
        else:
            return False
        return True

    def _run(self) -> None:
        if self._geometry or self._colors or self._tones or self._boxes:
            self.replace(self._pass())
            self._clear()

    def _pass(self) -> Images:
        geometry, colors, now = self._geometry, self._colors, BatchShape.of(self._images)
        outside = (geometry and geometry.outside) or Outside()
        matrices = size = color = contrast = boxes = paint = None
        if geometry:
            matrices, size = np.ascontiguousarray(geometry.matrices[:, :2]), geometry.size
        if colors:
            after = unchanged(now) if colors.after is None else colors.after
            color, contrast = np.stack([colors.before, after], 1), colors.contrast
        if self._boxes:
            boxes = self._boxes.rectangles
            paint = spread(self.owner, "fill", self._boxes.paint, now.channels)
        images: Images = _core.augment_batch(
            self._images,
            matrices,
            size,
            outside.interpolation,
            outside.fill_mode,
            spread(self.owner, "fill", outside.fill, now.channels),
            color,
            contrast,
            (0.0, 1.0),
            self._tones.curves if self._tones else None,
            boxes,
            paint,
        )
        return images


def unchanged(shape: BatchShape) -> FloatArray:
    """(n, C, C + 1): colours as they are."""
    c = shape.channels
    made = np.zeros((shape.images, c, c + 1))
    made[:, range(c), range(c)] = 1
    return made


def chained(second: FloatArray, first: FloatArray) -> FloatArray:
    """The colour matrices (n, C, C + 1) of `first` and then `second`."""
    together: FloatArray = second[..., :-1] @ first
    together[..., -1] += second[..., -1]
    return together


def require_same_shape(owner: str, made: Images, shape: tuple[int, ...], dtype: Any) -> None:
    """ShapeError where a step of some images changed their size, and they no longer fit those of others."""
    if made.shape[1:] != shape[1:] or made.dtype != dtype:
        raise ShapeError(
            f"{owner}: every choice must give images of the same shape and type, "
            f"got {made.dtype}{list(made.shape[1:])} and {dtype}{list(shape[1:])}"
        )
