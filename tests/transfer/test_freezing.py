"""freeze and unfreeze: what learns, and which statistics move, step by step and compiled."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pytest

import fastconv as fc
import fastconv.functional as F
from fastconv import nn, transfer
from fastconv.train import Trainer


def small_net() -> nn.Sequential:
    fc.manual_seed(3)
    return nn.Sequential(
        nn.Conv2d(2, 4, 3, padding=1),
        nn.BatchNorm2d(4),
        nn.ReLU(),
        nn.Conv2d(4, 5, 3),
        nn.BatchNorm2d(5),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(5 * 16, 3),
    )


def batch(count: int = 8) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    rng = np.random.default_rng(0)
    return rng.normal(1.0, 2.0, (count, 2, 6, 6)).astype(np.float32), np.arange(count) % 3


def copied(net: nn.Module) -> dict[str, np.ndarray[Any, Any]]:
    return {name: array.copy() for name, array in net.state_dict().items()}


def changed(before: dict[str, Any], net: nn.Module) -> set[str]:
    return {k for k, v in net.state_dict().items() if not np.array_equal(v, before[k])}


@pytest.mark.parametrize("compile", [True, False])
@pytest.mark.parametrize("until,first", [("1", 3), ("2", 3), ("3", 4), ("0", 1), (None, 8)])
def test_what_a_step_changes(until: str | None, first: int, compile: bool) -> None:
    net = small_net()
    optimizer = fc.optim.Adam(net.parameters(), lr=0.01)
    assert transfer.freeze(net, until) is net
    before = copied(net)
    if until is None:
        transfer.unfreeze(net[7])
        first = 7
    trainer = Trainer(net, F.cross_entropy, optimizer, compile=compile)
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # a step that cannot be recorded says so
        for _ in range(2):
            trainer.step(*batch())
    # A bias in front of a norm by the batch's statistics has a gradient of rounding errors only.
    moved = changed(before, net) - {"0.bias", "3.bias"}
    expected = {k for k in before if int(k.partition(".")[0]) >= first} - {"0.bias", "3.bias"}
    assert moved == expected


@pytest.mark.parametrize("compile", [True, False])
def test_frozen_norms_run_on_their_statistics_in_training_mode(compile: bool) -> None:
    net = small_net()
    rng = np.random.default_rng(1)
    for layer in (net[1], net[4]):
        layer.running_mean.numpy()[...] = rng.normal(size=layer.num_features)
        layer.running_var.numpy()[...] = rng.uniform(0.5, 2, layer.num_features)
    x, _ = batch()
    expected = net.eval()(fc.tensor(x)).numpy()
    transfer.freeze(net)
    got = net.train()(fc.tensor(x)).numpy()
    np.testing.assert_allclose(got, expected, rtol=1e-5, atol=1e-5)
    transfer.unfreeze(net[7])
    trainer = Trainer(net, F.cross_entropy, fc.optim.SGD(net.parameters(), lr=0.0), compile=compile)
    loss = trainer.step(*batch())
    logits = expected.astype(np.float64)
    logits -= logits.max(1, keepdims=True)
    chosen = logits[np.arange(8), batch()[1]] - np.log(np.exp(logits).sum(1))
    assert loss == pytest.approx(-chosen.mean(), rel=1e-5)


def test_freezing_between_steps_takes_effect() -> None:
    net = small_net()
    trainer = Trainer(net, F.cross_entropy, fc.optim.SGD(net.parameters(), lr=0.1))
    trainer.step(*batch())
    transfer.freeze(net, "4")
    before = copied(net)
    trainer.step(*batch())
    assert changed(before, net) == {"7.weight", "7.bias"}
    transfer.unfreeze(net, "3")
    before = copied(net)
    trainer.step(*batch())
    moved = changed(before, net)
    assert not {k for k in moved if k[0] in "01"}
    assert {"3.weight", "4.running_mean", "4.num_batches_tracked", "7.weight"} <= moved


def test_auxiliary_classifiers_are_not_in_front() -> None:
    with fc.no_grad():
        net = fc.models.googlenet(num_classes=3)
    transfer.freeze(net, "inception5b")
    learning = {n.partition(".")[0] for n, p in net.named_parameters() if p.requires_grad}
    assert learning == {"aux1", "aux2", "fc"}
    assert net.inception5b.branch1.bn.frozen and not net.aux1.conv.bn.frozen
    transfer.freeze(net)
    transfer.unfreeze(net, "inception5b")
    learning = {n.partition(".")[0] for n, p in net.named_parameters() if p.requires_grad}
    assert learning == {"inception5b", "aux1", "aux2", "fc"}


class Reversed(nn.Module):
    """Layers that are defined in another order than they run in."""

    def __init__(self) -> None:
        super().__init__()
        self.last = nn.Linear(3, 2)
        self.first = nn.Linear(4, 3)
        self.unused = nn.Linear(1, 1)

    def forward(self, x: Any) -> Any:
        return self.last(F.relu(self.first(x)))


def test_order_of_a_run() -> None:
    net = transfer.freeze(Reversed(), "first", input_shape=(1, 4))
    assert {n for n, p in net.named_parameters() if not p.requires_grad} == {
        "first.weight",
        "first.bias",
    }
    net = transfer.freeze(Reversed(), "first")
    assert not net.last.weight.requires_grad
    net = transfer.unfreeze(transfer.freeze(Reversed()), "last", input_shape=(1, 4))
    assert net.last.weight.requires_grad and not net.first.weight.requires_grad
    assert all(part.training for part in net.modules())
    with pytest.raises(fc.ShapeError, match="freeze: 'unused' is not used in a run"):
        transfer.freeze(net, "unused", input_shape=(1, 4))


def test_summary_says_what_is_frozen() -> None:
    net = transfer.freeze(small_net(), "3")
    table = net.summary((1, 2, 6, 6))
    assert [row.frozen for row in table.layers if row.parameters] == [True] * 3 + [False] * 2
    assert table.trainable == 10 + 5 * 16 * 3 + 3
    assert "0 (Conv2d), frozen" in str(table) and "7 (Linear), frozen" not in str(table)


def test_networks_from_onnx_files() -> None:
    pytest.importorskip("onnx")
    model = fc.onnx.export(small_net(), None, batch()[0])
    net = nn.Sequential(fc.onnx.load(model.SerializeToString()), nn.Linear(3, 3))
    assert any("running_mean" in name for name in net.state_dict())
    transfer.freeze(net[0])
    before = copied(net)
    trainer = Trainer(net, F.cross_entropy, fc.optim.SGD(net.parameters(), lr=0.01))
    trainer.step(*batch())
    assert changed(before, net) == {"1.weight", "1.bias"}
    transfer.unfreeze(net)
    trainer.step(*batch())
    assert len(changed(before, net)) > 8


def test_errors() -> None:
    net = small_net()
    with pytest.raises(fc.ShapeError, match=r"freeze: there is no layer named 'conv9'; .* 0, 1"):
        transfer.freeze(net, "conv9")
    with pytest.raises(fc.DTypeError, match="freeze: a layer's name must be a string, got int"):
        transfer.freeze(net, 3)  # type: ignore[arg-type]
    with pytest.raises(fc.DTypeError, match="unfreeze: expected a Module, got list"):
        transfer.unfreeze([])  # type: ignore[type-var]
    with pytest.raises(fc.ShapeError, match=r"input_shape\[0\]"):
        transfer.freeze(net, "3", input_shape=(0, 2, 6, 6))
    assert all(p.requires_grad for p in net.parameters())
