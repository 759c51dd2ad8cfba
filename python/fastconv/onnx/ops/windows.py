"""Sliding windows as ONNX describes them: kernel, strides, dilations, and padding by rule or number."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from ... import functional as F
from ...errors import ShapeError
from ..graph import Node

MAX_SPATIAL = 3


@dataclass(frozen=True)
class Windows:
    """Windows over the spatial dimensions; one value a dimension in each field."""

    kernel: tuple[int, ...]
    stride: tuple[int, ...]
    dilation: tuple[int, ...]
    begin: tuple[int, ...]
    end: tuple[int, ...]

    @property
    def symmetric(self) -> bool:
        return self.begin == self.end

    def extent(self, d: int) -> int:
        return self.dilation[d] * (self.kernel[d] - 1) + 1

    def outputs(self, sizes: Sequence[int], ceil_mode: bool = False) -> tuple[int, ...]:
        """How many windows there are; with `ceil_mode` none starts in the padding behind the input."""
        counts = []
        for d, size in enumerate(sizes):
            room = size + self.begin[d] + self.end[d] - self.extent(d)
            count = (-(-room // self.stride[d]) if ceil_mode else room // self.stride[d]) + 1
            if ceil_mode and (count - 1) * self.stride[d] >= size + self.begin[d]:
                count -= 1
            counts.append(count)
        return tuple(counts)


def windows(node: Node, x: Any, kernel: Sequence[int]) -> Windows:
    """The windows of a node over x (N, C, spatial...)."""
    spatial = x.ndim - 2
    if not 1 <= spatial <= MAX_SPATIAL or len(kernel) != spatial:
        raise ShapeError(
            f"onnx: {node}: expects an input (N, C, and 1 to {MAX_SPATIAL} sizes) with as many sizes "
            f"as its kernel, got {x.shape} and {tuple(kernel)}"
        )
    stride = _per_axis(node, "strides", spatial, 1)
    dilation = _per_axis(node, "dilations", spatial, 1)
    if min(kernel) < 1:
        raise ShapeError(f"onnx: {node}: kernel_shape must be positive, got {tuple(kernel)}")
    rule = node.get("auto_pad", "NOTSET")
    if rule in ("SAME_UPPER", "SAME_LOWER"):
        begin, end = [], []
        for d, size in enumerate(x.shape[2:]):
            count = -(-size // stride[d])
            total = max((count - 1) * stride[d] + dilation[d] * (kernel[d] - 1) + 1 - size, 0)
            less, more = total // 2, total - total // 2
            begin.append(less if rule == "SAME_UPPER" else more)
            end.append(more if rule == "SAME_UPPER" else less)
        return Windows(tuple(kernel), stride, dilation, tuple(begin), tuple(end))
    pads = (0,) * (2 * spatial)
    if rule == "NOTSET":
        pads = node.get("pads") or pads
    elif rule != "VALID":
        raise ShapeError(f"onnx: {node}: auto_pad {rule!r} does not exist")
    if len(pads) != 2 * spatial or min(pads) < 0:
        raise ShapeError(f"onnx: {node}: expects {2 * spatial} pads of at least 0, got {pads}")
    return Windows(tuple(kernel), stride, dilation, pads[:spatial], pads[spatial:])


def _per_axis(node: Node, name: str, spatial: int, least: int) -> tuple[int, ...]:
    found: tuple[int, ...] = node.get(name) or (1,) * spatial
    if len(found) != spatial or min(found) < least:
        raise ShapeError(f"onnx: {node}: expects {spatial} {name} of at least {least}, got {found}")
    return found


def pad_spatial(x: Any, begin: Sequence[int], end: Sequence[int], value: float = 0.0) -> Any:
    """Borders around the spatial dimensions; negative ones crop."""
    if not any(begin) and not any(end):
        return x
    amounts = [a for pair in reversed(list(zip(begin, end, strict=True))) for a in pair]
    return F.pad(x, amounts, "constant", value)


def one_or_all(values: tuple[int, ...]) -> Any:
    """A value for each dimension as `functional` takes it: a number for one dimension."""
    return values[0] if len(values) == 1 else values
