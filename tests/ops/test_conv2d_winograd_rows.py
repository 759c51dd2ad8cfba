"""Winograd along rows with lanes along images, forced by name, and where it is chosen."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import fastconv as fc
import fastconv.functional as F
from fastconv import _core
from tests.ops.test_conv2d_winograd import BOUND, convolve, relative_rms
from tests.support import assert_close, check_same_bits_for_threads, randn, rng

NAME = "winograd_rows"
DIRECTIONS = ("fprop", "dgrad", "wgrad")
Pair = tuple[int, int]

# (N, C, H, W), K, kernel, stride of rows, padding, dilation of rows
CASES = [
    ((32, 1, 28, 28), 6, (5, 5), 1, (2, 2), 1),
    ((32, 6, 14, 14), 16, (5, 5), 1, (0, 0), 1),
    ((4, 3, 5, 5), 4, (5, 5), 1, (0, 0), 1),
    ((15, 3, 9, 11), 7, (3, 3), 1, (1, 1), 1),
    ((16, 6, 8, 13), 17, (3, 3), 1, (0, 1), 1),
    ((17, 2, 7, 7), 5, (5, 5), 1, (4, 4), 1),
    ((33, 5, 6, 10), 9, (3, 5), 1, (1, 2), 1),
    ((49, 2, 5, 6), 3, (1, 3), 1, (0, 1), 1),
    ((64, 1, 4, 7), 2, (7, 5), 1, (5, 2), 1),
    ((18, 4, 12, 9), 12, (5, 3), 2, (2, 1), 1),
    ((7, 3, 15, 12), 8, (3, 5), 3, (3, 4), 2),
    ((16, 8, 11, 8), 16, (4, 3), 1, (3, 2), 3),
    ((2, 2, 1, 1), 3, (5, 5), 1, (3, 3), 1),
    ((20, 33, 6, 6), 21, (3, 3), 1, (1, 1), 1),
    ((16, 2, 3, 6), 2, (3, 3), 1, (6, 7), 1),
]
cases = pytest.mark.parametrize(
    ("x", "k", "kernel", "stride", "padding", "dilation"),
    CASES,
    ids=lambda v: "x".join(map(str, v)) if isinstance(v, tuple) else str(v),
)


def arrays(
    x: Any, k: int, kernel: Pair, stride: int, padding: Pair, dilation: int
) -> tuple[Any, Any, Any, Any, Any]:
    g = rng("winograd rows", x, k, kernel, stride, padding, dilation)
    p = (x[2] + 2 * padding[0] - dilation * (kernel[0] - 1) - 1) // stride + 1
    q = x[3] + 2 * padding[1] - kernel[1] + 1
    geometry = ((stride, 1), padding, (dilation, 1), 1, "NCHW")
    return randn(g, *x), randn(g, k, x[1], *kernel), randn(g, k), randn(g, x[0], k, p, q), geometry


def directions(stride: int) -> tuple[str, ...]:
    return DIRECTIONS if stride == 1 else ("fprop", "wgrad")


def check(
    x: Any, k: int, kernel: Pair, stride: int, padding: Pair, dilation: int, worst: bool = True
) -> None:
    """Every direction against float64 on the reference path."""
    xa, w, b, dy, geometry = arrays(x, k, kernel, stride, padding, dilation)
    for direction in directions(stride):
        bias = b if direction == "fprop" else None
        wide = [None if a is None else a.astype(np.float64) for a in (xa, w, dy, bias)]
        expected = convolve(direction, *wide[:3], geometry, "reference", wide[3])
        got = convolve(direction, xa, w, dy, geometry, NAME, bias)
        error = relative_rms(got, expected)
        assert error <= BOUND, f"{direction}: {error:.2e}"
        if worst:
            assert_close(got, expected, 2e-5, direction)


@cases
def test_against_float64(
    x: Any, k: int, kernel: Pair, stride: int, padding: Pair, dilation: int
) -> None:
    check(x, k, kernel, stride, padding, dilation)


@pytest.mark.parametrize("kernel", [3, 5])
def test_every_length_of_row_and_padding(kernel: int) -> None:
    for width in range(1, 14):
        for padding in range(kernel):
            if width + 2 * padding >= kernel:
                check((3, 2, 4, width), 3, (3, kernel), 1, (1, padding), 1)


@given(
    n=st.sampled_from([1, 2, 4, 5, 8, 15, 16, 17, 32, 33]),
    c=st.integers(1, 10),
    k=st.integers(1, 20),
    size=st.tuples(st.integers(1, 20), st.integers(1, 24)),
    kernel=st.tuples(st.integers(1, 7), st.sampled_from([3, 5])),
    stride=st.integers(1, 3),
    padding=st.tuples(st.integers(0, 6), st.integers(0, 6)),
    dilation=st.integers(1, 3),
)
@settings(deadline=None, max_examples=80, derandomize=True)
def test_any_geometry(
    n: int,
    c: int,
    k: int,
    size: Pair,
    kernel: Pair,
    stride: int,
    padding: Pair,
    dilation: int,
) -> None:
    reach = (dilation * (kernel[0] - 1) + 1, kernel[1])
    if all(length + 2 * p >= r for length, p, r in zip(size, padding, reach, strict=True)):
        check((n, c, *size), k, kernel, stride, padding, dilation, worst=False)


@cases
def test_same_bits_for_threads(
    x: Any, k: int, kernel: Pair, stride: int, padding: Pair, dilation: int
) -> None:
    xa, w, b, dy, geometry = arrays(x, k, kernel, stride, padding, dilation)
    check_same_bits_for_threads(
        lambda: [
            convolve(d, xa, w, dy, geometry, NAME, b if d == "fprop" else None)
            for d in directions(stride)
        ]
    )


def test_an_image_has_the_same_bits_in_any_batch() -> None:
    xa, w, b, dy, geometry = arrays((33, 6, 14, 14), 16, (5, 5), 1, (0, 0), 1)
    for direction in ("fprop", "dgrad"):
        bias = b if direction == "fprop" else None
        together = convolve(direction, xa, w, dy, geometry, NAME, bias)
        for i in (0, 15, 16, 32):
            alone = convolve(direction, xa[i : i + 1], w, dy[i : i + 1], geometry, NAME, bias)
            np.testing.assert_array_equal(together[i : i + 1], alone)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_what_is_not_finite_stays_in_its_image_and_tiles(value: float) -> None:
    geometry = (1, 1, 1, 1, "NCHW")
    g = rng("rows of nan")
    x, w, dy = randn(g, 20, 3, 9, 20), randn(g, 4, 3, 3, 3), randn(g, 20, 4, 9, 20)
    for direction in ("fprop", "dgrad"):
        clean = convolve(direction, x, w, dy, geometry, NAME)
        bad = (x if direction == "fprop" else dy).copy()
        bad[5, 1, 4, 9] = value
        given_x, given_dy = (bad, dy) if direction == "fprop" else (x, bad)
        got = convolve(direction, given_x, w, given_dy, geometry, NAME)
        changed = ~np.isfinite(got)
        assert changed[5, :, 3:6, 8:11].all()
        reach = np.zeros(got.shape, bool)
        reach[5, :, 3:6, 4:16] = True
        assert not (changed & ~reach).any()
        np.testing.assert_array_equal(got[~reach], clean[~reach])
    bad = x.copy()
    bad[5, 1, 4, 9] = value
    dw = convolve("wgrad", bad, w, dy, geometry, NAME)
    assert (~np.isfinite(dw[:, 1])).all() and np.isfinite(dw[:, [0, 2]]).all()


def test_same_padding_and_transposed() -> None:
    g = rng("rows same")
    x, w = randn(g, 16, 3, 10, 10), randn(g, 5, 3, 4, 5)
    got = _core.conv2d(x, w, None, 1, "same", 1, 1, "NCHW", algorithm=NAME)
    wide = F.conv2d(x.astype(np.float64), w.astype(np.float64), None, 1, "same")
    assert relative_rms(got, wide) <= BOUND
    y, bias = randn(g, 32, 5, 10, 10), randn(g, 3)
    transposed = F.conv_transpose2d(y, w, bias, 1, (1, 2))
    wide = F.conv_transpose2d(*(a.astype(np.float64) for a in (y, w, bias)), 1, (1, 2))
    assert relative_rms(transposed, wide) <= BOUND


def chosen(direction: str, x: Any, k: int, kernel: int, padding: int) -> str:
    (name, _), *_ = (
        c
        for c in _core.conv2d_candidates(
            x, (k, x[1], kernel, kernel), 1, padding, 1, 1, "NCHW", direction
        )
        if not c[1]
    )
    return str(name)


def test_where_it_is_chosen() -> None:
    for direction in DIRECTIONS:
        for n in (32, 128):
            assert chosen(direction, (n, 6, 14, 14), 8, 5, 0) == NAME
            assert chosen(direction, (n, 1, 28, 28), 6, 5, 2) == NAME
        assert chosen(direction, (1, 6, 14, 14), 16, 5, 0) != NAME
        assert chosen(direction, (32, 64, 14, 14), 64, 3, 1) != NAME
    before = fc.get_precision()
    try:
        fc.set_precision("highest")
        assert all(chosen(d, (32, 6, 14, 14), 16, 5, 0) != NAME for d in DIRECTIONS)
    finally:
        fc.set_precision(before)


@pytest.mark.parametrize(
    ("dtype", "x", "weight", "geometry"),
    [
        (np.float64, (16, 2, 8, 8), (4, 2, 3, 3), (1, 1, 1, 1, "NCHW")),
        (np.float32, (16, 8, 8, 2), (4, 2, 3, 3), (1, 1, 1, 1, "NHWC")),
        (np.float32, (16, 2, 8, 8), (4, 1, 3, 3), (1, 1, 1, 2, "NCHW")),
        (np.float32, (16, 2, 8, 8), (4, 2, 4, 4), (1, 1, 1, 1, "NCHW")),
        (np.float32, (16, 2, 8, 8), (4, 2, 3, 3), (2, 1, 1, 1, "NCHW")),
        (np.float32, (16, 2, 8, 8), (4, 2, 3, 3), (1, 1, 2, 1, "NCHW")),
        (np.float32, (16, 2, 400, 400), (4, 2, 3, 3), (1, 1, 1, 1, "NCHW")),
    ],
)
def test_what_it_declines(dtype: Any, x: Any, weight: Any, geometry: Any) -> None:
    with pytest.raises(fc.ShapeError, match="declines"):
        _core.conv2d(np.ones(x, dtype), np.ones(weight, dtype), None, *geometry, algorithm=NAME)
