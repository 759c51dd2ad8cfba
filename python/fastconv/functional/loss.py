"""Loss functions."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from .. import _ops
from .._arrays import ArrayLike, NDArray, is_floating
from ..errors import DTypeError, ShapeError
from ..tensor import as_array, finish
from ._args import floating, integer, number
from ._args import reduction as checked_reduction
from ._composed import composed
from .activation import log_softmax
from .autocast import widened
from .elementary import neg
from .elementwise import add, div, mul
from .reduce import mean
from .reduce import sum as sum_over


def cross_entropy(
    input: ArrayLike,
    target: ArrayLike,
    weight: ArrayLike | None = None,
    ignore_index: int = -100,
    reduction: str = "mean",
    label_smoothing: float = 0.0,
) -> ArrayLike:
    """Cross-entropy of softmax(logits) and labels, or probabilities of the classes.

    Args:
        input: logits (C,), (N, C) or (N, C, d1, ...), float32, float64 or bfloat16.
        target: labels (), (N,) or (N, d1, ...), any integer type; or probabilities, of the logits'
            shape and type, which are differentiated too.
        weight: (C,), a factor for each class; the mean over labels divides by the sum of their
            weights, the mean over probabilities by the number of distributions.
        ignore_index: a label whose rows count for nothing; probabilities allow no other than
            negative ones, and ignore none.
        reduction: "mean", "sum" or "none" (a loss for each label).
        label_smoothing: share in [0, 1] of the target spread evenly over all classes
            (Szegedy et al., 2016).

    Returns:
        A 0-dimensional array, or one of the labels' shape for "none". The mean over nothing but
        ignored labels is NaN.

    Raises:
        ShapeError: shapes that do not fit, a label outside [0, C), an unknown reduction.
        DTypeError: targets that are neither integers nor of the logits' type, logits that are not
            floats.
    """
    op = "cross_entropy"
    input, target = widened(input), widened(target)
    weight = None if weight is None else widened(weight)
    x, t = _logits(op, input), as_array(op, "target", target)
    w = None if weight is None else as_array(op, "weight", weight)
    index = integer(op, "ignore_index", ignore_index)
    kind = checked_reduction(op, reduction)
    smoothing = number(op, "label_smoothing", label_smoothing)
    if is_floating(t.dtype):
        if index >= 0:
            raise ShapeError(f"{op}: probabilities have no ignore_index, got {index}")
        if not 0 <= smoothing <= 1:
            raise ShapeError(f"{op}: label_smoothing must be in [0, 1], got {smoothing}")
        _check_probabilities(op, x, t, w)
        return _of_probabilities(input, target, w, x.shape, kind, smoothing)
    labels = _labels(op, t)
    x, dim, moved = _classes_last(x)
    loss, saved, divisor = _ops.cross_entropy(x, labels, w, dim, index, kind, smoothing)

    def backward(g: NDArray, needs: tuple[bool, ...]) -> tuple[NDArray | None, ...]:
        dx = _ops.cross_entropy_backward(
            x, labels, w, dim, index, kind, smoothing, saved, divisor, g
        )
        return (np.moveaxis(dx, -1, 1) if moved else dx,)

    return finish(op, loss, (input,), backward)


def nll_loss(
    input: ArrayLike,
    target: ArrayLike,
    weight: ArrayLike | None = None,
    ignore_index: int = -100,
    reduction: str = "mean",
) -> ArrayLike:
    """-weight[label] * input[label]: cross_entropy of logits is this of their `log_softmax`.

    Args:
        input: logarithms of probabilities (C,), (N, C) or (N, C, d1, ...).
        target: labels (), (N,) or (N, d1, ...), any integer type.

    The other arguments, the result and errors are as of `cross_entropy`.
    """
    op = "nll_loss"
    input = widened(input)
    weight = None if weight is None else widened(weight)
    x = _logits(op, input)
    labels = _labels(op, as_array(op, "target", target))
    w = None if weight is None else as_array(op, "weight", weight)
    index = integer(op, "ignore_index", ignore_index)
    kind = checked_reduction(op, reduction)
    x, dim, moved = _classes_last(x)
    loss, divisor = _ops.nll_loss(x, labels, w, dim, index, kind)

    def backward(g: NDArray, needs: tuple[bool, ...]) -> tuple[NDArray | None, ...]:
        dx = _ops.nll_loss_backward(x, labels, w, dim, index, kind, divisor, g)
        return (np.moveaxis(dx, -1, 1) if moved else dx,)

    return finish(op, loss, (input,), backward)


def _logits(op: str, input: ArrayLike) -> NDArray:
    x = as_array(op, "input", input)
    if x.ndim == 0:
        raise ShapeError(f"{op}: input must be (C,), (N, C) or (N, C, d1, ...), got shape ()")
    return x


def _classes_last(x: NDArray) -> tuple[NDArray, int, bool]:
    """Logits, the dimension of their classes, and whether it was moved.

    Channels-last logits are read as they lie: the classes move to the end.
    """
    if x.ndim > 2 and not x.flags.c_contiguous and np.moveaxis(x, 1, -1).flags.c_contiguous:
        return np.moveaxis(x, 1, -1), x.ndim - 1, True
    return x, 0 if x.ndim == 1 else 1, False


def _check_probabilities(op: str, x: NDArray, t: NDArray, w: NDArray | None) -> None:
    floating(op, "input", x)
    if x.ndim > 8:
        raise ShapeError(f"{op}: input has {x.ndim} dimensions, at most 8 are possible")
    dim = 0 if x.ndim == 1 else 1
    if t.shape != x.shape:
        raise ShapeError(
            f"{op}: target must be integer labels, or probabilities of the input's shape {x.shape}; "
            f"got {t.dtype} of shape {t.shape}"
        )
    if x.shape[dim] == 0:
        raise ShapeError(f"{op}: input has no classes")
    for what, array in (("target", t), ("weight", w)):
        if array is not None and array.dtype.newbyteorder("=") != x.dtype.newbyteorder("="):
            raise DTypeError(f"{op}: {what} must be {x.dtype}, got {array.dtype}")
    if w is not None and w.shape != (x.shape[dim],):
        raise ShapeError(f"{op}: weight must have shape {(x.shape[dim],)}, got {w.shape}")


def _of_probabilities(
    input: ArrayLike,
    target: ArrayLike,
    w: NDArray | None,
    shape: tuple[int, ...],
    kind: str,
    smoothing: float,
) -> ArrayLike:
    """The cross-entropy of what `_check_probabilities` has seen."""
    dim = 0 if len(shape) == 1 else 1
    classes = shape[dim]
    if smoothing:
        target = add(mul(target, 1 - smoothing), smoothing / classes)
    if w is not None:
        target = mul(target, w.reshape((classes, *(1,) * (len(shape) - dim - 1))))
    losses = neg(sum_over(mul(log_softmax(input, dim), target), dim))
    if kind == "none":
        return losses
    return mean(losses) if kind == "mean" else sum_over(losses)


def _labels(op: str, target: NDArray) -> NDArray:
    """Labels as int64."""
    if target.dtype.kind not in "iu":
        raise DTypeError(f"{op}: target must be integer labels, got {target.dtype}")
    if target.dtype.kind == "u" and target.dtype.itemsize == 8 and target.size:
        largest = int(target.max())
        if largest >= 2**63:
            raise ShapeError(f"{op}: label {largest} is out of range")
    return target.astype(np.int64, copy=False)


def _pointwise(
    op: str,
    input: ArrayLike,
    target: ArrayLike,
    reduction: str,
    delta: float = 1.0,
    weight: ArrayLike | None = None,
    pos_weight: ArrayLike | None = None,
) -> ArrayLike:
    input, target = widened(input), widened(target)
    x, t = as_array(op, "input", input), as_array(op, "target", target)
    kind = checked_reduction(op, reduction)
    w = _broadcast(op, "weight", weight, x.shape)
    pw = _broadcast(op, "pos_weight", pos_weight, x.shape)
    loss = _ops.pointwise_loss(op, x, t, w, pw, delta, kind)

    def backward(g: NDArray, needs: tuple[bool, ...]) -> tuple[NDArray | None, ...]:
        def gradient(wrt_target: bool) -> NDArray:
            return _ops.pointwise_loss_backward(op, x, t, w, pw, delta, kind, g, wrt_target)

        return tuple(gradient(i == 1) if need else None for i, need in enumerate(needs))

    return finish(op, loss, (input, target), backward)


def _broadcast(op: str, what: str, value: Any, shape: tuple[int, ...]) -> NDArray | None:
    """An optional factor seen in the input's shape."""
    if value is None:
        return None
    array = as_array(op, what, widened(value))
    try:
        return np.broadcast_to(array, shape)
    except ValueError as error:
        raise ShapeError(
            f"{op}: {what} must broadcast to the input's shape {shape}, got {array.shape}"
        ) from error


