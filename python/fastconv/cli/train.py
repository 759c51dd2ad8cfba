"""Train a network and keep its checkpoints, history and curves.

Ctrl-C finishes the step under way and leaves last.safetensors, from which --resume continues as if
nothing had happened: settings come from the checkpoint, and the result is the same to the last bit.
"""

from __future__ import annotations

import argparse
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any

import numpy as np

from .. import manual_seed, models, optim
from ..data import Dataset, Subset, load_parts
from ..data.catalogue import DATASETS
from ..errors import FastconvError, FormatError, ShapeError
from ..train import Trainer, load_checkpoint
from ..train.diagnosis import EVALUATIONS, measure_parts, write_evaluations
from .common import (
    add_data,
    add_threads,
    batches,
    build_model,
    evaluation_batch,
    fingerprint,
    loader_options,
    network_name,
    percent,
    real,
    set_threads,
    whole,
)

__all__ = ["Settings", "add_arguments", "data_parts", "run", "saved_settings", "shares_of"]

# What is not given on the command line, by optimiser. The rate is the highest of the cycle.
_OPTIMIZERS: dict[str, dict[str, float]] = {
    "sgd": {"lr": 0.05, "momentum": 0.9, "weight_decay": 5e-4},
    "adam": {"lr": 2e-3, "weight_decay": 0.0},
    "adamw": {"lr": 2e-3, "weight_decay": 0.01},
    "rmsprop": {"lr": 1e-3, "momentum": 0.0, "weight_decay": 0.0},
}
_BATCH_SIZE = 64
# A sixth of the images leaves ten epochs short of steps: smaller batches and a higher rate gain 0.7
# points of accuracy with LeNet-5 (mean of five seeds). With all 60,000 images they gain nothing.
_FEW_IMAGES = {"bundled": {"batch_size": 32, "lr": 0.08}}
_MOMENTUM_SWING = 0.05


@dataclass(frozen=True)
class Settings:
    """What a run follows from; kept in its checkpoints. Field names are those of the options."""

    model: str
    data: str = "bundled"
    epochs: int = 10
    batch_size: int = _BATCH_SIZE
    optimizer: str = "sgd"
    lr: float | None = None
    momentum: float | None = None
    weight_decay: float | None = None
    seed: int = 0
    image_size: int | None = None  # where images are resized
    split: str | None = None  # of one folder or table
    on_error: str = "raise"


