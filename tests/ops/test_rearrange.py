"""Shuffles of pixels and channels, patches as columns, gates of halves, dropout that keeps mean and variance."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import fastconv as fc
import fastconv.functional as F
from fastconv import nn
from fastconv.program import TrainingStep
from tests.support import (
    assert_close,
    check_bfloat16,
    check_gradients,
    check_same_bits_for_threads,
    randn,
    rng,
)


def shuffled(x: Any, r: int) -> Any:
    n, c, h, w = x.shape
    y = np.zeros((n, c // r**2, h * r, w * r), x.dtype)
    for k in range(c):
        for i in range(h):
            for j in range(w):
                y[:, k // r**2, i * r + k % r**2 // r, j * r + k % r] = x[:, k, i, j]
    return y


def columns(x: Any, kernel: Any, dilation: Any, padding: Any, stride: Any) -> Any:
    """Windows, one element after the other."""
    n, c, h, w = x.shape
    (r, s), (dr, ds), (ph, pw), (sh, sw) = kernel, dilation, padding, stride
    p = (h + 2 * ph - dr * (r - 1) - 1) // sh + 1
    q = (w + 2 * pw - ds * (s - 1) - 1) // sw + 1
    y = np.zeros((n, c * r * s, p * q), x.dtype)
    for row in range(c * r * s):
        k, i, j = row // (r * s), row // s % r, row % s
        for place in range(p * q):
            a, b = place // q * sh - ph + i * dr, place % q * sw - pw + j * ds
            if 0 <= a < h and 0 <= b < w:
                y[:, row, place] = x[:, k, a, b]
    return y


WINDOWS: list[tuple[Any, ...]] = [
    ((2, 2), (1, 1), (0, 0), (2, 2)),
    ((3, 2), (1, 2), (1, 0), (2, 1)),
    ((2, 3), (2, 1), (2, 1), (1, 3)),
    ((1, 1), (1, 1), (0, 0), (1, 1)),
]


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_pixel_shuffle(dtype: Any) -> None:
    x = randn(rng("pixels"), 2, 18, 3, 4, dtype=dtype)
    for r in (1, 3):
        y = F.pixel_shuffle(x, r)
        np.testing.assert_array_equal(y, shuffled(x, r))
        np.testing.assert_array_equal(F.pixel_unshuffle(y, r), x)
        last = F.pixel_shuffle(np.moveaxis(x, 1, -1), r, layout="NHWC")
        np.testing.assert_array_equal(last, np.moveaxis(y, 1, -1))
        np.testing.assert_array_equal(
            F.pixel_unshuffle(last, r, layout="NHWC"), np.moveaxis(x, 1, -1)
        )
    np.testing.assert_array_equal(F.pixel_shuffle(x[0], 3), shuffled(x, 3)[0])
    np.testing.assert_array_equal(F.pixel_shuffle(x[None], 3), shuffled(x, 3)[None])


def test_tanhshrink() -> None:
    """A difference, so that its error is that of the input's rounding."""
    x = 3 * randn(rng("tanhshrink"), 1001)
    exact = x.astype(np.float64) - np.tanh(x.astype(np.float64))
    assert (np.abs(F.tanhshrink(x) - exact) <= 2.0**-22 * np.abs(x)).all()


def test_channel_shuffle() -> None:
    x = randn(rng("channels"), 2, 6, 3, 4)
    expected = x[:, [0, 3, 1, 4, 2, 5]]
    np.testing.assert_array_equal(F.channel_shuffle(x, 2), expected)
    last = F.channel_shuffle(np.moveaxis(x, 1, -1), 2, layout="NHWC")
    np.testing.assert_array_equal(last, np.moveaxis(expected, 1, -1))


