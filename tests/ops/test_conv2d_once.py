"""Single calls keep what they decided from shapes: nothing that it depends on may change unseen."""

from __future__ import annotations

import threading
from typing import Any

import numpy as np
import pytest

import fastconv as fc
import fastconv.functional as F
from fastconv import _core, nn

RNG = np.random.default_rng(11)
X = RNG.standard_normal((2, 16, 16, 64), dtype=np.float32)
W = RNG.standard_normal((64, 64, 3, 3), dtype=np.float32)
GEOMETRY = ((1, 1), (1, 1), (1, 1), 1, "NHWC")
DY = RNG.standard_normal((2, 16, 16, 64), dtype=np.float32)


def calls(algorithm: str = "") -> list[Any]:
    return [
        _core.conv2d(X, W, None, *GEOMETRY, algorithm=algorithm),
        _core.conv2d_input(X.shape, W, DY, *GEOMETRY, algorithm=algorithm),
        _core.conv2d_weight(X, W.shape, DY, *GEOMETRY, algorithm=algorithm),
    ]


def equal(a: list[Any], b: list[Any]) -> bool:
    return all(np.array_equal(x, y) for x, y in zip(a, b, strict=True))


def test_precision_changes_the_choice() -> None:
    fast, direct = calls("winograd"), calls("implicit_gemm")
    assert not equal(fast, direct)
    before = calls()
    fc.set_precision("highest")
    try:
        assert equal(calls(), direct)
    finally:
        fc.set_precision("high")
    assert equal(calls(), before)


def test_cost_factors_change_the_choice() -> None:
    scale = _core.conv2d_cost_scale()
    before, direct = calls(), calls("implicit_gemm")
    try:
        _core.set_conv2d_cost_scale(
            {**scale, "winograd": 90.0, "winograd6": 90.0, "winograd_wgrad": 90.0}
        )
        assert equal(calls(), direct)
    finally:
        _core.set_conv2d_cost_scale(scale)
    assert equal(calls(), before)


def test_threads_change_the_workspace() -> None:
    threads = fc.get_num_threads()
    first = calls()
    try:
        for count in (1, 4, 2, 7):
            fc.set_num_threads(count)
            assert equal(calls(), first)
    finally:
        fc.set_num_threads(threads)


def test_more_shapes_than_are_kept_from_several_threads() -> None:
    """Every call of 300 problems, twice over, and in threads that keep answers of their own."""
    problems = [(h, k, s) for h in range(5, 15) for k in range(3, 9) for s in range(1, 6)]
    x = RNG.standard_normal((1, 15, 15, 5), dtype=np.float32)

    def run() -> list[Any]:
        got = []
        for h, k, s in problems:
            w = np.full((k, 5, 3, 3), 0.5, np.float32)
            got.append(_core.conv2d(x[:, :h].copy(), w, None, (s, s), (1, 1), (1, 1), 1, "NHWC"))
        return got

    expected = run()
    for (h, _, s), y in zip(problems, expected, strict=True):
        rows = -(-h // s)
        assert y.shape[1] == rows
        center = x[0, : min(2, h), :2].astype(np.float64).sum() * 0.5
        assert y[0, 0, 0, 0] == pytest.approx(center, rel=1e-4, abs=1e-5)
    assert equal(run(), expected)
    results: list[list[Any]] = [[] for _ in range(3)]
    threads = [
        threading.Thread(target=lambda i=i: results[i].extend(run() + run())) for i in range(3)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for result in results:
        assert equal(result, expected + expected)


def test_im2col_is_for_single_calls() -> None:
    """Few pixels: one call reads weights as they lie, a plan or a program packs those that stay."""
    x = RNG.standard_normal((1, 4, 4, 96), dtype=np.float32)
    w = RNG.standard_normal((64, 96, 3, 3), dtype=np.float32)
    size = (x.shape, w.shape, *GEOMETRY)
    able = [name for name, reason in _core.conv2d_candidates(*size, "fprop") if not reason]
    assert able[0] == "im2col"
    np.testing.assert_array_equal(
        _core.conv2d(x, w, None, *GEOMETRY),
        _core.conv2d(x, w, None, *GEOMETRY, algorithm="im2col"),
    )
    plan = F.Conv2dPlan(x.shape, w.shape, padding=1, layout="NHWC")
    able = [name for name, reason in plan.algorithms() if not reason]
    assert plan.algorithm == able[0] != "im2col" and "im2col" in able

    conv = nn.Conv2d(96, 64, 3, padding=1)
    program = fc.compile(conv.eval(), np.moveaxis(x, 3, 1).copy())
    assert "implicit_gemm" in str(program.profile()) and "im2col" not in str(program.profile())
