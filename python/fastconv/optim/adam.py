"""Adam and AdamW."""

from __future__ import annotations

from typing import Any

import numpy as np

from .. import _core
from .._arrays import NDArray
from ..errors import DTypeError, ShapeError
from ..nn._args import number
from .optimizer import Optimizer

__all__ = ["Adam", "AdamW"]


class Adam(Optimizer):
    """Adam: steps scaled by running moments of the gradient, corrected for their start at 0.

    g += weight_decay * p; m = b1 m + (1 - b1) g; v = b2 v + (1 - b2) g^2; after t steps p -= lr *
    (m / (1 - b1^t)) / (sqrt(v / (1 - b2^t)) + eps).

    Args:
        params: tensors or groups; see `Optimizer`.
        lr: learning rate.
        betas: (b1, b2), each at least 0 and below 1.
        eps: added to the denominator.
        weight_decay: as in the formula.
        maximize: go up the gradient instead of down.

    Raises:
        ShapeError, DTypeError: options out of range or of the wrong type.

    Source: Kingma & Ba, "Adam: a method for stochastic optimization" (2015).
    """

    _arrays = ("exp_avg", "exp_avg_sq")
    _required = ("step", "exp_avg", "exp_avg_sq")
    _decoupled = False

    def __init__(
        self,
        params: Any,
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.0,
        *,
        maximize: bool = False,
    ) -> None:
        super().__init__(
            params,
            {
                "lr": lr,
                "betas": betas,
                "eps": eps,
                "weight_decay": weight_decay,
                "maximize": maximize,
            },
        )

    def _check_options(self, options: dict[str, Any]) -> dict[str, Any]:
        super()._check_options(options)
        options["eps"] = number(self._name, "eps", options["eps"], 0.0)
        betas = options["betas"]
        if not isinstance(betas, (tuple, list)):
            raise DTypeError(f"{self._name}: betas must be two numbers, got {type(betas).__name__}")
        if len(betas) != 2:
            raise ShapeError(f"{self._name}: betas must be two numbers, got {len(betas)}")
        checked = tuple(number(self._name, f"betas[{i}]", b, 0.0, 1.0) for i, b in enumerate(betas))
        if 1.0 in checked:
            raise ShapeError(f"{self._name}: betas must be below 1, got {checked}")
        options["betas"] = checked
        return options

    def _update(
        self,
        param: NDArray,
        grad: NDArray,
        state: dict[str, Any],
        group: dict[str, Any],
        copy: NDArray | None,
    ) -> None:
        if "step" not in state:
            state["step"] = 0
            state["exp_avg"] = np.zeros(param.shape, param.dtype)
            state["exp_avg_sq"] = np.zeros(param.shape, param.dtype)
        beta1, beta2 = group["betas"]
        _core.adam_step(
            param,
            grad,
            state["exp_avg"],
            state["exp_avg_sq"],
            group["lr"],
            beta1,
            beta2,
            group["eps"],
            group["weight_decay"],
            self._decoupled,
            state["step"] + 1,
            copy,
        )
        state["step"] += 1


class AdamW(Adam):
    """Adam with decoupled weight decay: p -= lr * weight_decay * p before the step, g as it is.

    Arguments as for `Adam`; weight_decay is 0.01 by default.

    Source: Loshchilov & Hutter, "Decoupled weight decay regularization" (2019).
    """

    _decoupled = True

    def __init__(
        self,
        params: Any,
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 1e-2,
        *,
        maximize: bool = False,
    ) -> None:
        super().__init__(params, lr, betas, eps, weight_decay, maximize=maximize)
