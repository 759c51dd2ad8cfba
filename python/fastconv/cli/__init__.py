"""The command `fastconv`: train, recipe, evaluate, predict, show, report, diagnose, export, bench, tune, info.

Exit codes: 0 done, 1 the reader of the output went away, 2 an error (one line on standard error
    says which), 130
interrupted by Ctrl-C or SIGTERM.
"""

from __future__ import annotations

import argparse
import difflib
import os
import signal
import sys
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

from .. import __version__
from ..errors import FastconvError
from . import bench, diagnose, evaluate, export, info, predict, recipe, report, show, train, tune

__all__ = ["main"]

INTERRUPTED = 130


class _Parser(argparse.ArgumentParser):
    """One line for a mistake, without the usage before it."""

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"{self.prog}: error: {message} (see {self.prog} --help)\n")


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(prog="fastconv", description="Train and run convolutional networks.")
    parser.add_argument("--version", action="version", version=f"fastconv {__version__}")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    for command in (
        train,
        recipe,
        evaluate,
        predict,
        show,
        report,
        diagnose,
        export,
        bench,
        tune,
        info,
    ):
        name = command.__name__.rpartition(".")[2]
        text = (command.__doc__ or "").strip()
        sub = commands.add_parser(
            name,
            help=text.partition("\n")[0].rstrip("."),
            description=text,
            formatter_class=argparse.RawDescriptionHelpFormatter,
            add_help=command is not bench,
        )
        command.add_arguments(sub)
        sub.set_defaults(run=command.run, parser=sub)
    return parser


def _parsed(arguments: list[str]) -> argparse.Namespace:
    """The options; argparse leaves images over that follow options between them and the model."""
    options, rest = _parser().parse_known_args(arguments)
    command: argparse.ArgumentParser = options.parser
    unknown = [text for text in rest if text.startswith("-") and text != "-"]
    if unknown:
        name = unknown[0].partition("=")[0]
        known = [text for action in command._actions for text in action.option_strings]
        near = difflib.get_close_matches(name, known, 2, cutoff=0.75)
        hint = f"; did you mean {' or '.join(near)}?" if near else ""
        command.error(f"there is no option {name[:40]}{hint}")
    if len(rest) == 1 and options.run is show.run and options.photo is None:
        options.photo = Path(rest.pop())
    if rest and options.run is not predict.run:
        command.error(f"expected no more arguments, got {' '.join(rest)[:80]!r}")
    if rest:
        options.images += [Path(text) for text in rest]
    return options


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line `argv` (by default the process's own) and return its exit code.

    Nothing is raised for bad usage, bad files or missing packages: the exit code is 2, and one line
        on standard
    error says what is wrong.
    """
    arguments = list(sys.argv[1:] if argv is None else argv)
    restore = _terminate_like_interrupt()
    try:
        if arguments[:1] == ["bench"]:  # the benchmarks parse the rest themselves
            return bench.forward(arguments[1:])
        options = _parsed(arguments)
        code = int(options.run(options))
        sys.stdout.flush()
        return code
    except SystemExit as stop:  # argparse's way out
        return stop.code if isinstance(stop.code, int) else 2
    except KeyboardInterrupt:
        print("fastconv: interrupted", file=sys.stderr)
        return INTERRUPTED
    except BrokenPipeError:
        # Python flushes standard output at exit: let that go nowhere.
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        return 1
    except (FastconvError, ImportError, MemoryError, OSError) as error:
        message = " ".join(str(error).split()) or type(error).__name__
        print(f"fastconv: error: {message}", file=sys.stderr)
        return 2
    finally:
        if restore is not None:
            signal.signal(signal.SIGTERM, restore)


def _terminate_like_interrupt() -> signal.Handlers | None:
    """Let SIGTERM end a run as Ctrl-C does, where it would end the process at once; what it did
    before."""
    if (
        threading.current_thread() is not threading.main_thread()
        or signal.getsignal(signal.SIGTERM) is not signal.SIG_DFL
    ):
        return None
    signal.signal(signal.SIGTERM, lambda number, frame: signal.raise_signal(signal.SIGINT))
    return signal.SIG_DFL
