"""Types of the native module. One section an op, in the order of CMakeLists.txt."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from ._arrays import NDArray

__version__: str
compiler: str

def isa() -> str: ...
def available_isas() -> list[str]: ...
def get_num_threads() -> int: ...
def set_num_threads(n: int) -> None: ...
def get_precision() -> str: ...
def set_precision(precision: str) -> None: ...
def memory_stats() -> dict[str, int]: ...
def pool_stats() -> dict[str, int]: ...
def empty_cache() -> None: ...

# bfloat16: `op` is named where ml_dtypes is missing.
def is_bfloat16(dtype: np.dtype[Any]) -> bool: ...
def bfloat16_dtype(op: str) -> np.dtype[Any]: ...
def bfloat16_from_dlpack(capsule: Any) -> NDArray: ...
def bfloat16_to_dlpack(array: NDArray, versioned: bool) -> Any: ...

# float32 to bfloat16 and back.
def to_bfloat16(input: NDArray) -> NDArray: ...
def from_bfloat16(input: NDArray) -> NDArray: ...

# activation
def activation(kind: str, input: NDArray, slope: float, bound: float = 0.0) -> NDArray: ...
def activation_backward(
    kind: str, saved: NDArray, grad_output: NDArray, slope: float, bound: float = 0.0
) -> NDArray: ...

# conv2d: stride, padding, dilation are an int or a pair (padding also "same" or "valid"); `algorithm` names one
# of conv2d_candidates, "" picks the best.
def conv2d(
    input: NDArray,
    weight: NDArray,
    bias: NDArray | None,
    stride: Any,
    padding: Any,
    dilation: Any,
    groups: int,
    layout: str,
    algorithm: str = "",
) -> NDArray: ...
def conv2d_input(
    input_size: Any,
    weight: NDArray,
    grad_output: NDArray,
    stride: Any,
    padding: Any,
    dilation: Any,
    groups: int,
    layout: str,
    algorithm: str = "",
) -> NDArray: ...
def conv2d_weight(
    input: NDArray,
    weight_size: Any,
    grad_output: NDArray,
    stride: Any,
    padding: Any,
    dilation: Any,
    groups: int,
    layout: str,
    algorithm: str = "",
) -> NDArray: ...
def conv2d_bias(grad_output: NDArray, layout: str) -> NDArray: ...
def conv_transpose2d(
    input: NDArray,
    weight: NDArray,
    bias: NDArray | None,
    stride: Any,
    padding: Any,
    output_padding: Any,
    groups: int,
    dilation: Any,
    layout: str,
) -> NDArray: ...
def conv_transpose2d_backward(
    input: NDArray,
    weight: NDArray,
    grad_output: NDArray,
    stride: Any,
    padding: Any,
    output_padding: Any,
    groups: int,
    dilation: Any,
    layout: str,
    of_weight: bool,
) -> NDArray: ...

class PackedWeight: ...

class Conv2dPlan:
    def __init__(
        self,
        direction: str,
        input_size: object,
        weight_size: object,
        stride: object,
        padding: object,
        dilation: object,
        groups: object,
        layout: object,
        dtype: object,
        algorithm: str = "",
    ) -> None: ...
    @property
    def algorithm(self) -> str: ...
    @property
    def packed_bytes(self) -> int: ...
    @property
    def fuses_prologue(self) -> bool: ...
    @property
    def fuses_statistics(self) -> bool: ...
    def workspace_bytes(
        self, threads: int, prologue: bool = False, statistics: bool = False
    ) -> int: ...
    def pack(self, weight: NDArray) -> PackedWeight: ...
    def run(
        self,
        input: NDArray,
        weight: NDArray | PackedWeight,
        bias: NDArray | None,
        residual: NDArray | None,
        activation: str | None,
        negative_slope: float,
        prologue: NDArray | None,
        prologue_relu: bool,
        statistics: NDArray | None,
        out: NDArray | None,
    ) -> NDArray: ...

def conv2d_candidates(
    input_size: Any,
    weight_size: Any,
    stride: Any,
    padding: Any,
    dilation: Any,
    groups: int,
    layout: str,
    direction: str,
    dtype: str = "float32",
    weights_stay: bool = False,
) -> list[tuple[str, str]]: ...

# The cost model of the filters that Winograd takes (tuning.py): expected cycles, and factors that they are
# multiplied by.
def conv2d_costs(
    input_size: Any, weight_size: Any, layout: str, direction: str
) -> dict[str, float]: ...
def conv2d_cost_scale() -> dict[str, float]: ...
def set_conv2d_cost_scale(scale: dict[str, float]) -> None: ...

# linear
def linear(input: NDArray, weight: NDArray, bias: NDArray | None) -> NDArray: ...
def linear_backward(
    input: NDArray,
    weight: NDArray,
    grad_output: NDArray,
    needs_input: bool,
    needs_weight: bool,
    needs_bias: bool,
) -> tuple[NDArray | None, NDArray | None, NDArray | None]: ...

# matmul: kind "plain", "transposed_b" or "transposed_a"
def matmul(input: NDArray, other: NDArray, kind: str) -> NDArray: ...

# pool2d
class Pool2d:
    def __init__(
        self,
        op: str,
        kind: str,
        input_size: tuple[int, ...],
        kernel_size: int | tuple[int, int],
        stride: int | tuple[int, int] | None,
        padding: int | tuple[int, int],
        dilation: int | tuple[int, int],
        ceil_mode: bool,
        count_include_pad: bool,
        divisor_override: int | None,
        layout: str,
    ) -> None: ...
    @staticmethod
    def adaptive(
        op: str,
        kind: str,
        input_size: tuple[int, ...],
        output_size: int | tuple[int, int],
        layout: str,
    ) -> Pool2d: ...
    def forward(self, input: NDArray, with_index: bool) -> tuple[NDArray, NDArray | None]: ...
    def backward(self, grad_output: NDArray, index: NDArray | None) -> NDArray: ...
    def positions(self, index: NDArray) -> NDArray: ...

# Places in volumes, from those in planes and along the depth (`dim`).
def pool3d_positions(inside: NDArray, along: NDArray, plane: int, dim: int) -> NDArray: ...

# machine
def line_round_trip() -> float: ...
def arena_places(
    intervals: list[tuple[int, int, int, bool]], team: int
) -> tuple[int, list[int]]: ...
def fma_peak(seconds: float, threads: int = 1) -> float: ...
def stream_bandwidth(bytes: int, seconds: float, threads: int = 1) -> float: ...
def memory_read_rate() -> float: ...

# batch_norm
def batch_norm_forward(
    input: NDArray,
    running_mean: NDArray | None,
    running_var: NDArray | None,
    weight: NDArray | None,
    bias: NDArray | None,
    training: bool,
    momentum: float,
    eps: float,
    layout: str,
    residual: NDArray | None = None,
    relu: bool = False,
) -> tuple[NDArray, NDArray, NDArray]: ...
def batch_norm_apply(
    input: NDArray,
    mean: NDArray,
    invstd: NDArray,
    weight: NDArray | None,
    bias: NDArray | None,
    layout: str,
    residual: NDArray | None = None,
    relu: bool = False,
) -> NDArray: ...
def batch_norm_line(
    mean: NDArray,
    invstd: NDArray,
    weight: NDArray | None,
    bias: NDArray | None,
    dtype: str,
) -> NDArray: ...
def batch_norm_statistics(
    sum: NDArray | None,
    squares: NDArray,
    count: int,
    center: NDArray | None,
    running_mean: NDArray | None,
    running_var: NDArray | None,
    momentum: float,
    eps: float,
) -> tuple[NDArray, NDArray]: ...
def batch_norm_backward(
    grad_output: NDArray,
    input: NDArray,
    mean: NDArray,
    invstd: NDArray,
    weight: NDArray | None,
    training: bool,
    layout: str,
    need_input: bool,
    need_weight: bool,
    need_bias: bool,
    relu: bool = False,
    bias: NDArray | None = None,
    output: NDArray | None = None,
    need_residual: bool = False,
) -> tuple[NDArray | None, NDArray | None, NDArray | None, NDArray | None]: ...

# local_response_norm
def local_response_norm(
    input: NDArray, size: int, alpha: float, beta: float, k: float, layout: str
) -> NDArray: ...
def local_response_norm_backward(
    grad_output: NDArray,
    input: NDArray,
    size: int,
    alpha: float,
    beta: float,
    k: float,
    layout: str,
) -> NDArray: ...

# softmax_loss
def softmax(input: NDArray, dim: int, log: bool) -> NDArray: ...
def softmax_backward(output: NDArray, grad_output: NDArray, dim: int, log: bool) -> NDArray: ...
def cross_entropy(
    input: NDArray,
    target: NDArray,
    weight: NDArray | None,
    dim: int,
    ignore_index: int,
    reduction: str,
    label_smoothing: float,
) -> tuple[NDArray, NDArray, float]: ...
def cross_entropy_backward(
    input: NDArray,
    target: NDArray,
    weight: NDArray | None,
    dim: int,
    ignore_index: int,
    reduction: str,
    label_smoothing: float,
    saved: NDArray,
    divisor: float,
    grad_output: NDArray,
) -> NDArray: ...
def nll_loss(
    input: NDArray,
    target: NDArray,
    weight: NDArray | None,
    dim: int,
    ignore_index: int,
    reduction: str,
) -> tuple[NDArray, float]: ...
def nll_loss_backward(
    input: NDArray,
    target: NDArray,
    weight: NDArray | None,
    dim: int,
    ignore_index: int,
    reduction: str,
    divisor: float,
    grad_output: NDArray,
) -> NDArray: ...
def pointwise_loss(
    kind: str,
    input: NDArray,
    target: NDArray,
    weight: NDArray | None,
    pos_weight: NDArray | None,
    delta: float,
    reduction: str,
) -> NDArray: ...
def pointwise_loss_backward(
    kind: str,
    input: NDArray,
    target: NDArray,
    weight: NDArray | None,
    pos_weight: NDArray | None,
    delta: float,
    reduction: str,
    grad_output: NDArray,
    wrt_target: bool,
) -> NDArray: ...

# optimizer: each updates its arrays in place; beside float32 ones the gradient and `copy` may be bfloat16
def sgd_step(
    param: NDArray,
    grad: NDArray,
    momentum_buffer: NDArray | None,
    lr: float,
    momentum: float,
    dampening: float,
    weight_decay: float,
    nesterov: bool,
    first_step: bool,
    copy: NDArray | None = None,
) -> None: ...
def adam_step(
    param: NDArray,
    grad: NDArray,
    exp_avg: NDArray,
    exp_avg_sq: NDArray,
    lr: float,
    beta1: float,
    beta2: float,
    eps: float,
    weight_decay: float,
    decoupled: bool,
    step: int,
    copy: NDArray | None = None,
) -> None: ...
def rmsprop_step(
    param: NDArray,
    grad: NDArray,
    square_avg: NDArray,
    momentum_buffer: NDArray | None,
    grad_avg: NDArray | None,
    lr: float,
    alpha: float,
    eps: float,
    weight_decay: float,
    momentum: float,
    copy: NDArray | None = None,
) -> None: ...

# elementwise
def elementwise(kind: str, input: NDArray, other: NDArray) -> NDArray: ...
def elementwise_scalar(kind: str, input: NDArray, value: float, first: bool = False) -> NDArray: ...

# reduce
def reduce(kind: str, input: NDArray, dim: tuple[int, ...], keepdim: bool) -> NDArray: ...
def reduce_backward(
    kind: str, grad_output: NDArray, shape: tuple[int, ...], dim: tuple[int, ...]
) -> NDArray: ...

# dropout
def dropout(input: NDArray, p: float, key: int) -> NDArray: ...

# concat
def concat(tensors: Sequence[NDArray], dim: int) -> NDArray: ...
def concat_backward(
    grad_output: NDArray, dim: int, sizes: Sequence[int], needs: Sequence[bool]
) -> list[NDArray | None]: ...

# pad
def pad(
    input: NDArray, before: tuple[int, ...], after: tuple[int, ...], mode: str, value: float
) -> NDArray: ...
def pad_backward(
    grad_output: NDArray,
    shape: tuple[int, ...],
    before: tuple[int, ...],
    after: tuple[int, ...],
    mode: str,
) -> NDArray: ...

# resample: output o is the sum of weight[t] * input[index[t]] over t in [begin[o], begin[o + 1]); no weight: 1
def resample(
    input: NDArray, dim: int, begin: NDArray, index: NDArray, weight: NDArray | None
) -> NDArray: ...

# gather: of input (A, L, B) the places index (A or 1, M, B or 1); scatter: back, summed or the last
def gather(op: str, input: NDArray, index: NDArray) -> NDArray: ...
def scatter(op: str, input: NDArray, index: NDArray, length: int, sum: bool) -> NDArray: ...

# program: graphs of the ops' nodes, and their plans (program.py)
class WeightCache: ...

class Graph:
    def __init__(self, cache: WeightCache | None = None) -> None: ...
    def input(self, dtype: str, shape: tuple[int, ...], name: str) -> int: ...
    def state(self, array: NDArray, name: str) -> int: ...
    def counter(self, array: NDArray, name: str) -> int: ...
    def constant(self, array: NDArray, name: str) -> int: ...
    def add(
        self, kind: str, operands: Sequence[int | None], attributes: dict[str, Any]
    ) -> list[int]: ...
    def set_outputs(self, values: Sequence[int]) -> None: ...
    def type(self, value: int) -> tuple[str, tuple[int, ...]]: ...
    def convolutions(self) -> list[tuple[int, str, str, list[str]]]: ...
    def choose(self, node: int, algorithm: str) -> None: ...
    def alone(self, node: int) -> Graph: ...
    def input_types(self) -> list[tuple[str, tuple[int, ...]]]: ...
    def run_pass(self, name: str) -> None: ...
    def copy(self) -> Graph: ...
    def dump(self) -> str: ...

def graph_passes() -> list[str]: ...

class Program:
    def __init__(self, graph: Graph) -> None: ...
    def run(self, inputs: Sequence[Any]) -> tuple[tuple[NDArray, ...], bool]: ...
    def profile(self, inputs: Sequence[Any], runs: int) -> list[dict[str, Any]]: ...
    def memory(self) -> dict[str, int]: ...

# augment: images are uint8 or float32 (n, C, H, W); None leaves a step out.
def augment_batch(
    images: NDArray,
    matrices: NDArray | None,
    size: Any,
    interpolation: str,
    fill_mode: str,
    fill: NDArray | None,
    color: NDArray | None,
    contrast: NDArray | None,
    bounds: tuple[float, float],
    tones: NDArray | None,
    boxes: NDArray | None,
    paint: NDArray | None,
) -> NDArray: ...
def gaussian_noise(
    images: NDArray, keys: NDArray, sigma: NDArray, mean: float, low: float, high: float
) -> NDArray: ...
def separable_blur(images: NDArray, weights: NDArray) -> NDArray: ...
def sharpen(images: NDArray, factors: NDArray, low: float, high: float) -> NDArray: ...
