"""The report of a run: one file, nothing from outside, every text escaped, the right numbers."""

from __future__ import annotations

import base64
import io
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import fastconv as fc
from fastconv import visualize as viz
from fastconv.data import ArrayDataset
from fastconv.train import diagnose
from tests.visualize.helpers import dataset, small_net

VOID = {"meta", "img", "br", "link", "hr"}
HOSTILE = "<script>alert('x')</script> & \"q\""


class Page(HTMLParser):
    """Elements, texts and pictures of a page; elements must be closed in order."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[str] = []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] != "style":
            self.texts.append(data)

    def pictures(self) -> list[Any]:
        found = []
        for tag, attributes in self.elements:
            if tag == "img":
                assert attributes["alt"]
                kind, _, data = (attributes["src"] or "").partition(",")
                assert kind == "data:image/png;base64"
                with Image.open(io.BytesIO(base64.b64decode(data, validate=True))) as opened:
                    opened.load()
                    assert opened.format == "PNG"
                    found.append(opened.size)
        return found


def offline(text: str) -> Page:
    page = Page(text)
    for tag, attributes in page.elements:
        assert tag not in ("script", "link", "iframe", "object", "embed", "base", "form"), tag
        for name, value in attributes.items():
            assert not name.startswith("on")
            assert name not in ("href", "srcset", "action")
            assert name != "src" or (value or "").startswith("data:image/png;base64,")
    outside = text.replace("data:image/png", "")
    for mark in ("http:", "https:", "//", "@import", "url("):
        plain = "".join(part.partition('"')[2] for part in outside.split(";base64,"))
        assert mark not in plain, mark
    return page


def test_a_whole_report(tmp_path: Path) -> None:
    net, data = small_net(), dataset()
    named = ArrayDataset(data.images, data.labels, [HOSTILE, "b", "c"], mean=(0.5,), std=(0.25,))
    history = [
        {"epoch": i + 1, "train_loss": 1 / (i + 1), "val_loss": 0.5, "val_accuracy": 0.25}
        for i in range(12)
    ]
    report = viz.Report(
        HOSTILE,
        net,
        named,
        HOSTILE,
        named.classes,
        history=history,
        settings={HOSTILE: HOSTILE, "lr": 0.05, "none": None, "mean": [0.5, 0.25]},
        environment={"command": HOSTILE},
        images=5,
    )
    path = tmp_path / "report.html"
    viz.write_report(report, path)
    text = path.read_text(encoding="utf-8")
    assert "<script" not in text and text.startswith("<!DOCTYPE html>")
    page = offline(text)
    assert page.texts.count(HOSTILE) >= 6
    said = "\n".join(page.texts)
    matrix = viz.confusion(net, data)
    right = int(np.trace(matrix))
    assert f"{100 * right / 30:.2f} %" in page.texts and f"{30 - right}" in page.texts
    rows = [t for t in page.texts if t.strip()]
    for i, name in enumerate(named.classes):
        # the row of a class: name, precision, recall, F1, images
        place = next(k for k, t in enumerate(rows) if t == name and rows[k + 1].endswith("%"))
        tp, fp = int(matrix[i, i]), int(matrix[:, i].sum() - matrix[i, i])
        fn = int(matrix[i].sum()) - tp
        # a class that is never the answer has no precision, which leaves its field empty
        expected = [f"{100 * tp / (tp + fp):.1f} %"] if tp + fp else []
        expected += [f"{100 * tp / (tp + fn):.1f} %", f"{200 * tp / (2 * tp + fp + fn):.1f} %"]
        assert rows[place + 1 : place + 1 + len(expected) + 1] == [*expected, str(tp + fn)]
    for title in (
        "Learning curves",
        "Confusion matrix",
        "Precision and recall",
        "Samples with answers",
        "Highest losses",
        "Most confident mistakes",
        "Filters of the first convolution, conv1",
        "Settings",
        "Environment",
        "the last 10 of 12 epochs",
        fc.__version__,
        "0.5, 0.25",
    ):
        assert title in said, title
    sizes = page.pictures()
    assert len(sizes) == 6 and min(min(size) for size in sizes) > 150
    again = tmp_path / "again.html"
    viz.write_report(report, again)
    assert again.read_text(encoding="utf-8") == text


def test_the_diagnosis(tmp_path: Path) -> None:
    errors = {"train": 0.02, "bridge": 0.03, "dev": 0.08}
    found = diagnose(errors, {"train": 1000, "bridge": 100})
    path = tmp_path / "a.html"
    viz.write_report(viz.Report(diagnosis=replace(found, notes=(HOSTILE,))), path)
    text = path.read_text(encoding="utf-8")
    assert "<script" not in text
    page = offline(text)
    for said in (
        *("Diagnosis", "bridge", "3.00 %", "1,000", "data mismatch", "dev - bridge", "5.00 %"),
        *("overfitting to dev", "there is no error on test", "not known", *found.advice),
        f"± {200 * (0.02 * 0.98 / 1000) ** 0.5:.2f} %",
        f"{HOSTILE}.",
    ):
        assert said in page.texts, said
    assert len([tag for tag, _ in page.elements if tag == "li"]) == len(found.advice)
    viz.write_report(viz.Report(diagnosis=diagnose({"human": 0.3, "train": 0.2})), path)
    page = offline(path.read_text(encoding="utf-8"))
    assert "No share is above 0: nothing stands out." in page.texts
    with pytest.raises(fc.DTypeError, match="diagnosis is a dict, expected a Diagnosis"):
        viz.write_report(viz.Report(diagnosis=errors), path)  # type: ignore[arg-type]


def test_parts_may_be_missing(tmp_path: Path) -> None:
    path = tmp_path / "a.html"
    viz.write_report(viz.Report(history=[{"epoch": 1, "val_accuracy": 0.8125}]), path)
    page = offline(path.read_text(encoding="utf-8"))
    assert "81.25 %" in page.texts and len(page.pictures()) == 1
    viz.write_report(viz.Report(), path)
    assert offline(path.read_text(encoding="utf-8")).pictures() == []
    perfect = small_net().eval()
    data = dataset()
    answers = [e.answer for e in viz.answers(perfect, data, range(30))]
    data = ArrayDataset(data.images, answers, mean=(0.5,), std=(0.25,))
    viz.write_report(viz.Report(network=perfect, data=data), path)
    page = offline(path.read_text(encoding="utf-8"))
    assert "Most confident mistakes" not in page.texts and "100.00 %" in page.texts


def test_bad_input(tmp_path: Path) -> None:
    path = tmp_path / "a.html"
    with pytest.raises(fc.DTypeError, match="write_report: expected a Report, got dict"):
        viz.write_report({}, path)  # type: ignore[arg-type]
    with pytest.raises(fc.ShapeError, match="there is data, but no network"):
        viz.write_report(viz.Report(data=dataset()), path)
    with pytest.raises(fc.ShapeError, match="2 names for 3 classes"):
        viz.write_report(viz.Report(network=small_net(), data=dataset(), classes=["a", "b"]), path)
    with pytest.raises(fc.ShapeError, match="images must be at least 1"):
        viz.write_report(viz.Report(images=0), path)
    assert not path.exists()
    with pytest.raises(OSError):
        viz.write_report(viz.Report(), tmp_path / "no" / "a.html")
