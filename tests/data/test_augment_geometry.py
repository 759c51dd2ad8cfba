"""Flips, rotation, shift, zoom, shear, crops: what each does to an image, and several in one map."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import fastconv as fc
from fastconv.data import augment as A
from tests.support import check_same_bits_for_threads, rng

MOVING = [
    A.RandomHorizontalFlip(),
    A.RandomVerticalFlip(0.3),
    A.RandomRotation(30),
    A.RandomRotation((10, 20), "nearest", "reflect"),
    A.RandomShift(0.2, 0.1),
    A.RandomTranslation((2, 3)),
    A.RandomZoom((0.7, 1.4), same=False),
    A.RandomShear(20, 10),
    A.RandomAffine(20, (0.1, 0.2), (0.8, 1.2), 10),
    A.RandomCrop((6, 7)),
    A.RandomCrop(9, padding=(1, 2), fill_mode="reflect"),
    A.CenterCrop((6, 5)),
    A.CenterCrop(15),
    A.RandomResizedCrop(12),
    A.Pad((1, 2, 3, 0), fill=9),
]


def batch(*shape: int, dtype: Any = np.uint8) -> Any:
    drawn = rng("batch", shape).integers(0, 256, shape, dtype=np.uint8)
    return drawn if dtype == np.uint8 else (drawn / 255).astype(np.float32)


def generator(seed: int = 0) -> np.random.Generator:
    return np.random.Generator(np.random.PCG64(seed))


@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("aug", MOVING, ids=repr)
def test_type_order_and_repeatability(aug: Any, channels: int, dtype: Any) -> None:
    x = batch(5, channels, 10, 11, dtype=dtype)
    before = x.copy()
    y = aug(x, generator(3))
    assert y.dtype == dtype and y.ndim == 4 and y.shape[:2] == (5, channels)
    assert y.flags.c_contiguous and y.flags.writeable and not np.shares_memory(x, y)
    np.testing.assert_array_equal(x, before)
    np.testing.assert_array_equal(aug(x, generator(3)), y)
    np.testing.assert_array_equal(aug(np.asfortranarray(x), generator(3)), y)
    assert aug(x[:0], generator(3)).shape == (0, *y.shape[1:])
    check_same_bits_for_threads(lambda: aug(x, generator(4)))
    assert repr(aug).startswith(type(aug).__name__ + "(")


def test_flips_happen_as_often_as_told() -> None:
    x = batch(4000, 1, 1, 4)
    for cls, axis in ((A.RandomHorizontalFlip, -1), (A.RandomVerticalFlip, -2)):
        z = x if axis == -1 else x.transpose(0, 1, 3, 2)
        for p in (0.0, 0.25, 1.0):
            y = cls(p)(z, generator())
            flipped = (y == np.flip(z, axis)).all((1, 2, 3))
            kept = (y == z).all((1, 2, 3))
            assert (flipped | kept).all()
            assert abs((flipped & ~kept).mean() - p) < (0.04 if 0 < p < 1 else 1e-3)


def test_rotation_is_counter_clockwise_and_about_the_centre() -> None:
    x = batch(1, 3, 8, 8)
    for degrees, turns in ((90, 1), (180, 2), (-90, 3), (360, 0)):
        y = A.RandomRotation((degrees, degrees))(x, generator())
        np.testing.assert_array_equal(y, np.rot90(x, turns, (2, 3)))


def test_rotation_as_pillow_has_it() -> None:
    image = pytest.importorskip("PIL.Image")
    smooth = np.add.outer(np.linspace(0, 120, 40), np.linspace(0, 100, 40)).astype(np.uint8)
    for degrees in (-35.0, 10.0, 70.0):
        y = A.RandomRotation((degrees, degrees))(smooth[None, None], generator())[0, 0]
        pillow = image.fromarray(smooth).rotate(degrees, resample=image.Resampling.BILINEAR)
        off = np.abs(y[5:-5, 5:-5].astype(int) - np.asarray(pillow)[5:-5, 5:-5])
        # Pillow leaves a darker line along the turned image's edge.
        assert np.quantile(off, 0.93) <= 1


def test_shift_and_translation_move_right_and_down() -> None:
    x = batch(300, 1, 10, 20)
    y = A.RandomTranslation((1, 2), fill=7)(x, generator())
    seen = set()
    for a, b in zip(x[:, 0], y[:, 0], strict=True):
        for dy in (-1, 0, 1):
            for dx in (-2, -1, 0, 1, 2):
                moved = np.full_like(a, 7)
                rows = slice(max(dy, 0), 10 + min(dy, 0)), slice(max(-dy, 0), 10 + min(-dy, 0))
                columns = slice(max(dx, 0), 20 + min(dx, 0)), slice(max(-dx, 0), 20 + min(-dx, 0))
                moved[rows[0], columns[0]] = a[rows[1], columns[1]]
                if (moved == b).all():
                    seen.add((dy, dx))
                    break
            else:
                continue
            break
        else:
            raise AssertionError("moved by something else")
    assert len(seen) == 15
    step = A.RandomShift(0.5, 0.25)
    drawn = step._draw(step_shape(x), generator())
    dx, dy = -drawn.matrices[:, 0, 2], -drawn.matrices[:, 1, 2]
    assert 9 < dx.max() <= 10 and -10 <= dx.min() < -9
    assert 2.3 < dy.max() <= 2.5 and -2.5 <= dy.min() < -2.3


def step_shape(x: Any) -> Any:
    from fastconv.data.augment.batch import BatchShape

    return BatchShape.of(x)


def test_zoom_and_shear_about_the_centre() -> None:
    x = np.zeros((1, 1, 9, 9), np.uint8)
    x[0, 0, 3:6, 3:6] = 200
    y = A.RandomZoom((2, 2))(x, generator())
    assert y[0, 0, 4, 4] == 200 and (y > 100).sum() > 2.5 * (x > 100).sum()
    np.testing.assert_array_equal(y, y[:, :, ::-1, ::-1])
    assert (A.RandomZoom((0.5, 0.5))(x, generator()) > 100).sum() < 4
    column = np.zeros((1, 1, 9, 9), np.uint8)
    column[..., 4] = 255
    y = A.RandomShear((45, 45))(column, generator())[0, 0]
    # Rows move right as y grows: the upright line becomes a diagonal.
    np.testing.assert_array_equal(y > 128, np.eye(9, dtype=bool))
    row = column.transpose(0, 1, 3, 2)
    sheared = A.RandomShear((0, 0), (44, 44))(row, generator())[0, 0]
    assert (sheared.argmax(0)[[0, 4, 8]] == [0, 4, 8]).all()


def test_affine_is_its_parts() -> None:
    x = batch(50, 2, 12, 14)
    whole = A.RandomAffine((20, 20), None, (1.3, 1.3), (10, 10))
    parts = A.Compose(
        [A.RandomShear((10, 10)), A.RandomZoom((1.3, 1.3)), A.RandomRotation((20, 20))]
    )
    off = np.abs(whole(x, generator()).astype(int) - parts(x, generator()))
    assert off.max() <= 1
    moved = A.RandomAffine(0, (0.5, 0.0))._draw(step_shape(x), generator()).matrices
    assert np.abs(moved[:, 0, 2]).max() > 5 and (moved[:, 1, 2] == 0).all()


def test_crops_are_parts_at_even_places() -> None:
    x = np.arange(12 * 13, dtype=np.float32).reshape(1, 1, 12, 13).repeat(4000, 0)
    y = A.RandomCrop((10, 9))(x, generator())
    top, left = np.divmod(y[:, 0, 0, 0].astype(int), 13)
    for k in (0, 77):
        part = x[k, 0, top[k] : top[k] + 10, left[k] : left[k] + 9]
        np.testing.assert_array_equal(y[k, 0], part)
    counts = np.bincount(top * 5 + left, minlength=15)
    assert len(counts) == 15 and np.abs(counts - 4000 / 15).max() < 90  # 5.5 sigma
    np.testing.assert_array_equal(A.CenterCrop(8)(x[:1], generator()), x[:1, :, 2:10, 2:10])
    border = A.CenterCrop((16, 13))(x[:1], generator())
    np.testing.assert_array_equal(border, np.pad(x[:1], ((0, 0), (0, 0), (2, 2), (0, 0))))
    y = A.RandomCrop(20, pad_if_needed=True)(x[:3], generator())
    assert y.shape == (3, 1, 20, 20) and (np.sort(np.unique(y)) == np.unique(x)).all()


@pytest.mark.parametrize(
    ("mode", "numpy_mode"), [("reflect", "symmetric"), ("nearest", "edge"), ("area", "constant")]
)
def test_borders(mode: str, numpy_mode: str) -> None:
    x = batch(2, 3, 5, 6)
    y = A.Pad((1, 2, 3, 4), fill_mode=mode)(x, generator())
    sides = ((0, 0), (0, 0), (2, 4), (1, 3))
    np.testing.assert_array_equal(y, np.pad(x, sides, mode=numpy_mode))
    colors = A.Pad(1, fill=(1.0, 20, 255))(x, generator())
    assert (colors[:, :, 0] == np.array([1, 20, 255])[None, :, None]).all()


def test_resized_crops_have_the_area_and_ratio_asked_for() -> None:
    x = batch(2000, 1, 40, 50)
    aug = A.RandomResizedCrop((20, 30), (0.1, 0.5), (0.5, 2.0))
    m = aug._draw(step_shape(x), generator()).matrices
    width, height = m[:, 0, 0] * 30, m[:, 1, 1] * 20
    left, top = m[:, 0, 2] + 0.5 - m[:, 0, 0] / 2, m[:, 1, 2] + 0.5 - m[:, 1, 1] / 2
    for v in (width, height, left, top):
        np.testing.assert_allclose(v, np.rint(v), atol=1e-9)
    assert (left > -1e-9).all() and (left + width < 50 + 1e-9).all()
    assert (top > -1e-9).all() and (top + height < 40 + 1e-9).all()
    share = width * height / 2000
    assert 0.08 < share.min() < 0.12 and 0.45 < share.max() < 0.53
    assert np.abs(np.log(width / height)).max() < np.log(2.0) + 0.1
    whole = A.RandomResizedCrop((40, 50), (1.0, 1.0), (1.25, 1.25))
    np.testing.assert_array_equal(whole(x[:9], generator()), x[:9])
    # No such part: the middle one with the nearest ratio.
    tall = A.RandomResizedCrop((40, 20), (1.0, 1.0), (0.5, 0.5))
    np.testing.assert_array_equal(tall(x[:9], generator()), x[:9, :, :, 15:35])


def test_a_resized_crop_is_bilinear_between_pixel_centres() -> None:
    functional = pytest.importorskip("torch.nn.functional")
    torch = pytest.importorskip("torch")
    x = batch(3, 2, 7, 9, dtype=np.float32)
    y = A.RandomResizedCrop((21, 30), (1.0, 1.0), (9 / 7, 9 / 7))(x, generator())
    expected = functional.interpolate(torch.tensor(x), (21, 30), mode="bilinear").numpy()
    np.testing.assert_allclose(y, expected, atol=4e-4)


def test_neighbours_are_one_interpolation() -> None:
    """Compose against the product of the steps' matrices, drawn in the same order."""
    x = batch(6, 3, 20, 24)
    steps = [
        A.RandomRotation(25),
        A.RandomHorizontalFlip(),
        A.RandomZoom((0.8, 1.2)),
        A.RandomCrop((16, 18)),
        A.RandomShear(15),
        A.RandomShift(0.2, 0.2),
        A.Pad(2),
    ]
    y = A.Compose(steps)(x, generator(7))
    again, shape = generator(7), step_shape(x)
    product = np.tile(np.eye(3), (6, 1, 1))
    for step in steps:
        drawn = step._draw(shape, again)
        product = product @ drawn.matrices
        shape = shape._replace(height=drawn.size[0], width=drawn.size[1])
    expected = A.warp_affine(x, product[:, :2], shape[2:4])
    np.testing.assert_array_equal(y, expected)
    assert y.shape == (6, 3, 20, 22)


