"""What image files may hold: opacity, palettes, 16 bits, CMYK, orientations; against the formats' definitions."""

from __future__ import annotations

import io
import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fastconv.data import CsvImages, ImageFolder, load_image
from fastconv.errors import DTypeError, ShapeError

pil = pytest.importorskip("PIL.Image")

HEIGHT, WIDTH = 9, 14
GREY, GREY_ALPHA, RGB, PALETTE, RGB_ALPHA = 0, 4, 2, 3, 6  # PNG's colour types


def png(path: Path, samples: Any, kind: int, **chunks: bytes) -> Path:
    """A PNG written by its definition: samples (H, W, channels), uint8 or uint16."""
    bits = 8 * samples.dtype.itemsize
    rows = samples.astype(samples.dtype.newbyteorder(">"))

    def chunk(name: bytes, data: bytes) -> bytes:
        whole = name + data
        return struct.pack(">I", len(data)) + whole + struct.pack(">I", zlib.crc32(whole))

    header = struct.pack(">IIBBBBB", samples.shape[1], samples.shape[0], bits, kind, 0, 0, 0)
    packed = zlib.compress(b"".join(b"\0" + row.tobytes() for row in rows))
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + b"".join(chunk(name.encode(), data) for name, data in chunks.items())
        + chunk(b"IDAT", packed)
        + chunk(b"IEND", b"")
    )
    return path


def noise(channels: int, dtype: Any = np.uint8) -> Any:
    rng = np.random.default_rng(channels)
    return rng.integers(0, np.iinfo(dtype).max + 1, (HEIGHT, WIDTH, channels), dtype)


def laid_on(colours: Any, opacity: Any, background: Any) -> Any:
    """Opacity times the image and the rest of the background, in float64."""
    share = opacity[..., None] / 255.0
    return share * colours + (1 - share) * np.array(background, np.float64)


@pytest.mark.parametrize("background", [(255, 255, 255), (0, 0, 0), (200, 30, 7)])
def test_transparent_images_are_laid_on_the_background(tmp_path: Path, background: Any) -> None:
    rgba, grey = noise(4), noise(2)
    color, alpha = png(tmp_path / "c" / "a.png", rgba, RGB_ALPHA), grey[..., 1]
    got = load_image(color, background)
    expected = laid_on(rgba[..., :3], rgba[..., 3], background)
    assert np.abs(got - expected).max() <= 0.5 + 1e-9
    png(tmp_path / "c" / "b.png", grey, GREY_ALPHA)
    data = ImageFolder(tmp_path, size=None, background=background)
    images = data.fetch([0, 1]).transpose(0, 2, 3, 1)
    np.testing.assert_array_equal(images[0], got)
    expected = laid_on(grey[..., :1].repeat(3, 2), alpha, background)
    assert np.abs(images[1] - expected).max() <= 0.5 + 1e-9
    # Webp and TIFF know opacity too.
    pil.fromarray(rgba).save(tmp_path / "x.tiff")
    np.testing.assert_array_equal(load_image(tmp_path / "x.tiff", background), got)


def test_white_is_the_background_unless_said_otherwise(tmp_path: Path) -> None:
    rgba = noise(4)
    path = png(tmp_path / "c" / "a.png", rgba, RGB_ALPHA)
    np.testing.assert_array_equal(load_image(path), load_image(path, (255, 255, 255)))
    np.testing.assert_array_equal(load_image(path, None), rgba[..., :3])
    (tmp_path / "table.csv").write_text("path,label\nc/a.png,0\n")
    for data in (ImageFolder(tmp_path, size=None), CsvImages(tmp_path / "table.csv", size=None)):
        np.testing.assert_array_equal(data.fetch([0])[0].transpose(1, 2, 0), load_image(path))
    clear = np.zeros((HEIGHT, WIDTH, 4), np.uint8)
    png(tmp_path / "c" / "a.png", clear, RGB_ALPHA)
    grey = ImageFolder(tmp_path, size=4, channels=1)
    np.testing.assert_array_equal(grey.fetch([0]), np.full((1, 1, 4, 4), 255))
    dark = ImageFolder(tmp_path, size=4, channels=1, background=(10, 10, 10))
    np.testing.assert_array_equal(dark.fetch([0]), np.full((1, 1, 4, 4), 10))


