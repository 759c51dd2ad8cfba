"""MobileNet v2."""

from __future__ import annotations

from functools import partial
from typing import Any, NamedTuple

from .. import functional as F
from .. import nn
from ..nn import init
from ..nn._args import integer, number
from ..nn._drawing import draw_once
from .images import check_images, fill
from .registry import register

__all__ = ["MobileNetV2", "mobilenet_v2"]


class _Stage(NamedTuple):
    """So many blocks, of which the first has the stride."""

    expansion: int
    channels: int
    blocks: int
    stride: int


_STAGES = (
    _Stage(1, 16, 1, 1),
    _Stage(6, 24, 2, 2),
    _Stage(6, 32, 3, 2),
    _Stage(6, 64, 4, 2),
    _Stage(6, 96, 3, 1),
    _Stage(6, 160, 3, 2),
    _Stage(6, 320, 1, 1),
)
_FIRST, _LAST = 32, 1280


def _multiple_of_8(channels: float) -> int:
    """The nearest multiple of 8, or the next where that would be less than nine tenths."""
    rounded = max(8, int(channels + 4) // 8 * 8)
    return rounded + 8 if rounded < 0.9 * channels else rounded


def _unit(
    channels: int, width: int, size: int, stride: int = 1, groups: int = 1, *, dtype: Any
) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(
            channels,
            width,
            size,
            stride,
            (size - 1) // 2,
            groups=groups,
            bias=False,
            dtype=dtype,
        ),
        nn.BatchNorm2d(width, dtype=dtype),
        nn.ReLU6(),
    )


class _InvertedResidual(nn.Module):
    """A 1x1 that widens, a depthwise 3x3, a 1x1 that narrows and has no activation."""

    def __init__(self, channels: int, width: int, stride: int, expansion: int, dtype: Any) -> None:
        super().__init__()
        hidden = channels * expansion
        layers: list[nn.Module] = []
        if expansion != 1:
            layers.append(_unit(channels, hidden, 1, dtype=dtype))
        layers += [
            _unit(hidden, hidden, 3, stride, hidden, dtype=dtype),
            nn.Conv2d(hidden, width, 1, bias=False, dtype=dtype),
            nn.BatchNorm2d(width, dtype=dtype),
        ]
        self.conv = nn.Sequential(*layers)
        self.residual = stride == 1 and channels == width

    def forward(self, input: Any) -> Any:
        y = self.conv(input)
        return F.add(input, y) if self.residual else y


class MobileNetV2(nn.Module):
    """Seventeen inverted residual blocks; see `mobilenet_v2`."""

    @draw_once
    def __init__(
        self,
        num_classes: int = 1000,
        in_channels: int = 3,
        *,
        width_mult: float = 1.0,
        dropout: float = 0.2,
        dtype: Any = None,
    ) -> None:
        super().__init__()
        classes = integer("mobilenet_v2", "num_classes", num_classes, 1)
        self.in_channels = integer("mobilenet_v2", "in_channels", in_channels, 1)
        factor = number("mobilenet_v2", "width_mult", width_mult, 0.01, 100.0)
        channels = _multiple_of_8(_FIRST * factor)
        layers: list[nn.Module] = [_unit(self.in_channels, channels, 3, 2, dtype=dtype)]
        for stage in _STAGES:
            width = _multiple_of_8(stage.channels * factor)
            for i in range(stage.blocks):
                stride = stage.stride if i == 0 else 1
                layers.append(_InvertedResidual(channels, width, stride, stage.expansion, dtype))
                channels = width
        last = _multiple_of_8(_LAST * max(1.0, factor))
        layers.append(_unit(channels, last, 1, dtype=dtype))
        self.features = nn.Sequential(*layers)
        self.classifier = nn.Sequential(nn.Dropout(dropout), nn.Linear(last, classes, dtype=dtype))
        fill(
            self,
            convolution=partial(init.kaiming_normal_, mode="fan_out"),
            linear=partial(init.normal_, std=0.01),
        )

    def forward(self, input: Any) -> Any:
        check_images("mobilenet_v2", input, self.in_channels, 1)
        y = F.adaptive_avg_pool2d(self.features(input), 1)
        return self.classifier(F.flatten(y, 1))


@register(
    input_shape=(3, 224, 224),
    source="Sandler et al., MobileNetV2: inverted residuals and linear bottlenecks (2018)",
)
def mobilenet_v2(num_classes: int = 1000, in_channels: int = 3, **options: Any) -> MobileNetV2:
    """MobileNet v2: (N, in_channels, H, W) -> (N, num_classes) logits, images of any size.

    State dict and initialisation are torchvision's; 3,504,872 parameters.

    Args:
        num_classes, in_channels: width of the last layer, channels of the images.
        width_mult: factor on all widths, which are rounded to multiples of 8; the last convolution
            never becomes narrower than 1280.
        dropout: probability in front of the last layer.
        dtype: element type of the parameters, float32 by default.

    Raises:
        ShapeError, DTypeError: arguments out of range or of the wrong type.

    Source: Sandler et al., "MobileNetV2: inverted residuals and linear bottlenecks" (2018).
    """
    return MobileNetV2(num_classes, in_channels, **options)
