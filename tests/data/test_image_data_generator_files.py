"""ImageDataGenerator over files: folders, tables, what is saved; beside Keras's own class."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import fastconv as fc
from fastconv.data.augment import ImageDataGenerator
from tests.support import rng

pil = pytest.importorskip("PIL.Image")

MOVED: dict[str, Any] = {"horizontal_flip": True, "vertical_flip": True, "rescale": 0.5}
NAMES = ("cat", "dog", "emu")


def make_files(root: Path) -> None:
    """Folders of three classes: colour and grey, transparent and whole, of several sizes, some deeper."""
    for label, name in enumerate(NAMES):
        for k in range(3 + label):
            shape = (8 + k, 10 + label, 4 if k % 2 else 3)
            pixels = rng("files", label, k).integers(0, 256, shape, dtype=np.uint8)
            place = root / name / ("zz" if k == 1 else "") / f"{k}.png"
            place.parent.mkdir(parents=True, exist_ok=True)
            pil.fromarray(pixels).save(place)
    pil.fromarray(np.arange(80, dtype=np.uint8).reshape(8, 10)).save(root / "emu" / "grey.bmp")
    (root / "emu" / "notes.txt").write_text("no image")


FILES = ["cat/0.png", "dog/2.png", "emu/0.png", "dog/0.png", "missing.png", "cat/zz/1.png"]
TABLE: dict[str, Any] = {
    "filename": [*FILES, "emu/notes.txt", "emu/2.png", "cat/2.png"],
    "class": ["cat", "dog", "emu", "dog", "cat", "cat", "emu", "emu", "cat"],
    "tags": [["a"], ["b", "a"], ["c"], ("b",), ["a"], ["c", "b"], ["a"], ["a", "c"], ["b"]],
    "age": np.array([1.0, 2.5, 3.0, 0.5, 9.0, 4.0, 9.0, 7.0, 8.0]),
    "weight": np.arange(9),
}
# name: (method, arguments beside the folder)
CASES: dict[str, Any] = {
    "plain": ("directory", {"class_mode": "sparse"}),
    "rgba": ("directory", {"color_mode": "rgba", "interpolation": "bilinear"}),
    "grey": ("directory", {"color_mode": "grayscale", "class_mode": None}),
    "some": ("directory", {"classes": ["emu", "cat"], "class_mode": "binary"}),
    "held": ("directory", {"subset": "validation", "class_mode": "input"}),
    "rest": ("directory", {"subset": "training", "keep_aspect_ratio": True}),
    "table": ("dataframe", {"weight_col": "weight", "interpolation": "lanczos"}),
    "tags": ("dataframe", {"y_col": "tags"}),
    "tags-of": ("dataframe", {"y_col": "tags", "classes": ["c", "b"]}),
    "sparse": ("dataframe", {"class_mode": "sparse", "classes": ["dog", "cat"]}),
    "binary": ("dataframe", {"class_mode": "binary", "classes": ["emu", "cat"]}),
    "raw": ("dataframe", {"class_mode": "raw", "y_col": "age", "subset": "training"}),
    "raws": ("dataframe", {"class_mode": "raw", "y_col": ["age", "weight"]}),
    "both": ("dataframe", {"class_mode": "multi_output", "y_col": ["age", "class"]}),
    "input": ("dataframe", {"class_mode": "input", "subset": "validation"}),
    "none": ("dataframe", {"class_mode": None, "color_mode": "rgba"}),
}
COMMON: dict[str, Any] = {"target_size": (7, 9), "batch_size": 4, "seed": 11}

_KERAS = """
import os, pickle, sys, warnings
os.environ["KERAS_BACKEND"] = "torch"
import numpy as np, pandas
from keras.src.legacy.preprocessing.image import ImageDataGenerator
from tests.data import test_image_data_generator_files as ours
root, saved, out = sys.argv[1:]
warnings.simplefilter("ignore")
made = {}
g = ImageDataGenerator(**ours.MOVED, validation_split=0.4)
for name, (method, options) in ours.CASES.items():
    if method == "directory":
        flow = g.flow_from_directory(root, **ours.COMMON, **options)
    else:
        flow = g.flow_from_dataframe(pandas.DataFrame(ours.TABLE), root, **ours.COMMON, **options)
    made[name] = (flow.filenames, getattr(flow, "class_indices", {}), [next(flow) for _ in range(3)])
