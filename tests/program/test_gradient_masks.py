"""Gradients of activations in a training step: taken before the pooling in front of them, and as a convolution
stores its input's gradient. Neither changes a bit."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pytest

import fastconv as fc
import fastconv.functional as F
from fastconv import _core, nn
from fastconv.program import TrainingStep

ACTIVATIONS = ["relu", "relu6", "leaky_relu", "sigmoid", "tanh", "gelu", "gelu_tanh"]


def ops(dump: str) -> list[str]:
    return re.findall(r" = (\w+)\(", dump)


def integers(rng: np.random.Generator, shape: tuple[int, ...]) -> Any:
    """Few different values, so that maxima are often shared, at the kinks of ReLU and ReLU6 too."""
    return rng.integers(-3, 9, shape).astype(np.float32)


def pool_graph(
    x_shape: tuple[int, ...], geometry: dict[str, Any], kind: str, layout: str
) -> tuple[Any, tuple[int, ...]]:
    """An activation, maxima of it, and the way back."""
    graph = _core.Graph()
    x = graph.input("float32", x_shape, "x")
    pool = {"op": "max_pool2d", "kind": "max", "layout": layout, **geometry}
    (a,) = graph.add("activation", [x], {"kind": kind, "slope": 0.1})
    y, index = graph.add("pool2d", [a], pool)
    y_shape = pooled(graph)
    dy = graph.input("float32", y_shape, "dy")
    (da,) = graph.add("pool2d_backward", [dy, index], {**pool, "shape": x_shape})
    (dx,) = graph.add("activation_backward", [a, da], {"kind": kind, "slope": 0.1})
    graph.set_outputs([y, dx])
    return graph, y_shape


def pooled(graph: Any) -> tuple[int, ...]:
    """The shape of the maxima, from the dump."""
    line = next(s for s in graph.dump().splitlines() if "pool2d(" in s)
    found = re.search(r"float32 \(([^)]*)\)", line)
    assert found
    return tuple(int(n) for n in found[1].split(",") if n.strip())


WINDOWS = {
    "2x2": {"kernel_size": (2, 2), "stride": (2, 2)},
    "overlapping": {"kernel_size": (3, 3), "stride": (2, 2)},
    "padded": {"kernel_size": (3, 2), "stride": (1, 2), "padding": (1, 1)},
    "gaps": {"kernel_size": (2, 2), "stride": (3, 3)},
    "dilated, ceil": {
        "kernel_size": (2, 3),
        "stride": (2, 2),
        "dilation": (2, 1),
        "ceil_mode": True,
    },
}


@pytest.mark.parametrize("layout", ["NHWC", "NCHW"])
@pytest.mark.parametrize("window", WINDOWS)
@pytest.mark.parametrize("kind", ["relu", "relu6"])
def test_masks_move_before_pooling(kind: str, window: str, layout: str) -> None:
    geometry = {
        "padding": (0, 0),
        "dilation": (1, 1),
        "ceil_mode": False,
        "adaptive": False,
        "count_include_pad": True,
        "divisor_override": 0,
        **WINDOWS[window],
    }
    shape = (2, 11, 9, 5) if layout == "NHWC" else (2, 5, 11, 9)
    graph, y_shape = pool_graph(shape, geometry, kind, layout)
    rng = np.random.default_rng(0)
    x, dy = integers(rng, shape), integers(rng, y_shape)
    flat = x.reshape(-1)
    flat[rng.choice(flat.size, 40, replace=False)] = np.repeat([np.nan, np.inf, -np.inf, -0.0], 10)
    before = _core.Program(graph).run((x, dy))[0]
    graph.run_pass("mask_before_pooling")
    assert ops(graph.dump()) == ["activation", "pool2d", "activation_backward", "pool2d_backward"]
    after = _core.Program(graph).run((x, dy))[0]
    for one, other in zip(before, after, strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("kind", ["leaky_relu", "tanh", "gelu"])
def test_other_gradients_stay_behind_pooling(kind: str) -> None:
    geometry = {"adaptive": True, "output_size": (2, 2)}
    graph, _ = pool_graph((1, 4, 4, 3), geometry, kind, "NHWC")
    before = graph.dump()
    graph.run_pass("mask_before_pooling")
    assert graph.dump() == before


# kernel, stride, padding, dilation, groups, input channels, output channels
CONVOLUTIONS = {
    "1x1": (1, 1, 0, 1, 1, 72, 24),
    "1x1 stride 2, pixels that no output reads": (1, 2, 0, 1, 1, 80, 40),
    "3x3 by Winograd": (3, 1, 1, 1, 1, 64, 48),
    "3x3 stride 2": (3, 2, 1, 1, 1, 66, 40),
    "3x3 stride 4": (3, 4, 1, 1, 1, 70, 19),
    "5x5 of few channels": (5, 1, 2, 1, 1, 6, 16),
    "3x3 into one vector": (3, 1, 1, 1, 1, 7, 40),
    "dilated": (3, 1, 2, 2, 1, 65, 20),
    "groups": (3, 1, 1, 1, 2, 128, 24),
    "depthwise": (3, 2, 1, 1, 24, 24, 24),
    "first layer": (7, 2, 3, 1, 1, 3, 64),
}


@pytest.mark.parametrize("layout", ["NHWC", "NCHW"])
@pytest.mark.parametrize("dtype", ["float32", "float64", "bfloat16"])
@pytest.mark.parametrize("case", CONVOLUTIONS)
@pytest.mark.parametrize("residual", [False, True])
def test_gradients_are_taken_as_dgrad_stores(
    case: str, dtype: str, layout: str, residual: bool
) -> None:
    r, s, pad, dilation, groups, c, k = CONVOLUTIONS[case]
    number = list(CONVOLUTIONS).index(case)
    kind, kept = ACTIVATIONS[(number + residual) % len(ACTIVATIONS)], dtype
    if dtype == "bfloat16":
        kind, kept = "relu", pytest.importorskip("ml_dtypes").bfloat16
    h, w, reach = 13, 15, dilation * (r - 1) + 1
    p, q = (h + 2 * pad - reach) // s + 1, (w + 2 * pad - reach) // s + 1
    x_shape, y_shape = (2, h, w, c), (2, p, q, k)
    if layout == "NCHW":
        x_shape, y_shape = (2, c, h, w), (2, k, p, q)
    attributes = {"stride": (s, s), "padding": (pad, pad), "dilation": (dilation, dilation)}
    attributes |= {"groups": groups, "layout": layout, "shape": x_shape}
    graph = _core.Graph()
    saved, other = graph.input(dtype, x_shape, "saved"), graph.input(dtype, x_shape, "other")
    weight = graph.input(dtype, (k, c // groups, r, r), "weight")
    dy = graph.input(dtype, y_shape, "dy")
    operands = [weight, dy] + ([other] if residual else [])
    (dx,) = graph.add("conv2d_input", operands, attributes)
    (result,) = graph.add("activation_backward", [saved, dx], {"kind": kind, "slope": 0.1})
    graph.set_outputs([result])
    rng = np.random.default_rng(number)
    shapes = (x_shape, x_shape, (k, c // groups, r, r), y_shape)
    arrays = tuple(rng.standard_normal(shape).astype(kept) for shape in shapes)
    before = _core.Program(graph).run(arrays)[0][0]
    graph.run_pass("fuse_activation_gradient")
    # Where what is stored at a time is long enough.
    fuses = s == 1 if layout == "NCHW" else c // groups >= 64
    assert ops(graph.dump()) == ["conv2d_input", "activation_backward"][: 2 - fuses]
    after = _core.Program(graph).run(arrays)[0][0]
    if dtype == "bfloat16" and residual:
        # The sum is rounded once, not twice.
        np.testing.assert_allclose(
            after.astype(np.float32), before.astype(np.float32), rtol=1e-2, atol=0.1
        )
        np.testing.assert_array_equal(
            after[np.asarray(arrays[0]) <= 0], before[np.asarray(arrays[0]) <= 0]
        )
    else:
        np.testing.assert_array_equal(after, before)


def dgrad_with_sum(r: int, layout: str, **more: Any) -> tuple[Any, list[int], list[Any]]:
    """A graph with a convolution's input gradient, its operands and saved values, and arrays for them."""
    shape, small = (2, 20, 18, 96), (2, 20, 18, 40)
    if layout == "NCHW":
        shape, small = (2, 96, 20, 18), (2, 40, 20, 18)
    shapes = (shape, shape, (40, 96, r, r), small)
    graph = _core.Graph()
    values = [graph.input("float32", s, f"x{i}") for i, s in enumerate(shapes)]
    geometry = {"stride": (1, 1), "padding": (r // 2, r // 2), "dilation": (1, 1), "groups": 1}
    geometry |= {"layout": layout, "shape": shape, **more}
    saved, other, weight, dy = values
    operands = [weight, dy, other, saved] if more else [weight, dy]
    (dx,) = graph.add("conv2d_input", operands, geometry)
    rng = np.random.default_rng(r)
    return graph, [dx, saved, other], [rng.standard_normal(s).astype("f4") for s in shapes]


def test_a_masked_gradient_is_no_summand() -> None:
    """In whatever order the passes run."""
    graph, (dx, saved, other), arrays = dgrad_with_sum(3, "NHWC")
    (masked,) = graph.add("activation_backward", [saved, dx], {"kind": "relu", "slope": 0.0})
    graph.set_outputs(graph.add("elementwise", [masked, other], {"kind": "add"}))
    before = _core.Program(graph).run(arrays)[0][0]
    graph.run_pass("fuse_activation_gradient")
    graph.run_pass("fuse_gradient_sum")
    np.testing.assert_array_equal(_core.Program(graph).run(arrays)[0][0], before)


@pytest.mark.parametrize("layout", ["NHWC", "NCHW"])
@pytest.mark.parametrize("r", [1, 3, 5])
def test_same_bits_for_threads(r: int, layout: str) -> None:
    results = []
    before = fc.get_num_threads()
    try:
        for threads in (1, 2, 4):
            fc.set_num_threads(threads)
            graph, (dx, *_), arrays = dgrad_with_sum(r, layout, activation="relu", slope=0.0)
            graph.set_outputs([dx])
            results.append(_core.Program(graph).run(arrays)[0][0])
    finally:
        fc.set_num_threads(before)
    for result in results[1:]:
        np.testing.assert_array_equal(result, results[0])


def test_a_gradient_that_others_read_is_not_masked() -> None:
    graph = _core.Graph()
    saved = graph.input("float32", (1, 4, 4, 3), "saved")
    dy = graph.input("float32", (1, 4, 4, 5), "dy")
    weight = graph.input("float32", (5, 3, 1, 1), "weight")
    geometry = {"stride": (1, 1), "padding": (0, 0), "dilation": (1, 1), "groups": 1}
    (dx,) = graph.add(
        "conv2d_input", [weight, dy], {**geometry, "layout": "NHWC", "shape": (1, 4, 4, 3)}
    )
    (masked,) = graph.add("activation_backward", [saved, dx], {"kind": "relu", "slope": 0.0})
    graph.set_outputs([masked, dx])
    before = graph.dump()
    graph.run_pass("fuse_activation_gradient")
    assert graph.dump() == before


class Vgg(nn.Module):
    """Convolutions, ReLUs and poolings without batch-norm."""

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(3, 64, 3, padding=1),
            nn.ReLU(),
            nn.Conv2d(64, 64, 3, padding=1),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Conv2d(64, 33, 3, padding=1),
            nn.ReLU(),
            nn.MaxPool2d(3, 2),
        )
        self.head = nn.Linear(33 * 3 * 3, 10)

    def forward(self, x: Any) -> Any:
        return self.head(self.features(x).reshape(x.shape[0], -1))


def test_a_step_of_vgg_keeps_only_maxima() -> None:
    fc.manual_seed(0)
    net = Vgg()
    optimizer = fc.optim.SGD(net.parameters(), lr=0.1, momentum=0.9)
    step = TrainingStep(net, F.cross_entropy, optimizer)
    x = np.random.default_rng(0).standard_normal((4, 3, 16, 16)).astype(np.float32)
    labels = np.arange(4)
    plan = step.plan(x, labels)
    before = plan.dump("fuse_gradient_sum").splitlines()
    after = plan.dump().splitlines()
    # Two ReLUs are in front of a pooling: one's mask goes into dgrad, the other's lies behind the head.
    assert sum("activation_backward(" in line for line in before) == 3
    assert sum("activation_backward(" in line for line in after) == 1
    assert sum("conv2d_input(" in line and "activation=relu" in line for line in after) == 2
