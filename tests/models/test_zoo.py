"""The networks' parts: state dicts, parameters, multiplications, image sizes, initial values, bad arguments."""

from __future__ import annotations

import itertools
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import fastconv as fc
from fastconv import models, nn
from fastconv._recording import run_on_shape

unfilled = pytest.mark.usefixtures("unfilled")

# Parameters, and multiply-accumulates in thousands of millions at the default input, as torchvision's
# documentation has them; the smallest image.
PUBLISHED = {
    "alexnet": (61_100_840, 0.714, 63),
    "densenet121": (7_978_856, 2.834, 29),
    "densenet161": (28_681_000, 7.728, 29),
    "densenet169": (14_149_480, 3.36, 29),
    "densenet201": (20_013_928, 4.291, 29),
    "googlenet": (13_004_888, 1.498, 15),
    "inception_v3": (27_161_264, 5.713, 75),
    "mobilenet_v2": (3_504_872, 0.301, 1),
    "resnet101": (44_549_160, 7.801, 1),
    "resnet152": (60_192_808, 11.514, 1),
    "resnet18": (11_689_512, 1.814, 1),
    "resnet34": (21_797_672, 3.664, 1),
    "resnet50": (25_557_032, 4.089, 1),
    "resnext101_32x8d": (88_791_336, 16.414, 1),
    "resnext101_64x4d": (83_455_272, 15.46, 1),
    "resnext50_32x4d": (25_028_904, 4.23, 1),
    "squeezenet1_0": (1_248_424, 0.819, 21),
    "squeezenet1_1": (1_235_496, 0.349, 17),
    "vgg11": (132_863_336, 7.609, 32),
    "vgg11_bn": (132_868_840, 7.609, 32),
    "vgg13": (133_047_848, 11.308, 32),
    "vgg13_bn": (133_053_736, 11.308, 32),
    "vgg16": (138_357_544, 15.47, 32),
    "vgg16_bn": (138_365_992, 15.47, 32),
    "vgg19": (143_667_240, 19.632, 32),
    "vgg19_bn": (143_678_248, 19.632, 32),
    "wide_resnet101_2": (126_886_696, 22.753, 1),
    "wide_resnet50_2": (68_883_240, 11.398, 1),
}


def convolution(c: int, k: int, size: int, bias: bool = False) -> int:
    return k * (c * size * size + bias)


def cifar_resnet(n: int) -> int:
    """6 n + 2 layers: three stages of 2 n 3x3 convolutions with batch-norm."""
    total, c = convolution(3, 16, 3) + 2 * 16, 16
    for k in (16, 32, 64):
        total += convolution(c, k, 3) + (2 * n - 1) * convolution(k, k, 3) + 2 * n * 2 * k
        c = k
    return total + 65 * 10


# By hand, or as papers and other implementations have them.
PARAMETERS: list[tuple[str, dict[str, Any], int]] = [
    *((f"resnet{6 * n + 2}", {}, cifar_resnet(n)) for n in (3, 5, 7, 9, 18)),
    ("resnet20", {"shortcut": "B"}, cifar_resnet(3) + 16 * 32 + 64 + 32 * 64 + 128),
    ("resnet18", {"stem": "cifar", "num_classes": 10}, 11_173_962),
    ("alexnet", {"variant": "paper"}, 60_965_224),
    ("googlenet", {"aux_logits": False}, 6_624_904),
    ("googlenet", {"variant": "paper"}, 13_378_280),
    ("googlenet", {"variant": "paper", "aux_logits": False}, 6_998_552),
    ("densenet_cifar", {}, 1_019_722),
    ("densenet_cifar", {"depth": 100, "bottleneck": True, "compression": 0.5}, 769_162),
    ("lenet5", {}, 61_706),
    ("mnist_cnn", {"pairs": 1}, 624 + (24 * 14 * 14 + 1) * 256 + 2570),
    ("mnist_cnn", {}, 624 + 28_848 + (48 * 7 * 7 + 1) * 256 + 2570),
    ("mnist_cnn", {"pairs": 3}, 624 + 28_848 + 76_864 + (64 * 4 * 4 + 1) * 256 + 2570),
    (
        "mnist_cnn_improved",
        {},
        sum(
            convolution(c, k, s, True) + 2 * k
            for c, k, s in ((1, 32, 3), (32, 32, 3), (32, 32, 5), (32, 64, 3), (64, 64, 3))
        )
        + convolution(64, 64, 5, True)
        + 128
        + (1025 + 2) * 128
        + 1290,
    ),
    ("mnist_cnn", {"maps": (8, 16, 4), "hidden": 0}, 208 + 3216 + 1604 + (4 * 16 + 1) * 10),
    ("mnist_cnn", {"maps": (8, 16, 4), "pairs": 1, "hidden": 7}, 208 + 1569 * 7 + 80),
    (
        "mnist_cnn_improved",
        {"stacked": False, "strided": False, "norm": False},
        832 + 51_264 + (64 * 16 + 1) * 128 + 1290,
    ),
    (
        "mnist_cnn_improved",
        {"maps": (8, 16), "strided": False, "hidden": 0},
        80 + 584 + 1168 + 2320 + 2 * (8 + 8 + 16 + 16) + (16 * 16 + 1) * 10,
    ),
    (
        "mnist_cnn_improved",
        {"maps": (8, 16), "stacked": False, "hidden": 5, "norm": False},
        208 + 1608 + 3216 + 6416 + (16 * 16 + 1) * 5 + 60,
    ),
    ("mobilenet_v2", {"width_mult": 0.5}, 1_968_680),
]


