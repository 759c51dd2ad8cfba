"""Splits, subsets, data sets in a row."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fastconv.data import ArrayDataset, ConcatDataset, Dataset, Loader, Subset, split
from fastconv.errors import DTypeError, ShapeError


def numbered(labels, classes=(), shape=(1, 2, 2), first=0) -> ArrayDataset:
    """Each image carries its own number."""
    numbers = np.arange(first, first + len(labels), dtype=np.float32)
    images = numbers[:, None, None, None] * np.ones((1, *shape), np.float32)
    return ArrayDataset(images, np.asarray(labels), classes, name=f"from {first}")


def numbers(dataset: Dataset) -> list[int]:
    return dataset.fetch(np.arange(len(dataset)))[:, 0, 0, 0].astype(int).tolist()


@pytest.fixture
def data() -> ArrayDataset:
    """1000 images of three classes: 600, 300, 100, mixed."""
    labels = np.repeat([0, 1, 2], [600, 300, 100])
    return numbered(np.random.default_rng(0).permutation(labels), ("a", "b", "c"))


def test_stratified_parts(data) -> None:
    parts = split(data, train=0.7, bridge=0.1, dev=0.1, test=0.1)
    assert list(parts) == ["train", "bridge", "dev", "test"]
    assert [len(part) for part in parts.values()] == [700, 100, 100, 100]
    every = [n for part in parts.values() for n in numbers(part)]
    assert sorted(every) == list(range(1000))
    for part in parts.values():
        assert isinstance(part, Subset) and isinstance(part, Dataset)
        np.testing.assert_allclose(
            np.bincount(part.labels), np.array([0.6, 0.3, 0.1]) * len(part), atol=1
        )
        assert numbers(part) == sorted(numbers(part)) and part.classes == data.classes
        np.testing.assert_array_equal(part.labels, data.labels[numbers(part)])
    assert parts["dev"].name == "from 0 (dev)"


def test_the_split_is_a_function_of_its_seed(data) -> None:
    first = {name: numbers(part) for name, part in split(data, seed=3).items()}
    assert list(first) == ["train", "dev", "test"]  # a bridge of size 0 is left out
    assert {name: numbers(part) for name, part in split(data, seed=3).items()} == first
    assert {name: numbers(part) for name, part in split(data, seed=4).items()} != first
    small = numbered([0] * 6 + [1] * 4)
    frozen = split(small, train=0.5, dev=0.25, test=0.25, on_missing="ignore")
    # Other releases and machines must cut alike: results count on it.
    assert {name: numbers(part) for name, part in frozen.items()} == FROZEN


FROZEN = {"train": [1, 2, 3, 6, 8], "dev": [0, 4, 7], "test": [5, 9]}


def test_chance_decides_who_comes_where(data) -> None:
    """An image is in dev in a tenth of the splits."""
    hits = np.zeros(1000)
    for seed in range(400):
        hits[numbers(split(data, seed=seed)["dev"])] += 1
    assert abs(hits.mean() - 40) < 1e-9 and 24 < hits.std() ** 2 < 48  # 36 if independent
    assert hits.min() > 8 and hits.max() < 80


def test_numbers_of_images_and_leftovers(data) -> None:
    parts = split(data, train=500, dev=50, test=0.2)
    assert {name: len(part) for name, part in parts.items()} == {
        **{"train": 500, "dev": 50},
        "test": 200,
    }
    assert len({n for part in parts.values() for n in numbers(part)}) == 750
    whole = split(data, train=1.0, dev=0, test=0.0)
    assert list(whole) == ["train"] and len(whole["train"]) == 1000
    thirds = split(data, train=1 / 3, dev=1 / 3, test=1 / 3)
    assert sorted(len(part) for part in thirds.values()) == [333, 333, 334]


def test_without_strata() -> None:
    data = numbered(np.arange(200) % 2)
    counts = [np.bincount(split(data, stratify=False, seed=s)["dev"].labels) for s in range(40)]
    assert len({tuple(c) for c in counts}) > 3 and all(sum(c) == 20 for c in counts)
    assert all(np.bincount(split(data, seed=s)["dev"].labels).tolist() == [10, 10] for s in (0, 1))


def test_other_sources_for_dev_and_test(data) -> None:
    """The bridge stays with the training images."""
    phone = numbered(np.arange(200) % 3, data.classes, first=5000)
    camera = numbered(np.arange(60) % 3, data.classes, first=9000)
    parts = split(data, 0.9, 0.1, dev=0.5, test=0.5, dev_from=phone, test_from=phone)
    assert [len(part) for part in parts.values()] == [900, 100, 100, 100]
    assert max(numbers(parts["train"]) + numbers(parts["bridge"])) < 1000
    assert sorted(numbers(parts["dev"]) + numbers(parts["test"])) == list(range(5000, 5200))
    parts = split(data, 0.8, dev=1.0, test=20, dev_from=phone, test_from=camera)
    assert len(parts["dev"]) == 200 and len(parts["test"]) == 20
    assert min(numbers(parts["test"])) >= 9000
    parts = split(data, 0.8, dev=0.2, test=1.0, test_from=camera)
    assert set(numbers(parts["dev"])) & set(numbers(parts["train"])) == set()
    assert len(numbers(parts["dev"])) == 200 and max(numbers(parts["dev"])) < 1000
    other = numbered([0, 1], ("a", "b"))
    with pytest.raises(ShapeError, match="dev_from has other classes than the data set: c"):
        split(data, dev_from=other)
    order = numbered([0, 1], ("b", "a", "c"))
    with pytest.raises(ShapeError, match=r"other classes .*: in another order"):
        split(data, test_from=order)
    with pytest.raises(ShapeError, match=r"test_from has images of shape \(3, 2, 2\)"):
        split(data, test_from=numbered([0, 1, 2], data.classes, (3, 2, 2)))
    with pytest.raises(DTypeError, match="dev_from is a list"):
        split(data, dev_from=[1])


def test_groups_stay_together(data) -> None:
    rng = np.random.default_rng(1)
    groups = rng.integers(0, 90, 1000)
    for kind in (groups, np.array([f"person {g}" for g in groups])):
        parts = split(data, 0.7, 0.1, 0.1, 0.1, groups=kind)
        owners = [set(groups[numbers(part)]) for part in parts.values()]
        assert sum(map(len, owners)) == len(set(groups)) == len(set().union(*owners))
        for part, share in zip(parts.values(), (0.7, 0.1, 0.1, 0.1), strict=True):
            assert abs(len(part) - 1000 * share) < 15
            shares = np.bincount(part.labels, minlength=3) / len(part)
            np.testing.assert_allclose(shares, [0.6, 0.3, 0.1], atol=0.08)
    parts = split(data, 0.3, dev=0.1, test=0.1, groups=groups)  # half is left out
    assert abs(sum(map(len, parts.values())) - 500) < 40
    assert numbers(split(data, groups=groups, seed=1)["dev"]) != numbers(
        split(data, groups=groups, seed=2)["dev"]
    )
    with pytest.raises(ShapeError, match="2 groups leave no image for"):
        split(data, groups=np.arange(1000) % 2)
    with pytest.raises(ShapeError, match=r"groups have shape \(3,\), expected \(1000,\)"):
        split(data, groups=[1, 2, 3])
    with pytest.raises(DTypeError, match="groups are float64"):
        split(data, groups=np.zeros(1000))


def test_a_class_that_would_be_missing() -> None:
    data = numbered([0] * 50 + [1] * 2, ("cat", "dog"))
    with pytest.raises(ShapeError, match="has no image of class 'dog'"):
        split(data)
    with pytest.warns(UserWarning, match="has no image of class 'dog'"):
        split(data, on_missing="warn")
    split(data, on_missing="ignore")
    dev = numbered([0] * 9, ("cat", "dog"))
    with pytest.raises(ShapeError, match="dev has no image of class 'dog'"):
        split(data, 1.0, dev=1.0, test=0, dev_from=dev)
    with pytest.raises(ShapeError, match="has no image of class 1"):
        split(numbered([0] * 50 + [1]))


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"train": 0.9}, ShapeError, r"train 0.9, dev 0.1, test 0.1 are 1100 .* there are 1000"),
        ({"train": 990}, ShapeError, "are 1190 images in all"),
        ({"train": -0.1}, ShapeError, "train is -0.1, expected a share from 0.0 to 1.0"),
        ({"train": 1.5}, ShapeError, "expected a share"),
        ({"dev": -3}, ShapeError, "dev is -3, expected at least 0 images"),
        ({"dev": float("nan")}, ShapeError, "dev is nan"),
        ({"dev": True}, DTypeError, "dev is a bool"),
        ({"bridge": "0.1"}, DTypeError, "bridge is a str"),
        ({"bridge": 1e-6}, ShapeError, "bridge is 1e-06 of 1000 images, which is none"),
        ({"seed": -1}, ShapeError, "seed is -1"),
        ({"seed": 0.5}, ShapeError, "seed is 0.5"),
        ({"on_missing": "skip"}, ShapeError, "on_missing is 'skip'"),
    ],
)
def test_bad_arguments(data, options, error, message) -> None:
    with pytest.raises(error, match=message):
        split(data, **options)
    with pytest.raises(DTypeError, match="got a list, expected a data set"):
        split([1, 2])  # type: ignore[arg-type]


@given(
    st.lists(st.integers(0, 4), min_size=8, max_size=200),
    st.tuples(*[st.floats(0.05, 0.25)] * 4),
    st.integers(0, 2**32),
)
@settings(max_examples=60, deadline=None)
def test_any_split(labels, shares, seed) -> None:
    data = numbered(labels)
    try:
        parts = split(data, *shares, seed=seed, on_missing="ignore")
    except ShapeError as error:
        assert "which is none of them" in str(error)
        return
    every = [n for part in parts.values() for n in numbers(part)]
    assert len(every) == len(set(every)) == round(sum(shares) * len(labels))
    whole = np.bincount(labels, minlength=5)
    for part, share in zip(parts.values(), shares, strict=True):
        assert abs(len(part) - share * len(labels)) < 1
        got = np.bincount(part.labels, minlength=5)
        assert (np.abs(got - whole * len(part) / len(labels)) < 2).all()


# Parts and rows


def test_subset(data) -> None:
    part = Subset(data, [5, 3, 3, 999], name="mine")
    assert numbers(part) == [5, 3, 3, 999] and part.name == "mine" and len(part) == 4
    np.testing.assert_array_equal(part.labels, data.labels[[5, 3, 3, 999]])
    assert numbers(Subset(part, [3, 0])) == [999, 5] and part.image_shape == (1, 2, 2)
    assert part.standardize() is data.standardize() and "4 of ArrayDataset" in repr(part)
    assert len(list(Loader(part, 3))) == 2 and len(Subset(data, [])) == 0
    for indices, error in (([1000], ShapeError), ([-1], ShapeError), ([0.5], DTypeError)):
        with pytest.raises(error, match="Subset: indices"):
            Subset(data, indices)
    with pytest.raises(ShapeError, match="Subset: fetch: indices span 4 to 4"):
        part.fetch([4])
    with pytest.raises(DTypeError, match="Subset: got a list"):
        Subset([1], [0])  # type: ignore[arg-type]


def test_concatenation(data) -> None:
    other = numbered([2, 1, 0], data.classes, first=5000)
    row = ConcatDataset([Subset(data, [7, 8]), other, Subset(data, []), Subset(data, [9])])
    assert isinstance(row, Dataset) and numbers(row) == [7, 8, 5000, 5001, 5002, 9]
    assert row.fetch([5, 2, 0, 5, 3])[:, 0, 1, 1].tolist() == [9, 5000, 7, 9, 5001]
    assert row.labels.tolist() == [*data.labels[[7, 8]], 2, 1, 0, data.labels[9]]
    assert row.fetch([]).shape == (0, 1, 2, 2) and row.classes == data.classes
    assert row.standardize() is data.standardize() and row.image_shape == (1, 2, 2)
    with pytest.raises(ShapeError, match="no data sets"):
        ConcatDataset([])
    with pytest.raises(ShapeError, match="data set 1 has other classes than the first: c"):
        ConcatDataset([data, numbered([0], ("a", "b"))])
    with pytest.raises(ShapeError, match="data set 1 has images of shape"):
        ConcatDataset([data, numbered([0], data.classes, (1, 3, 3))])
    with pytest.raises(DTypeError, match="ConcatDataset: got a list"):
        ConcatDataset([data, [1]])
    bytes_too = ArrayDataset(np.zeros((2, 1, 2, 2), np.uint8), [0, 1], data.classes)
    mixed = ConcatDataset([data, bytes_too])
    with pytest.raises(DTypeError, match="data set 1 has uint8 images, another has float32"):
        mixed.fetch([0, 1001])
