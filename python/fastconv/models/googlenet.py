"""GoogLeNet (Inception v1)."""

from __future__ import annotations

from functools import partial
from typing import Any, NamedTuple

from .. import functional as F
from .. import nn
from ..nn import init
from ..nn._args import choice, flag, integer
from ..nn._drawing import draw_once
from .conv_norm import ConvNorm
from .images import check_images, fill, half_range
from .registry import register

__all__ = ["GoogLeNet", "GoogLeNetOutputs", "googlenet"]


class GoogLeNetOutputs(NamedTuple):
    """What GoogLeNet returns in training mode: its logits, and those of the heads behind inception4d
    and inception4a."""

    logits: Any
    aux_logits2: Any
    aux_logits1: Any


class _Widths(NamedTuple):
    """Channels of a module's branches: 1x1, 3x3 and its reduction, 5x5 and its reduction, pooling."""

    one: int
    three_reduced: int
    three: int
    five_reduced: int
    five: int
    pooled: int


# Modules by name; a pooling of the given size and stride 2 stands in front of each stage.
_STAGES: tuple[tuple[int, dict[str, _Widths]], ...] = (
    (
        3,
        {
            "inception3a": _Widths(64, 96, 128, 16, 32, 32),
            "inception3b": _Widths(128, 128, 192, 32, 96, 64),
        },
    ),
    (
        3,
        {
            "inception4a": _Widths(192, 96, 208, 16, 48, 64),
            "inception4b": _Widths(160, 112, 224, 24, 64, 64),
            "inception4c": _Widths(128, 128, 256, 24, 64, 64),
            "inception4d": _Widths(112, 144, 288, 32, 64, 64),
            "inception4e": _Widths(256, 160, 320, 32, 128, 128),
        },
    ),
    (
        2,
        {
            "inception5a": _Widths(256, 160, 320, 32, 128, 128),
            "inception5b": _Widths(384, 192, 384, 48, 128, 128),
        },
    ),
)
_SMALLEST = 15
_HEAD_CHANNELS, _HEAD_GRID, _HEAD_HIDDEN = 128, 4, 1024


