"""Loads the native module, with its thread pool set to wait politely."""

from __future__ import annotations

import os

# libgomp's idle threads spin for up to 300,000 pauses, some 20 ms on recent processors, before they sleep. On a
# machine whose cores are shared, that keeps the very thread they wait for off its core: LeNet-5 steps became
# fifty times slower. A thousand pauses bridge the gap between two kernels and no more. libgomp reads the
# environment once, when it is loaded, so the variable is set for that moment only; a choice of the user's stands.
_SPIN = "GOMP_SPINCOUNT"
_mine = _SPIN not in os.environ and "OMP_WAIT_POLICY" not in os.environ
if _mine:
    os.environ[_SPIN] = "1000"
try:
    from ._core import (
        __version__,
        empty_cache,
        get_num_threads,
        get_precision,
        memory_stats,
        set_num_threads,
        set_precision,
    )
finally:
    if _mine:
        del os.environ[_SPIN]

__all__ = [
    "__version__",
    "empty_cache",
    "get_num_threads",
    "get_precision",
    "memory_stats",
    "set_num_threads",
    "set_precision",
]
