"""Synthetic IDX files, written independently of the reader under test."""

from __future__ import annotations

import gzip
import struct
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