# The kinds of what a checkpoint has of them.
_KINDS: dict[str, Any] = {
    **dict.fromkeys(("model", "data", "optimizer"), str),
    **dict.fromkeys(("epochs", "batch_size", "seed"), int),
    **dict.fromkeys(("lr", "weight_decay"), (int, float)),
    "momentum": (int, float, type(None)),
    "image_size": (int, type(None)),
    "split": (str, type(None)),
    "on_error": str,
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of this command."""
    defaults = Settings("")
    sgd = _OPTIMIZERS["sgd"]
    few = {name: f"; bundled: {value:g}" for name, value in _FEW_IMAGES["bundled"].items()}
    parser.add_argument("model", metavar="MODEL", type=network_name, help=", ".join(models.list()))
    add_data(parser, defaults.data)
    for name, metavar, kind, text in (
        ("epochs", "N", whole(1), f"passes over the training images (default: {defaults.epochs})"),
        (
            "batch-size",
            "B",
            whole(1),
            f"images per step (default: {_BATCH_SIZE}{few['batch_size']})",
        ),
        (
            "lr",
            "X",
            real(0.0),
            f"highest learning rate of the one-cycle schedule (sgd: {sgd['lr']:g}{few['lr']})",
        ),
        ("momentum", "X", real(below=1.0), f"of sgd and rmsprop (sgd: {sgd['momentum']:g})"),
        ("weight-decay", "X", real(), f"(sgd: {sgd['weight_decay']:g})"),
        (
            "image-size",
            "S",
            whole(1),
            "resize images to S x S pixels (default: as they are, or the least that MODEL takes; "
            "image files: what MODEL was made for)",
        ),
        ("seed", "S", whole(0), f"of weights and order of images (default: {defaults.seed})"),
    ):
        parser.add_argument(f"--{name}", metavar=metavar, type=kind, help=text)
    parser.add_argument(
        "--split",
        metavar="A,B,C",
        type=_shares_text,
        help="shares of training, dev and test images, with four also of bridge images after the "
        "first, where DATA is one folder or table (default: 0.8,0.1,0.1)",
    )
    parser.add_argument(
        "--on-error",
        choices=["raise", "skip"],
        help="what is done about image files that cannot be read (default: raise)",
    )
    parser.add_argument("--optimizer", choices=list(_OPTIMIZERS), help="(default: sgd)")
    add_threads(parser)
    parser.add_argument(
        "--out", metavar="DIR", type=Path, help="folder for the files (default: runs/MODEL)"
    )
    parser.add_argument("--resume", metavar="F", type=Path, help="continue from this checkpoint")
    parser.add_argument("--quiet", action="store_true", help="print the result only")


def run(options: argparse.Namespace) -> int:
    """Train; the exit code."""
    set_threads(options)
    checkpoint = None if options.resume is None else load_checkpoint(options.resume)
    settings = (
        _settings(options) if checkpoint is None else _resumed_settings(options, checkpoint.config)
    )
    out = options.out or (
        options.resume.parent if options.resume else Path("runs") / settings.model
    )
    if settings.data not in DATASETS and settings.image_size is None:
        settings = replace(settings, image_size=models.info(settings.model).input_shape[1])
    parts = data_parts(settings, options)
    train, test = parts["train"], parts.get("test", parts.get("dev"))
    if test is None:
        raise ShapeError(f"{settings.data}: there are no dev and no test images, expected some")
    settings = replace(settings, image_size=_image_size(settings, train.image_shape))
    shape = train.image_shape
    if settings.image_size is not None:
        shape = (shape[0], settings.image_size, settings.image_size)
    digest = fingerprint(train)
    if checkpoint is not None and checkpoint.config.get("sha256") != digest:
        raise FastconvError(f"{options.resume} was written with other training images than these")
    config = {
        **asdict(settings),
        "sha256": digest,
        "classes": list(train.classes),
        "image_shape": list(shape),
        "mean": list(train.standardize().mean),
        "std": list(train.standardize().std),
        "files": settings.data not in DATASETS,
    }

    manual_seed(settings.seed)
    net = build_model(settings.model, len(train.classes), shape)
    making = loader_options(options, train)
    training = batches(
        train, settings.batch_size, shape, shuffle=True, seed=settings.seed, **making
    )
    optimizer, schedule = _optimizer(settings, net, settings.epochs * len(training))
    trainer = Trainer(
        net,
        models.auxiliary_cross_entropy,
        optimizer,
        schedule=schedule,
        out_dir=out,
        config=config,
        seed=settings.seed,
    )
    if checkpoint is not None:
        trainer.restore(checkpoint, str(options.resume))
    at_once = evaluation_batch(shape)
    validation = batches(parts.get("dev", test), at_once, shape, **making)
    if not options.quiet:
        print(
            f"{settings.model} on {settings.data}: {_counted(parts)} images{_resized(settings)}, "
            f"{settings.epochs} epochs from {trainer.epoch} on, "
            f"files in {out}",
            flush=True,
        )
    try:
        trainer.fit(training, validation, epochs=settings.epochs, progress=not options.quiet)
    except (KeyboardInterrupt, OSError):  # of a full disk
        kept = out / "last.safetensors"
        if kept.exists():
            print(f"continue with: fastconv train {settings.model} --resume {kept}")
        raise
    making["worker"] = "thread"  # not processes for each part
    judged = {**parts, "train": _sample(parts)}
    found = measure_parts(
        trainer, {name: batches(part, at_once, shape, **making) for name, part in judged.items()}
    )
    last = "test" if "test" in parts else "dev"
    print(f"{last} accuracy {percent(1 - found[last]['error'])}, loss {found[last]['loss']:.4f}")
    write_evaluations(found, out)
    print(f"files: {', '.join(str(out / name) for name in _files(out))}")
    return 0


def _sample(parts: dict[str, Dataset]) -> Subset:
    """Training images at equal distances, as many as the largest other part has: to measure the error on."""
    train = parts["train"]
    count = min(len(train), max(len(part) for name, part in parts.items() if name != "train"))
    return Subset(train, np.arange(count) * len(train) // count)


def data_parts(settings: Settings, options: argparse.Namespace, **more: Any) -> dict[str, Dataset]:
    """The parts of a run's data."""
    if settings.data in DATASETS:
        for name in ("split", "on_error", "cache"):
            if getattr(options, name, None) is not None:
                option = f"--{name.replace('_', '-')}"
                raise ShapeError(f"{option} goes with image files, not with {settings.data}")
        return load_parts(settings.data, data_dir=options.data_dir)
    if options.cache is not None:
        more["cache"] = options.cache
    return load_parts(
        settings.data,
        data_dir=options.data_dir,
        size=settings.image_size,
        shares=shares_of(settings),
        seed=settings.seed,
        on_error=settings.on_error,
        **more,
    )


def shares_of(settings: Settings) -> dict[str, float] | None:
    """What one folder or table is split into."""
    return None if settings.split is None else _shares(settings.split)


def _shares(text: str) -> dict[str, float]:
    numbers = [float(number) for number in text.split(",")]
    names = ("train", "dev", "test") if len(numbers) == 3 else ("train", "bridge", "dev", "test")
    return dict(zip(names, numbers, strict=True))


def _shares_text(text: str) -> str:
    """Parser of --split: three or four shares of at most 1 in all."""
    try:
        shares = _shares(text)
        good = (
            min(shares.values()) >= 0 and shares["train"] > 0 and sum(shares.values()) <= 1.000001
        )
    except ValueError:
        good = False
    if not good:
        raise argparse.ArgumentTypeError(
            f"expected three or four shares such as 0.8,0.1,0.1, at most 1 in all, got {text[:40]!r}"
        )
    return text


def _counted(parts: dict[str, Dataset]) -> str:
    """How many images there are of each part."""
    called = {"train": "training"}
    counts = [f"{len(part):,} {called.get(name, name)}" for name, part in parts.items()]
    return f"{', '.join(counts[:-1])} and {counts[-1]}"


def _image_size(settings: Settings, data_shape: tuple[int, ...]) -> int | None:
    """What images are resized to, if at all: as asked for, or what a network needs at least."""
    smallest = models.info(settings.model).smallest
    size = settings.image_size
    if size is None:
        return smallest if min(data_shape[1:]) < smallest else None
    if size < smallest:
        raise ShapeError(
            f"{settings.model}: images must be at least {smallest} pixels wide and high in "
            f"training, --image-size is {size}"
        )
    return size


def _resized(settings: Settings) -> str:
    size = settings.image_size
    return "" if size is None else f" resized to {size} x {size} pixels"


def _files(out: Path) -> list[str]:
    names = ("best.safetensors", "last.safetensors", "history.json", "curves.png", EVALUATIONS)
    return [name for name in names if (out / name).exists()]


def _settings(options: argparse.Namespace) -> Settings:
    given = {f.name: getattr(options, f.name) for f in fields(Settings)}
    settings = Settings(**{name: value for name, value in given.items() if value is not None})
    defaults: dict[str, Any] = dict(_OPTIMIZERS[settings.optimizer])
    if settings.momentum is not None and "momentum" not in defaults:
        raise FastconvError(f"--momentum does not go with --optimizer {settings.optimizer}")
    few = _FEW_IMAGES.get(settings.data, {})
    defaults["batch_size"] = few.get("batch_size", _BATCH_SIZE)
    if settings.optimizer == "sgd":
        defaults["lr"] = few.get("lr", defaults["lr"])
    chosen = {name: value for name, value in given.items() if value is not None}
    return Settings(**{**defaults, **chosen})


def saved_settings(path: Path, config: dict[str, Any]) -> Settings:
    """The settings in a checkpoint's config."""
    try:
        # Checkpoints from before images could be resized, or be files, do not have these.
        saved = {"image_size": None, "split": None, "on_error": "raise", **config}
        settings = Settings(**{f.name: saved[f.name] for f in fields(Settings)})
    except KeyError as missing:
        raise FormatError(
            f"{path}: not written by `fastconv train`: no {missing} in it"
        ) from missing
    for name, kinds in _KINDS.items():
        if not isinstance(getattr(settings, name), kinds):
            raise FormatError(
                f"{path}: not written by `fastconv train`: its {name} is "
                f"{getattr(settings, name)!r:.40}"
            )
    if settings.optimizer not in _OPTIMIZERS:
        raise FormatError(f"{path}: there is no optimizer {settings.optimizer!r:.40}")
    try:
        shares_of(settings)
    except ValueError as error:
        raise FormatError(f"{path}: not written by `fastconv train`: its split: {error}") from error
    return settings


def _resumed_settings(options: argparse.Namespace, config: dict[str, Any]) -> Settings:
    """The settings in a checkpoint, which options may repeat but not change."""
    settings = saved_settings(options.resume, config)
    for name, value in asdict(settings).items():
        given = getattr(options, name)
        if given is not None and given != value:
            option = "MODEL" if name == "model" else f"--{name.replace('_', '-')}"
            raise FastconvError(
                f"{option} is {given}, but {options.resume} continues a run with {value}"
            )
    return settings


def _optimizer(settings: Settings, net: Any, steps: int) -> tuple[Any, Any]:
    """The optimiser and its one-cycle schedule over `steps` steps."""
    kind = {"sgd": optim.SGD, "adam": optim.Adam, "adamw": optim.AdamW, "rmsprop": optim.RMSprop}
    chosen = {name: getattr(settings, name) for name in ("lr", "momentum", "weight_decay")}
    given: dict[str, Any] = {name: value for name, value in chosen.items() if value is not None}
    optimizer: Any = kind[settings.optimizer](net.parameters(), **given)
    # As the learning rate goes up and down, SGD's momentum goes down and up around what is given.
    momentum = given.get("momentum", 0.0)
    swing = min(_MOMENTUM_SWING, momentum, (1.0 - momentum) / 2)
    schedule = optim.OneCycleLR(
        optimizer,
        max_lr=given["lr"],
        total_steps=steps,
        cycle_momentum=momentum > 0.0,
        base_momentum=momentum - swing,
        max_momentum=momentum + swing,
    )
    return optimizer, schedule
