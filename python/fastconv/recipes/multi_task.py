"""Several tasks on the same images: hard and soft parameter sharing against a network for each task.

Images are made smaller and turned by quarters. The tasks: which class it is, how often it was turned, and how
large it is. Hard sharing is one trunk with three heads; soft sharing is three networks whose trunks a penalty
keeps near each other.
"""

from __future__ import annotations

import itertools
import json
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from .. import functional as F
from .. import manual_seed, nn, optim
from ..data import ArrayDataset, Dataset, Loader
from ..data.augment import warp_affine
from ..errors import ShapeError
from ..serialization import write_atomically
from ..train import Trainer, soft_sharing
from .registry import Option, RecipeSettings, register
from .running import load_images

__all__ = ["Result", "posed", "run"]

EPOCHS, BATCH, RATE, WEIGHT_DECAY = 10, 64, 4e-3, 0.02
SMALLEST, LARGEST, QUARTERS = 0.5, 1.0, 4
STRENGTH = 0.01  # of soft sharing
LOSSES: dict[str, Any] = {"kind": F.cross_entropy, "turn": F.cross_entropy, "size": F.mse_loss}
OPTIONS = (Option("images", "training images at most", 3000),)


@dataclass(frozen=True)
class Result:
    """What networks for all three tasks do on the test images.

    Attributes:
        kind, turn: shares of right answers, 0 to 1.
        size: mean error of the size, of which an untouched image has 1.
        parameters: of all networks together.
        seconds: of all trainings together.
    """

    kind: float
    turn: float
    size: float
    parameters: int
    seconds: float


def posed(data: Dataset, count: int, seed: int) -> tuple[ArrayDataset, dict[str, Any]]:
    """The first `count` images of a data set, each made smaller and turned at random.

    Returns:
        The images, the label of each being its number; and what the tasks want of all of them: "kind" and "turn",
        int64 (N,), and "size", float32 (N, 1), whose mean is about 0 and deviation about 1.
    """
    rng = np.random.default_rng([seed, 1])
    places = rng.permutation(len(data))[:count]
    images, kinds = data.fetch(places), data.labels[places]
    turns = rng.integers(0, QUARTERS, len(images))
    sizes = rng.uniform(SMALLEST, LARGEST, len(images))
    # A result's pixel comes from where the inverse map leads, around the middle.
    height, width = images.shape[2:]
    middle = np.array([(width - 1) / 2, (height - 1) / 2])
    cos, sin = np.cos(turns * np.pi / 2), np.sin(turns * np.pi / 2)
    matrices = np.empty((len(images), 2, 3))
    matrices[:, :, :2] = np.stack([cos, -sin, sin, cos], 1).reshape(-1, 2, 2) / sizes[:, None, None]
    matrices[:, :, 2] = middle - matrices[:, :, :2] @ middle
    images = warp_affine(images, matrices)
    standard = data.standardize()
    return (
        ArrayDataset(images, np.arange(len(images)), mean=standard.mean, std=standard.std),
        {"kind": kinds, "turn": turns, "size": _normal(sizes)[:, np.newaxis]},
    )


def _normal(sizes: npt.NDArray[Any]) -> npt.NDArray[np.float32]:
    middle, deviation = (SMALLEST + LARGEST) / 2, (LARGEST - SMALLEST) / 12**0.5
    return np.asarray((sizes - middle) / deviation, np.float32)


def trunk(channels: int) -> nn.Sequential:
    """Three convolutions with batch-norm and a dense layer: (N, channels, H, W) -> (N, 64)."""
    layers: list[nn.Module] = []
    for width in (16, 32, 64):
        layers += [nn.Conv2d(channels, width, 3, padding=1, bias=False), nn.BatchNorm2d(width)]
        layers += [nn.ReLU(), nn.MaxPool2d(2, ceil_mode=True)]
        channels = width
    return nn.Sequential(
        *layers, nn.AdaptiveAvgPool2d(4), nn.Flatten(), nn.Linear(16 * channels, 64), nn.ReLU()
    )


def heads(classes: int) -> dict[str, nn.Module]:
    """A linear layer for each task."""
    return {
        "kind": nn.Linear(64, classes),
        "turn": nn.Linear(64, QUARTERS),
        "size": nn.Linear(64, 1),
    }


class Alongside(nn.Module):
    """Networks for a task each, run side by side: the outputs of all."""

    def __init__(self, nets: Mapping[str, nn.Module]) -> None:
        super().__init__()
        self.nets = nn.ModuleList(nets.values())

    def forward(self, input: Any) -> dict[str, Any]:
        return {task: out for net in self.nets for task, out in net(input).items()}


