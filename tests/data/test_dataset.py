from __future__ import annotations

import numpy as np
import pytest

from fastconv.data import ArrayDataset, Resize, Standardize
from fastconv.errors import DTypeError, ShapeError

X = np.arange(6 * 4 * 5, dtype=np.uint8).reshape(6, 4, 5)
Y = np.array([0, 1, 2, 0, 1, 2], np.uint8)


def test_dataset_keeps_images_and_widens_labels() -> None:
    data = ArrayDataset(X, Y, ("a", "b", "c"), mean=(0.5,), std=(0.25,))
    assert data.images is X and data.labels.dtype == np.int64 and len(data) == 6
    assert data.image_shape == (1, 4, 5) and data.classes == ("a", "b", "c")
    assert ArrayDataset(np.zeros((2, 3, 4, 5), np.float32), [0, 1]).image_shape == (3, 4, 5)
    part = data.subset(slice(2, 4))
    assert np.shares_memory(part.images, X) and part.labels.tolist() == [2, 0]
    assert part.mean == (0.5,) and part.classes == data.classes
    assert data.subset([5, 0]).labels.tolist() == [2, 0]
    assert len(ArrayDataset(X[:0], Y[:0], ("a",))) == 0
    assert "uint8[6, 4, 5]" in repr(data)


def test_big_endian_and_strided_images() -> None:
    data = ArrayDataset(X.astype(">f4"), Y.astype(">i4"))
    assert data.images.dtype == np.float32 and data.images.dtype.isnative
    np.testing.assert_array_equal(data.images, X)
    assert data.labels.tolist() == Y.tolist()
    backwards = ArrayDataset(X[::-1, :, ::-1], Y)
    np.testing.assert_allclose(backwards.standardize()(backwards.images)[0, 0], X[5, :, ::-1] / 255)


@pytest.mark.parametrize(
    ("images", "labels", "options", "error", "message"),
    [
        (X.astype(np.float64), Y, {}, DTypeError, "images are float64, expected uint8 or float32"),
        (X[0], Y, {}, ShapeError, r"shape \(4, 5\), expected \(N, H, W\)"),
        (X[:, :0], Y, {}, ShapeError, "at least 1"),
        (X, Y[:5], {}, ShapeError, r"labels have shape \(5,\), expected \(6,\) for 6 images"),
        (X, Y[:, None], {}, ShapeError, r"labels have shape \(6, 1\)"),
        (X, Y.astype(float), {}, DTypeError, "labels are float64, expected integers"),
        (X, Y > 0, {}, DTypeError, "labels are bool"),
        (X, Y, {"classes": ("a", "b")}, ShapeError, "labels span 0 to 2, expected 0 to 1"),
        (X, Y.astype(int) - 1, {"classes": ("a", "b")}, ShapeError, "labels span -1 to 1"),
        (X, Y, {"mean": (0, 0), "std": (1, 1)}, ShapeError, "2 values, expected 1 or 1"),
        (X, Y, {"std": (0.0,)}, ShapeError, "std is .*expected finite values above 0"),
    ],
)
def test_bad_datasets(images, labels, options, error, message) -> None:
    with pytest.raises(error, match=message):
        ArrayDataset(images, labels, **options)


def test_standardize_matches_float64() -> None:
    rng = np.random.default_rng(0)
    for shape, mean, std in (
        ((7, 5, 6), (0.286,), (0.353,)),
        ((7, 1, 5, 6), (0.286,), (0.353,)),
        ((7, 3, 5, 6), (0.4, 0.5, 0.6), (0.2, 0.3, 0.1)),
        ((7, 3, 5, 6), (0.4,), (0.2,)),
    ):
        x = rng.integers(0, 256, shape, dtype=np.uint8)
        nchw = x.reshape(7, -1, 5, 6)
        expected = (nchw / 255 - np.reshape(mean, (-1, 1, 1))) / np.reshape(std, (-1, 1, 1))
        got = Standardize(mean, std)(x)
        assert got.dtype == np.float32 and got.flags.c_contiguous and got.shape == nchw.shape
        np.testing.assert_allclose(got, expected, atol=1e-5)
        scaled = Standardize(mean, std)((x / 255).astype(np.float32))
        np.testing.assert_allclose(scaled, expected, atol=1e-5)


def test_standardize_never_aliases() -> None:
    x = np.ones((2, 1, 3, 3), np.float32)
    out = Standardize()(x)
    np.testing.assert_array_equal(out, x)
    assert not np.shares_memory(out, x)


@pytest.mark.parametrize(
    ("mean", "std"),
    [((), ()), ((0.1,), (1, 1)), ((np.nan,), (1,)), ((0,), (-1,)), ((0,), (np.inf,))],
)
def test_bad_statistics(mean, std) -> None:
    with pytest.raises(ShapeError, match="Standardize: "):
        Standardize(mean, std)


def test_standardize_refuses_other_arrays() -> None:
    with pytest.raises(DTypeError, match="int64"):
        Standardize()(np.zeros((2, 3, 3), np.int64))
    with pytest.raises(ShapeError, match="with 3 channels"):
        Standardize((0, 0, 0), (1, 1, 1))(np.zeros((2, 2, 3, 3), np.uint8))
    with pytest.raises(ShapeError):
        Standardize()(np.zeros((3, 3), np.uint8))


@pytest.mark.parametrize("size", [(9, 7), (28, 40), (3, 28), (1, 1), (63, 5), (9, 28)])
def test_resize_is_pillows(size: tuple[int, int]) -> None:
    """Bilinear interpolation where images grow, means under a triangle where they shrink."""
    from PIL import Image

    images = np.random.default_rng(1).integers(0, 256, (3, 9, 28), dtype=np.uint8)
    data = ArrayDataset(images, np.zeros(3, int), mean=(0.3,), std=(0.2,))
    made = Resize(size, data.standardize())(images)
    assert made.dtype == np.float32 and made.shape == (3, 1, *size)
    for image, row in zip(data.standardize()(images)[:, 0], made[:, 0], strict=True):
        picture = Image.fromarray(image)
        expected = picture.resize(size[::-1], Image.Resampling.BILINEAR)
        np.testing.assert_allclose(row, np.asarray(expected), atol=2e-6)


def test_resize_refuses_what_does_not_fit() -> None:
    for size, error in ((0, ShapeError), ((3, 4, 5), ShapeError), (2.5, DTypeError)):
        with pytest.raises(error, match=r"^Resize: size must be"):
            Resize(size, Standardize())  # type: ignore[arg-type]
    with pytest.raises(DTypeError, match=r"^Resize: transform is a int, not callable"):
        Resize(3, 4)  # type: ignore[arg-type]
    with pytest.raises(ShapeError, match=r"^Resize: transform must give \(N, C, H, W\)"):
        Resize(3, lambda images: images)(np.zeros((2, 4, 4), np.float32))
    assert repr(Resize((3, 4), Standardize())).startswith("Resize((3, 4), Standardize(mean")
