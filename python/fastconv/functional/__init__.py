"""Functions on arrays, named and defaulted as in `torch.nn.functional`.

Each takes NumPy arrays, `fastconv.Tensor`s or any DLPack producer and returns the same kind.
Spatial functions take `layout="NCHW"` (default) or `"NHWC"`. Arguments that do not fit raise
`ShapeError` or `DTypeError` naming the function, what it got and what it expects.
"""

from .activation import (
    gelu,
    leaky_relu,
    relu,
    relu6,
    sigmoid,
    tanh,
)
from .conv import (
    conv2d,
    conv2d_input,
    conv2d_weight,
    conv_transpose2d,
)
from .linear import (
    linear,
)
from .norm import (
    batch_norm,
    local_response_norm,
)
from .pool import (
    adaptive_avg_pool2d,
    adaptive_max_pool2d,
    avg_pool2d,
    global_avg_pool2d,
    global_max_pool2d,
    max_pool2d,
    sum_pool2d,
)

__all__ = [
    "adaptive_avg_pool2d",
    "adaptive_max_pool2d",
    "avg_pool2d",
    "batch_norm",
    "conv2d",
    "conv2d_input",
    "conv2d_weight",
    "conv_transpose2d",
    "gelu",
    "global_avg_pool2d",
    "global_max_pool2d",
    "leaky_relu",
    "linear",
    "local_response_norm",
    "max_pool2d",
    "relu",
    "relu6",
    "sigmoid",
    "sum_pool2d",
    "tanh",
]
