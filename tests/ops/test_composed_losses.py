"""Losses made of other functions: against plain definitions, PyTorch, finite differences; in compiled steps."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import pytest

import fastconv as fc
import fastconv.functional as F
from fastconv import nn
from fastconv.train import Trainer
from tests.support import assert_close, check_gradients, randn, rng


def numbers(key: str, *shape: int) -> Any:
    return rng(key, shape).standard_normal(shape)


def signs(key: str, *shape: int) -> Any:
    return np.where(numbers(key, *shape) > 0, 1.0, -1.0)


def shares(key: str, *shape: int) -> Any:
    return rng(key, shape).uniform(0.05, 0.95, shape)


class Case(NamedTuple):
    arguments: tuple[Any, ...]  # float64 arrays, or labels
    options: dict[str, Any]
    expected: Callable[..., Any]  # each loss by its definition
    differentiated: int = 1  # how many of the arguments
    # The mean is over these, where it is not over the losses.
    mean: Callable[..., Any] | None = None


def length(x: Any, p: float) -> Any:
    if p == math.inf:
        return np.abs(x).max(-1)
    return (np.abs(x) ** p).sum(-1) ** (1 / p)


def triplet(a: Any, b: Any, c: Any, p: float = 2.0, margin: float = 1.0, swap: bool = False) -> Any:
    near, far = length(a - b + 1e-6, p), length(a - c + 1e-6, p)
    if swap:
        far = np.minimum(far, length(b - c + 1e-6, p))
    return np.maximum(near - far + margin, 0)


def cosine(a: Any, b: Any) -> Any:
    return (a * b).sum(-1) / np.sqrt(((a * a).sum(-1) + 1e-12) * ((b * b).sum(-1) + 1e-12))


def multi_margin(x: Any, y: Any, p: int = 1, margin: float = 1.0, weight: Any = None) -> Any:
    rows, labels = np.atleast_2d(x), np.atleast_1d(y)
    losses = np.zeros(len(rows))
    for n, (row, label) in enumerate(zip(rows, labels, strict=True)):
        for c in range(len(row)):
            if c != label:
                hinge = max(0.0, margin - row[label] + row[c]) ** p
                losses[n] += hinge * (1 if weight is None else weight[label])
    return (losses / rows.shape[1]).reshape(np.shape(y))


def multilabel_margin(x: Any, y: Any) -> Any:
    rows, labels = np.atleast_2d(x), np.atleast_2d(y)
    losses = np.zeros(len(rows))
    for n, row in enumerate(rows):
        named = []
        for label in labels[n]:
            if label < 0:
                break
            named.append(int(label))
        for label in named:
            for c in set(range(len(row))) - set(named):
                losses[n] += max(0.0, 1 - row[label] + row[c])
    return (losses / rows.shape[1]).reshape(np.shape(x)[:-1])


def poisson(x: Any, t: Any, log_input: bool = True, full: bool = False, eps: float = 1e-8) -> Any:
    losses = np.exp(x) - t * x if log_input else x - t * np.log(x + eps)
    if full:
        safe = np.where(t > 1, t, 2)
        rest = safe * np.log(safe) - safe + 0.5 * np.log(2 * np.pi * safe)
        losses = losses + np.where(t > 1, rest, 0)
    return losses


def gaussian(x: Any, t: Any, v: Any, full: bool = False, eps: float = 1e-6) -> Any:
    v = v[..., None] if np.ndim(v) and np.ndim(v) < np.ndim(x) else v
    v = np.maximum(v, eps)
    return 0.5 * (np.log(v) + (x - t) ** 2 / v) + (0.5 * np.log(2 * np.pi) if full else 0)


def smooth(x: Any, t: Any, beta: float = 1.0) -> Any:
    d = np.abs(x - t)
    return np.where(d < beta, 0.5 * d * d / max(beta, 1e-300), d - 0.5 * beta)


def soft_multilabel(x: Any, t: Any, weight: Any = None) -> Any:
    losses = t * np.log1p(np.exp(-x)) + (1 - t) * np.log1p(np.exp(x))
    return (losses if weight is None else losses * weight).mean(-1)


def kl(x: Any, t: Any, log_target: bool = False) -> Any:
    return np.exp(t) * (t - x) if log_target else t * np.log(t) - t * x


A, B, C = (numbers(k, 5, 4) for k in "abc")
T1, T2 = signs("t1", 5, 4), signs("t2", 5)
P, Q, W = shares("p", 5, 4), shares("q", 5, 4), shares("w", 5, 4)
LABELS = np.array([0, 3, 1, 1, 2])
LISTS = np.array([[3, 0, -1, 1], [1, -1, 0, 2], [-1, 0, 1, 2], [0, 1, 2, 3], [2, 2, -1, 0]])
weighted_mean = lambda losses, weight: losses.sum() / weight.sum()  # noqa: E731
CASES: dict[str, Case] = {
    "smooth_l1_loss": Case((A, B), {}, smooth, 2),
    "smooth_l1_loss beta": Case((A, B), {"beta": 0.3}, smooth, 2),
    "smooth_l1_loss l1": Case((A, B), {"beta": 0.0}, smooth, 2),
    "mse_loss": Case(
        (A, B), {"weight": W}, lambda x, t, weight: weight * (x - t) ** 2, 2, weighted_mean
    ),
    "l1_loss": Case(
        (A, B), {"weight": W}, lambda x, t, weight: weight * np.abs(x - t), 2, weighted_mean
    ),
    "huber_loss": Case(
        (A, B),
        {"weight": W, "delta": 0.5},
        lambda x, t, weight, delta: weight * delta * smooth(x, t, delta),
        2,
    ),
    "binary_cross_entropy": Case(
        (P, Q), {}, lambda x, t: -(t * np.log(x) + (1 - t) * np.log(1 - x)), 2
    ),
    "binary_cross_entropy weight": Case(
        (P, Q),
        {"weight": W[:1]},
        lambda x, t, weight: -weight * (t * np.log(x) + (1 - t) * np.log(1 - x)),
        2,
    ),
    "kl_div": Case((np.log(P), Q), {}, kl, 2),
    "kl_div log": Case((np.log(P), np.log(Q)), {"log_target": True}, kl, 2),
    "poisson_nll_loss": Case((A, 3 * P), {}, poisson),
    "poisson_nll_loss full": Case((A, 3 * P), {"full": True}, poisson),
    "poisson_nll_loss rates": Case(
        (3 * Q, 3 * P), {"log_input": False, "eps": 0.01, "full": True}, poisson
    ),
    "gaussian_nll_loss": Case((A, B, P), {}, gaussian, 3),
    "gaussian_nll_loss rows": Case((A, B, P[:, 0]), {"full": True}, gaussian, 3),
    "gaussian_nll_loss columns": Case((A, B, P[:1]), {}, gaussian, 3),
    "soft_margin_loss": Case((A, T1), {}, lambda x, t: np.log1p(np.exp(-t * x))),
    "multilabel_soft_margin_loss": Case((A, Q), {}, soft_multilabel, 2),
    "multilabel_soft_margin_loss weight": Case((A, Q), {"weight": W[0]}, soft_multilabel, 2),
    "multilabel_soft_margin_loss one": Case((A[0], Q[0]), {}, soft_multilabel, 2),
    "multi_margin_loss": Case((A, LABELS), {}, multi_margin),
    "multi_margin_loss squared": Case(
        (A, LABELS), {"p": 2, "margin": 0.5, "weight": W[0]}, multi_margin
    ),
    "multi_margin_loss one": Case((A[0], np.array(2)), {}, multi_margin),
    "multilabel_margin_loss": Case((A, LISTS), {}, multilabel_margin),
    "multilabel_margin_loss one": Case((A[0], LISTS[0]), {}, multilabel_margin),
    "hinge_embedding_loss": Case(
        (A, T1),
        {"margin": 0.7},
        lambda x, t, margin: np.where(t == 1, x, np.maximum(margin - x, 0)),
    ),
    "margin_ranking_loss": Case(
        (A, B, T1), {"margin": 0.2}, lambda a, b, t, margin: np.maximum(-t * (a - b) + margin, 0), 2
    ),
    "cosine_embedding_loss": Case(
        (A, B, T2),
        {"margin": -0.2},
        lambda a, b, t, margin: np.where(
            t == 1, 1 - cosine(a, b), np.maximum(cosine(a, b) - margin, 0)
        ),
        2,
    ),
    "cosine_embedding_loss one": Case(
        (A[0], B[0], np.array(1.0)), {}, lambda a, b, t: 1 - cosine(a, b), 2
    ),
    "triplet_margin_loss": Case((A, B, C), {}, triplet, 3),
    "triplet_margin_loss swap": Case(
        (A, B, C), {"swap": True, "p": 3.0, "margin": 2.0}, triplet, 3
    ),
    "triplet_margin_loss city": Case((A, B, C), {"p": 1.0}, triplet, 3),
    "triplet_margin_loss largest": Case(
        (A[0], B[0], C[0]), {"p": math.inf, "margin": 3.0}, triplet, 3
    ),
}


def named(name: str) -> Any:
    return getattr(F, name.split(" ")[0])


def in_type(values: Any, dtype: Any) -> Any:
    if isinstance(values, dict):
        return {k: in_type([v], dtype)[0] for k, v in values.items()}
    floats = lambda v: isinstance(v, np.ndarray) and v.dtype.kind == "f"  # noqa: E731
    return [v.astype(dtype) if floats(v) else v for v in values]


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("name", CASES)
def test_definitions(name: str, dtype: Any) -> None:
    case = CASES[name]
    losses = case.expected(*case.arguments, **case.options)
    tol = 3e-6 if dtype == np.float32 else 1e-12
    given, options = in_type(case.arguments, dtype), in_type(case.options, dtype)
    got = named(name)(*given, reduction="none", **options)
    assert got.dtype == dtype
    assert_close(got, losses, tol)
    mean = losses.mean() if case.mean is None else case.mean(losses, case.options["weight"])
    assert_close(named(name)(*given, **options), mean, tol)
    assert_close(named(name)(*given, reduction="sum", **options), losses.sum(), tol)


@pytest.mark.parametrize("name", CASES)
def test_gradients(name: str) -> None:
    case = CASES[name]
    count = case.differentiated

    def loss(*values: Any) -> Any:
        return named(name)(*values, *case.arguments[count:], reduction="none", **case.options)

    check_gradients(loss, case.arguments[:count])


@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
@pytest.mark.parametrize("name", CASES)
def test_against_torch(name: str, reduction: str) -> None:
    torch = pytest.importorskip("torch")
    case = CASES[name]
    theirs = getattr(torch.nn.functional, name.split(" ")[0])
    tensors = [torch.from_numpy(np.array(v)) for v in case.arguments]
    for t in tensors[: case.differentiated]:
        t.requires_grad_()
    weights = {
        k: torch.from_numpy(v) if isinstance(v, np.ndarray) else v for k, v in case.options.items()
    }
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("warnings.warn", lambda *a, **k: None)  # about kl_div's mean
        expected = theirs(*tensors, reduction=reduction, **weights)
    expected.sum().backward()
    ours = [
        fc.tensor(v, requires_grad=True) if i < case.differentiated else v
        for i, v in enumerate(case.arguments)
    ]
    got = named(name)(*ours, reduction=reduction, **case.options)
    assert_close(got.numpy(), expected.detach().numpy(), 1e-12)
    got.sum().backward()
    for a, b in zip(ours[: case.differentiated], tensors, strict=False):
        assert_close(a.grad.numpy(), b.grad.numpy(), 1e-11)


def test_kl_div_by_batches_and_zero_targets() -> None:
    losses = kl(np.log(P), Q)
    assert_close(F.kl_div(np.log(P), Q, "batchmean"), losses.sum() / 5, 1e-12)
    none = np.array([0.0, 1.0])
    assert_close(F.kl_div(np.log([0.5, 0.5]), none, "none"), [0.0, math.log(2)], 1e-12)


def test_binary_cross_entropy_of_certainty() -> None:
    torch = pytest.importorskip("torch")
    x, t = np.array([0.0, 1.0, 0.0, 1.0]), np.array([0.0, 1.0, 1.0, 0.0])
    theirs = torch.from_numpy(x.copy()).requires_grad_()
    expected = torch.nn.functional.binary_cross_entropy(
        theirs, torch.from_numpy(t), reduction="none"
    )
    expected.sum().backward()
    ours = fc.tensor(x, requires_grad=True)
    got = F.binary_cross_entropy(ours, t, reduction="none")
    assert_close(got.numpy(), expected.detach().numpy(), 1e-12)
    got.sum().backward()
    assert_close(ours.grad, theirs.grad.numpy(), 1e-8)  # PyTorch's 1e-12 is the float32 next to it


def test_gaussian_numbers_and_small_variances() -> None:
    torch = pytest.importorskip("torch")
    assert_close(F.gaussian_nll_loss(A, B, 0.5), gaussian(A, B, np.float64(0.5)).mean(), 1e-12)
    small = np.full_like(A, 1e-9)
    theirs = [torch.from_numpy(v.copy()).requires_grad_() for v in (A, small)]
    loss = torch.nn.functional.gaussian_nll_loss(theirs[0], torch.from_numpy(B), theirs[1])
    loss.backward()
    ours = [fc.tensor(v, requires_grad=True) for v in (A, small)]
    got = F.gaussian_nll_loss(ours[0], B, ours[1])
    got.backward()
    assert_close(got.numpy(), loss.detach().numpy(), 1e-9)
    for a, b in zip(ours, theirs, strict=True):
        assert_close(a.grad, b.grad.numpy(), 1e-9)


@pytest.mark.parametrize("dim", [0, 1, -1])
@pytest.mark.parametrize("p", [1.0, 2.0, 3.5, math.inf])
def test_normalize(p: float, dim: int) -> None:
    torch = pytest.importorskip("torch")
    x = numbers("n", 3, 4, 5)
    x[1, :, 2] = 0
    theirs = torch.from_numpy(x.copy()).requires_grad_()
    expected = torch.nn.functional.normalize(theirs, p, dim)
    ours = fc.tensor(x, requires_grad=True)
    got = F.normalize(ours, p, dim)
    assert_close(got.numpy(), expected.detach().numpy(), 1e-12)
    seed = numbers("seed", 3, 4, 5)
    if p == 2.0 or dim != 1:  # of a vector of zeros the gradient is anything
        expected.backward(torch.from_numpy(seed))
        got.backward(seed)
        inside = np.ones(x.shape, bool)
        inside[1, :, 2] = False
        assert_close(ours.grad.numpy()[inside], theirs.grad.numpy()[inside], 1e-11)
        assert np.isfinite(ours.grad.numpy()).all()


@pytest.mark.parametrize("shapes", [((3, 4), (3, 4), 1), ((3, 4, 2), (4, 2), -2), ((5,), (5,), 0)])
def test_cosine_similarity_and_distance(shapes: Any) -> None:
    torch = pytest.importorskip("torch")
    *sizes, dim = shapes
    values = [numbers(f"v{i}", *s) for i, s in enumerate(sizes)]
    ours = [fc.tensor(v, requires_grad=True) for v in values]
    theirs = [torch.from_numpy(v.copy()).requires_grad_() for v in values]
    pairs = [(F.cosine_similarity(*ours, dim), torch.nn.functional.cosine_similarity(*theirs, dim))]
    pairs.append(
        (F.pairwise_distance(*ours, 3.0), torch.nn.functional.pairwise_distance(*theirs, 3.0))
    )
    for got, expected in pairs:
        assert_close(got.numpy(), expected.detach().numpy(), 1e-12)
        got.sum().backward()
        expected.sum().backward()
    for a, b in zip(ours, theirs, strict=True):
        assert_close(a.grad, b.grad.numpy(), 1e-11)
    again = [torch.from_numpy(v) for v in values]
    assert_close(
        F.pairwise_distance(*values, keepdim=True),
        torch.nn.functional.pairwise_distance(*again, keepdim=True).numpy(),
        1e-12,
    )


MODULES: dict[str, tuple[dict[str, Any], Any]] = {
    "SmoothL1Loss": ({"beta": 0.5}, (A, B)),
    "BCELoss": ({"weight": W}, (P, Q)),
    "KLDivLoss": ({"reduction": "batchmean", "log_target": True}, (np.log(P), np.log(Q))),
    "PoissonNLLLoss": ({"full": True}, (A, 3 * P)),
    "GaussianNLLLoss": ({"full": True, "reduction": "sum"}, (A, B, P)),
    "SoftMarginLoss": ({}, (A, T1)),
    "MultiLabelMarginLoss": ({}, (A, LISTS)),
    "MultiLabelSoftMarginLoss": ({"weight": W[0]}, (A, Q)),
    "MultiMarginLoss": ({"p": 2, "margin": 0.5, "weight": W[0]}, (A, LABELS)),
    "HingeEmbeddingLoss": ({"margin": 0.5}, (A, T1)),
    "MarginRankingLoss": ({"margin": 0.5}, (A, B, T1)),
    "CosineEmbeddingLoss": ({"margin": 0.1}, (A, B, T2)),
    "TripletMarginLoss": ({"p": 1.0, "swap": True}, (A, B, C)),
    "TripletMarginWithDistanceLoss": ({"swap": True, "margin": 2.0}, (A, B, C)),
    "PairwiseDistance": ({"p": 1.0, "keepdim": True}, (A, B)),
    "CosineSimilarity": ({"dim": 0}, (A, B)),
}


@pytest.mark.parametrize("name", MODULES)
def test_modules(name: str) -> None:
    torch = pytest.importorskip("torch")
    options, arguments = MODULES[name]
    tensors = {
        k: torch.from_numpy(v) if isinstance(v, np.ndarray) else v for k, v in options.items()
    }
    theirs = getattr(torch.nn, name)(**tensors)(*[torch.from_numpy(a) for a in arguments])
    assert_close(np.asarray(getattr(nn, name)(**options)(*arguments)), theirs.numpy(), 1e-12)


TRAINED: dict[str, tuple[Any, Any]] = {
    "SmoothL1Loss": ({}, B),
    "BCELoss": ({}, Q),
    "KLDivLoss": ({"reduction": "batchmean"}, Q),
    "PoissonNLLLoss": ({"full": True}, 3 * P),
    "SoftMarginLoss": ({}, T1),
    "MultiLabelMarginLoss": ({}, LISTS),
    "MultiLabelSoftMarginLoss": ({}, Q),
    "MultiMarginLoss": ({"p": 2}, LABELS),
    "HingeEmbeddingLoss": ({}, T1),
}


@pytest.mark.parametrize("name", TRAINED)
def test_training_steps(name: str) -> None:
    """Compiled steps, which a warning would betray as not compiled, are eager ones."""
    options, target = TRAINED[name]
    x = randn(rng("x"), 5, 2, 6, 6)
    target = target.astype(np.float32) if target.dtype.kind == "f" else target
    results = []
    for compiled in (True, False):
        fc.manual_seed(2)
        last = nn.Sigmoid() if name == "BCELoss" else nn.Identity()
        net = nn.Sequential(nn.Conv2d(2, 20, 3), nn.ReLU(), nn.Flatten(), nn.Linear(320, 4), last)
        optimizer = fc.optim.SGD(net.parameters(), lr=0.05)
        trainer = Trainer(net, getattr(nn, name)(**options), optimizer, compile=compiled)
        losses = [trainer.step(x, target) for _ in range(3)]
        assert losses[2] < losses[0]
        results.append((losses, net.state_dict()))
    np.testing.assert_allclose(results[0][0], results[1][0], rtol=1e-5)
    for key, value in results[0][1].items():
        assert_close(value, results[1][1][key], 2e-5, key)


def test_pairs_in_programs() -> None:
    class Distances(nn.Module):
        def forward(self, a: Any, b: Any) -> Any:
            one = F.normalize(a)
            return one, F.cosine_similarity(one, b), F.pairwise_distance(one, b, 3.0)

    a, b = A.astype(np.float32), B.astype(np.float32)
    net = Distances().eval()
    for got, expected in zip(fc.compile(net, a, b)(a, b), net(a, b), strict=True):
        assert_close(got, expected, 1e-5)


def test_classes_exactly_at_the_margin_have_no_gradient() -> None:
    x = fc.Tensor(np.array([[1.0, 0.0, -1.0]]), requires_grad=True)
    for loss in (
        F.multi_margin_loss(x, np.array([0])),
        F.multilabel_margin_loss(x, np.array([[0, -1, -1]])),
    ):
        assert loss.item() == 0
        loss.backward()
        assert x.grad is not None and not x.grad.numpy().any()
        x.grad = None


def test_labels_outside_are_refused_in_steps() -> None:
    fc.manual_seed(0)
    net = nn.Linear(4, 3)
    trainer = Trainer(net, nn.MultiMarginLoss(), fc.optim.SGD(net.parameters(), lr=0.1))
    x = numbers("labels outside", 2, 4).astype(np.float32)
    trainer.step(x, np.array([0, 2]))
    before = net.weight.numpy().copy()
    for label in (-1, 3):
        with pytest.raises(fc.ShapeError, match=r"multi_margin_loss: "):
            trainer.step(x, np.array([0, label]))
    assert np.array_equal(net.weight.numpy(), before)


def test_losses_of_no_examples() -> None:
    none, labels = np.zeros((0, 4)), np.zeros(0, np.int64)
    for loss in (
        lambda kind: F.multi_margin_loss(none, labels, reduction=kind),
        lambda kind: F.multilabel_margin_loss(none, none.astype(np.int64), reduction=kind),
    ):
        assert loss("none").shape == (0,) and loss("sum").item() == 0
        assert math.isnan(loss("mean").item())
    assert math.isnan(F.kl_div(none, none, "batchmean").item())


@pytest.mark.parametrize("p", [0.5, 1.5, 2.0, 3.0])
def test_equal_elements_have_no_gradient(p: float) -> None:
    x = fc.Tensor(np.array([[1.0, 1.0, 3.0], [1.0, 1.0, 1.0]]), requires_grad=True)
    y = F.pairwise_distance(x, np.ones((2, 3)), p, 0.0)
    assert_close(y, np.array([2.0, 0.0]), 1e-12)
    y.backward(np.ones(2))
    assert x.grad is not None
    assert_close(x.grad, np.array([[0.0, 0.0, 1.0], [0.0, 0.0, 0.0]]), 1e-12)


def test_cosines_of_broadcast_vectors() -> None:
    a, b = numbers("cosine a", 3, 1), numbers("cosine b", 2, 3, 5)
    whole = np.broadcast_to(a, b.shape).copy()
    for dim in (-1, 1, 2):
        expected = F.cosine_similarity(whole, b, dim)
        assert_close(F.cosine_similarity(a, b, dim), expected, 1e-12)
    check_gradients(lambda y: F.cosine_similarity(a, y, -1), [b])


@pytest.mark.parametrize(
    ("call", "error", "text"),
    [
        (
            lambda: F.mse_loss(A, B, weight=W[0]),
            fc.ShapeError,
            r"mse_loss: weight must have the inp",
        ),
        (
            lambda: F.smooth_l1_loss(A, B, beta=-1.0),
            fc.ShapeError,
            "smooth_l1_loss: beta must be fin",
        ),
        (lambda: F.smooth_l1_loss(A, B[0]), fc.ShapeError, "^smooth_l1_loss: "),
        (
            lambda: F.binary_cross_entropy(A, Q),
            fc.ShapeError,
            r"binary_cross_entropy: input must be in",
        ),
        (lambda: F.kl_div(A, Q, "average"), fc.ShapeError, "kl_div: reduction must be one of none"),
        (lambda: F.kl_div(A, Q[0]), fc.ShapeError, "kl_div: target must have the input's shape"),
        (
            lambda: F.gaussian_nll_loss(A, B, -P),
            fc.ShapeError,
            "gaussian_nll_loss: var must not be neg",
        ),
        (
            lambda: F.gaussian_nll_loss(A, B, P[:2]),
            fc.ShapeError,
            r"gaussian_nll_loss: var \(2, 4\) does",
        ),
        (
            lambda: F.multi_margin_loss(A, LABELS, 3),
            fc.ShapeError,
            "multi_margin_loss: p must be 1 or 2",
        ),
        (
            lambda: F.multi_margin_loss(A, LABELS + 1),
            fc.ShapeError,
            r"multi_margin_loss: labels must be in",
        ),
        (
            lambda: F.multi_margin_loss(A, A),
            fc.DTypeError,
            "multi_margin_loss: target must be integer",
        ),
        (
            lambda: F.multilabel_margin_loss(A, LISTS[0]),
            fc.ShapeError,
            "multilabel_margin_loss: target",
        ),
        (
            lambda: F.cosine_embedding_loss(A, B, T1),
            fc.ShapeError,
            "cosine_embedding_loss: expects inp",
        ),
        (
            lambda: F.triplet_margin_loss(A, B, C, 0.0),
            fc.ShapeError,
            "triplet_margin_loss: margin must",
        ),
        (
            lambda: F.triplet_margin_loss(A, B, C, p=-1),
            fc.ShapeError,
            "^triplet_margin_loss: p must be",
        ),
        (lambda: F.normalize(A, 0), fc.ShapeError, "normalize: p must be greater than 0"),
        (lambda: F.normalize(A, dim=2), fc.ShapeError, "normalize: dim must be in"),
        (
            lambda: F.cosine_similarity(A, B[:, :2]),
            fc.ShapeError,
            r"cosine_similarity: x1 .* and x2 .* do not broadcast",
        ),
        (
            lambda: F.hinge_embedding_loss(A, LABELS),
            fc.DTypeError,
            "hinge_embedding_loss: target must be float32",
        ),
        (
            lambda: F.cosine_embedding_loss(A, B, LABELS),
            fc.DTypeError,
            "cosine_embedding_loss: target must be float32",
        ),
        (
            lambda: F.margin_ranking_loss(A, B, LABELS),
            fc.DTypeError,
            "margin_ranking_loss: target must be float32",
        ),
        (
            lambda: F.binary_cross_entropy(P, 2 * P + 1),
            fc.ShapeError,
            r"binary_cross_entropy: target must be in \[0, 1\]",
        ),
        (
            lambda: F.binary_cross_entropy(P * math.nan, P),
            fc.ShapeError,
            r"binary_cross_entropy: input must be in \[0, 1\], got nan",
        ),
        (lambda: F.pairwise_distance(A, B.astype("f4")), fc.DTypeError, "^pairwise_distance: "),
        (lambda: nn.MultiMarginLoss(3), fc.ShapeError, "MultiMarginLoss: p must be 1 or 2"),
        (lambda: nn.KLDivLoss("average"), fc.ShapeError, "KLDivLoss: reduction"),
        (lambda: nn.TripletMarginLoss(0.0), fc.ShapeError, "TripletMarginLoss: margin must"),
    ],
)
def test_bad_arguments(call: Any, error: type[Exception], text: str) -> None:
    with pytest.raises(error, match=text):
        call()
