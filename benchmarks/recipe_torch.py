"""The recipes as PyTorch's users write them: the same network, optimiser, schedule, batches and augmentation.

Augmentation in two ways, of which the faster counts: image by image with Pillow in the workers of a `DataLoader`
(torchvision's transforms on pictures do that), and whole batches with `affine_grid` and `grid_sample` in the main
process. The network in four: eager and compiled, contiguous and channels-last.
"""

from __future__ import annotations

import math
import random
import time
from collections.abc import Iterator
from typing import Any

import numpy as np

VARIANTS = ("eager", "eager, channels-last", "compiled", "compiled, channels-last")
PIPELINES = ("whole batches", "DataLoader workers")
WARM_UP, PIECE = 8, 48  # batches before and in a timed piece


def network(dropout: float) -> Any:
    """`fastconv.models.mnist_cnn_improved` for 28x28 images of one channel and ten classes."""
    from torch import nn

    layers: list[Any] = []
    channels = 1
    for width in (32, 64):
        for kernel, stride, padding in ((3, 1, 0), (3, 1, 0), (5, 2, 2)):
            layers += [nn.Conv2d(channels, width, kernel, stride, padding)]
            layers += [nn.ReLU(), nn.BatchNorm2d(width)]
            channels = width
        layers.append(nn.Dropout(dropout))
    layers += [nn.Flatten(), nn.Linear(64 * 4 * 4, 128), nn.ReLU(), nn.BatchNorm1d(128)]
    return nn.Sequential(*layers, nn.Dropout(dropout), nn.Linear(128, 10))


