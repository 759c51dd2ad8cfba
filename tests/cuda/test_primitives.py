"""Each primitive of the emulated device against its definition, for several orders of threads."""

from __future__ import annotations

import numpy as np
import pytest

SEEDS = [0, 1, 2, 3]
EVERY = 0xFFFFFFFF
MASKS = [EVERY, 0x0000FFFF, 0xF0F0F0F0, 0x00000001, 0x80000101]
U32 = np.uint32


def as_int(mask: int) -> int:
    return mask - (1 << 32) if mask >= 1 << 31 else mask


def lanes_of(mask: int) -> list[int]:
    return [lane for lane in range(32) if mask >> lane & 1]


def values() -> np.ndarray:
    return np.random.default_rng(7).integers(0, 2**32, 32, dtype=U32)


@pytest.mark.parametrize("seed", SEEDS)
def test_indices(emulation, seed):
    out, counters = emulation.run("indices", 3, 2, 4, 5, 3, 2, seed=seed, system_threads=2)
    expected = [
        tx | ty << 5 | tz << 10 | bx << 15 | by << 20 | bz << 25
        for bz in range(4)
        for by in range(2)
        for bx in range(3)
        for tz in range(2)
        for ty in range(3)
        for tx in range(5)
    ]
    np.testing.assert_array_equal(out, np.array(expected, U32))
    assert counters["barriers"] == 0


def shuffled(kind: int, lane: int, argument: int, width: int) -> int:
    """The lane that is read, from the text of CUDA's programming guide."""
    segment = lane // width
    if kind == 0:
        return segment * width + argument % width
    if kind == 1:
        return lane - argument if lane % width >= argument else lane
    if kind == 2:
        return lane + argument if lane % width + argument < width else lane
    other = lane ^ argument
    return (
        lane if other // width > segment else other
    )  # groups before may be read, groups behind not


@pytest.mark.parametrize("seed", [0, 5])
@pytest.mark.parametrize("width", [32, 16, 4, 1])
@pytest.mark.parametrize("kind", range(4))
def test_shuffles(emulation, kind, width, seed):
    given = values()
    for argument in (0, 1, 3, 17, 31):
        out, _ = emulation.run("exchange", kind, argument, width, -1, words=given, seed=seed)
        expected = given[[shuffled(kind, lane, argument, width) for lane in range(32)]]
        np.testing.assert_array_equal(out, expected)


def test_shuffle_within_a_mask(emulation):
    given = values()
    out, _ = emulation.run("exchange", 3, 4, 32, as_int(0xF0F0F0F0 | 0x0F0F0F0F), words=given)
    np.testing.assert_array_equal(out, given[np.arange(32) ^ 4])
    out, _ = emulation.run("exchange", 3, 8, 32, 0x0000FFFF, words=given)
    np.testing.assert_array_equal(out[:16], given[:16][np.arange(16) ^ 8])
    assert not out[16:].any()


