"""Losses that are likelihoods, and margins between classes."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from .. import _ops
from .._arrays import ArrayLike, NDArray
from .._symbolic import is_symbolic
from ..errors import DTypeError, ShapeError
from ..tensor import Tensor, as_array, finish
from ._args import flag, floating, integer, number
from ._args import reduction as checked_reduction
from ._composed import composed
from .activation import clamp, relu, softplus
from .autocast import widened
from .cast import convert
from .distance import moderate
from .elementary import exp, log, neg
from .elementwise import add, div, maximum, mul, pow, sub
from .gates import logsigmoid
from .indexing import unsqueeze
from .linear import matmul
from .pair_loss import reduced
from .reduce import mean
from .reduce import sum as sum_over
from .shape import reshape


def _alike(op: str, input: ArrayLike, target: ArrayLike) -> tuple[NDArray, NDArray]:
    """Both arrays, of one shape and type."""
    x, t = as_array(op, "input", input), as_array(op, "target", target)
    floating(op, "input", x)
    if t.dtype.newbyteorder("=") != x.dtype.newbyteorder("="):
        raise DTypeError(f"{op}: target must be {x.dtype}, got {t.dtype}")
    if t.shape != x.shape:
        raise ShapeError(f"{op}: target must have the input's shape {x.shape}, got {t.shape}")
    return x, t


def _weighted(op: str, losses: ArrayLike, weight: ArrayLike | None) -> ArrayLike:
    """Each loss times its weight, which broadcasts to the losses' shape."""
    if weight is None:
        return losses
    as_array(op, "weight", weight)
    result = mul(losses, widened(weight))
    if result.shape != losses.shape:
        raise ShapeError(f"{op}: weight must broadcast to the input's shape {losses.shape}")
    return result


@composed
def binary_cross_entropy(
    input: ArrayLike, target: ArrayLike, weight: ArrayLike | None = None, reduction: str = "mean"
) -> ArrayLike:
    """-weight (target log(input) + (1 - target) log(1 - input)), logarithms being at least -100.

    `binary_cross_entropy_with_logits` is more exact. Derivatives are those of PyTorch: to the input
    (input - target) / max(input (1 - input), 1e-12).

    Args:
        input: probabilities, any shape; float32, float64 or bfloat16.
        target: of that shape and type.
        weight: a factor for each loss; broadcasts to the input's shape.
        reduction: "mean", "sum" or "none".

    Raises:
        ShapeError: shapes that do not fit, an input or a target that is NaN or outside [0, 1] (outside of
            programs), an unknown reduction.
        DTypeError: arguments of other types.
    """
    op = "binary_cross_entropy"
    kind = checked_reduction(op, reduction)
    input, target = widened(input), widened(target)
    x, t = _alike(op, input, target)
    for what, array in (("input", x), ("target", t)):
        if is_symbolic(array) or not array.size:
            continue
        if not 0 <= float(array.min()) <= float(array.max()) <= 1:
            raise ShapeError(f"{op}: {what} must be in [0, 1], got {array.min()} to {array.max()}")
    p, wanted = Tensor(x), Tensor(t)
    logs = [clamp(log(v), min=-100.0) for v in (p, sub(1.0, p))]
    losses = neg(add(mul(wanted, logs[0]), mul(sub(1.0, wanted), logs[1])))

    def backward(g: NDArray, needs: tuple[bool, ...]) -> tuple[NDArray | None, ...]:
        dx = dt = None
        if needs[0]:
            slope = div(sub(p, wanted), maximum(mul(p, sub(1.0, p)), 1e-12))
            dx = as_array(op, "gradient", mul(slope, Tensor(g)))
        if needs[1]:
            dt = as_array(op, "gradient", mul(sub(logs[1], logs[0]), Tensor(g)))
        return dx, dt

    made = finish(op, as_array(op, "losses", losses), (input, target), backward)
    return reduced(_weighted(op, made, weight), kind)


