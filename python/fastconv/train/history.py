"""The course of a run as JSON and as a picture."""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ..serialization import PathLike, write_atomically

__all__ = ["drawn_png", "plot_history", "write_history"]


def write_history(history: Sequence[Mapping[str, Any]], path: PathLike) -> None:
    """Write the list of epochs as JSON, atomically.

    Raises:
        OSError: the file cannot be written.
        ValueError: a number is not finite.
    """
    text = json.dumps([dict(record) for record in history], indent=1, allow_nan=False)
    write_atomically(path, (text + "\n").encode())


def plot_history(history: Sequence[Mapping[str, Any]], path: PathLike) -> None:
    """Draw loss and accuracy over the epochs into a PNG file (1,000 x 400 pixels), atomically.

    Args:
        history: records with `epoch` and any of `train_loss`, `val_loss`, `train_accuracy`,
            `val_accuracy`.
        path: the PNG file.

    Raises:
        ImportError: matplotlib is not installed.
        OSError: the file cannot be written.
    """

    def draw(figure: Any) -> None:
        from matplotlib.ticker import MaxNLocator

        panels = (("loss", "loss", 1.0), ("accuracy", "accuracy, %", 100.0))
        for axes, (key, title, scale) in zip(figure.subplots(1, 2), panels, strict=True):
            for name, label, style in (("train", "training", "C0.--"), ("val", "test", "C1.-")):
                key_of = f"{name}_{key}"
                points = [(r["epoch"], r[key_of]) for r in history if key_of in r]
                if points:
                    axes.plot(
                        [p[0] for p in points], [scale * p[1] for p in points], style, label=label
                    )
            axes.set_xlabel("epoch")
            axes.set_ylabel(title)
            axes.xaxis.set_major_locator(MaxNLocator(integer=True))
            axes.grid(alpha=0.3)
            if axes.has_data():
                axes.legend()

    write_atomically(path, drawn_png("plot_history", (10, 4), draw))


def drawn_png(op: str, inches: tuple[float, float], draw: Callable[[Any], None]) -> bytes:
    """A figure of 100 dots an inch, drawn by a function, as a PNG file's bytes.

    Raises:
        ImportError: matplotlib is not installed.
    """
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError as error:
        raise ImportError(
            f'{op} needs matplotlib, which is not installed: pip install "fastconv[viz]"'
        ) from error
    figure = Figure(figsize=inches, dpi=100, layout="constrained")
    canvas: Any = FigureCanvasAgg(figure)  # a canvas of its own: the caller's pyplot is left alone
    draw(figure)
    picture = io.BytesIO()
    canvas.print_png(picture)
    return picture.getvalue()
