"""Running the command line, in this process and in its own."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np

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
