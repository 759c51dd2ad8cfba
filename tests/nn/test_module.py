"""Registration, walks, modes, conversions and printing of Module and its containers."""

from __future__ import annotations

import copy
from collections import OrderedDict
from typing import Any

import numpy as np
import pytest

import fastconv as fc
from fastconv import nn


class Scale(nn.Module):
    """x * weight, with a buffer and a place for a bias: no op is needed to build it."""

    def __init__(self, n: int = 3) -> None:
        super().__init__()
        self.weight = nn.Parameter(np.ones(n, np.float32))
        self.bias: Any = None
        self.register_buffer("count", np.array(0, np.int64))
        self.register_buffer("scratch", np.zeros(n, np.float32), persistent=False)

    def forward(self, x: Any) -> Any:
        return x * self.weight


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first = Scale(2)
        self.scale = nn.Parameter(np.zeros((2, 2), np.float32))
        self.rest = nn.Sequential(Scale(3), nn.Identity())


def names(pairs: Any) -> list[str]:
    return [name for name, _ in pairs]


def test_walks_follow_definition_parents_first() -> None:
    net = Net()
    assert names(net.named_modules()) == ["", "first", "rest", "rest.0", "rest.1"]
    assert names(net.named_children()) == ["first", "rest"]
    assert names(net.named_parameters()) == ["scale", "first.weight", "rest.0.weight"]
    assert names(net.named_parameters(recurse=False)) == ["scale"]
    assert names(net.named_parameters(prefix="net")) == [
        "net.scale",
        "net.first.weight",
        "net.rest.0.weight",
    ]
    assert names(net.named_buffers()) == [
        "first.count",
        "first.scratch",
        "rest.0.count",
        "rest.0.scratch",
    ]
    assert list(net.state_dict()) == [
        "scale",
        "first.weight",
        "first.count",
        "rest.0.weight",
        "rest.0.count",
    ]
    assert next(iter(net.state_dict(prefix="p."))) == "p.scale"
    assert all(p.requires_grad for p in net.parameters())
    assert [b.dtype for b in net.buffers()] == [np.int64, np.float32] * 2


def test_shared_parameters_and_modules_are_listed_once_but_saved_twice() -> None:
    net = Net()
    net.first.weight = net.scale
    net.again = net.rest
    assert names(net.named_parameters()) == ["scale", "rest.0.weight"]
    assert names(net.named_parameters(remove_duplicate=False)) == [
        "scale",
        "first.weight",
        "rest.0.weight",
        "again.0.weight",
    ]
    assert len(list(net.modules())) == 5
    assert names(net.named_children()) == ["first", "rest"]
    state = net.state_dict()
    assert state["scale"] is state["first.weight"]
    assert {"rest.0.weight", "again.0.weight"} <= set(state)


def test_setting_parameters_submodules_and_buffers() -> None:
    net = Scale()
    old = net.weight
    with pytest.raises(fc.DTypeError, match=r"weight is a parameter .* got ndarray"):
        net.weight = np.ones(3, np.float32)  # type: ignore[assignment]
    assert net.weight is old
    net.weight = None  # type: ignore[assignment]
    assert names(net.named_parameters()) == []
    net.weight = nn.Parameter(np.zeros(4, np.float32))
    net.bias = nn.Parameter(np.zeros(4, np.float32))
    assert names(net.named_parameters()) == ["weight", "bias"]
    net.bias = nn.Identity()  # a parameter may give way to a module
    assert names(net.named_parameters()) == ["weight"]
    assert names(net.named_children()) == ["bias"]
    net.bias = 3
    assert names(net.named_children()) == []
    net.count = np.array(7, np.int64)  # type: ignore[assignment]
    assert isinstance(net.count, fc.Tensor)
    assert net.state_dict()["count"] == 7
    with pytest.raises(fc.DTypeError, match="count is a buffer"):
        net.count = "seven"  # type: ignore[assignment]
    net.count = None  # type: ignore[assignment]
    assert "count" not in net.state_dict()
    net.scratch = nn.Parameter(np.ones(2, np.float32))
    assert names(net.named_parameters()) == ["weight", "scratch"]
    assert names(net.named_buffers()) == []
    with pytest.raises(fc.ShapeError, match="without dots"):
        setattr(net, "a.b", nn.Identity())
    net.plain = fc.tensor([1.0])  # a tensor that is no Parameter is just an attribute
    assert names(net.named_parameters()) == ["weight", "scratch"]


