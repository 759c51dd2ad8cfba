"""Every op in bfloat16: its case table against float64 on the same numbers, equal bits for any number of threads,
and element types that do not go together."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import fastconv as fc
import fastconv.functional as F
from fastconv import _core
from tests.cases import (
    activation,
    conv2d,
    cross_entropy,
    dropout,
    elementwise,
    linear,
    pointwise_loss,
    pool2d,
    reduce,
    shape,
    softmax,
)
from tests.cases import batch_norm as bn
from tests.cases import local_response_norm as lrn
from tests.support import (
    BFLOAT16,
    assert_rounded,
    check_bfloat16,
    check_same_bits_for_threads,
    rng,
    to_bfloat16,
)

# Where backward reads a rounded output, or a gradient is rounded on its way, twice the rounding of the largest.
TWICE = 2.0**-7


def normal(*key: Any, size: tuple[int, ...], scale: float = 1.0) -> Any:
    return np.asarray(scale * rng(*key).standard_normal(size))


@pytest.mark.parametrize("case", activation.CASES, ids=str)
def test_activation(case: activation.Case) -> None:
    check_bfloat16(
        lambda x: getattr(F, case.function)(x, **case.options),
        [normal(str(case), size=case.shape, scale=3)],
        str(case),
        gradient_slack=TWICE,
    )


@pytest.mark.parametrize(
    "kind",
    [
        "relu",
        "relu6",
        "leaky_relu",
        "sigmoid",
        "tanh",
        "gelu",
        "gelu_tanh",
        "elu",
        "selu",
        "celu",
        "hardsigmoid",
        "hardswish",
        "hardtanh",
        "silu",
        "softplus",
        "mish",
    ],
)
def test_activation_backward_rounds_once(kind: str) -> None:
    saved, g = (to_bfloat16(normal(kind, i, size=(1003,))) for i in range(2))
    got = _core.activation_backward(kind, saved, g, 0.1)
    wide = [v.astype(np.float64) for v in (saved, g)]
    assert_rounded(got, _core.activation_backward(kind, *wide, 0.1), kind)


@pytest.mark.parametrize("function", ["softmax", "log_softmax"])
@pytest.mark.parametrize("case", softmax.CASES, ids=str)
def test_softmax(case: softmax.Case, function: str) -> None:
    x = normal(str(case), size=case.shape, scale=case.scale)
    check_bfloat16(
        lambda t: getattr(F, function)(t, case.dim), [x], str(case), 1e-5, gradient_slack=2 * TWICE
    )


@pytest.mark.parametrize("log", [False, True])
@pytest.mark.parametrize(
    ("size", "dim"), [((5, 17), 1), ((3, 70, 21), 1), ((2, 5000), 1), ((2, 600, 3), 1)]
)
def test_softmax_backward_rounds_once(size: tuple[int, ...], dim: int, log: bool) -> None:
    y = to_bfloat16(_core.softmax(normal(size, size=size), dim, log))
    g = to_bfloat16(normal(size, "g", size=size))
    got = _core.softmax_backward(y, g, dim, log)
    exact = _core.softmax_backward(y.astype(np.float64), g.astype(np.float64), dim, log)
    assert_rounded(got, exact, str(size))


@pytest.mark.parametrize("reduction", ["none", "mean", "sum"])
@pytest.mark.parametrize("case", cross_entropy.CASES, ids=str)
def test_cross_entropy(case: cross_entropy.Case, reduction: str) -> None:
    g = rng(str(case))
    classes = case.shape[0] if len(case.shape) == 1 else case.shape[1]
    rows = () if len(case.shape) == 1 else (case.shape[0], *case.shape[2:])
    labels = np.asarray(g.integers(0, classes, rows))
    labels = np.where(g.random(rows) < case.ignored, case.ignore_index, labels)
    inputs = [case.scale * g.standard_normal(case.shape)]
    if case.weighted:
        inputs.append(g.random(classes) + 0.1)
    check_bfloat16(
        lambda x, w=None: F.cross_entropy(
            x, labels, w, case.ignore_index, reduction, case.label_smoothing
        ),
        inputs,
        str(case),
        differentiated=1,
    )


@pytest.mark.parametrize("reduction", ["none", "mean", "sum"])
@pytest.mark.parametrize("case", pointwise_loss.CASES, ids=str)
def test_pointwise_loss(case: pointwise_loss.Case, reduction: str) -> None:
    names = [n for n in ("weight", "pos_weight") if getattr(case, n) is not None]
    inputs = [normal(str(case), size=case.shape), rng(str(case), "t").random(case.shape)]
    inputs += [rng(str(case), n).random(getattr(case, n)) + 0.5 for n in names]

    def run(x: Any, t: Any, *factors: Any) -> Any:
        more = dict(zip(names, factors, strict=True))
        return getattr(F, case.function)(x, t, reduction=reduction, **case.options, **more)

    check_bfloat16(run, inputs, str(case), differentiated=2)


@pytest.mark.parametrize("function", ["add", "mul", "sub", "div", "maximum", "minimum", "pow"])
@pytest.mark.parametrize("case", elementwise.CASES, ids=str)
def test_elementwise(case: elementwise.Case, function: str) -> None:
    inputs = [normal(str(case), i, size=s) for i, s in enumerate((case.a, case.b))]
    if function in ("div", "pow"):
        inputs = [np.abs(x) + 0.5 for x in inputs]
    # The product is rounded before it is summed over what was broadcast.
    check_bfloat16(getattr(F, function), inputs, str(case), gradient_slack=TWICE)


@pytest.mark.parametrize("size", [(), (5,), (3, 50, 67), (0, 2)])
def test_numbers_are_not_rounded(size: tuple[int, ...]) -> None:
    x = normal(size, size=size)
    check_bfloat16(lambda t: F.mul(t, 1 / 3), [x], "mul")
    check_bfloat16(lambda t: F.add(0.1, t), [x], "add")
    check_bfloat16(lambda t: F.sub(0.1, t), [x], "sub")
    check_bfloat16(lambda t: F.div(t, 3.1), [x], "div")
    positive = [np.abs(x) + 0.5]
    check_bfloat16(lambda t: F.div(0.1, t), positive, "reversed div", gradient_slack=TWICE)
    check_bfloat16(lambda t: F.pow(t, 1.7), positive, "pow", gradient_slack=TWICE)


@pytest.mark.parametrize("function", ["amax", "amin", "prod"])
@pytest.mark.parametrize("dim", [None, 0, 1, (0, 2)])
def test_extremes_and_products(function: str, dim: Any) -> None:
    x = 1 + normal(function, size=(3, 4, 5), scale=0.1)
    check_bfloat16(lambda t: getattr(F, function)(t, dim), [x], function, gradient_slack=2 * TWICE)


@pytest.mark.parametrize("function", ["sum", "mean"])
@pytest.mark.parametrize("case", reduce.CASES, ids=str)
def test_reduce(case: reduce.Case, function: str) -> None:
    x = normal(str(case), size=case.shape)
    with np.errstate(invalid="ignore"):
        check_bfloat16(lambda t: getattr(F, function)(t, case.dim), [x], str(case))


@pytest.mark.parametrize(("size", "p"), dropout.CASES)
def test_dropout(size: tuple[int, ...], p: float) -> None:
    def run(x: Any) -> Any:
        fc.manual_seed(5)
        return F.dropout(x, p)

    check_bfloat16(run, [normal(size, size=size)], str(size))


@pytest.mark.parametrize("case", shape.CONCAT, ids=str)
def test_concat(case: shape.Concat) -> None:
    arrays = [normal(i, size=s) for i, s in enumerate(case.shapes)]
    check_bfloat16(lambda *t: F.concat(t, case.dim), arrays, str(case), 0.0)


@pytest.mark.parametrize("case", shape.PAD, ids=str)
def test_pad(case: shape.Pad) -> None:
    x = normal(str(case), size=case.shape)
    check_bfloat16(lambda t: F.pad(t, case.pad, case.mode, case.value), [x], str(case))


@pytest.mark.parametrize(
    "function", [F.relu, lambda x: F.reshape(x, (6, 4)), lambda x: F.permute(x, (2, 0, 1))]
)
def test_views_keep_the_type(function: Any) -> None:
    check_bfloat16(function, [normal("views", size=(2, 3, 4))], "", 0.0)


@pytest.mark.parametrize("layout", ["NCHW", "NHWC"])
@pytest.mark.parametrize("case", lrn.CASES, ids=str)
def test_local_response_norm(case: lrn.LrnCase, layout: str) -> None:
    x = normal(str(case), size=case.shape)
    x = np.moveaxis(x, 1, -1) if layout == "NHWC" else x
    check_bfloat16(
        lambda t: F.local_response_norm(t, case.size, case.alpha, case.beta, case.k, layout=layout),
        [x],
        str(case),
    )


@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize(("size", "out"), linear.CASES)
def test_linear(size: tuple[int, ...], out: int, bias: bool) -> None:
    inputs = [normal(size, size=size), normal(size, out, size=(out, size[-1]))]
    inputs += [normal(out, size=(out,))] if bias else []
    check_bfloat16(F.linear, inputs, f"{size} {out}")


@pytest.mark.parametrize("layout", ["NCHW", "NHWC"])
@pytest.mark.parametrize("case", conv2d.CASES, ids=str)
def test_conv2d(case: conv2d.Conv2dCase, layout: str) -> None:
    x = normal(case.name, size=case.x)
    x = x.transpose(0, 2, 3, 1) if layout == "NHWC" else x
    inputs = [x, normal(case.name, "w", size=case.weight)]
    inputs += [normal(case.name, "b", size=(case.k,))] if case.bias else []
    stride, padding, dilation, groups = case.geometry
    check_bfloat16(
        lambda x, w, b=None: F.conv2d(x, w, b, stride, padding, dilation, groups, layout=layout),
        inputs,
        case.name,
    )


@pytest.mark.parametrize("case", conv2d.TRANSPOSED, ids=str)
def test_conv_transpose2d(case: conv2d.ConvTranspose2dCase) -> None:
    inputs = [normal(case.name, size=case.x), normal(case.name, "w", size=case.weight)]
    inputs.append(normal(case.name, "b", size=(case.k,)))
    check_bfloat16(lambda x, w, b: F.conv_transpose2d(x, w, b, *case.geometry), inputs, case.name)


@pytest.mark.parametrize("direction", ["fprop", "dgrad", "wgrad"])
@pytest.mark.parametrize("layout", ["NCHW", "NHWC"])
def test_conv2d_reference(layout: str, direction: str) -> None:
    """The plain loops accumulate in float32 too."""
    nhwc = layout == "NHWC"
    x = normal("x", size=(2, 7, 6, 4) if nhwc else (2, 4, 7, 6))
    w = normal("w", size=(6, 2, 3, 3))
    dy = normal("dy", size=(2, 4, 3, 6) if nhwc else (2, 6, 4, 3))
    bias = normal("b", size=(6,))
    geometry = (2, 1, 1, 2, layout, "reference")

    def run(dtype: Any) -> Any:
        a, k, g, b = (to_bfloat16(v).astype(dtype) for v in (x, w, dy, bias))
        if direction == "fprop":
            return _core.conv2d(a, k, b, *geometry)
        if direction == "dgrad":
            return _core.conv2d_input(x.shape, k, g, *geometry)
        return _core.conv2d_weight(a, w.shape, g, *geometry)

    assert_rounded(run(BFLOAT16), run(np.float64), direction)


@pytest.mark.parametrize("layout", ["NCHW", "NHWC"])
@pytest.mark.parametrize("case", pool2d.CASES, ids=str)
def test_pool2d(case: pool2d.Pool2dCase, layout: str) -> None:
    x = normal(str(case), size=case.size)
    x = x.transpose(0, 2, 3, 1) if layout == "NHWC" else x
    check_bfloat16(
        lambda t: getattr(F, case.function)(t, *case.args, **case.options, layout=layout),
        [x],
        str(case),
    )


@pytest.mark.parametrize("statistics", [np.float32, BFLOAT16], ids=["float32", "bfloat16"])
@pytest.mark.parametrize("case", bn.CASES, ids=str)
def test_batch_norm(case: bn.BatchNormCase, statistics: Any) -> None:
    """Per-channel arrays of the input's type, or of float32 (exact here: they hold bfloat16 numbers)."""
    channels, g = case.size[1], rng(str(case))
    x, dy = (to_bfloat16(g.standard_normal(case.size)) for _ in range(2))
    weight, bias, mean = (to_bfloat16(g.standard_normal(channels)) for _ in range(3))
    var = to_bfloat16(g.random(channels) + 0.5)

    def run(dtype: Any, other: Any) -> list[Any]:
        leaves = [fc.tensor(x.astype(dtype), requires_grad=True)]
        if case.affine:
            leaves += [fc.tensor(v.astype(other), requires_grad=True) for v in (weight, bias)]
        running = [v.astype(other) for v in (mean, var)]
        more = leaves[1:] if case.affine else (None, None)
        y = F.batch_norm(leaves[0], *running, *more, case.training, case.momentum, case.eps)
        y.backward(dy.astype(dtype))
        gradients = [leaf.grad.numpy() for leaf in leaves if leaf.grad is not None]
        return [y.numpy(), *gradients, *running]

    got, exact = run(BFLOAT16, statistics), run(np.float64, np.float64)
    assert len(got) == len(exact) == (6 if case.affine else 4)
    for i, (a, e) in enumerate(zip(got, exact, strict=True)):
        per_channel = i > 1
        assert a.dtype == (statistics if per_channel else BFLOAT16)
        assert_rounded(to_bfloat16(a), e, f"{case}: {i}", 3e-5)


