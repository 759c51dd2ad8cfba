"""Normalisation layers."""

from __future__ import annotations

from typing import Any

import numpy as np

from .. import functional as F
from .._arrays import ArrayLike
from ..errors import DTypeError, ShapeError
from ..tensor import Tensor
from . import init
from ._args import cpu, flag, float_dtype, integer, memory_layout, number
from .module import Module
from .parameter import Parameter

__all__ = ["BatchNorm1d", "BatchNorm2d", "BatchNorm3d", "LocalResponseNorm"]


class _BatchNorm(Module):
    """Statistics per channel, whatever the rank."""

    weight: Parameter | None
    bias: Parameter | None
    running_mean: Tensor | None
    running_var: Tensor | None
    num_batches_tracked: Tensor | None
    # Files of PyTorch before 0.4.1 lack it.
    _optional_state = frozenset({"num_batches_tracked"})
    _ranks: tuple[int, ...] = ()

    def __init__(
        self,
        num_features: int,
        eps: float = 1e-5,
        momentum: float | None = 0.1,
        affine: bool = True,
        track_running_stats: bool = True,
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        super().__init__()
        owner = type(self).__name__
        self.num_features = integer(owner, "num_features", num_features, 1)
        self.eps = number(owner, "eps", eps, 0.0)
        self.momentum = None if momentum is None else number(owner, "momentum", momentum, 0.0, 1.0)
        self.affine = flag(owner, "affine", affine)
        self.track_running_stats = flag(owner, "track_running_stats", track_running_stats)
        cpu(owner, device)
        target = float_dtype(owner, dtype)
        channels = self.num_features
        self.weight = Parameter(np.ones(channels, target)) if self.affine else None
        self.bias = Parameter(np.zeros(channels, target)) if self.affine else None
        tracks = self.track_running_stats
        self.register_buffer("running_mean", np.zeros(channels, target) if tracks else None)
        self.register_buffer("running_var", np.ones(channels, target) if tracks else None)
        self.register_buffer("num_batches_tracked", np.array(0, np.int64) if tracks else None)

    def reset_running_stats(self) -> None:
        """Mean 0, variance 1, no batches seen."""
        if self.running_mean is not None and self.running_var is not None:
            init.zeros_(self.running_mean)
            init.ones_(self.running_var)
        if self.num_batches_tracked is not None:
            self.num_batches_tracked.numpy()[...] = 0

    def reset_parameters(self) -> None:
        """Weight 1, bias 0, and fresh running statistics."""
        self.reset_running_stats()
        if self.weight is not None and self.bias is not None:
            init.ones_(self.weight)
            init.zeros_(self.bias)

    def _check_rank(self, input: ArrayLike) -> None:
        rank = getattr(input, "ndim", None)
        if rank is None:
            raise DTypeError(
                f"{type(self).__name__}: input must be an array, got {type(input).__name__}"
            )
        if rank not in self._ranks:
            expected = " or ".join(map(str, self._ranks))
            raise ShapeError(
                f"{type(self).__name__}: input must have {expected} dimensions, got {rank}"
            )

    def _normalize(self, input: ArrayLike, layout: str) -> Any:
        """By the batch's statistics in training or where none are kept, else the running ones."""
        self._check_rank(input)
        learns = self.training and not self.frozen
        counter = self.num_batches_tracked if learns else None
        momentum = 0.0 if self.momentum is None else self.momentum
        if self.momentum is None and counter is not None:
            # The running statistics are then plain means over all batches so far.
            momentum = 1.0 / (int(counter.item()) + 1)
        result = F.batch_norm(
            input,
            self.running_mean,
            self.running_var,
            self.weight,
            self.bias,
            learns or self.running_mean is None,
            momentum,
            self.eps,
            layout=layout,
        )
        if counter is not None:
            counter.numpy()[...] += 1
        return result

    def extra_repr(self) -> str:
        return (
            f"{self.num_features}, eps={self.eps:g}, momentum={self.momentum}, "
            f"affine={self.affine}, track_running_stats={self.track_running_stats}"
        )


class BatchNorm1d(_BatchNorm):
    """Batch normalisation of (N, C) or (N, C, L): (x - mean) / sqrt(var + eps) * weight + bias.

    In training mode mean and (biased) variance are the batch's, and the running statistics move
    towards them, the variance unbiased there: running = (1 - momentum) * running + momentum *
    batch. In
        evaluation mode the
    running statistics are used.

    Args:
        num_features: C.
        eps: added to the variance.
        momentum: weight of the new value; None keeps plain means over all batches.
        affine: learn weight and bias.
        track_running_stats: False uses the batch's statistics in evaluation mode too.
        device, dtype: "cpu"; float32 (default), float64 or bfloat16.

    Source: Ioffe & Szegedy, "Batch normalization" (2015).
    """

    _ranks = (2, 3)

    def forward(self, input: ArrayLike) -> Any:
        return self._normalize(input, "NCHW")


class _SpatialBatchNorm(_BatchNorm):
    """In either layout."""

    def __init__(
        self,
        num_features: int,
        eps: float = 1e-5,
        momentum: float | None = 0.1,
        affine: bool = True,
        track_running_stats: bool = True,
        device: Any = None,
        dtype: Any = None,
        *,
        layout: str = "NCHW",
    ) -> None:
        super().__init__(num_features, eps, momentum, affine, track_running_stats, device, dtype)
        self.layout = memory_layout(type(self).__name__, layout)

    def forward(self, input: ArrayLike) -> Any:
        return self._normalize(input, self.layout)

    def extra_repr(self) -> str:
        return super().extra_repr() + (f", layout={self.layout!r}" if self.layout != "NCHW" else "")


class BatchNorm2d(_SpatialBatchNorm):
    """Batch normalisation of (N, C, H, W), or of (N, H, W, C) in NHWC; see `BatchNorm1d`."""

    _ranks = (4,)


class BatchNorm3d(_SpatialBatchNorm):
    """Batch normalisation of (N, C, D, H, W), or of (N, D, H, W, C) in NHWC; see `BatchNorm1d`."""

    _ranks = (5,)


class LocalResponseNorm(Module):
    """x / (k + alpha * mean of x^2 over `size` neighbouring channels)^beta.

    Args:
        size: number of channels in the window, at least 1.
        alpha, beta, k: as in the formula.
        layout: "NCHW" or "NHWC".

    Source: Krizhevsky, Sutskever & Hinton (2012), section 3.3; with the mean in place of the sum,
    as in PyTorch.
    """

    def __init__(
        self,
        size: int,
        alpha: float = 1e-4,
        beta: float = 0.75,
        k: float = 1.0,
        *,
        layout: str = "NCHW",
    ) -> None:
        super().__init__()
        self.size = integer("LocalResponseNorm", "size", size, 1)
        self.alpha = number("LocalResponseNorm", "alpha", alpha)
        self.beta = number("LocalResponseNorm", "beta", beta)
        self.k = number("LocalResponseNorm", "k", k)
        self.layout = memory_layout("LocalResponseNorm", layout)

    def forward(self, input: ArrayLike) -> Any:
        return F.local_response_norm(
            input, self.size, self.alpha, self.beta, self.k, layout=self.layout
        )

    def extra_repr(self) -> str:
        text = f"{self.size}, alpha={self.alpha:g}, beta={self.beta:g}, k={self.k:g}"
        return text + (f", layout={self.layout!r}" if self.layout != "NCHW" else "")
