"""Sums, means, extremes and products over dimensions."""

from __future__ import annotations

from typing import Any

from .. import _ops
from .._arrays import ArrayLike, MemoryOrder, NDArray
from ..tensor import as_array, finish
from ._args import axes, flag


def sum(input: ArrayLike, dim: Any = None, keepdim: bool = False) -> ArrayLike:
    """Sum over `dim`: an int, several, or None for all dimensions.

    Accumulated in float64, in an order that depends on the shape alone. `keepdim` leaves the summed
    dimensions with size 1.

    Raises:
        ShapeError: a dimension does not exist or is named twice.
        DTypeError: the input is not float32, float64 or bfloat16.
    """
    return _reduce("sum", input, dim, keepdim)


def mean(input: ArrayLike, dim: Any = None, keepdim: bool = False) -> ArrayLike:
    """Mean over `dim`, as `sum`; NaN where there is nothing to average."""
    return _reduce("mean", input, dim, keepdim)


def amax(input: ArrayLike, dim: Any = None, keepdim: bool = False) -> ArrayLike:
    """The largest element over `dim`, NaN where there is one; otherwise as `sum`.

    Elements that are equally large share the gradient evenly.

    Raises:
        ShapeError: a dimension does not exist or is named twice, or there is nothing to compare.
        DTypeError: the input is not float32, float64 or bfloat16.
    """
    return _reduce("amax", input, dim, keepdim)


def amin(input: ArrayLike, dim: Any = None, keepdim: bool = False) -> ArrayLike:
    """The smallest element over `dim`; otherwise as `amax`."""
    return _reduce("amin", input, dim, keepdim)


def prod(input: ArrayLike, dim: Any = None, keepdim: bool = False) -> ArrayLike:
    """Product over `dim`, as `sum`; 1 where there is nothing to multiply."""
    return _reduce("prod", input, dim, keepdim)


def _reduce(op: str, input: ArrayLike, dim: Any, keepdim: bool) -> ArrayLike:
    x = as_array(op, "input", input)
    dims = axes(op, dim, x.ndim)
    keep = flag(op, "keepdim", keepdim)
    kept = tuple(1 if d in dims else s for d, s in enumerate(x.shape))
    order = MemoryOrder(x)
    run, run_dims = order.enter(x), tuple(order.dim(d) for d in dims)
    run_y = _ops.reduce(op, run, run_dims, True)
    y = order.leave(run_y)
    run_shape = run.shape
    if not keep:
        y = y.reshape(tuple(s for d, s in enumerate(x.shape) if d not in dims))

    def backward(g: NDArray, needs: tuple[bool, ...]) -> tuple[NDArray | None, ...]:
        run_g = order.enter(g.reshape(kept))
        if op in ("sum", "mean"):
            return (order.leave(_ops.reduce_backward(op, run_g, run_shape, run_dims)),)
        gradient = _of_product if op == "prod" else _of_largest
        return (order.leave(gradient(run_g, run, run_y, run_dims)),)

    return finish(op, y, (input,), backward)


def _of_largest(g: NDArray, x: NDArray, y: NDArray, dims: tuple[int, ...]) -> NDArray:
    """The gradient g of the extremes y, shared among the elements that are equal to them."""
    found = _ops.elementwise("equal", x, y)
    count = _ops.reduce("sum", found, dims, True)
    return _ops.elementwise("mul", found, _ops.elementwise("div", g, count))


def _of_product(g: NDArray, x: NDArray, y: NDArray, dims: tuple[int, ...]) -> NDArray:
    """g times the product of the other elements, which is y / x unless there are zeros.

    With the zeros replaced by ones the product p is of all but the zeros, of which there are `count`: none, and
    the others' product is p / x; one, and it is p there and 0 elsewhere; more, and it is 0.
    """
    zero = _ops.elementwise_scalar("equal", x, 0.0)
    count = _ops.reduce("sum", zero, dims, True)
    filled = _ops.elementwise("add", x, zero)
    others = _ops.elementwise("mul", g, _ops.reduce("prod", filled, dims, True))
    full = _ops.elementwise("div", others, filled)
    return _ops.elementwise("mul", full, _ops.elementwise("equal", zero, count))
