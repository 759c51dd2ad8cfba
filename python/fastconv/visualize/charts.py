"""Pictures of how a network fares: curves, confusion matrix, examples."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from .._arrays import NDArray
from ..data import Dataset
from ..errors import DTypeError, ShapeError
from ..nn._args import integer
from .examples import Example
from .style import (
    BLUE,
    GREY,
    INK,
    ORANGE,
    class_name,
    new_figure,
    picture_of,
    show_picture,
)

__all__ = ["plot_confusion", "plot_curves", "plot_examples", "plot_samples"]

# Classes up to which each cell has its numbers, and its name.
_NUMBERED, _NAMED = 20, 60


def plot_curves(
    history: Sequence[Mapping[str, Any]], title: str = "", *, validation: str = "validation"
) -> Any:
    """Loss and accuracy over the epochs, of training and validation; the best epoch is marked.

    Args:
        history: records with `epoch` and any of `train_loss`, `val_loss`, `train_accuracy`, `val_accuracy`, as
            `Trainer.history` or `history.json` have them.
        title: of the figure. validation: what its line is called.

    Returns:
        A figure; see `save_png`.

    Raises:
        ImportError: matplotlib is not installed.
    """
    figure = new_figure(10.0, 4.0, title)
    from matplotlib.ticker import MaxNLocator

    panels = (("loss", "loss", 1.0), ("accuracy", "accuracy, %", 100.0))
    for axes, (key, label, scale) in zip(figure.subplots(1, 2), panels, strict=True):
        for part, name, style in (
            ("train", "training", {"color": BLUE, "linestyle": "--", "marker": "."}),
            (
                "val",
                validation,
                {"color": ORANGE, "linestyle": "-", "marker": "o", "markersize": 3},
            ),
        ):
            points = [
                (r["epoch"], scale * r[f"{part}_{key}"]) for r in history if f"{part}_{key}" in r
            ]
            if not points:
                continue
            axes.plot(*zip(*points, strict=True), label=name, **style)
            if part == "val":
                best = (min if key == "loss" else max)(points, key=lambda p: p[1])
                text = f"{'lowest' if key == 'loss' else 'highest'}: {best[1]:.4g}, epoch {best[0]}"
                axes.plot(*best, "o", color=ORANGE, markersize=9, fillstyle="none", label=text)
        axes.set_xlabel("epoch")
        axes.set_ylabel(label)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.grid(alpha=0.3)
        axes.spines[["top", "right"]].set_visible(False)
        if axes.has_data():
            axes.legend(fontsize=9, framealpha=0.9)
    return figure


def plot_confusion(matrix: Any, classes: Sequence[str] = (), title: str = "") -> Any:
    """A confusion matrix, coloured by the share of each true class, with counts and percentages.

    Args:
        matrix: integers (classes, classes), row the true class, column the answer; see `confusion`.
        classes: their names; numbers where there are none.
        title: of the figure; by default the accuracy.

    Returns:
        A figure; see `save_png`. From 21 classes on cells have no numbers, from 61 on every n-th class a name.

    Raises:
        ShapeError, DTypeError: the matrix is none, or there are other than its number of names.
        ImportError: matplotlib is not installed.
    """
    counts = np.asarray(matrix)
    if counts.dtype.kind not in "iu":
        raise DTypeError(f"plot_confusion: the matrix is {counts.dtype}, expected integers")
    if counts.ndim != 2 or counts.shape[0] != counts.shape[1] or not counts.size:
        raise ShapeError(f"plot_confusion: the matrix has shape {counts.shape}, expected a square")
    if counts.min() < 0:
        raise ShapeError("plot_confusion: the matrix has counts below 0")
    count = len(counts)
    if len(classes) not in (0, count):
        raise ShapeError(f"plot_confusion: {len(classes)} names for {count} classes")
    names = [class_name(classes, i) for i in range(count)]
    images = counts.sum(axis=1, keepdims=True)
    shares = counts / np.maximum(images, 1)
    total = int(counts.sum())
    right = int(np.trace(counts))
    title = title or f"{100 * right / max(total, 1):.2f} % of {total:,} images are right"
    side = min(max(0.72 * min(count, _NUMBERED), 4.0), 13.0)
    figure = new_figure(side + 2.6, side + 1.2, title)
    axes = figure.subplots()
    mark = axes.imshow(100 * shares, cmap="Blues", vmin=0, vmax=100)
    if count <= _NUMBERED:
        for i, j in np.ndindex(count, count):
            if counts[i, j]:
                colour = "white" if shares[i, j] > 0.55 else INK
                text = f"{counts[i, j]:,}\n{_percent(shares[i, j])}"
                axes.text(j, i, text, ha="center", va="center", fontsize=8, color=colour)
    every = math.ceil(count / _NAMED)
    places = range(0, count, every)
    size = 9 if count <= _NUMBERED else 7
    labels = [names[i] for i in places]
    turned = count > _NUMBERED or max(map(len, labels)) > 5
    turn: dict[str, Any] = (
        {"rotation": 45, "ha": "right", "rotation_mode": "anchor"} if turned else {}
    )
    axes.set_xticks(places, labels, fontsize=size, parse_math=False, **turn)
    axes.set_yticks(places, labels, fontsize=size, parse_math=False)
    axes.set_xlabel("answer")
    axes.set_ylabel("true class")
    if count <= _NUMBERED:
        axes.set_xticks(np.arange(count + 1) - 0.5, minor=True)
        axes.set_yticks(np.arange(count + 1) - 0.5, minor=True)
        axes.grid(which="minor", color="#DDDDDD", linewidth=0.5)
        axes.tick_params(which="minor", length=0)
    bar = figure.colorbar(mark, ax=axes, shrink=0.8, pad=0.02)
    bar.set_label("% of the true class", fontsize=9)
    bar.ax.tick_params(labelsize=8)
    return figure


def plot_examples(
    examples: Sequence[Example], classes: Sequence[str] = (), title: str = "", *, columns: int = 6
) -> Any:
    """Images with what the network says of them: the true class, the answer and their probabilities, the loss
    where there is one. Wrong answers are orange and marked with a cross.

    Args:
        examples: of `top_losses`, `misclassified` or `answers`.
        classes: names. title: of the figure. columns: images side by side.

    Returns:
        A figure; see `save_png`.

    Raises:
        ShapeError: there are no examples. DTypeError: arguments are of another type.
        ImportError: matplotlib is not installed.
    """
    integer("plot_examples", "columns", columns, 1)
    if not examples:
        raise ShapeError("plot_examples: there are no examples")
    shown = [picture_of("plot_examples", e.image) for e in examples]
    captions = []
    for e in examples:
        wrong = e.answer != e.label
        lines = [
            f"{'✗' if wrong else '✓'} {class_name(classes, e.answer)} {_percent(e.probability)}"
        ]
        if wrong:
            lines.append(f"true: {class_name(classes, e.label)} {_percent(e.label_probability)}")
        number = f"no. {e.index}"
        lines.append(number if math.isnan(e.loss) else f"{number}, loss {e.loss:.3g}")
        captions.append(("\n".join(lines), ORANGE if wrong else INK))
    return _pictures(shown, captions, title, columns)


def plot_samples(data: Dataset, count: int = 24, *, seed: int = 0, title: str = "") -> Any:
    """Images of a data set with their classes, drawn at random.

    Args:
        data: a data set. count: how many at most. seed: of the choice. title: of the figure.

    Returns:
        A figure; see `save_png`.

    Raises:
        ShapeError: there are no images, or numbers are out of range. DTypeError: arguments are of another type.
        ImportError: matplotlib is not installed.
    """
    integer("plot_samples", "count", count, 1)
    integer("plot_samples", "seed", seed, 0)
    if not isinstance(data, Dataset):
        raise DTypeError(f"plot_samples: expected a data set, got {type(data).__name__}")
    if not len(data):
        raise ShapeError("plot_samples: data has no images")
    random = np.random.default_rng(seed)
    chosen = np.sort(random.choice(len(data), min(count, len(data)), replace=False))
    shown = [picture_of("plot_samples", image) for image in data.fetch(chosen)]
    labels = np.asarray(data.labels)[chosen]
    captions = [(class_name(data.classes, int(label)), INK) for label in labels]
    return _pictures(shown, captions, title, 8)


def _pictures(
    shown: Sequence[NDArray], captions: Sequence[tuple[str, str]], title: str, columns: int
) -> Any:
    columns = min(columns, len(shown))
    rows = math.ceil(len(shown) / columns)
    lines = max(text.count("\n") + 1 for text, _ in captions)
    width = 1.75 if lines > 1 else 1.35
    tallest = max(p.shape[0] / p.shape[1] for p in shown)
    height = width * min(max(tallest, 0.5), 2.0) + 0.17 * lines
    figure = new_figure(max(width * columns, 4.0), height * rows + (0.5 if title else 0.1), title)
    grid = figure.subplots(rows, columns, squeeze=False).ravel()
    for i, axes in enumerate(grid):
        if i >= len(shown):
            axes.set_axis_off()
            continue
        show_picture(axes, shown[i])
        text, colour = captions[i]
        axes.set_title(text, fontsize=8, color=colour, pad=3, parse_math=False)
        for spine in axes.spines.values():
            spine.set(
                color=ORANGE if colour == ORANGE else GREY,
                linewidth=1.2 if colour == ORANGE else 0.5,
            )
    return figure


def _percent(share: float) -> str:
    """Three digits at most; never 100 % of what is not all."""
    value = 100 * share
    if value in (0.0, 100.0):
        return f"{value:.0f} %"
    if value > 99.9:
        return "> 99.9 %"
    return "< 0.1 %" if value < 0.1 else f"{value:.1f} %"
