"""Spatial and structural functions inside programs: the same as function by function."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import fastconv as fc
import fastconv.functional as F
from fastconv import nn
from fastconv.program import TrainingStep


def randn(*shape: int, seed: int = 0, dtype: str = "float32") -> Any:
    return np.random.default_rng(seed).standard_normal(shape).astype(dtype)


class Applied(nn.Module):
    """A convolution, so that there is something to learn and a memory order, and then a function."""

    def __init__(self, function: Callable[[Any], Any], channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, channels, 3, padding=1)
        self.function = function

    def forward(self, x: Any) -> Any:
        return self.function(self.conv(x))


W1, W3 = randn(6, 2, 3), randn(5, 2, 3, 2, 2)


def volume(x: Any) -> Any:
    """Channels in twos, the rest of them as depth."""
    return F.reshape(x, (x.shape[0], 2, x.shape[1] // 2, *x.shape[2:]))


def two(x: Any, size: int) -> Any:
    """A weight and a bias."""
    return [randn(size, seed=seed).astype(x.dtype) for seed in (1, 2)]


PLACES = np.array([3, 0, 0, 5])
FUNCTIONS: dict[str, Callable[[Any], Any]] = {
    "split": lambda x: F.concat(F.split(x, [1, 2, x.shape[1] - 3], 1)[::-1], 1),
    "one piece": lambda x: F.split(x, 2, 2)[1],
    "chunk": lambda x: sum(F.chunk(x, 2, 1)[1:], F.chunk(x, 2, 1)[0]),
    "narrow": lambda x: F.narrow(x, 1, 2, 3) + F.narrow(x, 1, 0, 3),
    "slice": lambda x: F.slice(x, 2, 6, None, -2),
    "getitem": lambda x: x[:, 1:5, None, ::2, -1],
    "index_select": lambda x: F.index_select(x, 1, PLACES),
    "squeeze": lambda x: F.squeeze(F.unsqueeze(x, 2)[:, :, 0, 1:2], 2),
    "expand": lambda x: F.expand(x[:, :, :1], (2, -1, -1, 4, -1)) * 2.0,
    "expand channels-last": lambda x: F.expand(x[:, :, :, :1], (-1, -1, -1, 5)),
    "matmul": lambda x: F.matmul(x, F.transpose(x, 2, 3)),
    "matmul of one matrix": lambda x: F.matmul(x, randn(6, 5).astype(x.dtype)),
    "instance_norm": F.instance_norm,
    "group_norm": lambda x: F.group_norm(x, 3),
    "group_norm with weights": lambda x: F.group_norm(x, 2, *two(x, x.shape[1])),
    "instance_norm with weights": lambda x: F.instance_norm(x, None, None, *two(x, x.shape[1])),
    "layer_norm with weights": lambda x: F.layer_norm(x, 6, *two(x, 6)),
    "layer_norm": lambda x: F.layer_norm(x, (7, 6)),
    "conv1d": lambda x: F.conv1d(x[:, :4, 0], W1.astype(x.dtype), padding=1, groups=2),
    "conv_transpose1d": lambda x: F.conv_transpose1d(x[:, :6, 0], W1.astype(x.dtype), stride=2),
    "conv3d": lambda x: F.conv3d(volume(x), W3.astype(x.dtype), padding=(2, 1, 0)),
    "conv3d channels-last": lambda x: F.conv3d(
        F.unsqueeze(x, 4), W3[:, :1].astype(x.dtype), padding=1, layout="NHWC"
    ),
    "conv3d depthwise": lambda x: F.conv3d(
        F.unsqueeze(x, 2),
        W3[:1, :1].repeat(x.shape[1], 0).astype(x.dtype),
        None,
        1,
        1,
        1,
        x.shape[1],
    ),
    "conv_transpose3d": lambda x: F.conv_transpose3d(
        volume(x), np.moveaxis(W3, 0, 1).astype(x.dtype).copy(), stride=2, padding=1
    ),
    "max_pool1d": lambda x: F.max_pool1d(x[:, :, 0], 3, 2, 1),
    "max_pool3d": lambda x: F.max_pool3d(volume(x), (2, 3, 2), 1, 1),
    "avg_pool3d": lambda x: F.avg_pool3d(volume(x), 3, 2, 1, ceil_mode=True, divisor_override=7),
    "adaptive_avg_pool1d": lambda x: F.adaptive_avg_pool1d(x[:, :, 0], 4),
    "adaptive_max_pool3d": lambda x: F.adaptive_max_pool3d(volume(x), (2, 3, 4)),
    "lp_pool2d": lambda x: F.lp_pool2d(x, 2, 3, 2, ceil_mode=True),
    "lp_pool3d": lambda x: F.lp_pool3d(F.sigmoid(volume(x)), 3, 2),
    "nearest": lambda x: F.interpolate(x, scale_factor=2),
    "bilinear": lambda x: F.interpolate(x, (5, 9), mode="bilinear"),
    "bicubic": lambda x: F.interpolate(x, (5, 9), mode="bicubic", align_corners=True),
    "resample": lambda x: F.resample(x, 2, PLACES[:, None] + [[0, -1]], randn(4, 2)),
}


def close(got: Any, expected: Any, tol: float) -> None:
    got, expected = np.asarray(got, np.float64), np.asarray(expected, np.float64)
    assert got.shape == expected.shape
    assert np.abs(got - expected).max() <= tol * np.abs(expected).max()


def nets(name: str) -> list[Applied]:
    """In channels-first order, which few channels mean, and in channels-last order."""
    fc.manual_seed(1)
    return [Applied(FUNCTIONS[name], 6), Applied(FUNCTIONS[name], 24)]


@pytest.mark.parametrize("name", FUNCTIONS)
def test_programs(name: str) -> None:
    x = randn(2, 3, 7, 6)
    for net in nets(name):
        with fc.no_grad():
            expected = net(fc.tensor(x)).numpy()
        close(fc.compile(net.eval(), x)(x), expected, 1e-5)
        close(fc.compile(net, x, dtype="bfloat16")(x), expected, 3e-2)


@pytest.mark.parametrize("name", FUNCTIONS)
def test_training_steps(name: str) -> None:
    x = randn(2, 3, 7, 6, dtype="float64")
    for net in nets(name):
        net = net.to("float64").train()
        shape = net(fc.tensor(x)).shape
        target = randn(*shape, seed=1, dtype="float64")
        for p in net.parameters():
            p.grad = None
        F.mse_loss(net(fc.tensor(x)), target).backward()
        expected = {}
        for n, p in net.named_parameters():
            assert p.grad is not None
            expected[n] = p.numpy() - 0.5 * p.grad.numpy()
        step = TrainingStep(net, nn.MSELoss(), fc.optim.SGD(net.parameters(), lr=0.5))
        step(x, target)
        for n, p in net.named_parameters():
            close(p.numpy(), expected[n], 1e-12)


@pytest.mark.parametrize("layout", ["NCHW", "NHWC"])
def test_places_of_maxima(layout: str) -> None:
    class Net(nn.Module):
        def forward(self, x: Any) -> Any:
            one = F.reshape(x, (x.shape[0], x.shape[1], -1))
            return (
                F.max_pool3d(x, 2, 1, 1, return_indices=True, layout=layout),
                F.adaptive_max_pool3d(x, 2, True, layout=layout),
                F.max_pool1d(one, 3, return_indices=True, layout=layout),
            )

    x = randn(2, 4, 5, 3, 6)
    net = Net().eval()
    for got, expected in zip(fc.compile(net, x)(x), net(x), strict=True):
        for a, b in zip(got, expected, strict=True):
            np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("layout", ["NCHW", "NHWC"])
@pytest.mark.parametrize("transposed", [False, True])
def test_plain_weights_are_followed(layout: str, transposed: bool) -> None:
    """Arrays beside a network's own are read in every training step where they are."""
    w = randn(2, 2, 2, 1, 3)
    function = F.conv_transpose3d if transposed else F.conv3d

    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.scale = nn.Parameter(np.ones(1, np.float32))

        def forward(self, x: Any) -> Any:
            return function(x * self.scale, w, layout=layout)

    x = randn(1, 4, 3, 5, 2) if layout == "NHWC" else randn(1, 2, 4, 3, 5)
    net = Net()
    target = np.zeros_like(net(fc.tensor(x)).numpy())
    step = TrainingStep(net, nn.MSELoss(), fc.optim.SGD(net.parameters(), lr=0.0))
    step(x, target)
    w *= 3
    _, output = step(x, target)
    close(output, net(fc.tensor(x)), 1e-6)
