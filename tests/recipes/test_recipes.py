"""Recipes: each runs through the command, leaves a whole run, goes on when cut short; mistakes are one line."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import fastconv as fc
from fastconv import recipes
from fastconv.cli import main
from fastconv.errors import DTypeError, FastconvError, ShapeError
from fastconv.train import Callback, Trainer, load_checkpoint
from tests.cli.helpers import write_data

NAMES = ("mnist", "fashion-mnist")


@pytest.fixture(scope="module")
def digits(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_data(tmp_path_factory.mktemp("idx"), 80, 30)


def test_the_list(capsys: Any) -> None:
    assert main(["recipe"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == recipes.list() == sorted(recipes.list())
    assert set(NAMES) <= set(recipes.list())
    assert all(len(line.split()) > 4 for line in lines)


@pytest.mark.parametrize("name", NAMES)
def test_a_recipe_from_the_command(name: str, digits: Path, tmp_path: Path, capsys: Any) -> None:
    out, threads = tmp_path / "run", fc.get_num_threads()
    told = ["--data", digits, "--epochs", "2", "--out", out, "--seed", "3", "--threads", "1"]
    assert main(["recipe", name, "--quiet", *map(str, told)]) == 0
    assert fc.get_num_threads() == threads
    printed = {line.split()[0]: line.split()[1] for line in capsys.readouterr().out.splitlines()}
    kept = json.loads((out / "recipe.json").read_text())
    results = kept["results"]
    assert list(results) == list(printed)
    assert kept["recipe"] == name and kept["summary"] == recipes.info(name).summary
    assert kept["settings"] == {
        "data": str(digits),
        "epochs": 2,
        "seed": 3,
        "threads": 1,
        "resume": None,
    }
    assert 0 <= results["test_accuracy"] <= 1 and results["epochs"] == 2
    assert printed["test_accuracy"] == f"{100 * results['test_accuracy']:.2f}"
    names = ("last.safetensors", "best.safetensors", "history.json", "curves.png")
    assert all((out / file).is_file() for file in names)
    # What other commands make of the folder agrees: the last weights are those of the result.
    assert main(["evaluate", str(out / "last.safetensors")]) == 0
    assert f"accuracy {printed['test_accuracy']} %" in capsys.readouterr().out
    assert main(["diagnose", str(out), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["errors"]["test"] == pytest.approx(1 - results["test_accuracy"])
    assert found["images"]["test"] == 30
    assert found["images"]["train"] + found["images"]["dev"] == 80
    assert main(["report", str(out), "--images", "2"]) == 0
    capsys.readouterr()
    page = (out / "report.html").read_text(encoding="utf-8")
    assert f"fastconv recipe {name} --data {digits} --epochs 2 --seed 3" in page


@pytest.mark.parametrize("name", NAMES)
def test_an_interrupted_run_goes_on(
    name: str, digits: Path, tmp_path: Path, capsys: Any, monkeypatch: Any
) -> None:
    whole = recipes.run(name, data=digits, epochs=3, out=tmp_path / "whole", seed=1, quiet=True)

    class Cut(Callback):
        def on_step_end(self, trainer: Trainer, loss: float) -> None:
            if trainer.epoch == 1:
                raise KeyboardInterrupt

    fit = Trainer.fit

    def cut_short(self: Trainer, *arguments: Any, **options: Any) -> Any:
        self.callbacks.append(Cut())
        return fit(self, *arguments, **options)

    out = tmp_path / "cut"
    told = ["--data", str(digits), "--epochs", "3", "--out", str(out), "--seed", "1", "--quiet"]
    with monkeypatch.context() as patched:
        patched.setattr(Trainer, "fit", cut_short)
        assert main(["recipe", name, *told]) == 130
    last = out / "last.safetensors"
    assert f"continue with: fastconv recipe --resume {last}" in capsys.readouterr().out
    assert load_checkpoint(last).epoch < 3
    assert main(["recipe", "--resume", str(last), "--quiet"]) == 0
    results = json.loads((out / "recipe.json").read_text())["results"]
    for key in ("test_accuracy", "dev_accuracy", "train_accuracy", "epochs"):
        assert results[key] == whole[key]
    expected = load_checkpoint(tmp_path / "whole" / "last.safetensors").model
    for key, value in load_checkpoint(last).model.items():
        np.testing.assert_array_equal(value, expected[key], err_msg=key)


def test_a_run_goes_on_with_its_own_settings_only(digits: Path, tmp_path: Path) -> None:
    recipes.run("mnist", data=digits, epochs=1, out=tmp_path, quiet=True)
    last = tmp_path / "last.safetensors"
    for other, said in (
        ({"epochs": 2}, "epochs is 2, but"),
        ({"seed": 1}, "seed is 1, but"),
        ({"data": "bundled"}, "data is bundled, but"),
        ({"name": "fashion-mnist"}, "name is fashion-mnist, but"),
    ):
        with pytest.raises(FastconvError, match=said):
            recipes.run(resume=last, **other)  # type: ignore[arg-type]
    again = recipes.run("mnist", data=digits, epochs=1, seed=0, resume=last, quiet=True)
    assert again["epochs"] == 1
    net = fc.models.lenet5()
    other = Trainer(net, fc.nn.CrossEntropyLoss(), fc.optim.SGD(net.parameters(), lr=0.1))
    other.save(tmp_path / "other.safetensors")
    with pytest.raises(FastconvError, match="not written by `fastconv recipe`"):
        recipes.run(resume=tmp_path / "other.safetensors")


BAD = [
    (["recipe", "mnits"], "there is no recipe 'mnits'; did you mean mnist"),
    (["recipe", "zebra"], "there is no recipe 'zebra'; there are "),
    (["recipe", "--epochs", "3"], "--epochs goes with a recipe's name: "),
    (["recipe", "mnist", "--epochs", "0"], "--epochs: expected an integer of at least 1"),
    (["recipe", "mnist", "--seed=-1"], "--seed"),
    (["recipe", "mnist", "--threads", "0"], "--threads: expected an integer of at least 1"),
    (["recipe", "mnist", "--data", "fashion-mnits"], "did you mean fashion-mnist?"),
    (["recipe", "mnist", "--data", "/nowhere"], "no data set, folder or file '/nowhere'"),
    (["recipe", "mnist", "--data", __file__], "is a file, expected a folder"),
    (["recipe", "mnist", "--data", "."], "mnist (train) is not in"),
    (["recipe", "mnist", "--fly"], "there is no option --fly"),
    (["recipe", "--resume", "/nowhere"], "/nowhere"),
]


@pytest.mark.parametrize(("arguments", "said"), BAD)
def test_mistakes_are_one_line(
    arguments: list[str], said: str, tmp_path: Path, monkeypatch: Any, capsys: Any
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(arguments) == 2
    shown = capsys.readouterr().err
    assert said in shown and shown.count("\n") == 1
    assert not list(tmp_path.iterdir())


def test_registering(tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.setattr(recipes.registry, "_recipes", {})
    seen: list[recipes.RecipeSettings] = []

    @recipes.register("short", "nothing but numbers")
    def short(settings: recipes.RecipeSettings) -> dict[str, float]:
        seen.append(settings)
        return {"score": 0.5, "lost": float("nan")}

    result = recipes.run("short", out=tmp_path, seed=2)
    assert result["score"] == 0.5 and recipes.list() == ["short"]
    assert seen == [recipes.RecipeSettings(out=tmp_path, seed=2)]
    kept = json.loads((tmp_path / recipes.RESULTS).read_text())
    assert kept["results"] == {"score": 0.5, "lost": None}
    with pytest.raises(ShapeError, match="already a recipe named 'short'"):
        recipes.register("short", "again")(short)
    with pytest.raises(DTypeError, match="a name must be a string, got int"):
        recipes.info(3)  # type: ignore[arg-type]
    with pytest.raises(ShapeError, match="expected a name, one of short"):
        recipes.run()

    recipes.register("wrong", "no numbers")(lambda settings: [1.0])  # type: ignore[arg-type, return-value]
    with pytest.raises(DTypeError, match="wrong returned a list, expected numbers by name"):
        recipes.run("wrong", out=tmp_path)
    recipes.register("words", "no numbers")(lambda settings: {"a": "b"})  # type: ignore[dict-item]
    with pytest.raises(DTypeError, match="words returned a str as 'a', expected a number"):
        recipes.run("words", out=tmp_path)