@composed
def kl_div(
    input: ArrayLike, target: ArrayLike, reduction: str = "mean", log_target: bool = False
) -> ArrayLike:
    """target (log(target) - input), the input being logarithms: the Kullback-Leibler divergence.

    Args:
        input: logarithms of probabilities, any shape; float32, float64 or bfloat16.
        target: probabilities of that shape, or with `log_target` their logarithms.
        reduction: "mean" over all elements, "batchmean" (the sum over the size of dimension 0), "sum" or "none".

    Raises:
        ShapeError: shapes that differ, or an unknown reduction.
        DTypeError: arguments of other types.
    """
    op = "kl_div"
    kinds = ("none", "mean", "sum", "batchmean")
    if not isinstance(reduction, str) or reduction not in kinds:
        raise ShapeError(f"{op}: reduction must be one of {', '.join(kinds)}, got {reduction!r}")
    logarithms = flag(op, "log_target", log_target)
    input, target = widened(input), widened(target)
    x, t = _alike(op, input, target)
    if logarithms:
        losses = mul(exp(target), sub(target, input))
    else:
        none = _ops.elementwise_scalar("equal", t, 0.0)
        losses = sub(mul(target, log(add(target, none))), mul(target, input))
    if reduction != "batchmean":
        return reduced(losses, reduction)
    total = sum_over(losses)
    if x.ndim == 0:
        return total
    return mul(total, 1.0 / x.shape[0]) if x.shape[0] else mean(losses)  # NaN of no examples


@composed
def poisson_nll_loss(
    input: ArrayLike,
    target: ArrayLike,
    log_input: bool = True,
    full: bool = False,
    eps: float = 1e-8,
    reduction: str = "mean",
) -> ArrayLike:
    """The negative logarithm of a Poisson distribution's probability of `target`, less log(target!).

    Args:
        input: logarithms of the rates, or with `log_input=False` the rates; float32, float64 or bfloat16.
        target: counts, of the input's shape and type.
        full: add Stirling's approximation of log(target!) where the target is above 1.
        eps: added to rates in their logarithms.
        reduction: "mean", "sum" or "none".

    Raises:
        ShapeError: shapes that differ, or an unknown reduction.
        DTypeError: arguments of other types.
    """
    op = "poisson_nll_loss"
    kind = checked_reduction(op, reduction)
    least = number(op, "eps", eps)
    of_logs, with_rest = flag(op, "log_input", log_input), flag(op, "full", full)
    input, target = widened(input), widened(target)
    _, t = _alike(op, input, target)
    rate, log_rate = (exp(input), input) if of_logs else (input, log(add(input, least)))
    losses = sub(rate, mul(target, log_rate))
    if with_rest:
        # 1 where the target is above 1, else 0.
        sign = _ops.activation("sign", _ops.elementwise_scalar("sub", t, 1.0), 0.0)
        above = _ops.elementwise_scalar("maximum", sign, 0.0)
        counts = maximum(target, 1.0)
        rest = sub(mul(counts, log(counts)), counts)
        rest = add(rest, mul(log(mul(counts, 2 * math.pi)), 0.5))
        losses = add(losses, mul(rest, above))
    return reduced(losses, kind)


@composed
def gaussian_nll_loss(
    input: ArrayLike,
    target: ArrayLike,
    var: ArrayLike | float,
    full: bool = False,
    eps: float = 1e-6,
    reduction: str = "mean",
) -> ArrayLike:
    """(log(var) + (input - target)^2 / var) / 2, var being at least `eps` (Nix and Weigend, 1994).

    Args:
        input: means, any shape; float32, float64 or bfloat16.
        target: of that shape and type.
        var: variances, not negative: of the input's shape, with a size of 1 in one dimension, without the last,
            or a number.
        full: add log(2 pi) / 2.
        eps: greater than 0.
        reduction: "mean", "sum" or "none".

    Raises:
        ShapeError: shapes that do not fit, a negative variance (outside of programs), an unknown reduction.
        DTypeError: arguments of other types.
    """
    op = "gaussian_nll_loss"
    kind = checked_reduction(op, reduction)
    least = moderate(op, "eps", eps)
    if not least > 0:
        raise ShapeError(f"{op}: eps must be greater than 0, got {least}")
    constant = flag(op, "full", full)
    input, target = widened(input), widened(target)
    x, _ = _alike(op, input, target)
    difference = sub(input, target)
    squares = mul(difference, difference)
    if isinstance(var, (int, float, np.integer, np.floating)):
        value = number(op, "var", var)
        if not value >= 0:
            raise ShapeError(f"{op}: var must not be negative, got {value}")
        value = max(value, least)
        losses = add(mul(squares, 0.5 / value), 0.5 * math.log(value))
    else:
        var = widened(var)
        v = as_array(op, "var", var)
        floating(op, "var", v)
        if v.shape != x.shape:
            odd = [b for a, b in zip(x.shape, v.shape, strict=False) if a != b]
            if x.ndim and v.shape == x.shape[:-1]:
                var = unsqueeze(var, -1)
            elif v.ndim != x.ndim or odd != [1]:
                raise ShapeError(f"{op}: var {v.shape} does not fit the input's shape {x.shape}")
            v = as_array(op, "var", var)
        if not is_symbolic(v) and v.size and float(v.min()) < 0:
            raise ShapeError(f"{op}: var must not be negative, got {v.min()}")
        # At least eps, without a part in the derivative.
        lift = _ops.elementwise("sub", _ops.elementwise_scalar("maximum", v, least), v)
        var = add(var, lift)
        losses = mul(add(log(var), div(squares, var)), 0.5)
    if constant:
        losses = add(losses, 0.5 * math.log(2 * math.pi))
    return reduced(losses, kind)


