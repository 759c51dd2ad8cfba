"""The benchmark runner end to end on one small case, and the tables made from its results."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import fastconv as fc
from benchmarks import (
    agreement,
    cases,
    exchange,
    lines,
    machine,
    measure,
    networks,
    peers,
    run,
    table,
)


def _run(tmp_path: Path, *extra: str) -> dict[str, Any]:
    target = tmp_path / "result.json"
    arguments = ["--quick", "--json", str(target), "--markdown", str(tmp_path / "result.md")]
    assert run.main([*arguments, *extra]) == 0
    result: dict[str, Any] = json.loads(target.read_text())
    return result


@pytest.mark.parametrize("layout", ["NCHW", "NHWC"])
def test_quick_run_of_one_case(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], layout: str
) -> None:
    case = r"^lenet\.conv2\.fprop$"
    result = _run(
        tmp_path, "--peer", "none", "--filter", case, "--layout", layout, "--threads", "1"
    )
    assert result["quick"] and result["threads"] == 1 and result["peers"] == []
    assert result["machine"]["cpu"] and result["machine"]["logical_cpus"] >= 1
    assert result["engines"]["fastconv"]["isa"] in ("scalar", "avx2", "avx512")
    assert {k: min(v.values()) > 0 for k, v in result["limits"].items()} == {
        "fma": True,
        "stream": True,
    }
    (record,) = result["cases"]
    assert (record["name"], record["layout"]) == ("lenet.conv2.fprop", layout)
    assert record["problems"] == {}
    rounds = record["samples"]["fastconv"][layout]
    assert len(rounds) == result["rounds"] == 2
    times = [s for r in rounds for s in r]
    assert len(times) >= 6 and min(times) > 0
    assert record["ours_ms"] == pytest.approx(1e3 * float(np.median(times)))
    assert record["gflops"] == pytest.approx(record["flops"] / record["ours_ms"] * 1e-6)
    assert record["share"] > 0
    assert 0 < record["cpu_share"]["fastconv"] < 1.5
    assert "lenet.conv2.fprop" in capsys.readouterr().out
    assert "lenet.conv2.fprop" in (tmp_path / "result.md").read_text()


def test_quick_run_against_torch(tmp_path: Path) -> None:
    pytest.importorskip("torch")
    result = _run(tmp_path, "--peer", "torch", "--filter", r"^lenet\.conv2\.")
    assert [r["direction"] for r in result["cases"]] == ["fprop", "dgrad", "wgrad"]
    for record in result["cases"]:
        assert set(record["samples"]["torch"]) == {"NCHW", "channels_last"}
        entry = record["peers"]["torch"]
        assert entry["like"]["variant"] == "NCHW"
        assert entry["like"]["ratio"] == pytest.approx(entry["like"]["ms"] / record["ours_ms"])
        assert entry["best"]["ratio"] <= entry["like"]["ratio"]
        assert record["difference"]["torch"] < 1e-4


def test_a_wrong_result_is_told() -> None:
    good = {"output": {"shape": [2], "values": [1.0, 2.0]}}
    bad = {"output": {"shape": [2], "values": [1.0, 2.1]}}
    other = {"output": {"shape": [1, 2], "values": [1.0, 2.0]}}
    for outputs, told in ((good, False), (bad, True), (other, True), ({}, True)):
        jobs = {
            "fastconv": [{"variant": "NCHW", "outputs": good}],
            "torch": [{"variant": "NCHW", "outputs": dict(outputs)}],
        }
        record: dict[str, Any] = {"problems": {}}
        measure._compare(jobs, record, 1e-4)
        assert ("torch" in record["problems"]) is told


@pytest.mark.parametrize(
    "argv",
    [
        ["--peer", "nothing"],
        ["--suite", "all"],
        ["--rounds", "0"],
        ["--threads", "-1"],
        ["--filter", "("],
        ["--layout", "CHWN"],
    ],
)
def test_bad_usage_exits_with_2(argv: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as exit_:
        run.main(argv)
    assert exit_.value.code == 2
    assert "error: argument" in capsys.readouterr().err


def test_no_case_matches(capsys: pytest.CaptureFixture[str]) -> None:
    assert run.main(["--peer", "none", "--filter", "no such case"]) == 2
    assert "no case of ops matches" in capsys.readouterr().err


def test_a_missing_peer_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(peers.load("torch"), "packages", ("no_such_package",))
    assert run.main(["--peer", "torch", "--filter", "lenet"]) == 2
    lines = capsys.readouterr().err.splitlines()
    assert lines[0].startswith("peer torch needs no_such_package") and "pip install" in lines[0]


def test_a_dead_worker_is_an_error_and_starts_again() -> None:
    engines = measure.Engines(1)
    try:
        engine = engines.get("fastconv")
        engine._process.kill()
        engine._process.wait()
        with pytest.raises(measure.EngineError, match=r"^fastconv: the worker process"):
            engine.ask("versions")
        assert "fastconv" in engines.get("fastconv").ask("versions")["versions"]
        with pytest.raises(measure.EngineError, match=r"^fastconv: KeyError"):
            engines.get("fastconv").ask("time", variant="NCHW", seconds=0.01)
    finally:
        engines.close()


def test_a_peer_that_dies_does_not_end_the_case() -> None:
    class Engine:
        def __init__(self, name: str) -> None:
            self.name = name

        def ask(self, do: str, **_: Any) -> dict[str, Any]:
            if self.name == "frail":
                raise measure.EngineError("frail: gone")
            return {"samples": [0.5, 0.25], "cpu_share": 1.0, "page_faults": 0, "disturbed": 0.0}

    class Engines:
        def get(self, name: str) -> Engine:
            return Engine(name)

    jobs = {name: [{"variant": "v"}] for name in ("fastconv", "frail", "firm")}
    settings = measure.Settings(threads=1, rounds=2, seconds=0.01)
    samples, health, failed = measure._turns(Engines(), jobs, settings)  # type: ignore[arg-type]
    assert failed == {"frail": "frail: gone"}
    assert set(samples) == set(health) == {"fastconv", "firm"}
    assert samples["firm"]["v"] == [[0.5, 0.25]] * 2


def test_networks_and_their_bars() -> None:
    def record(name: str, **ratios: float) -> dict[str, Any]:
        entries = {n: {"best": {"ratio": r}} for n, r in ratios.items()}
        limits = {"fma": {"before": 100.0, "after": 90.0}}
        told = (
            {"mnn": "unsupported: no such type", "ncnn": "failed: gone"} if len(ratios) == 3 else {}
        )
        return {
            "name": name, "ours_ms": 2.0, "gflops": 50.0, "limits": limits, "peers": entries,
            "problems": told,
        }  # fmt: skip

    cases_ = [
        record("resnet50.batch1.inference", torch=1.6, openvino=1.3),
        record("alexnet.batch1.inference", torch=1.6, openvino=1.3),
        record("lenet5.batch1.inference", torch=9.0),
        {"name": "vgg16.batch1.inference", "problems": {}},
        record("vgg16.batch4.inference", torch=2.9, openvino=1.5),
        record("resnet50.batch16.inference", torch=1.4, openvino=1.5, onnxruntime=1.6),
        record("vgg16.batch1.inference", torch=2.7, openvino=1.5),
    ]
    text = lines.networks({"peers": ["torch", "openvino"], "cases": cases_})
    rows = [[c.strip() for c in row.strip("|").split("|")] for row in text.splitlines()]
    assert rows[2] == [
        "resnet50.batch1.inference",
        "2",
        "50 %",
        "**1.60**",
        "**1.30**",
        ">= 1.4x of all",
        "no",
    ]
    assert rows[3][-2:] == [">= 1.5x of torch", "yes"]
    assert rows[4][3:] == ["**9.00**", "", "", ""]
    assert [row[-1] for row in rows[5:]] == ["not all ran", "not all ran", "no"]
    full = record("vgg16.batch1.inference", torch=2.9, **dict.fromkeys(lines.FILE_PEERS, 1.4))
    assert lines.networks({"peers": ["torch"], "cases": [full]}).endswith("| yes |")
    known = {c.name for name in ("nets", "train") for c in cases.suite(name)}
    assert set(lines.NETWORKS) <= known


@pytest.mark.parametrize("name", ["lenet5", "resnet18_cifar"])
def test_networks_as_onnx(name: str) -> None:
    """The file that other engines run computes what our network does, with the same weights."""
    pytest.importorskip("onnx")
    from onnx.reference import ReferenceEvaluator

    x = np.random.default_rng(0).standard_normal((2, *networks.NETWORKS[name].image), np.float32)
    (got,) = ReferenceEvaluator(exchange.onnx_model(name, 2)).run(None, {"x": x})
    net = networks.from_zoo(name, fc.models)
    named = list(net.named_parameters())
    for (_, p), value in zip(named, networks.weights(name, named), strict=True):
        p.numpy()[...] = value
    expected = np.asarray(net.eval()(fc.tensor(x)))
    np.testing.assert_allclose(got, expected, rtol=1e-4, atol=1e-4 * np.abs(expected).max())


def test_training_agrees_with_pytorch(capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("torch")
    assert agreement.main(["lenet5"]) == 0
    cells = [c.strip() for c in capsys.readouterr().out.splitlines()[2].strip("|").split("|")]
    assert cells[:2] == ["lenet5", "32"]
    # Over 20 steps; what rounds elsewhere has not grown yet.
    assert float(cells[2]) <= 2e-6 and float(cells[3]) <= 2e-6
    with pytest.raises(SystemExit):
        agreement.main(["lenet6"])


def test_engines_that_run_files_take_networks_only() -> None:
    for name in ("onnxruntime", "openvino", "mnn", "ncnn"):
        peer = peers.load(name)
        made = peer.__new__(peer)
        with pytest.raises(peers.base.Unsupported, match="whole networks"):
            made.prepare(cases.suite("ops")[0], {})
        with pytest.raises(peers.base.Unsupported, match="whole networks"):
            made.prepare(cases.suite("train")[0], {})


def test_case_tables() -> None:
    for name in cases.SUITES:
        chosen = cases.suite(name)
        assert len({c.name for c in chosen}) == len(chosen)
        for case in chosen:
            assert cases.Case.from_json(json.loads(json.dumps(case.to_json()))) == case
            assert case.bytes > 0 and case.footprint > 0
            assert min(case.shape) > 0
    by_name = {c.name: c for c in cases.suite("ops")}
    assert by_name["resnet50.conv1.fprop"].output_shape == (4, 64, 112, 112)
    assert by_name["resnet50.conv1.fprop"].flops == 4 * 2 * 118_013_952
    assert by_name["alexnet.conv1.fprop"].output_shape == (4, 64, 55, 55)
    assert by_name["resnet50.maxpool.forward"].output_shape == (4, 64, 56, 56)
    assert "resnet50.conv1.dgrad" not in by_name


def test_inputs_repeat() -> None:
    case = cases.suite("train")[0]
    a, b = cases.make_inputs(case), cases.make_inputs(case)
    np.testing.assert_array_equal(a["x"], b["x"])
    np.testing.assert_array_equal(a["labels"], b["labels"])


@pytest.mark.parametrize("name", ["lenet5", "resnet18_cifar", "googlenet", "densenet121"])
def test_networks_are_what_the_table_says(name: str) -> None:
    about = networks.NETWORKS[name]
    net = networks.from_zoo(name, fc.models)
    assert sum(p.size for p in net.parameters()) == about.parameters
    x = np.zeros((1, *about.image), np.float32)
    prog = fc.compile(net.eval(), x)
    assert prog(x).shape == (1, about.classes)
    assert sum(s["operations"] for s in prog.profile(x, runs=1).steps) == 2 * about.macs
    a, b = (networks.weights(name, list(net.named_parameters())) for _ in range(2))
    assert all(np.array_equal(v, w) for v, w in zip(a, b, strict=True))


def test_the_zoo_has_the_same_parameters(monkeypatch: pytest.MonkeyPatch) -> None:
    for draw in ("uniform_", "normal_", "trunc_normal_"):
        monkeypatch.setattr(fc.nn.init, draw, lambda tensor, *args, **options: tensor)
    for name, about in networks.NETWORKS.items():
        ours, theirs = (
            [p.shape for p in net.parameters()]
            for net in (
                networks.from_zoo(name, fc.models),
                networks.build(name, fc.nn, fc.functional),
            )
        )
        assert ours == theirs
        assert sum(int(np.prod(shape)) for shape in ours) == about.parameters


def _result() -> dict[str, Any]:
    def record(name: str, ratio: float) -> dict[str, Any]:
        side = {"variant": "NCHW", "ms": 2.0 * ratio, "ratio": ratio}
        side |= {"ratio_low": 0.9 * ratio, "ratio_high": 1.1 * ratio}
        return {
            **{"name": name, "op": "conv2d", "direction": "fprop", "layout": "NCHW"},
            **{"shape": [4, 3, 8, 8], "flops": 1e9, "gflops": 500.0, "gbytes_per_s": 1.0},
            **{"share": 0.5, "bound": "fma", "noisy": False, "ours_ms": 2.0, "problems": {}},
            "peers": {"torch": {"like": side, "best": {**side, "variant": "channels_last"}}},
        }

    limit = {"before": 100.0, "after": 99.0}
    return {
        **{"suite": "ops", "threads": 1, "date": "2025-01-02T03:04:05+00:00", "rounds": 5},
        **{"command": ["python", "-m", "benchmarks.run"], "quick": False, "peers": ["torch"]},
        "machine": {"cpu": "A processor", "logical_cpus": 2, "caches": {"L1d": 32768}},
        "engines": {"fastconv": {"fastconv": "1.0", "isa": "avx2"}, "torch": {"torch": "2.0"}},
        "limits": {"fma": limit, "stream": limit},
        "cases": [record("net.a.fprop", 2.0), record("net.b.fprop", 8.0)],
    }


def test_tables_from_json(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "r.json"
    path.write_text(json.dumps(_result()))
    assert table.main([str(path)]) == 0
    text = capsys.readouterr().out
    assert "A processor" in text and "fastconv 1.0, isa avx2; torch 2.0" in text
    # The geometric mean of 2 and 8, and the worse of them.
    assert "| net | conv2d fprop | NCHW | 2 | 4.00 | 2.00 | 4.00 | 2.00 |" in text
    row = next(line for line in text.splitlines() if line.startswith("| net.b.fprop"))
    cells = [c.strip() for c in row.strip("|").split("|")]
    assert cells[3:6] == ["2.000", "500.0 GFLOP/s", "50 % FMA"]
    assert cells[6:] == ["16.000", "**8.00**", "7.20 to 8.80", "channels_last", "8.00"]
    assert table.main(["--summary", str(path)]) == 0
    assert "net.b.fprop" not in capsys.readouterr().out


def test_runs_of_networks_share_a_table(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def run_of(file: str, threads: int, hour: int, **ratios: float) -> str:
        result = {**_result(), "suite": "nets", "threads": threads}
        result["date"] = f"2025-01-02T{hour:02}:00:00+00:00"
        limits = {"fma": {"before": 1000.0, "after": 1000.0}}
        result["cases"] = [
            {**result["cases"][0], "name": f"{name}.batch1.inference", "limits": limits}
            for name in ratios
        ]
        for case, ratio in zip(result["cases"], ratios.values(), strict=True):
            case["peers"] = {"torch": {"best": {"ratio": ratio}}}
        (tmp_path / file).write_text(json.dumps(result))
        return str(tmp_path / file)

    files = [
        run_of("later", 2, 5, alexnet=1.75),
        run_of("two", 2, 3, alexnet=1.25, googlenet=2.5),
        run_of("one", 1, 4, alexnet=1.0),
    ]
    assert table.main(["--summary", *files]) == 0
    text = capsys.readouterr().out
    assert text.count("###") == 1 and "### nets, 2 and 1 threads, 2025-01-02" in text
    assert "in 3 runs: 99 to 100 GFLOP/s" in text and "isa avx2" in text
    rows = [[c.strip() for c in row.strip("|").split("|")] for row in text.splitlines()[6:]]
    assert rows[0][-3:] == ["1 thread: ms", "to the best", "met"]
    found = {row[0]: row[3:] for row in rows[2:] if len(row) > 1}
    # Of a case that ran twice the later run counts, whatever the files' order.
    bar = ">= 1.5x of torch"
    assert found["alexnet.batch1.inference"] == [
        "**1.75**",
        bar,
        "yes",
        "2",
        "**1.00** torch",
        "no",
    ]
    assert found["googlenet.batch1.inference"] == ["**2.50**", bar, "yes", "", "", ""]


def test_tables_into_a_document(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    result, document = tmp_path / "r.json", tmp_path / "README.md"
    result.write_text(json.dumps(_result()))
    document.write_text(f"above\n{table.BEGIN}\nold\n{table.END}\nbelow\n")
    for _ in range(2):  # a second time changes nothing more
        assert table.main(["--summary", "--into", str(document), str(result)]) == 0
        text = document.read_text()
        assert text.startswith("above\n") and text.endswith("\nbelow\n") and "old" not in text
        assert text.count("| net | conv2d fprop | NCHW | 2 |") == 1
    document.write_text("no markers")
    assert table.main(["--into", str(document), str(result)]) == 2
    assert "no <!-- benchmarks" in capsys.readouterr().err
    assert document.read_text() == "no markers"


def test_table_marks_what_is_wrong() -> None:
    result = _result()
    result["cases"][0]["noisy"] = True
    result["cases"][1]["problems"]["torch"] = "differs: by much"
    failed = {**_result()["cases"][0], "problems": {"fastconv": "failed: why"}}
    del failed["ours_ms"]
    result["cases"].append(failed)
    result["quick"] = True
    text = table.markdown(result)
    assert "net.a.fprop (noisy)" in text
    assert "net.b.fprop (results differ)" in text
    assert "failed: why" in text
    assert "A quick run" in text


def test_table_of_a_broken_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "r.json"
    for content in ("", "[]", "{}", '{"machine": 1}'):
        path.write_text(content)
        assert table.main([str(path)]) == 2
        assert "not a result file" in capsys.readouterr().err
    assert table.main([str(tmp_path / "none.json")]) == 2


def test_machine_description() -> None:
    described = machine.describe()
    assert described["cpu"] and described["memory_bytes"] > 0
    assert (256 << 20) <= machine.memory_footprint() <= (1 << 30)


@pytest.mark.parametrize(
    ("shares", "peaks", "attempts", "kept", "noisy"),
    [
        ([1.0] * 3, [100.0] * 6, 1, 1, False),
        ([0.5, 0.5, 0.97], [100.0] * 6, 3, 3, False),
        ([0.5, 0.6, 0.4], [100.0] * 6, 3, 2, True),
        ([1.0] * 3, [100.0, 80.0, 100.0, 95.0], 2, 2, False),
        ([1.0] * 3, [100.0, 80.0, 100.0, 70.0, 100.0, 85.0], 3, 3, True),
    ],
)
def test_a_disturbed_case_is_repeated(
    shares: list[float], peaks: list[float], attempts: int, kept: int, noisy: bool
) -> None:
    """Engines that report what the test wants them to."""

    class Scripted:
        alive = True
        turn = 0

        def get(self, name: str) -> Scripted:
            return self

        def limits(self, footprint: int, seconds: float) -> dict[str, float]:
            return {"fma": peaks.pop(0), "stream": 1e9}

        def ask(self, do: str, **arguments: Any) -> dict[str, Any]:
            self.turn += 1
            time = 0.001 * self.turn
            return {
                "samples": [time],
                "cpu_share": shares[self.turn - 1],
                "page_faults": 0.0,
                "disturbed": 0.0,
            }

    case = cases.suite("ops")[0]
    record: dict[str, Any] = {}
    jobs = {"fastconv": [{"variant": "NCHW", "like": True}]}
    settings = measure.Settings(rounds=1)
    engines: Any = Scripted()
    measure._repeat_until_quiet(case, engines, jobs, settings, record)
    assert (record["attempts"], record["noisy"]) == (attempts, noisy)
    assert record["samples"]["fastconv"]["NCHW"] == [[0.001 * kept]]
