"""What the op tests share: comparison, gradient checks, thread-count checks, the PyTorch peer."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

import fastconv as fc


def rng(*key: Any) -> np.random.Generator:
    """A generator seeded by the test's own name or parameters, so that failures repeat."""
    return np.random.default_rng(np.frombuffer(repr(key).encode(), np.uint8).astype(np.uint32))


def randn(generator: np.random.Generator, *shape: int, dtype: Any = np.float32) -> Any:
    return generator.standard_normal(shape).astype(dtype)


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