def test_the_background_is_there_before_images_are_resized(tmp_path: Path) -> None:
    """Colours that nobody sees do not bleed into the edges of what is cut out."""
    rgba = np.zeros((40, 40, 4), np.uint8)
    rgba[..., :3] = 0, 255, 0  # unseen
    rgba[10:30, 10:30] = 255, 0, 0, 255
    png(tmp_path / "c" / "a.png", rgba, RGB_ALPHA)
    image = ImageFolder(tmp_path, size=16).fetch([0])[0].astype(int)
    assert image[0].min() >= 254  # red and white have both all of red
    np.testing.assert_array_equal(image[1], image[2])  # and as much green as blue


def test_one_colour_that_stands_for_nothing(tmp_path: Path) -> None:
    """PNG's tRNS chunk: a value of grey, a colour, opacities of a palette."""
    grey = noise(1)
    path = png(tmp_path / "a.png", grey, GREY, tRNS=struct.pack(">H", int(grey[3, 4, 0])))
    expected = np.where(grey == grey[3, 4], 7, grey)
    np.testing.assert_array_equal(load_image(path, (7, 7, 7)), expected.repeat(3, 2))
    rgb = noise(3)
    png(path, rgb, RGB, tRNS=struct.pack(">3H", *rgb[2, 5].tolist()))
    hidden = (rgb == rgb[2, 5]).all(-1, keepdims=True)
    np.testing.assert_array_equal(load_image(path, (1, 2, 3)), np.where(hidden, [1, 2, 3], rgb))
    deep = noise(1, np.uint16)
    png(path, deep, GREY, tRNS=struct.pack(">H", int(deep[1, 1, 0])))
    expected = np.where(deep == deep[1, 1], 9, deep >> 8).astype(np.uint8)
    np.testing.assert_array_equal(load_image(path, (9, 9, 9)), expected.repeat(3, 2))
    colours, places = noise(3)[:4].reshape(-1, 3), noise(1) % 56
    opacities = np.arange(30, dtype=np.uint8) * 8  # of the first entries
    png(path, places, PALETTE, PLTE=colours.tobytes(), tRNS=opacities.tobytes())
    whole = np.concatenate([opacities, np.full(26, 255, np.uint8)])
    expected = laid_on(colours[places[..., 0]], whole[places[..., 0]], (255, 255, 255))
    assert np.abs(load_image(path) - expected).max() <= 0.5 + 1e-9


def test_16_bits_are_cut_to_the_upper_8(tmp_path: Path) -> None:
    for kind, channels in ((GREY, 1), (RGB, 3)):
        deep = noise(channels, np.uint16)
        path = png(tmp_path / "a.png", deep, kind)
        expected = np.broadcast_to(deep >> 8, (HEIGHT, WIDTH, 3))
        np.testing.assert_array_equal(load_image(path), expected)
    deep = noise(4, np.uint16)
    deep[..., 3] |= 0xFF00
    png(path, deep, RGB_ALPHA)
    np.testing.assert_array_equal(load_image(path), deep[..., :3] >> 8)
    pil.fromarray(noise(1, np.uint16)[..., 0]).save(tmp_path / "a.tiff")
    np.testing.assert_array_equal(
        load_image(tmp_path / "a.tiff")[..., 1], noise(1, np.uint16)[..., 0] >> 8
    )


def test_palettes(tmp_path: Path) -> None:
    colours, places = noise(3)[:5].reshape(-1, 3), noise(1) % 70
    path = png(tmp_path / "c" / "a.png", places, PALETTE, PLTE=colours.tobytes())
    np.testing.assert_array_equal(load_image(path), colours[places[..., 0]])
    image = pil.fromarray(places[..., 0]).convert("P")
    image.putpalette(colours.tobytes())
    image.save(tmp_path / "a.gif", transparency=5)
    hidden = places == 5
    expected = np.where(hidden, 255, colours[places[..., 0]])
    np.testing.assert_array_equal(load_image(tmp_path / "a.gif"), expected)


