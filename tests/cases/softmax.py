"""Cases of softmax and log_softmax: shape, dimension, size of the logits."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Case:
    shape: tuple[int, ...]
    dim: int = -1
    scale: float = 1.0

    def __str__(self) -> str:
        return f"{'x'.join(map(str, self.shape))}-dim{self.dim}-scale{self.scale:g}"


CASES = [
    Case(()),
    Case((1,)),
    Case((10,)),
    Case((0, 5)),
    Case((3, 0)),
    Case((64, 10)),
    Case((7, 1)),
    Case((5, 17), scale=100.0),
    Case((3, 1000)),
    Case((2, 5003), scale=20.0),
    Case((4, 6, 5), dim=1),
    Case((2, 21, 7, 9), dim=1, scale=30.0),
    Case((2, 130, 33), dim=1),
    Case((9, 4, 3), dim=0),
    Case((3, 4, 5, 6), dim=-2),
]
