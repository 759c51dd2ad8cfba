"""What a run prints: plain lines, a bar on a terminal, and without the optional packages."""

from __future__ import annotations

import io
import re
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from fastconv.train import progress
from fastconv.train.progress import PlainProgress, TqdmProgress
from tests.train.helpers import COUNT, StopAt, small_data, small_loader, small_trainer


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_bar_on_a_terminal(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    assert isinstance(progress.progress(), TqdmProgress)
    small_trainer(callbacks=[StopAt(8)]).fit(small_loader(), small_data(), epochs=3)
    shown = terminal.getvalue()
    assert "epoch 1/3" in shown and "epoch 2/3" in shown and "epoch 3/3" not in shown
    assert f"/{COUNT}" in shown
    assert shown.endswith("\r")  # the bar is wiped
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 1 and lines[0].startswith("epoch 1/3  loss ")


def test_bar_shows_the_state(monkeypatch: pytest.MonkeyPatch) -> None:
    class Eager:
        """Keeps what the bar would show, at every step."""

        def __init__(self, **options: object) -> None:
            self.seen = [options]
            bars.append(self)

        def set_postfix_str(self, text: str, refresh: bool) -> None:
            self.seen.append({"postfix": text})

        def update(self, count: int) -> None:
            self.seen.append({"count": count})

        def close(self) -> None:
            self.seen.append({"closed": True})

    bars: list[Eager] = []
    trainer = small_trainer(callbacks=[TqdmProgress(Eager)])
    trainer.fit(small_loader(), epochs=2, progress=False)
    assert len(bars) == 2
    for bar in bars:
        assert bar.seen[0]["total"] == COUNT and bar.seen[0]["initial"] == 0
        assert [s["count"] for s in bar.seen if "count" in s] == [8, 8, 8, 8, 8, 4]
        assert bar.seen[-1] == {"closed": True}
        for shown in (s["postfix"] for s in bar.seen if "postfix" in s):
            assert re.fullmatch(r"loss \d+\.\d{3}, accuracy \d+\.\d%, left \d+:\d\d", str(shown))


def test_plain_lines_elsewhere(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(progress, "_QUIET_S", 0.0)
    monkeypatch.setattr(sys, "stderr", io.StringIO())
    assert isinstance(progress.progress(), PlainProgress)
    small_trainer().fit(small_loader(), epochs=2)
    lines = capsys.readouterr().out.splitlines()
    number = r"[\d.,]+"
    within = rf"epoch 1/2  batch 3/6  loss {number}  accuracy {number}%  {number} images/s  left 0:"
    assert re.match(within, lines[2])
    assert len(lines) == 14
    assert re.match(
        rf"epoch 1/2  loss {number}  accuracy {number}%  {number} images/s  left", lines[6]
    )
    assert lines[13].startswith("epoch 2/2") and "left" not in lines[13]


RUN = """
    import sys
    for name in {missing!r}:
        sys.modules[name] = None
    sys.path[:0] = [{root!r}]
    import io
    class Terminal(io.StringIO):
        isatty = lambda self: True
    from tests.train.helpers import *
    real, sys.stderr = sys.stderr, Terminal()
    try:
        small_trainer({out}).fit(small_loader(), small_data(), epochs=1)
    except ImportError as error:
        print("ImportError:", error)
    real.write(sys.stderr.getvalue())
"""


def run_without(missing: list[str], out: Path | None) -> tuple[list[str], str]:
    folder = "None" if out is None else f"Path({str(out)!r})"
    root = str(Path(__file__).parents[2])
    code = textwrap.dedent(RUN.format(missing=missing, root=root, out=folder))
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return done.stdout.splitlines(), done.stderr


def test_without_tqdm_there_are_plain_lines() -> None:
    out, err = run_without(["tqdm"], None)
    assert len(out) == 1 and out[0].startswith("epoch 1/1  loss ")
    assert err == ""


def test_without_matplotlib_there_is_no_picture(tmp_path: Path) -> None:
    out, err = run_without(["tqdm", "matplotlib"], tmp_path)
    assert len(out) == 1
    assert err.count("\n") == 1 and "no curves.png" in err
    assert 'pip install "fastconv[viz]"' in err
    names = ["best.safetensors", "history.json", "last.safetensors"]
    assert sorted(p.name for p in tmp_path.iterdir()) == names


def test_without_safetensors_no_run_with_a_folder_begins(tmp_path: Path) -> None:
    out, err = run_without(["tqdm", "safetensors"], tmp_path)
    assert len(out) == 1 and out[0].startswith("ImportError: Trainer.fit needs safetensors")
    assert 'pip install "fastconv[io]"' in out[0]
    assert err == "" and list(tmp_path.iterdir()) == []
    out, err = run_without(["tqdm", "safetensors"], None)
    assert len(out) == 1 and out[0].startswith("epoch 1/1")


def test_bare_numpy_is_enough_to_train() -> None:
    missing = ["tqdm", "matplotlib", "safetensors", "PIL", "pooch", "torch"]
    out, _ = run_without(missing, None)
    assert out[0].startswith("epoch 1/1")
