"""Convolution of bfloat16 arrays: float32 sums of exact products, one rounding at the end, on every tier."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import fastconv as fc
import fastconv.functional as F
from fastconv import _core
from tests.cases.conv2d import CASES, Conv2dCase
from tests.support import check_same_bits_for_threads, randn, rng

ml_dtypes = pytest.importorskip("ml_dtypes")
bf16 = ml_dtypes.bfloat16

LAYOUTS = ("NCHW", "NHWC")
DIRECTIONS = ("fprop", "dgrad", "wgrad")
C = Conv2dCase
# What the tiles are cut by: 16 and 32 channels, 13 to 16 pixels, runs of taps, phases of a stride, panels that
# outgrow a cache.
TILES = [
    C("tile_exact", (1, 32, 16, 16), 32, (3, 3), padding=1),
    C("tile_tails", (2, 33, 15, 17), 31, (3, 3), padding=1),
    C("tile_one_column", (1, 70, 9, 7), 17, (3, 3), padding=1),
    C("odd_channels", (1, 67, 5, 29), 49, (3, 2), padding=(1, 0)),
    C("1x1_in_place", (3, 64, 7, 7), 96, (1, 1)),
    C("1x1_in_place_two_bands", (1, 512, 40, 30), 40, (1, 1)),
    C("1x1_few_pixels", (5, 32, 2, 3), 32, (1, 1)),
    C("1x1_tail", (2, 40, 6, 6), 72, (1, 1)),
    C("1x1_strided", (2, 64, 14, 14), 64, (1, 1), stride=2),
    C("3x3_strided", (2, 64, 14, 13), 33, (3, 3), stride=2, padding=1),
    C("3x3_strided_3", (1, 32, 17, 20), 16, (3, 3), stride=(3, 2), padding=(2, 1)),
    C("7x7_maps", (3, 64, 7, 7), 64, (3, 3), padding=1),
    C("28_maps", (1, 32, 28, 28), 32, (3, 3), padding=1),
    C("stem", (2, 3, 33, 30), 64, (7, 7), stride=2, padding=3),
    C("few_channels", (2, 6, 14, 14), 16, (5, 5)),
    C("few_channels_dilated", (1, 4, 14, 15), 40, (3, 3), padding=2, dilation=2),
    C("few_output_channels", (1, 48, 12, 12), 5, (3, 3), padding=1),
    C("run_beyond_32", (1, 14, 9, 11), 20, (5, 5), padding=2),
    C("groups_of_32", (1, 64, 10, 10), 96, (3, 3), padding=1, groups=2),
    C("groups_of_20", (2, 60, 9, 9), 51, (3, 3), padding=1, groups=3),
    C("long_reduction", (1, 512, 6, 6), 64, (3, 3), padding=1),
    C("many_images", (40, 32, 5, 5), 32, (3, 3), padding=1),
    C("dilated", (1, 40, 15, 15), 40, (3, 3), padding=4, dilation=(4, 2)),
    C("kernel_below_stride", (2, 34, 11, 11), 18, (2, 2), stride=3, bias=True),
    C("many_bands", (1, 128, 60, 40), 32, (3, 3), padding=1),
    C("patches_odd_columns", (3, 3, 11, 13), 70, (3, 3), padding=1),
    C("patches_wide_stride", (1, 5, 12, 23), 33, (3, 2), stride=(2, 4), padding=(1, 0)),
    C("patches_of_blocks", (1, 7, 9, 10), 17, (7, 7), padding=3),
    C("patches_many_lines", (2, 2, 40, 300), 48, (3, 3), padding=1),
    C("patches_huge_stride", (1, 3, 8, 8), 16, (3, 3), stride=(1, 1 << 20), padding=1),
    C("patches_stride_beyond_row", (2, 4, 5, 60), 16, (3, 3), stride=(1, 13), padding=1),
    C("patches_of_small_maps", (64, 16, 4, 4), 16, (7, 7), padding=3),
    C("dgrad_16_taps", (2, 35, 9, 11), 50, (4, 4), stride=2, padding=1),
    C("dgrad_18_taps", (1, 36, 9, 11), 34, (3, 6), stride=2, padding=1),
    C("dgrad_some_taps", (1, 33, 10, 9), 47, (3, 3), stride=(1, 2), padding=(1, 0)),
    C("1x1_odd", (1, 45, 5, 9), 77, (1, 1)),
    C("1x1_rows_4_kb_apart", (1, 2048, 4, 5), 34, (1, 1)),
]
ALL = CASES + TILES
all_cases = pytest.mark.parametrize("case", ALL, ids=str)
tile_cases = pytest.mark.parametrize("case", TILES, ids=str)


def to_layout(a: Any, layout: str) -> Any:
    return a if layout == "NCHW" else np.ascontiguousarray(a.transpose(0, 2, 3, 1))


def from_layout(a: Any, layout: str) -> Any:
    return a if layout == "NCHW" else a.transpose(0, 3, 1, 2)


def wide(a: Any) -> Any:
    return None if a is None else a.astype(np.float64)


def arrays(case: Conv2dCase) -> tuple[Any, Any, Any, Any]:
    """x, weight, bias, grad_output in NCHW."""
    g = rng(case.name, "bf16")
    x, w = randn(g, *case.x).astype(bf16), randn(g, *case.weight).astype(bf16)
    b = randn(g, case.k).astype(bf16) if case.bias else None
    shape = F.conv2d(wide(x), wide(w), None, *case.geometry).shape
    return x, w, b, randn(g, *shape).astype(bf16)


def expected(direction: str, x: Any, w: Any, b: Any, g: Any, geometry: Any) -> tuple[Any, Any]:
    """The float64 result on the bfloat16 operands, and the sum of the magnitudes of its terms."""
    x, w, b, g = wide(x), wide(w), wide(b), wide(g)

    def run(x: Any, w: Any, b: Any, g: Any) -> Any:
        if direction == "fprop":
            return F.conv2d(x, w, b, *geometry)
        if direction == "dgrad":
            return F.conv2d_input(x.shape, w, g, *geometry)
        return F.conv2d_weight(x, w.shape, g, *geometry)

    magnitude = [None if a is None else np.abs(a) for a in (x, w, b, g)]
    return run(x, w, b, g), run(*magnitude)


def assert_rounded(got: Any, want: tuple[Any, Any], what: str = "") -> None:
    """Off by half a unit in the last place of bfloat16 (2^-8 of the value), and float32's error of the sum."""
    value, magnitude = want
    assert got.dtype == bf16 and got.shape == value.shape, what
    error = np.abs(got.astype(np.float64) - value)
    allowed = np.abs(value) * 2.0**-8 + magnitude * 2e-6 + 1e-37
    worst = float((error / allowed).max()) if error.size else 0.0
    assert worst <= 1, f"{what}: {worst:.3g} times the allowed error"


