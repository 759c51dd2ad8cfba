"""Losses made of losses: of several tasks, with weights of classes, with penalties on parameters."""

from __future__ import annotations

import copy
import functools
import inspect
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np

from .. import functional as F
from .._arrays import NDArray
from ..errors import DTypeError, ShapeError
from ..nn import CrossEntropyLoss, NLLLoss
from ..nn._args import integer, number
from ..tensor import Tensor

__all__ = [
    "ClassWeighted",
    "Loss",
    "MultiLoss",
    "Penalised",
    "balanced_weights",
    "part_of",
    "soft_sharing",
    "trainer_loss",
    "weighted_loss",
]

# (outputs, labels) of a batch -> its mean loss, a one-element Tensor
Loss: TypeAlias = Callable[[Any, Any], Any]


class MultiLoss:
    """The loss of several tasks: the weighted sum of a loss for each.

    Args:
        losses: task -> loss, where network and labels are dictionaries with these keys; or a sequence, for
            tuples of outputs and labels, whose tasks are called "0", "1", ...
        weights: task -> factor, 1 for tasks left out; or a sequence of as many.
        penalties: functions without arguments, such as `soft_sharing` makes, whose values are added.

    Called with (outputs, labels); `parts` gives each task's loss, before its weight.

    Raises:
        ShapeError: no task, weights for tasks that are not there, outputs or labels that lack a task.
        DTypeError: a loss or a penalty is no function, outputs or labels are neither dictionaries nor tuples.

    Source: Caruana, "Multitask learning" (1997).
    """

    def __init__(
        self,
        losses: Mapping[str, Loss] | Sequence[Loss],
        weights: Mapping[str, float] | Sequence[float] | None = None,
        penalties: Iterable[Callable[[], Any]] = (),
    ) -> None:
        self.losses = _by_task("losses", losses)
        self.penalties = tuple(penalties)
        if not self.losses:
            raise ShapeError("MultiLoss: there are no losses")
        for name, loss in self.losses.items():
            if not callable(loss):
                raise DTypeError(
                    f"MultiLoss: the loss of {name!r} is a {type(loss).__name__}, expected a function"
                )
        for penalty in self.penalties:
            if not callable(penalty):
                raise DTypeError(
                    f"MultiLoss: a penalty is a {type(penalty).__name__}, expected a function"
                )
        given = {} if weights is None else _by_task("weights", weights)
        unknown = sorted(set(given) - set(self.losses))
        if unknown:
            raise ShapeError(
                f"MultiLoss: weights for {', '.join(unknown)}, but the tasks are "
                f"{', '.join(self.losses)}"
            )
        self.weights = {
            name: number("MultiLoss", f"the weight of {name!r}", given.get(name, 1.0), 0.0)
            for name in self.losses
        }

    @property
    def tasks(self) -> tuple[str, ...]:
        """The tasks' names."""
        return tuple(self.losses)

    def parts(self, outputs: Any, labels: Any) -> dict[str, Any]:
        """Each task's loss."""
        return {
            name: loss(part_of("outputs", outputs, name), part_of("labels", labels, name))
            for name, loss in self.losses.items()
        }

    def __call__(self, outputs: Any, labels: Any) -> Any:
        terms = [
            part if self.weights[name] == 1.0 else F.mul(part, self.weights[name])
            for name, part in self.parts(outputs, labels).items()
        ]
        return functools.reduce(F.add, [*terms, *(penalty() for penalty in self.penalties)])

    def with_class_weight(self, weights: Mapping[str, Any]) -> MultiLoss:
        """The same with weights of classes for the tasks named."""
        unknown = sorted(str(name) for name in set(weights) - set(self.losses))
        if unknown:
            raise ShapeError(
                f"class_weight: there are weights for {', '.join(unknown)}, but the tasks are "
                f"{', '.join(self.losses)}"
            )
        losses = {
            name: ClassWeighted(loss, weights[name]) if name in weights else loss
            for name, loss in self.losses.items()
        }
        return MultiLoss(losses, self.weights, self.penalties)


class Penalised:
    """A loss plus the values of functions without arguments."""

    def __init__(self, loss: Loss, penalties: Iterable[Callable[[], Any]]) -> None:
        self.loss, self.penalties = loss, tuple(penalties)

    def __call__(self, outputs: Any, labels: Any) -> Any:
        loss = self.loss(outputs, labels)
        return functools.reduce(F.add, [loss, *(penalty() for penalty in self.penalties)])


