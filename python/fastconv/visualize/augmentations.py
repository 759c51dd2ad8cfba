"""One image under every augmentation."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from .._arrays import NDArray
from ..errors import DTypeError, ShapeError
from ..nn._args import integer
from ..serialization import PathLike
from .style import INK, frame, new_figure, save_png

__all__ = ["augmentations_grid"]


def augmentations_grid(
    image: Any,
    path: PathLike | None = None,
    *,
    augmentations: Mapping[str, Any] | None = None,
    columns: int = 7,
    seed: int = 0,
) -> Any:
    """An image under several augmentations, labelled, in a grid.

    Args:
        image: uint8 (C, H, W) with 1 or 3 channels, (H, W) or (H, W, 3).
        path: a PNG file to write; None for none.
        augmentations: title -> augmentation of `fastconv.data.augment`, function of (images, rng), MixUp or
            CutMix, which mix the image with itself turned by half. By default all of the package, each strong
            enough to be seen.
        columns: pictures in a row.
        seed: what is drawn.

    Returns:
        The matplotlib figure.

    Raises:
        ShapeError, DTypeError: `image` is no such image; `augmentations` is no mapping; `columns` is below 1.
        ImportError: matplotlib is not installed. OSError: the file cannot be written.
    """
    who = "augmentations_grid"
    picture = _channels_first(who, image)
    columns = integer(who, "columns", columns, 1)
    if augmentations is None:
        augmentations = _every_one(*picture.shape)
    if not isinstance(augmentations, Mapping):
        raise DTypeError(f"{who}: augmentations is a {type(augmentations).__name__}, no mapping")
    shown = {"original": picture}
    for number, (title, step) in enumerate(augmentations.items()):
        rng = np.random.Generator(np.random.PCG64(np.random.SeedSequence([seed, number])))
        shown[title] = _made(step, picture, rng)
    figure = _drawn(shown, min(columns, len(shown)))
    if path is not None:
        save_png(figure, path)
    return figure


def _channels_first(who: str, image: Any) -> NDArray:
    array = np.asarray(image)
    if array.dtype != np.uint8:
        raise DTypeError(f"{who}: image is {array.dtype}, expected uint8")
    if array.ndim == 2:
        array = array[np.newaxis]
    elif array.ndim == 3 and array.shape[0] not in (1, 3) and array.shape[2] in (1, 3):
        array = array.transpose(2, 0, 1)
    if array.ndim != 3 or array.shape[0] not in (1, 3) or not array.size:
        raise ShapeError(f"{who}: image has shape {np.shape(image)}, expected (C, H, W), C 1 or 3")
    return np.ascontiguousarray(array)


def _made(step: Any, picture: NDArray, rng: np.random.Generator) -> NDArray:
    """The picture after a step."""
    from ..data.augment import CutMix, MixUp

    if not isinstance(step, (CutMix, MixUp)):
        made: NDArray = step(picture[np.newaxis], rng)[0]
        return made
    pair = np.stack([picture, picture[:, ::-1, ::-1]]).astype(np.float32)
    for _ in range(20):  # a batch of two may pair each with itself
        mixed, _labels = step(pair, np.zeros(2, np.int64), rng)
        if not np.array_equal(mixed, pair):
            break
    blended: NDArray = np.clip(np.rint(mixed[0]), 0, 255).astype(np.uint8)
    return blended


def _every_one(channels: int, height: int, width: int) -> dict[str, Any]:
    """Every augmentation of the package for images of a size, by the name of its class."""
    from ..data import augment as a

    edge = min(height, width)
    part, border, reach = max(1, edge * 5 // 8), max(1, edge // 6), min(15, (edge - 1) // 12)
    steps: list[Any] = [
        a.RandomHorizontalFlip(1.0),
        a.RandomVerticalFlip(1.0),
        a.RandomRotation((25, 25)),
        a.RandomShift(0.25, 0.25),
        a.RandomTranslation(border),
        a.RandomZoom((1.5, 1.5)),
        a.RandomShear((20, 20)),
        a.RandomAffine(30, (0.1, 0.1), (0.7, 1.0), 15),
        a.RandomCrop(part),
        a.CenterCrop(part),
        a.RandomResizedCrop((height, width), (0.2, 0.4)),
        a.Pad(border, fill_mode="reflect"),
        a.Brightness((0.6, 0.6)),
        a.Contrast((0.5, 0.5)),
    ]
    if channels == 3:
        steps += [a.Saturation((2.5, 2.5)), a.Hue((0.25, 0.25))]
        steps += [a.ColorJitter(0.4, 0.4, 0.4, 0.1)]
    steps += [
        a.ChannelShift((0.2, 0.3) if channels == 1 else 0.3),
        a.GaussianNoise(sigma=0.15),
        a.GaussianBlur(2 * reach + 1, max(0.5, reach / 2)),
        a.Cutout(max(1, part // 2), fill=127),
        a.MixUp(1, 20.0),
        a.CutMix(1, 4.0),
        a.RandAugment(2, 15),
        a.OneOf([a.RandomRotation((-40, -40)), a.GaussianNoise()]),
        a.RandomApply(a.RandomVerticalFlip(1.0), 1.0),
        a.Compose([a.RandomRotation((20, 20)), a.RandomHorizontalFlip(1.0), a.Brightness(0.4)]),
    ]
    return {type(step).__name__: step for step in steps}


def _drawn(shown: Mapping[str, NDArray], columns: int) -> Any:
    rows = -(-len(shown) // columns)
    figure = new_figure(1.75 * columns, 1.95 * rows)
    axes = figure.subplots(rows, columns, squeeze=False).ravel()
    for place in axes[len(shown) :]:
        place.set_axis_off()
    for place, (title, picture) in zip(axes, shown.items(), strict=False):
        pixels = picture[0] if len(picture) == 1 else picture.transpose(1, 2, 0)
        place.imshow(pixels, cmap="gray", vmin=0, vmax=255, interpolation="nearest")
        weight = "bold" if title == "original" else "normal"
        # Titles are words, not formulas.
        place.set_title(title, fontsize=8, color=INK, fontweight=weight, parse_math=False)
        frame(place)
    return figure
