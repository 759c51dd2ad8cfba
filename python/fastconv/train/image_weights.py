"""Losses whose images count as much as they are told."""

from __future__ import annotations

import copy
import functools
import inspect
import math
from typing import Any

import numpy as np

from .. import functional as F
from ..errors import DTypeError, ShapeError
from ..models import auxiliary_cross_entropy
from ..nn import CrossEntropyLoss, Module, NLLLoss
from ..tensor import Tensor
from .losses import ClassWeighted, Loss, MultiLoss, Penalised

__all__ = ["ImageWeighted", "image_weights"]

_OF_LABELS = (F.cross_entropy, F.nll_loss, auxiliary_cross_entropy)


class ImageWeighted:
    """A loss with a weight for each image: sum of weight * loss of the image, over what the mean of the
    unweighted losses divides by.

    That is the number of images (where the loss has several values an image, of values), whatever the sum of
    the weights: weights of mean 1 leave the loss's size. With weights of classes it is their sum over the
    batch, and each image counts by both. Of several tasks each is weighted alike; penalties are not.

    Args:
        loss: a loss of `fastconv.functional` or `nn` that is a mean (`reduction`), a `functools.partial` of such
            a function, a function with an argument `sample_weight`, which weighs by itself; or `MultiLoss`,
            `Penalised` and `ClassWeighted` of these.

    Called with (outputs, (labels, weights)), weights (N,) of the outputs' type.

    Raises:
        DTypeError: the loss can be taken of each image in none of these ways.
        ShapeError: there are not as many weights as losses (when called).
    """

    def __init__(self, loss: Loss) -> None:
        self.loss = loss
        self._tasks: dict[str, ImageWeighted] = {}
        self._inner: ImageWeighted | None = None
        if isinstance(loss, MultiLoss):
            self._tasks = {name: ImageWeighted(each) for name, each in loss.losses.items()}
        elif isinstance(loss, Penalised):
            self._inner = ImageWeighted(loss.loss)
        else:
            _check_weighable(loss.loss if isinstance(loss, ClassWeighted) else loss)

    def __call__(self, output: Any, given: Any) -> Any:
        labels, weights = given
        loss: Any = self.loss
        if self._inner is not None:
            return Penalised(_with(self._inner, weights), loss.penalties)(output, labels)
        if self._tasks:
            losses = {name: _with(each, weights) for name, each in self._tasks.items()}
            return MultiLoss(losses, loss.weights, loss.penalties)(output, labels)
        options: dict[str, Any] = {}
        if isinstance(loss, ClassWeighted):
            loss, options = loss.for_outputs(output)
        if _takes(loss, "sample_weight"):
            return loss(output, labels, sample_weight=weights, **options)
        return _weighted_mean(loss, options, output, labels, weights)


def _with(loss: ImageWeighted, weights: Any) -> Loss:
    return lambda output, labels: loss(output, (labels, weights))


def _weighted_mean(
    loss: Any, options: dict[str, Any], output: Any, labels: Any, weights: Any
) -> Any:
    if isinstance(loss, Module):
        settings = {name: getattr(loss, name, None) for name in ("weight", "ignore_index")}
        each: Any = copy.copy(loss)
        each.reduction = "none"
        losses = each(output, labels)
        of_labels = isinstance(loss, (CrossEntropyLoss, NLLLoss))
    else:
        plain, settings = _unwrapped(loss)
        settings = {**settings, **options}
        losses = loss(output, labels, **options, reduction="none")
        of_labels = plain in _OF_LABELS
    if losses.ndim == 0 or losses.shape[0] != weights.shape[0]:
        raise ShapeError(
            f"sample weights: there are {weights.shape[0]} weights, but losses of shape {losses.shape}"
        )
    weighted = F.mul(losses, weights.reshape(weights.shape[0], *(1,) * (losses.ndim - 1)))
    total = F.sum(weighted)
    if of_labels and labels.dtype.kind in "iu":
        first = output[0] if isinstance(output, tuple) else output
        return F.div(total, _sum_of_class_weights(first.shape, losses.dtype, labels, settings))
    return F.mul(total, 1.0 / max(math.prod(losses.shape), 1))


def _sum_of_class_weights(shape: tuple[int, ...], dtype: Any, labels: Any, settings: Any) -> Any:
    """What the mean of a cross-entropy divides by: of labels that count the sum of their classes' weights."""
    weight = settings.get("class_weight")
    weight = settings.get("weight") if weight is None else weight
    if not hasattr(weight, "shape"):  # auxiliary_cross_entropy calls the heads' share so
        weight = None
    ones = np.full(shape, -1.0, dtype)
    index = settings.get("ignore_index")
    return F.nll_loss(ones, labels, weight, -100 if index is None else index, "sum")


def _unwrapped(loss: Any) -> tuple[Any, dict[str, Any]]:
    """The function inside partials, and what they give it."""
    keywords: dict[str, Any] = {}
    while isinstance(loss, functools.partial):
        keywords = {**loss.keywords, **keywords}
        loss = loss.func
    return loss, keywords


def _takes(loss: Any, name: str) -> bool:
    if isinstance(loss, Module):
        return False
    try:
        return name in inspect.signature(_unwrapped(loss)[0]).parameters
    except (TypeError, ValueError):
        return False


def _check_weighable(loss: Any) -> None:
    plain, keywords = _unwrapped(loss)
    name = getattr(plain, "__name__", type(plain).__name__)
    reduction = keywords.get("reduction", getattr(loss, "reduction", "mean"))
    known = hasattr(loss, "reduction") if isinstance(loss, Module) else _takes(loss, "reduction")
    if _takes(loss, "sample_weight"):
        return
    if not known:
        raise DTypeError(
            f"sample weights: {name} cannot be taken of each image; expected a loss of fastconv with a "
            "reduction, or a function with an argument sample_weight"
        )
    if reduction != "mean":
        raise DTypeError(f"sample weights: {name} has the reduction {reduction!r}, expected 'mean'")


def image_weights(op: str, weights: Any, count: int, dtype: Any) -> Any:
    """A batch's weights as an array (count,) of the network's type.

    Raises:
        ShapeError: they are not as many as images, negative or not finite. DTypeError: they are no numbers.
    """
    array = np.asarray(weights.numpy() if isinstance(weights, Tensor) else weights)
    if array.dtype.kind not in "fiub":
        raise DTypeError(f"{op}: weights of images must be numbers, got {array.dtype}")
    if array.shape != (count,):
        raise ShapeError(
            f"{op}: expected a weight for each of {count} images, got shape {array.shape}"
        )
    if not np.isfinite(array).all() or (array < 0).any():
        raise ShapeError(f"{op}: weights of images must be finite and not negative")
    return array.astype(dtype, copy=False)