def parameters(net: Any) -> int:
    return sum(p.size for p in net.parameters())


def torchvision_keys() -> dict[str, list[tuple[str, tuple[int, ...]]]]:
    nets: dict[str, list[tuple[str, tuple[int, ...]]]] = {}
    for line in Path(__file__).with_name("torchvision_keys.txt").read_text().splitlines():
        if line.startswith("["):
            entries = nets[line.strip("[]")] = []
        elif not line.startswith("#"):
            name, size = line.split()
            shape = tuple(int(n) for n in size.split("x"))
            if name.endswith((".weight", ".bias")):
                entries.append((name, shape))
            else:
                kinds = ("weight", "bias", "running_mean", "running_var")
                entries += [(f"{name}.{kind}", shape) for kind in kinds]
                entries.append((f"{name}.num_batches_tracked", ()))
    return nets


KEYS = torchvision_keys()


@unfilled
@pytest.mark.parametrize("name", KEYS)
def test_state_dicts_are_torchvisions(name: str) -> None:
    assert len(KEYS) == 10
    net = models.create(name)
    assert [(k, v.shape) for k, v in net.state_dict().items()] == KEYS[name]


@unfilled
@pytest.mark.parametrize("name", PUBLISHED)
def test_published_sizes(name: str) -> None:
    count, giga, smallest = PUBLISHED[name]
    entry = models.info(name)
    assert entry.smallest == (299 if name == "inception_v3" else smallest)
    net: Any = models.create(name)
    table = net.summary((1, *entry.input_shape))
    assert table.parameters == parameters(net) == count
    assert table.macs / 1e9 == pytest.approx(giga, abs=6e-4)
    assert table.layers[-1].output_shape == (1, 1000)
    run_on_shape(net.eval(), (2, 3, smallest, smallest + 5), np.dtype(np.float32))
    if smallest > 1:
        bad = rf"^{name}: images must be \(N, 3, H, W\) with H and W of at least {smallest}, got"
        with pytest.raises(fc.ShapeError, match=bad):
            net(np.zeros((2, 3, smallest, smallest - 1), np.float32))


@unfilled
@pytest.mark.parametrize(("name", "options", "count"), PARAMETERS, ids=str)
def test_parameters_by_hand(name: str, options: dict[str, Any], count: int) -> None:
    assert parameters(models.create(name, **options)) == count


def test_every_network_is_counted() -> None:
    assert set(models.list()) == set(PUBLISHED) | {name for name, _, _ in PARAMETERS}
    for name in models.list():
        assert name in models.__all__ and getattr(models, name) is models.info(name).builder


@unfilled
@pytest.mark.parametrize("name", models.list())
def test_options_that_all_have(name: str) -> None:
    _, height, width = models.info(name).input_shape
    net: Any = models.create(name, num_classes=3, in_channels=5, dtype="float64")
    assert all(p.dtype == np.float64 for p in net.parameters())
    assert net.summary((2, 5, height, width)).layers[-1].output_shape == (2, 3)
    for option, value, error in (
        ("num_classes", 0, fc.ShapeError),
        ("num_classes", 2.5, fc.DTypeError),
        ("in_channels", -1, fc.ShapeError),
        ("in_channels", "3", fc.DTypeError),
    ):
        with pytest.raises(error, match=f"^{name}: {option}"):
            models.create(name, **{option: value})
    with pytest.raises(TypeError, match="colour"):
        models.create(name, colour="red")


