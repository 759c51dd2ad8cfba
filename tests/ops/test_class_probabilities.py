"""cross_entropy with probabilities for targets."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import fastconv as fc
import fastconv.functional as F
from fastconv import nn
from fastconv.program import TrainingStep
from fastconv.train import Trainer
from tests.support import assert_close, check_bfloat16, check_gradients, randn, rng

REDUCTIONS = ["none", "mean", "sum"]
# shape of the logits, weighted, label_smoothing
CASES: list[tuple[tuple[int, ...], bool, float]] = [
    ((10,), False, 0.0),
    ((1, 1), False, 0.0),
    ((6, 10), False, 0.0),
    ((6, 10), True, 0.1),
    ((3, 5, 7), True, 0.0),
    ((2, 5, 3, 4), False, 1.0),
    ((2, 5, 3, 4), True, 0.3),
]


def arguments(case: Any, dtype: Any) -> tuple[Any, Any, Any, float]:
    shape, weighted, smoothing = case
    generator = rng(case)
    x = 3 * randn(generator, *shape, dtype=dtype)
    t = generator.random(shape)
    dim = 0 if len(shape) == 1 else 1
    t = (t / t.sum(dim, keepdims=True)).astype(dtype)
    weight = generator.random(shape[dim]).astype(dtype) + dtype(0.1) if weighted else None
    return x, t, weight, smoothing


def expected(x: Any, t: Any, weight: Any, smoothing: float, reduction: str) -> Any:
    """The definition in float64, with the classes last."""
    x, t = (np.asarray(v, np.float64) for v in (x, t))
    if x.ndim > 1:
        x, t = np.moveaxis(x, 1, -1), np.moveaxis(t, 1, -1)
    classes = x.shape[-1]
    w = np.ones(classes) if weight is None else np.asarray(weight, np.float64)
    logarithms = x - np.log(np.exp(x).sum(-1, keepdims=True))
    losses = -(logarithms * ((1 - smoothing) * t + smoothing / classes) * w).sum(-1)
    if reduction == "none":
        return losses
    return losses.sum() / (losses.size if reduction == "mean" else 1)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("reduction", REDUCTIONS)
@pytest.mark.parametrize("case", CASES, ids=str)
def test_values(case: Any, reduction: str, dtype: Any) -> None:
    x, t, weight, smoothing = arguments(case, dtype)
    loss = F.cross_entropy(x, t, weight, reduction=reduction, label_smoothing=smoothing)
    assert loss.dtype == dtype
    tolerance = 2e-6 if dtype == np.float32 else 1e-12
    assert_close(loss, expected(x, t, weight, smoothing, reduction), tolerance, str(case))


@pytest.mark.parametrize("reduction", REDUCTIONS)
@pytest.mark.parametrize("case", CASES, ids=str)
def test_gradients_of_logits_and_targets(case: Any, reduction: str) -> None:
    x, t, weight, smoothing = arguments(case, np.float64)
    check_gradients(
        lambda a, b: F.cross_entropy(a, b, weight, reduction=reduction, label_smoothing=smoothing),
        [x, t],
        tol=1e-5,
    )


@pytest.mark.parametrize("reduction", REDUCTIONS)
@pytest.mark.parametrize("case", CASES, ids=str)
def test_matches_torch(case: Any, reduction: str) -> None:
    torch = pytest.importorskip("torch")
    x, t, weight, smoothing = arguments(case, np.float64)
    theirs = [torch.from_numpy(v.copy()).requires_grad_() for v in (x, t)]
    ours = [fc.tensor(v, requires_grad=True) for v in (x, t)]
    result = torch.nn.functional.cross_entropy(
        *theirs,
        weight=None if weight is None else torch.from_numpy(weight),
        reduction=reduction,
        label_smoothing=smoothing,
    )
    g = np.asarray(randn(rng("g", case), *result.shape, dtype=np.float64))
    result.backward(torch.from_numpy(g))
    loss = F.cross_entropy(*ours, weight, reduction=reduction, label_smoothing=smoothing)
    loss.backward(g)
    assert_close(loss, result.detach().numpy(), 1e-12)
    for mine, other in zip(ours, theirs, strict=True):
        assert mine.grad is not None
        assert_close(mine.grad, other.grad.numpy(), 1e-12)


@pytest.mark.parametrize("reduction", REDUCTIONS)
def test_one_label_alone_is_the_label(reduction: str) -> None:
    x, labels = randn(rng("x"), 5, 7, 3), rng("labels").integers(0, 7, (5, 3))
    t = np.moveaxis(np.eye(7, dtype=np.float32)[labels], -1, 1)
    for smoothing in (0.0, 0.2):
        options = {"reduction": reduction, "label_smoothing": smoothing}
        assert_close(F.cross_entropy(x, t, **options), F.cross_entropy(x, labels, **options))


def test_bfloat16() -> None:
    x, t, _, _ = arguments(((6, 10), False, 0.0), np.float64)
    check_bfloat16(F.cross_entropy, [x, t], "probabilities", slack=2e-2, gradient_slack=2e-2)


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(12, 5)

    def forward(self, x: Any) -> Any:
        return self.linear(F.flatten(x, 1))


@pytest.mark.parametrize("weighted", [False, True])
def test_training_step(weighted: bool) -> None:
    """Compiled steps on batches of probabilities, against the tape."""
    weight = rng("weight").random(5) + 0.5 if weighted else None
    loss = nn.CrossEntropyLoss(weight=weight, label_smoothing=0.1)
    nets = []
    for compiled in (True, False):
        fc.manual_seed(1)
        net = Net().to("float64")
        optimizer = fc.optim.SGD(net.parameters(), lr=0.1)
        step = TrainingStep(net, loss, optimizer)
        for i in range(3):
            x = rng("x", i).standard_normal((4, 3, 2, 2))
            t = rng("t", i).dirichlet(np.ones(5), 4)
            if compiled:
                step(x, t)
            else:
                optimizer.zero_grad()
                loss(net(fc.tensor(x)), t).backward()
                optimizer.step()
        nets.append(net)
    for a, b in zip(*(net.parameters() for net in nets), strict=True):
        np.testing.assert_allclose(a.numpy(), b.numpy(), rtol=1e-12)


def test_nll_loss_in_a_compiled_step() -> None:
    labels = np.array([0, 4, 2, -100])
    weight = (rng("weight").random(5) + 0.5).astype(np.float32)

    def loss(y: Any, target: Any) -> Any:
        return F.nll_loss(F.log_softmax(y, 1), target, weight)

    results = []
    for compiled in (True, False):
        fc.manual_seed(2)
        net = Net()
        trainer = Trainer(net, loss, fc.optim.SGD(net.parameters(), lr=0.1), compile=compiled)
        losses = [trainer.step(randn(rng("x", i), 4, 3, 2, 2), labels) for i in range(3)]
        results.append([*losses, *(p.numpy() for p in net.parameters())])
    for a, b in zip(*results, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5)


X = np.full((4, 3), 0.5, np.float32)


@pytest.mark.parametrize(
    ("call", "error", "text"),
    [
        (lambda: F.cross_entropy(X, X[:, :2]), fc.ShapeError, "^cross_entropy: target must be"),
        (lambda: F.cross_entropy(X, X[:3]), fc.ShapeError, "^cross_entropy: target must be"),
        (lambda: F.cross_entropy(X, X.astype(float)), fc.DTypeError, "target must be float32"),
        (lambda: F.cross_entropy(X, X.astype("f2")), fc.DTypeError, "target must be float32"),
        (lambda: F.cross_entropy(X.astype(int), X), fc.DTypeError, "^cross_entropy: input must be"),
        (lambda: F.cross_entropy(X, X, ignore_index=1), fc.ShapeError, "ignore_index, got 1"),
        (lambda: F.cross_entropy(X, X, np.ones(4, "f4")), fc.ShapeError, "weight must have shape"),
        (lambda: F.cross_entropy(X, X, np.ones(3)), fc.DTypeError, "weight must be float32"),
        (lambda: F.cross_entropy(X, X, label_smoothing=1.5), fc.ShapeError, "label_smoothing"),
        (lambda: F.cross_entropy(X, X, reduction="max"), fc.ShapeError, "reduction"),
        (lambda: F.cross_entropy(X[:, :0], X[:, :0]), fc.ShapeError, "no classes"),
        (
            lambda: F.cross_entropy(*[np.zeros((1,) * 9, "f4")] * 2),
            fc.ShapeError,
            "^cross_entropy: input has 9 dimensions",
        ),
    ],
)
def test_bad_arguments(call: Any, error: type[Exception], text: str) -> None:
    with pytest.raises(error, match=text):
        call()
