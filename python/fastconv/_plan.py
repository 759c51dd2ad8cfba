"""A recorded graph, planned: what programs and training steps run."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from . import _core, random
from ._recording import flatten, unflatten
from ._symbolic import Capture, SymbolicArray
from .choice import choose_algorithms
from .errors import ShapeError
from .functional.autocast import autocast_dtype

__all__ = ["PLANS", "Plan", "drawn_keys", "plan_settings"]

# Plans that a program keeps, by the shapes of its inputs: a last smaller batch and a few more.
PLANS = 8


class Plan:
    """One graph, planned, and the structure of its results."""

    inputs: Sequence[tuple[tuple[int, ...], np.dtype[Any]]] = ()

    def __init__(
        self,
        capture: Capture,
        result: Any,
        narrow: bool = False,
        recompute: bool = False,
        tune: bool = False,
    ) -> None:
        leaves: list[SymbolicArray] = []
        self.structure = flatten(result, leaves)
        capture.graph.set_outputs([leaf.contiguous().value for leaf in leaves])
        self._recorded = capture.graph
        self.keys = len(capture.keys)
        self.passes = _core.graph_passes()
        if narrow:  # before what depends on the algorithms of convolutions
            self.passes.insert(self.passes.index("fuse_batch_norm_load"), "store_bfloat16")
        if recompute:
            self.passes.insert(self.passes.index("join_in_place"), "recompute")
        self._tune = tune
        self._choices: list[tuple[int, str]] | None = None
        self.native = _core.Program(self._after(self.passes[-1]))

    def _after(self, last: str) -> _core.Graph:
        """The recorded graph after the passes up to `last`; "" for none."""
        graph = self._recorded.copy()
        for name in self.passes if last else []:
            if self._tune and name == "fuse_batch_norm_load":  # the first that asks for algorithms
                if self._choices is None:
                    self._choices = choose_algorithms(graph)
                for node, algorithm in self._choices:
                    graph.choose(node, algorithm)
            graph.run_pass(name)
            if name == last:
                break
        return graph

    def run(self, inputs: Sequence[Any]) -> Any:
        results, _ = self.native.run([*inputs, *drawn_keys(self.keys)] if self.keys else inputs)
        return unflatten(self.structure, iter(results))

    def dump(self, after: str | None) -> str:
        if after is None:
            after = self.passes[-1]
        if after and after not in self.passes:
            known = ", ".join(repr(name) for name in ["", *self.passes])
            raise ShapeError(f"program: after must be one of {known}, got {after!r}")
        return self._after(after).dump()


def drawn_keys(count: int) -> list[Any]:
    """Keys for dropout, drawn as function by function."""
    return [np.array(random.next_key(), np.uint64).view(np.int64) for _ in range(count)]


def plan_settings() -> tuple[Any, ...]:
    """What a plan's choices depend on beside shapes."""
    scale = _core.conv2d_cost_scale()
    return (
        _core.get_num_threads(),
        _core.get_precision(),
        autocast_dtype(),
        *scale.values(),
    )
