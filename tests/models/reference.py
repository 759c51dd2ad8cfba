"""What PyTorch and torchvision compute for the networks of `fastconv.models`, kept in reference.json.

Weights, images and labels are functions of a case, so that the numbers need no PyTorch to compare with.
`python -m tests.models.reference` writes them anew where both packages are installed; networks that torchvision
lacks are written here with PyTorch's layers.
"""

from __future__ import annotations

import json
import sys
import types
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

FILE = Path(__file__).with_name("reference.json")
CLASSES, HIDDEN = 5, 16
GRADIENTS = 16  # of a network's parameters, evenly spread
AUXILIARY = 0.3


@dataclass(frozen=True)
class Case:
    """A network, the images that it is run on, and for PyTorch where it comes from.

    Attributes:
        name, options: arguments of `fastconv.models.create`.
        size: of the images in training. batch: how many.
        channels: of the images.
        evaluated: size of the images in evaluation mode, where it is another one.
    """

    name: str
    size: int = 64
    batch: int = 4
    channels: int = 3
    options: dict[str, Any] = field(default_factory=dict)
    evaluated: int | None = None

    def __str__(self) -> str:
        return "-".join([self.name, *(f"{k}={v}" for k, v in self.options.items())])

    def images(self, training: bool) -> Any:
        size = self.size if training else self.evaluated or self.size
        shape = (self.batch, self.channels, size, size)
        return _generator(str(self), training).standard_normal(shape)

    @property
    def labels(self) -> Any:
        return np.arange(self.batch) % CLASSES


CASES = (
    Case("alexnet", 79),
    Case("alexnet", 79, options={"variant": "paper"}),
    Case("vgg11"),
    Case("vgg13_bn"),
    Case("googlenet"),
    Case("googlenet", options={"transform_input": True, "aux_logits": False}),
    Case("googlenet", options={"variant": "paper"}),
    Case("inception_v3", 299, 2, evaluated=85),
    Case("resnet18"),
    Case("resnet18", 32, options={"stem": "cifar", "num_classes": CLASSES}),
    Case("resnet50"),
    Case("resnext50_32x4d"),
    Case("resnet20", 32),
    Case("resnet20", 32, options={"shortcut": "B"}),
    Case("densenet121"),
    Case("densenet_cifar", 32, options={"depth": 22, "growth_rate": 8}),
    Case("densenet_cifar", 32, options={"depth": 40, "bottleneck": True, "compression": 0.5}),
    Case("squeezenet1_0"),
    Case("squeezenet1_1"),
    Case("mobilenet_v2"),
    Case("mnist_cnn", 28, channels=1, options={"pairs": 3}),
    Case("mnist_cnn_improved", 28, channels=1),
)


def _generator(*key: Any) -> np.random.Generator:
    return np.random.default_rng(list(repr(key).encode()))


def fill(state: Any) -> Iterator[tuple[str, Any, Any]]:
    """Name, entry and value of each entry of a state dict. Values follow from places and shapes, and of names
    only from what comes behind the last dot.

    Behind batch normalisation most channels are far on one side of 0, so that rounding hardly ever changes
    which way a ReLU goes: it is then no larger in gradients than in outputs."""
    normalizes = False
    for position, (name, entry) in enumerate(state.items()):
        shape = tuple(entry.shape)
        draw, kind = _generator(position, shape), name.rpartition(".")[2]
        if kind == "weight":
            normalizes = len(shape) == 1
        value: Any
        if len(shape) > 1:
            value = draw.standard_normal(shape, np.float32)
            value *= np.float32((2 / np.prod(shape[1:])) ** 0.5)
        elif kind == "num_batches_tracked":
            value = np.zeros(shape, np.int64)
        elif kind == "weight":
            value = draw.uniform(0.05, 0.15, shape)
        elif kind == "running_var":
            value = draw.uniform(0.5, 1.5, shape)
        elif kind == "bias" and normalizes:
            value = draw.uniform(0.5, 2, shape) * draw.choice([-1, 1], shape)
        else:
            value = 0.2 * draw.standard_normal(shape)
        yield name, entry, value


def narrow(net: Any, linear: Any) -> None:
    """Hidden layers of 16 instead of 4096, and no dropout, in place. `linear` makes a linear layer."""
    classifier = getattr(net, "classifier", None)
    if type(net).__name__ in ("AlexNet", "VGG"):
        layers = [i for i, m in enumerate(classifier) if type(m).__name__ == "Linear"]
        sizes = [classifier[layers[0]].in_features, HIDDEN, HIDDEN, CLASSES]
        for i, a, b in zip(layers, sizes[:-1], sizes[1:], strict=True):
            classifier[i] = linear(a, b)
    for module in net.modules():
        if type(module).__name__ == "Dropout":
            module.p = 0.0


def chosen(count: int) -> list[int]:
    """Which of so many parameters have their gradients in the file."""
    return sorted({round(i) for i in np.linspace(0, count - 1, GRADIENTS)} if count else ())


