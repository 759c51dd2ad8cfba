"""How well the choice between Winograd and direct convolution fits this machine.

    python -m benchmarks.calibrate [--layout NHWC] [--direction fprop] [--seconds 0.2]

Times both algorithms on a sweep of 3x3 layers, one thread, and prints what the cost model
(csrc/ops/conv2d/cost.cpp) chose, what was fastest, and how much the choice lost. Exit code 1 where
it lost more than 15 % anywhere.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from typing import Any

import numpy as np

import fastconv as fc
from fastconv import _core
from fastconv.tuning import best_seconds

DIRECTIONS = ("fprop", "dgrad", "wgrad")
LIMIT = 1.15

# (N, C, size, K)
SWEEP = [
    (64, 8, 32, 8),
    (32, 16, 32, 16),
    (16, 32, 32, 32),
    (8, 64, 32, 64),
    (16, 64, 8, 64),
    (1, 32, 112, 64),
    (1, 64, 224, 64),
    (1, 128, 112, 128),
    (4, 64, 56, 64),
    (4, 128, 28, 128),
    (1, 256, 56, 256),
    (4, 256, 14, 256),
    (1, 256, 14, 256),
    (4, 512, 7, 512),
    (1, 512, 7, 512),
    (1, 512, 28, 512),
    (16, 96, 13, 160),
    (1, 40, 9, 40),
    (2, 24, 50, 100),
]


def measure(
    shape: tuple[int, int, int, int], layout: str, direction: str, seconds: float
) -> tuple[str, dict[str, float]]:
    """The algorithm that is chosen, and the seconds that each takes."""
    n, c, size, k = shape
    rng = np.random.default_rng(0)

    def array(channels: int) -> Any:
        dims = (n, channels, size, size) if layout == "NCHW" else (n, size, size, channels)
        return rng.standard_normal(dims).astype(np.float32)

    x, dy = array(c), array(k)
    w = rng.standard_normal((k, c, 3, 3)).astype(np.float32)
    geometry = (1, 1, 1, 1, layout)
    calls: dict[str, Callable[[str], Any]] = {
        "fprop": lambda name: _core.conv2d(x, w, None, *geometry, algorithm=name),
        "dgrad": lambda name: _core.conv2d_input(x.shape, w, dy, *geometry, algorithm=name),
        "wgrad": lambda name: _core.conv2d_weight(x, w.shape, dy, *geometry, algorithm=name),
    }
    call = calls[direction]
    listed = _core.conv2d_candidates(x.shape, w.shape, *geometry, direction)
    able = [name for name, reason in listed if not reason and name != "reference"]
    return able[0], {name: best_seconds(lambda name=name: call(name), seconds) for name in able}  # type: ignore[misc]


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="benchmarks.calibrate", description=(__doc__ or "").split("\n")[0]
    )
    parser.add_argument("--layout", choices=("NCHW", "NHWC"), default="NHWC")
    parser.add_argument("--direction", choices=DIRECTIONS, action="append")
    parser.add_argument("--seconds", type=float, default=0.2, help="for each measurement")
    options = parser.parse_args(arguments)
    fc.set_num_threads(1)
    lost_most = 1.0
    print(f"{'N, C, size, K':22} {'direction':9} {'chosen':14} {'lost':>6}   milliseconds")
    for shape in SWEEP:
        for direction in options.direction or DIRECTIONS:
            chosen, seconds = measure(shape, options.layout, direction, options.seconds)
            lost = seconds[chosen] / min(seconds.values())
            lost_most = max(lost_most, lost)
            times = "  ".join(f"{name} {1e3 * t:.3f}" for name, t in seconds.items())
            print(f"{shape!s:22} {direction:9} {chosen:14} {100 * lost - 100:5.0f}%   {times}")
    return 0 if lost_most <= LIMIT else 1


if __name__ == "__main__":
    sys.exit(main())
