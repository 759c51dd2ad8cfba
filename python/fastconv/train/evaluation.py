"""A network in evaluation mode: its figures of merit, and its output."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np

from .._pieces import label_arrays, map_labels
from ..data import Dataset
from ..errors import CaptureError, ShapeError
from ..nn import Embedding
from ..program import Program
from ..tensor import Tensor, as_array, no_grad
from .batches import EVALUATION_BATCH, Data, as_loader
from .figures import Figures, Metrics, named_metrics, plain_output
from .losses import Loss, MultiLoss, part_of
from .metrics import Running, count_correct, softmax

__all__ = [
    "correct_of",
    "evaluate",
    "image_count",
    "network_input",
    "predict",
    "task_results",
]


def evaluate(
    net: Any,
    loss: Loss,
    data: Data,
    *,
    metrics: Metrics | None = None,
    targets: Callable[[Any], Any] | None = None,
    dtype: Any = "float32",
    stopping: Callable[[], bool] = bool,
    compile: bool = False,
) -> dict[str, Any]:
    """Mean loss and accuracy of a network in evaluation mode.

    Args:
        net: a `nn.Module`; its mode is afterwards what it was.
        loss: maps (output, labels) of a batch to its mean loss, a one-element Tensor. A `MultiLoss` for networks
            with several outputs; labels are then dictionaries or tuples, as the outputs are.
        data: a Loader, a data set, or batches (images, labels); weights of images are left aside.
        metrics: more figures: name -> `Metric`, or function of (outputs, labels) of a batch, its mean; or a list
            of these, called by the function's name or the class's in small letters. With a `MultiLoss` also
            task -> such a dictionary; its figures are called `<task>_<name>`. Else a metric gets the outputs and
            labels of all tasks.
        targets: makes of a batch's labels what the loss and the metrics take.
        dtype: what the images are converted to.
        stopping: asked after each batch whether to leave out the rest.
        compile: whether batches after the first, of its shape, run as one native call (`fastconv.compile`), which
            is faster from some batches on. Python in `forward` then runs once and what it does beside its result
            is left out; a second copy of the weights is made; the first batch may differ in rounding.

    Returns:
        `loss` and `accuracy` (0 to 1; absent where the output is not one score per class),
        `images`, the `metrics`, and of a `MultiLoss` each task's `<task>_loss` and `<task>_accuracy`.

    Raises:
        ShapeError: there is no image.
        FastconvError: a metric is not finite.
    """
    sums, figures = Running(), Figures("evaluate", named_metrics("evaluate", metrics), loss)
    with _evaluation_mode(net):
        forward = _Forward(net, compile)
        for x, labels, *_ in as_loader(data):
            labels = labels if targets is None else targets(labels)
            output = forward(network_input(net, x, dtype))
            value = float(loss(output, labels).item())
            count = image_count(labels)
            tasks = task_results(loss, output, labels)
            sums.add(value, correct_of(output, labels), count, tasks)
            figures.update(plain_output(output), labels, count)
            if stopping():
                break
    if not sums.images:
        raise ShapeError("evaluate: data has no images")
    own = {"loss": sums.loss, "images": sums.images, **sums.figures()}
    return {**own, **figures.results()}


def predict(
    net: Any,
    data: Any,
    *,
    batch_size: int = EVALUATION_BATCH,
    probabilities: bool = False,
    dtype: Any = "float32",
    compile: bool = False,
    tta: Any = None,
    times: int = 8,
) -> Any:
    """The output of a network in evaluation mode.

    Args:
        net: a `nn.Module`; its mode is afterwards what it was.
        data: an array (N, C, H, W) of network input, or a Loader, data set or batches,
            whose labels are left aside.
        batch_size: images at a time, for an array.
        probabilities: softmax over the last dimension of the output.
        dtype: what the images are converted to.
        compile: whether batches after the first, of its shape, run as one native call (`fastconv.compile`), which
            is faster from some batches on. Python in `forward` then runs once and what it does beside its result
            is left out; a second copy of the weights is made; the first batch may differ in rounding.
        tta: test-time augmentation: the result is the mean of the probabilities (softmax) over views of each
            image, whatever `probabilities` says. "flip": as it is and with left and right exchanged; "crops5":
            its corners and its middle, 7/8 of both sides each, in the image's size; or an augmentation of
            `fastconv.data.augment`, called `times` times. That gets stored images where `data` is a data set or
            a Loader (in stored order), and network input else.
        times: views that an augmentation makes.

    Returns:
        Outputs of all images, in order: (N, classes) for a classifier. A dictionary or tuple of them where the
        network returns one.

    Raises:
        ShapeError: there is no image, or an array has fewer than two dimensions.
        ShapeError, DTypeError: `tta` is none of these, or images have not four dimensions; a Loader shuffles.
    """
    if batch_size < 1:
        raise ShapeError(f"predict: batch_size must be at least 1, got {batch_size}")
    with _evaluation_mode(net):
        forward = _Forward(net, compile)

        def outputs_of(batches: Iterable[Any]) -> Any:
            outputs = [plain_output(forward(network_input(net, x, dtype))) for x in batches]
            if not outputs:
                raise ShapeError("predict: data has no images")
            return _joined(outputs)

        if tta is None:
            output = outputs_of(_images_of(data, batch_size))
            return map_labels(softmax, output) if probabilities else output
        from .test_time import averaged

        return averaged(
            lambda batches: map_labels(softmax, outputs_of(batches)),
            data,
            lambda source: _images_of(source, batch_size),
            _joined,
            tta,
            times,
            batch_size,
        )


def _images_of(data: Any, batch_size: int) -> Iterable[Any]:
    """The images of `predict`'s data, batch by batch."""
    array_like = hasattr(data, "__array__") or hasattr(data, "__dlpack__")
    if isinstance(data, Dataset) or (isinstance(data, Iterable) and not array_like):
        return (x for x, *_ in as_loader(data))
    array = as_array("predict", "data", data)
    if array.ndim < 2:
        raise ShapeError(f"predict: data must be a batch of images, got shape {array.shape}")
    return (array[i : i + batch_size] for i in range(0, len(array), batch_size))


