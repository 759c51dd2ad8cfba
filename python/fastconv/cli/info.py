"""Print what this installation is made of: instruction set, threads, versions."""

from __future__ import annotations

import argparse
import json

from ..config import config, show_config

__all__ = ["add_arguments", "run"]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of this command."""
    parser.add_argument("--json", action="store_true", help="print JSON")


def run(options: argparse.Namespace) -> int:
    """Print it; the exit code."""
    if options.json:
        print(json.dumps(config(), indent=1))
    else:
        show_config()
    return 0
