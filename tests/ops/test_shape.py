"""concat, pad, reshape, flatten, permute, transpose."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import fastconv as fc
import fastconv.functional as F
from tests.cases.shape import CONCAT, PAD, Concat, Pad
from tests.support import assert_close, check_gradients, check_same_bits_for_threads, randn, rng

NUMPY_MODES = {
    "constant": "constant",
    "reflect": "reflect",
    "replicate": "edge",
    "circular": "wrap",
}


def array(*shape: int, dtype: Any = np.float32, key: Any = "") -> Any:
    return np.asarray(randn(rng(shape, key), *shape), dtype)


def pad_by_numpy(x: Any, case: Pad) -> Any:
    pairs = [(case.pad[i], case.pad[i + 1]) for i in range(0, len(case.pad), 2)][::-1]
    pairs = [(0, 0)] * (x.ndim - len(pairs)) + pairs
    crop = tuple(
        slice(max(-b, 0), n - max(-a, 0)) for (b, a), n in zip(pairs, x.shape, strict=True)
    )
    widths = [(max(b, 0), max(a, 0)) for b, a in pairs]
    if x.ndim == 0:
        return x
    extra = {"constant_values": case.value} if case.mode == "constant" else {}
    return np.pad(x[crop], widths, NUMPY_MODES[case.mode], **extra)  # type: ignore[call-overload]


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("case", PAD, ids=str)
def test_pad_values(case: Pad, dtype: Any) -> None:
    x = array(*case.shape, dtype=dtype)
    y = F.pad(x, case.pad, case.mode, case.value)
    assert y.dtype == dtype
    np.testing.assert_array_equal(y, pad_by_numpy(x, case))


@pytest.mark.parametrize("case", [c for c in PAD if 0 < np.prod(c.shape) < 300], ids=str)
def test_pad_gradients(case: Pad) -> None:
    check_gradients(
        lambda t: F.pad(t, case.pad, case.mode, case.value), [array(*case.shape, dtype=np.float64)]
    )


@pytest.mark.parametrize("case", [c for c in PAD if c.pad], ids=str)
def test_pad_matches_torch(case: Pad) -> None:
    torch = pytest.importorskip("torch")
    torch.set_num_threads(1)
    x = array(*case.shape)
    theirs, ours = torch.from_numpy(x.copy()).requires_grad_(), fc.tensor(x, requires_grad=True)
    value = case.value if case.mode == "constant" else None
    result = torch.nn.functional.pad(theirs, case.pad, case.mode, value)
    y = F.pad(ours, case.pad, case.mode, case.value)
    np.testing.assert_array_equal(y.numpy(), result.detach().numpy())
    g = array(*result.shape, key="g")
    result.backward(torch.from_numpy(g))
    y.backward(g)
    assert ours.grad is not None
    assert_close(ours.grad, theirs.grad.numpy(), 1e-6)


@pytest.mark.parametrize("mode", NUMPY_MODES)
def test_pad_threads_and_channels_last(mode: str) -> None:
    nhwc = array(5, 31, 33, 17)

    def run(x: Any) -> Any:
        t = fc.Tensor(x, requires_grad=True)
        y = F.pad(t, (2, 3, 1, 2), mode)
        y.backward(array(*y.shape, key="g"))
        assert t.grad is not None
        return [y, t.grad]

    check_same_bits_for_threads(lambda: run(nhwc))
    view = nhwc.transpose(0, 3, 1, 2)
    y, grad = run(view)
    assert y.numpy().transpose(0, 2, 3, 1).flags.c_contiguous
    for got, expected in zip((y, grad), run(np.ascontiguousarray(view)), strict=True):
        assert_close(got, expected, 1e-6)


@settings(deadline=None, max_examples=80, derandomize=True)
@given(
    st.lists(st.integers(1, 6), min_size=1, max_size=4),
    st.sampled_from(list(NUMPY_MODES)),
    st.data(),
)
def test_any_pad(shape: list[int], mode: str, data: Any) -> None:
    amounts: list[int] = []
    for size in shape[: -data.draw(st.integers(1, len(shape))) - 1 : -1]:
        most = {"constant": 4, "replicate": 9, "reflect": size - 1, "circular": size}[mode]
        least = -(size // 2) if mode == "constant" else 0
        amounts += [data.draw(st.integers(least, most)) for _ in range(2)]
    case = Pad(tuple(shape), tuple(amounts), mode, 2.5 if mode == "constant" else 0.0)
    x = array(*shape)
    np.testing.assert_array_equal(F.pad(x, case.pad, mode, case.value), pad_by_numpy(x, case))
    check_gradients(lambda t: F.pad(t, case.pad, mode, case.value), [x])


def test_pad_with_infinity() -> None:
    assert (F.pad(np.zeros((2, 3), np.float32), (1, 0), value=-np.inf)[:, 0] == -np.inf).all()


@pytest.mark.parametrize("dtype", ["f4", "f8", "u1", "i4", "i8"])
@pytest.mark.parametrize("case", CONCAT, ids=str)
def test_concat_values(case: Concat, dtype: str) -> None:
    arrays = [(100 * array(*s, key=i)).astype(dtype) for i, s in enumerate(case.shapes)]
    y = F.concat(arrays, case.dim)
    assert y.dtype == dtype
    np.testing.assert_array_equal(y, np.concatenate(arrays, case.dim))
    np.testing.assert_array_equal(F.cat(arrays, dim=case.dim), y)


@pytest.mark.parametrize("case", CONCAT, ids=str)
def test_concat_gradient(case: Concat) -> None:
    tensors = [fc.tensor(array(*s), requires_grad=i != 1) for i, s in enumerate(case.shapes)]
    y = F.concat(tensors, case.dim)
    g = array(*y.shape, key="g")
    y.backward(g)
    cuts = np.cumsum([s[case.dim] for s in case.shapes])[:-1]
    for i, (t, piece) in enumerate(zip(tensors, np.split(g, cuts, case.dim), strict=True)):
        if i == 1:
            assert t.grad is None
            continue
        assert t.grad is not None
        np.testing.assert_array_equal(t.grad.numpy(), piece)


def test_concat_of_one_tensor_twice() -> None:
    t = fc.tensor(array(2, 3, dtype=np.float64), requires_grad=True)
    g = array(2, 6, dtype=np.float64)
    F.concat([t, t], 1).backward(g)
    assert t.grad is not None
    np.testing.assert_allclose(t.grad.numpy(), g[:, :3] + g[:, 3:])


def test_concat_keeps_channels_last() -> None:
    a, b = array(2, 5, 4, 3).transpose(0, 3, 1, 2), array(2, 5, 4, 6).transpose(0, 3, 1, 2)
    ta, tb = fc.Tensor(a, requires_grad=True), fc.Tensor(b, requires_grad=True)
    y = F.concat([ta, tb], dim=1)
    assert y.numpy().transpose(0, 2, 3, 1).flags.c_contiguous
    np.testing.assert_array_equal(y.numpy(), np.concatenate([a, b], 1))
    g = array(2, 9, 5, 4)
    y.backward(g)
    assert ta.grad is not None and tb.grad is not None
    np.testing.assert_array_equal(ta.grad.numpy(), g[:, :3])
    np.testing.assert_array_equal(tb.grad.numpy(), g[:, 3:])
    mixed = F.concat([a, np.ascontiguousarray(b), b[:, ::-1]], 1)
    np.testing.assert_array_equal(mixed, np.concatenate([a, b, b[:, ::-1]], 1))


@pytest.mark.parametrize("dim", [0, 1, 2])
def test_concat_threads(dim: int) -> None:
    arrays = [array(64, 65, 129, key=i) for i in range(3)]
    check_same_bits_for_threads(lambda: F.concat(arrays, dim))
    np.testing.assert_array_equal(F.concat(arrays, dim), np.concatenate(arrays, dim))


@pytest.mark.parametrize(
    ("call", "reference"),
    [
        (lambda t: F.reshape(t, (4, 6)), lambda x: x.reshape(4, 6)),
        (lambda t: F.reshape(t, [2, -1]), lambda x: x.reshape(2, -1)),
        (lambda t: F.reshape(t, -1), lambda x: x.reshape(-1)),
        (lambda t: F.reshape(t, (3, 8)), lambda x: x.reshape(3, 8)),
        (lambda t: F.flatten(t), lambda x: x.reshape(24)),
        (lambda t: F.flatten(t, 1), lambda x: x.reshape(2, 12)),
        (lambda t: F.flatten(t, 0, 1), lambda x: x.reshape(6, 4)),
        (lambda t: F.flatten(t, -2, -1), lambda x: x.reshape(2, 12)),
        (lambda t: F.flatten(t, 1, 1), lambda x: x),
        (lambda t: F.permute(t, (2, 0, 1)), lambda x: x.transpose(2, 0, 1)),
        (lambda t: F.permute(t, (-1, 0, 1)), lambda x: x.transpose(2, 0, 1)),
        (lambda t: F.transpose(t, 0, -1), lambda x: x.transpose(2, 1, 0)),
    ],
)
def test_views(call: Any, reference: Any) -> None:
    x = array(2, 3, 4, dtype=np.float64)
    t = fc.Tensor(x, requires_grad=True)
    y = call(t)
    np.testing.assert_array_equal(y.numpy(), reference(x))
    assert np.shares_memory(y.numpy(), x)
    check_gradients(call, [x])


def test_methods_of_tensor() -> None:
    t = fc.tensor(array(2, 3, 4))
    assert t.reshape(3, 8).shape == t.reshape((3, -1)).shape == (3, 8)
    assert t.flatten().shape == (24,) and t.flatten(0, 1).shape == (6, 4)
    assert t.permute(2, 0, 1).shape == t.permute((2, 0, 1)).shape == (4, 2, 3)
    assert t.transpose(0, -1).shape == (4, 3, 2)
    assert t.unsqueeze(1).shape == (2, 1, 3, 4) and t.unsqueeze(1).squeeze().shape == (2, 3, 4)
    assert t.expand(5, -1, 3, 4).shape == t.expand((5, 2, 3, 4)).shape == (5, 2, 3, 4)
    assert [p.shape for p in t.split([1, 2], 1)] == [(2, 1, 4), (2, 2, 4)]
    assert [p.shape for p in t.chunk(2)] == [(1, 3, 4)] * 2
    matrix = array(4, 2)
    np.testing.assert_array_equal((t @ matrix).numpy(), F.matmul(t.numpy(), matrix))
    np.testing.assert_array_equal((matrix @ t[0, :2]).numpy(), F.matmul(matrix, t.numpy()[0, :2]))


@settings(deadline=None, max_examples=50, derandomize=True)
@given(st.lists(st.integers(0, 5), max_size=5), st.data())
def test_any_permutation_and_flatten(shape: list[int], data: Any) -> None:
    x = array(*shape)
    dims = data.draw(st.permutations(range(len(shape))))
    np.testing.assert_array_equal(F.permute(x, dims), x.transpose(dims))
    np.testing.assert_array_equal(F.flatten(x), x.reshape(-1))
    np.testing.assert_array_equal(F.flatten(F.permute(x, dims)), x.transpose(dims).reshape(-1))
    np.testing.assert_array_equal(F.reshape(x, x.shape[::-1]), x.reshape(x.shape[::-1]))


X = np.zeros((4, 6), np.float32)


@pytest.mark.parametrize(
    ("call", "error", "text"),
    [
        (lambda: F.concat([]), fc.ShapeError, "concat: needs at least one array"),
        (lambda: F.concat(X), fc.DTypeError, "concat: tensors must be a sequence"),
        (lambda: F.concat([X, None]), fc.DTypeError, r"concat: tensors\[1\] must be an array"),
        (
            lambda: F.concat([X, X[:, :5]]),
            fc.ShapeError,
            r"concat: tensors\[1\] has shape \(4, 5\)",
        ),
        (lambda: F.concat([X, X[0]]), fc.ShapeError, r"concat: tensors\[1\] has shape \(6,\)"),
        (lambda: F.concat([X[0], X]), fc.ShapeError, r"concat: tensors\[1\] has shape \(4, 6\)"),
        (
            lambda: F.concat([X[0], X], -1),
            fc.ShapeError,
            r"concat: tensors\[1\] has shape \(4, 6\)",
        ),
        (lambda: F.concat([X, X.astype(float)]), fc.DTypeError, r"tensors\[1\] must be float32"),
        (lambda: F.concat([X], 2), fc.ShapeError, "concat: dim must be in"),
        (
            lambda: F.concat([np.zeros((0, 2**58), "f4")] * 64, 1),
            fc.ShapeError,
            "concat: the joined size of dimension 1 is too large",
        ),
        (lambda: F.concat([np.zeros((), "f4")]), fc.ShapeError, "concat: dim 0 does not exist"),
        (lambda: F.concat([X], None), fc.DTypeError, "concat: dim must be an integer"),
        (lambda: F.pad(X, (1,)), fc.ShapeError, "pad: needs a pair"),
        (lambda: F.pad(X, (1,) * 6), fc.ShapeError, "pad: needs a pair"),
        (lambda: F.pad(X, (1.0, 1)), fc.DTypeError, "pad: pad must be an integer"),
        (lambda: F.pad(X, (-4, -3)), fc.ShapeError, "pad: .* crop more"),
        (lambda: F.pad(X, (-7, 8)), fc.ShapeError, "pad: .* crop more"),
        (lambda: F.pad(X, (2**62, 2**62)), fc.ShapeError, "pad: amounts"),
        (lambda: F.pad(X, (2**39, 0, 2**39, 0)), fc.ShapeError, "too large"),
        (lambda: F.pad(X, (6, 0), "reflect"), fc.ShapeError, "pad: .*too large.*at most 5"),
        (lambda: F.pad(X, (7, 0), "circular"), fc.ShapeError, "pad: .*too large.*at most 6"),
        (lambda: F.pad(X[:, :0], (1, 0), "replicate"), fc.ShapeError, "pad: .*too large"),
        (lambda: F.pad(X, (1, 1), "mirror"), fc.ShapeError, "pad: mode must be"),
        (lambda: F.pad(X, (1, 1), None), fc.DTypeError, "pad: mode must be a string"),
        (
            lambda: F.pad(X, (1, 1), "reflect", 1.0),
            fc.ShapeError,
            "pad: mode 'reflect' takes no value",
        ),
        (lambda: F.pad(X, (1, 1), value="0"), fc.DTypeError, "pad: value must be a number"),
        (lambda: F.pad(X.astype(int), (1, 1)), fc.DTypeError, "pad: input must be float32"),
        (lambda: F.reshape(X, (5, 5)), fc.ShapeError, "reshape: 24 elements"),
        (lambda: F.reshape(X, (-1, -1)), fc.ShapeError, "reshape: 24 elements"),
        (lambda: F.reshape(X, (-1, 5)), fc.ShapeError, "reshape: 24 elements"),
        (lambda: F.reshape(X, (-2, -12)), fc.ShapeError, "reshape: 24 elements"),
        (lambda: F.reshape(X, (0, -1)), fc.ShapeError, "reshape: 24 elements"),
        (lambda: F.reshape(X[:0], (0, -1)), fc.ShapeError, "reshape: 0 elements"),
        (lambda: F.reshape(X, (4.0, 6)), fc.DTypeError, "reshape: shape must be an integer"),
        (lambda: F.reshape(X, None), fc.DTypeError, "reshape: shape must be an integer"),
        (lambda: F.flatten(X, 1, 0), fc.ShapeError, "flatten: start_dim 1 comes after"),
        (lambda: F.flatten(X, 2), fc.ShapeError, "flatten: dim must be in"),
        (lambda: F.permute(X, (0,)), fc.ShapeError, "permute: dims must name 2"),
        (lambda: F.permute(X, (0, 0)), fc.ShapeError, "permute: dim names a dimension twice"),
        (lambda: F.permute(X, (0, 2)), fc.ShapeError, "permute: dim must be in"),
        (lambda: F.permute(X, "01"), fc.DTypeError, "permute: dims must be an integer"),
        (lambda: F.transpose(X, 0, 2), fc.ShapeError, "transpose: dim must be in"),
    ],
)
def test_bad_arguments(call: Any, error: type[Exception], text: str) -> None:
    with pytest.raises(error, match=text):
        call()
