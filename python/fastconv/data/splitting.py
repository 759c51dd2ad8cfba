"""Splits into train, bridge, dev and test."""

from __future__ import annotations

import math
import warnings
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from ..errors import DTypeError, ShapeError
from .dataset import Dataset
from .subset import Subset, check_agreement

__all__ = ["split"]

Size = float | int
Indices = npt.NDArray[np.int64]
_ON_MISSING = ("raise", "warn", "ignore")


@dataclass
class _Source:
    """A data set and the sizes of the parts that are taken of it, in order."""

    dataset: Dataset
    sizes: dict[str, Size] = field(default_factory=dict)


def split(
    dataset: Dataset,
    train: Size = 0.8,
    bridge: Size = 0.0,
    dev: Size = 0.1,
    test: Size = 0.1,
    seed: int = 0,
    stratify: bool = True,
    groups: npt.ArrayLike | None = None,
    *,
    dev_from: Dataset | None = None,
    test_from: Dataset | None = None,
    on_missing: str = "raise",
) -> dict[str, Subset]:
    """Cut a data set into parts without an image in common.

    Dev and test images should be like those that the network is for; training images may come
    from elsewhere (`dev_from`, `test_from`). The bridge is then a part of the training images that
    is not trained on: an error that appears between train and bridge is variance, one between
    bridge and dev is the difference of the sources. Source: A. Ng, *Machine Learning Yearning*
    (2018), chapters 36 to 41, which call it the training dev set.

    Args:
        dataset: what train and bridge are taken of, and dev and test where no other is given.
        train, bridge, dev, test: shares (floats from 0.0 to 1.0) of the data set that the part is
            taken of, or numbers of images (integers). What is over is left out.
        seed: 0 or more; the split is a pure function of it, of labels, sizes and groups.
        stratify: every part has the classes in the same proportions, to within an image.
        groups: (N,) for the images of `dataset`: those with an equal value (of one person, place
            or burst) stay together. Sizes and proportions are then met as nearly as groups allow.
        dev_from, test_from: the data set to take that part of; they may be one.
        on_missing: what is done where a part has no image of a class that another part has:
            "raise", "warn" or "ignore".

    Returns:
        "train", "bridge", "dev", "test" -> `Subset`, images in the order of the data set. A part
        of size 0 is left out.

    Raises:
        ShapeError, DTypeError: sizes are negative, or more in all than there are images; data sets
            do not agree in classes and image shape; a class would be missing; and so on.
    """
    if on_missing not in _ON_MISSING:
        raise ShapeError(f"split: on_missing is {on_missing!r}, expected one of {_ON_MISSING}")
    if isinstance(seed, bool) or not isinstance(seed, (int, np.integer)) or seed < 0:
        raise ShapeError(f"split: seed is {seed!r}, expected an integer of at least 0")
    if not isinstance(dataset, Dataset):
        raise DTypeError(f"split: got a {type(dataset).__name__}, expected a data set")
    sources = [_Source(dataset)]
    wanted = (("train", train, None), ("bridge", bridge, None))
    for part, size, origin in (*wanted, ("dev", dev, dev_from), ("test", test, test_from)):
        source = _source_of(sources, part, origin)
        if _checked_size(part, size):
            source.sizes[part] = size
    parts: dict[str, Subset] = {}
    for number, source in enumerate(sources):
        if source.sizes:
            together = groups if number == 0 else None
            parts.update(_cut(source, int(seed), number, stratify, together))
    names = "train", "bridge", "dev", "test"
    ordered: dict[str, Subset] = {name: parts[name] for name in names if name in parts}
    if on_missing != "ignore":
        _check_classes(ordered, on_missing)
    return ordered


def _source_of(sources: list[_Source], part: str, origin: Dataset | None) -> _Source:
    if origin is None:
        return sources[0]
    if not isinstance(origin, Dataset):
        raise DTypeError(f"split: {part}_from is a {type(origin).__name__}, expected a data set")
    for source in sources:
        if source.dataset is origin:
            return source
    check_agreement("split", f"{part}_from", origin, "the data set", sources[0].dataset)
    sources.append(_Source(origin))
    return sources[-1]


def _checked_size(part: str, size: Any) -> Size:
    if isinstance(size, bool) or not isinstance(size, (int, float, np.integer, np.floating)):
        raise DTypeError(f"split: {part} is a {type(size).__name__}, expected a number")
    whole = isinstance(size, (int, np.integer))
    if not math.isfinite(size) or size < 0 or (not whole and size > 1):
        expected = "at least 0 images" if whole else "a share from 0.0 to 1.0"
        raise ShapeError(f"split: {part} is {size}, expected {expected}")
    return int(size) if whole else float(size)


