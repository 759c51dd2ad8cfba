"""Weights of a Keras file into a network, layer by layer."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from .._arrays import NDArray
from ..errors import DTypeError, FormatError, ShapeError
from . import read_keras
from .keras_layers import KerasLayer

if TYPE_CHECKING:
    from ..nn import Module

__all__ = ["load_keras"]

# Kinds of parameters that are matched in order, each kind for itself.
_MATRIX, _NORM, _KERNEL, _VECTOR = "linear layer", "normalization", "convolution", "vector"


def load_keras(
    path: str | os.PathLike[str],
    net: Module,
    *,
    names: Mapping[str, str] | None = None,
    flatten_shape: Sequence[int] | None = None,
) -> dict[str, str]:
    """Load the weights of a Keras file into a network of the same layers.

    The file's convolutions go to the network's convolutions in order, its batch-norms to batch-norms
    and its Dense layers to linear ones; a separable convolution is two, and the network has its
    layers in the order of their definition. Kernels (H, W, I, O) become (O, I, H, W), those of
    depthwise convolutions (H, W, C, M) become (C * M, 1, H, W), those of transposed ones (H, W, O, I)
    become (I, O, H, W), and Dense (in, out) becomes (out, in). What follows a Flatten is put in the
    order of (C, H, W). A batch-norm without gamma or beta gets ones or zeros, and takes over `eps`
    where the file has the model's configuration (Keras's default is 0.001). Convolutions with
    padding="same" and a stride pad more at the end than at the start: that is the network's matter.

    Args:
        path: a `.keras`, `.weights.h5` or `.h5` file, whole models or weights alone.
        net: the network.
        names: the Keras layer for each of the network's layers ("features.0" -> "block1_conv1"),
            instead of their order. Layers of the file that are not named are left out.
        flatten_shape: (H, W, C) in front of Flatten. Only needed where the file holds weights alone
            and has no layer called flatten.

    Returns:
        The network's layers, each with the name of the Keras layer that it got its weights from.

    Raises:
        ShapeError: layers do not fit one another, or `names` has one that is not there; the network
            has not changed.
        FormatError: the file is damaged, or has weights of a kind of layer that is none of those.
        DTypeError: `net` is no module or `names` no mapping of strings.
        OSError: the file is missing or cannot be read.

    Sources: Keras 3, `keras.saving`; Keras 2, `tf.keras.models.save_model(..., save_format="h5")`.
    """
    from ..nn import Module

    op = "load_keras"
    if not isinstance(net, Module):
        raise DTypeError(f"{op}: expected a Module to load into, got {type(net).__name__}")
    if names is not None and not (
        isinstance(names, Mapping)
        and all(isinstance(k, str) and isinstance(v, str) for k, v in names.items())
    ):
        raise DTypeError(f"{op}: names must map the network's layers to Keras's, both strings")
    layers = read_keras(op, path, flatten_shape)
    pieces = _pieces(layers)
    slots = _slots(net)
    if names is not None:
        pairs = _by_names(op, pieces, slots, names)
    else:
        unknown = [f"{layer.name} ({layer.class_name})" for layer in layers if not layer.is_known]
        if unknown:
            raise FormatError(
                f"{op}: {os.fspath(path)}: weights of layers that are no convolution, batch-norm or "
                f"Dense: {', '.join(unknown)[:400]}; name those that are wanted with names="
            )
        pairs = _in_order(op, pieces, slots)
    state: dict[str, NDArray] = {}
    for slot, piece in pairs:
        state |= _fitted(op, slot, piece)
    net.load_state_dict(state, strict=False)  # all that a pair needs is there: see _fitted
    modules = dict(net.named_modules(remove_duplicate=False))
    for slot, piece in pairs:
        epsilon = piece.options.get("epsilon")
        if isinstance(epsilon, float) and hasattr(modules[slot.path], "eps"):
            modules[slot.path].eps = epsilon
    return {slot.path: piece.layer for slot, piece in pairs}


class _Piece:
    """Arrays of one layer, or of one half of a separable convolution, by PyTorch's names."""

    def __init__(self, layer: str, arrays: Mapping[str, NDArray], options: Mapping[str, Any]):
        self.layer, self.arrays, self.options = layer, arrays, options
        self.kind = _kind(arrays)