@unfilled
@pytest.mark.parametrize(
    ("name", "options", "error", "text"),
    [
        ("alexnet", {"variant": "2012"}, fc.ShapeError, "variant"),
        ("googlenet", {"variant": "v2"}, fc.ShapeError, "variant"),
        ("googlenet", {"aux_logits": 1}, fc.DTypeError, "aux_logits"),
        ("inception_v3", {"transform_input": None}, fc.DTypeError, "transform_input"),
        ("resnet18", {"stem": "mnist"}, fc.ShapeError, "stem"),
        ("resnet18", {"shortcut": "C"}, fc.ShapeError, "shortcut"),
        ("resnet18", {"groups": 2}, fc.ShapeError, "groups"),
        ("resnet50", {"groups": 0}, fc.ShapeError, "groups"),
        ("resnet20", {"widths": (16, 32)}, fc.ShapeError, "equal length"),
        ("densenet121", {"compression": 0.0}, fc.ShapeError, "compression"),
        ("densenet_cifar", {"depth": 41}, fc.ShapeError, "4 more than a multiple of 3"),
        ("densenet_cifar", {"depth": 43, "bottleneck": True}, fc.ShapeError, "multiple of 6"),
        ("densenet_cifar", {"growth_rate": 0}, fc.ShapeError, "growth_rate"),
        ("mobilenet_v2", {"width_mult": 0.0}, fc.ShapeError, "width_mult"),
        ("mnist_cnn", {"pairs": 4}, fc.ShapeError, "1, 2 or 3"),
        ("mnist_cnn", {"pairs": 3, "maps": (8, 16)}, fc.ShapeError, "pairs must be from 1 to 2"),
        ("mnist_cnn", {"maps": ()}, fc.ShapeError, "maps is empty"),
        ("mnist_cnn", {"maps": 8}, fc.DTypeError, "maps must be a sequence of integers, got int"),
        ("mnist_cnn", {"maps": (8, 0)}, fc.ShapeError, r"maps\[1\] must be at least 1"),
        ("mnist_cnn", {"maps": (8, 1.5)}, fc.DTypeError, r"maps\[1\] must be an integer"),
        ("mnist_cnn", {"hidden": -1}, fc.ShapeError, "hidden must be at least 0"),
        ("mnist_cnn", {"dropout": 1.5}, fc.ShapeError, "dropout"),
        ("mnist_cnn_improved", {"maps": (8,)}, fc.ShapeError, "maps must be two numbers"),
        ("mnist_cnn_improved", {"norm": 1}, fc.DTypeError, "norm must be True or False"),
        ("mnist_cnn_improved", {"hidden": 1.0}, fc.DTypeError, "hidden"),
        ("mnist_cnn_improved", {"input_size": 13}, fc.ShapeError, "input_size"),
    ],
)
def test_bad_options(name: str, options: dict[str, Any], error: Any, text: str) -> None:
    with pytest.raises(error, match=f"^{name}: .*{text}"):
        models.create(name, **options)


@unfilled
def test_bad_arguments_of_classes() -> None:
    calls: list[tuple[Any, Any, str]] = [
        (lambda: models.VGG(12), fc.ShapeError, "^VGG: depth must be 11, 13, 16 or 19, got 12"),
        (lambda: models.VGG("16"), fc.DTypeError, "^VGG: depth"),  # type: ignore[arg-type]
        (lambda: models.SqueezeNet("1_0"), fc.ShapeError, "^SqueezeNet: version"),
        (lambda: models.DenseNet("d", (), 12, 16), fc.ShapeError, "^d: depths must name one"),
        (lambda: models.lenet5(input_size="28"), fc.DTypeError, "^lenet5: input_size"),  # type: ignore[arg-type]
        (
            lambda: models.lenet5(input_size=11),
            fc.ShapeError,
            "^lenet5: input_size must be at least",
        ),
        (lambda: models.mnist_cnn(input_size=(3, 4, 5)), fc.ShapeError, "^mnist_cnn: input_size"),
    ]
    for call, error, text in calls:
        with pytest.raises(error, match=text):
            call()


