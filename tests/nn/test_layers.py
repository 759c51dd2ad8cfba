"""Every layer: is the function of its name, agrees with PyTorch's, refuses bad arguments."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import fastconv as fc
import fastconv.functional as F
from fastconv import nn
from tests.support import assert_close, randn, rng

X = (2, 4, 9, 8)

# (class, positional arguments, keywords, input shape, the same computation by functions); the
# class, arguments and keywords build PyTorch's layer too, where it has one.
LAYERS: list[tuple[str, tuple[Any, ...], dict[str, Any], tuple[int, ...], Any]] = [
    ("Conv2d", (4, 6, 3), {}, X, lambda m, x: F.conv2d(x, m.weight, m.bias)),
    (
        "Conv2d",
        (4, 6, (3, 2)),
        {"stride": 2, "padding": (1, 0), "dilation": (2, 1), "groups": 2, "bias": False},
        X,
        lambda m, x: F.conv2d(x, m.weight, None, 2, (1, 0), (2, 1), 2),
    ),
    (
        "Conv2d",
        (4, 6, 3),
        {"padding": "same", "dilation": 2},
        X,
        lambda m, x: F.conv2d(x, m.weight, m.bias, padding="same", dilation=2),
    ),
    (
        "ConvTranspose2d",
        (4, 6, 3),
        {"stride": 2, "padding": 1, "output_padding": (1, 0), "groups": 2, "dilation": (1, 2)},
        X,
        lambda m, x: F.conv_transpose2d(x, m.weight, m.bias, 2, 1, (1, 0), 2, (1, 2)),
    ),
    (
        "ConvTranspose2d",
        (4, 6, 3),
        {"bias": False},
        X,
        lambda m, x: F.conv_transpose2d(x, m.weight),
    ),
    ("Linear", (8, 5), {}, X, lambda m, x: F.linear(x, m.weight, m.bias)),
    ("Linear", (8, 5), {"bias": False}, (3, 8), lambda m, x: F.linear(x, m.weight)),
    ("MaxPool2d", (2,), {}, X, lambda m, x: F.max_pool2d(x, 2)),
    (
        "MaxPool2d",
        ((3, 2), (2, 1)),
        {"padding": 1, "dilation": (1, 2), "ceil_mode": True},
        X,
        lambda m, x: F.max_pool2d(x, (3, 2), (2, 1), 1, (1, 2), True),
    ),
    (
        "AvgPool2d",
        (3, 2),
        {"padding": 1, "ceil_mode": True, "count_include_pad": False},
        X,
        lambda m, x: F.avg_pool2d(x, 3, 2, 1, True, False),
    ),
    (
        "AvgPool2d",
        (2,),
        {"divisor_override": 3},
        X,
        lambda m, x: F.avg_pool2d(x, 2, divisor_override=3),
    ),
    ("SumPool2d", (2, 1), {}, X, lambda m, x: F.sum_pool2d(x, 2, 1)),
    (
        "AdaptiveAvgPool2d",
        ((3, None),),
        {},
        X,
        lambda m, x: F.adaptive_avg_pool2d(x, (3, 8)),
    ),
    ("AdaptiveMaxPool2d", (5,), {}, X, lambda m, x: F.adaptive_max_pool2d(x, 5)),
    ("GlobalAvgPool2d", (), {}, X, lambda m, x: F.global_avg_pool2d(x)),
    ("GlobalMaxPool2d", (), {}, X, lambda m, x: F.global_max_pool2d(x)),
    (
        "LocalResponseNorm",
        (3,),
        {"alpha": 0.1, "beta": 0.5, "k": 2.0},
        X,
        lambda m, x: F.local_response_norm(x, 3, 0.1, 0.5, 2.0),
    ),
    ("ReLU", (), {}, X, lambda m, x: F.relu(x)),
    ("ReLU6", (), {}, X, lambda m, x: F.relu6(x)),
    ("LeakyReLU", (0.3,), {}, X, lambda m, x: F.leaky_relu(x, 0.3)),
    ("ELU", (1.5,), {}, X, lambda m, x: F.elu(x, 1.5)),
    ("CELU", (0.5,), {}, X, lambda m, x: F.celu(x, 0.5)),
    ("SELU", (), {}, X, lambda m, x: F.selu(x)),
    ("Hardsigmoid", (), {}, X, lambda m, x: F.hardsigmoid(x)),
    ("Hardswish", (), {}, X, lambda m, x: F.hardswish(x)),
    ("Hardtanh", (-0.5, 0.75), {}, X, lambda m, x: F.hardtanh(x, -0.5, 0.75)),
    ("SiLU", (), {}, X, lambda m, x: F.silu(x)),
    ("Mish", (), {}, X, lambda m, x: F.mish(x)),
    ("Softplus", (2.0, 5.0), {}, X, lambda m, x: F.softplus(x, 2.0, 5.0)),
    ("PReLU", (), {}, X, lambda m, x: F.prelu(x, m.weight)),
    ("Sigmoid", (), {}, X, lambda m, x: F.sigmoid(x)),
    ("Tanh", (), {}, X, lambda m, x: F.tanh(x)),
    ("GELU", (), {}, X, lambda m, x: F.gelu(x)),
    ("GELU", ("tanh",), {}, X, lambda m, x: F.gelu(x, "tanh")),
    ("Softmax", (2,), {}, X, lambda m, x: F.softmax(x, 2)),
    ("LogSoftmax", (-1,), {}, X, lambda m, x: F.log_softmax(x, -1)),
    ("Flatten", (), {}, X, lambda m, x: F.flatten(x, 1)),
    ("Flatten", (0, 2), {}, X, lambda m, x: F.flatten(x, 0, 2)),
    ("ZeroPad2d", (2,), {}, X, lambda m, x: F.pad(x, (2, 2, 2, 2))),
    (
        "ConstantPad2d",
        ((1, 0, 2, 3), 1.5),
        {},
        X,
        lambda m, x: F.pad(x, (1, 0, 2, 3), value=1.5),
    ),
    ("Identity", (1, "x"), {"y": 2}, X, lambda m, x: x),
]
IDS = [f"{name}-{i}" for i, (name, *_) in enumerate(LAYERS)]
SPATIAL = {
    "Conv2d",
    "ConvTranspose2d",
    "MaxPool2d",
    "AvgPool2d",
    "SumPool2d",
    "AdaptiveAvgPool2d",
    "AdaptiveMaxPool2d",
    "GlobalAvgPool2d",
    "GlobalMaxPool2d",
    "LocalResponseNorm",
}


@pytest.mark.parametrize(("name", "args", "keywords", "shape", "function"), LAYERS, ids=IDS)
def test_a_layer_is_its_function(
    name: str, args: Any, keywords: Any, shape: Any, function: Callable[[Any, Any], Any]
) -> None:
    layer = getattr(nn, name)(*args, **keywords)
    x = randn(rng(name), *shape)
    expected = np.asarray(function(layer, x))
    got = layer(x)
    assert np.asarray(got).tobytes() == expected.tobytes()
    assert got.shape == expected.shape
    if any(True for _ in layer.parameters()):
        assert got.requires_grad
        got.backward(np.ones(got.shape, np.float32))
        assert all(p.grad is not None for p in layer.parameters())
        with fc.no_grad():
            assert not layer(x).requires_grad
    else:
        assert isinstance(got, np.ndarray)
        assert isinstance(layer(fc.tensor(x)), fc.Tensor)
    assert name in repr(layer)


@pytest.mark.parametrize(
    ("name", "args", "keywords", "shape", "function"),
    [case for case in LAYERS if case[0] in SPATIAL],
    ids=[i for i, case in zip(IDS, LAYERS, strict=True) if case[0] in SPATIAL],
)
def test_nhwc_is_nchw(name: str, args: Any, keywords: Any, shape: Any, function: Any) -> None:
    x = randn(rng(name), *shape)
    layer = getattr(nn, name)(*args, **keywords)
    other = getattr(nn, name)(*args, **keywords, layout="NHWC")
    other.load_state_dict(layer.state_dict())
    got = np.asarray(other(np.ascontiguousarray(x.transpose(0, 2, 3, 1))))
    assert_close(got.transpose(0, 3, 1, 2), np.asarray(layer(x)), 2e-6, name)
    assert other.layout == "NHWC" and "NHWC" in repr(other)


@pytest.mark.parametrize(("name", "args", "keywords", "shape", "function"), LAYERS, ids=IDS)
def test_a_layer_is_pytorchs(
    name: str, args: Any, keywords: Any, shape: Any, function: Callable[[Any, Any], Any]
) -> None:
    torch = pytest.importorskip("torch")
    torch.set_num_threads(1)
    if not hasattr(torch.nn, name):
        return  # sum and global pooling are compared above
    ours, theirs = getattr(nn, name)(*args, **keywords), getattr(torch.nn, name)(*args, **keywords)
    ours.load_state_dict(theirs.state_dict())
    x = randn(rng(name), *shape)
    a, b = fc.tensor(x, requires_grad=True), torch.tensor(x, requires_grad=True)
    y, expected = ours(a), theirs(b)
    assert_close(y.numpy(), expected.detach().numpy(), 1e-5, name)
    g = randn(rng(name, "g"), *y.shape)
    y.backward(g)
    expected.backward(torch.tensor(g))
    assert a.grad is not None
    assert_close(a.grad.numpy(), b.grad.numpy(), 1e-5, name)
    for p, q in zip(ours.parameters(), theirs.parameters(), strict=True):
        assert p.grad is not None
        assert_close(p.grad.numpy(), q.grad.numpy(), 1e-5, name)


def test_layers_in_float64() -> None:
    net = nn.Sequential(nn.Conv2d(1, 2, 3, dtype=np.float64), nn.Linear(6, 3, dtype="float64"))
    assert net(np.ones((1, 1, 8, 8))).dtype == np.float64
    assert nn.BatchNorm2d(2, dtype=np.float64).state_dict()["running_var"].dtype == np.float64


def test_softmax_without_dim() -> None:
    for shape, dim in [((4,), 0), ((3, 4), 1), ((2, 3, 4), 0), ((2, 3, 4, 5), 1)]:
        x = randn(rng(shape), *shape)
        np.testing.assert_array_equal(nn.Softmax()(x), F.softmax(x, dim))
        np.testing.assert_array_equal(nn.LogSoftmax()(x), F.log_softmax(x, dim))


def test_concat() -> None:
    a, b = randn(rng("a"), 2, 3, 4, 5), randn(rng("b"), 2, 1, 4, 5)
    expected = np.concatenate([a, b], 1)
    np.testing.assert_array_equal(nn.Concat()(a, b), expected)
    np.testing.assert_array_equal(nn.Concat(1)([a, b]), expected)


def test_return_indices() -> None:
    x = randn(rng("indices"), *X)
    y, where = nn.MaxPool2d(2, return_indices=True)(x)
    flat, picks = x.reshape(2, 4, -1), where.reshape(2, 4, -1)
    np.testing.assert_array_equal(np.take_along_axis(flat, picks, 2), y.reshape(2, 4, -1))
    y, where = nn.AdaptiveMaxPool2d(3, return_indices=True)(x)
    assert y.shape == where.shape == (2, 4, 3, 3)


def test_dropout_follows_the_mode_and_the_seed() -> None:
    layer, x = nn.Dropout(0.25), np.ones((100, 100), np.float32)
    fc.manual_seed(5)
    first, second = layer(x), layer(x)
    fc.manual_seed(5)
    np.testing.assert_array_equal(layer(x), first)
    assert (first != second).any()
    assert set(np.unique(first)) == {np.float32(0), np.float32(1 / 0.75)}
    assert np.mean(first == 0) == pytest.approx(0.25, abs=0.02)
    np.testing.assert_array_equal(layer.eval()(x), x)


def _batch_norm(shape: tuple[int, ...]) -> str:
    return f"BatchNorm{max(1, len(shape) - 2)}d"


def test_batch_norm_3d_with_channels_last() -> None:
    x = randn(rng("3d"), 2, 4, 3, 5, 6)
    last, first = nn.BatchNorm3d(6, layout="NHWC"), nn.BatchNorm3d(6)
    for training in (True, False):
        y = np.asarray(last.train(training)(x))
        other = np.asarray(first.train(training)(np.ascontiguousarray(np.moveaxis(x, -1, 1))))
        assert_close(np.moveaxis(y, -1, 1), other, 1e-5)
    assert "layout='NHWC'" in repr(last)


@pytest.mark.parametrize("momentum", [0.1, 0.7, None])
@pytest.mark.parametrize("shape", [(6, 3), (4, 3, 5), (4, 3, 2, 5), (4, 3, 2, 5, 3)])
def test_batch_norm_statistics(momentum: float | None, shape: tuple[int, ...]) -> None:
    layer: Any = getattr(nn, _batch_norm(shape))(3, momentum=momentum)
    draw = rng("bn", momentum, shape)
    axes = tuple(i for i in range(len(shape)) if i != 1)
    spread = (3,) + (1,) * (len(shape) - 2)
    mean, var = np.zeros(3), np.ones(3)
    for step in range(1, 5):
        x = (randn(draw, *shape) * 3 + 2).astype(np.float32)
        y = np.asarray(layer(x))
        m, v = x.mean(axes, dtype=np.float64), x.astype(np.float64).var(axes)
        assert_close(y, (x - m.reshape(spread)) / np.sqrt(v.reshape(spread) + 1e-5), 2e-5)
        share = 1 / step if momentum is None else momentum
        n = x.size // 3
        mean += share * (m - mean)
        var += share * (v * n / (n - 1) - var)
        assert layer.num_batches_tracked.item() == step
    assert_close(layer.running_mean.numpy(), mean, 2e-5)
    assert_close(layer.running_var.numpy(), var, 2e-5)
    layer.eval()
    kept = {k: v.tobytes() for k, v in layer.state_dict().items()}
    x = randn(draw, *shape)
    expected = (x - mean.reshape(spread)) / np.sqrt(var.reshape(spread) + 1e-5)
    assert_close(np.asarray(layer(x)), expected, 5e-5)
    assert {k: v.tobytes() for k, v in layer.state_dict().items()} == kept
    layer.reset_parameters()
    assert layer.num_batches_tracked.item() == 0 and layer.running_var.numpy().tolist() == [1] * 3


@pytest.mark.parametrize(
    "keywords",
    [
        {},
        {"affine": False},
        {"track_running_stats": False},
        {"momentum": None},
        {"momentum": 0.3, "eps": 0.1},
    ],
)
@pytest.mark.parametrize("shape", [(6, 3), (4, 3, 5), (4, 3, 2, 5), (4, 3, 2, 5, 3)])
def test_batch_norm_is_pytorchs(keywords: Any, shape: tuple[int, ...]) -> None:
    torch = pytest.importorskip("torch")
    torch.set_num_threads(1)
    name = _batch_norm(shape)
    ours, theirs = getattr(nn, name)(3, **keywords), getattr(torch.nn, name)(3, **keywords)
    for p, q in zip(ours.parameters(), theirs.parameters(), strict=True):
        values = randn(rng("affine"), 3)
        p.numpy()[...] = values
        q.data = torch.tensor(values)
    for step in range(6):
        if step == 4:
            ours.eval()
            theirs.eval()
        x = randn(rng(step), *shape) * 2 + 1
        a, b = fc.tensor(x, requires_grad=True), torch.tensor(x, requires_grad=True)
        y, expected = ours(a), theirs(b)
        assert_close(y.numpy(), expected.detach().numpy(), 1e-5)
        g = randn(rng(step, "g"), *shape)
        y.backward(g)
        expected.backward(torch.tensor(g))
        assert a.grad is not None
        assert_close(a.grad.numpy(), b.grad.numpy(), 2e-5)
    for p, q in zip(ours.parameters(), theirs.parameters(), strict=True):
        assert p.grad is not None
        assert_close(p.grad.numpy(), q.grad.numpy(), 1e-5)
    for k, v in theirs.state_dict().items():
        assert_close(ours.state_dict()[k], v.numpy(), 1e-5, k)


def test_batch_norm_refuses_other_ranks_and_counts_only_what_ran() -> None:
    for layer, shape in [
        (nn.BatchNorm2d(3), (4, 3)),
        (nn.BatchNorm1d(3), (4, 3, 2, 2)),
        (nn.BatchNorm3d(3), (4, 3, 2, 2)),
        (nn.BatchNorm2d(3), (4, 5, 2, 2)),
        (nn.BatchNorm1d(3), (4,)),
    ]:
        before = {k: v.tobytes() for k, v in layer.state_dict().items()}
        with pytest.raises(fc.ShapeError):
            layer(np.ones(shape, np.float32))
        assert {k: v.tobytes() for k, v in layer.state_dict().items()} == before
    with pytest.raises(fc.DTypeError, match="BatchNorm1d"):
        nn.BatchNorm1d(3)([1.0])


LOSSES: list[tuple[str, dict[str, Any], Any]] = [
    ("CrossEntropyLoss", {}, np.array([1, 0, 4, 2])),
    ("CrossEntropyLoss", {"label_smoothing": 0.1, "ignore_index": 2}, np.array([1, 0, 4, 2])),
    (
        "CrossEntropyLoss",
        {"weight": np.array([1, 2, 3, 4, 0.5], np.float32)},
        np.array([1, 0, 4, 2]),
    ),
    ("CrossEntropyLoss", {"label_smoothing": 0.1}, np.full((4, 5), 0.2, np.float32)),
    ("NLLLoss", {"ignore_index": 2}, np.array([1, 0, 4, 2])),
    ("MSELoss", {}, randn(rng("t"), 4, 5)),
    ("L1Loss", {}, randn(rng("t"), 4, 5)),
    ("HuberLoss", {"delta": 0.4}, randn(rng("t"), 4, 5)),
    ("BCEWithLogitsLoss", {}, np.ones((4, 5), np.float32)),
    (
        "BCEWithLogitsLoss",
        {"weight": np.ones((4, 1), np.float32), "pos_weight": np.full(5, 2.0, np.float32)},
        np.full((4, 5), 0.25, np.float32),
    ),
]


@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
@pytest.mark.parametrize(("name", "keywords", "target"), LOSSES)
def test_losses_are_their_functions(name: str, keywords: Any, target: Any, reduction: str) -> None:
    function = {
        "CrossEntropyLoss": F.cross_entropy,
        "NLLLoss": F.nll_loss,
        "MSELoss": F.mse_loss,
        "L1Loss": F.l1_loss,
        "HuberLoss": F.huber_loss,
        "BCEWithLogitsLoss": F.binary_cross_entropy_with_logits,
    }[name]
    x = randn(rng(name), 4, 5)
    got = getattr(nn, name)(reduction=reduction, **keywords)(x, target)
    expected = function(x, target, reduction=reduction, **keywords)
    np.testing.assert_array_equal(np.asarray(got), expected)


@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
@pytest.mark.parametrize(("name", "keywords", "target"), LOSSES)
def test_losses_are_pytorchs(name: str, keywords: Any, target: Any, reduction: str) -> None:
    torch = pytest.importorskip("torch")
    x = randn(rng(name), 4, 5)
    options = {
        k: torch.from_numpy(v) if isinstance(v, np.ndarray) else v for k, v in keywords.items()
    }
    expected = getattr(torch.nn, name)(reduction=reduction, **options)(
        torch.from_numpy(x), torch.from_numpy(target)
    )
    got = getattr(nn, name)(reduction=reduction, **keywords)(x, target)
    assert_close(np.asarray(got), expected.numpy(), 1e-6)


@pytest.mark.parametrize(
    ("call", "error", "match"),
    [
        (lambda: nn.Conv2d(0, 1, 3), fc.ShapeError, "Conv2d: in_channels must be at least 1"),
        (lambda: nn.Conv2d(1, -1, 3), fc.ShapeError, "out_channels"),
        (lambda: nn.Conv2d(1.0, 1, 3), fc.DTypeError, "in_channels must be an integer, got float"),
        (lambda: nn.Conv2d(True, 1, 3), fc.DTypeError, "in_channels"),
        (lambda: nn.Conv2d(1, 1, 0), fc.ShapeError, "kernel_size"),
        (lambda: nn.Conv2d(1, 1, (3, 3, 3)), fc.ShapeError, "got 3 values"),
        (lambda: nn.Conv2d(1, 1, "3"), fc.DTypeError, "kernel_size"),
        (lambda: nn.Conv2d(1, 1, 3, stride=0), fc.ShapeError, "stride"),
        (lambda: nn.Conv2d(1, 1, 3, padding=-1), fc.ShapeError, "padding"),
        (lambda: nn.Conv2d(1, 1, 3, padding="full"), fc.ShapeError, "'same', 'valid'"),
        (lambda: nn.Conv2d(1, 1, 3, 2, "same"), fc.ShapeError, "stride 1"),
        (lambda: nn.Conv2d(1, 1, 3, dilation=0), fc.ShapeError, "dilation"),
        (
            lambda: nn.Conv2d(3, 4, 3, groups=2),
            fc.ShapeError,
            "in_channels must be divisible by groups, got in_channels=3, groups=2",
        ),
        (lambda: nn.Conv2d(4, 3, 3, groups=2), fc.ShapeError, "out_channels=3"),
        (lambda: nn.Conv2d(1, 1, 3, groups=0), fc.ShapeError, "groups"),
        (lambda: nn.Conv2d(1, 1, 3, bias=1), fc.DTypeError, "bias must be True or False"),
        (lambda: nn.Conv2d(1, 1, 3, padding_mode="mirror"), fc.ShapeError, "'zeros'"),
        (lambda: nn.Conv2d(1, 1, 3, layout="NCWH"), fc.ShapeError, "'NCHW', 'NHWC'"),
        (lambda: nn.Conv2d(1, 1, 3, device="cuda"), fc.DeviceError, "'cuda'"),
        (lambda: nn.Conv2d(1, 1, 3, dtype=np.int8), fc.DTypeError, "int8"),
        (lambda: nn.Conv2d(1, 1, 3, dtype="no"), fc.DTypeError, "'no'"),
        (lambda: nn.ConvTranspose2d(1, 1, 3, padding="same"), fc.DTypeError, "padding"),
        (
            lambda: nn.ConvTranspose2d(1, 1, 3, output_padding=1),
            fc.ShapeError,
            "smaller than stride or dilation",
        ),
        (lambda: nn.ConvTranspose2d(3, 4, 3, groups=2), fc.ShapeError, "divisible"),
        (lambda: nn.Linear(0, 3), fc.ShapeError, "Linear: in_features"),
        (lambda: nn.Linear(3, 2.5), fc.DTypeError, "out_features"),
        (lambda: nn.MaxPool2d(0), fc.ShapeError, "MaxPool2d: kernel_size"),
        (lambda: nn.MaxPool2d(2, stride=(1, 0)), fc.ShapeError, "stride"),
        (lambda: nn.MaxPool2d(2, ceil_mode=1), fc.DTypeError, "ceil_mode"),
        (lambda: nn.MaxPool2d(2, dilation=0), fc.ShapeError, "dilation"),
        (lambda: nn.AvgPool2d(2, divisor_override=0), fc.ShapeError, "divisor_override"),
        (lambda: nn.SumPool2d(2, padding=-1), fc.ShapeError, "SumPool2d: padding"),
        (lambda: nn.AdaptiveAvgPool2d(0), fc.ShapeError, "output_size"),
        (lambda: nn.AdaptiveAvgPool2d((1, 2, 3)), fc.ShapeError, "one or two values"),
        (lambda: nn.AdaptiveMaxPool2d("7"), fc.DTypeError, "output_size"),
        (lambda: nn.GlobalAvgPool2d(layout="HWC"), fc.ShapeError, "layout"),
        (lambda: nn.BatchNorm2d(0), fc.ShapeError, "num_features"),
        (lambda: nn.BatchNorm2d(3, eps=-1), fc.ShapeError, "eps"),
        (lambda: nn.BatchNorm2d(3, momentum=1.5), fc.ShapeError, "between 0 and 1"),
        (lambda: nn.BatchNorm1d(3, affine=0), fc.DTypeError, "affine"),
        (lambda: nn.LocalResponseNorm(0), fc.ShapeError, "size"),
        (lambda: nn.LocalResponseNorm(3, alpha=math.nan), fc.ShapeError, "alpha"),
        (lambda: nn.LeakyReLU("x"), fc.DTypeError, "negative_slope"),
        (lambda: nn.ELU("x"), fc.DTypeError, "ELU: alpha"),
        (lambda: nn.Hardtanh(1.0, -1.0), fc.ShapeError, "Hardtanh: max_val"),
        (lambda: nn.Softplus(None), fc.DTypeError, "Softplus: beta"),
        (lambda: nn.PReLU(0), fc.ShapeError, "PReLU: num_parameters"),
        (lambda: nn.PReLU(1, "x"), fc.DTypeError, "PReLU: init"),
        (lambda: nn.PReLU(layout="CHW"), fc.ShapeError, "PReLU: layout"),
        (lambda: nn.ReLU(inplace=3), fc.DTypeError, "inplace"),
        (lambda: nn.GELU("erf"), fc.ShapeError, "approximate"),
        (lambda: nn.Softmax(1.5), fc.DTypeError, "dim"),
        (lambda: nn.Dropout(1.1), fc.ShapeError, "between 0 and 1"),
        (lambda: nn.Dropout2d(1.1), fc.ShapeError, "Dropout2d: p must lie between 0 and 1"),
        (lambda: nn.Dropout3d(layout="NDHWC"), fc.ShapeError, "Dropout3d: layout"),
        (lambda: nn.Dropout1d(inplace=1), fc.DTypeError, "Dropout1d: inplace"),
        (lambda: nn.Dropout("half"), fc.DTypeError, "Dropout: p must be a number"),
        (lambda: nn.Flatten(1.0), fc.DTypeError, "start_dim"),
        (lambda: nn.ZeroPad2d((1, 2)), fc.ShapeError, "left, right, top, bottom"),
        (lambda: nn.ConstantPad2d(1, "x"), fc.DTypeError, "value"),
        (lambda: nn.ZeroPad2d(1)(np.ones((2, 2), np.float32)), fc.ShapeError, "got 2"),
        (lambda: nn.MSELoss("average"), fc.ShapeError, "'none', 'mean', 'sum'"),
        (lambda: nn.CrossEntropyLoss(label_smoothing=2), fc.ShapeError, "label_smoothing"),
        (lambda: nn.CrossEntropyLoss(weight=[1.0]), fc.DTypeError, "weight is a buffer"),
        (lambda: nn.CrossEntropyLoss(ignore_index=1.5), fc.DTypeError, "ignore_index"),
        (lambda: nn.HuberLoss(delta=-1), fc.ShapeError, "delta"),
        (lambda: nn.Concat("x"), fc.DTypeError, "dim"),
    ],
)
def test_bad_arguments(call: Callable[[], Any], error: Any, match: str) -> None:
    with pytest.raises(error, match=match):
        call()
