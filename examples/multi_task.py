"""Two tasks on one image, two garments side by side: one network with two heads against a network for each.

python examples/multi_task.py

The images come with the package. The trunk learns from both tasks' losses (hard parameter sharing); `fastconv
recipe multi-task` compares soft sharing too, on three tasks.
"""

from __future__ import annotations

import argparse
import time
from typing import Any

import numpy as np

import fastconv as fc
import fastconv.functional as F
from fastconv import nn
from fastconv.data import ArrayDataset, Loader, load_dataset
from fastconv.train import Trainer

TASKS = ("left", "right")


def side_by_side(split: str, count: int, seed: int) -> tuple[ArrayDataset, dict[str, Any]]:
    """Pairs of images (count, 1, 28, 56), labelled by their numbers, and each task's classes of all pairs."""
    data = load_dataset("bundled", split)
    pairs = np.random.default_rng(seed).integers(0, len(data), (2, count))
    images = np.concatenate([data.fetch(places) for places in pairs], axis=3)
    classes = {task: data.labels[places] for task, places in zip(TASKS, pairs, strict=True)}
    return ArrayDataset(images, np.arange(count), mean=data.mean, std=data.std), classes


def network(tasks: tuple[str, ...]) -> nn.MultiTask:
    """A trunk of three convolutions, and a linear head of ten classes for each task."""
    layers: list[nn.Module] = []
    channels = 1
    for width in (16, 32, 64):
        layers += [nn.Conv2d(channels, width, 3, padding=1, bias=False), nn.BatchNorm2d(width)]
        layers += [nn.ReLU(), nn.MaxPool2d(2)]
        channels = width
    layers += [nn.Flatten(), nn.Linear(channels * 3 * 7, 128), nn.ReLU()]
    return nn.MultiTask(nn.Sequential(*layers), {task: nn.Linear(128, 10) for task in tasks})


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--images", type=int, default=5000, help="training images")
    parser.add_argument("--epochs", type=int, default=6)
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    train, wanted = side_by_side("train", options.images, options.seed)
    test, expected = side_by_side("test", 2000, options.seed + 1)
    print("                  left    right  parameters  seconds")
    for name, groups in (("a network each", [("left",), ("right",)]), ("two heads", [TASKS])):
        fc.manual_seed(options.seed)
        outputs: dict[str, Any] = {}
        parameters, began = 0, time.perf_counter()
        for tasks in groups:
            net = network(tasks)
            loader = Loader(train, options.batch, shuffle=True, seed=options.seed)
            optimizer = fc.optim.AdamW(net.parameters(), lr=3e-3)
            steps = options.epochs * len(loader)
            trainer = Trainer(
                net,
                dict.fromkeys(tasks, F.cross_entropy),  # their sum; loss_weights would weigh them
                optimizer,
                schedule=fc.optim.OneCycleLR(optimizer, max_lr=3e-3, total_steps=steps),
                targets=lambda labels, tasks=tasks: {task: wanted[task][labels] for task in tasks},
            )
            trainer.fit(loader, epochs=options.epochs, progress=False)
            outputs.update(trainer.predict(test))
            parameters += sum(parameter.size for parameter in net.parameters())
        seconds = time.perf_counter() - began
        right = [np.mean(outputs[task].argmax(1) == expected[task]) for task in TASKS]
        print(f"{name:14}  {right[0]:6.1%}  {right[1]:7.1%}  {parameters:10,}  {seconds:7.1f}")


if __name__ == "__main__":
    main()
