"""Pictures seen through grids of places: what spatial transformers are made of (Jaderberg et al., 2015)."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from .. import _ops
from .._arrays import ArrayLike, NDArray
from .._symbolic import is_symbolic
from ..errors import DTypeError, ShapeError
from ..tensor import Tensor, as_array
from ._args import flag, floating, sizes
from ._composed import composed
from .activation import clamp, hardtanh
from .cast import astype
from .elementary import abs, floor, round
from .elementwise import add, mul, sub
from .indexing import narrow
from .linear import matmul
from .places import gathered
from .shape import permute, reshape

PADDING_MODES = ("zeros", "border", "reflection")


@composed
def affine_grid(
    theta: ArrayLike, size: Sequence[int], align_corners: bool | None = None
) -> ArrayLike:
    """The grid of places of an affine map, for `grid_sample`.

    Args:
        theta: (N, 2, 3), or (N, 3, 4) for volumes; float32 or float64. Maps (x, y, 1) of the output to the input.
        size: of the output: (N, C, H, W) or (N, C, D, H, W).
        align_corners: -1 and 1 are the centres of the corner pixels (True), or their outer edges (False, None).

    Returns:
        (N, H, W, 2) or (N, D, H, W, 3): x first.

    Raises:
        ShapeError: shapes that do not fit.
        DTypeError: arguments of other types.
    """
    op = "affine_grid"
    t = as_array(op, "theta", theta)
    floating(op, "theta", t)
    wanted = sizes(op, "size", size)
    count = len(wanted) - 2
    if count not in (2, 3) or min(wanted) < 1 or math.prod(wanted) > 2**58:
        raise ShapeError(f"{op}: size must be (N, C, H, W) or (N, C, D, H, W), got {wanted}")
    if t.shape != (wanted[0], count, count + 1):
        raise ShapeError(
            f"{op}: theta must have shape {(wanted[0], count, count + 1)}, got {t.shape}"
        )
    corners = False if align_corners is None else flag(op, "align_corners", align_corners)
    axes = [np.linspace(-1, 1, n) if n > 1 else np.zeros(1) for n in wanted[2:]]
    if not corners:
        axes = [a * (n - 1) / n for a, n in zip(axes, wanted[2:], strict=True)]
    places = np.meshgrid(*axes, indexing="ij")[::-1]
    base = np.stack([*places, np.ones(wanted[2:])], -1).reshape(1, -1, count + 1)
    rows = matmul(base.astype(t.dtype.newbyteorder("=")), permute(theta, (0, 2, 1)))
    return reshape(rows, (wanted[0], *wanted[2:], count))


@composed
def grid_sample(
    input: ArrayLike,
    grid: ArrayLike,
    mode: str = "bilinear",
    padding_mode: str = "zeros",
    align_corners: bool | None = None,
) -> ArrayLike:
    """The input's values at the places of a grid.

    Args:
        input: (N, C, H, W) or (N, C, D, H, W), float32 or float64.
        grid: (N, P, Q, 2) or (N, O, P, Q, 3) of the input's type: x first, -1 to 1 from edge to edge. Finite.
        mode: "bilinear" (trilinear in volumes) or "nearest", through which no gradient goes to the grid.
        padding_mode: outside the input "zeros", its "border", or its "reflection".
        align_corners: -1 and 1 are the centres of the corner pixels (True), or their outer edges (False, None).

    Returns:
        (N, C, P, Q) or (N, C, O, P, Q).

    Raises:
        ShapeError: shapes that do not fit, an unknown mode, places that are not finite.
        DTypeError: arguments of other types.
    """
    op = "grid_sample"
    x, g = as_array(op, "input", input), as_array(op, "grid", grid)
    for what, array in (("input", x), ("grid", g)):
        if array.dtype.newbyteorder("=") not in (np.float32, np.float64):
            raise DTypeError(f"{op}: {what} must be float32 or float64, got {array.dtype}")
    if x.dtype.newbyteorder("=") != g.dtype.newbyteorder("="):
        raise DTypeError(f"{op}: grid must be {x.dtype} like the input, got {g.dtype}")
    count = x.ndim - 2
    if count not in (2, 3) or g.ndim != x.ndim or g.shape[-1] != count or g.shape[0] != x.shape[0]:
        raise ShapeError(
            f"{op}: expects (N, C, H, W) and (N, P, Q, 2), or (N, C, D, H, W) and (N, O, P, Q, 3), "
            f"got {x.shape} and {g.shape}"
        )
    if 0 in x.shape or 0 in g.shape:
        raise ShapeError(f"{op}: nothing to sample, got shapes {x.shape} and {g.shape}")
    if not isinstance(mode, str) or mode not in ("bilinear", "nearest"):
        raise ShapeError(f"{op}: mode must be 'bilinear' or 'nearest', got {mode!r}")
    if not isinstance(padding_mode, str) or padding_mode not in PADDING_MODES:
        raise ShapeError(f"{op}: padding_mode must be one of {PADDING_MODES}, got {padding_mode!r}")
    corners = False if align_corners is None else flag(op, "align_corners", align_corners)
    if not is_symbolic(g) and not np.isfinite(g).all():
        raise ShapeError(f"{op}: grid must be finite")
    n, channels, *spatial = x.shape
    points = math.prod(g.shape[1:-1])
    flat = reshape(grid, (n, points, count))
    # The last axis comes first in the grid.
    at = [
        _located(narrow(flat, 2, count - 1 - d, 1), size, corners, padding_mode)
        for d, size in enumerate(spatial)
    ]
    pixels = permute(reshape(input, (n, channels, math.prod(spatial))), (0, 2, 1))
    if mode == "nearest":
        values = _at(op, pixels, [round(a) for a in at], spatial)
    else:
        values = _interpolated(op, pixels, at, spatial)
    return reshape(permute(values, (0, 2, 1)), (n, channels, *g.shape[1:-1]))


def _located(place: ArrayLike, size: int, corners: bool, padding_mode: str) -> ArrayLike:
    """A coordinate of -1 to 1 in pixels, brought inside unless there are zeros outside."""
    span = size - 1 if corners else size
    at = mul(add(place, 1.0), span / 2)
    at = at if corners else sub(at, 0.5)
    if padding_mode == "zeros":
        return clamp(at, -2.0, size + 1.0)  # farther out is as far
    if padding_mode == "reflection":
        if span == 0:
            at = mul(at, 0.0)
        else:
            low = 0.0 if corners else -0.5
            away = abs(sub(at, low))
            turns = floor(mul(away, 1.0 / span))
            rest = sub(away, mul(turns, float(span)))
            odd = sub(turns, mul(floor(mul(turns, 0.5)), 2.0))
            at = add(add(rest, mul(odd, sub(float(span), mul(rest, 2.0)))), low)
    return hardtanh(at, 0.0, size - 1.0)


def _raw(value: Any) -> NDArray:
    return as_array("grid_sample", "places", value)


def _at(op: str, pixels: ArrayLike, places: list[Any], spatial: list[int]) -> ArrayLike:
    """Pixels (N, L, C) at whole places, one (N, M, 1) for each axis; 0 outside."""
    # Exact: float32 counts to 2^24. Outside the tape.
    exact = np.float32 if math.prod(spatial) <= 2**24 else np.float64
    index: Any = None
    inside: Any = None
    for place, size in zip(places, spatial, strict=True):
        p = astype(Tensor(_raw(place)), exact)
        within = clamp(p, 0.0, size - 1.0)
        kept = Tensor(_ops.elementwise("equal", _raw(p), _raw(within)))
        index = within if index is None else add(mul(index, float(size)), within)
        inside = kept if inside is None else mul(inside, kept)
    mask = _raw(astype(inside, _raw(pixels).dtype.newbyteorder("=")))
    whole = _raw(index).astype(np.dtype(np.int64))
    return mul(gathered(op, pixels, whole), mask)


def _interpolated(op: str, pixels: ArrayLike, at: list[Any], spatial: list[int]) -> ArrayLike:
    below = [floor(a) for a in at]
    parts = [sub(a, b) for a, b in zip(at, below, strict=True)]
    total: ArrayLike | None = None
    for corner in itertools.product((0, 1), repeat=len(at)):
        places = [b if c == 0 else add(b, 1.0) for b, c in zip(below, corner, strict=True)]
        values = _at(op, pixels, places, spatial)
        for part, c in zip(parts, corner, strict=True):
            values = mul(values, part if c else sub(1.0, part))
        total = values if total is None else add(total, values)
    assert total is not None
    return total
