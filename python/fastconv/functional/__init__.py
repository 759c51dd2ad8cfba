"""Functions on arrays, named and defaulted as in `torch.nn.functional`.

Each takes NumPy arrays, `fastconv.Tensor`s or any DLPack producer and returns the same kind. Spatial functions
take `layout="NCHW"` (default) or `"NHWC"`. Arguments that do not fit raise `ShapeError` or `DTypeError` naming
the function, what it got and what it expects.
"""

from .activation import relu
from .norm import batch_norm, local_response_norm
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
    "global_avg_pool2d",
    "global_max_pool2d",
    "local_response_norm",
    "max_pool2d",
    "relu",
    "sum_pool2d",
]
