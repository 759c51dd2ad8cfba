"""Winograd convolution, forced by name: geometry, error, layouts, threads, NaN; and the choice."""

from __future__ import annotations

import threading
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import fastconv as fc
import fastconv.functional as F
from fastconv import _core
from tests.support import check_same_bits_for_threads, randn, rng

LAYOUTS = ("NCHW", "NHWC")
DIRECTIONS = ("fprop", "dgrad", "wgrad")
TILES = {"winograd": 4, "winograd6": 6}
# By direction: wgrad has 4x4 tiles only.
ALGORITHMS = [(d, a) for d in DIRECTIONS for a in TILES if d != "wgrad" or a == "winograd"]
algorithms = pytest.mark.parametrize("algorithm", TILES)
pairs = pytest.mark.parametrize(("direction", "algorithm"), ALGORITHMS)
BOUND = 5e-6  # what precision "high" promises, as relative RMS error

# (N, C, H, W), K, padding, groups
CASES = [
    ((1, 1, 1, 1), 1, (1, 1), 1),
    ((1, 16, 3, 3), 16, (0, 0), 1),
    ((2, 16, 4, 4), 16, (1, 1), 1),
    ((1, 5, 7, 7), 3, (1, 1), 1),
    ((4, 33, 7, 7), 65, (1, 1), 1),
    ((3, 17, 14, 14), 100, (1, 1), 1),
    ((2, 64, 13, 18), 48, (1, 1), 1),
    ((1, 20, 5, 30), 24, (2, 0), 1),
    ((1, 8, 30, 6), 130, (0, 2), 1),
    ((2, 12, 9, 10), 20, (5, 4), 1),
    ((2, 24, 11, 10), 48, (1, 1), 3),
    ((2, 6, 8, 9), 6, (1, 1), 6),
    ((9, 16, 10, 10), 32, (1, 1), 1),
    ((1, 130, 16, 16), 64, (1, 1), 1),
    ((1, 256, 8, 8), 128, (1, 1), 1),
    ((2, 32, 2, 40), 16, (1, 1), 1),
    ((1, 16, 12, 24), 70, (1, 1), 1),
    ((3, 19, 10, 11), 34, (1, 1), 1),
    ((1, 48, 21, 15), 16, (1, 1), 1),
]
cases = pytest.mark.parametrize(
    ("x", "k", "padding", "groups"),
    CASES,
    ids=lambda v: "x".join(map(str, v)) if isinstance(v, tuple) else str(v),
)


def to_layout(a: Any, layout: str) -> Any:
    return a if layout == "NCHW" else np.ascontiguousarray(a.transpose(0, 2, 3, 1))


def from_layout(a: Any, layout: str) -> Any:
    return a if layout == "NCHW" else a.transpose(0, 3, 1, 2)


