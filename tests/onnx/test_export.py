"""Exported networks: equal outputs, names, structure, and what is refused."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import fastconv as fc
import fastconv.functional as F
from benchmarks.networks import define
from fastconv import nn
from tests.onnx.helpers import Apply, eager, images, ops, run, run_reference
from tests.program.nets import NETS, SIZE
from tests.support import assert_close

onnx = pytest.importorskip("onnx")


def trained(name: str) -> nn.Module:
    """A network whose batch-norms have seen something."""
    fc.manual_seed(1)
    net = NETS[name]()
    with fc.no_grad():
        for seed in range(3):
            net(images(4, 3, SIZE, SIZE, seed=seed))
    return net


def shape_of(value: Any) -> list[Any]:
    return [d.dim_param or d.dim_value for d in value.type.tensor_type.shape.dim]


@pytest.mark.parametrize("name", NETS)
def test_equals_the_network(name: str) -> None:
    net = trained(name)
    model = fc.onnx.export(net, None, images(2, 3, SIZE, SIZE))
    assert net.training  # exported in evaluation mode all the same
    net.eval()
    onnx.checker.check_model(model, full_check=True)
    assert shape_of(model.graph.input[0]) == ["batch", 3, SIZE, SIZE]
    assert shape_of(model.graph.output[0]) == ["batch", 10]
    assert not {"Dropout", "Reshape", "Transpose"} & set(ops(model))
    for batch in (1, 2, 5):
        x = images(batch, 3, SIZE, SIZE, seed=batch)
        assert_close(run(model, x)[0], eager(net, x)[0], 1e-5, name)


@pytest.mark.parametrize("name", NETS)
def test_initializers_are_the_state_dict(name: str) -> None:
    net = trained(name).eval()
    model = fc.onnx.export(net, None, images(1, 3, SIZE, SIZE))
    arrays = {i.name: onnx.numpy_helper.to_array(i) for i in model.graph.initializer}
    used = {k: v for k, v in net.state_dict().items() if not k.endswith("num_batches_tracked")}
    if name == "googlenet":  # the auxiliary head is for training
        used = {k: v for k, v in used.items() if not k.startswith("aux.")}
    assert set(used) <= set(arrays)
    for key, value in used.items():
        np.testing.assert_array_equal(arrays[key], value)
    assert all(k in used or k.startswith("constant") for k in arrays)


def test_lenet5_in_both_evaluators() -> None:
    net = fc.models.lenet5().eval()
    model = fc.onnx.export(net, None, images(1, 1, 28, 28))
    assert ops(model) == [
        *("Conv", "Tanh", "AveragePool", "Conv", "Tanh", "AveragePool", "Flatten"),
        *("Gemm", "Tanh", "Gemm", "Tanh", "Gemm"),
    ]
    x = images(3, 1, 28, 28)
    for got in (run(model, x), run_reference(model, x)):
        assert_close(got[0], eager(net, x)[0], 1e-5)


def test_names_and_descriptions() -> None:
    net = nn.Sequential(
        nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU()),
        nn.Sequential(nn.Flatten(), nn.Linear(4 * 4, 2)),
    )
    model = fc.onnx.export(net, None, images(1, 3, 4, 4))
    assert [n.name for n in model.graph.node] == [
        *("0.0/Conv", "0.1/BatchNormalization", "0.2/Relu", "1.0/Flatten", "1.1/Gemm"),
    ]
    assert [i.name for i in model.graph.input] == ["input"]
    assert [o.name for o in model.graph.output] == ["output"]
    assert (model.producer_name, model.producer_version) == ("fastconv", fc.__version__)
    assert model.graph.name == "Sequential" and "Sequential" in model.doc_string
    assert model.opset_import[0].version == 17 and model.ir_version == 8
    values = [v for n in model.graph.node for v in n.output]
    assert len(set(values)) == len(values)


def test_a_layer_that_runs_twice() -> None:
    class Twice(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = nn.Conv2d(3, 3, 1)

        def forward(self, x: Any) -> Any:
            return self.conv(F.relu(self.conv(x)))

    net = Twice().eval()
    model = fc.onnx.export(net, None, images(1, 3, 4, 4))
    assert [n.name for n in model.graph.node] == ["conv/Conv", "Relu", "conv/Conv_1"]
    assert [i.name for i in model.graph.initializer] == ["conv.weight", "conv.bias"]
    x = images(2, 3, 4, 4)
    assert_close(run(model, x)[0], eager(net, x)[0], 1e-5)


def test_shared_parameters_are_written_once() -> None:
    first, second = nn.Linear(5, 5), nn.Linear(5, 5)
    second.weight = first.weight
    net = nn.Sequential(first, second)
    model = fc.onnx.export(net, None, images(1, 5))
    assert [i.name for i in model.graph.initializer] == ["0.weight", "0.bias", "1.bias"]
    x = images(2, 5)
    assert_close(run(model, x)[0], eager(net, x)[0], 1e-5)


class Several(nn.Module):
    """Two inputs, several outputs: some of them inputs, parameters or one another."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(np.arange(3, dtype=np.float32))

    def forward(self, x: Any, y: Any) -> Any:
        total = F.add(x, y)
        return {"sum": total, "again": total, "first": x, "scale": self.scale, "flat": F.flatten(x)}


