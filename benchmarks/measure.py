"""Measuring one case: engines in turns, the machine's limits before and after, results compared."""

from __future__ import annotations

import contextlib
import statistics
from dataclasses import dataclass
from typing import Any

import numpy as np

from .cases import Case
from .engine import Engine, EngineError, EngineUnsupported

# More is noise: the change of a limit between before and after, or (one thread) the part of the
# time that other processes had the processor.
DISTURBANCE = 0.10
# Of the largest value: how far two engines' results may differ.
TOLERANCE = {"float32": 1e-4, "bfloat16": 2e-2}
OURS = "fastconv"


@dataclass(frozen=True)
class Settings:
    """How long and how often. Seconds are per engine, variant and round."""

    threads: int = 1
    rounds: int = 5
    seconds: float = 0.1
    warm_up: float = 0.1
    limit_seconds: float = 0.03
    attempts: int = 3


class Engines:
    """The worker processes by name, started on first use and again after one died."""

    def __init__(self, threads: int, isa: str | None = None) -> None:
        self._threads = threads
        self._isa = isa
        self._running: dict[str, Engine] = {}

    def get(self, name: str, role: str = "") -> Engine:
        """The engine `name`; a `role` gives a second process of its own."""
        key = f"{name}/{role}"
        engine = self._running.get(key)
        if engine is not None and not engine.alive:
            engine.close()
            engine = None
        if engine is None:
            engine = self._running[key] = Engine(name, self._threads, self._isa)
        return engine

    def limits(self, footprint: int, seconds: float) -> dict[str, float]:
        """Measured by a process that does nothing else."""
        probe = self.get(OURS, "probe")
        return probe.ask("limits", footprint=min(max(footprint, 4096), 4 << 30), seconds=seconds)

    def close(self) -> None:
        for engine in self._running.values():
            engine.close()


def measure(case: Case, engines: Engines, peers: list[str], settings: Settings) -> dict[str, Any]:
    """The record of a case; what failed or is unsupported is told under "problems"."""
    record: dict[str, Any] = {
        **case.to_json(),
        "flops": case.flops,
        "bytes": case.bytes,
        "footprint": case.footprint,
        "problems": {},
        "skipped": {},
    }
    jobs: dict[str, list[dict[str, Any]]] = {}
    for name in [OURS, *peers]:
        try:
            reply = engines.get(name).ask("prepare", case=case.to_json(), warm_up=settings.warm_up)
            jobs[name] = reply["jobs"]
            record["skipped"] |= reply["skipped"]
        except EngineUnsupported as error:
            record["problems"][name] = f"unsupported: {error}"
        except EngineError as error:
            record["problems"][name] = f"failed: {error}"
    _compare(jobs, record, TOLERANCE[case.dtype])
    try:
        if OURS in jobs:
            _repeat_until_quiet(case, engines, jobs, settings, record)
            jobs = {name: jobs[name] for name in record["samples"]}
            _summarize(record, jobs)
    except EngineError as error:
        record["problems"][OURS] = f"failed: {error}"
    for name in jobs:
        if engines.get(name).alive:
            with contextlib.suppress(EngineError):
                engines.get(name).ask("free")
    return record


def _repeat_until_quiet(
    case: Case,
    engines: Engines,
    jobs: dict[str, list[dict[str, Any]]],
    settings: Settings,
    record: dict[str, Any],
) -> None:
    """Time the case until nothing disturbed it; keep the quietest attempt."""
    quietest = float("inf")
    for attempt in range(1, settings.attempts + 1):
        before = engines.limits(case.footprint, settings.limit_seconds)
        samples, health, failed = _turns(engines, jobs, settings)
        for name, error in failed.items():  # the others go on without it
            record["problems"][name] = f"failed: {error}"
        jobs = {name: described for name, described in jobs.items() if name not in failed}
        after = engines.limits(case.footprint, settings.limit_seconds)
        bound = _bound(case.flops, case.bytes, before)
        drift = abs(before[bound] - after[bound]) / max(before[bound], after[bound])
        shares = {name: statistics.median(h["cpu_share"]) for name, h in health.items()}
        waited = 1 - min(shares.values()) if settings.threads == 1 else 0.0
        disturbance = max(drift, waited)
        record["attempts"] = attempt
        if disturbance < quietest:
            quietest = disturbance
            limits = {k: {"before": before[k], "after": after[k]} for k in before}
            record |= {"samples": samples, "limits": limits, "bound": bound, "drift": drift}
            record |= {"cpu_share": shares}
            for key in ("page_faults", "disturbed"):
                record[key] = {n: statistics.median(h[key]) for n, h in health.items()}
        if disturbance <= DISTURBANCE:
            break
    record["noisy"] = quietest > DISTURBANCE


