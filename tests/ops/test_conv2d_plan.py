"""Conv2dPlan: packed weights, workspace, fused epilogues, and errors, against conv2d and its gradients."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import Any

import numpy as np
import pytest

import fastconv.functional as F
from fastconv import DTypeError, ShapeError, _core

RNG = np.random.default_rng(5)

# n, c, h, w, k, kernel, stride, padding, groups
SHAPES = [
    (2, 3, 12, 12, 5, 3, 1, 1, 1),
    (1, 40, 9, 11, 70, 3, 1, 1, 1),
    (2, 64, 8, 8, 96, 1, 1, 0, 1),
    (2, 48, 9, 9, 64, 3, 2, 1, 1),
    (1, 32, 10, 10, 32, 3, 1, 1, 32),
    (3, 16, 7, 7, 24, 5, 1, 2, 4),
    (2, 33, 14, 14, 17, 1, 2, 0, 1),
    (1, 40, 7, 7, 180, 3, 1, 1, 1),
    (1, 80, 5, 5, 320, 5, 1, 2, 2),
]


def array(*shape: int) -> Any:
    return RNG.standard_normal(shape).astype(np.float32)


def build(shape: tuple[int, ...], layout: str) -> tuple[Any, Any, Any, dict[str, Any]]:
    n, c, h, w, k, kernel, stride, padding, groups = shape
    x = array(n, c, h, w) if layout == "NCHW" else array(n, h, w, c)
    geometry = {"stride": stride, "padding": padding, "groups": groups, "layout": layout}
    return x, array(k, c // groups, kernel, kernel), array(k), geometry


def every_algorithm(plan: F.Conv2dPlan) -> list[str]:
    return [name for name, reason in plan.algorithms() if not reason]


def test_workspace_grows_with_the_workers() -> None:
    geometry: dict[str, Any] = {"padding": 1, "layout": "NHWC", "algorithm": "winograd"}
    plan = F.Conv2dPlan((2, 28, 28, 64), (64, 64, 3, 3), **geometry)
    one, two, four = (plan.workspace_bytes(team) for team in (1, 2, 4))
    # Each worker has scratch memory of its own, for blocks that are up to a quarter larger where that gives
    # all of them as many; what they share is counted once.
    assert 0 < one < two < four <= 5 * one


def test_result_that_shares_memory_with_what_is_read() -> None:
    plan = F.Conv2dPlan((1, 4, 8, 8), (4, 4, 3, 3), padding=1)
    block = array(2, 1, 4, 8, 8)
    x, w, y = block[0], array(4, 4, 3, 3), block[1]
    expected = plan.run(x, w)
    for names in ({"residual": y, "out": y}, {"out": x}):
        with pytest.raises(ShapeError, match="conv2d_plan: out must not share memory"):
            plan.run(x, w, **names)
    shifted = block.reshape(-1)[100:356].reshape(x.shape)
    with pytest.raises(ShapeError, match="out must not share memory"):
        plan.run(x, w, out=shifted)
    assert np.array_equal(plan.run(x, w, out=y), expected)  # side by side
    gradient = F.Conv2dPlan((1, 4, 8, 8), (4, 4, 3, 3), padding=1, direction="wgrad")
    with pytest.raises(ShapeError, match="out must not share memory"):
        gradient.run(x, y, out=y.reshape(-1)[:144].reshape(4, 4, 3, 3))


@pytest.mark.parametrize("layout", ["NCHW", "NHWC"])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_packed_weights_give_the_same_bits(shape: tuple[int, ...], layout: str) -> None:
    x, w, b, geometry = build(shape, layout)
    plan = F.Conv2dPlan(x.shape, w.shape, **geometry)
    # A single call may choose another algorithm, one that packs nothing.
    parameters = ((shape[6],) * 2, (shape[7],) * 2, (1, 1), shape[8], layout)
    y = _core.conv2d(x, w, b, *parameters, algorithm=plan.algorithm)
    packed = plan.pack(w)
    assert np.array_equal(plan.run(x, packed, b), y)
    assert np.array_equal(plan.run(x, w, b), y)
    out = np.full_like(y, np.nan)
    assert plan.run(x, packed, b, out=out) is out
    assert np.array_equal(out, y)

    dgrad = F.Conv2dPlan(x.shape, w.shape, **geometry, direction="dgrad")
    expected = _core.conv2d_input(x.shape, w, y, *parameters, algorithm=dgrad.algorithm)
    assert np.array_equal(dgrad.run(y, dgrad.pack(w)), expected)
    wgrad = F.Conv2dPlan(x.shape, w.shape, **geometry, direction="wgrad")
    assert np.array_equal(wgrad.run(x, y), F.conv2d_weight(x, w.shape, y, **geometry))


@pytest.mark.parametrize(
    "activation", [None, "relu", "relu6", "leaky_relu", "sigmoid", "tanh", "gelu"]
)
@pytest.mark.parametrize("layout", ["NCHW", "NHWC"])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_epilogue_of_every_algorithm(
    shape: tuple[int, ...], layout: str, activation: str | None
) -> None:
    x, w, b, geometry = build(shape, layout)
    for direction in ("fprop", "dgrad"):
        first = F.Conv2dPlan(x.shape, w.shape, **geometry, direction=direction)
        plain = F.conv2d(x, w, b, **geometry)
        source = x if direction == "fprop" else array(*plain.shape)
        bias = b if direction == "fprop" else array(shape[1])
        for algorithm in every_algorithm(first):
            plan = F.Conv2dPlan(
                x.shape, w.shape, **geometry, direction=direction, algorithm=algorithm
            )
            base = plan.run(source, w, bias)
            residual = array(*base.shape)
            got = plan.run(
                source,
                plan.pack(w),
                bias,
                residual=residual,
                activation=activation,
                negative_slope=0.2,
            )
            expected = base + residual
            if activation == "leaky_relu":
                expected = F.leaky_relu(expected, 0.2)
            elif activation:
                expected = getattr(F, activation)(expected)
            np.testing.assert_allclose(got, expected, rtol=2e-6, atol=2e-6, err_msg=algorithm)


@pytest.mark.parametrize("algorithm", ["winograd", "winograd6", "winograd_phases"])
@pytest.mark.parametrize("activation", [None, "relu", "gelu"])
@pytest.mark.parametrize("layout", ["NCHW", "NHWC"])
@pytest.mark.parametrize(
    "shape",
    [
        (2, 20, 13, 15, 33, 3, 1, 1, 1),
        (1, 24, 17, 38, 140, 3, 1, 1, 1),
        (2, 12, 5, 7, 10, 3, 1, 1, 2),
        (1, 160, 7, 7, 150, 3, 1, 1, 1),
        (2, 20, 13, 15, 33, 5, 1, 2, 1),
        (1, 160, 7, 7, 48, 4, 1, 1, 1),
        (2, 3, 33, 30, 40, 7, 2, 3, 1),
        (2, 8, 25, 17, 70, 3, 2, 1, 2),
        (2, 20, 18, 16, 33, 3, 2, 1, 1),
        (2, 144, 12, 14, 70, 3, 2, 1, 2),
    ],
    ids=str,
)
def test_fused_epilogue_gives_the_same_bits(
    shape: tuple[int, ...], layout: str, activation: str | None, algorithm: str
) -> None:
    """Edge tiles, several blocks of channels, groups, and weights packed on the way."""
    x, w, b, geometry = build(shape, layout)
    ran = 0
    for direction in ("fprop", "dgrad"):
        chosen = F.Conv2dPlan(x.shape, w.shape, **geometry, direction=direction)
        if algorithm not in every_algorithm(chosen):
            continue
        plan = F.Conv2dPlan(x.shape, w.shape, **geometry, direction=direction, algorithm=algorithm)
        shape_in = x.shape if direction == "fprop" else F.conv2d(x, w, **geometry).shape
        source, bias = array(*shape_in), b if direction == "fprop" else array(shape[1])
        base = plan.run(source, w, bias)
        residual = array(*base.shape)
        expected = F.add(base, residual)
        if activation:
            expected = getattr(F, activation)(expected)
        for weight in (w, plan.pack(w)):
            got = plan.run(source, weight, bias, residual=residual, activation=activation)
            np.testing.assert_array_equal(got, expected)
        ran += 1
    # Filters and strides are some algorithms' alone.
    strided, kernel = shape[6] > 1, shape[5]
    takes = strided if algorithm == "winograd_phases" else not strided
    # dgrad over phases: channels-last, whole phases.
    both = not strided or (layout == "NHWC" and shape[2] % 2 == shape[3] % 2 == 0)
    if _core.isa() == "scalar":
        takes = takes and not strided and kernel == 3
    assert ran == (1 + both if takes and (algorithm != "winograd6" or kernel == 3) else 0)


@pytest.mark.parametrize("activation", [None, "relu", "relu6"])
@pytest.mark.parametrize(
    "shape",
    [
        (1, 16, 23, 9, 96, 1, 1, 0, 1),
        (2, 40, 9, 11, 70, 1, 2, 0, 1),
        (1, 70, 7, 5, 24, 1, 1, 1, 2),
        (1, 512, 7, 7, 80, 3, 1, 1, 1),  # sums of some taps wait in the output
        (1, 256, 6, 2, 70, 6, 1, 5, 1),  # whole tiles find none of the last taps
        (2, 3, 21, 17, 33, 3, 2, 1, 1),
    ],
    ids=str,
)
def test_direct_finishes_with_the_bits_of_separate_passes(
    shape: tuple[int, ...], activation: str | None
) -> None:
    x, w, b, geometry = build(shape, "NHWC")
    plan = F.Conv2dPlan(x.shape, w.shape, **geometry, algorithm="implicit_gemm")
    x *= 4
    x[0, 0, 0, 0], x[0, -1, -1, -1] = np.nan, np.inf
    base = plan.run(x, w, b)
    residual = array(*base.shape)
    residual[0, 0, -1, :3] = np.nan, np.inf, -np.inf
    for more in (None, residual):
        expected = base if more is None else F.add(base, more)
        if activation:
            expected = getattr(F, activation)(expected)
        for weight in (w, plan.pack(w)):
            got = plan.run(x, weight, b, residual=more, activation=activation)
            np.testing.assert_array_equal(got, expected)


@pytest.mark.parametrize("activation", ["relu", "relu6"])
@pytest.mark.parametrize("layout", ["NCHW", "NHWC"])
@pytest.mark.parametrize(
    "shape",
    [
        (1, 48, 15, 17, 48, 3, 1, 1, 48),
        (2, 36, 14, 14, 36, 3, 2, 1, 36),
        (1, 20, 9, 5, 40, 3, 1, 1, 20),
        (1, 19, 11, 23, 19, 5, 1, 2, 19),
        (1, 17, 12, 9, 17, 3, 3, 1, 17),
        (1, 5, 9, 9, 5, 3, 1, 1, 5),
        (1, 32, 10, 12, 32, 1, 4, 0, 32),
        (1, 64, 128, 132, 64, 3, 1, 1, 64),  # results of 4 MB
    ],
    ids=str,
)
def test_depthwise_clamps_with_the_bits_of_a_separate_pass(
    shape: tuple[int, ...], layout: str, activation: str
) -> None:
    x, w, b, geometry = build(shape, layout)
    plan = F.Conv2dPlan(x.shape, w.shape, **geometry, algorithm="depthwise")
    x *= 4
    x[0, 0, 0, 0], x[0, -1, -1, -1] = np.nan, np.inf
    base = plan.run(x, w, b)
    expected = getattr(F, activation)(base)
    np.testing.assert_array_equal(plan.run(x, w, b, activation=activation), expected)
    np.testing.assert_array_equal(plan.run(x, plan.pack(w), b, activation=activation), expected)
    residual = array(*base.shape)  # that goes in a pass behind
    got = plan.run(x, w, b, residual=residual, activation=activation)
    np.testing.assert_array_equal(got, getattr(F, activation)(F.add(base, residual)))


def test_packed_weights_fit_another_batch_size() -> None:
    x, w, b, geometry = build(SHAPES[1], "NHWC")
    more = array(5, *x.shape[1:])
    packed = F.Conv2dPlan(x.shape, w.shape, **geometry, algorithm="implicit_gemm").pack(w)
    plan = F.Conv2dPlan(more.shape, w.shape, **geometry, algorithm="implicit_gemm")
    assert np.array_equal(plan.run(more, packed, b), plan.run(more, w, b))


def test_empty_batch() -> None:
    plan = F.Conv2dPlan((0, 8, 5, 5), (4, 8, 3, 3))
    w = array(4, 8, 3, 3)
    assert plan.run(array(0, 8, 5, 5), plan.pack(w)).shape == (0, 4, 3, 3)


def test_errors() -> None:
    x, w, b = array(1, 8, 6, 6), array(4, 8, 3, 3), array(4)
    plan = F.Conv2dPlan(x.shape, w.shape)
    other = F.Conv2dPlan((1, 8, 7, 7), w.shape, algorithm="implicit_gemm")
    mine = F.Conv2dPlan(x.shape, w.shape, algorithm="implicit_gemm")
    with pytest.raises(ShapeError, match="packed for"):
        mine.run(x, other.pack(w))
    with pytest.raises(ShapeError, match="input"):
        plan.run(array(1, 8, 7, 6), w)
    with pytest.raises(ShapeError, match="weight"):
        plan.pack(array(4, 8, 3, 4))
    with pytest.raises(DTypeError, match="input"):
        plan.run(x.astype(np.float64), w)
    with pytest.raises(ShapeError, match="bias"):
        plan.run(x, w, array(5))
    with pytest.raises(ShapeError, match="residual"):
        plan.run(x, w, b, residual=array(1, 4, 4, 5))
    with pytest.raises(ShapeError, match="out"):
        plan.run(x, w, out=array(1, 4, 5, 4))
    with pytest.raises(ShapeError, match="mish"):
        plan.run(x, w, activation="mish")
    with pytest.raises(ShapeError, match="direction"):
        F.Conv2dPlan(x.shape, w.shape, direction="sideways")
    with pytest.raises(DTypeError, match="int8"):
        F.Conv2dPlan(x.shape, w.shape, dtype="int8")
    with pytest.raises(ShapeError, match="algorithm"):
        F.Conv2dPlan(x.shape, w.shape, algorithm="fft")
    with pytest.raises(ShapeError, match="threads"):
        plan.workspace_bytes(0)


@pytest.mark.parametrize("told", ["0", "1", "yes"])
def test_memory_as_the_environment_says(told: str) -> None:
    code = (
        "import fastconv.functional as F\n"
        "p = F.Conv2dPlan((4, 56, 56, 64), (64, 64, 3, 3), padding=1, layout='NHWC')\n"
        "print(p.algorithm)\n"
    )
    env = {**os.environ, "FASTCONV_FAST_MEMORY": told, "FASTCONV_ISA": ""}
    done = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True)
    if told == "yes":
        assert "DeviceError: FASTCONV_FAST_MEMORY must be 0 or 1, got 'yes'" in done.stderr
        return
    assert done.returncode == 0, done.stderr
    if "avx512" in _core.available_isas():
        assert done.stdout.strip() == ("winograd6" if told == "1" else "winograd")
