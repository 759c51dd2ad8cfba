from __future__ import annotations

import gzip
import io
import tracemalloc
import zlib
from pathlib import Path

import numpy as np
import pytest

from fastconv.data import load_idx
from fastconv.data.idx import _GzipSource
from fastconv.errors import FormatError
from tests.data.helpers import CODES, idx_bytes, idx_header

IMAGES = np.arange(3 * 4 * 5, dtype=np.uint8).reshape(3, 4, 5)


def write(folder: Path, contents: bytes, name: str = "file-idx") -> Path:
    path = folder / name
    path.write_bytes(contents)
    return path


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("kind", CODES)
@pytest.mark.parametrize("shape", [(7,), (2, 3), (3, 4, 5), (1, 2, 1, 3), (0,), (4, 0, 2)])
def test_round_trip(tmp_path: Path, kind: str, shape: tuple[int, ...], packed: bool) -> None:
    count = int(np.prod(shape))
    expected = (np.arange(count) * 37 - 50).astype(kind).reshape(shape)
    raw = idx_bytes(expected)
    got = load_idx(write(tmp_path, gzip.compress(raw) if packed else raw))
    assert got.dtype == np.dtype(kind) and got.dtype.isnative
    assert got.shape == shape and got.flags.c_contiguous and got.flags.writeable
    np.testing.assert_array_equal(got, expected)


def test_contents_decide_not_the_name(tmp_path: Path) -> None:
    raw = idx_bytes(IMAGES)
    np.testing.assert_array_equal(load_idx(write(tmp_path, raw, "plain.gz")), IMAGES)
    packed = write(tmp_path, gzip.compress(raw), "packed.idx")
    np.testing.assert_array_equal(load_idx(str(packed)), IMAGES)


def test_larger_than_one_chunk_and_several_members(tmp_path: Path) -> None:
    array = np.random.default_rng(0).integers(0, 5, (3, 1000, 1001), dtype=np.uint8)
    raw = idx_bytes(array)
    members = gzip.compress(raw[:100_003]) + gzip.compress(b"") + gzip.compress(raw[100_003:])
    np.testing.assert_array_equal(load_idx(write(tmp_path, members)), array)
    np.testing.assert_array_equal(load_idx(write(tmp_path, raw)), array)


def test_missing_file(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        load_idx(tmp_path / "absent")
    with pytest.raises(IsADirectoryError):
        load_idx(tmp_path)


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize(
    ("contents", "message"),
    [
        (b"", "0 bytes, expected a header"),
        (b"\0\0\x08", "3 bytes, expected a header"),
        (b"\x89PNG\r\n\x1a\n", "not an IDX file: starts with 89 50 4e 47"),
        (b"\0\1\x08\x01\0\0\0\0", "starts with 00 01 08 01"),
        (b"\0\0\x0a\x01\0\0\0\0", "starts with 00 00 0a 01"),
        (b"\0\0\x08\x00\x05", "0 dimensions, expected 1 to 32"),
        (b"\0\0\x08\x21" + b"\0\0\0\1" * 33, "33 dimensions, expected 1 to 32"),
        (idx_bytes(IMAGES)[:9], "truncated header: 9 bytes, expected 16"),
        (idx_header(0x08, 2**31, 2**31, 2**31), "is more than"),
        (idx_header(0x0E, 2**30, 2**30), "is more than"),
        (idx_header(0x08, 0, *[2**32 - 1] * 9), "is more than"),
        (idx_header(0x08, 60000, 2**20), "62914560000 bytes of data"),
        (idx_bytes(IMAGES) + b"\0", "trailing bytes after the 60 bytes"),
    ],
)
def test_bad_files(tmp_path: Path, contents: bytes, message: str, packed: bool) -> None:
    path = write(tmp_path, gzip.compress(contents) if packed else contents)
    with pytest.raises(FormatError) as caught:
        load_idx(path)
    assert message in str(caught.value) and str(path) in str(caught.value)


@pytest.mark.parametrize("missing", [1, 59, 60])
def test_truncated_data(tmp_path: Path, missing: int) -> None:
    raw = idx_bytes(IMAGES)[:-missing]
    with pytest.raises(FormatError, match=r"declares shape \(3, 4, 5\), 60 bytes .* at most"):
        load_idx(write(tmp_path, raw))
    with pytest.raises(FormatError, match=rf"truncated: {60 - missing} bytes of data, expected 60"):
        load_idx(write(tmp_path, gzip.compress(raw)))


@pytest.mark.parametrize("cut", [3, 10, 15, 30, -12, -8, -1])
def test_cut_gzip(tmp_path: Path, cut: int) -> None:
    with pytest.raises(FormatError, match="damaged gzip data"):
        load_idx(write(tmp_path, gzip.compress(idx_bytes(IMAGES))[:cut]))


def test_damaged_gzip(tmp_path: Path) -> None:
    good = gzip.compress(idx_bytes(np.tile(IMAGES, (10, 1, 1))), mtime=0)
    for position in (*range(10, len(good)), 0, 1, 2):
        bad = bytearray(good)
        bad[position] ^= 0x55
        with pytest.raises(FormatError):
            load_idx(write(tmp_path, bytes(bad)))
    with pytest.raises(FormatError, match="damaged gzip data"):
        load_idx(write(tmp_path, good + b"junk"))
    with pytest.raises(FormatError, match="trailing"):
        load_idx(write(tmp_path, good + gzip.compress(b"more")))


def test_gzip_bomb_is_not_inflated(tmp_path: Path) -> None:
    bomb = gzip.compress(idx_bytes(IMAGES) + bytes(200_000_000), compresslevel=1)
    path = write(tmp_path, bomb)
    del bomb
    tracemalloc.start()
    try:
        with pytest.raises(FormatError, match="trailing bytes"):
            load_idx(path)
        assert tracemalloc.get_traced_memory()[1] < 1_000_000
    finally:
        tracemalloc.stop()


def test_declared_bomb_is_refused_before_allocating(tmp_path: Path) -> None:
    path = write(tmp_path, gzip.compress(idx_header(0x08, 2**20, 2**20)))
    with pytest.raises(FormatError, match="holds at most"):
        load_idx(path)


def test_gzip_source_inflates_no_more_than_asked() -> None:
    source = _GzipSource(io.BytesIO(gzip.compress(bytes(10_000_000))))
    inflated: list[int] = []

    class Counting:
        def __init__(self) -> None:
            self.inner = zlib.decompressobj(wbits=31)

        def __getattr__(self, name: str) -> object:
            return getattr(self.inner, name)

        def decompress(self, data: bytes, limit: int) -> bytes:
            out = self.inner.decompress(data, limit)
            inflated.append(len(out))
            return out

    source._inflate = Counting()  # type: ignore[assignment]
    assert len(source.read(7)) <= 7
    assert len(source.read(1)) <= 1
    assert sum(inflated) <= 8
