"""Densely connected networks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from .. import functional as F
from .. import nn
from ..errors import ShapeError
from ..nn import init
from ..nn._args import choice, flag, integer, number
from ..nn._drawing import draw_once
from .images import check_images, fill
from .registry import register

__all__ = [
    "DenseNet",
    "densenet121",
    "densenet161",
    "densenet169",
    "densenet201",
    "densenet_cifar",
]

# A bottleneck's 1x1 makes so many times the growth rate.
_BOTTLENECK = 4
_SOURCE = "Huang et al., Densely connected convolutional networks (2017)"
_listed = register(input_shape=(3, 224, 224), source=_SOURCE, smallest=29)


class _DenseLayer(nn.Module):
    """Batch normalisation, ReLU and convolution, twice or once; the result joined to the input."""

    def __init__(
        self, channels: int, growth: int, bottleneck: bool, dropout: float, dtype: Any
    ) -> None:
        super().__init__()
        self.bottleneck = bottleneck
        if bottleneck:
            inner = _BOTTLENECK * growth
            self.norm1 = nn.BatchNorm2d(channels, dtype=dtype)
            self.conv1 = nn.Conv2d(channels, inner, 1, bias=False, dtype=dtype)
            self.norm2 = nn.BatchNorm2d(inner, dtype=dtype)
            self.conv2 = nn.Conv2d(inner, growth, 3, padding=1, bias=False, dtype=dtype)
        else:
            self.norm1 = nn.BatchNorm2d(channels, dtype=dtype)
            self.conv1 = nn.Conv2d(channels, growth, 3, padding=1, bias=False, dtype=dtype)
        self.dropout = nn.Dropout(dropout)

    def forward(self, input: Any) -> Any:
        y = self.conv1(F.relu(self.norm1(input)))
        if self.bottleneck:
            y = self.conv2(F.relu(self.norm2(y)))
        return F.cat([input, self.dropout(y)], 1)


class _Transition(nn.Module):
    """Batch normalisation, ReLU, a 1x1 convolution and 2x2 average pooling."""

    def __init__(self, channels: int, width: int, dtype: Any) -> None:
        super().__init__()
        self.norm = nn.BatchNorm2d(channels, dtype=dtype)
        self.conv = nn.Conv2d(channels, width, 1, bias=False, dtype=dtype)

    def forward(self, input: Any) -> Any:
        return F.avg_pool2d(self.conv(F.relu(self.norm(input))), 2)


class DenseNet(nn.Module):
    """A densely connected network: (N, in_channels, H, W) -> (N, num_classes) logits.

    Each layer reads the results of all layers before it in its block. H and W are at least 29 with
    the stem for ImageNet and four blocks. State dict and initialisation are torchvision's.

    Args:
        name: what errors call the network.
        depths: layers of each block.
        growth_rate: channels that each layer adds.
        first_channels: channels of the first convolution.
        num_classes, in_channels: width of the last layer, channels of the images.
        stem: "imagenet" is a 7x7 of stride 2 and max-pooling, "cifar" a 3x3 of stride 1 alone, for
            images of some 32 pixels.
        bottleneck: a 1x1 to four times the growth rate in front of each 3x3.
        compression: share of the channels that are left between blocks, in (0, 1].
        dropout: probability behind each layer.
        dtype: element type of the parameters, float32 by default.

    Raises:
        ShapeError, DTypeError: arguments out of range or of the wrong type, images too small.

    Source: Huang, Liu, van der Maaten & Weinberger, "Densely connected convolutional networks"
    (2017).
    """

    @draw_once
    def __init__(
        self,
        name: str,
        depths: Sequence[int],
        growth_rate: int,
        first_channels: int,
        num_classes: int = 1000,
        in_channels: int = 3,
        *,
        stem: str = "imagenet",
        bottleneck: bool = True,
        compression: float = 0.5,
        dropout: float = 0.0,
        dtype: Any = None,
    ) -> None:
        super().__init__()
        self.name = name
        classes = integer(name, "num_classes", num_classes, 1)
        self.in_channels = integer(name, "in_channels", in_channels, 1)
        growth = integer(name, "growth_rate", growth_rate, 1)
        channels = integer(name, "first_channels", first_channels, 1)
        if not depths:
            raise ShapeError(f"{name}: depths must name one block at least")
        for_cifar = choice(name, "stem", stem, ("imagenet", "cifar")) == "cifar"
        bottleneck = flag(name, "bottleneck", bottleneck)
        share = number(name, "compression", compression, 0.0, 1.0)
        if share * channels < 1:
            raise ShapeError(f"{name}: compression {share:g} leaves no channels")
        # Each transition halves the image, rounding down; the last pixel must be left.
        self._smallest = 2 ** (len(depths) - 1)
        if not for_cifar:
            self._smallest = 4 * self._smallest - 3

        self.features = nn.Sequential()
        size, stride, padding = (3, 1, 1) if for_cifar else (7, 2, 3)
        self.features.add_module(
            "conv0",
            nn.Conv2d(self.in_channels, channels, size, stride, padding, bias=False, dtype=dtype),
        )
        if not for_cifar:
            self.features.add_module("norm0", nn.BatchNorm2d(channels, dtype=dtype))
            self.features.add_module("relu0", nn.ReLU())
            self.features.add_module("pool0", nn.MaxPool2d(3, 2, 1))
        for position, depth in enumerate(depths, start=1):
            block = nn.Sequential()
            for i in range(1, integer(name, f"depths[{position - 1}]", depth, 1) + 1):
                block.add_module(
                    f"denselayer{i}", _DenseLayer(channels, growth, bottleneck, dropout, dtype)
                )
                channels += growth
            self.features.add_module(f"denseblock{position}", block)
            if position < len(depths):
                width = int(channels * share)
                self.features.add_module(
                    f"transition{position}", _Transition(channels, width, dtype)
                )
                channels = width
        self.features.add_module("norm5", nn.BatchNorm2d(channels, dtype=dtype))
        self.classifier = nn.Linear(channels, classes, dtype=dtype)
        fill(self, convolution=init.kaiming_normal_)
        assert self.classifier.bias is not None
        init.zeros_(self.classifier.bias)

    def forward(self, input: Any) -> Any:
        check_images(self.name, input, self.in_channels, self._smallest)
        y = F.adaptive_avg_pool2d(F.relu(self.features(input)), 1)
        return self.classifier(F.flatten(y, 1))


@_listed
def densenet121(num_classes: int = 1000, in_channels: int = 3, **options: Any) -> DenseNet:
    """DenseNet-121, growth rate 32; arguments: `DenseNet`."""
    return DenseNet("densenet121", (6, 12, 24, 16), 32, 64, num_classes, in_channels, **options)


@_listed
def densenet161(num_classes: int = 1000, in_channels: int = 3, **options: Any) -> DenseNet:
    """DenseNet-161, growth rate 48; arguments: `DenseNet`."""
    return DenseNet("densenet161", (6, 12, 36, 24), 48, 96, num_classes, in_channels, **options)


@_listed
def densenet169(num_classes: int = 1000, in_channels: int = 3, **options: Any) -> DenseNet:
    """DenseNet-169, growth rate 32; arguments: `DenseNet`."""
    return DenseNet("densenet169", (6, 12, 32, 32), 32, 64, num_classes, in_channels, **options)


@_listed
def densenet201(num_classes: int = 1000, in_channels: int = 3, **options: Any) -> DenseNet:
    """DenseNet-201, growth rate 32; arguments: `DenseNet`."""
    return DenseNet("densenet201", (6, 12, 48, 32), 32, 64, num_classes, in_channels, **options)


@register(input_shape=(3, 32, 32), source=_SOURCE, smallest=4)
def densenet_cifar(
    num_classes: int = 10,
    in_channels: int = 3,
    *,
    depth: int = 40,
    growth_rate: int = 12,
    bottleneck: bool = False,
    compression: float = 1.0,
    dropout: float = 0.0,
    dtype: Any = None,
) -> DenseNet:
    """The paper's DenseNets for CIFAR: (N, in_channels, H, W), H and W at least 4.

    Three blocks of (depth - 4) / 3 layers, half as many where each has a bottleneck. DenseNet (L =
    40, k = 12) is the default, with 1,019,722 parameters; DenseNet-BC (L = 100, k = 12) is
    `densenet_cifar(depth=100, bottleneck=True, compression=0.5)` with 769,162.

    Args:
        num_classes, in_channels: width of the last layer, channels of the images.
        depth: L, the layers with weights but for shortcuts: 4 more than a multiple of 3, or of 6 with
            bottlenecks.
        growth_rate: k, the channels that each layer adds.
        bottleneck: a 1x1 to 4 k channels in front of each 3x3.
        compression: share of the channels that are left between blocks, in (0, 1]. Below 1 with
            bottlenecks the first convolution has 2 k channels, else 16.
        dropout: probability behind each layer; the paper has 0.2 without data augmentation.
        dtype: element type of the parameters, float32 by default.

    Raises:
        ShapeError, DTypeError: arguments out of range or of the wrong type, images too small.

    Source: Huang, Liu, van der Maaten & Weinberger, "Densely connected convolutional networks"
    (2017), section 3.
    """
    name = "densenet_cifar"
    depth = integer(name, "depth", depth, 7)
    growth = integer(name, "growth_rate", growth_rate, 1)
    a_layer = 6 if flag(name, "bottleneck", bottleneck) else 3
    if (depth - 4) % a_layer:
        raise ShapeError(f"{name}: depth must be 4 more than a multiple of {a_layer}, got {depth}")
    share = number(name, "compression", compression, 0.0, 1.0)
    first = 2 * growth if bottleneck and share < 1 else 16
    return DenseNet(
        name,
        ((depth - 4) // a_layer,) * 3,
        growth,
        first,
        num_classes,
        in_channels,
        stem="cifar",
        bottleneck=bottleneck,
        compression=share,
        dropout=dropout,
        dtype=dtype,
    )