def trainer_loss(loss: Any, weights: Any, penalties: Iterable[Callable[[], Any]]) -> Any:
    """The loss of a `Trainer`, from what it is given."""
    several = isinstance(loss, (Mapping, list, tuple))
    if weights is not None and not several:
        raise DTypeError(
            f"Trainer: loss_weights go with a loss for each task, loss is a {type(loss).__name__}"
        )
    extra = tuple(penalties)
    if several:
        return MultiLoss(loss, weights, extra)
    if not callable(loss):
        raise DTypeError(f"Trainer: loss is a {type(loss).__name__}, expected a function")
    for penalty in extra:
        if not callable(penalty):
            raise DTypeError(
                f"Trainer: a penalty is a {type(penalty).__name__}, expected a function"
            )
    if extra and isinstance(loss, MultiLoss):
        return MultiLoss(loss.losses, loss.weights, (*loss.penalties, *extra))
    return Penalised(loss, extra) if extra else loss


def weighted_loss(loss: Any, class_weight: Any, labels: Any) -> Any:
    """A loss with weights of classes: of each task where there are several; "balanced" is computed from
    `labels`, those of all training images, or None where they are not known."""
    if isinstance(loss, Penalised):
        return Penalised(weighted_loss(loss.loss, class_weight, labels), loss.penalties)
    if not isinstance(loss, MultiLoss):
        return ClassWeighted(loss, _weights_of(class_weight, labels))
    if isinstance(class_weight, str):
        class_weight = dict.fromkeys(loss.tasks, class_weight)
    if not isinstance(class_weight, Mapping):
        raise DTypeError(
            "class_weight: expected weights for each task, {task: {class: weight}}, "
            f"got {type(class_weight).__name__}"
        )
    made = {}
    for task, weights in class_weight.items():
        known = labels is not None and isinstance(weights, str) and task in loss.losses
        made[task] = _weights_of(weights, part_of("labels", labels, task) if known else None)
    return loss.with_class_weight(made)


def _weights_of(given: Any, labels: Any) -> Any:
    if not isinstance(given, str):
        return given
    if given != "balanced":
        raise ShapeError(f"class_weight: expected weights or 'balanced', got {given!r}")
    if labels is None:
        raise ShapeError(
            "class_weight: 'balanced' needs the labels of all training images: "
            "call fit, with a Loader or a data set"
        )
    return balanced_weights(labels)


def _by_task(what: str, given: Any) -> dict[str, Any]:
    if isinstance(given, Mapping):
        return {str(name): value for name, value in given.items()}
    if isinstance(given, Sequence) and not isinstance(given, str):
        return {str(number): value for number, value in enumerate(given)}
    raise DTypeError(
        f"MultiLoss: {what} must be a mapping or a sequence, got {type(given).__name__}"
    )


def part_of(what: str, whole: Any, task: str) -> Any:
    """What a task has of a dictionary or tuple of outputs or labels."""
    if isinstance(whole, Mapping):
        if task not in whole:
            raise ShapeError(
                f"MultiLoss: {what} have {', '.join(map(str, whole)) or 'nothing'}, but no {task!r}"
            )
        return whole[task]
    if isinstance(whole, (tuple, list)):
        if not task.isdigit() or int(task) >= len(whole):
            raise ShapeError(f"MultiLoss: {what} are {len(whole)} arrays, but no {task!r}")
        return whole[int(task)]
    raise DTypeError(
        f"MultiLoss: {what} must be a dictionary or a tuple with a part for each task, "
        f"got {type(whole).__name__}"
    )


class ClassWeighted:
    """A loss whose images count as much as their class: `cross_entropy`'s `weight`.

    Args:
        loss: `functional.cross_entropy` or `nll_loss`, a `functools.partial` of these, `nn.CrossEntropyLoss` or
            `nn.NLLLoss` without weights of their own, or a function with an argument `class_weight`.
        weights: class -> factor, 1 for classes left out; or a factor for each class.

    As there, the mean over a batch divides by the sum of its images' weights.

    Raises:
        DTypeError: the loss takes no weights of classes.
        ShapeError: a weight is negative, or for a class that there is not (when called).
    """

    def __init__(
        self, loss: Loss, weights: Mapping[int, float] | Sequence[float] | NDArray
    ) -> None:
        self.loss, self._keyword = loss, _weight_argument(loss)
        given: Any = weights
        if not isinstance(weights, Mapping):
            array = np.asarray(weights)
            if array.ndim != 1 or array.dtype.kind not in "fiu":
                raise DTypeError(
                    "class_weight: expected a dictionary {class: weight} or a weight for each "
                    f"class, got {type(weights).__name__}"
                )
            given = dict(enumerate(array.tolist()))
        self._count = None if isinstance(weights, Mapping) else len(given)
        self.weights = {
            integer("class_weight", "a class", key, 0): number(
                "class_weight", f"the weight of class {key}", value, 0.0
            )
            for key, value in given.items()
        }

    def __call__(self, output: Any, labels: Any) -> Any:
        loss, options = self.for_outputs(output)
        return loss(output, labels, **options)

    def for_outputs(self, output: Any) -> tuple[Any, dict[str, Any]]:
        """The loss without weights, or a layer with them, and the arguments that give them to a function."""
        first = output[0] if isinstance(output, tuple) else output
        if first.ndim < 2:
            raise ShapeError(
                f"class_weight: outputs must be (N, classes, ...), got shape {first.shape}"
            )
        classes = first.shape[1]
        if any(key >= classes for key in self.weights) or self._count not in (None, classes):
            raise ShapeError(
                f"class_weight: there are weights for {len(self.weights)} classes up to "
                f"{max(self.weights)}, the network has {classes}"
            )
        weight = np.ones(classes, np.float64 if first.dtype == np.float64 else np.float32)
        for key, value in self.weights.items():
            weight[key] = value
        if self._keyword is None:
            loss: Any = copy.copy(self.loss)
            loss.weight = Tensor(weight)
            return loss, {}
        return self.loss, {self._keyword: weight}


