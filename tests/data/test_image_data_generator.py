"""ImageDataGenerator: parameters, images and batches as Keras's class has them."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import fastconv as fc
import fastconv.functional as F
from fastconv import nn
from fastconv.data.augment import ImageDataGenerator
from fastconv.train import Trainer
from tests.support import check_same_bits_for_threads, rng

EVERYTHING: dict[str, Any] = {
    "rotation_range": 30,
    "width_shift_range": 0.2,
    "height_shift_range": 0.2,
    "shear_range": 15,
    "zoom_range": (0.8, 1.3),
    "channel_shift_range": 40.0,
    "horizontal_flip": True,
    "vertical_flip": True,
    "brightness_range": (0.5, 1.5),
}


def images(n: int = 6, size: int = 12, channels: int = 3) -> Any:
    return rng("images", n, size).integers(0, 256, (n, size, size, channels), dtype=np.uint8)


_KERAS = """
import os, sys
os.environ["KERAS_BACKEND"] = "torch"
import numpy as np
from keras.src.legacy.preprocessing.image import ImageDataGenerator
from tests.data.test_image_data_generator import EVERYTHING, images
made = {}
x = images().astype(np.float32)
for mode in ("nearest", "reflect", "wrap", "constant"):
    g = ImageDataGenerator(**EVERYTHING, fill_mode=mode, cval=20.0)
    for k in range(len(x)):
        parameters = g.get_random_transform(x[k].shape, seed=k)
        made[f"{mode}-{k}-parameters"] = np.array([
            parameters[n] for n in ("theta", "tx", "ty", "shear", "zx", "zy", "flip_horizontal",
                                    "flip_vertical", "channel_shift_intensity", "brightness")])
        parameters["brightness"] = None
        made[f"{mode}-{k}"] = g.apply_transform(x[k], parameters)
for k, factor in enumerate((0.0, 0.4, 1.0, 1.7)):
    made[f"bright-{k}"] = g.apply_transform(x[k], {"brightness": factor})
    made[f"wide-{k}"] = g.apply_transform(x[k] * 2 - 100, {"brightness": factor})
for name, options in (("feature", dict(featurewise_center=True, featurewise_std_normalization=True)),
                      ("sample", dict(samplewise_center=True, samplewise_std_normalization=True)),
                      ("rescale", dict(rescale=1 / 255, featurewise_center=True)),
                      ("zca", dict(featurewise_center=True, zca_whitening=True, zca_epsilon=1e-2))):
    g = ImageDataGenerator(**options)
    g.fit(images(40, 4))
    made[name] = np.stack([g.standardize(np.copy(i)) for i in images(3, 4).astype(np.float32)])
flow = ImageDataGenerator().flow(x, np.arange(6), batch_size=4, seed=3)
for b in range(5):
    made[f"order-{b}"] = next(flow)[1]
