"""The recorders by the name of the native function that they stand for."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

Recorder = Callable[..., Any]
recorders: dict[str, Recorder] = {}


def recorder(function: Recorder) -> Recorder:
    """Registers what stands for the native function of the same name while a graph is recorded."""
    recorders[function.__name__] = function
    return function
