"""The unit of GoogLeNet and Inception v3."""

from __future__ import annotations

from typing import Any

from .. import functional as F
from .. import nn

__all__ = ["ConvNorm"]


class ConvNorm(nn.Module):
    """A convolution, batch normalisation with eps 0.001, and ReLU; or, without `batch_norm`, a
    convolution with a bias and ReLU. `options` are `nn.Conv2d`'s."""

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int | tuple[int, int],
        *,
        batch_norm: bool = True,
        dtype: Any = None,
        **options: Any,
    ) -> None:
        super().__init__()
        self.conv = nn.Conv2d(
            in_channels, out_channels, kernel_size, bias=not batch_norm, dtype=dtype, **options
        )
        self.bn = nn.BatchNorm2d(out_channels, eps=0.001, dtype=dtype) if batch_norm else None

    def forward(self, input: Any) -> Any:
        y = self.conv(input)
        return F.relu(y if self.bn is None else self.bn(y))
