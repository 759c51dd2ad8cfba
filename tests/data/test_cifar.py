"""CIFAR's binary files, written here by their description."""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import http.server
import io
import pickle
import tarfile
import threading
from pathlib import Path

import numpy as np
import pytest

from fastconv.data import dataset_info, load_cifar, load_dataset
from fastconv.data.catalogue import CIFAR100_COARSE, DATASETS
from fastconv.errors import FormatError, ShapeError

FOLDERS = {"cifar10": "cifar-10-batches-bin", "cifar100": "cifar-100-binary"}
FILES = {
    "cifar10": {
        "train": [f"data_batch_{i}.bin" for i in range(1, 6)],
        "test": ["test_batch.bin"],
    },
    "cifar100": {"train": ["train.bin"], "test": ["test.bin"]},
}


def write(folder: Path, name: str) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """The files; by split images (N, 3, 32, 32) and labels (N,) or (N, 2)."""
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(len(name))
    made = {}
    for split, files in FILES[name].items():
        images, labels = [], []
        for file in files:
            contents = b""
            for _ in range(7):
                image = rng.integers(0, 256, (3, 32, 32), dtype=np.uint8)
                fine = int(rng.integers(100 if name == "cifar100" else 10))
                label = [fine // 5, fine] if name == "cifar100" else [fine]
                contents += bytes(label)
                for channel in range(3):
                    for row in range(32):
                        contents += bytes(image[channel, row].tolist())
                images.append(image)
                labels.append(label)
            (folder / file).write_bytes(contents)
        made[split] = np.stack(images), np.array(labels).squeeze(-1 if name == "cifar10" else ())
    (folder / "readme.html").write_text("about")
    return made


def pack(folder: Path, path: Path) -> Path:
    with tarfile.open(path, "w:gz") as archive:
        archive.add(folder, folder.name)
    return path


@pytest.mark.parametrize("split", ["train", "test"])
@pytest.mark.parametrize("name", FOLDERS)
def test_folders_and_archives(tmp_path: Path, name: str, split: str) -> None:
    made = write(tmp_path / FOLDERS[name], name)
    images, labels = made[split]
    archive = pack(tmp_path / FOLDERS[name], tmp_path / "some.tar.gz")
    for source in (tmp_path / FOLDERS[name], tmp_path, archive, str(archive)):
        data = load_cifar(source, split)
        np.testing.assert_array_equal(data.images, images)
        assert data.images.dtype == np.uint8 and data.image_shape == (3, 32, 32)
        np.testing.assert_array_equal(data.labels, labels if name == "cifar10" else labels[:, 1])
        assert data.classes == dataset_info(name).classes and data.name == name
        assert len(data.mean) == len(data.std) == 3
        if name == "cifar100":
            coarse = load_cifar(source, split, fine=False)
            np.testing.assert_array_equal(coarse.labels, labels[:, 0])
            assert coarse.classes == CIFAR100_COARSE
    x = data.standardize()(data.images)
    assert x.dtype == np.float32 and x.shape == data.images.shape
    for given in (tmp_path, archive):
        again = load_dataset(name, split, data_dir=given, download=False)
        np.testing.assert_array_equal(again.images, images)


def test_names_of_classes() -> None:
    assert (
        dataset_info("cifar10").classes[3] == "cat" and len(dataset_info("cifar10").classes) == 10
    )
    fine = dataset_info("cifar100").classes
    assert len(fine) == len(set(fine)) == 100 and list(fine) == sorted(fine)
    assert len(CIFAR100_COARSE) == 20 and list(CIFAR100_COARSE) == sorted(CIFAR100_COARSE)


def test_both_in_one_folder(tmp_path: Path) -> None:
    for name, folder in FOLDERS.items():
        write(tmp_path / folder, name)
    with pytest.raises(ShapeError, match="has both sets, expected a `name`"):
        load_cifar(tmp_path)
    assert len(load_cifar(tmp_path, name="cifar10")) == 35
    assert len(load_cifar(tmp_path, name="cifar100")) == 7
    with pytest.raises(ShapeError, match="'cifar', expected 'cifar10' or 'cifar100'"):
        load_cifar(tmp_path, name="cifar")
    with pytest.raises(ShapeError, match="'dev', expected 'train' or 'test'"):
        load_cifar(tmp_path, "dev")


def test_missing_files(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"has no data_batch_1\.bin, .* or train\.bin"):
        load_cifar(tmp_path)
    write(tmp_path, "cifar10")
    (tmp_path / "data_batch_4.bin").unlink()
    with pytest.raises(FileNotFoundError, match=r"has no data_batch_4\.bin"):
        load_cifar(tmp_path)
    assert len(load_cifar(tmp_path, "test")) == 7
    packed = pack(tmp_path, tmp_path.parent / "packed.tar.gz")
    with pytest.raises(FileNotFoundError, match=r"packed\.tar\.gz has no data_batch_4\.bin"):
        load_cifar(packed)
    with pytest.raises(FileNotFoundError):
        load_cifar(tmp_path / "nowhere")


class Runs:
    def __reduce__(self):
        return (exec, ("raise SystemExit('code was run')",))


def test_pickles_are_not_read(tmp_path: Path) -> None:
    folder = tmp_path / "cifar-10-batches-py"
    folder.mkdir()
    for file in [*(f"data_batch_{i}" for i in range(1, 6)), "test_batch"]:
        (folder / file).write_bytes(pickle.dumps(Runs()))
    for source in (folder, tmp_path, pack(folder, tmp_path / "p.tar.gz")):
        with pytest.raises(FormatError, match=r"pickles\), which is not .*cifar-10-binary"):
            load_cifar(source)


@pytest.mark.parametrize("packed", [False, True])
def test_damaged_files(tmp_path: Path, packed: bool) -> None:
    def source() -> Path:
        return pack(tmp_path / "c", tmp_path / "c.tar.gz") if packed else tmp_path / "c"

    write(tmp_path / "c", "cifar10")
    file = tmp_path / "c" / "data_batch_2.bin"
    whole = file.read_bytes()
    for contents in (whole[:-1], whole + b"\0", b""):
        file.write_bytes(contents)
        with pytest.raises(FormatError, match=r"data_batch_2\.bin: \d+ bytes, expected a multiple"):
            load_cifar(source())
    damaged = bytearray(whole)
    damaged[3 * 3073] = 10
    file.write_bytes(damaged)
    with pytest.raises(FormatError, match="image 10 of train has label 10, expected 0 to 9"):
        load_cifar(source())


def test_damaged_archives(tmp_path: Path) -> None:
    write(tmp_path / "c", "cifar10")
    whole = pack(tmp_path / "c", tmp_path / "c.tar.gz").read_bytes()
    path = tmp_path / "bad.tar.gz"
    for cut in (0, 5, 100, len(whole) // 2):
        path.write_bytes(whole[:cut])
        with pytest.raises(FormatError, match="damaged archive"):
            load_cifar(path)
    for place in range(20, len(whole), len(whole) // 40):
        flipped = bytearray(whole)
        flipped[place] ^= 0x55
        path.write_bytes(flipped)
        try:
            load_cifar(path)
        except (FormatError, FileNotFoundError):
            continue
        raise AssertionError(f"a damaged byte at {place} was not noticed")
    with tarfile.open(path, "w:gz") as archive:
        large = tarfile.TarInfo("data_batch_1.bin")
        large.size = 20 * 2**30
        archive.fileobj.write(large.tobuf())
    with pytest.raises(FormatError):
        load_cifar(path)
    with tarfile.open(path, "w:gz") as archive:
        link = tarfile.TarInfo("data_batch_1.bin")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        archive.addfile(link)
    with pytest.raises(FileNotFoundError, match="has no data_batch_1"):
        load_cifar(path)


def test_download_once_then_cache(tmp_path: Path, monkeypatch) -> None:
    pytest.importorskip("pooch")
    monkeypatch.setenv("FASTCONV_DATA_DIR", str(tmp_path / "cache"))
    images, _ = write(tmp_path / FOLDERS["cifar10"], "cifar10")["test"]
    mirror = tmp_path / "mirror"
    mirror.mkdir()
    packed = pack(tmp_path / FOLDERS["cifar10"], mirror / "cifar-10-binary.tar.gz").read_bytes()
    info = dataclasses.replace(DATASETS["cifar10"], md5=hashlib.md5(packed).hexdigest())
    monkeypatch.setitem(DATASETS, "cifar10", info)
    asked: list[str] = []

    class Handler(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *args: object) -> None:
            asked.append(self.path)

    handler = functools.partial(Handler, directory=str(mirror))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as httpd:
        thread = threading.Thread(target=httpd.serve_forever, args=(0.01,), daemon=True)
        thread.start()
        url = f"http://127.0.0.1:{httpd.server_address[1]}"
        with pytest.raises(FileNotFoundError, match="downloads are switched off"):
            load_dataset("cifar10", "test", download=False)
        for _ in range(2):
            data = load_dataset("cifar10", "test", base_url=url)
            np.testing.assert_array_equal(data.images, images)
        assert asked == ["/cifar-10-binary.tar.gz"]
        # A damaged copy is fetched anew, or refused; a wrong file is not kept.
        kept = tmp_path / "cache" / "cifar10" / "cifar-10-binary.tar.gz"
        kept.write_bytes(packed[:-50])
        with pytest.raises(FormatError, match=f"MD5 is .*, expected {info.md5}"):
            load_dataset("cifar10", "test", download=False)
        assert len(load_dataset("cifar10", "test", base_url=url)) == 7 and len(asked) == 2
        kept.unlink()
        (mirror / "cifar-10-binary.tar.gz").write_bytes(io.BytesIO(packed).read(1000))
        with pytest.raises(FormatError, match=f"download of {url}/cifar-10.* refused: .*MD5"):
            load_dataset("cifar10", "test", base_url=url)
        assert list(kept.parent.iterdir()) == []
        httpd.shutdown()
        thread.join()
    with pytest.raises(FileNotFoundError, match=r"cifar10 \(test\) is not in .*failed"):
        load_dataset("cifar10", "test", base_url="http://127.0.0.1:9")


def test_published_digests() -> None:
    assert DATASETS["cifar10"].md5 == "c32a1d4ab5d03f1284b67883e8d87530"
    assert DATASETS["cifar100"].md5 == "03b5dce01913d631647c71ecec9e9cb8"
