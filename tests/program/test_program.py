"""Compiled networks against the same networks run function by function."""

from __future__ import annotations

import threading
from typing import Any

import numpy as np
import pytest

import fastconv as fc
import fastconv.functional as F
from benchmarks.networks import build
from fastconv import _core, nn
from fastconv.program import PLANS

from .nets import NETS, SIZE


def randn(*shape: int, seed: int = 0, dtype: str = "float32") -> Any:
    return np.random.default_rng(seed).standard_normal(shape).astype(dtype)


def trained(name: str) -> nn.Module:
    """A network whose batch-norms have seen something."""
    fc.manual_seed(1)
    net = NETS[name]()
    with fc.no_grad():
        for seed in range(3):
            net(randn(4, 3, SIZE, SIZE, seed=seed))
    return net.eval()


def eager(net: nn.Module, *inputs: Any) -> Any:
    with fc.no_grad():
        result = net(*inputs)
    return np.asarray(result) if isinstance(result, fc.Tensor) else result


def relative(got: Any, expected: Any) -> float:
    return float(np.abs(got - expected).max() / np.abs(expected).max())


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("name", NETS)
def test_equals_the_network(name: str, threads: int) -> None:
    net = trained(name)
    before = fc.get_num_threads()
    fc.set_num_threads(threads)
    try:
        prog = fc.compile(net, randn(5, 3, SIZE, SIZE))
        for n in (5, 1, 2):
            x = randn(n, 3, SIZE, SIZE, seed=n)
            got = prog(x)
            assert got.dtype == np.float32 and relative(got, eager(net, x)) < 1e-5
    finally:
        fc.set_num_threads(before)


@pytest.mark.parametrize("name", NETS)
def test_bfloat16(name: str) -> None:
    pytest.importorskip("ml_dtypes")
    net = trained(name)
    x = randn(3, 3, SIZE, SIZE)
    prog = fc.compile(net, x, dtype="bfloat16")
    got = prog(x)
    assert got.dtype == np.float32 and relative(got, eager(net, x)) < 3e-2
    inside = prog.dump().split("\n", 1)[1].rsplit("cast", 1)[0].split("cast", 1)[1]
    lines = [line for line in inside.splitlines() if "batch_norm_line" not in line]
    assert not any("float32" in line for line in lines)


def test_float64() -> None:
    net = trained("basic").to("float64")
    x = randn(2, 3, SIZE, SIZE, dtype="float64")
    assert relative(fc.compile(net, x)(x), eager(net, x)) < 1e-13


def test_same_bits_every_time_and_with_any_number_of_threads() -> None:
    net = trained("bottleneck")
    x = randn(4, 3, SIZE, SIZE)
    before = fc.get_num_threads()
    try:
        found = []
        for threads in (1, 2, 3):
            fc.set_num_threads(threads)
            prog = fc.compile(net, x)
            found += [prog(x).tobytes(), prog(x).tobytes()]
    finally:
        fc.set_num_threads(before)
    assert len(set(found)) == 1


class Structures(nn.Module):
    """Two inputs, several outputs, one of them an input, one twice."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3, padding=1)

    def forward(self, a: Any, b: Any) -> Any:
        y = F.relu(self.conv(a) + b)
        return {"y": y, "more": (y.mean(), [a, y.reshape(-1)]), "sum": F.sum(b, (2, 3))}


def test_structures() -> None:
    net = Structures().eval()
    a, b = randn(2, 3, 6, 5), randn(2, 4, 6, 5, seed=1)
    got, expected = fc.compile(net, a, b)(a, b), eager(net, fc.tensor(a), fc.tensor(b))
    np.testing.assert_allclose(got["y"], expected["y"].numpy(), rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(got["more"][0], expected["more"][0].numpy(), rtol=1e-5)
    np.testing.assert_array_equal(got["more"][1][0], a)
    np.testing.assert_array_equal(got["more"][1][1], got["y"].reshape(-1))
    np.testing.assert_allclose(got["sum"], expected["sum"].numpy(), rtol=1e-5)


class Everything(nn.Module):
    """One of every function that has no block of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.up = nn.ConvTranspose2d(4, 4, 3, 2, 1, 1)
        self.scale = nn.Parameter(randn(4, 1, 1))

    def forward(self, x: Any) -> Any:
        y = F.pad(x, (1, 2, 0, 1), "reflect")
        y = F.max_pool2d(y, 3, 2, 1, ceil_mode=True) * self.scale
        y = F.gelu(self.up(y)) + F.sigmoid(y.mean()) * 2.0
        z = F.adaptive_avg_pool2d(F.leaky_relu(y, 0.2), (2, 3))
        z = F.sum_pool2d(F.permute(z, (0, 1, 3, 2)), 2)
        return F.log_softmax(F.flatten(F.transpose(z, 1, 2), 1) / 3.0 - 1.0), F.softmax(y, 1)


