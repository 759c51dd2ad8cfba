"""AlexNet, in one tower and in the paper's two."""

from __future__ import annotations

from functools import partial
from typing import Any, NamedTuple

from .. import functional as F
from .. import nn
from ..nn import init
from ..nn._args import choice, integer
from ..nn._drawing import draw_once
from .images import check_images, fill
from .registry import register

__all__ = ["AlexNet", "alexnet"]


class _Convolution(NamedTuple):
    """A convolution with ReLU, and whether normalisation and 3x3 pooling of stride 2 follow."""

    channels: int
    kernel_size: int
    stride: int = 1
    padding: int = 0
    groups: int = 1
    normalized: bool = False
    pooled: bool = False
    bias: float = 0.0  # at the start


_VARIANTS = {
    "torchvision": (
        _Convolution(64, 11, 4, 2, pooled=True),
        _Convolution(192, 5, 1, 2, pooled=True),
        _Convolution(384, 3, 1, 1),
        _Convolution(256, 3, 1, 1),
        _Convolution(256, 3, 1, 1, pooled=True),
    ),
    "paper": (
        _Convolution(96, 11, 4, 2, normalized=True, pooled=True),
        _Convolution(256, 5, 1, 2, 2, normalized=True, pooled=True, bias=1.0),
        _Convolution(384, 3, 1, 1),
        _Convolution(384, 3, 1, 1, 2, bias=1.0),
        _Convolution(256, 3, 1, 1, 2, pooled=True, bias=1.0),
    ),
}
_HIDDEN = 4096
_GRID = 6
_SMALLEST = 63
# k = 2, n = 5, alpha = 1e-4, beta = 0.75 of the paper, where alpha stands before a sum and not a mean.
_paper_norm = partial(nn.LocalResponseNorm, 5, alpha=5 * 1e-4, beta=0.75, k=2.0)


class AlexNet(nn.Module):
    """Five convolutions and three linear layers; see `alexnet`."""

    @draw_once
    def __init__(
        self,
        num_classes: int = 1000,
        in_channels: int = 3,
        *,
        variant: str = "torchvision",
        dropout: float = 0.5,
        dtype: Any = None,
    ) -> None:
        super().__init__()
        classes = integer("alexnet", "num_classes", num_classes, 1)
        self.in_channels = channels = integer("alexnet", "in_channels", in_channels, 1)
        table = _VARIANTS[choice("alexnet", "variant", variant, list(_VARIANTS))]
        layers: list[nn.Module] = []
        for row in table:
            layers += [
                nn.Conv2d(
                    channels,
                    row.channels,
                    row.kernel_size,
                    row.stride,
                    row.padding,
                    groups=row.groups,
                    dtype=dtype,
                ),
                nn.ReLU(),
            ]
            if row.normalized:
                layers.append(_paper_norm())
            if row.pooled:
                layers.append(nn.MaxPool2d(3, 2))
            channels = row.channels
        self.features = nn.Sequential(*layers)
        self.avgpool = nn.AdaptiveAvgPool2d(_GRID)
        self.classifier = nn.Sequential(
            nn.Dropout(dropout),
            nn.Linear(channels * _GRID * _GRID, _HIDDEN, dtype=dtype),
            nn.ReLU(),
            nn.Dropout(dropout),
            nn.Linear(_HIDDEN, _HIDDEN, dtype=dtype),
            nn.ReLU(),
            nn.Linear(_HIDDEN, classes, dtype=dtype),
        )
        if variant == "paper":
            self._fill_as_in_the_paper([row.bias for row in table])

    def _fill_as_in_the_paper(self, convolution_biases: list[float]) -> None:
        draw = partial(init.normal_, std=0.01)
        fill(self, convolution=draw, linear=draw)
        layers = [m for m in self.modules() if isinstance(m, (nn.Conv2d, nn.Linear))]
        biases = [*convolution_biases, 1.0, 1.0, 0.0]
        for layer, value in zip(layers, biases, strict=True):
            assert layer.bias is not None
            init.constant_(layer.bias, value)

    def forward(self, input: Any) -> Any:
        check_images("alexnet", input, self.in_channels, _SMALLEST)
        y = self.avgpool(self.features(input))
        return self.classifier(F.flatten(y, 1))


@register(
    input_shape=(3, 224, 224),
    source="Krizhevsky et al., ImageNet classification with deep convolutional neural networks (2012)",
    smallest=_SMALLEST,
)
def alexnet(num_classes: int = 1000, in_channels: int = 3, **options: Any) -> AlexNet:
    """AlexNet: (N, in_channels, H, W), H and W at least 63, -> (N, num_classes) logits.

    Args:
        num_classes, in_channels: width of the last layer, channels of the images.
        variant: "torchvision" (default) is the one tower of "One weird trick for parallelizing
            convolutional neural networks" (Krizhevsky 2014) with torchvision's state dict,
            61,100,840 parameters. "paper" is the network of 2012: 96, 256, 384, 384 and 256
            channels, groups of two where its two GPUs did not talk, local response normalisation
            behind the first two convolutions, and its initialisation; 60,965,224 parameters.
        dropout: probability in front of the first two linear layers, 0.5 by default.
        dtype: element type of the parameters, float32 by default.

    Raises:
        ShapeError, DTypeError: arguments out of range or of the wrong type, images too small.

    Source: Krizhevsky, Sutskever & Hinton, "ImageNet classification with deep convolutional neural
    networks" (2012). Pooling overlaps: 3x3 windows of stride 2.
    """
    return AlexNet(num_classes, in_channels, **options)
