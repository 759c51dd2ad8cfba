"""resample and interpolate."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import fastconv as fc
import fastconv.functional as F
from fastconv import _core, nn
from tests.support import (
    assert_close,
    check_bfloat16,
    check_gradients,
    check_same_bits_for_threads,
    randn,
    rng,
)


def array(*shape: int, dtype: Any = np.float32) -> Any:
    return np.asarray(randn(rng(shape), *shape), dtype)


def resample_by_loops(x: Any, dim: int, index: Any, weight: Any) -> Any:
    """One element at a time."""
    moved = np.moveaxis(np.asarray(x, np.float64), dim, 0)
    rows = np.reshape(index, (len(index), np.shape(index)[1] if np.ndim(index) > 1 else 1))
    factors = np.ones(rows.shape) if weight is None else np.reshape(weight, rows.shape)
    y = np.zeros((len(rows), *moved.shape[1:]))
    for o in range(len(rows)):
        for place, factor in zip(rows[o], factors[o], strict=True):
            if place >= 0:
                y[o] += factor * moved[place]
    return np.moveaxis(y, 0, dim)


def table(inputs: int, outputs: int, taps: int, weighted: bool) -> tuple[Any, Any]:
    generator = rng(inputs, outputs, taps)
    index = generator.integers(-1, inputs, (outputs, taps))
    return index, generator.standard_normal((outputs, taps)) if weighted else None


@pytest.mark.parametrize("weighted", [True, False])
@pytest.mark.parametrize("taps", [1, 2, 5])
@pytest.mark.parametrize(("shape", "dim"), [((7,), 0), ((3, 7), 1), ((3, 7, 37), 1), ((7, 4), 0)])
def test_resample(shape: Any, dim: int, taps: int, weighted: bool) -> None:
    index, weight = table(7, 11, taps, weighted)
    expected = resample_by_loops(array(*shape), dim, index, weight)
    for dtype, tol in ((np.float32, 1e-6), (np.float64, 1e-15)):
        got = F.resample(array(*shape, dtype=dtype), dim, index, weight)
        assert got.dtype == dtype
        assert_close(got, expected, tol)
    check_gradients(lambda t: F.resample(t, dim, index, weight), [array(*shape, dtype=np.float64)])
    check_bfloat16(lambda t: F.resample(t, dim, index, weight), [array(*shape)])


@settings(deadline=None, max_examples=60, derandomize=True)
@given(st.data())
def test_any_table(data: Any) -> None:
    shape = data.draw(st.lists(st.integers(1, 20), min_size=1, max_size=4))
    dim = data.draw(st.integers(0, len(shape) - 1))
    index, weight = table(
        shape[dim],
        data.draw(st.integers(0, 9)),
        data.draw(st.integers(0, 4)),
        data.draw(st.booleans()),
    )
    x = array(*shape)
    order = data.draw(st.permutations(range(len(shape))))
    x = np.ascontiguousarray(x.transpose(order)).transpose(np.argsort(order))
    got = F.resample(x, dim, index, weight)
    assert_close(got, resample_by_loops(x, dim, index, weight), 1e-5)


def test_copies_keep_every_bit() -> None:
    x = np.array([np.nan, np.inf, -0.0, 1e-42, 3.0], np.float32)
    x[0] = np.uint32(0x7FC12345).view(np.float32)
    index = np.array([0, 3, 2, -1, 1])
    got = F.resample(x, 0, index)
    np.testing.assert_array_equal(got[:3].view(np.uint32), x[[0, 3, 2]].view(np.uint32))
    assert got[3] == 0 and got[4] == np.inf


@pytest.mark.parametrize(("shape", "dim"), [((64, 300, 3), 1), ((5, 3000), 1), ((900, 70), 0)])
def test_threads(shape: Any, dim: int) -> None:
    index, weight = table(shape[dim], 1000, 3, True)
    x = array(*shape)
    check_same_bits_for_threads(lambda: F.resample(x, dim, index, weight))


def tensor_grad(torch: Any, x: Any, g: Any, **options: Any) -> tuple[Any, Any]:
    t = torch.from_numpy(x.copy()).requires_grad_()
    y = torch.nn.functional.interpolate(t, **options)
    y.backward(torch.from_numpy(g(tuple(y.shape))))
    return y.detach().numpy(), t.grad.numpy()


INTERPOLATE: list[tuple[tuple[int, ...], dict[str, Any]]] = [
    *(
        ((2, 3, old), {"size": new, "mode": mode})
        for mode in ("nearest", "nearest-exact", "linear")
        for old, new in ((1, 4), (5, 1), (5, 5), (7, 16), (16, 7), (3, 64), (13, 12))
    ),
    *(
        ((2, 3, old), {"scale_factor": factor, "mode": mode, "recompute_scale_factor": again})
        for mode in ("nearest", "nearest-exact", "linear")
        for old, factor in ((5, 0.5), (8, 2.7), (10, 1 / 3), (4, 2), (2, 1.0))
        for again in (None, True)
    ),
    *(
        ((1, 2, 6, 5), {"size": (9, 3), "mode": mode, "align_corners": corners})
        for mode in ("bilinear", "bicubic")
        for corners in (None, False, True)
    ),
    *(
        ((1, 2, 6, 4), {"scale_factor": factors, "mode": mode})
        for mode in ("nearest", "nearest-exact", "bilinear", "bicubic")
        for factors in (2, (1.3, 1.3), (1.2, 2.0), (0.7, 1.6))
    ),
    ((1, 1, 1, 1), {"size": (2, 3), "mode": "bicubic", "align_corners": True}),
    ((1, 2, 3, 4, 5), {"size": (5, 2, 7), "mode": "trilinear"}),
    ((1, 2, 3, 4, 5), {"size": (5, 2, 7), "mode": "trilinear", "align_corners": True}),
    ((1, 2, 3, 4, 5), {"scale_factor": (2, 0.5, 1.5), "mode": "nearest"}),
    ((2, 3, 4, 5, 6), {"size": 4, "mode": "nearest-exact"}),
    ((0, 2, 4, 5), {"size": 3, "mode": "bilinear"}),
    ((2, 40, 33, 31), {"scale_factor": 2, "mode": "bilinear"}),
]


def test_nearest_of_volumes_that_keep_their_size() -> None:
    """PyTorch's forward finds places by the factor here; its backward does not, ours is of the forward."""
    torch = pytest.importorskip("torch")
    x = array(2, 3, 2, 2, 3)
    factors = (1.3, 2, 1.2)
    expected = torch.nn.functional.interpolate(torch.from_numpy(x.copy()), scale_factor=factors)
    np.testing.assert_array_equal(F.interpolate(x, scale_factor=factors), expected.numpy())
    check_gradients(lambda v: F.interpolate(v, scale_factor=factors), [x.astype(np.float64)])


