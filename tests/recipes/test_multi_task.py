"""Three tasks on the same images: what the images are, the table, and mistakes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fastconv import recipes
from fastconv.cli import main
from fastconv.data import ArrayDataset
from fastconv.errors import ShapeError
from fastconv.recipes import multi_task
from tests.cli.helpers import write_data


def test_images_are_turned_and_made_smaller() -> None:
    """An arm from the middle upwards ends where turn and size say."""
    image = np.zeros((1, 1, 29, 29), np.uint8)
    image[..., 2:15, 13:16] = 255
    data = ArrayDataset(np.repeat(image, 60, 0), np.arange(60) % 10)
    found, wanted = multi_task.posed(data, 40, seed=3)
    assert len(found) == 40 and found.image_shape == (1, 29, 29)
    np.testing.assert_array_equal(found.labels, np.arange(40))
    assert set(wanted["turn"]) == {0, 1, 2, 3} and wanted["size"].shape == (40, 1)
    deviation = (multi_task.LARGEST - multi_task.SMALLEST) / 12**0.5
    sizes = wanted["size"][:, 0] * deviation + 0.75
    assert sizes.min() >= 0.5 - 1e-6 and sizes.max() <= 1 + 1e-6 and np.ptp(sizes) > 0.3
    places = np.random.default_rng([3, 1]).permutation(60)[:40]
    np.testing.assert_array_equal(wanted["kind"], places % 10)
    directions = []
    for pixels, size in zip(found.fetch(np.arange(40))[:, 0], sizes, strict=True):
        y, x = np.nonzero(pixels > 127)
        arm = np.array([x.mean() - 14, y.mean() - 14])
        # The arm's middle is 6 pixels from the image's.
        assert np.abs(arm).max() == pytest.approx(6 * size, abs=0.6)
        assert np.abs(arm).min() < 0.6
        directions.append(tuple(np.sign(np.round(arm / 3)).astype(int)))
    by_turn = [
        {d for d, t in zip(directions, wanted["turn"], strict=True) if t == n} for n in range(4)
    ]
    assert all(len(each) == 1 for each in by_turn)
    assert by_turn[0] == {(0, -1)} and by_turn[2] == {(0, 1)}
    assert len(set.union(*by_turn)) == 4


def test_soft_sharing_holds_the_trunks_only() -> None:
    net, penalties = multi_task._soft(1, 10)
    assert len(penalties) == 3
    output: Any = net(np.zeros((2, 1, 28, 28), np.float32))
    assert {task: y.shape for task, y in output.items()} == {
        "kind": (2, 10),
        "turn": (2, 4),
        "size": (2, 1),
    }
    trunks = [dict(each.trunk.named_parameters()) for each in net.nets]
    pairs = ((0, 1), (0, 2), (1, 2))
    for penalty, (a, b) in zip(penalties, pairs, strict=True):
        distance = sum(
            float(
                np.sum((trunks[a][name].numpy() - trunks[b][name].numpy()).astype(np.float64) ** 2)
            )
            for name in trunks[a]
        )
        assert penalty().item() == pytest.approx(multi_task.STRENGTH * distance, rel=1e-4)


def test_from_the_command(tmp_path: Path, capsys: Any) -> None:
    told = ["--images", "1000", "--epochs", "4", "--out", str(tmp_path)]
    assert main(["recipe", "multi-task", *told]) == 0
    printed = capsys.readouterr().out
    content = json.loads((tmp_path / "multi_task.json").read_text())
    assert list(content) == ["a network each", "hard sharing", "soft sharing"]
    table = (tmp_path / "multi_task.md").read_text()
    for way, result in content.items():
        assert f"| {way} | {100 * result['kind']:.2f} % |" in table and f"\n{way}" in printed
        # Chance: a tenth, a quarter, and (1 - 0.5) / 4 from the middle of all sizes.
        assert result["kind"] > 0.2 and result["turn"] > 0.4 and result["size"] < 0.12
    trunk = sum(p.size for p in multi_task.trunk(1).parameters())
    heads = sum(p.size for head in multi_task.heads(10).values() for p in head.parameters())
    counts = [result["parameters"] for result in content.values()]
    assert counts == [3 * trunk + heads, trunk + heads, 3 * trunk + heads]
    results = json.loads((tmp_path / "recipe.json").read_text())["results"]
    assert results["hard_sharing_turn_accuracy"] == content["hard sharing"]["turn"]
    assert results["soft_sharing_size_error"] == content["soft sharing"]["size"]


def test_the_same_numbers_again(tmp_path: Path) -> None:
    digits = write_data(tmp_path / "idx", 80, 20)
    told: dict[str, Any] = {"data": digits, "epochs": 1, "quiet": True, "seed": 5}
    one, two = (recipes.run("multi-task", out=tmp_path / name, **told) for name in "ab")
    assert one == two


def test_mistakes(tmp_path: Path, capsys: Any) -> None:
    assert main(["recipe", "multi-task", "--images", "0"]) == 2
    assert "--images: expected an integer of at least 1" in capsys.readouterr().err
    assert main(["recipe", "multi-task", "--repeats", "2", "--out", str(tmp_path)]) == 2
    assert "multi-task has no option 'repeats'; it has images" in capsys.readouterr().err
    with pytest.raises(ShapeError, match="there is no --resume"):
        multi_task.run(recipes.RecipeSettings(resume=tmp_path / "last.safetensors"))
    assert not list(tmp_path.iterdir())
