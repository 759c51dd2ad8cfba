"""Progress for people: a bar on a terminal, plain lines elsewhere."""

from __future__ import annotations

import importlib
import sys
import time
from typing import TYPE_CHECKING, Any

from .callbacks import Callback

if TYPE_CHECKING:
    from .trainer import Trainer

__all__ = ["PlainProgress", "TqdmProgress", "progress"]

_QUIET_S = 10.0  # between plain lines within an epoch


def progress() -> Callback:
    """A bar when tqdm is installed and standard error is a terminal, plain lines otherwise."""
    if sys.stderr is not None and sys.stderr.isatty():
        try:
            return TqdmProgress(importlib.import_module("tqdm").tqdm)
        except ImportError:
            pass
    return PlainProgress()


class PlainProgress(Callback):
    """One line per epoch on standard output, and one every ten seconds within long epochs."""

    def __init__(self) -> None:
        self._began = self._spoke = 0.0
        self._images = 0  # since the beginning, in this process
        self._before = 0  # of this epoch, at the last look

    def on_fit_start(self, trainer: Trainer) -> None:
        self._began = self._spoke = time.perf_counter()
        self._images, self._before = 0, trainer.running.images

    def on_step_end(self, trainer: Trainer, loss: float) -> None:
        self._images += trainer.running.images - self._before
        self._before = trainer.running.images
        now = time.perf_counter()
        if now - self._spoke >= _QUIET_S:
            self._spoke = now
            self._within(trainer)

    def on_epoch_end(self, trainer: Trainer, record: dict[str, Any]) -> None:
        self._before = 0
        self._spoke = time.perf_counter()
        print(self._epoch_line(trainer, record), flush=True)

    def _within(self, trainer: Trainer) -> None:
        now = trainer.running
        accuracy = "" if now.accuracy is None else f"  accuracy {now.accuracy:.2%}"
        print(
            f"epoch {trainer.epoch + 1}/{trainer.epochs}  batch {trainer.batch}/{trainer.batches}  "
            f"loss {now.loss:.4f}{accuracy}  {self._rate():,.0f} images/s  "
            f"left {self._left(trainer)}",
            flush=True,
        )

    def _epoch_line(self, trainer: Trainer, record: dict[str, Any]) -> str:
        parts = [f"epoch {record['epoch']:>{len(str(trainer.epochs))}}/{trainer.epochs}"]
        for key, label in (("train", ""), ("val", "validation ")):
            if f"{key}_loss" in record:
                parts.append(f"{label}loss {record[f'{key}_loss']:.4f}")
            if f"{key}_accuracy" in record:
                parts.append(f"{label}accuracy {record[f'{key}_accuracy']:.2%}")
        parts.append(f"{record['images_per_second']:,.0f} images/s")
        if trainer.epoch < trainer.epochs:
            parts.append(f"left {self._left(trainer)}")
        return "  ".join(parts)

    def _rate(self) -> float:
        """Images a second since the beginning, evaluation included."""
        return self._images / max(time.perf_counter() - self._began, 1e-9)

    def _left(self, trainer: Trainer) -> str:
        """The time that the rest of the run takes at the rate so far."""
        done = trainer.epoch + trainer.batch / max(trainer.batches, 1)
        here = self._images / max(trainer.images_per_epoch, 1)
        seconds = (time.perf_counter() - self._began) * (trainer.epochs - done) / max(here, 1e-9)
        minutes, seconds = divmod(round(min(seconds, 360_000.0)), 60)
        hours, minutes = divmod(minutes, 60)
        return f"{hours}:{minutes:02}:{seconds:02}" if hours else f"{minutes}:{seconds:02}"


class TqdmProgress(PlainProgress):
    """A bar for the epoch under way, and the line of `PlainProgress` when it is complete."""

    def __init__(self, tqdm: Any) -> None:
        super().__init__()
        self._tqdm = tqdm
        self._bar: Any = None

    def on_epoch_start(self, trainer: Trainer) -> None:
        self._bar = self._tqdm(
            total=trainer.images_per_epoch,
            initial=trainer.running.images,
            desc=f"epoch {trainer.epoch + 1}/{trainer.epochs}",
            unit=" images",
            leave=False,
            file=sys.stderr,
            dynamic_ncols=True,
            bar_format="{desc} {percentage:3.0f}%|{bar}| {n_fmt}/{total_fmt} {rate_fmt}{postfix}",
        )

    def on_step_end(self, trainer: Trainer, loss: float) -> None:
        before = self._before
        super().on_step_end(trainer, loss)
        now = trainer.running
        accuracy = "" if now.accuracy is None else f", accuracy {now.accuracy:.1%}"
        self._bar.set_postfix_str(
            f"loss {now.loss:.3f}{accuracy}, left {self._left(trainer)}", refresh=False
        )
        self._bar.update(now.images - before)

    def on_epoch_end(self, trainer: Trainer, record: dict[str, Any]) -> None:
        self._close()
        super().on_epoch_end(trainer, record)

    def on_fit_end(self, trainer: Trainer) -> None:
        self._close()

    def _within(self, trainer: Trainer) -> None:
        pass  # the bar says it

    def _close(self) -> None:
        if self._bar is not None:
            self._bar.close()
            self._bar = None
