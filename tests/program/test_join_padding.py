"""Zeros around pictures become the padding of the convolution behind them, different on each side."""

from __future__ import annotations

import copy
import re
from typing import Any

import numpy as np
import pytest

import fastconv as fc
import fastconv.functional as F
from fastconv import _core, nn
from tests.support import assert_close, randn, rng

# channels in, out, groups, kernel, stride, dilation, own padding, pad (left, right, top, bottom)
CASES = [
    (3, 32, 1, (3, 3), 2, 1, 0, (0, 1, 0, 1)),
    (96, 96, 96, (3, 3), 2, 1, 0, (0, 1, 0, 1)),
    (144, 144, 144, (5, 5), 2, 1, 0, (1, 2, 1, 2)),
    (48, 48, 48, (3, 3), 1, 1, 0, (2, 0, 0, 2)),
    (64, 64, 1, (3, 3), 1, 1, 1, (0, 1, 0, 1)),
    (32, 48, 1, (3, 3), 1, 1, 0, (2, 0, 0, 2)),
    (20, 24, 1, (1, 1), 1, 1, 0, (0, 1, 2, 0)),
    (16, 32, 2, (3, 2), 2, 1, 0, (1, 0, 2, 1)),
    (24, 40, 1, (3, 3), 1, 2, 0, (1, 3, 2, 0)),
    (1, 20, 1, (5, 5), 1, 1, 2, (0, 1, 1, 0)),
    (8, 24, 8, (3, 3), 2, 1, 0, (0, 1, 1, 2)),
    (18, 18, 18, (2, 2), 1, 1, 0, (3, 0, 0, 3)),
]


class Padded(nn.Module):
    def __init__(self, case: Any) -> None:
        super().__init__()
        before, after, groups, kernel, stride, dilation, padding, self.pad = case
        self.conv = nn.Conv2d(before, after, kernel, stride, padding, dilation, groups)

    def forward(self, x: Any) -> Any:
        return F.relu(self.conv(F.pad(x, self.pad)))


def expected_of(net: Any, x: Any) -> Any:
    """In float64."""
    with fc.no_grad():
        return copy.deepcopy(net).double()(x.astype(np.float64)).numpy()


def kinds(dump: str) -> list[str]:
    return re.findall(r" = (\w+)\(", dump)


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("channels_last", [True, False])
def test_the_result_is_that_of_padding_first(case: Any, channels_last: bool) -> None:
    net = Padded(case).eval()
    x = randn(rng(0), 2, case[0], 15, 13)
    expected = expected_of(net, x)
    capture = fc._symbolic.Capture(channels_last=channels_last)
    with capture, fc.no_grad():
        given = capture.input("x", x.shape, x.dtype)
        y = net(fc.Tensor(capture.picture(given)))
    capture.graph.set_outputs([y._array.contiguous().value])
    for name in _core.graph_passes():
        capture.graph.run_pass(name)
    assert "pad" not in kinds(capture.graph.dump())
    assert_close(_core.Program(capture.graph).run([x])[0][0], expected, 2e-5)


@pytest.mark.parametrize("case", CASES)
def test_every_algorithm(case: Any) -> None:
    net = Padded(case).eval()
    x = randn(rng(0), 1, case[0], 15, 13)
    expected = expected_of(net, x)
    capture = fc._symbolic.Capture()
    with capture, fc.no_grad():
        y = net(fc.Tensor(capture.picture(capture.input("x", x.shape, x.dtype))))
    capture.graph.set_outputs([y._array.contiguous().value])
    for name in ("remove_dead_code", "simplify_layout", "join_padding"):
        capture.graph.run_pass(name)
    ((node, _, _, algorithms),) = capture.graph.convolutions()
    for algorithm in algorithms:
        graph = capture.graph.copy()
        graph.choose(node, algorithm)
        tolerance = 2e-5 if algorithm.startswith("winograd") else 4e-6
        assert_close(_core.Program(graph).run([x])[0][0], expected, tolerance, algorithm)


def test_bfloat16() -> None:
    pytest.importorskip("ml_dtypes")
    net = Padded(CASES[1]).eval()
    x = randn(rng(0), 2, 96, 15, 13)
    expected = expected_of(net, x)
    program = fc.compile(net, x, dtype="bfloat16")
    assert "pad" not in kinds(program.dump())
    np.testing.assert_allclose(program(x), expected, rtol=0.05, atol=0.05)


@pytest.mark.parametrize(
    "pad, options",
    [
        ((0, 1, 0, 1), {"value": 1.0}),
        ((0, 1, 0, 1), {"mode": "replicate"}),
        ((1, -1, 0, 0), {}),
        ((0, 0, 0, 0, 0, 1), {}),
    ],
)
def test_other_borders_stay(pad: Any, options: Any) -> None:
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = nn.Conv2d(33 if len(pad) == 6 else 32, 24, 3)

        def forward(self, x: Any) -> Any:
            return self.conv(F.pad(x, pad, **options))

    net = Net().eval()
    x = randn(rng(0), 1, 32, 9, 9)
    program = fc.compile(net, x)
    assert "pad" in kinds(program.dump())
    assert_close(program(x), expected_of(net, x), 4e-6)


def test_a_border_that_others_read_stays() -> None:
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = nn.Conv2d(32, 32, 3, padding=1)

        def forward(self, x: Any) -> Any:
            wide = F.pad(x, (0, 1, 0, 1))
            return F.add(self.conv(wide), wide)

    net = Net().eval()
    x = randn(rng(0), 1, 32, 9, 9)
    program = fc.compile(net, x)
    assert "pad" in kinds(program.dump())
    assert_close(program(x), expected_of(net, x), 4e-6)


def test_padding_by_rule_is_left_alone() -> None:
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = nn.Conv2d(32, 32, 3, padding="same")

        def forward(self, x: Any) -> Any:
            return self.conv(F.pad(x, (0, 1, 0, 1)))

    net = Net().eval()
    x = randn(rng(0), 1, 32, 9, 9)
    program = fc.compile(net, x)
    assert_close(program(x), expected_of(net, x), 4e-6)


def test_a_node_with_a_bad_padding_is_refused() -> None:
    graph = _core.Graph()
    x = graph.input("float32", (1, 5, 5, 3), "x")
    w = graph.constant(np.zeros((4, 3, 3, 3), np.float32), "w")
    geometry: Any = {"stride": (1, 1), "padding": (1, 1), "dilation": (1, 1), "groups": 1}
    for after in ((-1, 0), (0, 0, 0)):
        with pytest.raises(fc.ShapeError):
            graph.add(
                "conv2d", [x, w, None], {**geometry, "layout": "NHWC", "padding_after": after}
            )
