"""Orders of images: which ones an epoch has, and when."""

from __future__ import annotations

from typing import Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt

from ..errors import DTypeError, ShapeError
from ..nn._args import integer

__all__ = ["BalancedSampler", "Sampler", "WeightedSampler", "epoch_order"]


@runtime_checkable
class Sampler(Protocol):
    """Which images an epoch has, in order: a pure function of seed and epoch.

    Where one has an attribute `items`, it is the number of images that it draws from, and a
    `Loader` compares it with the data set.
    """

    def __len__(self) -> int:
        """Images in an epoch."""

    def order(self, seed: int, epoch: int) -> npt.NDArray[np.int64]:
        """Their indices, (len(self),) int64."""


def epoch_order(count: int, seed: int, epoch: int) -> npt.NDArray[np.int64]:
    """The shuffled order of `count` items in an epoch: a pure function of its arguments.

    Each item gets a 64-bit word of PCG64 and the words are sorted. NumPy promises that the raw
    words of a bit generator never change; it makes no such promise for `Generator.permutation`.
    """
    words = np.random.PCG64(np.random.SeedSequence([seed, epoch])).random_raw(count)
    return np.argsort(words, kind="stable").astype(np.int64, copy=False)


class WeightedSampler:
    """Draws images with probabilities in proportion to weights.

    Args:
        weights: one for each image, finite, 0 or more, not all 0.
        num_samples: images in an epoch; by default as many as there are weights.
        replacement: whether an image may come several times. Without, they are drawn one after the
            other of what is left (P. Efraimidis, P. Spirakis, *Weighted random sampling with a
            reservoir*, 2006).

    Raises:
        ShapeError, DTypeError: weights or num_samples are none of these, or there are fewer images
            with a weight above 0 than are to be drawn without replacement.
    """

    def __init__(
        self,
        weights: npt.ArrayLike,
        num_samples: int | None = None,
        replacement: bool = True,
    ) -> None:
        given = np.asarray(weights)
        if given.dtype.kind not in "fiu":
            raise DTypeError(f"WeightedSampler: weights are {given.dtype}, expected numbers")
        self.weights = given.astype(np.float64)
        if given.ndim != 1 or not len(given):
            raise ShapeError(f"WeightedSampler: weights have shape {given.shape}, expected (N,)")
        total = float(self.weights.sum())
        if not (self.weights >= 0).all() or not 0 < total < np.inf:
            raise ShapeError(
                "WeightedSampler: weights must be finite, at least 0 and not all 0, they span "
                f"{self.weights.min()} to {self.weights.max()}"
            )
        self.replacement = bool(replacement)
        self.num_samples = (
            len(given)
            if num_samples is None
            else integer("WeightedSampler", "num_samples", num_samples, 1)
        )
        drawable = int(np.count_nonzero(self.weights))
        if not self.replacement and self.num_samples > drawable:
            raise ShapeError(
                f"WeightedSampler: num_samples is {self.num_samples}, but {drawable} images have a "
                "weight above 0 and replacement is off"
            )
        self.items = len(given)

    def __len__(self) -> int:
        return self.num_samples

    def __repr__(self) -> str:
        return (
            f"WeightedSampler({_digest(self.weights)}, num_samples={self.num_samples}, "
            f"replacement={self.replacement})"
        )

    def order(self, seed: int, epoch: int) -> npt.NDArray[np.int64]:
        """The images of an epoch: a pure function of seed and epoch."""
        if self.replacement:
            ends = np.cumsum(self.weights)
            drawn = _uniform(seed, epoch, self.num_samples) * ends[-1]
            # Rounding may reach the end itself, which is no image's.
            last = np.flatnonzero(self.weights)[-1]
            places: npt.NDArray[np.int64] = np.searchsorted(ends, drawn, side="right")
            return places.clip(max=last).astype(np.int64, copy=False)
        with np.errstate(divide="ignore"):
            wait = -np.log(_uniform(seed, epoch, self.items)) / self.weights
        first: npt.NDArray[np.int64] = np.argsort(wait, kind="stable")[: self.num_samples]
        return first.astype(np.int64, copy=False)


class BalancedSampler:
    """Every class as often as every other, whatever the number of its images.

    Each class has num_samples / classes places in an epoch, or one more. They go to its images in
    turn, in a new order for every round: none comes a second time before all have come.

    Args:
        labels: the class of each image, integers; classes without an image do not count.
        num_samples: images in an epoch; by default as many as there are labels.

    Raises:
        ShapeError, DTypeError: labels or num_samples are none of these.
    """

    def __init__(self, labels: npt.ArrayLike, num_samples: int | None = None) -> None:
        given = np.asarray(labels)
        if given.dtype.kind not in "iu":
            raise DTypeError(f"BalancedSampler: labels are {given.dtype}, expected integers")
        if given.ndim != 1 or not len(given):
            raise ShapeError(f"BalancedSampler: labels have shape {given.shape}, expected (N,)")
        self.labels = given.astype(np.int64)
        self.num_samples = (
            len(given)
            if num_samples is None
            else integer("BalancedSampler", "num_samples", num_samples, 1)
        )
        self.items = len(given)
        self._members = [np.flatnonzero(given == label) for label in np.unique(given)]

    def __len__(self) -> int:
        return self.num_samples

    def __repr__(self) -> str:
        return f"BalancedSampler({_digest(self.labels)}, num_samples={self.num_samples})"

    def order(self, seed: int, epoch: int) -> npt.NDArray[np.int64]:
        """The images of an epoch: a pure function of seed and epoch."""
        classes = len(self._members)
        words = np.random.PCG64(np.random.SeedSequence([seed, epoch]))
        # Which classes get one more.
        places = np.full(classes, self.num_samples // classes)
        places[
            np.argsort(words.random_raw(classes), kind="stable")[: self.num_samples % classes]
        ] += 1
        drawn = []
        for members, count in zip(self._members, places.tolist(), strict=True):
            rounds = -(-count // len(members))
            keys = words.random_raw((rounds, len(members)))
            turns = members[np.argsort(keys, axis=1, kind="stable")].reshape(-1)
            drawn.append(turns[:count])
        chosen = np.concatenate(drawn)
        mixed = np.argsort(words.random_raw(len(chosen)), kind="stable")
        return chosen[mixed].astype(np.int64)


def _uniform(seed: int, epoch: int, count: int) -> npt.NDArray[np.float64]:
    """Numbers strictly between 0 and 1, of raw words, which never change."""
    words = np.random.PCG64(np.random.SeedSequence([seed, epoch])).random_raw(count)
    shifted: npt.NDArray[np.float64] = (words >> np.uint64(12)).astype(np.float64) + 0.5
    return shifted * 2.0**-52


def _digest(array: npt.NDArray[np.generic]) -> str:
    """Which numbers they are, for a checkpoint to compare."""
    import hashlib

    return f"{len(array)}:{hashlib.sha256(array.tobytes()).hexdigest()[:12]}"
