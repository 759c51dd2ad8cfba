"""Checkpoints: what goes in comes out, and damage is found."""

from __future__ import annotations

import json
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import fastconv as fc
from fastconv import random
from fastconv.errors import DTypeError, FormatError
from fastconv.serialization import read
from fastconv.train import Checkpoint, checkpoint, load_checkpoint, save_checkpoint

KEY = "fastconv.checkpoint"


def example() -> Checkpoint:
    fc.manual_seed(1)
    random.generator().standard_normal(3)
    return Checkpoint(
        model={"a.weight": np.arange(6, dtype=np.float32).reshape(2, 3), "n": np.array(4)},
        optimizer={
            "state": {0: {"buffer": np.array([0.1, -0.0]), "step": 7}, 10: {}},
            "param_groups": [{"lr": 0.1, "betas": (0.9, 0.999), "params": [0, 10], "x": None}],
        },
        schedule={"last_epoch": 3, "base": [0.1], "$odd": True},
        epoch=2,
        batch=5,
        global_step=2**60,
        random_state=random.get_state(),
        running={"loss_sum": 1 / 3, "correct": 3, "images": 9, "seconds": 0.25},
        data={"seed": 2**40},
        history=[{"epoch": 1, "train_loss": 0.1 + 0.2}],
        best=0.875,
        config={"name": 'é"\\', "nested": {"list": [1, 2.5, None, True]}},
    )


def test_round_trip(tmp_path: Path) -> None:
    saved = example()
    save_checkpoint(saved, tmp_path / "c")
    found = load_checkpoint(tmp_path / "c")
    for field in fields(Checkpoint):
        if field.name not in ("model", "optimizer"):
            assert getattr(found, field.name) == getattr(saved, field.name), field.name
    for name, array in saved.model.items():
        assert found.model[name].dtype == array.dtype
        assert found.model[name].tobytes() == array.tobytes()
        assert found.model[name].shape == array.shape
    assert found.optimizer["param_groups"] == saved.optimizer["param_groups"]
    assert list(found.optimizer["state"]) == [0, 10]
    buffer = found.optimizer["state"][0].pop("buffer")
    assert buffer.tobytes() == saved.optimizer["state"][0].pop("buffer").tobytes()
    assert found.optimizer["state"] == saved.optimizer["state"]


def test_bfloat16_stays(tmp_path: Path) -> None:
    array = np.array([[1, -2.5, np.nan]], pytest.importorskip("ml_dtypes").bfloat16)
    save_checkpoint(Checkpoint({"a": array}, {}, None, 0, 0, 0, {}), tmp_path / "c")
    found = load_checkpoint(tmp_path / "c").model["a"]
    assert found.dtype == array.dtype and found.tobytes() == array.tobytes()


def test_same_state_makes_the_same_file(tmp_path: Path) -> None:
    save_checkpoint(example(), tmp_path / "a")
    save_checkpoint(example(), tmp_path / "b")
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_arrays_are_plain_safetensors(tmp_path: Path) -> None:
    save_checkpoint(example(), tmp_path / "c")
    assert list(fc.load(tmp_path / "c")) == [
        "model.a.weight",
        "model.n",
        "optimizer.state.0.buffer",
    ]


def test_paths_that_meet_are_told_apart(tmp_path: Path) -> None:
    one, two, three = np.array([1]), np.array([2]), np.array([3])
    odd = replace(example(), optimizer={"a": {"b": one}, "a.b": two, 1: {"c": three}, "1": one})
    save_checkpoint(odd, tmp_path / "c")
    found = load_checkpoint(tmp_path / "c").optimizer
    assert (found["a"]["b"], found["a.b"], found[1]["c"], found["1"]) == (one, two, three, one)


