"""Layers that look elements up: embeddings, and maxima put back where they were."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeAlias

import numpy as np

from .. import functional as F
from .._arrays import ArrayLike
from ..errors import ShapeError
from . import init
from ._args import cpu, float_dtype, integer, memory_layout, several
from ._drawing import draw_first
from .module import Module
from .parameter import Parameter

__all__ = ["Embedding", "MaxUnpool1d", "MaxUnpool2d", "MaxUnpool3d"]

Sizes: TypeAlias = int | Sequence[int]


class Embedding(Module):
    """Rows of a learned table: integers (...) -> (..., embedding_dim); see `functional.embedding`.

    Args:
        num_embeddings, embedding_dim: the table's rows and columns, drawn from the normal distribution.
        padding_idx: a row of zeros that is not learned.
        device, dtype: "cpu"; float32 (default), float64 or bfloat16.

    PyTorch's max_norm, scale_grad_by_freq and sparse are not there.
    """

    weight: Parameter

    def __init__(
        self,
        num_embeddings: int,
        embedding_dim: int,
        padding_idx: int | None = None,
        *,
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        super().__init__()
        self.num_embeddings = integer("Embedding", "num_embeddings", num_embeddings, 1)
        self.embedding_dim = integer("Embedding", "embedding_dim", embedding_dim, 1)
        rows = self.num_embeddings
        if padding_idx is not None:
            padding_idx = integer("Embedding", "padding_idx", padding_idx, -rows)
            if padding_idx >= rows:
                raise ShapeError(
                    f"Embedding: padding_idx must be in [{-rows}, {rows}), got {padding_idx}"
                )
            padding_idx %= rows
        self.padding_idx = padding_idx
        cpu("Embedding", device)
        target = float_dtype("Embedding", dtype)
        self.weight = Parameter(np.empty((rows, self.embedding_dim), target))
        draw_first(self)

    def reset_parameters(self) -> None:
        """Draw the table anew; the padding's row is 0."""
        init.normal_(self.weight)
        if self.padding_idx is not None:
            self.weight.numpy()[self.padding_idx] = 0

    def forward(self, input: ArrayLike) -> Any:
        return F.embedding(input, self.weight, self.padding_idx)

    def extra_repr(self) -> str:
        text = f"{self.num_embeddings}, {self.embedding_dim}"
        return text + (f", padding_idx={self.padding_idx}" if self.padding_idx is not None else "")


class _MaxUnpool(Module):
    _spatial: int
    _function: Any

    def __init__(
        self,
        kernel_size: Sizes,
        stride: Sizes | None = None,
        padding: Sizes = 0,
        *,
        layout: str = "NCHW",
    ) -> None:
        super().__init__()
        owner, spatial = type(self).__name__, self._spatial
        self.kernel_size = several(owner, "kernel_size", kernel_size, spatial, 1)
        self.stride = self.kernel_size
        if stride is not None:
            self.stride = several(owner, "stride", stride, spatial, 1)
        self.padding = several(owner, "padding", padding, spatial, 0)
        self.layout = memory_layout(owner, layout)

    def forward(self, input: ArrayLike, indices: ArrayLike, output_size: Any = None) -> Any:
        return type(self)._function(
            input,
            indices,
            self.kernel_size,
            self.stride,
            self.padding,
            output_size,
            layout=self.layout,
        )

    def extra_repr(self) -> str:
        return f"kernel_size={self.kernel_size}, stride={self.stride}, padding={self.padding}"


class MaxUnpool2d(_MaxUnpool):
    """Maxima of `MaxPool2d(..., return_indices=True)` back where they were; see `functional.max_unpool2d`.

    Called with (input, indices) and optionally the output's size.
    """

    _spatial, _function = 2, staticmethod(F.max_unpool2d)


class MaxUnpool1d(_MaxUnpool):
    """Maxima of `MaxPool1d(..., return_indices=True)` back where they were; see `MaxUnpool2d`."""

    _spatial, _function = 1, staticmethod(F.max_unpool1d)


class MaxUnpool3d(_MaxUnpool):
    """Maxima of `MaxPool3d(..., return_indices=True)` back where they were; see `MaxUnpool2d`."""

    _spatial, _function = 3, staticmethod(F.max_unpool3d)
