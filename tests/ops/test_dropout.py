"""dropout: the generator, the rate, the gradient."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import Any

import numpy as np
import pytest

import fastconv as fc
import fastconv.functional as F
from fastconv import _core, nn
from fastconv.train import Trainer
from tests.cases.dropout import CASES
from tests.support import check_same_bits_for_threads, randn, rng


def philox(counter: int, key: int) -> list[int]:
    """Philox-4x32-10 as published, one counter at a time."""
    c = [counter & 0xFFFFFFFF, counter >> 32, 0, 0]
    k = [key & 0xFFFFFFFF, key >> 32]
    for _ in range(10):
        p0, p1 = 0xD2511F53 * c[0], 0xCD9E8D57 * c[2]
        c = [(p1 >> 32) ^ c[1] ^ k[0], p1 & 0xFFFFFFFF, (p0 >> 32) ^ c[3] ^ k[1], p0 & 0xFFFFFFFF]
        k = [(k[0] + 0x9E3779B9) & 0xFFFFFFFF, (k[1] + 0xBB67AE85) & 0xFFFFFFFF]
    return c


def expected_mask(n: int, p: float, key: int) -> Any:
    words = np.empty((n + 63) // 64 * 64, np.uint64)
    for counter in range(len(words) // 4):
        at = counter // 16 * 64 + counter % 16
        words[at : at + 64 : 16][:4] = philox(counter, key)
    return words[:n] >= np.uint64(int(p * 2**32))


def test_philox_known_answers() -> None:
    # The published test vectors for a zero counter and key.
    assert philox(0, 0) == [0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8]


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("key", [0, 1, 2**64 - 1, 0x123456789ABCDEF0])
def test_kernel_draws_the_published_stream(key: int, dtype: Any) -> None:
    for n in (1, 16, 65, 1000):
        y = _core.dropout(np.ones(n, dtype), 0.3, key)
        np.testing.assert_array_equal(y, expected_mask(n, 0.3, key) / dtype(0.7))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(("shape", "p"), CASES)
def test_values_and_gradient(shape: tuple[int, ...], p: float, dtype: Any) -> None:
    fc.manual_seed(3)
    x = np.asarray(np.abs(randn(rng(shape), *shape)) + 0.1, dtype)
    t = fc.tensor(x, requires_grad=True)
    y = F.dropout(t, p)
    kept = y.numpy() != 0
    scale = dtype(1 / (1 - p)) if p < 1 else dtype(0)
    np.testing.assert_array_equal(y.numpy(), np.where(kept, x * scale, 0))
    if p in (0.0, 1.0):
        assert kept.all() if p == 0 else not kept.any()
    elif x.size > 1000:
        # Five standard deviations of a binomial share.
        assert abs(kept.mean() - (1 - p)) < 5 * np.sqrt(p * (1 - p) / x.size)
    if t is y:
        return
    y.backward(np.full(shape, 3, dtype))
    assert t.grad is not None
    np.testing.assert_array_equal(t.grad.numpy(), np.where(kept, 3 * scale, 0))


def test_seed_decides_the_mask() -> None:
    x = np.ones((50, 50), np.float32)
    fc.manual_seed(7)
    first, second = F.dropout(x), F.dropout(x)
    fc.manual_seed(7)
    np.testing.assert_array_equal(F.dropout(x), first)
    np.testing.assert_array_equal(F.dropout(x), second)
    assert (first != second).any()
    fc.manual_seed(7)
    np.testing.assert_array_equal(F.dropout(x.astype(np.float64)) != 0, first != 0)


def test_neighbours_are_independent() -> None:
    fc.manual_seed(1)
    kept = (F.dropout(np.ones(1_000_000, np.float32)) != 0) * 2.0 - 1
    for lag in (1, 4, 16, 64, 1024):
        assert abs((kept[lag:] * kept[:-lag]).mean()) < 0.005


def test_threads() -> None:
    x = randn(rng("threads"), 7, 100_003)

    def run() -> Any:
        fc.manual_seed(11)
        t = fc.tensor(x, requires_grad=True)
        y = F.dropout(t, 0.4)
        y.backward(x)
        assert t.grad is not None
        return y, t.grad

    check_same_bits_for_threads(run)


def test_every_isa_draws_the_same_mask() -> None:
    program = (
        "import numpy as np, zlib; from fastconv import _core;"
        "print(zlib.crc32(_core.dropout(np.ones(100003, np.float32), 0.37, 12345).tobytes()))"
    )
    seen = set()
    for isa in _core.available_isas():
        environment = {**os.environ, "FASTCONV_ISA": isa, "PYTHONPATH": os.pathsep.join(sys.path)}
        out = subprocess.run(
            [sys.executable, "-c", program], env=environment, capture_output=True, check=True
        )
        seen.add(out.stdout)
    assert len(seen) == 1


def test_without_training_the_input_comes_back() -> None:
    x = np.ones(5, np.float32)
    before = fc.random.get_state()
    assert F.dropout(x, 0.5, training=False) is x
    assert F.dropout(x, 0.0) is x
    assert fc.random.get_state() == before


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_nan_shows_where_it_is_dropped(dtype: Any) -> None:
    assert np.isnan(F.dropout(np.full(200, np.nan, dtype), 0.5)).all()
    assert np.isnan(F.dropout(np.full(200, np.nan, dtype), 1.0)).all()


def test_channels_last_view() -> None:
    fc.manual_seed(5)
    view = fc.Tensor(np.ones((2, 5, 4, 3), np.float32).transpose(0, 3, 1, 2), requires_grad=True)
    y = F.dropout(view, 0.5)
    assert y.numpy().transpose(0, 2, 3, 1).flags.c_contiguous
    y.backward(np.ones(y.shape, np.float32))
    assert view.grad is not None
    np.testing.assert_array_equal(view.grad.numpy(), y.numpy())


CHANNELS: list[tuple[str, tuple[int, ...]]] = [
    ("dropout1d", (60, 40, 5)),
    ("dropout2d", (60, 40, 3, 5)),
    ("dropout3d", (60, 40, 3, 2, 2)),
]


@pytest.mark.parametrize("layout", ["NCHW", "NHWC"])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(("function", "shape"), CHANNELS)
def test_whole_channels(function: str, shape: tuple[int, ...], dtype: Any, layout: str) -> None:
    """Each channel of each example is kept or not; what is kept, and its gradient, is scaled."""
    call = getattr(F, function)
    x = np.abs(randn(rng(shape), *shape, dtype=dtype)) + dtype(0.1)
    if layout == "NHWC":
        x = np.ascontiguousarray(np.moveaxis(x, 1, -1))
    t = fc.tensor(x, requires_grad=True)
    fc.manual_seed(6)
    y = call(t, 0.3, layout=layout)
    g = randn(rng("g"), *x.shape, dtype=dtype)
    y.backward(g)
    assert t.grad is not None
    fc.manual_seed(6)
    np.testing.assert_array_equal(call(x, 0.3, layout=layout), y.numpy())
    assert (call(x, 0.3, layout=layout) != y.numpy()).any()
    factor = y.numpy() / x
    channels = np.moveaxis(factor, -1, 1) if layout == "NHWC" else factor
    channels = channels.reshape(*channels.shape[:2], -1)
    np.testing.assert_allclose(channels, channels[..., :1] + 0 * channels, rtol=3e-7)
    kept = channels[..., 0] != 0
    assert abs(kept.mean() - 0.7) < 0.03
    np.testing.assert_allclose(channels[kept], 1 / 0.7, rtol=1e-6)
    np.testing.assert_allclose(t.grad.numpy(), g * factor, rtol=1e-6, atol=1e-12)


@pytest.mark.parametrize(("function", "shape"), CHANNELS)
def test_channels_in_inference(function: str, shape: tuple[int, ...]) -> None:
    x, before = np.ones(shape, np.float32), fc.random.get_state()
    assert getattr(F, function)(x, 0.5, training=False) is x
    assert getattr(F, function)(x, 0.0) is x
    assert fc.random.get_state() == before


def test_channels_of_a_channels_last_view() -> None:
    view = np.ones((2, 5, 4, 3), np.float32).transpose(0, 3, 1, 2)
    assert F.dropout2d(view, 0.5).transpose(0, 2, 3, 1).flags.c_contiguous


def test_dropped_channels_in_a_compiled_step() -> None:
    """Every step draws anew, the same masks as function by function."""
    results = []
    x, labels = randn(rng("step"), 6, 3, 5, 5), np.array([0, 1, 2, 3, 4, 0])
    for compiled in (True, False):
        fc.manual_seed(7)
        net = nn.Sequential(nn.Conv2d(3, 20, 3), nn.Dropout2d(0.4), nn.Flatten(), nn.Linear(180, 5))
        trainer = Trainer(
            net, F.cross_entropy, fc.optim.SGD(net.parameters(), lr=0.0), compile=compiled
        )
        results.append([trainer.step(x, labels) for _ in range(4)])
    np.testing.assert_allclose(*results, rtol=1e-4)
    assert len(set(results[0])) == 4


X = np.zeros((4, 3), np.float32)
IMAGE = np.zeros((2, 3, 4, 4), np.float32)


@pytest.mark.parametrize(
    ("call", "error", "text"),
    [
        (lambda: F.dropout(X, 1.5), fc.ShapeError, r"dropout: p must be in \[0, 1\], got 1.5"),
        (lambda: F.dropout(X, -0.1), fc.ShapeError, "dropout: p must be in"),
        (lambda: F.dropout(X, np.nan), fc.ShapeError, "dropout: p must be in"),
        (lambda: F.dropout(X, "half"), fc.DTypeError, "dropout: p must be a number"),
        (lambda: F.dropout(X, 0.5, 1), fc.DTypeError, "dropout: training must be a bool"),
        (lambda: F.dropout(X.astype(int)), fc.DTypeError, "dropout: input must be float32"),
        (lambda: F.dropout(X.astype(int), training=False), fc.DTypeError, "dropout: input must be"),
        (lambda: F.dropout(None), fc.DTypeError, "dropout: input must be an array"),
        (lambda: F.dropout2d(IMAGE[0, 0]), fc.ShapeError, "dropout2d: input must have 3 or 4"),
        (lambda: F.dropout1d(IMAGE), fc.ShapeError, "dropout1d: input must have 2 or 3"),
        (lambda: F.dropout3d(IMAGE[0]), fc.ShapeError, "dropout3d: input must have 4 or 5"),
        (lambda: F.dropout2d(IMAGE, 1.5), fc.ShapeError, "dropout2d: p must be in"),
        (lambda: F.dropout2d(IMAGE, layout="CHW"), fc.ShapeError, "dropout2d: layout must be"),
        (lambda: F.dropout2d(IMAGE.astype(int)), fc.DTypeError, "dropout2d: input must be float32"),
        (
            lambda: F.dropout2d(IMAGE, 0.5, None),
            fc.DTypeError,
            "dropout2d: training must be a bool",
        ),
        (lambda: _core.dropout(X, 2.0, 1), fc.ShapeError, "dropout: p must be in"),
        (lambda: _core.dropout(X, 0.5, -1), TypeError, "incompatible function arguments"),
    ],
)
def test_bad_arguments(call: Any, error: type[Exception], text: str) -> None:
    with pytest.raises(error, match=text):
        call()
