"""A table over every public function of `fastconv.functional`: bad arguments of every kind are refused with
an error that names the function, or handled right; nothing crashes, hangs or takes the machine's memory.

The table runs in a process of its own (this file as a script) whose address space is limited, with a
watchdog on each call: a crash or a hang then fails tests instead of ending them.
"""

import faulthandler
import json
import os
import resource
import subprocess
import sys

import numpy as np
import pytest

import fastconv as fc
import fastconv.functional as F
from tests.bad_values import (
    FLOATS,
    INTEGERS,
    MEMORY,
    NO_INTEGERS,
    NO_NUMBERS,
    NOT_ARRAYS,
    OTHER_TYPES,
    SHAPES,
)
from tests.cases.arguments import (
    ANY,
    ARRAY,
    BOOL,
    CHOICE,
    FLOAT,
    LABELS,
    OPTIONAL,
    OPTIONAL_FLOAT,
    OPTIONAL_PAIR,
    OPTIONAL_TRIPLE,
    PADDING,
    PADDING_TRIPLE,
    PAIR,
    SEQUENCE,
    SIZES,
    TRIPLE,
    f32,
)
from tests.cases.functions import TABLE

HEADROOM = 1 << 30  # bytes of address space that a call may take
HANG_SECONDS = 30

_ARRAYS = (ARRAY, OPTIONAL, ANY, LABELS)

REFUSED, RIGHT, SAME = "refused", "refused or right", "as for the good array"


def mutations(name, entry):
    """(what, argument, value for it, what must come of it) for every bad or odd value."""
    for argument, (kind, make) in entry.arguments.items():
        good = make()
        if kind in _ARRAYS:
            for what, bad in NOT_ARRAYS.items():
                if not (bad is None and kind == OPTIONAL):
                    yield what, argument, bad, REFUSED
            if not entry.numbers_for_arrays:
                yield "number", argument, 1.0, REFUSED
                yield "np.float32", argument, np.float32(1.0), REFUSED
            for what, of in OTHER_TYPES.items():
                if kind == LABELS and "int" in what:
                    continue
                yield what, argument, of(good.shape), RIGHT if kind == ANY else REFUSED
            if kind == LABELS:
                yield "float labels", argument, good.astype(np.float32), REFUSED
                for odd in (-1, 4, 2**40, -(2**63), -100):
                    yield f"label {odd}", argument, np.array([0, odd, 1]), RIGHT
                yield "label 2**64-1", argument, np.array([0, 2**64 - 1, 1], np.uint64), REFUSED
                yield "int32 labels", argument, good.astype(np.int32), SAME
                yield "uint8 labels", argument, good.astype(np.uint8), SAME
            else:
                others = sum(k in (ARRAY, OPTIONAL) for k, _ in entry.arguments.values())
                mixed = REFUSED if others > 1 and kind != ANY else RIGHT
                yield "float64", argument, good.astype(np.float64), mixed
            for what, of in SHAPES.items():
                not_finite = "NaN" in what or what == "infinite"
                if not_finite and (kind == LABELS or argument in entry.finite):
                    continue
                yield what, argument, of(good), RIGHT
            for what, of in MEMORY.items():
                in_place = argument.startswith("running_")
                yield what, argument, of(good), RIGHT if in_place else SAME
        elif kind == SEQUENCE:
            for what, bad in {
                **NOT_ARRAYS,
                "array": f32(2, 3),
                "empty": [],
                "pair": [[1], [2]],
            }.items():
                if what != "dict":
                    yield what, argument, bad, REFUSED
            for what, of in OTHER_TYPES.items():
                yield what, argument, [good[0], of((2, 3))], REFUSED
            for what, of in SHAPES.items():
                yield what, argument, [good[0], of(good[1])], RIGHT
                yield f"{what} alone", argument, [of(good[1])], RIGHT
                yield f"{what} twice", argument, [of(good[1])] * 2, RIGHT
            for what, of in MEMORY.items():
                yield what, argument, [good[0], of(good[1])], SAME
            yield "float64", argument, [good[0], good[1].astype(np.float64)], REFUSED
        elif kind in (FLOAT, OPTIONAL_FLOAT):
            for what, bad in NO_NUMBERS.items():
                if bad is None and kind == OPTIONAL_FLOAT:
                    continue
                yield what, argument, bad, REFUSED
            for number in FLOATS:
                yield f"{type(number).__name__} {str(number)[:12]}", argument, number, RIGHT
        elif kind == BOOL:
            for bad in (None, "no", 0, 1, 1.0, [], [True], object()):
                yield repr(bad)[:12], argument, bad, REFUSED
            yield "the other", argument, not make(), RIGHT
        elif kind == CHOICE:
            for bad in (
                None,
                0,
                1.0,
                True,
                "",
                good + " ",
                good.swapcase(),
                b"NCHW",
                [good],
                object(),
            ):
                yield repr(bad)[:12], argument, bad, REFUSED
            yield "long string", argument, "x" * 100_000, REFUSED
            yield "surrogate", argument, "\udc80", REFUSED
            yield "null", argument, good + "\0", REFUSED
        else:
            for what, bad in NO_INTEGERS.items():
                if bad is None and "None" in kind:
                    continue
                if what == "Nones" and argument == "output_size":
                    continue
                yield what, argument, bad, REFUSED
            for n in INTEGERS:
                yield f"{n:.3g}" if abs(n) > 1e6 else str(n), argument, n, RIGHT
                yield f"np.int64 {n}"[:14], argument, np.int64(n) if abs(n) < 2**62 else n, RIGHT
                if kind in (TRIPLE, OPTIONAL_TRIPLE, PADDING_TRIPLE):
                    yield f"(1, {n:.3g}, 1)", argument, (1, n, 1), RIGHT
                    yield f"[{n:.3g}, 1, 1]", argument, [n, 1, 1], RIGHT
                if kind in (PAIR, OPTIONAL_PAIR, PADDING):
                    yield f"(1, {n:.3g})", argument, (1, n), RIGHT
                    yield f"[{n:.3g}, 1]", argument, [n, 1], RIGHT
                if kind == SIZES:
                    yield f"last {n:.3g}", argument, (*good[:-1], n), RIGHT
                    yield f"first {n:.3g}", argument, [n, *good[1:]], RIGHT
            wrong = (1, 2, 3) if kind in (PAIR, OPTIONAL_PAIR, PADDING) else None
            if kind in (TRIPLE, OPTIONAL_TRIPLE, PADDING_TRIPLE):
                wrong = (1, 2)
            if wrong:
                yield str(wrong), argument, wrong, REFUSED
                yield "none at all", argument, (), REFUSED
                yield "one", argument, [1], REFUSED
            if kind == SIZES:
                yield "no sizes", argument, (), RIGHT
                yield "nine sizes", argument, (1,) * 9, RIGHT
                yield "string", argument, "123", REFUSED
            if kind in (PADDING, PADDING_TRIPLE):
                yield "'same'", argument, "same", RIGHT
                yield "'valid'", argument, "valid", RIGHT
                yield "'full'", argument, "full", REFUSED


