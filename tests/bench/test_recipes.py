"""The benchmark of the recipes: both sides train the same thing, and its tables."""

from __future__ import annotations

import importlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks import recipes, table
from fastconv import models
from fastconv.recipes import RecipeSettings
from tests.cli.helpers import write_data

torch = pytest.importorskip("torch")
from benchmarks import recipe_torch  # noqa: E402


def _told(name: str) -> dict[str, Any]:
    mirrored = recipes.RECIPES[name]
    recipe = importlib.import_module(f"fastconv.recipes.{mirrored.module}")
    image = np.zeros((2, 28, 28), np.uint8)
    from fastconv.data import ArrayDataset

    train = ArrayDataset(image, np.arange(2), mean=(0.2,), std=(0.4,))
    return recipes.told(recipe, mirrored, train)


@pytest.mark.parametrize("name", list(recipes.RECIPES))
def test_both_sides_draw_images_alike(name: str) -> None:
    told = _told(name)
    rng = np.random.default_rng(0)
    x, y = np.meshgrid(np.arange(28), np.arange(28))
    blob = np.exp(-((x - 10) ** 2) / 30 - (y - 16) ** 2 / 60)  # off the centre and not round
    images = np.repeat((255 * blob).astype(np.uint8)[np.newaxis, np.newaxis], 3000, 0)
    recipe = importlib.import_module(f"fastconv.recipes.{recipes.RECIPES[name].module}")
    ours = recipe.AUGMENT(images.copy(), rng).astype(np.float32)
    torch.manual_seed(0)
    side = recipe_torch.Augmentation(told["augment"], told["mean"], told["std"])
    whole = side.whole(torch.from_numpy(images)).numpy()
    single = np.stack([side.single(image[0]).numpy() for image in images])
    assert whole.shape == single.shape == ours.shape
    for theirs in (whole, single):
        back = 255 * (theirs * told["std"] + told["mean"])
        # Sums over 3,000 images: means of every pixel, and how much each varies.
        assert np.abs(back.mean(0) - ours.mean(0)).max() < 6
        assert np.abs(back.std(0) - ours.std(0)).max() < 6


def test_no_augmentation_leaves_images_alone() -> None:
    images = np.random.default_rng(0).integers(0, 256, (4, 1, 28, 28), dtype=np.uint8)
    side = recipe_torch.Augmentation({}, 0.25, 0.5)
    expected = (images / 255.0 - 0.25) / 0.5
    np.testing.assert_allclose(side.whole(torch.from_numpy(images)), expected, atol=1e-4)
    np.testing.assert_allclose(side.single(images[0, 0]), expected[0], atol=1e-5)


def test_the_networks_are_one() -> None:
    ours = models.mnist_cnn_improved(dropout=0.3)
    theirs = recipe_torch.network(0.3)
    mine, other = list(ours.state_dict().values()), list(theirs.state_dict().values())
    assert [np.shape(a) for a in mine] == [tuple(b.shape) for b in other]
    kinds = [type(m).__name__ for m in ours.modules()], [type(m).__name__ for m in theirs]
    assert [k for k in kinds[0] if k != "Sequential"] == kinds[1]
    ours.load_state_dict(dict(zip(ours.state_dict(), (b.numpy() for b in other), strict=True)))
    x = np.random.default_rng(0).standard_normal((3, 1, 28, 28)).astype(np.float32)
    with torch.no_grad():
        expected = theirs.eval()(torch.from_numpy(x)).numpy()
    np.testing.assert_allclose(ours.eval()(x), expected, atol=1e-4)


def test_a_recipe_that_changed_is_refused(monkeypatch: Any) -> None:
    from fastconv.data.augment import RandomAffine

    recipe = importlib.import_module("fastconv.recipes.mnist")
    monkeypatch.setattr(recipe, "AUGMENT", RandomAffine(degrees=20))
    with pytest.raises(SystemExit, match=r"augments by RandomAffine\(degrees=\(-20"):
        _told("mnist")


def test_a_run(tmp_path: Path, capsys: Any, monkeypatch: Any) -> None:
    data = write_data(tmp_path / "idx", 160, 40)
    from benchmarks.measure import Engines

    monkeypatch.setattr(Engines, "limits", lambda *_: {"fma": 100.0, "stream": 10.0})
    arguments = ["--recipe", "mnist", "--data", str(data), "--batches", "1", "--threads", "1"]
    # Compiling takes a minute: the eager variants will do.
    monkeypatch.setenv("TORCH_COMPILE_DISABLE", "1")
    code = recipes.main([*arguments, "--json", str(tmp_path / "r.json")])
    shown = capsys.readouterr().out
    result = json.loads((tmp_path / "r.json").read_text())
    (record,) = result["cases"]
    ours, theirs = record["engines"]["fastconv"], record["engines"]["torch"]
    assert record["images"] == 128 and len(ours["seconds"]) == len(theirs["seconds"]) == 2
    assert len(theirs["pieces"]) == 5 and theirs["chosen"] in theirs["pieces"]
    assert record["ratio"] > 0 and 0 <= ours["accuracy"] <= 1 and 0 <= theirs["accuracy"] <= 1
    assert code == (0 if record["same_accuracy"] else 1)
    text = table.markdown(result)
    assert (
        "### recipes, 1 thread" in text and "| mnist | 128 | " in text and ">= 3x of torch" in text
    )
    assert "| mnist | 128 | " in shown
    assert recipes.main(["--data", str(data)]) == 2
    assert recipes.main(["--epochs", "0"]) == 2
    assert capsys.readouterr().err.count("benchmarks.recipes: ") == 2


def test_what_counts_as_the_same_accuracy() -> None:
    assert recipes._same(0.990, 0.988, 10_000) and not recipes._same(0.97, 0.99, 10_000)


def test_settings_reach_our_side(tmp_path: Path) -> None:
    data = write_data(tmp_path / "idx", 60, 20)
    from benchmarks.recipe_worker import OurRecipe

    side = OurRecipe("mnist", str(data), 2, 0)
    assert isinstance(side.epoch(), float) and side.epoch() > 0
    assert side.made.trainer.epoch == 2 and side.made.epochs == RecipeSettings(epochs=2).epochs
    assert 0 <= side.accuracy() <= 1
    side.close()
