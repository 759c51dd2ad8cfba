"""`Callback`: the moments of a run."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ..trainer import Trainer

__all__ = ["Callback"]


class Callback:
    """Methods that `Trainer.fit` calls; override those of interest.

    They may read everything of the trainer: `epoch`, `epochs`, `batch`, `batches`, `running`, `history`,
    `global_step`. `trainer.stop()` ends the run after the current step, with a checkpoint.

    An exception ends the run as `stop` does: the other callbacks are told what they would have been told,
    `last.safetensors` is written, and then the exception is raised from `fit`.

    What a callback needs to go on, it returns from `state_dict`: checkpoints keep it, so that a run that is
    resumed with callbacks of the same classes, in the same order, goes on as if it had not been interrupted.
    """

    def on_fit_start(self, trainer: Trainer) -> None:
        """Before the first step; `epochs` and `batches` are known."""

    def on_epoch_start(self, trainer: Trainer) -> None:
        """Before the first step of an epoch, or of what is left of it."""

    def on_step_end(self, trainer: Trainer, loss: float) -> None:
        """After each step, with the loss of its batch."""

    def on_epoch_end(self, trainer: Trainer, record: dict[str, Any]) -> None:
        """After the validation of an epoch, before its checkpoint; `record` is `trainer.history[-1]`."""

    def on_epoch_saved(self, trainer: Trainer, record: dict[str, Any]) -> None:
        """After the epoch's checkpoint: all callbacks have been told of its end, so that what is saved here is
        the whole state."""

    def on_fit_end(self, trainer: Trainer) -> None:
        """After the last step, also when the run was interrupted or failed."""

    def evaluating(self, trainer: Trainer) -> AbstractContextManager[None]:
        """Around everything that evaluates or saves the network: may put other weights into it meanwhile."""
        return nullcontext()

    def state_dict(self, trainer: Trainer) -> dict[str, Any]:
        """Arrays, numbers, text, lists and dictionaries; asked inside `evaluating`."""
        return {}

    def load_state_dict(self, trainer: Trainer, state: Mapping[str, Any]) -> None:
        """Continue from what `state_dict` gave, the network having the weights that it had then; {} where the
        checkpoint has nothing of this callback: begin anew."""
