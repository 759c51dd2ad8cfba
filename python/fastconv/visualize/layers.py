"""Layers by name, and watching them at work."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np

from .._arrays import NDArray
from ..errors import DTypeError, ShapeError
from ..nn import Conv2d, Module
from ..tensor import as_array

__all__ = [
    "before_softmax",
    "checked_net",
    "convolutions",
    "evaluating",
    "find_layer",
    "image_batch",
    "layer_names",
    "layer_weight",
    "net_dtype",
    "nodes_of",
    "watched",
]


def nodes_of(net: Any) -> dict[str, Any] | None:
    """The nodes of a network from an ONNX file, by name: its layers; None for other networks."""
    return getattr(net, "nodes_by_name", None)


def layer_names(net: Module) -> list[str]:
    """Modules without submodules or with parameters of their own; nodes of an ONNX file."""
    nodes = nodes_of(net)
    if nodes is not None:
        return list(nodes)
    return [
        name
        for name, module in net.named_modules()
        if next(module.children(), None) is None or list(module.parameters(recurse=False))
    ]


def convolutions(net: Module) -> list[str]:
    """The names of the convolutions of pictures."""
    nodes = nodes_of(net)
    if nodes is None:
        return [name for name, module in net.named_modules() if isinstance(module, Conv2d)]
    return [
        name
        for name, node in nodes.items()
        if node.op == "Conv" and getattr(layer_weight(net, name), "ndim", 0) == 4
    ]


def layer_weight(net: Any, name: str) -> Any:
    """The weight of a layer, a Tensor or an array; None where it has none."""
    if nodes_of(net) is not None:
        return net.node_weight(name)
    return getattr(dict(net.named_modules(remove_duplicate=False))[name], "weight", None)


def find_layer(op: str, net: Module, name: Any) -> tuple[str, Any]:
    """The module, or the node of an ONNX file, of that name.

    Raises:
        ShapeError: there is none. DTypeError: the name is no string.
    """
    if not isinstance(name, str):
        raise DTypeError(f"{op}: a layer's name must be a string, got {type(name).__name__}")
    modules: Any = nodes_of(net) or dict(net.named_modules(remove_duplicate=False))
    if name not in modules:
        near = difflib.get_close_matches(name, modules, 3) or [n for n in modules if n][:6]
        raise ShapeError(f"{op}: there is no layer {name[:60]!r}; there are {', '.join(near)}, ...")
    return name, modules[name]


def image_batch(op: str, net: Module, image: Any) -> NDArray:
    """One image as (1, C, H, W) of the network's element type.

    Raises:
        ShapeError, DTypeError: it is none.
    """
    checked_net(op, net)
    x = as_array(op, "image", image)
    if x.dtype.kind in "iub":
        raise DTypeError(
            f"{op}: the image is {x.dtype}, expected floating network input: scale it as for training"
        )
    if x.ndim == 3:
        x = x[np.newaxis]
    if x.ndim != 4 or x.shape[0] != 1 or not x.size:
        raise ShapeError(f"{op}: the image has shape {x.shape}, expected (C, H, W) or (1, C, H, W)")
    if not np.isfinite(x.astype(np.float32)).all():
        raise ShapeError(f"{op}: the image has values that are not finite")
    return np.ascontiguousarray(x.astype(net_dtype(net), copy=False))


def checked_net(op: str, net: Any) -> None:
    """Refuse what is no Module."""
    if not isinstance(net, Module):
        raise DTypeError(f"{op}: expected a Module, got {type(net).__name__}")


def net_dtype(net: Module) -> np.dtype[Any]:
    """The element type of the parameters; float32 without any."""
    first = next(net.parameters(), None)
    return np.dtype(np.float32) if first is None else first.dtype


@contextmanager
def evaluating(net: Module) -> Iterator[None]:
    """Evaluation mode, and afterwards each module's own mode again."""
    modes = [(module, module.training) for module in net.modules()]
    net.eval()
    try:
        yield
    finally:
        for module, training in modes:
            module.training = training


@contextmanager
def watched(
    net: Module, note: Callable[[str, Any], Any], names: Sequence[str] | None = None
) -> Iterator[None]:
    """`note(name, result)` is called with what the modules or nodes of these names give; what it returns, if not
    None, takes the place of that."""
    nodes = nodes_of(net)
    if nodes is not None:
        wanted = {id(nodes[name]): name for name in (nodes if names is None else names)}

        def of_node(node: Any, inputs: Any, result: Any) -> Any:
            return note(wanted[id(node)], result) if id(node) in wanted else None

        several: Any = net
        with several.watching(of_node):
            yield
        return
    modules = dict(net.named_modules(remove_duplicate=False))
    handles = []

    def hook(name: str) -> Callable[[Module, tuple[Any, ...], Any], Any]:
        return lambda module, args, result: note(name, result)

    try:
        for name in layer_names(net) if names is None else names:
            handles.append(modules[name].register_forward_hook(hook(name)))
        yield
    finally:
        for handle in handles:
            handle.remove()


@contextmanager
def before_softmax(net: Any) -> Iterator[None]:
    """Inside, a network from an ONNX file that ends with a softmax gives the scores that go into it."""
    nodes = nodes_of(net)
    if nodes is None:
        yield
        return

    def past(node: Any, inputs: list[Any], result: Any) -> Any:
        ends = node.op in ("Softmax", "LogSoftmax") and node.outputs[0] == net.outputs[0]
        return inputs[0] if ends else None

    with net.watching(past):
        yield
