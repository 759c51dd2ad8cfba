"""Results of the experiments as text, as Markdown and as a picture."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from .trials import Plan, Trial
from .variants import Experiment, Variant

__all__ = ["Row", "counted", "line", "markdown", "standing", "text_header"]


@dataclass(frozen=True)
class Row:
    """A variant with its trials, one at least."""

    variant: Variant
    trials: Sequence[Trial]

    @property
    def accuracy(self) -> float:
        """The mean over the trials."""
        return statistics.fmean(trial.accuracy for trial in self.trials)

    @property
    def spread(self) -> float:
        """The standard deviation of one trial, as estimated from these; nan of a single one."""
        values = [trial.accuracy for trial in self.trials]
        return statistics.stdev(values) if len(values) > 1 else math.nan

    @property
    def parameters(self) -> int:
        return self.trials[0].parameters

    @property
    def step_ms(self) -> float:
        return statistics.median(trial.step_ms for trial in self.trials)

    @property
    def seconds(self) -> float:
        return statistics.fmean(trial.seconds for trial in self.trials)

    def accuracy_text(self) -> str:
        text = f"{100 * self.accuracy:.2f}"
        return text + (" %" if math.isnan(self.spread) else f" ± {100 * self.spread:.2f} %")


def text_header(experiment: Experiment) -> str:
    """What stands above the lines of an experiment."""
    width = _width(experiment)
    return (
        f"{experiment.name}: {experiment.title} ({experiment.fixed})\n"
        f"{'':{width}}  {'accuracy':>14}  {'parameters':>10}  {'ms a step':>9}  {'seconds':>7}"
    )


def line(experiment: Experiment, row: Row) -> str:
    """A variant's line."""
    return (
        f"{row.variant.label:{_width(experiment)}}  {row.accuracy_text():>14}  {row.parameters:10,}  "
        f"{row.step_ms:9.2f}  {row.seconds:7.1f}"
    )


def counted(number: int, what: str) -> str:
    return f"{number:,} {what}" + ("s" if number != 1 else "")


def _width(experiment: Experiment) -> int:
    return max(len(variant.label) for variant in experiment.variants)


def standing(rows: Sequence[Row]) -> str:
    """What the rows show: the best one, and those that the spread over seeds does not tell apart from it.

    The spread is pooled over the rows; two means of R trials each are told apart where they differ by more than
    twice the standard error of their difference, spread * sqrt(2 / R).
    """
    best = max(rows, key=lambda row: row.accuracy)
    said = f"Best: {best.variant.label} with {100 * best.accuracy:.2f} %."
    runs = min(len(row.trials) for row in rows)
    if runs < 2:
        return f"{said} One run each: what of the differences is chance is not known."
    pooled = math.sqrt(statistics.fmean(row.spread**2 for row in rows))
    least = 2 * pooled * math.sqrt(2 / runs)
    near = [
        row.variant.label
        for row in rows
        if row is not best and best.accuracy - row.accuracy <= least
    ]
    said += f" Differences up to {100 * least:.2f} points are within the spread over seeds"
    return f"{said}: not told apart from it are {'; '.join(near)}." if near else f"{said}."


def markdown(plan: Plan, results: Mapping[str, tuple[Experiment, Sequence[Row]]]) -> str:
    """All tables. Experiments without rows are left out."""
    runs = max((len(row.trials) for _, rows in results.values() for row in rows), default=0)
    parts = [
        f"# Architecture experiments on {plan.data}\n\n"
        f"Trained on {plan.images:,} images, {counted(plan.epochs, 'epoch')}, batches of "
        f"{plan.batch_size}, AdamW with a one-cycle schedule up to {plan.lr:g}; accuracy on "
        f"{plan.dev:,} other training images (dev), mean and standard deviation of "
        f"{counted(runs, 'run')} with other seeds. The test images are not touched.\n"
    ]
    for experiment, rows in results.values():
        if not rows:
            continue
        best = max(row.accuracy for row in rows)
        parts.append(
            f"## {experiment.title}\n\n{experiment.fixed[0].upper()}{experiment.fixed[1:]}.\n\n"
            f"| {experiment.name} | accuracy | parameters | ms a step | seconds |\n|---|---|---|---|---|\n"
            + "\n".join(
                f"| {row.variant.label} | "
                + (f"**{row.accuracy_text()}**" if row.accuracy == best else row.accuracy_text())
                + f" | {row.parameters:,} | {row.step_ms:.2f} | {row.seconds:.1f} |"
                for row in rows
            )
            + f"\n\n{standing(rows)}\n"
        )
    return "\n".join(parts)
