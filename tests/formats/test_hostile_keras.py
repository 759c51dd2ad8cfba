"""Keras files made to do harm, or damaged: one FormatError each, and no memory taken."""

from __future__ import annotations

import io
import json
import struct
import tracemalloc
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import fastconv as fc
from fastconv.errors import FormatError
from tests.formats.test_keras import HERE, K, keras2


def refused(path: Path, match: str) -> None:
    tracemalloc.start()
    try:
        with pytest.raises(FormatError, match=match) as caught:
            fc.load(path)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 8_000_000
    message = str(caught.value)
    assert message.startswith(f"load: {path}: ") and "\n" not in message and len(message) < 700


def huge(group: Any) -> None:
    group.create_dataset("conv/kernel:0", (2**20, 2**20), "f4", chunks=(64, 64))


def many_small(group: Any) -> None:
    group.create_dataset("conv/kernel:0", (2**18 + 1, 1), "f4", chunks=(64, 1))


def external_data(group: Any) -> None:
    group.create_dataset("conv/kernel:0", (8,), "f4", external=[("/etc/passwd", 0, 32)])


def virtual(group: Any) -> None:
    layout = h5py.VirtualLayout((8,), "f4")
    layout[:] = h5py.VirtualSource("other.h5", "x", (8,))
    group.create_virtual_dataset("conv/kernel:0", layout)


def external_link(group: Any) -> None:
    group.create_group("conv")["kernel:0"] = h5py.ExternalLink("other.h5", "/x")


def soft_link(group: Any) -> None:
    group.create_group("conv")["kernel:0"] = h5py.SoftLink("/model_weights")


def text(group: Any) -> None:
    group.create_dataset("conv/kernel:0", data=[b"abc"])


def structure(group: Any) -> None:
    group.create_dataset("conv/kernel:0", data=np.zeros(3, [("a", "f4"), ("b", "f4")]))


def nothing(group: Any) -> None:
    group.create_dataset("conv/kernel:0", data=h5py.Empty("f4"))


def a_group(group: Any) -> None:
    group.create_group("conv/kernel:0")


def five(group: Any) -> None:
    group.create_dataset("conv/kernel:0", data=np.zeros((1,) * 6, "f4"))


DATASETS: dict[str, tuple[Callable[[Any], None], str]] = {
    "huge": (huge, "'conv/kernel:0' claims 4398046511104 bytes, more than the file can hold"),
    "more than the file": (many_small, "claims 1048580 bytes, more than the file can hold"),
    "external data": (external_data, "lies in another file"),
    "virtual": (virtual, r"form that is not read \(version 4\)"),
    "external link": (external_link, "is a link to another place"),
    "soft link": (soft_link, "is a link to another place"),
    "text": (text, "is of another type, expected numbers"),
    "structure": (structure, "expected numbers"),
    "empty": (nothing, "expected numbers"),
    "a group": (a_group, "no array at 'conv/kernel:0'"),
    "not there": (lambda group: None, "no array at 'conv/kernel:0'"),
}


@pytest.mark.parametrize("case", DATASETS)
def test_arrays(tmp_path: Path, case: str) -> None:
    make, reason = DATASETS[case]
    path = keras2(tmp_path / "a.h5", {"conv": {}})
    with h5py.File(path, "a") as file:
        file["conv"].attrs["weight_names"] = [b"conv/kernel:0"]
        make(file["conv"])
    refused(path, reason)


def test_one_array_under_many_names(tmp_path: Path) -> None:
    layers = {f"conv{i}": {} for i in range(40)}
    first = {"first": {"first/kernel:0": np.zeros((500, 500), "f4")}}
    path = keras2(tmp_path / "a.h5", first | layers)
    with h5py.File(path, "a") as file:
        for name in layers:
            file[name]["kernel:0"] = file["first/first/kernel:0"]
            file[name].attrs["weight_names"] = [b"kernel:0"]
    assert path.stat().st_size < 2_000_000
    with pytest.raises(FormatError, match="claims 1000000 bytes, more than the file can hold"):
        fc.load(path)


