"""The course of a run as JSON and as a picture."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from ..serialization import PathLike, write_atomically

__all__ = ["plot_history", "write_history"]


def write_history(history: Sequence[Mapping[str, Any]], path: PathLike) -> None:
    """Write the list of epochs as JSON, atomically.

    Raises:
        OSError: the file cannot be written.
        ValueError: a number is not finite.
    """
    text = json.dumps([dict(record) for record in history], indent=1, allow_nan=False)
    write_atomically(path, (text + "\n").encode())


def plot_history(history: Sequence[Mapping[str, Any]], path: PathLike) -> None:
    """Draw loss and accuracy over the epochs into a PNG file, atomically: the picture of
    `fastconv.visualize.plot_curves`.

    Args:
        history: records with `epoch` and any of `train_loss`, `val_loss`, `train_accuracy`,
            `val_accuracy`.
        path: the PNG file.

    Raises:
        ImportError: matplotlib is not installed.
        OSError: the file cannot be written.
    """
    from ..visualize import plot_curves, save_png

    save_png(plot_curves(history), path)
