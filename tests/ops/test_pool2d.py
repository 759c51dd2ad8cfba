"""Pooling against a float64 oracle written here, PyTorch, finite differences, and bad arguments."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import fastconv as fc
import fastconv.functional as F
from tests.cases.pool2d import CASES, Pool2dCase
from tests.support import assert_close, check_gradients, check_same_bits_for_threads, randn, rng

SMALL = [c for c in CASES if np.prod(c.size) <= 800]
MAXIMA = [c for c in CASES if c.is_max]
by_name = {"ids": str}


def run(case: Pool2dCase, x: Any, **more: Any) -> Any:
    return getattr(F, case.function)(x, *case.args, **{**case.options, **more})


def pair(v: Any) -> tuple[Any, Any]:
    return v if isinstance(v, tuple) else (v, v)


def windows_of(case: Pool2dCase, axis: int) -> list[tuple[list[int], int]]:
    """Per output along the axis: the input positions of its window, its part of the divisor."""
    size = case.size[2 + axis]
    if "adaptive" in case.function or "global" in case.function:
        out = pair(case.args[0])[axis] if case.args else 1
        out = size if out is None else out
        spans = [(o * size // out, -(-(o + 1) * size // out)) for o in range(out)]
        return [(list(range(a, b)), b - a) for a, b in spans]
    k = pair(case.args[0])[axis]
    s = pair(case.args[1])[axis] if len(case.args) > 1 else k
    pad = pair(case.args[2])[axis] if len(case.args) > 2 else 0
    d = pair(case.options.get("dilation", 1))[axis]
    result = []
    for start in itertools.count(-pad, s):
        fits = start + d * (k - 1) < size + pad
        # With ceil_mode one window may hang over the end, if it starts inside.
        hangs = start < size and start - s + d * (k - 1) < size + pad - 1
        if not fits and not (hangs and case.options.get("ceil_mode", False)):
            return result
        taps = [start + d * i for i in range(k) if 0 <= start + d * i < size]
        padded = min(start + k, size + pad) - start
        counted = padded if case.options.get("count_include_pad", True) else len(taps)
        result.append((taps, counted))
    raise AssertionError


def oracle(case: Pool2dCase, x: Any, dy: Any = None) -> tuple[Any, Any, Any]:
    """Values, positions (of maxima) and the gradient of an NCHW input, in float64."""
    x = np.asarray(x, np.float64)
    rows, columns = windows_of(case, 0), windows_of(case, 1)
    y = np.empty((*x.shape[:2], len(rows), len(columns)))
    where = np.zeros(y.shape, np.int64)
    dx = np.zeros(x.shape)
    for (p, (hs, hn)), (q, (ws, wn)) in itertools.product(enumerate(rows), enumerate(columns)):
        window = x[:, :, hs][:, :, :, ws]
        flat = window.reshape(*x.shape[:2], -1)
        if case.is_max:
            nan = np.isnan(flat)
            last_nan = flat.shape[-1] - 1 - nan[..., ::-1].argmax(-1)
            best = np.where(nan.any(-1), last_nan, np.where(nan, -np.inf, flat).argmax(-1))
            y[:, :, p, q] = np.take_along_axis(flat, best[..., None], -1)[..., 0]
            h, w = np.array(hs)[best // len(ws)], np.array(ws)[best % len(ws)]
            where[:, :, p, q] = h * x.shape[3] + w
            if dy is not None:
                n, c = np.ogrid[: x.shape[0], : x.shape[1]]
                np.add.at(dx, (n, c, h, w), dy[:, :, p, q])
            continue
        divisor = hn * wn
        if case.function == "sum_pool2d":
            divisor = 1
        divisor = case.options.get("divisor_override", divisor)
        y[:, :, p, q] = flat.sum(-1) / divisor
        if dy is not None:
            share = dy[:, :, p, q][..., None, None] / divisor
            dx[np.ix_(range(x.shape[0]), range(x.shape[1]), hs, ws)] += share
    return y, where, dx


def in_layout(x: Any, layout: str) -> Any:
    return np.ascontiguousarray(x.transpose(0, 2, 3, 1)) if layout == "NHWC" else x


def back(x: Any, layout: str) -> Any:
    x = np.asarray(x)
    return x.transpose(0, 3, 1, 2) if layout == "NHWC" else x


def check(case: Pool2dCase, x: Any, layout: str, tol: float) -> None:
    t = fc.tensor(in_layout(x, layout), requires_grad=True)
    more: dict[str, Any] = {"layout": layout}
    wants = case.is_max and "global" not in case.function
    if wants:
        y, where = run(case, t, return_indices=True, **more)
        assert isinstance(where, fc.Tensor) and not where.requires_grad and where.dtype == np.int64
    else:
        y, where = run(case, t, **more), None
    assert y.dtype == x.dtype
    dy = rng(str(case)).standard_normal(back(y, layout).shape).astype(x.dtype)
    expected, positions, dx = oracle(case, x, dy)
    assert_close(back(y, layout), expected, 0 if case.is_max else tol, "output")
    if wants:
        np.testing.assert_array_equal(back(where, layout), positions)
    # Without a gradient to come, no taps are saved: the other build of the same loop.
    np.testing.assert_array_equal(run(case, in_layout(x, layout), **more), np.asarray(y))
    y.backward(in_layout(dy, layout))
    assert t.grad is not None
    assert_close(back(t.grad, layout), dx, tol, "gradient")


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("layout", ["NCHW", "NHWC"])
@pytest.mark.parametrize("case", CASES, **by_name)
def test_agrees_with_the_oracle(case: Pool2dCase, layout: str, dtype: Any) -> None:
    check(case, randn(rng(str(case)), *case.size, dtype=dtype), layout, 2e-6)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("layout", ["NCHW", "NHWC"])
@pytest.mark.parametrize("case", MAXIMA, **by_name)
def test_ties_nan_and_infinities(case: Pool2dCase, layout: str, dtype: Any) -> None:
    values = np.array([-np.inf, -1, 0, 0, 1, 1, np.inf, np.nan], dtype)
    for chosen in (values[1:5], values[:3], values[:1], values):
        x = rng(str(case), len(chosen)).choice(chosen, case.size)
        check(case, x, layout, 2e-6)


@pytest.mark.parametrize("layout", ["NCHW", "NHWC"])
def test_nan_reaches_exactly_the_averages_that_hold_it(layout: str) -> None:
    case = Pool2dCase("avg_pool2d", (1, 19, 20, 37), (3, 2, 1))
    x = randn(rng("nan"), *case.size)
    x[0, 3, 7, 8], x[0, 18, 19, 36] = np.nan, np.inf
    assert_close(back(run(case, in_layout(x, layout), layout=layout), layout), oracle(case, x)[0])


@pytest.mark.parametrize("case", SMALL, **by_name)
def test_gradients_by_finite_differences(case: Pool2dCase) -> None:
    # Distinct values half a unit apart: no maximum changes hands within the step.
    x = rng(str(case)).permutation(int(np.prod(case.size))).reshape(case.size) * 0.5
    check_gradients(lambda t: run(case, t), [x], eps=1e-3, tol=1e-6)


def test_large_averages_stay_accurate() -> None:
    x = rng("large").random((1, 2, 300, 500)).astype(np.float32)
    for layout in ("NCHW", "NHWC"):
        y = back(F.global_avg_pool2d(in_layout(x, layout), layout=layout), layout)
        assert_close(y, x.mean((2, 3), np.float64, keepdims=True), 1e-6)


def test_windows_of_more_than_256_taps_keep_wide_indices() -> None:
    for size, k in (((1, 18, 40, 40), 20), ((2, 3, 300, 3), (290, 1))):
        case = Pool2dCase("max_pool2d", size, (k, 1, 0))
        for layout in ("NCHW", "NHWC"):
            check(case, randn(rng("wide"), *size), layout, 2e-6)


@pytest.mark.parametrize("function", ["max_pool2d", "avg_pool2d", "sum_pool2d"])
def test_a_kernel_far_wider_than_the_input(function: str) -> None:
    k = 2**15 if function == "max_pool2d" else 2**30
    x = randn(rng("far"), 1, 2, 3, 5)
    y = getattr(F, function)(x, k, k, k // 2)
    assert y.shape == (1, 2, 1, 1)
    total = x.sum((2, 3), np.float64)
    expected = {"max_pool2d": x.max((2, 3)), "sum_pool2d": total, "avg_pool2d": total / k**2}
    assert_close(y[:, :, 0, 0], expected[function])


@pytest.mark.parametrize("case", [c for c in CASES if c.size[1] > 2][::3], **by_name)
def test_threads_do_not_change_a_bit(case: Pool2dCase) -> None:
    big = (3, 40, *(4 * s for s in case.size[2:]))
    x = randn(rng(str(case)), *big)
    for layout in ("NCHW", "NHWC"):

        def both(layout: str = layout) -> Any:
            t = fc.tensor(in_layout(x, layout), requires_grad=True)
            y = run(case, t, layout=layout)
            y.backward(np.cos(np.arange(y.size, dtype=np.float32)).reshape(y.shape))
            assert t.grad is not None
            return y, t.grad

        check_same_bits_for_threads(both)


@settings(deadline=None, max_examples=150, derandomize=True)
@given(st.data())
def test_drawn_geometry(data: Any) -> None:
    def pick(low: int, high: int) -> int:
        return data.draw(st.integers(low, high))

    function = data.draw(st.sampled_from(["max_pool2d", "avg_pool2d", "sum_pool2d"]))
    kernel = (pick(1, 6), pick(1, 6))
    stride = (pick(1, 5), pick(1, 5))
    padding = (pick(0, kernel[0] // 2), pick(0, kernel[1] // 2))
    options: dict[str, Any] = {"ceil_mode": data.draw(st.booleans())}
    dilation = (1, 1)
    if function == "max_pool2d":
        dilation = (pick(1, 3), pick(1, 3))
        options["dilation"] = dilation
    if function == "avg_pool2d":
        options["count_include_pad"] = data.draw(st.booleans())
    least = [
        max(d, d * (k - 1) + 1 - 2 * p) for d, k, p in zip(dilation, kernel, padding, strict=True)
    ]
    size = (pick(1, 2), pick(1, 20), pick(least[0], least[0] + 12), pick(least[1], least[1] + 40))
    case = Pool2dCase(function, size, (kernel, stride, padding), options)
    layout = data.draw(st.sampled_from(["NCHW", "NHWC"]))
    check(case, randn(rng(str(case)), *size), layout, 2e-6)


@settings(deadline=None, max_examples=60, derandomize=True)
@given(
    st.sampled_from(["adaptive_avg_pool2d", "adaptive_max_pool2d"]),
    st.tuples(st.integers(1, 2), st.integers(1, 20), st.integers(1, 20), st.integers(1, 40)),
    st.tuples(st.integers(1, 25), st.integers(1, 25)),
    st.sampled_from(["NCHW", "NHWC"]),
)
def test_drawn_adaptive_geometry(function: str, size: Any, out: Any, layout: str) -> None:
    case = Pool2dCase(function, size, (out,))
    check(case, randn(rng(str(case)), *size), layout, 2e-6)


def test_channels_last_memory_stays_channels_last() -> None:
    x = randn(rng("memory"), 2, 9, 8, 5).transpose(0, 3, 1, 2)
    dense = np.ascontiguousarray(x)
    for function, args in (("max_pool2d", (3, 2, 1)), ("global_avg_pool2d", ())):
        case = Pool2dCase(function, x.shape, args)
        y = run(case, x)
        assert y.transpose(0, 2, 3, 1).flags.c_contiguous
        assert_close(y, run(case, dense))
    t = fc.Tensor(x, requires_grad=True)
    y, where = F.max_pool2d(t, 2, return_indices=True)
    case = Pool2dCase("max_pool2d", x.shape, (2, 2, 0))
    expected, positions, dx = oracle(case, x, np.ones(y.shape))
    y.backward(np.ones(y.shape, np.float32))
    assert_close(y, expected, 0)
    np.testing.assert_array_equal(where, positions)
    assert t.grad is not None
    assert_close(t.grad, dx)


def test_awkward_arrays_are_read_right() -> None:
    x = randn(rng("awkward"), 2, 3, 8, 8)
    expected = F.max_pool2d(x, 2)
    frozen = x.copy()
    frozen.flags.writeable = False
    wide = np.repeat(x, 2, axis=3)[..., ::2]
    flipped = np.ascontiguousarray(x[:, :, ::-1])[:, :, ::-1]
    raw = np.empty(x.nbytes + 1, np.uint8)
    misaligned = raw[1:].view(np.float32).reshape(x.shape)
    misaligned[...] = x
    for a in (frozen, wide, flipped, misaligned, x.astype(">f4")):
        np.testing.assert_array_equal(F.max_pool2d(a, 2), expected)


def test_empty_batches_channels_and_outputs() -> None:
    assert F.max_pool2d(np.zeros((0, 3, 7, 7), np.float32), 2).shape == (0, 3, 3, 3)
    assert F.avg_pool2d(np.zeros((2, 0, 7, 7), np.float32), 2).shape == (2, 0, 3, 3)
    assert F.global_avg_pool2d(np.zeros((0, 3, 7, 7), np.float64)).shape == (0, 3, 1, 1)
    assert F.max_pool2d(np.zeros((0, 3, 2**40, 7), np.float32), 2).shape == (0, 3, 2**39, 3)
    t = fc.tensor(np.ones((2, 3, 4, 4), np.float32), requires_grad=True)
    y = F.adaptive_max_pool2d(t, (0, 2))
    assert y.shape == (2, 3, 0, 2)
    y.backward(np.zeros(y.shape, np.float32))
    assert t.grad is not None
    np.testing.assert_array_equal(t.grad, np.zeros((2, 3, 4, 4)))


def test_no_indices_are_computed_without_gradients() -> None:
    t = fc.tensor(np.ones((1, 1, 4, 4), np.float32), requires_grad=True)
    with fc.no_grad():
        assert not F.max_pool2d(t, 2).requires_grad


X = np.zeros((2, 3, 7, 7), np.float32)
BAD: list[tuple[str, tuple[Any, ...], dict[str, Any], type[Exception], str]] = [
    ("max_pool2d", (X[0, 0], 2), {}, fc.ShapeError, "4 dimensions, got 2"),
    ("max_pool2d", (X, 8), {}, fc.ShapeError, "does not fit the input"),
    ("max_pool2d", (X, 9, 2), {"ceil_mode": True}, fc.ShapeError, "does not fit the input"),
    ("max_pool2d", (X, 0), {}, fc.ShapeError, "kernel size"),
    ("max_pool2d", (X, 2, 0), {}, fc.ShapeError, "stride"),
    ("max_pool2d", (X, 2, -1), {}, fc.ShapeError, "stride"),
    ("max_pool2d", (X, 2, 2, -1), {}, fc.ShapeError, "padding"),
    ("max_pool2d", (X, 2, 2, 2), {}, fc.ShapeError, "at most half the kernel"),
    ("max_pool2d", (X, 3, 1, (1, 2)), {"dilation": 3}, fc.ShapeError, "width.*at most half"),
    ("max_pool2d", (X, 2), {"dilation": 0}, fc.ShapeError, "dilation"),
    ("max_pool2d", (X[:, :, :2], (2, 1), 1, (1, 0)), {"dilation": 3}, fc.ShapeError, "wholly in"),
    ("max_pool2d", (X, 2**62), {}, fc.ShapeError, "kernel size"),
    ("max_pool2d", (X, 10**30), {}, fc.ShapeError, "out of range"),
    ("max_pool2d", (X, 2**17, 1, 2**16), {}, fc.ShapeError, "too large"),
    ("max_pool2d", (X, (2, 2, 2)), {}, fc.ShapeError, "pair"),
    ("max_pool2d", (X, 2.0), {}, fc.DTypeError, "kernel_size"),
    ("max_pool2d", (X, True), {}, fc.DTypeError, "kernel_size"),
    ("max_pool2d", (X, None), {}, fc.DTypeError, "kernel_size"),
    ("max_pool2d", (X, 2), {"ceil_mode": 1}, fc.DTypeError, "ceil_mode"),
    ("max_pool2d", (X, 2), {"layout": "CHWN"}, fc.ShapeError, "layout"),
    ("max_pool2d", (X[:, :, :0], 2), {}, fc.ShapeError, "height and width"),
    ("max_pool2d", (X[:, :, :, :0], 3, 1, 1), {}, fc.ShapeError, "height and width"),
    ("max_pool2d", (X.astype(np.int64), 2), {}, fc.DTypeError, "float64 or bfloat16, got int64"),
    ("max_pool2d", (X.astype(np.float16), 2), {}, fc.DTypeError, "float16"),
    ("max_pool2d", (X.astype(np.complex64), 2), {}, fc.DTypeError, "complex64"),
    ("max_pool2d", (X.tolist(), 2), {}, fc.DTypeError, "must be an array"),
    ("max_pool2d", (None, 2), {}, fc.DTypeError, "must be an array"),
    ("avg_pool2d", (X, 2), {"divisor_override": 0}, fc.ShapeError, "divisor_override"),
    ("avg_pool2d", (X, 2), {"divisor_override": 1.5}, fc.DTypeError, "divisor_override"),
    ("avg_pool2d", (X, 2), {"count_include_pad": None}, fc.DTypeError, "count_include_pad"),
    ("avg_pool2d", (X, 2, 2, 2), {}, fc.ShapeError, "at most half the kernel"),
    ("sum_pool2d", (X, 9), {}, fc.ShapeError, "does not fit the input"),
    ("adaptive_avg_pool2d", (X, -1), {}, fc.ShapeError, "output_size"),
    ("adaptive_avg_pool2d", (X, (2, 2.5)), {}, fc.DTypeError, "output_size"),
    ("adaptive_avg_pool2d", (X, (2, 2, 2)), {}, fc.ShapeError, "pair"),
    ("adaptive_avg_pool2d", (X, 2**40), {}, fc.ShapeError, "too large"),
    ("adaptive_max_pool2d", (X[0, 0], 1), {}, fc.ShapeError, "4 dimensions, got 2"),
    ("global_avg_pool2d", (X[0, 0],), {}, fc.ShapeError, "4 dimensions, got 2"),
    ("global_max_pool2d", (X[:, :, :0],), {}, fc.ShapeError, "height and width"),
]


@pytest.mark.parametrize(("function", "args", "options", "error", "text"), BAD)
def test_bad_arguments_are_refused(
    function: str, args: Any, options: Any, error: type[Exception], text: str
) -> None:
    with pytest.raises(error, match=f"^{function}: .*{text}"):
        getattr(F, function)(*args, **options)


def test_an_output_beyond_any_memory_is_a_memory_error() -> None:
    with pytest.raises(MemoryError, match="out of memory"):
        F.adaptive_avg_pool2d(np.ones((1, 1, 2, 2), np.float32), (2**59 - 1, 1))


@pytest.mark.parametrize("case", [c for c in CASES if c.function not in ("sum_pool2d",)], **by_name)
def test_agrees_with_pytorch(case: Pool2dCase) -> None:
    torch = pytest.importorskip("torch")
    torch.set_num_threads(1)
    names = {"global_avg_pool2d": "adaptive_avg_pool2d", "global_max_pool2d": "adaptive_max_pool2d"}
    theirs = getattr(torch.nn.functional, names.get(case.function, case.function))
    x = rng(str(case)).integers(-9, 9, case.size).astype(np.float32)
    if case.is_max:
        x[rng(str(case), "nan").random(case.size) < 0.01] = np.nan
    a = torch.tensor(x, requires_grad=True)
    t = fc.tensor(x, requires_grad=True)
    args = case.args or (1,)
    if case.is_max and case.args:
        y, where = run(case, t, return_indices=True)
        expected, indices = theirs(a, *args, **case.options, return_indices=True)
        np.testing.assert_array_equal(where, indices.numpy())
    else:
        y, expected = run(case, t), theirs(a, *args, **case.options)
    assert_close(y, expected.detach().numpy(), 1e-6)
    dy = randn(rng("dy"), *y.shape)
    y.backward(dy)
    expected.backward(torch.tensor(dy))
    assert t.grad is not None
    assert_close(t.grad, a.grad.numpy(), 2e-6)


def test_torch_tensors_come_back_as_torch_tensors() -> None:
    torch = pytest.importorskip("torch")
    y, where = F.max_pool2d(torch.ones(1, 2, 4, 4), 2, return_indices=True)
    assert isinstance(y, torch.Tensor) and where.dtype == torch.int64
