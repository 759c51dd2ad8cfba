"""What the op tests share: comparison, gradient checks, thread-count checks, the PyTorch peer."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import ml_dtypes
import numpy as np

import fastconv as fc


def rng(*key: Any) -> np.random.Generator:
    """A generator seeded by the test's own name or parameters, so that failures repeat."""
    return np.random.default_rng(np.frombuffer(repr(key).encode(), np.uint8).astype(np.uint32))


def randn(generator: np.random.Generator, *shape: int, dtype: Any = np.float32) -> Any:
    return generator.standard_normal(shape).astype(dtype)


def leaf(*shape: int, dtype: Any = np.float32) -> Any:
    """A tensor of normal numbers that wants a gradient."""
    return fc.tensor(randn(rng("leaf", shape), *shape, dtype=dtype), requires_grad=True)


def assert_close(got: Any, expected: Any, tol: float = 2e-6, what: str = "") -> None:
    """Same shape, NaN and infinities in the same places, and the largest difference at most `tol` times the
    largest finite expected magnitude: the error that rounding leaves in a sum scales with its terms."""
    got, expected = np.asarray(got), np.asarray(expected)
    assert got.shape == expected.shape, f"{what}: shape {got.shape}, expected {expected.shape}"
    finite = np.isfinite(expected)
    np.testing.assert_array_equal(np.where(finite, 0, got), np.where(finite, 0, expected), what)
    if not finite.any():
        return
    scale = max(float(np.abs(expected[finite]).max()), 1e-30)
    worst = float(np.abs(got[finite].astype(np.float64) - expected[finite]).max())
    assert worst <= tol * scale, f"{what}: off by {worst:.3g} with values up to {scale:.3g}"


def numeric_gradient(f: Callable[[], float], x: Any, eps: float = 1e-6) -> Any:
    """Central differences of the scalar f() with respect to the float64 array x, which is changed in place."""
    gradient = np.zeros_like(x)
    for index in np.ndindex(x.shape):
        kept = x[index]
        x[index] = kept + eps
        above = f()
        x[index] = kept - eps
        below = f()
        x[index] = kept
        gradient[index] = (above - below) / (2 * eps)
    return gradient


def check_gradients(
    function: Callable[..., Any], inputs: Sequence[Any], eps: float = 1e-6, tol: float = 1e-6
) -> None:
    """Compare the tape's gradients of sum(function(*inputs) * r), r random, with finite differences.

    The inputs are float64 arrays; each is differentiated.
    """
    arrays = [np.array(x, np.float64) for x in inputs]
    tensors = [fc.tensor(a, requires_grad=True) for a in arrays]
    output = function(*tensors)
    r = rng("check_gradients").standard_normal(output.shape)
    output.backward(r)

    def value() -> float:
        return float((np.asarray(function(*arrays)) * r).sum())

    for i, (a, t) in enumerate(zip(arrays, tensors, strict=True)):
        assert t.grad is not None, f"no gradient for input {i}"
        assert_close(t.grad.numpy(), numeric_gradient(value, a, eps), tol, f"gradient of input {i}")


def check_same_bits_for_threads(function: Callable[[], Any]) -> None:
    """The arrays that function() returns must be bitwise equal with 1, 2 and 4 threads."""
    before = fc.get_num_threads()
    results = []
    try:
        for threads in (1, 2, 4):
            fc.set_num_threads(threads)
            out = function()
            results.append(
                [
                    np.asarray(o).tobytes()
                    for o in (out if isinstance(out, (tuple, list)) else [out])
                ]
            )
    finally:
        fc.set_num_threads(before)
    assert results[0] == results[1] == results[2], "results depend on the number of threads"


BFLOAT16 = np.dtype(ml_dtypes.bfloat16)


def to_bfloat16(x: Any) -> Any:
    """`x` rounded to bfloat16."""
    return np.asarray(x).astype(BFLOAT16)


def assert_rounded(
    got: Any, exact: Any, what: str = "", slack: float = 1e-5, scale: float = 0.0
) -> None:
    """`got` is bfloat16 and is `exact` rounded: each element within one rounding (2^-8 of its size, which
    leaves room for a tie that float32 arithmetic decides otherwise) and `slack` of the largest one or `scale`."""
    got, exact = np.asarray(got), np.asarray(exact, np.float64)
    assert got.dtype == BFLOAT16, f"{what}: {got.dtype}"
    assert got.shape == exact.shape, f"{what}: shape {got.shape}, expected {exact.shape}"
    got = got.astype(np.float64)
    finite = np.isfinite(exact)
    np.testing.assert_array_equal(np.where(finite, 0, got), np.where(finite, 0, exact), what)
    size = np.abs(exact[finite])
    off = np.abs(got[finite] - exact[finite])
    allowed = 2.0**-8 * size + slack * size.max(initial=scale) + 2.0**-133
    assert (off <= allowed).all(), f"{what}: off by {(off / allowed).max():.3g} of what is allowed"


def check_bfloat16(
    function: Callable[..., Any],
    inputs: Sequence[Any],
    what: str = "",
    slack: float = 1e-5,
    gradient_slack: float | None = None,
    differentiated: int | None = None,
) -> None:
    """function in bfloat16 against itself in float64 on the same (bfloat16) numbers, forward and backward.

    `gradient_slack` is `slack` for the gradients of the first `differentiated` inputs (all unless told): more,
    where backward reads an output that has been rounded, and then in terms of the result's gradient too.
    """
    narrow = [to_bfloat16(x) for x in inputs]
    count = len(narrow) if differentiated is None else differentiated
    results = []
    scale = 0.0
    for dtype in (BFLOAT16, np.float64):
        tensors = [
            fc.tensor(x.astype(dtype), requires_grad=i < count) for i, x in enumerate(narrow)
        ]
        y = function(*tensors)
        if count:
            seed = to_bfloat16(rng("seed", what).standard_normal(y.shape))
            y.backward(seed.astype(dtype))
            if gradient_slack is not None:
                scale = float(np.abs(seed.astype(np.float64)).max(initial=0))
        results.append((y.numpy(), [t.grad for t in tensors[:count]]))
    assert_rounded(results[0][0], results[1][0], f"{what}: result", slack)
    for i, (got, exact) in enumerate(zip(results[0][1], results[1][1], strict=True)):
        slack = slack if gradient_slack is None else gradient_slack
        assert_rounded(got.numpy(), exact.numpy(), f"{what}: gradient of input {i}", slack, scale)