@pytest.mark.parametrize("mask", MASKS)
def test_votes_and_matches(emulation, mask):
    lanes = lanes_of(mask)
    for given in (values(), values() | U32(1), values() & U32(2), np.arange(32, dtype=U32) // 3):
        voted = sum(1 << lane for lane in lanes if given[lane] & 1)
        match = {a: sum(1 << b for b in lanes if given[b] == given[a]) for a in lanes}
        same = len({int(given[lane]) for lane in lanes}) == 1
        expected = {
            4: [voted] * 32,
            5: [voted != 0] * 32,
            6: [voted == mask] * 32,
            7: [match.get(lane, 0) for lane in range(32)],
            8: [(mask + 1) % 2**32 if same else 0] * 32,
        }
        for kind, want in expected.items():
            out, _ = emulation.run("exchange", kind, 0, 32, as_int(mask), words=given)
            assert [int(out[lane]) for lane in lanes] == [int(want[lane]) for lane in lanes]


@pytest.mark.parametrize("mask", MASKS)
def test_reductions(emulation, mask):
    given = values()
    part = given[lanes_of(mask)]
    signed = part.view(np.int32)
    expected = {
        9: int(part.astype(np.uint64).sum() % 2**32),
        10: int(signed.min()) % 2**32,
        11: int(signed.max()) % 2**32,
        12: int(part.min()),
        13: int(part.max()),
        14: int(np.bitwise_and.reduce(part)),
        15: int(np.bitwise_or.reduce(part)),
        16: int(np.bitwise_xor.reduce(part)),
    }
    for kind, want in expected.items():
        out, _ = emulation.run("exchange", kind, 0, 32, as_int(mask), words=given)
        assert {int(out[lane]) for lane in lanes_of(mask)} == {want}


@pytest.mark.parametrize("threads", [1, 32, 77, 1024])
def test_votes_of_a_block(emulation, threads):
    for given in (np.zeros(threads), np.ones(threads), np.arange(threads) % 3):
        given = given.astype(U32)
        out, counters = emulation.run("votes", words=given, seed=threads)
        count = np.count_nonzero(given)
        expected = np.repeat(np.array([count, count == threads, count > 0], U32), threads)
        np.testing.assert_array_equal(out, expected)
        assert counters["barriers"] == 3


@pytest.mark.parametrize("seed", SEEDS)
def test_atomics(emulation, seed):
    out, counters = emulation.run("atomics", 6, 50, seed=seed, system_threads=2)
    i = np.arange(300)
    number = i * 37 % 101 - 50
    state = 1
    for _ in i:
        state = (state + 1) * 3 % 65521
    assert out[0] == i.sum()
    assert out.view(np.int32)[[1, 3, 4]].tolist() == [number.sum(), number.max(), number.min()]
    assert out.view(np.float32)[2] == i.sum()
    assert out[5] == EVERY
    assert int(out[6]) + (int(out[7]) << 32) == 300 * 2**32 + i.sum()
    assert out[8] == state
    assert out[9:].tolist() == [1, 1, 299]
    assert counters["atomics"] >= 300 * 10


def bfloat16_by_definition(x: float) -> int:
    """The nearest of the two neighbours in bfloat16, the even one if they are equally near."""
    bits = int(np.float32(x).view(U32))
    low = np.array([bits & 0xFFFF0000], U32).view(np.float32).astype(np.float64)[0]
    up = (bits & 0xFFFF0000) + 0x10000
    exponent = max((bits >> 23 & 255) - 127, -126)
    step = float(np.ldexp(1.0, exponent - 7))
    high = low + (step if bits < 1 << 31 else -step)
    down, above = abs(float(np.float32(x)) - low), abs(high - float(np.float32(x)))
    if above < down or (above == down and bits >> 16 & 1):
        return up >> 16
    return bits >> 16


def test_conversions(emulation):
    rng = np.random.default_rng(3)
    halves = np.arange(65536, dtype=np.uint16).view(np.float16)
    halves = halves[np.isfinite(halves)].astype(np.float32)
    ties = (halves[:-1] + halves[1:]) / 2
    some = rng.integers(0, 2**32, 20000, dtype=U32).view(np.float32)
    edges = np.array(
        [65504, 65519.99, 65520, 1e30, 3.3e38, 2**-24, 2**-25, 2**-26, 0, np.inf], np.float32
    )
    given = np.concatenate([halves, ties, np.nextafter(ties, np.float32(9e9)), some, edges, -edges])
    given = given[~np.isnan(given)].astype(np.float32)
    out = emulation.run("conversions", words=given)[0].reshape(-1, 4)
    with np.errstate(over="ignore"):
        half = given.astype(np.float16)
    np.testing.assert_array_equal(out[:, 0], half.view(np.uint16))
    np.testing.assert_array_equal(out[:, 2].view(np.float32), half.astype(np.float32))
    picked = rng.choice(len(given), 3000)
    picked = picked[np.isfinite(given[picked])]
    expected = [bfloat16_by_definition(given[i]) for i in picked]
    np.testing.assert_array_equal(out[picked, 1], np.array(expected, U32))
    np.testing.assert_array_equal(out[:, 3], out[:, 1] << 16)


def test_not_a_number_stays(emulation):
    given = np.array([0x7F800001, 0xFFFFFFFF, 0x7FC00000, 0xFF800001], U32)
    out = emulation.run("conversions", words=given)[0].reshape(-1, 4)
    assert np.isnan(out[:, 2:].copy().view(np.float32)).all()


@pytest.mark.parametrize("stride", [1, 2, 8, 16])
def test_copies_and_their_sectors(emulation, stride):
    given = np.random.default_rng(1).random(512 * stride, np.float32)
    out, counters = emulation.run("copy", stride, words=given)
    np.testing.assert_array_equal(out.view(np.float32), given[::stride])
    # Ideal: 512 floats are 64 sectors; buffers need not begin at a sector, which costs one a warp.
    touched = min(512, 64 * stride)
    assert touched <= counters["load_sectors"] <= touched + 16
    assert counters["load_sectors_ideal"] == counters["store_sectors_ideal"] == 64
    assert 64 <= counters["store_sectors"] <= 64 + 16


def test_vectors(emulation):
    given = np.random.default_rng(2).random(2048, np.float32)
    out, counters = emulation.run("copy", 0, words=given)
    np.testing.assert_array_equal(out.view(np.float32), given)
    assert counters["load_sectors_ideal"] == counters["store_sectors_ideal"] == 256
    assert counters["load_sectors"] <= 256 + 16


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("padded", [False, True])
def test_transpose_and_its_bank_conflicts(emulation, padded, seed):
    given = np.random.default_rng(4).random((32, 32), np.float32)
    out, counters = emulation.run("transpose", int(padded), words=given, seed=seed)
    np.testing.assert_array_equal(out.view(np.float32).reshape(32, 32), given.T)
    assert counters["bank_conflicts"] == (0 if padded else 32 * 31)
    assert counters["barriers"] == 1


@pytest.mark.parametrize("seed", SEEDS)
def test_block_reductions(emulation, seed):
    given = np.random.default_rng(5).integers(-99, 99, 3 * 256).astype(np.float32)
    out, counters = emulation.run("centre", 256, words=given, seed=seed, system_threads=3)
    rows = given.reshape(3, 256)
    mean = rows.sum(1, keepdims=True, dtype=np.float64) / 256
    np.testing.assert_array_equal(out.view(np.float32).reshape(3, 256), rows - mean)
    assert counters["barriers"] == 6


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("words", [1, 2, 4])
def test_asynchronous_copies(emulation, words, seed):
    stage = 32 * words
    # Memory of the host is aligned to 16 bytes; what lies behind the end is zero.
    given = np.random.default_rng(words).integers(1, 2**32, 3 * stage + 5, dtype=U32)
    out, _ = emulation.run("reverse_stages", words, 5, words=given, seed=seed)
    padded = np.zeros(5 * stage, U32)
    padded[: len(given)] = given
    np.testing.assert_array_equal(out.reshape(5, stage), padded.reshape(5, stage)[:, ::-1])


@pytest.mark.parametrize("seed", SEEDS)
def test_named_barriers(emulation, seed):
    out, counters = emulation.run("produce", 7, seed=seed)
    expected = np.arange(7)[:, None] * 100 + np.arange(31, -1, -1)
    np.testing.assert_array_equal(out.reshape(7, 32), expected)
    assert counters["barriers"] == 7 + 5


@pytest.mark.parametrize("seed", SEEDS)
def test_flag_mask_and_clock(emulation, seed):
    out, _ = emulation.run("flag", 48, seed=seed)
    assert out[2:].tolist() == [9] * 48