def test_deleting() -> None:
    net = Net()
    del net.scale
    del net.first.count
    del net.rest
    assert list(net.state_dict()) == ["first.weight"]
    net.first.count = 5  # no longer a buffer
    assert list(net.state_dict()) == ["first.weight"]
    with pytest.raises(AttributeError):
        del net.scale


def test_registering_by_name() -> None:
    net = nn.Module()
    net.register_parameter("w", nn.Parameter(np.ones(2, np.float32)))
    net.register_parameter("none", None)
    net.add_module("0", nn.Identity())
    assert names(net.named_parameters()) == ["w"]
    assert names(net.named_children()) == ["0"]
    for call, error in [
        (lambda: net.register_parameter("w", nn.Parameter(np.ones(2))), fc.ShapeError),
        (lambda: net.register_parameter("forward", None), fc.ShapeError),
        (lambda: net.register_parameter("v", fc.tensor([1.0])), fc.DTypeError),
        (lambda: net.register_buffer("w", np.ones(2)), fc.ShapeError),
        (lambda: net.register_buffer("b", [1.0]), fc.DTypeError),
        (lambda: net.add_module("", nn.Identity()), fc.ShapeError),
        (lambda: net.add_module("a.b", nn.Identity()), fc.ShapeError),
        (lambda: net.add_module(3, nn.Identity()), fc.DTypeError),
        (lambda: net.add_module("m", "module"), fc.DTypeError),
    ]:
        with pytest.raises(error):
            call()
    assert list(net.state_dict()) == ["w"]


def test_a_subclass_that_forgets_super_init_still_works() -> None:
    class Forgetful(nn.Module):
        def __init__(self) -> None:
            self.weight = nn.Parameter(np.ones(1, np.float32))
            self.register_buffer("b", np.zeros(1, np.float32))

    assert list(Forgetful().state_dict()) == ["weight", "b"]
    assert list(nn.Module().state_dict()) == []  # nothing leaks into other instances


def test_parameter_memory() -> None:
    array = np.ones((2, 3), np.float32)
    assert nn.Parameter(array).numpy() is array
    assert nn.Parameter(fc.tensor([1.0, 2.0])).requires_grad
    assert not nn.Parameter(array, requires_grad=False).requires_grad
    assert nn.Parameter([1.0, 2.0]).dtype == np.float32
    read_only = np.ones(3, np.float32)
    read_only.flags.writeable = False
    for awkward in (read_only, array.T, array[:, ::-1], array.astype(">f4")):
        made = nn.Parameter(awkward).numpy()
        assert made.flags.carray and made.dtype == np.float32
        np.testing.assert_array_equal(made, awkward)
    for bad in (np.array([1, 2]), np.array([1j]), "text"):
        with pytest.raises((fc.DTypeError, ValueError)):
            nn.Parameter(bad)


def test_train_eval_and_freezing() -> None:
    net = Net()
    assert net.training and net.rest[0].training
    assert net.eval() is net
    assert not any(m.training for m in net.modules())
    net.rest.train()
    assert [m.training for m in net.modules()] == [False, False, True, True, True]
    with pytest.raises(fc.DTypeError, match="mode must be True or False"):
        net.train("yes")  # type: ignore[arg-type]
    assert net.requires_grad_(False) is net
    assert not any(p.requires_grad for p in net.parameters())
    net.first.requires_grad_()
    assert [p.requires_grad for p in net.parameters()] == [False, True, False]


def test_zero_grad() -> None:
    net = Net()
    for p in net.parameters():
        p.grad = fc.tensor(np.ones(p.shape, np.float32))
    kept = net.first.weight
    net.first.zero_grad(set_to_none=False)
    assert kept.grad is not None and kept.grad.numpy().tolist() == [0.0, 0.0]
    net.zero_grad()
    assert all(p.grad is None for p in net.parameters())


def test_to_converts_in_place_and_keeps_the_objects() -> None:
    net = Net()
    weight = net.first.weight
    weight.grad = fc.tensor(np.ones(2, np.float32))
    assert net.to("cpu") is net and weight.dtype == np.float32
    for target in ("float64", np.float64, np.dtype("f8"), float):
        net.float()
        assert net.to(target).first.weight is weight
        assert weight.dtype == np.float64 and weight.grad.dtype == np.float64
        assert weight.requires_grad
    assert net.first.count.dtype == np.int64 and net.first.scratch.dtype == np.float64
    net.to("cpu", dtype="float32")
    assert weight.dtype == np.float32
    net.double()
    assert {p.dtype for p in net.parameters()} == {np.dtype(np.float64)}
    with pytest.raises(fc.DeviceError, match="'cuda'"):
        net.to("cuda")
    for bad in ("float16", np.int64):
        with pytest.raises(fc.DTypeError, match="float32, float64 or bfloat16"):
            net.to(bad)


