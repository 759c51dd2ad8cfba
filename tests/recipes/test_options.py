"""Options that single recipes have: kinds, defaults, the command, and mistakes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from fastconv import recipes
from fastconv.cli import main
from fastconv.errors import DTypeError, ShapeError
from fastconv.recipes import Option

OPTIONS = (
    Option("deep_heads", "a flag", False),
    Option("rounds", "a number, 100 % by default", 4),
    Option("only", "a text", ""),
)


@pytest.fixture
def seen(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    monkeypatch.setattr(recipes.registry, "_recipes", {})
    calls: list[Any] = []

    @recipes.register("short", "a recipe with options of its own", OPTIONS)
    def short(settings: recipes.RecipeSettings) -> dict[str, float]:
        calls.append(settings.options)
        return {"score": 1.0}

    recipes.register("other", "has one of them, too", OPTIONS[1:2])(short)
    recipes.register("plain", "has none")(short)
    return calls


def test_defaults_and_values(seen: list[Any], tmp_path: Path) -> None:
    recipes.run("short", out=tmp_path)
    recipes.run("short", out=tmp_path, options={"rounds": 2, "deep_heads": True, "only": "a,b"})
    recipes.run("other", out=tmp_path, options={"rounds": 9})
    recipes.run("plain", out=tmp_path, options={})
    assert seen == [
        {"deep_heads": False, "rounds": 4, "only": ""},
        {"deep_heads": True, "rounds": 2, "only": "a,b"},
        {"rounds": 9},
        {},
    ]
    assert recipes.info("short").options == OPTIONS and recipes.info("plain").options == ()


def test_from_the_command(seen: list[Any], tmp_path: Path, capsys: Any) -> None:
    told = ["--rounds", "7", "--only", "x", "--deep-heads"]
    assert main(["recipe", "short", "--out", str(tmp_path), *told]) == 0
    assert main(["recipe", "other", "--out", str(tmp_path)]) == 0
    assert seen == [{"deep_heads": True, "rounds": 7, "only": "x"}, {"rounds": 4}]
    kept = json.loads((tmp_path / "recipe.json").read_text())["settings"]
    assert kept["rounds"] == 4 and "only" not in kept
    capsys.readouterr()
    assert main(["recipe", "--help"]) == 0
    text = " ".join(capsys.readouterr().out.split())
    assert "--rounds N other: a number, 100 % by default (default: 4); short: a number" in text
    assert "--deep-heads short: a flag --" in text and "--only X short: a text" in text


MISTAKES: list[tuple[str, dict[str, Any], Any, str]] = [
    ("plain", {"rounds": 1}, ShapeError, "plain has no option 'rounds'; it has none"),
    ("other", {"only": "a"}, ShapeError, "other has no option 'only'; it has rounds"),
    ("short", {"rounds": 0}, ShapeError, "recipes.run: rounds must be at least 1, got 0"),
    ("short", {"rounds": 1.5}, DTypeError, "rounds must be an integer, got float"),
    ("short", {"deep_heads": 1}, DTypeError, "deep_heads must be True or False, got int"),
    ("short", {"only": 3}, DTypeError, "only must be text, got int"),
]


@pytest.mark.parametrize(("name", "options", "error", "said"), MISTAKES)
def test_mistakes(
    seen: list[Any], name: str, options: dict[str, Any], error: Any, said: str, tmp_path: Path
) -> None:
    with pytest.raises(error, match=said):
        recipes.run(name, out=tmp_path, options=options)
    assert not seen and not list(tmp_path.iterdir())


def test_without_a_recipe(seen: list[Any], capsys: Any) -> None:
    for told in (["--rounds", "2"], ["--deep-heads"]):
        assert main(["recipe", *told]) == 2
        assert (
            f"{told[0]} goes with a recipe's name: other, plain, short" in capsys.readouterr().err
        )
    assert not seen
