"""Exported functions, one by one, against the functions themselves: in the onnx package's evaluator and in ONNX
Runtime, for several batch sizes, layouts and opsets."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import pytest

import fastconv as fc
import fastconv.functional as F
from tests.onnx.helpers import RUNTIME, Apply, eager, images, ops, run, run_reference, run_runtime
from tests.support import assert_close, randn, rng

onnx = pytest.importorskip("onnx")


class Case(NamedTuple):
    function: Callable[..., Any]
    shape: tuple[int, ...]  # of the input, batch first
    arrays: tuple[tuple[int, ...], ...] = ()  # shapes of parameters
    nodes: tuple[str, ...] | None = None  # the operators, where they are to be these
    flip: bool = False  # also with layout="NHWC"
    # Whether the onnx package's evaluator knows it: not transposed convolution in groups, and LRN, whose
    # channels it counts by the batch.
    reference: bool = True


def spatial(function: Callable[..., Any]) -> Callable[..., Any]:
    return lambda x, *p, layout="NCHW": function(x, *p, layout=layout)


def pool(function: Callable[..., Any], *args: Any, **options: Any) -> Callable[..., Any]:
    return lambda x, layout="NCHW": function(x, *args, layout=layout, **options)


def conv(**options: Any) -> Callable[..., Any]:
    return lambda x, w, b=None, layout="NCHW": F.conv2d(x, w, b, layout=layout, **options)


def transposed(**options: Any) -> Callable[..., Any]:
    return lambda x, w, b=None, layout="NCHW": F.conv_transpose2d(x, w, b, layout=layout, **options)


def normed(x: Any, w: Any, b: Any, m: Any, v: Any, layout: str = "NCHW") -> Any:
    return F.batch_norm(x, m, F.mul(v, v), w, b, eps=1e-3, layout=layout)


CASES = {
    "conv": Case(conv(padding=1), (3, 9, 8), ((4, 3, 3, 3), (4,)), ("Conv",), True),
    "conv without bias": Case(
        conv(stride=(2, 1), padding=(0, 2), dilation=(1, 2)), (3, 9, 8), ((4, 3, 3, 2),), ("Conv",)
    ),
    "conv in groups": Case(conv(groups=3), (6, 5, 5), ((9, 2, 2, 2), (9,)), ("Conv",), True),
    "conv same": Case(conv(padding="same"), (2, 6, 7), ((4, 2, 4, 3),), ("Conv",), True),
    "conv same dilated": Case(conv(padding="same", dilation=(3, 1)), (2, 9, 7), ((4, 2, 2, 4),)),
    "conv valid": Case(conv(padding="valid", stride=2), (2, 6, 7), ((4, 2, 3, 3),), ("Conv",)),
    "conv1d": Case(lambda x, w, b: F.conv1d(x, w, b, 2, 1), (3, 9), ((4, 3, 3), (4,)), ("Conv",)),
    "conv1d channels-last": Case(lambda x, w: F.conv1d(x, w, layout="NHWC"), (9, 3), ((4, 3, 3),)),
    "conv1d and more": Case(
        lambda x, v, w: F.max_pool1d(F.relu(F.conv1d(F.conv1d(x, v), w, padding="same")), 3, 2, 1),
        (3, 9), ((4, 3, 3), (2, 4, 2)), ("Conv", "Conv", "Relu", "MaxPool"),
    ),
    "a picture of height 1": Case(
        lambda x, w: F.conv2d(F.reshape(x, (-1, 3, 1, 9)), w, padding=(1, 0)), (3, 9), ((4, 3, 1, 3),)
    ),
    "a picture of height 1, one row": Case(
        lambda x, w: F.conv2d(F.relu(F.reshape(x, (-1, 3, 1, 9))), w), (3, 9), ((4, 3, 1, 3),),
        ("Reshape", "Relu", "Conv"),
    ),
    "conv3d": Case(
        lambda x, w, b: F.conv3d(x, w, b, 2, 1, groups=2), (4, 5, 6, 7), ((6, 2, 3, 3, 2), (6,))
    ),
    "conv3d channels-last": Case(lambda x, w: F.conv3d(x, w, layout="NHWC"), (5, 6, 7, 2), ((3, 2, 3, 2, 2),)),
    "transposed 1d": Case(
        lambda x, w: F.conv_transpose1d(x, w, None, 2, 1, 1), (3, 9), ((3, 2, 3),), ("ConvTranspose",)
    ),
    "transposed 3d": Case(lambda x, w: F.conv_transpose3d(x, w, None, 2), (3, 2, 3, 4), ((3, 2, 2, 2, 3),)),
    "max_pool1d": Case(lambda x: F.max_pool1d(x, 3, 2, 1), (3, 9), (), ("MaxPool",)),
    "max_pool3d": Case(lambda x: F.max_pool3d(x, 2, 2, ceil_mode=True), (3, 5, 4, 6)),
    "avg_pool1d": Case(lambda x: F.avg_pool1d(x, 3, 2, 1), (3, 9), (), ("AveragePool",)),
    "avg_pool1d ceil": Case(lambda x: F.avg_pool1d(x, 3, 2, 1, ceil_mode=True), (3, 8)),
    "avg_pool3d": Case(lambda x: F.avg_pool3d(x, 2, 2, 1, count_include_pad=False), (3, 5, 4, 6)),
    "adaptive_avg_pool3d": Case(lambda x: F.adaptive_avg_pool3d(x, (2, 3, 4)), (3, 5, 4, 6)),
    "transposed": Case(
        transposed(stride=2, padding=1, output_padding=(1, 0)),
        (4, 5, 4),
        ((4, 3, 3, 4), (3,)),
        ("ConvTranspose",),
        True,
    ),
    "transposed in groups": Case(
        transposed(stride=(1, 3), groups=2, dilation=2), (4, 5, 4), ((4, 3, 3, 2),), None, True, False
    ),
    "conv2d_input": Case(
        lambda g, w: F.conv2d_input((g.shape[0], 3, 8, 9), w, g, stride=2, padding=1),
        (4, 4, 5),
        ((4, 3, 3, 3),),
        ("ConvTranspose",),
    ),
    "linear": Case(F.linear, (7,), ((5, 7), (5,)), ("Gemm",)),
    "linear without bias": Case(F.linear, (7,), ((5, 7),), ("Gemm",)),
    "linear of three dimensions": Case(
        F.linear, (3, 7), ((5, 7), (5,)), ("Transpose", "MatMul", "Add")
    ),
    "matmul": Case(lambda x, p: F.matmul(F.permute(x, (0, 2, 1)), p), (3, 4), ((3, 5),)),
    "matmul of two": Case(lambda x: F.matmul(x, F.permute(x, (0, 2, 1))), (3, 4), (), ("Transpose", "MatMul")),
    "instance_norm": Case(
        lambda x, w, b: F.instance_norm(x, None, None, w, b), (4, 3, 5), ((4,), (4,)), ("InstanceNormalization",)
    ),
    "instance_norm of one example": Case(
        lambda x, w, b: F.instance_norm(F.narrow(x, 0, 0, 1), None, None, w, b), (4, 3, 5), ((4,), (4,))
    ),
    "instance_norm with numbers for each example": Case(
        lambda x: F.batch_norm(
            F.reshape(x, (1, -1, 15)), None, None, F.reshape(F.mean(x, (2, 3)), (-1,)), training=True
        ),
        (4, 3, 5),
    ),
    "instance_norm channels-last": Case(
        lambda x, w, b: F.instance_norm(x, None, None, w, b, layout="NHWC"), (4, 3, 5), ((5,), (5,))
    ),
    "group_norm": Case(lambda x, w, b: F.group_norm(x, 2, w, b), (4, 3, 5), ((4,), (4,))),
    "layer_norm": Case(lambda x, w, b: F.layer_norm(x, (3, 5), w, b), (4, 3, 5), ((3, 5), (3, 5))),
    "batch_norm": Case(
        normed, (4, 3, 5), ((4,), (4,), (4,), (4,)), ("Mul", "BatchNormalization"), True
    ),
    "batch_norm of features": Case(normed, (4,), ((4,), (4,), (4,), (4,))),
    "batch_norm bare": Case(
        spatial(lambda x, m, v, layout: F.batch_norm(x, m, F.mul(v, v), layout=layout)),
        (4, 3, 5),
        ((4,), (4,)),
        None,
        True,
    ),
    "batch_norm of the batch": Case(
        spatial(
            lambda x, w, b, layout: F.batch_norm(x, None, None, w, b, training=True, layout=layout)
        ),
        (4, 3, 5),
        ((4,), (4,)),
        None,
        True,
    ),
    "local_response_norm": Case(
        spatial(lambda x, layout: F.local_response_norm(x, 5, 0.3, 0.6, 2.0, layout=layout)),
        (7, 3, 4),
        (),
        ("LRN",),
        True,
        False,
    ),
    "local_response_norm of an even size": Case(
        spatial(lambda x, layout: F.local_response_norm(x, 4, 0.5, 0.75, layout=layout)),
        (7, 3, 4),
        (),
        None,
        True,
    ),
    "local_response_norm of rows": Case(
        lambda x: F.local_response_norm(x, 3, 0.5), (7, 6), (), ("Reshape", "LRN", "Reshape"), False, False
    ),
    "local_response_norm of volumes": Case(lambda x: F.local_response_norm(x, 2, 0.5), (5, 2, 3, 4)),
    "max_pool2d": Case(pool(F.max_pool2d, 3, 2, 1), (3, 9, 8), (), ("MaxPool",), True),
    "max_pool2d ceil": Case(
        pool(F.max_pool2d, 3, 2, ceil_mode=True), (3, 8, 10), (), ("MaxPool",), True
    ),
    "max_pool2d ceil, last window dropped": Case(
        pool(F.max_pool2d, 2, 3, 1, ceil_mode=True), (3, 7, 6), (), ("MaxPool",)
    ),
    "max_pool2d dilated": Case(
        pool(F.max_pool2d, (2, 3), 1, (0, 1), (3, 2)), (3, 9, 8), (), ("MaxPool",)
    ),
    "max_pool2d dilated, ceil": Case(
        pool(F.max_pool2d, 2, 4, 0, 4, ceil_mode=True), (3, 7, 7), (), ("MaxPool",), True
    ),
    "max_pool2d dilated, padded, ceil": Case(
        pool(F.max_pool2d, 2, 3, 1, 4, ceil_mode=True), (3, 8, 8), (), ("Pad", "MaxPool"), True
    ),
    "max_pool2d positions": Case(
        lambda x: F.max_pool2d(x, 3, 2, 1, return_indices=True)[1], (3, 9, 8), (), ("MaxPool", "Mod")
    ),
    "avg_pool2d": Case(pool(F.avg_pool2d, (3, 2), 2, 1), (3, 9, 8), (), ("AveragePool",), True),
    "avg_pool2d of pixels": Case(
        pool(F.avg_pool2d, 3, 2, 1, count_include_pad=False), (3, 9, 8), (), ("AveragePool",), True
    ),
    "avg_pool2d of pixels, ceil": Case(
        pool(F.avg_pool2d, 3, 2, 1, ceil_mode=True, count_include_pad=False),
        (3, 8, 10),
        (),
        ("AveragePool",),
    ),
    "avg_pool2d ceil": Case(
        pool(F.avg_pool2d, 3, 2, 1, ceil_mode=True), (3, 8, 10), (), ("AveragePool", "Mul"), True
    ),
    "avg_pool2d divisor": Case(
        pool(F.avg_pool2d, 3, 2, 1, ceil_mode=True, divisor_override=5), (3, 8, 10), (), None, True
    ),
    "sum_pool2d": Case(pool(F.sum_pool2d, 2), (3, 6, 8), (), ("AveragePool", "Mul"), True),
    "global_avg_pool2d": Case(
        pool(F.global_avg_pool2d), (3, 6, 5), (), ("GlobalAveragePool",), True
    ),
    "global_max_pool2d": Case(pool(F.global_max_pool2d), (3, 6, 5), (), ("GlobalMaxPool",), True),
    "adaptive_avg_pool2d": Case(
        pool(F.adaptive_avg_pool2d, (2, 3)), (3, 6, 9), (), ("AveragePool",), True
    ),
    "adaptive_avg_pool2d of its size": Case(
        lambda x: F.relu(F.adaptive_avg_pool2d(x, (6, None))), (3, 6, 9), (), ("Relu",)
    ),
    "adaptive_avg_pool2d, ragged": Case(
        pool(F.adaptive_avg_pool2d, (4, 7)), (3, 9, 5), (), ("MatMul", "MatMul"), True
    ),
    "adaptive_max_pool2d": Case(
        pool(F.adaptive_max_pool2d, (2, 3)), (3, 6, 9), (), ("MaxPool",), True
    ),
    "adaptive_max_pool2d, ragged": Case(
        pool(F.adaptive_max_pool2d, (4, 2)), (3, 9, 5), (), None, True
    ),
    "adaptive_max_pool2d positions": Case(
        lambda x: F.adaptive_max_pool2d(x, 1, return_indices=True)[1], (3, 4, 5)
    ),
    "relu": Case(F.relu, (5, 3), (), ("Relu",)),
    "relu6": Case(lambda x: F.relu6(F.mul(x, 6.0)), (5, 3), (), ("Mul", "Clip")),
    "leaky_relu": Case(lambda x: F.leaky_relu(x, 0.3), (5, 3), (), ("LeakyRelu",)),
    "sigmoid": Case(F.sigmoid, (5, 3), (), ("Sigmoid",)),
    "tanh": Case(F.tanh, (5, 3), (), ("Tanh",)),
    "gelu": Case(F.gelu, (5, 3)),
    "gelu tanh": Case(lambda x: F.gelu(x, "tanh"), (5, 3)),
    "clamp": Case(lambda x: F.clamp(x, -0.5, 0.3), (5, 3), (), ("Clip",)),
    "clamp below": Case(lambda x: F.clamp(x, min=-0.5), (5, 3), (), ("Clip",)),
    "clamp above": Case(lambda x: F.clamp(x, max=0.3), (5, 3), (), ("Clip",)),
    "dropout of everything": Case(lambda x: F.dropout(x, 1.0, True), (5, 3), (), ("Mul",)),
    "elu": Case(lambda x: F.elu(x, 0.7), (5, 3), (), ("Elu",)),
    "celu": Case(lambda x: F.celu(x, 0.7), (5, 3), (), ("Celu",)),
    "softplus": Case(lambda x: F.softplus(x, 2.0, 1.0), (5, 3)),
    "softplus with a threshold of 0": Case(lambda x: F.softplus(x, 1.0, 0.0), (5, 3)),
    "prelu": Case(F.prelu, (4, 3, 5), ((4,),)),
    "prelu channels-last": Case(
        lambda x, w, p: F.prelu(F.conv2d(x, w, layout="NHWC"), p, "NHWC"), (3, 5, 4), ((2, 4, 1, 1), (2,))
    ),
    "prelu of one number": Case(F.prelu, (4, 3), ((1,),)),
    "threshold": Case(lambda x: F.threshold(x, 0.2, -3.0), (5, 3), (), ("LessOrEqual", "Where")),
    "hardshrink": Case(F.hardshrink, (5, 3)),
    "softshrink": Case(F.softshrink, (5, 3), (), ("Clip", "Sub")),
    "softsign": Case(F.softsign, (5, 3)),
    "tanhshrink": Case(F.tanhshrink, (5, 3), (), ("Tanh", "Sub")),
    "logsigmoid": Case(F.logsigmoid, (5, 3)),
    "softmin": Case(lambda x: F.softmin(x, 1), (5, 3)),
    "glu": Case(lambda x: F.glu(x, 1), (6, 3)),
    "normalize": Case(F.normalize, (5, 3)),
    "normalize by sums": Case(lambda x: F.normalize(x, 1.0, 2), (5, 3)),
    "cosine_similarity": Case(lambda x, p: F.cosine_similarity(x, F.add(p, F.mul(x, 0.0))), (5, 3), ((1, 5, 3),)),
    "pixel_shuffle": Case(lambda x: F.pixel_shuffle(x, 2), (8, 3, 4)),
    "pixel_unshuffle": Case(lambda x: F.pixel_unshuffle(x, 2), (3, 4, 6)),
    "channel_shuffle": Case(lambda x: F.channel_shuffle(x, 3), (6, 3, 4)),
    "unfold": Case(lambda x: F.unfold(x, 2, 1, 1, 2), (3, 4, 5)),
    "fold": Case(lambda x: F.fold(x, (4, 5), 2), (8, 12)),
    "padded by reflection": Case(lambda x: F.pad(x, (1, 2, 2, 1), "reflect"), (3, 4, 5), (), ("Pad",)),
    "padded in circles": Case(lambda x: F.pad(x, (1, 2, 2, 1), "circular"), (3, 4, 5)),
    "one_hot": Case(
        lambda x: F.one_hot(F.max_pool2d(x, 2, return_indices=True)[1], 20), (3, 4, 5)
    ),
    "max_unpool2d": Case(
        lambda x: F.max_unpool2d(*F.max_pool2d(x, 2, return_indices=True), 2), (3, 4, 6)
    ),
    "max_unpool2d channels-last": Case(
        lambda x: F.max_unpool2d(
            *F.max_pool2d(x, 2, return_indices=True, layout="NHWC"), 2, layout="NHWC"
        ),
        (4, 6, 3),
    ),
    "embedding": Case(
        lambda x, w: F.embedding(F.max_pool2d(x, 2, return_indices=True)[1], w), (3, 4, 6), ((24, 5),)
    ),
    "grid_sample": Case(
        lambda x: F.grid_sample(
            x, F.affine_grid(F.reshape(F.tanh(x[:, 0, :2, :3]), (-1, 2, 3)), (x.shape[0], 3, 4, 5))
        ),
        (3, 4, 6),
    ),
    "a number less": Case(lambda x: F.sub(2.0, x), (5, 3), (), ("Sub",)),
    "a number over": Case(lambda x: F.div(2.0, F.exp(x)), (5, 3), (), ("Exp", "Div")),
    "pow": Case(lambda x: F.pow(F.abs(x), 1.5), (5, 3), (), ("Abs", "Pow")),
    "pow of a number": Case(lambda x: F.pow(1.5, x), (5, 3), (), ("Pow",)),
    "maximum": Case(F.maximum, (5, 3), ((1, 1, 3),), ("Max",)),
    "round": Case(lambda x: F.round(F.mul(x, 4.0)), (5, 3), (), ("Mul", "Round")),
    "softmax": Case(lambda x: F.softmax(x, 1), (5, 3), (), ("Softmax",)),
    "log_softmax": Case(F.log_softmax, (5, 3), (), ("LogSoftmax",)),
    "add": Case(F.add, (5, 3), ((1, 5, 1),), ("Add",)),
    "add of fewer dimensions": Case(F.add, (5, 3), ((3,),)),
    "add a number": Case(lambda x: F.add(x, 2.5), (5, 3), (), ("Add",)),
    "mul": Case(lambda x: F.mul(x, x), (5, 3), (), ("Mul",)),
    "mul a number": Case(lambda x: F.mul(-1.5, x), (5, 3), (), ("Mul",)),
    "sum": Case(lambda x: F.sum(x, (1, -1)), (5, 3, 4), (), ("ReduceSum", "Flatten")),
    "sum of all": Case(F.sum, (5, 3)),
    "sum over the batch": Case(lambda x: F.sum(x, 0, keepdim=True), (5, 3)),
    "mean": Case(lambda x: F.mean(x, 2, keepdim=True), (5, 3), (), ("ReduceMean",)),
    "mean of all": Case(F.mean, (5, 3)),
    "reshape": Case(lambda x: F.reshape(x, (-1, 2, 6)), (3, 4)),
    "reshape across the batch": Case(lambda x: F.reshape(x, (3, -1)), (3, 4)),
    "reshape before the batch": Case(lambda x: F.reshape(x, (1, -1, 4)), (3, 4)),
    "reshape to two batches": Case(lambda x: F.reshape(x, (2 * x.shape[0], 6)), (3, 4)),
    "reshape and back": Case(
        lambda x: F.reshape(F.relu(F.reshape(x, (1, -1, 6))), x.shape), (3, 4, 6)
    ),
    "flatten": Case(lambda x: F.flatten(x, 1), (3, 4, 2), (), ("Flatten",)),
    "flatten the end": Case(lambda x: F.flatten(x, 2), (3, 4, 2), (), ("Reshape",)),
    "flatten all": Case(F.flatten, (3, 4, 2)),
    "permute": Case(lambda x: F.permute(x, (2, 0, 1)), (3, 4), (), ("Transpose",)),
    "permute there and back": Case(
        lambda x: F.permute(F.tanh(F.permute(x, (1, 2, 0))), (2, 0, 1)), (3, 4), (), ("Tanh",)
    ),
    "permute and flatten": Case(lambda x: F.flatten(F.permute(x, (0, 2, 1)), 1), (3, 4)),
    "permute, then sums": Case(lambda x: F.sum(F.permute(x, (2, 0, 1)), 1), (3, 4)),
    "permute, then softmax": Case(lambda x: F.softmax(F.permute(x, (0, 2, 1)), 2), (3, 4)),
    "permute, then sums of two": Case(lambda x, p: F.add(F.permute(x, (0, 2, 1)), p), (3, 4), ((4, 3),)),
    "transpose": Case(lambda x: F.relu(F.transpose(x, 1, 2)), (3, 4), (), ("Relu", "Transpose")),
    "concat": Case(lambda x: F.concat([x, F.relu(x), x], 1), (3, 4), (), ("Relu", "Concat")),
    "concat of the last": Case(lambda x: F.concat([x, F.permute(x, (0, 2, 1))], -1), (4, 4)),
    "concat over the batch": Case(lambda x: F.concat([x, F.relu(x)], 0), (3, 4)),
    "split": Case(lambda x: F.concat(F.split(x, (2, 1, 2), 1)[::-1], 1), (5, 4), (), ("Split", "Concat")),
    "a piece of a split": Case(lambda x: F.split(x, (2, 1, 2), 1)[1], (5, 4), (), ("Slice",)),
    "the only piece of a split": Case(lambda x: F.relu(F.split(x, 5, 1)[0]), (5, 4), (), ("Relu",)),
    "chunk": Case(lambda x: F.mul(*F.chunk(F.permute(x, (0, 2, 1)), 2, 2)), (4, 3), (), None),
    "narrow": Case(lambda x: F.narrow(x, 2, 1, 2), (5, 4), (), ("Slice",)),
    "slice": Case(lambda x: F.slice(x, 1, 4, None, -2), (5, 4), (), ("Slice",)),
    "slice with a step": Case(lambda x: F.slice(x, 1, 1, 6, 3), (8, 4), (), ("Slice",)),
    "getitem": Case(lambda x: x[:, -1, None, 1:], (5, 4)),
    "without the first image": Case(lambda x: F.concat([F.slice(x, 0, 1), x], 0), (5, 4)),
    "without the last image": Case(lambda x: F.concat([x, F.slice(x, 0, 0, -1)], 0), (5, 4)),
    "the last image": Case(lambda x: F.add(F.slice(x, 0, -1), x), (5, 4), (), ("Slice", "Add")),
    "the first image": Case(lambda x: F.add(F.slice(x, 0, 0, 1), x), (5, 4), (), ("Slice", "Add")),
    "index_select": Case(lambda x: F.index_select(x, 2, np.array([3, 0, 0, 1])), (5, 4), (), ("Gather",)),
    "index_select evenly": Case(lambda x: F.index_select(x, 1, np.array([3, 2, 1])), (5, 4), (), ("Slice",)),
    "resample": Case(
        lambda x: F.resample(x, 1, np.array([[1, 2], [-1, 0], [-1, -1]]), np.array([[0.5, 2], [1, 3], [1, 1.0]])),
        (3, 4),
    ),
    "resample of many": Case(
        lambda x: F.resample(x, 1, np.arange(90).reshape(3, 30) % 7, np.linspace(0, 1, 90).reshape(3, 30)),
        (7, 2, 3),
    ),
    "squeeze": Case(lambda x: F.relu(F.squeeze(x, (1, 3))), (1, 4, 1)),
    "unsqueeze": Case(lambda x: F.relu(F.unsqueeze(x, 2)), (3, 4)),
    "expand": Case(lambda x: F.relu(F.expand(x, (-1, 4, 3))), (1, 3), (), ("Expand", "Relu")),
    "expand over the batch": Case(lambda x, p: F.relu(F.expand(p, (x.shape[0], 2, 3))), (2, 3), ((1, 2, 3),)),
    "interpolate": Case(lambda x: F.interpolate(x, scale_factor=2), (3, 4, 5), (), ("Resize",)),
    "interpolate to a size": Case(lambda x: F.interpolate(x, (7, 3)), (3, 4, 5)),
    "interpolate in one direction": Case(lambda x: F.interpolate(x, (4, 10)), (3, 4, 5), (), ("Resize",)),
    "interpolate exact": Case(lambda x: F.interpolate(x, (7, 3), mode="nearest-exact"), (3, 4, 5)),
    "interpolate exact by a factor": Case(
        lambda x: F.interpolate(x, scale_factor=2, mode="nearest-exact"), (3, 4, 5), (), ("Resize",)
    ),
    "interpolate linear": Case(lambda x: F.interpolate(x, 7, mode="linear"), (3, 5)),
    "interpolate bilinear": Case(
        lambda x: F.interpolate(x, scale_factor=(3, 2), mode="bilinear"), (3, 4, 5), (), ("Resize",)
    ),
    "interpolate bilinear to a size": Case(lambda x: F.interpolate(x, (7, 3), mode="bilinear"), (3, 4, 5)),
    "interpolate twice": Case(
        lambda x: F.interpolate(F.relu(F.interpolate(x, (7, 8), mode="bilinear")), (9, 5), mode="bilinear"),
        (3, 4, 5),
    ),
    "interpolate channels-last": Case(
        lambda x: F.interpolate(x, (7, 9), mode="bilinear", layout="NHWC"), (4, 5, 3)
    ),
    "interpolate to corners": Case(
        lambda x: F.interpolate(x, (3, 9), mode="bilinear", align_corners=True), (3, 4, 5)
    ),
    "interpolate by an odd factor": Case(
        lambda x: F.interpolate(x, scale_factor=1.7, mode="bilinear"), (3, 4, 5)
    ),
    "interpolate bicubic": Case(lambda x: F.interpolate(x, (9, 7), mode="bicubic"), (3, 4, 5)),
    "interpolate trilinear": Case(lambda x: F.interpolate(x, (2, 3, 4), mode="trilinear"), (3, 4, 2, 3)),
    "pad": Case(lambda x: F.pad(x, (1, 2, 0, 3), value=1.5), (3, 4), (), ("Pad",)),
    "pad to crop": Case(lambda x: F.pad(x, (-1, 2, 0, -2)), (5, 4), (), ("Pad", "Slice")),
    "pad reflect": Case(lambda x: F.pad(x, (1, 2), "reflect"), (3, 4), (), ("Pad",)),
    "pad reflect and crop": Case(lambda x: F.pad(x, (-2, 3), "reflect"), (3, 4)),
    "pad replicate": Case(lambda x: F.pad(x, (1, 2, 2, 0), "replicate"), (3, 4), (), ("Pad",)),
    "pad circular": Case(lambda x: F.pad(x, (1, 2, 3, 0), "circular"), (3, 4)),
    "pad channels-last": Case(
        lambda x: F.pad(F.permute(x, (0, 2, 1)), (1, 0, 2, 3), "reflect"), (3, 4)
    ),
}  # fmt: skip


def build(case: Case, layout: str = "NCHW") -> tuple[Any, tuple[int, ...]]:
    arrays = [randn(rng("parameter", i, s), *s) for i, s in enumerate(case.arrays)]
    if layout == "NCHW":
        return Apply(case.function, *arrays), case.shape
    net = Apply(lambda *a: case.function(*a, layout="NHWC"), *arrays)
    return net, (*case.shape[1:], case.shape[0])


def check(case: Case, opset: int, layout: str = "NCHW") -> Any:
    net, shape = build(case, layout)
    model = fc.onnx.export(net, None, np.zeros((4, *shape), np.float32), opset=opset)
    assert model.opset_import[0].version == opset
    for batch in (1, 3, 4):
        x = images(batch, *shape, seed=opset)
        (expected,) = eager(net, x)
        # The evaluator takes batch-norm before opset 14 for training.
        known = case.reference and not (opset < 14 and "BatchNormalization" in ops(model))
        got = [run_reference(model, x)] if known else []
        if RUNTIME:
            got.append(run_runtime(model, x))
        if not got:
            pytest.skip("needs onnxruntime")
        for (value,) in got:
            assert value.dtype == expected.dtype
            assert_close(value, expected, 5e-6, f"batch {batch}")
    return model


@pytest.mark.parametrize("name", CASES)
def test_equals_the_function(name: str) -> None:
    model = check(CASES[name], 17)
    if CASES[name].nodes is not None:
        assert tuple(ops(model)) == CASES[name].nodes


@pytest.mark.parametrize("opset", [13, 18, 21])
@pytest.mark.parametrize("name", CASES)
def test_other_opsets(name: str, opset: int) -> None:
    check(CASES[name], opset)


@pytest.mark.parametrize("name", [n for n, case in CASES.items() if case.flip])
def test_channels_last(name: str) -> None:
    """One transposition in, one out, and the same in between."""
    case = CASES[name]
    model = check(case, 17, "NHWC")
    plain = fc.onnx.export(build(case)[0], None, np.zeros((4, *case.shape), np.float32))
    inside = ops(model)
    assert inside.count("Transpose") == 2 and inside[-1] == "Transpose"
    inside.remove("Transpose")
    assert inside[:-1] == ops(plain)


@pytest.mark.parametrize("name", CASES)
def test_a_fixed_batch(name: str) -> None:
    net, shape = build(CASES[name])
    x = images(3, *shape)
    model = fc.onnx.export(net, None, x, dynamic_batch=False)
    dims = model.graph.input[0].type.tensor_type.shape.dim
    assert [d.dim_value for d in dims] == list(x.shape)
    assert_close(run(model, x)[0], eager(net, x)[0], 5e-6)


def test_resizing_is_one_node() -> None:
    for options in (
        {"mode": "bilinear"},
        {"mode": "bicubic", "align_corners": True},
        {"mode": "bicubic"},
    ):
        net = Apply(lambda x, options=options: F.interpolate(x, (7, 8), **options))
        model = fc.onnx.export(net, None, np.zeros((1, 3, 4, 5), np.float32), opset=18)
        assert ops(model) == ["Resize"]
        model = fc.onnx.export(net, None, np.zeros((1, 3, 4, 5), np.float32))
        assert ops(model) == ["Shape", "Gather", "Concat", "Resize"]  # sizes with that of the batch
    # Both results are wanted: two nodes.
    net = Apply(lambda x: [y := F.interpolate(x, (8, 5)), F.interpolate(y, (8, 10))])
    model = fc.onnx.export(net, None, np.zeros((1, 3, 4, 5), np.float32))
    assert ops(model) == ["Resize", "Resize"]
    x = images(2, 3, 4, 5)
    for got, expected in zip(run_reference(model, x), eager(net, x), strict=True):
        np.testing.assert_array_equal(got, expected)


def test_the_newest_opset() -> None:
    case = Case(lambda x, w: F.gelu(F.mean(F.conv2d(x, w), (2, 3))), (3, 5, 5), ((4, 3, 3, 3),))
    newest = onnx.defs.onnx_opset_version()
    net, shape = build(case)
    model = fc.onnx.export(net, None, np.zeros((1, *shape), np.float32), opset=newest)
    onnx.checker.check_model(model, full_check=True)
    x = images(2, *shape)
    assert_close(run_reference(model, x)[0], eager(net, x)[0], 5e-6)


def test_dropout_that_stays() -> None:
    """`F.dropout` that is told to drop draws random numbers in the model too."""
    net = Apply(lambda x: F.dropout(x, 0.25, training=True))
    x = np.ones((400, 50), np.float32)
    model = fc.onnx.export(net, None, x)
    assert ops(model) == ["Dropout"]
    (y,) = (run_runtime if RUNTIME else run_reference)(model, x)
    assert set(np.unique(y)) == {np.float32(0), np.float32(1 / 0.75)}
    assert abs((y == 0).mean() - 0.25) < 0.02
