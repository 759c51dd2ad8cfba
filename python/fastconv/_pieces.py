"""A batch that is worked through in pieces, whose gradients add up to those of the batch."""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from ._arrays import NDArray
from .errors import ShapeError
from .tensor import as_array

if TYPE_CHECKING:
    from .training_step import TrainingStep

# What a plan does: a whole step; a piece that only adds to the sums; the last piece, with the update.
WHOLE, MORE, LAST = "whole", "more", "last"


def pieces_of(count: int, pieces: int) -> list[slice]:
    """`count` images in at most so many pieces of about equal size, the larger ones first."""
    pieces = max(1, min(pieces, count))
    size, larger = divmod(count, pieces)
    starts = [i * size + min(i, larger) for i in range(pieces + 1)]
    return [slice(starts[i], starts[i + 1]) for i in range(pieces)]


def with_parts(pieces: list[slice]) -> list[tuple[slice, str]]:
    return [(p, MORE) for p in pieces[:-1]] + [(pieces[-1], LAST)]


def joined_outputs(outputs: list[Any], pieces: list[slice]) -> Any:
    """The network's output for a batch, from those of its pieces; what has no place for each image is that of
    the last piece."""
    first = outputs[0]
    if isinstance(first, dict):
        return {k: joined_outputs([o[k] for o in outputs], pieces) for k in first}
    if isinstance(first, (tuple, list)):
        parts = [joined_outputs(list(each), pieces) for each in zip(*outputs, strict=True)]
        return type(first)(*parts) if hasattr(first, "_fields") else type(first)(parts)
    arrays = [np.asarray(o) for o in outputs]
    sizes = [p.stop - p.start for p in pieces]
    if any(
        a.ndim == 0 or len(a) != n for a, n in zip(arrays, sizes, strict=False)
    ):  # fewer than pieces after an error
        return outputs[-1]
    return np.concatenate(arrays)


def labels_of_pieces(op: str, labels: Any, count: int) -> Any:
    """The labels of a batch that is to be cut: one for each image, in each array.

    Raises:
        ShapeError, DTypeError: they are not.
    """

    def checked(labels: Any) -> NDArray:
        array = as_array(op, "labels", labels)
        if array.ndim == 0 or len(array) != count:
            raise ShapeError(
                f"{op}: a batch in pieces needs a label for each of its {count} images, "
                f"got labels of shape {array.shape}"
            )
        return array

    if isinstance(labels, (Mapping, tuple)) and not label_arrays(labels):
        raise ShapeError(f"{op}: labels are an empty {type(labels).__name__}")
    return map_labels(checked, labels)


def checked_pieces(op: str, accumulate: Any) -> int:
    """In how many pieces batches go. ShapeError unless it is an integer of at least 1."""
    try:
        pieces = 0 if isinstance(accumulate, (bool, np.bool_)) else operator.index(accumulate)
    except TypeError:
        pieces = 0
    if pieces < 1:
        raise ShapeError(f"{op}: accumulate must be an integer of at least 1, got {accumulate!r}")
    return pieces


def map_labels(function: Callable[[Any], Any], labels: Any) -> Any:
    """`function` of each array of labels: of one, or of a dictionary or tuple of them, one for each task."""
    if isinstance(labels, Mapping):
        return {str(k): map_labels(function, v) for k, v in labels.items()}
    if isinstance(labels, tuple):
        return tuple(map_labels(function, v) for v in labels)
    return function(labels)


def label_arrays(labels: Any) -> list[Any]:
    """The arrays of labels, in order."""
    found: list[Any] = []
    map_labels(found.append, labels)
    return found


def label_key(labels: Any) -> Any:
    """Structure, shapes and element types."""
    if isinstance(labels, np.ndarray):
        return labels.shape, labels.dtype.str
    if isinstance(labels, Mapping):
        return tuple((k, label_key(v)) for k, v in labels.items())
    return tuple(label_key(v) for v in labels)


def as_labels(labels: Any) -> Any:
    """Labels as a step takes them: integers as int64."""
    if not isinstance(labels, np.ndarray):
        if isinstance(labels, (Mapping, tuple)):
            return map_labels(as_labels, labels)
        labels = as_array("TrainingStep", "labels", labels)
    return labels.astype(np.int64, copy=False) if labels.dtype.kind in "iu" else labels


def cut(labels: Any, piece: slice) -> Any:
    """The labels of a piece."""
    return map_labels(lambda array: array[piece], labels)


class Pieces:
    """A step on a batch in pieces."""

    def __init__(self, step: TrainingStep, pieces: list[slice], plans: Sequence[Any]) -> None:
        self._step, self._pieces, self._plans = step, pieces, plans

    def run(self, x: NDArray, labels: Any) -> tuple[float, Any]:
        labels = as_labels(labels)
        loss, outputs = 0.0, []
        done = False
        try:
            for piece, plan in zip(self._pieces, self._plans, strict=True):
                share = (piece.stop - piece.start) / len(x)
                value, output = plan.run(x[piece], cut(labels, piece), share)
                loss += share * value
                outputs.append(output)
                if not np.isfinite(value):
                    break
            else:
                done = True
        finally:
            if not done:  # what pieces have added is of no use
                for total in self._step._sums.values():
                    total[...] = 0
        return loss, joined_outputs(outputs, self._pieces)

    def dump(self, after: str | None = None) -> str:
        return "\n".join(plan.dump(after) for plan in dict.fromkeys(self._plans))
