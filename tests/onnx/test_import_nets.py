"""Whole networks read from ONNX: against ONNX Runtime, compiled, in training, of any batch size."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import fastconv as fc
import fastconv.functional as F
from fastconv import nn
from fastconv.onnx import OnnxModule
from tests.onnx.helpers import RUNTIME, run_runtime
from tests.support import assert_close, randn, rng

onnx = pytest.importorskip("onnx")
from onnx import TensorProto, helper, numpy_helper  # noqa: E402

LIGHT = Path(onnx.__file__).parent / "backend" / "test" / "data" / "light"
NETS = (
    *("bvlc_alexnet", "densenet121", "inception_v1", "inception_v2", "resnet50", "shufflenet"),
    *("squeezenet", "vgg19", "zfnet512"),
)


def seeded(name: str) -> Any:
    """A light network with random weights in place of its constant ones, up to its softmax."""
    model = onnx.load(LIGHT / f"light_{name}.onnx")
    graph, generator = model.graph, rng(name)
    numbers = randn(generator, 1_000_003)  # a prime, so that no two rows are alike
    shapes = {i.name: numpy_helper.to_array(i) for i in graph.initializer}
    roles = {i: (n.op_type, k) for n in graph.node for k, i in enumerate(n.input)}
    nodes = []
    for node in graph.node:
        if node.op_type != "ConstantOfShape":
            if node.op_type != "Softmax":  # which would hide what is wrong in front of it
                nodes.append(node)
            continue
        shape = tuple(int(s) for s in shapes[node.input[0]])
        positive = roles[node.output[0]] in (("BatchNormalization", 4), ("BatchNormalization", 1))
        if positive:
            weight = generator.uniform(0.5, 1.0, shape)
        elif len(shape) > 1:
            weight = np.resize(numbers, shape) * np.float32(np.sqrt(1.5 / np.prod(shape[1:])))
        else:
            weight = randn(generator, *shape) / 10
        tensor = numpy_helper.from_array(weight.astype(np.float32, copy=False), node.output[0])
        graph.initializer.append(tensor)
    weights = {i.name for i in graph.initializer}
    inputs = [i for i in graph.input if i.name not in weights]
    del graph.input[:]
    graph.input.extend(inputs)
    model.ir_version = 8  # in which initializers need not be inputs
    last = nodes[-1].output[0]
    del graph.node[:]
    graph.node.extend(nodes)
    graph.output[0].name = last
    graph.output[0].type.tensor_type.ClearField("shape")
    return model


@pytest.mark.skipif(not RUNTIME, reason="needs onnxruntime")
@pytest.mark.skipif(not LIGHT.is_dir(), reason="this onnx ships no light networks")
@pytest.mark.parametrize("name", NETS)
def test_light_networks_give_the_runtimes_numbers(name: str) -> None:
    model = seeded(name)
    net = fc.onnx.load(model.SerializeToString()).eval()
    assert net.inputs[0].shape is not None
    x = randn(rng("x"), *(s or 1 for s in net.inputs[0].shape))
    (expected,) = run_runtime(model, x)
    scale = np.abs(expected).max()
    assert 1e-3 < scale < 1e4 and expected.std() > 0
    with fc.no_grad():
        np.testing.assert_allclose(net(x).numpy() / scale, expected / scale, atol=1e-4)
    np.testing.assert_allclose(fc.compile(net, x)(x) / scale, expected / scale, atol=1e-4)


@pytest.mark.skipif(not LIGHT.is_dir(), reason="this onnx ships no light networks")
def test_light_networks_load_as_they_are() -> None:
    net = fc.onnx.load(LIGHT / "light_resnet50.onnx")
    assert sum(p.size for p in net.parameters()) == 25_557_032


def model_of(nodes: list[Any], weights: dict[str, Any], shape: Any, opset: int = 17) -> bytes:
    """A file whose input is x and whose output y."""
    graph = helper.make_graph(
        nodes,
        "net",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
        [numpy_helper.from_array(np.asarray(w), n) for n, w in weights.items()],
    )
    opsets = [helper.make_opsetid("", opset)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=8).SerializeToString()


def small(seed: int = 0) -> bytes:
    """Convolution, batch norm, a residual, and a head that reads the batch's size."""
    g = rng("small", seed)
    node = helper.make_node
    nodes = [
        node("Pad", ["x", "pads"], ["p"]),
        node("Conv", ["p", "features.0.weight", "features.0.bias"], ["a"], strides=[2, 2]),
        node("BatchNormalization", ["a", "bn.w", "bn.b", "bn.mean", "bn.var"], ["b"], epsilon=1e-3),
        node("Clip", ["b", "zero", "six"], ["c"]),
        node("Conv", ["c", "w2"], ["d"], pads=[1, 1, 1, 1]),
        node("Add", ["d", "c"], ["e"]),
        node("GlobalAveragePool", ["e"], ["f"]),
        node("Shape", ["f"], ["s"]),
        node("Gather", ["s", "first"], ["n"]),
        node("Unsqueeze", ["n", "axes"], ["n1"]),
        node("Concat", ["n1", "rest"], ["shape"], axis=0),
        node("Reshape", ["f", "shape"], ["g"]),
        node("Dropout", ["g", "rate"], ["h"]),
        node("MatMul", ["h", "fc.weight"], ["i"]),
        node("Add", ["i", "fc.bias"], ["y"]),
    ]
    weights = {
        "pads": np.array([0, 0, 0, 0, 0, 0, 1, 1]),
        "features.0.weight": randn(g, 24, 3, 3, 3) / 5,
        "features.0.bias": randn(g, 24),
        "bn.w": 1 + randn(g, 24) / 10,
        "bn.b": randn(g, 24),
        "bn.mean": randn(g, 24) / 10,
        "bn.var": g.uniform(0.5, 1.5, 24).astype(np.float32),
        "zero": np.float32(0),
        "six": np.float32(6),
        "w2": randn(g, 24, 24, 3, 3) / 15,
        "first": np.int64(0),
        "axes": np.array([0]),
        "rest": np.array([-1]),
        "rate": np.float32(0.5),
        "fc.weight": randn(g, 24, 5) / 5,
        "fc.bias": randn(g, 5),
    }
    return model_of(nodes, weights, ["n", 3, 11, 11])


