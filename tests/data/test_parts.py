"""Parts by name, by folder, by table, and the statistics of images."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest

from fastconv.data import ArrayDataset, load_parts, statistics
from fastconv.errors import FormatError, ShapeError
from tests.data.helpers import write_split

pil = pytest.importorskip("PIL.Image")


def fill(root: Path, counts: dict[str, int], base: int = 0) -> Path:
    """Noise around a brightness of its class's."""
    for label, (name, count) in enumerate(counts.items()):
        (root / name).mkdir(parents=True, exist_ok=True)
        for i in range(count):
            rng = np.random.default_rng([base, label, i])
            image = rng.integers(0, 60, (10, 12, 3)) + 60 * label + 20
            pil.fromarray(image.astype(np.uint8)).save(root / name / f"{i}.png")
    return root


def test_statistics_by_hand() -> None:
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (130, 3, 4, 5), dtype=np.uint8)
    mean, std = statistics(ArrayDataset(images, np.zeros(130, int)))
    np.testing.assert_allclose(mean, images.mean((0, 2, 3)) / 255, rtol=1e-12)
    np.testing.assert_allclose(std, images.std((0, 2, 3)) / 255, rtol=1e-9)
    some = ArrayDataset(images.astype(np.float32), np.zeros(130, int))
    picked = images[np.arange(13) * 10].astype(float)
    mean, std = statistics(some, 13)
    np.testing.assert_allclose(mean, picked.mean((0, 2, 3)), rtol=1e-6)
    np.testing.assert_allclose(std, picked.std((0, 2, 3)), rtol=1e-6)
    flat = ArrayDataset(np.full((3, 1, 2, 2), 255, np.uint8), np.zeros(3, int))
    assert statistics(flat) == ((1.0,), (1 / 255,))
    with pytest.raises(ShapeError, match="no images"):
        statistics(ArrayDataset(images[:0], np.zeros(0, int)))


def test_by_name(tmp_path: Path) -> None:
    for split in ("train", "test"):
        write_split(tmp_path, split)
    parts = load_parts("mnist", data_dir=tmp_path)
    assert list(parts) == ["train", "test"] and len(parts["test"]) == 20
    with pytest.raises(ShapeError, match="data_dir goes with a data set's name"):
        load_parts(tmp_path, data_dir=tmp_path)
    with pytest.raises(ShapeError, match=r"no data set, folder or \.csv file nothing"):
        load_parts("nothing")
    (tmp_path / "file.txt").write_text("")
    with pytest.raises(FormatError, match=r"no folder and no \.csv file"):
        load_parts(tmp_path / "file.txt")


def test_one_folder_is_split(tmp_path: Path) -> None:
    fill(tmp_path, {"a": 20, "b": 30})
    parts = load_parts(tmp_path, size=8, shares={"train": 0.5, "bridge": 0.2, "dev": 0.2}, seed=3)
    assert {name: len(part) for name, part in parts.items()} == {
        **{"train": 25, "bridge": 10, "dev": 10},
        "test": 5,
    }
    mean, std = statistics(parts["train"])
    for part in parts.values():
        assert part.standardize().mean == mean and part.standardize().std == std
        assert part.image_shape == (3, 8, 8) and part.classes == ("a", "b")
    x = parts["train"].standardize()(parts["train"].fetch(np.arange(25)))
    np.testing.assert_allclose(x.mean((0, 2, 3)), 0, atol=1e-4)
    np.testing.assert_allclose(x.std((0, 2, 3)), 1, atol=1e-4)
    whole = load_parts(tmp_path, size=8, whole=True, classes=("b", "a"), mean=(0.5,), std=(1.0,))
    assert list(whole) == ["all"] and len(whole["all"]) == 50
    assert whole["all"].classes == ("b", "a") and whole["all"].standardize().mean == (0.5,)


@pytest.mark.parametrize("dev", ["dev", "val", "valid", "validation"])
def test_folders_of_parts(tmp_path: Path, dev: str) -> None:
    for part, count in (("train", 9), (dev, 2), ("test", 3), ("bridge", 1)):
        fill(tmp_path / part, {"a": count, "b": count}, base=len(part))
    parts = load_parts(tmp_path, size=(6, 7))
    assert {name: len(part) for name, part in parts.items()} == {
        **{"train": 18, "bridge": 2},
        **{"dev": 4, "test": 6},
    }
    for part in parts.values():
        assert part.standardize().mean == statistics(parts["train"])[0]
        assert part.image_shape == (3, 6, 7)


def test_a_class_missing_in_dev(tmp_path: Path) -> None:
    fill(tmp_path / "train", {"a": 3, "b": 3, "c": 3})
    fill(tmp_path / "dev", {"a": 3, "c": 3})
    with pytest.raises(FormatError, match=r"class 'b' has no sub-folder in .*dev"):
        load_parts(tmp_path, size=8)
    with pytest.warns(UserWarning, match="class 'b' has no sub-folder"):
        parts = load_parts(tmp_path, size=8, on_missing="warn")
    assert set(parts["dev"].labels.tolist()) == {0, 2}
    fill(tmp_path / "dev", {"b": 1, "d": 1})
    with pytest.raises(FormatError, match="sub-folders of no class: d"):
        load_parts(tmp_path, size=8)


def test_a_class_may_be_called_train(tmp_path: Path) -> None:
    fill(tmp_path, {"train": 10, "tram": 10})
    parts = load_parts(tmp_path, size=8)
    assert parts["train"].classes == ("train", "tram") and len(parts["train"]) == 16
    fill(tmp_path / "train", {"steam": 3})  # a class with folders inside
    assert load_parts(tmp_path, size=8, whole=True)["all"].classes == ("train", "tram")


def test_tables_are_split(tmp_path: Path) -> None:
    fill(tmp_path, {"a": 10, "b": 10})
    with open(tmp_path / "t.csv", "w", newline="") as file:
        rows = [[f"{name}/{i}.png", name] for name in "ab" for i in range(10)]
        csv.writer(file).writerows([["path", "label"], *rows])
    parts = load_parts(tmp_path / "t.csv", size=8, shares={"train": 10, "dev": 4, "test": 6})
    assert [len(part) for part in parts.values()] == [10, 4, 6]
