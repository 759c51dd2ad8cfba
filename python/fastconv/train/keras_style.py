"""Keras's way of training: `compile`, `fit`, `evaluate`, `predict`, as a thin layer on `Trainer`."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from .. import functional as F
from .. import optim
from .._arrays import NDArray
from .._pieces import cut, label_arrays, map_labels
from ..data import ArrayDataset, Loader
from ..data.augment.keras_flow import Flow
from ..errors import DTypeError, ShapeError
from ..nn import CrossEntropyLoss
from ..nn._args import choice, integer, number
from .callbacks import Callback
from .diagnosis import Diagnosis, evaluate_parts
from .evaluation import evaluate
from .image_weights import image_weights
from .keras_batches import keras_batches
from .losses import MultiLoss
from .metrics import AnyMetric, Metric, TopK
from .trainer import Trainer

__all__ = ["History", "KerasStyle", "named_loss", "named_optimizer"]

# Keras's default rates.
_OPTIMIZERS: dict[str, tuple[Callable[..., Any], dict[str, Any]]] = {
    "sgd": (optim.SGD, {"lr": 0.01}),
    "adam": (optim.Adam, {"lr": 0.001}),
    "adamw": (optim.AdamW, {"lr": 0.001, "weight_decay": 0.004}),
    "rmsprop": (optim.RMSprop, {"lr": 0.001, "alpha": 0.9}),
}
_LOSSES: dict[str, Callable[[Any, Any], Any]] = {
    "sparse_categorical_crossentropy": F.cross_entropy,
    "categorical_crossentropy": F.cross_entropy,
    "binary_crossentropy": F.binary_cross_entropy_with_logits,
    "mean_squared_error": F.mse_loss,
    "mean_absolute_error": F.l1_loss,
    "huber": F.huber_loss,
}
_SHORT = {"mse": "mean_squared_error", "mae": "mean_absolute_error", "huber_loss": "huber"}


def _mean_squared(outputs: NDArray, labels: NDArray) -> float:
    return float(np.mean((outputs - labels.reshape(outputs.shape)) ** 2))


def _mean_absolute(outputs: NDArray, labels: NDArray) -> float:
    return float(np.mean(np.abs(outputs - labels.reshape(outputs.shape))))


def _binary_accuracy(outputs: NDArray, labels: NDArray) -> float:
    return float(np.mean((outputs > 0) == (labels.reshape(outputs.shape) > 0.5)))


_METRICS: dict[str, Callable[[], AnyMetric]] = {
    "top_k_categorical_accuracy": lambda: TopK(5),
    "sparse_top_k_categorical_accuracy": lambda: TopK(5),
    "binary_accuracy": lambda: _binary_accuracy,
    "mean_squared_error": lambda: _mean_squared,
    "mse": lambda: _mean_squared,
    "mean_absolute_error": lambda: _mean_absolute,
    "mae": lambda: _mean_absolute,
}
_ACCURACY = ("accuracy", "acc", "categorical_accuracy", "sparse_categorical_accuracy")


@dataclass
class History:
    """What `KerasStyle.fit` returns.

    Attributes:
        history: name -> a value for each epoch of this call: "loss", "val_loss", the metrics, "learning_rate".
        epoch: the epochs' numbers, from 0.
    """

    history: dict[str, list[Any]] = field(default_factory=dict)
    epoch: list[int] = field(default_factory=list)


class KerasStyle:
    """A network with Keras's methods.

    Networks return scores, so losses are Keras's with `from_logits=True`. Arrays of images are (N, C, H, W), or
    (N, H, W) for one channel, and go into the network as they are, converted to float32.

    Args:
        net: a `nn.Module`.

    Attributes:
        net: as given. trainer: the `Trainer` that `compile` makes. history: of the last `fit`.

    ```python
    model = fc.train.KerasStyle(fc.models.lenet5())
    model.compile(optimizer="adam", loss="sparse_categorical_crossentropy", metrics=["accuracy"])
    history = model.fit(x, y, epochs=5, validation_split=0.1)
    ```
    """

    def __init__(self, net: Any) -> None:
        if not callable(getattr(net, "named_parameters", None)):
            raise DTypeError(f"KerasStyle: net is a {type(net).__name__}, expected a Module")
        self.net = net
        self.trainer: Trainer | None = None
        self.history: History | None = None
        self._accuracy = False

    def compile(
        self,
        optimizer: Any = "rmsprop",
        loss: Any = None,
        metrics: Sequence[Any] | Mapping[str, Any] | None = None,
        loss_weights: Any = None,
        **options: Any,
    ) -> None:
        """Say how the network is trained; begins anew with steps and epochs, not with the weights.

        Args:
            optimizer: "sgd", "adam", "adamw", "rmsprop" with Keras's default rates, or one of `fastconv.optim`
                over the network's parameters.
            loss: "sparse_categorical_crossentropy" (integer labels), "categorical_crossentropy" (one-hot labels or
                probabilities), "binary_crossentropy", "mse", "mae", "huber"; a function of (output, labels);
                for several outputs a dictionary or list of these.
            metrics: names ("accuracy", "top_k_categorical_accuracy", "binary_accuracy", "mse", "mae"), `Metric`
                objects and functions of (outputs, labels), in a list; or name -> one of those.
            loss_weights: as of `Trainer`.
            options: more arguments of `Trainer`, such as `dtype`, `clip_grad_norm`, `out_dir`, `seed`.

        Raises:
            ShapeError: a name is unknown. DTypeError: an argument is of another type.
        """
        if loss is None:
            raise ShapeError("KerasStyle.compile: a loss is needed")
        self._accuracy, chosen = _chosen_metrics(metrics)
        if isinstance(optimizer, str):
            optimizer = named_optimizer("KerasStyle.compile", optimizer, self.net)
        self.trainer = Trainer(
            self.net,
            named_loss("KerasStyle.compile", loss),
            optimizer,
            loss_weights=loss_weights,
            metrics=chosen,
            **options,
        )

    def fit(
        self,
        x: Any,
        y: Any = None,
        batch_size: int = 32,
        epochs: int = 1,
        verbose: str | int = "auto",
        callbacks: Sequence[Callback] = (),
        validation_split: float = 0.0,
        validation_data: Any = None,
        shuffle: bool = True,
        class_weight: Any = None,
        sample_weight: Any = None,
        initial_epoch: int = 0,
        steps_per_epoch: int | None = None,
        validation_steps: int | None = None,
    ) -> History:
        """Train for `epochs - initial_epoch` more epochs.

        Args:
            x: images, with their labels `y`; or without `y` a Loader, a data set, a flow of
                `fc.data.augment.ImageDataGenerator` (channels first or last) or batches.
            y: integers (N,), or what the loss takes; a dictionary or tuple of arrays for several outputs.
            batch_size: for arrays and data sets.
            verbose: 0: nothing is printed.
            callbacks: of `fastconv.train`.
            validation_split: share of the arrays, the last of them, that is validated with.
            validation_data: (x, y), or a Loader, a data set, a flow or batches; takes precedence.
            shuffle: a new order for each epoch.
            class_weight: {class: weight}, as of `Trainer`.
            sample_weight: (N,), how much each of the arrays' images counts in training, at least 0; as in Keras
                the sum of weighted losses is divided by the number of images, and validation is without.
            initial_epoch: the number of the first epoch, as in Keras.
            steps_per_epoch, validation_steps: batches of a flow, a list of batches or a generator without end that
                make an epoch or a validation; None: all there are.

        Raises:
            ShapeError, DTypeError: arguments do not fit; `compile` has not been called.
        """
        op = "KerasStyle.fit"
        trainer = self._compiled(op)
        last = integer(op, "epochs", epochs, 0)
        first = integer(op, "initial_epoch", initial_epoch, 0)
        size = integer(op, "batch_size", batch_size, 1)
        split = number(op, "validation_split", validation_split, 0.0, 1.0)
        targets = trainer.targets
        train, val = x, validation_data
        if y is not None and (steps_per_epoch is not None or validation_steps is not None):
            raise ShapeError(
                f"{op}: steps_per_epoch and validation_steps are for flows and batches, without y"
            )
        if y is not None:
            train, val, targets = self._arrays(
                op, trainer, x, y, split, validation_data, size, shuffle, sample_weight
            )
        elif sample_weight is not None:
            raise ShapeError(f"{op}: sample_weight is for arrays x and y; data sets have `weights`")
        elif split:
            raise ShapeError(f"{op}: validation_split is for arrays x and y")
        elif isinstance(val, tuple) and len(val) == 2 and isinstance(val[0], np.ndarray):
            val = list(_batches_of_arrays(op, *val, trainer.loss, size))
        if y is None:
            train = self._batches(op, train, steps_per_epoch, "steps_per_epoch")
            val = (
                val if val is None else self._batches(op, val, validation_steps, "validation_steps")
            )
        done = len(trainer.history)
        with _set_meanwhile(
            trainer,
            batch_size=size,
            targets=targets,
            callbacks=[*trainer.callbacks, *callbacks],
            class_weight=trainer.class_weight if class_weight is None else class_weight,
        ):
            if last > first:
                target = trainer.epoch + last - first
                trainer.fit(train, val, target, progress=verbose not in (0, "0", False))
        self.history = self._history(trainer.history[done:], first)
        return self.history

    def evaluate(
        self,
        x: Any,
        y: Any = None,
        batch_size: int = 32,
        verbose: str | int = "auto",
        return_dict: bool = False,
        steps: int | None = None,
    ) -> Any:
        """The loss and the metrics: a number without metrics, a list [loss, metrics ...] with them, or with
        `return_dict` a dictionary. `steps`: batches of a flow or of a generator without end; `verbose` is there
        for Keras's sake. Arguments and errors as of `fit`."""
        op = "KerasStyle.evaluate"
        trainer = self._compiled(op)
        data = (
            self._batches(op, x, steps, "steps")
            if y is None
            else list(_batches_of_arrays(op, x, y, trainer.loss, batch_size))
        )
        with trainer._evaluated(), trainer._precision():
            found = evaluate(
                trainer.net, trainer.loss, data, metrics=trainer.metrics, dtype=trainer.dtype
            )
        kept = {name: value for name, value in found.items() if self._keeps(name)}
        if return_dict:
            return kept
        return kept["loss"] if len(kept) == 1 else list(kept.values())

    def predict(
        self, x: Any, batch_size: int = 32, verbose: str | int = "auto", steps: int | None = None
    ) -> Any:
        """The network's output: see `Trainer.predict`; of a flow in its order, which is the stored one only with
        `shuffle=False`. `steps` and `verbose` as of `evaluate`."""
        op = "KerasStyle.predict"
        trainer = self._compiled(op)
        if isinstance(x, np.ndarray):
            x = _images(op, x)
        elif isinstance(x, Flow) or steps is not None:
            x = self._batches(op, x, steps, "steps")
        return trainer.predict(x, batch_size=batch_size)

    def evaluate_parts(
        self, parts: Mapping[str, Any], human: float | None = None, batch_size: int = 32
    ) -> Diagnosis:
        """Measure the error on "train", "bridge", "dev" and "test", each (x, y) or data, and diagnose; see
        `fastconv.train.evaluate_parts`, which keeps the figures in the `out_dir`."""
        op = "KerasStyle.evaluate_parts"
        trainer = self._compiled(op)
        data = {
            name: list(_batches_of_arrays(op, *part, trainer.loss, batch_size))
            if isinstance(part, tuple) and len(part) == 2
            else self._batches(op, part)
            for name, part in parts.items()
        }
        return evaluate_parts(trainer, data, human)

    def _batches(self, op: str, data: Any, steps: Any = None, name: str = "steps") -> Any:
        loss = self._compiled(op).loss
        return keras_batches(op, data, lambda y: _labels(op, y, loss), steps, name)

    def _compiled(self, op: str) -> Trainer:
        if self.trainer is None:
            raise ShapeError(f"{op}: call compile first")
        return self.trainer

    def _keeps(self, name: str) -> bool:
        return name != "images" and (
            self._accuracy
            or not name.endswith("accuracy")
            or name in (self.trainer.metrics if self.trainer else ())
        )

    def _history(self, records: Sequence[Mapping[str, Any]], first: int) -> History:
        made = History(epoch=list(range(first, first + len(records))))
        for record in records:
            for name, value in record.items():
                plain = name.removeprefix("train_")
                inner = plain.removeprefix("val_")
                if name in ("epoch", "seconds", "images_per_second") or not self._keeps(inner):
                    continue
                made.history.setdefault(plain, []).append(value)
        return made

    def _arrays(
        self,
        op: str,
        trainer: Trainer,
        x: Any,
        y: Any,
        split: float,
        validation_data: Any,
        size: int,
        shuffle: bool,
        weights: Any,
    ) -> tuple[Loader, Loader | Any, Callable[[Any], Any]]:
        """Loaders whose labels are rows of all the labels, and what looks these up."""
        images, labels = _images(op, x), _labels(op, y, trainer.loss)
        _check_lengths(op, images, labels)
        count = len(images)
        weights = None if weights is None else image_weights(op, weights, count, np.float32)
        val_images = None
        if validation_data is not None:
            if not isinstance(validation_data, tuple) or len(validation_data) != 2:
                raise DTypeError(f"{op}: validation_data must be (x, y) where x and y are arrays")
            val_images = _images(op, validation_data[0])
            val_labels = _labels(op, validation_data[1], trainer.loss)
            _check_lengths(op, val_images, val_labels)
            labels = _joined(labels, val_labels)
        elif split:
            count = len(images) - int(len(images) * split)
            if not 0 < count < len(images):
                raise ShapeError(
                    f"{op}: validation_split={split:g} of {len(images)} images leaves no images "
                    "for training or for validation"
                )
            val_images, images = images[count:], images[:count]
            weights = None if weights is None else weights[:count]
        train = _loader(images, 0, size, shuffle, trainer.seed, weights)
        val = None if val_images is None else _loader(val_images, count, size, False, 0)
        return train, val, lambda rows: map_labels(lambda array: array[rows], labels)


