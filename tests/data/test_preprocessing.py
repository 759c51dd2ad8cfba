"""Preprocess: geometry by hand and PyTorch's resizing, presets, bad input."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from fastconv.data import PRESETS, Preprocess, Scaling, imagenet_classes
from fastconv.errors import DTypeError, FormatError, ShapeError
from tests.support import rng


def picture(height: int, width: int) -> Any:
    return rng("picture", height, width).integers(0, 256, (height, width, 3), dtype=np.uint8)


# What the papers' and packages' own preprocessing computes, per pixel value of red, green and blue.
EXPECTED = {
    "imagenet": lambda x: (x / 255 - [0.485, 0.456, 0.406]) / [0.229, 0.224, 0.225],
    "caffe": lambda x: x[..., ::-1] - [103.939, 116.779, 123.68],
    "tf": lambda x: x / 127.5 - 1,
    "lite": lambda x: (x - 127) / 128,
    "unit": lambda x: x / 255,
}


@pytest.mark.parametrize("preset", PRESETS)
def test_presets(preset: str) -> None:
    image = picture(4, 4)
    got = Preprocess(preset, size=4, resize=4)(image)
    expected = EXPECTED[preset](image.astype(np.float64)).transpose(2, 0, 1)[np.newaxis]
    assert got.shape == (1, 3, 4, 4) and got.dtype == np.float32 and got.flags.c_contiguous
    np.testing.assert_allclose(got, expected, rtol=1e-5, atol=2e-5)


def test_the_centre_is_cut_out() -> None:
    image = picture(10, 7)
    got = Preprocess("unit", size=(4, 6), resize=7)(image)
    np.testing.assert_allclose(got[0], image[3:7, 0:6].transpose(2, 0, 1) / 255, rtol=1e-6)
    got = Preprocess("unit", size=5, resize=7).pixels(image)
    assert np.array_equal(got, image[2:7, 1:6].transpose(2, 0, 1))


def test_enlarging_by_nearest() -> None:
    image = picture(3, 5)
    got = Preprocess("unit", size=6, resize=6, interpolation="nearest").pixels(image)
    assert np.array_equal(got, image.repeat(2, 0).repeat(2, 1)[:, 2:8].transpose(2, 0, 1))


def test_default_sides() -> None:
    assert Preprocess().resize == 256 and Preprocess(size=(32, 28)).resize == 37


@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic"])
@pytest.mark.parametrize("shape", [(300, 400), (401, 263), (100, 131), (64, 500)])
def test_torch_resizes_the_same(shape: tuple[int, int], interpolation: str) -> None:
    torch = pytest.importorskip("torch")
    image = 64 + picture(*shape) // 2  # Pillow cuts bicubic's overshoot off after each direction
    # torchvision's rule: the longer side is rounded down, the cut's place rounded.
    height, width = (int(146 * n / min(shape)) for n in shape)
    x = torch.from_numpy(image.transpose(2, 0, 1)[np.newaxis].astype(np.float32))
    resized = torch.nn.functional.interpolate(
        x, (height, width), mode=interpolation, antialias=True
    ).clamp(0, 255)
    top, left = round((height - 128) / 2.0), round((width - 128) / 2.0)
    expected = resized[0, :, top : top + 128, left : left + 128].numpy()
    got = Preprocess(size=128, interpolation=interpolation).pixels(image)
    # It rounds after each, too.
    assert np.abs(got - expected).max() <= 1.5
    assert np.abs(got - expected).mean() < 0.4


def test_files_and_grey(tmp_path: Path) -> None:
    image = picture(8, 9)
    Image.fromarray(image).save(tmp_path / "a.png")
    prepare = Preprocess("tf", size=8, resize=8, channels=1)
    got = prepare(tmp_path / "a.png")
    grey = np.asarray(Image.fromarray(image).convert("L"))[:, :8]
    np.testing.assert_allclose(got, grey[np.newaxis, np.newaxis] / 127.5 - 1, atol=1e-6)
    assert "size=(8, 8)" in repr(prepare)
    with pytest.raises(FormatError, match="not a readable image"):
        (tmp_path / "b.png").write_bytes(b"nothing")
        prepare(tmp_path / "b.png")


BAD: list[tuple[dict[str, Any], type[Exception], str]] = [
    ({"preset": "vgg"}, ShapeError, "no preset 'vgg'; there are imagenet, caffe"),
    ({"preset": 3}, DTypeError, "preset must be a name or a Scaling, got int"),
    ({"preset": Scaling((0.0,), (0.0,))}, ShapeError, "deviations above 0"),
    ({"preset": Scaling((np.nan,), (1.0,))}, ShapeError, "expected finite means"),
    ({"preset": Scaling((0.0, 1.0), (1.0,))}, ShapeError, "for 2 channels, not 3"),
    ({"channels": 1}, ShapeError, "for 3 channels, not 1"),
    ({"channels": 4}, ShapeError, "channels must be 1 or 3, got 4"),
    ({"size": 0}, ShapeError, "size must be from 1 to 16384, got 0"),
    ({"size": 2**40}, ShapeError, "size must be from 1 to 16384"),
    ({"size": 2.5}, DTypeError, "size must be an integer, got 2.5"),
    ({"size": True}, DTypeError, "size must be an integer, got True"),
    ({"size": (1, 2, 3)}, DTypeError, "size must be an integer"),
    ({"size": 224, "resize": 200}, ShapeError, "resize is 200, expected at least the size"),
    ({"interpolation": "cubic"}, ShapeError, "interpolation must be one of nearest, bilinear"),
]


@pytest.mark.parametrize(("options", "error", "match"), BAD)
def test_bad_options(options: dict[str, Any], error: type[Exception], match: str) -> None:
    with pytest.raises(error, match=f"Preprocess: .*{match}"):
        Preprocess(**options)


def test_bad_pictures() -> None:
    prepare = Preprocess(size=8)
    for image in (np.zeros((8, 8), np.uint8), np.zeros((8, 8, 4), np.uint8)):
        with pytest.raises(ShapeError, match=r"Preprocess: the image has shape .* \(H, W, 3\)"):
            prepare(image)
    with pytest.raises(ShapeError, match="the image has shape"):
        prepare(np.zeros((0, 8, 3), np.uint8))
    with pytest.raises(DTypeError, match="the image is float32, expected uint8"):
        prepare(np.zeros((8, 8, 3), np.float32))
    with pytest.raises(ShapeError, match=r"resized to 9 pixels would be 27000x9"):
        prepare(np.zeros((1, 3000, 3), np.uint8))


def test_imagenet_names() -> None:
    names = imagenet_classes()
    assert len(names) == len(set(names)) == 1000
    known = {0: "tench", 281: "tabby", 285: "Egyptian cat", 967: "espresso", 999: "toilet tissue"}
    assert {i: names[i] for i in known} == known
