"""One example without its batch dimension, where PyTorch takes it."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, ParamSpec, TypeVar, cast

from .shape import reshape

P = ParamSpec("P")
R = TypeVar("R")


def takes_one_example(ndim: int) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Decorator of a function of batches of `ndim` dimensions: an input with one less is a batch of one.

    The result, or each of a pair, loses that dimension again.
    """

    def decorate(function: Callable[P, R]) -> Callable[P, R]:
        @functools.wraps(function)
        def call(*args: P.args, **kwargs: P.kwargs) -> R:
            input: Any = args[0] if args else kwargs.get("input")
            if getattr(input, "ndim", ndim) != ndim - 1:
                return function(*args, **kwargs)
            batch: Any = reshape(input, (1, *input.shape))
            whole: Any = function  # P cannot be changed in part
            made = (
                whole(batch, *args[1:], **kwargs) if args else whole(**{**kwargs, "input": batch})
            )
            if isinstance(made, tuple):
                made = tuple(reshape(m, m.shape[1:]) for m in made)
            else:
                made = reshape(made, made.shape[1:])
            return cast(R, made)

        return call

    return decorate
