"""Cases of concat (shapes, dim) and of pad (shape, amounts, mode)."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Concat:
    shapes: tuple[tuple[int, ...], ...]
    dim: int = 0

    def __str__(self) -> str:
        return "+".join("x".join(map(str, s)) for s in self.shapes) + f"-dim{self.dim}"


@dataclass(frozen=True)
class Pad:
    shape: tuple[int, ...]
    pad: tuple[int, ...]
    mode: str = "constant"
    value: float = 0.0

    def __str__(self) -> str:
        return f"{'x'.join(map(str, self.shape))}-{self.pad}-{self.mode}{self.value:g}".replace(
            " ", ""
        )


CONCAT = [
    Concat(((3,),)),
    Concat(((3,), (5,), (0,))),
    Concat(((2, 3), (4, 3))),
    Concat(((2, 3), (2, 1), (2, 7)), 1),
    Concat(((2, 3), (2, 1)), -1),
    Concat(((2, 64, 7, 7), (2, 32, 7, 7), (2, 1, 7, 7)), 1),
    Concat(((300000,), (7,), (200001,))),
    Concat(((0, 4), (0, 5)), 1),
    Concat(((2, 0), (3, 0)), 0),
]
PAD = [
    Pad((7,), (2, 3)),
    Pad((7,), ()),
    Pad((), ()),
    Pad((2, 3), (0, 0)),
    Pad((2, 3, 5, 6), (1, 2), value=1.5),
    Pad((2, 3, 5, 6), (1, 2, 3, 0)),
    Pad((2, 3, 5, 6), (0, 0, 3, 1), value=-1.0),
    Pad((2, 3, 5, 6), (0, 0, 0, 0, 1, 1)),
    Pad((2, 3, 5, 6), (0, 1, 0, 1, 0, 1, 0, 1)),
    Pad((2, 3, 5, 6), (-1, -2, 1, -1)),
    Pad((2, 0), (1, 1), value=2.0),
    Pad((3, 4), (-2, -2)),
    Pad((3, 7), (6, 2), "reflect"),
    Pad((2, 3, 5, 6), (1, 2, 4, 0), "reflect"),
    Pad((1, 2, 4, 5, 6), (1, 2, 3, 2, 3, 1), "reflect"),
    Pad((3, 7), (9, 2), "replicate"),
    Pad((2, 3, 5, 6), (1, 2, 7, 0), "replicate"),
    Pad((1, 2, 4, 5, 6), (1, 2, 3, 2, 3, 1), "replicate"),
    Pad((3, 7), (7, 2), "circular"),
    Pad((2, 3, 5, 6), (1, 2, 5, 0), "circular"),
    Pad((16, 40, 33, 31), (2, 2, 2, 2)),
    Pad((16, 40, 33, 31), (2, 2, 2, 2), "reflect"),
]
