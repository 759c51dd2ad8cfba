"""The package onnx, imported when it is first needed."""

from __future__ import annotations

import importlib
from typing import Any

_PARTS = ("checker", "defs", "helper", "numpy_helper")


def onnx_package(op: str) -> Any:
    """The package onnx; ImportError, in the name of `op`, where it is not installed."""
    try:
        package = importlib.import_module("onnx")
        for part in _PARTS:
            importlib.import_module(f"onnx.{part}")
    except ImportError as error:
        raise ImportError(
            f'{op} needs onnx, which is not installed: pip install "fastconv[onnx]"'
        ) from error
    return package
