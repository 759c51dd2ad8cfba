"""Types of the native module. One section an op, in the order of CMakeLists.txt."""

from typing import Any

from ._arrays import NDArray

__version__: str
compiler: str

def isa() -> str: ...
def available_isas() -> list[str]: ...
def get_num_threads() -> int: ...
def set_num_threads(n: int) -> None: ...
def memory_stats() -> dict[str, int]: ...
def empty_cache() -> None: ...

# activation
def activation(kind: str, input: NDArray, slope: float) -> NDArray: ...
def activation_backward(
    kind: str, saved: NDArray, grad_output: NDArray, slope: float
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
) -> list[tuple[str, str]]: ...

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
# machine
def fma_peak(seconds: float, threads: int = 1) -> float: ...
def stream_bandwidth(bytes: int, seconds: float, threads: int = 1) -> float: ...

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
) -> tuple[NDArray, NDArray, NDArray]: ...
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
) -> tuple[NDArray | None, NDArray | None, NDArray | None]: ...

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
