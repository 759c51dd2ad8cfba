"""Name what image files show, with probabilities.

MODEL is an ONNX file (.onnx), a checkpoint of `fastconv train` (.safetensors), or the name of a network of
`fastconv.models` together with --weights. Without it the newest of `fastconv train lenet5` is taken.

For ONNX files and named networks the shorter side of an image is resized, the centre cut out, and pixels are
scaled as --preset says. For checkpoints of `fastconv train` images are resized and standardised as in training;
its data sets have light shapes on black: use --invert for dark shapes on a light background.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from .. import models
from .._arrays import NDArray
from ..data import PRESETS, ImageFiles, Loader, Preprocess, Standardize, load_image
from ..data.listing import image_files
from ..errors import FormatError, ShapeError
from ..models.classification import as_probabilities, best_guesses
from ..tensor import Tensor, no_grad
from ..train import predict
from .common import (
    add_threads,
    add_workers,
    checkpoint_net,
    evaluation_batch,
    loader_options,
    named_net,
    no_network,
    percent,
    set_threads,
    whole,
)

__all__ = ["add_arguments", "image_to_input", "run"]

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


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of this command."""
    parser.usage = "fastconv predict [options] [MODEL] IMAGE..."
    parser.add_argument(
        "images",
        metavar="IMAGE",
        nargs="+",
        type=Path,
        help="PNG, JPEG ... files, or folders of them, after the model",
    )
    parser.add_argument(
        "--checkpoint",
        metavar="F",
        type=Path,
        help=f"file of `fastconv train` (default: {DEFAULT})",
    )
    parser.add_argument("--model", metavar="NAME", help="a network of fastconv.models")
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
    parser.add_argument(
        "--top", metavar="K", type=whole(1), default=5, help="classes to name (default: 5)"
    )
    parser.add_argument("--json", action="store_true", help="print one JSON document")
    add_workers(parser)
    add_threads(parser)


def run(options: argparse.Namespace) -> int:
    """Predict; the exit code."""
    set_threads(options)
    model, given = _model_and_images(options)
    images = _files_of(given)
    if isinstance(model, str) or model.suffix.lower() == ".onnx":
        probabilities, classes = _pictures(options, model, images)
    else:
        probabilities, classes = _trained(options, model, images)
    guesses = best_guesses("predict", probabilities, options.top, classes)
    if options.json:
        document = [
            {
                "image": str(path),
                "classes": [{"name": name, "probability": share} for name, share in row],
            }
            for path, row in zip(images, guesses, strict=True)
        ]
        print(json.dumps(document, indent=2))
        return 0
    for path, row in zip(images, guesses, strict=True):
        print(f"{path}: " + ", ".join(f"{name} {percent(share)}" for name, share in row))
    return 0


def _model_and_images(options: argparse.Namespace) -> tuple[str | Path, list[Path]]:
    """The name or the file of the network, and the images."""
    first, *rest = options.images
    named = str(first) in models.list() and not first.exists()
    model: str | Path
    images: list[Path]
    if options.model is not None or options.checkpoint is not None:
        if options.model is not None and options.checkpoint is not None:
            raise ShapeError("predict: --model does not go with --checkpoint")
        model = options.checkpoint if options.model is None else models.info(options.model).name
        images = options.images
    elif named or first.suffix.lower() in (".onnx", ".safetensors"):
        model, images = (str(first) if named else first), rest
    elif options.weights is not None:
        lists = "fastconv.models.list() names them, and --weights goes with one"
        raise ShapeError(f"predict: {no_network(str(first), lists)}")
    else:
        model, images = DEFAULT, options.images
        if not DEFAULT.exists():
            raise FileNotFoundError(
                f"there is no {DEFAULT} here: run `fastconv train lenet5` first, or give a model"
            )
    if not images:
        raise ShapeError(f"predict: there is a model, {first}, but no image")
    return model, images


