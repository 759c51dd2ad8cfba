"""Callbacks that set the learning rate as the run goes on."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from ...errors import DTypeError, ShapeError
from ...nn._args import choice, integer, number
from .base import Callback

if TYPE_CHECKING:
    from ..trainer import Trainer

__all__ = ["LearningRateSchedule", "WarmUp"]


class LearningRateSchedule(Callback):
    """Steps a schedule of `fastconv.optim` after each epoch, or after each step.

    `Trainer(schedule=...)` steps after each step too; this is for schedules that count epochs, and for more
    than one.

    Args:
        schedule: over the trainer's optimiser.
        every: "epoch" or "step".

    Raises:
        DTypeError: `schedule` is none.
        ShapeError: `every` is something else, or the schedule is another optimiser's (from `fit`).
    """

    def __init__(self, schedule: Any, every: str = "epoch") -> None:
        for method in ("step", "state_dict", "load_state_dict"):
            if not callable(getattr(schedule, method, None)):
                raise DTypeError(
                    f"LearningRateSchedule: schedule is a {type(schedule).__name__} without {method}()"
                )
        self.schedule = schedule
        self.every = choice("LearningRateSchedule", "every", every, ("epoch", "step"))

    def on_fit_start(self, trainer: Trainer) -> None:
        if getattr(self.schedule, "optimizer", trainer.optimizer) is not trainer.optimizer:
            raise ShapeError("LearningRateSchedule: the schedule is that of another optimiser")

    def on_step_end(self, trainer: Trainer, loss: float) -> None:
        if self.every == "step":
            self.schedule.step()

    def on_epoch_end(self, trainer: Trainer, record: dict[str, Any]) -> None:
        if self.every == "epoch":
            self.schedule.step()

    def state_dict(self, trainer: Trainer) -> dict[str, Any]:
        return {"schedule": self.schedule.state_dict()}

    def load_state_dict(self, trainer: Trainer, state: Mapping[str, Any]) -> None:
        if "schedule" in state:
            self.schedule.load_state_dict(state["schedule"])

    def __repr__(self) -> str:
        return f"LearningRateSchedule({type(self.schedule).__name__}, every={self.every!r})"


class WarmUp(Callback):
    """Lets the learning rates rise linearly over the first steps of a run to what they are set to.

    At step t < steps (from 0) they are start_factor + (1 - start_factor) * t / steps of that. For a run with a
    schedule by steps there is `optim.LinearWarmup`; this goes with `ReduceOnPlateau` and rates that stay.

    Args:
        steps: optimiser steps of the rise, at least 1.
        start_factor: where it begins, 0 to 1.

    Raises:
        ShapeError: an argument is out of range; the trainer has a schedule (from `fit`).

    Source: Goyal et al., "Accurate, large minibatch SGD: training ImageNet in 1 hour" (2017), section 2.2.
    """

    def __init__(self, steps: int, start_factor: float = 0.0) -> None:
        self.steps = integer("WarmUp", "steps", steps, 1)
        self.start_factor = number("WarmUp", "start_factor", start_factor, 0.0, 1.0)
        self._rates: list[float] | None = None  # at the end; None before and after the rise

    def on_fit_start(self, trainer: Trainer) -> None:
        if trainer.schedule is not None:
            raise ShapeError(
                "WarmUp: the trainer has a schedule, which sets the rates itself; use optim.LinearWarmup"
            )
        if self._rates is None and trainer.global_step < self.steps:
            self._rates = [float(group["lr"]) for group in trainer.optimizer.param_groups]
            self._set(trainer)

    def on_step_end(self, trainer: Trainer, loss: float) -> None:
        if self._rates is not None:
            self._set(trainer)

    def _set(self, trainer: Trainer) -> None:
        share = min(trainer.global_step / self.steps, 1.0)
        factor = self.start_factor + (1.0 - self.start_factor) * share
        rates = self._rates or []
        for group, rate in zip(trainer.optimizer.param_groups, rates, strict=True):
            group["lr"] = rate if share == 1.0 else rate * factor
        if share == 1.0:
            self._rates = None

    def state_dict(self, trainer: Trainer) -> dict[str, Any]:
        return {"rates": self._rates}

    def load_state_dict(self, trainer: Trainer, state: Mapping[str, Any]) -> None:
        rates = state.get("rates")
        self._rates = None if rates is None else [float(rate) for rate in rates]

    def __repr__(self) -> str:
        return f"WarmUp({self.steps}, start_factor={self.start_factor:g})"
