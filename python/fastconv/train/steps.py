"""One training step: compiled where it can be recorded, function by function where not."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from functools import partial
from typing import Any, NamedTuple

import numpy as np

from .._arrays import NDArray
from .._pieces import checked_pieces, cut, joined_outputs, labels_of_pieces, map_labels, pieces_of
from ..errors import CaptureError, DTypeError, FastconvError, ShapeError
from ..functional.autocast import autocast
from ..optim import clip_grad_norm_
from ..profile import Profile
from ..program import TrainingStep
from ..tensor import Tensor
from .evaluation import correct_of, image_count, network_input, task_results
from .image_weights import ImageWeighted, image_weights
from .losses import weighted_loss

__all__ = ["LossNotFinite", "StepResult", "Steps"]

_DTYPES = ("float32", "float64", "bfloat16")


class LossNotFinite(FastconvError):
    """The loss of a batch is NaN or infinite."""


class StepResult(NamedTuple):
    """What a step tells of its batch: mean loss, right answers if they can be counted, images, each task's mean
    loss and right answers, the network's output, and the labels as the loss took them."""

    loss: float
    correct: int | None = None
    images: int = 0
    tasks: Mapping[str, tuple[float, int | None]] = {}
    output: Any = None
    labels: Any = None


class Steps:
    """What a `Trainer` is made of, and its single steps; the arguments are explained there."""

    def __init__(
        self,
        net: Any,
        loss: Callable[[Any, Any], Any],
        optimizer: Any,
        *,
        schedule: Any,
        targets: Callable[[Any], Any] | None,
        class_weight: Any,
        dtype: str,
        clip_grad_norm: float | None,
        accumulate: int,
        recompute: bool,
        tune: bool,
        compile: bool,
    ) -> None:
        if dtype not in _DTYPES:
            raise DTypeError(f"Trainer: dtype must be one of {', '.join(_DTYPES)}, got {dtype!r}")
        own = "float32" if dtype == "bfloat16" else dtype
        for what, value, method in (
            ("net", net, "state_dict"),
            ("optimizer", optimizer, "zero_grad"),
            ("schedule", schedule, "step"),
        ):
            if not callable(getattr(value, method, None)) and (
                what != "schedule" or value is not None
            ):
                raise DTypeError(f"Trainer: {what} is a {type(value).__name__} without {method}()")
        if targets is not None and not callable(targets):
            raise DTypeError(f"Trainer: targets is a {type(targets).__name__}, expected a function")
        for name, parameter in net.named_parameters():
            if parameter.dtype != np.dtype(own):
                raise DTypeError(
                    f"Trainer: the parameter {name!r} is {parameter.dtype}, expected {own}"
                )
        self.net, self.loss, self.optimizer, self.schedule = net, loss, optimizer, schedule
        self.targets, self.class_weight = targets, class_weight
        self._all_labels: Any = None  # of the training data, once `fit` has seen it
        self._weighted: tuple[Any, Any, Any, Any] = (None, None, None, None)
        self._by_image = False  # whether the step under way has weights of images
        self._image_weighted: ImageWeighted | None = None
        self.dtype = np.dtype(own)
        # Outside of this a caller's own `autocast` holds.
        self._precision = partial(autocast, dtype) if dtype == "bfloat16" else nullcontext
        with self._precision():  # bfloat16 may be missing
            pass
        if clip_grad_norm is not None and not clip_grad_norm >= 0:
            raise ShapeError(f"Trainer: clip_grad_norm must be at least 0, got {clip_grad_norm}")
        self.clip_grad_norm, self.recompute, self.tune = clip_grad_norm, recompute, tune
        self.accumulate = checked_pieces("Trainer", accumulate)
        self._program = self._new_program(loss) if compile else None
        self.global_step = 0
        self.epoch = self.batch = 0

    def step(self, x: Any, labels: Any, weights: Any = None) -> float:
        """Train on one batch: forward, backward, optimiser, schedule.

        Args:
            x: images (N, C, H, W), or whatever the network takes.
            labels: what the loss takes.
            weights: (N,), how much each image counts, at least 0; see `fastconv.train.ImageWeighted`.

        Returns:
            The mean loss of the batch, before the step.

        Raises:
            ShapeError, DTypeError: weights do not fit, or the loss cannot be weighted.
            FastconvError: the loss is NaN or infinite; the weights are then as they were.
        """
        return self._step(x, labels, weights, count=False).loss

    def profile(self, x: Any, labels: Any, *, runs: int = 10, limits: bool = True) -> Profile:
        """`fastconv.program.TrainingStep.profile` of a step on a batch; no state changes. CaptureError
        where steps cannot be recorded, or `compile` is False."""
        if self._program is None:
            raise CaptureError(
                "Trainer.profile: steps run function by function, not as one program"
            )
        self._by_image = False
        if not self._fits(self._program):
            self._program = self._new_program(self._training_loss())
        modes = [(m, m.training) for m in self.net.modules()]
        self.net.train()
        try:
            with self._precision():
                data = network_input(self.net, x, self.dtype).numpy()
                return self._program.profile(
                    data, self._as_targets(labels), runs=runs, limits=limits
                )
        finally:
            for module, mode in modes:
                module.training = mode

    def _step(self, x: Any, labels: Any, weights: Any = None, *, count: bool = True) -> StepResult:
        """A step; with `count` also how many images were recognised, and each task's figures."""
        labels = self._as_targets(labels)
        given, self._by_image = labels, weights is not None
        if weights is not None:
            given = labels, image_weights("Trainer", weights, image_count(labels), self.dtype)
        with self._precision():
            value, output = self._step_inside(x, given)
            if not count:
                return StepResult(value)
            tasks = task_results(self.loss, output, labels)
        correct, count_of = correct_of(output, labels), image_count(labels)
        return StepResult(value, correct, count_of, tasks, output, labels)

    def _as_targets(self, labels: Any) -> Any:
        """A batch's labels as the loss takes them: `targets` of them, of the network's precision."""
        if self.targets is not None:
            labels = self.targets(labels)
        return labels if self.dtype == np.float32 else map_labels(self._as_precise, labels)

    def _as_precise(self, array: Any) -> Any:
        single = isinstance(array, np.ndarray) and array.dtype == np.float32
        return array.astype(self.dtype) if single else array

    def _training_loss(self) -> Any:
        """The loss of steps: with the weights of classes and of images, which evaluation leaves out."""
        loss = self.loss
        if self.class_weight is not None:
            made = (self.loss, self.class_weight, self._all_labels)
            if any(a is not b for a, b in zip(made, self._weighted, strict=False)):
                self._weighted = (*made, weighted_loss(*made))
            loss = self._weighted[3]
        if not self._by_image:
            return loss
        if self._image_weighted is None or self._image_weighted.loss is not loss:
            self._image_weighted = ImageWeighted(loss)
        return self._image_weighted

    def _step_inside(self, x: Any, labels: Any) -> tuple[float, Any]:
        refusal = None
        plan, data = self._known_plan(x, labels)
        if plan is None:
            self.net.train()
            self.optimizer.zero_grad()
            plan, refusal = self._step_plan(x, labels)
        if plan is None:
            value, output = self._eager_step(x, labels)
            if refusal is not None:  # and the step itself was in order
                self._program = None
                warnings.warn(
                    f"Trainer: steps run function by function, since they cannot be recorded: {refusal}",
                    stacklevel=4,
                )
        else:
            if data is None:
                data = network_input(self.net, x, self.dtype).numpy()
            value, output = plan.run(data, labels)
            self._require_finite(value)
            output = Tensor(output) if isinstance(output, np.ndarray) else output
        if self.schedule is not None:
            self.schedule.step()
        self.global_step += 1
        return value, output

    def _new_program(self, loss: Any) -> TrainingStep:
        parts = self.net, loss, self.optimizer, self.clip_grad_norm
        return TrainingStep(
            *parts, accumulate=self.accumulate, recompute=self.recompute, tune=self.tune
        )

    def _fits(self, program: TrainingStep) -> bool:
        """Whether the attributes are still those that the program was made with."""
        return (
            program.net is self.net
            and program.loss is self._training_loss()
            and program.optimizer is self.optimizer
            and program.clip_grad_norm == self.clip_grad_norm
            and program.accumulate == self.accumulate
            and program.recompute == self.recompute
            and program.tune == self.tune
        )

    def _known_plan(self, x: Any, labels: Any) -> tuple[Any, NDArray | None]:
        """The plan of an earlier step like this one, recorded in training mode, and its input."""
        program = self._program
        if program is None or not self._fits(program):
            return None, None
        try:
            data = network_input(self.net, x, self.dtype).numpy()
            return program.known(data, labels), data
        except Exception:  # _step_plan meets it again
            return None, None

    def _step_plan(self, x: Any, labels: Any) -> tuple[Any, Exception | None]:
        """A plan for the step; None, and why, where it must run function by function."""
        if self._program is None:
            return None, None
        program = self._program
        if not self._fits(program):
            program = self._program = self._new_program(self._training_loss())
        try:
            return program.plan(network_input(self.net, x, self.dtype).numpy(), labels), None
        except Exception as error:
            return None, error

    def _eager_step(self, x: Any, labels: Any) -> tuple[float, Any]:
        value, output = self._gradients(network_input(self.net, x, self.dtype), labels)
        if self.clip_grad_norm is not None:
            clip_grad_norm_(self.net.parameters(), self.clip_grad_norm)
        self.optimizer.step()
        return value, output

    def _gradients(self, x: Tensor, labels: Any) -> tuple[float, Any]:
        """The loss and output of a batch, whose gradients are in the parameters' `grad` then."""
        count = len(x.numpy()) if x.ndim else 1
        pieces = pieces_of(count, self.accumulate)
        mean, outputs = 0.0, []
        one = len(pieces) == 1
        if not one:
            labels = labels_of_pieces("Trainer", labels, count)
        for piece in pieces:
            output = self.net(x if one else Tensor(x.numpy()[piece]))
            loss = self._training_loss()(output, labels if one else cut(labels, piece))
            value = float(loss.item())
            if not math.isfinite(value):
                self.optimizer.zero_grad()
            self._require_finite(value)
            share = (piece.stop - piece.start) / count
            loss.backward(None if one else np.full(loss.shape, share, loss.dtype))
            mean += share * value
            outputs.append(output)
        if len(outputs) == 1:
            return mean, outputs[0]
        joined = joined_outputs(outputs, pieces)
        return mean, Tensor(joined) if isinstance(joined, np.ndarray) else joined

    def _require_finite(self, loss: float) -> None:
        if not math.isfinite(loss):
            raise LossNotFinite(
                f"Trainer: the loss is {loss} at step {self.global_step} (epoch {self.epoch + 1}, "
                f"batch {self.batch + 1}); a smaller learning rate may help, or the data has "
                "values that are not finite"
            )