def by_hand(net: OnnxModule, x: Any) -> Any:
    """The small network in evaluation mode, written out."""
    s: Any = net.state_dict()
    a = F.conv2d(F.pad(x, (0, 1, 0, 1)), s["features.0.weight"], s["features.0.bias"], 2)
    b = F.batch_norm(a, s["bn.mean"], s["bn.var"], s["bn.w"], s["bn.b"], eps=1e-3)
    c = F.relu6(b)
    e = F.conv2d(c, s["w2"], None, 1, 1) + c
    return F.linear(e.mean((2, 3)), s["fc.weight"], s["fc.bias"])


@pytest.mark.parametrize("batch", [1, 2, 5])
def test_any_batch_size(batch: int) -> None:
    net = fc.onnx.load(small()).eval()
    x = randn(rng("x"), batch, 3, 11, 11)
    with fc.no_grad():
        assert_close(net(x).numpy(), by_hand(net, x), 1e-5)
    program = fc.compile(net, x[:1])
    assert_close(program(x), by_hand(net, x), 1e-5)


def test_names_and_layouts_of_what_is_learned() -> None:
    net = fc.onnx.load(small())
    parameters = {n: p.shape for n, p in net.named_parameters()}
    assert parameters == {
        "features.0.weight": (24, 3, 3, 3),
        "features.0.bias": (24,),
        "bn.w": (24,),
        "bn.b": (24,),
        "w2": (24, 24, 3, 3),
        "fc.weight": (5, 24),  # as nn.Linear has it
        "fc.bias": (5,),
    }
    assert [n for n, _ in net.named_buffers()] == ["bn.mean", "bn.var"]
    assert net.inputs[0].name == "x" and net.inputs[0].shape == (None, 3, 11, 11)
    assert (net.outputs, net.opset) == (("y",), 17)
    assert "opset=17" in repr(net)


def test_what_a_program_makes_of_it() -> None:
    """One node a layer: padding, batch norm, the bound of 6 and the sum go into the convolutions."""
    net = fc.onnx.load(small()).eval()
    program = fc.compile(net, np.zeros((1, 3, 11, 11), np.float32))
    kinds = [
        line.split(" = ")[1].split("(")[0] for line in program.dump().splitlines() if " = " in line
    ]
    assert [k for k in kinds if k not in ("transpose", "reshape")] == [
        *("conv2d", "conv2d", "pool2d", "linear"),
    ]


