"""Nodes whose windows move over pictures, or over rows where pictures are rows of height 1."""

from __future__ import annotations

from typing import Any

from .export_recording import Step
from .export_translation import Axes, Translation, ordered

# Attributes with one number for each direction; pads have the beginnings, then the ends.
_PAIRS = ("kernel_shape", "strides", "dilations", "output_padding")


def windowed(
    t: Translation,
    step: Step,
    op: str,
    operands: list[int | None],
    axes: Axes,
    attributes: dict[str, Any],
) -> str:
    """Add a node and make its result that of `step`.

    One-dimensional convolution and pooling are recorded as two-dimensional ones of height 1, between reshapes:
    these come out with one dimension again.

    Args:
        operands: the picture, seen through `axes`, and where there are any the weight and the bias.
        attributes: of the node in two dimensions.
    """
    source, *rest = operands
    names = [t.arranged(source, axes), *(t.plain(v) for v in rest if v is not None)]
    shapes = [[ordered(shape, axes) for shape in t.shapes(source)]]
    shapes += [t.shapes(v) for v in rest[:1]]
    rows = [t.row(name, s) for name, s in zip(names, shapes, strict=False)]
    result = [ordered(shape, axes) for shape in t.shapes(step.results[0])]
    pads = attributes["pads"]
    flat = attributes["kernel_shape"][0] == 1 and pads[0] == pads[2] == 0 and result[0][2] == 1
    if not flat or None in rows:
        name = t.emit(op, names, **attributes)
    else:
        names[: len(rows)] = [row for row in rows if row is not None]
        one = {k: v[1:] if k in _PAIRS else v for k, v in attributes.items()}
        one["pads"] = [pads[1], pads[3]]
        name = t.emit(op, names, **one)
        name = t.reshaped(step, name, [(*s[:2], s[3]) for s in result], result)
    t.put(step.results[0], name, axes)
    return name
