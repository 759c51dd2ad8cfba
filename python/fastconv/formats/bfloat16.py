"""bfloat16 from files, as float32."""

from __future__ import annotations

import numpy as np

from .._arrays import NDArray

__all__ = ["widen"]


def widen(words: NDArray) -> NDArray:
    """The float32 numbers whose upper halves are the uint16 `words`: every bfloat16 is one."""
    wide = words.astype(np.uint32)
    wide <<= 16
    return wide.view(np.float32)
