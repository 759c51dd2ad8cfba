"""`Module`: what layers and networks are made of.

Parameters, buffers and submodules are ordinary attributes, kept in the instance's dictionary in the
order in which they were set: a parameter is an attribute that holds a `Parameter`, a submodule one
that
    holds a
`Module`, and a buffer one whose name was given to `register_buffer`.
"""

from __future__ import annotations

import itertools
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from .._arrays import NDArray, is_floating
from ..errors import DTypeError, ShapeError
from ..tensor import Tensor
from ._args import cpu, flag, float_dtype, names_dtype
from .parameter import Parameter, as_buffer

if TYPE_CHECKING:
    from ._state import IncompatibleKeys
    from ._summary import Summary

__all__ = ["HookHandle", "Module"]

M = TypeVar("M", bound="Module")
# hook(module, positional arguments, result) -> a result to put in its place, or None
ForwardHook = Callable[["Module", tuple[Any, ...], Any], Any]

_hook_numbers = itertools.count()


class HookHandle:
    """What `Module.register_forward_hook` returns; `remove()` takes the hook away again."""

    def __init__(self, hooks: dict[int, ForwardHook], number: int) -> None:
        self._hooks = hooks
        self._number = number

    def remove(self) -> None:
        """Take the hook away; does nothing the second time."""
        self._hooks.pop(self._number, None)


