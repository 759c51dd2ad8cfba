"""Weights from files into the networks, whatever wrote them."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np

from .._arrays import NDArray
from ..errors import DTypeError
from ..formats import is_keras_file, read_arrays
from ..nn import Module
from ..nn._drawing import undrawn
from ..nn._state import IncompatibleKeys

__all__ = ["built_for_weights", "load_weights", "modern_names"]

_OLD_DENSENET = re.compile(r"(denselayer\d+\.)(norm|relu|conv)\.([12])\.")
_PARALLEL = "module."


def load_weights(
    net: Module,
    path: str | os.PathLike[str],
    *,
    key: str | None = None,
    prefix: str | None = None,
    strict: bool = True,
) -> IncompatibleKeys:
    """Load a file of weights into a network: `net.load_state_dict(fastconv.load(path))` with the
    usual detours.

    Where a PyTorch checkpoint holds more than weights and one dictionary of arrays only, that one is
    taken. A "module." in front of every name (DataParallel) is taken off, and names that DenseNets
    had before torchvision 0.3 (`norm.1`) become today's (`norm1`). Files of Keras go in by
    `fastconv.load_keras`, layer by layer.

    Args:
        net: the network.
        path: any file that `fastconv.load` reads.
        key: where the state dict lies in a checkpoint of PyTorch.
        prefix: a start to take off the names that have it.
        strict: whether all names must be there and no others.

    Returns:
        The names that the file lacked, and those that the network does not have.

    Raises:
        ShapeError: names or shapes do not fit; the network has not changed.
        DTypeError: `net` is no module, or an array has a kind that does not convert.
        FormatError, ImportError, OSError: as `fastconv.load`.
    """
    op = "load_weights"
    if not isinstance(net, Module):
        raise DTypeError(f"{op}: expected a Module to load into, got {type(net).__name__}")
    if is_keras_file(path):
        from ..formats.keras_loading import load_keras

        load_keras(path, net)
        return IncompatibleKeys([], [])
    return net.load_state_dict(_state_for(net, op, path, key, prefix), strict)


def built_for_weights(
    build: Callable[..., Module],
    sizes: Mapping[str, int],
    path: str | os.PathLike[str],
    *,
    key: str | None = None,
) -> Module:
    """A network with weights from a file, with as many classes and channels as they have.

    Args:
        build: makes the network; called with the keywords `sizes`, again where the file has others.
        sizes: "num_classes" and "in_channels", those that the file may change. Files of Keras do not.
        path, key: as `load_weights` takes them.

    Raises:
        ShapeError, DTypeError, FormatError, ImportError, OSError: as `load_weights`.
    """
    with undrawn():
        net = build(**sizes)
    if is_keras_file(path):
        load_weights(net, path, key=key)
        return net
    state = _state_for(net, "load_weights", path, key, None)
    found = _sizes(state, net.state_dict(), sizes)
    if found:
        with undrawn():
            net = build(**{**sizes, **found})
    net.load_state_dict(state)
    return net


def _sizes(
    state: Mapping[str, Any], own: Mapping[str, NDArray], sizes: Mapping[str, int]
) -> dict[str, int]:
    """Those of `sizes` that all arrays with another one agree on."""
    found: dict[str, int] = {}
    for dim, size in ((0, "num_classes"), (1, "in_channels")):
        others = set()
        for name, array in state.items():
            mine, shape = own[name].shape if name in own else (), np.shape(array)
            if len(mine) == len(shape) > dim and mine[dim] == sizes.get(size) != shape[dim]:
                others.add(shape[dim])
        if len(others) == 1:
            found[size] = others.pop()
    return found


def _state_for(
    net: Module, op: str, path: str | os.PathLike[str], key: str | None, prefix: str | None
) -> dict[str, Any]:
    """The state dict in a file under the names that `net` has."""
    state = read_arrays(op, path, key=key, prefix=prefix or "", unwrap=key is None)
    own = net.state_dict()
    wrapped = bool(state) and all(name.startswith(_PARALLEL) for name in state)
    if prefix is None and wrapped and not any(name.startswith(_PARALLEL) for name in own):
        state = {name.removeprefix(_PARALLEL): array for name, array in state.items()}
    return modern_names(state, own)


def modern_names(state: Mapping[str, NDArray], own: Iterable[str]) -> dict[str, Any]:
    """The state with names of old DenseNets as they are today, where the network has those."""
    wanted = set(own)
    renamed = {name: _OLD_DENSENET.sub(r"\1\2\3.", name) for name in state}
    return {
        renamed[name] if name not in wanted and renamed[name] in wanted else name: array
        for name, array in state.items()
    }
