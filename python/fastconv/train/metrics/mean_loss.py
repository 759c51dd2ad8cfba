"""The mean of a loss over images."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from ..._arrays import NDArray
from ...errors import DTypeError, ShapeError
from .base import Metric

__all__ = ["MeanLoss"]


class MeanLoss(Metric):
    """The mean of a loss over all images: each batch's mean counts as often as it has images.

    Args:
        loss: maps (outputs, labels) of a batch to its mean loss, as `functional.cross_entropy` does. Of
            several tasks: `metrics={"digit": {"likelihood": MeanLoss(F.nll_loss)}}`.

    Raises:
        DTypeError: `loss` is no function.
        ShapeError: `result` before any image.
    """

    def __init__(self, loss: Callable[[Any, Any], Any]) -> None:
        if not callable(loss):
            raise DTypeError(f"MeanLoss: loss is a {type(loss).__name__}, expected a function")
        self.loss = loss
        self.reset()

    def update(self, outputs: NDArray, labels: NDArray) -> None:
        value = np.asarray(self.loss(outputs, labels))
        if value.size != 1:
            raise ShapeError(f"MeanLoss: the loss has shape {value.shape}, expected one number")
        self._sum += float(value.reshape(())) * len(labels)
        self._images += len(labels)

    def result(self) -> float:
        if not self._images:
            raise ShapeError("MeanLoss: there have been no images")
        return self._sum / self._images

    def reset(self) -> None:
        self._sum, self._images = 0.0, 0

    def __repr__(self) -> str:
        return f"MeanLoss({getattr(self.loss, '__name__', self.loss)})"
