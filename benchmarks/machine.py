"""What the results ran on."""

from __future__ import annotations

import os
import platform
from pathlib import Path
from typing import Any


def describe() -> dict[str, Any]:
    """Processor model, cores, caches and memory, as the system tells them."""
    return {
        "cpu": _cpu_model(),
        "logical_cpus": len(os.sched_getaffinity(0)),
        "caches": caches(),
        "memory_bytes": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
        "system": f"{platform.system()} {platform.release()} {platform.machine()}",
        "python": platform.python_version(),
    }


def _cpu_model() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or "unknown"


def caches() -> dict[str, int]:
    """Bytes of each data or unified cache that core 0 has: {"L1d": ..., "L2": ..., "L3": ...}."""
    found: dict[str, int] = {}
    for index in sorted(Path("/sys/devices/system/cpu/cpu0/cache").glob("index*")):
        try:
            level, kind, size = ((index / f).read_text().strip() for f in ("level", "type", "size"))
        except OSError:
            continue
        if kind != "Instruction":
            units = {"K": 1 << 10, "M": 1 << 20}
            scale = units.get(size[-1:], 1)
            found[f"L{level}{'d' if kind == 'Data' else ''}"] = int(size.rstrip("KM")) * scale
    return found


def memory_footprint() -> int:
    """Bytes that leave every cache: four times the largest, 256 MiB to 1 GiB."""
    return min(max(4 * max(caches().values(), default=0), 256 << 20), 1 << 30)
