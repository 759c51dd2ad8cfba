"""What the parameters of Keras's ImageDataGenerator do to images."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from .batch import BatchShape, FloatArray
from .geometry import about_centre, rotation

__all__ = ["affine_maps", "brightened", "per_image"]


def per_image(values: FloatArray) -> npt.NDArray[np.float32]:
    return np.asarray(values, np.float32)[:, np.newaxis, np.newaxis, np.newaxis]


def affine_maps(drawn: dict[str, Any], shape: BatchShape) -> FloatArray:
    """(n, 3, 3) from places in the results to places in the images: rotation, shift, shear, zoom, and flips
    first.
    """
    n = shape.images

    def value(name: str, default: float) -> FloatArray:
        given = drawn.get(name)
        return np.full(n, default) if given is None else np.asarray(given, np.float64)

    turn = rotation(value("theta", 0))
    shift = np.stack([value("tx", 0), value("ty", 0)], 1)
    angle = np.deg2rad(value("shear", 0))
    shear = np.zeros((n, 2, 2))
    shear[:, 0, 0], shear[:, 0, 1], shear[:, 1, 1] = 1, -np.sin(angle), np.cos(angle)
    zoom, flip = np.zeros((n, 2, 2)), np.zeros((n, 2, 2))
    zoom[:, 0, 0], zoom[:, 1, 1] = value("zx", 1), value("zy", 1)
    flip[:, 0, 0] = np.where(value("flip_horizontal", 0) != 0, -1, 1)
    flip[:, 1, 1] = np.where(value("flip_vertical", 0) != 0, -1, 1)
    made = about_centre(turn @ shear @ zoom @ flip, shape)
    made[:, :2, 2] += (turn @ shift[..., np.newaxis])[..., 0]
    return made


def brightened(
    x: npt.NDArray[np.float32], factor: npt.NDArray[np.float32]
) -> npt.NDArray[np.float32]:
    """Images (n, C, H, W) as Pillow makes them brighter: cut to whole numbers before and after.

    Those with values beyond 0 to 255 are stretched to that range meanwhile. A fourth channel is taken as
    opacity and stays.
    """
    least, most = x.min((1, 2, 3), keepdims=True), x.max((1, 2, 3), keepdims=True)
    beyond = (least < 0) | (most > 255)
    span = np.where(most > least, most - least, np.float32(1))
    whole = np.floor(np.where(beyond, (x - least) / span * np.float32(255), x))
    made = np.clip(np.floor(factor * whole), 0, 255)
    if x.shape[1] == 4:
        made[:, 3] = whole[:, 3]
    stretched = made / np.float32(255) * (most - least) + least
    return np.where(beyond, stretched, made).astype(np.float32, copy=False)
