"""Functions that files spell out, node by node: recognised, with the numbers, parameters and gradients of what is
written; and left alone where something differs."""

from __future__ import annotations

import functools
import itertools
import math
import re
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import fastconv as fc
import fastconv.functional as F
from tests.support import assert_close, numeric_gradient, randn, rng

onnx = pytest.importorskip("onnx")
from onnx import TensorProto, helper, numpy_helper  # noqa: E402

N = helper.make_node
HALF, ROOT_TWO = math.sqrt(0.5), math.sqrt(2.0)


def network(
    nodes: list[Any],
    constants: dict[str, Any],
    opset: int = 17,
    dtype: int = TensorProto.FLOAT,
) -> Any:
    """A file of the nodes, from x to y, loaded."""
    graph = helper.make_graph(
        nodes,
        "net",
        [helper.make_tensor_value_info("x", dtype, None)],
        [helper.make_tensor_value_info("y", dtype, None)],
        [
            numpy_helper.from_array(
                np.asarray(v, np.int64 if np.asarray(v).dtype.kind == "i" else np.float32), n
            )
            for n, v in constants.items()
        ],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)
    return fc.onnx.load(model.SerializeToString()).eval()


def chain(*steps: tuple[str, tuple[str, ...]], **attributes: Any) -> list[Any]:
    """Nodes whose results are t0, t1 and so on, the last one y."""
    names = [f"t{i}" for i in range(len(steps) - 1)] + ["y"]
    return [N(op, list(inputs), [name]) for (op, inputs), name in zip(steps, names, strict=True)]


def sigmoid(x: Any) -> Any:
    return 1 / (1 + np.exp(-x))


def erf(x: Any) -> Any:
    return np.vectorize(math.erf)(x)


def gelu(x: Any) -> Any:
    return 0.5 * x * (1 + erf(x / ROOT_TWO))


def tanh_gelu(x: Any) -> Any:
    return 0.5 * x * (1 + np.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)))


def hardswish(x: Any) -> Any:
    return x * np.clip(x + 3, 0, 6) / 6


