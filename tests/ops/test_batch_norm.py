"""Batch normalisation against a float64 oracle, PyTorch, finite differences, and bad arguments."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import fastconv as fc
import fastconv.functional as F
from tests.cases.batch_norm import CASES, BatchNormCase
from tests.support import assert_close, check_gradients, check_same_bits_for_threads, randn, rng

by_name = {"ids": str}


def in_layout(x: Any, layout: str) -> Any:
    return np.ascontiguousarray(np.moveaxis(x, 1, -1)) if layout == "NHWC" else x


def back(x: Any, layout: str) -> Any:
    return np.moveaxis(np.asarray(x), -1, 1) if layout == "NHWC" else np.asarray(x)


def inputs_of(case: BatchNormCase, dtype: Any) -> dict[str, Any]:
    g, c = rng(str(case)), case.size[1]
    arrays = {
        "x": 3 * randn(g, *case.size) + randn(g, c).reshape(1, c, *[1] * (len(case.size) - 2)),
        "running_mean": randn(g, c),
        "running_var": g.random(c) + 0.5,
        "weight": randn(g, c),
        "bias": randn(g, c),
        "dy": randn(g, *case.size),
    }
    if not case.affine:
        arrays["weight"] = arrays["bias"] = None
    return {k: None if v is None else v.astype(dtype) for k, v in arrays.items()}


def oracle(case: BatchNormCase, a: dict[str, Any]) -> dict[str, Any]:
    """Everything that forward and backward yield, in float64, by the textbook's formulas."""
    a = {k: None if v is None else v.astype(np.float64) for k, v in a.items()}
    x, axes = a["x"], (0, *range(2, a["x"].ndim))

    def wide(v: Any) -> Any:
        return np.reshape(v, (1, -1, *[1] * (x.ndim - 2)))

    n = x.size // x.shape[1]
    mean, var = a["running_mean"], a["running_var"]
    result = {"running_mean": mean, "running_var": var}
    if case.training:
        m = case.momentum
        result["running_mean"] = (1 - m) * mean + m * x.mean(axes)
        result["running_var"] = (1 - m) * var + m * x.var(axes, ddof=1)
        mean, var = x.mean(axes), x.var(axes)
    normal = (x - wide(mean)) / np.sqrt(wide(var) + case.eps)
    weight = np.ones(x.shape[1]) if a["weight"] is None else a["weight"]
    bias = np.zeros(x.shape[1]) if a["bias"] is None else a["bias"]
    dy = a["dy"]
    result["y"] = normal * wide(weight) + wide(bias)
    result["dbias"], result["dweight"] = dy.sum(axes), (dy * normal).sum(axes)
    dx = dy
    if case.training:
        dx = dy - wide(result["dbias"]) / n - normal * wide(result["dweight"]) / n
    result["dx"] = dx * wide(weight) / np.sqrt(wide(var) + case.eps)
    return result


def run(case: BatchNormCase, a: dict[str, Any], layout: str) -> dict[str, Any]:
    """The same from fastconv."""
    made = {
        k: None if a[k] is None else fc.tensor(a[k], requires_grad=True) for k in ("weight", "bias")
    }
    x = fc.tensor(in_layout(a["x"], layout), requires_grad=True)
    mean, var = a["running_mean"].copy(), a["running_var"].copy()
    y = F.batch_norm(
        x,
        mean,
        var,
        made["weight"],
        made["bias"],
        case.training,
        case.momentum,
        case.eps,
        layout=layout,
    )
    y.backward(in_layout(a["dy"], layout))
    assert x.grad is not None and y.dtype == a["x"].dtype
    result = {"running_mean": mean, "running_var": var, "y": back(y, layout)}
    result["dx"] = back(x.grad, layout)
    for k, t in made.items():
        if t is not None:
            assert t.grad is not None
            result["d" + k] = t.grad.numpy()
    return result


def compare(got: dict[str, Any], expected: dict[str, Any], tol: float) -> None:
    for k, v in got.items():
        assert_close(v, expected[k], tol, k)


