"""Cases of add and mul: the two shapes."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Case:
    a: tuple[int, ...]
    b: tuple[int, ...]

    def __str__(self) -> str:
        return f"{'x'.join(map(str, self.a))}+{'x'.join(map(str, self.b))}"


CASES = [
    Case((), ()),
    Case((5,), ()),
    Case((0, 3), (0, 3)),
    Case((0, 3), (1, 3)),
    Case((2, 3, 7, 9), (2, 3, 7, 9)),
    Case((50001,), (50001,)),
    Case((2, 64, 14, 14), (1, 64, 1, 1)),
    Case((2, 64, 14, 14), (64, 1, 1)),
    Case((2, 14, 14, 64), (64,)),
    Case((37,), (5, 37)),
    Case((5, 1), (1, 7)),
    Case((4, 1, 6, 1), (3, 1, 5)),
    Case((2, 1, 3, 1, 2), (2, 4, 1, 5, 1)),
    Case((1, 1, 1), (2, 3)),
    Case((2, 3, 4, 2, 3, 2, 2, 2), (3, 1, 2, 1, 2, 1, 2)),
]