@unfilled
@pytest.mark.parametrize("name", ["mnist_cnn", "mnist_cnn_improved"])
def test_sizes_of_images_for_digits(name: str) -> None:
    for size in ((14, 14), (15, 40), (64, 33)):
        net: Any = models.create(name, input_size=size)
        assert net.summary((2, 1, *size)).layers[-1].output_shape == (2, 10)
    assert parameters(models.create(name, input_size=28)) == parameters(models.create(name))


def kinds(net: Any) -> list[str]:
    return [f"{name}:{type(layer).__name__}" for name, layer in net.named_children()]


@unfilled
def test_layers_of_networks_for_digits() -> None:
    """Options leave out layers or add some; the others keep their names."""
    whole = kinds(models.mnist_cnn())
    names = "conv1 relu1 pool1 conv2 relu2 pool2 flatten fc1 relu3 fc2"
    assert [kind.partition(":")[0] for kind in whole] == names.split()
    with_dropout: Any = models.mnist_cnn(dropout=0.25, hidden=32)
    layers = dict(with_dropout.named_children())
    assert [name for name in layers if name.startswith("dropout")] == [
        f"dropout{i}" for i in (1, 2, 3)
    ]
    assert all(layer.p == 0.25 for name, layer in layers.items() if "dropout" in name)
    order = list(layers)
    assert all(order[order.index(f"dropout{i}") - 1] == f"pool{i}" for i in (1, 2))
    assert order[-3:] == ["relu3", "dropout3", "fc2"]
    assert [kind for kind in kinds(with_dropout) if "Dropout" not in kind] == whole
    improved = kinds(models.mnist_cnn_improved())
    plain = kinds(models.mnist_cnn_improved(norm=False))
    assert plain == [kind for kind in improved if not kind.startswith("norm")]
    assert kinds(models.mnist_cnn_improved(hidden=0))[-2:] == ["flatten:Flatten", "fc2:Linear"]
    simple: Any = models.mnist_cnn_improved(stacked=False, strided=False, norm=False)
    names = "conv1 relu1 pool1 dropout1 conv2 relu2 pool2 dropout2 flatten fc1 relu3 dropout3 fc2"
    assert list(dict(simple.named_children())) == names.split()
    for size in ((14, 14), (15, 40), (64, 33)):
        for stacked, strided in itertools.product((False, True), repeat=2):
            net: Any = models.mnist_cnn_improved(
                stacked=stacked, strided=strided, norm=False, input_size=size
            )
            assert net(np.zeros((2, 1, *size), np.float32)).shape == (2, 10)


@unfilled
def test_bad_images() -> None:
    net: Any = models.resnet18()
    for shape in ((3, 32, 32), (1, 1, 32, 32), (1, 3, 0, 32), (1, 32, 32, 3)):
        with pytest.raises(fc.ShapeError, match=r"^resnet18: images must be \(N, 3, H, W\)"):
            net(np.zeros(shape, np.float32))
    with pytest.raises(fc.DTypeError, match="resnet18: input must be an array, got list"):
        net([[1.0]])
    grey: Any = models.googlenet(in_channels=1, transform_input=True).eval()
    with pytest.raises(fc.ShapeError, match="transform_input is for images of 3 channels, got 1"):
        grey(np.zeros((1, 1, 32, 32), np.float32))
    with pytest.raises(fc.ShapeError, match=r"its auxiliary head.* at least 299"):
        models.inception_v3()(np.zeros((2, 3, 298, 299), np.float32))


@unfilled
def test_auxiliary_heads() -> None:
    x = np.zeros((2, 3, 32, 32), np.float32)
    net: Any = models.googlenet(7)
    outputs = net(x)
    assert isinstance(outputs, models.GoogLeNetOutputs)
    assert [y.shape for y in outputs] == [(2, 7)] * 3 and outputs._fields[0] == "logits"
    program = fc.compile(net.eval(), x)
    assert net(x).shape == program(x).shape == (2, 7)
    assert models.googlenet(7, aux_logits=False)(x).shape == (2, 7)
    without: Any = models.inception_v3(7, aux_logits=False)
    assert without(np.zeros((2, 3, 107, 107), np.float32)).shape == (2, 7)


