"""Sums that batch-norm's backward pass wants, taken as a convolution stores its input's gradient; and ReLUs
behind a residual, undone there too."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pytest

import fastconv as fc
import fastconv.functional as F
from fastconv import _core, nn
from fastconv.program import TrainingStep

# kernel, stride, padding, groups, input channels, output channels; whether it takes sums at highest precision
CASES = {
    "1x1": (1, 1, 0, 1, 64, 24, True),
    "1x1, wide": (1, 1, 0, 1, 256, 64, True),
    "1x1, channels beyond vectors": (1, 1, 0, 1, 99, 40, True),
    "1x1 of few outputs": (1, 1, 0, 1, 80, 3, True),
    "3x3": (3, 1, 1, 1, 96, 20, True),
    "3x3 of stride 2": (3, 2, 1, 1, 70, 33, True),
    "groups": (3, 1, 1, 2, 128, 24, True),
    "1x1 of stride 2, pixels that no output reads": (1, 2, 0, 1, 80, 40, False),
    "few channels": (3, 1, 1, 1, 24, 40, False),
}
H, W, N = 13, 15, 3


@pytest.fixture(autouse=True)
def highest() -> Any:
    before = fc.get_precision() if hasattr(fc, "get_precision") else "high"
    fc.set_precision("highest")
    yield
    fc.set_precision(before)


class Block:
    """dgrad of a convolution, then the backward pass of a batch-norm of its x."""

    def __init__(self, case: str, relu: bool, residual: bool, offset: float = 0.0) -> None:
        r, s, pad, groups, c, k, self.takes = CASES[case]
        p, q = (H + 2 * pad - r) // s + 1, (W + 2 * pad - r) // s + 1
        shapes = {
            "weight": (k, c // groups, r, r),
            "dy": (N, p, q, k),
            "x": (N, H, W, c),
            "gamma": (c,),
            "beta": (c,),
            "other": (N, H, W, c),
            "output": (N, H, W, c),
        }
        rng = np.random.default_rng(list(CASES).index(case))
        self.arrays = {name: rng.standard_normal(s).astype("f4") for name, s in shapes.items()}
        self.arrays["x"] += np.float32(offset)
        self.graph = _core.Graph()
        v = {name: self.graph.input("float32", s, name) for name, s in shapes.items()}
        x = self.arrays["x"].astype("f8").reshape(-1, c)
        self.arrays["mean"], self.arrays["invstd"] = x.mean(0), 1 / np.sqrt(x.var(0) + 1e-5)
        for name in ("mean", "invstd"):
            v[name] = self.graph.input("float64", (c,), name)
        geometry = {"stride": (s, s), "padding": (pad, pad), "dilation": (1, 1), "groups": groups}
        more = {"activation": "relu", "slope": 0.0} if residual else {}
        operands = [v["weight"], v["dy"]] + ([v["other"], v["output"]] if residual else [])
        (dx,) = self.graph.add(
            "conv2d_input",
            operands,
            {**geometry, "layout": "NHWC", "shape": (N, H, W, c), **more},
        )
        operands = [dx, v["x"], v["mean"], v["invstd"], v["gamma"], v["beta"]]
        results = self.graph.add(
            "batch_norm_backward", operands, {"training": True, "layout": "NHWC", "relu": relu}
        )
        self.graph.set_outputs([dx, *results[:3]])
        self.relu = relu

    def run(self) -> list[Any]:
        return list(_core.Program(self.graph).run(tuple(self.arrays.values()))[0])

    def fuse(self) -> str:
        self.graph.run_pass("fuse_gradient_statistics")
        dump: str = self.graph.dump()
        return dump

    def expected(self, dy: Any) -> list[Any]:
        """The backward pass in float64, from the gradient that the convolution gives."""
        a = {name: value.astype("f8") for name, value in self.arrays.items()}
        center = a["x"] - a["mean"]
        y = center * (a["invstd"] * a["gamma"]) + a["beta"]
        g = dy.astype("f8") * (y > 0) if self.relu else dy.astype("f8")
        hat, axes = center * a["invstd"], (0, 1, 2)
        dbeta, dgamma = g.sum(axes), (g * hat).sum(axes)
        count = N * H * W
        dx = a["gamma"] * a["invstd"] * (g - dbeta / count - hat * dgamma / count)
        return [dx, dgamma, dbeta]


@pytest.mark.parametrize("residual", [False, True])
@pytest.mark.parametrize("relu", [False, True])
@pytest.mark.parametrize("case", CASES)
def test_sums_are_taken_as_dgrad_stores(case: str, relu: bool, residual: bool) -> None:
    block = Block(case, relu, residual)
    before = block.run()
    dump = block.fuse()
    line = next(text for text in dump.splitlines() if "conv2d_input(" in text)
    assert ("float64 (2, " in line) == block.takes
    after = block.run()
    np.testing.assert_array_equal(after[0], before[0])
    for got, plain, want in zip(after[1:], before[1:], block.expected(before[0]), strict=True):
        scale = np.abs(want).max()
        assert np.abs(got - want).max() <= 2e-6 * scale
        assert np.abs(got - plain).max() <= 4e-6 * scale


def test_a_mean_far_from_zero_costs_no_accuracy() -> None:
    block = Block("1x1", True, False, offset=100.0)
    block.fuse()
    dy, *after = block.run()
    for got, want in zip(after, block.expected(dy), strict=True):
        assert np.abs(got - want).max() <= 1e-4 * np.abs(want).max()


@pytest.mark.parametrize("case", ["1x1", "1x1, wide", "3x3 of stride 2"])
def test_same_bits_for_threads(case: str) -> None:
    before, results = fc.get_num_threads(), []
    try:
        for threads in (1, 2, 4):
            fc.set_num_threads(threads)
            block = Block(case, True, True)
            block.fuse()
            results.append(block.run())
    finally:
        fc.set_num_threads(before)
    for result in results[1:]:
        for one, other in zip(result, results[0], strict=True):
            np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("value", [np.nan, np.inf])
@pytest.mark.parametrize("where", ["x", "dy"])
def test_what_is_not_finite(where: str, value: float) -> None:
    """It reaches the sums of its channels and no others, as in the pass by itself."""
    plain, fused = (Block("1x1", True, False) for _ in range(2))
    assert "float64 (2, 64)" in fused.fuse()
    for block in (plain, fused):
        block.arrays[where][1, 3, 4, 5] = value
    for one, other in zip(plain.run(), fused.run(), strict=True):
        np.testing.assert_array_equal(np.isnan(one), np.isnan(other))


def test_what_is_refused() -> None:
    graph, sizes = _core.Graph(), {"stride": (1, 1), "padding": (0, 0), "dilation": (1, 1)}
    weight = graph.input("float32", (24, 64, 1, 1), "weight")
    dy, x = graph.input("float32", (1, 4, 4, 24), "dy"), graph.input("float32", (1, 4, 4, 64), "x")
    none = -1
    attributes = {**sizes, "groups": 1, "layout": "NHWC", "shape": (1, 4, 4, 64)}
    with pytest.raises(fc.ShapeError, match="conv2d_input: x expects a line"):
        graph.add("conv2d_input", [weight, dy, none, none, x], attributes)
    line = graph.input("float32", (3, 63), "line")
    with pytest.raises(fc.ShapeError, match="conv2d_input: line"):
        graph.add("conv2d_input", [weight, dy, none, none, x, line], attributes)


class Bottleneck(nn.Module):
    """Two residual blocks whose second reads what the first's ReLU gives twice."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 64, 3, padding=1)
        for i in (1, 2):
            setattr(self, f"reduce{i}", nn.Conv2d(64, 16, 1, bias=False))
            setattr(self, f"expand{i}", nn.Conv2d(16, 64, 1, bias=False))
            setattr(self, f"bn{i}", nn.BatchNorm2d(64))
        self.head = nn.Linear(64, 10)

    def forward(self, x: Any) -> Any:
        x = F.relu(self.stem(x))
        for i in (1, 2):
            inner = F.relu(getattr(self, f"reduce{i}")(x))
            x = F.relu(x + getattr(self, f"bn{i}")(getattr(self, f"expand{i}")(inner)))
        return self.head(x.mean((2, 3)))


