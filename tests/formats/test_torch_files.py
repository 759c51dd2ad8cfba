"""Checkpoints of PyTorch: what they hold comes out, by hand-made files and by PyTorch's own."""

from __future__ import annotations

from collections import OrderedDict, defaultdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import fastconv as fc
from fastconv.errors import DTypeError, FormatError
from tests.formats.pickled import (
    SIX,
    archive,
    call,
    code,
    legacy,
    name,
    storage,
    tensor,
    write,
)

PLAIN = tensor((2, 3), (3, 1))
LAYOUTS = [archive, legacy]


@pytest.mark.parametrize("layout", LAYOUTS)
def test_views_of_a_storage(tmp_path: Path, layout: Any) -> None:
    state = {
        "plain": PLAIN,
        "transposed": tensor((3, 2), (1, 3)),
        "offset": tensor((2, 2), (2, 1), 2),
        "steps": tensor((3,), (2,), 1),
        "scalar": tensor((), (), 4),
        "repeated": tensor((4, 2), (0, 1), 3),
        "empty": tensor((0, 5), (5, 1)),
        "one": tensor((1, 1), (2**62, 2**62), 5),
        "first version": call(
            "torch._utils", "_rebuild_tensor", storage("Float", "0", 6), 1, (5,), (1,)
        ),
    }
    found = fc.load(write(tmp_path, layout(state)))
    assert list(found) == list(state)
    expected = {
        "plain": [[0, 1, 2], [3, 4, 5]],
        "transposed": [[0, 3], [1, 4], [2, 5]],
        "offset": [[2, 3], [4, 5]],
        "steps": [1, 3, 5],
        "scalar": 4,
        "repeated": [[3, 4]] * 4,
        "empty": np.empty((0, 5)),
        "one": [[5]],
        "first version": [1, 2, 3, 4, 5],
    }
    for key, array in found.items():
        assert np.array_equal(array, expected[key]) and array.dtype == np.float32, key
        assert array.flags.writeable
    assert np.shares_memory(found["plain"], found["offset"])


KINDS = {
    "Double": "f8",
    "Float": "f4",
    "Half": "f2",
    "Long": "i8",
    "Int": "i4",
    "Short": "i2",
    "Char": "i1",
    "Byte": "u1",
    "Bool": "?",
    "ComplexFloat": "c8",
    "ComplexDouble": "c16",
}


@pytest.mark.parametrize("order", ["little", "big"])
@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("kind", KINDS)
def test_element_types_and_byte_orders(tmp_path: Path, kind: str, layout: Any, order: str) -> None:
    values = np.array([0, 1, 3, 100]).astype(KINDS[kind])
    state = {"a": tensor((4,), (1,), 0, storage(kind, "0", 4))}
    if layout is legacy:
        content = legacy(state, {"0": values}, little_endian=order == "little")
    else:
        stored = values.astype(values.dtype.newbyteorder("<" if order == "little" else ">"))
        content = archive(state, {"0": stored.tobytes()}, byteorder=order.encode())
    found = fc.load(write(tmp_path, content))["a"]
    assert found.dtype == np.dtype(KINDS[kind]) and found.tolist() == values.tolist()


@pytest.mark.parametrize("layout", LAYOUTS)
def test_bfloat16_is_widened(tmp_path: Path, layout: Any) -> None:
    values = np.array([1, -2.5, np.inf, 3e38, -0.0, 1e-40], np.float32)
    words = (values.view(np.uint32) >> 16).astype("<u2")
    state = {"a": tensor((2, 3), (1, 2), 0, storage("BFloat16", "0", 6))}
    content = (
        legacy(state, {"0": words}) if layout is legacy else archive(state, {"0": words.tobytes()})
    )
    found = fc.load(write(tmp_path, content))["a"]
    expected = (words.astype(np.uint32) << 16).view(np.float32).reshape(3, 2).T
    assert found.dtype == np.float32 and found.tobytes() == expected.tobytes()


def test_types_of_version_three(tmp_path: Path) -> None:
    untyped = storage("Untyped", "0", 24, module="torch.storage")
    hooks = call("collections", "OrderedDict")

    def view(dtype: str, shape: tuple[int, ...], offset: int) -> Any:
        form = name("torch", dtype)
        return call(
            "torch._utils", "_rebuild_tensor_v3", untyped, offset, shape, (1,), False, hooks, form
        )

    state = {"u2": view("uint16", (3,), 2), "f4": view("float32", (2,), 4)}
    found = fc.load(write(tmp_path, archive(state)))
    assert np.array_equal(found["u2"], SIX.view("<u2")[2:5]) and found["u2"].dtype == np.uint16
    assert found["f4"].tolist() == [4, 5]


