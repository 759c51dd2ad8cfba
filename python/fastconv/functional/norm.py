"""Normalisation over batches, over neighbouring channels, and within each example."""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from .. import _ops
from .._arrays import LAYOUTS, ArrayLike, NDArray, Spatial
from ..errors import DTypeError, ShapeError
from ..tensor import Tensor, add_in_place, as_array, finish
from ._args import flag, floating, integer, number, sizes
from .cast import astype
from .elementwise import add, mul, sub
from .indexing import expand
from .reduce import mean
from .reduce import sum as sum_over
from .shape import permute, reshape


def batch_norm(
    input: ArrayLike,
    running_mean: ArrayLike | None,
    running_var: ArrayLike | None,
    weight: ArrayLike | None = None,
    bias: ArrayLike | None = None,
    training: bool = False,
    momentum: float = 0.1,
    eps: float = 1e-5,
    *,
    layout: str = "NCHW",
) -> ArrayLike:
    """(x - mean) / sqrt(var + eps) * weight + bias, channel by channel (Ioffe and Szegedy, 2015).

    Args:
        input: (N, C) or (N, C, ...), float32, float64 or bfloat16; with layout "NHWC" channels come last.
        running_mean, running_var: (C,) statistics of the input's element type (beside bfloat16 also
            float32, as weight and bias may be). Inference normalises
            with them; training normalises with the batch's own and, unless both are None, updates
            them in place: `(1 - momentum) * running + momentum * batch`, the variance unbiased.
        weight, bias: (C,), or None for 1 and 0.
        training: whether the batch's own statistics are used.
        momentum: weight of the new value in the running statistics.
        eps: added to the variance; positive in training.

    Raises:
        ShapeError: shapes that do not fit, one value per channel in training, or no running
            statistics in inference.
        DTypeError: an argument of another type than the input's.
    """
    op = "batch_norm"
    x = as_array(op, "input", input)
    spatial = Spatial(op, x, layout)
    x = spatial.enter(x)
    training = flag(op, "training", training)

    def optional(what: str, value: ArrayLike | None) -> NDArray | None:
        return None if value is None else as_array(op, what, value)

    scale, shift = optional("weight", weight), optional("bias", bias)
    y, mean, invstd = _ops.batch_norm_forward(
        x,
        optional("running_mean", running_mean),
        optional("running_var", running_var),
        scale,
        shift,
        training,
        momentum,
        eps,
        spatial.layout,
    )

    def backward(g: NDArray, needs: tuple[bool, ...]) -> tuple[NDArray | None, ...]:
        dx, dweight, dbias, _ = _ops.batch_norm_backward(
            spatial.enter(g),
            x,
            mean,
            invstd,
            scale,
            training,
            spatial.layout,
            needs[0],
            needs[1],
            needs[2],
        )
        if dbias is not None and shift is not None:
            dbias = dbias.astype(shift.dtype.newbyteorder("="), copy=False)
        return None if dx is None else spatial.leave(dx), dweight, dbias

    return finish(op, spatial.leave(y), (input, weight, bias), backward)


def local_response_norm(
    input: ArrayLike,
    size: int,
    alpha: float = 1e-4,
    beta: float = 0.75,
    k: float = 1.0,
    *,
    layout: str = "NCHW",
) -> ArrayLike:
    """x / (k + alpha / size * sum of x^2 over near channels)^beta (Krizhevsky et al., 2012).

    Args:
        input: (N, C, ...) of at least 3 dimensions, float32, float64 or bfloat16; with layout "NHWC" channels
            come last.
        size: channels in the window, `size // 2` of them before the channel itself; those beyond
            the first and last count as 0.
        alpha, beta, k: the formula's numbers; alpha is divided by `size`.

    Raises:
        ShapeError, DTypeError: the arguments do not fit; the message says how.
    """
    op = "local_response_norm"
    x = as_array(op, "input", input)
    spatial = Spatial(op, x, layout)
    x = spatial.enter(x)
    y = _ops.local_response_norm(x, size, alpha, beta, k, spatial.layout)

    def backward(g: NDArray, needs: tuple[bool, ...]) -> tuple[NDArray | None, ...]:
        dx = _ops.local_response_norm_backward(
            spatial.enter(g), x, size, alpha, beta, k, spatial.layout
        )
        return (spatial.leave(dx),)

    return finish(op, spatial.leave(y), (input,), backward)


