"""Loading a state dict: everything is checked before anything is written."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from .._arrays import NDArray, is_numeric
from ..errors import DTypeError, ShapeError
from ..tensor import as_array

if TYPE_CHECKING:
    from .module import Module

__all__ = ["IncompatibleKeys", "load_state"]


class IncompatibleKeys(NamedTuple):
    """The names that a state dict lacked, and those that the module does not have."""

    missing_keys: list[str]
    unexpected_keys: list[str]


def load_state(module: Module, state_dict: Mapping[str, Any], strict: bool) -> IncompatibleKeys:
    """Copy `state_dict` into `module`; see `Module.load_state_dict`."""
    op = "load_state_dict"
    if not isinstance(state_dict, Mapping):
        raise DTypeError(
            f"{op}: a mapping of names to arrays is expected, got {type(state_dict).__name__}"
        )
    own = module.state_dict()
    optional = {
        f"{path}.{name}" if path else name
        for path, part in module.named_modules(remove_duplicate=False)
        for name in part._optional_state
    }
    missing = [name for name in own if name not in state_dict and name not in optional]
    unexpected = [str(name) for name in state_dict if name not in own]
    sources: dict[str, NDArray] = {}
    misshaped, mistyped = [], []
    for name, target in own.items():
        if name not in state_dict:
            continue
        source = as_array(op, name, state_dict[name])
        if source.shape != target.shape:
            misshaped.append(f"{name}: got {source.shape}, expected {target.shape}")
        elif not is_numeric(source.dtype) or not np.can_cast(
            source.dtype, target.dtype, "same_kind"
        ):
            mistyped.append(f"{name}: got {source.dtype}, expected {target.dtype}")
        sources[name] = source

    problems = []
    if strict and missing:
        problems.append(f"missing keys: {', '.join(missing)}")
    if strict and unexpected:
        problems.append(f"unexpected keys: {', '.join(unexpected)}")
    if misshaped:
        problems.append(f"wrong shapes: {'; '.join(misshaped)}")
    key_problems = bool(problems)
    if mistyped:
        problems.append(f"wrong element types: {'; '.join(mistyped)}")
    if problems:
        message = "\n  ".join([f"{op}: the state does not fit {type(module).__name__}", *problems])
        raise ShapeError(message) if key_problems else DTypeError(message)

    # The state may hold this module's own arrays under other names: keep them from being
    # overwritten early.
    mine = {id(array) for array in own.values()}
    for name, source in sources.items():
        if id(source) in mine and source is not own[name]:
            sources[name] = source.copy()
    for name, source in sources.items():
        np.copyto(own[name], source, casting="same_kind")
    return IncompatibleKeys(missing, unexpected)
