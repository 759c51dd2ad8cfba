"""Layers that move elements: channels into pixels and back, patches into columns and back, other shapes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeAlias

from .. import functional as F
from .._arrays import ArrayLike
from ..errors import DTypeError, ShapeError
from ._args import integer, memory_layout, several
from .module import Module

__all__ = [
    "ChannelShuffle",
    "Fold",
    "PixelShuffle",
    "PixelUnshuffle",
    "Unflatten",
    "Unfold",
]

Sizes: TypeAlias = int | Sequence[int]


class PixelShuffle(Module):
    """(..., C r^2, H, W) -> (..., C, H r, W r); see `functional.pixel_shuffle`.

    Args:
        upscale_factor: r.
        layout: "NCHW", or "NHWC" where channels come last.

    Source: Shi et al., "Real-time single image and video super-resolution" (2016).
    """

    def __init__(self, upscale_factor: int, *, layout: str = "NCHW") -> None:
        super().__init__()
        self.upscale_factor = integer("PixelShuffle", "upscale_factor", upscale_factor, 1)
        self.layout = memory_layout("PixelShuffle", layout)

    def forward(self, input: ArrayLike) -> Any:
        return F.pixel_shuffle(input, self.upscale_factor, layout=self.layout)

    def extra_repr(self) -> str:
        return f"upscale_factor={self.upscale_factor}"


class PixelUnshuffle(Module):
    """(..., C, H r, W r) -> (..., C r^2, H, W), `PixelShuffle` backwards."""

    def __init__(self, downscale_factor: int, *, layout: str = "NCHW") -> None:
        super().__init__()
        self.downscale_factor = integer("PixelUnshuffle", "downscale_factor", downscale_factor, 1)
        self.layout = memory_layout("PixelUnshuffle", layout)

    def forward(self, input: ArrayLike) -> Any:
        return F.pixel_unshuffle(input, self.downscale_factor, layout=self.layout)

    def extra_repr(self) -> str:
        return f"downscale_factor={self.downscale_factor}"


class ChannelShuffle(Module):
    """Channels of `groups` groups in turns; see `functional.channel_shuffle`.

    Source: Zhang et al., "ShuffleNet" (2018).
    """

    def __init__(self, groups: int, *, layout: str = "NCHW") -> None:
        super().__init__()
        self.groups = integer("ChannelShuffle", "groups", groups, 1)
        self.layout = memory_layout("ChannelShuffle", layout)

    def forward(self, input: ArrayLike) -> Any:
        return F.channel_shuffle(input, self.groups, layout=self.layout)

    def extra_repr(self) -> str:
        return f"groups={self.groups}"


class _Patches(Module):
    """The windows of `Unfold` and `Fold`."""

    def __init__(self, kernel_size: Sizes, dilation: Sizes, padding: Sizes, stride: Sizes) -> None:
        super().__init__()
        owner = type(self).__name__
        self.kernel_size = several(owner, "kernel_size", kernel_size, 2, 1)
        self.dilation = several(owner, "dilation", dilation, 2, 1)
        self.padding = several(owner, "padding", padding, 2, 0)
        self.stride = several(owner, "stride", stride, 2, 1)

    def extra_repr(self) -> str:
        return (
            f"kernel_size={self.kernel_size}, dilation={self.dilation}, "
            f"padding={self.padding}, stride={self.stride}"
        )


class Unfold(_Patches):
    """Patches of (N, C, H, W) or (C, H, W) as columns (N, C R S, L); see `functional.unfold`."""

    def __init__(
        self,
        kernel_size: Sizes,
        dilation: Sizes = 1,
        padding: Sizes = 0,
        stride: Sizes = 1,
    ) -> None:
        super().__init__(kernel_size, dilation, padding, stride)

    def forward(self, input: ArrayLike) -> Any:
        return F.unfold(input, self.kernel_size, self.dilation, self.padding, self.stride)


class Fold(_Patches):
    """Columns (N, C R S, L) added up where their patches lie; see `functional.fold`."""

    def __init__(
        self,
        output_size: Sizes,
        kernel_size: Sizes,
        dilation: Sizes = 1,
        padding: Sizes = 0,
        stride: Sizes = 1,
    ) -> None:
        super().__init__(kernel_size, dilation, padding, stride)
        self.output_size = several("Fold", "output_size", output_size, 2, 1)

    def forward(self, input: ArrayLike) -> Any:
        return F.fold(
            input, self.output_size, self.kernel_size, self.dilation, self.padding, self.stride
        )

    def extra_repr(self) -> str:
        return f"output_size={self.output_size}, {super().extra_repr()}"


class Unflatten(Module):
    """Dimension `dim` in several, `Flatten` backwards: one size may be -1.

    Args:
        dim: which, counted from the end where negative.
        unflattened_size: the sizes that it becomes.

    Raises:
        ShapeError, DTypeError: sizes that do not fit, at the call where that depends on the input.
    """

    def __init__(self, dim: int, unflattened_size: Sequence[int]) -> None:
        super().__init__()
        self.dim = integer("Unflatten", "dim", dim, -(2**31))
        if not isinstance(unflattened_size, (tuple, list)):
            raise DTypeError(
                f"Unflatten: unflattened_size must be a sequence, got {type(unflattened_size).__name__}"
            )
        if not unflattened_size:
            raise ShapeError("Unflatten: unflattened_size must have at least one size")
        self.unflattened_size = tuple(
            integer("Unflatten", "unflattened_size", s, -1) for s in unflattened_size
        )

    def forward(self, input: ArrayLike) -> Any:
        shape = tuple(getattr(input, "shape", ()))
        if not -len(shape) <= self.dim < len(shape):
            raise ShapeError(f"Unflatten: dim {self.dim} does not exist in shape {shape}")
        at = self.dim % len(shape)
        sizes, size = list(self.unflattened_size), shape[at]
        if sizes.count(-1) == 1:
            known = 1
            for s in sizes:
                known *= 1 if s == -1 else s
            sizes[sizes.index(-1)] = size // known if known else 0
        made = 1
        for s in sizes:
            made *= s
        if -1 in sizes or made != size:
            raise ShapeError(
                f"Unflatten: {size} elements of dimension {at} do not fit {self.unflattened_size}"
            )
        return F.reshape(input, (*shape[:at], *sizes, *shape[at + 1 :]))

    def extra_repr(self) -> str:
        return f"dim={self.dim}, unflattened_size={self.unflattened_size}"
