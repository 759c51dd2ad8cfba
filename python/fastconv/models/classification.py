"""What a network sees in pictures, by name."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

import numpy as np

from .._arrays import NDArray
from ..data.preprocessing import Preprocess, imagenet_classes
from ..errors import DTypeError, FastconvError, ShapeError
from ..nn import Module

__all__ = ["Guess", "as_probabilities", "best_guesses", "classify"]

Guess = tuple[str, float]
# How far the sum of a row of probabilities may be from 1.
_SUM_TOLERANCE = 1e-3


def classify(
    net: Module,
    images: Sequence[str | os.PathLike[str] | NDArray],
    *,
    preprocess: Preprocess | str = "imagenet",
    top: int = 5,
    classes: Sequence[str] | None = None,
) -> list[list[Guess]]:
    """Name what pictures show.

    Args:
        net: a classifier: (N, C, H, W) -> logits or probabilities (N, classes). Its mode is
            afterwards what it was.
        images: files, or uint8 arrays (H, W, 3).
        preprocess: how to prepare them, or one of `fastconv.data.PRESETS` at 224 pixels.
        top: how many classes to name.
        classes: their names; by default ImageNet's for 1000 classes (without the background for
            1001), numbers for any other count.

    Returns:
        For every picture (name, probability) pairs, the most likely first.

    Raises:
        ShapeError: `classes` are not as many as the network's, the result is not (N, classes), or
            `top` is below 1.
        FastconvError: an output has NaN or positive infinity in it.
        DTypeError, FormatError, ImportError, OSError: as `Preprocess`.
    """
    from ..train import predict

    if not isinstance(net, Module):
        raise DTypeError(f"classify: expected a Module, got {type(net).__name__}")
    if isinstance(images, (str, bytes, os.PathLike)) or not isinstance(images, Sequence):
        raise DTypeError("classify: images must be a sequence of files or arrays")
    if not images:
        raise ShapeError("classify: there are no images")
    prepare = Preprocess(preprocess) if isinstance(preprocess, str) else preprocess
    outputs = [predict(net, prepare(image)) for image in images]
    probabilities = as_probabilities("classify", np.concatenate(outputs))
    return best_guesses("classify", probabilities, top, classes)


def as_probabilities(op: str, output: NDArray, images: Sequence[object] | None = None) -> NDArray:
    """Rows of probabilities: softmax, unless the network has ended in one.

    Raises:
        ShapeError: the output is not (N, classes).
        FastconvError: one of them has no largest number; `images` name them.
    """
    if output.ndim > 2 and output.size == output.shape[0] * output.shape[1]:
        output = output.reshape(output.shape[:2])
    if output.ndim != 2 or not output.size:
        raise ShapeError(f"{op}: the network gives {output.shape}, expected (N, classes)")
    rows = output.astype(np.float64)
    for i, row in enumerate(rows):
        if not np.isfinite(row.max()):  # minus infinity is a probability of 0
            raise FastconvError(
                f"{op}: {i if images is None else images[i]}: the network's output has the largest value "
                f"{row.max():g}, expected a finite number: its weights or the scaling of pixels are wrong"
            )
    sums = rows.sum(1)
    if rows.min() >= 0 and bool(np.all(np.abs(sums - 1) <= _SUM_TOLERANCE)):
        return rows
    powers = np.exp(rows - rows.max(1, keepdims=True))
    result: NDArray = powers / powers.sum(1, keepdims=True)
    return result


def best_guesses(
    op: str, probabilities: NDArray, top: int, classes: Sequence[str] | None = None
) -> list[list[Guess]]:
    """The `top` classes of each row, by name."""
    if isinstance(top, bool) or not isinstance(top, int) or top < 1:
        raise ShapeError(f"{op}: top must be an integer of at least 1, got {top!r}")
    names = _names(op, probabilities.shape[1], classes)
    order = np.argsort(-probabilities, axis=1, kind="stable")[:, :top]
    return [
        [(names[i], float(row[i])) for i in best]
        for row, best in zip(probabilities, order, strict=True)
    ]


def _names(op: str, count: int, classes: Sequence[str] | None) -> Sequence[Any]:
    if classes is not None:
        if len(classes) != count:
            raise ShapeError(f"{op}: {len(classes)} names for a network of {count} classes")
        return [str(name) for name in classes]
    if count == 1000:
        return imagenet_classes()
    if count == 1001:
        return ("background", *imagenet_classes())
    return [str(i) for i in range(count)]
