"""Residual networks: ResNet, wide ResNet, ResNeXt, and ResNet for CIFAR."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

from .. import functional as F
from .. import nn
from ..errors import ShapeError
from ..nn import init
from ..nn._args import choice, flag, integer
from ..nn._drawing import draw_once
from .images import check_images, fill
from .registry import register

__all__ = [
    "ResNet",
    "resnet18",
    "resnet20",
    "resnet32",
    "resnet34",
    "resnet44",
    "resnet50",
    "resnet56",
    "resnet101",
    "resnet110",
    "resnet152",
    "resnext50_32x4d",
    "resnext101_32x8d",
    "resnext101_64x4d",
    "wide_resnet50_2",
    "wide_resnet101_2",
]

_IMAGENET_WIDTHS, _CIFAR_WIDTHS = (64, 128, 256, 512), (16, 32, 64)
_RESIDUAL = "He et al., Deep residual learning for image recognition (2016)"
_WIDE = "Zagoruyko & Komodakis, Wide residual networks (2016)"
_NEXT = "Xie et al., Aggregated residual transformations for deep neural networks (2017)"
_listed = partial(register, input_shape=(3, 224, 224))
_listed_for_cifar = register(input_shape=(3, 32, 32), source=_RESIDUAL)


class _Padded(nn.Module):
    """Option A of a shortcut: every stride-th pixel, and as many channels of zeros on both sides as
    are missing."""

    def __init__(self, channels: int, width: int, stride: int) -> None:
        super().__init__()
        self.stride = stride
        self.before = (width - channels) // 2
        self.after = width - channels - self.before

    def forward(self, input: Any) -> Any:
        y = F.avg_pool2d(input, 1, self.stride) if self.stride > 1 else input
        return F.pad(y, (0, 0, 0, 0, self.before, self.after))


def _shortcut(channels: int, width: int, stride: int, option: str, dtype: Any) -> nn.Module | None:
    if stride == 1 and channels == width:
        return None
    if option == "A":
        return _Padded(channels, width, stride)
    return nn.Sequential(
        nn.Conv2d(channels, width, 1, stride, bias=False, dtype=dtype),
        nn.BatchNorm2d(width, dtype=dtype),
    )


class _Basic(nn.Module):
    """Two 3x3 convolutions and a shortcut."""

    expansion = 1

    def __init__(
        self,
        channels: int,
        width: int,
        stride: int,
        option: str,
        inner: int,
        groups: int,
        dtype: Any,
    ) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, width, 3, stride, 1, bias=False, dtype=dtype)
        self.bn1 = nn.BatchNorm2d(width, dtype=dtype)
        self.conv2 = nn.Conv2d(width, width, 3, 1, 1, bias=False, dtype=dtype)
        self.bn2 = nn.BatchNorm2d(width, dtype=dtype)
        self.downsample = _shortcut(channels, width, stride, option, dtype)

    def forward(self, input: Any) -> Any:
        y = F.relu(self.bn1(self.conv1(input)))
        y = self.bn2(self.conv2(y))
        return F.relu(F.add(y, input if self.downsample is None else self.downsample(input)))


class _Bottleneck(nn.Module):
    """A 1x1 that narrows, a 3x3, in groups for ResNeXt, a 1x1 that widens, and a shortcut."""

    expansion = 4

    def __init__(
        self,
        channels: int,
        width: int,
        stride: int,
        option: str,
        inner: int,
        groups: int,
        dtype: Any,
    ) -> None:
        super().__init__()
        width *= self.expansion
        self.conv1 = nn.Conv2d(channels, inner, 1, bias=False, dtype=dtype)
        self.bn1 = nn.BatchNorm2d(inner, dtype=dtype)
        self.conv2 = nn.Conv2d(inner, inner, 3, stride, 1, groups=groups, bias=False, dtype=dtype)
        self.bn2 = nn.BatchNorm2d(inner, dtype=dtype)
        self.conv3 = nn.Conv2d(inner, width, 1, bias=False, dtype=dtype)
        self.bn3 = nn.BatchNorm2d(width, dtype=dtype)
        self.downsample = _shortcut(channels, width, stride, option, dtype)

    def forward(self, input: Any) -> Any:
        y = F.relu(self.bn1(self.conv1(input)))
        y = F.relu(self.bn2(self.conv2(y)))
        y = self.bn3(self.conv3(y))
        return F.relu(F.add(y, input if self.downsample is None else self.downsample(input)))


class ResNet(nn.Module):
    """A residual network: (N, in_channels, H, W) -> (N, num_classes) logits, images of any size.

    State dict and initialisation are torchvision's; strides lie in the 3x3 convolutions, as there.

    Args:
        name: what errors call the network.
        depths: blocks of each stage; all stages but the first begin with a stride of 2.
        num_classes, in_channels: width of the last layer, channels of the images.
        bottleneck: blocks of three convolutions with four times the channels at their end, instead of
            two 3x3.
        widths: channels of each stage, before that factor.
        stem: "imagenet" is a 7x7 of stride 2 and max-pooling, "cifar" a 3x3 of stride 1 alone, for
            images of some 32 pixels.
        shortcut: where channels or stride change, "B" is a 1x1 convolution with batch normalisation,
            "A" takes every other pixel and has zeros for the new channels, half of them on each side:
            no parameters.
        groups, group_width: of the 3x3 in the middle of a bottleneck: so many groups, and so many
            channels a group in the first stage; ResNeXt and wide ResNet.
        zero_init_residual: blocks start as the identity (their last batch normalisation has weight 0).
        dtype: element type of the parameters, float32 by default.

    Raises:
        ShapeError, DTypeError: arguments out of range or of the wrong type.

    Sources: He, Zhang, Ren & Sun, "Deep residual learning for image recognition" (2016);
    Zagoruyko & Komodakis, "Wide residual networks" (2016); Xie et al., "Aggregated residual
    transformations for deep neural networks" (2017).
    """

    @draw_once
    def __init__(
        self,
        name: str,
        depths: Sequence[int],
        num_classes: int = 1000,
        in_channels: int = 3,
        *,
        bottleneck: bool = False,
        widths: Sequence[int] = _IMAGENET_WIDTHS,
        stem: str = "imagenet",
        shortcut: str = "B",
        groups: int = 1,
        group_width: int = 64,
        zero_init_residual: bool = False,
        dtype: Any = None,
    ) -> None:
        super().__init__()
        self.name = name
        classes = integer(name, "num_classes", num_classes, 1)
        self.in_channels = integer(name, "in_channels", in_channels, 1)
        if not depths or len(depths) != len(widths):
            raise ShapeError(
                f"{name}: depths and widths must be of equal length, got {depths} and {widths}"
            )
        groups = integer(name, "groups", groups, 1)
        group_width = integer(name, "group_width", group_width, 1)
        if not bottleneck and (groups, group_width) != (1, 64):
            raise ShapeError(f"{name}: groups and group_width are for bottleneck blocks")
        for_cifar = choice(name, "stem", stem, ("imagenet", "cifar")) == "cifar"
        option = choice(name, "shortcut", shortcut, ("A", "B"))
        block = _Bottleneck if flag(name, "bottleneck", bottleneck) else _Basic
        zero_init = flag(name, "zero_init_residual", zero_init_residual)

        channels = integer(name, "widths[0]", widths[0], 1)
        size, stride, padding = (3, 1, 1) if for_cifar else (7, 2, 3)
        self.conv1 = nn.Conv2d(
            self.in_channels, channels, size, stride, padding, bias=False, dtype=dtype
        )
        self.bn1 = nn.BatchNorm2d(channels, dtype=dtype)
        self.maxpool = nn.Identity() if for_cifar else nn.MaxPool2d(3, 2, 1)
        self._stages = tuple(f"layer{i}" for i in range(1, len(depths) + 1))
        for stage, (depth, width) in enumerate(zip(depths, widths, strict=True)):
            inner = width * group_width // 64 * groups
            blocks: list[nn.Module] = []
            for i in range(integer(name, f"depths[{stage}]", depth, 1)):
                stride = 2 if stage and i == 0 else 1
                blocks.append(block(channels, width, stride, option, inner, groups, dtype))
                channels = width * block.expansion
            self.add_module(self._stages[stage], nn.Sequential(*blocks))
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.fc = nn.Linear(channels, classes, dtype=dtype)
        fill(
            self,
            convolution=partial(init.kaiming_normal_, mode="fan_out", nonlinearity="relu"),
        )
        if zero_init:
            for module in self.modules():
                if isinstance(module, (_Basic, _Bottleneck)):
                    last = module.bn3 if isinstance(module, _Bottleneck) else module.bn2
                    assert last.weight is not None
                    init.zeros_(last.weight)

    def forward(self, input: Any) -> Any:
        check_images(self.name, input, self.in_channels, 1)
        y = self.maxpool(F.relu(self.bn1(self.conv1(input))))
        for name in self._stages:
            y = getattr(self, name)(y)
        return self.fc(F.flatten(self.avgpool(y), 1))


_cifar = partial(ResNet, widths=_CIFAR_WIDTHS, stem="cifar")


@_listed(source=_RESIDUAL)
def resnet18(num_classes: int = 1000, in_channels: int = 3, **options: Any) -> ResNet:
    """ResNet-18; arguments: `ResNet`."""
    return ResNet("resnet18", (2, 2, 2, 2), num_classes, in_channels, **options)


@_listed(source=_RESIDUAL)
def resnet34(num_classes: int = 1000, in_channels: int = 3, **options: Any) -> ResNet:
    """ResNet-34; arguments: `ResNet`."""
    return ResNet("resnet34", (3, 4, 6, 3), num_classes, in_channels, **options)


@_listed(source=_RESIDUAL)
def resnet50(num_classes: int = 1000, in_channels: int = 3, **options: Any) -> ResNet:
    """ResNet-50; arguments: `ResNet`."""
    return ResNet("resnet50", (3, 4, 6, 3), num_classes, in_channels, bottleneck=True, **options)


@_listed(source=_RESIDUAL)
def resnet101(num_classes: int = 1000, in_channels: int = 3, **options: Any) -> ResNet:
    """ResNet-101; arguments: `ResNet`."""
    return ResNet("resnet101", (3, 4, 23, 3), num_classes, in_channels, bottleneck=True, **options)


@_listed(source=_RESIDUAL)
def resnet152(num_classes: int = 1000, in_channels: int = 3, **options: Any) -> ResNet:
    """ResNet-152; arguments: `ResNet`."""
    return ResNet("resnet152", (3, 8, 36, 3), num_classes, in_channels, bottleneck=True, **options)


@_listed(source=_WIDE)
def wide_resnet50_2(num_classes: int = 1000, in_channels: int = 3, **options: Any) -> ResNet:
    """ResNet-50 with the inner 3x3 twice as wide; arguments: `ResNet`."""
    return ResNet(
        "wide_resnet50_2",
        (3, 4, 6, 3),
        num_classes,
        in_channels,
        bottleneck=True,
        group_width=128,
        **options,
    )


@_listed(source=_WIDE)
def wide_resnet101_2(num_classes: int = 1000, in_channels: int = 3, **options: Any) -> ResNet:
    """ResNet-101 with the inner 3x3 twice as wide; arguments: `ResNet`."""
    return ResNet(
        "wide_resnet101_2",
        (3, 4, 23, 3),
        num_classes,
        in_channels,
        bottleneck=True,
        group_width=128,
        **options,
    )


@_listed(source=_NEXT)
def resnext50_32x4d(num_classes: int = 1000, in_channels: int = 3, **options: Any) -> ResNet:
    """ResNeXt-50, 32 groups of 4 channels; arguments: `ResNet`."""
    return ResNet(
        "resnext50_32x4d",
        (3, 4, 6, 3),
        num_classes,
        in_channels,
        bottleneck=True,
        groups=32,
        group_width=4,
        **options,
    )


@_listed(source=_NEXT)
def resnext101_32x8d(num_classes: int = 1000, in_channels: int = 3, **options: Any) -> ResNet:
    """ResNeXt-101, 32 groups of 8 channels; arguments: `ResNet`."""
    return ResNet(
        "resnext101_32x8d",
        (3, 4, 23, 3),
        num_classes,
        in_channels,
        bottleneck=True,
        groups=32,
        group_width=8,
        **options,
    )


@_listed(source=_NEXT)
def resnext101_64x4d(num_classes: int = 1000, in_channels: int = 3, **options: Any) -> ResNet:
    """ResNeXt-101, 64 groups of 4 channels; arguments: `ResNet`."""
    return ResNet(
        "resnext101_64x4d",
        (3, 4, 23, 3),
        num_classes,
        in_channels,
        bottleneck=True,
        groups=64,
        group_width=4,
        **options,
    )


@_listed_for_cifar
def resnet20(num_classes: int = 10, in_channels: int = 3, **options: Any) -> ResNet:
    """ResNet-20 for CIFAR, shortcuts of option A unless given; arguments: `ResNet`."""
    return _cifar("resnet20", (3,) * 3, num_classes, in_channels, **{"shortcut": "A", **options})


@_listed_for_cifar
def resnet32(num_classes: int = 10, in_channels: int = 3, **options: Any) -> ResNet:
    """ResNet-32 for CIFAR, shortcuts of option A unless given; arguments: `ResNet`."""
    return _cifar("resnet32", (5,) * 3, num_classes, in_channels, **{"shortcut": "A", **options})


@_listed_for_cifar
def resnet44(num_classes: int = 10, in_channels: int = 3, **options: Any) -> ResNet:
    """ResNet-44 for CIFAR, shortcuts of option A unless given; arguments: `ResNet`."""
    return _cifar("resnet44", (7,) * 3, num_classes, in_channels, **{"shortcut": "A", **options})


@_listed_for_cifar
def resnet56(num_classes: int = 10, in_channels: int = 3, **options: Any) -> ResNet:
    """ResNet-56 for CIFAR, shortcuts of option A unless given; arguments: `ResNet`."""
    return _cifar("resnet56", (9,) * 3, num_classes, in_channels, **{"shortcut": "A", **options})


@_listed_for_cifar
def resnet110(num_classes: int = 10, in_channels: int = 3, **options: Any) -> ResNet:
    """ResNet-110 for CIFAR, shortcuts of option A unless given; arguments: `ResNet`."""
    return _cifar("resnet110", (18,) * 3, num_classes, in_channels, **{"shortcut": "A", **options})
