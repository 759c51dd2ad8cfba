"""Ops in the forms that files of any opset have them in, against ONNX Runtime or the onnx package's evaluator; the
same in programs, and differentiated."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import pytest

import fastconv as fc
from tests.onnx.helpers import RUNTIME, run_reference, run_runtime
from tests.support import numeric_gradient, rng

onnx = pytest.importorskip("onnx")
from onnx import TensorProto, helper, numpy_helper  # noqa: E402


class Case(NamedTuple):
    op: str
    shape: tuple[int, ...]
    constants: tuple[Any, ...] = ()  # inputs behind x: shapes of random weights, arrays, or None
    attributes: dict[str, Any] = {}  # noqa: RUF012
    opset: int = 17
    outputs: int = 1
    reference: bool = (
        False  # the evaluator instead of the runtime, which does not know it or is wrong
    )
    positive: bool = False  # x
    compiled: bool = True  # what a program can compute
    known_x: bool = False


def ints(*values: int) -> Any:
    return np.array(values, np.int64)


def floats(*values: float) -> Any:
    return np.array(values, np.float32)


CASES = {
    # Convolution
    "conv 1d": Case("Conv", (2, 6, 15), ((4, 6, 3), (4,)), {"strides": [2], "pads": [1, 1]}),
    "conv 1d dilated same": Case(
        "Conv", (2, 6, 15), ((4, 3, 3),), {"group": 2, "auto_pad": "SAME_UPPER"}
    ),
    "conv pads differ": Case("Conv", (2, 3, 9, 8), ((8, 3, 3, 3), (8,)), {"pads": [0, 1, 2, 3]}),
    "conv same lower": Case(
        "Conv", (1, 4, 10, 9), ((6, 4, 3, 2),), {"auto_pad": "SAME_LOWER", "strides": [2, 3]}
    ),
    "conv same upper": Case(
        "Conv", (1, 4, 10, 9), ((6, 4, 4, 3),), {"auto_pad": "SAME_UPPER", "strides": [3, 2]}
    ),
    "conv valid": Case("Conv", (1, 4, 10, 9), ((6, 4, 4, 3),), {"auto_pad": "VALID"}),
    "conv dilated, groups": Case(
        "Conv", (2, 8, 11, 11), ((8, 4, 3, 3),), {"group": 2, "dilations": [2, 3]}
    ),
    "conv depthwise": Case("Conv", (2, 8, 11, 11), ((16, 1, 3, 3), (16,)), {"group": 8}),
    "conv 3d": Case("Conv", (1, 3, 5, 6, 7), ((4, 3, 2, 3, 3), (4,)), {"pads": [0, 1, 1, 1, 1, 0]}),
    "conv transpose": Case(
        "ConvTranspose",
        (2, 4, 5, 6),
        ((4, 3, 3, 3), (3,)),
        {"strides": [2, 2], "pads": [1, 1, 1, 1], "output_padding": [1, 0]},
    ),
    "conv transpose pads differ": Case(
        "ConvTranspose",
        (2, 4, 5, 6),
        ((4, 3, 3, 3), (3,)),
        {"strides": [2, 2], "pads": [0, 1, 2, 0]},
    ),
    "conv transpose output_shape": Case(
        "ConvTranspose",
        (1, 4, 5, 6),
        ((4, 3, 3, 3), (3,)),
        {"strides": [3, 2], "output_shape": [16, 12], "auto_pad": "SAME_UPPER"},
    ),
    "conv transpose same": Case(
        "ConvTranspose",
        (1, 4, 5, 6),
        ((4, 3, 3, 3),),
        {"strides": [3, 2], "auto_pad": "SAME_UPPER"},
    ),
    "conv transpose groups, dilation": Case(
        "ConvTranspose", (2, 4, 5, 6), ((4, 3, 3, 2),), {"group": 2, "dilations": [2, 3]}
    ),
    "conv transpose 1d": Case("ConvTranspose", (2, 4, 7), ((4, 3, 4), (3,)), {"strides": [2]}),
    "conv transpose 3d": Case(
        "ConvTranspose", (1, 2, 3, 4, 3), ((2, 3, 2, 3, 2),), {"strides": [2, 1, 2]}
    ),
    # Pooling
    "max pool pads differ": Case(
        "MaxPool",
        (2, 3, 9, 8),
        (),
        {"kernel_shape": [3, 2], "pads": [0, 1, 2, 0], "strides": [2, 2]},
    ),
    "max pool ceil": Case(
        "MaxPool", (2, 3, 9, 8), (), {"kernel_shape": [3, 3], "strides": [2, 2], "ceil_mode": 1}
    ),
    "max pool same lower": Case(
        "MaxPool", (2, 3, 9, 8), (), {"kernel_shape": [3, 2], "auto_pad": "SAME_LOWER"}
    ),
    "max pool opset 8": Case("MaxPool", (2, 3, 9, 8), (), {"kernel_shape": [2, 2]}, opset=8),
    "max pool dilated, indices": Case(
        "MaxPool",
        (2, 3, 9, 8),
        (),
        {"kernel_shape": [3, 2], "dilations": [2, 3], "pads": [1, 0, 2, 1]},
        outputs=2,
        compiled=False,
    ),
    "max pool indices, columns first": Case(
        "MaxPool",
        (2, 3, 9, 8),
        (),
        {"kernel_shape": [2, 2], "strides": [2, 2], "storage_order": 1},
        outputs=2,
        compiled=False,
    ),
    "max pool 1d, indices": Case(
        "MaxPool", (2, 3, 9), (), {"kernel_shape": [3], "strides": [2]}, outputs=2, compiled=False
    ),
    "max pool 3d": Case(
        "MaxPool", (1, 3, 5, 6, 7), (), {"kernel_shape": [2, 3, 2], "pads": [1, 0, 1, 0, 1, 1]}
    ),
    "average pool pads differ": Case(
        "AveragePool", (2, 3, 9, 8), (), {"kernel_shape": [3, 2], "pads": [0, 1, 2, 0]}
    ),
    "average pool pads differ and count": Case(
        "AveragePool",
        (2, 3, 9, 8),
        (),
        {"kernel_shape": [3, 2], "pads": [0, 1, 2, 0], "count_include_pad": 1},
    ),
    "average pool same": Case(
        "AveragePool",
        (2, 3, 9, 8),
        (),
        {"kernel_shape": [3, 2], "auto_pad": "SAME_UPPER", "strides": [2, 3]},
    ),
    "average pool ceil": Case(
        "AveragePool", (2, 3, 9, 8), (), {"kernel_shape": [3, 3], "strides": [2, 2], "ceil_mode": 1}
    ),
    "average pool dilated": Case(
        "AveragePool",
        (2, 3, 9, 8),
        (),
        {"kernel_shape": [3, 2], "dilations": [2, 2], "pads": [1, 1, 1, 1]},
        opset=19,
    ),
    "average pool 1d": Case("AveragePool", (2, 3, 9), (), {"kernel_shape": [4], "pads": [1, 2]}),
    "average pool 3d": Case("AveragePool", (1, 3, 5, 6, 7), (), {"kernel_shape": [2, 3, 2]}),
    "lp pool": Case(
        "LpPool", (2, 3, 9, 8), (), {"kernel_shape": [3, 2], "p": 3, "pads": [1, 0, 1, 1]}
    ),
    "global lp pool": Case("GlobalLpPool", (2, 3, 9, 8), (), {"p": 3}),
    "global average pool 3d": Case("GlobalAveragePool", (2, 3, 4, 5, 6)),
    "global max pool 1d": Case("GlobalMaxPool", (2, 3, 9)),
    # Normalisation
    "batch norm 7": Case(
        "BatchNormalization", (2, 4, 5, 5), ((4,), (4,), (4,), floats(1, 2, 3, 0.5)), opset=7
    ),
    "batch norm 9, vectors": Case(
        "BatchNormalization", (5, 4), ((4,), (4,), (4,), floats(1, 2, 3, 0.5)), opset=9
    ),
    "batch norm 3d": Case(
        "BatchNormalization", (2, 4, 3, 4, 2), ((4,), (4,), (4,), floats(1, 2, 3, 0.5)), opset=15
    ),
    "instance norm": Case("InstanceNormalization", (2, 4, 5, 6), ((4,), (4,)), {"epsilon": 0.01}),
    "instance norm 1d": Case("InstanceNormalization", (2, 4, 9), ((4,), (4,))),
    "lrn": Case("LRN", (2, 7, 3, 4), (), {"size": 3, "alpha": 0.5, "beta": 0.6, "bias": 2.0}),
    "layer norm": Case("LayerNormalization", (2, 4, 6), ((6,), (6,))),
    "layer norm of two": Case("LayerNormalization", (2, 4, 6), ((4, 6),), {"axis": 1}),
    "group norm 18": Case(
        "GroupNormalization", (2, 6, 5), ((3,), (3,)), {"num_groups": 3}, 18, reference=True
    ),
    "group norm 21": Case(
        "GroupNormalization", (2, 6, 5), ((6,), (6,)), {"num_groups": 3}, 21, reference=True
    ),
    # Products
    "gemm": Case("Gemm", (3, 4), ((4, 5), (5,))),
    "gemm transposed": Case(
        "Gemm", (4, 3), ((5, 4), (3, 1)), {"transA": 1, "transB": 1, "alpha": 0.5, "beta": 2.0}
    ),
    "gemm scalar": Case("Gemm", (3, 4), ((4, 5), ())),
    "gemm alone": Case("Gemm", (3, 4), ((4, 5),), opset=11),
    "matmul matrix": Case("MatMul", (2, 3, 4), ((4, 5),)),
    "matmul vector": Case("MatMul", (4,), ((4, 5),)),
    "matmul by vector": Case("MatMul", (3, 4), ((4,),)),
    "matmul batched": Case("MatMul", (2, 1, 3, 4), ((5, 4, 6),)),
    # Activations
    "prelu": Case("PRelu", (2, 3, 4, 5), ((3, 1, 1),)),
    "prelu one": Case("PRelu", (2, 3, 4, 5), ((1,),)),
    "prelu rows": Case("PRelu", (2, 3, 4, 5), ((4, 5),)),
    "clip 6": Case("Clip", (3, 4), (), {"min": -0.5, "max": 0.3}, 6 + 1),
    "clip 7 above": Case("Clip", (3, 4), (), {"min": 0.0}, 10),
    "clip relu6": Case("Clip", (3, 4), (floats(0)[0], floats(6)[0])),
    "clip below": Case("Clip", (3, 4), (None, floats(0.4)[0])),
    "elu": Case("Elu", (3, 4), (), {"alpha": 0.7}),
    "selu": Case("Selu", (3, 4)),
    "celu": Case("Celu", (3, 4), (), {"alpha": 0.7}),
    "gelu": Case("Gelu", (3, 4), opset=20),
    "gelu tanh": Case("Gelu", (3, 4), (), {"approximate": "tanh"}, 20),
    "hard sigmoid": Case("HardSigmoid", (3, 4)),
    "hard sigmoid torch": Case("HardSigmoid", (3, 4), (), {"alpha": 1 / 6, "beta": 0.5}),
    "hard swish": Case("HardSwish", (3, 4)),
    "softplus": Case("Softplus", (3, 4)),
    "softsign": Case("Softsign", (3, 4)),
    "mish": Case("Mish", (3, 4), opset=18),
    "thresholded relu": Case("ThresholdedRelu", (3, 4), (), {"alpha": 0.3}),
    "thresholded relu below 0": Case("ThresholdedRelu", (3, 4), (), {"alpha": -0.3}),
    "shrink": Case("Shrink", (3, 4), (), {"lambd": 0.4, "bias": 0.1}),
    "softmax 11": Case("Softmax", (2, 3, 4), opset=11),
    "softmax 11 last": Case("Softmax", (2, 3, 4), (), {"axis": -1}, 11),
    "log softmax 7": Case("LogSoftmax", (2, 3, 4), (), {"axis": 2}, 7),
    "softmax 13": Case("Softmax", (2, 3, 4), (), {"axis": 1}, 13),
    # Arithmetic
    "add broadcast": Case("Add", (2, 3, 4), ((3, 1),)),
    "sub number": Case("Sub", (2, 3, 4), (floats(2)[0],)),
    "sub to more dimensions": Case("Sub", (3,), ((1, 1),)),
    "div": Case("Div", (2, 3, 4), (floats(2, 4, 5, 8),)),
    "mul 7": Case("Mul", (2, 3, 4), ((2, 1, 4),), opset=7),
    "pow": Case("Pow", (2, 3), (floats(3)[0],)),
    "pow of integers": Case("Pow", (2, 3), (ints(2),)),
    "pow by array": Case("Pow", (2, 3), (floats(0.5, 1, 2),), positive=True),
    "max": Case("Max", (2, 3), ((3,), (2, 1))),
    "min": Case("Min", (2, 3), ((3,),), opset=8),
    "sum": Case("Sum", (2, 3), ((3,), (1, 1))),
    "mean": Case("Mean", (2, 3), ((3,), (2, 1))),
    "sum of one": Case("Sum", (2, 3)),
    "sqrt": Case("Sqrt", (2, 3), positive=True),
    "log": Case("Log", (2, 3), positive=True),
    "reciprocal": Case("Reciprocal", (2, 3), positive=True),
    "where": Case("Where", (2, 3), ((3,),), known_x=True),
    # Shapes
    "concat": Case("Concat", (2, 3), ((2, 2),), {"axis": -1}),
    "split 11": Case("Split", (2, 6), (), {"axis": 1, "split": [2, 4]}, 11, 2),
    "split equal": Case("Split", (2, 6), (), {"axis": -1}, 13, 3),
    "split 18": Case("Split", (2, 7), (), {"axis": 1, "num_outputs": 3}, 18, 3),
    "slice 9": Case("Slice", (4, 6), (), {"axes": [0, 1], "starts": [1, -3], "ends": [100, -1]}, 9),
    "slice back": Case("Slice", (4, 6), (ints(-1), ints(-100), ints(1), ints(-2))),
    "slice nothing": Case("Slice", (4, 6), (ints(3), ints(3), ints(1)), compiled=False),
    "pad 10": Case("Pad", (1, 2, 3, 4), (), {"pads": [0, 0, 1, 2, 0, 0, 2, 0], "value": 1.5}, 10),
    "pad reflect": Case("Pad", (1, 2, 3, 4), (ints(0, 0, 1, 2, 0, 0, 2, 0),), {"mode": "reflect"}),
    "pad edge": Case("Pad", (1, 2, 3, 4), (ints(0, 1, 1, 2, 0, 0, 2, 0),), {"mode": "edge"}),
    "pad crop": Case("Pad", (1, 2, 3, 4), (ints(0, 0, 1, -2, 0, 0, -1, 0),)),
    "pad axes": Case("Pad", (2, 3, 4), (ints(1, 2), floats(3)[0], ints(-1)), opset=18),
    "pad wrap": Case("Pad", (2, 3, 4), (ints(0, 1, 2, 0, 1, 3),), {"mode": "wrap"}, 19),
    "reshape 0 and -1": Case("Reshape", (2, 3, 4), (ints(0, -1),)),
    "flatten all": Case("Flatten", (2, 3, 4), (), {"axis": 0}, 11),
    "flatten last": Case("Flatten", (2, 3, 4), (), {"axis": -1}, 11),
    "transpose": Case("Transpose", (2, 3, 4), (), {"perm": [2, 0, 1]}),
    "squeeze 11": Case("Squeeze", (2, 1, 3, 1), (), {"axes": [1]}, 11),
    "squeeze all": Case("Squeeze", (2, 1, 3, 1)),
    "unsqueeze 11": Case("Unsqueeze", (2, 3), (), {"axes": [0, 3]}, 11),
    "unsqueeze 13": Case("Unsqueeze", (2, 3), (ints(-1, 0),)),
    "expand": Case("Expand", (3, 1), (ints(2, 1, 4),)),
    "tile": Case("Tile", (2, 3), (ints(2, 3),)),
    "gather": Case("Gather", (4, 3, 5), (np.array([[0, -1], [2, 1]]),), {"axis": 1}),
    "gather one": Case("Gather", (4, 3, 5), (np.int64(-2),), {"axis": 0}),
    "depth to space": Case("DepthToSpace", (1, 8, 2, 3), (), {"blocksize": 2, "mode": "CRD"}, 11),
    "space to depth": Case("SpaceToDepth", (1, 2, 4, 6), (), {"blocksize": 2}),
    # Resizing
    "upsample 7": Case("Upsample", (1, 2, 3, 4), (), {"scales": [1.0, 1.0, 2.0, 3.0]}, 7),
    "upsample linear": Case("Upsample", (1, 2, 3, 4), (floats(1, 1, 2, 2),), {"mode": "linear"}, 9),
    "resize 10": Case("Resize", (1, 2, 6, 4), (floats(1, 1, 0.5, 2),), {}, 10),
    "resize 11 linear": Case(
        "Resize",
        (1, 2, 3, 4),
        (floats(), floats(1, 1, 2.5, 2)),
        {"mode": "linear", "coordinate_transformation_mode": "pytorch_half_pixel"},
        11,
    ),
    "resize sizes, corners": Case(
        "Resize",
        (1, 2, 3, 4),
        (None, None, ints(1, 2, 7, 9)),
        {"mode": "linear", "coordinate_transformation_mode": "align_corners"},
        13,
    ),
    "resize nearest floor": Case(
        "Resize",
        (1, 2, 3, 4),
        (None, floats(1, 1, 2, 3)),
        {"nearest_mode": "floor", "coordinate_transformation_mode": "asymmetric"},
        13,
    ),
    "resize cubic": Case(
        "Resize", (1, 2, 5, 6), (None, floats(1, 1, 1.6, 2)), {"mode": "cubic"}, 13
    ),
    "resize axes": Case(
        "Resize",
        (1, 5, 6),
        (
            None,
            floats(2),
        ),
        {"axes": [1], "mode": "linear"},
        18,
        reference=True,
    ),
    "resize volume": Case(
        "Resize", (1, 2, 3, 4, 3), (None, floats(1, 1, 2, 2, 2)), {"mode": "linear"}, 13
    ),
    # Reductions
    "reduce mean 11": Case("ReduceMean", (2, 3, 4), (), {"axes": [1, -1], "keepdims": 0}, 11),
    "reduce sum 13": Case("ReduceSum", (2, 3, 4), (ints(-1),), {"keepdims": 0}),
    "reduce sum nothing": Case("ReduceSum", (2, 3, 4), (), {"noop_with_empty_axes": 1}),
    "reduce max": Case("ReduceMax", (2, 3, 4), (), {"axes": [0, 2]}),
    "reduce min 18": Case("ReduceMin", (2, 3, 4), (ints(1),), opset=18),
    "reduce prod": Case("ReduceProd", (2, 3, 4), (), {"axes": [1]}),
    "reduce l1": Case("ReduceL1", (2, 3, 4), (), {"axes": [1]}),
    "reduce l2": Case("ReduceL2", (2, 3, 4), (), {"axes": [1, 2]}),
    "reduce log sum": Case("ReduceLogSum", (2, 3, 4), (), {"axes": [1]}, positive=True),
    "reduce log sum exp": Case("ReduceLogSumExp", (2, 3, 4), (), {"axes": [1], "keepdims": 0}),
    "reduce sum square": Case("ReduceSumSquare", (2, 3, 4)),
    "dropout 7": Case("Dropout", (2, 3), (), {"ratio": 0.4}, 7),
    "dropout 12": Case("Dropout", (2, 3), (floats(0.4)[0],), {}, 12),
    "cast": Case("Cast", (2, 3), (), {"to": TensorProto.FLOAT}),
    "identity": Case("Identity", (2, 3)),
}


def made(case: Case, name: str) -> tuple[Any, Any]:
    """The model of a case, and an input."""
    g = rng(name)
    x = g.uniform(0.2, 2, case.shape) if case.positive else g.standard_normal(case.shape)
    names, weights = ["x"], []
    if case.known_x:
        names = ["mask", "x"]
        weights.append(numpy_helper.from_array(g.random(case.shape) < 0.5, "mask"))
    for i, constant in enumerate(case.constants):
        if constant is None:
            names.append("")
            continue
        array = constant
        if isinstance(constant, tuple):
            array = np.asarray(g.standard_normal(constant), np.float32)
        names.append(f"w{i}")
        weights.append(numpy_helper.from_array(np.asarray(array), f"w{i}"))
    outputs = [f"y{i}" for i in range(case.outputs)]
    node = helper.make_node(case.op, names, outputs, **case.attributes)
    kinds = [TensorProto.FLOAT] + [
        TensorProto.INT64 if case.op == "MaxPool" else TensorProto.FLOAT
    ] * (case.outputs - 1)
    graph = helper.make_graph(
        [node],
        "net",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, case.shape)],
        [helper.make_tensor_value_info(n, k, None) for n, k in zip(outputs, kinds, strict=True)],
        weights,
    )
    model = helper.make_model(
        graph, opset_imports=[helper.make_opsetid("", case.opset)], ir_version=8
    )
    return model, x.astype(np.float32)


def results(value: Any) -> list[Any]:
    return [np.asarray(v) for v in (value if isinstance(value, tuple) else (value,))]


@pytest.mark.parametrize("name", CASES)
def test_op(name: str) -> None:
    case = CASES[name]
    model, x = made(case, name)
    if not RUNTIME and not case.reference:
        pytest.skip("needs onnxruntime")
    expected = (run_reference if case.reference else run_runtime)(model, x)
    net = fc.onnx.load(model.SerializeToString()).eval()
    with fc.no_grad():
        ways = [results(net(x))]
    if case.compiled:
        ways.append(results(fc.compile(net, x)(x)))
    for got in ways:
        for one, other in zip(got, expected, strict=True):
            assert one.dtype == other.dtype and one.shape == other.shape
            np.testing.assert_allclose(one, other, rtol=2e-5, atol=2e-5)


@pytest.mark.parametrize("name", [n for n, c in CASES.items() if c.outputs == 1])
def test_gradient(name: str) -> None:
    """In float64, of the input and of every parameter, by finite differences."""
    case = CASES[name]
    model, x32 = made(case, name)
    net = fc.onnx.load(model.SerializeToString()).eval().double()
    x = fc.tensor(x32.astype(np.float64), requires_grad=True)
    y = net(x)
    g = rng(name, "g").standard_normal(y.shape)
    (y * g).sum().backward()

    def total() -> float:
        with fc.no_grad():
            return float((net(x).numpy() * g).sum())

    for leaf in (x, *net.parameters()):
        expected = numeric_gradient(total, leaf.numpy())
        got = np.zeros(leaf.shape) if leaf.grad is None else leaf.grad.numpy()
        np.testing.assert_allclose(got, expected, rtol=1e-5, atol=1e-5)


def test_windows_of_an_even_number_of_channels() -> None:
    """ONNX has the odd one behind: of size 4 one channel in front and two behind."""
    case = Case("LRN", (2, 7, 3, 4), (), {"size": 4, "alpha": 0.5, "beta": 0.7, "bias": 1.5})
    model, x = made(case, "lrn")
    squares = np.pad(x.astype(np.float64) ** 2, ((0, 0), (1, 2), (0, 0), (0, 0)))
    sums = sum(squares[:, i : i + 7] for i in range(4))
    expected = x / (1.5 + 0.5 / 4 * sums) ** 0.7
    with fc.no_grad():
        got = fc.onnx.load(model.SerializeToString()).eval()(x).numpy()
    np.testing.assert_allclose(got, expected, rtol=1e-5)
