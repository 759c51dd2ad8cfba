"""No candidate reads or writes beyond its arrays: each lies between pages that may not be touched.

The table runs in a process of its own (this file as a script), so that a fault fails a test and names its case.
"""

from __future__ import annotations

import ctypes
import mmap
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import fastconv as fc
from fastconv import _core
from tests.cases.conv2d import CASES, Conv2dCase

PAGE = mmap.PAGESIZE
_kept: list[Any] = []


def guarded(values: Any, at_end: bool) -> Any:
    """A copy that ends where a forbidden page begins, or begins where one ends."""
    pages = -(-values.nbytes // PAGE)
    memory = mmap.mmap(-1, (pages + 2) * PAGE)
    _kept.append(memory)
    address = ctypes.addressof(ctypes.c_char.from_buffer(memory))
    libc = ctypes.CDLL(None, use_errno=True)
    for page in (0, pages + 1):
        if libc.mprotect(ctypes.c_void_p(address + page * PAGE), ctypes.c_size_t(PAGE), 0):
            raise OSError(ctypes.get_errno(), "mprotect")
    start = (pages + 1) * PAGE - values.nbytes if at_end else PAGE
    array = np.frombuffer(memory, values.dtype, values.size, start).reshape(values.shape)
    array[...] = values
    return array


def run(case: Conv2dCase, layout: str, at_end: bool) -> None:
    rng = np.random.default_rng(0)

    def array(*shape: int) -> Any:
        return guarded(rng.standard_normal(shape, dtype=np.float32), at_end)

    n, c, h, w = case.x
    x = array(n, c, h, w) if layout == "NCHW" else array(n, h, w, c)
    weight, geometry = array(*case.weight), (*case.geometry, layout)
    bias = array(case.k)
    dy = guarded(_core.conv2d(x, weight, None, *geometry), at_end)
    calls: dict[str, Any] = {
        "fprop": lambda name: _core.conv2d(x, weight, bias, *geometry, algorithm=name),
        "dgrad": lambda name: _core.conv2d_input(x.shape, weight, dy, *geometry, algorithm=name),
        "wgrad": lambda name: _core.conv2d_weight(x, weight.shape, dy, *geometry, algorithm=name),
    }
    for direction, call in calls.items():
        listed = _core.conv2d_candidates(x.shape, weight.shape, *geometry, direction)
        for name, reason in listed:
            if not reason and name != "reference":
                print(case, layout, direction, name, flush=True)
                call(name)
    _kept.clear()


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="mprotect by its Linux numbers")
@pytest.mark.parametrize("layout", ["NCHW", "NHWC"])
@pytest.mark.parametrize("side", ["end", "start"])
def test_nothing_beyond_the_arrays(side: str, layout: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "tests.ops.test_conv2d_bounds", side, layout],
        capture_output=True,
        text=True,
        timeout=600,
        cwd=Path(__file__).parents[2],
    )
    lines = done.stdout.splitlines()
    assert done.returncode == 0, f"status {done.returncode} in {lines[-1:]}: {done.stderr[-500:]}"
    assert len(lines) > 3 * len(CASES)


if __name__ == "__main__":
    fc.set_num_threads(1)
    for each in CASES:
        run(each, sys.argv[2], sys.argv[1] == "end")
