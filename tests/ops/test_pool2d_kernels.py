"""Pooling where its kernels differ: vectors' ends, strides, tiles, whole planes, large arrays, bfloat16."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import fastconv as fc
import fastconv.functional as F
from tests.support import assert_close, check_same_bits_for_threads, randn, rng

# function, (N, C, H, W), arguments
CASES: list[tuple[str, tuple[int, int, int, int], tuple[Any, ...]]] = [
    (f, size, args)
    for f in ("max_pool2d", "avg_pool2d")
    for size, args in [
        ((2, 6, 28, 28), (2,)),
        ((2, 6, 29, 31), (2,)),
        ((1, 3, 64, 66), (2,)),
        ((1, 2, 6, 6), (2,)),
        ((1, 3, 9, 8), ((2, 3), (2, 1), (1, 1))),
        ((2, 3, 33, 35), (3, 2, 1)),
        ((1, 2, 16, 70), (3, 2, 1)),
        ((1, 2, 70, 16), (3, 1, 1)),
        ((1, 2, 20, 21), (1, 2)),
        ((1, 2, 20, 21), (2, 3)),
        ((1, 2, 20, 50), (5, 1, 2)),
        ((1, 1, 40, 90), (13, 1, 6)),
        ((1, 2, 24, 70), (3, 3, 1)),
        ((1, 2, 24, 70), (4, 5)),
        ((1, 17, 30, 30), ((2, 16), (2, 1))),
        ((1, 2, 2, 40), (3, 1, 1)),
        ((3, 5, 7, 7), (7,)),
        ((1, 2, 1, 12), (2, 1, 1)),
    ]
] + [
    ("global_avg_pool2d", (3, 5, 7, 7), ()),
    ("global_avg_pool2d", (2, 3, 14, 15), ()),
    ("global_avg_pool2d", (1, 2, 64, 64), ()),
    ("global_avg_pool2d", (1, 2, 65, 64), ()),
]
# Several vectors of channels and a rest.
CASES += [
    (f, (2, 70, 9, 11), args)
    for f in ("max_pool2d", "avg_pool2d")
    for args in [(2,), (3, 2, 1), (3, 1, 1), (4, 1, 1), (3, 3)]
]
# Results past the caches.
LARGE: list[tuple[str, tuple[int, int, int, int], tuple[Any, ...]]] = [
    ("max_pool2d", (4, 35, 130, 129), (3, 2, 1)),
    ("max_pool2d", (8, 48, 80, 80), (2,)),
    ("avg_pool2d", (8, 48, 80, 80), (2,)),
    ("avg_pool2d", (16, 70, 50, 50), (3, 1, 1)),
    ("global_avg_pool2d", (32, 1500, 7, 7), ()),
    ("avg_pool2d", (60, 6, 80, 80), (2,)),
    ("avg_pool2d", (2, 2100, 7, 9), (7, 2)),
]


def run(function: str, x: Any, args: tuple[Any, ...], layout: str) -> tuple[Any, Any]:
    """The result and its gradient for a gradient of the same random values, both NCHW."""
    t = np.ascontiguousarray(x.transpose(0, 2, 3, 1)) if layout == "NHWC" else x
    t = fc.tensor(t, requires_grad=True)
    y = getattr(F, function)(t, *args, layout=layout)
    out = (y.shape[0], y.shape[3], *y.shape[1:3]) if layout == "NHWC" else y.shape
    dy = rng("dy", out).integers(-8, 8, out).astype(x.dtype)  # sums without rounding
    y.backward(np.ascontiguousarray(dy.transpose(0, 2, 3, 1)) if layout == "NHWC" else dy)
    assert t.grad is not None
    found = [y.numpy(), t.grad.numpy()]
    if layout == "NHWC":
        found = [v.transpose(0, 3, 1, 2) for v in found]
    return found[0], found[1]


@pytest.mark.parametrize("layout", ["NCHW", "NHWC"])
@pytest.mark.parametrize(("function", "size", "args"), CASES + LARGE)
def test_agrees_with_float64(
    function: str, size: tuple[int, int, int, int], args: tuple[Any, ...], layout: str
) -> None:
    g = rng(function, size, args)
    x = g.integers(-50, 50, size).astype(np.float32)  # full of equal values
    y, dx = run(function, x, args, layout)
    expected_y, expected_dx = run(function, x.astype(np.float64), args, layout)
    assert_close(y, expected_y)
    assert_close(dx, expected_dx)


@pytest.mark.parametrize("layout", ["NCHW", "NHWC"])
@pytest.mark.parametrize(("function", "size", "args"), [c for c in CASES if c[0] == "max_pool2d"])
def test_nan_and_infinity(
    function: str, size: tuple[int, int, int, int], args: tuple[Any, ...], layout: str
) -> None:
    g = rng("nan", size, args)
    x = randn(g, *size)
    x[g.random(size) < 0.02] = np.nan
    x[g.random(size) < 0.1] = -np.inf
    x[:, :, : size[2] // 2] = np.where(g.random(size)[:, :, : size[2] // 2] < 0.5, -np.inf, np.inf)
    y, dx = run(function, x, args, layout)
    expected_y, expected_dx = run(function, x.astype(np.float64), args, layout)
    np.testing.assert_array_equal(y, expected_y)
    np.testing.assert_array_equal(dx, expected_dx)
    inference = getattr(F, function)(np.ascontiguousarray(x), *args)
    np.testing.assert_array_equal(inference, y)


@pytest.mark.parametrize("window", [(2,), (3, 2, 1)], ids=str)
def test_of_zeros_the_first_wins(window: tuple[Any, ...]) -> None:
    """With taps wanted or not."""
    x = np.copysign(np.float32(0), randn(rng("zeros"), 1, 8, 6, 20))
    training = F.max_pool2d(fc.tensor(x, requires_grad=True), *window, layout="NHWC").numpy()
    inference = F.max_pool2d(x, *window, layout="NHWC")
    exact = F.max_pool2d(x.astype(np.float64), *window, layout="NHWC")
    np.testing.assert_array_equal(np.signbit(inference), np.signbit(exact))
    np.testing.assert_array_equal(np.signbit(training), np.signbit(exact))


@pytest.mark.parametrize("layout", ["NCHW", "NHWC"])
@pytest.mark.parametrize(("function", "size", "args"), [CASES[5], CASES[23], LARGE[0], LARGE[4]])
def test_threads_do_not_change_a_bit(
    function: str, size: tuple[int, int, int, int], args: tuple[Any, ...], layout: str
) -> None:
    x = randn(rng("threads", size), *size)
    check_same_bits_for_threads(lambda: run(function, x, args, layout))


@pytest.mark.parametrize("layout", ["NCHW", "NHWC"])
@pytest.mark.parametrize(("function", "size", "args"), CASES + LARGE[:1])
def test_bfloat16_rounds_the_float32_result(
    function: str, size: tuple[int, int, int, int], args: tuple[Any, ...], layout: str
) -> None:
    pytest.importorskip("ml_dtypes")
    narrow = F.astype(randn(rng("narrow", size), *size), "bfloat16")
    wide = F.astype(narrow, "float32")
    for got, expected in zip(
        run(function, narrow, args, layout), run(function, wide, args, layout), strict=True
    ):
        rounded = F.astype(F.astype(expected, "bfloat16"), "float32")
        assert_close(F.astype(got, "float32"), rounded, 5e-3)
        if function == "max_pool2d":
            np.testing.assert_array_equal(F.astype(got, "float32"), rounded)