def _float64(value):
    if isinstance(value, np.ndarray) and value.dtype.kind == "f":
        if value.strides and 0 in value.strides and value.size > 1000:
            return np.broadcast_to(np.ones((), np.float64), value.shape)
        return value.astype(np.float64)
    return [_float64(v) for v in value] if isinstance(value, list) else value


def _call(name, arguments):
    fc.manual_seed(7)
    with np.errstate(all="ignore"):
        return getattr(F, name)(**arguments)


def _good(entry):
    return {argument: make() for argument, (_, make) in entry.arguments.items()}


def _differs(got, expected):
    """What is wrong with a float32 result, given the float64 one; None if nothing is."""
    if isinstance(got, tuple) and isinstance(expected, tuple):
        if len(got) != len(expected):
            return f"{len(got)} results, in float64 {len(expected)}"
        pairs = zip(got, expected, strict=True)
        return next((w for w in (_differs(g, e) for g, e in pairs) if w), None)
    if type(got) is not np.ndarray and not isinstance(got, float):
        return f"returned a {type(got).__name__}"
    got, expected = np.asarray(got), np.asarray(expected)
    if got.shape != expected.shape:
        return f"shape {got.shape}, in float64 {expected.shape}"
    if got.size > 1 << 22 or got.dtype.kind not in "f":
        return None
    with np.errstate(all="ignore"):
        expected = expected.astype(np.float32).astype(np.float64)
        near = np.isclose(got.astype(np.float64), expected, rtol=2e-4, atol=2e-5, equal_nan=True)
    if near.all():
        return None
    at = np.unravel_index(np.argmin(near), near.shape)
    return f"{got[at]} where float64 gives {expected[at]}"


