"""One convolution prepared once and run many times: chosen algorithm, packed weights, fused epilogue."""

from __future__ import annotations

from .. import _core
from .._arrays import NDArray
from .conv import Padding, Pair


class Conv2dPlan:
    """A `conv2d`, or one of its gradients, of fixed shapes, for callers who run it often.

    `conv2d` chooses an algorithm and packs the weights at every call. A plan chooses once; `pack` gives weights
    in the algorithm's own order, to be kept for as long as the weights do not change; `run` takes either form.

    ```python
    plan = F.Conv2dPlan((8, 64, 56, 56), (64, 64, 3, 3), padding=1)
    packed = plan.pack(weight)
    y = plan.run(x, packed, bias, residual=shortcut, activation="relu", out=y)
    ```

    For training, a convolution can take the statistics that a batch-norm behind it needs, and apply a
    batch-norm in front of it (and its ReLU) to the input as it reads it, so that neither is a pass over memory.

    Args:
        input_size: shape of the convolution's input, in `layout`'s order.
        weight_size: (K, C / groups, R, S).
        stride, padding, dilation, groups, layout: as `conv2d`.
        direction: "fprop"; "dgrad" (gradient of the input); or "wgrad" (gradient of the weight).
        dtype: "float32", "float64" or "bfloat16".
        algorithm: one of `algorithms()`, or "" for the best.

    Raises:
        ShapeError: sizes or parameters that do not fit together, or an algorithm that declines them.
        DTypeError: arguments of another type.
    """

    def __init__(
        self,
        input_size: tuple[int, ...] | list[int],
        weight_size: tuple[int, ...] | list[int],
        stride: Pair = 1,
        padding: Padding = 0,
        dilation: Pair = 1,
        groups: int = 1,
        *,
        layout: str = "NCHW",
        direction: str = "fprop",
        dtype: str = "float32",
        algorithm: str = "",
    ) -> None:
        self._geometry = (input_size, weight_size, stride, padding, dilation, groups, layout)
        self._direction, self._dtype = direction, dtype
        self._plan = _core.Conv2dPlan(direction, *self._geometry, dtype, algorithm)

    @property
    def algorithm(self) -> str:
        """Name of the algorithm that runs."""
        return self._plan.algorithm

    @property
    def packed_bytes(self) -> int:
        """Size of packed weights in bytes; 0 where the algorithm reads weights as they are."""
        return self._plan.packed_bytes

    @property
    def fuses_prologue(self) -> bool:
        """Whether the algorithm normalises its input as it reads it, rather than in a pass before."""
        return self._plan.fuses_prologue

    @property
    def fuses_statistics(self) -> bool:
        """Whether the algorithm takes statistics as it writes, rather than in a pass behind."""
        return self._plan.fuses_statistics

    def workspace_bytes(
        self, threads: int, *, prologue: bool = False, statistics: bool = False
    ) -> int:
        """Scratch memory in bytes that `run` takes from the library's pool with so many threads, with a
        prologue or statistics."""
        return self._plan.workspace_bytes(threads, prologue, statistics)

    def algorithms(self) -> list[tuple[str, str]]:
        """All algorithms for this direction, best first, each with "" or its reason to decline."""
        return _core.conv2d_candidates(
            *self._geometry, self._direction, self._dtype, weights_stay=True
        )

    def pack(self, weight: NDArray) -> _core.PackedWeight | NDArray:
        """Weights as the algorithm wants them: packed, or `weight` itself where it wants nothing else.

        Packed weights fit every plan of the same algorithm, direction and geometry, whatever its batch size.
        """
        return self._plan.pack(weight) if self._plan.packed_bytes else weight

    def run(
        self,
        input: NDArray,
        weight: NDArray | _core.PackedWeight,
        bias: NDArray | None = None,
        *,
        residual: NDArray | None = None,
        activation: str | None = None,
        negative_slope: float = 0.01,
        prologue: NDArray | None = None,
        prologue_relu: bool = True,
        statistics: NDArray | None = None,
        out: NDArray | None = None,
    ) -> NDArray:
        """activation(convolution + bias + residual), the last three applied as results are stored.

        Args:
            input: x for fprop and wgrad, the output's gradient for dgrad. A NumPy array.
            weight: the weight or `pack(weight)`; for wgrad the output's gradient.
            bias: one value an output channel (dgrad: an input channel), or None. Not for wgrad.
            residual: an array like the result, or None. Not for wgrad.
            activation: "relu", "relu6", "leaky_relu", "sigmoid", "tanh", "gelu" or "gelu_tanh". Not for wgrad.
            negative_slope: leaky_relu's.
            prologue: (3, C) rows center, scale, shift, or None. Not for dgrad. The convolution's input is then
                relu((x - center) * scale + shift), channel by channel; padding stays zero. float32, with
                float64 plans float64. With center = mean, scale = weight / sqrt(var + eps), shift = bias it is
                a batch-norm.
            prologue_relu: whether the ReLU follows the prologue.
            statistics: (2, K) float64, written: each output channel's mean and sum of (y - mean)^2 over images
                and pixels, y = convolution + bias, before residual and activation. Zeros for an empty batch.
                Only for fprop.
            out: an array for the result, apart from the others in memory.

        Returns:
            `out`, or a new array.

        Raises:
            ShapeError, DTypeError: arrays that are not of the plan's shapes and type, or `out` shares
                memory with one that is read.
        """
        return self._plan.run(
            input,
            weight,
            bias,
            residual,
            activation,
            negative_slope,
            prologue,
            prologue_relu,
            statistics,
            out,
        )
