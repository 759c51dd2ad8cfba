from __future__ import annotations

import gc
import subprocess
import sys
import threading
import time

import numpy as np
import pytest

from fastconv.data import ArrayDataset, Loader, epoch_order
from fastconv.errors import DTypeError, ShapeError

COUNT = 103


@pytest.fixture
def data() -> ArrayDataset:
    """Each image carries its own index, so that order and pairing can be read from a batch."""
    images = np.arange(COUNT, dtype=np.uint8)[:, None, None] * np.ones((1, 4, 5), np.uint8)
    return ArrayDataset(images, np.arange(COUNT) % 10)


def indices(batches) -> list[int]:
    out: list[int] = []
    for x, y in batches:
        index = np.rint(x[:, 0, 0, 0] * 255).astype(int)
        assert (index % 10 == y).all()
        out += index.tolist()
    return out


def loader_threads() -> list[threading.Thread]:
    return [t for t in threading.enumerate() if t.name == "fastconv-prefetch"]


@pytest.fixture(autouse=True)
def no_thread_is_left():
    yield
    gc.collect()
    assert loader_threads() == []


@pytest.mark.parametrize("prefetch", [0, 1, 2, 50])
@pytest.mark.parametrize("drop_last", [False, True])
@pytest.mark.parametrize("size", [1, 10, 103, 200])
def test_order_and_kind(data, prefetch: int, drop_last: bool, size: int) -> None:
    loader = Loader(data, size, drop_last=drop_last, prefetch=prefetch)
    batches = list(loader)
    expected = COUNT // size * size if drop_last else COUNT
    assert len(batches) == len(loader)
    assert indices(batches) == list(range(expected))
    for x, y in batches:
        assert x.dtype == np.float32 and x.flags.c_contiguous and x.shape[1:] == (1, 4, 5)
        assert y.dtype == np.int64 and len(x) == len(y)
        assert x.flags.writeable and y.flags.writeable


def test_shuffling_is_a_function_of_seed_and_epoch(data) -> None:
    runs = {
        prefetch: [indices(Loader(data, 8, True, seed=5, prefetch=prefetch)) for _ in range(2)]
        for prefetch in (0, 2)
    }
    assert runs[0] == runs[2] and runs[0][0] == runs[0][1]
    assert sorted(runs[0][0]) == list(range(COUNT)) and runs[0][0] != list(range(COUNT))
    loader = Loader(data, 8, shuffle=True, seed=5)
    epochs = [indices(loader) for _ in range(3)]
    assert loader.epoch == 3 and epochs[0] == runs[0][0]
    assert epochs[0] != epochs[1] != epochs[2]
    loader.set_epoch(1)
    assert indices(loader) == epochs[1]
    assert indices(Loader(data, 8, shuffle=True, seed=6)) != epochs[0]


def test_order_is_frozen() -> None:
    """Other releases and machines must draw the same order: a checkpoint counts on it."""
    assert epoch_order(10, 0, 0).tolist() == [3, 2, 1, 8, 6, 0, 7, 4, 5, 9]
    assert epoch_order(0, 0, 0).tolist() == []
    first = np.array([epoch_order(4, seed, 0)[0] for seed in range(4000)])
    assert np.abs(np.bincount(first) - 1000).max() < 150  # 5.5 sigma


@pytest.mark.parametrize("prefetch", [0, 2])
def test_batches_are_bitwise_equal_with_and_without_thread(prefetch: int) -> None:
    rng = np.random.default_rng(3)
    data = ArrayDataset(
        rng.integers(0, 256, (50, 3, 8, 8), dtype=np.uint8),
        rng.integers(0, 5, 50),
        mean=(0.4, 0.5, 0.6),
        std=(0.2, 0.3, 0.1),
    )
    order = epoch_order(50, 1, 0)
    for i, (x, y) in enumerate(Loader(data, 16, shuffle=True, seed=1, prefetch=prefetch)):
        chosen = order[16 * i : 16 * i + 16]
        np.testing.assert_array_equal(x, data.standardize()(data.images[chosen]))
        np.testing.assert_array_equal(y, data.labels[chosen])


@pytest.mark.parametrize("prefetch", [0, 2])
def test_resume_in_the_middle_of_an_epoch(data, prefetch: int) -> None:
    whole = Loader(data, 8, shuffle=True, seed=9, prefetch=prefetch)
    uninterrupted = [indices([b]) for _ in range(2) for b in whole]
    resumed = Loader(data, 8, shuffle=True, seed=9, prefetch=prefetch)
    resumed.set_epoch(0, start=5)
    assert [indices([b]) for _ in range(2) for b in resumed] == uninterrupted[5:]
    started = Loader(data, 8, shuffle=True, seed=9, prefetch=prefetch, start=5)
    assert [indices([b]) for b in started] == uninterrupted[5 : len(whole)]
    resumed.set_epoch(0, start=len(resumed))
    assert list(resumed) == []


def test_seed_none_is_recorded(data) -> None:
    loader = Loader(data, 8, shuffle=True, seed=None)
    again = Loader(data, 8, shuffle=True, seed=loader.seed)
    assert indices(loader) == indices(again)


@pytest.mark.parametrize("prefetch", [0, 2])
def test_batches_belong_to_the_caller(data, prefetch: int) -> None:
    before = data.images.copy(), data.labels.copy()
    kept = []
    for x, y in Loader(data, 10, prefetch=prefetch):
        kept.append((x.copy(), y.copy(), x, y))
    for copy_x, copy_y, x, y in kept:
        np.testing.assert_array_equal(x, copy_x)
        np.testing.assert_array_equal(y, copy_y)
        x.fill(7)
        y.fill(7)

    def overwrites(images):
        images.fill(0)
        return images.astype(np.float32)

    list(Loader(data, 10, prefetch=prefetch, transform=overwrites))
    np.testing.assert_array_equal(data.images, before[0])
    np.testing.assert_array_equal(data.labels, before[1])


