"""The networks that are measured, written once for other libraries with PyTorch's vocabulary.

`build(name, nn, F)` makes one of them from a library's layers and functions, `from_zoo` from `fastconv.models`.
The order of parameters is the same everywhere: `weights` gives all libraries the same values.
"""

from __future__ import annotations

from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import numpy as np


@dataclass(frozen=True)
class Network:
    """What is known of a network without building it.

    Attributes:
        image: (C, H, W) of its input.
        classes: its outputs.
        macs: multiply-adds of the convolutions and linear layers, forward, an image.
        parameters: how many.
    """

    image: tuple[int, int, int]
    classes: int
    macs: float
    parameters: int


NETWORKS = {
    "lenet5": Network((1, 28, 28), 10, 416_520, 61_706),
    "alexnet": Network((3, 224, 224), 1000, 714_188_480, 61_100_840),
    "vgg16": Network((3, 224, 224), 1000, 15_470_264_320, 138_357_544),
    "googlenet": Network((3, 224, 224), 1000, 1_498_376_192, 6_624_904),
    "resnet18_cifar": Network((3, 32, 32), 10, 555_422_720, 11_173_962),
    "resnet50": Network((3, 224, 224), 1000, 4_089_184_256, 25_557_032),
    "densenet121": Network((3, 224, 224), 1000, 2_834_161_664, 7_978_856),
}


def build(name: str, nn: Any, F: Any) -> Any:
    """One of `NETWORKS` with random weights.

    Args:
        nn, F: a library's layers and functions; F also has `cat` and `flatten`.
    """
    return getattr(define(nn, F), name)()


# How `fastconv.models` makes them: a name and options. Dropout is off, since what is compared must be a function
# of the weights.
_ZOO: dict[str, tuple[str, dict[str, Any]]] = {
    "lenet5": ("lenet5", {}),
    "alexnet": ("alexnet", {"dropout": 0.0}),
    "vgg16": ("vgg16", {"dropout": 0.0}),
    "googlenet": ("googlenet", {"aux_logits": False, "dropout": 0.0}),
    "resnet18_cifar": ("resnet18", {"stem": "cifar", "num_classes": 10}),
    "resnet50": ("resnet50", {}),
    "densenet121": ("densenet121", {}),
}


def from_zoo(name: str, models: Any) -> Any:
    """One of `NETWORKS` from `fastconv.models`: what users build. Its parameters have other names than those of
    `build`, in the same order."""
    builder, options = _ZOO[name]
    return models.create(builder, **options)


def weights(name: str, named_parameters: Any) -> list[np.ndarray[Any, Any]]:
    """Values for the parameters, a function of the network and their order alone."""
    rng = np.random.default_rng(list(name.encode()))
    values = []
    for key, parameter in named_parameters:
        shape = tuple(parameter.shape)
        if len(shape) > 1:
            scale = (2.0 / np.prod(shape[1:])) ** 0.5
            value = rng.standard_normal(shape, np.float32) * np.float32(scale)
        elif key.endswith("weight"):
            value = np.full(shape, 0.5, np.float32)  # batch-norm: residual sums stay moderate
        else:
            value = np.zeros(shape, np.float32)
        values.append(value)
    return values


