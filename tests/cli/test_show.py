"""show: the files that are written, and one line for every mistake."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import fastconv as fc
import fastconv.functional as F
from fastconv import models, nn
from fastconv import visualize as viz
from fastconv.cli import main
from fastconv.data import Preprocess
from fastconv.train import Checkpoint, save_checkpoint
from tests.onnx.helpers import Apply

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


def small_onnx(path: Path, *, channels_last: bool = False) -> Any:
    """A network, and an ONNX file of it that ends with a softmax."""
    fc.manual_seed(4)
    layers = [nn.Conv2d(3, 6, 5, stride=2), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten()]
    net = nn.Sequential(*layers, nn.Linear(6, 4)).eval()
    whole: Any = nn.Sequential(net, nn.Softmax(-1)).eval()
    shape = (1, 3, 32, 32)
    if channels_last:
        whole, shape = (
            Apply(lambda x: nn.Softmax(-1)(net(F.permute(x, (0, 3, 1, 2))))),
            (1, 32, 32, 3),
        )
        whole.net = net
        whole.eval()
    fc.onnx.export(whole, path, np.zeros(shape, np.float32))
    return net


@pytest.mark.parametrize("channels_last", [False, True])
def test_onnx_files(
    folder: Path, capsys: Any, monkeypatch: pytest.MonkeyPatch, channels_last: bool
) -> None:
    """The numbers are those of the network that was exported."""
    pytest.importorskip("onnx")
    net = small_onnx(folder / "net.onnx", channels_last=channels_last)
    drawn: dict[str, Any] = {}
    for name in ("plot_overlay", "plot_feature_maps"):
        draw = getattr(viz, name)

        def noted(*args: Any, _name: str = name, _draw: Any = draw, **options: Any) -> Any:
            drawn[_name] = args
            return _draw(*args, **options)

        monkeypatch.setattr(viz, name, noted)
    model = ["--model", "net.onnx", "--size", "32"]
    x = Preprocess(size=32)(folder / "photo.png")
    for arguments, files in (
        (["filters", "--model", "net.onnx"], ["filters.png"]),
        (["features", *model, "photo.png"], ["features-1.png", "features-2.png"]),
        (["saliency", *model, "photo.png", "--target", "2"], ["saliency.png"]),
        (["gradcam", *model, "photo.png", "--target", "1", "--out", "g.png"], ["g.png"]),
    ):
        assert main(["show", *arguments]) == 0, capsys.readouterr().err
        printed = capsys.readouterr().out.split()
        assert printed == files or (channels_last is False and printed == ["features.png"])
        with Image.open(folder / printed[0]) as opened:
            assert opened.format == "PNG" and min(opened.size) > 150
        if arguments[0] == "saliency":
            expected = viz.saliency(net, x, 2)
            expected = np.minimum(expected, np.quantile(expected, 0.995))
            np.testing.assert_allclose(drawn["plot_overlay"][1], expected, rtol=1e-3, atol=1e-6)
    np.testing.assert_allclose(
        drawn["plot_overlay"][1], viz.grad_cam(net, x, 1), rtol=1e-3, atol=1e-5
    )
    title = drawn["plot_overlay"][2]
    share = np.exp(np.asarray(net(x))[0].astype(float))
    assert title.startswith("net.onnx, layer ") and "class 1" in title
    assert f"{100 * share[1] / share.sum():.2f} %" in title
    maps = list(drawn["plot_feature_maps"][0].values())
    np.testing.assert_allclose(
        next(m for m in maps if m.shape == (6, 14, 14)),
        viz.feature_maps(net, x)["0"],
        rtol=1e-4,
        atol=1e-5,
    )
    for arguments, said in (
        (["gradcam", *model, "photo.png", "--weights", "w"], "--weights does not go with an ONNX"),
        (["gradcam", *model, "photo.png", "--layer", "x"], "there is no layer 'x'"),
        (["gradcam", *model, "photo.png", "--target", "4"], "expected a class from 0 to 3"),
        (["gradcam", *model, "photo.png", "--invert"], "--invert goes with a checkpoint"),
        (["filters", "--model", "photo.onnx"], "photo.onnx"),
    ):
        assert main(["show", *arguments]) == 2
        out, err = capsys.readouterr()
        assert out == "" and err.count("\n") == 1 and said in err, err


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
