"""`Tensor`: operators, construction, errors, what can be looked at."""

import copy
import gc
import pickle
import weakref

import numpy as np
import pytest

import fastconv as fc
import fastconv.functional as F
from tests.support import assert_close, check_gradients, leaf, rng

# Operators

_OTHERS = {
    "int": 3,
    "float": 2.5,
    "np.float32": np.float32(1.5),
    "np.float64": np.float64(1.25),
    "np.int64": np.int64(4),
    "array": np.array([1.5, -2.0, 0.5], np.float64),
    "row": np.array([[1.5], [-2.0]], np.float64),
    "tensor": fc.tensor(np.array([1.5, -2.0, 0.5], np.float64)),
}


@pytest.mark.parametrize("name", _OTHERS)
@pytest.mark.parametrize("sign", ["+", "-", "*"])
@pytest.mark.parametrize("left", [True, False], ids=["tensor first", "tensor last"])
def test_operators_and_their_gradients(name, sign, left):
    other = _OTHERS[name]
    value = np.asarray(other.numpy() if isinstance(other, fc.Tensor) else other)
    t = leaf(2, 3, dtype=np.float64)
    apply = {"+": lambda p, q: p + q, "-": lambda p, q: p - q, "*": lambda p, q: p * q}[sign]
    y = apply(t, other) if left else apply(other, t)
    assert type(y) is fc.Tensor and y.dtype == np.float64
    expected = apply(t.numpy(), value) if left else apply(value, t.numpy())
    assert_close(y.numpy(), expected, 1e-15)
    y.sum().backward()
    slope = {"+": 1.0, "-": 1.0 if left else -1.0, "*": value}[sign]
    assert_close(t.grad.numpy(), np.broadcast_to(slope, (2, 3)), 1e-15)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("number", [3, 2.5, np.float32(1.5), np.float64(-1.25), np.int32(7)])
def test_numbers_keep_the_tensor_s_type(dtype, number):
    t = fc.tensor(np.arange(3, dtype=dtype), requires_grad=True)
    for y in (t + number, number + t, t - number, number - t, t * number, number * t, t / number):
        assert y.dtype == dtype
    (t / number).sum().backward()
    assert t.grad.dtype == dtype
    assert_close(t.grad.numpy(), np.full(3, 1.0 / float(number)), 1e-7)


def test_negation():
    t = leaf(3)
    y = -t
    np.testing.assert_array_equal(y.numpy(), -t.numpy())
    y.sum().backward()
    np.testing.assert_array_equal(t.grad.numpy(), -np.ones(3))


def test_arrays_on_the_left_make_one_tensor():
    # An object array of tensors is what NumPy would make of it if it were not told to step back.
    t = leaf(3)
    a = np.ones((2, 3), np.float32)
    for y in (a + t, a - t, a * t, a / t, a**t):
        assert type(y) is fc.Tensor and y.shape == (2, 3)


@pytest.mark.parametrize("bad", ["a", None, [1.0], object(), np.array(["a"]), np.array([None])])
def test_operators_refuse_what_is_not_numeric(bad):
    t = leaf(1)
    for apply in (
        lambda: t + bad,
        lambda: t * bad,
        lambda: t - bad,
        lambda: t / bad,
        lambda: t**bad,
    ):
        with pytest.raises(fc.DTypeError):
            apply()


def test_operators_refuse_other_element_types_and_shapes():
    t = leaf(3)
    with pytest.raises(fc.DTypeError, match="float64"):
        t + np.ones(3)
    with pytest.raises(fc.DTypeError):
        t * np.ones(3, np.int64)
    with pytest.raises(fc.ShapeError, match="add"):
        t + np.ones(4, np.float32)


_BROADCASTS = [
    ((2, 3), (3,)),
    ((2, 3), (1, 3)),
    ((2, 3), (2, 1)),
    ((2, 1), (1, 3)),
    ((2, 3), ()),
    ((), (2, 3)),
    ((4, 2, 3, 2), (3, 1)),
    ((1,), (1,)),
    ((1, 1), (1,)),
    ((3,), (2, 1, 3)),
    ((0, 3), (3,)),
]


