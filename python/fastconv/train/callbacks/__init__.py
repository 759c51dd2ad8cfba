"""What can be told of a training run while it runs, and what acts on it."""

from __future__ import annotations

from .averaging import EMA
from .base import Callback
from .logs import CSVLog, TensorBoard
from .monitors import BestCheckpoint, EarlyStopping, Monitor, ReduceOnPlateau
from .rates import LearningRateSchedule, WarmUp

__all__ = [
    "EMA",
    "BestCheckpoint",
    "CSVLog",
    "Callback",
    "EarlyStopping",
    "LearningRateSchedule",
    "Monitor",
    "ReduceOnPlateau",
    "TensorBoard",
    "WarmUp",
]
