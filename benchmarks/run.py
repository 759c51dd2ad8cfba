"""Times fastconv against its peers: `python -m benchmarks.run --suite ops --peer torch`."""

from __future__ import annotations

import argparse
import json
import os
import re
import statistics
import sys
from collections.abc import Callable, Sequence
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from . import cases, kernels, machine, peers, table
from .engine import ISA_VARIABLES, EngineError
from .measure import OURS, Engines, Settings, measure

KNOWN_PEERS = ("torch", "onnxruntime", "openvino", "ncnn", "mnn")
SCHEMA = 1


def _positive(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"must be at least 1, got {value}")
    return value


def _regex(text: str) -> re.Pattern[str]:
    try:
        return re.compile(text)
    except re.error as error:
        raise argparse.ArgumentTypeError(f"not a regular expression: {error}") from error


def parser() -> argparse.ArgumentParser:
    p = argparse.ArgumentParser(
        prog="benchmarks.run",
        description="Time fastconv against its peers, in separate processes and in turns.",
        epilog="Exit status: 0 done, 1 a case failed or results differ, 2 bad usage or no peer.",
    )
    p.add_argument("--suite", choices=cases.SUITES, default="ops")
    p.add_argument(
        "--peer",
        action="append",
        choices=(*KNOWN_PEERS, "none"),
        help="may be repeated; default: every installed one; none: fastconv alone",
    )
    p.add_argument("--layout", choices=("NCHW", "NHWC", "both"), default="NCHW",
                   help="memory order of the arrays in the ops suite")  # fmt: skip
    p.add_argument(
        "--group",
        action="append",
        choices=kernels.GROUPS,
        help="of the kernels suite; may be repeated; default: all",
    )
    p.add_argument(
        "--isa",
        choices=tuple(ISA_VARIABLES),
        help="hold fastconv and PyTorch to this instruction set",
    )
    p.add_argument(
        "--threads",
        type=_positive,
        help="default: 1 for ops and kernels, all processors otherwise",
    )
    p.add_argument(
        "--rounds",
        type=_positive,
        help="turns of each engine, default 5 (kernels: 4, random shapes 3; 2 with --quick)",
    )
    p.add_argument(
        "--filter", type=_regex, metavar="REGEX", help="only cases whose name it matches"
    )
    p.add_argument(
        "--quick", action="store_true", help="small batches and short times: does it run?"
    )
    p.add_argument("--json", type=Path, metavar="F", help="write everything measured to F")
    p.add_argument("--markdown", type=Path, metavar="F", help="write the tables to F")
    p.add_argument("--list", action="store_true", help="print the names of the cases and stop")
    return p


def usable_peers(asked: Sequence[str] | None) -> list[str] | None:
    """The peers to run, after one line on stderr for each that cannot; None where none can."""
    if asked is not None and "none" in asked:
        return []
    adapters = [n for n in peers.names() if n != OURS]
    usable = []
    for name in dict.fromkeys(asked or adapters):
        if name not in adapters:
            print(
                f"peer {name} has no adapter yet (there is: {', '.join(adapters)})", file=sys.stderr
            )
            continue
        problem = peers.load(name).missing()
        if problem is None:
            usable.append(name)
        else:
            print(problem, file=sys.stderr)
    return usable or None


def select(arguments: argparse.Namespace) -> list[cases.Case]:
    layouts = ("NCHW", "NHWC") if arguments.layout == "both" else (arguments.layout,)
    if arguments.suite != "ops":
        layouts = layouts[:1]
    chosen = [c for layout in layouts for c in cases.suite(arguments.suite, layout)]
    if arguments.suite == "kernels":
        groups = arguments.group or kernels.default_groups(arguments.isa)
        chosen = [c for c in chosen if c.group in groups]
        if arguments.quick:
            chosen = kernels.sample(chosen)
    if arguments.filter is not None:
        chosen = [c for c in chosen if arguments.filter.search(c.name)]
    return [c.smaller() for c in chosen] if arguments.quick else chosen


