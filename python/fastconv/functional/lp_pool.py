"""Power-average pooling: the p-norm of each window."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, TypeAlias

import numpy as np

from .. import _ops
from .._arrays import ArrayLike
from ..errors import ShapeError
from ._args import number
from ._unbatched import takes_one_example
from .cast import astype
from .elementwise import mul, pow
from .pool_nd import Windows

# An integer for every axis, or one each.
Sizes: TypeAlias = int | Sequence[int]


@takes_one_example(3)
def lp_pool1d(
    input: ArrayLike,
    norm_type: float,
    kernel_size: Sizes,
    stride: Sizes | None = None,
    ceil_mode: bool = False,
    *,
    layout: str = "NCHW",
) -> ArrayLike:
    """(sum of x^p)^(1/p) over each window of a row; see `lp_pool2d`.

    Args:
        input: (N, C, L), or (N, L, C) with layout "NHWC"; float32, float64 or bfloat16.
        norm_type: p, as for `lp_pool2d`.
        kernel_size, stride, ceil_mode: as for `avg_pool1d`.

    Raises:
        ShapeError, DTypeError: the arguments do not fit; the message says how.
    """
    return _lp_pool("lp_pool1d", 1, input, norm_type, kernel_size, stride, ceil_mode, layout)


@takes_one_example(4)
def lp_pool2d(
    input: ArrayLike,
    norm_type: float,
    kernel_size: Sizes,
    stride: Sizes | None = None,
    ceil_mode: bool = False,
    *,
    layout: str = "NCHW",
) -> ArrayLike:
    """(sum of x^p)^(1/p) over each window, of x itself and not of its magnitude, as in PyTorch.

    Odd p want inputs that are not negative, or NaN may come out. Windows that `ceil_mode` lets hang over the edge
    count as whole: their mean of x^p times the kernel's size stands for the sum.

    Args:
        input: (N, C, H, W), or (N, H, W, C) with layout "NHWC"; float32, float64 or bfloat16.
        norm_type: p, finite and not 0; 1 is the sum, 2 the Euclidean norm.
        kernel_size, stride, ceil_mode: as for `avg_pool2d`.

    Raises:
        ShapeError, DTypeError: the arguments do not fit; the message says how.
    """
    return _lp_pool("lp_pool2d", 2, input, norm_type, kernel_size, stride, ceil_mode, layout)


@takes_one_example(5)
def lp_pool3d(
    input: ArrayLike,
    norm_type: float,
    kernel_size: Sizes,
    stride: Sizes | None = None,
    ceil_mode: bool = False,
    *,
    layout: str = "NCHW",
) -> ArrayLike:
    """(sum of x^p)^(1/p) over each window of a volume; see `lp_pool2d`.

    Args:
        input: (N, C, D, H, W), or (N, D, H, W, C) with layout "NHWC"; float32, float64 or bfloat16.
        norm_type: p, as for `lp_pool2d`.
        kernel_size, stride, ceil_mode: as for `avg_pool3d`.

    Raises:
        ShapeError, DTypeError: the arguments do not fit; the message says how.
    """
    return _lp_pool("lp_pool3d", 3, input, norm_type, kernel_size, stride, ceil_mode, layout)


def _lp_pool(
    op: str,
    count: int,
    input: ArrayLike,
    norm_type: Any,
    kernel_size: Any,
    stride: Any,
    ceil_mode: bool,
    layout: str,
) -> ArrayLike:
    p = number(op, "norm_type", norm_type)
    if not 2.0**-100 <= abs(p) <= 2.0**100:  # it and its inverse are float32 numbers
        raise ShapeError(f"{op}: norm_type must be finite and not 0, got {p:g}")
    windows = Windows(op, "mean", input, count, layout, ceil_mode)
    windows.sliding(kernel_size, stride, 0, 1)
    narrow = _ops.is_bfloat16(windows.dtype)  # rounded once
    powers = pow(astype(input, np.float32) if narrow else input, p)
    run = {1: windows.row, 2: windows.plane, 3: windows.volume}[count]
    y = pow(mul(run(powers, False), float(math.prod(windows.kernel))), 1.0 / p)
    return astype(y, windows.dtype) if narrow else y
