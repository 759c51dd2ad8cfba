"""What layers give for an image, and features of many images."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from .._arrays import NDArray
from ..errors import FastconvError, ShapeError
from ..nn import Conv2d, Linear, Module
from ..nn._args import choice
from ..tensor import Tensor, no_grad
from ..train.evaluation import network_input
from .examples import in_order
from .layers import (
    checked_net,
    evaluating,
    find_layer,
    image_batch,
    net_dtype,
    nodes_of,
    watched,
)

__all__ = ["feature_maps", "features_for_tsne"]

_KINDS = ("mean", "flat")


def feature_maps(
    net: Module, image: Any, layers: Sequence[str] | None = None
) -> dict[str, NDArray]:
    """What every layer of a network gives for one image, in evaluation mode.

    Args:
        net: a network; its mode is afterwards what it was.
        image: network input, (C, H, W) or (1, C, H, W), floating, prepared as for training.
        layers: names of modules as `named_modules` has them, also of blocks of layers. By default
            every module without submodules, or with parameters of its own, that is called.

    Returns:
        Name -> array without the batch's dimension, (K, P, Q) of a convolution and (features,) of a
        linear layer, in the order of execution; new arrays. What a layer gives the second time is
        called "<name> #2", and so on. Results that are no single array are left out.

    Raises:
        ShapeError: the image has another shape, there is no layer of that name, or it is not called.
        DTypeError: the image is not floating, or `net` no network.
    """
    x = image_batch("feature_maps", net, image)
    chosen = None
    if layers is not None:
        chosen = list(dict.fromkeys(find_layer("feature_maps", net, n)[0] for n in layers))
    found: dict[str, NDArray] = {}
    calls: dict[str, int] = {}

    def note(name: str, result: Any) -> None:
        calls[name] = calls.get(name, 0) + 1
        if isinstance(result, Tensor) and result.shape[:1] == (1,):
            key = name if calls[name] == 1 else f"{name} #{calls[name]}"
            found[key] = np.array(result.numpy()[0])

    with evaluating(net), no_grad(), watched(net, note, chosen):
        net(Tensor(x))
    for name in chosen or ():
        if name not in calls:
            raise ShapeError(f"feature_maps: the network does not call {name!r}")
    return found


def features_for_tsne(
    net: Module, data: Any, layer: str | None = None, *, pool: str = "mean"
) -> tuple[NDArray, NDArray]:
    """Features of all images of a data set at one layer, as t-SNE, PCA or nearest neighbours want them.

    Args:
        net: a network, run in evaluation mode.
        data: a data set, a Loader (its data set in the stored order, with its transform), or a list of
            batches (images, labels).
        layer: a module's name; its result is taken. By default what goes into the last linear
            layer or convolution.
        pool: "mean": maps (K, P, Q) become their K means; "flat": all K * P * Q values.

    Returns:
        float32 (n, features) and the labels (n,), in the order of `data`. For instance
        `sklearn.manifold.TSNE().fit_transform(features)`.

    Raises:
        ShapeError: there are no images, no such layer, or it gives no array with a row an image.
        FastconvError: a feature is not finite.
        DTypeError: arguments are of another type.
    """
    choice("features_for_tsne", "pool", pool, _KINDS)
    checked_net("features_for_tsne", net)
    head: Any = None
    name = "" if layer is None else find_layer("features_for_tsne", net, layer)[0]
    rows: list[NDArray] = []
    labels: list[NDArray] = []
    seen: list[Any] = []

    def keep(module: Module, args: tuple[Any, ...], result: Any) -> None:
        seen.append(args[0])

    with evaluating(net), no_grad():
        for batch in in_order("features_for_tsne", data):
            x = network_input(net, batch.inputs, net_dtype(net))
            seen.clear()
            if layer is not None:
                with watched(net, lambda name, result: seen.append(result), [name]):
                    net(x)
            else:
                if head is None:
                    name, head = _last_weighted(net, x)
                handle = head.register_forward_hook(keep)
                try:
                    net(x)
                finally:
                    handle.remove()
            rows.append(_rows(name, seen, len(batch.labels), pool))
            labels.append(np.asarray(batch.labels))
    if not rows:
        raise ShapeError("features_for_tsne: data has no images")
    return np.concatenate(rows), np.concatenate(labels)


def _last_weighted(net: Module, x: Tensor) -> tuple[str, Module]:
    """The linear layer or convolution that is called last."""
    called: list[str] = []
    nodes = nodes_of(net)
    names = [n for n, m in net.named_modules() if isinstance(m, (Linear, Conv2d))]
    if nodes is not None:
        raise ShapeError(
            f"features_for_tsne: name a layer of the ONNX file, such as {next(reversed(nodes))!r}"
        )
    with watched(net, lambda name, result: called.append(name), names):
        net(Tensor(x.numpy()[:1]))
    if not called:
        raise ShapeError(
            "features_for_tsne: the network calls no linear layer or convolution: name a layer"
        )
    return called[-1], find_layer("features_for_tsne", net, called[-1])[1]


def _rows(name: str, seen: list[Any], count: int, pool: str) -> NDArray:
    if not seen:
        raise ShapeError(f"features_for_tsne: the network does not call {name!r}")
    value = seen[-1]
    if not isinstance(value, Tensor) or value.ndim < 2 or value.shape[0] != count:
        raise ShapeError(f"features_for_tsne: {name!r} has no array with a row for each image")
    array = value.numpy().astype(np.float32)
    if pool == "mean" and array.ndim > 2:
        array = array.mean(axis=tuple(range(2, array.ndim)), dtype=np.float64).astype(np.float32)
    array = array.reshape(count, -1)
    if not np.isfinite(array).all():
        raise FastconvError(f"features_for_tsne: {name!r} gives values that are not finite")
    return np.array(array)
