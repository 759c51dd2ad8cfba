"""The data set shipped with the package: 12,000 images of Fashion-MNIST, classes balanced."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np

from ..errors import FormatError
from .catalogue import dataset_info
from .dataset import ArrayDataset

__all__ = ["BUNDLED_PATH", "load_bundled"]

# Written by tools/make_bundled_data.py, which prints the digest.
BUNDLED_PATH = Path(__file__).parent / "_bundled" / "fashion-mnist-12k.npz"
BUNDLED_SHA256 = "6fe75b056e9557ad579b239cd7176a6fd3158a2c0b96374fc822dad1fa6290e4"


def load_bundled(split: str, path: Path = BUNDLED_PATH) -> ArrayDataset:
    """The bundled images: 10,000 for "train", 2,000 for "test", each class as often as the others.

    Raises:
        FormatError: the file is not the one that this version was published with.
    """
    import hashlib

    try:
        import lzma  # noqa: F401
    except ImportError:  # built without
        raise FormatError(f"load_dataset: {path}: reading it needs Python's lzma module") from None
    contents = path.read_bytes()
    digest = hashlib.sha256(contents).hexdigest()
    if digest != BUNDLED_SHA256:
        raise FormatError(
            f"load_dataset: {path}: damaged: SHA-256 is {digest} ({len(contents)} bytes), "
            f"expected {BUNDLED_SHA256}; reinstall fastconv"
        )
    info = dataset_info("bundled")
    with np.load(io.BytesIO(contents), allow_pickle=False) as arrays:
        return ArrayDataset(
            np.ascontiguousarray(arrays[f"{split}_columns"].transpose(0, 2, 1)),
            arrays[f"{split}_labels"],
            info.classes,
            mean=info.mean,
            std=info.std,
            name=info.name,
        )
