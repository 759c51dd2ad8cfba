"""Activation functions."""

from __future__ import annotations

from .. import _core
from .._arrays import ArrayLike, NDArray
from ..tensor import as_array, finish


def relu(input: ArrayLike) -> ArrayLike:
    """max(x, 0), element by element; NaN stays NaN. Any shape."""
    x = as_array("relu", "input", input)
    y = _core.activation("relu", x, 0.0)

    def backward(g: NDArray, needs: tuple[bool, ...]) -> tuple[NDArray | None, ...]:
        return (_core.activation_backward("relu", y, g, 0.0),)

    return finish("relu", y, (input,), backward)