def _cut(
    source: _Source, seed: int, number: int, stratify: bool, groups: npt.ArrayLike | None
) -> Mapping[str, Subset]:
    """The parts of one data set."""
    dataset = source.dataset
    counts = _counts(source.sizes, len(dataset))
    words = np.random.PCG64(np.random.SeedSequence([seed, number])).random_raw(len(dataset))
    labels = np.asarray(dataset.labels) if stratify else np.zeros(len(dataset), np.int64)
    if groups is None:
        order = _interleaved(labels, words)
        ends = np.cumsum(list(counts.values()))
        chosen = dict(zip(counts, np.split(order, ends)[:-1], strict=True))
    else:
        chosen = _grouped(labels, words, counts, _checked_groups(groups, len(dataset)))
    return {
        part: Subset(
            dataset, np.sort(indices), name=f"{getattr(dataset, 'name', 'dataset')} ({part})"
        )
        for part, indices in chosen.items()
    }


def _counts(sizes: Mapping[str, Size], images: int) -> dict[str, int]:
    """Images of each part: shares are rounded so that their sum is nearest to the sum of shares."""
    exact = {
        part: float(size) if isinstance(size, (int, np.integer)) else float(size) * images
        for part, size in sizes.items()
    }
    # 0.7 + 0.2 + 0.1 of a thousand is not more than a thousand.
    if sum(exact.values()) > images + 1e-6 * images:
        asked = ", ".join(f"{part} {size}" for part, size in sizes.items())
        raise ShapeError(
            f"split: {asked} are {sum(exact.values()):g} images in all, there are {images}"
        )
    counts = {part: math.floor(value + 1e-9 * images) for part, value in exact.items()}
    left = min(images, round(sum(exact.values()))) - sum(counts.values())
    by_rest = sorted(exact, key=lambda part: counts[part] - exact[part])
    for part in by_rest[: max(left, 0)]:
        counts[part] += 1
    empty = [part for part, count in counts.items() if not count]
    if empty:
        raise ShapeError(
            f"split: {empty[0]} is {sizes[empty[0]]} of {images} images, which is none of them"
        )
    return counts


def _interleaved(labels: Indices, words: npt.NDArray[np.uint64]) -> Indices:
    """All images in an order of which every stretch has the classes in their proportions.

    The k-th of a class's n images, in random order, stands at (k + 1/2) / n of the way.
    """
    shuffled = np.lexsort((words, labels))
    _, starts, sizes = np.unique(labels[shuffled], return_index=True, return_counts=True)
    rank = np.arange(len(labels)) - np.repeat(starts, sizes)
    place = (rank + 0.5) / np.repeat(sizes, sizes)
    return shuffled[np.lexsort((words[shuffled], place))].astype(np.int64)


def _checked_groups(groups: npt.ArrayLike, images: int) -> Indices:
    """The groups numbered from 0."""
    array = np.asarray(groups)
    if array.shape != (images,):
        raise ShapeError(f"split: groups have shape {array.shape}, expected ({images},)")
    if array.dtype.kind not in "iuUSb":
        raise DTypeError(f"split: groups are {array.dtype}, expected integers or strings")
    return np.unique(array, return_inverse=True)[1].reshape(-1).astype(np.int64)


def _grouped(
    labels: Indices, words: npt.NDArray[np.uint64], counts: Mapping[str, int], groups: Indices
) -> dict[str, Indices]:
    """Whole groups, the largest first, each to the part that it brings nearest to what it should
    have of each class."""
    kinds = np.unique(labels, return_inverse=True)[1].reshape(-1)
    content = np.zeros((groups.max(initial=-1) + 1, kinds.max(initial=0) + 1))
    np.add.at(content, (groups, kinds), 1.0)
    totals = content.sum(0)
    names = [*counts, ""]  # the last: left out
    sizes = np.array([*counts.values(), len(labels) - sum(counts.values())], float)
    target = sizes[:, np.newaxis] / len(labels) * totals
    chance = np.zeros(len(content), np.uint64)
    np.maximum.at(chance, groups, words)
    missing, part_of = target.copy(), np.zeros(len(content), np.int64)
    open_parts = sizes > 0
    for group in np.lexsort((chance, -content.sum(1))):
        better = (missing**2 - (missing - content[group]) ** 2) / totals
        gain = np.where(open_parts, better.sum(1), -np.inf)
        part_of[group] = np.argmax(gain)
        missing[part_of[group]] -= content[group]
    of_image = part_of[groups]
    chosen = {name: np.flatnonzero(of_image == i) for i, name in enumerate(names) if name}
    for name, indices in chosen.items():
        if not len(indices):
            raise ShapeError(
                f"split: {len(content)} groups leave no image for {name}, which wants {counts[name]}"
            )
    return chosen


def _check_classes(parts: Mapping[str, Subset], on_missing: str) -> None:
    present = {name: set(part.labels.tolist()) for name, part in parts.items()}
    every = set().union(*present.values())
    problems = []
    for name, labels in present.items():
        for label in sorted(every - labels):
            classes = parts[name].classes
            called = repr(classes[label]) if label < len(classes) else str(label)
            problems.append(f"{name} has no image of class {called}")
    if not problems:
        return
    more = f" (and {len(problems) - 3} more)" if len(problems) > 3 else ""
    message = (
        f"split: {'; '.join(problems[:3])}{more}: make the part larger, or pass on_missing='warn'"
    )
    if on_missing == "raise":
        raise ShapeError(message)
    warnings.warn(message, stacklevel=3)
