"""Flips, rotation, shift, zoom, shear.

Each step is a matrix an image, and neighbours in a Compose are multiplied, so that images are interpolated
once. Angles are in degrees. Matrices turn about the centre of the image, ((W - 1) / 2, (H - 1) / 2) in
pixels; x runs to the right and y down.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ... import _core
from ...errors import DTypeError, ShapeError
from ...nn._args import choice, number, pair
from .batch import (
    BatchShape,
    FloatArray,
    Images,
    check_images,
    interval,
    per_channel,
    probability,
    spread,
    symmetric,
    uniform,
)
from .plan import Geometry, Outside
from .step import DrawnStep

__all__ = [
    "RandomAffine",
    "RandomHorizontalFlip",
    "RandomRotation",
    "RandomShear",
    "RandomShift",
    "RandomTranslation",
    "RandomVerticalFlip",
    "RandomZoom",
    "warp_affine",
]

INTERPOLATIONS = ("nearest", "bilinear")
FILL_MODES = ("area", "constant", "nearest", "reflect", "wrap")


def warp_affine(
    images: Images,
    matrices: Any,
    size: Any = None,
    interpolation: str = "bilinear",
    fill_mode: str = "area",
    fill: Any = 0.0,
) -> Images:
    """Images moved by affine maps, one an image, in one native pass over all threads.

    Pixel (x, y) of a result is the image at (m00 x + m01 y + m02, m10 x + m11 y + m12), pixels being points
    at whole numbers. Places are computed in float64 and rounded to 1/4096 of a pixel. uint8 results are exact
    for those places and rounded, halves up.

    What lies outside, for pixels 0 to n - 1 along an axis and place t, has the meaning of `scipy.ndimage`:

    - "constant": the fill value wherever t < 0 or t > n - 1;
    - "nearest": the outermost pixel (a a a | a b c d | d d d);
    - "reflect": the image mirrored, the outermost pixels repeated (c b a | a b c d | d c b);
    - "wrap": t modulo n - 1, so that the first and the last pixel coincide (b c d | a b c d | b c d);

    and "area", the default: the fill value outside of the squares that the outermost pixels are, t < -1/2 or
    t > n - 1/2, and the outermost pixel's value on them. Images then end where a display ends them.

    Args:
        images: uint8 or float32 (n, C, H, W).
        matrices: (n, 2, 3) numbers.
        size: (height, width) of the results; by default that of the images.
        interpolation: "bilinear", or "nearest" (halves go to the right and down).
        fill_mode: "area", "constant", "nearest", "reflect" or "wrap".
        fill: the fill value, or one a channel.

    Returns:
        A new array (n, C, height, width) of the images' type.

    Raises:
        ShapeError, DTypeError: an argument does not fit, or places lie more than 2^31 pixels away.
    """
    outside = outside_of("warp_affine", interpolation, fill_mode, fill)
    check_images("warp_affine", images, np.random.default_rng(0))
    table = np.asarray(matrices)
    if table.dtype.kind not in "fiu":
        raise DTypeError(f"warp_affine: matrices must be numbers, got {table.dtype}")
    if table.shape != (len(images), 2, 3):
        raise ShapeError(
            f"warp_affine: matrices must be ({len(images)}, 2, 3) for {len(images)} images, "
            f"got {table.shape}"
        )
    made: Images = _core.augment_batch(
        images,
        np.ascontiguousarray(table, np.float64),
        None if size is None else pair("warp_affine", "size", size, 1),
        outside.interpolation,
        outside.fill_mode,
        spread("warp_affine", "fill", outside.fill, images.shape[1]),
        None,
        None,
        (0.0, 1.0),
        None,
        None,
        None,
    )
    return made


def outside_of(owner: str, interpolation: Any, fill_mode: Any, fill: Any) -> Outside:
    """The three arguments that every step with interpolation has, checked."""
    return Outside(
        choice(owner, "interpolation", interpolation, INTERPOLATIONS),
        choice(owner, "fill_mode", fill_mode, FILL_MODES),
        per_channel(owner, "fill", fill),
    )


def about_centre(linear: FloatArray, shape: BatchShape) -> FloatArray:
    """(n, 3, 3) of (n, 2, 2): the linear map about the images' centre."""
    centre = np.array([(shape.width - 1) / 2, (shape.height - 1) / 2])
    made = np.zeros((shape.images, 3, 3))
    made[:, :2, :2] = linear
    made[:, :2, 2] = centre - linear @ centre
    made[:, 2, 2] = 1
    return made


def moved_by(dx: FloatArray, dy: FloatArray) -> FloatArray:
    """(n, 3, 3) that show images moved right by dx and down by dy pixels."""
    made = np.tile(np.eye(3), (len(dx), 1, 1))
    made[:, 0, 2], made[:, 1, 2] = -dx, -dy
    return made


def rotation(degrees: FloatArray) -> FloatArray:
    """(n, 2, 2) that show images turned counter-clockwise; quarters of a turn are exact."""
    radians = np.deg2rad(degrees)
    cosine, sine = np.cos(radians), np.sin(radians)
    quarter = degrees % 90 == 0
    cosine, sine = (
        np.where(quarter, np.rint(cosine), cosine),
        np.where(quarter, np.rint(sine), sine),
    )
    made: FloatArray = np.stack([cosine, -sine, sine, cosine], -1).reshape(-1, 2, 2)
    return made


