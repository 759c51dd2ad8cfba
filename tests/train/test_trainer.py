"""Trainer: steps, runs, what it reports and writes, and what it refuses."""

from __future__ import annotations

import json
import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import fastconv as fc
from fastconv import functional as F
from fastconv import nn, random
from fastconv.data import ArrayDataset, Loader
from fastconv.errors import DTypeError, FastconvError, FormatError, ShapeError
from fastconv.train import Callback, Trainer, load_checkpoint
from tests.train.helpers import (
    BATCH,
    COUNT,
    StopAt,
    arrays_of,
    small_data,
    small_loader,
    small_net,
    small_trainer,
)


def test_step_is_forward_backward_and_update() -> None:
    trainer = small_trainer(compile=False)
    twin = small_trainer()
    x, labels = next(iter(small_loader(prefetch=0)))
    fc.manual_seed(9)
    losses = [trainer.step(x, labels) for _ in range(3)]
    fc.manual_seed(9)
    twin.net.train()
    for loss in losses:
        twin.optimizer.zero_grad()
        value = F.cross_entropy(twin.net(fc.tensor(x)), labels)
        value.backward()
        twin.optimizer.step()
        twin.schedule.step()
        assert value.item() == loss
    assert arrays_of(trainer) == arrays_of(twin)
    assert trainer.global_step == 3
    assert isinstance(losses[0], float)


