"""report: the file of a run, and one line for every mistake."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

import fastconv as fc
from fastconv.cli import main
from tests.cli.helpers import write_data
from tests.visualize.test_report import offline


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("report")
    write_data(folder / "idx", 64, 40)
    arguments = ["lenet5", "--data", "mnist", "--data-dir", folder / "idx", "--epochs", "2"]
    assert main(["train", *map(str, arguments), "--quiet", "--out", str(folder / "a <run>")]) == 0
    return folder


def test_the_report_of_a_run(trained: Path, capsys: Any) -> None:
    folder = trained / "a <run>"
    capsys.readouterr()
    assert main(["report", str(folder), "--data-dir", str(trained / "idx"), "--images", "4"]) == 0
    assert capsys.readouterr().out == f"{folder / 'report.html'}\n"
    page = offline((folder / "report.html").read_text(encoding="utf-8"))
    said = "\n".join(page.texts)
    assert "lenet5: a <run>" in page.texts and "mnist (test)" in said
    assert "fastconv train lenet5 --data mnist --epochs 2" in said
    assert fc.__version__ in page.texts and len(page.pictures()) >= 5
    assert "Diagnosis" in page.texts and "test - train" in page.texts
    assert main(["diagnose", str(folder), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    for text in (*found["advice"], f"{100 * found['errors']['train']:.2f} %"):
        assert text in page.texts
    assert (
        main(["evaluate", str(folder / "best.safetensors"), "--data-dir", str(trained / "idx")])
        == 0
    )
    accuracy = capsys.readouterr().out.partition("accuracy ")[2].partition(" (")[0]
    assert accuracy in page.texts


def test_a_report_without_data(trained: Path, tmp_path: Path, capsys: Any) -> None:
    out = tmp_path / "b.html"
    assert main(["report", str(trained / "a <run>"), "--no-data", "--out", str(out)]) == 0
    page = offline(out.read_text(encoding="utf-8"))
    assert len(page.pictures()) == 2 and "Confusion matrix" not in page.texts


def test_mistakes_are_one_line(trained: Path, tmp_path: Path, capsys: Any) -> None:
    run = str(trained / "a <run>")
    empty = trained / "empty"
    empty.mkdir()
    broken = trained / "broken"
    broken.mkdir()
    best = (trained / "a <run>" / "best.safetensors").read_bytes()
    (broken / "last.safetensors").write_bytes(best)
    for text in ("[1]", "{", json.dumps([{"epoch": 1, "val_loss": "low"}])):
        (broken / "history.json").write_text(text)
        assert main(["report", str(broken), "--no-data"]) == 2
        assert "not the history of a run" in capsys.readouterr().err
    (broken / "history.json").unlink()
    assert main(["report", str(broken), "--no-data"]) == 0
    assert "Diagnosis" not in (broken / "report.html").read_text()
    (broken / "evaluations.json").write_text("[]")
    assert main(["report", str(broken), "--no-data"]) == 2
    assert "evaluations.json: expected a figure" in capsys.readouterr().err
    for arguments, said in (
        ([], "RUN"),
        ([str(empty)], "is no folder of a run"),
        ([run, "--no-data", "--split", "test"], "--no-data does not go with"),
        ([run, "--data-dir", str(tmp_path / "none")], "none"),
        ([run, "--data", "nothing"], "nothing"),
        ([run, "--images", "0"], "of at least 1"),
        ([run, "--no-data", "--out", str(tmp_path / "no" / "a.html")], "no"),
    ):
        capsys.readouterr()
        assert main(["report", *arguments]) == 2, arguments
        err = capsys.readouterr().err
        assert err.count("\n") == 1 and said in err, err