@pytest.mark.parametrize("kind", ["jpg", "tiff"])
def test_cmyk(tmp_path: Path, kind: str) -> None:
    """Red, green and blue are what cyan, magenta and yellow leave, and black takes of that."""
    inks = np.zeros((32, 32, 4), np.uint8)
    inks[:16, :16, 0], inks[:16, 16:, 1], inks[16:, :16, 2], inks[16:, 16:, 3] = 255, 200, 100, 150
    path = tmp_path / f"a.{kind}"
    options = {"quality": 100, "subsampling": 0} if kind == "jpg" else {}
    pil.fromarray(inks, "CMYK").save(path, **options)
    left = 1 - inks / 255
    expected = 255 * left[..., :3] * left[..., 3:]
    assert np.abs(load_image(path) - expected).max() < 4


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["png", "jpg", "webp", "tiff"])
def test_orientations(tmp_path: Path, orientation: int, kind: str) -> None:
    """EXIF 2.3, 4.6.4: where the stored image's row 0 and column 0 are seen."""
    y, x = np.mgrid[:48, :64]
    seen = np.stack([2 * y + x, 255 - 3 * x, 60 + 0 * x], -1).clip(0, 255).astype(np.uint8)
    stored = {
        1: seen,
        2: seen[:, ::-1],
        3: seen[::-1, ::-1],
        4: seen[::-1],
        5: seen.transpose(1, 0, 2),
        6: seen.transpose(1, 0, 2)[::-1],
        7: seen.transpose(1, 0, 2)[::-1, ::-1],
        8: seen.transpose(1, 0, 2)[:, ::-1],
    }[orientation]
    exif = pil.Exif()
    exif[0x0112] = orientation
    options = {"quality": 98, "subsampling": 0} if kind == "jpg" else {}
    if kind == "webp":
        options["lossless"] = True
    path = tmp_path / "c" / f"a.{kind}"
    path.parent.mkdir()
    pil.fromarray(np.ascontiguousarray(stored)).save(path, exif=exif, **options)
    off = np.abs(load_image(path).astype(int) - seen)
    assert off.max() <= (6 if kind == "jpg" else 0)
    small = ImageFolder(tmp_path, size=(12, 16)).fetch([0])[0].transpose(1, 2, 0)
    resized = np.asarray(pil.fromarray(seen).resize((16, 12), pil.Resampling.BILINEAR))
    assert np.abs(small.astype(int) - resized).max() <= (12 if kind == "jpg" else 0)


def test_jpegs_are_decoded_whole_where_that_is_asked_for(tmp_path: Path) -> None:
    y, x = np.mgrid[:400, :600]
    picture = (
        (np.stack([np.sin(x / 3 + c) * np.cos(y / 5) for c in range(3)], -1) + 1) * 127
    ).astype("u1")
    (tmp_path / "c").mkdir()
    pil.fromarray(picture).save(tmp_path / "c" / "a.jpg", quality=95)
    whole = pil.open(io.BytesIO((tmp_path / "c" / "a.jpg").read_bytes()))
    expected = np.asarray(whole.resize((60, 40), pil.Resampling.BILINEAR)).transpose(2, 0, 1)
    exact = ImageFolder(tmp_path, size=(40, 60), reduce=False).fetch([0])[0]
    np.testing.assert_array_equal(exact, expected)
    reduced = ImageFolder(tmp_path, size=(40, 60)).fetch([0])[0]
    assert 0 < np.abs(reduced.astype(int) - exact).mean() < 2


@pytest.mark.parametrize(
    ("background", "error", "text"),
    [
        ((255, 255), ShapeError, "three from 0 to 255"),
        ((0, 0, 256), ShapeError, "three from 0 to 255"),
        ((0, -1, 0), ShapeError, "three from 0 to 255"),
        ((0.5, 0, 0), DTypeError, "whole numbers"),
        ("white", DTypeError, "background is a str, expected three numbers or None"),
        (255, DTypeError, "background is a int"),
    ],
)
def test_bad_backgrounds(tmp_path: Path, background: Any, error: Any, text: str) -> None:
    path = png(tmp_path / "c" / "a.png", noise(4), RGB_ALPHA)
    with pytest.raises(error, match=f"load_image: .*{text}|load_image: {text}"):
        load_image(path, background)
    with pytest.raises(error, match=f"ImageFolder: .*{text}|ImageFolder: {text}"):
        ImageFolder(tmp_path, size=4, background=background)
    with pytest.raises(DTypeError, match="ImageFolder: reduce must be"):
        ImageFolder(tmp_path, size=4, reduce=2)  # type: ignore[arg-type]
