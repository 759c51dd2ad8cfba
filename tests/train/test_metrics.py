"""Metrics against loops over images and against scikit-learn; exact over batches of unequal size."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest

import fastconv as fc
from fastconv import functional as F
from fastconv.data import Loader
from fastconv.errors import DTypeError, FastconvError, ShapeError
from fastconv.train import (
    F1,
    Accuracy,
    ConfusionMatrix,
    MeanLoss,
    Metric,
    Precision,
    Recall,
    TopK,
    count_correct,
)
from tests.train.helpers import small_data, small_trainer

CUTS = ([53], [1, 52], [7] * 7 + [4], [50, 3])


def outcome(seed: int = 0, count: int = 53, classes: int = 6) -> tuple[Any, Any]:
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, classes - 1, count)  # none of the last class
    scores = rng.standard_normal((count, classes)).astype(np.float32)
    scores[np.arange(count), labels] += 1.0
    return scores, labels


def measured(metric: Metric, scores: Any, labels: Any, cuts: list[int]) -> Any:
    metric.reset()
    first = 0
    for size in cuts:
        metric.update(scores[first : first + size], labels[first : first + size])
        first += size
    return metric.result()


def by_hand(scores: Any, labels: Any) -> list[list[int]]:
    classes = scores.shape[1]
    matrix = [[0] * classes for _ in range(classes)]
    for row, label in zip(scores, labels, strict=True):
        best = 0
        for c in range(classes):
            if row[c] > row[best]:
                best = c
        matrix[label][best] += 1
    return matrix


@pytest.mark.parametrize("cuts", CUTS)
def test_against_loops(cuts: list[int]) -> None:
    scores, labels = outcome()
    matrix = by_hand(scores, labels)
    assert measured(ConfusionMatrix(6), scores, labels, cuts) == matrix
    right = sum(matrix[c][c] for c in range(6))
    assert measured(Accuracy(), scores, labels, cuts) == right / 53
    for k in (1, 2, 5, 6):
        hits = sum(
            int(label) in sorted(range(6), key=lambda c, row=row: (-row[c], c))[:k]
            for row, label in zip(scores, labels, strict=True)
        )
        assert measured(TopK(k), scores, labels, cuts) == hits / 53
    for kind, above, below in (
        (Precision, lambda c: matrix[c][c], lambda c: sum(row[c] for row in matrix)),
        (Recall, lambda c: matrix[c][c], lambda c: sum(matrix[c])),
        (
            F1,
            lambda c: 2 * matrix[c][c],
            lambda c: sum(matrix[c]) + sum(row[c] for row in matrix),
        ),
    ):
        each = [above(c) / below(c) if below(c) else 0.0 for c in range(6)]
        images = [sum(matrix[c]) for c in range(6)]
        assert measured(kind(None), scores, labels, cuts) == each
        assert measured(kind(), scores, labels, cuts) == pytest.approx(sum(each) / 6, rel=1e-12)
        weighted = sum(e * n for e, n in zip(each, images, strict=True)) / 53
        assert measured(kind("weighted"), scores, labels, cuts) == pytest.approx(weighted)
        assert measured(kind("micro"), scores, labels, cuts) == right / 53


@pytest.mark.parametrize("zero_division", [0.0, 1.0])
@pytest.mark.parametrize("average", ["macro", "micro", "weighted", None])
def test_against_scikit_learn(average: Any, zero_division: float) -> None:
    sk = pytest.importorskip("sklearn.metrics")
    for seed in range(4):
        scores, labels = outcome(seed, 9)
        answers = scores.argmax(axis=1)
        options: Any = {"labels": range(6), "average": average, "zero_division": zero_division}
        for kind, theirs in (
            (Precision, sk.precision_score),
            (Recall, sk.recall_score),
            (F1, sk.f1_score),
        ):
            ours = measured(kind(average, zero_division=zero_division), scores, labels, [4, 5])
            np.testing.assert_allclose(ours, theirs(labels, answers, **options), rtol=1e-12)
        assert measured(TopK(3), scores, labels, [9]) == sk.top_k_accuracy_score(
            labels, scores, k=3, labels=range(6)
        )


def test_ties_nan_and_probabilities() -> None:
    scores = np.zeros((3, 4), np.float32)
    labels = np.array([0, 1, 3])
    assert [measured(TopK(k), scores, labels, [3]) for k in (1, 2, 4)] == [1 / 3, 2 / 3, 1]
    scores[0, 2] = np.nan
    assert measured(TopK(4), scores, labels, [3]) == 2 / 3
    with pytest.raises(FastconvError, match="NaN in row 0"):
        ConfusionMatrix().update(scores, labels)
    soft = np.array([[0.1, 0.6, 0.3], [0.5, 0.5, 0.0]], np.float32)
    given = np.array([[0, 9, 1], [1, 2, 0]], np.float32)
    assert measured(Accuracy(), given, soft, [2]) == 0.5
    assert count_correct(given, soft) == 1
    assert count_correct(given, soft * 2) is None
    assert count_correct(given, given) is None
    assert count_correct(given[:, :1], np.ones((2, 1), np.float32)) is None


def test_mean_loss_counts_images() -> None:
    scores, labels = outcome()
    whole = float(F.cross_entropy(scores.astype(np.float64), labels))
    for cuts in CUTS:
        found = measured(MeanLoss(F.cross_entropy), scores.astype(np.float64), labels, cuts)
        assert found == pytest.approx(whole, rel=1e-12)


@pytest.mark.parametrize(
    ("make", "error", "match"),
    [
        (lambda: TopK(0), ShapeError, "TopK: k must be at least 1"),
        (lambda: TopK(1.5), DTypeError, "TopK: k must be an integer"),
        (lambda: Precision("mean"), ShapeError, "Precision: average must be one of"),
        (lambda: F1(zero_division=2), ShapeError, "F1: zero_division"),
        (lambda: ConfusionMatrix(0), ShapeError, "ConfusionMatrix: num_classes"),
        (lambda: MeanLoss(3), DTypeError, "MeanLoss: loss is a int"),
        (lambda: Accuracy().result(), ShapeError, "Accuracy: there have been no images"),
        (lambda: Recall().result(), ShapeError, "Recall: there have been no images"),
        (lambda: MeanLoss(F.mse_loss).result(), ShapeError, "no images"),
    ],
)
def test_bad_arguments(make: Any, error: Any, match: str) -> None:
    with pytest.raises(error, match=match):
        make()


@pytest.mark.parametrize(
    ("scores", "labels", "error", "match"),
    [
        (np.zeros(3), np.zeros(3, int), ShapeError, r"outputs must be \(N, classes\)"),
        (np.zeros((3, 4)), np.zeros(2, int), ShapeError, r"labels must have shape \(3,\)"),
        (np.zeros((3, 4)), np.zeros(3), DTypeError, "labels must be integers"),
        (np.zeros((3, 4)), np.array([0, 4, 1]), ShapeError, "labels span 0 to 4, expected 0 to 3"),
        (np.zeros((3, 4)), np.array([0, -1, 1]), ShapeError, "labels span -1 to 1"),
    ],
)
@pytest.mark.parametrize("make", [Accuracy, ConfusionMatrix, F1])
def test_bad_batches(make: Any, scores: Any, labels: Any, error: Any, match: str) -> None:
    with pytest.raises(error, match=f"{make.__name__}: {match}"):
        make().update(scores, labels)
    for bad in (TopK(5), ConfusionMatrix(3)):
        with pytest.raises(ShapeError, match="classes"):
            bad.update(np.zeros((3, 4)), np.zeros(3, int))


def test_in_a_run(tmp_path: Any) -> None:
    def spread(outputs: Any, labels: Any) -> float:
        return float(np.ptp(outputs))

    metrics = {
        **{"top2": TopK(2), "spread": spread, "confusion": ConfusionMatrix(4)},
        **{"precision": Precision(None), "f1": F1()},
    }
    trainer = small_trainer(tmp_path, metrics=metrics)
    data = small_data(7)
    history = trainer.fit(small_data(), Loader(data, 7), epochs=2, progress=False)
    assert json.loads((tmp_path / "history.json").read_text()) == history
    scores = trainer.predict(Loader(data, 7))
    last = history[-1]
    assert last["val_confusion"] == by_hand(scores, data.labels)
    assert last["val_top2"] == measured(TopK(2), scores, data.labels, [44])
    assert last["val_f1"] == measured(F1(), scores, data.labels, [44])
    assert last["val_precision"] == measured(Precision(None), scores, data.labels, [44])
    assert last["val_accuracy"] == np.mean(scores.argmax(axis=1) == data.labels)
    assert last["val_spread"] > 0
    assert fc.train.load_checkpoint(tmp_path / "last.safetensors").history == history


def test_results_that_json_does_not_hold() -> None:
    class Odd(Metric):
        def __init__(self, value: Any) -> None:
            self.value = value

        def update(self, outputs: Any, labels: Any) -> None:
            pass

        def reset(self) -> None:
            pass

        def result(self) -> Any:
            return self.value

    trainer = small_trainer()
    trainer.metrics["odd"] = Odd({"a": (np.float32(1), np.arange(2))})
    assert trainer.evaluate(small_data())["odd"] == {"a": [1.0, [0, 1]]}
    trainer.metrics["odd"] = Odd([float("nan")])
    with pytest.raises(FastconvError, match="the metric 'odd' is nan"):
        trainer.evaluate(small_data())
    trainer.metrics["odd"] = Odd(object())
    with pytest.raises(DTypeError, match="the metric 'odd' gave a object"):
        trainer.evaluate(small_data())
    trainer.metrics["odd"] = {"a": TopK(1)}
    with pytest.raises(ShapeError, match="metrics of 'odd', which is no task"):
        trainer.evaluate(small_data())
