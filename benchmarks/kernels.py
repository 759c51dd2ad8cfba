"""The kernels suite: groups of cases, one for each kind of kernel that the summary has lines for.

Shapes are those of ResNet-50, VGG-16, AlexNet, MobileNet and LeNet, and 400 random ones.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from .cases import CONVS, NORMS, POOLS, Case
from .measure import Settings

DIRECTIONS = ("fprop", "dgrad", "wgrad")
CHANNELS_LAST = ("NHWC",)
# An image comes in either order, and few channels suit one or the other: both are measured.
EITHER = ("NHWC", "NCHW")

RANDOM_SEED = 20261122
RANDOM_SHAPES = 400
# Operations of a random case: 0.5 G take 3 to 10 ms at the peak, and seconds where a library crawls.
RANDOM_FLOPS = 5e8
RANDOM_BYTES = 32 << 20


def _conv(
    group: str,
    name: str,
    shape: tuple[int, int, int, int],
    params: dict[str, Any],
    directions: tuple[str, ...] = DIRECTIONS,
    variants: tuple[str, ...] = CHANNELS_LAST,
    dtype: str = "float32",
) -> Iterator[Case]:
    params = {"groups": 1, "dilation": 1, "bias": False, **params}
    for direction in directions:
        yield Case(
            f"{group}.{name}.{direction}",
            "conv2d",
            direction,
            shape,
            layout=variants[0].split()[0],
            params=params,
            dtype=dtype,
            variants=variants,
            group=group,
        )


def _layers(
    nets: tuple[str, ...],
) -> Iterator[tuple[str, tuple[int, int, int, int], dict[str, Any]]]:
    """Every convolution of the networks once: name, input shape, parameters."""
    for net in nets:
        n, _, layers = CONVS[net]
        for layer, c, size, k, kernel, stride, padding in layers:
            params = {"out": k, "kernel": kernel, "stride": stride, "padding": padding}
            yield f"{net}_{layer}", (n, c, size, size), params


def _3x3() -> Iterator[Case]:
    """Stride 1, at least 64 channels, maps of 14 to 224, channels-last and NCHW, and direct."""
    for name, shape, p in _layers(("vgg16", "resnet50")):
        eligible = p["kernel"] == 3 and p["stride"] == 1 and shape[1] >= 64 and shape[2] >= 14
        if eligible:
            for direction in DIRECTIONS:
                variants = ("NHWC", "NHWC highest")
                if direction != "wgrad":
                    variants = ("NHWC", "NCHW", "NHWC highest")
                yield from _conv("3x3", name, shape, p, (direction,), variants)


def _1x1() -> Iterator[Case]:
    for name, shape, p in _layers(("resnet50",)):
        if p["kernel"] == 1 and p["stride"] == 1:
            yield from _conv("1x1", name, shape, p)


def _strided() -> Iterator[Case]:
    for name, shape, p in _layers(("resnet50",)):
        if p["kernel"] in (1, 3) and p["stride"] == 2:
            yield from _conv("strided", name, shape, p, ("fprop", "dgrad"))


def _first() -> Iterator[Case]:
    for name, shape, p in _layers(("resnet50", "vgg16", "cifar_resnet18", "alexnet")):
        if shape[1] == 3:
            yield from _conv("first", name, shape, p, ("fprop", "wgrad"), EITHER)


def _lenet() -> Iterator[Case]:
    for name, shape, p in _layers(("lenet",)):
        yield from _conv("lenet", name, shape, p, ("fprop", "wgrad"), EITHER)


# MobileNet's depthwise layers: (channels, map, stride).
_DEPTHWISE = [
    (32, 112, 1), (64, 112, 2), (128, 56, 1), (128, 56, 2), (256, 28, 1),
    (256, 28, 2), (512, 14, 1), (512, 14, 2), (1024, 7, 1),
]  # fmt: skip


def _depthwise() -> Iterator[Case]:
    for c, size, stride in _DEPTHWISE:
        params = {"out": c, "kernel": 3, "stride": stride, "padding": 1, "groups": c}
        yield from _conv("depthwise", f"{c}_{size}_s{stride}", (8, c, size, size), params)


def _bf16() -> Iterator[Case]:
    for name, shape, p in _layers(("resnet50", "vgg16")):
        directions = DIRECTIONS if shape[1] > 3 else ("fprop", "wgrad")
        yield from _conv("bf16", name, shape, p, directions, dtype="bfloat16")


def _batch_norm() -> Iterator[Case]:
    for name, n, c, size in NORMS:
        for direction in ("forward", "backward", "inference"):
            yield Case(
                f"batch_norm.{name}.{direction}",
                "batch_norm",
                direction,
                (n, c, size, size),
                layout="NHWC",
                variants=CHANNELS_LAST,
                group="batch_norm",
            )


def _pooling() -> Iterator[Case]:
    for name, op, n, c, size, kernel, stride, padding in POOLS:
        whole = kernel == size
        params = {} if whole else {"kernel": kernel, "stride": stride, "padding": padding}
        for direction in ("forward", "backward"):
            yield Case(
                f"pooling.{name}.{direction}",
                "global_avg_pool2d" if whole else op,
                direction,
                (n, c, size, size),
                layout="NHWC",
                params=params,
                variants=CHANNELS_LAST,
                group="pooling",
            )


def _random() -> Iterator[Case]:
    """Seeded draws: channels uniform or, as networks have them, log-uniform; maps and filters uniform."""
    rng = np.random.default_rng(RANDOM_SEED)
    made = 0
    while made < RANDOM_SHAPES:
        c, k = (int(rng.integers(1, 513)) for _ in range(2))
        if rng.random() < 0.5:
            c, k = (int(2 ** rng.uniform(0, 9.001)) for _ in range(2))
        h, w = (int(rng.integers(1, 113)) for _ in range(2))
        if rng.random() < 0.5:
            w = h
        kernel = int(rng.integers(1, 8))
        stride = int(rng.choice([1, 2, 3], p=[0.6, 0.3, 0.1]))
        dilation = int(rng.choice([1, 2, 3], p=[0.8, 0.15, 0.05]))
        kind = rng.choice(["dense", "grouped", "depthwise"], p=[0.7, 0.15, 0.15])
        groups = 1
        if kind == "depthwise":
            groups, k = c, c * int(rng.choice([1, 2], p=[0.8, 0.2]))
        elif kind == "grouped":
            groups = int(rng.choice([2, 3, 4, 8, 16, 32]))
            c, k = (max(1, round(v / groups)) * groups for v in (c, k))
        span = dilation * (kernel - 1)
        padding = int(rng.integers(0, span // 2 + 1)) if rng.random() < 0.5 else span // 2
        n = int(rng.choice([1, 2, 4, 8]))
        if max(c, k) > 512 or min(h, w) + 2 * padding <= span:
            continue
        params = {"out": k, "kernel": kernel, "stride": stride, "padding": padding}
        params |= {"dilation": dilation, "groups": groups}
        name = f"{made:03}_{c}_{k}_{h}x{w}_r{kernel}_s{stride}_d{dilation}_g{groups}"
        drawn = list(_conv("random", name, (n, c, h, w), params))
        if drawn[0].flops <= RANDOM_FLOPS and drawn[0].bytes <= RANDOM_BYTES:
            made += 1
            yield from drawn


_MAKERS: dict[str, Callable[[], Iterator[Case]]] = {
    "3x3": _3x3,
    "1x1": _1x1,
    "strided": _strided,
    "first": _first,
    "lenet": _lenet,
    "depthwise": _depthwise,
    "bf16": _bf16,
    "batch_norm": _batch_norm,
    "pooling": _pooling,
    "random": _random,
}
GROUPS = tuple(_MAKERS)


def default_groups(isa: str | None) -> tuple[str, ...]:
    """Held to AVX2, PyTorch computes bfloat16 in plain loops: hours, and nothing to compare with."""
    return tuple(g for g in GROUPS if g != "bf16") if isa == "avx2" else GROUPS


def settings(threads: int, rounds: int | None) -> Callable[[Case], Settings]:
    """How long each case runs: the whole suite has to end within 25 minutes."""
    usual = Settings(threads, rounds or 4, 0.08, 0.05, 0.02)
    many = Settings(threads, rounds or 3, 0.05, 0.03, 0.02)
    quick = Settings(threads, rounds or 3, 0.015, 0.005, 0.005)
    by_group = {"bf16": many, "random": quick}
    return lambda case: by_group.get(case.group, usual)


def sample(chosen: list[Case]) -> list[Case]:
    """Some of the random shapes, all of the rest: for a quick look whether everything runs."""
    return [c for c in chosen if c.group != "random" or int(c.name[7:10]) % 20 == 0]


def cases(groups: tuple[str, ...] = GROUPS) -> list[Case]:
    """The cases of those groups."""
    return [case for group in GROUPS if group in groups for case in _MAKERS[group]()]
