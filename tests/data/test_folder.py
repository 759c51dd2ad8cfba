"""Image folders and tables of image files, whole and damaged."""

from __future__ import annotations

import csv
import os
import pickle
import subprocess
import sys
import warnings
from pathlib import Path

import numpy as np
import pytest

from fastconv.data import CsvImages, Dataset, ImageFiles, ImageFolder, Loader, load_image
from fastconv.data.listing import image_files
from fastconv.errors import DTypeError, FormatError, ShapeError

pil = pytest.importorskip("PIL.Image")

CLASSES = ("ant", "bee", "cat")


def picture(key: int, height: int = 30, width: int = 40) -> np.ndarray:
    """A smooth picture, so that JPEG keeps it nearly."""
    y, x = np.mgrid[:height, :width]
    waves = [np.sin(x / 9 + key) + np.cos(y / 7 * (c + 1)) for c in range(3)]
    return ((np.stack(waves, -1) + 2) * 63).astype(np.uint8)


def save(path: Path, array: np.ndarray, **options: object) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    pil.fromarray(array).save(path, **options)
    return path


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Three classes of four images each, PNG."""
    for label, name in enumerate(CLASSES):
        for i in range(4):
            save(tmp_path / "root" / name / f"{i}.png", picture(10 * label + i))
    return tmp_path / "root"


def expected(size: tuple[int, int], resize: str, path: Path) -> np.ndarray:
    """The definition by other means: slices and padding around Pillow's resize."""
    image = pil.open(path).convert("RGB")
    height, width = size
    if resize == "squash":
        return np.asarray(image.resize((width, height), 2))
    if resize == "crop":
        if image.width * height > image.height * width:
            inner = image.height * width / height, image.height
        else:
            inner = image.width, image.width * height / width
        left, top = (image.width - inner[0]) / 2, (image.height - inner[1]) / 2
        box = (left, top, left + inner[0], top + inner[1])
        return np.asarray(image.resize((width, height), 2, box=box))
    scale = min(width / image.width, height / image.height)
    w, h = round(image.width * scale), round(image.height * scale)
    out = np.zeros((height, width, 3), np.uint8)
    top, left = (height - h) // 2, (width - w) // 2
    out[top : top + h, left : left + w] = np.asarray(image.resize((w, h), 2))
    return out