def _turns(
    engines: Engines, jobs: dict[str, list[dict[str, Any]]], settings: Settings
) -> tuple[
    dict[str, dict[str, list[list[float]]]], dict[str, dict[str, list[float]]], dict[str, str]
]:
    """A B A B ...: samples[engine][variant][round], in seconds a call; each engine's share of the
    processor and page faults a call, turn by turn; and what failed."""
    samples: dict[str, dict[str, list[list[float]]]] = {
        name: {job["variant"]: [] for job in described} for name, described in jobs.items()
    }
    health: dict[str, dict[str, list[float]]] = {
        name: {"cpu_share": [], "page_faults": [], "disturbed": []} for name in jobs
    }
    failed: dict[str, str] = {}
    for _ in range(settings.rounds):
        for name, described in jobs.items():
            for job in described if name not in failed else ():
                variant = job["variant"]
                try:
                    reply = engines.get(name).ask("time", variant=variant, seconds=settings.seconds)
                except EngineError as error:
                    if name == OURS:
                        raise
                    failed[name] = str(error)
                    break
                samples[name][variant].append([float(f"{s:.5g}") for s in reply["samples"]])
                for key, turns in health[name].items():
                    turns.append(reply[key])
    for name in failed:
        del samples[name], health[name]
    return samples, health, failed


def _bound(flops: float, traffic: float, limits: dict[str, float]) -> str:
    """Which limit the case runs into first: the one that needs the longer time."""
    return "fma" if flops / limits["fma"] >= traffic / limits["stream"] else "stream"


def _compare(
    jobs: dict[str, list[dict[str, Any]]], record: dict[str, Any], tolerance: float
) -> None:
    """Every job's results against our first job's."""
    if OURS not in jobs:
        return
    expected = jobs[OURS][0]["outputs"]
    worst: dict[str, float] = {}
    for name, described in jobs.items():
        for job in described:
            got = job.pop("outputs")
            difference = _difference(got, expected)
            worst[name] = max(worst.get(name, 0.0), difference)
            if not difference <= tolerance:
                record["problems"][name] = (
                    f"differs: {job['variant']} is {difference:.2g} of the largest value off"
                )
    record["difference"] = {k: v for k, v in worst.items() if k != OURS}


def _difference(got: dict[str, Any], expected: dict[str, Any]) -> float:
    worst = 0.0
    if got.keys() != expected.keys():
        return float("inf")
    for key, want in expected.items():
        if got[key]["shape"] != want["shape"]:
            return float("inf")
        a, b = np.array(got[key]["values"]), np.array(want["values"])
        if not (np.isfinite(a).all() and np.isfinite(b).all()):
            return float("inf")
        worst = max(worst, float(np.abs(a - b).max()) / max(float(np.abs(b).max()), 1e-30))
    return worst


def _summarize(record: dict[str, Any], jobs: dict[str, list[dict[str, Any]]]) -> None:
    """Medians, ratios and shares from the samples; ours is the best of our variants.

    `ours` has each of our variants: its time, its ratios to the peers' best, and its shares of both
    limits, which count the nominal operations and the least bytes."""
    samples = record["samples"]
    medians = {
        name: {v: statistics.median(s for r in rounds for s in r) for v, rounds in variants.items()}
        for name, variants in samples.items()
    }
    ours_variant, ours = min(medians[OURS].items(), key=lambda item: item[1])
    limits = {k: max(v.values()) for k, v in record["limits"].items()}
    needed = max(
        record["flops"] / (limits["fma"] * 1e9), record["bytes"] / (limits["stream"] * 1e9)
    )
    record |= {
        "ours_ms": ours * 1e3,
        "gflops": record["flops"] / ours * 1e-9,
        "gbytes_per_s": record["bytes"] / ours * 1e-9,
        "share": needed / ours,
        "peers": {},
        "ours": {
            variant: {
                "ms": time * 1e3,
                "ratios": {n: min(m.values()) / time for n, m in medians.items() if n != OURS},
                "of_fma": record["flops"] / time * 1e-9 / limits["fma"],
                "of_stream": record["bytes"] / time * 1e-9 / limits["stream"],
            }
            for variant, time in medians[OURS].items()
        },
    }
    mine = [statistics.median(r) for r in samples[OURS][ours_variant]]
    for name, variants in medians.items():
        if name == OURS:
            continue
        like = min((j["variant"] for j in jobs[name] if j["like"]), key=lambda v: variants[v])
        best = min(variants, key=lambda v: variants[v])
        entry = {}
        for key, variant in (("like", like), ("best", best)):
            theirs = [statistics.median(r) for r in samples[name][variant]]
            by_round = [b / a for a, b in zip(mine, theirs, strict=True)]
            entry[key] = {
                "variant": variant,
                "ms": variants[variant] * 1e3,
                "ratio": variants[variant] / ours,
                "ratio_low": min(by_round),
                "ratio_high": max(by_round),
            }
        record["peers"][name] = entry
