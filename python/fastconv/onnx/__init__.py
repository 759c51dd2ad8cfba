"""ONNX files: `export` writes a network, `load` reads one. Needs the package onnx (extra "onnx")."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .export_model import export as export
    from .network import OnnxModule as OnnxModule
    from .network import load as load

__all__ = ["OnnxModule", "export", "load"]

_LAZY = {"OnnxModule": "network", "export": "export_model", "load": "network"}


def __getattr__(name: str) -> Any:
    if name in _LAZY:
        return getattr(importlib.import_module(f"{__name__}.{_LAZY[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
