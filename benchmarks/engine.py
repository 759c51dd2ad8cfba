"""The parent's side of a worker process."""

from __future__ import annotations

import contextlib
import json
import os
import selectors
import subprocess
import sys
from pathlib import Path
from typing import Any

REPLY_TIMEOUT = 600.0  # seconds
ROOT = Path(__file__).resolve().parent.parent


class EngineError(Exception):
    """A request failed, or the process died."""


class EngineUnsupported(EngineError):
    """The engine has no such operation."""


# What holds every engine to one instruction set.
ISA_VARIABLES = {
    "avx2": {
        "FASTCONV_ISA": "avx2",
        "ATEN_CPU_CAPABILITY": "avx2",
        "ONEDNN_MAX_CPU_ISA": "AVX2",
    },
}


def environment(
    threads: int, isa: str | None = None, package: Path | None = None
) -> dict[str, str]:
    """The environment of every worker, ours and the peers' alike; `package` is a folder that modules
    come from first.

    The allocator keeps freed memory instead of giving it back to the system, as the usual tuning
    advice (or a replacement such as jemalloc) does: otherwise each call would pay for mapping its
    output anew.
    """
    env = dict(os.environ)
    env.update(ISA_VARIABLES.get(isa or "", {}))
    env["OMP_NUM_THREADS"] = str(threads)
    env["MALLOC_MMAP_MAX_"] = "0"
    env["MALLOC_TRIM_THRESHOLD_"] = str(1 << 40)
    found = [str(package)] if package else []
    env["PYTHONPATH"] = os.pathsep.join(os.path.abspath(p or ".") for p in found + sys.path)
    return env


class Engine:
    """A worker process and its requests, one at a time."""

    def __init__(
        self,
        name: str,
        threads: int,
        isa: str | None = None,
        package: Path | None = None,
        module: str = "benchmarks.worker",
    ) -> None:
        self.name = name
        self._buffer = b""
        self._process = subprocess.Popen(
            [sys.executable, "-m", module, name, str(threads)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            bufsize=0,  # nothing left unwritten when the process dies
            env=environment(threads, isa, package),
            cwd=ROOT,
        )

    def ask(self, do: str, **arguments: Any) -> dict[str, Any]:
        """Send a request and wait for its reply; EngineError where it failed or none came."""
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(json.dumps({"do": do, **arguments}).encode() + b"\n")
        except OSError as error:
            raise EngineError(f"{self.name}: the worker process has ended") from error
        reply: dict[str, Any] = json.loads(self._read_line())
        if "unsupported" in reply:
            raise EngineUnsupported(f"{self.name}: {reply['unsupported']}")
        if "error" in reply:
            raise EngineError(f"{self.name}: {reply['error']}")
        return reply

    def _read_line(self) -> bytes:
        assert self._process.stdout is not None
        stream = self._process.stdout.fileno()
        with selectors.DefaultSelector() as ready:
            ready.register(stream, selectors.EVENT_READ)
            while b"\n" not in self._buffer:
                if not ready.select(REPLY_TIMEOUT):
                    self.close()
                    raise EngineError(f"{self.name}: no reply within {REPLY_TIMEOUT:.0f} s")
                chunk = os.read(stream, 1 << 16)
                if not chunk:
                    code = self._process.wait()
                    raise EngineError(f"{self.name}: the worker process ended with status {code}")
                self._buffer += chunk
        line, self._buffer = self._buffer.split(b"\n", 1)
        return line

    @property
    def alive(self) -> bool:
        return self._process.poll() is None

    def close(self) -> None:
        """End the process."""
        if self._process.stdin is not None:
            with contextlib.suppress(OSError):
                self._process.stdin.close()
        try:
            self._process.wait(timeout=2)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        if self._process.stdout is not None:
            self._process.stdout.close()

    def __enter__(self) -> Engine:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