def test_parameters_numbers_and_numpy(tmp_path: Path) -> None:
    hooks = call("collections", "OrderedDict")
    dtype = b"cnumpy\ndtype\n" + code(("f8", False, True)) + b"R"
    dtype += code((3, "<", None, None, None, -1, -1, 0)) + b"b"
    form = type(hooks)(dtype)
    raw = call("_codecs", "encode", np.float64(2.5).tobytes().decode("latin1"), "latin1")
    array = call("numpy.core.multiarray", "_reconstruct", name("numpy", "ndarray"), (0,), b"b")
    content = np.arange(4.0).tobytes()
    array = type(hooks)(array + code((1, (2, 2), form, True, content)) + b"b")
    ordered = b"ccollections\nOrderedDict\n)R(" + code("w") + PLAIN + b"u" + code({"_metadata": {}})
    state = {
        "parameter": call("torch._utils", "_rebuild_parameter", PLAIN, True, hooks),
        "with state": call(
            "torch._utils", "_rebuild_parameter_with_state", PLAIN, True, hooks, {"a": 1}
        ),
        "subclass": call(
            "torch._tensor",
            "_rebuild_from_type_v2",
            name("torch._utils", "_rebuild_tensor_v2"),
            name("torch.nn.parameter", "Parameter"),
            (storage("Float", "0", 6), 0, (6,), (1,), False, hooks),
            {},
        ),
        "whole": 7,
        "part": 0.5,
        "truth": True,
        "numpy number": call("numpy._core.multiarray", "scalar", form, raw),
        "numpy array": array,
    }
    found = fc.load(write(tmp_path, archive(state)))
    assert np.array_equal(found["parameter"], SIX.reshape(2, 3))
    assert np.array_equal(found["with state"], SIX.reshape(2, 3))
    assert np.array_equal(found["subclass"], SIX)
    assert found["whole"] == 7 and found["part"] == 0.5 and found["truth"].dtype == bool
    assert found["numpy number"] == 2.5 and found["numpy number"].shape == ()
    assert found["numpy array"].tolist() == [[0, 2], [1, 3]]
    found = fc.load(write(tmp_path, archive(type(hooks)(ordered + b"b"))))
    assert list(found) == ["w"]


def test_old_storages_may_be_stretches_of_others(tmp_path: Path) -> None:
    stretch = storage("Float", "0", 6, ("1", 2, 3))
    found = fc.load(write(tmp_path, legacy({"a": tensor((3,), (1,), 0, stretch)})))
    assert found["a"].tolist() == [2, 3, 4]
    with pytest.raises(FormatError, match="do not fit its storage of 3 elements"):
        fc.load(write(tmp_path, legacy({"a": tensor((4,), (1,), 0, stretch)})))


def test_inner_dictionaries_and_prefixes(tmp_path: Path) -> None:
    nested = {
        "epoch": 3,
        "model": {"net": {"module.a": PLAIN, "b": PLAIN}, "args": {"lr": 0.1, "none": None}},
        "state_dict": {"module.a": PLAIN},
        "seen": {"when": "today"},
    }
    path = write(tmp_path, archive(nested))
    with pytest.raises(FormatError, match=r"'model' is a dict; choose one with key='state_dict'$"):
        fc.load(path)
    assert list(fc.load(path, key="state_dict")) == ["module.a"]
    assert list(fc.load(path, key="model.net")) == ["module.a", "b"]
    assert list(fc.load(path, key="model.net", prefix="module.")) == ["a", "b"]
    with pytest.raises(FormatError, match=r"nothing at the key 'model\.x'; holds a dictionary of"):
        fc.load(path, key="model.x")
    with pytest.raises(FormatError, match="'when' is a str"):
        fc.load(path, key="seen")
    with pytest.raises(FormatError, match="holds a int, expected a dictionary"):
        fc.load(path, key="epoch")
    both = write(tmp_path, archive({"a": PLAIN, "m.a": PLAIN}))
    with pytest.raises(FormatError, match=r"two arrays are called 'a' without 'm\.'"):
        fc.load(both, prefix="m.")
    with pytest.raises(DTypeError, match="key must be a string, got int"):
        fc.load(both, key=1)
    with pytest.raises(DTypeError, match="prefix must be a string, got list"):
        fc.load(both, prefix=["m."])


def test_later_protocols(tmp_path: Path) -> None:
    # A frame, short strings, a name from the stack, and the memo of protocol 4.
    content = (
        b"\x80\x04\x95" + bytes(8) + b"\x8c\x0bcollections\x8c\x0bOrderedDict\x93\x94)R\x94("
        b"\x8c\x01a" + PLAIN + b"\x8c\x01b" + tensor((6,), (1,)) + b"uh\x01."
    )
    assert list(fc.load(write(tmp_path, archive(content)))) == ["a", "b"]
    assert list(fc.load(write(tmp_path, archive({"a": PLAIN}, compression=8)))) == ["a"]
    assert list(fc.load(write(tmp_path, archive({"a": PLAIN}, byteorder=None)))) == ["a"]


# PyTorch's own files


@pytest.fixture(scope="module")
def torch() -> Any:
    return pytest.importorskip("torch")


OLD = {"_use_new_zipfile_serialization": False}


