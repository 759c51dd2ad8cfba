"""The shapes of batch normalisation that tests and benchmarks run."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class BatchNormCase:
    size: tuple[int, ...]  # N, C, ...
    training: bool = True
    affine: bool = True
    momentum: float = 0.1
    eps: float = 1e-5

    def __str__(self) -> str:
        words = ["train" if self.training else "eval", *([] if self.affine else ["plain"])]
        return "-".join(["x".join(map(str, self.size)), *words, f"{self.momentum:g}-{self.eps:g}"])


SIZES = [
    (4, 3),
    (8, 1),
    (37, 130),
    (700, 5),
    (5, 4, 9),
    (2, 3, 4, 5),
    (4, 16, 7, 7),
    (1, 70, 3, 3),
    (3, 1, 14, 14),
    (2, 2, 65, 130),
    (700, 3, 2, 2),
    (2, 3, 2, 3, 4),
]

CASES = [
    *(BatchNormCase(size, training) for size in SIZES for training in (True, False)),
    # Of two values the gradient vanishes but for eps: a large one, or rounding is all that is left.
    BatchNormCase((2, 3), eps=0.5),
    BatchNormCase((4, 16, 7, 7), affine=False),
    BatchNormCase((4, 16, 7, 7), training=False, affine=False),
    BatchNormCase((6, 5, 4, 4), momentum=1.0, eps=1e-3),
    BatchNormCase((6, 5, 4, 4), momentum=0.0),
    BatchNormCase((6, 5, 4, 4), training=False, eps=0.0),
]
