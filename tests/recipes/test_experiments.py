"""The experiments: their networks, tables against hand-made figures, runs that go on, and mistakes."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fastconv import models, recipes
from fastconv.cli import main
from fastconv.errors import FastconvError, FormatError, ShapeError
from fastconv.recipes import experiments
from fastconv.recipes.experiments.tables import Row, line, markdown, standing
from fastconv.recipes.experiments.trials import Plan, Trial
from fastconv.recipes.experiments.variants import EXPERIMENTS, Experiment, Variant
from tests.cli.helpers import write_data

TINY = Experiment(
    "pairs",
    "Pairs",
    "small nets",
    (
        Variant("one", options={"pairs": 1, "maps": (2,), "hidden": 4}),
        Variant("two", options={"pairs": 2, "maps": (2, 3), "hidden": 4}, augment=True),
    ),
)


@pytest.fixture(scope="module")
def digits(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_data(tmp_path_factory.mktemp("idx"), 120, 20)


@pytest.fixture
def tiny(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two small experiments, which have a variant in common."""
    other = Experiment("dense", "Dense", "small nets", (TINY.variants[0],))
    for module in (experiments, experiments.variants):
        monkeypatch.setattr(module, "EXPERIMENTS", {"pairs": TINY, "dense": other})


def command(digits: Path, out: Path, *more: str) -> list[str]:
    told = ["recipe", "experiments", "--data", str(digits), "--out", str(out), "--epochs", "1"]
    return [*told, "--images", "64", "--threads", "1", *more]


def test_the_variants_are_the_networks_that_they_are_called() -> None:
    asked = "pairs maps dense dropout filters norm augment"
    assert list(EXPERIMENTS) == asked.split()
    for experiment in EXPERIMENTS.values():
        labels = [variant.label for variant in experiment.variants]
        assert len(set(labels)) == len(labels) >= 3
        assert len({variant.key for variant in experiment.variants}) == len(labels)

    def net(name: str, label: str) -> dict[str, Any]:
        (variant,) = (v for v in EXPERIMENTS[name].variants if v.label == label)
        return dict(models.create(variant.network, **variant.options).named_children())

    for widths in ((8, 16), (48, 96)):
        layers = net("maps", f"{widths[0]}-{widths[1]}")
        assert tuple(layers[f"conv{i}"].weight.shape[0] for i in (1, 2)) == widths
    assert "fc1" not in net("dense", "none")
    assert net("dense", "512")["fc1"].weight.shape[0] == 512
    assert net("dropout", "70 %")["dropout2"].p == 0.7 and "dropout1" not in net("dropout", "0 %")
    plain = net("filters", "32C5-P2")
    assert plain["conv1"].weight.shape[2:] == (5, 5) and "pool1" in plain
    both = net("filters", "32C3-32C3-32C5S2")
    assert [both[f"conv{i}"].weight.shape[2] for i in (1, 2, 3)] == [3, 3, 5]
    assert not [name for name in both if name.startswith(("norm", "pool"))]
    assert "norm7" in net("norm", "32C3-32C3-32C5S2 with batch-norm")
    augmented = [variant.augment for variant in EXPERIMENTS["augment"].variants]
    assert augmented == [False, True, False, True]


def trial(accuracy: float, step_ms: float = 2.0) -> Trial:
    return Trial(accuracy, 1234, step_ms, 10.0)


def rows(*accuracies: tuple[float, ...]) -> list[Row]:
    return [
        Row(Variant(f"v{i}", options={"pairs": i}), [trial(a) for a in each])
        for i, each in enumerate(accuracies)
    ]


def test_what_the_rows_show() -> None:
    """Deviations of 0.1 points; the difference's standard error is 0.1 * sqrt(2 / 3) = 0.082 points."""
    found = rows((0.979, 0.980, 0.981), (0.9774, 0.9784, 0.9794), (0.974, 0.975, 0.976))
    assert found[0].accuracy == pytest.approx(0.98) and found[0].spread == pytest.approx(0.001)
    said = standing(found)
    assert said.startswith("Best: v0 with 98.00 %.")
    assert "Differences up to 0.16 points" in said and said.endswith("from it are v1.")
    wider = rows((0.978, 0.98, 0.982), (0.9774, 0.9784, 0.9794), (0.974, 0.975, 0.976))
    pooled = math.sqrt((0.002**2 + 0.001**2 + 0.001**2) / 3)
    assert f"{200 * pooled * math.sqrt(2 / 3):.2f} points" in standing(wider)
    assert standing(rows((0.98, 0.98), (0.9, 0.9))).endswith("the spread over seeds.")
    assert "One run each" in standing(rows((0.98,), (0.97,)))