@register(
    "multi-task",
    "Three tasks on the same images: one trunk, trunks kept near each other, and a network each",
    OPTIONS,
)
def run(settings: RecipeSettings) -> dict[str, float]:
    """Train all three ways on the same images and compare them on test images.

    The table is printed and in `multi_task.md` and `multi_task.json` in the run's folder.

    Sources: Caruana, "Multitask learning" (1997); Duong et al., "Low resource dependency parsing: cross-lingual
    parameter sharing in a neural network parser" (2015).
    """
    if settings.resume is not None:
        raise ShapeError("multi-task: it is short, there is no --resume")
    parts = load_images(settings, "fashion-mnist" if settings.data else "bundled", dev=0.0)
    training, wanted = posed(parts["train"], int(settings.options["images"]), settings.seed)
    test, expected = posed(parts["test"], len(parts["test"]), settings.seed)
    channels, classes = training.image_shape[0], len(parts["train"].classes)
    epochs = settings.epochs or EPOCHS
    ways: dict[str, Callable[[], list[tuple[nn.Module, list[Any]]]]] = {
        "a network each": lambda: [
            (nn.MultiTask(trunk(channels), {task: head}), [])
            for task, head in heads(classes).items()
        ],
        "hard sharing": lambda: [(nn.MultiTask(trunk(channels), heads(classes)), [])],
        "soft sharing": lambda: [_soft(channels, classes)],
    }
    found: dict[str, Result] = {}
    width = max(map(len, ways))
    if not settings.quiet:
        print(
            f"{len(training):,} training images, {len(test):,} test images, {epochs} epochs\n"
            f"{'':{width}}    class     turn  error of size  parameters  seconds"
        )
    for way, build in ways.items():
        manual_seed(settings.seed)
        result = _result(build(), training, wanted, test, expected, epochs, settings.seed)
        found[way] = result
        if not settings.quiet:
            print(
                f"{way:{width}}  {result.kind:7.2%}  {result.turn:7.2%}  {result.size:13.4f}  "
                f"{result.parameters:10,}  {result.seconds:7.1f}",
                flush=True,
            )
    _write(settings, found)
    return {
        f"{way.replace(' ', '_')}_{name}": value
        for way, result in found.items()
        for name, value in (
            ("kind_accuracy", result.kind),
            ("turn_accuracy", result.turn),
            ("size_error", result.size),
        )
    }


def _soft(channels: int, classes: int) -> tuple[nn.Module, list[Any]]:
    nets = {
        task: nn.MultiTask(trunk(channels), {task: head}) for task, head in heads(classes).items()
    }
    penalties = [
        soft_sharing(one.trunk, other.trunk, STRENGTH)
        for one, other in itertools.combinations(nets.values(), 2)
    ]
    return Alongside(nets), penalties


def _result(
    nets: list[tuple[nn.Module, list[Any]]],
    training: ArrayDataset,
    wanted: Mapping[str, Any],
    test: ArrayDataset,
    expected: Mapping[str, Any],
    epochs: int,
    seed: int,
) -> Result:
    """Train networks that together have all tasks, and measure them."""
    outputs: dict[str, Any] = {}
    parameters, seconds = 0, 0.0
    for net, penalties in nets:
        tasks = list(net(np.zeros((1, *training.image_shape), np.float32)))

        def targets(labels: Any, tasks: list[str] = tasks) -> dict[str, Any]:
            return {task: wanted[task][labels] for task in tasks}

        loader = Loader(
            training, min(BATCH, len(training)), shuffle=True, seed=seed, drop_last=True
        )
        optimizer = optim.AdamW(net.parameters(), lr=RATE, weight_decay=WEIGHT_DECAY)
        began = time.perf_counter()
        trainer = Trainer(
            net,
            {task: LOSSES[task] for task in tasks},
            optimizer,
            schedule=optim.OneCycleLR(optimizer, max_lr=RATE, total_steps=epochs * len(loader)),
            penalties=penalties,
            targets=targets,
            seed=seed,
        )
        trainer.fit(loader, epochs=epochs, progress=False)
        seconds += time.perf_counter() - began
        outputs.update(trainer.predict(test))
        parameters += sum(parameter.size for parameter in net.parameters())
    deviation = (LARGEST - SMALLEST) / 12**0.5
    return Result(
        kind=float(np.mean(outputs["kind"].argmax(1) == expected["kind"])),
        turn=float(np.mean(outputs["turn"].argmax(1) == expected["turn"])),
        size=float(np.mean(np.abs(outputs["size"] - expected["size"]))) * deviation,
        parameters=parameters,
        seconds=seconds,
    )


def _write(settings: RecipeSettings, found: Mapping[str, Result]) -> None:
    rows = "\n".join(
        f"| {way} | {100 * r.kind:.2f} % | {100 * r.turn:.2f} % | {r.size:.4f} | {r.parameters:,} | "
        f"{r.seconds:.1f} |"
        for way, r in found.items()
    )
    table = f"| | class | turn | error of size | parameters | seconds |\n|---|---|---|---|---|---|\n{rows}\n"
    settings.out.mkdir(parents=True, exist_ok=True)
    write_atomically(settings.out / "multi_task.md", table.encode())
    content = {way: asdict(result) for way, result in found.items()}
    write_atomically(
        settings.out / "multi_task.json", (json.dumps(content, indent=1) + "\n").encode()
    )
