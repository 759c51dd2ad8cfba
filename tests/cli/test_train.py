"""train, evaluate and predict on small data, each run in a process of its own."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fastconv import models
from fastconv.cli import main
from fastconv.cli.common import build_model
from fastconv.data import load_dataset
from fastconv.nn._drawing import undrawn
from fastconv.train import load_checkpoint, save_checkpoint
from tests.cli.helpers import MODULE, fastconv, write_data
from tests.train.helpers import assert_same_checkpoint

EPOCHS = 4


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_data(tmp_path_factory.mktemp("data"), 2000)


def command(data: Path, out: Path, *more: object) -> list[str]:
    options = ("--data", "mnist", "--data-dir", data, "--epochs", EPOCHS, "--batch-size", 4)
    return [
        "train",
        "lenet5",
        *map(str, options),
        "--lr",
        "0.01",
        "--out",
        str(out),
        *map(str, more),
    ]


@pytest.fixture(scope="module")
def whole(data: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """A run from beginning to end, and what it printed."""
    out = tmp_path_factory.mktemp("whole") / "run"
    done = fastconv(*command(data, out))
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    return out, done.stdout


def test_train_prints_and_writes(whole: tuple[Path, str]) -> None:
    out, printed = whole
    lines = printed.splitlines()
    assert "2,000 training and 20 test images" in lines[0] and str(out) in lines[0]
    epochs = [line for line in lines if re.match(r"epoch \S+  loss", line)]
    assert [line.split()[1] for line in epochs] == [f"{e}/{EPOCHS}" for e in range(1, EPOCHS + 1)]
    history = json.loads((out / "history.json").read_text())
    assert len(history) == EPOCHS
    accuracy = history[-1]["val_accuracy"]
    assert accuracy > 0.8
    assert f"test accuracy {100 * accuracy:.2f} %" in lines[-2]
    for name in (
        "best.safetensors",
        "last.safetensors",
        "history.json",
        "curves.png",
        "evaluations.json",
    ):
        assert f"{out / name}" in lines[-1]
        assert (out / name).stat().st_size > 0
    config = load_checkpoint(out / "last.safetensors").config
    assert (config["model"], config["data"], config["lr"]) == ("lenet5", "mnist", 0.01)
    assert config["classes"] == list("0123456789")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_interrupt_and_resume(
    data: Path, whole: tuple[Path, str], tmp_path: Path, number: signal.Signals
) -> None:
    out = tmp_path / "run"
    process = subprocess.Popen(
        [*MODULE, *command(data, out)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    for line in process.stdout:
        if line.startswith("epoch 1/"):
            break
    process.send_signal(number)
    printed, errors = process.communicate(timeout=120)
    assert process.returncode == 130, errors
    assert errors == "fastconv: interrupted\n"
    last = out / "last.safetensors"
    assert f"--resume {last}" in printed
    checkpoint = load_checkpoint(last)
    assert 0 < checkpoint.global_step < EPOCHS * 500
    assert sorted(p.name for p in out.iterdir() if p.name.startswith(".")) == []

    again = fastconv("train", "lenet5", "--resume", last, "--data-dir", data, "--quiet")
    assert again.returncode == 0, again.stderr
    for name in ("last.safetensors", "best.safetensors"):
        assert_same_checkpoint(whole[0] / name, out / name)
    assert load_checkpoint(whole[0] / "last.safetensors").config == load_checkpoint(last).config


def test_resume_at_an_epoch(data: Path, whole: tuple[Path, str], tmp_path: Path) -> None:
    """best.safetensors lies at the end of some epoch; a run from there goes to another folder."""
    best = whole[0] / "best.safetensors"
    before = best.read_bytes()
    done = fastconv("train", "lenet5", "--resume", best, "--data-dir", data, "--out", tmp_path)
    assert done.returncode == 0, done.stderr
    assert_same_checkpoint(whole[0] / "last.safetensors", tmp_path / "last.safetensors")
    assert best.read_bytes() == before


def test_threads_do_not_change_the_result(
    data: Path, whole: tuple[Path, str], tmp_path: Path
) -> None:
    done = fastconv(*command(data, tmp_path, "--threads", 1, "--quiet"))
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("test accuracy")
    assert_same_checkpoint(whole[0] / "last.safetensors", tmp_path / "last.safetensors")


def test_resume_refuses_other_settings_and_data(
    data: Path, whole: tuple[Path, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    resume = ["train", "lenet5", "--resume", str(whole[0] / "last.safetensors")]
    arguments = [*resume, "--data-dir", str(data), "--out", str(tmp_path / "x")]
    for option, value in (("--lr", "0.02"), ("--epochs", "9"), ("--optimizer", "adam")):
        assert main([*arguments, option, value]) == 2
        assert re.search(rf"{option} is \S+, but .* continues a run", capsys.readouterr().err)
    other = write_data(tmp_path / "other", 40)
    assert main([*resume, "--data-dir", str(other)]) == 2
    assert "other training images" in capsys.readouterr().err
    assert not (tmp_path / "x").exists()


def test_resume_refuses_damaged_settings(
    whole: tuple[Path, str], data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """What a checkpoint holds may come from anywhere, under a right checksum."""
    path = tmp_path / "last.safetensors"
    changes: list[dict[str, Any]] = [
        {"config": {name: value}}
        for name, value in (
            *(("epochs", None), ("batch_size", "x"), ("lr", "a"), ("optimizer", "sgdd")),
            *(("optimizer", 3), ("data", ["x"]), ("model", {}), ("seed", 0.5)),
        )
    ]
    changes += [{"history": 3}, {"running": [1]}, {"random_state": "x"}]
    for change in changes:
        checkpoint = load_checkpoint(whole[0] / "last.safetensors")
        for name, value in change.items():
            new = {**checkpoint.config, **value} if name == "config" else value
            setattr(checkpoint, name, new)
        save_checkpoint(checkpoint, path)
        assert main(["train", "lenet5", "--resume", str(path), "--data-dir", str(data)]) == 2
        shown = capsys.readouterr().err
        assert str(path) in shown and shown.count("\n") == 1, change
    checkpoint = load_checkpoint(whole[0] / "last.safetensors")
    checkpoint.config["data"] = ["x"]
    save_checkpoint(checkpoint, path)
    assert main(["evaluate", str(path)]) == 2
    assert capsys.readouterr().err.count("\n") == 1


@pytest.mark.parametrize("optimizer", ["adam", "adamw", "rmsprop"])
def test_other_optimizers(tmp_path: Path, optimizer: str) -> None:
    folder = write_data(tmp_path / "data", 40)
    out = tmp_path / "run"
    arguments = ["train", "lenet5", "--data", "mnist", "--data-dir", str(folder), "--quiet"]
    assert main([*arguments, "--epochs", "2", "--optimizer", optimizer, "--out", str(out)]) == 0
    assert load_checkpoint(out / "last.safetensors").config["optimizer"] == optimizer


def test_evaluate(data: Path, whole: tuple[Path, str]) -> None:
    out, _ = whole
    last = load_checkpoint(out / "last.safetensors").history[-1]
    done = fastconv("evaluate", out / "last.safetensors", "--data-dir", data)
    assert done.returncode == 0, done.stderr
    right = round(20 * last["val_accuracy"])
    assert done.stdout == (
        f"mnist (test): accuracy {100 * last['val_accuracy']:.2f} % ({right} of 20), "
        f"loss {last['val_loss']:.4f}\n"
    )


def test_predict(data: Path, whole: tuple[Path, str], tmp_path: Path) -> None:
    from PIL import Image

    images = load_dataset("mnist", "test", data_dir=data).images[:3]
    paths = [tmp_path / f"{i}.png" for i in range(3)]
    for path, image in zip(paths, images, strict=True):
        Image.fromarray(image).save(path)
    checkpoint = whole[0] / "best.safetensors"
    done = fastconv("predict", "--checkpoint", checkpoint, "--top", 10, *paths)
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    firsts = []
    for path, line in zip(paths, lines, strict=True):
        assert line.startswith(f"{path}: ")
        pairs = re.findall(r"(\d) ([\d.]+) %", line.removeprefix(f"{path}: "))
        shares = [float(p) for _, p in pairs]
        assert shares == sorted(shares, reverse=True) and abs(sum(shares) - 100) < 0.1
        firsts.append(pairs[0][0])
    assert firsts == ["0", "1", "2"]

    inverted = tmp_path / "inverted.png"
    Image.fromarray(255 - images[1]).convert("RGB").save(inverted)
    done = fastconv("predict", "--checkpoint", checkpoint, "--top", 10, "--invert", inverted)
    assert done.stdout.partition(": ")[2] == lines[1].partition(": ")[2] + "\n"

    large = tmp_path / "large.png"
    Image.fromarray(images[2]).resize((280, 140)).save(large)
    done = fastconv("predict", "--checkpoint", checkpoint, large)
    assert done.returncode == 0 and done.stdout.count(" %") == 5


def test_predict_finds_the_default_checkpoint(whole: tuple[Path, str], tmp_path: Path) -> None:
    from PIL import Image

    Image.fromarray(np.zeros((28, 28), np.uint8)).save(tmp_path / "black.png")
    folder = tmp_path / "runs" / "lenet5"
    folder.mkdir(parents=True)
    (folder / "best.safetensors").symlink_to(whole[0] / "best.safetensors")
    done = fastconv("predict", "black.png", cwd=tmp_path)
    assert done.returncode == 0 and done.stdout.startswith("black.png: ")


@pytest.mark.parametrize("content", [b"", b"no image", b"\x89PNG\r\n\x1a\n" + bytes(20)])
def test_predict_refuses_what_is_no_image(
    whole: tuple[Path, str], tmp_path: Path, capsys: Any, content: bytes
) -> None:
    (tmp_path / "a.png").write_bytes(content)
    checkpoint = str(whole[0] / "best.safetensors")
    assert main(["predict", "--checkpoint", checkpoint, str(tmp_path / "a.png")]) == 2
    shown = capsys.readouterr()
    assert "not a readable image" in shown.err and shown.err.count("\n") == 1
    assert main(["predict", "--checkpoint", checkpoint, str(tmp_path / "none.png")]) == 2
    assert "none.png" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["googlenet", "mnist_cnn"])
def test_other_networks(name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """One with auxiliary heads, whose training output is no single array, and one made for a size."""
    folder, out = write_data(tmp_path / "data", 24), tmp_path / "run"
    data = ["--data", "mnist", "--data-dir", str(folder)]
    options = ["--epochs", "1", "--batch-size", "8", "--out", str(out), "--quiet"]
    assert main(["train", name, *data, *options]) == 0
    (record,) = json.loads((out / "history.json").read_text())
    assert 0 <= record["train_accuracy"] <= 1 and 0 <= record["val_accuracy"] <= 1
    last = out / "last.safetensors"
    assert main(["evaluate", str(last), *data]) == 0
    assert "accuracy" in capsys.readouterr().out


# With FASTCONV_TEST_ZOO=all every network; some take half a minute and gigabytes of checkpoints.
LIGHT = ("densenet121", "mnist_cnn_improved", "mobilenet_v2", "resnet20", "squeezenet1_1")
TRAINED = models.list() if os.environ.get("FASTCONV_TEST_ZOO") == "all" else LIGHT


@pytest.mark.parametrize("name", TRAINED)
def test_every_network_trains(name: str, tmp_path: Path, capsys: Any) -> None:
    folder, out = write_data(tmp_path / "data", 8, 4), tmp_path / "run"
    arguments = ["train", name, "--data", "mnist", "--data-dir", str(folder), "--out", str(out)]
    assert main([*arguments, "--epochs", "1", "--batch-size", "4", "--lr", "1e-4"]) == 0
    size = max(28, models.info(name).smallest)
    assert (f"resized to {size} x {size}" in capsys.readouterr().out) == (size > 28)
    checkpoint = load_checkpoint(out / "last.safetensors")
    assert checkpoint.global_step == 2 and checkpoint.config["image_shape"] == [1, size, size]
    assert np.isfinite(json.loads((out / "history.json").read_text())[0]["train_loss"])


@pytest.mark.parametrize("name", models.list())
def test_every_network_takes_the_least_size(name: str) -> None:
    size = max(28, models.info(name).smallest)
    with undrawn():
        net = build_model(name, 10, (1, size, size))
    assert net.summary((2, 1, size, size)).layers[-1].output_shape == (2, 10)


def test_images_of_another_size(data: Path, tmp_path: Path, capsys: Any) -> None:
    """Training, resuming, evaluation, prediction and export on resized images."""
    from PIL import Image

    folder, out = write_data(tmp_path / "data", 200), tmp_path / "run"
    where = ["--data-dir", str(folder)]
    sizes = ["--image-size", "21", "--batch-size", "8", "--epochs", "2"]
    assert main(["train", "lenet5", "--data", "mnist", *where, *sizes, "--out", str(out)]) == 0
    assert "200 training and 20 test images resized to 21 x 21 pixels, 2" in capsys.readouterr().out
    last = out / "last.safetensors"
    checkpoint = load_checkpoint(last)
    assert checkpoint.config["image_shape"] == [1, 21, 21]
    assert checkpoint.model["fc1.weight"].shape == (120, 16 * 3 * 3)
    assert main(["evaluate", str(last), *where]) == 0
    accuracy = 100 * checkpoint.history[-1]["val_accuracy"]
    assert f"accuracy {accuracy:.2f} %" in capsys.readouterr().out
    resume = ["train", "lenet5", "--resume", str(last), *where]
    assert main([*resume, "--image-size", "22"]) == 2
    assert "--image-size is 22, but" in capsys.readouterr().err
    Image.fromarray(load_dataset("mnist", "test", data_dir=folder).images[3]).save(
        tmp_path / "3.png"
    )
    assert main(["predict", str(last), str(tmp_path / "3.png"), "--top", "10", "--json"]) == 0
    shares = {
        c["name"]: c["probability"] for c in json.loads(capsys.readouterr().out)[0]["classes"]
    }
    assert sum(shares.values()) == pytest.approx(1.0)


def test_checkpoints_from_before_sizes(whole: tuple[Path, str], data: Path, tmp_path: Path) -> None:
    """They have no image_size, and go on as they were."""
    checkpoint = load_checkpoint(whole[0] / "last.safetensors")
    del checkpoint.config["image_size"]
    save_checkpoint(checkpoint, tmp_path / "old.safetensors")
    arguments = ["--resume", str(tmp_path / "old.safetensors"), "--data-dir", str(data)]
    assert main(["train", "lenet5", *arguments, "--quiet"]) == 0
