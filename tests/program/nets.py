"""Small networks with the blocks of the usual ones: what programs are tested on."""

from __future__ import annotations

from typing import Any

import fastconv.functional as F
from fastconv import nn


class Basic(nn.Module):
    """ResNet's block of two 3x3 convolutions."""

    def __init__(self, c: int, k: int, stride: int = 1) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(c, k, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(k)
        self.conv2 = nn.Conv2d(k, k, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(k)
        self.downsample = None
        if stride != 1 or c != k:
            self.downsample = nn.Sequential(
                nn.Conv2d(c, k, 1, stride, bias=False), nn.BatchNorm2d(k)
            )

    def forward(self, x: Any) -> Any:
        y = F.relu(self.bn1(self.conv1(x)))
        y = self.bn2(self.conv2(y))
        shortcut = x if self.downsample is None else self.downsample(x)
        return F.relu(y + shortcut)


class Bottleneck(nn.Module):
    """ResNet-50's block of 1x1, 3x3 and 1x1."""

    def __init__(self, c: int, width: int, stride: int = 1, expansion: int = 4) -> None:
        super().__init__()
        k = width * expansion
        self.conv1 = nn.Conv2d(c, width, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, stride, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.conv3 = nn.Conv2d(width, k, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(k)
        self.downsample = None
        if stride != 1 or c != k:
            self.downsample = nn.Sequential(
                nn.Conv2d(c, k, 1, stride, bias=False), nn.BatchNorm2d(k)
            )

    def forward(self, x: Any) -> Any:
        y = F.relu(self.bn1(self.conv1(x)))
        y = F.relu(self.bn2(self.conv2(y)))
        y = self.bn3(self.conv3(y))
        shortcut = x if self.downsample is None else self.downsample(x)
        return F.relu(y + shortcut)


class ResNet(nn.Module):
    """(N, channels, S, S) -> (N, classes)."""

    def __init__(
        self,
        block: Any,
        depths: tuple[int, ...],
        width: int = 64,
        classes: int = 10,
        channels: int = 3,
        stem: str = "cifar",
    ) -> None:
        super().__init__()
        big = stem != "cifar"
        self.conv1 = nn.Conv2d(
            channels, width, 7 if big else 3, 2 if big else 1, 3 if big else 1, bias=False
        )
        self.bn1 = nn.BatchNorm2d(width)
        self.pool = nn.MaxPool2d(3, 2, 1) if big else nn.Identity()
        layers: list[nn.Module] = []
        c = width
        for stage, depth in enumerate(depths):
            for i in range(depth):
                k = width << stage
                layers.append(block(c, k, 2 if stage and i == 0 else 1))
                c = k * (4 if block is Bottleneck else 1)
        self.layers = nn.Sequential(*layers)
        self.fc = nn.Linear(c, classes)

    def forward(self, x: Any) -> Any:
        x = self.pool(F.relu(self.bn1(self.conv1(x))))
        x = F.adaptive_avg_pool2d(self.layers(x), 1)
        return self.fc(F.flatten(x, 1))


def resnet18(classes: int = 10) -> nn.Module:
    return ResNet(Basic, (2, 2, 2, 2), 64, classes)


def resnet50(classes: int = 1000) -> nn.Module:
    return ResNet(Bottleneck, (3, 4, 6, 3), 64, classes, stem="imagenet")


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


class DenseLayer(nn.Module):
    def __init__(self, c: int, growth: int) -> None:
        super().__init__()
        self.norm1 = nn.BatchNorm2d(c)
        self.conv1 = nn.Conv2d(c, 4 * growth, 1, bias=False)
        self.norm2 = nn.BatchNorm2d(4 * growth)
        self.conv2 = nn.Conv2d(4 * growth, growth, 3, padding=1, bias=False)

    def forward(self, x: Any) -> Any:
        y = self.conv1(F.relu(self.norm1(x)))
        y = self.conv2(F.relu(self.norm2(y)))
        return F.cat([x, y], 1)


class DenseNet(nn.Module):
    """A dense block, a transition and another."""

    def __init__(self, growth: int = 8, layers: int = 3, classes: int = 10) -> None:
        super().__init__()
        c = 2 * growth
        self.stem = nn.Conv2d(3, c, 3, padding=1, bias=False)
        blocks: list[nn.Module] = []
        for block in range(2):
            for _ in range(layers):
                blocks.append(DenseLayer(c, growth))
                c += growth
            if block == 0:
                blocks += [nn.BatchNorm2d(c), nn.ReLU(), nn.Conv2d(c, c // 2, 1, bias=False)]
                blocks += [nn.AvgPool2d(2)]
                c //= 2
        self.blocks = nn.Sequential(*blocks)
        self.norm = nn.BatchNorm2d(c)
        self.fc = nn.Linear(c, classes)

    def forward(self, x: Any) -> Any:
        x = F.relu(self.norm(self.blocks(self.stem(x))))
        return self.fc(F.flatten(F.adaptive_avg_pool2d(x, 1), 1))


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
    "densenet": DenseNet,
    "vgg": vgg,
    "alexnet": alexnet,
    "mobile": mobile,
}
