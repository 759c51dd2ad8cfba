"""Small networks for digits, as texts on convolutional networks build them up."""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Sequence
from typing import Any

from .. import nn
from ..errors import DTypeError, ShapeError
from ..nn._args import IntOrPair, flag, integer, number, pair
from .registry import register

__all__ = ["mnist_cnn", "mnist_cnn_improved"]

_WIDTHS, _SIZE, _HIDDEN = (24, 48, 64), 5, 256
_SOURCE = "LeCun et al., Gradient-based learning applied to document recognition (1998)"
_IMPROVED_WIDTHS, _IMPROVED_HIDDEN, _IMPROVED_SMALLEST = (32, 64), 128, 14


@register(input_shape=(1, 28, 28), source=_SOURCE)
def mnist_cnn(
    num_classes: int = 10,
    in_channels: int = 1,
    *,
    pairs: int | None = None,
    maps: Sequence[int] | None = None,
    hidden: int = _HIDDEN,
    dropout: float = 0.0,
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
        pairs: 1, 2 or 3; 2 by default, with `maps` as many as those.
        maps: channels of the convolutions, of which the first `pairs` count.
        hidden: width of the hidden layer; 0 for none.
        dropout: probability, behind each pooling and the hidden layer; 0 for no such layers.
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
    widths = _maps("mnist_cnn", _WIDTHS if maps is None else maps)
    if pairs is None:
        pairs = 2 if maps is None else len(widths)
    if integer("mnist_cnn", "pairs", pairs, 1) > len(widths):
        there = "1, 2 or 3" if maps is None else f"from 1 to {len(widths)}, as many as maps"
        raise ShapeError(f"mnist_cnn: pairs must be {there}, got {pairs}")
    width_of_hidden = integer("mnist_cnn", "hidden", hidden, 0)
    rate = number("mnist_cnn", "dropout", dropout, 0.0, 1.0)
    layers: OrderedDict[str, nn.Module] = OrderedDict()
    for i, to in enumerate(widths[:pairs], start=1):
        layers[f"conv{i}"] = nn.Conv2d(channels, to, _SIZE, padding="same", dtype=dtype)
        layers[f"relu{i}"] = nn.ReLU()
        layers[f"pool{i}"] = nn.MaxPool2d(2, ceil_mode=True)
        if rate:
            layers[f"dropout{i}"] = nn.Dropout(rate)
        channels, height, width = to, (height + 1) // 2, (width + 1) // 2
    layers["flatten"] = nn.Flatten()
    features = channels * height * width
    if width_of_hidden:
        layers["fc1"] = nn.Linear(features, width_of_hidden, dtype=dtype)
        layers[f"relu{pairs + 1}"] = nn.ReLU()
        if rate:
            layers[f"dropout{pairs + 1}"] = nn.Dropout(rate)
        features = width_of_hidden
    layers["fc2"] = nn.Linear(features, classes, dtype=dtype)
    return nn.Sequential(layers)


@register(input_shape=(1, 28, 28), source=_SOURCE, smallest=_IMPROVED_SMALLEST)
def mnist_cnn_improved(
    num_classes: int = 10,
    in_channels: int = 1,
    *,
    maps: Sequence[int] = _IMPROVED_WIDTHS,
    hidden: int = _IMPROVED_HIDDEN,
    dropout: float = 0.4,
    stacked: bool = True,
    strided: bool = True,
    norm: bool = True,
    input_size: IntOrPair = 28,
    dtype: Any = None,
) -> nn.Sequential:
    """32C3-32C3-32C5S2 - 64C3-64C3-64C5S2 - 128: (N, in_channels, H, W) -> (N, num_classes) logits.

    Pairs of 3x3 convolutions take the place of 5x5, and 5x5 convolutions of stride 2 that of pooling.
    ReLU and batch normalisation follow each convolution and the hidden layer; dropout follows each
    half and the hidden layer. Each of these changes can be left out: without all of them it is
    32C5-P2 - 64C5-P2 - 128.

    Args:
        num_classes, in_channels: width of the last layer, channels of the images.
        maps: channels of the halves' convolutions.
        hidden: width of the hidden layer; 0 for none.
        dropout: probability.
        stacked: two 3x3 convolutions in each half; otherwise one 5x5. None is padded.
        strided: halves end with a 5x5 convolution of stride 2; otherwise with 2x2 max-pooling.
        norm: batch normalisation.
        input_size: H and W in pixels, an integer or a pair, at least 14 each.
        dtype: element type of the parameters, float32 by default.

    Raises:
        ShapeError, DTypeError: arguments out of range or of the wrong type.

    Sources: Springenberg et al., "Striving for simplicity: the all convolutional net" (2015), for
    strides instead of pooling; Simonyan & Zisserman, "Very deep convolutional networks" (2015), for
    small filters in a row; Ioffe & Szegedy, "Batch normalization" (2015); Srivastava et al.,
    "Dropout" (2014).
    """
    name = "mnist_cnn_improved"
    classes = integer(name, "num_classes", num_classes, 1)
    channels = integer(name, "in_channels", in_channels, 1)
    sizes = list(pair(name, "input_size", input_size, _IMPROVED_SMALLEST))
    rate = number(name, "dropout", dropout, 0.0, 1.0)
    widths = _maps(name, maps)
    if len(widths) != len(_IMPROVED_WIDTHS):
        raise ShapeError(f"{name}: maps must be two numbers, got {widths}")
    width_of_hidden = integer(name, "hidden", hidden, 0)
    normalized = flag(name, "norm", norm)
    # (kernel size, stride, padding) of the convolutions of a half.
    half = [(3, 1, 0), (3, 1, 0)] if flag(name, "stacked", stacked) else [(_SIZE, 1, 0)]
    if flag(name, "strided", strided):
        half.append((_SIZE, 2, 2))
    layers: OrderedDict[str, nn.Module] = OrderedDict()
    position = 0
    for number_of_half, to in enumerate(widths, start=1):
        for kernel, stride, padding in half:
            position += 1
            layers[f"conv{position}"] = nn.Conv2d(
                channels, to, kernel, stride, padding, dtype=dtype
            )
            layers[f"relu{position}"] = nn.ReLU()
            if normalized:
                layers[f"norm{position}"] = nn.BatchNorm2d(to, dtype=dtype)
            channels = to
            sizes = [(size + 2 * padding - kernel) // stride + 1 for size in sizes]
        if not strided:
            layers[f"pool{number_of_half}"] = nn.MaxPool2d(2, ceil_mode=True)
            sizes = [(size + 1) // 2 for size in sizes]
        layers[f"dropout{number_of_half}"] = nn.Dropout(rate)
    layers["flatten"] = nn.Flatten()
    features = channels * math.prod(sizes)
    if width_of_hidden:
        position += 1
        layers["fc1"] = nn.Linear(features, width_of_hidden, dtype=dtype)
        layers[f"relu{position}"] = nn.ReLU()
        if normalized:
            layers[f"norm{position}"] = nn.BatchNorm1d(width_of_hidden, dtype=dtype)
        layers[f"dropout{len(widths) + 1}"] = nn.Dropout(rate)
        features = width_of_hidden
    layers["fc2"] = nn.Linear(features, classes, dtype=dtype)
    return nn.Sequential(layers)


def _maps(name: str, maps: Sequence[int]) -> tuple[int, ...]:
    """Channels of convolutions, one number at least."""
    if isinstance(maps, (str, bytes)) or not isinstance(maps, Sequence):
        raise DTypeError(f"{name}: maps must be a sequence of integers, got {type(maps).__name__}")
    if not maps:
        raise ShapeError(f"{name}: maps is empty, expected a number for each convolution")
    return tuple(integer(name, f"maps[{i}]", width, 1) for i, width in enumerate(maps))
