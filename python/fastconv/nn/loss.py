"""Losses as modules, called with (input, target); a scalar unless reduction is "none"."""

from __future__ import annotations

from typing import Any

from .. import functional as F
from .._arrays import ArrayLike
from ..tensor import Tensor
from ._args import choice, integer, number
from .module import Module

__all__ = [
    "BCELoss",
    "BCEWithLogitsLoss",
    "CrossEntropyLoss",
    "HuberLoss",
    "L1Loss",
    "MSELoss",
    "NLLLoss",
    "SmoothL1Loss",
]


class _Loss(Module):
    """The way in which losses become one number."""

    def __init__(self, reduction: str) -> None:
        super().__init__()
        self.reduction = choice(
            type(self).__name__, "reduction", reduction, ("none", "mean", "sum")
        )


class CrossEntropyLoss(_Loss):
    """-log softmax(input)[target]: input (N, C) or (N, C, ...), target (N,) or (N, ...), or
    probabilities of the input's shape.

    Args:
        weight: (C,) weights of the classes; kept as a buffer.
        ignore_index: targets of this value count for nothing.
        reduction: "mean" (weighted), "sum" or "none".
        label_smoothing: share of the target spread evenly over all classes, 0 to 1.

    See `functional.cross_entropy`.
    """

    weight: Tensor | None

    def __init__(
        self,
        weight: Any = None,
        ignore_index: int = -100,
        reduction: str = "mean",
        label_smoothing: float = 0.0,
    ) -> None:
        super().__init__(reduction)
        self.register_buffer("weight", weight)
        self.ignore_index = integer("CrossEntropyLoss", "ignore_index", ignore_index, -(2**63))
        self.label_smoothing = number(
            "CrossEntropyLoss", "label_smoothing", label_smoothing, 0.0, 1.0
        )

    def forward(self, input: ArrayLike, target: ArrayLike) -> Any:
        return F.cross_entropy(
            input,
            target,
            weight=self.weight,
            ignore_index=self.ignore_index,
            reduction=self.reduction,
            label_smoothing=self.label_smoothing,
        )


class NLLLoss(_Loss):
    """-weight[target] * input[target], the input being logarithms of probabilities.

    Arguments as of `CrossEntropyLoss`, without smoothing. See `functional.nll_loss`.
    """

    weight: Tensor | None

    def __init__(
        self, weight: Any = None, ignore_index: int = -100, reduction: str = "mean"
    ) -> None:
        super().__init__(reduction)
        self.register_buffer("weight", weight)
        self.ignore_index = integer("NLLLoss", "ignore_index", ignore_index, -(2**63))

    def forward(self, input: ArrayLike, target: ArrayLike) -> Any:
        return F.nll_loss(input, target, self.weight, self.ignore_index, self.reduction)


class MSELoss(_Loss):
    """(input - target)^2; see `functional.mse_loss`."""

    def __init__(self, reduction: str = "mean") -> None:
        super().__init__(reduction)

    def forward(self, input: ArrayLike, target: ArrayLike) -> Any:
        return F.mse_loss(input, target, reduction=self.reduction)


class L1Loss(_Loss):
    """|input - target|; see `functional.l1_loss`."""

    def __init__(self, reduction: str = "mean") -> None:
        super().__init__(reduction)

    def forward(self, input: ArrayLike, target: ArrayLike) -> Any:
        return F.l1_loss(input, target, reduction=self.reduction)


class HuberLoss(_Loss):
    """Half the squared difference where that is below `delta`, linear beyond."""

    def __init__(self, reduction: str = "mean", delta: float = 1.0) -> None:
        super().__init__(reduction)
        self.delta = number("HuberLoss", "delta", delta, 0.0)

    def forward(self, input: ArrayLike, target: ArrayLike) -> Any:
        return F.huber_loss(input, target, reduction=self.reduction, delta=self.delta)


class SmoothL1Loss(_Loss):
    """The squared difference over 2 beta where the difference is below `beta`, linear beyond."""

    def __init__(self, reduction: str = "mean", beta: float = 1.0) -> None:
        super().__init__(reduction)
        self.beta = number("SmoothL1Loss", "beta", beta, 0.0)

    def forward(self, input: ArrayLike, target: ArrayLike) -> Any:
        return F.smooth_l1_loss(input, target, self.reduction, self.beta)


class BCELoss(_Loss):
    """Cross-entropy of probabilities with targets in [0, 1], element by element.

    Args:
        weight: weight of each element, broadcast to the input; kept as a buffer.
        reduction: "mean", "sum" or "none".

    `BCEWithLogitsLoss` is more exact. See `functional.binary_cross_entropy`.
    """

    weight: Tensor | None

    def __init__(self, weight: Any = None, reduction: str = "mean") -> None:
        super().__init__(reduction)
        self.register_buffer("weight", weight)

    def forward(self, input: ArrayLike, target: ArrayLike) -> Any:
        return F.binary_cross_entropy(input, target, self.weight, self.reduction)


class BCEWithLogitsLoss(_Loss):
    """Cross-entropy of sigmoid(input) with targets in [0, 1], element by element.

    Args:
        weight: weight of each element, broadcast to the input; kept as a buffer.
        reduction: "mean", "sum" or "none".
        pos_weight: weight of the positive part, broadcast; kept as a buffer.
    """

    weight: Tensor | None
    pos_weight: Tensor | None

    def __init__(self, weight: Any = None, reduction: str = "mean", pos_weight: Any = None) -> None:
        super().__init__(reduction)
        self.register_buffer("weight", weight)
        self.register_buffer("pos_weight", pos_weight)

    def forward(self, input: ArrayLike, target: ArrayLike) -> Any:
        return F.binary_cross_entropy_with_logits(
            input,
            target,
            weight=self.weight,
            reduction=self.reduction,
            pos_weight=self.pos_weight,
        )
