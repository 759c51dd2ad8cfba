"""Cases of the pointwise losses: function, options, shape and the factors' shapes."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Case:
    function: str
    shape: tuple[int, ...]
    options: dict[str, Any] = field(default_factory=dict)
    weight: tuple[int, ...] | None = None
    pos_weight: tuple[int, ...] | None = None

    def __str__(self) -> str:
        options = ",".join(f"{k}={v}" for k, v in self.options.items())
        factors = f"-w{self.weight}" * (self.weight is not None)
        factors += f"-pw{self.pos_weight}" * (self.pos_weight is not None)
        return f"{self.function}({options})-{'x'.join(map(str, self.shape))}{factors}"


_BCE = "binary_cross_entropy_with_logits"
SHAPES: list[tuple[int, ...]] = [(), (1,), (5, 7), (2, 3, 4, 5), (3, 1024), (20011,)]

CASES = [
    *(Case(f, s) for f in ("mse_loss", "l1_loss", "huber_loss", _BCE) for s in SHAPES),
    Case("huber_loss", (40, 31), {"delta": 0.3}),
    Case("huber_loss", (40, 31), {"delta": 100.0}),
    Case(_BCE, (40, 31), weight=(31,)),
    Case(_BCE, (40, 31), weight=(40, 1), pos_weight=(31,)),
    Case(_BCE, (6, 5, 4), pos_weight=(1,)),
]