def test_several_inputs_and_outputs() -> None:
    net = Several()
    model = fc.onnx.export(net, None, (images(1, 3), images(1, 1)))
    assert [i.name for i in model.graph.input] == ["input_0", "input_1"]
    assert [o.name for o in model.graph.output] == ["sum", "again", "first", "scale", "flat"]
    found = {o.name: shape_of(o) for o in model.graph.output}
    assert found["sum"] == ["batch", 3] and found["scale"] == [3] and found["flat"] == ["3*batch"]
    x, y = images(4, 3), images(4, 1)
    for got, expected in zip(run(model, x, y), eager(net, x, y), strict=True):
        np.testing.assert_array_equal(got, expected)
    named = fc.onnx.export(
        net, None, [x, y], input_names=["a", "b"], output_names=["c", "d", "e", "f", "g"]
    )
    assert [i.name for i in named.graph.input] == ["a", "b"]
    assert [o.name for o in named.graph.output] == ["c", "d", "e", "f", "g"]
    assert_close(run(named, x, y)[0], eager(net, x, y)[0])


def test_names_that_parameters_have() -> None:
    net = Apply(lambda x, p: F.mul(F.add(x, p), p), images(1, 3))
    model = fc.onnx.export(net, None, images(1, 3), input_names=["p0"], output_names=["Add_output"])
    assert [i.name for i in model.graph.initializer] == ["p0_1"]
    x = images(2, 3)
    assert_close(run(model, x)[0], eager(net, x)[0])


def test_a_nested_result() -> None:
    net = Apply(lambda x: (F.relu(x), [F.tanh(x), {"z": F.sigmoid(x)}]))
    model = fc.onnx.export(net, None, images(2, 3))
    assert [o.name for o in model.graph.output] == ["output_0", "output_1", "output_2"]
    x = images(2, 3)
    for got, function in zip(run(model, x), (F.relu, F.tanh, F.sigmoid), strict=True):
        assert_close(got, function(x))


def test_a_fixed_batch() -> None:
    net = trained("vgg").eval()
    x = images(3, 3, SIZE, SIZE)
    model = fc.onnx.export(net, None, x, dynamic_batch=False)
    assert shape_of(model.graph.input[0]) == [3, 3, SIZE, SIZE]
    assert shape_of(model.graph.output[0]) == [3, 10]
    assert_close(run(model, x)[0], eager(net, x)[0], 1e-5)


