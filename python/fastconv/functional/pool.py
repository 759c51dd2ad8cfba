"""Pooling: maximum, average and sum over sliding, adaptive and global windows."""

from __future__ import annotations

from typing import Any, TypeAlias

from .. import _ops
from .._arrays import ArrayLike, NDArray, Spatial
from ..tensor import Tensor, as_array, finish, is_grad_enabled
from ._args import flag
from ._unbatched import takes_one_example

# An integer for both directions, or (height, width).
IntOrPair: TypeAlias = int | tuple[int, int]


@takes_one_example(4)
def max_pool2d(
    input: ArrayLike,
    kernel_size: IntOrPair,
    stride: IntOrPair | None = None,
    padding: IntOrPair = 0,
    dilation: IntOrPair = 1,
    ceil_mode: bool = False,
    return_indices: bool = False,
    *,
    layout: str = "NCHW",
) -> Any:
    """The maximum of each window.

    Args:
        input: (N, C, H, W), or (N, H, W, C) with layout "NHWC"; float32, float64 or bfloat16.
        kernel_size: window size, in elements; an int or (height, width), like the next three.
        stride: distance between windows; the kernel size unless given.
        padding: implicit -infinity on every side, at most half the kernel size.
        dilation: distance between the elements of a window.
        ceil_mode: round the output size up; a window must still start inside the input or the
            padding before it.
        return_indices: return also where each maximum lies: int64 `h * W + w` in its input plane.

    Returns:
        The maxima, (N, C, P, Q) in the input's layout, or the pair (maxima, indices). Of
        equal values the first counts; NaN beats every number, and the last NaN counts.

    Raises:
        ShapeError, DTypeError: the arguments do not fit; the message says how.
    """
    op = "max_pool2d"
    x = as_array(op, "input", input)
    spatial = Spatial(op, x, layout)
    x = spatial.enter(x)
    plan = _ops.Pooling(
        op,
        "max",
        x.shape,
        kernel_size,
        stride,
        padding,
        dilation,
        ceil_mode,
        True,
        None,
        spatial.layout,
    )
    return run_pooling(op, plan, input, x, spatial, return_indices)


@takes_one_example(4)
def avg_pool2d(
    input: ArrayLike,
    kernel_size: IntOrPair,
    stride: IntOrPair | None = None,
    padding: IntOrPair = 0,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
    divisor_override: int | None = None,
    *,
    layout: str = "NCHW",
) -> ArrayLike:
    """The average of each window.

    Args:
        input: (N, C, H, W), or (N, H, W, C) with layout "NHWC"; float32, float64 or bfloat16.
        kernel_size, stride, padding, ceil_mode: as for `max_pool2d`; padding is with zeros.
        count_include_pad: whether the divisor counts padding.
        divisor_override: the divisor to use instead of the window's size; not 0.

    Raises:
        ShapeError, DTypeError: the arguments do not fit; the message says how.
    """
    op = "avg_pool2d"
    x = as_array(op, "input", input)
    spatial = Spatial(op, x, layout)
    x = spatial.enter(x)
    plan = _ops.Pooling(
        op,
        "mean",
        x.shape,
        kernel_size,
        stride,
        padding,
        1,
        ceil_mode,
        count_include_pad,
        divisor_override,
        spatial.layout,
    )
    return run_pooling(op, plan, input, x, spatial, False)


@takes_one_example(4)
def sum_pool2d(
    input: ArrayLike,
    kernel_size: IntOrPair,
    stride: IntOrPair | None = None,
    padding: IntOrPair = 0,
    ceil_mode: bool = False,
    *,
    layout: str = "NCHW",
) -> ArrayLike:
    """The sum of each window: `avg_pool2d` with a divisor of 1.

    Raises:
        ShapeError, DTypeError: the arguments do not fit; the message says how.
    """
    op = "sum_pool2d"
    x = as_array(op, "input", input)
    spatial = Spatial(op, x, layout)
    x = spatial.enter(x)
    plan = _ops.Pooling(
        op, "mean", x.shape, kernel_size, stride, padding, 1, ceil_mode, True, 1, spatial.layout
    )
    return run_pooling(op, plan, input, x, spatial, False)


