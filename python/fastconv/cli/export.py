"""Write a network as an ONNX file.

SOURCE is a checkpoint of `fastconv train`, or the name of a network of `fastconv.models`, whose weights then come
from --weights (without it they are random)."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np

from .. import models, onnx
from ..errors import ShapeError
from .common import checkpoint_net, named_net, whole

__all__ = ["add_arguments", "run"]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of this command."""
    parser.add_argument("source", metavar="SOURCE", help="checkpoint, or name of a network")
    parser.add_argument("out", metavar="OUT.onnx", type=Path, help="the file to write")
    parser.add_argument(
        "--weights", metavar="F", type=Path, help="file with the state dict of a named network"
    )
    parser.add_argument("--key", metavar="K", help="where they lie in a checkpoint of PyTorch")
    parser.add_argument(
        "--num-classes",
        metavar="K",
        type=whole(1),
        help="classes of a named network (default: as the weights have)",
    )
    parser.add_argument(
        "--in-channels",
        metavar="C",
        type=whole(1),
        help="channels of a named network's images (default: as the weights have)",
    )
    parser.add_argument(
        "--size",
        metavar="S",
        type=whole(1),
        help="height and width of the images, in pixels (default: the network's usual one)",
    )
    parser.add_argument(
        "--batch-size",
        metavar="B",
        type=whole(1),
        help="images at a time (default: any number of them)",
    )
    parser.add_argument(
        "--opset", metavar="V", type=whole(1), default=17, help="ONNX operators (default: 17)"
    )


def run(options: argparse.Namespace) -> int:
    """Export; the exit code."""
    net, shape = _network(options)
    example = np.zeros((options.batch_size or 1, *shape), np.float32)
    model = onnx.export(
        net, options.out, example, dynamic_batch=options.batch_size is None, opset=options.opset
    )
    batch = options.batch_size or "N"
    print(
        f"{options.out}: {len(model.graph.node)} nodes, {model.ByteSize():,} bytes, images "
        f"({batch}, {', '.join(map(str, shape))}), opset {options.opset}"
    )
    return 0


def _network(options: argparse.Namespace) -> tuple[Any, tuple[int, ...]]:
    """The network and the shape of its images."""
    path = Path(options.source)
    if options.source in models.list() and not path.is_file():
        return _named(options)
    for option in ("weights", "key", "num_classes", "in_channels"):
        if getattr(options, option) is not None:
            raise ShapeError(
                f"--{option.replace('_', '-')} goes with the name of a network, not with a checkpoint"
            )
    if not path.exists():
        raise FileNotFoundError(
            f"there is no file {options.source}, and no network of that name "
            "(fastconv.models.list() names them)"
        )
    net, checkpoint = checkpoint_net(path)
    channels, height, width = (int(n) for n in checkpoint.config["image_shape"])
    return net, (channels, options.size or height, options.size or width)


def _named(options: argparse.Namespace) -> tuple[Any, tuple[int, ...]]:
    if options.weights is None:
        if options.key is not None:
            raise ShapeError("--key goes with --weights")
        print(f"{options.source}: random weights; --weights reads others")
    return named_net(options.source, options)
