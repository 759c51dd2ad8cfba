"""Cases of dropout: shape and probability."""

from __future__ import annotations

CASES: list[tuple[tuple[int, ...], float]] = [
    ((), 0.5),
    ((1,), 0.5),
    ((0, 3), 0.5),
    ((63,), 0.3),
    ((64,), 0.9),
    ((3, 50, 67), 0.1),
    ((100_003,), 0.25),
    ((1000,), 1.0),
    ((1000,), 0.0),
    ((1000,), 1e-12),
]
