"""RandAugment: operations drawn from a fixed list, all of one strength."""

from __future__ import annotations

from typing import Any

import numpy as np

from ... import _core
from ...errors import DTypeError
from ...nn._args import integer, number
from .batch import Augmentation, BatchShape, FloatArray, Images, check_images
from .color import require_color, saturated, scaled
from .geometry import about_centre, moved_by, outside_of, rotation
from .plan import Colors, Geometry, Plan, Tones

__all__ = ["OPERATIONS", "RandAugment"]

OPERATIONS = (
    "identity",
    "shear_x",
    "shear_y",
    "translate_x",
    "translate_y",
    "rotate",
    "brightness",
    "color",
    "contrast",
    "sharpness",
    "posterize",
    "solarize",
    "autocontrast",
    "equalize",
)
_NUMBER = {name: i for i, name in enumerate(OPERATIONS)}
_TONES = {"posterize": 1, "solarize": 2, "autocontrast": 3, "equalize": 4}
_STRONGEST = 30


class RandAugment(Augmentation):
    """`n` operations an image, each drawn evenly from fourteen and of the same magnitude (Cubuk et al., 2019).

    With s = magnitude / 30, and signs drawn evenly:

    - identity, autocontrast, equalize (histograms of each channel): always the same;
    - shear_x, shear_y: by ± 0.3 s; translate_x, translate_y: by ± 150 / 331 s of the size, whole pixels;
    - rotate: by ± 30 s degrees;
    - brightness, color (saturation), contrast, sharpness: by the factor 1 ± 0.9 s;
    - posterize: to 8 - 4 s bits, rounded; solarize: values of 255 (1 - s) and more inverted.

    These are torchvision's operations and strengths; pixels are interpolated, unless told otherwise.

    Args:
        n: operations an image, one after the other.
        magnitude: 0 to 30.
        interpolation, fill_mode, fill: as `warp_affine` has them.

    Raises:
        ShapeError, DTypeError: an argument is out of its range or of the wrong type; images are not uint8, or
        have
            neither 1 nor 3 channels.
    """

    shown = ("n", "magnitude", "interpolation", "fill_mode", "fill")

    def __init__(
        self,
        n: int = 2,
        magnitude: float = 9,
        interpolation: str = "bilinear",
        fill_mode: str = "area",
        fill: Any = 0.0,
    ) -> None:
        self.n = integer(self._name, "n", n, 0)
        self.magnitude = number(self._name, "magnitude", magnitude, 0.0, _STRONGEST)
        self.outside = outside_of(self._name, interpolation, fill_mode, fill)
        self.interpolation, self.fill_mode = self.outside.interpolation, self.outside.fill_mode
        self.fill = self.outside.fill

    def __call__(self, images: Images, rng: np.random.Generator) -> Images:
        check_images(self._name, images, rng)
        if images.dtype != np.uint8:
            raise DTypeError(f"{self._name}: images must be uint8, got {images.dtype}")
        require_color(self._name, BatchShape.of(images))
        plan = Plan(self._name, images)
        for _ in range(self.n):
            chosen = rng.integers(0, len(OPERATIONS), len(images))
            sign = np.where(rng.random(len(images)) < 0.5, -1.0, 1.0)
            self._round(plan, chosen, sign)
        return plan.images()

    def _round(self, plan: Plan, chosen: Any, sign: FloatArray) -> None:
        """One operation for each image: those that are of other kinds leave it as it is."""
        strength = self.magnitude / _STRONGEST

        def where(*names: str) -> Any:
            return np.isin(chosen, [_NUMBER[name] for name in names])

        shape = plan.shape
        if where("shear_x", "shear_y", "translate_x", "translate_y", "rotate").any():
            plan.add(self._geometry(shape, where, sign * strength))
        factor = 1 + 0.9 * strength * sign
        one = np.ones_like(factor)
        if where("brightness", "color", "contrast").any():
            colors = np.where(
                where("color")[:, np.newaxis, np.newaxis],
                saturated(factor, shape),
                scaled(np.where(where("brightness"), factor, one), shape),
            )
            plan.add(Colors(colors, np.where(where("contrast"), factor, one)))
        if where(*_TONES).any():
            curves = np.zeros((shape.images, 2), np.int32)
            for name, kind in _TONES.items():
                curves[where(name), 0] = kind
            curves[where("posterize"), 1] = 8 - round(4 * strength)
            curves[where("solarize"), 1] = int(np.ceil(round(255 * (1 - strength), 6)))
            plan.add(Tones(curves))
        if where("sharpness").any():
            factors = np.where(where("sharpness"), factor, one)
            plan.replace(_core.sharpen(plan.images(), factors, 0.0, 1.0))

    def _geometry(self, shape: BatchShape, where: Any, strength: FloatArray) -> Geometry:
        linear = np.tile(np.eye(2), (shape.images, 1, 1))
        linear[where("shear_x"), 0, 1] = 0.3 * strength[where("shear_x")]
        linear[where("shear_y"), 1, 0] = 0.3 * strength[where("shear_y")]
        turning = where("rotate")
        linear[turning] = rotation(30 * strength[turning])
        far = 150 / 331
        right = np.where(where("translate_x"), np.trunc(far * shape.width * strength), 0.0)
        down = np.where(where("translate_y"), np.trunc(far * shape.height * strength), 0.0)
        matrices = about_centre(linear, shape) @ moved_by(right, down)
        return Geometry(matrices, (shape.height, shape.width), self.outside)
