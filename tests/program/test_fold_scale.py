"""Sums and products with constants that compiled networks put into weights: the numbers stay, the nodes go."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import fastconv as fc
import fastconv.functional as F
from fastconv import nn

KINDS = ("elementwise", "elementwise_scalar", "batch_norm_inference")


def draw(*shape: int, seed: int = 0) -> Any:
    return np.random.default_rng((*shape, seed)).uniform(0.5, 2.0, shape) * (1 if seed % 2 else -1)


class Net(nn.Module):
    """A layer and what stands behind it, with arrays as parameters."""

    def __init__(self, layer: nn.Module, tail: Callable[..., Any], *arrays: Any) -> None:
        super().__init__()
        self.layer, self.tail, self.count = layer, tail, len(arrays)
        for i, array in enumerate(arrays):
            setattr(self, f"p{i}", nn.Parameter(array))

    def forward(self, x: Any) -> Any:
        return self.tail(self.layer(x), *(getattr(self, f"p{i}") for i in range(self.count)))


def norm(channels: int, spatial: int) -> nn.Module:
    layer = {1: nn.BatchNorm1d, 2: nn.BatchNorm2d, 3: nn.BatchNorm3d}[spatial](
        channels, dtype="float64"
    )
    layer.running_mean.numpy()[...] = draw(channels, seed=2)
    layer.running_var.numpy()[...] = np.abs(draw(channels, seed=3))
    layer.weight.numpy()[...] = draw(channels, seed=4)
    layer.bias.numpy()[...] = draw(channels, seed=5)
    return layer


def layers() -> dict[str, tuple[Callable[[], nn.Module], tuple[int, ...], int]]:
    """Layers, an input for each, and their channels."""
    kind: dict[str, Any] = {"dtype": "float64"}
    last: dict[str, Any] = {"layout": "NHWC", **kind}
    return {
        "conv1d": (lambda: nn.Conv1d(3, 6, 3, **kind), (2, 3, 9), 6),
        "conv2d": (lambda: nn.Conv2d(4, 6, 3, groups=2, bias=False, **kind), (2, 4, 6, 5), 6),
        "conv2d wide": (lambda: nn.Conv2d(4, 40, 3, **kind), (2, 4, 6, 5), 40),
        "conv2d NHWC": (lambda: nn.Conv2d(4, 6, 3, **last), (2, 6, 5, 4), 6),
        "conv_transpose1d": (
            lambda: nn.ConvTranspose1d(4, 6, 3, 2, groups=2, **kind),
            (2, 4, 5),
            6,
        ),
        "conv_transpose2d": (
            lambda: nn.ConvTranspose2d(6, 9, (2, 3), 2, groups=3, **kind),
            (2, 6, 4, 3),
            9,
        ),
        "conv_transpose2d bare": (
            lambda: nn.ConvTranspose2d(4, 6, 2, bias=False, **kind),
            (2, 4, 4, 3),
            6,
        ),
        "linear": (lambda: nn.Linear(5, 6, **kind), (4, 5), 6),
        "linear bare": (lambda: nn.Linear(5, 6, bias=False, **kind), (2, 3, 5), 6),
        "norm of something else": (lambda: nn.Sequential(nn.Tanh(), norm(6, 2)), (2, 6, 3, 4), 6),
    }


def check(net: nn.Module, expected: Any, *inputs: Any, left: int = 0) -> Any:
    """The compiled network gives the numbers, of any batch, with `left` nodes of arithmetic."""
    program = fc.compile(net.eval(), *inputs)
    names = re.findall(r" = (\w+)\(", program.dump())
    assert sum(names.count(kind) for kind in KINDS) == left, program.dump()
    np.testing.assert_allclose(program(*inputs), expected, rtol=1e-11, atol=1e-11)
    return program


@pytest.mark.parametrize("name", layers())
def test_chains_of_arithmetic_go_into_the_layer(name: str) -> None:
    make, shape, channels = layers()[name]
    fc.manual_seed(3)
    layer = make()
    x = draw(*shape, seed=7)
    with fc.no_grad():
        y = np.asarray(layer.eval()(x))
    # Where the channels are, and so the shape of what broadcasts along the others.
    last = "NHWC" in name or name.startswith("linear")
    places = (channels,) if last else (channels, *(1,) * (y.ndim - 2))
    a, b, c, d = (draw(*places, seed=s) for s in range(10, 14))
    net = Net(
        layer,
        lambda y, a, b, c, d: F.div(
            F.sub(F.mul(F.sub(b, F.mul(F.add(F.mul(y, 3.0), 0.25), a)), 0.5), c), d
        ),
        a,
        b,
        c,
        d,
    )
    expected = ((b - (y * 3.0 + 0.25) * a) * 0.5 - c) / d
    check(net, expected, x, left=1 if name.startswith("norm") else 0)
    two_norms = nn.Sequential(layer, norm(channels, y.ndim - 2 or 1)) if not last else None
    if two_norms is not None:
        bn: Any = two_norms[1]
        wide = [
            np.asarray(v).reshape(places)
            for v in (bn.running_mean, bn.running_var, bn.weight, bn.bias)
        ]
        mean, var, gamma, beta = wide
        expected = ((y - mean) / np.sqrt(var + 1e-5) * gamma + beta) * a
        check(Net(two_norms, F.mul, a), expected, x, left=1 if name.startswith("norm") else 0)


def test_any_batch_and_other_weights_later() -> None:
    fc.manual_seed(4)
    layer = nn.ConvTranspose2d(4, 6, 2, dtype="float64")
    s = draw(6, 1, 1)
    net = Net(layer, F.mul, s)
    x = draw(5, 4, 3, 3)
    with fc.no_grad():
        expected = np.asarray(layer(x)) * s
        program = check(net, expected, x)
        np.testing.assert_allclose(program(x[:2]), expected[:2], rtol=1e-11)
    # What the network learns afterwards is another program's; this one keeps its weights.
    net.p0.numpy()[...] = 2.0
    with fc.no_grad():
        check(net, np.asarray(layer(x)) * 2.0, x)


def keeps(tail: Callable[..., Any], reference: Callable[[Any], Any], left: int) -> None:
    fc.manual_seed(5)
    layer = nn.Conv2d(3, 4, 3, dtype="float64")
    x = draw(2, 3, 6, 6)
    with fc.no_grad():
        y = np.asarray(layer(x))
    check(Net(layer, tail), reference(y), x, left=left)


def test_what_is_no_line_of_the_channels_stays() -> None:
    columns, whole = draw(4), draw(4, 4, 4)
    keeps(lambda y: F.mul(y, fc.tensor(columns)), lambda y: y * columns, 1)
    keeps(lambda y: F.add(y, fc.tensor(whole)), lambda y: y + whole, 1)
    keeps(lambda y: F.mul(y, y), lambda y: y * y, 1)
    keeps(lambda y: F.div(2.0, y), lambda y: 2.0 / y, 1)
    keeps(lambda y: F.maximum(y, 0.1), lambda y: np.maximum(y, 0.1), 1)
    keeps(lambda y: F.mul(F.relu(y), 2.0), lambda y: np.maximum(y, 0) * 2.0, 1)


def test_other_orders_of_the_dimensions_fold_too() -> None:
    scale = draw(4)
    keeps(
        lambda y: F.mul(F.permute(y, (0, 2, 3, 1)), fc.tensor(scale)),
        lambda y: y.transpose(0, 2, 3, 1) * scale,
        0,
    )


def test_a_result_that_others_read_stays() -> None:
    """Also where what stood in front of them was folded."""
    keeps(lambda y: F.add(F.mul(y, 2.0), F.relu(y)), lambda y: y * 2.0 + np.maximum(y, 0), 2)

    def twice(y: Any) -> Any:
        z = F.mul(y, 2.0)
        return F.add(F.mul(F.add(z, 1.0), 3.0), F.relu(z))

    keeps(twice, lambda y: (y * 2.0 + 1.0) * 3.0 + np.maximum(y * 2.0, 0), 3)


def test_infinite_factors_stay() -> None:
    """0 times infinity in a weight would be NaN where the network has none."""
    zero = np.zeros((1, 3, 1, 1))
    layer = nn.Conv2d(3, 3, 1, bias=False, dtype="float64")
    layer.weight.numpy()[...] = np.eye(3)[:, :, None, None]
    x = draw(2, 3, 2, 2)
    check(Net(layer, lambda y: F.div(y, fc.tensor(zero))), x * -np.inf * -1, x, left=1)


def test_weights_that_two_layers_share_are_scaled_apart() -> None:
    class Twice(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Linear(4, 4, dtype="float64")

        def forward(self, x: Any) -> Any:
            return F.mul(self.layer(F.tanh(F.mul(self.layer(x), 1.00000001))), 1.00000002)

    net, x = Twice(), draw(3, 4)
    with fc.no_grad():
        expected = np.asarray(net(x))
    check(net, expected, x)


def test_training_keeps_its_arithmetic() -> None:
    """Weights that change are not folded: losses are those of the step that runs function by function."""
    fc.manual_seed(6)
    nets = [Net(nn.Conv2d(3, 4, 3), lambda y, s: F.mul(y, s), draw(4, 1, 1).astype(np.float32))]
    nets.append(Net(nn.Conv2d(3, 4, 3), nets[0].tail, draw(4, 1, 1).astype(np.float32)))
    nets[1].load_state_dict(nets[0].state_dict())
    x = draw(2, 3, 6, 6).astype(np.float32)
    target = draw(2, 4, 4, 4).astype(np.float32)
    losses = []
    for net, compiled in zip(nets, (True, False), strict=True):
        optimizer = fc.optim.SGD(net.parameters(), lr=0.05)
        trainer = fc.train.Trainer(net, F.mse_loss, optimizer, compile=compiled)
        losses.append([trainer.step(x, target) for _ in range(3)])
    np.testing.assert_allclose(losses[0], losses[1], rtol=1e-5)
    assert losses[0][2] < losses[0][0]


def test_activations_behind_rows_are_the_convolutions() -> None:
    fc.manual_seed(7)
    net = nn.Sequential(nn.Conv1d(3, 8, 3), nn.BatchNorm1d(8), nn.ReLU(), nn.Conv1d(8, 4, 3))
    x = draw(2, 3, 12).astype(np.float32)
    with fc.no_grad():
        expected = np.asarray(net.eval()(x))
    program = fc.compile(net, x)
    assert set(re.findall(r" = (\w+)\(", program.dump())) <= {"conv2d", "reshape", "transpose"}
    np.testing.assert_allclose(program(x), expected, rtol=1e-5, atol=1e-5)


def test_weights_of_two_shapes_in_one_memory() -> None:
    """What is folded of them is not the same: the first layer has 8 outputs, the second 16."""

    class Twice(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.w = nn.Parameter(draw(8, 8).astype(np.float32))

        def forward(self, a: Any, b: Any) -> Any:
            return F.linear(a, self.w) + 1.0, F.linear(b, F.reshape(self.w, (16, 4))) + 1.0

    net = Twice().eval()
    a, b = draw(4, 8, seed=1).astype(np.float32), draw(4, 4, seed=3).astype(np.float32)
    w = net.w.numpy().astype(np.float64)
    first, second = fc.compile(net, a, b)(a, b)
    np.testing.assert_allclose(first, a @ w.T + 1, rtol=1e-5)
    np.testing.assert_allclose(second, b @ w.reshape(16, 4).T + 1, rtol=1e-5)
