"""Networks against PyTorch's numbers: outputs, a training step's loss, gradients and statistics; programs."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest

import fastconv as fc
from fastconv import models, nn
from fastconv.train import Trainer
from tests.models import reference
from tests.models.reference import CASES, FILE, Case
from tests.support import assert_close

NUMBERS = json.loads(FILE.read_text())
# Of outputs, losses and statistics, and of gradients. In float32 few values round the other way in front of a
# ReLU or a maximum, others on each instruction set; each changes gradients by a whole term. In float64 none do.
TOLERANCES = {"float32": (2e-5, 5e-3), "float64": (1e-6, 1e-6)}
# Whose float64 steps take few seconds: those kernels are plain loops.
IN_FLOAT64 = ("squeezenet1_0", "googlenet", "resnet20", "mobilenet_v2")


def made(case: Case, dtype: str) -> Any:
    options = {"num_classes": reference.CLASSES, "in_channels": case.channels, **case.options}
    net: Any = models.create(case.name, dtype=dtype, **options)
    reference.narrow(net, nn.Linear)
    for name, entry, value in reference.fill(net.state_dict()):
        assert entry.shape == value.shape, name
        entry[...] = value
    return net


def check_condensed(arrays: list[Any], expected: list[Any], tolerance: float) -> None:
    assert len(expected) == len(reference.chosen(len(arrays)))
    largest = max([norm for norm, _ in expected], default=0.0)
    for i, (norm, part) in zip(reference.chosen(len(arrays)), expected, strict=True):
        got = reference.condensed(i, arrays[i])
        # What a batch-norm behind it takes out again has no gradient but rounding.
        allowed = tolerance * norm + 1e-6 * largest
        assert np.abs(np.subtract(got, [norm, part])).max() <= allowed, i


def check_training(net: Any, case: Case, dtype: str) -> None:
    """Outputs, loss, gradients and statistics of a step on the tape."""
    tolerance, of_gradients = TOLERANCES[dtype]
    expected = NUMBERS[str(case)]
    outputs = net.train()(fc.tensor(case.images(True).astype(dtype)))
    loss = models.auxiliary_cross_entropy(outputs, case.labels, reference.AUXILIARY)
    loss.backward()
    outputs = outputs if isinstance(outputs, tuple) else (outputs,)
    for got, wanted in zip(outputs, expected["outputs"], strict=True):
        assert_close(got.numpy(), wanted, tolerance)
    assert loss.item() == pytest.approx(expected["loss"], rel=tolerance)
    check_condensed([p.grad.numpy() for p in net.parameters()], expected["gradients"], of_gradients)
    buffers = [b.numpy() for b in net.buffers() if b.dtype == np.dtype(dtype)]
    check_condensed(buffers, expected["buffers"], tolerance)


@pytest.mark.usefixtures("unfilled")
@pytest.mark.parametrize("case", CASES, ids=str)
def test_numbers_are_pytorchs(case: Case) -> None:
    net, expected = made(case, "float32"), NUMBERS[str(case)]
    tolerance, of_gradients = TOLERANCES["float32"]

    x = case.images(False).astype(np.float32)
    program = fc.compile(net.eval(), x)
    y = net(x)
    assert_close(y, expected["evaluated"], tolerance)
    assert_close(program(x), expected["evaluated"], tolerance)

    before = {k: v.copy() for k, v in net.state_dict().items()}
    check_training(net, case, "float32")

    # The same step as one program; a warning, that it cannot be one, would be an error.
    net.load_state_dict(before)
    parameters = list(net.parameters())
    optimizer = fc.optim.SGD(parameters, lr=0.01, momentum=0.9)
    trainer = Trainer(net, models.auxiliary_cross_entropy, optimizer)
    loss = trainer.step(case.images(True).astype(np.float32), case.labels)
    assert loss == pytest.approx(expected["loss"], rel=tolerance)
    buffers = [b.numpy() for b in net.buffers() if b.dtype == np.float32]
    check_condensed(buffers, expected["buffers"], tolerance)
    # After one step the momentum is the gradient.
    momenta = [optimizer.state[p]["momentum_buffer"] for p in parameters]
    check_condensed(momenta, expected["gradients"], of_gradients)


@pytest.mark.usefixtures("unfilled")
@pytest.mark.parametrize("case", [c for c in CASES if str(c) in IN_FLOAT64], ids=str)
def test_float64_is_pytorchs_to_the_last_digits(case: Case) -> None:
    net = made(case, "float64")
    assert_close(
        net.eval()(case.images(False)),
        NUMBERS[str(case)]["evaluated"],
        TOLERANCES["float64"][0],
    )
    check_training(net, case, "float64")


@pytest.mark.parametrize(
    "case", [c for c in CASES if str(c) in ("squeezenet1_1", "resnet18", "resnet20")], ids=str
)
def test_the_file_has_pytorchs_numbers(case: Case) -> None:
    torch = pytest.importorskip("torch")
    torch.set_num_threads(1)
    try:
        reference.torchvision_models()
    except ImportError:
        pytest.skip("torchvision is not installed")
    measured, expected = reference.measure(case), NUMBERS[str(case)]
    assert measured.keys() == expected.keys()
    for what, values in expected.items():
        if what == "outputs":
            for got, wanted in zip(measured[what], values, strict=True):
                assert_close(got, wanted, 1e-6)
        else:
            assert_close(measured[what], values, 1e-6)
