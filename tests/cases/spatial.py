"""The geometries of one- and three-dimensional convolution and pooling that tests run."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Case:
    function: str  # in fastconv.functional, and PyTorch's
    shape: tuple[int, ...]  # of the input, channels first
    weight: tuple[int, ...] = ()
    args: tuple[Any, ...] = ()
    options: dict[str, Any] = field(default_factory=dict)

    def __str__(self) -> str:
        words = [f"{k}={v}" for k, v in self.options.items()]
        sizes = ["x".join(map(str, s)) for s in (self.shape, self.weight) if s]
        return "-".join([self.function, *sizes, *map(str, self.args), *words]).replace(" ", "")

    @property
    def outputs(self) -> int:
        """Output channels of a convolution."""
        if "transpose" in self.function:
            return self.weight[1] * int(self.options.get("groups", 1))
        return self.weight[0]


def _convolutions() -> list[Case]:
    found = []
    for groups in (1, 2):
        k1, k3 = (6, 4 // groups, 3), (6, 4 // groups, 3, 2, 3)
        for options in (
            {},
            {"stride": 2, "padding": 1},
            {"padding": 2, "dilation": 2},
            {"padding": "same", "dilation": 3},
            {"padding": "valid", "stride": 3},
        ):
            more = {**options, "groups": groups}
            found.append(Case("conv1d", (2, 4, 13), k1, (), more))
            found.append(Case("conv3d", (2, 4, 7, 9, 8), k3, (), more))
        for options in (
            {},
            {"stride": 2, "padding": 1, "output_padding": 1},
            {"padding": 1, "dilation": 2},
            {"stride": 3, "padding": 2, "output_padding": 2},
        ):
            more = {**options, "groups": groups}
            found.append(Case("conv_transpose1d", (2, 4, 6), (4, 3, 5), (), more))
            found.append(Case("conv_transpose3d", (2, 4, 3, 5, 4), (4, 3, 3, 2, 3), (), more))
        odd = {"stride": (2, 1, 3), "padding": (0, 1, 2), "dilation": (2, 1, 1), "groups": groups}
        for kernel in ((3, 2, 3), (1, 2, 3), (2, 1, 1)):
            found.append(Case("conv3d", (1, 4, 7, 8, 5), (2, 4 // groups, *kernel), (), odd))
            found.append(Case("conv_transpose3d", (1, 4, 3, 4, 3), (4, 3, *kernel), (), odd))
    found += [
        Case("conv1d", (1, 3, 5), (2, 3, 5)),
        Case("conv1d", (2, 40, 70), (33, 40, 1)),
        Case("conv1d", (3, 8, 31), (8, 1, 7), (), {"padding": 3, "groups": 8}),
        Case("conv1d", (0, 3, 9), (2, 3, 3)),
        Case("conv3d", (2, 3, 4, 5, 6), (5, 3, 4, 5, 6)),
        Case("conv3d", (1, 16, 6, 14, 14), (16, 16, 3, 3, 3), (), {"padding": 1}),
        Case("conv3d", (2, 3, 4, 5, 6), (5, 3, 1, 1, 1)),
        Case("conv3d", (2, 6, 5, 6, 7), (12, 1, 3, 3, 3), (), {"padding": 1, "groups": 6}),
        Case("conv3d", (1, 3, 7, 6, 5), (3, 1, 4, 2, 3), (), {"stride": (2, 1, 2), "groups": 3}),
        Case("conv3d", (1, 3, 5, 4, 3), (3, 1, 3, 2, 1), (), {**odd, "groups": 3}),
        Case("conv3d", (0, 3, 4, 5, 6), (5, 3, 2, 2, 2)),
        Case("conv_transpose3d", (2, 4, 3, 5, 4), (4, 3, 1, 1, 1)),
        Case("conv_transpose1d", (0, 4, 6), (4, 3, 5)),
        Case("conv_transpose3d", (0, 4, 3, 5, 4), (4, 3, 2, 2, 2)),
    ]
    return found


CONVOLUTIONS = _convolutions()

WINDOWS: list[tuple[tuple[Any, ...], dict[str, Any]]] = [
    ((2,), {}),
    ((3, 2, 1), {}),
    ((3, 2, 1), {"ceil_mode": True}),
]
POOLINGS = [
    *(
        Case(f, shape, (), args, options)
        for args, options in WINDOWS
        for f, shape in (
            ("max_pool1d", (2, 5, 13)),
            ("max_pool3d", (2, 3, 7, 8, 9)),
            ("avg_pool1d", (2, 5, 13)),
            ("avg_pool3d", (2, 3, 7, 8, 9)),
        )
    ),
    Case("max_pool1d", (2, 5, 13), (), (3, 1, 1), {"dilation": 2}),
    Case("max_pool1d", (1, 1, 40), (), (17, 7, 8)),
    Case("max_pool1d", (0, 5, 13), (), (2,)),
    Case("max_pool3d", (2, 3, 7, 8, 9), (), (3, 1, 1), {"dilation": 2}),
    Case("max_pool3d", (1, 2, 7, 8, 9), (), ((2, 3, 4), (1, 2, 3), (1, 0, 2)), {}),
    Case("max_pool3d", (1, 2, 4, 2, 3), (), ((4, 1, 1),)),
    Case("max_pool3d", (0, 2, 4, 2, 3), (), (2,)),
    Case("max_pool1d", (2, 5, 2), (), (3,), {"ceil_mode": True}),
    Case("avg_pool1d", (2, 5, 2), (), (4, 3), {"ceil_mode": True}),
    Case("max_pool3d", (1, 2, 2, 1, 3), (), (3,), {"ceil_mode": True}),
    Case("avg_pool1d", (2, 5, 13), (), (3, 2, 1), {"ceil_mode": True, "count_include_pad": False}),
    Case("avg_pool3d", (2, 3, 7, 8, 9), (), (3, 2, 1), {"count_include_pad": False}),
    Case("avg_pool3d", (1, 3, 7, 8, 9), (), (4, 3, 2), {"ceil_mode": True}),
    Case(
        "avg_pool3d",
        (1, 3, 7, 8, 9),
        (),
        ((3, 2, 5), (2, 3, 1), (1, 1, 2)),
        {"ceil_mode": True, "count_include_pad": False},
    ),
    Case("avg_pool3d", (1, 3, 7, 8, 9), (), (3, 2, 1), {"divisor_override": -5}),
    Case("avg_pool3d", (0, 3, 7, 8, 9), (), (3,)),
    *(
        Case(f"adaptive_{kind}_pool{rank}d", shape, (), (size,))
        for kind in ("avg", "max")
        for rank, shape, size in (
            (1, (2, 5, 13), 1),
            (1, (2, 5, 13), 4),
            (1, (2, 5, 3), 7),
            (3, (2, 3, 7, 8, 9), 1),
            (3, (2, 3, 7, 8, 9), (3, 8, 2)),
            (3, (1, 3, 2, 8, 9), (None, 3, 12)),
        )
    ),
]
