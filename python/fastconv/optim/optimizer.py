"""`Optimizer`: parameter groups, state and its saving; the rules are in the files beside."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np

from .. import _core
from .._arrays import NDArray, is_floating
from ..errors import DTypeError, ShapeError
from ..nn._args import flag, integer, number
from ..tensor import Tensor, as_array, enable_grad

__all__ = ["Optimizer"]


# The float32 values behind a bfloat16 parameter, in its state.
MASTER = "master_param"


class Optimizer:
    """Base class: holds groups of parameters with their options, and each parameter's state.

    The state of a bfloat16 parameter is float32 and holds its float32 values, `master_param`: steps
    smaller than bfloat16 tells apart add up there. A parameter that is set by hand (or loaded) between
    steps takes its master along.

    Attributes:
        defaults: the options that groups have unless they say otherwise.
        param_groups: list of dictionaries, each with "params" (list of tensors) and the options by
            name. Changing an option changes the next step.
        state: tensor -> dictionary of its arrays and counters; filled by the first step.

    Args:
        params: tensors (as from `Module.parameters()`), or dictionaries {"params": tensors, option:
            value, ...}.
        defaults: options by name.

    Raises:
        DTypeError: what is given is not made of tensors.
        ShapeError: no parameters, one that comes twice, one that is computed rather than a leaf, or
            an option out of range.
    """

    # Names of the arrays, shaped like the parameter, that a rule may keep in `state`.
    _arrays: tuple[str, ...] = ()
    # What the state of a parameter that has been updated cannot do without.
    _required: tuple[str, ...] = ()

    def __init__(self, params: Any, defaults: dict[str, Any]) -> None:
        self.defaults = self._check_options(dict(defaults))
        self.state: dict[Tensor, dict[str, Any]] = {}
        self.param_groups: list[dict[str, Any]] = []
        given = self._as_list(params)
        if not given:
            raise ShapeError(f"{self._name}: there are no parameters to optimise")
        groups = given if isinstance(given[0], Mapping) else [{"params": given}]
        for group in groups:
            self.add_param_group(group)

    @property
    def _name(self) -> str:
        return type(self).__name__

    def _as_list(self, params: Any) -> list[Any]:
        if isinstance(params, (Tensor, np.ndarray, str, Mapping)) or not isinstance(
            params, Iterable
        ):
            raise DTypeError(
                f"{self._name}: params must be an iterable of tensors or of groups, "
                f"got {type(params).__name__}"
            )
        return list(params)

    def add_param_group(self, param_group: Mapping[str, Any]) -> None:
        """Add {"params": tensors, option: value, ...}; options left out take the defaults."""
        if not isinstance(param_group, Mapping) or "params" not in param_group:
            raise DTypeError(f"{self._name}: a parameter group must be a mapping with 'params'")
        given = param_group["params"]
        params = [given] if isinstance(given, Tensor) else self._as_list(given)
        seen = {id(p) for group in self.param_groups for p in group["params"]}
        for p in params:
            if not isinstance(p, Tensor):
                raise DTypeError(
                    f"{self._name}: parameters must be fastconv tensors, got {type(p).__name__}"
                )
            if not p.is_leaf or not is_floating(p.dtype):
                raise ShapeError(
                    f"{self._name}: parameters must be floating leaves of the tape, got a tensor "
                    f"of shape {p.shape}, {p.dtype}"
                )
            if id(p) in seen:
                raise ShapeError(f"{self._name}: a parameter of shape {p.shape} is given twice")
            seen.add(id(p))
        options = {k: v for k, v in param_group.items() if k != "params"}
        self.param_groups.append(
            {"params": params, **self._check_options({**self.defaults, **options})}
        )

    def _check_options(self, options: dict[str, Any]) -> dict[str, Any]:
        """The options with numbers as floats; ShapeError or DTypeError for those out of range."""
        options["lr"] = number(self._name, "lr", options["lr"], 0.0)
        options["weight_decay"] = number(self._name, "weight_decay", options["weight_decay"], 0.0)
        options["maximize"] = flag(self._name, "maximize", options["maximize"])
        return options

    def _update(
        self,
        param: NDArray,
        grad: NDArray,
        state: dict[str, Any],
        group: dict[str, Any],
        copy: NDArray | None,
    ) -> None:
        """One step in place; `copy`, if any, receives the new parameter in bfloat16."""
        raise NotImplementedError

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Drop the gradients of all parameters, or where `set_to_none` is False zero them."""
        for group in self.param_groups:
            for p in group["params"]:
                if set_to_none:
                    p.grad = None
                elif p.grad is not None:
                    p.grad = Tensor(np.zeros(p.shape, p.dtype))

    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Update every parameter that has a gradient, in place.

        Args:
            closure: computes the loss again, backward pass included; called first.

        Returns:
            What `closure` returned, or None.

        Raises:
            ShapeError, DTypeError: a gradient's shape or element type is not its parameter's;
                nothing has then been updated.
        """
        loss = None
        if closure is not None:
            with enable_grad():
                loss = closure()
        work = []
        for group in self.param_groups:
            for p in group["params"]:
                if p.grad is None:
                    continue
                param, grad = p.numpy(), p.grad.numpy()
                if grad.shape != param.shape:
                    raise ShapeError(
                        f"{self._name}: a parameter of shape {param.shape} has a gradient of shape "
                        f"{grad.shape}"
                    )
                if grad.dtype != param.dtype:
                    raise DTypeError(
                        f"{self._name}: a {param.dtype} parameter has a {grad.dtype} gradient"
                    )
                state = self.state.get(p)
                if state is None:
                    state = self.state[p] = {}
                kept = kept_dtype(param)
                for name in (*self._arrays, MASTER):
                    wrong = name == MASTER and kept == param.dtype
                    if name in state and (wrong or state[name].dtype != kept):
                        raise DTypeError(
                            f"{self._name}: a parameter changed to {param.dtype} after its {name} "
                            f"was made as {state[name].dtype}; "
                            "make the optimiser anew after Module.to"
                        )
                work.append((param, grad, state, group))
        for param, grad, state, group in work:
            grad = np.asarray(-grad) if group["maximize"] else grad
            if param.dtype == kept_dtype(param):
                self._update(param, grad, state, group, None)
            else:
                if MASTER not in state:
                    state[MASTER] = param.astype(np.float32)
                self._update(state[MASTER], grad, state, group, param)
        return loss

    # Saving

    def state_dict(self) -> dict[str, Any]:
        """Options and state as plain dictionaries, lists, numbers and NumPy arrays.

        {"state": {index: {name: array or number}}, "param_groups": [{option: value, "params":
        [index]}]}, with parameters numbered through all groups. The arrays are the optimiser's own,
        not copies.
        """
        index: dict[Tensor, int] = {}
        groups = []
        for group in self.param_groups:
            for p in group["params"]:
                index[p] = len(index)
            options = {k: copy.copy(v) for k, v in group.items() if k != "params"}
            groups.append({**options, "params": [index[p] for p in group["params"]]})
        state = {index[p]: dict(values) for p, values in self.state.items() if values}
        return {"state": dict(sorted(state.items())), "param_groups": groups}

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Continue from the `state_dict` of an optimiser of the same kind and parameters.

        Arrays are copied. Everything is checked first: on an error nothing has changed. Options of
        other libraries' making are passed over.

        Raises:
            ShapeError: groups, options or arrays do not fit.
            DTypeError: parts of the dictionary are of another type.
        """
        op = f"{self._name}.load_state_dict"
        saved_groups, saved_state = _parts(op, state_dict)
        sizes = [len(g["params"]) for g in self.param_groups]
        saved_sizes = [len(g["params"]) for g in saved_groups]
        if saved_sizes != sizes:
            raise ShapeError(f"{op}: the groups have {saved_sizes} parameters, expected {sizes}")
        groups = []
        by_index: dict[int, Tensor] = {}
        for group, saved in zip(self.param_groups, saved_groups, strict=True):
            missing = [k for k in group if k not in saved]
            if missing:
                raise ShapeError(f"{op}: a group lacks {', '.join(missing)}")
            options = {k: copy.copy(saved[k]) for k in group if k != "params"}
            try:
                options = self._check_options(options)
            except (ShapeError, DTypeError) as error:
                raise type(error)(f"{op}: {error}") from None
            groups.append({"params": group["params"], **options})
            indices = [_index(op, i) for i in saved["params"]]
            by_index.update(zip(indices, group["params"], strict=True))
        state: dict[Tensor, dict[str, Any]] = {}
        for key, values in saved_state.items():
            p = by_index.get(_index(op, key))
            if p is None:
                raise ShapeError(f"{op}: there is state for parameter {key}, which no group has")
            if not isinstance(values, Mapping):
                raise DTypeError(f"{op}: the state of parameter {key} must be a mapping")
            state[p] = self._load_state(op, values, p)
        self.param_groups, self.state = groups, state

    def _load_state(self, op: str, values: Mapping[str, Any], param: Tensor) -> dict[str, Any]:
        result: dict[str, Any] = {}
        for name, value in values.items():
            if name == "step":
                # Counted by every rule of PyTorch's, needed by few.
                if "step" in self._required:
                    result[name] = int(number(op, name, value, 0.0))
                continue
            if value is None:
                continue
            if name not in self._arrays and name != MASTER:
                raise ShapeError(f"{op}: {self._name} has no state named {name!r}")
            array = as_array(op, name, value)
            if array.shape != param.shape:
                raise ShapeError(f"{op}: {name} has shape {array.shape}, expected {param.shape}")
            if not is_floating(array.dtype):
                raise DTypeError(f"{op}: {name} must be floating, got {array.dtype}")
            if name != MASTER or param.dtype != kept_dtype(param.numpy()):
                result[name] = np.array(array, dtype=kept_dtype(param.numpy()), order="C")
        lacking = [name for name in self._required if result and name not in result]
        if lacking:
            raise ShapeError(f"{op}: the state of a parameter lacks {', '.join(lacking)}")
        return result

    def __repr__(self) -> str:
        lines = [self._name + " ("]
        for i, group in enumerate(self.param_groups):
            options = ", ".join(f"{k}={v}" for k, v in group.items() if k != "params")
            lines.append(f"  group {i}: {len(group['params'])} parameters, {options}")
        return "\n".join([*lines, ")"])


