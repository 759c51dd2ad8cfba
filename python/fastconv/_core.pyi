"""Types of the native module. One section an op, in the order of CMakeLists.txt."""

from collections.abc import Sequence

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

# optimizer: each updates its arrays in place
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
) -> None: ...

# elementwise
def elementwise(kind: str, input: NDArray, other: NDArray) -> NDArray: ...
def elementwise_scalar(kind: str, input: NDArray, value: float) -> NDArray: ...

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
