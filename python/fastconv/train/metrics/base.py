"""What a metric is: a function of one batch, or an object that takes batch after batch."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

import numpy as np

from ..._arrays import NDArray
from ...errors import DTypeError, FastconvError

__all__ = ["AnyMetric", "Metric", "MetricFunction", "plain_result"]

# (outputs, labels) of a batch -> its mean
MetricFunction: TypeAlias = Callable[[Any, Any], float]


class Metric:
    """A figure that is summed up over batches: `update` for each, then `result`; `reset` begins anew.

    What a mean of batches' results would get wrong where batches differ in size, or where the figure is no
    mean of images at all (precision), is exact here: it does not depend on how the images were cut.
    """

    def update(self, outputs: NDArray, labels: NDArray) -> None:
        """Take in the network's outputs for a batch and its labels."""
        raise NotImplementedError

    def result(self) -> Any:
        """The figure over all batches since `reset`: a number, or lists of numbers."""
        raise NotImplementedError

    def reset(self) -> None:
        """Forget all batches."""
        raise NotImplementedError


AnyMetric: TypeAlias = Metric | MetricFunction


def plain_result(name: str, value: Any) -> Any:
    """A metric's result as what JSON holds: finite numbers, text, lists and dictionaries.

    Raises:
        DTypeError: it holds something else.
        FastconvError: a number is not finite.
    """
    if isinstance(value, np.generic):
        value = value.item()
    elif hasattr(value, "__array__"):
        value = np.asarray(value).tolist()
    if isinstance(value, float) and not math.isfinite(value):
        raise FastconvError(f"evaluate: the metric {name!r} is {value}")
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    if isinstance(value, (list, tuple)):
        return [plain_result(name, item) for item in value]
    if isinstance(value, Mapping):
        return {str(key): plain_result(name, item) for key, item in value.items()}
    raise DTypeError(
        f"evaluate: the metric {name!r} gave a {type(value).__name__}, "
        "expected numbers, or lists or dictionaries of them"
    )
