"""RMSprop."""

from __future__ import annotations

from typing import Any

import numpy as np

from .. import _core
from .._arrays import NDArray
from ..nn._args import flag, number
from .optimizer import Optimizer

__all__ = ["RMSprop"]


class RMSprop(Optimizer):
    """Gradient descent with steps divided by the running root mean square of the gradient.

    g += weight_decay * p; s = alpha s + (1 - alpha) g^2; with `centered` a = alpha a + (1 - alpha)
    g and d = sqrt(s - a^2) + eps, else d = sqrt(s) + eps; p -= lr * g / d, or with momentum buf =
    momentum * buf + g / d and p -= lr * buf.

    Args:
        params: tensors or groups; see `Optimizer`.
        lr: learning rate.
        alpha: weight of the old mean, 0 to 1.
        eps: added to the denominator.
        weight_decay, momentum, centered: as in the formula.
        maximize: go up the gradient instead of down.

    Raises:
        ShapeError, DTypeError: options out of range or of the wrong type.

    Sources: Tieleman & Hinton, "Neural networks for machine learning", lecture 6.5 (2012); Graves,
    "Generating sequences with recurrent neural networks" (2013), for `centered`.
    """

    _arrays = ("square_avg", "momentum_buffer", "grad_avg")
    _required = ("square_avg",)

    def __init__(
        self,
        params: Any,
        lr: float = 1e-2,
        alpha: float = 0.99,
        eps: float = 1e-8,
        weight_decay: float = 0.0,
        momentum: float = 0.0,
        centered: bool = False,
        *,
        maximize: bool = False,
    ) -> None:
        super().__init__(
            params,
            {
                "lr": lr,
                "alpha": alpha,
                "eps": eps,
                "weight_decay": weight_decay,
                "momentum": momentum,
                "centered": centered,
                "maximize": maximize,
            },
        )

    def _check_options(self, options: dict[str, Any]) -> dict[str, Any]:
        super()._check_options(options)
        options["alpha"] = number("RMSprop", "alpha", options["alpha"], 0.0, 1.0)
        options["eps"] = number("RMSprop", "eps", options["eps"], 0.0)
        options["momentum"] = number("RMSprop", "momentum", options["momentum"], 0.0)
        options["centered"] = flag("RMSprop", "centered", options["centered"])
        return options

    def _update(
        self,
        param: NDArray,
        grad: NDArray,
        state: dict[str, Any],
        group: dict[str, Any],
        copy: NDArray | None,
    ) -> None:
        wanted = ["square_avg"]
        if group["momentum"] > 0.0:
            wanted.append("momentum_buffer")
        if group["centered"]:
            wanted.append("grad_avg")
        for name in wanted:
            if name not in state:
                state[name] = np.zeros(param.shape, param.dtype)
        _core.rmsprop_step(
            param,
            grad,
            state["square_avg"],
            state["momentum_buffer"] if group["momentum"] > 0.0 else None,
            state["grad_avg"] if group["centered"] else None,
            group["lr"],
            group["alpha"],
            group["eps"],
            group["weight_decay"],
            group["momentum"],
            copy,
        )
