"""exp, log, roots, rounding and their like: values, gradients, special values, threads, memory orders."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

import fastconv as fc
import fastconv.functional as F
from tests.support import (
    assert_close,
    check_bfloat16,
    check_gradients,
    check_same_bits_for_threads,
    randn,
    rng,
)

# What NumPy or the C library has of them, in float64.
FUNCTIONS: dict[str, Any] = {
    "neg": np.negative,
    "abs": np.abs,
    "exp": np.exp,
    "log": np.log,
    "sqrt": np.sqrt,
    "reciprocal": np.reciprocal,
    "erf": np.vectorize(math.erf, otypes=[np.float64]),
    "sign": np.sign,
    "floor": np.floor,
    "ceil": np.ceil,
    "round": np.rint,
}
FLAT = ("sign", "floor", "ceil", "round")
SHAPES: list[tuple[int, ...]] = [(), (1,), (7,), (2, 3, 7, 9), (0, 4), (50001,)]


def operand(function: str, *shape: int, dtype: Any = np.float32) -> Any:
    x = np.asarray(3 * randn(rng(function, shape), *shape), dtype)
    if function in ("log", "sqrt"):
        return np.asarray(np.abs(x))
    return x


def expected(function: str, x: Any) -> Any:
    with np.errstate(all="ignore"):
        return FUNCTIONS[function](np.asarray(x, np.float64))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("function", FUNCTIONS)
def test_values(function: str, shape: tuple[int, ...], dtype: Any) -> None:
    x = operand(function, *shape, dtype=dtype)
    y = getattr(F, function)(x)
    assert y.dtype == dtype and y.shape == shape
    tolerance = 4e-7 if dtype == np.float32 else 1e-15
    np.testing.assert_allclose(y, expected(function, x), rtol=tolerance, atol=0)


@pytest.mark.parametrize("function", FUNCTIONS)
def test_values_of_any_size(function: str) -> None:
    """Float32 numbers of all sizes, both signs, with their relative errors."""
    sizes = 2.0 ** np.linspace(-125, 127, 2003)
    x = np.concatenate([sizes, -sizes]).astype(np.float32)
    if function == "exp":
        x = x[np.abs(x) < 87]
    if function == "reciprocal":  # denormal results are flushed
        x = x[np.abs(x) < 2.0**126]
    near_one = (1 + np.linspace(-0.3, 0.4, 1001)).astype(np.float32)
    halves = (np.arange(-41, 41) / 2).astype(np.float32)
    large = (np.float32(2) ** 22 + np.arange(64) / 2).astype(np.float32)
    for part in (x, near_one, halves, large, -large):
        if function == "exp" and np.abs(part).max() > 87:
            continue
        np.testing.assert_allclose(
            getattr(F, function)(part), expected(function, part), rtol=5e-7, atol=0
        )


@pytest.mark.parametrize("function", FUNCTIONS)
def test_gradients(function: str) -> None:
    x = np.abs(rng(function).standard_normal((3, 5))) + 0.2
    if function not in ("log", "sqrt"):
        x[::2] *= -1
    x = np.where(np.abs(x - np.rint(x)) < 0.01, x + 0.1, x)
    check_gradients(getattr(F, function), [x])


@pytest.mark.parametrize("function", FUNCTIONS)
def test_matches_torch(function: str) -> None:
    torch = pytest.importorskip("torch")
    torch.set_num_threads(1)
    x = operand(function, 5, 333)
    special = [0.0, -0.0, 0.5, -0.5, 1.5, 2.5, -2.5, 1e-30, 30.0, np.inf, -np.inf, np.nan, -1.0]
    if function in ("abs", "sign"):  # of NaN PyTorch gives 0
        special.remove(np.nan)
    x[0, : len(special)] = special
    theirs = torch.from_numpy(x.copy()).requires_grad_()
    peer = getattr(torch, function)(theirs)
    peer.backward(torch.ones_like(peer) * 0.75)
    ours = fc.tensor(x, requires_grad=True)
    y = getattr(F, function)(ours)
    y.backward(np.full(x.shape, 0.75, np.float32))
    np.testing.assert_allclose(y.numpy(), peer.detach().numpy(), rtol=1e-6, atol=1e-37)
    assert ours.grad is not None
    np.testing.assert_allclose(ours.grad.numpy(), theirs.grad.numpy(), rtol=1e-6, atol=1e-37)


@pytest.mark.parametrize("function", FUNCTIONS)
def test_float32_gradient_is_the_float64_one(function: str) -> None:
    x, g = operand(function, 4, 1001), randn(rng("g", function), 4, 1001)
    gradients = []
    for dtype in (np.float32, np.float64):
        t = fc.tensor(x.astype(dtype), requires_grad=True)
        getattr(F, function)(t).backward(g.astype(dtype))
        assert t.grad is not None and t.grad.dtype == dtype
        gradients.append(t.grad.numpy())
    assert_close(gradients[0], gradients[1], 3e-6)


@pytest.mark.parametrize("function", FUNCTIONS)
def test_threads(function: str) -> None:
    x = operand(function, 3, 65537)

    def run() -> Any:
        t = fc.tensor(x, requires_grad=True)
        y = getattr(F, function)(t)
        y.backward(x)
        assert t.grad is not None
        return y, t.grad

    check_same_bits_for_threads(run)


@pytest.mark.parametrize("function", FUNCTIONS)
def test_bfloat16(function: str) -> None:
    x = np.abs(operand(function, 4, 37)) + 0.5
    slack = 2.0**-7 if function in ("exp", "sqrt", "reciprocal") else 1e-5
    check_bfloat16(getattr(F, function), [x], function, gradient_slack=slack)


@pytest.mark.parametrize("function", FUNCTIONS)
def test_channels_last_views_stay_channels_last(function: str) -> None:
    nhwc = operand(function, 2, 5, 4, 3)
    view = fc.Tensor(nhwc.transpose(0, 3, 1, 2), requires_grad=True)
    y = getattr(F, function)(view)
    assert y.numpy().transpose(0, 2, 3, 1).flags.c_contiguous
    np.testing.assert_array_equal(y.numpy().transpose(0, 2, 3, 1), getattr(F, function)(nhwc))


@pytest.mark.parametrize("function", FUNCTIONS)
def test_bad_arguments(function: str) -> None:
    for bad in (None, 1.0, [1.0], np.zeros(3, int), np.zeros(3, bool), np.zeros(3, "f2")):
        with pytest.raises(fc.DTypeError, match=f"^{function}: input must be"):
            getattr(F, function)(bad)
    with pytest.raises(fc.ShapeError, match=f"^{function}: input has 9 dimensions"):
        getattr(F, function)(np.zeros((1,) * 9, "f4"))