def test_apply_visits_children_first() -> None:
    net = Net()
    order: list[str] = []
    assert net.apply(lambda m: order.append(type(m).__name__)) is net
    assert order == ["Scale", "Scale", "Identity", "Sequential", "Net"]


def test_repr_is_a_tree() -> None:
    net = nn.Sequential(nn.Conv2d(1, 2, 3, bias=False), nn.Sequential(nn.ReLU()), nn.Dropout(0.2))
    assert repr(net) == (
        "Sequential(\n"
        "  (0): Conv2d(1, 2, kernel_size=(3, 3), stride=(1, 1), bias=False)\n"
        "  (1): Sequential(\n"
        "    (0): ReLU()\n"
        "  )\n"
        "  (2): Dropout(p=0.2)\n"
        ")"
    )
    assert repr(nn.Linear(2, 3)) == "Linear(in_features=2, out_features=3, bias=True)"
    assert repr(nn.Parameter([1.0])).startswith("Parameter containing:\ntensor(")


def test_forward_hooks() -> None:
    net = nn.Identity()
    seen: list[Any] = []
    first = net.register_forward_hook(lambda m, args, out: seen.append((m, args, out)))
    second = net.register_forward_hook(lambda m, args, out: out + 1)
    assert net(1) == 2
    assert seen == [(net, (1,), 1)]
    first.remove()
    first.remove()
    assert net(1) == 2 and len(seen) == 1
    second.remove()
    assert net(1) == 1
    assert not nn.Identity()._hooks
    with pytest.raises(NotImplementedError, match="Module has no forward"):
        nn.Module()(1)


def test_copies_are_independent_and_keep_sharing() -> None:
    net = Net()
    net.first.weight = net.scale
    twin = copy.deepcopy(net)
    assert twin.first.weight is twin.scale
    twin.scale.numpy()[...] = 5
    assert net.scale.numpy().max() == 0
    assert list(twin.state_dict()) == list(net.state_dict())
    assert isinstance(twin.scale, nn.Parameter) and twin.scale.requires_grad


def test_sequential() -> None:
    a, b, c = Scale(1), Scale(2), nn.Identity()
    net = nn.Sequential(a, b, c)
    assert len(net) == 3 and list(net) == [a, b, c]
    assert net[0] is a and net[-1] is c
    assert isinstance(net[1:], nn.Sequential) and list(net[1:]) == [b, c]
    assert list(net[1:].state_dict()) == ["0.weight", "0.count"]
    for index in (3, -4):
        with pytest.raises(IndexError, match="out of range"):
            net[index]
    with pytest.raises(fc.DTypeError):
        net["0"]  # type: ignore[call-overload]
    net[1] = c
    assert list(net) == [a, c, c] and len(net) == 3
    net.append(b)
    del net[0]
    assert list(net) == [c, c, b] and names(net.named_parameters()) == ["2.weight"]
    with pytest.raises(fc.DTypeError, match="must be Modules, got int"):
        nn.Sequential(a, 3)
    assert nn.Sequential()(5) == 5
    named = nn.Sequential(OrderedDict(x=a, y=b))
    assert names(named.named_children()) == ["x", "y"] and named.x is a
    assert list(named[:1].state_dict()) == ["x.weight", "x.count"]
    with pytest.raises(fc.ShapeError, match="already an attribute"):
        nn.Sequential({"forward": a})


def test_module_list() -> None:
    parts = nn.ModuleList([Scale(1), Scale(2)])
    parts.append(Scale(3)).extend([nn.Identity()])
    parts.insert(0, nn.ReLU())
    assert [type(m).__name__ for m in parts] == ["ReLU", "Scale", "Scale", "Scale", "Identity"]
    assert names(parts.named_parameters()) == ["1.weight", "2.weight", "3.weight"]
    del parts[1:3]
    assert names(parts.named_parameters()) == ["1.weight"] and len(parts) == 3
    assert isinstance(parts[:2], nn.ModuleList)
    assert len(nn.ModuleList()) == 0
    for bad in (nn.ReLU(), {"a": nn.ReLU()}, [1]):
        with pytest.raises(fc.DTypeError):
            nn.ModuleList(bad)  # type: ignore[arg-type]
    with pytest.raises(NotImplementedError):
        parts(1)
