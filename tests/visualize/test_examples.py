"""Examples by loss and answer, confusion and features against NumPy."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest

import fastconv as fc
import fastconv.functional as F
from fastconv import nn
from fastconv import visualize as viz
from fastconv.data import Loader
from fastconv.visualize.examples import judge
from tests.visualize.helpers import dataset, small_net


def prepared(data: Any) -> Any:
    return (data.images.astype(np.float64) / 255 - 0.5) / 0.25


def probabilities(net: nn.Module, data: Any) -> Any:
    with fc.no_grad():
        scores = np.asarray(net.eval()(prepared(data)))
    powers = np.exp(scores - scores.max(1, keepdims=True))
    return powers / powers.sum(1, keepdims=True)


def test_top_losses_and_mistakes_are_numpys() -> None:
    net, data = small_net(), dataset()
    shares = probabilities(net, data)
    net.train()
    losses = -np.log(shares[np.arange(30), data.labels])
    order = np.argsort(-losses)[:7]
    for source in (data, Loader(data, 7, shuffle=True, seed=4, drop_last=True)):
        found = viz.top_losses(net, F.cross_entropy, source, 7)
        assert [e.index for e in found] == order.tolist()
        np.testing.assert_allclose([e.loss for e in found], losses[order], rtol=1e-4)
        for example in found:
            i = example.index
            np.testing.assert_array_equal(example.image, data.images[i])
            assert example.label == data.labels[i] and example.answer == shares[i].argmax()
            assert example.probability == pytest.approx(shares[i].max(), rel=1e-4)
            assert example.label_probability == pytest.approx(shares[i, data.labels[i]], rel=1e-4)
    wrong = np.flatnonzero(shares.argmax(1) != data.labels)
    assert 3 < len(wrong) < 30
    wrong = wrong[np.argsort(-shares[wrong].max(1))]
    assert [e.index for e in viz.misclassified(net, data)] == wrong.tolist()
    assert [e.index for e in viz.misclassified(net, data, 3)] == wrong[:3].tolist()
    assert [e.index for e in viz.answers(net, data, [9, 2])] == [9, 2]
    assert net.training and net.norm.training


def test_all_losses_when_k_is_large_and_batches_in_a_list() -> None:
    net, data = small_net(dtype="float32"), dataset()
    batches = list(Loader(data, 8))
    found = viz.top_losses(net, F.cross_entropy, batches, 100)
    assert sorted(e.index for e in found) == list(range(30))
    assert all(a.loss >= b.loss for a, b in itertools.pairwise(found))
    first = found[0]
    np.testing.assert_array_equal(first.image, batches[first.index // 8][0][first.index % 8])


def test_one_pass_finds_the_same() -> None:
    net, data = small_net(), dataset()
    found = judge(net, F.cross_entropy, Loader(data, 7), 6, seed=3)
    np.testing.assert_array_equal(found.matrix, viz.confusion(net, data))
    for ours, separate in (
        (found.hardest, viz.top_losses(net, F.cross_entropy, Loader(data, 7), 6)),
        (found.mistakes, viz.misclassified(net, Loader(data, 7), 6)),
    ):
        assert [(e.index, e.label, e.answer) for e in ours] == [
            (e.index, e.label, e.answer) for e in separate
        ]
    places = [e.index for e in found.samples]
    assert len(set(places)) == 6 and places == sorted(places)
    again = judge(net, F.cross_entropy, Loader(data, 30), 6, seed=3)
    assert [e.index for e in again.samples] == places  # however they are cut into batches
    other = judge(net, F.cross_entropy, Loader(data, 30), 6, seed=4)
    assert [e.index for e in other.samples] != places


def test_confusion_counts() -> None:
    net, data = small_net(), dataset()
    expected = np.zeros((3, 3), np.int64)
    for label, row in zip(data.labels, probabilities(net, data), strict=True):
        expected[label, row.argmax()] += 1
    found = viz.confusion(net, data)
    assert found.dtype == np.int64
    np.testing.assert_array_equal(found, expected)


def test_features() -> None:
    net, data = small_net(), dataset()
    with fc.no_grad():
        maps = np.asarray(net.eval()[:3](prepared(data)))
        flat = np.asarray(net[:7](prepared(data)))
    net.train()
    features, labels = viz.features_for_tsne(net, Loader(data, 7, shuffle=True), "relu1")
    assert features.dtype == np.float32 and net.training
    np.testing.assert_allclose(features, maps.mean((2, 3)), rtol=1e-4, atol=1e-6)
    np.testing.assert_array_equal(labels, data.labels)
    features, _ = viz.features_for_tsne(net, data, "relu1", pool="flat")
    np.testing.assert_allclose(features, maps.reshape(30, -1), rtol=1e-4, atol=1e-6)
    features, _ = viz.features_for_tsne(net, data)  # what goes into the head
    np.testing.assert_allclose(features, flat, rtol=1e-4, atol=1e-6)
    assert not any(module._hooks for module in net.modules())


def test_bad_input() -> None:
    net, data = small_net(), dataset()
    loss = F.cross_entropy
    with pytest.raises(fc.ShapeError, match="top_losses: k must be at least 1"):
        viz.top_losses(net, loss, data, 0)
    with pytest.raises(fc.DTypeError, match="top_losses: loss is a str"):
        viz.top_losses(net, "loss", data)  # type: ignore[arg-type]
    with pytest.raises(fc.DTypeError, match="confusion: expected a Module"):
        viz.confusion(3, data)  # type: ignore[arg-type]
    with pytest.raises(fc.DTypeError, match="expected a Loader, a data set"):
        viz.confusion(net, 3)
    with pytest.raises(fc.ShapeError, match="misclassified: data has no images"):
        viz.misclassified(net, [])
    with pytest.raises(fc.ShapeError, match="labels span 0 to 2, expected 0 to 1"):
        viz.misclassified(small_net(classes=2), data)
    with pytest.raises(fc.ShapeError, match="a batch has images"):
        viz.confusion(net, [(np.zeros((2, 2, 8, 8)), np.zeros(3, np.int64))])
    with pytest.raises(fc.ShapeError, match="gives no array"):
        viz.confusion(net[:3], data)
    with pytest.raises(fc.ShapeError, match="answers: there is no image 30"):
        viz.answers(net, data, [1, 30])
    with pytest.raises(fc.ShapeError, match="the loss has shape"):
        viz.top_losses(net, lambda x, y: np.zeros(2), data)
    losses = iter(np.r_[np.arange(9.0), np.nan, np.arange(20.0)])
    with pytest.raises(fc.FastconvError, match="the loss of image 9 is NaN"):
        viz.top_losses(net, lambda x, y: next(losses), data, 2)
    with pytest.raises(fc.ShapeError, match="features_for_tsne: there is no layer"):
        viz.features_for_tsne(net, data, "nothing")
    with pytest.raises(fc.ShapeError, match="pool must be one of 'mean', 'flat'"):
        viz.features_for_tsne(net, data, pool="max")
    with pytest.raises(fc.ShapeError, match="calls no linear layer"):
        viz.features_for_tsne(nn.Sequential(nn.Flatten()), data)
    net.conv1.weight.numpy()[...] = np.nan
    with pytest.raises(fc.FastconvError, match="top_losses: image 0: "):
        viz.top_losses(net, loss, data)
    with pytest.raises(fc.FastconvError, match="not finite"):
        viz.features_for_tsne(net, data)