def test_what_differs_outside_is_not_joined() -> None:
    x = batch(4, 1, 9, 9)
    first, second = A.RandomRotation((45, 45), fill=9), A.RandomShift(0.3, 0.3, fill=200)
    random = generator(1)
    one_by_one = second(first(x, random), random)
    np.testing.assert_array_equal(A.Compose([first, second])(x, generator(1)), one_by_one)
    flip = A.RandomHorizontalFlip(1.0)
    joined = A.Compose([flip, A.RandomRotation((90, 90), "nearest", "wrap"), flip])
    np.testing.assert_array_equal(
        joined(x, generator()), np.rot90(x[..., ::-1], 1, (2, 3))[..., ::-1]
    )


def test_out_and_back_in_again() -> None:
    """What one step pushes out of the frame the next may bring back."""
    x = batch(1, 1, 8, 8)

    class Right(A.RandomTranslation):
        def __init__(self, by: int) -> None:
            super().__init__(9)
            self.by = by

        def _draw(self, shape: Any, random: Any) -> Any:
            drawn = super()._draw(shape, random)
            drawn.matrices[:] = np.eye(3)
            drawn.matrices[:, 0, 2] = -self.by
            return drawn

    np.testing.assert_array_equal(A.Compose([Right(5), Right(-5)])(x, generator()), x)
    assert (Right(-5)(Right(5)(x, generator()), generator()) != x).any()


