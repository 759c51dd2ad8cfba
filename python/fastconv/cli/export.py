"""Write a network as an ONNX file.

SOURCE is a checkpoint of `fastconv train`, or the name of a network of `fastconv.models`, whose weights then come
from --weights (without it they are random)."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np

from .. import models, onnx
from ..errors import FastconvError, FormatError, ShapeError
from ..serialization import load
from .common import checkpoint_net, whole

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
    if options.size is not None:
        shape = (shape[0], options.size, options.size)
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
    named = options.source in models.list()
    if named and not path.is_file():
        arguments = {} if options.num_classes is None else {"num_classes": options.num_classes}
        net = models.create(options.source, **arguments)
        if options.weights is None:
            print(f"{options.source}: random weights; --weights reads others")
        else:
            try:
                net.load_state_dict(load(options.weights))
            except FormatError:
                raise
            except FastconvError as error:
                raise FormatError(f"{options.weights}: {error}") from error
        return net, models.info(options.source).input_shape
    for option in ("weights", "num_classes"):
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
    return net, tuple(int(n) for n in checkpoint.config["image_shape"])
