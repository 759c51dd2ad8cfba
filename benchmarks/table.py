"""Markdown from result files: `python -m benchmarks.table benchmarks/results/*.json`."""

from __future__ import annotations

import argparse
import json
import statistics
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from . import joined, lines

RECIPE_BAR = 3.0  # end to end, data and augmentation included


def line(record: dict[str, Any], peers: Sequence[str]) -> str:
    """One case for the terminal."""
    text = f"{record['name']:<44} {record['layout']}"
    if "ours_ms" not in record:
        return f"{text}  {_problems(record)}"
    text += f" {record['ours_ms']:9.3f} ms {_rate(record):>13} {_share(record):>11}"
    for name in peers:
        entry = record["peers"].get(name)
        if entry is not None:
            like, best = entry["like"], entry["best"]
            text += f"  {name} {like['ms']:9.3f} ms {like['ratio']:5.2f}x"
            text += f" (best {best['variant']} {best['ratio']:.2f}x)"
    return "  ".join(filter(None, (text, "NOISY" if record["noisy"] else "", _problems(record))))


def recipe_line(record: dict[str, Any]) -> str:
    """A recipe for the terminal."""
    told = [
        f"{name} {statistics.median(found['seconds']):.1f} s, test {100 * found['accuracy']:.2f} %"
        for name, found in record["engines"].items()
    ]
    return f"{record['name']}: {'; '.join(told)}; ratio {record['ratio']:.2f}"


def recipes(result: dict[str, Any]) -> str:
    """Seconds of an epoch, end to end, and the accuracy after the same few epochs."""
    peer = result["peers"][0]
    head = ["recipe", "images", "fastconv s an epoch", f"{peer} s an epoch", "ratio", "rounds"]
    head += [f"test accuracy after as many epochs, {peer}'s", f"{peer}'s best", "bar", "met"]
    rows = [_row(head), _rule(len(head), 1)]
    for record in result["cases"]:
        ours, theirs = record["engines"]["fastconv"], record["engines"][peer]
        accuracies = f"{100 * ours['accuracy']:.2f}, {100 * theirs['accuracy']:.2f} %"
        rows.append(
            _row(
                [
                    record["name"],
                    f"{record['images']:,}",
                    f"{statistics.median(ours['seconds']):.2f}",
                    f"{statistics.median(theirs['seconds']):.2f}",
                    f"**{record['ratio']:.2f}**",
                    f"{record['ratio_low']:.2f} to {record['ratio_high']:.2f}",
                    accuracies + ("" if record["same_accuracy"] else " (differ)"),
                    theirs["chosen"],
                    f">= {RECIPE_BAR:g}x of {peer}",
                    "yes" if record["ratio"] >= RECIPE_BAR else "no",
                ]
            )
        )
    return "\n".join(rows)


def _problems(record: dict[str, Any]) -> str:
    return "; ".join(record["problems"].values())


def _rate(record: dict[str, Any]) -> str:
    if record["flops"]:
        return f"{record['gflops']:.1f} GFLOP/s"
    return f"{record['gbytes_per_s']:.1f} GB/s"


def _share(record: dict[str, Any]) -> str:
    return f"{100 * record['share']:.0f} % {'FMA' if record['bound'] == 'fma' else 'stream'}"


def _row(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cells) + " |"


def _rule(columns: int, left: int) -> str:
    return _row(["---"] * left + ["---:"] * (columns - left))


def heading(result: dict[str, Any]) -> str:
    """Where and how the numbers were taken."""
    machine, limits = result["machine"], result["limits"]
    engines = "; ".join(
        f"{name} " + ", ".join(f"{k} {v}" for k, v in sorted(versions.items()) if k != name)
        if name not in versions
        else f"{name} {versions[name]}"
        + "".join(f", {k} {v}" for k, v in sorted(versions.items()) if k != name)
        for name, versions in result["engines"].items()
    )
    trip = limits.get("round_trip")
    placed = (
        f"A line goes from one processor to another and back in {trip['before']:.2f} and "
        f"{trip['after']:.2f} us. "
        if trip
        else ""
    )
    caches = ", ".join(f"{k} {v >> 10} KiB" for k, v in machine["caches"].items())
    what = ", ".join(filter(None, (result["suite"], result.get("isa"))))
    told = [
        f"### {what}, {result['threads']} thread{'s' * (result['threads'] != 1)}, "
        f"{result['date'][:10]}",
        "",
        f"{machine['cpu']} ({machine['logical_cpus']} logical CPUs; {caches}). "
        f"FMA peak {limits['fma']['before']:.0f} GFLOP/s before and {limits['fma']['after']:.0f} "
        f"after; memory {limits['stream']['before']:.1f} and {limits['stream']['after']:.1f} GB/s. {placed}"
        f"{engines}. {result['rounds']} rounds in turns.",
        "",
        f"`{' '.join(result['command'])}`",
    ]
    if result["quick"]:
        told += [
            "",
            "**A quick run on small batches: it shows that everything runs, not how fast.**",
        ]
    return "\n".join(told)


