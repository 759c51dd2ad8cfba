"""Comparing builds of the library: what the arguments mean, and a run of one build against itself."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import fastconv
from benchmarks import builds

PACKAGES = Path(fastconv.__file__).resolve().parent.parent


def test_a_build_against_itself(capsys: pytest.CaptureFixture[str]) -> None:
    arguments = [str(PACKAGES), str(PACKAGES), "--conv", "1,4,9,9,8,3,2", "--direction", "dgrad"]
    assert builds.main([*arguments, "--rounds", "2", "--seconds", "0.002"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 2
    name, milliseconds, told = re.split(r"  +", lines[0])
    assert name == "1,4,9,9,8,3,2.dgrad NHWC"
    ratio, low, high = map(float, re.findall(r"[\d.]+", told))
    rounding = 0.006  # the range has two decimals
    assert float(milliseconds) > 0 and 0.1 < low - rounding <= ratio <= high + rounding < 10
    assert lines[1].startswith("geometric mean")


def test_a_convolution_in_numbers() -> None:
    shape, params = builds._conv("8,64,56,28,32,5")
    assert shape == (8, 64, 56, 28)
    assert params == {
        "out": 32, "kernel": 5, "stride": 1, "dilation": 1, "groups": 1, "padding": 2,
    }  # fmt: skip
    assert builds._conv("1,2,3,4,5,3,2,1,1,0")[1]["padding"] == 0


@pytest.mark.parametrize("wrong", ["1,2,3,4,5", "1,2,3,4,5,6,7,8,9,10,11", "1,2,3,4,5,x"])
def test_wrong_numbers(wrong: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        builds.main([str(PACKAGES), "--conv", wrong])
    assert ended.value.code == 2
    assert wrong in capsys.readouterr().err


def test_a_folder_without_the_package(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        builds.main([str(tmp_path), "--group", "lenet"])
    assert ended.value.code == 2
    assert "holds no package fastconv" in capsys.readouterr().err
