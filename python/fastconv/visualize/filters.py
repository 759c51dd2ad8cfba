"""A layer's filters as pictures."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from .._arrays import NDArray
from ..errors import ShapeError
from ..nn import Module
from ..nn._args import integer
from .layers import checked_net, convolutions, find_layer, layer_weight
from .style import diverging, frame, new_figure

__all__ = ["layer_filters", "plot_filters"]

_COLOUR = 3
_MOST_INPUTS = 16


def layer_filters(net: Module, layer: str | None = None) -> tuple[str, NDArray]:
    """The name of a convolution and its weights, float64 (K, C/groups, R, S); by default the first one's.

    Raises:
        ShapeError: there is no such layer, or it has no filters. DTypeError: arguments are of another type.
    """
    checked_net("layer_filters", net)
    if layer is None:
        names = convolutions(net)
        if not names:
            raise ShapeError("layer_filters: the network has no convolution")
        layer = names[0]
    name, module = find_layer("layer_filters", net, layer)
    weight = layer_weight(net, name)
    if weight is None or weight.ndim != 4:
        kind = getattr(module, "op", type(module).__name__)
        raise ShapeError(f"layer_filters: {name!r} is a {kind}, expected a convolution of pictures")
    array = np.asarray(weight).astype(np.float64)
    if not np.isfinite(array).all():
        raise ShapeError(f"layer_filters: {name!r} has weights that are not finite")
    return name, array


def plot_filters(net: Module, layer: str | None = None, *, most: int = 64) -> Any:
    """The filters of a convolution as a labelled grid.

    Filters on three channels are shown in colours, each stretched about zero (mid-grey) to its largest weight;
    those on one channel by sign, blue below and red above zero, on one scale for the layer. Of others each
    row is a filter and each column an input channel, as many as are legible, with the norm of the whole filter
    beside it.

    Args:
        net: a network.
        layer: name of a convolution; by default the first.
        most: how many filters to show, the first ones.

    Returns:
        A figure; see `save_png`.

    Raises:
        ShapeError: there is no such layer. DTypeError: arguments are of another type.
        ImportError: matplotlib is not installed.
    """
    integer("plot_filters", "most", most, 1)
    name, weights = layer_filters(net, layer)
    count, channels, height, width = weights.shape
    shown = min(count, most)
    first = "" if shown == count else f", the first {shown}"
    title = f"{name}: {count} filters of {channels} x {height} x {width}{first}"
    if channels in (1, _COLOUR):
        return _grid(weights[:shown], title)
    return _rows(weights[: min(shown, _MOST_INPUTS)], count, name)


def _grid(weights: NDArray, title: str) -> Any:
    count, channels = weights.shape[:2]
    columns = min(count, max(4, math.ceil(math.sqrt(1.6 * count))))
    rows = math.ceil(count / columns)
    columns = math.ceil(count / rows)  # the last row as full as the others
    size = 1.0 if count > 12 else 1.35
    extra = 0.0 if channels == _COLOUR else 0.9
    figure = new_figure(max(columns * size + extra, 6.0), rows * (size + 0.2) + 0.6, title)
    grid = np.atleast_1d(figure.subplots(rows, columns)).ravel()
    limit = float(np.abs(weights).max())
    mark = None
    for i, axes in enumerate(grid):
        if i >= count:
            axes.set_axis_off()
            continue
        if channels == _COLOUR:
            own = float(np.abs(weights[i]).max()) or 1.0
            axes.imshow((0.5 + 0.5 * weights[i] / own).transpose(1, 2, 0), interpolation="nearest")
        else:
            mark = diverging(axes, weights[i, 0], limit)
        frame(axes)
        axes.set_title(str(i), fontsize=8, pad=2)
    if mark is not None:
        bar = figure.colorbar(mark, ax=list(grid), shrink=0.8, pad=0.02, aspect=30)
        bar.set_label("weight", fontsize=9)
        bar.ax.tick_params(labelsize=8)
    return figure


def _rows(weights: NDArray, count: int, name: str) -> Any:
    shown, channels, height, width = weights.shape
    columns = min(channels, _MOST_INPUTS)
    norms = np.sqrt((weights**2).sum(axis=(1, 2, 3)))
    some = (
        ""
        if (shown, columns) == (count, channels)
        else (f", filters 0 to {shown - 1}, input channels 0 to {columns - 1}")
    )
    title = f"{name}: {count} filters of {channels} x {height} x {width}{some}"
    size = 0.55
    figure = new_figure(columns * size + 2.6, shown * size + 1.1, title)
    ratios = [1.0] * columns + [2.0]
    grid = figure.subplots(shown, columns + 1, squeeze=False, width_ratios=ratios)
    limit = float(np.abs(weights[:, :columns]).max())
    mark = None
    for k in range(shown):
        for c in range(columns):
            mark = diverging(grid[k, c], weights[k, c], limit)
            frame(grid[k, c])
            if k == 0:
                grid[k, c].set_title(str(c), fontsize=8, pad=2)
        grid[k, 0].set_ylabel(str(k), fontsize=8, rotation=0, ha="right", va="center")
        axes = grid[k, columns]
        axes.barh([0], [norms[k]], color="#888888", height=0.5)
        axes.set(xlim=(0, 1.5 * (norms.max() or 1.0)), ylim=(-0.6, 0.6))
        axes.text(norms[k], 0, f" {norms[k]:.2g}", va="center", fontsize=7)
        axes.set_axis_off()
        if k == 0:
            axes.set_title("norm", fontsize=8, pad=2)
    figure.supylabel("filter", fontsize=9)
    figure.supxlabel("input channel", fontsize=9)
    bar = figure.colorbar(mark, ax=grid.ravel().tolist(), shrink=0.8, pad=0.02, aspect=30)
    bar.set_label("weight", fontsize=9)
    bar.ax.tick_params(labelsize=8)
    return figure