def test_auxiliary_loss() -> None:
    draw = np.random.default_rng(0)
    a, b, c = (fc.tensor(draw.standard_normal((4, 3)), requires_grad=True) for _ in range(3))
    labels = np.array([0, 2, 1, 1])

    def entropy(x: Any) -> float:
        x = x.numpy()
        return float(np.mean(np.log(np.exp(x).sum(1)) - x[np.arange(4), labels]))

    loss = models.auxiliary_cross_entropy((a, b, c), labels, 0.5)
    assert loss.item() == pytest.approx(entropy(a) + 0.5 * (entropy(b) + entropy(c)))
    assert models.auxiliary_cross_entropy(a, labels).item() == pytest.approx(entropy(a))
    loss.backward()
    for logits, share in ((a, 1.0), (b, 0.5), (c, 0.5)):
        p = np.exp(logits.numpy())
        expected = share * (p / p.sum(1, keepdims=True) - np.eye(3)[labels]) / 4
        np.testing.assert_allclose(logits.grad.numpy(), expected, atol=1e-12)
    with pytest.raises(fc.DTypeError, match="auxiliary_cross_entropy: outputs is an empty tuple"):
        models.auxiliary_cross_entropy((), labels)
    with pytest.raises(fc.ShapeError, match="auxiliary_cross_entropy: weight"):
        models.auxiliary_cross_entropy((a, b), labels, -1.0)


# Initial values: (network, parameter, mean, standard deviation, largest magnitude), after torchvision's rules.
def fan(k: int, size: int, gain: float = 2.0) -> float:
    return float((gain / (k * size * size)) ** 0.5)


INITIAL: list[tuple[str, dict[str, Any], str, float, float]] = [
    ("resnet18", {}, "layer2.0.conv1.weight", 0.0, fan(128, 3)),
    ("resnet18", {}, "fc.weight", 0.0, (1 / 3 / 512) ** 0.5),
    ("resnet18", {"zero_init_residual": True}, "layer1.1.bn2.weight", 0.0, 0.0),
    ("resnet50", {"zero_init_residual": True}, "layer1.1.bn3.weight", 0.0, 0.0),
    ("resnet50", {"zero_init_residual": True}, "layer1.1.bn2.weight", 1.0, 0.0),
    ("mobilenet_v2", {}, "features.9.conv.1.0.weight", 0.0, fan(384, 3)),
    ("mobilenet_v2", {}, "classifier.1.weight", 0.0, 0.01),
    ("densenet121", {}, "features.denseblock1.denselayer3.conv2.weight", 0.0, fan(128, 3)),
    ("densenet121", {}, "classifier.bias", 0.0, 0.0),
    ("squeezenet1_1", {}, "features.7.expand3x3.weight", 0.0, fan(32, 3)),
    ("squeezenet1_1", {}, "classifier.1.weight", 0.0, 0.01),
    ("squeezenet1_1", {}, "classifier.1.bias", 0.0, 0.0),
    ("googlenet", {}, "inception4a.branch2.1.conv.weight", 0.0, 0.01),
    ("googlenet", {}, "aux1.fc1.weight", 0.0, 0.01),
    ("inception_v3", {}, "Mixed_6b.branch7x7_2.conv.weight", 0.0, 0.1),
    ("inception_v3", {}, "AuxLogits.conv1.conv.weight", 0.0, 0.01),
    ("inception_v3", {}, "AuxLogits.fc.weight", 0.0, 0.001),
]


@pytest.mark.parametrize(
    ("name", "options", "rows"),
    [
        (name, options, [r[2:] for r in rows])
        for (name, options), rows in (
            (key, list(group))
            for key, group in itertools.groupby(INITIAL, key=lambda row: (row[0], row[1]))
        )
    ],
    ids=str,
)
def test_initial_values(name: str, options: dict[str, Any], rows: list[Any]) -> None:
    fc.manual_seed(3)
    state = models.create(name, **options).state_dict()
    for key, mean, deviation in rows:
        value = state[key].astype(np.float64)
        bound = 5 * deviation / value.size**0.5
        assert value.mean() == pytest.approx(mean, abs=bound), key
        assert value.std() == pytest.approx(deviation, abs=bound), key


