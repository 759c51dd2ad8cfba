"""The cost model's factors: measured, written, read at import, and never in the way."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import fastconv as fc
from fastconv import _core, tuning
from fastconv.cli import main

BUILT_IN = {
    "direct": 1.0,
    "direct_wgrad": 1.0,
    "winograd": 1.0,
    "winograd6": 1.0,
    "winograd_wgrad": 1.0,
}
SHAPE, WEIGHT = (4, 56, 56, 64), (64, 64, 3, 3)


@pytest.fixture(autouse=True)
def built_in() -> Iterator[None]:
    tuning.reset()
    yield
    tuning.reset()


def chosen(direction: str = "fprop") -> str:
    listed = _core.conv2d_candidates(SHAPE, WEIGHT, 1, 1, 1, 1, "NHWC", direction)
    return next(name for name, reason in listed if not reason)


def imported(file: str, code: str = "") -> subprocess.CompletedProcess[str]:
    text = f"import fastconv as fc\nfrom fastconv import _core\nprint(_core.conv2d_cost_scale())\n{code}"
    env = {**os.environ, "FASTCONV_TUNING": file, "FASTCONV_ISA": _core.isa()}
    return subprocess.run([sys.executable, "-c", text], capture_output=True, text=True, env=env)


def test_factors_move_the_choice_and_the_costs() -> None:
    before = _core.conv2d_costs(SHAPE, WEIGHT, "NHWC", "fprop")
    assert chosen() in ("winograd", "winograd6") and chosen("wgrad") == "winograd"
    _core.set_conv2d_cost_scale({**BUILT_IN, "winograd": 50.0, "winograd6": 50.0})
    after = _core.conv2d_costs(SHAPE, WEIGHT, "NHWC", "fprop")
    assert chosen() == "implicit_gemm" and chosen("wgrad") == "winograd"
    assert after["winograd"] == pytest.approx(50 * before["winograd"])
    assert after["implicit_gemm"] == before["implicit_gemm"]
    _core.set_conv2d_cost_scale({**BUILT_IN, "winograd_wgrad": 50.0})
    assert chosen("wgrad") == "implicit_gemm" and chosen() != "implicit_gemm"


def test_tune_measures_and_restores_the_switches() -> None:
    threads = fc.get_num_threads()
    lines: list[str] = []
    scale = tuning.tune(0.0, lines.append)
    assert set(scale) == set(BUILT_IN) and scale["direct"] == 1.0
    assert all(0.1 <= factor <= 10 for factor in scale.values())
    assert _core.conv2d_cost_scale() == scale
    assert len(lines) == 18 and fc.get_num_threads() == threads
    assert fc.get_precision() == "high"


def test_tune_that_stops_leaves_the_factors_as_they_were() -> None:
    scale = {**BUILT_IN, "winograd6": 1.25}
    _core.set_conv2d_cost_scale(scale)

    def stop(line: str) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        tuning.tune(0.0, stop)
    assert _core.conv2d_cost_scale() == scale and fc.get_precision() == "high"


def test_file_is_read_at_import(tmp_path: Path) -> None:
    scale = {**BUILT_IN, "winograd": 1.5}
    file = tuning.save(scale, tmp_path / "deep" / "t.json")
    assert [p.name for p in file.parent.iterdir()] == ["t.json"]
    done = imported(str(file))
    assert done.returncode == 0 and done.stderr == "" and "'winograd': 1.5" in done.stdout
    assert tuning.load(file) == scale and _core.conv2d_cost_scale() == scale
    for off in ("off", str(tmp_path / "missing.json")):
        assert "'winograd': 1.0" in imported(off).stdout


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "[]",
        json.dumps({"format": 1, "isa": "ISA"}),
        json.dumps({"format": 2, "isa": "ISA", "scale": BUILT_IN}),
        json.dumps({"format": 1, "isa": "riscv", "scale": BUILT_IN}),
        json.dumps({"format": 1, "isa": "ISA", "scale": {"direct": 1}}),
        json.dumps({"format": 1, "isa": "ISA", "scale": {**BUILT_IN, "winograd": 0}}),
        json.dumps({"format": 1, "isa": "ISA", "scale": {**BUILT_IN, "winograd": "fast"}}),
        '{"format": 1, "isa": "ISA", "scale": {"winograd": NaN}}',
        "\x00\xff",
    ],
)
def test_bad_files(tmp_path: Path, text: str) -> None:
    file = tmp_path / "bad.json"
    file.write_text(text.replace("ISA", _core.isa()))
    with pytest.raises(fc.FormatError, match=r"tuning: .*bad\.json"):
        tuning.load(file)
    assert _core.conv2d_cost_scale() == BUILT_IN
    done = imported(str(file))
    assert done.returncode == 0 and "built-in coefficients are used" in done.stderr


@pytest.mark.parametrize("value", [0.0, -1.0, float("nan"), 1e9])
def test_bad_factors(value: float) -> None:
    with pytest.raises(fc.ShapeError, match="'winograd6' must be between"):
        _core.set_conv2d_cost_scale({**BUILT_IN, "winograd6": value})
    with pytest.raises(fc.ShapeError, match="no value for 'direct'"):
        _core.set_conv2d_cost_scale({})


def test_costs_refuse_what_winograd_does_not_take() -> None:
    with pytest.raises(fc.ShapeError, match="conv2d_costs"):
        _core.conv2d_costs(SHAPE, (64, 64, 6, 6), "NHWC", "fprop")


def test_command(tmp_path: Path, capsys: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "t.json"
    assert main(["tune", "--seconds", "0", "--out", str(file)]) == 0
    assert f"written: {file}" in capsys.readouterr().out
    assert json.loads(file.read_text())["isa"] == _core.isa()
    file.unlink()
    assert main(["tune", "--seconds", "0", "--dry-run"]) == 0
    assert "written" not in capsys.readouterr().out
    monkeypatch.setenv("FASTCONV_TUNING", "off")
    assert main(["tune", "--seconds", "0"]) == 2
    assert "FASTCONV_TUNING is off" in capsys.readouterr().err
    (tmp_path / "not_a_folder").write_text("")
    assert main(["tune", "--seconds", "0", "--out", str(tmp_path / "not_a_folder" / "x")]) == 2
    assert "not_a_folder" in capsys.readouterr().err
