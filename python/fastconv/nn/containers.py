"""Modules that hold other modules in order."""

from __future__ import annotations

import operator
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, TypeVar, overload

from .._arrays import ArrayLike
from ..errors import DTypeError, ShapeError
from .module import Module

__all__ = ["ModuleList", "Sequential"]

C = TypeVar("C", bound="_Ordered")


class _Ordered(Module):
    """Submodules in order, reached by index; their names are their positions unless given."""

    def _named(self) -> list[tuple[str, Module]]:
        return [(k, v) for k, v in self.__dict__.items() if isinstance(v, Module)]

    def __len__(self) -> int:
        return len(self._named())

    def __iter__(self) -> Iterator[Module]:
        return iter([module for _, module in self._named()])

    @overload
    def __getitem__(self: C, index: int) -> Module: ...
    @overload
    def __getitem__(self: C, index: slice) -> C: ...
    def __getitem__(self: C, index: int | slice) -> Module | C:
        """The module at `index`; of a slice, a container of the same modules."""
        named = self._named()
        if isinstance(index, slice):
            part = type(self)()
            for position, (name, module) in enumerate(named[index]):
                setattr(part, str(position) if name.isdigit() else name, module)
            return part
        return named[self._position(index)][1]

    def __setitem__(self, index: int, module: Module) -> None:
        setattr(self, self._named()[self._position(index)][0], self._checked(module))

    def __delitem__(self, index: int | slice) -> None:
        named = self._named()
        chosen = named[index] if isinstance(index, slice) else [named[self._position(index)]]
        doomed = {name for name, _ in chosen}
        for name, _ in named:
            delattr(self, name)
        for position, (name, module) in enumerate(pair for pair in named if pair[0] not in doomed):
            setattr(self, str(position) if name.isdigit() else name, module)

    def append(self: C, module: Module) -> C:
        """Add a module at the end."""
        self.add_module(str(len(self)), self._checked(module))
        return self

    def extend(self: C, modules: Iterable[Module]) -> C:
        """Add modules at the end."""
        for module in list(modules):
            self.append(module)
        return self

    def _position(self, index: Any) -> int:
        owner, count = type(self).__name__, len(self)
        if isinstance(index, bool) or not hasattr(index, "__index__"):
            raise DTypeError(
                f"{owner}: an index must be an integer or a slice, got {type(index).__name__}"
            )
        position = operator.index(index)
        if not -count <= position < count:
            # IndexError ends iteration protocols, as sequences promise.
            raise IndexError(f"{owner}: index {position} is out of range for {count} modules")
        return position % count

    def _checked(self, module: Any) -> Module:
        if not isinstance(module, Module):
            raise DTypeError(
                f"{type(self).__name__}: its parts must be Modules, got {type(module).__name__}"
            )
        return module


class Sequential(_Ordered):
    """Modules run one after another, each on the result of the one before.

    Args:
        args: the modules, named "0", "1", ...; or one mapping of names to modules (such as an
            OrderedDict).

    Raises:
        DTypeError: a part is not a Module.
    """

    def __init__(self, *args: Any) -> None:
        super().__init__()
        if len(args) == 1 and isinstance(args[0], Mapping):
            for name, module in args[0].items():
                self.add_module(name, self._checked(module))
        else:
            self.extend(args)

    def forward(self, input: ArrayLike) -> Any:
        for module in self:
            input = module(input)
        return input


class ModuleList(_Ordered):
    """A list of modules that are registered as submodules; it has no `forward` of its own."""

    def __init__(self, modules: Iterable[Module] | None = None) -> None:
        super().__init__()
        if modules is None:
            return
        if isinstance(modules, (Module, Mapping)) and not isinstance(modules, _Ordered):
            raise DTypeError(
                f"ModuleList: an iterable of Modules is expected, got {type(modules).__name__}"
            )
        self.extend(modules)

    def insert(self, index: int, module: Module) -> None:
        """Put a module before position `index` (0 to the length)."""
        parts = list(self)
        if not isinstance(index, int) or not -len(parts) <= index <= len(parts):
            raise ShapeError(f"ModuleList: cannot insert at {index!r} among {len(parts)} modules")
        parts.insert(index, self._checked(module))
        del self[:]
        self.extend(parts)
