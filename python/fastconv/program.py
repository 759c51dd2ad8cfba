"""`compile`: a network, or a whole training step, as one native plan.

The network runs once on arrays that have shapes and no contents (`_symbolic`); what it does becomes a graph.
Passes rewrite the graph, a planner gives every value its place in one arena, and from then on a run is one
native call: no Python and no dispatch between the first kernel and the last, and no memory asked of the system.
"""

from __future__ import annotations

import copy
import threading
from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from . import _core, random
from ._arrays import NDArray
from ._pieces import (
    LAST,
    MORE,
    WHOLE,
    Pieces,
    as_labels,
    checked_pieces,
    labels_of_pieces,
    pieces_of,
    with_parts,
)
from ._recording import (
    Watch,
    arrays_of,
    capturing,
    flatten,
    in_memory_order,
    replaced,
    unchanged,
    unflatten,
)
from ._symbolic import Capture, SymbolicArray, is_symbolic
from .choice import choose_algorithms
from .errors import CaptureError, DTypeError, ShapeError
from .functional.autocast import autocast_dtype
from .optim.optimizer import kept_dtype
from .optim.recording import GroupRecorder
from .profile import Profile, machine_limits
from .tensor import Tensor, as_array, no_grad

__all__ = ["Program", "TrainingStep", "compile"]

# Plans that a program keeps, by the shapes of its inputs: a last smaller batch and a few more.
PLANS = 8
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
        self._plans: OrderedDict[tuple[Any, ...], _Plan] = OrderedDict()
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

    def _plan(self, arrays: tuple[NDArray, ...]) -> _Plan:
        shapes = tuple((a.shape, a.dtype.str) for a in arrays)
        key = (_settings(), shapes)
        with self._lock:
            plan = self._plans.get(key)
            if plan is None:
                plan = self._plans[key] = self._make(arrays)
                while len(self._plans) > PLANS:
                    self._plans.popitem(last=False)
            else:
                self._plans.move_to_end(key)
            return plan

    def _make(self, arrays: tuple[NDArray, ...]) -> _Plan:
        capture, result = self._record(arrays, True)
        if not capture.fits():
            capture, result = self._record(arrays, False)
        plan = _Plan(capture, result, self._narrow, tune=self._tune)
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

    def _latest(self) -> _Plan:
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
        steps = plan.native.profile([*arrays, *_keys(plan.keys)], runs)
        return Profile(steps, machine_limits() if limits else None)


class _Plan:
    """One graph, planned, and the structure of its results."""

    inputs: Sequence[tuple[tuple[int, ...], np.dtype[Any]]] = ()

    def __init__(
        self,
        capture: Capture,
        result: Any,
        narrow: bool = False,
        recompute: bool = False,
        tune: bool = False,
    ) -> None:
        leaves: list[SymbolicArray] = []
        self.structure = flatten(result, leaves)
        capture.graph.set_outputs([leaf.contiguous().value for leaf in leaves])
        self._recorded = capture.graph
        self.keys = len(capture.keys)
        self.passes = _core.graph_passes()
        if narrow:  # before what depends on the algorithms of convolutions
            self.passes.insert(self.passes.index("fuse_batch_norm_load"), "store_bfloat16")
        if recompute:
            self.passes.insert(self.passes.index("join_in_place"), "recompute")
        self._tune = tune
        self._choices: list[tuple[int, str]] | None = None
        self.native = _core.Program(self._after(self.passes[-1]))

    def _after(self, last: str) -> _core.Graph:
        """The recorded graph after the passes up to `last`; "" for none."""
        graph = self._recorded.copy()
        for name in self.passes if last else []:
            if self._tune and name == "fuse_batch_norm_load":  # the first that asks for algorithms
                if self._choices is None:
                    self._choices = choose_algorithms(graph)
                for node, algorithm in self._choices:
                    graph.choose(node, algorithm)
            graph.run_pass(name)
            if name == last:
                break
        return graph

    def run(self, inputs: Sequence[Any]) -> Any:
        results, _ = self.native.run([*inputs, *_keys(self.keys)] if self.keys else inputs)
        return unflatten(self.structure, iter(results))

    def dump(self, after: str | None) -> str:
        if after is None:
            after = self.passes[-1]
        if after and after not in self.passes:
            known = ", ".join(repr(name) for name in ["", *self.passes])
            raise ShapeError(f"program: after must be one of {known}, got {after!r}")
        return self._after(after).dump()


