"""Activation layers and dropout: the functions of `fastconv.functional` as modules. Any shape."""

from __future__ import annotations

from typing import Any

from .. import functional as F
from .._arrays import ArrayLike
from ._args import choice, flag, integer, number
from .module import Module

__all__ = [
    "GELU",
    "Dropout",
    "LeakyReLU",
    "LogSoftmax",
    "ReLU",
    "ReLU6",
    "Sigmoid",
    "Softmax",
    "Tanh",
]


class ReLU(Module):
    """max(x, 0). `inplace` is accepted and changes nothing: the input stays as it is."""

    def __init__(self, inplace: bool = False) -> None:
        super().__init__()
        flag(type(self).__name__, "inplace", inplace)

    def forward(self, input: ArrayLike) -> Any:
        return F.relu(input)


class ReLU6(ReLU):
    """min(max(x, 0), 6)."""

    def forward(self, input: ArrayLike) -> Any:
        return F.relu6(input)


class LeakyReLU(Module):
    """x where positive, negative_slope * x elsewhere."""

    def __init__(self, negative_slope: float = 0.01, inplace: bool = False) -> None:
        super().__init__()
        self.negative_slope = number("LeakyReLU", "negative_slope", negative_slope)
        flag("LeakyReLU", "inplace", inplace)

    def forward(self, input: ArrayLike) -> Any:
        return F.leaky_relu(input, self.negative_slope)

    def extra_repr(self) -> str:
        return f"negative_slope={self.negative_slope:g}"


class Sigmoid(Module):
    """1 / (1 + exp(-x))."""

    def forward(self, input: ArrayLike) -> Any:
        return F.sigmoid(input)


class Tanh(Module):
    """Hyperbolic tangent."""

    def forward(self, input: ArrayLike) -> Any:
        return F.tanh(input)


class GELU(Module):
    """x * Phi(x), Phi the normal distribution function (Hendrycks & Gimpel 2016).

    Args:
        approximate: "none", or "tanh" for the paper's approximation by tanh.
    """

    def __init__(self, approximate: str = "none") -> None:
        super().__init__()
        self.approximate = choice("GELU", "approximate", approximate, ("none", "tanh"))

    def forward(self, input: ArrayLike) -> Any:
        return F.gelu(input, self.approximate)

    def extra_repr(self) -> str:
        return f"approximate={self.approximate!r}"


class Softmax(Module):
    """exp(x) / sum(exp(x)) along `dim`; by default 0 for 0-, 1- and 3-D arrays, else 1."""

    def __init__(self, dim: int | None = None) -> None:
        super().__init__()
        self.dim = None if dim is None else integer(type(self).__name__, "dim", dim, -(2**31))

    def _axis(self, input: ArrayLike) -> int:
        if self.dim is not None:
            return self.dim
        return 0 if getattr(input, "ndim", 2) in (0, 1, 3) else 1

    def forward(self, input: ArrayLike) -> Any:
        return F.softmax(input, self._axis(input))

    def extra_repr(self) -> str:
        return f"dim={self.dim}"


class LogSoftmax(Softmax):
    """x - log(sum(exp(x))) along `dim`; see `Softmax`."""

    def forward(self, input: ArrayLike) -> Any:
        return F.log_softmax(input, self._axis(input))


class Dropout(Module):
    """In training mode sets each element to 0 with probability `p`, dividing the others by 1 - p.

    The mask follows from `fastconv.manual_seed`. Source: Srivastava et al., JMLR 15 (2014).
    """

    def __init__(self, p: float = 0.5, inplace: bool = False) -> None:
        super().__init__()
        self.p = number("Dropout", "p", p, 0.0, 1.0)
        flag("Dropout", "inplace", inplace)

    def forward(self, input: ArrayLike) -> Any:
        return F.dropout(input, self.p, self.training)

    def extra_repr(self) -> str:
        return f"p={self.p:g}"
