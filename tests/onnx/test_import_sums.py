"""CumSum and Mod of what a network computes, with gradients; multiply-accumulates and errors of whole files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import fastconv as fc
import fastconv.functional as F
from fastconv import models
from tests.onnx.helpers import images
from tests.support import assert_close, randn, rng

onnx = pytest.importorskip("onnx")
from onnx import TensorProto, helper, numpy_helper  # noqa: E402


def network(op: str, names: tuple[str, ...], constants: dict[str, Any], **attributes: Any) -> Any:
    """A file of one node, whose inputs are those of `names` that are no constants."""
    inputs = [n for n in names if n not in constants]
    graph = helper.make_graph(
        [helper.make_node(op, names, ["y"], **attributes)],
        "net",
        [helper.make_tensor_value_info(n, TensorProto.FLOAT, None) for n in inputs],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
        [numpy_helper.from_array(np.asarray(v), n) for n, v in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    return fc.onnx.load(model.SerializeToString()).eval()


def summed(x: Any, axis: int, exclusive: bool, reverse: bool) -> Any:
    """Each element the sum of those before it, one by one."""
    moved = np.moveaxis(x.astype(np.float64), axis, -1)
    y = np.zeros_like(moved)
    n = moved.shape[-1]
    for i in range(n):
        for j in range(n):
            before = j > i if reverse else j < i
            if before or (j == i and not exclusive):
                y[..., i] += moved[..., j]
    return np.moveaxis(y, -1, axis)


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("exclusive", [False, True])
@pytest.mark.parametrize(
    ("shape", "axis"), [((2, 3, 7, 5), 2), ((2, 8), 1), ((3, 1), -1), ((11,), 0)]
)
def test_cumulative_sums(shape: tuple[int, ...], axis: int, exclusive: bool, reverse: bool) -> None:
    """The gradient of a sum of the elements in front is the sum of the gradients behind."""
    net = network(
        "CumSum", ("x", "axis"), {"axis": np.int64(axis)}, exclusive=exclusive, reverse=reverse
    )
    x, g = randn(rng("x", shape), *shape), randn(rng("g", shape), *shape)
    expected = summed(x, axis, exclusive, reverse)
    t = fc.tensor(x, requires_grad=True)
    y = net(t)
    assert_close(y.numpy(), expected, 1e-6)
    assert_close(fc.compile(net, x)(x), expected, 1e-6)
    F.sum(F.mul(y, g)).backward()
    assert_close(np.asarray(t.grad), summed(g, axis, exclusive, not reverse), 1e-6)


def test_a_cumulative_sum_keeps_infinities_where_they_are() -> None:
    net = network("CumSum", ("x", "axis"), {"axis": np.int64(1)})
    with fc.no_grad():
        y = net(np.array([[1, 2, np.inf, 3]], np.float32)).numpy()
    np.testing.assert_array_equal(y, [[1, 3, np.inf, np.inf]])


@pytest.mark.parametrize("fmod", [0, 1])
def test_rests_of_divisions(fmod: int) -> None:
    """PyTorch's gradients: to the dividend 1, to the divisor minus the whole quotient."""
    net = network("Mod", ("x", "z"), {}, fmod=fmod)
    x = np.array([[7.5, -7.5, 7.5, -7.5, 0.25, 6.0]], np.float32)
    z = np.array([[2.0, 2.0, -2.0, -2.0, 3.0, 4.0], [3.0, 3.0, -3.0, -3.0, 0.1, 1.5]], np.float32)
    g = randn(rng("mod"), 2, 6)
    whole = (np.trunc if fmod else np.floor)(x.astype(np.float64) / z)
    tx, tz = fc.tensor(x, requires_grad=True), fc.tensor(z, requires_grad=True)
    y = net(tx, tz)
    assert_close(y.numpy(), x.astype(np.float64) - whole * z, 1e-6)
    F.sum(F.mul(y, g)).backward()
    assert_close(np.asarray(tx.grad), g.sum(0, keepdims=True), 1e-6)
    assert_close(np.asarray(tz.grad), -g * whole, 1e-6)


