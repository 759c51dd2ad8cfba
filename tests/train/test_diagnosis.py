"""diagnose: shares of the error, what cannot be told, and the figures of a run."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import fastconv as fc
import fastconv.functional as F
from fastconv import nn
from fastconv.data import ArrayDataset, BalancedSampler, Loader, split
from fastconv.train import Trainer, diagnose, evaluate_parts, read_evaluations
from fastconv.train.diagnosis import ADVICE

BIAS, VARIANCE, MISMATCH, OVERFITTING = (
    "avoidable bias",
    "variance",
    "data mismatch",
    "overfitting to dev",
)


def values(found: Any) -> dict[str, float]:
    return {share.name: round(share.value, 10) for share in found.shares}


def test_all_four_shares() -> None:
    found = diagnose({"human": 0.01, "train": 0.02, "bridge": 0.03, "dev": 0.08, "test": 0.09})
    assert values(found) == {BIAS: 0.01, VARIANCE: 0.01, MISMATCH: 0.05, OVERFITTING: 0.01}
    assert [share.of for share in found.shares] == [
        "train - human",
        "bridge - train",
        "dev - bridge",
        "test - dev",
    ]
    assert found.largest is not None and found.largest.name == MISMATCH
    assert found.advice == ADVICE[MISMATCH] and not found.unknown and not found.notes
    lines = str(found).splitlines()
    assert "dev     8.00 %" in lines
    assert any(line.startswith("data mismatch") and "<- largest" in line for line in lines)
    assert "The largest share is data mismatch. What may help:" in lines


@pytest.mark.parametrize(
    "errors,largest",
    [
        # A. Ng, Machine Learning Yearning, chapter 41: human level is about 0
        ({"human": 0.0, "train": 0.01, "bridge": 0.09, "dev": 0.10}, VARIANCE),
        ({"human": 0.0, "train": 0.10, "bridge": 0.11, "dev": 0.12}, BIAS),
        ({"human": 0.0, "train": 0.10, "bridge": 0.11, "dev": 0.20}, BIAS),
        ({"human": 0.0, "train": 0.01, "bridge": 0.015, "dev": 0.10}, MISMATCH),
        ({"human": 0.14, "train": 0.15, "bridge": 0.30, "dev": 0.31}, VARIANCE),
        ({"train": 0.02, "bridge": 0.02, "dev": 0.03, "test": 0.2}, OVERFITTING),
    ],
)
def test_the_largest(errors: dict[str, float], largest: str) -> None:
    found = diagnose(errors)
    assert found.largest is not None and found.largest.name == largest


def test_what_cannot_be_told_is_said() -> None:
    found = diagnose({"train": 0.02, "dev": 0.08})
    assert values(found) == {BIAS: 0.02, "variance and data mismatch": 0.06}
    assert set(found.unknown) == {VARIANCE, MISMATCH, OVERFITTING}
    assert found.unknown[MISMATCH] == "there is no error on bridge"
    assert "bridge" in found.advice[0] and "human error is not given" in found.notes[0]
    assert "overfitting to dev: not known: there is no error on test" in str(found)
    found = diagnose({"dev": 0.1, "test": 0.3})
    assert values(found) == {OVERFITTING: 0.2} and set(found.unknown) == {BIAS, VARIANCE, MISMATCH}
    assert values(diagnose({"human": 0.3, "train": 0.2})) == {BIAS: -0.1}
    assert diagnose({"human": 0.3, "train": 0.2}).largest is None
    assert "nothing stands out" in str(diagnose({"human": 0.3, "train": 0.2}))
    found = diagnose({"train": 0.02, "test": 0.08})
    assert values(found) == {BIAS: 0.02, "variance and data mismatch": 0.06}
    assert found.shares[1].of == "test - train" and "stands in its place" in found.notes[-1]
    for alone in ({"test": 0.1}, {"human": 0.1}, {"bridge": 0.1, "test": 0.2}, {}):
        with pytest.raises(fc.ShapeError, match="diagnose: no share can be told from"):
            diagnose(alone)


def test_chance() -> None:
    found = diagnose({"train": 0.0, "bridge": 0.1}, {"train": 100, "bridge": 100})
    share = found.shares[1]
    assert share.deviation == pytest.approx(np.sqrt(0.1 * 0.9 / 100)) and share.certain
    found = diagnose({"train": 0.05, "bridge": 0.12}, {"train": 50, "bridge": 50})
    assert found.largest is not None and not found.largest.certain
    assert "within twice its standard deviation" in found.notes[-1] and "+-" in str(found)
    assert found.as_dict()["certain"] is False


def test_bad_values() -> None:
    for errors, kind, match in (
        ({"train": 2.0}, fc.ShapeError, "the error on train is 2.0, expected a share from 0 to 1"),
        ({"train": float("nan")}, fc.ShapeError, "the error on train is nan, expected a share"),
        ({"val": 0.1}, fc.ShapeError, "there is no part 'val', expected human, train"),
        ({"dev": "0.1"}, fc.DTypeError, "the error on dev is a str"),
        ([0.1], fc.DTypeError, "errors is a list"),
    ):
        with pytest.raises(kind, match=f"diagnose: {match}"):
            diagnose(errors)  # type: ignore[arg-type]
    with pytest.raises(fc.ShapeError, match="images of train is 0"):
        diagnose({"train": 0.1}, {"train": 0})


def trainer(out_dir: Path | None) -> Trainer:
    fc.manual_seed(0)
    net = nn.Sequential(nn.Flatten(), nn.Linear(16, 2))
    return Trainer(net, F.cross_entropy, fc.optim.SGD(net.parameters(), lr=0.1), out_dir=out_dir)


def data() -> ArrayDataset:
    rng = np.random.default_rng(0)
    labels = np.arange(80) % 2
    images = rng.integers(0, 200, (80, 4, 4), np.uint8) + (labels * 40)[:, None, None].astype("u1")
    return ArrayDataset(images, labels)


def test_parts_of_a_run(tmp_path: Path) -> None:
    pytest.importorskip("safetensors")
    parts = split(data(), 0.4, 0.2, 0.2, 0.2)
    run = trainer(tmp_path / "run")
    run.fit(parts["train"], parts["dev"], 2, progress=False)
    errors, images, notes = read_evaluations(tmp_path / "run")
    assert errors == {
        "train": 1 - run.history[-1]["train_accuracy"],
        "dev": 1 - run.history[-1]["val_accuracy"],
    }
    assert not images and "from epoch 2 of history.json; train's error was measured" in notes[0]
    found = evaluate_parts(run, parts, human=0.01)
    for name, part in parts.items():
        x = part.standardize()(part.fetch(np.arange(len(part))))
        wrong = run.predict(x).argmax(1) != part.labels
        assert found.errors[name] == pytest.approx(wrong.mean())
        assert found.images[name] == len(part)
    errors, images, notes = read_evaluations(tmp_path / "run")
    assert errors == found.errors and images == found.images and not notes
    assert diagnose(errors, images) == found
    kept = json.loads((tmp_path / "run" / "evaluations.json").read_text())
    assert kept["dev"]["loss"] == run.evaluate(parts["dev"])["loss"]
    # A loader's images as they are, once each, whatever it trains with.
    loader = Loader(
        parts["train"],
        8,
        augment=lambda images, rng: images * 0,
        sampler=BalancedSampler(parts["train"].labels),
    )
    again = evaluate_parts(run, {"train": loader, "dev": parts["dev"]})
    assert again.errors["train"] == found.errors["train"]
    assert again.images["train"] == len(parts["train"])
    nowhere = evaluate_parts(trainer(None), {"train": parts["train"]})
    assert set(nowhere.errors) == {"train"}
    with pytest.raises(fc.ShapeError, match="there is no part 'val'"):
        evaluate_parts(run, {"val": parts["dev"]})


def test_damaged_runs(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="no such folder"):
        read_evaluations(tmp_path / "none")
    with pytest.raises(FileNotFoundError, match=r"neither evaluations.json nor history.json"):
        read_evaluations(tmp_path)
    for name, text, match in (
        ("history.json", "[", "not JSON"),
        ("history.json", "[]", "expected a list of epochs"),
        ("history.json", "[3]", "expected a list of epochs"),
        ("history.json", '[{"epoch": 1, "train_loss": 1.0}]', "there is no accuracy in it"),
        ("history.json", '[{"train_accuracy": "much"}]', "expected a number"),
        ("evaluations.json", "[]", "expected a figure for each part"),
        ("evaluations.json", '{"train": {"loss": 1}}', "'error'"),
        ("evaluations.json", '{"train": {"error": 7}}', "expected a share"),
        ("evaluations.json", '{"other": {"error": 0.1}}', "no part 'other'"),
    ):
        for file in tmp_path.iterdir():
            file.unlink()
        (tmp_path / name).write_text(text)
        with pytest.raises(fc.FormatError, match=match) as caught:
            read_evaluations(tmp_path)
        assert str(tmp_path / name) in str(caught.value)
    (tmp_path / "evaluations.json").write_bytes(b"\xff\xfe{")
    with pytest.raises(fc.FormatError, match="not JSON"):
        read_evaluations(tmp_path)
    (tmp_path / "evaluations.json").write_text(json.dumps({"dev": {"error": 0.1, "images": 9}}))
    assert read_evaluations(tmp_path) == ({"dev": 0.1}, {"dev": 9}, [])
