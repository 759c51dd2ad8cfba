"""The fully connected layer."""

from __future__ import annotations

from .. import _ops
from .._arrays import ArrayLike, NDArray
from ..tensor import as_array, finish
from .autocast import lowered


def linear(input: ArrayLike, weight: ArrayLike, bias: ArrayLike | None = None) -> ArrayLike:
    """y = x weight^T + bias on the last dimension.

    Args:
        input: (..., in_features).
        weight: (out_features, in_features).
        bias: (out_features,) or None.

    Returns:
        (..., out_features).

    Raises:
        ShapeError: the feature counts differ.
        DTypeError: arrays that are not all of one type: float32, float64 or bfloat16.
    """
    input, weight, bias = lowered(input, weight, bias)
    x, w = as_array("linear", "input", input), as_array("linear", "weight", weight)
    b = None if bias is None else as_array("linear", "bias", bias)
    y = _ops.linear(x, w, b)

    def backward(g: NDArray, needs: tuple[bool, ...]) -> tuple[NDArray | None, ...]:
        return _ops.linear_backward(x, w, g, *needs)

    return finish("linear", y, (input, weight, bias), backward)
