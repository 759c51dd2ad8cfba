"""Batch normalisation with what follows it in the same pass, and in bfloat16."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import fastconv as fc
import fastconv.functional as F
from fastconv import _core
from tests.support import assert_close, check_same_bits_for_threads, randn, rng

SIZES = [
    (4, 3),
    (37, 130),
    (700, 5),
    (4, 16, 7, 7),
    (3, 1, 14, 14),
    (2, 3, 65, 130),
    (40, 70, 5, 3),
    (1, 5, 3, 3),
]
# Large enough for slabs of channels and for stores past the caches.
LARGE = [(8, 96, 56, 56), (16, 200, 28, 28), (64, 700, 7, 7)]


def arrays_of(size: tuple[int, ...], layout: str, dtype: Any) -> dict[str, Any]:
    g, c = rng("fused", size, layout), size[1]
    shape = (size[0], *size[2:], c) if layout == "NHWC" else size
    a = {k: randn(g, *shape, dtype=dtype) for k in ("x", "residual", "dy")}
    a |= {k: randn(g, c, dtype=dtype) for k in ("weight", "bias")}
    return a


def forward(a: dict[str, Any], layout: str, residual: bool, relu: bool, training: bool) -> Any:
    c = a["weight"].size
    mean, var = np.full(c, 0.25, a["weight"].dtype), np.full(c, 1.5, a["weight"].dtype)
    made = _core.batch_norm_forward(
        a["x"],
        mean,
        var,
        a["weight"],
        a["bias"],
        training,
        0.1,
        1e-5,
        layout,
        a["residual"] if residual else None,
        relu,
    )
    return (*made, mean, var)


def unfused(a: dict[str, Any], layout: str, residual: bool, relu: bool, training: bool) -> Any:
    y, *rest = forward(a, layout, False, False, training)
    if residual:
        y = F.add(y, a["residual"])
    return (F.relu(y) if relu else y, *rest)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("layout", ["NCHW", "NHWC"])
@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("size", SIZES + LARGE[:1], ids=str)
def test_forward_equals_the_separate_calls(
    size: tuple[int, ...], training: bool, layout: str, dtype: Any
) -> None:
    a = arrays_of(size, layout, dtype)
    for residual, relu in ((False, True), (True, False), (True, True)):
        got = forward(a, layout, residual, relu, training)
        expected = unfused(a, layout, residual, relu, training)
        for g, e in zip(got, expected, strict=True):
            np.testing.assert_array_equal(g, e)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("layout", ["NCHW", "NHWC"])
@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("size", SIZES + LARGE[:1], ids=str)
def test_backward_equals_masking_first(
    size: tuple[int, ...], training: bool, layout: str, dtype: Any
) -> None:
    a = arrays_of(size, layout, dtype)
    for residual in (False, True):
        y, mean, invstd, *_ = forward(a, layout, residual, True, training)
        masked = np.where(y > 0, a["dy"], dtype(0))
        common = (a["x"], mean, invstd, a["weight"], training, layout, True, True, True)
        expected = _core.batch_norm_backward(masked, *common)
        outputs = [y] if residual else [y, None]  # without a residual the sign of y follows from x
        for output in outputs:
            got = _core.batch_norm_backward(
                a["dy"], *common, True, a["bias"], output, need_residual=residual
            )
            for g, e, what in zip(got, expected, ("dx", "dweight", "dbias"), strict=False):
                np.testing.assert_array_equal(g, e, what)
            if residual:
                np.testing.assert_array_equal(got[3], masked)
            else:
                assert got[3] is None


@pytest.mark.parametrize("layout", ["NCHW", "NHWC"])
def test_only_the_residual_gradient(layout: str) -> None:
    a = arrays_of((4, 16, 7, 7), layout, np.float32)
    y, mean, invstd, *_ = forward(a, layout, True, True, True)
    for training in (True, False):
        got = _core.batch_norm_backward(
            *(a["dy"], a["x"], mean, invstd, a["weight"], training, layout, False, False, False),
            *(True, a["bias"], y, True),
        )
        assert got[:3] == (None, None, None)
        np.testing.assert_array_equal(got[3], np.where(y > 0, a["dy"], np.float32(0)))


def test_nan_passes_through_the_relu() -> None:
    a = arrays_of((4, 3, 5, 5), "NCHW", np.float32)
    a["x"][1, 2, 3, 4] = np.nan
    y, mean, invstd, *_ = forward(a, "NCHW", False, True, False)
    assert np.isnan(y[1, 2, 3, 4]) and np.isnan(y).sum() == 1
    dx = _core.batch_norm_backward(
        *(a["dy"], a["x"], mean, invstd, a["weight"], False, "NCHW", True, False, False),
        *(True, a["bias"]),
    )[0]
    scale = (a["weight"] * invstd).astype(np.float32)
    assert_close(dx, np.where((y > 0) | np.isnan(y), a["dy"], 0) * scale[:, None, None])


@pytest.mark.parametrize("layout", ["NCHW", "NHWC"])
@pytest.mark.parametrize("size", LARGE, ids=str)
def test_large_arrays_against_float64(size: tuple[int, ...], layout: str) -> None:
    a = arrays_of(size, layout, np.float32)
    a["x"] += np.float32(1e4)
    wide = {k: v.astype(np.float64) for k, v in a.items()}
    got, expected = (forward(v, layout, True, True, True) for v in (a, wide))
    for g, e, tol in zip(got, expected, (1e-5, 1e-7, 1e-5, 1e-6, 1e-5), strict=True):
        assert_close(g, e, tol)
    y = expected[0].astype(np.float32)
    for v in (a, wide):
        v["gradients"] = _core.batch_norm_backward(
            *(v["dy"], v["x"], *expected[1:3], v["weight"], True, layout, True, True, True),
            *(True, v["bias"], y.astype(v["x"].dtype), True),
        )
    for g, e in zip(a["gradients"], wide["gradients"], strict=True):
        assert_close(g, e, 1e-5)


@pytest.mark.parametrize("layout", ["NCHW", "NHWC"])
@pytest.mark.parametrize("size", [(700, 5), (64, 70, 9, 9), (3, 2, 200, 190), LARGE[1]], ids=str)
def test_threads_do_not_change_a_bit(size: tuple[int, ...], layout: str) -> None:
    a = arrays_of(size, layout, np.float32)

    def run() -> list[Any]:
        y, mean, invstd, *running = forward(a, layout, True, True, True)
        gradients = _core.batch_norm_backward(
            *(a["dy"], a["x"], mean, invstd, a["weight"], True, layout, True, True, True),
            *(True, a["bias"], y, True),
        )
        return [y, mean, invstd, *running, *gradients]

    check_same_bits_for_threads(run)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_statistics_from_sums_plug_in(dtype: Any) -> None:
    a = arrays_of((6, 9, 5, 4), "NCHW", dtype)
    a["x"] += dtype(1e3)
    wide = np.moveaxis(a["x"].astype(np.float64), 1, 0).reshape(9, -1)
    center = wide[:, 0] + 0.5
    sums, squares = (wide - center[:, None]).sum(1), ((wide - center[:, None]) ** 2).sum(1)
    running = np.full(9, 0.25, dtype), np.full(9, 1.5, dtype)
    mean, invstd = _core.batch_norm_statistics(
        sums, squares, wide.shape[1], center, *running, 0.1, 1e-5
    )
    expected = forward(a, "NCHW", True, True, True)
    for g, e in zip((mean, invstd, *running), expected[1:], strict=True):
        assert_close(g, e, 2e-6)
    y = _core.batch_norm_apply(
        a["x"], expected[1], expected[2], a["weight"], a["bias"], "NCHW", a["residual"], True
    )
    np.testing.assert_array_equal(y, expected[0])
    about_zero = _core.batch_norm_statistics(sums, squares, 120, None, None, None, 0.1, 1e-5)
    assert_close(about_zero[0], sums / 120, 1e-12)


@settings(deadline=None, max_examples=40, derandomize=True)
@given(st.lists(st.integers(1, 30), min_size=2, max_size=4), st.sampled_from(["NCHW", "NHWC"]))
def test_drawn_shapes(size: list[int], layout: str) -> None:
    size[0] += 2
    a = arrays_of(tuple(size), layout, np.float32)
    got = forward(a, layout, True, True, True)
    np.testing.assert_array_equal(got[0], unfused(a, layout, True, True, True)[0])
    wide = {k: v.astype(np.float64) for k, v in a.items()}
    assert_close(got[1], forward(wide, layout, True, True, True)[1], 1e-5)


@pytest.mark.parametrize("layout", ["NCHW", "NHWC"])
@pytest.mark.parametrize("size", [*SIZES, (16, 200, 28, 28)], ids=str)
def test_bfloat16_rounds_the_float32_result(size: tuple[int, ...], layout: str) -> None:
    pytest.importorskip("ml_dtypes")
    a = arrays_of(size, layout, np.float32)
    narrow = {k: F.astype(a[k], "bfloat16") for k in ("x", "residual", "dy")}
    narrow |= {k: a[k] for k in ("weight", "bias")}
    a |= {k: F.astype(narrow[k], "float32") for k in ("x", "residual", "dy")}
    for residual, relu in ((False, False), (True, True)):
        y, mean, invstd, *running = forward(narrow, layout, residual, relu, True)
        wide = forward(a, layout, residual, relu, True)
        np.testing.assert_array_equal(
            F.astype(y, "float32"), F.astype(F.astype(wide[0], "bfloat16"), "float32")
        )
        for g, e in zip((mean, invstd, *running), wide[1:], strict=True):
            np.testing.assert_array_equal(g, e)
        tail = (mean, invstd, a["weight"], True, layout, True, True, True, relu, a["bias"])
        got = _core.batch_norm_backward(narrow["dy"], narrow["x"], *tail, y, residual)
        expected = _core.batch_norm_backward(
            a["dy"], a["x"], *tail, F.astype(y, "float32"), residual
        )
        for g, e in zip(got, expected, strict=True):
            if e is None:
                assert g is None
            elif e.ndim > 1:
                rounded = F.astype(F.astype(e, "bfloat16"), "float32")
                np.testing.assert_array_equal(F.astype(g, "float32"), rounded)
            else:
                np.testing.assert_array_equal(g, e)


X = np.zeros((2, 3, 4, 4), np.float32)
C3 = np.ones(3)
BAD: list[tuple[str, tuple[Any, ...], type[Exception], str]] = [
    (
        "batch_norm_apply",
        (X, C3[:2], C3, None, None, "NCHW"),
        fc.ShapeError,
        r"mean must have shape \(3,\)",
    ),
    (
        "batch_norm_apply",
        (X, C3, C3.astype(np.float32), None, None, "NCHW"),
        fc.DTypeError,
        "invstd must be float64",
    ),
    (
        "batch_norm_apply",
        (X, C3, C3, None, None, "NCHW", X[:1], True),
        fc.ShapeError,
        "residual must have shape",
    ),
    (
        "batch_norm_apply",
        (X, C3, C3, None, None, "NCHW", X.astype(np.float64)),
        fc.DTypeError,
        "residual must be float32",
    ),
    (
        "batch_norm_statistics",
        (C3, C3[:1], 8, None, None, None, 0.1, 1e-5),
        fc.ShapeError,
        "squares",
    ),
    (
        "batch_norm_statistics",
        (C3, C3, 1, None, None, None, 0.1, 1e-5),
        fc.ShapeError,
        "at least 2 values",
    ),
    ("batch_norm_statistics", (C3, C3, 8, None, None, None, 0.1, 0), fc.ShapeError, "eps"),
    ("batch_norm_statistics", (C3, C3, 8, None, C3, None, 0.1, 1e-5), fc.ShapeError, "both"),
    ("batch_norm_statistics", (X, X, 8, None, None, None, 0.1, 1e-5), fc.ShapeError, "sum"),
    (
        "batch_norm_backward",
        (X, X, C3, C3, None, True, "NCHW", True, True, True, True, None, X[:, :2]),
        fc.ShapeError,
        "output must have shape",
    ),
]


@pytest.mark.parametrize(("name", "args", "error", "text"), BAD)
def test_bad_arguments_are_refused(
    name: str, args: tuple[Any, ...], error: type[Exception], text: str
) -> None:
    with pytest.raises(error, match=f"^batch_norm: .*{text}"):
        getattr(_core, name)(*args)
