"""prelu: one weight, or one for each channel."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import fastconv as fc
import fastconv.functional as F
from tests.support import (
    assert_close,
    check_bfloat16,
    check_gradients,
    check_same_bits_for_threads,
    randn,
    rng,
)

# input, weight, layout
CASES: list[tuple[tuple[int, ...], tuple[int, ...], str]] = [
    ((2, 3, 5, 7), (3,), "NCHW"),
    ((2, 5, 7, 3), (3,), "NHWC"),
    ((2, 3, 5, 7), (1,), "NCHW"),
    ((2, 5, 7, 3), (), "NHWC"),
    ((4, 6), (6,), "NCHW"),
    ((4, 6), (6,), "NHWC"),
    ((2, 3, 4, 5, 2), (3,), "NCHW"),
    ((3, 4, 9), (4,), "NCHW"),
    ((3, 4, 9), (9,), "NHWC"),
    ((5,), (1,), "NCHW"),
    ((), (1,), "NCHW"),
    ((0, 3, 2, 2), (3,), "NCHW"),
]
_IDS = [f"{'x'.join(map(str, x))}-{w}-{layout}" for x, w, layout in CASES]


def operands(case: Any, dtype: Any = np.float64) -> tuple[Any, Any]:
    x, w, _ = case
    generator = rng("prelu", case)
    return np.asarray(randn(generator, *x), dtype), np.asarray(randn(generator, *w), dtype)


def expected(x: Any, w: Any, layout: str) -> Any:
    x, w = x.astype(np.float64), w.astype(np.float64)
    if w.size > 1:
        at = 1 if layout == "NCHW" else x.ndim - 1
        w = w.reshape([-1 if d == at else 1 for d in range(x.ndim)])
    else:
        w = w.reshape(())
    return np.where(x > 0, x, w * x)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("case", CASES, ids=_IDS)
def test_values(case: Any, dtype: Any) -> None:
    x, w = operands(case, dtype)
    y = F.prelu(x, w, layout=case[2])
    assert y.dtype == dtype
    assert_close(y, expected(x, w, case[2]), 1e-7 if dtype == np.float32 else 1e-15)


@pytest.mark.parametrize("case", CASES, ids=_IDS)
def test_gradients(case: Any) -> None:
    check_gradients(lambda x, w: F.prelu(x, w, layout=case[2]), operands(case))


@pytest.mark.parametrize("case", [c for c in CASES if c[2] == "NCHW" and c[1]], ids=str)
def test_matches_torch(case: Any) -> None:
    torch = pytest.importorskip("torch")
    x, w = operands(case, np.float32)
    if x.size > 2:
        x.reshape(-1)[:3] = 0.0, -0.0, np.nan
    theirs = [torch.from_numpy(v.copy()).requires_grad_() for v in (x, w)]
    ours = [fc.tensor(v, requires_grad=True) for v in (x, w)]
    result = torch.nn.functional.prelu(*theirs)
    g = np.asarray(randn(rng("g"), *result.shape))
    result.backward(torch.from_numpy(g))
    y = F.prelu(*ours)
    y.backward(g)
    np.testing.assert_array_equal(y.numpy(), result.detach().numpy())
    for mine, other in zip(ours, theirs, strict=True):
        assert mine.grad is not None
        assert_close(mine.grad, other.grad.numpy(), 3e-6)


def test_channels_last_views_stay_channels_last() -> None:
    x, w = randn(rng("x"), 2, 5, 4, 3), randn(rng("w"), 3)
    view = fc.Tensor(x.transpose(0, 3, 1, 2), requires_grad=True)
    y = F.prelu(view, fc.tensor(w, requires_grad=True))
    assert y.numpy().transpose(0, 2, 3, 1).flags.c_contiguous
    np.testing.assert_array_equal(y.numpy().transpose(0, 2, 3, 1), F.prelu(x, w, "NHWC"))


@pytest.mark.parametrize("case", CASES[:4], ids=_IDS[:4])
def test_bfloat16(case: Any) -> None:
    check_bfloat16(
        lambda x, w: F.prelu(x, w, layout=case[2]), operands(case), str(case), gradient_slack=2e-2
    )


def test_threads() -> None:
    x, w = randn(rng("x"), 5, 16, 33, 31), randn(rng("w"), 16)

    def run() -> Any:
        a, b = fc.tensor(x, requires_grad=True), fc.tensor(w, requires_grad=True)
        y = F.prelu(a, b)
        y.backward(x)
        return y, a.grad, b.grad

    check_same_bits_for_threads(run)


X = np.zeros((2, 3, 4, 4), np.float32)


@pytest.mark.parametrize(
    ("call", "error", "text"),
    [
        (lambda: F.prelu(X, np.zeros(4, "f4")), fc.ShapeError, "prelu: weight must have 1 or 3"),
        (lambda: F.prelu(X, np.zeros(3, "f4"), "NHWC"), fc.ShapeError, "weight must have 1 or 4"),
        (lambda: F.prelu(X, np.zeros((3, 1), "f4")), fc.ShapeError, r"got shape \(3, 1\)"),
        (lambda: F.prelu(X[0, 0, 0], np.zeros(4, "f4")), fc.ShapeError, "prelu: weight must"),
        (lambda: F.prelu(X, np.zeros(3)), fc.DTypeError, "prelu: weight must be float32"),
        (lambda: F.prelu(X.astype(int), np.zeros(3, int)), fc.DTypeError, "prelu: input must be"),
        (lambda: F.prelu(X, 0.25), fc.DTypeError, "prelu: weight must be an array"),
        (lambda: F.prelu(None, X), fc.DTypeError, "prelu: input must be an array"),
        (lambda: F.prelu(X, np.zeros(3, "f4"), "CHW"), fc.ShapeError, "prelu: layout must be"),
    ],
)
def test_bad_arguments(call: Any, error: type[Exception], text: str) -> None:
    with pytest.raises(error, match=text):
        call()