class _Inception(nn.Module):
    """Four branches joined along the channels."""

    def __init__(self, channels: int, widths: _Widths, kernel_size: int, unit: Any) -> None:
        super().__init__()
        self.out_channels = widths.one + widths.three + widths.five + widths.pooled
        self.branch1 = unit(channels, widths.one, 1)
        self.branch2 = nn.Sequential(
            unit(channels, widths.three_reduced, 1),
            unit(widths.three_reduced, widths.three, 3, padding=1),
        )
        self.branch3 = nn.Sequential(
            unit(channels, widths.five_reduced, 1),
            unit(widths.five_reduced, widths.five, kernel_size, padding=kernel_size // 2),
        )
        self.branch4 = nn.Sequential(
            nn.MaxPool2d(3, 1, 1, ceil_mode=True), unit(channels, widths.pooled, 1)
        )

    def forward(self, input: Any) -> Any:
        branches = (self.branch1, self.branch2, self.branch3, self.branch4)
        return F.cat([branch(input) for branch in branches], 1)


class _Head(nn.Module):
    """A classifier on features from the middle, for training."""

    def __init__(
        self, channels: int, classes: int, dropout: float, unit: Any, dtype: Any = None
    ) -> None:
        super().__init__()
        self.conv = unit(channels, _HEAD_CHANNELS, 1)
        features = _HEAD_CHANNELS * _HEAD_GRID * _HEAD_GRID
        self.fc1 = nn.Linear(features, _HEAD_HIDDEN, dtype=dtype)
        self.fc2 = nn.Linear(_HEAD_HIDDEN, classes, dtype=dtype)
        self.dropout = nn.Dropout(dropout)

    def forward(self, input: Any) -> Any:
        y = self.conv(F.adaptive_avg_pool2d(input, _HEAD_GRID))
        y = F.relu(self.fc1(F.flatten(y, 1)))
        return self.fc2(self.dropout(y))


class GoogLeNet(nn.Module):
    """Nine inception modules behind three convolutions; see `googlenet`."""

    aux1: _Head | None
    aux2: _Head | None

    @draw_once
    def __init__(
        self,
        num_classes: int = 1000,
        in_channels: int = 3,
        *,
        variant: str = "torchvision",
        aux_logits: bool = True,
        transform_input: bool = False,
        dropout: float | None = None,
        dropout_aux: float = 0.7,
        dtype: Any = None,
    ) -> None:
        super().__init__()
        classes = integer("googlenet", "num_classes", num_classes, 1)
        self.in_channels = integer("googlenet", "in_channels", in_channels, 1)
        paper = choice("googlenet", "variant", variant, ("torchvision", "paper")) == "paper"
        self.aux_logits = flag("googlenet", "aux_logits", aux_logits)
        self.transform_input = flag("googlenet", "transform_input", transform_input)
        unit = partial(ConvNorm, batch_norm=not paper, dtype=dtype)
        norm = partial(nn.LocalResponseNorm, 5) if paper else nn.Identity

        self.conv1 = unit(self.in_channels, 64, 7, stride=2, padding=3)
        self.maxpool1 = nn.MaxPool2d(3, 2, ceil_mode=True)
        self.norm1 = norm()
        self.conv2 = unit(64, 64, 1)
        self.conv3 = unit(64, 192, 3, padding=1)
        self.norm2 = norm()
        channels, behind = 192, {}
        for number, (size, modules) in enumerate(_STAGES, start=2):
            self.add_module(f"maxpool{number}", nn.MaxPool2d(size, 2, ceil_mode=True))
            for name, widths in modules.items():
                module = _Inception(channels, widths, 5 if paper else 3, unit)
                self.add_module(name, module)
                channels = behind[name] = module.out_channels
        for name, place in (("aux1", "inception4a"), ("aux2", "inception4d")):
            head = _Head(behind[place], classes, dropout_aux, unit, dtype)
            setattr(self, name, head if self.aux_logits else None)
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.dropout = nn.Dropout((0.4 if paper else 0.2) if dropout is None else dropout)
        self.fc = nn.Linear(channels, classes, dtype=dtype)
        if paper:
            fill(self, convolution=init.xavier_uniform_, linear=init.xavier_uniform_)
        else:
            draw = partial(init.trunc_normal_, std=0.01)
            fill(self, convolution=draw, linear=draw, biases=False)

    def forward(self, input: Any) -> Any:
        check_images("googlenet", input, self.in_channels, _SMALLEST)
        if self.transform_input:
            input = half_range("googlenet", input)
        y = self.norm1(self.maxpool1(self.conv1(input)))
        y = self.norm2(self.conv3(self.conv2(y)))
        behind = {}
        for number, (_, modules) in enumerate(_STAGES, start=2):
            y = getattr(self, f"maxpool{number}")(y)
            for name in modules:
                y = behind[name] = getattr(self, name)(y)
        logits = self.fc(self.dropout(F.flatten(self.avgpool(y), 1)))
        if not self.training or self.aux1 is None or self.aux2 is None:
            return logits
        return GoogLeNetOutputs(
            logits, self.aux2(behind["inception4d"]), self.aux1(behind["inception4a"])
        )


@register(
    input_shape=(3, 224, 224),
    source="Szegedy et al., Going deeper with convolutions (2015)",
    smallest=_SMALLEST,
)
def googlenet(num_classes: int = 1000, in_channels: int = 3, **options: Any) -> GoogLeNet:
    """GoogLeNet: (N, in_channels, H, W), H and W at least 15, -> (N, num_classes) logits.

    In training mode the result is `GoogLeNetOutputs`, (logits, aux_logits2, aux_logits1), and
    `models.auxiliary_cross_entropy` a loss for it.

    Args:
        num_classes, in_channels: width of the last layer, channels of the images.
        variant: "torchvision" (default) has batch normalisation with eps 0.001, 3x3 filters in the
            branches that are 5x5 in the paper, and torchvision's state dict and initialisation;
            13,004,888 parameters, 6,624,904 without the auxiliary heads. "paper" has the 5x5
            filters, biases instead of batch normalisation, and local response normalisation behind
            the first and third convolution (5 channels, alpha 1e-4 over their mean, beta 0.75, k
            1, which the paper leaves open); 13,378,280 and 6,998,552 parameters. In both the
            auxiliary heads average to a grid of 4x4 as torchvision's do, whatever the image's size:
            at 224x224 by windows of 4x4 pixels where the paper has 5x5 of stride 3.
        aux_logits: whether there are auxiliary heads.
        transform_input: take images standardised by ImageNet's mean and deviation, as torchvision's
            checkpoint of this network is used.
        dropout: in front of the last layer; 0.2, or 0.4 for the paper's variant.
        dropout_aux: in front of the last layers of the auxiliary heads, 0.7.
        dtype: element type of the parameters, float32 by default.

    Raises:
        ShapeError, DTypeError: arguments out of range or of the wrong type, images too small.

    Source: Szegedy et al., "Going deeper with convolutions" (2015).
    """
    return GoogLeNet(num_classes, in_channels, **options)