def test_channels_last_networks() -> None:
    blocks = define(nn, F)

    def channels_last(module: Any) -> Any:
        for child in module.modules():
            if hasattr(child, "layout"):
                child.layout = "NHWC"
        return module

    plain = blocks.ResNet(blocks.Basic, (1, 1), 16).eval()
    # Global pooling leaves 1 x 1, whose order does not matter.
    net = nn.Sequential(
        channels_last(nn.Sequential(plain.conv1, plain.bn1)), nn.Flatten(), nn.ReLU()
    )
    model = fc.onnx.export(net, None, images(1, 6, 6, 3))
    assert ops(model) == ["Transpose", "Conv", "BatchNormalization", "Transpose", "Flatten", "Relu"]
    x = images(2, 6, 6, 3)
    assert_close(run(model, x)[0], eager(net, x)[0], 1e-5)
    net = nn.Sequential(
        nn.Conv2d(3, 4, 3, layout="NHWC"), nn.AdaptiveAvgPool2d(1, layout="NHWC"), nn.Flatten()
    )
    model = fc.onnx.export(net, None, x)
    assert ops(model) == ["Transpose", "Conv", "GlobalAveragePool", "Flatten"]
    assert_close(run(model, x)[0], eager(net, x)[0], 1e-5)


def test_the_network_stays_as_it_was() -> None:
    net = trained("mobile")
    before = {k: v.copy() for k, v in net.state_dict().items()}
    modes = [m.training for m in net.modules()]
    attributes = [set(vars(m)) for m in net.modules()]
    fc.onnx.export(net, None, images(1, 3, SIZE, SIZE))
    assert modes == [m.training for m in net.modules()]
    assert attributes == [set(vars(m)) for m in net.modules()]
    for key, value in net.state_dict().items():
        np.testing.assert_array_equal(value, before[key])


def test_the_model_has_its_own_weights() -> None:
    net = nn.Linear(3, 2)
    x = images(2, 3)
    model = fc.onnx.export(net, None, x)
    expected = eager(net, x)[0].copy()
    net.weight.numpy()[...] = 0
    assert_close(run(model, x)[0], expected)


# Files


def test_the_file(tmp_path: Path) -> None:
    net = nn.Linear(3, 2)
    path = tmp_path / "net.onnx"
    model = fc.onnx.export(net, path, images(1, 3))
    assert onnx.load(path) == model
    assert [p.name for p in tmp_path.iterdir()] == ["net.onnx"]


def test_a_failure_leaves_the_file_alone(tmp_path: Path) -> None:
    path = tmp_path / "net.onnx"
    path.write_bytes(b"as it was")
    with pytest.raises(fc.ShapeError):
        fc.onnx.export(nn.Linear(3, 2), path, images(1, 4))
    with pytest.raises(OSError):
        fc.onnx.export(nn.Linear(3, 2), tmp_path / "no" / "net.onnx", images(1, 3))
    with pytest.raises(IsADirectoryError):
        fc.onnx.export(nn.Linear(3, 2), tmp_path, images(1, 3))
    assert path.read_bytes() == b"as it was"
    assert [p.name for p in tmp_path.iterdir()] == ["net.onnx"]


# What is refused


def test_more_than_a_file_holds(monkeypatch: pytest.MonkeyPatch) -> None:
    from fastconv.onnx import export_graph

    monkeypatch.setattr(export_graph, "MOST_BYTES", 4000)
    fc.onnx.export(nn.Linear(10, 10), None, images(1, 10))
    with pytest.raises(fc.FormatError, match=r"export: .*4,400 bytes.*at most 4,000"):
        fc.onnx.export(nn.Linear(10, 100), None, images(1, 10))


def test_steps_without_a_translation_are_all_named() -> None:
    target = np.zeros(2, np.int64)

    def function(x: Any) -> Any:
        loss = F.mse_loss(x, F.relu(x))
        return F.add(F.cross_entropy(x, target), F.add(loss, F.mse_loss(F.tanh(x), x)))

    with pytest.raises(
        fc.CaptureError,
        match=r"without a translation: cross_entropy \(1 times\), pointwise_loss \(2 times\)$",
    ):
        fc.onnx.export(Apply(function), None, images(2, 3), dynamic_batch=False)


