"""Translators: shapes, joins, splits and borders."""

from __future__ import annotations

from ..errors import CaptureError
from .export_pointwise import together
from .export_recording import Step
from .export_translation import Translation, ordered, translates


@translates("reshape")
def _reshape(t: Translation, step: Step) -> None:
    (source,) = step.operands
    view = t.view(source)
    before, after = t.shapes(source), t.shapes(step.results[0])
    name = view.name
    # Dimensions of one element may lie anywhere.
    real = [axis for i, axis in enumerate(view.axes) if any(shape[i] != 1 for shape in before)]
    if real == sorted(real):
        before = [ordered(shape, view.axes) for shape in before]
    else:
        name = t.plain(source)
    t.put(step.results[0], t.reshaped(step, name, before, after))


@translates("transpose")
def _transpose(t: Translation, step: Step) -> None:
    view = t.view(step.operands[0])
    dims = t.get(step, "dims")
    t.put(step.results[0], view.name, tuple(view.axes[d] for d in dims))


@translates("concat")
def _concat(t: Translation, step: Step) -> None:
    names, axes = together(t, list(step.operands))
    if len(names) == 1:
        return t.put(step.results[0], names[0], axes)
    t.put(step.results[0], t.emit("Concat", names, axis=axes[t.get(step, "dim")]), axes)


@translates("concat_backward")
def _split(t: Translation, step: Step) -> None:
    """What takes a joined gradient apart is also how arrays are split and cut."""
    view = t.view(step.operands[0])
    axis = view.axes[t.get(step, "dim")]
    wanted = [i for i, value in enumerate(step.results) if value in t.trace.read]
    if len(wanted) == 1:
        value = step.results[wanted[0]]
        return t.put(value, _piece(t, step, view.name, axis, wanted[0]), view.axes)
    sizes = t.get(step, "sizes")
    names = t.emit_many("Split", [view.name, t.graph.ints(sizes)], len(sizes), axis=axis)
    for value, name in zip(step.results, names, strict=True):
        t.put(value, name, view.axes)


def _piece(t: Translation, step: Step, name: str, axis: int, i: int) -> str:
    """One piece alone; one of its ends may follow the batch where it is the other end's neighbour."""
    sizes = t.trace.attributes(step, "sizes")
    starts, lasts = {sum(s[:i]) for s in sizes}, {sum(s[i + 1 :]) for s in sizes}
    lengths = {s[i] for s in sizes}
    start, last, length = (
        values.pop() if len(values) == 1 else None for values in (starts, lasts, lengths)
    )
    if start == 0 and last == 0:
        return name
    if start is None:
        if last is None or length is None:
            raise t.depends(step, "the stretch")
        start = -(length + last)
    if last is None:
        if length is None:
            raise t.depends(step, "the stretch")
        return sliced(t, name, [start], [start + length], [axis])
    return sliced(t, name, [start], [-last if last else _END], [axis])


# Of slices that go on to the end.
_END = 2**31 - 1
_PADS = {"constant": "constant", "reflect": "reflect", "replicate": "edge"}


@translates("pad")
def _pad(t: Translation, step: Step) -> None:
    (source,) = step.operands
    view = t.view(source)
    mode = t.get(step, "mode")
    before = ordered(t.get(step, "before"), view.axes)
    after = ordered(t.get(step, "after"), view.axes)
    name = view.name
    grown = [[max(a, 0) for a in amounts] for amounts in (before, after)]
    if mode == "circular":
        for axis in range(len(before)):
            name = _wrapped(t, name, axis, grown[0][axis], grown[1][axis])
    elif any(map(any, grown)):
        operands = [name, t.graph.ints(grown[0] + grown[1])]
        if mode == "constant":
            operands.append(t.graph.floats(t.get(step, "value")))
        name = t.emit("Pad", operands, mode=_PADS[mode])
    # Borders are made of the whole array: what is cropped goes last.
    cropped = [i for i in range(len(before)) if before[i] < 0 or after[i] < 0]
    if cropped:
        starts = [max(-before[i], 0) for i in cropped]
        ends = [after[i] if after[i] < 0 else _END for i in cropped]
        name = sliced(t, name, starts, ends, cropped)
    t.put(step.results[0], name, view.axes)


def sliced(t: Translation, name: str, starts: list[int], ends: list[int], axes: list[int]) -> str:
    """name[starts:ends] along `axes`."""
    ints = t.graph.ints
    return t.emit("Slice", [name, ints(starts), ints(ends), ints(axes)])


def _wrapped(t: Translation, name: str, axis: int, before: int, after: int) -> str:
    parts = [name]
    if before:
        parts.insert(0, sliced(t, name, [-before], [_END], [axis]))
    if after:
        parts.append(sliced(t, name, [0], [after], [axis]))
    return name if len(parts) == 1 else t.emit("Concat", parts, axis=axis)


@translates("gather")
def _gather(t: Translation, step: Step) -> None:
    x, index = (t.plain(v) for v in step.operands)
    full = t.emit("Expand", [index, t.shape_of(step, t.shapes(step.results[0]))])
    name = t.emit("GatherElements", [x, full], axis=1)
    t.put(step.results[0], name)


@translates("scatter")
def _scatter(t: Translation, step: Step) -> None:
    if t.get(step, "sum") and t.graph.opset < 16:
        raise CaptureError("export: sums at places need opset 16")
    added = {"reduction": "add"} if t.get(step, "sum") else {}
    y, index = (t.plain(v) for v in step.operands)
    full = t.emit("Expand", [index, t.shape_of(step, t.shapes(step.operands[0]))])
    empty = t.emit("Expand", [t.graph.floats(0.0), t.shape_of(step, t.shapes(step.results[0]))])
    t.put(step.results[0], t.emit("ScatterElements", [empty, full, y], axis=1, **added))


_TYPES = {"float32": 1, "int64": 7}  # of TensorProto


@translates("cast")
def _cast(t: Translation, step: Step) -> None:
    view = t.view(step.operands[0])
    t.put(step.results[0], t.emit("Cast", [view.name], to=_TYPES[t.get(step, "dtype")]), view.axes)
