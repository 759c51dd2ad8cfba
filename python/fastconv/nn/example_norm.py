"""Normalisation within each example: the same in training and evaluation mode, unless statistics are kept."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from .. import functional as F
from .._arrays import ArrayLike
from ..errors import ShapeError
from ..tensor import Tensor
from . import init
from ._args import cpu, flag, float_dtype, integer, memory_layout, number
from .module import Module
from .parameter import Parameter

__all__ = ["GroupNorm", "InstanceNorm1d", "InstanceNorm2d", "InstanceNorm3d", "LayerNorm"]


class _ExampleNorm(Module):
    """eps, weight and bias."""

    weight: Parameter | None
    bias: Parameter | None

    def __init__(
        self, eps: float, affine: bool, bias: bool, shape: tuple[int, ...], device: Any, dtype: Any
    ) -> None:
        super().__init__()
        owner = type(self).__name__
        self.eps = number(owner, "eps", eps, 0.0)
        cpu(owner, device)
        target = float_dtype(owner, dtype)
        self.weight = Parameter(np.ones(shape, target)) if affine else None
        self.bias = Parameter(np.zeros(shape, target)) if affine and bias else None

    def reset_parameters(self) -> None:
        """Weight 1 and bias 0, where there are any."""
        if self.weight is not None:
            init.ones_(self.weight)
        if self.bias is not None:
            init.zeros_(self.bias)


class _InstanceNorm(_ExampleNorm):
    running_mean: Tensor | None
    running_var: Tensor | None
    num_batches_tracked: Tensor | None
    # Files of PyTorch before 0.4.1 lack it.
    _optional_state = frozenset({"num_batches_tracked"})
    _rank = 0

    def __init__(
        self,
        num_features: int,
        eps: float = 1e-5,
        momentum: float | None = 0.1,
        affine: bool = False,
        track_running_stats: bool = False,
        device: Any = None,
        dtype: Any = None,
        *,
        layout: str = "NCHW",
    ) -> None:
        owner = type(self).__name__
        self.num_features = integer(owner, "num_features", num_features, 1)
        self.affine = flag(owner, "affine", affine)
        super().__init__(eps, self.affine, True, (self.num_features,), device, dtype)
        self.momentum = None if momentum is None else number(owner, "momentum", momentum, 0.0, 1.0)
        self.track_running_stats = flag(owner, "track_running_stats", track_running_stats)
        channels, target = self.num_features, float_dtype(owner, dtype)
        tracks = self.track_running_stats
        self.register_buffer("running_mean", np.zeros(channels, target) if tracks else None)
        self.register_buffer("running_var", np.ones(channels, target) if tracks else None)
        self.register_buffer("num_batches_tracked", np.array(0, np.int64) if tracks else None)
        self.layout = memory_layout(owner, layout)

    def reset_running_stats(self) -> None:
        """Mean 0, variance 1."""
        if self.running_mean is not None and self.running_var is not None:
            init.zeros_(self.running_mean)
            init.ones_(self.running_var)
        if self.num_batches_tracked is not None:
            self.num_batches_tracked.numpy()[...] = 0

    def reset_parameters(self) -> None:
        """Weight 1 and bias 0, where there are any, and fresh running statistics."""
        self.reset_running_stats()
        super().reset_parameters()

    def forward(self, input: ArrayLike) -> Any:
        owner = type(self).__name__
        shape = tuple(getattr(input, "shape", ()))
        if len(shape) not in (self._rank - 1, self._rank):
            raise ShapeError(
                f"{owner}: input must have {self._rank - 1} or {self._rank} dimensions, "
                f"got shape {shape}"
            )
        one = len(shape) == self._rank - 1
        channels = shape[-1 if self.layout == "NHWC" else 0 if one else 1]
        if channels != self.num_features:
            raise ShapeError(f"{owner}: expects {self.num_features} channels, got {channels}")
        result = F.instance_norm(
            F.unsqueeze(input, 0) if one else input,
            self.running_mean,
            self.running_var,
            self.weight,
            self.bias,
            (self.training and not self.frozen) or self.running_mean is None,
            0.0 if self.momentum is None else self.momentum,
            self.eps,
            layout=self.layout,
        )
        return F.squeeze(result, 0) if one else result

    def extra_repr(self) -> str:
        text = f"{self.num_features}, eps={self.eps:g}, momentum={self.momentum}, "
        text += f"affine={self.affine}, track_running_stats={self.track_running_stats}"
        return text + (f", layout={self.layout!r}" if self.layout != "NCHW" else "")


class InstanceNorm1d(_InstanceNorm):
    """(N, C, L) or (C, L), each channel of each example normalised; see `functional.instance_norm`.

    Args:
        num_features: C.
        eps: added to the variance.
        momentum: weight of the new value in the running statistics; None, as 0, leaves them alone, as
            in PyTorch.
        affine: learn weight and bias.
        track_running_stats: keep running statistics, the examples' averaged, and use them in
            evaluation mode.
        device, dtype: "cpu"; float32 (default), float64 or bfloat16.
        layout: "NCHW", or "NHWC" where channels come last.

    Source: Ulyanov, Vedaldi & Lempitsky, "Instance normalization" (2016).
    """

    _rank = 3


class InstanceNorm2d(_InstanceNorm):
    """(N, C, H, W) or (C, H, W), each channel of each example normalised; see `InstanceNorm1d`."""

    _rank = 4


class InstanceNorm3d(_InstanceNorm):
    """(N, C, D, H, W) or (C, D, H, W), each channel of each example normalised; see `InstanceNorm1d`."""

    _rank = 5


class GroupNorm(_ExampleNorm):
    """(N, C, ...), groups of each example's channels normalised; see `functional.group_norm`.

    Args:
        num_groups: a divisor of num_channels.
        num_channels: C.
        eps: added to the variance.
        affine: learn a weight and a bias for each channel.
        device, dtype: "cpu"; float32 (default), float64 or bfloat16.
        layout: "NCHW", or "NHWC" where channels come last.

    Source: Wu & He, "Group normalization" (2018).
    """

    def __init__(
        self,
        num_groups: int,
        num_channels: int,
        eps: float = 1e-5,
        affine: bool = True,
        device: Any = None,
        dtype: Any = None,
        *,
        layout: str = "NCHW",
    ) -> None:
        self.num_groups = integer("GroupNorm", "num_groups", num_groups, 1)
        self.num_channels = integer("GroupNorm", "num_channels", num_channels, 1)
        if self.num_channels % self.num_groups:
            raise ShapeError(
                f"GroupNorm: num_groups must divide num_channels, got {num_groups} and {num_channels}"
            )
        self.affine = flag("GroupNorm", "affine", affine)
        super().__init__(eps, self.affine, True, (self.num_channels,), device, dtype)
        self.layout = memory_layout("GroupNorm", layout)

    def forward(self, input: ArrayLike) -> Any:
        return F.group_norm(
            input, self.num_groups, self.weight, self.bias, self.eps, layout=self.layout
        )

    def extra_repr(self) -> str:
        text = f"{self.num_groups}, {self.num_channels}, eps={self.eps:g}, affine={self.affine}"
        return text + (f", layout={self.layout!r}" if self.layout != "NCHW" else "")


class LayerNorm(_ExampleNorm):
    """The last dimensions normalised together; see `functional.layer_norm`.

    Args:
        normalized_shape: their sizes, or one size.
        eps: added to the variance.
        elementwise_affine: learn a weight of that shape, and with `bias` a bias.
        device, dtype: "cpu"; float32 (default), float64 or bfloat16.

    Source: Ba, Kiros & Hinton, "Layer normalization" (2016).
    """

    def __init__(
        self,
        normalized_shape: int | Sequence[int],
        eps: float = 1e-5,
        elementwise_affine: bool = True,
        bias: bool = True,
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        given = (
            normalized_shape if isinstance(normalized_shape, (tuple, list)) else (normalized_shape,)
        )
        if not given:
            raise ShapeError("LayerNorm: normalized_shape must have at least one size")
        self.normalized_shape = tuple(integer("LayerNorm", "normalized_shape", n, 1) for n in given)
        self.elementwise_affine = flag("LayerNorm", "elementwise_affine", elementwise_affine)
        has_bias = flag("LayerNorm", "bias", bias)
        super().__init__(
            eps, self.elementwise_affine, has_bias, self.normalized_shape, device, dtype
        )

    def forward(self, input: ArrayLike) -> Any:
        return F.layer_norm(input, self.normalized_shape, self.weight, self.bias, self.eps)

    def extra_repr(self) -> str:
        return (
            f"{self.normalized_shape}, eps={self.eps:g}, "
            f"elementwise_affine={self.elementwise_affine}"
        )
