"""Pooling, whose passes share a geometry: recorded, or run at once."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from .. import _core
from .._symbolic import Capture, SymbolicArray, pair
from .registry import recorder


@recorder
def pool3d_positions(c: Capture, inside: Any, along: Any, plane: int, dim: int) -> Any:
    return c.node("pool3d_positions", [inside, along], plane=plane, dim=dim)[0]


class Pooling:
    """`_core.Pool2d`, whose passes can be recorded."""

    def __init__(
        self,
        op: str,
        kind: str,
        input_size: tuple[int, ...],
        kernel_size: Any,
        stride: Any,
        padding: Any,
        dilation: Any,
        ceil_mode: bool,
        count_include_pad: bool,
        divisor_override: int | None,
        layout: str,
    ) -> None:
        self._native = _core.Pool2d(
            op,
            kind,
            input_size,
            kernel_size,
            stride,
            padding,
            dilation,
            ceil_mode,
            count_include_pad,
            divisor_override,
            layout,
        )
        self._describe: Callable[[], dict[str, Any]] = lambda: {
            "op": op,
            "kind": kind,
            "kernel_size": pair(kernel_size),
            "stride": pair(kernel_size if stride is None else stride),
            "padding": pair(padding),
            "dilation": pair(dilation),
            "ceil_mode": bool(ceil_mode),
            "count_include_pad": bool(count_include_pad),
            "divisor_override": divisor_override or 0,
            "layout": layout,
        }
        self._input_size = input_size

    @classmethod
    def adaptive(
        cls, op: str, kind: str, input_size: tuple[int, ...], output_size: Any, layout: str
    ) -> Pooling:
        made: Pooling = object.__new__(cls)
        made._native = _core.Pool2d.adaptive(op, kind, input_size, output_size, layout)
        made._describe = lambda: {
            "op": op,
            "kind": kind,
            "adaptive": True,
            "output_size": pair(output_size),
            "layout": layout,
        }
        made._input_size = input_size
        return made

    def forward(self, input: Any, with_index: bool) -> Any:
        if not isinstance(input, SymbolicArray):
            return self._native.forward(input, with_index)
        made = input.capture.node("pool2d", [input], **self._describe())
        return made[0], made[1] if len(made) > 1 else None

    def backward(self, grad_output: Any, index: Any) -> Any:
        if not isinstance(grad_output, SymbolicArray):
            return self._native.backward(grad_output, index)
        operands = [grad_output] if index is None else [grad_output, index]
        shape = tuple(self._input_size)
        return grad_output.capture.node(
            "pool2d_backward", operands, shape=shape, **self._describe()
        )[0]

    def positions(self, index: Any) -> Any:
        if not isinstance(index, SymbolicArray):
            return self._native.positions(index)
        shape = tuple(self._input_size)
        return index.capture.node("pool2d_positions", [index], shape=shape, **self._describe())[0]
