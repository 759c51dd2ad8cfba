"""Running exported models, and networks made of one function."""

from __future__ import annotations

import importlib.util
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import fastconv as fc
from fastconv import nn
from tests.support import randn, rng

RUNTIME = importlib.util.find_spec("onnxruntime") is not None


class Apply(nn.Module):
    """A function as a network, with arrays as parameters p0, p1 and so on."""

    def __init__(self, function: Callable[..., Any], *arrays: Any) -> None:
        super().__init__()
        self.function = function
        self.names = [f"p{i}" for i in range(len(arrays))]
        for name, array in zip(self.names, arrays, strict=True):
            setattr(self, name, nn.Parameter(array))

    def forward(self, *inputs: Any) -> Any:
        return self.function(*inputs, *(getattr(self, name) for name in self.names))


def eager(net: Any, *inputs: Any) -> list[Any]:
    """What the network gives, function by function, as a list of arrays."""
    with fc.no_grad():
        result = net(*inputs)
    results = list(result.values()) if isinstance(result, dict) else result
    if not isinstance(results, (list, tuple)):
        results = [results]
    return [np.asarray(r) for r in results]


def feed(model: Any, inputs: tuple[Any, ...]) -> dict[str, Any]:
    return {i.name: x for i, x in zip(model.graph.input, inputs, strict=True)}


def run_runtime(model: Any, *inputs: Any) -> list[Any]:
    """The model in ONNX Runtime."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    return list(session.run(None, feed(model, inputs)))


def run_reference(model: Any, *inputs: Any) -> list[Any]:
    """The model in the onnx package's own evaluator."""
    from onnx.reference import ReferenceEvaluator

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # its own arithmetic's
        return list(ReferenceEvaluator(model).run(None, feed(model, inputs)))


def run(model: Any, *inputs: Any) -> list[Any]:
    """In ONNX Runtime where it is installed, else in the evaluator; skips what only the first does right."""
    if RUNTIME:
        return run_runtime(model, *inputs)
    wrong = {"ConvTranspose", "LRN"}  # groups; the window of channels
    if model.opset_import[0].version < 14:
        wrong.add("BatchNormalization")  # is taken for training
    if wrong & set(ops(model)):
        pytest.skip("needs onnxruntime")
    return run_reference(model, *inputs)


def ops(model: Any) -> list[str]:
    return [node.op_type for node in model.graph.node]


def images(*shape: int, seed: int = 0) -> Any:
    return randn(rng("images", shape, seed), *shape)