@pytest.mark.parametrize(("dtype", "tol"), [(np.float32, 5e-6), (np.float64, 1e-13)])
@pytest.mark.parametrize("layout", ["NCHW", "NHWC"])
@pytest.mark.parametrize("case", CASES, **by_name)
def test_agrees_with_the_oracle(case: BatchNormCase, layout: str, dtype: Any, tol: float) -> None:
    arrays = inputs_of(case, dtype)
    compare(run(case, arrays, layout), oracle(case, arrays), tol)


@pytest.mark.parametrize("case", [c for c in CASES if np.prod(c.size) < 300], **by_name)
def test_gradients_by_finite_differences(case: BatchNormCase) -> None:
    a = inputs_of(case, np.float64)
    differentiated = [a["x"], *([a["weight"], a["bias"]] if case.affine else [])]

    def f(x: Any, weight: Any = None, bias: Any = None) -> Any:
        mean, var = a["running_mean"].copy(), a["running_var"].copy()
        return F.batch_norm(x, mean, var, weight, bias, case.training, eps=case.eps)

    check_gradients(f, differentiated, tol=1e-6)


@pytest.mark.parametrize("layout", ["NCHW", "NHWC"])
@pytest.mark.parametrize("size", [(64, 3, 32, 32), (4096, 20), (16, 40, 7, 7), (1, 2, 300, 300)])
def test_a_mean_far_above_the_spread(size: Any, layout: str) -> None:
    x = (rng("far", size).standard_normal(size) + 1e4).astype(np.float32)
    x[0, 0].flat[0] = 0  # the first value says nothing about the rest
    case = BatchNormCase(size, momentum=1.0, affine=False)
    a = {k: None for k in ("weight", "bias")} | {"x": x, "dy": randn(rng("dy"), *size)}
    a |= {k: np.zeros(size[1], np.float32) for k in ("running_mean", "running_var")}
    got, expected = run(case, a, layout), oracle(case, a)
    np.testing.assert_allclose(got["running_mean"], expected["running_mean"], rtol=1e-6)
    np.testing.assert_allclose(got["running_var"], expected["running_var"], rtol=1e-4)
    for k in ("y", "dx"):
        assert_close(got[k], expected[k], 5e-6, k)


@pytest.mark.parametrize("layout", ["NCHW", "NHWC"])
def test_nan_and_infinity_stay_in_their_channel(layout: str) -> None:
    a = inputs_of(BatchNormCase((3, 20, 5, 7)), np.float32)
    a["x"][1, 2, 3, 4], a["x"][2, 19, 4, 6] = np.nan, np.inf
    got = run(BatchNormCase((3, 20, 5, 7)), a, layout)
    for k in ("y", "dx"):
        assert np.isnan(got[k][:, [2, 19]]).all(), k
        assert np.isfinite(np.delete(got[k], [2, 19], 1)).all(), k
    assert np.isnan(got["running_var"]).nonzero()[0].tolist() == [2, 19]


@pytest.mark.parametrize("size", [(5, 3), (2000, 10), (64, 70, 9, 9), (3, 4, 200, 190)])
def test_threads_do_not_change_a_bit(size: Any) -> None:
    case = BatchNormCase(size)
    a = inputs_of(case, np.float32)
    for layout in ("NCHW", "NHWC"):
        check_same_bits_for_threads(lambda layout=layout: list(run(case, a, layout).values()))


@settings(deadline=None, max_examples=80, derandomize=True)
@given(
    st.lists(st.integers(1, 40), min_size=2, max_size=4),
    st.booleans(),
    st.booleans(),
    st.sampled_from(["NCHW", "NHWC"]),
)
def test_drawn_shapes(size: list[int], training: bool, affine: bool, layout: str) -> None:
    if training and np.prod(size) < 4 * size[1]:
        size[0] += 3  # of two values the gradient vanishes, and rounding is all that is left
    case = BatchNormCase(tuple(size), training, affine)
    a = inputs_of(case, np.float32)
    if training:
        # Values that nearly agree turn rounding into anything: keep them apart.
        a["x"][0] += 4
    compare(run(case, a, layout), oracle(case, a), 2e-5)


