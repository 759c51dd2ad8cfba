"""Translators: convolution, linear layers, normalisation, dropout."""

from __future__ import annotations

import numpy as np

from .export_recording import Step
from .export_translation import Translation, channels_first, ordered, translates
from .export_windows import windowed


@translates("conv2d")
def _conv2d(t: Translation, step: Step) -> None:
    source, weight, bias = step.operands
    axes = channels_first(t.get(step, "layout"), 4)
    kernel, dilation = t.shape(weight)[2:], t.get(step, "dilation")
    padding = t.get(step, "padding")
    if padding == "same":  # an odd total puts one more pixel at the end
        totals = [d * (k - 1) for d, k in zip(dilation, kernel, strict=True)]
        begin = [total // 2 for total in totals]
        pads = begin + [total - b for total, b in zip(totals, begin, strict=True)]
    else:
        begin = [0, 0] if padding == "valid" else list(padding)
        pads = begin + begin
    attributes = {
        "kernel_shape": kernel,
        "strides": t.get(step, "stride"),
        "pads": pads,
        "dilations": dilation,
        "group": t.get(step, "groups"),
    }
    windowed(t, step, "Conv", [source, weight, bias], axes, attributes)


@translates("conv_transpose2d", "conv2d_input")
def _conv_transpose2d(t: Translation, step: Step) -> None:
    if step.kind == "conv2d_input":  # a convolution's gradient is the transposed one
        (weight, source), bias = step.operands, None
    else:
        source, weight, bias = step.operands
    axes = channels_first(t.get(step, "layout"), 4)
    kernel, dilation, stride = t.shape(weight)[2:], t.get(step, "dilation"), t.get(step, "stride")
    padding = t.get(step, "padding")
    if padding == "same":
        totals = [d * (k - 1) for d, k in zip(dilation, kernel, strict=True)]
        begin = [total // 2 for total in totals]
        end = [total - b for total, b in zip(totals, begin, strict=True)]
    else:
        begin = end = [0, 0] if padding == "valid" else list(padding)
    sizes = ordered(t.shape(source), axes)[2:]
    made = ordered(t.shape(step.results[0]), axes)[2:]
    extra = [
        made[i] - (sizes[i] - 1) * stride[i] - dilation[i] * (kernel[i] - 1) - 1 + begin[i] + end[i]
        for i in range(2)
    ]
    attributes = {
        "kernel_shape": kernel,
        "strides": stride,
        "pads": [*begin, *end],
        "output_padding": extra,
        "dilations": dilation,
        "group": t.get(step, "groups"),
    }
    windowed(t, step, "ConvTranspose", [source, weight, bias], axes, attributes)


@translates("linear")
def _linear(t: Translation, step: Step) -> None:
    source, weight, bias = step.operands
    operands = [t.plain(source), t.plain(weight)]
    if t.ndim(source) == 2:
        if bias is not None:
            operands.append(t.plain(bias))
        return t.put(step.results[0], t.emit("Gemm", operands, transB=1))
    name = t.emit("MatMul", [operands[0], t.emit("Transpose", operands[1:], perm=[1, 0])])
    if bias is not None:
        name = t.emit("Add", [name, t.plain(bias)])
    t.put(step.results[0], name)


@translates("matmul", of=("plain",))
def _matmul(t: Translation, step: Step) -> None:
    t.put(step.results[0], t.emit("MatMul", [t.plain(v) for v in step.operands]))


@translates("batch_norm_inference")
def _batch_norm_inference(t: Translation, step: Step) -> None:
    source, weight, bias, mean, var = step.operands[:5]
    axes = channels_first(t.get(step, "layout"), t.ndim(source))
    (channels,) = t.shape(mean)
    scale = t.graph.floats(np.ones(channels)) if weight is None else t.plain(weight)
    shift = t.graph.floats(np.zeros(channels)) if bias is None else t.plain(bias)
    operands = [t.arranged(source, axes), scale, shift, t.plain(mean), t.plain(var)]
    name = t.emit("BatchNormalization", operands, epsilon=t.get(step, "eps"))
    t.put(step.results[0], name, axes)


@translates("batch_norm")
def _batch_norm(t: Translation, step: Step) -> None:
    """With the batch's own statistics, which are not kept."""
    if _instance_norm(t, step):
        return
    source, weight, bias = step.operands[:3]
    ndim = t.ndim(source)
    axes = channels_first(t.get(step, "layout"), ndim)
    x = t.arranged(source, axes)
    dims = [d for d in range(ndim) if d != 1]
    centred = t.emit("Sub", [x, reduced(t, "ReduceMean", x, dims, True)])
    variance = reduced(t, "ReduceMean", t.emit("Mul", [centred, centred]), dims, True)
    shifted = t.emit("Add", [variance, t.graph.floats(t.get(step, "eps"))])
    name = t.emit("Div", [centred, t.emit("Sqrt", [shifted])])
    across = t.graph.ints([-1] + [1] * (ndim - 2))  # (C, 1, 1)
    for op, value in (("Mul", weight), ("Add", bias)):
        if value is not None:
            name = t.emit(op, [name, t.emit("Reshape", [t.plain(value), across])])
    t.put(step.results[0], name, axes)


def _instance_norm(t: Translation, step: Step) -> bool:
    """`F.instance_norm`, which is recorded as a batch-norm of all examples' channels side by side, as the
    operator; False for anything else."""
    flat = t.trace.maker(step.operands[0], "reshape")
    if flat is None or t.get(step, "layout") != "NCHW":
        return False
    (source,) = flat.operands
    before, after = t.shapes(source), t.shapes(step.operands[0])
    if any(
        len(b) < 3 or a != (1, b[0] * b[1], int(np.prod(b[2:])))
        for b, a in zip(before, after, strict=True)
    ):
        return False
    channels = before[0][1]
    scales = []
    for value, default in zip(step.operands[1:3], (1.0, 0.0), strict=True):
        # A vector of the channels' numbers, repeated for each example.
        repeated = t.trace.maker(value, "reshape")
        spread = repeated and t.trace.maker(repeated.operands[0], "reduce_backward")
        row = spread and t.trace.maker(spread.operands[0], "reshape")
        if value is None:
            scales.append(t.graph.floats(np.full(channels, default)))
        elif spread and row and t.shape(row.operands[0]) == (channels,):
            if t.shape(spread.results[0])[1:] != (channels,) or t.get(spread, "dim") != (0,):
                return False
            scales.append(t.plain(row.operands[0]))
        else:
            return False
    x = t.plain(source)
    name = t.emit("InstanceNormalization", [x, *scales], epsilon=t.get(step, "eps"))
    t.put(step.results[0], t.reshaped(step, name, before, after))
    return True


# The opset from which a reduction takes its dimensions as an input.
_AXES_INPUT = {"ReduceSum": 13}


def reduced(t: Translation, op: str, name: str, dims: list[int], keep: bool) -> str:
    """One of ONNX's reductions over `dims`."""
    keepdims = int(keep)
    if t.graph.opset >= _AXES_INPUT.get(op, 18):
        return t.emit(op, [name, t.graph.ints(dims)], keepdims=keepdims)
    return t.emit(op, [name], axes=dims, keepdims=keepdims)


@translates("local_response_norm")
def _local_response_norm(t: Translation, step: Step) -> None:
    (source,) = step.operands
    axes = channels_first(t.get(step, "layout"), t.ndim(source))
    x = t.arranged(source, axes)
    before = [ordered(shape, axes) for shape in t.shapes(source)]
    size, alpha, beta, k = (t.get(step, name) for name in ("size", "alpha", "beta", "k"))
    if size % 2:
        planes = [(*shape[:2], int(np.prod(shape[2:])), 1) for shape in before]
        flat = before if len(axes) == 4 else planes  # the only ones that runtimes take
        name = t.reshaped(step, x, before, flat)
        name = t.emit("LRN", [name], size=size, alpha=alpha, beta=beta, bias=k)
        name = t.reshaped(step, name, flat, before)
    else:
        # LRN of an even size has one channel more behind, ours before, and runtimes refuse it: the squares'
        # means along the channels.
        flat = [(shape[0], 1, shape[1], int(np.prod(shape[2:]))) for shape in before]
        name = t.reshaped(step, t.emit("Mul", [x, x]), before, flat)
        name = t.emit(
            "AveragePool",
            [name],
            kernel_shape=(size, 1),
            pads=(size // 2, 0, size // 2 - 1, 0),
            count_include_pad=1,
        )
        name = t.reshaped(step, t.emit("Mul", [name, t.graph.floats(alpha)]), flat, before)
        name = t.emit("Add", [name, t.graph.floats(k)])
        name = t.emit("Div", [x, t.emit("Pow", [name, t.graph.floats(beta)])])
    t.put(step.results[0], name, axes)


@translates("dropout")
def _dropout(t: Translation, step: Step) -> None:
    """Only what is asked for at inference too is recorded: `F.dropout(x, p, training=True)`."""
    view, p = t.view(step.operands[0]), t.get(step, "p")
    if p == 1:  # ONNX divides by 1 - p
        return t.put(step.results[0], t.emit("Mul", [view.name, t.graph.floats(0.0)]), view.axes)
    rate, always = t.graph.floats(p), t.graph.constant(True, np.bool_)
    t.put(step.results[0], t.emit("Dropout", [view.name, rate, always]), view.axes)
