"""Images of a data set by how a network fares on them: highest losses, wrong answers, who is taken for whom."""

from __future__ import annotations

import heapq
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple, TypeAlias

import numpy as np

from .._arrays import NDArray
from ..data import Dataset, Loader
from ..errors import DTypeError, FastconvError, ShapeError
from ..models.classification import as_probabilities
from ..nn import Module
from ..nn._args import integer
from ..tensor import Tensor, as_array, no_grad
from ..train import ConfusionMatrix
from ..train.batches import EVALUATION_BATCH, as_loader, as_stored
from ..train.evaluation import network_input
from .layers import checked_net, evaluating, net_dtype

__all__ = [
    "Example",
    "Judgement",
    "answers",
    "confusion",
    "in_order",
    "judge",
    "misclassified",
    "top_losses",
]

_LARGE = 64 * 64


@dataclass(frozen=True)
class Example:
    """An image and what a network says of it.

    Attributes:
        index: its place in the data set.
        image: (C, H, W) as it is stored: uint8, or float32; network input where the data is a list of batches.
        label, answer: the true class and the most likely one.
        probability: of the answer, 0 to 1. label_probability: of the true class.
        loss: of this image alone; NaN where no loss was asked for.
    """

    index: int
    image: NDArray
    label: int
    answer: int
    probability: float
    label_probability: float
    loss: float = math.nan


def top_losses(
    net: Module, loss: Callable[[Any, Any], Any], data: Any, k: int = 16
) -> list[Example]:
    """The `k` images with the highest losses, highest first: what the network finds hardest, or wrong labels.

    Args:
        net: a classifier, (N, C, H, W) -> logits or probabilities (N, classes); run in evaluation mode.
        loss: (outputs, labels) of a batch -> mean loss, a one-element Tensor; called for each image
            alone, so that functions like `F.cross_entropy` give the image's own loss.
        data: a data set, a Loader (its data set in the stored order, with its transform, without
            augmentation), or a list of batches (images, labels).
        k: how many at most.

    Raises:
        ShapeError: there is no image, outputs or labels do not fit, or k is below 1.
        DTypeError: arguments are of another type.
        FastconvError: a loss or an output is not a number.
    """
    integer("top_losses", "k", k, 1)
    if not callable(loss):
        raise DTypeError(f"top_losses: loss is a {type(loss).__name__}, expected a function")
    best = _Best(k)
    for part in _answered("top_losses", net, data):
        _offer_losses(best, loss, part)
    return best.ordered()


def misclassified(net: Module, data: Any, k: int | None = None) -> list[Example]:
    """The images whose most likely class is not the true one, the most confident mistakes first.

    Args:
        net, data: as of `top_losses`.
        k: how many at most; None for all.

    Raises: as `top_losses`.
    """
    if k is not None:
        integer("misclassified", "k", k, 1)
    best = _Best(k)
    for part in _answered("misclassified", net, data):
        _offer_mistakes(best, part)
    return best.ordered()


def answers(net: Module, data: Any, indices: Any) -> list[Example]:
    """What a network says of the images at these places of a data set, in that order.

    Raises: as `top_losses`; ShapeError too for places that are not there.
    """
    wanted = [integer("answers", "indices", i, 0) for i in np.asarray(indices).tolist()]
    found: dict[int, Example] = {}
    total = 0
    for first, _, shares, batch in _answered("answers", net, data):
        total = first + len(shares)
        for index in wanted:
            if first <= index < total:
                i = index - first
                found[index] = batch.example(first, i, shares[i])
    missing = [i for i in wanted if i not in found]
    if missing:
        raise ShapeError(f"answers: there is no image {missing[0]}, data has {total}")
    return [found[i] for i in wanted]


def confusion(net: Module, data: Any) -> NDArray:
    """How many images of each class were taken for each class: int64 (classes, classes), row the true one.

    Args:
        net, data: as of `top_losses`.

    Raises: as `top_losses`.
    """
    matrix = ConfusionMatrix()
    for _, outputs, _, batch in _answered("confusion", net, data):
        matrix.update(outputs, batch.labels)
    return matrix.matrix


@dataclass(frozen=True)
class Judgement:
    """What a report says of a network: the confusion matrix, images drawn at random, those with the highest
    losses, and the most confident mistakes."""

    matrix: NDArray
    samples: list[Example]
    hardest: list[Example]
    mistakes: list[Example]


def judge(
    net: Module, loss: Callable[[Any, Any], Any], data: Any, k: int, seed: int = 0
) -> Judgement:
    """All of them in one pass over the data, `k` images each.

    Raises: as `top_losses`.
    """
    matrix, random = ConfusionMatrix(), np.random.default_rng(seed)
    samples, hardest, mistakes = (_Best(k) for _ in range(3))
    for part in _answered("judge", net, data):
        first, outputs, shares, batch = part
        matrix.update(outputs, batch.labels)
        for i, ticket in enumerate(random.random(len(outputs))):
            samples.offer(ticket, first + i, partial(batch.example, first, i, shares[i]))
        _offer_losses(hardest, loss, part)
        _offer_mistakes(mistakes, part)
    drawn = sorted(samples.ordered(), key=lambda e: e.index)
    return Judgement(matrix.matrix, drawn, hardest.ordered(), mistakes.ordered())


