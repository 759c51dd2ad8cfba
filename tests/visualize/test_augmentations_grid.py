"""The grid of an image under every augmentation."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import fastconv as fc
from fastconv.data import augment
from fastconv.visualize import augmentations_grid
from tests.support import rng

pytest.importorskip("matplotlib")


def picture(*shape: int) -> Any:
    return rng("picture", shape).integers(0, 256, shape, dtype=np.uint8)


def titles(figure: Any) -> list[str]:
    return [axes.get_title() for axes in figure.axes if axes.get_title()]


def test_every_augmentation_is_shown() -> None:
    image = picture(3, 24, 24)
    figure = augmentations_grid(image)
    every = {name for name in augment.__all__ if name not in ("ImageDataGenerator", "warp_affine")}
    assert titles(figure)[0] == "original" and set(titles(figure)[1:]) == every
    shown = {axes.get_title(): axes.images[0].get_array() for axes in figure.axes if axes.images}
    np.testing.assert_array_equal(shown["original"], image.transpose(1, 2, 0))
    np.testing.assert_array_equal(shown["RandomHorizontalFlip"], image.transpose(1, 2, 0)[:, ::-1])
    unchanged = [
        title
        for title, pixels in shown.items()
        if title not in ("original", "RandAugment")
        and pixels.shape == (24, 24, 3)
        and np.array_equal(pixels, shown["original"])
    ]
    assert unchanged == []


@pytest.mark.parametrize("shape", [(28, 28), (1, 28, 28), (30, 20, 3), (1, 1), (3, 2, 5)])
def test_shapes(shape: tuple[int, ...]) -> None:
    assert len(titles(augmentations_grid(picture(*shape)))) > 20


def test_file_and_own_steps(tmp_path: Path) -> None:
    path = tmp_path / "grid.png"
    steps = {"$dark_": augment.Brightness((0.1, 0.1)), "own": lambda images, rng: images // 2}
    figure = augmentations_grid(picture(3, 9, 9), path, augmentations=steps, columns=2)
    assert titles(figure) == ["original", "$dark_", "own"] and len(figure.axes) == 4
    assert path.read_bytes().startswith(b"\x89PNG")
    first = path.read_bytes()
    augmentations_grid(picture(3, 9, 9), path, augmentations=steps, columns=2)
    assert path.read_bytes() == first


@pytest.mark.parametrize(
    ("call", "error", "text"),
    [
        (lambda: augmentations_grid(np.zeros((3, 4, 4))), fc.DTypeError, "expected uint8"),
        (lambda: augmentations_grid(picture(2, 4, 4)), fc.ShapeError, "C 1 or 3"),
        (lambda: augmentations_grid(picture(3, 4, 4), columns=0), fc.ShapeError, "columns must be"),
        (lambda: augmentations_grid(picture(4, 4), augmentations=[1]), fc.DTypeError, "no mapping"),
    ],
)
def test_bad_arguments(call: Any, error: type[Exception], text: str) -> None:
    with pytest.raises(error, match=text):
        call()