def test_channels_last_memory_stays_channels_last() -> None:
    x = randn(rng("memory"), 4, 9, 8, 5).transpose(0, 3, 1, 2)
    y = F.batch_norm(x, None, None, training=True)
    assert y.transpose(0, 2, 3, 1).flags.c_contiguous
    assert_close(y, F.batch_norm(np.ascontiguousarray(x), None, None, training=True))
    t = fc.Tensor(x, requires_grad=True)
    dense = fc.tensor(np.ascontiguousarray(x), requires_grad=True)
    dy = randn(rng("dy"), *x.shape)
    for v in (t, dense):
        F.batch_norm(v, None, None, training=True).backward(dy)
    assert t.grad is not None and dense.grad is not None
    assert_close(t.grad, dense.grad, 5e-6)


def test_only_the_gradients_asked_for() -> None:
    x = randn(rng("some"), 4, 3, 5, 5)
    for asked in ("x", "weight", "bias"):
        for training in (True, False):
            a = {"x": x, "weight": np.full(3, 2, np.float32), "bias": np.ones(3, np.float32)}
            t = {k: fc.tensor(v, requires_grad=k == asked) for k, v in a.items()}
            y = F.batch_norm(
                t["x"],
                np.zeros(3, np.float32),
                np.ones(3, np.float32),
                t["weight"],
                t["bias"],
                training,
            )
            y.backward(randn(rng("dy"), *y.shape))
            assert {k for k, v in t.items() if v.grad is not None} == {asked}


def test_running_statistics_may_be_tensors() -> None:
    mean, var = fc.tensor(np.zeros(3, np.float32)), fc.tensor(np.ones(3, np.float32))
    x = randn(rng("tensors"), 8, 3)
    F.batch_norm(x, mean, var, training=True, momentum=0.25)
    assert_close(mean, 0.25 * x.mean(0, np.float64))
    assert_close(var, 0.75 + 0.25 * x.var(0, np.float64, ddof=1))


def test_inference_takes_frozen_and_strided_statistics() -> None:
    x = randn(rng("frozen"), 8, 3)
    mean, var = np.arange(6, dtype=np.float32)[::2], np.ones(3, np.float32)
    var.flags.writeable = False
    assert_close(F.batch_norm(x, mean, var, eps=0), x.astype(np.float64) - mean)


def test_empty_inputs_leave_the_statistics_alone() -> None:
    for size in ((0, 3), (0, 3, 4, 4), (2, 3, 0), (2, 0, 4, 4), (0, 0)):
        mean, var = np.zeros(size[1], np.float32), np.ones(size[1], np.float32)
        x = fc.tensor(np.zeros(size, np.float32), requires_grad=True)
        w = fc.tensor(np.ones(size[1], np.float32), requires_grad=True)
        y = F.batch_norm(x, mean, var, w, training=True)
        assert y.shape == size and not mean.any() and (var == 1).all()
        y.backward(np.zeros(size, np.float32))
        assert x.grad is not None and x.grad.shape == size
        assert w.grad is not None and not w.grad.numpy().any()