def _joined(outputs: list[Any]) -> Any:
    """The outputs of batches as those of all images."""
    first = outputs[0]
    if isinstance(first, Mapping):
        return {k: _joined([o[k] for o in outputs]) for k in first}
    if isinstance(first, tuple):
        return tuple(_joined(list(each)) for each in zip(*outputs, strict=True))
    return np.concatenate(outputs)


class _Forward:
    """A network in evaluation mode, with `compile` as a program for batches like the first. What cannot be one,
    draws random numbers, is hooked, or has several outputs, runs as it is."""

    def __init__(self, net: Any, compile: bool) -> None:
        self._net, self._compile = net, compile
        self._first: tuple[Any, ...] | None = None
        self._program: Program | None = None

    def __call__(self, x: Tensor) -> Any:
        if self._compile and self._first == (x.shape, x.dtype):
            try:
                if self._program is None:
                    self._program = Program(self._net, x.numpy())
                    if self._program.random:
                        raise CaptureError("predict: random numbers")
                return Tensor(self._program(x.numpy()))
            except Exception:  # the network itself says what is wrong
                self._compile, self._program = False, None
        output = self._net(x)
        if self._compile and self._first is None:
            self._first = (x.shape, x.dtype)
            hooked = any(module._hooks for _, module in self._net.named_modules())
            self._compile = isinstance(output, Tensor) and not hooked
        return output


def network_input(net: Any, x: Any, dtype: Any) -> Tensor:
    """A batch as a Tensor of the network's element type; not copied where it has that.

    Integers become int64 where the network has an embedding, which looks them up.
    """
    array = as_array("Trainer", "x", x)
    if array.dtype.kind in "iu" and any(isinstance(m, Embedding) for m in net.modules()):
        dtype = np.int64
    return Tensor(array.astype(dtype, copy=False))


def correct_of(output: Any, labels: Any) -> int | None:
    """`count_correct` of a network's output, of several the one called `logits`; None where there is none, or
    the labels are no array."""
    output = getattr(output, "logits", output)
    if not isinstance(output, (Tensor, np.ndarray)):
        return None
    try:
        array = np.asarray(labels)
    except ValueError:  # arrays of several shapes
        return None
    return count_correct(np.asarray(output), array)


def image_count(labels: Any) -> int:
    """How many images a batch's labels are for."""
    arrays = label_arrays(labels)
    if not arrays:
        raise ShapeError("Trainer: labels are an empty dictionary or tuple")
    return len(arrays[0])


def task_results(loss: Any, output: Any, labels: Any) -> dict[str, tuple[float, int | None]]:
    """Of each task of a `MultiLoss` the mean loss of a batch and the right answers; of another loss nothing."""
    if not isinstance(loss, MultiLoss):
        return {}
    with no_grad():
        return {
            name: (
                float(np.asarray(part).reshape(())),
                correct_of(part_of("outputs", output, name), part_of("labels", labels, name)),
            )
            for name, part in loss.parts(output, labels).items()
        }


@contextmanager
def _evaluation_mode(net: Any) -> Iterator[None]:
    training = net.training
    net.eval()
    try:
        with no_grad():
            yield
    finally:
        net.train(training)