def _weight_argument(loss: Any) -> str | None:
    """The name of the argument that takes weights; None for the layers that hold them."""
    if isinstance(loss, (CrossEntropyLoss, NLLLoss)):
        if loss.weight is not None:
            raise DTypeError(f"class_weight: the {type(loss).__name__} has weights already")
        return None
    plain = loss
    while isinstance(plain, functools.partial):
        if {"weight", "class_weight"} & set(plain.keywords):
            raise DTypeError("class_weight: the loss has weights already")
        plain = plain.func
    if plain in (F.cross_entropy, F.nll_loss):
        return "weight"
    try:
        if "class_weight" in inspect.signature(plain).parameters:
            return "class_weight"
    except (TypeError, ValueError):
        pass
    raise DTypeError(
        f"class_weight: {getattr(loss, '__name__', type(loss).__name__)} takes no weights of "
        "classes; expected cross_entropy, nll_loss or a function with an argument class_weight"
    )


def balanced_weights(labels: Any) -> dict[int, float]:
    """Weights with which each class that there is counts the same: images / (classes * images of the class).

    Args:
        labels: (N,) integers, not negative.

    Source: King & Zeng, "Logistic regression in rare events data" (2001); scikit-learn's "balanced".
    """
    array = np.asarray(labels)
    if array.ndim != 1 or array.dtype.kind not in "iu":
        raise DTypeError(
            f"class_weight: 'balanced' needs integer labels (N,), got {array.dtype} of shape {array.shape}"
        )
    if not len(array) or array.min() < 0:
        raise ShapeError("class_weight: 'balanced' needs labels, none of them negative")
    classes, counts = np.unique(array, return_counts=True)
    return {
        int(c): float(len(array) / (len(classes) * n)) for c, n in zip(classes, counts, strict=True)
    }


def soft_sharing(
    net_a: Any, net_b: Any, strength: float, *, names: Sequence[str] | None = None
) -> Callable[[], Any]:
    """A penalty that keeps two networks' parameters near each other: soft parameter sharing.

    strength * sum over pairs of ||a - b||^2, over the parameters that both have under the same name and in
    the same shape, of which the networks' heads may be excepted by having other names or shapes. To be given
    to `Trainer(penalties=...)`, with a network that holds both.

    Args:
        net_a, net_b: modules.
        strength: factor of the squared distance, at least 0.
        names: the parameters that are shared; by default all that fit.

    Returns:
        A function without arguments that gives a one-element Tensor.

    Raises:
        ShapeError: nothing fits, or a name of `names` does not.

    Source: Duong, Cohn, Bird & Cook, "Low resource dependency parsing: cross-lingual parameter sharing in a
    neural network parser" (2015).
    """
    factor = number("soft_sharing", "strength", strength, 0.0)
    first, second = dict(net_a.named_parameters()), dict(net_b.named_parameters())
    fitting = [n for n, p in first.items() if n in second and second[n].shape == p.shape]
    for name in names or ():
        if name not in fitting:
            raise ShapeError(f"soft_sharing: both networks need a parameter {name!r} of one shape")
    chosen = [n for n in fitting if names is None or n in names]
    if not chosen:
        raise ShapeError("soft_sharing: the networks have no parameters of one name and shape")
    pairs = [(first[n], second[n]) for n in chosen if first[n] is not second[n]]
    if not pairs:
        raise ShapeError(
            "soft_sharing: the two networks are one; its parameters are shared already"
        )

    def penalty() -> Any:
        terms = []
        for a, b in pairs:
            difference = F.sub(a, b)
            terms.append(F.sum(F.mul(difference, difference)))
        return F.mul(functools.reduce(F.add, terms), factor)

    return penalty
