"""Figures of merit: sums over a run's batches, and metrics that are exact over batches of any size."""

from __future__ import annotations

from .base import AnyMetric, Metric, MetricFunction, plain_result
from .classification import F1, Accuracy, ConfusionMatrix, Precision, Recall, TopK
from .mean_loss import MeanLoss
from .running import Running, count_correct, softmax

__all__ = [
    "F1",
    "Accuracy",
    "AnyMetric",
    "ConfusionMatrix",
    "MeanLoss",
    "Metric",
    "MetricFunction",
    "Precision",
    "Recall",
    "Running",
    "TopK",
    "count_correct",
    "plain_result",
    "softmax",
]
