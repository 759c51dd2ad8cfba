"""Two or more builds of fastconv in turns: what a change to a kernel wins, on the suites' cases or any other.

    mkdir /tmp/before && cp -r python/fastconv /tmp/before/        # then change, build
    python -m benchmarks.builds /tmp/before python --group 1x1 --filter fprop
    python -m benchmarks.builds /tmp/before python --conv 8,64,56,56,64,3 --direction dgrad

A folder holds a `fastconv` package with its compiled module. Prints milliseconds of the first and, for the
others, its time over theirs: above 1 they are faster; in brackets the range from round to round.
"""

from __future__ import annotations

import argparse
import statistics
import sys
from collections.abc import Sequence
from pathlib import Path

from . import cases, kernels
from .engine import ISA_VARIABLES, Engine, EngineError
from .lines import geomean
from .measure import OURS


def _conv(text: str) -> tuple[tuple[int, int, int, int], dict[str, int]]:
    """N,C,H,W,K,R and, where wanted, stride, dilation, groups, padding."""
    try:
        numbers = [int(part) for part in text.split(",")]
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"not numbers: {text}") from error
    if not 6 <= len(numbers) <= 10:
        raise argparse.ArgumentTypeError(f"{text}: 6 to 10 numbers, got {len(numbers)}")
    n, c, h, w, out, kernel = numbers[:6]
    defaults = {"stride": 1, "dilation": 1, "groups": 1, "padding": kernel // 2}
    rest = dict(zip(defaults, numbers[6:], strict=False))
    return (n, c, h, w), {"out": out, "kernel": kernel, **defaults, **rest}


def select(options: argparse.Namespace) -> list[cases.Case]:
    """The cases that the arguments ask for."""
    directions = options.direction or kernels.DIRECTIONS
    if options.conv:
        return [
            cases.Case(f"{text}.{d}", "conv2d", d, shape, options.layout, {"bias": False, **params},
                       options.dtype)
            for (shape, params), text in zip(map(_conv, options.conv), options.conv, strict=True)
            for d in directions
        ]  # fmt: skip
    names = set(Path(options.names).read_text().split()) if options.names else None
    chosen = kernels.cases(tuple(options.group)) if options.group else kernels.cases()
    chosen = [c for c in chosen if not options.direction or c.direction in options.direction]
    chosen = [c for c in chosen if names is None or c.name in names]
    return [c for c in chosen if options.filter is None or options.filter in c.name]


def compare(
    case: cases.Case, engines: Sequence[Engine], rounds: int, seconds: float
) -> dict[str, list[list[float]]]:
    """Seconds a call: for each of our variants and each engine, the median of every round."""
    known: list[list[str]] = []  # variants that a build may lack
    for engine in engines:
        reply = engine.ask("prepare", case=case.to_json(), warm_up=seconds)
        known.append([job["variant"] for job in reply["jobs"]])
    taken: dict[str, list[list[float]]] = {}
    for variant in (v for v in known[0] if all(v in others for others in known)):
        taken[variant] = [[] for _ in engines]
        for _ in range(rounds):
            for engine, times in zip(engines, taken[variant], strict=True):
                timed = engine.ask("time", variant=variant, seconds=seconds)
                times.append(statistics.median(timed["samples"]))
    for engine in engines:
        engine.ask("free")
    return taken


def main(argv: Sequence[str] | None = None) -> int:
    p = argparse.ArgumentParser(
        prog="benchmarks.builds", description=(__doc__ or "").split("\n")[0]
    )
    p.add_argument("folders", nargs="+", type=Path)
    p.add_argument("--group", action="append", choices=kernels.GROUPS)
    p.add_argument("--filter", help="part of a case's name")
    p.add_argument("--names", help="a file with the names of the cases")
    p.add_argument("--conv", action="append", help=_conv.__doc__)
    p.add_argument("--direction", action="append", choices=kernels.DIRECTIONS)
    p.add_argument("--layout", choices=("NCHW", "NHWC"), default="NHWC", help="of --conv")
    p.add_argument("--dtype", choices=tuple(cases.ELEMENT), default="float32", help="of --conv")
    p.add_argument("--isa", choices=tuple(ISA_VARIABLES))
    p.add_argument("--threads", type=int, default=1)
    p.add_argument("--rounds", type=int, default=7)
    p.add_argument("--seconds", type=float, default=0.05, help="of each turn")
    options = p.parse_args(argv)
    try:
        chosen = select(options)
    except argparse.ArgumentTypeError as error:
        p.error(f"--conv: {error}")
    for folder in options.folders:
        if not (folder / "fastconv").is_dir():
            p.error(f"{folder} holds no package fastconv")
    engines: list[Engine] = []
    ratios: list[list[float]] = [[] for _ in options.folders[1:]]
    try:
        for folder in options.folders:
            engines.append(Engine(OURS, options.threads, options.isa, folder.resolve()))
            origin = Path(engines[-1].ask("origin")["origin"]).resolve()
            if folder.resolve() not in origin.parents:
                raise EngineError(f"asked for the build in {folder}, Python imports {origin}")
        for case in chosen:
            taken = compare(case, engines, options.rounds, options.seconds)
            for variant, (first, *others) in taken.items():
                told = [f"{case.name + ' ' + variant:52} {1e3 * statistics.median(first):9.4f}"]
                for times, all_ratios in zip(others, ratios, strict=True):
                    each = [a / b for a, b in zip(first, times, strict=True)]
                    all_ratios.append(statistics.median(each))
                    told.append(f"{all_ratios[-1]:6.3f} ({min(each):.2f}-{max(each):.2f})")
                print("  ".join(told), flush=True)
    except EngineError as error:
        print(error, file=sys.stderr)
        return 1
    finally:
        for engine in engines:
            engine.close()
    for folder, all_ratios in zip(options.folders[1:], ratios, strict=True):
        if all_ratios:
            print(f"geometric mean of {folder}: {geomean(all_ratios):.3f}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
