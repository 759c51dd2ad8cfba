"""One table of networks from several result files of a machine and a day, with a second thread count beside."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from . import lines

Result = dict[str, Any]
SUITES = ("nets", "train")


def groups(results: Sequence[Result]) -> list[list[Result]]:
    """The results as they were given; those of `SUITES` that belong into one table together."""
    found: dict[Any, list[Result]] = {}
    for i, result in enumerate(results):
        what = (result["suite"], result["date"][:10], result["machine"]["cpu"], result.get("isa"))
        alone = result["suite"] not in SUITES or result["quick"]
        found.setdefault(i if alone else what, []).append(result)
    return list(found.values())


def _cases(results: Sequence[Result]) -> dict[str, dict[str, Any]]:
    """By name; of a case that was run twice the later run counts."""
    ordered = sorted(results, key=lambda r: str(r["date"]))
    return {c["name"]: c for r in ordered for c in r["cases"] if c.get("peers")}


def _span(results: Sequence[Result], limit: str) -> str:
    """From the least to the most of the peak or the bandwidth around the runs."""
    values = [v for r in results for v in r["limits"][limit].values()]
    low, high = f"{min(values):.0f}", f"{max(values):.0f}"
    return low if low == high else f"{low} to {high}"


def table(results: Sequence[Result]) -> str:
    """Heading and rows: the ratios on the most threads, and on one the least of each network's."""
    threads = sorted({r["threads"] for r in results}, reverse=True)
    by_threads = {t: [r for r in results if r["threads"] == t] for t in threads}
    most = by_threads[threads[0]]
    merged = {**most[0], "cases": list(_cases(most).values())}
    merged["peers"] = sorted({p for r in most for p in r["peers"]})
    machine, first = most[0]["machine"], most[0]
    limits = "; ".join(
        f"{_span(by_threads[t], 'fma')} GFLOP/s and {_span(by_threads[t], 'stream')} GB/s on "
        f"{t} thread{'s' * (t != 1)}"
        for t in threads
    )
    versions = {n: v for r in most for n, v in r["engines"].items()}
    engines = "; ".join(f"{n} {versions[n].get(n, '')}".strip() for n in sorted(versions))
    rounds = sorted({r["rounds"] for r in results})
    told = [
        f"### {first['suite']}, {' and '.join(map(str, threads))} "
        f"thread{'s' * (threads != [1])}, {first['date'][:10]}",
        f"{machine['cpu']} ({machine['logical_cpus']} logical CPUs), isa "
        f"{first['engines']['fastconv'].get('isa', '')}. FMA peak and memory in {len(results)} runs: {limits}. "
        f"{engines}; {' or '.join(map(str, rounds))} rounds in turns.",
        f"`python -m benchmarks.run --suite {first['suite']}`",
    ]
    rows = lines.networks(merged).splitlines()
    if len(threads) > 1:
        rows = _beside(rows, _cases(by_threads[threads[-1]]), threads[-1])
    return "\n\n".join([*told, "\n".join(rows)]) + "\n"


def _beside(rows: Sequence[str], cases: dict[str, dict[str, Any]], threads: int) -> list[str]:
    """The rows with three more cells: time, the ratio to the best peer, and whether the bars are met."""
    of = f"{threads} thread{'s' * (threads != 1)}"
    made = [f"{rows[0]} {of}: ms | to the best | met |", f"{rows[1]} ---: | ---: | --- |"]
    for row in rows[2:]:
        case = cases.get(row.split("|")[1].strip())
        if case is None:
            made.append(f"{row} | | |")
            continue
        ratios = {n: e["best"]["ratio"] for n, e in case["peers"].items()}
        least = min(ratios, key=lambda n: ratios[n])
        met = lines.met(case)
        made.append(f"{row} {case['ours_ms']:.4g} | **{ratios[least]:.2f}** {least} | {met} |")
    return made