def _keys(count: int) -> list[Any]:
    """Keys for dropout, drawn as function by function."""
    return [np.array(random.next_key(), np.uint64).view(np.int64) for _ in range(count)]


def _settings() -> tuple[Any, ...]:
    """What a plan's choices depend on beside shapes."""
    scale = _core.conv2d_cost_scale()
    return (
        _core.get_num_threads(),
        _core.get_precision(),
        autocast_dtype(),
        *scale.values(),
    )


def _checked(position: int, value: Any) -> NDArray:
    array = as_array("program", f"input {position}", value)
    if is_symbolic(array):
        raise CaptureError("compile: a program cannot be recorded inside another")
    return array if array.dtype.isnative else array.astype(array.dtype.newbyteorder("="))


class TrainingStep:
    """Forward, loss, backward and the optimiser's update as one native call.

    The network's parameters and buffers and the optimiser's state stay where they are and are updated in
    place. Gradients are not kept. One plan is made for each shape of a batch.

    Args:
        net, loss, optimizer: as for `train.Trainer`. The optimiser is `SGD`, `Adam`, `AdamW` or `RMSprop`.
        clip_grad_norm: gradients are scaled so that their joint norm is at most this; None: they are not.
        accumulate: a batch is worked through in so many pieces, a native call each, whose gradients add up to
            those of the batch: the memory of one piece. Batch-norm sees the pieces one by one.
        recompute: results of batch-norm, activations and sums are not kept for backward but computed again:
            less memory, some more time, the same numbers.
        tune: as for `compile`.
    """

    def __init__(
        self,
        net: Any,
        loss: Callable[[Any, Any], Any],
        optimizer: Any,
        clip_grad_norm: float | None = None,
        *,
        accumulate: int = 1,
        recompute: bool = False,
        tune: bool = False,
    ) -> None:
        self.net, self.loss, self.optimizer = net, loss, optimizer
        self.clip_grad_norm, self.recompute, self.tune = clip_grad_norm, recompute, tune
        self.accumulate = checked_pieces("TrainingStep", accumulate)
        self._plans: OrderedDict[tuple[Any, ...], _StepPlan] = OrderedDict()
        # Sums of gradients, between pieces of a batch: zeros otherwise.
        self._sums: dict[Tensor, NDArray] = {}

    def __call__(self, x: NDArray, labels: NDArray) -> tuple[float, Any]:
        """One step on a batch.

        Returns:
            The loss and the network's output. Where the loss is not finite, nothing but batch-norm's running
            statistics has changed.

        Raises:
            CaptureError: the network, the loss or the optimiser cannot be recorded; nothing has changed.
        """
        plan = self.plan(x, labels)
        return plan.run(x, labels)

    def profile(self, x: NDArray, labels: Any, *, runs: int = 10, limits: bool = True) -> Profile:
        """Time each kernel of a step on a batch (with `accumulate`: on its first piece).

        Args:
            x, labels: as for a call, which this fails like.
            runs: steps that are run. Parameters, buffers and the optimiser's state are afterwards as before.
            limits, and the result: as for `Program.profile`.
        """
        labels = as_labels(labels)
        pieces = pieces_of(len(x), self.accumulate) if x.ndim else []
        if len(pieces) < 2:
            steps = self._made(x, labels, WHOLE).profile(x, labels, runs)
        else:
            labels = labels_of_pieces("TrainingStep", labels, len(x))
            piece, part = with_parts(pieces)[0]
            steps = self._made(x[piece], labels[piece], part).profile(x[piece], labels[piece], runs)
        return Profile(steps, machine_limits() if limits else None)

    def _key(self, x: NDArray, labels: NDArray, part: str) -> tuple[Any, ...]:
        return (
            part,
            self.recompute,
            self.tune,
            x.shape,
            x.dtype.str,
            labels.shape,
            labels.dtype.str,
            _settings(),
            _options_of(self.optimizer),
            self.clip_grad_norm,
        )

    def known(self, x: NDArray, labels: Any) -> _StepPlan | Pieces | None:
        """The plan for batches like this one, where there is one and nothing that it depends on has changed."""
        if not self._plans:
            return None
        labels = as_labels(labels)
        pieces = pieces_of(len(x), self.accumulate) if x.ndim and self.accumulate > 1 else []
        if len(pieces) < 2:
            return self._known(x, labels, WHOLE)
        labels = labels_of_pieces("TrainingStep", labels, len(x))
        plans = [self._known(x[p], labels[p], part) for p, part in with_parts(pieces)]
        return Pieces(self, pieces, plans) if all(plans) else None

    def _known(self, x: NDArray, labels: NDArray, part: str) -> _StepPlan | None:
        key = self._key(x, labels, part)
        plan = self._plans.get(key)
        if plan is None or not plan.valid(self):
            return None
        self._plans.move_to_end(key)
        return plan

    def plan(self, x: NDArray, labels: Any) -> _StepPlan | Pieces:
        """The plan for batches like this one, made anew where need be."""
        plan = self.known(x, labels)
        if plan is not None:
            return plan
        labels = as_labels(labels)
        pieces = pieces_of(len(x), self.accumulate) if x.ndim else []
        if len(pieces) < 2:
            return self._made(x, labels, WHOLE)
        labels = labels_of_pieces("TrainingStep", labels, len(x))
        # The last first: where it cannot be recorded, nothing has changed.
        made = [self._made(x[p], labels[p], part) for p, part in reversed(with_parts(pieces))]
        return Pieces(self, pieces, made[::-1])

    def _made(self, x: NDArray, labels: NDArray, part: str) -> _StepPlan:
        plan = self._known(x, labels, part)
        if plan is not None:
            return plan
        key = self._key(x, labels, part)
        if key in self._plans:
            self._plans.clear()  # something changed: no older plan is good
        plan = self._plans[key] = _StepPlan(self, x, labels, part)
        while len(self._plans) > PLANS:
            self._plans.popitem(last=False)
        return plan

    def _sum_of(self, parameter: Tensor) -> NDArray:
        """Where the gradient of a parameter adds up."""
        array = parameter.numpy()
        total = self._sums.get(parameter)
        if total is None or total.shape != array.shape or total.dtype != kept_dtype(array):
            total = self._sums[parameter] = np.zeros(array.shape, kept_dtype(array))
        return total