def test_state_that_cannot_be_saved(tmp_path: Path) -> None:
    for state in ({"a": {1, 2}}, {"a": [object()]}, {"a": b"bytes"}):
        with pytest.raises(DTypeError, match=r"optimizer\.a"):
            save_checkpoint(replace(example(), optimizer=state), tmp_path / "c")
    assert list(tmp_path.iterdir()) == []


def test_every_flipped_byte_is_found(tmp_path: Path) -> None:
    path = tmp_path / "c"
    save_checkpoint(example(), path)
    content = path.read_bytes()
    harmless = 0
    for position in range(len(content)):
        path.write_bytes(
            content[:position] + bytes([content[position] ^ 1]) + content[position + 1 :]
        )
        try:
            found = load_checkpoint(path)
        except FormatError as error:
            assert str(path) in str(error)
        else:  # padding or another spelling of the same JSON
            save_checkpoint(found, tmp_path / "again")
            assert (tmp_path / "again").read_bytes() == content, position
            harmless += 1
    assert harmless < 8


@pytest.mark.parametrize("keep", [0, 7, 8, 100, -1])
def test_truncated(tmp_path: Path, keep: int) -> None:
    path = tmp_path / "c"
    save_checkpoint(example(), path)
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(FormatError, match="c: "):
        load_checkpoint(path)


def rewritten(path: Path, change: Any) -> None:
    """Change the document and leave the checksum."""
    arrays, metadata = read("test", path)
    document = json.loads(metadata[KEY])
    change(document, arrays)
    fc.save(arrays, path, {KEY: json.dumps(document)})


@pytest.mark.parametrize(
    "change",
    [
        lambda d, a: d.update(epoch=1),
        lambda d, a: d.update(sha256="0" * 64),
        lambda d, a: d.update(sha256=None),
        lambda d, a: d.pop("sha256"),
        lambda d, a: d.pop("optimizer"),
        lambda d, a: d.update(extra=1),
        lambda d, a: a["model.a.weight"].__setitem__((0, 0), 9),
        lambda d, a: a.update({"model.a.weight": a["model.a.weight"].reshape(3, 2)}),
        lambda d, a: a.update({"model.a.weight": a["model.a.weight"].view(np.int32)}),
        lambda d, a: a.pop("model.n"),
        lambda d, a: a.update(extra=np.zeros(1)),
    ],
)
def test_checksum_covers_everything(tmp_path: Path, change: Any) -> None:
    path = tmp_path / "c"
    save_checkpoint(example(), path)
    rewritten(path, lambda d, a: None)
    load_checkpoint(path)
    rewritten(path, change)
    with pytest.raises(FormatError, match="damaged"):
        load_checkpoint(path)


@pytest.mark.parametrize("document", ["", "[]", "1", "{}", "null", "[" * 100_000, '{"sha256": 1}'])
def test_documents_of_another_kind(tmp_path: Path, document: str) -> None:
    fc.save({}, tmp_path / "c", {KEY: document})
    with pytest.raises(FormatError, match="damaged"):
        load_checkpoint(tmp_path / "c")


@pytest.mark.parametrize("count", [-1, 1.5, "1", None, True])
def test_counts_are_counts(tmp_path: Path, count: Any) -> None:
    save_checkpoint(replace(example(), batch=count), tmp_path / "c")
    with pytest.raises(FormatError, match="batch is"):
        load_checkpoint(tmp_path / "c")


def test_other_versions_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patched:
        patched.setattr(checkpoint, "_FORMAT", 2)
        save_checkpoint(example(), tmp_path / "c")
    with pytest.raises(FormatError, match="another version of fastconv"):
        load_checkpoint(tmp_path / "c")


def test_weights_are_no_checkpoint(tmp_path: Path) -> None:
    fc.save({"a": np.zeros(3)}, tmp_path / "c")
    with pytest.raises(FormatError, match="not a checkpoint"):
        load_checkpoint(tmp_path / "c")
    with pytest.raises(FileNotFoundError):
        load_checkpoint(tmp_path / "missing")
