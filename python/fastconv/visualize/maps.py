"""Pictures of feature maps, Grad-CAM and saliency."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from .._arrays import NDArray
from ..errors import DTypeError, ShapeError
from ..nn._args import integer
from .style import frame, new_figure, picture_of, show_picture

__all__ = ["plot_feature_maps", "plot_heat", "plot_overlay"]

_COLUMNS = 12
# Rows of maps on a page, about 900 pixels.
_ROWS = 8


def plot_feature_maps(
    maps: Mapping[str, NDArray], picture: Any = None, *, most: int = 24
) -> list[Any]:
    """Feature maps layer by layer, on pages.

    Args:
        maps: what `feature_maps` gives. Maps (K, P, Q) are shown each on its own scale, dark for its least and
            bright for its largest value; vectors as bars over the features.
        picture: the image, shown on the first page; see `plot_overlay`.
        most: maps of a layer, the first ones.

    Returns:
        Figures, one a page; see `save_png`.

    Raises:
        ShapeError: there are no maps, or one is of another shape. DTypeError: arguments are of another type.
        ImportError: matplotlib is not installed.
    """
    integer("plot_feature_maps", "most", most, 1)
    if not isinstance(maps, Mapping):
        raise DTypeError(f"plot_feature_maps: maps is a {type(maps).__name__}, expected a mapping")
    if not maps:
        raise ShapeError("plot_feature_maps: there are no maps")
    blocks = [_Block(name, np.asarray(values, np.float64), most) for name, values in maps.items()]
    pages: list[list[_Block]] = [[]]
    height = 2 if picture is not None else 0
    for block in blocks:
        if pages[-1] and height + block.rows > _ROWS:
            pages.append([])
            height = 0
        pages[-1].append(block)
        height += block.rows
    return [
        _page(page, picture if number == 0 else None, f"page {number + 1} of {len(pages)}")
        for number, page in enumerate(pages)
    ]


class _Block:
    """A layer on a page."""

    def __init__(self, name: str, values: NDArray, most: int) -> None:
        if values.ndim not in (1, 3) or not values.size:
            raise ShapeError(
                f"plot_feature_maps: {name!r} has shape {values.shape}, expected (K, P, Q) or (features,)"
            )
        if not np.isfinite(values).all():
            raise ShapeError(f"plot_feature_maps: {name!r} has values that are not finite")
        self.maps = values.ndim == 3 and values.shape[1:] != (1, 1)
        self.values = values if self.maps else values.reshape(-1)
        shape = " x ".join(map(str, values.shape))
        self.shown = min(len(values), most) if self.maps else 0
        self.rows = math.ceil(self.shown / _COLUMNS) if self.maps else 1
        kind = f"maps, {shape}" if self.maps else f"{shape} values" if values.ndim == 1 else shape
        part = f" (the first {self.shown})" if 0 < self.shown < len(values) else ""
        low, high = float(values.min()), float(values.max())
        self.title = f"{name or 'network'}   {kind}{part},  {low:.3g} to {high:.3g}"


def _page(blocks: list[_Block], picture: Any, title: str) -> Any:
    heights = [block.rows + 0.35 for block in blocks]
    if picture is not None:
        heights.insert(0, 2.35)
    figure = new_figure(11.0, 0.88 * sum(heights) + 0.5, f"feature maps, {title}")
    parts = np.atleast_1d(figure.subfigures(len(heights), 1, height_ratios=heights)).tolist()
    if picture is not None:
        part = parts.pop(0)
        part.suptitle("image", fontsize=10, x=0.01, ha="left")
        axes = part.subplots()
        axes.set_anchor("W")
        show_picture(axes, picture_of("plot_feature_maps", picture))
    for block, part in zip(blocks, parts, strict=True):
        part.suptitle(block.title, fontsize=10, x=0.01, ha="left", parse_math=False)
        if not block.maps:
            axes = part.subplots()
            count = len(block.values)
            axes.bar(np.arange(count), block.values, width=0.9, color="#0072B2")
            axes.axhline(0, color="#888888", linewidth=0.5)
            axes.set_xlim(-0.6, count - 0.4)
            axes.xaxis.get_major_locator().set_params(integer=True)
            axes.tick_params(labelsize=7)
            continue
        grid = part.subplots(block.rows, _COLUMNS, squeeze=False).ravel()
        for i, axes in enumerate(grid):
            if i < block.shown:
                axes.imshow(block.values[i], cmap="viridis", interpolation="nearest")
                frame(axes)
            else:
                axes.set_axis_off()
    return figure


def plot_overlay(
    picture: Any, heat: NDArray, title: str = "", *, name: str = "Grad-CAM", unit: str = ""
) -> Any:
    """An image, a heat map of it, and the one over the other.

    Args:
        picture: uint8 (0 to 255) or floating, (C, H, W) or (H, W, 3).
        heat: (H', W'), not negative; stretched over the picture.
        title: of the figure. name: of the heat map. unit: of its numbers.

    Returns:
        A figure; see `save_png`.

    Raises:
        ShapeError, DTypeError: picture or heat map are none. ImportError: matplotlib is not installed.
    """
    shown = picture_of("plot_overlay", picture)
    values = _checked_heat("plot_overlay", heat)
    height, width = shown.shape[:2]
    tall = min(max(3.6 * height / width, 1.6), 7.0)
    figure = new_figure(12.0, tall + 0.8, title)
    left, middle, right = figure.subplots(1, 3)
    extent = (-0.5, width - 0.5, height - 0.5, -0.5)
    show_picture(left, shown)
    left.set_title("image", fontsize=10)
    mark = plot_heat(middle, values, extent)
    middle.set_title(name, fontsize=10)
    grey = np.repeat(shown.mean(axis=2, keepdims=True), 3, axis=2)
    show_picture(right, 0.25 + 0.75 * grey)
    peak = float(values.max()) or 1.0
    right.imshow(
        values,
        cmap="inferno",
        alpha=np.clip(1.2 * values / peak, 0.0, 0.75),
        extent=extent,
        vmin=0.0,
        vmax=peak,
    )
    right.set_title(f"{name} over the image", fontsize=10)
    bar = figure.colorbar(mark, ax=right, shrink=0.85, pad=0.02)
    bar.set_label(unit, fontsize=9)
    bar.ax.tick_params(labelsize=8)
    return figure


def plot_heat(axes: Any, values: NDArray, extent: tuple[float, ...]) -> Any:
    """A heat map, black for 0."""
    peak = float(values.max()) or 1.0
    frame(axes)
    return axes.imshow(values, cmap="inferno", vmin=0.0, vmax=peak, extent=extent)


def _checked_heat(op: str, heat: Any) -> NDArray:
    values = np.asarray(heat)
    if values.dtype.kind != "f":
        raise DTypeError(f"{op}: the heat map is {values.dtype}, expected floating")
    if values.ndim != 2 or not values.size:
        raise ShapeError(f"{op}: the heat map has shape {values.shape}, expected (H, W)")
    if not np.isfinite(values).all() or values.min() < 0:
        raise ShapeError(f"{op}: the heat map must be finite and not negative")
    return values
