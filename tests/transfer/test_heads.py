"""replace_head, extract_features and param_groups."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

import fastconv as fc
import fastconv.functional as F
from fastconv import models, nn, transfer
from fastconv.data import ArrayDataset, Loader
from fastconv.train import Trainer
from tests.transfer.test_freezing import batch, small_net

FAMILIES = (
    "lenet5",
    "mnist_cnn",
    "mnist_cnn_improved",
    "alexnet",
    "vgg11",
    "vgg11_bn",
    "googlenet",
    "inception_v3",
    "resnet18",
    "resnet20",
    "resnet50",
    "resnext50_32x4d",
    "wide_resnet50_2",
    "densenet121",
    "densenet_cifar",
    "mobilenet_v2",
    "squeezenet1_0",
    "squeezenet1_1",
)


def build(name: str) -> Any:
    from fastconv.nn._drawing import undrawn

    builder = getattr(models, name)
    with undrawn():
        return builder()


@pytest.mark.parametrize("name", FAMILIES)
def test_every_family_gets_a_new_head(name: str) -> None:
    net = transfer.freeze(build(name))
    shape = models.info(name).input_shape if name in models.list() else (3, 32, 32)
    before = {k: v.shape for k, v in net.state_dict().items()}
    assert transfer.replace_head(net, 7) is net
    after = {k: v.shape for k, v in net.state_dict().items()}
    assert list(before) == list(after)
    heads = transfer.find_heads(net)
    assert len(heads) == {"googlenet": 3, "inception_v3": 2}.get(name, 1)
    named = {f"{n}.{p}" for n, _ in heads for p in ("weight", "bias")}
    assert {k for k in after if after[k] != before[k]} == named
    assert {n for n, p in net.named_parameters() if p.requires_grad} == named
    rows = net.summary((2, *shape)).layers
    assert math.prod(rows[-1].output_shape) == 2 * 7 or rows[-1].output_shape == (2, 7)


def test_a_new_head_keeps_what_the_old_one_had() -> None:
    net = nn.Sequential(
        nn.Conv2d(2, 4, 3, layout="NHWC", dtype="float64"),
        nn.Conv2d(4, 5, 1, bias=False, layout="NHWC", dtype="float64"),
    ).eval()
    transfer.replace_head(net, 9)
    head = net[1]
    assert (head.out_channels, head.bias, head.layout) == (9, None, "NHWC")
    assert head.weight.dtype == np.float64 and not head.training
    assert net(np.zeros((1, 5, 5, 2))).shape == (1, 3, 3, 9)
    assert np.ptp(head.weight.numpy()) > 0.1


def test_heads_that_are_refused() -> None:
    with pytest.raises(
        fc.ShapeError, match=r"replace_head: .* is '0', a Conv2d; expected a Linear"
    ):
        transfer.replace_head(nn.Sequential(nn.Conv2d(1, 2, 3), nn.ReLU()), 2)
    with pytest.raises(fc.ShapeError, match="'1', a BatchNorm1d"):
        transfer.replace_head(nn.Sequential(nn.Linear(1, 2), nn.BatchNorm1d(2)), 2)
    with pytest.raises(fc.ShapeError, match="has no layer with parameters"):
        transfer.replace_head(nn.Sequential(nn.ReLU()), 2)
    with pytest.raises(fc.ShapeError, match="single Linear"):
        transfer.replace_head(nn.Linear(2, 3), 2)
    with pytest.raises(fc.ShapeError, match="num_classes"):
        transfer.replace_head(small_net(), 0)
    many = nn.MultiTask(nn.Flatten(), {"a": nn.Linear(2, 2), "b": nn.Linear(2, 3)})
    with pytest.raises(fc.ShapeError, match="head for each of several tasks"):
        transfer.replace_head(many, 2)


def test_features_are_the_layers_results() -> None:
    net = small_net()
    rng = np.random.default_rng(4)
    x = rng.normal(size=(11, 2, 6, 6)).astype(np.float32)
    for layer, stop in ((None, 7), ("3", 4), ("4", 5), ("7", 8), ("", 8)):
        expected: Any = fc.tensor(x)
        net.eval()
        for part in list(net)[:stop]:
            expected = part(expected)
        net.train()
        got = transfer.extract_features(net, x, layer, batch_size=4)
        np.testing.assert_allclose(got, expected.numpy(), rtol=1e-5, atol=1e-5)
        assert net.training and all("forward" not in vars(part) for part in net.modules())


def test_features_of_data_sets_and_loaders() -> None:
    net = small_net()
    images = np.random.default_rng(4).integers(0, 256, (9, 2, 6, 6), np.uint8)
    data = ArrayDataset(images, np.zeros(9, np.int64), mean=(0.5,), std=(0.2,))
    expected = transfer.extract_features(net, (images / 255 - 0.5).astype(np.float32) / 0.2)
    assert expected.shape == (9, 80)
    for given in (data, Loader(data, 4), list(Loader(data, 5))):
        got = transfer.extract_features(net, given, batch_size=2)
        np.testing.assert_allclose(got, expected, rtol=1e-4, atol=1e-4)
    wide = small_net().double()
    assert transfer.extract_features(wide, images.astype(np.float64)).dtype == np.float64


def test_features_stop_at_their_layer() -> None:
    class Fails(nn.Module):
        def forward(self, x: Any) -> Any:
            raise AssertionError("not to be run")

    net = nn.Sequential(nn.Conv2d(2, 3, 1), nn.ReLU(), Fails())
    assert transfer.extract_features(net, batch()[0], "1").shape == (8, 3, 6, 6)
    with pytest.raises(fc.ShapeError, match="extract_features: there is no layer named '5'"):
        transfer.extract_features(net, batch()[0], "5")
    with pytest.raises(fc.ShapeError, match="batch_size must be at least 1"):
        transfer.extract_features(net, batch()[0], "1", batch_size=0)
    with pytest.raises(fc.DTypeError, match="expected a Module"):
        transfer.extract_features(3, batch()[0])  # type: ignore[arg-type]


def test_a_layer_that_is_not_used() -> None:
    class Spare(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.spare, self.used = nn.Linear(2, 2), nn.Linear(6, 2)

        def forward(self, x: Any) -> Any:
            return self.used(x)

    with pytest.raises(fc.ShapeError, match="not used in a run"):
        transfer.extract_features(Spare(), batch()[0], "spare")


def test_rates_fall_from_the_head_to_the_input() -> None:
    net = small_net()
    groups = transfer.param_groups(net, 0.1, 0.5)
    assert [g["lr"] for g in groups] == [0.025, 0.05, 0.1]
    assert [len(g["params"]) for g in groups] == [4, 4, 2]  # norms with their convolutions
    assert groups[0]["params"][0] is net[0].weight
    transfer.freeze(net, "0")
    groups = transfer.param_groups(net, 0.1, 0.5)
    assert [(g["lr"], len(g["params"])) for g in groups] == [(0.025, 2), (0.05, 4), (0.1, 2)]
    every = transfer.param_groups(build("googlenet"), 1.0, 0.5)
    assert every[-1]["lr"] == 1.0 and len(every[-1]["params"]) == 2 + 2 * 7
    assert sum(len(g["params"]) for g in every) == len(list(build("googlenet").parameters()))
    transfer.freeze(net)
    with pytest.raises(fc.ShapeError, match="no parameter of the network learns"):
        transfer.param_groups(net, 0.1)
    with pytest.raises(fc.ShapeError, match="decay"):
        transfer.param_groups(net, 0.1, 1.5)
    with pytest.raises(fc.ShapeError, match="decay must be above 0"):
        transfer.param_groups(net, 0.1, 0.0)


@pytest.mark.parametrize("compile", [True, False])
def test_groups_step_at_their_rates_under_a_schedule(compile: bool) -> None:
    """Plain SGD: each parameter moves by its group's rate times its gradient."""
    net = small_net().double()
    x, labels = batch()
    groups = transfer.param_groups(net, 0.2, 0.5)
    optimizer = fc.optim.SGD(groups, lr=1.0)
    schedule = fc.optim.StepLR(optimizer, 1, gamma=0.1)
    trainer = Trainer(
        net, F.cross_entropy, optimizer, schedule=schedule, dtype="float64", compile=compile
    )
    for factor in (1.0, 0.1):
        before = {n: p.numpy().copy() for n, p in net.named_parameters()}
        state = {k: v.copy() for k, v in net.state_dict().items()}
        twin = small_net().double()
        twin.load_state_dict(state)
        F.cross_entropy(twin(fc.tensor(x.astype(np.float64))), labels).backward()
        trainer.step(x, labels)
        for name, p in twin.named_parameters():
            rate = {"0": 0.05, "1": 0.05, "3": 0.1, "4": 0.1, "7": 0.2}[name[0]] * factor
            moved = before[name] - dict(net.named_parameters())[name].numpy()
            np.testing.assert_allclose(moved, rate * p.grad.numpy(), rtol=1e-9, atol=1e-13)
