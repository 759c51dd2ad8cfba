"""Linear layers and layers that only rearrange."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from .. import functional as F
from .._arrays import ArrayLike
from . import init
from ._args import cpu, flag, float_dtype, integer
from ._drawing import draw_first
from .module import Module
from .parameter import Parameter

__all__ = ["Concat", "Flatten", "Identity", "Linear"]


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
