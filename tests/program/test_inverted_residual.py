"""A depthwise convolution and the 1x1 ones around it as one node that goes by rows: the bits of the nodes one by
one."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pytest

import fastconv.functional as F
from fastconv import _core
from tests.support import assert_close, check_same_bits_for_threads

# images, channels, height, width, wide channels (0: no 1x1 in front), outputs (0: none behind), kernel, stride,
# padding, padding at the bottom and right, activations of the three, residual
CASES: dict[str, tuple[Any, ...]] = {
    "EfficientNet's first": (1, 16, 112, 112, 96, 24, 3, 2, 1, 1, "relu6 relu6 -", False),
    "5x5 of stride 2": (1, 24, 56, 56, 144, 40, 5, 2, 2, 2, "relu6 relu6 -", False),
    "residual": (1, 40, 29, 28, 240, 40, 5, 1, 2, 2, "relu6 relu6 -", True),
    "residual and ReLU": (2, 24, 56, 41, 72, 24, 3, 1, 1, 1, "relu relu relu", True),
    "images": (3, 20, 33, 65, 80, 17, 3, 1, 1, 1, "relu6 - relu6", False),
    "padding on one side": (1, 24, 57, 60, 100, 16, 3, 2, 0, 1, "- relu6 -", False),
    "no padding": (2, 8, 60, 61, 64, 130, 3, 2, 0, 0, "relu relu -", False),
    "much padding": (1, 9, 58, 50, 48, 3, 7, 2, 6, 3, "relu6 relu6 -", False),
    "4x4": (1, 30, 47, 52, 68, 1, 4, 1, 1, 2, "relu6 relu6 relu", False),
    "depthwise first": (2, 96, 61, 58, 0, 200, 3, 1, 1, 1, "- relu6 relu6", False),
    "depthwise last": (1, 33, 40, 40, 99, 0, 3, 1, 1, 1, "relu6 relu6 -", False),
    "residual behind a depthwise first": (1, 64, 60, 60, 0, 64, 3, 1, 1, 1, "- relu -", True),
}
cases = pytest.mark.parametrize("case", CASES)


def ops(graph: Any) -> list[str]:
    return re.findall(r" = (\w+)\(", graph.dump())


def geometry(**changes: Any) -> dict[str, Any]:
    plain = {"stride": (1, 1), "padding": (0, 0), "dilation": (1, 1), "groups": 1, "layout": "NHWC"}
    return {**plain, **changes}


class Block:
    """The graph of a block: three convolutions and what follows each."""

    def __init__(self, case: tuple[Any, ...], *, weights: str = "constant", **changes: Any) -> None:
        n, c, h, w, wide, k, kernel, stride, before, after, activations, residual = case
        rng = np.random.default_rng(h)
        graph = self.graph = _core.Graph()
        self.x = rng.standard_normal((n, h, w, c)).astype("f4")
        self.inputs = [self.x]
        self.layers: list[tuple[Any, Any, Any, str]] = []
        x = value = graph.input("float32", self.x.shape, "x")
        middle = wide or c
        padding = {"padding": (before, before), "padding_after": (after, after)}
        shapes = [((wide, c, 1, 1), geometry())] if wide else []
        shapes.append(
            (
                (middle, 1, kernel, kernel),
                geometry(stride=(stride, stride), groups=middle, **padding, **changes),
            )
        )
        if k:
            shapes.append(((k, middle, 1, 1), geometry()))
        functions = activations.split()[0 if wide else 1 :]
        self.residual = residual
        self.values = [x]
        for i, (shape, attributes) in enumerate(shapes):
            weight = (rng.standard_normal(shape) / np.sqrt(np.prod(shape[1:]))).astype("f4")
            bias = rng.standard_normal(shape[0]).astype("f4")
            operands = [value]
            for name, array in (("w", weight), ("b", bias)):
                if weights == "constant":
                    operands.append(graph.constant(array, f"{name}{i}"))
                else:
                    operands.append(graph.input("float32", array.shape, f"{name}{i}"))
                    self.inputs.append(array)
            value, *_ = graph.add("conv2d", operands, attributes)
            if residual and i == len(shapes) - 1:
                (value,) = graph.add("elementwise", [value, x], {"kind": "add"})
            if functions[i] != "-":
                (value,) = graph.add("activation", [value], {"kind": functions[i], "slope": 0.0})
            self.values.append(value)
            self.layers.append((weight, bias, attributes, functions[i]))
        graph.set_outputs([value])
        graph.run_pass("fuse_conv_epilogue")

    def run(self) -> Any:
        (y,), _ = _core.Program(self.graph).run(self.inputs)
        return y

    def expected(self) -> Any:
        """In float64."""
        value = x = self.x.astype(np.float64).transpose(0, 3, 1, 2)
        for i, (weight, bias, a, function) in enumerate(self.layers):
            before, after = a["padding"][0], a.get("padding_after", (0, 0))[0]
            value = np.pad(value, ((0, 0), (0, 0), (before, after), (before, after)))
            value = F.conv2d(
                value, weight.astype(float), bias.astype(float), a["stride"], groups=a["groups"]
            )
            if self.residual and i == len(self.layers) - 1:
                value = value + x
            if function != "-":
                value = getattr(F, function)(value)
        return np.asarray(value).transpose(0, 2, 3, 1)

    def fuse(self) -> list[str]:
        self.graph.run_pass("fuse_inverted_residual")
        return ops(self.graph)


@cases
def test_bits_of_the_nodes_one_by_one(case: str) -> None:
    block = Block(CASES[case])
    before = block.run()
    assert block.fuse() == ["inverted_residual"]
    np.testing.assert_array_equal(block.run(), before)
    assert_close(before, block.expected(), 2e-6)


@cases
def test_same_bits_for_any_number_of_threads(case: str) -> None:
    block = Block(CASES[case])
    block.fuse()
    check_same_bits_for_threads(block.run)


@pytest.mark.parametrize(
    "case", ["EfficientNet's first", "residual", "depthwise first", "much padding"]
)
def test_what_is_not_finite(case: str) -> None:
    block = Block(CASES[case])
    for at, value in enumerate((np.nan, np.inf, -np.inf, np.nan)):
        block.x[0, at * 9, (at * 17) % block.x.shape[2], at % block.x.shape[3]] = value
    block.x[-1, -1, -1, -1] = np.nan
    before = block.run()
    assert np.isnan(before).any()
    block.fuse()
    np.testing.assert_array_equal(block.run(), before)


def test_no_images() -> None:
    block = Block((0, *CASES["residual"][1:]))
    block.fuse()
    assert block.run().shape == (0, 29, 28, 40)


def test_blocks_in_a_row() -> None:
    """A 1x1 between two depthwise convolutions belongs to one of them."""
    rng = np.random.default_rng(0)
    graph = _core.Graph()
    x = rng.standard_normal((1, 60, 60, 64)).astype("f4")
    value = graph.input("float32", x.shape, "x")
    for i, shape in enumerate([(64, 1, 3, 3), (64, 64, 1, 1)] * 2):
        weight = graph.constant(rng.standard_normal(shape).astype("f4"), f"w{i}")
        pad = shape[2] // 2
        value, *_ = graph.add(
            "conv2d", [value, weight], geometry(padding=(pad, pad), groups=64 // shape[1])
        )
    graph.set_outputs([value])
    before = _core.Program(graph).run([x])[0][0]
    graph.run_pass("fuse_inverted_residual")
    assert ops(graph) == ["inverted_residual"] * 2
    np.testing.assert_array_equal(_core.Program(graph).run([x])[0][0], before)


@pytest.mark.parametrize(
    "change",
    [
        "few rows",
        "small",
        "many weights",
        "other activation",
        "weights of a run",
        "dilation",
        "read twice",
    ],
)
def test_other_convolutions_stay(change: str) -> None:
    case = list(CASES["residual"])
    options: dict[str, Any] = {}
    if change == "few rows":
        case[2], case[3] = 13, 200
    elif change == "small":
        case[3] = 14
    elif change == "many weights":
        case[1] = case[5] = 160
    elif change == "other activation":
        case[10] = "relu6 tanh -"
    elif change == "weights of a run":
        options["weights"] = "input"
    elif change == "dilation":
        options["dilation"] = (2, 2)
        case[8] = case[9] = 4
    block = Block(tuple(case), **options)
    if change == "read twice":
        block.graph.set_outputs([*block.values[1:]])
    before = ops(block.graph)
    assert block.fuse() == before
