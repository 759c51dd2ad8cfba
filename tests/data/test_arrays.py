from __future__ import annotations

import tracemalloc
from pathlib import Path

import numpy as np
import pytest

from fastconv.data import Loader, load_arrays
from fastconv.errors import DTypeError, FormatError, ShapeError

X = np.random.default_rng(0).integers(0, 256, (30, 3, 5, 4), dtype=np.uint8)
Y = np.arange(30) % 4


def test_archives_and_files(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", images=X, labels=Y)
    np.savez_compressed(tmp_path / "b.npz", x_train=X, y_train=Y.astype(np.uint8))
    np.save(tmp_path / "x.npy", X)
    np.save(tmp_path / "y.npy", Y)
    for data in (
        load_arrays(tmp_path / "a.npz", mean=(0.5,), std=(0.2,)),
        load_arrays(tmp_path / "b.npz", images_key="x_train", labels_key="y_train"),
        load_arrays(str(tmp_path / "x.npy"), tmp_path / "y.npy", list("abcd")),
    ):
        np.testing.assert_array_equal(data.fetch(np.arange(30)), X)
        np.testing.assert_array_equal(data.labels, Y)
    assert data.classes == tuple("abcd") and isinstance(data.images, np.memmap)


def test_a_mapped_file_is_read_batch_by_batch(tmp_path: Path) -> None:
    count, size = 400, (3, 64, 64)
    big = np.lib.format.open_memmap(tmp_path / "x.npy", "w+", np.uint8, (count, *size))
    big[:] = np.arange(count, dtype=np.uint16).astype(np.uint8)[:, None, None, None]
    big.flush()
    np.save(tmp_path / "y.npy", np.zeros(count, int))
    tracemalloc.start()
    data = load_arrays(tmp_path / "x.npy", tmp_path / "y.npy")
    first = []
    for x, _ in Loader(data, 8, True, prefetch=0):
        first += np.rint(x[:, 0, 0, 0] * 255).astype(int).tolist()
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert sorted(first) == sorted(np.arange(count) % 256)
    assert peak < big.nbytes / 2


def test_bad_files(tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", X)
    np.save(tmp_path / "y.npy", Y)
    np.savez(tmp_path / "a.npz", pictures=X, labels=Y)
    with pytest.raises(ShapeError, match=r"is no \.npz archive: expected a file of labels too"):
        load_arrays(tmp_path / "x.npy")
    with pytest.raises(FormatError, match="no array 'images'; it has pictures, labels"):
        load_arrays(tmp_path / "a.npz")
    with pytest.raises(FileNotFoundError):
        load_arrays(tmp_path / "none.npy", tmp_path / "y.npy")
    np.save(tmp_path / "objects.npy", np.array([{}, []], object))
    for contents in (b"", b"\x93NUMPY", b"hello", (tmp_path / "x.npy").read_bytes()[:500]):
        (tmp_path / "bad.npy").write_bytes(contents)
        for images, labels in (("bad.npy", "y.npy"), ("x.npy", "bad.npy")):
            with pytest.raises(FormatError, match=r"bad\.npy: not a readable"):
                load_arrays(tmp_path / images, tmp_path / labels)
    with pytest.raises(FormatError, match=r"objects\.npy"):
        load_arrays(tmp_path / "x.npy", tmp_path / "objects.npy")
    whole = (tmp_path / "a.npz").read_bytes()
    (tmp_path / "cut.npz").write_bytes(whole[:-30] + bytes(30))
    with pytest.raises((FormatError, ShapeError)):
        load_arrays(tmp_path / "cut.npz", images_key="pictures")
    damaged = bytearray(whole)
    damaged[len(whole) // 3] ^= 255
    (tmp_path / "flip.npz").write_bytes(damaged)
    with pytest.raises(FormatError, match=r"flip\.npz: not a readable"):
        load_arrays(tmp_path / "flip.npz", images_key="pictures")
    np.save(tmp_path / "f.npy", X.astype(float))
    with pytest.raises(DTypeError, match="images are float64"):
        load_arrays(tmp_path / "f.npy", tmp_path / "y.npy")
    with pytest.raises(ShapeError, match="labels span 0 to 3, expected 0 to 1 for 2 classes"):
        load_arrays(tmp_path / "x.npy", tmp_path / "y.npy", ["a", "b"])
