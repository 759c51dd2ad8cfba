"""Pictures as classifiers want them: resized, cropped, scaled."""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ..errors import DTypeError, ShapeError
from .image import load_image

__all__ = ["PRESETS", "Preprocess", "Scaling", "imagenet_classes"]

_RESAMPLING = ("nearest", "bilinear", "bicubic", "lanczos")
# Sides that networks take are hundreds of pixels; a slip of the hand should not take the memory.
_MAX_SIDE = 1 << 14


@dataclass(frozen=True)
class Scaling:
    """How pixels of 0 to 255 become a network's input: (pixel - mean) / std.

    Attributes:
        mean, std: one number for every channel, or one for all, in the network's order of channels.
        bgr: whether blue comes first.
    """

    mean: tuple[float, ...]
    std: tuple[float, ...]
    bgr: bool = False


PRESETS: dict[str, Scaling] = {
    # torchvision and most others: mean and deviation of ImageNet's pixels
    "imagenet": Scaling((123.675, 116.28, 103.53), (58.395, 57.12, 57.375)),
    # Caffe, and Keras's VGG, ResNet and DenseNet of that origin: blue first, means taken off
    "caffe": Scaling((103.939, 116.779, 123.68), (1.0,), bgr=True),
    # TensorFlow's Inception and MobileNet: -1 to 1
    "tf": Scaling((127.5,), (127.5,)),
    # EfficientNet-Lite
    "lite": Scaling((127.0,), (128.0,)),
    # 0 to 1
    "unit": Scaling((0.0,), (255.0,)),
}


