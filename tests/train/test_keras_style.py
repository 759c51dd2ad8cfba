"""Keras's methods on a Trainer."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import fastconv as fc
from fastconv import functional as F
from fastconv import nn
from fastconv.data import ArrayDataset, Loader
from fastconv.errors import DTypeError, ShapeError
from fastconv.train import (
    EarlyStopping,
    KerasStyle,
    TopK,
    Trainer,
    read_evaluations,
)
from tests.train.helpers import arrays_of, small_data, small_net


def data(count: int = 60, seed: int = 0) -> tuple[Any, Any]:
    made = small_data(seed, count)
    return made.images.astype(np.float32) / 255, made.labels


def model(**options: Any) -> KerasStyle:
    fc.manual_seed(5)
    made = KerasStyle(small_net())
    settings = {
        **{"optimizer": "adam", "loss": "sparse_categorical_crossentropy"},
        **{"metrics": ["accuracy"]},
    }
    made.compile(**{**settings, **options})
    return made


def test_fit_evaluate_predict() -> None:
    x, y = data()
    made = model()
    history = made.fit(x, y, batch_size=8, epochs=6, verbose=0, validation_data=data(20, 9))
    assert set(history.history) == {
        *("loss", "accuracy", "val_loss", "val_accuracy", "learning_rate")
    }
    assert history.epoch == list(range(6))
    assert all(len(values) == 6 for values in history.history.values())
    assert history.history["loss"][-1] < history.history["loss"][0]
    loss, accuracy = made.evaluate(*data(20, 9), verbose=0)
    assert loss == pytest.approx(history.history["val_loss"][-1], rel=1e-6)
    assert accuracy == history.history["val_accuracy"][-1] > 0.7
    scores = made.predict(data(20, 9)[0])
    assert accuracy == np.mean(scores.argmax(axis=1) == data(20, 9)[1])
    assert made.evaluate(*data(20, 9), batch_size=3, return_dict=True)["accuracy"] == accuracy
    more = made.fit(x, y, batch_size=8, epochs=8, initial_epoch=6, verbose=0)
    assert more.epoch == [6, 7] and len(more.history["loss"]) == 2
    assert made.fit(x, y, epochs=3, initial_epoch=3, verbose=0).history == {}


def test_it_is_the_trainer() -> None:
    """The bits of a Trainer with the same settings."""
    x, y = data()
    made = model(seed=4)
    made.fit(x, y, batch_size=8, epochs=3, verbose=0)
    fc.manual_seed(5)
    net = small_net()
    trainer = Trainer(net, F.cross_entropy, fc.optim.Adam(net.parameters(), lr=0.001))
    loader = Loader(
        ArrayDataset(x, y),
        8,
        shuffle=True,
        seed=4,
        transform=lambda images: images.astype(np.float32),
    )
    trainer.fit(loader, epochs=3, progress=False)
    assert arrays_of(trainer) == arrays_of(made.trainer)  # type: ignore[arg-type]


def test_validation_split_takes_the_last() -> None:
    x, y = data()
    made = model()
    history = made.fit(x, y, 8, 2, verbose=0, validation_split=0.25).history
    loss, accuracy = made.evaluate(x[45:], y[45:])
    assert history["val_loss"][-1] == pytest.approx(loss, rel=1e-6)
    assert history["val_accuracy"][-1] == accuracy
    other = model()
    other.fit(x[:45], y[:45], 8, 2, verbose=0)
    assert arrays_of(other.trainer) == arrays_of(made.trainer)  # type: ignore[arg-type]


def test_one_hot_labels_train_like_integers() -> None:
    x, y = data()
    losses = []
    for loss, labels in (
        ("sparse_categorical_crossentropy", y),
        ("sparse_categorical_crossentropy", y[:, None].astype(np.uint8)),
        ("categorical_crossentropy", np.eye(4)[y]),
        ("categorical_crossentropy", np.eye(4, dtype=np.int64)[y]),
    ):
        history = model(loss=loss).fit(x, labels, 8, 3, verbose=0).history
        losses.append([*history["loss"], *history["accuracy"]])
    for other in losses[1:]:
        np.testing.assert_allclose(other, losses[0], rtol=1e-4)


@pytest.mark.parametrize("loss", ["mse", "mean_absolute_error", "binary_crossentropy"])
def test_numbers_as_labels(loss: str) -> None:
    x, y = data()
    fc.manual_seed(0)
    made = KerasStyle(nn.Sequential(nn.Flatten(), nn.Linear(36, 1)))
    made.compile("rmsprop", loss, metrics=["binary_accuracy", "mse", "mae"])
    history = made.fit(x, (y % 2), 8, 40, verbose=0, validation_split=0.2).history
    assert set(history) == {
        *("loss", "val_loss", "learning_rate"),
        *("binary_accuracy", "mse", "mae", "val_binary_accuracy", "val_mse", "val_mae"),
    }
    assert history["loss"][-1] < 0.8 * history["loss"][0]
    out = made.predict(x[48:])[:, 0]
    assert history["val_mse"][-1] == pytest.approx(np.mean((out - y[48:] % 2) ** 2), rel=1e-5)
    assert history["val_mae"][-1] == pytest.approx(np.mean(abs(out - y[48:] % 2)), rel=1e-5)
    expected = np.mean((out > 0) == (y[48:] % 2 == 1))
    assert history["val_binary_accuracy"][-1] == pytest.approx(expected)


def test_several_outputs(tmp_path: Path) -> None:
    x, y = data()
    fc.manual_seed(0)
    net = nn.MultiTask(nn.Flatten(), {"quarter": nn.Linear(36, 4), "right": nn.Linear(36, 1)})
    made = KerasStyle(net)
    made.compile(
        "adam",
        {"quarter": "sparse_categorical_crossentropy", "right": "mse"},
        metrics={"quarter": {"top2": TopK(2)}, "all": "accuracy"},
        loss_weights={"right": 0.5},
        out_dir=tmp_path,
    )
    labels = {"quarter": y, "right": y % 2}
    history = made.fit(x, labels, 8, 3, verbose=0, validation_split=0.2).history
    assert {"quarter_loss", "val_right_loss", "val_quarter_accuracy", "val_quarter_top2"} <= set(
        history
    )
    total = history["val_quarter_loss"][-1] + 0.5 * history["val_right_loss"][-1]
    assert history["val_loss"][-1] == pytest.approx(total, rel=1e-5)
    assert set(made.predict(x)) == {"quarter", "right"}
    assert (tmp_path / "last.safetensors").exists()
    joint = made.evaluate(x, labels, return_dict=True)
    assert joint["quarter_loss"] > 0


def test_callbacks_weights_and_data_sets() -> None:
    made = model(metrics=None)
    val = small_data(7)
    stopping = EarlyStopping("val_loss", 1, min_delta=10.0)
    history = made.fit(small_data(), batch_size=8, epochs=9, verbose=0, validation_data=val,
                       callbacks=[stopping])  # fmt: skip
    assert len(history.epoch) == 2 and set(history.history) == {"loss", "val_loss", "learning_rate"}
    assert made.trainer is not None and made.trainer.callbacks == []
    assert made.evaluate(val) == history.history["val_loss"][-1]
    x, y = data()
    weighted = model().fit(x, y, 8, 1, verbose=0, class_weight={0: 5.0}).history["loss"]
    assert weighted != model().fit(x, y, 8, 1, verbose=0).history["loss"]


def test_verbose(capsys: pytest.CaptureFixture[str]) -> None:
    x, y = data()
    model().fit(x, y, verbose=0)
    assert capsys.readouterr() == ("", "")
    model().fit(x, y)
    assert capsys.readouterr().out.startswith("epoch 1/1")


@pytest.mark.parametrize(
    ("call", "error", "match"),
    [
        (lambda m, x, y: KerasStyle(3), DTypeError, "net is a int"),
        (lambda m, x, y: KerasStyle(m.net).fit(x, y), ShapeError, "fit: call compile first"),
        (lambda m, x, y: m.compile("adam"), ShapeError, "a loss is needed"),
        (lambda m, x, y: m.compile("best", "mse"), ShapeError, "optimizer must be one of 'sgd'"),
        (lambda m, x, y: m.compile("sgd", "ce"), ShapeError, "loss must be one of"),
        (lambda m, x, y: m.compile("sgd", "mse", ["f2"]), ShapeError, "metrics must be one of"),
        (lambda m, x, y: m.compile("sgd", "mse", [3]), DTypeError, "a metric is a int"),
        (lambda m, x, y: m.compile("sgd", "mse", "mae"), DTypeError, "metrics must be a list"),
        (lambda m, x, y: m.fit(x, y[:-1]), ShapeError, r"y has shape \(59,\), expected 60"),
        (lambda m, x, y: m.fit(x[0, 0], y), ShapeError, r"x must be \(N, C, H, W\)"),
        (lambda m, x, y: m.fit(x.astype(str), y), DTypeError, "x must be images"),
        (lambda m, x, y: m.fit(x, y.astype(str)), DTypeError, "y must be numbers"),
        (lambda m, x, y: m.fit(x, y, validation_split=1.0), ShapeError, "leaves no images"),
        (lambda m, x, y: m.fit(x, y, validation_split=2), ShapeError, "validation_split"),
        (lambda m, x, y: m.fit([], validation_split=0.5), ShapeError, "is for arrays"),
        (lambda m, x, y: m.fit(x, y, batch_size=0), ShapeError, "batch_size"),
        (lambda m, x, y: m.fit(x, y, epochs=-1), ShapeError, "epochs"),
        (lambda m, x, y: m.fit(x, y, validation_data=x), DTypeError, "validation_data must be"),
        (lambda m, x, y: m.fit(x, y + 9, verbose=0), ShapeError, "cross_entropy"),
    ],
)
def test_bad_calls(call: Any, error: Any, match: str) -> None:
    x, y = data()
    with pytest.raises(error, match=match):
        call(model(), x, y)


def test_weights_of_images() -> None:
    """As Keras has them: the loss of an epoch is the sum of weight * loss over the number of images."""
    x, y = data()
    weights = np.random.default_rng(2).integers(0, 4, 60).astype(float)
    fc.manual_seed(5)
    net = nn.Sequential(nn.Flatten(), nn.Linear(36, 4))
    first = {k: v.copy() for k, v in net.state_dict().items()}
    made = KerasStyle(net)
    made.compile(optimizer="sgd", loss="sparse_categorical_crossentropy")
    history = made.fit(x, y, batch_size=60, verbose=0, sample_weight=weights).history
    scores = x.reshape(60, 36).astype(float) @ first["1.weight"].T.astype(float) + first["1.bias"]
    shares = np.exp(scores) / np.exp(scores).sum(axis=1, keepdims=True)
    losses = -np.log(shares[np.arange(60), y])
    assert history["loss"][0] == pytest.approx((weights * losses).sum() / 60, rel=1e-5)
    slope = shares - np.eye(4)[y]
    expected = first["1.bias"] - 0.01 * (weights[:, None] * slope).sum(axis=0) / 60
    np.testing.assert_allclose(net.state_dict()["1.bias"], expected, rtol=1e-4, atol=1e-7)


def test_weights_of_images_are_a_trainers() -> None:
    x, y = data()
    weights = np.random.default_rng(2).uniform(0, 2, 60)
    made = model(seed=4)
    made.fit(x, y, batch_size=8, epochs=2, verbose=0, sample_weight=weights, validation_split=0.25)
    fc.manual_seed(5)
    net = small_net()
    trainer = Trainer(net, F.cross_entropy, fc.optim.Adam(net.parameters(), lr=0.001))
    loader = Loader(
        ArrayDataset(x[:45], y[:45], weights=weights[:45]),
        8,
        shuffle=True,
        seed=4,
        transform=lambda images: images.astype(np.float32),
    )
    trainer.fit(loader, epochs=2, progress=False)
    assert arrays_of(trainer) == arrays_of(made.trainer)  # type: ignore[arg-type]
    with pytest.raises(ShapeError, match=r"KerasStyle\.fit: expected a weight for each of 60"):
        made.fit(x, y, sample_weight=weights[:3])
    with pytest.raises(ShapeError, match="sample_weight is for arrays x and y"):
        made.fit(loader, sample_weight=weights)


def test_the_folder_of_a_run(tmp_path: Path) -> None:
    pytest.importorskip("safetensors")
    (x, y), (x_val, y_val) = data(), data(20, 9)
    made = model(out_dir=tmp_path)
    made.fit(x, y, batch_size=8, epochs=2, verbose=0, validation_data=(x_val, y_val))
    found = made.evaluate_parts({"train": (x, y), "dev": (x_val, y_val)}, human=0.0)
    assert found.errors["dev"] == pytest.approx(1 - made.evaluate(x_val, y_val)[1])
    errors, images, notes = read_evaluations(tmp_path)
    assert errors == found.errors and images == {"train": 60, "dev": 20} and not notes
    again = made.evaluate_parts({"dev": [(x_val[:, None], y_val)], "train": (x, y)})
    assert again.errors["dev"] == found.errors["dev"]
