"""Name what the error of a run is made of: bias, variance, data mismatch, overfitting to dev.

RUN is the folder of a run; options take the place of its figures, or do without it. Errors are shares of wrong
answers, 0.08 or 8%.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
from pathlib import Path

from ..errors import ShapeError
from ..train.diagnosis import PARTS, diagnose, read_evaluations

__all__ = ["add_arguments", "run"]

_MEANING = {
    "human": "error of people, or the best that is possible",
    "train": "error on the training images",
    "bridge": "error on images of the training images' source that were not trained on",
    "dev": "error on the images by which choices are made",
    "test": "error on the images that were kept for the end",
}


def _share(text: str) -> float:
    number = text.strip()
    percent = number.endswith("%")
    try:
        value = float(number.rstrip("%")) / (100 if percent else 1)
    except ValueError:
        value = -1.0
    if not 0 <= value <= 1:
        raise argparse.ArgumentTypeError(
            f"expected a share from 0 to 1 or a percentage, got {text[:40]!r}"
        )
    return value


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of this command."""
    parser.add_argument("folder", metavar="RUN", type=Path, nargs="?", help="folder of a run")
    for part in PARTS:
        parser.add_argument(f"--{part}", metavar="E", type=_share, help=_MEANING[part])
    parser.add_argument("--json", action="store_true", help="print JSON")


def run(options: argparse.Namespace) -> int:
    """Diagnose; the exit code."""
    given = {part: getattr(options, part) for part in PARTS if getattr(options, part) is not None}
    if options.folder is None and not given:
        raise ShapeError("diagnose: expected the folder of a run, or errors such as --train 0.02")
    errors, images, notes = (
        ({}, {}, []) if options.folder is None else read_evaluations(options.folder)
    )
    images = {part: count for part, count in images.items() if part not in given}
    diagnosis = diagnose({**errors, **given}, images)
    diagnosis = dataclasses.replace(diagnosis, notes=(*notes, *diagnosis.notes))
    if options.json:
        print(json.dumps(diagnosis.as_dict(), indent=1))
    else:
        print(diagnosis)
    return 0
