"""Convolutions and products of matrices."""

from __future__ import annotations

from typing import Any

from ... import functional as F
from ...errors import ShapeError
from ...tensor import Tensor
from ..graph import Node
from .pointwise import operand
from .registry import Inputs, at, computed
from .shapes import as_tensor, broadcast_shape, reshape, transpose
from .windows import one_or_all, pad_spatial, windows


@computed("Conv")
def _conv(node: Node, inputs: Inputs, training: bool) -> Any:
    x, weight, bias = inputs[0], inputs[1], at(inputs, 2)
    _check_kernel(node, weight)
    w = windows(node, x, weight.shape[2:])
    padding = w.begin
    if not w.symmetric:
        x, padding = pad_spatial(x, w.begin, w.end), (0,) * len(w.begin)
    convolve = getattr(F, f"conv{len(w.kernel)}d")
    return convolve(
        x,
        weight,
        bias,
        one_or_all(w.stride),
        one_or_all(padding),
        one_or_all(w.dilation),
        node.get("group", 1),
    )


def _check_kernel(node: Node, weight: Any) -> None:
    declared = node.get("kernel_shape")
    if declared and tuple(declared) != tuple(weight.shape[2:]):
        raise ShapeError(f"onnx: {node}: kernel_shape {declared}, but the weight is {weight.shape}")


@computed("ConvTranspose")
def _conv_transpose(node: Node, inputs: Inputs, training: bool) -> Any:
    x, weight, bias = inputs[0], inputs[1], at(inputs, 2)
    _check_kernel(node, weight)
    spatial = x.ndim - 2
    # Padding by rule is that of the output here.
    w = windows(node.but(attributes={**node.attributes, "auto_pad": "NOTSET"}), x, weight.shape[2:])
    extra = tuple(node.get("output_padding") or (0,) * spatial)
    begin, end = w.begin, w.end
    wanted = node.get("output_shape")
    rule = node.get("auto_pad", "NOTSET")
    if rule == "VALID":
        begin = end = (0,) * spatial
    elif rule != "NOTSET" and not wanted:
        wanted = tuple(s * t for s, t in zip(x.shape[2:], w.stride, strict=True))
    if len(extra) != spatial or min(extra) < 0 or (wanted and len(wanted) < spatial):
        raise ShapeError(f"onnx: {node}: output_padding {extra}, output_shape {wanted}")
    if wanted:
        wanted = wanted[-spatial:]
        wholes = [(x.shape[2 + d] - 1) * w.stride[d] + w.extent(d) for d in range(spatial)]
        # What is wanted beyond the whole result is behind it.
        totals = [max(n + e - t, 0) for n, e, t in zip(wholes, extra, wanted, strict=True)]
        begin = tuple(t // 2 if rule == "SAME_UPPER" else t - t // 2 for t in totals)
        end = tuple(n + e - t - b for n, e, t, b in zip(wholes, extra, wanted, begin, strict=True))
    convolve = getattr(F, f"conv_transpose{spatial}d")
    geometry = (node.get("group", 1), one_or_all(w.dilation))
    stride = one_or_all(w.stride)
    plain = all(e < max(s, d) for e, s, d in zip(extra, w.stride, w.dilation, strict=True))
    if begin == end and min(begin) >= 0 and plain:
        return convolve(x, weight, bias, stride, one_or_all(begin), one_or_all(extra), *geometry)
    whole = convolve(x, weight, None, stride, one_or_all((0,) * spatial), 0, *geometry)
    after = tuple(e - p for e, p in zip(extra, end, strict=True))
    y = pad_spatial(whole, tuple(-b for b in begin), after)
    return y if bias is None else F.add(y, reshape(bias, (bias.size, *(1,) * spatial)))


@computed("Gemm")
def _gemm(node: Node, inputs: Inputs, training: bool) -> Any:
    a, b, c = inputs[0], inputs[1], at(inputs, 2)
    if a.ndim != 2 or b.ndim != 2:
        raise ShapeError(f"onnx: {node}: expects matrices, got {a.shape} and {b.shape}")
    a = transpose(a, (1, 0)) if node.get("transA", 0) else a
    b = b if node.get("transB", 0) else transpose(b, (1, 0))
    alpha, beta = node.get("alpha", 1.0), node.get("beta", 1.0)
    if (
        alpha == beta == 1
        and c is not None
        and c.size == b.shape[0]
        and c.shape[-1:] == b.shape[:1]
    ):
        return F.linear(a, as_tensor(b, a), as_tensor(reshape(c, (c.size,)), a))
    y = F.linear(a, as_tensor(b, a), None)
    y = y if alpha == 1 else F.mul(y, alpha)
    if c is None or beta == 0:
        return y
    if broadcast_shape(node, y.shape, c.shape) != y.shape:
        raise ShapeError(f"onnx: {node}: C of {c.shape} does not fit a result of {y.shape}")
    c = c if beta == 1 else (F.mul(c, beta) if isinstance(c, Tensor) else c * beta)
    return F.add(y, operand(c, y))


@computed("MatMul")
def _matmul(node: Node, inputs: Inputs, training: bool) -> Any:
    a, b = inputs
    like = a if isinstance(a, Tensor) else b
    return F.matmul(as_tensor(a, like), as_tensor(b, like))


@computed("Linear")
def _linear(node: Node, inputs: Inputs, training: bool) -> Any:
    """What MatMul and Gemm with constant weights become: see `rewriting`."""
    return F.linear(inputs[0], inputs[1], at(inputs, 2))
