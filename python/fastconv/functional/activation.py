"""Activation functions."""

from __future__ import annotations

import math

from .. import _ops
from .._arrays import ArrayLike, MemoryOrder, NDArray
from ..errors import ShapeError
from ..tensor import as_array, finish
from ._args import axis, number


def apply(
    op: str,
    kind: str,
    input: ArrayLike,
    save_input: bool,
    slope: float = 0.0,
    bound: float = 0.0,
) -> ArrayLike:
    """A function of each value by itself; backward reads the input, or else the output."""
    array = as_array(op, "input", input)
    order = MemoryOrder(array)
    x = order.enter(array)
    y = _ops.activation(kind, x, slope, bound)
    saved = x if save_input else y

    def backward(g: NDArray, needs: tuple[bool, ...]) -> tuple[NDArray | None, ...]:
        dx = _ops.activation_backward(kind, saved, order.enter(g), slope, bound)
        return (order.leave(dx),)

    return finish(op, order.leave(y), (input,), backward)


def relu(input: ArrayLike) -> ArrayLike:
    """max(x, 0), element by element; NaN stays NaN. Any shape."""
    return apply("relu", "relu", input, False)


def relu6(input: ArrayLike) -> ArrayLike:
    """min(max(x, 0), 6), element by element; NaN stays NaN. Any shape."""
    return apply("relu6", "relu6", input, False)


def leaky_relu(input: ArrayLike, negative_slope: float = 0.01) -> ArrayLike:
    """x where x > 0, negative_slope * x elsewhere. Any shape.

    Raises:
        DTypeError: `negative_slope` is not a number, or the input is not float32, float64 or bfloat16.
    """
    slope = number("leaky_relu", "negative_slope", negative_slope)
    # The output's sign tells the input's only where the slope is not negative.
    return apply("leaky_relu", "leaky_relu", input, not slope >= 0, slope)


def sigmoid(input: ArrayLike) -> ArrayLike:
    """1 / (1 + e^-x), element by element. Any shape."""
    return apply("sigmoid", "sigmoid", input, False)


def tanh(input: ArrayLike) -> ArrayLike:
    """The hyperbolic tangent, element by element. Any shape."""
    return apply("tanh", "tanh", input, False)


def gelu(input: ArrayLike, approximate: str = "none") -> ArrayLike:
    """x * Phi(x) with the normal distribution's Phi (Hendrycks and Gimpel, 2016). Any shape.

    Args:
        approximate: "none" for the exact function, "tanh" for
            0.5 x (1 + tanh(sqrt(2 / pi) (x + 0.044715 x^3))).

    Raises:
        ShapeError: another `approximate`.
    """
    if not isinstance(approximate, str) or approximate not in ("none", "tanh"):
        raise ShapeError(f"gelu: approximate must be 'none' or 'tanh', got {approximate!r}")
    return apply("gelu", "gelu" if approximate == "none" else "gelu_tanh", input, True)


def elu(input: ArrayLike, alpha: float = 1.0) -> ArrayLike:
    """x where x > 0, alpha (e^x - 1) elsewhere (Clevert et al., 2015). Any shape; errors as `leaky_relu`."""
    return apply("elu", "elu", input, True, number("elu", "alpha", alpha))


def selu(input: ArrayLike) -> ArrayLike:
    """1.0507 elu(x, 1.6733), whose outputs keep mean 0 and variance 1 (Klambauer et al., 2017). Any shape."""
    return apply("selu", "selu", input, True)


def celu(input: ArrayLike, alpha: float = 1.0) -> ArrayLike:
    """x where x > 0, alpha (e^(x / alpha) - 1) elsewhere (Barron, 2017). Any shape.

    Raises:
        ShapeError: the size of `alpha` is not between 1e-30 and 1e30.
        DTypeError: `alpha` is not a number, or the input is not float32, float64 or bfloat16.
    """
    value = number("celu", "alpha", alpha)
    if not 1e-30 <= abs(value) <= 1e30:
        raise ShapeError(f"celu: the size of alpha must be between 1e-30 and 1e30, got {value}")
    return apply("celu", "celu", input, True, value)


def hardsigmoid(input: ArrayLike) -> ArrayLike:
    """relu6(x + 3) / 6, element by element (Howard et al., 2019). Any shape."""
    return apply("hardsigmoid", "hardsigmoid", input, True)


def hardswish(input: ArrayLike) -> ArrayLike:
    """x relu6(x + 3) / 6, element by element (Howard et al., 2019). Any shape."""
    return apply("hardswish", "hardswish", input, True)


