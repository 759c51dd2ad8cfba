"""A picture of variants and their runs: what is drawn where, and bad input."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fastconv.errors import DTypeError, ShapeError
from fastconv.visualize import plot_comparison, save_png

PANELS: Any = [
    ("pairs", [("one", [97.0, 98.0]), ("two", [98.5, 98.9]), ("three", [98.0, 98.2])]),
    ("dropout", [("0 %", [90.0]), ("50 %", [89.0])]),
    ("maps", [("8-16", [1, 2, 3])]),
]


def test_what_is_drawn(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    figure = plot_comparison(PANELS, "Digits", label="right, %")
    axes = [a for a in figure.axes if a.axison]
    assert len(figure.axes) == 4 and len(axes) == 3
    for drawn, (title, variants) in zip(axes, PANELS, strict=True):
        assert drawn.get_title(loc="left") == title and drawn.get_xlabel() == "right, %"
        assert [t.get_text() for t in drawn.get_yticklabels()] == [name for name, _ in variants]
        means = [f"{np.mean(values):.2f}" for _, values in variants]
        assert [text.get_text() for text in drawn.texts] == means
        bold = [text.get_fontweight() == "bold" for text in drawn.texts]
        assert bold == [m == max(means) for m in means]
        dots = [line for line in drawn.lines if line.get_alpha() == 0.6]
        for dot, (_, values) in zip(dots, variants, strict=True):
            np.testing.assert_array_equal(dot.get_xdata(), values)
    save_png(figure, tmp_path / "a.png")
    assert (tmp_path / "a.png").read_bytes().startswith(b"\x89PNG")


BAD: list[tuple[Any, Any, str]] = [
    ([], ShapeError, "expected one panel at least"),
    ([("a", [])], ShapeError, "with one variant each"),
    ([("a", [("b", [])])], ShapeError, r"'b' has figures of shape \(0,\)"),
    ([("a", [("b", [1.0, float("nan")])])], ShapeError, "finite"),
    ([("a", [("b", ["x"])])], DTypeError, "figures of 'b' are <U1"),
]


@pytest.mark.parametrize(("panels", "error", "said"), BAD)
def test_bad_input(panels: Any, error: Any, said: str) -> None:
    with pytest.raises(error, match=f"^plot_comparison: .*{said}"):
        plot_comparison(panels)
