"""The kernels suite: its cases, and the lines that a run is judged by."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks import cases, kernels, lines, measure, run, table

CASES = kernels.cases()


def test_every_group_has_cases_and_every_line_a_group() -> None:
    assert {c.group for c in CASES} == set(kernels.GROUPS) == {line.group for line in lines.LINES}
    assert len({c.name for c in CASES}) == len(CASES)
    for line in lines.LINES:
        of_line = [c for c in CASES if c.group == line.group and c.direction in line.directions]
        assert of_line, line.title
        assert all(set(line.variants) & set(c.variants) for c in of_line), line.title


def test_cases_are_what_the_lines_say() -> None:
    for c in (c for c in CASES if c.op == "conv2d"):
        p, (_, channels, h, w) = c.params, c.shape
        assert cases.Case.from_json(json.loads(json.dumps(c.to_json()))) == c
        assert min(c.output_shape) > 0 and channels % p["groups"] == p["out"] % p["groups"] == 0
        if c.group == "3x3":
            assert (p["kernel"], p["stride"]) == (3, 1) and channels >= 64 and 14 <= h <= 224
        elif c.group == "depthwise":
            assert p["groups"] == channels == p["out"]
        elif c.group == "bf16":
            assert c.dtype == "bfloat16"
        elif c.group == "random":
            assert max(channels, p["out"]) <= 512 and max(h, w) <= 112 and p["kernel"] <= 7
            assert c.flops <= kernels.RANDOM_FLOPS
    drawn = [c for c in CASES if c.group == "random"]
    assert len(drawn) == 3 * kernels.RANDOM_SHAPES
    for key, values in (
        ("stride", {1, 2, 3}),
        ("dilation", {1, 2, 3}),
        ("kernel", set(range(1, 8))),
    ):
        assert {c.params[key] for c in drawn} == values
    assert kernels.cases(("random",)) == drawn  # the same shapes every time


def test_shapes_with_dilation_and_bytes_of_bfloat16() -> None:
    case = next(c for c in CASES if c.group == "random" and c.params["dilation"] == 3)
    p = case.params
    span = 3 * (p["kernel"] - 1) + 1
    assert case.output_shape[2] == (case.shape[2] + 2 * p["padding"] - span) // p["stride"] + 1
    assert replace(case, dtype="bfloat16").bytes == case.bytes / 2


def _record(name: str, ratio: float, share: float, **more: Any) -> dict[str, Any]:
    variant = {"ms": 1.0, "ratios": {"torch": ratio}, "of_fma": share, "of_stream": share}
    record = {
        **{"name": name, "group": "3x3", "direction": "fprop", "noisy": False, "problems": {}},
        **{"ours": {"NHWC": variant}, "params": {"kernel": 3, "stride": 1}, "skipped": {}},
    }
    return {**record, **more}


LINE = lines.Line("a line", "3x3", ("fprop",), ratio=2.0, share=0.9)


def test_means_have_to_meet_every_bar() -> None:
    records = [_record("a", 4.0, 1.0), _record("b", 1.0, 1.0), _record("c", 9.0, 1.0, group="1x1")]
    shown = lines.judge(LINE, records)
    assert shown is not None
    assert (shown.cases, shown.ratio, shown.worst, shown.met) == (2, 2.0, 1.0, "yes")
    for line, met in (
        (replace(LINE, ratio=2.1), "no"),
        (replace(LINE, share=1.1), "no"),
        (replace(LINE, worst=0.9), "yes"),
        (replace(LINE, worst=1.1), "no"),
        (replace(LINE, share=None), "yes"),
    ):
        judged = lines.judge(line, records)
        assert judged is not None and judged.met == met, line


def test_either_bar_has_to_be_met_by_each_case() -> None:
    line = replace(LINE, either=True)
    for second, met in (((1.0, 0.95), "yes"), ((2.5, 0.1), "yes"), ((1.9, 0.89), "1 of 2")):
        judged = lines.judge(line, [_record("a", 3.0, 0.1), _record("b", *second)])
        assert judged is not None and judged.met == met


def test_the_fastest_of_a_lines_variants_counts() -> None:
    record = _record("a", 2.0, 0.5)
    record["ours"]["NCHW"] = {**record["ours"]["NHWC"], "ms": 0.5, "ratios": {"torch": 4.0}}
    for variants, ratio in ((("NHWC",), 2.0), (("NCHW",), 4.0), (("NHWC", "NCHW"), 4.0)):
        judged = lines.judge(replace(LINE, variants=variants), [record])
        assert judged is not None and judged.ratio == ratio
    assert lines.judge(replace(LINE, variants=("NHWC highest",)), [record]) is None


def _result(records: list[dict[str, Any]], **more: Any) -> dict[str, Any]:
    limit = {"before": 100.0, "after": 99.0}
    return {
        **{"suite": "kernels", "threads": 1, "date": "2025-01-02T03:04:05+00:00", "rounds": 5},
        **{"command": ["python", "-m", "benchmarks.run"], "quick": False, "peers": ["torch"]},
        "machine": {"cpu": "A processor", "logical_cpus": 2, "caches": {"L1d": 32768}},
        "engines": {"fastconv": {"fastconv": "1.0", "isa": "avx2"}, "torch": {"torch": "2.0"}},
        "limits": {"fma": limit, "stream": limit},
        "cases": records,
        "isa": None,
        **more,
    }


def test_the_table_of_lines(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    missing = {"ours": {}, "problems": {"fastconv": "unsupported: no such type"}}
    records = [
        _record("a", 4.0, 2.8, noisy=True),
        _record("b", 2.0, 2.8),
        _record("c", 1.0, 1.0, group="bf16", **missing),
    ]
    one, two = tmp_path / "one.json", tmp_path / "two.json"
    one.write_text(json.dumps(_result(records)))
    two.write_text(json.dumps(_result([_record("a", 1.5, 1.0)], threads=2)))
    assert table.main(["--summary", str(one)]) == 0
    text = capsys.readouterr().out
    row = "| 3x3 s1, fprop and dgrad, channels-last | 2 (1 noisy) | **2.83** | 2.00 | 280 % P |"
    assert f"{row} >= 2.7x, >= 270 % P | yes |" in text
    assert "Not measured: bfloat16, all directions: unsupported: no such type." in text
    assert table.main(["--summary", str(one), str(two)]) == 0
    assert f"{row} 1.50 | >= 2.7x, >= 270 % P | yes |" in capsys.readouterr().out


def test_the_table_of_one_instruction_set() -> None:
    records = [_record("a", 1.5, 0.5), _record("b", 1.0, 0.5)]
    text = lines.table(_result(records, isa="avx2"))
    assert "| **1.22** | 1.00 | 50 % P | >= 1.2x | yes |" in text
    assert "| all of them | 2 | **1.22** | 1.00 |  | >= 1.2x | yes |" in text


def test_a_case_may_be_a_row_without_the_group_it_never_had() -> None:
    """Result files of other suites have neither groups nor variants."""
    old = _record("a", 2.0, 0.5)
    del old["ours"]
    assert lines.judge(LINE, [old]) is None


def test_quick_run_of_variants(tmp_path: Path) -> None:
    target = tmp_path / "result.json"
    arguments = ["--suite", "kernels", "--quick", "--peer", "none", "--json", str(target)]
    arguments += ["--group", "lenet", "--filter", r"lenet_conv1\.fprop"]
    assert run.main(arguments) == 0
    (record,) = json.loads(target.read_text())["cases"]
    assert set(record["ours"]) == {"NHWC", "NCHW"}
    assert record["problems"] == {} and record["group"] == "lenet"
    for variant in record["ours"].values():
        assert variant["ms"] > 0 and variant["of_fma"] > 0 and variant["of_stream"] > 0
    assert all(len(r) == 1 for r in record["samples"]["fastconv"]["NHWC"])


def test_quick_run_held_to_an_instruction_set(tmp_path: Path) -> None:
    from fastconv import _core

    if "avx2" not in _core.available_isas():
        pytest.skip("needs AVX2")
    target = tmp_path / "result.json"
    arguments = ["--suite", "kernels", "--quick", "--isa", "avx2", "--peer", "none"]
    arguments += ["--filter", r"lenet_conv2\.fprop", "--json", str(target)]
    assert run.main(arguments) == 0
    result = json.loads(target.read_text())
    assert result["engines"]["fastconv"]["isa"] == "avx2" and result["isa"] == "avx2"


def test_what_a_version_lacks_is_skipped_with_its_reason(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """An engine that knows neither the precision nor the type."""
    asked: list[str] = []

    def lacking(case: cases.Case, *_: Any) -> dict[str, Any]:
        asked.append(case.name)
        record = _record(case.name, 1.0, 1.0, group=case.group, direction=case.direction)
        del record["ours"]
        record |= {"problems": {"fastconv": "unsupported: none"}, "layout": "NHWC"}
        return record

    monkeypatch.setattr(run, "measure", lacking)
    assert run.main(["--suite", "kernels", "--quick", "--group", "bf16", "--peer", "none"]) == 0
    # Once for each direction, not for each of 94 cases.
    assert len(asked) == 3
    assert "unsupported: none" in capsys.readouterr().out


def test_samples_that_the_processor_was_away_from_are_taken_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from benchmarks import worker

    class Clock:
        """Wall and processor time, scripted: every second sample loses half of its time."""

        wall = cpu = 0.0
        calls = 0

        def call(self) -> None:
            Clock.calls += 1
            away = Clock.calls % 2 == 0
            Clock.wall += 0.02 if away else 0.01
            Clock.cpu += 0.01

    monkeypatch.setattr(worker.time, "perf_counter", lambda: Clock.wall)
    monkeypatch.setattr(worker.time, "process_time", lambda: Clock.cpu)
    peer: Any = type("Peer", (), {"threads": 1})()
    w = worker.Worker(peer)
    w.jobs["v"] = worker.Job("v", Clock().call, dict)
    w.inner["v"] = 1
    reply = w.time("v", 0.05)
    assert len(reply["samples"]) >= 3
    assert reply["samples"] == pytest.approx([0.01] * len(reply["samples"]))
    assert reply["cpu_share"] == pytest.approx(1.0)
    assert 0.3 < reply["disturbed"] < 0.7
    peer.threads = 2  # threads wait for each other: nothing is dropped
    assert max(w.time("v", 0.05)["samples"]) == pytest.approx(0.02)


def test_shares_and_ratios_of_each_variant() -> None:
    record: dict[str, Any] = {"flops": 2e9, "bytes": 1e9}
    record["samples"] = {
        "fastconv": {"NHWC": [[0.1], [0.1]]},
        "torch": {"a": [[0.3], [0.3]], "b": [[0.2], [0.2]]},
    }
    record["limits"] = {
        "fma": {"before": 40.0, "after": 30.0},
        "stream": {"before": 5.0, "after": 20.0},
    }
    jobs = {
        "fastconv": [{"variant": "NHWC", "like": True}],
        "torch": [{"variant": v, "like": True} for v in ("a", "b")],
    }
    measure._summarize(record, jobs)
    variant = record["ours"]["NHWC"]
    assert variant["ratios"] == {"torch": pytest.approx(2.0)}
    assert variant["of_fma"] == pytest.approx(0.5) and variant["of_stream"] == pytest.approx(0.5)
    assert np.isclose(variant["ms"], 100.0)
