"""Where a program's time goes, step by step."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from . import _core

__all__ = ["Profile", "machine_limits"]


def machine_limits(seconds: float = 0.05) -> dict[str, float]:
    """The FMA peak (`fma`, GFLOP/s) and memory bandwidth (`stream`, GB/s) of the threads in use."""
    threads = _core.get_num_threads()
    return {
        "fma": _core.fma_peak(seconds, threads),
        "stream": _core.stream_bandwidth(1 << 27, seconds, threads),
    }


class Profile:
    """The steps of a program with the least time that each took; prints as a table, slowest first.

    Attributes:
        steps: dictionaries in the order of running: `op`, `algorithm`, `result` (element types and shapes),
            `seconds`, `operations` (floating-point), `bytes` (of operands and results).
        limits: the machine's peak `fma` (GFLOP/s) and `stream` bandwidth (GB/s), or None.
    """

    def __init__(self, steps: list[dict[str, Any]], limits: dict[str, float] | None = None) -> None:
        self.steps, self.limits = steps, limits

    @property
    def seconds(self) -> float:
        """The sum over all steps."""
        return float(sum(s["seconds"] for s in self.steps))

    def table(self, most: int = 30) -> str:
        """The `most` slowest steps as text: time, part of the whole, rates, and the share of the machine's
        limit, whichever of the two is nearer. Winograd saves operations and can pass 100 %."""
        limits = self.limits
        total = self.seconds or 1.0
        lines = [f"{'op':24}{'algorithm':16}{'ms':>9}{'%':>6}{'GFLOP/s':>9}{'GB/s':>7}"]
        lines[0] += f"{'limit %':>9}" if limits else ""
        lines[0] += "  result"
        for s in sorted(self.steps, key=lambda s: -s["seconds"])[:most]:
            seconds = max(s["seconds"], 1e-9)
            rate, stream = s["operations"] / seconds / 1e9, s["bytes"] / seconds / 1e9
            line = f"{s['op']:24}{s['algorithm'] or '-':16}{1e3 * seconds:9.3f}"
            line += f"{100 * seconds / total:6.1f}{rate:9.1f}{stream:7.1f}"
            if limits:
                share = max(rate / limits["fma"], stream / limits["stream"])
                line += f"{100 * share:9.0f}"
            lines.append(f"{line}  {s['result']}")
        rest = len(self.steps) - most
        if rest > 0:
            lines.append(f"... and {rest} steps more")
        lines.append(f"{len(self.steps)} steps, {1e3 * self.seconds:.3f} ms")
        return "\n".join(lines)

    def save(self, path: str | Path) -> None:
        """Write a trace that chrome://tracing and Perfetto open."""
        events, at = [], 0.0
        for s in self.steps:
            events.append(
                {
                    "name": " ".join(filter(None, (s["op"], s["algorithm"]))),
                    "ph": "X",
                    "ts": at,
                    "dur": 1e6 * s["seconds"],
                    "pid": 0,
                    "tid": 0,
                    "args": {k: s[k] for k in ("result", "operations", "bytes")},
                }
            )
            at += 1e6 * s["seconds"]
        Path(path).write_text(json.dumps({"traceEvents": events}))

    def __str__(self) -> str:
        return self.table()