def test_initial_values_of_the_paper_and_of_vgg(monkeypatch: pytest.MonkeyPatch) -> None:
    alexnet, vgg = (sys.modules[f"fastconv.models.{name}"] for name in ("alexnet", "vgg"))
    for module in (alexnet, vgg):
        monkeypatch.setattr(module, "_HIDDEN", 64)
    monkeypatch.setattr(vgg, "_GRID", 1)
    net: Any = models.alexnet(variant="paper")
    layers = [m for m in net.modules() if isinstance(m, (nn.Conv2d, nn.Linear))]
    assert [float(m.bias.numpy()[0]) for m in layers] == [0, 1, 0, 1, 1, 1, 1, 0]
    for layer in layers:
        assert layer.weight.numpy().std() == pytest.approx(0.01, rel=0.03)
        assert np.ptp(layer.bias.numpy()) == 0
    net = models.vgg11_bn()
    state = net.state_dict()
    assert state["features.4.weight"].std() == pytest.approx(fan(128, 3), rel=0.02)
    assert state["classifier.0.weight"].std() == pytest.approx(0.01, rel=0.02)
    assert not any(v.any() for k, v in state.items() if k.endswith("bias"))


class Counter:
    """A generator that counts the values it gives."""

    def __init__(self) -> None:
        self.generator, self.count = np.random.default_rng(0), 0

    def random(self, out: Any, dtype: Any) -> None:
        self.count += out.size
        self.generator.random(out=out, dtype=dtype)

    def standard_normal(self, out: Any, dtype: Any) -> None:
        self.count += out.size
        self.generator.standard_normal(out=out, dtype=dtype)


def test_values_are_drawn_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nn.init, "_PIECE", 1 << 40)
    for name in ("resnet18", "densenet121", "squeezenet1_1", "mobilenet_v2"):
        counter = Counter()
        monkeypatch.setattr(nn.init, "library_generator", lambda counter=counter: counter)
        net: Any = models.create(name)
        layers = [m for m in net.modules() if isinstance(m, (nn.Conv2d, nn.Linear))]
        drawn = sum(m.weight.size for m in layers)
        # Its last layer's bias is drawn; the others' are zeros, DenseNet's after it was drawn.
        biases = 1000 if name in ("resnet18", "densenet121") else 0
        if name == "squeezenet1_1":  # torchvision draws its last layer by another rule
            drawn += layers[-1].weight.size
        assert counter.count == drawn + biases, name


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("alexnet", {}),
        ("densenet_cifar", {}),
        ("googlenet", {}),
        ("googlenet", {"variant": "paper"}),
        ("inception_v3", {}),
        ("mobilenet_v2", {}),
        ("resnet20", {}),
        ("squeezenet1_0", {}),
    ],
)
def test_all_values_are_drawn(
    name: str, options: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    def empty(shape: Any, dtype: Any) -> Any:
        return np.full(shape, np.nan, dtype)

    for module in ("conv", "linear"):
        numpy = type("numpy", (), {"empty": staticmethod(empty)})
        monkeypatch.setattr(sys.modules[f"fastconv.nn.{module}"], "np", numpy)
    state = models.create(name, **options).state_dict()
    assert [k for k, v in state.items() if not np.isfinite(v).all()] == []
    layer = nn.Linear(3, 2)  # and on its own, after all that
    assert np.isfinite(layer.weight.numpy()).all()


def test_shortcut_without_parameters() -> None:
    """Every other pixel of every other row, between channels of zeros."""
    net: Any = models.resnet20()
    block = net.layer2[0]
    x = np.random.default_rng(0).standard_normal((2, 16, 7, 6)).astype(np.float32)
    expected = np.zeros((2, 32, 4, 3), np.float32)
    expected[:, 8:24] = x[:, :, ::2, ::2]
    np.testing.assert_array_equal(block.downsample(x), expected)
    assert list(block.downsample.parameters()) == []
    assert net.layer2[1].downsample is None and net.layer1[0].downsample is None


def test_normalisation_of_the_paper() -> None:
    """a / (2 + 1e-4 sum of squares of five channels)^0.75."""
    net: Any = models.alexnet(variant="paper")
    norms = [m for m in net.features if isinstance(m, nn.LocalResponseNorm)]
    assert len(norms) == 2 and [m.kernel_size for m in net.features if isinstance(m, nn.MaxPool2d)]
    a = 30 * np.random.default_rng(0).standard_normal((1, 7, 1, 1)).astype(np.float32)
    sums = [float((a[0, max(0, c - 2) : c + 3] ** 2).sum()) for c in range(7)]
    expected = a[0, :, 0, 0] / (2 + 1e-4 * np.array(sums)) ** 0.75
    np.testing.assert_allclose(norms[0](a)[0, :, 0, 0], expected, rtol=1e-6)