def instance_norm(
    input: ArrayLike,
    running_mean: ArrayLike | None = None,
    running_var: ArrayLike | None = None,
    weight: ArrayLike | None = None,
    bias: ArrayLike | None = None,
    use_input_stats: bool = True,
    momentum: float = 0.1,
    eps: float = 1e-5,
    *,
    layout: str = "NCHW",
) -> ArrayLike:
    """(x - mean) / sqrt(var + eps) * weight + bias, over each channel of each example (Ulyanov et al., 2016).

    Args:
        input: (N, C, ...) of at least 3 dimensions, float32, float64 or bfloat16; with layout "NHWC" channels
            come last.
        running_mean, running_var: (C,), used in place of the example's own with `use_input_stats=False`, which
            is `batch_norm` in inference. Otherwise they are updated in place, unless None:
            `(1 - momentum) * running + momentum * statistics`, the examples' mean and unbiased variance averaged.
        weight, bias: (C,), or None for 1 and 0.
        use_input_stats: whether each example's own statistics are used.
        momentum: weight of the new value in the running statistics.
        eps: added to the variance; positive.

    Raises:
        ShapeError: shapes that do not fit, or one value a channel and example.
        DTypeError: arrays that are not all of one type.
    """
    op = "instance_norm"
    x = as_array(op, "input", input)
    floating(op, "input", x)
    if not isinstance(layout, str) or layout not in LAYOUTS:
        raise ShapeError(f"{op}: layout must be 'NCHW' or 'NHWC', got {layout!r}")
    if x.ndim < 3:
        raise ShapeError(f"{op}: input must have at least 3 dimensions, got shape {x.shape}")
    last = layout == "NHWC"
    channels = x.shape[-1 if last else 1]
    epsilon = _epsilon(op, eps)
    share = number(op, "momentum", momentum)
    for what, value in (("weight", weight), ("bias", bias)):
        _parameter(op, what, value, x, (channels,))
    for what, value in (("running_mean", running_mean), ("running_var", running_var)):
        _parameter(op, what, value, x, (channels,))
    if not flag(op, "use_input_stats", use_input_stats):
        for what, value in (("running_mean", running_mean), ("running_var", running_var)):
            if value is None:
                raise ShapeError(f"{op}: {what} is needed with use_input_stats=False")
        return batch_norm(
            input, running_mean, running_var, weight, bias, eps=epsilon, layout=layout
        )
    inner = (0, x.ndim - 1, *range(1, x.ndim - 1))  # channels first
    moved = permute(input, inner) if last else input
    n, spatial = x.shape[0], as_array(op, "input", moved).shape[2:]
    each = math.prod(spatial)
    if each == 1:
        raise ShapeError(f"{op}: needs more than one value for each channel, got shape {x.shape}")
    if x.size == 0:
        return input
    if not math.isfinite(share):
        raise ShapeError(f"{op}: momentum must be finite, got {share}")
    if share and (running_mean is not None or running_var is not None):
        pictures = as_array(op, "input", moved)
        _track(op, pictures, (n, channels, each), (running_mean, running_var), share)

    def repeated(value: ArrayLike | None) -> ArrayLike | None:
        if value is None:
            return None
        return reshape(expand(reshape(value, (1, channels)), (n, channels)), (n * channels,))

    flat = reshape(moved, (1, n * channels, each))
    y = batch_norm(flat, None, None, repeated(weight), repeated(bias), True, 0.1, epsilon)
    y = reshape(y, (n, channels, *spatial))
    return permute(y, (0, *range(2, x.ndim), 1)) if last else y


def _track(
    op: str, x: NDArray, shape: tuple[int, ...], running: Sequence[ArrayLike | None], share: float
) -> None:
    """Moves running mean and variance towards those of x as (examples, channels, elements)."""
    n, _, each = shape
    rows: Any = reshape(Tensor(x), shape)
    if _ops.is_bfloat16(rows.dtype.newbyteorder("=")):
        rows = astype(rows, np.float32)
    own = mean(rows, 2, True)
    off = sub(rows, own)
    found = mean(own, (0, 2)), mul(sum_over(mul(off, off), (0, 2)), 1.0 / (n * (each - 1)))
    for value, new in zip(running, found, strict=True):
        if value is not None:
            state = as_array(op, "running statistics", value)
            step = mul(sub(new, astype(Tensor(state), new.dtype)), share)
            add_in_place(op, state, as_array(op, "step", astype(step, state.dtype)))


def group_norm(
    input: ArrayLike,
    num_groups: int,
    weight: ArrayLike | None = None,
    bias: ArrayLike | None = None,
    eps: float = 1e-5,
    *,
    layout: str = "NCHW",
) -> ArrayLike:
    """(x - mean) / sqrt(var + eps) * weight + bias, over groups of an example's channels (Wu and He, 2018).

    Args:
        input: (N, C, ...), float32, float64 or bfloat16; with layout "NHWC" channels come last.
        num_groups: a divisor of C; each group is normalised by itself.
        weight, bias: (C,), or None for 1 and 0.
        eps: added to the variance; positive.

    Raises:
        ShapeError: shapes that do not fit, or one value a group and example.
        DTypeError: arrays that are not all of one type.
    """
    op = "group_norm"
    x = as_array(op, "input", input)
    floating(op, "input", x)
    if not isinstance(layout, str) or layout not in LAYOUTS:
        raise ShapeError(f"{op}: layout must be 'NCHW' or 'NHWC', got {layout!r}")
    if x.ndim < 2:
        raise ShapeError(f"{op}: input must have at least 2 dimensions, got shape {x.shape}")
    last = layout == "NHWC"
    channels = x.shape[-1 if last else 1]
    groups = integer(op, "num_groups", num_groups)
    if groups < 1 or channels % groups:
        raise ShapeError(
            f"{op}: num_groups must divide the {channels} channels, got {groups} (shape {x.shape})"
        )
    epsilon = _epsilon(op, eps)
    for what, value in (("weight", weight), ("bias", bias)):
        _parameter(op, what, value, x, (channels,))
    moved = permute(input, (0, x.ndim - 1, *range(1, x.ndim - 1))) if last else input
    shape = as_array(op, "input", moved).shape
    each = math.prod(shape[1:]) // groups
    if each == 1:
        raise ShapeError(f"{op}: needs more than one value for each group, got shape {x.shape}")
    y = _normalized(moved, x, shape[0] * groups, each, epsilon)
    y = _scaled(reshape(y, shape), weight, bias, x)
    return permute(y, (0, *range(2, x.ndim), 1)) if last else y


