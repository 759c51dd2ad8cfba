"""What is measured: one `Case` a row, with its arrays and the least work that it takes.

Batch sizes make a call last 1 to 50 ms at 100 GFLOP/s on one thread (memory-bound cases: at
10 GB/s). ResNet-50 and AlexNet layers have batch 4, VGG-16 batch 1, CIFAR ResNet-18 batch 16,
CIFAR ResNet-20 batch 128, LeNet batch 1024.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import numpy as np

from .networks import NETWORKS, Network

Array = np.ndarray[Any, Any]

SUITES = ("ops", "kernels", "nets", "train")
ELEMENT = {"float32": 4, "bfloat16": 2}  # bytes


@dataclass(frozen=True)
class Case:
    """One measurement.

    Attributes:
        name: "network.layer.direction", unique in its suite.
        op: conv2d, max_pool2d, avg_pool2d, global_avg_pool2d, batch_norm, network
            (params: its name, one of `networks.NETWORKS`).
        direction: fprop, dgrad, wgrad; forward, backward; inference, step.
        shape: of the input, always as (N, C, H, W), whatever the layout.
        layout: memory order of the arrays that go in and out, "NCHW" or "NHWC".
        params: the op's own arguments.
        dtype: of the arrays: float32, or bfloat16 with float32 results of batch-norm's statistics.
        variants: how our side runs it, one measurement each: a layout and, after a blank, a
            precision; the case's own layout where none is given.
        group: of the kernels suite.
    """

    name: str
    op: str
    direction: str
    shape: tuple[int, int, int, int]
    layout: str = "NCHW"
    params: dict[str, Any] = field(default_factory=dict)
    dtype: str = "float32"
    variants: tuple[str, ...] = ()
    group: str = ""

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @staticmethod
    def from_json(data: dict[str, Any]) -> Case:
        return Case(**{**data, "shape": tuple(data["shape"]), "variants": tuple(data["variants"])})

    def smaller(self) -> Case:
        """The same with an eighth of the batch, for a quick check that everything runs."""
        return replace(self, shape=(max(1, self.shape[0] // 8), *self.shape[1:]))

    @property
    def output_shape(self) -> tuple[int, int, int, int]:
        n, c, h, w = self.shape
        if self.op == "batch_norm":
            return self.shape
        if self.op == "global_avg_pool2d":
            return n, c, 1, 1
        p = self.params
        span = p.get("dilation", 1) * (p["kernel"] - 1) + 1 - 2 * p["padding"]
        return n, p.get("out", c), (h - span) // p["stride"] + 1, (w - span) // p["stride"] + 1

    @property
    def weight_shape(self) -> tuple[int, int, int, int]:
        p = self.params
        return p["out"], self.shape[1] // p["groups"], p["kernel"], p["kernel"]

    @property
    def network(self) -> Network:
        return NETWORKS[self.params["network"]]

    @property
    def flops(self) -> float:
        """Nominal operations, two a multiply-add, padding included; 0 where memory is the limit."""
        if self.op == "conv2d":
            return 2.0 * _size(self.output_shape) * _size(self.weight_shape[1:])
        if self.op == "network":
            forward = 2.0 * self.shape[0] * self.network.macs
            return forward if self.direction == "inference" else 3 * forward
        return 0.0

    @property
    def bytes(self) -> float:
        """The least memory traffic: each array once, twice where a first pass must end before."""
        size = ELEMENT[self.dtype]
        x = size * _size(self.shape)
        if self.op == "network":
            return x + size * self.network.parameters
        y = size * _size(self.output_shape)
        if self.op == "conv2d":
            return x + y + size * _size(self.weight_shape)
        if self.op == "batch_norm":
            return {"inference": 2 * x, "forward": 3 * x, "backward": 5 * x}[self.direction]
        if self.op == "max_pool2d" and self.direction == "backward":
            return y + _size(self.output_shape) + x  # which element won: a byte a window
        return x + y

    @property
    def footprint(self) -> int:
        """Bytes of all arrays together: which level of memory the case lives in."""
        if self.op == "batch_norm":
            return int(
                ELEMENT[self.dtype] * _size(self.shape) * (3 if self.direction == "backward" else 2)
            )
        return int(self.bytes)


def _size(shape: tuple[int, ...]) -> int:
    result = 1
    for s in shape:
        result *= s
    return result


# Convolutions: (layer, C, size, K, kernel, stride, padding). A network's first layer has no dgrad.
CONVS: dict[str, tuple[int, bool, list[tuple[str, int, int, int, int, int, int]]]] = {
    "resnet50": (
        4,
        False,
        [
            ("conv1", 3, 224, 64, 7, 2, 3),
            ("1x1_64_64_56", 64, 56, 64, 1, 1, 0),
            ("3x3_64_64_56", 64, 56, 64, 3, 1, 1),
            ("1x1_64_256_56", 64, 56, 256, 1, 1, 0),
            ("1x1_256_64_56", 256, 56, 64, 1, 1, 0),
            ("1x1_256_128_56", 256, 56, 128, 1, 1, 0),
            ("3x3_128_128_56_s2", 128, 56, 128, 3, 2, 1),
            ("1x1_128_512_28", 128, 28, 512, 1, 1, 0),
            ("1x1_256_512_56_s2", 256, 56, 512, 1, 2, 0),
            ("1x1_512_128_28", 512, 28, 128, 1, 1, 0),
            ("3x3_128_128_28", 128, 28, 128, 3, 1, 1),
            ("1x1_512_256_28", 512, 28, 256, 1, 1, 0),
            ("3x3_256_256_28_s2", 256, 28, 256, 3, 2, 1),
            ("1x1_256_1024_14", 256, 14, 1024, 1, 1, 0),
            ("1x1_512_1024_28_s2", 512, 28, 1024, 1, 2, 0),
            ("1x1_1024_256_14", 1024, 14, 256, 1, 1, 0),
            ("3x3_256_256_14", 256, 14, 256, 3, 1, 1),
            ("1x1_1024_512_14", 1024, 14, 512, 1, 1, 0),
            ("3x3_512_512_14_s2", 512, 14, 512, 3, 2, 1),
            ("1x1_512_2048_7", 512, 7, 2048, 1, 1, 0),
            ("1x1_1024_2048_14_s2", 1024, 14, 2048, 1, 2, 0),
            ("1x1_2048_512_7", 2048, 7, 512, 1, 1, 0),
            ("3x3_512_512_7", 512, 7, 512, 3, 1, 1),
        ],
    ),
    "vgg16": (
        1,
        True,
        [
            ("conv1_1", 3, 224, 64, 3, 1, 1),
            ("conv1_2", 64, 224, 64, 3, 1, 1),
            ("conv2_1", 64, 112, 128, 3, 1, 1),
            ("conv2_2", 128, 112, 128, 3, 1, 1),
            ("conv3_1", 128, 56, 256, 3, 1, 1),
            ("conv3_2", 256, 56, 256, 3, 1, 1),
            ("conv4_1", 256, 28, 512, 3, 1, 1),
            ("conv4_2", 512, 28, 512, 3, 1, 1),
            ("conv5", 512, 14, 512, 3, 1, 1),
        ],
    ),
    "alexnet": (
        4,
        True,
        [
            ("conv1", 3, 224, 64, 11, 4, 2),
            ("conv2", 64, 27, 192, 5, 1, 2),
            ("conv3", 192, 13, 384, 3, 1, 1),
            ("conv4", 384, 13, 256, 3, 1, 1),
            ("conv5", 256, 13, 256, 3, 1, 1),
        ],
    ),
    "lenet": (1024, True, [("conv1", 1, 28, 6, 5, 1, 2), ("conv2", 6, 14, 16, 5, 1, 0)]),
    "cifar_resnet18": (
        16,
        False,
        [
            ("conv1", 3, 32, 64, 3, 1, 1),
            ("stage1", 64, 32, 64, 3, 1, 1),
            ("stage2_first_s2", 64, 32, 128, 3, 2, 1),
            ("stage2_shortcut", 64, 32, 128, 1, 2, 0),
            ("stage2", 128, 16, 128, 3, 1, 1),
            ("stage3_first_s2", 128, 16, 256, 3, 2, 1),
            ("stage3", 256, 8, 256, 3, 1, 1),
            ("stage4_first_s2", 256, 8, 512, 3, 2, 1),
            ("stage4", 512, 4, 512, 3, 1, 1),
        ],
    ),
    "cifar_resnet20": (
        128,
        False,
        [
            ("conv1", 3, 32, 16, 3, 1, 1),
            ("stage1", 16, 32, 16, 3, 1, 1),
            ("stage2_first_s2", 16, 32, 32, 3, 2, 1),
            ("stage2", 32, 16, 32, 3, 1, 1),
            ("stage3_first_s2", 32, 16, 64, 3, 2, 1),
            ("stage3", 64, 8, 64, 3, 1, 1),
        ],
    ),
}

# Pooling: (name, op, N, C, size, kernel, stride, padding).
POOLS = [
    ("resnet50.maxpool", "max_pool2d", 4, 64, 112, 3, 2, 1),
    ("vgg16.maxpool1", "max_pool2d", 2, 64, 224, 2, 2, 0),
    ("vgg16.maxpool4", "max_pool2d", 16, 512, 28, 2, 2, 0),
    ("alexnet.maxpool1", "max_pool2d", 16, 64, 55, 3, 2, 0),
    ("googlenet.maxpool_s1", "max_pool2d", 16, 480, 14, 3, 1, 1),
    ("lenet.avgpool1", "avg_pool2d", 1024, 6, 28, 2, 2, 0),
    ("lenet.avgpool2", "avg_pool2d", 2048, 16, 10, 2, 2, 0),
    ("densenet.avgpool", "avg_pool2d", 8, 128, 56, 2, 2, 0),
    ("resnet50.avgpool", "avg_pool2d", 64, 2048, 7, 7, 7, 0),
]

# Batch-norm: (name, N, C, size).
NORMS = [
    ("resnet50.bn1", 4, 64, 112),
    ("resnet50.bn_256_56", 4, 256, 56),
    ("resnet50.bn_512_28", 8, 512, 28),
    ("resnet50.bn_1024_14", 16, 1024, 14),
    ("resnet50.bn_2048_7", 32, 2048, 7),
    ("cifar_resnet18.bn_64_32", 64, 64, 32),
]


def _ops() -> Iterator[Case]:
    for net, (n, bias, layers) in CONVS.items():
        for layer, c, size, k, kernel, stride, padding in layers:
            params = {"out": k, "kernel": kernel, "stride": stride, "padding": padding, "groups": 1}
            for direction in ("fprop", "dgrad", "wgrad"):
                if direction == "dgrad" and c <= 3:
                    continue
                extra = {"bias": bias and direction == "fprop"}
                shape = (n, c, size, size)
                name = f"{net}.{layer}.{direction}"
                yield Case(name, "conv2d", direction, shape, params=params | extra)
    for name, op, n, c, size, kernel, stride, padding in POOLS:
        pool = {"kernel": kernel, "stride": stride, "padding": padding}
        for direction in ("forward", "backward"):
            yield Case(f"{name}.{direction}", op, direction, (n, c, size, size), params=pool)
    for name, n, c, size in NORMS:
        for direction in ("forward", "backward", "inference"):
            yield Case(f"{name}.{direction}", "batch_norm", direction, (n, c, size, size))


def suite(name: str, layout: str = "NCHW") -> list[Case]:
    """The cases of a suite, of ops in one memory layout."""
    if name == "kernels":
        from . import kernels

        return kernels.cases()
    if name == "ops":
        return [replace(c, layout=layout) for c in _ops()]
    # Networks take NCHW images, whatever they do inside.
    direction = "inference" if name == "nets" else "step"
    return [_network(net, n, direction, dtype) for net, n, dtype in _NETWORKS[name]]


_NETWORKS = {
    "nets": [
        *(("lenet5", n, "float32") for n in (1, 32, 128)),
        *(("resnet50", n, "float32") for n in (1, 16)),
        ("resnet50", 16, "bfloat16"),
        *(("vgg16", n, "float32") for n in (1, 4)),
        *((net, n, "float32") for net in ("alexnet", "googlenet", "densenet121") for n in (1, 8)),
    ],
    "train": [
        *(("lenet5", n, "float32") for n in (32, 128)),
        ("resnet18_cifar", 128, "float32"),
        *(("resnet50", 16, dtype) for dtype in ("float32", "bfloat16")),
        ("alexnet", 32, "float32"),
        ("googlenet", 16, "float32"),
        ("densenet121", 8, "float32"),
    ],
}


def _network(name: str, n: int, direction: str, dtype: str) -> Case:
    label = f"{name}.batch{n}.{direction}" + (".bf16" if dtype == "bfloat16" else "")
    shape = (n, *NETWORKS[name].image)
    return Case(label, "network", direction, shape, params={"network": name}, dtype=dtype)


def to_layout(layout: str, a: Array) -> Array:
    """An NCHW array in that memory layout, contiguous."""
    return np.ascontiguousarray(a.transpose(0, 2, 3, 1)) if layout == "NHWC" else a


def make_inputs(case: Case) -> dict[str, Any]:
    """The arrays of a case as NCHW, the same in every process: seeded by the case's name."""
    rng = np.random.default_rng(list(case.name.encode()))

    def normal(*shape: int, scale: float = 1.0) -> Array:
        return rng.standard_normal(shape, np.float32) * np.float32(scale)

    arrays: dict[str, Any] = {"x": normal(*case.shape)}
    if case.op == "network":
        arrays["labels"] = rng.integers(0, case.network.classes, case.shape[0])
        return arrays
    if case.op == "conv2d":
        shape = case.weight_shape
        arrays["w"] = normal(*shape, scale=_size(shape[1:]) ** -0.5)
        arrays["b"] = normal(shape[0]) if case.params["bias"] else None
    if case.op == "batch_norm":
        c = case.shape[1]
        arrays |= {"w": 1 + normal(c, scale=0.1), "b": normal(c), "mean": normal(c, scale=0.1)}
        arrays["var"] = 1 + np.abs(normal(c, scale=0.1))
    if case.direction not in ("fprop", "forward", "inference"):
        arrays["gy"] = normal(*case.output_shape)
    return arrays
