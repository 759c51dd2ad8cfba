"""Colours, noise, blur, cutout, mixing, RandAugment, and augmentations put together."""

from __future__ import annotations

import pickle
from typing import Any

import numpy as np
import pytest

import fastconv as fc
from fastconv.data import Loader
from fastconv.data import augment as A
from fastconv.data.augment.policy import OPERATIONS
from tests.support import check_same_bits_for_threads, rng

STEPS = [
    A.Brightness(0.4),
    A.Contrast((0.5, 2)),
    A.Saturation(0.7),
    A.Hue(0.2),
    A.ColorJitter(0.3, 0.3, 0.3, 0.1),
    A.ChannelShift(0.2),
    A.GaussianNoise(sigma=(0.0, 0.2)),
    A.GaussianBlur(3),
    A.Cutout(3, number=2, fill=100),
    A.OneOf([A.Brightness(0.5), A.RandomRotation(20), A.GaussianNoise()], (1, 2, 1)),
    A.RandomApply([A.RandomRotation(90), A.GaussianBlur(3)], 0.6),
    A.Compose(
        [
            A.RandomRotation(20),
            A.Cutout(3),
            A.Brightness(0.2),
            A.GaussianBlur(3),
            A.RandomHorizontalFlip(),
            A.Contrast(0.3),
            A.ColorJitter(0.1, 0.1),
        ]
    ),
]


def batch(*shape: int, dtype: Any = np.uint8) -> Any:
    drawn = rng("batch", shape).integers(0, 256, shape, dtype=np.uint8)
    return drawn if dtype == np.uint8 else (drawn / 255).astype(np.float32)


def generator(seed: int = 0) -> np.random.Generator:
    return np.random.Generator(np.random.PCG64(seed))


@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("aug", STEPS, ids=lambda a: type(a).__name__)
def test_type_order_and_repeatability(aug: Any, channels: int, dtype: Any) -> None:
    x = batch(7, channels, 9, 11, dtype=dtype)
    before = x.copy()
    y = aug(x, generator(3))
    assert y.dtype == dtype and y.shape == x.shape
    assert y.flags.c_contiguous and y.flags.writeable and not np.shares_memory(x, y)
    np.testing.assert_array_equal(x, before)
    np.testing.assert_array_equal(aug(x, generator(3)), y)
    assert (y != x).any() or (channels == 1 and isinstance(aug, (A.Saturation, A.Hue)))
    assert aug(x[:0], generator(3)).shape == (0, *x.shape[1:])
    check_same_bits_for_threads(lambda: aug(x, generator(4)))
    assert repr(aug).startswith(type(aug).__name__ + "(")
    again = pickle.loads(pickle.dumps(aug))
    np.testing.assert_array_equal(again(x, generator(3)), y)


def fixed(cls: Any, factor: float) -> Any:
    return cls((factor, factor))


def by_pillow(x: Any, function: Any) -> Any:
    """Each image (3, H, W) through a function of Pillow images."""
    image = pytest.importorskip("PIL.Image")
    made = [function(image.fromarray(np.ascontiguousarray(i.transpose(1, 2, 0)))) for i in x]
    return np.stack([np.asarray(m).transpose(2, 0, 1) for m in made]).astype(int)


@pytest.mark.parametrize("factor", [0.0, 0.6, 1.0, 1.7])
@pytest.mark.parametrize(
    ("cls", "enhancer"),
    [(A.Brightness, "Brightness"), (A.Contrast, "Contrast"), (A.Saturation, "Color")],
)
def test_colors_as_pillow_has_them(cls: Any, enhancer: str, factor: float) -> None:
    enhance = pytest.importorskip("PIL.ImageEnhance")
    x = batch(5, 3, 8, 9)
    expected = by_pillow(x, lambda p: getattr(enhance, enhancer)(p).enhance(factor))
    aug = fixed(cls, factor)
    # Pillow cuts off, and rounds the grey that it blends with.
    assert np.abs(aug(x, generator()).astype(int) - expected).max() <= 2
    got = aug((x / 255).astype(np.float32), generator()) * 255
    assert np.abs(got - expected).max() <= 2


