"""Initialisers: fill a parameter in place with values from the library's generator and return it.

Sources: Glorot & Bengio, "Understanding the difficulty of training deep feedforward neural
networks" (2010), for xavier; He et al., "Delving deep into rectifiers" (2015), for kaiming.
`fastconv.manual_seed` makes the values repeatable; `generator` draws from another NumPy generator
instead.
"""

from __future__ import annotations

import math
from typing import Any, TypeVar

import numpy as np

from .._arrays import NDArray, is_floating
from .._runtime import get_num_threads
from ..errors import DTypeError, ShapeError
from ..random import generator as library_generator
from ..tensor import Tensor
from ._args import choice
from ._args import number as _number
from ._drawing import is_undrawn

__all__ = [
    "calculate_gain",
    "constant_",
    "kaiming_normal_",
    "kaiming_uniform_",
    "normal_",
    "ones_",
    "trunc_normal_",
    "uniform_",
    "xavier_normal_",
    "xavier_uniform_",
    "zeros_",
]

T = TypeVar("T", bound="Tensor | NDArray")

# Arrays of more numbers are drawn in pieces of so many.
_PIECE = 1 << 20
_UNIT_GAIN = (
    *("linear", "sigmoid", "conv1d", "conv2d", "conv3d"),
    *("conv_transpose1d", "conv_transpose2d", "conv_transpose3d"),
)


def calculate_gain(nonlinearity: str, param: float | None = None) -> float:
    """The factor on the standard deviation that keeps activations' scale through `nonlinearity`.

    1 for linear, convolution and sigmoid, 5/3 for tanh, sqrt(2) for relu, sqrt(2 / (1 + slope^2))
    for leaky_relu with `param` the slope (0.01 if left out), 3/4 for selu.

    Raises:
        ShapeError: another name.
    """
    if nonlinearity in _UNIT_GAIN:
        return 1.0
    if nonlinearity == "tanh":
        return 5.0 / 3.0
    if nonlinearity == "relu":
        return math.sqrt(2.0)
    if nonlinearity == "leaky_relu":
        slope = 0.01 if param is None else _number("calculate_gain", "param", param)
        return math.sqrt(2.0 / (1.0 + slope * slope))
    if nonlinearity == "selu":
        return 0.75
    raise ShapeError(f"calculate_gain: no gain is known for {nonlinearity!r}")


def uniform_(
    tensor: T, a: float = 0.0, b: float = 1.0, generator: np.random.Generator | None = None
) -> T:
    """Fill with values uniform in [a, b]."""
    low, high = _number("uniform_", "a", a), _number("uniform_", "b", b)
    if low > high:
        raise ShapeError(f"uniform_: a must be at most b, got a={low:g}, b={high:g}")
    array = _target("uniform_", tensor)
    if is_undrawn():
        return tensor
    values = _values(array)
    _draw("random", values, _generator(generator), high - low, low)
    if values is not array:
        array[...] = values
    return tensor


def normal_(
    tensor: T, mean: float = 0.0, std: float = 1.0, generator: np.random.Generator | None = None
) -> T:
    """Fill with normally distributed values."""
    mean, std = _number("normal_", "mean", mean), _number("normal_", "std", std, low=0.0)
    array = _target("normal_", tensor)
    if is_undrawn():
        return tensor
    values = _values(array)
    _draw("standard_normal", values, _generator(generator), std, mean)
    if values is not array:
        array[...] = values
    return tensor


def trunc_normal_(
    tensor: T,
    mean: float = 0.0,
    std: float = 1.0,
    a: float = -2.0,
    b: float = 2.0,
    generator: np.random.Generator | None = None,
) -> T:
    """Fill with normally distributed values, those outside [a, b] drawn again.

    Raises:
        ShapeError: a is not below b, or [a, b] begins more than two deviations from the mean.
    """
    mean = _number("trunc_normal_", "mean", mean)
    std = _number("trunc_normal_", "std", std, low=0.0)
    low, high = _number("trunc_normal_", "a", a), _number("trunc_normal_", "b", b)
    if low >= high:
        raise ShapeError(f"trunc_normal_: a must be below b, got a={low:g}, b={high:g}")
    if mean + 2.0 * std < low or mean - 2.0 * std > high:
        raise ShapeError(
            f"trunc_normal_: [a, b] must come within two deviations of the mean, got "
            f"[{low:g}, {high:g}] for mean {mean:g} and std {std:g}"
        )
    array, source = _target("trunc_normal_", tensor), _generator(generator)
    if is_undrawn():
        return tensor
    dtype = _draw_dtype(array)
    # In a narrow interval uniform proposals are accepted more often than normal ones.
    narrow = high - low < 2.0 * std
    nearest = min(max(mean, low), high)
    values: NDArray = np.empty(array.size, dtype)
    wanted = np.arange(array.size)
    while wanted.size:
        if narrow:
            drawn = low + (high - low) * source.random(wanted.size, dtype=dtype)
            exponent = ((nearest - mean) ** 2 - (drawn - mean) ** 2) / (2.0 * std * std)
            good = source.random(wanted.size, dtype=dtype) < np.exp(exponent)
        else:
            drawn = mean + std * source.standard_normal(wanted.size, dtype=dtype)
            good = (drawn >= low) & (drawn <= high)
        values[wanted[good]] = drawn[good]
        wanted = wanted[~good]
    array[...] = values.reshape(array.shape)
    return tensor


def constant_(tensor: T, val: float) -> T:
    """Fill with `val`."""
    _target("constant_", tensor)[...] = _number("constant_", "val", val)
    return tensor


def zeros_(tensor: T) -> T:
    """Fill with 0."""
    return constant_(tensor, 0.0)


