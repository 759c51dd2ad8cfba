"""What a network computes, as a list of steps: recorded as `fastconv.compile` does, at one or more batch sizes."""

from __future__ import annotations

import copy
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np

from .._arrays import NDArray, is_floating
from .._recording import arrays_of, capturing, flatten, replaced, unchanged
from .._symbolic import Capture, SymbolicArray
from ..errors import CaptureError
from ..tensor import Tensor, no_grad

Shape = tuple[int, ...]
ADVICE = "pass dynamic_batch=False to export it for one batch size"


@dataclass(frozen=True)
class Step:
    """One node of a recorded graph.

    Attributes:
        kind: of the node.
        operands: values that it reads; None for one that is left out.
        results: values that it makes.
        scope: dotted name of the layer that it belongs to.
        number: its place in the list.
    """

    kind: str
    operands: tuple[int | None, ...]
    results: tuple[int, ...]
    scope: str
    number: int


class _Recording(Capture):
    """A capture that also keeps what it adds to the native graph."""

    def __init__(self, scopes: list[str], copies: dict[int, tuple[Any, Any]]) -> None:
        super().__init__(channels_last=False, arrays=copies)
        self._scopes = scopes
        self.steps: list[Step] = []
        self.attributes: list[dict[str, Any]] = []
        self.constants: dict[int, tuple[str, NDArray]] = {}
        self.inputs: list[int] = []
        self.outputs: list[SymbolicArray] = []
        self.structure: Any = None

    def constant(self, array: Any, name: str = "") -> SymbolicArray:
        made = super().constant(array, name)
        self.constants[made.value] = (name, array)
        return made

    def node(self, op: str, operands: Sequence[Any], /, **attributes: Any) -> list[SymbolicArray]:
        # Operands that are not contiguous become so by nodes of their own, which come first.
        ids = tuple(None if a is None else self.operand(a) for a in operands)
        made = super().node(op, [None if i is None else self._array(i) for i in ids], **attributes)
        results = tuple(m.value for m in made)
        self.steps.append(Step(op, ids, results, self._scopes[-1], len(self.steps)))
        self.attributes.append(attributes)
        return made


class Trace:
    """The steps of a network, and what about them depends on the size of the batch.

    Attributes:
        steps: in the order of running, without those that no output needs.
        inputs, outputs: values.
        batches: the batch sizes at which it was recorded; the shapes below are those at each of them.
        structure: of the network's result.
    """

    def __init__(self, runs: list[_Recording], batches: tuple[int, ...]) -> None:
        self._runs, self.batches = runs, batches
        first = runs[0]
        self.inputs = first.inputs
        self.outputs = [leaf.value for leaf in first.outputs]
        self.structure = first.structure
        for run, batch in zip(runs[1:], batches[1:], strict=True):
            if run.steps != first.steps or [leaf.value for leaf in run.outputs] != self.outputs:
                raise CaptureError(
                    f"export: the network does other things with {batch} images than with "
                    f"{batches[0]}; {ADVICE}"
                )
        self.steps = self._needed(first.steps)

    def _needed(self, steps: list[Step]) -> list[Step]:
        wanted = set(self.outputs)
        kept = []
        for step in reversed(steps):
            if wanted.intersection(step.results):
                kept.append(step)
                wanted.update(v for v in step.operands if v is not None)
        self.read = wanted
        self._makers = {v: step for step in kept for v in step.results}
        self._readers = Counter(v for step in kept for v in step.operands)
        self._readers.update(self.outputs)
        return kept[::-1]

    def readers(self, value: int) -> int:
        """How often a value is read, by steps or as an output."""
        return self._readers[value]

    def maker(self, value: int | None, kind: str) -> Step | None:
        """The step that makes a value, if it is of that kind."""
        step = None if value is None else self._makers.get(value)
        return step if step is not None and step.kind == kind else None

    def shapes(self, value: int) -> list[Shape]:
        """A value's shape at each batch size."""
        return [run.graph.type(value)[1] for run in self._runs]

    def shape(self, value: int) -> Shape:
        """Its shape at the first."""
        return self._runs[0].graph.type(value)[1]

    def dtype(self, value: int) -> str:
        return self._runs[0].graph.type(value)[0]

    def attributes(self, step: Step, name: str) -> list[Any]:
        """An attribute of a step at each batch size."""
        return [run.attributes[step.number].get(name) for run in self._runs]

    def constant(self, value: int) -> tuple[str, NDArray] | None:
        """Name and contents of a value that is one of the network's arrays."""
        if value not in self._runs[0].constants:
            return None
        name, array = self._runs[0].constants[value]
        for run in self._runs[1:]:
            _, other = run.constants[value]
            if other is not array and not np.array_equal(other, array, equal_nan=True):
                raise CaptureError(
                    "export: an array that the network makes for itself depends on the size of the "
                    f"batch; {ADVICE}"
                )
        return name, array


