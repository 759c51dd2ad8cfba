"""The recipes by name, what they are told, and what they leave behind."""

from __future__ import annotations

import difflib
import json
import math
import os
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from .. import __version__
from .._runtime import get_num_threads, set_num_threads
from ..data.catalogue import DATASETS
from ..errors import DTypeError, FastconvError, FormatError, ShapeError
from ..nn._args import flag, integer
from ..serialization import PathLike, write_atomically
from ..train import load_checkpoint

__all__ = [
    "RESULTS",
    "Option",
    "Recipe",
    "RecipeSettings",
    "info",
    "list_recipes",
    "register",
    "run",
]

RESULTS = "recipe.json"


@dataclass(frozen=True)
class RecipeSettings:
    """What a recipe is told. Its own choices are in its module.

    Attributes:
        data: the name of a data set, or the whole path of a folder or file; None for the recipe's own.
        epochs: passes over the training images; None for the recipe's own number.
        out: folder of the run; `run` always gives one.
        seed: of weights, split, order and augmentation.
        threads: how many `run` has set; None where it left them alone.
        quiet: no report while it trains.
        resume: a checkpoint of this recipe to go on from.
        options: those that this recipe alone has, all of them by name.
    """

    data: str | None = None
    epochs: int | None = None
    out: Path = Path("runs")
    seed: int = 0
    threads: int | None = None
    quiet: bool = False
    resume: Path | None = None
    options: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Option:
    """What a recipe can be told beside `RecipeSettings`: `--name` of the command.

    Attributes:
        name: an identifier.
        help: a line on what it does.
        default: False for a flag, an integer or a text; values are of the same kind, integers at least 1.
    """

    name: str
    help: str
    default: bool | int | str

    def checked(self, value: Any) -> bool | int | str:
        """`value` if it is of this option's kind.

        Raises:
            DTypeError, ShapeError: it is not, or it is out of range.
        """
        if isinstance(self.default, bool):
            return flag("recipes.run", self.name, value)
        if isinstance(self.default, int):
            return integer("recipes.run", self.name, value, 1)
        if not isinstance(value, str):
            raise DTypeError(f"recipes.run: {self.name} must be text, got {type(value).__name__}")
        return value


Cook = Callable[[RecipeSettings], Mapping[str, float]]


@dataclass(frozen=True)
class Recipe:
    """A recipe of the list.

    Attributes:
        name: as `run` and the command take it.
        summary: a line on what it does.
        function: settings -> result numbers by name.
        options: what it alone can be told.
    """

    name: str
    summary: str
    function: Cook
    options: tuple[Option, ...] = ()


_recipes: dict[str, Recipe] = {}


def register(name: str, summary: str, options: Sequence[Option] = ()) -> Callable[[Cook], Cook]:
    """Decorator that puts a function of `RecipeSettings` on the list, with options of its own.

    The function trains, leaves the files of the run in `settings.out`, and returns numbers by name.

    Raises:
        ShapeError: there is a recipe of that name.
    """

    def add(function: Cook) -> Cook:
        if name in _recipes:
            raise ShapeError(f"register: there is already a recipe named {name!r}")
        _recipes[name] = Recipe(name, summary, function, tuple(options))
        return function

    return add


def list_recipes() -> list[str]:
    """The names that `run` takes, sorted."""
    return sorted(_recipes)


def info(name: str) -> Recipe:
    """What is known about the recipe `name`.

    Raises:
        ShapeError: there is no such recipe; the message names the nearest, or all.
        DTypeError: `name` is no string.
    """
    if not isinstance(name, str):
        raise DTypeError(f"recipes: a name must be a string, got {type(name).__name__}")
    if name not in _recipes:
        near = difflib.get_close_matches(name, _recipes, 2)
        hint = f"did you mean {' or '.join(near)}?" if near else f"there are {', '.join(_recipes)}"
        raise ShapeError(f"recipes: there is no recipe {name[:40]!r}; {hint}")
    return _recipes[name]


