"""Arithmetic of two arrays, or of one and a number."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import fastconv as fc
import fastconv.functional as F
from tests.cases.elementwise import CASES, Case
from tests.support import assert_close, check_gradients, check_same_bits_for_threads, randn, rng

FUNCTIONS: dict[str, Any] = {
    "add": np.add,
    "mul": np.multiply,
    "sub": np.subtract,
    "div": np.divide,
    "maximum": np.maximum,
    "minimum": np.minimum,
    "pow": np.power,
}
COMMUTE = ("add", "mul", "maximum", "minimum")


def operands(case: Case, dtype: Any, function: str = "add") -> tuple[Any, Any]:
    generator = rng(str(case))
    a, b = (np.asarray(randn(generator, *s), dtype) for s in (case.a, case.b))
    if function == "div":
        b = np.asarray(np.where(np.abs(b) < 0.2, dtype(0.5), b))
    if function == "pow":
        a = np.asarray(np.abs(a) + dtype(0.1))
    return a, b


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("function", FUNCTIONS)
@pytest.mark.parametrize("case", CASES, ids=str)
def test_values(case: Case, function: str, dtype: Any) -> None:
    a, b = operands(case, dtype, function)
    result = getattr(F, function)(a, b)
    assert result.dtype == dtype
    if function == "pow":
        exact = np.power(a.astype(np.float64), b)
        np.testing.assert_allclose(result, exact, rtol=2e-7 if dtype == np.float32 else 1e-15)
    else:
        np.testing.assert_array_equal(result, FUNCTIONS[function](a, b))
    if function in COMMUTE:
        np.testing.assert_array_equal(getattr(F, function)(b, a), result)


@pytest.mark.parametrize("function", FUNCTIONS)
@pytest.mark.parametrize(
    "case", [c for c in CASES if np.prod(c.a) < 300 and np.prod(c.b) < 300], ids=str
)
def test_gradients(case: Case, function: str) -> None:
    check_gradients(getattr(F, function), operands(case, np.float64, function), tol=3e-6)


@pytest.mark.parametrize("function", FUNCTIONS)
@pytest.mark.parametrize("case", CASES, ids=str)
def test_matches_torch(case: Case, function: str) -> None:
    torch = pytest.importorskip("torch")
    torch.set_num_threads(1)
    a, b = operands(case, np.float32, function)
    if function in ("maximum", "minimum") and a.shape == b.shape and a.size > 4:
        a.reshape(-1)[:5], b.reshape(-1)[:5] = [1, 2, 3, np.nan, 0], [1, 2, 0, 1, np.nan]
    theirs = [torch.from_numpy(v.copy()).requires_grad_() for v in (a, b)]
    ours = [fc.tensor(v, requires_grad=True) for v in (a, b)]
    result = getattr(torch, function)(*theirs)
    g = np.asarray(randn(rng("g", str(case)), *result.shape))
    result.backward(torch.from_numpy(g))
    y = getattr(F, function)(*ours)
    y.backward(g)
    if function == "pow":
        np.testing.assert_allclose(y.numpy(), result.detach().numpy(), rtol=1e-6)
    else:
        np.testing.assert_array_equal(y.numpy(), result.detach().numpy())
    for mine, other in zip(ours, theirs, strict=True):
        assert mine.grad is not None
        assert_close(mine.grad, other.grad.numpy(), 3e-6)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("number", [2.5, -3, 0.1, np.float32(1.5), np.float64(0.1), np.int64(4)])
def test_numbers(number: Any, dtype: Any) -> None:
    x = randn(rng("number"), 3, 5, dtype=dtype)
    t = fc.tensor(x, requires_grad=True)
    for result, expected in (
        (F.add(x, number), x + dtype(number)),
        (F.add(number, x), x + dtype(number)),
        (F.mul(x, number), x * dtype(number)),
        (F.mul(number, x), x * dtype(number)),
        ((number * t + number).numpy(), x * dtype(number) + dtype(number)),
    ):
        assert result.dtype == dtype
        np.testing.assert_array_equal(result, expected)
    (number * t + number).backward(np.ones_like(x))
    assert t.grad is not None
    np.testing.assert_array_equal(t.grad.numpy(), np.full_like(x, number))


def test_operators_of_tensor() -> None:
    x, y = randn(rng("x"), 4, 3), randn(rng("y"), 4, 3)
    a, b = fc.tensor(x), fc.tensor(y)
    for result, expected in (
        (a + b, x + y),
        (a - b, x - y),
        (a * y, x * y),
        (x + b, x + y),
        (1 - a, 1 - x),
        (a - 1.5, x - np.float32(1.5)),
        (-a, -x),
        (abs(a), np.abs(x)),
        (a / 4, x / 4),
        (a / 3, x / np.float32(3)),
        (a / b, x / y),
        (2 / a, np.float32(2) / x),
        (x / b, x / y),
        (x - b, x - y),
        (a**2, x * x),
    ):
        assert isinstance(result, fc.Tensor) and result.dtype == np.float32
        np.testing.assert_array_equal(result.numpy(), expected)


@pytest.mark.parametrize("first", [False, True])
@pytest.mark.parametrize("number", [2.0, -1.5, 0.5, 3, 0.0])
@pytest.mark.parametrize("function", FUNCTIONS)
def test_gradients_with_a_number(function: str, number: float, first: bool) -> None:
    x = np.abs(rng("numbers").standard_normal((3, 7))) + 0.25
    if function == "div" and not first and not number:
        return
    if function == "pow" and first:
        number = abs(number) + 0.5

    def call(t: Any) -> Any:
        return getattr(F, function)(*((number, t) if first else (t, number)))

    assert_close(
        call(x.astype(np.float32)),
        FUNCTIONS[function](*((number, x) if first else (x, number))),
        1e-6,
    )
    check_gradients(call, [x])


def test_two_numbers() -> None:
    assert F.sub(3, 1.5) == 1.5 and F.div(1, 4) == 0.25 and F.pow(2, 0.5) == 2**0.5
    assert F.maximum(1, 2) == 2.0 and F.minimum(1, 2) == 1.0
    assert F.div(1, 0) == np.inf and np.isnan(F.pow(-1, 0.5))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_powers_of_zero_and_of_negative_numbers(dtype: Any) -> None:
    torch = pytest.importorskip("torch")
    base = np.array([0.0, 0.0, 0.0, -2.0, -2.0, -2.0, 3.0, 0.0, np.inf] * 5, dtype)
    exponent = np.array([0.0, 2.0, 0.5, 2.0, 3.0, -1.0, 0.0, 1.0, 2.0] * 5, dtype)
    theirs = [torch.from_numpy(v.copy()).requires_grad_() for v in (base, exponent)]
    result = torch.pow(*theirs)
    result.sum().backward()
    ours = [fc.tensor(v, requires_grad=True) for v in (base, exponent)]
    y = F.pow(*ours)
    y.sum().backward()
    np.testing.assert_allclose(y.numpy(), result.detach().numpy(), rtol=1e-6)
    for mine, other in zip(ours, theirs, strict=True):
        assert mine.grad is not None
        np.testing.assert_allclose(mine.grad.numpy(), other.grad.numpy(), rtol=1e-6)
    for power in (0.0, 1.0, 2.0, 3.0):
        t = fc.tensor(base, requires_grad=True)
        peer = torch.from_numpy(base.copy()).requires_grad_()
        (t**power).sum().backward()
        (peer**power).sum().backward()
        assert t.grad is not None
        np.testing.assert_allclose(t.grad.numpy(), peer.grad.numpy(), rtol=1e-6)


def test_a_tensor_added_to_itself() -> None:
    x = randn(rng("itself"), 3, 4)
    t = fc.tensor(x, requires_grad=True)
    (t + t * t).backward(np.ones_like(x))
    assert t.grad is not None
    np.testing.assert_allclose(t.grad.numpy(), 1 + 2 * x, rtol=1e-6)


@pytest.mark.parametrize("function", FUNCTIONS)
def test_channels_last_views_stay_channels_last(function: str) -> None:
    x, y = (np.abs(randn(rng(k), 2, 5, 4, 3)).transpose(0, 3, 1, 2) + 0.1 for k in "xy")
    bias = np.abs(randn(rng("bias"), 3, 1, 1)) + np.float32(0.1)
    for other in (y, bias, np.ascontiguousarray(y), 2.0):
        gradients = []
        for order in (np.asarray, np.ascontiguousarray):
            a = fc.Tensor(order(x), requires_grad=True)
            b = other if isinstance(other, float) else fc.Tensor(other, requires_grad=True)
            result = getattr(F, function)(a, b)
            last = result.numpy().transpose(0, 2, 3, 1).flags.c_contiguous
            assert last == (order is np.asarray)
            result.backward(y)
            assert a.grad is not None
            grads = [a.grad.numpy()] if isinstance(b, float) else [a.grad.numpy(), b.grad.numpy()]
            gradients.append([result.numpy(), *grads])
        for mine, plain in zip(*gradients, strict=True):
            assert_close(mine, plain)
        expected = FUNCTIONS[function](x, other if isinstance(other, float) else np.asarray(other))
        assert_close(gradients[0][0], expected)


@pytest.mark.parametrize("function", FUNCTIONS)
@pytest.mark.parametrize(
    "case",
    [Case((3, 70001), (3, 70001)), Case((64, 33, 57), (33, 1)), Case((9, 1), (1, 20011))],
    ids=str,
)
def test_threads(case: Case, function: str) -> None:
    a, b = operands(case, np.float32, function)

    def run() -> Any:
        x, y = (fc.tensor(v, requires_grad=True) for v in (a, b))
        result = getattr(F, function)(x, y)
        result.backward(result.numpy())
        assert x.grad is not None and y.grad is not None
        return result, x.grad, y.grad

    check_same_bits_for_threads(run)


@settings(deadline=None, max_examples=80, derandomize=True)
@given(st.lists(st.integers(1, 6), max_size=6), st.data())
def test_any_broadcast(shape: list[int], data: Any) -> None:
    def operand(key: str) -> Any:
        drop = data.draw(st.integers(0, len(shape)))
        ones = data.draw(st.lists(st.booleans(), min_size=len(shape), max_size=len(shape)))
        sizes = [1 if one else s for one, s in zip(ones, shape, strict=True)][drop:]
        return np.asarray(randn(rng(key, sizes), *sizes), np.float32)

    a, b = operand("a"), operand("b")
    for function in ("add", "mul", "sub", "div", "maximum", "minimum"):
        np.testing.assert_array_equal(getattr(F, function)(a, b), FUNCTIONS[function](a, b))


@settings(deadline=None, max_examples=40, derandomize=True)
@given(
    st.permutations(range(4)),
    st.permutations(range(4)),
    st.sampled_from([1, -1]),
    st.sampled_from([1, 2]),
)
def test_any_memory_order(first: Any, second: Any, sign: int, step: int) -> None:
    base = randn(rng("memory"), 4, 4, 4, 8)
    a, b = base.transpose(first)[::sign], base.transpose(second)[..., ::step]
    if step == 2 and b.shape != a.shape:
        a = a[tuple(slice(s) for s in b.shape)]
    b = b[tuple(slice(s) for s in a.shape)]
    a = a[tuple(slice(s) for s in b.shape)]
    for function in ("add", "sub", "div"):
        np.testing.assert_array_equal(getattr(F, function)(a, b), FUNCTIONS[function](a, b))


def test_special_values() -> None:
    values = np.array([np.nan, np.inf, -np.inf, 0.0, 1.0] * 9, np.float32)
    with np.errstate(invalid="ignore", divide="ignore"):
        for function in ("add", "mul", "sub", "div", "maximum", "minimum"):
            for other in (values, values[::-1], np.roll(values, 1)):
                np.testing.assert_array_equal(
                    getattr(F, function)(values, other), FUNCTIONS[function](values, other)
                )
        np.testing.assert_array_equal(F.mul(values, float("inf")), values * np.float32("inf"))


X = np.zeros((4, 3), np.float32)


@pytest.mark.parametrize(
    ("call", "error", "text"),
    [
        (
            lambda: F.add(X, X[:, :2]),
            fc.ShapeError,
            r"add: shapes \(4, 3\) and \(4, 2\) do not broadcast",
        ),
        (lambda: F.mul(X, X[:3]), fc.ShapeError, r"mul: shapes \(4, 3\) and \(3, 3\)"),
        (lambda: F.mul(X.T, np.zeros(3, "f4")), fc.ShapeError, r"mul: shapes \(3, 4\) and \(3,\)"),
        (lambda: F.add(X, np.zeros((0, 3), "f4")), fc.ShapeError, "add: shapes"),
        (
            lambda: F.add(X, X.astype(float)),
            fc.DTypeError,
            "add: other must be float32, got float64",
        ),
        (
            lambda: F.add(X.astype(int), X),
            fc.DTypeError,
            "add: input must be float32, float64 or bfloat16",
        ),
        (lambda: F.add(X, X.astype(int)), fc.DTypeError, "add: other must be float32, got int64"),
        (
            lambda: F.mul(X.astype(int), 2),
            fc.DTypeError,
            "mul: input must be float32, float64 or bfloat16",
        ),
        (lambda: F.mul(X, None), fc.DTypeError, "mul: other must be an array"),
        (lambda: F.mul(X, True), fc.DTypeError, "mul: other must be an array"),
        (lambda: F.mul(X, "2"), fc.DTypeError, "mul: other must be an array"),
        (lambda: F.mul(X, 2j), fc.DTypeError, "mul: other must be an array"),
        (lambda: F.add(X, np.zeros((1,) * 9, "f4")), fc.ShapeError, "add: .*9 dimensions"),
    ],
)
def test_bad_arguments(call: Any, error: type[Exception], text: str) -> None:
    with pytest.raises(error, match=text):
        call()
