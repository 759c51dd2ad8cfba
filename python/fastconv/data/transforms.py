"""From stored images to network input."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt

from .._arrays import NDArray
from ..errors import DTypeError, ShapeError

__all__ = ["Resize", "Standardize"]


class Standardize:
    """Images to float32 NCHW: uint8 is scaled to [0, 1], then (x - mean) / std per channel.

    float32 images are taken as they are, without the scaling. One multiply-add does it all, so the
    result for a pixel does not depend on its batch.

    Args:
        mean, std: one value per channel, or one for all, of images scaled to [0, 1].

    Raises:
        ShapeError: the lengths differ, a value is not finite, or std is not positive.
    """

    def __init__(self, mean: Sequence[float] = (0.0,), std: Sequence[float] = (1.0,)) -> None:
        self.mean = tuple(float(m) for m in mean)
        self.std = tuple(float(s) for s in std)
        if len(self.mean) != len(self.std) or not self.mean:
            raise ShapeError(
                f"Standardize: {len(self.mean)} means and {len(self.std)} standard deviations, "
                "expected as many of each, at least 1"
            )
        if not all(math.isfinite(m) for m in self.mean):
            raise ShapeError(f"Standardize: mean is {self.mean}, expected finite values")
        if not all(math.isfinite(s) and s > 0 for s in self.std):
            raise ShapeError(f"Standardize: std is {self.std}, expected finite values above 0")
        # Per channel, by the size of the stored type: (x / 255 - mean) / std = x * scale + shift.
        column = np.array(self.std).reshape(-1, 1, 1)
        self._scale = {1: (1 / (255 * column)).astype(np.float32)}
        self._scale[4] = (1 / column).astype(np.float32)
        self._shift = (-np.array(self.mean).reshape(-1, 1, 1) / column).astype(np.float32)

    def __repr__(self) -> str:
        return f"Standardize(mean={self.mean}, std={self.std})"

    def __call__(self, images: npt.NDArray[Any]) -> npt.NDArray[np.float32]:
        """Standardise a batch.

        Args:
            images: uint8 or float32, (N, H, W) or (N, C, H, W).

        Returns:
            A new C-contiguous float32 array, (N, 1, H, W) or (N, C, H, W).

        Raises:
            ShapeError, DTypeError: the images are of another kind.
        """
        if images.dtype != np.uint8 and images.dtype != np.float32:
            raise DTypeError(f"Standardize: images are {images.dtype}, expected uint8 or float32")
        if images.ndim == 3:
            images = images[:, np.newaxis]
        if images.ndim != 4 or len(self.mean) not in (1, images.shape[1]):
            raise ShapeError(
                f"Standardize: images have shape {images.shape}, expected (N, H, W) or "
                f"(N, C, H, W) with {len(self.mean)} channels"
            )
        out = images.astype(np.float32, order="C")
        out *= self._scale[images.dtype.itemsize]
        out += self._shift
        return out


class Resize:
    """A transform for `Loader`: images in another size, after `transform`.

    Each result is a mean of the pixels around its place, weighed by a triangle that is two pixels of
    the larger of both images wide: interpolation where images grow, averages where they shrink, as
    Pillow's bilinear filter has it.

    Args:
        size: height and width of the results, an integer or a pair.
        transform: makes float32 (N, C, H, W) of stored images, such as `dataset.standardize()`.

    Raises:
        ShapeError, DTypeError: the size is not positive, or no integer; `transform` cannot be called.
    """

    def __init__(
        self,
        size: int | Sequence[int],
        transform: Callable[[npt.NDArray[Any]], npt.NDArray[np.float32]],
    ) -> None:
        from ..nn._args import pair

        self.size = pair("Resize", "size", size, 1)
        if not callable(transform):
            raise DTypeError(f"Resize: transform is a {type(transform).__name__}, not callable")
        self.transform = transform

    def __repr__(self) -> str:
        return f"Resize({self.size}, {self.transform})"

    def __call__(self, images: npt.NDArray[Any]) -> npt.NDArray[np.float32]:
        """The transformed batch in the new size; raises as the transform does, ShapeError where that is
        not (N, C, H, W)."""
        from ..functional import resample

        result: Any = self.transform(images)
        if result.ndim != 4:
            raise ShapeError(
                f"Resize: transform must give (N, C, H, W), got shape {tuple(result.shape)}"
            )
        for dim, size in zip((2, 3), self.size, strict=True):
            if result.shape[dim] != size:
                result = resample(result, dim, *_triangles(result.shape[dim], size))
        made: npt.NDArray[np.float32] = result
        return made


@lru_cache(maxsize=16)
def _triangles(old: int, new: int) -> tuple[NDArray, NDArray]:
    """Places and weights of `old` pixels in each of `new`."""
    step = old / new
    reach = max(step, 1.0)
    centre = (np.arange(new) + 0.5)[:, np.newaxis] * step
    first = np.floor(centre - reach).astype(np.int64)
    places = first + np.arange(math.ceil(2 * reach) + 1)
    inside = (places >= 0) & (places < old)
    weights = np.where(inside, np.maximum(0.0, 1.0 - np.abs(places + 0.5 - centre) / reach), 0.0)
    return np.where(inside, places, -1), weights / weights.sum(1, keepdims=True)