def by_batch(x: Any) -> Any:
    return F.mul(x, 1.0 / x.shape[0])


BATCH: dict[str, tuple[Any, str]] = {
    "an attribute": (by_batch, r"value of elementwise_scalar depends on the size of the batch"),
    "other steps": (
        lambda x: F.tanh(F.relu(x)) if x.shape[0] == 11 else F.tanh(x),
        "does other things with 11 images than with 7",
    ),
    "another function": (
        lambda x: F.tanh(x) if x.shape[0] == 13 else F.relu(x),
        "kind of activation depends",
    ),
    "an array": (lambda x: F.add(x, np.full((1, 3), x.shape[0], np.float32)), "makes for itself"),
    "no such batch": (lambda x: F.reshape(x, (7, 3)), "takes the examples but not batches of 11"),
    "any error": (
        lambda x: [F.relu(x)][x.shape[0] - 7],
        "takes the examples but not batches of 11",
    ),
    "a window": (
        lambda x: F.avg_pool2d(F.reshape(x, (1, 1, -1, 3)), 2),
        "the size of its windows of pool2d",
    ),
}


@pytest.mark.parametrize("name", BATCH)
def test_what_depends_on_the_batch(name: str) -> None:
    function, message = BATCH[name]
    x = images(7, 3)
    with pytest.raises(fc.CaptureError, match=f"^export: .*{message}.*dynamic_batch=False"):
        fc.onnx.export(Apply(function), None, x)
    model = fc.onnx.export(Apply(function), None, x, dynamic_batch=False)
    assert_close(run(model, x)[0], eager(Apply(function), x)[0], 1e-5)


def test_sizes_that_are_no_multiples_of_the_batch() -> None:
    net = Apply(lambda x: F.reshape(F.pad(F.flatten(x), (0, 3)), (1, x.shape[0] + 1, 3)))
    model = fc.onnx.export(net, None, images(2, 3))
    dims = model.graph.output[0].type.tensor_type.shape.dim
    assert [d.WhichOneof("value") for d in dims] == ["dim_value", None, "dim_value"]
    for batch in (1, 4):
        x = images(batch, 3)
        assert_close(run(model, x)[0], eager(net, x)[0])


def test_the_layer_is_named() -> None:
    net = nn.Sequential(nn.ReLU(), Apply(by_batch))
    with pytest.raises(fc.CaptureError, match=r"elementwise_scalar in 1 depends"):
        fc.onnx.export(net, None, images(2, 3))