@pytest.mark.parametrize("resize", ["crop", "squash", "pad"])
@pytest.mark.parametrize("size", [(30, 40), (16, 16), (20, 50), (64, 16), (7, 60)])
def test_decoding(root: Path, resize: str, size: tuple[int, int]) -> None:
    data = ImageFolder(root, size=size, resize=resize)
    assert isinstance(data, Dataset) and data.image_shape == (3, *size) and len(data) == 12
    assert data.classes == CLASSES and data.labels.tolist() == [0] * 4 + [1] * 4 + [2] * 4
    got = data.fetch([5, 0, 11])
    assert got.dtype == np.uint8 and got.flags.c_contiguous and got.flags.writeable
    for image, place in zip(got, (5, 0, 11), strict=True):
        path = root / CLASSES[place // 4] / f"{place % 4}.png"
        assert Path(data.paths[place]) == path
        np.testing.assert_array_equal(image.transpose(1, 2, 0), expected(size, resize, path))
    assert data.fetch([]).shape == (0, 3, *size)
    assert "uint8[12, 3, " in repr(data) and data.skipped == {}


def test_grey_images_and_loader(root: Path) -> None:
    data = ImageFolder(root, size=8, channels=1, mean=(0.4,), std=(0.2,))
    assert data.image_shape == (1, 8, 8) and data.mean == (0.4,) and data.std == (0.2,)
    grey = pil.open(data.paths[3]).convert("RGB").convert("L").resize((8, 8), 2, box=(5, 0, 35, 30))
    np.testing.assert_array_equal(data.fetch([3])[0, 0], np.asarray(grey))
    for workers, worker in ((0, "thread"), (2, "thread"), (2, "process")):
        loader = Loader(data, 5, True, seed=3, workers=workers, worker=worker)
        seen = list(loader)
        loader.close()
        assert [len(y) for _, y in seen] == [5, 5, 2]
        order = Loader(data, 5, True, seed=3)
        for (x, y), (again, labels) in zip(seen, order, strict=True):
            np.testing.assert_array_equal(x, again)
            np.testing.assert_array_equal(y, labels)
    other = data.with_statistics((0.5,), (1.0,))
    assert other.mean == (0.5,) and data.mean == (0.4,)


def test_a_large_jpeg_is_decoded_in_a_fraction_of_its_size(tmp_path: Path) -> None:
    big = picture(1, 800, 1200)
    save(tmp_path / "a" / "big.jpg", big, quality=95)
    small = ImageFolder(tmp_path, size=(60, 90)).fetch([0])[0].transpose(1, 2, 0).astype(int)
    whole = np.asarray(pil.fromarray(load_image(tmp_path / "a" / "big.jpg")).resize((90, 60), 2))
    assert np.abs(small - whole).mean() < 1.5 and np.abs(small - whole).max() < 12


def test_modes_and_orientation(tmp_path: Path) -> None:
    grey = picture(3)[..., 0]
    folder = tmp_path / "one"
    save(folder / "a.png", grey)
    rgba = np.dstack([picture(3), np.full((30, 40), 100, np.uint8)])
    save(folder / "b.png", rgba)
    save(folder / "c.png", grey.astype(np.uint16) * 257)
    pil.fromarray(grey).convert("P").save(folder / "d.gif")
    pil.fromarray(picture(3)).convert("CMYK").save(folder / "e.jpg", quality=95)
    exif = pil.Exif()
    exif[0x0112] = 6
    save(folder / "f.png", np.rot90(grey).copy(), exif=exif)
    pil.fromarray(grey > 100).save(folder / "g.png")
    data = ImageFolder(tmp_path, size=None)
    images = data.fetch(np.arange(7))
    assert images.shape == (7, 3, 30, 40)
    for place in (0, 2, 3, 5):
        np.testing.assert_array_equal(images[place], np.repeat(grey[None], 3, 0))
    white = 155 + picture(3).transpose(2, 0, 1) * (100 / 255)
    np.testing.assert_allclose(images[1], white, atol=0.5)
    np.testing.assert_array_equal(images[6, 1], (grey > 100) * 255)
    one = ImageFolder(tmp_path, size=None, channels=1).fetch([0, 2, 6])
    np.testing.assert_array_equal(one[:2, 0], [grey, grey])


def test_images_of_several_sizes_want_one(root: Path) -> None:
    save(root / "bee" / "1.png", picture(1, 31, 40))
    data = ImageFolder(root, size=None)
    assert data.image_shape == (3, 30, 40)
    with pytest.raises(FormatError, match=r"bee/1\.png: 40x31 pixels, expected 40x30 .*`size`"):
        data.fetch([5])


# What a folder may look like


def test_nested_hidden_and_other_files(root: Path) -> None:
    save(root / "ant" / "more" / "deep" / "9.JPEG", picture(9))
    for other in ("notes.txt", ".hidden.png", "._0.png", "noextension", "archive.zip"):
        (root / "ant" / other).write_bytes(b"no image")
    save(root / "ant" / ".thumbs" / "0.png", picture(0))
    save(root / ".git" / "x.png", picture(0))
    (root / "readme.md").write_text("not a class")
    data = ImageFolder(root, size=8)
    assert data.classes == CLASSES and len(data) == 13
    assert [Path(p).name for p in data.paths[:5]] == [
        *("0.png", "1.png", "2.png", "3.png"),
        "9.JPEG",
    ]


def test_links_are_followed_and_loops_are_not(root: Path, tmp_path: Path) -> None:
    save(tmp_path / "elsewhere" / "7.png", picture(7))
    (root / "dog").symlink_to(tmp_path / "elsewhere", target_is_directory=True)
    (root / "ant" / "loop").symlink_to(root / "ant", target_is_directory=True)
    (root / "bee" / "up").symlink_to(root, target_is_directory=True)
    (root / "cat" / "itself.png").symlink_to(root / "cat" / "itself.png")
    names = [path.relative_to(root) for path in image_files(root)]
    assert len(names) == len(set(names)) < 60
    data = ImageFolder(root, size=8, classes=["ant", "dog", "cat", "bee"])
    assert data.classes == ("ant", "dog", "cat", "bee")
    assert (data.labels == 0).sum() == 4 and (data.labels == 1).sum() == 1
    place = data.paths.index(str(root / "cat" / "itself.png"))
    with pytest.raises(OSError, match=r"itself\.png"):
        data.fetch([place])


def test_names_that_are_no_text(tmp_path: Path) -> None:
    folder = os.fsencode(tmp_path) + b"/caf\xe9"
    os.mkdir(folder)
    pil.fromarray(picture(0)).save(os.fsdecode(folder + b"/\xff.png"))
    with open(folder + b"/\xfe.png", "wb") as file:
        file.write(b"damaged")
    with pytest.warns(UserWarning, match=r"skipped 1 of 2: .*caf\\xe9/\\xfe\.png: "):
        data = ImageFolder(tmp_path, size=8, on_error="skip")
    assert data.classes == ("caf\\xe9",) and data.fetch([0]).shape == (1, 3, 8, 8)
    "".join([*data.classes, *data.skipped]).encode()  # no surrogates
    whole = ImageFolder(tmp_path, size=8)
    with pytest.raises(FormatError, match=r"caf\\xe9/\\xfe\.png: not a readable image"):
        whole.fetch([0])


def test_empty_and_missing_folders(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        ImageFolder(tmp_path / "nowhere", size=8)
    (tmp_path / "file").write_text("")
    with pytest.raises(NotADirectoryError):
        ImageFolder(tmp_path / "file", size=8)
    (tmp_path / "empty").mkdir()
    with pytest.raises(FormatError, match=r"ImageFolder: .*empty is empty, or has no sub-folders"):
        ImageFolder(tmp_path / "empty", size=8)
    save(tmp_path / "flat" / "a.png", picture(0))
    with pytest.raises(FormatError, match="has 1 images and has no sub-folders, expected one for"):
        ImageFolder(tmp_path / "flat", size=8)


def test_a_class_without_images(root: Path) -> None:
    (root / "dog").mkdir()
    with pytest.raises(FormatError, match=r"class 'dog' has no images in .*: it is empty; expect"):
        ImageFolder(root, size=8)
    (root / "dog" / "a.heic").write_bytes(b"")
    (root / "eel").mkdir()
    with pytest.raises(FormatError, match=r"'dog' .*it has a\.heic; .*\.png.*\(and 1 more clas"):
        ImageFolder(root, size=8)
    with pytest.warns(UserWarning, match="class 'dog' has no images"):
        data = ImageFolder(root, size=8, on_missing="warn")
    assert data.classes == (*CLASSES, "dog", "eel") and len(data) == 12


def test_classes_make_folders_agree(root: Path, tmp_path: Path) -> None:
    """Dev lacks a class that train has: its labels would mean something else."""
    dev = tmp_path / "dev"
    for name in ("ant", "cat"):
        save(dev / name / "0.png", picture(0))
    assert ImageFolder(dev, size=8).labels.tolist() == [0, 1]
    with pytest.raises(FormatError, match="class 'bee' has no sub-folder in "):
        ImageFolder(dev, size=8, classes=CLASSES)
    with pytest.warns(UserWarning, match="class 'bee' has no sub-folder in "):
        data = ImageFolder(dev, size=8, classes=CLASSES, on_missing="warn")
    assert data.classes == CLASSES and data.labels.tolist() == [0, 2]
    with pytest.raises(FormatError, match="sub-folders of no class: cat; the classes are ant, bee"):
        ImageFolder(dev, size=8, classes=["ant", "bee"])
    with pytest.raises(ShapeError, match="classes has 'ant' twice"):
        ImageFolder(dev, size=8, classes=["ant", "cat", "ant"])


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"size": 0}, ShapeError, "ImageFolder: size"),
        ({"size": (3, 4, 5)}, ShapeError, "ImageFolder: size"),
        ({"size": 2.5}, DTypeError, "ImageFolder: size"),
        ({"size": 99999}, ShapeError, "expected at most 16384"),
        ({"channels": 2}, ShapeError, "channels must be 1 or 3, got 2"),
        ({"resize": "stretch"}, ShapeError, "resize must be 'crop', 'squash' or 'pad'"),
        ({"on_error": "ignore"}, ShapeError, "on_error must be 'raise' or 'skip'"),
        ({"on_missing": "skip"}, ShapeError, "on_missing must be 'raise' or 'warn'"),
        ({"cache": 3}, DTypeError, "cache is a int, expected bool or a folder"),
        ({"classes": "abc"}, DTypeError, "classes is a str"),
        ({"mean": (0.1, 0.2), "std": (1, 1)}, ShapeError, "2 values, expected 1 or 3"),
    ],
)
def test_bad_arguments(root: Path, options, error, message) -> None:
    with pytest.raises(error, match=message):
        ImageFolder(root, **{"size": 8, **options})


