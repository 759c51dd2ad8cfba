"""The classical filters of image processing, as convolutions of a photograph."""

from __future__ import annotations

from typing import Any

import numpy as np

from .. import functional as F
from .._arrays import NDArray
from ..errors import ShapeError
from ..nn._args import integer
from .style import frame, new_figure, picture_of, show_picture

__all__ = ["CLASSICAL_FILTERS", "classical_filter", "plot_classical_filters", "plot_geometry"]

_GAUSS = np.outer([1, 4, 6, 4, 1], [1, 4, 6, 4, 1]) / 256

# Name -> (kernel, what is shown: "colour" each channel, "edges" the size of what comes out of the grey picture,
# "signed" that with mid-grey for 0).
CLASSICAL_FILTERS: dict[str, tuple[NDArray, str]] = {
    "identity": (np.array([[0, 0, 0], [0, 1, 0], [0, 0, 0]], float), "colour"),
    "Sobel x": (np.array([[-1, 0, 1], [-2, 0, 2], [-1, 0, 1]], float), "signed"),
    "Sobel y": (np.array([[-1, -2, -1], [0, 0, 0], [1, 2, 1]], float), "signed"),
    "Laplacian": (np.array([[0, 1, 0], [1, -4, 1], [0, 1, 0]], float), "edges"),
    "outline": (np.array([[-1, -1, -1], [-1, 8, -1], [-1, -1, -1]], float), "edges"),
    "sharpen": (np.array([[0, -1, 0], [-1, 5, -1], [0, -1, 0]], float), "colour"),
    "box blur": (np.full((5, 5), 1 / 25), "colour"),
    "Gaussian blur": (_GAUSS, "colour"),
    "emboss": (np.array([[-2, -1, 0], [-1, 1, 1], [0, 1, 2]], float), "colour"),
}

# Luma of ITU-R BT.601.
_LUMA = np.array([0.299, 0.587, 0.114])
_SIDE = 640
_KINDS = {
    "colour": "each colour, cut to 0 … 1",
    "signed": "of grey; mid-grey is 0",
    "edges": "of grey; size of the result",
}


