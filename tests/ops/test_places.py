"""Embeddings, one-hot classes, unpooled maxima, grids: against plain loops and PyTorch, in programs and steps."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import fastconv as fc
import fastconv.functional as F
from fastconv import _core, nn
from fastconv.program import TrainingStep
from tests.support import (
    assert_close,
    check_bfloat16,
    check_gradients,
    check_same_bits_for_threads,
    randn,
    rng,
)

SIZES = {1: (2, 20, 9), 2: (2, 20, 7, 8), 3: (2, 20, 5, 6, 4)}


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("shared", ["none", "outer", "inner"])
def test_native_gather_and_scatter(shared: str, dtype: Any) -> None:
    x = randn(rng(shared), 3, 7, 70, dtype=dtype)
    shape = {"none": (3, 5, 70), "outer": (1, 5, 70), "inner": (3, 5, 1)}[shared]
    index = rng(shared).integers(0, 7, shape)
    full = np.broadcast_to(index, (3, 5, 70))
    np.testing.assert_array_equal(_core.gather("op", x, index), np.take_along_axis(x, full, 1))
    y = randn(rng("y"), 3, 5, 70, dtype=dtype)
    summed, last = np.zeros((3, 7, 70)), np.zeros((3, 7, 70), dtype)
    for a, m, b in np.ndindex(3, 5, 70):
        summed[a, full[a, m, b], b] += y[a, m, b]
        last[a, full[a, m, b], b] = y[a, m, b]
    assert_close(_core.scatter("op", y, index, 7, True), summed, 1e-6)
    np.testing.assert_array_equal(_core.scatter("op", y, index, 7, False), last)
    check_same_bits_for_threads(lambda: _core.scatter("op", y, index, 7, True))
    check_same_bits_for_threads(lambda: _core.gather("op", x, index))
    for bad in (7, -1):
        index[0, 2, 0] = bad
        with pytest.raises(fc.ShapeError, match=f"op: place {bad} is outside of the 7 elements"):
            _core.gather("op", x, index)
    with pytest.raises(fc.ShapeError, match="op: places"):
        _core.gather("op", x, np.zeros((2, 5, 1), np.int64))


@pytest.mark.parametrize("kind", [np.int64, np.int32, np.uint8])
def test_embedding(kind: Any) -> None:
    torch = pytest.importorskip("torch")
    table = randn(rng("table"), 11, 6)
    words = rng("words").integers(0, 11, (3, 4)).astype(kind)
    words[0, :2] = 2
    theirs = torch.from_numpy(table).requires_grad_()
    expected = torch.nn.functional.embedding(torch.from_numpy(words.astype(np.int64)), theirs, -9)
    ours = fc.tensor(table, requires_grad=True)
    got = F.embedding(words, ours, -9)
    np.testing.assert_array_equal(got.numpy(), expected.detach().numpy())
    np.testing.assert_array_equal(F.embedding(words, table), table[words])
    seed = randn(rng("seed"), 3, 4, 6)
    expected.backward(torch.from_numpy(seed))
    got.backward(seed)
    assert ours.grad is not None
    assert_close(ours.grad, theirs.grad.numpy(), 1e-6)
    assert (ours.grad.numpy()[2] == 0).all()
    check_gradients(lambda w: F.embedding(words, w), [table])
    check_bfloat16(lambda w: F.embedding(words, w), [table])


def test_embedding_layer_learns_in_programs() -> None:
    """A network of words: an embedding, a convolution over them, and classes."""

    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.words = nn.Embedding(9, 6, padding_idx=0)
            self.conv = nn.Conv1d(6, 20, 2)
            self.classes = nn.Linear(20, 3)

        def forward(self, x: Any) -> Any:
            y = self.conv(F.transpose(self.words(x), 1, 2))
            return self.classes(F.amax(F.relu(y), 2))

    fc.manual_seed(4)
    net = Net()
    assert (net.words.weight.numpy()[0] == 0).all()
    words = rng("sentences").integers(0, 9, (4, 7))
    labels = np.array([0, 1, 2, 1])
    net.train()
    F.cross_entropy(net(fc.Tensor(words)), labels).backward()
    after = {n: p.numpy() - 0.5 * p.grad.numpy() for n, p in net.named_parameters()}  # type: ignore[union-attr]
    step = TrainingStep(net, nn.CrossEntropyLoss(), fc.optim.SGD(net.parameters(), lr=0.5))
    step(words, labels)
    for n, p in net.named_parameters():
        assert_close(p.numpy(), after[n], 1e-5, n)
    net.eval()
    assert_close(fc.compile(net, words)(words), np.asarray(net(words)), 1e-5)


def test_one_hot() -> None:
    torch = pytest.importorskip("torch")
    labels = rng("labels").integers(0, 5, (2, 3))
    labels[0, 0] = 4
    for count in (-1, 5, 7):
        got = F.one_hot(labels, count)
        expected = torch.nn.functional.one_hot(torch.from_numpy(labels), count)
        assert got.dtype == np.int64
        np.testing.assert_array_equal(got, expected.numpy())
    np.testing.assert_array_equal(F.one_hot(labels.astype(np.uint8)), np.eye(5, dtype=int)[labels])


@pytest.mark.parametrize("layout", ["NCHW", "NHWC"])
@pytest.mark.parametrize("count", [1, 2, 3])
def test_unpooling(count: int, layout: str) -> None:
    torch = pytest.importorskip("torch")
    x = randn(rng(count), *SIZES[count])
    for kernel, stride, padding, whole in ((2, None, 0, True), (3, 2, 1, True), (2, 2, 0, False)):
        pooled, where = getattr(torch.nn.functional, f"max_pool{count}d")(
            torch.from_numpy(x), kernel, stride, padding, return_indices=True
        )
        pooled.requires_grad_()
        size = x.shape[2:] if whole else None
        theirs = getattr(torch.nn.functional, f"max_unpool{count}d")
        expected = theirs(pooled, where, kernel, stride, padding, size)
        given = x if layout == "NCHW" else np.moveaxis(x, 1, -1)
        maxima, places = getattr(F, f"max_pool{count}d")(
            given, kernel, stride, padding, return_indices=True, layout=layout
        )
        ours = fc.tensor(maxima, requires_grad=True)
        layer = getattr(nn, f"MaxUnpool{count}d")(kernel, stride, padding, layout=layout)
        got = layer(ours, places, size)
        seed = randn(rng("seed"), *expected.shape)
        expected.backward(torch.from_numpy(seed))
        got.backward(seed if layout == "NCHW" else np.moveaxis(seed, 1, -1))
        back = lambda v: v if layout == "NCHW" else np.moveaxis(v, -1, 1)  # noqa: E731
        np.testing.assert_array_equal(back(got.numpy()), expected.detach().numpy())
        np.testing.assert_array_equal(back(ours.grad.numpy()), pooled.grad.numpy())  # type: ignore[union-attr]
        one = layer(maxima[0], places[0], size)
        np.testing.assert_array_equal(one, got.numpy()[0])
        full = layer(maxima, places, got.shape)
        np.testing.assert_array_equal(full, got.numpy())


def test_unpooling_gradients_and_bits() -> None:
    x = randn(rng("unpool"), 2, 3, 6, 6)
    maxima, places = F.max_pool2d(x, 2, return_indices=True)
    check_gradients(lambda m: F.max_unpool2d(m, places, 2), [maxima])
    check_bfloat16(lambda m: F.max_unpool2d(m, places, 2), [maxima])
    check_same_bits_for_threads(lambda: F.max_unpool2d(maxima, places, 2))


@pytest.mark.parametrize("channels", [6, 24])
def test_unpooling_in_programs_and_steps(channels: int) -> None:
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = nn.Conv2d(3, channels, 3, padding=1)
            self.pool = nn.MaxPool2d(2, return_indices=True)
            self.unpool = nn.MaxUnpool2d(2)
            self.last = nn.Conv2d(channels, 2, 1)

        def forward(self, x: Any) -> Any:
            y, places = self.pool(self.conv(x))
            return self.last(self.unpool(F.relu(y), places))

    x = randn(rng("net"), 2, 3, 6, 8, dtype=np.float64)
    net = Net().to("float64")
    compare(net, x)


def compare(net: Any, *inputs: Any) -> None:
    """Programs and training steps are what the tape is."""
    given = inputs if len(inputs) > 1 else inputs[0]
    expected = np.asarray(net.eval()(*inputs))
    dtype = str(inputs[0].dtype)
    assert_close(fc.compile(net, *inputs, dtype=dtype)(*inputs), expected, 1e-12)
    net.train()
    target = np.zeros_like(expected)
    F.mse_loss(net(*[fc.tensor(i) for i in inputs]), target).backward()
    after = {n: p.numpy() - 0.5 * p.grad.numpy() for n, p in net.named_parameters()}
    step = TrainingStep(net, nn.MSELoss(), fc.optim.SGD(net.parameters(), lr=0.5))
    step(given, target)
    for n, p in net.named_parameters():
        assert_close(p.numpy(), after[n], 1e-12, n)


@pytest.mark.filterwarnings(
    "ignore:Since version 1.3.0"
)  # PyTorch's, of corners that are one pixel
@pytest.mark.parametrize("corners", [False, True])
@pytest.mark.parametrize("size", [(2, 3, 4, 5), (2, 1, 1, 3), (2, 1, 2, 3, 4)])
def test_affine_grid(size: Any, corners: bool) -> None:
    torch = pytest.importorskip("torch")
    count = len(size) - 2
    theta = randn(rng("theta", size), 2, count, count + 1, dtype=np.float64)
    expected = torch.nn.functional.affine_grid(torch.from_numpy(theta), size, corners)
    assert_close(F.affine_grid(theta, size, corners), expected.numpy(), 1e-13)
    check_gradients(lambda t: F.affine_grid(t, size, corners), [theta])


MODES = [
    (m, p, c)
    for m in ("bilinear", "nearest")
    for p in ("zeros", "border", "reflection")
    for c in (0, 1)
]


@pytest.mark.parametrize(("mode", "padding", "corners"), MODES)
@pytest.mark.parametrize("shape", [(2, 3, 4, 5), (2, 2, 3, 4, 2), (1, 1, 1, 1)])
def test_grid_sample(shape: Any, mode: str, padding: str, corners: int) -> None:
    torch = pytest.importorskip("torch")
    count = len(shape) - 2
    x = randn(rng("x", shape), *shape, dtype=np.float64)
    grid = 1.3 * randn(rng("grid", shape), shape[0], *(3, 4, 2)[:count], count, dtype=np.float64)
    theirs = [torch.from_numpy(v.copy()).requires_grad_() for v in (x, grid)]
    expected = torch.nn.functional.grid_sample(*theirs, mode, padding, bool(corners))
    ours = [fc.tensor(v, requires_grad=True) for v in (x, grid)]
    got = F.grid_sample(*ours, mode, padding, bool(corners))
    assert_close(got.numpy(), expected.detach().numpy(), 1e-12)
    seed = randn(rng("seed"), *expected.shape, dtype=np.float64)
    expected.backward(torch.from_numpy(seed))
    got.backward(seed)
    assert_close(ours[0].grad, theirs[0].grad.numpy(), 1e-12)
    if mode == "bilinear":
        assert_close(ours[1].grad, theirs[1].grad.numpy(), 1e-11)


def test_grid_sample_by_its_definition() -> None:
    x = randn(rng("definition"), 1, 1, 3, 4, dtype=np.float64)
    grid = np.array([[[[-1, -1], [0, 0], [1 / 3, -0.5], [3, 0]]]], np.float64)
    got = F.grid_sample(x, grid, align_corners=True)[0, 0, 0]
    p = x[0, 0]
    expected = [p[0, 0], (p[1, 1] + p[1, 2]) / 2, (p[0, 2] + p[1, 2]) / 2, 0.0]
    assert_close(got, expected, 1e-12)


def test_spatial_transformer_in_programs_and_steps() -> None:
    class Transformer(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.locate = nn.Conv2d(2, 6, (5, 6))
            self.conv = nn.Conv2d(2, 20, 3)

        def forward(self, x: Any) -> Any:
            theta = F.reshape(self.locate(x), (x.shape[0], 2, 3))
            return self.conv(F.grid_sample(x, F.affine_grid(theta, x.shape)))

    x = randn(rng("transformer"), 3, 2, 5, 6, dtype=np.float64)
    compare(Transformer().to("float64"), x)


X = randn(rng("bad"), 2, 3, 4, 4)


@pytest.mark.parametrize(
    ("call", "error", "text"),
    [
        (
            lambda: F.embedding(np.array([3]), X[0, 0, :3]),
            fc.ShapeError,
            "embedding: place 3 is outside",
        ),
        (
            lambda: F.embedding(np.array([1.0]), X[0, 0]),
            fc.DTypeError,
            "embedding: input must be integers",
        ),
        (
            lambda: F.embedding(np.array([1]), X),
            fc.ShapeError,
            r"embedding: weight must be \(V, D\)",
        ),
        (
            lambda: F.embedding(np.array([1]), X[0, 0], 4),
            fc.ShapeError,
            "embedding: padding_idx must be",
        ),
        (lambda: nn.Embedding(3, 4, 3), fc.ShapeError, "Embedding: padding_idx must be in"),
        (
            lambda: F.one_hot(np.array([3]), 3),
            fc.ShapeError,
            r"one_hot: labels must be in \[0, 3\)",
        ),
        (
            lambda: F.one_hot(np.array([3]), 0),
            fc.ShapeError,
            "one_hot: num_classes must be at least 1",
        ),
        (
            lambda: F.max_unpool2d(X, np.full(X.shape, 99), 2),
            fc.ShapeError,
            "max_unpool2d: place 99 is outside of the 64 elements",
        ),
        (
            lambda: F.max_unpool2d(X, np.zeros(X.shape, int), 2, output_size=(10, 8)),
            fc.ShapeError,
            "max_unpool2d: output_size must differ",
        ),
        (lambda: F.max_unpool1d(X, X, 2), fc.DTypeError, "max_unpool1d: indices must be integers"),
        (
            lambda: F.max_unpool3d(X, np.zeros(X.shape[1:], int), 2),
            fc.ShapeError,
            "max_unpool3d: indices must have the input's shape",
        ),
        (
            lambda: F.affine_grid(X[0, 0], (2, 1, 3, 3)),
            fc.ShapeError,
            "affine_grid: theta must have",
        ),
        (lambda: F.affine_grid(X[0, :2, :3], (2, 3)), fc.ShapeError, "affine_grid: size must be"),
        (
            lambda: F.grid_sample(X, X[:, :, :, :2], align_corners=1),
            fc.DTypeError,
            "grid_sample: align_corners must be a bool",
        ),
        (lambda: F.grid_sample(X, X), fc.ShapeError, r"grid_sample: expects \(N, C, H, W\) and"),
        (
            lambda: F.grid_sample(X, X[:, :, :, :2], "bicubic"),
            fc.ShapeError,
            "grid_sample: mode must be 'bilinear' or 'nearest'",
        ),
        (
            lambda: F.grid_sample(X, np.full((2, 1, 1, 2), np.nan, np.float32)),
            fc.ShapeError,
            "grid_sample: grid must be finite",
        ),
    ],
)
def test_bad_arguments(call: Any, error: type[Exception], text: str) -> None:
    with pytest.raises(error, match=text):
        call()
