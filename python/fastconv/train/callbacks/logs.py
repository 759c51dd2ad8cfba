"""A run's history in other formats."""

from __future__ import annotations

import csv
import importlib
import io
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ...errors import ShapeError
from ...nn._args import integer
from ...serialization import PathLike, write_atomically
from .base import Callback

if TYPE_CHECKING:
    from ..trainer import Trainer

__all__ = ["CSVLog", "TensorBoard"]


class CSVLog(Callback):
    """The history as a table: a row for each epoch, a column for each figure; lists as JSON.

    The file is written anew after each epoch, atomically, so that after a resumed run it is that of an
    uninterrupted one.

    Args:
        path: the file; by default `history.csv` in the trainer's `out_dir`.

    Raises:
        ShapeError: no path, and the trainer has no `out_dir` (from `fit`).
        OSError: the file cannot be written (from `fit`, after the checkpoint).
    """

    def __init__(self, path: PathLike | None = None) -> None:
        self.path = None if path is None else Path(path)

    def on_fit_start(self, trainer: Trainer) -> None:
        if self.path is None:
            self.path = _in_folder("CSVLog", trainer, "history.csv")

    def on_epoch_end(self, trainer: Trainer, record: dict[str, Any]) -> None:
        columns = list(dict.fromkeys(key for epoch in trainer.history for key in epoch))
        text = io.StringIO()
        table = csv.DictWriter(text, columns, lineterminator="\n")
        table.writeheader()
        for epoch in trainer.history:
            table.writerow(
                {k: json.dumps(v) if isinstance(v, (list, dict)) else v for k, v in epoch.items()}
            )
        if self.path is not None:
            write_atomically(self.path, text.getvalue().encode())

    def __repr__(self) -> str:
        return f"CSVLog({str(self.path) if self.path else ''!r})"


class TensorBoard(Callback):
    """The history's numbers as TensorBoard's event files, through tensorboardX.

    "val_loss" becomes "loss/val"; the horizontal axis counts steps. A resumed run writes a new file that makes
    TensorBoard pass over what an interrupted run wrote after the checkpoint.

    Args:
        folder: where the files go; by default `tensorboard` in the trainer's `out_dir`.
        every: batch losses are written each so many steps; 0: not.

    Raises:
        ImportError: tensorboardX is not installed (from `fit`, before the first step).
        ShapeError: `every` is negative; no folder, and the trainer has no `out_dir` (from `fit`).
    """

    def __init__(self, folder: PathLike | None = None, every: int = 0) -> None:
        self.folder = None if folder is None else Path(folder)
        self.every = integer("TensorBoard", "every", every, 0)
        self._writer: Any = None

    def on_fit_start(self, trainer: Trainer) -> None:
        try:
            writer = importlib.import_module("tensorboardX").SummaryWriter
        except ImportError as error:
            raise ImportError(
                'TensorBoard needs tensorboardX, which is not installed: pip install "fastconv[tensorboard]"'
            ) from error
        if self.folder is None:
            self.folder = _in_folder("TensorBoard", trainer, "tensorboard")
        done = trainer.global_step
        self._writer = writer(str(self.folder), purge_step=done + 1 if done else None)

    def on_step_end(self, trainer: Trainer, loss: float) -> None:
        if self.every and trainer.global_step % self.every == 0:
            self._writer.add_scalar("loss/batch", loss, trainer.global_step)

    def on_epoch_end(self, trainer: Trainer, record: dict[str, Any]) -> None:
        for name, value in record.items():
            if isinstance(value, (int, float)) and name != "epoch":
                part, _, rest = name.partition("_")
                tag = f"{rest}/{part}" if part in ("train", "val") and rest else name
                self._writer.add_scalar(tag, value, trainer.global_step)
        self._writer.flush()

    def on_fit_end(self, trainer: Trainer) -> None:
        if self._writer is not None:
            self._writer.close()
            self._writer = None

    def __repr__(self) -> str:
        return f"TensorBoard({str(self.folder) if self.folder else ''!r})"


def _in_folder(owner: str, trainer: Trainer, name: str) -> Path:
    if trainer.out_dir is None:
        raise ShapeError(f"{owner}: needs a path, since the trainer has no out_dir")
    return trainer.out_dir / name