def classical_filter(
    picture: Any, kernel: Any, *, stride: int = 1, padding: int | None = None
) -> NDArray:
    """A picture convolved with one kernel, each channel by itself (`F.conv2d` with as many groups).

    As everywhere in convolutional networks it is a cross-correlation: the kernel is not turned over.

    Args:
        picture: uint8 (0 to 255) or floating, (H, W, 3), (H, W) or (C, H, W).
        kernel: (R, S) numbers, odd R and S.
        stride: step, in pixels.
        padding: zeros on each side; None repeats the pixels at the edge, so that at stride 1 the size stays.

    Returns:
        float64 (H', W', 3), not cut off: with padding p, H' = floor((H + 2 p - R) / stride) + 1.

    Raises:
        ShapeError, DTypeError: arguments do not fit.
    """
    shown = picture_of("classical_filter", picture)
    weights = np.asarray(kernel, np.float64)
    if weights.ndim != 2 or not all(n % 2 for n in weights.shape):
        raise ShapeError(
            f"classical_filter: the kernel has shape {weights.shape}, expected (R, S), both odd"
        )
    x = shown.transpose(2, 0, 1)
    if padding is None:
        above, beside = (n // 2 for n in weights.shape)
        x = np.pad(x, ((0, 0), (above, above), (beside, beside)), mode="edge")
    stacked = np.ascontiguousarray(np.broadcast_to(weights, (3, 1, *weights.shape)))
    y = F.conv2d(
        np.ascontiguousarray(x[np.newaxis]),
        stacked,
        stride=integer("classical_filter", "stride", stride, 1),
        padding=0 if padding is None else integer("classical_filter", "padding", padding, 0),
        groups=3,
    )
    return np.array(np.asarray(y)[0].transpose(1, 2, 0))


def plot_classical_filters(photograph: Any) -> Any:
    """A photograph through identity, Sobel in x and y, Laplacian, outline, sharpen, box and Gaussian blur and
    emboss, each with its kernel.

    Args:
        photograph: uint8 (0 to 255) or floating, (H, W, 3), (H, W) or (C, H, W). Large ones are made smaller by
            means of whole blocks of pixels.

    Returns:
        A figure; see `save_png`.

    Raises:
        ShapeError, DTypeError: it is no picture. ImportError: matplotlib is not installed.
    """
    shown = _reduced("plot_classical_filters", photograph, _SIDE)
    grey = shown @ _LUMA
    height, width = shown.shape[:2]
    tall = min(max(3.6 * height / width, 1.8), 5.4)
    figure = new_figure(
        12.0,
        3 * (tall + 0.55) + 0.5,
        f"classical filters through conv2d, {height} x {width} pixels",
    )
    panels = figure.subplots(3, 3).ravel()
    for axes, (name, (kernel, kind)) in zip(panels, CLASSICAL_FILTERS.items(), strict=True):
        if kind == "colour":
            result = np.clip(classical_filter(shown, kernel), 0.0, 1.0)
        else:
            values = classical_filter(grey, kernel)
            # the brightest hundredth may be cut off, so that the rest is seen
            scale = float(np.quantile(np.abs(values), 0.99)) or 1.0
            values = values / scale
            result = np.clip(0.5 + 0.5 * values if kind == "signed" else np.abs(values), 0.0, 1.0)
        axes.imshow(result, interpolation="antialiased")
        frame(axes)
        axes.set_title(f"{name}\n", fontsize=11, fontweight="bold", pad=4)
        axes.text(
            0.5,
            1.02,
            _KINDS[kind],
            transform=axes.transAxes,
            ha="center",
            va="bottom",
            fontsize=8.5,
        )
        _kernel_table(axes, kernel)
    return figure


def _kernel_table(axes: Any, kernel: NDArray) -> None:
    """The kernel's numbers in a corner, as integers over a common divisor."""
    divisor = 1 if np.array_equal(kernel, kernel.round()) else round(1 / float(kernel.min()))
    rows = [" ".join(f"{round(v * divisor):2d}" for v in row) for row in kernel]
    text = "\n".join(rows) + ("" if divisor == 1 else f"\n/ {divisor}")
    axes.text(
        0.02,
        0.03,
        text,
        transform=axes.transAxes,
        fontsize=7,
        family="monospace",
        va="bottom",
        bbox={"facecolor": "white", "alpha": 0.85, "edgecolor": "none", "pad": 2.5},
    )


def plot_geometry(photograph: Any, *, kernel_size: int = 5, side: int = 64) -> Any:
    """What stride and padding do: a small version of a photograph through a box blur, with results of strides
    1, 2 and 4 (columns) and no padding, half the kernel and twice as much (rows), all on one scale.

    Args:
        photograph: as of `plot_classical_filters`.
        kernel_size: of the blur, odd, at least 3.
        side: what the longer side is reduced to at most, in pixels; at least 16.

    Returns:
        A figure; see `save_png`.

    Raises:
        ShapeError, DTypeError: arguments do not fit. ImportError: matplotlib is not installed.
    """
    size = integer("plot_geometry", "kernel_size", kernel_size, 3)
    if not size % 2:
        raise ShapeError(f"plot_geometry: kernel_size must be odd, got {size}")
    shown = _reduced("plot_geometry", photograph, integer("plot_geometry", "side", side, 16))
    height, width = shown.shape[:2]
    if min(height, width) < size:
        raise ShapeError(
            f"plot_geometry: the picture has {height} x {width} pixels, expected at least {size} each way"
        )
    paddings = (0, size // 2, size - 1)
    names = ('no padding ("valid")', 'half the kernel ("same" at stride 1)', "the kernel less one")
    most = (height + size - 1, width + size - 1)
    tall = min(max(2.7 * most[0] / most[1], 1.4), 4.5)
    figure = new_figure(
        12.0,
        3 * (tall + 0.6) + 1.0,
        f"stride and padding: box blur {size} x {size} of {height} x {width} pixels",
    )
    grid = figure.subplots(3, 4)
    kernel = np.full((size, size), 1 / size**2)
    for i, padding in enumerate(paddings):
        first = grid[i, 0]
        padded = np.pad(shown, ((padding, padding), (padding, padding), (0, 0)))
        _to_scale(first, padded, most)
        first.set_title(
            f"input with {padding} zeros a side\n{height} x {width}"
            + (f" → {padded.shape[0]} x {padded.shape[1]}" if padding else ""),
            fontsize=9,
        )
        first.set_ylabel(f"padding {padding}:\n{names[i]}", fontsize=9)
        for axes, stride in zip(grid[i, 1:], (1, 2, 4), strict=True):
            result = classical_filter(shown, kernel, stride=stride, padding=padding)
            _to_scale(axes, np.clip(result, 0.0, 1.0), most)
            axes.set_title(
                f"stride {stride}: {result.shape[0]} x {result.shape[1]}\n"
                f"⌊({height} + 2·{padding} - {size}) / {stride}⌋ + 1 = {result.shape[0]}",
                fontsize=9,
            )
    return figure


def _to_scale(axes: Any, picture: NDArray, most: tuple[int, int]) -> None:
    """A picture whose pixels are as large as in the other panels, in the middle."""
    show_picture(axes, picture)
    for spine in axes.spines.values():
        spine.set_visible(False)
    height, width = picture.shape[:2]
    axes.set_xlim((width - most[1]) / 2 - 0.5, (width + most[1]) / 2 - 0.5)
    axes.set_ylim((height + most[0]) / 2 - 0.5, (height - most[0]) / 2 - 0.5)
    axes.set_facecolor("#F2F2F2")


def _reduced(op: str, photograph: Any, side: int) -> NDArray:
    """(H, W, 3) from 0 to 1 with sides of at most `side` pixels."""
    shown = picture_of(op, photograph)
    height, width = shown.shape[:2]
    if min(height, width) < 8:
        raise ShapeError(
            f"{op}: the picture has {height} x {width} pixels, expected at least 8 x 8"
        )
    step = -(-max(height, width) // side)
    if step > 1:
        rows, columns = height // step, width // step
        if not rows or not columns:
            raise ShapeError(f"{op}: the picture of {height} x {width} pixels is too narrow")
        blocks = shown[: rows * step, : columns * step].reshape(rows, step, columns, step, 3)
        shown = blocks.mean(axis=(1, 3))
    return np.ascontiguousarray(shown)
