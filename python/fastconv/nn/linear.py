"""Linear layers and layers that only rearrange."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from .. import functional as F
from .._arrays import ArrayLike
from ..errors import ShapeError
from . import init
from ._args import cpu, flag, float_dtype, integer, number
from ._drawing import draw_first
from .module import Module
from .parameter import Parameter

__all__ = ["Concat", "ConstantPad2d", "Flatten", "Identity", "Linear", "ZeroPad2d"]


class Linear(Module):
    """y = x W^T + b on the last dimension: (..., in_features) -> (..., out_features).

    Args:
        in_features, out_features: sizes of the last dimension before and after.
        bias: add a value per output.
        device, dtype: "cpu"; float32 (default), float64 or bfloat16.

    Raises:
        ShapeError, DTypeError, DeviceError: arguments out of range, of the wrong type, or an
            unknown device.
    """

    bias: Parameter | None

    def __init__(
        self,
        in_features: int,
        out_features: int,
        bias: bool = True,
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        super().__init__()
        self.in_features = integer("Linear", "in_features", in_features, 1)
        self.out_features = integer("Linear", "out_features", out_features, 1)
        has_bias = flag("Linear", "bias", bias)
        cpu("Linear", device)
        target = float_dtype("Linear", dtype)
        self.weight = Parameter(np.empty((self.out_features, self.in_features), target))
        self.bias = Parameter(np.empty(self.out_features, target)) if has_bias else None
        draw_first(self)

    def reset_parameters(self) -> None:
        """Draw weight and bias anew, both uniform within 1 / sqrt(in_features), as PyTorch does."""
        init.kaiming_uniform_(self.weight, a=math.sqrt(5.0))
        if self.bias is not None:
            bound = init.fan_in_bound(self.weight)
            init.uniform_(self.bias, -bound, bound)

    def forward(self, input: ArrayLike) -> Any:
        return F.linear(input, self.weight, self.bias)

    def macs(self, input_shape: tuple[int, ...], output_shape: tuple[int, ...]) -> int:
        return math.prod(output_shape) * self.in_features

    def extra_repr(self) -> str:
        return (
            f"in_features={self.in_features}, out_features={self.out_features}, "
            f"bias={self.bias is not None}"
        )


class Identity(Module):
    """Hands its input on; takes and ignores any arguments, to stand in for other layers."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__()

    def forward(self, input: ArrayLike) -> Any:
        return input


class Flatten(Module):
    """Joins dimensions `start_dim` to `end_dim` into one: by default (N, C, H, W) -> (N, C*H*W)."""

    def __init__(self, start_dim: int = 1, end_dim: int = -1) -> None:
        super().__init__()
        self.start_dim = integer("Flatten", "start_dim", start_dim, -(2**31))
        self.end_dim = integer("Flatten", "end_dim", end_dim, -(2**31))

    def forward(self, input: ArrayLike) -> Any:
        return F.flatten(input, self.start_dim, self.end_dim)

    def extra_repr(self) -> str:
        return f"start_dim={self.start_dim}, end_dim={self.end_dim}"


class Concat(Module):
    """Joins arrays along dimension `dim`: `Concat(1)(a, b)` or `Concat(1)([a, b])`."""

    def __init__(self, dim: int = 1) -> None:
        super().__init__()
        self.dim = integer("Concat", "dim", dim, -(2**31))

    def forward(self, *inputs: ArrayLike) -> Any:
        if len(inputs) == 1 and isinstance(inputs[0], (tuple, list)):
            inputs = tuple(inputs[0])
        return F.concat(inputs, self.dim)

    def extra_repr(self) -> str:
        return f"dim={self.dim}"


class ConstantPad2d(Module):
    """Adds `value` around the last two dimensions, or takes rows and columns away where negative.

    Args:
        padding: an int for all four sides, or (left, right, top, bottom).
        value: what to add.
    """

    def __init__(self, padding: Any, value: float) -> None:
        super().__init__()
        owner = type(self).__name__
        if isinstance(padding, (tuple, list)):
            if len(padding) != 4:
                raise ShapeError(
                    f"{owner}: padding must be an integer or (left, right, top, bottom), "
                    f"got {len(padding)} values"
                )
            sides = tuple(integer(owner, "padding", p, -(2**62)) for p in padding)
        else:
            sides = (integer(owner, "padding", padding, -(2**62)),) * 4
        self.padding = sides
        self.value = number(owner, "value", value)

    def forward(self, input: ArrayLike) -> Any:
        if getattr(input, "ndim", 4) not in (3, 4):
            raise ShapeError(
                f"{type(self).__name__}: the input must have 3 or 4 dimensions, got {input.ndim}"
            )
        return F.pad(input, self.padding, "constant", self.value)

    def extra_repr(self) -> str:
        return f"padding={self.padding}, value={self.value:g}"


class ZeroPad2d(ConstantPad2d):
    """Adds zeros around the last two dimensions; see `ConstantPad2d`."""

    def __init__(self, padding: Any) -> None:
        super().__init__(padding, 0.0)

    def extra_repr(self) -> str:
        return f"{self.padding}"
