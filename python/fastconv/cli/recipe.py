"""Run a recipe: data, augmentation, network, training and result in one command.

Without NAME the recipes are listed. The folder of the run has checkpoints, history, curves and
recipe.json with the numbers; `fastconv report`, `diagnose` and `evaluate` read it. Ctrl-C leaves
last.safetensors, from which --resume continues as if nothing had happened (`experiments` goes on
by the same command).
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import ShapeError
from .common import add_threads, percent, whole

if TYPE_CHECKING:
    from ..recipes import Option

__all__ = ["add_arguments", "run"]

_OPTIONS = ("data", "epochs", "out", "seed", "threads")
_DEST = "recipe_"  # before the names of recipes' own options, where arguments are kept


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of this command."""
    parser.add_argument("name", metavar="NAME", nargs="?", help="which recipe")
    parser.add_argument(
        "--data",
        metavar="DATA",
        help="a data set by name, or a folder with its files (default: the recipe's own)",
    )
    parser.add_argument(
        "--epochs", metavar="N", type=whole(1), help="passes over the training images"
    )
    parser.add_argument(
        "--out", metavar="DIR", type=Path, help="folder for the files (default: runs/NAME)"
    )
    parser.add_argument(
        "--seed",
        metavar="S",
        type=whole(0),
        help="of weights, split, order and augmentation (default: 0)",
    )
    add_threads(parser)
    parser.add_argument("--resume", metavar="F", type=Path, help="continue from this checkpoint")
    parser.add_argument("--quiet", action="store_true", help="print the result only")
    from .. import recipes

    for name in recipes.list():
        for option in recipes.info(name).options:
            _add_option(parser, name, option)


def _add_option(parser: argparse.ArgumentParser, recipe: str, option: Option) -> None:
    """An option of one recipe; several may have one of that name, of the same kind."""
    written, default = f"--{option.name.replace('_', '-')}", option.default
    text = f"{recipe}: {option.help}"
    if not isinstance(default, bool) and default != "":
        text += f" (default: {default})"
    text = text.replace("%", "%%")
    for action in parser._actions:
        if written in action.option_strings:
            action.help = f"{action.help}; {text}"
            return
    kind: dict[str, Any] = {"metavar": "X"}
    if isinstance(default, bool):
        kind = {"action": "store_true", "default": None}
    elif isinstance(default, int):
        kind = {"metavar": "N", "type": whole(1)}
    parser.add_argument(written, dest=_DEST + option.name, help=text, **kind)


def run(options: argparse.Namespace) -> int:
    """Run the recipe, or list them all; the exit code."""
    from .. import recipes

    own = {
        name.removeprefix(_DEST): value
        for name, value in vars(options).items()
        if name.startswith(_DEST) and value is not None
    }
    if options.name is None and options.resume is None:
        given = [name for name in _OPTIONS if getattr(options, name) is not None] + list(own)
        if given:
            written = given[0].replace("_", "-")
            raise ShapeError(
                f"recipe: --{written} goes with a recipe's name: {', '.join(recipes.list())}"
            )
        width = max(map(len, recipes.list()))
        for name in recipes.list():
            print(f"{name.ljust(width)}  {recipes.info(name).summary}")
        return 0
    result = recipes.run(
        options.name,
        data=options.data,
        epochs=options.epochs,
        out=options.out,
        seed=options.seed,
        threads=options.threads,
        quiet=options.quiet,
        resume=options.resume,
        options=own,
    )
    width = max(map(len, result))
    for name, value in result.items():
        print(f"{name.ljust(width)}  {_shown(name, value):>10}")
    return 0


def _shown(name: str, value: float) -> str:
    if name.endswith("accuracy"):
        return percent(value)
    return f"{value:,.0f}" if abs(value) >= 1000 or value == int(value) else f"{value:.4g}"