class _Best:
    """The examples of the highest scores, of equal ones the first; all of them where k is None."""

    def __init__(self, k: int | None) -> None:
        self._k = k
        self._heap: list[tuple[float, int, Example]] = []

    def offer(self, score: float, index: int, make: Callable[[], Example]) -> None:
        if self._k is None or len(self._heap) < self._k:
            heapq.heappush(self._heap, (score, -index, make()))
        elif (score, -index) > self._heap[0][:2]:
            heapq.heapreplace(self._heap, (score, -index, make()))

    def ordered(self) -> list[Example]:
        """Highest first."""
        return [entry[2] for entry in sorted(self._heap, key=lambda e: e[:2], reverse=True)]


class Batch(NamedTuple):
    """Network input, labels, and where the stored images are to be had."""

    inputs: NDArray
    labels: NDArray
    dataset: Dataset | None

    def example(self, first: int, i: int, shares: NDArray, loss: float = math.nan) -> Example:
        place = np.array([first + i])
        image = self.inputs[i] if self.dataset is None else self.dataset.fetch(place)[0]
        answer, label = int(shares.argmax()), int(self.labels[i])
        return Example(
            first + i,
            np.array(image),
            label,
            answer,
            float(shares[answer]),
            float(shares[label]),
            loss,
        )


# The number of a batch's first image, outputs, probabilities, the batch.
_Part: TypeAlias = tuple[int, NDArray, NDArray, Batch]


def in_order(op: str, data: Any) -> Iterator[Batch]:
    """Batches in the stored order, neither augmented nor mixed."""
    if isinstance(data, Loader):
        dataset: Dataset | None = data.dataset
        batches: Any = as_stored(data)
    elif isinstance(data, Dataset):
        dataset = data
        pixels = math.prod(data.image_shape[1:])
        batches = Loader(data, max(1, EVALUATION_BATCH * _LARGE // max(_LARGE, pixels)))
    else:
        dataset, batches = None, as_loader(data)
    for inputs, labels, *_ in batches:
        x, y = as_array(op, "images", inputs), np.asarray(labels)
        if x.ndim < 2 or y.shape != x.shape[:1] or y.dtype.kind not in "iu":
            raise ShapeError(
                f"{op}: a batch has images {x.shape} and labels {y.dtype} {y.shape}, "
                "expected (N, C, H, W) and N integers"
            )
        yield Batch(x, y.astype(np.int64), dataset)


def _answered(op: str, net: Any, data: Any) -> Iterator[_Part]:
    """Of each batch: the number of its first image, outputs, probabilities, the batch."""
    checked_net(op, net)
    dtype = net_dtype(net)
    first = 0
    with evaluating(net):
        for batch in in_order(op, data):
            with no_grad():
                output = net(network_input(net, batch.inputs, dtype))
            output = getattr(output, "logits", output)
            if not isinstance(output, Tensor) or output.ndim != 2:
                raise ShapeError(f"{op}: the network gives no array (N, classes)")
            rows = output.numpy().astype(np.float32)
            count, classes = rows.shape
            if count != len(batch.labels):
                raise ShapeError(f"{op}: {count} outputs for {len(batch.labels)} images")
            if count and not 0 <= batch.labels.min() <= batch.labels.max() < classes:
                raise ShapeError(
                    f"{op}: labels span {batch.labels.min()} to {batch.labels.max()}, "
                    f"expected 0 to {classes - 1}"
                )
            names = [f"image {first + i}" for i in range(count)]
            yield first, rows, as_probabilities(op, rows, names), batch
            first += count
    if not first:
        raise ShapeError(f"{op}: data has no images")


def _own_loss(loss: Callable[[Any, Any], Any], outputs: NDArray, labels: NDArray, i: int) -> float:
    with no_grad():
        value = np.asarray(loss(Tensor(outputs[i : i + 1]), labels[i : i + 1]))
    if value.size != 1:
        raise ShapeError(f"top_losses: the loss has shape {value.shape}, expected one number")
    return float(value.reshape(()))


def _offer_losses(best: _Best, loss: Callable[[Any, Any], Any], part: _Part) -> None:
    first, outputs, shares, batch = part
    values = [_own_loss(loss, outputs, batch.labels, i) for i in range(len(outputs))]
    for i, value in enumerate(values):
        if math.isnan(value):
            raise FastconvError(f"top_losses: the loss of image {first + i} is NaN")
        best.offer(value, first + i, partial(batch.example, first, i, shares[i], value))


def _offer_mistakes(best: _Best, part: _Part) -> None:
    first, _, shares, batch = part
    for i in np.flatnonzero(shares.argmax(axis=1) != batch.labels).tolist():
        score = float(shares[i].max())
        best.offer(score, first + i, partial(batch.example, first, i, shares[i]))
