"""VGG: stacks of 3x3 convolutions."""

from __future__ import annotations

from functools import partial
from typing import Any

from .. import functional as F
from .. import nn
from ..errors import ShapeError
from ..nn import init
from ..nn._args import integer
from ..nn._drawing import draw_once
from .images import check_images, fill
from .registry import register

__all__ = [
    "VGG",
    "vgg11",
    "vgg11_bn",
    "vgg13",
    "vgg13_bn",
    "vgg16",
    "vgg16_bn",
    "vgg19",
    "vgg19_bn",
]

# How many convolutions each of the five stages has, by the number of layers with weights.
_DEPTHS = {11: (1, 1, 2, 2, 2), 13: (2, 2, 2, 2, 2), 16: (2, 2, 3, 3, 3), 19: (2, 2, 4, 4, 4)}
_WIDTHS = (64, 128, 256, 512, 512)
_HIDDEN = 4096
_GRID = 7
_SMALLEST = 32
_listed = register(
    input_shape=(3, 224, 224),
    source="Simonyan & Zisserman, Very deep convolutional networks for large-scale image "
    "recognition (2015)",
    smallest=_SMALLEST,
)


class VGG(nn.Module):
    """VGG: (N, in_channels, H, W), H and W at least 32, -> (N, num_classes) logits.

    Five stages of 3x3 convolutions with 64, 128, 256, 512 and 512 channels, each ended by 2x2
    max-pooling; an average over a 7x7 grid; two hidden layers of 4096. State dict and
    initialisation are torchvision's.

    Args:
        depth: layers with weights: 11, 13, 16 or 19 (configurations A, B, D and E).
        num_classes, in_channels: width of the last layer, channels of the images.
        batch_norm: normalise behind each convolution.
        dropout: probability behind the hidden layers.
        dtype: element type of the parameters, float32 by default.

    Raises:
        ShapeError, DTypeError: arguments out of range or of the wrong type, images too small.

    Source: Simonyan & Zisserman, "Very deep convolutional networks for large-scale image
    recognition" (2015).
    """

    @draw_once
    def __init__(
        self,
        depth: int,
        num_classes: int = 1000,
        in_channels: int = 3,
        *,
        batch_norm: bool = False,
        dropout: float = 0.5,
        dtype: Any = None,
    ) -> None:
        super().__init__()
        if integer("VGG", "depth", depth, 1) not in _DEPTHS:
            raise ShapeError(f"VGG: depth must be 11, 13, 16 or 19, got {depth}")
        self.name = f"vgg{depth}" + ("_bn" if batch_norm else "")
        classes = integer(self.name, "num_classes", num_classes, 1)
        self.in_channels = channels = integer(self.name, "in_channels", in_channels, 1)
        layers: list[nn.Module] = []
        for count, width in zip(_DEPTHS[depth], _WIDTHS, strict=True):
            for _ in range(count):
                layers.append(nn.Conv2d(channels, width, 3, padding=1, dtype=dtype))
                if batch_norm:
                    layers.append(nn.BatchNorm2d(width, dtype=dtype))
                layers.append(nn.ReLU())
                channels = width
            layers.append(nn.MaxPool2d(2))
        self.features = nn.Sequential(*layers)
        self.avgpool = nn.AdaptiveAvgPool2d(_GRID)
        self.classifier = nn.Sequential(
            nn.Linear(channels * _GRID * _GRID, _HIDDEN, dtype=dtype),
            nn.ReLU(),
            nn.Dropout(dropout),
            nn.Linear(_HIDDEN, _HIDDEN, dtype=dtype),
            nn.ReLU(),
            nn.Dropout(dropout),
            nn.Linear(_HIDDEN, classes, dtype=dtype),
        )
        fill(
            self,
            convolution=partial(init.kaiming_normal_, mode="fan_out", nonlinearity="relu"),
            linear=partial(init.normal_, std=0.01),
        )

    def forward(self, input: Any) -> Any:
        check_images(self.name, input, self.in_channels, _SMALLEST)
        y = self.avgpool(self.features(input))
        return self.classifier(F.flatten(y, 1))


@_listed
def vgg11(num_classes: int = 1000, in_channels: int = 3, **options: Any) -> VGG:
    """VGG-11, configuration A; arguments: `VGG`."""
    return VGG(11, num_classes, in_channels, **options)


@_listed
def vgg11_bn(num_classes: int = 1000, in_channels: int = 3, **options: Any) -> VGG:
    """VGG-11, configuration A, with batch normalisation; arguments: `VGG`."""
    return VGG(11, num_classes, in_channels, batch_norm=True, **options)


@_listed
def vgg13(num_classes: int = 1000, in_channels: int = 3, **options: Any) -> VGG:
    """VGG-13, configuration B; arguments: `VGG`."""
    return VGG(13, num_classes, in_channels, **options)


@_listed
def vgg13_bn(num_classes: int = 1000, in_channels: int = 3, **options: Any) -> VGG:
    """VGG-13, configuration B, with batch normalisation; arguments: `VGG`."""
    return VGG(13, num_classes, in_channels, batch_norm=True, **options)


@_listed
def vgg16(num_classes: int = 1000, in_channels: int = 3, **options: Any) -> VGG:
    """VGG-16, configuration D; arguments: `VGG`."""
    return VGG(16, num_classes, in_channels, **options)


@_listed
def vgg16_bn(num_classes: int = 1000, in_channels: int = 3, **options: Any) -> VGG:
    """VGG-16, configuration D, with batch normalisation; arguments: `VGG`."""
    return VGG(16, num_classes, in_channels, batch_norm=True, **options)


@_listed
def vgg19(num_classes: int = 1000, in_channels: int = 3, **options: Any) -> VGG:
    """VGG-19, configuration E; arguments: `VGG`."""
    return VGG(19, num_classes, in_channels, **options)


@_listed
def vgg19_bn(num_classes: int = 1000, in_channels: int = 3, **options: Any) -> VGG:
    """VGG-19, configuration E, with batch normalisation; arguments: `VGG`."""
    return VGG(19, num_classes, in_channels, batch_norm=True, **options)
