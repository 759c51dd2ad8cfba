"""Steps that only draw parameters, which a plan joins with those of their neighbours."""

from __future__ import annotations

from typing import Any

import numpy as np

from ...errors import DTypeError, ShapeError
from .batch import Augmentation, BatchShape, Images, check_images
from .plan import Drawn, Plan

__all__ = ["DrawnStep", "add_step"]


class DrawnStep(Augmentation):
    """An augmentation that is known from its parameters: `_draw` says what is done to each image of a batch."""

    def _draw(self, shape: BatchShape, rng: np.random.Generator) -> Drawn | None:
        """Parameters for a batch of `shape`; None to leave all images as they are."""
        raise NotImplementedError

    def __call__(self, images: Images, rng: np.random.Generator) -> Images:
        plan = Plan(self._name, check_images(self._name, images, rng))
        plan.add(self._draw(plan.shape, rng))
        return plan.images()


def add_step(plan: Plan, step: Any, rng: np.random.Generator) -> None:
    """The next step of a plan, an augmentation of any kind."""
    if isinstance(step, DrawnStep):
        plan.add(step._draw(plan.shape, rng))
    else:
        before = plan.images()
        made = check_images(plan.owner, step(before, rng), rng)
        if len(made) != len(before):
            raise ShapeError(
                f"{plan.owner}: {step!r} returned {len(made)} images for {len(before)}"
            )
        if made.dtype != before.dtype:
            raise DTypeError(f"{plan.owner}: {step!r} made {made.dtype} of {before.dtype} images")
        plan.replace(made)
