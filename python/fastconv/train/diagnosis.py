"""What to work on next: the error on train, bridge, dev and test, and what each difference says."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..errors import DTypeError, FormatError, ShapeError
from ..serialization import PathLike, write_atomically
from .batches import as_stored

__all__ = [
    "Diagnosis",
    "Share",
    "diagnose",
    "evaluate_parts",
    "measure_parts",
    "read_evaluations",
    "write_evaluations",
]

PARTS = ("human", "train", "bridge", "dev", "test")
EVALUATIONS = "evaluations.json"

_BIAS = "avoidable bias"
_VARIANCE = "variance"
_MISMATCH = "data mismatch"
_OVERFITTING = "overfitting to dev"
_BOTH = "variance and data mismatch"

# Share -> the error that it ends at, the one it starts from.
_SHARES = {
    _BIAS: ("train", "human"),
    _VARIANCE: ("bridge", "train"),
    _MISMATCH: ("dev", "bridge"),
    _OVERFITTING: ("test", "dev"),
}

ADVICE = {
    _BIAS: (
        "a larger network, or one of another kind (the zoo, transfer from a trained one)",
        "train longer, with a better rate (Trainer.find_learning_rate) and schedule, batch normalisation",
        "less weight decay, dropout and augmentation",
        "look at the training images that it gets wrong: are their labels right, would a person know?",
    ),
    _VARIANCE: (
        "more training images, or augmentation (fastconv.data.augment)",
        "weight decay, dropout, batch normalisation, early stopping",
        "start from a trained network (fastconv.transfer), or take a smaller one",
    ),
    _MISMATCH: (
        "look at dev images that it gets wrong: what sets them apart from the training images?",
        "get training images that are more like them, or move some of their kind into training",
        "make such images: augmentation with their light, blur, noise and framing",
    ),
    _OVERFITTING: (
        "a larger or a fresh dev set: too much was chosen by the present one",
        "fewer and simpler choices by dev's figures",
    ),
    _BOTH: (
        "hold out a part of the training images as a bridge (fastconv.data.split) to tell the two apart",
        "where dev comes from the same source as train, it is all variance: more images, augmentation, "
        "weight decay, dropout, transfer",
    ),
}


@dataclass(frozen=True)
class Share:
    """A part of the error, as a difference of two.

    Attributes:
        name: "avoidable bias", "variance", "data mismatch", "overfitting to dev", or "variance and data mismatch"
            where they cannot be told apart.
        value: the difference, 0 to 1; below 0 where the later error is the lower one.
        of: what it is a difference of, such as "dev - bridge".
        deviation: standard deviation of the difference by chance, from the numbers of images; None where those
            are not known.
    """

    name: str
    value: float
    of: str
    deviation: float | None = None

    @property
    def certain(self) -> bool:
        """Whether it is more than two standard deviations, as far as that is known."""
        return self.deviation is None or self.value > 2 * self.deviation


@dataclass(frozen=True)
class Diagnosis:
    """What `diagnose` finds; `str` lays it out.

    Attributes:
        errors: part -> error, 0 to 1, of those that are known.
        images: part -> how many images it was measured on, where that is known.
        shares: the parts of the error.
        largest: the largest share above 0, or None.
        advice: what may help against it.
        unknown: share -> why it cannot be told.
        notes: what else is to be known about the numbers.
    """

    errors: dict[str, float]
    images: dict[str, int]
    shares: tuple[Share, ...]
    largest: Share | None
    advice: tuple[str, ...]
    unknown: dict[str, str]
    notes: tuple[str, ...] = field(default=())

    def as_dict(self) -> dict[str, Any]:
        """As plain dictionaries, lists and numbers, for JSON."""
        return {
            "errors": dict(self.errors),
            "images": dict(self.images),
            "shares": [
                {"name": s.name, "value": s.value, "of": s.of, "deviation": s.deviation}
                for s in self.shares
            ],
            "largest": None if self.largest is None else self.largest.name,
            "certain": None if self.largest is None else self.largest.certain,
            "advice": list(self.advice),
            "unknown": dict(self.unknown),
            "notes": list(self.notes),
        }

    def __str__(self) -> str:
        lines = ["part     error    images"]
        for part, error in self.errors.items():
            count = f"{self.images[part]:,}" if part in self.images else ""
            lines.append(f"{part:7}{_percent(error):>7}{count:>10}".rstrip())
        width = max(len(share.name) for share in self.shares)
        lines += ["", f"{'share'.ljust(width)}           of"]
        for share in self.shares:
            mark = "   <- largest" if share is self.largest else ""
            chance = "" if share.deviation is None else f" (+- {_percent(2 * share.deviation)})"
            lines.append(
                f"{share.name.ljust(width)}  {_percent(share.value):>7}  {share.of}{chance}{mark}"
            )
        lines += [f"{name}: not known: {why}" for name, why in self.unknown.items()]
        lines.append("")
        if self.largest is None:
            lines.append("No share is above 0: nothing stands out.")
        else:
            lines.append(f"The largest share is {self.largest.name}. What may help:")
            lines += [f"- {text}" for text in self.advice]
        lines += [f"Note: {note}" for note in self.notes]
        return "\n".join(lines)


def diagnose(errors: Mapping[str, float], images: Mapping[str, int] | None = None) -> Diagnosis:
    """Tell what the error on new images is made of, and what to do about the largest part.

    Args:
        errors: of "human" (or the best that is possible), "train", "bridge" (images of the training images'
            source that are not trained on), "dev" and "test", those that are known: shares of wrong answers, 0
            to 1.
        images: how many images each was measured on; differences within chance are then called so.

    Returns:
        avoidable bias = train - human (0 where it is not given), variance = bridge - train, data mismatch = dev -
        bridge, overfitting to dev = test - dev. Without bridge the two in the middle come as one, dev - train, or
        where there is no dev either test - train.

    Raises:
        ShapeError: a name that there is not, an error outside 0 to 1, a number of images below 1; no share can be
            told from what is given.
        DTypeError: a value is no number.

    Source: A. Ng, Machine Learning Yearning (2018), chapters 20 to 22 and 40 to 43, where the bridge is called
    "training dev".
    """
    known = _checked_errors(errors)
    counts = _checked_images(images or {}, known)
    notes = []
    shares, unknown = [], {}
    if "human" not in known and "train" in known:
        notes.append(
            "human error is not given: the bias is against 0, and less of it may be avoidable"
        )
    for name, (upper, lower) in _SHARES.items():
        lacking = [p for p in (upper, lower) if p not in known and p != "human"]
        if not lacking:
            shares.append(_share(name, upper, lower, known, counts))
        else:
            unknown[name] = f"there is no error on {' and '.join(lacking)}"
    if "bridge" not in known and "train" in known and ("dev" in known or "test" in known):
        later = "dev" if "dev" in known else "test"
        place = 1 if shares and shares[0].name == _BIAS else 0
        shares.insert(place, _share(_BOTH, later, "train", known, counts))
        if later == "test":
            notes.append("there is no error on dev: that on test stands in its place")
    if not shares:
        given = ", ".join(known) or "nothing"
        raise ShapeError(
            f"diagnose: no share can be told from {given}: expected the error on train, or on two of train, "
            f"bridge, dev and test that follow each other ({'; '.join(f'{k}: {v}' for k, v in unknown.items())})"
        )
    largest: Share | None = max(shares, key=lambda share: share.value)
    if largest is not None and largest.value <= 0:
        largest = None
    if largest is not None and not largest.certain:
        notes.append(
            f"{largest.name} is within twice its standard deviation: more images are needed to be sure of it"
        )
    advice = () if largest is None else ADVICE[largest.name]
    return Diagnosis(known, counts, tuple(shares), largest, advice, unknown, tuple(notes))


def _share(
    name: str, upper: str, lower: str, errors: Mapping[str, float], images: Mapping[str, int]
) -> Share:
    value = errors[upper] - errors.get(lower, 0.0)
    measured = [part for part in (upper, lower) if part != "human"]
    deviation = None
    if all(part in images for part in measured):
        deviation = math.sqrt(
            sum(errors[part] * (1 - errors[part]) / images[part] for part in measured)
        )
    of = f"{upper} - {lower}" if lower in errors else upper
    return Share(name, value, of, deviation)


def _checked_errors(errors: Mapping[str, float]) -> dict[str, float]:
    if not isinstance(errors, Mapping):
        raise DTypeError(f"diagnose: errors is a {type(errors).__name__}, expected a mapping")
    wrong = [str(name) for name in errors if name not in PARTS]
    if wrong:
        raise ShapeError(f"diagnose: there is no part {wrong[0]!r}, expected {', '.join(PARTS)}")
    known = {}
    for part in PARTS:
        if part in errors:
            value = errors[part]
            if isinstance(value, bool) or not isinstance(value, (int, float)):
                raise DTypeError(
                    f"diagnose: the error on {part} is a {type(value).__name__}, expected a number"
                )
            if not 0 <= value <= 1:
                raise ShapeError(
                    f"diagnose: the error on {part} is {value}, expected a share from 0 to 1"
                )
            known[part] = float(value)
    return known


def _checked_images(images: Mapping[str, int], known: Mapping[str, float]) -> dict[str, int]:
    counts = {}
    for part, count in images.items():
        if isinstance(count, bool) or not isinstance(count, int):
            raise DTypeError(f"diagnose: images of {part} is {count!r}, expected an integer")
        if count < 1:
            raise ShapeError(f"diagnose: images of {part} is {count}, expected at least 1")
        if part in known:
            counts[part] = count
    return counts


def _percent(value: float) -> str:
    return f"{100 * value:.2f} %"


# Runs.


def evaluate_parts(trainer: Any, parts: Mapping[str, Any], human: float | None = None) -> Diagnosis:
    """Evaluate a trainer's network on the parts of its data, and diagnose.

    Where the trainer has an `out_dir`, the figures are kept there in `evaluations.json`, for `fastconv diagnose`
    and `fastconv report`.

    Args:
        trainer: a `Trainer`.
        parts: "train", "bridge", "dev", "test" -> data, as `fastconv.data.split` gives them. Loaders' images are
            taken once each, without `augment`, `mix` and `sampler`.
        human: the error of people on such images.

    Raises:
        ShapeError: a part of another name; the outputs are no scores of classes.
        OSError: the file cannot be written.
    """
    if human is not None:
        _checked_errors({"human": human})
    found = measure_parts(trainer, parts)
    if human is not None:
        found["human"] = {"error": float(human)}
    diagnosis = diagnose(*_figures(found))
    if trainer.out_dir is not None:
        write_evaluations(found, trainer.out_dir)
    return diagnosis


def measure_parts(trainer: Any, parts: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Of each part of the data `error`, `loss`, `images` and the trainer's metrics; see `evaluate_parts`."""
    wrong = [name for name in parts if name not in PARTS[1:]]
    if wrong:
        raise ShapeError(
            f"evaluate_parts: there is no part {wrong[0]!r}, expected {', '.join(PARTS[1:])}"
        )
    found: dict[str, dict[str, Any]] = {}
    for name, data in parts.items():
        result = trainer.evaluate(as_stored(data))
        if "accuracy" not in result:
            raise ShapeError(
                f"evaluate_parts: there is no accuracy on {name}: the network's output is not a score for "
                "each class"
            )
        found[name] = {"error": 1.0 - result.pop("accuracy"), **result}
    return found


