"""The loss of networks with auxiliary heads."""

from __future__ import annotations

from typing import Any

from .. import functional as F
from ..errors import DTypeError
from ..nn._args import number

__all__ = ["auxiliary_cross_entropy"]


def auxiliary_cross_entropy(
    outputs: Any,
    labels: Any,
    weight: float = 0.3,
    class_weight: Any = None,
    reduction: str = "mean",
) -> Any:
    """Cross-entropy of a network's logits, plus `weight` times that of its auxiliary heads.

    A loss for `train.Trainer` with `googlenet` and `inception_v3`, whose output in training mode is
    (logits, auxiliary logits ...). Of a plain array of logits it is `functional.cross_entropy`.

    Args:
        outputs: logits (N, classes), or a tuple of such arrays, the network's own first.
        labels: (N,) integers.
        weight: 0.3 in GoogLeNet's paper.
        class_weight: (classes,), the `weight` of each cross-entropy.
        reduction: "mean", "sum" or "none", of each.

    Raises:
        ShapeError, DTypeError: the arguments do not fit.

    Source: Szegedy et al., "Going deeper with convolutions" (2015), section 5.
    """
    weight = number("auxiliary_cross_entropy", "weight", weight, 0.0)
    if not isinstance(outputs, tuple):
        return F.cross_entropy(outputs, labels, weight=class_weight, reduction=reduction)
    if not outputs:
        raise DTypeError("auxiliary_cross_entropy: outputs is an empty tuple, expected logits")
    total, *others = (
        F.cross_entropy(logits, labels, weight=class_weight, reduction=reduction)
        for logits in outputs
    )
    for other in others:
        total = total + weight * other
    return total
