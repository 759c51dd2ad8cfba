"""Joining without copies: what the pass places where, and that every op computes the same on slices."""

from __future__ import annotations

import copy
import re
from typing import Any

import numpy as np
import pytest

import fastconv as fc
import fastconv.functional as F
from fastconv import _core, nn
from fastconv.program import TrainingStep
from fastconv.train import Trainer

from .nets import _blocks

POINT = {
    "stride": (1, 1),
    "padding": (0, 0),
    "dilation": (1, 1),
    "groups": 1,
    "layout": "NHWC",
}
SQUARE = {**POINT, "padding": (1, 1)}
POOL = {
    "kernel_size": (3, 3),
    "stride": (1, 1),
    "padding": (1, 1),
    "dilation": (1, 1),
    "layout": "NHWC",
    "adaptive": False,
    "ceil_mode": False,
    "count_include_pad": True,
    "divisor_override": 0,
}


def randn(*shape: int, seed: int = 0) -> Any:
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


class Maker:
    """A graph of channels-last values, and what it computes with and without the pass."""

    def __init__(self, *shape: int, dtype: str = "float32") -> None:
        self.graph = _core.Graph()
        self.dtype = dtype
        self.x = self.graph.input(dtype, shape, "x")
        self.seed = 0

    def constant(self, *shape: int) -> Any:
        self.seed += 1
        return self.graph.constant(
            randn(*shape, seed=self.seed).astype(self.dtype), f"w{self.seed}"
        )

    def conv(self, x: Any, c: int, k: int, size: int = 1, **more: Any) -> Any:
        geometry = {**(SQUARE if size == 3 else POINT), **more}
        weight = self.constant(k, c // geometry["groups"], size, size)
        return self.graph.add("conv2d", [x, weight], geometry)[0]

    def norm(self, x: Any, c: int, relu: bool = True) -> Any:
        scale, shift, mean = (self.constant(c) for _ in range(3))
        var = self.graph.constant(np.full(c, 2, self.dtype), f"var{self.seed}")
        attributes = {"momentum": 0.1, "eps": 1e-5, "layout": "NHWC", "relu": relu}
        return self.graph.add("batch_norm_inference", [x, scale, shift, mean, var], attributes)[0]

    def pool(self, x: Any, kind: str = "max") -> Any:
        return self.graph.add("pool2d", [x], {**POOL, "op": f"{kind}_pool2d", "kind": kind})[0]

    def join(self, *values: Any, dim: int = 3) -> Any:
        return self.graph.add("concat", list(values), {"dim": dim})[0]

    def relu(self, x: Any) -> Any:
        return self.graph.add("activation", [x], {"kind": "relu", "slope": 0.0})[0]

    def compare(self, x: Any, *results: Any, rtol: float = 2e-6) -> str:
        """The dump after the pass, whose program's results are those of one without."""
        self.graph.set_outputs(list(results))
        expected = _core.Program(self.graph).run([x])[0]
        self.graph.run_pass("join_in_place")
        program = _core.Program(self.graph)
        for _ in range(2):
            for got, want in zip(program.run([x])[0], expected, strict=True):
                scale = np.abs(want).max()
                np.testing.assert_allclose(got, want, rtol=rtol, atol=rtol * scale)
        return str(self.graph.dump())


def test_branches_write_where_they_belong() -> None:
    m = Maker(2, 6, 5, 20)
    a, b, c = m.conv(m.x, 20, 24), m.conv(m.x, 20, 17, 3), m.pool(m.x)
    dump = m.compare(randn(2, 6, 5, 20), m.conv(m.join(a, b, c), 61, 8))
    assert dump.count("in_place=true") == 1 and "concat" in dump
    for channels in (24, 17, 20):
        assert f"(2, 6, 5, {channels} of 61)" in dump


def test_one_image_of_planes_is_one_row() -> None:
    m = Maker(1, 3, 6, 5)
    planes = {"layout": "NCHW"}
    a, b = m.conv(m.x, 3, 4, **planes), m.relu(m.conv(m.x, 3, 2, **planes))
    dump = m.compare(randn(1, 3, 6, 5), m.relu(m.join(a, b, dim=1)))
    assert "in_place=true" in dump and " of " not in dump


@pytest.mark.parametrize("again", [False, True])
def test_dense_blocks_have_one_array(again: bool) -> None:
    """Joined step by step, or all of them anew in every layer."""
    m = Maker(2, 4, 4, 16)
    parts = [m.pool(m.x, "mean")]
    joined, c = parts[0], 16
    for _ in range(4):
        y = m.conv(m.norm(joined, c), c, 32)
        parts.append(m.conv(m.norm(y, 32), 32, 8, 3))
        c += 8
        joined = m.join(*parts) if again else m.join(joined, parts[-1])
    dump = m.compare(randn(2, 4, 4, 16), m.relu(joined))
    assert dump.count("concat(") == dump.count("in_place=true") == 4
    assert f"(2, 4, 4, {c - 8} of {c})" in dump


def test_what_stays_a_copy() -> None:
    x = randn(2, 3, 3, 4)

    def kept(m: Maker, *results: Any) -> bool:
        return "in_place" not in m.compare(x.astype(m.dtype), *results)

    m = Maker(2, 3, 3, 4)  # an input belongs to the caller
    assert kept(m, m.join(m.x, m.conv(m.x, 4, 4)))
    m = Maker(2, 3, 3, 4)  # twice the same
    a = m.conv(m.x, 4, 4)
    assert kept(m, m.join(a, a))
    m = Maker(2, 3, 3, 4)  # a result of its own
    a = m.conv(m.x, 4, 4)
    assert kept(m, m.join(a, m.conv(m.x, 4, 4)), a)
    m = Maker(2, 3, 3, 4)  # a reader that knows no slices
    a = m.conv(m.x, 4, 4)
    assert kept(m, m.join(a, m.conv(m.x, 4, 4)), m.relu(a))
    m = Maker(2, 3, 3, 4, dtype="float64")
    assert kept(m, m.join(m.conv(m.x, 4, 4), m.conv(m.x, 4, 4)))
    m = Maker(2, 3, 3, 4)  # along rows
    assert kept(m, m.join(m.conv(m.x, 4, 4), m.conv(m.x, 4, 4), dim=2))


def test_a_slice_has_one_place() -> None:
    m = Maker(2, 3, 3, 8)
    a, b, c = (m.conv(m.x, 8, 8) for _ in range(3))
    dump = m.compare(randn(2, 3, 3, 8), m.join(a, b), m.join(b, c), m.join(c, a))
    assert dump.count("in_place") == 1  # the others copy from its pieces


# Sorted: which is listed first may depend on the machine.
FPROP = sorted(name for name, _ in _core.conv2d_candidates(
    (1, 8, 8, 16), (16, 16, 3, 3), (1, 1), (1, 1), (1, 1), 1, "NHWC", "fprop"
))  # fmt: skip


@pytest.mark.parametrize("algorithm", FPROP)
@pytest.mark.parametrize(
    "shape", [(2, 9, 8, 24, 40, 3, 1), (2, 7, 7, 12, 20, 1, 1), (1, 6, 6, 20, 20, 3, 20)]
)
@pytest.mark.parametrize("finish", ["", "relu", "residual", "statistics"])
def test_every_convolution_on_slices(algorithm: str, shape: tuple[int, ...], finish: str) -> None:
    n, h, w, c, k, size, groups = shape
    geometry = {**(SQUARE if size == 3 else POINT), "groups": groups}
    found = _core.conv2d_candidates(
        (n, h, w, c), (k, c // groups, size, size), (1, 1), geometry["padding"], (1, 1), groups,
        "NHWC", "fprop",
    )  # fmt: skip
    if dict(found).get(algorithm, "missing"):
        pytest.skip("declines")
    m = Maker(n, h, w, 8)
    more = {"groups": groups, "algorithm": algorithm}
    if finish in ("relu", "residual"):
        more |= {"activation": "relu", "slope": 0.0}
    a = m.conv(m.x, 8, c)
    # From a slice into a slice; what is added to it is none.
    residual = m.relu(m.conv(m.x, 8, k)) if finish == "residual" else None
    weight = m.constant(k, c // groups, size, size)
    b, sums = m.graph.add("conv2d", [a, weight, None, residual], {**geometry, **more})
    d = m.conv(b, k, 4)
    results = [m.join(a, b, d), *([sums] if finish == "statistics" else [])]
    dump = m.compare(randn(n, h, w, 8), *results, rtol=2e-5)
    assert "in_place" in dump and f"{k} of {c + k + 4}" in dump


@pytest.mark.parametrize("outputs", [20, 144])  # one block of outputs, several
@pytest.mark.parametrize("wide", [30, 1400])  # the slice's neighbour: near pixels, and far
@pytest.mark.parametrize("stride", [1, 2])
def test_normalised_as_they_are_read(outputs: int, wide: int, stride: int) -> None:
    """A 1x1 that applies batch-norm's line to a slice, of more pixels than one item's."""
    m = Maker(2, 11, 10, 8)
    a, b = m.conv(m.x, 8, wide), m.conv(m.x, 8, 40)
    y = m.conv(m.norm(b, 40), 40, outputs, algorithm="implicit_gemm", stride=(stride, stride))
    z = m.conv(m.norm(m.join(a, b), wide + 40), wide + 40, 4)
    m.graph.set_outputs([y, z])
    m.graph.run_pass("fuse_batch_norm_load")
    dump = m.compare(randn(2, 11, 10, 8), y, z)
    assert "in_place" in dump and "line_relu" in dump and f"40 of {wide + 40}" in dump


@pytest.mark.parametrize("algorithm", ["implicit_gemm", "winograd", "winograd6", "reference"])
@pytest.mark.parametrize("size", [1, 3])
def test_gradients_of_convolutions_on_slices(algorithm: str, size: int) -> None:
    """Both gradients read what a cut left in place: dy, and x of a join."""
    if size == 1 and algorithm.startswith("winograd"):
        pytest.skip("declines")
    m = Maker(2, 8, 7, 8)
    geometry = {**(SQUARE if size == 3 else POINT), "algorithm": algorithm}
    a, b = m.conv(m.x, 8, 20), m.conv(m.x, 8, 24)
    joined = m.join(a, b)
    whole = m.conv(joined, 44, 36)
    dy, rest = m.graph.add("concat_backward", [whole], {"dim": 3, "sizes": (20, 16)})
    weight = m.constant(20, 24, size, size)
    dx = m.graph.add("conv2d_input", [weight, dy], {**geometry, "shape": (2, 8, 7, 24)})[0]
    wgrad = {**geometry, "shape": (20, 24, size, size)}
    if algorithm == "winograd6":
        wgrad["algorithm"] = "winograd"
    dw = m.graph.add("conv2d_weight", [b, dy], wgrad)[0]
    dump = m.compare(randn(2, 8, 7, 8), dx, dw, m.conv(rest, 16, 4), rtol=2e-5)
    assert dump.count("in_place") == 2


def test_bfloat16() -> None:
    pytest.importorskip("ml_dtypes")
    m = Maker(2, 6, 5, 20)
    a, b, c = m.conv(m.x, 20, 24), m.conv(m.x, 20, 17, 3), m.pool(m.x)
    m.graph.set_outputs([m.conv(m.norm(m.join(a, b, c), 61), 61, 8)])
    expected = _core.Program(m.graph).run([randn(2, 6, 5, 20)])[0][0]
    m.graph.run_pass("store_bfloat16")
    (want,) = _core.Program(m.graph).run([randn(2, 6, 5, 20)])[0]
    m.graph.run_pass("join_in_place")
    assert "bfloat16 (2, 6, 5, 17 of 61)" in m.graph.dump()
    (got,) = _core.Program(m.graph).run([randn(2, 6, 5, 20)])[0]
    np.testing.assert_array_equal(got, want)
    assert np.abs(got - expected).max() < 0.05 * np.abs(expected).max()


@pytest.mark.parametrize("seed", range(20))
def test_random_graphs(seed: int) -> None:
    rng = np.random.default_rng(seed)
    m = Maker(2, 3, 4, 8)
    values = [(m.conv(m.x, 8, 5), 5), (m.conv(m.x, 8, 8), 8)]
    for _ in range(24):
        v, c = values[rng.integers(0, len(values))]
        what = rng.integers(0, 8)
        k = int(rng.integers(1, 9))
        if what == 0:
            made = m.conv(v, c, k), k
        elif what == 1:
            made = m.norm(v, c, bool(rng.integers(0, 2))), c
        elif what == 2:
            made = m.pool(v, ["max", "mean"][rng.integers(0, 2)]), c
        elif what == 3:
            made = m.relu(v), c
        elif what == 4 and c > 1:
            at = int(rng.integers(1, c))
            cut = m.graph.add("concat_backward", [v], {"dim": 3, "sizes": (at, c - at)})
            values.append((cut[0], at))
            made = cut[1], c - at
        else:
            some = [
                values[i]
                for i in rng.integers(max(0, len(values) - 6), len(values), rng.integers(1, 4))
            ]
            made = m.join(*(s for s, _ in some)), sum(c for _, c in some)
            if made[1] > 64:
                continue
        values.append(made)
    results = [m.relu(v) for v, _ in (values[i] for i in rng.integers(0, len(values), 3))]
    m.compare(randn(2, 3, 4, 8), *results, values[-1][0], rtol=1e-4)


@pytest.mark.parametrize("seed", range(40))
@pytest.mark.parametrize("shape", [(2, 3, 4, 8), (1, 1, 1, 8), (1, 3, 4, 8)], ids=str)
def test_random_graphs_of_everything(seed: int, shape: tuple[int, ...]) -> None:
    """Every dimension, both layouts, views, gradients that are added up, and joins of 256 channels."""
    rng = np.random.default_rng(seed)
    m = Maker(*shape)
    g = m.graph
    values: list[tuple[Any, tuple[int, ...]]] = [
        (m.conv(m.x, 8, k), (*shape[:3], k)) for k in (8, 128)
    ]

    def pick() -> tuple[Any, tuple[int, ...]]:
        return values[rng.integers(max(0, len(values) - 8), len(values))]

    for _ in range(26):
        v, s = pick()
        what = rng.integers(0, 10)
        c = s[-1]
        if what == 0:
            values.append((m.conv(v, c, 8), (*s[:3], 8)))
        elif what == 1:  # the same memory seen as NCHW
            k = int(rng.integers(1, 5))
            planes = {**SQUARE, "layout": "NCHW"}
            made = g.add("conv2d", [v, m.constant(k, s[1], 3, 3)], planes)[0]
            values.append((made, (s[0], k, s[2], c)))
        elif what == 2:
            kind = {
                **POOL,
                "op": "max_pool2d",
                "kind": "max",
                "layout": ["NHWC", "NCHW"][rng.integers(0, 2)],
            }
            values.append((g.add("pool2d", [v], kind)[0], s))
        elif what == 3:
            values.append((m.relu(v), s))
        elif what == 4:
            flat = (s[0], 1, s[1] * s[2], c)
            values.append((g.add("reshape", [v], {"shape": flat})[0], flat))
        elif what == 5:
            dim = int(rng.integers(0, 4))
            if s[dim] > 1:
                at = int(rng.integers(1, s[dim]))
                cut = g.add("concat_backward", [v], {"dim": dim, "sizes": (at, s[dim] - at)})
                for piece, n in zip(cut, (at, s[dim] - at), strict=True):
                    values.append((piece, (*s[:dim], n, *s[dim + 1 :])))
        elif what == 6:
            mean, invstd = (g.constant(np.full(c, x), "stat") for x in (0.1, 0.9))
            dy = [w for w, t in values if t == s]
            others = [w for w, t in values if t == s]
            operands = [
                dy[rng.integers(0, len(dy))],
                v,
                mean,
                invstd,
                m.constant(c),
                m.constant(c),
                None,
            ]
            if rng.integers(0, 2):
                operands.append(others[rng.integers(0, len(others))])
            attributes = {"layout": "NHWC", "relu": False, "training": False}
            values.append((g.add("batch_norm_backward", operands, attributes)[0], s))
        elif what == 7:
            values.append((m.norm(v, c), s))
        else:
            dim = int(rng.integers(0, 4))
            like = [e for e in values if e[1][:dim] == s[:dim] and e[1][dim + 1 :] == s[dim + 1 :]]
            some = [like[i] for i in rng.integers(0, len(like), rng.integers(1, 4))]
            size = sum(t[dim] for _, t in some)
            if size <= 300 and np.prod(s) / s[dim] * size < 20000:
                values.append(
                    (m.join(*(w for w, _ in some), dim=dim), (*s[:dim], size, *s[dim + 1 :]))
                )
    results = [m.relu(values[i][0]) for i in rng.integers(0, len(values), 4)]
    m.compare(randn(*shape), *results, values[-1][0], rtol=1e-3)


@pytest.mark.parametrize("dim", [1, 2, 3])
@pytest.mark.parametrize("widths", [(3, 4), (24, 40)], ids=["planes", "channels last"])
def test_joins_along_every_dimension(dim: int, widths: tuple[int, int]) -> None:
    """Of networks that stay NCHW, and of others; forward and backward."""

    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            a, b = widths if dim == 1 else (widths[0], widths[0])
            self.a, self.b = nn.Conv2d(3, a, 3, padding=1), nn.Conv2d(3, b, 3, padding=1)
            self.norm = nn.BatchNorm2d(a + b if dim == 1 else a)
            self.c = nn.Conv2d(a + b if dim == 1 else a, 5, 1)

        def forward(self, x: Any) -> Any:
            joined = F.cat([F.max_pool2d(self.a(x), 2), F.max_pool2d(F.relu(self.b(x)), 2)], dim)
            return F.adaptive_avg_pool2d(self.c(F.relu(self.norm(joined))), 1)

    fc.manual_seed(0)
    net, x = Net(), randn(2, 3, 8, 8)
    twin = copy.deepcopy(net)
    y = np.asarray(net.eval()(fc.tensor(x)))
    np.testing.assert_allclose(fc.compile(net, x)(x), y, rtol=1e-4, atol=1e-5)
    losses = []
    for n, compiled in ((net, True), (twin, False)):
        optimizer = fc.optim.SGD(n.parameters(), lr=0.1)
        trainer = Trainer(n, lambda y, t: F.mse_loss(y, t), optimizer, compile=compiled)
        losses.append([trainer.step(x, np.ones((2, 5, 1, 1), np.float32)) for _ in range(3)])
        assert (trainer._program is not None) == compiled
    np.testing.assert_allclose(losses[0], losses[1], rtol=1e-4)


class Siamese(nn.Module):
    """Two crops as one batch, and what is made of them joined to it."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Conv2d(3, 128, 1), nn.Conv2d(3, 128, 1)
        self.norm, self.c = nn.BatchNorm2d(128), nn.Conv2d(128, 128, 1)

    def forward(self, x: Any) -> Any:
        both = F.cat([self.a(x), self.b(x)], 0)
        dense = F.cat([both, self.c(F.relu(self.norm(both)))], 1)
        wide = F.cat([self.a(x), self.b(x)], 1)
        return F.adaptive_avg_pool2d(F.cat([dense, wide, wide], 0), 1)


def test_joins_of_joins_along_other_dimensions() -> None:
    fc.manual_seed(0)
    net, x = Siamese(), randn(2, 3, 4, 4)
    y = np.asarray(net.eval()(fc.tensor(x)))
    np.testing.assert_allclose(fc.compile(net, x)(x), y, rtol=1e-4, atol=1e-5)
    twin = copy.deepcopy(net)
    losses = []
    for n, compiled in ((net, True), (twin, False)):
        optimizer = fc.optim.SGD(n.parameters(), lr=0.1)
        trainer = Trainer(n, lambda y, t: F.mse_loss(y, t), optimizer, compile=compiled)
        losses.append([trainer.step(x, np.ones((8, 256, 1, 1), np.float32)) for _ in range(3)])
        assert (trainer._program is not None) == compiled
    np.testing.assert_allclose(losses[0], losses[1], rtol=1e-4)


class Tail(nn.Module):
    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def forward(self, x: Any) -> Any:
        return F.adaptive_avg_pool2d(self.net(x), 1)


def blocks() -> dict[str, nn.Module]:
    inception = _blocks.Inception(12, 20, 8, 24, 4, 8, 8)
    dense = nn.Sequential(
        nn.Conv2d(12, 16, 1, bias=False), nn.MaxPool2d(2),
        *(_blocks.DenseLayer(16 + 8 * i, 8) for i in range(3)), nn.BatchNorm2d(40),
    )  # fmt: skip
    return {"inception": inception, "dense": dense}


@pytest.mark.parametrize("name", ["inception", "dense"])
def test_a_training_step_copies_nothing(name: str) -> None:
    """Neither joining nor cutting, but for the first of a dense block's gradients, which pooling reads."""
    net = Tail(blocks()[name])
    step = TrainingStep(net, lambda y, t: F.mse_loss(y, t), fc.optim.SGD(net.parameters(), lr=0.1))
    x = randn(3, 12, 12, 12)
    with fc.no_grad():
        target = np.zeros(net(x).shape, np.float32)
    dump = step.plan(x, target).dump(None)
    lines = [line for line in dump.splitlines() if re.search(r"= concat(_backward)?\(", line)]
    copied = [line for line in lines if "in_place" not in line]
    assert len(lines) == (2 if name == "inception" else 6)
    assert all("concat_backward" in line for line in copied)
    assert len(copied) == (0 if name == "inception" else 1)
    if name == "dense":
        assert dump.count("batch_norm_backward") == 7 and " add" not in dump


def test_a_line_goes_into_the_load() -> None:
    """Batch-norm before 1x1 convolutions is not stored, neither forward nor for the gradient of the weight."""
    net = Tail(nn.Sequential(nn.MaxPool2d(2), _blocks.DenseLayer(48, 24), nn.BatchNorm2d(72), nn.ReLU(),
                             nn.Conv2d(72, 72, 1)))  # fmt: skip
    step = TrainingStep(net, lambda y, t: F.mse_loss(y, t), fc.optim.SGD(net.parameters(), lr=0.1))
    x = randn(2, 48, 12, 12)
    with fc.no_grad():
        target = np.zeros(net(x).shape, np.float32)
    plan = step.plan(x, target)
    before, after = plan.dump("fuse_gradient_sum"), plan.dump("fuse_batch_norm_load")
    assert "batch_norm_line" not in before and after.count("batch_norm_line") == 2
    assert after.count("line_relu=true") == 4
    norms = re.findall(r"= batch_norm\(", after)
    assert len(norms) == 2 and after.count("batch_norm_apply") == 1  # in front of the 3x3


def test_a_line_stays_out_of_other_loads() -> None:
    net = nn.Sequential(
        nn.MaxPool2d(2), nn.BatchNorm2d(32), nn.ReLU(), nn.Conv2d(32, 32, 3, padding=1)
    )
    prog = fc.compile(net.eval(), randn(1, 32, 56, 56))
    assert "batch_norm_line" not in prog.dump()
