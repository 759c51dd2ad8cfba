"""fine_tune: a head first, then everything, on a task that a little data teaches."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import fastconv as fc
from fastconv import nn, transfer
from fastconv.data import ArrayDataset, Loader


def pictures(count: int, seed: int, classes: int = 3) -> ArrayDataset:
    """Bright stripes whose place is the class."""
    rng = np.random.default_rng(seed)
    labels = np.arange(count) % classes
    images = rng.integers(0, 120, (count, 1, 12, 12), np.uint8)
    images[np.arange(count), 0, 1 + 3 * labels] = 255
    return ArrayDataset(images, labels, mean=(0.3,), std=(0.2,))


def trained() -> nn.Sequential:
    fc.manual_seed(5)
    return nn.Sequential(
        nn.Conv2d(1, 8, 3, padding=1),
        nn.BatchNorm2d(8),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Dropout(0.2),
        nn.Linear(8 * 36, 10),
    )


def test_both_parts_learn(tmp_path: Path) -> None:
    pytest.importorskip("safetensors")
    net = trained()
    kernel = net[0].weight.numpy().copy()
    mean = net[1].running_mean.numpy().copy()
    history = transfer.fine_tune(
        net,
        pictures(60, 0),
        pictures(30, 1),
        3,
        head_epochs=6,
        epochs=3,
        head_lr=5e-3,
        lr=1e-3,
        out_dir=tmp_path,
    )
    assert [len(history["head"]), len(history["all"])] == [6, 3]
    assert history["head"][-1]["train_loss"] < 0.5 * history["head"][0]["train_loss"]
    assert history["all"][-1]["val_accuracy"] > 0.9
    assert (tmp_path / "last.safetensors").exists()
    assert (tmp_path / "head" / "history.json").exists()
    assert not np.array_equal(net[0].weight.numpy(), kernel)
    np.testing.assert_array_equal(net[1].running_mean.numpy(), mean)  # keep_statistics
    assert all(p.requires_grad for p in net.parameters())
    assert not any(m.frozen for m in net.modules())


def test_head_on_features_is_the_frozen_network() -> None:
    """Without dropout both ways take the same steps."""
    results = []
    for cache in (True, False, None):
        net = trained()
        del net[5]
        trunk = {k: v.copy() for k, v in net.state_dict().items() if k[0] in "01"}
        history = transfer.fine_tune(
            net, pictures(24, 0), pictures(9, 1), 3, 3, 0, cache=cache, batch_size=8
        )
        results.append((net[5].weight.numpy().copy(), history["head"]))
        for key, value in trunk.items():
            np.testing.assert_array_equal(net.state_dict()[key], value)
        assert [n for n, p in net.named_parameters() if p.requires_grad] == ["5.weight", "5.bias"]
        assert history["all"] == []
    for weight, history in results[1:]:
        np.testing.assert_allclose(weight, results[0][0], rtol=1e-3, atol=1e-5)
        for a, b in zip(history, results[0][1], strict=True):
            assert a["val_loss"] == pytest.approx(b["val_loss"], rel=1e-4)


def test_the_second_part_alone_with_layers_left_frozen() -> None:
    net = trained()
    before = {k: v.copy() for k, v in net.state_dict().items()}
    transfer.fine_tune(net, pictures(24, 0), None, None, 0, 1, until="1", optimizer=fc.optim.SGD)
    moved = {k for k, v in net.state_dict().items() if not np.array_equal(v, before[k])}
    assert moved == {"6.weight", "6.bias"}
    assert not net[0].weight.requires_grad and net[1].frozen
    statistics = before["1.running_mean"]
    net = trained()
    transfer.fine_tune(net, pictures(24, 0), None, 3, 0, 1, keep_statistics=False)
    assert not np.array_equal(net[1].running_mean.numpy(), statistics)


def test_changing_images_are_not_cached() -> None:
    calls: list[int] = []

    def noted(images: Any, rng: Any) -> Any:
        calls.append(len(images))
        return images

    loader = Loader(pictures(16, 0), 8, shuffle=True, augment=noted, prefetch=0)
    transfer.fine_tune(trained(), loader, None, 3, head_epochs=3, epochs=0)
    assert sum(calls) == 3 * 16
    with pytest.raises(
        fc.ShapeError, match="fine_tune: features cannot be kept: a Loader has augm"
    ):
        transfer.fine_tune(trained(), loader, None, 3, 1, 0, cache=True)


def test_networks_with_other_heads() -> None:
    """A 1x1 convolution as the head, auxiliary classifiers, and softmax behind the head."""
    net = nn.Sequential(
        nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Conv2d(4, 9, 1), nn.AdaptiveAvgPool2d(1), nn.Flatten()
    )
    history = transfer.fine_tune(net, pictures(12, 0), None, 3, 1, 1)
    assert len(history["head"]) == len(history["all"]) == 1
    with pytest.raises(fc.ShapeError, match="the head is a convolution"):
        transfer.fine_tune(net, pictures(12, 0), None, 3, 1, 0, cache=True)
    scaled = nn.Sequential(nn.Flatten(), nn.Linear(144, 9), nn.Tanh())
    with pytest.raises(fc.ShapeError, match="output is not its head's"):
        transfer.fine_tune(scaled, pictures(12, 0), None, 3, 1, 0, cache=True)
    google = fc.models.googlenet(num_classes=5, in_channels=1)
    kernel = google.conv1.conv.weight.numpy().copy()
    rng = np.random.default_rng(0)
    data = ArrayDataset(rng.integers(0, 256, (4, 1, 32, 32), np.uint8), np.arange(4) % 3)
    transfer.fine_tune(google, data, None, 3, 1, 0, batch_size=4)
    assert google.aux1.fc2.out_features == 3
    np.testing.assert_array_equal(google.conv1.conv.weight.numpy(), kernel)


def test_bad_arguments() -> None:
    for given, error, match in (
        ({"head_epochs": 0, "epochs": 0}, fc.ShapeError, "both 0"),
        ({"head_epochs": -1}, fc.ShapeError, "head_epochs"),
        ({"train": 3}, fc.DTypeError, "fine_tune: train is a int, expected a data set"),
        ({"val": [1]}, fc.DTypeError, "fine_tune: val is a list"),
        ({"until": "x"}, fc.ShapeError, "fine_tune: there is no layer named 'x'"),
        ({"batch_size": 0}, fc.ShapeError, "batch_size"),
    ):
        net = trained()
        arguments: dict[str, Any] = {"train": pictures(6, 0), "num_classes": 3, **given}
        with pytest.raises(error, match=match):
            transfer.fine_tune(net, **arguments)
        assert net[6].out_features == 10 and all(p.requires_grad for p in net.parameters())
