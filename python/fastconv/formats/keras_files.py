"""Keras's files: `.keras`, `.weights.h5` and the older `.h5`, as layers with their weights.

Sources: Keras 3's `saving/saving_lib.py` (groups by class, variables by number) and Keras 2's
`saving/hdf5_format.py` (groups by layer, variables by name).
"""

from __future__ import annotations

import io
import json
import math
import os
import re
from collections.abc import Sequence
from typing import Any

from .._arrays import NDArray
from ..errors import FastconvError, FormatError, ShapeError
from .archives import Archive
from .hdf5 import Group, open_hdf5
from .keras_config import LayerConfig, ModelConfig, flat_features, parse_model, snake_case
from .keras_layers import (
    VARIABLES,
    KerasLayer,
    channels_made,
    convert,
    guess_class,
    permute,
    role_of,
)

__all__ = ["is_keras_archive", "named_arrays", "read_keras_archive", "read_keras_hdf5"]

_CONFIG, _WEIGHTS = "config.json", "model.weights.h5"
_MAX_CONFIG = 1 << 26
_CLASSES = {snake_case(name): name for name in VARIABLES}

Shape = Sequence[int] | None


def is_keras_archive(names: list[str]) -> bool:
    """Whether a zip archive with these records is a model of Keras."""
    return _CONFIG in names and _WEIGHTS in names


def read_keras_archive(archive: Archive, flatten_shape: Shape) -> list[KerasLayer]:
    """The layers of a `.keras` file, converted, in the model's order; see `fastconv.load_keras`."""
    if archive.size(_CONFIG) > _MAX_CONFIG:
        raise archive.refused(f"the record {_CONFIG!r} has {archive.size(_CONFIG)} bytes")
    model = _model(archive.op, archive.path, archive.read(_CONFIG).tobytes())
    content = archive.read(_WEIGHTS)
    with open_hdf5(archive.op, archive.path, io.BytesIO(content.tobytes()), content.size) as root:
        if model is not None:
            layers = _configured_store(root, model)
        else:  # a class of the user's own
            layers, names = _store(root)
            model = _guessed(archive.op, archive.path, layers, names, flatten_shape, ordered=False)
        return _converted(archive.op, archive.path, layers, model, flatten_shape)


def read_keras_hdf5(op: str, path: str, flatten_shape: Shape) -> list[KerasLayer]:
    """The layers of an `.h5` file, converted; see `fastconv.load_keras`."""
    with (
        open(path, "rb") as file,
        open_hdf5(op, path, file, os.fstat(file.fileno()).st_size) as root,
    ):
        text = root.text("model_config")
        model = None if text is None else _model(op, path, text.encode("utf-8", "surrogateescape"))
        weights = root.get("model_weights")
        top = root if weights is None else weights
        names = top.texts("layer_names")
        ordered = names is not None
        if names is None:
            layers, names = _store(root)
        else:
            layers = _by_name(op, path, top, names, model)
        if not layers:
            raise FormatError(f"{op}: {path}: an HDF5 file without weights of Keras")
        if model is None:
            model = _guessed(op, path, layers, names, flatten_shape, ordered)
        return _converted(op, path, layers, model, flatten_shape)


def named_arrays(op: str, path: str, layers: list[KerasLayer]) -> dict[str, NDArray]:
    """What `fastconv.load` gives: "layer.weight" and so on."""
    found: dict[str, NDArray] = {}
    for layer in layers:
        for parameter, array in layer.arrays.items():
            name = f"{layer.name}.{parameter}"
            if name in found:
                raise FormatError(f"{op}: {path}: two arrays are called {name!r}")
            found[name] = array
    return found


def _model(op: str, path: str, text: bytes) -> ModelConfig | None:
    try:
        return parse_model(json.loads(text))
    except (ValueError, KeyError, TypeError, AttributeError, IndexError, RecursionError) as error:
        raise FormatError(
            f"{op}: {path}: the model's configuration is damaged: "
            f"{type(error).__name__} {str(error)[:80]}"
        ) from error


# Keras 3's store: layers/<class>/vars/<number>


def _configured_store(root: Group, model: ModelConfig, path: str = "") -> list[KerasLayer]:
    """The layers in the configuration's order."""
    container = root.get("layers")
    if container is None:
        return []
    named: dict[str, Group] = {}
    for _, group in container.groups():
        variables = group.get("vars")
        name = None if variables is None else variables.text("name")
        if name is not None:
            named[name] = group
    layers: list[KerasLayer] = []
    for config in model.layers:
        found = named.get(config.name) or container.get(config.group)
        if found is None:
            continue
        if config.inner is not None:
            layers += _configured_store(found, config.inner, f"{path}{config.name}.")
            continue
        arrays = _numbered(found)
        if arrays:
            layers.append(
                _by_position(f"{path}{config.name}", config.class_name, arrays, config.options)
            )
    return layers


