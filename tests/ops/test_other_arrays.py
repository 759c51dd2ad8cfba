"""Functions that are made of others take arrays of other libraries, and give those back."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import fastconv.functional as F
from tests.cases.arguments import ANY, ARRAY, LABELS, OPTIONAL
from tests.cases.functions import TABLE

COMPOSED = [
    "chunk",
    "expand",
    "group_norm",
    "index_select",
    "instance_norm",
    "interpolate",
    "layer_norm",
    "matmul",
    "narrow",
    "resample",
    "slice",
    "split",
    "squeeze",
    "unsqueeze",
    *(
        name
        for name in TABLE
        if (name.endswith(("1d", "3d")) and not name.startswith("dropout"))
        or name in ("conv_transpose2d", "lp_pool2d")
    ),
]


@pytest.mark.parametrize("name", COMPOSED)
def test_arrays_of_pytorch(name: str) -> None:
    torch = pytest.importorskip("torch")
    arguments = {k: make() for k, (_, make) in TABLE[name].arguments.items()}
    arrays = [
        k
        for k, (kind, _) in TABLE[name].arguments.items()
        if kind in (ANY, ARRAY, LABELS, OPTIONAL)
    ]
    theirs: dict[str, Any] = {**arguments, **{k: torch.from_numpy(arguments[k]) for k in arrays}}
    got, expected = getattr(F, name)(**theirs), getattr(F, name)(**arguments)
    if not isinstance(got, tuple):
        got, expected = (got,), (expected,)
    assert len(got) == len(expected)
    for a, b in zip(got, expected, strict=True):
        assert isinstance(a, torch.Tensor)
        np.testing.assert_array_equal(a.numpy(), b)
