"""Checks of constructor arguments that several layers share."""

from __future__ import annotations

import math
import operator
from collections.abc import Sequence
from typing import Any, TypeAlias

import numpy as np

from .. import _core
from .._arrays import LAYOUTS, to_dtype
from ..errors import DeviceError, DTypeError, ShapeError

IntOrPair: TypeAlias = int | Sequence[int]


def integer(owner: str, name: str, value: Any, minimum: int) -> int:
    """`value` as an int of at least `minimum`."""
    if isinstance(value, (bool, np.bool_)) or not hasattr(value, "__index__"):
        raise DTypeError(f"{owner}: {name} must be an integer, got {type(value).__name__}")
    number = operator.index(value)
    if number < minimum:
        raise ShapeError(f"{owner}: {name} must be at least {minimum}, got {number}")
    return number


AXES = {1: "(length,)", 2: "a pair (height, width)", 3: "(depth, height, width)"}


def several(owner: str, name: str, value: Any, count: int, minimum: int) -> tuple[int, ...]:
    """`count` integers, of an integer for all or of one each."""
    if isinstance(value, (tuple, list)):
        if len(value) != count:
            raise ShapeError(
                f"{owner}: {name} must be an integer or {AXES[count]}, got {len(value)} values"
            )
        return tuple(integer(owner, name, v, minimum) for v in value)
    return (integer(owner, name, value, minimum),) * count


def pair(owner: str, name: str, value: Any, minimum: int) -> tuple[int, int]:
    """(height, width) of an integer or of two."""
    height, width = several(owner, name, value, 2, minimum)
    return height, width


def number(
    owner: str, name: str, value: Any, low: float = -math.inf, high: float = math.inf
) -> float:
    """`value` as a finite float with low <= value <= high."""
    if isinstance(value, (bool, str, complex)) or not hasattr(value, "__float__"):
        raise DTypeError(f"{owner}: {name} must be a number, got {type(value).__name__}")
    result = float(value)
    if not math.isfinite(result) or not low <= result <= high:
        bounds = {
            (False, False): "be finite",
            (True, False): f"be finite and at least {low:g}",
            (False, True): f"be finite and at most {high:g}",
            (True, True): f"lie between {low:g} and {high:g}",
        }[math.isfinite(low), math.isfinite(high)]
        raise ShapeError(f"{owner}: {name} must {bounds}, got {result:g}")
    return result


def flag(owner: str, name: str, value: Any) -> bool:
    """`value` as a bool; numbers and arrays are refused, they are mostly misplaced arguments."""
    if not isinstance(value, (bool, np.bool_)):
        raise DTypeError(f"{owner}: {name} must be True or False, got {type(value).__name__}")
    return bool(value)


def choice(owner: str, name: str, value: Any, choices: Sequence[str]) -> str:
    """`value` if it is one of `choices`."""
    if not isinstance(value, str) or value not in choices:
        listed = ", ".join(repr(c) for c in choices)
        raise ShapeError(f"{owner}: {name} must be one of {listed}, got {value!r}")
    return value


def memory_layout(owner: str, value: Any) -> str:
    """`value` if it names a layout of spatial arrays."""
    return choice(owner, "layout", value, LAYOUTS)


def cpu(owner: str, device: Any) -> None:
    """Refuse devices that parameters cannot live on."""
    if device is not None and device != "cpu":
        raise DeviceError(f"{owner}: device must be 'cpu', got {device!r}")


def float_dtype(owner: str, dtype: Any) -> np.dtype[Any]:
    """The element type of parameters; None is float32."""
    if dtype is None:
        return np.dtype(np.float32)
    result = to_dtype(owner, dtype)
    if result not in (np.dtype(np.float32), np.dtype(np.float64)) and not (
        _core.is_bfloat16(result)
    ):
        raise DTypeError(f"{owner}: dtype must be float32, float64 or bfloat16, got {result}")
    native: np.dtype[Any] = result.newbyteorder("=")
    return native


def names_dtype(text: str) -> bool:
    """Whether `text` names an element type."""
    if text == "bfloat16":
        return True
    try:
        np.dtype(text)
    except TypeError:
        return False
    return True
