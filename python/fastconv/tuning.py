"""Fit the choice between Winograd and direct convolution to this machine.

The choice is made by a cost model (csrc/ops/conv2d/cost.h) whose built-in coefficients come from one
machine of each instruction set. `tune` times a few 3x3 layers here and finds, for each algorithm,
the factor between what it takes and what the model expects; `save` writes the factors to a file that
`import fastconv` reads. Convolutions themselves never time anything: the choice, and with it the bits
of a result, depend on shapes and this file alone (but in programs made with `tune=True`: see choice.py).

Environment: `FASTCONV_TUNING` names the file; "off" means the built-in coefficients.
"""

from __future__ import annotations

import json
import math
import os
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from . import _core
from ._runtime import tuning_file
from .errors import FormatError

__all__ = ["load", "path", "reset", "save", "tune"]

_FORMAT = 1
# (N, C, size, K): channels, maps and tile counts on both sides of where the choice turns.
_SWEEP = [
    (16, 16, 32, 16),
    (8, 32, 32, 32),
    (4, 64, 16, 64),
    (2, 64, 56, 64),
    (1, 32, 112, 32),
    (1, 128, 28, 128),
    (1, 256, 14, 256),
    (4, 256, 7, 256),
    (1, 24, 50, 100),
]


def path() -> Path | None:
    """The file that `import fastconv` reads, or None where `FASTCONV_TUNING` is "off"."""
    found = tuning_file()
    return None if found is None else Path(found)


def best_seconds(call: Callable[[], Any], budget: float) -> float:
    """The least CPU time of a call, of as many as fit into `budget` seconds (three at least)."""
    call()
    best, calls, end = math.inf, 0, time.perf_counter() + budget
    while calls < 3 or time.perf_counter() < end:
        start = time.thread_time()
        call()
        best = min(best, time.thread_time() - start)
        calls += 1
    return best


def _measure(
    shape: tuple[int, int, int, int], direction: str, seconds: float
) -> dict[str, tuple[float, float]]:
    """Seconds and expected cycles of each algorithm."""
    n, c, size, k = shape
    rng = np.random.default_rng(0)
    x = rng.standard_normal((n, size, size, c), dtype=np.float32)
    dy = rng.standard_normal((n, size, size, k), dtype=np.float32)
    w = rng.standard_normal((k, c, 3, 3), dtype=np.float32)
    geometry = (1, 1, 1, 1, "NHWC")
    costs = _core.conv2d_costs(x.shape, w.shape, "NHWC", direction)
    found = {}
    for name, cycles in costs.items():
        if direction == "fprop":
            call = lambda name=name: _core.conv2d(x, w, None, *geometry, algorithm=name)  # noqa: E731
        else:
            call = lambda name=name: _core.conv2d_weight(  # noqa: E731
                x, w.shape, dy, *geometry, algorithm=name
            )
        found[name] = (best_seconds(call, seconds), cycles)
    return found


def tune(seconds: float = 0.1, show: Callable[[str], None] | None = None) -> dict[str, float]:
    """Measure this machine and use what was found from now on, in this process.

    Run it on a quiet machine. It takes about 50 times `seconds`, on one thread.

    Args:
        seconds: for each layer and algorithm.
        show: gets a line for each layer.

    Returns:
        The factor of each cost, relative to that of direct convolution: keys `direct`,
        `direct_wgrad`, `winograd`, `winograd6`, `winograd_wgrad`. Pass them to `save`.
    """
    threads = _core.get_num_threads()
    precision = _core.get_precision()
    before = _core.conv2d_cost_scale()
    _core.set_num_threads(1)
    _core.set_precision("high")
    reset()
    try:
        ratios: dict[str, list[float]] = {}
        for shape in _SWEEP:
            for direction in ("fprop", "wgrad"):
                found = _measure(shape, direction, seconds)
                base = found["implicit_gemm"]
                for name, (took, cycles) in found.items():
                    key = name if direction == "fprop" else f"{name}_wgrad"
                    ratios.setdefault(key, []).append(took / cycles / (base[0] / base[1]))
                if show:
                    times = "  ".join(f"{n} {1e3 * t:.3f}" for n, (t, _) in found.items())
                    show(f"{shape!s:20} {direction:6} milliseconds: {times}")
        scale = {"direct": 1.0, "direct_wgrad": 1.0}
        for key in ("winograd", "winograd6", "winograd_wgrad"):
            scale[key] = min(10.0, max(0.1, float(np.median(ratios[key]))))
        _core.set_conv2d_cost_scale(scale)
        return scale
    except BaseException:
        _core.set_conv2d_cost_scale(before)
        raise
    finally:
        _core.set_num_threads(threads)
        _core.set_precision(precision)


def reset() -> None:
    """Go back to the built-in coefficients."""
    names = ("direct", "direct_wgrad", "winograd", "winograd6", "winograd_wgrad")
    _core.set_conv2d_cost_scale(dict.fromkeys(names, 1.0))


def save(scale: dict[str, float], file: str | os.PathLike[str] | None = None) -> Path:
    """Write the result of `tune` to `file`, by default where `import fastconv` looks for it.

    Raises:
        OSError: the file cannot be written.
        FormatError: no file is named, and `FASTCONV_TUNING` is "off".
    """
    target = Path(file) if file is not None else path()
    if target is None:
        raise FormatError("tuning: no file to write: FASTCONV_TUNING is off")
    target.parent.mkdir(parents=True, exist_ok=True)
    text = json.dumps({"format": _FORMAT, "isa": _core.isa(), "scale": scale}, indent=1)
    handle, name = tempfile.mkstemp(dir=target.parent, prefix=target.name, suffix=".part")
    try:
        with os.fdopen(handle, "w") as stream:
            stream.write(text + "\n")
        os.replace(name, target)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise
    return target


def load(file: str | os.PathLike[str]) -> dict[str, float]:
    """Use the factors of a file that `save` wrote.

    Raises:
        OSError: it cannot be read.
        FormatError: it is not such a file, or is for another instruction set.
    """
    try:
        found = json.loads(Path(file).read_text())
        isa, scale = found["isa"], {str(k): float(v) for k, v in found["scale"].items()}
        known = found["format"] == _FORMAT
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise FormatError(f"tuning: {file} is not a tuning file: {error!r}") from error
    if not known or isa != _core.isa():
        raise FormatError(
            f"tuning: {file} is of format {found['format']} for {isa},"
            f" expected format {_FORMAT} for {_core.isa()}"
        )
    try:
        _core.set_conv2d_cost_scale(scale)
    except ValueError as error:
        raise FormatError(f"tuning: {file}: {error}") from error
    return scale


def use_file() -> None:
    """What `import fastconv` does where there is a file: nothing that is wrong with it stops it."""
    file = path()
    try:
        if file is not None:
            load(file)
    except (FormatError, OSError) as error:
        warnings.warn(f"{error}; the built-in coefficients are used", stacklevel=2)
