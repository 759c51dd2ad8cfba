"""Initialisers: formulas, bounds, distributions, repeatability, and the layers' defaults."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import fastconv as fc
from fastconv import nn
from fastconv.nn import init

SHAPE = (64, 32, 3, 3)  # fan_in 288, fan_out 576

UNIFORM: list[tuple[Callable[..., Any], dict[str, Any], float]] = [
    (init.kaiming_uniform_, {}, math.sqrt(2) * math.sqrt(3 / 288)),
    (init.kaiming_uniform_, {"a": math.sqrt(5)}, 1 / math.sqrt(288)),
    (init.kaiming_uniform_, {"mode": "fan_out", "nonlinearity": "relu"}, math.sqrt(6 / 576)),
    (init.kaiming_uniform_, {"nonlinearity": "tanh"}, 5 / 3 * math.sqrt(3 / 288)),
    (init.xavier_uniform_, {}, math.sqrt(6 / 864)),
    (init.xavier_uniform_, {"gain": 2.0}, 2 * math.sqrt(6 / 864)),
    (init.uniform_, {"a": -0.25, "b": 0.25}, 0.25),
]
NORMAL: list[tuple[Callable[..., Any], dict[str, Any], float]] = [
    (init.kaiming_normal_, {}, math.sqrt(2 / 288)),
    (init.kaiming_normal_, {"mode": "fan_out", "nonlinearity": "relu"}, math.sqrt(2 / 576)),
    (init.kaiming_normal_, {"nonlinearity": "linear"}, math.sqrt(1 / 288)),
    (init.xavier_normal_, {"gain": 0.5}, 0.5 * math.sqrt(2 / 864)),
    (init.normal_, {"std": 3.0}, 3.0),
]


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(("fill", "options", "bound"), UNIFORM)
def test_uniform(fill: Callable[..., Any], options: Any, bound: float, dtype: Any) -> None:
    fc.manual_seed(0)
    parameter = nn.Parameter(np.zeros(SHAPE, dtype))
    assert fill(parameter, **options) is parameter
    values = parameter.numpy()
    assert values.dtype == dtype
    limit = float(dtype(bound))
    assert 0.999 * bound < values.max() <= limit * (1 + 1e-7)
    assert -0.999 * bound > values.min() >= -limit * (1 + 1e-7)
    assert abs(values.mean()) < 0.02 * bound
    assert values.std() == pytest.approx(bound / math.sqrt(3), rel=0.02)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(("fill", "options", "std"), NORMAL)
def test_normal(fill: Callable[..., Any], options: Any, std: float, dtype: Any) -> None:
    fc.manual_seed(0)
    values = fill(np.zeros(SHAPE, dtype), **options)
    assert values.std() == pytest.approx(std, rel=0.03)
    assert abs(values.mean()) < 0.03 * std
    assert np.mean(np.abs(values) < std) == pytest.approx(0.6827, abs=0.01)


@pytest.mark.parametrize(
    ("mean", "std", "a", "b"),
    [
        (0.0, 1.0, -2.0, 2.0),
        (0.0, 0.01, -2.0, 2.0),
        (1.0, 2.0, -1.0, 3.5),
        (0.0, 1.0, 1.0, 1.75),
        (0.0, 1.0, 1.5, math.inf),
        (2.0, 1.0, -30.0, 0.5),
        (0.0, 5.0, 2.0, 3.0),
        (0.0, 5.0, 9.0, 14.0),
    ],
)
def test_truncated_normal(mean: float, std: float, a: float, b: float) -> None:
    """Moments against integrals of the density over [a, b]."""
    b = min(b, 50.0)
    fc.manual_seed(0)
    values = init.trunc_normal_(np.zeros((200, 300)), mean, std, a, b)
    assert values.min() >= a and values.max() <= b
    x = np.linspace(max(a, mean - 12 * std), min(b, mean + 12 * std), 200_001)
    density = np.exp(-((x - mean) ** 2) / (2 * std * std))
    density /= density.sum()
    expected = float((x * density).sum())
    deviation = float(((x - expected) ** 2 * density).sum()) ** 0.5
    assert values.mean() == pytest.approx(expected, abs=5 * deviation / 60_000**0.5)
    assert values.std() == pytest.approx(deviation, rel=0.02)
    quarter = x[np.searchsorted(np.cumsum(density), 0.25)]
    assert np.mean(values < quarter) == pytest.approx(0.25, abs=0.01)


def test_constants_and_mean() -> None:
    assert init.ones_(np.zeros(3, np.float32)).tolist() == [1, 1, 1]
    assert init.zeros_(np.ones(3)).tolist() == [0, 0, 0]
    assert init.constant_(fc.tensor([0.0]), 2.5).numpy().tolist() == [2.5]
    assert init.normal_(np.zeros(4), mean=7, std=0).tolist() == [7] * 4
    strided = np.zeros((4, 4), np.float32)
    init.ones_(strided[::2])
    assert strided.sum() == 8


def test_seeds_and_generators() -> None:
    def draw() -> Any:
        return init.kaiming_uniform_(np.zeros((4, 4), np.float32)).copy()

    fc.manual_seed(3)
    first, second = draw(), draw()
    fc.manual_seed(3)
    assert np.array_equal(draw(), first) and np.array_equal(draw(), second)
    assert not np.array_equal(first, second)
    state = fc.random.get_state()
    own = [init.normal_(np.zeros(5), generator=np.random.default_rng(1)).tolist() for _ in range(2)]
    assert own[0] == own[1]
    assert fc.random.get_state() == state  # the library's generator was not touched


def test_empty_tensors() -> None:
    for fill in (init.kaiming_uniform_, init.xavier_normal_, init.kaiming_normal_):
        assert fill(np.zeros((0, 3), np.float32)).shape == (0, 3)
        assert fill(np.zeros((3, 0), np.float32)).shape == (3, 0)


def read_only() -> Any:
    array = np.zeros((2, 2), np.float32)
    array.flags.writeable = False
    return array


@pytest.mark.parametrize(
    ("call", "error", "match"),
    [
        (lambda: init.kaiming_uniform_(np.zeros(3, np.float32)), fc.ShapeError, "2 dimensions"),
        (lambda: init.xavier_normal_(np.zeros((), np.float32)), fc.ShapeError, "2 dimensions"),
        (lambda: init.ones_(np.zeros(3, np.int64)), fc.DTypeError, "int64"),
        (lambda: init.ones_([1.0]), fc.DTypeError, "list"),
        (lambda: init.zeros_(read_only()), fc.ShapeError, "read-only"),
        (lambda: init.uniform_(np.zeros(2), 1.0, 0.0), fc.ShapeError, "at most b"),
        (lambda: init.uniform_(np.zeros(2), math.nan, 0.0), fc.ShapeError, "finite"),
        (lambda: init.normal_(np.zeros(2), 0.0, -1.0), fc.ShapeError, "std"),
        (lambda: init.trunc_normal_(np.zeros(2), std=-1.0), fc.ShapeError, "std"),
        (lambda: init.trunc_normal_(np.zeros(2), a=1.0, b=1.0), fc.ShapeError, "below b"),
        (lambda: init.trunc_normal_(np.zeros(2), a=3.0, b=9.0), fc.ShapeError, "two deviations"),
        (lambda: init.trunc_normal_(np.zeros(2), 5.0, 0.0), fc.ShapeError, "two deviations"),
        (lambda: init.trunc_normal_([0.0]), fc.DTypeError, "list"),
        (lambda: init.constant_(np.zeros(2), "x"), fc.DTypeError, "number"),
        (
            lambda: init.kaiming_normal_(np.zeros((2, 2)), mode="fan"),
            fc.ShapeError,
            "'fan_in', 'fan_out'",
        ),
        (
            lambda: init.kaiming_normal_(np.zeros((2, 2)), nonlinearity="swish"),
            fc.ShapeError,
            "swish",
        ),
    ],
)
def test_bad_arguments(call: Callable[[], Any], error: Any, match: str) -> None:
    with pytest.raises(error, match=match):
        call()


LAYERS: list[tuple[Callable[[], Any], float]] = [
    (lambda: nn.Conv2d(32, 64, 3), 1 / math.sqrt(288)),
    (lambda: nn.Conv2d(32, 64, 3, groups=4), 1 / math.sqrt(72)),
    (lambda: nn.ConvTranspose2d(32, 64, 3), 1 / math.sqrt(576)),
    (lambda: nn.Linear(300, 200), 1 / math.sqrt(300)),
]


@pytest.mark.parametrize(("make", "bound"), LAYERS)
def test_default_layers_are_uniform_within_the_fan(make: Callable[[], Any], bound: float) -> None:
    fc.manual_seed(1)
    layer = make()
    for parameter in (layer.weight, layer.bias):
        values = parameter.numpy()
        assert np.abs(values).max() <= bound * (1 + 1e-6)
        assert np.abs(values).max() > 0.9 * bound
    assert layer.weight.numpy().std() == pytest.approx(bound / math.sqrt(3), rel=0.03)
    fc.manual_seed(1)
    assert np.array_equal(make().weight.numpy(), layer.weight.numpy())


@pytest.mark.parametrize("dtype", ["float32", "float64", "bfloat16"])
@pytest.mark.parametrize("kind", ["uniform_", "normal_"])
def test_pieces_of_large_arrays(kind: str, dtype: str, monkeypatch: Any) -> None:
    """The same values for any number of threads; each piece has others, and all the distribution."""
    monkeypatch.setattr(init, "_PIECE", 4000)
    if dtype == "bfloat16":
        dtype = pytest.importorskip("ml_dtypes").bfloat16
    before = fc.get_num_threads()
    made = []
    try:
        for threads in (1, 2, 4):
            fc.set_num_threads(threads)
            fc.manual_seed(5)
            array = np.full((9, 1111), np.nan, dtype)  # the last piece is a short one
            getattr(init, kind)(array, 1.0, 3.0)
            made.append((array, fc.random.generator().random()))
    finally:
        fc.set_num_threads(before)
    values = made[0][0].astype(np.float64).reshape(-1)
    for array, following in made[1:]:
        assert array.tobytes() == made[0][0].tobytes() and following == made[0][1]
    mean, deviation = (2.0, 2.0 / math.sqrt(12)) if kind == "uniform_" else (1.0, 3.0)
    for piece in (values[:4000], values[4000:8000], values[8000:]):
        assert piece.mean() == pytest.approx(mean, abs=5 * deviation / math.sqrt(piece.size))
        assert piece.std() == pytest.approx(deviation, rel=0.06)
    assert np.mean(values[:4000] == values[4000:8000]) < 0.05
    again = np.zeros((9, 1111), dtype)
    getattr(init, kind)(again, 1.0, 3.0, np.random.default_rng(1))
    repeated = np.zeros((9, 1111), dtype)
    getattr(init, kind)(repeated, 1.0, 3.0, np.random.default_rng(1))
    assert again.tobytes() == repeated.tobytes() != made[0][0].tobytes()


def test_default_batch_norm() -> None:
    layer = nn.BatchNorm2d(3)
    assert {k: v.tolist() for k, v in layer.state_dict().items()} == {
        "weight": [1, 1, 1],
        "bias": [0, 0, 0],
        "running_mean": [0, 0, 0],
        "running_var": [1, 1, 1],
        "num_batches_tracked": 0,
    }


def test_gains_and_distributions_are_pytorchs() -> None:
    torch = pytest.importorskip("torch")
    for name in ("linear", "conv2d", "conv_transpose2d", "sigmoid", "tanh", "relu", "selu"):
        assert init.calculate_gain(name) == torch.nn.init.calculate_gain(name)
    for slope in (None, 0.2, math.sqrt(5)):
        expected = torch.nn.init.calculate_gain("leaky_relu", slope)
        assert init.calculate_gain("leaky_relu", slope) == pytest.approx(expected, rel=1e-15)
    torch.manual_seed(0)
    fc.manual_seed(0)
    for ours, theirs in [
        (nn.Conv2d(32, 64, 3, groups=2), torch.nn.Conv2d(32, 64, 3, groups=2)),
        (nn.ConvTranspose2d(32, 64, 3, groups=2), torch.nn.ConvTranspose2d(32, 64, 3, groups=2)),
        (nn.Linear(400, 300), torch.nn.Linear(400, 300)),
    ]:
        for name, value in theirs.state_dict().items():
            mine = ours.state_dict()[name]
            assert mine.std() == pytest.approx(value.std().item(), rel=0.15)
            assert np.abs(mine).max() == pytest.approx(value.abs().max().item(), rel=0.06)
    for name in ("kaiming_uniform_", "kaiming_normal_", "xavier_uniform_", "xavier_normal_"):
        theirs = getattr(torch.nn.init, name)(torch.zeros(*SHAPE)).std().item()
        ours = getattr(init, name)(np.zeros(SHAPE, np.float32)).std()
        assert ours == pytest.approx(theirs, rel=0.02), name
