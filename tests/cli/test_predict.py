"""predict on networks by name and on ONNX files: what is printed, and one line for every mistake."""

from __future__ import annotations

import json
import re
import resource
import shutil
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import fastconv as fc
from fastconv import models, nn
from fastconv.cli import main
from fastconv.data import Preprocess
from fastconv.models.classification import as_probabilities
from fastconv.train import Checkpoint, save_checkpoint
from tests.models.test_weights import state_file
from tests.support import rng

DATA = Path(__file__).parents[1] / "formats/data"
CONFIG: dict[str, Any] = {
    "model": "lenet5",
    "classes": [str(i) for i in range(10)],
    "image_shape": [1, 28, 28],
    "mean": [0.3],
    "std": [0.3],
}
BORDER = Preprocess("unit", size=28, channels=1)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("predict")
    for name, shape in (("a.png", (40, 30, 3)), ("b.png", (300, 280, 3))):
        Image.fromarray(rng(name).integers(0, 256, shape, dtype=np.uint8)).save(folder / name)
    fc.manual_seed(3)
    state_file(folder, models.lenet5(), "module.", lambda s: {"state_dict": s, "epoch": 1})
    shutil.copy(DATA / "row.keras", folder)
    fc.save(models.lenet5(in_channels=5), folder / "five")
    broken = models.lenet5()
    broken.fc3.bias.numpy()[4] = np.nan
    fc.save(broken, folder / "nan")
    save_checkpoint(
        Checkpoint(broken.state_dict(), {}, None, 0, 0, 0, {}, config=CONFIG),
        folder / "nan.safetensors",
    )
    (folder / "names").write_text("\n".join(f"class {i}" for i in range(10)))
    (folder / "few").write_text("one\ntwo\n")
    return folder


def expected(path: Path, prepare: Preprocess) -> Any:
    fc.manual_seed(3)
    row = as_probabilities("test", np.asarray(models.lenet5().eval()(prepare(path))))[0]
    return row, np.argsort(-row, kind="stable")


NAMED = ["--model", "lenet5", "--weights", "weights.pth"]


def test_a_network_by_name(folder: Path, monkeypatch: Any, capsys: Any) -> None:
    monkeypatch.chdir(folder)
    assert main(["predict", *NAMED, "a.png", "b.png", "--json"]) == 0
    shown = json.loads(capsys.readouterr().out)
    assert [entry["image"] for entry in shown] == ["a.png", "b.png"]
    for entry in shown:
        row, order = expected(folder / entry["image"], BORDER)
        assert [c["name"] for c in entry["classes"]] == [str(i) for i in order[:5]]
        assert [c["probability"] for c in entry["classes"]] == row[order[:5]].tolist()
    assert main(["predict", "lenet5", "a.png", *NAMED[2:], "--top", "2", "--classes", "names"]) == 0
    row, order = expected(folder / "a.png", BORDER)
    line = ", ".join(f"class {i} {100 * row[i]:.2f} %" for i in order[:2])
    assert capsys.readouterr().out == f"a.png: {line}\n"


def test_images_behind_the_options(folder: Path, monkeypatch: Any, capsys: Any) -> None:
    monkeypatch.chdir(folder)
    assert main(["predict", "lenet5", *NAMED[2:], "a.png", "b.png", "--top", "1"]) == 0
    assert [row[:7] for row in capsys.readouterr().out.splitlines()] == ["a.png: ", "b.png: "]


def test_files_leave_nothing_to_draw(folder: Path, monkeypatch: Any) -> None:
    """Weights that a file has are not drawn before."""
    monkeypatch.setattr(nn.init, "library_generator", lambda: None)
    monkeypatch.chdir(folder)
    assert main(["predict", *NAMED, "a.png"]) == 0
    net = models.create("lenet5", weights="weights.pth")
    assert all(np.isfinite(p.numpy()).all() for p in net.parameters())
    with pytest.raises(AttributeError):
        models.create("lenet5")


WRONG_CONFIGS: list[tuple[dict[str, Any], str]] = [
    ({"image_shape": [1, 28]}, "not enough values"),
    ({"image_shape": "abc"}, "in_channels must be an integer"),
    ({"image_shape": [1, 28.5, 28.5]}, "input_size"),
    ({"image_shape": [10**6, 28, 28]}, "wrong shapes: conv1.weight"),
    ({"image_shape": [10**10, 28, 28]}, "llocate"),
    ({"model": "mnist_cnn", "image_shape": [1, 10**9, 10**9]}, "mem|llocate|large"),
    ({"model": ["lenet5"]}, "a name must be a string"),
    ({"classes": 10}, "no len"),
    ({"mean": "x"}, "not written by `fastconv train`"),
    ({"std": None}, "not written by `fastconv train`"),
    ({"std": [0.0]}, "std"),
]


