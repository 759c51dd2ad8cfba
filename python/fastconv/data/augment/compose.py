"""Several augmentations: one after the other, one of them, or perhaps."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ...errors import DTypeError, ShapeError
from ...nn._args import number
from .batch import Augmentation, Images, check_images, probability
from .plan import Plan, require_same_shape
from .step import add_step

__all__ = ["Compose", "OneOf", "RandomApply"]

Step = Callable[[Images, np.random.Generator], Images]


def steps_of(owner: str, transforms: Any) -> tuple[Step, ...]:
    """Steps of one or several."""
    several = transforms if isinstance(transforms, (tuple, list)) else [transforms]
    for step in several:
        if not callable(step):
            raise DTypeError(
                f"{owner}: transforms must be called with (images, rng), got {type(step).__name__}"
            )
    return tuple(several)


class Compose(Augmentation):
    """Augmentations one after the other.

    Neighbours among flips, rotation, shift, translation, zoom, shear and crops are one affine map, and images
    are interpolated once; what an earlier one would have pushed out of the frame a later one may bring back.
    That holds where they agree in `interpolation`, `fill_mode` and `fill`, which flips and crops within the
    image do with all. Neighbours among colour steps are likewise one matrix, with at most one Contrast or
    ColorJitter, and are rounded and clipped once. Geometry, colour and Cutout in this order are one native
    pass.

    Args:
        transforms: augmentations, or functions of (images, rng) that return images.

    Raises:
        DTypeError: one of them cannot be called.
    """

    shown = ("transforms",)

    def __init__(self, transforms: Sequence[Step]) -> None:
        self.transforms = steps_of(self._name, transforms)

    def __call__(self, images: Images, rng: np.random.Generator) -> Images:
        plan = Plan(self._name, check_images(self._name, images, rng))
        self._add(plan, rng)
        return plan.images()

    def _add(self, plan: Plan, rng: np.random.Generator) -> None:
        for step in self.transforms:
            if isinstance(step, Compose):
                step._add(plan, rng)
            else:
                add_step(plan, step, rng)


class OneOf(Augmentation):
    """One of several augmentations for each image.

    Args:
        transforms: augmentations, or functions of (images, rng); all must give images of the same shape.
        p: their probabilities, in any unit; by default all are alike.

    Raises:
        ShapeError, DTypeError: there is none, one cannot be called, probabilities do not fit, or, from the
        call,
            shapes differ.
    """

    shown = ("transforms", "p")

    def __init__(self, transforms: Sequence[Step], p: Sequence[float] | None = None) -> None:
        self.transforms = steps_of(self._name, transforms)
        if not self.transforms:
            raise ShapeError(f"{self._name}: transforms must be one or more, got none")
        shares = [1.0] * len(self.transforms)
        if p is not None:
            if not isinstance(p, (tuple, list)) or len(p) != len(self.transforms):
                raise ShapeError(f"{self._name}: p must have {len(self.transforms)} numbers")
            shares = [number(self._name, "p", v, 0.0) for v in p]
        if not sum(shares) > 0:
            raise ShapeError(f"{self._name}: p must have a number above 0, got {shares}")
        self.p = tuple(v / sum(shares) for v in shares)

    def __call__(self, images: Images, rng: np.random.Generator) -> Images:
        check_images(self._name, images, rng)
        bounds = np.cumsum(self.p)
        chosen = np.searchsorted(bounds[:-1], rng.random(len(images)), side="right")
        made: Images | None = None
        for which, step in enumerate(self.transforms):
            places = np.flatnonzero(chosen == which)
            if not len(places):
                continue
            part = Compose([step])(images[places], rng)
            if made is None:
                made = np.empty((len(images), *part.shape[1:]), part.dtype)
            require_same_shape(self._name, part, made.shape, made.dtype)
            made[places] = part
        if made is None:
            made = images.copy()
        return made


class RandomApply(Augmentation):
    """Augmentations, one after the other, for each image with probability `p`; the others stay as they are.

    Args:
        transforms: an augmentation or several; they must not change the images' size.
        p: the probability.

    Raises:
        ShapeError, DTypeError: p is no number in [0, 1], a transform cannot be called, or, from the call,
        changes
            the images' shape.
    """

    shown = ("transforms", "p")

    def __init__(self, transforms: Any, p: float = 0.5) -> None:
        self.transforms = steps_of(self._name, transforms)
        self.p = probability(self._name, p)

    def __call__(self, images: Images, rng: np.random.Generator) -> Images:
        check_images(self._name, images, rng)
        places = np.flatnonzero(rng.random(len(images)) < self.p)
        made: Images = images.copy()
        if len(places):
            part = Compose(self.transforms)(images[places], rng)
            require_same_shape(self._name, part, made.shape, made.dtype)
            made[places] = part
        return made
