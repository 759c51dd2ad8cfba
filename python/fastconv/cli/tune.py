"""Fit the choice of convolution algorithms to this machine.

Times 3x3 layers by Winograd and direct convolution and writes what was found to a file that
`import fastconv` reads. Run it once, on a quiet machine.
"""

from __future__ import annotations

import argparse

from .. import tuning

__all__ = ["add_arguments", "run"]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of this command."""
    parser.add_argument(
        "--seconds", type=float, default=0.1, help="for each layer and algorithm (default 0.1)"
    )
    parser.add_argument("--out", help="the file to write (default: in the user's cache)")
    parser.add_argument("--dry-run", action="store_true", help="measure, write nothing")


def run(options: argparse.Namespace) -> int:
    """Measure and write; the exit code."""
    scale = tuning.tune(options.seconds, print)
    for name, factor in scale.items():
        print(f"{name:15} x {factor:.3f}")
    if not options.dry_run:
        print(f"written: {tuning.save(scale, options.out)}")
    return 0