@pytest.mark.parametrize("options", [{}, OLD, {"pickle_protocol": 4}, {"pickle_protocol": 5}])
def test_files_of_pytorch(tmp_path: Path, torch: Any, options: dict[str, Any]) -> None:
    torch.manual_seed(0)
    net = torch.nn.Sequential(
        torch.nn.Conv2d(3, 4, 3), torch.nn.BatchNorm2d(4), torch.nn.Linear(4, 2).half()
    )
    shared = torch.randn(4, 6)
    state = net.state_dict()
    state["parameter"] = torch.nn.Parameter(torch.randn(3))
    state["marked"] = torch.nn.Parameter(torch.randn(3))
    state["marked"].note = "hello"
    state["view"], state["transposed"] = shared[1:3, 2:5], shared.T
    state["channels last"] = torch.randn(2, 3, 4, 5).to(memory_format=torch.channels_last)
    state["bfloat16"] = torch.randn(5).bfloat16()
    state["empty"], state["scalar"] = torch.zeros(0, 3), torch.tensor(2.5)
    state["number"], state["expanded"] = 3, torch.ones(1).expand(4)
    for kind in ("float64", "int64", "int32", "int16", "int8", "uint8", "bool", "complex64"):
        state[kind] = torch.tensor([0, 1, 2]).to(getattr(torch, kind))
    if options is not OLD:
        for kind in ("uint16", "uint32", "uint64"):
            state[kind] = torch.tensor([0, 1, 2]).to(getattr(torch, kind))
    torch.save(state, tmp_path / "a.pth", **options)
    found = fc.load(tmp_path / "a.pth")
    assert list(found) == list(state)
    for key, value in state.items():
        if not isinstance(value, torch.Tensor):
            assert found[key] == value
            continue
        expected = value.detach()
        expected = (expected.float() if expected.dtype == torch.bfloat16 else expected).numpy()
        assert found[key].dtype == expected.dtype and found[key].shape == expected.shape, key
        assert np.array_equal(found[key], expected), key
    assert np.shares_memory(found["view"], found["transposed"])
    ours = fc.nn.Sequential(fc.nn.Conv2d(3, 4, 3), fc.nn.BatchNorm2d(4))
    ours.load_state_dict({k: v for k, v in found.items() if k[:2] in ("0.", "1.")})
    x = torch.randn(2, 3, 8, 8)
    expected = net[:2].eval()(x).detach().numpy()
    np.testing.assert_allclose(ours.eval()(x.numpy()), expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("options", [{}, OLD])
def test_training_checkpoints_of_pytorch(
    tmp_path: Path, torch: Any, options: dict[str, Any]
) -> None:
    net = torch.nn.Linear(3, 2)
    optimizer = torch.optim.Adam(net.parameters())
    net(torch.randn(4, 3)).sum().backward()
    optimizer.step()
    wrapped = OrderedDict((f"module.{k}", v) for k, v in net.state_dict().items())
    checkpoint = {
        "epoch": 12,
        "arch": "linear",
        "state_dict": wrapped,
        "optimizer": optimizer.state_dict(),
        "best": np.float64(0.5),
        "history": np.arange(6.0).reshape(2, 3).T,
        "random": torch.get_rng_state(),
        "device": torch.device("cpu"),
        "size": torch.Size([1, 2]),
        "counts": defaultdict(list),
        "tags": {"a", "b"},
        "dtype": torch.float32,
    }
    torch.save(checkpoint, tmp_path / "a.pt", **options)
    found = fc.load(tmp_path / "a.pt", key="state_dict", prefix="module.")
    assert np.array_equal(found["weight"], net.weight.detach().numpy())
    moments = fc.load(tmp_path / "a.pt", key="optimizer.state.0")
    assert moments["step"] == 1 and moments["exp_avg"].shape == (2, 3)
    with pytest.raises(FormatError, match=r"'arch' is a str; choose one with key='state_dict'$"):
        fc.load(tmp_path / "a.pt")


def test_what_is_no_state_dict(tmp_path: Path, torch: Any) -> None:
    torch.save(torch.nn.Linear(2, 2), tmp_path / "a.pt")
    with pytest.raises(FormatError, match=r"refers to torch\.nn\.modules\.linear\.Linear, which"):
        fc.load(tmp_path / "a.pt")
    torch.save(torch.ones(2), tmp_path / "a.pt")
    with pytest.raises(FormatError, match="holds a StoredTensor, expected a dictionary"):
        fc.load(tmp_path / "a.pt")
    torch.save({"a": torch.ones(2, 2).to_sparse()}, tmp_path / "a.pt")
    with pytest.raises(FormatError, match="_rebuild_sparse_tensor, which is not allowed"):
        fc.load(tmp_path / "a.pt")
    torch.save({"a": torch.ones(2).to(torch.float8_e5m2)}, tmp_path / "a.pt")
    with pytest.raises(FormatError, match="float8_e5m2"):
        fc.load(tmp_path / "a.pt")