def kept_dtype(param: NDArray) -> np.dtype[Any]:
    """The element type of a parameter's state: its own, float32 for bfloat16."""
    return np.dtype(np.float32) if _core.is_bfloat16(param.dtype) else param.dtype


def _parts(op: str, state_dict: Any) -> tuple[list[Mapping[str, Any]], Mapping[Any, Any]]:
    """The groups and the state of a saved dictionary, both of the right types."""
    if not isinstance(state_dict, Mapping) or not {"state", "param_groups"} <= set(state_dict):
        raise DTypeError(f"{op}: a mapping with 'state' and 'param_groups' is expected")
    groups, state = state_dict["param_groups"], state_dict["state"]
    if not isinstance(groups, (list, tuple)) or not isinstance(state, Mapping):
        raise DTypeError(f"{op}: 'param_groups' must be a list and 'state' a mapping")
    for group in groups:
        if not isinstance(group, Mapping) or not isinstance(group.get("params"), (list, tuple)):
            raise DTypeError(f"{op}: every group must be a mapping with a list of 'params'")
    return list(groups), state


def _index(op: str, value: Any) -> int:
    """A parameter's number; formats such as JSON keep it as text."""
    if isinstance(value, str) and value.isdecimal():
        return int(value)
    return integer(op, "a parameter's number", value, 0)
