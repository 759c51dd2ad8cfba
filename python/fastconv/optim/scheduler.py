"""`LRScheduler`: what schedules share, their counter, settings and saving."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any, TypeAlias

from ..errors import DTypeError, ShapeError
from ..nn._args import integer, number
from .optimizer import Optimizer

__all__ = ["LRScheduler"]

# check(operation, name, value) -> the value, or an error that names all three
Check: TypeAlias = Callable[[str, str, Any], Any]


def at_least(minimum: int) -> Check:
    return lambda op, name, value: integer(op, name, value, minimum)


def bounded(low: float = -math.inf, high: float = math.inf) -> Check:
    return lambda op, name, value: number(op, name, value, low, high)


def positive(op: str, name: str, value: Any) -> float:
    result = number(op, name, value, 0.0)
    if result == 0.0:
        raise ShapeError(f"{op}: {name} must be above 0, got 0")
    return result


def numbers(op: str, name: str, value: Any) -> list[float]:
    if not isinstance(value, (list, tuple)):
        raise DTypeError(f"{op}: {name} must be a list of numbers, got {type(value).__name__}")
    return [number(op, name, v, 0.0) for v in value]


def per_group(op: str, name: str, value: float | Sequence[float], groups: int) -> list[float]:
    """One number for all parameter groups, or one for each, as a list."""
    return numbers(op, name, value if isinstance(value, (list, tuple)) else [value] * groups)


class LRScheduler:
    """Base class. `step()` goes on by one, an epoch or an optimiser step as the caller counts.

    Attributes:
        optimizer: whose groups' "lr" is set.
        base_lrs: the groups' learning rates when the schedule was made.
        last_epoch: number of calls of `step` so far.
    """

    # The settings that the state dict holds beside `last_epoch` and `base_lrs`, and how each is
    # checked, when given and when loaded. Lists have a value for each parameter group.
    _settings: Mapping[str, Check] = MappingProxyType({})

    def __init__(self, optimizer: Optimizer, **settings: Any) -> None:
        op = type(self).__name__
        if not isinstance(optimizer, Optimizer):
            raise DTypeError(f"{op}: an Optimizer is expected, got {type(optimizer).__name__}")
        self.optimizer = optimizer
        self.base_lrs: list[float] = [float(group["lr"]) for group in optimizer.param_groups]
        self.last_epoch = 0
        for name, check in self._settings.items():
            setattr(self, name, self._fit(op, name, check(op, name, settings[name])))
        self._apply(0)

    def _fit(self, op: str, name: str, value: Any) -> Any:
        groups = len(self.optimizer.param_groups)
        if isinstance(value, list) and len(value) != groups:
            raise ShapeError(
                f"{op}: {name} must have {groups} values, one for each parameter group, "
                f"got {len(value)}"
            )
        return value

    def lrs_at(self, epoch: int) -> list[float]:
        """The groups' learning rates after `epoch` steps."""
        raise NotImplementedError

    def _apply(self, epoch: int) -> None:
        lrs = self.lrs_at(epoch)
        for group, lr in zip(self.optimizer.param_groups, lrs, strict=True):
            group["lr"] = lr
        self.last_epoch = epoch

    def step(self) -> None:
        """Go on by one and set the learning rates."""
        self._apply(self.last_epoch + 1)

    def get_last_lr(self) -> list[float]:
        """The learning rates set last, one for each group."""
        return self.lrs_at(self.last_epoch)

    def state_dict(self) -> dict[str, Any]:
        """Counter, base rates and settings as plain numbers, strings and lists."""
        values = {k: getattr(self, k) for k in ("last_epoch", "base_lrs", *self._settings)}
        return {k: list(v) if isinstance(v, list) else v for k, v in values.items()}

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Continue from what `state_dict` returned, setting the optimiser's learning rates.

        On an error nothing has changed.

        Raises:
            ShapeError: entries are missing, out of range, or for another number of parameter
                groups.
            DTypeError: an entry is of another type.
        """
        values = self._checked(state_dict)
        before = self.state_dict()
        try:
            self._commit(values)
        except ShapeError:
            self._commit(before)
            raise

    def _checked(self, state: Mapping[str, Any]) -> dict[str, Any]:
        op = f"{type(self).__name__}.load_state_dict"
        if not isinstance(state, Mapping):
            raise DTypeError(f"{op}: a mapping is expected, got {type(state).__name__}")
        checks = {"last_epoch": at_least(0), "base_lrs": numbers, **self._settings}
        missing = [name for name in checks if name not in state]
        if missing:
            raise ShapeError(f"{op}: entries are missing: {', '.join(missing)}")
        return {k: self._fit(op, k, check(op, k, state[k])) for k, check in checks.items()}

    def _commit(self, values: Mapping[str, Any]) -> None:
        for name in ("base_lrs", *self._settings):
            setattr(self, name, values[name])
        self._apply(values["last_epoch"])
