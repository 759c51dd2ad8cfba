from __future__ import annotations

import dataclasses
import functools
import gzip
import hashlib
import http.server
import shutil
import sys
import threading
from pathlib import Path

import numpy as np
import pytest

from fastconv.data import cache_folder, load_dataset
from fastconv.data.catalogue import DATASETS
from fastconv.errors import FormatError
from tests.data.helpers import FILES, idx_bytes, small_split, write_split

NAMES = ["fashion-mnist", "mnist"]


@pytest.fixture(autouse=True)
def nothing_of_this_machine(tmp_path: Path, monkeypatch) -> None:
    """An empty cache, no system folder, and the digests of the synthetic files."""
    monkeypatch.setenv("FASTCONV_DATA_DIR", str(tmp_path / "cache"))
    digests = {
        name: hashlib.sha256(idx_bytes(array)).hexdigest()
        for split in FILES
        for name, array in zip(FILES[split], small_split(split), strict=True)
    }
    for name in NAMES:
        info = dataclasses.replace(
            DATASETS[name],
            system_folders=(str(tmp_path / "system" / name),),
            base_url="http://127.0.0.1:9/nowhere/",
            sha256=digests,
        )
        monkeypatch.setitem(DATASETS, name, info)


@pytest.fixture
def pooch() -> None:
    pytest.importorskip("pooch")


