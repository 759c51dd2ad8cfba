"""Which algorithm each convolution of a program runs: measured, where that is asked for, and kept.

The cost model chooses from counts alone. `compile(..., tune=True)` times what each convolution could run, as the
program would run it, and keeps the fastest in a file beside the tuning file, by processor and version, so that
the next program does not measure again. Results then depend on this file too, but for rounding they are equal.

Environment: `FASTCONV_TUNING=off` keeps nothing on disk.
"""

from __future__ import annotations

import json
import math
import os
import platform
import tempfile
import threading
import warnings
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np

from . import _core
from ._arrays import to_dtype
from ._runtime import __version__
from .tuning import path as tuning_path

__all__ = ["choose_algorithms", "path"]

_FORMAT = 1
# The model's choice stays unless another takes less than so much of its time.
_WORTH = 0.97
# One that takes so many times the best's time in a first run is not run again.
_HOPELESS = 1.5
_ROUNDS = 5
# Bytes that are written between two runs of a convolution whose weights come from memory in a network.
_EVICT = 64 << 20

_lock = threading.Lock()
_known: dict[str, str] | None = None
_source: Path | None = None


def path() -> Path | None:
    """The file of measured choices, or None where `FASTCONV_TUNING` is "off"."""
    file = tuning_path()
    return None if file is None else file.with_name(f"algorithms-{_core.isa()}.json")


def choose_algorithms(graph: _core.Graph) -> list[tuple[int, str]]:
    """The fastest algorithm of each convolution of a graph that could run in several ways, by its node."""
    chosen_now = []
    with _lock:
        known, new = _load(), False
        scales = [scale for scale in _core.conv2d_cost_scale().values() if scale != 1]
        evict: Any = None
        for node, problem, chosen, algorithms in graph.convolutions():
            if len(algorithms) < 2:
                continue
            key = f"{problem} threads {_core.get_num_threads()} {_core.get_precision()}"
            if " bfloat16 " in problem:  # some go through float32, by the cost model's choice
                key += f" {os.environ.get('FASTCONV_BF16', '')} {scales}"
            if known.get(key) not in algorithms:
                cold = " constant" in problem
                if evict is None and cold:
                    evict = np.empty(_EVICT, np.uint8)
                known[key] = _measure(graph, node, chosen, algorithms, evict if cold else None)
                new = True
            chosen_now.append((node, known[key]))
        if new:
            _save(known)
    return chosen_now


def _measure(graph: _core.Graph, node: int, chosen: str, algorithms: list[str], evict: Any) -> str:
    """The algorithm that takes least time."""
    alone = graph.alone(node)
    rng = np.random.default_rng(0)
    inputs: list[Any] = [
        rng.standard_normal(shape, np.float32).astype(to_dtype("compile", dtype))
        for dtype, shape in alone.input_types()
    ]
    programs = {}
    for name in sorted(algorithms, key=lambda name: name != chosen):
        alone.choose(0, name)
        programs[name] = _core.Program(alone.copy())
    times = dict.fromkeys(programs, math.inf)

    def run(name: str) -> None:
        if evict is not None:
            evict.fill(0)
            for array in inputs:
                array.view(np.uint8).max(initial=0)
        with suppress(MemoryError):  # then it is not the one
            times[name] = min(times[name], programs[name].profile(inputs, 1)[0]["seconds"])

    for turn in range(_ROUNDS):
        best = min(times.values())
        for name in programs:
            if turn == 0 or times[name] < _HOPELESS * best:
                run(name)
    fastest = min(times, key=lambda name: times[name])
    return fastest if times[fastest] < _WORTH * times.get(chosen, math.inf) else chosen


def _machine() -> dict[str, Any]:
    """What the choices were measured on."""
    processor = platform.processor() or platform.machine()
    try:
        with open("/proc/cpuinfo") as lines:
            names = (line.split(":", 1)[1].strip() for line in lines if "model name" in line)
            processor = next(names, processor)
    except OSError:
        pass
    return {"format": _FORMAT, "version": __version__, "processor": processor, "isa": _core.isa()}


def _load() -> dict[str, str]:
    """The choices of the file, if it is this machine's and this version's; the process reads it once."""
    global _known, _source
    file = path()
    if _known is not None and file == _source:
        return _known
    _known, _source = {}, file
    if file is not None:
        _known.update(_read(file))
    return _known


def _read(file: Path) -> dict[str, str]:
    try:
        found = json.loads(file.read_text())
        if {k: found[k] for k in ("format", "version", "processor", "isa")} == _machine():
            return {str(k): str(v) for k, v in found["choices"].items()}
    except FileNotFoundError:
        pass
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        warnings.warn(
            f"compile: {file} is no file of choices: {error!r}; it is made anew", stacklevel=2
        )
    return {}


def _save(choices: dict[str, str]) -> None:
    """Write the file; a directory that cannot be written costs measuring again, no more."""
    file = path()
    if file is None:
        return
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of a broken file has been spoken
        others = _read(file)  # another process may have measured meanwhile
    text = json.dumps({**_machine(), "choices": {**others, **choices}}, indent=1)
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=file.parent, prefix=file.name, suffix=".part")
    except OSError as error:
        warnings.warn(f"compile: measured choices are not kept: {error}", stacklevel=2)
        return
    try:
        with os.fdopen(handle, "w") as stream:
            stream.write(text + "\n")
        os.replace(name, file)
    except OSError as error:
        Path(name).unlink(missing_ok=True)
        warnings.warn(f"compile: measured choices are not kept: {error}", stacklevel=2)
