"""Write a network as an ONNX file.

SOURCE is a checkpoint of `fastconv train`, or the name of a network of `fastconv.models`, whose weights then come
from --weights (without it they are random)."""

from __future__ import annotations

import argparse
import inspect
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np

from .. import models, onnx
from ..errors import FastconvError, FormatError, ShapeError
from ..nn._drawing import undrawn
from .common import build_model, checkpoint_net, whole

__all__ = ["add_arguments", "run"]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of this command."""
    parser.add_argument("source", metavar="SOURCE", help="checkpoint, or name of a network")
    parser.add_argument("out", metavar="OUT.onnx", type=Path, help="the file to write")
    parser.add_argument(
        "--weights", metavar="F", type=Path, help="file with the state dict of a named network"
    )
    parser.add_argument(
        "--num-classes", metavar="K", type=whole(1), help="classes of a named network"
    )
    parser.add_argument(
        "--in-channels", metavar="C", type=whole(1), help="channels of a named network's images"
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
    for option in ("weights", "num_classes", "in_channels"):
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
    known = models.info(options.source)
    channels, height, width = known.input_shape
    shape = (options.in_channels or channels, options.size or height, options.size or width)
    classes = inspect.signature(known.builder).parameters["num_classes"].default
    with undrawn() if options.weights is not None else nullcontext():
        net = build_model(options.source, options.num_classes or classes, shape)
    if options.weights is None:
        print(f"{options.source}: random weights; --weights reads others")
        return net, shape
    try:
        models.load_weights(net, options.weights)
    except FormatError:
        raise
    except FastconvError as error:
        raise FormatError(f"{options.weights}: {error}") from error
    return net, shape
