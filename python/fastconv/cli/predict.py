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

import numpy as np

from .. import models
from .._arrays import NDArray
from ..data import Loader
from ..data.listing import image_files
from ..errors import ShapeError
from ..models.classification import as_probabilities, best_guesses
from ..tensor import Tensor, no_grad
from ..train import predict
from .common import (
    add_threads,
    add_workers,
    evaluation_batch,
    loader_options,
    no_network,
    percent,
    set_threads,
    whole,
)
from .networks import DEFAULT, add_network, pictured, refuse_for_trained, trained

__all__ = ["add_arguments", "run"]


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
    add_network(parser)
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
        model = options.checkpoint if options.model is None else options.model
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


def _trained(
    options: argparse.Namespace, path: Path, images: list[Path]
) -> tuple[NDArray, Sequence[str]]:
    refuse_for_trained("predict", options)
    found = trained(path)
    if found.config.get("files"):  # prepared as in training
        files = found.files(images)
        loader = Loader(
            files,
            evaluation_batch(found.shape),
            transform=found.standardize,
            augment=_inverted if options.invert else None,
            **loader_options(options, files),
        )
        shares = predict(found.net, loader, probabilities=True)
    else:
        inputs = [found.prepare(path, options.invert)[0] for path in images]
        shares = predict(found.net, np.concatenate(inputs), probabilities=True)
    return as_probabilities("predict", shares, images), found.classes


def _inverted(images: NDArray, rng: np.random.Generator) -> NDArray:
    return 255 - images


def _pictures(
    options: argparse.Namespace, model: str | Path, images: list[Path]
) -> tuple[NDArray, Sequence[str] | None]:
    found = pictured("predict", options, model)
    with no_grad():
        rows = [np.asarray(found.net(Tensor(found.prepare(path)))) for path in images]
    return as_probabilities("predict", np.concatenate(rows), images), found.classes
