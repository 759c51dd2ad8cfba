"""Data larger than memory: what a process has of its own while it runs through them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

MIB = 1 << 20

# A child tells how much memory it took beyond its beginning, whole MiB: its peak of all, and of what is
# not mapped from files, by which batch. It may not even ask for as much as the data would take.
PROGRAM = """
import json, resource, sys
import numpy as np
from fastconv.data import ArrayDataset, ImageFolder, Loader, load_arrays

def status(field):
    with open("/proc/self/status") as file:
        return next(int(line.split()[1]) >> 10 for line in file if line.startswith(field + ":"))

def loaded():
    kind, where, options = sys.argv[1], sys.argv[2], json.loads(sys.argv[3])
    if kind == "npy":
        return load_arrays(where + "/images.npy", where + "/labels.npy")
    if kind == "array":
        return ArrayDataset(np.ones((4000, 3, 100, 100), np.uint8), np.arange(4000) % 7)
    return ImageFolder(where, **options)

if __name__ == "__main__":
    workers, worker = int(sys.argv[4]), sys.argv[5]
    list(Loader((np.zeros((8, 2, 2), np.uint8), np.arange(8)), 4, workers=workers))
    warm = ArrayDataset(np.ones((100, 3, 100, 100), np.uint8), np.arange(100))
    list(Loader(warm, 50, workers=workers))
    if sys.argv[1].startswith("folder"):
        ImageFolder(sys.argv[2], size=None).fetch([0])
    if sys.argv[1] == "array":
        data = loaded()
    before, peak, room = status("RssAnon"), status("VmHWM"), int(sys.argv[6])
    soft = (status("VmData") + room) << 20
    resource.setrlimit(resource.RLIMIT_DATA, (soft, soft))
    if sys.argv[1] != "array":
        data = loaded()
    most, images, total = 0, 0, 0.0
    loader = Loader(data, 50, True, workers=workers, worker=worker)
    for x, y in loader:
        assert x.dtype == np.float32
        most = max(most, status("RssAnon") - before)
        images, total = images + len(x), total + float(x[:, 0, 0, 0].sum())
    loader.close()
    assert data.fetch([0]).dtype == np.uint8
    print(json.dumps([most, status("VmHWM") - peak, images, total, data.image_shape]))
"""
TEAMS = [(0, "thread"), (2, "thread"), (1, "process")]


def measure(
    tmp_path: Path, kind: str, where: Path, room: int, team: tuple[int, str], **options: Any
) -> Any:
    program = tmp_path / "program.py"
    program.write_text(PROGRAM)
    arguments = [kind, str(where), json.dumps(options), *map(str, team), str(room)]
    run = subprocess.run(
        [sys.executable, str(program), *arguments],
        capture_output=True,
        text=True,
        timeout=300,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "MALLOC_ARENA_MAX": "2"},
        check=False,
    )
    assert run.returncode == 0, run.stderr
    return json.loads(run.stdout)


@pytest.mark.parametrize("team", TEAMS)
def test_a_mapped_array_is_read_batch_by_batch(tmp_path: Path, team: tuple[int, str]) -> None:
    """300 MiB with 120 to ask for. Pages of the file that the system keeps are not the process's own."""
    count, shape = 10_000, (3, 100, 105)
    images = np.lib.format.open_memmap(tmp_path / "images.npy", "w+", np.uint8, (count, *shape))
    images[::100, 0, 0, 0] = 255  # the rest is a hole in the file
    size = images.nbytes
    del images
    np.save(tmp_path / "labels.npy", np.arange(count) % 10)
    own, _, seen, total, found = measure(tmp_path, "npy", tmp_path, 120, team)
    assert size > 300 * MIB and own < 90
    assert (seen, total, tuple(found)) == (count, count / 100, shape)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: Any) -> Path:
    """3000 files of four images: 168 MiB when decoded to 140x140."""
    image = pytest.importorskip("PIL.Image")
    root: Path = tmp_path_factory.mktemp("many") / "root"
    y, x = np.mgrid[:150, :200]
    for label in range(4):
        (root / f"class{label}").mkdir(parents=True)
        pixels = np.stack([x + 10 * label, y, 0 * x + 50 * label], -1).astype(np.uint8)
        image.fromarray(pixels).save(root / f"class{label}" / "0.jpg")
        for number in range(1, 750):
            os.link(root / f"class{label}" / "0.jpg", root / f"class{label}" / f"{number}.jpg")
    return root


@pytest.mark.parametrize("team", TEAMS[::2])
def test_image_files_are_decoded_batch_by_batch(
    folder: Path, tmp_path: Path, team: tuple[int, str]
) -> None:
    own, peak, seen, *_ = measure(tmp_path, "folder", folder, 120, team, size=140)
    assert seen == 3000 and own < 90 and peak < 90


def test_decoded_images_on_disk_are_not_held_in_memory(folder: Path, tmp_path: Path) -> None:
    options = {"size": 140, "cache": str(tmp_path / "cache")}
    own, _, seen, *_ = measure(tmp_path, "folder", folder, 120, (0, "thread"), **options)
    cached = list((tmp_path / "cache").glob("*.npy"))
    assert len(cached) == 1 and cached[0].stat().st_size > 160 * MIB
    assert seen == 3000 and own < 90


def test_images_stay_bytes_until_they_are_a_batch(tmp_path: Path) -> None:
    """114 MiB of bytes, 458 as float32."""
    own, _, seen, *_ = measure(tmp_path, "array", tmp_path, 120, (0, "thread"))
    assert seen == 4000 and own < 60


def test_what_is_loaded_whole_would_be_seen(folder: Path, tmp_path: Path) -> None:
    own, peak, *_ = measure(tmp_path, "folder", folder, 1000, (0, "thread"), size=140, cache=True)
    assert own > 150 and peak > 150