flow = g.flow_from_directory(root, **ours.COMMON, save_to_dir=saved, save_prefix="at")
next(flow)
x = np.arange(4 * 6 * 6 * 3, dtype=np.float32).reshape(4, 6, 6, 3)
flow = g.flow((x, [np.arange(4), np.eye(4)]), np.arange(4), 3, seed=2, save_to_dir=saved, save_prefix="in")
made["beside"] = next(flow)
pickle.dump(made, open(out, "wb"))
"""


@pytest.fixture(scope="module")
def root(tmp_path_factory: Any) -> Path:
    path: Path = tmp_path_factory.mktemp("files")
    make_files(path)
    return path


@pytest.fixture(scope="module")
def keras(root: Path, tmp_path_factory: Any) -> Any:
    """What Keras makes, in a process of its own, and the folder with what it saved."""
    import pickle

    folder = tmp_path_factory.mktemp("keras")
    (folder / "saved").mkdir()
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    arguments = [str(root), str(folder / "saved"), str(folder / "made.pickle")]
    run = subprocess.run(
        [sys.executable, "-c", _KERAS, *arguments], env=environment, capture_output=True, text=True
    )
    if "ModuleNotFoundError" in run.stderr or "ImportError" in run.stderr:
        pytest.skip(run.stderr.strip().splitlines()[-1])
    assert run.returncode == 0, run.stderr
    return pickle.loads((folder / "made.pickle").read_bytes()), folder / "saved"


def new(**options: Any) -> ImageDataGenerator:
    return ImageDataGenerator(**MOVED, validation_split=0.4, **options)


def open_flow(name: str, root: Path, table: Any = TABLE) -> Any:
    method, options = CASES[name]
    if method == "directory":
        return new().flow_from_directory(root, **COMMON, **options)
    with pytest.warns(UserWarning, match="left out 2 of 9 in column 'filename'"):
        return new().flow_from_dataframe(table, root, **COMMON, **options)


def same(ours: Any, theirs: Any) -> None:
    """Batches, whatever they consist of."""
    if isinstance(theirs, (list, tuple)):
        assert len(ours) == len(theirs)
        for one, other in zip(ours, theirs, strict=True):
            same(one, other)
        return
    if theirs.dtype.kind in "OUT":
        assert ours.tolist() == theirs.tolist()
        return
    assert ours.shape == theirs.shape and ours.dtype == theirs.dtype
    np.testing.assert_allclose(ours, theirs, atol=1e-4)


@pytest.mark.parametrize("name", CASES)
def test_files_as_keras_has_them(keras: Any, root: Path, name: str) -> None:
    filenames, class_indices, batches = keras[0][name]
    flow = open_flow(name, root)
    assert flow.filenames == filenames and flow.class_indices == class_indices
    assert flow.samples == len(filenames) == len(flow.filepaths)
    for batch in batches:
        same(next(flow), batch)


def test_saved_pictures_as_keras_has_them(keras: Any, root: Path, tmp_path: Path) -> None:
    made, saved = keras
    flow = new().flow_from_directory(root, **COMMON, save_to_dir=tmp_path / "new", save_prefix="at")
    next(flow)
    x = np.arange(4 * 6 * 6 * 3, dtype=np.float32).reshape(4, 6, 6, 3)
    beside = [np.arange(4), np.eye(4)]
    flow = new().flow(
        (x, beside), np.arange(4), 3, seed=2, save_to_dir=tmp_path / "new", save_prefix="in"
    )
    same(next(flow), made["beside"])
    names = sorted(os.listdir(saved))
    assert sorted(os.listdir(tmp_path / "new")) == names and len(names) == 7
    for name in names:
        ours, theirs = (np.asarray(pil.open(folder / name)) for folder in (tmp_path / "new", saved))
        assert ours.shape == theirs.shape and ours.max() == 255
        # Cut to whole numbers: the last bit of a float may decide.
        assert np.abs(ours.astype(int) - theirs).max() <= 1


@pytest.mark.parametrize("channels", [1, 4])
def test_saved_grey_and_opacity(tmp_path: Path, channels: int) -> None:
    x = rng("saved").integers(0, 256, (3, channels, 5, 6), dtype=np.uint8)
    x[:, 0, 0, :2] = 0, 255
    g = ImageDataGenerator(data_format="channels_first")
    g.flow(x, shuffle=False, save_to_dir=tmp_path, save_prefix="p", save_format="tiff")[0]
    names = sorted(os.listdir(tmp_path))
    assert [name.split("_")[:2] for name in names] == [["p", "0"], ["p", "1"], ["p", "2"]]
    for name, image in zip(names, x, strict=True):
        np.testing.assert_array_equal(
            np.asarray(pil.open(tmp_path / name)).reshape(5, 6, -1), image.transpose(1, 2, 0)
        )


def test_tables_of_other_kinds(root: Path) -> None:
    expected = [next(open_flow(name, root)) for name in ("table", "raws")]
    names = np.array(TABLE["filename"])
    kinds = [("filename", names.dtype), ("class", "U3"), ("weight", "i8"), ("age", "f8")]
    structured = np.zeros(9, kinds)
    for column, _ in kinds:
        structured[column] = TABLE[column]
    tables: list[Any] = [structured]
    try:
        import pandas

        tables.append(pandas.DataFrame(TABLE).set_index(np.arange(9) * 7 + 3))
    except ImportError:
        pass
    for table in tables:
        for name, batch in zip(("table", "raws"), expected, strict=True):
            same(next(open_flow(name, root, table)), batch)


def test_links_to_folders(root: Path, tmp_path: Path) -> None:
    for name in ("cat", "dog"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "file.png").symlink_to(root / name / "0.png")
    (tmp_path / "dog" / "more").symlink_to(root / "emu", target_is_directory=True)
    g = ImageDataGenerator()
    assert g.flow_from_directory(tmp_path).filenames == ["cat/file.png", "dog/file.png"]
    assert len(g.flow_from_directory(tmp_path, follow_links=True).filenames) == 8


def test_a_table_of_whole_paths(root: Path) -> None:
    paths = [root / "cat" / "0.png", root / "dog" / "0.png"]
    flow = new().flow_from_dataframe({"filename": paths, "class": ["x", "y"]}, class_mode="sparse")
    x, y = next(flow)
    assert x.shape == (2, 256, 256, 3) and sorted(y) == [0, 1]
    flow = new().flow_from_dataframe(
        {"filename": ["none.png"], "class": ["x"]}, root, validate_filenames=False
    )
    with pytest.raises(FileNotFoundError, match=r"none\.png"):
        next(flow)


G = ImageDataGenerator(validation_split=0.5)
ONE = {"filename": ["cat/0.png", "dog/0.png"], "class": ["a", "b"], "n": [1, 2]}


@pytest.mark.parametrize(
    ("options", "error", "text"),
    [
        ({"x_col": "file"}, fc.ShapeError, "the dict has no column 'file'"),
        ({"x_col": "n"}, fc.DTypeError, "column 'n' has a int, expected names of files"),
        ({"y_col": "label"}, fc.ShapeError, "has no column 'label'"),
        ({"y_col": "n"}, fc.DTypeError, "column 'n' has a int; class_mode 'categorical' takes"),
        ({"y_col": "n", "class_mode": "sparse"}, fc.DTypeError, "class_mode 'sparse' takes names,"),
        ({"class_mode": "other"}, fc.ShapeError, "class_mode must be one of"),
        ({"class_mode": "binary", "classes": ["a"]}, fc.ShapeError, "is for 2 classes, got 1"),
        ({"class_mode": "multi_output"}, fc.DTypeError, "needs a list of columns"),
        ({"weight_col": "class"}, fc.DTypeError, "column 'class' must have numbers as weights"),
        ({"weight_col": "kilos"}, fc.ShapeError, "no column 'kilos'"),
        ({"classes": ["z"]}, fc.FormatError, "the table lists no images"),
        ({"subset": "test"}, fc.ShapeError, "subset must be one of"),
        ({"color_mode": "cmyk"}, fc.ShapeError, "color_mode must be one of"),
        ({"interpolation": "best"}, fc.ShapeError, "interpolation must be one of"),
        ({"target_size": (0, 2)}, fc.ShapeError, "target_size must be at least 1"),
        ({"save_format": "exe"}, fc.ShapeError, "save_format must be one of"),
        ({"save_prefix": "../x"}, fc.ShapeError, "save_prefix must be a part of a file's name"),
        ({"save_to_dir": 3}, fc.DTypeError, "save_to_dir is a int, expected a folder"),
        ({"validate_filenames": 1}, fc.DTypeError, "validate_filenames must be True or False"),
    ],
)
def test_bad_arguments(root: Path, options: Any, error: Any, text: str) -> None:
    with pytest.raises(error, match=f"ImageDataGenerator.flow_from_dataframe: .*{text}"):
        G.flow_from_dataframe(ONE, root, **options)


def test_bad_arguments_of_other_flows(root: Path, tmp_path: Path) -> None:
    x = np.zeros((4, 5, 5, 2), np.uint8)
    with pytest.raises(fc.ShapeError, match="1, 3 or 4 channels, got 2"):
        G.flow(x, save_to_dir=tmp_path)
    with pytest.raises(fc.ShapeError, match=r"x\[1\]\[1\] must have 4 elements"):
        G.flow((x, [np.zeros(4), np.zeros(3)]))
    with pytest.raises(fc.ShapeError, match="save_format 'jpg' has no opacity"):
        G.flow_from_directory(root, color_mode="rgba", save_to_dir=tmp_path, save_format="jpg")
    with pytest.raises(fc.FormatError, match="has no sub-folder 'elk'"):
        G.flow_from_directory(root, classes=["cat", "elk"])
    with pytest.raises(fc.DTypeError, match="follow_links must be True or False"):
        G.flow_from_directory(root, follow_links=2)  # type: ignore[arg-type]
    with pytest.raises(fc.ShapeError, match="column 'class' has 1 rows, expected 2"):
        G.flow_from_dataframe({**ONE, "class": ["a"]}, root)
