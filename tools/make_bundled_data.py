"""Make the data set that ships with fastconv from the four Fashion-MNIST files.

    python tools/make_bundled_data.py /usr/share/datasets/fashion-mnist

FOLDER holds the IDX files, plain or gzipped; Debian's package `dataset-fashion-mnist` installs
them in the folder above. The same liblzma writes the same bytes. Exit code 1: the file written is not
the one that `fastconv.data` expects (its digest is in `fastconv/data/bundled.py`).
"""

from __future__ import annotations

import argparse
import hashlib
import io
import sys
import zipfile
from pathlib import Path

import numpy as np

from fastconv.data import epoch_order, load_dataset
from fastconv.data.bundled import BUNDLED_SHA256

SEED = 2017
PER_CLASS = {"train": 1000, "test": 200}
DEFAULT_OUT = Path(__file__).parents[1] / "python/fastconv/data/_bundled/fashion-mnist-12k.npz"


def choose(labels: np.ndarray, per_class: int, seed: int, stream: int) -> np.ndarray:
    """Indices of `per_class` items of each class, drawn at random, in ascending order."""
    order = epoch_order(len(labels), seed, stream)
    picked = [order[labels[order] == c][:per_class] for c in np.unique(labels)]
    return np.sort(np.concatenate(picked))


def pack(arrays: dict[str, np.ndarray]) -> bytes:
    """A .npz archive that depends on the arrays and on liblzma alone, not on the date or system. LZMA takes
    six sevenths of what deflate takes."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_LZMA) as archive:
        for name, array in arrays.items():
            member = zipfile.ZipInfo(f"{name}.npy", date_time=(1980, 1, 1, 0, 0, 0))
            member.compress_type = zipfile.ZIP_LZMA
            member.create_system = 3
            member.external_attr = 0o644 << 16
            body = io.BytesIO()
            np.lib.format.write_array(body, array, version=(1, 0), allow_pickle=False)
            archive.writestr(member, body.getvalue())
    return out.getvalue()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", metavar="FOLDER", help="folder of the Fashion-MNIST files")
    parser.add_argument("--out", type=Path, default=DEFAULT_OUT)
    parser.add_argument("--seed", type=int, default=SEED)
    args = parser.parse_args()

    arrays: dict[str, np.ndarray] = {}
    for stream, (split, per_class) in enumerate(PER_CLASS.items()):
        full = load_dataset("fashion-mnist", split, data_dir=args.folder)
        chosen = choose(full.labels, per_class, args.seed, stream)
        # Column after column: LZMA makes 4 % less of it.
        arrays[f"{split}_columns"] = np.ascontiguousarray(full.images[chosen].transpose(0, 2, 1))
        arrays[f"{split}_labels"] = full.labels[chosen].astype(np.uint8)
    contents = pack(arrays)
    args.out.parent.mkdir(parents=True, exist_ok=True)
    args.out.write_bytes(contents)
    digest = hashlib.sha256(contents).hexdigest()
    print(f"{args.out}: {len(contents)} bytes, SHA-256 {digest}")
    if digest != BUNDLED_SHA256:
        print(f"expected {BUNDLED_SHA256}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
