"""Resizing as a layer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from .. import functional as F
from .._arrays import ArrayLike
from ..errors import ShapeError
from ..functional.resize import MODES
from ._args import choice, flag, memory_layout
from .module import Module

__all__ = ["Upsample", "UpsamplingBilinear2d", "UpsamplingNearest2d"]


class Upsample(Module):
    """The input resized in its spatial dimensions; see `functional.interpolate`.

    Args:
        size: the result's spatial sizes, an int for all or one for each; or
        scale_factor: how many times as large.
        mode, align_corners, recompute_scale_factor: as for `functional.interpolate`.
        layout: "NCHW" or "NHWC".

    Raises:
        ShapeError, DTypeError: arguments of the wrong type, or neither or both of the first two.
    """

    def __init__(
        self,
        size: int | Sequence[int] | None = None,
        scale_factor: float | Sequence[float] | None = None,
        mode: str = "nearest",
        align_corners: bool | None = None,
        recompute_scale_factor: bool | None = None,
        *,
        layout: str = "NCHW",
    ) -> None:
        super().__init__()
        if (size is None) == (scale_factor is None):
            raise ShapeError(f"{type(self).__name__}: expects either size or scale_factor")
        self.size, self.scale_factor = size, scale_factor
        self.mode = choice("Upsample", "mode", mode, MODES)
        self.align_corners = (
            None if align_corners is None else flag("Upsample", "align_corners", align_corners)
        )
        self.recompute_scale_factor = recompute_scale_factor
        self.layout = memory_layout("Upsample", layout)

    def forward(self, input: ArrayLike) -> Any:
        return F.interpolate(
            input,
            self.size,
            self.scale_factor,
            self.mode,
            self.align_corners,
            self.recompute_scale_factor,
            layout=self.layout,
        )

    def extra_repr(self) -> str:
        name = "size" if self.scale_factor is None else "scale_factor"
        text = f"{name}={getattr(self, name)}, mode={self.mode!r}"
        if self.align_corners is not None:
            text += f", align_corners={self.align_corners}"
        return text + (f", layout={self.layout!r}" if self.layout != "NCHW" else "")


class UpsamplingNearest2d(Upsample):
    """(N, C, H, W) by nearest neighbours, to `size` or `scale_factor` times as large; see `Upsample`."""

    def __init__(
        self,
        size: int | Sequence[int] | None = None,
        scale_factor: float | Sequence[float] | None = None,
        *,
        layout: str = "NCHW",
    ) -> None:
        super().__init__(size, scale_factor, "nearest", layout=layout)


class UpsamplingBilinear2d(Upsample):
    """(N, C, H, W) bilinearly, corners staying where they are; see `Upsample`."""

    def __init__(
        self,
        size: int | Sequence[int] | None = None,
        scale_factor: float | Sequence[float] | None = None,
        *,
        layout: str = "NCHW",
    ) -> None:
        super().__init__(size, scale_factor, "bilinear", True, layout=layout)
