"""Layers that are built now and get their values later: large networks draw theirs once, and not at all
where a file has them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import wraps
from typing import Concatenate, ParamSpec, Protocol, TypeVar

__all__ = ["draw_first", "draw_once", "is_undrawn", "still_empty", "undrawn"]


class _Drawn(Protocol):
    def reset_parameters(self) -> None: ...


P = ParamSpec("P")
S = TypeVar("S")
# The layers that wait for their values, by identity; None where layers draw them as they are built.
_waiting: ContextVar[dict[int, _Drawn] | None] = ContextVar("waiting", default=None)

# Whether random values are left out altogether.
_undrawn: ContextVar[bool] = ContextVar("undrawn", default=False)


@contextmanager
def undrawn() -> Iterator[None]:
    """Networks that are built in here have anything for weights: a file's come in behind it."""
    token = _undrawn.set(True)
    try:
        yield
    finally:
        _undrawn.reset(token)


def is_undrawn() -> bool:
    """Whether the caller is inside `undrawn`."""
    return _undrawn.get()


def draw_first(layer: _Drawn) -> None:
    """A new layer's own initialisation, now or, in a constructor under `draw_once`, at its end."""
    waiting = _waiting.get()
    if waiting is None:
        layer.reset_parameters()
    else:
        waiting[id(layer)] = layer


def still_empty(layer: _Drawn) -> bool:
    """Whether `layer` has waited until now. Who asks gives it its values."""
    waiting = _waiting.get()
    return waiting is not None and waiting.pop(id(layer), None) is not None


def draw_once(
    constructor: Callable[Concatenate[S, P], None],
) -> Callable[Concatenate[S, P], None]:
    """Decorator of a network's `__init__`: layers whose values it draws itself (by `still_empty`) do
    not draw them before; all others have drawn theirs when it returns."""

    @wraps(constructor)
    def build(self: S, /, *args: P.args, **kwargs: P.kwargs) -> None:
        waiting: dict[int, _Drawn] = {}
        token = _waiting.set(waiting)
        try:
            constructor(self, *args, **kwargs)
        finally:
            _waiting.reset(token)
        for layer in waiting.values():
            draw_first(layer)  # of a network inside another: with that one's

    return build