class Augmentation:
    """What each recipe draws; `whole` makes a batch, `single` one image.

    Args:
        ranges: "degrees", "translate", "shear" (largest absolute values, `translate` as a part of the image),
            "scale" (least and most), "flip" and "cutout" (probabilities), "hole" (pixels).
        mean, std: of the pixels, 0 to 1.
    """

    def __init__(self, ranges: dict[str, Any], mean: float, std: float) -> None:
        self.ranges = {
            "degrees": 0.0, "translate": 0.0, "shear": 0.0, "scale": (1.0, 1.0), "flip": 0.0,
            "cutout": 0.0, "hole": 0, **ranges,
        }  # fmt: skip
        self.mean, self.std = mean, std

    def whole(self, images: Any) -> Any:
        """uint8 (n, 1, H, W) -> float32, standardized."""
        import torch
        import torch.nn.functional as F

        r, n, size = self.ranges, len(images), images.shape[-1]
        draw = lambda low, high: torch.empty(n).uniform_(low, high)  # noqa: E731
        turn = draw(-r["degrees"], r["degrees"]) * (math.pi / 180)
        lean = torch.tan(draw(-r["shear"], r["shear"]) * (math.pi / 180))
        scale = draw(*r["scale"])
        cosine, sine = torch.cos(turn) / scale, torch.sin(turn) / scale
        theta = torch.empty(n, 2, 3)
        theta[:, 0, 0], theta[:, 0, 1] = cosine + lean * sine, -sine + lean * cosine
        theta[:, 1, 0], theta[:, 1, 1] = sine, cosine
        if r["flip"]:
            theta[:, 0, 0] *= torch.where(torch.rand(n) < r["flip"], -1.0, 1.0)
        moved = torch.stack([draw(-r["translate"], r["translate"]) for _ in "xy"], 1) * -2
        theta[:, :, 2] = (theta[:, :, :2] @ moved.unsqueeze(2)).squeeze(2)
        x = images.float()
        x = F.grid_sample(x, F.affine_grid(theta, list(x.shape), align_corners=False),
                          padding_mode="zeros", align_corners=False)  # fmt: skip
        if r["cutout"]:
            middle = torch.randint(0, size, (2, n, 1)) - r["hole"] // 2
            places = torch.arange(size)
            rows, columns = ((places >= m) & (places < m + r["hole"]) for m in middle)
            rows &= torch.rand(n, 1) < r["cutout"]
            x.masked_fill_((rows.unsqueeze(2) & columns.unsqueeze(1)).unsqueeze(1), 0.0)
        return x.sub_(255 * self.mean).div_(255 * self.std)

    def single(self, image: Any) -> Any:
        """uint8 (H, W) -> float32 (1, H, W), standardized: Pillow, as torchvision's transforms on pictures."""
        import torch
        from PIL import Image, ImageOps

        r, size = self.ranges, image.shape[-1]
        picture = Image.fromarray(image)
        if r["flip"] and random.random() < r["flip"]:
            picture = ImageOps.mirror(picture)
        turn = math.radians(random.uniform(-r["degrees"], r["degrees"]))
        lean = math.tan(math.radians(random.uniform(-r["shear"], r["shear"])))
        scale = random.uniform(*r["scale"])
        right, down = (random.uniform(-r["translate"], r["translate"]) * size for _ in "xy")
        cosine, sine = math.cos(turn) / scale, math.sin(turn) / scale
        a, b, d, e = cosine + lean * sine, -sine + lean * cosine, sine, cosine
        x, y = size / 2 + right, size / 2 + down
        matrix = (a, b, size / 2 - a * x - b * y, d, e, size / 2 - d * x - e * y)
        picture = picture.transform(
            (size, size), Image.Transform.AFFINE, matrix, Image.Resampling.BILINEAR
        )
        made = torch.from_numpy(np.array(picture, np.float32)).unsqueeze(0)
        if r["cutout"] and random.random() < r["cutout"]:
            top, left = (random.randrange(size) - r["hole"] // 2 for _ in "xy")
            made[:, max(top, 0) : top + r["hole"], max(left, 0) : left + r["hole"]] = 0.0
        return made.sub_(255 * self.mean).div_(255 * self.std)


class _Images:
    """A data set for `DataLoader`."""

    def __init__(self, images: Any, labels: Any, augmentation: Augmentation) -> None:
        self.images, self.labels, self.augmentation = images, labels, augmentation

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> tuple[Any, int]:
        return self.augmentation.single(self.images[index]), int(self.labels[index])


class TorchRecipe:
    """One recipe: timed pieces of every variant, then epochs with the fastest.

    Args:
        arrays: uint8 "train" (n, H, W), "test", int64 "train_labels", "test_labels".
        told: "batch", "rate", "weight_decay", "dropout", "mean", "std", "augment" (see `Augmentation`).
        epochs: that the schedule is for.
        workers: processes of the `DataLoader`.
    """

    def __init__(
        self, arrays: dict[str, Any], told: dict[str, Any], epochs: int, seed: int, workers: int
    ) -> None:
        import torch

        self.torch: Any = torch
        self.told, self.epochs, self.workers = told, epochs, workers
        torch.manual_seed(seed)
        self.arrays = arrays
        self.images = torch.from_numpy(arrays["train"]).unsqueeze(1)
        self.labels = torch.from_numpy(arrays["train_labels"])
        self.augmentation = Augmentation(told["augment"], told["mean"], told["std"])
        self.batch = min(told["batch"], len(self.labels))
        self.variant, self.pipeline = VARIANTS[0], PIPELINES[0]
        self._start = network(told["dropout"]).state_dict()
        self._nets: dict[str, Any] = {}
        self._loader: Any = None
        self.ready()

    def ready(self, steps: int = 0) -> None:
        """The weights of the beginning, with a fresh optimiser and schedule for so many steps at least."""
        torch = self.torch
        if self.variant not in self._nets:
            net = network(self.told["dropout"])
            if "channels-last" in self.variant:
                net = net.to(memory_format=torch.channels_last)
            run = torch.compile(net) if "compiled" in self.variant else net
            self._nets[self.variant] = net, run
        self.net, self.run = self._nets[self.variant]
        self.net.load_state_dict(self._start)
        self.net.train()
        rate = self.told["rate"]
        self.optimizer = torch.optim.AdamW(
            self.net.parameters(), lr=rate, weight_decay=self.told["weight_decay"], fused=True
        )
        self.schedule = torch.optim.lr_scheduler.OneCycleLR(
            self.optimizer, rate, total_steps=max(self.epochs * len(self), steps)
        )

    def __len__(self) -> int:
        return len(self.labels) // self.batch

    def batches(self) -> Iterator[tuple[Any, Any]]:
        """One epoch."""
        torch = self.torch
        if self.pipeline == "whole batches":
            order = torch.randperm(len(self.labels))
            for first in range(0, len(self) * self.batch, self.batch):
                chosen = order[first : first + self.batch]
                yield self.augmentation.whole(self.images[chosen]), self.labels[chosen]
            return
        if self._loader is None:
            images = _Images(self.arrays["train"], self.labels, self.augmentation)
            self._loader = torch.utils.data.DataLoader(
                images, self.batch, shuffle=True, drop_last=True, num_workers=self.workers,
                persistent_workers=True,
            )  # fmt: skip
        yield from self._loader

    def step(self, images: Any, labels: Any) -> Any:
        if "channels-last" in self.variant:
            images = images.contiguous(memory_format=self.torch.channels_last)
        self.optimizer.zero_grad(set_to_none=True)
        loss = self.torch.nn.functional.cross_entropy(self.run(images), labels)
        loss.backward()
        self.optimizer.step()
        self.schedule.step()
        return loss.detach()

    def piece(self, batches: int) -> float:
        """Images a second over some batches, after a few others."""
        self.ready(WARM_UP + batches)
        began, done = time.perf_counter(), 0
        while done < WARM_UP + batches:
            for images, labels in self.batches():
                self.step(images, labels)
                done += 1
                if done == WARM_UP:
                    began = time.perf_counter()
                if done == WARM_UP + batches:
                    break
        return batches * self.batch / (time.perf_counter() - began)

    def choose(self, batches: int = PIECE) -> dict[str, float]:
        """Time the variants, then the ways to augment, and stay with the fastest: images a second."""
        found = {}
        for self.variant in VARIANTS:
            found[self.variant] = self.piece(batches)
        self.variant = max(found, key=lambda name: found[name])
        ways = {PIPELINES[0]: found[self.variant]}
        self.pipeline = PIPELINES[1]
        ways[self.pipeline] = self.piece(batches)
        self.pipeline = max(ways, key=lambda name: ways[name])
        self.ready()
        both = {f"{name}; {PIPELINES[0]}": speed for name, speed in found.items()}
        return {**both, f"{self.variant}; {PIPELINES[1]}": ways[PIPELINES[1]]}

    def epoch(self) -> float:
        """Train for an epoch; seconds."""
        began = time.perf_counter()
        total = self.torch.zeros(())
        for images, labels in self.batches():
            total += self.step(images, labels)
        total.item()
        return time.perf_counter() - began

    def accuracy(self) -> float:
        """Share of right answers on the test images."""
        torch, right = self.torch, 0
        self.net.eval()
        with torch.inference_mode():
            for first in range(0, len(self.arrays["test"]), 256):
                x = torch.from_numpy(self.arrays["test"][first : first + 256]).unsqueeze(1).float()
                x = x.sub_(255 * self.told["mean"]).div_(255 * self.told["std"])
                labels = torch.from_numpy(self.arrays["test_labels"][first : first + 256])
                right += int((self.net(x).argmax(1) == labels).sum())
        self.net.train()
        return right / len(self.arrays["test_labels"])