def test_a_table() -> None:
    found = [
        Row(TINY.variants[0], [trial(0.5, 1.0), trial(0.6, 2.0), trial(0.7, 9.0)]),
        Row(TINY.variants[1], [trial(0.25)]),
    ]
    assert line(TINY, found[0]).split() == "one 60.00 ± 10.00 % 1,234 2.00 10.0".split()  # noqa: SIM905
    plan = Plan("mnist", "0", 1000, 200, 1, 64, 2e-3, 0.01, 0)
    text = markdown(plan, {"pairs": (TINY, found), "dense": (TINY, [])})
    assert "# Architecture experiments on mnist" in text and text.count("\n## ") == 1
    assert "1,000 images, 1 epoch, batches" in text and "of 3 runs" in text
    assert "| one | **60.00 ± 10.00 %** | 1,234 | 2.00 | 10.0 |" in text
    assert "| two | 25.00 % | 1,234 | 2.00 | 10.0 |" in text


@pytest.mark.usefixtures("tiny")
def test_from_the_command(digits: Path, tmp_path: Path, capsys: Any) -> None:
    assert main(command(digits, tmp_path, "--repeats", "2", "--epochs", "2")) == 0
    printed = capsys.readouterr().out
    assert "pairs: Pairs (small nets)" in printed and "dense: Dense (small nets)" in printed
    kept = json.loads((tmp_path / "experiments.json").read_text())
    assert kept["plan"]["images"] == 64 and kept["plan"]["dev"] == 20
    assert [(t["variant"]["pairs"], t["seed"]) for t in kept["trials"]] == [
        (1, 0), (1, 1), (2, 0), (2, 1),
    ]  # fmt: skip
    for found in kept["trials"]:
        variant = TINY.variants[found["variant"]["pairs"] - 1]
        net = models.mnist_cnn(**variant.options)
        assert found["parameters"] == sum(p.size for p in net.parameters())
        assert 0 <= found["accuracy"] <= 1 and 0 < found["step_ms"] < 1000 * found["seconds"]
    means = [
        np.mean([t["accuracy"] for t in kept["trials"] if t["variant"]["pairs"] == n])
        for n in (1, 2)
    ]
    result = json.loads((tmp_path / "recipe.json").read_text())
    assert result["results"]["pairs_best_accuracy"] == pytest.approx(max(means))
    assert result["results"]["dense_best_accuracy"] == pytest.approx(means[0])
    assert result["settings"]["repeats"] == 2 and result["settings"]["only"] == ""
    table = (tmp_path / "experiments.md").read_text()
    assert table.count("| one | ") == 2 and f"{100 * means[0]:.2f} ± " in table
    assert (tmp_path / "experiments.png").is_file()


@pytest.mark.usefixtures("tiny")
def test_a_run_goes_on_where_it_stopped(
    digits: Path, tmp_path: Path, capsys: Any, monkeypatch: Any
) -> None:
    whole = recipes.run(
        "experiments",
        data=digits,
        epochs=1,
        out=tmp_path / "whole",
        quiet=True,
        options={"repeats": 2, "images": 64},
    )
    done: list[tuple[str, int]] = []
    run_trial = experiments.run_trial

    def cut(variant: Any, train: Any, dev: Any, plan: Any, seed: int) -> Any:
        if len(done) == 3:
            raise KeyboardInterrupt
        done.append((variant.label, seed))
        return run_trial(variant, train, dev, plan, seed)

    out = tmp_path / "cut"
    with monkeypatch.context() as patched:
        patched.setattr(experiments, "run_trial", cut)
        assert main(command(digits, out, "--repeats", "2", "--quiet")) == 130
        assert "the same command goes on" in capsys.readouterr().out
        assert done == [("one", 0), ("one", 1), ("two", 0)]
        done.clear()
        assert main(command(digits, out, "--repeats", "2", "--quiet")) == 0
        assert done == [("two", 1)]
        # More repeats, and another experiment with the same networks, train what is missing only.
        done.clear()
        assert main(command(digits, out, "--only", "dense", "--repeats", "3", "--quiet")) == 0
        assert done == [("one", 2)]
    trials = [
        json.loads((folder / "experiments.json").read_text())["trials"]
        for folder in (tmp_path / "whole", out)
    ]
    same = ("variant", "seed", "accuracy", "parameters")
    kept = [{k: t[k] for k in same} for t in trials[1] if t["seed"] < 2]
    assert kept == [{k: t[k] for k in same} for t in trials[0]]
    assert whole["variants"] == 2
    assert whole["training_seconds"] == pytest.approx(sum(t["seconds"] for t in trials[0]))
    capsys.readouterr()
    assert main(command(digits, out, "--seed", "1")) == 2
    assert "seed is 1, but" in capsys.readouterr().err
    assert main(command(digits, out, "--epochs", "2")) == 2
    assert "epochs is 2, but" in capsys.readouterr().err


