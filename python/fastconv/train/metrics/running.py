"""Sums over the images of an epoch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ..._arrays import NDArray

__all__ = ["Running", "count_correct", "softmax"]

# How far the sum of probabilities may be from 1.
_PROBABILITY = 1e-3


def count_correct(output: NDArray, labels: NDArray) -> int | None:
    """How many rows of (N, classes) scores have their largest value at the label.

    Args:
        output: (N, classes).
        labels: (N,) integers; or probabilities (N, classes), as MixUp makes them, of which the class of the
            largest is the label: floating, two classes or more, not negative, rows that sum to 1.

    Returns:
        The number, or None where shapes and types are not those of a classification. A row with a
        NaN counts as wrong.
    """
    if output.ndim != 2:
        return None
    if _are_probabilities(output.shape, labels):
        labels = labels.argmax(axis=1)
    if labels.shape != output.shape[:1] or labels.dtype.kind not in "iu":
        return None
    if not output.size:
        return 0
    hit = output.argmax(axis=1) == labels
    return int(np.count_nonzero(hit & ~np.isnan(output).any(axis=1)))


def _are_probabilities(shape: tuple[int, ...], labels: NDArray) -> bool:
    if labels.dtype.kind != "f" or labels.shape != shape or shape[1] < 2 or not labels.size:
        return False
    sums = labels.sum(axis=1)
    return bool(labels.min() >= 0 and (abs(sums - 1) <= _PROBABILITY).all())


def softmax(scores: NDArray) -> NDArray:
    """Probabilities of scores along the last dimension."""
    shifted = np.exp(scores - scores.max(axis=-1, keepdims=True))
    return shifted / shifted.sum(axis=-1, keepdims=True)  # type: ignore[no-any-return]


@dataclass
class Running:
    """Sums over the images so far. `correct` is -1 where there is nothing to be right about; `tasks` has the sums
    of each task, where there are several losses."""

    loss_sum: float = 0.0
    correct: int = 0
    images: int = 0
    seconds: float = 0.0
    tasks: dict[str, Running] = field(default_factory=dict)

    def add(
        self,
        loss: float,
        correct: int | None,
        images: int,
        tasks: Mapping[str, tuple[float, int | None]] | None = None,
    ) -> None:
        """Add a batch, given its mean loss, and each task's mean loss and right answers."""
        self.loss_sum += loss * images
        self.correct = -1 if correct is None or self.correct < 0 else self.correct + correct
        self.images += images
        for name, (value, right) in (tasks or {}).items():
            self.tasks.setdefault(name, Running()).add(value, right, images)

    @classmethod
    def from_state(cls, state: Mapping[str, Any]) -> Running:
        """What `dataclasses.asdict` made a dictionary of, whatever else is in it under "metrics"."""
        tasks = {name: cls.from_state(task) for name, task in state.get("tasks", {}).items()}
        own = {name: value for name, value in state.items() if name != "metrics"}
        return cls(**{**own, "tasks": tasks})

    @property
    def loss(self) -> float:
        """Mean loss per image; 0 before the first."""
        return self.loss_sum / max(self.images, 1)

    @property
    def accuracy(self) -> float | None:
        """Share of right answers, 0 to 1; None where it has no meaning."""
        return None if self.correct < 0 else self.correct / max(self.images, 1)

    def figures(self) -> dict[str, float]:
        """`loss`, `accuracy` where it has a meaning, and those of the tasks, as `<task>_loss`."""
        found = {"loss": self.loss}
        if self.accuracy is not None:
            found["accuracy"] = self.accuracy
        for name, task in self.tasks.items():
            found.update({f"{name}_{key}": value for key, value in task.figures().items()})
        return found