def _store(root: Group) -> tuple[list[KerasLayer], list[str]]:
    """The layers of a file without a configuration, and the names of all, those without weights
    too. The order of those of one class is the model's, that of different classes is not known:
    Flatten, what fits only behind it, and Dense come last.
    """
    layers: list[KerasLayer] = []
    idle: list[str] = []
    waiting: list[tuple[str, Group]] = [("", root)]
    seen: set[int] = set()
    while waiting:
        name, group = waiting.pop()
        if group.address in seen:
            continue
        seen.add(group.address)
        variables = group.get("vars")
        arrays = _numbered(group)
        if arrays and variables is not None:
            base = re.sub(r"_\d+$", "", name.rpartition("/")[2])
            title = variables.text("name") or name.lstrip("/")
            layers.append(_by_position(title, _CLASSES.get(base, ""), arrays, {}))
        elif variables is not None:
            idle.append(name)
        inner = sorted(group.groups(), key=lambda item: _natural(item[0]), reverse=True)
        waiting += [(f"{name}/{n}", g) for n, g in inner if n != "vars"]
    dense = [layer for layer in layers if layer.class_name == "Dense"]
    made = {channels_made(layer) for layer in layers if "Conv" in layer.class_name}
    inputs = dense[0].variables["kernel"].shape[0] if dense else None
    behind = [
        layer
        for layer in layers
        if layer not in dense and inputs not in made and channels_made(layer) == inputs
    ]
    before = [layer for layer in layers if layer not in dense and layer not in behind]
    return layers, [
        *(layer.name for layer in before),
        *idle,
        *(layer.name for layer in behind),
        *(layer.name for layer in dense),
    ]


def _natural(name: str) -> tuple[str, int]:
    """A key that sorts conv2d before conv2d_1 and that before conv2d_10."""
    number = re.search(r"_(\d+)$", name)
    return (name[: number.start()], int(number[1][:18])) if number else (name, -1)


def _numbered(layer: Group) -> list[NDArray]:
    """The variables 0, 1, 2 ... of a layer."""
    variables = layer.get("vars")
    if variables is None:
        return []
    names = sorted((n for n in variables.datasets() if n.isdecimal()), key=lambda n: (len(n), n))
    return [variables.array(name) for name in names]


def _by_position(name: str, class_name: str, arrays: list[NDArray], options: Any) -> KerasLayer:
    """A layer by its variables in Keras's order, of which some may have been left out."""
    roles = list(VARIABLES.get(class_name, ()))
    for option, role in (("scale", "gamma"), ("center", "beta"), ("use_bias", "bias")):
        if options.get(option) is False and role in roles:
            roles.remove(role)
    if not class_name:
        class_name, roles = _class_by_shapes(name, arrays)
    if roles[-1:] == ["bias"] and len(arrays) == len(roles) - 1:
        roles.pop()
    if len(arrays) != len(roles):
        # Of a layer that is not known, or a batch-norm with one of gamma and beta.
        return KerasLayer(name, "", {str(i): array for i, array in enumerate(arrays)}, options)
    return KerasLayer(name, class_name, dict(zip(roles, arrays, strict=True)), options)


def _class_by_shapes(name: str, arrays: list[NDArray]) -> tuple[str, list[str]]:
    """What a layer of a class of the user's own may be."""
    if arrays[0].ndim >= 2 and len(arrays) <= 2:
        variables = dict(zip(("kernel", "bias"), arrays, strict=False))
        return guess_class(name, variables), list(variables)
    if len(arrays) == 4 and all(a.ndim == 1 and a.shape == arrays[0].shape for a in arrays):
        return "BatchNormalization", list(VARIABLES["BatchNormalization"])
    return "", []


# Keras 2's: a group a layer, variables by name


def _by_name(
    op: str, path: str, top: Group, names: list[str], model: ModelConfig | None
) -> list[KerasLayer]:
    configs = {} if model is None else {layer.name: layer for layer in model.layers}
    layers: list[KerasLayer] = []
    for name in names:
        group = top.get(name)
        if group is None:
            raise FormatError(f"{op}: {path}: no group for the layer {name[:80]!r}")
        config = configs.get(name)
        owners: dict[str, dict[str, NDArray]] = {}
        for variable in group.texts("weight_names") or []:
            if config is not None and config.inner is not None:
                owner = variable.rpartition("/")[0].rpartition("/")[2]
            else:
                owner = ""
            roles = owners.setdefault(owner, {})
            role = role_of(variable)
            if role in roles:
                raise FormatError(f"{op}: {path}: the layer {name[:80]!r} has two of {role!r}")
            roles[role] = group.array(variable)
        for owner, variables in owners.items():
            inner = _inner(config, owner) if owner else (name, config)
            layers.append(_with_roles(*inner, variables))
    return layers


