"""The layers of a network that give its scores."""

from __future__ import annotations

from typing import TypeVar

from ..errors import DTypeError, ShapeError
from ..nn import Conv2d, Linear, Module, MultiTask
from ..nn._args import integer

__all__ = ["auxiliary_heads", "find_heads", "part_named", "replace_head"]

M = TypeVar("M", bound=Module)


def find_heads(net: Module) -> list[tuple[str, Linear | Conv2d]]:
    """Name and layer of what gives a network's scores, the network's own first.

    The head is the last layer with parameters, in the order of definition: a `Linear` or a 1x1 `Conv2d`. Those
    of auxiliary classifiers, as `googlenet` and `inception_v3` have them, follow.

    Raises:
        ShapeError: the last layer with parameters is another one, or there is none.
        DTypeError: `net` is no Module.
    """
    return _heads("find_heads", net)


def replace_head(net: M, num_classes: int) -> M:
    """Put a fresh layer for `num_classes` in the place of the network's last one, and of auxiliary
    classifiers' last ones.

    The new layers have the old ones' inputs, bias, element type and layout, are drawn as layers are, and learn
    whatever is frozen. Make the optimiser afterwards: one made before holds the old parameters.

    Args:
        net: any network of `fastconv.models`, a `Sequential`, or another network whose last layer with
            parameters, in the order of definition, is a `Linear` or a 1x1 `Conv2d`.
        num_classes: scores for each image, at least 1.

    Returns:
        `net`, changed in place.

    Raises:
        ShapeError: the last layer is another one, or several tasks have one each; `num_classes` is below 1.
        DTypeError: an argument is of the wrong type.
    """
    classes = integer("replace_head", "num_classes", num_classes, 1)
    for name, layer in _heads("replace_head", net):
        holder, _, key = name.rpartition(".")
        if not name:
            raise ShapeError(
                f"replace_head: the network is a single {type(layer).__name__}, expected a network that holds it"
            )
        setattr(part_named("replace_head", net, holder), key, _like(layer, classes))
    return net


def _like(layer: Linear | Conv2d, classes: int) -> Linear | Conv2d:
    bias, dtype = layer.bias is not None, layer.weight.dtype
    if isinstance(layer, Linear):
        made: Linear | Conv2d = Linear(layer.in_features, classes, bias, dtype=dtype)
    else:
        made = Conv2d(
            layer.in_channels,
            classes,
            1,
            layer.stride,
            layer.padding,
            bias=bias,
            padding_mode=layer.padding_mode,
            dtype=dtype,
            layout=layer.layout,
        )
    return made.train(layer.training)


def auxiliary_heads(net: Module) -> list[tuple[str, Module]]:
    """The classifiers that a network has in training mode only, by their names."""
    return [(name, part) for name, part in net.named_children() if name.lower().startswith("aux")]


def _heads(op: str, net: Module) -> list[tuple[str, Linear | Conv2d]]:
    if not isinstance(net, Module):
        raise DTypeError(f"{op}: expected a Module, got {type(net).__name__}")
    if any(isinstance(part, MultiTask) for part in net.modules()):
        raise ShapeError(f"{op}: the network has a head for each of several tasks, expected one")
    auxiliary = dict(auxiliary_heads(net))
    inside = {id(part) for head in auxiliary.values() for part in head.modules()}
    own = [(n, m) for n, m in net.named_modules() if id(m) not in inside]
    heads = [_last(op, own)]
    for prefix, head in auxiliary.items():
        heads.append(_last(op, list(head.named_modules(prefix=prefix))))
    return heads


def _last(op: str, parts: list[tuple[str, Module]]) -> tuple[str, Linear | Conv2d]:
    """The last of the modules that has parameters itself."""
    found = [(n, m) for n, m in parts if next(m.parameters(recurse=False), None) is not None]
    if not found:
        raise ShapeError(f"{op}: the network has no layer with parameters")
    name, layer = found[-1]
    if isinstance(layer, Linear):
        return name, layer
    if isinstance(layer, Conv2d) and layer.kernel_size == (1, 1) and layer.groups == 1:
        return name, layer
    raise ShapeError(
        f"{op}: the last layer with parameters is {name or 'the network'!r}, a {type(layer).__name__}; expected "
        "a Linear or a 1x1 Conv2d that gives the scores (put the network into a Sequential with one behind it)"
    )


def part_named(op: str, net: Module, name: str) -> Module:
    """The module of that dotted name.

    Raises:
        ShapeError: there is none; the message lists the names one level down.
    """
    if not isinstance(name, str):
        raise DTypeError(f"{op}: a layer's name must be a string, got {type(name).__name__}")
    for path, part in net.named_modules(remove_duplicate=False):
        if path == name:
            return part
    names = [path for path, _ in net.named_modules() if path]
    shown = ", ".join(names[:12]) + (" ..." if len(names) > 12 else "")
    raise ShapeError(f"{op}: there is no layer named {name!r}; there are {shown}")
