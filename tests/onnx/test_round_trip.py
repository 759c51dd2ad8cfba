"""Networks written by `fc.onnx.export` and read by `fc.onnx.load`, and the other way round."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import fastconv as fc
from fastconv import models
from tests.models import reference
from tests.models.conftest import unfilled as unfilled
from tests.onnx.helpers import eager, images, ops
from tests.onnx.test_export_ops import CASES, build
from tests.program.nets import NETS, SIZE
from tests.support import assert_close

onnx = pytest.importorskip("onnx")


def read_back(model: Any) -> Any:
    return fc.onnx.load(model.SerializeToString()).eval()


@pytest.mark.parametrize("name", CASES)
def test_functions(name: str) -> None:
    net, shape = build(CASES[name])
    back = read_back(fc.onnx.export(net, None, images(2, *shape)))
    for batch in (1, 3):
        x = images(batch, *shape)
        assert_close(eager(back, x)[0], eager(net, x)[0], 5e-6)


@pytest.mark.parametrize("name", NETS)
def test_networks(name: str) -> None:
    """Also a second time around."""
    fc.manual_seed(1)
    net = NETS[name]().eval()
    x = images(2, 3, SIZE, SIZE)
    back = read_back(fc.onnx.export(net, None, x))
    for found in (back, read_back(fc.onnx.export(back, None, x))):
        assert_close(eager(found, x)[0], eager(net, x)[0], 1e-5)
        assert_close(fc.compile(found, x)(x), eager(net, x)[0], 1e-5)


FAMILIES = {
    "lenet5": 28,
    "mnist_cnn_improved": 28,
    "googlenet": 64,
    "resnet20": 32,
    "densenet_cifar": 32,
    "squeezenet1_1": 32,
    "mobilenet_v2": 32,
}


@pytest.mark.usefixtures("unfilled")
@pytest.mark.parametrize("name", FAMILIES)
def test_the_zoo(name: str) -> None:
    """Parameters and statistics come back under their names, ready to be trained on."""
    net = models.create(name, num_classes=5)
    for _, entry, value in reference.fill(net.state_dict()):
        entry[...] = value
    net.eval()
    x = images(2, models.info(name).input_shape[0], FAMILIES[name], FAMILIES[name])
    model = fc.onnx.export(net, None, x)
    back = read_back(model)
    assert_close(eager(back, x)[0], eager(net, x)[0], 1e-5)
    assert ops(fc.onnx.export(back, None, x)) == ops(model)
    state = back.state_dict()
    for key, value in net.state_dict().items():
        if "aux" not in key and "num_batches" not in key:
            np.testing.assert_array_equal(state[key], value)
    learned = {key for key, _ in back.named_parameters()}
    assert learned == {key for key, _ in net.named_parameters() if "aux" not in key}