def _files_of(given: list[Path]) -> list[Path]:
    """Files, and the image files of folders.

    Raises:
        ShapeError: a folder has none.
    """
    images = []
    for path in given:
        inside = list(image_files(path)) if path.is_dir() else [path]
        if not inside:
            raise ShapeError(f"predict: {path} has no images")
        images += inside
    return images


# Checkpoints of `fastconv train`


def _trained(
    options: argparse.Namespace, path: Path, images: list[Path]
) -> tuple[NDArray, Sequence[str]]:
    for name in _FOR_PICTURES:
        if getattr(options, name) is not None:
            option = name.replace("_", "-")
            raise ShapeError(f"predict: --{option} does not go with a checkpoint of fastconv train")
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
    if config.get("files"):  # prepared as in training
        files = ImageFiles(
            images, np.zeros(len(images), np.int64), size=shape[1:], channels=shape[0]
        )
        loader = Loader(
            files,
            evaluation_batch(shape),
            transform=standardize,
            augment=_inverted if options.invert else None,
            **loader_options(options, files),
        )
        shares = predict(net, loader, probabilities=True)
        return as_probabilities("predict", shares, images), classes
    inputs = [standardize(image_to_input(p, shape, invert=options.invert)) for p in images]
    shares = predict(net, np.concatenate(inputs), probabilities=True)
    return as_probabilities("predict", shares, images), classes


def _inverted(images: NDArray, rng: np.random.Generator) -> NDArray:
    return 255 - images


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


def _pictures(
    options: argparse.Namespace, model: str | Path, images: list[Path]
) -> tuple[NDArray, Sequence[str] | None]:
    if options.invert:
        raise ShapeError("predict: --invert goes with a checkpoint of fastconv train only")
    classes = None
    if options.classes is not None:
        try:
            classes = options.classes.read_text(encoding="utf-8").splitlines()
        except UnicodeDecodeError as error:
            raise FormatError(f"predict: {options.classes}: no text in UTF-8: {error}") from error
    shape: tuple[int | None, ...]
    if isinstance(model, str):
        net, shape = _named(options, model)
        channels_last = False
    else:
        net = _imported(options, model)
        shape, channels_last = _image_shape(model, net.inputs[0].shape)
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
    rows = []
    for path in images:
        x = prepare(path)
        rows.append(_first_output(net, x.transpose(0, 2, 3, 1).copy() if channels_last else x))
    return as_probabilities("predict", np.concatenate(rows), images), classes


def _first_output(net: Any, x: NDArray) -> NDArray:
    """The result of a network in evaluation mode; the first where there are several."""
    with no_grad():
        result = net.eval()(Tensor(x))
    return np.asarray(result[0] if isinstance(result, tuple) else result)


def _named(options: argparse.Namespace, name: str) -> tuple[Any, tuple[int, int, int]]:
    """The network and its (C, H, W)."""
    if options.weights is None:
        raise ShapeError(f"predict: {name} needs its weights: give --weights")
    net, shape = named_net(name, options)
    if shape[0] not in (1, 3):
        raise ShapeError(
            f"predict: {options.weights} has {name} for images of {shape[0]} channels, expected 1 or 3"
        )
    return net, shape


def _imported(options: argparse.Namespace, path: Path) -> Any:
    from .. import onnx

    for name in ("weights", "key", "num_classes", "in_channels"):
        if getattr(options, name) is not None:
            raise ShapeError(f"predict: --{name.replace('_', '-')} does not go with an ONNX file")
    net = onnx.load(path)
    if len(net.inputs) != 1:
        raise ShapeError(f"predict: {path} takes {len(net.inputs)} inputs, expected one image")
    return net


def _image_shape(
    path: Path, shape: tuple[int | None, ...] | None
) -> tuple[tuple[int | None, ...], bool]:
    """(C, H, W) of a network's input, and whether it has channels last."""
    if shape is None:
        return (None, None, None), False
    if len(shape) != 4:
        raise ShapeError(f"predict: {path} takes {shape}, expected images (N, C, H, W)")
    _, a, b, c = shape
    if a not in (1, 3, None) and c in (1, 3):
        return (c, a, b), True
    return (a, b, c), False
