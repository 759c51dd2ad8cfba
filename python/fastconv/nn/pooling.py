"""Pooling layers: (N, C, H, W) -> (N, C, P, Q), or in NHWC (N, H, W, C) -> (N, P, Q, C), and of other ranks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeAlias

from .. import functional as F
from .._arrays import ArrayLike
from ..errors import ShapeError
from ._args import flag, integer, memory_layout, number, several
from .module import Module

__all__ = [
    "AdaptiveAvgPool1d",
    "AdaptiveAvgPool2d",
    "AdaptiveAvgPool3d",
    "AdaptiveMaxPool1d",
    "AdaptiveMaxPool2d",
    "AdaptiveMaxPool3d",
    "AvgPool1d",
    "AvgPool2d",
    "AvgPool3d",
    "GlobalAvgPool2d",
    "GlobalMaxPool2d",
    "LPPool1d",
    "LPPool2d",
    "LPPool3d",
    "MaxPool1d",
    "MaxPool2d",
    "MaxPool3d",
    "SumPool2d",
]

# An integer for every axis, or one each: (height, width) in two dimensions.
Sizes: TypeAlias = int | Sequence[int]
OutputSize: TypeAlias = int | Sequence[int | None] | None


class _WindowPool(Module):
    """What max, average and sum pooling share: the window."""

    _spatial = 2  # dimensions besides examples and channels
    _function: Any  # in fastconv.functional

    def __init__(
        self,
        kernel_size: Sizes,
        stride: Sizes | None,
        padding: Sizes,
        ceil_mode: bool,
        layout: str,
    ) -> None:
        super().__init__()
        owner, spatial = type(self).__name__, self._spatial
        self.kernel_size = several(owner, "kernel_size", kernel_size, spatial, 1)
        self.stride = self.kernel_size
        if stride is not None:
            self.stride = several(owner, "stride", stride, spatial, 1)
        self.padding = several(owner, "padding", padding, spatial, 0)
        self.ceil_mode = flag(owner, "ceil_mode", ceil_mode)
        self.layout = memory_layout(owner, layout)

    def extra_repr(self) -> str:
        text = f"kernel_size={self.kernel_size}, stride={self.stride}, padding={self.padding}"
        if self.ceil_mode:
            text += ", ceil_mode=True"
        return text + (f", layout={self.layout!r}" if self.layout != "NCHW" else "")


class _MaxPool(_WindowPool):
    """Maxima in any number of dimensions."""

    def __init__(
        self,
        kernel_size: Sizes,
        stride: Sizes | None = None,
        padding: Sizes = 0,
        dilation: Sizes = 1,
        return_indices: bool = False,
        ceil_mode: bool = False,
        *,
        layout: str = "NCHW",
    ) -> None:
        super().__init__(kernel_size, stride, padding, ceil_mode, layout)
        owner = type(self).__name__
        self.dilation = several(owner, "dilation", dilation, self._spatial, 1)
        self.return_indices = flag(owner, "return_indices", return_indices)

    def forward(self, input: ArrayLike) -> Any:
        return type(self)._function(
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
        dilated = f", dilation={self.dilation}" if self.dilation != (1,) * self._spatial else ""
        return super().extra_repr() + dilated


class MaxPool2d(_MaxPool):
    """The largest value of each window; see `functional.max_pool2d`.

    Args:
        kernel_size, padding, dilation: an int or a pair (height, width), in pixels; padding counts
            as -infinity.
        stride: step between windows; kernel_size if left out.
        return_indices: also return where in its H x W plane each maximum lies.
        ceil_mode: also keep windows that reach over the far edge.
        layout: "NCHW" or "NHWC".
    """

    _spatial, _function = 2, staticmethod(F.max_pool2d)


class MaxPool1d(_MaxPool):
    """(N, C, L) -> (N, C, P); see `functional.max_pool1d`.

    Arguments as for `MaxPool2d`, for one axis.
    With layout "NHWC" arrays are (N, L, C).
    """

    _spatial, _function = 1, staticmethod(F.max_pool1d)


class MaxPool3d(_MaxPool):
    """(N, C, D, H, W) -> (N, C, O, P, Q); see `functional.max_pool3d`.

    Arguments as for `MaxPool2d`, an int or (depth, height, width).
    With layout "NHWC" arrays are (N, D, H, W, C).
    """

    _spatial, _function = 3, staticmethod(F.max_pool3d)


class _AvgPool(_WindowPool):
    """Means in any number of dimensions."""

    def __init__(
        self,
        kernel_size: Sizes,
        stride: Sizes | None = None,
        padding: Sizes = 0,
        ceil_mode: bool = False,
        count_include_pad: bool = True,
        divisor_override: int | None = None,
        *,
        layout: str = "NCHW",
    ) -> None:
        super().__init__(kernel_size, stride, padding, ceil_mode, layout)
        owner = type(self).__name__
        self.count_include_pad = flag(owner, "count_include_pad", count_include_pad)
        if divisor_override is not None:
            divisor_override = integer(owner, "divisor_override", divisor_override, -(2**31))
            if divisor_override == 0:
                raise ShapeError(f"{owner}: divisor_override must not be 0")
        self.divisor_override = divisor_override

    def forward(self, input: ArrayLike) -> Any:
        return type(self)._function(
            input,
            self.kernel_size,
            self.stride,
            self.padding,
            self.ceil_mode,
            self.count_include_pad,
            self.divisor_override,
            layout=self.layout,
        )


class AvgPool2d(_AvgPool):
    """The mean of each window; see `functional.avg_pool2d`.

    Args:
        count_include_pad: divide by the whole window, zeros of the padding included; False divides
            by the number of real pixels.
        divisor_override: divide by this instead.
        Others as for `MaxPool2d`.
    """

    _spatial, _function = 2, staticmethod(F.avg_pool2d)


class AvgPool1d(_AvgPool):
    """(N, C, L) -> (N, C, P); see `functional.avg_pool1d`.

    Arguments as for `AvgPool2d`, for one axis.
    With layout "NHWC" arrays are (N, L, C).
    """

    _spatial, _function = 1, staticmethod(F.avg_pool1d)


class AvgPool3d(_AvgPool):
    """(N, C, D, H, W) -> (N, C, O, P, Q); see `functional.avg_pool3d`.

    Arguments as for `AvgPool2d`, an int or (depth, height, width).
    With layout "NHWC" arrays are (N, D, H, W, C).
    """

    _spatial, _function = 3, staticmethod(F.avg_pool3d)


class SumPool2d(_WindowPool):
    """The sum of each window; arguments as for `MaxPool2d`. See `functional.sum_pool2d`."""

    _function: Any = staticmethod(F.sum_pool2d)

    def __init__(
        self,
        kernel_size: Sizes,
        stride: Sizes | None = None,
        padding: Sizes = 0,
        ceil_mode: bool = False,
        *,
        layout: str = "NCHW",
    ) -> None:
        super().__init__(kernel_size, stride, padding, ceil_mode, layout)

    def forward(self, input: ArrayLike) -> Any:
        return type(self)._function(
            input, self.kernel_size, self.stride, self.padding, self.ceil_mode, layout=self.layout
        )


class _LPPool(_WindowPool):
    """p-norms in any number of dimensions."""

    def __init__(
        self,
        norm_type: float,
        kernel_size: Sizes,
        stride: Sizes | None = None,
        ceil_mode: bool = False,
        *,
        layout: str = "NCHW",
    ) -> None:
        super().__init__(kernel_size, stride, 0, ceil_mode, layout)
        self.norm_type = number(type(self).__name__, "norm_type", norm_type)

    def forward(self, input: ArrayLike) -> Any:
        return type(self)._function(
            input, self.norm_type, self.kernel_size, self.stride, self.ceil_mode, layout=self.layout
        )

    def extra_repr(self) -> str:
        return f"norm_type={self.norm_type:g}, " + super().extra_repr()


class LPPool2d(_LPPool):
    """The p-norm of each window; see `functional.lp_pool2d`.

    Args:
        norm_type: p.
        kernel_size, stride, ceil_mode, layout: as for `MaxPool2d`.
    """

    _spatial, _function = 2, staticmethod(F.lp_pool2d)


class LPPool1d(_LPPool):
    """(N, C, L) -> (N, C, P); see `functional.lp_pool1d`.

    Arguments as for `LPPool2d`, for one axis.
    With layout "NHWC" arrays are (N, L, C).
    """

    _spatial, _function = 1, staticmethod(F.lp_pool1d)


class LPPool3d(_LPPool):
    """(N, C, D, H, W) -> (N, C, O, P, Q); see `functional.lp_pool3d`.

    Arguments as for `LPPool2d`, an int or (depth, height, width).
    With layout "NHWC" arrays are (N, D, H, W, C).
    """

    _spatial, _function = 3, staticmethod(F.lp_pool3d)


class _AdaptiveAvgPool(Module):
    """Even windows in any number of dimensions."""

    _spatial: int
    _function: Any

    def __init__(self, output_size: OutputSize, *, layout: str = "NCHW") -> None:
        super().__init__()
        owner = type(self).__name__
        sizes: list[int | None] = []
        spatial = self._spatial
        given = output_size if isinstance(output_size, (tuple, list)) else (output_size,) * spatial
        if len(given) != spatial:
            wanted = ("one value", "one or two values", "one or three values")[spatial - 1]
            raise ShapeError(f"{owner}: output_size must be {wanted}, got {len(given)}")
        for size in given:
            sizes.append(None if size is None else integer(owner, "output_size", size, 1))
        self.output_size = tuple(sizes)
        self.layout = memory_layout(owner, layout)

    def forward(self, input: ArrayLike) -> Any:
        return type(self)._function(input, self.output_size, layout=self.layout)

    def extra_repr(self) -> str:
        text = f"output_size={self.output_size}"
        return text + (f", layout={self.layout!r}" if self.layout != "NCHW" else "")


class AdaptiveAvgPool2d(_AdaptiveAvgPool):
    """Means of windows that split the input evenly into `output_size`.

    Args:
        output_size: (P, Q) or one int for both; None keeps the input's size.
        layout: "NCHW" or "NHWC".
    """

    _spatial, _function = 2, staticmethod(F.adaptive_avg_pool2d)


class AdaptiveAvgPool1d(_AdaptiveAvgPool):
    """(N, C, L) -> (N, C, P); see `functional.adaptive_avg_pool1d`.

    Arguments as for `AdaptiveAvgPool2d`, for one axis.
    With layout "NHWC" arrays are (N, L, C).
    """

    _spatial, _function = 1, staticmethod(F.adaptive_avg_pool1d)


class AdaptiveAvgPool3d(_AdaptiveAvgPool):
    """(N, C, D, H, W) -> (N, C, O, P, Q); see `functional.adaptive_avg_pool3d`.

    Arguments as for `AdaptiveAvgPool2d`, an int or (depth, height, width).
    With layout "NHWC" arrays are (N, D, H, W, C).
    """

    _spatial, _function = 3, staticmethod(F.adaptive_avg_pool3d)


class _AdaptiveMaxPool(_AdaptiveAvgPool):
    """Maxima of even windows in any number of dimensions."""

    def __init__(
        self, output_size: OutputSize, return_indices: bool = False, *, layout: str = "NCHW"
    ) -> None:
        super().__init__(output_size, layout=layout)
        self.return_indices = flag(type(self).__name__, "return_indices", return_indices)

    def forward(self, input: ArrayLike) -> Any:
        return type(self)._function(
            input, self.output_size, self.return_indices, layout=self.layout
        )


class AdaptiveMaxPool2d(_AdaptiveMaxPool):
    """Maxima of windows that split the input evenly into `output_size`.

    Args:
        return_indices: also return where in its H x W plane each maximum lies.
        Others as for `AdaptiveAvgPool2d`.
    """

    _spatial, _function = 2, staticmethod(F.adaptive_max_pool2d)


class AdaptiveMaxPool1d(_AdaptiveMaxPool):
    """(N, C, L) -> (N, C, P); see `functional.adaptive_max_pool1d`.

    Arguments as for `AdaptiveMaxPool2d`, for one axis.
    With layout "NHWC" arrays are (N, L, C).
    """

    _spatial, _function = 1, staticmethod(F.adaptive_max_pool1d)


class AdaptiveMaxPool3d(_AdaptiveMaxPool):
    """(N, C, D, H, W) -> (N, C, O, P, Q); see `functional.adaptive_max_pool3d`.

    Arguments as for `AdaptiveMaxPool2d`, an int or (depth, height, width).
    With layout "NHWC" arrays are (N, D, H, W, C).
    """

    _spatial, _function = 3, staticmethod(F.adaptive_max_pool3d)


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