@pytest.mark.parametrize("window", WINDOWS)
def test_unfold_and_fold(window: Any) -> None:
    x = randn(rng("unfold"), 2, 3, 6, 7, dtype=np.float64)
    y = columns(x, *window)
    np.testing.assert_array_equal(F.unfold(x, *window), y)
    np.testing.assert_array_equal(F.unfold(x[0], *window), y[0])
    seed = randn(rng("seed"), *y.shape, dtype=np.float64)
    # <unfold(x), seed> = <x, fold(seed)>, for every x.
    back = F.fold(seed, (6, 7), *window)
    expected = np.zeros_like(x)
    for index in np.ndindex(x.shape[1:]):
        one = np.zeros((1, *x.shape[1:]))
        one[(0, *index)] = 1
        expected[(slice(None), *index)] = (columns(one, *window) * seed).sum((1, 2))
    assert_close(back, expected, 1e-13)
    assert_close(F.fold(seed[0], (6, 7), *window), expected[0], 1e-13)
    check_gradients(lambda t: F.unfold(t, *window), [x[:1, :2]])
    check_gradients(lambda t: F.fold(t, (6, 7), *window), [seed[:1]])


FUNCTIONS: dict[str, tuple[Callable[[Any], Any], tuple[int, ...]]] = {
    "pixel_shuffle": (lambda x: F.pixel_shuffle(x, 2), (2, 24, 3, 4)),
    "pixel_unshuffle": (lambda x: F.pixel_unshuffle(x, 2), (2, 20, 4, 6)),
    "channel_shuffle": (lambda x: F.channel_shuffle(x, 4), (2, 20, 3, 4)),
    "unfold": (lambda x: F.unfold(x, (3, 2), 1, 1, (2, 1)), (2, 20, 5, 6)),
    "fold": (
        lambda x: F.fold(F.reshape(x, (x.shape[0], 40, -1)), (4, 5), 2, stride=1),
        (2, 20, 6, 4),
    ),
    "glu": (lambda x: F.glu(x, 1), (2, 20, 3, 4)),
    "softmin": (lambda x: F.softmin(x, 1), (2, 20, 3, 4)),
    "softsign": (F.softsign, (2, 20, 3, 4)),
    "softshrink": (F.softshrink, (2, 20, 3, 4)),
    "hardshrink": (F.hardshrink, (2, 20, 3, 4)),
    "threshold": (lambda x: F.threshold(x, 0.1, 3.0), (2, 20, 3, 4)),
    "logsigmoid": (F.logsigmoid, (2, 20, 3, 4)),
    "tanhshrink": (F.tanhshrink, (2, 20, 3, 4)),
}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_gradients(name: str) -> None:
    function, shape = FUNCTIONS[name]
    x = randn(rng(name), 1, *shape[1:]) * 2
    for kink in (-0.5, 0.1, 0.5):
        x = np.where(np.abs(x - kink) < 0.01, kink + 0.1, x)
    check_gradients(function, [x])


@pytest.mark.parametrize("name", ["pixel_shuffle", "channel_shuffle", "unfold", "fold", "glu"])
def test_threads_and_bfloat16(name: str) -> None:
    function, shape = FUNCTIONS[name]
    x = randn(rng(name), *shape)
    check_same_bits_for_threads(lambda: function(x))
    check_bfloat16(function, [x], name, 1e-2 if name == "glu" else 1e-5)


@pytest.mark.parametrize("name", FUNCTIONS)
def test_programs_and_training_steps(name: str) -> None:
    function, shape = FUNCTIONS[name]

    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = nn.Conv2d(3, shape[1], 3, padding=1)

        def forward(self, x: Any) -> Any:
            return function(self.conv(x))

    x = randn(rng(name), 2, 3, *shape[2:], dtype=np.float64)
    net = Net().to("float64")
    expected = net.eval()(x)
    assert_close(fc.compile(net, x, dtype="float64")(x), np.asarray(expected), 1e-12)
    target = np.zeros(np.shape(expected))
    net.train()
    F.mse_loss(net(fc.tensor(x)), target).backward()
    after = {n: p.numpy() - 0.5 * p.grad.numpy() for n, p in net.named_parameters()}  # type: ignore[union-attr]
    step = TrainingStep(net, nn.MSELoss(), fc.optim.SGD(net.parameters(), lr=0.5))
    step(x, target)
    for n, p in net.named_parameters():
        assert_close(p.numpy(), after[n], 1e-12, n)


