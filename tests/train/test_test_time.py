"""Test-time augmentation: means of probabilities over views."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import fastconv as fc
import fastconv.functional as F
from fastconv import nn
from fastconv.data import ArrayDataset, Loader, batch_rng
from fastconv.data import augment as A
from fastconv.data.augment.tta import crops5, flip
from fastconv.train import Trainer, predict
from tests.support import randn, rng


@pytest.fixture
def net() -> Any:
    fc.manual_seed(4)
    return nn.Sequential(nn.Conv2d(2, 3, 3), nn.ReLU(), nn.Flatten(), nn.Linear(3 * 36, 5))


@pytest.fixture
def x() -> Any:
    return randn(rng("tta"), 9, 2, 8, 8)


def softmax(x: Any) -> Any:
    e = np.exp(x - x.max(1, keepdims=True))
    return e / e.sum(1, keepdims=True)


def test_flip(net: Any, x: Any) -> None:
    got = predict(net, x, tta="flip", batch_size=4)
    parts = [softmax(predict(net, view)) for view in (x, x[..., ::-1])]
    np.testing.assert_allclose(got, np.mean(parts, 0), atol=1e-6)
    np.testing.assert_allclose(got.sum(1), 1, atol=1e-5)
    np.testing.assert_allclose(predict(net, x[..., ::-1], tta="flip"), got, atol=1e-6)
    as_batches = [(x[:4], np.zeros(4)), (x[4:], np.zeros(5))]
    np.testing.assert_allclose(predict(net, as_batches, tta="flip"), got, atol=1e-6)
    trainer = Trainer(net, F.cross_entropy, fc.optim.SGD(net.parameters(), lr=0.1))
    np.testing.assert_allclose(trainer.predict(x, tta="flip"), got, atol=1e-6)


def test_crops(net: Any, x: Any) -> None:
    views = crops5(x)
    assert len(views) == 5 and len(flip(x)) == 2
    for view, (down, right) in zip(
        views, [(0, 0), (0, 1), (1, 0), (1, 1), (0.5, 0.5)], strict=True
    ):
        part = A.warp_affine(
            x,
            np.tile([[0.875, 0, right - 0.0625], [0, 0.875, down - 0.0625]], (9, 1, 1)),
            fill_mode="nearest",
        )
        np.testing.assert_array_equal(view, part)
    constant = np.full((1, 2, 8, 8), 0.3, np.float32)
    for view in crops5(constant):
        np.testing.assert_allclose(view, constant, rtol=1e-6)
    got = predict(net, x, tta="crops5")
    np.testing.assert_allclose(
        got, np.mean([softmax(predict(net, v)) for v in views], 0), atol=1e-6
    )


def test_an_augmentation_of_stored_images(net: Any) -> None:
    stored = rng("stored").integers(0, 256, (10, 2, 8, 8), dtype=np.uint8)
    data = ArrayDataset(stored, np.arange(10) % 5, mean=(0.5,), std=(0.2,))
    aug = A.Compose([A.RandomRotation(20), A.Brightness(0.3)])
    got = predict(net, data, tta=aug, times=3, batch_size=4)
    parts = []
    for view in range(3):
        batches = [
            data.standardize()(aug(stored[4 * b : 4 * b + 4], batch_rng(0, view, b)))
            for b in range(3)
        ]
        parts.append(softmax(predict(net, np.concatenate(batches))))
    np.testing.assert_allclose(got, np.mean(parts, 0), atol=1e-5)
    loader = Loader(data, 4)
    np.testing.assert_array_equal(predict(net, loader, tta=aug, times=3), got)
    assert loader.augment is None and loader.epoch == 0
    assert np.abs(got - softmax(predict(net, data))).max() > 1e-3


def test_an_augmentation_of_network_input(net: Any, x: Any) -> None:
    got = predict(net, x, tta=A.RandomHorizontalFlip(1.0), times=2)
    np.testing.assert_allclose(got, softmax(predict(net, x[..., ::-1])), atol=1e-6)
    first = predict(net, x, tta=A.RandomRotation(30), times=2)
    np.testing.assert_array_equal(predict(net, x, tta=A.RandomRotation(30), times=2), first)


def test_several_outputs(x: Any) -> None:
    class Two(nn.Module):
        def forward(self, x: Any) -> Any:
            flat = x.reshape(len(x), -1)
            return {"a": flat[:, :3], "b": flat[:, 3:7]}

    got = predict(Two(), x, tta="flip")
    for name, part in (("a", slice(3)), ("b", slice(3, 7))):
        views = [softmax(v.reshape(9, -1)[:, part]) for v in (x, x[..., ::-1])]
        np.testing.assert_allclose(got[name], np.mean(views, 0), atol=1e-6)


@pytest.mark.parametrize(
    ("call", "error", "text"),
    [
        (lambda n, x: predict(n, x, tta="crops10"), fc.ShapeError, "tta must be one of 'flip'"),
        (
            lambda n, x: predict(n, x, tta=3),
            fc.DTypeError,
            "tta must be 'flip', 'crops5' or an aug",
        ),
        (lambda n, x: predict(n, x, tta=A.Cutout(2), times=0), fc.ShapeError, "times must be at"),
        (lambda n, x: predict(n, x[:, 0, 0], tta="flip"), fc.ShapeError, r"images \(n, C, H, W\)"),
        (lambda n, x: predict(n, x[:0], tta="flip"), fc.ShapeError, "data has no images"),
        (
            lambda n, x: predict(n, Loader((x, [0] * 9), 4, True), tta=A.Cutout(2)),
            fc.ShapeError,
            "must not shuffle",
        ),
    ],
)
def test_bad_arguments(net: Any, x: Any, call: Any, error: type[Exception], text: str) -> None:
    with pytest.raises(error, match=text):
        call(net, x)
