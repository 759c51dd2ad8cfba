"""Every public function of `fastconv.functional`, with the good arguments of the table that others spoil: exported
and equal, or refused for a reason that stands here."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import fastconv as fc
import fastconv.functional as F
from tests.cases.arguments import ANY, ARRAY, OPTIONAL, SEQUENCE
from tests.cases.functions import TABLE
from tests.onnx.helpers import Apply, eager, run
from tests.support import assert_close

pytest.importorskip("onnx")

RANDOM = tuple(name for name in TABLE if "dropout" in name)
# What has no translation: what training needs, and gradients by name.
# Losses made of other functions are translated with these.
LOSSES = ("cross_entropy", "nll_loss", "mse_loss", "l1_loss", "huber_loss", "smooth_l1_loss")
LOSSES += ("binary_cross_entropy_with_logits",)
GRADIENTS = ("conv2d_weight",)
NO_FLOATS = ("one_hot",)  # of labels alone: see test_export_ops.py
INSTEAD = {
    "batch_norm": {"training": False},
    "instance_norm": {"running_mean": None, "running_var": None},
    "astype": {"dtype": "float32"},
}


def network(name: str) -> tuple[Any, tuple[Any, ...]]:
    """The function as a network of its floating arrays, and those; they are the first arguments."""
    arguments = {k: make() for k, (_, make) in TABLE[name].arguments.items()}
    arguments.update(INSTEAD.get(name, {}))
    arrays = [k for k, (kind, _) in TABLE[name].arguments.items() if kind in (ANY, ARRAY, OPTIONAL)]
    arrays = [k for k in arrays if arguments[k] is not None]
    joined = [k for k, (kind, _) in TABLE[name].arguments.items() if kind == SEQUENCE]
    inputs = [arguments[k] for k in arrays] + [a for k in joined for a in arguments[k]]

    def function(*given: Any) -> Any:
        values = {**arguments, **dict(zip(arrays, given, strict=False))}
        rest = list(given[len(arrays) :])
        for k in joined:
            values[k] = [rest.pop(0) for _ in arguments[k]]
        return getattr(F, name)(**values)

    return Apply(function), tuple(np.array(x, np.float32) for x in inputs)


@pytest.mark.parametrize(
    "name", [n for n in TABLE if n not in (*RANDOM, *LOSSES, *GRADIENTS, *NO_FLOATS)]
)
@pytest.mark.parametrize("opset", [13, 17, 20])
def test_equals_the_function(name: str, opset: int) -> None:
    net, inputs = network(name)
    model = fc.onnx.export(net, None, inputs, dynamic_batch=False, opset=opset)
    expected = eager(net, *inputs)
    got = run(model, *inputs)
    assert len(got) == len(expected)
    for value, right in zip(got, expected, strict=True):
        assert value.dtype == right.dtype
        assert_close(value, right, 5e-6, name)


@pytest.mark.parametrize("name", [*LOSSES, *GRADIENTS])
def test_is_refused(name: str) -> None:
    net, inputs = network(name)
    with pytest.raises(
        fc.CaptureError, match=r"^export: (the network has steps without|NumPy reads)"
    ):
        fc.onnx.export(net, None, inputs, dynamic_batch=False)