def test_bad_indices(root: Path) -> None:
    data = ImageFolder(root, size=8)
    for indices, error in (
        ([12], ShapeError),
        ([-1], ShapeError),
        ([[1]], ShapeError),
        ([0.5], DTypeError),
    ):
        with pytest.raises(error, match="ImageFolder: fetch: indices"):
            data.fetch(indices)


# Damage


@pytest.fixture
def damaged(root: Path) -> Path:
    """The folder with three files that cannot be decoded, each in its way."""
    whole = save(root / "ant" / "cut.jpg", picture(5, 200, 200), quality=95).read_bytes()
    (root / "ant" / "cut.jpg").write_bytes(whole[: len(whole) // 2])
    (root / "bee" / "empty.png").write_bytes(b"")
    (root / "cat" / "page.png").write_text("<html>not found</html>")
    return root


def test_damaged_files_are_errors_when_fetched(damaged: Path) -> None:
    data = ImageFolder(damaged, size=8)
    assert len(data) == 15
    for name in ("ant/cut.jpg", "bee/empty.png", "cat/page.png"):
        place = data.paths.index(str(damaged / name))
        with pytest.raises(FormatError, match=f"{damaged / name}: not a readable image"):
            data.fetch([0, place])
        for workers, worker in ((2, "thread"), (1, "process")):
            loader = Loader(data, 4, workers=workers, worker=worker)
            with pytest.raises(FormatError, match="not a readable image"):
                list(loader)
            loader.close()


@pytest.mark.parametrize("cache", [False, True, "folder"])
def test_damaged_files_are_skipped_and_reported(damaged: Path, tmp_path: Path, cache) -> None:
    cache = tmp_path / "cache" if cache == "folder" else cache
    for _ in range(2):  # the second time from the file
        with pytest.warns(UserWarning, match="ImageFolder: skipped 3 of 15: ") as caught:
            data = ImageFolder(damaged, size=8, on_error="skip", cache=cache)
        assert len(caught) == 1 and caught[0].filename == __file__
        names = {str(Path(path).relative_to(damaged)) for path in data.skipped}
        assert names == {"ant/cut.jpg", "bee/empty.png", "cat/page.png"}
        assert all("not a readable image" in reason for reason in data.skipped.values())
        assert len(data) == 12 and data.labels.tolist() == [0] * 4 + [1] * 4 + [2] * 4
        for place in range(12):
            alone = ImageFiles([data.paths[place]], [0], size=8).fetch([0])
            np.testing.assert_array_equal(data.fetch([place]), alone)


def test_a_class_that_is_skipped_whole(root: Path) -> None:
    for path in (root / "bee").iterdir():
        path.write_bytes(b"")
    with (
        pytest.warns(UserWarning, match="skipped 4 of 12"),
        pytest.raises(FormatError, match="every image of class 'bee' was skipped"),
    ):
        ImageFolder(root, size=8, on_error="skip")
    with pytest.warns(UserWarning) as caught:
        data = ImageFolder(root, size=8, on_error="skip", on_missing="warn")
    assert len(caught) == 2 and data.labels.tolist() == [0] * 4 + [2] * 4
    for path in (*(root / "ant").iterdir(), *(root / "cat").iterdir()):
        path.write_bytes(b"")
    for size in (8, None):
        with warnings.catch_warnings(), pytest.raises(FormatError):
            warnings.simplefilter("ignore")
            ImageFolder(root, size=size, on_error="skip", on_missing="warn")


def test_decompression_bombs_are_refused_before_they_are_decoded(root: Path, monkeypatch) -> None:
    monkeypatch.setattr(pil, "MAX_IMAGE_PIXELS", 1300)
    save(root / "bee" / "bomb.png", picture(0, 30, 50))  # 1,500 pixels, the others 1,200
    monkeypatch.setattr("warnings.warn", lambda *a, **k: None)  # Pillow's own
    data = ImageFolder(root, size=8)
    with pytest.raises(FormatError, match=r"bomb\.png: .*1500 pixels.*1300"):
        data.fetch([data.paths.index(str(root / "bee" / "bomb.png"))])
    skipping = ImageFolder(root, size=8, on_error="skip")
    assert [Path(path).name for path in skipping.skipped] == ["bomb.png"]
    monkeypatch.setattr(pil, "MAX_IMAGE_PIXELS", 700)  # Pillow refuses twice as many itself
    with pytest.raises(FormatError, match=r"bomb\.png"):
        data.fetch([data.paths.index(str(root / "bee" / "bomb.png"))])


# Caches


def test_cache_in_memory(root: Path) -> None:
    data = ImageFolder(root, size=8, cache=True)
    plain = ImageFolder(root, size=8).fetch(np.arange(12))
    np.testing.assert_array_equal(data.fetch([3, 5, 3]), plain[[3, 5, 3]])
    for path in data.paths:
        os.rename(path, path + ".gone")
    np.testing.assert_array_equal(data.fetch([5, 3]), plain[[5, 3]])
    with pytest.raises(FileNotFoundError):
        data.fetch([4])
    copy = pickle.loads(pickle.dumps(data))
    for path in data.paths:
        os.rename(path + ".gone", path)
    np.testing.assert_array_equal(copy.fetch(np.arange(12)), plain)
    got = data.fetch([3])
    got.fill(0)
    np.testing.assert_array_equal(data.fetch([3]), plain[[3]])


def test_cache_on_disk(root: Path, tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    plain = ImageFolder(root, size=8).fetch(np.arange(12))
    data = ImageFolder(root, size=8, cache=cache)
    files = sorted(path.name for path in cache.iterdir())
    assert len(files) == 2 and files[0].endswith(".json") and files[1].endswith(".npy")
    assert isinstance(data._decoded, np.memmap) and len(pickle.dumps(data)) < 5000
    before = [(cache / name).stat().st_mtime_ns for name in files]
    os.rename(root / "bee" / "2.png", root / "kept")
    for made in (data, pickle.loads(pickle.dumps(data))):
        np.testing.assert_array_equal(made.fetch(np.arange(12)), plain)
    os.rename(root / "kept", root / "bee" / "2.png")
    again = ImageFolder(root, size=8, cache=str(cache))
    np.testing.assert_array_equal(again.fetch(np.arange(12)), plain)
    assert [(cache / name).stat().st_mtime_ns for name in files] == before
    # A changed file, another option, a damaged store: made anew.
    save(root / "bee" / "2.png", picture(99))
    changed = ImageFolder(root, size=8, cache=cache)
    np.testing.assert_array_equal(
        changed.fetch(np.arange(12)), ImageFolder(root, size=8).fetch(np.arange(12))
    )
    assert (changed.fetch([6]) != plain[[6]]).any()
    assert len(list(cache.iterdir())) == 4
    ImageFolder(root, size=8, cache=cache, resize="squash")
    assert len(list(cache.iterdir())) == 6
    for path in cache.glob("*.npy"):
        path.write_bytes(path.read_bytes()[:200])
    np.testing.assert_array_equal(
        ImageFolder(root, size=8, cache=cache).fetch([6]), changed_again(root)
    )


def changed_again(root: Path) -> np.ndarray:
    return ImageFolder(root, size=8).fetch([6])


def test_a_cache_that_fails_leaves_nothing(damaged: Path, tmp_path: Path) -> None:
    with pytest.raises(FormatError, match=r"cut\.jpg: not a readable image"):
        ImageFolder(damaged, size=8, cache=tmp_path / "cache")
    assert list((tmp_path / "cache").iterdir()) == []


FULL = """
import resource, sys, warnings
from fastconv.data import ImageFolder
resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
try:
    ImageFolder(sys.argv[1], size=64, cache=sys.argv[2])
except OSError as error:
    print(type(error).__name__, error.errno)
"""


def test_a_full_disk(root: Path, tmp_path: Path, monkeypatch) -> None:
    """As the system refuses to make the file longer, and as it says that there is too little."""
    cache = tmp_path / "cache"
    done = subprocess.run(
        [sys.executable, "-c", FULL, str(root), str(cache)],
        capture_output=True,
        text=True,
        timeout=60,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(p for p in sys.path if p)},
        check=False,
    )
    assert done.stdout.startswith("OSError") and done.returncode == 0, done.stderr
    assert list(cache.iterdir()) == []
    usage = type("Usage", (), {"free": 2000})
    monkeypatch.setattr("shutil.disk_usage", lambda folder: usage)
    with pytest.raises(OSError, match=r"12 decoded images need [\d,]+ bytes, 2,000 are free"):
        ImageFolder(root, size=64, cache=cache)
    assert list(cache.iterdir()) == []


# Tables


def write_table(path: Path, rows: list[list[object]], **options: object) -> Path:
    with open(path, "w", newline="", encoding="utf-8") as file:
        csv.writer(file, **options).writerows(rows)
    return path


def test_tables(root: Path, tmp_path: Path) -> None:
    rows = [["id", "label", "path"]]
    rows += [[i, CLASSES[i % 3], f"root/{CLASSES[i % 3]}/{i // 3}.png"] for i in range(12)]
    table = write_table(tmp_path / "t.csv", rows)
    data = CsvImages(table, size=8)
    assert isinstance(data, Dataset) and data.classes == CLASSES
    assert data.labels.tolist() == [i % 3 for i in range(12)]
    folder = ImageFolder(root, size=8)
    place = folder.paths.index(str(root / "bee" / "2.png"))
    np.testing.assert_array_equal(data.fetch([7]), folder.fetch([place]))
    assert CsvImages(table, size=8, classes=["cat", "bee", "ant"]).labels[:3].tolist() == [2, 1, 0]

    # Numbers, no header, another delimiter, another root, an absolute path, a byte order mark.
    rows = [[f"{CLASSES[i % 3]}/0.png", i % 3 + 2] for i in range(6)] + [
        [],
        [root / "ant/1.png", 0],
    ]
    table = write_table(tmp_path / "n.csv", rows, delimiter=";")
    table.write_bytes(b"\xef\xbb\xbf" + table.read_bytes())
    options = {"size": 8, "header": False, "delimiter": ";"}
    data = CsvImages(table, root, 0, 1, **options)
    assert data.labels.tolist() == [2, 3, 4, 2, 3, 4, 0] and data.classes == tuple("01234")
    with pytest.raises(FormatError, match=r"n\.csv: there is no image of class 'b'$"):
        CsvImages(table, root, 0, 1, classes=list("abcde"), **options)
    with pytest.warns(UserWarning, match="CsvImages: .* there is no image of class 'b'"):
        named = CsvImages(table, root, 0, 1, classes=list("abcde"), on_missing="warn", **options)
    assert named.labels.tolist() == data.labels.tolist() and named.classes == tuple("abcde")


@pytest.mark.parametrize(
    ("text", "options", "error", "message"),
    [
        ("", {}, FormatError, "is empty, expected a line with column names"),
        ("path,label\n", {}, FormatError, "lists no images"),
        ("file,label\na,b\n", {}, FormatError, "no column 'path'; it has file, label"),
        ("path,label\nant/0.png\n", {}, FormatError, "line 2: 1 fields, expected at least 2"),
        ("path,label\nant/0.png,\n", {}, FormatError, "line 2: no label"),
        ("path,label\n,3\n", {}, FormatError, "line 2: no path"),
        ("path,label\nant/0.png,-1\n", {}, FormatError, "line 2: label '-1', expected a number"),
        ("path,label\nant/0.png,3\n", {"classes": CLASSES}, FormatError, "'3', .* or 0 to 2"),
        (
            "path,label\nant/0.png,dog\n",
            {"classes": CLASSES},
            FormatError,
            "'dog', expected one of",
        ),
        ("path,label\nant/0.png,2000000\n", {}, FormatError, "label '2000000'"),
        ("path,label\nant/9.png,1\n", {}, FileNotFoundError, r"line 2: there is no file .*9\.png"),
        ("path,label\nant,1\n", {}, FileNotFoundError, "there is no file"),
        ('path,label\n"ant/0.png,1\n', {}, FormatError, "no table in UTF-8"),
        (b"path,label\n\xff\xfe,1\n", {}, FormatError, "no table in UTF-8"),
        ("a,1", {"header": False}, ShapeError, "expected its place"),
        ("a,1", {"path_column": -1}, ShapeError, "a column is -1"),
        ("a,1", {"path_column": 1.5}, DTypeError, "a column is a float"),
        ("a,1", {"delimiter": ";;"}, ShapeError, "delimiter must be one character"),
        ("a,1", {"classes": "ab"}, DTypeError, "classes is a str"),
        ("a,1", {"on_missing": "no"}, ShapeError, "on_missing must be 'raise' or 'warn', got 'no'"),
        ("path,label\na,b\n", {"classes": ("a", "a")}, ShapeError, "a name twice"),
    ],
)
def test_bad_tables(root: Path, tmp_path: Path, text, options, error, message) -> None:
    table = tmp_path / "t.csv"
    table.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(error, match=message) as caught:
        CsvImages(table, root, size=8, **options)
    assert "CsvImages: " in str(caught.value)


def test_tables_skip_what_is_missing_or_damaged(damaged: Path, tmp_path: Path) -> None:
    rows = [["path", "label"], ["ant/0.png", "x"], ["ant/none.png", "y"], ["ant/cut.jpg", "x"]]
    table = write_table(tmp_path / "t.csv", rows)
    with (
        pytest.warns(UserWarning, match="CsvImages: skipped 2 of 3: "),
        pytest.raises(FormatError, match=r"t\.csv: every image of class 'y' was skipped$"),
    ):
        CsvImages(table, damaged, size=8, on_error="skip")
    with pytest.warns(UserWarning) as caught:
        data = CsvImages(table, damaged, size=8, on_error="skip", on_missing="warn")
    assert "skipped 2 of 3" in str(caught[0].message) and len(caught) == 2
    assert "every image of class 'y' was skipped" in str(caught[1].message)
    assert len(data) == 1 and data.classes == ("x", "y")
    reasons = {Path(path).name: reason for path, reason in data.skipped.items()}
    assert "there is no file" in reasons["none.png"] and "not a readable" in reasons["cut.jpg"]
    with pytest.raises(FileNotFoundError):
        CsvImages(tmp_path / "none.csv", size=8)
