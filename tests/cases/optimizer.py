"""Cases of the optimiser steps: which one and its options, named as in torch.optim."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Case:
    optimizer: str  # SGD, Adam, AdamW, RMSprop
    options: dict[str, Any] = field(default_factory=dict)

    def __str__(self) -> str:
        return f"{self.optimizer}({','.join(f'{k}={v}' for k, v in self.options.items())})"


CASES = [
    Case("SGD", {"lr": 0.1}),
    Case("SGD", {"lr": 0.1, "weight_decay": 5e-4}),
    Case("SGD", {"lr": 0.05, "momentum": 0.9, "weight_decay": 5e-4}),
    Case("SGD", {"lr": 0.05, "momentum": 0.9, "dampening": 0.3}),
    Case("SGD", {"lr": 0.05, "momentum": 0.9, "nesterov": True, "weight_decay": 1e-2}),
    Case("Adam", {"lr": 1e-3}),
    Case("Adam", {"lr": 1e-2, "betas": (0.5, 0.99), "eps": 1e-4, "weight_decay": 0.1}),
    Case("Adam", {"lr": 1e-2, "betas": (0.3, 0.9)}),
    Case("AdamW", {"lr": 1e-3, "weight_decay": 1e-2}),
    Case("AdamW", {"lr": 1e-2, "betas": (0.8, 0.95), "weight_decay": 0.5}),
    Case("RMSprop", {"lr": 1e-2}),
    Case("RMSprop", {"lr": 1e-2, "alpha": 0.9, "eps": 1e-4, "weight_decay": 0.1}),
    Case("RMSprop", {"lr": 1e-2, "momentum": 0.9}),
    Case("RMSprop", {"lr": 1e-2, "momentum": 0.9, "centered": True, "eps": 1e-2}),
    Case("RMSprop", {"lr": 1e-2, "centered": True, "eps": 1e-2, "weight_decay": 0.1}),
]