# Threads


@pytest.mark.parametrize(
    "function",
    [
        F.gelu,
        lambda x: F.softmax(x, -1),
        lambda x: F.softmax(x, 1),
        lambda x: F.add(x, x),
        lambda x: F.sum(x),
        lambda x: F.mean(x, (0, 2)),
        lambda x: F.linear(x, to_bfloat16(normal("w", size=(37, 66)))),
        lambda x: F.local_response_norm(x, 5, 0.3),
        lambda x: F.local_response_norm(x, 5, 0.3, layout="NHWC"),
        lambda x: F.pad(x, (3, 2), "reflect"),
        lambda x: F.mse_loss(x, F.relu(x)),
        lambda x: F.cross_entropy(x, np.zeros((9, 66), np.int64)),
        lambda x: F.max_pool2d(F.reshape(x, (9, 301, 66, 1)), (2, 1)),
        lambda x: F.batch_norm(x, None, None, training=True),
        lambda x: F.conv2d(
            F.reshape(x, (9, 301, 66, 1)), to_bfloat16(normal("k", size=(8, 301, 3, 1)))
        ),
    ],
)
def test_same_bits_for_threads(function: Any) -> None:
    x = to_bfloat16(normal("threads", size=(9, 301, 66)))

    def run() -> list[Any]:
        t = fc.tensor(x, requires_grad=True)
        y = function(t)
        y.backward(to_bfloat16(normal("g", size=y.shape)))
        assert t.grad is not None
        return [y.numpy().view(np.uint16), t.grad.numpy().view(np.uint16)]

    check_same_bits_for_threads(run)


