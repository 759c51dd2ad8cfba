"""fastconv diagnose: errors given, a run's, JSON, and mistakes."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from fastconv.cli import main
from fastconv.cli.common import checkpoint_net
from fastconv.data import load_parts
from fastconv.train import predict
from tests.cli.helpers import write_data
from tests.data.test_parts import fill


def test_errors_on_the_command_line(capsys: pytest.CaptureFixture[str]) -> None:
    given = [
        "--train",
        "0.02",
        "--bridge",
        "3%",
        "--dev",
        "0.08",
        "--test",
        "9%",
        "--human",
        "0.01",
    ]
    assert main(["diagnose", *given]) == 0
    shown = capsys.readouterr().out
    assert "The largest share is data mismatch" in shown and "bridge  3.00 %" in shown
    assert main(["diagnose", *given, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["largest"] == "data mismatch" and found["errors"]["test"] == 0.09
    assert [share["name"] for share in found["shares"]] == [
        "avoidable bias",
        "variance",
        "data mismatch",
        "overfitting to dev",
    ]


def test_a_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    history = [
        {"epoch": 1, "train_accuracy": 0.5},
        {"epoch": 2, "train_accuracy": 0.99, "val_accuracy": 0.9},
    ]
    (tmp_path / "history.json").write_text(json.dumps(history))
    assert main(["diagnose", str(tmp_path)]) == 0
    shown = capsys.readouterr().out
    assert "variance and data mismatch" in shown and "from epoch 2 of history.json" in shown
    assert "data mismatch: not known: there is no error on bridge" in shown
    assert main(["diagnose", str(tmp_path), "--bridge", "0.09", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["largest"] == "variance" and found["unknown"] == {
        "overfitting to dev": "there is no error on test"
    }


def test_straight_after_training(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Figures of all four parts: of train as many images as dev has, at equal distances, not augmented."""
    source = tmp_path / "pictures"
    fill(source, {"dark": 40, "light": 40})
    run = tmp_path / "run"
    options = ["--image-size", "28", "--split", "0.5,0.2,0.2,0.1", "--epochs", "2", "--quiet"]
    assert main(["train", "lenet5", "--data", str(source), "--out", str(run), *options]) == 0
    printed = capsys.readouterr().out
    found = json.loads((run / "evaluations.json").read_text())
    assert {part: figures["images"] for part, figures in found.items()} == {
        "train": 16,
        "bridge": 16,
        "dev": 16,
        "test": 8,
    }
    assert f"test accuracy {100 * (1 - found['test']['error']):.2f} %" in printed
    assert f"loss {found['test']['loss']:.4f}" in printed
    # With the weights at the end of the run.
    last = json.loads((run / "history.json").read_text())[-1]
    assert found["dev"]["error"] == pytest.approx(1 - last["val_accuracy"])
    assert found["dev"]["loss"] == pytest.approx(last["val_loss"])
    net, checkpoint = checkpoint_net(run / "last.safetensors")
    part = load_parts(
        source,
        size=28,
        shares={"train": 0.5, "bridge": 0.2, "dev": 0.2, "test": 0.1},
        mean=checkpoint.config["mean"],
        std=checkpoint.config["std"],
    )["train"]
    assert len(part) == 40
    places = np.arange(16) * 40 // 16
    scores = predict(net, part.standardize()(part.fetch(places)))
    assert found["train"]["error"] == pytest.approx(
        np.mean(scores.argmax(axis=1) != part.labels[places])
    )
    assert main(["diagnose", str(run), "--json"]) == 0
    shares = json.loads(capsys.readouterr().out)
    assert [share["name"] for share in shares["shares"]] == [
        "avoidable bias",
        "variance",
        "data mismatch",
        "overfitting to dev",
    ]
    assert shares["errors"] == {part: figures["error"] for part, figures in found.items()}
    assert shares["images"]["test"] == 8 and not shares["unknown"]


def test_without_dev_the_test_images_stand_in(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_data(tmp_path / "idx", 64, 40)
    arguments = ["lenet5", "--data", "mnist", "--data-dir", str(tmp_path / "idx")]
    run = str(tmp_path / "run")
    assert main(["train", *arguments, "--epochs", "1", "--quiet", "--out", run]) == 0
    capsys.readouterr()
    assert main(["diagnose", run]) == 0
    shown = capsys.readouterr().out
    assert "test - train" in shown and "that on test stands in its place" in shown


def test_mistakes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "history.json").write_text("{")
    for arguments, text in (
        ([], "expected the folder of a run, or errors"),
        (["--test", "0.1"], "no share can be told from test"),
        (["--train", "7"], "expected a share from 0 to 1 or a percentage, got '7'"),
        (["--train", "nan"], "expected a share"),
        (["--train", "-0.1"], "expected"),
        ([str(tmp_path / "none")], "there is no such folder of a run"),
        ([str(tmp_path)], "history.json: not JSON"),
    ):
        assert main(["diagnose", *arguments]) == 2
        shown = capsys.readouterr()
        assert text in shown.err and shown.err.count("\n") == 1 and not shown.out