@contextmanager
def _set_meanwhile(owner: Any, **values: Any) -> Iterator[None]:
    """Attributes that are afterwards what they were."""
    before = {name: getattr(owner, name) for name in values}
    try:
        for name, value in values.items():
            setattr(owner, name, value)
        yield
    finally:
        for name, value in before.items():
            setattr(owner, name, value)


def named_optimizer(op: str, name: str, net: Any, rate: float | None = None) -> Any:
    """An optimiser over a network's parameters by Keras's name, with its default rate or another."""
    kind, options = _OPTIMIZERS[choice(op, "optimizer", name.lower(), tuple(_OPTIMIZERS))]
    return kind(net.parameters(), **{**options, **({} if rate is None else {"lr": rate})})


def named_loss(op: str, loss: Any) -> Any:
    """A loss by Keras's name; of dictionaries and lists each."""
    if isinstance(loss, Mapping):
        return {name: named_loss(op, each) for name, each in loss.items()}
    if isinstance(loss, (list, tuple)):
        return [named_loss(op, each) for each in loss]
    if isinstance(loss, str):
        return _LOSSES[choice(op, "loss", _SHORT.get(loss, loss), tuple(_LOSSES))]
    return loss


def _chosen_metrics(given: Any) -> tuple[bool, dict[str, Any]]:
    """Whether accuracy is wanted, and the other metrics by name."""
    if given is None:
        return False, {}
    if isinstance(given, str) or not isinstance(given, (Mapping, list, tuple)):
        raise DTypeError(
            f"KerasStyle.compile: metrics must be a list or a dictionary, got {type(given).__name__}"
        )
    entries = given.items() if isinstance(given, Mapping) else [(None, each) for each in given]
    accuracy = False
    chosen: dict[str, Any] = {}
    for key, metric in entries:
        if isinstance(metric, str) and metric in _ACCURACY:
            accuracy = True
            continue
        if isinstance(metric, str):
            name = choice("KerasStyle.compile", "metrics", metric, (*_ACCURACY, *_METRICS))
            chosen[key or name] = _METRICS[name]()
        elif isinstance(metric, Metric) or callable(metric):
            own = getattr(metric, "__name__", type(metric).__name__.lower())
            chosen[key or own] = metric
        elif isinstance(metric, Mapping):
            chosen[str(key)] = dict(metric)
        else:
            raise DTypeError(
                f"KerasStyle.compile: a metric is a {type(metric).__name__}, expected a name, "
                "a Metric or a function"
            )
    return accuracy, chosen


