"""Small networks for digits, as texts on convolutional networks build them up."""

from __future__ import annotations

import math
from collections import OrderedDict
from typing import Any

from .. import nn
from ..errors import ShapeError
from ..nn._args import IntOrPair, integer, number, pair
from .registry import register

__all__ = ["mnist_cnn", "mnist_cnn_improved"]

_WIDTHS, _SIZE, _HIDDEN = (24, 48, 64), 5, 256
_SOURCE = "LeCun et al., Gradient-based learning applied to document recognition (1998)"
# (channels, kernel size, stride, padding) of the improved network's two halves.
_HALVES = (
    ((32, 3, 1, 0), (32, 3, 1, 0), (32, 5, 2, 2)),
    ((64, 3, 1, 0), (64, 3, 1, 0), (64, 5, 2, 2)),
)
_IMPROVED_HIDDEN, _IMPROVED_SMALLEST = 128, 14


@register(input_shape=(1, 28, 28), source=_SOURCE)
def mnist_cnn(
    num_classes: int = 10,
    in_channels: int = 1,
    *,
    pairs: int = 2,
    input_size: IntOrPair = 28,
    dtype: Any = None,
) -> nn.Sequential:
    """One, two or three pairs of convolution and pooling, and a hidden layer of 256:
    (N, in_channels, H, W) -> (N, num_classes) logits.

    The convolutions are 5x5 with 24, 48 and 64 channels and keep the size of the image; ReLU and 2x2
    max-pooling follow, which rounds sizes up. For 28x28 images of one channel there are 1,207,674,
    634,410 (two pairs, the default) and 371,306 parameters.

    Args:
        num_classes, in_channels: width of the last layer, channels of the images.
        pairs: 1, 2 or 3.
        input_size: H and W in pixels, an integer or a pair.
        dtype: element type of the parameters, float32 by default.

    Raises:
        ShapeError, DTypeError: arguments out of range or of the wrong type.

    Source: the pattern is LeNet-5's, LeCun et al., "Gradient-based learning applied to document
    recognition" (1998), with wider layers and ReLU.
    """
    classes = integer("mnist_cnn", "num_classes", num_classes, 1)
    channels = integer("mnist_cnn", "in_channels", in_channels, 1)
    height, width = pair("mnist_cnn", "input_size", input_size, 1)
    if integer("mnist_cnn", "pairs", pairs, 1) > len(_WIDTHS):
        raise ShapeError(f"mnist_cnn: pairs must be 1, 2 or 3, got {pairs}")
    layers: OrderedDict[str, nn.Module] = OrderedDict()
    for i, maps in enumerate(_WIDTHS[:pairs], start=1):
        layers[f"conv{i}"] = nn.Conv2d(channels, maps, _SIZE, padding="same", dtype=dtype)
        layers[f"relu{i}"] = nn.ReLU()
        layers[f"pool{i}"] = nn.MaxPool2d(2, ceil_mode=True)
        channels, height, width = maps, (height + 1) // 2, (width + 1) // 2
    layers["flatten"] = nn.Flatten()
    layers["fc1"] = nn.Linear(channels * height * width, _HIDDEN, dtype=dtype)
    layers[f"relu{pairs + 1}"] = nn.ReLU()
    layers["fc2"] = nn.Linear(_HIDDEN, classes, dtype=dtype)
    return nn.Sequential(layers)


@register(input_shape=(1, 28, 28), source=_SOURCE, smallest=_IMPROVED_SMALLEST)
def mnist_cnn_improved(
    num_classes: int = 10,
    in_channels: int = 1,
    *,
    dropout: float = 0.4,
    input_size: IntOrPair = 28,
    dtype: Any = None,
) -> nn.Sequential:
    """32C3-32C3-32C5S2 - 64C3-64C3-64C5S2 - 128: (N, in_channels, H, W) -> (N, num_classes) logits.

    Pairs of 3x3 convolutions take the place of 5x5, and 5x5 convolutions of stride 2 that of pooling.
    ReLU and batch normalisation follow each convolution and the hidden layer; dropout follows each
    half and the hidden layer.

    Args:
        num_classes, in_channels: width of the last layer, channels of the images.
        dropout: probability.
        input_size: H and W in pixels, an integer or a pair, at least 14 each.
        dtype: element type of the parameters, float32 by default.

    Raises:
        ShapeError, DTypeError: arguments out of range or of the wrong type.

    Sources: Springenberg et al., "Striving for simplicity: the all convolutional net" (2015), for
    strides instead of pooling; Ioffe & Szegedy, "Batch normalization" (2015); Srivastava et al.,
    "Dropout" (2014).
    """
    name = "mnist_cnn_improved"
    classes = integer(name, "num_classes", num_classes, 1)
    channels = integer(name, "in_channels", in_channels, 1)
    sizes = list(pair(name, "input_size", input_size, _IMPROVED_SMALLEST))
    rate = number(name, "dropout", dropout, 0.0, 1.0)
    layers: OrderedDict[str, nn.Module] = OrderedDict()
    position = 0
    for half in _HALVES:
        for width, kernel, stride, padding in half:
            position += 1
            layers[f"conv{position}"] = nn.Conv2d(
                channels, width, kernel, stride, padding, dtype=dtype
            )
            layers[f"relu{position}"] = nn.ReLU()
            layers[f"norm{position}"] = nn.BatchNorm2d(width, dtype=dtype)
            channels = width
            sizes = [(size + 2 * padding - kernel) // stride + 1 for size in sizes]
        layers[f"dropout{position // len(half)}"] = nn.Dropout(rate)
    layers["flatten"] = nn.Flatten()
    layers["fc1"] = nn.Linear(channels * math.prod(sizes), _IMPROVED_HIDDEN, dtype=dtype)
    layers["relu7"] = nn.ReLU()
    layers["norm7"] = nn.BatchNorm1d(_IMPROVED_HIDDEN, dtype=dtype)
    layers["dropout3"] = nn.Dropout(rate)
    layers["fc2"] = nn.Linear(_IMPROVED_HIDDEN, classes, dtype=dtype)
    return nn.Sequential(layers)