@pytest.mark.parametrize(("wrong", "message"), WRONG_CONFIGS, ids=str)
def test_settings_that_do_not_fit(
    wrong: dict[str, Any], message: str, folder: Path, tmp_path: Path, capsys: Any
) -> None:
    """A checkpoint is a file from anywhere: its settings are refused before memory is touched."""
    config = CONFIG
    path = tmp_path / "net.safetensors"
    for settings, code in ((config, 0), (config | wrong, 2)):
        state = models.lenet5().state_dict()
        save_checkpoint(Checkpoint(state, {}, None, 0, 0, 0, {}, config=settings), path)
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        assert main(["predict", str(path), str(folder / "a.png")]) == code
        assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 64 << 10
    shown = capsys.readouterr().err
    assert re.search(message, shown) and shown.count("\n") == 1 and str(path) in shown


@pytest.mark.parametrize("name", ["lenet5", "squeezenet1_1", "vgg11"])
def test_sizes_that_the_weights_have(
    name: str, folder: Path, monkeypatch: Any, capsys: Any
) -> None:
    """Classes and channels, without options that say them."""
    monkeypatch.chdir(folder)
    if name == "vgg11":  # small
        for constant in ("_HIDDEN", "_GRID"):
            monkeypatch.setattr(sys.modules["fastconv.models.vgg"], constant, 2)
    for channels, classes in ((1, 7), (3, 12)):
        net = models.create(name, num_classes=classes, in_channels=channels).eval()
        fc.save(net, "weights")
        assert (
            main(["predict", name, "--weights", "weights", "a.png", "--json", "--top", "99"]) == 0
        )
        (shown,) = json.loads(capsys.readouterr().out)
        _, height, width = models.info(name).input_shape
        preset = "unit" if channels == 1 else "imagenet"
        prepare = Preprocess(preset, size=(height, width), channels=channels)
        row = as_probabilities("test", np.asarray(net(prepare("a.png"))))[0]
        shares = {c["name"]: c["probability"] for c in shown["classes"]}
        np.testing.assert_allclose([shares[str(i)] for i in range(classes)], row, rtol=1e-6)
        again = models.create(name, weights="weights")
        assert [p.shape for p in again.parameters()] == [p.shape for p in net.parameters()]
        given = ["--in-channels", str(channels), "--num-classes", str(classes)]
        assert main(["predict", name, "--weights", "weights", "a.png", *given]) == 0
        capsys.readouterr()


def test_options_of_preprocessing(folder: Path, monkeypatch: Any, capsys: Any) -> None:
    monkeypatch.chdir(folder)
    options = ["--preset", "tf", "--resize", "30", "--interpolation", "bicubic", "--top", "10"]
    assert main(["predict", *NAMED, "b.png", "--json", *options]) == 0
    (shown,) = json.loads(capsys.readouterr().out)
    prepare = Preprocess("tf", size=28, resize=30, interpolation="bicubic", channels=1)
    row, order = expected(folder / "b.png", prepare)
    assert [c["probability"] for c in shown["classes"]] == row[order].tolist()


