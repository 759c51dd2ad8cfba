"""What several commands share: checked option values, networks by name, networks from
checkpoints."""

from __future__ import annotations

import argparse
import difflib
import hashlib
import inspect
import math
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from .. import _core, models
from ..data import ArrayDataset, Dataset, ImageFiles, Loader, Resize, Subset
from ..data.catalogue import DATASETS
from ..errors import DTypeError, FastconvError, FormatError, ShapeError
from ..models.registry import create_for_images as build_model
from ..models.weights import built_for_weights
from ..nn._drawing import undrawn
from ..train import Checkpoint, load_checkpoint

__all__ = [
    "add_data",
    "add_threads",
    "add_workers",
    "batches",
    "build_model",
    "checkpoint_net",
    "evaluation_batch",
    "fingerprint",
    "loader_options",
    "named",
    "named_net",
    "network_name",
    "no_network",
    "percent",
    "real",
    "set_threads",
    "whole",
]

_EVALUATION_BATCH = 256


def whole(least: int) -> Callable[[str], int]:
    """Parser of an integer of at least `least`."""

    def parse(text: str) -> int:
        try:
            number = int(text)
        except ValueError:
            raise argparse.ArgumentTypeError(f"expected an integer, got {text[:40]!r}") from None
        if not least <= number < 2**63:
            raise argparse.ArgumentTypeError(f"expected an integer of at least {least}, got {text}")
        return number

    return parse


def real(above: float | None = None, below: float = math.inf) -> Callable[[str], float]:
    """Parser of a number above `above` (if None, of at least 0) and below `below`."""
    least = "of at least 0" if above is None else f"above {above:g}"
    wanted = f"a number {least}" + ("" if below == math.inf else f" and below {below:g}")

    def parse(text: str) -> float:
        try:
            number = float(text)
        except ValueError:
            number = math.nan
        large_enough = number >= 0 if above is None else number > above
        if not (large_enough and number < below):
            raise argparse.ArgumentTypeError(f"expected {wanted}, got {text[:40]!r}")
        return number

    return parse


def add_data(parser: argparse.ArgumentParser, default: str) -> None:
    """The options --data, --data-dir, --workers, --worker and --cache."""
    parser.add_argument(
        "--data",
        metavar="DATA",
        type=_source,
        help=f"{', '.join(DATASETS)}; a folder of images with a sub-folder for each class, maybe "
        "within train, dev and test; or a .csv file with the columns path and label "
        f"(default: {default})",
    )
    parser.add_argument(
        "--data-dir", metavar="D", type=Path, help="folder with the files of a named data set"
    )
    add_workers(parser)
    parser.add_argument(
        "--cache",
        metavar="D",
        type=Path,
        help="folder where decoded images are kept for later runs",
    )


def add_workers(parser: argparse.ArgumentParser) -> None:
    """The options --workers and --worker."""
    parser.add_argument(
        "--workers",
        metavar="N",
        type=whole(0),
        help="threads that make batches (default: one per core for image files, else 0)",
    )
    parser.add_argument(
        "--worker", choices=["thread", "process"], default="thread", help="(default: thread)"
    )


def _source(text: str) -> str:
    """A data set's name, or the whole path of a folder or file."""
    if text in DATASETS:
        return text
    if not os.path.exists(text):
        near = difflib.get_close_matches(text, DATASETS, 1)
        hint = f"did you mean {near[0]}?" if near else f"data sets are {', '.join(DATASETS)}"
        raise argparse.ArgumentTypeError(
            f"there is no data set, folder or .csv file {text[:60]!r}; {hint}"
        )
    return os.path.abspath(text)


def loader_options(options: argparse.Namespace, data: Dataset) -> dict[str, Any]:
    """What --workers and --worker say, for a `Loader` of these images."""
    workers = options.workers
    if workers is None:
        workers = 0 if isinstance(data, ArrayDataset) else os.cpu_count() or 1
    return {"workers": workers, "worker": options.worker}


def add_threads(parser: argparse.ArgumentParser) -> None:
    """The option --threads."""
    parser.add_argument(
        "--threads", metavar="T", type=whole(1), help="threads (default: one per core)"
    )


def set_threads(options: argparse.Namespace) -> None:
    if options.threads is not None:
        _core.set_num_threads(options.threads)


def network_name(text: str) -> str:
    """Parser of a name in `fastconv.models`."""
    if text not in models.list():
        raise argparse.ArgumentTypeError(no_network(text, "--help lists them all"))
    return text