@composed
def soft_margin_loss(input: ArrayLike, target: ArrayLike, reduction: str = "mean") -> ArrayLike:
    """log(1 + e^(-target input)), targets being 1 or -1, of the input's shape and type.

    Raises:
        ShapeError: shapes that differ, or an unknown reduction.
        DTypeError: arguments of other types.
    """
    kind = checked_reduction("soft_margin_loss", reduction)
    input, target = widened(input), widened(target)
    _alike("soft_margin_loss", input, target)
    return reduced(softplus(neg(mul(target, input)), 1.0, 40.0), kind)


@composed
def multilabel_soft_margin_loss(
    input: ArrayLike, target: ArrayLike, weight: ArrayLike | None = None, reduction: str = "mean"
) -> ArrayLike:
    """-(target log(s) + (1 - target) log(1 - s)), s = sigmoid(input), averaged over the classes.

    Args:
        input: logits (N, C) or (C,); float32, float64 or bfloat16.
        target: 0 or 1, of that shape and type.
        weight: (C,), a factor for each class.
        reduction: "mean", "sum" or "none", over the examples.

    Raises:
        ShapeError: shapes that do not fit, or an unknown reduction.
        DTypeError: arguments of other types.
    """
    op = "multilabel_soft_margin_loss"
    kind = checked_reduction(op, reduction)
    input, target = widened(input), widened(target)
    x, _ = _alike(op, input, target)
    if x.ndim == 0:
        raise ShapeError(f"{op}: input must be (N, C) or (C,), got shape ()")
    right = mul(target, logsigmoid(input))
    losses = neg(add(right, mul(sub(1.0, target), logsigmoid(neg(input)))))
    return reduced(mean(_weighted(op, losses, weight), -1), kind)


def _class_labels(op: str, target: ArrayLike, classes: int, least: int) -> NDArray:
    """Integer labels as int64; outside of programs they are looked at."""
    labels = as_array(op, "target", target)
    if labels.dtype.kind not in "iu":
        raise DTypeError(f"{op}: target must be integer labels, got {labels.dtype}")
    if is_symbolic(labels):
        return labels
    if labels.size and not least <= int(labels.min()) <= int(labels.max()) < classes:
        raise ShapeError(
            f"{op}: labels must be in [{least}, {classes}), got {labels.min()} to {labels.max()}"
        )
    return labels.astype(np.int64, copy=False)


def chosen(labels: NDArray, classes: int, dtype: Any) -> NDArray:
    """1 where the class is the label, else 0: (..., classes), of a floating type."""
    # float32 tells so many classes apart, float64 all.
    exact = np.dtype(np.float32 if classes <= 2**24 else np.float64)
    numbers = labels.astype(exact).reshape((*labels.shape, 1))
    every = np.arange(classes, dtype=exact).reshape((1,) * labels.ndim + (classes,))
    found = _ops.elementwise("equal", numbers, every)
    return as_array("chosen", "classes", _converted(found, dtype))


def _converted(x: NDArray, dtype: Any) -> NDArray:
    wanted = np.dtype(dtype).newbyteorder("=")
    if _ops.is_bfloat16(wanted):
        return convert(convert(x, np.dtype(np.float32)), wanted)
    return convert(x, wanted)


def _rows(op: str, input: ArrayLike) -> tuple[ArrayLike, NDArray]:
    """Scores as (N, C)."""
    x = as_array(op, "input", input)
    floating(op, "input", x)
    if x.ndim not in (1, 2) or x.shape[-1] == 0:
        raise ShapeError(f"{op}: input must be (N, C) or (C,) of some classes, got shape {x.shape}")
    return (input if x.ndim == 2 else reshape(input, (1, *x.shape))), x