def small_onnx(path: Path, *, softmax: bool, size: int = 32) -> Any:
    """A network with a small ONNX file of its own."""
    fc.manual_seed(4)
    layers = [nn.Conv2d(3, 6, 5, stride=3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten()]
    net = nn.Sequential(*layers, nn.Linear(6, 1000), *([nn.Softmax(-1)] if softmax else []))
    fc.onnx.export(net.eval(), path, np.zeros((1, 3, size, size), np.float32))
    return net


@pytest.mark.parametrize("softmax", [False, True])
def test_onnx_files(folder: Path, tmp_path: Path, capsys: Any, softmax: bool) -> None:
    pytest.importorskip("onnx")
    net = small_onnx(tmp_path / "net.onnx", softmax=softmax)
    assert main(["predict", str(tmp_path / "net.onnx"), str(folder / "b.png"), "--json"]) == 0
    (shown,) = json.loads(capsys.readouterr().out)
    x = Preprocess(size=32)(folder / "b.png")
    (best,) = models.classify(net, [folder / "b.png"], preprocess=Preprocess(size=32))
    assert [c["name"] for c in shown["classes"]] == [name for name, _ in best]
    shares = [c["probability"] for c in shown["classes"]]
    np.testing.assert_allclose(shares, [p for _, p in best], rtol=1e-5)
    assert x.shape == (1, 3, 32, 32)


BAD = [
    (["a.png"], "run `fastconv train lenet5` first, or give a model"),
    (["lenet5", "a.png"], "lenet5 needs its weights: give --weights"),
    (["lenet5"], "there is a model, lenet5, but no image"),
    (["lenet6", "a.png"], "run `fastconv train lenet5` first"),
    (["lenet6", *NAMED[2:], "a.png"], "no network 'lenet6'; did you mean lenet5"),
    ([*NAMED[2:], "a.png"], "predict: there is no network 'a.png'; fastconv.models.list()"),
    (["--model", "lenet6", "a.png"], "there is no network 'lenet6'; did you mean lenet5"),
    ([*NAMED, "none.png"], "none.png"),
    ([*NAMED, "names"], "names: not a readable image"),
    ([*NAMED, "a.png", "--classes", "few"], "2 names for a network of 10 classes"),
    ([*NAMED, "a.png", "--classes", "none"], "No such file or directory: 'none'"),
    ([*NAMED, "a.png", "--classes", "a.png"], "predict: a.png: no text in UTF-8"),
    (["lenet5", *NAMED[2:], "a.png", "--colour"], "there is no option --colour (see fastconv pred"),
    (["lenet5", "a.png", "--device", "cuda"], "there is no option --device (see fastconv predict"),
    (["x.onnx", "a.png", "--in-channels", "1"], "--in-channels does not go with an ONNX file"),
    ([*NAMED, "a.png", "--in-channels", "2"], "argument --in-channels: invalid choice"),
    ([*NAMED, "a.png", "--in-channels", "3"], "weights.pth: "),
    (["lenet5", "--weights", "five", "a.png"], "images of 5 channels, expected 1 or 3"),
    (
        ["lenet5", "--weights", "nan", "a.png"],
        "a.png: the network's output has the largest value nan",
    ),
    (["lenet5", "--weights", "nan", "a.png", "--json"], "expected a finite number"),
    (
        ["nan.safetensors", "a.png", "--json"],
        "a.png: the network's output has the largest value nan",
    ),
    ([*NAMED, "a.png", "--preset", "imagenet"], "the scaling is for 3 channels, not 1"),
    ([*NAMED, "a.png", "--preset", "vgg"], "argument --preset: invalid choice"),
    (
        [*NAMED, "a.png", "--size", "29", "--resize", "28"],
        "resize is 28, expected at least the size",
    ),
    ([*NAMED, "a.png", "--invert"], "--invert goes with a checkpoint of fastconv train only"),
    ([*NAMED, "a.png", "--checkpoint", "x"], "--model does not go with --checkpoint"),
    ([*NAMED, "a.png", "--num-classes", "3"], "wrong shapes: fc3.weight"),
    ([*NAMED, "a.png", "--key", "epoch"], "holds a int, expected a dictionary"),
    (["--model", "lenet5", "--weights", "none", "a.png"], "No such file or directory: 'none'"),
    (["--model", "lenet5", "--weights", "a.png", "a.png"], "not a safetensors file"),
    (["--model", "lenet5", "--weights", "row.keras", "a.png"], "load_keras: "),
    (["--checkpoint", "x", "a.png", "--preset", "tf"], "--preset does not go with a checkpoint"),
    (["x.safetensors", "a.png", "--num-classes", "3"], "--num-classes does not go with a check"),
    (["x.safetensors", "a.png"], "No such file or directory: 'x.safetensors'"),
    (["x.onnx", "a.png", "--weights", "y"], "--weights does not go with an ONNX file"),
    (["x.onnx"], "there is a model, x.onnx, but no image"),
]


@pytest.mark.parametrize(("arguments", "message"), BAD, ids=lambda v: str(v)[:60])
def test_mistakes(
    arguments: list[str], message: str, folder: Path, monkeypatch: Any, capsys: Any
) -> None:
    monkeypatch.chdir(folder)
    assert main(["predict", *arguments]) == 2
    shown = capsys.readouterr()
    assert message in shown.err and shown.err.count("\n") == 1 and shown.out == ""
