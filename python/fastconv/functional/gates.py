"""Activation functions made of others. Any shape; float32, float64 or bfloat16."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from .. import _ops
from .._arrays import ArrayLike
from ..errors import ShapeError
from ..tensor import as_array
from ._args import axis, number
from ._composed import composed
from .activation import apply, clamp, sigmoid, softmax, tanh
from .cast import astype
from .elementary import abs, neg
from .elementwise import add, div, mul, sub
from .indexing import chunk


@composed
def logsigmoid(input: ArrayLike) -> ArrayLike:
    """log(1 / (1 + e^-x)), without overflow for any x.

    Raises:
        DTypeError: the input is not float32, float64 or bfloat16; so for all functions here.
    """
    # -log(1 + e^-x), which from -40 down is x in float64 too.
    return apply("logsigmoid", "softplus", input, True, -1.0, 40.0)


def _rounded_once(
    op: str, input: ArrayLike, function: Callable[[ArrayLike], ArrayLike]
) -> ArrayLike:
    """A function of several steps, in float32 for bfloat16."""
    dtype = as_array(op, "input", input).dtype.newbyteorder("=")
    if not _ops.is_bfloat16(dtype):
        return function(input)
    return astype(function(astype(input, np.float32)), dtype)


@composed
def softsign(input: ArrayLike) -> ArrayLike:
    """x / (1 + |x|) (Turian et al., 2009)."""
    return _rounded_once("softsign", input, lambda x: div(x, add(abs(x), 1.0)))


@composed
def tanhshrink(input: ArrayLike) -> ArrayLike:
    """x - tanh(x)."""
    return _rounded_once("tanhshrink", input, lambda x: sub(x, tanh(x)))


@composed
def softshrink(input: ArrayLike, lambd: float = 0.5) -> ArrayLike:
    """x - lambd where x > lambd, x + lambd where x < -lambd, 0 between (Donoho, 1995).

    Raises:
        ShapeError: `lambd` is negative or NaN.
    """
    limit = number("softshrink", "lambd", lambd)
    if not limit >= 0:
        raise ShapeError(f"softshrink: lambd must not be negative, got {limit}")
    return sub(input, clamp(input, -limit, limit))


@composed
def softmin(input: ArrayLike, dim: int = -1) -> ArrayLike:
    """softmax(-x) over dimension `dim`.

    Raises:
        ShapeError: `dim` does not exist.
    """
    return softmax(neg(input), dim)


@composed
def glu(input: ArrayLike, dim: int = -1) -> ArrayLike:
    """a * sigmoid(b), a and b being the halves of the input along `dim` (Dauphin et al., 2017).

    Raises:
        ShapeError: `dim` does not exist or has an odd size.
    """
    x = as_array("glu", "input", input)
    at = axis("glu", dim, x.ndim)
    if x.ndim == 0 or x.shape[at] % 2 or x.shape[at] == 0:
        raise ShapeError(f"glu: dimension {dim} must have an even size, got shape {x.shape}")
    value, gate = chunk(input, 2, at)
    return mul(value, sigmoid(gate))
