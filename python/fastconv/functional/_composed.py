"""Functions made of others: their errors name them, not what they are made of."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import ParamSpec, TypeVar

from ..errors import DTypeError, ShapeError

P = ParamSpec("P")
R = TypeVar("R")


def composed(function: Callable[P, R]) -> Callable[P, R]:
    """Decorator: a ShapeError or DTypeError of a function inside begins with this one's name."""
    name = function.__name__

    @functools.wraps(function)
    def call(*args: P.args, **kwargs: P.kwargs) -> R:
        try:
            return function(*args, **kwargs)
        except (ShapeError, DTypeError) as error:
            text = str(error)
            if text.startswith(f"{name}: "):
                raise
            raise type(error)(f"{name}: {text.partition(': ')[2] or text}") from error

    return call
