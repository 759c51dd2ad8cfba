"""One- and three-dimensional convolution against loops in float64 and PyTorch."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest

import fastconv as fc
import fastconv.functional as F
from fastconv import nn
from tests.cases.spatial import CONVOLUTIONS, Case
from tests.support import (
    assert_close,
    check_bfloat16,
    check_gradients,
    check_same_bits_for_threads,
    randn,
    rng,
)

cases = pytest.mark.parametrize("case", CONVOLUTIONS, ids=str)


def data(case: Case, dtype: Any = np.float32) -> list[Any]:
    shapes = (case.shape, case.weight, (case.outputs,))
    return [randn(rng(i, str(case)), *s, dtype=dtype) for i, s in enumerate(shapes)]


def run(case: Case, x: Any, w: Any, b: Any = None, layout: str = "NCHW") -> Any:
    return getattr(F, case.function)(x, w, b, layout=layout, **case.options)


def by_loops(case: Case, x: Any, w: Any, b: Any) -> Any:
    """One output, or for the transposed form one input, at a time."""
    rank = x.ndim - 2
    o = case.options

    def each(name: str, default: int) -> tuple[int, ...]:
        v = o.get(name, default)
        return v if isinstance(v, tuple) else (v,) * rank

    stride, dilation, kernel = each("stride", 1), each("dilation", 1), w.shape[2:]
    padding = o.get("padding", 0)
    spans = [d * (k - 1) for d, k in zip(dilation, kernel, strict=True)]
    if padding == "same":
        before = [s // 2 for s in spans]
        after = [s - s // 2 for s in spans]
    else:
        padding = 0 if padding == "valid" else padding
        before = after = list(padding if isinstance(padding, tuple) else (padding,) * rank)
    groups = o.get("groups", 1)
    if "transpose" in case.function:
        extra = each("output_padding", 0)
        full = [
            (n - 1) * s + span + 1 + e
            for n, s, span, e in zip(x.shape[2:], stride, spans, extra, strict=True)
        ]
        y = np.zeros((x.shape[0], w.shape[1] * groups, *full))
        for i in itertools.product(*map(range, x.shape[2:])):
            for t in itertools.product(*map(range, kernel)):
                at = tuple(a * s + k * d for a, s, k, d in zip(i, stride, t, dilation, strict=True))
                for g in range(groups):
                    ins = slice(g * x.shape[1] // groups, (g + 1) * x.shape[1] // groups)
                    outs = slice(g * w.shape[1], (g + 1) * w.shape[1])
                    y[(slice(None), outs, *at)] += (
                        x[(slice(None), ins, *i)] @ w[(ins, slice(None), *t)]
                    )
        crop = [slice(p, n - p) for p, n in zip(before, full, strict=True)]
        return y[(slice(None), slice(None), *crop)] + b.reshape((-1,) + (1,) * rank)
    padded = np.pad(x, [(0, 0), (0, 0), *zip(before, after, strict=True)])
    sizes = [
        (n - span - 1) // s + 1 for n, span, s in zip(padded.shape[2:], spans, stride, strict=True)
    ]
    y = np.zeros((x.shape[0], w.shape[0], *sizes))
    each_in, each_out = w.shape[1], w.shape[0] // groups
    for i in itertools.product(*map(range, sizes)):
        window = padded[
            (
                slice(None),
                slice(None),
                *(
                    slice(a * s, a * s + span + 1, d)
                    for a, s, span, d in zip(i, stride, spans, dilation, strict=True)
                ),
            )
        ]
        for g in range(groups):
            outs = slice(g * each_out, (g + 1) * each_out)
            part = window[:, g * each_in : (g + 1) * each_in].reshape(x.shape[0], w[0].size)
            y[(slice(None), outs, *i)] = part @ w[outs].reshape(each_out, -1).T
    return y + b.reshape((-1,) + (1,) * rank)


def last(x: Any) -> Any:
    return np.ascontiguousarray(np.moveaxis(x, 1, -1))


@cases
def test_values(case: Case) -> None:
    arrays = data(case, np.float64)
    expected = by_loops(case, *arrays)
    assert_close(run(case, *arrays), expected, 1e-13)
    x, w, b = (a.astype(np.float32) for a in arrays)
    y = run(case, x, w, b)
    assert y.dtype == np.float32 and y.flags.c_contiguous
    assert_close(y, expected, 1e-5)
    assert_close(run(case, last(x), w, b, "NHWC"), last(expected), 1e-5)
    assert_close(run(case, x, w), by_loops(case, *arrays[:2], 0 * arrays[2]), 1e-5)


SMALL = [
    c for c in CONVOLUTIONS if 0 < np.prod(c.shape) * np.prod(c.weight) < 1e5 and c.shape[0] == 1
] + [c for c in CONVOLUTIONS if c.function.endswith("1d") and 0 < np.prod(c.shape) < 200]


@pytest.mark.parametrize("layout", ["NCHW", "NHWC"])
@pytest.mark.parametrize("case", SMALL, ids=str)
def test_gradients(case: Case, layout: str) -> None:
    x, w, b = data(case, np.float64)
    if layout == "NHWC":
        x = last(x)
    check_gradients(lambda x, w, b: run(case, x, w, b, layout), [x, w, b])


@pytest.mark.filterwarnings("ignore:Using padding='same'")
@pytest.mark.parametrize("case", [c for c in CONVOLUTIONS if c.shape[0]], ids=str)
def test_matches_torch(case: Case) -> None:
    torch = pytest.importorskip("torch")
    torch.set_num_threads(1)
    x, w, b = data(case)
    theirs = [torch.from_numpy(a.copy()).requires_grad_() for a in (x, w, b)]
    function = getattr(torch.nn.functional, case.function)
    expected = function(*theirs, **case.options)
    g = randn(rng("g", str(case)), *expected.shape)
    expected.backward(torch.from_numpy(g))
    for layout in ("NCHW", "NHWC"):
        flip = layout == "NHWC"
        ours = [fc.tensor(a, requires_grad=True) for a in (last(x) if flip else x, w, b)]
        y = run(case, *ours, layout=layout)
        y.backward(last(g) if flip else g)
        wanted = expected.detach().numpy()
        assert_close(y.numpy(), last(wanted) if flip else wanted, 1e-5)
        for i, (mine, other) in enumerate(zip(ours, theirs, strict=True)):
            gradient = other.grad.numpy()
            assert mine.grad is not None
            assert_close(mine.grad.numpy(), last(gradient) if flip and i == 0 else gradient, 2e-5)


@pytest.mark.parametrize("case", CONVOLUTIONS[:24], ids=str)
def test_bfloat16(case: Case) -> None:
    arrays = data(case)
    check_bfloat16(lambda *a: run(case, *a), arrays, slack=1e-4, gradient_slack=2e-2)


@pytest.mark.parametrize("case", CONVOLUTIONS[-11:-2], ids=str)
def test_threads(case: Case) -> None:
    arrays = data(case)
    check_same_bits_for_threads(lambda: run(case, *arrays))


def test_autocast() -> None:
    x, w = np.ones((1, 2, 3, 4, 5), np.float32), np.ones((3, 2, 2, 2, 2), np.float32)
    with fc.autocast():
        for y in (F.conv3d(x, w), F.conv_transpose3d(x, np.ones((2, 3, 2, 2, 2), np.float32))):
            assert str(y.dtype) == "bfloat16"


LAYERS: list[tuple[Any, tuple[int, ...], str]] = [
    (lambda m: m.Conv1d(4, 6, 3, 2, 1, groups=2), (2, 4, 9), "Conv1d(4, 6, kernel_size=(3,), "),
    (lambda m: m.Conv3d(4, 6, (1, 2, 3), padding="same"), (2, 4, 3, 5, 6), "Conv3d(4, 6, kernel_"),
    (lambda m: m.ConvTranspose1d(4, 6, 3, 2, 1, 1, bias=False), (2, 4, 9), "ConvTranspose1d(4, 6"),
    (lambda m: m.ConvTranspose3d(4, 6, 2, (1, 2, 3)), (2, 4, 3, 5, 6), "ConvTranspose3d(4, 6, k"),
]


@pytest.mark.filterwarnings("ignore:Using padding='same'")
@pytest.mark.parametrize(("make", "shape", "text"), LAYERS)
def test_layers(make: Any, shape: Any, text: str) -> None:
    torch = pytest.importorskip("torch")
    ours, theirs = make(nn), make(torch.nn)
    assert repr(ours).startswith(text)
    state = {k: v.numpy() for k, v in theirs.state_dict().items()}
    assert {k: v.shape for k, v in ours.state_dict().items()} == {
        k: v.shape for k, v in state.items()
    }
    ours.load_state_dict(state)
    x = randn(rng(shape), *shape)
    with fc.no_grad():
        y = ours(x)
    assert_close(np.asarray(y), theirs(torch.from_numpy(x)).detach().numpy(), 1e-5)
    macs = nn.summary(ours, shape).macs
    dense = ours.weight.size * int(np.prod(shape[2:]))
    if "Transpose" in text:
        assert macs == dense * shape[0]
    else:
        assert macs == y.size * int(np.prod(ours.weight.shape[1:]))


X1, W1 = np.zeros((2, 4, 9), np.float32), np.zeros((6, 4, 3), np.float32)
X3, W3 = np.zeros((2, 4, 3, 4, 5), np.float32), np.zeros((6, 4, 3, 2, 2), np.float32)
V3 = np.zeros((4, 6, 3, 2, 2), np.float32)


@pytest.mark.parametrize(
    ("call", "error", "text"),
    [
        (lambda: F.conv1d(X3, W1), fc.ShapeError, r"conv1d: input must be \(N, C, L\), got shape"),
        (lambda: F.conv3d(X1, W3), fc.ShapeError, r"conv3d: input must be \(N, C, D, H, W\)"),
        (
            lambda: F.conv3d(X1, W3, layout="NHWC"),
            fc.ShapeError,
            r"conv3d: input must be \(N, D, H, W, C\)",
        ),
        (lambda: F.conv1d(X1[..., :0], W1), fc.ShapeError, "conv1d: .* no empty axis"),
        (lambda: F.conv1d(X1, W3), fc.ShapeError, "conv1d: weight must have 3 dimensions"),
        (lambda: F.conv1d(X1, W1[:0]), fc.ShapeError, "conv1d: weight must have .* none empty"),
        (lambda: F.conv1d(X1[:, :2], W1), fc.ShapeError, "conv1d: weight expects 4 input channels"),
        (lambda: F.conv1d(X1, W1, groups=3), fc.ShapeError, "conv1d: groups=3 must divide the 4"),
        (lambda: F.conv1d(X1, W1, X1[0, 0]), fc.ShapeError, r"conv1d: bias must have shape \(6,\)"),
        (lambda: F.conv1d(X1, W1.astype("f8")), fc.DTypeError, "conv1d: weight must be float32"),
        (lambda: F.conv1d(X1.astype(int), W1), fc.DTypeError, "conv1d: input must be float32"),
        (lambda: F.conv1d(X1, W1, stride=0), fc.ShapeError, "conv1d: stride must be at least 1"),
        (lambda: F.conv1d(X1, W1, stride=(1, 1)), fc.ShapeError, r"one each for \(length\), got 2"),
        (lambda: F.conv1d(X1, W1, dilation=5), fc.ShapeError, "conv1d: a kernel of length 3"),
        (lambda: F.conv1d(X1, W1, padding="full"), fc.ShapeError, "conv1d: padding must be"),
        (lambda: F.conv1d(X1, W1, stride=2, padding="same"), fc.ShapeError, "needs stride 1"),
        (lambda: F.conv1d(X1, W1, layout="NLC"), fc.ShapeError, "conv1d: layout must be"),
        (lambda: F.conv3d(X3, W3, dilation=2), fc.ShapeError, "conv3d: a kernel of depth 3"),
        (lambda: F.conv3d(X3, W3, stride=(1, 2)), fc.ShapeError, "for .depth, height, width., got"),
        (lambda: F.conv3d(X3, W3, padding=-1), fc.ShapeError, "conv3d: padding must be at least 0"),
        (
            lambda: F.conv3d(X3, W3, padding=2**31),
            fc.ShapeError,
            "conv3d: an array of shape .* is too large",
        ),
        (
            lambda: F.conv_transpose3d(X3, W3),
            fc.ShapeError,
            "conv_transpose3d: weight expects 6 input channels but the input has 4",
        ),
        (
            lambda: F.conv_transpose3d(X3, V3, stride=2, output_padding=2),
            fc.ShapeError,
            "conv_transpose3d: output_padding .depth. must be smaller",
        ),
        (
            lambda: F.conv_transpose1d(X1, W1[:4], padding=9),
            fc.ShapeError,
            "conv_transpose1d: the output length would be -7",
        ),
        (lambda: nn.Conv1d(4, 6, (3, 3)), fc.ShapeError, r"Conv1d: kernel_size must be .* \(len"),
        (lambda: nn.Conv3d(4, 6, (3, 3)), fc.ShapeError, r"Conv3d: kernel_size must be .* \(dep"),
        (lambda: nn.Conv3d(4, 6, 3, 2, "same"), fc.ShapeError, "Conv3d: padding 'same' needs"),
        (
            lambda: nn.ConvTranspose1d(4, 6, 3, output_padding=1),
            fc.ShapeError,
            "ConvTranspose1d: output_padding must be smaller",
        ),
    ],
)
def test_bad_arguments(call: Any, error: type[Exception], text: str) -> None:
    with pytest.raises(error, match=text):
        call()
