"""Name what image files show, with probabilities.

Each image is made grey and resized to the network's input. The data sets have light shapes on
black: use --invert for dark shapes on a light background.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np

from .._arrays import NDArray
from ..data import Standardize, load_image
from ..errors import FormatError
from ..train import predict
from .common import add_threads, checkpoint_net, percent, set_threads, whole

__all__ = ["add_arguments", "image_to_input", "run"]

DEFAULT = Path("runs/lenet5/best.safetensors")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of this command."""
    parser.add_argument("images", metavar="IMAGE", nargs="+", type=Path, help="PNG, JPEG ... files")
    parser.add_argument(
        "--checkpoint",
        metavar="F",
        type=Path,
        default=DEFAULT,
        help=f"file of `fastconv train` (default: {DEFAULT})",
    )
    parser.add_argument("--invert", action="store_true", help="exchange light and dark")
    parser.add_argument(
        "--top", metavar="K", type=whole(1), default=3, help="classes to name (default: 3)"
    )
    add_threads(parser)


def run(options: argparse.Namespace) -> int:
    """Predict; the exit code."""
    set_threads(options)
    if options.checkpoint == DEFAULT and not DEFAULT.exists():
        raise FileNotFoundError(
            f"there is no {DEFAULT} here: run `fastconv train lenet5` first, or give --checkpoint"
        )
    net, checkpoint = checkpoint_net(options.checkpoint)
    config = checkpoint.config
    try:
        shape = tuple(int(n) for n in config["image_shape"])
        standardize = Standardize(config["mean"], config["std"])
        classes = [str(name) for name in config["classes"]]
    except KeyError as missing:
        raise FormatError(f"{options.checkpoint}: no {missing} in it") from missing
    inputs = [
        standardize(image_to_input(path, shape, invert=options.invert)) for path in options.images
    ]
    probabilities = predict(net, np.concatenate(inputs), probabilities=True)
    for path, row in zip(options.images, probabilities, strict=True):
        order = np.argsort(-row, kind="stable")[: options.top]
        print(f"{path}: " + ", ".join(f"{classes[i]} {percent(float(row[i]))}" for i in order))
    return 0


def image_to_input(path: Path, shape: tuple[int, ...], *, invert: bool = False) -> NDArray:
    """An image file as uint8 (1, C, H, W): grey for one channel, resized, not standardised.

    Raises:
        FormatError: the file is no image. ImportError: Pillow is missing. OSError: the file is
            missing.
    """
    pixels = load_image(path)
    from PIL import Image

    channels, height, width = shape
    image: Any = Image.fromarray(pixels)
    if channels == 1:
        image = image.convert("L")
    if image.size != (width, height):
        image = image.resize((width, height), Image.Resampling.BILINEAR)
    array = np.array(image, dtype=np.uint8).reshape(height, width, channels).transpose(2, 0, 1)
    return np.ascontiguousarray(255 - array if invert else array)[np.newaxis]
