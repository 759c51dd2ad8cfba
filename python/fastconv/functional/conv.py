"""Convolution (cross-correlation), its gradients by name, and the transposed convolution."""

from __future__ import annotations

from typing import TypeAlias

from .. import _ops
from .._arrays import ArrayLike, NDArray, Spatial
from ..tensor import as_array, finish
from ._unbatched import takes_one_example
from .autocast import lowered

Pair: TypeAlias = int | tuple[int, int] | list[int]
Padding: TypeAlias = Pair | str


@takes_one_example(4)
def conv2d(
    input: ArrayLike,
    weight: ArrayLike,
    bias: ArrayLike | None = None,
    stride: Pair = 1,
    padding: Padding = 0,
    dilation: Pair = 1,
    groups: int = 1,
    *,
    layout: str = "NCHW",
) -> ArrayLike:
    """Two-dimensional convolution, computed as cross-correlation as in every deep-learning library.

    y[n, k, i, j] = bias[k] + sum over c, r, s of
    x[n, c, i * stride - padding + r * dilation, j * stride - padding + s * dilation] * weight[k, c, r, s],
    with zeros outside the input.

    Args:
        input: (N, C, H, W), or (N, H, W, C) with layout="NHWC".
        weight: (K, C / groups, R, S) in either layout.
        bias: (K,) or None.
        stride, dilation: pixels, an int or (height, width).
        padding: pixels on each side, an int or (height, width); "valid" (none) or "same" (output as large as
            the input; stride 1 only; an odd total puts one more pixel at the bottom and right, as PyTorch does).
        groups: input and output channels are split into this many groups that do not see each other.

    Returns:
        (N, K, P, Q), or (N, P, Q, K), with P = floor((H + 2 * padding - dilation * (R - 1) - 1) / stride) + 1.

    Raises:
        ShapeError: sizes or parameters that do not fit together.
        DTypeError: arrays that are not all of one type: float32, float64 or bfloat16.
    """
    input, weight, bias = lowered(input, weight, bias)
    x, w = as_array("conv2d", "input", input), as_array("conv2d", "weight", weight)
    b = None if bias is None else as_array("conv2d", "bias", bias)
    order = Spatial("conv2d", x, layout)
    inner, native = order.enter(x), order.layout
    y = _ops.conv2d(inner, w, b, stride, padding, dilation, groups, native)

    def backward(g: NDArray, needs: tuple[bool, ...]) -> tuple[NDArray | None, ...]:
        g = order.enter(g)
        geometry = (stride, padding, dilation, groups, native)
        dx = _ops.conv2d_input(inner.shape, w, g, *geometry) if needs[0] else None
        dw = _ops.conv2d_weight(inner, w.shape, g, *geometry) if needs[1] else None
        db = _ops.conv2d_bias(g, native) if needs[2] else None
        return (None if dx is None else order.leave(dx)), dw, db

    return finish("conv2d", order.leave(y), (input, weight, bias), backward)


def conv2d_input(
    input_size: tuple[int, ...] | list[int],
    weight: ArrayLike,
    grad_output: ArrayLike,
    stride: Pair = 1,
    padding: Padding = 0,
    dilation: Pair = 1,
    groups: int = 1,
    *,
    layout: str = "NCHW",
) -> ArrayLike:
    """Gradient of `conv2d` with respect to its input (dgrad), named as in `torch.nn.grad`.

    Args:
        input_size: shape of the input in `layout`'s order.
        weight: (K, C / groups, R, S).
        grad_output: gradient of the output, of its shape.

    Returns:
        An array of shape `input_size`. It is not recorded for differentiation.

    Raises:
        ShapeError, DTypeError: as `conv2d`.
    """
    w = as_array("conv2d_input", "weight", weight)
    g = as_array("conv2d_input", "grad_output", grad_output)
    order = Spatial("conv2d_input", g, layout)
    size = order.size(tuple(input_size)) if isinstance(input_size, (tuple, list)) else input_size
    dx = _ops.conv2d_input(size, w, order.enter(g), stride, padding, dilation, groups, order.layout)
    return finish("conv2d_input", order.leave(dx), (weight, grad_output), None)


def conv2d_weight(
    input: ArrayLike,
    weight_size: tuple[int, ...] | list[int],
    grad_output: ArrayLike,
    stride: Pair = 1,
    padding: Padding = 0,
    dilation: Pair = 1,
    groups: int = 1,
    *,
    layout: str = "NCHW",
) -> ArrayLike:
    """Gradient of `conv2d` with respect to its weight (wgrad), named as in `torch.nn.grad`.

    Args:
        input: the convolution's input in `layout`'s order.
        weight_size: (K, C / groups, R, S).
        grad_output: gradient of the output, of its shape.

    Returns:
        An array of shape `weight_size`. It is not recorded for differentiation.

    Raises:
        ShapeError, DTypeError: as `conv2d`.
    """
    x = as_array("conv2d_weight", "input", input)
    g = as_array("conv2d_weight", "grad_output", grad_output)
    order = Spatial("conv2d_weight", x, layout)
    dw = _ops.conv2d_weight(
        order.enter(x), weight_size, order.enter(g), stride, padding, dilation, groups, order.layout
    )
    return finish("conv2d_weight", dw, (input, grad_output), None)


@takes_one_example(4)
def conv_transpose2d(
    input: ArrayLike,
    weight: ArrayLike,
    bias: ArrayLike | None = None,
    stride: Pair = 1,
    padding: Pair = 0,
    output_padding: Pair = 0,
    groups: int = 1,
    dilation: Pair = 1,
    *,
    layout: str = "NCHW",
) -> ArrayLike:
    """Transposed convolution: the data gradient of a `conv2d`, used as a layer that enlarges its input.

    Args:
        input: (N, C, H, W), or (N, H, W, C) with layout="NHWC".
        weight: (C, K / groups, R, S) in either layout.
        bias: (K,) or None.
        stride, padding, dilation: those of the convolution that this transposes.
        output_padding: rows and columns added at the bottom and right of the output, smaller than the stride or
            the dilation: they choose among the sizes that the convolution maps to this input.

    Returns:
        (N, K, P, Q), or (N, P, Q, K), with
        P = (H - 1) * stride - 2 * padding + dilation * (R - 1) + output_padding + 1.

    Raises:
        ShapeError, DTypeError: as `conv2d`.
    """
    op = "conv_transpose2d"
    input, weight, bias = lowered(input, weight, bias)
    x, w = as_array(op, "input", input), as_array(op, "weight", weight)
    b = None if bias is None else as_array(op, "bias", bias)
    order = Spatial(op, x, layout)
    inner, native = order.enter(x), order.layout
    geometry = (stride, padding, output_padding, groups, dilation, native)
    y = _ops.conv_transpose2d(inner, w, b, *geometry)

    def backward(g: NDArray, needs: tuple[bool, ...]) -> tuple[NDArray | None, ...]:
        g = order.enter(g)
        dx = dw = db = None
        if needs[0]:
            dx = order.leave(_ops.conv_transpose2d_backward(inner, w, g, *geometry, False))
        if needs[1]:
            dw = _ops.conv_transpose2d_backward(inner, w, g, *geometry, True)
        if needs[2]:
            db = _ops.conv2d_bias(g, native)
        return dx, dw, db

    return finish(op, order.leave(y), (input, weight, bias), backward)
