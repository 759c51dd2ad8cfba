"""bfloat16 where it pays, for networks whose parameters are float32."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from .. import _ops
from .._arrays import ArrayLike, to_dtype
from ..errors import DTypeError
from .cast import astype


class _Local(threading.local):
    dtype: Any = None  # what convolutions and linear layers compute on, in this thread


_local = _Local()


@contextmanager
def autocast(dtype: str | None = "bfloat16") -> Iterator[None]:
    """Inside, convolutions and linear layers store their operands and results as bfloat16 and sum in float32.

    What they get in float32 is converted; gradients come back to each operand in its own type, so that an
    optimiser goes on with float32 parameters. Batch-norm, pooling, activations and sums take what comes;
    where bfloat16 meets float32 the sum is bfloat16. Losses are float32. It holds for the thread that
    enters it.

    Args:
        dtype: "bfloat16"; or None, which switches it off inside.

    Raises:
        DTypeError: another type.
        ImportError: the package ml_dtypes is missing.

    ```python
    with fc.autocast():
        loss = F.cross_entropy(net(x), labels)
    loss.backward()
    ```
    """
    if dtype is not None and not (isinstance(dtype, str) and dtype == "bfloat16"):
        raise DTypeError(f"autocast: dtype must be 'bfloat16' or None, got {dtype!r}")
    before = _local.dtype
    _local.dtype = None if dtype is None else to_dtype("autocast", dtype)
    try:
        yield
    finally:
        _local.dtype = before


def autocast_dtype() -> str | None:
    """What `autocast` is set to in this thread."""
    return None if _local.dtype is None else str(_local.dtype)


def _is(value: Any, dtype: Any) -> bool:
    return bool(getattr(value, "dtype", None) == dtype)


def lowered(*values: Any) -> tuple[Any, ...]:
    """The operands of a convolution or linear layer: float32 ones as bfloat16 inside `autocast`."""
    if _local.dtype is None:
        return values
    return tuple(astype(v, _local.dtype) if _is(v, np.float32) else v for v in values)


def matched(*values: Any) -> tuple[Any, ...]:
    """Operands that must be of one type: where some are bfloat16, inside `autocast`, so are the others."""
    if _local.dtype is None or not any(_is(v, _local.dtype) for v in values):
        return values
    return lowered(*values)


def widened(value: ArrayLike) -> ArrayLike:
    """An operand of a loss: bfloat16 as float32 inside `autocast`."""
    if _local.dtype is None or not _ops.is_bfloat16(getattr(value, "dtype", np.dtype("f4"))):
        return value
    return astype(value, np.float32)
