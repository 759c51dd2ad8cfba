"""From recorded steps to ONNX nodes: what every translator uses, and the list of them."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Collection, Sequence
from typing import Any, NamedTuple

from ..errors import CaptureError, DTypeError
from .export_graph import GraphBuilder
from .export_recording import ADVICE, Shape, Step, Trace

Axes = tuple[int, ...]
Translator = Callable[["Translation", Step], None]
_translators: dict[str, Translator] = {}
_functions: dict[str, Collection[str]] = {}


def translates(
    *kinds: str, of: Collection[str] | None = None
) -> Callable[[Translator], Translator]:
    """Registers the translator of steps of these kinds.

    Args:
        of: the values of the attribute "kind" that it knows; None where there is none.
    """

    def add(function: Translator) -> Translator:
        for kind in kinds:
            _translators[kind] = function
            if of is not None:
                _functions[kind] = of
        return function

    return add


class View(NamedTuple):
    """A recorded value as a dimension order of an ONNX value: dimension i of it is dimension `axes[i]` there.

    So channels-last networks become channels-first ones: a Transpose is written only where the order matters.
    """

    name: str
    axes: Axes


class Resize(NamedTuple):
    """A node of that name: what it reads, of which shape, the dimensions that it resizes and its rule."""

    source: str
    before: Shape
    dims: set[int]
    rule: dict[str, Any]


def identity(ndim: int) -> Axes:
    return tuple(range(ndim))


def channels_first(layout: str, ndim: int) -> Axes:
    """Where the dimensions of an array of `layout` are in (N, C, ...)."""
    if layout == "NCHW":
        return identity(ndim)
    return (0, *range(2, ndim), 1)


def ordered(shape: Sequence[Any], axes: Axes) -> tuple[Any, ...]:
    """What belongs to the dimensions of a recorded value, in the order of its ONNX value."""
    result = list(shape)
    for size, axis in zip(shape, axes, strict=True):
        result[axis] = size
    return tuple(result)


class Translation:
    """The ONNX graph of a trace while it is made.

    Translators read a step's operands by `arranged`, `plain` or `view` and hand over its results by `put`.
    """

    def __init__(self, trace: Trace, graph: GraphBuilder, inputs: Sequence[str]) -> None:
        self.trace, self.graph = trace, graph
        self._views = {
            value: View(name, identity(len(trace.shape(value))))
            for value, name in zip(trace.inputs, inputs, strict=True)
        }
        self.resizes: dict[str, Resize] = {}  # by their results
        # What reshapes read, and its shapes: one behind another skips it.
        self._reshapes: dict[str, tuple[str, list[Shape]]] = {}
        self._reordered: dict[tuple[str, Axes], str] = {}
        self._scope = ""
        self._batch: str | None = None

    def run(self) -> None:
        """Translate every step.

        Raises:
            DTypeError: something is computed in another type than float32.
            CaptureError: steps without a translation, all of them named, or sizes that depend on the batch
                in a way that ONNX's operators cannot follow.
        """
        self._require_float32()
        missing = Counter(filter(None, map(self._missing, self.trace.steps)))
        if missing:
            kinds = ", ".join(f"{kind} ({n} times)" for kind, n in sorted(missing.items()))
            raise CaptureError(f"export: the network has steps without a translation: {kinds}")
        for step in self.trace.steps:
            self._scope = step.scope
            _translators[step.kind](self, step)
        self._scope = ""

    def _missing(self, step: Step) -> str:
        """What to call a step that has no translation; "" for others."""
        if step.kind not in _translators:
            return step.kind
        known = _functions.get(step.kind)
        function = None if known is None else self.get(step, "kind")
        return "" if known is None or function in known else f"{step.kind} {function}"

    def _require_float32(self) -> None:
        made = {value for step in self.trace.steps for value in step.results}
        for value in sorted(made & self.trace.read):
            dtype = self.trace.dtype(value)
            if dtype in ("bfloat16", "float64"):
                raise DTypeError(
                    f"export: the network computes with {dtype}, expected float32 throughout"
                )

    # Values

    def view(self, value: int | None) -> View:
        """A value as it has been translated."""
        assert value is not None
        if value not in self._views:
            found = self.trace.constant(value)
            if found is None:
                raise CaptureError("export: a step reads a value that nothing makes")
            name, array = found
            made = self.graph.initializer(array, name or "constant")
            self._views[value] = View(made, identity(array.ndim))
        return self._views[value]

    def arranged(self, value: int | None, axes: Axes) -> str:
        """The ONNX value whose dimension `axes[i]` is dimension i of a recorded one."""
        view = self.view(value)
        if view.axes == axes:
            return view.name
        dims = ordered(view.axes, axes)
        key = (view.name, dims)
        if key not in self._reordered:
            self._reordered[key] = self.emit("Transpose", [view.name], perm=dims)
        return self._reordered[key]

    def plain(self, value: int | None) -> str:
        """The ONNX value with the dimensions in the recorded order."""
        return self.arranged(value, identity(self.ndim(value)))

    def put(self, value: int, name: str, axes: Axes | None = None) -> None:
        """`name` is a recorded value, seen through `axes`."""
        self._views[value] = View(name, identity(self.ndim(value)) if axes is None else axes)

    def emit(self, op: str, inputs: Sequence[str], **attributes: Any) -> str:
        """Add a node of one result; its name."""
        return self.graph.emit(op, inputs, self._scope, 1, attributes)[0]

    def emit_many(
        self, op: str, inputs: Sequence[str], outputs: int, **attributes: Any
    ) -> list[str]:
        return self.graph.emit(op, inputs, self._scope, outputs, attributes)

    # Sizes

    def ndim(self, value: int | None) -> int:
        return len(self.shape(value))

    def shape(self, value: int | None) -> Shape:
        assert value is not None
        return self.trace.shape(value)

    def shapes(self, value: int | None) -> list[Shape]:
        """A value's shape at each recorded batch size."""
        assert value is not None
        return self.trace.shapes(value)

    def fixed(self, step: Step, value: int | None, dims: Sequence[int]) -> Shape:
        """The sizes of these dimensions, which must not depend on the batch."""
        sizes = {tuple(shape[d] for d in dims) for shape in self.shapes(value)}
        if len(sizes) > 1:
            raise self.depends(step, "the size of its windows")
        return sizes.pop()

    def get(self, step: Step, name: str) -> Any:
        """An attribute of a step, which must not depend on the batch."""
        values = self.trace.attributes(step, name)
        if any(v != values[0] for v in values[1:]):
            raise self.depends(step, name)
        return values[0]

    def depends(self, step: Step, what: str) -> CaptureError:
        where = f" in {step.scope}" if step.scope else ""
        return CaptureError(
            f"export: {what} of {step.kind}{where} depends on the size of the batch; {ADVICE}"
        )

    def reshaped(self, step: Step, name: str, before: list[Shape], after: list[Shape]) -> str:
        """The ONNX value `name` in another shape; both shapes at each recorded batch size."""
        name, before = self._reshapes.get(name, (name, before))
        if before == after:
            return name
        made = self._reshape(step, name, before, after)
        self._reshapes[made] = (name, before)
        return made

    def _reshape(self, step: Step, name: str, before: list[Shape], after: list[Shape]) -> str:
        first = after[0]
        if (
            len(first) == 2
            and len(before[0]) >= 2
            and all(
                a == (b[0], math.prod(b[1:])) and 0 not in b
                for a, b in zip(after, before, strict=True)
            )
        ):
            return self.emit("Flatten", [name], axis=1)
        if any(0 in shape for shape in after):
            raise CaptureError(f"export: {step.kind} of an array without elements")
        sizes: list[int] = []
        for i, size in enumerate(first):
            if all(shape[i] == size for shape in after):
                sizes.append(size)
            elif i < len(before[0]) and all(
                a[i] == b[i] for a, b in zip(after, before, strict=True)
            ):
                sizes.append(0)  # as it is
            else:
                sizes.append(-1)
        if sizes.count(-1) > 1:
            return self.emit("Reshape", [name, self.shape_of(step, after)])
        return self.emit("Reshape", [name, self.graph.ints(sizes)])

    def row(self, name: str, shapes: list[Shape]) -> str | None:
        """The (N, C, L) that an ONNX value (N, C, 1, L) is a reshape of, if it is."""
        source, before = self._reshapes.get(name, (name, shapes))
        if any(len(b) != 3 or a != (*b[:2], 1, b[2]) for b, a in zip(before, shapes, strict=True)):
            return None
        return source

    def shape_of(self, step: Step, shapes: list[Shape]) -> str:
        """A vector of sizes, some of them multiples of the batch."""
        if all(shape == shapes[0] for shape in shapes):
            return self.graph.ints(shapes[0])
        parts = []
        for i, size in enumerate(shapes[0]):
            sizes = [shape[i] for shape in shapes]
            factor = size // self.trace.batches[0]
            if all(s == size for s in sizes):
                parts.append(self.graph.ints([size]))
            elif sizes != [factor * n for n in self.trace.batches]:
                raise self.depends(step, "the shape")
            elif factor == 1:
                parts.append(self.batch())
            else:
                parts.append(self.emit("Mul", [self.batch(), self.graph.ints([factor])]))
        return parts[0] if len(parts) == 1 else self.emit("Concat", parts, axis=0)

    def batch(self) -> str:
        """The size of the batch, a vector of one number."""
        if self._batch is None:
            name = self._views[self.trace.inputs[0]].name
            shape = self.emit("Shape", [name])
            self._batch = self.emit("Gather", [shape, self.graph.ints([0])], axis=0)
        return self._batch

    # Results

    def results(self, names: Sequence[str]) -> None:
        """Give the values that the network returns their names."""
        renamed: dict[str, str] = {}
        for value, wanted in zip(self.trace.outputs, names, strict=True):
            name = self.plain(value)
            if name not in self.graph.made or name in renamed:  # an input, an array, or given twice
                name = self.emit("Identity", [name])
            renamed[name] = wanted
        self.graph.rename(renamed)
        self.graph.prune(names)