class _Slot:
    """A module that has parameters of its own, and their arrays."""

    def __init__(self, path: str, arrays: dict[str, NDArray]) -> None:
        self.path, self.arrays = path, arrays
        self.kind = _kind(arrays)

    def key(self, parameter: str) -> str:
        return f"{self.path}.{parameter}" if self.path else parameter


def _kind(arrays: Mapping[str, NDArray]) -> str:
    weight = arrays.get("weight")
    if "running_mean" in arrays:
        return _NORM
    if weight is None or weight.ndim < 2:
        return _VECTOR
    return _MATRIX if weight.ndim == 2 else _KERNEL


def _pieces(layers: list[KerasLayer]) -> list[_Piece]:
    pieces: list[_Piece] = []
    for layer in layers:
        if not layer.class_name.startswith("Separable"):
            pieces.append(_Piece(layer.name, layer.arrays, layer.options))
            continue
        for half in ("depthwise", "pointwise"):
            arrays = {
                name.removeprefix(f"{half}."): array
                for name, array in layer.arrays.items()
                if name.startswith(half)
            }
            pieces.append(_Piece(f"{layer.name}.{half}", arrays, layer.options))
    return pieces


def _slots(net: Module) -> list[_Slot]:
    found: dict[str, dict[str, NDArray]] = {}
    for key, array in net.state_dict().items():
        path, _, parameter = key.rpartition(".")
        if parameter != "num_batches_tracked":
            found.setdefault(path, {})[parameter] = array
    return [_Slot(path, arrays) for path, arrays in found.items()]


def _in_order(op: str, pieces: list[_Piece], slots: list[_Slot]) -> list[tuple[_Slot, _Piece]]:
    pairs: list[tuple[_Slot, _Piece]] = []
    for kind in (_KERNEL, _NORM, _MATRIX, _VECTOR):
        given = [piece for piece in pieces if piece.kind == kind]
        wanted = [slot for slot in slots if slot.kind == kind]
        for slot, piece in zip(wanted, given, strict=False):
            _fitted(op, slot, piece)
            pairs.append((slot, piece))
        if len(given) != len(wanted):
            more = [p.layer for p in given[len(wanted) :]] or [s.path for s in wanted[len(given) :]]
            raise ShapeError(
                f"{op}: the file has {len(given)} layers of the kind {kind}, the network "
                f"{len(wanted)}: over are {', '.join(more)[:200]}"
            )
    return pairs


def _by_names(
    op: str, pieces: list[_Piece], slots: list[_Slot], names: Mapping[str, str]
) -> list[tuple[_Slot, _Piece]]:
    by_layer = {piece.layer: piece for piece in pieces}
    by_path = {slot.path: slot for slot in slots}
    for path, layer in names.items():
        if path not in by_path:
            raise ShapeError(f"{op}: names: the network has no layer {path!r} with weights")
        if layer not in by_layer:
            raise ShapeError(
                f"{op}: names: the file has no layer {layer!r} with weights, but "
                f"{', '.join(by_layer)[:300]}"
            )
    return [(by_path[path], by_layer[layer]) for path, layer in names.items()]


def _fitted(op: str, slot: _Slot, piece: _Piece) -> dict[str, NDArray]:
    """The state of one module, complete.

    Raises:
        ShapeError: the layer has other parameters, or of other shapes.
    """
    arrays = dict(piece.arrays)
    if slot.kind == _NORM and piece.kind == _NORM:
        for name, fill in (("weight", 1.0), ("bias", 0.0)):
            if name in slot.arrays and name not in arrays:
                arrays[name] = np.full(slot.arrays[name].shape, fill, np.float32)
    got = {name: array.shape for name, array in sorted(arrays.items())}
    wanted = {name: array.shape for name, array in sorted(slot.arrays.items())}
    if got != wanted:
        raise ShapeError(
            f"{op}: {piece.layer!r} of the file has {_listed(got)}, but {slot.path!r} of the "
            f"network takes {_listed(wanted)}"
        )
    return {slot.key(name): array for name, array in arrays.items()}


def _listed(shapes: Mapping[str, tuple[int, ...]]) -> str:
    return ", ".join(f"{name} {shape}" for name, shape in shapes.items()) or "nothing"
