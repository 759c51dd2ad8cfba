"""Batch normalisation for networks that were trained without."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, TypeVar

import numpy as np

from .._arrays import NDArray
from ..errors import DTypeError, FastconvError, ShapeError
from ..models import VGG
from ..nn import BatchNorm1d, BatchNorm2d, BatchNorm3d, Conv2d, Module, Sequential
from ..nn._args import number
from ..tensor import no_grad
from ..train.batches import as_loader
from ..train.evaluation import network_input

__all__ = ["insert_batch_norm"]

M = TypeVar("M", bound=Module)
_BATCH = 16
_PIECE = 1 << 22  # values that are looked at together in float64: 32 MB
_NORMS = (BatchNorm1d, BatchNorm2d, BatchNorm3d)


def insert_batch_norm(net: M, data: Any, *, eps: float = 1e-5, momentum: float = 0.1) -> M:
    """Put a `BatchNorm2d` behind each convolution of a trained network, before its activation, without changing
    the network's outputs in evaluation mode.

    Mean and variance of each convolution's results are measured over `data` and become the running statistics;
    weight = sqrt(variance + eps) and bias = mean undo the normalisation. Outputs change by rounding only. In
    training mode the batches' statistics are used as in any such network, which then trains on at higher rates.
    The layers have new names: those of `vgg16_bn`, where a `vgg16` is given, whose names are positions; else
    "<convolution's name>_norm". Make the optimiser afterwards.

    Args:
        net: a network whose convolutions stand in `Sequential`s: `vgg*`, `alexnet`, `lenet5`, or one's own. One
            that is followed by batch normalisation, or that gives the network's scores, stays as it is.
        data: images of the kind that the network was trained on: an array (N, C, H, W) of network input, a
            Loader, a data set or a list of batches.
        eps, momentum: of the new layers.

    Returns:
        `net`, changed in place; its mode is what it was. On an error nothing has changed.

    Raises:
        ShapeError: a convolution stands elsewhere (named), is used twice or not at all, all are normalised
            already, there are fewer than two values of a channel, or a number is out of range.
        DTypeError: the network is bfloat16, or an argument is of the wrong type.
        FastconvError: a convolution's results are not finite.

    Source: Ioffe & Szegedy, "Batch normalization" (2015): the transform can represent the identity.
    """
    op = "insert_batch_norm"
    if not isinstance(net, Module):
        raise DTypeError(f"{op}: expected a Module, got {type(net).__name__}")
    eps = number(op, "eps", eps, 0.0)
    if eps == 0.0:
        raise ShapeError(f"{op}: eps must be above 0, got 0")
    momentum = number(op, "momentum", momentum, 0.0, 1.0)
    places = list(_places(op, net))
    moments = _measured(op, net, [(name, layer) for name, layer, _, _ in places], data)
    made: dict[int, list[tuple[Conv2d, BatchNorm2d]]] = {}
    holders: dict[int, Sequential] = {}
    for (_, layer, holder, _), (mean, variance) in zip(places, moments, strict=True):
        norm = _undone(layer, mean, variance, eps, momentum).train(layer.training)
        made.setdefault(id(holder), []).append((layer, norm))
        holders[id(holder)] = holder
    for key, pairs in made.items():
        _insert(holders[key], pairs)
    if isinstance(net, VGG) and not net.name.endswith("_bn"):
        net.name += "_bn"
    return net


def _places(op: str, net: Module) -> Iterator[tuple[str, Conv2d, Sequential, int]]:
    """Each convolution to be normalised: name, layer, the Sequential that holds it, its place there."""
    parents: dict[int, list[tuple[str, Module]]] = {}
    for path, parent in net.named_modules():
        for key, child in vars(parent).items():
            if isinstance(child, Conv2d):
                parents.setdefault(id(child), []).append((f"{path}.{key}".lstrip("."), parent))
    if not parents:
        raise ShapeError(f"{op}: a {type(net).__name__} has no Conv2d layers that it could take")
    final = [m for m in net.modules() if next(m.parameters(recurse=False), None) is not None][-1]
    found = False
    for uses in parents.values():
        name, parent = uses[0]
        layer: Any = getattr(parent, name.rpartition(".")[2])
        if len(uses) > 1:
            raise ShapeError(f"{op}: {name!r} is used more than once")
        if not isinstance(parent, Sequential) or type(parent).forward is not Sequential.forward:
            raise ShapeError(
                f"{op}: the convolution {name!r} stands in a {type(parent).__name__}, expected in a Sequential, "
                "where what follows it is known"
            )
        if layer.weight.dtype not in (np.float32, np.float64):
            raise DTypeError(f"{op}: {name!r} is {layer.weight.dtype}, expected float32 or float64")
        parts = list(parent)
        place = next(i for i, part in enumerate(parts) if part is layer)
        follower = parts[place + 1] if place + 1 < len(parts) else None
        if layer is final or isinstance(follower, _NORMS):
            continue
        found = True
        yield name, layer, parent, place
    if not found:
        raise ShapeError(
            f"{op}: every convolution of the network is followed by batch normalisation or gives its scores"
        )


def _measured(
    op: str, net: Module, layers: list[tuple[str, Conv2d]], data: Any
) -> list[tuple[NDArray, NDArray]]:
    """Mean and unbiased variance of each layer's results by channel, in float64."""
    sums = {id(layer): _Moments(layer) for _, layer in layers}

    def note(layer: Module, args: Any, result: Any) -> None:
        sums[id(layer)].add(np.asarray(result))

    modes = [(part, part.training) for part in net.modules()]
    handles = [layer.register_forward_hook(note) for _, layer in layers]
    dtype, runs = next(net.parameters()).dtype, 0
    try:
        net.eval()
        with no_grad():
            for x in _batches(op, data):
                net(network_input(net, x, dtype))
                runs += 1
    finally:
        for handle in handles:
            handle.remove()
        for part, training in modes:
            part.training = training
    return [sums[id(layer)].result(op, name, runs) for name, layer in layers]


