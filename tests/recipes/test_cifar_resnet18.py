"""ResNet-18 on CIFAR's files: a run through the command, in bfloat16 too, and what other commands make of it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fastconv import recipes
from fastconv.cli import main
from fastconv.errors import FastconvError, FormatError
from fastconv.train import load_checkpoint
from fastconv.train.checkpoint import save_checkpoint
from tests.cli.helpers import write_data


@pytest.fixture(scope="module")
def cifar(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """CIFAR-10's files, with a square whose colour is the class."""
    folder = tmp_path_factory.mktemp("cifar")
    rng = np.random.default_rng(0)
    for name, count in [
        *((f"data_batch_{i}.bin", 12) for i in range(1, 6)),
        ("test_batch.bin", 20),
    ]:
        labels = np.arange(count, dtype=np.uint8) % 10
        images = rng.integers(0, 60, (count, 3, 32, 32), dtype=np.uint8)
        images[np.arange(count), labels % 3, 8:24, 8:24] = (90 + 15 * labels)[:, None, None]
        records = np.concatenate([labels[:, None], images.reshape(count, -1)], 1)
        records.tofile(folder / name)
    return folder


def test_a_run(cifar: Path, tmp_path: Path, capsys: Any) -> None:
    out = tmp_path / "run"
    told = ["--data", str(cifar), "--epochs", "1", "--images", "40", "--out", str(out), "--quiet"]
    assert main(["recipe", "cifar-resnet18", *told]) == 0
    printed = capsys.readouterr().out
    kept = json.loads((out / "recipe.json").read_text())
    assert kept["settings"]["images"] == 40 and kept["settings"]["bf16"] is False
    config = load_checkpoint(out / "last.safetensors").config
    assert config["model_options"] == {"stem": "cifar"} and "RandomCrop" in config["augment"]
    found = json.loads((out / "evaluations.json").read_text())
    assert found["train"]["images"] == 40 and found["test"]["images"] == 20
    # The network is built again as it was, with its small stem.
    assert main(["evaluate", str(out / "last.safetensors")]) == 0
    shown = capsys.readouterr().out
    accuracy = f"{100 * kept['results']['test_accuracy']:.2f} %"
    assert f"accuracy {accuracy}" in shown and accuracy in printed
    assert main(["report", str(out), "--images", "2"]) == 0
    page = (out / "report.html").read_text(encoding="utf-8")
    assert f"fastconv recipe cifar-resnet18 --data {cifar} --epochs 1 --seed 0 --images 40" in page


def test_bfloat16_grey_images_and_resuming(tmp_path: Path) -> None:
    digits = write_data(tmp_path / "idx", 60, 10)
    # A folder is one with CIFAR's files; of a set by name the images decide the network's channels.
    options = {"images": 30, "bf16": True}
    with pytest.raises(FileNotFoundError, match="data_batch_1"):
        recipes.run("cifar-resnet18", data=digits, out=tmp_path / "no", quiet=True)
    out = tmp_path / "run"
    told: dict[str, Any] = {"data": "bundled", "epochs": 1, "quiet": True, "options": options}
    recipes.run("cifar-resnet18", out=out, **told)
    last = out / "last.safetensors"
    model = load_checkpoint(last).model
    assert model["conv1.weight"].shape == (64, 1, 3, 3)
    assert all(value.dtype != np.uint16 for value in model.values())
    again = recipes.run(resume=last, quiet=True, options={"bf16": True})
    assert again["epochs"] == 1
    with pytest.raises(FastconvError, match=r"bf16 is False, but .* continues a run with True"):
        recipes.run(resume=last, options={"bf16": False})


@pytest.mark.parametrize(
    "options",
    [{"stem": "cifar", "weights": "x"}, {"stem": "large"}, {"num_classes": 3}, ["stem"], 7],
)
def test_checkpoints_with_other_options(options: Any, tmp_path: Path, capsys: Any) -> None:
    digits = write_data(tmp_path / "idx", 30, 10)
    recipes.run("mnist", data=digits, epochs=1, out=tmp_path, quiet=True)
    last = tmp_path / "last.safetensors"
    checkpoint = load_checkpoint(last)
    checkpoint.config["model_options"] = options
    save_checkpoint(checkpoint, last)
    assert main(["evaluate", str(last)]) == 2
    assert str(last) in capsys.readouterr().err
    with pytest.raises(FormatError):
        from fastconv.cli.common import checkpoint_net

        checkpoint_net(last)