@pytest.mark.parametrize("a, b", _BROADCASTS)
def test_broadcasting_gradients(a, b):
    g = rng("broadcast", a, b)
    x, y = g.standard_normal(a), g.standard_normal(b)
    check_gradients(lambda p, q: F.add(F.mul(p, q), q), [x, y])
    p, q = (fc.tensor(v, requires_grad=True) for v in (x, y))
    (p * q).sum().backward()
    assert p.grad.shape == a and q.grad.shape == b


# float64


def test_float64_stays_float64():
    t = leaf(2, 3, dtype=np.float64)
    w = leaf(4, 3, dtype=np.float64)
    h = F.tanh(F.linear(t, w))
    loss = (h * 2.0 + 1.0).mean()
    assert h.dtype == loss.dtype == np.float64
    loss.backward()
    assert t.grad.dtype == w.grad.dtype == np.float64
    # A sum that float32 could not hold.
    x = fc.tensor(np.array([1.0, 1e-12]), requires_grad=True)
    assert x.sum().item() - 1.0 == pytest.approx(1e-12, rel=1e-3)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_the_incoming_gradient_takes_the_tensor_s_type(dtype):
    t = leaf(3, dtype=dtype)
    (t * 2.0).backward([1, 2, 3])
    assert t.grad.dtype == dtype
    np.testing.assert_array_equal(t.grad.numpy(), [2, 4, 6])


# Making tensors


@pytest.mark.parametrize(
    "data, dtype, shape",
    [
        (1.5, np.float32, ()),
        ([1.0, 2.0], np.float32, (2,)),
        ([[1, 2], [3, 4]], np.int64, (2, 2)),
        (True, np.bool_, ()),
        (np.float64(2.0), np.float64, ()),
        (np.zeros((2, 0)), np.float64, (2, 0)),
        (np.arange(3, dtype=np.uint8), np.uint8, (3,)),
        (np.arange(3, dtype=">f4"), np.float32, (3,)),
        (np.asfortranarray(np.ones((2, 3))), np.float64, (2, 3)),
        ([], np.float32, (0,)),
    ],
)
def test_tensor_copies_numbers_lists_and_arrays(data, dtype, shape):
    t = fc.tensor(data)
    assert t.dtype == dtype and t.dtype.isnative and t.shape == shape
    assert t.ndim == len(shape) and t.size == np.prod(shape) and t.device == "cpu"
    np.testing.assert_array_equal(t.numpy(), np.asarray(data))
    assert t.numpy().flags.carray
    if isinstance(data, np.ndarray):
        assert not np.shares_memory(t.numpy(), data)


def test_tensor_of_a_tensor_and_dtype():
    t = leaf(2, 3)
    u = fc.tensor(t)
    assert not u.requires_grad and not np.shares_memory(t.numpy(), u.numpy())
    assert fc.tensor(t, dtype=np.float64).dtype == np.float64
    assert fc.tensor([1.0], dtype=np.float64).dtype == np.float64
    assert fc.tensor([1, 2], dtype=np.float32, requires_grad=True).requires_grad


@pytest.mark.parametrize(
    "bad",
    [
        "text",
        ["a", "b"],
        b"bytes",
        None,
        Ellipsis,
        [None],
        {"a": 1},
        [1j],
        np.array([1j]),
        np.array([None, 1], object),
        np.array(["2020-01-01"], "M8[D]"),
        2**200,
        np.zeros(2, [("a", "f4")]),
    ],
    ids=repr,
)
def test_tensor_refuses_what_is_not_numbers(bad):
    with pytest.raises(fc.DTypeError, match="tensor"):
        fc.tensor(bad)


