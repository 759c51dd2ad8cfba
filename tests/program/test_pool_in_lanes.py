"""Convolution, activation and averages of 2x2 as one node, forward and backward, with arrays in lanes between such
nodes: the bits of the nodes one after the other, but for the bias's gradient, whose sum has another order."""

from __future__ import annotations

import copy
import re
from typing import Any

import numpy as np
import pytest

import fastconv as fc
import fastconv.functional as F
from fastconv import _core, nn
from fastconv.program import TrainingStep
from tests.support import assert_close, check_same_bits_for_threads

ACTIVATIONS = ["tanh", "relu", "relu6", "leaky_relu", "sigmoid"]
POOL = {
    "op": "avg_pool2d",
    "kind": "mean",
    "layout": "NCHW",
    "kernel_size": (2, 2),
    "stride": (2, 2),
    "padding": (0, 0),
    "dilation": (1, 1),
    "ceil_mode": False,
    "adaptive": False,
    "count_include_pad": True,
    "divisor_override": 0,
}
IMAGES = 32  # whole vectors of every instruction set
FUSED = ["conv2d_pooled", "conv2d_pooled_input", "conv2d_pooled_weight"]


def ops(dump: str) -> list[str]:
    return [op for op in re.findall(r" = (\w+)\(", dump) if op != "reshape"]


# (N, C, H, W), K, kernel, stride of rows, padding, dilation of rows
CASES = {
    "LeNet's first": ((32, 1, 28, 28), 6, (5, 5), 1, (2, 2), 1),
    "LeNet's second": ((48, 6, 14, 14), 16, (5, 5), 1, (0, 0), 1),
    "odd rows and columns": ((16, 3, 9, 11), 7, (3, 3), 1, (1, 1), 1),
    "one window": ((16, 2, 4, 4), 3, (3, 3), 1, (0, 0), 1),
    "three rows": ((16, 4, 5, 9), 5, (3, 5), 1, (0, 1), 1),
    "bands of rows": ((64, 2, 31, 30), 24, (3, 3), 1, (1, 1), 1),
    "many outputs": ((16, 5, 12, 8), 33, (4, 3), 1, (3, 2), 1),
    "dilated": ((32, 3, 15, 12), 8, (3, 5), 1, (3, 4), 2),
}
cases = pytest.mark.parametrize("case", CASES)


