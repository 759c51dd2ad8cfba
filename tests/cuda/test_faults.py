"""Kernels with one planted fault each: the emulation says what and where, and nothing without the fault."""

from __future__ import annotations

import re

import pytest

from tests.cuda.conftest import Fault

# The case, the thread or "" where any of several may be the first, and what must be said.
FAULTS = [
    (
        "store_out_of_bounds",
        "37",
        r"store of 4 bytes at 0x\w+: out of bounds: 256 bytes .*buffer 'out', which has 256",
    ),
    ("load_before_buffer", "0", r"load of 4 bytes at 0x\w+: (out of bounds|no buffer)"),
    ("store_to_input", "", r"store of 4 bytes at .*buffer 'in' is not to be written"),
    ("atomic_out_of_bounds", "", r"atomic of 4 bytes at .*out of bounds"),
    ("misaligned_vector", "", r"load of 16 bytes at .*misaligned, expects a multiple of 16 bytes"),
    ("shared_index", "63", r"index 64 of an array in shared memory of 64"),
    ("shared_out_of_bounds", "", r"out of bounds of the block's 384 bytes of shared memory"),
    ("layout_too_large", "", r"takes 16384 bytes, but the launch gave 384"),
    (
        "missing_barrier",
        "",
        r"race in shared memory: (reads|writes) byte \d+, which thread number \d+ (writes|reads)",
    ),
    ("warp_barrier_for_block", "", r"race in shared memory"),
    (
        "write_after_read",
        "",
        r"race in shared memory: (reads|writes) byte \d+, which thread number \d+ (writes|reads)",
    ),
    ("write_write", "", r"race in shared memory: writes byte \d+, which thread number \d+ writes"),
    (
        "write_halves",
        "(32|33)",
        r"race in shared memory: writes byte 320, which thread number (32|33) writes",
    ),
    ("atomic_and_store", "", r"race in shared memory|which nobody has written"),
    ("uninitialised_read", "12", r"read of shared byte 48, which nobody has written"),
    (
        "copy_not_waited_for",
        "",
        r"asynchronous copy into it, by thread number \d+, has not been waited for",
    ),
    (
        "copy_without_barrier",
        "",
        r"race in shared memory|has not been waited for|which nobody has written",
    ),
    ("copy_over_readers", "", r"race in shared memory|has not been waited for"),
    ("copy_out_of_bounds", "63", r"asynchronous copy of 4 bytes: out of bounds: 256 bytes .*'in'"),
    (
        "copy_misaligned",
        "0",
        r"asynchronous copy of 16 bytes: misaligned, expects multiples of 16 bytes",
    ),
    (
        "lanes_missing",
        "",
        r"__shfl_xor_sync: lane 5 of the mask 0xffffffff has ended|deadlock: .*__shfl_xor_sync",
    ),
    (
        "divergent_shuffle",
        "",
        r"divergent __shfl_(down|xor)_sync with mask 0xffffffff: lane \d+ is at __shfl_",
    ),
    ("shuffle_from_outside_mask", "", r"__shfl_xor_sync: reads lane \d+, which is not in the mask"),
    ("not_in_own_mask", "(31|63)", r"__syncwarp: the lane is not in its own mask 0x7fffffff"),
    (
        "different_barriers",
        "",
        r"threads of the block are at different barriers: this one at __syncthreads",
    ),
    (
        "deadlock",
        "",
        r"deadlock: threads number 0 to 31 at barrier barrier 1 of 64 threads at faults.cu:\d+; "
        r"threads number 32 to 63 at barrier barrier 2 of 64 threads at faults.cu:\d+",
    ),
    (
        "barrier_counts",
        "",
        r"barrier 1 of (32|64) threads, but others came to it .*as one of (32|64)",
    ),
    (
        "matrix_rows_misaligned",
        "(3|35)",
        r"ldmatrix: a row is misaligned, expects a multiple of 16 bytes",
    ),
    ("matrix_without_barrier", "", r"ldmatrix: (race in shared memory|read of shared byte)"),
]


@pytest.mark.parametrize("seed", [0, 1, 2])
@pytest.mark.parametrize(("case", "thread", "said"), FAULTS, ids=[fault[0] for fault in FAULTS])
def test_a_planted_fault_is_reported(emulation, case, thread, said, seed):
    emulation.run(case, 0, seed=seed)
    with pytest.raises(Fault) as caught:
        emulation.run(case, 1, seed=seed)
    text = str(caught.value)
    assert re.search(said, text), text
    assert re.search(rf"kernel .*{case}, block \(0, 0, 0\)", text), text
    if thread:
        assert re.search(rf"thread \({thread}, 0, 0\)", text), text


def test_unchecked_pointers_meet_the_red_zone(emulation):
    emulation.run("shared_red_zone", 0)
    with pytest.raises(AssertionError, match="AddressSanitizer: use-after-poison"):
        emulation.run("shared_red_zone", 1)


def test_impossible_launches(emulation):
    emulation.run("too_many_threads", 0)
    with pytest.raises(Fault, match="a block of 1056 threads: expects 1 to 1024"):
        emulation.run("too_many_threads", 1)


def test_every_fault_of_the_kernels_is_in_the_table():
    from tests.cuda.conftest import ROOT

    source = (ROOT / "tests" / "cuda" / "kernels" / "faults.cu").read_text(encoding="utf-8")
    named = set(re.findall(r"^FC_REGISTER\((\w+)\)", source, re.M))
    assert named == {fault[0] for fault in FAULTS} | {"shared_red_zone"}