def arrays(x: Any, k: int, padding: Any, groups: int) -> tuple[Any, Any, Any, Any]:
    g = rng("winograd", x, k, padding, groups)
    y = (x[0], k, x[2] + 2 * padding[0] - 2, x[3] + 2 * padding[1] - 2)
    return randn(g, *x), randn(g, k, x[1] // groups, 3, 3), randn(g, k), randn(g, *y)


def convolve(
    direction: str, x: Any, w: Any, dy: Any, geometry: Any, algorithm: str, bias: Any = None
) -> Any:
    """One direction on arrays in the layout that `geometry` ends with."""
    if direction == "fprop":
        return _core.conv2d(x, w, bias, *geometry, algorithm=algorithm)
    if direction == "dgrad":
        return _core.conv2d_input(x.shape, w, dy, *geometry, algorithm=algorithm)
    return _core.conv2d_weight(x, w.shape, dy, *geometry, algorithm=algorithm)


def relative_rms(got: Any, expected: Any) -> float:
    assert got.shape == expected.shape
    error = float(np.sqrt(np.mean((got.astype(np.float64) - expected) ** 2)))
    return error / max(float(np.sqrt(np.mean(expected**2))), 1e-30)


def check(x: Any, k: int, padding: Any, groups: int, layout: str) -> None:
    """Every direction against float64 on the reference path."""
    xa, w, b, dy = arrays(x, k, padding, groups)
    for direction, algorithm in ALGORITHMS:
        geometry = (1, padding, 1, groups)
        bias = b if direction == "fprop" else None
        wide = [None if a is None else a.astype(np.float64) for a in (xa, w, dy, bias)]
        expected = convolve(direction, *wide[:3], (*geometry, "NCHW"), "reference", wide[3])
        got = convolve(
            direction,
            to_layout(xa, layout),
            w,
            to_layout(dy, layout),
            (*geometry, layout),
            algorithm,
            bias,
        )
        if direction != "wgrad":
            got = from_layout(got, layout)
        error = relative_rms(got, expected)
        assert error <= BOUND, f"{direction} {algorithm} {layout}: {error:.2e}"


@pytest.mark.parametrize("layout", LAYOUTS)
@cases
def test_against_float64(x: Any, k: int, padding: Any, groups: int, layout: str) -> None:
    check(x, k, padding, groups, layout)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_size_of_edge_tiles(layout: str) -> None:
    for rows in range(1, 14):
        for columns in range(1, 14):
            if rows == columns or (rows + 5 * columns) % 3 == 0:
                check((1, 7, rows, columns), 5, (1, 1), 1, layout)


@given(
    n=st.integers(1, 3),
    c=st.integers(1, 40),
    k=st.integers(1, 40),
    size=st.tuples(st.integers(1, 21), st.integers(1, 21)),
    padding=st.tuples(st.integers(0, 4), st.integers(0, 4)),
    groups=st.sampled_from([1, 1, 2]),
    layout=st.sampled_from(LAYOUTS),
)
@settings(deadline=None, max_examples=60, derandomize=True)
def test_any_geometry(
    n: int, c: int, k: int, size: Any, padding: Any, groups: int, layout: str
) -> None:
    if min(size[0] + 2 * padding[0], size[1] + 2 * padding[1]) < 3:
        return
    check((n, c * groups, *size), k * groups, padding, groups, layout)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_asymmetric_padding_of_a_transposed_convolution(layout: str) -> None:
    """padding 3 makes dgrad read from inside dy, and the output larger than the reads."""
    check((1, 16, 6, 7), 16, (3, 3), 1, layout)
    check((1, 16, 3, 9), 16, (6, 0), 1, layout)


@pytest.mark.parametrize("depth", [64, 130, 512])
@pytest.mark.parametrize("size", [12, 14])
@pairs
def test_error_bound_of_many_channels(
    direction: str, algorithm: str, size: int, depth: int
) -> None:
    """Normal data, where all of the sum's terms count; and the all-positive data behind a ReLU."""
    g = rng("bound", direction)
    for positive in (False, True):
        c, k = (64, depth) if direction == "dgrad" else (depth, 64)  # sums run over `depth`
        xa, w = randn(g, 1, c, size, size), randn(g, k, c, 3, 3)
        dy = randn(g, 1, k, size, size)
        if positive:
            xa = np.maximum(xa, 0)
            dy = np.maximum(dy, 0)
        geometry = (1, 1, 1, 1, "NCHW")
        wide = [a.astype(np.float64) for a in (xa, w, dy)]
        expected = convolve(direction, *wide, geometry, "reference")
        got = convolve(direction, xa, w, dy, geometry, algorithm)
        assert relative_rms(got, expected) <= BOUND


@pairs
@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize(
    "shape", [((2, 32, 15, 14), 80), ((1, 160, 14, 14), 256), ((1, 256, 7, 7), 192)]
)
def test_same_bits_for_threads(direction: str, algorithm: str, layout: str, shape: Any) -> None:
    """Whole, cut and stationary plans change with the number of threads; bits do not."""
    x, w, _, dy = arrays(shape[0], shape[1], (1, 1), 1)
    x, dy = to_layout(x, layout), to_layout(dy, layout)
    geometry = (1, 1, 1, 1, layout)
    check_same_bits_for_threads(lambda: convolve(direction, x, w, dy, geometry, algorithm))


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize(
    ("x", "k"),
    [
        ((3, 96, 18, 14), 16),
        ((2, 202, 21, 17), 19),
        ((3, 16, 18, 14), 96),
        ((2, 30, 17, 21), 200),
        ((1, 120, 3, 2), 7),
        ((5, 128, 29, 27), 10),
    ],
    ids=str,
)
def test_wgrad_by_pieces_of_the_channels(x: Any, k: int, layout: str) -> None:
    """Several threads cut the larger operand's channels, where those of the other are few."""
    data, w, _, dy = arrays(x, k, (1, 1), 1)
    wide = [a.astype(np.float64) for a in (data, w, dy)]
    expected = convolve("wgrad", *wide, (1, 1, 1, 1, "NCHW"), "reference")
    data, dy = to_layout(data, layout), to_layout(dy, layout)

    def run() -> Any:
        return convolve("wgrad", data, w, dy, (1, 1, 1, 1, layout), "winograd")

    assert relative_rms(run(), expected) <= BOUND
    check_same_bits_for_threads(run)
    dy[-1, 1, 1, 1] = np.nan
    check_same_bits_for_threads(run)
    wrong = ~np.isfinite(run()).all(axis=(1, 2, 3))
    assert wrong[1] and wrong.sum() == 1  # in either layout output channel 1


NOT_SCALAR = pytest.mark.skipif(_core.isa() == "scalar", reason="scalar kernels have 3x3 alone")


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize(
    ("x", "k", "size", "stride"),
    [
        ((22, 32, 26, 26), 32, 3, 1),
        ((37, 20, 19, 27), 33, 3, 1),
        ((80, 17, 26, 26), 12, 3, 1),
        ((24, 64, 25, 24), 64, 3, 1),
        pytest.param((56, 8, 28, 28), 24, 5, 2, marks=NOT_SCALAR),
    ],
    ids=str,
)
def test_wgrad_by_parts_of_the_tiles(x: Any, k: int, size: int, stride: int, layout: str) -> None:
    """Of few channels and many tiles, parts of the tiles have sums of their own, added in order."""
    g = rng("winograd", "parts", x, k)
    pad = size // 2
    out = [(n + 2 * pad - size) // stride + 1 for n in x[2:]]
    data, dy = randn(g, *x), randn(g, x[0], k, *out)
    shape, geometry = (k, x[1], size, size), (stride, pad, 1, 1)
    wide = [a.astype(np.float64) for a in (data, dy)]
    expected = _core.conv2d_weight(
        wide[0], shape, wide[1], *geometry, "NCHW", algorithm="reference"
    )
    data, dy = to_layout(data, layout), to_layout(dy, layout)
    name = "winograd" if stride == 1 else "winograd_phases"

    def run() -> Any:
        return _core.conv2d_weight(data, shape, dy, *geometry, layout, algorithm=name)

    assert relative_rms(run(), expected) <= BOUND
    check_same_bits_for_threads(run)


@algorithms
@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize(
    ("x", "k", "groups"),
    [
        ((1, 128, 16, 24), 192, 1),
        ((1, 256, 14, 14), 70, 1),
        ((2, 96, 5, 9), 330, 1),
        ((1, 256, 9, 7), 300, 2),
    ],
    ids=str,
)
def test_packed_weights_give_the_same_bits_for_threads(
    x: Any, k: int, groups: int, layout: str, algorithm: str
) -> None:
    """Few tiles and weights packed before: each thread takes some of the output channels."""
    data, w, b, residual = arrays(x, k, (1, 1), groups)
    data, residual = to_layout(data, layout), to_layout(residual, layout)
    geometry: dict[str, Any] = {"padding": 1, "groups": groups, "layout": layout}

    def run() -> Any:
        plan = F.Conv2dPlan(data.shape, w.shape, **geometry, algorithm=algorithm)
        return plan.run(data, plan.pack(w), b, residual=residual, activation="relu")

    check_same_bits_for_threads(run)
    alone = convolve("fprop", data, w, None, (1, 1, 1, groups, layout), algorithm, b)
    np.testing.assert_array_equal(run(), np.maximum(alone + residual, 0))


@algorithms
def test_same_bits_alone_and_in_a_batch(algorithm: str) -> None:
    """A batch is cut into other blocks of tiles than an image alone, with other edges beside it."""
    x, w, _, _ = arrays((5, 48, 14, 10), 70, (1, 1), 1)
    geometry = (1, 1, 1, 1, "NCHW")
    together = _core.conv2d(x, w, None, *geometry, algorithm=algorithm)
    for i in range(5):
        alone = _core.conv2d(x[i : i + 1].copy(), w, None, *geometry, algorithm=algorithm)
        np.testing.assert_array_equal(alone[0], together[i])


@algorithms
@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_non_finite_input_stays_in_the_tiles_that_read_it(
    algorithm: str, layout: str, value: float
) -> None:
    x, w, b, _ = arrays((2, 20, 17, 14), 18, (1, 1), 1)
    geometry = (1, 1, 1, 1, layout)
    clean = from_layout(
        _core.conv2d(to_layout(x, layout), w, b, *geometry, algorithm=algorithm), layout
    )
    for row, column in ((0, 0), (5, 6), (16, 13)):
        dirty = x.copy()
        dirty[1, 3, row, column] = value
        y = from_layout(
            _core.conv2d(to_layout(dirty, layout), w, b, *geometry, algorithm=algorithm), layout
        )
        direct = from_layout(
            _core.conv2d(to_layout(dirty, layout), w, b, *geometry, algorithm="reference"), layout
        )
        bad = ~np.isfinite(direct)
        assert bad.any() and not np.isfinite(y[bad]).any()  # nothing is lost
        touched = np.zeros(y.shape, bool)
        m = TILES[algorithm]
        for ty in range(0, 17, m):  # its tiles read rows ty - 1 .. ty + m
            for tx in range(0, 14, m):
                if ty - 1 <= row <= ty + m and tx - 1 <= column <= tx + m:
                    touched[1, :, ty : ty + m, tx : tx + m] = True
        np.testing.assert_array_equal(y[~touched], clean[~touched])


@pytest.mark.parametrize("layout", LAYOUTS)
def test_finite_data_never_makes_nan(layout: str) -> None:
    """Rows of scratch that no tile owns and the padding must not reach the result."""
    poison = np.full(1 << 20, np.nan, np.float32)
    for c, k, h, w in ((3, 5, 5, 7), (17, 33, 9, 6), (16, 64, 13, 14), (130, 130, 7, 5)):
        x, weight, _, dy = arrays((2, c, h, w), k, (1, 1), 1)
        big = np.float32(1e30)
        for direction, algorithm in ALGORITHMS:
            F.relu(poison)  # leaves NaN in the pool's blocks
            got = convolve(
                direction,
                to_layout(x * big, layout),
                weight,
                to_layout(dy, layout) * (big if direction == "dgrad" else 1),
                (1, 1, 1, 1, layout),
                algorithm,
            )
            assert np.isfinite(got).all()


@algorithms
@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"stride": 2}, "stride is not 1"),
        ({"dilation": 2}, "dilation is not 1"),
        ({"kernel": 6}, "kernel is not "),
        ({"dtype": np.float64}, "is float64"),
    ],
)
def test_declines(algorithm: str, change: dict[str, Any], reason: str) -> None:
    dtype, kernel = change.get("dtype", np.float32), change.get("kernel", 3)
    x, w = np.zeros((1, 16, 12, 12), dtype), np.zeros((16, 16, kernel, kernel), dtype)
    geometry = (change.get("stride", 1), 1, change.get("dilation", 1), 1, "NCHW")
    with pytest.raises(fc.ShapeError, match=reason):
        _core.conv2d(x, w, None, *geometry, algorithm=algorithm)


