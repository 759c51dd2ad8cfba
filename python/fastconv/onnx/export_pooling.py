"""Translators: pooling over sliding, adaptive and global windows."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..errors import CaptureError
from .export_layers import reduced
from .export_recording import Shape, Step
from .export_shapes import sliced
from .export_translation import Axes, Translation, channels_first, ordered, translates
from .export_windows import windowed

_Pair = tuple[int, int]


@translates("pool2d")
def _pool2d(t: Translation, step: Step) -> None:
    axes = channels_first(t.get(step, "layout"), 4)
    spatial = [axes.index(2), axes.index(3)]
    size = t.fixed(step, step.operands[0], spatial)
    made = t.fixed(step, step.results[0], spatial)
    x = t.arranged(step.operands[0], axes)
    maximum = t.get(step, "kind") == "max"
    # Taps of maxima are a result that only `return_indices` reads.
    taps = step.results[1] if maximum and step.results[1:] else None
    if taps not in t.trace.read:
        taps = None
    if t.get(step, "adaptive"):
        windows = _even_windows(size, made)
        if windows is None:
            if taps is not None:
                raise CaptureError(
                    "export: positions of adaptive maxima whose windows differ in size have no translation"
                )
            name = _ragged_max(t, x, size, made) if maximum else _ragged_mean(t, x, size, made)
            return t.put(step.results[0], name, axes)
        if size == made and taps is None:
            return t.put(step.results[0], x, axes)
        if made == (1, 1) and taps is None:
            op = "GlobalMaxPool" if maximum else "GlobalAveragePool"
            return t.put(step.results[0], t.emit(op, [x]), axes)
    else:
        windows = {
            "kernel": t.get(step, "kernel_size"),
            "stride": t.get(step, "stride"),
            "padding": t.get(step, "padding"),
            "dilation": t.get(step, "dilation"),
        }
    if maximum:
        return _max(t, step, axes, windows, size, made, taps)
    t.put(step.results[0], _mean(t, step, axes, windows, size, made), axes)


def _even_windows(size: Shape, made: Shape) -> dict[str, Any] | None:
    """Adaptive windows as sliding ones, where they are alike."""
    if any(n % m for n, m in zip(size, made, strict=True)):
        return None
    kernel = tuple(n // m for n, m in zip(size, made, strict=True))
    return {"kernel": kernel, "stride": kernel, "padding": (0, 0), "dilation": (1, 1)}


def _ends(windows: dict[str, Any], size: Shape, made: Shape) -> list[int]:
    """The border at the end that the last windows reach into; `ceil_mode` makes it larger than the padding.

    Written out because runtimes disagree about `ceil_mode`, but for the simplest case.
    """
    stride, padding = windows["stride"], windows["padding"]
    spans = [d * (k - 1) + 1 for d, k in zip(windows["dilation"], windows["kernel"], strict=True)]
    return [
        max(padding[i], (made[i] - 1) * stride[i] + spans[i] - size[i] - padding[i])
        for i in range(2)
    ]


def _plainly_rounded_up(windows: dict[str, Any], size: Shape, made: Shape) -> bool:
    """Whether `ceil_mode` means the same everywhere: there is no padding and no window starts outside."""
    if any(windows["padding"]) or _ends(windows, size, made) == [0, 0]:
        return False
    return all(
        m == -(-(n - d * (k - 1) - 1) // s) + 1
        for m, n, k, s, d in zip(
            made, size, windows["kernel"], windows["stride"], windows["dilation"], strict=True
        )
    )


def _max(
    t: Translation,
    step: Step,
    axes: Axes,
    windows: dict[str, Any],
    size: Shape,
    made: Shape,
    taps: int | None,
) -> None:
    pads = [*windows["padding"], *_ends(windows, size, made)]
    attributes = {
        "kernel_shape": windows["kernel"],
        "strides": windows["stride"],
        "pads": pads,
        "dilations": windows["dilation"],
    }
    if _plainly_rounded_up(windows, size, made):
        attributes |= {"pads": [0, 0, 0, 0], "ceil_mode": 1}
        pads = [0, 0, 0, 0]
    x = t.arranged(step.operands[0], axes)
    if any(p >= k for p, k in zip(pads[2:], windows["kernel"], strict=True)):
        # More than a pooling of ONNX may pad: by a node of its own.
        if taps is not None:
            raise CaptureError(
                "export: positions of maxima whose windows end that far outside have no translation"
            )
        edges = t.graph.ints([0, 0, *pads[:2], 0, 0, *pads[2:]])
        padded = t.emit("Pad", [x, edges, t.graph.floats(-np.inf)], mode="constant")
        name = t.emit("MaxPool", [padded], **{**attributes, "pads": [0, 0, 0, 0]})
        t.put(step.results[0], name, axes)
    elif taps is None:
        windowed(t, step, "MaxPool", [step.operands[0]], axes, attributes)
    else:
        name, index = t.emit_many("MaxPool", [x], 2, **attributes)
        t.put(step.results[0], name, axes)
        t.put(taps, index, axes)


@translates("pool2d_positions")
def _positions(t: Translation, step: Step) -> None:
    """ONNX counts from the first element of the whole array, we from that of the plane."""
    view = t.view(step.operands[0])
    layout = t.get(step, "layout")
    height, width = ordered(t.trace.attributes(step, "shape")[0], channels_first(layout, 4))[2:]
    t.put(step.results[0], t.emit("Mod", [view.name, t.graph.ints(height * width)]), view.axes)


def _mean(
    t: Translation, step: Step, axes: Axes, windows: dict[str, Any], size: Shape, made: Shape
) -> str:
    kernel, stride, padding = windows["kernel"], windows["stride"], windows["padding"]
    ends = _ends(windows, size, made)
    include = bool(t.get(step, "count_include_pad"))
    override = t.get(step, "divisor_override") or 0
    attributes = {
        "kernel_shape": kernel,
        "strides": stride,
        "pads": [*padding, *ends],
        "count_include_pad": int(include or override != 0),
    }
    name = windowed(t, step, "AveragePool", [step.operands[0]], axes, attributes)
    taps = kernel[0] * kernel[1]
    if override:
        return t.emit("Mul", [name, t.graph.floats(taps / override)])
    if not include or ends == list(padding):
        return name
    # Only the padding counts, not what lies beyond it: the divisors are not the same everywhere.
    counts = [
        [min(i * stride[d] + kernel[d], size[d] + 2 * padding[d]) - i * stride[d] for i in range(n)]
        for d, n in enumerate(made)
    ]
    return t.emit("Mul", [name, t.graph.floats(taps / np.outer(counts[0], counts[1]))])


def _bounds(size: int, made: int) -> list[_Pair]:
    """The windows of adaptive pooling along one direction."""
    return [(i * size // made, -(-(i + 1) * size // made)) for i in range(made)]


def _ragged_mean(t: Translation, x: str, size: Shape, made: Shape) -> str:
    """Windows that differ in size: a product with a matrix of shares for each direction."""
    matrices = []
    for n, m in zip(size, made, strict=True):
        shares = np.zeros((m, n), np.float32)
        for i, (start, stop) in enumerate(_bounds(n, m)):
            shares[i, start:stop] = 1 / (stop - start)
        matrices.append(shares)
    x = t.emit("MatMul", [x, t.graph.floats(matrices[1].T)])
    return t.emit("MatMul", [t.graph.floats(matrices[0]), x])


def _ragged_max(t: Translation, x: str, size: Shape, made: Shape) -> str:
    """Windows that differ in size: the maxima of each, one direction after the other."""
    for axis, n, m in zip((2, 3), size, made, strict=True):
        parts = [
            reduced(t, "ReduceMax", sliced(t, x, [start], [stop], [axis]), [axis], True)
            for start, stop in _bounds(n, m)
        ]
        x = t.emit("Concat", parts, axis=axis)
    return x
