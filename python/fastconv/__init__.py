"""fastconv: convolutional networks at the machine's limit, on NumPy alone."""

from __future__ import annotations

import importlib
import os
from typing import TYPE_CHECKING, Any

from ._runtime import (  # first: loads the native module
    __version__,
    empty_cache,
    get_num_threads,
    get_precision,
    memory_stats,
    set_num_threads,
    set_precision,
    tuning_file,
)
from .errors import (
    CaptureError,
    DeviceError,
    DTypeError,
    FastconvError,
    FormatError,
    ShapeError,
)
from .random import manual_seed
from .tensor import Tensor, enable_grad, is_grad_enabled, no_grad, tensor

if TYPE_CHECKING:
    from . import functional as functional

__all__ = [
    "CaptureError",
    "DTypeError",
    "DeviceError",
    "FastconvError",
    "FormatError",
    "ShapeError",
    "Tensor",
    "__version__",
    "autocast",
    "compile",
    "data",
    "empty_cache",
    "enable_grad",
    "functional",
    "get_num_threads",
    "get_precision",
    "is_grad_enabled",
    "load",
    "load_keras",
    "manual_seed",
    "memory_stats",
    "models",
    "nn",
    "no_grad",
    "onnx",
    "optim",
    "program",
    "recipes",
    "save",
    "set_num_threads",
    "set_precision",
    "show_config",
    "tensor",
    "train",
    "transfer",
    "tuning",
    "visualize",
]

# Loaded on first use, so that `import fastconv` stays cheap.
_SUBMODULES = (
    "data",
    "functional",
    "models",
    "nn",
    "onnx",
    "optim",
    "profile",
    "program",
    "random",
    "recipes",
    "train",
    "transfer",
    "tuning",
    "visualize",
)
_LAZY = {
    "autocast": "functional.autocast",
    "compile": "program",
    "save": "serialization",
    "load": "serialization",
    "load_keras": "formats.keras_loading",
    "show_config": "config",
}

if os.path.exists(tuning_file() or ""):
    importlib.import_module(f"{__name__}.tuning").use_file()


def __getattr__(name: str) -> Any:
    if name in _SUBMODULES:
        return importlib.import_module(f"{__name__}.{name}")
    if name in _LAZY:
        return getattr(importlib.import_module(f"{__name__}.{_LAZY[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