def write_evaluations(found: Mapping[str, Mapping[str, Any]], folder: PathLike) -> None:
    """Keep the figures of parts in a run's folder, as `evaluations.json`.

    Raises:
        OSError: the file cannot be written.
    """
    text = json.dumps(found, indent=1, allow_nan=False)
    Path(folder).mkdir(parents=True, exist_ok=True)
    write_atomically(Path(folder) / EVALUATIONS, (text + "\n").encode())


def read_evaluations(run: PathLike) -> tuple[dict[str, float], dict[str, int], list[str]]:
    """The errors of a run, the numbers of images, and notes on where they come from.

    `evaluations.json` has them, which `evaluate_parts` writes; else train's and dev's are those of the last epoch
    in `history.json`, which `Trainer` writes.

    Raises:
        FormatError: a file is damaged, or there is no accuracy in it.
        OSError: there is no such folder, neither file is in it, or one cannot be read.
    """
    folder = Path(run)
    if not folder.is_dir():
        raise FileNotFoundError(f"{folder}: there is no such folder of a run")
    errors: dict[str, float] = {}
    images: dict[str, int] = {}
    notes: list[str] = []
    file = folder / EVALUATIONS
    if file.exists():
        found = _json(file)
        if not isinstance(found, dict) or not all(isinstance(v, dict) for v in found.values()):
            raise FormatError(f"{file}: expected a figure for each part")
        try:
            errors, images = _figures(found)
            _checked_images(images, _checked_errors(errors))
        except (KeyError, ShapeError, DTypeError) as error:
            raise FormatError(f"{file}: {error}") from error
    history = folder / "history.json"
    if errors:
        return errors, images, notes
    if not history.exists():
        raise FileNotFoundError(
            f"{folder}: neither {EVALUATIONS} nor history.json is in it; expected the folder of a run"
        )
    records = _json(history)
    last = records[-1] if isinstance(records, list) and records else None
    if not isinstance(last, dict):
        raise FormatError(f"{history}: expected a list of epochs")
    for part, key in (("train", "train_accuracy"), ("dev", "val_accuracy")):
        if key in last:
            if isinstance(last[key], bool) or not isinstance(last[key], (int, float)):
                raise FormatError(f"{history}: {key} is {last[key]!r}, expected a number")
            errors[part] = 1.0 - last[key]
    if not errors:
        raise FormatError(f"{history}: there is no accuracy in it, expected a classifier's run")
    notes.append(
        f"from epoch {last.get('epoch', len(records))} of history.json"
        + (
            "; train's error was measured while training, with augmentation and dropout: "
            "evaluate_parts measures it as the others"
            if "train" in errors
            else ""
        )
    )
    return errors, images, notes


def _figures(found: Mapping[str, Mapping[str, Any]]) -> tuple[dict[str, float], dict[str, int]]:
    errors = {part: figures["error"] for part, figures in found.items()}
    return errors, {p: figures["images"] for p, figures in found.items() if "images" in figures}


def _json(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise FormatError(f"{path}: not JSON: {error}") from error
