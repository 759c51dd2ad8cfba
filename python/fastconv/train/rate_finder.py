"""Which learning rate to begin with: a few steps with a rising rate."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from ..data import Loader
from ..errors import ShapeError
from ..nn._args import integer, number
from ..serialization import PathLike
from .batches import Data, as_loader, batches_of, parts_of
from .steps import LossNotFinite

if TYPE_CHECKING:
    from .trainer import Trainer

__all__ = ["LearningRates", "find_learning_rate"]

# A loss so many times the least one ends the search.
_DIVERGED = 4.0


@dataclass(frozen=True)
class LearningRates:
    """What `find_learning_rate` found; unpacks as (rates, losses, suggestion).

    Attributes:
        rates: of the steps, rising.
        losses: smoothed losses of their batches.
        suggestion: the rate at which the loss falls fastest over the logarithm of the rate.
    """

    rates: list[float]
    losses: list[float]
    suggestion: float

    def __iter__(self) -> Iterator[Any]:
        return iter((self.rates, self.losses, self.suggestion))

    def plot(self, path: PathLike) -> None:
        """Draw the losses over the rates into a PNG file, atomically.

        Raises:
            ImportError: matplotlib is not installed.
            OSError: the file cannot be written.
        """
        from ..visualize.style import BLUE, ORANGE, new_figure, save_png

        figure = new_figure(7.0, 4.0, "The loss as the learning rate rises")
        axes = figure.subplots()
        axes.plot(self.rates, self.losses, color=BLUE)
        axes.axvline(self.suggestion, color=ORANGE, linestyle="--")
        axes.annotate(
            f"suggestion: {self.suggestion:.2g}",
            (self.suggestion, 1.0),
            (4, -4),
            xycoords=("data", "axes fraction"),
            textcoords="offset points",
            color=ORANGE,
            verticalalignment="top",
            horizontalalignment="left",
        )
        axes.set_xscale("log")
        axes.set_xlabel("learning rate")
        axes.set_ylabel("loss, smoothed")
        axes.grid(alpha=0.3)
        axes.spines[["top", "right"]].set_visible(False)
        save_png(figure, path)


def find_learning_rate(
    trainer: Trainer,
    data: Data,
    *,
    lowest: float = 1e-6,
    highest: float = 1.0,
    steps: int = 100,
    smoothing: float = 0.9,
) -> LearningRates:
    """Train for some steps with a rate that rises geometrically, and restore everything.

    Ends early where the smoothed loss is four times its least, or no longer finite. Weights, optimiser,
    running statistics, schedule, callbacks' state, random state, counters and the loader's place are
    afterwards what they were, bit for bit. Groups of parameters keep the ratio of their rates.

    Args:
        trainer: whose steps these are; callbacks are not told of them.
        data: as for `Trainer.fit`; gone through again where there are fewer batches than steps.
        lowest, highest: the first and the last rate (of the group whose rate is highest).
        steps: how many, at least 10.
        smoothing: weight of the past in the moving average of the losses, 0 to below 1, corrected for its
            start.

    Returns:
        Rates, smoothed losses, and the suggestion.

    Raises:
        ShapeError, DTypeError: an argument is out of range or of another type; the data has no images.
        FastconvError: the loss is not finite from the beginning.

    Source: Smith, "Cyclical learning rates for training neural networks" (2017), section 3.3.
    """
    op = "find_learning_rate"
    low, high = number(op, "lowest", lowest, 0.0), number(op, "highest", highest, 0.0)
    if not 0 < low < high:
        raise ShapeError(f"{op}: 0 < lowest < highest is expected, got {low:g} and {high:g}")
    count = integer(op, "steps", steps, 10)
    keep = number(op, "smoothing", smoothing, 0.0, 1.0)
    if keep == 1.0:
        raise ShapeError(f"{op}: smoothing must be below 1, got 1")
    loader = as_loader(data, trainer.batch_size, shuffle=True, seed=trainer.seed)
    place = (loader.epoch, loader.start) if isinstance(loader, Loader) else None
    before = trainer._copied_states()
    counters = trainer.global_step, trainer.schedule
    modes = [(module, module.training) for module in trainer.net.modules()]
    groups = [float(group["lr"]) for group in trainer.optimizer.param_groups]
    top = max(groups)
    shares = [rate / top if top else 1.0 for rate in groups]
    rates: list[float] = []
    losses: list[float] = []
    average = 0.0
    batches = _endless(loader)
    try:
        trainer.schedule = None
        for step, batch in enumerate(itertools.islice(batches, count)):
            rate = low * (high / low) ** (step / (count - 1))
            for group, share in zip(trainer.optimizer.param_groups, shares, strict=True):
                group["lr"] = rate * share
            try:
                loss = trainer.step(*parts_of(batch))
            except LossNotFinite:
                if not losses:
                    raise
                break
            average = keep * average + (1.0 - keep) * loss
            rates.append(rate)
            losses.append(average / (1.0 - keep ** (step + 1)))
            if losses[-1] > _DIVERGED * min(losses) and step:
                break
    finally:
        batches.close()
        trainer.global_step, trainer.schedule = counters
        trainer._set_states(*before)
        for module, mode in modes:
            module.training = mode
        if isinstance(loader, Loader) and place is not None:
            loader.set_epoch(*place)
    return LearningRates(rates, losses, _steepest(rates, losses))


def _endless(loader: Any) -> Any:
    """Batches, epoch after epoch."""
    for epoch in itertools.count():
        empty = True
        for batch in batches_of(loader, epoch, 0):
            empty = False
            yield batch
        if empty:
            raise ShapeError("find_learning_rate: the data has no images")


def _steepest(rates: list[float], losses: list[float]) -> float:
    """The rate at which the loss falls fastest, before its least value."""
    end = int(np.argmin(losses)) + 1
    if end < 3:
        return rates[0]
    slopes = np.gradient(np.array(losses[:end]), math.log(rates[1] / rates[0]))
    return rates[int(np.argmin(slopes))]
