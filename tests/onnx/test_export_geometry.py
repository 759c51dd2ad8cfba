"""Windows of random sizes, strides, padding and dilation, exported and run in ONNX Runtime."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import fastconv as fc
import fastconv.functional as F
from tests.onnx.helpers import RUNTIME, Apply, run_runtime
from tests.support import assert_close, randn, rng

pytest.importorskip("onnx")
pytestmark = pytest.mark.skipif(not RUNTIME, reason="needs onnxruntime")

TRIES = 60


class Draw:
    """Random geometry."""

    def __init__(self, *key: Any) -> None:
        self.rng = rng(*key)

    def whole(self, low: int, high: int) -> int:
        return int(self.rng.integers(low, high + 1))

    def pair(self, low: int, high: int) -> tuple[int, int]:
        return self.whole(low, high), self.whole(low, high)

    def flag(self) -> bool:
        return bool(self.whole(0, 1))

    def one_of(self, *values: Any) -> Any:
        return values[self.whole(0, len(values) - 1)]

    def windows(self) -> dict[str, Any]:
        kernel = self.pair(1, 4)
        padding = tuple(self.whole(0, k // 2) for k in kernel)
        ceil = self.flag()
        return {
            "kernel_size": kernel,
            "stride": self.pair(1, 4),
            "padding": padding,
            "ceil_mode": ceil,
        }


def max_pool(d: Draw, c: int) -> tuple[Callable[..., Any], Any]:
    return F.max_pool2d, {**d.windows(), "dilation": d.pair(1, 3)}


def avg_pool(d: Draw, c: int) -> tuple[Callable[..., Any], Any]:
    include, divisor = d.flag(), d.one_of(None, None, 3)
    return F.avg_pool2d, {
        **d.windows(),
        "count_include_pad": include,
        "divisor_override": divisor,
    }


def adaptive(d: Draw, c: int) -> tuple[Callable[..., Any], Any]:
    function = d.one_of(F.adaptive_avg_pool2d, F.adaptive_max_pool2d)
    return function, {"output_size": d.pair(1, 9)}


def conv(d: Draw, c: int) -> tuple[Callable[..., Any], Any]:
    groups = d.one_of(1, c)
    weight = randn(d.rng, groups * d.whole(1, 3), c // groups, *d.pair(1, 4))
    options = {"weight": weight, "groups": groups, "dilation": d.pair(1, 3)}
    if d.flag():
        options["bias"] = randn(d.rng, len(weight))
    if d.whole(0, 3) == 0:
        return F.conv2d, {**options, "padding": "same"}
    return F.conv2d, {**options, "stride": d.pair(1, 3), "padding": d.one_of(d.pair(0, 4), "valid")}


def conv_transpose(d: Draw, c: int) -> tuple[Callable[..., Any], Any]:
    stride = d.pair(1, 3)
    return F.conv_transpose2d, {
        "weight": randn(d.rng, c, d.whole(1, 3), *d.pair(1, 4)),
        "groups": d.one_of(1, c),
        "stride": stride,
        "padding": d.pair(0, 2),
        "output_padding": tuple(d.whole(0, s - 1) for s in stride),
        "dilation": d.pair(1, 2),
    }


def lrn(d: Draw, c: int) -> tuple[Callable[..., Any], Any]:
    return F.local_response_norm, {"size": d.whole(1, 6), "alpha": 0.7, "beta": 0.6, "k": 1.5}


@pytest.mark.parametrize("layout", ["NCHW", "NHWC"])
@pytest.mark.parametrize("make", [max_pool, avg_pool, adaptive, conv, conv_transpose, lrn])
def test_random_geometry(make: Callable[..., Any], layout: str) -> None:
    done = 0
    for attempt in range(TRIES):
        d = Draw(make.__name__, layout, attempt)
        n, c, h, w = d.whole(1, 3), d.whole(1, 6), d.whole(3, 14), d.whole(3, 14)
        x = randn(d.rng, *((n, c, h, w) if layout == "NCHW" else (n, h, w, c)))
        function, options = make(d, c)
        net = Apply(lambda x, f=function, o=options: f(x, layout=layout, **o))
        try:
            expected = np.asarray(net(x))
        except fc.ShapeError:  # a window larger than the image, say
            continue
        if expected.size:
            (got,) = run_runtime(fc.onnx.export(net, None, x), x)
            assert_close(got, expected, 1e-5, str(options))
            done += 1
    assert done > TRIES // 2


@pytest.mark.parametrize("mode", ["constant", "reflect", "replicate", "circular"])
def test_random_borders(mode: str) -> None:
    done = 0
    for attempt in range(TRIES):
        d = Draw("pad", mode, attempt)
        x = randn(d.rng, 2, d.whole(1, 5), d.whole(3, 9), d.whole(3, 9))
        amounts = tuple(int(a) for a in d.rng.integers(-2, 4, 2 * d.whole(1, 3)))
        net = Apply(lambda x, a=amounts: F.pad(x, a, mode))
        try:
            expected = np.asarray(net(x))
        except fc.ShapeError:
            continue
        if expected.size:
            (got,) = run_runtime(fc.onnx.export(net, None, x), x)
            np.testing.assert_array_equal(got, expected, str(amounts))
            done += 1
    assert done > TRIES // 3
