"""Which part of an image a network's answer comes from."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from .. import functional as F
from .._arrays import NDArray
from ..errors import FastconvError, ShapeError
from ..nn import Module
from ..nn._args import integer
from ..tensor import Tensor, enable_grad, no_grad
from .layers import (
    before_softmax,
    convolutions,
    evaluating,
    find_layer,
    image_batch,
    nodes_of,
    watched,
)

__all__ = ["cam_layer", "grad_cam", "saliency"]


def grad_cam(
    net: Module,
    image: Any,
    target: int | None = None,
    layer: str | None = None,
    *,
    raw: bool = False,
) -> NDArray:
    """Grad-CAM: how much each place of an image speaks for a class, seen at a layer of maps.

    The layer's maps A_k are added up with the weights mean(d score / d A_k) over the map, and what is below
    zero is cut off.

    Args:
        net: a classifier, (N, C, H, W) -> scores (N, classes) before softmax (of an ONNX file that ends with one
            what goes into it); run in evaluation mode. Its
            modes, gradients and `requires_grad` are afterwards as they were.
        image: network input, (C, H, W) or (1, C, H, W), floating, prepared as for training.
        target: the class; by default the one with the highest score.
        layer: name of a module that gives maps (1, K, P, Q); by default `cam_layer`.
        raw: the sums themselves, in (P, Q).

    Returns:
        float32 (H, W), the sums resized to the image (bilinear) and divided by their maximum: 0 to 1, all 0
        where nothing speaks for the class. With `raw` (P, Q).

    Raises:
        ShapeError: image, target or layer do not fit.
        FastconvError: scores are not finite.
        DTypeError: arguments are of another type.

    Source: Selvaraju et al., "Grad-CAM: visual explanations from deep networks via gradient-based
    localization" (2017).
    """
    x = image_batch("grad_cam", net, image)
    name = cam_layer(net, image) if layer is None else find_layer("grad_cam", net, layer)[0]
    maps: list[Tensor] = []

    def cut(_: str, result: Any) -> Any:
        if not isinstance(result, Tensor) or result.ndim != 4:
            raise ShapeError(f"grad_cam: {name!r} gives no maps (1, K, P, Q)")
        maps[:] = [Tensor(result.numpy(), requires_grad=True)]  # the tape begins here
        return maps[0]

    with (
        evaluating(net),
        _frozen(net),
        enable_grad(),
        before_softmax(net),
        watched(net, cut, [name]),
    ):
        scores = net(Tensor(x))
        if not maps:
            raise ShapeError(f"grad_cam: the network does not call {name!r}")
        _backward("grad_cam", scores, target)
    sums = np.zeros(maps[0].shape[2:], np.float64)
    if maps[0].grad is not None:
        gradient = maps[0].grad.numpy()[0].astype(np.float64)
        weights = gradient.mean(axis=(1, 2))
        sums = np.maximum(np.tensordot(weights, maps[0].numpy()[0].astype(np.float64), 1), 0.0)
    if raw:
        return sums.astype(np.float32)
    largest = sums.max()
    scaled = (sums / largest if largest > 0 else sums).astype(np.float32)
    height, width = x.shape[2:]
    resized = F.interpolate(scaled[np.newaxis, np.newaxis], (height, width), mode="bilinear")
    result = np.asarray(resized)[0, 0]
    peak = float(result.max())
    return np.array(result / peak if peak > 0 else result, np.float32)


def saliency(net: Module, image: Any, target: int | None = None) -> NDArray:
    """How much a class's score changes with each pixel: |d score / d pixel|, the largest over the channels.

    Args:
        net, image, target: as of `grad_cam`.

    Returns:
        float32 (H, W), not scaled: change of the score by the change of a pixel of network input.

    Raises: as `grad_cam`.

    Source: Simonyan, Vedaldi & Zisserman, "Deep inside convolutional networks" (2013).
    """
    x = Tensor(image_batch("saliency", net, image), requires_grad=True)
    with evaluating(net), _frozen(net), enable_grad(), before_softmax(net):
        _backward("saliency", net(x), target)
    if x.grad is None:
        return np.zeros(x.shape[2:], np.float32)
    return np.asarray(np.abs(x.grad.numpy()[0]).max(axis=0), np.float32)


def cam_layer(net: Module, image: Any) -> str:
    """The layer that `grad_cam` looks at by default: behind the last convolution whose maps have more than
    one place, the last module that gives maps of the same size, such as its activation or its block.

    Raises:
        ShapeError: the network has no such convolution, or the image does not fit.
        DTypeError: arguments are of another type.
    """
    x = image_batch("cam_layer", net, image)
    names = None if nodes_of(net) is not None else [n for n, _ in net.named_modules() if n]
    found = set(convolutions(net))
    calls: list[tuple[str, tuple[int, ...]]] = []

    def note(name: str, result: Any) -> None:
        calls.append((name, result.shape if isinstance(result, Tensor) else ()))

    with evaluating(net), no_grad(), watched(net, note, names):
        net(Tensor(x))
    places = [i for i, (name, shape) in enumerate(calls) if name in found and shape[2:] > (1, 1)]
    if not places:
        raise ShapeError("cam_layer: the network has no convolution with maps larger than 1 x 1")
    last = places[-1]
    size = calls[last][1][2:]
    for i in range(last + 1, len(calls)):
        shape = calls[i][1]
        if len(shape) != 4 or shape[2:] != size:
            break
        last = i
    return calls[last][0]


@contextmanager
def _frozen(net: Module) -> Iterator[None]:
    """No gradients for parameters meanwhile."""
    learned = [p for p in net.parameters() if p.requires_grad]
    for parameter in learned:
        parameter.requires_grad = False
    try:
        yield
    finally:
        for parameter in learned:
            parameter.requires_grad = True


def _backward(op: str, scores: Any, target: int | None) -> None:
    """Gradients of one class's score."""
    scores = getattr(scores, "logits", scores)
    if not isinstance(scores, Tensor) or scores.ndim != 2 or scores.shape[0] != 1:
        raise ShapeError(f"{op}: the network gives no scores (1, classes)")
    row = scores.numpy()[0].astype(np.float64)
    if not np.isfinite(row).all():
        raise FastconvError(f"{op}: the network's scores are not finite")
    chosen = int(row.argmax()) if target is None else integer(op, "target", target, 0)
    if chosen >= len(row):
        raise ShapeError(f"{op}: target is {chosen}, expected a class from 0 to {len(row) - 1}")
    if scores.requires_grad:
        seed = np.zeros(scores.shape, scores.dtype)
        seed[0, chosen] = 1
        scores.backward(seed)