def test_padding_that_pytorch_writes_out() -> None:
    """F.pad as its exporter has it: amounts reversed and sorted by seven nodes. All of it is constant."""
    node = helper.make_node
    nodes = [
        node("ConstantOfShape", ["four"], ["zeros"], value=helper.make_tensor("v", 7, [1], [0])),
        node("Concat", ["amounts", "zeros"], ["all"], axis=0),
        node("Reshape", ["all", "pairs"], ["p1"]),
        node("Slice", ["p1", "last", "least", "first", "last"], ["p2"]),
        node("Transpose", ["p2"], ["p3"], perm=[1, 0]),
        node("Reshape", ["p3", "last"], ["p4"]),
        node("Cast", ["p4"], ["p5"], to=TensorProto.INT64),
        node("Pad", ["x", "p5"], ["p"], mode="constant"),
        node("Conv", ["p", "w"], ["y"], strides=[2, 2]),
    ]
    weights = {
        "four": np.array([4]),
        "amounts": np.array([0, 1, 0, 1]),
        "pairs": np.array([-1, 2]),
        "first": np.array([0]),
        "last": np.array([-1]),
        "least": np.array([np.iinfo(np.int64).min + 1]),
        "w": randn(rng("w"), 20, 3, 3, 3),
    }
    net = fc.onnx.load(model_of(nodes, weights, ["n", 3, 8, 8])).eval()
    assert len(net._graph.nodes) == 1
    x = randn(rng("x"), 2, 3, 8, 8)
    expected = F.conv2d(F.pad(x, (0, 1, 0, 1)), weights["w"], None, 2)
    program = fc.compile(net, x)
    with fc.no_grad():
        assert_close(net(x).numpy(), expected)
    assert_close(program(x), expected)
    assert "pad(" not in program.dump()


@pytest.mark.parametrize("name", ["lenet5", "resnet18", "squeezenet1_1", "mobilenet_v2"])
def test_exported_networks_come_back(name: str) -> None:
    """The numbers and the weights' names are the same, for any batch."""
    shape = (1, 28, 28) if name == "lenet5" else (3, 64, 64)
    net = fc.models.create(name, num_classes=7).eval()
    model = fc.onnx.export(net, None, np.zeros((1, *shape), np.float32))
    back = fc.onnx.load(model.SerializeToString()).eval()
    x = randn(rng("x"), 3, *shape)
    with fc.no_grad():
        assert_close(back(x).numpy(), net(x).numpy(), 1e-5)
    assert_close(fc.compile(back, x)(x), fc.compile(net, x)(x), 1e-5)
    assert {n for n, _ in back.named_parameters()} <= {n for n, _ in net.named_parameters()}
    assert sum(p.size for p in back.parameters()) == sum(p.size for p in net.parameters())


def test_state_dicts_travel() -> None:
    first, second = fc.onnx.load(small()), fc.onnx.load(small(seed=1))
    second.load_state_dict(first.state_dict())
    x = randn(rng("x"), 2, 3, 11, 11)
    with fc.no_grad():
        assert np.array_equal(first.eval()(x).numpy(), second.eval()(x).numpy())


def test_training_mode() -> None:
    net = fc.onnx.load(small())
    x = randn(rng("x"), 8, 3, 11, 11)
    before = np.array(net.state_dict()["bn.mean"])
    fc.manual_seed(0)
    one = net(x).numpy()
    two = net(x).numpy()
    assert not np.allclose(one, two)  # dropout
    s: Any = net.state_dict()
    a = F.conv2d(F.pad(x, (0, 1, 0, 1)), s["features.0.weight"], s["features.0.bias"], 2)
    batch = a.mean((0, 2, 3))
    # ONNX's momentum weights the old value, and is 0.9.
    expected = before
    for _ in range(2):
        expected = 0.9 * expected + 0.1 * batch
    assert_close(s["bn.mean"], expected, 1e-5)
    net.eval()
    with fc.no_grad():
        assert np.array_equal(net(x).numpy(), net(x).numpy())


