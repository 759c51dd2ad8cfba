"""Single trainings of the experiments, and the file that keeps what came of them."""

from __future__ import annotations

import json
import math
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ... import manual_seed, models, nn, optim
from ...data import Dataset, Loader
from ...data.augment import RandomAffine
from ...errors import FastconvError, FormatError
from ...serialization import write_atomically
from ...train import Callback, Trainer
from .variants import Variant

__all__ = ["Kept", "Plan", "Trial", "run_trial"]

_EVALUATION_BATCH = 256


@dataclass(frozen=True)
class Plan:
    """What all trials have in common; results of another plan are not mixed with these.

    Attributes:
        data: name of the data set. digest: of its training images.
        images, dev: how many are trained on, and how many accuracy is measured on.
        epochs, batch_size, lr, weight_decay: of AdamW with a one-cycle schedule up to `lr`.
        seed: of the split, and the first trial's.
    """

    data: str
    digest: str
    images: int
    dev: int
    epochs: int
    batch_size: int
    lr: float
    weight_decay: float
    seed: int


@dataclass(frozen=True)
class Trial:
    """One training of a variant.

    Attributes:
        accuracy: on dev, with the weights after the last epoch; 0 to 1.
        parameters: of the network.
        step_ms: median time of a step, making of its batch included.
        seconds: of the training.
    """

    accuracy: float
    parameters: int
    step_ms: float
    seconds: float


class _StepTimes(Callback):
    """Seconds that steps took, with the making of their batches."""

    def __init__(self) -> None:
        self.times: list[float] = []
        self._last = 0.0

    def on_epoch_start(self, trainer: Trainer) -> None:
        self._last = time.perf_counter()

    def on_step_end(self, trainer: Trainer, loss: float) -> None:
        now = time.perf_counter()
        self.times.append(now - self._last)
        self._last = now


def run_trial(variant: Variant, train: Dataset, dev: Dataset, plan: Plan, seed: int) -> Trial:
    """Train a variant and measure it on dev.

    Args:
        variant, plan: what and how.
        train, dev: images of the same classes and shape.
        seed: of weights, order, dropout and augmentation.
    """
    manual_seed(seed)
    channels, *size = train.image_shape
    net = models.create(
        variant.network,
        num_classes=len(train.classes),
        in_channels=channels,
        input_size=tuple(size),
        **variant.options,
    )
    augment = RandomAffine(degrees=10, translate=(0.1, 0.1), scale=(0.9, 1.1), shear=5)
    batches = Loader(
        train,
        min(plan.batch_size, len(train)),
        shuffle=True,
        seed=seed,
        drop_last=True,
        augment=augment if variant.augment else None,
    )
    optimizer = optim.AdamW(net.parameters(), lr=plan.lr, weight_decay=plan.weight_decay)
    schedule = optim.OneCycleLR(optimizer, max_lr=plan.lr, total_steps=plan.epochs * len(batches))
    steps, began = _StepTimes(), time.perf_counter()
    trainer = Trainer(
        net, nn.CrossEntropyLoss(), optimizer, schedule=schedule, seed=seed, callbacks=[steps]
    )
    trainer.fit(batches, epochs=plan.epochs, progress=False)
    seconds = time.perf_counter() - began
    return Trial(
        accuracy=float(trainer.evaluate(Loader(dev, _EVALUATION_BATCH))["accuracy"]),
        parameters=sum(parameter.size for parameter in net.parameters()),
        step_ms=1000 * float(np.median(steps.times)),
        seconds=seconds,
    )


class Kept:
    """The trials that were done, in a file that is written anew after each.

    Args:
        path: the file; what is there is read.
        plan: of the trials.

    Raises:
        FormatError: the file is damaged. FastconvError: its trials are of another plan.
    """

    def __init__(self, path: Path, plan: Plan) -> None:
        self.path, self.plan = path, plan
        self._trials: dict[str, dict[int, Trial]] = {}
        if path.exists():
            self._read()

    def get(self, variant: Variant, seed: int) -> Trial | None:
        """The trial, if it was done."""
        return self._trials.get(variant.key, {}).get(seed)

    def all(self, variant: Variant) -> list[Trial]:
        """All trials of a variant, by seed."""
        return [trial for _, trial in sorted(self._trials.get(variant.key, {}).items())]

    def add(self, variant: Variant, seed: int, trial: Trial) -> None:
        """Keep a trial.

        Raises:
            OSError: the file cannot be written; it is as it was.
        """
        self._trials.setdefault(variant.key, {})[seed] = trial
        content = {
            "plan": asdict(self.plan),
            "trials": [
                {"variant": json.loads(key), "seed": seed, **asdict(trial)}
                for key, trials in self._trials.items()
                for seed, trial in sorted(trials.items())
            ],
        }
        self.path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(self.path, (json.dumps(content, indent=1) + "\n").encode())

    def _read(self) -> None:
        try:
            content = json.loads(self.path.read_bytes())
            plan = Plan(**content["plan"])
            for row in content["trials"]:
                trial = _trial_of(row)
                key = json.dumps(row["variant"], sort_keys=True)
                self._trials.setdefault(key, {})[int(row["seed"])] = trial
        except (ValueError, KeyError, TypeError, RecursionError) as error:
            raise FormatError(
                f"{self.path}: not written by `fastconv recipe experiments`, or damaged: {error}"
            ) from error
        told, kept = asdict(self.plan), asdict(plan)
        for name in sorted(told, key=lambda name: name == "digest"):  # which says least
            if told[name] != kept[name]:
                said = f"{name} is {told[name]}, but {self.path} has trials with {kept[name]}"
                if name == "digest":
                    said = f"{self.path} has trials on other training images"
                raise FastconvError(f"experiments: {said}: give another folder")


def _trial_of(row: dict[str, Any]) -> Trial:
    trial = Trial(
        float(row["accuracy"]), int(row["parameters"]), float(row["step_ms"]), float(row["seconds"])
    )
    if not (0 <= trial.accuracy <= 1 and math.isfinite(trial.step_ms + trial.seconds)):
        raise ValueError(f"a trial with {trial}")
    return trial