NUMBERS = {
    "half": 0.5,
    "one": 1.0,
    "two": 2.0,
    "cube": 3.0,
    "zero": 0.0,
    "six": 6.0,
    "root": ROOT_TWO,
    "inverse": HALF,
    "sixth": 1 / 6,
    "k": 0.044715,
    "c": math.sqrt(2 / math.pi),
}
X = ("x",)
COMPOSED: dict[str, tuple[list[Any], Callable[[Any], Any]]] = {
    "silu": (chain(("Sigmoid", X), ("Mul", ("x", "t0"))), lambda x: x * sigmoid(x)),
    "silu turned": (chain(("Sigmoid", X), ("Mul", ("t0", "x"))), lambda x: x * sigmoid(x)),
    "mish": (
        chain(("Softplus", X), ("Tanh", ("t0",)), ("Mul", ("x", "t1"))),
        lambda x: x * np.tanh(np.log1p(np.exp(x))),
    ),
    "gelu": (
        chain(
            ("Div", ("x", "root")),
            ("Erf", ("t0",)),
            ("Add", ("t1", "one")),
            ("Mul", ("x", "t2")),
            ("Mul", ("t3", "half")),
        ),
        gelu,
    ),
    "gelu half first": (
        chain(
            ("Mul", ("half", "x")),
            ("Mul", ("x", "inverse")),
            ("Erf", ("t1",)),
            ("Add", ("one", "t2")),
            ("Mul", ("t0", "t3")),
        ),
        gelu,
    ),
    "gelu by tanh": (
        chain(
            ("Pow", ("x", "cube")),
            ("Mul", ("t0", "k")),
            ("Add", ("x", "t1")),
            ("Mul", ("t2", "c")),
            ("Tanh", ("t3",)),
            ("Add", ("t4", "one")),
            ("Mul", ("half", "x")),
            ("Mul", ("t6", "t5")),
        ),
        tanh_gelu,
    ),
    "gelu by tanh of products": (
        chain(
            ("Mul", ("x", "x")),
            ("Mul", ("t0", "x")),
            ("Mul", ("k", "t1")),
            ("Add", ("t2", "x")),
            ("Mul", ("c", "t3")),
            ("Tanh", ("t4",)),
            ("Add", ("one", "t5")),
            ("Mul", ("x", "t6")),
            ("Mul", ("t7", "half")),
        ),
        tanh_gelu,
    ),
    "gelu by tanh of a square": (
        chain(
            ("Mul", ("x", "c")),
            ("Mul", ("x", "x")),
            ("Mul", ("t1", "k")),
            ("Add", ("t2", "one")),
            ("Mul", ("t0", "t3")),
            ("Tanh", ("t4",)),
            ("Add", ("t5", "one")),
            ("Mul", ("x", "t6")),
            ("Div", ("t7", "two")),
        ),
        tanh_gelu,
    ),
    "hardswish": (
        chain(
            ("Add", ("x", "cube")),
            ("Clip", ("t0", "zero", "six")),
            ("Div", ("t1", "six")),
            ("Mul", ("x", "t2")),
        ),
        hardswish,
    ),
    "hardswish divided last": (
        chain(
            ("Add", ("x", "cube")),
            ("Clip", ("t0", "zero", "six")),
            ("Mul", ("x", "t1")),
            ("Div", ("t2", "six")),
        ),
        hardswish,
    ),
    "hardswish by limits": (
        chain(
            ("Add", ("x", "cube")),
            ("Relu", ("t0",)),
            ("Min", ("t1", "six")),
            ("Mul", ("t2", "sixth")),
            ("Mul", ("t3", "x")),
        ),
        hardswish,
    ),
    "hard sigmoid": (
        chain(("Add", ("x", "cube")), ("Clip", ("t0", "zero", "six")), ("Mul", ("t1", "sixth"))),
        lambda x: np.clip(x + 3, 0, 6) / 6,
    ),
    "relu6": (chain(("Max", ("x", "zero")), ("Min", ("t0", "six"))), lambda x: np.clip(x, 0, 6)),
}


def kinds(program: Any) -> list[str]:
    return [k for k in re.findall(r" = (\w+)\(", program.dump()) if k != "reshape"]


@pytest.mark.parametrize("name", COMPOSED)
def test_activations(name: str) -> None:
    nodes, reference = COMPOSED[name]
    net = network(nodes, NUMBERS)
    x = np.linspace(-9, 9, 181, dtype=np.float32).reshape(1, 181)
    with fc.no_grad():
        assert_close(net(x).numpy(), reference(x.astype(np.float64)), 2e-6)
    program = fc.compile(net, x)
    assert kinds(program) == ["activation"]
    assert_close(program(x), reference(x.astype(np.float64)), 2e-6)


@pytest.mark.parametrize("name", COMPOSED)
def test_parts_that_others_read_stay(name: str) -> None:
    nodes, reference = COMPOSED[name]
    first = nodes[0].output[0]
    more = [*nodes[:-1], N(nodes[-1].op_type, list(nodes[-1].input), ["z"])]
    net = network([*more, N("Sub", ["z", first], ["y"])], NUMBERS)
    alone = network([*nodes[:1], N("Identity", [first], ["y"])], NUMBERS)
    x = np.linspace(-5, 5, 101, dtype=np.float32).reshape(1, 101)
    with fc.no_grad():
        part = alone(x).numpy().astype(np.float64)
        assert_close(net(x).numpy(), reference(x.astype(np.float64)) - part, 3e-6)


