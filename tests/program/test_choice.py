"""Measured choices of algorithms: what is measured is what runs, and what is kept is used again."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import fastconv as fc
import fastconv.functional as F
from fastconv import _core, choice, nn
from fastconv.program import TrainingStep

X = np.random.default_rng(0).standard_normal((2, 16, 14, 14)).astype(np.float32)


@pytest.fixture(autouse=True)
def fresh(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache directory of the test's own."""
    monkeypatch.setenv("FASTCONV_TUNING", str(tmp_path / "tuning.json"))
    monkeypatch.setattr(choice, "_known", None)
    monkeypatch.setattr(choice, "_source", None)
    return tmp_path / f"algorithms-{_core.isa()}.json"


def net() -> nn.Module:
    fc.manual_seed(0)
    return nn.Sequential(nn.Conv2d(16, 32, 3, padding=1), nn.ReLU(), nn.Conv2d(32, 16, 1))


def preferring(monkeypatch: pytest.MonkeyPatch, wanted: str) -> list[str]:
    """Measuring that finds `wanted` the fastest where it is there; what has been measured."""
    measured: list[str] = []

    def measure(graph: Any, node: int, chosen: str, algorithms: list[str], evict: Any) -> str:
        measured.append(chosen)
        return wanted if wanted in algorithms else chosen

    monkeypatch.setattr(choice, "_measure", measure)
    return measured


def algorithms_of(prog: fc.Program) -> list[str]:
    steps = prog.profile(X, runs=1, limits=False).steps
    return [s["algorithm"] for s in steps if s["op"] == "conv2d"]


@pytest.mark.parametrize("wanted", ["winograd", "winograd6", "implicit_gemm", "strips"])
def test_programs_run_what_was_found(
    wanted: str, monkeypatch: pytest.MonkeyPatch, fresh: Path
) -> None:
    measured = preferring(monkeypatch, wanted)
    made = net().eval()
    prog = fc.compile(made, X, tune=True)
    assert measured and algorithms_of(prog)[0] == wanted
    with fc.no_grad():
        np.testing.assert_allclose(prog(X), made(X).numpy(), rtol=1e-4, atol=1e-4)
    # Kept for the next process, and not measured again.
    kept = json.loads(fresh.read_text())
    assert wanted in kept["choices"].values() and kept["isa"] == _core.isa()
    monkeypatch.setattr(choice, "_known", None)
    measured.clear()
    assert algorithms_of(fc.compile(made, X, tune=True))[0] == wanted and not measured


def test_what_is_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    """The real thing: every algorithm named runs, and the choice is among them."""
    monkeypatch.setattr(choice, "_EVICT", 1 << 20)
    for dtype in (None, "bfloat16"):
        if dtype:
            pytest.importorskip("ml_dtypes")
        made = net().eval()
        prog = fc.compile(made, X, tune=True, dtype=dtype)
        plain = fc.compile(made, X, dtype=dtype)
        tolerance = 0.1 if dtype else 1e-4
        np.testing.assert_allclose(prog(X), plain(X), rtol=tolerance, atol=tolerance)
        # Scalar kernels have one for bfloat16.
        measures = dtype is None or _core.isa() != "scalar"
        assert ("algorithm=" in prog.dump()) == measures and "algorithm=" not in plain.dump()


def test_the_precision_holds(monkeypatch: pytest.MonkeyPatch) -> None:
    preferring(monkeypatch, "winograd")
    with_winograd = fc.compile(net().eval(), X, tune=True)
    before = fc.get_precision()
    fc.set_precision("highest")
    try:
        without = fc.compile(net().eval(), X, tune=True)
        assert "winograd" not in without.dump()
    finally:
        fc.set_precision(before)
    assert "algorithm=winograd" in with_winograd.dump()


def test_training_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    made = net()
    step = TrainingStep(
        made,
        lambda y, t: F.mse_loss(y, t),
        fc.optim.SGD(made.parameters(), lr=0.1),
        tune=True,
    )
    monkeypatch.setattr(choice, "_ROUNDS", 1)
    plan = step.plan(X, np.zeros((2, 16, 14, 14), np.float32))
    lines = [
        line for line in plan.dump().splitlines() if "conv2d" in line and "conv2d_bias" not in line
    ]
    assert len(lines) == 5 and all("algorithm=" in line for line in lines)


def test_files_that_do_not_fit(fresh: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    measured = preferring(monkeypatch, "implicit_gemm")
    fresh.write_text("no file of choices")
    with pytest.warns(UserWarning, match="made anew"):
        fc.compile(net().eval(), X, tune=True)
    assert measured
    # Another version's is measured again, without a word.
    kept = json.loads(fresh.read_text())
    fresh.write_text(json.dumps({**kept, "version": "0"}))
    monkeypatch.setattr(choice, "_known", None)
    measured.clear()
    fc.compile(net().eval(), X, tune=True)
    assert measured and json.loads(fresh.read_text()) == kept
    # An algorithm that is not there any more too.
    kept["choices"] = dict.fromkeys(kept["choices"], "abacus")
    fresh.write_text(json.dumps(kept))
    monkeypatch.setattr(choice, "_known", None)
    fc.compile(net().eval(), X, tune=True)
    assert "abacus" not in fresh.read_text()


def test_nothing_is_kept_where_that_is_off(fresh: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    preferring(monkeypatch, "implicit_gemm")
    monkeypatch.setenv("FASTCONV_TUNING", "off")
    fc.compile(net().eval(), X, tune=True)
    assert choice.path() is None and not fresh.exists()
