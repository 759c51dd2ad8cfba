"""Evaluation by a program: the same figures as function by function, and none where that cannot be."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import fastconv as fc
import fastconv.functional as F
from fastconv import nn
from fastconv.train import evaluate, predict

IMAGES = np.random.default_rng(0).standard_normal((22, 3, 9, 9)).astype(np.float32)
LABELS = np.arange(22) % 4


class Net(nn.Module):
    """Batch-norm, so that a program has something to fold."""

    def __init__(self) -> None:
        super().__init__()
        self.calls = [0]
        self.features = nn.Sequential(nn.Conv2d(3, 20, 3), nn.BatchNorm2d(20), nn.ReLU())
        self.head = nn.Linear(20, 4)

    def forward(self, x: Any) -> Any:
        self.calls[0] += 1
        return self.head(F.mean(self.features(x), (2, 3)))


@pytest.fixture
def net() -> Net:
    fc.manual_seed(3)
    made = Net()
    made(IMAGES)  # running statistics of its own
    made.calls[0] = 0
    return made


def test_evaluate(net: Net) -> None:
    data = fc.data.ArrayDataset(IMAGES, LABELS)
    loader = fc.data.Loader(data, 5)  # and a last batch of two
    plain = evaluate(net, F.cross_entropy, loader)
    assert net.calls == [5] and net.training
    fast = evaluate(net, F.cross_entropy, loader, compile=True)
    assert net.calls[0] == 7  # the first batch and the smaller one; a program runs a copy
    assert fast["accuracy"] == plain["accuracy"] and fast["images"] == plain["images"] == 22
    assert fast["loss"] == pytest.approx(plain["loss"], rel=1e-5)


def test_predict_sees_new_weights(net: Net) -> None:
    plain = predict(net, IMAGES, batch_size=8)
    np.testing.assert_allclose(
        predict(net, IMAGES, batch_size=8, compile=True), plain, rtol=1e-5, atol=1e-6
    )
    net.head.weight.numpy()[:] *= -2
    plain = predict(net, IMAGES, batch_size=8)
    np.testing.assert_allclose(
        predict(net, IMAGES, batch_size=8, compile=True), plain, rtol=1e-5, atol=1e-6
    )


def test_hooks_see_every_batch(net: Net) -> None:
    seen: list[int] = []
    net.features.register_forward_hook(lambda module, inputs, output: seen.append(len(output)))
    predict(net, IMAGES, batch_size=8, compile=True)
    assert seen == [8, 8, 6]


def test_random_numbers_are_those_of_the_network() -> None:
    class Noisy(nn.Module):
        def forward(self, x: Any) -> Any:
            return F.dropout(x, 0.5, training=True)

    fc.manual_seed(5)
    plain = predict(Noisy(), IMAGES, batch_size=5)
    fc.manual_seed(5)
    got = predict(Noisy(), IMAGES, batch_size=5, compile=True)
    np.testing.assert_array_equal(got[:5], plain[:5])
    assert not (got[5:10] == got[:5]).all()  # no batch has another's mask
    assert ((got == 0) | (np.abs(got - 2 * IMAGES) < 1e-5)).all()


def test_what_forward_keeps_is_kept_unless_asked_otherwise() -> None:
    class Keeps(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.seen: list[float] = []

        def forward(self, x: Any) -> Any:
            self.seen.append(float(np.asarray(x).sum()))
            return x * 2

    net = Keeps()
    predict(net, IMAGES, batch_size=5)
    assert len(net.seen) == 5


def test_any_callable_with_modes_is_evaluated() -> None:
    class Duck:
        training = False

        def eval(self) -> None: ...
        def train(self, mode: bool = True) -> None: ...
        def __call__(self, x: Any) -> Any:
            return x * 2

    np.testing.assert_array_equal(predict(Duck(), IMAGES, batch_size=4), IMAGES * 2)


def test_networks_that_look_at_contents_run_as_they_are() -> None:
    class Looks(nn.Module):
        def forward(self, x: Any) -> Any:
            return x * (2.0 if float(np.asarray(x).max()) > 3 else 3.0)

    got = predict(Looks(), IMAGES, batch_size=4, compile=True)
    expected = np.concatenate(
        [x * (2 if x.max() > 3 else 3) for x in (IMAGES[i : i + 4] for i in range(0, 22, 4))]
    )
    np.testing.assert_array_equal(got, expected.astype(np.float32))


def test_errors_are_those_of_the_network(net: Net) -> None:
    batches = [(IMAGES[:4], LABELS[:4])] * 2 + [(IMAGES[:4, :2], LABELS[:4])]
    with pytest.raises(fc.ShapeError, match="conv2d"):
        evaluate(net, F.cross_entropy, batches, compile=True)
