"""What a Trainer takes as data, and how an epoch of it is gone through."""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np

from ..data import Dataset, Loader
from ..errors import DTypeError

__all__ = [
    "EVALUATION_BATCH",
    "Data",
    "as_loader",
    "as_stored",
    "batches_of",
    "describe",
    "length",
    "parts_of",
]

# A Loader, a data set to make one of, or batches (images, labels) or (images, labels, weights) that can be
# iterated again.
Data = Loader | Dataset | Iterable[tuple[Any, ...]]

EVALUATION_BATCH = 256


def as_loader(
    data: Data, batch_size: int = EVALUATION_BATCH, *, shuffle: bool = False, seed: int = 0
) -> Loader | Iterable[tuple[Any, ...]]:
    """`data` as something to iterate over, epoch after epoch.

    Raises:
        DTypeError: it is neither, or can be iterated only once.
    """
    if isinstance(data, Dataset):
        return Loader(data, batch_size, shuffle=shuffle, seed=seed)
    if not isinstance(data, Iterable) or (isinstance(data, Iterator) and iter(data) is data):
        raise DTypeError(
            "Trainer: expected a Loader, a data set or a list of batches, "
            f"got {type(data).__name__}"
        )
    return data


def as_stored(data: Data) -> Data:
    """A Loader's images once each, in stored order, neither augmented nor mixed; other data as it is."""
    if not isinstance(data, Loader):
        return data
    return Loader(
        data.dataset,
        data.batch_size,
        prefetch=data.prefetch,
        transform=data.transform,
        workers=data.workers,
        worker=data.worker,
    )


def batches_of(
    loader: Loader | Iterable[tuple[Any, ...]], epoch: int, start: int
) -> Iterator[tuple[Any, ...]]:
    """The batches of an epoch from the one numbered `start` on."""
    if isinstance(loader, Loader):
        loader.set_epoch(epoch, start)
        start = 0
    batches = iter(loader)
    try:
        for number, batch in enumerate(batches):
            if number >= start:
                yield batch
    finally:
        close = getattr(batches, "close", None)
        if close is not None:
            close()


def parts_of(batch: Any) -> tuple[Any, Any, Any]:
    """A batch's images, labels and weights, the last None where there are none.

    Raises:
        DTypeError: it is neither a pair nor a triple.
    """
    if not isinstance(batch, (tuple, list)) or len(batch) not in (2, 3):
        what = f" of {len(batch)}" if isinstance(batch, (tuple, list)) else ""
        raise DTypeError(
            f"Trainer: a batch is a {type(batch).__name__}{what}, expected (images, labels) or "
            "(images, labels, weights)"
        )
    return batch[0], batch[1], batch[2] if len(batch) == 3 else None


def describe(loader: Loader) -> dict[str, Any]:
    """What the order and the number of a loader's batches follow from."""
    known: dict[str, Any] = {
        "seed": loader.seed,
        "images": len(loader.dataset),
        "batch_size": loader.batch_size,
        "shuffle": loader.shuffle,
        "drop_last": loader.drop_last,
    }
    for name in ("sampler", "augment", "mix"):
        part = getattr(loader, name)
        if part is not None:
            known[name] = _described(part)
    weights = getattr(loader.dataset, "weights", None)
    if weights is not None:
        known["weights"] = zlib.crc32(np.ascontiguousarray(weights).tobytes())
    return known


def _described(part: Any) -> str:
    """What tells it from others, in another process too: an address would not."""
    text = repr(part)
    named = getattr(part, "__qualname__", type(part).__qualname__)
    return str(named) if f" at 0x{id(part):x}" in text.lower() else text


def length(data: Any) -> int:
    """Batches in an epoch; 0 where that is not known."""
    return len(data) if hasattr(data, "__len__") else 0