def condensed(position: int, gradient: Any) -> list[float]:
    """The norm of an array and its product with a random unit vector."""
    g = np.asarray(gradient, np.float64).ravel()
    direction = _generator("direction", position, g.size).standard_normal(g.size)
    return [float(np.linalg.norm(g)), float(g @ direction / np.linalg.norm(direction))]


# PyTorch's side


def torchvision_models() -> Any:
    """`torchvision.models`; ImportError where it is not installed. Of a wheel whose native part does not
    load beside the PyTorch that is there, the models are usable."""
    try:
        import torchvision.models as found  # type: ignore[import-not-found,unused-ignore]
    except RuntimeError:
        for name in [n for n in sys.modules if n.split(".")[0] == "torchvision"]:
            del sys.modules[name]
        registrations = "torchvision._meta_registrations"
        sys.modules[registrations] = types.ModuleType(registrations)
        import torchvision.models as found  # type: ignore[import-not-found,unused-ignore]
    return found


def build(case: Case) -> Any:
    """The network of PyTorch that `case` is compared with, float64, in training mode."""
    import torch

    options, models, nn = case.options, torchvision_models(), torch.nn
    extra = {"init_weights": False} if case.name in ("googlenet", "inception_v3") else {}
    if case.name == "alexnet" and options:
        net = _paper_alexnet(nn)
    elif case.name == "googlenet" and "variant" in options:
        net = _paper_googlenet(models, nn)
    elif case.name == "googlenet":
        net = models.GoogLeNet(CLASSES, **{**extra, **options})
    elif case.name == "resnet20":
        net = _cifar_resnet(nn, options)
    elif case.name == "densenet_cifar":
        net = _cifar_densenet(models, nn, options)
    elif case.name.startswith("mnist"):
        net = _mnist(nn, case.name)
    else:
        net = getattr(models, case.name)(weights=None, num_classes=CLASSES, **extra)
        if "stem" in options:
            net.conv1 = nn.Conv2d(3, 64, 3, 1, 1, bias=False)
            net.maxpool = nn.Identity()
    narrow(net, nn.Linear)
    net = net.double()
    with torch.no_grad():
        for _, entry, number in fill(net.state_dict()):
            entry.copy_(torch.as_tensor(number))
    return net


def measure(case: Case) -> dict[str, Any]:
    """The numbers of a case."""
    import torch

    net = build(case)
    net.eval()
    with torch.no_grad():
        evaluated = net(torch.as_tensor(case.images(False)))
    net.train()
    outputs = net(torch.as_tensor(case.images(True)))
    outputs = tuple(outputs) if isinstance(outputs, tuple) else (outputs,)
    labels = torch.as_tensor(case.labels)
    parts = [torch.nn.functional.cross_entropy(y, labels) for y in outputs]
    loss = parts[0] + AUXILIARY * sum(parts[1:])
    loss.backward()
    parameters = list(net.parameters())
    buffers = [b for b in net.buffers() if b.is_floating_point()]
    return {
        "evaluated": evaluated.tolist(),
        "outputs": [y.tolist() for y in outputs],
        "loss": loss.item(),
        "gradients": [condensed(i, parameters[i].grad.numpy()) for i in chosen(len(parameters))],
        "buffers": [condensed(i, buffers[i].numpy()) for i in chosen(len(buffers))],
    }


def _paper_alexnet(nn: Any) -> Any:
    def norm() -> Any:
        return nn.LocalResponseNorm(5, 5e-4, 0.75, 2.0)

    class AlexNet(nn.Module):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.features = nn.Sequential(
                *(nn.Conv2d(3, 96, 11, 4, 2), nn.ReLU(), norm(), nn.MaxPool2d(3, 2)),
                *(nn.Conv2d(96, 256, 5, 1, 2, groups=2), nn.ReLU(), norm(), nn.MaxPool2d(3, 2)),
                *(nn.Conv2d(256, 384, 3, 1, 1), nn.ReLU()),
                *(nn.Conv2d(384, 384, 3, 1, 1, groups=2), nn.ReLU()),
                *(nn.Conv2d(384, 256, 3, 1, 1, groups=2), nn.ReLU(), nn.MaxPool2d(3, 2)),
            )
            self.classifier = nn.Sequential(
                *(nn.Linear(9216, HIDDEN), nn.ReLU(), nn.Linear(HIDDEN, HIDDEN), nn.ReLU()),
                nn.Linear(HIDDEN, CLASSES),
            )

        def forward(self, x: Any) -> Any:
            y = nn.functional.adaptive_avg_pool2d(self.features(x), 6)
            return self.classifier(y.flatten(1))

    return AlexNet()


