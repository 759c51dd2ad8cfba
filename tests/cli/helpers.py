"""Running the command line, in this process and in its own."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from tests.data.helpers import FILES, idx_bytes

MODULE = [sys.executable, "-m", "fastconv"]


def fastconv(*arguments: object, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*MODULE, *map(str, arguments)], capture_output=True, text=True, cwd=cwd, timeout=300
    )


def write_data(folder: Path, train: int, test: int = 20) -> Path:
    """IDX files of noise with a bright row for the label."""
    folder.mkdir(parents=True, exist_ok=True)
    for split, count in (("train", train), ("test", test)):
        rng = np.random.default_rng(count)
        labels = (np.arange(count) % 10).astype(np.uint8)
        images = rng.integers(0, 150, (count, 28, 28), dtype=np.uint8)
        images[np.arange(count), 2 * labels + 4] = 255
        for name, array in zip(FILES[split], (images, labels), strict=True):
            (folder / name).write_bytes(idx_bytes(array))
    return folder


def write_images(folder: Path, images: int, classes: Sequence[str] = ("left", "right")) -> Path:
    """A folder of grey PNG files, so many of each class: noise with a bright bar where the class says."""
    rng = np.random.default_rng(images)
    for place, name in enumerate(classes):
        (folder / name).mkdir(parents=True, exist_ok=True)
        for number in range(images):
            pixels = rng.integers(0, 120, (28, 28), dtype=np.uint8)
            first = 28 * place // len(classes)
            pixels[:, first : first + 28 // len(classes)] += 100
            Image.fromarray(pixels).save(folder / name / f"{number:03}.png")
    return folder
