"""Write a run as one HTML file that opens offline.

Settings, final numbers, learning curves, diagnosis with advice, confusion matrix, precision and recall of each
class, samples with answers, highest losses, first filters, environment. The images are those that the run was
evaluated with, or those of --data; with --no-data the parts that need images are left out.
"""

from __future__ import annotations

import argparse
import json
import shlex
from dataclasses import replace
from pathlib import Path
from typing import Any

from ..errors import FormatError, ShapeError
from ..train.checkpoint import Checkpoint
from ..train.diagnosis import EVALUATIONS, Diagnosis, diagnose, read_evaluations
from .common import add_data, add_threads, checkpoint_net, set_threads, whole
from .evaluate import loader_of
from .show import run_file

__all__ = ["add_arguments", "run"]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of this command."""
    parser.add_argument("folder", metavar="RUN", type=Path, help="folder of a run")
    add_data(parser, "the one that the run was trained on")
    parser.add_argument(
        "--split",
        choices=["train", "bridge", "dev", "test"],
        help="which part (default: test, or dev where there is no test)",
    )
    parser.add_argument("--no-data", action="store_true", help="leave out what needs images")
    parser.add_argument(
        "--images", metavar="N", type=whole(1), default=18, help="pictures a section (default: 18)"
    )
    parser.add_argument(
        "--batch-size",
        metavar="B",
        type=whole(1),
        help="images at a time (default: 256, fewer where they are large)",
    )
    parser.add_argument(
        "--out", metavar="HTML", type=Path, help="file to write (default: RUN/report.html)"
    )
    add_threads(parser)


def run(options: argparse.Namespace) -> int:
    """Write the report; the exit code."""
    from ..visualize import Report, write_report

    set_threads(options)
    if options.no_data and (options.data or options.split or options.data_dir):
        raise ShapeError("report: --no-data does not go with --data, --data-dir and --split")
    options.checkpoint = run_file(options.folder)
    net, checkpoint = checkpoint_net(options.checkpoint)
    config = checkpoint.config
    said, loader = ("", None) if options.no_data else loader_of(options, config)
    out = options.out or options.folder / "report.html"
    report = Report(
        title=f"{config['model']}: {options.folder.resolve().name}",
        network=net,
        data=loader,
        data_name=said,
        classes=[str(name) for name in config["classes"]],
        history=_history(options.folder, checkpoint),
        diagnosis=_diagnosis(options.folder),
        settings=config,
        environment={
            "weights": f"{options.checkpoint.name}, after {checkpoint.global_step:,} steps",
            "command": _command(config),
        },
        images=options.images,
    )
    write_report(report, out)
    print(out)
    return 0


def _history(folder: Path, checkpoint: Checkpoint) -> list[dict[str, Any]]:
    """All epochs: of history.json, which goes on after the best weights, or else of the checkpoint.

    Raises:
        FormatError: the file is no list of epochs.
    """
    path = folder / "history.json"
    if not path.is_file():
        return checkpoint.history
    try:
        history = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise FormatError(f"report: {path}: not the history of a run: {error}") from error
    if not isinstance(history, list) or not all(_is_epoch(record) for record in history):
        raise FormatError(f"report: {path}: not the history of a run: expected a list of epochs")
    return history


def _diagnosis(folder: Path) -> Diagnosis | None:
    """What the run's errors say, if there are enough of them.

    Raises:
        FormatError: evaluations.json is damaged.
    """
    try:
        errors, images, notes = read_evaluations(folder)
    except FileNotFoundError:
        return None
    except FormatError:  # of a history without accuracies
        if (folder / EVALUATIONS).exists():
            raise
        return None
    try:
        found = diagnose(errors, images)
    except ShapeError:
        return None
    return replace(found, notes=(*notes, *found.notes))


def _is_epoch(record: Any) -> bool:
    if not isinstance(record, dict) or not isinstance(record.get("epoch"), int):
        return False
    names = ("train_loss", "val_loss", "train_accuracy", "val_accuracy")
    return all(isinstance(record[name], (int, float)) for name in names if name in record)


def _command(config: dict[str, Any]) -> str:
    """The command that makes such a run again."""
    recipe = config.get("recipe")
    if isinstance(recipe, dict):
        words = ["fastconv recipe", shlex.quote(str(recipe.get("name")))]
        for name in ("data", "epochs", "seed"):
            if recipe.get(name) is not None:
                words.append(f"--{name} {shlex.quote(str(recipe[name]))}")
        own = recipe.get("options")
        for name, value in own.items() if isinstance(own, dict) else ():
            written = f"--{name.replace('_', '-')}"
            if value is True:
                words.append(written)
            elif value is not False and value != "":
                words.append(f"{written} {shlex.quote(str(value))}")
        return " ".join(words)
    names = (
        "data",
        "epochs",
        "batch_size",
        "optimizer",
        "lr",
        "momentum",
        "weight_decay",
        "seed",
        "image_size",
        "split",
    )
    given = [
        f"--{name.replace('_', '-')} {shlex.quote(str(config[name]))}"
        for name in names
        if config.get(name) is not None
    ]
    return " ".join(["fastconv train", shlex.quote(str(config["model"])), *given])
