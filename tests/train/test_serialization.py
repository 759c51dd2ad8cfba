"""fc.save and fc.load: round trips, damaged files, writes that fail."""

from __future__ import annotations

import errno
import json
import os
import struct
import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import fastconv as fc
from fastconv import serialization
from fastconv.errors import DTypeError, FormatError

DTYPES = (
    *("bool", "i1", "u1", "i2", "u2", "i4", "u4", "i8", "u8", "f2", "f4", "f8"),
    *(">i2", ">i4", ">f4", ">f8"),
)


@pytest.mark.parametrize("shape", [(), (0,), (3, 0, 2), (1,), (2, 3), (1, 2, 3, 4)])
@pytest.mark.parametrize("dtype", DTYPES)
def test_round_trip(tmp_path: Path, dtype: str, shape: tuple[int, ...]) -> None:
    array = (np.arange(np.prod(shape, dtype=int)).reshape(shape) - 2).astype(dtype)
    fc.save({"a.b": array}, tmp_path / "a.safetensors")
    (name,) = found = fc.load(tmp_path / "a.safetensors")
    assert name == "a.b"
    assert found[name].dtype == np.dtype(dtype).newbyteorder("=")
    assert found[name].shape == shape
    assert found[name].tobytes() == array.astype(array.dtype.newbyteorder("=")).tobytes()
    assert found[name].flags.writeable and found[name].flags.c_contiguous


def test_what_can_be_saved(tmp_path: Path) -> None:
    base = np.arange(24, dtype=np.float32).reshape(2, 3, 4)
    fixed = base.copy()
    fixed.flags.writeable = False
    values: dict[str, Any] = {
        "transposed": base.transpose(2, 0, 1),
        "negative stride": base[:, ::-1],
        "read-only": fixed,
        "tensor": fc.tensor([1.0, 2.0], requires_grad=True),
        "number": np.float64(3.5),
        "special": np.array([np.nan, np.inf, -np.inf, -0.0], np.float32),
        "naïve 名": base[:1],
    }
    fc.save(values, tmp_path / "a", {"k": "v", "名": "\n"})
    found = fc.load(tmp_path / "a")
    assert list(found) == sorted(values)
    for name, value in values.items():
        assert found[name].tobytes() == np.asarray(value).tobytes()
    assert serialization.load_metadata(tmp_path / "a") == {"k": "v", "名": "\n"}
    fc.save({}, tmp_path / "empty")
    assert fc.load(tmp_path / "empty") == {}


def test_module_round_trip(tmp_path: Path) -> None:
    net, other = fc.nn.Linear(3, 2), fc.nn.Linear(3, 2)
    fc.save(net, tmp_path / "net.safetensors")
    other.load_state_dict(fc.load(tmp_path / "net.safetensors"))
    for name, value in net.state_dict().items():
        assert np.array_equal(value, other.state_dict()[name])


def test_readable_by_the_reference_implementation(tmp_path: Path) -> None:
    from safetensors.numpy import load_file

    array = np.arange(6.0).reshape(2, 3).T
    fc.save({"x": array}, tmp_path / "a")
    assert np.array_equal(load_file(tmp_path / "a")["x"], array)


@pytest.mark.parametrize(
    ("value", "metadata", "match"),
    [
        (3, None, "expected a Module or a mapping"),
        ({1: np.zeros(2)}, None, "name 1 is a int"),
        ({"a": [1, 2]}, None, "'a' must be an array"),
        ({"a": np.zeros(2, complex)}, None, "'a' is complex128"),
        ({"a": np.array(["x"])}, None, "'a' is <U1"),
        ({"a": np.zeros(2, object)}, None, "'a' is object"),
        ({"a": np.zeros(2, "M8[s]")}, None, "'a' is datetime64"),
        ({"a": np.zeros(2)}, {"k": 1}, "metadata must map strings to strings"),
    ],
)
def test_what_cannot_be_saved(tmp_path: Path, value: Any, metadata: Any, match: str) -> None:
    with pytest.raises(DTypeError, match=match):
        fc.save(value, tmp_path / "a", metadata)
    assert list(tmp_path.iterdir()) == []


def test_bfloat16_is_widened(tmp_path: Path) -> None:
    values = np.array([[1, -2.5, np.inf], [3e38, -0.0, 1e-40]], np.float32)
    words = (values.view(np.uint32) >> 16).astype("<u2")
    header = {"a": entry("F32", [1], 0, 4), "b": entry("BF16", [2, 3], 4, 16)}
    path = tmp_path / "a.safetensors"
    path.write_bytes(file_of(header, np.float32(7).tobytes() + words.tobytes()))
    found = fc.load(path)
    assert found["a"].tolist() == [7] and found["b"].dtype == np.float32
    assert found["b"].shape == (2, 3) and found["b"].flags.writeable
    assert found["b"].tobytes() == (words.astype(np.uint32) << 16).tobytes()
    with pytest.raises(FormatError, match="key is for checkpoints of PyTorch"):
        fc.load(path, key="a")