def test_a_program_refuses_rests_of_divisions() -> None:
    net = network("Mod", ("x", "z"), {"z": np.float32(2)}, fmod=1)
    with pytest.raises(fc.CaptureError, match="Mod"):
        fc.compile(net, np.ones(3, np.float32))


@pytest.mark.parametrize(
    ("name", "size"),
    [("lenet5", 28), ("resnet18", 64), ("squeezenet1_1", 64), ("mobilenet_v2", 64)],
)
def test_summaries_count_as_the_networks_themselves(name: str, size: int) -> None:
    net = models.create(name, num_classes=5).eval()
    shape = (2, models.info(name).input_shape[0], size, size)
    back = fc.onnx.load(fc.onnx.export(net, None, images(*shape)).SerializeToString())
    own, found = net.summary(shape), back.summary(shape)
    assert found.macs == own.macs > 0
    assert found.parameters == own.parameters == sum(row.parameters for row in found.layers)
    counted = [row.macs for row in found.layers if row.macs]
    assert counted == [row.macs for row in own.layers if row.macs]
    assert any(row.type == "Conv" and row.output_shape[0] == 2 for row in found.layers)
    assert back.training  # as before, and a run afterwards notes nothing
    with fc.no_grad():
        back.eval()(images(*shape))
    assert len(found.layers) == len(back.summary(shape).layers)


def test_summaries_of_products_and_transposed_convolutions() -> None:
    g = rng("macs")
    node = helper.make_node
    graph = helper.make_graph(
        [
            node("ConvTranspose", ["x", "w"], ["a"], strides=[2, 2], group=2),
            node("GlobalAveragePool", ["a"], ["b"]),
            node("Flatten", ["b"], ["c"]),
            node("Gemm", ["c", "m", "v"], ["d"], alpha=0.5),
            node("MatMul", ["d", "p"], ["y"]),
        ],
        "net",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 4, 3, 5])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
        [
            numpy_helper.from_array(randn(g, *shape), name)
            for name, shape in (("w", (4, 3, 2, 2)), ("m", (6, 7)), ("v", (7,)), ("p", (7, 2)))
        ],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    found = fc.onnx.load(model.SerializeToString()).summary((3, 4, 3, 5))
    counted = {row.name: row.macs for row in found.layers if row.macs}
    assert counted == {"a": 3 * 4 * 3 * 5 * 3 * 2 * 2, "d": 3 * 6 * 7, "y": 3 * 7 * 2}
    assert found.parameters == 4 * 3 * 2 * 2 + 6 * 7 + 7 + 7 * 2


def test_a_network_from_a_file_among_layers() -> None:
    net = models.create("lenet5").eval()
    back = fc.onnx.load(fc.onnx.export(net, None, images(1, 1, 28, 28)).SerializeToString())
    both = fc.nn.Sequential(fc.nn.Identity(), back)
    assert both.summary((1, 1, 28, 28)).macs == net.summary((1, 1, 28, 28)).macs


@pytest.mark.parametrize("content", [b"no network", b"", "op"])
def test_errors_name_the_file(content: Any, tmp_path: Path) -> None:
    if content == "op":
        graph = helper.make_graph([helper.make_node("Einsum", ["x"], ["y"], equation="i->i")], "net",
            [helper.make_tensor_value_info("x", TensorProto.FLOAT, None)],
            [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)])  # fmt: skip
        opsets = [helper.make_opsetid("", 17)]
        content = helper.make_model(graph, opset_imports=opsets).SerializeToString()
    path = tmp_path / "damaged net.onnx"
    path.write_bytes(content)
    with pytest.raises(fc.FormatError) as error:
        fc.onnx.load(path)
    assert str(error.value).startswith(f"onnx.load: {path}: ")
    assert str(error.value).count("onnx.load") == 1
    with pytest.raises(fc.FormatError, match=r"^onnx\.load: "):
        fc.onnx.load(content)
