"""examples/multi_task.py: a small run; the list of examples names what there is."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

from fastconv import recipes

EXAMPLES = Path(__file__).parents[2] / "examples"


def test_a_small_run() -> None:
    done = subprocess.run(
        [sys.executable, str(EXAMPLES / "multi_task.py"), "--images", "300", "--epochs", "3"],
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    header, *rows = done.stdout.splitlines()
    assert header.split() == ["left", "right", "parameters", "seconds"]
    assert [row[:14].strip() for row in rows] == ["a network each", "two heads"]
    figures = [re.findall(r"[\d.,]+", row) for row in rows]
    # Ten classes: chance is a tenth.
    assert all(float(share) > 20 for row in figures for share in row[:2])
    alone, shared = (int(row[2].replace(",", "")) for row in figures)
    head = 128 * 10 + 10
    assert alone - shared == alone / 2 - head


def test_the_list_names_every_example_and_recipe() -> None:
    text = (EXAMPLES / "README.md").read_text()
    for script in EXAMPLES.glob("*.py"):
        assert f"python examples/{script.name}" in text
    for name in recipes.list():
        assert f"`fastconv recipe {name}" in text
