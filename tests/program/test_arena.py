"""Places in a program's arena."""

from __future__ import annotations

import random

import pytest

from fastconv import _core

Given = list[tuple[int, int, int, bool]]


def overlap(a: tuple[int, int], b: tuple[int, int]) -> bool:
    return a[0] < b[1] and b[0] < a[1]


def check_places(intervals: Given, team: int) -> int:
    total, offsets = _core.arena_places(intervals, team)
    taken = [(at, at + bytes_) for at, (bytes_, *_) in zip(offsets, intervals, strict=True)]
    for i, (bytes_, first, last, _) in enumerate(intervals):
        assert offsets[i] % 64 == 0
        assert bytes_ == 0 or taken[i][1] <= total
        for j in range(i):
            if overlap((first, last + 1), (intervals[j][1], intervals[j][2] + 1)):
                assert not overlap(taken[i], taken[j]), (i, j)
    return total


@pytest.mark.parametrize("seed", range(40))
def test_what_is_needed_at_once_lies_apart(seed: int) -> None:
    rng = random.Random(seed)
    steps = rng.randint(1, 60)
    intervals: Given = []
    for _ in range(rng.randint(0, 90)):
        first = rng.randrange(steps)
        scratch = rng.random() < 0.2
        last = first if scratch else min(steps - 1, first + rng.randint(0, 12))
        intervals.append(
            (rng.choice([0, 1, 63, 64, 65, 4000, 1 << 16, 900_001]), first, last, scratch)
        )
    alone = check_places(intervals, 1)
    for team in (2, 3, 8):
        together = check_places(intervals, team)
        assert together <= alone + max(alone // 8, min(alone // 2, 8 << 20))


def test_halves_stay_on_their_side() -> None:
    # The second, smaller tenant of the memory has its middle where the first had it, and not at its beginning.
    intervals: Given = [(1 << 20, 0, 1, False), (1 << 18, 2, 3, False)]
    assert _core.arena_places(intervals, 1) == (1 << 20, [0, 0])
    assert _core.arena_places(intervals, 2) == (1 << 20, [0, (1 << 19) - (1 << 17)])


def test_scratch_lies_apart_from_values() -> None:
    intervals: Given = [(4096, 0, 1, False), (1024, 2, 2, True)]
    assert _core.arena_places(intervals, 1) == (4096, [0, 0])
    assert _core.arena_places(intervals, 2) == (5120, [0, 4096])


def test_what_would_take_too_much_lies_as_low_as_it_can() -> None:
    # Values and scratch as large as each other: apart they would take twice as much.
    intervals: Given = [(64 << 20, 0, 1, False), (64 << 20, 2, 2, True)]
    assert _core.arena_places(intervals, 2) == (64 << 20, [0, 0])
