"""Networks from ONNX files: the same pictures as of the network that was exported."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import fastconv as fc
from fastconv import nn
from fastconv import visualize as viz
from tests.visualize.helpers import dataset, image, small_net

pytest.importorskip("onnx")


def exported(path: Path, *, softmax: bool = False) -> tuple[Any, Any]:
    """A network, and what its ONNX file gives."""
    net = small_net(dtype="float32")
    for module in net.modules():  # statistics that change something
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.numpy()[...] = [0.1, -0.2, 0.3, 0.0]
    net = net.eval()
    whole = nn.Sequential(net, nn.Softmax(-1)).eval() if softmax else net
    fc.onnx.export(whole, path, np.zeros((1, 2, 8, 8), np.float32))
    return net, fc.onnx.load(path)


def nodes(net: Any, op: str) -> list[str]:
    return [name for name, node in net.nodes_by_name.items() if node.op == op]


def test_filters(tmp_path: Path) -> None:
    net, read = exported(tmp_path / "net.onnx")
    convolutions = nodes(read, "Conv")
    assert len(convolutions) == 2
    for name, layer in zip(convolutions, ("conv1", "conv2"), strict=True):
        found, weights = viz.layer_filters(read, name)
        assert found == name
        np.testing.assert_array_equal(weights, viz.layer_filters(net, layer)[1])
    assert viz.layer_filters(read)[0] == convolutions[0]
    for wrong in [name for name in read.nodes_by_name if name not in convolutions][:2]:
        op = read.nodes_by_name[wrong].op
        with pytest.raises(fc.ShapeError, match=f"is a {op}, expected a convolution"):
            viz.layer_filters(read, wrong)
    with pytest.raises(fc.ShapeError, match="there is no layer 'conv9'"):
        viz.layer_filters(read, "conv9")


def test_feature_maps(tmp_path: Path) -> None:
    net, read = exported(tmp_path / "net.onnx")
    x = image().astype(np.float32)
    ours, theirs = viz.feature_maps(net, x), viz.feature_maps(read, x)
    assert [name.partition(" #")[0] for name in theirs] == [
        name for name in read.nodes_by_name if name in theirs
    ]
    by_name = {
        "conv1": nodes(read, "Conv")[0],
        "pool": nodes(read, "MaxPool")[0],
        "conv2": nodes(read, "Conv")[1],
        "tanh": nodes(read, "Tanh")[0],
        "head": list(theirs)[-1],
    }
    for name, node in by_name.items():
        assert ours[name].shape == theirs[node].shape
        np.testing.assert_allclose(ours[name], theirs[node], rtol=1e-5, atol=1e-6)
    alone = viz.feature_maps(read, x, [by_name["tanh"]])
    assert list(alone) == [by_name["tanh"]]
    np.testing.assert_array_equal(alone[by_name["tanh"]], theirs[by_name["tanh"]])
    assert not read._watches


@pytest.mark.parametrize("softmax", [False, True])
def test_attribution(tmp_path: Path, softmax: bool) -> None:
    """Of the scores, also where the file ends with their softmax."""
    net, read = exported(tmp_path / "net.onnx", softmax=softmax)
    x = image(seed=3).astype(np.float32)
    assert viz.cam_layer(net, x) == "tanh" and viz.cam_layer(read, x) == nodes(read, "Tanh")[0]
    for target in range(3):
        np.testing.assert_allclose(
            viz.grad_cam(read, x, target, raw=True),
            viz.grad_cam(net, x, target, raw=True),
            rtol=1e-4,
            atol=1e-6,
        )
        expected = viz.grad_cam(net, x, target, "conv1")
        found = viz.grad_cam(read, x, target, nodes(read, "Conv")[0])
        np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-5)
        np.testing.assert_allclose(
            viz.saliency(read, x, target), viz.saliency(net, x, target), rtol=1e-4, atol=1e-6
        )
    with pytest.raises(fc.ShapeError, match="gives no maps"):
        viz.grad_cam(read, x, 0, list(read.nodes_by_name)[-1])
    assert all(p.requires_grad for p in read.parameters()) and not read._watches


def test_features_of_a_layer(tmp_path: Path) -> None:
    net, read = exported(tmp_path / "net.onnx")
    data = dataset()
    expected, labels = viz.features_for_tsne(net, data, "tanh")
    found, same = viz.features_for_tsne(read, data, nodes(read, "Tanh")[0])
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)
    assert np.array_equal(labels, same)
    with pytest.raises(fc.ShapeError, match="name a layer of the ONNX file, such as"):
        viz.features_for_tsne(read, data)


def test_nodes_of_one_name(tmp_path: Path) -> None:
    import onnx

    _, read = exported(tmp_path / "net.onnx")
    model = onnx.load(tmp_path / "net.onnx")
    for node in model.graph.node:
        node.name = "node"
    twin = fc.onnx.load(model.SerializeToString())
    assert len(twin.nodes_by_name) == len(read.nodes_by_name)
    assert next(iter(twin.nodes_by_name)) == "node"
    x = image().astype(np.float32)
    for one, two in zip(
        viz.feature_maps(twin, x).values(), viz.feature_maps(read, x).values(), strict=True
    ):
        np.testing.assert_array_equal(one, two)
