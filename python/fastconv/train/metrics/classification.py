"""Metrics of classifiers: counted in integers, so that they do not depend on how images are cut into batches."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..._arrays import NDArray
from ...errors import DTypeError, FastconvError, ShapeError
from ...nn._args import choice, integer, number
from .base import Metric

__all__ = ["F1", "Accuracy", "ConfusionMatrix", "Precision", "Recall", "TopK"]

_AVERAGES = ("macro", "micro", "weighted")


def _scores_and_labels(
    owner: str, outputs: Any, labels: Any
) -> tuple[NDArray, np.ndarray[Any, np.dtype[np.int64]]]:
    """Scores (N, classes) and labels (N,); of probabilities (N, classes) in place of labels the largest."""
    scores, target = np.asarray(outputs), np.asarray(labels)
    if scores.ndim != 2 or scores.shape[1] == 0:
        raise ShapeError(f"{owner}: outputs must be (N, classes), got shape {scores.shape}")
    count, classes = scores.shape
    if target.dtype.kind == "f" and target.shape == scores.shape:
        return scores, target.argmax(axis=1).astype(np.int64)
    if target.dtype.kind not in "iu":
        raise DTypeError(
            f"{owner}: labels must be integers (N,), or probabilities of the outputs' shape "
            f"{scores.shape}, got {target.dtype} of shape {target.shape}"
        )
    if target.shape != (count,):
        raise ShapeError(f"{owner}: labels must have shape {(count,)}, got {target.shape}")
    if count and not 0 <= target.min() <= target.max() < classes:
        raise ShapeError(
            f"{owner}: labels span {target.min()} to {target.max()}, expected 0 to {classes - 1}"
        )
    return scores, target.astype(np.int64)


class TopK(Metric):
    """Share of the images whose label is among the `k` classes of the highest scores.

    Of equal scores the lower class counts as the higher score, as `argmax` has it. A row with a NaN
    counts as wrong. Labels may be probabilities (N, classes): then the class of the largest.

    Args:
        k: how many classes, at least 1.

    Raises:
        ShapeError: `k` is out of range or more than there are classes; shapes or labels do not fit; `result`
            before any image.
        DTypeError: `k` or the labels are of another type.
    """

    def __init__(self, k: int = 5) -> None:
        self.k = integer(type(self).__name__, "k", k, 1)
        self.reset()

    def update(self, outputs: NDArray, labels: NDArray) -> None:
        owner = type(self).__name__
        scores, target = _scores_and_labels(owner, outputs, labels)
        if self.k > scores.shape[1]:
            raise ShapeError(f"{owner}: k is {self.k}, but there are {scores.shape[1]} classes")
        own = np.take_along_axis(scores, target[:, None], axis=1)
        earlier = np.arange(scores.shape[1]) < target[:, None]
        above = ((scores > own) | ((scores == own) & earlier)).sum(axis=1)
        right = (above < self.k) & ~np.isnan(scores).any(axis=1)
        self._right += int(np.count_nonzero(right))
        self._images += len(target)

    def result(self) -> float:
        if not self._images:
            raise ShapeError(f"{type(self).__name__}: there have been no images")
        return self._right / self._images

    def reset(self) -> None:
        self._right = self._images = 0

    def __repr__(self) -> str:
        return f"TopK({self.k})"


class Accuracy(TopK):
    """Share of the images whose highest score is that of the label: `TopK(1)`."""

    def __init__(self) -> None:
        super().__init__(1)

    def __repr__(self) -> str:
        return "Accuracy()"


class ConfusionMatrix(Metric):
    """How many images of each class were taken for each class.

    Args:
        num_classes: how many there are; None takes what the outputs have.

    Attributes:
        matrix: int64 (classes, classes), row the label, column the answer.

    Raises:
        ShapeError: shapes, labels or the number of classes do not fit; `result` before any image.
        DTypeError: arguments are of another type.
        FastconvError: a row of outputs has a NaN, so that there is no answer.
    """

    def __init__(self, num_classes: int | None = None) -> None:
        owner = type(self).__name__
        self.num_classes = (
            None if num_classes is None else integer(owner, "num_classes", num_classes, 1)
        )
        self.matrix: NDArray = np.zeros((0, 0), np.int64)

    def update(self, outputs: NDArray, labels: NDArray) -> None:
        owner = type(self).__name__
        scores, target = _scores_and_labels(owner, outputs, labels)
        classes = scores.shape[1]
        expected = len(self.matrix) or self.num_classes or classes
        if classes != expected:
            raise ShapeError(f"{owner}: outputs have {classes} classes, expected {expected}")
        bad = np.flatnonzero(np.isnan(scores).any(axis=1))
        if len(bad):
            raise FastconvError(f"{owner}: outputs have a NaN in row {bad[0]}")
        pairs = np.bincount(target * classes + scores.argmax(axis=1), minlength=classes**2)
        counted = pairs.reshape(classes, classes).astype(np.int64)
        self.matrix = self.matrix + counted if len(self.matrix) else counted

    def result(self) -> Any:
        """Lists of counts: `result()[label][answer]`."""
        return self._counted().tolist()

    def _counted(self) -> NDArray:
        if not self.matrix.any():
            raise ShapeError(f"{type(self).__name__}: there have been no images")
        return self.matrix

    def reset(self) -> None:
        self.matrix = np.zeros((0, 0), np.int64)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({'' if self.num_classes is None else self.num_classes})"


class _OfMatrix(ConfusionMatrix):
    """A share of each class, from the confusion matrix, and its average."""

    def __init__(
        self,
        average: str | None = "macro",
        num_classes: int | None = None,
        zero_division: float = 0.0,
    ) -> None:
        owner = type(self).__name__
        if average is not None:
            choice(owner, "average", average, _AVERAGES)
        self.average = average
        self.zero_division = number(owner, "zero_division", zero_division, 0.0, 1.0)
        super().__init__(num_classes)

    def _parts(self, right: NDArray, labels: NDArray, answers: NDArray) -> tuple[NDArray, NDArray]:
        """Numerator and denominator of each class, from its right answers, images and answers."""
        raise NotImplementedError

    def result(self) -> Any:
        matrix = self._counted()
        right, images, answers = matrix.diagonal(), matrix.sum(axis=1), matrix.sum(axis=0)
        if self.average == "micro":
            right, images, answers = (a.sum(keepdims=True) for a in (right, images, answers))
        above, below = self._parts(right, images, answers)
        shares = np.where(below > 0, above / np.maximum(below, 1), self.zero_division)
        if self.average is None:
            return [float(share) for share in shares]
        if self.average == "weighted":
            return float((shares * images).sum() / images.sum())
        return float(shares.mean())

    def __repr__(self) -> str:
        return f"{type(self).__name__}(average={self.average!r})"


_SHARED = """

    Args:
        average: "macro", the mean over classes; "weighted", that mean with each class counting as often as it
            has images; "micro", of all answers together, which is the accuracy; None, a list with a value
            for each class.
        num_classes: how many classes; None takes what the outputs have. All of them count, as with
            `labels=range(num_classes)` in scikit-learn.
        zero_division: the value where it is 0/0, 0 to 1, as scikit-learn's argument.

    Raises: as `ConfusionMatrix`; ShapeError too for an unknown average.
    """


class Precision(_OfMatrix):
    __doc__ = (
        "Share of the answers for a class that are right: tp / (tp + fp); 0/0 where nothing was taken for it."
        + _SHARED
    )

    def _parts(self, right: NDArray, labels: NDArray, answers: NDArray) -> tuple[NDArray, NDArray]:
        return right, answers


class Recall(_OfMatrix):
    __doc__ = (
        "Share of the images of a class that are recognised: tp / (tp + fn); 0/0 where it has no images."
        + _SHARED
    )

    def _parts(self, right: NDArray, labels: NDArray, answers: NDArray) -> tuple[NDArray, NDArray]:
        return right, labels


class F1(_OfMatrix):
    __doc__ = (
        "Harmonic mean of precision and recall, 2 tp / (2 tp + fp + fn); 0/0 where a class has neither images "
        "nor answers." + _SHARED
    )

    def _parts(self, right: NDArray, labels: NDArray, answers: NDArray) -> tuple[NDArray, NDArray]:
        return 2 * right, labels + answers