OTHERS: dict[str, tuple[list[Any], Callable[[Any], Any]]] = {
    "another value's sigmoid": (
        chain(("Add", ("x", "one")), ("Sigmoid", ("t0",)), ("Mul", ("x", "t1"))),
        lambda x: x * sigmoid(x + 1),
    ),
    "erf of x itself": (
        chain(("Erf", X), ("Add", ("t0", "one")), ("Mul", ("x", "t1")), ("Mul", ("t2", "half"))),
        lambda x: 0.5 * x * (1 + erf(x)),
    ),
    "no half": (
        chain(
            ("Mul", ("x", "inverse")),
            ("Erf", ("t0",)),
            ("Add", ("t1", "one")),
            ("Mul", ("x", "t2")),
        ),
        lambda x: 2 * gelu(x),
    ),
    "two more": (
        chain(
            ("Add", ("x", "two")),
            ("Clip", ("t0", "zero", "six")),
            ("Mul", ("x", "t1")),
            ("Div", ("t2", "six")),
        ),
        lambda x: x * np.clip(x + 2, 0, 6) / 6,
    ),
    "up to two": (
        chain(("Relu", X), ("Min", ("t0", "two"))),
        lambda x: np.clip(x, 0, 2),
    ),
    "a number over it": (
        chain(("Sigmoid", X), ("Div", ("one", "t0"))),
        lambda x: 1 / sigmoid(x),
    ),
}


@pytest.mark.parametrize("name", OTHERS)
def test_what_only_looks_like_them(name: str) -> None:
    nodes, reference = OTHERS[name]
    net = network(nodes, NUMBERS)
    x = np.linspace(-5, 5, 101, dtype=np.float32).reshape(1, 101)
    with fc.no_grad():
        assert_close(net(x).numpy(), reference(x.astype(np.float64)), 2e-6)
    assert len(kinds(fc.compile(net, x))) > 1


def test_long_chains_take_no_squares_of_time() -> None:
    """20000 nodes took most of a minute where each was followed back to the first."""
    names = ["x", *(f"t{i}" for i in range(19999)), "y"]
    nodes = [N("Add", [a, "k"], [b]) for a, b in itertools.pairwise(names)]
    begin = time.process_time()
    net = network(nodes, {"k": np.ones(3)})
    assert time.process_time() - begin < 20 and not list(net.parameters())


def test_numbers_that_add_dimensions() -> None:
    nodes, reference = COMPOSED["hardswish"]
    net = network(nodes, NUMBERS | {"cube": np.full((1, 1, 1), 3.0)})
    x = np.linspace(-5, 5, 101, dtype=np.float32).reshape(1, 101)
    assert_close(net(x).numpy(), reference(x.astype(np.float64))[None], 2e-6)