def run_candidate(name: str, direction: str, x: Any, w: Any, b: Any, g: Any, geometry: Any) -> Any:
    if direction == "fprop":
        return _core.conv2d(x, w, b, *geometry, algorithm=name)
    if direction == "dgrad":
        return _core.conv2d_input(x.shape, w, g, *geometry, algorithm=name)
    return _core.conv2d_weight(x, w.shape, g, *geometry, algorithm=name)


@pytest.mark.parametrize("direction", DIRECTIONS)
@all_cases
def test_every_candidate(case: Conv2dCase, direction: str) -> None:
    x, w, b, g = arrays(case)
    want = expected(direction, x, w, b, g, case.geometry)
    for layout in LAYOUTS:
        xl, gl = to_layout(x, layout), to_layout(g, layout)
        geometry = (*case.geometry, layout)
        ran = []
        for name, declined in _core.conv2d_candidates(
            xl.shape, w.shape, *geometry, direction, "bfloat16"
        ):
            # Winograd's error is of a tile, not of a sum's terms: test_conv2d_winograd_bf16.py.
            if declined or name == "reference" or name.startswith("winograd"):
                continue
            ran.append(name)
            got = run_candidate(name, direction, xl, w, b, gl, geometry)
            if direction != "wgrad":
                got = from_layout(got, layout)
            assert_rounded(got, want, f"{direction} {name} {layout}")
        assert "widened" in ran


@pytest.fixture
def direct() -> Iterator[None]:
    """Precision "highest": Winograd's transforms divide by 3 and 15, and spread what is not finite over a tile."""
    before = fc.get_precision()
    fc.set_precision("highest")
    yield
    fc.set_precision(before)


