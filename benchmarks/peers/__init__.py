"""The engines to compare. A file `<name>_peer.py` here that defines `PEER` adds one."""

from __future__ import annotations

import importlib
import pkgutil

from .base import Peer


def names() -> list[str]:
    """Every engine that has an adapter, fastconv first."""
    found = [m.name.removesuffix("_peer") for m in pkgutil.iter_modules(__path__)]
    found = sorted(n for n in found if n != "base")
    return ["fastconv"] + [n for n in found if n != "fastconv"]


def load(name: str) -> type[Peer]:
    """The adapter class. Its module imports the peer's own package only when it is created."""
    peer: type[Peer] = importlib.import_module(f"{__name__}.{name}_peer").PEER
    return peer
