"""train, evaluate and predict on folders and tables of image files."""

from __future__ import annotations

import csv
import json
import re
from pathlib import Path

import numpy as np
import pytest

from fastconv.cli import main
from fastconv.train import load_checkpoint, save_checkpoint
from tests.cli.helpers import fastconv
from tests.data.test_parts import fill
from tests.train.helpers import assert_same_checkpoint

COMMON = ["--image-size", "16", "--epochs", "3", "--batch-size", "4", "--lr", "0.02", "--quiet"]


def run(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, str, str]:
    code = main([str(argument) for argument in arguments])
    printed = capsys.readouterr()
    return code, printed.out, printed.err


def accuracy(text: str) -> float:
    return float(re.search(r"accuracy (\S+) %", text).group(1))


@pytest.mark.parametrize("worker", ["thread", "process"])
def test_one_folder(tmp_path: Path, capsys, worker: str) -> None:
    """Trained, evaluated and predicted; classes differ by their brightness."""
    fill(tmp_path / "data", {"dark": 30, "light": 30, "white": 30})
    options = [*COMMON[:2], "--epochs", "8", "--batch-size", "4"]
    options += ["--data", tmp_path / "data", "--split", "0.6,0.1,0.1,0.2"]
    out = tmp_path / "run"
    if worker == "thread":
        code, said, errors = run(capsys, "train", "lenet5", *options, "--out", out)
    else:
        done = fastconv(
            "train", "lenet5", *options, "--out", out, "--workers", 2, "--worker", worker
        )
        code, said, errors = done.returncode, done.stdout, done.stderr
    assert code == 0 and errors == "", errors
    assert "54 training, 9 bridge, 9 dev and 18 test images resized to 16 x 16" in said
    assert accuracy(said.splitlines()[-2]) > 90 and "test accuracy" in said
    config = load_checkpoint(out / "last.safetensors").config
    assert config["classes"] == ["dark", "light", "white"] and config["files"] is True
    assert config["data"] == str(tmp_path / "data") and config["image_shape"] == [3, 16, 16]
    assert len(config["mean"]) == 3

    # The same part as in training, from the checkpoint alone, with any workers.
    last = accuracy(said.splitlines()[-2])
    for more in ((), ("--split", "test", "--workers", 0), ("--data", tmp_path / "data")):
        code, text, errors = run(capsys, "evaluate", out / "last.safetensors", *more)
        assert code == 0 and accuracy(text) == last and "of 18)" in text, errors
    code, text, _ = run(capsys, "evaluate", out / "last.safetensors", "--split", "bridge")
    assert code == 0 and "(bridge)" in text and "of 9)" in text

    # Another folder is taken whole, with the checkpoint's order of classes.
    fill(tmp_path / "other", {"dark": 5, "light": 5, "white": 5}, base=9)
    code, text, _ = run(capsys, "evaluate", out / "last.safetensors", "--data", tmp_path / "other")
    assert code == 0 and "(all)" in text and "of 15)" in text and accuracy(text) > 90

    # predict prepares images as training did: files, and folders of them.
    images = [tmp_path / "other" / name / "0.png" for name in ("dark", "light", "white")]
    shares = {}
    for given in (images, [tmp_path / "other"]):
        code, text, errors = run(capsys, "predict", out / "last.safetensors", *given, "--json")
        assert code == 0, errors
        for row in json.loads(text):
            shares.setdefault(row["image"], []).append(row["classes"])
    assert len(shares) == 15
    for image, name in zip(images, ("dark", "light", "white"), strict=True):
        one, again = shares[str(image)]
        assert one[0]["name"] == again[0]["name"] == name
        np.testing.assert_allclose(one[0]["probability"], again[0]["probability"], rtol=1e-4)
    code, text, _ = run(capsys, "predict", out / "last.safetensors", images[0], "--invert")
    assert code == 0 and text.split(": ")[1].startswith("white")
    (tmp_path / "empty").mkdir()
    code, _, errors = run(capsys, "predict", out / "last.safetensors", tmp_path / "empty")
    assert code == 2 and "has no images" in errors


def test_folders_of_parts_and_resuming(tmp_path: Path, capsys, monkeypatch) -> None:
    for part, count in (("train", 20), ("val", 5), ("test", 6)):
        fill(tmp_path / "data" / part, {"a": count, "b": count}, base=len(part))
    monkeypatch.chdir(tmp_path)
    options = [*COMMON, "--data", "data", "--cache", tmp_path / "cache"]
    code, said, errors = run(capsys, "train", "lenet5", *options, "--out", "whole")
    assert code == 0, errors
    assert said.startswith("test accuracy") and len(list((tmp_path / "cache").iterdir())) == 6
    history = json.loads((tmp_path / "whole" / "history.json").read_text())
    assert len(history) == 3 and "val_accuracy" in history[-1]

    # Stopped after its second epoch and continued elsewhere.
    from fastconv.train import Callback, Trainer

    original = Trainer.fit

    def fit(self, *arguments, **named):
        class Stop(Callback):
            def on_epoch_end(self, trainer, record):
                if record["epoch"] == 2:
                    trainer.stop()

        self.callbacks.append(Stop())
        return original(self, *arguments, **named)

    with monkeypatch.context() as patched:
        patched.setattr(Trainer, "fit", fit)
        assert run(capsys, "train", "lenet5", *options, "--out", "part")[0] == 0
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    last = tmp_path / "part" / "last.safetensors"
    code, _, errors = run(capsys, "train", "lenet5", "--resume", last, "--quiet", "--workers", 0)
    assert code == 0, errors
    whole = tmp_path / "whole" / "last.safetensors"
    assert_same_checkpoint(whole, last)

    code, text, _ = run(capsys, "evaluate", last)
    assert code == 0 and "(test)" in text and "of 12)" in text
    code, text, _ = run(capsys, "evaluate", last, "--split", "dev")
    assert code == 0 and "of 10)" in text
    code, _, errors = run(capsys, "evaluate", last, "--split", "bridge")
    assert code == 2 and "has no bridge images, it has train, dev, test" in errors
    # A file that has changed: other training images.
    (tmp_path / "data" / "train" / "a" / "0.png").unlink()
    code, _, errors = run(capsys, "train", "lenet5", "--resume", last, "--quiet")
    assert code == 2 and "other training images" in errors


