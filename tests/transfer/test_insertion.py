"""insert_batch_norm: outputs stay, statistics are those of the data, training goes on."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import fastconv as fc
import fastconv.functional as F
from fastconv import models, nn, transfer
from fastconv.data import ArrayDataset
from fastconv.train import Trainer


def plain_net(dtype: Any = None) -> nn.Sequential:
    fc.manual_seed(1)
    return nn.Sequential(
        nn.Sequential(nn.Conv2d(3, 8, 3, padding=1, dtype=dtype), nn.ReLU(), nn.MaxPool2d(2)),
        nn.Conv2d(8, 6, 3, stride=2, bias=False, dtype=dtype),
        nn.Tanh(),
        nn.Flatten(),
        nn.Linear(6 * 9, 5, dtype=dtype),
    )


def images(count: int = 70, size: int = 16) -> Any:
    rng = np.random.default_rng(2)
    return (rng.normal(size=(count, 3, size, size)) * [[[[1]], [[3]], [[0.2]]]] + 1).astype("f4")


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_outputs_stay(dtype: str) -> None:
    x = images().astype(dtype)
    net = plain_net(dtype).eval()
    before = net(fc.tensor(x)).numpy()
    assert transfer.insert_batch_norm(net, x) is net and not net.training
    assert isinstance(net[0][1], nn.BatchNorm2d) and isinstance(net[2], nn.BatchNorm2d)
    after = net(fc.tensor(x)).numpy()
    limit = 1e-5 if dtype == "float32" else 1e-13
    assert np.abs(after - before).max() <= limit * np.abs(before).max()
    program = fc.compile(net, x)
    assert np.abs(program(x) - before).max() <= limit * np.abs(before).max()


def test_statistics_are_those_of_the_data() -> None:
    x = images().astype(np.float64)
    net = plain_net("float64")
    transfer.insert_batch_norm(net, x, eps=1e-3, momentum=0.3)
    conv, norm = net[0][0], net[0][1]
    padded = np.pad(x, ((0, 0), (0, 0), (1, 1), (1, 1)))
    windows = np.lib.stride_tricks.sliding_window_view(padded, (3, 3), (2, 3))
    y = np.einsum("nchwij,kcij->knhw", windows, conv.weight.numpy()).reshape(8, -1)
    y += conv.bias.numpy()[:, np.newaxis]
    np.testing.assert_allclose(norm.running_mean.numpy(), y.mean(1), rtol=1e-9)
    np.testing.assert_allclose(norm.running_var.numpy(), y.var(1, ddof=1), rtol=1e-9)
    np.testing.assert_allclose(norm.weight.numpy() ** 2, y.var(1, ddof=1) + 1e-3, rtol=1e-9)
    np.testing.assert_array_equal(norm.bias.numpy(), norm.running_mean.numpy())
    assert (norm.eps, norm.momentum, int(norm.num_batches_tracked.item())) == (1e-3, 0.3, 0)
    assert net.training and norm.training


def test_vgg_becomes_its_own_variant_with_norms() -> None:
    fc.manual_seed(0)
    net = models.vgg11(num_classes=3).eval()
    x = images(6, 32)
    before = net(fc.tensor(x)).numpy()
    transfer.insert_batch_norm(net, ArrayDataset(x, np.zeros(6, np.int64)))
    after = net(fc.tensor(x)).numpy()
    assert np.abs(after - before).max() <= 1e-5 * np.abs(before).max()
    from fastconv.nn._drawing import undrawn

    with undrawn():
        twin = models.vgg11_bn(num_classes=3)
    assert net.name == twin.name
    twin.load_state_dict(net.state_dict())
    np.testing.assert_array_equal(twin.eval()(fc.tensor(x)).numpy(), after)


@pytest.mark.parametrize("name", ["lenet5", "mnist_cnn", "alexnet"])
def test_networks_of_the_zoo(name: str) -> None:
    fc.manual_seed(0)
    net = getattr(models, name)().eval()
    shape = models.info(name).input_shape if name != "alexnet" else (3, 70, 70)
    x = np.random.default_rng(0).normal(0.4, 1, (5, *shape)).astype(np.float32)
    before = net(fc.tensor(x)).numpy()
    transfer.insert_batch_norm(net, x)
    after = net(fc.tensor(x)).numpy()
    assert sum(isinstance(m, nn.BatchNorm2d) for m in net.modules()) >= 2
    assert np.abs(after - before).max() <= 1e-5 * np.abs(before).max()
    if name == "lenet5":
        assert [k for k, _ in net.named_children()][:3] == ["conv1", "conv1_norm", "tanh1"]


def test_dead_channels_and_channels_last() -> None:
    net = nn.Sequential(
        nn.Conv2d(3, 4, 3, layout="NHWC"), nn.ReLU(), nn.Conv2d(4, 2, 1, layout="NHWC")
    )
    net[0].weight.numpy()[1] = 0
    x = images(4, 8).transpose(0, 2, 3, 1).copy()
    before = net.eval()(fc.tensor(x)).numpy()
    transfer.insert_batch_norm(net, x)
    assert len(net) == 4 and net[1].layout == "NHWC"  # the last convolution gives the scores
    after = net(fc.tensor(x)).numpy()
    assert np.abs(after - before).max() <= 1e-5 * np.abs(before).max()


def test_it_trains_on() -> None:
    x = images(32)
    labels = (np.arange(32) % 5).astype(np.int64)
    net = transfer.insert_batch_norm(plain_net(), x)
    trainer = Trainer(net, F.cross_entropy, fc.optim.SGD(net.parameters(), lr=0.05, momentum=0.9))
    first = trainer.step(x, labels)
    last = [trainer.step(x, labels) for _ in range(40)][-1]
    assert last < 0.3 * first
    assert int(net[2].num_batches_tracked.item()) == 41


class Twice(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(3, 3, 3, padding=1), nn.ReLU())
        self.fc = nn.Linear(3, 2)

    def forward(self, x: Any) -> Any:
        return self.fc(F.mean(self.body(self.body(x)), (2, 3)))


def test_what_is_refused_and_leaves_the_network_alone() -> None:
    x = images(4)
    residual = models.resnet18()
    for net, match in (
        (residual, "convolution 'conv1' stands in a ResNet"),
        (models.squeezenet1_1(num_classes=2), "'features.3.squeeze' stands in a _Fire"),
        (Twice(), "'body.0' is called 2 times in 1 runs"),
        (nn.Sequential(nn.Flatten(), nn.Linear(3, 2)), "has no Conv2d"),
        (nn.Sequential(nn.Conv2d(3, 2, 1), nn.BatchNorm2d(2)), "is followed by batch norm"),
    ):
        before = list(net.state_dict())
        with pytest.raises(fc.ShapeError, match=f"insert_batch_norm: .*{match}"):
            transfer.insert_batch_norm(net, x)
        assert list(net.state_dict()) == before and net.training
        assert not any(m._hooks for m in net.modules())
    for data, match in (
        (x[0], "data must be images"),
        (np.zeros((1, 3, 16, 16), np.int64), "data must be images"),
        (x[:0], "expected at least 2"),
    ):
        with pytest.raises(fc.ShapeError, match=f"insert_batch_norm: .*{match}"):
            transfer.insert_batch_norm(plain_net(), data)
    for value in (np.nan, np.inf):
        with pytest.raises(fc.FastconvError, match="on the data are not finite"):
            transfer.insert_batch_norm(plain_net(), np.full_like(x, value))
    with pytest.raises(fc.ShapeError, match="eps must be above 0"):
        transfer.insert_batch_norm(plain_net(), x, eps=0)
    with pytest.raises(fc.DTypeError, match="expected a Module"):
        transfer.insert_batch_norm(3, x)  # type: ignore[type-var]
