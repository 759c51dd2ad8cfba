"""Depthwise convolution: where arrays lie, and how results are stored, changes no bit."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import fastconv.functional as F


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("channels", [128, 256, 272, 264])
def test_depthwise_bits_do_not_depend_on_where_arrays_lie(channels: int, stride: int) -> None:
    # Many channels are taken from the first whole line of memory on.
    def at(a: Any, floats: int) -> Any:
        room = np.empty(a.size + 64, np.float32)
        first = -(room.ctypes.data // 4) % 16 + floats
        moved = room[first : first + a.size].reshape(a.shape)
        moved[...] = a
        return moved

    rng = np.random.default_rng(channels)
    out = (9 - 1) // stride + 1
    x = rng.standard_normal((2, 9, 9, channels), dtype=np.float32)
    w = rng.standard_normal((channels, 1, 3, 3), dtype=np.float32)
    dy = rng.standard_normal((2, out, out, channels), dtype=np.float32)
    x[0, 4, 4, 5] = np.inf
    x[1, 8, 8, channels - 1] = np.nan
    how: dict[str, Any] = dict(stride=stride, padding=1, groups=channels, layout="NHWC")

    def everything(floats: int) -> list[Any]:
        return [
            F.conv2d(at(x, floats), w, **how),
            F.conv2d_input(x.shape, w, at(dy, floats), **how),
            F.conv2d_weight(at(x, floats), w.shape, at(dy, (floats * 3) % 16), **how),
        ]

    expected = everything(0)
    for floats in (1, 4, 12, 15):
        for a, b in zip(everything(floats), expected, strict=True):
            np.testing.assert_array_equal(a, b)


def test_depthwise_bits_do_not_depend_on_streaming_stores() -> None:
    # Of 4 MB of results the first call decides by trying both; of half as many nothing streams.
    rng = np.random.default_rng(0)
    x = rng.standard_normal((4, 33, 32, 256), dtype=np.float32)
    w = rng.standard_normal((256, 1, 3, 3), dtype=np.float32)
    how: dict[str, Any] = dict(padding=1, groups=256, layout="NHWC")
    halves = np.concatenate([F.conv2d(x[:2], w, **how), F.conv2d(x[2:], w, **how)])
    for _ in range(2):
        np.testing.assert_array_equal(F.conv2d(x, w, **how), halves)
    dx = np.concatenate([F.conv2d_input(a.shape, w, a, **how) for a in (x[:2], x[2:])])
    for _ in range(2):
        np.testing.assert_array_equal(F.conv2d_input(x.shape, w, x, **how), dx)
