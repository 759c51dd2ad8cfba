"""The documentation's Python runs, block after block, in a folder with the files that it talks of."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import fastconv.data as data
from tests.data.helpers import write_split

ROOT = Path(__file__).resolve().parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
BLOCK = re.compile(r"^```python([^\n]*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def blocks(page: Path) -> list[tuple[int, str]]:
    """Line numbers and text of the blocks that run; `python no-run` marks those that need more than is here."""
    text = page.read_text(encoding="utf-8")
    found = []
    for block in BLOCK.finditer(text):
        label = block[1].strip()
        assert label in ("", "no-run"), f"{page.name}: {block[0].splitlines()[0]!r}"
        if not label:
            found.append((text.count("\n", 0, block.start(2)), block[2]))
    return found


def write_files(folder: Path) -> None:
    """What docs/data.md says lies around."""
    image = pytest.importorskip("PIL.Image")
    rng = np.random.default_rng(0)
    lines = ["path,label,burst"]
    for number in range(40):
        name = ("cat", "dog")[number % 2]
        path = folder / "pets" / name / f"{number // 2}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        pixels = rng.integers(0, 256, (90, 120, 3), dtype=np.uint8)
        image.fromarray(pixels).save(path)
        lines.append(f"pets/{name}/{path.name},{name},{number // 4}")
    (folder / "pets.csv").write_text("\n".join(lines) + "\n")
    np.save(folder / "images.npy", rng.integers(0, 256, (60, 3, 32, 32), dtype=np.uint8))
    np.save(folder / "labels.npy", np.arange(60) % 4)
    for split in ("train", "test"):
        write_split(folder / "mnist", split)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_blocks_run(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    runs = blocks(page)
    if not runs:
        pytest.skip("nothing in it runs")
    write_files(tmp_path)
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {"__name__": "page"}
    for line, text in runs:
        # Blank lines in front, so that a traceback has the page's line numbers.
        code = compile("\n" * line + text, str(page), "exec")
        try:
            exec(code, names)
        except ModuleNotFoundError as error:
            if (error.name or "").startswith("fastconv"):
                raise
            pytest.skip(f"{page.name}, line {line}: {error}")


def test_data_is_documented_whole() -> None:
    text = (ROOT / "docs" / "data.md").read_text(encoding="utf-8")
    code = "".join(block[2] for block in BLOCK.finditer(text))
    for module, names in (("data", data.__all__), ("A", data.augment.__all__)):
        for name in names:
            assert f"{module}.{name}" in text if name != "augment" else "augment as A" in code, name
    classes = [n for n in data.augment.__all__ if n[0].isupper()]
    assert len(classes) > 25 and all(f"A.{name}(" in code for name in classes)