def _paper_googlenet(models: Any, nn: Any) -> Any:
    """torchvision's with other units: 5x5 filters, biases, local response normalisation."""

    class Unit(nn.Module):  # type: ignore[misc]
        def __init__(self, c: int, k: int, **options: Any) -> None:
            super().__init__()
            self.conv = nn.Conv2d(c, k, **options)

        def forward(self, x: Any) -> Any:
            return self.conv(x).relu()

    source = sys.modules[models.GoogLeNet.__module__]

    class Inception(source.Inception):  # type: ignore[misc]
        def __init__(self, *widths: int) -> None:
            super().__init__(*widths, conv_block=Unit)
            self.branch3[1] = Unit(widths[4], widths[5], kernel_size=5, padding=2)

    def head(c: int, classes: int, **options: Any) -> Any:
        return source.InceptionAux(c, classes, conv_block=Unit, **options)

    net = models.GoogLeNet(CLASSES, init_weights=False, blocks=[Unit, Inception, head])
    net.maxpool1 = nn.Sequential(net.maxpool1, nn.LocalResponseNorm(5))
    net.conv3 = nn.Sequential(net.conv3, nn.LocalResponseNorm(5))
    return net


def _cifar_resnet(nn: Any, options: dict[str, Any]) -> Any:
    class Block(nn.Module):  # type: ignore[misc]
        def __init__(self, c: int, k: int) -> None:
            super().__init__()
            self.grow = k - c
            self.conv1 = nn.Conv2d(c, k, 3, 2 if self.grow else 1, 1, bias=False)
            self.bn1 = nn.BatchNorm2d(k)
            self.conv2 = nn.Conv2d(k, k, 3, 1, 1, bias=False)
            self.bn2 = nn.BatchNorm2d(k)
            if self.grow and options:
                self.side = nn.Sequential(nn.Conv2d(c, k, 1, 2, bias=False), nn.BatchNorm2d(k))

        def forward(self, x: Any) -> Any:
            y = self.bn2(self.conv2(self.bn1(self.conv1(x)).relu()))
            if self.grow and options:
                x = self.side(x)
            elif self.grow:
                half = self.grow // 2
                x = nn.functional.pad(x[:, :, ::2, ::2], (0, 0, 0, 0, half, half))
            return (x + y).relu()

    layers = [nn.Conv2d(3, 16, 3, 1, 1, bias=False), nn.BatchNorm2d(16), nn.ReLU()]
    for c, k in ((16, 16), (16, 32), (32, 64)):
        layers += [Block(c, k), Block(k, k), Block(k, k)]
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(64, CLASSES))


def _cifar_densenet(models: Any, nn: Any, options: dict[str, Any]) -> Any:
    if "bottleneck" in options:  # torchvision's with another stem
        net = models.DenseNet(12, (6, 6, 6), 24, num_classes=CLASSES)
        net.features.conv0 = nn.Conv2d(3, 24, 3, 1, 1, bias=False)
        net.features.norm0 = net.features.pool0 = net.features.relu0 = nn.Identity()
        return net

    class Join(nn.Module):  # type: ignore[misc]
        def __init__(self, c: int) -> None:
            super().__init__()
            self.norm = nn.BatchNorm2d(c)
            self.conv = nn.Conv2d(c, 8, 3, 1, 1, bias=False)

        def forward(self, x: Any) -> Any:
            cat = sys.modules["torch"].cat
            return cat([x, self.conv(self.norm(x).relu())], 1)

    layers, c = [nn.Conv2d(3, 16, 3, 1, 1, bias=False)], 16
    for stage in range(3):
        for _ in range(6):
            layers.append(Join(c))
            c += 8
        layers += [nn.BatchNorm2d(c), nn.ReLU()]
        if stage < 2:
            layers += [nn.Conv2d(c, c, 1, bias=False), nn.AvgPool2d(2)]
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(c, CLASSES))


def _mnist(nn: Any, name: str) -> Any:
    def conv(c: int, k: int, *geometry: int) -> tuple[Any, ...]:
        return nn.Conv2d(c, k, *geometry), nn.ReLU(), nn.BatchNorm2d(k)

    if name == "mnist_cnn_improved":
        return nn.Sequential(
            *(*conv(1, 32, 3), *conv(32, 32, 3), *conv(32, 32, 5, 2, 2)),
            *(*conv(32, 64, 3), *conv(64, 64, 3), *conv(64, 64, 5, 2, 2)),
            *(nn.Flatten(), nn.Linear(1024, 128), nn.ReLU(), nn.BatchNorm1d(128)),
            nn.Linear(128, CLASSES),
        )
    layers = []
    for c, k in ((1, 24), (24, 48), (48, 64)):
        layers += [nn.Conv2d(c, k, 5, 1, 2), nn.ReLU(), nn.MaxPool2d(2, ceil_mode=True)]
    return nn.Sequential(
        *layers, nn.Flatten(), nn.Linear(1024, 256), nn.ReLU(), nn.Linear(256, CLASSES)
    )


def _rounded(number: Any) -> Any:
    if isinstance(number, list):
        return [_rounded(n) for n in number]
    return float(f"{number:.7g}")


if __name__ == "__main__":
    lines = []
    for each in CASES:
        numbers = {k: _rounded(v) for k, v in measure(each).items()}
        lines.append(f"{json.dumps(str(each))}: {json.dumps(numbers, separators=(',', ':'))}")
        print(each, flush=True)
    FILE.write_text("{\n" + ",\n".join(lines) + "\n}\n")
