from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from fastconv.data import class_names, load_dataset
from fastconv.data.bundled import BUNDLED_PATH, load_bundled
from fastconv.errors import FormatError, ShapeError


@pytest.mark.parametrize(("split", "per_class"), [("train", 1000), ("test", 200)])
def test_counts_and_balance(split: str, per_class: int) -> None:
    data = load_dataset("bundled", split)
    assert data.images.shape == (10 * per_class, 28, 28) and data.images.dtype == np.uint8
    assert data.labels.dtype == np.int64
    assert np.bincount(data.labels).tolist() == [per_class] * 10
    assert data.classes == class_names("fashion-mnist") and len(data.classes) == 10
    # A real picture, not zeros: the statistics are near those of the whole set.
    assert data.images.mean() / 255 == pytest.approx(data.mean[0], abs=0.01)
    assert data.images.std() / 255 == pytest.approx(data.std[0], abs=0.01)
    assert len(np.unique(data.images.reshape(len(data), -1), axis=0)) >= len(data) - 2
    x = data.standardize()(data.images[:100])
    assert x.shape == (100, 1, 28, 28) and x.dtype == np.float32


def test_default_is_the_bundled_training_set() -> None:
    assert len(load_dataset()) == 10_000


def test_size_and_licence() -> None:
    assert BUNDLED_PATH.stat().st_size <= 6_000_000
    licence = (BUNDLED_PATH.parent / "LICENSE-fashion-mnist.txt").read_text()
    assert "Copyright (c) 2017 Zalando SE" in licence and "Permission is hereby" in licence


@pytest.mark.parametrize("damage", ["flip", "cut", "longer", "empty"])
def test_damage_is_found(tmp_path: Path, damage: str) -> None:
    contents = bytearray(BUNDLED_PATH.read_bytes())
    if damage == "flip":
        contents[len(contents) // 2] ^= 1
    elif damage == "cut":
        del contents[-1000:]
    elif damage == "longer":
        contents += b"\0"
    else:
        contents.clear()
    path = tmp_path / "bundled.npz"
    path.write_bytes(contents)
    with pytest.raises(FormatError, match=f"damaged: SHA-256 is .* \\({len(contents)} bytes"):
        load_bundled("train", path)


def test_bad_arguments(tmp_path: Path) -> None:
    with pytest.raises(ShapeError, match="'validation', expected 'train' or 'test'"):
        load_dataset("bundled", "validation")
    with pytest.raises(ShapeError, match="takes no data_dir"):
        load_dataset("bundled", data_dir=tmp_path)
    with pytest.raises(ShapeError, match="'cifar', expected one of 'bundled', 'fashion-mnist'"):
        load_dataset("cifar")
    with pytest.raises(ShapeError):
        class_names("cifar")
    assert class_names("mnist") == tuple("0123456789")
