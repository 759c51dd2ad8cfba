"""Activation layers: the functions of `fastconv.functional` as modules. Any shape."""

from __future__ import annotations

from typing import Any

import numpy as np

from .. import functional as F
from .._arrays import ArrayLike
from ..errors import ShapeError
from ._args import choice, cpu, flag, float_dtype, integer, memory_layout, number
from .init import constant_
from .module import Module
from .parameter import Parameter

__all__ = [
    "CELU",
    "ELU",
    "GELU",
    "GLU",
    "SELU",
    "Hardshrink",
    "Hardsigmoid",
    "Hardswish",
    "Hardtanh",
    "LeakyReLU",
    "LogSigmoid",
    "LogSoftmax",
    "Mish",
    "PReLU",
    "ReLU",
    "ReLU6",
    "SiLU",
    "Sigmoid",
    "Softmax",
    "Softmax2d",
    "Softmin",
    "Softplus",
    "Softshrink",
    "Softsign",
    "Tanh",
    "Tanhshrink",
    "Threshold",
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


class ELU(Module):
    """x where positive, alpha (exp(x) - 1) elsewhere. Source: Clevert et al. (2015)."""

    def __init__(self, alpha: float = 1.0, inplace: bool = False) -> None:
        super().__init__()
        self.alpha = number(type(self).__name__, "alpha", alpha)
        flag(type(self).__name__, "inplace", inplace)

    def forward(self, input: ArrayLike) -> Any:
        return F.elu(input, self.alpha)

    def extra_repr(self) -> str:
        return f"alpha={self.alpha:g}"


class CELU(ELU):
    """x where positive, alpha (exp(x / alpha) - 1) elsewhere. Source: Barron (2017)."""

    def forward(self, input: ArrayLike) -> Any:
        return F.celu(input, self.alpha)


class SELU(ReLU):
    """A scaled ELU whose outputs keep mean 0 and variance 1. Source: Klambauer et al. (2017)."""

    def forward(self, input: ArrayLike) -> Any:
        return F.selu(input)


class Hardsigmoid(ReLU):
    """relu6(x + 3) / 6. Source: Howard et al. (2019)."""

    def forward(self, input: ArrayLike) -> Any:
        return F.hardsigmoid(input)


class Hardswish(ReLU):
    """x relu6(x + 3) / 6. Source: Howard et al. (2019)."""

    def forward(self, input: ArrayLike) -> Any:
        return F.hardswish(input)


class Hardtanh(Module):
    """min(max(x, min_val), max_val)."""

    def __init__(self, min_val: float = -1.0, max_val: float = 1.0, inplace: bool = False) -> None:
        super().__init__()
        self.min_val = number("Hardtanh", "min_val", min_val)
        self.max_val = number("Hardtanh", "max_val", max_val, low=self.min_val)
        flag("Hardtanh", "inplace", inplace)

    def forward(self, input: ArrayLike) -> Any:
        return F.hardtanh(input, self.min_val, self.max_val)

    def extra_repr(self) -> str:
        return f"min_val={self.min_val:g}, max_val={self.max_val:g}"


class SiLU(ReLU):
    """x / (1 + exp(-x)), also known as swish. Source: Elfwing et al. (2017)."""

    def forward(self, input: ArrayLike) -> Any:
        return F.silu(input)


class Mish(ReLU):
    """x tanh(log(1 + exp(x))). Source: Misra (2019)."""

    def forward(self, input: ArrayLike) -> Any:
        return F.mish(input)


class Softplus(Module):
    """log(1 + exp(beta x)) / beta, and x itself where beta x > threshold."""

    def __init__(self, beta: float = 1.0, threshold: float = 20.0) -> None:
        super().__init__()
        self.beta = number("Softplus", "beta", beta)
        self.threshold = number("Softplus", "threshold", threshold)

    def forward(self, input: ArrayLike) -> Any:
        return F.softplus(input, self.beta, self.threshold)

    def extra_repr(self) -> str:
        return f"beta={self.beta:g}, threshold={self.threshold:g}"


class PReLU(Module):
    """x where positive, weight * x elsewhere, the weight being learned. Source: He et al. (2015).

    Args:
        num_parameters: 1, or the number of channels for one weight each.
        init: the weight to begin with.
        device, dtype: "cpu"; float32 (default), float64 or bfloat16.
        layout: "NCHW" where the channels are dimension 1, "NHWC" where they are the last.
    """

    weight: Parameter

    def __init__(
        self,
        num_parameters: int = 1,
        init: float = 0.25,
        device: Any = None,
        dtype: Any = None,
        *,
        layout: str = "NCHW",
    ) -> None:
        super().__init__()
        self.num_parameters = integer("PReLU", "num_parameters", num_parameters, 1)
        self.init = number("PReLU", "init", init)
        cpu("PReLU", device)
        self.layout = memory_layout("PReLU", layout)
        target = float_dtype("PReLU", dtype)
        self.weight = Parameter(np.full(self.num_parameters, self.init, target))

    def reset_parameters(self) -> None:
        """Every weight as at the start."""
        constant_(self.weight, self.init)

    def forward(self, input: ArrayLike) -> Any:
        return F.prelu(input, self.weight, layout=self.layout)

    def extra_repr(self) -> str:
        text = f"num_parameters={self.num_parameters}"
        return text + (f", layout={self.layout!r}" if self.layout != "NCHW" else "")


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


class Softmin(Softmax):
    """softmax(-x) along `dim`; see `Softmax`."""

    def forward(self, input: ArrayLike) -> Any:
        return F.softmin(input, self._axis(input))


class Softmax2d(Module):
    """Softmax over the channels of (N, C, H, W) or (C, H, W), or in NHWC over the last dimension."""

    def __init__(self, *, layout: str = "NCHW") -> None:
        super().__init__()
        self.layout = memory_layout("Softmax2d", layout)

    def forward(self, input: ArrayLike) -> Any:
        rank = getattr(input, "ndim", 4)
        if rank not in (3, 4):
            raise ShapeError(f"Softmax2d: input must have 3 or 4 dimensions, got {rank}")
        return F.softmax(input, -1 if self.layout == "NHWC" else -3)


class Softsign(Module):
    """x / (1 + |x|)."""

    def forward(self, input: ArrayLike) -> Any:
        return F.softsign(input)


class Tanhshrink(Module):
    """x - tanh(x)."""

    def forward(self, input: ArrayLike) -> Any:
        return F.tanhshrink(input)


class LogSigmoid(Module):
    """log(1 / (1 + exp(-x)))."""

    def forward(self, input: ArrayLike) -> Any:
        return F.logsigmoid(input)


class Hardshrink(Module):
    """x where |x| > lambd, 0 elsewhere."""

    def __init__(self, lambd: float = 0.5) -> None:
        super().__init__()
        self.lambd = number("Hardshrink", "lambd", lambd)

    def forward(self, input: ArrayLike) -> Any:
        return F.hardshrink(input, self.lambd)

    def extra_repr(self) -> str:
        return f"{self.lambd:g}"


class Softshrink(Module):
    """x - lambd where x > lambd, x + lambd where x < -lambd, 0 between."""

    def __init__(self, lambd: float = 0.5) -> None:
        super().__init__()
        self.lambd = number("Softshrink", "lambd", lambd, 0.0)

    def forward(self, input: ArrayLike) -> Any:
        return F.softshrink(input, self.lambd)

    def extra_repr(self) -> str:
        return f"{self.lambd:g}"


class Threshold(Module):
    """x where x > threshold, `value` elsewhere."""

    def __init__(self, threshold: float, value: float, inplace: bool = False) -> None:
        super().__init__()
        self.threshold = number("Threshold", "threshold", threshold)
        self.value = number("Threshold", "value", value)
        flag("Threshold", "inplace", inplace)

    def forward(self, input: ArrayLike) -> Any:
        return F.threshold(input, self.threshold, self.value)

    def extra_repr(self) -> str:
        return f"threshold={self.threshold:g}, value={self.value:g}"


class GLU(Module):
    """a * sigmoid(b), a and b being the halves of the input along `dim`. Source: Dauphin et al. (2017)."""

    def __init__(self, dim: int = -1) -> None:
        super().__init__()
        self.dim = integer("GLU", "dim", dim, -(2**31))

    def forward(self, input: ArrayLike) -> Any:
        return F.glu(input, self.dim)

    def extra_repr(self) -> str:
        return f"dim={self.dim}"
