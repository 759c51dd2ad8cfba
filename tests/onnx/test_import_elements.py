"""GatherElements and ScatterElements: values against plain loops, gradients, programs, errors."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import fastconv as fc
from tests.onnx.helpers import eager
from tests.support import assert_close

onnx = pytest.importorskip("onnx")

REDUCTIONS = ("none", "add", "mul", "max", "min")


def one_node(op: str, inputs: dict[str, Any], known: tuple[str, ...], **attributes: Any) -> Any:
    """A network of one node whose inputs but `known` are those of the network."""
    from onnx import TensorProto, helper, numpy_helper

    kinds = {"f": TensorProto.FLOAT, "i": TensorProto.INT64}
    graph = helper.make_graph(
        [helper.make_node(op, list(inputs), ["y"], **attributes)],
        "one",
        [
            helper.make_tensor_value_info(n, kinds[a.dtype.kind], a.shape)
            for n, a in inputs.items()
            if n not in known
        ],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
        [numpy_helper.from_array(inputs[n], n) for n in known],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)])
    model.ir_version = 8
    return fc.onnx.load(model.SerializeToString()).eval()


def scattered(data: Any, index: Any, updates: Any, axis: int, reduction: str) -> Any:
    steps = {"add": np.add, "mul": np.multiply, "max": np.maximum, "min": np.minimum}
    made = data.astype(np.float64)
    for place in np.ndindex(*index.shape):
        to = list(place)
        to[axis] = int(index[place])
        old, new = made[tuple(to)], float(updates[place])
        made[tuple(to)] = new if reduction == "none" else steps[reduction](old, new)
    return made


def case(axis: int, less: bool) -> tuple[Any, Any, Any]:
    rng = np.random.default_rng(axis)
    data = rng.standard_normal((3, 4, 5)).astype(np.float32)
    shape = [2, 3, 3] if less else [3, 4, 5]
    shape[axis] = 7
    index = rng.integers(-data.shape[axis], data.shape[axis], shape)
    return data, index, rng.standard_normal(shape).astype(np.float32)


@pytest.mark.parametrize("less", [False, True])
@pytest.mark.parametrize("axis", [0, 1, 2])
def test_gather_elements(axis: int, less: bool) -> None:
    data, index, _ = case(axis, less)
    net = one_node("GatherElements", {"x": data, "i": index}, ("i",), axis=axis)
    inside = data[tuple(slice(None if d == axis else n) for d, n in enumerate(index.shape))]
    wanted = np.take_along_axis(inside, index, axis)
    np.testing.assert_array_equal(eager(net, data)[0], wanted)
    np.testing.assert_array_equal(fc.compile(net, data)(data), wanted)


@pytest.mark.parametrize("reduction", REDUCTIONS)
@pytest.mark.parametrize("less", [False, True])
@pytest.mark.parametrize("axis", [0, 1, 2])
def test_scatter_elements(axis: int, less: bool, reduction: str) -> None:
    data, index, updates = case(axis, less)
    if reduction == "none":  # which of two updates of one place stays is not said
        index = np.argsort(np.random.default_rng(1).random(index.shape), axis)
        keep = (slice(None),) * axis + (slice(data.shape[axis] - 1),)
        index = np.argsort(index[keep], axis)
        updates = updates[keep]
    inputs = {"x": data, "i": index, "u": updates}
    net = one_node("ScatterElements", inputs, ("i",), axis=axis, reduction=reduction)
    wanted = scattered(data, index, updates, axis, reduction)
    assert_close(eager(net, data, updates)[0], wanted, 1e-6)
    assert_close(fc.compile(net, data, updates)(data, updates), wanted, 1e-6)


@pytest.mark.parametrize("reduction", REDUCTIONS)
def test_scatter_into_zeros(reduction: str) -> None:
    updates = np.array([[3, -4, 5], [-2, 2, 0]], np.float32)
    index = np.array([[0, 1, 1], [2, 0, 2]])
    data = np.zeros((3, 3), np.float32)
    inputs = {"x": data, "i": index, "u": updates}
    net = one_node("ScatterElements", inputs, ("x", "i"), axis=0, reduction=reduction)
    wanted = scattered(data, index, updates, 0, reduction)
    np.testing.assert_array_equal(eager(net, updates)[0], wanted)
    np.testing.assert_array_equal(fc.compile(net, updates)(updates), wanted)


@pytest.mark.parametrize("reduction", REDUCTIONS)
def test_gradients_of_scatter_elements(reduction: str) -> None:
    rng = np.random.default_rng(3)
    data, updates = rng.standard_normal((4, 3)), rng.standard_normal((3, 3))
    index = np.array([[0, 1, 2], [3, 1, 0], [2, 0, 2]])
    if reduction == "none":
        index[1, 1], index[2, 2] = 2, 3
    inputs = {"x": data.astype(np.float32), "i": index, "u": updates.astype(np.float32)}
    net = one_node("ScatterElements", inputs, ("i",), axis=0, reduction=reduction)
    weights = rng.standard_normal((4, 3))
    x = fc.tensor(inputs["x"], requires_grad=True)
    u = fc.tensor(inputs["u"], requires_grad=True)
    (net(x, u) * fc.tensor(weights.astype(np.float32))).sum().backward()
    for leaf, array, of in ((x, data, 0), (u, updates, 1)):
        wanted = np.empty_like(array)
        for place in np.ndindex(*array.shape):
            both = []
            for step in (1e-6, -1e-6):
                moved = [data.copy(), updates.copy()]
                moved[of][place] += step
                both.append((scattered(moved[0], index, moved[1], 0, reduction) * weights).sum())
            wanted[place] = (both[0] - both[1]) / 2e-6
        assert_close(leaf.grad.numpy(), wanted, 1e-4)


@pytest.mark.parametrize(
    ("op", "index", "attributes", "told"),
    [
        ("GatherElements", np.full((2, 3), 2), {}, "indices beyond the 2 elements"),
        ("GatherElements", np.zeros((2, 4), np.int64), {}, "indices of shape"),
        ("GatherElements", np.zeros(3, np.int64), {}, "indices of shape"),
        ("GatherElements", np.zeros((2, 3), np.int64), {"axis": 2}, "axis 2"),
        ("ScatterElements", np.full((2, 3), -3), {}, "indices beyond the 2 elements"),
        ("ScatterElements", np.zeros((1, 3), np.int64), {}, "updates of shape"),
        ("ScatterElements", np.zeros((2, 3), np.int64), {"reduction": "mean"}, "reduction must be"),
    ],
)
def test_bad_arguments(op: str, index: Any, attributes: dict[str, Any], told: str) -> None:
    x = np.ones((2, 3), np.float32)
    inputs = {"x": x, "i": index} | ({"u": x} if op == "ScatterElements" else {})
    with pytest.raises(fc.FastconvError, match=f"onnx.*{op}.*{told}"):
        one_node(op, inputs, ("i",), **attributes)(*(x for n in inputs if n != "i"))


def test_many_updates_of_one_place_are_refused() -> None:
    x, u = np.ones((2, 1), np.float32), np.ones((2000, 1), np.float32)
    inputs = {"x": x, "i": np.zeros((2000, 1), np.int64), "u": u}
    with pytest.raises(fc.ShapeError, match="2000 updates of one place"):
        one_node("ScatterElements", inputs, ("i",), axis=0, reduction="mul")(x, u)
