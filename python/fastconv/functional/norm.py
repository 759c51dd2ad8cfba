"""Normalisation over batches and over neighbouring channels."""

from __future__ import annotations

from .. import _ops
from .._arrays import ArrayLike, NDArray, Spatial
from ..tensor import as_array, finish
from ._args import flag


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
