"""`compile`: a network, or a whole training step, as one native plan.

The network runs once on arrays that have shapes and no contents (`_symbolic`); what it does becomes a graph.
Passes rewrite the graph, a planner gives every value its place in one arena, and from then on a run is one
native call: no Python and no dispatch between the first kernel and the last, and no memory asked of the system.
"""

from __future__ import annotations

import copy
import threading
from collections import OrderedDict
from typing import Any

import numpy as np

from . import _core
from ._arrays import NDArray
from ._plan import PLANS, Plan, drawn_keys, plan_settings
from ._recording import arrays_of, capturing, replaced, unchanged
from ._symbolic import Capture, is_symbolic
from .errors import CaptureError, DTypeError, ShapeError
from .profile import Profile, machine_limits
from .tensor import Tensor, as_array, no_grad
from .training_step import TrainingStep

__all__ = ["PLANS", "Program", "TrainingStep", "compile"]

_DTYPES = ("float32", "float64", "bfloat16")


def compile(net: Any, *example: Any, dtype: str | None = None, tune: bool = False) -> Program:
    """A `Program` that computes what `net` does in evaluation mode.

    The weights are copied: a program does not see later changes of the network; `refresh` copies them again.

    Args:
        net: a `nn.Module` in evaluation mode. What it runs may depend on the shapes of its inputs, not on
            their contents. It may return an array, or tuples, lists and dictionaries of arrays.
        example: arrays of the shapes and element types of the inputs; only these are looked at. Other batch
            sizes are planned when they come.
        dtype: "bfloat16" keeps weights and activations as bfloat16 and computes in float32; inputs and
            outputs stay float32. By default everything stays as the network has it.
        tune: time each convolution's algorithms here and take the fastest, instead of the cost model's choice.
            It takes seconds, once for each machine: see `fastconv.choice`.

    Raises:
        CaptureError: the network reads the contents of an array, or is in training mode.
        ShapeError, DTypeError: the example does not fit the network.

    ```python
    prog = fc.compile(net.eval(), np.zeros((1, 3, 224, 224), np.float32))
    y = prog(x)
    ```
    """
    return Program(net, *example, dtype=dtype, tune=tune)


