"""Cases of the activation functions: name, keyword arguments, shape."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Case:
    function: str
    shape: tuple[int, ...]
    options: dict[str, Any] = field(default_factory=dict)

    def __str__(self) -> str:
        options = ",".join(f"{k}={v}" for k, v in self.options.items())
        return f"{self.function}({options})-{'x'.join(map(str, self.shape))}"


FUNCTIONS: list[tuple[str, dict[str, Any]]] = [
    ("relu", {}),
    ("relu6", {}),
    ("leaky_relu", {}),
    ("leaky_relu", {"negative_slope": 0.2}),
    ("leaky_relu", {"negative_slope": 0.0}),
    ("leaky_relu", {"negative_slope": -0.5}),
    ("sigmoid", {}),
    ("tanh", {}),
    ("gelu", {}),
    ("gelu", {"approximate": "tanh"}),
    ("elu", {}),
    ("elu", {"alpha": 2.5}),
    ("selu", {}),
    ("celu", {}),
    ("celu", {"alpha": 0.3}),
    ("celu", {"alpha": -2.0}),
    ("hardsigmoid", {}),
    ("hardswish", {}),
    ("hardtanh", {}),
    ("hardtanh", {"min_val": -2.0, "max_val": 0.5}),
    ("clamp", {"min": -1.0}),
    ("clamp", {"max": 2.0}),
    ("clamp", {"min": -1.5, "max": 2.5}),
    ("clamp", {"min": 1.0, "max": -1.0}),
    ("silu", {}),
    ("softplus", {}),
    ("softplus", {"beta": 2.0, "threshold": 3.0}),
    ("softplus", {"beta": -0.5}),
    ("mish", {}),
    ("threshold", {"threshold": 0.5, "value": -2.0}),
    ("threshold", {"threshold": -1.5, "value": 20.0}),
    ("hardshrink", {}),
    ("hardshrink", {"lambd": 1.5}),
    ("softshrink", {}),
    ("softshrink", {"lambd": 1.5}),
    ("softsign", {}),
    ("logsigmoid", {}),
]
SHAPES: list[tuple[int, ...]] = [(), (1,), (7,), (3, 5, 1), (2, 3, 7, 9), (0, 4), (50001,)]

CASES = [Case(f, shape, options) for f, options in FUNCTIONS for shape in SHAPES]
