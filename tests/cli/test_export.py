"""`fastconv export`: checkpoints and named networks as ONNX files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import fastconv as fc
from fastconv.cli import main
from fastconv.cli.common import checkpoint_net
from tests.cli.helpers import fastconv, write_data
from tests.models.test_weights import state_file
from tests.onnx.helpers import eager, images, run
from tests.support import assert_close

onnx = pytest.importorskip("onnx")


def test_a_checkpoint(tmp_path: Path) -> None:
    data = write_data(tmp_path / "data", 40)
    options = ("--data", "mnist", "--data-dir", data, "--epochs", 1, "--out", tmp_path / "run")
    done = fastconv("train", "lenet5", *options)
    assert done.returncode == 0, done.stderr
    (checkpoint,) = (tmp_path / "run").glob("best*.safetensors")
    path = tmp_path / "net.onnx"
    done = fastconv("export", checkpoint, path)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith(f"{path}: 12 nodes, ")
    assert done.stdout.endswith("images (N, 1, 28, 28), opset 17\n")
    net, _ = checkpoint_net(checkpoint)
    x = images(3, 1, 28, 28)
    assert_close(run(onnx.load(path), x)[0], eager(net, x)[0], 1e-5)


def test_a_named_network(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    net = fc.models.create("lenet5", num_classes=7).eval()
    weights, path = tmp_path / "weights.safetensors", tmp_path / "net.onnx"
    fc.save(net, weights)
    arguments: list[Any] = ["export", "lenet5", path, "--weights", weights, "--num-classes", 7]
    arguments += ["--batch-size", 2, "--opset", 13]
    assert main([str(a) for a in arguments]) == 0
    assert "random" not in capsys.readouterr().out
    model = onnx.load(path)
    assert model.opset_import[0].version == 13
    dims = model.graph.input[0].type.tensor_type.shape.dim
    assert [d.dim_value for d in dims] == [2, 1, 28, 28]
    x = images(2, 1, 28, 28)
    assert_close(run(model, x)[0], eager(net, x)[0], 1e-5)


def test_wrapped_weights(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Where they lie is said by --key; classes and channels are the weights' own."""
    net = fc.models.create("lenet5", num_classes=4, in_channels=3).eval()
    weights = state_file(tmp_path, net, "module.", lambda s: {"a": {"net": s}, "b": {"net": s}})
    arguments = ["export", "lenet5", str(tmp_path / "net.onnx"), "--weights", str(weights)]
    assert main(arguments) == 2
    assert "weights.pth" in capsys.readouterr().err
    assert main([*arguments, "--key", "b.net"]) == 0
    assert "images (N, 3, 28, 28)" in capsys.readouterr().out
    x = images(2, 3, 28, 28)
    assert_close(run(onnx.load(tmp_path / "net.onnx"), x)[0], eager(net, x)[0], 1e-5)


def test_other_images(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "net.onnx"
    assert main(["export", "lenet5", str(path), "--size", "32", "--in-channels", "3"]) == 0
    assert "images (N, 3, 32, 32)" in capsys.readouterr().out
    assert main(["export", "resnet20", str(path), "--size", "20"]) == 0
    shape = onnx.load(path).graph.input[0].type.tensor_type.shape.dim
    assert [d.dim_param or d.dim_value for d in shape] == ["batch", 3, 20, 20]


def test_weights_of_pytorch(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    torch = pytest.importorskip("torch")
    net = fc.models.create("lenet5").eval()
    state = {k: torch.from_numpy(v.copy()) for k, v in net.state_dict().items()}
    torch.save(state, tmp_path / "net.pth")
    path = tmp_path / "net.onnx"
    assert main(["export", "lenet5", str(path), "--weights", str(tmp_path / "net.pth")]) == 0
    x = images(2, 1, 28, 28)
    assert_close(run(onnx.load(path), x)[0], eager(net, x)[0], 1e-5)


def test_random_weights_are_said_to_be(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "net.onnx"
    assert main(["export", "lenet5", str(path)]) == 0
    shown = capsys.readouterr().out
    assert "lenet5: random weights" in shown
    weight = next(i for i in onnx.load(path).graph.initializer if i.name == "conv1.weight")
    assert np.ptp(onnx.numpy_helper.to_array(weight)) > 0.1
