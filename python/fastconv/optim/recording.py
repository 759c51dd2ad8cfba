"""The optimisers' rules as nodes of a program."""

from __future__ import annotations

from typing import Any

import numpy as np

from .._arrays import NDArray
from .._symbolic import Capture, SymbolicArray
from ..errors import CaptureError
from ..tensor import Tensor
from .adam import Adam, AdamW
from .optimizer import MASTER, Optimizer, kept_dtype
from .rmsprop import RMSprop
from .sgd import SGD

__all__ = ["GroupRecorder", "recorded_options"]

# What schedules cycle, beside the learning rate: inputs of the program too.
_CYCLED = ("momentum", "betas")


def recorded_options(group: dict[str, Any]) -> dict[str, Any]:
    """The options of a group that a recorded step depends on: of momentum only whether there is any."""
    left = {k: v for k, v in group.items() if k not in ("params", "lr", *_CYCLED)}
    return {**left, "momentum": group.get("momentum", 0.0) != 0.0}


class GroupRecorder:
    """Records the updates of one group; its learning rate, momentum or betas, and the number of the step where
    the rule wants it, are inputs of the program."""

    def __init__(
        self, capture: Capture, optimizer: Optimizer, group: dict[str, Any], number: int
    ) -> None:
        if type(optimizer) not in (SGD, Adam, AdamW, RMSprop):
            raise CaptureError(f"compile: there are no nodes for {type(optimizer).__name__}")
        self._capture, self._optimizer, self._group = capture, optimizer, group
        self._lr = capture.input(f"lr{number}", (len(self._rates()),), np.dtype(np.float64))
        self._step: SymbolicArray | None = None
        self._number = number
        # Of each parameter the state that was recorded. A new one becomes the optimiser's with the first
        # step that is completed; until then the optimiser has what it had.
        self._params: list[tuple[Tensor, dict[str, Any]]] = []
        self._before: list[dict[str, Any] | None] = []
        self._held: list[tuple[dict[str, Any], str, NDArray]] = []
        self._fresh = False  # SGD: no step has been taken yet
        self._installed = False

    def _rates(self) -> list[float]:
        """The learning rate, and what schedules cycle."""
        g = self._group
        return [g["lr"], *g["betas"]] if "betas" in g else [g["lr"], g["momentum"]]

    def record(self, param: Tensor, symbol: SymbolicArray, grad: Any) -> None:
        """The update of one parameter, whose state is made where there is none."""
        optimizer, group, c = self._optimizer, self._group, self._capture
        before = optimizer.state.get(param)
        state = dict(before or {})
        array = param.numpy()
        kept = kept_dtype(array)
        target: Any = symbol
        copy: Any = None
        if kept != array.dtype:
            if MASTER not in state:
                state[MASTER] = array.astype(np.float32)
            target, copy = self._hold(state, MASTER), symbol
        if group["maximize"]:
            grad = c.node("elementwise_scalar", [grad], kind="mul", value=-1.0)[0]
        if type(optimizer) is SGD:
            self._sgd(target, grad, copy, state, kept)
        elif type(optimizer) is RMSprop:
            self._rmsprop(target, grad, copy, state, kept)
        else:
            self._adam(target, grad, copy, state, kept)
        self._params.append((param, state))
        self._before.append(before)

    def _hold(self, state: dict[str, Any], name: str) -> SymbolicArray:
        self._held.append((state, name, state[name]))
        return self._capture.state(state[name], name)

    def _moments(
        self, state: dict[str, Any], names: tuple[str, ...], like: Any, dtype: Any
    ) -> list[Any]:
        for name in names:
            if name not in state:
                state[name] = np.zeros(like.shape, dtype)
        return [self._hold(state, name) for name in names]

    def _count(self) -> SymbolicArray:
        if self._step is None:
            self._step = self._capture.input(f"step{self._number}", (), np.dtype(np.int64))
        return self._step

    def _sgd(self, param: Any, grad: Any, copy: Any, state: dict[str, Any], dtype: Any) -> None:
        g = self._group
        buffer = step = None
        if g["momentum"] != 0.0:
            fresh = "momentum_buffer" not in state
            if self._params and fresh != self._fresh:
                raise CaptureError("compile: only some of the parameters have taken a step")
            self._fresh = fresh
            (buffer,) = self._moments(state, ("momentum_buffer",), param, dtype)
            step = self._count()
        numbers = {k: float(g[k]) for k in ("dampening", "weight_decay")}
        operands = [param, grad, self._lr, buffer, step, copy]
        self._capture.node("sgd_step", operands, nesterov=bool(g["nesterov"]), **numbers)

    def _adam(self, param: Any, grad: Any, copy: Any, state: dict[str, Any], dtype: Any) -> None:
        g = self._group
        state.setdefault("step", 0)
        if self._params and state["step"] != self._params[0][1]["step"]:
            raise CaptureError("compile: the parameters have taken different numbers of steps")
        m, v = self._moments(state, ("exp_avg", "exp_avg_sq"), param, dtype)
        self._capture.node(
            "adam_step",
            [param, grad, self._lr, m, v, self._count(), copy],
            eps=float(g["eps"]),
            weight_decay=float(g["weight_decay"]),
            decoupled=type(self._optimizer) is AdamW,
        )

    def _rmsprop(self, param: Any, grad: Any, copy: Any, state: dict[str, Any], dtype: Any) -> None:
        g = self._group
        (square,) = self._moments(state, ("square_avg",), param, dtype)
        buffer = average = None
        if g["momentum"] != 0.0:
            (buffer,) = self._moments(state, ("momentum_buffer",), param, dtype)
        if g["centered"]:
            (average,) = self._moments(state, ("grad_avg",), param, dtype)
        numbers = {k: float(g[k]) for k in ("alpha", "eps", "weight_decay")}
        operands = [param, grad, self._lr, square, buffer, average, copy]
        self._capture.node("rmsprop_step", operands, **numbers)

    def valid(self) -> bool:
        """Whether the optimiser's state is still in the arrays that were recorded."""
        state = self._optimizer.state
        if not self._installed:
            return all(
                state.get(p) is b
                and (b is None or all(s.get(k) is v for k, v in b.items() if k != "step"))
                for (p, s), b in zip(self._params, self._before, strict=True)
            )
        return all(state.get(p) is s for p, s in self._params) and all(
            s.get(name) is array for s, name, array in self._held
        )

    def inputs(self) -> list[Any]:
        """The rates and the number of the coming step, in the order of the graph's inputs."""
        values: list[Any] = [np.array(self._rates(), np.float64)]
        if self._step is not None:
            # SGD only wants to know whether it is the first.
            sgd = type(self._optimizer) is SGD
            now = self._params[0][1] if self._installed else self._before[0] or {"step": 0}
            done = (0 if self._fresh else 1) if sgd else now.get("step", 0)
            values.append(np.array(done + 1, np.int64))
        return values

    def stepped(self) -> None:
        """A step was taken."""
        if not self._installed:
            for (param, state), before in zip(self._params, self._before, strict=True):
                if before and "step" in before:
                    state["step"] = before["step"]  # steps that other plans have taken
                self._optimizer.state[param] = state
            self._installed = True
        self._fresh = False
        if type(self._optimizer) in (Adam, AdamW):
            for _, state in self._params:
                state["step"] += 1
