"""Losses of pairs and triples of vectors: how alike they are, which is larger."""

from __future__ import annotations

from typing import Any

from .. import _ops
from .._arrays import ArrayLike, NDArray
from ..errors import ShapeError
from ..tensor import as_array
from ._args import flag, floating
from ._args import reduction as checked_reduction
from ._composed import composed
from .activation import clamp
from .autocast import widened
from .distance import moderate, pairwise_distance
from .elementary import neg, sqrt
from .elementwise import add, div, minimum, mul, sub
from .reduce import mean
from .reduce import sum as sum_over


def reduced(losses: ArrayLike, kind: str) -> ArrayLike:
    """By "mean", "sum" or "none"."""
    if kind == "none":
        return losses
    return mean(losses) if kind == "mean" else sum_over(losses)


def unless(x: NDArray, number: float) -> NDArray:
    """0 where x is the number, 1 elsewhere."""
    return _ops.elementwise_scalar("sub", _ops.elementwise_scalar("equal", x, number), 1.0, True)


@composed
def margin_ranking_loss(
    input1: ArrayLike,
    input2: ArrayLike,
    target: ArrayLike,
    margin: float = 0.0,
    reduction: str = "mean",
) -> ArrayLike:
    """max(0, -target (input1 - input2) + margin): the first is to be larger where target is 1, smaller where -1.

    Args:
        input1, input2, target: shapes that broadcast; one type: float32, float64 or bfloat16.
        margin: by how much.
        reduction: "mean", "sum" or "none".

    Raises:
        ShapeError: shapes that do not broadcast, or an unknown reduction.
        DTypeError: arguments of other types.
    """
    kind = checked_reduction("margin_ranking_loss", reduction)
    gap = moderate("margin_ranking_loss", "margin", margin)
    for what, value in (("input1", input1), ("input2", input2), ("target", target)):
        floating("margin_ranking_loss", what, as_array("margin_ranking_loss", what, value))
    input1, input2, target = (widened(v) for v in (input1, input2, target))
    return reduced(clamp(add(mul(neg(target), sub(input1, input2)), gap), min=0.0), kind)


@composed
def hinge_embedding_loss(
    input: ArrayLike, target: ArrayLike, margin: float = 1.0, reduction: str = "mean"
) -> ArrayLike:
    """input where target is 1, max(0, margin - input) where it is -1.

    Args:
        input, target: shapes that broadcast; one type: float32, float64 or bfloat16.
        margin: beyond which distances of unlike pairs cost nothing.
        reduction: "mean", "sum" or "none".

    Raises:
        ShapeError: shapes that do not broadcast, or an unknown reduction.
        DTypeError: arguments of other types.
    """
    op = "hinge_embedding_loss"
    kind = checked_reduction(op, reduction)
    gap = moderate(op, "margin", margin)
    input, target = widened(input), widened(target)
    t = as_array(op, "target", target)
    for what, array in (("input", as_array(op, "input", input)), ("target", t)):
        floating(op, what, array)
    unlike = mul(clamp(sub(gap, input), min=0.0), unless(t, 1.0))
    return reduced(add(unlike, mul(input, unless(t, -1.0))), kind)


_EPSILON = 1e-12  # of squared lengths, as in PyTorch


@composed
def cosine_embedding_loss(
    input1: ArrayLike,
    input2: ArrayLike,
    target: ArrayLike,
    margin: float = 0.0,
    reduction: str = "mean",
) -> ArrayLike:
    """1 - cos(input1, input2) where target is 1, max(0, cos - margin) where it is -1.

    Args:
        input1, input2: (N, D) or (D,), one type: float32, float64 or bfloat16.
        target: (N,) or (), of that type.
        margin: from -1 to 1, below which cosines of unlike pairs cost nothing.
        reduction: "mean", "sum" or "none".

    Raises:
        ShapeError: shapes that do not fit, or an unknown reduction.
        DTypeError: arguments of other types.
    """
    op = "cosine_embedding_loss"
    kind = checked_reduction(op, reduction)
    gap = moderate(op, "margin", margin)
    input1, input2, target = (widened(v) for v in (input1, input2, target))
    a, b = as_array(op, "input1", input1), as_array(op, "input2", input2)
    t = as_array(op, "target", target)
    for what, array in (("input1", a), ("input2", b), ("target", t)):
        floating(op, what, array)
    if a.shape != b.shape or a.ndim not in (1, 2) or t.shape != a.shape[:-1]:
        raise ShapeError(
            f"{op}: expects inputs (N, D) and target (N,), or (D,) and (), got {a.shape}, {b.shape} "
            f"and {t.shape}"
        )
    squares = [add(sum_over(mul(x, x), -1), _EPSILON) for x in (input1, input2)]
    cosine = div(sum_over(mul(input1, input2), -1), sqrt(mul(squares[0], squares[1])))
    like, unlike = (_ops.elementwise_scalar("equal", t, v) for v in (1.0, -1.0))
    losses = add(mul(sub(1.0, cosine), like), mul(clamp(sub(cosine, gap), min=0.0), unlike))
    return reduced(losses, kind)


@composed
def triplet_margin_loss(
    anchor: ArrayLike,
    positive: ArrayLike,
    negative: ArrayLike,
    margin: float = 1.0,
    p: float = 2.0,
    eps: float = 1e-6,
    swap: bool = False,
    reduction: str = "mean",
) -> ArrayLike:
    """max(0, d(anchor, positive) - d(anchor, negative) + margin), d being `pairwise_distance`.

    Args:
        anchor, positive, negative: (N, D) or (D,), one type: float32, float64 or bfloat16.
        margin: greater than 0.
        p, eps: of the distances.
        swap: take the negative's distance to the positive where that is smaller (Balntas et al., 2016).
        reduction: "mean", "sum" or "none".

    Raises:
        ShapeError: shapes that do not fit, a margin that is not greater than 0, or an unknown reduction.
        DTypeError: arguments of other types.
    """
    op = "triplet_margin_loss"
    kind = checked_reduction(op, reduction)
    gap = positive_number(op, "margin", margin)
    swaps = flag(op, "swap", swap)
    anchor, positive, negative = (widened(v) for v in (anchor, positive, negative))
    for what, array in (("anchor", anchor), ("positive", positive), ("negative", negative)):
        as_array(op, what, array)
    near = pairwise_distance(anchor, positive, p, eps)
    far = pairwise_distance(anchor, negative, p, eps)
    if swaps:
        far = minimum(far, pairwise_distance(positive, negative, p, eps))
    return reduced(clamp(add(sub(near, far), gap), min=0.0), kind)


def positive_number(op: str, what: str, value: Any) -> float:
    """A number greater than 0."""
    found = moderate(op, what, value)
    if not found > 0:
        raise ShapeError(f"{op}: {what} must be greater than 0, got {found}")
    return found
