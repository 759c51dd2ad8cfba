"""The experiments: what each compares, and what it holds fixed."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

__all__ = ["EXPERIMENTS", "Experiment", "Variant"]


@dataclass(frozen=True)
class Variant:
    """A network with its training.

    Attributes:
        label: what tables call it.
        network: a name in `fastconv.models`.
        options: of its builder.
        augment: whether training images are turned, moved, scaled and sheared a little.
    """

    label: str
    network: str = "mnist_cnn"
    options: Mapping[str, Any] = field(default_factory=dict)
    augment: bool = False

    @property
    def key(self) -> str:
        """The same for variants of several experiments that are one: each is trained once."""
        content = {"network": self.network, **self.options, "augment": self.augment}
        return json.dumps(content, sort_keys=True)


@dataclass(frozen=True)
class Experiment:
    """Variants that differ in one thing.

    Attributes:
        name: as `--only` takes it.
        title: what is compared.
        fixed: what all variants have in common.
        variants: in the order of the table.
    """

    name: str
    title: str
    fixed: str
    variants: tuple[Variant, ...]


def _pairs() -> Experiment:
    maps = "24C5-P2", "48C5-P2", "64C5-P2"
    return Experiment(
        "pairs",
        "Pairs of convolution and pooling",
        "5x5 filters with 24, 48 and 64 maps, dense layer of 256",
        tuple(Variant(" - ".join(maps[:n]), options={"pairs": n}) for n in (1, 2, 3)),
    )


def _maps() -> Experiment:
    return Experiment(
        "maps",
        "Feature maps",
        "two pairs of 5x5 convolution and pooling, dense layer of 256",
        tuple(
            Variant(f"{n}-{2 * n}", options={"maps": (n, 2 * n)}) for n in (8, 16, 24, 32, 48, 64)
        ),
    )


def _dense() -> Experiment:
    widths = 0, 32, 64, 128, 256, 512, 1024
    return Experiment(
        "dense",
        "Width of the dense layer",
        "32C5-P2 - 64C5-P2",
        tuple(
            Variant(str(n) if n else "none", options={"maps": (32, 64), "hidden": n})
            for n in widths
        ),
    )


def _dropout() -> Experiment:
    def options(tenths: int) -> dict[str, Any]:
        return {"maps": (32, 64), "hidden": 128, **({"dropout": tenths / 10} if tenths else {})}

    return Experiment(
        "dropout",
        "Dropout behind each pooling and the dense layer",
        "32C5-P2 - 64C5-P2, dense layer of 128",
        tuple(Variant(f"{10 * tenths} %", options=options(tenths)) for tenths in range(8)),
    )


def _improved(
    label: str,
    *,
    stacked: bool = False,
    strided: bool = False,
    norm: bool = False,
    augment: bool = False,
) -> Variant:
    options = {"stacked": stacked, "strided": strided, "norm": norm}
    return Variant(label, "mnist_cnn_improved", options, augment)


def _filters() -> Experiment:
    return Experiment(
        "filters",
        "Two 3x3 filters for one 5x5, strides for pooling",
        "two halves with 32 and 64 maps, not padded, dense layer of 128, 40 % dropout",
        (
            _improved("32C5-P2"),
            _improved("32C3-32C3-P2", stacked=True),
            _improved("32C5-32C5S2", strided=True),
            _improved("32C3-32C3-32C5S2", stacked=True, strided=True),
        ),
    )


def _norm() -> Experiment:
    both = {"stacked": True, "strided": True}
    return Experiment(
        "norm",
        "Batch normalisation",
        "as in the experiment on filters",
        (
            _improved("32C5-P2"),
            _improved("32C5-P2 with batch-norm", norm=True),
            _improved("32C3-32C3-32C5S2", **both),
            _improved("32C3-32C3-32C5S2 with batch-norm", norm=True, **both),
        ),
    )


def _augment() -> Experiment:
    both = {"stacked": True, "strided": True, "norm": True}
    return Experiment(
        "augment",
        "Augmentation: turned by 10 degrees, moved and scaled by a tenth, sheared by 5 degrees at most",
        "as in the experiment on filters",
        (
            _improved("32C5-P2"),
            _improved("32C5-P2, augmented", augment=True),
            _improved("32C3-32C3-32C5S2 with batch-norm", **both),
            _improved("32C3-32C3-32C5S2 with batch-norm, augmented", augment=True, **both),
        ),
    )


EXPERIMENTS: dict[str, Experiment] = {
    experiment.name: experiment
    for experiment in (_pairs(), _maps(), _dense(), _dropout(), _filters(), _norm(), _augment())
}
