"""The geometries of pooling that tests and benchmarks run."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Pool2dCase:
    function: str  # in fastconv.functional
    size: tuple[int, int, int, int]  # N, C, H, W
    args: tuple[Any, ...] = ()
    options: dict[str, Any] = field(default_factory=dict)

    def __str__(self) -> str:
        words = [f"{k}={v}" for k, v in self.options.items()]
        shape = "x".join(map(str, self.size))
        return "-".join([self.function, shape, *map(str, self.args), *words]).replace(" ", "")

    @property
    def is_max(self) -> bool:
        return "max" in self.function


SLIDING = [
    # size, kernel, stride, padding, ceil_mode
    ((2, 3, 8, 8), 2, 2, 0, False),
    ((1, 17, 9, 11), 2, 2, 0, True),
    ((2, 5, 13, 12), 3, 2, 1, False),
    ((1, 70, 14, 15), 3, 2, 1, True),
    ((1, 4, 7, 7), 3, 1, 1, False),
    ((2, 1, 6, 40), (2, 5), (1, 3), (0, 2), True),
    ((1, 2, 9, 9), (5, 1), (2, 4), (2, 0), False),
    ((1, 3, 20, 21), 5, 3, 2, True),
    ((1, 2, 40, 41), 17, 7, 8, False),
    ((1, 33, 5, 5), 5, 5, 0, False),
    ((1, 3, 4, 70), (4, 33), (1, 37), 0, False),
    ((1, 2, 1, 1), 3, 1, 1, False),
    ((3, 2, 2, 2), 1, 3, 0, True),
    ((2, 19, 2, 3), 3, 2, 0, True),  # the only window hangs over the end
    ((1, 3, 3, 1), (5, 4), (4, 3), (0, 1), True),
    ((1, 2100, 3, 4), 3, 1, 0, False),  # windows of more values than a first-level cache
    ((1, 20, 12, 13), 9, 1, 4, False),  # more windows on an input than are listed at once
    ((2, 70, 48, 46), 2, 2, 0, False),  # beyond a second-level cache
    ((2, 70, 41, 48), 3, 2, 1, False),
]

ADAPTIVE = [
    # size, output_size
    ((2, 3, 14, 14), 1),
    ((1, 67, 7, 7), 1),
    ((2, 3, 13, 11), 6),
    ((1, 4, 12, 12), 6),
    ((1, 2, 5, 3), (7, 4)),
    ((2, 2, 9, 10), (None, 3)),
    ((1, 2, 9, 50), (3, None)),
    ((1, 3, 31, 47), (2, 3)),
    ((2, 340, 7, 7), 1),
]

CASES = [
    *(
        Pool2dCase(f, size, (k, s, p), {"ceil_mode": ceil})
        for f in ("max_pool2d", "avg_pool2d", "sum_pool2d")
        for size, k, s, p, ceil in SLIDING
    ),
    *(
        Pool2dCase(f, size, (out,))
        for f in ("adaptive_avg_pool2d", "adaptive_max_pool2d")
        for size, out in ADAPTIVE
    ),
    Pool2dCase("max_pool2d", (2, 3, 12, 13), (3,)),
    Pool2dCase("max_pool2d", (2, 3, 12, 13), (3, 2, 1), {"dilation": 2}),
    Pool2dCase("max_pool2d", (1, 18, 15, 14), ((2, 3), 1, (1, 0)), {"dilation": (3, 4)}),
    Pool2dCase("max_pool2d", (1, 2, 9, 7), (2, 1, 1), {"dilation": 5, "ceil_mode": True}),
    Pool2dCase("max_pool2d", (1, 2, 16, 9), ((4, 3), 2, 0), {"dilation": (2, 1)}),
    Pool2dCase("avg_pool2d", (2, 3, 9, 9), (3, 2, 1), {"count_include_pad": False}),
    Pool2dCase(
        "avg_pool2d", (1, 20, 10, 9), (3, 2, 1), {"count_include_pad": False, "ceil_mode": True}
    ),
    Pool2dCase("avg_pool2d", (1, 20, 10, 9), (4, 3, 2), {"ceil_mode": True}),
    Pool2dCase("avg_pool2d", (1, 2, 9, 9), (3, 2, 1), {"divisor_override": 5}),
    Pool2dCase("avg_pool2d", (1, 2, 9, 9), (2,), {"divisor_override": -3}),
    Pool2dCase("global_avg_pool2d", (2, 5, 14, 14)),
    Pool2dCase("global_avg_pool2d", (1, 130, 7, 7)),
    Pool2dCase("global_avg_pool2d", (1, 2, 90, 80)),
    Pool2dCase("global_max_pool2d", (2, 5, 14, 14)),
    Pool2dCase("global_max_pool2d", (1, 3, 20, 21)),
]