@pytest.mark.parametrize(("shape", "options"), INTERPOLATE, ids=str)
def test_interpolate_matches_torch(shape: Any, options: Any) -> None:
    torch = pytest.importorskip("torch")
    torch.set_num_threads(1)
    x = array(*shape)
    seed = lambda s: array(*s)  # noqa: E731
    if x.size:
        y, dx = tensor_grad(torch, x, seed, **options)
    else:
        y, dx = np.zeros((0, 2, 3, 3)), x
    t = fc.tensor(x, requires_grad=True)
    got = F.interpolate(t, **options)
    got.backward(seed(got.shape))
    assert t.grad is not None
    assert_close(got.numpy(), y, 4e-6)
    assert_close(t.grad.numpy(), dx, 4e-6)


@pytest.mark.parametrize("mode", ["nearest", "nearest-exact", "linear"])
@pytest.mark.parametrize("again", [None, True])
def test_factors_that_keep_the_size_match_torch(mode: str, again: bool | None) -> None:
    """Forward only: PyTorch's own gradient of "nearest" does not follow its forward pass here."""
    torch = pytest.importorskip("torch")
    x = array(2, 3, 3)
    options = {"scale_factor": 1.3, "mode": mode, "recompute_scale_factor": again}
    expected = torch.nn.functional.interpolate(torch.from_numpy(x), **options).numpy()
    assert_close(F.interpolate(x, **options), expected, 1e-6)


@pytest.mark.parametrize("mode", ["nearest", "bilinear", "bicubic"])
def test_channels_last(mode: str) -> None:
    x = array(2, 5, 6, 3)
    expected = F.interpolate(np.ascontiguousarray(x.transpose(0, 3, 1, 2)), (7, 4), mode=mode)
    got = F.interpolate(x, (7, 4), mode=mode, layout="NHWC")
    assert_close(got, expected.transpose(0, 2, 3, 1), 1e-6)
    view = F.interpolate(x.transpose(0, 3, 1, 2), (7, 4), mode=mode)
    assert view.transpose(0, 2, 3, 1).flags.c_contiguous
    assert_close(view, expected, 1e-6)


@pytest.mark.parametrize(
    ("shape", "options"),
    [
        ((1, 2, 5), {"size": 8, "mode": "linear"}),
        ((1, 2, 3, 4), {"size": (5, 2), "mode": "bicubic", "align_corners": True}),
        ((1, 2, 3, 4), {"scale_factor": 1.7, "mode": "nearest"}),
        ((1, 1, 2, 3, 2), {"size": 4, "mode": "trilinear"}),
    ],
)
def test_interpolate_gradients(shape: Any, options: Any) -> None:
    check_gradients(lambda t: F.interpolate(t, **options), [array(*shape, dtype=np.float64)])
    check_bfloat16(lambda t: F.interpolate(t, **options), [array(*shape)])