@pytest.mark.parametrize("layout", ["NCHW", "NHWC"])
def test_every_function(layout: str) -> None:
    net = Everything().eval()
    x = randn(2, 4, 7, 9)
    if layout == "NHWC":
        net = nn.Sequential(
            nn.Conv2d(4, 5, 3, layout="NHWC"), nn.MaxPool2d(2, layout="NHWC")
        ).eval()
        x = np.ascontiguousarray(x.transpose(0, 2, 3, 1))
    got, expected = fc.compile(net, x)(x), eager(net, x)
    for g, e in zip(*((v if isinstance(v, tuple) else (v,)) for v in (got, expected)), strict=True):
        np.testing.assert_allclose(g, np.asarray(e), rtol=1e-5, atol=1e-6)


def test_indices_of_maxima() -> None:
    class Net(nn.Module):
        def forward(self, x: Any) -> Any:
            return F.max_pool2d(x, 2, return_indices=True)

    x = randn(2, 3, 6, 6)
    for g, e in zip(fc.compile(Net().eval(), x)(x), eager(Net(), x), strict=True):
        np.testing.assert_array_equal(g, e)


def test_weights_are_a_snapshot() -> None:
    net = trained("basic")
    x = randn(2, 3, SIZE, SIZE)
    prog = fc.compile(net, x)
    first = prog(x)
    net.fc.bias.numpy()[...] += 1
    np.testing.assert_array_equal(prog(x), first)
    # A plan for another shape has the same weights.
    np.testing.assert_allclose(prog(x[:1]), first[:1], rtol=1e-4, atol=1e-5)
    prog.refresh()
    np.testing.assert_allclose(prog(x), first + 1, rtol=1e-4, atol=1e-5)


def test_plans_are_bounded() -> None:
    net = nn.Sequential(nn.Conv2d(3, 4, 3)).eval()
    prog = fc.compile(net, randn(1, 3, 8, 8))
    for n in range(1, 3 * PLANS):
        assert prog(randn(n, 3, 8, 8)).shape[0] == n
    assert len(prog._plans) == PLANS


def test_plans_share_what_is_made_of_the_weights() -> None:
    net = nn.Sequential(nn.Conv2d(256, 256, 3, padding=1, bias=False), nn.BatchNorm2d(256)).eval()
    prog = fc.compile(net, randn(1, 256, 16, 16))
    before = fc.memory_stats()["in_use"]
    prog(randn(2, 256, 16, 16))
    weights = 256 * 256 * 9 * 4
    held = fc.memory_stats()["in_use"] - before - prog.memory()["arena"]
    assert held < weights  # neither folded nor packed again


def test_empty_batch() -> None:
    net = trained("basic")
    assert fc.compile(net, randn(2, 3, SIZE, SIZE))(randn(0, 3, SIZE, SIZE)).shape == (0, 10)


def test_threads_share_a_program() -> None:
    net = trained("googlenet")
    inputs = [randn(1 + i % 2, 3, SIZE, SIZE, seed=i) for i in range(8)]
    prog = fc.compile(net, inputs[0])
    expected = [prog(x) for x in inputs]
    wrong: list[int] = []

    def work(i: int) -> None:
        for _ in range(10):
            if not np.array_equal(prog(inputs[i]), expected[i]):
                wrong.append(i)

    workers = [threading.Thread(target=work, args=(i,)) for i in range(8)]
    for w in workers:
        w.start()
    for w in workers:
        w.join()
    assert not wrong


def test_the_network_is_as_it_was() -> None:
    net = trained("vgg")
    arrays = {k: id(v.numpy()) for k, v in net.named_parameters()}
    fc.compile(net, randn(1, 3, SIZE, SIZE))
    assert {k: id(v.numpy()) for k, v in net.named_parameters()} == arrays
    assert all(p.grad is None for p in net.parameters())


def test_memory_is_used_again() -> None:
    memory = fc.compile(build("resnet50", nn, F).eval(), randn(1, 3, 64, 64)).memory()
    assert memory["arena"] < memory["tensors"] / 2 + memory["workspace"]
    assert memory["steps"] < 60


