"""A small classifier and images for it."""

from __future__ import annotations

from collections import OrderedDict
from typing import Any

import numpy as np

import fastconv as fc
from fastconv import nn
from fastconv.data import ArrayDataset


def small_net(channels: int = 2, classes: int = 3, dtype: Any = "float64") -> nn.Sequential:
    """(N, channels, 8, 8) -> (N, classes)."""
    fc.manual_seed(11)
    return nn.Sequential(
        OrderedDict(
            conv1=nn.Conv2d(channels, 4, 3, padding=1, dtype=dtype),
            norm=nn.BatchNorm2d(4, dtype=dtype),
            relu1=nn.ReLU(),
            pool=nn.MaxPool2d(2),
            conv2=nn.Conv2d(4, 5, 3, dtype=dtype),
            tanh=nn.Tanh(),
            flatten=nn.Flatten(),
            drop=nn.Dropout(0.5),
            head=nn.Linear(20, classes, dtype=dtype),
        )
    )


def image(channels: int = 2, seed: int = 0) -> Any:
    return np.random.default_rng(seed).standard_normal((channels, 8, 8))


def dataset(count: int = 30, channels: int = 2, classes: int = 3) -> ArrayDataset:
    random = np.random.default_rng(5)
    return ArrayDataset(
        random.integers(0, 256, (count, channels, 8, 8), dtype=np.uint8),
        random.integers(0, classes, count),
        [f"class {i}" for i in range(classes)],
        mean=(0.5,),
        std=(0.25,),
    )