def test_factors_are_drawn_over_their_range() -> None:
    x = np.full((3000, 1, 1, 1), 0.5, np.float32)
    for aug, low, high in ((A.Brightness(0.4), 0.3, 0.7), (A.Brightness((0.2, 1.0)), 0.1, 0.5)):
        y = aug(x, generator())
        assert low <= y.min() < low + 0.01 and high - 0.01 < y.max() <= high
    assert A.Brightness(3).brightness == (0.0, 4.0)
    y = A.ChannelShift((-0.1, 0.3))(x.repeat(3, 1), generator())
    assert 0.4 <= y.min() < 0.41 and 0.79 < y.max() <= 0.8
    assert (y[:, 0] != y[:, 1]).mean() > 0.99


def test_hue_turns_about_grey() -> None:
    x = batch(4, 3, 6, 6, dtype=np.float32) * 0.3 + 0.35
    luma = np.array([0.299, 0.587, 0.114])
    for share in (0.1, -0.3, 0.5):
        y = A.Hue((share, share))(x, generator())
        grey = np.einsum("c,nchw->nhw", luma, x)
        np.testing.assert_allclose(np.einsum("c,nchw->nhw", luma, y), grey, atol=2e-4)
    once = A.Hue((0.5, 0.5))(x, generator())
    np.testing.assert_allclose(A.Hue((0.5, 0.5))(once, generator()), x, atol=1e-4)
    # A small turn of red goes to yellow, as it does in HSV.
    red = np.zeros((1, 3, 1, 1), np.float32)
    red[0, 0] = 0.6
    _, g, b = A.Hue((0.08, 0.08))(red, generator()).ravel()
    assert g > b and g > 0.02
    grey = batch(2, 1, 5, 5)
    np.testing.assert_array_equal(A.Hue(0.5)(grey, generator()), grey)


def test_jitter_takes_every_order() -> None:
    """Brightness and contrast do not commute: each image is one or the other, about as often."""
    x = batch(400, 3, 5, 5, dtype=np.float32)[:1].repeat(400, 0) * 0.3
    y = A.ColorJitter((1.5, 1.5), (0.5, 0.5), (2.0, 2.0))(x, generator())
    bright, contrast = A.Brightness((1.5, 1.5)), A.Contrast((0.5, 0.5))
    saturation = A.Saturation((2.0, 2.0))
    orders = [
        A.Compose([*first, saturation, *second])(x[:1], generator())
        for first, second in (
            ([bright], [contrast]),
            ([contrast], [bright]),
            ([bright, contrast], []),
            ([], [contrast, bright]),
        )
    ]
    found = [np.abs(y - made).max((1, 2, 3)) < 1e-5 for made in orders]
    assert np.any(found, 0).all()


def test_neighbouring_colors_are_clipped_once() -> None:
    x = batch(3, 3, 6, 6)
    together = A.Compose([fixed(A.Brightness, 2.0), fixed(A.Brightness, 0.5)])
    np.testing.assert_array_equal(together(x, generator()), x)
    two = A.Compose([fixed(A.Contrast, 2.0), fixed(A.Contrast, 0.5)])
    one_by_one = fixed(A.Contrast, 0.5)(fixed(A.Contrast, 2.0)(x, generator()), generator())
    np.testing.assert_array_equal(two(x, generator()), one_by_one)


def test_noise_per_image() -> None:
    x = np.full((200, 1, 30, 30), 0.5, np.float32)
    y = A.GaussianNoise(0.1, (0.0, 0.05))(x, generator())
    spread = y.std((1, 2, 3))
    assert spread.min() < 0.002 and 0.045 < spread.max() < 0.055
    assert abs(y.mean() - 0.6) < 1e-3
    assert len({image.tobytes() for image in y}) == 200
    wild = A.GaussianNoise(sigma=3.0, clip=False)(x, generator())
    assert wild.min() < -1 and wild.max() > 2
    tame = A.GaussianNoise(sigma=3.0)(x, generator())
    np.testing.assert_array_equal(tame, np.clip(wild, 0, 1))
    u = A.GaussianNoise(sigma=0.1)(np.full((4, 1, 90, 90), 128, np.uint8), generator())
    assert abs(u.std() - 25.5) < 0.5