def no_network(text: str, otherwise: str) -> str:
    """What to say of a name that no network has: the nearest ones, or `otherwise`."""
    near = difflib.get_close_matches(text, models.list(), 3)
    hint = f"did you mean {' or '.join(near)}?" if near else otherwise
    return f"there is no network {text[:40]!r}; {hint}"


def checkpoint_net(path: Path) -> tuple[Any, Checkpoint]:
    """A checkpoint of `fastconv train` and its network, with the weights.

    Raises:
        FormatError: it is damaged, or was not written by that command.
        OSError: it is missing or cannot be read.
    """
    checkpoint = load_checkpoint(path)
    config = checkpoint.config
    try:
        more = dict(config.get("model_options", {}))  # what a recipe told the builder
        with undrawn():  # nor is memory touched before the shapes are compared
            net = build_model(
                config["model"], len(config["classes"]), config["image_shape"], **more
            )
        net.load_state_dict(checkpoint.model)
    except KeyError as missing:
        raise FormatError(
            f"{path}: not written by `fastconv train`: no {missing} in it"
        ) from missing
    except (FastconvError, MemoryError, TypeError, ValueError) as error:
        raise FormatError(f"{path}: {error or 'a network too large for the memory'}") from error
    return net.eval(), checkpoint


def named_net(name: str, options: argparse.Namespace) -> tuple[Any, tuple[int, int, int]]:
    """The network `name` with the weights of --weights, random ones without, and its (C, H, W).

    Classes and channels that no option gives are those of the weights.

    Raises:
        FormatError: the weights do not fit, or their file is damaged.
        ShapeError: the network cannot take images of --size.
    """
    known = models.info(name)
    sizes = {
        "num_classes": inspect.signature(known.builder).parameters["num_classes"].default,
        "in_channels": known.input_shape[0],
    }
    given = {size: getattr(options, size) for size in sizes if getattr(options, size) is not None}
    height, width = (options.size or default for default in known.input_shape[1:])
    shape = (0, height, width)

    def build(**sizes: int) -> Any:
        nonlocal shape
        both = sizes | given
        shape = (both["in_channels"], height, width)
        return build_model(name, both["num_classes"], shape)

    if options.weights is None:
        return build(**sizes), shape
    left = {size: value for size, value in sizes.items() if size not in given}
    try:
        net = built_for_weights(build, left, options.weights, key=options.key)
    except (FormatError, DTypeError):
        raise
    except FastconvError as error:
        raise FormatError(f"{options.weights}: {error}") from error
    return net, shape


def batches(data: Dataset, batch_size: int, image_shape: tuple[int, ...], **options: Any) -> Loader:
    """A loader of the images as (C, H, W) `image_shape`, resized where they have another size.

    Raises:
        ShapeError: they have other channels.
    """
    channels, *size = image_shape
    if channels != data.image_shape[0]:
        raise ShapeError(
            f"{named(data)}: images have shape {data.image_shape}, expected {channels} channels"
        )
    if tuple(size) != data.image_shape[1:]:
        options["transform"] = Resize(size, data.standardize())
    return Loader(data, batch_size, **options)


def evaluation_batch(image_shape: tuple[int, ...]) -> int:
    """Images to evaluate at a time: 256, fewer where they are larger than 64 x 64."""
    return max(1, _EVALUATION_BATCH * 64 * 64 // max(64 * 64, math.prod(image_shape[1:])))


def named(data: Dataset) -> str:
    """What a data set is called."""
    return str(getattr(data, "name", "data"))


def fingerprint(data: Dataset) -> str:
    """SHA-256 of a data set's images and labels; of image files names and sizes will do."""
    if isinstance(data, ArrayDataset):
        digest = hashlib.sha256(str((data.images.shape, data.images.dtype.str)).encode())
        digest.update(np.ascontiguousarray(data.images).data)
    elif isinstance(data, Subset):
        digest = hashlib.sha256(fingerprint(data.dataset).encode())
        digest.update(data.indices.data)
    elif isinstance(data, ImageFiles):
        digest = hashlib.sha256(str((len(data), data.image_shape)).encode())
        base = os.path.commonpath([os.path.dirname(path) for path in data.paths])
        for path in data.paths:
            name = os.fsencode(os.path.relpath(path, base))
            digest.update(b"%d %s %d\n" % (len(name), name, os.path.getsize(path)))
    else:
        raise TypeError(f"fingerprint: {type(data).__name__}")
    digest.update(np.ascontiguousarray(data.labels).data)
    return digest.hexdigest()


def percent(share: float) -> str:
    return f"{100 * share:.2f} %"
