"""Batches for training: order, gathering, conversion."""

from __future__ import annotations

import operator
import os
from collections.abc import Callable, Generator
from typing import Any, SupportsIndex

import numpy as np
import numpy.typing as npt

from ..errors import DTypeError, ShapeError
from .dataset import ArrayDataset
from .prefetch import Prefetcher

__all__ = ["Batch", "Loader", "Transform", "epoch_order"]

Batch = tuple[npt.NDArray[np.float32], npt.NDArray[np.int64]]
Transform = Callable[[npt.NDArray[Any]], npt.NDArray[np.float32]]


def epoch_order(count: int, seed: int, epoch: int) -> npt.NDArray[np.int64]:
    """The shuffled order of `count` items in an epoch: a pure function of its arguments.

    Each item gets a 64-bit word of PCG64 and the words are sorted. NumPy promises that the raw
    words of a bit generator never change; it makes no such promise for `Generator.permutation`.
    """
    words = np.random.PCG64(np.random.SeedSequence([seed, epoch])).random_raw(count)
    return np.argsort(words, kind="stable").astype(np.int64, copy=False)


class Loader:
    """Batches of a data set, epoch after epoch.

    Each `iter()` runs one epoch, number `loader.epoch`, and moves that number on. The order of
    epoch e depends on (seed, e) alone, so that `set_epoch(e, start=b)` continues an interrupted
    run with the very batches it would have had.

    Args:
        dataset: the labelled images, or a pair (images, labels) as `ArrayDataset` takes them.
        batch_size: images per batch, at least 1.
        shuffle: draw a new order for every epoch; otherwise the stored order.
        seed: of the orders, 0 or more; None draws one, to be read from `loader.seed`.
        drop_last: leave out the last batch if it is smaller than the others.
        prefetch: how many batches a background thread prepares ahead; 0 for no thread.
        transform: makes network input of a batch of stored images, (n, H, W) or (n, C, H, W) in
            the stored type, which it may overwrite: float32 (n, C', H', W'). It runs in the
            background thread. By default `dataset.standardize()`.
        start: batches to leave out at the beginning of the first epoch.

    Yields:
        (images, labels): float32 (n, C, H, W), C-contiguous, and int64 (n,). Both are new arrays
        that belong to the caller; n is `batch_size`, less in a last smaller batch.

    Raises:
        ShapeError, DTypeError: an argument is out of its range or of the wrong type, or the
            transform returned something else than said above (raised by the iteration).
    """

    def __init__(
        self,
        dataset: ArrayDataset | tuple[npt.ArrayLike, npt.ArrayLike],
        batch_size: int,
        shuffle: bool = False,
        seed: int | None = 0,
        drop_last: bool = False,
        prefetch: int = 2,
        transform: Transform | None = None,
        start: int = 0,
    ) -> None:
        if isinstance(dataset, tuple) and len(dataset) == 2:
            dataset = ArrayDataset(*dataset)
        if not isinstance(dataset, ArrayDataset):
            raise DTypeError(
                f"Loader: dataset is a {type(dataset).__name__}, "
                "expected an ArrayDataset or a pair (images, labels)"
            )
        if transform is not None and not callable(transform):
            raise DTypeError(f"Loader: transform is a {type(transform).__name__}, not callable")
        self.dataset = dataset
        self.batch_size = _integer("batch_size", batch_size, 1)
        self.shuffle = bool(shuffle)
        self.seed = (
            int.from_bytes(os.urandom(4), "big") if seed is None else _integer("seed", seed, 0)
        )
        self.drop_last = bool(drop_last)
        self.prefetch = _integer("prefetch", prefetch, 0)
        self.transform: Transform = dataset.standardize() if transform is None else transform
        self.epoch = 0
        self.start = 0
        self.set_epoch(0, start)

    def __len__(self) -> int:
        """Batches in a whole epoch."""
        whole, rest = divmod(len(self.dataset), self.batch_size)
        return whole + (rest > 0 and not self.drop_last)

    def set_epoch(self, epoch: int, start: int = 0) -> None:
        """Make the next iteration that of `epoch`, from its batch `start` on.

        Raises:
            ShapeError: `epoch` or `start` is negative, or `start` is more than `len(self)`.
        """
        self.epoch = _integer("epoch", epoch, 0)
        self.start = _integer("start", start, 0)
        if self.start > len(self):
            raise ShapeError(f"Loader: start is {start}, expected at most {len(self)} (batches)")

    def __iter__(self) -> Prefetcher[Batch] | Generator[Batch, None, None]:
        """The batches of the next epoch; `close()` ends them early, as leaving the loop does."""
        batches = self._batches(self.epoch, self.start)
        self.epoch, self.start = self.epoch + 1, 0
        return Prefetcher(batches, self.prefetch) if self.prefetch else batches

    def _batches(self, epoch: int, start: int) -> Generator[Batch, None, None]:
        images, labels, size = self.dataset.images, self.dataset.labels, self.batch_size
        order = epoch_order(len(labels), self.seed, epoch) if self.shuffle else None
        for first in range(start * size, len(self) * size, size):
            chosen = slice(first, first + size) if order is None else order[first : first + size]
            # Copied even when sliced: neither the transform nor the caller gets at the data set.
            picked = np.array(images[chosen]) if order is None else images[chosen]
            yield self._transformed(picked), np.array(labels[chosen])

    def _transformed(self, picked: npt.NDArray[Any]) -> npt.NDArray[np.float32]:
        made = self.transform(picked)
        if not isinstance(made, np.ndarray) or made.dtype != np.float32:
            kind = made.dtype if isinstance(made, np.ndarray) else type(made).__name__
            raise DTypeError(f"Loader: transform returned {kind}, expected a float32 array")
        if made.ndim != 4 or len(made) != len(picked):
            raise ShapeError(
                f"Loader: transform returned shape {made.shape}, expected (n, C, H, W) "
                f"with n={len(picked)}"
            )
        return np.ascontiguousarray(made)


def _integer(name: str, value: SupportsIndex, least: int) -> int:
    try:
        if isinstance(value, (bool, np.bool_)):
            raise TypeError
        number = operator.index(value)
    except TypeError:
        raise DTypeError(
            f"Loader: {name} is a {type(value).__name__}, expected an integer"
        ) from None
    if number < least:
        raise ShapeError(f"Loader: {name} is {number}, expected at least {least}")
    return number
