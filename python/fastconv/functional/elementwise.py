"""Arithmetic of arrays, element by element, with broadcasting."""

from __future__ import annotations

import numpy as np

from .. import _ops
from .._arrays import LAYOUTS, ArrayLike, MemoryOrder, NDArray
from ..errors import DTypeError, ShapeError
from ..tensor import as_array, finish
from ._args import is_number, number
from .autocast import matched
from .shape import reshape


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


def sub(input: ArrayLike, other: ArrayLike) -> ArrayLike:
    """input - other, element by element; otherwise as `add`."""
    return _binary("sub", input, other)


def div(input: ArrayLike, other: ArrayLike) -> ArrayLike:
    """input / other, element by element; otherwise as `add`. Division by 0 gives infinity or NaN."""
    return _binary("div", input, other)


def maximum(input: ArrayLike, other: ArrayLike) -> ArrayLike:
    """The larger of two elements, NaN where one of them is; otherwise as `add`.

    Equal elements get half of the gradient each.
    """
    return _binary("maximum", input, other)


def minimum(input: ArrayLike, other: ArrayLike) -> ArrayLike:
    """The smaller of two elements, NaN where one of them is; otherwise as `maximum`."""
    return _binary("minimum", input, other)


def pow(input: ArrayLike, exponent: ArrayLike) -> ArrayLike:
    """input to the power `exponent`, element by element; otherwise as `add`.

    Negative numbers to fractional powers are NaN. The derivative to the exponent where 0 is raised to
    0 or more is 0.
    """
    return _binary("pow", input, exponent)


def prelu(input: ArrayLike, weight: ArrayLike, layout: str = "NCHW") -> ArrayLike:
    """x where x > 0, weight * x elsewhere (He et al., 2015).

    Args:
        input: any shape; of more than one dimension for a weight of several elements.
        weight: one number for all channels, shape () or (1,), or (C,), one for each.
        layout: "NCHW" where the channels are dimension 1, "NHWC" where they are the last, of any
            number of dimensions.

    Raises:
        ShapeError: the weight fits neither, or the layout is unknown.
        DTypeError: the types differ, or are not float32, float64 or bfloat16.
    """
    op = "prelu"
    input, weight = matched(input, weight)
    x, w = as_array(op, "input", input), as_array(op, "weight", weight)
    if not isinstance(layout, str) or layout not in LAYOUTS:
        raise ShapeError(f"{op}: layout must be 'NCHW' or 'NHWC', got {layout!r}")
    if w.dtype.newbyteorder("=") != x.dtype.newbyteorder("="):
        raise DTypeError(f"{op}: weight must be {x.dtype}, got {w.dtype}")
    at = 1 if layout == "NCHW" else x.ndim - 1
    channels = x.shape[at] if x.ndim > 1 else 1
    if w.ndim > 1 or w.size not in (1, channels):
        raise ShapeError(
            f"{op}: weight must have 1 or {channels} elements in one dimension, got shape {w.shape}"
        )
    places = (channels, *(1,) * (x.ndim - 1 - at)) if w.size > 1 else ()
    return _binary(op, input, reshape(weight, places))


def _binary(op: str, input: ArrayLike, other: ArrayLike) -> ArrayLike:
    second = "exponent" if op == "pow" else "other"
    if is_number(input) and is_number(other):
        return _of_numbers(op, number(op, "input", input), number(op, second, other))
    if is_number(other):
        return _with_number(op, "input", input, number(op, second, other), first=False)
    if is_number(input):
        return _with_number(op, second, other, number(op, "input", input), first=True)

    input, other = matched(input, other)
    a, b = as_array(op, "input", input), as_array(op, second, other)
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
        def gradient(of_a: bool, shape: tuple[int, ...]) -> NDArray:
            if g.shape == shape and (op == "add" or (op == "sub" and of_a)):
                return g
            full = _gradient(op, of_a, order.enter(g), run_a, run_b)
            return sum_to(order.leave(full), shape)

        return (
            gradient(True, a.shape) if needs[0] else None,
            gradient(False, b.shape) if needs[1] else None,
        )

    return finish(op, order.leave(result), (input, other), backward)


def _run(kind: str, a: NDArray | float, b: NDArray | float) -> NDArray:
    """A native operation on two arrays in memory order, or on one and a number on either side."""
    if isinstance(b, float):
        return _ops.elementwise_scalar(kind, a, b)  # type: ignore[arg-type]
    if isinstance(a, float):
        return _ops.elementwise_scalar(kind, b, a, True)
    return _ops.elementwise(kind, a, b)


def _gradient(op: str, of_a: bool, g: NDArray, a: NDArray | float, b: NDArray | float) -> NDArray:
    """g times the partial derivative of `op` to a, or to b, in the shape of the result."""
    if op in ("add", "sub"):
        return g if of_a or op == "add" else _run("mul", g, -1.0)
    if op == "mul":
        return _run("mul", g, b if of_a else a)
    if op == "div" and of_a:
        return _run("div", g, b)
    if op in ("maximum", "minimum"):
        kind, (a, b) = f"{op}_by_a", (a, b) if of_a else (b, a)
    else:
        kind = f"{op}_by_a" if of_a else f"{op}_by_b"
    return _run("mul", g, _run(kind, a, b))


def _of_numbers(op: str, a: float, b: float) -> float:
    functions = {"add": np.add, "sub": np.subtract, "mul": np.multiply, "div": np.divide}
    functions |= {"maximum": np.maximum, "minimum": np.minimum, "pow": np.power}
    with np.errstate(all="ignore"):
        return float(functions[op](np.float64(a), np.float64(b)))


def _with_number(op: str, what: str, value: ArrayLike, operand: float, first: bool) -> ArrayLike:
    """An array and a number, which is the first operand or the second."""
    x = as_array(op, what, value)
    order = MemoryOrder(x)
    run_x = order.enter(x)
    a, b = (operand, run_x) if first else (run_x, operand)
    result = _run(op, a, b)

    def backward(g: NDArray, needs: tuple[bool, ...]) -> tuple[NDArray | None, ...]:
        if op == "add" or (op == "sub" and not first):
            return (g,)
        return (order.leave(_gradient(op, not first, order.enter(g), a, b)),)

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
