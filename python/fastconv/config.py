"""What this installation is made of."""

from __future__ import annotations

import platform
from importlib import metadata
from typing import Any

from . import _core

__all__ = ["config", "show_config"]

# Distribution -> what it is for.
_OPTIONAL = {
    "tqdm": "progress bars",
    "matplotlib": "training curves, figures",
    "safetensors": "weights and checkpoints",
    "Pillow": "image files",
    "pooch": "downloads",
    "onnx": "ONNX files",
    "torch": "benchmarks, interoperation",
}


def config() -> dict[str, Any]:
    """The version, the instruction set that was picked, threads, compiler and packages.

    Returns:
        A dictionary fit for JSON with the keys `version`, `isa`, `available_isas`, `threads`,
        `compiler`, `machine`, `python`, `numpy` and `optional`: names of optional packages and
        their versions, or "missing". Nothing is imported to find them.
    """
    optional = {}
    for name in _OPTIONAL:
        try:
            optional[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            optional[name] = "missing"
    return {
        "version": _core.__version__,
        "isa": _core.isa(),
        "available_isas": list(_core.available_isas()),
        "threads": _core.get_num_threads(),
        "compiler": _core.compiler,
        "machine": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "numpy": metadata.version("numpy"),
        "optional": optional,
    }


def show_config() -> None:
    """Print `config()`, one fact a line."""
    facts = config()
    lines = {
        "fastconv": facts["version"],
        "instruction set": f"{facts['isa']} (available: {', '.join(facts['available_isas'])})",
        "threads": facts["threads"],
        "compiler": facts["compiler"],
        "machine": facts["machine"],
        "Python": facts["python"],
        "NumPy": facts["numpy"],
        **{n: f"{v}  ({_OPTIONAL[n]})" for n, v in facts["optional"].items()},
    }
    for name, value in lines.items():
        print(f"{name + ':':17}{value}")
