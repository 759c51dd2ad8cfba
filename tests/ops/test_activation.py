"""Activation functions: values, gradients, special values, layouts, threads, refusals."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import fastconv as fc
import fastconv.functional as F
from tests.cases.activation import CASES, FUNCTIONS, Case
from tests.support import assert_close, check_gradients, check_same_bits_for_threads, randn, rng

_erf = np.vectorize(math.erf, otypes=[np.float64])
_IDS = [str(Case(f, (), o)) for f, o in FUNCTIONS]


def expected(function: str, x: Any, **o: Any) -> Any:
    """The definitions, in float64."""
    x = np.asarray(x, np.float64)
    positive, negative = np.maximum(x, 0), np.minimum(x, 0)
    alpha = o.get("alpha", 1.0)
    if function == "gelu" and o.get("approximate") == "tanh":
        return 0.5 * x * (1 + np.tanh(np.sqrt(2 / np.pi) * (x + 0.044715 * x**3)))
    definitions: dict[str, Callable[[], Any]] = {
        "relu": lambda: positive,
        "relu6": lambda: np.clip(x, 0, 6),
        "leaky_relu": lambda: np.where(x > 0, x, o.get("negative_slope", 0.01) * x),
        "sigmoid": lambda: 1 / (1 + np.exp(-x)),
        "tanh": lambda: np.tanh(x),
        "gelu": lambda: 0.5 * x * (1 + _erf(x / np.sqrt(2))),
        "elu": lambda: positive + alpha * np.expm1(negative),
        "selu": lambda: 1.0507009873554805 * (positive + 1.6732632423543772 * np.expm1(negative)),
        "celu": lambda: positive + alpha * np.expm1(negative / alpha),
        "hardsigmoid": lambda: np.clip(x + 3, 0, 6) / 6,
        "hardswish": lambda: x * np.clip(x + 3, 0, 6) / 6,
        "hardtanh": lambda: np.clip(x, o.get("min_val", -1), o.get("max_val", 1)),
        "clamp": lambda: np.clip(x, o.get("min"), o.get("max")),
        "silu": lambda: x / (1 + np.exp(-x)),
        "softplus": lambda: _softplus(x, o.get("beta", 1.0), o.get("threshold", 20.0)),
        "mish": lambda: x * np.tanh(np.log1p(np.exp(x))),
        "threshold": lambda: np.where(x > o["threshold"], x, o["value"]),
        "hardshrink": lambda: np.where(np.abs(x) > o.get("lambd", 0.5), x, 0.0),
        "softshrink": lambda: np.sign(x) * np.maximum(np.abs(x) - o.get("lambd", 0.5), 0.0),
        "softsign": lambda: x / (1 + np.abs(x)),
        "logsigmoid": lambda: -np.log1p(np.exp(-x)),
    }
    return definitions[function]()


def _softplus(x: Any, beta: float, threshold: float) -> Any:
    return np.where(beta * x > threshold, x, np.log1p(np.exp(beta * x)) / beta)


# Where a derivative jumps.
_KINKS = [-3.0, -2.0, -1.5, -1.0, -0.5, 0.0, 0.5, 1.0, 1.5, 2.0, 2.5, 3.0, 6.0]


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("case", CASES, ids=str)
def test_values(case: Case, dtype: Any) -> None:
    x = np.asarray(3 * randn(rng(str(case)), *case.shape), dtype)
    y = getattr(F, case.function)(x, **case.options)
    assert y.dtype == dtype
    tolerance = 2e-6 if dtype == np.float32 else 1e-12
    assert_close(y, expected(case.function, x, **case.options), tolerance, str(case))


@pytest.mark.parametrize(("function", "options"), FUNCTIONS, ids=_IDS)
def test_gradients(function: str, options: dict[str, Any]) -> None:
    x = rng(function).standard_normal((3, 5)) * 4
    for kink in _KINKS:
        x = np.where(np.abs(x - kink) < 0.01, kink + 0.1, x)
    check_gradients(lambda t: getattr(F, function)(t, **options), [x])


@pytest.mark.parametrize(("function", "options"), FUNCTIONS, ids=_IDS)
def test_float32_gradient_is_the_float64_one(function: str, options: dict[str, Any]) -> None:
    generator = rng("g32", function)
    x, g = 3 * randn(generator, 4, 1001), randn(generator, 4, 1001)
    gradients = []
    for dtype in (np.float32, np.float64):
        t = fc.tensor(x.astype(dtype), requires_grad=True)
        getattr(F, function)(t, **options).backward(g.astype(dtype))
        assert t.grad is not None and t.grad.dtype == dtype
        gradients.append(t.grad.numpy())
    assert_close(gradients[0], gradients[1], 3e-6)


@pytest.mark.parametrize(("function", "options"), FUNCTIONS, ids=_IDS)
def test_matches_torch(function: str, options: dict[str, Any]) -> None:
    torch = pytest.importorskip("torch")
    torch.set_num_threads(1)
    x = 3 * randn(rng("torch", function), 5, 333)
    x[0, :8] = [0.0, -0.0, 6.0, -6.0, 1e-30, -1e-30, 30.0, -30.0]
    x[1, : len(_KINKS)] = _KINKS
    theirs = torch.from_numpy(x.copy()).requires_grad_()
    peer = getattr(torch.nn.functional, function, None) or getattr(torch, function)
    expected_y = peer(theirs, **options)
    expected_y.backward(torch.ones_like(expected_y) * 0.75)
    ours = fc.tensor(x, requires_grad=True)
    y = getattr(F, function)(ours, **options)
    y.backward(np.full(x.shape, 0.75, np.float32))
    assert_close(y, expected_y.detach().numpy(), 2e-6)
    assert ours.grad is not None
    assert_close(ours.grad, theirs.grad.numpy(), 3e-6)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(("function", "options"), FUNCTIONS, ids=_IDS)
def test_nan_and_infinity(function: str, options: dict[str, Any], dtype: Any) -> None:
    # 40 copies, so that whole vectors and the masked tail both see them.
    x = np.tile(np.array([np.nan, np.inf, -np.inf], dtype), 40)
    y = getattr(F, function)(x, **options).reshape(40, 3)
    assert np.isnan(y[:, 0]).all()
    limits = {"relu": (np.inf, 0), "relu6": (6, 0), "sigmoid": (1, 0), "tanh": (1, -1)}
    limits |= {"hardsigmoid": (1, 0), "logsigmoid": (0, -np.inf), "softsign": (np.nan, np.nan)}
    bounds = {"hardtanh": ("max_val", "min_val"), "clamp": ("max", "min")}
    if function in bounds:
        high, low = bounds[function]
        default = 1.0 if function == "hardtanh" else np.inf
        top = options.get(high, default)
        limits[function] = (top, min(options.get(low, -default), top))
    if function in limits:
        np.testing.assert_array_equal(y[:, 1:], np.tile(limits[function], (40, 1)))
    elif options.get("beta", 1) < 0:
        assert (y[:, 1] == 0).all() and (y[:, 2] == -np.inf).all()
    else:
        assert (y[:, 1] == np.inf).all()


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(
    ("function", "slope", "at_nan"),
    [("hardtanh", 0.0, 2.0), ("clamp", 2.0, 0.0), ("hardsigmoid", 0.0, 0.0)],
)
def test_gradients_at_bounds_and_nan(
    function: str, slope: float, at_nan: float, dtype: Any
) -> None:
    """As PyTorch has them."""
    bounds = {"hardtanh": (-0.5, 0.75), "clamp": (-0.5, 0.75)}.get(function, ())
    low, high = bounds or (-3.0, 3.0)
    x = fc.tensor(np.tile(np.array([low, high, np.nan, 0.25], dtype), 9), requires_grad=True)
    getattr(F, function)(x, *bounds).backward(np.full(36, 2.0, dtype))
    assert x.grad is not None
    inside = 2.0 if bounds else 2.0 / 6
    np.testing.assert_allclose(
        x.grad.numpy(), np.tile([slope, slope, at_nan, inside], 9), rtol=1e-6
    )


@pytest.mark.parametrize("function", ["elu", "selu", "celu", "softplus", "mish", "silu"])
def test_small_results_are_exact_too(function: str) -> None:
    """Relative errors, where the terms of the naive formula cancel or vanish."""
    x = np.array([-1e-3, -1e-6, -1e-20, -0.3, -5.0, -30.0, -60.0, 1e-6, 1.0], np.float32)
    exact = expected(function, x)
    if function == "mish":  # whose definition cancels in float64
        e = np.exp(x.astype(np.float64))
        exact = x * (e * e + 2 * e) / (e * e + 2 * e + 2)
    np.testing.assert_allclose(getattr(F, function)(x), exact, rtol=1e-6)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_relu_gradient_at_zero_and_nan(dtype: Any) -> None:
    x = fc.tensor(np.tile(np.array([0.0, -0.0, np.nan, 1.0], dtype), 9), requires_grad=True)
    F.relu(x).backward(np.full(36, 2.0, dtype))
    assert x.grad is not None
    np.testing.assert_array_equal(x.grad.numpy(), np.tile([0.0, 0.0, 2.0, 2.0], 9))


@pytest.mark.parametrize(("function", "options"), FUNCTIONS, ids=_IDS)
def test_threads(function: str, options: dict[str, Any]) -> None:
    x = 3 * randn(rng("threads", function), 3, 65537)

    def run() -> Any:
        t = fc.tensor(x, requires_grad=True)
        y = getattr(F, function)(t, **options)
        y.backward(x)
        assert t.grad is not None
        return y, t.grad

    check_same_bits_for_threads(run)


@pytest.mark.parametrize(("function", "options"), FUNCTIONS, ids=_IDS)
def test_channels_last_views_stay_channels_last(function: str, options: dict[str, Any]) -> None:
    nhwc = randn(rng("nhwc", function), 2, 5, 4, 3)
    t = fc.tensor(nhwc, requires_grad=True)
    view = fc.Tensor(nhwc.transpose(0, 3, 1, 2), requires_grad=True)
    y, flat = getattr(F, function)(view, **options), getattr(F, function)(t, **options)
    assert y.numpy().transpose(0, 2, 3, 1).flags.c_contiguous
    np.testing.assert_array_equal(y.numpy().transpose(0, 2, 3, 1), flat.numpy())
    g = randn(rng("g"), 2, 3, 5, 4)
    y.backward(g)
    flat.backward(np.ascontiguousarray(g.transpose(0, 2, 3, 1)))
    assert view.grad is not None and t.grad is not None
    np.testing.assert_array_equal(view.grad.numpy().transpose(0, 2, 3, 1), t.grad.numpy())


@settings(deadline=None, max_examples=40, derandomize=True)
@given(
    st.sampled_from(FUNCTIONS),
    st.integers(0, 200),
    st.sampled_from(["c", "reversed", "step", ">f4"]),
)
def test_any_memory(function: tuple[str, dict[str, Any]], n: int, memory: str) -> None:
    name, options = function
    base = randn(rng(name, n), 2 * n + 1)
    x = {
        "c": base[:n],
        "reversed": base[::-1][:n],
        "step": base[::2][:n],
        ">f4": base[:n].astype(">f4"),
    }
    x[memory].flags.writeable = False
    assert_close(
        getattr(F, name)(x[memory], **options), expected(name, x[memory], **options), 2e-6, memory
    )


@pytest.mark.parametrize(
    ("call", "error", "text"),
    [
        (lambda: F.relu(None), fc.DTypeError, "relu: input must be an array"),
        (lambda: F.relu([1.0]), fc.DTypeError, "relu: input must be an array"),
        (lambda: F.tanh(np.zeros(3, np.int64)), fc.DTypeError, "tanh: .*float64 or bfloat16"),
        (lambda: F.gelu(np.zeros(3, np.float16)), fc.DTypeError, "gelu: .*float16"),
        (lambda: F.gelu(np.zeros(3, "c8")), fc.DTypeError, "gelu: .*complex64"),
        (lambda: F.sigmoid(np.zeros(3, bool)), fc.DTypeError, "sigmoid: "),
        (lambda: F.relu6(np.array(["a"])), fc.DTypeError, "relu6: "),
        (lambda: F.gelu(np.zeros(3, "f4"), approximate="fast"), fc.ShapeError, "gelu: approximate"),
        (lambda: F.gelu(np.zeros(3, "f4"), approximate=None), fc.ShapeError, "gelu: approximate"),  # type: ignore[arg-type]
        (lambda: F.leaky_relu(np.zeros(3, "f4"), "x"), fc.DTypeError, "leaky_relu: negative_slope"),  # type: ignore[arg-type]
        (
            lambda: F.leaky_relu(np.zeros(3, "f4"), True),
            fc.DTypeError,
            "leaky_relu: negative_slope",
        ),
        (lambda: F.elu(np.zeros(3, "f4"), "x"), fc.DTypeError, "elu: alpha"),  # type: ignore[arg-type]
        (lambda: F.celu(np.zeros(3, "f4"), 0.0), fc.ShapeError, "celu: the size of alpha"),
        (lambda: F.celu(np.zeros(3, int)), fc.DTypeError, "celu: input"),
        (lambda: F.hardtanh(np.zeros(3, "f4"), 2.0), fc.ShapeError, "hardtanh: min_val must not"),
        (lambda: F.hardtanh(np.zeros(3, "f4"), np.nan), fc.ShapeError, "hardtanh: min_val"),
        (lambda: F.clamp(np.zeros(3, "f4")), fc.ShapeError, "clamp: expects min, max or both"),
        (lambda: F.clamp(np.zeros(3, "f4"), np.nan), fc.ShapeError, "clamp: .*NaN"),
        (lambda: F.clamp(np.zeros(3, "f4"), max=np.zeros(3)), fc.DTypeError, "clamp: max must be"),  # type: ignore[arg-type]
        (lambda: F.softplus(np.zeros(3, "f4"), None), fc.DTypeError, "softplus: beta"),  # type: ignore[arg-type]
        (lambda: F.threshold(np.zeros(3, "f4"), np.nan, 0.0), fc.ShapeError, "threshold: thr.*NaN"),
        (lambda: F.hardshrink(np.zeros(3, "f4"), np.nan), fc.ShapeError, "hardshrink: lambd .*NaN"),
        (
            lambda: F.softshrink(np.zeros(3, "f4"), -1.0),
            fc.ShapeError,
            "softshrink: lambd must not",
        ),
        (lambda: F.softsign(np.zeros(3, int)), fc.DTypeError, "^softsign: input must be float32"),
        (lambda: F.relu(np.zeros((1,) * 9, "f4")), fc.ShapeError, "relu: input has 9 dimensions"),
    ],
)
def test_bad_arguments(call: Any, error: type[Exception], text: str) -> None:
    with pytest.raises(error, match=text):
        call()