def run(
    chosen: list[cases.Case],
    against: list[str],
    settings: Settings,
    result: dict[str, Any],
    settings_of: Callable[[cases.Case], Settings] | None = None,
) -> None:
    """Measure the cases into `result`, which is in order after each of them."""
    engines = Engines(settings.threads, result["isa"])
    try:
        for name in [OURS, *against]:
            result["engines"][name] = engines.get(name).ask("versions")["versions"]
        footprint = machine.memory_footprint() if not result["quick"] else 64 << 20
        start = engines.limits(footprint, 10 * settings.limit_seconds)
        result["limits"] = {k: {"before": v, "after": v} for k, v in start.items()}
        absent: set[tuple[str, str]] = set()  # groups that this version cannot run, by direction
        for case in chosen:
            if (case.group, case.direction) in absent:
                continue
            record = measure(case, engines, against, settings_of(case) if settings_of else settings)
            if result["suite"] == "kernels":
                record = _condense(record)
                if record["problems"].get(OURS, "").startswith("unsupported"):
                    absent.add((case.group, case.direction))
            result["cases"].append(record)
            print(table.line(record, against), flush=True)
        for k, v in engines.limits(footprint, 10 * settings.limit_seconds).items():
            result["limits"][k]["after"] = v
    finally:
        engines.close()


def _condense(record: dict[str, Any]) -> dict[str, Any]:
    """The median of each round, to five digits: 1,500 cases with every sample would make 10 MB."""
    for variants in record.get("samples", {}).values():
        for variant, rounds in variants.items():
            variants[variant] = [[statistics.median(r)] for r in rounds]
    rounded: dict[str, Any] = _rounded(record)
    return rounded


def _rounded(value: Any) -> Any:
    if isinstance(value, float):
        return float(f"{value:.5g}")
    if isinstance(value, dict):
        return {k: _rounded(v) for k, v in value.items()}
    return [_rounded(v) for v in value] if isinstance(value, (list, tuple)) else value


def write(path: Path, text: str) -> None:
    """All of the file or nothing."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(path.name + ".part")
    temporary.write_text(text)
    os.replace(temporary, path)


def main(argv: Sequence[str] | None = None) -> int:
    argv = list(sys.argv[1:] if argv is None else argv)
    arguments = parser().parse_args(argv)
    chosen = select(arguments)
    if not chosen:
        told = arguments.filter.pattern if arguments.filter else ""
        print(f"no case of {arguments.suite} matches {told!r}", file=sys.stderr)
        return 2
    if arguments.list:
        print("\n".join(f"{c.name} {c.layout} {c.shape}" for c in chosen))
        return 0
    against = usable_peers(arguments.peer)
    if against is None:
        print("no peer can run; --peer none times fastconv alone", file=sys.stderr)
        return 2
    layers = arguments.suite in ("ops", "kernels")
    threads = arguments.threads or (1 if layers else len(os.sched_getaffinity(0)))
    rounds = arguments.rounds or (2 if arguments.quick else 5)
    settings = Settings(threads=threads, rounds=rounds)
    settings_of = None
    if arguments.quick:
        settings = Settings(threads, rounds, 0.005, 0.005, 0.005, attempts=1)
    elif arguments.suite == "kernels":
        settings_of = kernels.settings(threads, arguments.rounds)
    result: dict[str, Any] = {
        "schema": SCHEMA,
        "date": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "command": ["python", "-m", "benchmarks.run", *argv],
        "suite": arguments.suite,
        "isa": arguments.isa,
        "peers": against,
        "threads": threads,
        "rounds": rounds,
        "quick": arguments.quick,
        "machine": machine.describe(),
        "engines": {},
        "limits": {},
        "cases": [],
    }
    status = 0
    try:
        run(chosen, against, settings, result, settings_of)
    except KeyboardInterrupt:
        status = 130
    except EngineError as error:
        print(error, file=sys.stderr)
        status = 1
    # A run that was cut short keeps what it has.
    if result["cases"]:
        if arguments.json is not None:
            write(arguments.json, json.dumps(result, indent=None) + "\n")
        if arguments.markdown is not None:
            write(arguments.markdown, table.markdown(result))
        print(f"\n{table.summary(result)}" if against else "")
    wrong = [
        r for r in result["cases"] if any("unsupported" not in p for p in r["problems"].values())
    ]
    return status or (1 if wrong else 0)


if __name__ == "__main__":
    sys.exit(main())
