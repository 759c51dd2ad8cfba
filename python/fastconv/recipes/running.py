"""What recipes share: images in parts, a run's config, training that can go on, numbers."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Any

from ..data import Dataset, Loader, load_dataset, split
from ..data.catalogue import DATASETS
from ..errors import ShapeError
from ..train import Trainer, evaluate_parts
from .registry import RecipeSettings

__all__ = ["Prepared", "load_images", "measure", "run_config", "train"]

_EVALUATION_BATCH = 256


@dataclass(frozen=True)
class Prepared:
    """A recipe that is ready to train.

    Attributes:
        trainer: with the network, optimiser and schedule.
        batches: of training images, augmented.
        parts: "train", "dev" and "test" images.
        epochs: how many the schedule is for.
    """

    trainer: Trainer
    batches: Loader
    parts: dict[str, Dataset]
    epochs: int


def load_images(settings: RecipeSettings, name: str, dev: float) -> dict[str, Dataset]:
    """Training, dev and test images of a data set by name, or of a folder with its files.

    Args:
        settings: whose `data` and `seed` count.
        name: the data set that the recipe is for. A folder in `settings.data` has its files.
        dev: share of the training images that is held out.

    Raises:
        ShapeError: `settings.data` is a file, or there are fewer than two training images.
        OSError, FormatError, ImportError: as `load_dataset`.
    """
    source = settings.data
    options: dict[str, Any] = {}
    if source is not None and source not in DATASETS:
        if not os.path.isdir(source):
            raise ShapeError(
                f"recipes: {source} is a file, expected a folder with the files of {name}"
            )
        options["data_dir"], source = source, name
    whole = load_dataset(source or name, "train", **options)
    if len(whole) < 2:
        raise ShapeError(f"recipes: {len(whole)} training images, expected at least 2")
    parts: dict[str, Dataset] = dict(
        split(
            whole,
            train=1.0 - dev,
            dev=dev,
            test=0.0,
            seed=settings.seed,
            on_missing="ignore",
        )
    )
    parts["test"] = load_dataset(source or name, "test", **options)
    return parts


def run_config(
    settings: RecipeSettings,
    recipe: str,
    *,
    data: str,
    model: str,
    epochs: int,
    train: Dataset,
    **more: Any,
) -> dict[str, Any]:
    """What checkpoints of a recipe know, so that `fastconv evaluate`, `report` and `recipe --resume` read them.

    Args:
        settings: as `run` gave them.
        recipe: its name.
        data: the data set that the recipe is for.
        model: a name in `fastconv.models`.
        epochs: how many there will be.
        train: the training images.
        **more: plain JSON values to keep beside: optimiser, learning rate and the like.
    """
    source = settings.data
    files = source is not None and source not in DATASETS
    return {
        "recipe": {
            "name": recipe,
            "data": source,
            "epochs": epochs,
            "seed": settings.seed,
            **({"options": dict(settings.options)} if settings.options else {}),
        },
        "model": model,
        "data": data if files or source is None else source,
        "data_dir": source if files else None,
        "epochs": epochs,
        "seed": settings.seed,
        "classes": list(train.classes),
        "image_shape": list(train.image_shape),
        "mean": list(train.standardize().mean),
        "std": list(train.standardize().std),
        **more,
    }


def train(prepared: Prepared, settings: RecipeSettings) -> None:
    """Train, from `settings.resume` on where there is one, with an evaluation on dev after each epoch.

    Raises:
        KeyboardInterrupt: after Ctrl-C, with `last.safetensors` written.
        FormatError, FastconvError, OSError: as `Trainer.load` and `Trainer.fit`.
    """
    trainer = prepared.trainer
    if settings.resume is not None:
        trainer.load(settings.resume)
    dev = Loader(prepared.parts["dev"], _EVALUATION_BATCH)
    try:
        trainer.fit(prepared.batches, dev, epochs=prepared.epochs, progress=not settings.quiet)
    except KeyboardInterrupt:
        kept = settings.out / "last.safetensors"
        if kept.exists():
            print(f"continue with: fastconv recipe --resume {kept}")
        raise


def measure(prepared: Prepared) -> dict[str, float]:
    """Accuracy on each part with the weights as they are after the last epoch; seconds and speed of training.

    `evaluations.json` is written beside the run's other files.
    """
    loaders = {name: Loader(part, _EVALUATION_BATCH) for name, part in prepared.parts.items()}
    errors = evaluate_parts(prepared.trainer, loaders).errors
    result = {f"{name}_accuracy": 1.0 - errors[name] for name in ("test", "dev", "train")}
    history = prepared.trainer.history
    seconds = sum(float(epoch["seconds"]) for epoch in history)
    images = sum(epoch["seconds"] * epoch["images_per_second"] for epoch in history)
    result["epochs"] = float(len(history))
    result["training_seconds"] = seconds
    result["images_per_second"] = images / max(seconds, 1e-9)
    return result
