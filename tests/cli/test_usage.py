"""Options, help, mistakes and missing packages: exit codes and one clear line."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import fastconv as fc
from fastconv.cli import main
from fastconv.config import config
from tests.cli.helpers import fastconv, write_data
from tests.train.helpers import small_trainer

COMMANDS = (
    "train",
    "recipe",
    "evaluate",
    "predict",
    "show",
    "report",
    "diagnose",
    "export",
    "bench",
    "tune",
    "info",
)


def test_help(capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["--help"]) == 0
    shown = capsys.readouterr().out
    for command in COMMANDS:
        assert command in shown
        assert main([command, "--help"]) == 0
        page = capsys.readouterr().out
        assert f"usage: fastconv {command}" in page and len(page) > 100


def test_train_help_names_the_defaults(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", "--help"]) == 0
    page = " ".join(capsys.readouterr().out.split())
    for option in ("data", "data-dir", "epochs", "batch-size", "lr", "momentum", "weight-decay"):
        assert f"--{option}" in page
    for option in ("seed", "threads", "out", "resume", "optimizer", "quiet"):
        assert f"--{option}" in page
    assert "(default: 10)" in page and "(default: bundled)" in page


def test_version_and_module() -> None:
    done = fastconv("--version")
    assert (done.returncode, done.stdout) == (0, f"fastconv {fc.__version__}\n")


def test_info(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["info"]) == 0
    shown = capsys.readouterr().out
    facts = config()
    for text in (facts["isa"], facts["compiler"], facts["numpy"], facts["python"]):
        assert text in shown
    for name, version in facts["optional"].items():
        assert f"{name}: " in shown and version in shown
    assert main(["info", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == facts
    fc.show_config()
    assert capsys.readouterr().out == shown


def test_config() -> None:
    facts = config()
    assert facts["version"] == fc.__version__
    assert facts["isa"] in facts["available_isas"]
    assert facts["threads"] == fc.get_num_threads()
    assert facts["numpy"] == np.__version__
    assert facts["optional"]["safetensors"][0].isdigit()


def test_missing_packages_are_said_to_be() -> None:
    code = (
        "import importlib.metadata as m\n"
        "real = m.version\n"
        "def version(name):\n"
        "    if name == 'tqdm': raise m.PackageNotFoundError(name)\n"
        "    return real(name)\n"
        "m.version = version\n"
        "import fastconv; fastconv.show_config()\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    (line,) = (text for text in done.stdout.splitlines() if text.startswith("tqdm"))
    assert line.split()[1] == "missing"


BAD = [
    ([], "the following arguments are required: COMMAND"),
    (["fly"], "invalid choice: 'fly'"),
    (["--fly"], "required: COMMAND"),
    (["train"], "required: MODEL"),
    (["train", "lenet6"], "no network 'lenet6'; did you mean lenet5"),
    (["train", "zebra"], "no network 'zebra'; --help lists them all"),
    (["train", "lenet5", "extra"], "expected no more arguments, got 'extra'"),
    (["train", "lenet5", "--fly"], "there is no option --fly (see"),
    (
        ["train", "lenet5", "--data", "imagenet"],
        "there is no data set, folder or .csv file 'imagenet'",
    ),
    (["train", "lenet5", "--epochs", "0"], "--epochs: expected an integer of at least 1, got 0"),
    (["train", "lenet5", "--epochs", "-3"], "--epochs: expected an integer of at least 1"),
    (["train", "lenet5", "--epochs", "1.5"], "--epochs: expected an integer, got '1.5'"),
    (["train", "lenet5", "--epochs", "9" * 5000], "--epochs: expected an integer"),
    (["train", "lenet5", "--batch-size", "0"], "--batch-size: expected an integer of at least 1"),
    (["train", "lenet5", "--lr", "0"], "--lr: expected a number above 0, got '0'"),
    (["train", "lenet5", "--lr", "nan"], "--lr: expected a number above 0, got 'nan'"),
    (["train", "lenet5", "--lr", "inf"], "--lr: expected a number above 0, got 'inf'"),
    (["train", "lenet5", "--lr", "fast"], "--lr: expected a number above 0, got 'fast'"),
    (
        ["train", "lenet5", "--momentum=-1"],
        "--momentum: expected a number of at least 0 and below 1",
    ),
    (["train", "lenet5", "--momentum", "1"], "--momentum: expected a number of at least 0 and"),
    (
        ["train", "lenet5", "--weight-decay=-1"],
        "--weight-decay: expected a number of at least 0, got",
    ),
    (["train", "lenet5", "--seed=-1"], "--seed: expected an integer of at least 0, got -1"),
    (["train", "lenet5", "--threads", "0"], "--threads: expected an integer of at least 1"),
    (["train", "lenet5", "--optimizer", "lion"], "invalid choice: 'lion'"),
    (["train", "lenet5", "--optimizer", "adam", "--momentum", "0.5"], "--momentum does not go"),
    (["train", "lenet5", "--data-dir", "."], "'bundled' is part of the package"),
    (["train", "lenet5", "--data", "mnist", "--data-dir", "none"], "mnist (train) is not in none"),
    (["train", "lenet5", "--resume", "none"], "No such file or directory: 'none'"),
    (["train", "lenet5", "--resume", "text"], "text: claims a header"),
    (["train", "lenet5", "--resume", "other"], "other: not written by `fastconv train`"),
    (["train", "lenet5", "--out", "text/run", "--epochs", "1"], "Not a directory"),
    (["evaluate"], "required: CHECKPOINT"),
    (["evaluate", "none"], "No such file or directory: 'none'"),
    (["evaluate", "text"], "text: claims a header"),
    (["evaluate", "weights"], "weights: holds weights but no training state"),
    (["evaluate", "other"], "other: not written by `fastconv train`"),
    (["evaluate", "."], "Is a directory"),
    (["evaluate", "none", "--split", "all"], "invalid choice: 'all'"),
    (["predict"], "required: IMAGE"),
    (["predict", "text"], "run `fastconv train lenet5` first"),
    (["predict", "text", "--checkpoint", "other"], "other: not written by `fastconv train`"),
    (["predict", "text", "--top", "0"], "--top: expected an integer of at least 1"),
    (["bench", "--suite", "ops"], "no benchmarks/run.py"),
    (["info", "extra"], "expected no more arguments, got 'extra' (see fastconv info --help)"),
    (["train", "lenet5", "--device", "cuda"], "there is no option --device (see fastconv train"),
    (
        ["train", "lenet5", "--imagesize=3"],
        "there is no option --imagesize; did you mean --image-s",
    ),
    (["export", "lenet5", "x.onnx", "--key", "a"], "--key goes with --weights"),
    (["export", "text", "x.onnx", "--key", "a"], "--key goes with the name of a network"),
    (["export"], "required: SOURCE, OUT.onnx"),
    (["export", "none", "x.onnx"], "there is no file none, and no network of that name"),
    (["export", "text", "x.onnx"], "text: claims a header"),
    (["export", "other", "x.onnx"], "other: not written by `fastconv train`"),
    (["export", "text", "x.onnx", "--weights", "weights"], "--weights goes with the name of a"),
    (["export", "text", "x.onnx", "--in-channels", "3"], "--in-channels goes with the name of a"),
    (["export", "lenet5", "x.onnx", "--weights", "none"], "No such file or directory: 'none'"),
    (["export", "lenet5", "x.onnx", "--weights", "weights"], "weights: "),
    (["export", "lenet5", "x.onnx", "--opset", "3"], "opset must be 13 to"),
    (["export", "lenet5", "x.onnx", "--size", "0"], "--size: expected an integer of at least 1"),
    (["export", "lenet5", "x.onnx", "--size", "5"], "input_size must be at least 12, got 5"),
    (["export", "lenet5", "none/x.onnx"], "cannot write the file none/x.onnx: there is no folder"),
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("bad")
    (folder / "text").write_text("This is neither an image nor a checkpoint.")
    small_trainer().save(folder / "other")
    fc.save({"a": np.zeros(3)}, folder / "weights")
    return folder


@pytest.mark.parametrize(("arguments", "message"), BAD, ids=lambda v: str(v)[:60])
def test_bad_usage(
    arguments: list[str],
    message: str,
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(folder)
    before = sorted(p.name for p in folder.iterdir())
    assert main(arguments) == 2
    shown = capsys.readouterr()
    assert message in shown.err
    assert shown.err.startswith("fastconv") and ": error: " in shown.err
    assert shown.err.count("\n") == 1 and "Traceback" not in shown.err
    assert len(shown.err) < 600
    assert sorted(p.name for p in folder.iterdir()) == before


@pytest.mark.parametrize(
    ("arguments", "missing", "extra"),
    [
        (["train", "lenet5", "--out", "run"], "safetensors", "fastconv[io]"),
        (["evaluate", "file"], "safetensors", "fastconv[io]"),
        (["predict", "file", "--checkpoint", "file"], "safetensors", "fastconv[io]"),
        (["export", "lenet5", "run"], "onnx", "fastconv[onnx]"),
    ],
)
def test_missing_extras(tmp_path: Path, arguments: list[str], missing: str, extra: str) -> None:
    (tmp_path / "file").write_bytes(bytes(100))
    code = (
        f"import sys; sys.modules[{missing!r}] = None\n"
        f"from fastconv.cli import main; sys.exit(main({arguments!r}))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path
    )
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1 and f'pip install "{extra}"' in done.stderr
    assert not (tmp_path / "run").exists()


def test_reader_that_goes_away(tmp_path: Path) -> None:
    code = "import subprocess, sys; p = subprocess.Popen(sys.argv[1:], stdout=subprocess.PIPE)\n"
    code += "p.stdout.close(); sys.exit(p.wait())"
    done = subprocess.run(
        [sys.executable, "-c", code, sys.executable, "-m", "fastconv", "info"],
        capture_output=True,
        text=True,
    )
    assert (done.returncode, done.stderr) == (1, "")


def test_bench_passes_its_options_on(tmp_path: Path) -> None:
    package = tmp_path / "benchmarks"
    package.mkdir()
    (package / "__init__.py").touch()
    (package / "run.py").write_text("def main(argv):\n    print('ran', argv)\n    return 3\n")
    done = fastconv("bench", "--suite", "ops", "--help", cwd=tmp_path)
    assert (done.returncode, done.stdout) == (3, "ran ['--suite', 'ops', '--help']\n")


def test_data_of_another_size(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from tests.data.helpers import FILES, idx_bytes

    folder = write_data(tmp_path / "data", 20)
    common = ["--data", "mnist", "--data-dir", str(folder), "--out", str(tmp_path / "run")]
    short = ["--epochs", "1", "--batch-size", "4"]
    for size, line in (((30, 34), "20 test images, 1"), ((9, 12), "resized to 12 x 12 pixels")):
        for split, count in (("train", 20), ("test", 20)):
            images = idx_bytes(np.zeros((count, *size), np.uint8))
            (folder / FILES[split][0]).write_bytes(images)
        assert main(["train", "lenet5", *common, *short]) == 0
        assert line in capsys.readouterr().out
    for name, least in (("vgg11", 32), ("inception_v3", 299), ("lenet5", 12)):
        assert main(["train", name, *common, *short, "--image-size", str(least - 1)]) == 2
        shown = capsys.readouterr().err
        assert f"at least {least}" in shown and shown.startswith(f"fastconv: error: {name}: ")
