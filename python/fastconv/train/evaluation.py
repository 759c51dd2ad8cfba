"""A network in evaluation mode: its figures of merit, and its output."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np

from .._arrays import NDArray
from .._ops import is_bfloat16
from ..data import Dataset, Loader
from ..errors import CaptureError, ShapeError
from ..nn import Embedding
from ..program import Program
from ..tensor import Tensor, as_array, no_grad
from .batches import EVALUATION_BATCH, Data, as_loader
from .metrics import Metric, Running, count_correct, softmax

__all__ = ["correct_of", "evaluate", "network_input", "predict"]


def evaluate(
    net: Any,
    loss: Callable[[Any, Any], Any],
    data: Data,
    *,
    metrics: Mapping[str, Metric] | None = None,
    dtype: Any = "float32",
    stopping: Callable[[], bool] = bool,
    compile: bool = False,
) -> dict[str, Any]:
    """Mean loss and accuracy of a network in evaluation mode.

    Args:
        net: a `nn.Module`; its mode is afterwards what it was.
        loss: maps (output, labels) of a batch to its mean loss, a one-element Tensor.
        data: a Loader, a data set, or batches (images, labels).
        metrics: more figures: name -> function of (outputs, labels) of a batch, its mean.
        dtype: what the images are converted to.
        stopping: asked after each batch whether to leave out the rest.
        compile: whether batches after the first, of its shape, run as one native call (`fastconv.compile`), which
            is faster from some batches on. Python in `forward` then runs once and what it does beside its result
            is left out; a second copy of the weights is made; the first batch may differ in rounding.

    Returns:
        `loss` and `accuracy` (0 to 1; absent where the output is not one score per class),
        `images`, and the `metrics`.

    Raises:
        ShapeError: there is no image.
    """
    sums, totals = Running(), dict.fromkeys(metrics or {}, 0.0)
    with _evaluation_mode(net):
        forward = _Forward(net, compile)
        for x, labels in as_loader(data):
            output = forward(network_input(net, x, dtype))
            value = float(loss(output, labels).item())
            sums.add(value, correct_of(output, labels), len(labels))
            for name, metric in (metrics or {}).items():
                mean = metric(_plain(output), np.asarray(labels))
                totals[name] += float(mean) * len(labels)
            if stopping():
                break
    if not sums.images:
        raise ShapeError("evaluate: data has no images")
    result: dict[str, Any] = {"loss": sums.loss, "images": sums.images}
    if sums.accuracy is not None:
        result["accuracy"] = sums.accuracy
    return {**result, **{name: total / sums.images for name, total in totals.items()}}


def predict(
    net: Any,
    data: Any,
    *,
    batch_size: int = EVALUATION_BATCH,
    probabilities: bool = False,
    dtype: Any = "float32",
    compile: bool = False,
) -> NDArray:
    """The output of a network in evaluation mode.

    Args:
        net: a `nn.Module`; its mode is afterwards what it was.
        data: an array (N, C, H, W) of network input, or a Loader, data set or list of batches,
            whose labels are left aside.
        batch_size: images at a time, for an array.
        probabilities: softmax over the last dimension of the output.
        dtype: what the images are converted to.
        compile: whether batches after the first, of its shape, run as one native call (`fastconv.compile`), which
            is faster from some batches on. Python in `forward` then runs once and what it does beside its result
            is left out; a second copy of the weights is made; the first batch may differ in rounding.

    Returns:
        Outputs of all images, in order: (N, classes) for a classifier.

    Raises:
        ShapeError: there is no image, or an array has fewer than two dimensions.
    """
    if batch_size < 1:
        raise ShapeError(f"predict: batch_size must be at least 1, got {batch_size}")
    if isinstance(data, (Loader, Dataset, list, tuple)):
        batches: Iterable[Any] = (x for x, _ in as_loader(data))
    else:
        array = as_array("predict", "data", data)
        if array.ndim < 2:
            raise ShapeError(f"predict: data must be a batch of images, got shape {array.shape}")
        batches = (array[i : i + batch_size] for i in range(0, len(array), batch_size))
    with _evaluation_mode(net):
        forward = _Forward(net, compile)
        outputs = [_plain(forward(network_input(net, x, dtype))) for x in batches]
    if not outputs:
        raise ShapeError("predict: data has no images")
    output = np.concatenate(outputs)
    return softmax(output) if probabilities else output


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


def _plain(output: Any) -> NDArray:
    """A network's output as NumPy computes with it: bfloat16 as float32."""
    array = np.asarray(output)
    return array.astype(np.float32) if is_bfloat16(array.dtype) else array


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


@contextmanager
def _evaluation_mode(net: Any) -> Iterator[None]:
    training = net.training
    net.eval()
    try:
        with no_grad():
            yield
    finally:
        net.train(training)
