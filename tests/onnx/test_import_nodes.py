"""The onnx package's own tests of single ops: all that are in scope give what they expect."""

from __future__ import annotations

import re
import warnings
from typing import Any

import numpy as np
import pytest

import fastconv as fc

onnx = pytest.importorskip("onnx")

_OPS = """
Abs Add AveragePool BatchNormalization Cast Celu Clip Concat Constant ConstantOfShape Conv ConvTranspose
DepthToSpace Div Dropout Elu Exp Expand Flatten Gather Gelu Gemm GlobalAveragePool GlobalLpPool GlobalMaxPool
GroupNormalization HardSigmoid HardSwish Identity InstanceNormalization LRN LayerNormalization LeakyRelu Log
LogSoftmax LpNormalization LpPool MatMul Max MaxPool Mean MeanVarianceNormalization Min Mish Mul Neg PRelu Pad
Pow Range Reciprocal ReduceL1 ReduceL2 ReduceLogSum ReduceLogSumExp ReduceMax ReduceMean ReduceMin ReduceProd
ReduceSum ReduceSumSquare Relu Reshape Resize Selu Shape Shrink Sigmoid Size Slice Softmax Softplus Softsign
SpaceToDepth Split Sqrt Squeeze Sub Sum Swish Tanh ThresholdedRelu Tile Transpose Unsqueeze Upsample
And ArgMax ArgMin Ceil CumSum Equal Erf Floor Greater GreaterOrEqual Less LessOrEqual Mod Not Or Round Sign
GatherElements ScatterElements Where Xor
"""
OPS = frozenset(_OPS.split())
# What the tests above have that is out of scope, by name.
OUT_OF_SCOPE = {
    r"test_training_dropout(_default)?(_mask)?$": "the mask is that of NumPy's generator",
    r"test_identity_(sequence|opt)$": "values that are no tensors",
    r"test_equal_string": "strings",
    r"test_not_\dd$": "opset 1, older than what is read",
    r"test_(cast|castlike)_.*(FLOAT8|FLOAT4|E8M0|INT4|INT2)": "element types below 8 bits or of 8-bit floats",
    r"test_(cast|castlike)_.*BFLOAT16": "bfloat16, which is computed in float32",
    r"test_cast_(FLOAT|DOUBLE)_to_FLOAT16$": "16-bit floats, which are computed in float32",
}


def in_scope(case: Any) -> bool:
    ops = {node.op_type for node in case.model.graph.node}
    return ops <= OPS and not case.model.functions


def reason(name: str) -> str | None:
    return next((why for pattern, why in OUT_OF_SCOPE.items() if re.match(pattern, name)), None)


def cases() -> list[Any]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of how the tests themselves are made
        from onnx.backend.test.loader import load_model_tests

        return [c for c in load_model_tests(kind="node") if in_scope(c)]


CASES = {case.name: case for case in cases()}


def array(value: Any) -> Any:
    return onnx.numpy_helper.to_array(value) if hasattr(value, "SerializeToString") else value


@pytest.mark.parametrize("name", [n for n in CASES if reason(n) is None])
def test_node(name: str) -> None:
    case = CASES[name]
    net = fc.onnx.load(case.model.SerializeToString()).eval()
    for inputs, outputs in case.data_sets:
        got = net(*map(array, inputs))
        results = got if isinstance(got, tuple) else (got,)
        for result, expected in zip(results, map(array, outputs), strict=True):
            value = result.numpy()
            assert value.shape == expected.shape
            assert value.dtype.kind == np.asarray(expected).dtype.kind
            # Half precision is computed in float32, and compared as what it is.
            tolerance = max(case.rtol, 2e-3) if expected.dtype == np.float16 else case.rtol
            np.testing.assert_allclose(value, expected, rtol=tolerance, atol=case.atol)


def test_what_is_in_scope_is_there() -> None:
    """The list has not run empty: the tests of convolution and pooling, for a start."""
    ran = [n for n in CASES if reason(n) is None]
    assert len(ran) > 500
    for start, count in (
        ("test_basic_conv", 2),
        ("test_conv", 12),
        ("test_convtranspose", 9),
        ("test_maxpool", 18),
        ("test_averagepool", 20),
        ("test_lppool", 8),
        ("test_batchnorm", 4),
        ("test_resize", 35),
        ("test_reduce", 90),
        ("test_split", 12),
        ("test_slice", 8),
    ):
        assert sum(n.startswith(start) for n in ran) >= count, start


@pytest.mark.parametrize("pattern", OUT_OF_SCOPE)
def test_what_is_left_out_exists(pattern: str) -> None:
    assert any(re.match(pattern, n) for n in CASES)
