"""A whole training step as one native plan; see `program`."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from typing import Any

import numpy as np

from . import random
from ._arrays import NDArray
from ._pieces import (
    LAST,
    MORE,
    WHOLE,
    Pieces,
    as_labels,
    checked_pieces,
    cut,
    label_arrays,
    label_key,
    labels_of_pieces,
    map_labels,
    pieces_of,
    with_parts,
)
from ._plan import PLANS, Plan, drawn_keys, plan_settings
from ._recording import Watch, arrays_of, capturing, in_memory_order, replaced, unchanged, unflatten
from ._symbolic import Capture, SymbolicArray, is_symbolic
from .errors import CaptureError, ShapeError
from .optim.optimizer import kept_dtype
from .optim.recording import GroupRecorder, recorded_options
from .profile import Profile, machine_limits
from .tensor import Tensor

__all__ = ["TrainingStep"]


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

    def __call__(self, x: NDArray, labels: Any) -> tuple[float, Any]:
        """One step on a batch. Labels: an array, or a dictionary or tuple of them.

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
            steps = self._made(x[piece], cut(labels, piece), part).profile(
                x[piece], cut(labels, piece), runs
            )
        return Profile(steps, machine_limits() if limits else None)

    def _key(self, x: NDArray, labels: Any, part: str) -> tuple[Any, ...]:
        return (
            part,
            self.recompute,
            self.tune,
            x.shape,
            x.dtype.str,
            label_key(labels),
            plan_settings(),
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
        plans = [self._known(x[p], cut(labels, p), part) for p, part in with_parts(pieces)]
        return Pieces(self, pieces, plans) if all(plans) else None

    def _known(self, x: NDArray, labels: Any, part: str) -> _StepPlan | None:
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
        made = [self._made(x[p], cut(labels, p), part) for p, part in reversed(with_parts(pieces))]
        return Pieces(self, pieces, made[::-1])

    def _made(self, x: NDArray, labels: Any, part: str) -> _StepPlan:
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
    """What a plan has of an optimiser's options: everything but what schedules change."""
    return tuple(
        (
            tuple(id(p) for p in group["params"]),
            *sorted(
                (k, tuple(v) if isinstance(v, list) else v)
                for k, v in recorded_options(group).items()
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
    def __init__(self, step: TrainingStep, x: NDArray, labels: Any, part: str) -> None:
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
        self._plan = Plan(capture, result, recompute=step.recompute, tune=step.tune)
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
        self, net: Any, loss: Any, x: NDArray, labels: Any, channels_last: bool
    ) -> tuple[Capture, tuple[Any, Any], dict[Tensor, Any], dict[Tensor, Any]]:
        """Forward, loss and backward: the graph, loss and output, and the parameters' values and
        gradients in it."""
        made = Capture(live=True, channels_last=channels_last)
        with capturing, made as capture, unchanged(net, strict=True):
            data = capture.input("x", x.shape, x.dtype)
            target = map_labels(lambda a: capture.input("labels", a.shape, a.dtype), labels)
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

    def inputs(self, x: NDArray, labels: Any, share: float = 1.0) -> list[Any]:
        values: list[Any] = [x, *label_arrays(as_labels(labels)), *drawn_keys(self._plan.keys)]
        if self._part != WHOLE:
            values.append(np.full(self._loss_shape, share, self._loss_dtype))
        for recorder in self.recorders:
            values += recorder.inputs()
        return values

    def run(self, x: NDArray, labels: Any, share: float = 1.0) -> tuple[float, Any]:
        results, whole = self.native.run(self.inputs(x, labels, share))
        value, output = unflatten(self._plan.structure, iter(results))
        if whole:
            for recorder in self.recorders:
                recorder.stepped()
        return float(value.item()), output

    def profile(self, x: NDArray, labels: Any, runs: int) -> Any:
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
