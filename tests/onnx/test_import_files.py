"""Files that are damaged, hostile, or of another kind: one clear FormatError each, and no large allocation."""

from __future__ import annotations

import os
import subprocess
import sys
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import fastconv as fc
from tests.support import assert_close, randn, rng

onnx = pytest.importorskip("onnx")
from onnx import TensorProto, helper, numpy_helper  # noqa: E402

node = helper.make_node


def model(nodes: list[Any] | None = None, weights: dict[str, Any] | None = None) -> Any:
    """A model whose input is x and whose output y; a convolution unless nodes are given."""
    if nodes is None:
        nodes = [node("Conv", ["x", "w"], ["c"], name="first"), node("Relu", ["c"], ["y"])]
        weights = {"w": randn(rng("w"), 4, 3, 3, 3)}
    graph = helper.make_graph(
        nodes,
        "net",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 3, 6, 6])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
        [numpy_helper.from_array(w, n) for n, w in (weights or {}).items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def refused(made: Any, match: str) -> None:
    content = made if isinstance(made, bytes) else made.SerializeToString()
    tracemalloc.start()
    try:
        with pytest.raises(fc.FormatError, match=match):
            fc.onnx.load(content)
        assert tracemalloc.get_traced_memory()[1] < 64 << 20
    finally:
        tracemalloc.stop()


def test_the_model_itself_is_good() -> None:
    net = fc.onnx.load(model().SerializeToString()).eval()
    assert net(np.zeros((2, 3, 6, 6), np.float32)).shape == (2, 4, 4, 4)


# The file as a whole


@pytest.mark.parametrize(
    "content",
    [b"", b"not a model", b"\0" * 100, b"PK\3\4 a zip", b"\x89PNG\r\n", b"\xff" * 1000],
)
def test_other_files(content: bytes) -> None:
    refused(content, "onnx.load: not an ONNX")


def test_truncated() -> None:
    content = model().SerializeToString()
    for end in range(0, len(content), 7):
        with pytest.raises(fc.FormatError, match=r"onnx.load"):
            fc.onnx.load(content[:end])


def test_arguments(tmp_path: Path) -> None:
    for bad in (None, 3, ["x"], model()):
        with pytest.raises(fc.DTypeError, match=r"onnx.load: expects a path or the bytes"):
            fc.onnx.load(bad)  # type: ignore[arg-type]
    with pytest.raises(FileNotFoundError):
        fc.onnx.load(tmp_path / "missing.onnx")
    with pytest.raises(OSError):
        fc.onnx.load(tmp_path)
    path = tmp_path / "net.onnx"
    path.write_bytes(model().SerializeToString())
    assert fc.onnx.load(path).outputs == ("y",)
    assert fc.onnx.load(str(path)).outputs == ("y",)


def test_more_than_protobuf_holds(tmp_path: Path) -> None:
    path = tmp_path / "large.onnx"
    with open(path, "wb") as file:
        file.truncate(2**31)  # a file of holes
    with pytest.raises(fc.FormatError, match=r"large.onnx has 2147483648 bytes"):
        fc.onnx.load(path)


# What the model says


def changed(change: Callable[[Any], object]) -> Any:
    made = model()
    change(made)
    return made


def opset(number: int) -> Callable[[Any], object]:
    return lambda m: setattr(m.opset_import[0], "version", number)


def attribute(m: Any, *values: Any) -> None:
    m.graph.node[0].attribute.extend(values)


def twice(m: Any) -> None:
    m.graph.node[1].output[0] = "c"


def cycle(m: Any) -> None:
    m.graph.node[0].input[0] = "y"


def itself(m: Any) -> None:
    m.graph.node[1].input[0] = "y"


def sequence(m: Any) -> None:
    m.graph.input[0].type.sequence_type.elem_type.tensor_type.elem_type = 1


def function(m: Any) -> None:
    made = helper.make_function("own", "Twice", ["a"], ["b"], [node("Add", ["a", "a"], ["b"])], [])
    m.functions.append(made)


def subgraph(m: Any) -> None:
    inner = helper.make_graph([node("Relu", ["c"], ["r"])], "inner", [], [])
    attribute(m, helper.make_attribute("auto_pad", inner))


CHANGES: list[tuple[Callable[[Any], object], str]] = [
    (opset(6), r"opset 6, expected 7 to"),
    (opset(10_000), r"opset 10000, expected 7 to"),
    (opset(-1), r"opset -1, expected 7 to"),
    (lambda m: m.opset_import.append(helper.make_opsetid("ai.onnx", 17)), "not one opset"),
    (lambda m: m.ClearField("opset_import"), "not one opset"),
    (lambda m: m.ClearField("graph"), "no graph"),
    (lambda m: m.graph.ClearField("output"), "no outputs"),
    (twice, r"'c' is made twice, by Relu"),
    (lambda m: m.graph.node[0].input.__setitem__(0, "q"), r"Conv 'first' reads 'q', which nothing"),
    (lambda m: m.graph.output[0].__setattr__("name", "z"), r"output 'z' is made by no node"),
    (cycle, "part of a cycle"),
    (itself, "part of a cycle"),
    (lambda m: m.graph.initializer.append(m.graph.initializer[0]), "'w', or twice"),
    (lambda m: m.graph.initializer[0].ClearField("name"), "name is ''"),
    (lambda m: m.graph.input.append(m.graph.input[0]), "two inputs named 'x'"),
    (sequence, "input 'x' is sequence_type, expected a tensor"),
    (function, r"functions of its own \('Twice'\)"),
    (lambda m: m.graph.sparse_initializer.add(), "sparse initializers"),
    (lambda m: m.graph.node[0].input.pop(), "Conv 'first' has 1 inputs, expected 2 to 3"),
    (lambda m: m.graph.node[1].input.append("w"), "has 2 inputs, expected 1 to 1"),
    (lambda m: m.graph.node[1].output.append("e"), "has 2 outputs, expected 1 to 1"),
    (lambda m: m.graph.node[0].input.__setitem__(1, ""), "has 1 inputs, expected 2 to 3"),
    (lambda m: m.graph.node[0].input.__setitem__(0, ""), "lacks an input"),
    (lambda m: m.graph.node[1].output.__setitem__(0, ""), "lacks an input or an output"),
    (lambda m: attribute(m, helper.make_attribute("speed", 3)), "attribute 'speed', unknown"),
    (lambda m: attribute(m, helper.make_attribute("group", "many")), "'group' has another type"),
    (lambda m: attribute(m, *[helper.make_attribute("group", 1)] * 2), "'group', unknown or twice"),
    (subgraph, "'auto_pad' has another type"),
]


@pytest.mark.parametrize("change, match", CHANGES)
def test_a_changed_model(change: Callable[[Any], object], match: str) -> None:
    refused(changed(change), match)


def test_all_missing_ops_in_one_message() -> None:
    made = model(
        [
            node("Loop", ["x"], ["a"], name="loop", body=helper.make_graph([], "b", [], [])),
            node("LSTM", ["x", "x", "x"], ["b"], name="l1", hidden_size=3),
            node("LSTM", ["x", "x", "x"], ["c"], name="l2", hidden_size=3),
            node("Attention", ["x"], ["d"], domain="com.microsoft"),
            node("Relu", ["x"], ["y"]),
        ]
    )
    refused(
        made,
        r"missing in fastconv: Loop \(1 times, first 'loop'\); LSTM \(2 times, first 'l1'\); "
        r"com.microsoft.Attention \(1 times, first 'd'\)$",
    )


def test_an_op_that_the_opset_does_not_have() -> None:
    made = model([node("Upsample", ["x", "s"], ["y"])], {"s": np.ones(4, np.float32)})
    refused(made, "Upsample 'y' is no longer part of opset 17")
    refused(model([node("Gelu", ["x"], ["y"])]), "Gelu 'y': there is no such op in opset 17")


def test_required_attributes() -> None:
    refused(
        model([node("MaxPool", ["x"], ["y"])]), "MaxPool 'y' lacks the attribute 'kernel_shape'"
    )


def test_nodes_may_come_in_any_order() -> None:
    made = model()
    nodes = list(made.graph.node)[::-1]
    del made.graph.node[:]
    made.graph.node.extend(nodes)
    net = fc.onnx.load(made.SerializeToString()).eval()
    assert [n.op for n in net._graph.nodes] == ["Conv", "Relu"]


def test_names_that_are_no_text() -> None:
    content = model().SerializeToString().replace(b"first", b"\xff\xfe\xfd\xfc\xfb")
    refused(content, "a name is no text")


# Arrays


def weight(change: Callable[[Any], object]) -> Any:
    made = model()
    change(made.graph.initializer[0])
    return made


def field(name: str, values: Any, kind: int, dims: Any) -> Callable[[Any], object]:
    def change(tensor: Any) -> None:
        tensor.ClearField("raw_data")
        tensor.data_type = kind
        tensor.dims[:] = dims
        getattr(tensor, name).extend(values)

    return change


WEIGHTS: list[tuple[Callable[[Any], object], str]] = [
    (
        lambda t: t.dims.__setitem__(0, 5),
        r"shape \(5, 3, 3, 3\) and type float32 has 540 bytes, got 432",
    ),
    (lambda t: t.dims.__setitem__(0, 2**40), "has 118747255799808 bytes, got 432"),
    (lambda t: t.dims.__setitem__(0, -4), r"has the shape \(-4, 3, 3, 3\)"),
    (lambda t: t.dims.extend([2**62] * 5), "bytes, got 432"),
    (lambda t: t.dims.extend([1] * 40), "has the shape"),
    (lambda t: setattr(t, "raw_data", t.raw_data[:-1]), "has 432 bytes, got 431"),
    (lambda t: setattr(t, "data_type", 0), "element type 0"),
    (lambda t: setattr(t, "data_type", 8), "element type 8"),
    (lambda t: setattr(t, "data_type", 14), "element type 14"),
    (lambda t: setattr(t, "data_type", 17), "element type 17"),
    (lambda t: setattr(t, "data_type", 99), "element type 99"),
    (lambda t: setattr(t.segment, "begin", 1), "in segments"),
    (field("float_data", [1.0], 1, [2]), r"shape \(2,\) has 2 elements, got 1"),
    (field("float_data", [], 1, [2**45]), r"has 35184372088832 elements, got 0"),
    (field("int32_data", [300], 2, [1]), "values that do not fit uint8"),
    (field("int32_data", [-1], 10, [1]), "values that do not fit uint16"),
]


@pytest.mark.parametrize("change, match", WEIGHTS)
def test_a_changed_array(change: Callable[[Any], object], match: str) -> None:
    refused(weight(change), f"initializer 'w'.*{match}|{match}")


@pytest.mark.parametrize(
    "name, kind, dtype",
    [
        ("float_data", TensorProto.FLOAT, np.float32),
        ("double_data", TensorProto.DOUBLE, np.float64),
        ("int32_data", TensorProto.INT32, np.int32),
        ("int32_data", TensorProto.INT8, np.int8),
        ("int32_data", TensorProto.UINT16, np.uint16),
        ("int32_data", TensorProto.BOOL, np.bool_),
        ("int64_data", TensorProto.INT64, np.int64),
        ("uint64_data", TensorProto.UINT64, np.uint64),
        ("uint64_data", TensorProto.UINT32, np.uint32),
    ],
)
def test_every_way_to_write_an_array(name: str, kind: int, dtype: Any) -> None:
    values = np.array([[0, 1, 1], [1, 0, 1]]).astype(dtype)
    for raw in (False, True):
        content = values.tobytes() if raw else values.reshape(-1)
        tensor = helper.make_tensor("v", kind, (2, 3), content, raw)
        got = fc.onnx.load(model([node("Constant", [], ["y"], value=tensor)]).SerializeToString())(
            np.zeros((1, 3, 6, 6), np.float32)
        ).numpy()
        assert got.dtype == dtype and np.array_equal(got, values)


def test_half_precision_arrays() -> None:
    values = np.array([1.5, -2.0, 0.25], np.float32)
    halves = helper.make_tensor("v", TensorProto.FLOAT16, (3,), values.astype(np.float16))
    upper = (values.view(np.uint32) >> 16).astype(np.uint16)
    brain = helper.make_tensor("v", TensorProto.BFLOAT16, (3,), upper.tobytes(), raw=True)
    for tensor in (halves, brain):
        net = fc.onnx.load(model([node("Constant", [], ["y"], value=tensor)]).SerializeToString())
        got = net(np.zeros((1, 3, 6, 6), np.float32)).numpy()
        assert got.dtype == np.float32 and np.array_equal(got, values)


# Constants that would be large


@pytest.mark.parametrize("shape", [[2**40], [2**31, 2**31, 2**31], [70_000, 70_000]])
def test_constants_of_huge_shapes(shape: list[int]) -> None:
    made = model([node("ConstantOfShape", ["s"], ["y"])], {"s": np.array(shape)})
    refused(made, "ConstantOfShape 'y' asks for an array of shape")


@pytest.mark.parametrize(
    "nodes, weights",
    [
        ([node("Expand", ["one", "s"], ["y"])], {"s": np.array([2**36])}),
        ([node("Tile", ["one", "s"], ["y"])], {"s": np.array([2**36])}),
        ([node("Range", ["zero", "s", "step"], ["y"])], {"s": np.float32(1e12)}),
        ([node("Pad", ["one", "s"], ["y"])], {"s": np.array([0, 2**36])}),
        ([node("Mul", ["s", "t"], ["y"])], {"s": np.ones((2**20, 1)), "t": np.ones((1, 2**20))}),
        (
            [node("Where", ["s", "t", "one"], ["y"])],
            {"s": np.ones((2**20, 1), bool), "t": np.ones(2**20, np.float32)},
        ),
        (
            [node("Gather", ["t", "s"], ["y"])],
            {"s": np.zeros(2**18, np.int64), "t": np.ones((1, 2**20))},
        ),
    ],
)
def test_other_ways_to_huge_constants(nodes: list[Any], weights: dict[str, Any]) -> None:
    scalars = {"one": np.ones(1, np.float32), "zero": np.float32(0), "step": np.float32(1)}
    refused(model(nodes, {**scalars, **weights}), "asks for an array of shape")


@pytest.mark.parametrize(
    "nodes",
    [
        [node("Cast", ["c"], ["y"], to=TensorProto.DOUBLE)],
        [node("Not", ["c"], ["y"])],
        [node("ReduceMax", ["c"], ["y"])],
    ],
    ids=lambda nodes: nodes[-1].op_type,
)
def test_what_would_write_out_repeated_elements(nodes: list[Any]) -> None:
    """Such an array may be large as long as it lies in no memory of its own."""
    yes = numpy_helper.from_array(np.array([True]))
    made = model(
        [node("ConstantOfShape", ["s"], ["c"], value=yes), *nodes], {"s": np.array([2**29])}
    )
    refused(made, f"{nodes[-1].op_type} 'y' asks for an array of shape")


@pytest.mark.parametrize(
    "made, match",
    [
        (node("Sub", ["yes", "yes"], ["y"]), "Sub 'y' cannot be computed"),
        (node("Neg", ["yes"], ["y"]), "Neg 'y' cannot be computed"),
        (node("Range", ["low", "high", "step"], ["y"]), "Range 'y' cannot be computed"),
        (node("Constant", [], ["y"], value_string="1"), "holds text, expected numbers"),
        (node("Constant", [], ["y"], value_strings=["1"]), "holds text, expected numbers"),
        (node("Unsqueeze", ["yes", "many"], ["y"]), "Unsqueeze 'y' cannot be computed"),
        (node("Split", ["yes"], ["y"], num_outputs=2**40), "do not make 1099511627776 equal"),
    ],
)
def test_constants_that_cannot_be_computed(made: Any, match: str) -> None:
    weights = {"yes": np.array([True]), "many": np.arange(1, 70)}
    numbers = {"low": np.float64(-1e308), "high": np.float64(1e308), "step": np.float64(1)}
    changed = model([made], {**weights, **numbers})
    changed.opset_import[0].version = 18
    refused(changed, match)


def test_ops_that_cannot_be_computed() -> None:
    net = fc.onnx.load(
        model([node("LpPool", ["x"], ["y"], kernel_shape=[2, 2], p=0)]).SerializeToString()
    )
    with pytest.raises(fc.ShapeError, match="LpPool 'y' cannot be computed"):
        net(np.ones((1, 3, 6, 6), np.float32))


def test_constants_that_double() -> None:
    """A file of a few kilobytes whose constants would be of any size."""
    nodes = [node("Concat", [f"c{i}", f"c{i}"], [f"c{i + 1}"], axis=0) for i in range(60)]
    nodes.append(node("Identity", ["c60"], ["y"]))
    content = model(nodes, {"c0": np.ones(1000, np.float32)}).SerializeToString()
    with pytest.raises(fc.FormatError, match=r"asks for an array of shape|computed have"):
        fc.onnx.load(content)


def test_many_large_constants() -> None:
    nodes = [node("ConstantOfShape", ["s"], [f"c{i}"]) for i in range(40)]
    nodes.append(node("Sum", [f"c{i}" for i in range(40)], ["y"]))
    refused(
        model(nodes, {"s": np.array([10_000_000])}),
        "constants that are computed have 1080000000 bytes, ConstantOfShape",
    )


# External data


def external(tmp_path: Path, location: str, content: bytes | None = None, **entries: Any) -> Path:
    """A model in tmp_path/model whose weight lies in another file."""
    folder = tmp_path / "model"
    folder.mkdir(exist_ok=True)
    made = model()
    tensor = made.graph.initializer[0]
    data = tensor.raw_data if content is None else content
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    for key, value in {"location": location, **entries}.items():
        tensor.external_data.add(key=key, value=str(value))
    (folder / "weights.bin").write_bytes(b"head" + data)
    (folder / "net.onnx").write_bytes(made.SerializeToString())
    return folder / "net.onnx"


def test_external_data(tmp_path: Path) -> None:
    path = external(tmp_path, "weights.bin", offset=4, length=432)
    net = fc.onnx.load(path).eval()
    plain = fc.onnx.load(model().SerializeToString()).eval()
    x = randn(rng("x"), 2, 3, 6, 6)
    with fc.no_grad():
        assert_close(net(x).numpy(), plain(x).numpy())
    with pytest.raises(fc.FormatError, match=r"'weights.bin'; load the model by its path"):
        fc.onnx.load(path.read_bytes())


@pytest.mark.parametrize(
    "entries, match",
    [
        ({"offset": 8}, "bytes 8 to 440 of a file of 436"),
        ({"offset": -4}, "bytes -4 to 428"),
        ({"offset": 2**62}, "bytes 4611686018427387904"),
        ({"length": 400}, r"has 432 bytes, the external data 400"),
        ({"length": "many"}, "external data at"),
    ],
)
def test_external_data_that_is_not_there(tmp_path: Path, entries: Any, match: str) -> None:
    path = external(tmp_path, "weights.bin", **entries)
    with pytest.raises(fc.FormatError, match=match):
        fc.onnx.load(path)


@pytest.mark.parametrize(
    "location",
    [
        *("../secret.bin", "sub/../../secret.bin", "link.bin", "folder/secret.bin", "", "."),
        *("..", "/etc/hostname", "a\0b", "missing.bin", "sub"),
    ],
)
def test_external_data_outside_the_folder(tmp_path: Path, location: str) -> None:
    path = external(tmp_path, location)
    (tmp_path / "secret.bin").write_bytes(b"\0" * 432)
    (path.parent / "sub").mkdir()
    os.symlink(tmp_path / "secret.bin", path.parent / "link.bin")
    os.symlink(tmp_path, path.parent / "folder")
    with pytest.raises(fc.FormatError, match=r"not inside the model's folder|is missing"):
        fc.onnx.load(path)


def test_many_arrays_of_the_same_external_bytes(tmp_path: Path) -> None:
    """A small file whose arrays would be of any size together; sharing as such is allowed."""
    made, size = model(), 1 << 20
    (tmp_path / "weights.bin").write_bytes(bytes(size))

    def share(count: int) -> Any:
        for i in range(count):
            tensor = made.graph.initializer.add(name=f"a{i}", data_type=1, dims=[size // 4])
            tensor.data_location = TensorProto.EXTERNAL
            tensor.external_data.add(key="location", value="weights.bin")
        (tmp_path / "net.onnx").write_bytes(made.SerializeToString())
        return tmp_path / "net.onnx"

    fc.onnx.load(share(8))
    for _ in range(8):
        made.graph.initializer.pop()
    with pytest.raises(fc.FormatError, match=r"arrays in external data have \d+ bytes, the files"):
        fc.onnx.load(share(100))


def test_a_pipe_is_no_external_data(tmp_path: Path) -> None:
    path = external(tmp_path, "pipe")
    os.mkfifo(path.parent / "pipe")
    with pytest.raises(fc.FormatError, match="missing"):
        fc.onnx.load(path)


# Any byte changed: an error, or a network that runs or says why not

_FUZZ = """
import resource, sys
import numpy as np
import fastconv as fc
fc.set_num_threads(1)
import onnx, onnx.checker, onnx.defs, onnx.helper, onnx.numpy_helper
content = bytearray(open(sys.argv[1], "rb").read())
x = np.ones((1, 3, 6, 6), np.float32)
fc.onnx.load(bytes(content)).eval()(x)
used = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (used + (1 << 30),) * 2)
loaded = refused = ran = 0
g = np.random.default_rng(0)
for place in range(len(content)):
    made = content[:]
    made[place] = made[place] ^ (1 << int(g.integers(8))) if place % 2 else int(g.integers(256))
    try:
        net = fc.onnx.load(bytes(made))
    except fc.FormatError:
        refused += 1
        continue
    loaded += 1
    try:
        with fc.no_grad(), np.errstate(all="ignore"):
            net.eval()(x)
        ran += 1
    except (fc.FastconvError, MemoryError):
        pass
print(loaded, refused, ran)
"""


def test_any_byte_changed(tmp_path: Path) -> None:
    made = model(
        [
            node("Pad", ["x", "pads"], ["p"]),
            node("Conv", ["p", "w"], ["c"], strides=[2, 2]),
            node("Clip", ["c", "zero", "six"], ["r"]),
            node("MaxPool", ["r"], ["m"], kernel_shape=[2, 2], pads=[0, 0, 1, 1]),
            node("Shape", ["m"], ["s"]),
            node("Slice", ["s", "first", "one"], ["n"]),
            node("Concat", ["n", "rest"], ["t"], axis=0),
            node("Reshape", ["m", "t"], ["f"]),
            node("Gemm", ["f", "g"], ["h"], transB=1),
            node("Softmax", ["h"], ["y"]),
        ],
        {
            "pads": np.array([0, 0, 0, 0, 0, 0, 1, 1]),
            "w": randn(rng("w"), 2, 3, 3, 3),
            "zero": np.float32(0),
            "six": np.float32(6),
            "first": np.array([0]),
            "one": np.array([1]),
            "rest": np.array([-1]),
            "g": randn(rng("g"), 2, 18),
        },
    )
    path = tmp_path / "net.onnx"
    path.write_bytes(made.SerializeToString())
    done = subprocess.run(
        [sys.executable, "-c", _FUZZ, str(path)],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(p for p in sys.path if p)},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    loaded, refused, ran = map(int, done.stdout.split())
    assert refused > 100 and ran > 100 and loaded >= ran
