"""A run as one HTML file that opens offline."""

from __future__ import annotations

import base64
import html
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from .._arrays import NDArray
from ..config import config
from ..errors import DTypeError, ShapeError
from ..functional import cross_entropy
from ..nn import Conv2d, Module
from ..nn._args import integer
from ..serialization import PathLike, write_atomically
from ..train.diagnosis import Diagnosis
from .charts import plot_confusion, plot_curves, plot_examples
from .examples import judge
from .filters import layer_filters, plot_filters
from .style import png_bytes

__all__ = ["Report", "write_report"]

# What a browser makes of it: readable on light and dark, pictures on white.
_STYLE = """
:root { color-scheme: light dark; --ink: #1c1c1c; --page: #ffffff; --line: #cccccc; --quiet: #5a5a5a; }
@media (prefers-color-scheme: dark) {
  :root { --ink: #e8e8e8; --page: #16181c; --line: #444a52; --quiet: #a8adb4; }
}
body { font: 16px/1.5 system-ui, sans-serif; color: var(--ink); background: var(--page);
  max-width: 68rem; margin: 2rem auto; padding: 0 1rem; }
h1 { font-size: 1.7rem; margin-bottom: 0.2rem; } h2 { font-size: 1.25rem; margin-top: 2.2rem; }
p.quiet { color: var(--quiet); margin-top: 0; }
img { max-width: 100%; height: auto; background: #ffffff; border-radius: 4px; padding: 4px;
  box-sizing: border-box; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; } table + table { margin-top: 1.2rem; }
th, td { border-bottom: 1px solid var(--line); padding: 0.25rem 0.9rem 0.25rem 0; text-align: left;
  vertical-align: top; }
td { overflow-wrap: anywhere; } td.number { overflow-wrap: normal; }
th[scope] { white-space: nowrap; } .number { text-align: right; }
details { overflow-x: auto; }
dl { display: flex; flex-wrap: wrap; gap: 0.5rem 2.5rem; margin: 1rem 0; }
dt { color: var(--quiet); font-size: 0.85rem; } dd { margin: 0; font-size: 1.5rem; font-weight: 600; }
"""


@dataclass
class Report:
    """What a report is made of; a part that is missing is left out.

    Attributes:
        title: of the page.
        network: for its first filters, and for what it says of `data`.
        data: a data set, a Loader or a list of batches that the network is judged by.
        data_name: what they are called.
        classes: their names.
        loss: (outputs, labels) -> mean loss.
        history: of `Trainer.history`.
        diagnosis: of `fastconv.train.diagnose` or `evaluate_parts`.
        settings, environment: name -> value.
        images: how many samples, mistakes and highest losses are shown.
        seed: of the choice of samples.
    """

    title: str = "fastconv run"
    network: Module | None = None
    data: Any = None
    data_name: str = ""
    classes: Sequence[str] = ()
    loss: Callable[[Any, Any], Any] = cross_entropy
    history: Sequence[Mapping[str, Any]] = ()
    diagnosis: Diagnosis | None = None
    settings: Mapping[str, Any] = field(default_factory=dict)
    environment: Mapping[str, Any] = field(default_factory=dict)
    images: int = 18
    seed: int = 0


def write_report(report: Report, path: PathLike) -> None:
    """Write a run as one HTML file that opens offline: final numbers, learning curves, diagnosis with advice,
    confusion matrix, precision and recall of each class, samples with answers, highest losses, mistakes, first
    filters, settings, environment. Pictures lie inside it; there are no scripts and no links.

    Args:
        report: what it shows.
        path: the file, written atomically.

    Raises:
        DTypeError, ShapeError, FastconvError: parts do not fit; nothing is written.
        ImportError: matplotlib is not installed.
        OSError: the file cannot be written.
    """
    if not isinstance(report, Report):
        raise DTypeError(f"write_report: expected a Report, got {type(report).__name__}")
    integer("write_report", "images", report.images, 1)
    if report.diagnosis is not None and not isinstance(report.diagnosis, Diagnosis):
        raise DTypeError(
            f"write_report: diagnosis is a {type(report.diagnosis).__name__}, expected a Diagnosis"
        )
    if report.data is not None and report.network is None:
        raise ShapeError("write_report: there is data, but no network that is judged by it")
    write_atomically(path, _page(report).encode())