def test_a_pair_of_arrays_will_do_and_nothing_else() -> None:
    x = np.zeros((5, 1, 2, 2), np.float32)
    assert [len(b[1]) for b in Loader((x, np.arange(5)), 2)] == [2, 2, 1]
    with pytest.raises(ShapeError, match=r"expected \(5,\) for 5 images"):
        Loader((x, np.arange(4)), 2)
    with pytest.raises(DTypeError, match="dataset is a ndarray"):
        Loader(x, 2)  # type: ignore[arg-type]
    assert list(Loader((x[:0], np.arange(0)), 2)) == []


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"batch_size": 0}, ShapeError, "Loader: batch_size must be at least 1, got 0"),
        ({"batch_size": -3}, ShapeError, "batch_size must be at least 1, got -3"),
        ({"batch_size": 2.0}, DTypeError, "batch_size must be an integer, got float"),
        ({"batch_size": True}, DTypeError, "batch_size must be an integer, got bool"),
        ({"prefetch": -1}, ShapeError, "prefetch must be at least 0, got -1"),
        ({"seed": -1}, ShapeError, "seed must be at least 0, got -1"),
        ({"seed": "a"}, DTypeError, "seed must be an integer, got str"),
        ({"start": -1}, ShapeError, "start must be at least 0, got -1"),
        ({"start": 12}, ShapeError, "start is 12, expected at most 11"),
        ({"transform": 3}, DTypeError, "transform is a int, not callable"),
    ],
)
def test_bad_arguments(data, options, error, message) -> None:
    with pytest.raises(error, match=message):
        Loader(data, **{"batch_size": 10, **options})


@pytest.mark.parametrize("prefetch", [0, 2])
@pytest.mark.parametrize(
    ("transform", "error", "message"),
    [
        (lambda x: x, DTypeError, r"returned uint8\[10, 1, 4, 5\], expected a float32 array"),
        (lambda x: None, DTypeError, "returned NoneType"),
        (lambda x: x[:, 0].astype(np.float32), ShapeError, r"returned shape \(10, 4, 5\)"),
        (lambda x: x[1:].astype(np.float32), ShapeError, "with n=10"),
    ],
)
def test_bad_transforms(data, prefetch, transform, error, message) -> None:
    with pytest.raises(error, match=message):
        list(Loader(data, 10, prefetch=prefetch, transform=transform))


def test_transform_result_is_made_contiguous(data) -> None:
    def channels_last(images):
        return (
            np.repeat(images[:, 0, :, :, None], 3, axis=-1).astype(np.float32).transpose(0, 3, 1, 2)
        )

    for x, _ in Loader(data, 10, transform=channels_last):
        assert x.flags.c_contiguous and x.shape[1:] == (3, 4, 5)


@pytest.mark.parametrize("prefetch", [0, 1, 3])
def test_an_exception_reaches_the_consumer_after_the_good_batches(data, prefetch: int) -> None:
    calls = []

    def fails_third(images):
        calls.append(1)
        if len(calls) == 3:
            raise ZeroDivisionError("in the transform")
        return data.standardize()(images)

    batches = iter(Loader(data, 10, prefetch=prefetch, transform=fails_third))
    assert indices([next(batches), next(batches)]) == list(range(20))
    with pytest.raises(ZeroDivisionError, match="in the transform") as caught:
        next(batches)
    assert "fails_third" in str(caught.traceback[-1])
    with pytest.raises(StopIteration):
        next(batches)


def test_break_stops_the_thread(data) -> None:
    for _ in Loader(data, 1, prefetch=2):
        assert len(loader_threads()) == 1
        break
    assert loader_threads() == []


def test_close_stops_the_thread_and_ends_the_iteration(data) -> None:
    for _ in range(50):
        batches = iter(Loader(data, 1, prefetch=2))
        next(batches)
        batches.close()
        assert loader_threads() == []
        batches.close()
        assert list(batches) == []


def test_a_failing_consumer_stops_the_thread(data) -> None:
    def consume() -> None:
        for _ in Loader(data, 1):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        consume()
    gc.collect()
    assert loader_threads() == []


def test_prefetching_is_bounded(data) -> None:
    made = []

    def counting(images):
        made.append(1)
        return data.standardize()(images)

    batches = iter(Loader(data, 1, prefetch=3, transform=counting))
    next(batches)
    deadline = time.monotonic() + 5
    while len(made) < 5 and time.monotonic() < deadline:
        time.sleep(0.001)
    time.sleep(0.05)
    assert len(made) == 5  # one taken, three ready, one in the worker's hand
    batches.close()


INTERRUPT = """
import os, signal, threading, time
import numpy as np
from fastconv.data import Loader

def slow(images):
    time.sleep(30)

threading.Timer(0.3, os.kill, (os.getpid(), signal.SIGINT)).start()
started = time.monotonic()
try:
    next(iter(Loader((np.zeros((4, 2, 2), np.uint8), np.arange(4)), 1, transform=slow)))
except KeyboardInterrupt:
    print("interrupted", time.monotonic() - started < 10)
"""

AT_EXIT = """
import numpy as np
from fastconv.data import Loader
kept = iter(Loader((np.zeros((400, 2, 2), np.uint8), np.arange(400)), 1))
next(kept)
print("done")
"""


@pytest.mark.parametrize(("program", "said"), [(INTERRUPT, "interrupted True"), (AT_EXIT, "done")])
def test_ends_of_the_process(program: str, said: str) -> None:
    run = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=False
    )
    assert run.returncode == 0 and run.stdout.strip() == said, run.stderr