def test_a_table(tmp_path: Path, capsys) -> None:
    fill(tmp_path, {"a": 20, "b": 20})
    with open(tmp_path / "t.csv", "w", newline="") as file:
        rows = [[f"{name}/{i}.png", name] for name in "ab" for i in range(20)]
        csv.writer(file).writerows([["path", "label"], *rows])
    table, out = tmp_path / "t.csv", tmp_path / "run"
    code, said, errors = run(capsys, "train", "lenet5", *COMMON, "--data", table, "--out", out)
    assert code == 0 and "test accuracy" in said, errors
    code, text, _ = run(capsys, "evaluate", out / "last.safetensors")
    assert code == 0 and "of 4)" in text


def test_the_size_that_a_network_was_made_for(tmp_path: Path, capsys) -> None:
    fill(tmp_path / "data", {"a": 10, "b": 10})
    options = ["--data", tmp_path / "data", "--epochs", "1", "--out", tmp_path / "run"]
    code, said, errors = run(capsys, "train", "lenet5", *options)
    assert code == 0 and "resized to 28 x 28 pixels" in said, errors


def test_damaged_files(tmp_path: Path, capsys) -> None:
    fill(tmp_path / "data", {"a": 20, "b": 20})
    bad = tmp_path / "data" / "a" / "3.png"
    bad.write_bytes(bad.read_bytes()[:60])
    options = ["--data", tmp_path / "data", "--out", tmp_path / "run"]
    code, _, errors = run(capsys, "train", "lenet5", *COMMON, *options)
    assert code == 2 and f"{bad}: not a readable image" in errors and errors.count("\n") == 1
    done = fastconv("train", "lenet5", *COMMON, *options, "--on-error", "skip")
    assert done.returncode == 0 and "skipped 1 of 40" in done.stderr and str(bad) in done.stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--data", "nowhere"], "no data set, folder or .csv file 'nowhere'; data sets are"),
        (["--data", "mnits"], "did you mean mnist?"),
        (["--data", "empty"], "is empty, or has no sub-folders"),
        (["--data", "file.txt"], "no folder and no .csv file"),
        (["--data", "flat", "--split", "0.8,0.1"], "expected three or four shares such as"),
        (["--data", "flat", "--split", "0.8,0.3,0.1"], "at most 1 in all"),
        (["--data", "flat", "--split", "a,b,c"], "expected three or four shares"),
        (["--data", "flat", "--split", "1,0,0"], "there are no dev and no test images"),
        (["--data", "flat", "--data-dir", "."], "data_dir goes with a data set's name"),
        (["--data", "bundled", "--split", "0.8,0.1,0.1"], "--split goes with image files"),
        (["--data", "bundled", "--on-error", "skip"], "--on-error goes with image files"),
        (["--data", "few"], "has no image of class"),
        (["--data", "parts"], "class 'b' has no sub-folder in"),
        (["--data", "flat", "--workers", "-1"], "expected an integer of at least 0"),
        (["--data", "flat", "--worker", "gpu"], "invalid choice: 'gpu'"),
    ],
)
def test_bad_usage(tmp_path: Path, capsys, monkeypatch, arguments, message) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty").mkdir()
    (tmp_path / "file.txt").write_text("")
    fill(tmp_path / "flat", {"a": 20, "b": 20})
    fill(tmp_path / "few", {"a": 20, "b": 2})
    fill(tmp_path / "parts" / "train", {"a": 3, "b": 3})
    fill(tmp_path / "parts" / "dev", {"a": 3})
    code, _, errors = run(capsys, "train", "lenet5", "--epochs", "1", "--quiet", *arguments)
    assert code == 2 and message in errors and errors.count("\n") == 1, errors
    assert not (tmp_path / "runs").exists()


def test_checkpoints_with_damaged_settings(tmp_path: Path, capsys) -> None:
    fill(tmp_path / "data", {"a": 20, "b": 20})
    out = tmp_path / "run"
    run(capsys, "train", "lenet5", *COMMON, "--data", tmp_path / "data", "--out", out)
    checkpoint = load_checkpoint(out / "last.safetensors")
    for name, value in (("split", "a,b"), ("split", 3), ("on_error", None), ("mean", "no")):
        before = checkpoint.config[name]
        checkpoint.config[name] = value
        save_checkpoint(checkpoint, tmp_path / "bad.safetensors")
        checkpoint.config[name] = before
        code, _, errors = run(capsys, "evaluate", tmp_path / "bad.safetensors")
        assert code == 2 and "not written by `fastconv train`" in errors, errors