LINEAR = nn.Linear(3, 2)
X = np.zeros((1, 3), np.float32)
BAD: dict[str, tuple[type[Exception], str, Any]] = {
    "net": (fc.DTypeError, "expects a Module, got function", lambda: fc.onnx.export(by_batch, None, X)),
    "contents": (
        fc.CaptureError,
        r"^export: bool\(\) reads the contents",
        lambda: fc.onnx.export(Apply(lambda x: F.relu(x) if x.numpy() else x), None, X),
    ),
    "constant result": (
        fc.CaptureError,
        "^export: the network returned int",
        lambda: fc.onnx.export(Apply(lambda x: 3), None, X),
    ),
    "example": (fc.DTypeError, "example 0 must be an array", lambda: fc.onnx.export(LINEAR, None, "x")),
    "no example": (fc.ShapeError, "needs an example", lambda: fc.onnx.export(LINEAR, None, ())),
    "empty example": (
        fc.ShapeError,
        r"example 0 of shape \(0, 3\) has no elements",
        lambda: fc.onnx.export(LINEAR, None, X[:0]),
    ),
    "example's shape": (fc.ShapeError, "linear: ", lambda: fc.onnx.export(LINEAR, None, X[:, :2])),
    "example's type": (
        fc.DTypeError,
        "export: example 0 is float64, expected float32",
        lambda: fc.onnx.export(LINEAR, None, X.astype(np.float64)),
    ),
    "network's type": (
        fc.DTypeError,
        r"export: weight is float64, expected float32; net.to\('float32'\)",
        lambda: fc.onnx.export(nn.Linear(3, 2, dtype="float64"), None, X),
    ),
    "bfloat16": (
        fc.DTypeError,
        "export: weight is bfloat16",
        lambda: fc.onnx.export(nn.Linear(3, 2).bfloat16(), None, X),
    ),
    "autocast": (
        fc.DTypeError,
        "export: the network computes with bfloat16",
        lambda: autocast_export(),
    ),
    "batches": (
        fc.ShapeError,
        r"first dimension of one size, got shapes \(1, 3\), \(2, 3\)",
        lambda: fc.onnx.export(Several(), None, (X, np.zeros((2, 3), np.float32))),
    ),
    "no batch": (
        fc.ShapeError,
        r"first dimension of one size, got shapes \(\)",
        lambda: fc.onnx.export(nn.ReLU(), None, np.array(1, np.float32)),
    ),
    "dynamic_batch": (
        fc.DTypeError,
        "dynamic_batch must be True or False, got int",
        lambda: fc.onnx.export(LINEAR, None, X, dynamic_batch=1),
    ),
    "opset's type": (
        fc.DTypeError,
        "opset must be an integer, got float",
        lambda: fc.onnx.export(LINEAR, None, X, opset=17.0),
    ),
    "old opset": (
        fc.ShapeError,
        "opset must be 13 to [0-9]+, got 12",
        lambda: fc.onnx.export(LINEAR, None, X, opset=12),
    ),
    "new opset": (
        fc.ShapeError,
        "opset must be 13 to [0-9]+, got 1000",
        lambda: fc.onnx.export(LINEAR, None, X, opset=1000),
    ),
    "one name": (
        fc.DTypeError,
        "input_names must be a sequence, got str",
        lambda: fc.onnx.export(LINEAR, None, X, input_names="x"),
    ),
    "numbers as names": (
        fc.DTypeError,
        "output_names must be strings, got int",
        lambda: fc.onnx.export(LINEAR, None, X, output_names=[1]),
    ),
    "too many names": (
        fc.ShapeError,
        r"input_names must be 1 different names, got \['a', 'b'\]",
        lambda: fc.onnx.export(LINEAR, None, X, input_names=["a", "b"]),
    ),
    "equal names": (
        fc.ShapeError,
        "input_names must be 2 different names",
        lambda: fc.onnx.export(Several(), None, (X, X), input_names=["a", "a"]),
    ),
    "an empty name": (
        fc.ShapeError,
        "output_names must be 1 different names",
        lambda: fc.onnx.export(LINEAR, None, X, output_names=[""]),
    ),
    "input and output": (
        fc.ShapeError,
        "'a' is the name of an input and of an output",
        lambda: fc.onnx.export(LINEAR, None, X, input_names=["a"], output_names=["a"]),
    ),
}  # fmt: skip


def autocast_export() -> None:
    pytest.importorskip("ml_dtypes")
    with fc.autocast():
        fc.onnx.export(LINEAR, None, X)


@pytest.mark.parametrize("name", BAD)
def test_bad_arguments(name: str, tmp_path: Path) -> None:
    kind, message, call = BAD[name]
    with pytest.raises(kind, match=message):
        call()


def test_the_package_is_needed_only_for_export() -> None:
    code = """
import sys
sys.modules["onnx"] = None
import numpy as np, fastconv as fc
assert "export" in dir(fc.onnx)
try:
    fc.onnx.export(fc.nn.Linear(3, 2), None, np.zeros((1, 3), np.float32))
except ImportError as error:
    print(error)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.stdout == (
        'export needs onnx, which is not installed: pip install "fastconv[onnx]"\n'
    ), done.stderr