class Preprocess:
    """Prepares a picture: the shorter side is resized, the centre cut out, pixels are scaled.

    The resized picture keeps its proportions; the cut is where torchvision's is. Pillow resizes, with
    its filters that take every pixel of a larger picture into account.

    Args:
        preset: one of `PRESETS`, or a `Scaling`: "imagenet", "caffe" (blue first, means taken off),
            "tf" (-1 to 1), "lite" ((x - 127) / 128) or "unit" (0 to 1).
        size: height and width of the result, or one number for both, in pixels.
        resize: the shorter side before the cut; by default `size` / 0.875, 256 for 224.
        interpolation: "bilinear", "bicubic", "lanczos" or "nearest".
        channels: 3, or 1 for grey pictures.

    Raises:
        ShapeError, DTypeError: an argument is out of range or of the wrong type.
    """

    def __init__(
        self,
        preset: str | Scaling = "imagenet",
        *,
        size: int | Sequence[int] = 224,
        resize: int | None = None,
        interpolation: str = "bilinear",
        channels: int = 3,
    ) -> None:
        self.scaling = _scaling(preset)
        height, width = size if isinstance(size, (tuple, list)) and len(size) == 2 else (size, size)
        self.size = (_side("size", height), _side("size", width))
        least = max(self.size)
        self.resize = round(least / 0.875) if resize is None else _side("resize", resize)
        if self.resize < least:
            raise ShapeError(
                f"Preprocess: resize is {self.resize}, expected at least the size {self.size}"
            )
        if interpolation not in _RESAMPLING:
            raise ShapeError(
                f"Preprocess: interpolation must be one of {', '.join(_RESAMPLING)}, got "
                f"{interpolation!r}"
            )
        self.interpolation = interpolation
        if channels not in (1, 3):
            raise ShapeError(f"Preprocess: channels must be 1 or 3, got {channels!r}")
        self.channels = channels
        for numbers in (self.scaling.mean, self.scaling.std):
            if len(numbers) not in (1, channels):
                raise ShapeError(
                    f"Preprocess: the scaling is for {len(numbers)} channels, not {channels}"
                )

    def __repr__(self) -> str:
        return (
            f"Preprocess({self.scaling}, size={self.size}, resize={self.resize}, "
            f"interpolation={self.interpolation!r}, channels={self.channels})"
        )

    def __call__(
        self, image: str | os.PathLike[str] | npt.NDArray[np.uint8]
    ) -> npt.NDArray[np.float32]:
        """Prepare one picture.

        Args:
            image: a file that `load_image` reads, or its result: uint8 (H, W, 3).

        Returns:
            A new float32 array, (1, channels, height, width).

        Raises:
            DTypeError, ShapeError: an array of another kind, or a picture so narrow that its longer
                side would have more than 16,384 pixels.
            FormatError, ImportError, OSError: as `load_image`.
        """
        pixels = self.pixels(image).astype(np.float32)
        if self.scaling.bgr:
            pixels = pixels[::-1]
        pixels = pixels - np.array(self.scaling.mean, np.float32).reshape(-1, 1, 1)
        pixels /= np.array(self.scaling.std, np.float32).reshape(-1, 1, 1)
        return np.ascontiguousarray(pixels[np.newaxis])

    def pixels(
        self, image: str | os.PathLike[str] | npt.NDArray[np.uint8]
    ) -> npt.NDArray[np.uint8]:
        """The picture resized and cut, (channels, height, width), not scaled; raises as a call."""
        array = image if isinstance(image, np.ndarray) else load_image(image)
        if array.dtype != np.uint8:
            raise DTypeError(f"Preprocess: the image is {array.dtype}, expected uint8")
        if array.ndim != 3 or array.shape[2] != 3 or not array.size:
            raise ShapeError(f"Preprocess: the image has shape {array.shape}, expected (H, W, 3)")
        try:
            from PIL import Image
        except ImportError as error:
            raise ImportError(
                'Preprocess needs Pillow, which is not installed: pip install "fastconv[io]"'
            ) from error

        picture: Any = Image.fromarray(array)
        if self.channels == 1:
            picture = picture.convert("L")
        width, height = picture.size
        short = min(width, height)
        target = (
            max(self.resize * width // short, self.resize),
            max(self.resize * height // short, self.resize),
        )
        if max(target) > _MAX_SIDE:
            raise ShapeError(
                f"Preprocess: the image is {width}x{height}, which resized to {self.resize} pixels "
                f"would be {target[0]}x{target[1]}, expected sides of at most {_MAX_SIDE}"
            )
        if picture.size != target:
            picture = picture.resize(target, getattr(Image.Resampling, self.interpolation.upper()))
        top = round((target[1] - self.size[0]) / 2)
        left = round((target[0] - self.size[1]) / 2)
        cut = np.asarray(picture)[top : top + self.size[0], left : left + self.size[1]]
        return np.ascontiguousarray(cut.reshape(*self.size, self.channels).transpose(2, 0, 1))


def imagenet_classes() -> tuple[str, ...]:
    """The names of ImageNet's 1000 classes (ILSVRC 2012); label i is the i-th.

    Source: torchvision, BSD 3-clause licence; see `data/imagenet_classes.LICENSE`.
    """
    text = (Path(__file__).parent / "imagenet_classes.txt").read_text(encoding="utf-8")
    return tuple(text.splitlines())


def _scaling(preset: str | Scaling) -> Scaling:
    if isinstance(preset, str):
        if preset not in PRESETS:
            raise ShapeError(
                f"Preprocess: there is no preset {preset!r}; there are {', '.join(PRESETS)}"
            )
        return PRESETS[preset]
    if not isinstance(preset, Scaling):
        raise DTypeError(
            f"Preprocess: preset must be a name or a Scaling, got {type(preset).__name__}"
        )
    if not all(math.isfinite(n) for n in (*preset.mean, *preset.std)) or min(preset.std) <= 0:
        raise ShapeError(f"Preprocess: expected finite means and deviations above 0, got {preset}")
    return preset


def _side(what: str, value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, (int, np.integer)):
        raise DTypeError(f"Preprocess: {what} must be an integer, got {value!r}")
    if not 1 <= value <= _MAX_SIDE:
        raise ShapeError(f"Preprocess: {what} must be from 1 to {_MAX_SIDE}, got {value}")
    return int(value)
