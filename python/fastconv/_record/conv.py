"""Convolutions and linear layers: nodes in place of calls."""

from __future__ import annotations

from typing import Any

from .._symbolic import Capture, pair
from .registry import recorder


def _padding(value: Any) -> Any:
    return value if isinstance(value, str) else pair(value)


def _geometry(stride: Any, padding: Any, dilation: Any, groups: int, layout: str) -> dict[str, Any]:
    return {
        "stride": pair(stride),
        "padding": _padding(padding),
        "dilation": pair(dilation),
        "groups": groups,
        "layout": layout,
    }


@recorder
def conv2d(
    c: Capture,
    input: Any,
    weight: Any,
    bias: Any,
    stride: Any,
    padding: Any,
    dilation: Any,
    groups: int,
    layout: str,
) -> Any:
    geometry = _geometry(stride, padding, dilation, groups, layout)
    c.widest = max(c.widest, weight.shape[0])
    return c.node("conv2d", [input, weight, bias], **geometry)[0]


@recorder
def conv2d_input(
    c: Capture,
    input_size: Any,
    weight: Any,
    grad_output: Any,
    stride: Any,
    padding: Any,
    dilation: Any,
    groups: int,
    layout: str,
) -> Any:
    geometry = _geometry(stride, padding, dilation, groups, layout)
    return c.node("conv2d_input", [weight, grad_output], shape=tuple(input_size), **geometry)[0]


@recorder
def conv2d_weight(
    c: Capture,
    input: Any,
    weight_size: Any,
    grad_output: Any,
    stride: Any,
    padding: Any,
    dilation: Any,
    groups: int,
    layout: str,
) -> Any:
    geometry = _geometry(stride, padding, dilation, groups, layout)
    return c.node("conv2d_weight", [input, grad_output], shape=tuple(weight_size), **geometry)[0]


@recorder
def conv2d_bias(c: Capture, grad_output: Any, layout: str) -> Any:
    return c.node("conv2d_bias", [grad_output], layout=layout)[0]


@recorder
def conv_transpose2d(
    c: Capture,
    input: Any,
    weight: Any,
    bias: Any,
    stride: Any,
    padding: Any,
    output_padding: Any,
    groups: int,
    dilation: Any,
    layout: str,
) -> Any:
    geometry = _geometry(stride, padding, dilation, groups, layout)
    extra = pair(output_padding)
    operands = [input, weight, bias]
    return c.node("conv_transpose2d", operands, output_padding=extra, **geometry)[0]


@recorder
def conv_transpose2d_backward(
    c: Capture,
    input: Any,
    weight: Any,
    grad_output: Any,
    stride: Any,
    padding: Any,
    output_padding: Any,
    groups: int,
    dilation: Any,
    layout: str,
    of_weight: bool,
) -> Any:
    attributes = _geometry(stride, padding, dilation, groups, layout)
    attributes["output_padding"] = pair(output_padding)
    attributes["shape"] = tuple(weight.shape if of_weight else input.shape)
    kind = "conv_transpose2d_weight" if of_weight else "conv_transpose2d_input"
    return c.node(kind, [input if of_weight else weight, grad_output], **attributes)[0]


@recorder
def linear(c: Capture, input: Any, weight: Any, bias: Any) -> Any:
    return c.node("linear", [input, weight, bias])[0]


@recorder
def linear_backward(
    c: Capture,
    input: Any,
    weight: Any,
    grad_output: Any,
    needs_input: bool,
    needs_weight: bool,
    needs_bias: bool,
) -> Any:
    return (
        c.node("linear_input", [weight, grad_output])[0] if needs_input else None,
        c.node("linear_weight", [input, grad_output])[0] if needs_weight else None,
        c.node("linear_bias", [grad_output])[0] if needs_bias else None,
    )


@recorder
def matmul(c: Capture, input: Any, other: Any, kind: str) -> Any:
    return c.node("matmul", [input, other], kind=kind)[0]