def summary(result: dict[str, Any], beside: dict[str, Any] | None = None) -> str:
    """Geometric mean and worst ratio by network and direction; of the kernels suite by line, where
    `beside` is the same on more threads."""
    if result["suite"] == "kernels":
        return lines.table(result, beside)
    if result["suite"] == "recipes":
        return recipes(result)
    if result["suite"] in ("nets", "train"):
        return lines.networks(result)
    groups: dict[tuple[str, str, str], list[dict[str, Any]]] = {}
    for record in result["cases"]:
        if record.get("peers"):
            key = (record["name"].split(".")[0], record["op"], record["direction"])
            groups.setdefault((key[0], f"{key[1]} {key[2]}", record["layout"]), []).append(record)
    if not groups:
        return ""
    peers = result["peers"]
    head = ["network", "operation", "layout", "cases"]
    for name in peers:
        head += [f"{name}, same layout", "worst", f"{name} at its best", "worst"]
    rows = [_row(head), _rule(len(head), 3)]
    for key, records in groups.items():
        cells = [*key, str(len(records))]
        for name in peers:
            for kind in ("like", "best"):
                ratios = [r["peers"][name][kind]["ratio"] for r in records if name in r["peers"]]
                cells += (
                    [f"{lines.geomean(ratios):.2f}", f"{min(ratios):.2f}"] if ratios else ["", ""]
                )
        rows.append(_row(cells))
    return "\n".join(rows)


def details(result: dict[str, Any]) -> str:
    """A row a case."""
    peers = result["peers"]
    head = ["case", "layout", "batch", "fastconv ms", "rate", "share of limit"]
    for name in peers:
        head += [f"{name} ms", "ratio", "rounds", f"{name} best", "ratio"]
    rows = [_row(head), _rule(len(head), 2)]
    for record in result["cases"]:
        cells = [record["name"], record["layout"], str(record["shape"][0])]
        if "ours_ms" not in record:
            rows.append(_row([*cells, _problems(record)] + [""] * (len(head) - 4)))
            continue
        cells += [f"{record['ours_ms']:.3f}", _rate(record), _share(record)]
        if record["noisy"]:
            cells[0] += " (noisy)"
        for name in peers:
            entry = record["peers"].get(name)
            if entry is None:
                cells += [record["problems"].get(name, ""), "", "", "", ""]
                continue
            like, best = entry["like"], entry["best"]
            cells += [f"{like['ms']:.3f}", f"**{like['ratio']:.2f}**"]
            cells += [f"{like['ratio_low']:.2f} to {like['ratio_high']:.2f}"]
            cells += [best["variant"], f"{best['ratio']:.2f}"]
            if "differs" in record["problems"].get(name, ""):
                cells[0] += " (results differ)"
        rows.append(_row(cells))
    return "\n".join(rows)


def markdown(
    result: dict[str, Any], only_summary: bool = False, beside: dict[str, Any] | None = None
) -> str:
    """The report of one result file. A ratio is the peer's median time over ours."""
    without_details = only_summary or result["suite"] == "recipes"
    parts = [heading(result), summary(result, beside), "" if without_details else details(result)]
    return "\n\n".join(filter(None, parts)) + "\n"


# Where a document's generated tables stand.
BEGIN, END = "<!-- benchmarks: begin -->", "<!-- benchmarks: end -->"


def insert(document: str, tables: str) -> str:
    """`document` with what stands between its markers replaced by `tables`."""
    before, begin, rest = document.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"no {BEGIN} ... {END}")
    return f"{before}{BEGIN}\n\n{tables}\n{END}{after}"


def _beside(result: dict[str, Any], paths: Sequence[Path]) -> dict[str, Any] | None:
    """The run of the same kernels on more threads of the same processor, if it is among the files."""
    if result["suite"] != "kernels" or result["threads"] != 1:
        return None
    for path in paths:
        other: dict[str, Any] = json.loads(path.read_text())
        same = other["suite"] == "kernels" and other.get("isa") == result.get("isa")
        same = same and other["machine"]["cpu"] == result["machine"]["cpu"]
        if same and other["threads"] > 1:
            return other
    return None


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="benchmarks.table", description=__doc__)
    parser.add_argument("results", nargs="+", type=Path, metavar="JSON")
    parser.add_argument("--summary", action="store_true", help="leave out the row for each case")
    parser.add_argument(
        "--into", type=Path, metavar="FILE", help=f"replace what stands between {BEGIN} and {END}"
    )
    arguments = parser.parse_args(argv)
    results, tables = [], []
    for path in arguments.results:
        try:
            results.append(json.loads(path.read_text()))
            made = markdown(results[-1], arguments.summary, _beside(results[-1], arguments.results))
            tables.append(made)
        except (OSError, ValueError, KeyError, TypeError) as error:
            print(f"{path}: not a result file: {error!r}", file=sys.stderr)
            return 2
    if arguments.summary:
        alone = {id(result): made for result, made in zip(results, tables, strict=True)}
        tables = [
            joined.table(group) if len(group) > 1 else alone[id(group[0])]
            for group in joined.groups(results)
        ]
    if arguments.into is None:
        print("\n".join(tables))
        return 0
    try:
        arguments.into.write_text(insert(arguments.into.read_text(), "\n".join(tables)))
    except (OSError, ValueError) as error:
        print(f"{arguments.into}: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
