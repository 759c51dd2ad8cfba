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
# Few values round the other way in front of a ReLU or a maximum; each changes gradients by a whole term.
TOLERANCE, GRADIENT_TOLERANCE = 2e-5, 2e-3


def made(case: Case) -> Any:
    options = {"num_classes": reference.CLASSES, "in_channels": case.channels, **case.options}
    net: Any = models.create(case.name, **options)
    reference.narrow(net, nn.Linear)
    for name, entry, value in reference.fill(net.state_dict()):
        assert entry.shape == value.shape, name
        entry[...] = value
    return net


def inputs(case: Case, training: bool) -> Any:
    return case.images(training).astype(np.float32)


def check_condensed(arrays: list[Any], expected: list[Any]) -> None:
    assert len(expected) == len(reference.chosen(len(arrays)))
    largest = max([norm for norm, _ in expected], default=0.0)
    for i, (norm, part) in zip(reference.chosen(len(arrays)), expected, strict=True):
        got = reference.condensed(i, arrays[i])
        # What a batch-norm behind it takes out again has no gradient but rounding.
        allowed = GRADIENT_TOLERANCE * norm + 1e-6 * largest
        assert np.abs(np.subtract(got, [norm, part])).max() <= allowed, i


@pytest.mark.usefixtures("unfilled")
@pytest.mark.parametrize("case", CASES, ids=str)
def test_numbers_are_pytorchs(case: Case) -> None:
    net, expected = made(case), NUMBERS[str(case)]

    x = inputs(case, False)
    program = fc.compile(net.eval(), x)
    y = net(x)
    assert_close(y, expected["evaluated"], TOLERANCE)
    assert_close(program(x), expected["evaluated"], TOLERANCE)

    net.train()
    before = {k: v.copy() for k, v in net.state_dict().items()}
    outputs = net(fc.tensor(inputs(case, True)))
    loss = models.auxiliary_cross_entropy(outputs, case.labels, reference.AUXILIARY)
    loss.backward()
    outputs = outputs if isinstance(outputs, tuple) else (outputs,)
    for got, wanted in zip(outputs, expected["outputs"], strict=True):
        assert_close(got.numpy(), wanted, TOLERANCE)
    assert loss.item() == pytest.approx(expected["loss"], rel=TOLERANCE)
    parameters = list(net.parameters())
    check_condensed([p.grad.numpy() for p in parameters], expected["gradients"])
    buffers = [b.numpy() for b in net.buffers() if b.dtype == np.float32]
    check_condensed(buffers, expected["buffers"])

    # The same step as one program; a warning, that it cannot be one, would be an error.
    net.load_state_dict(before)
    optimizer = fc.optim.SGD(parameters, lr=0.01, momentum=0.9)
    trainer = Trainer(net, models.auxiliary_cross_entropy, optimizer)
    assert trainer.step(inputs(case, True), case.labels) == pytest.approx(
        expected["loss"], rel=TOLERANCE
    )
    check_condensed(buffers, expected["buffers"])
    # After one step the momentum is the gradient.
    momenta = [optimizer.state[p]["momentum_buffer"] for p in parameters]
    check_condensed(momenta, expected["gradients"])


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
