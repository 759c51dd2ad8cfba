"""Winograd convolution of filters other than 3x3, and of strides through their phases, forced by name."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import fastconv as fc
import fastconv.functional as F
from fastconv import _core
from tests.ops.test_conv2d_winograd import (
    BOUND,
    LAYOUTS,
    convolve,
    from_layout,
    relative_rms,
    to_layout,
)
from tests.support import check_same_bits_for_threads, randn, rng

pytestmark = pytest.mark.skipif(_core.isa() == "scalar", reason="scalar kernels have 3x3 alone")

Pair = tuple[int, int]

# (N, C, H, W), K, kernel, stride, padding, groups
CASES = [
    ((1, 1, 2, 2), 1, (2, 2), (1, 1), (0, 0), 1),
    ((2, 17, 9, 11), 33, (2, 2), (1, 1), (1, 0), 1),
    ((1, 6, 4, 4), 5, (4, 4), (1, 1), (0, 0), 1),
    ((2, 20, 13, 18), 40, (4, 4), (1, 1), (1, 2), 1),
    ((2, 24, 9, 7), 20, (4, 4), (1, 1), (3, 3), 2),
    ((1, 3, 5, 5), 2, (5, 5), (1, 1), (0, 0), 1),
    ((2, 16, 14, 14), 48, (5, 5), (1, 1), (2, 2), 1),
    ((1, 48, 7, 7), 128, (5, 5), (1, 1), (2, 2), 1),
    ((3, 33, 10, 27), 17, (5, 5), (1, 1), (4, 0), 1),
    ((1, 130, 8, 8), 66, (5, 5), (1, 1), (6, 6), 1),
    ((2, 3, 32, 32), 64, (7, 7), (2, 2), (3, 3), 1),
    ((2, 3, 47, 47), 64, (11, 11), (4, 4), (2, 2), 1),
    ((1, 1, 23, 30), 3, (7, 7), (2, 2), (0, 5), 1),
    ((2, 16, 17, 12), 32, (3, 3), (2, 2), (1, 1), 1),
    ((1, 40, 15, 15), 24, (3, 3), (2, 2), (0, 1), 1),
    ((2, 20, 14, 22), 36, (5, 5), (2, 2), (2, 2), 2),
    ((1, 7, 20, 20), 18, (4, 4), (2, 2), (1, 1), 1),
    ((1, 5, 22, 21), 20, (7, 7), (3, 3), (2, 3), 1),
    ((1, 4, 19, 40), 17, (3, 6), (1, 2), (1, 0), 1),
    ((1, 6, 30, 12), 16, (9, 3), (3, 1), (8, 2), 1),
    ((1, 2, 41, 43), 9, (9, 9), (2, 2), (4, 4), 1),
    ((2, 3, 12, 12), 16, (12, 12), (4, 4), (5, 5), 1),
    # Phases of whole vectors, some without the products of a tap that they lack; edge tiles of each size.
    ((2, 16, 16, 12), 32, (3, 3), (2, 2), (1, 1), 1),
    ((1, 40, 14, 16), 24, (3, 3), (2, 2), (0, 1), 1),
    ((1, 64, 20, 2), 80, (3, 3), (2, 2), (1, 1), 1),
    ((3, 32, 18, 8), 130, (3, 3), (2, 2), (1, 0), 1),
    ((2, 64, 12, 24), 64, (3, 3), (2, 2), (2, 2), 2),
    ((1, 160, 10, 12), 80, (5, 5), (2, 2), (2, 2), 1),
    ((1, 32, 16, 26), 32, (7, 7), (2, 2), (3, 3), 1),
    ((1, 16, 24, 24), 32, (11, 11), (4, 4), (3, 3), 1),
    ((2, 32, 12, 10), 48, (3, 4), (2, 2), (1, 2), 1),
    ((1, 32, 30, 12), 16, (9, 3), (3, 1), (3, 1), 1),
    ((1, 16, 10, 24), 32, (2, 8), (1, 4), (1, 0), 1),
    # One pixel: an NCHW array whose channels are neighbours, with other phases along each axis.
    ((16, 8, 1, 1), 8, (4, 4), (2, 2), (3, 4), 1),
    ((8, 8, 1, 1), 24, (6, 6), (2, 2), (10, 11), 1),
]
cases = pytest.mark.parametrize(
    ("x", "k", "kernel", "stride", "padding", "groups"),
    CASES,
    ids=lambda v: "x".join(map(str, v)) if isinstance(v, tuple) else str(v),
)
layouts = pytest.mark.parametrize("layout", LAYOUTS)


def variant(stride: Pair) -> str:
    return "winograd" if stride == (1, 1) else "winograd_phases"


def dgrad_by_phases(size: Pair, kernel: Pair, stride: Pair, padding: Pair, layout: str) -> bool:
    """Whether dgrad of this stride is taken: residues of pixels of dx are output channels."""
    for n, r, s, p in zip(size, kernel, stride, padding, strict=True):
        reach = {(a + p - t) // s for a in range(s) for t in range(r) if (a + p - t) % s == 0}
        if n % s or max(reach) - min(reach) + 1 != -(-r // s):
            return False
    return layout == "NHWC"


def directions(
    stride: Pair,
    size: Pair = (1, 1),
    kernel: Pair = (1, 1),
    padding: Pair = (0, 0),
    layout: str = "NCHW",
) -> tuple[str, ...]:
    if stride == (1, 1) or dgrad_by_phases(size, kernel, stride, padding, layout):
        return ("fprop", "dgrad", "wgrad")
    return ("fprop", "wgrad")


def arrays(
    x: Any, k: int, kernel: Pair, stride: Pair, padding: Pair, groups: int
) -> tuple[Any, Any, Any, Any]:
    g = rng("winograd filters", x, k, kernel, stride, padding, groups)
    size = [
        (n + 2 * p - r) // s + 1 for n, p, r, s in zip(x[2:], padding, kernel, stride, strict=True)
    ]
    return (
        randn(g, *x),
        randn(g, k, x[1] // groups, *kernel),
        randn(g, k),
        randn(g, x[0], k, *size),
    )


def check(
    x: Any, k: int, kernel: Pair, stride: Pair, padding: Pair, groups: int, layout: str
) -> None:
    """Every direction against float64 on the reference path."""
    xa, w, b, dy = arrays(x, k, kernel, stride, padding, groups)
    geometry = (stride, padding, 1, groups)
    for direction in directions(stride, x[2:], kernel, padding, layout):
        bias = b if direction == "fprop" else None
        wide = [None if a is None else a.astype(np.float64) for a in (xa, w, dy, bias)]
        expected = convolve(direction, *wide[:3], (*geometry, "NCHW"), "reference", wide[3])
        given_x, given_dy = to_layout(xa, layout), to_layout(dy, layout)
        got = convolve(direction, given_x, w, given_dy, (*geometry, layout), variant(stride), bias)
        if direction != "wgrad":
            got = from_layout(got, layout)
        error = relative_rms(got, expected)
        assert error <= BOUND, f"{direction} {layout}: {error:.2e}"


@layouts
@cases
def test_against_float64(
    x: Any, k: int, kernel: Pair, stride: Pair, padding: Pair, groups: int, layout: str
) -> None:
    check(x, k, kernel, stride, padding, groups, layout)


@layouts
@pytest.mark.parametrize("kernel", [2, 4, 5])
def test_every_size_of_edge_tiles(kernel: int, layout: str) -> None:
    for rows in range(1, 12):
        for columns in range(1, 12):
            if rows == columns or (rows + 5 * columns) % 3 == 0:
                size = (1, 7, rows + kernel - 2, columns + kernel - 2)
                if min(size[2:]) > 0:
                    check(size, 5, (kernel, kernel), (1, 1), (1, 1), 1, layout)


@given(
    n=st.integers(1, 3),
    c=st.integers(1, 20),
    k=st.integers(1, 40),
    size=st.tuples(st.integers(1, 30), st.integers(1, 30)),
    taps=st.integers(2, 5),
    stride=st.tuples(st.integers(1, 4), st.integers(1, 4)),
    less=st.tuples(st.integers(0, 3), st.integers(0, 3)),
    padding=st.tuples(st.integers(0, 4), st.integers(0, 4)),
    groups=st.sampled_from([1, 1, 2]),
    layout=st.sampled_from(LAYOUTS),
)
@settings(deadline=None, max_examples=80, derandomize=True)
def test_any_geometry(
    n: int,
    c: int,
    k: int,
    size: Pair,
    taps: int,
    stride: Pair,
    less: Pair,
    padding: Pair,
    groups: int,
    layout: str,
) -> None:
    kernel = tuple(taps * s - min(m, s - 1) for s, m in zip(stride, less, strict=True))
    if any(n + 2 * p < r for n, p, r in zip(size, padding, kernel, strict=True)):
        return
    check((n, c * groups, *size), k * groups, kernel, stride, padding, groups, layout)  # type: ignore[arg-type]


@pytest.mark.parametrize("depth", [64, 130, 512])
@pytest.mark.parametrize(
    ("kernel", "stride"), [(2, 1), (4, 1), (5, 1), (3, 2), (4, 2), (5, 2), (7, 2), (11, 4)]
)
def test_error_bound_of_many_channels(kernel: int, stride: int, depth: int) -> None:
    """Normal data, where all of the sum's terms count; and the all-positive data behind a ReLU."""
    g = rng("bound", kernel, stride)
    padding, out = kernel // 2, 12
    size = (out - 1) * stride + kernel - 2 * padding
    size += size % stride and stride - size % stride
    for direction in ("fprop", "dgrad", "wgrad"):
        layout = "NHWC" if direction == "dgrad" and stride > 1 else "NCHW"
        if layout == "NHWC" and not dgrad_by_phases(
            (size, size), (kernel, kernel), (stride, stride), (padding, padding), layout
        ):
            continue
        for positive in (False, True):
            c, k = (32, depth) if direction == "dgrad" else (depth, 32)  # sums run over `depth`
            x, w = randn(g, 1, c, size, size), randn(g, k, c, kernel, kernel)
            dy = randn(g, 1, k, out, out)
            if positive:
                x, dy = np.maximum(x, 0), np.maximum(dy, 0)
            geometry = (stride, padding, 1, 1, layout)
            x, dy = to_layout(x, layout), to_layout(dy, layout)
            wide = [a.astype(np.float64) for a in (x, w, dy)]
            expected = convolve(direction, *wide, geometry, "reference")
            got = convolve(direction, x, w, dy, geometry, variant((stride, stride)))
            assert relative_rms(got, expected) <= BOUND


