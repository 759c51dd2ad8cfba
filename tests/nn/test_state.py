"""state_dict and load_state_dict: keys, element types, and that a refused state changes nothing."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import fastconv as fc
from fastconv import nn


def make() -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(2, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Linear(4, 3))


def snapshot(net: nn.Module) -> dict[str, bytes]:
    return {name: value.tobytes() for name, value in net.state_dict().items()}


def test_keys_and_types() -> None:
    state = make().state_dict()
    assert {k: (v.shape, v.dtype.name) for k, v in state.items()} == {
        "0.weight": ((4, 2, 3, 3), "float32"),
        "0.bias": ((4,), "float32"),
        "1.weight": ((4,), "float32"),
        "1.bias": ((4,), "float32"),
        "1.running_mean": ((4,), "float32"),
        "1.running_var": ((4,), "float32"),
        "1.num_batches_tracked": ((), "int64"),
        "3.weight": ((3, 4), "float32"),
        "3.bias": ((3,), "float32"),
    }
    assert list(state)[:3] == ["0.weight", "0.bias", "1.weight"]


def test_round_trip_copies_into_existing_storage() -> None:
    source, target = make(), make()
    source[1].num_batches_tracked.numpy()[...] = 12
    parameters = list(target.parameters())
    arrays = [p.numpy() for p in parameters]
    result = target.load_state_dict(source.state_dict())
    assert result.missing_keys == [] and result.unexpected_keys == []
    assert snapshot(target) == snapshot(source)
    assert all(p.numpy() is a for p, a in zip(target.parameters(), arrays, strict=True))
    source[3].bias.numpy()[...] = 9
    assert target[3].bias.numpy().max() < 9


def test_state_dict_is_live_memory() -> None:
    net = make()
    state = net.state_dict()
    net[3].bias.numpy()[...] = 4
    assert state["3.bias"].tolist() == [4, 4, 4]
    net.load_state_dict(state)


def test_values_convert_and_any_array_is_taken() -> None:
    class Producer:
        """Only DLPack, as other libraries' arrays look from here."""

        def __init__(self, array: Any) -> None:
            self.array = array

        def __dlpack__(self, **options: Any) -> Any:
            return self.array.__dlpack__(**options)

        def __dlpack_device__(self) -> Any:
            return self.array.__dlpack_device__()

    net = nn.Linear(2, 2)
    weight = np.arange(4.0).reshape(2, 2)
    backwards = np.array([3.0, 2.0], ">f4")[::-1]
    net.load_state_dict({"weight": Producer(weight), "bias": backwards})
    assert net.weight.dtype == np.float32
    assert net.weight.numpy().tolist() == weight.tolist()
    assert net.bias is not None and net.bias.numpy().tolist() == [2.0, 3.0]
    net.load_state_dict({"weight": fc.tensor(-weight), "bias": np.array([1, 2])})
    assert net.weight.numpy().tolist() == (-weight).tolist()
    assert net.bias.numpy().tolist() == [1.0, 2.0]


def test_one_error_lists_everything_and_nothing_is_loaded() -> None:
    net = make()
    before = snapshot(net)
    state = {k: np.ones_like(v) for k, v in make().state_dict().items()}
    del state["0.weight"]
    del state["1.running_var"]
    state["extra.weight"] = np.zeros(3)
    state["3.weight"] = np.zeros((4, 3), np.float32)
    state["1.num_batches_tracked"] = np.array(1.5)
    with pytest.raises(fc.ShapeError) as caught:
        net.load_state_dict(state)
    message = str(caught.value)
    for part in (
        "missing keys: 0.weight, 1.running_var",
        "unexpected keys: extra.weight",
        "3.weight: got (4, 3), expected (3, 4)",
        "1.num_batches_tracked: got float64, expected int64",
    ):
        assert part in message
    assert snapshot(net) == before


@pytest.mark.parametrize(
    ("change", "error"),
    [
        ({"3.bias": np.zeros(4, np.float32)}, fc.ShapeError),
        ({"3.bias": np.zeros((3, 1), np.float32)}, fc.ShapeError),
        ({"3.bias": np.zeros(3, np.complex64)}, fc.DTypeError),
        ({"3.bias": np.array(["a", "b", "c"])}, fc.DTypeError),
        ({"3.bias": np.array([None] * 3)}, fc.DTypeError),
        ({"3.bias": [0.0, 0.0, 0.0]}, fc.DTypeError),
        ({"3.bias": None}, fc.DTypeError),
        ({"1.num_batches_tracked": np.array(2.0)}, fc.DTypeError),
        ({7: np.zeros(3)}, fc.ShapeError),
    ],
)
@pytest.mark.parametrize("strict", [True, False])
def test_a_bad_value_changes_nothing(change: Any, error: Any, strict: bool) -> None:
    net = make()
    before = snapshot(net)
    state: dict[Any, Any] = {k: np.ones_like(v) for k, v in net.state_dict().items()}
    state.update(change)
    if not strict and 7 in change:
        assert net.load_state_dict(state, strict=False).unexpected_keys == ["7"]
        return
    with pytest.raises(error, match="load_state_dict"):
        net.load_state_dict(state, strict=strict)
    assert snapshot(net) == before


