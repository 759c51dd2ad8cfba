"""Splits, slices, chosen places, dimensions of size 1."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import fastconv as fc
import fastconv.functional as F
from tests.support import check_bfloat16, check_gradients, check_same_bits_for_threads, randn, rng


def array(*shape: int, dtype: Any = np.float32) -> Any:
    return np.asarray(randn(rng(shape), *shape), dtype)


def channels_last(*shape: int, dtype: Any = np.float32) -> Any:
    n, c, h, w = shape
    return array(n, h, w, c, dtype=dtype).transpose(0, 3, 1, 2)


KEYS: list[Any] = [
    0,
    -1,
    np.int64(1),
    slice(None),
    slice(1, 3),
    slice(None, None, 2),
    slice(None, None, -1),
    slice(3, None, -2),
    slice(-2, None),
    slice(5, 2),
    slice(-100, 100, 3),
    (slice(1, 2), 0),
    (None, slice(None), None),
    (..., 1),
    (..., None),
    (..., slice(None, None, 2), slice(1, 4)),
    (1, ..., slice(None, None, -1)),
    (slice(1, 2), slice(None, None, -3), -1, None),
    (slice(0, 0), slice(1, 3)),
    (),
    ...,
    None,
]


@pytest.mark.parametrize("make", [array, channels_last])
@pytest.mark.parametrize("key", KEYS, ids=str)
def test_getitem_equals_numpy_s(key: Any, make: Any) -> None:
    x = make(4, 6, 5, 3)
    got = fc.Tensor(x)[key]
    np.testing.assert_array_equal(got.numpy(), x[key])


@pytest.mark.parametrize("key", KEYS, ids=str)
def test_getitem_gradient(key: Any) -> None:
    x = array(4, 6, 5, dtype=np.float64)
    if isinstance(key, tuple) and sum(k is not None and k is not ... for k in key) > 3:
        x = x[..., None]
    t = fc.tensor(x, requires_grad=True)
    y = t[key]
    g = array(*y.shape, dtype=np.float64)
    y.backward(g)
    expected = np.zeros_like(x)
    expected[key] = g
    assert t.grad is not None
    np.testing.assert_array_equal(t.grad.numpy(), expected)


def test_getitem_of_other_types_and_views() -> None:
    for dtype in ("i8", "u1", "?", "f2"):
        x = np.arange(12).reshape(3, 4).astype(dtype)
        np.testing.assert_array_equal(fc.Tensor(x)[1:, ::2].numpy(), x[1:, ::2])
    x = array(3, 4)
    assert np.shares_memory(fc.Tensor(x)[1].numpy(), x)
    kept = fc.Tensor(channels_last(2, 6, 3, 3))[:, 2:5].numpy()
    assert kept.transpose(0, 2, 3, 1).flags.c_contiguous
    rows = list(fc.Tensor(x))
    assert len(rows) == 3 and all(np.array_equal(r.numpy(), x[i]) for i, r in enumerate(rows))
    with pytest.raises(fc.ShapeError, match="Tensor: a scalar"):
        iter(fc.tensor(1.0))


@pytest.mark.parametrize(
    ("shape", "size", "dim", "lengths"),
    [
        ((7, 3), 3, 0, [3, 3, 1]),
        ((7, 3), [2, 0, 5], 0, [2, 0, 5]),
        ((2, 6, 4, 3), 2, 1, [2, 2, 2]),
        ((2, 6, 4, 3), (1, 5), -3, [1, 5]),
        ((2, 3, 5), 9, 2, [5]),
        ((2, 0), 4, 1, [0]),
        ((0, 4), [1, 3], 1, [1, 3]),
    ],
)
@pytest.mark.parametrize("dtype", [np.float32, np.int64])
def test_split(shape: Any, size: Any, dim: int, lengths: Any, dtype: Any) -> None:
    x = (10 * array(*shape)).astype(dtype)
    pieces = F.split(x, size, dim)
    expected = np.split(x, np.cumsum(lengths)[:-1], dim)
    assert len(pieces) == len(expected)
    for got, want in zip(pieces, expected, strict=True):
        np.testing.assert_array_equal(got, want)


@pytest.mark.parametrize(("size", "chunks"), [(6, 2), (7, 3), (5, 4), (3, 5), (0, 2), (6, 1)])
def test_chunk_matches_torch(size: int, chunks: int) -> None:
    torch = pytest.importorskip("torch")
    x = array(2, size)
    expected = [c.numpy() for c in torch.chunk(torch.from_numpy(x), chunks, 1) if c.shape[1]]
    got = [c for c in F.chunk(x, chunks, 1) if c.shape[1]]
    assert len(got) == len(expected)
    for a, b in zip(got, expected, strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("make", [array, channels_last])
@pytest.mark.parametrize("used", [(0, 1, 2), (1,), (2, 0), (0, 0)])
def test_split_gradient(used: Any, make: Any) -> None:
    x = make(2, 6, 3, 4, dtype=np.float64)
    t = fc.Tensor(x, requires_grad=True)
    pieces = F.split(t, [1, 3, 2], 1)
    total: Any = 0.0
    expected = np.zeros_like(x)
    ends = [0, 1, 4, 6]
    for k, i in enumerate(used):
        factor = array(*pieces[i].shape, dtype=np.float64) + k
        total = total + F.sum(pieces[i] * factor)
        expected[:, ends[i] : ends[i + 1]] += factor
    total.backward()
    assert t.grad is not None
    np.testing.assert_allclose(t.grad.numpy(), expected, rtol=1e-14)


def test_split_twice_backward_and_without_gradients() -> None:
    t = fc.tensor(array(4, 3, dtype=np.float64), requires_grad=True)
    a, b = F.chunk(t, 2)
    total = F.sum(a * b)
    total.backward(retain_graph=True)
    assert t.grad is not None
    once = t.grad.numpy().copy()
    total.backward()
    np.testing.assert_array_equal(t.grad.numpy(), 2 * once)
    with pytest.raises(fc.FastconvError, match="already differentiated"):
        total.backward()
    with fc.no_grad():
        assert not F.chunk(t, 2)[0].requires_grad
    assert not F.chunk(t.detach(), 2)[0].requires_grad


@pytest.mark.parametrize(("start", "length"), [(0, 6), (2, 3), (-2, 2), (6, 0), (0, 0)])
def test_narrow(start: int, length: int) -> None:
    x = array(2, 6, 3)
    begin = start if start >= 0 else start + 6
    np.testing.assert_array_equal(F.narrow(x, 1, start, length), x[:, begin : begin + length])
    check_gradients(lambda t: F.narrow(t, -2, start, length), [x.astype(np.float64)])


def test_slice() -> None:
    x = array(5, 7)
    np.testing.assert_array_equal(F.slice(x, 1, 5, None, -2), x[:, 5::-2])
    np.testing.assert_array_equal(F.slice(x, 0), x)
    np.testing.assert_array_equal(F.slice(x, 0, -100, 100, 10**30), x[:1])
    check_gradients(lambda t: F.slice(t, 1, 5, 0, -2), [x.astype(np.float64)])


@pytest.mark.parametrize("make", [array, channels_last])
@pytest.mark.parametrize("dim", [0, 1, 3, -2])
def test_index_select(dim: int, make: Any) -> None:
    x = make(3, 4, 5, 3)
    index = np.array([2, 0, 0, 1], np.int32)
    np.testing.assert_array_equal(F.index_select(x, dim, index), np.take(x, index, dim))
    np.testing.assert_array_equal(
        F.index_select(x.astype(np.int16), dim, index), np.take(x.astype(np.int16), index, dim)
    )
    assert F.index_select(x, dim, index[:0]).size == 0
    check_gradients(lambda t: F.index_select(t, dim, index), [x.astype(np.float64)])


def test_index_select_in_bfloat16_and_threads() -> None:
    x = array(3, 700, 37)
    index = rng("places").integers(0, 700, 900)
    check_bfloat16(lambda t: F.index_select(t, 1, index), [x])
    check_same_bits_for_threads(lambda: F.index_select(x, 1, index))


@pytest.mark.parametrize("dim", [None, 0, 2, -1, (0, 2), [1], ()])
def test_squeeze(dim: Any) -> None:
    x = array(1, 3, 1, 1)
    dims = range(4) if dim is None else [dim % 4] if isinstance(dim, int) else [d % 4 for d in dim]
    expected = x.squeeze(tuple(d for d in dims if x.shape[d] == 1))
    np.testing.assert_array_equal(F.squeeze(x, dim), expected)
    check_gradients(lambda t: F.squeeze(t, dim), [x.astype(np.float64)])


@pytest.mark.parametrize("dim", [0, 1, 2, -1, -3])
def test_unsqueeze(dim: int) -> None:
    x = array(2, 3)
    np.testing.assert_array_equal(F.unsqueeze(x, dim), np.expand_dims(x, dim))
    check_gradients(lambda t: F.unsqueeze(t, dim), [x.astype(np.float64)])


@pytest.mark.parametrize(
    ("shape", "wanted", "full"),
    [
        ((3, 1), (3, 4), (3, 4)),
        ((3, 1), (2, -1, 4), (2, 3, 4)),
        ((1,), (2, 3), (2, 3)),
        ((), (2,), (2,)),
        ((1, 2), (0, 2), (0, 2)),
        ((2, 3), (2, 3), (2, 3)),
    ],
)
def test_expand(shape: Any, wanted: Any, full: Any) -> None:
    x = array(*shape)
    np.testing.assert_array_equal(F.expand(x, wanted), np.broadcast_to(x, full))
    check_gradients(lambda t: F.expand(t, wanted), [x.astype(np.float64)])


X = np.zeros((4, 6), np.float32)
T = fc.tensor(X)


@pytest.mark.parametrize(
    ("call", "error", "text"),
    [
        (lambda: T[4], fc.ShapeError, "Tensor: index 4 is outside of dimension 0 of size 4"),
        (lambda: T[:, -7], fc.ShapeError, "Tensor: index -7 is outside"),
        (lambda: T[0, 0, 0], fc.ShapeError, r"Tensor: 3 indices are too many for shape \(4, 6\)"),
        (lambda: T[..., ...], fc.ShapeError, "Tensor: an index has one '...'"),
        (lambda: T[1.0], fc.DTypeError, "Tensor: an index must be integers"),
        (lambda: T[True], fc.DTypeError, "Tensor: an index must be integers"),
        (lambda: T[[0, 1]], fc.DTypeError, "Tensor: an index must be .*index_select"),
        (lambda: T[::0], fc.ShapeError, "Tensor: step must not be 0"),
        (lambda: T[1.5:], fc.DTypeError, "Tensor: a slice's bound must be an integer"),
        (lambda: F.split(X, 0), fc.ShapeError, "split: split_size_or_sections must be at least 1"),
        (
            lambda: F.split(X, [2, 3], 1),
            fc.ShapeError,
            "split: split_size_or_sections must add up to 6",
        ),
        (
            lambda: F.split(X, [7, -1], 1),
            fc.ShapeError,
            "split: split_size_or_sections must add up to 6",
        ),
        (lambda: F.split(X, 2, 2), fc.ShapeError, "split: dim must be in"),
        (lambda: F.split(X[0, 0], 2), fc.DTypeError, "split: input must be an array"),
        (lambda: F.split(np.zeros(()), 2), fc.ShapeError, "split: input must have at least one"),
        (lambda: F.split(np.zeros(2**20), 1), fc.ShapeError, "split: pieces of 1 would be more"),
        (lambda: F.chunk(X, 0), fc.ShapeError, "chunk: chunks must be at least 1"),
        (lambda: F.narrow(X, 0, 3, 2), fc.ShapeError, "narrow: start 3 and length 2 do not fit"),
        (lambda: F.narrow(X, 0, -5, 1), fc.ShapeError, "narrow: start -5 and length 1"),
        (lambda: F.narrow(X, 0, 0, -1), fc.ShapeError, "narrow: start 0 and length -1"),
        (lambda: F.slice(X, 0, step=0), fc.ShapeError, "slice: step must not be 0"),
        (lambda: F.index_select(X, 0, np.array([4])), fc.ShapeError, r"places must be in \[0, 4\)"),
        (lambda: F.index_select(X, 0, np.array([-1])), fc.ShapeError, "places must be in"),
        (lambda: F.index_select(X, 0, X), fc.DTypeError, "index_select: index must be integers"),
        (lambda: F.index_select(X, 0, np.zeros((1, 1), int)), fc.ShapeError, "one dimension"),
        (lambda: F.squeeze(X, 2), fc.ShapeError, "squeeze: dim must be in"),
        (lambda: F.unsqueeze(X, 3), fc.ShapeError, "unsqueeze: dim must be in"),
        (lambda: F.unsqueeze(np.zeros((1,) * 32), 0), fc.ShapeError, "unsqueeze: at most 32"),
        (lambda: F.expand(X, (4, 7)), fc.ShapeError, r"expand: shape \(4, 6\) does not expand"),
        (lambda: F.expand(X, (6,)), fc.ShapeError, "expand: shape"),
        (lambda: F.expand(X, (-1, 4, 6)), fc.ShapeError, "expand: shape"),
        (lambda: F.expand(X[:1], (2**40, 2**40, 4, 6)), fc.ShapeError, "expand: .*too many"),
    ],
)
def test_bad_arguments(call: Any, error: type[Exception], text: str) -> None:
    with pytest.raises(error, match=text):
        call()
