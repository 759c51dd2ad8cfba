"""Checkpoints: everything that a training run needs to go on, in one safetensors file.

Arrays lie under their own names: `model.<key of the state dict>` and `optimizer.<path>`. All else
    is one JSON
document in the header's metadata, with the SHA-256 of document and arrays.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any

import numpy as np

from .._arrays import NDArray
from ..errors import DTypeError, FormatError
from ..serialization import PathLike, read, serialize, write_atomically
from ..tensor import Tensor

__all__ = ["Checkpoint", "load_checkpoint", "save_checkpoint"]

_KEY = "fastconv.checkpoint"
_FORMAT = 1
_DICTIONARIES = ("model", "optimizer", "random_state", "running", "data", "config")


@dataclass
class Checkpoint:
    """The state of a training run.

    Attributes:
        model: the network's state dict.
        optimizer, schedule: their state dicts; `schedule` is None without one.
        epoch: the epoch under way, from 0: as many are complete.
        batch: batches of that epoch that are done.
        global_step: optimiser steps done in all.
        running: sums over the epoch so far (loss, correct answers, images).
        random_state: of `fastconv.random`.
        data: what the order of the training data follows from (seed, batch size, ...).
        history: one dictionary per complete epoch.
        best: the best validation result so far, or None.
        config: the caller's own settings.
        callbacks: of each callback its class's name, `kind`, and `state`.
    """

    model: dict[str, NDArray]
    optimizer: dict[str, Any]
    schedule: dict[str, Any] | None
    epoch: int
    batch: int
    global_step: int
    random_state: dict[str, Any]
    running: dict[str, Any] = field(default_factory=dict)
    data: dict[str, Any] = field(default_factory=dict)
    history: list[dict[str, Any]] = field(default_factory=list)
    best: float | None = None
    config: dict[str, Any] = field(default_factory=dict)
    callbacks: list[dict[str, Any]] = field(default_factory=list)


def save_checkpoint(checkpoint: Checkpoint, path: PathLike) -> None:
    """Write a checkpoint atomically: the file at `path` is the old one or the whole new one.

    Raises:
        DTypeError: a state holds something that is neither an array nor JSON.
        ImportError: the package safetensors is not installed.
        OSError: the file cannot be written.
    """
    arrays: dict[str, NDArray] = {}
    document: dict[str, Any] = {"format": _FORMAT}
    for entry in fields(checkpoint):
        document[entry.name] = _pack(getattr(checkpoint, entry.name), entry.name, arrays)
    document["sha256"] = _digest(document, arrays)
    content = serialize("save_checkpoint", arrays, {_KEY: json.dumps(document)})
    write_atomically(path, content)


def load_checkpoint(path: PathLike) -> Checkpoint:
    """Read a checkpoint and verify its checksum.

    Raises:
        FormatError: the file is damaged, or it is not a checkpoint of fastconv.
        ImportError: the package safetensors is not installed.
        OSError: the file is missing or cannot be read.
    """
    arrays, metadata = read("load_checkpoint", path, keep_bfloat16=True)
    if _KEY not in metadata:
        raise FormatError(
            f"load_checkpoint: {path}: holds weights but no training state; not a checkpoint"
        )
    try:
        document = json.loads(metadata[_KEY])
        found = document.pop("sha256")
        expected = _digest(document, arrays)
    except (ValueError, AttributeError, KeyError, TypeError, RecursionError) as error:
        raise FormatError(
            f"load_checkpoint: {path}: the training state is damaged: {error}"
        ) from error
    if found != expected:
        raise FormatError(
            f"load_checkpoint: {path}: damaged: the SHA-256 of its contents is {expected}, "
            f"expected {found}"
        )
    if document.pop("format", None) != _FORMAT:
        raise FormatError(
            f"load_checkpoint: {path}: written by another version of fastconv, "
            f"expected checkpoint format {_FORMAT}"
        )
    try:
        state = {name: _unpack(value, arrays) for name, value in document.items()}
        checkpoint = Checkpoint(**state)
    except (KeyError, TypeError, ValueError) as error:
        raise FormatError(
            f"load_checkpoint: {path}: the training state is damaged: {error}"
        ) from error
    for name in ("epoch", "batch", "global_step"):
        count = getattr(checkpoint, name)
        if type(count) is not int or count < 0:
            raise FormatError(f"load_checkpoint: {path}: {name} is {count!r}, expected a count")
    for name, kind in (*((n, dict) for n in _DICTIONARIES), ("history", list), ("callbacks", list)):
        if not isinstance(getattr(checkpoint, name), kind):
            raise FormatError(
                f"load_checkpoint: {path}: {name} is no {kind.__name__}; the training state is damaged"
            )
    return checkpoint


def _pack(value: Any, path: str, arrays: dict[str, NDArray]) -> Any:
    """`value` as JSON, its arrays moved to `arrays` under the path that leads to them."""
    if isinstance(value, Tensor):
        value = value.numpy()
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, np.ndarray):
        while path in arrays:  # the keys "a.b" and "a" then "b" make the same path
            path += "'"
        arrays[path] = value
        return {"$array": path}
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    if isinstance(value, (list, tuple)):
        items = [_pack(item, f"{path}.{i}", arrays) for i, item in enumerate(value)]
        return items if isinstance(value, list) else {"$tuple": items}
    if isinstance(value, Mapping):
        packed = {k: _pack(item, f"{path}.{k}", arrays) for k, item in value.items()}
        if all(isinstance(k, str) and not k.startswith("$") for k in packed):
            return packed
        return {"$items": [[_pack(k, path, arrays), item] for k, item in packed.items()]}
    raise DTypeError(
        f"save_checkpoint: {path} is a {type(value).__name__}, expected arrays, numbers, strings, "
        "lists and dictionaries"
    )


def _unpack(value: Any, arrays: Mapping[str, NDArray]) -> Any:
    if isinstance(value, list):
        return [_unpack(item, arrays) for item in value]
    if not isinstance(value, dict):
        return value
    if "$array" in value:
        return arrays[value["$array"]]
    if "$tuple" in value:
        return tuple(_unpack(item, arrays) for item in value["$tuple"])
    if "$items" in value:
        return {_unpack(k, arrays): _unpack(item, arrays) for k, item in value["$items"]}
    return {k: _unpack(item, arrays) for k, item in value.items()}


def _digest(document: Mapping[str, Any], arrays: Mapping[str, NDArray]) -> str:
    """SHA-256 of a canonical form of both."""
    digest = hashlib.sha256(json.dumps(document, sort_keys=True, separators=(",", ":")).encode())
    for name in sorted(arrays):
        array = np.asarray(arrays[name], arrays[name].dtype.newbyteorder("<"), order="C")
        digest.update(json.dumps([name, array.dtype.str, list(array.shape)]).encode())
        digest.update(array.reshape(-1).view(np.uint8).data if array.size else b"")
    return digest.hexdigest()
