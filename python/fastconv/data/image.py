"""Reader for image files (PNG, JPEG and whatever else Pillow knows)."""

from __future__ import annotations

import os

import numpy as np
import numpy.typing as npt

from ..errors import FormatError
from .idx import PathLike

__all__ = ["load_image"]


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
    try:
        from PIL import Image, ImageOps
    except ImportError as error:
        raise ImportError(
            'load_image needs Pillow, which is not installed: pip install "fastconv[io]"'
        ) from error

    name = os.fspath(path)
    with open(name, "rb") as file:
        try:
            with Image.open(file) as opened:
                limit = Image.MAX_IMAGE_PIXELS
                pixels = opened.width * opened.height
                if limit is not None and pixels > limit:
                    raise FormatError(
                        f"load_image: {name}: {opened.width}x{opened.height} is {pixels} pixels, "
                        f"expected at most {limit}"
                    )
                image = ImageOps.exif_transpose(opened)
                if image.mode.startswith("I;16") or (image.mode == "I" and opened.format == "PNG"):
                    grey = (np.asarray(image) >> 8).astype(np.uint8)
                    return np.repeat(grey[:, :, np.newaxis], 3, axis=2)
                if image.mode in ("I", "F"):
                    raise FormatError(
                        f"load_image: {name}: pixels of mode {image.mode!r} (32 bits), "
                        "expected 8 or 16 bits per channel"
                    )
                if "transparency" in image.info:
                    image = image.convert("RGBA")
                return np.array(image.convert("RGB"), dtype=np.uint8, order="C")
        except (FormatError, MemoryError):
            raise
        except Exception as error:  # Pillow's decoders raise OSError, SyntaxError, struct.error...
            raise FormatError(
                f"load_image: {name}: not a readable image ({type(error).__name__}: {error})"
            ) from error