def test_warp_affine_function() -> None:
    x = batch(2, 1, 4, 6)
    m = np.tile(np.array([[1, 0, 0], [0, 1, 0]]), (2, 1, 1))
    np.testing.assert_array_equal(A.warp_affine(x, m), x)
    assert A.warp_affine(x, m.tolist(), 3).shape == (2, 1, 3, 3)


X = batch(2, 3, 6, 6)


@pytest.mark.parametrize(
    ("call", "error", "text"),
    [
        (lambda: A.RandomHorizontalFlip(1.5), fc.ShapeError, "RandomHorizontalFlip: p must lie"),
        (lambda: A.RandomVerticalFlip("x"), fc.DTypeError, "RandomVerticalFlip: p must be a num"),
        (lambda: A.RandomRotation(-3), fc.ShapeError, "RandomRotation: degrees must lie"),
        (lambda: A.RandomRotation((5, 1)), fc.ShapeError, r"degrees must be \(least, most\)"),
        (lambda: A.RandomRotation((1, 2, 3)), fc.ShapeError, "got 3 values"),
        (lambda: A.RandomRotation(5, "cubic"), fc.ShapeError, "interpolation must be one of"),
        (lambda: A.RandomRotation(5, fill_mode="edge"), fc.ShapeError, "fill_mode must be one of"),
        (lambda: A.RandomRotation(5, fill=()), fc.ShapeError, "fill must be a number or one a"),
        (lambda: A.RandomRotation(5, fill="0"), fc.DTypeError, "fill must be a number"),
        (lambda: A.RandomRotation(5, fill=(1, 2))(X, generator()), fc.ShapeError, "fill has 2"),
        (lambda: A.RandomShift(1.5, 0), fc.ShapeError, "RandomShift: width must lie between"),
        (lambda: A.RandomTranslation(-1), fc.ShapeError, "RandomTranslation: pixels must be at"),
        (lambda: A.RandomTranslation(0.5), fc.DTypeError, "pixels must be an integer"),
        (lambda: A.RandomZoom(0.5), fc.DTypeError, "RandomZoom: scale must be a pair"),
        (lambda: A.RandomZoom((0, 1)), fc.ShapeError, "RandomZoom: scale must lie"),
        (lambda: A.RandomZoom((1, 2), same=1), fc.DTypeError, "same must be True or False"),
        (lambda: A.RandomShear(90), fc.ShapeError, "RandomShear: degrees must lie"),
        (lambda: A.RandomShear(60, 5), fc.ShapeError, "with degrees_y, degrees must lie within"),
        (lambda: A.RandomAffine(5, 0.2), fc.ShapeError, "translate must be a pair"),
        (lambda: A.RandomAffine(5, scale=2), fc.DTypeError, "RandomAffine: scale must be a pair"),
        (lambda: A.Pad((1, 2, 3)), fc.ShapeError, "Pad: padding must be an integer"),
        (lambda: A.Pad(-1), fc.ShapeError, "Pad: padding must be at least 0"),
        (lambda: A.RandomCrop(0), fc.ShapeError, "RandomCrop: size must be at least 1"),
        (lambda: A.RandomCrop(9)(X, generator()), fc.ShapeError, "smaller than the crop of 9x9"),
        (lambda: A.CenterCrop((1, 2, 3)), fc.ShapeError, "CenterCrop: size must be an integer"),
        (lambda: A.RandomResizedCrop(5, (0, 1)), fc.ShapeError, "scale must lie between"),
        (lambda: A.RandomRotation(5)(X[0], generator()), fc.ShapeError, r"must be \(n, C, H, W\)"),
        (lambda: A.RandomRotation(5)(X * 1.0, generator()), fc.DTypeError, "uint8 or float32"),
        (
            lambda: A.RandomRotation(5)([1], generator()),
            fc.DTypeError,
            "must be an array, got list",
        ),
        (lambda: A.RandomRotation(5)(X, 3), fc.DTypeError, "rng must be a numpy.random.Generator"),
        (lambda: A.warp_affine(X, np.zeros((2, 3, 3))), fc.ShapeError, r"must be \(2, 2, 3\)"),
        (lambda: A.warp_affine(X, np.full((2, 2, 3), "a")), fc.DTypeError, "must be numbers"),
        (lambda: A.warp_affine(X, np.full((2, 2, 3), np.nan)), fc.ShapeError, "must be finite"),
    ],
)
def test_bad_arguments(call: Any, error: type[Exception], text: str) -> None:
    with pytest.raises(error, match=text):
        call()
