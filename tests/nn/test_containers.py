"""Containers that name their parts."""

from __future__ import annotations

import numpy as np
import pytest

import fastconv as fc
from fastconv import nn
from fastconv.errors import DTypeError, ShapeError


def test_multi_task() -> None:
    fc.manual_seed(0)
    trunk, heads = nn.Linear(3, 4), {"a": nn.Linear(4, 2), "b": nn.Linear(4, 5)}
    net = nn.MultiTask(trunk, heads)
    x = np.random.default_rng(0).standard_normal((6, 3)).astype(np.float32)
    out = net(fc.tensor(x))
    assert list(out) == ["a", "b"]
    for name, head in heads.items():
        assert np.array_equal(out[name].numpy(), head(trunk(fc.tensor(x))).numpy())
    program = fc.compile(net.eval(), x)
    for name, made in program(x).items():
        np.testing.assert_allclose(made, out[name].numpy(), rtol=1e-6, atol=1e-6)
    twin = nn.MultiTask(nn.Linear(3, 4), {"a": nn.Linear(4, 2), "b": nn.Linear(4, 5)})
    twin.load_state_dict(net.state_dict())
    assert np.array_equal(twin(fc.tensor(x))["b"].numpy(), out["b"].numpy())
    for bad, error, match in (
        ((trunk, {}), ShapeError, "no heads"),
        ((trunk, [trunk]), DTypeError, "heads must be a mapping"),
        ((3, heads), DTypeError, "trunk must be a Module"),
        ((trunk, {"a": 3}), DTypeError, "a must be a Module"),
        ((trunk, {"a.b": trunk}), ShapeError, "without dots"),
        ((trunk, {"forward": trunk}), ShapeError, "already an attribute"),
    ):
        with pytest.raises(error, match=match):
            nn.MultiTask(*bad)
