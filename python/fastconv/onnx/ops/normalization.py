"""Normalisation and dropout."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ... import functional as F
from ...errors import ShapeError
from ...tensor import Tensor
from ..graph import Node
from .pointwise import operand
from .registry import Inputs, at, axes, axis, computed, scalar, values
from .shapes import as_tensor, reshape, transpose


@computed("BatchNormalization")
def _batch_norm(node: Node, inputs: Inputs, training: bool) -> Any:
    x, weight, bias, mean, var = inputs
    eps, momentum = node.attributes["epsilon"], 1.0 - node.attributes["momentum"]
    if not node.get("training_mode", 0):
        # While the network trains, as the layers do that such files come from.
        return F.batch_norm(x, mean, var, weight, bias, training, momentum, eps)
    y = F.batch_norm(x, None, None, weight, bias, True, 0.0, eps)
    if len(node.outputs) == 1:
        return y
    dims = (0, *range(2, x.ndim))
    own_mean = F.mean(x, dim=dims, keepdim=True)
    centred = F.sub(x, own_mean)
    own_var = F.mean(F.mul(centred, centred), dim=dims)  # ONNX keeps the biased one
    own_mean = reshape(own_mean, (x.shape[1],))
    moved = [
        F.add(F.mul(old, 1.0 - momentum), F.mul(new, momentum))
        for old, new in ((mean, own_mean), (var, own_var))
    ]
    return y, *moved


@computed("InstanceNormalization")
def _instance_norm(node: Node, inputs: Inputs, training: bool) -> Any:
    x, weight, bias = inputs
    return F.instance_norm(x, weight=weight, bias=bias, eps=node.attributes["epsilon"])


@computed("GroupNormalization")
def _group_norm(node: Node, inputs: Inputs, training: bool) -> Any:
    x, weight, bias = inputs
    groups, eps = node.attributes["num_groups"], node.attributes["epsilon"]
    if weight.size != groups or x.ndim < 2 or groups == x.shape[1]:
        return F.group_norm(x, groups, weight, bias, eps)
    # Before opset 21 there is a number for each group.
    y = F.group_norm(x, groups, None, None, eps)
    rows = reshape(y, (x.shape[0], groups, -(-x.size // max(x.shape[0] * groups, 1))))
    scaled = F.mul(rows, reshape(weight, (groups, 1)))
    return reshape(F.add(scaled, reshape(bias, (groups, 1))), x.shape)


@computed("LRN")
def _local_response_norm(node: Node, inputs: Inputs, training: bool) -> Any:
    x = inputs[0]
    a = node.attributes
    size, alpha, beta, bias = a["size"], a["alpha"], a["beta"], a["bias"]
    if size < 1 or x.ndim < 3:
        raise ShapeError(f"onnx: {node}: size {size} of an input {x.shape}")
    if size % 2:
        return F.local_response_norm(x, size, alpha, beta, bias)
    # ONNX has the odd channel of an even window behind, local_response_norm in front: sums along the
    # channels by a pooling.
    n, channels = x.shape[:2]
    rows = reshape(F.mul(x, x), (n, 1, channels, math.prod(x.shape[2:])))
    padded = F.pad(rows, (0, 0, (size - 1) // 2, size // 2))
    means = reshape(F.avg_pool2d(padded, (size, 1), 1), x.shape)
    return F.div(x, F.pow(F.add(F.mul(means, alpha), bias), beta))


@computed("Dropout")
def _dropout(node: Node, inputs: Inputs, training: bool) -> Any:
    x = inputs[0]
    if node.version < 12:
        ratio, drops = node.get("ratio", 0.5), training
    else:
        ratio = scalar(node, "ratio", at(inputs, 1), 0.5)
        mode = at(inputs, 2)
        drops = training or (mode is not None and bool(values(node, mode).any()))
    if len(node.outputs) == 1:
        return F.dropout(x, ratio, drops)
    if not drops:
        return x, np.ones(x.shape, np.bool_)
    kept = F.dropout(Tensor(np.ones(x.shape, x.dtype)), ratio, True)
    return F.mul(x, kept), values(node, kept) != 0


@computed("LpNormalization")
def _lp_normalization(node: Node, inputs: Inputs, training: bool) -> Any:
    x = inputs[0]
    where = axis(node, node.get("axis", -1), x.ndim)
    power = node.get("p", 2)
    total = F.sum(F.mul(x, x) if power == 2 else F.abs(x), dim=where, keepdim=True)
    total = F.maximum(total, 1e-36)  # so that zeros stay zeros
    return F.div(x, F.sqrt(total) if power == 2 else total)


@computed("LayerNormalization")
def _layer_norm(node: Node, inputs: Inputs, training: bool) -> Any:
    x, weight, bias = inputs[0], inputs[1], at(inputs, 2)
    where = axis(node, node.get("axis", -1), x.ndim)
    eps, dims = node.get("epsilon", 1e-5), tuple(range(where, x.ndim))
    fits = weight.shape == x.shape[where:] and (bias is None or bias.shape == weight.shape)
    if len(node.outputs) == 1 and fits:
        return F.layer_norm(x, weight.shape, weight, bias, eps)
    mean = F.mean(x, dim=dims, keepdim=True)
    centred = F.sub(x, mean)
    var = F.mean(F.mul(centred, centred), dim=dims, keepdim=True)
    inverse = F.pow(F.add(var, eps), -0.5)
    y = F.mul(F.mul(centred, inverse), weight)
    return y if bias is None else F.add(y, bias), mean, inverse


@computed("LayerNorm")
def _composed_layer_norm(node: Node, inputs: Inputs, training: bool) -> Any:
    """What means, differences and square roots become: see `patterns`."""
    x = inputs[0]
    dims = tuple(sorted(axes(node, node.attributes["axes"], x.ndim)))
    order = (*(d for d in range(x.ndim) if d not in dims), *dims)
    sizes = tuple(x.shape[d] for d in dims)

    def apply(weight: Any, bias: Any) -> Any:
        y = F.layer_norm(transpose(x, order), sizes, weight, bias, node.attributes["epsilon"])
        return transpose(y, tuple(int(d) for d in np.argsort(order)))

    return _with_affine(apply, inputs, dims, sizes)


@computed("GroupNorm")
def _composed_group_norm(node: Node, inputs: Inputs, training: bool) -> Any:
    """What an instance norm of reshaped groups becomes: see `patterns`."""
    x, groups, eps = inputs[0], node.attributes["num_groups"], node.attributes["epsilon"]
    if x.ndim > 1 and x.shape[1] % groups:  # groups that do not end where channels do
        rows = reshape(x, (x.shape[0], groups, math.prod(x.shape[1:]) // groups))
        y = reshape(F.group_norm(rows, groups, None, None, eps), x.shape)
        return _with_affine(lambda *none: y, inputs, (), ())

    def apply(weight: Any, bias: Any) -> Any:
        return F.group_norm(x, groups, weight, bias, eps)

    return _with_affine(apply, inputs, (1,), x.shape[1:2])


def _with_affine(apply: Any, inputs: Inputs, dims: tuple[int, ...], sizes: tuple[int, ...]) -> Any:
    """apply(weight, bias) where these are those of `dims`; else apply(None, None) and arithmetic."""
    x, weight, bias = inputs[0], at(inputs, 1), at(inputs, 2)
    places = tuple(n if d in dims else 1 for d, n in enumerate(x.shape))

    def own(value: Any) -> Any:
        fits = value is not None and (1,) * (x.ndim - value.ndim) + value.shape == places
        return reshape(as_tensor(value, x), sizes) if fits else None

    scale, shift = own(weight), own(bias)
    if scale is None and weight is not None:
        y = F.mul(apply(None, None), operand(weight, x))  # before anything is added
        return y if bias is None else F.add(y, operand(bias, x))
    y = apply(scale, shift)
    return y if bias is None or shift is not None else F.add(y, operand(bias, x))


@computed("MeanVarianceNormalization")
def _mean_variance(node: Node, inputs: Inputs, training: bool) -> Any:
    x = inputs[0]
    dims = tuple(axis(node, a, x.ndim) for a in node.get("axes", (0, 2, 3)))
    order = (*(d for d in range(x.ndim) if d not in dims), *sorted(dims))
    moved = transpose(x, order)
    kept = x.ndim - len(dims)
    mean = F.mean(moved, dim=tuple(range(kept, x.ndim)), keepdim=True)
    centred = F.sub(moved, mean)
    var = F.mean(F.mul(centred, centred), dim=tuple(range(kept, x.ndim)), keepdim=True)
    back = tuple(int(d) for d in np.argsort(order))
    return transpose(F.div(centred, F.add(F.sqrt(var), 1e-9)), back)