X, ONE = np.zeros((2, 3, 4, 4), np.float32), np.ones(3, np.float32)
FROZEN = np.ones(3, np.float32)
FROZEN.flags.writeable = False
BAD: list[tuple[tuple[Any, ...], dict[str, Any], type[Exception], str]] = [
    ((X[0, 0, 0], ONE, ONE), {}, fc.ShapeError, "at least 2 dimensions"),
    ((X, None, None), {}, fc.ShapeError, "running_mean and running_var are needed"),
    ((X, ONE, None), {"training": True}, fc.ShapeError, "both be given or both be None"),
    ((X, None, ONE), {"training": True}, fc.ShapeError, "both be given or both be None"),
    ((X[:1, :, :1, :1], None, None), {"training": True}, fc.ShapeError, "more than one value"),
    ((X[:1, :, 0, 0], None, None), {"training": True}, fc.ShapeError, "more than one value"),
    ((X, ONE[:2], ONE), {}, fc.ShapeError, r"running_mean must have shape \(3,\)"),
    ((X, ONE, ONE.reshape(1, 3)), {}, fc.ShapeError, r"running_var must have shape \(3,\)"),
    ((X, ONE, ONE, ONE[:1]), {}, fc.ShapeError, r"weight must have shape \(3,\)"),
    ((X, ONE, ONE, None, X), {}, fc.ShapeError, r"bias must have shape \(3,\)"),
    ((X, ONE, ONE), {"layout": "NHWC"}, fc.ShapeError, r"must have shape \(4,\)"),
    ((X, ONE, ONE), {"layout": "NCWH"}, fc.ShapeError, "layout"),
    ((X, ONE.astype(np.float64), ONE), {}, fc.DTypeError, "running_mean must be float32"),
    ((X, ONE, ONE, ONE.astype(np.float64)), {}, fc.DTypeError, "weight must be float32"),
    ((X.astype(np.int32), ONE, ONE), {}, fc.DTypeError, "float64 or bfloat16, got int32"),
    ((X, ONE.tolist(), ONE), {}, fc.DTypeError, "running_mean must be an array"),
    ((X, ONE, ONE, 1.0), {}, fc.DTypeError, "weight must be an array"),
    (("x", ONE, ONE), {}, fc.DTypeError, "input must be an array"),
    ((X, ONE, ONE), {"eps": -1.0}, fc.ShapeError, "eps"),
    ((X, ONE, ONE), {"eps": 0, "training": True}, fc.ShapeError, "eps must be positive"),
    ((X, ONE, ONE), {"eps": np.nan}, fc.ShapeError, "eps must be finite"),
    ((X, ONE, ONE), {"eps": "0"}, fc.DTypeError, "eps must be a number"),
    ((X, ONE, ONE), {"momentum": None}, fc.DTypeError, "momentum must be a number"),
    ((X, FROZEN, ONE), {"training": True}, fc.ShapeError, "running_mean is updated in place"),
    ((X, ONE, np.ones(6, np.float32)[::2]), {"training": True}, fc.ShapeError, "running_var is"),
    ((X, ONE, ONE.astype(">f4")), {"training": True}, fc.ShapeError, "running_var is updated"),
]


@pytest.mark.parametrize(("args", "options", "error", "text"), BAD)
def test_bad_arguments_are_refused(
    args: Any, options: Any, error: type[Exception], text: str
) -> None:
    with pytest.raises(error, match=f"^batch_norm: .*{text}"):
        F.batch_norm(*args, **options)
    assert (ONE == 1).all()  # and nothing was updated


@pytest.mark.parametrize("case", CASES, **by_name)
def test_agrees_with_pytorch(case: BatchNormCase) -> None:
    torch = pytest.importorskip("torch")
    torch.set_num_threads(1)
    a = inputs_of(case, np.float64)
    t = {k: None if v is None else torch.tensor(v) for k, v in a.items()}
    for k in ("x", "weight", "bias"):
        if t[k] is not None:
            t[k].requires_grad_()
    y = torch.nn.functional.batch_norm(
        t["x"],
        t["running_mean"],
        t["running_var"],
        t["weight"],
        t["bias"],
        case.training,
        case.momentum,
        case.eps,
    )
    y.backward(t["dy"])
    expected = {k: t[k].numpy() for k in ("running_mean", "running_var")}
    expected |= {"y": y.detach().numpy(), "dx": t["x"].grad.numpy()}
    if case.affine:
        expected |= {k: t[k[1:]].grad.numpy() for k in ("dweight", "dbias")}
    compare(run(case, a, "NCHW"), expected, 1e-10)