@layouts
@pytest.mark.parametrize(
    ("x", "k", "kernel", "stride"),
    [
        ((2, 32, 15, 14), 80, 5, 1),
        ((1, 160, 14, 14), 256, 5, 1),
        ((2, 100, 19, 17), 12, 5, 1),
        ((2, 15, 17, 13), 130, 4, 1),
        ((1, 192, 7, 7), 192, 4, 1),
        ((2, 3, 64, 60), 64, 7, 2),
        ((3, 3, 60, 64), 70, 11, 4),
        ((1, 256, 14, 14), 320, 3, 2),
    ],
)
def test_same_bits_for_threads(x: Any, k: int, kernel: int, stride: int, layout: str) -> None:
    """Whole, cut and stationary plans change with the number of threads; bits do not."""
    strides = (stride, stride)
    xa, w, _, dy = arrays(x, k, (kernel, kernel), strides, (1, 1), 1)
    xa, dy = to_layout(xa, layout), to_layout(dy, layout)
    geometry = (stride, 1, 1, 1, layout)
    for direction in directions(strides, x[2:], (kernel, kernel), (1, 1), layout):
        check_same_bits_for_threads(
            lambda d=direction: convolve(d, xa, w, dy, geometry, variant(strides))  # type: ignore[misc]
        )