def shear(x: FloatArray, y: FloatArray) -> FloatArray:
    """(n, 2, 2) that show rows moved along x in proportion to y, and columns along y: angles in degrees."""
    forward = np.zeros((len(x), 2, 2))
    forward[:, 0, 0] = forward[:, 1, 1] = 1
    forward[:, 0, 1], forward[:, 1, 0] = np.tan(np.deg2rad(x)), np.tan(np.deg2rad(y))
    made: FloatArray = np.linalg.inv(forward).astype(np.float64, copy=False)
    return made


class _Moving(DrawnStep):
    """A step with interpolation, and with what is outside of the image."""

    def __init__(self, interpolation: str, fill_mode: str, fill: Any) -> None:
        self.outside = outside_of(self._name, interpolation, fill_mode, fill)
        self.interpolation, self.fill_mode = self.outside.interpolation, self.outside.fill_mode
        self.fill = self.outside.fill

    def _about_centre(self, linear: FloatArray, shape: BatchShape) -> Geometry:
        return Geometry(about_centre(linear, shape), (shape.height, shape.width), self.outside)


class _Flip(DrawnStep):
    shown = ("p",)
    axis = 0

    def __init__(self, p: float = 0.5) -> None:
        self.p = probability(self._name, p)

    def _draw(self, shape: BatchShape, rng: np.random.Generator) -> Geometry:
        linear = np.tile(np.eye(2), (shape.images, 1, 1))
        linear[:, self.axis, self.axis] = np.where(rng.random(shape.images) < self.p, -1, 1)
        return Geometry(about_centre(linear, shape), (shape.height, shape.width), None)


class RandomHorizontalFlip(_Flip):
    """Left and right exchanged with probability `p`.

    Raises:
        ShapeError, DTypeError: p is no number in [0, 1].
    """


class RandomVerticalFlip(_Flip):
    """Top and bottom exchanged with probability `p`.

    Raises:
        ShapeError, DTypeError: p is no number in [0, 1].
    """

    axis = 1


class RandomRotation(_Moving):
    """Images turned about their centre, counter-clockwise, by angles drawn from a range.

    Args:
        degrees: (least, most), or a number d for (-d, d).
        interpolation, fill_mode, fill: as `warp_affine` has them.

    Raises:
        ShapeError, DTypeError: an argument is out of its range or of the wrong type.
    """

    shown = ("degrees", "interpolation", "fill_mode", "fill")

    def __init__(
        self,
        degrees: Any,
        interpolation: str = "bilinear",
        fill_mode: str = "area",
        fill: Any = 0.0,
    ) -> None:
        super().__init__(interpolation, fill_mode, fill)
        self.degrees = symmetric(self._name, "degrees", degrees, 1e6)

    def _draw(self, shape: BatchShape, rng: np.random.Generator) -> Geometry:
        return self._about_centre(rotation(uniform(rng, self.degrees, shape.images)), shape)


class RandomTranslation(_Moving):
    """Images moved by whole numbers of pixels, drawn evenly.

    Args:
        pixels: the farthest, an integer for both directions or (vertical, horizontal).
        fill_mode, fill: as `warp_affine` has them; pixels are copied, not interpolated.

    Raises:
        ShapeError, DTypeError: an argument is out of its range or of the wrong type.
    """

    shown = ("pixels", "fill_mode", "fill")

    def __init__(self, pixels: Any, fill_mode: str = "area", fill: Any = 0.0) -> None:
        super().__init__("bilinear", fill_mode, fill)
        self.pixels = pair(self._name, "pixels", pixels, 0)

    def _draw(self, shape: BatchShape, rng: np.random.Generator) -> Geometry:
        down, right = (
            rng.integers(-reach, reach + 1, shape.images).astype(np.float64)
            for reach in self.pixels
        )
        return Geometry(moved_by(right, down), (shape.height, shape.width), self.outside)


class RandomShift(_Moving):
    """Images moved by fractions of their size, drawn evenly; places between pixels are interpolated.

    Args:
        width, height: the farthest to the sides and up and down, as parts of the width and height.
        interpolation, fill_mode, fill: as `warp_affine` has them.

    Raises:
        ShapeError, DTypeError: an argument is out of its range or of the wrong type.
    """

    shown = ("width", "height", "interpolation", "fill_mode", "fill")

    def __init__(
        self,
        width: float,
        height: float,
        interpolation: str = "bilinear",
        fill_mode: str = "area",
        fill: Any = 0.0,
    ) -> None:
        super().__init__(interpolation, fill_mode, fill)
        self.width = number(self._name, "width", width, 0.0, 1.0)
        self.height = number(self._name, "height", height, 0.0, 1.0)

    def _draw(self, shape: BatchShape, rng: np.random.Generator) -> Geometry:
        right = shape.width * uniform(rng, (-self.width, self.width), shape.images)
        down = shape.height * uniform(rng, (-self.height, self.height), shape.images)
        return Geometry(moved_by(right, down), (shape.height, shape.width), self.outside)