def layer_norm(
    input: ArrayLike,
    normalized_shape: int | Sequence[int],
    weight: ArrayLike | None = None,
    bias: ArrayLike | None = None,
    eps: float = 1e-5,
) -> ArrayLike:
    """(x - mean) / sqrt(var + eps) * weight + bias, over the last dimensions (Ba et al., 2016).

    Args:
        input: (..., *normalized_shape), float32, float64 or bfloat16.
        normalized_shape: the sizes of the dimensions that are normalised together.
        weight, bias: of that shape, or None for 1 and 0.
        eps: added to the variance; positive.

    Raises:
        ShapeError: shapes that do not fit.
        DTypeError: arrays that are not all of one type.
    """
    op = "layer_norm"
    x = as_array(op, "input", input)
    floating(op, "input", x)
    shape = sizes(op, "normalized_shape", normalized_shape)
    if not shape or x.shape[-len(shape) :] != shape:
        raise ShapeError(
            f"{op}: the input's shape must end with normalized_shape {shape}, got {x.shape}"
        )
    epsilon = _epsilon(op, eps)
    for what, value in (("weight", weight), ("bias", bias)):
        _parameter(op, what, value, x, shape)
    each = math.prod(shape)
    rows = x.size // each if each else 0
    scale, shift = (None if v is None else reshape(v, (each,)) for v in (weight, bias))
    y = reshape(_normalized(input, x, rows, each, epsilon), (rows, each))
    return reshape(_scaled(y, scale, shift, x), x.shape)


def _normalized(input: ArrayLike, x: NDArray, rows: int, each: int, eps: float) -> ArrayLike:
    """(1, rows, each), each row with mean 0 and variance 1; bfloat16 as float32. x is the input's array."""
    if _ops.is_bfloat16(x.dtype.newbyteorder("=")):
        input = astype(input, np.float32)
    flat = reshape(input, (1, rows, each))
    if rows == 0 or each == 0:
        return flat
    if each == 1:
        return add(flat, mul(flat, -1.0))
    return batch_norm(flat, None, None, None, None, True, 0.1, eps)


def _scaled(
    y: ArrayLike, weight: ArrayLike | None, bias: ArrayLike | None, x: NDArray
) -> ArrayLike:
    """y (N, C, ...) * weight + bias, of x's type: `batch_norm` with mean 0 and variance 1."""
    native = x.dtype.newbyteorder("=")
    narrow = _ops.is_bfloat16(native)
    if narrow:
        weight, bias = (None if v is None else astype(v, np.float32) for v in (weight, bias))
    if (weight is not None or bias is not None) and math.prod(y.shape):
        mean, var = _unit_statistics(y.shape[1], np.dtype(np.float32) if narrow else native)
        y = batch_norm(y, mean, var, weight, bias, eps=0.0)
    return astype(y, native) if narrow else y


@functools.lru_cache(maxsize=64)
def _unit_statistics(channels: int, dtype: np.dtype[Any]) -> tuple[NDArray, NDArray]:
    return np.zeros(channels, dtype), np.ones(channels, dtype)


def _epsilon(op: str, eps: float) -> float:
    value = number(op, "eps", eps)
    if not (value > 0 and math.isfinite(value)):
        raise ShapeError(f"{op}: eps must be positive and finite, got {value}")
    return value


def _parameter(
    op: str, what: str, value: ArrayLike | None, x: NDArray, shape: tuple[int, ...]
) -> None:
    """An array of one of the input's types; beside bfloat16 also float32."""
    if value is None:
        return
    array = as_array(op, what, value)
    wanted = x.dtype.newbyteorder("=")
    found = array.dtype.newbyteorder("=")
    if found != wanted and not (_ops.is_bfloat16(wanted) and found == np.float32):
        raise DTypeError(f"{op}: {what} must be {wanted} like the input, got {array.dtype}")
    if array.shape != shape:
        raise ShapeError(f"{op}: {what} must have shape {shape}, got {array.shape}")