@pytest.fixture
def server(tmp_path: Path):
    """A mirror on this machine: (URL, its folder, the paths asked for)."""
    folder = tmp_path / "mirror"
    folder.mkdir()
    asked: list[str] = []

    class Handler(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *args: object) -> None:
            asked.append(self.path)

    handler = functools.partial(Handler, directory=str(folder))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as httpd:
        thread = threading.Thread(target=httpd.serve_forever, args=(0.01,), daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{httpd.server_address[1]}", folder, asked
        httpd.shutdown()
        thread.join()


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("split", FILES)
@pytest.mark.parametrize("dotted", [False, True])
@pytest.mark.parametrize("packed", [False, True])
def test_data_dir_in_every_spelling(tmp_path, name, split, dotted, packed) -> None:
    images, labels = write_split(tmp_path / "mine", split, dotted=dotted, packed=packed)
    data = load_dataset(name, split, data_dir=tmp_path / "mine")
    np.testing.assert_array_equal(data.images, images)
    np.testing.assert_array_equal(data.labels, labels)
    assert data.classes == DATASETS[name].classes and data.name == name
    assert data.mean == DATASETS[name].mean and data.std == DATASETS[name].std


def test_data_dir_may_hold_other_files_than_the_published(tmp_path: Path) -> None:
    write_split(tmp_path, "train")
    (tmp_path / "train-images-idx3-ubyte").write_bytes(idx_bytes(np.zeros((20, 9, 9), np.uint8)))
    assert load_dataset("mnist", data_dir=str(tmp_path)).image_shape == (1, 9, 9)


def test_data_dir_passes_over_folders_of_a_files_name(tmp_path: Path) -> None:
    (tmp_path / "train-images-idx3-ubyte").mkdir()
    write_split(tmp_path, "train")
    assert len(load_dataset("mnist", data_dir=tmp_path)) == 20


@pytest.mark.parametrize("exists", [True, False])
def test_data_dir_without_the_files(tmp_path: Path, exists: bool) -> None:
    write_split(tmp_path / "system" / "mnist", "train")  # must not be used
    folder = tmp_path / "mine"
    if exists:
        write_split(folder, "test")
    with pytest.raises(FileNotFoundError) as caught:
        load_dataset("mnist", "train", data_dir=folder)
    message = str(caught.value)
    for part in (
        str(folder),
        "mnist (train)",
        "train-images-idx3-ubyte or train-images.idx3",
        "gz",
    ):
        assert part in message


@pytest.mark.parametrize(
    ("images", "labels", "message"),
    [
        (np.zeros((20, 784), np.uint8), np.zeros(20, np.uint8), "2-dimensional uint8, expected 3"),
        (np.zeros((20, 4, 4), np.int8), np.zeros(20, np.uint8), "3-dimensional int8"),
        (np.zeros((20, 4, 4), np.uint8), np.zeros((20, 1), np.uint8), "expected 1-dimensional"),
        (np.zeros((20, 4, 4), np.uint8), np.zeros(19, np.uint8), r"expected \(20,\) for 20 images"),
        (np.zeros((20, 4, 4), np.uint8), np.full(20, 10, np.uint8), "labels span 10 to 10"),
        (np.zeros((20, 0, 4), np.uint8), np.zeros(20, np.uint8), "at least 1"),
    ],
)
def test_files_that_do_not_fit(tmp_path: Path, images, labels, message) -> None:
    for name, array in zip(FILES["test"], (images, labels), strict=True):
        (tmp_path / name).write_bytes(idx_bytes(array))
    with pytest.raises(FormatError, match=message) as caught:
        load_dataset("mnist", "test", data_dir=tmp_path)
    assert str(tmp_path) in str(caught.value)


@pytest.mark.parametrize("name", NAMES)
def test_system_folder_comes_before_the_cache(tmp_path: Path, name: str) -> None:
    write_split(tmp_path / "system" / name, "train")
    write_split(tmp_path / "cache" / name, "train")
    (tmp_path / "cache" / name / "train-images-idx3-ubyte.gz").write_bytes(b"unused")
    assert len(load_dataset(name, "train")) == 20


def test_system_files_are_checked(tmp_path: Path) -> None:
    write_split(tmp_path / "system" / "mnist", "train")
    other = idx_bytes(np.zeros((20, 28, 28), np.uint8))
    (tmp_path / "system" / "mnist" / "train-images-idx3-ubyte.gz").write_bytes(gzip.compress(other))
    with pytest.raises(FormatError, match=r"SHA-256 of the uncompressed contents is .*expected"):
        load_dataset("mnist", "train")


@pytest.mark.parametrize("name", NAMES)
def test_download_once_then_cache(tmp_path, pooch, server, name: str) -> None:
    url, folder, asked = server
    images, labels = write_split(folder, "test")
    for _ in range(2):
        data = load_dataset(name, "test", base_url=url)
        np.testing.assert_array_equal(data.images, images)
        np.testing.assert_array_equal(data.labels, labels)
    assert asked == ["/t10k-images-idx3-ubyte.gz", "/t10k-labels-idx1-ubyte.gz"]
    kept = sorted(p.name for p in (tmp_path / "cache" / name).iterdir())
    assert kept == ["t10k-images-idx3-ubyte.gz", "t10k-labels-idx1-ubyte.gz"]
    assert len(load_dataset(name, "test", download=False)) == 20


def test_damaged_cache_is_replaced(tmp_path, pooch, server) -> None:
    url, folder, _ = server
    write_split(folder, "test")
    cached = tmp_path / "cache" / "mnist"
    shutil.copytree(folder, cached)
    (cached / "t10k-images-idx3-ubyte.gz").write_bytes(b"half a file")
    with pytest.raises(FormatError, match=r"t10k-images-idx3-ubyte\.gz"):
        load_dataset("mnist", "test", download=False)
    assert len(load_dataset("mnist", "test", base_url=url)) == 20
    assert len(load_dataset("mnist", "test", download=False)) == 20


@pytest.mark.parametrize("reply", [b"<html>try again later</html>", b"", "other"])
def test_wrong_download_is_refused_and_not_kept(tmp_path, pooch, server, reply) -> None:
    url, folder, _ = server
    write_split(folder, "test")
    if reply == "other":
        reply = gzip.compress(idx_bytes(np.zeros((20, 28, 28), np.uint8)))
    (folder / "t10k-images-idx3-ubyte.gz").write_bytes(reply)
    with pytest.raises(FormatError, match=f"download of {url}/t10k-images.* refused"):
        load_dataset("mnist", "test", base_url=url)
    assert list((tmp_path / "cache" / "mnist").iterdir()) == []


def test_failed_download_says_what_was_looked_for(tmp_path, pooch, server) -> None:
    url, _, _ = server
    for base in (url, "http://127.0.0.1:9"):
        with pytest.raises(FileNotFoundError) as caught:
            load_dataset("fashion-mnist", "train", base_url=base)
        message = str(caught.value)
        for part in (
            "fashion-mnist (train)",
            str(tmp_path / "system"),
            str(tmp_path / "cache"),
            "train-labels-idx1-ubyte",
            f"downloading {base}/train-images-idx3-ubyte.gz failed: ",
            "--data-dir",
        ):
            assert part in message
    assert list((tmp_path / "cache" / "fashion-mnist").iterdir()) == []


def test_without_pooch(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, "pooch", None)
    with pytest.raises(ImportError, match=r'pip install "fastconv\[io\]"') as caught:
        load_dataset("mnist")
    assert str(tmp_path / "cache") in str(caught.value)
    assert not (tmp_path / "cache").exists()
    with pytest.raises(FileNotFoundError, match="downloads are switched off"):
        load_dataset("mnist", download=False)


def test_cache_folder(tmp_path: Path, monkeypatch) -> None:
    assert cache_folder() == tmp_path / "cache"
    monkeypatch.delenv("FASTCONV_DATA_DIR")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert cache_folder() == tmp_path / "xdg" / "fastconv"
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    for unset in ("relative/path", ""):
        monkeypatch.setenv("XDG_CACHE_HOME", unset)
        assert cache_folder() == tmp_path / "home" / ".cache" / "fastconv"


DEBIAN = Path("/usr/share/datasets/fashion-mnist")


@pytest.mark.skipif(not DEBIAN.is_dir(), reason="dataset-fashion-mnist is not installed")
def test_debian_package(monkeypatch) -> None:
    monkeypatch.undo()
    assert DATASETS["fashion-mnist"].system_folders == (str(DEBIAN),)
    data = load_dataset("fashion-mnist", "test", download=False)
    assert data.images.shape == (10_000, 28, 28)
    assert np.bincount(data.labels).tolist() == [1000] * 10