@algorithms
def test_empty_batch(algorithm: str) -> None:
    x, w = np.zeros((0, 16, 12, 12), np.float32), np.ones((16, 16, 3, 3), np.float32)
    geometry = (1, 1, 1, 1, "NCHW")
    assert _core.conv2d(x, w, None, *geometry, algorithm=algorithm).shape == (0, 16, 12, 12)
    dw = _core.conv2d_weight(x, w.shape, x, *geometry, algorithm="winograd")
    np.testing.assert_array_equal(dw, np.zeros_like(w))


# ---- the choice and the switch


@pytest.fixture(autouse=True)
def _precision() -> Any:
    before = fc.get_precision()
    yield
    fc.set_precision(before)


def chosen(direction: str, x: Any, k: int, layout: str = "NHWC") -> str:
    shape = x if layout == "NCHW" else (x[0], x[2], x[3], x[1])
    listed = _core.conv2d_candidates(shape, (k, x[1], 3, 3), 1, 1, 1, 1, layout, direction)
    return next(name for name, reason in listed if not reason)


@pytest.mark.parametrize("direction", DIRECTIONS)
@pytest.mark.parametrize("layout", LAYOUTS)
def test_chosen_for_large_layers_only(direction: str, layout: str) -> None:
    assert chosen(direction, (4, 64, 56, 56), 64, layout) in TILES
    assert chosen(direction, (8, 256, 28, 28), 256, layout) in TILES
    assert chosen(direction, (1, 256, 2, 2), 256, layout) not in TILES


