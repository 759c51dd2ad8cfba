"""Learning rates that fall from the head towards the input."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from ..errors import DTypeError, ShapeError
from ..nn import Module, ModuleList, Parameter, Sequential
from ..nn._args import number
from .heads import auxiliary_heads

__all__ = ["param_groups"]


def param_groups(net: Module, lr: float, decay: float = 0.8) -> list[dict[str, Any]]:
    """Groups of parameters for an optimiser, the first layers first: discriminative learning rates.

    The last block, with auxiliary classifiers, has `lr`, the one in front of it `lr * decay`, then `lr *
    decay^2` and so on. A block is a direct part of the network with weights; of a `Sequential`, and of those
    in it, each part. Normalisation (vectors alone) belongs to the block in front of it. Schedules of
    `fastconv.optim` go from each group's own rate.

    Args:
        net: a network; frozen parameters are left out, and their blocks count.
        lr: learning rate of the last block.
        decay: above 0, at most 1: how much lower the rate of each block is than that of the next.

    Returns:
        [{"params": [...], "lr": rate}, ...], as `fastconv.optim` takes it.

    Raises:
        ShapeError: everything is frozen, or a number is out of range.
        DTypeError: an argument is of the wrong type.

    Source: Howard & Ruder, "Universal language model fine-tuning for text classification" (2018), section 3.2.
    """
    op = "param_groups"
    if not isinstance(net, Module):
        raise DTypeError(f"{op}: expected a Module, got {type(net).__name__}")
    lr, decay = number(op, "lr", lr, 0.0), number(op, "decay", decay, 0.0, 1.0)
    if decay == 0.0:
        raise ShapeError(f"{op}: decay must be above 0, got 0")
    heads = {id(head) for _, head in auxiliary_heads(net)}
    blocks: list[list[Parameter]] = []
    seen: set[int] = set()
    for parameters in _blocks(net, heads):
        fresh = [p for p in parameters if id(p) not in seen]
        seen.update(id(p) for p in fresh)
        if not fresh:
            continue
        if blocks and all(p.ndim < 2 for p in fresh):
            blocks[-1] += fresh
        else:
            blocks.append(fresh)
    late = [p for _, head in auxiliary_heads(net) for p in head.parameters() if id(p) not in seen]
    if late:
        blocks = [*blocks[:-1], [*(blocks[-1] if blocks else []), *late]]
    groups = []
    for depth, block in enumerate(reversed(blocks)):
        learning = [p for p in block if p.requires_grad]
        if learning:
            groups.append({"params": learning, "lr": lr * decay**depth})
    if not groups:
        raise ShapeError(f"{op}: no parameter of the network learns; unfreeze some")
    return groups[::-1]


def _blocks(net: Module, left_out: set[int]) -> Iterator[list[Parameter]]:
    own = list(net.parameters(recurse=False))
    if own:
        yield own
    for part in net.children():
        if id(part) in left_out:
            continue
        if type(part) in (Sequential, ModuleList):
            yield from _blocks(part, left_out)
        else:
            yield list(part.parameters())