def test_integers_have_no_hardswish() -> None:
    nodes = chain(
        ("Add", ("x", "three")),
        ("Max", ("t0", "zero")),
        ("Min", ("t1", "six")),
        ("Mul", ("x", "t2")),
        ("Div", ("t3", "six")),
    )
    net = network(nodes, {"three": 3, "zero": 0, "six": 6}, dtype=TensorProto.INT64)
    x = np.arange(8)
    np.testing.assert_array_equal(net(x), x * np.clip(x + 3, 0, 6) // 6)


@pytest.mark.parametrize("length", [60, 3000])
@pytest.mark.parametrize("op, operands", [("Mul", 1), ("Mul", 2), ("Div", 2)])
def test_long_products(op: str, operands: int, length: int) -> None:
    """Squares of squares double what they are made of, and chains are deeper than Python's calls."""
    nodes, last = [], "x"
    for i in range(length):
        name = f"t{i}" if i < length - 1 else "y"
        nodes.append(N(op, [last, last if operands == 1 else "one"], [name]))
        last = name
    x = np.array([1.0, -1.0], np.float32)
    y = network(nodes, {} if operands == 1 else {"one": 1.0})(x)
    np.testing.assert_array_equal(y.numpy(), x * x if operands == 1 else x)


def layer_norm(
    x: Any, dims: tuple[int, ...], weight: Any = None, bias: Any = None, eps: float = 1e-3
) -> Any:
    x = x.astype(np.float64)
    y = (x - x.mean(dims, keepdims=True)) / np.sqrt(x.var(dims, keepdims=True) + eps)
    y = y if weight is None else y * weight
    return y if bias is None else y + bias


def spelled_out(
    dims: tuple[int, ...], opset: int, form: str, affine: tuple[str, ...]
) -> tuple[list[Any], dict[str, Any]]:
    """The nodes of a layer norm, in one of the forms of exporters."""
    constants: dict[str, Any] = {"eps": 1e-3, "two": 2.0, "minus_half": -0.5}
    how: dict[str, Any] = {"keepdims": 1}
    axes = []
    if opset >= 18:
        constants["axes"], axes = np.array(dims, np.int64), ["axes"]
    else:
        how["axes"] = list(dims)
    nodes = [N("ReduceMean", ["x", *axes], ["mean"], **how), N("Sub", ["x", "mean"], ["d"])]
    again = "d"
    if form == "twice":
        nodes.append(N("Sub", ["x", "mean"], ["d2"]))
        again = "d2"
    square = ["d", "d"] if form == "product" else ["d", "two"]
    nodes += [
        N("Mul" if form == "product" else "Pow", square, ["s"]),
        N("ReduceMean", ["s", *axes], ["var"], **how),
        N("Add", ["eps", "var"] if form == "product" else ["var", "eps"], ["e"]),
    ]
    last = "n" if affine else "y"
    if form == "power":
        nodes += [N("Pow", ["e", "minus_half"], ["r"]), N("Mul", ["r", again], [last])]
    elif form == "product":
        nodes += [
            N("Sqrt", ["e"], ["q"]),
            N("Reciprocal", ["q"], ["r"]),
            N("Mul", ["d", "r"], [last]),
        ]
    else:
        nodes += [N("Sqrt", ["e"], ["q"]), N("Div", [again, "q"], [last])]
    for i, name in enumerate(affine):
        made = "y" if i == len(affine) - 1 else f"a{i}"
        nodes.append(N("Mul" if name == "weight" else "Add", [name, last], [made]))
        last = made
    return nodes, constants


@pytest.mark.parametrize("form", ["plain", "twice", "power", "product"])
@pytest.mark.parametrize("opset", [11, 18])
@pytest.mark.parametrize("affine", [("weight", "bias"), ("weight",), ("bias",), ()])
@pytest.mark.parametrize(
    ("dims", "places"),
    [((-1,), (5,)), ((2, 3), (4, 5)), ((1,), (3, 1, 1)), ((1,), (1, 3, 1, 1)), ((3,), (3, 1, 1))],
)
def test_layer_norms(
    dims: tuple[int, ...],
    places: tuple[int, ...],
    affine: tuple[str, ...],
    opset: int,
    form: str,
) -> None:
    """The last case's factors are not those of the dimension that is normalised."""
    g = rng("layer norm", dims, places, affine)
    arrays = {name: randn(g, *places) for name in affine}
    nodes, constants = spelled_out(dims, opset, form, affine)
    net = network(nodes, {**constants, **arrays}, opset)
    assert {name for name, _ in net.named_parameters()} == set(affine)
    x = randn(g, 2, 3, 4, 5)
    expected = layer_norm(x, dims, **arrays)
    with fc.no_grad():
        assert_close(net(x).numpy(), expected, 5e-6)
    program = fc.compile(net, x)
    assert_close(program(x), expected, 5e-6)
    assert kinds(program).count("batch_norm") == 1 and "reduce" not in kinds(program)


def test_a_layer_norms_gradients() -> None:
    nodes, constants = spelled_out((1,), 17, "plain", ("weight", "bias"))
    g = rng("gradients")
    arrays = {name: randn(g, 3, 1, 1) for name in ("weight", "bias")}
    net = network(nodes, {**constants, **arrays})
    x, upstream = randn(g, 2, 3, 2, 2), randn(g, 2, 3, 2, 2)
    t = fc.tensor(x, requires_grad=True)
    F.sum(F.mul(net(t), upstream)).backward()

    def loss(**changed: Any) -> float:
        values = {"x": x, **arrays, **changed}
        y = layer_norm(values["x"], (1,), values["weight"], values["bias"])
        return float((y * upstream).sum())

    for name, got in (("x", t.grad), *((n, p.grad) for n, p in net.named_parameters())):
        value = {"x": x, **arrays}[name].astype(np.float64)
        want = numeric_gradient(functools.partial(loss, **{name: value}), value)
        assert_close(np.asarray(got), want, 1e-4)


def test_means_over_other_dimensions_are_no_layer_norm() -> None:
    nodes, constants = spelled_out((1,), 17, "plain", ())
    nodes[3] = N("ReduceMean", ["s"], ["var"], keepdims=1, axes=[2])
    net = network(nodes, constants)
    x = randn(rng("other"), 2, 3, 4, 5)
    d = x - x.mean(1, keepdims=True)
    with fc.no_grad():
        assert_close(net(x).numpy(), d / np.sqrt((d * d).mean(2, keepdims=True) + 1e-3), 1e-5)


def grouped(groups: int = 2, sizes: tuple[int, ...] = (0, 2, -1), shift: float = 0.0) -> Any:
    """Nodes of a group norm of (N, 6, ...), as PyTorch's exporters write it."""
    nodes = [
        N("Reshape", ["x", "rows"], ["r"]),
        N("InstanceNormalization", ["r", "ones", "zeros"], ["i"], epsilon=1e-3),
        N("Shape", ["x"], ["shape"]),
        N("Reshape", ["i", "shape"], ["n"]),
        N("Mul", ["n", "weight"], ["m"]),
        N("Add", ["m", "bias"], ["y"]),
    ]
    g = rng("group norm")
    constants = {
        "rows": np.array(sizes, np.int64),
        "ones": np.ones(groups),
        "zeros": np.full(groups, shift),
        "weight": randn(g, 6, 1, 1),
        "bias": randn(g, 6, 1, 1),
    }
    return nodes, constants


@pytest.mark.parametrize("shift", [0.0, 0.5])
def test_group_norms(shift: float) -> None:
    """With another summand than 0 it is an instance norm still."""
    nodes, constants = grouped(shift=shift)
    net = network(nodes, constants)
    x = randn(rng("x"), 3, 6, 4, 5)
    rows = layer_norm(x.reshape(3, 2, -1), (2,)) + shift
    expected = rows.reshape(x.shape) * constants["weight"] + constants["bias"]
    with fc.no_grad():
        assert_close(net(x).numpy(), expected, 5e-6)
    assert_close(fc.compile(net, x[:1])(x[:1]), expected[:1], 5e-6)
    learned = {name for name, _ in net.named_parameters()}
    assert learned == ({"ones", "zeros"} if shift else {"weight", "bias"})


def test_factors_of_columns_behind_a_group_norm() -> None:
    nodes, constants = grouped()
    constants["weight"] = randn(rng("columns"), 5)
    net = network(nodes, constants)
    x = randn(rng("x"), 3, 6, 4, 5)
    rows = layer_norm(x.reshape(3, 2, -1), (2,)).reshape(x.shape)
    with fc.no_grad():
        assert_close(net(x).numpy(), rows * constants["weight"] + constants["bias"], 5e-6)


@pytest.mark.parametrize("groups", [4, 12])
@pytest.mark.parametrize("shape", [(3, 6, 4, 5), (3, 6, 8)])
def test_groups_that_end_within_channels(groups: int, shape: tuple[int, ...]) -> None:
    nodes, constants = grouped(groups, (0, groups, -1))
    constants |= {
        name: randn(rng(name), 6, *(1,) * (len(shape) - 2)) for name in ("weight", "bias")
    }
    net = network(nodes, constants)
    x = randn(rng("x"), *shape)
    rows = layer_norm(x.reshape(3, groups, -1), (2,)).reshape(x.shape)
    expected = rows * constants["weight"] + constants["bias"]
    assert_close(net(x).detach().numpy(), expected, 5e-6)
    assert_close(fc.compile(net, x)(x), expected, 5e-6)