def test_blur_is_a_gaussian() -> None:
    x = batch(3, 3, 12, 15, dtype=np.float32)
    y = A.GaussianBlur(7, 1.3)(x, generator())
    line = np.exp(-0.5 * (np.arange(-3, 4) / 1.3) ** 2)
    kernel = np.outer(line, line) / line.sum() ** 2
    padded = np.pad(x, ((0, 0), (0, 0), (3, 3), (3, 3)), mode="reflect")
    windows = np.lib.stride_tricks.sliding_window_view(padded, (7, 7), (2, 3))
    np.testing.assert_allclose(y, (windows * kernel).sum((-2, -1)), atol=1e-5)
    drawn = A.GaussianBlur(5, (0.05, 3.0))(x.repeat(100, 0), generator())
    assert drawn.std((1, 2, 3)).min() < 0.5 * drawn.std((1, 2, 3)).max()


def test_cutout_covers_squares_with_even_middles() -> None:
    x = np.full((5000, 1, 12, 12), 9, np.uint8)
    y = A.Cutout(4)(x, generator())
    area = (y == 0).sum((1, 2, 3))
    assert area.max() == 16 and area.min() == 4
    # Pixel (6, 6) is covered by 16 middles of 144.
    assert abs((y[:, 0, 6, 6] == 0).mean() - 16 / 144) < 0.022
    some = A.Cutout((2, 12), p=0.25, fill=50)(x, generator())
    assert abs((some == 50).any((1, 2, 3)).mean() - 0.25) < 0.03


def test_mixup() -> None:
    x, labels = batch(32, 2, 4, 4, dtype=np.float32), np.arange(32) % 5
    before = x.copy()
    mixed, soft = A.MixUp(5, 0.4)(x, labels, generator())
    np.testing.assert_array_equal(x, before)
    assert mixed.dtype == soft.dtype == np.float32 and soft.shape == (32, 5)
    np.testing.assert_allclose(soft.sum(1), 1, atol=1e-6)
    again = generator()
    share, partner = again.beta(0.4, 0.4), again.permutation(32)
    np.testing.assert_allclose(mixed, share * x + (1 - share) * x[partner], atol=1e-6)
    hot = np.eye(5)[labels]
    np.testing.assert_allclose(soft, share * hot + (1 - share) * hot[partner], atol=1e-6)
    _, twice = A.MixUp(5)(mixed, soft, generator(1))
    np.testing.assert_allclose(twice.sum(1), 1, atol=1e-6)


def test_cutmix() -> None:
    x = np.arange(16, dtype=np.float32)[:, None, None, None] * np.ones((1, 3, 10, 14), np.float32)
    shares = []
    for seed in range(200):
        mixed, soft = A.CutMix(16)(x, np.arange(16), generator(seed))
        replaced = mixed != x
        for own in range(16):
            partners = np.unique(mixed[own]).astype(int)
            assert len(partners) <= 2
            # Labels are in proportion to the areas, whatever the partner.
            weight = (mixed[own] == own).mean()
            assert abs(soft[own, own] - weight) < 1e-6 or len(partners) == 1
        rows, columns = replaced[:, 0].any((0, 2)), replaced[:, 0].any((0, 1))
        for covered in (rows, columns):
            assert (np.diff(np.flatnonzero(covered)) == 1).all()
        shares.append(replaced.any(0).mean())
    assert min(shares) < 0.05 and max(shares) > 0.6


def test_randaugment_draws_every_operation_evenly() -> None:
    image = (batch(1, 3, 16, 16) * 0.8 + 20).astype(np.uint8)
    x = image.repeat(7000, 0)
    y = A.RandAugment(1, 30)(x, generator())
    kinds, counts = np.unique(y.reshape(7000, -1), axis=0, return_counts=True)
    # Nine have two signs; identity, posterize, solarize, autocontrast and equalize have none.
    assert len(kinds) == 9 * 2 + 5
    expected = 7000 / len(OPERATIONS)
    for count in counts:
        assert min(abs(count - expected), abs(count - expected / 2)) < 5.5 * np.sqrt(expected)
    np.testing.assert_array_equal(A.RandAugment(0)(x[:5], generator()), x[:5])