@pytest.mark.usefixtures("direct")
@pytest.mark.parametrize("direction", DIRECTIONS)
@tile_cases
def test_small_integers_are_exact(case: Conv2dCase, direction: str) -> None:
    """Terms that float32 sums exactly, with results that bfloat16 holds: any error is a wrong term."""
    g = rng(case.name, "integers", direction)
    x = g.integers(0, 2, case.x).astype(np.float32)
    w = g.integers(-1, 2, case.weight).astype(np.float32)
    dy = g.integers(-1, 2, F.conv2d(x, w, None, *case.geometry).shape).astype(np.float32)
    want, _ = expected(direction, x, w, None, dy, case.geometry)
    narrow = [a.astype(bf16) for a in (x, w, dy)]
    for name, declined in _core.conv2d_candidates(
        x.shape, w.shape, *case.geometry, "NCHW", direction, "bfloat16"
    ):
        if not declined and name != "reference" and not name.startswith("winograd"):
            got = run_candidate(
                name, direction, narrow[0], narrow[1], None, narrow[2], (*case.geometry, "NCHW")
            )
            np.testing.assert_array_equal(got, want.astype(bf16), f"{direction} {name}")


@all_cases
def test_same_bits_for_threads(case: Conv2dCase) -> None:
    x, w, b, g = arrays(case)

    def everything() -> list[Any]:
        results = []
        for layout in LAYOUTS:
            xl, gl = to_layout(x, layout), to_layout(g, layout)
            results += [
                F.conv2d(xl, w, b, *case.geometry, layout=layout),
                F.conv2d_input(xl.shape, w, gl, *case.geometry, layout=layout),
                F.conv2d_weight(xl, w.shape, gl, *case.geometry, layout=layout),
            ]
        return [r.view(np.uint16) for r in results]

    check_same_bits_for_threads(everything)


def test_split_wgrad() -> None:
    """Enough pixels that the reduction over images is split."""
    g = rng("split")
    x, dy = randn(g, 2, 130, 150, 32).astype(bf16), randn(g, 2, 130, 150, 34).astype(bf16)
    w_shape = (34, 32, 3, 3)
    nchw = [a.transpose(0, 3, 1, 2) for a in (x, dy)]
    want = expected("wgrad", nchw[0], np.zeros(w_shape), None, nchw[1], (1, 1, 1, 1))
    assert_rounded(
        F.conv2d_weight(x, w_shape, dy, 1, 1, layout="NHWC"), (want[0], np.abs(want[1]) + 4e4)
    )

    def run() -> Any:
        return F.conv2d_weight(x, w_shape, dy, 1, 1, layout="NHWC").view(np.uint16)

    check_same_bits_for_threads(run)


@st.composite
def geometries(draw: Any) -> dict[str, Any]:
    groups = draw(st.sampled_from([1, 1, 1, 2]))
    low = 16 if groups > 1 else 1
    return {
        "n": draw(st.integers(1, 3)),
        "c": groups * draw(st.integers(low, 70)),
        "k": groups * draw(st.integers(low, 70)),
        "h": draw(st.integers(1, 40)),
        "w": draw(st.integers(1, 40)),
        "kernel": (draw(st.integers(1, 5)), draw(st.integers(1, 5))),
        "stride": (draw(st.integers(1, 4)), draw(st.integers(1, 4))),
        "padding": (draw(st.integers(0, 4)), draw(st.integers(0, 4))),
        "dilation": (draw(st.integers(1, 3)), draw(st.integers(1, 3))),
        "groups": groups,
        "layout": draw(st.sampled_from(LAYOUTS)),
    }