class RandomZoom(_Moving):
    """Images larger or smaller about their centre, in a frame of the same size.

    Args:
        scale: (least, most) factor; above 1 things look larger.
        same: whether height and width have the same factor, or one drawn for each.
        interpolation, fill_mode, fill: as `warp_affine` has them.

    Raises:
        ShapeError, DTypeError: an argument is out of its range or of the wrong type.
    """

    shown = ("scale", "same", "interpolation", "fill_mode", "fill")

    def __init__(
        self,
        scale: Any,
        same: bool = True,
        interpolation: str = "bilinear",
        fill_mode: str = "area",
        fill: Any = 0.0,
    ) -> None:
        from ...nn._args import flag

        super().__init__(interpolation, fill_mode, fill)
        self.scale = interval(self._name, "scale", scale, 1e-3, 1e3)
        self.same = flag(self._name, "same", same)

    def _draw(self, shape: BatchShape, rng: np.random.Generator) -> Geometry:
        x = uniform(rng, self.scale, shape.images)
        y = x if self.same else uniform(rng, self.scale, shape.images)
        linear = np.zeros((shape.images, 2, 2))
        linear[:, 0, 0], linear[:, 1, 1] = 1 / x, 1 / y
        return self._about_centre(linear, shape)


class RandomShear(_Moving):
    """Images sheared about their centre.

    Args:
        degrees: of the shear along x: (least, most), or a number d for (-d, d), within (-90, 90).
        degrees_y: likewise along y.
        interpolation, fill_mode, fill: as `warp_affine` has them.

    Raises:
        ShapeError, DTypeError: an argument is out of its range or of the wrong type.
    """

    shown = ("degrees", "degrees_y", "interpolation", "fill_mode", "fill")

    def __init__(
        self,
        degrees: Any,
        degrees_y: Any = 0.0,
        interpolation: str = "bilinear",
        fill_mode: str = "area",
        fill: Any = 0.0,
    ) -> None:
        super().__init__(interpolation, fill_mode, fill)
        self.degrees = symmetric(self._name, "degrees", degrees, 89.0)
        self.degrees_y = symmetric(self._name, "degrees_y", degrees_y, 44.0)
        if max(map(abs, self.degrees)) > 45 and self.degrees_y != (0.0, 0.0):
            raise ShapeError(f"{self._name}: with degrees_y, degrees must lie within (-45, 45)")

    def _draw(self, shape: BatchShape, rng: np.random.Generator) -> Geometry:
        x = uniform(rng, self.degrees, shape.images)
        y = uniform(rng, self.degrees_y, shape.images) if any(self.degrees_y) else np.zeros_like(x)
        return self._about_centre(shear(x, y), shape)


class RandomAffine(_Moving):
    """Shear, zoom, rotation and shift, in that order, about the centre.

    Args:
        degrees: of rotation, counter-clockwise: (least, most), or a number d for (-d, d).
        translate: the farthest to the sides and up and down, as parts of the width and height, or None.
        scale: (least, most) factor, or None.
        shear: degrees along x: (least, most), or a number d for (-d, d), or None.
        interpolation, fill_mode, fill: as `warp_affine` has them.

    Raises:
        ShapeError, DTypeError: an argument is out of its range or of the wrong type.
    """

    shown = ("degrees", "translate", "scale", "shear", "interpolation", "fill_mode", "fill")

    def __init__(
        self,
        degrees: Any,
        translate: Any = None,
        scale: Any = None,
        shear: Any = None,
        interpolation: str = "bilinear",
        fill_mode: str = "area",
        fill: Any = 0.0,
    ) -> None:
        super().__init__(interpolation, fill_mode, fill)
        self.degrees = symmetric(self._name, "degrees", degrees, 1e6)
        self.translate: tuple[float, float] | None = None
        if translate is not None:
            if not isinstance(translate, (tuple, list)) or len(translate) != 2:
                raise ShapeError(f"{self._name}: translate must be a pair (width, height)")
            across, along = (number(self._name, "translate", v, 0.0, 1.0) for v in translate)
            self.translate = across, along
        self.scale = None if scale is None else interval(self._name, "scale", scale, 1e-3, 1e3)
        self.shear = None if shear is None else symmetric(self._name, "shear", shear, 89.0)

    def _draw(self, shape: BatchShape, rng: np.random.Generator) -> Geometry:
        n = shape.images
        linear = rotation(uniform(rng, self.degrees, n))
        if self.scale is not None:
            linear = linear / uniform(rng, self.scale, n)[:, np.newaxis, np.newaxis]
        if self.shear is not None:
            linear = shear(uniform(rng, self.shear, n), np.zeros(n)) @ linear
        made = self._about_centre(linear, shape)
        if self.translate is not None:
            right, down = (
                size * uniform(rng, (-part, part), n)
                for size, part in zip((shape.width, shape.height), self.translate, strict=True)
            )
            made.matrices = made.matrices @ moved_by(right, down)
        return made
