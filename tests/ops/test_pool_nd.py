"""One- and three-dimensional pooling against loops in float64 and PyTorch."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest

import fastconv as fc
import fastconv.functional as F
from fastconv import _core, nn
from tests.cases.spatial import POOLINGS, Case
from tests.support import (
    assert_close,
    check_bfloat16,
    check_gradients,
    check_same_bits_for_threads,
    randn,
    rng,
)

cases = pytest.mark.parametrize("case", POOLINGS, ids=str)


def array(case: Case, dtype: Any = np.float32) -> Any:
    """Halves, so that there are equal maxima."""
    return (np.round(2 * randn(rng(str(case)), *case.shape)) / 2).astype(dtype)


def run(case: Case, x: Any, layout: str = "NCHW", **more: Any) -> Any:
    return getattr(F, case.function)(x, *case.args, layout=layout, **case.options, **more)


def last(x: Any) -> Any:
    return np.ascontiguousarray(np.moveaxis(x, 1, -1))


def spans(case: Case) -> list[list[tuple[list[int], int]]]:
    """For each axis, for each output the inputs that its window has, and what it counts for."""
    sizes = case.shape[2:]
    rank = len(sizes)

    def each(v: Any) -> tuple[Any, ...]:
        return v if isinstance(v, tuple) else (v,) * rank

    found = []
    if "adaptive" in case.function:
        for n, out in zip(sizes, each(case.args[0]), strict=True):
            out = n if out is None else out
            found.append(
                [
                    (
                        list(range(o * n // out, -(-(o + 1) * n // out))),
                        -(-(o + 1) * n // out) - o * n // out,
                    )
                    for o in range(out)
                ]
            )
        return found
    given = dict(zip(("kernel", "stride", "padding"), case.args, strict=False)) | case.options
    kernel = each(given["kernel"])
    stride = each(given.get("stride", kernel))
    padding, dilation = each(given.get("padding", 0)), each(given.get("dilation", 1))
    for n, k, s, p, d in zip(sizes, kernel, stride, padding, dilation, strict=True):
        slack = n + 2 * p - d * (k - 1) - 1
        out = slack // s + 1
        if given.get("ceil_mode"):
            out = -(-slack // s) + 1
            out -= (out - 1) * s >= n + p
        axis = []
        for o in range(out):
            places = [o * s - p + i * d for i in range(k)]
            inside = [i for i in places if 0 <= i < n]
            whole = min(o * s - p + k, n + p) - (o * s - p)
            axis.append((inside, whole if given.get("count_include_pad", True) else len(inside)))
        found.append(axis)
    return found


def by_loops(case: Case, x: Any) -> tuple[Any, Any]:
    """Results, and of maxima the first places."""
    axes = spans(case)
    shape = (*x.shape[:2], *map(len, axes))
    y, index = np.zeros(shape), np.zeros(shape, np.int64)
    strides = [int(np.prod(x.shape[3 + i :])) for i in range(x.ndim - 2)]
    for at in itertools.product(*map(range, shape[2:])):
        windows = [axes[d][i] for d, i in enumerate(at)]
        places = list(itertools.product(*(w[0] for w in windows)))
        values = np.stack([x[(slice(None), slice(None), *p)] for p in places], -1)
        here = (slice(None), slice(None), *at)
        if "max" in case.function:
            y[here] = values.max(-1)
            flat = np.array([sum(i * s for i, s in zip(p, strides, strict=True)) for p in places])
            index[here] = flat[values.argmax(-1)]
        else:
            count = case.options.get("divisor_override") or np.prod([w[1] for w in windows])
            y[here] = values.sum(-1) / count
    return y, index


@cases
def test_values(case: Case) -> None:
    x = array(case, np.float64)
    expected, index = by_loops(case, x)
    tol = 0 if "max" in case.function else 1e-14
    assert_close(run(case, x), expected, tol)
    for layout in ("NCHW", "NHWC"):
        flip = layout == "NHWC"
        single = x.astype(np.float32)
        single = last(single) if flip else single
        y = run(case, single, layout)
        assert y.dtype == np.float32 and y.flags.c_contiguous
        assert_close(y, last(expected) if flip else expected, 1e-6)
        if "max" in case.function:
            y, places = run(case, single, layout, return_indices=True)
            np.testing.assert_array_equal(y, run(case, single, layout))
            assert places.dtype == np.int64
            np.testing.assert_array_equal(places, last(index) if flip else index)


@pytest.mark.parametrize("layout", ["NCHW", "NHWC"])
@pytest.mark.parametrize("case", [c for c in POOLINGS if 0 < np.prod(c.shape) < 1100], ids=str)
def test_gradients(case: Case, layout: str) -> None:
    x = randn(rng(str(case)), *case.shape, dtype=np.float64)
    check_gradients(lambda t: run(case, t, layout), [last(x) if layout == "NHWC" else x])


# PyTorch's one-dimensional means take no divisor.
TORCH = [c for c in POOLINGS if c.shape[0]]


@pytest.mark.parametrize("case", TORCH, ids=str)
def test_matches_torch(case: Case) -> None:
    torch = pytest.importorskip("torch")
    torch.set_num_threads(1)
    x = array(case)
    theirs, ours = torch.from_numpy(x.copy()).requires_grad_(), fc.tensor(x, requires_grad=True)
    function = getattr(torch.nn.functional, case.function)
    more = {"return_indices": True} if "max" in case.function else {}
    expected = function(theirs, *case.args, **case.options, **more)
    y = run(case, ours, **more)
    if more:
        (expected, places), (y, index) = expected, y
        np.testing.assert_array_equal(index.numpy(), places.numpy())
    assert_close(y.numpy(), expected.detach().numpy(), 1e-6)
    g = randn(rng("g", str(case)), *expected.shape)
    expected.backward(torch.from_numpy(g))
    y.backward(g)
    assert ours.grad is not None
    assert_close(ours.grad.numpy(), theirs.grad.numpy(), 2e-6)


@cases
def test_bfloat16_and_threads(case: Case) -> None:
    x = array(case)
    check_bfloat16(lambda t: run(case, t), [x])
    check_same_bits_for_threads(lambda: run(case, x))


def test_the_last_nan_counts() -> None:
    x = np.zeros((1, 1, 3, 3, 3), np.float32)
    x[0, 0, 0, 1, 2] = x[0, 0, 1, 2, 0] = x[0, 0, 1, 1, 2] = np.nan
    for layout in ("NCHW", "NHWC"):
        y, index = F.max_pool3d(
            x if layout == "NCHW" else last(x), 3, return_indices=True, layout=layout
        )
        assert np.isnan(y).all() and index.ravel().tolist() == [9 + 6]


LAYERS: list[tuple[Any, tuple[int, ...], str]] = [
    (lambda m: m.MaxPool1d(3, 2, 1, ceil_mode=True), (2, 3, 8), "MaxPool1d(kernel_size=(3,), st"),
    (lambda m: m.MaxPool3d((2, 3, 1), dilation=2), (2, 3, 8, 7, 6), "MaxPool3d(kernel_size=(2, 3"),
    (lambda m: m.AvgPool1d(3, 2, 1, count_include_pad=False), (2, 3, 8), "AvgPool1d(kernel_size"),
    (lambda m: m.AvgPool3d(3, divisor_override=5), (2, 3, 8, 7, 6), "AvgPool3d(kernel_size=(3, 3"),
    (lambda m: m.AdaptiveAvgPool1d(3), (2, 3, 8), "AdaptiveAvgPool1d(output_size=(3,))"),
    (lambda m: m.AdaptiveMaxPool1d(3), (2, 3, 8), "AdaptiveMaxPool1d(output_size=(3,))"),
    (lambda m: m.AdaptiveAvgPool3d((2, None, 1)), (2, 3, 8, 7, 6), "AdaptiveAvgPool3d(output_s"),
    (lambda m: m.AdaptiveMaxPool3d(2), (2, 3, 8, 7, 6), "AdaptiveMaxPool3d(output_size=(2, 2, 2"),
]


@pytest.mark.parametrize(("make", "shape", "text"), LAYERS)
def test_layers(make: Any, shape: Any, text: str) -> None:
    torch = pytest.importorskip("torch")
    layer = make(nn)
    assert repr(layer).startswith(text)
    x = randn(rng(shape), *shape)
    assert_close(layer(x), make(torch.nn)(torch.from_numpy(x)).numpy(), 1e-6)
    layer.layout = "NHWC"
    assert_close(layer(last(x)), last(make(torch.nn)(torch.from_numpy(x)).numpy()), 1e-6)


X1, X3 = np.zeros((2, 4, 9), np.float32), np.zeros((2, 4, 3, 4, 5), np.float32)


@pytest.mark.parametrize(
    ("call", "error", "text"),
    [
        (lambda: F.max_pool1d(X3, 2), fc.ShapeError, r"max_pool1d: input must be \(N, C, L\)"),
        (lambda: F.max_pool3d(X1, 2), fc.ShapeError, r"max_pool3d: input must be \(N, C, D, H, W"),
        (lambda: F.max_pool3d(X3[:, :, :0], 2), fc.ShapeError, "max_pool3d: .* no empty axis"),
        (lambda: F.max_pool1d(X1.astype(int), 2), fc.DTypeError, "max_pool1d: input must be float"),
        (lambda: F.max_pool1d(X1, 10), fc.ShapeError, "max_pool1d: a kernel of length 10"),
        (lambda: F.max_pool3d(X3, 4), fc.ShapeError, "max_pool3d: a kernel of depth 4"),
        (lambda: F.max_pool3d(X3, (1, 2)), fc.ShapeError, "max_pool3d: kernel_size must be an int"),
        (lambda: F.max_pool1d(X1, 2, 0), fc.ShapeError, "max_pool1d: stride must be at least 1"),
        (lambda: F.max_pool1d(X1, 3, 1, 2), fc.ShapeError, "max_pool1d: padding .length. must be"),
        (lambda: F.max_pool1d(X1[..., :1], 3, 1, 1, 2), fc.ShapeError, "max_pool1d: .* kernel"),
        (
            lambda: F.max_pool1d(X1, 2, return_indices=1),
            fc.DTypeError,
            "max_pool1d: return_indices",
        ),
        (lambda: F.max_pool1d(X1, 2, ceil_mode="no"), fc.DTypeError, "max_pool1d: ceil_mode must"),
        (
            lambda: F.avg_pool3d(X3, 2, divisor_override=0),
            fc.ShapeError,
            "avg_pool3d: divisor_over",
        ),
        (
            lambda: F.avg_pool1d(X1, 2, divisor_override=0),
            fc.ShapeError,
            "avg_pool1d: divisor_over",
        ),
        (lambda: F.avg_pool3d(X3, 2, layout="NDHWC"), fc.ShapeError, "avg_pool3d: layout must be"),
        (lambda: F.adaptive_avg_pool3d(X3, (1, 2)), fc.ShapeError, "pool3d: output_size must be"),
        (lambda: F.adaptive_avg_pool1d(X1, -1), fc.ShapeError, "pool1d: output_size must be at l"),
        (lambda: nn.MaxPool3d((1, 2)), fc.ShapeError, r"MaxPool3d: kernel_size must be .* \(depth"),
        (lambda: nn.AdaptiveAvgPool3d((1, 2)), fc.ShapeError, "one or three values, got 2"),
    ],
)
def test_bad_arguments(call: Any, error: type[Exception], text: str) -> None:
    with pytest.raises(error, match=text):
        call()


def test_the_native_joining_of_places_checks_its_arrays() -> None:
    inside, along = np.zeros((2, 3, 4), np.int64), np.zeros((2, 1, 4), np.int64)
    assert _core.pool3d_positions(inside, along, 10, 1).shape == (2, 1, 4)
    along[0, 0] = [-1, 12, 2**62, 11]
    inside[0, 2, 3] = 7
    got = _core.pool3d_positions(inside, along, 10, 1)
    assert got[0, 0].tolist() == [-1, -1, -1, 27]
    for bad in (
        (inside, along, 10, 2),
        (inside, along[:1], 10, 1),
        (inside, along[..., 0], 10, 1),
    ):
        with pytest.raises(fc.ShapeError, match="pool3d_positions"):
            _core.pool3d_positions(*bad)
    with pytest.raises(fc.DTypeError, match="pool3d_positions"):
        _core.pool3d_positions(inside.astype(np.int32), along, 10, 1)
