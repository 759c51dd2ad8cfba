"""The library's random state: one generator, seeded by `manual_seed`, saved with checkpoints.

Parameter initialisation draws from it directly; dropout draws a 64-bit key from it and expands the key with a
counter-based generator in the kernel, so that results do not depend on the number of threads.
"""

from __future__ import annotations

import operator
from typing import Any

import numpy as np

from .errors import DTypeError, ShapeError

_generator: np.random.Generator | None = None


def generator() -> np.random.Generator:
    """The global generator; seeded from the operating system until `manual_seed` is called."""
    global _generator
    if _generator is None:
        _generator = np.random.Generator(np.random.Philox())
    return _generator


def manual_seed(seed: int) -> None:
    """Restart the global generator from `seed`, a non-negative integer.

    Raises:
        DTypeError: not an integer.
        ShapeError: negative.
    """
    global _generator
    try:
        seed = operator.index(seed)
    except TypeError:
        raise DTypeError(
            f"manual_seed: seed must be an integer, got {type(seed).__name__}"
        ) from None
    if seed < 0:
        raise ShapeError(f"manual_seed: seed must not be negative, got {seed}")
    _generator = np.random.Generator(np.random.Philox(seed))


def next_key() -> int:
    """A 64-bit key for a kernel's own counter-based generator."""
    return int(generator().integers(0, 2**64, dtype=np.uint64))


def get_state() -> dict[str, Any]:
    """The generator's state as plain integers and lists, fit for JSON."""
    state = generator().bit_generator.state
    return _plain(state)  # type: ignore[no-any-return]


def set_state(state: dict[str, Any]) -> None:
    """Continue from a state that `get_state` returned."""
    restored = dict(state)
    restored["state"] = {k: np.array(v, np.uint64) for k, v in state["state"].items()}
    restored["buffer"] = np.array(state["buffer"], np.uint64)
    generator().bit_generator.state = restored


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {k: _plain(v) for k, v in value.items()}
    if isinstance(value, np.ndarray):
        return [int(v) for v in value]
    return int(value) if isinstance(value, np.integer) else value
