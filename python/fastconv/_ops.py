"""The native functions of the ops, as the layer above calls them.

Each runs at once on arrays, and on symbolic arrays (see `_symbolic`) adds nodes to their graph.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from . import _core, _symbolic, random
from ._symbolic import Capture, SymbolicArray, pair
from .errors import CaptureError

if TYPE_CHECKING:
    from ._core import *  # noqa: F403

Recorder = Callable[..., Any]
_recorders: dict[str, Recorder] = {}


def _recorder(function: Recorder) -> Recorder:
    """Registers what stands for the native function of the same name while a graph is recorded."""
    _recorders[function.__name__.lstrip("_")] = function
    return function


def _padding(value: Any) -> Any:
    return value if isinstance(value, str) else pair(value)


def _geometry(stride: Any, padding: Any, dilation: Any, groups: int, layout: str) -> dict[str, Any]:
    return {
        "stride": pair(stride),
        "padding": _padding(padding),
        "dilation": pair(dilation),
        "groups": groups,
        "layout": layout,
    }


@_recorder
def _activation(c: Capture, kind: str, input: Any, slope: float) -> Any:
    return c.node("activation", [input], kind=kind, slope=slope)[0]


@_recorder
def _activation_backward(c: Capture, kind: str, saved: Any, grad_output: Any, slope: float) -> Any:
    return c.node("activation_backward", [saved, grad_output], kind=kind, slope=slope)[0]


@_recorder
def _conv2d(
    c: Capture,
    input: Any,
    weight: Any,
    bias: Any,
    stride: Any,
    padding: Any,
    dilation: Any,
    groups: int,
    layout: str,
) -> Any:
    geometry = _geometry(stride, padding, dilation, groups, layout)
    c.widest = max(c.widest, weight.shape[0])
    return c.node("conv2d", [input, weight, bias], **geometry)[0]


@_recorder
def _conv2d_input(
    c: Capture,
    input_size: Any,
    weight: Any,
    grad_output: Any,
    stride: Any,
    padding: Any,
    dilation: Any,
    groups: int,
    layout: str,
) -> Any:
    geometry = _geometry(stride, padding, dilation, groups, layout)
    return c.node("conv2d_input", [weight, grad_output], shape=tuple(input_size), **geometry)[0]


@_recorder
def _conv2d_weight(
    c: Capture,
    input: Any,
    weight_size: Any,
    grad_output: Any,
    stride: Any,
    padding: Any,
    dilation: Any,
    groups: int,
    layout: str,
) -> Any:
    geometry = _geometry(stride, padding, dilation, groups, layout)
    return c.node("conv2d_weight", [input, grad_output], shape=tuple(weight_size), **geometry)[0]


@_recorder
def _conv2d_bias(c: Capture, grad_output: Any, layout: str) -> Any:
    return c.node("conv2d_bias", [grad_output], layout=layout)[0]


@_recorder
def _conv_transpose2d(
    c: Capture,
    input: Any,
    weight: Any,
    bias: Any,
    stride: Any,
    padding: Any,
    output_padding: Any,
    groups: int,
    dilation: Any,
    layout: str,
) -> Any:
    geometry = _geometry(stride, padding, dilation, groups, layout)
    extra = pair(output_padding)
    operands = [input, weight, bias]
    return c.node("conv_transpose2d", operands, output_padding=extra, **geometry)[0]


@_recorder
def _conv_transpose2d_backward(
    c: Capture,
    input: Any,
    weight: Any,
    grad_output: Any,
    stride: Any,
    padding: Any,
    output_padding: Any,
    groups: int,
    dilation: Any,
    layout: str,
    of_weight: bool,
) -> Any:
    attributes = _geometry(stride, padding, dilation, groups, layout)
    attributes["output_padding"] = pair(output_padding)
    attributes["shape"] = tuple(weight.shape if of_weight else input.shape)
    kind = "conv_transpose2d_weight" if of_weight else "conv_transpose2d_input"
    return c.node(kind, [input if of_weight else weight, grad_output], **attributes)[0]


@_recorder
def _linear(c: Capture, input: Any, weight: Any, bias: Any) -> Any:
    return c.node("linear", [input, weight, bias])[0]


@_recorder
def _linear_backward(
    c: Capture,
    input: Any,
    weight: Any,
    grad_output: Any,
    needs_input: bool,
    needs_weight: bool,
    needs_bias: bool,
) -> Any:
    return (
        c.node("linear_input", [weight, grad_output])[0] if needs_input else None,
        c.node("linear_weight", [input, grad_output])[0] if needs_weight else None,
        c.node("linear_bias", [grad_output])[0] if needs_bias else None,
    )


@_recorder
def _batch_norm_forward(
    c: Capture,
    input: Any,
    running_mean: Any,
    running_var: Any,
    weight: Any,
    bias: Any,
    training: bool,
    momentum: float,
    eps: float,
    layout: str,
) -> Any:
    if training and running_mean is not None and not c.trains:
        raise CaptureError("compile: a batch-norm is in training mode; call net.eval() first")
    kind = "batch_norm" if training else "batch_norm_inference"
    operands = [input, weight, bias, running_mean, running_var]
    return tuple(c.node(kind, operands, momentum=float(momentum), eps=float(eps), layout=layout))


@_recorder
def _batch_norm_backward(
    c: Capture,
    grad_output: Any,
    input: Any,
    mean: Any,
    invstd: Any,
    weight: Any,
    training: bool,
    layout: str,
    need_input: bool,
    need_weight: bool,
    need_bias: bool,
) -> Any:
    made: list[Any] = c.node(
        "batch_norm_backward",
        [grad_output, input, mean, invstd, weight],
        training=bool(training),
        layout=layout,
    )
    needs = (need_input, need_weight, need_bias, False)
    return tuple(m if need else None for m, need in zip(made, needs, strict=True))


@_recorder
def _local_response_norm(
    c: Capture, input: Any, size: int, alpha: float, beta: float, k: float, layout: str
) -> Any:
    numbers = {"size": size, "alpha": float(alpha), "beta": float(beta), "k": float(k)}
    return c.node("local_response_norm", [input], layout=layout, **numbers)[0]


@_recorder
def _local_response_norm_backward(
    c: Capture,
    grad_output: Any,
    input: Any,
    size: int,
    alpha: float,
    beta: float,
    k: float,
    layout: str,
) -> Any:
    numbers = {"size": size, "alpha": float(alpha), "beta": float(beta), "k": float(k)}
    operands = [grad_output, input]
    return c.node("local_response_norm_backward", operands, layout=layout, **numbers)[0]


@_recorder
def _softmax(c: Capture, input: Any, dim: int, log: bool) -> Any:
    return c.node("softmax", [input], dim=dim, log=log)[0]


@_recorder
def _softmax_backward(c: Capture, output: Any, grad_output: Any, dim: int, log: bool) -> Any:
    return c.node("softmax_backward", [output, grad_output], dim=dim, log=log)[0]


@_recorder
def _cross_entropy(
    c: Capture,
    input: Any,
    target: Any,
    weight: Any,
    dim: int,
    ignore_index: int,
    reduction: str,
    label_smoothing: float,
) -> Any:
    made = c.node(
        "cross_entropy",
        [input, target, weight],
        dim=dim,
        ignore_index=ignore_index,
        reduction=reduction,
        label_smoothing=float(label_smoothing),
    )
    return tuple(made)


@_recorder
def _cross_entropy_backward(
    c: Capture,
    input: Any,
    target: Any,
    weight: Any,
    dim: int,
    ignore_index: int,
    reduction: str,
    label_smoothing: float,
    saved: Any,
    divisor: Any,
    grad_output: Any,
) -> Any:
    return c.node(
        "cross_entropy_backward",
        [input, target, weight, saved, divisor, grad_output],
        dim=dim,
        ignore_index=ignore_index,
        reduction=reduction,
        label_smoothing=float(label_smoothing),
    )[0]


@_recorder
def _pointwise_loss(
    c: Capture,
    kind: str,
    input: Any,
    target: Any,
    weight: Any,
    pos_weight: Any,
    delta: float,
    reduction: str,
) -> Any:
    operands = [input, target, weight, pos_weight]
    return c.node("pointwise_loss", operands, kind=kind, delta=float(delta), reduction=reduction)[0]


@_recorder
def _pointwise_loss_backward(
    c: Capture,
    kind: str,
    input: Any,
    target: Any,
    weight: Any,
    pos_weight: Any,
    delta: float,
    reduction: str,
    grad_output: Any,
    wrt_target: bool,
) -> Any:
    return c.node(
        "pointwise_loss_backward",
        [input, target, weight, pos_weight, grad_output],
        kind=kind,
        delta=float(delta),
        reduction=reduction,
        wrt_target=wrt_target,
    )[0]


@_recorder
def _elementwise(c: Capture, kind: str, input: Any, other: Any) -> Any:
    return c.node("elementwise", [input, other], kind=kind)[0]


@_recorder
def _elementwise_scalar(c: Capture, kind: str, input: Any, value: float) -> Any:
    return c.node("elementwise_scalar", [input], kind=kind, value=float(value))[0]


@_recorder
def _reduce(c: Capture, kind: str, input: Any, dim: tuple[int, ...], keepdim: bool) -> Any:
    return c.node("reduce", [input], kind=kind, dim=tuple(dim), keepdim=keepdim)[0]


@_recorder
def _reduce_backward(
    c: Capture, kind: str, grad_output: Any, shape: tuple[int, ...], dim: tuple[int, ...]
) -> Any:
    return c.node("reduce_backward", [grad_output], kind=kind, shape=tuple(shape), dim=tuple(dim))[
        0
    ]


@_recorder
def _dropout(c: Capture, input: Any, p: float, key: Any) -> Any:
    return c.node("dropout", [input, key], p=float(p))[0]


@_recorder
def _concat(c: Capture, tensors: Any, dim: int) -> Any:
    return c.node("concat", tensors, dim=dim)[0]


@_recorder
def _concat_backward(c: Capture, grad_output: Any, dim: int, sizes: Any, needs: Any) -> Any:
    made = c.node("concat_backward", [grad_output], dim=dim, sizes=tuple(sizes))
    return [m if need else None for m, need in zip(made, needs, strict=True)]


@_recorder
def _pad(c: Capture, input: Any, before: Any, after: Any, mode: str, value: float) -> Any:
    edges = {"before": tuple(before), "after": tuple(after)}
    return c.node("pad", [input], mode=mode, value=float(value), **edges)[0]


@_recorder
def _pad_backward(
    c: Capture, grad_output: Any, shape: Any, before: Any, after: Any, mode: str
) -> Any:
    edges = {"before": tuple(before), "after": tuple(after), "shape": tuple(shape)}
    return c.node("pad_backward", [grad_output], mode=mode, **edges)[0]


@_recorder
def _to_bfloat16(c: Capture, input: Any) -> Any:
    return c.node("cast", [input], dtype="bfloat16")[0]


@_recorder
def _from_bfloat16(c: Capture, input: Any) -> Any:
    return c.node("cast", [input], dtype="float32")[0]


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


def dropout_key(input: Any) -> Any:
    """The key of one call of dropout: a number, or in a program one that every run draws anew."""
    return input.capture.key() if isinstance(input, SymbolicArray) else random.next_key()


def _dispatching(name: str, record: Recorder) -> Callable[..., Any]:
    native = getattr(_core, name)

    @functools.wraps(native)
    def call(*args: Any) -> Any:
        if _symbolic.active:
            capture = _symbolic.capture_of(args)
            if capture is not None:
                return record(capture, *args)
        return native(*args)

    return call


if not TYPE_CHECKING:
    for _name, _record in _recorders.items():
        globals()[_name] = _dispatching(_name, _record)

    def __getattr__(name: str) -> Any:
        return getattr(_core, name)
