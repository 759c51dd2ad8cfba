"""Layers that do not learn."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, TypeVar

import numpy as np

from .._recording import run_on_shape
from ..errors import DTypeError, ShapeError
from ..nn import Module
from ..nn._args import integer
from .heads import auxiliary_heads, part_named

__all__ = ["freeze", "statistics_frozen", "unfreeze"]

M = TypeVar("M", bound=Module)


def freeze(net: M, until: str | None = None, *, input_shape: Sequence[int] | None = None) -> M:
    """Keep layers from learning: their parameters get no gradients, and their batch normalisation uses its
    running statistics, which stay as they are, in training mode too.

    Optimisers pass over such parameters, steps are recorded anew by themselves, and gradients of layers that
    no parameter needs are not computed. Dropout still drops in training mode. `summary` says what is frozen.

    Args:
        net: a network.
        until: dotted name of the last layer that is frozen, such as "features.16" or "layer3"; all layers in
            front of it are frozen too, but for auxiliary classifiers. None: the whole network.
        input_shape: shape of a whole input, batch included: then "in front" follows from a run of the network
            on that shape; by default from the order in which its layers are defined, which is the same in
            `Sequential` networks and those of `fastconv.models`.

    Returns:
        `net`, changed in place.

    Raises:
        ShapeError: there is no such layer, or it is not used in a run.
        DTypeError: an argument is of the wrong type.
    """
    for part in _chosen("freeze", net, until, input_shape, behind=False):
        _set(part, True)
    return net


def unfreeze(net: M, start: str | None = None, *, input_shape: Sequence[int] | None = None) -> M:
    """Let layers learn again: their parameters, and their statistics in training mode.

    An optimiser that counts steps or keeps momentum is best made anew: with parameters that have taken
    different numbers of steps, training steps run function by function instead of as one native call.

    Args:
        net: a network.
        start: name of the first layer that learns; all behind it do so too, and auxiliary classifiers. None: the
            whole network.
        input_shape: as for `freeze`.

    Returns:
        `net`, changed in place.

    Raises:
        ShapeError, DTypeError: as `freeze`.
    """
    for part in _chosen("unfreeze", net, start, input_shape, behind=True):
        _set(part, False)
    return net


def statistics_frozen(net: Module, frozen: bool) -> None:
    """Freeze the running statistics alone, or let them follow the batches again."""
    for part in net.modules():
        part.frozen = frozen


def _set(part: Module, frozen: bool) -> None:
    part.frozen = frozen
    for parameter in part.parameters(recurse=False):
        parameter.requires_grad = not frozen


def _chosen(
    op: str, net: Any, name: str | None, input_shape: Sequence[int] | None, behind: bool
) -> Iterator[Module]:
    """The modules up to the named one, or from it on."""
    if not isinstance(net, Module):
        raise DTypeError(f"{op}: expected a Module, got {type(net).__name__}")
    if name is None:
        yield from net.modules()
        return
    target = part_named(op, net, name)
    within = {id(part) for part in target.modules()}
    heads = {id(p) for _, head in auxiliary_heads(net) for p in head.modules()} - within
    order = list(net.modules()) if input_shape is None else _called(op, net, input_shape)
    places = [place for place, part in enumerate(order) if id(part) in within]
    if not places:
        raise ShapeError(f"{op}: {name!r} is not used in a run on {tuple(input_shape or ())}")
    if behind:
        first = min(places)
        yield from [p for i, p in enumerate(order) if i >= first or id(p) in heads]
    else:
        last = max(places)
        yield from [p for i, p in enumerate(order) if i <= last and id(p) not in heads]


def _called(op: str, net: Module, input_shape: Sequence[int]) -> list[Module]:
    """The modules in the order in which a run in evaluation mode is done with them, each once."""
    sizes = input_shape if isinstance(input_shape, (tuple, list)) else (input_shape,)
    shape = [integer(op, f"input_shape[{i}]", n, 1) for i, n in enumerate(sizes)]
    order: dict[int, Module] = {}
    modes = [(part, part.training) for part in net.modules()]

    def note(part: Module, args: Any, result: Any) -> None:
        order.setdefault(id(part), part)

    handles = [part.register_forward_hook(note) for part in net.modules()]
    try:
        net.eval()
        parameter = next(net.parameters(), None)
        run_on_shape(net, shape, np.dtype(np.float32) if parameter is None else parameter.dtype)
    finally:
        for handle in handles:
            handle.remove()
        for part, training in modes:
            part.training = training
    return list(order.values())
