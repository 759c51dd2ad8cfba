"""What works on each value by itself: nodes in place of calls."""

from __future__ import annotations

from typing import Any

from .._symbolic import Capture
from .registry import recorder


@recorder
def activation(c: Capture, kind: str, input: Any, slope: float, bound: float = 0.0) -> Any:
    numbers = _numbers(slope, bound)
    return c.node("activation", [input], kind=kind, **numbers)[0]


@recorder
def activation_backward(
    c: Capture, kind: str, saved: Any, grad_output: Any, slope: float, bound: float = 0.0
) -> Any:
    numbers = _numbers(slope, bound)
    return c.node("activation_backward", [saved, grad_output], kind=kind, **numbers)[0]


def _numbers(slope: float, bound: float) -> dict[str, float]:
    return {"slope": slope, "bound": bound} if bound else {"slope": slope}


@recorder
def elementwise(c: Capture, kind: str, input: Any, other: Any) -> Any:
    return c.node("elementwise", [input, other], kind=kind)[0]


@recorder
def elementwise_scalar(c: Capture, kind: str, input: Any, value: float, first: bool = False) -> Any:
    place = {"first": True} if first else {}
    return c.node("elementwise_scalar", [input], kind=kind, value=float(value), **place)[0]


@recorder
def dropout(c: Capture, input: Any, p: float, key: Any) -> Any:
    return c.node("dropout", [input, key], p=float(p))[0]


@recorder
def to_bfloat16(c: Capture, input: Any) -> Any:
    return c.node("cast", [input], dtype="bfloat16")[0]


@recorder
def from_bfloat16(c: Capture, input: Any) -> Any:
    return c.node("cast", [input], dtype="float32")[0]
