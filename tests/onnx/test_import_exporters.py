"""Networks as PyTorch's exporter writes them, of several opsets: numbers, programs, batch sizes and gradients."""

from __future__ import annotations

import io
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import fastconv as fc
import fastconv.functional as F
from tests.support import assert_close, randn, rng

pytest.importorskip("onnx")
torch = pytest.importorskip("torch")
tf = torch.nn.functional
tn = torch.nn


class Made(tn.Module):  # type: ignore[name-defined,misc]
    """Layers, and a function of them and the inputs."""

    def __init__(self, layers: dict[str, Any], run: Callable[..., Any]) -> None:
        super().__init__()
        self.layers, self.run = tn.ModuleDict(layers), run

    def forward(self, *inputs: Any) -> Any:
        return self.run(self.layers, *inputs)


def conv(c: int, k: int, size: int = 3, act: Any = None, **how: Any) -> Any:
    """Convolution and batch norm, and an activation."""
    how = {"padding": size // 2, **how}
    return tn.Sequential(
        tn.Conv2d(c, k, size, bias=False, **how), tn.BatchNorm2d(k), act or tn.ReLU()
    )


def unet() -> Any:
    def run(m: Any, x: Any) -> Any:
        a = m["a"](x)
        b = m["b"](tf.max_pool2d(a, 2))
        up = tf.interpolate(m["up"](b), scale_factor=0.5, mode="bilinear", align_corners=False)
        up = tf.interpolate(up, size=a.shape[2:], mode="bilinear", align_corners=True)
        return m["c"](torch.cat([up, a], 1))

    up = tn.ConvTranspose2d(16, 8, 2, 2)
    return Made({"a": conv(3, 8), "b": conv(8, 16), "up": up, "c": tn.Conv2d(16, 2, 1)}, run)


def detector() -> Any:
    def run(m: Any, x: Any) -> Any:
        y = m["head"](m["body"](x))
        n, _, h, w = y.shape
        y = y.view(n, 3, 7, h, w).permute(0, 1, 3, 4, 2).contiguous()
        rows, columns = torch.meshgrid(torch.arange(h), torch.arange(w), indexing="ij")
        grid = torch.stack((columns, rows), 2).view(1, 1, h, w, 2).float()
        sizes = torch.tensor([[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]]).view(1, 3, 1, 1, 2)
        places = (y[..., :2].sigmoid() * 2 - 0.5 + grid) * 4
        boxes = torch.exp(y[..., 2:4] * 0.1) * sizes
        return torch.cat((places, boxes, y[..., 4:].sigmoid()), -1).view(n, -1, 7)

    return Made({"body": conv(3, 8, act=tn.SiLU(), stride=2), "head": tn.Conv2d(8, 21, 1)}, run)


def mobile() -> Any:
    def run(m: Any, x: Any) -> Any:
        x = m["stem"](x)
        y = m["depthwise"](x)
        scale = tf.hardsigmoid(m["excite"](tf.relu(m["squeeze"](tf.adaptive_avg_pool2d(y, 1)))))
        y = x + m["project"](y * scale)
        return m["head"](tf.dropout(tf.hardswish(y.mean((2, 3))), 0.2, m.training))

    layers = {
        "stem": conv(3, 16, act=tn.Hardswish(), stride=2),
        "depthwise": conv(16, 16, 5, act=tn.Hardswish(), groups=16),
        "squeeze": tn.Conv2d(16, 4, 1),
        "excite": tn.Conv2d(4, 16, 1),
        "project": conv(16, 16, 1, act=tn.Identity()),
        "head": tn.Linear(16, 5),
    }
    return Made(layers, run)


def shuffle() -> Any:
    def run(m: Any, x: Any) -> Any:
        a, b = m["stem"](x).chunk(2, dim=1)
        y = torch.cat((a, m["branch"](b)), 1)
        n, c, h, w = y.size()
        y = y.view(n, 2, c // 2, h, w).transpose(1, 2).contiguous().view(n, -1, h, w)
        return m["head"](y.mean([2, 3]))

    layers = {"stem": conv(3, 16), "branch": conv(8, 8, groups=8), "head": tn.Linear(16, 5)}
    return Made(layers, run)


def convnext() -> Any:
    def run(m: Any, x: Any) -> Any:
        x = m["stem"](x)
        mean = x.mean(1, keepdim=True)
        x = (x - mean) / torch.sqrt((x - mean).pow(2).mean(1, keepdim=True) + 1e-6)
        y = m["narrow"](tf.gelu(m["wide"](m["norm"](m["depthwise"](x).permute(0, 2, 3, 1)))))
        y = x + y.permute(0, 3, 1, 2)
        return tf.gelu(m["head"](y.mean([-2, -1])), approximate="tanh")

    layers = {
        "stem": tn.Conv2d(3, 16, 4, 4),
        "depthwise": tn.Conv2d(16, 16, 7, padding=3, groups=16),
        "norm": tn.LayerNorm(16, eps=1e-6),
        "wide": tn.Linear(16, 32),
        "narrow": tn.Linear(32, 16),
        "head": tn.Linear(16, 5),
    }
    return Made(layers, run)


def rows() -> Any:
    def run(m: Any, x: Any) -> Any:
        y = tf.leaky_relu(m["b"](tf.relu(m["norm"](m["a"](x)))), 0.1)
        y = tf.max_pool1d(tf.relu(m["up"](y)), 3, 2, 1)
        return tf.log_softmax(m["head"](y).permute(2, 0, 1), 2)

    layers = {
        "a": tn.Conv1d(3, 16, 5, 2, 2),
        "norm": tn.BatchNorm1d(16),
        "b": tn.Conv1d(16, 16, 3, 1, 2, dilation=2),
        "up": tn.ConvTranspose1d(16, 16, 4, 2, 1),
        "head": tn.Conv1d(16, 7, 1),
    }
    return Made(layers, run)


def aspp() -> Any:
    def run(m: Any, x: Any) -> Any:
        y = m["stem"](x)
        pooled = m["pooled"](tf.adaptive_avg_pool2d(y, 1))
        pooled = tf.interpolate(pooled, size=y.shape[-2:], mode="bilinear", align_corners=False)
        y = m["head"](torch.cat([m["near"](y), m["far"](y), pooled], 1))
        return tf.interpolate(y, size=x.shape[-2:], mode="bilinear", align_corners=False)

    layers = {
        "stem": conv(3, 8, stride=2),
        "near": conv(8, 8, 1),
        "far": conv(8, 8, padding=4, dilation=4),
        "pooled": conv(8, 8, 1),
        "head": tn.Conv2d(24, 4, 1),
    }
    return Made(layers, run)


def generator() -> Any:
    layers = {
        "a": tn.ConvTranspose2d(3, 16, 4, 1, 0, bias=False),
        "norm": tn.BatchNorm2d(16),
        "b": tn.ConvTranspose2d(16, 4, 4, 2, 1, bias=False),
    }
    shuffled = Made(
        layers,
        lambda m, x: tf.pixel_shuffle(torch.tanh(m["b"](tf.relu(m["norm"](m["a"](x))))), 2),
    )
    return shuffled


def pyramid() -> Any:
    def run(m: Any, x: Any) -> Any:
        a = m["a"](x)
        b = m["b"](a)
        p = m["side_b"](b)
        q = m["side_a"](a) + tf.interpolate(p, size=a.shape[-2:], mode="nearest")
        return p, tf.relu(m["norm"](q))

    layers = {
        "a": conv(3, 8, stride=2),
        "b": conv(8, 16, stride=2),
        "side_a": tn.Conv2d(8, 8, 1),
        "side_b": tn.Conv2d(16, 8, 1),
        "norm": tn.GroupNorm(4, 8),
    }
    return Made(layers, run)


def twins() -> Any:
    def run(m: Any, x: Any, y: Any) -> Any:
        a, b = (tf.normalize(m["head"](m["body"](v).mean((2, 3))), dim=1) for v in (x, y))
        return torch.norm(a - b, dim=1), (a * b).sum(1)

    return Made({"body": conv(3, 8, stride=2), "head": tn.Linear(8, 6)}, run)


NETS: dict[str, tuple[Callable[[], Any], tuple[int, ...], int]] = {
    "unet": (unet, (3, 16, 24), 1),
    "detector": (detector, (3, 8, 12), 1),
    "mobile": (mobile, (3, 16, 16), 1),
    "shuffle": (shuffle, (3, 9, 9), 1),
    "convnext": (convnext, (3, 16, 16), 1),
    "rows": (rows, (3, 32), 1),
    "aspp": (aspp, (3, 17, 21), 1),
    "generator": (generator, (3, 2, 2), 1),
    "pyramid": (pyramid, (3, 16, 16), 1),
    "twins": (twins, (3, 12, 12), 2),
}


def exported(name: str, opset: int) -> tuple[Any, bytes]:
    """The network in PyTorch, in evaluation mode, and its file, which keeps batch norms apart."""
    make, shape, inputs = NETS[name]
    torch.manual_seed(1)
    net = make()
    for layer in net.modules():
        if isinstance(layer, tn.modules.batchnorm._BatchNorm):
            layer.running_mean.normal_()
            layer.running_var.uniform_(0.5, 1.5)
            tn.init.uniform_(layer.weight, 0.5, 1.5)  # equal ones would be one array of the file
            tn.init.normal_(layer.bias)
    net.eval()
    names = [f"x{i}" for i in range(inputs)]
    file = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the exporter's own
        torch.onnx.export(
            net,
            tuple(torch.zeros(2, *shape) for _ in names),
            file,
            dynamo=False,
            opset_version=opset,
            input_names=names,
            dynamic_axes={n: {0: "n"} for n in names},
            training=torch.onnx.TrainingMode.PRESERVE,
            do_constant_folding=False,
        )
    return net, file.getvalue()


def listed(result: Any) -> list[Any]:
    return list(result) if isinstance(result, tuple) else [result]


@pytest.mark.parametrize("opset", [11, 17])
@pytest.mark.parametrize("name", NETS)
def test_exported_networks(name: str, opset: int) -> None:
    _, shape, count = NETS[name]
    theirs, content = exported(name, opset)
    net = fc.onnx.load(content).eval()
    program = fc.compile(net, *(np.zeros((2, *shape), np.float32) for _ in range(count)))
    for batch in (2, 1, 5):
        inputs = [randn(rng(name, batch, i), batch, *shape) for i in range(count)]
        with torch.no_grad():
            expected = [y.numpy() for y in listed(theirs(*map(torch.tensor, inputs)))]
        with fc.no_grad():
            eager = [np.asarray(y) for y in listed(net(*inputs))]
        for results in (eager, listed(program(*inputs))):
            for got, want in zip(results, expected, strict=True):
                assert_close(np.asarray(got), want, 2e-5)


@pytest.mark.parametrize("name", NETS)
def test_gradients_of_exported_networks(name: str) -> None:
    """To the inputs, and to each parameter that the file has under its own name."""
    _, shape, count = NETS[name]
    theirs, content = exported(name, 17)
    net = fc.onnx.load(content).eval()
    inputs = [randn(rng(name, i), 3, *shape) for i in range(count)]
    xs = [torch.tensor(x, requires_grad=True) for x in inputs]
    outputs = listed(theirs(*xs))
    upstream = [randn(rng(name, "g", i), *y.shape) for i, y in enumerate(outputs)]
    sum((y * torch.tensor(g)).sum() for y, g in zip(outputs, upstream, strict=True)).backward()
    ts = [fc.tensor(x, requires_grad=True) for x in inputs]
    total: Any = 0.0
    for y, g in zip(listed(net(*ts)), upstream, strict=True):
        total = F.add(F.sum(F.mul(y, g)), total)
    total.backward()
    for t, x in zip(ts, xs, strict=True):
        assert_close(np.asarray(t.grad), x.grad.numpy(), 1e-4)
    wanted = {k: p.grad.numpy() for k, p in theirs.named_parameters()}
    found = dict(net.named_parameters())
    same = [k for k in wanted if k in found and found[k].shape == wanted[k].shape]
    assert len(same) >= len([k for k in wanted if "norm" not in k]) // 2
    for key in same:
        assert_close(np.asarray(found[key].grad), wanted[key], 1e-4)