def test_linear_by_definition() -> None:
    """A line stays a line inside; areas keep their edges."""
    x = np.arange(5.0).reshape(1, 1, 5)
    got = F.interpolate(x, 15, mode="linear")[0, 0]
    assert_close(got, np.clip((np.arange(15) + 0.5) / 3 - 0.5, 0, 4), 1e-12)
    corners = F.interpolate(x, 9, mode="linear", align_corners=True)[0, 0]
    assert_close(corners, np.arange(9) / 2, 1e-12)


def test_upsample() -> None:
    x = array(2, 3, 5, 4)
    layer = nn.Upsample(scale_factor=2, mode="bilinear")
    np.testing.assert_array_equal(layer(x), F.interpolate(x, scale_factor=2, mode="bilinear"))
    assert repr(layer) == "Upsample(scale_factor=2, mode='bilinear')"
    np.testing.assert_array_equal(nn.Upsample((7, 9))(x), F.interpolate(x, (7, 9)))
    got = nn.Upsample(size=3, layout="NHWC")(x)
    assert got.shape == (2, 3, 3, 4)


X = np.zeros((2, 3, 4, 5), np.float32)
ONES = np.array([1], np.int64)


@pytest.mark.parametrize(
    ("call", "error", "text"),
    [
        (lambda: F.resample(X, 1, np.array([3])), fc.ShapeError, "resample: index 3 is outside"),
        (lambda: F.resample(X, 4, ONES), fc.ShapeError, "resample: dim must be in"),
        (lambda: F.resample(X, 1, np.array([0.5])), fc.DTypeError, "index must be integers"),
        (lambda: F.resample(X, 1, np.zeros((1, 1, 1), int)), fc.ShapeError, "outputs, taps"),
        (lambda: F.resample(X, 1, ONES, ONES), fc.DTypeError, "weight must be floating"),
        (lambda: F.resample(X, 1, ONES, np.ones(2)), fc.ShapeError, "weight must have the shape"),
        (lambda: F.resample(X.astype(int), 1, ONES), fc.DTypeError, "resample: input must be"),
        (lambda: F.interpolate(X), fc.ShapeError, "interpolate: expects either size or"),
        (lambda: F.interpolate(X, 3, 2.0), fc.ShapeError, "interpolate: expects either size or"),
        (lambda: F.interpolate(X, (3, 3, 3)), fc.ShapeError, "size must be one number or 2, got 3"),
        (lambda: F.interpolate(X, 0), fc.ShapeError, "interpolate: sizes must be positive"),
        (lambda: F.interpolate(X, 2.5), fc.DTypeError, "interpolate: size must be an integer"),
        (lambda: F.interpolate(X, None, "2"), fc.DTypeError, "scale_factor must be a number"),
        (lambda: F.interpolate(X, None, -1.0), fc.ShapeError, "scale_factor must be positive"),
        (lambda: F.interpolate(X, None, math.nan), fc.ShapeError, "scale_factor must be positive"),
        (lambda: F.interpolate(X, None, 0.1), fc.ShapeError, "interpolate: sizes must be positive"),
        (lambda: F.interpolate(X, 3, mode="area"), fc.ShapeError, "interpolate: mode must be one"),
        (lambda: F.interpolate(X, 3, mode="linear"), fc.ShapeError, "'linear' takes inputs of 3"),
        (lambda: F.interpolate(X[0, 0], 3), fc.ShapeError, "'nearest' takes inputs of 3 or 4 or 5"),
        (lambda: F.interpolate(X, 3, align_corners=True), fc.ShapeError, "align_corners is for"),
        (lambda: F.interpolate(X[:, :, :0], 3), fc.ShapeError, "at least one pixel"),
        (lambda: F.interpolate(X, 2**50), fc.ShapeError, "interpolate: sizes must be positive"),
        (lambda: nn.Upsample(), fc.ShapeError, "Upsample: expects either size or"),
        (lambda: nn.Upsample(2, mode="cubic"), fc.ShapeError, "Upsample: mode must be one"),
    ],
)
def test_bad_arguments(call: Any, error: type[Exception], text: str) -> None:
    with pytest.raises(error, match=text):
        call()


@pytest.mark.parametrize(
    ("begin", "index", "weight", "text"),
    [
        ([0, 2], [0], None, "begin must rise"),
        ([1, 1], [0], None, "begin must rise"),
        ([0, 2, 1, 2], [0, 0], None, "begin must rise"),
        ([], [], None, "begin must rise"),
        ([0, 1], [5], None, "index 5 is outside of a dimension of size 5"),
        ([0, 1], [-1], None, "index -1 is outside"),
        ([0, 1], [0], [1.0, 2.0], "weight"),
    ],
)
def test_the_native_function_checks_its_table(
    begin: Any, index: Any, weight: Any, text: str
) -> None:
    x = array(4, 5)
    factors = None if weight is None else np.array(weight)
    with pytest.raises(fc.ShapeError, match=text):
        _core.resample(x, 1, np.array(begin, np.int64), np.array(index, np.int64), factors)
