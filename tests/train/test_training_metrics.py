"""Metrics over training batches: what they are of, and that resumed runs go on with them."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest

import fastconv as fc
import fastconv.functional as F
from fastconv import nn
from fastconv.data import Loader
from fastconv.train import (
    F1,
    Callback,
    ConfusionMatrix,
    CSVLog,
    KerasStyle,
    MeanLoss,
    Metric,
    Precision,
    Recall,
    TopK,
    Trainer,
)
from tests.train.helpers import (
    BATCH,
    StopAt,
    arrays_of,
    assert_same_checkpoint,
    small_data,
    small_loader,
    small_trainer,
    without_times,
)


class Longest(Metric):
    """Keeps a list and a dictionary: the lengths of batches, and the sum of the labels of each class."""

    def __init__(self) -> None:
        self.reset()

    def update(self, outputs: Any, labels: Any) -> None:
        self.lengths.append(len(labels))
        for label in labels.tolist():
            self.sums[str(label)] = self.sums.get(str(label), 0) + 1

    def result(self) -> Any:
        return {"lengths": self.lengths, **self.sums}

    def reset(self) -> None:
        self.lengths: list[int] = []
        self.sums: dict[str, int] = {}


def first_score(outputs: Any, labels: Any) -> float:
    return float(outputs[:, 0].mean())


def metrics() -> dict[str, Any]:
    return {
        "top2": TopK(2),
        "confusion": ConfusionMatrix(),
        "precision": Precision(),
        "recall": Recall(None),
        "f1": F1("weighted"),
        "likelihood": MeanLoss(F.cross_entropy),
        "longest": Longest(),
        "first": first_score,
    }


def still_trainer(**options: Any) -> Trainer:
    """Training leaves it as it is, so that its answers are those of evaluation."""
    fc.manual_seed(5)
    net = nn.Sequential(nn.Flatten(), nn.Linear(36, 4))
    return Trainer(net, F.cross_entropy, fc.optim.SGD(net.parameters(), lr=0.0), **options)


@pytest.mark.parametrize("options", [{}, {"compile": False}, {"accumulate": 3}])
def test_they_are_of_all_images_of_the_epoch(options: dict[str, Any]) -> None:
    trainer = still_trainer(metrics=metrics(), **options)
    trainer.fit(Loader(small_data(), BATCH), small_data(1), 2, progress=False)
    for record in trainer.history:
        for data, part in ((small_data(), "train"), (small_data(1), "val")):
            found = still_trainer(metrics=metrics()).evaluate(Loader(data, BATCH))
            for name in metrics():
                value = record[f"{part}_{name}"]
                if name in ("likelihood", "first"):
                    assert value == pytest.approx(found[name], rel=1e-5)
                elif part == "train" or name != "longest":  # validation has other batches
                    assert value == found[name], name
    assert trainer.history[0]["train_longest"]["lengths"] == [8, 8, 8, 8, 8, 4]


def test_nothing_is_taken_where_nothing_is_asked() -> None:
    columns = {"epoch", "learning_rate", "train_loss", "train_accuracy"}
    columns |= {"val_loss", "val_accuracy", "seconds", "images_per_second"}
    plain = small_trainer()
    plain.fit(small_loader(), small_data(1), 1, progress=False)
    assert plain._training is None and set(plain.history[0]) == columns
    only = small_trainer(metrics={"top2": TopK(2)}, train_metrics=False)
    only.fit(small_loader(), small_data(1), 1, progress=False)
    assert only._training is None and set(only.history[0]) == {*columns, "val_top2"}
    both = small_trainer(metrics={"top2": TopK(2)})
    both.fit(small_loader(), small_data(1), 1, progress=False)
    assert set(both.history[0]) == {*columns, "train_top2", "val_top2"}
    assert arrays_of(plain) == arrays_of(only) == arrays_of(both)


class Evaluates(Callback):
    def on_step_end(self, trainer: Trainer, loss: float) -> None:
        trainer.evaluate(small_data(2, 12))


def test_evaluations_meanwhile_do_not_disturb_them() -> None:
    histories = []
    for callbacks in ([], [Evaluates()]):
        trainer = small_trainer(metrics=metrics(), callbacks=callbacks)
        trainer.fit(small_loader(), small_data(1), 2, progress=False)
        histories.append(without_times(trainer.history))
    assert histories[0] == histories[1]


@pytest.mark.parametrize("stop", [2, 6, 9])
def test_resumed_runs_have_the_same_figures(tmp_path: Path, stop: int) -> None:
    pytest.importorskip("safetensors")

    def trainer(folder: str, *callbacks: Callback) -> Trainer:
        more = [CSVLog(), *callbacks]
        return small_trainer(tmp_path / folder, metrics=metrics(), callbacks=more)

    whole = trainer("whole")
    whole.fit(small_loader(), small_data(1), 3, progress=False)
    cut = trainer("cut", StopAt(stop))
    cut.fit(small_loader(), small_data(1), 3, progress=False)
    random = fc.random.get_state()
    again = trainer("cut")
    again.load(tmp_path / "cut" / "last.safetensors")
    again.save(tmp_path / "copy.safetensors")  # before it has gone on
    again.fit(small_loader(), small_data(1), 3, progress=False)
    other = trainer("other")
    other.load(tmp_path / "copy.safetensors")
    other.fit(small_loader(), small_data(1), 3, progress=False)
    fc.random.set_state(random)
    cut.callbacks = cut.callbacks[:1]
    cut.fit(small_loader(), small_data(1), 3, progress=False)  # in the same process
    for each in (again, other, cut):
        assert without_times(each.history) == without_times(whole.history)
    assert_same_checkpoint(
        tmp_path / "whole" / "last.safetensors", tmp_path / "other" / "last.safetensors"
    )
    header = (tmp_path / "other" / "history.csv").read_text().partition("\n")[0]
    assert "train_confusion" in header


class Outputs(NamedTuple):
    logits: Any
    auxiliary: Any


class TwoHeads(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.flatten, self.head = nn.Flatten(), nn.Linear(36, 4)

    def forward(self, x: Any) -> Any:
        scores = self.head(self.flatten(x))
        return Outputs(scores, scores) if self.training else scores


def test_networks_with_several_outputs() -> None:
    fc.manual_seed(5)
    net = TwoHeads()
    trainer = Trainer(
        net,
        fc.models.auxiliary_cross_entropy,
        fc.optim.SGD(net.parameters(), lr=0.0),
        metrics=[TopK(2)],
    )
    trainer.fit(Loader(small_data(), BATCH), small_data(), 1, progress=False)
    assert trainer.history[0]["train_topk"] == trainer.history[0]["val_topk"] > 0

    class Tasks(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.flatten, self.head = nn.Flatten(), nn.Linear(36, 4)

        def forward(self, x: Any) -> Any:
            scores = self.head(self.flatten(x))
            return {"quarter": scores, "other": scores}

    fc.manual_seed(5)
    tasks = Tasks()
    trainer = Trainer(
        tasks,
        {"quarter": F.cross_entropy, "other": F.cross_entropy},
        fc.optim.SGD(tasks.parameters(), lr=0.0),
        targets=lambda labels: {"quarter": labels, "other": labels},
        metrics={"quarter": {"top2": TopK(2)}, "keys": lambda outputs, labels: float(len(labels))},
    )
    trainer.fit(Loader(small_data(), BATCH), small_data(), 1, progress=False)
    record = trainer.history[0]
    assert record["train_quarter_top2"] == record["val_quarter_top2"] > 0
    assert record["train_keys"] == 2.0


def test_lists_of_metrics() -> None:
    trainer = still_trainer(metrics=[TopK(2), F1(), first_score])
    assert list(trainer.metrics) == ["topk", "f1", "first_score"]
    found = fc.train.evaluate(
        trainer.net, F.cross_entropy, small_data(), metrics=[TopK(2), first_score]
    )
    assert {"topk", "first_score"} <= set(found)
    for given, error, match in (
        ([TopK(1), TopK(2)], fc.ShapeError, "there are two metrics called 'topk'"),
        ("accuracy", fc.DTypeError, "metrics are a str, expected name -> metric, or a list"),
        (["accuracy"], fc.DTypeError, "a metric is a str, expected a Metric or a function"),
    ):
        with pytest.raises(error, match=f"Trainer: {match}"):
            still_trainer(metrics=given)


def test_figures_that_are_not_finite() -> None:
    trainer = still_trainer(metrics={"none": lambda outputs, labels: float("nan")})
    with pytest.raises(fc.FastconvError, match="Trainer: the metric 'none' is nan"):
        trainer.fit(small_loader(), epochs=1, progress=False)


def test_keras_has_them_in_its_history() -> None:
    data = small_data()
    made = KerasStyle(still_trainer().net)
    made.compile("sgd", "sparse_categorical_crossentropy", metrics=["accuracy", TopK(2)])
    x = data.images.astype(np.float32) / 255
    history = made.fit(x, data.labels, batch_size=8, epochs=2, verbose=0, validation_split=0.25)
    for name in ("accuracy", "topk", "val_topk", "loss", "val_loss"):
        assert len(history.history[name]) == 2
