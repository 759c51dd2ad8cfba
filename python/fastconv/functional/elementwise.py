"""Arithmetic of arrays, element by element, with broadcasting."""

from __future__ import annotations

import numpy as np

from .. import _ops
from .._arrays import ArrayLike, MemoryOrder, NDArray
from ..errors import ShapeError
from ..tensor import as_array, finish
from ._args import is_number, number
from .autocast import matched


def add(input: ArrayLike, other: ArrayLike) -> ArrayLike:
    """input + other. Either may be a number, which takes the other's type.

    Arrays broadcast as in NumPy. Two dense arrays of one memory order (both channels-last, say)
    give a result of that order.

    Raises:
        ShapeError: the shapes do not broadcast.
        DTypeError: the types differ, or are not float32, float64 or bfloat16.
    """
    return _binary("add", input, other)


def mul(input: ArrayLike, other: ArrayLike) -> ArrayLike:
    """input * other, element by element; otherwise as `add`."""
    return _binary("mul", input, other)


def _binary(op: str, input: ArrayLike, other: ArrayLike) -> ArrayLike:
    if is_number(input) and is_number(other):
        return float(input) + float(other) if op == "add" else float(input) * float(other)
    if is_number(other):
        return _with_number(op, "input", input, number(op, "other", other))
    if is_number(input):
        return _with_number(op, "other", other, number(op, "input", input))

    input, other = matched(input, other)
    a, b = as_array(op, "input", input), as_array(op, "other", other)
    # The operand that has the result's shape says in which memory order to run.
    order = MemoryOrder(a if a.ndim > b.ndim or (a.ndim == b.ndim and a.size >= b.size) else b)
    ndim = max(a.ndim, b.ndim)
    run_a, run_b = (order.enter(_with_ndim(v, ndim)) for v in (a, b))
    try:
        result = _ops.elementwise(op, run_a, run_b)
    except ShapeError:
        _ops.elementwise(op, a, b)  # names the caller's shapes, not those of the memory order
        raise

    def backward(g: NDArray, needs: tuple[bool, ...]) -> tuple[NDArray | None, ...]:
        run_g = order.enter(g)

        def gradient(shape: tuple[int, ...], factor: NDArray) -> NDArray:
            full = run_g if op == "add" else _ops.elementwise("mul", run_g, factor)
            if op == "add" and g.shape == shape:
                return g
            return sum_to(order.leave(full), shape)

        return (
            gradient(a.shape, run_b) if needs[0] else None,
            gradient(b.shape, run_a) if needs[1] else None,
        )

    return finish(op, order.leave(result), (input, other), backward)


def _with_number(op: str, what: str, value: ArrayLike, operand: float) -> ArrayLike:
    x = as_array(op, what, value)
    order = MemoryOrder(x)
    result = _ops.elementwise_scalar(op, order.enter(x), operand)

    def backward(g: NDArray, needs: tuple[bool, ...]) -> tuple[NDArray | None, ...]:
        if op == "add":
            return (g,)
        return (order.leave(_ops.elementwise_scalar("mul", order.enter(g), operand)),)

    return finish(op, order.leave(result), (value,), backward)


def _with_ndim(x: NDArray, ndim: int) -> NDArray:
    """x with leading dimensions of size 1 (a view)."""
    return x[(np.newaxis,) * (ndim - x.ndim)] if x.ndim < ndim else x


def sum_to(g: NDArray, shape: tuple[int, ...]) -> NDArray:
    """The gradient of an operand of `shape` from that of the broadcast result."""
    if g.shape == shape:
        return g
    extra = g.ndim - len(shape)
    dims = [d for d in range(g.ndim) if d < extra or (shape[d - extra] == 1 and g.shape[d] != 1)]
    order = MemoryOrder(g)
    total = _ops.reduce("sum", order.enter(g), tuple(order.dim(d) for d in dims), True)
    return order.leave(total).reshape(shape)