def _images(op: str, x: Any) -> NDArray:
    images = np.asarray(x)
    if images.dtype.kind not in "fiub":
        raise DTypeError(f"{op}: x must be images, got {images.dtype}")
    if images.ndim not in (3, 4):
        raise ShapeError(f"{op}: x must be (N, C, H, W) or (N, H, W), got shape {images.shape}")
    if images.dtype not in (np.uint8, np.float32):
        images = images.astype(np.float32)
    return images[:, None] if images.ndim == 3 else images


def _labels(op: str, y: Any, loss: Any) -> Any:
    """Labels as the loss takes them: integers (N,), float32 otherwise; a column where numbers are predicted."""

    def of(array: Any, loss: Any) -> NDArray:
        labels = np.asarray(array)
        if labels.dtype.kind not in "fiub":
            raise DTypeError(f"{op}: y must be numbers, got {labels.dtype}")
        whole = loss is F.cross_entropy or isinstance(loss, CrossEntropyLoss)
        if whole and labels.ndim == 2 and labels.shape[1] == 1:
            labels = labels[:, 0]
        if whole and labels.ndim != 2:
            # flows with class_mode="sparse" have whole numbers in floats, as Keras's
            whole = labels.dtype.kind != "f" or bool((labels == np.trunc(labels)).all())
            return labels.astype(np.int64) if whole and np.isfinite(labels).all() else labels
        if labels.ndim == 1 and loss in _LOSSES.values():
            labels = labels[:, None]
        return (
            labels
            if labels.dtype.kind in "iu" and loss not in _LOSSES.values()
            else (labels.astype(np.float32))
        )

    if not isinstance(loss, MultiLoss):
        return of(y, loss)
    if isinstance(y, Mapping):
        return {k: of(v, loss.losses.get(str(k))) for k, v in y.items()}
    if isinstance(y, (list, tuple)):
        return tuple(of(v, loss.losses.get(str(i))) for i, v in enumerate(y))
    raise DTypeError(f"{op}: y must be a dictionary or a list, for several losses")


