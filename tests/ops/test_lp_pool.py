"""Norms of windows against loops in float64 and PyTorch."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import fastconv as fc
import fastconv.functional as F
from fastconv import nn
from tests.support import assert_close, check_bfloat16, check_gradients, randn, rng

CASES: list[tuple[tuple[int, ...], tuple[Any, ...], dict[str, Any]]] = [
    ((2, 3, 9), (2, 3), {}),
    ((2, 3, 9), (1, 2, 3), {}),
    ((2, 3, 9), (3.5, 4, 2), {"ceil_mode": True}),
    ((2, 3, 8, 9), (2, 3, 2), {"ceil_mode": True}),
    ((2, 3, 2), (2, 3), {"ceil_mode": True}),  # the only window hangs over the end
    ((2, 3, 6, 3), (2, (3, 4)), {"ceil_mode": True}),
    ((2, 3, 8, 9), (3, (2, 4), (3, 1)), {}),
    ((2, 3, 8, 9), (-1, 2), {}),
    ((2, 3, 4, 5, 6), (2, 2), {}),
    ((2, 3, 4, 5, 6), (1.5, (1, 2, 3), (2, 2, 2)), {"ceil_mode": True}),
]
cases = pytest.mark.parametrize(("shape", "args", "options"), CASES, ids=str)


def function(module: Any, shape: tuple[int, ...]) -> Any:
    return getattr(module, f"lp_pool{len(shape) - 2}d")


def positive(shape: tuple[int, ...], dtype: Any = np.float32) -> Any:
    return np.abs(randn(rng(shape), *shape, dtype=dtype)) + dtype(0.1)


@pytest.mark.parametrize("layout", ["NCHW", "NHWC"])
@pytest.mark.parametrize("p", [1, 2, 3.5])
def test_by_definition(p: float, layout: str) -> None:
    x = positive((2, 3, 6, 8), np.float64)
    windows = np.lib.stride_tricks.sliding_window_view(x, (3, 2), (2, 3))[:, :, ::2, ::3]
    expected = (windows**p).sum((-1, -2)) ** (1 / p)
    if layout == "NHWC":
        x, expected = np.moveaxis(x, 1, -1), np.moveaxis(expected, 1, -1)
    assert_close(F.lp_pool2d(x, p, (3, 2), (2, 3), layout=layout), expected, 1e-13)


@cases
def test_matches_torch(shape: Any, args: Any, options: Any) -> None:
    torch = pytest.importorskip("torch")
    x = positive(shape)
    theirs, ours = torch.from_numpy(x.copy()).requires_grad_(), fc.tensor(x, requires_grad=True)
    expected = function(torch.nn.functional, shape)(theirs, *args, **options)
    y = function(F, shape)(ours, *args, **options)
    assert_close(y.numpy(), expected.detach().numpy(), 4e-6)
    g = randn(rng("g", shape), *expected.shape)
    expected.backward(torch.from_numpy(g))
    y.backward(g)
    assert ours.grad is not None
    assert_close(ours.grad.numpy(), theirs.grad.numpy(), 1e-5)


@cases
def test_gradients_and_bfloat16(shape: Any, args: Any, options: Any) -> None:
    def run(x: Any) -> Any:
        return function(F, shape)(x, *args, **options)

    x = positive(shape, np.float64)
    check_gradients(run, [x])
    check_bfloat16(run, [x], slack=1e-4)


def test_layers() -> None:
    x = positive((2, 3, 8, 9))
    layer = nn.LPPool2d(2, 3, stride=2)
    np.testing.assert_array_equal(layer(x), F.lp_pool2d(x, 2, 3, 2))
    assert repr(layer) == "LPPool2d(norm_type=2, kernel_size=(3, 3), stride=(2, 2), padding=(0, 0))"
    assert nn.LPPool1d(2, 3)(x[..., 0]).shape == (2, 3, 2)
    assert nn.LPPool3d(2, (1, 2, 3), layout="NHWC")(x[..., None]).shape == (2, 3, 4, 3, 1)


X = np.ones((2, 3, 8, 9), np.float32)


@pytest.mark.parametrize(
    ("call", "error", "text"),
    [
        (lambda: F.lp_pool2d(X, 0, 2), fc.ShapeError, "lp_pool2d: norm_type must be finite"),
        (lambda: F.lp_pool2d(X, np.inf, 2), fc.ShapeError, "lp_pool2d: norm_type must be finite"),
        (lambda: F.lp_pool2d(X, "2", 2), fc.DTypeError, "lp_pool2d: norm_type must be a number"),
        (
            lambda: F.lp_pool2d(X[0, 0], 2, 2),
            fc.ShapeError,
            r"lp_pool2d: input must be \(N, C, H, W",
        ),
        (lambda: F.lp_pool2d(X, 2, 9), fc.ShapeError, "lp_pool2d: a kernel of height 9"),
        (lambda: F.lp_pool1d(X, 2, 2), fc.ShapeError, "lp_pool1d: input must be"),
        (lambda: nn.LPPool2d(np.nan, 2), fc.ShapeError, "LPPool2d: norm_type must be finite"),
    ],
)
def test_bad_arguments(call: Any, error: type[Exception], text: str) -> None:
    with pytest.raises(error, match=text):
        call()
