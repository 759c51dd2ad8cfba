"""The metrics of an evaluation or of an epoch of training, by name."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np

from .._arrays import NDArray
from .._ops import is_bfloat16
from .._pieces import map_labels
from ..errors import DTypeError, ShapeError
from .losses import MultiLoss, part_of
from .metrics import AnyMetric, Metric, plain_result

__all__ = ["Figures", "Metrics", "named_metrics", "plain_output"]

# Name -> metric; with several losses, also task -> metrics of that task. Or a list, called by their own names.
Metrics: TypeAlias = "Mapping[str, AnyMetric | Mapping[str, AnyMetric]] | Sequence[AnyMetric]"


def named_metrics(op: str, given: Metrics | None) -> dict[str, Any]:
    """Metrics by name: those in a row by the function's name, or the class's in small letters.

    Raises:
        DTypeError: it is neither a mapping nor a sequence, or a metric is none. ShapeError: a name comes twice.
    """
    if given is None:
        return {}
    if isinstance(given, Mapping):
        return dict(given)
    if not isinstance(given, (list, tuple)):
        raise DTypeError(
            f"{op}: metrics are a {type(given).__name__}, expected name -> metric, or a list of metrics"
        )
    found: dict[str, Any] = {}
    for metric in given:
        if not isinstance(metric, Metric) and not callable(metric):
            raise DTypeError(
                f"{op}: a metric is a {type(metric).__name__}, expected a Metric or a function"
            )
        name = str(getattr(metric, "__name__", type(metric).__name__.lower()))
        if name in found:
            raise ShapeError(f"{op}: there are two metrics called {name!r}: give a dictionary")
        found[name] = metric
    return found


class Figures:
    """Metrics over batches: what each is called, and the task whose outputs it gets.

    Args:
        op: what errors call the caller.
        metrics: of `named_metrics`; they are reset.
        loss: whose tasks the metrics may be of.
    """

    def __init__(self, op: str, metrics: Mapping[str, Any], loss: Any) -> None:
        tasks = loss.tasks if isinstance(loss, MultiLoss) else ()
        self._op = op
        self._entries: list[tuple[str, str | None, AnyMetric]] = []
        for name, metric in metrics.items():
            if isinstance(metric, Mapping):
                if name not in tasks:
                    raise ShapeError(
                        f"{op}: metrics of {name!r}, which is no task of the loss "
                        f"({', '.join(tasks) or 'it has one output'})"
                    )
                self._entries += [(f"{name}_{key}", name, each) for key, each in metric.items()]
            else:
                self._entries.append((name, None, metric))
        for _, _, metric in self._entries:
            if isinstance(metric, Metric):
                metric.reset()
        self._totals = {name: 0.0 for name, _, _ in self._entries}
        self._images = 0

    def update(self, outputs: Any, labels: Any, count: int) -> None:
        """Take in a batch of `count` images: outputs as `plain_output` makes them."""
        plain = map_labels(np.asarray, labels)
        self._images += count
        for name, task, metric in self._entries:
            x = outputs if task is None else part_of("outputs", outputs, task)
            y = plain if task is None else part_of("labels", plain, task)
            if isinstance(metric, Metric):
                metric.update(x, y)
            else:
                self._totals[name] += float(metric(x, y)) * count

    def results(self) -> dict[str, Any]:
        """Name -> result, as JSON holds it."""
        return {
            name: plain_result(
                name,
                metric.result()
                if isinstance(metric, Metric)
                else self._totals[name] / max(self._images, 1),
                self._op,
            )
            for name, _, metric in self._entries
        }

    def state_dict(self) -> dict[str, Any]:
        """What has been summed up."""
        states = {n: m.state_dict() for n, _, m in self._entries if isinstance(m, Metric)}
        return {"images": self._images, "totals": dict(self._totals), "metrics": states}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from `state_dict`; metrics that it does not have begin anew."""
        self._images = int(state["images"])
        for name, _, metric in self._entries:
            self._totals[name] = float(state["totals"].get(name, 0.0))
            if isinstance(metric, Metric) and name in state["metrics"]:
                metric.load_state_dict(state["metrics"][name])


def plain_output(output: Any) -> Any:
    """A network's output as NumPy computes with it: bfloat16 as float32."""

    def plain(part: Any) -> NDArray:
        array = np.asarray(part)
        return array.astype(np.float32) if is_bfloat16(array.dtype) else array

    return map_labels(plain, tuple(output) if isinstance(output, list) else output)
