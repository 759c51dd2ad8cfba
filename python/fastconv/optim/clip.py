"""Bounding gradients before a step."""

from __future__ import annotations

import math
from collections.abc import Iterable

import numpy as np

from .._arrays import NDArray
from ..errors import DTypeError, FastconvError, ShapeError
from ..tensor import Tensor

__all__ = ["clip_grad_norm_", "clip_grad_value_"]

# Elements summed at a time, so that the float64 squares of a large gradient need little memory.
_CHUNK = 1 << 16


def clip_grad_norm_(
    parameters: Tensor | Iterable[Tensor],
    max_norm: float,
    norm_type: float = 2.0,
    error_if_nonfinite: bool = False,
) -> float:
    """Scale all gradients, in place, so that their joint norm is at most `max_norm`.

    The norm is that of one vector with all gradients in it; the factor is max_norm / (norm + 1e-6)
    where that is below 1. A norm that is NaN makes the gradients NaN.

    Args:
        parameters: tensors; those without gradients are passed over.
        max_norm: the bound, at least 0.
        norm_type: p of the p-norm; `math.inf` for the largest magnitude.
        error_if_nonfinite: raise where the norm is NaN or infinite.

    Returns:
        The norm before scaling.

    Raises:
        ShapeError: `max_norm` is negative or `norm_type` is not positive.
        FastconvError: the norm is not finite and `error_if_nonfinite` is set.

    Source: Pascanu, Mikolov & Bengio, "On the difficulty of training recurrent neural networks"
    (2013).
    """
    if not max_norm >= 0.0:
        raise ShapeError(f"clip_grad_norm_: max_norm must be at least 0, got {max_norm}")
    if not norm_type > 0.0:
        raise ShapeError(f"clip_grad_norm_: norm_type must be above 0, got {norm_type}")
    grads = _gradients("clip_grad_norm_", parameters)
    with np.errstate(over="ignore", invalid="ignore"):
        if math.isinf(norm_type):
            peaks = [np.abs(g).max() for g in grads if g.size]
            total = float(np.max(peaks)) if peaks else 0.0
        else:
            total = math.fsum(_power_sum(g, norm_type) for g in grads) ** (1.0 / norm_type)
        if error_if_nonfinite and not math.isfinite(total):
            raise FastconvError(f"clip_grad_norm_: the norm of the gradients is {total}")
        factor = max_norm / (total + 1e-6)
        if not factor >= 1.0:
            for g in grads:
                np.multiply(g, factor, out=g)
    return total


def clip_grad_value_(parameters: Tensor | Iterable[Tensor], clip_value: float) -> None:
    """Bound each gradient element, in place, to [-clip_value, clip_value]."""
    if not clip_value >= 0.0:
        raise ShapeError(f"clip_grad_value_: clip_value must be at least 0, got {clip_value}")
    for g in _gradients("clip_grad_value_", parameters):
        np.clip(g, -clip_value, clip_value, out=g)


def _gradients(op: str, parameters: Tensor | Iterable[Tensor]) -> list[NDArray]:
    tensors = [parameters] if isinstance(parameters, Tensor) else list(parameters)
    for t in tensors:
        if not isinstance(t, Tensor):
            raise DTypeError(f"{op}: parameters must be tensors, got {type(t).__name__}")
    return [t.grad.numpy() for t in tensors if t.grad is not None]


def _power_sum(gradient: NDArray, power: float) -> float:
    flat = gradient.reshape(-1)
    total = 0.0
    for start in range(0, flat.size, _CHUNK):
        part = np.abs(flat[start : start + _CHUNK].astype(np.float64))
        total += float(np.sum(part * part if power == 2.0 else part**power))
    return total
