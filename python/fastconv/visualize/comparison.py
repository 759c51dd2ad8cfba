"""A picture of figures that several runs of several variants gave."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from ..errors import DTypeError, ShapeError
from .style import BLUE, GREY, INK, ORANGE, clipped, new_figure

__all__ = ["plot_comparison"]

_COLUMNS = 2


def plot_comparison(
    panels: Sequence[tuple[str, Sequence[tuple[str, Sequence[float]]]]],
    title: str = "",
    *,
    label: str = "accuracy, %",
) -> Any:
    """A panel for each comparison: a line for each variant with all its runs, their mean and its standard error.

    The highest mean of a panel is orange.

    Args:
        panels: (title, variants) for each; a variant is (name, figures of its runs), with one run at least.
        title: of the figure. label: of the figures.

    Returns:
        A figure; see `save_png`.

    Raises:
        ShapeError: there are no panels, variants or runs, or figures are not finite.
        DTypeError: they are no numbers.
        ImportError: matplotlib is not installed.
    """
    if not panels or not all(variants for _, variants in panels):
        raise ShapeError("plot_comparison: expected one panel at least, with one variant each")
    for _, variants in panels:
        for name, values in variants:
            array = np.asarray(values)
            if array.dtype.kind not in "fiu":
                raise DTypeError(f"plot_comparison: figures of {name!r} are {array.dtype}")
            if array.ndim != 1 or not array.size or not np.isfinite(array).all():
                raise ShapeError(
                    f"plot_comparison: {name!r} has figures of shape {array.shape}, expected a row of finite ones"
                )
    columns = min(_COLUMNS, len(panels))
    rows = [panels[i : i + columns] for i in range(0, len(panels), columns)]
    heights = [0.9 + 0.3 * max(len(variants) for _, variants in row) for row in rows]
    figure = new_figure(6.2 * columns, sum(heights) + (0.5 if title else 0.1), title)
    grid = figure.subplots(
        len(rows), columns, squeeze=False, gridspec_kw={"height_ratios": heights}
    )
    for axes in grid.ravel()[len(panels) :]:
        axes.set_axis_off()
    for axes, (name, variants) in zip(grid.ravel(), panels, strict=False):
        _draw_panel(axes, variants)
        axes.set_title(clipped(name, 70), fontsize=10, color=INK, loc="left", parse_math=False)
        axes.set_xlabel(label, fontsize=9)
    return figure


def _draw_panel(axes: Any, variants: Sequence[tuple[str, Sequence[float]]]) -> None:
    means = [float(np.mean(values)) for _, values in variants]
    best = int(np.argmax(means))
    for place, (_, values) in enumerate(variants):
        colour = ORANGE if place == best else BLUE
        axes.plot(values, [place] * len(values), "o", color=GREY, markersize=3.5, alpha=0.6)
        error = np.std(values, ddof=1) / math.sqrt(len(values)) if len(values) > 1 else 0.0
        axes.errorbar(
            means[place],
            place,
            xerr=error or None,
            fmt="o",
            color=colour,
            markersize=6,
            capsize=3,
            linewidth=1.2,
        )
        axes.annotate(
            f"{means[place]:.2f}",
            (1.0, place),
            xycoords=("axes fraction", "data"),
            xytext=(5, 0),
            textcoords="offset points",
            va="center",
            fontsize=8,
            color=colour if place == best else INK,
            fontweight="bold" if place == best else "normal",
        )
    names = [clipped(name, 48) for name, _ in variants]
    axes.set_yticks(range(len(variants)), names, fontsize=8, parse_math=False)
    axes.set_ylim(len(variants) - 0.5, -0.5)
    axes.tick_params(axis="x", labelsize=8)
    axes.grid(axis="x", alpha=0.3)
    axes.spines[["top", "right"]].set_visible(False)
