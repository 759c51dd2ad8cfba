"""Pad."""

from __future__ import annotations

from typing import Any

import numpy as np

from ... import functional as F
from ...errors import ShapeError
from ...tensor import Tensor
from ..graph import Node
from .registry import Inputs, at, axes, computed, integers, known, limited, scalar

_MODES = {"constant": "constant", "edge": "replicate", "reflect": "reflect", "wrap": "circular"}
_NUMPY_MODES = {"edge": "edge", "reflect": "reflect", "wrap": "wrap"}


def amounts(node: Node, ndim: int, inputs: Inputs) -> tuple[list[int], list[int]]:
    """What is added before and after each dimension."""
    if node.version < 11:
        pads, where = node.get("pads"), None
    else:
        pads = integers(node, "pads", inputs[1])
        where = integers(node, "axes", at(inputs, 3))
    dims = axes(node, where, ndim)
    if pads is None or len(pads) != 2 * len(dims):
        raise ShapeError(f"onnx: {node}: expects {2 * len(dims)} pads, got {pads}")
    before, after = [0] * ndim, [0] * ndim
    for i, d in enumerate(dims):
        before[d], after[d] = pads[i], pads[i + len(dims)]
    return before, after


@known("Pad")
@computed("Pad")
def _pad(node: Node, inputs: Inputs, training: bool) -> Any:
    x: Any = inputs[0]
    before, after = amounts(node, x.ndim, inputs)
    mode = node.get("mode", "constant")
    if mode not in _MODES:
        raise ShapeError(f"onnx: {node}: the mode {mode!r} does not exist")
    fill = 0.0
    if mode == "constant":
        fill = (
            node.get("value", 0.0)
            if node.version < 11
            else scalar(node, "constant_value", at(inputs, 2), 0.0)
        )
    sizes = [s + b + a for s, b, a in zip(x.shape, before, after, strict=True)]
    if min(sizes, default=0) < 0:
        raise ShapeError(f"onnx: {node}: pads {before} and {after} of {x.shape}")
    if not any(before) and not any(after):
        return x
    if isinstance(x, Tensor):
        pairs = [a for pair in reversed(list(zip(before, after, strict=True))) for a in pair]
        while len(pairs) > 2 and pairs[-2:] == [0, 0]:
            pairs = pairs[:-2]
        return F.pad(x, pairs, _MODES[mode], fill)
    limited(
        node,
        [s + max(b, 0) + max(a, 0) for s, b, a in zip(x.shape, before, after, strict=True)],
        x.dtype,
    )
    cropped = x[
        tuple(
            slice(max(-b, 0), s - max(-a, 0))
            for s, b, a in zip(x.shape, before, after, strict=True)
        )
    ]
    widths = [(max(b, 0), max(a, 0)) for b, a in zip(before, after, strict=True)]
    if mode == "constant":
        return np.pad(cropped, widths, constant_values=np.asarray(fill).astype(x.dtype))
    how: Any = _NUMPY_MODES[mode]
    try:
        return np.pad(cropped, widths, mode=how)
    except ValueError as error:
        raise ShapeError(f"onnx: {node}: {error}") from error