@takes_one_example(4)
def adaptive_avg_pool2d(
    input: ArrayLike,
    output_size: int | tuple[int | None, int | None] | None,
    *,
    layout: str = "NCHW",
) -> ArrayLike:
    """Averages over a grid of windows that cover the input evenly.

    Output (p, q) averages rows floor(p H / P) to ceil((p + 1) H / P) and the like columns.

    Args:
        input: (N, C, H, W), or (N, H, W, C) with layout "NHWC"; float32, float64 or bfloat16.
        output_size: P and Q: an int for both, or a pair; None stands for the input's size.

    Raises:
        ShapeError, DTypeError: the arguments do not fit; the message says how.
    """
    return _adaptive("adaptive_avg_pool2d", "mean", input, output_size, layout, False)


@takes_one_example(4)
def adaptive_max_pool2d(
    input: ArrayLike,
    output_size: int | tuple[int | None, int | None] | None,
    return_indices: bool = False,
    *,
    layout: str = "NCHW",
) -> Any:
    """Maxima over the windows of `adaptive_avg_pool2d`; `return_indices` as for `max_pool2d`.

    Raises:
        ShapeError, DTypeError: the arguments do not fit; the message says how.
    """
    return _adaptive("adaptive_max_pool2d", "max", input, output_size, layout, return_indices)


@takes_one_example(4)
def global_avg_pool2d(input: ArrayLike, *, layout: str = "NCHW") -> ArrayLike:
    """The average of each plane: (N, C, 1, 1), or (N, 1, 1, C) with layout "NHWC".

    Raises:
        ShapeError, DTypeError: the arguments do not fit; the message says how.
    """
    return _adaptive("global_avg_pool2d", "mean", input, 1, layout, False)


@takes_one_example(4)
def global_max_pool2d(input: ArrayLike, *, layout: str = "NCHW") -> ArrayLike:
    """The maximum of each plane: (N, C, 1, 1), or (N, 1, 1, C) with layout "NHWC".

    Raises:
        ShapeError, DTypeError: the arguments do not fit; the message says how.
    """
    return _adaptive("global_max_pool2d", "max", input, 1, layout, False)


def _adaptive(
    op: str, kind: str, input: ArrayLike, output_size: Any, layout: str, return_indices: bool
) -> Any:
    x = as_array(op, "input", input)
    spatial = Spatial(op, x, layout)
    x = spatial.enter(x)
    pair: Any = (None, None) if output_size is None else output_size
    if isinstance(pair, (tuple, list)) and len(pair) == 2 and x.ndim == 4:
        first = 1 if spatial.layout == "NHWC" else 2
        pair = tuple(x.shape[first + i] if v is None else v for i, v in enumerate(pair))
    plan = _ops.Pooling.adaptive(op, kind, x.shape, pair, spatial.layout)
    return run_pooling(op, plan, input, x, spatial, return_indices)


def run_pooling(
    op: str,
    plan: _ops.Pooling,
    input: ArrayLike,
    x: NDArray,
    spatial: Spatial,
    return_indices: bool,
) -> Any:
    """The results of `plan` on x, which is `input` in the memory order of `spatial`."""
    differentiates = isinstance(input, Tensor) and input.requires_grad and is_grad_enabled()
    wants_index = flag(op, "return_indices", return_indices)
    y, index = plan.forward(x, wants_index or differentiates)

    def backward(g: NDArray, needs: tuple[bool, ...]) -> tuple[NDArray | None, ...]:
        return (spatial.leave(plan.backward(spatial.enter(g), index)),)

    result = finish(op, spatial.leave(y), (input,), backward)
    if not wants_index:
        return result
    assert index is not None
    return result, finish(op, spatial.leave(plan.positions(index)), (input,), None)