class Block:
    """The graph of a block, forward and, with `backward`, back from the gradient of its averages."""

    def __init__(
        self,
        shape: Any,
        k: int,
        kernel: Any,
        stride: int,
        padding: Any,
        dilation: int,
        *,
        kind: str = "tanh",
        pool: Any = POOL,
        backward: bool = True,
        bias: bool = True,
        algorithm: str = "winograd_rows",
        gradient_kind: str = "",
        gradient_of_input: bool = True,
        returns: str = "",
    ) -> None:
        r, s = kernel
        p = (shape[2] + 2 * padding[0] - dilation * (r - 1) - 1) // stride + 1
        q = shape[3] + 2 * padding[1] - s + 1
        y_shape, small = (shape[0], k, p, q), (shape[0], k, p // 2, q // 2)
        weight_shape = (k, shape[1], r, s)
        graph = self.graph = _core.Graph()
        shapes = [shape, weight_shape, (k,), small]
        x, w, b, dy = (
            graph.input("float32", s, n) for s, n in zip(shapes, ["x", "w", "b", "dy"], strict=True)
        )
        geometry = {"stride": (stride, 1), "padding": padding, "dilation": (dilation, 1)}
        geometry |= {"groups": 1, "layout": "NCHW"}
        chosen = {"algorithm": algorithm} if algorithm else {}
        (y, *_) = graph.add("conv2d", [x, w, b] if bias else [x, w], geometry | chosen)
        (a,) = graph.add("activation", [y], {"kind": kind, "slope": 0.1})
        pooled, *_ = graph.add("pool2d", [a], pool)
        outputs = [pooled]
        if backward:
            (spread,) = graph.add("pool2d_backward", [dy], {**pool, "shape": y_shape})
            (da,) = graph.add(
                "activation_backward", [a, spread], {"kind": gradient_kind or kind, "slope": 0.1}
            )
            if gradient_of_input:
                outputs += graph.add("conv2d_input", [w, da], geometry | chosen | {"shape": shape})
            outputs += graph.add(
                "conv2d_weight", [x, da], geometry | chosen | {"shape": weight_shape}
            )
            if bias:
                outputs += graph.add("conv2d_bias", [da], {"layout": "NCHW"})
            outputs += [{"y": a, "dy": da}[name] for name in returns.split()]
        graph.set_outputs(outputs)
        rng = np.random.default_rng(k)
        self.arrays = [rng.standard_normal(s).astype("f4") for s in shapes]
        self.bias, self.odd = bias and backward, p % 2 or q % 2

    def fuse(self) -> list[str]:
        self.graph.run_pass("fuse_conv_epilogue")
        self.graph.run_pass("pool_in_lanes")
        return ops(self.graph.dump())

    def run(self) -> list[Any]:
        return list(_core.Program(self.graph).run(self.arrays)[0])

    def check(self, *fused: str) -> None:
        before = self.run()
        assert self.fuse() == list(fused)
        after = self.run()
        assert len(before) == len(after)
        for i, (one, other) in enumerate(zip(before, after, strict=True)):
            if self.bias and i == len(after) - 1:
                assert_close(other, one, 1e-5)
            elif i == 0 and self.odd:  # averaged by another kernel
                assert_close(other, one)
            else:
                np.testing.assert_array_equal(other, one)


@cases
@pytest.mark.parametrize("kind", ACTIVATIONS[:2])
def test_bits_of_the_nodes_one_by_one(case: str, kind: str) -> None:
    Block(*CASES[case], kind=kind).check(*FUSED)


@pytest.mark.parametrize("kind", [*ACTIVATIONS[2:], "gelu", "gelu_tanh"])
def test_every_activation(kind: str) -> None:
    case = CASES["odd rows and columns"]
    if kind.startswith("gelu"):  # whose gradient reads the input
        Block(*case, kind=kind, backward=False).check(FUSED[0])
    else:
        Block(*case, kind=kind).check(*FUSED)


@cases
def test_forward_alone_and_without_bias(case: str) -> None:
    Block(*CASES[case], backward=False).check(FUSED[0])
    Block(*CASES[case], bias=False).check(*FUSED)
    Block(*CASES[case], gradient_of_input=False).check(FUSED[0], FUSED[2])


@cases
def test_same_bits_for_threads(case: str) -> None:
    def run() -> list[Any]:
        block = Block(*CASES[case])
        block.fuse()
        return block.run()

    check_same_bits_for_threads(run)


@pytest.mark.parametrize("kind", ["tanh", "relu"])
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_what_is_not_finite(value: float, kind: str) -> None:
    for at in (0, 3):  # x, dy
        block = Block((32, 3, 12, 10), 4, (3, 3), 1, (1, 1), 1, kind=kind)
        block.arrays[at][5, 1, 3, 2] = value
        block.arrays[at][17, 0, -1, -1] = value
        block.check(*FUSED)


def test_rows_with_a_stride_have_no_gradient_here() -> None:
    case = ((32, 4, 12, 9), 6, (5, 3), 2, (2, 1), 1)
    Block(*case, gradient_of_input=False).check(FUSED[0], FUSED[2])
    block = Block(*case, algorithm="")
    block.fuse()
    assert not any("pooled" in op for op in ops(block.graph.dump()))


@pytest.mark.parametrize(
    "options",
    [
        {"pool": {**POOL, "stride": (1, 1)}},
        {"pool": {**POOL, "padding": (1, 1)}},
        {"pool": {**POOL, "ceil_mode": True}},
        {"pool": {**POOL, "divisor_override": 3}},
        {"pool": {**POOL, "kernel_size": (2, 3)}},
        {"pool": {**POOL, "kind": "max", "op": "max_pool2d"}},
        {"algorithm": "implicit_gemm"},
        {"gradient_kind": "sigmoid"},
        {"returns": "y"},
        {"returns": "dy"},
        {"kind": "silu"},
    ],
    ids=str,
)
def test_what_stays(options: Any) -> None:
    pool = options.get("pool", POOL)
    block = Block(*CASES["LeNet's second"], backward=pool == POOL, **{"algorithm": "", **options})
    block.fuse()
    assert not any("pooled" in op for op in ops(block.graph.dump()))


def test_other_batches_stay() -> None:
    block = Block((31, 6, 14, 14), 16, (5, 5), 1, (0, 0), 1)
    block.fuse()
    assert not any("pooled" in op for op in ops(block.graph.dump()))


def lenet(activation: Any = nn.Tanh, padding: int = 2) -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(1, 6, 5, padding=padding), activation(), nn.AvgPool2d(2),
        nn.Conv2d(6, 16, 5), activation(), nn.AvgPool2d(2), nn.Flatten(),
        nn.Linear(400 if padding else 256, 10),
    )  # fmt: skip


