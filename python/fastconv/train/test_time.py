"""Test-time augmentation: the mean of a network's probabilities over several views of each image."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from ..data import Dataset, Loader
from ..errors import ShapeError

__all__ = ["averaged"]


def averaged(
    predict: Callable[[Any], Any],
    data: Any,
    batches: Callable[[Any], Iterable[Any]],
    joined: Callable[[list[Any]], Any],
    tta: Any,
    times: int,
    batch_size: int,
) -> Any:
    """The mean of what `predict` returns for several views of data.

    Args:
        predict: maps network input, in batches as they are given, to probabilities.
        data: what `fastconv.train.predict` takes.
        batches: makes an iterable of batches of images of it.
        joined: makes the result for all images of those for batches.
        tta, times: see `fastconv.train.predict`.
        batch_size: images at a time for a data set.
    """
    from ..data.augment.tta import check_tta, views_of

    check_tta("predict", tta, times)
    if not isinstance(tta, str) and isinstance(data, (Loader, Dataset)):
        loaders = (_augmented(data, tta, view, batch_size) for view in range(times))
        return _mean([predict(batches(loader)) for loader in loaders])
    parts = [
        _mean([predict([view]) for view in views_of("predict", x, tta, times, number)])
        for number, x in enumerate(batches(data))
    ]
    if not parts:
        raise ShapeError("predict: data has no images")
    return joined(parts)


def _augmented(data: Any, tta: Any, view: int, batch_size: int) -> Loader:
    """A loader of the stored images in their order, augmented; each view's random numbers are another epoch's."""
    loader = copy.copy(data) if isinstance(data, Loader) else Loader(data, batch_size)
    if loader.shuffle or loader.sampler is not None:
        raise ShapeError("predict: with tta, a Loader must not shuffle or have a sampler")
    loader.augment = tta
    loader.set_epoch(view)
    return loader


def _mean(views: list[Any]) -> Any:
    """The mean of results, or of each part of results with several."""
    first = views[0]
    if isinstance(first, Mapping):
        return {key: _mean([view[key] for view in views]) for key in first}
    if isinstance(first, tuple):
        return tuple(_mean(list(each)) for each in zip(*views, strict=True))
    return sum(views[1:], first) / len(views)
