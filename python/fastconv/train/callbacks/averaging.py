"""Moving averages of the weights."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np

from ..._arrays import NDArray
from ...errors import ShapeError
from ...nn._args import flag, number
from .base import Callback

if TYPE_CHECKING:
    from ..trainer import Trainer

__all__ = ["EMA"]


class EMA(Callback):
    """Exponential moving averages of the parameters, which are what is evaluated, predicted with and saved.

    After each step average = decay * average + (1 - decay) * parameter. Validation in `fit`,
    `Trainer.evaluate`, `predict` and the network's part of checkpoints have the averages; training goes on
    with the parameters themselves, which checkpoints hold beside, bit for bit. Running statistics of
    batch-norm are not averaged: they are averages already. When `fit` returns, the network has its own
    parameters; `copy_to` puts the averages in their place.

    Args:
        decay: between 0 and 1, such as 0.999.
        warm_up: the decay of step t is at most (1 + t) / (10 + t), so that the first weights, drawn at random,
            are soon forgotten.

    Raises:
        ShapeError: `decay` is out of range.

    Source: Polyak & Juditsky, "Acceleration of stochastic approximation by averaging" (1992); Tarvainen &
    Valpola, "Mean teachers are better role models" (2017).
    """

    def __init__(self, decay: float = 0.999, warm_up: bool = True) -> None:
        self.decay = number("EMA", "decay", decay, 0.0, 1.0)
        if self.decay == 1.0:
            raise ShapeError("EMA: decay must be below 1, got 1: the averages would never change")
        self.warm_up = flag("EMA", "warm_up", warm_up)
        self.steps = 0
        self._averages: dict[str, NDArray] = {}
        self._trained: dict[str, NDArray] | None = None  # while the averages are in their place

    def on_fit_start(self, trainer: Trainer) -> None:
        if not self._averages:
            self._averages = _copies(trainer.net)

    def on_step_end(self, trainer: Trainer, loss: float) -> None:
        self.update(trainer.net)

    def update(self, net: Any) -> None:
        """Take in the parameters after a step."""
        decay = self.decay
        if self.warm_up:
            decay = min(decay, (1 + self.steps) / (10 + self.steps))
        made = {}
        for name, parameter in net.named_parameters():
            array, average = parameter.numpy(), self._averages.get(name)
            if average is None:
                average = array
            made[name] = average + (1.0 - decay) * (array - average)
            made[name] = made[name].astype(array.dtype, copy=False)
        # At once: an interrupt leaves either all of the step in the averages or nothing.
        self._averages, self.steps = made, self.steps + 1

    def copy_to(self, net: Any) -> None:
        """Give a network the averages as its parameters."""
        for name, parameter in net.named_parameters():
            if name in self._averages:
                parameter.numpy()[...] = self._averages[name]

    @contextmanager
    def evaluating(self, trainer: Trainer) -> Iterator[None]:
        if self._trained is not None or not self._averages:
            yield
            return
        self._trained = _copies(trainer.net)
        try:
            self.copy_to(trainer.net)
            yield
        finally:
            self._put_back(trainer.net)

    def _put_back(self, net: Any) -> None:
        """In place: steps are recorded with the arrays that the parameters have."""
        for name, parameter in net.named_parameters():
            parameter.numpy()[...] = (self._trained or {})[name]
        self._trained = None

    def state_dict(self, trainer: Trainer) -> dict[str, Any]:
        if not self._averages:
            return {}
        trained = _copies(trainer.net) if self._trained is None else self._trained
        return {"steps": self.steps, "trained": trained}

    def load_state_dict(self, trainer: Trainer, state: Mapping[str, Any]) -> None:
        """The network has the averages, as it was saved; afterwards it has its own parameters."""
        trained = state.get("trained")
        averages = {} if trained is None else _copies(trainer.net)
        for name, parameter in trainer.net.named_parameters() if averages else ():
            value = np.asarray((trained or {})[name])
            if value.shape != parameter.shape or value.dtype != parameter.dtype:
                raise ShapeError(
                    f"EMA: {name} is {value.dtype} of shape {value.shape}, "
                    f"expected {parameter.dtype} of shape {parameter.shape}"
                )
        self._trained = dict(trained) if averages and trained is not None else None
        if self._trained is not None:
            self._put_back(trainer.net)
        self._averages, self.steps = averages, int(state.get("steps", 0))

    def __repr__(self) -> str:
        return f"EMA({self.decay:g}, warm_up={self.warm_up})"


def _copies(net: Any) -> dict[str, NDArray]:
    return {name: np.array(p.numpy(), order="C") for name, p in net.named_parameters()}
