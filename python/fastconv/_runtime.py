"""The native module's switches."""

from __future__ import annotations

import os

from ._core import (
    __version__,
    empty_cache,
    get_num_threads,
    get_precision,
    isa,
    memory_stats,
    set_num_threads,
    set_precision,
)
from .errors import DeviceError

__all__ = [
    "__version__",
    "empty_cache",
    "get_num_threads",
    "get_precision",
    "memory_stats",
    "set_num_threads",
    "set_precision",
    "tuning_file",
]


def tuning_file() -> str | None:
    """Where the measured factors of the cost model are looked for; see tuning.py."""
    named = os.environ.get("FASTCONV_TUNING")
    if named is not None:
        return None if named.lower() in ("", "0", "off") else named
    try:
        name = f"tuning-{isa()}.json"
    except DeviceError:  # of FASTCONV_ISA: the first call says so
        return None
    cache = os.environ.get("XDG_CACHE_HOME") or os.path.join(os.path.expanduser("~"), ".cache")
    return os.path.join(cache, "fastconv", name)
