"""Losses of likelihoods, margins and distances as modules; a scalar unless reduction is "none"."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from .. import functional as F
from .._arrays import ArrayLike
from ..errors import DTypeError, ShapeError
from ..tensor import Tensor
from ._args import choice, flag, integer, number
from .loss import _Loss
from .module import Module

__all__ = [
    "CosineEmbeddingLoss",
    "CosineSimilarity",
    "GaussianNLLLoss",
    "HingeEmbeddingLoss",
    "KLDivLoss",
    "MarginRankingLoss",
    "MultiLabelMarginLoss",
    "MultiLabelSoftMarginLoss",
    "MultiMarginLoss",
    "PairwiseDistance",
    "PoissonNLLLoss",
    "SoftMarginLoss",
    "TripletMarginLoss",
    "TripletMarginWithDistanceLoss",
]


class KLDivLoss(_Loss):
    """target (log(target) - input), the input being logarithms; see `functional.kl_div`.

    Args:
        reduction: "mean", "batchmean", "sum" or "none".
        log_target: targets are logarithms too.
    """

    def __init__(self, reduction: str = "mean", log_target: bool = False) -> None:
        kinds = ("none", "mean", "sum", "batchmean")
        super().__init__("sum" if reduction == "batchmean" else reduction)
        self.reduction = choice("KLDivLoss", "reduction", reduction, kinds)
        self.log_target = flag("KLDivLoss", "log_target", log_target)

    def forward(self, input: ArrayLike, target: ArrayLike) -> Any:
        return F.kl_div(input, target, self.reduction, self.log_target)


class PoissonNLLLoss(_Loss):
    """exp(input) - target input and, with `full`, Stirling's log(target!); see `functional.poisson_nll_loss`."""

    def __init__(
        self,
        log_input: bool = True,
        full: bool = False,
        eps: float = 1e-8,
        reduction: str = "mean",
    ) -> None:
        super().__init__(reduction)
        self.log_input = flag("PoissonNLLLoss", "log_input", log_input)
        self.full = flag("PoissonNLLLoss", "full", full)
        self.eps = number("PoissonNLLLoss", "eps", eps)

    def forward(self, input: ArrayLike, target: ArrayLike) -> Any:
        return F.poisson_nll_loss(
            input, target, self.log_input, self.full, self.eps, self.reduction
        )


class GaussianNLLLoss(_Loss):
    """(log(var) + (input - target)^2 / var) / 2 of (input, target, var); see `functional.gaussian_nll_loss`."""

    def __init__(self, *, full: bool = False, eps: float = 1e-6, reduction: str = "mean") -> None:
        super().__init__(reduction)
        self.full = flag("GaussianNLLLoss", "full", full)
        self.eps = number("GaussianNLLLoss", "eps", eps)

    def forward(self, input: ArrayLike, target: ArrayLike, var: ArrayLike | float) -> Any:
        return F.gaussian_nll_loss(input, target, var, self.full, self.eps, self.reduction)


class SoftMarginLoss(_Loss):
    """log(1 + exp(-target input)), targets being 1 or -1."""

    def __init__(self, reduction: str = "mean") -> None:
        super().__init__(reduction)

    def forward(self, input: ArrayLike, target: ArrayLike) -> Any:
        return F.soft_margin_loss(input, target, self.reduction)


class MultiLabelMarginLoss(_Loss):
    """Hinges between labels, those in front of the first -1, and other classes; see
    `functional.multilabel_margin_loss`."""

    def __init__(self, reduction: str = "mean") -> None:
        super().__init__(reduction)

    def forward(self, input: ArrayLike, target: ArrayLike) -> Any:
        return F.multilabel_margin_loss(input, target, self.reduction)


class MultiLabelSoftMarginLoss(_Loss):
    """Binary cross-entropies averaged over the classes; see `functional.multilabel_soft_margin_loss`.

    Args:
        weight: (C,), a factor for each class; kept as a buffer.
        reduction: "mean", "sum" or "none", over the examples.
    """

    weight: Tensor | None

    def __init__(self, weight: Any = None, reduction: str = "mean") -> None:
        super().__init__(reduction)
        self.register_buffer("weight", weight)

    def forward(self, input: ArrayLike, target: ArrayLike) -> Any:
        return F.multilabel_soft_margin_loss(input, target, self.weight, self.reduction)


class MultiMarginLoss(_Loss):
    """Hinges between the label and the other classes, to the power p; see `functional.multi_margin_loss`.

    Args:
        p: 1 or 2.
        margin: by how much the label is to be larger.
        weight: (C,), a factor for each label; kept as a buffer.
        reduction: "mean", "sum" or "none", over the examples.
    """

    weight: Tensor | None

    def __init__(
        self, p: int = 1, margin: float = 1.0, weight: Any = None, reduction: str = "mean"
    ) -> None:
        super().__init__(reduction)
        self.p = integer("MultiMarginLoss", "p", p, 1)
        if self.p > 2:
            raise ShapeError(f"MultiMarginLoss: p must be 1 or 2, got {self.p}")
        self.margin = number("MultiMarginLoss", "margin", margin)
        self.register_buffer("weight", weight)

    def forward(self, input: ArrayLike, target: ArrayLike) -> Any:
        return F.multi_margin_loss(input, target, self.p, self.margin, self.weight, self.reduction)


