"""The machine's limits: figures that can be true, and bad arguments refused."""

from __future__ import annotations

import math
import platform
from typing import Any

import pytest

import fastconv as fc
from fastconv import _core


def test_fma_peak_is_plausible() -> None:
    # One thread of any x86-64 does more than 0.1 and less than 1,000 GFLOP/s.
    assert 0.1 < _core.fma_peak(0.02) < 1000


def test_fma_peak_of_two_threads() -> None:
    assert 0.01 < _core.fma_peak(0.02, threads=2) < 2000


def test_line_round_trip_is_plausible() -> None:
    # Tens of nanoseconds within a core complex; 0 where no second processor is free.
    trip = _core.line_round_trip()
    assert trip == 0 or 0.005 < trip < 5000


def test_memory_read_rate_is_plausible() -> None:
    rate = _core.memory_read_rate()
    assert 0.02 < rate < 10_000 or (rate == 0 and platform.machine() not in ("x86_64", "AMD64"))


@pytest.mark.parametrize("size", [4096, 4097, 1 << 20, 8 << 20])
def test_stream_bandwidth_is_plausible(size: int) -> None:
    # A gigabyte takes more than a tenth of a millisecond and less than a minute.
    assert 0.02 < _core.stream_bandwidth(size, 0.01) < 10_000


def test_stream_buffers_are_given_back() -> None:
    before = fc.memory_stats()["in_use"]
    _core.stream_bandwidth(1 << 20, 0.001, threads=2)
    assert fc.memory_stats()["in_use"] == before


@pytest.mark.parametrize(
    ("seconds", "threads", "error"),
    [
        (0, 1, fc.ShapeError),
        (-1.0, 1, fc.ShapeError),
        (math.nan, 1, fc.ShapeError),
        (math.inf, 1, fc.ShapeError),
        (61, 1, fc.ShapeError),
        (0.01, 0, fc.ShapeError),
        (0.01, -1, fc.ShapeError),
        (0.01, 1 << 40, fc.ShapeError),
        ("1", 1, fc.DTypeError),
        (0.01, 1.0, fc.DTypeError),
        (0.01, True, fc.DTypeError),
        (None, 1, fc.DTypeError),
    ],
)
def test_bad_arguments(seconds: Any, threads: Any, error: type[Exception]) -> None:
    with pytest.raises(error, match=r"^fma_peak: "):
        _core.fma_peak(seconds, threads)
    with pytest.raises(error, match=r"^stream_bandwidth: "):
        _core.stream_bandwidth(4096, seconds, threads)


@pytest.mark.parametrize("size", [0, -1, 4095, (4 << 30) + 1, 1 << 62, 1 << 70])
def test_bad_sizes(size: int) -> None:
    with pytest.raises(fc.ShapeError, match=r"^stream_bandwidth: bytes"):
        _core.stream_bandwidth(size, 0.01)
