"""Batch-norm fused into convolution plans: the prologue on the way in, statistics on the way out."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import fastconv as fc
import fastconv.functional as F
from fastconv import DTypeError, ShapeError, _core
from tests.support import assert_close, check_same_bits_for_threads, randn, rng

# n, c, h, w, k, kernel, stride, padding, dilation, groups
SHAPES = [
    (2, 3, 12, 12, 5, 3, 1, 1, 1, 1),
    (1, 40, 9, 11, 70, 3, 1, 1, 1, 1),
    (2, 64, 8, 8, 96, 1, 1, 0, 1, 1),
    (3, 40, 5, 4, 20, 1, 1, 1, 1, 1),
    (2, 33, 14, 14, 17, 1, 2, 0, 1, 1),
    (2, 48, 9, 9, 64, 3, 2, 1, 1, 1),
    (1, 32, 10, 10, 32, 3, 1, 1, 1, 32),
    (3, 16, 7, 7, 24, 5, 1, 2, 1, 4),
    (2, 72, 6, 13, 66, 3, 1, 1, 1, 2),
    (40, 36, 3, 3, 34, 3, 2, 1, 1, 1),
    (2, 34, 17, 40, 18, 3, 1, 4, 4, 1),
    (1, 33, 1, 1, 16, 3, 1, 1, 1, 1),
    (2, 64, 28, 28, 130, 1, 1, 0, 1, 1),
    (2, 14, 9, 9, 70, 1, 1, 0, 1, 1),
    (1, 256, 5, 6, 70, 3, 1, 1, 1, 1),
    (2, 11, 9, 9, 70, 1, 1, 0, 1, 1),
    (2, 80, 7, 9, 15, 1, 1, 0, 1, 1),
    (1, 29, 7, 8, 33, 1, 2, 0, 1, 1),
    (2, 28, 6, 7, 70, 1, 1, 0, 1, 2),
    (2, 40, 8, 8, 3, 3, 1, 1, 1, 1),
    (2, 80, 7, 9, 8, 1, 1, 0, 1, 1),
]
LAYOUTS = ["NCHW", "NHWC"]


def build(
    shape: tuple[int, ...], layout: str, dtype: Any = np.float32
) -> tuple[Any, Any, Any, dict[str, Any]]:
    n, c, h, w, k, kernel, stride, padding, dilation, groups = shape
    g = rng("conv2d fused", shape, layout)
    x = randn(g, *((n, c, h, w) if layout == "NCHW" else (n, h, w, c)), dtype=dtype)
    geometry = {"stride": stride, "padding": padding, "dilation": dilation, "groups": groups}
    weight = randn(g, k, c // groups, kernel, kernel, dtype=dtype)
    return x, weight, randn(g, k, dtype=dtype), geometry | {"layout": layout}


def norm_of(c: int, dtype: Any = np.float32) -> tuple[Any, Any, Any, Any]:
    """mean, invstd, weight and bias of a batch-norm whose bias lets padding of zeros be told from input."""
    g = rng("norm", c)
    return (
        g.standard_normal(c) * 3,
        np.exp(g.standard_normal(c)),
        randn(g, c, dtype=dtype),
        randn(g, c, dtype=dtype) + dtype(1),
    )


def every_plan(x: Any, w: Any, geometry: dict[str, Any], **more: Any) -> list[F.Conv2dPlan]:
    first = F.Conv2dPlan(x.shape, w.shape, **geometry, **more)
    names = [name for name, reason in first.algorithms() if not reason]
    return [F.Conv2dPlan(x.shape, w.shape, **geometry, **more, algorithm=a) for a in names]


def channels_of(y: Any, layout: str) -> Any:
    """(K, values) in float64."""
    y = np.asarray(y).astype(np.float64)
    return np.moveaxis(y, 1 if layout == "NCHW" else -1, 0).reshape(
        y.shape[1 if layout == "NCHW" else -1], -1
    )


def check_statistics(got: Any, y: Any, layout: str, tol: float = 3e-6) -> None:
    """Against two passes in float64: the mean within `tol` of the spread, the squares within `tol`."""
    wide = channels_of(y, layout)
    mean = wide.mean(1)
    deviations = ((wide - mean[:, None]) ** 2).sum(1)
    spread = np.sqrt(deviations / wide.shape[1])
    assert (np.abs(got[0] - mean) <= tol * spread + 1e-7 * np.abs(mean).clip(1e-3)).all()
    np.testing.assert_allclose(got[1], deviations, rtol=tol, atol=1e-12)


@pytest.mark.parametrize("relu", [True, False])
@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_prologue_equals_batch_norm_before(shape: tuple[int, ...], layout: str, relu: bool) -> None:
    x, w, b, geometry = build(shape, layout)
    norm = norm_of(shape[1])
    line = _core.batch_norm_line(*norm, "float32")
    before = _core.batch_norm_apply(x, *norm, layout, None, relu)
    for plan in every_plan(x, w, geometry):
        packed = plan.pack(w)
        expected = plan.run(before, packed, b)
        got = plan.run(x, packed, b, prologue=line, prologue_relu=relu)
        np.testing.assert_array_equal(got, expected, plan.algorithm)
        np.testing.assert_array_equal(
            plan.run(x, w, b, prologue=line, prologue_relu=relu), got, plan.algorithm
        )
    dy = randn(rng("dy"), *expected.shape)
    for plan in every_plan(x, w, geometry, direction="wgrad"):
        point = shape[5] == 1 and shape[7] == 0 and layout == "NHWC"
        assert not plan.fuses_statistics
        assert point or not plan.fuses_prologue
        if (
            point
            and shape[9] == 1
            and shape[1] >= 16
            and shape[4] > 64
            and plan.algorithm == "implicit_gemm"
        ):
            assert plan.fuses_prologue
        np.testing.assert_array_equal(
            plan.run(x, dy, prologue=line, prologue_relu=relu),
            plan.run(before, dy),
            plan.algorithm,
        )


@pytest.mark.parametrize("offset", [0, 1000])
@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_statistics_of_every_algorithm(shape: tuple[int, ...], layout: str, offset: float) -> None:
    x, w, b, geometry = build(shape, layout)
    w /= np.sqrt(w[0].size, dtype=np.float32)
    b += np.float32(offset)  # a mean a thousand times the spread
    line = _core.batch_norm_line(*norm_of(shape[1]), "float32")
    for plan in every_plan(x, w, geometry):
        for prologue in (None, line):
            expected = plan.run(x, w, b, prologue=prologue)
            got = np.full((2, shape[4]), np.nan)
            y = plan.run(x, w, b, prologue=prologue, statistics=got)
            np.testing.assert_array_equal(y, expected, plan.algorithm)
            check_statistics(got, y, layout)


def test_what_the_direct_kernels_fuse() -> None:
    def plan(layout: str, algorithm: str, *shape: int, **geometry: Any) -> F.Conv2dPlan:
        return F.Conv2dPlan(
            (2, 64, 30, 30) if layout == "NCHW" else (2, 30, 30, 64),
            (32, 64, *shape),
            layout=layout,
            algorithm=algorithm,
            **geometry,
        )

    for layout in LAYOUTS:
        for fused in (
            plan(layout, "implicit_gemm", 3, 3, padding=1),
            plan(layout, "implicit_gemm", 1, 1, stride=2),
        ):
            assert fused.fuses_prologue and fused.fuses_statistics
            assert fused.workspace_bytes(1, prologue=True) < fused.workspace_bytes(1) + (1 << 20)
    pointwise = plan("NCHW", "pointwise_nchw", 1, 1)
    assert pointwise.fuses_prologue and pointwise.fuses_statistics
    other = plan("NHWC", "winograd", 3, 3, padding=1)
    assert not other.fuses_prologue and not other.fuses_statistics
    copy = 2 * 64 * 30 * 30 * 4
    assert other.workspace_bytes(1, prologue=True) >= other.workspace_bytes(1) + copy
    assert other.workspace_bytes(1, statistics=True) > other.workspace_bytes(1)
    # Rows too many or too long to be copied for every hundred pixels.
    wide = F.Conv2dPlan(
        (1, 2, 9000, 64), (8, 64, 3, 3), layout="NHWC", algorithm="implicit_gemm", padding=1
    )
    assert not wide.fuses_prologue

    # One vector of outputs: in registers where inputs are few, in tall tiles without a prologue where they are
    # more and L2 holds them.
    def point(inputs: int, side: int) -> F.Conv2dPlan:
        size = (2, side, side, inputs)
        return F.Conv2dPlan(size, (16, inputs, 1, 1), layout="NHWC", algorithm="implicit_gemm")

    assert point(11, 9).fuses_prologue
    assert _core.isa() != "avx512" or not point(90, 9).fuses_prologue
    assert point(90, 60).fuses_prologue


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("shape", [SHAPES[i] for i in (0, 1, 2, 5, 8, 12)], ids=str)
def test_epilogue_follows_the_statistics(shape: tuple[int, ...], layout: str) -> None:
    x, w, b, geometry = build(shape, layout)
    for plan in every_plan(x, w, geometry):
        base = np.empty((2, shape[4]))
        y = plan.run(x, w, b, statistics=base)
        residual = randn(rng("residual"), *y.shape)
        more: dict[str, Any] = {"residual": residual, "activation": "leaky_relu"}
        got = np.empty((2, shape[4]))
        finished = plan.run(x, w, b, **more, statistics=got)
        np.testing.assert_array_equal(got, base, plan.algorithm)
        np.testing.assert_array_equal(finished, F.leaky_relu(y + residual), plan.algorithm)


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("shape", [*SHAPES, (8, 64, 16, 16, 64, 3, 1, 1, 1, 1)], ids=str)
def test_same_bits_for_threads(shape: tuple[int, ...], layout: str) -> None:
    x, w, b, geometry = build(shape, layout)
    line = _core.batch_norm_line(*norm_of(shape[1]), "float32")
    for plan in every_plan(x, w, geometry):
        if plan.algorithm == "reference":  # which has no threads
            continue

        def run(plan: F.Conv2dPlan = plan) -> Any:
            statistics = np.empty((2, shape[4]))
            return plan.run(x, w, b, prologue=line, statistics=statistics), statistics

        check_same_bits_for_threads(run)


@settings(deadline=None, max_examples=120, derandomize=True)
@given(st.data())
def test_drawn_geometry(data: Any) -> None:
    def draw(low: int, high: int) -> int:
        return int(data.draw(st.integers(low, high)))

    groups, kernel = draw(1, 2), (draw(1, 4), draw(1, 4))
    stride, dilation = (draw(1, 3), draw(1, 3)), (draw(1, 3), draw(1, 3))
    padding = (draw(0, 4), draw(0, 4))
    extent = [d * (k - 1) + 1 for d, k in zip(dilation, kernel, strict=True)]
    size = [draw(max(1, e - 2 * p), e + 20) for e, p in zip(extent, padding, strict=True)]
    c, k, n = groups * draw(32, 40), groups * draw(1, 70), draw(1, 9)
    layout = data.draw(st.sampled_from(LAYOUTS))
    g = rng("drawn", c, k, n, size, kernel)
    x = randn(g, n, c, *size) if layout == "NCHW" else randn(g, n, *size, c)
    w, b = randn(g, k, c // groups, *kernel), randn(g, k)
    norm = norm_of(c)
    plan = F.Conv2dPlan(
        x.shape,
        w.shape,
        stride,
        padding,
        dilation,
        groups,
        layout=layout,
        algorithm="implicit_gemm",
    )
    assert plan.fuses_prologue
    statistics = np.empty((2, k))
    line = _core.batch_norm_line(*norm, "float32")
    y = plan.run(x, w, b, prologue=line, statistics=statistics)
    before = _core.batch_norm_apply(x, *norm, layout, None, True)
    np.testing.assert_array_equal(y, plan.run(before, w, b))
    if channels_of(y, layout).shape[1] > 1:
        check_statistics(statistics, y, layout, 1e-5)
    else:
        np.testing.assert_array_equal(statistics[0], channels_of(y, layout)[:, 0])
        np.testing.assert_array_equal(statistics[1], 0)


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("shape", [SHAPES[i] for i in (1, 2, 4, 8)], ids=str)
def test_nan_and_infinity(shape: tuple[int, ...], layout: str) -> None:
    x, w, b, geometry = build(shape, layout)
    mean, invstd, weight, bias = norm_of(shape[1])
    norm = (mean, invstd, np.abs(weight), bias)
    line = _core.batch_norm_line(*norm, "float32")
    flat = x.reshape(-1)
    flat[1], flat[-2], flat[flat.size // 2] = np.nan, np.inf, -np.inf
    before = _core.batch_norm_apply(x, *norm, layout, None, True)
    assert np.isnan(before).any() and np.isinf(before).any()
    for plan in every_plan(x, w, geometry):
        got = plan.run(x, w, b, prologue=line)
        np.testing.assert_array_equal(got, plan.run(before, w, b), plan.algorithm)
    x, w, b, geometry = build(shape, layout)
    b[2], b[4], b[5] = np.nan, np.inf, -np.inf
    for plan in every_plan(x, w, geometry):
        got = np.zeros((2, shape[4]))
        y = plan.run(x, w, b, statistics=got)
        rest = np.delete(np.arange(shape[4]), [2, 4, 5])
        assert np.isnan(got[1, [2, 4, 5]]).all() and np.isfinite(got[:, rest]).all()
        assert np.isnan(got[0, 2]) and got[0, 4] == np.inf and got[0, 5] == -np.inf
        finite = np.take(y, rest, 1 if layout == "NCHW" else -1)
        check_statistics(got[:, rest], finite, layout)


@pytest.mark.parametrize("dtype", ["float64", "bfloat16"])
@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("shape", SHAPES[1:6], ids=str)
def test_other_types(shape: tuple[int, ...], layout: str, dtype: str) -> None:
    if dtype == "bfloat16":
        pytest.importorskip("ml_dtypes")
    wide = np.float64 if dtype == "float64" else np.float32
    x, w, b, geometry = build(shape, layout, wide)
    x, w, b = (F.astype(a, dtype) for a in (x, w, b))
    norm = norm_of(shape[1], wide)
    line = _core.batch_norm_line(*norm, wide.__name__)
    assert line.dtype == wide
    before = _core.batch_norm_apply(x, *norm, layout, None, True)
    for plan in every_plan(x, w, geometry, dtype=dtype):
        statistics = np.empty((2, shape[4]))
        y = plan.run(x, w, b, prologue=line, statistics=statistics)
        np.testing.assert_array_equal(
            F.astype(y, "float64"), F.astype(plan.run(before, w, b), "float64")
        )
        # Sums of values of 8 bits less one centre round the same way at every step: 2^-24 of each of up to
        # 128 values.
        check_statistics(statistics, F.astype(y, "float64"), layout, 128 * 2.0**-24)


def test_arrays_of_other_memory_orders() -> None:
    x, w, b, geometry = build(SHAPES[1], "NHWC")
    line = _core.batch_norm_line(*norm_of(40), "float32")
    plan = F.Conv2dPlan(x.shape, w.shape, **geometry)
    expected = plan.run(x, w, b, prologue=line)
    strange = np.asfortranarray(line).astype(">f4")
    np.testing.assert_array_equal(plan.run(x[::-1][::-1], w, b, prologue=strange), expected)


def test_empty_batch() -> None:
    plan = F.Conv2dPlan((0, 8, 5, 5), (4, 8, 3, 3))
    statistics = np.full((2, 4), np.nan)
    y = plan.run(
        np.zeros((0, 8, 5, 5), np.float32),
        np.zeros((4, 8, 3, 3), np.float32),
        prologue=np.zeros((3, 8), np.float32),
        statistics=statistics,
    )
    assert y.shape == (0, 4, 3, 3)
    np.testing.assert_array_equal(statistics, 0)


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("kernel", [1, 3])
def test_a_training_step_of_conv_norm_relu_conv(kernel: int, layout: str) -> None:
    """The fused pieces together, forward and backward, against the tape in float64."""
    g = rng("step", kernel, layout)
    n, c, k, side = 4, 36, 48, 9
    x = randn(g, *((n, c, side, side) if layout == "NCHW" else (n, side, side, c)))
    w1, w2 = randn(g, k, c, kernel, kernel), randn(g, c, k, 3, 3)
    gamma, beta = randn(g, k), randn(g, k)
    mean0, var0 = np.zeros(k, np.float32), np.ones(k, np.float32)

    tape = [fc.tensor(a.astype(np.float64), requires_grad=True) for a in (x, w1, gamma, beta, w2)]
    pad = kernel // 2
    running = mean0.astype(np.float64), var0.astype(np.float64)
    h = F.conv2d(tape[0], tape[1], padding=pad, layout=layout)
    z = F.relu(F.batch_norm(h, *running, tape[2], tape[3], True, layout=layout))
    out = F.conv2d(z, tape[4], padding=1, layout=layout)
    dy = randn(g, *out.shape)
    out.backward(dy.astype(np.float64))

    first = {"padding": pad, "layout": layout, "algorithm": "implicit_gemm"}
    second = {"padding": 1, "layout": layout, "algorithm": "implicit_gemm"}
    plan1 = F.Conv2dPlan(x.shape, w1.shape, **first)
    sums = np.empty((2, k))
    y1 = plan1.run(x, w1, statistics=sums)
    count = y1.size // k
    mean, invstd = _core.batch_norm_statistics(
        None, sums[1], count, sums[0], mean0, var0, 0.1, 1e-5
    )
    line = _core.batch_norm_line(mean, invstd, gamma, beta, "float32")
    y2 = F.Conv2dPlan(y1.shape, w2.shape, **second).run(y1, w2, prologue=line)
    assert_close(y2, out.numpy(), 5e-6)
    assert_close(mean0, running[0], 5e-6)
    assert_close(var0, running[1], 5e-6)

    dw2 = F.Conv2dPlan(y1.shape, w2.shape, **second, direction="wgrad").run(y1, dy, prologue=line)
    dz = F.Conv2dPlan(y1.shape, w2.shape, **second, direction="dgrad").run(dy, w2)
    dh, dgamma, dbeta, _ = _core.batch_norm_backward(
        dz, y1, mean, invstd, gamma, True, layout, True, True, True, True, beta
    )
    dw1 = F.Conv2dPlan(x.shape, w1.shape, **first, direction="wgrad").run(x, dh)
    dx = F.Conv2dPlan(x.shape, w1.shape, **first, direction="dgrad").run(dh, w1)
    for got, t in zip((dx, dw1, dgamma, dbeta, dw2), tape, strict=True):
        assert_close(got, t.grad.numpy(), 1e-5)


def test_line_of_batch_norm() -> None:
    mean, invstd = np.array([1000.1, -2]), np.array([3.0, 0.5])
    line = _core.batch_norm_line(mean, invstd, None, None, "float64")
    np.testing.assert_array_equal(line, [mean, invstd, [0, 0]])
    weight, bias = np.array([2, 3], np.float32), np.array([5, 7], np.float32)
    narrow = _core.batch_norm_line(mean, invstd, weight, bias, "float32").astype(np.float64)
    x = 1001.25
    np.testing.assert_allclose(
        (x - narrow[0]) * narrow[1] + narrow[2], (x - mean) * invstd * weight + bias, rtol=1e-6
    )
    for args, error, text in [
        ((mean, invstd[:1], None, None, "float32"), ShapeError, "invstd"),
        ((mean, invstd, weight[:1], None, "float32"), ShapeError, "weight"),
        ((mean, invstd, None, np.ones(2, np.int32), "float32"), DTypeError, "bias"),
        ((mean.astype(np.float32), invstd, None, None, "float32"), DTypeError, "mean"),
        ((mean[None], invstd, None, None, "float32"), ShapeError, "mean"),
        ((mean, invstd, None, None, "bfloat16"), DTypeError, "dtype"),
    ]:
        with pytest.raises(error, match=f"^batch_norm: .*{text}"):
            _core.batch_norm_line(*args)


X, W = np.zeros((1, 8, 6, 6), np.float32), np.zeros((4, 8, 3, 3), np.float32)
LINE, SUMS = np.zeros((3, 8), np.float32), np.zeros((2, 4))
READ_ONLY = SUMS.copy()
READ_ONLY.flags.writeable = False
BAD: list[tuple[str, dict[str, Any], type[Exception], str]] = [
    ("fprop", {"prologue": LINE[:, :7]}, ShapeError, r"prologue must have shape \(3, 8\)"),
    ("fprop", {"prologue": LINE[:2]}, ShapeError, r"prologue must have shape \(3, 8\)"),
    ("fprop", {"prologue": LINE.astype(np.float64)}, DTypeError, "prologue must be float32"),
    ("fprop", {"prologue": LINE.astype(np.int32)}, DTypeError, "prologue"),
    ("fprop", {"prologue": LINE, "prologue_relu": 1}, DTypeError, "prologue_relu"),
    ("fprop", {"statistics": SUMS[:1]}, ShapeError, r"statistics must have shape \(2, 4\)"),
    ("fprop", {"statistics": SUMS.astype(np.float32)}, DTypeError, "statistics must be float64"),
    ("fprop", {"statistics": READ_ONLY}, ShapeError, "statistics"),
    ("fprop", {"statistics": SUMS[:, ::-1]}, ShapeError, "statistics"),
    ("fprop", {"statistics": SUMS.astype(">f8")}, ShapeError, "statistics"),
    ("fprop", {"statistics": SUMS.tolist()}, DTypeError, "statistics"),
    ("wgrad", {"prologue": LINE[:2]}, ShapeError, "prologue"),
    ("wgrad", {"statistics": SUMS}, ShapeError, "statistics belong to direction 'fprop'.*'wgrad'"),
    ("dgrad", {"statistics": SUMS}, ShapeError, "statistics belong to direction 'fprop'.*'dgrad'"),
    ("dgrad", {"prologue": LINE}, ShapeError, "prologue belongs to .*'dgrad'"),
]


@pytest.mark.parametrize(("direction", "arguments", "error", "text"), BAD)
def test_bad_arguments_are_refused(
    direction: str, arguments: dict[str, Any], error: type[Exception], text: str
) -> None:
    plan = F.Conv2dPlan(X.shape, W.shape, direction=direction)
    y = np.zeros((1, 4, 4, 4), np.float32)
    given = {"fprop": (X, W), "dgrad": (y, W), "wgrad": (X, y)}[direction]
    with pytest.raises(error, match=f"^conv2d_plan: .*{text}"):
        plan.run(*given, **arguments)


def test_bad_workspace_questions_are_refused() -> None:
    with pytest.raises(DTypeError, match=r"^conv2d_plan: .*prologue"):
        F.Conv2dPlan(X.shape, W.shape).workspace_bytes(1, prologue=1)  # type: ignore[arg-type]
    with pytest.raises(ShapeError, match="prologue"):
        F.Conv2dPlan(X.shape, W.shape, direction="dgrad").workspace_bytes(1, prologue=True)
    with pytest.raises(ShapeError, match="statistics"):
        F.Conv2dPlan(X.shape, W.shape, direction="wgrad").workspace_bytes(1, statistics=True)
