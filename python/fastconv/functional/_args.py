"""Checks of the plain-Python arguments that several functions share."""

from __future__ import annotations

import operator
from collections.abc import Sequence
from typing import Any

import numpy as np

from .. import _core
from .._arrays import NDArray
from ..errors import DTypeError, ShapeError

REDUCTIONS = ("none", "mean", "sum")


def integer(op: str, what: str, value: Any) -> int:
    """An integer argument; DTypeError for anything else, bool included."""
    if not isinstance(value, (bool, np.bool_)):
        try:
            return operator.index(value)
        except TypeError:
            pass
    raise DTypeError(f"{op}: {what} must be an integer, got {type(value).__name__}")


def number(op: str, what: str, value: Any) -> float:
    """A real number as a float; DTypeError for anything else, bool included."""
    if isinstance(value, (int, float, np.integer, np.floating)) and not isinstance(value, bool):
        try:
            return float(value)
        except OverflowError as error:
            raise ShapeError(f"{op}: {what} is too large for a float") from error
    raise DTypeError(f"{op}: {what} must be a number, got {type(value).__name__}")


def computes(dtype: np.dtype[Any]) -> bool:
    """Whether the native functions compute with elements of `dtype`, in either byte order."""
    native = dtype.newbyteorder("=")
    return native in (np.float32, np.float64) or _core.is_bfloat16(native)


def floating(op: str, what: str, x: NDArray) -> None:
    """DTypeError unless the native functions compute with x."""
    if not computes(x.dtype):
        raise DTypeError(f"{op}: {what} must be float32, float64 or bfloat16, got {x.dtype}")


def is_number(value: Any) -> bool:
    """Whether `value` is a Python or NumPy scalar rather than an array."""
    return isinstance(value, (int, float, np.integer, np.floating)) and not isinstance(value, bool)


def flag(op: str, what: str, value: Any) -> bool:
    """A bool argument; DTypeError for anything else."""
    if isinstance(value, (bool, np.bool_)):
        return bool(value)
    raise DTypeError(f"{op}: {what} must be a bool, got {type(value).__name__}")


def axis(op: str, dim: Any, ndim: int) -> int:
    """A dimension of an `ndim`-dimensional array, counted from 0 (negative ones from the end)."""
    value = integer(op, "dim", dim)
    size = max(ndim, 1)  # as in PyTorch, a 0-dimensional array has dimension 0 and -1
    if not -size <= value < size:
        raise ShapeError(
            f"{op}: dim must be in [{-size}, {size - 1}] for {ndim} dimensions, got {value}"
        )
    return value % size


def axes(op: str, dims: Any, ndim: int) -> tuple[int, ...]:
    """One or several distinct dimensions; None or an empty sequence means all."""
    if dims is None or (isinstance(dims, (tuple, list)) and not dims):
        return tuple(range(ndim))
    found = [axis(op, d, ndim) for d in (dims if isinstance(dims, (tuple, list)) else (dims,))]
    if len(set(found)) != len(found):
        raise ShapeError(f"{op}: dim names a dimension twice: {tuple(dims)}")
    return tuple(found) if ndim else ()


def sizes(op: str, what: str, values: Any) -> tuple[int, ...]:
    """A sequence of integers, or one integer."""
    if isinstance(values, Sequence) and not isinstance(values, (str, bytes)):
        return tuple(integer(op, what, v) for v in values)
    return (integer(op, what, values),)


def reduction(op: str, value: Any) -> str:
    """One of "none", "mean" and "sum"."""
    if not isinstance(value, str) or value not in REDUCTIONS:
        raise ShapeError(f"{op}: reduction must be 'none', 'mean' or 'sum', got {value!r}")
    return value
