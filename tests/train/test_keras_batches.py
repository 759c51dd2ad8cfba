"""Keras's flows and generators in `KerasStyle`: layouts, labels, steps."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import fastconv as fc
from fastconv import nn
from fastconv.data.augment import ImageDataGenerator
from fastconv.errors import DTypeError, ShapeError
from fastconv.train import KerasStyle

SIDE, COUNT, CLASSES = 8, 30, 3


def pictures() -> tuple[Any, Any]:
    """Uint8 (N, H, W, C) whose class is the brightest channel, on one side, so that axes count."""
    rng = np.random.default_rng(2)
    labels = np.arange(COUNT) % CLASSES
    images = rng.integers(0, 80, (COUNT, SIDE, SIDE, 3)).astype(np.uint8)
    for image, label in zip(images, labels, strict=True):
        image[:, : SIDE // 2, label] += 150
    return images, labels


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    pillow = pytest.importorskip("PIL.Image")
    for i, (image, label) in enumerate(zip(*pictures(), strict=True)):
        (tmp_path / f"class{label}").mkdir(exist_ok=True)
        pillow.fromarray(image).save(tmp_path / f"class{label}" / f"{i:03}.png")
    return tmp_path


def model(loss: str) -> KerasStyle:
    fc.manual_seed(3)
    made = KerasStyle(nn.Sequential(nn.Flatten(), nn.Linear(3 * SIDE * SIDE, CLASSES)))
    made.compile(optimizer="adam", loss=loss, metrics=["accuracy"])
    return made


def flow_of(folder: Path, data_format: str, mode: str | None, **options: Any) -> Any:
    generator = ImageDataGenerator(rescale=1 / 255, data_format=data_format)
    return generator.flow_from_directory(
        folder, target_size=(SIDE, SIDE), batch_size=8, class_mode=mode, **options
    )


@pytest.mark.parametrize("data_format", ["channels_last", "channels_first"])
@pytest.mark.parametrize("mode", ["categorical", "sparse"])
def test_flows_train_evaluate_and_predict(folder: Path, data_format: str, mode: str) -> None:
    loss = (
        "categorical_crossentropy" if mode == "categorical" else f"{mode}_categorical_crossentropy"
    )
    made = model(loss)
    flow = flow_of(folder, data_format, mode, seed=1)
    stored = flow_of(folder, data_format, mode, shuffle=False)
    history = made.fit(flow, validation_data=stored, epochs=8, verbose=0).history
    assert history["loss"][-1] < 0.7 * history["loss"][0] and history["val_accuracy"][-1] > 0.9
    value, accuracy = made.evaluate(stored)
    # the definition: the stored pictures in the flow's order, channels first
    images, labels = pictures()
    order = np.argsort(labels, kind="stable")
    x = np.ascontiguousarray(images[order].transpose(0, 3, 1, 2)).astype(np.float32) / 255
    layer = made.net[1]
    scores = x.reshape(COUNT, -1) @ layer.weight.numpy().T + layer.bias.numpy()
    np.testing.assert_allclose(made.predict(stored), scores, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(
        made.predict(flow_of(folder, data_format, None, shuffle=False)),
        scores,
        rtol=1e-4,
        atol=1e-5,
    )
    shifted = scores - scores.max(axis=1, keepdims=True)
    logs = shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))
    np.testing.assert_allclose(value, -logs[np.arange(COUNT), labels[order]].mean(), rtol=1e-5)
    assert accuracy == np.mean(scores.argmax(axis=1) == labels[order])


def test_both_layouts_train_to_the_same_bits(folder: Path) -> None:
    ends = []
    for data_format in ("channels_last", "channels_first"):
        made = model("sparse_categorical_crossentropy")
        made.fit(flow_of(folder, data_format, "sparse", seed=4), epochs=2, verbose=0)
        ends.append(made.net[1].weight.numpy().copy())
    np.testing.assert_array_equal(*ends)


def test_steps_go_on_where_the_last_epoch_stopped() -> None:
    images, labels = pictures()
    x = images.transpose(0, 3, 1, 2).astype(np.float32) / 255
    seen: list[int] = []

    def endless() -> Iterator[tuple[Any, Any]]:
        while True:
            for first in range(0, COUNT, 10):
                seen.append(first)
                yield x[first : first + 10], labels[first : first + 10].astype(np.float32)

    made = model("sparse_categorical_crossentropy")
    made.fit(endless(), epochs=2, steps_per_epoch=2, verbose=0)
    assert seen == [0, 10, 20, 0] and made.trainer is not None
    assert made.trainer.global_step == 4 and made.trainer.epoch == 2
    parts = [(x[:10], labels[:10]), (x[10:20], labels[10:20])]
    made.fit(parts, epochs=2, steps_per_epoch=3, verbose=0)  # begins again where it ends
    assert made.trainer.global_step == 10
    assert made.evaluate(endless(), steps=3) == made.evaluate(x, labels, batch_size=10)
    assert made.predict(endless(), steps=3).shape == (COUNT, CLASSES)


def test_steps_that_do_not_fit_are_refused() -> None:
    images, labels = pictures()
    x = images.transpose(0, 3, 1, 2).astype(np.float32)
    made = model("sparse_categorical_crossentropy")
    with pytest.raises(ShapeError, match="fit: steps_per_epoch and validation_steps are for"):
        made.fit(x, labels, steps_per_epoch=2)
    with pytest.raises(ShapeError, match="steps_per_epoch"):
        made.fit([(x, labels)], steps_per_epoch=0)
    with pytest.raises(DTypeError, match="fit: steps_per_epoch is for flows"):
        made.fit(fc.data.ArrayDataset(x, labels), steps_per_epoch=2)
    with pytest.raises(ShapeError, match="fit: the batches ended, expected 2 an epoch"):
        made.fit(iter([(x, labels)]), steps_per_epoch=2, verbose=0)


def test_labels_in_floats_that_are_no_classes_are_refused() -> None:
    images, labels = pictures()
    x = images.transpose(0, 3, 1, 2).astype(np.float32)
    with pytest.raises((ShapeError, DTypeError), match="integer labels"):
        model("sparse_categorical_crossentropy").fit(x, labels + 0.5, verbose=0)
