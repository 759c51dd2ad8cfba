"""The zoo as ONNX: ONNX Runtime gives PyTorch's outputs, and PyTorch's weights come through files."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import fastconv as fc
from fastconv import models, nn
from tests.models import reference
from tests.models.conftest import unfilled as unfilled
from tests.models.reference import CASES, CLASSES, FILE, Case
from tests.onnx.helpers import RUNTIME, eager, ops, run_runtime
from tests.support import assert_close

onnx = pytest.importorskip("onnx")
pytestmark = [
    pytest.mark.skipif(not RUNTIME, reason="needs onnxruntime"),
    pytest.mark.usefixtures("unfilled"),
]

NUMBERS = json.loads(FILE.read_text())
TOLERANCE = 1e-4
# Parts of networks that only training runs.
TRAINING = ("num_batches_tracked", "aux1.", "aux2.", "AuxLogits.")


def made(case: Case) -> Any:
    """A network without weights, in evaluation mode."""
    options = {"num_classes": CLASSES, "in_channels": case.channels, **case.options}
    net: Any = models.create(case.name, **options)
    reference.narrow(net, nn.Linear)
    return net.eval()


def images(case: Case) -> Any:
    return case.images(False).astype(np.float32)


@pytest.mark.parametrize("case", CASES, ids=str)
def test_outputs_are_pytorchs(case: Case) -> None:
    net = made(case)
    for _, entry, value in reference.fill(net.state_dict()):
        entry[...] = value
    x = images(case)
    model = fc.onnx.export(net, None, x[:1])
    assert_close(run_runtime(model, x)[0], NUMBERS[str(case)]["evaluated"], TOLERANCE)
    assert_close(run_runtime(model, x[:1])[0], eager(net, x[:1])[0], TOLERANCE)
    assert model.graph.output[0].type.tensor_type.shape.dim[0].dim_param == "batch"
    assert not {"Dropout", "Transpose", "Reshape"} & set(ops(model))
    arrays = {i.name: tuple(i.dims) for i in model.graph.initializer}
    for key, value in net.state_dict().items():
        if not any(part in key for part in TRAINING):
            assert arrays[key] == value.shape


FILES = [c for c in CASES if str(c) in ("squeezenet1_1", "resnet18", "densenet121", "mobilenet_v2")]


@pytest.mark.parametrize("case", FILES, ids=str)
def test_pytorchs_weights_through_files(case: Case, tmp_path: Path) -> None:
    """PyTorch's network, its state dict in a file, ours, an ONNX file: the same outputs."""
    torch = pytest.importorskip("torch")
    try:
        peer = reference.build(case).float().eval()
    except ImportError:
        pytest.skip("torchvision is not installed")
    torch.save(peer.state_dict(), tmp_path / "net.pth")
    net = made(case)
    net.load_state_dict(fc.load(tmp_path / "net.pth"))
    x = images(case)
    fc.onnx.export(net, tmp_path / "net.onnx", x[:1])
    with torch.no_grad():
        expected = peer(torch.from_numpy(x)).numpy()
    (got,) = run_runtime(onnx.load(tmp_path / "net.onnx"), x)
    assert_close(got, expected, TOLERANCE)
