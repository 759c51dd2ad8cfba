"""Reductions, joins and borders: nodes in place of calls."""

from __future__ import annotations

from typing import Any

from .._symbolic import Capture
from .registry import recorder


@recorder
def reduce(c: Capture, kind: str, input: Any, dim: tuple[int, ...], keepdim: bool) -> Any:
    return c.node("reduce", [input], kind=kind, dim=tuple(dim), keepdim=keepdim)[0]


@recorder
def reduce_backward(
    c: Capture, kind: str, grad_output: Any, shape: tuple[int, ...], dim: tuple[int, ...]
) -> Any:
    return c.node("reduce_backward", [grad_output], kind=kind, shape=tuple(shape), dim=tuple(dim))[
        0
    ]


@recorder
def concat(c: Capture, tensors: Any, dim: int) -> Any:
    return c.node("concat", tensors, dim=dim)[0]


@recorder
def concat_backward(c: Capture, grad_output: Any, dim: int, sizes: Any, needs: Any) -> Any:
    made = c.node("concat_backward", [grad_output], dim=dim, sizes=tuple(sizes))
    return [m if need else None for m, need in zip(made, needs, strict=True)]


@recorder
def pad(c: Capture, input: Any, before: Any, after: Any, mode: str, value: float) -> Any:
    edges = {"before": tuple(before), "after": tuple(after)}
    return c.node("pad", [input], mode=mode, value=float(value), **edges)[0]


@recorder
def pad_backward(
    c: Capture, grad_output: Any, shape: Any, before: Any, after: Any, mode: str
) -> Any:
    edges = {"before": tuple(before), "after": tuple(after), "shape": tuple(shape)}
    return c.node("pad_backward", [grad_output], mode=mode, **edges)[0]


@recorder
def resample(c: Capture, input: Any, dim: int, begin: Any, index: Any, weight: Any) -> Any:
    table = [None if part is None else c.constant(part) for part in (begin, index, weight)]
    return c.node("resample", [input, *table], dim=dim)[0]


@recorder
def gather(c: Capture, op: str, input: Any, index: Any) -> Any:
    return c.node("gather", [input, index], op=op)[0]


@recorder
def scatter(c: Capture, op: str, input: Any, index: Any, length: int, sum: bool) -> Any:
    return c.node("scatter", [input, index], op=op, length=length, sum=sum)[0]