def _with_weight(
    op: str, losses: ArrayLike, weight: ArrayLike, shape: tuple[int, ...], kind: str, shares: bool
) -> ArrayLike:
    """Losses times their weights; with `shares` the mean divides by the sum of the weights."""
    w = as_array(op, "weight", weight)
    if w.shape != shape:
        raise ShapeError(f"{op}: weight must have the input's shape {shape}, got {w.shape}")
    weighted = mul(losses, widened(weight))
    if kind == "none":
        return weighted
    if kind == "mean" and not shares:
        return mean(weighted)
    total = sum_over(weighted)
    return div(total, sum_over(widened(weight))) if kind == "mean" else total


def _of_difference(
    op: str,
    input: ArrayLike,
    target: ArrayLike,
    reduction: str,
    weight: ArrayLike | None,
    delta: float = 1.0,
) -> ArrayLike:
    if weight is None:
        return _pointwise(op, input, target, reduction, delta)
    kind = checked_reduction(op, reduction)
    losses = _pointwise(op, input, target, "none", delta)
    return _with_weight(op, losses, weight, losses.shape, kind, op != "huber_loss")


@composed
def mse_loss(
    input: ArrayLike, target: ArrayLike, reduction: str = "mean", weight: ArrayLike | None = None
) -> ArrayLike:
    """(input - target)^2, averaged, summed or ("none") for each element.

    Args:
        input, target: of one shape and type: float32, float64 or bfloat16.
        reduction: "mean", "sum" or "none".
        weight: a factor for each loss, of the input's shape; the mean divides by their sum.

    Raises:
        ShapeError: the shapes differ, or the reduction is unknown.
        DTypeError: the types differ, or are not float32, float64 or bfloat16.
    """
    return _of_difference("mse_loss", input, target, reduction, weight)


