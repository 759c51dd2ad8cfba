from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

from fastconv.data import load_image
from fastconv.errors import FormatError

GREY = np.arange(6 * 4, dtype=np.uint8).reshape(6, 4) * 10


@pytest.fixture
def pil() -> object:
    return pytest.importorskip("PIL.Image")


def test_rgb_and_grey(pil, tmp_path: Path) -> None:
    rgb = np.random.default_rng(0).integers(0, 256, (6, 4, 3), dtype=np.uint8)
    pil.fromarray(rgb).save(tmp_path / "rgb.png")
    got = load_image(tmp_path / "rgb.png")
    assert got.dtype == np.uint8 and got.flags.c_contiguous and got.flags.writeable
    np.testing.assert_array_equal(got, rgb)
    pil.fromarray(GREY).save(tmp_path / "grey.png")
    np.testing.assert_array_equal(
        load_image(str(tmp_path / "grey.png")), np.repeat(GREY[:, :, None], 3, axis=2)
    )


def test_other_modes(pil, tmp_path: Path) -> None:
    rgba = np.full((6, 4, 4), 200, np.uint8)
    rgba[..., 3] = 128
    pil.fromarray(rgba).save(tmp_path / "alpha.png")
    np.testing.assert_array_equal(load_image(tmp_path / "alpha.png", None), rgba[..., :3])

    palette = pil.fromarray(GREY % 2).convert("P")
    palette.putpalette([10, 20, 30, 40, 50, 60])
    palette.save(tmp_path / "palette.png", transparency=b"\x00\xff")
    got = load_image(tmp_path / "palette.png")
    assert got.shape == (6, 4, 3)
    assert {tuple(p) for p in got.reshape(-1, 3).tolist()} <= {(255, 255, 255), (40, 50, 60)}

    pil.fromarray(GREY.astype(np.uint16) * 257).save(tmp_path / "deep.png")
    np.testing.assert_array_equal(load_image(tmp_path / "deep.png")[..., 0], GREY)

    pil.fromarray(GREY > 100).save(tmp_path / "bits.png")
    np.testing.assert_array_equal(load_image(tmp_path / "bits.png")[..., 1], (GREY > 100) * 255)

    pil.new("CMYK", (4, 6), (0, 0, 0, 0)).save(tmp_path / "cmyk.jpg")
    assert load_image(tmp_path / "cmyk.jpg").shape == (6, 4, 3)

    pil.new("F", (4, 6), 0.5).save(tmp_path / "float.tiff")
    with pytest.raises(FormatError, match="pixels of mode 'F'"):
        load_image(tmp_path / "float.tiff")


def test_exif_orientation(pil, tmp_path: Path) -> None:
    exif = pil.Exif()
    exif[0x0112] = 6  # turned a quarter clockwise for display
    pil.fromarray(GREY).save(tmp_path / "turned.png", exif=exif)
    got = load_image(tmp_path / "turned.png")
    assert got.shape == (4, 6, 3)
    np.testing.assert_array_equal(got[..., 0], np.rot90(GREY, -1))


def test_bad_files(pil, tmp_path: Path) -> None:
    noise = np.random.default_rng(1).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    for kind in ("png", "jpg"):
        path = tmp_path / f"image.{kind}"
        pil.fromarray(noise).save(path)
        whole = path.read_bytes()
        for size in (0, 5, 40, len(whole) // 2):
            path.write_bytes(whole[:size])
            with pytest.raises(FormatError, match="not a readable image") as caught:
                load_image(path)
            assert str(path) in str(caught.value)
    path = tmp_path / "crc.png"
    pil.fromarray(noise).save(path)
    damaged = bytearray(path.read_bytes())
    damaged[len(damaged) // 2] ^= 0xFF
    path.write_bytes(damaged)
    with pytest.raises(FormatError):
        load_image(path)
    with pytest.raises(FileNotFoundError):
        load_image(tmp_path / "absent.png")
    with pytest.raises(IsADirectoryError):
        load_image(tmp_path)


@pytest.mark.parametrize("limit", [15, 10, 3])  # above, Pillow itself warns or refuses
@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
def test_decompression_bomb(pil, tmp_path: Path, monkeypatch, limit: int) -> None:
    pil.fromarray(GREY[:4]).save(tmp_path / "large.png")
    monkeypatch.setattr(pil, "MAX_IMAGE_PIXELS", limit)
    with pytest.raises(FormatError, match="16"):
        load_image(tmp_path / "large.png")
    monkeypatch.setattr(pil, "MAX_IMAGE_PIXELS", 16)
    assert load_image(tmp_path / "large.png").shape == (4, 4, 3)


def test_says_what_to_install(monkeypatch, tmp_path: Path) -> None:
    monkeypatch.setitem(sys.modules, "PIL", None)
    with pytest.raises(ImportError, match=r'pip install "fastconv\[io\]"'):
        load_image(tmp_path / "any.png")