@settings(max_examples=80, deadline=None, derandomize=True)
@given(d=geometries())
def test_random_geometry(d: dict[str, Any]) -> None:
    g = rng("bf16 geometry", sorted(d.items()))
    x_shape = (d["n"], d["c"], d["h"], d["w"])
    w_shape = (d["k"], d["c"] // d["groups"], *d["kernel"])
    geometry = (d["stride"], d["padding"], d["dilation"], d["groups"])
    x, w = randn(g, *x_shape).astype(bf16), randn(g, *w_shape).astype(bf16)
    try:
        y = F.conv2d(wide(x), wide(w), None, *geometry)
    except fc.ShapeError:
        with pytest.raises(fc.ShapeError):
            F.conv2d(to_layout(x, d["layout"]), w, None, *geometry, layout=d["layout"])
        return
    dy = randn(g, *y.shape).astype(bf16)
    xl, gl = to_layout(x, d["layout"]), to_layout(dy, d["layout"])
    options = {"layout": d["layout"]}
    got = {
        "fprop": from_layout(F.conv2d(xl, w, None, *geometry, **options), d["layout"]),
        "dgrad": from_layout(F.conv2d_input(xl.shape, w, gl, *geometry, **options), d["layout"]),
        "wgrad": F.conv2d_weight(xl, w.shape, gl, *geometry, **options),
    }
    for direction, result in got.items():
        assert_rounded(result, expected(direction, x, w, None, dy, geometry), direction)


@pytest.mark.usefixtures("direct")
@pytest.mark.parametrize("special", [np.nan, np.inf, -np.inf])
def test_special_values_stay_where_they_belong(special: float) -> None:
    """One special pixel and channel: exactly the outputs that it reaches are special."""
    g = rng("special")
    for c, k, kernel in ((40, 33, 3), (64, 32, 1), (3, 20, 5)):
        x = randn(g, 2, c, 13, 17).astype(bf16)
        w = randn(g, k, c, kernel, kernel).astype(bf16)
        x[1, c // 2, 5, 6] = special
        pad = kernel // 2
        for layout in LAYOUTS:
            y = from_layout(F.conv2d(to_layout(x, layout), w, None, 1, pad, layout=layout), layout)
            reached = np.zeros(y.shape, bool)
            reached[1, :, 5 - pad : 6 + pad, 6 - pad : 7 + pad] = True
            np.testing.assert_array_equal(~np.isfinite(y.astype(np.float32)), reached)
            gradient = F.conv2d_weight(
                to_layout(x, layout),
                w.shape,
                to_layout(np.ones_like(y), layout),
                1,
                pad,
                layout=layout,
            )
            special_weights = np.zeros(w.shape, bool)
            special_weights[:, c // 2] = True
            np.testing.assert_array_equal(
                ~np.isfinite(gradient.astype(np.float32)), special_weights
            )


def test_epilogue_and_transposed() -> None:
    g = rng("transposed")
    x, w = randn(g, 2, 40, 6, 7).astype(bf16), randn(g, 40, 36, 3, 3).astype(bf16)
    b = randn(g, 36).astype(bf16)
    want = F.conv_transpose2d(wide(x), wide(w), wide(b), 2, 1, 1)
    magnitude = F.conv_transpose2d(*(np.abs(wide(a)) for a in (x, w, b)), 2, 1, 1)
    for layout in LAYOUTS:
        y = F.conv_transpose2d(to_layout(x, layout), w, b, 2, 1, 1, layout=layout)
        assert_rounded(from_layout(y, layout), (want, magnitude), layout)


def test_foreign_alignment() -> None:
    """Arrays that start anywhere, where tiles read in place."""
    g = rng("alignment")
    memory = np.zeros(2 * 64 * 64 + 1, bf16)
    x = memory[1:].reshape(2, 8, 8, 64)
    x[...] = randn(g, 2, 8, 8, 64).astype(bf16)
    w = randn(g, 48, 64, 1, 1).astype(bf16)
    want = expected("fprop", x.transpose(0, 3, 1, 2), w, None, np.zeros(1), (1, 0, 1, 1))
    assert_rounded(F.conv2d(x, w, layout="NHWC").transpose(0, 3, 1, 2), want)


def test_empty_batch() -> None:
    x, w = np.zeros((0, 8, 8, 32), bf16), np.ones((16, 32, 3, 3), bf16)
    assert F.conv2d(x, w, layout="NHWC").shape == (0, 6, 6, 16)
    dy = np.zeros((0, 6, 6, 16), bf16)
    assert not F.conv2d_weight(x, w.shape, dy, layout="NHWC").astype(np.float32).any()


@pytest.mark.parametrize("direction", ("fprop", "wgrad"))
def test_infinity_stays_in_reach(direction: str) -> None:
    """Rows of few channels are read in pairs of elements, of which the last may be another pixel's."""
    x, w = np.ones((1, 9, 9, 3), bf16), np.ones((20, 3, 3, 3), bf16)
    x[0, 4, 8] = np.inf
    if direction == "fprop":
        got = F.conv2d(x, w, padding=1, layout="NHWC").astype(np.float32)
        far = np.ones((9, 9), bool)
        far[3:6, 7:] = False
        assert (got[0, far] <= 27).all() and np.isposinf(got[0, ~far]).all()
        return
    # Columns 0 to 7 are read: only tap 2 meets the infinity.
    dy = np.zeros((1, 9, 7, 20), bf16)
    dy[0, :, :6] = 1
    got = F.conv2d_weight(x[:, :, :9], w.shape, dy, padding=(1, 0), layout="NHWC").astype(
        np.float32
    )
    assert np.isfinite(got[..., :2]).all()


# (N, C, H, W), K, kernel, stride, padding, dilation, groups
REACH = [
    ((1, 20, 7, 9), 18, 3, 1, 1, 1, 1),
    ((2, 33, 6, 5), 20, 3, 1, 0, 1, 1),
    ((1, 40, 9, 8), 34, 3, 2, 1, 1, 1),
    ((1, 32, 11, 10), 32, 3, 1, 2, 2, 1),
    ((1, 36, 8, 9), 20, 5, 1, 2, 1, 2),
    ((1, 24, 8, 7), 16, 2, 2, 0, 1, 1),
    ((1, 128, 30, 41), 17, 3, 1, 1, 1, 1),
    ((1, 3, 9, 10), 20, 3, 1, 1, 1, 1),
    ((1, 8, 9, 10), 20, 5, 2, 2, 1, 1),
    ((1, 40, 7, 7), 20, 1, 1, 0, 1, 1),
]


@pytest.mark.usefixtures("direct")
@pytest.mark.parametrize("special", [np.inf, np.nan])
@pytest.mark.parametrize("case", REACH, ids=str)
def test_wgrad_of_what_a_tap_does_not_reach(case: Any, special: float) -> None:
    """A special pixel anywhere, at the edges above all, is in those taps that meet it, and in no others."""
    shape, k, kernel, *geometry = case
    g = rng("reach", case)
    weight = (k, shape[1] // geometry[3], kernel, kernel)
    x = randn(g, *shape)
    y = F.conv2d(x, np.zeros(weight, np.float32), None, *geometry)
    dy = np.abs(randn(g, *y.shape)) + 0.5
    rows, columns = shape[2:]
    places = [
        (0, 0),
        (0, columns - 1),
        (rows - 1, 0),
        (rows - 1, columns - 1),
        (rows // 2, columns - 1),
    ]
    places += [(rows - 1, columns // 2), (rows // 2, 0), (0, columns // 2), (rows - 2, columns - 2)]
    names = ("direct_bf16", "widened")
    for row, column in places:
        poisoned = x.astype(bf16)
        poisoned[-1, 7 % shape[1], row, column] = special
        narrow = dy.astype(bf16)
        want = _core.conv2d_weight(
            wide(poisoned), weight, wide(narrow), *geometry, "NCHW", algorithm="reference"
        )
        listed = _core.conv2d_candidates(shape, weight, *geometry, "NCHW", "wgrad", "bfloat16")
        for name in [n for n, declined in listed if n in names and not declined]:
            got = _core.conv2d_weight(
                poisoned, weight, narrow, *geometry, "NCHW", algorithm=name
            ).astype(np.float64)
            what = f"{name} {row} {column}"
            np.testing.assert_array_equal(np.isnan(got), np.isnan(want), what)
            np.testing.assert_array_equal(np.isinf(got), np.isinf(want), what)
            finite = np.isfinite(want)
            np.testing.assert_allclose(got[finite], want[finite], rtol=2.0**-8, atol=1e-3)


FORCED = """
import hashlib, sys
import numpy as np, ml_dtypes
import fastconv.functional as F
from fastconv import _core
import fastconv
fastconv.set_precision("highest")
g = np.random.default_rng(5)
bf = ml_dtypes.bfloat16
def ints(*shape): return g.integers(-1, 2, shape).astype(bf)
out = []
for c, k, r, stride in ((64, 48, 3, 1), (40, 70, 3, 2), (96, 33, 1, 1), (3, 32, 7, 2)):
    x, w = ints(2, 15, 14, c), ints(k, c, r, r)
    y = F.conv2d(x, w, None, stride, r // 2, layout="NHWC")
    dy = ints(*y.shape)
    out += [y, F.conv2d_input(x.shape, w, dy, stride, r // 2, layout="NHWC"),
            F.conv2d_weight(x, w.shape, dy, stride, r // 2, layout="NHWC")]
shape = ((2, 15, 14, 64), (48, 64, 3, 3), 1, 1, 1, 1, "NHWC", "fprop", "bfloat16")
names = [n for n, declined in _core.conv2d_candidates(*shape) if not declined]
print(names[0], hashlib.sha256(b"".join(a.tobytes() for a in out)).hexdigest())
"""


def run_forced(**environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", FORCED],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=120,
    )


def test_forced_tiers_agree() -> None:
    """Sums of small integers are exact, so every tier must give the same bits."""
    reference = run_forced(FASTCONV_BF16="emulated")
    assert reference.returncode == 0, reference.stderr
    assert reference.stdout.startswith("widened ")
    for tier in ("avx512_bf16", "amx"):
        forced = run_forced(FASTCONV_BF16=tier)
        if forced.returncode != 0:
            assert "DeviceError" in forced.stderr and tier in forced.stderr
            continue
        assert forced.stdout.startswith("direct_bf16 ")
        assert forced.stdout.split()[1] == reference.stdout.split()[1], tier


def test_dots_leave_winograd_its_layers() -> None:
    """Where it wins however fast vdpbf16ps is; where it needs half the products only, that depends."""
    listed = """
from fastconv import _core
for side, channels in ((112, 128), (3, 512)):
    shape = ((1, side, side, channels), (channels, channels, 3, 3), 1, 1, 1, 1, "NHWC", "fprop", "bfloat16")
    print([n for n, declined in _core.conv2d_candidates(*shape) if not declined][0])
"""
    forced = subprocess.run(
        [sys.executable, "-c", listed],
        env={**os.environ, "FASTCONV_BF16": "avx512_bf16"},
        capture_output=True,
        text=True,
        timeout=120,
    )
    if forced.returncode != 0:
        assert "DeviceError" in forced.stderr
        return
    first, second = forced.stdout.split()
    assert first.startswith("winograd") and second == "direct_bf16"


def test_unknown_tier() -> None:
    forced = run_forced(FASTCONV_BF16="fast")
    assert forced.returncode != 0 and "FASTCONV_BF16 must be" in forced.stderr


@pytest.mark.parametrize("activation", [None, "relu", "gelu"])
@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize(
    "shape",
    [
        (2, 64, 9, 7, 256, 1, 1, 1),
        (1, 20, 1, 3, 70, 1, 1, 1),
        (3, 17, 6, 6, 19, 1, 1, 1),
        (1, 32, 5, 5, 40, 3, 1, 1),
        (2, 48, 8, 11, 33, 3, 2, 1),
        (1, 64, 7, 7, 96, 3, 1, 2),
        (2, 3, 12, 12, 32, 3, 2, 1),
    ],
    ids=str,
)
def test_residual_and_activation(
    shape: tuple[int, ...], layout: str, activation: str | None
) -> None:
    """Added and applied before the one rounding where the kernels do it, after it elsewhere."""
    n, c, h, w, k, r, stride, groups = shape
    generator = rng("residual", shape)
    x = randn(generator, n, c, h, w) if layout == "NCHW" else randn(generator, n, h, w, c)
    x, weight, bias = (
        x.astype(bf16),
        randn(generator, k, c // groups, r, r).astype(bf16),
        randn(generator, k).astype(bf16),
    )
    geometry: dict[str, Any] = {"stride": stride, "padding": r // 2, "groups": groups}
    geometry["layout"] = layout
    narrow = F.Conv2dPlan(x.shape, weight.shape, **geometry, dtype="bfloat16")
    wide = F.Conv2dPlan(x.shape, weight.shape, **geometry)
    arrays = [a.astype(np.float32) for a in (x, weight, bias)]
    plain = wide.run(*arrays)
    residual = randn(generator, *plain.shape).astype(bf16)
    more = {"residual": residual.astype(np.float32), "activation": activation}
    expected = wide.run(*arrays, **more)
    for name, declined in narrow.algorithms():
        if declined or name not in ("direct_bf16", "widened"):
            continue
        plan = F.Conv2dPlan(x.shape, weight.shape, **geometry, dtype="bfloat16", algorithm=name)
        got = plan.run(x, plan.pack(weight), bias, residual=residual, activation=activation)
        fused = name == "widened" or (activation != "gelu" and layout == "NHWC")
        magnitude = np.abs(expected) if fused else np.abs(plain) + np.abs(expected) + 1
        error = np.abs(got.astype(np.float32) - expected)
        assert (error <= (1 if fused else 2) * 2.0**-8 * magnitude + 1e-4).all(), name
