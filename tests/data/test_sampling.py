from __future__ import annotations

import numpy as np
import pytest

from fastconv.data import ArrayDataset, BalancedSampler, Loader, Sampler, WeightedSampler
from fastconv.errors import DTypeError, ShapeError
from fastconv.train.batches import describe


def counts(sampler, items: int, epochs: int) -> np.ndarray:
    drawn = [sampler.order(7, epoch) for epoch in range(epochs)]
    assert all(order.dtype == np.int64 and len(order) == len(sampler) for order in drawn)
    return np.bincount(np.concatenate(drawn), minlength=items)


def test_weights_are_probabilities() -> None:
    weights = np.array([0, 1, 2, 0.5, 0, 4, 0.0])
    sampler = WeightedSampler(weights, 1000)
    assert isinstance(sampler, Sampler)
    seen = counts(sampler, 7, 100)
    expected = weights / weights.sum() * 100_000
    assert (seen[weights == 0] == 0).all()
    assert (np.abs(seen - expected) <= 5 * np.sqrt(expected)).all()


def test_without_replacement() -> None:
    weights = np.arange(1, 9)
    sampler = WeightedSampler(weights, 3, replacement=False)
    firsts = np.zeros(8)
    for epoch in range(4000):
        order = sampler.order(1, epoch)
        assert len(set(order.tolist())) == 3
        firsts[order[0]] += 1
    expected = weights / weights.sum() * 4000  # the first of them is drawn by the weights
    assert (np.abs(firsts - expected) <= 5 * np.sqrt(expected)).all()
    every = WeightedSampler([3, 0, 1], 2, replacement=False).order(0, 0)
    assert sorted(every.tolist()) == [0, 2]


@pytest.mark.parametrize(("samples", "rest"), [(None, 0), (60, 0), (61, 1), (7, 1), (2, 2)])
def test_balance(samples: int | None, rest: int) -> None:
    labels = np.repeat([4, 0, 9], [40, 17, 3])
    sampler = BalancedSampler(labels, samples)
    for epoch in range(20):
        order = sampler.order(0, epoch)
        each = np.bincount(labels[order], minlength=10)[[4, 0, 9]]
        total = 60 if samples is None else samples
        assert len(order) == total and each.sum() == total and each.max() - each.min() <= 1
        for label in (4, 0, 9):  # none a second time before all have come
            times = np.bincount(order, minlength=60)[labels == label]
            assert times.max() - times.min() <= 1
    # In the long run images of a class come equally often, whichever one gets one more.
    seen = counts(sampler, 60, 600)
    for label in (4, 0, 9):
        mean = seen[labels == label].mean()
        assert (np.abs(seen[labels == label] - mean) <= 6 * np.sqrt(mean) + 1).all()


@pytest.mark.parametrize(
    "sampler",
    [
        WeightedSampler(np.arange(20)),
        WeightedSampler(np.arange(20), 8, replacement=False),
        BalancedSampler(np.arange(20) % 3),
    ],
)
def test_order_follows_from_seed_and_epoch(sampler) -> None:
    orders = {(s, e): sampler.order(s, e).tolist() for s in range(2) for e in range(3)}
    assert len({tuple(order) for order in orders.values()}) == 6
    assert all(sampler.order(s, e).tolist() == order for (s, e), order in orders.items())

    data = ArrayDataset(np.arange(20, dtype=np.uint8)[:, None, None] * np.ones((1, 2, 2), "u1"),
                        np.arange(20) % 3)  # fmt: skip
    loader = Loader(data, 3, sampler=sampler, seed=1)
    whole = [x.tobytes() for _ in range(2) for x, _ in loader]
    resumed = Loader(data, 3, sampler=sampler, seed=1)
    resumed.set_epoch(0, start=2)
    assert [x.tobytes() for _ in range(2) for x, _ in resumed] == whole[2:]


def test_orders_are_frozen() -> None:
    """Other releases must draw the same: a checkpoint counts on it."""
    assert WeightedSampler([1, 2, 3, 4], 8).order(0, 0).tolist() == FROZEN[0]
    assert WeightedSampler([1, 2, 3, 4], 3, False).order(0, 0).tolist() == FROZEN[1]
    assert BalancedSampler([0, 0, 0, 1, 2], 8).order(0, 0).tolist() == FROZEN[2]


FROZEN = [[3, 1, 0, 0, 3, 3, 3, 3], [0, 1, 3], [1, 3, 4, 4, 4, 3, 0, 3]]


def test_a_checkpoint_knows_the_sampler() -> None:
    data = ArrayDataset(np.zeros((4, 2, 2), np.uint8), [0, 0, 0, 1])
    one = describe(Loader(data, 2, sampler=WeightedSampler([1, 1, 1, 3])))
    assert one == describe(Loader(data, 2, sampler=WeightedSampler([1, 1, 1, 3.0])))
    assert one != describe(Loader(data, 2, sampler=WeightedSampler([1, 1, 1, 2])))
    assert "sampler" not in describe(Loader(data, 2))
    other = describe(Loader(data, 2, sampler=BalancedSampler(data.labels)))
    assert other["sampler"].startswith("BalancedSampler(4:") and other != one
    noise = describe(Loader(data, 2, augment=lambda images, rng: images))
    assert "0x" not in noise["augment"]


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: WeightedSampler([]), ShapeError, r"weights have shape \(0,\)"),
        (lambda: WeightedSampler([[1.0]]), ShapeError, r"weights have shape \(1, 1\)"),
        (lambda: WeightedSampler([0, 0]), ShapeError, "not all 0"),
        (lambda: WeightedSampler([1, -1]), ShapeError, "they span -1.0 to 1.0"),
        (lambda: WeightedSampler([1, np.nan]), ShapeError, "must be finite"),
        (lambda: WeightedSampler([1, np.inf]), ShapeError, "must be finite"),
        (lambda: WeightedSampler(["a"]), DTypeError, "weights are <U1"),
        (lambda: WeightedSampler([1, 1], 0), ShapeError, "num_samples must be at least 1, got 0"),
        (
            lambda: WeightedSampler([1, 1], 1.5),
            DTypeError,
            "num_samples must be an integer, got float",
        ),
        (lambda: WeightedSampler([1, 0], 2, False), ShapeError, "but 1 images have a weight"),
        (lambda: BalancedSampler([]), DTypeError, "labels are float64"),
        (lambda: BalancedSampler([[1]]), ShapeError, r"labels have shape \(1, 1\)"),
        (lambda: BalancedSampler([1, 2], -1), ShapeError, "num_samples must be at least 1, got -1"),
        (
            lambda: BalancedSampler([1, 2], True),
            DTypeError,
            "num_samples must be an integer, got bool",
        ),
    ],
)
def test_bad_arguments(make, error, message) -> None:
    with pytest.raises(error, match=message):
        make()


def test_a_sampler_for_other_data() -> None:
    data = ArrayDataset(np.zeros((4, 2, 2), np.uint8), [0, 0, 0, 1])
    for sampler in (WeightedSampler([1, 2, 3]), BalancedSampler([0, 1, 2])):
        with pytest.raises(ShapeError, match="sampler is for 3 images, there are 4"):
            Loader(data, 2, sampler=sampler)
