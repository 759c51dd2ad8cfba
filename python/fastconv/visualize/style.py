"""How this package's pictures look, and how they are written."""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import Any

import numpy as np

from .._arrays import NDArray
from ..errors import DTypeError, ShapeError
from ..serialization import PathLike, write_atomically

__all__ = [
    "BLUE",
    "GREY",
    "INK",
    "ORANGE",
    "class_name",
    "clipped",
    "diverging",
    "frame",
    "new_figure",
    "picture_of",
    "png_bytes",
    "save_png",
    "show_picture",
]

# Two colours of Okabe and Ito's palette, told apart by everybody, and greys.
BLUE, ORANGE = "#0072B2", "#D55E00"
INK, GREY = "#222222", "#888888"
_DPI = 110


def new_figure(width: float, height: float, title: str = "") -> Any:
    """An empty figure of width x height inches with a canvas of its own: pyplot is left alone.

    Raises:
        ImportError: matplotlib is not installed.
    """
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError as error:
        raise ImportError(
            'pictures need matplotlib, which is not installed: pip install "fastconv[viz]"'
        ) from error
    figure = Figure(figsize=(width, height), dpi=_DPI, layout="constrained", facecolor="white")
    FigureCanvasAgg(figure)
    if title:
        figure.suptitle(
            clipped(title, 120), fontsize=12, color=INK, fontweight="bold", parse_math=False
        )
    return figure


def png_bytes(figure: Any) -> bytes:
    """A figure as the contents of a PNG file."""
    content = io.BytesIO()
    figure.canvas.print_png(content)
    return content.getvalue()


def save_png(figure: Any, path: PathLike) -> None:
    """Write a figure of this package as a PNG file, atomically.

    Raises:
        DTypeError: it is no figure. OSError: the file cannot be written.
    """
    if not hasattr(getattr(figure, "canvas", None), "print_png"):
        raise DTypeError(f"save_png: expected a figure, got {type(figure).__name__}")
    write_atomically(path, png_bytes(figure))


def frame(axes: Any) -> None:
    """No ticks, a thin frame."""
    axes.set_xticks([])
    axes.set_yticks([])
    for spine in axes.spines.values():
        spine.set(color=GREY, linewidth=0.5)


def clipped(text: str, length: int) -> str:
    """At most so many characters, on one line."""
    text = " ".join(str(text).split())
    return text if len(text) <= length else text[: length - 1] + "…"


def diverging(axes: Any, values: NDArray, limit: float | None = None) -> Any:
    """An array (H, W) from blue (below zero) over white to red (above)."""
    largest = float(np.abs(values).max()) if limit is None else limit
    largest = largest or 1.0
    return axes.imshow(values, cmap="RdBu_r", vmin=-largest, vmax=largest, interpolation="nearest")


def picture_of(op: str, image: Any) -> NDArray:
    """An image as float64 (H, W, 3) from 0 to 1.

    Args:
        image: uint8 (0 to 255) or floating, (H, W), (H, W, 3), (1, H, W), (3, H, W), or (1, C, H, W)
            with C one of these. Floating ones that leave 0 to 1 are stretched to it. Of other numbers of channels
            the mean is shown.

    Raises:
        ShapeError, DTypeError: it is no image.
    """
    array = np.asarray(image)
    if array.dtype != np.uint8 and array.dtype.kind != "f":
        raise DTypeError(f"{op}: the picture is {array.dtype}, expected uint8 or floating")
    if array.ndim == 4 and array.shape[0] == 1:
        array = array[0]
    if array.ndim == 2:
        array = array[np.newaxis]
    elif array.ndim == 3 and array.shape[2] in (1, 3) and array.shape[0] not in (1, 3):
        array = array.transpose(2, 0, 1)
    if array.ndim != 3 or not array.size:
        raise ShapeError(f"{op}: the picture has shape {np.shape(image)}, expected (C, H, W)")
    values = array.astype(np.float64)
    if array.dtype == np.uint8:
        values /= 255
    elif not np.isfinite(values).all():
        raise ShapeError(f"{op}: the picture has values that are not finite")
    elif values.min() < 0 or values.max() > 1:
        values = (values - values.min()) / max(float(np.ptp(values)), 1e-12)
    if values.shape[0] != 3:
        values = np.repeat(values.mean(axis=0, keepdims=True), 3, axis=0)
    return np.ascontiguousarray(values.transpose(1, 2, 0))


def show_picture(axes: Any, picture: NDArray) -> None:
    """A picture of `picture_of`, small ones with visible pixels."""
    small = max(picture.shape[:2]) <= 96
    axes.imshow(picture, interpolation="nearest" if small else "antialiased")
    frame(axes)


def class_name(classes: Sequence[str], label: int) -> str:
    """The name of a class, or its number."""
    return clipped(classes[label], 24) if label < len(classes) else str(label)
