"""One trunk with a head for each task."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from .._arrays import ArrayLike
from ..errors import DTypeError, ShapeError
from .containers import ModuleList
from .module import Module

__all__ = ["MultiTask"]


class _Heads(ModuleList):
    """Modules by name."""


class MultiTask(Module):
    """Several tasks on one trunk, whose parameters they share: hard parameter sharing.

    The output is {task: head(trunk(input))}, for a `train.MultiLoss` of the same tasks.

    Args:
        trunk: the layers that all tasks share.
        heads: task -> module that takes the trunk's output. Names are those of attributes: not empty and
            without dots.

    Attributes:
        trunk: as given.
        heads: the modules, in their order, as attributes under their tasks' names.

    Raises:
        DTypeError: a part is not a Module, or heads are no mapping of names to Modules.
        ShapeError: there is no head.

    Source: Caruana, "Multitask learning" (1997).
    """

    def __init__(self, trunk: Module, heads: Mapping[str, Module]) -> None:
        super().__init__()
        if not isinstance(heads, Mapping):
            raise DTypeError(
                f"MultiTask: heads must be a mapping of tasks to Modules, got {type(heads).__name__}"
            )
        if not heads:
            raise ShapeError("MultiTask: there are no heads")
        for name, part in (("trunk", trunk), *heads.items()):
            if not isinstance(part, Module):
                raise DTypeError(f"MultiTask: {name} must be a Module, got {type(part).__name__}")
        self.trunk = trunk
        self.heads = _Heads()
        for name, head in heads.items():
            self.heads.add_module(name, head)

    def forward(self, input: ArrayLike) -> dict[str, Any]:
        shared = self.trunk(input)
        return {name: head(shared) for name, head in self.heads._named()}
