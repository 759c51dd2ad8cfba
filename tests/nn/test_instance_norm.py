"""Running statistics of instance normalisation: against PyTorch and plain sums, in training and evaluation."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import fastconv as fc
import fastconv.functional as F
from fastconv import nn
from fastconv.train import Trainer
from tests.support import assert_close, randn, rng

SHAPES = {1: (3, 4, 7), 2: (3, 4, 5, 6), 3: (2, 4, 3, 4, 5)}


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("count", [1, 2, 3])
def test_statistics_are_the_examples_averaged(count: int, dtype: str) -> None:
    x = (2 * randn(rng(count), *SHAPES[count]) + 3).astype(dtype)
    layer = getattr(nn, f"InstanceNorm{count}d")(
        4, momentum=0.25, track_running_stats=True, dtype=dtype
    )
    layer(x)
    rows = x.reshape(*x.shape[:2], -1).astype(np.float64)
    mean, var = rows.mean(2).mean(0), rows.var(2, ddof=1).mean(0)
    tol = 1e-6 if dtype == "float32" else 1e-14
    assert_close(layer.running_mean.numpy(), 0.25 * mean, tol)
    assert_close(layer.running_var.numpy(), 0.75 + 0.25 * var, tol)


@pytest.mark.parametrize("layout", ["NCHW", "NHWC"])
@pytest.mark.parametrize("affine", [False, True])
@pytest.mark.parametrize("count", [1, 2, 3])
def test_against_torch(count: int, affine: bool, layout: str) -> None:
    torch = pytest.importorskip("torch")
    options: dict[str, Any] = {"momentum": 0.3, "affine": affine, "track_running_stats": True}
    theirs = getattr(torch.nn, f"InstanceNorm{count}d")(4, **options)
    ours = getattr(nn, f"InstanceNorm{count}d")(4, layout=layout, **options)
    assert list(ours.state_dict()) == list(theirs.state_dict())

    def both(x: Any) -> None:
        given = np.moveaxis(x, -count - 1, -1) if layout == "NHWC" else x
        got = np.asarray(ours(np.ascontiguousarray(given)))
        got = np.moveaxis(got, -1, -count - 1) if layout == "NHWC" else got
        assert_close(got, theirs(torch.from_numpy(x)).detach().numpy(), 3e-6)
        for key, value in theirs.state_dict().items():
            assert_close(ours.state_dict()[key], value.numpy(), 1e-6, key)

    for seed in range(3):
        both(1.5 * randn(rng(seed), *SHAPES[count]) + seed)
    both(randn(rng("one"), *SHAPES[count][1:]))
    ours.eval(), theirs.eval()
    both(randn(rng("evaluation"), *SHAPES[count]))
    both(randn(rng("evaluation of one"), *SHAPES[count][1:]))


def test_no_momentum_leaves_them_alone() -> None:
    layer = nn.InstanceNorm1d(2, momentum=None, track_running_stats=True)
    layer(randn(rng(0), 2, 2, 5))
    np.testing.assert_array_equal(layer.running_mean.numpy(), 0)  # type: ignore[union-attr]
    np.testing.assert_array_equal(layer.running_var.numpy(), 1)  # type: ignore[union-attr]
    layer.running_mean.numpy()[...] = 5  # type: ignore[union-attr]
    layer.reset_parameters()
    np.testing.assert_array_equal(layer.running_mean.numpy(), 0)  # type: ignore[union-attr]


def test_function_updates_in_place_and_differentiates_as_without() -> None:
    x = randn(rng("f"), 2, 3, 6)
    mean, var = np.zeros(3, np.float32), np.ones(3, np.float32)
    tensors = [fc.tensor(x, requires_grad=True) for _ in range(2)]
    seed = randn(rng("seed"), *x.shape)
    F.instance_norm(tensors[0], mean, var).backward(seed)
    F.instance_norm(tensors[1]).backward(seed)
    np.testing.assert_array_equal(tensors[0].grad, tensors[1].grad)
    assert_close(mean, 0.1 * x.mean((0, 2)), 1e-6)
    mean.flags.writeable = False
    with pytest.raises(fc.ShapeError, match=r"^instance_norm: running statistics are read-only"):
        F.instance_norm(x, mean, var)


def test_bfloat16_beside_float32_statistics() -> None:
    x = randn(rng("b"), 2, 3, 8)
    layer = nn.InstanceNorm1d(3, track_running_stats=True)
    layer(fc.tensor(x).astype("bfloat16"))
    layer.running_mean.numpy()  # type: ignore[union-attr]
    narrow = np.asarray(fc.tensor(x).astype("bfloat16").numpy(), np.float32)
    assert_close(layer.running_mean.numpy(), 0.1 * narrow.mean((0, 2)), 1e-6)  # type: ignore[union-attr]


def test_training_steps_and_programs() -> None:
    x = randn(rng("steps"), 4, 3, 8, 8)
    labels = np.array([0, 1, 2, 1])
    nets = []
    for compiled in (True, False):
        fc.manual_seed(5)
        net = nn.Sequential(
            nn.Conv2d(3, 20, 3),
            nn.InstanceNorm2d(20, affine=True, track_running_stats=True),
            nn.ReLU(),
            nn.Conv2d(20, 3, 6),
            nn.Flatten(),
        )
        trainer = Trainer(
            net, nn.CrossEntropyLoss(), fc.optim.SGD(net.parameters(), lr=0.1), compile=compiled
        )
        for _ in range(3):
            trainer.step(x, labels)
        nets.append(net)
    for key, value in nets[0].state_dict().items():
        assert_close(value, nets[1].state_dict()[key], 2e-5, key)
    assert np.abs(nets[0][1].running_mean.numpy()).max() > 0.01
    with pytest.raises(fc.CaptureError, match="training mode"):
        fc.compile(nets[0].train(), x)
    net = nets[0].eval()
    assert_close(fc.compile(net, x)(x), np.asarray(net(x)), 1e-5)
