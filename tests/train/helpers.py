"""A small network, small data, and comparison of runs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

import fastconv as fc
from fastconv import functional as F
from fastconv import nn
from fastconv.data import ArrayDataset, Loader
from fastconv.train import Callback, Trainer, load_checkpoint

CLASSES = 4
COUNT = 44
BATCH = 8  # 6 batches an epoch, the last one smaller


def small_data(seed: int = 0, count: int = COUNT) -> ArrayDataset:
    """Noise with a bright quarter, which is the label."""
    rng = np.random.default_rng(seed)
    labels = np.arange(count) % CLASSES
    images = rng.integers(0, 120, (count, 6, 6), dtype=np.uint8)
    for image, label in zip(images, labels, strict=True):
        y, x = 3 * (label // 2), 3 * (label % 2)
        image[y : y + 3, x : x + 3] += 100
    return ArrayDataset(images, labels, [f"class {i}" for i in range(CLASSES)])


def small_net() -> Any:
    """Has what a checkpoint must carry: weights, running statistics, dropout."""
    return nn.Sequential(
        nn.Conv2d(1, 3, 3, padding=1),
        nn.BatchNorm2d(3),
        nn.Tanh(),
        nn.Flatten(),
        nn.Dropout(0.25),
        nn.Linear(108, CLASSES),
    )


def small_trainer(out: Path | None = None, *, optimizer: str = "SGD", **options: Any) -> Trainer:
    """A trainer as a new process would make it: three epochs of one-cycle."""
    fc.manual_seed(5)
    net = small_net()
    settings = {"SGD": {"lr": 0.05, "momentum": 0.9, "weight_decay": 1e-3}}.get(optimizer, {})
    made = getattr(fc.optim, optimizer)(net.parameters(), **settings)
    schedule = fc.optim.OneCycleLR(made, max_lr=0.05, total_steps=18, cycle_momentum=False)
    options = {"schedule": schedule, "out_dir": out, **options}
    return Trainer(net, F.cross_entropy, made, **options)


def small_loader(**options: Any) -> Loader:
    return Loader(small_data(), BATCH, shuffle=True, **{"seed": 3, **options})


def arrays_of(trainer: Trainer) -> dict[str, bytes]:
    """The bits of the weights and of the optimiser's state."""
    found = {name: np.asarray(a).tobytes() for name, a in trainer.net.state_dict().items()}
    for index, state in trainer.optimizer.state_dict()["state"].items():
        for name, value in state.items():
            found[f"{index}.{name}"] = np.asarray(value).tobytes()
    return found


def without_times(history: list[dict[str, Any]]) -> list[dict[str, Any]]:
    times = ("seconds", "images_per_second")
    return [{k: v for k, v in record.items() if k not in times} for record in history]


def assert_same_checkpoint(a: Path, b: Path) -> None:
    """Equal to the last bit in all that a run follows from (all but the clock)."""
    one, two = load_checkpoint(a), load_checkpoint(b)
    assert one.model.keys() == two.model.keys()
    for name, array in one.model.items():
        assert array.tobytes() == two.model[name].tobytes(), name
    assert repr(one.optimizer) == repr(two.optimizer)
    for index, state in one.optimizer["state"].items():
        for name, value in state.items():
            other = two.optimizer["state"][index][name]
            assert np.asarray(value).tobytes() == np.asarray(other).tobytes(), (index, name)
    assert one.schedule == two.schedule
    assert (one.epoch, one.batch, one.global_step) == (two.epoch, two.batch, two.global_step)
    assert one.random_state == two.random_state
    assert one.best == two.best
    assert without_times(one.history) == without_times(two.history)


class StopAt(Callback):
    """Ends a run after a number of steps, as told: by `stop` or by an interrupt."""

    def __init__(self, step: int, how: str = "stop") -> None:
        self.step, self.how = step, how

    def on_step_end(self, trainer: Trainer, loss: float) -> None:
        if trainer.global_step == self.step:
            if self.how == "raise":
                raise KeyboardInterrupt
            trainer.stop()