@pytest.mark.parametrize("shape", [(), (0, 3), (2, 3)])
def test_bfloat16_is_saved(tmp_path: Path, shape: tuple[int, ...]) -> None:
    """The file holds bfloat16, byte for byte; float32 holds each of its numbers."""
    dtype = pytest.importorskip("ml_dtypes").bfloat16
    numbers = np.array([[1, -2.5, np.inf], [3e38, -0.0, np.nan]], np.float32)
    values = np.resize(numbers, shape).astype(dtype)
    path = tmp_path / "a.safetensors"
    fc.save({"a": values, "b": fc.tensor(values), "c": np.array(values.T).T}, path)
    raw = path.read_bytes()
    assert raw.endswith(3 * values.tobytes()) and raw.count(b'"BF16"') == 3
    for array in fc.load(path).values():
        assert array.dtype == np.float32 and array.shape == shape
        np.testing.assert_array_equal(array, values.astype(np.float32))


def test_networks_in_bfloat16_come_back(tmp_path: Path) -> None:
    pytest.importorskip("ml_dtypes")
    net = fc.models.lenet5().bfloat16()
    fc.save(net, tmp_path / "net")
    other = fc.models.lenet5(dtype="bfloat16")
    other.load_state_dict(fc.load(tmp_path / "net"))
    for a, b in zip(net.parameters(), other.parameters(), strict=True):
        assert a.dtype == b.dtype and a.numpy().tobytes() == b.numpy().tobytes()


def file_of(header: Any, data: bytes = b"", length: int | None = None) -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text) if length is None else length) + text + data


def entry(dtype: str, shape: list[int], begin: int, end: int) -> dict[str, Any]:
    return {"dtype": dtype, "shape": shape, "data_offsets": [begin, end]}


GOOD = file_of({"a": entry("F32", [2], 0, 8)}, bytes(8))
DAMAGED: dict[str, tuple[bytes, str]] = {
    "empty": (b"", "empty or truncated"),
    "seven bytes": (bytes(7), "empty or truncated"),
    "text": (b"These are no weights at all.", "not a safetensors file"),
    "pickle": (b"\x80\x04\x95\x0b\x00\x00\x00\x00\x00\x00\x00" + bytes(20), "a header of"),
    "huge header": (file_of({}, length=2**63), "claims a header"),
    "header over the limit": (file_of({}, length=100_000_001), "claims a header"),
    "header past the end": (file_of({}, length=100), "truncated"),
    "no header": (file_of(b""), "JSON"),
    "header not text": (file_of(b"\xff\xfe"), "UTF-8"),
    "header not JSON": (file_of(b'{"a"'), "JSON"),
    "header a list": (file_of([1]), "JSON"),
    "header nested deeply": (file_of(b"[" * 100_000), "JSON"),
    "half a surrogate": (file_of(b'{"\\ud800":{}}'), "JSON"),
    "metadata not text": (file_of({"__metadata__": {"a": 1}}), "JSON"),
    "truncated data": (GOOD[:-1], "not fully covered"),
    "trailing byte": (GOOD + b"x", "not fully covered"),
    "shape larger than data": (file_of({"a": entry("F32", [3], 0, 8)}, bytes(8)), "shape"),
    "hole": (file_of({"a": entry("F32", [1], 4, 8)}, bytes(8)), "offset"),
    "overlap": (
        file_of({"a": entry("F32", [1], 0, 4), "b": entry("F32", [1], 0, 4)}, bytes(4)),
        "offset",
    ),
    "size overflows": (file_of({"a": entry("F32", [2**62, 8], 0, 8)}, bytes(8)), "overflow"),
    "empty but too large": (file_of({"a": entry("F32", [2**62, 0], 0, 0)}), "too big"),
    "too many dimensions": (file_of({"a": entry("F32", [1] * 70, 0, 4)}, bytes(4)), "dimension"),
    "negative size": (file_of({"a": entry("F32", [-2], 0, 8)}, bytes(8)), "JSON"),
    "no shape": (file_of({"a": {"dtype": "F32", "data_offsets": [0, 8]}}, bytes(8)), "JSON"),
    "unknown type": (file_of({"a": entry("X32", [2], 0, 8)}, bytes(8)), "unknown variant"),
    "bfloat16 cut": (file_of({"a": entry("BF16", [2], 0, 4)}, bytes(3)), "not fully covered"),
    "float8": (file_of({"a": entry("F8_E4M3", [4], 0, 4)}, bytes(4)), "element type F8_E4M3"),
}


