"""Dropout layers: of elements, of channels, and those that keep mean and variance."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from .. import functional as F
from .._arrays import ArrayLike
from ._args import flag, memory_layout, number
from .module import Module

__all__ = [
    "AlphaDropout",
    "Dropout",
    "Dropout1d",
    "Dropout2d",
    "Dropout3d",
    "FeatureAlphaDropout",
]


class Dropout(Module):
    """In training mode sets each element to 0 with probability `p`, dividing the others by 1 - p.

    The mask follows from `fastconv.manual_seed`. Source: Srivastava et al., JMLR 15 (2014).
    """

    def __init__(self, p: float = 0.5, inplace: bool = False) -> None:
        super().__init__()
        self.p = number(type(self).__name__, "p", p, 0.0, 1.0)
        flag(type(self).__name__, "inplace", inplace)

    def forward(self, input: ArrayLike) -> Any:
        return F.dropout(input, self.p, self.training)

    def extra_repr(self) -> str:
        return f"p={self.p:g}"


class _ChannelDropout(Module):
    """Whole channels set to 0, in any number of dimensions."""

    _function: Callable[..., Any]

    def __init__(self, p: float = 0.5, inplace: bool = False, *, layout: str = "NCHW") -> None:
        super().__init__()
        owner = type(self).__name__
        self.p = number(owner, "p", p, 0.0, 1.0)
        flag(owner, "inplace", inplace)
        self.layout = memory_layout(owner, layout)

    def forward(self, input: ArrayLike) -> Any:
        return type(self)._function(input, self.p, self.training, layout=self.layout)

    def extra_repr(self) -> str:
        return f"p={self.p:g}" + (f", layout={self.layout!r}" if self.layout != "NCHW" else "")


class Dropout1d(_ChannelDropout):
    """In training mode sets each channel of (N, C, L) or (C, L) to 0 with probability `p`; see `Dropout2d`."""

    _function = staticmethod(F.dropout1d)


class Dropout2d(_ChannelDropout):
    """In training mode sets each channel of (N, C, H, W) or (N, C, L) to 0 with probability `p`, dividing the
    others by 1 - p.

    The mask follows from `fastconv.manual_seed`. With layout "NHWC" channels come last. Source: Tompson
    et al., "Efficient object localization using convolutional networks" (2015).
    """

    _function = staticmethod(F.dropout2d)


class Dropout3d(_ChannelDropout):
    """In training mode sets each channel of (N, C, D, H, W) or (C, D, H, W) to 0; see `Dropout2d`."""

    _function = staticmethod(F.dropout3d)


class AlphaDropout(Dropout):
    """Dropout that keeps mean 0 and variance 1, for networks with SELU; see `functional.alpha_dropout`.

    Source: Klambauer et al., "Self-normalizing neural networks" (2017).
    """

    def forward(self, input: ArrayLike) -> Any:
        return F.alpha_dropout(input, self.p, self.training)


class FeatureAlphaDropout(_ChannelDropout):
    """`AlphaDropout` of whole channels of (N, C, ...); see `functional.feature_alpha_dropout`."""

    _function = staticmethod(F.feature_alpha_dropout)
