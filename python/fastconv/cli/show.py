"""Draw what a network learnt and sees, or what the classical filters do to a photograph, as PNG files.

  filters       the filters of a convolution (--layer; the first by default)
  features      the feature maps of every layer for an image, on pages
  gradcam       which part of an image speaks for a class (Grad-CAM)
  saliency      which pixels of an image a class's score hangs on
  filters-demo  identity, edges, sharpen, blurs and emboss of a photograph, and strides and paddings

The network is that of a run (--run DIR), of a checkpoint of `fastconv train` (--checkpoint F), a network of
fastconv.models (--model NAME --weights F), or an ONNX file (--model F.onnx), whose layers are its nodes.
"""

from __future__ import annotations

import argparse
import importlib.util
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from .._arrays import NDArray
from ..data import load_image
from ..errors import ShapeError
from ..models.classification import as_probabilities, best_guesses
from ..train import predict
from .common import add_threads, percent, set_threads, whole
from .networks import DEFAULT, add_network, pictured, refuse, trained

__all__ = ["add_arguments", "run", "run_file"]

# Options that a checkpoint leaves no choice in.
_FOR_NAMED = (
    *("weights", "key", "num_classes", "in_channels", "preset", "size", "resize", "interpolation"),
    "classes",
)
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
    add_network(parser)
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
    refuse("show", options, _FOR_NAMED, "goes with --model only")
    path = options.checkpoint or (DEFAULT if options.folder is None else run_file(options.folder))
    if not given and not DEFAULT.exists():
        raise ShapeError("show: there is no network: give --run, --checkpoint or --model")
    found = trained(path)
    return _Subject(
        found.net,
        str(found.config["model"]),
        lambda image: found.prepare(image, options.invert),
        found.classes,
    )


def _named(options: argparse.Namespace) -> _Subject:
    found = pictured("show", options, options.model, drawn=True)
    return _Subject(
        found.net,
        found.name,
        lambda image: (found.prepare(image), found.prepare.pixels(image)),
        found.classes,
    )
