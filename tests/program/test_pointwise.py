"""Functions of each value, and arithmetic, inside programs: inference and training steps against the tape."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import fastconv as fc
import fastconv.functional as F
from fastconv import nn
from fastconv.train import Trainer

from .nets import SIZE
from .test_training_step import OPTIMIZERS, compare

FUNCTIONS: dict[str, Any] = {
    "elu": lambda x: F.elu(x, 1.5),
    "selu": F.selu,
    "celu": lambda x: F.celu(x, 0.5),
    "hardsigmoid": F.hardsigmoid,
    "hardswish": F.hardswish,
    "hardtanh": lambda x: F.hardtanh(x, -0.25, 0.5),
    "clamp": lambda x: F.clamp(x, max=0.5),
    "silu": F.silu,
    "softplus": lambda x: F.softplus(x, 2.0, 3.0),
    "mish": F.mish,
    "neg": lambda x: -x,
    "abs": abs,
    "exp": lambda x: F.exp(F.clamp(x, -1.5, 1.5)),
    "log": lambda x: F.log(F.abs(x) + 0.5),
    "sqrt": lambda x: F.sqrt(F.abs(x) + 0.5),
    "reciprocal": lambda x: F.reciprocal(F.abs(x) + 0.5),
    "erf": F.erf,
    "sign": lambda x: F.sign(x) * x,
    "floor": lambda x: x - F.floor(x),
    "ceil": lambda x: F.ceil(x) - x,
    "round": lambda x: F.round(x) + x,
    "sub": lambda x: 1.5 - x - F.relu(x),
    "div": lambda x: x / (F.abs(x) + 0.5) + 1 / (F.abs(x) + 1) - x / 3,
    "maximum": lambda x: F.maximum(x, F.mean(x, (0, 2, 3), keepdim=True)) + F.maximum(x, 0.1),
    "minimum": lambda x: F.minimum(F.mean(x, 1, keepdim=True), x),
    "amax": lambda x: F.relu(x - F.amax(x, (2, 3), keepdim=True) / 2),
    "amin": lambda x: x - F.amin(x, 1, keepdim=True),
    "prod": lambda x: x + F.prod(F.sigmoid(x), 1, keepdim=True),
    "pow": lambda x: F.sigmoid(x**2 + F.pow(F.abs(x) + 0.5, 1.5) - 2**x),
    "power of a power": lambda x: F.pow(F.abs(x) + 0.5, F.sigmoid(x)),
}


# A rounding apart, they jump.
JUMPING = ("sign", "floor", "ceil", "round")


class Net(nn.Module):
    def __init__(self, function: Any, channels: int = 20) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, channels, 3, padding=1)
        self.norm = nn.BatchNorm2d(channels)
        self.second = nn.Conv2d(channels, 10, 3, padding=1)
        self.scale = nn.Parameter(np.linspace(0.5, 2, 10).reshape(10, 1, 1).astype("f4"))
        self.function = function

    def forward(self, x: Any) -> Any:
        y = self.function(self.norm(self.first(x)))
        y = self.function(self.second(y) / self.scale)
        return F.mean(y, (2, 3))


@pytest.mark.parametrize("name", FUNCTIONS)
def test_training_step(name: str) -> None:
    fc.manual_seed(1)
    net = Net(FUNCTIONS[name]).to("float64")
    compare(net, OPTIMIZERS["sgd"], steps=3, dtype="float64")


@pytest.mark.parametrize("channels", [4, 20])
@pytest.mark.parametrize("name", FUNCTIONS)
def test_inference(name: str, channels: int) -> None:
    fc.manual_seed(2)
    net = Net(FUNCTIONS[name], channels).eval()
    x = np.random.default_rng(3).standard_normal((2, 3, SIZE, SIZE)).astype("f4")
    with fc.no_grad():
        expected = np.asarray(net(fc.tensor(x)))
    got = fc.compile(net, x)(x)
    if name in JUMPING:
        assert np.mean(np.abs(got - expected)) < 0.05
        return
    np.testing.assert_allclose(got, expected, rtol=1e-4, atol=1e-5 * np.abs(expected).max())


@pytest.mark.parametrize("name", [n for n in FUNCTIONS if n not in JUMPING])
def test_bfloat16(name: str) -> None:
    fc.manual_seed(2)
    net = Net(FUNCTIONS[name]).eval()
    x = np.random.default_rng(3).standard_normal((2, 3, SIZE, SIZE)).astype("f4")
    with fc.no_grad():
        expected = np.asarray(net(fc.tensor(x)))
    got = fc.compile(net, x, dtype="bfloat16")(x)
    assert got.dtype == np.float32
    assert np.abs(got - expected).max() < 5e-2 * np.abs(expected).max()


def test_autocast_steps() -> None:
    """Parameters of arithmetic, prelu and probabilities, float32 beside bfloat16 results."""
    x = np.random.default_rng(5).standard_normal((4, 3, SIZE, SIZE)).astype("f4")
    target = np.random.default_rng(6).dirichlet(np.ones(10), 4).astype("f4")
    losses = []
    for dtype, compiled in (("float32", True), ("bfloat16", True), ("bfloat16", False)):
        fc.manual_seed(4)
        net = nn.Sequential(nn.Conv2d(3, 20, 3), nn.PReLU(20), Net(F.silu, 20))
        net[2].first = nn.Conv2d(20, 20, 3)
        optimizer = fc.optim.SGD(net.parameters(), lr=0.1)
        trainer = Trainer(net, F.cross_entropy, optimizer, dtype=dtype, compile=compiled)
        losses.append([trainer.step(x, target) for _ in range(3)])
    np.testing.assert_allclose(losses[1], losses[0], rtol=2e-2)
    np.testing.assert_allclose(losses[2], losses[1], rtol=1e-2)


@pytest.mark.parametrize("layout", ["NCHW", "NHWC"])
def test_prelu(layout: str) -> None:
    fc.manual_seed(4)
    x = np.random.default_rng(5).standard_normal((2, 3, SIZE, SIZE)).astype("f4")
    if layout == "NCHW":
        net: nn.Module = nn.Sequential(
            nn.Conv2d(3, 20, 3), nn.PReLU(20), nn.Conv2d(20, 10, 3), nn.PReLU(), nn.Flatten()
        )
        net = nn.Sequential(net, nn.Linear(10 * (SIZE - 4) ** 2, 10))
        compare(net.to("float64"), OPTIMIZERS["momentum"], steps=3, dtype="float64")
        net.to("float32")
    else:
        x = np.ascontiguousarray(x.transpose(0, 2, 3, 1))
        net = nn.Sequential(
            nn.Conv2d(3, 20, 3, layout="NHWC"), nn.PReLU(20, layout="NHWC"), nn.Flatten()
        )
    with fc.no_grad():
        expected = np.asarray(net.eval()(fc.tensor(x)))
    np.testing.assert_allclose(fc.compile(net, x)(x), expected, rtol=1e-4, atol=1e-5)


def test_a_convolution_takes_only_what_its_kernels_apply() -> None:
    x = np.zeros((1, 3, 8, 8), np.float32)
    for function, fused in ((F.relu, True), (F.silu, False)):
        net = nn.Sequential(nn.Conv2d(3, 20, 3))
        prog = fc.compile(_Then(net, function).eval(), x)
        assert ("activation=" in prog.dump()) == fused
    plan = F.Conv2dPlan(x.shape, (4, 3, 3, 3))
    with pytest.raises(fc.ShapeError, match="activation 'silu' is not one that a plan applies"):
        plan.run(x, np.zeros((4, 3, 3, 3), "f4"), activation="silu")


class _Then(nn.Module):
    def __init__(self, net: nn.Module, function: Any) -> None:
        super().__init__()
        self.net, self.function = net, function

    def forward(self, x: Any) -> Any:
        return self.function(self.net(x))
