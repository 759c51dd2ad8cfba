"""Draw what a network learnt and sees, or what the classical filters do to a photograph, as PNG files.

  filters       the filters of a convolution (--layer; the first by default)
  features      the feature maps of every layer for an image, on pages
  gradcam       which part of an image speaks for a class (Grad-CAM)
  saliency      which pixels of an image a class's score hangs on
  filters-demo  identity, edges, sharpen, blurs and emboss of a photograph, and strides and paddings

The network is that of a run (--run DIR), of a checkpoint of `fastconv train` (--checkpoint F), or a network of
fastconv.models (--model NAME --weights F).
"""

from __future__ import annotations

import argparse
import importlib.util
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from .. import models
from .._arrays import NDArray
from ..data import PRESETS, ImageFiles, Preprocess, Standardize, load_image
from ..errors import FormatError, ShapeError
from ..models.classification import as_probabilities, best_guesses
from ..train import predict
from .common import (
    add_threads,
    checkpoint_net,
    named_net,
    network_name,
    percent,
    set_threads,
    whole,
)
from .predict import DEFAULT, image_to_input

__all__ = ["add_arguments", "run", "run_file"]

# Options that a checkpoint leaves no choice in, and those that only it knows.
_FOR_NAMED = ("weights", "key", "num_classes", "in_channels", "preset", "size", "classes")
# Photographs that scikit-image brings.
_PHOTOGRAPHS = ("chelsea.png", "astronaut.png", "coffee.png")


