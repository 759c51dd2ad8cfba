"""Checkpoints made to do harm: one FormatError each, nothing run, no memory taken."""

from __future__ import annotations

import io
import os
import pickle
import struct
import tracemalloc
import warnings
import zipfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import fastconv as fc
from fastconv.errors import FormatError
from tests.formats.pickled import (
    SIX,
    Code,
    archive,
    call,
    code,
    legacy,
    name,
    pickled,
    storage,
    tensor,
    write,
)

PLAIN = tensor((2, 3), (3, 1))


class Harm:
    """Makes a file when it is unpickled the usual way."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return os.system, (f"touch {self.path}",)


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_no_code_runs(tmp_path: Path, protocol: int) -> None:
    content = pickle.dumps({"a": Harm(tmp_path / "harm")}, protocol)
    with pytest.raises(FormatError, match=r"refers to posix\.system, which is not allowed"):
        fc.load(write(tmp_path, archive(content)))
    pickle.loads(content)
    assert (tmp_path / "harm").exists()  # so it would have


CALLS = {
    "eval": call("builtins", "eval", "1/0"),
    "exec": call("builtins", "exec", "1/0"),
    "python 2's eval": call("__builtin__", "eval", "1/0"),
    "os.system": call("os", "system", "false"),
    "popen": call("subprocess", "Popen", "false"),
    "import": call("importlib", "import_module", "this"),
    "getattr": call("builtins", "getattr", "a", "__class__"),
    "inner name": call("torch", "serialization.os.system", "false"),
    "partial": call("functools", "partial", name("os", "system")),
    "torch.load": call("torch", "load", "a.pth"),
    "torch.hub": call("torch.hub", "load", "a/b", "c"),
    "from the stack": Code(code("os") + code("system") + b"\x93" + code(("false",)) + b"R"),
    "number from the stack": Code(code(1) + code("system") + b"\x93"),
    "a class": call("torch", "Tensor", 1),
    "a storage": call("torch", "FloatStorage", 2**60),
    "a type": call("torch", "float32", 1),
    "a string": Code(code("os.system") + code(("false",)) + b"R"),
    "not a tuple": Code(name("torch", "Size") + code([1]) + b"R"),
    "an object": Code(b"(" + code("false") + b"ios\nsystem\n"),
    "new object": Code(name("torch", "Size") + code(((1,),)) + b"\x81"),
    "extension": Code(b"\x82\x01"),
    "state": Code(code([1]) + code({"append": 2}) + b"b"),
    "state of a tensor": Code(PLAIN + code({"storage": None}) + b"b"),
    "wrapped": call("torch._tensor", "_rebuild_from_type_v2", name("os", "system"), 0, ("a",), {}),
    "wrapped in itself": call(
        "torch._tensor",
        "_rebuild_from_type_v2",
        name("torch._tensor", "_rebuild_from_type_v2"),
        0,
        (0, 0, 0, 0),
        {},
    ),
}


@pytest.mark.parametrize("layout", [archive, legacy])
@pytest.mark.parametrize("case", CALLS)
def test_calls(tmp_path: Path, case: str, layout: Any) -> None:
    path = write(tmp_path, layout({"good": PLAIN, "bad": CALLS[case]}))
    with pytest.raises(FormatError, match=r"not allowed|operation|damaged") as caught:
        fc.load(path)
    assert str(path) in str(caught.value) and len(str(caught.value)) < 600


def stored(kind: str, key: Any, count: Any, *view: Any) -> Code:
    return tensor((1,), (1,), 0, storage(kind, key, count, *view))


TENSORS = {
    "shape too large": tensor((7,), (1,)),
    "huge shape": tensor((2**40,), (1,)),
    "product beyond 64 bits": tensor((2**40, 2**40), (0, 0)),
    "huge repeated shape": tensor((2**50,), (0,)),
    "huge stride": tensor((2, 1), (2**62, 1)),
    "sum of strides beyond 64 bits": tensor((2, 2), (2**62, 2**62)),
    "offset behind the end": tensor((1,), (1,), 6),
    "huge offset": tensor((1,), (1,), 2**62),
    "negative offset": tensor((1,), (1,), -1),
    "negative stride": tensor((2,), (-1,), 3),
    "negative shape": tensor((-1,), (1,)),
    "beyond 64 bits": tensor((2**64,), (1,)),
    "fractions": tensor((1.5,), (1,)),  # type: ignore[arg-type]
    "truth": tensor((True,), (1,)),
    "strides missing": tensor((2, 3), (1,)),
    "many dimensions": tensor((1,) * 70, (1,) * 70),
    "65 dimensions": tensor((1,) * 65, (1,) * 65),
    "empty but too large": tensor((2**62, 0), (1, 1)),
    "no storage": call("torch._utils", "_rebuild_tensor_v2", 1, 0, (1,), (1,), False, {}),
    "arguments missing": call("torch._utils", "_rebuild_tensor_v2", storage("Float", "0", 6)),
    "storage too large": stored("Float", "0", 7),
    "storage too small": stored("Float", "0", 5),
    "huge storage": stored("Float", "0", 2**59),
    "storage beyond 64 bits": stored("Float", "0", 2**62),
    "negative storage": stored("Float", "0", -6),
    "no such storage": stored("Float", "1", 6),
    "path for a storage": stored("Float", "../data/0", 6),
    "absolute path": stored("Float", "/etc/passwd", 6),
    "number for a storage": stored("Float", 0, 6),
    "quantized": stored("QInt8", "0", 24),
    "module for a storage": Code(code(("storage", "Float", "0", "cpu", 6)) + b"Q"),
    "another persistent id": Code(
        code(("module", name("torch", "FloatStorage"), "0", 1, 6)) + b"Q"
    ),
    "short persistent id": Code(code(("storage",)) + b"Q"),
    "stretch too long": stored("Float", "0", 6, ("1", 4, 3)),
    "negative stretch": stored("Float", "0", 6, ("1", -1, 3)),
    "number of many bits": Code(b"\x8a\xff" + b"\x7f" * 255),
    "no array": Code(code("text")),
    "numpy of objects": Code(b"cnumpy\ndtype\n" + code(("O8", False, True)) + b"R"),
    "numpy of a large type": Code(b"cnumpy\ndtype\n" + code(("V1000000000", False, True)) + b"R"),
    "half a numpy array": Code(
        call("numpy.core.multiarray", "_reconstruct", name("numpy", "ndarray"), (0,), b"b")
        + code((1, (2**40,), Code(b"cnumpy\ndtype\n" + code(("f8",)) + b"R"), False, bytes(8)))
        + b"b"
    ),
}


def refused(path: Path, match: str | None = None) -> str:
    """The message of the one error that loading gives, for which hardly any memory is taken."""
    tracemalloc.start()
    try:
        with pytest.raises(FormatError, match=match) as caught:
            fc.load(path)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 8_000_000
    assert str(path) in str(caught.value) and "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("layout", [archive, legacy])
@pytest.mark.parametrize("case", TENSORS)
def test_tensors(tmp_path: Path, case: str, layout: Any) -> None:
    message = refused(write(tmp_path, layout({"good": PLAIN, "bad": TENSORS[case]})))
    assert len(message) < 700 and message.count("load: ") == 1


GOOD = pickled({"a": PLAIN})
PICKLES = {
    "empty": b"",
    "no end": GOOD[:-1],
    "cut": GOOD[:40],
    "nothing on the stack": b"\x80\x02.",
    "no memo": b"\x80\x02h\x07.",
    "no mark": b"\x80\x02u.",
    "a string longer than the file": b"\x80\x02X\xff\xff\xff\x7fabc.",
    "a string of 2**63 bytes": b"\x80\x04\x8d" + struct.pack("<Q", 2**63) + b"abc.",
    "not UTF-8": b"\x80\x02X\x02\x00\x00\x00\xff\xfe.",
    "nested deeply": b"\x80\x02" + b"(" * 100_000 + b".",
    "lists nested deeply": b"\x80\x02" + b"]" * 100_000 + b"a" * 99_999 + b".",
    "tuples nested deeply": b"\x80\x02}" + b")" + b"\x85" * 100_000 + b"Ns.",
    "a list for a key": b"\x80\x02}]Ns.",
    "a list in itself": b"\x80\x02]q\x00h\x00a.",
    "odd dictionary": b"\x80\x02}(Nu.",
    "a set of lists": b"\x80\x04\x8f(]\x90.",
    "a key that is no string": pickled({1: PLAIN}),
    "an old protocol": b"(dp0\nS'a'\np1\nI1\ns.",
    "a list": pickled([PLAIN]),
    "bytes again and again": b"\x80\x02"
    + (code("x" * 5000) + b"q\x01c_codecs\nencode\nq\x02")
    + (b"h\x02h\x01" + code("latin1") + b"\x86R") * 400
    + b".",
    "a long name": b"\x80\x02c" + b"x" * 100_000 + b"\ny\n.",
    "high memo": b"\x80\x02]r\xff\xff\xff\xff.",
}


@pytest.mark.parametrize("case", PICKLES)
def test_pickles(tmp_path: Path, case: str) -> None:
    refused(write(tmp_path, archive(PICKLES[case])))


def zipped(*records: tuple[str, bytes], compression: int = zipfile.ZIP_STORED) -> bytes:
    out = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of two records with one name
        with zipfile.ZipFile(out, "w", compression) as file:
            for record, content in records:
                file.writestr(record, content)
    return out.getvalue()


NUMBERS = ("a/data/0", SIX.tobytes())
DATA = ("a/data.pkl", GOOD)


def lying(content: bytes, at: int, value: int) -> bytes:
    """`content` with another number in the list of records at the end, for the first record."""
    place = content.index(b"PK\x01\x02") + at
    return content[:place] + struct.pack("<I", value) + content[place + 4 :]


ZIPS: dict[str, tuple[bytes, str]] = {
    "cut": (archive({"a": PLAIN})[:-30], "damaged or truncated zip"),
    "cut in half": (archive({"a": PLAIN})[:300], "damaged or truncated zip"),
    "only the start": (b"PK\x03\x04" + bytes(60), "damaged or truncated zip"),
    "empty": (zipped(), "neither PyTorch's nor Keras's"),
    "something else": (zipped(("a.txt", b"hello")), "neither PyTorch's nor Keras's"),
    "two pickles": (zipped(DATA, ("b/data.pkl", GOOD)), "2 records data.pkl"),
    "twice the same": (zipped(DATA, NUMBERS, NUMBERS), "two records are called 'a/data/0'"),
    "code": (zipped(DATA, NUMBERS, ("a/constants.pkl", b"")), "TorchScript"),
    "out of the folder": (zipped(DATA, ("../../etc/passwd", b"x")), "leads out of the archive"),
    "absolute": (zipped(DATA, ("/etc/passwd", b"x")), "leads out of the archive"),
    "backslash": (zipped(DATA, ("a\\..\\b", b"x")), "leads out of the archive"),
    "inner dots": (zipped(DATA, ("a/data/../0", b"x")), "leads out of the archive"),
    "bomb": (
        zipped(DATA, ("a/data/0", bytes(50_000_000)), compression=zipfile.ZIP_DEFLATED),
        "claims 50000000 bytes",
    ),
    "bomb of a pickle": (
        zipped(("a/data.pkl", bytes(50_000_000)), compression=zipfile.ZIP_DEFLATED),
        "claims 50000000 bytes",
    ),
    "claims more": (lying(zipped(DATA, NUMBERS), 24, 2**31), "claims 2147483648 bytes"),
    "claims a little more": (lying(zipped(DATA, NUMBERS), 24, len(GOOD) + 1), "of which"),
    "stored behind the end": (lying(zipped(DATA, NUMBERS), 20, 2**31), "truncated|of which"),
    "encrypted": (lying(zipped(DATA, NUMBERS), 8, 1), "encrypted"),
    "other checksum": (lying(zipped(DATA, NUMBERS), 16, 1), "Bad CRC-32"),
    "wrong place": (lying(zipped(DATA, NUMBERS), 42, 5), "damaged|lies over"),
    "byte order": (archive({"a": PLAIN}, byteorder=b"middle"), "byte order is b'middle'"),
    "no byte order": (archive({"a": PLAIN}, byteorder=b""), "byte order is b''"),
    "storage missing": (zipped(DATA), "no record 'a/data/0'"),
    "storage too long": (zipped(DATA, ("a/data/0", bytes(28))), "has 28 bytes, expected 24"),
    "storage too short": (zipped(DATA, ("a/data/0", bytes(20))), "has 20 bytes, expected 24"),
}


@pytest.mark.parametrize("case", ZIPS)
def test_archives(tmp_path: Path, case: str) -> None:
    content, reason = ZIPS[case]
    refused(write(tmp_path, content), reason)


def test_records_that_share_bytes(tmp_path: Path) -> None:
    # Both records of the list point to the first one's bytes.
    content = bytearray(zipped(DATA, NUMBERS))
    second = content.rindex(b"PK\x01\x02")
    content[second + 42 : second + 46] = content[content.index(b"PK\x01\x02") + 42 :][:4]
    refused(write(tmp_path, bytes(content)), "lies over the one before it|damaged")


LEGACY: dict[str, tuple[bytes, str]] = {
    "version": (legacy({"a": PLAIN}, version=1000), "older than version 0.3"),
    "cut in the numbers": (legacy({"a": PLAIN})[:-1], "truncated"),
    "cut in the count": (legacy({"a": PLAIN})[:-27], "truncated"),
    "cut in the pickles": (legacy({"a": PLAIN})[:60], "truncated"),
    "only the magic": (pickled(0x1950A86A20F9469CFC6C), "truncated"),
    "another magic": (pickled(0x1950A86A20F9469CFC6D) + b"N." * 5, "not a safetensors file"),
    "no list": (legacy({"a": PLAIN}, keys={}), "no list of storages"),
    "unknown storage": (legacy({"a": PLAIN}, keys=["1"]), "a damaged list"),
    "storage twice": (legacy({"a": PLAIN}, keys=["0", "0"]), "a damaged list"),
    "storage not there": (legacy({"a": PLAIN}, keys=[]), "no storage '0'"),
    "list of numbers": (legacy({"a": PLAIN}, keys=[0]), "a damaged list"),
    "other count": (legacy({"a": PLAIN}, {"0": SIX[:5]}), "has 5 elements, expected 6"),
    "two types": (legacy({"a": PLAIN, "b": stored("Int", "0", 6)}), "two types or sizes"),
    "tar": (bytes(257) + b"ustar\x0000" + bytes(300), "a tar archive"),
}


@pytest.mark.parametrize("case", LEGACY)
def test_old_files(tmp_path: Path, case: str) -> None:
    content, reason = LEGACY[case]
    refused(write(tmp_path, content), reason)


STATE = {"a": PLAIN, "b": tensor((3,), (2,), 1), "c": 7}
SAMPLES = [archive(STATE), archive(STATE, compression=8), legacy(STATE)]


@settings(max_examples=400, deadline=None, derandomize=True)
@given(st.data())
def test_any_damage_is_a_format_error_or_harmless(tmp_path_factory: Any, data: Any) -> None:
    path = tmp_path_factory.getbasetemp() / "fuzzed.pth"
    content = bytearray(data.draw(st.sampled_from(SAMPLES)))
    for _ in range(data.draw(st.integers(1, 4))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    path.write_bytes(content[: data.draw(st.integers(len(content) // 2, len(content)))])
    check_fuzzed(path)


def check_fuzzed(path: Path) -> None:
    try:
        found = fc.load(path)
    except FormatError as error:
        assert str(path) in str(error)
    else:
        assert all(array.size <= 1 << 20 for array in found.values())


@pytest.mark.parametrize("layout", [archive, legacy])
def test_each_byte_of_a_pickle_flipped(tmp_path: Path, layout: Any) -> None:
    good = pickled(STATE)
    for place in range(len(good)):
        for flip in (0x01, 0x80, 0xFF):
            wrong = good[:place] + bytes([good[place] ^ flip]) + good[place + 1 :]
            content = archive(wrong) if layout is archive else legacy(STATE).replace(good, wrong)
            check_fuzzed(write(tmp_path, content))