def test_randaugment_operations_as_pillow_has_them() -> None:
    image, ops = pytest.importorskip("PIL.Image"), pytest.importorskip("PIL.ImageOps")
    enhance = pytest.importorskip("PIL.ImageEnhance")
    x = (batch(1, 3, 33, 33) * 0.8 + 20).astype(np.uint8)
    made = A.RandAugment(1, 16, "nearest")(x.repeat(2000, 0), generator())
    near = np.unique(made.reshape(2000, -1), axis=0).reshape(-1, 3, 33, 33).astype(int)

    def affine(*matrix: float) -> Any:
        return lambda p: p.transform(p.size, image.Transform.AFFINE, matrix)

    expected = [
        lambda p: p,
        *(lambda p, d=d: p.rotate(d) for d in (16, -16)),
        *(affine(1, s, -s * 16.5, 0, 1, 0) for s in (0.16, -0.16)),
        *(affine(1, 0, 0, s, 1, -s * 16.5) for s in (0.16, -0.16)),
        *(affine(1, 0, d, 0, 1, 0) for d in (7, -7)),
        *(affine(1, 0, 0, 0, 1, d) for d in (7, -7)),
        lambda p: ops.posterize(p, 6),
        lambda p: ops.solarize(p, 119),
        ops.autocontrast,
        ops.equalize,
        *(
            lambda p, name=name, f=f: getattr(enhance, name)(p).enhance(f)
            for name in ("Brightness", "Color", "Contrast", "Sharpness")
            for f in (0.52, 1.48)
        ),
    ]
    assert len(expected) == 2 * 9 + 5 == len(near)
    taken = set()
    for i, function in enumerate(expected):
        # Nearest pixels of turned images may fall to the other side in a few places.
        share = (np.abs(near - by_pillow(x, function)) > 2).mean((1, 2, 3))
        assert share.min() < 0.03, (i, share.min())
        taken.add(int(share.argmin()))
    assert len(taken) == len(expected)


def test_one_of_takes_each_as_often_as_told() -> None:
    x = np.full((6000, 1, 1, 1), 100, np.uint8)
    choices = [fixed(A.Brightness, f) for f in (0.5, 1.5, 2.0)]
    y = A.OneOf(choices, (1, 2, 3))(x, generator()).ravel()
    shares = [(y == v).mean() for v in (50, 150, 200)]
    np.testing.assert_allclose(shares, [1 / 6, 1 / 3, 1 / 2], atol=0.035)
    y = A.RandomApply(choices[0], 0.3)(x, generator()).ravel()
    assert set(y) == {50, 100} and abs((y == 50).mean() - 0.3) < 0.035
    y = A.OneOf([A.RandomCrop(1), lambda images, rng: images[:, :, :1, :1]])(x, generator())
    np.testing.assert_array_equal(y, x)


