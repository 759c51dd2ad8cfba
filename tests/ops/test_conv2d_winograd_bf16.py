"""Winograd convolution of bfloat16 arrays: the bits of float32's on the widened numbers, rounded once."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import fastconv as fc
import fastconv.functional as F
from fastconv import _core
from tests.ops import test_conv2d_winograd as three
from tests.ops import test_conv2d_winograd_filters as others
from tests.ops.test_conv2d_winograd import LAYOUTS, convolve, to_layout
from tests.support import check_same_bits_for_threads, randn, rng

ml_dtypes = pytest.importorskip("ml_dtypes")
bf16 = ml_dtypes.bfloat16
pytestmark = pytest.mark.skipif(_core.isa() == "scalar", reason="scalar kernels leave it out")

# (N, C, H, W), K, kernel, stride, padding, groups: those of float32's tests, and whole tiles that are read
# and written where they lie, vectors of channels and what is left of them.
CASES: list[Any] = [
    *((x, k, (3, 3), (1, 1), padding, groups) for x, k, padding, groups in three.CASES),
    *others.CASES,
    ((2, 48, 20, 26), 80, (3, 3), (1, 1), (1, 1), 1),
    ((2, 40, 17, 16), 72, (3, 3), (1, 1), (0, 1), 2),
    ((1, 37, 22, 22), 19, (5, 5), (1, 1), (1, 1), 1),
]
cases = pytest.mark.parametrize(
    "case", CASES, ids=lambda c: "-".join("x".join(map(str, np.atleast_1d(v))) for v in c)
)
layouts = pytest.mark.parametrize("layout", LAYOUTS)


def algorithms(case: Any) -> list[tuple[str, str]]:
    _, _, kernel, stride, _, _ = case
    names = [others.variant(stride)]
    if kernel == (3, 3) and stride == (1, 1):
        names += ["winograd6"]
    pairs = [(d, name) for name in names for d in others.directions(stride)]
    return [p for p in pairs if p != ("wgrad", "winograd6")]


def narrow(*arrays: Any) -> list[Any]:
    return [a.astype(bf16) for a in arrays]


def wide(*arrays: Any) -> list[Any]:
    return [None if a is None else a.astype(np.float32) for a in arrays]


def bits(a: Any) -> Any:
    return a.view(np.uint16)


@layouts
@cases
def test_bits_of_float32(case: Any, layout: str) -> None:
    x, w, b, dy = narrow(*others.arrays(*case))
    _, _, _, stride, padding, groups = case
    x, dy = to_layout(x, layout), to_layout(dy, layout)
    geometry = (stride, padding, 1, groups, layout)
    for direction, algorithm in algorithms(case):
        bias = b if direction == "fprop" else None
        got = convolve(direction, x, w, dy, geometry, algorithm, bias)
        exact = convolve(direction, *wide(x, w, dy), geometry, algorithm, *wide(bias))
        assert got.dtype == bf16
        np.testing.assert_array_equal(
            bits(got), bits(exact.astype(bf16)), f"{direction} {algorithm}"
        )


def as_dict(case: Any, layout: str) -> dict[str, Any]:
    _, _, _, stride, padding, groups = case
    return {"stride": stride, "padding": padding, "groups": groups, "layout": layout}


@layouts
@pytest.mark.parametrize("activation", [None, "relu", "gelu"])
@pytest.mark.parametrize("residual", [False, True])
@pytest.mark.parametrize("case", CASES[3:6] + CASES[9:10] + CASES[-13:-12] + CASES[-3:], ids=str)
def test_epilogues(case: Any, layout: str, activation: str | None, residual: bool) -> None:
    """Weights packed once; residual and activation before the one rounding."""
    x, w, b, dy = narrow(*others.arrays(*case))
    x, dy = to_layout(x, layout), to_layout(dy, layout)
    more = {"activation": activation}
    for direction, algorithm in algorithms(case):
        if direction != "fprop":
            continue
        options = {**as_dict(case, layout), "algorithm": algorithm}
        plan = F.Conv2dPlan(x.shape, w.shape, **options, dtype="bfloat16")
        exact = F.Conv2dPlan(x.shape, w.shape, **options)
        add = dy if residual else None
        got = plan.run(x, plan.pack(w), b, residual=add, **more)
        xw, ww, bw, rw = wide(x, w, b, add)
        expected = exact.run(xw, exact.pack(ww), bw, residual=rw, **more)
        np.testing.assert_array_equal(bits(got), bits(expected.astype(bf16)), algorithm)


@layouts
def test_same_bits_for_threads(layout: str) -> None:
    for case in CASES[4:10]:
        x, w, _, dy = narrow(*others.arrays(*case))
        x, dy = to_layout(x, layout), to_layout(dy, layout)
        _, _, _, stride, padding, groups = case
        geometry = (stride, padding, 1, groups, layout)

        def run(x: Any = x, w: Any = w, dy: Any = dy, case: Any = case, g: Any = geometry) -> Any:
            return [bits(convolve(d, x, w, dy, g, name)) for d, name in algorithms(case)]

        check_same_bits_for_threads(run)


@layouts
def test_what_is_not_finite(layout: str) -> None:
    """NaN and infinity make NaN of their tiles as in float32, and of no others."""
    case = CASES[-3]
    x, w, _, dy = narrow(*others.arrays(*case))
    x[1, 7, 9, 10], dy[0, 3, 2, 2] = np.inf, np.nan
    x, dy = to_layout(x, layout), to_layout(dy, layout)
    for direction, algorithm in algorithms(case):
        geometry = ((1, 1), (1, 1), 1, 1, layout)
        got = convolve(direction, x, w, dy, geometry, algorithm).astype(np.float32)
        exact = convolve(direction, *wide(x, w, dy), geometry, algorithm)
        np.testing.assert_array_equal(np.isnan(got), np.isnan(exact))
        assert np.isnan(got).any()


def test_rounding_reaches_infinity_and_denormals() -> None:
    """Results are rounded to nearest, ties to even, also where bfloat16 ends."""
    g = rng("ends")
    x = np.zeros((1, 8, 8, 16), np.float32)
    x[0, ::3, ::3] = np.tanh(randn(g, 3, 3, 16))
    for scale in (2.0**-120, 2.0**127):
        w = np.zeros((16, 16, 3, 3), np.float32)
        w[np.arange(16), np.arange(16), 1, 1] = 1
        narrow_x = (x * np.float32(scale)).astype(bf16)
        geometry = (1, 1, 1, 1, "NHWC")
        got = _core.conv2d(narrow_x, w.astype(bf16), None, *geometry, algorithm="winograd")
        exact = _core.conv2d(narrow_x.astype(np.float32), w, None, *geometry, algorithm="winograd")
        same = bits(got) == bits(exact.astype(bf16))
        assert (same | (np.isnan(got.astype(np.float32)) & np.isnan(exact))).all()


def test_highest_precision_leaves_it_out() -> None:
    before = fc.get_precision()
    shape = ((1, 56, 56, 64), (64, 64, 3, 3), 1, 1, 1, 1, "NHWC")
    try:
        fc.set_precision("highest")
        for direction in three.DIRECTIONS:
            candidates = _core.conv2d_candidates(*shape, direction, "bfloat16")
            first = next(name for name, declined in candidates if not declined)
            assert not first.startswith("winograd")
    finally:
        fc.set_precision(before)
