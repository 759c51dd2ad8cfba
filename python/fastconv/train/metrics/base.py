"""What a metric is: a function of one batch, or an object that takes batch after batch."""

from __future__ import annotations

import copy
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

    def state_dict(self) -> dict[str, Any]:
        """What has been summed up, for checkpoints within an epoch: all attributes that are numbers, text, arrays,
        or lists and dictionaries of them."""
        return {k: copy.deepcopy(v) for k, v in vars(self).items() if _is_plain(v)}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from `state_dict`."""
        for name, value in state.items():
            setattr(self, name, copy.deepcopy(value))


AnyMetric: TypeAlias = Metric | MetricFunction


def _is_plain(value: Any) -> bool:
    if isinstance(value, (list, tuple)):
        return all(map(_is_plain, value))
    if isinstance(value, Mapping):
        return all(isinstance(k, (str, int)) and _is_plain(v) for k, v in value.items())
    return value is None or isinstance(value, (bool, int, float, str, np.generic, np.ndarray))


def plain_result(name: str, value: Any, op: str = "evaluate") -> Any:
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
        raise FastconvError(f"{op}: the metric {name!r} is {value}")
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    if isinstance(value, (list, tuple)):
        return [plain_result(name, item, op) for item in value]
    if isinstance(value, Mapping):
        return {str(key): plain_result(name, item, op) for key, item in value.items()}
    raise DTypeError(
        f"{op}: the metric {name!r} gave a {type(value).__name__}, "
        "expected numbers, or lists or dictionaries of them"
    )
