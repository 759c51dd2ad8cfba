"""The networks by name."""

from __future__ import annotations

import inspect
import os
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeVar

from ..errors import DTypeError, ShapeError
from ..nn import Module
from .weights import built_for_weights

__all__ = ["Network", "create", "info", "list_networks", "register"]

B = TypeVar("B", bound=Callable[..., Module])


@dataclass(frozen=True)
class Network:
    """What is known about a network before it is built.

    Attributes:
        name: the name that `create` takes.
        builder: function that builds it with fresh parameters.
        input_shape: (C, H, W) of the images it is made for by default.
        source: the paper it comes from.
        smallest: the smallest height and width that it takes by default, in training too.
    """

    name: str
    builder: Callable[..., Module]
    input_shape: tuple[int, int, int]
    source: str
    smallest: int = 1


_networks: dict[str, Network] = {}


def register(input_shape: tuple[int, int, int], source: str, smallest: int = 1) -> Callable[[B], B]:
    """Decorator that lists a builder under its function name; its docstring names the source."""

    def add(builder: B) -> B:
        name = builder.__name__
        if name in _networks:
            raise ShapeError(f"register: there is already a network named {name!r}")
        _networks[name] = Network(name, builder, input_shape, source, smallest)
        if builder.__doc__ and "Source" not in builder.__doc__:
            builder.__doc__ += f"\n\n    Source: {source}.\n    "
        return builder

    return add


def list_networks() -> list[str]:
    """The names that `create` takes, sorted."""
    return sorted(_networks)


def info(name: str) -> Network:
    """What is known about the network `name`.

    Raises:
        ShapeError: there is no such network; the message lists those that are.
    """
    if not isinstance(name, str):
        raise DTypeError(f"models: a name must be a string, got {type(name).__name__}")
    if name not in _networks:
        raise ShapeError(
            f"models: there is no network named {name!r}; there are {', '.join(list_networks())}"
        )
    return _networks[name]


def create(name: str, *, weights: str | os.PathLike[str] | None = None, **options: Any) -> Module:
    """Build the network `name`; `options` are its builder's arguments.

    Args:
        name: one of `list()`.
        weights: a file to load with `load_weights`; without it parameters are fresh. Where
            `num_classes` or `in_channels` is not given, the network has as many as the weights.

    Raises:
        ShapeError: there is no such network, or the weights do not fit it.
        FormatError, ImportError, OSError: the file cannot be read.
    """
    builder = info(name).builder
    if weights is None:
        return builder(**options)
    parameters = inspect.signature(builder).parameters
    open_sizes = {
        name: parameters[name].default
        for name in ("num_classes", "in_channels")
        if name in parameters and name not in options
    }
    return built_for_weights(partial(builder, **options), open_sizes, weights)


def create_for_images(name: str, classes: int, image_shape: tuple[int, ...], **more: Any) -> Module:
    """The network `name` for images (C, H, W) of that many classes; `more` of its builder's arguments.

    Raises:
        ShapeError: there is no such network, or it cannot take such images.
    """
    channels, height, width = image_shape
    options: dict[str, Any] = {"num_classes": classes, "in_channels": channels, **more}
    if "input_size" in inspect.signature(info(name).builder).parameters:
        options["input_size"] = height if height == width else (height, width)
    net = info(name).builder(**options)
    net.summary((1, *image_shape))  # refuses images that are too small
    return net
