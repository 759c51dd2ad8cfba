"""Softmax and losses: nodes in place of calls."""

from __future__ import annotations

from typing import Any

from .._symbolic import Capture
from .registry import recorder


@recorder
def softmax(c: Capture, input: Any, dim: int, log: bool) -> Any:
    return c.node("softmax", [input], dim=dim, log=log)[0]


@recorder
def softmax_backward(c: Capture, output: Any, grad_output: Any, dim: int, log: bool) -> Any:
    return c.node("softmax_backward", [output, grad_output], dim=dim, log=log)[0]


@recorder
def cross_entropy(
    c: Capture,
    input: Any,
    target: Any,
    weight: Any,
    dim: int,
    ignore_index: int,
    reduction: str,
    label_smoothing: float,
) -> Any:
    made = c.node(
        "cross_entropy",
        [input, target, weight],
        dim=dim,
        ignore_index=ignore_index,
        reduction=reduction,
        label_smoothing=float(label_smoothing),
    )
    return tuple(made)


@recorder
def cross_entropy_backward(
    c: Capture,
    input: Any,
    target: Any,
    weight: Any,
    dim: int,
    ignore_index: int,
    reduction: str,
    label_smoothing: float,
    saved: Any,
    divisor: Any,
    grad_output: Any,
) -> Any:
    return c.node(
        "cross_entropy_backward",
        [input, target, weight, saved, divisor, grad_output],
        dim=dim,
        ignore_index=ignore_index,
        reduction=reduction,
        label_smoothing=float(label_smoothing),
    )[0]


@recorder
def nll_loss(
    c: Capture,
    input: Any,
    target: Any,
    weight: Any,
    dim: int,
    ignore_index: int,
    reduction: str,
) -> Any:
    options = {"dim": dim, "ignore_index": ignore_index, "reduction": reduction}
    return tuple(c.node("nll_loss", [input, target, weight], **options))


@recorder
def nll_loss_backward(
    c: Capture,
    input: Any,
    target: Any,
    weight: Any,
    dim: int,
    ignore_index: int,
    reduction: str,
    divisor: Any,
    grad_output: Any,
) -> Any:
    options = {"dim": dim, "ignore_index": ignore_index, "reduction": reduction}
    return c.node("nll_loss_backward", [input, target, weight, divisor, grad_output], **options)[0]


@recorder
def pointwise_loss(
    c: Capture,
    kind: str,
    input: Any,
    target: Any,
    weight: Any,
    pos_weight: Any,
    delta: float,
    reduction: str,
) -> Any:
    operands = [input, target, weight, pos_weight]
    return c.node("pointwise_loss", operands, kind=kind, delta=float(delta), reduction=reduction)[0]


@recorder
def pointwise_loss_backward(
    c: Capture,
    kind: str,
    input: Any,
    target: Any,
    weight: Any,
    pos_weight: Any,
    delta: float,
    reduction: str,
    grad_output: Any,
    wrt_target: bool,
) -> Any:
    return c.node(
        "pointwise_loss_backward",
        [input, target, weight, pos_weight, grad_output],
        kind=kind,
        delta=float(delta),
        reduction=reduction,
        wrt_target=wrt_target,
    )[0]
