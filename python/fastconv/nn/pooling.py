"""Pooling layers: (N, C, H, W) -> (N, C, P, Q), or in NHWC (N, H, W, C) -> (N, P, Q, C)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeAlias

from .. import functional as F
from .._arrays import ArrayLike
from ..errors import ShapeError
from ._args import IntOrPair, flag, integer, memory_layout, pair
from .module import Module

__all__ = [
    "AdaptiveAvgPool2d",
    "AdaptiveMaxPool2d",
    "AvgPool2d",
    "GlobalAvgPool2d",
    "GlobalMaxPool2d",
    "MaxPool2d",
    "SumPool2d",
]

OutputSize: TypeAlias = int | Sequence[int | None] | None


class _WindowPool(Module):
    """What max, average and sum pooling share: the window."""

    def __init__(
        self,
        kernel_size: IntOrPair,
        stride: IntOrPair | None,
        padding: IntOrPair,
        ceil_mode: bool,
        layout: str,
    ) -> None:
        super().__init__()
        owner = type(self).__name__
        self.kernel_size = pair(owner, "kernel_size", kernel_size, 1)
        self.stride = self.kernel_size if stride is None else pair(owner, "stride", stride, 1)
        self.padding = pair(owner, "padding", padding, 0)
        self.ceil_mode = flag(owner, "ceil_mode", ceil_mode)
        self.layout = memory_layout(owner, layout)

    def extra_repr(self) -> str:
        text = f"kernel_size={self.kernel_size}, stride={self.stride}, padding={self.padding}"
        if self.ceil_mode:
            text += ", ceil_mode=True"
        return text + (f", layout={self.layout!r}" if self.layout != "NCHW" else "")


class MaxPool2d(_WindowPool):
    """The largest value of each window; see `functional.max_pool2d`.

    Args:
        kernel_size, padding, dilation: an int or a pair (height, width), in pixels; padding counts
            as -infinity.
        stride: step between windows; kernel_size if left out.
        return_indices: also return where in its H x W plane each maximum lies.
        ceil_mode: also keep windows that reach over the far edge.
        layout: "NCHW" or "NHWC".
    """

    def __init__(
        self,
        kernel_size: IntOrPair,
        stride: IntOrPair | None = None,
        padding: IntOrPair = 0,
        dilation: IntOrPair = 1,
        return_indices: bool = False,
        ceil_mode: bool = False,
        *,
        layout: str = "NCHW",
    ) -> None:
        super().__init__(kernel_size, stride, padding, ceil_mode, layout)
        self.dilation = pair("MaxPool2d", "dilation", dilation, 1)
        self.return_indices = flag("MaxPool2d", "return_indices", return_indices)

    def forward(self, input: ArrayLike) -> Any:
        return F.max_pool2d(
            input,
            self.kernel_size,
            self.stride,
            self.padding,
            self.dilation,
            self.ceil_mode,
            self.return_indices,
            layout=self.layout,
        )

    def extra_repr(self) -> str:
        dilated = f", dilation={self.dilation}" if self.dilation != (1, 1) else ""
        return super().extra_repr() + dilated


class AvgPool2d(_WindowPool):
    """The mean of each window; see `functional.avg_pool2d`.

    Args:
        count_include_pad: divide by the whole window, zeros of the padding included; False divides
            by the number of real pixels.
        divisor_override: divide by this instead.
        Others as for `MaxPool2d`.
    """

    def __init__(
        self,
        kernel_size: IntOrPair,
        stride: IntOrPair | None = None,
        padding: IntOrPair = 0,
        ceil_mode: bool = False,
        count_include_pad: bool = True,
        divisor_override: int | None = None,
        *,
        layout: str = "NCHW",
    ) -> None:
        super().__init__(kernel_size, stride, padding, ceil_mode, layout)
        self.count_include_pad = flag("AvgPool2d", "count_include_pad", count_include_pad)
        if divisor_override is not None:
            divisor_override = integer("AvgPool2d", "divisor_override", divisor_override, -(2**31))
            if divisor_override == 0:
                raise ShapeError("AvgPool2d: divisor_override must not be 0")
        self.divisor_override = divisor_override

    def forward(self, input: ArrayLike) -> Any:
        return F.avg_pool2d(
            input,
            self.kernel_size,
            self.stride,
            self.padding,
            self.ceil_mode,
            self.count_include_pad,
            self.divisor_override,
            layout=self.layout,
        )


class SumPool2d(_WindowPool):
    """The sum of each window; arguments as for `MaxPool2d`. See `functional.sum_pool2d`."""

    def __init__(
        self,
        kernel_size: IntOrPair,
        stride: IntOrPair | None = None,
        padding: IntOrPair = 0,
        ceil_mode: bool = False,
        *,
        layout: str = "NCHW",
    ) -> None:
        super().__init__(kernel_size, stride, padding, ceil_mode, layout)

    def forward(self, input: ArrayLike) -> Any:
        return F.sum_pool2d(
            input, self.kernel_size, self.stride, self.padding, self.ceil_mode, layout=self.layout
        )


class AdaptiveAvgPool2d(Module):
    """Means of windows that split the input evenly into `output_size`.

    Args:
        output_size: (P, Q) or one int for both; None keeps the input's size.
        layout: "NCHW" or "NHWC".
    """

    def __init__(self, output_size: OutputSize, *, layout: str = "NCHW") -> None:
        super().__init__()
        owner = type(self).__name__
        sizes: list[int | None] = []
        given = output_size if isinstance(output_size, (tuple, list)) else (output_size,) * 2
        if len(given) != 2:
            raise ShapeError(f"{owner}: output_size must be one or two values, got {len(given)}")
        for size in given:
            sizes.append(None if size is None else integer(owner, "output_size", size, 1))
        self.output_size = (sizes[0], sizes[1])
        self.layout = memory_layout(owner, layout)

    def forward(self, input: ArrayLike) -> Any:
        return F.adaptive_avg_pool2d(input, self.output_size, layout=self.layout)

    def extra_repr(self) -> str:
        text = f"output_size={self.output_size}"
        return text + (f", layout={self.layout!r}" if self.layout != "NCHW" else "")


class AdaptiveMaxPool2d(AdaptiveAvgPool2d):
    """Maxima of windows that split the input evenly into `output_size`.

    Args:
        return_indices: also return where in its H x W plane each maximum lies.
        Others as for `AdaptiveAvgPool2d`.
    """

    def __init__(
        self, output_size: OutputSize, return_indices: bool = False, *, layout: str = "NCHW"
    ) -> None:
        super().__init__(output_size, layout=layout)
        self.return_indices = flag("AdaptiveMaxPool2d", "return_indices", return_indices)

    def forward(self, input: ArrayLike) -> Any:
        return F.adaptive_max_pool2d(
            input, self.output_size, self.return_indices, layout=self.layout
        )


class GlobalAvgPool2d(Module):
    """The mean of each channel's whole plane: (N, C, H, W) -> (N, C, 1, 1)."""

    def __init__(self, *, layout: str = "NCHW") -> None:
        super().__init__()
        self.layout = memory_layout(type(self).__name__, layout)

    def forward(self, input: ArrayLike) -> Any:
        return F.global_avg_pool2d(input, layout=self.layout)

    def extra_repr(self) -> str:
        return f"layout={self.layout!r}" if self.layout != "NCHW" else ""


class GlobalMaxPool2d(GlobalAvgPool2d):
    """The largest value of each channel's whole plane: (N, C, H, W) -> (N, C, 1, 1)."""

    def forward(self, input: ArrayLike) -> Any:
        return F.global_max_pool2d(input, layout=self.layout)
