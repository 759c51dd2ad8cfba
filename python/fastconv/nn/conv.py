"""Convolution layers."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, TypeAlias

import numpy as np

from .. import functional as F
from .._arrays import ArrayLike
from ..errors import ShapeError
from . import init
from ._args import choice, cpu, flag, float_dtype, integer, memory_layout, several
from ._drawing import draw_first
from .module import Module
from .parameter import Parameter

__all__ = [
    "Conv1d",
    "Conv2d",
    "Conv3d",
    "ConvTranspose1d",
    "ConvTranspose2d",
    "ConvTranspose3d",
]


# An integer for every axis, or one each: (height, width) in two dimensions.
Sizes: TypeAlias = int | Sequence[int]


class _Convolution(Module):
    """What both directions share: sizes, parameters and their initialisation."""

    _spatial: int  # dimensions besides examples and channels
    _function: Any  # in fastconv.functional
    bias: Parameter | None

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: Sizes,
        stride: Sizes,
        dilation: Sizes,
        groups: int,
        bias: bool,
        padding_mode: str,
        device: Any,
        dtype: Any,
        layout: str,
        transposed: bool,
    ) -> None:
        super().__init__()
        owner, spatial = type(self).__name__, self._spatial
        self.in_channels = integer(owner, "in_channels", in_channels, 1)
        self.out_channels = integer(owner, "out_channels", out_channels, 1)
        self.kernel_size = several(owner, "kernel_size", kernel_size, spatial, 1)
        self.stride = several(owner, "stride", stride, spatial, 1)
        self.dilation = several(owner, "dilation", dilation, spatial, 1)
        self.groups = integer(owner, "groups", groups, 1)
        for name in ("in_channels", "out_channels"):
            if getattr(self, name) % self.groups:
                raise ShapeError(
                    f"{owner}: {name} must be divisible by groups, "
                    f"got {name}={getattr(self, name)}, groups={self.groups}"
                )
        modes = ("zeros",) if transposed else ("zeros", "reflect", "replicate", "circular")
        self.padding_mode = choice(owner, "padding_mode", padding_mode, modes)
        self.layout = memory_layout(owner, layout)
        has_bias = flag(owner, "bias", bias)
        cpu(owner, device)
        target = float_dtype(owner, dtype)
        outer, inner = self.out_channels, self.in_channels
        if transposed:
            outer, inner = inner, outer
        self.weight = Parameter(np.empty((outer, inner // self.groups, *self.kernel_size), target))
        self.bias = Parameter(np.empty(self.out_channels, target)) if has_bias else None
        draw_first(self)

    def reset_parameters(self) -> None:
        """Draw weight and bias anew, both uniform within 1 / sqrt(fan_in), as PyTorch does."""
        init.kaiming_uniform_(self.weight, a=math.sqrt(5.0))
        if self.bias is not None:
            bound = init.fan_in_bound(self.weight)
            init.uniform_(self.bias, -bound, bound)

    def _describe(self, padding: Any, defaults: dict[str, Any]) -> str:
        text = f"{self.in_channels}, {self.out_channels}"
        text += f", kernel_size={self.kernel_size}, stride={self.stride}"
        if padding not in ((0,) * self._spatial, "valid"):
            text += f", padding={padding!r}"
        each: dict[str, Any] = {"dilation": (1,) * self._spatial, "groups": 1}
        each |= {"padding_mode": "zeros", "layout": "NCHW"}
        for name, default in (each | defaults).items():
            if getattr(self, name) != default:
                text += f", {name}={getattr(self, name)!r}"
        return text + (", bias=False" if self.bias is None else "")


class _Direct(_Convolution):
    """Convolution in any number of dimensions."""

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: Sizes,
        stride: Sizes = 1,
        padding: Sizes | str = 0,
        dilation: Sizes = 1,
        groups: int = 1,
        bias: bool = True,
        padding_mode: str = "zeros",
        device: Any = None,
        dtype: Any = None,
        *,
        layout: str = "NCHW",
    ) -> None:
        owner, spatial = type(self).__name__, self._spatial
        self.padding: tuple[int, ...] | str
        if isinstance(padding, str):
            self.padding = choice(owner, "padding", padding, ("same", "valid"))
            if padding == "same" and max(several(owner, "stride", stride, spatial, 1)) > 1:
                raise ShapeError(f"{owner}: padding 'same' needs stride 1, got {stride}")
        else:
            self.padding = several(owner, "padding", padding, spatial, 0)
        super().__init__(
            in_channels,
            out_channels,
            kernel_size,
            stride,
            dilation,
            groups,
            bias,
            padding_mode,
            device,
            dtype,
            layout,
            transposed=False,
        )

    def _edges(self) -> tuple[int, ...]:
        """Amounts before and after each axis, the last axis first, as `functional.pad` takes them."""
        if self.padding == "valid":
            return (0, 0) * self._spatial
        if self.padding == "same":
            each = zip(self.kernel_size, self.dilation, strict=True)
            totals = [d * (k - 1) for k, d in each]
            pairs = [(t // 2, t - t // 2) for t in totals]
        else:
            pairs = [(int(p), int(p)) for p in self.padding]
        return tuple(amount for pair in reversed(pairs) for amount in pair)

    def forward(self, input: ArrayLike) -> Any:
        padding: Any = self.padding
        if self.padding_mode != "zeros":
            rank = getattr(input, "ndim", None)
            if rank not in (self._spatial + 1, self._spatial + 2):
                raise ShapeError(
                    f"{type(self).__name__}: input must have {self._spatial + 1} or "
                    f"{self._spatial + 2} dimensions, got {rank}"
                )
            channels = (0, 0) if self.layout == "NHWC" else ()
            input = F.pad(input, channels + self._edges(), self.padding_mode)
            padding = 0
        return type(self)._function(
            input,
            self.weight,
            self.bias,
            self.stride,
            padding,
            self.dilation,
            self.groups,
            layout=self.layout,
        )

    def macs(self, input_shape: tuple[int, ...], output_shape: tuple[int, ...]) -> int:
        return math.prod(output_shape) * math.prod(self.weight.shape[1:])

    def extra_repr(self) -> str:
        return self._describe(self.padding, {})


class Conv2d(_Direct):
    """2-D convolution (cross-correlation): (N, C, H, W) -> (N, K, P, Q); see `functional.conv2d`.

    Args:
        in_channels, out_channels: C and K.
        kernel_size, stride, dilation: an int or a pair (height, width), in pixels.
        padding: zeros on each side, an int or a pair, or "valid" (none) or "same" (P, Q = H, W;
            stride 1).
        groups: input and output channels are split into this many groups, each convolved apart; it
            divides both.
        bias: add a value per output channel.
        padding_mode: what is beyond the edge: "zeros", "reflect" (the picture mirrored, its edge
            once), "replicate" (the edge) or "circular" (the other side).
        device, dtype: "cpu"; float32 (default), float64 or bfloat16.
        layout: "NCHW" or "NHWC", of input and output. The weight is (K, C/groups, R, S) in both.

    Raises:
        ShapeError, DTypeError, DeviceError: arguments out of range, of the wrong type, or an
            unknown device.
    """

    _spatial, _function = 2, staticmethod(F.conv2d)


class Conv1d(_Direct):
    """1-D convolution (cross-correlation): (N, C, L) -> (N, K, P); see `functional.conv1d`.

    Arguments as for `Conv2d`, for one axis; with layout "NHWC" arrays are (N, L, C). The weight is
    (K, C/groups, R).
    """

    _spatial, _function = 1, staticmethod(F.conv1d)


class Conv3d(_Direct):
    """3-D convolution (cross-correlation): (N, C, D, H, W) -> (N, K, O, P, Q); see `functional.conv3d`.

    Arguments as for `Conv2d`, an int or (depth, height, width); with layout "NHWC" arrays are
    (N, D, H, W, C). The weight is (K, C/groups, T, R, S).
    """

    _spatial, _function = 3, staticmethod(F.conv3d)


class _Transposed(_Convolution):
    """Transposed convolution in any number of dimensions."""

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: Sizes,
        stride: Sizes = 1,
        padding: Sizes = 0,
        output_padding: Sizes = 0,
        groups: int = 1,
        bias: bool = True,
        dilation: Sizes = 1,
        padding_mode: str = "zeros",
        device: Any = None,
        dtype: Any = None,
        *,
        layout: str = "NCHW",
    ) -> None:
        owner, spatial = type(self).__name__, self._spatial
        self.padding = several(owner, "padding", padding, spatial, 0)
        self.output_padding = several(owner, "output_padding", output_padding, spatial, 0)
        super().__init__(
            in_channels,
            out_channels,
            kernel_size,
            stride,
            dilation,
            groups,
            bias,
            padding_mode,
            device,
            dtype,
            layout,
            transposed=True,
        )
        for extra, step, spread in zip(
            self.output_padding, self.stride, self.dilation, strict=True
        ):
            if extra >= max(step, spread):
                raise ShapeError(
                    f"{owner}: output_padding must be smaller than stride or dilation, got "
                    f"{self.output_padding} with stride {self.stride}, dilation {self.dilation}"
                )

    def forward(self, input: ArrayLike) -> Any:
        return type(self)._function(
            input,
            self.weight,
            self.bias,
            self.stride,
            self.padding,
            self.output_padding,
            self.groups,
            self.dilation,
            layout=self.layout,
        )

    def macs(self, input_shape: tuple[int, ...], output_shape: tuple[int, ...]) -> int:
        return math.prod(input_shape) * math.prod(self.weight.shape[1:])

    def extra_repr(self) -> str:
        return self._describe(self.padding, {"output_padding": (0,) * self._spatial})


class ConvTranspose2d(_Transposed):
    """2-D transposed convolution, `Conv2d` backwards: (N, C, H, W) -> (N, K, P, Q).

    P = (H - 1) * stride - 2 * padding + dilation * (R - 1) + output_padding + 1, and Q likewise;
    the weight is (C, K/groups, R, S). See `functional.conv_transpose2d`.

    Args:
        output_padding: rows and columns added on one side of the result; less than stride or
            dilation.
        Others as for `Conv2d`; padding takes no names, padding_mode only "zeros".
    """

    _spatial, _function = 2, staticmethod(F.conv_transpose2d)


class ConvTranspose1d(_Transposed):
    """1-D transposed convolution, `Conv1d` backwards: (N, C, L) -> (N, K, P).

    Arguments as for `ConvTranspose2d`, for one axis; the weight is (C, K/groups, R). See
    `functional.conv_transpose1d`.
    """

    _spatial, _function = 1, staticmethod(F.conv_transpose1d)


class ConvTranspose3d(_Transposed):
    """3-D transposed convolution, `Conv3d` backwards: (N, C, D, H, W) -> (N, K, O, P, Q).

    Arguments as for `ConvTranspose2d`, an int or (depth, height, width); the weight is
    (C, K/groups, T, R, S). See `functional.conv_transpose3d`.
    """

    _spatial, _function = 3, staticmethod(F.conv_transpose3d)
