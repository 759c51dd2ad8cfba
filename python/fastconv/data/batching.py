"""How one batch is made: fetched, augmented, transformed, mixed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from ..errors import DTypeError, ShapeError
from .dataset import Dataset

__all__ = ["Augment", "Batch", "Finisher", "Job", "Mix", "Picker", "Transform", "batch_rng"]

Images = npt.NDArray[Any]
# Images and labels, and weights where the data set has them
Batch = (
    tuple[npt.NDArray[np.float32], npt.NDArray[Any]]
    | tuple[npt.NDArray[np.float32], npt.NDArray[Any], npt.NDArray[np.float32]]
)
# Stored images -> network input
Transform = Callable[[Images], npt.NDArray[np.float32]]
# (stored images, random numbers) -> images of the same type
Augment = Callable[[Images, np.random.Generator], Images]
# (network input, labels, random numbers) -> both, mixed
Mix = Callable[
    [npt.NDArray[np.float32], npt.NDArray[np.int64], np.random.Generator],
    tuple[npt.NDArray[np.float32], npt.NDArray[Any]],
]


class Job(NamedTuple):
    """Which images make which batch."""

    epoch: int
    number: int
    indices: npt.NDArray[np.int64]


def batch_rng(seed: int, epoch: int, number: int) -> np.random.Generator:
    """The random numbers of a batch: a pure function of where it stands."""
    return np.random.Generator(np.random.PCG64(np.random.SeedSequence([seed, epoch, number])))


@dataclass(frozen=True)
class Picker:
    """The first half of a batch, which worker processes can do: fetched and augmented."""

    dataset: Dataset
    augment: Augment | None
    seed: int
    mixes: bool  # random numbers are wanted afterwards too

    def __call__(self, job: Job) -> tuple[Images, np.random.Generator | None]:
        """Stored images, which are the caller's, and the random numbers that are left, if any
        are wanted: making a generator takes as long as fetching a small batch."""
        picked = self.dataset.fetch(job.indices)
        _check_stored("dataset.fetch", picked, len(job.indices))
        if self.augment is None:
            wanted = self.mixes
            return picked, batch_rng(self.seed, job.epoch, job.number) if wanted else None
        rng = batch_rng(self.seed, job.epoch, job.number)
        made = self.augment(picked, rng)
        _check_stored("augment", made, len(job.indices))
        if made.dtype != picked.dtype:
            raise DTypeError(f"Loader: augment returned {made.dtype}, expected {picked.dtype}")
        return made, rng


@dataclass(frozen=True)
class Finisher:
    """The second half: to network input, mixed."""

    labels: npt.NDArray[np.int64]
    transform: Transform
    mix: Mix | None
    weights: npt.NDArray[np.float32] | None = None

    def __call__(self, job: Job, images: Images, rng: np.random.Generator | None) -> Batch:
        """The batch; it may share memory with `images`."""
        made = self._transformed(images)
        labels = self.labels[job.indices]
        if self.weights is not None:
            return made, labels, self.weights[job.indices]
        return (made, labels) if self.mix is None else self._mixed(made, labels, rng)

    def _transformed(self, picked: Images) -> npt.NDArray[np.float32]:
        made = self.transform(picked)
        if not isinstance(made, np.ndarray) or made.dtype != np.float32:
            raise DTypeError(f"Loader: transform returned {_kind(made)}, expected a float32 array")
        if made.ndim != 4 or len(made) != len(picked):
            raise ShapeError(
                f"Loader: transform returned shape {made.shape}, expected (n, C, H, W) "
                f"with n={len(picked)}"
            )
        return np.ascontiguousarray(made)

    def _mixed(
        self, images: npt.NDArray[np.float32], labels: npt.NDArray[np.int64], rng: Any
    ) -> Batch:
        assert self.mix is not None
        count = len(images)
        mixed = self.mix(images, labels, rng)
        if not isinstance(mixed, tuple) or len(mixed) != 2:
            raise DTypeError(
                f"Loader: mix returned a {type(mixed).__name__}, expected a pair (images, labels)"
            )
        made, soft = mixed
        if not isinstance(made, np.ndarray) or made.dtype != np.float32:
            raise DTypeError(f"Loader: mix returned images {_kind(made)}, expected float32")
        if made.ndim != 4 or len(made) != count:
            raise ShapeError(
                f"Loader: mix returned images of shape {made.shape}, expected (n, C, H, W) "
                f"with n={count}"
            )
        hard = isinstance(soft, np.ndarray) and soft.dtype == np.int64 and soft.ndim == 1
        if not hard and not (
            isinstance(soft, np.ndarray) and soft.dtype == np.float32 and soft.ndim == 2
        ):
            raise DTypeError(
                f"Loader: mix returned labels {_kind(soft)}, expected int64 (n,) or float32 "
                "(n, classes)"
            )
        if len(soft) != count:
            raise ShapeError(f"Loader: mix returned {len(soft)} labels for {count} images")
        return np.ascontiguousarray(made), soft


def _check_stored(who: str, images: Any, count: int) -> None:
    if not isinstance(images, np.ndarray) or images.dtype not in (np.uint8, np.float32):
        raise DTypeError(f"Loader: {who} returned {_kind(images)}, expected uint8 or float32")
    if images.ndim != 4 or len(images) != count:
        raise ShapeError(
            f"Loader: {who} returned shape {images.shape}, expected (n, C, H, W) with n={count}"
        )


def _kind(value: Any) -> str:
    return (
        f"{value.dtype}{list(value.shape)}"
        if isinstance(value, np.ndarray)
        else (type(value).__name__)
    )