def _options_of(optimizer: Any) -> tuple[Any, ...]:
    """What a plan has of an optimiser's options: everything but the learning rate."""
    return tuple(
        (
            tuple(id(p) for p in group["params"]),
            *sorted(
                (k, tuple(v) if isinstance(v, list) else v)
                for k, v in group.items()
                if k not in ("params", "lr")
            ),
        )
        for group in optimizer.param_groups
    )


def _refuse_python_between_kernels(net: Any, optimizer: Any) -> None:
    for name, module in net.named_modules():
        if module._hooks:
            raise CaptureError(
                f"compile: {name or 'the network'} has a forward hook, to be called in every step"
            )
    if "step" in vars(optimizer):
        raise CaptureError("compile: the optimiser's step has been replaced")


def _clip(capture: Capture, gradients: dict[Tensor, Any], max_norm: float) -> None:
    """Each gradient times the factor that brings their joint norm to `max_norm`."""
    there = [t for t, g in gradients.items() if g is not None]
    if not there:
        return
    factor, _ = capture.node("clip_grad_norm", [gradients[t] for t in there], max_norm=max_norm)
    for t in there:
        g = gradients[t]
        made = capture.node("elementwise", [g.raw(), factor], kind="mul")[0]
        gradients[t] = SymbolicArray(capture, made.value, g.dtype, g.physical, g.axes)