def _batches(op: str, data: Any) -> Iterator[Any]:
    from ..data import Dataset, Loader

    if isinstance(data, (Loader, Dataset, list, tuple)):
        loader = as_loader(data, _BATCH)
        yield from (x for x, *_ in loader)
        return
    array = np.asarray(data)
    if array.ndim != 4 or array.dtype.kind != "f":
        raise ShapeError(
            f"{op}: data must be images (N, C, H, W) of floating numbers, a Loader or a data set, "
            f"got {array.dtype} of shape {array.shape}"
        )
    yield from (array[i : i + _BATCH] for i in range(0, len(array), _BATCH))


class _Moments:
    """Mean and variance over batches, joined as Chan, Golub & LeVeque (1979) have it."""

    def __init__(self, layer: Conv2d) -> None:
        self._axes = (0, 1, 2) if layer.layout == "NHWC" else (0, 2, 3)
        self._count = self._calls = 0
        self._mean: Any = 0.0
        self._squares: Any = 0.0

    def add(self, result: NDArray) -> None:
        self._calls += 1
        images = max(1, _PIECE // max(1, result[:1].size))
        for i in range(0, len(result), images):
            with np.errstate(invalid="ignore", over="ignore"):  # refused below
                self._join(result[i : i + images].astype(np.float64))

    def _join(self, values: NDArray) -> None:
        count = values.size // values.shape[1 if self._axes[1] == 2 else 3]
        mean = values.mean(self._axes)
        squares = values.var(self._axes) * count
        total = self._count + count
        step = mean - self._mean
        self._mean = self._mean + step * (count / total)
        self._squares = self._squares + squares + step**2 * (self._count * count / total)
        self._count = total

    def result(self, op: str, name: str, runs: int) -> tuple[NDArray, NDArray]:
        if self._calls != runs:
            raise ShapeError(
                f"{op}: {name!r} is called {self._calls} times in {runs} runs, expected once in each"
            )
        if self._count < 2:
            raise ShapeError(
                f"{op}: {name!r} has {self._count} results of a channel on the data, expected at least 2"
            )
        variance = self._squares / (self._count - 1)
        if not (np.isfinite(self._mean).all() and np.isfinite(variance).all()):
            raise FastconvError(f"{op}: the results of {name!r} on the data are not finite")
        return self._mean, variance


def _undone(
    layer: Conv2d, mean: NDArray, variance: NDArray, eps: float, momentum: float
) -> BatchNorm2d:
    """A norm that gives back what it gets."""
    dtype = layer.weight.dtype
    norm = BatchNorm2d(layer.out_channels, eps, momentum, dtype=dtype, layout=layer.layout)
    assert norm.weight is not None and norm.bias is not None
    assert norm.running_mean is not None and norm.running_var is not None
    norm.running_mean.numpy()[...] = mean
    norm.running_var.numpy()[...] = variance
    norm.bias.numpy()[...] = norm.running_mean.numpy()
    norm.weight.numpy()[...] = np.sqrt(norm.running_var.numpy().astype(np.float64) + eps)
    return norm


def _insert(holder: Sequential, pairs: list[tuple[Conv2d, BatchNorm2d]]) -> None:
    """The norms behind their convolutions; parts named by their positions are renamed."""
    norms = {id(layer): norm for layer, norm in pairs}
    named = [(k, v) for k, v in vars(holder).items() if isinstance(v, Module)]
    taken = {name for name, _ in named}
    for name, _ in named:
        delattr(holder, name)
    parts: list[tuple[str, Module]] = []
    for name, part in named:
        parts.append((name, part))
        if id(part) in norms:
            fresh = f"{name}_norm"
            while fresh in taken:
                fresh += "_"
            parts.append(("0" if name.isdigit() else fresh, norms[id(part)]))
    for place, (name, part) in enumerate(parts):
        setattr(holder, str(place) if name.isdigit() else name, part)