def test_compose_takes_functions_and_itself() -> None:
    x = batch(3, 1, 5, 5)
    half = A.Compose([lambda images, rng: images // 2, A.RandomHorizontalFlip(1.0)])
    y = A.Compose([half, half, A.Compose([])])(x, generator())
    np.testing.assert_array_equal(y, x // 4)
    unchanged = A.Compose([])(x, generator())
    assert unchanged is not x
    np.testing.assert_array_equal(unchanged, x)


def loaded(workers: int, worker: str, start: int = 0, prefetch: int = 2) -> list[Any]:
    images = rng("loader").integers(0, 256, (90, 3, 12, 12), dtype=np.uint8)
    aug = A.Compose([A.RandomRotation(20), A.ColorJitter(0.2, 0.2), A.Cutout(4), A.GaussianNoise()])
    loader = Loader(
        (images, np.arange(90) % 4),
        16,
        shuffle=True,
        seed=5,
        augment=aug,
        mix=A.CutMix(4),
        workers=workers,
        worker=worker,
        prefetch=prefetch,
    )
    loader.set_epoch(2, start)
    return [(x.tobytes(), y.tobytes()) for x, y in loader]


def test_a_resumed_epoch_has_the_same_bits_with_and_without_workers() -> None:
    whole = loaded(0, "thread", prefetch=0)
    assert len(set(whole)) == 6
    assert loaded(2, "thread") == whole
    assert loaded(0, "thread", start=3) == whole[3:]
    assert loaded(2, "process", start=4) == whole[4:]


X = batch(4, 3, 6, 6)
F32 = X.astype(np.float32)
GREY4 = batch(2, 4, 5, 5)


@pytest.mark.parametrize(
    ("call", "error", "text"),
    [
        (lambda: A.Brightness(-0.1), fc.ShapeError, "Brightness: brightness must lie between"),
        (lambda: A.Contrast((2, 1)), fc.ShapeError, r"Contrast: contrast must be \(least, most\)"),
        (lambda: A.Saturation("a lot"), fc.DTypeError, "Saturation: saturation must be a number"),
        (lambda: A.Saturation(0.5)(GREY4, generator()), fc.ShapeError, "must have 1 or 3 channels"),
        (lambda: A.Hue(0.6), fc.ShapeError, "Hue: hue must lie between"),
        (lambda: A.ColorJitter(hue=(0, 1)), fc.ShapeError, "ColorJitter: hue must lie between"),
        (lambda: A.ColorJitter(hue=0.1)(GREY4, generator()), fc.ShapeError, "1 or 3 channels"),
        (lambda: A.ChannelShift(2), fc.ShapeError, "ChannelShift: shift must lie between"),
        (lambda: A.GaussianNoise(sigma=-1), fc.ShapeError, "GaussianNoise: sigma must be finite"),
        (lambda: A.GaussianNoise(clip=0), fc.DTypeError, "clip must be True or False"),
        (lambda: A.GaussianBlur(4), fc.ShapeError, "kernel_size must be odd and at most 1023"),
        (lambda: A.GaussianBlur(3, 0.0), fc.ShapeError, "GaussianBlur: sigma must be finite"),
        (lambda: A.GaussianBlur(13)(X, generator()), fc.ShapeError, "too small for a kernel of 13"),
        (lambda: A.Cutout(0), fc.ShapeError, "Cutout: size must be at least 1"),
        (lambda: A.Cutout(3, p=2), fc.ShapeError, "Cutout: p must lie between"),
        (lambda: A.MixUp(0), fc.ShapeError, "MixUp: num_classes must be at least 1"),
        (lambda: A.CutMix(3, 0), fc.ShapeError, "CutMix: alpha must be"),
        (lambda: A.MixUp(3)(X, [0] * 4, generator()), fc.DTypeError, "must be a float32 array"),
        (lambda: A.MixUp(3)(F32, [0, 1, 2, 3], generator()), fc.ShapeError, "labels span 0 to 3"),
        (lambda: A.MixUp(3)(F32, [0, 1], generator()), fc.ShapeError, r"labels must be \(4,\)"),
        (lambda: A.MixUp(3)(F32, np.ones((4, 2)), generator()), fc.ShapeError, r"be \(4, 3\)"),
        (lambda: A.MixUp(3)(F32, ["a"] * 4, generator()), fc.DTypeError, "labels must be integers"),
        (lambda: A.MixUp(3)(F32, [0] * 4, None), fc.DTypeError, "must be a numpy.random.Generator"),
        (lambda: A.RandAugment(-1), fc.ShapeError, "RandAugment: n must be at least 0"),
        (lambda: A.RandAugment(2, 31), fc.ShapeError, "RandAugment: magnitude must lie"),
        (lambda: A.RandAugment()(F32, generator()), fc.DTypeError, "images must be uint8, got f"),
        (lambda: A.Compose([3]), fc.DTypeError, "Compose: transforms must be called with"),
        (lambda: A.Compose([lambda i, r: i * 1.0])(X, generator()), fc.DTypeError, "float64"),
        (lambda: A.Compose([lambda i, r: i[:2]])(X, generator()), fc.ShapeError, "2 images for 4"),
        (lambda: A.OneOf([]), fc.ShapeError, "OneOf: transforms must be one or more"),
        (lambda: A.OneOf([A.Cutout(2)], (0,)), fc.ShapeError, "p must have a number above 0"),
        (lambda: A.OneOf([A.Cutout(2)], (1, 2)), fc.ShapeError, "p must have 1 numbers"),
        (
            lambda: A.OneOf([A.CenterCrop(2), A.CenterCrop(3)])(X, generator()),
            fc.ShapeError,
            "OneOf: every choice must give images of the same shape",
        ),
        (
            lambda: A.RandomApply(A.CenterCrop(2), 1.0)(X, generator()),
            fc.ShapeError,
            "RandomApply: every choice must give",
        ),
    ],
)
def test_bad_arguments(call: Any, error: type[Exception], text: str) -> None:
    with pytest.raises(error, match=text):
        call()
