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
