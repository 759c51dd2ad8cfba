"""Run the benchmarks against the installed peers.

The benchmarks are part of a source checkout, not of the installed package: run this in the
    checkout's folder. All
options go to `benchmarks.run`.
"""

from __future__ import annotations

import argparse
import importlib
import sys
from collections.abc import Sequence
from pathlib import Path

__all__ = ["add_arguments", "forward", "run"]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of this command: whatever the benchmarks take."""
    parser.add_argument("options", nargs=argparse.REMAINDER, help="options of benchmarks.run")


def run(options: argparse.Namespace) -> int:
    """Run the benchmarks; the exit code."""
    return forward(options.options)


def forward(arguments: Sequence[str]) -> int:
    """Hand `arguments` to `benchmarks.run` in the current folder."""
    folder = Path.cwd()
    if not (folder / "benchmarks" / "run.py").is_file():
        if {"-h", "--help"} & set(arguments):
            print(f"usage: fastconv bench [options of benchmarks.run]\n\n{__doc__.strip()}")
            return 0
        print(
            f"fastconv bench: error: {folder} has no benchmarks/run.py: "
            "run this in the folder of a source checkout of fastconv",
            file=sys.stderr,
        )
        return 2
    sys.path.insert(0, str(folder))
    try:
        module = importlib.import_module("benchmarks.run")
        code = module.main(list(arguments))
    finally:
        sys.path.remove(str(folder))
    return int(code or 0)
