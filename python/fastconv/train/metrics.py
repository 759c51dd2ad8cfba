"""Figures of merit, summed over batches."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from .._arrays import NDArray

__all__ = ["Metric", "Running", "count_correct", "softmax"]

# (outputs, labels) of a batch -> its mean
Metric = Callable[[NDArray, NDArray], float]


def count_correct(output: NDArray, labels: NDArray) -> int | None:
    """How many rows of (N, classes) scores have their largest value at the label.

    Args:
        output: (N, classes). labels: (N,) integers.

    Returns:
        The number, or None where shapes and types are not those of a classification. A row with a
        NaN counts as wrong.
    """
    if output.ndim != 2 or labels.shape != output.shape[:1] or labels.dtype.kind not in "iu":
        return None
    if not output.size:
        return 0
    hit = output.argmax(axis=1) == labels
    return int(np.count_nonzero(hit & ~np.isnan(output).any(axis=1)))


def softmax(scores: NDArray) -> NDArray:
    """Probabilities of scores along the last dimension."""
    shifted = np.exp(scores - scores.max(axis=-1, keepdims=True))
    return shifted / shifted.sum(axis=-1, keepdims=True)  # type: ignore[no-any-return]


@dataclass
class Running:
    """Sums over the images so far. `correct` is -1 where there is nothing to be right about."""

    loss_sum: float = 0.0
    correct: int = 0
    images: int = 0
    seconds: float = 0.0

    def add(self, loss: float, correct: int | None, images: int) -> None:
        """Add a batch, given its mean loss."""
        self.loss_sum += loss * images
        self.correct = -1 if correct is None or self.correct < 0 else self.correct + correct
        self.images += images

    @property
    def loss(self) -> float:
        """Mean loss per image; 0 before the first."""
        return self.loss_sum / max(self.images, 1)

    @property
    def accuracy(self) -> float | None:
        """Share of right answers, 0 to 1; None where it has no meaning."""
        return None if self.correct < 0 else self.correct / max(self.images, 1)
