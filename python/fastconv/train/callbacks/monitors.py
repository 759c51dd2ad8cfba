"""Callbacks that watch a figure of the history: stop, save, or lower the learning rate."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..._arrays import NDArray
from ...errors import FastconvError, ShapeError
from ...nn._args import choice, flag, integer, number
from ...serialization import PathLike
from .base import Callback

if TYPE_CHECKING:
    from ..trainer import Trainer

__all__ = ["BestCheckpoint", "EarlyStopping", "Monitor", "ReduceOnPlateau"]

_HIGHER = ("accuracy", "precision", "recall", "f1", "top", "score")


class Monitor(Callback):
    """Follows one figure of the epochs' records and knows the best so far.

    Args:
        monitor: its name in `history`, such as "val_loss" or "val_accuracy".
        mode: "min" or "max", what is better; "auto": "max" for names with accuracy, precision, recall, f1, top
            or score in them, otherwise "min".
        min_delta: a change by no more than this is no improvement.

    Attributes:
        best: the best value so far, None before the first.
        wait: epochs since.

    Raises:
        FastconvError: an epoch's record has no such number (from `fit`, after the checkpoint).
        ShapeError, DTypeError: an argument is out of range or of another type.
    """

    def __init__(
        self, monitor: str = "val_loss", mode: str = "auto", min_delta: float = 0.0
    ) -> None:
        owner = type(self).__name__
        if not isinstance(monitor, str) or not monitor:
            raise ShapeError(f"{owner}: monitor must be the name of a figure, got {monitor!r}")
        self.monitor = monitor
        self.mode = choice(owner, "mode", mode, ("auto", "min", "max"))
        self.min_delta = number(owner, "min_delta", min_delta, 0.0)
        higher = any(word in monitor.lower() for word in _HIGHER)
        self._sign = 1.0 if self.mode == "max" or (self.mode == "auto" and higher) else -1.0
        self.best: float | None = None
        self.wait = 0

    def better(self, record: Mapping[str, Any]) -> bool:
        """Take in an epoch: whether it is the best so far."""
        value = record.get(self.monitor)
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            numbers = [k for k, v in record.items() if isinstance(v, (int, float))]
            raise FastconvError(
                f"{type(self).__name__}: the epoch's record has no number {self.monitor!r}; "
                f"there are {', '.join(numbers)}"
            )
        gain = -math.inf if self.best is None else self._sign * (value - self.best)
        if self.best is None or gain > self.min_delta:
            self.best, self.wait = float(value), 0
            return True
        self.wait += 1
        return False

    def state_dict(self, trainer: Trainer) -> dict[str, Any]:
        return {"best": self.best, "wait": self.wait}

    def load_state_dict(self, trainer: Trainer, state: Mapping[str, Any]) -> None:
        best = state.get("best")
        self.best = None if best is None else float(best)
        self.wait = int(state.get("wait", 0))

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.monitor!r})"


class EarlyStopping(Monitor):
    """Ends the run when a figure has not improved for some epochs.

    Args:
        monitor, min_delta, mode: as of `Monitor`.
        patience: how many epochs without improvement end it, at least 1.
        restore_best: the network has the weights of the best epoch when `fit` returns, those that were
            evaluated; `last.safetensors` keeps the run's last ones.

    Attributes:
        stopped: whether the run ended because of this. A resumed run then ends at once, unless the patience
            is now longer.

    Source: Prechelt, "Early stopping, but when?" (1998).
    """

    def __init__(
        self,
        monitor: str = "val_loss",
        patience: int = 5,
        min_delta: float = 0.0,
        mode: str = "auto",
        restore_best: bool = False,
    ) -> None:
        super().__init__(monitor, mode, min_delta)
        self.patience = integer("EarlyStopping", "patience", patience, 1)
        self.restore_best = flag("EarlyStopping", "restore_best", restore_best)
        self._weights: dict[str, NDArray] | None = None

    @property
    def stopped(self) -> bool:
        return self.wait >= self.patience

    def on_fit_start(self, trainer: Trainer) -> None:
        if self.stopped:
            trainer.stop()

    def on_epoch_end(self, trainer: Trainer, record: dict[str, Any]) -> None:
        if self.better(record):
            if self.restore_best:
                self._weights = trainer.evaluated_weights()
        elif self.stopped:
            trainer.stop()

    def on_fit_end(self, trainer: Trainer) -> None:
        if self.stopped and self._weights is not None:
            trainer.net.load_state_dict(self._weights)

    def state_dict(self, trainer: Trainer) -> dict[str, Any]:
        return {**super().state_dict(trainer), "weights": self._weights}

    def load_state_dict(self, trainer: Trainer, state: Mapping[str, Any]) -> None:
        super().load_state_dict(trainer, state)
        weights = state.get("weights")
        self._weights = (
            None if weights is None else {k: np.array(v, order="C") for k, v in weights.items()}
        )


class BestCheckpoint(Monitor):
    """Keeps the checkpoint of the epoch in which a figure was best.

    Args:
        monitor, min_delta, mode: as of `Monitor`.
        path: the file; by default `best-<monitor>.safetensors` in the trainer's `out_dir`.
    """

    def __init__(
        self,
        monitor: str = "val_loss",
        path: PathLike | None = None,
        mode: str = "auto",
        min_delta: float = 0.0,
    ) -> None:
        super().__init__(monitor, mode, min_delta)
        self.path = None if path is None else Path(path)
        self._due = False

    def on_fit_start(self, trainer: Trainer) -> None:
        if self.path is None:
            if trainer.out_dir is None:
                raise ShapeError("BestCheckpoint: needs a path, since the trainer has no out_dir")
            self.path = trainer.out_dir / f"best-{self.monitor.replace('/', '-')}.safetensors"
        if trainer.batch == 0:  # the run was cut off between the two files
            self.on_epoch_saved(trainer, {})

    def on_epoch_end(self, trainer: Trainer, record: dict[str, Any]) -> None:
        self._due = self.better(record) or self._due  # still due where a full disk was in the way

    def on_epoch_saved(self, trainer: Trainer, record: dict[str, Any]) -> None:
        if self._due and self.path is not None:
            trainer.save(self.path)
            self._due = False

    def state_dict(self, trainer: Trainer) -> dict[str, Any]:
        return {**super().state_dict(trainer), "due": self._due}

    def load_state_dict(self, trainer: Trainer, state: Mapping[str, Any]) -> None:
        super().load_state_dict(trainer, state)
        self._due = bool(state.get("due", False))


class ReduceOnPlateau(Monitor):
    """Lowers the learning rates when a figure has not improved for some epochs.

    Not together with a schedule, which sets the rates itself.

    Args:
        monitor, min_delta, mode: as of `Monitor`.
        factor: what the rates are multiplied with, between 0 and 1.
        patience: epochs without improvement, at least 1.
        cooldown: epochs after a reduction that do not count.
        min_rate: rates do not fall below this.
    """

    def __init__(
        self,
        monitor: str = "val_loss",
        factor: float = 0.1,
        patience: int = 10,
        min_delta: float = 1e-4,
        mode: str = "auto",
        cooldown: int = 0,
        min_rate: float = 0.0,
    ) -> None:
        super().__init__(monitor, mode, min_delta)
        owner = "ReduceOnPlateau"
        self.factor = number(owner, "factor", factor, 0.0, 1.0)
        if self.factor in (0.0, 1.0):
            raise ShapeError(f"{owner}: factor must lie between 0 and 1, got {factor}")
        self.patience = integer(owner, "patience", patience, 1)
        self.cooldown = integer(owner, "cooldown", cooldown, 0)
        self.min_rate = number(owner, "min_rate", min_rate, 0.0)
        self._cooling = 0

    def on_epoch_end(self, trainer: Trainer, record: dict[str, Any]) -> None:
        better = self.better(record)
        if self._cooling:
            self._cooling, self.wait = self._cooling - 1, 0
        elif not better and self.wait >= self.patience:
            for group in trainer.optimizer.param_groups:
                # A rate that is below the limit already stays.
                group["lr"] = max(group["lr"] * self.factor, min(group["lr"], self.min_rate))
            self._cooling, self.wait = self.cooldown, 0

    def state_dict(self, trainer: Trainer) -> dict[str, Any]:
        return {**super().state_dict(trainer), "cooling": self._cooling}

    def load_state_dict(self, trainer: Trainer, state: Mapping[str, Any]) -> None:
        super().load_state_dict(trainer, state)
        self._cooling = int(state.get("cooling", 0))