@pytest.mark.parametrize(("kernel", "stride"), [(5, 1), (7, 2), (3, 2)])
def test_same_bits_alone_and_in_a_batch(kernel: int, stride: int) -> None:
    x, w, _, _ = arrays((5, 24, 28, 20), 70, (kernel, kernel), (stride, stride), (1, 1), 1)
    geometry = (stride, 1, 1, 1, "NCHW")
    name = variant((stride, stride))
    together = _core.conv2d(x, w, None, *geometry, algorithm=name)
    for i in range(5):
        alone = _core.conv2d(x[i : i + 1].copy(), w, None, *geometry, algorithm=name)
        np.testing.assert_array_equal(alone[0], together[i])


@layouts
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize(
    ("kernel", "stride", "tile"), [(5, 1, 4), (4, 1, 5), (7, 2, 5), (11, 4, 4)]
)
def test_non_finite_input_stays_in_the_tiles_that_read_it(
    kernel: int, stride: int, tile: int, layout: str, value: float
) -> None:
    x, w, b, dy = arrays((2, 5, 41, 38), 18, (kernel, kernel), (stride, stride), (1, 1), 1)
    geometry = (stride, 1, 1, 1, layout)
    name = variant((stride, stride))

    def run(a: Any, algorithm: str) -> Any:
        y = _core.conv2d(to_layout(a, layout), w, b, *geometry, algorithm=algorithm)
        return from_layout(y, layout)

    clean, reach = run(x, name), -(-kernel // stride) * stride
    for row, column in ((0, 0), (9, 14), (40, 37)):
        dirty = x.copy()
        dirty[1, 3, row, column] = value
        y, bad = run(dirty, name), ~np.isfinite(run(dirty, "reference"))
        assert not np.isfinite(y[bad]).any()  # nothing is lost
        touched = np.zeros(y.shape, bool)
        for ty in range(0, dy.shape[2], tile):
            for tx in range(0, dy.shape[3], tile):
                low, left = ty * stride - 1, tx * stride - 1
                span = (tile - 1) * stride + reach
                if low <= row < low + span and left <= column < left + span:
                    touched[1, :, ty : ty + tile, tx : tx + tile] = True
        np.testing.assert_array_equal(y[~touched], clean[~touched])


@layouts
def test_finite_data_never_makes_nan(layout: str) -> None:
    """Rows of scratch that no tile owns and the padding must not reach the result."""
    poison = np.full(1 << 20, np.nan, np.float32)
    for x, k, kernel, stride, padding, groups in CASES:
        xa, w, _, dy = arrays(x, k, kernel, stride, padding, groups)
        for direction in directions(stride, x[2:], kernel, padding, layout):
            F.relu(poison)  # leaves NaN in the pool's blocks
            got = convolve(
                direction,
                to_layout(xa * np.float32(1e29), layout),
                w,
                to_layout(dy, layout) * np.float32(1e29 if direction == "dgrad" else 1),
                (stride, padding, 1, groups, layout),
                variant(stride),
            )
            assert np.isfinite(got).all()


@pytest.mark.parametrize(
    ("kernel", "stride", "dilation", "reason"),
    [
        ((5, 5), (1, 1), (1, 1), "stride is 1"),
        ((3, 3), (2, 2), (2, 2), "dilation is not 1"),
        ((1, 1), (2, 2), (1, 1), "2 to 5 times the stride"),
        ((11, 11), (2, 2), (1, 1), "2 to 5 times the stride"),
        ((7, 7), (2, 3), (1, 1), "2 to 5 times the stride"),
    ],
)
def test_phases_decline(kernel: Pair, stride: Pair, dilation: Pair, reason: str) -> None:
    x, w = np.zeros((1, 16, 30, 30), np.float32), np.zeros((16, 16, *kernel), np.float32)
    with pytest.raises(fc.ShapeError, match=reason):
        _core.conv2d(x, w, None, stride, 1, dilation, 1, "NCHW", algorithm="winograd_phases")


@pytest.mark.parametrize(
    ("size", "kernel", "stride", "padding", "layout", "reason"),
    [
        ((30, 30), 3, 2, 1, "NCHW", "layout is not NHWC"),
        ((30, 31), 3, 2, 1, "NHWC", "no multiple of the stride"),
        ((32, 32), 11, 4, 2, "NHWC", "further than their taps"),
    ],
)
def test_dgrad_of_phases_declines(
    size: Pair, kernel: int, stride: int, padding: int, layout: str, reason: str
) -> None:
    assert not dgrad_by_phases(size, (kernel, kernel), (stride, stride), (padding, padding), layout)
    x = (1, 16, *size) if layout == "NCHW" else (1, *size, 16)
    listed = _core.conv2d_candidates(
        x, (16, 16, kernel, kernel), stride, padding, 1, 1, layout, "dgrad"
    )
    assert reason in dict(listed)["winograd_phases"]


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_non_finite_gradient_stays_in_the_tiles_that_read_it(value: float) -> None:
    _, w, _, dy = arrays((2, 16, 32, 28), 24, (3, 3), (2, 2), (1, 1), 1)
    dy = to_layout(dy, "NHWC")

    def run(a: Any, algorithm: str) -> Any:
        return _core.conv2d_input((2, 32, 28, 16), w, a, 2, 1, 1, 1, "NHWC", algorithm=algorithm)

    clean = run(dy, "winograd_phases")
    for row, column in ((0, 0), (5, 9), (15, 13)):
        dirty = dy.copy()
        dirty[1, row, column, 3] = value
        dx, bad = run(dirty, "winograd_phases"), ~np.isfinite(run(dirty, "reference"))
        assert not np.isfinite(dx[bad]).any()  # nothing is lost
        touched = np.zeros(dx.shape, bool)
        for top in range(0, 16, 5):
            for left in range(0, 14, 5):
                if top <= row <= top + 5 and left <= column <= left + 5:
                    touched[1, 2 * top : 2 * top + 10, 2 * left : 2 * left + 10] = True
        np.testing.assert_array_equal(dx[~touched], clean[~touched])


@pytest.mark.parametrize(
    ("x", "k"), [((32, 64, 32, 32), 128), ((32, 128, 16, 16), 256), ((16, 128, 56, 56), 128)]
)
def test_dgrad_of_phases_is_chosen_where_it_wins(x: Any, k: int) -> None:
    n, c, h, w = x
    listed = _core.conv2d_candidates((n, h, w, c), (k, c, 3, 3), 2, 1, 1, 1, "NHWC", "dgrad")
    assert next(name for name, reason in listed if not reason) == "winograd_phases"


@layouts
@pytest.mark.parametrize(
    ("x", "k", "kernel", "stride", "padding"),
    [
        ((4, 3, 224, 224), 64, 7, 2, 3),
        ((4, 3, 224, 224), 64, 11, 4, 2),
        ((4, 64, 27, 27), 192, 5, 1, 2),
        ((4, 32, 14, 14), 128, 5, 1, 2),
    ],
)
def test_chosen_where_it_wins_but_not_in_highest_precision(
    x: Any, k: int, kernel: int, stride: int, padding: int, layout: str
) -> None:
    shape = x if layout == "NCHW" else (x[0], x[2], x[3], x[1])

    def chosen(direction: str) -> str:
        listed = _core.conv2d_candidates(
            shape, (k, x[1], kernel, kernel), stride, padding, 1, 1, layout, direction
        )
        return next(name for name, reason in listed if not reason)

    before = fc.get_precision()
    try:
        for direction in directions((stride, stride)):
            fc.set_precision("high")
            assert chosen(direction) == variant((stride, stride))
            fc.set_precision("highest")
            assert not chosen(direction).startswith("winograd")
    finally:
        fc.set_precision(before)
