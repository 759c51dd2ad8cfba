"""Times the shipped recipes against the same in PyTorch, end to end: `python -m benchmarks.recipes`.

An epoch is everything between two looks at the clock: order, images, augmentation, steps; on our side the
checkpoint and the history too. Each engine has a process of its own, and their epochs take turns. PyTorch first
times a piece of each variant (`recipe_torch.py`) and goes on with the fastest; what it compiles is compiled
before the clock runs. After the same epochs both networks are evaluated on the test images.
"""

from __future__ import annotations

import argparse
import importlib
import json
import math
import os
import statistics
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import numpy as np

from . import machine, peers, table
from .engine import Engine, EngineError
from .measure import OURS, Engines

SCHEMA = 1
PEER = "torch"
MODULE = "benchmarks.recipe_worker"
# Accuracies count as equal within so many standard deviations of the difference of two such shares, and this
# much more for two runs with other random numbers.
DEVIATIONS, APART = 3.0, 0.01


@dataclass(frozen=True)
class Mirrored:
    """What PyTorch's side is told of a recipe.

    Attributes:
        module: in `fastconv.recipes`.
        augment: the ranges that `recipe_torch.Augmentation` takes.
        shown: what the module's AUGMENT must read, or these ranges are not its own any more.
    """

    module: str
    augment: dict[str, Any]
    shown: str


RECIPES = {
    "mnist": Mirrored(
        "mnist",
        {"degrees": 12.0, "translate": 0.08, "scale": (0.88, 1.12), "shear": 8.0},
        "RandomAffine(degrees=(-12.0, 12.0), translate=(0.08, 0.08), scale=(0.88, 1.12), shear=(-8.0, 8.0))",
    ),
    "fashion-mnist": Mirrored(
        "fashion_mnist",
        {"flip": 0.5, "translate": 0.07, "cutout": 0.5, "hole": 8},
        "Compose(transforms=(RandomHorizontalFlip(p=0.5), RandomShift(width=0.07, height=0.07), "
        "Cutout(size=(8, 8), number=1, p=0.5)))",
    ),
}
# What both sides do at the edges, left out of `shown`.
_EDGES = (", interpolation='bilinear', fill_mode='area'", ", fill=0.0")


def parser() -> argparse.ArgumentParser:
    p = argparse.ArgumentParser(
        prog="benchmarks.recipes", description=(__doc__ or "").partition("\n")[0]
    )
    p.add_argument("--recipe", action="append", choices=tuple(RECIPES), help="may be repeated")
    p.add_argument(
        "--data", metavar="DIR", help="folder with the files of the one recipe's data set"
    )
    p.add_argument("--epochs", type=int, default=2, help="timed on each side, default 2")
    p.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    p.add_argument("--batches", type=int, default=48, help="of a piece of each PyTorch variant")
    p.add_argument("--json", type=Path, metavar="F", help="write or add to these results")
    return p


def told(recipe: Any, mirrored: Mirrored, train: Any) -> dict[str, Any]:
    """The recipe's own numbers for the other side."""
    shown = repr(recipe.AUGMENT)
    for text in _EDGES:
        shown = shown.replace(text, "")
    if shown != mirrored.shown:
        raise SystemExit(f"benchmarks.recipes: {recipe.__name__} augments by {recipe.AUGMENT!r}")
    standardize = train.standardize()
    return {
        "batch": recipe.BATCH,
        "rate": recipe.RATE,
        "weight_decay": recipe.WEIGHT_DECAY,
        "dropout": recipe.DROPOUT,
        "mean": float(standardize.mean[0]),
        "std": float(standardize.std[0]),
        "augment": mirrored.augment,
    }