def test_paths_out_of_a_group(tmp_path: Path) -> None:
    for name in ("../a", "/conv", "conv//kernel", ".", "a/./b"):
        path = keras2(tmp_path / "a.h5", {"conv": {}})
        with h5py.File(path, "a") as file:
            file["conv"].attrs["weight_names"] = [name.encode()]
        refused(path, r"leads out of its group|no array at")


def test_attributes(tmp_path: Path) -> None:
    path = tmp_path / "a.h5"
    with h5py.File(path, "w") as file:
        file.attrs["layer_names"] = [b"nowhere"]
    refused(path, "no group for the layer 'nowhere'")
    with h5py.File(path, "w") as file:
        file.create_dataset("x", data=np.zeros(3))
    refused(path, "without weights of Keras")
    with h5py.File(path, "w") as file:
        file.attrs["layer_names"] = [b"a"]
        file["a"] = np.zeros(3)
    refused(path, "no group for the layer 'a'")
    path = keras2(path, {"a": {"a/kernel:0": K, "b/kernel:0": K}})
    refused(path, "the layer 'a' has two of 'kernel'")
    path = keras2(path, {"conv": {"conv/kernel:0": K, "conv/bias:0": np.zeros((2, 2), "f4")}})
    refused(path, r"'conv' \(Conv2D\w*\) has 'bias' of shape \(2, 2\), which does not fit")
    path = keras2(path, {"a": {"a/alpha:0": np.zeros((4, 4, 2), "f4")}})
    refused(path, r"has slopes of shape \(4, 4, 2\)")


def test_groups_within_themselves(tmp_path: Path) -> None:
    path = tmp_path / "a.weights.h5"
    with h5py.File(path, "w") as file:
        file.create_dataset("layers/conv2d/vars/0", data=K)
        file["layers/conv2d/layers"] = file["layers"]
    found = fc_load_or_error(path)
    assert found == "damage" or len(found) >= 1


def fc_load_or_error(path: Path) -> Any:
    try:
        return fc.load(path)
    except FormatError as error:
        assert str(path) in str(error)
        return "damage"


CONFIGS: dict[str, Any] = {
    "not JSON": "{",
    "a number": "1",
    "a list": "[]",
    "empty": "{}",
    "no layers": '{"class_name": "Sequential", "config": {}}',
    "layers of numbers": '{"class_name": "Sequential", "config": {"layers": [1]}}',
    "no name": '{"class_name": "Sequential", "config": {"layers": [{"class_name": "A", "config": {}}]}}',
    "nested deeply": '{"a":' * 100_000,
    "models nested deeply": '{"class_name":"Sequential","config":{"layers":[' * 3000 + "]}}" * 3000,
    "inputs a number": json.dumps(
        {
            "class_name": "Functional",
            "config": {
                "layers": [{"class_name": "A", "config": {"name": "a"}, "inbound_nodes": 1}],
            },
        }
    ),
    "not text": b"\xff\xfe{",
}


@pytest.mark.parametrize("case", CONFIGS)
def test_configurations(tmp_path: Path, case: str) -> None:
    path = keras2(tmp_path / "a.h5", {"conv": {"conv/kernel:0": K}}, config=CONFIGS[case])
    refused(path, "the model's configuration is damaged")


CONFIG = json.dumps({"class_name": "Sequential", "config": {"layers": []}}).encode()


def keras3(**records: bytes) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as file:
        for name, content in records.items():
            file.writestr(name.replace("_", "."), content)
    return out.getvalue()