np.savez(sys.argv[1], **made)
"""


@pytest.fixture(scope="module")
def keras(tmp_path_factory: Any) -> Any:
    """What Keras makes, in a process of its own."""
    for name in ("scipy", "PIL"):
        pytest.importorskip(name)
    path = tmp_path_factory.mktemp("keras") / "made.npz"
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    run = subprocess.run(
        [sys.executable, "-c", _KERAS, str(path)], env=environment, capture_output=True, text=True
    )
    if "ModuleNotFoundError" in run.stderr or "ImportError" in run.stderr:
        pytest.skip(run.stderr.strip().splitlines()[-1])
    assert run.returncode == 0, run.stderr
    return np.load(path)


NAMES = ("theta", "tx", "ty", "shear", "zx", "zy", "flip_horizontal", "flip_vertical")
NAMES += ("channel_shift_intensity", "brightness")


def test_parameters_and_images_as_keras_has_them(keras: Any) -> None:
    x = images().astype(np.float32)
    for mode in ("nearest", "reflect", "wrap", "constant"):
        g = ImageDataGenerator(**EVERYTHING, fill_mode=mode, cval=20.0)
        for k in range(len(x)):
            theirs = dict(zip(NAMES, keras[f"{mode}-{k}-parameters"], strict=True))
            ours = g.get_random_transform(x[k].shape, seed=k)
            # Keras's code exchanges what it documents as width and height.
            exchanged = {**ours, "tx": ours["ty"], "ty": ours["tx"]}
            for name in NAMES:
                assert exchanged[name] == pytest.approx(theirs[name], abs=1e-12), (mode, k, name)
            del theirs["brightness"]
            off = np.abs(g.apply_transform(x[k], theirs) - keras[f"{mode}-{k}"])
            # Places are rounded to 1/4096 of a pixel; one at a jump of the border may fall beyond it.
            assert (off > 0.3).mean() < 0.02, (mode, k, off.max())


def test_brightness_as_keras_has_it(keras: Any) -> None:
    x, g = images().astype(np.float32), ImageDataGenerator()
    for k, factor in enumerate((0.0, 0.4, 1.0, 1.7)):
        got = g.apply_transform(x[k], {"brightness": factor})
        np.testing.assert_array_equal(got, keras[f"bright-{k}"])
        got = g.apply_transform(x[k] * 2 - 100, {"brightness": factor})
        # Whole numbers of a range of 510 that was stretched to 255.
        np.testing.assert_allclose(got, keras[f"wide-{k}"], atol=510 / 255 * max(1, factor) + 0.1)


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("feature", {"featurewise_center": True, "featurewise_std_normalization": True}),
        ("sample", {"samplewise_center": True, "samplewise_std_normalization": True}),
        ("rescale", {"rescale": 1 / 255, "featurewise_center": True}),
        ("zca", {"featurewise_center": True, "zca_whitening": True, "zca_epsilon": 1e-2}),
    ],
)
def test_standardizing_as_keras_does(keras: Any, name: str, options: Any) -> None:
    g = ImageDataGenerator(**options)
    g.fit(images(40, 4))
    batch = g.standardize(images(3, 4))
    np.testing.assert_allclose(batch, keras[name], rtol=1e-3, atol=2e-3)
    for one, image in zip(batch, images(3, 4), strict=True):
        np.testing.assert_allclose(g.standardize(image), one, atol=1e-4)


def test_order_as_keras_has_it(keras: Any) -> None:
    flow = ImageDataGenerator().flow(images(), np.arange(6), batch_size=4, seed=3)
    for b in range(5):
        np.testing.assert_array_equal(next(flow)[1], keras[f"order-{b}"])


def test_axes_are_what_their_names_say() -> None:
    x = np.zeros((1, 9, 21, 1), np.float32)
    x[0, 4, 10] = 100
    wide = ImageDataGenerator(width_shift_range=0.3, fill_mode="constant")
    tall = ImageDataGenerator(height_shift_range=0.3, fill_mode="constant")
    for seed in range(20):
        rows, columns = np.nonzero(wide.random_transform(x[0], seed)[..., 0])[:2]
        assert (rows == 4).all() and (np.abs(columns - 10) <= 7).all()
        rows, columns = np.nonzero(tall.random_transform(x[0], seed)[..., 0])[:2]
        assert (columns == 10).all() and (np.abs(rows - 4) <= 3).all()
    turned = ImageDataGenerator().apply_transform(x[0], {"theta": 90})
    np.testing.assert_array_equal(turned, x[0])


def test_flips_zoom_and_whole_shifts() -> None:
    x = images(400, 5)
    y = ImageDataGenerator(horizontal_flip=True).flow(x, batch_size=400, shuffle=False, seed=1)[0]
    flipped = (y == x[:, :, ::-1]).all((1, 2, 3))
    assert ((y == x).all((1, 2, 3)) | flipped).all() and 150 < flipped.sum() < 250
    g = ImageDataGenerator(width_shift_range=3, height_shift_range=(0.0, 0.4))
    drawn = g.draw(2000, 5, 5, np.random.RandomState(0))
    assert set(drawn["tx"]) == {-2.0, -1.0, 0.0, 1.0, 2.0}
    assert set(np.round(drawn["ty"], 9)) == {-2.0, 0.0, 2.0}
    assert ImageDataGenerator(zoom_range=0.2).zoom_range == (0.8, 1.2)
    one = g.apply_transform(np.eye(5)[..., None], {"tx": 1})
    np.testing.assert_array_equal(one[:, :4, 0], np.eye(5)[:, 1:])


def test_epochs_repeat_and_go_on() -> None:
    x, y = images(10, 6), np.arange(10)

    def new() -> Any:
        return ImageDataGenerator(**EVERYTHING).flow(x, y, batch_size=4, seed=8)

    flow = new()
    assert len(flow) == 3
    first, second = list(flow), list(flow)
    assert [len(b[1]) for b in first] == [4, 4, 2]
    for epoch in (first, second):
        assert sorted(np.concatenate([b[1] for b in epoch])) == list(range(10))
    assert any((a[1] != b[1]).any() for a, b in zip(first, second, strict=True))
    other = new()
    for images_, labels in [*first, *second]:
        made = next(other)
        np.testing.assert_array_equal(made[0], images_)
        np.testing.assert_array_equal(made[1], labels)
    assert images_.dtype == np.float32 and images_.flags.c_contiguous
    other.reset()
    assert len(other.next()[1]) == 4
    check_same_bits_for_threads(lambda: [b[0] for b in new()])
    fixed = ImageDataGenerator().flow(x, y, batch_size=4, shuffle=False)
    np.testing.assert_array_equal(fixed[2][1], [8, 9])
    with pytest.raises(IndexError):
        fixed[3]


def test_seed_none_follows_manual_seed() -> None:
    x = images(4)
    made = []
    for _ in range(2):
        fc.manual_seed(5)
        made.append(next(ImageDataGenerator(rotation_range=90).flow(x)))
    np.testing.assert_array_equal(*made)


def test_subsets_and_weights() -> None:
    x, y = images(10, 5), np.arange(10) % 2
    g = ImageDataGenerator(validation_split=0.3)
    train = g.flow(x, y, shuffle=False, sample_weight=np.arange(10), subset="training")
    held = g.flow(x, y, shuffle=False, sample_weight=np.arange(10), subset="validation")
    np.testing.assert_array_equal(train[0][2], np.arange(3, 10))
    np.testing.assert_array_equal(held[0][2], np.arange(3))
    np.testing.assert_array_equal(held[0][0], x[:3])
    with pytest.raises(fc.ShapeError, match="have different labels"):
        g.flow(x, y * 0 + np.arange(10), subset="training")
    g.flow(x, np.arange(10), subset="training", ignore_class_split=True)


def test_channels_first_is_the_same_image() -> None:
    x = images()
    last = ImageDataGenerator(**EVERYTHING, rescale=0.5).flow(x, seed=2)
    first = ImageDataGenerator(**EVERYTHING, rescale=0.5, data_format="channels_first").flow(
        x.transpose(0, 3, 1, 2), seed=2
    )
    np.testing.assert_array_equal(next(last).transpose(0, 3, 1, 2), next(first))


def test_a_trainer_takes_a_flow() -> None:
    x, y = images(16, 6), np.arange(16) % 3
    g = ImageDataGenerator(rotation_range=10, rescale=1 / 255, data_format="channels_first")
    flow = g.flow(x.transpose(0, 3, 1, 2), y, batch_size=8, seed=0)
    net = nn.Sequential(nn.Flatten(), nn.Linear(108, 3))
    trainer = Trainer(net, F.cross_entropy, fc.optim.SGD(net.parameters(), lr=0.1))
    trainer.fit(flow, epochs=2, progress=False)
    assert trainer.global_step == 4 and flow.total_batches_seen == 4
    assert trainer.evaluate(flow)["images"] == 16


def test_preprocessing_function_sees_each_image() -> None:
    seen = []

    def function(image: Any) -> Any:
        seen.append(image.shape)
        return image + 1

    g = ImageDataGenerator(preprocessing_function=function, rescale=2.0)
    np.testing.assert_array_equal(next(g.flow(images(3), shuffle=False)), (images(3) + 1.0) * 2)
    assert seen == [(12, 12, 3)] * 3
    assert g.standardize(images(2)).dtype == np.float32
    assert ImageDataGenerator(dtype="float64").standardize(images(2)).dtype == np.float64


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    image = pytest.importorskip("PIL.Image")
    for label, name in enumerate(("cat", "dog")):
        (tmp_path / name).mkdir()
        for k in range(4 + label):
            pixels = np.full((8, 10, 3), 50 * label + 10 * k, np.uint8)
            image.fromarray(pixels).save(tmp_path / name / f"{k}.png")
    return tmp_path


def test_folders(folder: Path) -> None:
    g = ImageDataGenerator(validation_split=0.25)
    flow = g.flow_from_directory(folder, (6, 7), batch_size=5, shuffle=False)
    assert (flow.samples, len(flow), flow.class_indices) == (9, 2, {"cat": 0, "dog": 1})
    x, y = flow[0]
    assert x.shape == (5, 6, 7, 3) and x.dtype == y.dtype == np.float32
    np.testing.assert_array_equal(x[:, 0, 0, 0], [0, 10, 20, 30, 50])
    np.testing.assert_array_equal(y, np.eye(2)[[0, 0, 0, 0, 1]])
    assert flow.filenames[4] == os.path.join("dog", "0.png")
    held = g.flow_from_directory(folder, class_mode="sparse", shuffle=False, subset="validation")
    assert held.filenames == [os.path.join("cat", "0.png"), os.path.join("dog", "0.png")]
    np.testing.assert_array_equal(held[0][1], [0, 1])
    train = g.flow_from_directory(
        folder, class_mode=None, subset="training", color_mode="grayscale"
    )
    assert train.samples == 7 and next(train).shape == (7, 256, 256, 1)
    swapped = g.flow_from_directory(folder, classes=["dog", "cat"], class_mode="binary")
    assert swapped.class_indices == {"dog": 0, "cat": 1}
    x, same = next(g.flow_from_directory(folder, (4, 4), class_mode="input", seed=1))
    np.testing.assert_array_equal(x, same)
    first = ImageDataGenerator(data_format="channels_first").flow_from_directory(folder, (4, 5))
    assert next(first)[0].shape == (9, 3, 4, 5)
    (folder / "cat" / "0.png").write_bytes(b"nothing")
    with pytest.raises(fc.FormatError, match=r"0\.png: not a readable image"):
        next(g.flow_from_directory(folder, shuffle=False))


def test_what_is_implied_is_told() -> None:
    with pytest.warns(UserWarning, match="samplewise_center is on"):
        assert ImageDataGenerator(samplewise_std_normalization=True).samplewise_center
    with pytest.warns(UserWarning, match="featurewise_center is on"):
        assert ImageDataGenerator(zca_whitening=True).featurewise_center
    with pytest.warns(UserWarning, match="needs fit"):
        ImageDataGenerator(featurewise_center=True).standardize(images(1))


G = ImageDataGenerator()


@pytest.mark.parametrize(
    ("call", "error", "text"),
    [
        (lambda: ImageDataGenerator(rotation_range=-1), fc.ShapeError, "rotation_range must be"),
        (lambda: ImageDataGenerator(zoom_range=2), fc.ShapeError, "zoom_range must lie between"),
        (lambda: ImageDataGenerator(zoom_range=(1, 2, 3)), fc.ShapeError, "zoom_range must be a"),
        (lambda: ImageDataGenerator(brightness_range=1), fc.DTypeError, "brightness_range must"),
        (lambda: ImageDataGenerator(fill_mode="mirror"), fc.ShapeError, "fill_mode must be one"),
        (lambda: ImageDataGenerator(width_shift_range=()), fc.ShapeError, "width_shift_range must"),
        (lambda: ImageDataGenerator(horizontal_flip=1), fc.DTypeError, "horizontal_flip must be"),
        (lambda: ImageDataGenerator(data_format="NCHW"), fc.ShapeError, "data_format must be one"),
        (lambda: ImageDataGenerator(validation_split=1.0), fc.ShapeError, "must be below 1"),
        (lambda: ImageDataGenerator(interpolation_order=3), fc.ShapeError, "must be 0 or 1, got 3"),
        (lambda: ImageDataGenerator(dtype="uint8"), fc.DTypeError, "dtype must be float32 or"),
        (lambda: ImageDataGenerator(preprocessing_function=3), fc.DTypeError, "not callable"),
        (lambda: G.flow(images()[0]), fc.ShapeError, "four dimensions"),
        (lambda: G.flow(["a"]), fc.DTypeError, "x must be numbers"),
        (lambda: G.flow(images(), [1]), fc.ShapeError, "y must have 6 elements"),
        (lambda: G.flow(images(), subset="test"), fc.ShapeError, "subset must be one of"),
        (lambda: G.flow(images(), batch_size=0), fc.ShapeError, "batch_size must be at least 1"),
        (lambda: G.flow(images(), seed=-1), fc.ShapeError, "seed must be at least 0"),
        (lambda: G.fit(images()[0]), fc.ShapeError, "fit: expected images of four dimensions"),
        (lambda: G.random_transform(images()), fc.ShapeError, "an image of three dimensions"),
        (lambda: G.flow_from_directory(".", color_mode="cmyk"), fc.ShapeError, "color_mode must"),
        (lambda: G.flow_from_directory(".", class_mode="raw"), fc.ShapeError, "class_mode must"),
        (lambda: G.flow_from_directory(".", (0, 4)), fc.ShapeError, "target_size must be at least"),
        (lambda: G.flow_from_directory("/nonexistent"), FileNotFoundError, "nonexistent"),
    ],
)
def test_bad_arguments(call: Any, error: type[Exception], text: str) -> None:
    with pytest.raises(error, match=text):
        call()
