"""show: the files that are written, and one line for every mistake."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import fastconv as fc
from fastconv import models
from fastconv.cli import main
from fastconv.train import Checkpoint, save_checkpoint

CONFIG: dict[str, Any] = {
    "model": "lenet5",
    "classes": [f"thing {i}" for i in range(10)],
    "image_shape": [1, 28, 28],
    "mean": [0.3],
    "std": [0.3],
}


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    random = np.random.default_rng(1)
    pixels = random.integers(0, 256, (40, 50, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / "photo.png")
    fc.manual_seed(0)
    net = models.lenet5()
    fc.save(net, tmp_path / "weights.safetensors")
    (tmp_path / "a_run").mkdir()
    state = Checkpoint(net.state_dict(), {}, None, 0, 0, 0, {}, config=CONFIG)
    save_checkpoint(state, tmp_path / "a_run" / "last.safetensors")
    monkeypatch.chdir(tmp_path)
    return tmp_path


NAMED = ["--model", "lenet5", "--weights", "weights.safetensors"]
RUN = ["--run", "a_run"]


@pytest.mark.parametrize(
    ("arguments", "files"),
    [
        (["filters", *RUN], ["filters.png"]),
        (["filters", *NAMED, "--layer", "conv2", "--out", "b.png"], ["b.png"]),
        (["filters", "--model", "resnet18"], ["filters.png"]),
        (["features", *RUN, "photo.png", "--most", "3"], ["features-1.png", "features-2.png"]),
        (["features", *NAMED, "--image", "photo.png", "--layer", "conv1"], ["features.png"]),
        (["gradcam", "photo.png", *RUN, "--invert", "--out", "c.png"], ["c.png"]),
        (
            ["gradcam", *RUN, "--layer", "conv1", "--target", "thing 3", "--image", "photo.png"],
            ["gradcam.png"],
        ),
        (["saliency", *NAMED, "photo.png", "--target", "3"], ["saliency.png"]),
        (["filters-demo", "photo.png"], ["filters-demo.png", "filters-demo-strides.png"]),
    ],
)
def test_pictures(folder: Path, capsys: Any, arguments: list[str], files: list[str]) -> None:
    before = set(folder.iterdir())
    assert main(["show", *arguments]) == 0
    assert capsys.readouterr().out.split() == files
    assert {path.name for path in set(folder.iterdir()) - before} == set(files)
    for name in files:
        with Image.open(folder / name) as opened:
            assert opened.format == "PNG" and min(opened.size) > 150


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["nothing"], "invalid choice"),
        (["gradcam", *RUN], "gradcam needs an image"),
        (["gradcam"], "give --run, --checkpoint or --model"),
        (["gradcam", *RUN, *NAMED, "photo.png"], "only one of --run"),
        (["gradcam", *RUN, "photo.png", "--image", "photo.png"], "given twice"),
        (["gradcam", *RUN, "photo.png", "--size", "3"], "--size goes with --model only"),
        (["gradcam", *RUN, "photo.png", "--target", "10"], "expected a class from 0 to 9"),
        (["gradcam", *RUN, "photo.png", "--layer", "conv9"], "there is no layer 'conv9'"),
        (["gradcam", *RUN, "photo.png", "--layer", "fc1"], "'fc1' gives no maps"),
        (["gradcam", *RUN, "photo.png", "--out", "a.jpg"], "ends in .png"),
        (["gradcam", *RUN, "photo.png", "--out", "no/a.png"], "no/"),
        (["gradcam", *RUN, "none.png"], "none.png"),
        (["gradcam", *RUN, "weights.safetensors"], "not a readable image"),
        (["gradcam", *NAMED, "--invert", "photo.png"], "--invert goes with a checkpoint"),
        (["saliency", *RUN, "photo.png", "--layer", "conv1"], "--layer does not go with saliency"),
        (["filters", *RUN, "photo.png"], "--image does not go with filters"),
        (["filters", *RUN, "--layer", "fc1"], "expected a convolution"),
        (["filters", "--run", "."], "is no folder of a run"),
        (["filters", "--model", "lenet9"], "did you mean lenet5"),
        (["filters", *RUN, "--most", "0"], "of at least 1"),
        (["filters", "--layr", "x"], "did you mean --layer"),
        (["filters-demo", *RUN, "photo.png"], "--run does not go with filters-demo"),
        (["filters", *RUN, "a", "b"], ""),
    ],
)
def test_mistakes_are_one_line(folder: Path, capsys: Any, arguments: Any, said: str) -> None:
    before = set(folder.iterdir())
    assert main(["show", *arguments]) == 2
    out, err = capsys.readouterr()
    assert out == "" and err.count("\n") == 1 and said in err, err
    assert set(folder.iterdir()) == before


def test_a_photograph_is_asked_for_where_there_is_none(
    folder: Path, capsys: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    import importlib.util

    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    assert main(["show", "filters-demo"]) == 2
    assert "fastconv show filters-demo photo.jpg" in capsys.readouterr().err
