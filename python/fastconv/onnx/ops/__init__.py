"""The ops that can be run. Importing this registers them all."""

from __future__ import annotations

from . import (
    convolution,
    elements,
    normalization,
    numpy_ops,
    padding,
    pointwise,
    pooling,
    reduction,
    resizing,
    shapes,
)
from .registry import COMPUTED, KNOWN, run

__all__ = [
    "COMPUTED",
    "KNOWN",
    "convolution",
    "elements",
    "known_names",
    "normalization",
    "numpy_ops",
    "padding",
    "pointwise",
    "pooling",
    "reduction",
    "resizing",
    "run",
    "shapes",
]

# Made by rewriting, not read from files.
_INTERNAL = frozenset({"GroupNorm", "LayerNorm", "Linear"})


def known_names() -> frozenset[str]:
    """The op types that files may have."""
    return (frozenset(COMPUTED) | frozenset(KNOWN)) - _INTERNAL