def test_it_learns_and_reports(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    trainer = small_trainer(tmp_path / "run", config={"name": "x"})
    test = Loader(small_data(7), 16)
    history = trainer.fit(small_loader(), test, epochs=3)
    assert history is trainer.history
    assert [r["epoch"] for r in history] == [1, 2, 3]
    assert history[-1]["val_accuracy"] > 0.9 > 0.5 > history[-1]["train_loss"] / 2
    assert trainer.global_step == 18 and (trainer.epoch, trainer.batch) == (3, 0)
    assert set(history[0]) == {
        *("epoch", "learning_rate", "seconds", "images_per_second"),
        *("train_loss", "train_accuracy", "val_loss", "val_accuracy"),
    }
    result = trainer.evaluate(test)
    assert result["images"] == COUNT
    assert result["loss"] == history[-1]["val_loss"]
    assert result["accuracy"] == history[-1]["val_accuracy"]
    lines = [x for x in capsys.readouterr().out.splitlines() if "  batch " not in x]
    assert [line.split()[1] for line in lines] == ["1/3", "2/3", "3/3"]
    for line, record in zip(lines, history, strict=True):
        assert f"validation accuracy {record['val_accuracy']:.2%}" in line
        assert f"loss {record['train_loss']:.4f}" in line
        assert "images/s" in line and ("left 0:" in line) == (record["epoch"] < 3)

    names = ["best.safetensors", "curves.png", "history.json", "last.safetensors"]
    assert sorted(p.name for p in (tmp_path / "run").iterdir()) == names
    assert json.loads((tmp_path / "run" / "history.json").read_text()) == history
    last = load_checkpoint(tmp_path / "run" / "last.safetensors")
    assert (last.epoch, last.batch, last.global_step) == (3, 0, 18)
    assert last.history == history and last.config == {"name": "x"}
    best = load_checkpoint(tmp_path / "run" / "best.safetensors")
    top = max(r["val_accuracy"] for r in history)
    first = next(r["epoch"] for r in history if r["val_accuracy"] == top)
    assert (best.epoch, best.best) == (first, top)


def test_curves_are_a_picture_of_the_history(tmp_path: Path) -> None:
    from PIL import Image

    from fastconv.train import plot_history

    records = [
        {"epoch": e, "train_loss": 1 / e, "val_loss": 2 / e, "train_accuracy": e / 4}
        for e in (1, 2)
    ]
    plot_history(records, tmp_path / "a.png")
    plot_history(records[:1], tmp_path / "b.png")
    plot_history([], tmp_path / "c.png")
    pictures = [np.asarray(Image.open(tmp_path / f"{n}.png").convert("RGB")) for n in "abc"]
    for picture in pictures:
        assert picture.shape == (440, 1100, 3)
    blue, orange = [0x00, 0x72, 0xB2], [0xD5, 0x5E, 0x00]
    counts = [[int((p == c).all(axis=2).sum()) for c in (blue, orange)] for p in pictures]
    assert min(counts[0]) > 20
    assert counts[2] == [0, 0]
    plot_curves = fc.visualize.plot_curves
    fc.visualize.save_png(plot_curves(records), tmp_path / "d.png")
    assert (tmp_path / "d.png").read_bytes() == (tmp_path / "a.png").read_bytes()


def test_plotting_leaves_pyplot_alone(tmp_path: Path) -> None:
    import sys

    from fastconv.train import plot_history

    before = "matplotlib.pyplot" in sys.modules
    plot_history([{"epoch": 1, "train_loss": 1.0}], tmp_path / "a.png")
    assert ("matplotlib.pyplot" in sys.modules) == before


def test_history_is_strict_json(tmp_path: Path) -> None:
    from fastconv.train import write_history

    with pytest.raises(ValueError, match="JSON compliant"):
        write_history([{"epoch": 1, "train_loss": float("nan")}], tmp_path / "h.json")
    assert list(tmp_path.iterdir()) == []


def test_without_a_folder_nothing_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    trainer = small_trainer()
    trainer.fit(small_loader(), epochs=1, progress=False)
    assert "val_loss" not in trainer.history[0]
    assert list(tmp_path.iterdir()) == []
    assert capsys.readouterr() == ("", "")


def test_fit_counts_epochs_in_all() -> None:
    trainer = small_trainer()
    for epochs, steps in ((1, 6), (1, 6), (3, 18)):
        trainer.fit(small_loader(), epochs=epochs, progress=False)
        assert trainer.global_step == steps
    whole = small_trainer()
    whole.fit(small_loader(), epochs=3, progress=False)
    assert arrays_of(whole) == arrays_of(trainer)


def test_kinds_of_data_agree() -> None:
    data = small_data()
    trained = []
    for train in (small_loader(), data, list(small_loader())):
        trainer = small_trainer(batch_size=BATCH, seed=3)
        trainer.fit(train, data, epochs=1, progress=False)
        trained.append(arrays_of(trainer))
    assert trained[0] == trained[1] == trained[2]
    result = trainer.evaluate(data)
    assert result == trainer.evaluate(Loader(data, 256))
    in_parts = trainer.evaluate(list(Loader(data, 5)))
    assert in_parts["accuracy"] == result["accuracy"]
    assert in_parts["loss"] == pytest.approx(result["loss"], rel=1e-5)


def test_predict() -> None:
    trainer = small_trainer()
    data = small_data()
    x = data.standardize()(data.images)
    trainer.net.train()
    scores = trainer.predict(x)
    assert trainer.net.training
    assert scores.shape == (COUNT, 4) and scores.dtype == np.float32
    assert np.array_equal(scores, trainer.predict(x))  # no dropout
    for other in (data, Loader(data, 7), list(Loader(data, 256)), fc.tensor(x)):
        np.testing.assert_allclose(trainer.predict(other), scores, rtol=1e-5, atol=1e-6)
    shares = trainer.predict(x, batch_size=10, probabilities=True)
    np.testing.assert_allclose(shares.sum(axis=1), 1, rtol=1e-6)
    np.testing.assert_allclose(
        shares, np.exp(scores) / np.exp(scores).sum(axis=1, keepdims=True), rtol=1e-4
    )
    assert trainer.evaluate(data)["accuracy"] == np.mean(scores.argmax(axis=1) == data.labels)


def test_metrics() -> None:
    def top2(outputs: Any, labels: Any) -> float:
        return float((np.argsort(outputs)[:, -2:] == labels[:, None]).any(axis=1).mean())

    trainer = small_trainer(metrics={"top2": top2, "size": lambda o, y: len(y)})
    result = trainer.evaluate(Loader(small_data(), 16))
    scores = trainer.predict(small_data())
    assert result["top2"] == pytest.approx(top2(scores, small_data().labels))
    assert result["size"] == pytest.approx((16 * 16 * 2 + 12 * 12) / COUNT)
    trainer.fit(small_loader(), small_data(), epochs=1, progress=False)
    assert "val_top2" in trainer.history[0]


def test_regression_has_no_accuracy(tmp_path: Path) -> None:
    fc.manual_seed(0)
    net = nn.Sequential(nn.Flatten(), nn.Linear(36, 1))
    trainer = Trainer(
        net,
        lambda out, y: ((out - y) * (out - y)).mean(),
        fc.optim.SGD(net.parameters(), lr=1e-3),
        out_dir=tmp_path,
    )
    x = np.random.default_rng(0).standard_normal((8, 1, 6, 6)).astype(np.float32)
    batches = [(x, x.sum(axis=(1, 2, 3)).reshape(8, 1) / 9)]
    trainer.fit(batches, batches, epochs=4, progress=False)
    losses = [r["val_loss"] for r in trainer.history]
    assert losses == sorted(losses, reverse=True)
    assert "accuracy" not in trainer.evaluate(batches)
    assert "val_accuracy" not in trainer.history[0]
    assert load_checkpoint(tmp_path / "best.safetensors").best == -losses[-1]


def test_float64() -> None:
    net = small_net().to("float64")
    trainer = Trainer(net, F.cross_entropy, fc.optim.SGD(net.parameters(), lr=0.1), dtype="float64")
    trainer.fit(small_loader(), epochs=1, progress=False)
    assert trainer.predict(small_data()).dtype == np.float64


def test_callbacks_see_the_run() -> None:
    seen: list[Any] = []

    class Watch(Callback):
        def on_fit_start(self, trainer: Trainer) -> None:
            seen.append(("fit", trainer.epochs, trainer.batches, trainer.images_per_epoch))

        def on_epoch_start(self, trainer: Trainer) -> None:
            seen.append(("epoch", trainer.epoch))

        def on_step_end(self, trainer: Trainer, loss: float) -> None:
            seen.append((trainer.global_step, trainer.batch, trainer.running.images))
            assert loss > 0

        def on_epoch_end(self, trainer: Trainer, record: dict[str, Any]) -> None:
            assert record is trainer.history[-1]
            seen.append(("end", record["epoch"]))

        def on_fit_end(self, trainer: Trainer) -> None:
            seen.append("fit end")

    small_trainer(callbacks=[Watch()]).fit(small_loader(drop_last=True), epochs=2, progress=False)
    steps = [[(5 * e + b, b, BATCH * b) for b in range(1, 6)] for e in range(2)]
    assert seen == [
        *[("fit", 2, 5, 40), ("epoch", 0), *steps[0], ("end", 1)],
        *[("epoch", 1), *steps[1], ("end", 2), "fit end"],
    ]


def test_stop_ends_with_a_checkpoint(tmp_path: Path) -> None:
    trainer = small_trainer(tmp_path, callbacks=[StopAt(8)])
    history = trainer.fit(small_loader(), epochs=3, progress=False)
    assert len(history) == 1
    last = load_checkpoint(tmp_path / "last.safetensors")
    assert (last.epoch, last.batch, last.global_step) == (1, 2, 8)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_loss_that_is_not_finite(tmp_path: Path, bad: float) -> None:
    trainer = small_trainer(tmp_path)
    trainer.fit(small_loader(), small_data(), epochs=1, progress=False)
    files = {p.name: p.read_bytes() for p in tmp_path.iterdir()}
    weights = {name: a.copy() for name, a in trainer.net.state_dict().items() if "run" not in name}
    x, labels = next(iter(small_loader(prefetch=0)))
    x[3, 0, 2, 2] = bad
    batches = [*list(small_loader(prefetch=0))[:2], (x, labels)]
    with pytest.raises(FastconvError, match=r"loss is nan at step 8 \(epoch 2, batch 3\)"):
        trainer.fit(batches, epochs=2, progress=False)
    assert {p.name: p.read_bytes() for p in tmp_path.iterdir()} == files
    with pytest.raises(FastconvError, match="loss is nan"):
        trainer.step(x, labels)
    assert trainer.global_step == 8
    assert all(np.isfinite(a).all() for a in weights.values())


@pytest.mark.parametrize("how", ["validation", "weights", "interrupt"])
def test_weights_that_are_not_finite_replace_no_checkpoint(tmp_path: Path, how: str) -> None:
    class Spoil(Callback):
        def on_step_end(self, trainer: Trainer, loss: float) -> None:
            if trainer.global_step == 12:
                trainer.net.state_dict()["5.bias"][:] = np.nan
                if how == "interrupt":
                    raise KeyboardInterrupt

    trainer = small_trainer(tmp_path)
    trainer.fit(small_loader(), small_data(), epochs=1, progress=False)
    files = {p.name: p.read_bytes() for p in tmp_path.iterdir()}
    trainer.callbacks.append(Spoil())
    val = small_data() if how == "validation" else None
    expected: Any = KeyboardInterrupt if how == "interrupt" else FastconvError
    with pytest.raises(expected):
        trainer.fit(small_loader(), val, epochs=3, progress=False)
    assert {p.name: p.read_bytes() for p in tmp_path.iterdir()} == files


def test_full_disk_leaves_the_last_checkpoint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import os

    trainer = small_trainer(tmp_path)
    trainer.fit(small_loader(), small_data(), epochs=1, progress=False)
    files = {p.name: p.read_bytes() for p in tmp_path.iterdir()}

    def fail(*args: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(OSError, match="No space left"):
        trainer.fit(small_loader(), small_data(), epochs=2, progress=False)
    assert {p.name: p.read_bytes() for p in tmp_path.iterdir()} == files


class Odd:
    def state_dict(self) -> dict[str, Any]:
        return {}


@pytest.mark.parametrize(
    ("change", "error", "match"),
    [
        ({"dtype": "float16"}, DTypeError, "dtype must be one of float32, float64, bfloat16"),
        ({"dtype": "float64"}, DTypeError, "parameter '0.weight' is float32"),
        ({"net": 3}, DTypeError, "net is a int"),
        ({"loss": 3}, DTypeError, "loss is a int"),
        ({"optimizer": 3}, DTypeError, "optimizer is a int"),
        ({"schedule": 3}, DTypeError, "schedule is a int"),
    ],
)
def test_bad_construction(change: dict[str, Any], error: Any, match: str) -> None:
    net = small_net()
    arguments = {
        "net": net,
        "loss": F.cross_entropy,
        "optimizer": fc.optim.SGD(net.parameters(), lr=0.1),
    }
    with pytest.raises(error, match=match):
        Trainer(**{**arguments, **change})


def test_bad_runs() -> None:
    trainer = small_trainer()
    for epochs in (0, -1, 1.5, None):
        with pytest.raises(ShapeError, match="epochs must be"):
            trainer.fit(small_loader(), epochs=epochs)
    for data in (3, iter([]), (b for b in small_loader())):
        with pytest.raises(DTypeError, match="expected a Loader"):
            trainer.fit(data)
        with pytest.raises(DTypeError, match="expected a Loader"):
            trainer.evaluate(data)
    empty = ArrayDataset(np.zeros((0, 6, 6), np.uint8), np.zeros(0, int))
    for call in (trainer.fit, trainer.evaluate, trainer.predict):
        for nothing in (empty, []):
            with pytest.raises(ShapeError, match="has no images"):
                call(nothing)
    with pytest.raises(ShapeError, match="batch_size"):
        trainer.predict(np.zeros((1, 1, 6, 6), np.float32), batch_size=0)
    with pytest.raises(ShapeError, match=r"shape \(3,\)"):
        trainer.predict(np.zeros(3, np.float32))
    with pytest.raises(DTypeError, match="x must be an array"):
        trainer.step([[1.0]], [0])
    assert trainer.global_step == 0


def test_checkpoint_that_does_not_fit(tmp_path: Path) -> None:
    path = tmp_path / "c"
    small_trainer().save(path)
    net = nn.Sequential(nn.Flatten(), nn.Linear(36, 4))
    other = Trainer(net, F.cross_entropy, fc.optim.SGD(net.parameters(), lr=0.1))
    with pytest.raises(FormatError, match="written with a schedule"):
        other.load(path)
    before = {name: a.copy() for name, a in net.state_dict().items()}
    other.schedule = fc.optim.OneCycleLR(
        other.optimizer, max_lr=0.1, total_steps=5, cycle_momentum=False
    )
    with pytest.raises(FormatError, match=r"(?s)c does not fit: .*0\.weight"):
        other.load(path)
    assert all(np.array_equal(before[name], a) for name, a in net.state_dict().items())
    assert other.global_step == 0


@pytest.mark.parametrize("part", ["optimizer", "schedule", "random_state", "running"])
def test_checkpoint_that_fits_in_part_changes_nothing(tmp_path: Path, part: str) -> None:
    trained = small_trainer()
    trained.fit(small_loader(), epochs=1, progress=False)
    trained.save(tmp_path / "c")
    bad = replace(load_checkpoint(tmp_path / "c"), **{part: {"state": {"x": 1}}})
    trainer = small_trainer()
    before, state = arrays_of(trainer), random.get_state()
    with pytest.raises(FormatError, match="checkpoint does not fit"):
        trainer.restore(bad)
    assert arrays_of(trainer) == before
    assert random.get_state() == state
    assert (trainer.global_step, trainer.schedule.last_epoch) == (0, 0)


def test_fit_works_in_another_thread(tmp_path: Path) -> None:
    here, there = small_trainer(), small_trainer()
    fc.manual_seed(2)
    here.fit(small_loader(), epochs=1, progress=False)
    fc.manual_seed(2)
    thread = threading.Thread(target=lambda: there.fit(small_loader(), epochs=1, progress=False))
    thread.start()
    thread.join()
    assert arrays_of(here) == arrays_of(there)


@pytest.mark.parametrize("compile", [True, False])
@pytest.mark.parametrize("dtype", [np.int64, np.int32, np.uint8])
def test_embeddings_get_integers(dtype: Any, compile: bool) -> None:
    fc.manual_seed(0)
    net = nn.Sequential(nn.Embedding(6, 4), nn.Flatten(), nn.Linear(12, 3))
    trainer = Trainer(
        net, nn.CrossEntropyLoss(), fc.optim.SGD(net.parameters(), lr=0.5), compile=compile
    )
    x = np.random.default_rng(0).integers(0, 6, (9, 3)).astype(dtype)
    labels = np.arange(9) % 3
    losses = [trainer.step(x, labels) for _ in range(30)]
    assert losses[-1] < 0.2 * losses[0]
    assert trainer.evaluate([(x, labels)])["accuracy"] == 1
    assert np.array_equal(trainer.predict(x).argmax(1), labels)