@composed
def l1_loss(
    input: ArrayLike, target: ArrayLike, reduction: str = "mean", weight: ArrayLike | None = None
) -> ArrayLike:
    """|input - target|, averaged, summed or ("none") for each element; weight and errors as of `mse_loss`.

    The derivative where the two are equal is 0.
    """
    return _of_difference("l1_loss", input, target, reduction, weight)


@composed
def huber_loss(
    input: ArrayLike,
    target: ArrayLike,
    reduction: str = "mean",
    delta: float = 1.0,
    weight: ArrayLike | None = None,
) -> ArrayLike:
    """d^2 / 2 for |d| <= delta, delta (|d| - delta / 2) beyond; d = input - target (Huber, 1964).

    Errors as `mse_loss`; ShapeError too where delta is not greater than 0. `weight` is a factor for each loss,
    of the input's shape; the mean is over the elements, as in PyTorch.
    """
    bound = number("huber_loss", "delta", delta)
    return _of_difference("huber_loss", input, target, reduction, weight, bound)


@composed
def smooth_l1_loss(
    input: ArrayLike, target: ArrayLike, reduction: str = "mean", beta: float = 1.0
) -> ArrayLike:
    """d^2 / (2 beta) for |d| < beta, |d| - beta / 2 beyond; d = input - target (Girshick, 2015).

    Errors as `mse_loss`; ShapeError too where beta is negative. With 0 it is `l1_loss`.
    """
    op = "smooth_l1_loss"
    width = number(op, "beta", beta)
    if not 0 <= width < math.inf:
        raise ShapeError(f"{op}: beta must be finite and not negative, got {width}")
    if width < 2.0**-100:  # whose inverse is no float32 number
        return l1_loss(input, target, reduction)
    return mul(huber_loss(input, target, reduction, width), 1.0 / width)


def binary_cross_entropy_with_logits(
    input: ArrayLike,
    target: ArrayLike,
    weight: ArrayLike | None = None,
    reduction: str = "mean",
    pos_weight: ArrayLike | None = None,
) -> ArrayLike:
    """-w (pw t log(s) + (1 - t) log(1 - s)), s = sigmoid(input), without overflow for any logit.

    Args:
        input: logits, any shape.
        target: probabilities of that shape.
        weight: a factor for each loss; broadcasts to the input's shape.
        pos_weight: a factor for the positive term; broadcasts to the input's shape.
        reduction: "mean", "sum" or "none".

    Errors as `mse_loss`. Weights are not differentiated.
    """
    return _pointwise(
        "binary_cross_entropy_with_logits",
        input,
        target,
        reduction,
        weight=weight,
        pos_weight=pos_weight,
    )