def _inner(config: LayerConfig | None, owner: str) -> tuple[str, LayerConfig | None]:
    """The path and the configuration of a layer of a model in a model, by its name."""
    waiting = [(config.name, config)] if config is not None else []
    while waiting:
        path, layer = waiting.pop()
        if layer.inner is None:
            if layer.name == owner:
                return path, layer
            continue
        waiting += [(f"{path}.{inner.name}", inner) for inner in layer.inner.layers]
    return f"{config.name}.{owner}" if config is not None else owner, None


def _with_roles(name: str, config: LayerConfig | None, variables: dict[str, NDArray]) -> KerasLayer:
    class_name = guess_class(name, variables) if config is None else config.class_name
    if class_name.startswith("Depthwise") and "kernel" in variables:
        variables["depthwise_kernel"] = variables.pop("kernel")  # Keras 3 calls it so
    known = set(variables) <= set(VARIABLES.get(class_name, ()))
    options = {} if config is None else config.options
    return KerasLayer(name, class_name if known else "", variables, options)


# Flatten


def _guessed(
    op: str,
    path: str,
    layers: list[KerasLayer],
    names: list[str],
    flatten_shape: Shape,
    ordered: bool,
) -> ModelConfig:
    """A row of layers for a file without a configuration, as their names tell; `ordered` says
    whether `names` are in the model's order."""
    by_name = {layer.name: layer for layer in layers}
    row: list[LayerConfig] = []
    channels: int | None = None
    last = {
        layer.class_name: channels_made(layer) for layer in layers if "Conv" in layer.class_name
    }
    joined = any("concat" in name.lower() for name in names)
    doubtful = joined or (not ordered and len(set(last.values())) > 1)
    pooled = any("global" in name.lower() for name in names)
    for name in names:
        layer = by_name.get(name)
        kind = "" if layer is None else layer.class_name
        if layer is None and "flatten" in name.lower():
            kind, pooled = "Flatten", True
        parents = [row[-1].name] if row and not (kind == "Flatten" and doubtful) else []
        row.append(LayerConfig(name, kind, parents=parents))
        if layer is None:
            continue
        if kind == "Dense" and not pooled and flatten_shape is None:
            inputs = layer.variables["kernel"].shape[0]
            if channels is not None and inputs != channels:
                raise FormatError(
                    f"{op}: {path}: {name!r} has {inputs} inputs and the layer before it "
                    f"{channels} channels: give flatten_shape=(H, W, C)"
                )
            pooled = True
        made = channels_made(layer)
        channels = channels if made is None else made
    return ModelConfig(row, [row[-1].name] if row else [])


def _converted(
    op: str, path: str, layers: list[KerasLayer], model: ModelConfig, flatten_shape: Shape
) -> list[KerasLayer]:
    """Restore the order of flattened features, then convert every layer."""
    by_name = {layer.name: layer for layer in layers}

    def made(name: str) -> int | None:
        return channels_made(by_name[name]) if name in by_name else None

    flat = {name: c for name, c in flat_features(model, made).items() if name in by_name}
    told = None if flatten_shape is None else _checked_shape(op, flatten_shape)
    if told is not None and not flat:
        behind = [
            layer.name
            for layer in layers
            if layer.class_name == "Dense" and layer.variables["kernel"].shape[0] == math.prod(told)
        ]
        flat = dict.fromkeys(behind[:1])
    if told is not None and not flat:
        raise ShapeError(
            f"{op}: {path}: no Dense layer has the {math.prod(told)} inputs of flatten_shape={told}"
        )
    try:
        for name, channels in flat.items():
            layer = by_name[name]
            if not layer.is_known:
                continue
            if told is not None:
                channels = told[-1]
            if channels is None or channels < 1:
                raise FormatError(
                    f"{op}: {path}: {name!r} lies behind a Flatten of unknown shape: give "
                    "flatten_shape=(H, W, C)"
                )
            permute(layer, channels, None if told is None else math.prod(told))
        for layer in layers:
            convert(layer)
    except ValueError as error:
        if isinstance(error, FastconvError):
            raise
        raise FormatError(f"{op}: {path}: {error}") from error
    return layers


def _checked_shape(op: str, shape: Sequence[int]) -> tuple[int, ...]:
    numbers = tuple(shape) if isinstance(shape, (tuple, list)) else ()
    if len(numbers) != 3 or not all(isinstance(n, int) and n > 0 for n in numbers):
        raise ShapeError(
            f"{op}: flatten_shape must be (H, W, C), three integers above 0, got {shape!r}"
        )
    return numbers
