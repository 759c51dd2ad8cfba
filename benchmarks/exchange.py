"""The measured networks as ONNX files, for engines that run files.

`nn` and `F` here are the vocabulary of `networks.build`: layers that, called on a `Symbol`, add ONNX nodes.
"""

from __future__ import annotations

from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import numpy as np

from .networks import NETWORKS, build, weights

OPSET = 17


class Graph:
    """ONNX nodes and constants as they are added."""

    def __init__(self) -> None:
        from onnx import helper, numpy_helper

        self.helper: Any = helper
        self.numpy_helper: Any = numpy_helper
        self.nodes: list[Any] = []
        self.constants: dict[str, Any] = {}

    def add(
        self, op: str, inputs: list[Symbol | np.ndarray[Any, Any]], **attributes: Any
    ) -> Symbol:
        """One node with one result."""
        names = [i.name if isinstance(i, Symbol) else self.constant(i) for i in inputs]
        result = f"{op.lower()}{len(self.nodes)}"
        self.nodes.append(self.helper.make_node(op, names, [result], **attributes))
        return Symbol(self, result)

    def constant(self, value: np.ndarray[Any, Any]) -> str:
        name = f"constant{len(self.constants)}"
        self.constants[name] = self.numpy_helper.from_array(np.ascontiguousarray(value), name)
        return name


class Symbol:
    """A value of the graph."""

    def __init__(self, graph: Graph, name: str) -> None:
        self.graph, self.name = graph, name

    def __add__(self, other: Symbol) -> Symbol:
        return self.graph.add("Add", [self, other])


class Parameter:
    """An array that `weights` fills."""

    def __init__(self, *shape: int) -> None:
        self.shape = shape
        self.value = np.zeros(shape, np.float32)


class Module:
    """Parameters and layers in the order in which they were set, as PyTorch lists them."""

    def forward(self, x: Any) -> Any:
        raise NotImplementedError

    def __call__(self, x: Any) -> Any:
        return self.forward(x)

    def named_parameters(self, prefix: str = "") -> Iterator[tuple[str, Parameter]]:
        for key, value in vars(self).items():
            if isinstance(value, Parameter):
                yield prefix + key, value
        for key, value in vars(self).items():
            if isinstance(value, Module):
                yield from value.named_parameters(f"{prefix}{key}.")


class Conv2d(Module):
    def __init__(
        self, c: int, k: int, size: int, stride: int = 1, padding: int = 0, bias: bool = True
    ) -> None:
        self.weight = Parameter(k, c, size, size)
        self.bias = Parameter(k) if bias else None
        self.geometry = {
            "kernel_shape": [size] * 2,
            "strides": [stride] * 2,
            "pads": [padding] * 4,
        }

    def forward(self, x: Symbol) -> Symbol:
        values = [p.value for p in (self.weight, self.bias) if p is not None]
        return x.graph.add("Conv", [x, *values], **self.geometry)


class BatchNorm2d(Module):
    def __init__(self, c: int, eps: float = 1e-5) -> None:
        self.weight, self.bias, self.eps = Parameter(c), Parameter(c), eps

    def forward(self, x: Symbol) -> Symbol:
        mean, var = np.zeros(self.bias.shape, np.float32), np.ones(self.bias.shape, np.float32)
        values = [self.weight.value, self.bias.value, mean, var]
        return x.graph.add("BatchNormalization", [x, *values], epsilon=self.eps)


class Linear(Module):
    def __init__(self, inputs: int, outputs: int) -> None:
        self.weight, self.bias = Parameter(outputs, inputs), Parameter(outputs)

    def forward(self, x: Symbol) -> Symbol:
        return x.graph.add("Gemm", [x, self.weight.value, self.bias.value], transB=1)


class Pool(Module):
    op = ""

    def __init__(
        self, size: int, stride: int | None = None, padding: int = 0, ceil_mode: bool = False
    ) -> None:
        self.geometry = {
            "kernel_shape": [size] * 2,
            "strides": [size if stride is None else stride] * 2,
            "pads": [padding] * 4,
            "ceil_mode": int(ceil_mode),
        }

    def forward(self, x: Symbol) -> Symbol:
        return x.graph.add(self.op, [x], **self.geometry)


class MaxPool2d(Pool):
    op = "MaxPool"


class AvgPool2d(Pool):
    op = "AveragePool"


class ReLU(Module):
    def forward(self, x: Symbol) -> Symbol:
        return x.graph.add("Relu", [x])


class Tanh(Module):
    def forward(self, x: Symbol) -> Symbol:
        return x.graph.add("Tanh", [x])


class Flatten(Module):
    def forward(self, x: Symbol) -> Symbol:
        return x.graph.add("Flatten", [x], axis=1)


class Sequential(Module):
    def __init__(self, *layers: Module) -> None:
        for i, layer in enumerate(layers):
            setattr(self, str(i), layer)

    def forward(self, x: Any) -> Any:
        for layer in vars(self).values():
            x = layer(x)
        return x


def _pool_to_one(x: Symbol, size: int) -> Symbol:
    if size != 1:
        raise ValueError(f"adaptive_avg_pool2d: only to 1 x 1, got {size}")
    return x.graph.add("GlobalAveragePool", [x])


nn = SimpleNamespace(
    Module=Module, Conv2d=Conv2d, BatchNorm2d=BatchNorm2d, Linear=Linear, MaxPool2d=MaxPool2d,
    AvgPool2d=AvgPool2d, ReLU=ReLU, Tanh=Tanh, Flatten=Flatten, Sequential=Sequential,
)  # fmt: skip
F = SimpleNamespace(
    relu=lambda x: x.graph.add("Relu", [x]),
    adaptive_avg_pool2d=_pool_to_one,
    flatten=lambda x, dim: x.graph.add("Flatten", [x], axis=dim),
    cat=lambda values, dim: values[0].graph.add("Concat", values, axis=dim),
)


def onnx_model(name: str, batch: int) -> bytes:
    """A network of `networks.NETWORKS` with the weights that all engines get, its input "x", its output "y"."""
    from onnx import TensorProto, checker

    net = build(name, nn, F)
    named = list(net.named_parameters())
    for (_, parameter), value in zip(named, weights(name, named), strict=True):
        parameter.value = value
    graph = Graph()
    y = net(Symbol(graph, "x"))
    graph.nodes[-1].output[0] = "y"
    assert y.name not in {i for node in graph.nodes for i in node.input}
    helper, network = graph.helper, NETWORKS[name]
    tensor = helper.make_tensor_value_info
    made = helper.make_graph(
        graph.nodes,
        name,
        [tensor("x", TensorProto.FLOAT, [batch, *network.image])],
        [tensor("y", TensorProto.FLOAT, [batch, network.classes])],
        list(graph.constants.values()),
    )
    opset = helper.make_opsetid("", OPSET)
    model = helper.make_model(made, opset_imports=[opset], ir_version=8)
    checker.check_model(model)
    return bytes(model.SerializeToString())
