"""Data sets made of others: a part of one, several in a row."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from ..errors import DTypeError, ShapeError
from .dataset import Dataset, checked_indices, checked_weights
from .transforms import Standardize

__all__ = ["ConcatDataset", "Subset", "WeightedDataset"]


class Subset:
    """Some images of a data set, which stay where they are.

    Args:
        dataset: a `Dataset`.
        indices: which of its images, in what order; one may come several times.
        name: what error messages call it; by default as the data set.

    Raises:
        ShapeError, DTypeError: the indices are no row of integers from 0 to N - 1, or `dataset` is
            no data set.
    """

    def __init__(
        self, dataset: Dataset, indices: npt.ArrayLike, *, name: str | None = None
    ) -> None:
        _require_dataset("Subset", dataset)
        self.dataset = dataset
        self.indices = checked_indices("Subset", indices, len(dataset)).copy()
        self.labels = dataset.labels[self.indices]
        self.classes = tuple(dataset.classes)
        self.name = getattr(dataset, "name", "dataset") if name is None else name
        weights = getattr(dataset, "weights", None)
        self.weights = None if weights is None else np.asarray(weights)[self.indices]

    def __len__(self) -> int:
        return len(self.indices)

    def __repr__(self) -> str:
        return f"Subset({self.name!r}, {len(self)} of {self.dataset!r})"

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """(C, H, W) of every image."""
        return self.dataset.image_shape

    def fetch(self, indices: npt.ArrayLike) -> npt.NDArray[Any]:
        """As `dataset.fetch`, of places in this part."""
        return self.dataset.fetch(
            self.indices[checked_indices("Subset: fetch", indices, len(self))]
        )

    def standardize(self) -> Standardize:
        """The data set's."""
        return self.dataset.standardize()


class WeightedDataset(Subset):
    """A data set whose images count as much in training as they are told.

    Args:
        dataset: a `Dataset`.
        weights: N numbers of at least 0. With a mean of 1 they leave the loss's size.

    Raises:
        ShapeError, DTypeError: there are not as many weights as images, one is negative or not
            finite, or they are no numbers; `dataset` is no data set.
    """

    def __init__(self, dataset: Dataset, weights: npt.ArrayLike) -> None:
        _require_dataset("WeightedDataset", dataset)
        super().__init__(dataset, np.arange(len(dataset)))
        self.weights = checked_weights("WeightedDataset", weights, len(dataset))

    def __repr__(self) -> str:
        return f"WeightedDataset({self.dataset!r})"


class ConcatDataset:
    """Data sets in a row, the first one's images first.

    Args:
        datasets: one or more with the same classes, image shape and type of stored images. The
            first one's `standardize()` is that of all. Where some have `weights`, images of the
            others count once.

    Raises:
        ShapeError, DTypeError: they do not agree, or there is none.
    """

    def __init__(self, datasets: Sequence[Dataset]) -> None:
        self.datasets = list(datasets)
        if not self.datasets:
            raise ShapeError("ConcatDataset: no data sets, expected at least one")
        first = self.datasets[0]
        for number, dataset in enumerate(self.datasets):
            _require_dataset("ConcatDataset", dataset)
            check_agreement("ConcatDataset", f"data set {number}", dataset, "the first", first)
        self.classes = tuple(first.classes)
        self.labels = np.concatenate([dataset.labels for dataset in self.datasets])
        self._ends = np.cumsum([len(dataset) for dataset in self.datasets])
        weights = [getattr(dataset, "weights", None) for dataset in self.datasets]
        self.weights = (
            None
            if all(each is None for each in weights)
            else np.concatenate(
                [
                    np.ones(len(dataset), np.float32) if each is None else each
                    for dataset, each in zip(self.datasets, weights, strict=True)
                ]
            )
        )
        self.name = " + ".join(str(getattr(d, "name", "dataset")) for d in self.datasets)

    def __len__(self) -> int:
        return int(self._ends[-1])

    def __repr__(self) -> str:
        return f"ConcatDataset({self.datasets!r})"

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """(C, H, W) of every image."""
        return self.datasets[0].image_shape

    def fetch(self, indices: npt.ArrayLike) -> npt.NDArray[Any]:
        """As the data sets' `fetch`, of places in the row."""
        chosen = checked_indices("ConcatDataset: fetch", indices, len(self))
        owners = np.searchsorted(self._ends, chosen, side="right")
        out: npt.NDArray[Any] | None = None
        for owner in np.unique(owners) if len(chosen) else [0]:
            here = np.flatnonzero(owners == owner)
            first = self._ends[owner] - len(self.datasets[owner])
            images = self.datasets[owner].fetch(chosen[here] - first)
            if out is None:
                out = np.empty((len(chosen), *images.shape[1:]), images.dtype)
            if images.dtype != out.dtype:
                raise DTypeError(
                    f"ConcatDataset: data set {owner} has {images.dtype} images, another has "
                    f"{out.dtype}"
                )
            out[here] = images
        assert out is not None
        return out

    def standardize(self) -> Standardize:
        """The first data set's."""
        return self.datasets[0].standardize()


def check_agreement(who: str, what: str, one: Dataset, other_is: str, other: Dataset) -> None:
    """ShapeError unless both have the same classes and image shape."""
    if tuple(one.image_shape) != tuple(other.image_shape):
        raise ShapeError(
            f"{who}: {what} has images of shape {one.image_shape}, {other_is} of {other.image_shape}"
        )
    if tuple(one.classes) != tuple(other.classes):
        differ = sorted(set(one.classes) ^ set(other.classes)) or ["in another order"]
        raise ShapeError(
            f"{who}: {what} has other classes than {other_is}: {', '.join(differ[:5])}"
        )


def _require_dataset(who: str, dataset: Any) -> None:
    if not isinstance(dataset, Dataset):
        raise DTypeError(f"{who}: got a {type(dataset).__name__}, expected a data set")
