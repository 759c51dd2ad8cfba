"""Functions on arrays, named and defaulted as in `torch.nn.functional`.

Each takes NumPy arrays, `fastconv.Tensor`s or any DLPack producer and returns the same kind.
Spatial functions take `layout="NCHW"` (default) or `"NHWC"`. Arguments that do not fit raise
`ShapeError` or `DTypeError` naming the function, what it got and what it expects.
"""

from .activation import gelu, leaky_relu, relu, relu6, sigmoid, tanh

__all__ = ["gelu", "leaky_relu", "relu", "relu6", "sigmoid", "tanh"]
