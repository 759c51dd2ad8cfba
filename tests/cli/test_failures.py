"""What goes wrong with data and disks, through the command line: one clear line, or a skip that is reported, and
nothing is lost that there was."""

from __future__ import annotations

import csv
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from fastconv.cli import main
from fastconv.train import load_checkpoint
from tests.cli.helpers import MODULE, fastconv, write_data
from tests.data.helpers import FILES, idx_bytes
from tests.data.test_parts import fill
from tests.train.helpers import assert_same_checkpoint

SMALL = ["--image-size", "16", "--epochs", "2", "--batch-size", "4", "--lr", "0.02", "--quiet"]


def refused(capsys: Any, *arguments: object) -> str:
    """The one line that says why."""
    capsys.readouterr()
    assert main([str(argument) for argument in arguments]) == 2
    out, err = capsys.readouterr()
    assert err.startswith("fastconv: error: ") and err.count("\n") == 1, err
    assert "accuracy" not in out
    return str(err)


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir()) if path.is_file()}


def table(path: Path, images: Path, label: Any = lambda name, number: name) -> Path:
    """A CSV file of a folder of classes."""
    with open(path, "w", newline="") as file:
        lines = csv.writer(file)
        lines.writerow(["path", "label"])
        for name in sorted(p.name for p in images.iterdir()):
            for number, image in enumerate(sorted((images / name).iterdir())):
                lines.writerow([image.relative_to(path.parent), label(name, number)])
    return path


# Images that cannot be read


