"""What a Keras model's configuration says of its layers, and which features Flatten has reordered.

Flatten puts pixels before channels, (H, W, C), where PyTorch's order is (C, H, W). The permutation
needs C alone: feature p * C + c goes to c * P + p, for P pixels.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

__all__ = ["LayerConfig", "ModelConfig", "flat_features", "parse_model", "snake_case"]

_MODELS = ("Sequential", "Functional", "Model")


@dataclass
class LayerConfig:
    """One layer.

    Attributes:
        name, class_name: as Keras has them.
        options: its own configuration.
        group: the name of its group in a weights file.
        parents: the layers whose results it takes.
        input_shape: the shape of its input with the batch, where that is known.
        inner: the layers of a model that is a layer.
    """

    name: str
    class_name: str
    options: Mapping[str, Any] = field(default_factory=dict)
    group: str = ""
    parents: list[str] = field(default_factory=list)
    input_shape: tuple[int | None, ...] | None = None
    inner: ModelConfig | None = None


@dataclass
class ModelConfig:
    """The layers of a model in its own order, and which of them give its results."""

    layers: list[LayerConfig]
    outputs: list[str]


def snake_case(name: str) -> str:
    """A class name as Keras writes it in files: Conv2D is conv2d, ReLU re_lu."""
    name = re.sub(r"\W+", "", name)
    name = re.sub(r"(.)([A-Z][a-z]+)", r"\1_\2", name)
    return re.sub(r"([a-z])([A-Z])", r"\1_\2", name).lower()


def parse_model(document: Any) -> ModelConfig | None:
    """The layers of a configuration, or None where it is not of layers in a row or a graph.

    Raises:
        KeyError, TypeError, ValueError, AttributeError, RecursionError: it is damaged.
    """
    config = document["config"]
    if document["class_name"] not in _MODELS and "layers" not in config:
        return None
    entries = config if isinstance(config, list) else config["layers"]  # a list before Keras 2.2.3
    in_a_row = document["class_name"] == "Sequential"
    layers: list[LayerConfig] = []
    used: dict[str, int] = {}
    for entry in entries:
        options = entry["config"]
        layer = LayerConfig(
            name=str(entry.get("name") or options["name"]),
            class_name=str(entry["class_name"]),
            options=options if isinstance(options, dict) else {},
        )
        base = snake_case(layer.class_name)
        count = used[base] = used.get(base, -1) + 1
        layer.group = f"{base}_{count}" if count else base
        if layer.class_name in _MODELS:
            layer.inner = parse_model(entry)
        if in_a_row:
            layer.parents = [layers[-1].name] if layers else []
        else:
            layer.parents, layer.input_shape = _inbound(entry.get("inbound_nodes") or [])
        built = entry.get("build_config")
        if isinstance(built, dict) and isinstance(built.get("input_shape"), list):
            layer.input_shape = _shape(built["input_shape"])
        layers.append(layer)
    if in_a_row:
        return ModelConfig(layers, [layers[-1].name] if layers else [])
    outputs = config.get("output_layers") or [] if isinstance(config, dict) else []
    first = outputs[0] if outputs else ""
    return ModelConfig(layers, [str(first[0] if isinstance(first, list) else first)])


def _inbound(nodes: Any) -> tuple[list[str], tuple[int | None, ...] | None]:
    """The layers that the first call of a layer takes, and the shape of the first argument.

    Keras 2 has [[[name, node, tensor, options], ...], ...], Keras 3 {"args": [tensors]}, each with
    its own history.
    """
    if not nodes:
        return [], None
    first = nodes[0]
    parents: list[str] = []
    shapes: list[tuple[int | None, ...]] = []
    if isinstance(first, dict):
        waiting = [first.get("args", [])]
        while waiting:
            value = waiting.pop()
            if isinstance(value, list):
                waiting.extend(reversed(value))
            elif isinstance(value, dict) and value.get("class_name") == "__keras_tensor__":
                parents.append(str(value["config"]["keras_history"][0]))
                shapes.append(_shape(value["config"]["shape"]))
    else:
        for tensor in first if first and isinstance(first[0], list) else [first]:
            parents.append(str(tensor[0]))
    return parents, shapes[0] if shapes else None


def _shape(numbers: Any) -> tuple[int | None, ...]:
    return tuple(n if isinstance(n, int) else None for n in numbers)


@dataclass(frozen=True)
class _Features:
    """What is known of a layer's result.

    Attributes:
        channels: how many, or None.
        first: whether channels lie before pixels.
        flat: whether Flatten has put them into one dimension, pixels first.
        mixed: whether they were joined from several such.
    """

    channels: int | None = None
    first: bool = False
    flat: bool = False
    mixed: bool = False


def flat_features(
    model: ModelConfig, channels_of: Callable[[str], int | None]
) -> dict[str, int | None]:
    """The layers that take flattened features, by path, with the number of channels there.

    Args:
        model: the layers.
        channels_of: the number of channels that a layer's weights make, by its path, or None.

    Returns:
        Channels, or None where they cannot be told; -1 where flattened features of several layers
        were joined, whose order no single permutation restores.
    """
    found: dict[str, int | None] = {}
    _walk(model, "", _Features(), channels_of, found)
    return found


def _walk(
    model: ModelConfig,
    path: str,
    given: _Features,
    channels_of: Callable[[str], int | None],
    found: dict[str, int | None],
) -> _Features:
    """Pass features through the layers in order; the model's own result."""
    results: dict[str, _Features] = {}
    for layer in model.layers:
        here = f"{path}{layer.name}"
        parents = [results[name] for name in layer.parents if name in results]
        before = parents[0] if parents else given
        if layer.inner is not None:
            results[layer.name] = _walk(layer.inner, f"{here}.", before, channels_of, found)
            continue
        if before.flat and layer.class_name != "InputLayer":
            found[here] = -1 if before.mixed else before.channels
        results[layer.name] = _after(layer, before, parents, channels_of(here))
    return results.get(model.outputs[0], _Features()) if model.outputs else _Features()


def _after(
    layer: LayerConfig, before: _Features, parents: list[_Features], made: int | None
) -> _Features:
    """The features that a layer makes of those before it."""
    kind, options = layer.class_name, layer.options
    first = options.get("data_format") == "channels_first"
    if kind == "InputLayer":
        shape: Any = options.get("batch_shape") or options.get("batch_input_shape") or ()
        if before != _Features() or len(shape) < 3:
            return before
        return _Features(shape[-1] if isinstance(shape[-1], int) else None)
    if kind == "Flatten":
        if before.flat or (layer.input_shape is not None and len(layer.input_shape) < 3):
            return before
        if before.first and not first:
            return _Features()  # channels came first and stay there
        built = layer.input_shape
        known = None if built is None else built[1 if first else -1]
        return _Features(known or before.channels, flat=True)
    if kind == "Reshape":
        target = options.get("target_shape") or ()
        if len(target) != 1:
            return _Features(target[-1] if target and isinstance(target[-1], int) else None)
        return _Features() if before.first else _Features(before.channels, flat=True)
    if kind == "Dense":
        return _Features(made)
    if kind.startswith("Global"):
        return _Features(before.channels)
    if kind == "Concatenate":
        counts = [p.channels for p in parents]
        total = sum(c for c in counts if c is not None) if None not in counts else None
        flat = any(p.flat for p in parents)
        return _Features(total, before.first, flat, mixed=flat and len(parents) > 1)
    if "Conv" in kind:
        return _Features(made, first)
    if made is not None and not before.flat:
        return _Features(made, before.first)  # batch-norm and its like keep the number
    return before