def trained(dtype: str, compiled: bool) -> tuple[Any, str]:
    fc.manual_seed(0)
    net = Bottleneck().to(dtype) if dtype != "float32" else Bottleneck()
    trainer = fc.train.Trainer(
        net, F.cross_entropy, fc.optim.SGD(net.parameters(), lr=0.1), dtype=dtype, compile=compiled
    )
    x = np.random.default_rng(0).standard_normal((4, 3, 12, 12)).astype(dtype)
    for _ in range(3):
        trainer.step(x, np.arange(4))
    dump = ""
    if compiled:
        step = TrainingStep(net, F.cross_entropy, fc.optim.SGD(net.parameters(), lr=0.1))
        dump = step.plan(x, np.arange(4)).dump()
    return net.state_dict(), dump


def test_a_residual_block_trains_as_function_by_function() -> None:
    (fused, dump), (plain, _) = trained("float32", True), trained("float32", False)
    exact, _ = trained("float64", False)
    # The first block's sum is masked, and summed, where the second's dgrad stores it; nobody masks it again.
    (line,) = (s for s in dump.splitlines() if "conv2d_input(reduce2" in s)
    assert "activation=relu" in line and "float64 (2, 64)" in line
    (norm,) = (s for s in dump.splitlines() if "bn1.weight" in s and "batch_norm_backward(" in s)
    assert not re.search(r"relu=(true|1)", norm)
    for name, want in exact.items():
        scale = max(np.abs(np.asarray(want, "f8")).max(), 1e-3)
        for got in (fused[name], plain[name]):
            assert np.abs(np.asarray(got, "f8") - want).max() <= 2e-5 * scale, name