def test_nothing_is_allocated_between_runs() -> None:
    net = trained("bottleneck")
    x = randn(2, 3, SIZE, SIZE)
    prog = fc.compile(net, x)
    for _ in range(3):
        prog(x)
    before = fc._core.pool_stats()["system_allocations"]
    for _ in range(10):
        prog(x)
    assert fc._core.pool_stats()["system_allocations"] == before


def test_profile(tmp_path: Any) -> None:
    net = trained("basic")
    x = randn(2, 3, SIZE, SIZE)
    prog = fc.compile(net, x)
    assert "conv2d" in str(prog.profile(runs=1))
    profile = prog.profile(x, runs=2, limits=False)
    assert profile.limits is None and "limit" not in str(profile)
    profile.limits = {"fma": 100.0, "stream": 10.0}
    assert len(profile.steps) == prog.memory()["steps"] and profile.seconds > 0
    text = profile.table(5)
    assert "conv2d" in text and "limit %" in text and "steps more" in text
    assert sum(s["operations"] for s in profile.steps) > 1e6
    profile.save(tmp_path / "trace.json")
    assert '"traceEvents"' in (tmp_path / "trace.json").read_text()


# What is refused.


class Reads(nn.Module):
    def __init__(self, how: Any) -> None:
        super().__init__()
        self.how = how

    def forward(self, x: Any) -> Any:
        return self.how(F.relu(x))


@pytest.mark.parametrize(
    "how",
    [
        lambda y: y if y.sum() else y * 2.0,
        lambda y: y * float(y.mean()),
        lambda y: y.numpy() + 1,
        lambda y: np.asarray(y),
        lambda y: y * y.mean().item(),
        lambda y: np.maximum(y.numpy(), 0),
        lambda y: y.numpy()[0],
    ],
)
def test_values_cannot_be_read(how: Any) -> None:
    x = randn(1, 2, 3, 3)
    with pytest.raises(fc.CaptureError, match="compile: "):
        fc.compile(Reads(how).eval(), x)


def test_shapes_can_be_read() -> None:
    net = Reads(lambda y: y.reshape(y.shape[0], -1) if y.ndim == 4 and len(y) > 0 else y).eval()
    x = randn(2, 3, 4, 5)
    np.testing.assert_array_equal(fc.compile(net, x)(x), np.maximum(x, 0).reshape(2, -1))


def test_bad_arguments() -> None:
    net = nn.Sequential(nn.Conv2d(3, 4, 3)).eval()
    x = randn(1, 3, 8, 8)
    with pytest.raises(fc.CaptureError, match=r"training mode; call net\.eval"):
        fc.compile(nn.Conv2d(3, 4, 3), x)
    with pytest.raises(fc.DTypeError, match="expects a Module, got int"):
        fc.compile(3, x)
    with pytest.raises(fc.DTypeError, match="dtype must be one of"):
        fc.compile(net, x, dtype="float16")
    with pytest.raises(fc.ShapeError, match="needs an example"):
        fc.compile(net)
    with pytest.raises(fc.ShapeError, match="expects 3 input channels"):
        fc.compile(net, randn(1, 4, 8, 8))
    prog = fc.compile(net, x)
    with pytest.raises(fc.DTypeError):
        prog(x.astype(np.float64))
    with pytest.raises(fc.ShapeError):
        prog(randn(1, 4, 8, 8))
    with pytest.raises(fc.DTypeError):
        prog([[1.0]])
    with pytest.raises(fc.ShapeError, match="after must be one of"):
        prog.dump("no such pass")
    # After a refusal everything works on.
    np.testing.assert_allclose(prog(x), eager(net, x), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("result", [3, None, "x", lambda: 0])
def test_results_that_are_no_arrays(result: Any) -> None:
    with pytest.raises(fc.CaptureError, match="the network returned"):
        fc.compile(Reads(lambda y: result).eval(), randn(1, 2, 3, 3))


@pytest.mark.parametrize("channels", [1, 2, 3, 4, 5, 17])
@pytest.mark.parametrize("pixels", [(1, 1), (3, 5), (16, 33), (41, 50)])
@pytest.mark.parametrize("order", [(0, 2, 3, 1), (0, 3, 1, 2)])
def test_reorders_of_pictures(channels: int, pixels: tuple[int, int], order: Any) -> None:
    shape = (2, channels, *pixels) if order[1] == 2 else (2, *pixels, channels)
    graph = _core.Graph()
    (y,) = graph.add("transpose", [graph.input("float32", shape, "x")], {"dims": order})
    graph.set_outputs([y])
    x = np.arange(np.prod(shape), dtype=np.float32).reshape(shape)
    (got,), _ = _core.Program(graph).run([x])
    np.testing.assert_array_equal(got, x.transpose(order))
