"""The native functions of the ops, as the layer above calls them.

Each runs at once on arrays, and on symbolic arrays (see `_symbolic`) adds nodes to their graph (`_record`).
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from . import _core, _symbolic, random
from ._record import Pooling, Recorder, recorders
from ._symbolic import SymbolicArray

if TYPE_CHECKING:
    from ._core import *  # noqa: F403

__all__ = ["Pooling", "dropout_key"]


def dropout_key(input: Any) -> Any:
    """The key of one call of dropout: a number, or in a program one that every run draws anew."""
    return input.capture.key() if isinstance(input, SymbolicArray) else random.next_key()


def _dispatching(name: str, record: Recorder) -> Callable[..., Any]:
    native = getattr(_core, name)

    @functools.wraps(native)
    def call(*args: Any) -> Any:
        if _symbolic.active:
            capture = _symbolic.capture_of(args)
            if capture is not None:
                return record(capture, *args)
        return native(*args)

    return call


if not TYPE_CHECKING:
    for _name, _record in recorders.items():
        globals()[_name] = _dispatching(_name, _record)

    def __getattr__(name: str) -> Any:
        return getattr(_core, name)
