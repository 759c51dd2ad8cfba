"""Reader for image files (PNG, JPEG and whatever else Pillow knows)."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from ..errors import DTypeError, FormatError, ShapeError
from .idx import PathLike

__all__ = ["WHITE", "Background", "checked_background", "decode_image", "load_image", "printable"]

Background = Sequence[int] | None
WHITE = (255, 255, 255)

_ORIENTATION = 0x0112  # the EXIF tag


def load_image(path: PathLike, background: Background = WHITE) -> npt.NDArray[np.uint8]:
    """Read an image file as 8-bit RGB.

    Greyscale, palette, CMYK and 16-bit images are converted, transparent ones laid on `background`,
    the EXIF orientation is applied, and of an animation the first frame is taken.

    Args:
        path: the image file; its kind is told by its contents.
        background: red, green and blue, 0 to 255, that show where an image is transparent; None: the
            colours that the file has there, however transparent.

    Returns:
        A new (H, W, 3) uint8 array, values 0 to 255.

    Raises:
        FormatError: the file is no image, is damaged or truncated, has a pixel type without a
            meaning in 8 bits (float), or has more pixels than `PIL.Image.MAX_IMAGE_PIXELS`.
        ShapeError, DTypeError: `background` is not three whole numbers from 0 to 255.
        ImportError: Pillow is not installed.
        OSError: the file is missing or cannot be read.
    """
    colour = checked_background("load_image", background)
    image = decode_image("load_image", path, "RGB", background=colour)
    return np.array(image, dtype=np.uint8, order="C")


def checked_background(who: str, background: Any) -> tuple[int, int, int] | None:
    """Red, green and blue, 0 to 255, or None."""
    if background is None:
        return None
    if isinstance(background, str) or not isinstance(background, (Sequence, np.ndarray)):
        raise DTypeError(
            f"{who}: background is a {type(background).__name__}, expected three numbers or None"
        )
    whole = all(
        isinstance(value, (int, np.integer)) and not isinstance(value, bool) for value in background
    )
    if not whole:
        raise DTypeError(f"{who}: background is {background!r}, expected whole numbers")
    if len(background) != 3 or not all(0 <= value <= 255 for value in background):
        raise ShapeError(f"{who}: background is {background!r}, expected three from 0 to 255")
    red, green, blue = (int(value) for value in background)
    return red, green, blue


def decode_image(
    who: str,
    path: PathLike,
    mode: str,
    at_least: tuple[int, int] | None = None,
    background: tuple[int, int, int] | None = WHITE,
) -> Any:
    """`load_image` as a `PIL.Image.Image` of mode "RGB", "L", or "RGBA", which keeps its transparency.

    Args:
        who: what errors name.
        at_least: (width, height), that suffices: a JPEG may come in a half, a quarter or an eighth
            of its size, as long as both sides are at least these.
        background: as `checked_background` returns it.
    """
    try:
        from PIL import Image, ImageOps
    except ImportError as error:
        raise ImportError(
            f'{who} needs Pillow, which is not installed: pip install "fastconv[io]"'
        ) from error

    name = printable(path)
    with open(path, "rb") as file:
        try:
            with Image.open(file) as opened:
                limit = Image.MAX_IMAGE_PIXELS
                pixels = opened.width * opened.height
                if limit is not None and pixels > limit:
                    raise FormatError(
                        f"{who}: {name}: {opened.width}x{opened.height} is {pixels} pixels, "
                        f"expected at most {limit}"
                    )
                if at_least is not None and opened.format == "JPEG":
                    # Which side is which is only known when the orientation is.
                    opened.draft(None, (max(at_least), max(at_least)))
                opened.load()
                image: Any = opened  # neither turned nor converted without need: each is a copy
                if opened.getexif().get(_ORIENTATION, 1) != 1:
                    image = ImageOps.exif_transpose(opened)
                image = _in_8_bits(image, opened.format)
                if image is None:
                    raise FormatError(
                        f"{who}: {name}: pixels of mode {opened.mode!r} (32 bits), "
                        "expected 8 or 16 bits per channel"
                    )
                return _in_mode(image, mode, background)
        except (FormatError, MemoryError):
            raise
        except Exception as error:  # Pillow's decoders raise OSError, SyntaxError, struct.error...
            raise FormatError(
                f"{who}: {name}: not a readable image ({type(error).__name__}: {error})"
            ) from error


def _in_8_bits(image: Any, kind: str | None) -> Any:
    """16-bit grey as 8, other images as they are; None: they have values without a meaning in 8 bits."""
    from PIL import Image

    if not (image.mode.startswith("I;16") or (image.mode == "I" and kind == "PNG")):
        return None if image.mode in ("I", "F") else image
    deep = np.asarray(image)
    grey = Image.fromarray((deep >> 8).astype(np.uint8))
    see_through = image.info.get("transparency")
    if see_through is None:
        return grey
    opacity = Image.fromarray(np.where(deep == see_through, 0, 255).astype(np.uint8))
    return Image.merge("LA", (grey, opacity))


def _in_mode(image: Any, mode: str, background: tuple[int, int, int] | None) -> Any:
    """An image of 8 bits in "RGB", "L" or "RGBA"; in the first two laid on the background."""
    from PIL import Image

    if "transparency" in image.info or image.mode in ("RGBA", "LA", "PA", "RGBa"):
        image = image.convert("RGBA")
        if mode != "RGBA" and background is not None:
            flat = Image.new("RGB", image.size, background)
            flat.paste(image, (0, 0), image)
            image = flat
    if image.mode == mode:
        return image
    if image.mode not in ("L", "1", "RGB"):
        image = image.convert("RGB")
    return image if image.mode == mode else image.convert(mode)


def printable(path: PathLike) -> str:
    """A path as text that every terminal and file takes: bytes that are no UTF-8 as \\xNN."""
    return os.fsencode(path).decode("utf-8", "backslashreplace")