class _StepPlan:
    def __init__(self, step: TrainingStep, x: NDArray, labels: NDArray, part: str) -> None:
        net, loss, optimizer = step.net, step.loss, step.optimizer
        self._part = part
        self._bound = [(t, t.numpy()) for _, t in arrays_of(net)]
        _refuse_python_between_kernels(net, optimizer)
        self._watch = Watch(net, loss)
        inside = {id(t) for t, _ in self._bound}
        for group in optimizer.param_groups:
            for p in group["params"]:
                if id(p) not in inside:
                    raise CaptureError(
                        "compile: the optimiser has a parameter that is not the network's"
                    )
        capture, result, stand_ins, gradients = self._record(net, loss, x, labels, True)
        if not capture.fits():
            capture, result, stand_ins, gradients = self._record(net, loss, x, labels, False)
        self.recorders: list[GroupRecorder] = []
        with capturing, capture:
            sums = [] if part == WHOLE else self._add_up(step, capture, gradients)
            if part != MORE:
                self._update(step, capture, stand_ins, gradients)
            if part == LAST:
                for total in sums:
                    capture.node("clear", [total])
        self._plan = _Plan(capture, result, recompute=step.recompute, tune=step.tune)
        self._states = capture.states
        self.native = self._plan.native

    def _add_up(
        self, step: TrainingStep, capture: Capture, gradients: dict[Tensor, Any]
    ) -> list[SymbolicArray]:
        """Each gradient is added to its sum, or in the last piece is the whole sum; the sums."""
        wanted = {p for group in step.optimizer.param_groups for p in group["params"]}
        sums = []
        for p, g in gradients.items():
            # The joint norm is that of all gradients.
            if g is None or (p not in wanted and step.clip_grad_norm is None):
                continue
            total = capture.state(step._sum_of(p), "sum")
            g = g.astype(total.dtype, copy=False)
            if self._part == MORE:
                capture.node("accumulate", [total, g])
            else:
                gradients[p] = capture.node("elementwise", [total, g], kind="add")[0]
            sums.append(total)
        return sums

    def _update(
        self,
        step: TrainingStep,
        capture: Capture,
        stand_ins: dict[Tensor, Any],
        gradients: dict[Tensor, Any],
    ) -> None:
        if step.clip_grad_norm is not None:
            _clip(capture, gradients, float(step.clip_grad_norm))
        for number, group in enumerate(step.optimizer.param_groups):
            recorder = GroupRecorder(capture, step.optimizer, group, number)
            for p in group["params"]:
                if gradients[p] is not None:
                    recorder.record(p, stand_ins[p], gradients[p])
            self.recorders.append(recorder)

    def _record(
        self, net: Any, loss: Any, x: NDArray, labels: NDArray, channels_last: bool
    ) -> tuple[Capture, tuple[Any, Any], dict[Tensor, Any], dict[Tensor, Any]]:
        """Forward, loss and backward: the graph, loss and output, and the parameters' values and
        gradients in it."""
        made = Capture(live=True, channels_last=channels_last)
        with capturing, made as capture, unchanged(net, strict=True):
            data = capture.input("x", x.shape, x.dtype)
            target = capture.input("labels", labels.shape, labels.dtype)
            named = zip(arrays_of(net), self._bound, strict=True)
            stand_ins = {t: capture.state(a, name) for (name, t), (_, a) in named}
            with replaced(stand_ins):
                output = net(Tensor(capture.picture(data)))
                # The bare array: labels are no Tensor function by function either, and what is done to them
                # with NumPy is refused.
                value = loss(output, target)
                if not isinstance(value, Tensor) or not is_symbolic(value._array):
                    raise CaptureError(
                        "compile: the loss must be a tensor that depends on the network's output"
                    )
                if value.size != 1:
                    raise ShapeError(
                        f"compile: the loss must have one element, got shape {value.shape}"
                    )
                result = (value, in_memory_order(output))
                capture.node("stop_unless_finite", [value._array])
                share = None
                if self._part != WHOLE:  # the gradient's part in that of the batch
                    share = Tensor(capture.input("share", value.shape, value.dtype))
                value.backward(share)
                self._loss_dtype, self._loss_shape = value.dtype, value.shape
                gradients = {t: None if t.grad is None else t.grad._array for t in stand_ins}
        return capture, result, stand_ins, gradients

    def valid(self, step: TrainingStep) -> bool:
        """Whether everything is still as it was recorded: modules, parameters, the optimiser's state."""
        return (
            self._watch.same()
            and "step" not in vars(step.optimizer)
            and all(r.valid() for r in self.recorders)
        )

    def inputs(self, x: NDArray, labels: NDArray, share: float = 1.0) -> list[Any]:
        values: list[Any] = [x, as_labels(labels), *_keys(self._plan.keys)]
        if self._part != WHOLE:
            values.append(np.full(self._loss_shape, share, self._loss_dtype))
        for recorder in self.recorders:
            values += recorder.inputs()
        return values

    def run(self, x: NDArray, labels: NDArray, share: float = 1.0) -> tuple[float, Any]:
        results, whole = self.native.run(self.inputs(x, labels, share))
        value, output = unflatten(self._plan.structure, iter(results))
        if whole:
            for recorder in self.recorders:
                recorder.stepped()
        return float(value.item()), output

    def profile(self, x: NDArray, labels: NDArray, runs: int) -> Any:
        """The native profile of steps whose changes are taken back."""
        before, drawn = [array.copy() for array in self._states], random.get_state()
        try:
            return self.native.profile(self.inputs(x, labels), runs)
        finally:
            random.set_state(drawn)
            for array, value in zip(self._states, before, strict=True):
                array[...] = value

    def dump(self, after: str | None = None) -> str:
        return self._plan.dump(after)
