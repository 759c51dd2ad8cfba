"""ldmatrix and mma against the tables of the PTX ISA, written out here by register and lane."""

from __future__ import annotations

import numpy as np
import pytest

from tests.cuda.conftest import Fault

U32 = np.uint32


def bits_of(values: np.ndarray, kind: str) -> np.ndarray:
    """16 bits of each value; bfloat16 only of values that it holds exactly."""
    if kind == "half":
        return values.astype(np.float16).view(np.uint16)
    bits = values.astype(np.float32).view(U32)
    assert not (bits & 0xFFFF).any()
    return (bits >> 16).astype(np.uint16)


@pytest.mark.parametrize("seed", [0, 1])
@pytest.mark.parametrize("transposed", [False, True])
@pytest.mark.parametrize("count", [1, 2, 4])
def test_load_matrices(emulation, count, transposed, seed):
    matrices = (
        np.random.default_rng(count).permutation(64 * count).astype(np.uint16).reshape(count, 8, 8)
    )
    out, counters = emulation.run("fragments", count, int(transposed), words=matrices, seed=seed)
    got = out.view(np.uint16).reshape(32, count, 2)
    for lane in range(32):
        for i in range(count):
            matrix = matrices[i].T if transposed else matrices[i]
            # The table: thread T4 has row 1, columns 0 and 1; thread 31 row 7, columns 6 and 7.
            row, column = divmod(lane, 4)
            assert got[lane, i].tolist() == matrix[row, 2 * column : 2 * column + 2].tolist()
    assert counters["bank_conflicts"] == 0


# Figures "MMA .m16n8k16 fragment layout for matrix A with .f16 / .bf16 type" and their kin: of lane 0 the (row,
# column) of each element, and what a step of lane % 4 and one of lane / 4 add.
A16 = [(0, 0), (0, 1), (8, 0), (8, 1), (0, 8), (0, 9), (8, 8), (8, 9)]
B16 = [(0, 0), (1, 0), (8, 0), (9, 0)]
C = [(0, 0), (0, 1), (8, 0), (8, 1)]
A8 = [(0, 0), (8, 0), (0, 4), (8, 4)]
B8 = [(0, 0), (4, 0)]


def gathered(matrix, table, by_lane, by_group):
    """[32, elements]: what each lane holds."""
    places = [
        [
            (r + t * by_lane[0] + g * by_group[0], c + t * by_lane[1] + g * by_group[1])
            for r, c in table
        ]
        for g in range(8)
        for t in range(4)
    ]
    rows, columns = np.moveaxis(np.array(places), -1, 0)
    return matrix[rows, columns]


@pytest.mark.parametrize("seed", [0, 1, 2])
@pytest.mark.parametrize("kind", ["bfloat16", "half", "tf32"])
def test_mma(emulation, kind, seed):
    rng = np.random.default_rng(seed)
    depth = 8 if kind == "tf32" else 16
    # Integers and quarters: products and sums are exact in float32, in any order.
    a = rng.integers(-60, 60, (16, depth)).astype(np.float32) / 4
    b = rng.integers(-60, 60, (depth, 8)).astype(np.float32) / 4
    c = rng.integers(-999, 999, (16, 8)).astype(np.float32)
    lanes_c = gathered(c, C, (0, 2), (1, 0)).view(U32)
    if kind == "tf32":
        # The last 13 bits count for nothing.
        noise = rng.integers(0, 1 << 13, (32, 6), dtype=U32)
        lanes_a = gathered(a, A8, (0, 1), (1, 0)).view(U32) | noise[:, :4]
        lanes_b = gathered(b, B8, (1, 0), (0, 1)).view(U32) | noise[:, 4:]
    else:
        lanes_a = np.ascontiguousarray(gathered(bits_of(a, kind), A16, (0, 2), (1, 0))).view(U32)
        lanes_b = np.ascontiguousarray(gathered(bits_of(b, kind), B16, (2, 0), (0, 1))).view(U32)
    given = np.concatenate([lanes_a, lanes_b, lanes_c], axis=1)
    number = ["bfloat16", "half", "tf32"].index(kind)
    out, counters = emulation.run("multiply", number, words=given, seed=seed)
    expected = gathered(a.astype(np.float64) @ b + c, C, (0, 2), (1, 0))
    np.testing.assert_array_equal(out.view(np.float32).reshape(32, 4), expected)
    assert counters["mma"] == 1


def test_rounding_to_tf32(emulation):
    given = np.random.default_rng(0).standard_normal(1000).astype(np.float32)
    given[:3] = [1 + 2**-11, -(1 + 2**-11), 1 + 3 * 2**-11]  # ties go away from zero
    out = emulation.run("round_tf32", words=given)[0].view(np.float32)
    mantissa, exponent = np.frexp(given.astype(np.float64))
    scaled = np.abs(mantissa) * 2**11
    expected = np.copysign(np.ldexp(np.floor(scaled + 0.5), exponent - 11), given)
    np.testing.assert_array_equal(out, expected)


def product(emulation, m, n, k, fault=0, seed=0):
    rng = np.random.default_rng(m + n + k)
    a = rng.integers(-8, 8, (m, k)).astype(np.float32)
    b = rng.integers(-8, 8, (k, n)).astype(np.float32)
    words = np.concatenate([bits_of(a, "bfloat16").ravel(), bits_of(b, "bfloat16").ravel()])
    out, counters = emulation.run("product", m, n, k, fault, words=words, seed=seed)
    return out.view(np.float32).reshape(m, n), a.astype(np.float64) @ b, counters


@pytest.mark.parametrize("seed", [0, 1])
@pytest.mark.parametrize("shape", [(64, 64, 32), (70, 72, 40), (3, 8, 8), (128, 40, 104)])
def test_product_of_matrices(emulation, shape, seed):
    out, expected, counters = product(emulation, *shape, seed=seed)
    np.testing.assert_array_equal(out, expected)
    assert counters["bank_conflicts"] == 0
    m, n, k = shape
    blocks, steps = -(-m // 64) * -(-n // 64), -(-k // 32)
    assert counters["mma"] == blocks * steps * 4 * 16
    assert counters["barriers"] == blocks * steps * 2


def test_a_wrong_fragment_is_seen(emulation):
    out, expected, _ = product(emulation, 64, 64, 32, fault=1)
    assert np.mean(out != expected) > 0.9


def test_a_missing_barrier_in_a_pipeline_is_found(emulation):
    with pytest.raises(
        Fault, match=r"kernel .*product<2>.*asynchronous copy.*race in shared memory"
    ):
        product(emulation, 64, 64, 96, fault=2)
