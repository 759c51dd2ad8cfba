"""cross_entropy against its definition, PyTorch and finite differences."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import fastconv as fc
import fastconv.functional as F
from tests.cases.cross_entropy import CASES, Case
from tests.support import assert_close, check_gradients, check_same_bits_for_threads, randn, rng

REDUCTIONS = ["none", "mean", "sum"]


def expected(x: Any, labels: Any, weight: Any, case: Case, reduction: str) -> Any:
    """The definition in float64, with the classes last."""
    x = np.asarray(x, np.float64)
    x = x[None] if x.ndim == 1 else np.moveaxis(x, 1, -1)
    classes, flat = x.shape[-1], x.reshape(-1, x.shape[-1])
    w = np.ones(classes) if weight is None else np.asarray(weight, np.float64)
    y = np.asarray(labels).reshape(-1)
    shifted = flat - flat.max(1, keepdims=True)
    nll = np.log(np.exp(shifted).sum(1, keepdims=True)) - shifted
    used = y != case.ignore_index
    picked = np.where(used, y, 0)
    s = case.label_smoothing
    losses = (1 - s) * w[picked] * nll[np.arange(len(y)), picked] + s / classes * (nll @ w)
    losses = np.where(used, losses, 0)
    if reduction == "none":
        return losses.reshape(np.shape(labels))
    return losses.sum() / ((w[picked] * used).sum() if reduction == "mean" else 1)


def arguments(case: Case, dtype: Any) -> tuple[Any, Any, Any, dict[str, Any]]:
    generator = rng(str(case))
    x = np.asarray(case.scale * randn(generator, *case.shape), dtype)
    classes = case.shape[0] if len(case.shape) == 1 else case.shape[1]
    shape = () if len(case.shape) == 1 else (case.shape[0], *case.shape[2:])
    labels = np.asarray(generator.integers(0, classes, shape))
    labels = np.where(generator.random(shape) < case.ignored, case.ignore_index, labels)
    weight = generator.random(classes).astype(dtype) + 0.1 if case.weighted else None
    options = {"ignore_index": case.ignore_index, "label_smoothing": case.label_smoothing}
    return x, labels, weight, options


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("reduction", REDUCTIONS)
@pytest.mark.parametrize("case", CASES, ids=str)
def test_values(case: Case, reduction: str, dtype: Any) -> None:
    x, labels, weight, options = arguments(case, dtype)
    loss = F.cross_entropy(x, labels, weight, reduction=reduction, **options)
    assert loss.dtype == dtype
    tolerance = 2e-6 if dtype == np.float32 else 1e-12
    assert_close(loss, expected(x, labels, weight, case, reduction), tolerance, str(case))


@pytest.mark.parametrize("reduction", REDUCTIONS)
@pytest.mark.parametrize("case", [c for c in CASES if np.prod(c.shape) <= 800], ids=str)
def test_gradients(case: Case, reduction: str) -> None:
    x, labels, weight, options = arguments(case, np.float64)
    check_gradients(
        lambda t: F.cross_entropy(t, labels, weight, reduction=reduction, **options), [x], tol=1e-5
    )


@pytest.mark.parametrize("reduction", REDUCTIONS)
@pytest.mark.parametrize("case", CASES, ids=str)
def test_float32_gradient_is_the_float64_one(case: Case, reduction: str) -> None:
    x, labels, weight, options = arguments(case, np.float32)
    gradients = []
    for dtype in (np.float32, np.float64):
        t = fc.tensor(x.astype(dtype), requires_grad=True)
        w = None if weight is None else weight.astype(dtype)
        loss = F.cross_entropy(t, labels, w, reduction=reduction, **options)
        loss.backward(np.full(loss.shape, 0.5, dtype))
        assert t.grad is not None and t.grad.dtype == dtype
        gradients.append(t.grad.numpy())
    assert_close(gradients[0], gradients[1], 3e-6, str(case))


@pytest.mark.parametrize("reduction", REDUCTIONS)
@pytest.mark.parametrize("case", CASES, ids=str)
def test_matches_torch(case: Case, reduction: str) -> None:
    torch = pytest.importorskip("torch")
    torch.set_num_threads(1)
    x, labels, weight, options = arguments(case, np.float64)
    theirs, ours = torch.from_numpy(x.copy()).requires_grad_(), fc.tensor(x, requires_grad=True)
    result = torch.nn.functional.cross_entropy(
        theirs,
        torch.from_numpy(labels.astype(np.int64)),
        None if weight is None else torch.from_numpy(weight),
        reduction=reduction,
        **options,
    )
    g = randn(rng("g", str(case)), *result.shape, dtype=np.float64)
    result.backward(torch.from_numpy(np.asarray(g)))
    loss = F.cross_entropy(ours, labels, weight, reduction=reduction, **options)
    loss.backward(g)
    assert_close(loss, result.detach().numpy(), 1e-12)
    assert ours.grad is not None
    assert_close(ours.grad, theirs.grad.numpy(), 1e-12)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("shape", [(5, 7), (3, 4, 6)])
def test_all_ignored(shape: tuple[int, ...], dtype: Any) -> None:
    labels = np.full((shape[0], *shape[2:]), -100)
    for reduction, value in (("mean", np.nan), ("sum", 0.0)):
        x = fc.tensor(randn(rng("all"), *shape, dtype=dtype), requires_grad=True)
        loss = F.cross_entropy(x, labels, reduction=reduction)
        np.testing.assert_array_equal(loss.numpy(), value)
        loss.backward()
        assert x.grad is not None
        np.testing.assert_array_equal(x.grad.numpy(), 0)


def test_empty_batch() -> None:
    x, labels = np.zeros((0, 4), np.float32), np.zeros(0, np.int64)
    assert np.isnan(F.cross_entropy(x, labels))
    assert F.cross_entropy(x, labels, reduction="sum") == 0
    assert F.cross_entropy(x, labels, reduction="none").shape == (0,)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("inner", [(), (19,)])
def test_nan_stays_in_its_row(inner: tuple[int, ...], dtype: Any) -> None:
    x = np.zeros((4, 40, *inner), dtype)
    x[1, 7], x[2, 0], x[3, 39] = np.nan, -np.inf, np.inf
    labels = np.zeros((4, *inner), np.int64)
    loss = F.cross_entropy(x, labels, reduction="none")
    np.testing.assert_allclose(loss[0], np.log(40), rtol=1e-6)
    assert np.isnan(loss[1]).all() and (loss[2] == np.inf).all() and np.isnan(loss[3]).all()


@pytest.mark.parametrize("shape", [(4099, 37), (7, 21, 61, 67)])
def test_threads(shape: tuple[int, ...]) -> None:
    x = randn(rng("threads"), *shape)
    labels = rng("labels").integers(0, shape[1], (shape[0], *shape[2:]))

    def run() -> Any:
        t = fc.tensor(x, requires_grad=True)
        loss = F.cross_entropy(t, labels, label_smoothing=0.1)
        loss.backward()
        assert t.grad is not None
        return loss, t.grad

    check_same_bits_for_threads(run)


def test_channels_last_logits() -> None:
    nhwc = randn(rng("nhwc"), 2, 5, 4, 13)
    labels = rng("labels").integers(0, 13, (2, 5, 4))
    view = fc.Tensor(nhwc.transpose(0, 3, 1, 2), requires_grad=True)
    plain = fc.tensor(nhwc.transpose(0, 3, 1, 2), requires_grad=True)
    losses = [F.cross_entropy(t, labels) for t in (view, plain)]
    assert_close(losses[0], losses[1])
    for loss in losses:
        loss.backward()
    assert view.grad is not None and plain.grad is not None
    assert_close(view.grad, plain.grad)


@pytest.mark.parametrize("dtype", ["i1", "u1", "i2", "u2", "i4", "u4", "i8", "u8", ">i4"])
def test_label_types(dtype: str) -> None:
    x = randn(rng("types"), 6, 5)
    labels = np.array([0, 4, 2, 3, 1, 0])
    assert F.cross_entropy(x, labels.astype(dtype)) == F.cross_entropy(x, labels)


@settings(deadline=None, max_examples=60, derandomize=True)
@given(
    st.lists(st.integers(1, 40), min_size=1, max_size=4),
    st.booleans(),
    st.floats(0, 1),
    st.sampled_from([0.0, 0.1]),
    st.sampled_from(REDUCTIONS),
)
def test_any_shape(
    shape: list[int], weighted: bool, ignored: float, smoothing: float, reduction: str
) -> None:
    case = Case(tuple(shape[:3]), weighted, ignored, smoothing)
    x, labels, weight, options = arguments(case, np.float32)
    if reduction == "mean" and (labels == -100).all():
        reduction = "sum"
    loss = F.cross_entropy(x, labels, weight, reduction=reduction, **options)
    assert_close(loss, expected(x, labels, weight, case, reduction), 3e-6)


X, Y = np.zeros((4, 3), np.float32), np.zeros(4, np.int64)


@pytest.mark.parametrize(
    ("call", "error", "text"),
    [
        (
            lambda: F.cross_entropy(X, np.array([0, 1, 3, 0])),
            fc.ShapeError,
            r"label 3 \(number 2\)",
        ),
        (lambda: F.cross_entropy(X, np.array([0, -1, 0, 0])), fc.ShapeError, "label -1 "),
        (
            lambda: F.cross_entropy(X, np.array([0, -100, 0, 0]), ignore_index=1),
            fc.ShapeError,
            "label -100",
        ),
        (lambda: F.cross_entropy(X, np.full(4, 2**63, np.uint64)), fc.ShapeError, f"label {2**63}"),
        (lambda: F.cross_entropy(X, Y.astype(np.float32)), fc.ShapeError, "target must be integer"),
        (lambda: F.cross_entropy(X, Y.astype(bool)), fc.DTypeError, "target must be integer"),
        (lambda: F.cross_entropy(X, [0, 0, 0, 0]), fc.DTypeError, "target must be an array"),
        (
            lambda: F.cross_entropy(X, Y[:3]),
            fc.ShapeError,
            r"target must have shape \(4,\), got \(3,\)",
        ),
        (lambda: F.cross_entropy(X, X.astype(int)), fc.ShapeError, "target must have shape"),
        (lambda: F.cross_entropy(X[0], Y), fc.ShapeError, "target must have shape"),
        (
            lambda: F.cross_entropy(np.zeros((), "f4"), Y),
            fc.ShapeError,
            "cross_entropy: input",
        ),
        (lambda: F.cross_entropy(np.zeros((4, 0), "f4"), Y), fc.ShapeError, "no classes"),
        (lambda: F.cross_entropy(X.astype(int), Y), fc.DTypeError, "cross_entropy: input"),
        (lambda: F.cross_entropy(X, Y, np.ones(4, "f4")), fc.ShapeError, "weight must have shape"),
        (lambda: F.cross_entropy(X, Y, np.ones(3)), fc.DTypeError, "weight must be float32"),
        (lambda: F.cross_entropy(X, Y, reduction="max"), fc.ShapeError, "reduction"),
        (lambda: F.cross_entropy(X, Y, reduction=None), fc.ShapeError, "reduction"),
        (lambda: F.cross_entropy(X, Y, label_smoothing=1.5), fc.ShapeError, "label_smoothing"),
        (lambda: F.cross_entropy(X, Y, label_smoothing=-0.1), fc.ShapeError, "label_smoothing"),
        (lambda: F.cross_entropy(X, Y, label_smoothing=np.nan), fc.ShapeError, "label_smoothing"),
        (lambda: F.cross_entropy(X, Y, label_smoothing="a"), fc.DTypeError, "label_smoothing"),
        (lambda: F.cross_entropy(X, Y, ignore_index=0.5), fc.DTypeError, "ignore_index"),
        (lambda: F.cross_entropy(X, Y, ignore_index=2**80), fc.ShapeError, "ignore_index"),
    ],
)
def test_bad_arguments(call: Any, error: type[Exception], text: str) -> None:
    with pytest.raises(error, match=text):
        call()
