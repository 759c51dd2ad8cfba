"""The texts' series of experiments on the architecture: pairs, maps, dense layer, dropout, filters, batch-norm,
augmentation; each variant trained several times, a table for each experiment.

fastconv recipe experiments --data mnist --out runs/experiments-mnist
fastconv recipe experiments --data fashion-mnist --only dense,dropout --repeats 5 --epochs 20

`experiments.json` in the run's folder keeps each training; the same command goes on with those that are missing.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np

from ...data import Dataset, split
from ...data.catalogue import DATASETS
from ...errors import ShapeError
from ...serialization import write_atomically
from ..registry import Option, RecipeSettings, register
from ..running import load_images
from .tables import Row, counted, line, markdown, standing, text_header
from .trials import Kept, Plan, run_trial
from .variants import EXPERIMENTS, Experiment, Variant

__all__ = ["EXPERIMENTS", "Experiment", "Variant", "run"]

DATA, EPOCHS, BATCH, RATE, WEIGHT_DECAY = "mnist", 8, 64, 2e-3, 0.01
DEV, DEV_IMAGES = 1 / 6, 5000  # a share of the training images, at most so many
OPTIONS = (
    Option(
        "only",
        f"experiments, of {','.join(EXPERIMENTS)}, with commas between them; all if empty",
        "",
    ),
    Option("repeats", "trainings of each variant, with other seeds", 3),
    Option("images", "training images, fewer where there are not as many", 20_000),
)


@register(
    "experiments",
    "Architecture experiments: pairs, maps, dense layer, dropout, filters, batch-norm, augmentation",
    OPTIONS,
)
def run(settings: RecipeSettings) -> dict[str, float]:
    """Train all variants; the numbers are the best accuracies on dev, means over the repeats.

    `experiments.md`, `experiments.json` and `experiments.png` in the run's folder have the tables, every training
    and a picture. Every training begins anew, with the weights of its seed; the test images are not touched.

    Raises:
        ShapeError: there is no such experiment, or no images to hold out.
        FastconvError: the folder has trainings with other settings.
        FormatError, OSError, ImportError: as `load_dataset`; a file cannot be read or written.
    """
    chosen = _chosen(str(settings.options["only"]))
    repeats = int(settings.options["repeats"])
    if settings.resume is not None:
        raise ShapeError("experiments: there is no --resume; the same command with --out goes on")
    train, dev = _parts(settings)
    source = settings.data or DATA
    plan = Plan(
        data=source if source in DATASETS else Path(source).name,
        digest=_digest(train),
        images=len(train),
        dev=len(dev),
        epochs=settings.epochs or EPOCHS,
        batch_size=BATCH,
        lr=RATE,
        weight_decay=WEIGHT_DECAY,
        seed=settings.seed,
    )
    kept = Kept(settings.out / "experiments.json", plan)
    if not settings.quiet:
        _say(
            f"{plan.data}: {plan.images:,} training and {plan.dev:,} dev images, "
            f"{counted(plan.epochs, 'epoch')}, {counted(repeats, 'training')} of each variant"
        )
    try:
        for experiment in chosen:
            _train_all(experiment, settings, plan, kept, train, dev)
    except KeyboardInterrupt:
        print(f"the same command goes on with what {kept.path} has")
        raise
    result = {}
    for experiment in chosen:
        best = max(_rows(experiment, kept), key=lambda row: row.accuracy)
        result[f"{experiment.name}_best_accuracy"] = best.accuracy
    different = {variant.key: variant for each in chosen for variant in each.variants}
    result["variants"] = float(len(different))
    result["training_seconds"] = sum(
        trial.seconds for variant in different.values() for trial in kept.all(variant)
    )
    return result


def _train_all(
    experiment: Experiment,
    settings: RecipeSettings,
    plan: Plan,
    kept: Kept,
    train: Dataset,
    dev: Dataset,
) -> None:
    """The trainings of an experiment that are missing, a line for each variant, and what they show."""
    repeats = int(settings.options["repeats"])
    if not settings.quiet:
        _say(f"\n{text_header(experiment)}")
    for variant in experiment.variants:
        for seed in range(plan.seed, plan.seed + repeats):
            if kept.get(variant, seed) is None:
                kept.add(variant, seed, run_trial(variant, train, dev, plan, seed))
        row = Row(variant, kept.all(variant))
        if not settings.quiet:
            _say(line(experiment, row))
    if not settings.quiet:
        _say(standing(_rows(experiment, kept)))
    _write(settings, plan, kept)


def _chosen(only: str) -> list[Experiment]:
    names = [name.strip() for name in only.split(",") if name.strip()] or list(EXPERIMENTS)
    for name in names:
        if name not in EXPERIMENTS:
            raise ShapeError(
                f"experiments: there is no experiment {name[:40]!r}; there are {', '.join(EXPERIMENTS)}"
            )
    return [experiment for name, experiment in EXPERIMENTS.items() if name in names]


def _parts(settings: RecipeSettings) -> tuple[Dataset, Dataset]:
    """What is trained on, and what of the training images is held out."""
    parts = load_images(settings, DATA, dev=DEV)
    sizes = {"train": int(settings.options["images"]), "dev": DEV_IMAGES}
    for name, size in sizes.items():
        if size < len(parts[name]):
            parts[name] = split(
                parts[name], train=size, dev=0, test=0, seed=settings.seed, on_missing="ignore"
            )["train"]
    return parts["train"], parts["dev"]


def _digest(data: Dataset) -> str:
    """SHA-256 of images and labels."""
    digest = hashlib.sha256(str(data.image_shape).encode())
    for first in range(0, len(data), 1000):
        places = np.arange(first, min(first + 1000, len(data)))
        digest.update(np.ascontiguousarray(data.fetch(places)).data)
    digest.update(np.ascontiguousarray(data.labels).data)
    return digest.hexdigest()


def _rows(experiment: Experiment, kept: Kept) -> list[Row]:
    """The variants that were trained at all."""
    found = [Row(variant, kept.all(variant)) for variant in experiment.variants]
    return [row for row in found if row.trials]


def _write(settings: RecipeSettings, plan: Plan, kept: Kept) -> None:
    """Tables and picture of all that is kept."""
    results = {
        name: (experiment, _rows(experiment, kept)) for name, experiment in EXPERIMENTS.items()
    }
    write_atomically(settings.out / "experiments.md", markdown(plan, results).encode())
    from ...visualize import plot_comparison, save_png

    panels = [
        (
            experiment.title.partition(":")[0],
            [(row.variant.label, [100 * t.accuracy for t in row.trials]) for row in rows],
        )
        for experiment, rows in results.values()
        if rows
    ]
    title = f"{plan.data}: {plan.images:,} training images, {counted(plan.epochs, 'epoch')}"
    try:
        figure = plot_comparison(panels, title, label=f"accuracy on {plan.dev:,} dev images, %")
    except ImportError:
        if not settings.quiet:
            _say("no experiments.png: matplotlib is not installed")
        return
    save_png(figure, settings.out / "experiments.png")


def _say(text: str) -> None:
    print(text, flush=True)
