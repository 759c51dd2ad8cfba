"""Orders of images: which ones an epoch has, and when."""

from __future__ import annotations

from typing import Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt

__all__ = ["Sampler", "epoch_order"]


@runtime_checkable
class Sampler(Protocol):
    """Which images an epoch has, in order: a pure function of seed and epoch."""

    def __len__(self) -> int:
        """Images in an epoch."""

    def order(self, seed: int, epoch: int) -> npt.NDArray[np.int64]:
        """Their indices, (len(self),) int64."""


def epoch_order(count: int, seed: int, epoch: int) -> npt.NDArray[np.int64]:
    """The shuffled order of `count` items in an epoch: a pure function of its arguments.

    Each item gets a 64-bit word of PCG64 and the words are sorted. NumPy promises that the raw
    words of a bit generator never change; it makes no such promise for `Generator.permutation`.
    """
    words = np.random.PCG64(np.random.SeedSequence([seed, epoch])).random_raw(count)
    return np.argsort(words, kind="stable").astype(np.int64, copy=False)
