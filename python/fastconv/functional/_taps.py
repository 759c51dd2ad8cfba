"""Tables of which elements along a dimension make up each output: what the native `resample` runs by."""

from __future__ import annotations

from typing import Any

import numpy as np

from .. import _ops
from .._arrays import MemoryOrder, NDArray


class Taps:
    """Output o is the sum of weight[t] * input[index[t]] over the taps t in [begin[o], begin[o + 1]).

    Attributes:
        inputs, outputs: sizes of the dimension before and after.
        begin, index: int64; `weight` float64, or None where all are 1.
    """

    __slots__ = ("_backward", "begin", "index", "inputs", "outputs", "weight")

    def __init__(self, inputs: int, begin: Any, index: Any, weight: Any = None) -> None:
        self.inputs, self.outputs = inputs, len(begin) - 1
        self.begin: NDArray = np.ascontiguousarray(begin, np.int64)
        self.index: NDArray = np.ascontiguousarray(index, np.int64)
        self.weight: NDArray | None = (
            None if weight is None else np.ascontiguousarray(weight, np.float64)
        )
        self._backward: Taps | None = None

    @classmethod
    def of(cls, inputs: int, index: Any, weight: Any = None) -> Taps:
        """From a row of places for each output, (outputs, taps) or (outputs,); negative ones read nothing."""
        places = np.asarray(index, np.int64)
        rows = places[:, None] if places.ndim == 1 else places
        there = rows >= 0
        begin = np.concatenate([[0], np.cumsum(there.sum(1))])
        factors = None if weight is None else np.reshape(weight, rows.shape)[there]
        return cls(inputs, begin, rows[there], factors)

    def backward(self) -> Taps:
        """The table of the gradient: from outputs back to inputs."""
        if self._backward is None:
            order = np.argsort(self.index, kind="stable")
            rows = np.repeat(np.arange(self.outputs), np.diff(self.begin))[order]
            counts = np.bincount(self.index, minlength=self.inputs)
            begin = np.concatenate([[0], np.cumsum(counts)])
            weight = None if self.weight is None else self.weight[order]
            self._backward = Taps(self.outputs, begin, rows, weight)
        return self._backward

    def apply(self, x: NDArray, dim: int) -> NDArray:
        """The sums along `dim` (not negative) of x, in x's memory order."""
        order = MemoryOrder(x)
        at = order.dim(dim)
        return order.leave(_ops.resample(order.enter(x), at, self.begin, self.index, self.weight))