def record(net: Any, examples: Sequence[NDArray], batches: tuple[int, ...]) -> Trace:
    """Record `net` in evaluation mode with inputs like `examples`, in batches of each of the sizes; without sizes
    with the examples' own.

    Raises:
        CaptureError: what the network does cannot be recorded, or differs from size to size.
        FastconvError: the examples do not fit the network.
    """
    with capturing:
        try:
            copied = copy.deepcopy(net)
        except Exception as error:
            raise CaptureError(f"export: the network cannot be copied: {error}") from error
        copied.eval()
        scopes = _follow_layers(copied)
        copies: dict[int, tuple[Any, Any]] = {}

        def run(shapes: list[Shape]) -> _Recording:
            with _renamed_errors():
                return _run(copied, scopes, copies, shapes, examples)

        runs = [run([a.shape for a in examples])]
        if batches:  # what is wrong with the examples is said of their own shapes
            runs.clear()
        for batch in batches:
            try:
                runs.append(run([(batch, *a.shape[1:]) for a in examples]))
            except Exception as error:
                raise CaptureError(
                    f"export: the network takes the examples but not batches of {batch} ({error}); {ADVICE}"
                ) from error
    return Trace(runs, batches or (1,))


def _run(
    net: Any,
    scopes: list[str],
    copies: dict[int, tuple[Any, Any]],
    shapes: list[Shape],
    examples: Sequence[NDArray],
) -> _Recording:
    made = _Recording(scopes, copies)
    with made, no_grad(), unchanged(net):
        inputs = [
            made.input(f"x{i}", shape, a.dtype)
            for i, (shape, a) in enumerate(zip(shapes, examples, strict=True))
        ]
        made.inputs = [x.value for x in inputs]
        stand_ins = {t: made.constant(t.numpy(), name) for name, t in arrays_of(net)}
        with replaced(stand_ins):
            leaves: list[SymbolicArray] = []
            made.structure = flatten(net(*[Tensor(x) for x in inputs]), leaves)
        made.outputs = [leaf.contiguous() for leaf in leaves]
    return made


@contextmanager
def _renamed_errors() -> Iterator[None]:
    """Errors of recording name `export`."""
    try:
        yield
    except CaptureError as error:
        raise CaptureError(f"export:{str(error).removeprefix('compile:')}") from error


def _follow_layers(net: Any) -> list[str]:
    """Let each layer of `net`, which is a copy, tell when it runs: the names of those under way, innermost
    last."""
    scopes = [""]

    def follow(name: str, forward: Callable[..., Any]) -> Callable[..., Any]:
        def run(*args: Any, **kwargs: Any) -> Any:
            scopes.append(name)
            try:
                return forward(*args, **kwargs)
            finally:
                scopes.pop()

        return run

    for name, module in net.named_modules():
        if name:
            module.__dict__["forward"] = follow(name, module.forward)
    return scopes


def float_arrays(net: Any) -> Iterator[tuple[str, NDArray]]:
    """The parameters and buffers of a network that hold real numbers, by name."""
    for name, tensor in arrays_of(net):
        if is_floating(tensor.dtype):
            yield name, tensor.numpy()
