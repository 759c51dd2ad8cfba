"""Batches as Keras gives them, for a `Trainer`: channels last, labels in floats, sources without end."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any

import numpy as np

from ..data import Dataset, Loader
from ..data.augment.keras_flow import Flow
from ..errors import DTypeError, ShapeError
from ..nn._args import integer

__all__ = ["KerasBatches", "keras_batches"]


class KerasBatches:
    """The batches of a flow of `ImageDataGenerator`, or of any other source, epoch after epoch.

    Args:
        source: a flow, or batches (images, labels); with `steps` it may be a generator without end.
        labels: makes of a batch's labels what the loss takes.
        steps: batches in an epoch, which goes on where the last one stopped; None: all there are.
        owner: what error messages begin with.
    """

    def __init__(
        self, source: Any, labels: Callable[[Any], Any], steps: int | None, owner: str
    ) -> None:
        self._source, self._labels, self._steps, self._owner = source, labels, steps, owner
        self._going: Iterator[Any] | None = None
        generator = getattr(source, "image_data_generator", None)
        self._channels_last = getattr(generator, "data_format", "") == "channels_last"

    def __len__(self) -> int:
        return len(self._source) if self._steps is None else self._steps

    def __iter__(self) -> Iterator[Any]:
        batches = self._source if self._steps is None else self._some(self._steps)
        for batch in batches:
            yield self._plain(batch)

    def _some(self, steps: int) -> Iterator[Any]:
        for _ in range(steps):
            batch = self._next()
            if batch is None:  # a source that ended begins anew
                self._going = None
                batch = self._next()
            if batch is None:
                raise ShapeError(f"{self._owner}: the batches ended, expected {steps} an epoch")
            yield batch

    def _next(self) -> Any:
        if self._going is None:
            self._going = iter(self._source)
        return next(self._going, None)

    def _plain(self, batch: Any) -> tuple[Any, ...]:
        parts = batch if isinstance(batch, (tuple, list)) else (batch,)
        images = parts[0]
        if self._channels_last:
            images = np.ascontiguousarray(np.moveaxis(images, -1, 1))
        return images, *(self._labels(part) for part in parts[1:2]), *parts[2:]


def keras_batches(
    owner: str, data: Any, labels: Callable[[Any], Any], steps: Any = None, name: str = "steps"
) -> Any:
    """`data` as a `Trainer` takes it: flows, and all with a number of steps, as `KerasBatches`.

    Raises:
        ShapeError, DTypeError: `steps` is no number above 0, or is given for arrays or a Loader.
    """
    if steps is not None:
        steps = integer(owner, name, steps, 1)
        if isinstance(data, (Loader, Dataset)) or not isinstance(data, Iterable):
            raise DTypeError(
                f"{owner}: {name} is for flows, generators and lists of batches, got {type(data).__name__}"
            )
    if steps is None and not isinstance(data, Flow):
        return data
    return KerasBatches(data, labels, steps, owner)