def test_a_corrupt_image_ends_a_run_whose_files_stay(tmp_path: Path, capsys: Any) -> None:
    data, out = fill(tmp_path / "data", {"a": 20, "b": 20}), tmp_path / "run"
    assert main(["train", "lenet5", *SMALL, "--data", str(data), "--out", str(out)]) == 0
    before = contents(out)
    bad = data / "b" / "7.png"
    whole = bad.read_bytes()
    bad.write_bytes(whole[: len(whole) // 2])
    said = refused(capsys, "train", "lenet5", *SMALL, "--data", data, "--out", out)
    assert str(bad) in said and "not a readable image" in said
    assert contents(out) == before
    other = fill(tmp_path / "other", {"a": 3, "b": 3})
    bad = other / "a" / "1.png"
    bad.write_bytes(whole[:40])
    for command in (
        ["evaluate", out / "best.safetensors", "--data", other],
        ["predict", "--checkpoint", out / "best.safetensors", bad],
        ["show", "gradcam", "--run", out, bad, "--out", tmp_path / "a.png"],
        ["report", out, "--data", other],
    ):
        assert str(bad) in refused(capsys, *command)
    assert contents(out) == before and not (tmp_path / "a.png").exists()


def test_corrupt_images_are_skipped_and_named(tmp_path: Path) -> None:
    data, out = fill(tmp_path / "data", {"a": 20, "b": 20}), tmp_path / "run"
    bad = [data / "a" / "3.png", data / "b" / "5.png", data / "b" / "6.png"]
    bad[0].write_bytes(b"")
    bad[1].write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(50))
    bad[2].write_text("no image at all")
    done = fastconv("train", "lenet5", *SMALL, "--data", data, "--out", out, "--on-error", "skip")
    assert done.returncode == 0, done.stderr
    assert "skipped 3 of 40" in done.stderr and all(str(path) in done.stderr for path in bad)
    found = json.loads((out / "evaluations.json").read_text())
    assert sum(found[part]["images"] for part in ("dev", "test")) == 8  # a tenth each of 37
    done = fastconv("evaluate", out / "last.safetensors")
    assert done.returncode == 0 and "skipped 3 of 40" in done.stderr, done.stderr
    for path in (data / "a").iterdir():
        path.write_bytes(b"")
    done = fastconv("train", "lenet5", *SMALL, "--data", data, "--out", out, "--on-error", "skip")
    assert done.returncode == 2 and "every image of class 'a' was skipped" in done.stderr


def test_decompression_bombs(tmp_path: Path, capsys: Any) -> None:
    """A small file of many pixels is refused before it is decoded."""
    data, out = fill(tmp_path / "data", {"a": 20, "b": 20}), tmp_path / "run"
    assert main(["train", "lenet5", *SMALL, "--data", str(data), "--out", str(out)]) == 0
    before = contents(out)
    other = fill(tmp_path / "other", {"a": 3, "b": 3})
    bomb = other / "a" / "bomb.png"
    Image.new("1", (14000, 14000)).save(bomb)
    assert bomb.stat().st_size < 100_000
    for command in (
        ["train", "lenet5", *SMALL, "--data", other, "--out", out, "--split", "0.5,0.5,0"],
        ["evaluate", out / "best.safetensors", "--data", other],
        ["predict", "--checkpoint", out / "best.safetensors", bomb],
        ["show", "saliency", "--run", out, bomb],
        ["show", "filters-demo", bomb],
    ):
        said = refused(capsys, *command)
        assert str(bomb) in said and "pixels" in said, said
    assert contents(out) == before
    bomb = bomb.rename(data / "a" / "bomb.png")
    code = (
        "import sys\n"
        "from fastconv.cli import main\n"
        "code = main(sys.argv[1:])\n"
        "lines = dict(line.split(':', 1) for line in open('/proc/self/status'))\n"
        "print('peak', int(lines['VmHWM'].split()[0]) // 1024)\n"
        "sys.exit(code)\n"
    )
    arguments = ["train", "lenet5", *SMALL, "--data", data, "--out", out, "--on-error", "skip"]
    done = subprocess.run(
        [sys.executable, "-c", code, *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0 and "skipped 1 of 41" in done.stderr, done.stderr
    assert int(done.stdout.split()[-1]) < 450  # the pixels alone, as RGB, are 588 MB


# Classes and labels


def test_folders_and_tables_without_images(tmp_path: Path, capsys: Any) -> None:
    data = fill(tmp_path / "data", {"a": 20, "b": 20})
    (data / "c").mkdir()
    for kind, path in (
        ("has no images in", data),
        ("is empty, or has no sub-folders", tmp_path / "data" / "c"),
    ):
        said = refused(capsys, "train", "lenet5", *SMALL, "--data", path, "--out", tmp_path / "r")
        assert kind in said
    lists = tmp_path / "none.csv"
    lists.write_text("path,label\n")
    for text, kind in (("path,label\n", "lists no images"), ("", "is empty, expected a line")):
        lists.write_text(text)
        said = refused(capsys, "train", "lenet5", *SMALL, "--data", lists, "--out", tmp_path / "r")
        assert kind in said
    assert not (tmp_path / "r").exists()


def test_a_class_that_is_missing_in_dev(tmp_path: Path, capsys: Any) -> None:
    parts = tmp_path / "parts"
    fill(parts / "train", {"a": 8, "b": 8, "c": 8})
    fill(parts / "dev", {"a": 4, "b": 4})
    out = tmp_path / "run"
    said = refused(capsys, "train", "lenet5", *SMALL, "--data", parts, "--out", out)
    assert f"class 'c' has no sub-folder in {parts / 'dev'}" in said
    (parts / "dev" / "c").mkdir()
    said = refused(capsys, "train", "lenet5", *SMALL, "--data", parts, "--out", out)
    assert f"class 'c' has no images in {parts / 'dev' / 'c'}" in said
    fill(parts / "dev", {"a": 4, "b": 4, "c": 2, "d": 1})
    said = refused(capsys, "train", "lenet5", *SMALL, "--data", parts, "--out", out)
    assert "has sub-folders of no class: d" in said
    few = fill(tmp_path / "few", {"a": 20, "b": 20, "c": 2})
    lists = table(tmp_path / "few.csv", few)
    for source in (few, lists):
        said = refused(capsys, "train", "lenet5", *SMALL, "--data", source, "--out", out)
        assert "dev has no image of class 'c'" in said and "make the part larger" in said
    assert not out.exists()


def test_labels_out_of_range(tmp_path: Path, capsys: Any) -> None:
    images, out = fill(tmp_path / "data", {"a": 20, "b": 20}), tmp_path / "run"
    good = table(tmp_path / "good.csv", images)
    assert main(["train", "lenet5", *SMALL, "--data", str(good), "--out", str(out)]) == 0
    before = contents(out)
    best = out / "best.safetensors"
    for label, said in (
        (
            lambda name, number: "z" if number == 3 else name,
            "line 5: label 'z', expected one of a, b",
        ),
        (lambda name, number: 2 if number == 3 else 0, "label '2', expected one of a, b or 0 to 1"),
        (lambda name, number: -1, "label '-1'"),
    ):
        wrong = table(tmp_path / "wrong.csv", images, label)
        assert said in refused(capsys, "evaluate", best, "--data", wrong)
    wrong = table(tmp_path / "wrong.csv", images, lambda name, number: -1 if number else 0)
    said = refused(capsys, "train", "lenet5", *SMALL, "--data", wrong, "--out", out)
    assert "label '-1', expected a number from 0 on" in said
    idx = write_data(tmp_path / "idx", 40)
    labels = (np.arange(40) % 10).astype(np.uint8)
    labels[7] = 10
    (idx / FILES["train"][1]).write_bytes(idx_bytes(labels))
    options = ["--data", "mnist", "--data-dir", idx, "--epochs", "1", "--quiet", "--out", out]
    said = refused(capsys, "train", "lenet5", *options)
    assert "labels span 0 to 10, expected 0 to 9 for 10 classes" in said
    assert contents(out) == before
    # Fewer classes than the network has are none of its mistakes.
    one = table(tmp_path / "one.csv", images, lambda name, number: "a")
    done = fastconv("evaluate", best, "--data", one)
    assert done.returncode == 0 and "there is no image of class 'b'" in done.stderr, done.stderr


# Training


def test_a_loss_that_is_not_finite_leaves_the_files(tmp_path: Path, capsys: Any) -> None:
    data, out = fill(tmp_path / "data", {"a": 20, "b": 20}), tmp_path / "run"
    options = ["--data", data, "--out", out]
    assert main(["train", "lenet5", *SMALL, *map(str, options)]) == 0
    before = contents(out)
    bad = [*SMALL[:-2], "1e30", "--quiet"]
    said = refused(capsys, "train", "lenet5", *bad, *options)
    assert "not finite" in said or "the loss is" in said
    assert "smaller learning rate" in said or "no longer finite" in said
    assert contents(out) == before


def test_a_full_disk(tmp_path: Path) -> None:
    """What was there stays whole, and with room the run goes on to the bits of an uninterrupted one."""
    data = fill(tmp_path / "data", {"a": 20, "b": 20})
    whole, out = tmp_path / "whole", tmp_path / "run"
    done = fastconv("train", "lenet5", *SMALL, "--data", data, "--out", whole)
    assert done.returncode == 0, done.stderr
    # After the first epoch no file may grow beyond a few bytes.
    code = (
        "import resource, sys\n"
        "from fastconv.cli import main\n"
        "from fastconv.train import Trainer\n"
        "record = Trainer._record\n"
        "def limited(self, result):\n"
        "    if self.epoch == 1:\n"
        "        resource.setrlimit(resource.RLIMIT_FSIZE, (2000, resource.RLIM_INFINITY))\n"
        "    return record(self, result)\n"
        "Trainer._record = limited\n"
        "sys.exit(main(sys.argv[1:]))\n"
    )
    arguments = ["train", "lenet5", *SMALL, "--data", data, "--out", out]
    done = subprocess.run(
        [sys.executable, "-c", code, *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 2 and done.stderr.count("\n") == 1, done.stderr
    assert "last.safetensors" in done.stderr and "could not be written" in done.stderr
    last = out / "last.safetensors"
    assert f"continue with: fastconv train lenet5 --resume {last}" in done.stdout
    assert load_checkpoint(last).epoch == 1 and not list(out.glob(".*"))
    done = subprocess.run(
        [*MODULE, "train", "lenet5", "--resume", str(last), "--quiet"],
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    assert_same_checkpoint(whole / "last.safetensors", last)
    assert (whole / "evaluations.json").read_bytes() == (out / "evaluations.json").read_bytes()
