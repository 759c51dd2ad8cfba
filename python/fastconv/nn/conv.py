"""Convolution layers."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from .. import functional as F
from .._arrays import ArrayLike
from ..errors import ShapeError
from . import init
from ._args import IntOrPair, choice, cpu, flag, float_dtype, integer, memory_layout, pair
from .module import Module
from .parameter import Parameter

__all__ = ["Conv2d", "ConvTranspose2d"]


class _Convolution(Module):
    """What both directions share: sizes, parameters and their initialisation."""

    bias: Parameter | None

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: IntOrPair,
        stride: IntOrPair,
        dilation: IntOrPair,
        groups: int,
        bias: bool,
        padding_mode: str,
        device: Any,
        dtype: Any,
        layout: str,
        transposed: bool,
    ) -> None:
        super().__init__()
        owner = type(self).__name__
        self.in_channels = integer(owner, "in_channels", in_channels, 1)
        self.out_channels = integer(owner, "out_channels", out_channels, 1)
        self.kernel_size = pair(owner, "kernel_size", kernel_size, 1)
        self.stride = pair(owner, "stride", stride, 1)
        self.dilation = pair(owner, "dilation", dilation, 1)
        self.groups = integer(owner, "groups", groups, 1)
        for name in ("in_channels", "out_channels"):
            if getattr(self, name) % self.groups:
                raise ShapeError(
                    f"{owner}: {name} must be divisible by groups, "
                    f"got {name}={getattr(self, name)}, groups={self.groups}"
                )
        self.padding_mode = choice(owner, "padding_mode", padding_mode, ("zeros",))
        self.layout = memory_layout(owner, layout)
        has_bias = flag(owner, "bias", bias)
        cpu(owner, device)
        target = float_dtype(owner, dtype)
        outer, inner = self.out_channels, self.in_channels
        if transposed:
            outer, inner = inner, outer
        self.weight = Parameter(np.empty((outer, inner // self.groups, *self.kernel_size), target))
        self.bias = Parameter(np.empty(self.out_channels, target)) if has_bias else None
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw weight and bias anew, both uniform within 1 / sqrt(fan_in), as PyTorch does."""
        init.kaiming_uniform_(self.weight, a=math.sqrt(5.0))
        if self.bias is not None:
            bound = init.fan_in_bound(self.weight)
            init.uniform_(self.bias, -bound, bound)

    def _describe(self, padding: Any, defaults: dict[str, Any]) -> str:
        text = f"{self.in_channels}, {self.out_channels}"
        text += f", kernel_size={self.kernel_size}, stride={self.stride}"
        if padding not in ((0, 0), "valid"):
            text += f", padding={padding!r}"
        for name, default in defaults.items():
            if getattr(self, name) != default:
                text += f", {name}={getattr(self, name)!r}"
        return text + (", bias=False" if self.bias is None else "")


class Conv2d(_Convolution):
    """2-D convolution (cross-correlation): (N, C, H, W) -> (N, K, P, Q); see `functional.conv2d`.

    Args:
        in_channels, out_channels: C and K.
        kernel_size, stride, dilation: an int or a pair (height, width), in pixels.
        padding: zeros on each side, an int or a pair, or "valid" (none) or "same" (P, Q = H, W;
            stride 1).
        groups: input and output channels are split into this many groups, each convolved apart; it
            divides both.
        bias: add a value per output channel.
        padding_mode: only "zeros".
        device, dtype: "cpu"; float32 (default), float64 or bfloat16.
        layout: "NCHW" or "NHWC", of input and output. The weight is (K, C/groups, R, S) in both.

    Raises:
        ShapeError, DTypeError, DeviceError: arguments out of range, of the wrong type, or an
            unknown device.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: IntOrPair,
        stride: IntOrPair = 1,
        padding: IntOrPair | str = 0,
        dilation: IntOrPair = 1,
        groups: int = 1,
        bias: bool = True,
        padding_mode: str = "zeros",
        device: Any = None,
        dtype: Any = None,
        *,
        layout: str = "NCHW",
    ) -> None:
        self.padding: tuple[int, int] | str
        if isinstance(padding, str):
            self.padding = choice("Conv2d", "padding", padding, ("same", "valid"))
            if padding == "same" and pair("Conv2d", "stride", stride, 1) != (1, 1):
                raise ShapeError(f"Conv2d: padding 'same' needs stride 1, got {stride}")
        else:
            self.padding = pair("Conv2d", "padding", padding, 0)
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

    def forward(self, input: ArrayLike) -> Any:
        return F.conv2d(
            input,
            self.weight,
            self.bias,
            self.stride,
            self.padding,
            self.dilation,
            self.groups,
            layout=self.layout,
        )

    def macs(self, input_shape: tuple[int, ...], output_shape: tuple[int, ...]) -> int:
        return math.prod(output_shape) * math.prod(self.weight.shape[1:])

    def extra_repr(self) -> str:
        defaults = {"dilation": (1, 1), "groups": 1, "layout": "NCHW"}
        return self._describe(self.padding, defaults)


class ConvTranspose2d(_Convolution):
    """2-D transposed convolution, `Conv2d` backwards: (N, C, H, W) -> (N, K, P, Q).

    P = (H - 1) * stride - 2 * padding + dilation * (R - 1) + output_padding + 1, and Q likewise;
    the weight is (C, K/groups, R, S). See `functional.conv_transpose2d`.

    Args:
        output_padding: rows and columns added on one side of the result; less than stride or
            dilation.
        Others as for `Conv2d`; padding takes no names.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: IntOrPair,
        stride: IntOrPair = 1,
        padding: IntOrPair = 0,
        output_padding: IntOrPair = 0,
        groups: int = 1,
        bias: bool = True,
        dilation: IntOrPair = 1,
        padding_mode: str = "zeros",
        device: Any = None,
        dtype: Any = None,
        *,
        layout: str = "NCHW",
    ) -> None:
        self.padding = pair("ConvTranspose2d", "padding", padding, 0)
        self.output_padding = pair("ConvTranspose2d", "output_padding", output_padding, 0)
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
                    "ConvTranspose2d: output_padding must be smaller than stride or dilation, got "
                    f"{self.output_padding} with stride {self.stride}, dilation {self.dilation}"
                )

    def forward(self, input: ArrayLike) -> Any:
        return F.conv_transpose2d(
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
        defaults = {"dilation": (1, 1), "output_padding": (0, 0), "groups": 1, "layout": "NCHW"}
        return self._describe(self.padding, defaults)
