"""Pictures brought to one size."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from ..errors import FormatError, ShapeError
from .idx import PathLike
from .image import WHITE, Background, checked_background, decode_image, printable

__all__ = ["Fit"]

_RESIZES = ("crop", "squash", "pad")
# Sides that networks take are hundreds of pixels; a slip of the hand should not take the memory.
_MAX_SIDE = 1 << 14
# A JPEG is decoded in a fraction of its size that is still this many times larger than wanted.
_GAP = 2


class Fit:
    """Reads an image file as uint8 (C, height, width), resized with Pillow's bilinear filter.

    Args:
        who: what errors name.
        size: height and width, an integer or a pair; None: as the file has it.
        channels: 3 for RGB, 1 for grey.
        resize: "crop": the largest part in the middle that has the proportions asked for;
            "squash": the whole picture, its proportions changed; "pad": the whole picture with
            its proportions, black on both sides.
        background: red, green and blue, which show where an image is transparent; None: the
            colours that the file has there.
        reduce: decode a JPEG of more than twice the size asked for in a half, a quarter or an
            eighth of its size, from which the rest of the way is resized.

    Raises:
        ShapeError, DTypeError: an argument is out of range or of the wrong type.
    """

    def __init__(
        self,
        who: str,
        size: int | Sequence[int] | None,
        channels: int = 3,
        resize: str = "crop",
        background: Background = WHITE,
        reduce: bool = True,
    ) -> None:
        from ..nn._args import flag, pair

        self.who = who
        self.size = None if size is None else pair(who, "size", size, 1)
        if self.size is not None and max(self.size) > _MAX_SIDE:
            raise ShapeError(f"{who}: size is {self.size}, expected at most {_MAX_SIDE}")
        if channels not in (1, 3):
            raise ShapeError(f"{who}: channels must be 1 or 3, got {channels!r}")
        if resize not in _RESIZES:
            raise ShapeError(f"{who}: resize must be 'crop', 'squash' or 'pad', got {resize!r}")
        self.channels, self.resize = channels, resize
        self.background = checked_background(who, background)
        self.reduce = flag(who, "reduce", reduce)

    def __repr__(self) -> str:
        return (
            f"Fit(size={self.size}, channels={self.channels}, resize={self.resize!r}, "
            f"background={self.background}, reduce={self.reduce})"
        )

    def __call__(self, path: PathLike) -> npt.NDArray[np.uint8]:
        """Raises as `load_image`; FormatError where a picture without `size` is too large."""
        mode = "RGB" if self.channels == 3 else "L"
        if self.size is None:
            image = decode_image(self.who, path, mode, background=self.background)
            if max(image.size) > _MAX_SIDE:
                raise FormatError(
                    f"{self.who}: {printable(path)}: {image.width}x{image.height} pixels, "
                    f"expected sides of at most {_MAX_SIDE}"
                )
        else:
            height, width = self.size
            enough = (_GAP * width, _GAP * height) if self.reduce else None
            image = decode_image(self.who, path, mode, enough, self.background)
            image = self._fitted(image, width, height)
        array = np.asarray(image).reshape(image.height, image.width, self.channels)
        return np.ascontiguousarray(array.transpose(2, 0, 1))

    def _fitted(self, image: Any, width: int, height: int) -> Any:
        from PIL import Image

        bilinear = Image.Resampling.BILINEAR
        if image.size == (width, height):
            return image
        if self.resize == "squash":
            return image.resize((width, height), bilinear)
        if self.resize == "crop":
            scale = min(image.width / width, image.height / height)
            left = (image.width - scale * width) / 2
            top = (image.height - scale * height) / 2
            box = (left, top, left + scale * width, top + scale * height)
            return image.resize((width, height), bilinear, box=_inside(box, image))
        scale = min(width / image.width, height / image.height)
        inner = (
            min(width, max(1, round(scale * image.width))),
            min(height, max(1, round(scale * image.height))),
        )
        padded = Image.new(image.mode, (width, height))
        place = ((width - inner[0]) // 2, (height - inner[1]) // 2)
        padded.paste(image.resize(inner, bilinear), place)
        return padded


def _inside(box: tuple[float, float, float, float], image: Any) -> tuple[float, ...]:
    """Rounding may have moved an edge over the picture's."""
    left, top, right, bottom = box
    return max(left, 0.0), max(top, 0.0), min(right, image.width), min(bottom, image.height)
