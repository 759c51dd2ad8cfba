"""Stochastic gradient descent."""

from __future__ import annotations

from typing import Any

import numpy as np

from .. import _core
from .._arrays import NDArray
from ..errors import ShapeError
from ..nn._args import flag, number
from .optimizer import Optimizer

__all__ = ["SGD"]


class SGD(Optimizer):
    """Stochastic gradient descent, with momentum where asked for.

    g += weight_decay * p; then without momentum p -= lr * g. With it buf = momentum * buf + (1 -
    dampening) * g (the first time buf = g), and p -= lr * buf, or with Nesterov's p -= lr * (g +
    momentum * buf).

    Args:
        params: tensors or groups; see `Optimizer`.
        lr: learning rate.
        momentum, dampening, weight_decay: as in the formula.
        nesterov: look ahead; needs momentum and no dampening.
        maximize: go up the gradient instead of down.

    Raises:
        ShapeError, DTypeError: options out of range or of the wrong type.

    Source: Sutskever et al., "On the importance of initialization and momentum in deep learning"
    (2013), with the learning rate outside the momentum.
    """

    _arrays = ("momentum_buffer",)

    def __init__(
        self,
        params: Any,
        lr: float = 1e-3,
        momentum: float = 0.0,
        dampening: float = 0.0,
        weight_decay: float = 0.0,
        nesterov: bool = False,
        *,
        maximize: bool = False,
    ) -> None:
        super().__init__(
            params,
            {
                "lr": lr,
                "momentum": momentum,
                "dampening": dampening,
                "weight_decay": weight_decay,
                "nesterov": nesterov,
                "maximize": maximize,
            },
        )

    def _check_options(self, options: dict[str, Any]) -> dict[str, Any]:
        super()._check_options(options)
        options["momentum"] = number("SGD", "momentum", options["momentum"], 0.0)
        options["dampening"] = number("SGD", "dampening", options["dampening"])
        options["nesterov"] = flag("SGD", "nesterov", options["nesterov"])
        if options["nesterov"] and (options["momentum"] == 0.0 or options["dampening"] != 0.0):
            raise ShapeError("SGD: nesterov needs a momentum above 0 and dampening 0")
        return options

    def _update(
        self,
        param: NDArray,
        grad: NDArray,
        state: dict[str, Any],
        group: dict[str, Any],
        copy: NDArray | None,
    ) -> None:
        buffer = None
        first = False
        if group["momentum"] != 0.0:
            buffer = state.get("momentum_buffer")
            first = buffer is None
            if buffer is None:
                buffer = state["momentum_buffer"] = np.zeros(param.shape, param.dtype)
        _core.sgd_step(
            param,
            grad,
            buffer,
            group["lr"],
            group["momentum"],
            group["dampening"],
            group["weight_decay"],
            group["nesterov"],
            first,
            copy,
        )
