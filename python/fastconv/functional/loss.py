"""Loss functions."""

from __future__ import annotations

from typing import Any

import numpy as np

from .. import _ops
from .._arrays import ArrayLike, NDArray
from ..errors import DTypeError, ShapeError
from ..tensor import as_array, finish
from ._args import integer, number
from ._args import reduction as checked_reduction
from .autocast import widened


def cross_entropy(
    input: ArrayLike,
    target: ArrayLike,
    weight: ArrayLike | None = None,
    ignore_index: int = -100,
    reduction: str = "mean",
    label_smoothing: float = 0.0,
) -> ArrayLike:
    """Cross-entropy of softmax(logits) and integer labels.

    Args:
        input: logits (C,), (N, C) or (N, C, d1, ...), float32, float64 or bfloat16.
        target: labels (), (N,) or (N, d1, ...), any integer type.
        weight: (C,), a factor for each class; the mean divides by the sum of the labels' weights.
        ignore_index: a label whose rows count for nothing.
        reduction: "mean", "sum" or "none" (a loss for each label).
        label_smoothing: share in [0, 1] of the target spread evenly over all classes
            (Szegedy et al., 2016).

    Returns:
        A 0-dimensional array, or one of the target's shape for "none". The mean over nothing but
        ignored labels is NaN.

    Raises:
        ShapeError: shapes that do not fit, a label outside [0, C), an unknown reduction.
        DTypeError: labels that are not integers, logits that are not floats.
    """
    op = "cross_entropy"
    input = widened(input)
    weight = None if weight is None else widened(weight)
    x = as_array(op, "input", input)
    if x.ndim == 0:
        raise ShapeError(f"{op}: input must be (C,), (N, C) or (N, C, d1, ...), got shape ()")
    labels = _labels(op, as_array(op, "target", target))
    w = None if weight is None else as_array(op, "weight", weight)
    dim = 0 if x.ndim == 1 else 1
    # Channels-last logits are read as they lie: the classes move to the end.
    if x.ndim > 2 and not x.flags.c_contiguous and np.moveaxis(x, 1, -1).flags.c_contiguous:
        x, dim = np.moveaxis(x, 1, -1), x.ndim - 1
        moved = True
    else:
        moved = False
    index = integer(op, "ignore_index", ignore_index)
    kind = checked_reduction(op, reduction)
    smoothing = number(op, "label_smoothing", label_smoothing)
    loss, saved, divisor = _ops.cross_entropy(x, labels, w, dim, index, kind, smoothing)

    def backward(g: NDArray, needs: tuple[bool, ...]) -> tuple[NDArray | None, ...]:
        dx = _ops.cross_entropy_backward(
            x, labels, w, dim, index, kind, smoothing, saved, divisor, g
        )
        return (np.moveaxis(dx, -1, 1) if moved else dx,)

    return finish(op, loss, (input,), backward)


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


def mse_loss(input: ArrayLike, target: ArrayLike, reduction: str = "mean") -> ArrayLike:
    """(input - target)^2, averaged, summed or ("none") for each element.

    Raises:
        ShapeError: the shapes differ, or the reduction is unknown.
        DTypeError: the types differ, or are not float32, float64 or bfloat16.
    """
    return _pointwise("mse_loss", input, target, reduction)


def l1_loss(input: ArrayLike, target: ArrayLike, reduction: str = "mean") -> ArrayLike:
    """|input - target|, averaged, summed or ("none") for each element; errors as `mse_loss`.

    The derivative where the two are equal is 0.
    """
    return _pointwise("l1_loss", input, target, reduction)


def huber_loss(
    input: ArrayLike, target: ArrayLike, reduction: str = "mean", delta: float = 1.0
) -> ArrayLike:
    """d^2 / 2 for |d| <= delta, delta (|d| - delta / 2) beyond; d = input - target (Huber, 1964).

    Errors as `mse_loss`; ShapeError too where delta is not greater than 0.
    """
    return _pointwise("huber_loss", input, target, reduction, number("huber_loss", "delta", delta))


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
