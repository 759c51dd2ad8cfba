"""SqueezeNet."""

from __future__ import annotations

from functools import partial
from typing import Any

from .. import functional as F
from .. import nn
from ..nn import init
from ..nn._args import choice, integer
from ..nn._drawing import draw_once
from .images import check_images, fill
from .registry import register

__all__ = ["SqueezeNet", "squeezenet1_0", "squeezenet1_1"]

# The first convolution (channels, kernel size), then: "pool", or the channels of a fire module's
# squeezing and of each of its two expanding convolutions. The smallest image last.
_VERSIONS: dict[str, tuple[tuple[int, int], tuple[str | tuple[int, int], ...], int]] = {
    "squeezenet1_0": (
        (96, 7),
        (
            *("pool", (16, 64), (16, 64), (32, 128)),
            *("pool", (32, 128), (48, 192), (48, 192), (64, 256)),
            *("pool", (64, 256)),
        ),
        21,
    ),
    "squeezenet1_1": (
        (64, 3),
        (
            *("pool", (16, 64), (16, 64)),
            *("pool", (32, 128), (32, 128)),
            *("pool", (48, 192), (48, 192), (64, 256), (64, 256)),
        ),
        17,
    ),
}
_listed = partial(
    register,
    (3, 224, 224),
    "Iandola et al., SqueezeNet: AlexNet-level accuracy with 50x fewer parameters (2016)",
)


class _Fire(nn.Module):
    """A 1x1 that narrows, then 1x1 and 3x3 side by side."""

    def __init__(self, channels: int, squeezed: int, expanded: int, dtype: Any) -> None:
        super().__init__()
        self.squeeze = nn.Conv2d(channels, squeezed, 1, dtype=dtype)
        self.expand1x1 = nn.Conv2d(squeezed, expanded, 1, dtype=dtype)
        self.expand3x3 = nn.Conv2d(squeezed, expanded, 3, padding=1, dtype=dtype)

    def forward(self, input: Any) -> Any:
        y = F.relu(self.squeeze(input))
        return F.cat([F.relu(self.expand1x1(y)), F.relu(self.expand3x3(y))], 1)


class SqueezeNet(nn.Module):
    """SqueezeNet: (N, in_channels, H, W) -> (N, num_classes) logits.

    H and W are at least 21 (version 1.0) or 17 (1.1). State dict and initialisation are
    torchvision's. The last layer is a convolution whose planes are averaged behind a ReLU, so that
    no logit is negative.

    Args:
        version: "squeezenet1_0", the paper's, or "squeezenet1_1", with 2.4 times fewer
            multiplications.
        num_classes, in_channels: width of the last layer, channels of the images.
        dropout: probability in front of the last layer.
        dtype: element type of the parameters, float32 by default.

    Raises:
        ShapeError, DTypeError: arguments out of range or of the wrong type, images too small.

    Source: Iandola et al., "SqueezeNet: AlexNet-level accuracy with 50x fewer parameters and
    <0.5MB model size" (2016).
    """

    @draw_once
    def __init__(
        self,
        version: str,
        num_classes: int = 1000,
        in_channels: int = 3,
        *,
        dropout: float = 0.5,
        dtype: Any = None,
    ) -> None:
        super().__init__()
        self.name = version = choice("SqueezeNet", "version", version, list(_VERSIONS))
        classes = integer(version, "num_classes", num_classes, 1)
        self.in_channels = integer(version, "in_channels", in_channels, 1)
        (channels, size), rows, self._smallest = _VERSIONS[version]
        layers: list[nn.Module] = [
            nn.Conv2d(self.in_channels, channels, size, stride=2, dtype=dtype),
            nn.ReLU(),
        ]
        for row in rows:
            if isinstance(row, str):
                layers.append(nn.MaxPool2d(3, 2, ceil_mode=True))
            else:
                layers.append(_Fire(channels, *row, dtype))
                channels = 2 * row[1]
        self.features = nn.Sequential(*layers)
        last = nn.Conv2d(channels, classes, 1, dtype=dtype)
        self.classifier = nn.Sequential(
            nn.Dropout(dropout), last, nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten()
        )
        fill(self, convolution=init.kaiming_uniform_)
        init.normal_(last.weight, std=0.01)

    def forward(self, input: Any) -> Any:
        check_images(self.name, input, self.in_channels, self._smallest)
        return self.classifier(self.features(input))


@_listed(_VERSIONS["squeezenet1_0"][2])
def squeezenet1_0(num_classes: int = 1000, in_channels: int = 3, **options: Any) -> SqueezeNet:
    """SqueezeNet 1.0, 1,248,424 parameters; arguments: `SqueezeNet`."""
    return SqueezeNet("squeezenet1_0", num_classes, in_channels, **options)


@_listed(_VERSIONS["squeezenet1_1"][2])
def squeezenet1_1(num_classes: int = 1000, in_channels: int = 3, **options: Any) -> SqueezeNet:
    """SqueezeNet 1.1, 1,235,496 parameters; arguments: `SqueezeNet`."""
    return SqueezeNet("squeezenet1_1", num_classes, in_channels, **options)
