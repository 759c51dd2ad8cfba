"""The network that `predict` and `show` run, as their options say: one that was trained here, one by name with its
weights, or an ONNX file; and what makes its input of image files."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from .. import functional as F
from .._arrays import NDArray
from ..data import PRESETS, ImageFiles, Preprocess, Standardize, load_image
from ..errors import FormatError, ShapeError
from ..nn import Module
from .common import checkpoint_net, named_net, network_name, whole

__all__ = [
    "DEFAULT",
    "Pictured",
    "Trained",
    "add_network",
    "image_to_input",
    "pictured",
    "refuse",
    "refuse_for_trained",
    "trained",
]

DEFAULT = Path("runs/lenet5/best.safetensors")
# Options that a checkpoint of `fastconv train` leaves no choice in.
_FOR_PICTURES = (
    "weights",
    "key",
    "num_classes",
    "in_channels",
    "preset",
    "size",
    "resize",
    "interpolation",
    "classes",
)


def add_network(parser: argparse.ArgumentParser) -> None:
    """The options that say which network, and how images are prepared for it."""
    parser.add_argument(
        "--checkpoint",
        metavar="F",
        type=Path,
        help=f"file of `fastconv train` (default: {DEFAULT})",
    )
    parser.add_argument(
        "--model",
        metavar="NAME",
        type=_name_or_file,
        help="a network of fastconv.models, or an ONNX file",
    )
    parser.add_argument(
        "--weights", metavar="F", type=Path, help="its weights: .pth, .safetensors, .h5 ..."
    )
    parser.add_argument("--key", metavar="K", help="where they lie in a checkpoint of PyTorch")
    parser.add_argument(
        "--num-classes", metavar="K", type=whole(1), help="classes (default: as the weights have)"
    )
    parser.add_argument(
        "--in-channels",
        metavar="C",
        type=int,
        choices=(1, 3),
        help="1 for grey images, 3 for colour (default: as the weights have)",
    )
    parser.add_argument(
        "--preset", choices=list(PRESETS), help="how pixels are scaled (default: imagenet)"
    )
    parser.add_argument(
        "--size", metavar="S", type=whole(1), help="height and width (default: the network's)"
    )
    parser.add_argument(
        "--resize",
        metavar="S",
        type=whole(1),
        help="shorter side before the cut (default: size / 0.875)",
    )
    parser.add_argument(
        "--interpolation",
        choices=["bilinear", "bicubic", "lanczos", "nearest"],
        help="how images are resized (default: bilinear)",
    )
    parser.add_argument(
        "--classes",
        metavar="F",
        type=Path,
        help="names of the classes, one a line (default: ImageNet's where there are 1000)",
    )
    parser.add_argument("--invert", action="store_true", help="exchange light and dark")


def _name_or_file(text: str) -> str | Path:
    """Parser of a name in `fastconv.models`, or an ONNX file."""
    return Path(text) if text.lower().endswith(".onnx") else network_name(text)


def refuse(op: str, options: argparse.Namespace, names: Sequence[str], why: str) -> None:
    """ShapeError where one of these options is given."""
    for name in names:
        if getattr(options, name) not in (None, False):
            raise ShapeError(f"{op}: --{name.replace('_', '-')} {why}")


# Checkpoints of `fastconv train`


class Trained(NamedTuple):
    """A network that was trained here."""

    net: Any
    config: dict[str, Any]
    shape: tuple[int, ...]
    standardize: Standardize
    classes: list[str]

    def prepare(self, path: Path, invert: bool) -> tuple[NDArray, NDArray]:
        """Network input of an image file, prepared as in training, and the picture (C, H, W)."""
        if self.config.get("files"):
            pixels = self.files([path]).fetch(np.zeros(1, np.int64))
            pixels = 255 - pixels if invert else pixels
        else:
            pixels = image_to_input(path, self.shape, invert=invert)
        return self.standardize(pixels.copy()), pixels[0]

    def files(self, paths: Sequence[Path]) -> ImageFiles:
        """Image files as in training."""
        labels = np.zeros(len(paths), np.int64)
        return ImageFiles(paths, labels, size=self.shape[1:], channels=self.shape[0])


def refuse_for_trained(op: str, options: argparse.Namespace) -> None:
    """ShapeError where an option is given that a checkpoint leaves no choice in."""
    refuse(op, options, _FOR_PICTURES, "does not go with a checkpoint of fastconv train")


def trained(path: Path) -> Trained:
    """The network of a checkpoint.

    Raises:
        FormatError: it was not written by `fastconv train`, or is damaged. OSError: it cannot be read.
    """
    net, checkpoint = checkpoint_net(path)
    config = checkpoint.config
    try:
        shape = tuple(int(n) for n in config["image_shape"])
        standardize = Standardize(config["mean"], config["std"])
        classes = [str(name) for name in config["classes"]]
    except KeyError as missing:
        raise FormatError(f"{path}: no {missing} in it") from missing
    except (TypeError, ValueError) as error:
        raise FormatError(f"{path}: not written by `fastconv train`: {error}") from error
    return Trained(net, config, shape, standardize, classes)


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


# Networks of the zoo and ONNX files


class Pictured(NamedTuple):
    """A network, in evaluation mode, that takes photographs and gives scores or probabilities."""

    net: Any
    name: str
    prepare: Preprocess
    classes: list[str] | None


def pictured(
    op: str, options: argparse.Namespace, model: str | Path, *, drawn: bool = False
) -> Pictured:
    """The network of a name or an ONNX file, as the options say.

    Args:
        drawn: whether a name does without --weights: the weights are then random.

    Raises:
        ShapeError, FormatError, OSError, ImportError: options, files or weights do not fit.
    """
    if options.invert:
        raise ShapeError(f"{op}: --invert goes with a checkpoint of fastconv train only")
    classes = None
    if options.classes is not None:
        try:
            classes = options.classes.read_text(encoding="utf-8").splitlines()
        except UnicodeDecodeError as error:
            raise FormatError(f"{op}: {options.classes}: no text in UTF-8: {error}") from error
    if isinstance(model, str):
        if options.weights is None and not drawn:
            raise ShapeError(f"{op}: {model} needs its weights: give --weights")
        net, sizes = named_net(model, options)
        if sizes[0] not in (1, 3):
            raise ShapeError(
                f"{op}: {options.weights} has {model} for images of {sizes[0]} channels, expected 1 or 3"
            )
        shape: tuple[int | None, ...] = sizes
        name = model if options.weights is not None else f"{model} (random weights)"
    else:
        net, shape = _imported(op, options, model)
        name = model.name
    channels, height, width = (
        d or default for d, default in zip(shape, (3, 224, 224), strict=True)
    )
    prepare = Preprocess(
        options.preset or ("imagenet" if channels == 3 else "unit"),
        size=(options.size or height, options.size or width),
        resize=options.resize,
        interpolation=options.interpolation or "bilinear",
        channels=channels,
    )
    return Pictured(net.eval(), name, prepare, classes)


class _OfOnnx(Module):
    """A network of an ONNX file that takes images (N, C, H, W) and gives its first output."""

    def __init__(self, net: Any, channels_last: bool) -> None:
        super().__init__()
        self.net, self._channels_last = net, channels_last

    def forward(self, x: Any) -> Any:
        result = self.net(F.permute(x, (0, 2, 3, 1)) if self._channels_last else x)
        return result[0] if isinstance(result, tuple) else result

    @property
    def nodes_by_name(self) -> Any:
        return self.net.nodes_by_name

    @property
    def outputs(self) -> Any:
        return self.net.outputs

    def node_weight(self, name: str) -> Any:
        return self.net.node_weight(name)

    def watching(self, note: Any) -> AbstractContextManager[None]:
        watch: AbstractContextManager[None] = self.net.watching(note)
        return watch


def _imported(
    op: str, options: argparse.Namespace, path: Path
) -> tuple[Any, tuple[int | None, ...]]:
    """The network of an ONNX file, and the (C, H, W) of its images as far as they are known."""
    from .. import onnx

    names = ("weights", "key", "num_classes", "in_channels")
    refuse(op, options, names, "does not go with an ONNX file")
    net = onnx.load(path)
    if len(net.inputs) != 1:
        raise ShapeError(f"{op}: {path} takes {len(net.inputs)} inputs, expected one image")
    shape = net.inputs[0].shape
    if shape is None:
        return _OfOnnx(net, False), (None, None, None)
    if len(shape) != 4:
        raise ShapeError(f"{op}: {path} takes {shape}, expected images (N, C, H, W)")
    _, a, b, c = shape
    if a not in (1, 3, None) and c in (1, 3):
        return _OfOnnx(net, True), (c, a, b)
    return _OfOnnx(net, False), (a, b, c)