MODULES: list[tuple[str, tuple[Any, ...], dict[str, Any], tuple[int, ...]]] = [
    ("PixelShuffle", (3,), {}, (2, 18, 2, 3)),
    ("PixelUnshuffle", (2,), {}, (2, 3, 4, 6)),
    ("ChannelShuffle", (3,), {}, (2, 6, 4, 4)),
    ("Unfold", ((2, 3),), {"dilation": 2, "padding": (1, 2), "stride": 2}, (2, 3, 7, 8)),
    ("Fold", ((5, 6), 2), {"padding": 1, "stride": (2, 1)}, (2, 12, 21)),
    ("Unflatten", (1, (2, -1)), {}, (3, 6, 2)),
    ("Unflatten", (-1, (2, 1)), {}, (3, 6, 2)),
    ("UpsamplingNearest2d", (), {"scale_factor": 2}, (2, 3, 4, 5)),
    ("UpsamplingBilinear2d", ((7, 3),), {}, (2, 3, 4, 5)),
    ("Softmin", (1,), {}, (2, 3, 4)),
    ("Softmax2d", (), {}, (2, 3, 4, 5)),
    ("Softmax2d", (), {}, (3, 4, 5)),
    ("Softsign", (), {}, (2, 3)),
    ("Tanhshrink", (), {}, (2, 3)),
    ("LogSigmoid", (), {}, (2, 3)),
    ("Hardshrink", (0.3,), {}, (4, 5)),
    ("Softshrink", (0.3,), {}, (4, 5)),
    ("Threshold", (0.2, -7.0), {}, (4, 5)),
    ("GLU", (1,), {}, (2, 6, 4)),
    ("GLU", (), {}, (2, 6)),
]


@pytest.mark.parametrize("case", MODULES, ids=lambda c: c[0])
def test_modules(case: Any) -> None:
    torch = pytest.importorskip("torch")
    name, arguments, options, shape = case
    x = randn(rng(name), *shape)
    theirs = getattr(torch.nn, name)(*arguments, **options)(torch.from_numpy(x))
    ours = getattr(nn, name)(*arguments, **options)
    assert_close(np.asarray(ours(x)), theirs.numpy(), 3e-6)
    assert type(ours).__name__ in repr(ours)


@pytest.mark.parametrize(
    ("function", "shape", "kept"),
    [
        (F.alpha_dropout, (300, 400), ()),
        (F.feature_alpha_dropout, (200, 300, 4), (2,)),
        (lambda *a: F.feature_alpha_dropout(*a, layout="NHWC"), (200, 4, 300), (1,)),
    ],
)
def test_alpha_dropout(function: Any, shape: tuple[int, ...], kept: tuple[int, ...]) -> None:
    fc.manual_seed(3)
    x = randn(rng("alpha"), *shape)
    p, low = 0.3, -1.7580993408473766
    y = function(x, p, True)
    scale = 1 / np.sqrt((low**2 * p + 1) * (1 - p))
    shift = -scale * p * low
    gone = np.isclose(y, scale * low + shift, rtol=0, atol=1e-5)
    assert_close(y[~gone], (scale * x + shift)[~gone], 1e-6)
    assert abs(gone.mean() - p) < 0.02
    for dim in kept:
        assert (gone.all(dim) == gone.any(dim)).all()
    assert abs(y.mean()) < 0.02 and abs(y.std() - 1) < 0.02
    assert function(x, p, False) is x
    assert (function(x, 1.0, True) == 0).all()
    t = fc.tensor(x, requires_grad=True)
    fc.manual_seed(3)
    function(t, p, True).sum().backward()
    assert t.grad is not None
    assert_close(t.grad.numpy(), np.where(gone, 0, scale), 1e-6)


def test_dropout_layers() -> None:
    x = np.ones((4, 6, 5), np.float32)
    fc.manual_seed(1)
    for layer, shape, whole in (
        (nn.Dropout1d(0.5), (6, 50), (1,)),
        (nn.Dropout2d(0.5), (6, 50, 7), (2,)),
        (nn.Dropout3d(0.5), (60, 3, 4, 5), (1, 2, 3)),
        (nn.Dropout1d(0.5, layout="NHWC"), (50, 60), (0,)),
    ):
        y = layer(np.ones(shape, np.float32))
        assert set(np.unique(y)) == {0.0, 2.0}
        assert (y.min(whole) == y.max(whole)).all()
    for alpha in (nn.AlphaDropout(0.4), nn.FeatureAlphaDropout(0.4)):
        y = alpha(x)
        assert len(np.unique(y)) == 2
        assert alpha.eval()(x) is x


