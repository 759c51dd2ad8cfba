"""What can be told of a training run while it runs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .trainer import Trainer

__all__ = ["Callback"]


class Callback:
    """Methods that `Trainer.fit` calls; override those of interest.

    They may read everything of the trainer: `epoch`, `epochs`, `batch`, `batches`, `running`,
        `history`,
    `global_step`. `trainer.stop()` ends the run after the current step, with a checkpoint.
    """

    def on_fit_start(self, trainer: Trainer) -> None:
        """Before the first step; `epochs` and `batches` are known."""

    def on_epoch_start(self, trainer: Trainer) -> None:
        """Before the first step of an epoch, or of what is left of it."""

    def on_step_end(self, trainer: Trainer, loss: float) -> None:
        """After each step, with the loss of its batch."""

    def on_epoch_end(self, trainer: Trainer, record: dict[str, Any]) -> None:
        """After the validation of an epoch and its checkpoint; `record` is
        `trainer.history[-1]`."""

    def on_fit_end(self, trainer: Trainer) -> None:
        """After the last step, also when the run was interrupted or failed."""