def _page(report: Report) -> str:
    parts = [f"<h1>{_text(report.title)}</h1>"]
    judged = [] if report.data is None else _judged(report)
    if report.data_name:
        parts.append(f'<p class="quiet">judged by {_text(report.data_name)}</p>')
    parts += judged[:1] or _numbers(_final(report.history))
    if report.history:
        parts += ["<h2>Learning curves</h2>", _picture(plot_curves(report.history), "curves")]
        parts.append(_epochs(report.history))
    if report.diagnosis is not None:
        parts += ["<h2>Diagnosis</h2>", *_diagnosed(report.diagnosis)]
    parts += judged[1:]
    if report.network is not None and any(isinstance(m, Conv2d) for m in report.network.modules()):
        name, _ = layer_filters(report.network)
        parts += [f"<h2>Filters of the first convolution, {_text(name)}</h2>"]
        parts.append(_picture(plot_filters(report.network), "filters"))
    if report.settings:
        parts += ["<h2>Settings</h2>", _pairs(report.settings)]
    facts = {**_installation(), **report.environment}
    parts += ["<h2>Environment</h2>", _pairs(facts)]
    body = "\n".join(parts)
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{_text(report.title)}</title>\n<style>{_STYLE}</style>\n</head>\n"
        f"<body>\n{body}\n</body>\n</html>\n"
    )


def _final(history: Sequence[Mapping[str, Any]]) -> dict[str, str]:
    """The last epoch's numbers."""
    if not history:
        return {}
    last = history[-1]
    kinds = ("train_loss", "train_accuracy", "val_loss", "val_accuracy")
    return {
        name.replace("_", " ").replace("val", "validation").replace("train", "training"): _number(
            last[name], percent=name.endswith("accuracy")
        )
        for name in kinds
        if name in last
    }


def _judged(report: Report) -> list[str]:
    """Numbers first, then the sections that need data."""
    net: Any = report.network
    judgement = judge(net, report.loss, report.data, report.images, report.seed)
    matrix = judgement.matrix
    classes = report.classes
    if len(classes) not in (0, len(matrix)):
        raise ShapeError(f"write_report: {len(classes)} names for {len(matrix)} classes")
    total, right = int(matrix.sum()), int(np.trace(matrix))
    final = {
        "accuracy": _number(right / total, percent=True),
        "images": f"{total:,}",
        "mistakes": f"{total - right:,}",
        "epochs": f"{len(report.history):,}" if report.history else "",
    }
    figures = [
        "".join(_numbers({name: text for name, text in final.items() if text})),
        "<h2>Confusion matrix</h2>",
        _picture(plot_confusion(matrix, classes), "confusion matrix"),
        "<h2>Precision and recall of each class</h2>",
        _shares(matrix, classes),
        "<h2>Samples with answers</h2>",
        _picture(plot_examples(judgement.samples, classes), "samples with answers"),
        "<h2>Highest losses</h2>",
        _picture(plot_examples(judgement.hardest, classes), "images with the highest losses"),
    ]
    if judgement.mistakes:
        figures += [
            "<h2>Most confident mistakes</h2>",
            _picture(plot_examples(judgement.mistakes, classes), "misclassified images"),
        ]
    return figures


def _diagnosed(diagnosis: Diagnosis) -> list[str]:
    """The error on each part, what it is made of, and advice."""
    errors = [
        [part, _percent(error), f"{diagnosis.images[part]:,}" if part in diagnosis.images else ""]
        for part, error in diagnosis.errors.items()
    ]
    shares = [
        [
            share.name,
            share.of,
            _percent(share.value),
            "" if share.deviation is None else f"± {_percent(2 * share.deviation)}",
        ]
        for share in diagnosis.shares
    ]
    shares += [[name, why, "not known", ""] for name, why in diagnosis.unknown.items()]
    largest = diagnosis.largest
    said = (
        "<p>No share is above 0: nothing stands out.</p>"
        if largest is None
        else f"<p>The largest share is <strong>{_text(largest.name)}</strong>. What may help:</p>"
    )
    advice = "\n".join(f"<li>{_text(text)}</li>" for text in diagnosis.advice)
    return [
        _table(["part", "error", "images"], errors),
        _table(["share of the error", "of", "value", "by chance"], shares, numbers_from=2),
        said,
        f"<ul>\n{advice}\n</ul>" if advice else "",
        *(
            f'<p class="quiet">{_text(note[:1].upper() + note[1:])}.</p>'
            for note in diagnosis.notes
        ),
    ]


