"""Local response normalisation against a float64 oracle, PyTorch, and finite differences."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import fastconv as fc
import fastconv.functional as F
from tests.cases.local_response_norm import CASES, LrnCase
from tests.support import assert_close, check_gradients, check_same_bits_for_threads, randn, rng

by_name = {"ids": str}


def run(case: LrnCase, x: Any, layout: str = "NCHW") -> Any:
    return F.local_response_norm(x, case.size, case.alpha, case.beta, case.k, layout=layout)


def in_layout(x: Any, layout: str) -> Any:
    return np.ascontiguousarray(np.moveaxis(x, 1, -1)) if layout == "NHWC" else x


def back(x: Any, layout: str) -> Any:
    return np.moveaxis(np.asarray(x), -1, 1) if layout == "NHWC" else np.asarray(x)


def window_sum(case: LrnCase, values: Any, before: int, after: int) -> Any:
    channels = values.shape[1]
    return np.stack(
        [
            values[:, max(0, c - before) : min(channels, c + after + 1)].sum(1)
            for c in range(channels)
        ],
        1,
    )


def oracle(case: LrnCase, x: Any, dy: Any) -> tuple[Any, Any]:
    """Output and input gradient in float64."""
    x, dy = x.astype(np.float64), dy.astype(np.float64)
    before, after = case.size // 2, (case.size - 1) // 2
    s = case.k + case.alpha / case.size * window_sum(case, x * x, before, after)
    shared = window_sum(case, dy * x * s ** (-case.beta - 1), after, before)
    dx = dy * s**-case.beta - 2 * case.beta * case.alpha / case.size * x * shared
    return x * s**-case.beta, dx


def check(case: LrnCase, x: Any, layout: str, tol: float) -> None:
    t = fc.tensor(in_layout(x, layout), requires_grad=True)
    y = run(case, t, layout)
    dy = randn(rng("dy"), *x.shape, dtype=x.dtype)
    y.backward(in_layout(dy, layout))
    expected, dx = oracle(case, x, dy)
    assert y.dtype == x.dtype and t.grad is not None
    assert_close(back(y, layout), expected, tol, "output")
    assert_close(back(t.grad, layout), dx, tol, "gradient")


@pytest.mark.parametrize(("dtype", "tol"), [(np.float32, 2e-6), (np.float64, 1e-14)])
@pytest.mark.parametrize("layout", ["NCHW", "NHWC"])
@pytest.mark.parametrize("case", CASES, **by_name)
def test_agrees_with_the_oracle(case: LrnCase, layout: str, dtype: Any, tol: float) -> None:
    check(case, randn(rng(str(case)), *case.shape, dtype=dtype), layout, tol)


@pytest.mark.parametrize("case", [c for c in CASES if np.prod(c.shape) < 300], **by_name)
def test_gradients_by_finite_differences(case: LrnCase) -> None:
    check_gradients(lambda x: run(case, x), [randn(rng(str(case)), *case.shape, dtype=np.float64)])


@settings(deadline=None, max_examples=100, derandomize=True)
@given(
    st.lists(st.integers(1, 9), min_size=3, max_size=4),
    st.integers(1, 40),
    st.integers(1, 12),
    st.sampled_from([0.5, 0.75, 0.9, 1.0]),
    st.sampled_from(["NCHW", "NHWC"]),
)
def test_drawn_shapes(shape: list[int], channels: int, size: int, beta: float, layout: str) -> None:
    shape[1] = channels
    case = LrnCase(tuple(shape), size, 0.8, beta, 1.5)
    check(case, randn(rng(str(case)), *shape), layout, 2e-6)


@pytest.mark.parametrize("layout", ["NCHW", "NHWC"])
def test_nan_and_infinity_reach_their_windows_alone(layout: str) -> None:
    x = np.ones((1, 30, 3, 3), np.float32)
    x[0, 10, 1, 1], x[0, 20, 2, 0] = np.nan, np.inf
    y = back(F.local_response_norm(in_layout(x, layout), 4, 1.0, layout=layout), layout)
    # The window of channel c holds c - 2 to c + 1.
    assert sorted(map(tuple, np.argwhere(np.isnan(y)).tolist())) == sorted(
        [(0, c, 1, 1) for c in range(9, 13)] + [(0, 20, 2, 0)]
    )
    assert sorted(map(tuple, np.argwhere(y == 0).tolist())) == [(0, c, 2, 0) for c in (19, 21, 22)]


@pytest.mark.parametrize("beta", [0.75, 0.6])
def test_threads_do_not_change_a_bit(beta: float) -> None:
    x = randn(rng("threads"), 3, 40, 17, 19)
    for layout in ("NCHW", "NHWC"):

        def both(layout: str = layout) -> Any:
            t = fc.tensor(in_layout(x, layout), requires_grad=True)
            y = F.local_response_norm(t, 5, 0.5, beta, layout=layout)
            y.backward(in_layout(x, layout))
            assert t.grad is not None
            return y, t.grad

        check_same_bits_for_threads(both)


def test_channels_last_memory_stays_channels_last() -> None:
    x = randn(rng("memory"), 2, 9, 8, 5).transpose(0, 3, 1, 2)
    y = F.local_response_norm(x, 3, 0.5)
    assert y.transpose(0, 2, 3, 1).flags.c_contiguous
    t = fc.Tensor(x, requires_grad=True)
    dy = randn(rng("dy"), *x.shape)
    F.local_response_norm(t, 3, 0.5).backward(dy)
    expected, dx = oracle(LrnCase(x.shape, 3, 0.5), x, dy)
    assert t.grad is not None
    assert_close(y, expected)
    assert_close(t.grad, dx)


def test_awkward_and_empty_arrays() -> None:
    x = randn(rng("awkward"), 2, 6, 4, 4)
    expected = F.local_response_norm(x, 5)
    frozen = x.copy()
    frozen.flags.writeable = False
    flipped = np.ascontiguousarray(x[:, ::-1])[:, ::-1]
    for a in (frozen, flipped, np.repeat(x, 2, axis=3)[..., ::2], x.astype(">f4")):
        np.testing.assert_array_equal(F.local_response_norm(a, 5), expected)
    for shape in ((0, 3, 4, 4), (2, 0, 4), (2, 3, 0, 4)):
        t = fc.tensor(np.zeros(shape, np.float32), requires_grad=True)
        y = F.local_response_norm(t, 5)
        assert y.shape == shape
        y.backward(np.zeros(shape, np.float32))
    np.testing.assert_allclose(
        F.local_response_norm(x, 2**62, 2.0**62)[:, 0],
        x[:, 0] / (1 + (x.astype(np.float64) ** 2).sum(1)) ** 0.75,
        rtol=1e-5,
    )


X = np.zeros((2, 3, 4, 4), np.float32)
BAD: list[tuple[tuple[Any, ...], dict[str, Any], type[Exception], str]] = [
    ((X[0, 0], 5), {}, fc.ShapeError, "at least 3 dimensions, got 2"),
    ((X, 0), {}, fc.ShapeError, "size must be at least 1, got 0"),
    ((X, -3), {}, fc.ShapeError, "size must be at least 1, got -3"),
    ((X, 10**20), {}, fc.ShapeError, "size is out of range"),
    ((X, 5.0), {}, fc.DTypeError, "size must be an integer"),
    ((X, None), {}, fc.DTypeError, "size must be an integer"),
    ((X, 5), {"alpha": np.inf}, fc.ShapeError, "alpha must be finite"),
    ((X, 5), {"beta": "a"}, fc.DTypeError, "beta must be a number"),
    ((X, 5), {"k": None}, fc.DTypeError, "k must be a number"),
    ((X, 5), {"layout": "HWCN"}, fc.ShapeError, "layout"),
    ((X.astype(np.uint8), 5), {}, fc.DTypeError, "float64 or bfloat16, got uint8"),
    ((X.astype(np.float16), 5), {}, fc.DTypeError, "float16"),
    (([1.0], 5), {}, fc.DTypeError, "input must be an array"),
]


@pytest.mark.parametrize(("args", "options", "error", "text"), BAD)
def test_bad_arguments_are_refused(
    args: Any, options: Any, error: type[Exception], text: str
) -> None:
    with pytest.raises(error, match=f"^local_response_norm: .*{text}"):
        F.local_response_norm(*args, **options)


@pytest.mark.parametrize("case", CASES, **by_name)
def test_agrees_with_pytorch(case: LrnCase) -> None:
    torch = pytest.importorskip("torch")
    torch.set_num_threads(1)
    x = randn(rng(str(case)), *case.shape)
    theirs = torch.tensor(x, requires_grad=True)
    t = fc.tensor(x, requires_grad=True)
    expected = torch.nn.functional.local_response_norm(
        theirs, case.size, case.alpha, case.beta, case.k
    )
    y = run(case, t)
    dy = randn(rng("dy"), *x.shape)
    expected.backward(torch.tensor(dy))
    y.backward(dy)
    assert t.grad is not None
    assert_close(y, expected.detach().numpy(), 2e-6)
    assert_close(t.grad, theirs.grad.numpy(), 4e-6)
