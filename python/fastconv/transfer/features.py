"""What a network makes of images, as arrays."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from .._arrays import NDArray
from ..errors import DTypeError, ShapeError
from ..nn import Module
from ..train import predict
from .heads import _heads, part_named

__all__ = ["extract_features"]

_BATCH = 32


class _Reached(BaseException):
    """Ends a run of a network at the layer that was asked for."""

    def __init__(self, value: Any) -> None:
        super().__init__()
        self.value = value


class _UpTo(Module):
    """A network up to one of its layers: that layer's result, or its input."""

    def __init__(self, net: Module, layer: Module, its_input: bool) -> None:
        super().__init__()
        self.net = net
        self.layer = layer
        self.its_input = its_input

    def forward(self, input: Any) -> Any:
        try:
            with _ended_at(self.layer, self.its_input):
                self.net(input)
        except _Reached as reached:
            return reached.value
        raise ShapeError("extract_features: the layer is not used in a run of the network")


@contextmanager
def _ended_at(layer: Module, its_input: bool) -> Iterator[None]:
    forward = layer.forward

    def end(*args: Any, **kwargs: Any) -> Any:
        raise _Reached(args[0] if its_input else forward(*args, **kwargs))

    layer.__dict__["forward"] = end
    try:
        yield
    finally:
        del layer.__dict__["forward"]


def extract_features(
    net: Module, data: Any, layer: str | None = None, *, batch_size: int = _BATCH
) -> NDArray:
    """The result of a layer for every image, in evaluation mode; what stands behind it is not run.

    Whole batches run as one native call (`fastconv.compile`).

    Args:
        net: a network; its mode is afterwards what it was.
        data: an array (N, C, H, W) of network input, or a Loader, a data set or a list of batches, whose order
            is kept: images that a Loader shuffles come shuffled.
        layer: dotted name of the layer. None: the input of the network's head (`find_heads`), (N, features), or
            (N, C, H, W) where that is a 1x1 convolution.
        batch_size: images at a time, for arrays and data sets.

    Returns:
        A new array, images along the first dimension.

    Raises:
        ShapeError: there is no such layer, it is not used, or it gives several arrays; there are no images.
        DTypeError: an argument is of the wrong type.
    """
    from ..data import Dataset, Loader

    op = "extract_features"
    if layer is None:
        target: Module = _heads(op, net)[0][1]
    else:
        if not isinstance(net, Module):
            raise DTypeError(f"{op}: expected a Module, got {type(net).__name__}")
        target = part_named(op, net, layer)
    if isinstance(batch_size, bool) or not isinstance(batch_size, (int, np.integer)):
        raise DTypeError(f"{op}: batch_size must be an integer, got {type(batch_size).__name__}")
    if batch_size < 1:
        raise ShapeError(f"{op}: batch_size must be at least 1, got {batch_size}")
    if isinstance(data, Dataset) and not isinstance(data, Loader):
        data = Loader(data, int(batch_size))
    parameter = next(net.parameters(), None)
    dtype = np.dtype(np.float32) if parameter is None else parameter.dtype
    whole = layer == "" or target is net
    part = net if whole else _UpTo(net, target, layer is None).train(net.training)
    modes = [(each, each.training) for each in net.modules()]
    try:
        result = predict(part, data, batch_size=int(batch_size), dtype=dtype, compile=True)
    finally:
        for each, training in modes:
            each.training = training
    if not isinstance(result, np.ndarray):
        raise ShapeError(f"{op}: {layer!r} gives several arrays, expected one")
    return result
