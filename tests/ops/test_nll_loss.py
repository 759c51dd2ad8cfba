"""nll_loss against its definition, PyTorch, cross_entropy and finite differences."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import fastconv as fc
import fastconv.functional as F
from tests.cases.cross_entropy import CASES as ALL_CASES
from tests.cases.cross_entropy import Case
from tests.ops.test_cross_entropy import REDUCTIONS, arguments
from tests.support import assert_close, check_bfloat16, check_gradients, randn, rng

CASES = [c for c in ALL_CASES if not c.label_smoothing]


def inputs(case: Case, dtype: Any) -> tuple[Any, Any, Any, int]:
    x, labels, weight, options = arguments(case, dtype)
    return x, labels, weight, options["ignore_index"]


def expected(x: Any, labels: Any, weight: Any, ignored: int, reduction: str) -> Any:
    """The definition, label by label."""
    x = np.asarray(x, np.float64)
    losses, weights = np.zeros(np.shape(labels)), np.zeros(np.shape(labels))
    for index in np.ndindex(np.shape(labels)):
        label = labels[index]
        if label == ignored:
            continue
        w = 1.0 if weight is None else float(weight[label])
        at = (label,) if x.ndim == 1 else (index[0], label, *index[1:])
        losses[index], weights[index] = -w * x[at], w
    if reduction == "none":
        return losses
    return losses.sum() / (weights.sum() if reduction == "mean" else 1)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("reduction", REDUCTIONS)
@pytest.mark.parametrize("case", CASES, ids=str)
def test_values(case: Case, reduction: str, dtype: Any) -> None:
    x, labels, weight, ignored = inputs(case, dtype)
    loss = F.nll_loss(x, labels, weight, ignored, reduction)
    assert loss.dtype == dtype
    tolerance = 1e-6 if dtype == np.float32 else 1e-12
    assert_close(loss, expected(x, labels, weight, ignored, reduction), tolerance, str(case))


@pytest.mark.parametrize("reduction", REDUCTIONS)
@pytest.mark.parametrize("case", [c for c in CASES if np.prod(c.shape) <= 800], ids=str)
def test_gradients(case: Case, reduction: str) -> None:
    x, labels, weight, ignored = inputs(case, np.float64)
    check_gradients(lambda t: F.nll_loss(t, labels, weight, ignored, reduction), [x], tol=1e-5)


@pytest.mark.parametrize("reduction", REDUCTIONS)
@pytest.mark.parametrize("case", CASES, ids=str)
def test_matches_torch(case: Case, reduction: str) -> None:
    torch = pytest.importorskip("torch")
    x, labels, weight, ignored = inputs(case, np.float64)
    theirs, ours = torch.from_numpy(x.copy()).requires_grad_(), fc.tensor(x, requires_grad=True)
    result = torch.nn.functional.nll_loss(
        theirs,
        torch.from_numpy(labels.astype(np.int64)),
        None if weight is None else torch.from_numpy(weight),
        ignore_index=ignored,
        reduction=reduction,
    )
    g = np.asarray(randn(rng("g", str(case)), *result.shape, dtype=np.float64))
    result.backward(torch.from_numpy(g))
    loss = F.nll_loss(ours, labels, weight, ignored, reduction)
    loss.backward(g)
    assert_close(loss, result.detach().numpy(), 1e-12)
    assert ours.grad is not None
    assert_close(ours.grad, theirs.grad.numpy(), 1e-12)


@pytest.mark.parametrize("reduction", REDUCTIONS)
@pytest.mark.parametrize("case", CASES, ids=str)
def test_of_log_softmax_it_is_cross_entropy(case: Case, reduction: str) -> None:
    x, labels, weight, ignored = inputs(case, np.float64)
    dim = 0 if x.ndim == 1 else 1
    loss = F.nll_loss(F.log_softmax(x, dim), labels, weight, ignored, reduction)
    other = F.cross_entropy(x, labels, weight, ignored, reduction)
    assert_close(loss, other, 1e-12)


@pytest.mark.parametrize("reduction", REDUCTIONS)
@pytest.mark.parametrize("case", CASES, ids=str)
def test_bfloat16(case: Case, reduction: str) -> None:
    x, labels, weight, ignored = inputs(case, np.float64)
    arrays = [x] if weight is None else [x, weight]
    check_bfloat16(
        lambda t, w=None: F.nll_loss(t, labels, w, ignored, reduction),
        arrays,
        str(case),
        differentiated=1,
    )


def test_all_ignored_and_nothing_at_all() -> None:
    x = fc.tensor(randn(rng("all"), 5, 7), requires_grad=True)
    loss = F.nll_loss(x, np.full(5, -100))
    assert np.isnan(loss.item())
    loss.backward()
    assert x.grad is not None
    np.testing.assert_array_equal(x.grad.numpy(), 0)
    empty = np.zeros((0, 4), np.float32)
    assert np.isnan(F.nll_loss(empty, np.zeros(0, int)))
    assert F.nll_loss(empty, np.zeros(0, int), reduction="sum") == 0


def test_channels_last_input() -> None:
    nhwc, labels = randn(rng("nhwc"), 2, 5, 4, 13), rng("labels").integers(0, 13, (2, 5, 4))
    view = fc.Tensor(nhwc.transpose(0, 3, 1, 2), requires_grad=True)
    plain = fc.tensor(nhwc.transpose(0, 3, 1, 2), requires_grad=True)
    losses = [F.nll_loss(t, labels) for t in (view, plain)]
    assert_close(losses[0], losses[1])
    for loss in losses:
        loss.backward()
    assert view.grad is not None and plain.grad is not None
    assert_close(view.grad, plain.grad)


X, Y = np.zeros((4, 3), np.float32), np.zeros(4, np.int64)


@pytest.mark.parametrize(
    ("call", "error", "text"),
    [
        (lambda: F.nll_loss(X, np.array([0, 1, 3, 0])), fc.ShapeError, r"^nll_loss: label 3 \(n"),
        (lambda: F.nll_loss(X, Y.astype("f4")), fc.DTypeError, "^nll_loss: target must be integer"),
        (lambda: F.nll_loss(X, Y[:3]), fc.ShapeError, r"^nll_loss: target must have shape \(4,\)"),
        (lambda: F.nll_loss(np.zeros((), "f4"), Y), fc.ShapeError, "^nll_loss: input must be"),
        (lambda: F.nll_loss(np.zeros((4, 0), "f4"), Y), fc.ShapeError, "^nll_loss: .*no classes"),
        (lambda: F.nll_loss(X.astype(int), Y), fc.DTypeError, "^nll_loss: input"),
        (lambda: F.nll_loss(X, Y, np.ones(4, "f4")), fc.ShapeError, "^nll_loss: weight must have"),
        (lambda: F.nll_loss(X, Y, np.ones(3)), fc.DTypeError, "^nll_loss: weight must be float32"),
        (lambda: F.nll_loss(X, Y, reduction="max"), fc.ShapeError, "^nll_loss: reduction"),
        (lambda: F.nll_loss(X, Y, ignore_index=0.5), fc.DTypeError, "^nll_loss: ignore_index"),
    ],
)
def test_bad_arguments(call: Any, error: type[Exception], text: str) -> None:
    with pytest.raises(error, match=text):
        call()