def test_bad_arguments() -> None:
    with pytest.raises(fc.DTypeError, match="a mapping"):
        make().load_state_dict([1, 2])  # type: ignore[arg-type]
    with pytest.raises(fc.DTypeError, match="strict"):
        make().load_state_dict({}, strict="no")  # type: ignore[arg-type]


def test_not_strict_loads_what_fits() -> None:
    net = make()
    result = net.load_state_dict({"3.bias": np.full(3, 8.0), "more": np.zeros(1)}, strict=False)
    assert result.unexpected_keys == ["more"]
    assert "0.weight" in result.missing_keys and "3.bias" not in result.missing_keys
    assert net[3].bias.numpy().tolist() == [8, 8, 8]


def test_states_without_batch_counters_load() -> None:
    source, net = make(), make()
    net[1].num_batches_tracked.numpy()[...] = 3
    state = source.state_dict()
    del state["1.num_batches_tracked"]
    assert net.load_state_dict(state).missing_keys == []
    assert net[1].num_batches_tracked.item() == 3


def test_a_modules_own_arrays_under_other_names() -> None:
    net = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2))
    first, second = net[0].weight.numpy().copy(), net[1].weight.numpy().copy()
    state = net.state_dict()
    net.load_state_dict({**state, "0.weight": state["1.weight"], "1.weight": state["0.weight"]})
    np.testing.assert_array_equal(net[0].weight.numpy(), second)
    np.testing.assert_array_equal(net[1].weight.numpy(), first)


def test_shared_parameters_load() -> None:
    net = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2))
    net[1].weight = net[0].weight
    state = {k: np.full(v.shape, 2.0, np.float32) for k, v in net.state_dict().items()}
    assert "1.weight" in state
    net.load_state_dict(state)
    assert net[1].weight is net[0].weight and net[0].weight.numpy().max() == 2


def pairs() -> list[Any]:
    torch = pytest.importorskip("torch")
    t = torch.nn
    return [
        (nn.Conv2d(4, 6, 3, groups=2), t.Conv2d(4, 6, 3, groups=2)),
        (nn.Conv2d(4, 6, (3, 1), bias=False), t.Conv2d(4, 6, (3, 1), bias=False)),
        (nn.ConvTranspose2d(4, 6, 3, groups=2), t.ConvTranspose2d(4, 6, 3, groups=2)),
        (nn.Linear(5, 7), t.Linear(5, 7)),
        (nn.BatchNorm1d(5), t.BatchNorm1d(5)),
        (nn.BatchNorm2d(5), t.BatchNorm2d(5)),
        (nn.BatchNorm2d(5, affine=False), t.BatchNorm2d(5, affine=False)),
        (
            nn.BatchNorm2d(5, track_running_stats=False),
            t.BatchNorm2d(5, track_running_stats=False),
        ),
        (
            nn.CrossEntropyLoss(np.ones(3, np.float32)),
            t.CrossEntropyLoss(torch.ones(3)),
        ),
        (
            nn.BCEWithLogitsLoss(pos_weight=np.ones(3, np.float32)),
            t.BCEWithLogitsLoss(pos_weight=torch.ones(3)),
        ),
        (
            nn.Sequential(nn.Conv2d(1, 2, 3), nn.Sequential(nn.BatchNorm2d(2), nn.ReLU())),
            t.Sequential(t.Conv2d(1, 2, 3), t.Sequential(t.BatchNorm2d(2), t.ReLU())),
        ),
    ]


def test_keys_shapes_and_types_are_pytorchs() -> None:
    for ours, theirs in pairs():
        expected = {
            k: (tuple(v.shape), str(v.numpy().dtype)) for k, v in theirs.state_dict().items()
        }
        got = {k: (v.shape, str(v.dtype)) for k, v in ours.state_dict().items()}
        assert list(got.items()) == list(expected.items()), type(ours).__name__
        ours.load_state_dict(theirs.state_dict())
        for k, v in theirs.state_dict().items():
            np.testing.assert_array_equal(ours.state_dict()[k], v.numpy())