@pytest.mark.parametrize("data", [[1, 2], True, np.arange(3), np.arange(3, dtype=np.uint8)])
def test_integers_cannot_require_gradients(data):
    with pytest.raises(fc.DTypeError, match="floating"):
        fc.tensor(data, requires_grad=True)
    with pytest.raises(fc.DTypeError, match="floating"):
        fc.Tensor(np.asarray(data), requires_grad=True)


@pytest.mark.parametrize("device", ["cuda:0", "cuda", "CPU", "", None, 0])
def test_other_devices_are_refused(device):
    with pytest.raises(fc.DeviceError, match="cpu"):
        fc.tensor([1.0], device=device)


# backward's errors


@pytest.mark.parametrize("shape", [(2,), (2, 3), (0,)])
def test_backward_of_more_or_less_than_one_element_needs_a_gradient(shape):
    with pytest.raises(fc.ShapeError, match="gradient is needed"):
        (leaf(*shape) * 2.0).backward()


@pytest.mark.parametrize("shape", [(), (1,), (1, 1, 1)])
def test_backward_of_one_element_needs_none(shape):
    t = leaf(*shape)
    (t * 3.0).backward()
    np.testing.assert_array_equal(t.grad.numpy(), np.full(shape, 3.0))
    assert isinstance(t.grad.numpy(), np.ndarray)


@pytest.mark.parametrize(
    "gradient", [np.ones(3), np.ones((1, 2)), np.ones(()), 1.0, [1.0], fc.tensor([1.0] * 4)]
)
def test_backward_checks_the_gradient_s_shape(gradient):
    t = leaf(2)
    y = t * 2.0
    with pytest.raises(fc.ShapeError, match=r"must have shape \(2,\)"):
        y.backward(gradient)
    assert t.grad is None
    y.backward(np.ones(2))  # the refusal cost nothing
    np.testing.assert_array_equal(t.grad.numpy(), [2, 2])


@pytest.mark.parametrize("gradient", ["ab", object(), 1j, [[1.0], [1.0, 2.0]]])
def test_backward_refuses_what_is_not_an_array_of_numbers(gradient):
    y = leaf(2) * 2.0
    with pytest.raises(fc.DTypeError, match="backward: data must be"):
        y.backward(gradient)


def test_a_zero_dimensional_loss_can_be_used_twice():
    a = fc.tensor(np.ones(3, np.float32), requires_grad=True)
    loss = fc.functional.mse_loss(a, np.zeros(3, np.float32))
    (loss + loss * 0.5 + loss).backward()
    np.testing.assert_allclose(a.grad.numpy(), np.full(3, 2.5 * 2 / 3), rtol=1e-6)


def test_division_by_zero_is_numpy_s():
    np.testing.assert_array_equal(
        (fc.tensor([1.0, -1.0, 0.0]) / 0).numpy(), [np.inf, -np.inf, np.nan]
    )
    with pytest.raises(fc.DTypeError, match="div: other must be an array"):
        fc.tensor([1.0]) / True


def test_truth_and_numbers_of_one_element():
    assert not fc.tensor([0.0]) and fc.tensor(2.5)
    assert float(fc.tensor(2.5)) == 2.5 and int(fc.tensor([3])) == 3


def test_no_grad_can_be_used_again():
    off = fc.no_grad()
    for _ in range(2):
        with off:
            assert not fc.is_grad_enabled()
        assert fc.is_grad_enabled()


def test_results_refuse_to_be_copied_or_pickled():
    result = leaf(2) * 2.0
    with pytest.raises(fc.FastconvError, match="only leaves"):
        copy.deepcopy(result)
    with pytest.raises(fc.FastconvError, match="only leaves"):
        pickle.dumps(result)


@pytest.mark.parametrize(
    "make",
    [
        lambda: fc.tensor([[1, 2], [3]]),
        lambda: fc.tensor([1.0], dtype="nonsense"),
        lambda: fc.tensor(["a"], dtype=np.float32),
        lambda: fc.Tensor("abc"),
    ],
)
def test_what_is_no_array_of_numbers_is_refused(make):
    with pytest.raises(fc.DTypeError):
        make()


