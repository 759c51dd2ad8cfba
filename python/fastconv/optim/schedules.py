"""Learning-rate schedules.

A schedule sets its optimiser's learning rates when it is made and again at every `step()`. The
rates are closed formulas of the number of steps, so a schedule loaded from its state dict continues
exactly.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any

from ..errors import DTypeError, ShapeError
from ..nn._args import choice, flag, integer
from .optimizer import Optimizer
from .scheduler import LRScheduler, at_least, bounded, numbers, per_group, positive

__all__ = [
    "CosineAnnealingLR",
    "LambdaLR",
    "LinearWarmup",
    "OneCycleLR",
    "StepLR",
]


class LambdaLR(LRScheduler):
    """base_lr * lr_lambda(epoch).

    Args:
        lr_lambda: a function of the number of steps, or one for each parameter group. Not in the
            state dict.
    """

    def __init__(
        self,
        optimizer: Optimizer,
        lr_lambda: Callable[[int], float] | Sequence[Callable[[int], float]],
    ) -> None:
        groups = len(getattr(optimizer, "param_groups", ()))
        self.lr_lambdas = (
            list(lr_lambda) if isinstance(lr_lambda, Sequence) else [lr_lambda] * groups
        )
        if len(self.lr_lambdas) != groups:
            raise ShapeError(
                f"LambdaLR: {groups} functions are expected, got {len(self.lr_lambdas)}"
            )
        super().__init__(optimizer)

    def lrs_at(self, epoch: int) -> list[float]:
        pairs = zip(self.base_lrs, self.lr_lambdas, strict=True)
        return [base * float(function(epoch)) for base, function in pairs]


class StepLR(LRScheduler):
    """base_lr * gamma^(epoch // step_size)."""

    step_size: int
    gamma: float
    _settings = MappingProxyType({"step_size": at_least(1), "gamma": bounded(0.0)})

    def __init__(self, optimizer: Optimizer, step_size: int, gamma: float = 0.1) -> None:
        super().__init__(optimizer, step_size=step_size, gamma=gamma)

    def lrs_at(self, epoch: int) -> list[float]:
        factor = self.gamma ** (epoch // self.step_size)
        return [base * factor for base in self.base_lrs]


class CosineAnnealingLR(LRScheduler):
    """Half a cosine wave from base_lr down to eta_min in T_max steps, then up again.

    Source: Loshchilov & Hutter, "SGDR: stochastic gradient descent with warm restarts" (2017),
    equation 5.
    """

    T_max: int
    eta_min: float
    _settings = MappingProxyType({"T_max": at_least(1), "eta_min": bounded(0.0)})

    def __init__(self, optimizer: Optimizer, T_max: int, eta_min: float = 0.0) -> None:
        super().__init__(optimizer, T_max=T_max, eta_min=eta_min)

    def lrs_at(self, epoch: int) -> list[float]:
        share = (1.0 + math.cos(math.pi * epoch / self.T_max)) / 2.0
        return [self.eta_min + (base - self.eta_min) * share for base in self.base_lrs]


class OneCycleLR(LRScheduler):
    """Up from max_lr / div_factor to max_lr, then down to 1 / final_div_factor of the start.

    With `cycle_momentum` the momentum (Adam's first beta) goes the other way at the same time.

    Args:
        optimizer: SGD, RMSprop or Adam.
        max_lr: the peak, for all groups or a list with one each.
        total_steps: length of the cycle; or epochs * steps_per_epoch.
        pct_start: share of the cycle spent going up, 0 to 1.
        anneal_strategy: "cos" or "linear".
        cycle_momentum: False leaves momentum alone.
        base_momentum, max_momentum: its values at the peak, and at start and end.
        div_factor, final_div_factor: as above.
        three_phase: come down to the start as slowly as up before going to the end.

    Raises:
        ShapeError, DTypeError: arguments out of range or of the wrong type; `step` more than
            `total_steps` times.

    Source: Smith & Topin, "Super-convergence" (2018).
    """

    total_steps: int
    max_lrs: list[float]
    base_momentums: list[float]
    max_momentums: list[float]
    pct_start: float
    anneal_strategy: str
    cycle_momentum: bool
    div_factor: float
    final_div_factor: float
    three_phase: bool
    _settings = MappingProxyType(
        {
            "total_steps": at_least(1),
            "max_lrs": numbers,
            "base_momentums": numbers,
            "max_momentums": numbers,
            "pct_start": bounded(0.0, 1.0),
            "anneal_strategy": lambda op, name, value: choice(op, name, value, ("cos", "linear")),
            "cycle_momentum": flag,
            "div_factor": positive,
            "final_div_factor": positive,
            "three_phase": flag,
        }
    )

    def __init__(
        self,
        optimizer: Optimizer,
        max_lr: float | Sequence[float],
        total_steps: int | None = None,
        epochs: int | None = None,
        steps_per_epoch: int | None = None,
        pct_start: float = 0.3,
        anneal_strategy: str = "cos",
        cycle_momentum: bool = True,
        base_momentum: float | Sequence[float] = 0.85,
        max_momentum: float | Sequence[float] = 0.95,
        div_factor: float = 25.0,
        final_div_factor: float = 1e4,
        three_phase: bool = False,
    ) -> None:
        op = "OneCycleLR"
        if total_steps is None:
            if epochs is None or steps_per_epoch is None:
                raise ShapeError(f"{op}: total_steps, or epochs and steps_per_epoch, must be given")
            total_steps = integer(op, "epochs", epochs, 1) * integer(
                op, "steps_per_epoch", steps_per_epoch, 1
            )
        groups = len(getattr(optimizer, "param_groups", ()))
        defaults = getattr(optimizer, "defaults", {})
        if cycle_momentum and groups and not {"momentum", "betas"} & set(defaults):
            raise ShapeError(
                f"{op}: the optimiser has no momentum to cycle; pass cycle_momentum=False"
            )
        super().__init__(
            optimizer,
            total_steps=total_steps,
            max_lrs=per_group(op, "max_lr", max_lr, groups),
            base_momentums=per_group(op, "base_momentum", base_momentum, groups),
            max_momentums=per_group(op, "max_momentum", max_momentum, groups),
            pct_start=pct_start,
            anneal_strategy=anneal_strategy,
            cycle_momentum=cycle_momentum,
            div_factor=div_factor,
            final_div_factor=final_div_factor,
            three_phase=three_phase,
        )

    def _phases(self) -> list[tuple[float, str, str, str, str]]:
        """(last step, learning rate from, to, momentum from, to) of each part of the cycle."""
        up = self.pct_start * self.total_steps - 1.0
        end = self.total_steps - 1.0
        rise = (up, "initial", "max", "max", "base")
        if not self.three_phase:
            return [rise, (end, "max", "min", "base", "max")]
        down = 2.0 * self.pct_start * self.total_steps - 2.0
        return [
            rise,
            (down, "max", "initial", "base", "max"),
            (end, "initial", "min", "max", "max"),
        ]

    def _position(self, epoch: int) -> tuple[tuple[float, str, str, str, str], float]:
        """The part of the cycle that step `epoch` lies in, and the share of it that has passed."""
        start = 0.0
        phases = self._phases()
        for phase in phases:
            if epoch <= phase[0] or phase is phases[-1]:
                length = phase[0] - start
                # The step after the last one stays at the end.
                return phase, min((epoch - start) / length, 1.0) if length else 1.0
            start = phase[0]
        raise AssertionError("a cycle has phases")

    def _between(self, start: float, end: float, share: float) -> float:
        if self.anneal_strategy == "linear":
            return start + (end - start) * share
        return end + (start - end) / 2.0 * (1.0 + math.cos(math.pi * share))

    def lrs_at(self, epoch: int) -> list[float]:
        (_, source, target, _, _), share = self._position(epoch)
        lrs = []
        for peak in self.max_lrs:
            initial = peak / self.div_factor
            levels = {"initial": initial, "max": peak, "min": initial / self.final_div_factor}
            lrs.append(self._between(levels[source], levels[target], share))
        return lrs

    def _apply(self, epoch: int) -> None:
        if epoch > self.total_steps:
            raise ShapeError(
                f"OneCycleLR: step {epoch} is past the end of the cycle of {self.total_steps} steps"
            )
        super()._apply(epoch)
        if not self.cycle_momentum:
            return
        (_, _, _, source, target), share = self._position(epoch)
        momentums = zip(self.base_momentums, self.max_momentums, strict=True)
        for group, (low, high) in zip(self.optimizer.param_groups, momentums, strict=True):
            levels = {"base": low, "max": high}
            momentum = self._between(levels[source], levels[target], share)
            if "betas" in group:
                group["betas"] = (momentum, *group["betas"][1:])
            else:
                group["momentum"] = momentum


class LinearWarmup(LRScheduler):
    """Rises linearly to another schedule's first learning rates, then follows that schedule.

    At step t < warmup_steps the rates are those of the schedule's start times
    start_factor + (1 - start_factor) * t / warmup_steps.

    Args:
        schedule: a schedule that has not stepped yet, or an optimiser, whose rates then stay as
            they are.
        warmup_steps: length of the rise, at least 0.
        start_factor: where the rise begins, 0 to 1.

    Source: Goyal et al., "Accurate, large minibatch SGD: training ImageNet in 1 hour" (2017),
    section 2.2.
    """

    warmup_steps: int
    start_factor: float
    _settings = MappingProxyType({"warmup_steps": at_least(0), "start_factor": bounded(0.0, 1.0)})

    def __init__(
        self,
        schedule: LRScheduler | Optimizer,
        warmup_steps: int,
        start_factor: float = 1.0 / 3.0,
    ) -> None:
        if isinstance(schedule, Optimizer):
            schedule = LambdaLR(schedule, lambda epoch: 1.0)
        if not isinstance(schedule, LRScheduler):
            raise DTypeError(
                f"LinearWarmup: a schedule or an optimiser is expected, "
                f"got {type(schedule).__name__}"
            )
        if schedule.last_epoch != 0:
            raise ShapeError(
                f"LinearWarmup: the schedule must not have stepped, "
                f"but has {schedule.last_epoch} times"
            )
        self.schedule = schedule
        super().__init__(schedule.optimizer, warmup_steps=warmup_steps, start_factor=start_factor)

    def lrs_at(self, epoch: int) -> list[float]:
        if epoch >= self.warmup_steps:
            return self.schedule.lrs_at(epoch - self.warmup_steps)
        rise = self.start_factor + (1.0 - self.start_factor) * epoch / self.warmup_steps
        return [lr * rise for lr in self.schedule.lrs_at(0)]

    def _apply(self, epoch: int) -> None:
        # The schedule sets what else it cycles, such as momentum; then come the rates.
        self.schedule._apply(max(epoch - self.warmup_steps, 0))
        super()._apply(epoch)

    def state_dict(self) -> dict[str, Any]:
        return {**super().state_dict(), "schedule": self.schedule.state_dict()}

    def _checked(self, state: Mapping[str, Any]) -> dict[str, Any]:
        values = super()._checked(state)
        if "schedule" not in state:
            raise ShapeError("LinearWarmup.load_state_dict: entries are missing: schedule")
        return {**values, "schedule": self.schedule._checked(state["schedule"])}

    def _commit(self, values: Mapping[str, Any]) -> None:
        self.schedule._commit(values["schedule"])
        super()._commit(values)
