"""Measure loss and accuracy of a checkpoint on the test images."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from ..data import Dataset, Loader, Standardize, load_dataset, load_parts
from ..data.catalogue import DATASETS
from ..errors import FormatError, ShapeError
from ..functional import cross_entropy
from ..train import evaluate
from .common import (
    add_data,
    add_threads,
    batches,
    checkpoint_net,
    evaluation_batch,
    loader_options,
    named,
    percent,
    set_threads,
    whole,
)
from .train import saved_settings, shares_of

__all__ = ["add_arguments", "loader_of", "run"]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of this command."""
    parser.add_argument(
        "checkpoint", metavar="CHECKPOINT", type=Path, help="file of `fastconv train`"
    )
    add_data(parser, "the one that the checkpoint was trained on")
    parser.add_argument(
        "--split",
        choices=["train", "bridge", "dev", "test"],
        help="which part (default: test, or dev where there is no test)",
    )
    parser.add_argument(
        "--batch-size",
        metavar="B",
        type=whole(1),
        help="images at a time (default: 256, fewer where they are large)",
    )
    add_threads(parser)


def run(options: argparse.Namespace) -> int:
    """Evaluate; the exit code."""
    set_threads(options)
    net, checkpoint = checkpoint_net(options.checkpoint)
    said, loader = loader_of(options, checkpoint.config)
    result = evaluate(net, cross_entropy, loader)
    right = round(result["accuracy"] * result["images"])
    print(
        f"{said}: accuracy {percent(result['accuracy'])} "
        f"({right:,} of {result['images']:,}), loss {result['loss']:.4f}"
    )
    return 0


def loader_of(options: argparse.Namespace, config: dict[str, Any]) -> tuple[str, Loader]:
    """What the images are called, and a loader of them as the network of the checkpoint takes them.

    Args:
        options: of `add_data`, with `checkpoint`, `split` and `batch_size`.
        config: of the checkpoint.
    """
    shape = tuple(int(n) for n in config["image_shape"])
    size = options.batch_size or evaluation_batch(shape)
    source = options.data or str(config.get("data", "bundled"))
    making: dict[str, Any]
    if source in DATASETS:
        part = options.split or "test"
        data: Dataset = load_dataset(source, part, data_dir=_folder(options, config))
        making = loader_options(options, data)
        source = named(data)
    else:
        part, data = _files(options, config, source, shape)
        making = loader_options(options, data)
        making["transform"] = _standardize(options.checkpoint, config)
    return f"{source} ({part})", batches(data, size, shape, **making)


def _folder(options: argparse.Namespace, config: dict[str, Any]) -> Path | None:
    """The folder with the files of a named data set: as asked for, or else the run's own."""
    if options.data_dir is not None or options.data is not None:
        folder: Path | None = options.data_dir
        return folder
    own = config.get("data_dir")
    return Path(own) if isinstance(own, str) else None


def _files(
    options: argparse.Namespace, config: dict[str, Any], source: str, shape: tuple[int, ...]
) -> tuple[str, Dataset]:
    """The part that is asked for of a folder or table, and its name; all of one that is another
    than the network was trained on and has no parts."""
    settings = saved_settings(options.checkpoint, config)
    own = source == settings.data
    more: dict[str, Any] = {} if options.cache is None else {"cache": options.cache}
    parts = load_parts(
        source,
        data_dir=options.data_dir,
        size=shape[1:],
        shares=shares_of(settings),
        seed=settings.seed,
        whole=not own,
        classes=[str(name) for name in config["classes"]],
        on_missing="raise" if own else "warn",
        on_error=settings.on_error,
        channels=shape[0],
        mean=(0.0,),
        std=(1.0,),
        **more,
    )
    if "all" in parts:
        if options.split is not None:
            raise ShapeError(f"evaluate: {source} has no parts, --split does not go with it")
        return "all", parts["all"]
    part = options.split or ("test" if "test" in parts else "dev")
    if part not in parts:
        raise ShapeError(f"evaluate: {source} has no {part} images, it has {', '.join(parts)}")
    return part, parts[part]


def _standardize(path: Path, config: dict[str, Any]) -> Standardize:
    try:
        return Standardize(config["mean"], config["std"])
    except (KeyError, TypeError, ValueError) as error:
        raise FormatError(f"{path}: not written by `fastconv train`: {error}") from error
