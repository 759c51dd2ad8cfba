"""What the networks of this folder share: the check of their input and the filling of their weights."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from .. import functional as F
from .. import nn
from .._arrays import NDArray
from ..errors import DTypeError, ShapeError
from ..nn import init
from ..nn._drawing import still_empty
from ..tensor import as_array

__all__ = ["check_images", "fill", "half_range"]

# Mean and standard deviation of ImageNet's red, green and blue, in [0, 1].
_MEAN, _STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def check_images(owner: str, input: Any, channels: int, smallest: int) -> None:
    """Refuse what is no batch of images (N, channels, H, W) with H and W of at least `smallest`."""
    shape = getattr(input, "shape", None)
    if shape is None:
        raise DTypeError(f"{owner}: input must be an array, got {type(input).__name__}")
    shape = tuple(shape)
    if len(shape) != 4 or shape[1] != channels or min(shape[2:]) < smallest:
        raise ShapeError(
            f"{owner}: images must be (N, {channels}, H, W) with H and W of at least {smallest}, "
            f"got {shape}"
        )


def half_range(owner: str, input: Any) -> Any:
    """Colour images that are standardised by ImageNet's mean and deviation, as (value - 0.5) / 0.5."""
    if input.shape[1] != len(_MEAN):
        raise ShapeError(
            f"{owner}: transform_input is for images of 3 channels, got {input.shape[1]}"
        )

    dtype = as_array(owner, "input", input).dtype

    def row(values: list[float]) -> NDArray:
        return np.array(values, dtype).reshape(1, -1, 1, 1)

    scale, shift = row([s / 0.5 for s in _STD]), row([(m - 0.5) / 0.5 for m in _MEAN])
    return F.add(F.mul(input, scale), shift)


def fill(
    net: nn.Module,
    *,
    convolution: Callable[[nn.Parameter], object] | None = None,
    linear: Callable[[nn.Parameter], object] | None = None,
    biases: bool = True,
) -> None:
    """Draw weights; what is None keeps the layers' own initialisation. In constructors under
    `draw_once` nothing has been drawn before.

    Args:
        convolution, linear: initialisers for the weights of these layers.
        biases: whether the biases of the layers that are filled become 0.
    """
    for module in net.modules():
        draw: Callable[[nn.Parameter], object] | None = None
        if isinstance(module, nn.Conv2d):
            draw = convolution
        elif isinstance(module, nn.Linear):
            draw = linear
        else:
            continue
        has_bias = module.bias is not None
        if still_empty(module) and (draw is None or (has_bias and not biases)):
            module.reset_parameters()
        if draw is None:
            continue
        draw(module.weight)
        if biases and module.bias is not None:
            init.zeros_(module.bias)
