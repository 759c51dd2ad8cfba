"""The shapes of local response normalisation that tests and benchmarks run."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class LrnCase:
    shape: tuple[int, ...]  # N, C, ...
    size: int
    alpha: float = 1e-4
    beta: float = 0.75
    k: float = 1.0

    def __str__(self) -> str:
        shape = "x".join(map(str, self.shape))
        return f"{shape}-{self.size}-{self.alpha:g}-{self.beta:g}-{self.k:g}"


CASES = [
    LrnCase((2, 8, 3, 4), 5),
    LrnCase((2, 8, 3, 4), 5, 0.5, 0.75, 2.0),
    LrnCase((2, 9, 5), 4, 0.5),
    LrnCase((1, 9, 2, 3), 2, 0.5, 0.5),
    LrnCase((1, 9, 2, 3), 3, 0.5, 1.0),
    LrnCase((2, 6, 4, 4), 5, 0.7, 0.6, 1.5),
    LrnCase((2, 6, 4, 4), 5, 0.7, -0.3, 1.5),
    LrnCase((2, 4, 2, 2), 1, 0.9),
    LrnCase((1, 5, 3, 3), 9, 0.9),
    LrnCase((1, 5, 3, 3), 40, 0.9),
    LrnCase((1, 1, 3, 3), 5, 0.9),
    LrnCase((2, 35, 9, 15), 5, 0.3),
    LrnCase((2, 3, 2, 2, 2), 3, 0.3),
    LrnCase((1, 96, 13, 13), 5),
    LrnCase((2, 4, 3, 3), 3, -0.05, 0.75, 2.0),
]