def data(n: int = IMAGES) -> tuple[Any, Any]:
    rng = np.random.default_rng(n)
    return rng.standard_normal((n, 1, 28, 28)).astype("f4"), rng.integers(0, 10, n)


@pytest.mark.parametrize("n", [32, 40, 48, 64])
def test_training_against_the_tape(n: int) -> None:
    fc.manual_seed(1)
    net = lenet()
    twin = copy.deepcopy(net)
    optimizers = [fc.optim.SGD(m.parameters(), lr=0.05, momentum=0.9) for m in (net, twin)]
    step = TrainingStep(net, F.cross_entropy, optimizers[0])
    x, labels = data(n)
    for _ in range(4):
        loss, _ = step(x, labels)
        optimizers[1].zero_grad()
        value = F.cross_entropy(twin(fc.tensor(x)), labels)
        value.backward()
        optimizers[1].step()
        np.testing.assert_allclose(float(loss), float(value.item()), rtol=1e-5)
    for one, other in zip(net.parameters(), twin.parameters(), strict=True):
        assert_close(one.numpy(), other.numpy(), 1e-5)


def test_inference_in_lanes() -> None:
    net = lenet().eval()
    x, _ = data()
    program = fc.compile(net, x)
    assert ops(program.dump()) == ["conv2d_pooled", "conv2d_pooled", "linear"]
    lanes = [s for s in program.dump().splitlines() if "y_lanes=true" in s]
    assert len(lanes) == 1 and "x_lanes=false" in lanes[0]
    assert_close(program(x), net(fc.tensor(x)).numpy(), 2e-6)
    assert_close(program(x[:7]), net(fc.tensor(x[:7])).numpy(), 2e-6)


class TwoReaders(nn.Module):
    """The first block's averages are read outside as well: they are not in lanes."""

    def __init__(self) -> None:
        super().__init__()
        self.one, self.two = nn.Conv2d(1, 6, 5), nn.Conv2d(6, 16, 5)

    def forward(self, x: Any) -> Any:
        a = F.avg_pool2d(F.tanh(self.one(x)), 2)
        b = F.avg_pool2d(F.relu(self.two(a)), 2)
        return F.cat([F.flatten(a, 1), F.flatten(b, 1)], 1)


def test_averages_that_others_read() -> None:
    net = TwoReaders()
    x, _ = data()
    program = fc.compile(net.eval(), x)
    assert program.dump().count("conv2d_pooled(") == 2 and "lanes=true" not in program.dump()
    assert_close(program(x), net(fc.tensor(x)).numpy(), 2e-6)
    twin = copy.deepcopy(net.train())
    optimizers = [fc.optim.SGD(m.parameters(), lr=1e-3) for m in (net, twin)]

    def loss_of(y: Any, _: Any) -> Any:
        return (y * y).sum()

    step = TrainingStep(net, loss_of, optimizers[0])
    for _ in range(2):
        step(x, data()[1])
        optimizers[1].zero_grad()
        loss_of(twin(fc.tensor(x)), None).backward()
        optimizers[1].step()
    for one, other in zip(net.parameters(), twin.parameters(), strict=True):
        assert_close(one.numpy(), other.numpy(), 1e-5)


def test_bad_nodes_are_refused() -> None:
    def node(kind: str = "tanh", n: int = IMAGES, x: Any = None, **more: Any) -> None:
        graph = _core.Graph()
        shape, weight_shape = (n, 1, 8, 8), (2, 1, 3, 3)
        operands = [
            graph.input("float32", x or shape, "x"),
            graph.input("float32", weight_shape, "w"),
        ]
        attributes = {"stride": (1, 1), "padding": (0, 0), "dilation": (1, 1), "groups": 1}
        attributes |= {"layout": "NCHW", "activation": kind, "slope": 0.0}
        attributes |= {"x_shape": shape, "weight_shape": weight_shape, **more}
        graph.add("conv2d_pooled", operands, attributes)

    node()
    for options in (
        {"kind": "silu"},
        {"groups": 2},
        {"layout": "NHWC"},
        {"stride": (1, 2)},
        {"x": (IMAGES, 1, 9, 8)},
        {"x_shape": (IMAGES, 8, 8)},
        {"padding": (-1, 0)},
        {"weight_shape": (2, 1, 3, 4)},
        {"x_shape": (IMAGES, 1, 3, 8)},
        {"x_lanes": True},
    ):
        with pytest.raises((fc.ShapeError, fc.DTypeError)):
            node(**options)