def test_gradients() -> None:
    """In float64, by finite differences."""
    net = fc.onnx.load(small()).eval().double()
    x = fc.tensor(randn(rng("x"), 2, 3, 11, 11).astype(np.float64), requires_grad=True)
    g = randn(rng("g"), 2, 5).astype(np.float64)
    (net(x) * g).sum().backward()
    for name in ("features.0.weight", "bn.w", "w2", "fc.weight", "fc.bias"):
        parameter = dict(net.named_parameters())[name]
        assert parameter.grad is not None
        place = tuple(s // 2 for s in parameter.shape)
        array, step = parameter.numpy(), 1e-6
        sums = []
        for sign in (1, -2):
            array[place] += sign * step
            with fc.no_grad():
                sums.append(float((net(x).numpy() * g).sum()))
        array[place] += step
        numeric = (sums[0] - sums[1]) / (2 * step)
        np.testing.assert_allclose(parameter.grad.numpy()[place], numeric, rtol=1e-5, atol=1e-6)


def test_fine_tuning_in_compiled_steps() -> None:
    """The trainer's own step, and a head in the place of the file's."""
    net = fc.onnx.load(small())
    net.fc.weight = nn.Parameter(randn(rng("head"), 3, 24) / 5)  # type: ignore[attr-defined]
    net.fc.bias = nn.Parameter(np.zeros(3, np.float32))  # type: ignore[attr-defined]
    x = randn(rng("x"), 16, 3, 11, 11)
    labels = np.arange(16) % 3
    optimizer = fc.optim.SGD(net.parameters(), lr=0.05, momentum=0.9)
    step = fc.program.TrainingStep(net, F.cross_entropy, optimizer)
    losses = [step(x, labels)[0] for _ in range(40)]
    assert losses[-1] < 0.5 * losses[0]
    assert net.eval()(x).shape == (16, 3)


def test_a_frozen_part_stays() -> None:
    net = fc.onnx.load(small())
    net.features.requires_grad_(False)  # type: ignore[attr-defined]
    before = np.array(net.state_dict()["features.0.weight"])
    optimizer = fc.optim.SGD([p for p in net.parameters() if p.requires_grad], lr=0.1)
    F.cross_entropy(net(randn(rng("x"), 4, 3, 11, 11)), np.arange(4)).backward()
    optimizer.step()
    assert np.array_equal(before, net.state_dict()["features.0.weight"])


def test_shared_weights_stay_one() -> None:
    node = helper.make_node
    nodes = [
        node("Identity", ["w"], ["v"]),
        node("Conv", ["x", "w"], ["a"], pads=[1, 1, 1, 1]),
        node("Conv", ["a", "v"], ["y"], pads=[1, 1, 1, 1]),
    ]
    net = fc.onnx.load(model_of(nodes, {"w": randn(rng("w"), 4, 4, 3, 3)}, [1, 4, 6, 6]))
    assert [n for n, _ in net.named_parameters()] == ["w"]


@pytest.mark.parametrize(
    "names", [("a", "a.b"), ("a.b", "a"), ("forward", "x.."), ("training", "_graph")]
)
def test_names_that_modules_cannot_have(names: tuple[str, str]) -> None:
    node = helper.make_node
    nodes = [
        node("Conv", ["x", names[0]], ["c"]),
        node("Conv", ["c", names[1]], ["y"]),
    ]
    weights = {names[0]: randn(rng(0), 4, 3, 1, 1), names[1]: randn(rng(1), 2, 4, 1, 1)}
    net = fc.onnx.load(model_of(nodes, weights, [1, 3, 5, 5])).eval()
    assert sorted(p.shape for p in net.parameters()) == [(2, 4, 1, 1), (4, 3, 1, 1)]
    x = randn(rng("x"), 1, 3, 5, 5)
    expected = F.conv2d(F.conv2d(x, weights[names[0]]), weights[names[1]])
    with fc.no_grad():
        assert_close(net(x).numpy(), expected)
    net.load_state_dict(net.state_dict())


def test_inputs_are_checked() -> None:
    net = fc.onnx.load(small()).eval()
    with pytest.raises(fc.ShapeError, match=r"expects 1 inputs \(x\), got 2"):
        net(np.zeros((1, 3, 11, 11), np.float32), np.zeros(1))
    with pytest.raises(fc.ShapeError, match="x must have 4 dimensions"):
        net(np.zeros((3, 11, 11), np.float32))
    with pytest.raises(fc.DTypeError, match="x must be of float32, got int64"):
        net(np.zeros((1, 3, 11, 11), np.int64))
    with pytest.raises(fc.DTypeError, match="onnx: Conv"):
        net(np.zeros((1, 3, 11, 11), np.float64))
    with pytest.raises(fc.ShapeError, match="onnx: Conv"):
        net(np.zeros((1, 4, 11, 11), np.float32))


def test_float64_networks() -> None:
    net = fc.onnx.load(small()).eval()
    x = randn(rng("x"), 2, 3, 11, 11)
    with fc.no_grad():
        single = net(x).numpy()
        assert_close(net.double()(x.astype(np.float64)).numpy(), single, 1e-5)


def test_half_precision_files_are_computed_in_float32() -> None:
    node = helper.make_node
    w = randn(rng("w"), 4, 3, 3, 3).astype(np.float16)
    graph = helper.make_graph(
        [node("Conv", ["x", "w"], ["a"]), node("Cast", ["a"], ["y"], to=TensorProto.FLOAT)],
        "net",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT16, [1, 3, 6, 6])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
        [numpy_helper.from_array(w, "w")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    net = fc.onnx.load(model.SerializeToString()).eval()
    x = randn(rng("x"), 1, 3, 6, 6).astype(np.float16)
    expected = F.conv2d(x.astype(np.float32), w.astype(np.float32))
    for given in (x, x.astype(np.float32)):
        with fc.no_grad():
            assert_close(net(given).numpy(), expected)


def test_without_the_package_onnx(monkeypatch: pytest.MonkeyPatch) -> None:
    real = importlib.import_module

    def missing(name: str, package: str | None = None) -> Any:
        if name == "onnx":
            raise ImportError(name)
        return real(name, package)

    monkeypatch.setattr(importlib, "import_module", missing)
    with pytest.raises(ImportError, match=r'onnx.load needs onnx.*"fastconv\[onnx\]"'):
        fc.onnx.load(b"")
