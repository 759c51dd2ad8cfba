"""Small networks with the blocks of the usual ones: what programs are tested on."""

from __future__ import annotations

from typing import Any

import fastconv.functional as F
from benchmarks.networks import define
from fastconv import nn

_blocks = define(nn, F)
Basic, Bottleneck, ResNet = _blocks.Basic, _blocks.Bottleneck, _blocks.ResNet


class Inception(nn.Module):
    """GoogLeNet's block: four branches joined."""

    def __init__(self, c: int, widths: tuple[int, int, int, int, int, int]) -> None:
        super().__init__()
        a, b0, b1, d0, d1, e = widths
        self.a = nn.Sequential(nn.Conv2d(c, a, 1), nn.ReLU())
        self.b = nn.Sequential(
            nn.Conv2d(c, b0, 1), nn.ReLU(), nn.Conv2d(b0, b1, 3, padding=1), nn.ReLU()
        )
        self.d = nn.Sequential(
            nn.Conv2d(c, d0, 1), nn.ReLU(), nn.Conv2d(d0, d1, 5, padding=2), nn.ReLU()
        )
        self.e = nn.Sequential(nn.MaxPool2d(3, 1, 1), nn.Conv2d(c, e, 1), nn.ReLU())

    def forward(self, x: Any) -> Any:
        return F.cat([self.a(x), self.b(x), self.d(x), self.e(x)], 1)


class GoogLeNet(nn.Module):
    """A stem with local response normalisation, two blocks, and an auxiliary output while training."""

    def __init__(self, classes: int = 10) -> None:
        super().__init__()
        self.stem = nn.Sequential(
            nn.Conv2d(3, 16, 5, 2, 2),
            nn.ReLU(),
            nn.MaxPool2d(3, 2, ceil_mode=True),
            nn.LocalResponseNorm(5),
        )
        self.one = Inception(16, (8, 12, 16, 4, 8, 8))
        self.two = Inception(40, (12, 16, 24, 4, 8, 12))
        self.aux = nn.Linear(40, classes)
        self.drop = nn.Dropout(0.4)
        self.fc = nn.Linear(56, classes)

    def forward(self, x: Any) -> Any:
        y = self.one(self.stem(x))
        out = F.adaptive_avg_pool2d(self.two(y), 1)
        out = self.fc(self.drop(F.flatten(out, 1)))
        if not self.training:
            return out
        return out, self.aux(F.flatten(F.adaptive_avg_pool2d(y, 1), 1))


def vgg(classes: int = 10) -> nn.Module:
    """Convolutions with ReLU, max-pooling, and linear layers with dropout."""
    layers: list[nn.Module] = []
    c = 3
    for widths in ((8, 8), (16, 16)):
        for k in widths:
            layers += [nn.Conv2d(c, k, 3, padding=1), nn.ReLU()]
            c = k
        layers.append(nn.MaxPool2d(2))
    layers += [
        nn.Flatten(),
        nn.Linear(16 * 4 * 4, 32),
        nn.ReLU(),
        nn.Dropout(),
        nn.Linear(32, classes),
    ]
    return nn.Sequential(*layers)


def alexnet(classes: int = 10) -> nn.Module:
    """A strided stem, overlapping pooling, groups."""
    return nn.Sequential(
        nn.Conv2d(3, 16, 7, 2, 2),
        nn.ReLU(),
        nn.LocalResponseNorm(5),
        nn.MaxPool2d(3, 2),
        nn.Conv2d(16, 24, 5, padding=2, groups=2),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(2),
        nn.Flatten(),
        nn.Linear(96, classes),
    )


def mobile(classes: int = 10) -> nn.Module:
    """Depthwise and pointwise convolutions with ReLU6."""
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, 2, 1, bias=False),
        nn.BatchNorm2d(8),
        nn.ReLU6(),
        nn.Conv2d(8, 8, 3, 1, 1, groups=8, bias=False),
        nn.BatchNorm2d(8),
        nn.ReLU6(),
        nn.Conv2d(8, 16, 1, bias=False),
        nn.BatchNorm2d(16),
        nn.AdaptiveMaxPool2d(1),
        nn.Flatten(),
        nn.Linear(16, classes),
    )


SIZE = 16  # of the pictures that these take
NETS = {
    "basic": lambda: ResNet(Basic, (1, 1), 16),
    "bottleneck": lambda: ResNet(Bottleneck, (1, 2), 8, stem="imagenet"),
    "googlenet": GoogLeNet,
    "densenet": lambda: _blocks.densenet((3, 3), 8, 16, 10, "cifar"),
    "vgg": vgg,
    "alexnet": alexnet,
    "mobile": mobile,
}
