"""Checks and sizes of windows in one to three dimensions, for functions that run two-dimensional ones.

The messages name the caller's function and dimensions; what passes here fits there.
"""

from __future__ import annotations

import math
from typing import Any

from .._arrays import LAYOUTS, NDArray
from ..errors import DTypeError, ShapeError
from ._args import floating, integer

AXES = {1: ("length",), 2: ("height", "width"), 3: ("depth", "height", "width")}
MOST = 2**31


def several(op: str, what: str, value: Any, count: int, least: int) -> tuple[int, ...]:
    """`count` integers from `least` to 2^31, given as one for all or one each."""
    if isinstance(value, (tuple, list)):
        if len(value) != count:
            names = ", ".join(AXES[count])
            raise ShapeError(
                f"{op}: {what} must be an integer or one each for ({names}), got {len(value)} values"
            )
        found = tuple(integer(op, what, v) for v in value)
    else:
        found = (integer(op, what, value),) * count
    for n in found:
        if not least <= n <= MOST:
            raise ShapeError(f"{op}: {what} must be at least {least} and at most 2^31, got {n}")
    return found


def memory_layout(op: str, layout: Any) -> bool:
    """Whether channels come last."""
    if not isinstance(layout, str) or layout not in LAYOUTS:
        raise ShapeError(f"{op}: layout must be 'NCHW' or 'NHWC', got {layout!r}")
    return layout == "NHWC"


def picture(op: str, x: NDArray, count: int, last: bool) -> tuple[int, tuple[int, ...]]:
    """Channels and spatial sizes of an input of `count` spatial dimensions."""
    floating(op, "input", x)
    order = "N, " + ", ".join("DHW"[-count:] if count > 1 else "L")
    names = f"({order}, C)" if last else f"({order[:1]}, C{order[1:]})"
    if x.ndim != count + 2:
        raise ShapeError(f"{op}: input must be {names}, got shape {x.shape}")
    spatial = x.shape[1:-1] if last else x.shape[2:]
    channels = x.shape[-1] if last else x.shape[1]
    if min(spatial) < 1:
        raise ShapeError(f"{op}: input {names} must have no empty axis, got shape {x.shape}")
    return channels, spatial


def parameters(op: str, x: NDArray, w: NDArray, b: NDArray | None, count: int) -> None:
    """Weight and bias: element types, dimensions, no empty ones."""
    wanted = x.dtype.newbyteorder("=")
    for what, a in (("weight", w), ("bias", b)):
        if a is not None and a.dtype.newbyteorder("=") != wanted:
            raise DTypeError(f"{op}: {what} must be {wanted} like the input, got {a.dtype}")
    if w.ndim != count + 2 or 0 in w.shape:
        raise ShapeError(
            f"{op}: weight must have {count + 2} dimensions, none empty, got shape {w.shape}"
        )


def bias_shape(op: str, b: NDArray | None, channels: int) -> None:
    if b is not None and b.shape != (channels,):
        raise ShapeError(f"{op}: bias must have shape {(channels,)}, got {b.shape}")


def groups_of(op: str, groups: Any, inputs: int, outputs: int) -> int:
    """The number of groups, which divides both numbers of channels."""
    count = integer(op, "groups", groups)
    if count < 1 or inputs % count or outputs % count:
        raise ShapeError(
            f"{op}: groups={count} must divide the {inputs} input and {outputs} output channels"
        )
    return count


def paddings(
    op: str,
    padding: Any,
    kernel: tuple[int, ...],
    stride: tuple[int, ...],
    dilation: tuple[int, ...],
) -> tuple[tuple[int, int], ...]:
    """(before, after) for each axis of a convolution."""
    if not isinstance(padding, str):
        return tuple((p, p) for p in several(op, "padding", padding, len(kernel), 0))
    if padding == "valid":
        return ((0, 0),) * len(kernel)
    if padding != "same":
        raise ShapeError(f"{op}: padding must be integers, 'same' or 'valid', got {padding!r}")
    if max(stride) > 1:
        raise ShapeError(f"{op}: padding='same' needs stride 1, got {stride}")
    totals = [d * (k - 1) for k, d in zip(kernel, dilation, strict=True)]
    return tuple((t // 2, t - t // 2) for t in totals)


def outputs_of(
    op: str,
    spatial: tuple[int, ...],
    kernel: tuple[int, ...],
    stride: tuple[int, ...],
    padding: tuple[tuple[int, int], ...],
    dilation: tuple[int, ...],
) -> tuple[int, ...]:
    """The output sizes of a convolution."""
    result = []
    for name, n, k, s, p, d in zip(
        AXES[len(kernel)], spatial, kernel, stride, padding, dilation, strict=True
    ):
        extent = d * (k - 1) + 1
        if extent > n + sum(p):
            raise ShapeError(
                f"{op}: a kernel of {name} {k} (dilation {d}, extent {extent}) does not fit the "
                f"input of {name} {n} with padding {p[0]} + {p[1]}"
            )
        result.append((n + sum(p) - extent) // s + 1)
    return tuple(result)


def transposed_of(
    op: str,
    spatial: tuple[int, ...],
    kernel: tuple[int, ...],
    stride: tuple[int, ...],
    padding: tuple[int, ...],
    output_padding: tuple[int, ...],
    dilation: tuple[int, ...],
) -> tuple[int, ...]:
    """The output sizes of a transposed convolution."""
    result = []
    for name, n, k, s, p, extra, d in zip(
        AXES[len(kernel)], spatial, kernel, stride, padding, output_padding, dilation, strict=True
    ):
        if extra >= max(s, d):
            raise ShapeError(
                f"{op}: output_padding ({name}) must be smaller than stride or dilation, got "
                f"{extra} with stride {s} and dilation {d}"
            )
        size = (n - 1) * s - 2 * p + d * (k - 1) + extra + 1
        if size < 1:
            raise ShapeError(
                f"{op}: the output {name} would be {size} (input {n}, stride {s}, padding {p}, "
                f"kernel {k})"
            )
        result.append(size)
    return tuple(result)


def representable(op: str, *shapes: tuple[int, ...]) -> None:
    """ShapeError for shapes whose bytes a 64-bit number does not count, empty dimensions left out."""
    for shape in shapes:
        if math.prod(max(n, 1) for n in shape) >= 2**58:
            raise ShapeError(f"{op}: an array of shape {shape} is too large")
