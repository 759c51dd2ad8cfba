"""The state of a run, in checkpoints and back."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from .. import random
from .._arrays import NDArray
from ..errors import FastconvError, FormatError
from ..serialization import PathLike
from .callbacks import Callback
from .checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from .figures import Figures
from .metrics import Running
from .steps import Steps

if TYPE_CHECKING:
    from .trainer import Trainer

__all__ = ["RunState"]


class RunState(Steps):
    """How far a run is, and its saving; the attributes are explained at `Trainer`."""

    def __init__(self, *parts: Any, **options: Any) -> None:
        super().__init__(*parts, **options)
        self.history: list[dict[str, Any]] = []
        self.running = Running()
        self.config: dict[str, Any] = {}
        self.callbacks: list[Callback] = []
        self._training: Figures | None = None  # metrics of the epoch under way
        self._training_state: dict[str, Any] = {}  # of a checkpoint, to go on from
        self._best: float | None = None
        self._data: dict[str, Any] = {}
        self._resumed = False  # a checkpoint was loaded and no fit has run since

    def save(self, path: PathLike) -> None:
        """Write the whole state of the run: weights, optimiser, schedule, callbacks, place in the epoch,
        random state.

        Raises:
            ImportError: safetensors is not installed.
            OSError: the file cannot be written; an older one is then left as it was.
        """
        with self._evaluated():
            net, optimizer, schedule, generator, callbacks = self._states()
            checkpoint = Checkpoint(
                model=net,
                optimizer=optimizer,
                schedule=schedule,
                epoch=self.epoch,
                batch=self.batch,
                global_step=self.global_step,
                random_state=generator,
                running={**asdict(self.running), "metrics": self._metrics_state()},
                data=self._data,
                history=self.history,
                best=self._best,
                config=self.config,
                callbacks=callbacks,
            )
            save_checkpoint(checkpoint, path)

    def _metrics_state(self) -> dict[str, Any]:
        if not self.batch:
            return {}
        return self._training_state if self._training is None else self._training.state_dict()

    def evaluated_weights(self) -> dict[str, NDArray]:
        """Copies of the arrays that are evaluated and saved: the network's own, or what callbacks put in their
        place (`EMA`)."""
        with self._evaluated():
            return {k: np.array(v, order="C") for k, v in self.net.state_dict().items()}

    @contextmanager
    def _evaluated(self) -> Iterator[None]:
        """Inside, the network has the weights that are evaluated and saved."""
        with ExitStack() as stack:
            for callback in self.callbacks:
                stack.enter_context(callback.evaluating(cast("Trainer", self)))
            yield

    def load(self, path: PathLike) -> None:
        """Continue from a checkpoint; the global random state of `fastconv` is set to the saved
        one.

        Raises:
            FormatError: the file is damaged, or does not fit the network, optimiser or schedule;
                the trainer is then as it was.
            OSError: the file is missing or cannot be read.
        """
        self.restore(load_checkpoint(path), str(path))

    def restore(self, checkpoint: Checkpoint, name: str = "checkpoint") -> None:
        """`load` for a checkpoint that has been read; `name` is what an error calls it."""
        if (checkpoint.schedule is None) != (self.schedule is None):
            there = "no schedule" if checkpoint.schedule is None else "a schedule"
            raise FormatError(f"Trainer: {name} was written with {there}, the trainer differs")
        before = self._copied_states()
        try:
            self._set_states(
                checkpoint.model,
                checkpoint.optimizer,
                checkpoint.schedule,
                checkpoint.random_state,
                checkpoint.callbacks,
            )
            metrics = dict(checkpoint.running.get("metrics", {}))
            running = Running.from_state(checkpoint.running)
        except (FastconvError, AttributeError, KeyError, TypeError, ValueError) as error:
            self._set_states(*before)
            raise FormatError(f"Trainer: {name} does not fit: {error}") from error
        self.running = running
        self._training, self._training_state = None, metrics
        self.epoch, self.batch = checkpoint.epoch, checkpoint.batch
        self.global_step = checkpoint.global_step
        self.history = [dict(record) for record in checkpoint.history]
        self.config = dict(checkpoint.config)
        self._best = checkpoint.best
        self._data = dict(checkpoint.data)
        self._resumed = True

    def _copied_states(self) -> Any:
        with self._evaluated():
            return copy.deepcopy(self._states())

    def _states(self) -> tuple[Any, Any, Any, Any, Any]:
        """Of the network, the optimiser, the schedule, the generator and the callbacks."""
        schedule = None if self.schedule is None else self.schedule.state_dict()
        net = {name: np.asarray(value) for name, value in self.net.state_dict().items()}
        callbacks = [
            {"kind": type(c).__name__, "state": c.state_dict(cast("Trainer", self))}
            for c in self.callbacks
        ]
        return net, self.optimizer.state_dict(), schedule, random.get_state(), callbacks

    def _set_states(
        self, net: Any, optimizer: Any, schedule: Any, generator: Any, callbacks: Any
    ) -> None:
        self.net.load_state_dict(net)
        self.optimizer.load_state_dict(optimizer)
        if self.schedule is not None:
            self.schedule.load_state_dict(schedule)
        left = list(callbacks)
        for callback in self.callbacks:  # each takes the first state of its kind
            found = next((e for e in left if e["kind"] == type(callback).__name__), None)
            if found is not None:
                left.remove(found)
            state = {} if found is None else found["state"]
            callback.load_state_dict(cast("Trainer", self), state)
        random.set_state(generator)
