"""Weights of Keras's layers as PyTorch's names and shapes."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from .._arrays import NDArray

__all__ = ["KerasLayer", "channels_made", "convert", "guess_class", "permute", "role_of"]

# The variables of each kind of layer in Keras's own order.
_NORM = ("gamma", "beta", "moving_mean", "moving_variance")
VARIABLES: dict[str, tuple[str, ...]] = {
    **dict.fromkeys(("Conv1D", "Conv2D", "Conv3D"), ("kernel", "bias")),
    **dict.fromkeys(("Conv1DTranspose", "Conv2DTranspose", "Conv3DTranspose"), ("kernel", "bias")),
    **dict.fromkeys(("DepthwiseConv1D", "DepthwiseConv2D"), ("depthwise_kernel", "bias")),
    **dict.fromkeys(
        ("SeparableConv1D", "SeparableConv2D"), ("depthwise_kernel", "pointwise_kernel", "bias")
    ),
    "Dense": ("kernel", "bias"),
    "BatchNormalization": _NORM,
    **dict.fromkeys(("LayerNormalization", "GroupNormalization"), ("gamma", "beta")),
    "PReLU": ("alpha",),
}
_TORCH_NAMES = {
    "bias": "bias",
    "gamma": "weight",
    "beta": "bias",
    "moving_mean": "running_mean",
    "moving_variance": "running_var",
}
# Keras 1's names; its running_std holds variances.
_OLD_ROLES = {"W": "kernel", "b": "bias", "running_mean": "moving_mean"}
_OLD_ROLES["running_std"] = "moving_variance"
_ROLES = {role for roles in VARIABLES.values() for role in roles}


@dataclass
class KerasLayer:
    """One layer with weights.

    Attributes:
        name: its dotted path among the models that hold it.
        class_name: Keras's, guessed where the file does not say, "" where nothing fits.
        variables: role ("kernel") -> array as Keras has it.
        options: its configuration, empty where the file has none.
        arrays: parameter ("weight") -> array as PyTorch has it; filled by `convert`.
    """

    name: str
    class_name: str
    variables: dict[str, NDArray]
    options: Mapping[str, Any] = field(default_factory=dict)
    arrays: dict[str, NDArray] = field(default_factory=dict)

    @property
    def is_known(self) -> bool:
        """Whether its weights have a form in PyTorch."""
        return self.class_name in VARIABLES


def role_of(path: str) -> str:
    """The role of a variable by its name: "conv1/kernel:0" is a kernel, "conv1_W_1:0" too."""
    name = path.rpartition("/")[2].partition(":")[0]
    plain = re.sub(r"_\d+$", "", name)
    if plain in _ROLES:
        return plain
    for old, role in _OLD_ROLES.items():
        if plain == old or plain.endswith(f"_{old}"):
            return role
    for role in ("gamma", "beta"):
        if plain.endswith(f"_{role}"):
            return role
    return name


def guess_class(name: str, variables: Mapping[str, NDArray]) -> str:
    """The class of a layer by the roles and shapes of its variables, for files without a
    configuration."""
    kernel = variables.get("kernel")
    if "pointwise_kernel" in variables:
        return "SeparableConv2D"
    if "depthwise_kernel" in variables:
        return "DepthwiseConv2D"
    if kernel is not None and kernel.ndim == 2:
        return "Dense"
    if kernel is not None and kernel.ndim in (3, 4, 5):
        bias = variables.get("bias")
        plain = bias is None or bias.shape == kernel.shape[-1:]
        if plain and "transpose" not in name:
            return f"Conv{kernel.ndim - 2}D"
        return f"Conv{kernel.ndim - 2}DTranspose"
    if "moving_mean" in variables:
        return "BatchNormalization"
    if set(variables) == {"alpha"}:
        return "PReLU"
    return "LayerNormalization" if variables and set(variables) <= {"gamma", "beta"} else ""


def channels_made(layer: KerasLayer) -> int | None:
    """The number of channels, or features, that a layer's result has."""
    kernel = layer.variables.get("pointwise_kernel")
    kernel = layer.variables.get("kernel") if kernel is None else kernel
    depthwise = layer.variables.get("depthwise_kernel")
    if kernel is not None and kernel.ndim >= 2:
        return kernel.shape[-2] if "Transpose" in layer.class_name else kernel.shape[-1]
    if depthwise is not None and depthwise.ndim >= 2:
        return depthwise.shape[-2] * depthwise.shape[-1]
    vectors = [a for role, a in layer.variables.items() if role in _NORM and a.ndim == 1]
    return vectors[0].size if vectors else None


