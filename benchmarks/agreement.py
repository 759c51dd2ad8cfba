"""How far training with fastconv and with PyTorch come apart: `python -m benchmarks.agreement [NETWORK...]`.

From the same weights, on the same random images of ten kinds: the outputs in evaluation mode, and the losses of
some training steps with SGD and momentum. PyTorch's own distance between contiguous and channels-last memory
stands beside: both round elsewhere, and what rounds the other way in front of a ReLU grows from step to step.
Needs PyTorch.
"""

from __future__ import annotations

import argparse
import copy
import sys
from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import numpy as np

import fastconv as fc

from .networks import NETWORKS, build

# The batches of the training suite.
BATCHES = {
    "lenet5": 32, "alexnet": 32, "googlenet": 16, "resnet18_cifar": 128, "resnet50": 16, "densenet121": 8,
}  # fmt: skip
KINDS = 10
HEAD = ["network", "batch", "outputs", "losses", "PyTorch's, channels-last"]


def compare(name: str, batch: int, steps: int, lr: float) -> dict[str, float]:
    """Largest differences, relative: "outputs" to the largest output, "losses" and "own" to the loss of the step.

    Args:
        name: one of `NETWORKS`.
        batch, steps, lr: images a step, steps, learning rate; momentum is 0.9.
    """
    import torch

    functions = SimpleNamespace(**vars(torch.nn.functional))
    functions.cat, functions.flatten = torch.cat, torch.flatten
    torch.manual_seed(0)
    draw = np.random.default_rng(0)
    theirs: Any = build(name, torch.nn, functions)
    ours: Any = build(name, fc.nn, fc.functional)
    ours.load_state_dict({k: v.numpy() for k, v in theirs.state_dict().items()})
    shape = NETWORKS[name].image
    kinds = draw.standard_normal((KINDS, *shape))

    def images() -> tuple[Any, Any]:
        labels = draw.integers(0, KINDS, batch)
        noise = draw.standard_normal((batch, *shape))
        return (noise + kinds[labels]).astype(np.float32), labels

    x, _ = images()
    with torch.no_grad():
        expected = theirs.eval()(torch.from_numpy(x)).numpy()
    got = fc.compile(ours.eval(), x)(x)
    outputs = float(np.abs(got - expected).max() / np.abs(expected).max())

    ours.train()
    optimizer = fc.optim.SGD(ours.parameters(), lr=lr, momentum=0.9)
    trainer = fc.train.Trainer(ours, fc.nn.CrossEntropyLoss(), optimizer)
    formats = (torch.contiguous_format, torch.channels_last)
    nets = [copy.deepcopy(theirs).train().to(memory_format=f) for f in formats]
    steppers = [torch.optim.SGD(net.parameters(), lr=lr, momentum=0.9) for net in nets]
    losses, own = 0.0, 0.0
    for _ in range(steps):
        x, labels = images()
        told = []
        for net, stepper, memory_format in zip(nets, steppers, formats, strict=True):
            stepper.zero_grad()
            logits = net(torch.from_numpy(x).to(memory_format=memory_format))
            loss = torch.nn.functional.cross_entropy(logits, torch.from_numpy(labels))
            loss.backward()
            stepper.step()
            told.append(float(loss.item()))
        losses = max(losses, abs(trainer.step(x, labels) - told[0]) / told[0])
        own = max(own, abs(told[1] - told[0]) / told[0])
    return {"outputs": outputs, "losses": losses, "own": own}


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="benchmarks.agreement", description=__doc__)
    parser.add_argument("networks", nargs="*", metavar="NETWORK", help=", ".join(BATCHES))
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--lr", type=float, default=1e-3)
    parser.add_argument("--batch", type=int, help="images a step (default: the training suite's)")
    arguments = parser.parse_args(argv)
    for name in arguments.networks:
        if name not in BATCHES:
            parser.error(f"no network {name!r}, expected one of {', '.join(BATCHES)}")
    print("| " + " | ".join(HEAD) + " |\n| --- | ---: | ---: | ---: | ---: |", flush=True)
    for name in arguments.networks or BATCHES:
        batch = arguments.batch or BATCHES[name]
        found = compare(name, batch, arguments.steps, arguments.lr)
        cells = [f"{found[k]:.1e}" for k in ("outputs", "losses", "own")]
        print("| " + " | ".join([name, str(batch), *cells]) + " |", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