def ones_(tensor: T) -> T:
    """Fill with 1."""
    return constant_(tensor, 1.0)


def xavier_uniform_(
    tensor: T, gain: float = 1.0, generator: np.random.Generator | None = None
) -> T:
    """Uniform in [-b, b], b = gain * sqrt(6 / (fan_in + fan_out)). At least 2 dimensions."""
    fan_in, fan_out = _fans("xavier_uniform_", tensor)
    gain = _number("xavier_uniform_", "gain", gain)
    bound = gain * math.sqrt(6.0 / (fan_in + fan_out)) if tensor.size else 0.0
    return uniform_(tensor, -abs(bound), abs(bound), generator)


def xavier_normal_(tensor: T, gain: float = 1.0, generator: np.random.Generator | None = None) -> T:
    """Normal with standard deviation gain * sqrt(2 / (fan_in + fan_out)). At least 2 dimensions."""
    fan_in, fan_out = _fans("xavier_normal_", tensor)
    gain = _number("xavier_normal_", "gain", gain)
    std = gain * math.sqrt(2.0 / (fan_in + fan_out)) if tensor.size else 0.0
    return normal_(tensor, 0.0, abs(std), generator)


def kaiming_uniform_(
    tensor: T,
    a: float = 0.0,
    mode: str = "fan_in",
    nonlinearity: str = "leaky_relu",
    generator: np.random.Generator | None = None,
) -> T:
    """Uniform in [-b, b], b = gain(nonlinearity, a) * sqrt(3 / fan). At least 2 dimensions.

    Args:
        a: the negative slope where the nonlinearity is leaky_relu.
        mode: "fan_in" keeps the scale of activations forward, "fan_out" that of gradients backward.
    """
    std = _kaiming_std("kaiming_uniform_", tensor, a, mode, nonlinearity)
    bound = math.sqrt(3.0) * std
    return uniform_(tensor, -bound, bound, generator)


def kaiming_normal_(
    tensor: T,
    a: float = 0.0,
    mode: str = "fan_in",
    nonlinearity: str = "leaky_relu",
    generator: np.random.Generator | None = None,
) -> T:
    """Normal with standard deviation gain(nonlinearity, a) / sqrt(fan); see `kaiming_uniform_`."""
    std = _kaiming_std("kaiming_normal_", tensor, a, mode, nonlinearity)
    return normal_(tensor, 0.0, std, generator)


def fan_in_bound(weight: Tensor) -> float:
    """1 / sqrt(fan_in): the range of the default biases of convolutions and linear layers."""
    return 1.0 / math.sqrt(_fans("fan_in_bound", weight)[0])


def _kaiming_std(
    op: str, tensor: Tensor | NDArray, a: float, mode: str, nonlinearity: str
) -> float:
    choice(op, "mode", mode, ("fan_in", "fan_out"))
    fan = _fans(op, tensor)[0 if mode == "fan_in" else 1]
    gain = calculate_gain(nonlinearity, a)
    return gain / math.sqrt(fan) if tensor.size else 0.0


def _fans(op: str, tensor: Tensor | NDArray) -> tuple[int, int]:
    """Connections into an output element and out of an input element, of a weight (K, C, ...)."""
    shape = _target(op, tensor).shape
    if len(shape) < 2:
        raise ShapeError(f"{op}: the tensor must have at least 2 dimensions, got shape {shape}")
    receptive_field = math.prod(shape[2:])
    return shape[1] * receptive_field, shape[0] * receptive_field


def _target(op: str, tensor: Any) -> NDArray:
    array = tensor.numpy() if isinstance(tensor, Tensor) else tensor
    if not isinstance(array, np.ndarray) or not is_floating(array.dtype):
        got = array.dtype if isinstance(array, np.ndarray) else type(array).__name__
        raise DTypeError(f"{op}: only floating tensors and NumPy arrays can be filled, got {got}")
    if not array.flags.writeable:
        raise ShapeError(f"{op}: the array is read-only")
    return array


def _draw_dtype(array: NDArray) -> Any:
    return np.float64 if array.dtype.itemsize > 4 else np.float32


def _values(array: NDArray) -> NDArray:
    """Where to draw: `array` itself where the generators write to its kind."""
    dtype = np.dtype(_draw_dtype(array))
    flags = array.flags
    if array.dtype == dtype and array.dtype.isnative and flags.c_contiguous and flags.aligned:
        return array
    return np.empty(array.shape, dtype)


def _draw(
    method: str, values: NDArray, source: np.random.Generator, factor: float, shift: float
) -> None:
    """Fill `values` with numbers of the generator's `method`, times `factor`, plus `shift`.

    Large arrays are drawn in pieces by all threads. Each piece has a generator of its own, seeded by one
    key from `source` and the piece's number, so that the values do not depend on the threads.
    """
    if values.size <= _PIECE:
        getattr(source, method)(out=values, dtype=values.dtype)
        _scale(values, factor, shift)
        return
    flat = values.reshape(-1)
    key = int(source.integers(0, 2**64, dtype=np.uint64))

    def draw(number: int) -> None:
        piece = flat[number * _PIECE : (number + 1) * _PIECE]
        own = np.random.Generator(np.random.SFC64([key, number]))
        getattr(own, method)(out=piece, dtype=piece.dtype)
        _scale(piece, factor, shift)

    from concurrent.futures import ThreadPoolExecutor

    with ThreadPoolExecutor(get_num_threads()) as threads:
        for _ in threads.map(draw, range(-(-flat.size // _PIECE))):
            pass


def _scale(values: NDArray, factor: float, shift: float) -> None:
    np.multiply(values, factor, out=values)
    if shift:
        np.add(values, shift, out=values)


def _generator(given: np.random.Generator | None) -> np.random.Generator:
    return library_generator() if given is None else given