def test_alpha_dropout_in_training_steps() -> None:
    x = randn(rng("t"), 4, 3, 6, 6)
    target = np.zeros((4, 20, 4, 4), np.float32)
    results = []
    for compiled in (True, False):
        fc.manual_seed(9)
        net = nn.Sequential(nn.Conv2d(3, 20, 3), nn.AlphaDropout(0.3), nn.FeatureAlphaDropout(0.2))
        optimizer = fc.optim.SGD(net.parameters(), lr=0.1)
        trainer = fc.train.Trainer(net, nn.MSELoss(), optimizer, compile=compiled)
        results.append([trainer.step(x, target) for _ in range(3)])
    np.testing.assert_allclose(results[0], results[1], rtol=1e-5)


@pytest.mark.parametrize(
    ("call", "error", "text"),
    [
        (
            lambda x: F.pixel_shuffle(x, 3),
            fc.ShapeError,
            "pixel_shuffle: the square of upscale_factor",
        ),
        (lambda x: F.pixel_shuffle(x[0, 0], 1), fc.ShapeError, "pixel_shuffle: input must have at"),
        (
            lambda x: F.pixel_unshuffle(x, 4),
            fc.ShapeError,
            "pixel_unshuffle: downscale_factor 4 must",
        ),
        (
            lambda x: F.pixel_shuffle(x, 0),
            fc.ShapeError,
            "pixel_shuffle: upscale_factor must be at",
        ),
        (lambda x: F.channel_shuffle(x, 3), fc.ShapeError, "channel_shuffle: groups=3 must divide"),
        (
            lambda x: F.channel_shuffle(x, 2.0),
            fc.DTypeError,
            "channel_shuffle: groups must be an int",
        ),
        (lambda x: F.unfold(x, 9), fc.ShapeError, "unfold: a kernel of height 9"),
        (lambda x: F.unfold(x[0, 0], 2), fc.ShapeError, r"unfold: input must be \(N, C, H, W\) or"),
        (lambda x: F.fold(x[0], (5, 5), 2), fc.ShapeError, "fold: 16 windows of 2 x 2 need"),
        (lambda x: F.fold(x, 5, 2), fc.ShapeError, r"fold: input must be \(N, C R S, L\)"),
        (lambda x: F.glu(x, 3), fc.ShapeError, "glu: dimension 3 must have an even size"),
        (
            lambda x: nn.Unflatten(1, (3, 2))(x),
            fc.ShapeError,
            "Unflatten: 8 elements of dimension 1",
        ),
        (lambda x: nn.Unflatten(7, (3, 2))(x), fc.ShapeError, "Unflatten: dim 7 does not exist"),
        (
            lambda x: nn.Unflatten(1, 3)(x),
            fc.DTypeError,
            "Unflatten: unflattened_size must be a seq",
        ),
        (lambda x: nn.Softmax2d()(x[0, 0]), fc.ShapeError, "Softmax2d: input must have 3 or 4"),
        (lambda x: nn.UpsamplingNearest2d(), fc.ShapeError, "UpsamplingNearest2d: expects either"),
        (lambda x: F.alpha_dropout(x, 2.0, True), fc.ShapeError, "alpha_dropout: p must be in"),
        (
            lambda x: F.feature_alpha_dropout(x[0, 0, 0]),
            fc.ShapeError,
            "feature_alpha_dropout: input",
        ),
        (lambda x: nn.Softshrink(-1.0), fc.ShapeError, "Softshrink: lambd"),
    ],
)
def test_bad_arguments(call: Any, error: type[Exception], text: str) -> None:
    with pytest.raises(error, match=text):
        call(randn(rng("bad"), 2, 8, 6, 5))