@pytest.mark.parametrize(
    ("seed", "error"), [(-1, "ShapeError"), ("a", "DTypeError"), (1.5, "DTypeError")]
)
def test_bad_seeds(seed, error):
    with pytest.raises(getattr(fc, error), match="manual_seed: seed must"):
        fc.manual_seed(seed)


def test_backward_needs_a_recorded_tensor():
    with pytest.raises(fc.FastconvError, match="does not require gradients"):
        fc.tensor([1.0]).backward()
    with fc.no_grad():
        y = leaf(1) * 2.0
    with pytest.raises(fc.FastconvError, match="does not require gradients"):
        y.backward()


# Looking inside


def test_numpy_item_array_len_and_repr():
    t = fc.tensor([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]], requires_grad=True)
    assert t.numpy() is t.numpy()
    assert np.asarray(t) is t.numpy()
    assert np.shares_memory(np.asarray(t), t.numpy())
    assert not np.shares_memory(np.array(t, copy=True), t.numpy())
    as_double = np.asarray(t, dtype=np.float64)
    assert as_double.dtype == np.float64 and as_double.sum() == 21
    assert len(t) == 2
    assert repr(t) == (
        "tensor([[1., 2., 3.],\n        [4., 5., 6.]], dtype=float32, requires_grad=True)"
    )
    assert repr(fc.tensor(2)) == "tensor(2, dtype=int64)"
    assert fc.tensor([[2.5]]).item() == 2.5 and type(fc.tensor(2.5).item()) is float
    with pytest.raises(ValueError):
        t.item()
    with pytest.raises(TypeError):
        len(fc.tensor(1.0))


def test_methods_match_functions():
    t = leaf(2, 3, 4)
    for got, expected in [
        (t.sum(1), t.numpy().sum(1)),
        (t.sum((0, 2), keepdim=True), t.numpy().sum((0, 2), keepdims=True)),
        (t.mean(), t.numpy().mean()),
        (t.mean(-1), t.numpy().mean(-1)),
        (t.reshape(6, 4), t.numpy().reshape(6, 4)),
        (t.reshape((-1, 2)), t.numpy().reshape(-1, 2)),
        (t.reshape(-1), t.numpy().reshape(-1)),
        (t.flatten(), t.numpy().reshape(-1)),
        (t.flatten(1), t.numpy().reshape(2, 12)),
    ]:
        assert type(got) is fc.Tensor and got.requires_grad
        assert_close(got.numpy(), expected, 1e-6)


@pytest.mark.parametrize(
    "copied",
    [copy.deepcopy, lambda t: pickle.loads(pickle.dumps(t))],
    ids=["deepcopy", "pickle"],
)
def test_leaves_can_be_copied(copied):
    t = leaf(2, 3)
    (t * 2.0).sum().backward()
    u = copied(t)
    assert type(u) is fc.Tensor and u.requires_grad and u.is_leaf
    np.testing.assert_array_equal(u.numpy(), t.numpy())
    np.testing.assert_array_equal(u.grad.numpy(), t.grad.numpy())
    assert not np.shares_memory(u.numpy(), t.numpy())
    assert not np.shares_memory(u.grad.numpy(), t.grad.numpy())
    u.sum().backward()
    np.testing.assert_array_equal(t.grad.numpy(), np.full((2, 3), 2.0))
    np.testing.assert_array_equal(u.grad.numpy(), np.full((2, 3), 3.0))
    plain = copied(fc.tensor([1, 2]))
    assert not plain.requires_grad and plain.grad is None and plain.dtype == np.int64


def test_tensors_can_be_weakly_referenced_and_freed():
    t = leaf(3)
    y = t * 2.0
    ref = weakref.ref(y)
    gc.disable()
    try:
        del y
        assert ref() is None
    finally:
        gc.enable()
