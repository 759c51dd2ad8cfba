"""Reader for image files (PNG, JPEG and whatever else Pillow knows)."""

from __future__ import annotations

import os
from typing import Any

import numpy as np
import numpy.typing as npt

from ..errors import FormatError
from .idx import PathLike

__all__ = ["decode_image", "load_image", "printable"]


def load_image(path: PathLike) -> npt.NDArray[np.uint8]:
    """Read an image file as 8-bit RGB.

    Greyscale, palette, CMYK and 16-bit greyscale images are converted, an alpha channel is
    dropped, the EXIF orientation is applied, and of an animation the first frame is taken.

    Args:
        path: the image file; its kind is told by its contents.

    Returns:
        A new (H, W, 3) uint8 array, values 0 to 255.

    Raises:
        FormatError: the file is no image, is damaged or truncated, has a pixel type without a
            meaning in 8 bits (float), or has more pixels than `PIL.Image.MAX_IMAGE_PIXELS`.
        ImportError: Pillow is not installed.
        OSError: the file is missing or cannot be read.
    """
    return np.array(decode_image("load_image", path, "RGB"), dtype=np.uint8, order="C")


def decode_image(
    who: str, path: PathLike, mode: str, at_least: tuple[int, int] | None = None
) -> Any:
    """`load_image` as a `PIL.Image.Image` of mode "RGB" or "L".

    Args:
        who: what errors name.
        at_least: (width, height), that suffices: a JPEG may come in a half, a quarter or an eighth
            of its size, as long as both sides are at least these.
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
                image = ImageOps.exif_transpose(opened)
                if image.mode.startswith("I;16") or (image.mode == "I" and opened.format == "PNG"):
                    grey = (np.asarray(image) >> 8).astype(np.uint8)
                    return Image.fromarray(grey).convert(mode)
                if image.mode in ("I", "F"):
                    raise FormatError(
                        f"{who}: {name}: pixels of mode {image.mode!r} (32 bits), "
                        "expected 8 or 16 bits per channel"
                    )
                if "transparency" in image.info:
                    image = image.convert("RGBA")
                if image.mode not in ("L", "1"):
                    image = image.convert("RGB")
                return image.convert(mode)
        except (FormatError, MemoryError):
            raise
        except Exception as error:  # Pillow's decoders raise OSError, SyntaxError, struct.error...
            raise FormatError(
                f"{who}: {name}: not a readable image ({type(error).__name__}: {error})"
            ) from error


def printable(path: PathLike) -> str:
    """A path as text that every terminal and file takes: bytes that are no UTF-8 as \\xNN."""
    return os.fsencode(path).decode("utf-8", "backslashreplace")
