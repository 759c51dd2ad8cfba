"""Functions that change or join shapes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from .. import _ops
from .._arrays import ArrayLike, MemoryOrder, NDArray
from ..errors import DTypeError, ShapeError
from ..tensor import as_array, finish
from ._args import axes, axis, number, sizes
from .autocast import matched

# Of NumPy's arrays.
MAX_DIMS = 32


def reshape(input: ArrayLike, shape: Sequence[int] | int) -> ArrayLike:
    """The same elements in another shape; one size may be -1. A view where the memory allows.

    Raises:
        ShapeError: the number of elements does not fit.
        DTypeError: sizes that are not integers.
    """
    x = as_array("reshape", "input", input)
    wanted = sizes("reshape", "shape", shape)
    if len(wanted) > MAX_DIMS or max(wanted, default=0) > 2**62:
        raise ShapeError(f"reshape: at most {MAX_DIMS} sizes below 2^62 are possible, got {wanted}")
    unknown = wanted.count(-1)
    known = math.prod(s for s in wanted if s != -1)
    if (
        unknown > 1
        or min(wanted, default=0) < -1
        or (known != x.size if not unknown else known == 0 or x.size % known != 0)
    ):
        raise ShapeError(f"reshape: {x.size} elements of shape {x.shape} do not fit {wanted}")
    return _reshape("reshape", input, x, wanted)


def _reshape(op: str, input: ArrayLike, x: NDArray, shape: tuple[int, ...]) -> ArrayLike:
    def backward(g: NDArray, needs: tuple[bool, ...]) -> tuple[NDArray | None, ...]:
        return (g.reshape(x.shape),)

    return finish(op, x.reshape(shape), (input,), backward)


def flatten(input: ArrayLike, start_dim: int = 0, end_dim: int = -1) -> ArrayLike:
    """Dimensions `start_dim` to `end_dim` (included) joined into one; a view where memory allows.

    Raises:
        ShapeError: a dimension does not exist, or `start_dim` comes after `end_dim`.
    """
    x = as_array("flatten", "input", input)
    start, end = axis("flatten", start_dim, x.ndim), axis("flatten", end_dim, x.ndim)
    if start > end:
        raise ShapeError(f"flatten: start_dim {start_dim} comes after end_dim {end_dim}")
    joined = math.prod(x.shape[start : end + 1])
    return _reshape("flatten", input, x, (*x.shape[:start], joined, *x.shape[end + 1 :]))


def permute(input: ArrayLike, dims: Sequence[int]) -> ArrayLike:
    """The dimensions in the order `dims`: a view.

    Raises:
        ShapeError: `dims` does not name every dimension once.
    """
    return _permute("permute", input, dims)


def _permute(op: str, input: ArrayLike, dims: Any) -> ArrayLike:
    x = as_array(op, "input", input)
    wanted = sizes(op, "dims", dims)
    if len(wanted) != x.ndim:
        raise ShapeError(f"{op}: dims must name {x.ndim} dimensions, got {wanted}")
    order = axes(op, wanted, x.ndim)
    inverse = tuple(sorted(range(x.ndim), key=order.__getitem__))

    def backward(g: NDArray, needs: tuple[bool, ...]) -> tuple[NDArray | None, ...]:
        return (g.transpose(inverse),)

    return finish(op, x.transpose(order), (input,), backward)


def transpose(input: ArrayLike, dim0: int, dim1: int) -> ArrayLike:
    """Dimensions `dim0` and `dim1` exchanged: a view.

    Raises:
        ShapeError: a dimension does not exist.
    """
    ndim = as_array("transpose", "input", input).ndim
    first, second = axis("transpose", dim0, ndim), axis("transpose", dim1, ndim)
    dims = list(range(ndim))
    if ndim:
        dims[first], dims[second] = second, first
    return _permute("transpose", input, dims)


def concat(tensors: Sequence[ArrayLike], dim: int = 0) -> ArrayLike:
    """The arrays one after another along dimension `dim`. Any element type.

    Arrays that are all channels-last views give a channels-last result.

    Raises:
        ShapeError: no arrays, or shapes that differ in another dimension.
        DTypeError: element types that differ.
    """
    if not isinstance(tensors, (tuple, list)):
        raise DTypeError(f"concat: tensors must be a sequence, got {type(tensors).__name__}")
    if not tensors:
        raise ShapeError("concat: needs at least one array")
    tensors = matched(*tensors)
    arrays = [as_array("concat", f"tensors[{i}]", t) for i, t in enumerate(tensors)]
    at = axis("concat", dim, arrays[0].ndim)
    same_ndim = all(a.ndim == arrays[0].ndim for a in arrays)
    order = MemoryOrder(arrays[0])
    if not same_ndim or not all(order.enter(a).flags.c_contiguous for a in arrays):
        order = MemoryOrder(_PLAIN)
    run_at = order.dim(at)
    y = _ops.concat([order.enter(a) for a in arrays], run_at)
    lengths = [a.shape[at] for a in arrays]

    def backward(g: NDArray, needs: tuple[bool, ...]) -> tuple[NDArray | None, ...]:
        pieces = _ops.concat_backward(order.enter(g), run_at, lengths, needs)
        return tuple(None if p is None else order.leave(p) for p in pieces)

    return finish("concat", order.leave(y), tuple(tensors), backward)


_PLAIN = np.zeros(0)
cat = concat


def pad(
    input: ArrayLike, pad: Sequence[int], mode: str = "constant", value: float = 0.0
) -> ArrayLike:
    """The input with a border.

    Args:
        input: any shape, float32, float64 or bfloat16.
        pad: amounts (before, after) for the last dimension, then for the one before it, and so on;
            negative amounts crop.
        mode: "constant" fills with `value`, "reflect" mirrors without repeating the edge,
            "replicate" repeats the edge, "circular" wraps around what was not cropped.
        value: of "constant".

    Raises:
        ShapeError: an odd number of amounts, more than the dimensions have, amounts too large for
            the mode, an unknown mode, a `value` for another mode than "constant".
    """
    x = as_array("pad", "input", input)
    amounts = sizes("pad", "pad", pad)
    if len(amounts) % 2 or len(amounts) > 2 * x.ndim:
        raise ShapeError(
            f"pad: needs a pair of amounts for each of at most {x.ndim} dimensions, got {amounts}"
        )
    if not isinstance(mode, str):
        raise DTypeError(f"pad: mode must be a string, got {type(mode).__name__}")
    fill = number("pad", "value", value)
    if mode != "constant" and fill != 0:
        raise ShapeError(f"pad: mode {mode!r} takes no value, got {fill}")
    if mode == "circular" and min(amounts, default=0) < 0 < max(amounts, default=0):
        # What is cropped does not come back at the other side.
        kept = _pad(input, [min(a, 0) for a in amounts])
        return _pad(kept, [max(a, 0) for a in amounts], mode)
    plain = (0,) * (x.ndim - len(amounts) // 2)
    order = MemoryOrder(x)
    before = order.permute(plain + amounts[0::2][::-1])
    after = order.permute(plain + amounts[1::2][::-1])
    run = order.enter(x)
    y = _ops.pad(run, before, after, mode, fill)
    shape = run.shape

    def backward(g: NDArray, needs: tuple[bool, ...]) -> tuple[NDArray | None, ...]:
        return (order.leave(_ops.pad_backward(order.enter(g), shape, before, after, mode)),)

    return finish("pad", order.leave(y), (input,), backward)


_pad = pad  # by a name that its argument does not hide