def compare(name: str, data: str | None, epochs: int, threads: int, batches: int) -> dict[str, Any]:
    """The record of a recipe."""
    from fastconv.recipes import RecipeSettings
    from fastconv.recipes.running import load_images

    mirrored = RECIPES[name]
    recipe = importlib.import_module(f"fastconv.recipes.{mirrored.module}")
    parts = load_images(RecipeSettings(data=data), name, dev=recipe.DEV)
    train, test = parts["train"], parts["test"]
    record: dict[str, Any] = {"name": name, "epochs": epochs, "batch": recipe.BATCH, "engines": {}}
    batch = min(recipe.BATCH, len(train))
    record["images"] = len(train) // batch * batch
    with tempfile.TemporaryDirectory() as folder:
        arrays = Path(folder) / "images.npz"
        np.savez(
            arrays,
            train=train.fetch(np.arange(len(train)))[:, 0],
            train_labels=train.labels,
            test=test.fetch(np.arange(len(test)))[:, 0],
            test_labels=test.labels,
        )
        request = {
            "module": mirrored.module,
            "data": None if data is None else os.path.abspath(data),
            "epochs": epochs,
            "seed": 0,
            "arrays": str(arrays),
            "told": told(recipe, mirrored, train),
        }
        engines = {n: Engine(n, threads, module=MODULE) for n in (OURS, PEER)}
        try:
            for engine, worker in engines.items():
                worker.ask("start", **request)
                versions = worker.ask("versions")["versions"]
                chosen = worker.ask("choose", batches=batches)
                record["engines"][engine] = {"versions": versions, "seconds": [], **chosen}
            for _ in range(epochs):
                for engine, worker in engines.items():
                    record["engines"][engine]["seconds"].append(worker.ask("epoch")["seconds"])
            for engine, worker in engines.items():
                record["engines"][engine]["accuracy"] = worker.ask("accuracy")["accuracy"]
        finally:
            for worker in engines.values():
                worker.close()
    ours, theirs = (record["engines"][n] for n in (OURS, PEER))
    ratios = [b / a for a, b in zip(ours["seconds"], theirs["seconds"], strict=True)]
    record["ratio"] = statistics.median(theirs["seconds"]) / statistics.median(ours["seconds"])
    record["ratio_low"], record["ratio_high"] = min(ratios), max(ratios)
    record["same_accuracy"] = _same(ours["accuracy"], theirs["accuracy"], len(test))
    return record


def _same(a: float, b: float, images: int) -> bool:
    mean = (a + b) / 2
    deviation = math.sqrt(2 * mean * (1 - mean) / images)
    return abs(a - b) <= DEVIATIONS * deviation + APART


def main(argv: Sequence[str] | None = None) -> int:
    argv = list(sys.argv[1:] if argv is None else argv)
    arguments = parser().parse_args(argv)
    names = arguments.recipe or list(RECIPES)
    problem = peers.load(PEER).missing()
    if problem is None and arguments.data is not None and len(names) != 1:
        problem = "--data goes with one --recipe"
    if problem is None and min(arguments.epochs, arguments.threads, arguments.batches) < 1:
        problem = "--epochs, --threads and --batches must be at least 1"
    if problem is not None:
        print(f"benchmarks.recipes: {problem}", file=sys.stderr)
        return 2
    result: dict[str, Any] = {
        "schema": SCHEMA,
        "date": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "command": ["python", "-m", "benchmarks.recipes", *argv],
        "suite": "recipes",
        "isa": None,
        "peers": [PEER],
        "threads": arguments.threads,
        "rounds": arguments.epochs,
        "quick": False,
        "machine": machine.describe(),
        "engines": {},
        "limits": {},
        "cases": [],
    }
    probe = Engines(arguments.threads)
    footprint = machine.memory_footprint()
    try:
        start = probe.limits(footprint, 0.5)
        for name in names:
            record = compare(
                name, arguments.data, arguments.epochs, arguments.threads, arguments.batches
            )
            for engine, found in record["engines"].items():
                result["engines"][engine] = found.pop("versions")
            result["cases"].append(record)
            print(table.recipe_line(record), flush=True)
        end = probe.limits(footprint, 0.5)
    except EngineError as error:
        print(error, file=sys.stderr)
        return 1
    finally:
        probe.close()
    result["limits"] = {k: {"before": v, "after": end[k]} for k, v in start.items()}
    if arguments.json is not None:
        arguments.json.parent.mkdir(parents=True, exist_ok=True)
        arguments.json.write_text(json.dumps(result, indent=1) + "\n")
    print(f"\n{table.summary(result)}")
    return 0 if all(record["same_accuracy"] for record in result["cases"]) else 1


if __name__ == "__main__":
    sys.exit(main())