def run(
    name: str | None = None,
    *,
    data: PathLike | None = None,
    epochs: int | None = None,
    out: PathLike | None = None,
    seed: int | None = None,
    threads: int | None = None,
    quiet: bool = False,
    resume: PathLike | None = None,
    options: Mapping[str, Any] | None = None,
) -> dict[str, float]:
    """Run a recipe from its data to its result.

    Args:
        name: one of `list()`; may be left out with `resume`.
        data: a data set by name, or a folder or file; by default the recipe's own data set.
        epochs: passes over the training images; by default the recipe's own number.
        out: folder of the run, `runs/<name>` by default, or that of `resume`.
        seed: of weights, split, order and augmentation; 0 by default.
        threads: while it runs; by default as many as are set.
        quiet: no report while it trains.
        resume: a checkpoint of this recipe (`last.safetensors`) to go on from, as if nothing had happened.
            Settings come from it; others given beside must be the same.
        options: what the recipe alone can be told, by name; see `info(name).options`.

    Returns:
        The result numbers by name, which are also in `recipe.json` in the folder, with the settings.

    Raises:
        ShapeError, DTypeError: there is no such recipe, an argument is out of range, or the data does not fit.
        FastconvError: a setting differs from the one in the checkpoint.
        FormatError, OSError, ImportError: a file cannot be read or written, or a package is missing.
    """
    told = RecipeSettings(
        data=None if data is None else _source(os.fspath(data)),
        epochs=None if epochs is None else integer("recipes.run", "epochs", epochs, 1),
        seed=0 if seed is None else integer("recipes.run", "seed", seed, 0),
        threads=None if threads is None else integer("recipes.run", "threads", threads, 1),
        quiet=flag("recipes.run", "quiet", quiet),
    )
    folder = None if out is None else Path(out)
    given = dict(options or {})
    if resume is not None:
        name, told, given = _resumed(Path(resume), name, told, given, given_seed=seed)
        folder = folder or Path(resume).parent
    if name is None:
        raise ShapeError(f"recipes.run: expected a name, one of {', '.join(list_recipes())}")
    recipe = info(name)
    settings = replace(told, out=folder or Path("runs") / name, options=_options(recipe, given))
    before, began = get_num_threads(), time.perf_counter()
    try:
        if settings.threads is not None:
            set_num_threads(settings.threads)
        result = _checked(name, recipe.function(settings))
        used = get_num_threads()
    finally:
        set_num_threads(before)
    _write(recipe, settings, result, used, time.perf_counter() - began)
    return result


def _options(recipe: Recipe, given: Mapping[str, Any]) -> dict[str, Any]:
    """All options of a recipe, those that are not given at their defaults."""
    known = {option.name: option for option in recipe.options}
    for name in given:
        if name not in known:
            there = f"it has {', '.join(known)}" if known else "it has none"
            raise ShapeError(f"recipes: {recipe.name} has no option {str(name)[:40]!r}; {there}")
    return {
        name: option.checked(given[name]) if name in given else option.default
        for name, option in known.items()
    }


def _source(text: str) -> str:
    """A data set's name, or the whole path of what is there."""
    if text in DATASETS:
        return text
    if not os.path.exists(text):
        near = difflib.get_close_matches(text, DATASETS, 1)
        hint = f"did you mean {near[0]}?" if near else f"data sets are {', '.join(DATASETS)}"
        raise ShapeError(f"recipes: there is no data set, folder or file {text[:60]!r}; {hint}")
    return os.path.abspath(text)


def _resumed(
    path: Path,
    name: str | None,
    told: RecipeSettings,
    options: Mapping[str, Any],
    *,
    given_seed: int | None,
) -> tuple[str, RecipeSettings, dict[str, Any]]:
    """The recipe, the settings and the options in a checkpoint, which arguments may repeat but not change."""
    saved: Any = load_checkpoint(path).config.get("recipe")
    try:
        kinds: tuple[tuple[str, Any], ...] = (
            ("name", str),
            ("data", (str, type(None))),
            ("epochs", int),
            ("seed", int),
        )
        if not all(isinstance(saved[key], kind) for key, kind in kinds):
            raise TypeError
        kept = dict(saved.get("options", {}))
    except (KeyError, TypeError, ValueError):
        raise FormatError(f"{path}: not written by `fastconv recipe`") from None
    given = {"name": name, "data": told.data, "epochs": told.epochs, "seed": given_seed, **options}
    for key, value in given.items():
        before = kept.get(key) if key in options else saved[key]
        if value is not None and value != before:
            raise FastconvError(
                f"recipes: {key} is {value}, but {path} continues a run with {before}"
            )
    settings = replace(
        told, data=saved["data"], epochs=saved["epochs"], seed=saved["seed"], resume=path
    )
    return saved["name"], settings, kept


def _checked(name: str, result: Any) -> dict[str, float]:
    if not isinstance(result, Mapping):
        raise DTypeError(
            f"recipes: {name} returned a {type(result).__name__}, expected numbers by name"
        )
    for key, value in result.items():
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            raise DTypeError(
                f"recipes: {name} returned a {type(value).__name__} as {key!r}, expected a number"
            )
    return dict(result)


def _write(
    recipe: Recipe, settings: RecipeSettings, result: dict[str, float], threads: int, seconds: float
) -> None:
    content = {
        "recipe": recipe.name,
        "summary": recipe.summary,
        "settings": {
            "data": settings.data,
            "epochs": settings.epochs,
            "seed": settings.seed,
            "threads": threads,
            "resume": None if settings.resume is None else os.fspath(settings.resume),
            **settings.options,
        },
        "results": {key: value if math.isfinite(value) else None for key, value in result.items()},
        "seconds": seconds,
        "fastconv": __version__,
    }
    settings.out.mkdir(parents=True, exist_ok=True)
    text = json.dumps(content, indent=1, allow_nan=False)
    write_atomically(settings.out / RESULTS, (text + "\n").encode())
