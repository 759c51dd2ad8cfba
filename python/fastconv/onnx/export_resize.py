"""Translators: chosen elements and weighted sums along a dimension, which is what resizing is recorded as."""

from __future__ import annotations

from typing import Any

import numpy as np

from .._arrays import NDArray
from ..functional._taps import Taps
from ..functional.resize import table
from .export_recording import Step
from .export_translation import Axes, Resize, Translation, ordered, translates

# Most sums of taps that are written one by one.
_TAPS = 16
# Of slices that go backwards to the beginning.
_BEGINNING = -(2**31)


# What ONNX calls the rules of `F.interpolate`: kind and whether corners stay, and the attributes.
_RULES: dict[tuple[str, bool], dict[str, Any]] = {
    ("nearest", False): {
        "mode": "nearest",
        "coordinate_transformation_mode": "asymmetric",
        "nearest_mode": "floor",
    },
    ("nearest-exact", False): {
        "mode": "nearest",
        "coordinate_transformation_mode": "half_pixel",
        "nearest_mode": "round_prefer_ceil",
    },
    ("linear", False): {"mode": "linear", "coordinate_transformation_mode": "half_pixel"},
    ("linear", True): {"mode": "linear", "coordinate_transformation_mode": "align_corners"},
    ("cubic", False): {
        "mode": "cubic",
        "coordinate_transformation_mode": "half_pixel",
        "cubic_coeff_a": -0.75,
    },
    ("cubic", True): {
        "mode": "cubic",
        "coordinate_transformation_mode": "align_corners",
        "cubic_coeff_a": -0.75,
    },
}


@translates("resample")
def _resample(t: Translation, step: Step) -> None:
    """Sums of chosen elements along a dimension."""
    source = step.operands[0]
    view, dim = t.view(source), t.get(step, "dim")
    axis = view.axes[dim]
    begin, index, weight = (None if v is None else _table(t, v) for v in step.operands[1:])
    assert begin is not None and index is not None
    taps = Taps(t.shape(source)[dim], begin, index, weight)
    rule = _rule(taps)
    if rule is not None and len(view.axes) == 4 and axis >= 2:
        name = _resized(t, step, axis, rule)
        return t.put(step.results[0], name, view.axes)
    counts = np.diff(begin)
    single = weight is None or bool(np.all(weight == 1))
    if single and counts.size and counts.min() == counts.max() == 1:
        name = _places(t, view.name, axis, index, taps.inputs)
        return t.put(step.results[0], name, view.axes)
    if counts.max(initial=0) > _TAPS:
        name, axes = _product(t, view.name, view.axes, axis, taps)
        return t.put(step.results[0], name, axes)
    name = _sum_of_taps(t, view.name, len(view.axes), axis, taps)
    t.put(step.results[0], name, view.axes)


def _table(t: Translation, value: int) -> NDArray:
    found = t.trace.constant(value)
    assert found is not None  # the native op takes nothing else
    return found[1]


def _rule(taps: Taps) -> dict[str, Any] | None:
    """The attributes with which ONNX's Resize does the same, where there are any."""
    old, new = taps.inputs, taps.outputs
    if old == new or not old or not new:
        return None
    for (kind, corners), rule in _RULES.items():
        known = table(kind, old, new, corners, None)
        if not np.array_equal(known.begin, taps.begin) or not np.array_equal(
            known.index, taps.index
        ):
            continue
        if (known.weight is None) != (taps.weight is None):
            continue
        if known.weight is None:
            return rule if _certain(kind, old, new) else None
        assert taps.weight is not None
        if np.allclose(known.weight, taps.weight, rtol=0, atol=1e-7):
            return rule
    return None


def _certain(kind: str, old: int, new: int) -> bool:
    """Whether rounding cannot make another runtime take another neighbour."""
    if kind == "nearest" and new % old == 0:
        return True
    places = (np.arange(new) + (0.5 if kind == "nearest-exact" else 0.0)) * old / new
    off = np.abs(places - np.round(places))
    first = kind == "nearest"  # whose first place is 0 in any arithmetic
    return bool(np.all(off[int(first) :] > 1e-4))


def _resized(t: Translation, step: Step, axis: int, rule: dict[str, Any]) -> str:
    """A Resize node; two of one rule, one after the other, become one."""
    source = step.operands[0]
    assert source is not None
    name, axes = t.view(source)
    before, dims = ordered(t.shape(source), axes), {axis}
    last = t.resizes.get(name)
    if last is not None and last.rule == rule and t.trace.readers(source) == 1:
        name, before, dims = last.source, last.before, last.dims | dims
    after = [ordered(shape, axes) for shape in t.shapes(step.results[0])]
    sizes, options = ["", ""], {}
    if all(new % old == 0 for old, new in zip(before, after[0], strict=True)):
        sizes = ["", t.graph.floats(np.divide(after[0], before))]
    elif t.graph.opset >= 18:
        sizes.append(t.graph.ints([after[0][d] for d in sorted(dims)]))
        options["axes"] = sorted(dims)
    else:
        sizes.append(t.shape_of(step, after))
    made = t.emit("Resize", [name, *sizes], **rule, **options)
    t.resizes[made] = Resize(name, before, dims, rule)
    return made


def _sum_of_taps(t: Translation, name: str, ndim: int, axis: int, taps: Taps) -> str:
    """One term for each tap: chosen elements times a weight for each output."""
    counts = np.diff(taps.begin)
    rows = np.repeat(np.arange(taps.outputs), counts)
    weights = np.ones(len(taps.index)) if taps.weight is None else taps.weight
    number = np.arange(len(taps.index)) - taps.begin[rows]  # of a tap among those of its output
    across = [taps.outputs if d == axis else 1 for d in range(ndim)]
    total = ""
    for k in range(max(int(counts.max(initial=0)), 1)):
        places, factors = np.zeros(taps.outputs, np.int64), np.zeros(taps.outputs)
        mine = number == k
        places[rows[mine]], factors[rows[mine]] = taps.index[mine], weights[mine]
        term = _places(t, name, axis, places, taps.inputs)
        term = t.emit("Mul", [term, t.graph.floats(factors.reshape(across))])
        total = t.emit("Add", [total, term]) if total else term
    return total


def _product(t: Translation, name: str, axes: Axes, axis: int, taps: Taps) -> tuple[str, Axes]:
    """Many taps: a product with the matrix of weights, the dimension moved to the end."""
    rows = np.repeat(np.arange(taps.outputs), np.diff(taps.begin))
    matrix = np.zeros((taps.inputs, taps.outputs))
    np.add.at(matrix, (taps.index, rows), 1.0 if taps.weight is None else taps.weight)
    order = (*(d for d in range(len(axes)) if d != axis), axis)
    turned = t.emit("Transpose", [name], perm=order)
    made = t.emit("MatMul", [turned, t.graph.floats(matrix)])
    return made, tuple(order.index(a) for a in axes)


def _places(t: Translation, name: str, axis: int, index: NDArray, size: int) -> str:
    """The elements at `index` along a dimension: a slice where they are evenly spaced."""
    if np.array_equal(index, np.arange(size)):
        return name
    steps = np.unique(np.diff(index))
    if len(steps) == 1 and steps[0] != 0:
        step = int(steps[0])
        end = int(index[-1]) + step
        numbers = (int(index[0]), end if end >= 0 else _BEGINNING, axis, step)
        return t.emit("Slice", [name, *(t.graph.ints([n]) for n in numbers)])
    return t.emit("Gather", [name, t.graph.ints(index)], axis=axis)
