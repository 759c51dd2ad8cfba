"""Activation functions."""

from __future__ import annotations

from .. import _ops
from .._arrays import ArrayLike, MemoryOrder, NDArray
from ..errors import ShapeError
from ..tensor import as_array, finish
from ._args import axis, number


def _apply(op: str, kind: str, input: ArrayLike, slope: float, save_input: bool) -> ArrayLike:
    array = as_array(op, "input", input)
    order = MemoryOrder(array)
    x = order.enter(array)
    y = _ops.activation(kind, x, slope)
    saved = x if save_input else y

    def backward(g: NDArray, needs: tuple[bool, ...]) -> tuple[NDArray | None, ...]:
        return (order.leave(_ops.activation_backward(kind, saved, order.enter(g), slope)),)

    return finish(op, order.leave(y), (input,), backward)


def relu(input: ArrayLike) -> ArrayLike:
    """max(x, 0), element by element; NaN stays NaN. Any shape."""
    return _apply("relu", "relu", input, 0.0, False)


def relu6(input: ArrayLike) -> ArrayLike:
    """min(max(x, 0), 6), element by element; NaN stays NaN. Any shape."""
    return _apply("relu6", "relu6", input, 0.0, False)


def leaky_relu(input: ArrayLike, negative_slope: float = 0.01) -> ArrayLike:
    """x where x > 0, negative_slope * x elsewhere. Any shape.

    Raises:
        DTypeError: `negative_slope` is not a number, or the input is not float32, float64 or bfloat16.
    """
    slope = number("leaky_relu", "negative_slope", negative_slope)
    # The output's sign tells the input's only where the slope is not negative.
    return _apply("leaky_relu", "leaky_relu", input, slope, save_input=not slope >= 0)


def sigmoid(input: ArrayLike) -> ArrayLike:
    """1 / (1 + e^-x), element by element. Any shape."""
    return _apply("sigmoid", "sigmoid", input, 0.0, False)


def tanh(input: ArrayLike) -> ArrayLike:
    """The hyperbolic tangent, element by element. Any shape."""
    return _apply("tanh", "tanh", input, 0.0, False)


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
    return _apply("gelu", "gelu" if approximate == "none" else "gelu_tanh", input, 0.0, True)


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
