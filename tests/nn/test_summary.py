"""summary: rows, totals, and that the module is left as it was."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import fastconv as fc
from fastconv import nn


def test_multiply_accumulates() -> None:
    for layer, shape, output, macs in [
        # output elements * C/groups * R * S
        (nn.Conv2d(4, 6, 3, stride=2), (2, 4, 9, 9), (2, 6, 4, 4), 2 * 6 * 16 * 4 * 9),
        (nn.Conv2d(4, 4, 3, groups=4, padding=1), (1, 4, 5, 5), (1, 4, 5, 5), 4 * 25 * 9),
        # the layout does not change them
        (nn.Conv2d(4, 6, (3, 1), layout="NHWC"), (1, 9, 8, 4), (1, 7, 8, 6), 6 * 56 * 4 * 3),
        # input elements * K/groups * R * S
        (nn.ConvTranspose2d(4, 6, 3, 2), (2, 4, 5, 5), (2, 6, 11, 11), 2 * 4 * 25 * 6 * 9),
        # output elements * inputs
        (nn.Linear(7, 3), (5, 7), (5, 3), 5 * 3 * 7),
        (nn.ReLU(), (5, 7), (5, 7), 0),
    ]:
        table = layer.summary(shape)
        (row,) = table.layers
        assert (row.name, row.type) == ("", type(layer).__name__)
        assert row.output_shape == output
        assert row.macs == table.macs == macs
        assert row.parameters == table.parameters == sum(p.size for p in layer.parameters())


class Twice(nn.Module):
    """A layer used twice, a parameter of its own, one that is frozen, and one that nothing uses."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = nn.Linear(3, 3)
        self.gain = nn.Parameter(np.ones(3, np.float32))
        self.spare = nn.Linear(2, 2).requires_grad_(False)
        self.modes: list[Any] = []

    def forward(self, x: Any) -> Any:
        self.modes.append((self.training, fc.is_grad_enabled()))
        self.last = x
        return self.inner(self.inner(x)) * self.gain


def test_rows_and_totals() -> None:
    net = Twice()
    table = nn.summary(net, (4, 3))
    assert [(r.name, r.type, r.parameters, r.macs) for r in table.layers] == [
        ("inner", "Linear", 12, 36),
        ("inner", "Linear", 0, 36),
        ("", "Twice", 3, 0),
    ]
    assert table.input_shape == (4, 3)
    assert (table.parameters, table.trainable, table.macs) == (21, 15, 72)


def test_the_table() -> None:
    lines = str(nn.Sequential(nn.Linear(3, 1000), nn.ReLU()).summary((4, 3))).splitlines()
    assert lines[0] == "Input (4, 3)"
    assert lines[2].split() == ["Layer", "Output", "shape", "Parameters", "MACs"]
    assert lines[4].split() == ["0", "(Linear)", "(4,", "1000)", "4,000", "12,000"]
    assert lines[5].split() == ["1", "(ReLU)", "(4,", "1000)", "0", "0"]
    assert lines[-2].split() == ["Total", "4,000", "12,000"]
    assert lines[-1] == "4,000 of the parameters are trainable"
    assert max(map(len, lines[:-1])) == len(lines[1])


class Reads(nn.Module):
    """What it does depends on the contents of its input."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = nn.Linear(3, 3)

    def forward(self, x: Any) -> Any:
        y = self.inner(x)
        return y if np.asarray(x).sum() == 0 else self.inner(y)


def test_nothing_is_computed_unless_contents_are_read() -> None:
    table = nn.Sequential(nn.Conv2d(8, 8, 3, padding=1)).summary((1000, 8, 10_000, 10_000))
    assert table.macs == 1000 * 10**8 * 8 * 8 * 9
    table = Reads().summary((2, 3))
    assert [(r.name, r.parameters, r.macs) for r in table.layers] == [("inner", 12, 18)]


def test_the_module_is_left_as_it_was() -> None:
    net = nn.Sequential(Twice(), nn.Linear(3, 2))
    net[1].eval()
    calls: list[Any] = []
    handle = net[1].register_forward_hook(lambda *given: calls.append(given))
    modes = [m.training for m in net.modules()]
    table = net.summary([4, 3])
    assert net[0].modes == [(False, False)] and not hasattr(net[0], "last")
    assert [m.training for m in net.modules()] == modes
    assert len(calls) == 1 and not net[0]._hooks and len(net[1]._hooks or {}) == 1
    handle.remove()
    assert len(table.layers) == 4
    assert all(p.grad is None for p in net.parameters()) and fc.is_grad_enabled()


def test_a_refused_shape_restores_the_module_too() -> None:
    net = nn.Sequential(nn.Linear(3, 2))
    for shape, error in [
        ((4, 5), fc.ShapeError),
        ((4, 0), fc.ShapeError),
        ((4, -3), fc.ShapeError),
        ((4, 3.0), fc.DTypeError),
        ("43", fc.DTypeError),
    ]:
        with pytest.raises(error):
            net.summary(shape)  # type: ignore[arg-type]
        assert net.training and net[0].training
        assert not net[0]._hooks and fc.is_grad_enabled()


def test_several_outputs_and_double_precision() -> None:
    table = nn.Sequential(nn.MaxPool2d(2, return_indices=True)).summary((1, 1, 4, 4))
    assert table.layers[0].output_shape == ((1, 1, 2, 2), (1, 1, 2, 2))
    assert nn.Linear(2, 2, dtype=np.float64).summary((1, 2)).macs == 4


def test_batch_statistics_do_not_move() -> None:
    net = nn.Sequential(nn.BatchNorm2d(3), nn.Dropout(0.5))
    fc.manual_seed(1)
    before = {k: v.tobytes() for k, v in net.state_dict().items()}
    random = fc.random.get_state()
    net.summary((2, 3, 4, 4))
    assert {k: v.tobytes() for k, v in net.state_dict().items()} == before
    assert fc.random.get_state() == random
