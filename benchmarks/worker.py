"""One engine in a process of its own, started by `engine.py` with its name and the threads.

Requests and replies are JSON, one object a line, on stdin and stdout. Whatever a library prints
goes to stderr.
"""

from __future__ import annotations

import gc
import importlib
import json
import os
import resource
import sys
import time
import traceback
from collections.abc import Callable
from typing import Any

import numpy as np

from . import peers
from .cases import Case, make_inputs
from .peers.base import Job, Peer, Unsupported

MIN_SAMPLE = 2e-3  # seconds: shorter calls are timed several at a time
MIN_SAMPLES = 3
# A single-threaded sample during which the thread was off its processor for more than this part of the time
# measures the neighbours. It is taken again, for at most as long again as the turn lasts.
WAITED = 0.02
FINGERPRINT = 256


class Worker:
    """Holds the jobs of one case at a time."""

    def __init__(self, peer: Peer) -> None:
        self.peer = peer
        self.jobs: dict[str, Job] = {}
        self.inner: dict[str, int] = {}

    def prepare(self, case: dict[str, Any], warm_up: float) -> dict[str, Any]:
        """Make the case's arrays, run every job once for its results, then warm it up."""
        self.free()
        c = Case.from_json(case)
        described = []
        self.peer.skipped = {}
        for job in self.peer.prepare(c, make_inputs(c)):
            if job.enter is not None:
                job.enter()
            outputs = {k: fingerprint(v) for k, v in job.outputs().items()}
            self.jobs[job.variant] = job
            self.inner[job.variant] = self._warm_up(job, warm_up)
            described.append({"variant": job.variant, "like": job.like, "outputs": outputs})
        gc.collect()
        gc.freeze()  # what has been made so far is not scanned again during the timing
        return {"jobs": described, "skipped": self.peer.skipped}

    def _warm_up(self, job: Job, seconds: float) -> int:
        """Run for a while; returns how many calls make one sample."""
        end = time.perf_counter() + seconds
        best = float("inf")
        for _ in range(100_000):
            start = time.perf_counter()
            job.call()
            now = time.perf_counter()
            best = min(best, now - start)
            if now >= end:
                break
        return max(1, round(MIN_SAMPLE / max(best, 1e-9)))

    def time(self, variant: str, seconds: float) -> dict[str, Any]:
        """Seconds a call, in undisturbed samples that last `seconds` together.

        Where too few are undisturbed, the disturbed ones count too."""
        job, inner = self.jobs[variant], self.inner[variant]
        if job.enter is not None:
            job.enter()
        job.call()  # the other engine's turn has had the caches
        quiet: list[tuple[float, float]] = []  # (wall, processor) seconds
        disturbed: list[tuple[float, float]] = []
        faults = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
        begin = now = time.perf_counter()
        spent = 0.0
        while spent < seconds or len(quiet) < MIN_SAMPLES:
            cpu, start = time.process_time(), time.perf_counter()
            for _ in range(inner):
                job.call()
            now = time.perf_counter()
            took, on = now - start, time.process_time() - cpu
            if self.peer.threads == 1 and on < (1 - WAITED) * took:
                disturbed.append((took, on))
                if now - begin > 2 * seconds and len(quiet) + len(disturbed) >= MIN_SAMPLES:
                    break
            else:
                quiet.append((took, on))
                spent += took
        calls = (len(quiet) + len(disturbed)) * inner
        faults = resource.getrusage(resource.RUSAGE_SELF).ru_minflt - faults
        kept = quiet if len(quiet) >= MIN_SAMPLES else quiet + disturbed
        return {
            "samples": [took / inner for took, _ in kept],
            "cpu_share": sum(on for _, on in kept) / sum(took for took, _ in kept),
            "disturbed": len(disturbed) * inner / calls,
            "page_faults": faults / calls,
        }

    def limits(self, footprint: int, seconds: float) -> dict[str, Any]:
        return dict(self.peer.limits(footprint, seconds))

    def versions(self) -> dict[str, Any]:
        return {"versions": self.peer.versions()}

    def origin(self) -> dict[str, Any]:
        """Where the engine's package was imported from."""
        return {"origin": importlib.import_module(self.peer.packages[0]).__file__}

    def free(self) -> dict[str, Any]:
        gc.unfreeze()
        self.jobs.clear()
        self.inner.clear()
        gc.collect()
        return {}


def fingerprint(array: Any) -> dict[str, Any]:
    """A few hundred elements and the shape: enough to see whether two engines computed the same."""
    a = np.asarray(array)
    flat = np.random.default_rng(a.size).integers(0, a.size, FINGERPRINT)
    values = a[np.unravel_index(flat, a.shape)].astype(np.float64)
    return {"shape": list(a.shape), "values": values.tolist()}


def serve(actions: dict[str, Callable[..., dict[str, Any]]], replies: Any) -> int:
    """Answer requests until there are no more."""
    for line in sys.stdin:
        request = json.loads(line)
        try:
            reply = actions[request.pop("do")](**request)
        except Unsupported as error:
            reply = {"unsupported": str(error)}
        except Exception as error:
            at = traceback.extract_tb(error.__traceback__)[-1]
            where = f"{os.path.basename(at.filename)}:{at.lineno}"
            reply = {"error": f"{type(error).__name__}: {error} ({where})"}
        replies.write(json.dumps(reply) + "\n")
        replies.flush()
    return 0


def own_stdout() -> Any:
    """The real stdout, which only replies may reach."""
    replies = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    return replies


def main(argv: list[str]) -> int:
    name, threads = argv[0], int(argv[1])
    replies = own_stdout()
    worker = Worker(peers.load(name)(threads))
    return serve(
        {
            "prepare": worker.prepare,
            "time": worker.time,
            "limits": worker.limits,
            "versions": worker.versions,
            "origin": worker.origin,
            "free": worker.free,
        },
        replies,
    )


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
