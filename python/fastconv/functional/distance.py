"""Lengths of vectors, distances and angles between them."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from .. import _ops
from .._arrays import ArrayLike, NDArray
from ..errors import ShapeError
from ..tensor import as_array
from ._args import axis, flag, number
from ._composed import composed
from .elementary import abs, sqrt
from .elementwise import add, div, maximum, mul, pow, sub
from .indexing import expand
from .reduce import amax
from .reduce import sum as sum_over


def vector_norm(op: str, input: ArrayLike, p: Any, dim: Any, keepdim: bool) -> ArrayLike:
    """(sum of |x|^p)^(1/p) along `dim`; the derivative where that is 0 is 0, as in PyTorch."""
    order = number(op, "p", p)
    # It and its inverse are float32 numbers.
    if not (2.0**-100 <= order <= 2.0**100 or order == math.inf):
        raise ShapeError(f"{op}: p must be greater than 0, got {order}")
    if order == 1:
        return sum_over(abs(input), dim, keepdim)
    if math.isinf(order):
        return amax(abs(input), dim, keepdim)
    if order == 2:
        powers = mul(input, input)
    elif order > 1:
        powers = pow(abs(input), order)
    else:  # no derivative at 0 either, where 1 stands for 0
        zero = _ops.elementwise_scalar("equal", as_array(op, "input", input), 0.0)
        powers = sub(pow(add(abs(input), zero), order), zero)
    total = sum_over(powers, dim, keepdim)
    # Roots have no derivative at 0: there it is one of 1 that nothing is multiplied by.
    none = _ops.elementwise_scalar("equal", as_array(op, "sum", total), 0.0)
    filled = add(total, none)
    root = sqrt(filled) if order == 2 else pow(filled, 1.0 / order)
    return mul(root, _ops.elementwise_scalar("sub", none, 1.0, True))


def moderate(op: str, what: str, value: Any) -> float:
    """A number whose square float32 can tell from infinity."""
    found = number(op, what, value)
    if not math.fabs(found) <= 1e15:
        raise ShapeError(f"{op}: {what} must be at most 1e15 in size, got {found}")
    return found


def existing_axis(op: str, dim: Any, x: NDArray) -> int:
    """A dimension that x has, counted from 0."""
    if x.ndim == 0:
        raise ShapeError(f"{op}: input must have at least one dimension, got a scalar")
    return axis(op, dim, x.ndim)


@composed
def normalize(input: ArrayLike, p: float = 2.0, dim: int = 1, eps: float = 1e-12) -> ArrayLike:
    """Vectors along `dim` divided by their p-norm, or by `eps` where that is larger.

    Args:
        input: any shape, float32, float64 or bfloat16.
        p: of the norm, greater than 0, infinity for the largest element.

    Raises:
        ShapeError: `dim` does not exist, or p is not greater than 0.
        DTypeError: an argument of another type.
    """
    op = "normalize"
    at = existing_axis(op, dim, as_array(op, "input", input))
    least = number(op, "eps", eps)
    return div(input, maximum(vector_norm(op, input, p, at, True), least))


@composed
def cosine_similarity(x1: ArrayLike, x2: ArrayLike, dim: int = 1, eps: float = 1e-8) -> ArrayLike:
    """The cosine of the angle between vectors along `dim`, lengths below `eps` counting as `eps`.

    Args:
        x1, x2: shapes that broadcast; one type: float32, float64 or bfloat16.

    Returns:
        The broadcast shape without `dim`.

    Raises:
        ShapeError: shapes that do not broadcast, or `dim` does not exist.
        DTypeError: arguments of other types.
    """
    op = "cosine_similarity"
    least = number(op, "eps", eps)
    a, b = as_array(op, "x1", x1), as_array(op, "x2", x2)
    at = existing_axis(op, dim, a if a.ndim >= b.ndim else b) - max(a.ndim, b.ndim)
    if min(a.ndim, b.ndim) < -at or a.shape[at] != b.shape[at]:
        # Lengths are those of the broadcast vectors.
        try:
            full = np.broadcast_shapes(a.shape, b.shape)
        except (ValueError, RuntimeError):  # the latter for too many dimensions
            raise ShapeError(f"{op}: x1 {a.shape} and x2 {b.shape} do not broadcast") from None
        x1, x2 = expand(x1, full), expand(x2, full)
    lengths = [maximum(vector_norm(op, x, 2.0, at, True), least) for x in (x1, x2)]
    return sum_over(mul(div(x1, lengths[0]), div(x2, lengths[1])), at)


@composed
def pairwise_distance(
    x1: ArrayLike, x2: ArrayLike, p: float = 2.0, eps: float = 1e-6, keepdim: bool = False
) -> ArrayLike:
    """The p-norm of x1 - x2 + eps along the last dimension.

    Args:
        x1, x2: (N, D) or (D,), shapes that broadcast; one type: float32, float64 or bfloat16.
        p: of the norm, greater than 0.
        eps: added to each difference.
        keepdim: leave the last dimension with size 1.

    Raises:
        ShapeError: shapes that do not broadcast, or p is not greater than 0.
        DTypeError: arguments of other types.
    """
    op = "pairwise_distance"
    keep = flag(op, "keepdim", keepdim)
    shift = moderate(op, "eps", eps)
    for what, value in (("x1", x1), ("x2", x2)):
        as_array(op, what, value)
    difference = add(sub(x1, x2), shift)
    at = existing_axis(op, -1, as_array(op, "x1", difference))
    return vector_norm(op, difference, p, at, keep)
