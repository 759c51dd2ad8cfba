"""Measure loss and accuracy of a checkpoint on the test images."""

from __future__ import annotations

import argparse
from pathlib import Path

from ..data import load_dataset
from ..functional import cross_entropy
from ..train import evaluate
from .common import (
    add_data,
    add_threads,
    batches,
    checkpoint_net,
    evaluation_batch,
    percent,
    set_threads,
    whole,
)

__all__ = ["add_arguments", "run"]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of this command."""
    parser.add_argument(
        "checkpoint", metavar="CHECKPOINT", type=Path, help="file of `fastconv train`"
    )
    add_data(parser, "the one that the checkpoint was trained on")
    parser.add_argument("--split", choices=["train", "test"], default="test")
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
    data = load_dataset(
        options.data or checkpoint.config.get("data", "bundled"),
        options.split,
        data_dir=options.data_dir,
    )
    shape = tuple(int(n) for n in checkpoint.config["image_shape"])
    size = options.batch_size or evaluation_batch(shape)
    result = evaluate(net, cross_entropy, batches(data, size, shape))
    right = round(result["accuracy"] * result["images"])
    print(
        f"{data.name} ({options.split}): accuracy {percent(result['accuracy'])} "
        f"({right:,} of {result['images']:,}), loss {result['loss']:.4f}"
    )
    return 0
