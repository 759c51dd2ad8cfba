"""Images of a data set by how a network fares on them: highest losses, wrong answers, who is taken for whom."""

from __future__ import annotations

import heapq
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from .._arrays import NDArray
from ..data import Dataset, Loader
from ..errors import DTypeError, FastconvError, ShapeError
from ..models.classification import as_probabilities
from ..nn import Module
from ..nn._args import integer
from ..tensor import Tensor, as_array, no_grad
from ..train import ConfusionMatrix
from ..train.batches import EVALUATION_BATCH, as_loader
from ..train.evaluation import network_input
from .layers import checked_net, evaluating, net_dtype

__all__ = ["Example", "answers", "confusion", "in_order", "misclassified", "top_losses"]

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
    best: list[tuple[float, int, Example]] = []
    for first, outputs, shares, batch in _answered("top_losses", net, data):
        values = [_own_loss(loss, outputs, batch.labels, i) for i in range(len(outputs))]
        bad = np.flatnonzero(np.isnan(values))
        if len(bad):
            raise FastconvError(f"top_losses: the loss of image {first + bad[0]} is NaN")
        for i in np.argsort(-np.array(values), kind="stable")[:k]:
            key = (values[i], -(first + int(i)))
            if len(best) == k and key <= best[0][:2]:
                continue
            entry = (*key, batch.example(first, int(i), shares[i], values[i]))
            (heapq.heappush if len(best) < k else heapq.heapreplace)(best, entry)
    return [entry[2] for entry in sorted(best, key=lambda e: e[:2], reverse=True)]


def misclassified(net: Module, data: Any, k: int | None = None) -> list[Example]:
    """The images whose most likely class is not the true one, the most confident mistakes first.

    Args:
        net, data: as of `top_losses`.
        k: how many at most; None for all.

    Raises: as `top_losses`.
    """
    if k is not None:
        integer("misclassified", "k", k, 1)
    found: list[Example] = []
    for first, _, shares, batch in _answered("misclassified", net, data):
        wrong = np.flatnonzero(shares.argmax(axis=1) != batch.labels)
        found += [batch.example(first, int(i), shares[i]) for i in wrong]
        if k is not None:
            found = sorted(found, key=lambda e: (-e.probability, e.index))[:k]
    return sorted(found, key=lambda e: (-e.probability, e.index))


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


def in_order(op: str, data: Any) -> Iterator[Batch]:
    """Batches in the stored order, neither augmented nor mixed."""
    if isinstance(data, Loader):
        dataset: Dataset | None = data.dataset
        batches: Any = Loader(
            data.dataset,
            data.batch_size,
            transform=data.transform,
            workers=data.workers,
            worker=data.worker,
        )
    elif isinstance(data, Dataset):
        dataset = data
        pixels = math.prod(data.image_shape[1:])
        batches = Loader(data, max(1, EVALUATION_BATCH * _LARGE // max(_LARGE, pixels)))
    else:
        dataset, batches = None, as_loader(data)
    for inputs, labels in batches:
        x, y = as_array(op, "images", inputs), np.asarray(labels)
        if x.ndim < 2 or y.shape != x.shape[:1] or y.dtype.kind not in "iu":
            raise ShapeError(
                f"{op}: a batch has images {x.shape} and labels {y.dtype} {y.shape}, "
                "expected (N, C, H, W) and N integers"
            )
        yield Batch(x, y.astype(np.int64), dataset)


def _answered(op: str, net: Any, data: Any) -> Iterator[tuple[int, NDArray, NDArray, Batch]]:
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