@pytest.mark.parametrize("case", DAMAGED)
def test_damaged_files(tmp_path: Path, case: str) -> None:
    content, reason = DAMAGED[case]
    path = tmp_path / "weights.safetensors"
    path.write_bytes(content)
    tracemalloc.start()
    with pytest.raises(FormatError, match=reason) as caught:
        fc.load(path)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert str(path) in str(caught.value)
    assert peak < 5_000_000


@settings(max_examples=150, deadline=None, derandomize=True)
@given(st.data())
def test_any_damage_is_a_format_error_or_harmless(tmp_path_factory: Any, data: Any) -> None:
    path = tmp_path_factory.getbasetemp() / "fuzzed.safetensors"
    content = bytearray(GOOD)
    for _ in range(data.draw(st.integers(1, 4))):
        position = data.draw(st.integers(0, len(content) - 1))
        content[position] = data.draw(st.integers(0, 255))
    path.write_bytes(content[: data.draw(st.integers(0, len(content)))])
    try:
        found = fc.load(path)
    except FormatError as error:
        assert str(path) in str(error)
    else:
        assert sum(a.nbytes for a in found.values()) == 8


def test_missing_files(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"nothing\.safetensors"):
        fc.load(tmp_path / "nothing.safetensors")
    with pytest.raises(IsADirectoryError):
        fc.load(tmp_path)
    with pytest.raises(IsADirectoryError):
        fc.save({}, tmp_path)
    with pytest.raises(FileNotFoundError, match=r"folder/a: there is no folder .*no folder$"):
        fc.save({}, tmp_path / "no folder" / "a")


FAILURES = ("write", "fsync", "replace")


def break_writing(monkeypatch: pytest.MonkeyPatch, where: str, error: BaseException) -> None:
    """Let one of the stages of a write fail, as on a full disk or at Ctrl-C."""

    def fail(*args: Any, **options: Any) -> Any:
        raise error

    if where == "write":
        real = open

        def opened(name: Any, mode: str = "r", *args: Any, **options: Any) -> Any:
            file = real(name, mode, *args, **options)
            if "x" not in mode:
                return file
            file.write(b"half")
            file.close()
            raise error

        monkeypatch.setattr(serialization, "open", opened, raising=False)
    else:
        monkeypatch.setattr(os, where, fail)


@pytest.mark.parametrize("where", FAILURES)
@pytest.mark.parametrize("error", [OSError(errno.ENOSPC, "No space left"), KeyboardInterrupt()])
def test_failed_write_leaves_the_old_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, where: str, error: BaseException
) -> None:
    path = tmp_path / "a.safetensors"
    fc.save({"a": np.arange(3)}, path)
    before = path.read_bytes()
    with monkeypatch.context() as patched:
        break_writing(patched, where, error)
        with pytest.raises(type(error)):
            fc.save({"a": np.zeros(100)}, path)
        with pytest.raises(type(error)):
            fc.save({"a": np.zeros(100)}, tmp_path / "new.safetensors")
    assert path.read_bytes() == before
    assert os.listdir(tmp_path) == ["a.safetensors"]


def test_file_and_folder_reach_the_disk_in_order(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    steps: list[str] = []
    fsync, replace = os.fsync, os.replace

    def note_fsync(fd: int) -> None:
        steps.append("fsync folder" if os.path.isdir(f"/proc/self/fd/{fd}") else "fsync file")
        fsync(fd)

    def note_replace(a: Any, b: Any) -> None:
        assert Path(a).parent == Path(b).parent
        steps.append("replace")
        replace(a, b)

    monkeypatch.setattr(os, "fsync", note_fsync)
    monkeypatch.setattr(os, "replace", note_replace)
    fc.save({"a": np.zeros(3)}, tmp_path / "a")
    assert steps == ["fsync file", "replace", "fsync folder"]


def test_permissions_and_links(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "real" / "a")
    fc.save({"a": np.zeros(3)}, tmp_path / "link")
    assert (tmp_path / "link").is_symlink()
    plain = tmp_path / "plain"
    plain.touch()
    written = tmp_path / "real" / "a"
    assert written.stat().st_mode == plain.stat().st_mode
    long = tmp_path / ("n" * 250)
    fc.save({}, long)
    assert long.exists()


def test_stale_temporaries_are_removed(tmp_path: Path) -> None:
    start = f".fastconv-{os.uname().nodename}-"
    dead, alive = f"{start}{2**22 + 1}-00.tmp", f"{start}{os.getpid()}-00.tmp"
    kept = [alive, ".fastconv-another.machine-1-00.tmp", ".mine.tmp", "a.tmp"]
    for name in [dead, *kept]:
        (tmp_path / name).touch()
    serialization.remove_stale_temporaries(tmp_path)
    assert sorted(os.listdir(tmp_path)) == sorted(kept)