class Module:
    """Base class of layers and networks.

    Subclasses set parameters and submodules as attributes in `__init__` and compute in `forward`;
    calling the module calls `forward`. State-dict keys are the attributes' names joined by dots, as
    in PyTorch.

    Attributes:
        training: True in training mode (the default); dropout and batch normalisation look at it.
        frozen: True: batch normalisation uses its running statistics in training mode too, and leaves them
            as they are; see `fastconv.transfer.freeze`.
    """

    training: bool = True
    frozen: bool = False
    _buffers: Mapping[str, bool] = MappingProxyType({})  # name -> whether it is in the state dict
    _hooks: dict[int, ForwardHook] | None = None
    # Entries that `load_state_dict` may find missing: they then keep their values.
    _optional_state: frozenset[str] = frozenset()

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """The computation; every subclass has its own."""
        raise NotImplementedError(f"{type(self).__name__} has no forward")

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        result = self.forward(*args, **kwargs)
        if self._hooks:
            for hook in tuple(self._hooks.values()):
                changed = hook(self, args, result)
                if changed is not None:
                    result = changed
        return result

    # Attributes

    def __setattr__(self, name: str, value: Any) -> None:
        if isinstance(value, (Parameter, Module)):
            self._forget_buffer(name)
            if not name or "." in name:
                raise ShapeError(
                    f"{type(self).__name__}: a parameter's or submodule's name must be non-empty "
                    f"and without dots, got {name!r}"
                )
        elif name in self._buffers:
            value = None if value is None else as_buffer(type(self).__name__, name, value)
        elif value is not None and isinstance(self.__dict__.get(name), Parameter):
            # A plain array here would silently leave the state dict and the optimiser.
            raise DTypeError(
                f"{type(self).__name__}: {name} is a parameter and can be set to a Parameter or "
                f"None, got {type(value).__name__}"
            )
        super().__setattr__(name, value)

    def __delattr__(self, name: str) -> None:
        super().__delattr__(name)
        self._forget_buffer(name)

    def _forget_buffer(self, name: str) -> None:
        if name in self._buffers:
            self.__dict__["_buffers"] = {k: v for k, v in self._buffers.items() if k != name}

    def register_parameter(self, name: str, param: Parameter | None) -> None:
        """Add a parameter (or None, a place for one) under `name`."""
        self._check_new_name(name)
        if param is not None and not isinstance(param, Parameter):
            raise DTypeError(
                f"{type(self).__name__}: {name} must be a Parameter or None, "
                f"got {type(param).__name__}"
            )
        setattr(self, name, param)

    def register_buffer(self, name: str, tensor: Any, persistent: bool = True) -> None:
        """Add an array that is state but not learned, such as a running mean, under `name`.

        Args:
            tensor: array, kept as a `Tensor` around the same memory where it is writable, or None.
            persistent: whether `state_dict` contains it.
        """
        if name not in self._buffers:
            self._check_new_name(name)
        value = None if tensor is None else as_buffer(type(self).__name__, name, tensor)
        self.__dict__["_buffers"] = {**self._buffers, name: persistent}
        self.__dict__[name] = value

    def add_module(self, name: str, module: Module) -> None:
        """Add a submodule under `name`, which may be any non-empty string without dots."""
        self._check_new_name(name)
        if not isinstance(module, Module):
            raise DTypeError(
                f"{type(self).__name__}: {name} must be a Module, got {type(module).__name__}"
            )
        setattr(self, name, module)

    def _check_new_name(self, name: str) -> None:
        owner = type(self).__name__
        if not isinstance(name, str):
            raise DTypeError(f"{owner}: a name must be a string, got {type(name).__name__}")
        if not name or "." in name:
            raise ShapeError(f"{owner}: a name must be non-empty and without dots, got {name!r}")
        if hasattr(type(self), name) or self.__dict__.get(name) is not None:
            raise ShapeError(f"{owner}: there is already an attribute named {name!r}")

    # Walks

    def named_children(self) -> Iterator[tuple[str, Module]]:
        """The direct submodules and their names, in the order of definition; each once."""
        seen: set[int] = set()
        for name, value in tuple(self.__dict__.items()):
            if isinstance(value, Module) and id(value) not in seen:
                seen.add(id(value))
                yield name, value

    def children(self) -> Iterator[Module]:
        """The direct submodules."""
        for _, module in self.named_children():
            yield module

    def named_modules(
        self, memo: set[int] | None = None, prefix: str = "", remove_duplicate: bool = True
    ) -> Iterator[tuple[str, Module]]:
        """This module, named `prefix`, and all below it with dotted names, parents first."""
        memo = set() if memo is None else memo
        if remove_duplicate:
            if id(self) in memo:
                return
            memo.add(id(self))
        yield prefix, self
        for name, value in tuple(self.__dict__.items()):
            if isinstance(value, Module):
                yield from value.named_modules(memo, _join(prefix, name), remove_duplicate)

    def modules(self) -> Iterator[Module]:
        """This module and all below it, each once."""
        for _, module in self.named_modules():
            yield module

    def named_parameters(
        self, prefix: str = "", recurse: bool = True, remove_duplicate: bool = True
    ) -> Iterator[tuple[str, Parameter]]:
        """Parameters with dotted names; a shared one comes once, under its first name."""
        for name, value in self._named_entries(prefix, recurse, remove_duplicate):
            if isinstance(value, Parameter):
                yield name, value

    def parameters(self, recurse: bool = True) -> Iterator[Parameter]:
        """Parameters, each once."""
        for _, parameter in self.named_parameters(recurse=recurse):
            yield parameter

    def named_buffers(
        self, prefix: str = "", recurse: bool = True, remove_duplicate: bool = True
    ) -> Iterator[tuple[str, Tensor]]:
        """Buffers with dotted names, those outside the state dict included."""
        for name, value in self._named_entries(prefix, recurse, remove_duplicate):
            if not isinstance(value, Parameter):
                yield name, value

    def buffers(self, recurse: bool = True) -> Iterator[Tensor]:
        """Buffers, each once."""
        for _, buffer in self.named_buffers(recurse=recurse):
            yield buffer

    def _own_entries(self, persistent_only: bool = False) -> Iterator[tuple[str, Tensor]]:
        """Parameters, then buffers, of this module alone."""
        for name, value in tuple(self.__dict__.items()):
            if isinstance(value, Parameter):
                yield name, value
        for name, persistent in self._buffers.items():
            value = self.__dict__[name]
            if value is not None and (persistent or not persistent_only):
                yield name, value

    def _named_entries(
        self, prefix: str, recurse: bool, remove_duplicate: bool
    ) -> Iterator[tuple[str, Tensor]]:
        seen: set[int] = set()
        walk = (
            self.named_modules(prefix=prefix, remove_duplicate=remove_duplicate)
            if recurse
            else ((prefix, self),)
        )
        for path, module in walk:
            for name, value in module._own_entries():
                if remove_duplicate and id(value) in seen:
                    continue
                seen.add(id(value))
                yield _join(path, name), value

    # State

    def state_dict(self, prefix: str = "") -> OrderedDict[str, NDArray]:
        """Parameters and persistent buffers: dotted name -> NumPy array, in order of definition.

        The arrays are the module's own memory, not copies: copy what must outlive the next training
        step. Shared parameters appear under each of their names. Keys are those of the same network
        in PyTorch.
        """
        result: OrderedDict[str, NDArray] = OrderedDict()
        for path, module in self.named_modules(remove_duplicate=False):
            for name, value in module._own_entries(persistent_only=True):
                result[prefix + _join(path, name)] = value.numpy()
        return result

    def load_state_dict(
        self, state_dict: Mapping[str, Any], strict: bool = True
    ) -> IncompatibleKeys:
        """Copy arrays into the parameters and buffers of the same names.

        Everything is checked first: on an error nothing has changed. Values convert to the element
            type that
        the module has. `num_batches_tracked` may be missing, as it is from files of old PyTorch
        versions.

        Args:
            state_dict: dotted name -> array (NumPy or any DLPack producer).
            strict: False passes over names that are missing or unexpected; shapes must fit all the
                same.

        Returns:
            The names that were missing and unexpected (`missing_keys`, `unexpected_keys`).

        Raises:
            ShapeError: listing all names that are missing, unexpected, or of another shape.
            DTypeError: values that are no arrays or of a kind that does not convert, such as float
                to int.
        """
        from ._state import load_state

        return load_state(self, state_dict, flag("load_state_dict", "strict", strict))

    # Modes and conversions

    def train(self: M, mode: bool = True) -> M:
        """Set training mode, here and in all submodules."""
        mode = flag("train", "mode", mode)
        for module in self.modules():
            module.training = mode
        return self

    def eval(self: M) -> M:
        """Set inference mode, here and in all submodules."""
        return self.train(False)

    def requires_grad_(self: M, requires_grad: bool = True) -> M:
        """Freeze (False) or thaw all parameters."""
        requires_grad = flag("requires_grad_", "requires_grad", requires_grad)
        for parameter in self.parameters():
            parameter.requires_grad = requires_grad
        return self

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Drop the gradients of all parameters, or where `set_to_none` is False zero them."""
        for parameter in self.parameters():
            if set_to_none:
                parameter.grad = None
            elif parameter.grad is not None:
                parameter.grad = Tensor(np.zeros(parameter.shape, parameter.dtype))

    def to(self: M, *args: Any, device: Any = None, dtype: Any = None) -> M:
        """Convert parameters, gradients and floating buffers to another element type, in place.

        `to("cpu")`, `to(np.float64)`, `to("cpu", "float64")` and the keywords `device`, `dtype`
        work. The `Parameter` objects stay, so an optimiser made before still holds them, but its
        own arrays do not convert: make it anew.

        Raises:
            DeviceError: a device other than "cpu".
            DTypeError: an element type other than float32, float64 or bfloat16.
            ImportError: bfloat16 without the package ml_dtypes.
        """
        for value in args:
            if isinstance(value, str) and not names_dtype(value):
                device = value
            elif value is not None:
                dtype = value
        cpu("to", device)
        if dtype is None:
            return self
        target = float_dtype("to", dtype)
        for _, entry in self._named_entries("", recurse=True, remove_duplicate=True):
            if is_floating(entry.dtype):
                entry._array = entry._array.astype(target, copy=False)
                if entry.grad is not None:
                    entry.grad = Tensor(entry.grad.numpy().astype(target, copy=False))
        return self

    def float(self: M) -> M:
        """Convert to float32; see `to`."""
        return self.to(dtype=np.float32)

    def double(self: M) -> M:
        """Convert to float64; see `to`."""
        return self.to(dtype=np.float64)

    def bfloat16(self: M) -> M:
        """Convert to bfloat16; see `to`."""
        return self.to(dtype="bfloat16")

    def apply(self: M, fn: Callable[[Module], object]) -> M:
        """Call `fn` on every submodule, children before parents, and on this module last."""
        for module in self.children():
            module.apply(fn)
        fn(self)
        return self

    # Looking inside

    def register_forward_hook(self, hook: ForwardHook) -> HookHandle:
        """Have `hook(module, args, result)` called after every `forward`.

        What it returns, if not None, takes the place of the result."""
        hooks = self._hooks
        if hooks is None:
            hooks = self.__dict__["_hooks"] = {}
        number = next(_hook_numbers)
        hooks[number] = hook
        return HookHandle(hooks, number)

    def macs(self, input_shape: tuple[int, ...], output_shape: tuple[int, ...]) -> int:
        """Multiply-accumulates of one call of this layer itself; 0 where they are not the cost."""
        return 0

    def _note_calls(self, note: Any) -> Any:
        """Have `note(name, type, parameters, output_shape, macs)` called for each operation that is no layer's,
        until `remove` of what this returns; None where layers are all there is."""
        return None

    def summary(self, input_shape: Sequence[int]) -> Summary:
        """A table of layers, output shapes, parameters and multiply-accumulates; `print` it.

        Args:
            input_shape: shape of the whole input, batch included.
        """
        from ._summary import summary

        return summary(self, input_shape)

    def extra_repr(self) -> str:
        """What `repr` prints between the parentheses of this layer."""
        return ""

    def __repr__(self) -> str:
        lines = [
            f"({name}): {value!r}".replace("\n", "\n  ")
            for name, value in self.__dict__.items()
            if isinstance(value, Module)
        ]
        extra = self.extra_repr()
        if not lines:
            return f"{type(self).__name__}({extra})"
        body = "".join(f"\n  {line}" for line in ([extra] if extra else []) + lines)
        return f"{type(self).__name__}({body}\n)"


def _join(prefix: str, name: str) -> str:
    return f"{prefix}.{name}" if prefix else name