class Program:
    """A compiled network; see `compile`. May be called from several threads at once.

    Attributes:
        net: the network that it was made from.
        dtype: what the weights and activations are kept as.
    """

    def __init__(
        self, net: Any, *example: Any, dtype: str | None = None, tune: bool = False
    ) -> None:
        if not callable(getattr(net, "named_parameters", None)):
            raise DTypeError(f"compile: expects a Module, got {type(net).__name__}")
        if dtype is not None and dtype not in _DTYPES:
            raise DTypeError(f"compile: dtype must be one of {', '.join(_DTYPES)}, got {dtype!r}")
        if not example:
            raise ShapeError("compile: needs an example of each input")
        own = {str(p.dtype) for _, p in net.named_parameters()}
        if dtype == "bfloat16" and own - {"float32", "bfloat16"}:
            raise DTypeError(
                f"compile: bfloat16 storage is for float32 networks, got {sorted(own)}"
            )
        if dtype in ("float32", "float64") and own - {dtype}:
            raise DTypeError(f"compile: the network is {sorted(own)}, not {dtype}; use net.to")
        self.net, self.dtype = net, dtype or (own.pop() if len(own) == 1 else "float32")
        self._narrow, self._tune = dtype == "bfloat16", tune
        self._lock = threading.Lock()
        self._plans: OrderedDict[tuple[Any, ...], Plan] = OrderedDict()
        self._copy: Any = None
        self.refresh()
        self._plan(tuple(_checked(i, a) for i, a in enumerate(example)))

    def refresh(self) -> None:
        """Copy the network, with its weights, anew; it must be in evaluation mode.

        Raises:
            CaptureError: it is in training mode, or cannot be copied.
        """
        if self.net.training:
            raise CaptureError("compile: the network is in training mode; call net.eval() first")
        with capturing:  # no other thread records it meanwhile
            try:
                copied = copy.deepcopy(self.net)
            except Exception as error:
                raise CaptureError(f"compile: the network cannot be copied: {error}") from error
        with self._lock:
            self._copy = copied
            self._cache = _core.WeightCache()
            self._met: dict[int, tuple[Any, Any]] = {}
            self._plans.clear()

    def __call__(self, *inputs: Any) -> Any:
        """The network's outputs as NumPy arrays, in the structure in which it returns them.

        Raises:
            ShapeError, DTypeError: inputs that the network does not take.
        """
        arrays = tuple(_checked(i, a) for i, a in enumerate(inputs))
        return self._plan(arrays).run(arrays)

    def _plan(self, arrays: tuple[NDArray, ...]) -> Plan:
        shapes = tuple((a.shape, a.dtype.str) for a in arrays)
        key = (plan_settings(), shapes)
        with self._lock:
            plan = self._plans.get(key)
            if plan is None:
                plan = self._plans[key] = self._make(arrays)
                while len(self._plans) > PLANS:
                    self._plans.popitem(last=False)
            else:
                self._plans.move_to_end(key)
            return plan

    def _make(self, arrays: tuple[NDArray, ...]) -> Plan:
        capture, result = self._record(arrays, True)
        if not capture.fits():
            capture, result = self._record(arrays, False)
        plan = Plan(capture, result, self._narrow, tune=self._tune)
        plan.inputs = [(a.shape, a.dtype) for a in arrays]
        return plan

    def _record(self, arrays: tuple[NDArray, ...], channels_last: bool) -> tuple[Capture, Any]:
        made = Capture(channels_last=channels_last, cache=self._cache, arrays=self._met)
        with capturing, made as capture, no_grad(), unchanged(self._copy):
            inputs = [capture.input(f"x{i}", a.shape, a.dtype) for i, a in enumerate(arrays)]
            stand_ins = {t: capture.constant(t.numpy(), n) for n, t in arrays_of(self._copy)}
            with replaced(stand_ins):
                result = self._copy(*[Tensor(capture.picture(a)) for a in inputs])
        return capture, result

    @property
    def random(self) -> bool:
        """Whether the last plan draws random numbers (dropout with `training=True`)."""
        return self._latest().keys > 0

    def _latest(self) -> Plan:
        with self._lock:
            if not self._plans:
                raise CaptureError(
                    "program: nothing has been planned since refresh(); call it first"
                )
            return next(reversed(self._plans.values()))

    def dump(self, after: str | None = None) -> str:
        """The graph of the last plan as text, a line a node: after all passes, or after the pass called
        `after` ("" for the graph as it was recorded)."""
        return self._latest().dump(after)

    def memory(self) -> dict[str, int]:
        """Bytes of the last plan: `arena` (all values and scratch), `tensors` (what the values would take
        if each had memory of its own), `workspace` (of the step that needs most), and `steps`."""
        return self._latest().native.memory()

    def profile(self, *inputs: Any, runs: int = 10, limits: bool = True) -> Profile:
        """Time each step.

        Args:
            inputs: as for a call; without any, random numbers in the shapes of the last plan.
            runs: how many; the least time of each step counts.
            limits: measure the machine's FMA peak and memory bandwidth too, and give each step's share.

        Returns:
            A `fastconv.profile.Profile`, which prints as a table and writes a trace.
        """
        arrays = tuple(_checked(i, a) for i, a in enumerate(inputs))
        if not arrays:
            rng = np.random.default_rng(0)
            arrays = tuple(rng.standard_normal(s).astype(d) for s, d in self._latest().inputs)
        plan = self._plan(arrays)
        steps = plan.native.profile([*arrays, *drawn_keys(plan.keys)], runs)
        return Profile(steps, machine_limits() if limits else None)


def _checked(position: int, value: Any) -> NDArray:
    array = as_array("program", f"input {position}", value)
    if is_symbolic(array):
        raise CaptureError("compile: a program cannot be recorded inside another")
    return array if array.dtype.isnative else array.astype(array.dtype.newbyteorder("="))