def _check_lengths(op: str, images: NDArray, labels: Any) -> None:
    for array in label_arrays(labels):
        if not array.ndim or len(array) != len(images):
            raise ShapeError(
                f"{op}: y has shape {array.shape}, expected {len(images)} labels for as many images"
            )


def _joined(first: Any, second: Any) -> Any:
    if isinstance(first, Mapping):
        return {k: np.concatenate([v, second[k]]) for k, v in first.items()}
    if isinstance(first, tuple):
        return tuple(np.concatenate(pair) for pair in zip(first, second, strict=True))
    return np.concatenate([first, second])


def _as_float32(images: NDArray) -> Any:
    return images.astype(np.float32, copy=False)


def _loader(
    images: NDArray, first: int, size: int, shuffle: bool, seed: int, weights: Any = None
) -> Loader:
    data = ArrayDataset(images, np.arange(first, first + len(images)), weights=weights)
    return Loader(data, size, shuffle=shuffle, seed=seed, transform=_as_float32)


def _batches_of_arrays(op: str, x: Any, y: Any, loss: Any, size: int) -> Any:
    images, labels = _images(op, x), _labels(op, y, loss)
    _check_lengths(op, images, labels)
    step = integer(op, "batch_size", size, 1)
    for first in range(0, len(images), step):
        part = slice(first, first + step)
        yield images[part], cut(labels, part)
