"""Views of images for test-time augmentation: a network's answers for several are averaged.

fc.train.predict(net, images, tta="flip")
fc.train.predict(net, test_set, tta=RandomShift(0.05, 0.05), times=8)
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from ...errors import DTypeError, ShapeError
from ...nn._args import integer
from .batch import Images
from .geometry import warp_affine

__all__ = ["RULES", "View", "crops5", "flip", "views_of"]

# Makes one view of a batch of network input; the second argument is the number of the batch.
View = Callable[[Images, int], Images]


def flip(images: Images) -> list[Images]:
    """The images, and the images with left and right exchanged."""
    return [images, np.ascontiguousarray(images[..., ::-1])]


def crops5(images: Images) -> list[Images]:
    """Five parts of images (n, C, H, W), of 7/8 of the height and width: the corners' and the middle one.

    Each is shown in the images' size, pixels interpolated, so that any network takes them.
    """
    n, _, height, width = images.shape
    share = 7 / 8
    made = []
    for down, right in ((0.0, 0.0), (0.0, 1.0), (1.0, 0.0), (1.0, 1.0), (0.5, 0.5)):
        left, top = right * (1 - share) * width, down * (1 - share) * height
        # The middle of pixel i of a view is (i + 1/2) share of a pixel into the part.
        row = [share, 0, left + share / 2 - 0.5], [0, share, top + share / 2 - 0.5]
        matrices = np.tile(np.array(row), (n, 1, 1))
        made.append(warp_affine(images, matrices, fill_mode="nearest"))
    return made


RULES: dict[str, Callable[[Images], list[Images]]] = {"flip": flip, "crops5": crops5}


def views_of(owner: str, images: Any, tta: Any, times: int, batch: int) -> list[Images]:
    """The views of a batch (n, C, H, W) of network input.

    Args:
        owner: what errors name.
        images: the batch, float32.
        tta: "flip", "crops5", or an augmentation, which is called `times` times.
        times: for an augmentation.
        batch: the batch's number: random numbers follow from it and the view's.

    Raises:
        ShapeError, DTypeError: `tta` is neither, or the images have other dimensions or another type.
    """
    check_tta(owner, tta, times)
    given = np.asarray(images)
    if given.ndim != 4:
        raise ShapeError(f"{owner}: tta is for images (n, C, H, W), got shape {given.shape}")
    if given.dtype != np.float32:
        given = given.astype(np.float32)
    if isinstance(tta, str):
        return RULES[tta](given)
    seeds = [np.random.SeedSequence([view, batch]) for view in range(times)]
    return [tta(given.copy(), np.random.Generator(np.random.PCG64(seed))) for seed in seeds]


def check_tta(owner: str, tta: Any, times: int) -> None:
    """Raises as `views_of` where `tta` or `times` are not what it takes."""
    integer(owner, "times", times, 1)
    if isinstance(tta, str):
        if tta not in RULES:
            listed = ", ".join(repr(rule) for rule in RULES)
            raise ShapeError(f"{owner}: tta must be one of {listed} or callable, got {tta!r}")
    elif not callable(tta):
        raise DTypeError(
            f"{owner}: tta must be 'flip', 'crops5' or an augmentation, got {type(tta).__name__}"
        )
