"""The reader for HDF5 against h5py: every layout of numbers and names that the library writes by default."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import h5py
import ml_dtypes
import numpy as np
import pytest

from fastconv.errors import FormatError
from fastconv.formats.hdf5 import Group, open_hdf5
from tests.support import rng


def check(path: Path, *, op: str = "load") -> None:
    """Every array and every attribute of strings in the file, as h5py reads them."""
    content = path.read_bytes()
    arrays = attributes = 0
    with (
        h5py.File(path) as file,
        open_hdf5(op, str(path), io.BytesIO(content), len(content)) as root,
    ):

        def compare(name: str, item: Any) -> None:
            nonlocal arrays, attributes
            if isinstance(item, h5py.Dataset):
                expected = item[()]
                got = root.array(name)
                assert got.shape == expected.shape and np.array_equal(got, expected), name
                assert got.dtype == expected.dtype.newbyteorder("=") or expected.dtype == bool
                assert got.flags.writeable
                arrays += 1
                return
            group: Group | None = root.get(name)
            assert group is not None
            assert [n for n, _ in group.groups()] == sorted(
                n for n in item if isinstance(item[n], h5py.Group)
            )
            for key, value in item.attrs.items():
                texts = group.texts(key)
                if isinstance(value, (str, bytes)):
                    value = [value]
                assert texts == [v.decode() if isinstance(v, bytes) else str(v) for v in value]
                assert group.text(key) == (texts[0] if texts else None)
                attributes += 1

        file.visititems(compare)
    assert arrays + attributes > 0


KINDS = ("f2", "f4", "f8", ">f4", ">f8", "i1", "u1", "i2", ">i4", "u4", "i8", "u8", "?")
FORMS: list[dict[str, Any]] = [
    {},
    {"chunks": True},
    {"chunks": True, "compression": "gzip"},
    {"chunks": True, "compression": "gzip", "shuffle": True, "fletcher32": True},
    {"chunks": True, "shuffle": True},
]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("form", FORMS, ids=str)
def test_arrays(tmp_path: Path, kind: str, form: dict[str, Any]) -> None:
    random = rng("hdf5", kind)
    with h5py.File(tmp_path / "a", "w") as file:
        for shape in ((5,), (3, 4, 2), (1, 1, 7, 3, 2), (40, 33)):
            data = (random.standard_normal(shape) * 50).astype(kind)
            file.create_dataset(f"g/{len(shape)}/{shape[0]}", data=data, **form)
        file["scalar"] = np.array(3).astype(kind)
        file["empty"] = np.zeros((0, 3), kind)
    check(tmp_path / "a")


@pytest.mark.parametrize("chunks", [(1, 1), (7, 5), (10, 12), (3, 12), (10, 1)])
def test_pieces_that_do_not_divide_the_array(tmp_path: Path, chunks: tuple[int, int]) -> None:
    with h5py.File(tmp_path / "a", "w") as file:
        data = rng("pieces").standard_normal((10, 12))
        file.create_dataset("x", data=data, chunks=chunks, compression="gzip")
        file.create_dataset("many", data=np.arange(3000.0), chunks=(2,))
    check(tmp_path / "a")


def test_compact_arrays(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "a", "w") as file:
        form = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
        form.set_layout(h5py.h5d.COMPACT)
        space, kind = h5py.h5s.create_simple((2, 3)), h5py.h5t.IEEE_F32LE
        data = h5py.h5d.create(file.id, b"x", kind, space, form)
        data.write(h5py.h5s.ALL, h5py.h5s.ALL, np.arange(6, dtype="f4").reshape(2, 3))
    check(tmp_path / "a")


@pytest.mark.parametrize(
    "options", [{}, {"libver": "latest"}, {"track_order": True}, {"libver": "v110"}]
)
def test_groups_and_names(tmp_path: Path, options: dict[str, Any]) -> None:
    with h5py.File(tmp_path / "a", "w", **options) as file:
        for i in range(1500 if not options else 6):
            file.create_group(f"layer{i:05}/{'n' * (i % 90)}x")
        file["a/b/c/d"] = np.arange(3)
        group = file["a/b"]
        group.attrs["words"] = ["one", "zwei", "drei und dreissig" * 30]
        group.attrs["fixed"] = np.array([b"ab", b"c"], "S5")
        group.attrs["one"] = "a word, ä"
        group.attrs["bytes"] = np.bytes_(b"raw")
        group.attrs["empty"] = np.array([], "S1")
        group.attrs["word bytes"] = [b"one", b"two and a half"]
        file["a"].attrs["long"] = [f"layer_{i}" for i in range(1000)]
    check(tmp_path / "a")


def test_bfloat16_is_widened(tmp_path: Path) -> None:
    values = np.array([1, -2.5, np.inf], ml_dtypes.bfloat16)
    with h5py.File(tmp_path / "a", "w") as file:
        data = file.create_dataset("x", data=values.view(np.uint16))
        data.attrs["dtype"] = "bfloat16"  # as Keras marks it
    content = (tmp_path / "a").read_bytes()
    with open_hdf5("load", "a", io.BytesIO(content), len(content)) as root:
        assert root.array("x").dtype == np.float32
        assert np.array_equal(root.array("x"), values.astype(np.float32))


def test_what_is_not_read_is_said(tmp_path: Path) -> None:
    path = tmp_path / "a"

    def refused(match: str) -> None:
        content = path.read_bytes()
        with (
            pytest.raises(FormatError, match=match),
            open_hdf5("load", str(path), io.BytesIO(content), len(content)) as root,
        ):
            root.array("x")

    with h5py.File(path, "w", libver="latest") as file:
        file.create_dataset("x", data=np.arange(10), chunks=(3,))
    refused(r"'x' lies in a form that is not read \(version 4\)")
    with h5py.File(path, "w", libver="latest") as file:
        for i in range(20):
            file[f"x{i}"] = i
    refused("of the library's latest format, which is not read")
    with h5py.File(path, "w") as file:
        file.create_dataset("x", data=np.arange(10), chunks=(3,), compression="lzf")
    refused(r"compressed in a way that is not read \(32000\)")
    with h5py.File(path, "w") as file:
        file.create_dataset("x", (10,), "f4")
    refused("'x' has no contents")
    with h5py.File(path, "w") as file:
        file.create_dataset("x", (10,), "f4", chunks=(5,))[:5] = 1
    refused("'x' has 1 of 2 pieces")
    with h5py.File(path, "w", userblock_size=512) as file:
        file["x"] = 1
    refused("no superblock of a known version")
