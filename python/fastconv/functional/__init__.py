"""Functions on arrays, named and defaulted as in `torch.nn.functional`.

Each takes NumPy arrays, `fastconv.Tensor`s or any DLPack producer and returns the same kind.
Spatial functions take `layout="NCHW"` (default) or `"NHWC"`. Arguments that do not fit raise
`ShapeError` or `DTypeError` naming the function, what it got and what it expects.
"""

from .activation import (
    gelu,
    leaky_relu,
    log_softmax,
    relu,
    relu6,
    sigmoid,
    softmax,
    tanh,
)
from .dropout import dropout
from .elementwise import add, mul
from .loss import (
    binary_cross_entropy_with_logits,
    cross_entropy,
    huber_loss,
    l1_loss,
    mse_loss,
)
from .shape import cat, concat, flatten, mean, pad, permute, reshape, sum, transpose

__all__ = [
    "add",
    "binary_cross_entropy_with_logits",
    "cat",
    "concat",
    "cross_entropy",
    "dropout",
    "flatten",
    "gelu",
    "huber_loss",
    "l1_loss",
    "leaky_relu",
    "log_softmax",
    "mean",
    "mse_loss",
    "mul",
    "pad",
    "permute",
    "relu",
    "relu6",
    "reshape",
    "sigmoid",
    "softmax",
    "sum",
    "tanh",
    "transpose",
]
