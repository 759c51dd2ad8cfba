"""LeNet-5: its numbers by hand, its state dict, a training step, the PyTorch peer."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import fastconv as fc
import fastconv.functional as F
from fastconv import optim
from tests.support import assert_close, check_same_bits_for_threads, randn, rng


def test_summary_by_hand() -> None:
    table = fc.models.lenet5().summary((1, 1, 28, 28))
    rows = {r.name: (r.type, r.output_shape, r.parameters, r.macs) for r in table.layers}
    assert rows == {
        "conv1": ("Conv2d", (1, 6, 28, 28), 6 * 25 + 6, 28 * 28 * 6 * 25),
        "tanh1": ("Tanh", (1, 6, 28, 28), 0, 0),
        "pool1": ("AvgPool2d", (1, 6, 14, 14), 0, 0),
        "conv2": ("Conv2d", (1, 16, 10, 10), 16 * 6 * 25 + 16, 10 * 10 * 16 * 6 * 25),
        "tanh2": ("Tanh", (1, 16, 10, 10), 0, 0),
        "pool2": ("AvgPool2d", (1, 16, 5, 5), 0, 0),
        "flatten": ("Flatten", (1, 400), 0, 0),
        "fc1": ("Linear", (1, 120), 400 * 120 + 120, 400 * 120),
        "tanh3": ("Tanh", (1, 120), 0, 0),
        "fc2": ("Linear", (1, 84), 120 * 84 + 84, 120 * 84),
        "tanh4": ("Tanh", (1, 84), 0, 0),
        "fc3": ("Linear", (1, 10), 84 * 10 + 10, 84 * 10),
    }
    assert table.parameters == table.trainable == 61_706
    assert table.macs == 117_600 + 240_000 + 48_000 + 10_080 + 840 == 416_520
    assert "61,706" in str(table) and "416,520" in str(table)
    assert fc.models.lenet5().summary((8, 1, 28, 28)).macs == 8 * 416_520


def test_options() -> None:
    assert list(fc.models.lenet5().state_dict()) == [
        f"{layer}.{kind}"
        for layer in ("conv1", "conv2", "fc1", "fc2", "fc3")
        for kind in ("weight", "bias")
    ]
    net = fc.models.lenet5(num_classes=7, in_channels=3, input_size=32, dtype="float64")
    assert net(np.zeros((2, 3, 32, 32))).shape == (2, 7)
    assert net.fc1.weight.shape == (120, 400)
    for size, features, padding in (
        (12, 16, [2, 2]),
        (31, 16 * 5 * 5, [2, 2]),
        (64, 16 * 13 * 13, [0, 0]),
        ((20, 45), 16 * 3 * 8, [2, 0]),
    ):
        net = fc.models.lenet5(input_size=size)
        height, width = (size, size) if isinstance(size, int) else size
        x = np.zeros((1, 1, height, width), np.float32)
        assert net.fc1.weight.shape == (120, features) and list(net.conv1.padding) == padding
        assert net(x).shape == fc.compile(net.eval(), x)(x).shape == (1, 10)
    for bad, error in [
        ({"num_classes": 0}, fc.ShapeError),
        ({"in_channels": 1.5}, fc.DTypeError),
        ({"input_size": (28, 11)}, fc.ShapeError),
    ]:
        with pytest.raises(error, match="lenet5"):
            fc.models.lenet5(**bad)  # type: ignore[arg-type]


def test_seed_repeats_the_parameters() -> None:
    def draw() -> dict[str, bytes]:
        fc.manual_seed(11)
        return {k: v.tobytes() for k, v in fc.models.lenet5().state_dict().items()}

    assert draw() == draw()


def train(net: Any, steps: int) -> list[float]:
    draw = rng("lenet")
    x, labels = randn(draw, 16, 1, 28, 28), draw.integers(0, 10, 16)
    optimizer = optim.SGD(net.parameters(), lr=0.05, momentum=0.9)
    losses = []
    for _ in range(steps):
        optimizer.zero_grad()
        loss = F.cross_entropy(net(fc.tensor(x)), labels)
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses


def test_it_learns_a_batch_by_heart() -> None:
    fc.manual_seed(0)
    losses = train(fc.models.lenet5(), 40)
    assert losses[0] == pytest.approx(np.log(10), abs=0.2)
    assert losses[-1] < 0.1 * losses[0]


def test_training_gives_the_same_bits_for_threads() -> None:
    def run() -> Any:
        fc.manual_seed(0)
        net = fc.models.lenet5()
        train(net, 3)
        return tuple(net.state_dict().values())

    check_same_bits_for_threads(run)


def test_output_and_gradients_are_pytorchs() -> None:
    torch = pytest.importorskip("torch")
    torch.set_num_threads(1)
    t = torch.nn
    theirs = t.Sequential(
        *(t.Conv2d(1, 6, 5, padding=2), t.Tanh(), t.AvgPool2d(2)),
        *(t.Conv2d(6, 16, 5), t.Tanh(), t.AvgPool2d(2), t.Flatten()),
        *(t.Linear(400, 120), t.Tanh(), t.Linear(120, 84), t.Tanh(), t.Linear(84, 10)),
    )
    ours = fc.models.lenet5()
    for p, q in zip(ours.parameters(), theirs.parameters(), strict=True):
        p.numpy()[...] = q.detach().numpy()
    draw = rng("peer")
    x, labels = randn(draw, 8, 1, 28, 28), draw.integers(0, 10, 8)
    y, expected = ours(fc.tensor(x)), theirs(torch.from_numpy(x))
    assert_close(y.numpy(), expected.detach().numpy(), 1e-5)
    F.cross_entropy(y, labels).backward()
    t.functional.cross_entropy(expected, torch.from_numpy(labels)).backward()
    for (name, p), q in zip(ours.named_parameters(), theirs.parameters(), strict=True):
        assert p.grad is not None
        assert_close(p.grad.numpy(), q.grad.numpy(), 1e-5, name)
