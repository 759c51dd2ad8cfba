"""The native functions of the ops, as the layer above calls them.

Each runs at once on arrays, and on symbolic arrays (see `_symbolic`) adds nodes to their graph (`_record`, which
is imported when the first op is called).
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from . import _core, _symbolic, random
from ._symbolic import SymbolicArray

if TYPE_CHECKING:
    from ._core import *  # noqa: F403
    from ._record import Pooling, Recorder

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

    def __getattr__(name: str) -> Any:
        here = globals()
        if "Pooling" not in here and not name.startswith("__"):
            from ._record import Pooling, recorders

            here |= {op: _dispatching(op, record) for op, record in recorders.items()}
            here["Pooling"] = Pooling
        return here[name] if name in here else getattr(_core, name)