def define(nn: Any, F: Any) -> SimpleNamespace:
    """The blocks and networks as classes and functions of one library."""

    class Basic(nn.Module):  # type: ignore[misc]
        """ResNet's block of two 3x3 convolutions."""

        expansion = 1

        def __init__(self, c: int, width: int, stride: int = 1) -> None:
            super().__init__()
            self.conv1 = nn.Conv2d(c, width, 3, stride, 1, bias=False)
            self.bn1 = nn.BatchNorm2d(width)
            self.conv2 = nn.Conv2d(width, width, 3, 1, 1, bias=False)
            self.bn2 = nn.BatchNorm2d(width)
            self.downsample = _downsample(c, width, stride)

        def forward(self, x: Any) -> Any:
            y = F.relu(self.bn1(self.conv1(x)))
            y = self.bn2(self.conv2(y))
            return F.relu(y + (x if self.downsample is None else self.downsample(x)))

    class Bottleneck(nn.Module):  # type: ignore[misc]
        """ResNet-50's block of 1x1, 3x3 and 1x1."""

        expansion = 4

        def __init__(self, c: int, width: int, stride: int = 1) -> None:
            super().__init__()
            self.conv1 = nn.Conv2d(c, width, 1, bias=False)
            self.bn1 = nn.BatchNorm2d(width)
            self.conv2 = nn.Conv2d(width, width, 3, stride, 1, bias=False)
            self.bn2 = nn.BatchNorm2d(width)
            self.conv3 = nn.Conv2d(width, 4 * width, 1, bias=False)
            self.bn3 = nn.BatchNorm2d(4 * width)
            self.downsample = _downsample(c, 4 * width, stride)

        def forward(self, x: Any) -> Any:
            y = F.relu(self.bn1(self.conv1(x)))
            y = F.relu(self.bn2(self.conv2(y)))
            y = self.bn3(self.conv3(y))
            return F.relu(y + (x if self.downsample is None else self.downsample(x)))

    def _downsample(c: int, k: int, stride: int) -> Any:
        if stride == 1 and c == k:
            return None
        return nn.Sequential(nn.Conv2d(c, k, 1, stride, bias=False), nn.BatchNorm2d(k))

    class ResNet(nn.Module):  # type: ignore[misc]
        """He et al., 2016; with `stem` "cifar" a 3x3 without pooling at the start."""

        def __init__(
            self,
            block: Any,
            depths: tuple[int, ...],
            width: int = 64,
            classes: int = 10,
            stem: str = "cifar",
        ) -> None:
            super().__init__()
            size, stride, padding = (3, 1, 1) if stem == "cifar" else (7, 2, 3)
            self.conv1 = nn.Conv2d(3, width, size, stride, padding, bias=False)
            self.bn1 = nn.BatchNorm2d(width)
            self.pool = None if stem == "cifar" else nn.MaxPool2d(3, 2, 1)
            layers: list[Any] = []
            c = width
            for stage, depth in enumerate(depths):
                for i in range(depth):
                    layers.append(block(c, width << stage, 2 if stage and i == 0 else 1))
                    c = (width << stage) * block.expansion
            self.layers = nn.Sequential(*layers)
            self.fc = nn.Linear(c, classes)

        def forward(self, x: Any) -> Any:
            x = F.relu(self.bn1(self.conv1(x)))
            x = x if self.pool is None else self.pool(x)
            x = F.adaptive_avg_pool2d(self.layers(x), 1)
            return self.fc(F.flatten(x, 1))

    class ConvNorm(nn.Module):  # type: ignore[misc]
        """Convolution, batch-norm, ReLU: torchvision's GoogLeNet."""

        def __init__(self, c: int, k: int, size: int, stride: int = 1, padding: int = 0) -> None:
            super().__init__()
            self.conv = nn.Conv2d(c, k, size, stride, padding, bias=False)
            self.bn = nn.BatchNorm2d(k, eps=0.001)

        def forward(self, x: Any) -> Any:
            return F.relu(self.bn(self.conv(x)))

    class Inception(nn.Module):  # type: ignore[misc]
        """Szegedy et al., 2015: four branches joined."""

        def __init__(self, c: int, a: int, b0: int, b1: int, d0: int, d1: int, e: int) -> None:
            super().__init__()
            self.branch1 = ConvNorm(c, a, 1)
            self.branch2 = nn.Sequential(ConvNorm(c, b0, 1), ConvNorm(b0, b1, 3, 1, 1))
            self.branch3 = nn.Sequential(ConvNorm(c, d0, 1), ConvNorm(d0, d1, 3, 1, 1))
            self.branch4 = nn.Sequential(nn.MaxPool2d(3, 1, 1, ceil_mode=True), ConvNorm(c, e, 1))

        def forward(self, x: Any) -> Any:
            return F.cat([self.branch1(x), self.branch2(x), self.branch3(x), self.branch4(x)], 1)

    class Head(nn.Module):  # type: ignore[misc]
        """Global average pooling and a linear layer."""

        def __init__(self, c: int, classes: int) -> None:
            super().__init__()
            self.fc = nn.Linear(c, classes)

        def forward(self, x: Any) -> Any:
            return self.fc(F.flatten(F.adaptive_avg_pool2d(x, 1), 1))

    def googlenet() -> Any:
        pool = lambda size=3: nn.MaxPool2d(size, 2, ceil_mode=True)  # noqa: E731
        return nn.Sequential(
            ConvNorm(3, 64, 7, 2, 3),
            pool(),
            ConvNorm(64, 64, 1),
            ConvNorm(64, 192, 3, 1, 1),
            pool(),
            Inception(192, 64, 96, 128, 16, 32, 32),
            Inception(256, 128, 128, 192, 32, 96, 64),
            pool(),
            Inception(480, 192, 96, 208, 16, 48, 64),
            Inception(512, 160, 112, 224, 24, 64, 64),
            Inception(512, 128, 128, 256, 24, 64, 64),
            Inception(512, 112, 144, 288, 32, 64, 64),
            Inception(528, 256, 160, 320, 32, 128, 128),
            pool(2),
            Inception(832, 256, 160, 320, 32, 128, 128),
            Inception(832, 384, 192, 384, 48, 128, 128),
            Head(1024, 1000),
        )

    class DenseLayer(nn.Module):  # type: ignore[misc]
        """Huang et al., 2017: batch-norm and ReLU before each convolution, the result joined to x."""

        def __init__(self, c: int, growth: int) -> None:
            super().__init__()
            self.norm1 = nn.BatchNorm2d(c)
            self.conv1 = nn.Conv2d(c, 4 * growth, 1, bias=False)
            self.norm2 = nn.BatchNorm2d(4 * growth)
            self.conv2 = nn.Conv2d(4 * growth, growth, 3, 1, 1, bias=False)

        def forward(self, x: Any) -> Any:
            y = self.conv1(F.relu(self.norm1(x)))
            return F.cat([x, self.conv2(F.relu(self.norm2(y)))], 1)

    def densenet(
        blocks: tuple[int, ...], growth: int, c: int, classes: int, stem: str = "imagenet"
    ) -> Any:
        layers: list[Any] = [nn.Conv2d(3, c, 3, 1, 1, bias=False)]
        if stem == "imagenet":
            layers = [nn.Conv2d(3, c, 7, 2, 3, bias=False), nn.BatchNorm2d(c), nn.ReLU()]
            layers.append(nn.MaxPool2d(3, 2, 1))
        for i, count in enumerate(blocks):
            for _ in range(count):
                layers.append(DenseLayer(c, growth))
                c += growth
            layers += [nn.BatchNorm2d(c), nn.ReLU()]
            if i + 1 < len(blocks):
                layers += [nn.Conv2d(c, c // 2, 1, bias=False), nn.AvgPool2d(2)]
                c //= 2
        return nn.Sequential(*layers, Head(c, classes))

    def lenet5() -> Any:
        return nn.Sequential(
            nn.Conv2d(1, 6, 5, padding=2), nn.Tanh(), nn.AvgPool2d(2),
            nn.Conv2d(6, 16, 5), nn.Tanh(), nn.AvgPool2d(2), nn.Flatten(),
            nn.Linear(400, 120), nn.Tanh(), nn.Linear(120, 84), nn.Tanh(), nn.Linear(84, 10),
        )  # fmt: skip

    def alexnet() -> Any:
        """Krizhevsky's second version (2014), as torchvision has it, without its dropout: what is compared
        must be a function of the weights."""
        return nn.Sequential(
            nn.Conv2d(3, 64, 11, 4, 2), nn.ReLU(), nn.MaxPool2d(3, 2),
            nn.Conv2d(64, 192, 5, 1, 2), nn.ReLU(), nn.MaxPool2d(3, 2),
            nn.Conv2d(192, 384, 3, 1, 1), nn.ReLU(),
            nn.Conv2d(384, 256, 3, 1, 1), nn.ReLU(),
            nn.Conv2d(256, 256, 3, 1, 1), nn.ReLU(), nn.MaxPool2d(3, 2), nn.Flatten(),
            nn.Linear(9216, 4096), nn.ReLU(), nn.Linear(4096, 4096), nn.ReLU(), nn.Linear(4096, 1000),
        )  # fmt: skip

    def vgg16() -> Any:
        """Simonyan and Zisserman, 2015; without dropout, as AlexNet."""
        layers: list[Any] = []
        c = 3
        for widths in ((64,) * 2, (128,) * 2, (256,) * 3, (512,) * 3, (512,) * 3):
            for k in widths:
                layers += [nn.Conv2d(c, k, 3, 1, 1), nn.ReLU()]
                c = k
            layers.append(nn.MaxPool2d(2))
        return nn.Sequential(
            *layers, nn.Flatten(), nn.Linear(25088, 4096), nn.ReLU(),
            nn.Linear(4096, 4096), nn.ReLU(), nn.Linear(4096, 1000),
        )  # fmt: skip

    return SimpleNamespace(
        Basic=Basic,
        Bottleneck=Bottleneck,
        ConvNorm=ConvNorm,
        DenseLayer=DenseLayer,
        Inception=Inception,
        ResNet=ResNet,
        alexnet=alexnet,
        densenet=densenet,
        densenet121=lambda: densenet((6, 12, 24, 16), 32, 64, 1000),
        googlenet=googlenet,
        lenet5=lenet5,
        resnet18_cifar=lambda: ResNet(Basic, (2, 2, 2, 2)),
        resnet50=lambda: ResNet(Bottleneck, (3, 4, 6, 3), classes=1000, stem="imagenet"),
        vgg16=vgg16,
    )
