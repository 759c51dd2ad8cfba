"""Borders as layers, and convolutions whose padding is not zeros: against PyTorch and NumPy."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import fastconv as fc
from fastconv import nn
from fastconv.train import Trainer
from tests.support import assert_close, check_gradients, randn, rng

SHAPES = {1: (2, 3, 9), 2: (2, 3, 6, 7), 3: (2, 3, 5, 6, 4)}
SIDES = {1: (2, 1), 2: (2, 1, 0, 3), 3: (2, 1, 0, 3, 1, 2)}
NUMPY = {"Constant": "constant", "Zero": "constant", "Reflection": "reflect"}
NUMPY |= {"Replication": "edge", "Circular": "wrap"}
LAYERS = [(kind, n) for kind in NUMPY for n in (1, 2, 3)]


def build(module: Any, kind: str, count: int, padding: Any, **options: Any) -> Any:
    value = (1.5,) if kind == "Constant" else ()
    return getattr(module, f"{kind}Pad{count}d")(padding, *value, **options)


@pytest.mark.parametrize("padding", ["each", "all"])
@pytest.mark.parametrize(("kind", "count"), LAYERS)
def test_values(kind: str, count: int, padding: str) -> None:
    x = randn(rng(kind, count), *SHAPES[count])
    sides = SIDES[count] if padding == "each" else (1,) * 2 * count
    layer = build(nn, kind, count, sides if padding == "each" else 1)
    pairs = [(sides[i], sides[i + 1]) for i in range(0, 2 * count, 2)][::-1]
    more = {"constant_values": 1.5} if kind == "Constant" else {}
    expected = np.pad(x, [(0, 0), (0, 0), *pairs], NUMPY[kind], **more)  # type: ignore[call-overload]
    np.testing.assert_array_equal(layer(x), expected)
    np.testing.assert_array_equal(layer(x[0]), expected[0])
    last = build(nn, kind, count, layer.padding, layout="NHWC")
    np.testing.assert_array_equal(last(np.moveaxis(x, 1, -1)), np.moveaxis(expected, 1, -1))


@pytest.mark.parametrize(("kind", "count"), LAYERS)
def test_against_torch(kind: str, count: int) -> None:
    torch = pytest.importorskip("torch")
    x = randn(rng(kind, count), *SHAPES[count])
    theirs = build(torch.nn, kind, count, SIDES[count])(torch.from_numpy(x))
    np.testing.assert_array_equal(build(nn, kind, count, SIDES[count])(x), theirs.numpy())


@pytest.mark.parametrize("layout", ["NCHW", "NHWC"])
@pytest.mark.parametrize("mode", ["reflect", "replicate", "circular"])
@pytest.mark.parametrize("count", [1, 2, 3])
def test_convolutions(count: int, mode: str, layout: str) -> None:
    torch = pytest.importorskip("torch")
    x = randn(rng(count, mode), *SHAPES[count])
    first = {1: (2,), 2: (2, 1), 3: (2, 0, 1)}[count]
    for options in (
        {"kernel_size": 3, "padding": first, "stride": 2},
        {"kernel_size": 2, "padding": "same", "dilation": 3},
        {"kernel_size": 3, "padding": "valid"},
    ):
        theirs = getattr(torch.nn, f"Conv{count}d")(3, 4, padding_mode=mode, **options)
        ours = getattr(nn, f"Conv{count}d")(3, 4, padding_mode=mode, layout=layout, **options)
        ours.load_state_dict({k: v.numpy() for k, v in theirs.state_dict().items()})
        assert list(ours.state_dict()) == list(theirs.state_dict())
        given = x if layout == "NCHW" else np.ascontiguousarray(np.moveaxis(x, 1, -1))
        value = torch.from_numpy(x).requires_grad_()
        expected = theirs(value)
        seed = randn(rng("seed"), *expected.shape)
        expected.backward(torch.from_numpy(seed))
        tensor = fc.tensor(given, requires_grad=True)
        result = ours(tensor)
        result.backward(seed if layout == "NCHW" else np.moveaxis(seed, 1, -1))
        got, dx = result.numpy(), tensor.grad.numpy()  # type: ignore[union-attr]
        if layout == "NHWC":
            got, dx = np.moveaxis(got, -1, 1), np.moveaxis(dx, -1, 1)
        assert_close(got, expected.detach().numpy(), 3e-6)
        assert_close(dx, value.grad.numpy(), 3e-6)
        assert_close(ours.weight.grad.numpy(), theirs.weight.grad.numpy(), 3e-6)
        one = ours(given[0])
        np.testing.assert_allclose(one.numpy(), result.numpy()[0], rtol=1e-4, atol=1e-5)


def test_gradients() -> None:
    layer = nn.Conv2d(2, 3, 3, padding=2, padding_mode="circular", dtype="float64")
    check_gradients(layer, [randn(rng("x"), 1, 2, 4, 5)])


@pytest.mark.parametrize("mode", ["reflect", "replicate", "circular"])
def test_programs_and_training(mode: str) -> None:
    x = randn(rng("program"), 2, 3, 8, 8)
    labels = np.array([1, 3])

    def net() -> Any:
        fc.manual_seed(3)
        return nn.Sequential(
            nn.Conv2d(3, 20, 3, padding=1, padding_mode=mode),
            nn.ReLU(),
            nn.ReflectionPad2d(1),
            nn.Conv2d(20, 4, 3),
            nn.GlobalAvgPool2d(),
            nn.Flatten(),
        )

    plain = net().eval()
    assert_close(fc.compile(plain, x)(x), np.asarray(plain(x)), 1e-5)
    losses = []
    for compiled in (True, False):
        model = net()
        optimizer = fc.optim.SGD(model.parameters(), lr=0.1)
        trainer = Trainer(model, nn.CrossEntropyLoss(), optimizer, compile=compiled)
        losses.append([trainer.step(x, labels) for _ in range(3)])
    np.testing.assert_allclose(losses[0], losses[1], rtol=1e-5)


def test_bad_arguments() -> None:
    for call, error, text in (
        (lambda: nn.Conv2d(1, 1, 3, padding_mode="mirror"), fc.ShapeError, "Conv2d: padding_mode"),
        (
            lambda: nn.ConvTranspose2d(1, 1, 3, padding_mode="reflect"),
            fc.ShapeError,
            "ConvTranspose2d: padding_mode must be one of 'zeros'",
        ),
        (
            lambda: nn.Conv2d(1, 1, 3, padding=2, padding_mode="reflect")(
                np.zeros((4, 4), np.float32)
            ),
            fc.ShapeError,
            "Conv2d: input must have 3 or 4 dimensions, got 2",
        ),
        (lambda: nn.ReflectionPad2d((1, 2)), fc.ShapeError, "ReflectionPad2d: padding must be"),
        (
            lambda: nn.ReplicationPad1d(1.5),
            fc.DTypeError,
            "ReplicationPad1d: padding must be an int",
        ),
        (lambda: nn.CircularPad2d(1, layout="HW"), fc.ShapeError, "CircularPad2d: layout"),
        (
            lambda: nn.ZeroPad3d(1)(np.zeros((2, 2), np.float32)),
            fc.ShapeError,
            "ZeroPad3d: the input must have 4 or 5 dimensions, got 2",
        ),
        (
            lambda: nn.ReflectionPad1d(4)(np.zeros((1, 4), np.float32)),
            fc.ShapeError,
            "^pad: ",
        ),
    ):
        with pytest.raises(error, match=text):
            call()


def test_circular_borders_wrap_what_was_not_cropped() -> None:
    x = np.arange(5.0)[np.newaxis]
    for sides, expected in (
        ((-1, 2), [1, 2, 3, 4, 1, 2]),
        ((2, -1), [2, 3, 0, 1, 2, 3]),
        ((-1, -1), [1, 2, 3]),
    ):
        assert np.asarray(nn.CircularPad1d(sides)(x)).tolist() == [expected]
    check_gradients(lambda v: nn.CircularPad1d((-1, 2))(v), [x])
