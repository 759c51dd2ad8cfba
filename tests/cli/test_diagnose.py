"""fastconv diagnose: errors given, a run's, JSON, and mistakes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from fastconv.cli import main


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
