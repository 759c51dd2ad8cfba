"""Normalisation: nodes in place of calls."""

from __future__ import annotations

from typing import Any

from .._symbolic import Capture
from ..errors import CaptureError
from .registry import recorder


@recorder
def batch_norm_forward(
    c: Capture,
    input: Any,
    running_mean: Any,
    running_var: Any,
    weight: Any,
    bias: Any,
    training: bool,
    momentum: float,
    eps: float,
    layout: str,
) -> Any:
    if training and running_mean is not None and not c.trains:
        raise CaptureError("compile: a batch-norm is in training mode; call net.eval() first")
    kind = "batch_norm" if training else "batch_norm_inference"
    operands = [input, weight, bias, running_mean, running_var]
    return tuple(c.node(kind, operands, momentum=float(momentum), eps=float(eps), layout=layout))


@recorder
def batch_norm_backward(
    c: Capture,
    grad_output: Any,
    input: Any,
    mean: Any,
    invstd: Any,
    weight: Any,
    training: bool,
    layout: str,
    need_input: bool,
    need_weight: bool,
    need_bias: bool,
) -> Any:
    made: list[Any] = c.node(
        "batch_norm_backward",
        [grad_output, input, mean, invstd, weight],
        training=bool(training),
        layout=layout,
    )
    needs = (need_input, need_weight, need_bias, False)
    return tuple(m if need else None for m, need in zip(made, needs, strict=True))


@recorder
def local_response_norm(
    c: Capture, input: Any, size: int, alpha: float, beta: float, k: float, layout: str
) -> Any:
    numbers = {"size": size, "alpha": float(alpha), "beta": float(beta), "k": float(k)}
    return c.node("local_response_norm", [input], layout=layout, **numbers)[0]


@recorder
def local_response_norm_backward(
    c: Capture,
    grad_output: Any,
    input: Any,
    size: int,
    alpha: float,
    beta: float,
    k: float,
    layout: str,
) -> Any:
    numbers = {"size": size, "alpha": float(alpha), "beta": float(beta), "k": float(k)}
    operands = [grad_output, input]
    return c.node("local_response_norm_backward", operands, layout=layout, **numbers)[0]
