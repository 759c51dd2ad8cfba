"""`summary`: what a network consists of, layer by layer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from .._recording import run_on_shape
from ..errors import CaptureError
from ..tensor import no_grad
from ._args import integer
from .module import HookHandle, Module

__all__ = ["LayerSummary", "Summary", "summary"]


@dataclass(frozen=True)
class LayerSummary:
    """One call of one layer.

    Attributes:
        name, type: dotted name and class of the layer.
        output_shape: shape of its result; a tuple of shapes where it returns several.
        parameters: elements of its own parameters that no row before has counted.
        macs: multiply-accumulates of convolutions and linear layers; 0 for the others.
        frozen: it has parameters and none of them requires gradients, or its statistics are frozen.
    """

    name: str
    type: str
    output_shape: tuple[Any, ...]
    parameters: int
    macs: int
    frozen: bool = False


@dataclass(frozen=True)
class Summary:
    """The table that `summary` makes; `str` lays it out.

    Attributes:
        layers: one row for each call of a layer, in order of execution.
        parameters: elements of all parameters of the network, shared ones counted once.
        trainable: those of them that require gradients.
        macs: multiply-accumulates of one run on `input_shape` (a multiply and an add count as one).
    """

    input_shape: tuple[int, ...]
    layers: tuple[LayerSummary, ...]
    parameters: int
    trainable: int
    macs: int

    def __str__(self) -> str:
        header = ("Layer", "Output shape", "Parameters", "MACs")
        rows = [
            (
                (f"{r.name} ({r.type})" if r.name else r.type) + (", frozen" if r.frozen else ""),
                str(r.output_shape),
                f"{r.parameters:,}",
                f"{r.macs:,}",
            )
            for r in self.layers
        ]
        total = ("Total", "", f"{self.parameters:,}", f"{self.macs:,}")
        widths = [max(len(row[i]) for row in (header, *rows, total)) for i in range(4)]
        rule = "-" * (sum(widths) + 6)

        def line(row: tuple[str, str, str, str]) -> str:
            left = [row[i].ljust(widths[i]) for i in (0, 1)]
            return "  ".join(left + [row[i].rjust(widths[i]) for i in (2, 3)]).rstrip()

        return "\n".join(
            [
                f"Input {self.input_shape}",
                rule,
                line(header),
                rule,
                *map(line, rows),
                rule,
                line(total),
                f"{self.trainable:,} of the parameters are trainable",
            ]
        )

    __repr__ = __str__


def summary(module: Module, input_shape: Sequence[int]) -> Summary:
    """Run `module` once in evaluation mode without a tape, on an input without contents (on zeros
    where its code reads contents), and note every layer.

    A row stands for a module without submodules, or one with parameters of its own; a layer used
    twice has two rows. A network from an ONNX file has a row for each node. Multiply-accumulates
    follow from the shapes: output elements times C/groups * R * S for a convolution, input elements
    times K/groups * R * S for a transposed one, output elements times inputs for linear. The
    module's modes, hooks and buffers are afterwards as they were.

    Args:
        input_shape: shape of the input, batch included.

    Raises:
        ShapeError, DTypeError: the shape is not made of positive integers, or the network refuses
            it.
    """
    shape = tuple(
        integer("summary", f"input_shape[{i}]", n, 1) for i, n in enumerate(_sequence(input_shape))
    )
    rows: list[LayerSummary] = []
    counted: set[int] = set()
    modes = [(part, part.training) for part in module.modules()]
    handles: list[HookHandle] = []
    try:
        for name, part in module.named_modules():
            noting = part._note_calls(_noter(name, rows, counted))
            if noting is not None:
                handles.append(noting)
                continue
            own = list(part.parameters(recurse=False))
            if own or next(part.children(), None) is None:
                handles.append(part.register_forward_hook(_recorder(name, rows, counted)))
        parameters = list(module.parameters())
        dtype = parameters[0].dtype if parameters else np.dtype(np.float32)
        module.eval()
        try:
            run_on_shape(module, shape, dtype)
        except CaptureError:
            rows.clear()
            counted.clear()
            with no_grad():
                module(np.zeros(shape, dtype))
    finally:
        for handle in handles:
            handle.remove()
        for part, training in modes:
            part.training = training
    return Summary(
        input_shape=shape,
        layers=tuple(rows),
        parameters=sum(p.size for p in parameters),
        trainable=sum(p.size for p in parameters if p.requires_grad),
        macs=sum(row.macs for row in rows),
    )


def _noter(prefix: str, rows: list[LayerSummary], counted: set[int]) -> Any:
    """What a module that runs more than its layers calls for each of its operations."""

    def note(
        name: str, kind: str, own: list[Any], output_shape: tuple[int, ...], macs: int
    ) -> None:
        fresh = [p for p in own if id(p) not in counted]
        counted.update(id(p) for p in fresh)
        full = f"{prefix}.{name}" if prefix else name
        size = sum(p.size for p in fresh)
        rows.append(LayerSummary(full, kind, output_shape, size, macs, _frozen(own)))

    return note


def _recorder(name: str, rows: list[LayerSummary], counted: set[int]) -> Any:
    def record(layer: Module, args: tuple[Any, ...], result: Any) -> None:
        fresh = [p for p in layer.parameters(recurse=False) if id(p) not in counted]
        counted.update(id(p) for p in fresh)
        output_shape = _shape(result)
        macs = layer.macs(_shape(args[0]), output_shape) if args else 0
        frozen = layer.frozen or _frozen(list(layer.parameters(recurse=False)))
        size = sum(p.size for p in fresh)
        kind = type(layer).__name__
        rows.append(LayerSummary(name, kind, output_shape, size, macs, frozen))

    return record


def _frozen(own: Sequence[Any]) -> bool:
    """Whether there are parameters and none learns."""
    return bool(own) and not any(p.requires_grad for p in own)


def _sequence(value: Any) -> Sequence[Any]:
    return value if isinstance(value, (tuple, list)) else (value,)


def _shape(value: Any) -> tuple[Any, ...]:
    if isinstance(value, (tuple, list)):
        return tuple(_shape(v) for v in value)
    return tuple(getattr(value, "shape", ()))