def check(name, entry, what, argument, bad, outcome):
    """What is wrong with how the function takes the value; None if nothing is."""
    arguments = {**_good(entry), argument: bad}
    try:
        got = _call(name, arguments)
    except fc.FastconvError as error:
        if outcome == SAME:
            return f"refused: {error}"
        named = (f"{name}:", f"{entry.known_as or name}:")
        return None if str(error).startswith(named) else f"does not name {name}: {error}"
    except MemoryError:
        return None if outcome == RIGHT else "MemoryError"
    except BaseException as error:
        return f"{type(error).__name__}: {error}"
    if outcome == REFUSED:
        return f"accepted, gave {str(got)[:80]!r}"
    if outcome == SAME:
        expected = _call(name, _good(entry))
        if not isinstance(got, tuple):
            got, expected = (got,), (expected,)
        same = len(got) == len(expected) and all(map(np.array_equal, got, expected))
        return None if same else "differs from the good array's result"
    if name in ("reshape", "flatten", "permute", "transpose"):
        return _differs_from_numpy(name, arguments, got)
    fresh = {**_good(entry), argument: bad}
    try:
        wide = _call(name, {k: _float64(v) for k, v in fresh.items()})
    except MemoryError:
        return None
    except BaseException as error:
        return f"accepted in float32, in float64 {type(error).__name__}: {error}"
    return _differs(got, wide)


def _differs_from_numpy(name, arguments, got):
    x = arguments["input"]
    if name == "reshape":
        shape = arguments["shape"]
        expected = x.reshape(shape if isinstance(shape, (tuple, list)) else (shape,))
    elif name == "permute":
        dims = arguments["dims"]
        expected = x.transpose(dims if isinstance(dims, (tuple, list)) else (dims,))
    elif name == "transpose":
        expected = np.swapaxes(x, arguments["dim0"], arguments["dim1"]) if x.ndim else x
    else:
        first, last = (arguments[k] % max(x.ndim, 1) for k in ("start_dim", "end_dim"))
        joined = int(np.prod(x.shape[first : last + 1], dtype=object))
        expected = x.reshape(*x.shape[:first], joined, *x.shape[last + 1 :])
    if got.shape != expected.shape or got.dtype != expected.dtype:
        return f"{got.dtype} of shape {got.shape}, NumPy {expected.dtype} of {expected.shape}"
    if got.size > 1 << 20:
        return None
    same = np.array_equal(got, expected, equal_nan=got.dtype.kind == "f")
    return None if same else "differs from NumPy"


def main():
    """Run the whole table under limits; print a line of JSON for each function."""
    fc.set_num_threads(2)
    for name, entry in TABLE.items():  # threads, pools and lazy modules come before the limit
        _call(name, _good(entry))
    with open("/proc/self/statm") as statm:
        taken = int(statm.read().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (taken + HEADROOM, resource.RLIM_INFINITY))
    for name in TABLE:
        entry = TABLE[name]
        failures, count = [], 0
        for what, argument, bad, outcome in mutations(name, entry):
            os.write(2, f"{name}({argument}={what})\n".encode())  # the last line tells of a crash
            faulthandler.dump_traceback_later(HANG_SECONDS, exit=True)
            wrong = check(name, entry, what, argument, bad, outcome)
            faulthandler.cancel_dump_traceback_later()
            count += 1
            if wrong:
                failures.append(f"{argument}={what}: {wrong[:200]}")
        fc.empty_cache()
        print(json.dumps({"name": name, "count": count, "failures": failures}), flush=True)


@pytest.fixture(scope="module")
def results():
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(p for p in sys.path if p)}
    done = subprocess.run(
        [sys.executable, "-W", "ignore", __file__],
        env=env,
        capture_output=True,
        text=True,
        timeout=300,
    )
    found = [json.loads(line) for line in done.stdout.splitlines()]
    last = "\n".join(done.stderr.splitlines()[-30:])
    assert done.returncode == 0, f"exit code {done.returncode} after\n{last}"
    return {entry["name"]: entry for entry in found}


def test_the_table_names_every_public_function():
    functions = [name for name in F.__all__ if not isinstance(getattr(F, name), type)]
    assert sorted(TABLE) == sorted(functions)


@pytest.mark.parametrize("name", TABLE)
def test_the_table_s_good_arguments_are_good(name):
    assert _call(name, _good(TABLE[name])) is not None


@pytest.mark.parametrize("name", TABLE)
def test_bad_arguments_are_refused_or_handled(name, results):
    assert results[name]["count"] > 30
    assert results[name]["failures"] == []


@pytest.mark.parametrize("name", TABLE)
def test_wrong_calls_raise_type_error(name):
    function, good = getattr(F, name), _good(TABLE[name])
    with pytest.raises(TypeError):
        function()
    with pytest.raises(TypeError):
        function(**good, no_such_argument=1)
    with pytest.raises(TypeError):
        function(*[1] * 30)


@pytest.mark.parametrize("name", TABLE)
def test_tensors_are_refused_like_arrays(name):
    entry = TABLE[name]
    for argument, (kind, make) in entry.arguments.items():
        if kind in (ARRAY, OPTIONAL):
            bad = fc.tensor(np.ones(make().shape, np.int64))
            with pytest.raises(fc.DTypeError, match=f"^{entry.known_as or name}:"):
                _call(name, {**_good(entry), argument: bad})


if __name__ == "__main__":
    main()
