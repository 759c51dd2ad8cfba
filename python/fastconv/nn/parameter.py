"""`Parameter`: a tensor that a `Module` owns and an optimiser updates in place."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..errors import DTypeError
from ..tensor import Tensor, tensor

__all__ = ["Parameter", "as_buffer"]


class Parameter(Tensor):
    """A leaf `Tensor` that requires a gradient; an attribute of a `Module`, it is registered there.

    Args:
        data: array, `Tensor`, nested list or number. A writable C-contiguous NumPy array in native
            byte order (or the `Tensor` around one) is wrapped without a copy, since optimisers
            update it in place; everything else is copied.
        requires_grad: False freezes the parameter: no gradient is computed and optimisers pass over
            it.

    Raises:
        DTypeError: the elements are not floating numbers.
    """

    __slots__ = ()

    def __init__(self, data: Any, requires_grad: bool = True) -> None:
        array = data.numpy() if isinstance(data, Tensor) else data
        if not isinstance(array, np.ndarray) or not (array.flags.carray and array.dtype.isnative):
            array = tensor(array).numpy()
        super().__init__(array, requires_grad)

    def __repr__(self) -> str:
        return f"Parameter containing:\n{super().__repr__()}"


def as_buffer(owner: str, name: str, value: Any) -> Tensor:
    """A buffer's value as a Tensor whose memory can be updated in place."""
    array = value.numpy() if isinstance(value, Tensor) else value
    if not isinstance(array, (np.ndarray, np.generic)) and not hasattr(array, "__dlpack__"):
        raise DTypeError(
            f"{owner}: {name} is a buffer and must be an array or None, got {type(value).__name__}"
        )
    if type(value) is Tensor and array.flags.carray:
        return value
    if isinstance(array, np.ndarray) and array.flags.carray and array.dtype.isnative:
        return Tensor(array)
    return tensor(array)
