"""LeNet-5."""

from __future__ import annotations

from collections import OrderedDict
from typing import Any

from .. import nn
from ..errors import ShapeError
from ..nn._args import integer
from .registry import register

__all__ = ["lenet5"]

# (channels, kernel size) of the convolutions, each followed by tanh and 2x2 average pooling;
# then the widths of the hidden linear layers, each followed by tanh.
_CONVOLUTIONS = ((6, 5), (16, 5))
_HIDDEN = (120, 84)


@register(
    input_shape=(1, 28, 28),
    source="LeCun et al., Gradient-based learning applied to document recognition (1998)",
)
def lenet5(
    num_classes: int = 10, in_channels: int = 1, *, input_size: int = 28, dtype: Any = None
) -> nn.Sequential:
    """LeNet-5 as it is used today: (N, in_channels, S, S) -> (N, num_classes) logits.

    Two 5x5 convolutions (6 and 16 channels) with tanh and 2x2 average pooling, then linear layers
    of 120, 84 and `num_classes`, tanh between them. The first convolution pads 28-pixel images to
    the paper's 32. With one channel and ten classes it has 61,706 parameters.

    Args:
        num_classes: width of the last layer.
        in_channels: channels of the input, 1 for grey and 3 for colour images.
        input_size: S, in pixels: 28 (padded by 2 on each side) or 32 (the paper's).
        dtype: element type of the parameters, float32 by default.

    Raises:
        ShapeError, DTypeError: arguments out of range or of the wrong type.

    Source: LeCun, Bottou, Bengio & Haffner, "Gradient-based learning applied to document
    recognition" (1998).
    """
    num_classes = integer("lenet5", "num_classes", num_classes, 1)
    channels = integer("lenet5", "in_channels", in_channels, 1)
    if integer("lenet5", "input_size", input_size, 1) not in (28, 32):
        raise ShapeError(f"lenet5: input_size must be 28 or 32, got {input_size!r}")
    layers: OrderedDict[str, nn.Module] = OrderedDict()
    padding, size = (32 - input_size) // 2, 32
    for number, (width, kernel) in enumerate(_CONVOLUTIONS, start=1):
        layers[f"conv{number}"] = nn.Conv2d(channels, width, kernel, padding=padding, dtype=dtype)
        layers[f"tanh{number}"] = nn.Tanh()
        layers[f"pool{number}"] = nn.AvgPool2d(2)
        channels, padding, size = width, 0, (size - kernel + 1) // 2
    layers["flatten"] = nn.Flatten()
    features = channels * size * size
    for number, width in enumerate(_HIDDEN, start=1):
        layers[f"fc{number}"] = nn.Linear(features, width, dtype=dtype)
        layers[f"tanh{number + len(_CONVOLUTIONS)}"] = nn.Tanh()
        features = width
    layers[f"fc{len(_HIDDEN) + 1}"] = nn.Linear(features, num_classes, dtype=dtype)
    return nn.Sequential(layers)