def permute(layer: KerasLayer, channels: int, features: int | None = None) -> None:
    """Take the features that a layer reads, flattened from (H, W, C), in the order (C, H, W).

    Raises:
        ValueError: their number is no multiple of `channels`, or not `features` where that is given.
    """
    for role, array in layer.variables.items():
        if role == "bias" and layer.class_name == "Dense":
            continue
        count = array.shape[0] if array.ndim else 1
        pixels, rest = divmod(count, channels)
        if rest or (features or count) != count:
            raise ValueError(
                f"{layer.name!r} has {count} inputs behind Flatten, expected "
                + (f"a multiple of {channels} channels" if features is None else f"{features}")
            )
        pieces = array.reshape(pixels, channels, *array.shape[1:])
        layer.variables[role] = np.swapaxes(pieces, 0, 1).reshape(array.shape)


def convert(layer: KerasLayer) -> None:
    """Fill `layer.arrays`. A layer of an unknown kind keeps Keras's names and shapes.

    Raises:
        ValueError: a variable has the wrong number of dimensions.
    """
    for role, array in layer.variables.items():
        if not layer.is_known:
            layer.arrays[role] = array
        elif role in _TORCH_NAMES and array.ndim == 1:
            layer.arrays[_TORCH_NAMES[role]] = array
        elif role == "alpha":
            layer.arrays["weight"] = _slopes(layer.name, array)
        else:
            layer.arrays[_kernel_name(layer, role)] = _kernel(layer, role, array)
    if layer.class_name.startswith("Separable"):
        _split_separable(layer)


def _kernel_name(layer: KerasLayer, role: str) -> str:
    if layer.class_name.startswith("Separable"):
        return "pointwise.weight" if role == "pointwise_kernel" else "depthwise.weight"
    return "weight"


def _kernel(layer: KerasLayer, role: str, array: NDArray) -> NDArray:
    kind = layer.class_name
    digit = re.search(r"(\d)D", kind)
    dimensions = 2 + int(digit[1]) if digit else 2
    if role not in ("kernel", "depthwise_kernel", "pointwise_kernel") or array.ndim != dimensions:
        raise ValueError(
            f"{layer.name!r} ({kind}) has {role!r} of shape {array.shape}, which does not fit"
        )
    if kind == "Dense":
        return np.ascontiguousarray(array.T)
    spatial = tuple(range(dimensions - 2))
    if role == "depthwise_kernel":  # (..., C, M) -> (C * M, 1, ...)
        moved = array.transpose(dimensions - 2, dimensions - 1, *spatial)
        return np.ascontiguousarray(moved).reshape(-1, 1, *array.shape[:-2])
    # (..., I, O) -> (O, I, ...); transposed convolutions have (..., O, I) -> (I, O, ...)
    return np.ascontiguousarray(array.transpose(dimensions - 1, dimensions - 2, *spatial))


def _slopes(name: str, alpha: NDArray) -> NDArray:
    """PReLU's slopes, one a channel, of an array whose shared axes are 1."""
    if alpha.size != alpha.shape[-1]:
        raise ValueError(
            f"{name!r} (PReLU) has slopes of shape {alpha.shape}, expected one a channel "
            "(shared_axes=[1, 2])"
        )
    return alpha.reshape(-1)


def _split_separable(layer: KerasLayer) -> None:
    """The bias of a separable convolution belongs to its second half."""
    if "bias" in layer.arrays:
        layer.arrays["pointwise.bias"] = layer.arrays.pop("bias")