@composed
def multi_margin_loss(
    input: ArrayLike,
    target: ArrayLike,
    p: int = 1,
    margin: float = 1.0,
    weight: ArrayLike | None = None,
    reduction: str = "mean",
) -> ArrayLike:
    """The sum over the other classes of max(0, margin - input[label] + input[class])^p, over C.

    Args:
        input: scores (N, C) or (C,); float32, float64 or bfloat16.
        target: labels (N,) or (), any integer type.
        p: 1 or 2.
        weight: (C,), a factor for each label, inside the power.
        reduction: "mean", "sum" or "none", over the examples.

    Raises:
        ShapeError: shapes or labels that do not fit, another p, or an unknown reduction.
        DTypeError: arguments of other types.
    """
    from .places import gathered

    op = "multi_margin_loss"
    kind = checked_reduction(op, reduction)
    gap, power = moderate(op, "margin", margin), integer(op, "p", p)
    if power not in (1, 2):
        raise ShapeError(f"{op}: p must be 1 or 2, got {power}")
    input = widened(input)
    rows, x = _rows(op, input)
    classes = x.shape[-1]
    labels = _class_labels(op, target, classes, 0)
    if labels.shape != x.shape[:-1]:
        raise ShapeError(f"{op}: target must have shape {x.shape[:-1]}, got {labels.shape}")
    right = chosen(labels.reshape((-1,)), classes, x.dtype)
    # A lookup, which refuses labels that are outside in programs too.
    n = math.prod(labels.shape)
    places = labels.reshape((n, 1, 1))
    of_label = reshape(gathered(op, reshape(rows, (n, classes, 1)), places), (n, 1))
    hinges = relu(add(sub(rows, of_label), gap))
    losses = pow(hinges, 2.0) if power == 2 else hinges
    if weight is not None:
        w = as_array(op, "weight", weight)
        if w.shape != (classes,):
            raise ShapeError(f"{op}: weight must have shape {(classes,)}, got {w.shape}")
        losses = mul(losses, sum_over(mul(widened(weight), right), 1, True))
    losses = mean(mul(losses, _ops.elementwise_scalar("sub", right, 1.0, True)), 1)
    return reduced(reshape(losses, x.shape[:-1]), kind)


@composed
def multilabel_margin_loss(
    input: ArrayLike, target: ArrayLike, reduction: str = "mean"
) -> ArrayLike:
    """The sum over labels y and classes c that are none of max(0, 1 - input[y] + input[c]), over C.

    Args:
        input: scores (N, C) or (C,); float32, float64 or bfloat16.
        target: labels of that shape, any integer type; those from the first -1 on do not count.
        reduction: "mean", "sum" or "none", over the examples.

    Raises:
        ShapeError: shapes or (outside of programs) labels that do not fit, or an unknown reduction.
        DTypeError: arguments of other types.
    """
    op = "multilabel_margin_loss"
    kind = checked_reduction(op, reduction)
    input = widened(input)
    rows, x = _rows(op, input)
    classes = x.shape[-1]
    labels = _class_labels(op, target, classes, -1)
    if labels.shape != x.shape:
        raise ShapeError(f"{op}: target must have shape {x.shape}, got {labels.shape}")
    n = 1 if x.ndim == 1 else x.shape[0]
    found = Tensor(chosen(labels.reshape((n, classes)), classes, x.dtype))  # (N, labels, C)
    missing = sub(1.0, sum_over(found, 2))  # 1 for -1
    earlier = np.triu(np.ones((classes, classes))).astype(x.dtype.newbyteorder("="))
    ended = as_array(op, "ends", matmul(missing, earlier))
    counts = Tensor(_ops.elementwise_scalar("equal", ended, 0.0))
    labelled = sum_over(
        mul(found, reshape(counts, (n, classes, 1))), 1
    )  # how often each class is named
    others = as_array(op, "others", _equal_zero(op, labelled))
    gaps = sub(1.0, sub(reshape(rows, (n, classes, 1)), reshape(rows, (n, 1, classes))))
    hinges = mul(relu(gaps), as_array(op, "labels", reshape(labelled, (n, classes, 1))))
    losses = mean(sum_over(mul(hinges, others.reshape((n, 1, classes))), 1), 1)
    return reduced(reshape(losses, x.shape[:-1]), kind)


def _equal_zero(op: str, value: ArrayLike) -> NDArray:
    return _ops.elementwise_scalar("equal", as_array(op, "value", value), 0.0)
