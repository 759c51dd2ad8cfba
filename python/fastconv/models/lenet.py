"""LeNet-5."""

from __future__ import annotations

import math
from collections import OrderedDict
from typing import Any

from .. import nn
from ..nn._args import IntOrPair, integer, pair
from .registry import register

__all__ = ["lenet5"]

# (channels, kernel size) of the convolutions, each followed by tanh and 2x2 average pooling;
# then the widths of the hidden linear layers, each followed by tanh.
_CONVOLUTIONS = ((6, 5), (16, 5))
_HIDDEN = (120, 84)
# Images below the paper's size are padded on each side, as digits of 28 pixels are to 32.
_PAPER_SIZE, _PADDING = 32, 2
_SMALLEST = 12


@register(
    input_shape=(1, 28, 28),
    source="LeCun et al., Gradient-based learning applied to document recognition (1998)",
    smallest=_SMALLEST,
)
def lenet5(
    num_classes: int = 10, in_channels: int = 1, *, input_size: IntOrPair = 28, dtype: Any = None
) -> nn.Sequential:
    """LeNet-5 as it is used today: (N, in_channels, H, W) -> (N, num_classes) logits.

    Two 5x5 convolutions (6 and 16 channels) with tanh and 2x2 average pooling, then linear layers
    of 120, 84 and `num_classes`, tanh between them. The first convolution pads 28-pixel images to
    the paper's 32. With one channel and ten classes it has 61,706 parameters.

    Args:
        num_classes: width of the last layer.
        in_channels: channels of the input, 1 for grey and 3 for colour images.
        input_size: H and W in pixels, an integer or a pair, at least 12 each. Sizes below 32, the
            paper's, are padded by 2 on each side. The first linear layer's width follows from it.
        dtype: element type of the parameters, float32 by default.

    Raises:
        ShapeError, DTypeError: arguments out of range or of the wrong type.

    Source: LeCun, Bottou, Bengio & Haffner, "Gradient-based learning applied to document
    recognition" (1998).
    """
    num_classes = integer("lenet5", "num_classes", num_classes, 1)
    channels = integer("lenet5", "in_channels", in_channels, 1)
    sizes = list(pair("lenet5", "input_size", input_size, _SMALLEST))
    layers: OrderedDict[str, nn.Module] = OrderedDict()
    padding = [_PADDING if size < _PAPER_SIZE else 0 for size in sizes]
    for number, (width, kernel) in enumerate(_CONVOLUTIONS, start=1):
        layers[f"conv{number}"] = nn.Conv2d(channels, width, kernel, padding=padding, dtype=dtype)
        layers[f"tanh{number}"] = nn.Tanh()
        layers[f"pool{number}"] = nn.AvgPool2d(2)
        sizes = [
            (size + 2 * pad - kernel + 1) // 2 for size, pad in zip(sizes, padding, strict=True)
        ]
        channels, padding = width, [0, 0]
    layers["flatten"] = nn.Flatten()
    features = channels * math.prod(sizes)
    for number, width in enumerate(_HIDDEN, start=1):
        layers[f"fc{number}"] = nn.Linear(features, width, dtype=dtype)
        layers[f"tanh{number + len(_CONVOLUTIONS)}"] = nn.Tanh()
        features = width
    layers[f"fc{len(_HIDDEN) + 1}"] = nn.Linear(features, num_classes, dtype=dtype)
    return nn.Sequential(layers)
