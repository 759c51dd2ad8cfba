"""Synthetic IDX files, written independently of the reader under test."""

from __future__ import annotations

import gzip
import os
import signal
import struct
import time
from pathlib import Path

import numpy as np

CODES = {"u1": 0x08, "i1": 0x09, "i2": 0x0B, "i4": 0x0C, "f4": 0x0D, "f8": 0x0E}
FILES = {
    "train": ("train-images-idx3-ubyte", "train-labels-idx1-ubyte"),
    "test": ("t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte"),
}


def idx_header(code: int, *shape: int) -> bytes:
    return struct.pack(f">HBB{len(shape)}I", 0, code, len(shape), *shape)


def idx_bytes(array: np.ndarray) -> bytes:
    code = CODES[array.dtype.str[1:]]
    return idx_header(code, *array.shape) + array.astype(array.dtype.newbyteorder(">")).tobytes()


def small_split(split: str, count: int = 20) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(len(split))
    images = rng.integers(0, 256, (count, 28, 28), dtype=np.uint8)
    return images, (np.arange(count) % 10).astype(np.uint8)


def write_split(
    folder: Path, split: str, *, dotted: bool = False, packed: bool = True
) -> tuple[np.ndarray, np.ndarray]:
    """Write the two files of a split in one of the four spellings; give back their arrays."""
    folder.mkdir(parents=True, exist_ok=True)
    arrays = small_split(split)
    for name, array in zip(FILES[split], arrays, strict=True):
        name = name.replace("-idx", ".idx") if dotted else name
        raw = idx_bytes(array)
        path = folder / (f"{name}.gz" if packed else name)
        path.write_bytes(gzip.compress(raw) if packed else raw)
    return arrays


# For worker processes, which import what they are sent.


class Noisy:
    """An augmentation: mirrored or not, and noise, image by image."""

    def __repr__(self) -> str:
        return "Noisy()"

    def __call__(self, images: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        flipped = rng.random(len(images)) < 0.5
        images[flipped] = images[flipped, :, :, ::-1]
        return images ^ rng.integers(0, 4, images.shape, dtype=np.uint8)


def larger(images: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """An augmentation that makes larger images, of a size of its batch's."""
    side = int(rng.integers(1, 40))
    return np.pad(images, ((0, 0), (0, 0), (side, side), (side, side)))


def fails(images: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    if (images[:, 0, 0, 0] == 30).any():
        raise ZeroDivisionError("thirty")
    return images


def dies(images: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    if (images[:, 0, 0, 0] == 30).any():
        os.kill(os.getpid(), signal.SIGKILL)
    return images


def slow(images: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    time.sleep(30)
    return images


class LoadsNowhere:
    """Something that pickles, and does not load."""

    def __call__(self, images: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        return images

    def __setstate__(self, state: object) -> None:
        raise ArithmeticError("no such thing here")

    def __getstate__(self) -> object:
        return {"some": "state"}