class HingeEmbeddingLoss(_Loss):
    """input where target is 1, max(0, margin - input) where it is -1."""

    def __init__(self, margin: float = 1.0, reduction: str = "mean") -> None:
        super().__init__(reduction)
        self.margin = number("HingeEmbeddingLoss", "margin", margin)

    def forward(self, input: ArrayLike, target: ArrayLike) -> Any:
        return F.hinge_embedding_loss(input, target, self.margin, self.reduction)


class MarginRankingLoss(_Loss):
    """max(0, -target (input1 - input2) + margin) of (input1, input2, target)."""

    def __init__(self, margin: float = 0.0, reduction: str = "mean") -> None:
        super().__init__(reduction)
        self.margin = number("MarginRankingLoss", "margin", margin)

    def forward(self, input1: ArrayLike, input2: ArrayLike, target: ArrayLike) -> Any:
        return F.margin_ranking_loss(input1, input2, target, self.margin, self.reduction)


class CosineEmbeddingLoss(_Loss):
    """1 - cos where target is 1, max(0, cos - margin) where -1, of (input1, input2, target); see
    `functional.cosine_embedding_loss`."""

    def __init__(self, margin: float = 0.0, reduction: str = "mean") -> None:
        super().__init__(reduction)
        self.margin = number("CosineEmbeddingLoss", "margin", margin)

    def forward(self, input1: ArrayLike, input2: ArrayLike, target: ArrayLike) -> Any:
        return F.cosine_embedding_loss(input1, input2, target, self.margin, self.reduction)


class TripletMarginLoss(_Loss):
    """max(0, d(anchor, positive) - d(anchor, negative) + margin); see `functional.triplet_margin_loss`.

    Args:
        margin: greater than 0.
        p, eps: of `functional.pairwise_distance`.
        swap: take the negative's distance to the positive where that is smaller.
        reduction: "mean", "sum" or "none".
    """

    def __init__(
        self,
        margin: float = 1.0,
        p: float = 2.0,
        eps: float = 1e-6,
        swap: bool = False,
        reduction: str = "mean",
    ) -> None:
        super().__init__(reduction)
        self.margin, self.p = _positive("TripletMarginLoss", margin), p
        self.eps = number("TripletMarginLoss", "eps", eps)
        self.swap = flag("TripletMarginLoss", "swap", swap)

    def forward(self, anchor: ArrayLike, positive: ArrayLike, negative: ArrayLike) -> Any:
        return F.triplet_margin_loss(
            anchor, positive, negative, self.margin, self.p, self.eps, self.swap, self.reduction
        )


class TripletMarginWithDistanceLoss(_Loss):
    """`TripletMarginLoss` with a distance of the caller's.

    Args:
        distance_function: of two arrays, made of functions of `fastconv.functional`; `pairwise_distance` unless
            given.
        margin, swap, reduction: as of `TripletMarginLoss`.
    """

    def __init__(
        self,
        *,
        distance_function: Callable[[Any, Any], Any] | None = None,
        margin: float = 1.0,
        swap: bool = False,
        reduction: str = "mean",
    ) -> None:
        super().__init__(reduction)
        owner = "TripletMarginWithDistanceLoss"
        if distance_function is not None and not callable(distance_function):
            raise DTypeError(
                f"{owner}: distance_function must be callable, got {type(distance_function).__name__}"
            )
        self.distance_function = (
            F.pairwise_distance if distance_function is None else distance_function
        )
        self.margin = _positive(owner, margin)
        self.swap = flag(owner, "swap", swap)

    def forward(self, anchor: ArrayLike, positive: ArrayLike, negative: ArrayLike) -> Any:
        near = self.distance_function(anchor, positive)
        far = self.distance_function(anchor, negative)
        if self.swap:
            far = F.minimum(far, self.distance_function(positive, negative))
        losses = F.clamp(F.add(F.sub(near, far), self.margin), min=0.0)
        if self.reduction == "none":
            return losses
        return F.mean(losses) if self.reduction == "mean" else F.sum(losses)


def _positive(owner: str, margin: Any) -> float:
    value = number(owner, "margin", margin)
    if not value > 0:
        raise ShapeError(f"{owner}: margin must be greater than 0, got {value:g}")
    return value


class PairwiseDistance(Module):
    """The p-norm of x1 - x2 + eps along the last dimension; see `functional.pairwise_distance`."""

    def __init__(self, p: float = 2.0, eps: float = 1e-6, keepdim: bool = False) -> None:
        super().__init__()
        self.norm = p
        self.eps = number("PairwiseDistance", "eps", eps)
        self.keepdim = flag("PairwiseDistance", "keepdim", keepdim)

    def forward(self, x1: ArrayLike, x2: ArrayLike) -> Any:
        return F.pairwise_distance(x1, x2, self.norm, self.eps, self.keepdim)


class CosineSimilarity(Module):
    """The cosine of the angle between vectors along `dim`; see `functional.cosine_similarity`."""

    def __init__(self, dim: int = 1, eps: float = 1e-8) -> None:
        super().__init__()
        self.dim = integer("CosineSimilarity", "dim", dim, -(2**31))
        self.eps = number("CosineSimilarity", "eps", eps)

    def forward(self, x1: ArrayLike, x2: ArrayLike) -> Any:
        return F.cosine_similarity(x1, x2, self.dim, self.eps)