@pytest.mark.parametrize("direction", ["fprop", "dgrad"])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_tile_size_follows_from_the_image(direction: str, layout: str) -> None:
    """Seven pixels are 4 + 3 with 11 products or 6 + 1 with 11; larger tiles pay where they are whole."""
    assert chosen(direction, (1, 64, 96, 96), 64, layout) == "winograd6"
    assert chosen(direction, (64, 64, 7, 7), 64, layout) == "winograd"
    assert chosen(direction, (64, 64, 8, 8), 64, layout) == "winograd"


@pytest.mark.parametrize("direction", DIRECTIONS)
def test_highest_precision_is_direct(direction: str) -> None:
    x, w, _, dy = arrays((2, 64, 28, 28), 64, (1, 1), 1)
    geometry = (1, 1, 1, 1, "NCHW")
    results, names = {}, {}
    for precision in ("high", "highest", "medium"):
        fc.set_precision(precision)
        assert fc.get_precision() == precision
        name = chosen(direction, x.shape, 64)
        assert (name in TILES) == (precision != "highest")
        names[precision] = name
        results[precision] = convolve(direction, x, w, dy, geometry, "")
    fc.set_precision("highest")
    winograd = convolve(direction, x, w, dy, geometry, names["high"])  # by name it still runs
    direct = convolve(direction, x, w, dy, geometry, "implicit_gemm")
    np.testing.assert_array_equal(results["high"], winograd)
    np.testing.assert_array_equal(results["highest"], direct)
    assert not np.array_equal(winograd, direct)


@pytest.mark.parametrize("value", ["low", "", "HIGH", "high "])
def test_unknown_precision(value: str) -> None:
    with pytest.raises(fc.ShapeError, match="'highest', 'high' or 'medium'"):
        fc.set_precision(value)
    assert fc.get_precision() == "high"


@pytest.mark.parametrize("value", [None, 1, b"high", ["high"]])
def test_precision_is_a_string(value: Any) -> None:
    with pytest.raises(fc.DTypeError, match="precision"):
        fc.set_precision(value)


def test_precision_from_many_threads() -> None:
    names = ("highest", "high", "medium")
    seen: list[str] = []

    def work(i: int) -> None:
        for j in range(200):
            fc.set_precision(names[(i + j) % 3])
            seen.append(fc.get_precision())

    threads = [threading.Thread(target=work, args=(i,)) for i in range(4)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert len(seen) == 800 and set(seen) <= set(names)
