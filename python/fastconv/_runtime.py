"""The native module's switches."""

from __future__ import annotations

from ._core import (
    __version__,
    empty_cache,
    get_num_threads,
    get_precision,
    memory_stats,
    set_num_threads,
    set_precision,
)

__all__ = [
    "__version__",
    "empty_cache",
    "get_num_threads",
    "get_precision",
    "memory_stats",
    "set_num_threads",
    "set_precision",
]
