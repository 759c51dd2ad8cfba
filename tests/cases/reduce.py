"""Cases of sum and mean: shape and dimensions."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Case:
    shape: tuple[int, ...]
    dim: int | tuple[int, ...] | None = None

    def __str__(self) -> str:
        return f"{'x'.join(map(str, self.shape))}-{self.dim}".replace(" ", "")


CASES = [
    Case(()),
    Case((), -1),
    Case((1,)),
    Case((40000,)),
    Case((3, 5, 7)),
    Case((3, 5, 7), ()),
    Case((3, 5, 7), 1),
    Case((3, 5, 7), (0, -1)),
    Case((3, 1, 7), 1),
    Case((0, 4), 0),
    Case((4, 0), 0),
    Case((2, 64, 7, 9), (2, 3)),
    Case((2, 64, 7, 9), (0, 2, 3)),
    Case((2, 7, 9, 67), (1, 2)),
    Case((3000, 5), 0),
    Case((5, 17001), 1),
    Case((2, 1100, 3, 130), (1,)),
    Case((3, 2, 4, 2, 3, 2), (0, 2, 4)),
    Case((3, 2, 4, 2, 3, 2), (1, 3, 5)),
]
