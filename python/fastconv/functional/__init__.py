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
from .cast import (
    astype,
)
from .conv import (
    conv2d,
    conv2d_input,
    conv2d_weight,
    conv_transpose2d,
)
from .dropout import (
    dropout,
)
from .elementwise import (
    add,
    mul,
)
from .indexing import (
    chunk,
    expand,
    index_select,
    narrow,
    slice,
    split,
    squeeze,
    unsqueeze,
)
from .linear import (
    linear,
    matmul,
)
from .loss import (
    binary_cross_entropy_with_logits,
    cross_entropy,
    huber_loss,
    l1_loss,
    mse_loss,
)
from .norm import (
    batch_norm,
    group_norm,
    instance_norm,
    layer_norm,
    local_response_norm,
)
from .plan import (
    Conv2dPlan,
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
from .resize import (
    interpolate,
    resample,
)
from .shape import (
    cat,
    concat,
    flatten,
    mean,
    pad,
    permute,
    reshape,
    sum,
    transpose,
)

__all__ = [
    "Conv2dPlan",
    "adaptive_avg_pool2d",
    "adaptive_max_pool2d",
    "add",
    "astype",
    "avg_pool2d",
    "batch_norm",
    "binary_cross_entropy_with_logits",
    "cat",
    "chunk",
    "concat",
    "conv2d",
    "conv2d_input",
    "conv2d_weight",
    "conv_transpose2d",
    "cross_entropy",
    "dropout",
    "expand",
    "flatten",
    "gelu",
    "global_avg_pool2d",
    "global_max_pool2d",
    "group_norm",
    "huber_loss",
    "index_select",
    "instance_norm",
    "interpolate",
    "l1_loss",
    "layer_norm",
    "leaky_relu",
    "linear",
    "local_response_norm",
    "log_softmax",
    "matmul",
    "max_pool2d",
    "mean",
    "mse_loss",
    "mul",
    "narrow",
    "pad",
    "permute",
    "relu",
    "relu6",
    "resample",
    "reshape",
    "sigmoid",
    "slice",
    "softmax",
    "split",
    "squeeze",
    "sum",
    "sum_pool2d",
    "tanh",
    "transpose",
    "unsqueeze",
]
