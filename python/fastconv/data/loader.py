"""Batches for training, epoch after epoch."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

from ..errors import DTypeError, ShapeError
from ..nn._args import integer
from .batching import Augment, Batch, Finisher, Job, Mix, Picker, Transform
from .dataset import ArrayDataset, Dataset, checked_indices, checked_weights
from .prefetch import Ahead
from .sampling import Sampler, epoch_order

__all__ = ["Loader"]

_WORKERS = ("thread", "process")


class Loader:
    """Batches of a data set, epoch after epoch.

    Each `iter()` runs one epoch, number `loader.epoch`, and moves that number on. The order of
    epoch e depends on (seed, e) alone, and a batch's random numbers on (seed, e, its number), so
    that `set_epoch(e, start=b)` continues an interrupted run with the very batches it would have
    had, however many workers there are.

    A batch is made of stored images that `dataset.fetch` gives, (n, C, H, W) uint8 or float32:
    `augment`, then `transform`, then `mix`.

    Args:
        dataset: a `Dataset`, or a pair (images, labels) as `ArrayDataset` takes them.
        batch_size: images per batch, at least 1.
        shuffle: draw a new order for every epoch; otherwise the stored order.
        seed: of the orders and of augmentation, 0 or more; None draws one, to be read from
            `loader.seed`.
        drop_last: leave out the last batch if it is smaller than the others.
        prefetch: how many batches wait for their turn at most; 0 with `workers=0` for no thread.
        transform: makes network input of a batch of stored images, which it may overwrite:
            float32 (n, C', H', W'). By default `dataset.standardize()`.
        start: batches to leave out at the beginning of the first epoch.
        augment: called as augment(images, rng) with stored images, which it may overwrite; returns
            as many of the same type, maybe of another size. rng is a `np.random.Generator` of
            this batch.
        mix: called as mix(images, labels, rng) with float32 network input and int64 labels;
            returns both, labels maybe as float32 (n, classes), the shares of the classes.
        sampler: a `Sampler`, which says which images an epoch has; it goes without `shuffle`.
        workers: threads or processes that make batches, several at a time; 0 for one thread that
            works `prefetch` batches ahead.
        worker: "thread": whole batches are made by threads; good where the work is in Pillow and
            NumPy, which let other threads run. "process": `dataset.fetch` and `augment` run in
            processes of their own, which need copies of both (they are pickled), and give the
            images back through shared memory; `transform` and `mix` run here. Processes stay for
            the next epoch; `close()` ends them.

    Yields:
        (images, labels): float32 (n, C, H, W), C-contiguous, and int64 (n,). Both are new arrays
        that belong to the caller; n is `batch_size`, less in a last smaller batch. Of a data set
        with `weights` (images, labels, weights), the last float32 (n,).

    Raises:
        ShapeError, DTypeError: an argument is out of its range or of the wrong type, or one of the
            functions returned something else than said above (raised by the iteration).
        FastconvError: a worker process died (raised by the iteration).
    """

    def __init__(
        self,
        dataset: Dataset | tuple[npt.ArrayLike, npt.ArrayLike],
        batch_size: int,
        shuffle: bool = False,
        seed: int | None = 0,
        drop_last: bool = False,
        prefetch: int = 2,
        transform: Transform | None = None,
        start: int = 0,
        *,
        augment: Augment | None = None,
        mix: Mix | None = None,
        sampler: Sampler | None = None,
        workers: int = 0,
        worker: str = "thread",
    ) -> None:
        if isinstance(dataset, tuple) and len(dataset) == 2:
            dataset = ArrayDataset(*dataset)
        if not isinstance(dataset, Dataset):
            raise DTypeError(
                f"Loader: dataset is a {type(dataset).__name__}, "
                "expected a data set (with fetch, labels, image_shape ...) or a pair "
                "(images, labels)"
            )
        for name, function in (("transform", transform), ("augment", augment), ("mix", mix)):
            if function is not None and not callable(function):
                raise DTypeError(f"Loader: {name} is a {type(function).__name__}, not callable")
        if sampler is not None and not isinstance(sampler, Sampler):
            raise DTypeError(
                f"Loader: sampler is a {type(sampler).__name__}, expected one with "
                "order(seed, epoch) and a length"
            )
        if sampler is not None and shuffle:
            raise ShapeError("Loader: sampler decides the order, expected shuffle=False with it")
        items = getattr(sampler, "items", len(dataset))
        if items != len(dataset):
            raise ShapeError(f"Loader: sampler is for {items} images, there are {len(dataset)}")
        if worker not in _WORKERS:
            raise ShapeError(f"Loader: worker is {worker!r}, expected 'thread' or 'process'")
        weights = getattr(dataset, "weights", None)
        if weights is not None:
            weights = checked_weights("Loader", weights, len(dataset))
            if mix is not None:
                raise ShapeError("Loader: mix does not go with a data set that has weights")
        self._weights: npt.NDArray[np.float32] | None = weights
        self.dataset = dataset
        self.batch_size = integer("Loader", "batch_size", batch_size, 1)
        self.shuffle = bool(shuffle)
        self.seed = (
            int.from_bytes(os.urandom(4), "big")
            if seed is None
            else integer("Loader", "seed", seed, 0)
        )
        self.drop_last = bool(drop_last)
        self.prefetch = integer("Loader", "prefetch", prefetch, 0)
        self.transform: Transform = dataset.standardize() if transform is None else transform
        self.augment, self.mix, self.sampler = augment, mix, sampler
        self.workers, self.worker = integer("Loader", "workers", workers, 0), worker
        self._processes: Any = None  # a team that waits for the next epoch
        self.epoch = 0
        self.start = 0
        self.set_epoch(0, start)

    def __len__(self) -> int:
        """Batches in a whole epoch."""
        whole, rest = divmod(self._drawn, self.batch_size)
        return whole + (rest > 0 and not self.drop_last)

    @property
    def _drawn(self) -> int:
        return len(self.dataset if self.sampler is None else self.sampler)

    @property
    def images_per_epoch(self) -> int:
        """Images in all batches of a whole epoch."""
        return len(self) * self.batch_size if self.drop_last else self._drawn

    def set_epoch(self, epoch: int, start: int = 0) -> None:
        """Make the next iteration that of `epoch`, from its batch `start` on.

        Raises:
            ShapeError: `epoch` or `start` is negative, or `start` is more than `len(self)`.
        """
        self.epoch = integer("Loader", "epoch", epoch, 0)
        self.start = integer("Loader", "start", start, 0)
        if self.start > len(self):
            raise ShapeError(f"Loader: start is {start}, expected at most {len(self)} (batches)")

    def __iter__(self) -> BatchIterator:
        """The batches of the next epoch; `close()` ends them early, as leaving the loop does."""
        jobs = self._jobs(self.epoch, self.start)
        pick = Picker(self.dataset, self.augment, self.seed, self.mix is not None)
        finish = Finisher(self.dataset.labels, self.transform, self.mix, self._weights)
        self.epoch, self.start = self.epoch + 1, 0

        def whole(job: Job) -> Batch:
            return finish(job, *pick(job))

        if self.workers and self.worker == "process":
            return self._through_processes(jobs, pick, finish)
        if self.workers or self.prefetch:
            return Ahead(jobs, [whole] * max(1, self.workers), self.prefetch)
        return _InTurn(map(whole, jobs))

    def close(self) -> None:
        """End worker processes that wait for another epoch. Harmless twice; an epoch after it
        starts new ones."""
        waiting, self._processes = self._processes, None
        if waiting is not None:
            waiting.close()

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_processes": None}

    def _jobs(self, epoch: int, start: int) -> Iterator[Job]:
        count, size = len(self.dataset), self.batch_size
        order: npt.NDArray[np.int64] | None = None
        if self.sampler is not None:
            order = checked_indices("Loader: sampler", self.sampler.order(self.seed, epoch), count)
            if len(order) != len(self.sampler):
                raise ShapeError(
                    f"Loader: sampler gave {len(order)} indices, expected {len(self.sampler)}"
                )
        elif self.shuffle:
            order = epoch_order(count, self.seed, epoch)
        for number in range(start, len(self)):
            first, last = number * size, min((number + 1) * size, self._drawn)
            yield Job(epoch, number, np.arange(first, last) if order is None else order[first:last])

    def _through_processes(
        self, jobs: Iterator[Job], pick: Picker, finish: Finisher
    ) -> BatchIterator:
        from .processes import Processes

        team, self._processes = self._processes, None
        if team is not None and not team.fits(pick, self.workers):
            team.close()
            team = None
        if team is None:
            team = Processes(pick, self.workers)

        def function(worker: Callable[[Job], tuple[Any, Any]]) -> Callable[[Job], Batch]:
            def made(job: Job) -> Batch:
                images, rng = worker(job)
                batch = finish(job, images, rng)
                if np.may_share_memory(batch[0], images):  # the block is the next batch's
                    return batch[0].copy(), *batch[1:]
                return batch

            return made

        def at_end(idle: bool) -> None:
            if idle and self._processes is None and team.fits(pick, self.workers):
                self._processes = team
            else:
                team.close(0.0)

        return Ahead(jobs, [function(worker) for worker in team.workers], self.prefetch, at_end)


class _InTurn(Iterator[Batch]):
    """Batches made when they are asked for."""

    def __init__(self, batches: Iterator[Batch]) -> None:
        self._batches = batches

    def __next__(self) -> Batch:
        try:
            return next(self._batches)
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        self._batches = iter(())


BatchIterator = Ahead[Batch] | _InTurn
