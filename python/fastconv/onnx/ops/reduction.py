"""Reduce ops."""

from __future__ import annotations

import math
from typing import Any

from ... import functional as F
from ..._arrays import is_floating
from ..graph import Node
from .numpy_ops import of_nothing, reduced_axes, sum_axis
from .registry import KNOWN, Inputs, computed, values

_OPS = ("ReduceL1", "ReduceL2", "ReduceLogSum", "ReduceLogSumExp", "ReduceMax", "ReduceMean")
_MORE = ("ReduceMin", "ReduceProd", "ReduceSum", "ReduceSumSquare")


@computed(*_OPS, *_MORE)
def _reduce(node: Node, inputs: Inputs, training: bool) -> Any:
    x = inputs[0]
    dims, keep = reduced_axes(node, inputs)
    if dims is None or not dims:
        return _of_single(node, x)
    if node.op in ("ReduceMax", "ReduceMin", "ReduceLogSumExp") and not math.prod(
        x.shape[d] for d in dims
    ):
        return of_nothing(node, x, dims, keep)
    how: dict[str, Any] = {"dim": dims, "keepdim": keep}
    if node.op == "ReduceLogSumExp":
        # Shifted by the largest element, so that nothing overflows.
        largest = F.amax(x, dim=dims, keepdim=True).detach()
        total = F.sum(F.exp(F.sub(x, largest)), dim=dims, keepdim=True)
        shifted = F.add(F.log(total), largest)
        return shifted if keep else F.reshape(shifted, F.sum(x, **how).shape)
    before, reduce, after = _PARTS[node.op]
    return after(reduce(before(x), **how))


def _same(x: Any) -> Any:
    return x


def _square(x: Any) -> Any:
    return F.mul(x, x)


def _lazily(name: str) -> Any:
    return lambda *args, **how: getattr(F, name)(*args, **how)


_PARTS: dict[str, tuple[Any, Any, Any]] = {
    "ReduceL1": (_lazily("abs"), F.sum, _same),
    "ReduceL2": (_square, F.sum, _lazily("sqrt")),
    "ReduceLogSum": (_same, F.sum, _lazily("log")),
    "ReduceMax": (_same, _lazily("amax"), _same),
    "ReduceMean": (_same, F.mean, _same),
    "ReduceMin": (_same, _lazily("amin"), _same),
    "ReduceProd": (_same, _lazily("prod"), _same),
    "ReduceSum": (_same, F.sum, _same),
    "ReduceSumSquare": (_square, F.sum, _same),
}


def _of_single(node: Node, x: Any) -> Any:
    """Each element reduced by itself."""
    if node.op == "ReduceLogSumExp":
        return x
    before, _, after = _PARTS[node.op]
    return after(before(x))


@computed("CumSum")
def _cumulative_sum(node: Node, inputs: Inputs, training: bool) -> Any:
    """Sums of 2, 4, 8 ... elements, each of two of half the length: a program needs no contents for them."""
    x = inputs[0]
    if not is_floating(x.dtype):
        return KNOWN["CumSum"](node, [values(node, v) for v in inputs], training)
    where = sum_axis(node, inputs)
    ahead = bool(node.get("reverse", 0))

    def moved(total: Any, step: int) -> Any:
        amounts = (-step, step) if ahead else (step, -step)
        return F.pad(total, (0, 0) * (x.ndim - 1 - where) + amounts)

    total, step = moved(x, 1) if node.get("exclusive", 0) and x.shape[where] else x, 1
    while step < x.shape[where]:
        total = F.add(total, moved(total, step))
        step *= 2
    return total