@pytest.mark.usefixtures("tiny")
def test_without_matplotlib(digits: Path, tmp_path: Path, capsys: Any, monkeypatch: Any) -> None:
    def missing(*arguments: Any, **options: Any) -> Any:
        raise ImportError("no matplotlib")

    monkeypatch.setattr("fastconv.visualize.plot_comparison", missing)
    assert main(command(digits, tmp_path, "--only", "dense", "--repeats", "1")) == 0
    assert "no experiments.png: matplotlib is not installed" in capsys.readouterr().out
    assert (tmp_path / "experiments.md").is_file()
    assert not (tmp_path / "experiments.png").exists()


BAD = [
    (["--only", "pairs,flies"], "there is no experiment 'flies'; there are pairs, maps"),
    (["--repeats", "0"], "--repeats: expected an integer of at least 1"),
    (["--images", "many"], "--images: expected an integer"),
    (["--bf16"], "experiments has no option 'bf16'; it has only, repeats, images"),
]


@pytest.mark.parametrize(("arguments", "said"), BAD)
def test_mistakes_are_one_line(
    arguments: list[str], said: str, digits: Path, tmp_path: Path, capsys: Any
) -> None:
    assert main(command(digits, tmp_path / "out", *arguments)) == 2
    shown = capsys.readouterr().err
    assert said in shown and shown.count("\n") == 1
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    "content",
    ["", "{", "[]", '{"plan": {}, "trials": []}', '{"plan": 3, "trials": 1}', "[" * 10000],
)
def test_damaged_results(content: str, digits: Path, tmp_path: Path) -> None:
    file = tmp_path / "experiments.json"
    file.write_text(content)
    with pytest.raises(FormatError, match=r"experiments\.json: not written by `fastconv recipe"):
        recipes.run("experiments", data=digits, out=tmp_path, quiet=True)
    assert file.read_text() == content


@pytest.mark.usefixtures("tiny")
def test_results_with_impossible_figures(digits: Path, tmp_path: Path) -> None:
    told: dict[str, Any] = {"data": digits, "epochs": 1, "out": tmp_path, "quiet": True}
    told["options"] = {"repeats": 1, "only": "dense", "images": 64}
    recipes.run("experiments", **told)
    file = tmp_path / "experiments.json"
    good = json.loads(file.read_text())
    for name, value in (("accuracy", 1.5), ("seconds", math.nan), ("parameters", "x")):
        bad = {**good, "trials": [{**good["trials"][0], name: value}]}
        file.write_text(json.dumps(bad))
        with pytest.raises(FormatError, match="not written by"):
            recipes.run("experiments", **told)
    file.write_text(json.dumps({**good, "plan": {**good["plan"], "lr": 0.5}}))
    with pytest.raises(FastconvError, match=r"lr is 0\.002, but .* has trials with 0\.5"):
        recipes.run("experiments", **told)
    file.write_text(json.dumps({**good, "plan": {**good["plan"], "digest": "0"}}))
    with pytest.raises(FastconvError, match="has trials on other training images"):
        recipes.run("experiments", **told)


def test_there_is_nothing_to_resume() -> None:
    options = {"only": "", "repeats": 1, "images": 5}
    with pytest.raises(ShapeError, match="the same command with --out goes on"):
        experiments.run(recipes.RecipeSettings(resume=Path("last.safetensors"), options=options))
