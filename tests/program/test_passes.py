"""What each pass makes of the graphs that it is for, and what it leaves alone."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pytest

import fastconv as fc
import fastconv.functional as F
from fastconv import _core, nn
from fastconv.program import TrainingStep

from .nets import Basic, Bottleneck


def conv_graph(**inputs: tuple[int, ...]) -> tuple[Any, dict[str, int]]:
    """A graph with float32 inputs of the given shapes."""
    graph = _core.Graph()
    return graph, {name: graph.input("float32", shape, name) for name, shape in inputs.items()}


GEOMETRY = {
    "stride": (1, 1),
    "padding": (1, 1),
    "dilation": (1, 1),
    "groups": 1,
    "layout": "NHWC",
}


def ops(dump: str) -> list[str]:
    """The node kinds of a dump, in order."""
    return re.findall(r" = (\w+)\(|^(\w+)\(", dump, re.MULTILINE) and [
        a or b for a, b in re.findall(r" = (\w+)\(|^(\w+)\(", dump, re.MULTILINE)
    ]


def run(graph: Any, *inputs: Any) -> Any:
    return _core.Program(graph).run(inputs)[0]


def randn(*shape: int, seed: int = 0) -> Any:
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def before_and_after(net: nn.Module, name: str, *shape: int) -> tuple[list[str], list[str]]:
    prog = fc.compile(net.eval(), np.zeros(shape, np.float32))
    names = ["", *_core.graph_passes()]
    before = names[names.index(name) - 1]
    return ops(prog.dump(before)), ops(prog.dump(name))


def test_dead_code() -> None:
    graph, v = conv_graph(x=(2, 4, 4, 3))
    (y,) = graph.add("activation", [v["x"]], {"kind": "relu", "slope": 0.0})
    graph.add("activation", [y], {"kind": "tanh", "slope": 0.0})
    pool = {"op": "max_pool2d", "kind": "max", "adaptive": True, "output_size": (1, 1)}
    p, _ = graph.add("pool2d", [y], {**pool, "layout": "NHWC"})
    graph.set_outputs([p])
    graph.run_pass("remove_dead_code")
    assert ops(graph.dump()) == ["activation", "pool2d"]
    assert ", - = pool2d" in graph.dump()  # nobody wants the indices
    x = randn(2, 4, 4, 3)
    np.testing.assert_array_equal(run(graph, x)[0], np.maximum(x.max((1, 2), keepdims=True), 0))


def test_effects_are_not_dead() -> None:
    graph, v = conv_graph(x=(3,))
    counter = np.zeros((), np.int64)
    graph.add("increment", [graph.counter(counter, "seen")], {})
    graph.add("stop_unless_finite", [v["x"]], {})
    graph.set_outputs([v["x"]])
    graph.run_pass("remove_dead_code")
    program = _core.Program(graph)
    for i in range(3):
        results, whole = program.run([randn(3)])
        assert whole and counter == i + 1
        np.testing.assert_array_equal(results[0], randn(3))
    assert not program.run([np.array([0, np.inf, 0], np.float32)])[1]


def test_layout() -> None:
    graph, v = conv_graph(x=(2, 1, 4, 5), z=(2, 3, 4, 5))
    (a,) = graph.add("transpose", [v["x"]], {"dims": (0, 2, 3, 1)})  # moves nothing
    (b,) = graph.add("transpose", [v["z"]], {"dims": (0, 2, 3, 1)})
    (c,) = graph.add("transpose", [b], {"dims": (0, 3, 1, 2)})  # and back
    (d,) = graph.add("reshape", [a], {"shape": (4, 10)})
    (e,) = graph.add("reshape", [d], {"shape": (2, 20)})
    (f,) = graph.add("transpose", [b], {"dims": (2, 1, 0, 3)})  # joined with the first
    graph.set_outputs([c, e, f])
    graph.run_pass("simplify_layout")
    assert sorted(ops(graph.dump())) == ["reshape", "transpose"]
    x, z = randn(2, 1, 4, 5), randn(2, 3, 4, 5, seed=1)
    got = run(graph, x, z)
    np.testing.assert_array_equal(got[0], z)
    np.testing.assert_array_equal(got[1], x.reshape(2, 20))
    np.testing.assert_array_equal(got[2], z.transpose(3, 2, 0, 1))


def test_reorders_only_at_the_edges() -> None:
    prog = fc.compile(nn.Sequential(Basic(3, 24, 2), Bottleneck(24, 6)).eval(), randn(2, 3, 8, 8))
    found = ops(prog.dump())
    assert found[0] == found[-1] == "transpose" and found.count("transpose") == 2


def test_few_channels_stay_in_pieces() -> None:
    prog = fc.compile(
        nn.Sequential(nn.Conv2d(1, 6, 5), nn.Conv2d(6, 16, 5)).eval(), randn(2, 1, 12, 12)
    )
    assert ops(prog.dump()) == ["conv2d", "conv2d"] and "layout=NCHW" in prog.dump()


def test_fold_batch_norm() -> None:
    net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.BatchNorm2d(4))
    before, after = before_and_after(net, "fold_scale_and_shift", 2, 3, 6, 6)
    assert before.count("batch_norm_inference") == 2
    assert after.count("batch_norm_inference") == 1 and after.count("conv2d") == 1


def test_a_result_that_others_read_is_not_folded() -> None:
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv, self.bn = nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)

        def forward(self, x: Any) -> Any:
            y = self.conv(x)
            return self.bn(y), y

    before, after = before_and_after(Net(), "fold_scale_and_shift", 2, 3, 6, 6)
    assert before == after


def test_conv_epilogue() -> None:
    net = Bottleneck(8, 4, 2)
    before, after = before_and_after(net, "fuse_conv_epilogue", 2, 8, 8, 8)
    assert before.count("activation") == 3 and before.count("elementwise") == 1
    assert [op for op in after if op != "transpose"] == ["conv2d"] * 4


def test_conv_epilogue_waits_for_the_other_operand() -> None:
    graph, v = conv_graph(x=(1, 5, 5, 4))
    w = graph.constant(randn(4, 4, 3, 3), "w")
    a = graph.add("conv2d", [v["x"], w], GEOMETRY)[0]
    b = graph.add("conv2d", [a, w], GEOMETRY)[0]
    (s,) = graph.add("elementwise", [b, a], {"kind": "add"})
    (t,) = graph.add("elementwise", [s, v["x"]], {"kind": "add"})  # a second sum stays
    (r,) = graph.add("activation", [t], {"kind": "tanh", "slope": 0.0})
    graph.set_outputs([r])
    expected = run(graph, randn(1, 5, 5, 4))[0]
    graph.run_pass("fuse_conv_epilogue")
    assert ops(graph.dump()) == ["conv2d", "conv2d", "elementwise", "activation"]
    np.testing.assert_allclose(run(graph, randn(1, 5, 5, 4))[0], expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    "kind", ["relu", "relu6", "leaky_relu", "sigmoid", "tanh", "gelu", "gelu_tanh"]
)
def test_every_activation_fuses(kind: str) -> None:
    graph, v = conv_graph(x=(2, 5, 5, 4))
    y = graph.add("conv2d", [v["x"], graph.constant(randn(6, 4, 3, 3), "w")], GEOMETRY)[0]
    (z,) = graph.add("activation", [y], {"kind": kind, "slope": 0.2})
    graph.set_outputs([z])
    expected = run(graph, randn(2, 5, 5, 4))[0]
    graph.run_pass("fuse_conv_epilogue")
    assert ops(graph.dump()) == ["conv2d"]
    np.testing.assert_allclose(run(graph, randn(2, 5, 5, 4))[0], expected, rtol=1e-6, atol=1e-6)


def step_dumps(net: nn.Module, *shape: int) -> dict[str, list[str]]:
    """The ops of a training step after each pass."""
    step = TrainingStep(net, lambda y, t: F.mse_loss(y, t), fc.optim.SGD(net.parameters(), lr=0.1))
    x = randn(*shape)
    with fc.no_grad():
        target = np.zeros(net(x).shape, np.float32)
    plan = step.plan(x, target)
    return {name: ops(plan.dump(name)) for name in ("", *_core.graph_passes())}


def test_batch_norm_takes_relus_and_sums_in_training() -> None:
    dumps = step_dumps(Bottleneck(8, 4, 2), 2, 8, 8, 8)
    before, after = dumps["fold_scale_and_shift"], dumps["fuse_batch_norm_relu"]
    assert before.count("activation") == before.count("activation_backward") == 3
    assert before.count("elementwise") >= 1
    assert after.count("activation") == after.count("activation_backward") == 0
    assert after.count("batch_norm_backward") == 4


def test_convolutions_take_the_statistics() -> None:
    dumps = step_dumps(Bottleneck(8, 4, 2), 2, 8, 8, 8)
    before, after = dumps["fuse_conv_epilogue"], dumps["fuse_conv_statistics"]
    assert before.count("batch_norm") == 4
    assert after.count("batch_norm") == 0
    assert after.count("batch_norm_statistics") == after.count("batch_norm_apply") == 4


def test_batch_norm_of_something_else_keeps_its_own_statistics() -> None:
    net = nn.Sequential(nn.MaxPool2d(2), nn.BatchNorm2d(3), nn.ReLU(), nn.Conv2d(3, 4, 3))
    assert step_dumps(net, 2, 3, 8, 8)["fuse_gradient_sum"].count("batch_norm") == 1


def test_gradient_sums() -> None:
    dumps = step_dumps(nn.Sequential(nn.Conv2d(3, 8, 1), Bottleneck(8, 2)), 2, 3, 6, 6)
    before, after = dumps["fuse_conv_statistics"], dumps["fuse_gradient_sum"]
    assert before.count("elementwise") == after.count("elementwise") + 1


def test_bfloat16() -> None:
    pytest.importorskip("ml_dtypes")
    graph, v = conv_graph(x=(1, 5, 5, 4))
    w = randn(6, 4, 3, 3)
    graph.set_outputs([graph.add("conv2d", [v["x"], graph.constant(w, "w")], GEOMETRY)[0]])
    graph.run_pass("remove_dead_code")
    expected = run(graph, randn(1, 5, 5, 4))[0]
    graph.run_pass("store_bfloat16")
    assert ops(graph.dump()) == ["cast", "conv2d", "cast"]
    got = run(graph, randn(1, 5, 5, 4))[0]
    assert 0 < np.abs(got - expected).max() < 0.03 * np.abs(expected).max()


def test_bfloat16_does_not_train() -> None:
    graph = _core.Graph()
    graph.set_outputs([graph.state(np.zeros(3, np.float32), "p")])
    with pytest.raises(fc.DTypeError, match="do not train"):
        graph.run_pass("store_bfloat16")


def test_unknown_names() -> None:
    graph, v = conv_graph(x=(2, 3))
    with pytest.raises(fc.ShapeError, match="no pass 'x'"):
        graph.run_pass("x")
    with pytest.raises(fc.ShapeError, match="no node kind 'x'"):
        graph.add("x", [v["x"]], {})
    with pytest.raises(fc.ShapeError, match="no value 99"):
        graph.add("activation", [99], {"kind": "relu", "slope": 0.0})
    with pytest.raises(fc.ShapeError, match="operand 0 is missing"):
        graph.add("activation", [None], {"kind": "relu", "slope": 0.0})
    with pytest.raises(fc.ShapeError, match="lacks the attribute 'kind'"):
        graph.add("activation", [v["x"]], {})


# The plan.


@pytest.mark.parametrize("seed", range(12))
def test_random_graphs(seed: int) -> None:
    """Values that share memory, are overwritten, viewed, read late or are results twice."""
    rng = np.random.default_rng(seed)
    graph = _core.Graph()
    values = [(graph.input("float32", (4, 6), f"x{i}"), randn(4, 6, seed=i)) for i in range(2)]
    given = [a for _, a in values]
    for _ in range(40):
        i, j = rng.integers(0, len(values), 2)
        (va, a), (vb, b) = values[i], values[j]
        what = rng.integers(0, 5)
        if what == 0 and a.shape == b.shape:
            made = graph.add("elementwise", [va, vb], {"kind": "add"}), a + b
        elif what == 1:
            made = graph.add("activation", [va], {"kind": "relu", "slope": 0.0}), np.maximum(a, 0)
        elif what == 2:
            shape = [(4, 6), (24,), (2, 12)][rng.integers(0, 3)]
            made = graph.add("reshape", [va], {"shape": shape}), a.reshape(shape)
        elif what == 3 and a.ndim == 2:
            made = graph.add("transpose", [va], {"dims": (1, 0)}), a.T.copy()
        else:
            made = graph.add("elementwise_scalar", [va], {"kind": "mul", "value": -0.5}), a * -0.5
        values.append((made[0][0], made[1].astype(np.float32)))
    chosen = [values[i] for i in rng.integers(0, len(values), 6)]
    graph.set_outputs([v for v, _ in chosen])
    for passes in (False, True):
        if passes:
            for name in _core.graph_passes():
                graph.run_pass(name)
        program = _core.Program(graph)
        for got, (_, expected) in zip(program.run(given)[0], chosen, strict=True):
            np.testing.assert_allclose(got, expected, rtol=1e-6)
        memory = program.memory()
        assert memory["arena"] <= memory["tensors"] + 64 * memory["steps"]


@pytest.mark.parametrize("channels", [6, 40])
@pytest.mark.parametrize("kind", ["mul", "div", "sub"])
def test_arithmetic_repeats_elements_itself(channels: int, kind: str) -> None:
    class Scaled(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv, self.head = nn.Conv2d(3, channels, 1), nn.Conv2d(channels, channels, 3)

        def forward(self, x: Any) -> Any:
            y = self.conv(x)
            scale = F.mean(y, dim=(2, 3), keepdim=True)
            return self.head(getattr(F, kind)(y, F.expand(scale, y.shape)))

    net = Scaled().eval()
    x = randn(2, 3, 6, 5)
    before, after = before_and_after(net, "skip_expansion", 2, 3, 6, 5)
    assert before.count("reduce_backward") == 1 and "reduce_backward" not in after
    with fc.no_grad():
        expected = np.asarray(net(x))
    got = fc.compile(net, x)(x)
    np.testing.assert_allclose(got, expected, rtol=1e-4, atol=1e-4 * np.abs(expected).max())


def test_an_expansion_that_makes_the_result_larger_stays() -> None:
    graph, v = conv_graph(x=(1, 3), y=(1, 3))
    (wide,) = graph.add("reduce_backward", [v["y"]], {"kind": "sum", "shape": (4, 3), "dim": (0,)})
    graph.set_outputs(graph.add("elementwise", [v["x"], wide], {"kind": "mul"}))
    graph.run_pass("skip_expansion")
    assert ops(graph.dump()) == ["reduce_backward", "elementwise"]
    x, y = randn(1, 3), randn(1, 3, seed=1)
    np.testing.assert_array_equal(run(graph, x, y)[0], np.broadcast_to(x * y, (4, 3)))
