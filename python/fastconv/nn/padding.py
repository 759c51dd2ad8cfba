"""Borders as layers, named as PyTorch's: constants, reflections, the edge repeated, the other side."""

from __future__ import annotations

from typing import Any

from .. import functional as F
from .._arrays import ArrayLike
from ..errors import ShapeError
from ._args import integer, memory_layout, number
from .module import Module

__all__ = [
    "CircularPad1d",
    "CircularPad2d",
    "CircularPad3d",
    "ConstantPad1d",
    "ConstantPad2d",
    "ConstantPad3d",
    "ReflectionPad1d",
    "ReflectionPad2d",
    "ReflectionPad3d",
    "ReplicationPad1d",
    "ReplicationPad2d",
    "ReplicationPad3d",
    "ZeroPad1d",
    "ZeroPad2d",
    "ZeroPad3d",
]

SIDES = ("left", "right", "top", "bottom", "front", "back")


class _Pad(Module):
    """A border around the last dimensions, or with layout "NHWC" those before the channels."""

    _spatial: int
    _mode = "constant"

    def __init__(self, padding: Any, *, layout: str = "NCHW") -> None:
        super().__init__()
        owner, count = type(self).__name__, 2 * self._spatial
        if isinstance(padding, (tuple, list)):
            if len(padding) != count:
                raise ShapeError(
                    f"{owner}: padding must be an integer or ({', '.join(SIDES[:count])}), "
                    f"got {len(padding)} values"
                )
            sides = tuple(integer(owner, "padding", p, -(2**62)) for p in padding)
        else:
            sides = (integer(owner, "padding", padding, -(2**62)),) * count
        self.padding = sides
        self.layout = memory_layout(owner, layout)
        self.value = 0.0

    def forward(self, input: ArrayLike) -> Any:
        ranks = (self._spatial + 1, self._spatial + 2)
        if getattr(input, "ndim", ranks[0]) not in ranks:
            raise ShapeError(
                f"{type(self).__name__}: the input must have {ranks[0]} or {ranks[1]} dimensions, "
                f"got {input.ndim}"
            )
        channels = (0, 0) if self.layout == "NHWC" else ()
        return F.pad(input, channels + self.padding, self._mode, self.value)

    def extra_repr(self) -> str:
        return f"{self.padding}" + (f", layout={self.layout!r}" if self.layout != "NCHW" else "")


class _ConstantPad(_Pad):
    """A border of one value."""

    def __init__(self, padding: Any, value: float, *, layout: str = "NCHW") -> None:
        super().__init__(padding, layout=layout)
        self.value = number(type(self).__name__, "value", value)

    def extra_repr(self) -> str:
        text = f"padding={self.padding}, value={self.value:g}"
        return text + (f", layout={self.layout!r}" if self.layout != "NCHW" else "")


class ConstantPad2d(_ConstantPad):
    """Adds `value` around (C, H, W) or (N, C, H, W), or takes rows and columns away where negative.

    Args:
        padding: an int for all sides, or (left, right, top, bottom).
        value: what to add.
        layout: "NCHW", or "NHWC" where channels come last.

    Raises:
        ShapeError, DTypeError: amounts of another number or type; an input of another rank.
    """

    _spatial = 2


class ConstantPad1d(_ConstantPad):
    """Adds `value` at the ends of (C, L) or (N, C, L): padding is (left, right); see `ConstantPad2d`."""

    _spatial = 1


class ConstantPad3d(_ConstantPad):
    """Adds `value` around (C, D, H, W) or (N, C, D, H, W); see `ConstantPad2d`.

    padding is an int or (left, right, top, bottom, front, back).
    """

    _spatial = 3


class ZeroPad1d(_Pad):
    """Adds zeros at the ends of rows; see `ConstantPad1d`."""

    _spatial = 1


class ZeroPad2d(_Pad):
    """Adds zeros around pictures; see `ConstantPad2d`."""

    _spatial = 2


class ZeroPad3d(_Pad):
    """Adds zeros around volumes; see `ConstantPad3d`."""

    _spatial = 3


class ReflectionPad1d(_Pad):
    """Rows continued by their mirror image, the edge not repeated; padding below the row's length."""

    _spatial, _mode = 1, "reflect"


class ReflectionPad2d(_Pad):
    """Pictures continued by their mirror image, the edge not repeated; arguments as for `ConstantPad2d`.

    Amounts are smaller than the picture.
    """

    _spatial, _mode = 2, "reflect"


class ReflectionPad3d(_Pad):
    """Volumes continued by their mirror image; see `ReflectionPad2d`."""

    _spatial, _mode = 3, "reflect"


class ReplicationPad1d(_Pad):
    """The first and last element of rows repeated; arguments as for `ConstantPad1d`."""

    _spatial, _mode = 1, "replicate"


class ReplicationPad2d(_Pad):
    """The edge of pictures repeated; arguments as for `ConstantPad2d`."""

    _spatial, _mode = 2, "replicate"


class ReplicationPad3d(_Pad):
    """The faces of volumes repeated; arguments as for `ConstantPad3d`."""

    _spatial, _mode = 3, "replicate"


class CircularPad1d(_Pad):
    """Rows continued by their other end; amounts at most the row's length."""

    _spatial, _mode = 1, "circular"


class CircularPad2d(_Pad):
    """Pictures continued by their other side; arguments as for `ConstantPad2d`, at most the picture's size."""

    _spatial, _mode = 2, "circular"


class CircularPad3d(_Pad):
    """Volumes continued by their other side; see `CircularPad2d`."""

    _spatial, _mode = 3, "circular"