def hardtanh(input: ArrayLike, min_val: float = -1.0, max_val: float = 1.0) -> ArrayLike:
    """min(max(x, min_val), max_val), element by element; the derivative at the bounds is 0. Any shape.

    Raises:
        ShapeError: `min_val` is greater than `max_val`, or one of them is NaN.
        DTypeError: a bound is not a number, or the input is not float32, float64 or bfloat16.
    """
    low, high = number("hardtanh", "min_val", min_val), number("hardtanh", "max_val", max_val)
    if not low <= high:
        raise ShapeError(
            f"hardtanh: min_val must not be greater than max_val, got {low} and {high}"
        )
    return apply("hardtanh", "hardtanh", input, False, low, high)


def clamp(input: ArrayLike, min: float | None = None, max: float | None = None) -> ArrayLike:
    """min(max(x, min), max), element by element; the derivative at the bounds is 1. Any shape.

    Where `min` is greater than `max`, every element becomes `max`.

    Args:
        min, max: numbers, or None for no bound on that side.

    Raises:
        ShapeError: both bounds are None, or one is NaN.
        DTypeError: a bound is not a number, or the input is not float32, float64 or bfloat16.
    """
    if min is None and max is None:
        raise ShapeError("clamp: expects min, max or both, got neither")
    low = -math.inf if min is None else number("clamp", "min", min)
    high = math.inf if max is None else number("clamp", "max", max)
    if math.isnan(low) or math.isnan(high):
        raise ShapeError(f"clamp: min and max must not be NaN, got {low} and {high}")
    return apply("clamp", "clamp", input, True, low, high)


def silu(input: ArrayLike) -> ArrayLike:
    """x / (1 + e^-x), element by element (Elfwing et al., 2017; "swish"). Any shape."""
    return apply("silu", "silu", input, True)


def softplus(input: ArrayLike, beta: float = 1.0, threshold: float = 20.0) -> ArrayLike:
    """log(1 + e^(beta x)) / beta, and x itself where beta x > threshold. Any shape.

    Raises:
        DTypeError: an option is not a number, or the input is not float32, float64 or bfloat16.
    """
    slope = number("softplus", "beta", beta)
    return apply(
        "softplus", "softplus", input, True, slope, number("softplus", "threshold", threshold)
    )


def mish(input: ArrayLike) -> ArrayLike:
    """x tanh(log(1 + e^x)), element by element (Misra, 2019). Any shape."""
    return apply("mish", "mish", input, True)


def threshold(input: ArrayLike, threshold: float, value: float) -> ArrayLike:
    """x where x > threshold, `value` elsewhere; NaN stays NaN. Any shape.

    Raises:
        ShapeError: `threshold` is NaN.
        DTypeError: an option is not a number, or the input is not float32, float64 or bfloat16.
    """
    limit = number("threshold", "threshold", threshold)
    if math.isnan(limit):
        raise ShapeError("threshold: threshold must not be NaN")
    return apply("threshold", "threshold", input, True, limit, number("threshold", "value", value))


def hardshrink(input: ArrayLike, lambd: float = 0.5) -> ArrayLike:
    """x where |x| > lambd, 0 elsewhere; NaN stays NaN. Any shape.

    Raises:
        ShapeError: `lambd` is NaN.
        DTypeError: `lambd` is not a number, or the input is not float32, float64 or bfloat16.
    """
    limit = number("hardshrink", "lambd", lambd)
    if math.isnan(limit):
        raise ShapeError("hardshrink: lambd must not be NaN")
    return apply("hardshrink", "hardshrink", input, True, limit)


def _softmax(op: str, input: ArrayLike, dim: int, log: bool) -> ArrayLike:
    array = as_array(op, "input", input)
    order = MemoryOrder(array)
    at = order.dim(axis(op, dim, array.ndim))
    y = _ops.softmax(order.enter(array), at, log)

    def backward(g: NDArray, needs: tuple[bool, ...]) -> tuple[NDArray | None, ...]:
        return (order.leave(_ops.softmax_backward(y, order.enter(g), at, log)),)

    return finish(op, order.leave(y), (input,), backward)


def softmax(input: ArrayLike, dim: int = -1) -> ArrayLike:
    """e^x / sum(e^x) over dimension `dim`, shifted by the largest x so that nothing overflows.

    Raises:
        ShapeError: `dim` does not exist.
        DTypeError: the input is not float32, float64 or bfloat16.
    """
    return _softmax("softmax", input, dim, False)


def log_softmax(input: ArrayLike, dim: int = -1) -> ArrayLike:
    """log(softmax(input, dim)), computed as x - max - log(sum(e^(x - max))).

    Raises:
        ShapeError: `dim` does not exist.
        DTypeError: the input is not float32, float64 or bfloat16.
    """
    return _softmax("log_softmax", input, dim, True)
