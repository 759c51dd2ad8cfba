"""Images a second that come out of a folder of JPEGs as float32 batches, beside PyTorch's DataLoader with Pillow.

python -m benchmarks.loading [--photograph FILE] [--images 400] [--size 224] [--rounds 5]

Both decode, cut out the middle, resize with Pillow's bilinear filter, stack uint8 and turn batches into
float32 from 0 to 1. Workers stay from epoch to epoch; the first epoch is not counted. The two take turns,
epoch after epoch, in one process; the median epoch is reported.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from fastconv.data import ImageFolder, Loader

TEAMS = [("thread", 0), ("thread", 1), ("thread", 2), ("process", 1), ("process", 2)]
WIDTH, HEIGHT, QUALITY = 500, 375, 90


def write_images(folder: Path, photograph: Path, count: int) -> int:
    """JPEGs of parts of a photograph; returns their bytes."""
    from PIL import Image

    rng = np.random.default_rng(0)
    whole = Image.open(photograph).convert("RGB")
    total = 0
    for number in range(count):
        scale = min(whole.width / WIDTH, whole.height / HEIGHT) * rng.uniform(0.6, 1.0)
        width, height = scale * WIDTH, scale * HEIGHT
        left = rng.uniform(0, whole.width - width)
        top = rng.uniform(0, whole.height - height)
        path = folder / f"class{number % 4}" / f"{number}.jpg"
        path.parent.mkdir(exist_ok=True)
        box = (left, top, left + width, top + height)
        whole.resize((WIDTH, HEIGHT), Image.Resampling.BICUBIC, box=box).save(path, quality=QUALITY)
        total += path.stat().st_size
    return total


class TorchFiles:
    """What a PyTorch user writes: a map-style data set of paths."""

    def __init__(self, paths: list[str], size: int) -> None:
        self.paths, self.size = paths, size

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, place: int) -> Any:
        import torch
        from PIL import Image

        with open(self.paths[place], "rb") as file:
            image = Image.open(file).convert("RGB")
        side = min(image.size)
        left, top = (image.width - side) / 2, (image.height - side) / 2
        box = (left, top, left + side, top + side)
        image = image.resize((self.size, self.size), Image.Resampling.BILINEAR, box=box)
        return torch.from_numpy(np.array(image)).permute(2, 0, 1).contiguous()


@contextmanager
def torch_epochs(
    paths: list[str], size: int, batch: int, workers: int
) -> Iterator[Callable[[], int]]:
    from torch.utils.data import DataLoader

    loader: Any = DataLoader(
        TorchFiles(paths, size), batch, num_workers=workers, persistent_workers=workers > 0
    )

    def epoch() -> int:
        return sum(len(images.float().div_(255)) for images in loader)

    yield epoch


@contextmanager
def our_epochs(
    data: ImageFolder, batch: int, worker: str, workers: int
) -> Iterator[Callable[[], int]]:
    loader = Loader(data, batch, workers=workers, worker=worker)

    def epoch() -> int:
        return sum(len(images) for images, _ in loader)

    try:
        yield epoch
    finally:
        loader.close()


def in_turns(epochs: dict[str, Callable[[], int]], rounds: int) -> dict[str, float]:
    """Images a second of each, from its median epoch."""
    times: dict[str, list[float]] = {name: [] for name in epochs}
    counts = {name: epoch() for name, epoch in epochs.items()}
    for _ in range(rounds):
        for name, epoch in epochs.items():
            began = time.perf_counter()
            epoch()
            times[name].append(time.perf_counter() - began)
    return {name: counts[name] / statistics.median(spent) for name, spent in times.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--photograph", type=Path, help="by default matplotlib's sample")
    parser.add_argument("--images", type=int, default=400)
    parser.add_argument("--size", type=int, nargs="+", default=[224, 64])
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    photograph = options.photograph
    if photograph is None:
        from matplotlib import cbook

        photograph = Path(str(cbook.get_sample_data("grace_hopper.jpg", asfileobj=False)))
    rows = []
    with tempfile.TemporaryDirectory() as name:
        total = write_images(Path(name), photograph, options.images)
        print(
            f"{options.images} JPEGs of {WIDTH}x{HEIGHT}, {total / options.images / 1024:.0f} KiB each"
        )
        print("| size | workers | fastconv images/s | PyTorch images/s | ratio |")
        print("| ---: | --- | ---: | ---: | ---: |")
        for size in options.size:
            data = ImageFolder(name, size=size)
            for worker, workers in TEAMS:
                with (
                    our_epochs(data, options.batch, worker, workers) as ours,
                    torch_epochs(data.paths, size, options.batch, workers) as theirs,
                ):
                    speed = in_turns({"fastconv": ours, "torch": theirs}, options.rounds)
                ratio = speed["fastconv"] / speed["torch"]
                team = f"{workers} {worker}{'' if workers == 1 else 's' if worker == 'thread' else 'es'}"
                print(
                    f"| {size} | {team if workers else '0'} | {speed['fastconv']:.0f} | "
                    f"{speed['torch']:.0f} | {ratio:.2f} |"
                )
                sys.stdout.flush()
                rows.append({"size": size, "worker": worker, "workers": workers, **speed})
    if options.json:
        options.json.write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