class _Subject(NamedTuple):
    """The network to look at."""

    net: Any
    name: str
    prepare: Callable[[Path], tuple[NDArray, NDArray]]  # file -> network input, picture
    classes: Sequence[str] | None


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of this command."""
    parser.add_argument(
        "what",
        metavar="WHAT",
        choices=list(_DRAWERS),
        help="filters, features, gradcam, saliency or filters-demo",
    )
    parser.add_argument(
        "photo", metavar="IMAGE", nargs="?", type=Path, help="PNG, JPEG ... file, as --image"
    )
    parser.add_argument("--image", metavar="I", type=Path, help="PNG, JPEG ... file")
    parser.add_argument("--run", dest="folder", metavar="DIR", type=Path, help="folder of a run")
    parser.add_argument(
        "--checkpoint", metavar="F", type=Path, help="file of `fastconv train` (default: of lenet5)"
    )
    parser.add_argument(
        "--model", metavar="NAME", type=network_name, help="a network of fastconv.models"
    )
    parser.add_argument("--weights", metavar="F", type=Path, help="its weights (else random ones)")
    parser.add_argument("--key", metavar="K", help="where they lie in a checkpoint of PyTorch")
    parser.add_argument(
        "--num-classes", metavar="K", type=whole(1), help="classes (default: as the weights have)"
    )
    parser.add_argument(
        "--in-channels",
        metavar="C",
        type=int,
        choices=(1, 3),
        help="1 for grey images, 3 for colour",
    )
    parser.add_argument(
        "--preset", choices=list(PRESETS), help="how pixels are scaled (default: imagenet)"
    )
    parser.add_argument(
        "--size", metavar="S", type=whole(1), help="height and width (default: the network's)"
    )
    parser.add_argument(
        "--classes", metavar="F", type=Path, help="names of the classes, one a line"
    )
    parser.add_argument("--invert", action="store_true", help="exchange light and dark")
    parser.add_argument("--layer", metavar="L", help="name of a layer, as `named_modules` has it")
    parser.add_argument(
        "--target", metavar="K", help="class, by number or name (default: the most likely)"
    )
    parser.add_argument(
        "--most", metavar="N", type=whole(1), help="filters or maps of a layer to show"
    )
    parser.add_argument("--out", metavar="PNG", type=Path, help="file to write (default: WHAT.png)")
    add_threads(parser)


def run(options: argparse.Namespace) -> int:
    """Draw; the exit code."""
    set_threads(options)
    out = options.out or Path(f"{options.what}.png")
    if out.suffix.lower() != ".png":
        raise ShapeError(f"show: --out is {str(out)[:80]!r}, expected a name that ends in .png")
    if options.image is not None and options.photo is not None:
        raise ShapeError("show: an image is given twice")
    options.image = options.image or options.photo
    from ..visualize import save_png

    for suffix, figure in _DRAWERS[options.what](options):
        path = out.with_name(f"{out.stem}{suffix}.png") if suffix else out
        save_png(figure, path)
        print(path)
    return 0


Figures = list[tuple[str, Any]]


def _filters(options: argparse.Namespace) -> Figures:
    from ..visualize import plot_filters

    _refuse(options, "image", "target", "invert")
    subject = _subject(options)
    more = {} if options.most is None else {"most": options.most}
    return [("", plot_filters(subject.net, options.layer, **more))]


def _features(options: argparse.Namespace) -> Figures:
    from ..visualize import feature_maps, plot_feature_maps

    _refuse(options, "target")
    subject = _subject(options)
    x, picture = subject.prepare(_image(options))
    layers = None if options.layer is None else [options.layer]
    more = {} if options.most is None else {"most": options.most}
    pages = plot_feature_maps(feature_maps(subject.net, x, layers), picture, **more)
    return [("" if len(pages) == 1 else f"-{i + 1}", page) for i, page in enumerate(pages)]


def _gradcam(options: argparse.Namespace) -> Figures:
    from ..visualize import cam_layer, grad_cam, plot_overlay

    _refuse(options, "most")
    subject = _subject(options)
    x, picture = subject.prepare(_image(options))
    target, said = _target(options, subject, x)
    layer = options.layer or cam_layer(subject.net, x)
    heat = grad_cam(subject.net, x, target, layer)
    title = f"{subject.name}, layer {layer}: {said}"
    if not heat.any():
        title += ", which nothing speaks for"
    return [("", plot_overlay(picture, heat, title, unit="share of the maximum"))]


def _saliency(options: argparse.Namespace) -> Figures:
    from ..visualize import plot_overlay, saliency

    _refuse(options, "most", "layer")
    subject = _subject(options)
    x, picture = subject.prepare(_image(options))
    target, said = _target(options, subject, x)
    heat = saliency(subject.net, x, target)
    # a single pixel would leave all others dark
    heat = np.minimum(heat, np.quantile(heat, 0.995))
    unit = "|change of the score by the pixel|"
    return [
        ("", plot_overlay(picture, heat, f"{subject.name}: {said}", name="saliency", unit=unit))
    ]


def _demo(options: argparse.Namespace) -> Figures:
    from ..visualize import plot_classical_filters, plot_geometry

    _refuse(
        options, *_FOR_NAMED, "folder", "checkpoint", "model", "layer", "target", "most", "invert"
    )
    photograph = load_image(options.image or _photograph())
    return [("", plot_classical_filters(photograph)), ("-strides", plot_geometry(photograph))]


_DRAWERS: dict[str, Callable[[argparse.Namespace], Figures]] = {
    "filters": _filters,
    "features": _features,
    "gradcam": _gradcam,
    "saliency": _saliency,
    "filters-demo": _demo,
}


def _refuse(options: argparse.Namespace, *names: str) -> None:
    for name in names:
        if getattr(options, name) not in (None, False):
            option = {"folder": "run", "image": "image"}.get(name, name.replace("_", "-"))
            raise ShapeError(f"show: --{option} does not go with {options.what}")


def _image(options: argparse.Namespace) -> Path:
    if options.image is None:
        raise ShapeError(f"show: {options.what} needs an image: give --image")
    return Path(options.image)


def _photograph() -> Path:
    """One that scikit-image brings, if it is installed."""
    found = importlib.util.find_spec("skimage")
    for folder in (found.submodule_search_locations or ()) if found is not None else ():
        for name in _PHOTOGRAPHS:
            if (Path(folder) / "data" / name).is_file():
                return Path(folder) / "data" / name
    raise FileNotFoundError(
        "show: filters-demo needs a photograph: fastconv show filters-demo photo.jpg"
    )


def _target(options: argparse.Namespace, subject: _Subject, x: NDArray) -> tuple[int, str]:
    """The class, and what to call it."""
    shares = as_probabilities("show", predict(subject.net, x))
    count = shares.shape[1]
    falling = np.linspace(1.0, 0.0, count)[np.newaxis]
    names = [name for name, _ in best_guesses("show", falling, count, subject.classes)[0]]
    given = options.target
    if given is None:
        target = int(shares[0].argmax())
    elif given in names:
        target = names.index(given)
    elif given.isascii() and given.isdigit() and int(given) < len(names):
        target = int(given)
    else:
        raise ShapeError(
            f"show: --target is {given[:40]!r}, expected a class from 0 to {len(names) - 1}, or its name"
        )
    name = f"class {target}" if names[target] == str(target) else names[target]
    return target, f"{name} ({percent(float(shares[0, target]))})"


def run_file(folder: Path) -> Path:
    """The checkpoint of a run's folder: the best, else the last.

    Raises:
        FileNotFoundError: there is none.
    """
    for name in ("best.safetensors", "last.safetensors"):
        if (folder / name).is_file():
            return folder / name
    raise FileNotFoundError(
        f"{folder} is no folder of a run: there is neither best.safetensors nor last.safetensors in it"
    )


def _subject(options: argparse.Namespace) -> _Subject:
    given = [n for n in ("folder", "checkpoint", "model") if getattr(options, n) is not None]
    if len(given) > 1:
        raise ShapeError("show: only one of --run, --checkpoint and --model can be given")
    if options.model is not None:
        return _named(options)
    for name in _FOR_NAMED:
        if getattr(options, name) is not None:
            raise ShapeError(f"show: --{name.replace('_', '-')} goes with --model only")
    path = options.checkpoint or (DEFAULT if options.folder is None else run_file(options.folder))
    if not given and not DEFAULT.exists():
        raise ShapeError("show: there is no network: give --run, --checkpoint or --model")
    return _trained(options, path)


def _trained(options: argparse.Namespace, path: Path) -> _Subject:
    net, checkpoint = checkpoint_net(path)
    config = checkpoint.config
    try:
        shape = tuple(int(n) for n in config["image_shape"])
        standardize = Standardize(config["mean"], config["std"])
        classes = [str(name) for name in config["classes"]]
    except (KeyError, TypeError, ValueError) as error:
        raise FormatError(f"{path}: not written by `fastconv train`: {error}") from error

    def prepare(image: Path) -> tuple[NDArray, NDArray]:
        if config.get("files"):  # prepared as in training
            files = ImageFiles([image], np.zeros(1, np.int64), size=shape[1:], channels=shape[0])
            pixels = files.fetch(np.zeros(1, np.int64))
            pixels = 255 - pixels if options.invert else pixels
        else:
            pixels = image_to_input(image, shape, invert=options.invert)
        return standardize(pixels.copy()), pixels[0]

    return _Subject(net, str(config["model"]), prepare, classes)


def _named(options: argparse.Namespace) -> _Subject:
    _refuse_invert(options)
    name = models.info(options.model).name
    net, shape = named_net(name, options)
    channels, height, width = shape
    preset = options.preset or ("imagenet" if channels == 3 else "unit")
    prepare = Preprocess(preset, size=(height, width), channels=channels)
    classes = None
    if options.classes is not None:
        try:
            classes = options.classes.read_text(encoding="utf-8").splitlines()
        except UnicodeDecodeError as error:
            raise FormatError(f"show: {options.classes}: no text in UTF-8: {error}") from error
    said = name if options.weights is not None else f"{name} (random weights)"

    def both(image: Path) -> tuple[NDArray, NDArray]:
        return prepare(image), prepare.pixels(image)

    return _Subject(net.eval(), said, both, classes)


def _refuse_invert(options: argparse.Namespace) -> None:
    if options.invert:
        raise ShapeError("show: --invert goes with a checkpoint of fastconv train only")