def _percent(share: float) -> str:
    return f"{100 * share:.2f} %"


def _shares(matrix: NDArray, classes: Sequence[str]) -> str:
    """Precision, recall and F1, an empty field where it is 0/0."""
    right = matrix.diagonal()
    images, taken = matrix.sum(axis=1), matrix.sum(axis=0)
    rows = []
    for i in range(len(matrix)):
        name = classes[i] if classes else str(i)
        numbers = (
            _ratio(right[i], taken[i]),
            _ratio(right[i], images[i]),
            _ratio(2 * right[i], images[i] + taken[i]),
        )
        rows.append([name, *numbers, f"{images[i]:,}"])
    return _table(["class", "precision", "recall", "F1", "images"], rows)


def _ratio(above: Any, below: Any) -> str:
    return "" if below == 0 else f"{100 * above / below:.1f} %"


def _epochs(history: Sequence[Mapping[str, Any]]) -> str:
    """The last ten epochs."""
    names = [n for n, value in history[-1].items() if isinstance(value, (int, float))]
    rows = [
        [_number(record.get(n), percent=n.endswith("accuracy")) for n in names]
        for record in history[-10:]
    ]
    table = _table([n.replace("_", " ") for n in names], rows, numbers_from=0)
    said = (
        f"all {len(history)} epochs"
        if len(history) <= 10
        else f"the last 10 of {len(history)} epochs"
    )
    return f"<details><summary>{said} as numbers</summary>\n{table}\n</details>"


def _installation() -> dict[str, Any]:
    facts = config()
    optional = facts.pop("optional")
    facts.pop("available_isas")
    installed = [f"{name} {version}" for name, version in optional.items() if version != "missing"]
    return {"fastconv": facts.pop("version"), **facts, "packages": ", ".join(installed)}


# Pieces of HTML; every text goes through `_text`.


def _text(value: Any) -> str:
    return html.escape(str(value), quote=True)


def _picture(figure: Any, name: str) -> str:
    data = base64.b64encode(png_bytes(figure)).decode("ascii")
    return f'<img alt="{_text(name)}" src="data:image/png;base64,{data}">'


def _numbers(pairs: Mapping[str, str]) -> list[str]:
    if not pairs:
        return []
    items = "".join(f"<div><dt>{_text(n)}</dt><dd>{_text(v)}</dd></div>" for n, v in pairs.items())
    return [f"<dl>{items}</dl>"]


def _pairs(pairs: Mapping[str, Any]) -> str:
    rows = "\n".join(
        f'<tr><th scope="row">{_text(name)}</th><td>{_text(_value(value))}</td></tr>'
        for name, value in pairs.items()
    )
    return f"<table>\n{rows}\n</table>"


def _table(head: Sequence[str], rows: Sequence[Sequence[str]], numbers_from: int = 1) -> str:
    def line(cells: Sequence[str], kind: str) -> str:
        classes = [' class="number"' if i >= numbers_from else "" for i in range(len(cells))]
        made = (
            f"<{kind}{c}>{_text(cell)}</{kind}>" for c, cell in zip(classes, cells, strict=True)
        )
        return f"<tr>{''.join(made)}</tr>"

    return "\n".join(["<table>", line(head, "th"), *(line(row, "td") for row in rows), "</table>"])


def _value(value: Any) -> Any:
    if isinstance(value, (list, tuple)):
        return ", ".join(str(v) for v in value)
    return "none" if value is None else value


def _number(value: Any, *, percent: bool = False) -> str:
    if not isinstance(value, (int, float)) or isinstance(value, bool):
        return ""
    if not math.isfinite(value):
        return str(value)
    if percent:
        return _percent(value)
    if isinstance(value, int) or abs(value) >= 1000:
        return f"{value:,.0f}"
    return f"{value:.4g}"