# Types that do not go together

B, S = to_bfloat16(np.ones((4, 6))), np.ones((4, 6), np.float32)
IMAGE, FILTER = to_bfloat16(np.ones((1, 2, 5, 5))), np.ones((3, 2, 3, 3), np.float32)


@pytest.mark.parametrize(
    "call",
    [
        lambda: F.add(B, S),
        lambda: F.mul(S, B),
        lambda: F.mul(B, B.astype(np.float64)),
        lambda: F.linear(B, S),
        lambda: F.linear(S, B),
        lambda: F.linear(B, B, np.ones(4, np.float32)),
        lambda: F.mse_loss(B, S),
        lambda: F.binary_cross_entropy_with_logits(B, B, S),
        lambda: F.cross_entropy(B, np.zeros(4, np.int64), np.ones(6, np.float32)),
        lambda: F.concat([B, S]),
        lambda: F.conv2d(IMAGE, FILTER),
        lambda: F.conv2d(IMAGE.astype(np.float32), to_bfloat16(FILTER)),
        lambda: F.conv2d(IMAGE, to_bfloat16(FILTER), np.ones(3, np.float32)),
        lambda: F.conv2d_input((1, 2, 5, 5), FILTER, to_bfloat16(np.ones((1, 3, 3, 3)))),
        lambda: F.conv2d_weight(IMAGE, (3, 2, 3, 3), np.ones((1, 3, 3, 3), np.float32)),
        lambda: F.conv_transpose2d(IMAGE, np.ones((2, 3, 3, 3), np.float32)),
        lambda: F.batch_norm(IMAGE, np.ones(2), np.ones(2)),
        lambda: F.batch_norm(IMAGE.astype(np.float32), *[to_bfloat16(np.ones(2))] * 2),
        lambda: F.cross_entropy(B, np.full((4, 6), 0.25, np.float32)),
        lambda: _core.activation_backward("relu", B, S, 0.0),
        lambda: _core.softmax_backward(B, S, 1, False),
        lambda: _core.linear_backward(B, B, S[:, :4], True, True, True),
        lambda: F.relu(np.ones(3, np.void(b"\0\0").dtype)),
        lambda: F.relu(np.ones(3, [("a", "i2")])),
    ],
)
def test_mixed_types_are_refused(call: Any) -> None:
    with pytest.raises(fc.DTypeError):
        call()