GOOD = (HERE / "data/row.keras").read_bytes()
ARCHIVES: dict[str, tuple[bytes, str]] = {
    "cut": (GOOD[:-40], "damaged or truncated zip"),
    "no weights": (keras3(config_json=CONFIG), "neither PyTorch's nor Keras's"),
    "weights of zeros": (keras3(config_json=CONFIG, model_weights_h5=bytes(99)), "damaged HDF5"),
    "no HDF5": (keras3(config_json=CONFIG, model_weights_h5=b""), "damaged HDF5"),
    "cut HDF5": (
        keras3(
            config_json=CONFIG,
            model_weights_h5=zipfile.ZipFile(HERE / "data/row.keras").read("model.weights.h5")[
                :900
            ],
        ),
        "damaged HDF5",
    ),
    "configuration": (keras3(config_json=b"[", model_weights_h5=b""), "configuration is damaged"),
}


@pytest.mark.parametrize("case", ARCHIVES)
def test_archives(tmp_path: Path, case: str) -> None:
    content, reason = ARCHIVES[case]
    path = tmp_path / "a.keras"
    path.write_bytes(content)
    refused(path, reason)


@settings(max_examples=150, deadline=None, derandomize=True)
@given(st.data())
def test_any_damage_of_an_archive_is_seen(tmp_path_factory: Any, data: Any) -> None:
    path = tmp_path_factory.getbasetemp() / "fuzzed.keras"
    content = bytearray(GOOD)
    for _ in range(data.draw(st.integers(1, 4))):
        content[data.draw(st.integers(0, len(content) - 1))] ^= data.draw(st.integers(1, 255))
    path.write_bytes(content[: data.draw(st.integers(len(content) - 100, len(content)))])
    try:
        found = fc.load(path)
    except FormatError as error:
        assert str(path) in str(error)
    else:  # a byte that says nothing, such as a date
        assert found.keys() == fc.load(HERE / "data/row.keras").keys()


def test_a_heap_that_leads_nowhere(tmp_path: Path) -> None:
    path = keras2(tmp_path / "a.h5", {"conv": {"conv/kernel:0": K}})
    content = bytearray(path.read_bytes())
    heap = content.index(b"GCOL")
    for size in (4095, 2**40, 2**64 - 1):
        content[heap + 24 : heap + 32] = struct.pack("<Q", size)
        path.write_bytes(content)
        refused(path, r"damaged HDF5 file: a string of \d+ bytes at")


SAMPLES: list[bytes] = [(HERE / "data/row.h5").read_bytes()]


def sample(folder: Path, kind: str) -> bytes:
    if kind == "row":
        return (HERE / "data/row.h5").read_bytes()
    if kind == "pieces":
        layers = {"conv": {"conv/kernel:0": K, "conv/other:0": K[..., 0]}, "flatten": {}}
        return keras2(folder / "a", layers, compression="gzip", shuffle=True).read_bytes()
    with h5py.File(folder / "a", "w", libver="latest") as file:
        file.create_dataset("layers/conv2d/vars/0", data=K)
        file.create_dataset("layers/conv2d/vars/1", data=K[0, 0, 0])
    return (folder / "a").read_bytes()


@pytest.mark.parametrize("kind", ["row", "pieces", "latest"])
def test_flipped_bytes(tmp_path: Path, kind: str) -> None:
    good = sample(tmp_path, kind)
    random = np.random.default_rng(5)
    path, refused = tmp_path / "flipped", 0
    for _ in range(600):
        content = bytearray(good)
        for _ in range(random.integers(1, 4)):
            # Half of the damage goes where the structure is densest: the first bytes.
            end = len(content) if random.integers(2) else min(4000, len(content))
            content[random.integers(end)] = random.integers(256)
        path.write_bytes(
            content[: len(content) if random.integers(5) else random.integers(len(content))]
        )
        try:
            found = fc.load(path)
        except FormatError as error:
            assert str(path) in str(error)
            refused += 1
        else:
            assert sum(a.nbytes for a in found.values()) <= max(11 * len(content), 1 << 20)
    assert refused > 50
