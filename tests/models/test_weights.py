"""Weights of files into networks: detours of names, inner dictionaries, Keras; guesses by name."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import fastconv as fc
from fastconv import models, nn
from fastconv.data import Preprocess, imagenet_classes
from fastconv.errors import DTypeError, FormatError, ShapeError
from fastconv.models.classification import as_probabilities, best_guesses
from fastconv.models.weights import modern_names
from tests.formats.pickled import archive, storage, tensor, write
from tests.support import randn, rng


def state_file(folder: Path, net: Any, prefix: str = "", wrap: Any = None) -> Path:
    """The state of `net` as a checkpoint of PyTorch."""
    records, state = {}, {}
    for number, (name, array) in enumerate(net.state_dict().items()):
        strides = tuple(s // array.itemsize for s in array.strides)
        kind = {"float32": "Float", "int64": "Long"}[array.dtype.name]
        stored = storage(kind, str(number), array.size)
        state[prefix + name] = tensor(array.shape, strides, 0, stored)
        records[str(number)] = array.tobytes()
    return write(folder, archive(state if wrap is None else wrap(state), records))


def assert_same(a: Any, b: Any) -> None:
    for (name, x), y in zip(a.state_dict().items(), b.state_dict().values(), strict=True):
        assert np.array_equal(x, y), name


@pytest.mark.parametrize("prefix", ["", "module."])
@pytest.mark.parametrize("wrap", [None, lambda s: {"epoch": 3, "state_dict": s, "args": {"a": 1}}])
def test_checkpoints_of_pytorch(tmp_path: Path, prefix: str, wrap: Any) -> None:
    fc.manual_seed(1)
    net = models.lenet5()
    path = state_file(tmp_path, net, prefix, wrap)
    fc.manual_seed(2)
    assert_same(models.create("lenet5", weights=path), net)
    other = models.lenet5()
    found = models.load_weights(other, path)
    assert found.missing_keys == [] and found.unexpected_keys == []
    assert_same(other, net)


def test_keys_and_prefixes(tmp_path: Path) -> None:
    net = nn.Linear(3, 2)
    path = state_file(tmp_path, net, "net.", lambda s: {"a": s, "b": {"c": s}, "ema": s})
    with pytest.raises(FormatError, match="choose one with key='a' or 'ema'"):
        models.load_weights(nn.Linear(3, 2), path)
    with pytest.raises(ShapeError, match="missing keys: weight, bias"):
        models.load_weights(nn.Linear(3, 2), path, key="b.c")
    found = models.load_weights(nn.Linear(3, 2), path, key="b.c", strict=False)
    assert found.unexpected_keys == ["net.weight", "net.bias"]
    other = nn.Linear(3, 2)
    models.load_weights(other, path, key="b.c", prefix="net.")
    assert_same(other, net)
    with pytest.raises(DTypeError, match="load_weights: expected a Module to load into, got dict"):
        models.load_weights({}, path)  # type: ignore[arg-type]
    inside = nn.Module()
    inside.module = nn.Linear(3, 2)  # a network whose own names begin so
    models.load_weights(inside, state_file(tmp_path, inside))


def test_safetensors_and_keras(tmp_path: Path) -> None:
    net = models.lenet5()
    fc.save(net, tmp_path / "a")
    assert_same(models.create("lenet5", weights=tmp_path / "a"), net)
    with pytest.raises(ShapeError, match="wrong shapes"):
        models.create("lenet5", num_classes=7, weights=tmp_path / "a")
    path = Path(__file__).parents[1] / "formats/data/row.keras"
    conv = nn.Sequential(nn.Conv2d(3, 4, 3))
    with pytest.raises(ShapeError, match="load_keras: the file has 4 layers of the kind conv"):
        models.load_weights(conv, path)


def test_old_names_of_densenets() -> None:
    layer = nn.Module()
    for number, (inputs, size) in enumerate(((4, 1), (8, 3)), start=1):
        layer.add_module(f"norm{number}", nn.BatchNorm2d(inputs))
        layer.add_module(f"conv{number}", nn.Conv2d(inputs, 8, size, bias=False))
    net = nn.Module()
    net.features = nn.Module()
    net.features.denseblock1 = nn.Module()
    net.features.denseblock1.denselayer12 = layer
    net.features.norm5 = nn.BatchNorm2d(8)
    own = net.state_dict()
    old = {
        name.replace("norm1.", "norm.1.").replace("norm2.", "norm.2.").replace("conv1.", "conv.1.")
        .replace("conv2.", "conv.2."): array
        for name, array in own.items()
        if "num_batches" not in name
    }  # fmt: skip
    assert "features.denseblock1.denselayer12.norm.1.running_mean" in old
    new = modern_names(old, own)
    assert list(new) == [name for name in own if "num_batches" not in name]
    assert all(new[name] is array for name, array in zip(new, old.values(), strict=True))
    assert modern_names(old, old) == old  # a network that has the old names keeps them


def test_old_densenet_file(tmp_path: Path) -> None:
    net = models.create("densenet121", num_classes=3)
    state = {
        n.replace(".norm1.", ".norm.1.").replace(".norm2.", ".norm.2.").replace(".conv1.", ".conv.1.")
        .replace(".conv2.", ".conv.2.")
        if "denselayer" in n
        else n: a
        for n, a in net.state_dict().items()
        if "num_batches" not in n
    }  # fmt: skip
    fc.save(state, tmp_path / "a")
    assert_same(models.create("densenet121", num_classes=3, weights=tmp_path / "a"), net)


# Guesses


class Constant(nn.Module):
    """Gives the same row for every picture, and checks what it gets."""

    def __init__(self, row: Any) -> None:
        super().__init__()
        self.row = np.asarray(row, np.float32)
        self.seen: list[Any] = []

    def forward(self, x: Any) -> Any:
        self.seen.append(np.asarray(x))
        return fc.tensor(np.repeat(self.row[np.newaxis], x.shape[0], 0))


def test_guesses(tmp_path: Path) -> None:
    image = rng("guesses").integers(0, 256, (20, 20, 3), dtype=np.uint8)
    Image.fromarray(image).save(tmp_path / "a.png")
    logits = randn(rng("logits"), 1000)
    net = Constant(logits)
    prepare = Preprocess("tf", size=16)
    got = models.classify(net, [tmp_path / "a.png", image], preprocess=prepare, top=3)
    shares = np.exp(np.float64(logits)) / np.exp(np.float64(logits)).sum()
    best = np.argsort(-shares)[:3]
    for row in got:
        assert [name for name, _ in row] == [imagenet_classes()[i] for i in best]
        np.testing.assert_allclose([p for _, p in row], shares[best], rtol=1e-6)
    assert all(np.array_equal(x, prepare(image)) for x in net.seen) and net.training
    names = [f"n{i}" for i in range(1000)]
    got = models.classify(net, [image], preprocess="unit", classes=names, top=1)
    assert got[0][0][0] == f"n{best[0]}" and net.seen[-1].shape == (1, 3, 224, 224)


def test_probabilities_stay_as_they_are() -> None:
    rows = np.array([[0.25, 0.5, 0.25], [1.0, 0.0, 0.0]], np.float32)
    assert np.array_equal(as_probabilities("f", rows), rows)
    assert np.array_equal(as_probabilities("f", rows[:, :, np.newaxis, np.newaxis]), rows)
    logits = as_probabilities("f", rows * 3)
    np.testing.assert_allclose(logits.sum(1), 1)
    assert logits[1, 0] < 1
    large = as_probabilities("f", np.array([[1000.0, 0, -1000]]))
    assert large.tolist() == [[1, 0, 0]]
    assert best_guesses("f", rows, 2) == [[("1", 0.5), ("0", 0.25)], [("0", 1.0), ("1", 0.0)]]
    assert best_guesses("f", np.eye(1001)[:1], 1) == [[("background", 1.0)]]


def test_bad_guesses() -> None:
    net, image = Constant(np.zeros(4)), np.zeros((8, 8, 3), np.uint8)
    with pytest.raises(ShapeError, match="classify: 3 names for a network of 4 classes"):
        models.classify(net, [image], classes=["a", "b", "c"])
    with pytest.raises(ShapeError, match="classify: top must be an integer of at least 1, got 0"):
        models.classify(net, [image], top=0)
    with pytest.raises(ShapeError, match="classify: there are no images"):
        models.classify(net, [])
    with pytest.raises(DTypeError, match="images must be a sequence"):
        models.classify(net, "a.png")
    with pytest.raises(DTypeError, match="classify: expected a Module, got int"):
        models.classify(3, [image])  # type: ignore[arg-type]
    with pytest.raises(ShapeError, match=r"the network gives \(1, 2, 3\), expected \(N, classes\)"):
        models.classify(Constant(np.zeros((2, 3))), [image])


def test_outputs_that_are_no_numbers() -> None:
    rows = np.array([[0.0, -np.inf, 1.0], [2.0, 1.0, 0.0]])
    assert models.classification.as_probabilities("op", rows)[0, 1] == 0
    for bad in (np.nan, np.inf):
        rows[1, 2] = bad
        with pytest.raises(fc.FastconvError, match=rf"^op: 1: .* has the largest value {bad},"):
            models.classification.as_probabilities("op", rows)
    rows[1] = -np.inf
    with pytest.raises(fc.FastconvError, match=r"^op: b: .* has the largest value -inf,"):
        models.classification.as_probabilities("op", rows, ["a", "b"])
