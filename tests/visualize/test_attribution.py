"""Feature maps, Grad-CAM and saliency against definitions of their own."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import fastconv as fc
from fastconv import nn
from fastconv import visualize as viz
from tests.visualize.helpers import image, small_net


def scores_from(net: nn.Sequential, maps: Any, after: str) -> Any:
    """The scores that follow from the maps of one layer, by the layers behind it."""
    layers = dict(net.named_children())
    names = list(layers)
    x = maps
    with fc.no_grad():
        for name in names[names.index(after) + 1 :]:
            x = layers[name](x)
    return np.asarray(x)[0]


def test_feature_maps_are_what_layers_give() -> None:
    net, x = small_net(), image()
    maps = viz.feature_maps(net, x)
    assert list(maps) == [name for name, _ in net.named_children()]
    weight, bias = np.asarray(net.conv1.weight), np.asarray(net.conv1.bias)
    padded = np.pad(x, ((0, 0), (1, 1), (1, 1)))
    expected = np.empty((4, 8, 8))
    for k in range(4):
        for i in range(8):
            for j in range(8):
                expected[k, i, j] = (weight[k] * padded[:, i : i + 3, j : j + 3]).sum() + bias[k]
    np.testing.assert_allclose(maps["conv1"], expected, rtol=1e-12, atol=1e-12)
    normed = expected / np.sqrt(1 + 1e-5)  # running statistics as they begin
    np.testing.assert_allclose(maps["relu1"], np.maximum(normed, 0), rtol=1e-9, atol=1e-12)
    pooled = maps["relu1"].reshape(4, 4, 2, 4, 2).max(axis=(2, 4))
    np.testing.assert_array_equal(maps["pool"], pooled)
    assert maps["conv2"].shape == (5, 2, 2) and maps["head"].shape == (3,)
    np.testing.assert_array_equal(maps["drop"], maps["flatten"])  # evaluation mode
    only = viz.feature_maps(net, x[np.newaxis], ["pool", "conv1", "pool"])
    assert list(only) == ["conv1", "pool"]
    np.testing.assert_array_equal(only["pool"], pooled)


def test_nothing_of_the_network_is_changed() -> None:
    net = small_net()
    net.train()
    net.norm.eval()
    net.conv1.bias.requires_grad = False
    before = {k: v.copy() for k, v in net.state_dict().items()}
    net.head.weight.grad = fc.Tensor(np.full((3, 20), 7.0))
    viz.feature_maps(net, image())
    viz.grad_cam(net, image())
    viz.saliency(net, image())
    assert [m.training for m in net.children()] == [n != "norm" for n, _ in net.named_children()]
    assert net.training
    assert [n for n, p in net.named_parameters() if not p.requires_grad] == ["conv1.bias"]
    assert np.all(net.head.weight.grad.numpy() == 7.0) and net.conv1.weight.grad is None
    for name, value in net.state_dict().items():
        np.testing.assert_array_equal(value, before[name])
    assert not any(module._hooks for module in net.modules())


def test_a_layer_that_is_called_twice() -> None:
    class Twice(nn.Module):
        def __init__(self) -> None:
            self.act = nn.ReLU()

        def forward(self, x: Any) -> Any:
            return self.act(self.act(x) - 0.5)

    maps = viz.feature_maps(Twice(), np.ones((1, 2, 2), np.float32))
    assert list(maps) == ["act", "act #2"]
    assert maps["act"].max() == 1.0 and maps["act #2"].max() == 0.5


@pytest.mark.parametrize("layer", ["relu1", "pool", "tanh", "conv1"])
@pytest.mark.parametrize("target", [0, 2, None])
def test_grad_cam_by_finite_differences(layer: str, target: int | None) -> None:
    net, x = small_net().eval(), image(seed=3)
    maps = viz.feature_maps(net, x)
    scores = scores_from(net, maps[layer][np.newaxis], layer)
    chosen = int(scores.argmax()) if target is None else target
    eps = 1e-6
    weights = []
    for k in range(len(maps[layer])):  # the mean of a map's gradients: all of the map moved
        moved = maps[layer][np.newaxis].copy(), maps[layer][np.newaxis].copy()
        moved[0][0, k] += eps
        moved[1][0, k] -= eps
        high, low = (scores_from(net, m, layer)[chosen] for m in moved)
        weights.append((high - low) / (2 * eps) / maps[layer][0].size)
    expected = np.maximum(np.einsum("k,kpq->pq", np.array(weights), maps[layer]), 0)
    found = viz.grad_cam(net, x, target, layer, raw=True)
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-8)
    shown = viz.grad_cam(net, x, target, layer)
    assert shown.shape == (8, 8) and shown.dtype == np.float32
    if expected.max() > 0:
        assert shown.max() == 1.0 and shown.min() >= 0.0
        if expected.shape == (8, 8):
            np.testing.assert_allclose(shown, expected / expected.max(), rtol=1e-4, atol=1e-6)
    else:
        assert not shown.any()


def test_grad_cam_points_at_what_makes_the_class() -> None:
    """A network whose class 0 is brightness anywhere: the map is where the light is."""
    net = nn.Sequential(nn.Conv2d(1, 1, 1, bias=False), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    net[0].weight.numpy()[...] = 1.0
    x = np.zeros((1, 12, 12), np.float32)
    x[0, 2:5, 7:10] = 3.0
    found = viz.grad_cam(net, x)
    np.testing.assert_allclose(found, x[0] / 3, atol=1e-6)


def test_saliency_by_finite_differences() -> None:
    net, x = small_net().eval(), image(seed=9)
    eps = 1e-6
    for target in (1, None):
        with fc.no_grad():
            scores = np.asarray(net(x[np.newaxis]))[0]
        chosen = int(scores.argmax()) if target is None else target
        slope = np.empty_like(x)
        for place in np.ndindex(*x.shape):
            moved = x.copy(), x.copy()
            moved[0][place] += eps
            moved[1][place] -= eps
            with fc.no_grad():
                high, low = (np.asarray(net(m[np.newaxis]))[0, chosen] for m in moved)
            slope[place] = (high - low) / (2 * eps)
        found = viz.saliency(net, x, target)
        np.testing.assert_allclose(found, np.abs(slope).max(axis=0), rtol=1e-5, atol=1e-8)


@pytest.mark.parametrize(
    ("name", "size", "expected"),
    [
        ("lenet5", 28, "tanh2"),
        ("resnet18", 64, "layer4"),
        ("vgg11_bn", 64, "features.27"),
        ("squeezenet1_1", 64, "classifier.2"),
    ],
)
def test_the_layer_that_grad_cam_looks_at(name: str, size: int, expected: str) -> None:
    fc.manual_seed(0)
    net = fc.models.create(name, num_classes=4)
    channels = 1 if name == "lenet5" else 3
    x = np.random.default_rng(1).standard_normal((channels, size, size)).astype(np.float32)
    assert viz.cam_layer(net, x) == expected
    assert viz.grad_cam(net, x, 2).shape == (size, size)
    assert np.isfinite(viz.saliency(net, x)).all()


def test_bad_input() -> None:
    net, x = small_net(), image()
    for function in (viz.feature_maps, viz.grad_cam, viz.saliency, viz.cam_layer):
        op = function.__name__
        with pytest.raises(fc.DTypeError, match=f"{op}: expected a Module, got str"):
            function("net", x)
        with pytest.raises(fc.DTypeError, match=f"{op}: the image is uint8"):
            function(net, np.zeros((2, 8, 8), np.uint8))
        with pytest.raises(fc.ShapeError, match=rf"{op}: the image has shape \(8, 8\)"):
            function(net, x[0])
        with pytest.raises(fc.ShapeError, match=f"{op}: the image has shape"):
            function(net, np.stack([x, x]))
        with pytest.raises(fc.ShapeError, match=f"{op}: .* not finite"):
            function(net, np.full((2, 8, 8), np.nan))
    with pytest.raises(fc.ShapeError, match=r"feature_maps: there is no layer 'conv3'.*conv"):
        viz.feature_maps(net, x, ["conv3"])
    with pytest.raises(fc.DTypeError, match="a layer's name must be a string"):
        viz.grad_cam(net, x, layer=3)  # type: ignore[arg-type]
    with pytest.raises(fc.ShapeError, match="grad_cam: 'head' gives no maps"):
        viz.grad_cam(net, x, layer="head")
    with pytest.raises(fc.ShapeError, match="target is 3, expected a class from 0 to 2"):
        viz.grad_cam(net, x, 3)
    with pytest.raises(fc.ShapeError, match="saliency: target must be at least 0"):
        viz.saliency(net, x, -1)
    with pytest.raises(fc.DTypeError, match="saliency: target must be an integer"):
        viz.saliency(net, x, 1.0)  # type: ignore[arg-type]
    flat = nn.Sequential(nn.Flatten(), nn.Linear(128, 3, dtype="float64"))
    with pytest.raises(fc.ShapeError, match="no convolution"):
        viz.grad_cam(flat, x)
    assert viz.saliency(flat, x).shape == (8, 8)
    net.head.bias.numpy()[1] = np.inf
    with pytest.raises(fc.FastconvError, match="scores are not finite"):
        viz.grad_cam(net, x)
