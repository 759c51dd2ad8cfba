"""Augmentation, mixing, samplers, and workers of both kinds."""

from __future__ import annotations

import gc
import multiprocessing
import os
import pickle
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest

from fastconv.data import ArrayDataset, Dataset, Loader, Standardize, batch_rng, epoch_order
from fastconv.errors import DTypeError, FastconvError, ShapeError
from tests.data import helpers

COUNT = 103
TEAMS = [(0, "thread"), (1, "thread"), (3, "thread"), (1, "process"), (2, "process")]


@pytest.fixture
def data() -> ArrayDataset:
    """Each image carries its own index."""
    images = np.arange(COUNT, dtype=np.uint8)[:, None, None] * np.ones((1, 4, 5), np.uint8)
    return ArrayDataset(images, np.arange(COUNT) % 10)


@pytest.fixture(autouse=True)
def nothing_is_left():
    before = len(os.listdir("/proc/self/fd"))
    yield
    gc.collect()
    assert [t for t in threading.enumerate() if t.name == "fastconv-prefetch"] == []
    assert multiprocessing.active_children() == []
    # The tracker that `multiprocessing` starts once keeps a descriptor.
    assert len(os.listdir("/proc/self/fd")) <= before + 1


def bits(batches) -> list[tuple[bytes, bytes, tuple[int, ...], str]]:
    return [(x.tobytes(), y.tobytes(), x.shape, y.dtype.str) for x, y in batches]


def mixed(images, labels, rng):
    """Each image with a share of another one's."""
    share = np.float32(rng.random())
    other = rng.integers(0, len(images), len(images))
    soft = share * np.eye(10, dtype=np.float32)[labels]
    soft += (1 - share) * np.eye(10, dtype=np.float32)[labels[other]]
    return share * images + (1 - share) * images[other], soft


def test_a_batch_by_hand(data) -> None:
    """What is drawn follows from seed, epoch and the batch's number, and from nothing else."""
    loader = Loader(data, 10, True, seed=4, augment=helpers.Noisy(), mix=mixed)
    for epoch in range(2):
        order = epoch_order(COUNT, 4, epoch)
        for number, (x, y) in enumerate(loader):
            chosen = order[10 * number : 10 * number + 10]
            rng = np.random.Generator(np.random.PCG64(np.random.SeedSequence([4, epoch, number])))
            again = batch_rng(4, epoch, number)
            assert again.bit_generator.state == rng.bit_generator.state
            picked = helpers.Noisy()(data.images[chosen][:, None], rng)
            expected = mixed(data.standardize()(picked), data.labels[chosen], rng)
            np.testing.assert_array_equal(x, expected[0])
            np.testing.assert_array_equal(y, expected[1])
            assert y.dtype == np.float32 and y.shape == (len(x), 10)
    assert loader.epoch == 2


@pytest.mark.parametrize("prefetch", [0, 3])
def test_bits_are_the_same_for_any_workers(data, prefetch: int) -> None:
    results = []
    for workers, worker in TEAMS:
        loader = Loader(
            data,
            8,
            True,
            seed=9,
            prefetch=prefetch,
            augment=helpers.Noisy(),
            mix=mixed,
            workers=workers,
            worker=worker,
        )
        results.append([bits(loader), bits(loader)])
        loader.set_epoch(0, start=5)
        assert bits(loader) == results[0][0][5:]
    assert all(result == results[0] for result in results)
    assert results[0][0] != results[0][1]


@pytest.mark.parametrize(("workers", "worker"), TEAMS)
def test_images_may_change_their_size(data, workers: int, worker: str) -> None:
    """The block that comes back grows with them, and shrinks never."""
    loader = Loader(data, 8, augment=helpers.larger, workers=workers, worker=worker)
    shapes = [x.shape for x, _ in loader]
    sides = [int(batch_rng(0, 0, number).integers(1, 40)) for number in range(len(loader))]
    assert [s[2:] for s in shapes] == [(4 + 2 * side, 5 + 2 * side) for side in sides]
    assert len(set(shapes)) > 5


@pytest.mark.parametrize(("workers", "worker"), TEAMS)
def test_batches_belong_to_the_caller(workers: int, worker: str) -> None:
    """Where the transform gives back its argument, too."""
    rng = np.random.default_rng(0)
    data = ArrayDataset(rng.random((50, 2, 3, 3), np.float32), np.arange(50))
    before = data.images.copy()
    kept = []
    for x, y in Loader(data, 8, transform=lambda x: x, workers=workers, worker=worker):
        assert x.flags.writeable and y.flags.writeable and x.flags.c_contiguous
        kept.append((x, x.copy()))
        y.fill(3)
    for x, copy in kept:
        np.testing.assert_array_equal(x, copy)
        x.fill(7)
    np.testing.assert_array_equal(data.images, before)
    np.testing.assert_array_equal(data.labels, np.arange(50))


class Backwards:
    """A sampler: every other image, from the end."""

    def __init__(self, indices, count=None) -> None:
        self.indices, self.count = np.array(indices), count

    def __len__(self) -> int:
        return len(self.indices) if self.count is None else self.count

    def order(self, seed: int, epoch: int):
        return self.indices + epoch


@pytest.mark.parametrize(("workers", "worker"), TEAMS)
def test_a_sampler_decides(data, workers: int, worker: str) -> None:
    sampler = Backwards(range(100, -1, -2))
    loader = Loader(data, 8, sampler=sampler, workers=workers, worker=worker)
    assert len(loader) == 7 and loader.images_per_epoch == 51
    for epoch in range(2):
        seen = np.concatenate([np.rint(x[:, 0, 0, 0] * 255) for x, _ in loader])
        np.testing.assert_array_equal(seen, np.arange(100, -1, -2) + epoch)
    assert Loader(data, 8, sampler=sampler, drop_last=True).images_per_epoch == 48


@pytest.mark.parametrize(
    ("sampler", "error", "message"),
    [
        (Backwards([3, 103]), ShapeError, "sampler: indices span 3 to 103, expected 0 to 102"),
        (Backwards([-1]), ShapeError, "sampler: indices span -1"),
        (Backwards([1.5]), DTypeError, "sampler: indices are float64"),
        (Backwards([[1]]), ShapeError, r"shape \(1, 1\)"),
        (Backwards([1, 2], 3), ShapeError, "sampler gave 2 indices, expected 3"),
    ],
)
def test_bad_samplers(data, sampler, error, message) -> None:
    with pytest.raises(error, match=message):
        list(Loader(data, 10, sampler=sampler))


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"augment": 3}, DTypeError, "augment is a int, not callable"),
        ({"mix": "a"}, DTypeError, "mix is a str, not callable"),
        ({"sampler": [1]}, DTypeError, "sampler is a list, expected one with order"),
        ({"sampler": Backwards([1]), "shuffle": True}, ShapeError, "expected shuffle=False"),
        ({"workers": -1}, ShapeError, "workers must be at least 0, got -1"),
        ({"workers": 1.0}, DTypeError, "workers must be an integer, got float"),
        ({"worker": "gpu"}, ShapeError, "worker is 'gpu', expected 'thread' or 'process'"),
        ({"worker": "process", "workers": 1, "augment": lambda x, r: x}, DTypeError, "pickled"),
    ],
)
def test_bad_arguments(data, options, error, message) -> None:
    with pytest.raises(error, match=message):
        list(Loader(data, 10, **options))


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"augment": lambda x, r: 3}, DTypeError, "augment returned int, expected uint8"),
        ({"augment": lambda x, r: x / 2}, DTypeError, r"augment returned float64\[10, 1"),
        ({"augment": lambda x, r: np.float32(x)}, DTypeError, "float32, expected uint8"),
        ({"augment": lambda x, r: x[1:]}, ShapeError, r"\(9, 1, 4, 5\), expected .* n=10"),
        ({"augment": lambda x, r: x[0]}, ShapeError, r"augment returned shape \(1, 4, 5\)"),
        ({"mix": lambda x, y, r: x}, DTypeError, "mix returned a ndarray, expected a pair"),
        ({"mix": lambda x, y, r: (x / np.float64(2), y)}, DTypeError, "images float64"),
        ({"mix": lambda x, y, r: (x[0], y)}, ShapeError, r"images of shape \(1, 4, 5\)"),
        ({"mix": lambda x, y, r: (x, y / 2)}, DTypeError, r"labels float64\[10\], expected int64"),
        ({"mix": lambda x, y, r: (x, y[1:])}, ShapeError, "9 labels for 10 images"),
    ],
)
def test_what_functions_return_is_checked(data, options, error, message) -> None:
    with pytest.raises(error, match=message):
        list(Loader(data, 10, **options))


class OfMyOwn:
    """A data set that is none of the library's."""

    labels, classes, image_shape = np.arange(30), ("one",), (3, 2, 2)

    def __init__(self, made=None) -> None:
        self.made = made

    def __len__(self) -> int:
        return 30

    def fetch(self, indices):
        if self.made is not None:
            return self.made
        return np.broadcast_to(indices[:, None, None, None], (len(indices), 3, 2, 2)).astype("f4")

    def standardize(self):
        return Standardize()


@pytest.mark.parametrize(("workers", "worker"), TEAMS)
def test_any_data_set(workers: int, worker: str) -> None:
    assert isinstance(OfMyOwn(), Dataset) and not isinstance(np.zeros(3), Dataset)
    batches = list(Loader(OfMyOwn(), 8, workers=workers, worker=worker))
    seen = np.concatenate([x[:, 2, 1, 0] for x, _ in batches])
    np.testing.assert_array_equal(seen, np.arange(30))
    for made, error, message in (
        (None, None, ""),
        ([1], DTypeError, "dataset.fetch returned list, expected uint8 or float32"),
        (np.zeros((8, 3, 2, 2)), DTypeError, "dataset.fetch returned float64"),
        (np.zeros((7, 3, 2, 2), "u1"), ShapeError, "with n=8"),
    ):
        if error is not None:
            with pytest.raises(error, match=message):
                list(Loader(OfMyOwn(made), 8, workers=workers, worker=worker))


@pytest.mark.parametrize(("workers", "worker"), TEAMS)
def test_an_error_comes_after_the_good_batches(data, workers: int, worker: str) -> None:
    loader = Loader(data, 10, augment=helpers.fails, workers=workers, worker=worker)
    batches = iter(loader)
    for number in range(3):
        assert next(batches)[1][0] == number * 10 % 10
    with pytest.raises(ZeroDivisionError, match="thirty") as caught:
        next(batches)
    if worker == "process":
        assert "helpers.py" in str(caught.value.__cause__)
    with pytest.raises(StopIteration):
        next(batches)


def test_a_dead_process_is_one_clear_error(data) -> None:
    loader = Loader(data, 10, augment=helpers.dies, workers=2, worker="process")
    batches = iter(loader)
    for _ in range(3):
        next(batches)
    with pytest.raises(FastconvError, match=r"worker process \(pid \d+\) was killed by SIGKILL"):
        next(batches)
    loader.augment = helpers.Noisy()  # and the next epoch starts anew
    assert len(list(loader)) == 11
    loader.close()


def test_what_does_not_load_over_there(data) -> None:
    loader = Loader(data, 10, augment=helpers.LoadsNowhere(), workers=1, worker="process")
    with pytest.raises(ArithmeticError, match="no such thing here"):
        list(loader)


def test_processes_stay_for_the_next_epoch(data) -> None:
    loader = Loader(data, 10, workers=2, worker="process")

    def pids() -> set[int]:
        return {child.pid for child in multiprocessing.active_children()}

    list(loader)
    first = pids()
    assert len(first) == 2
    two = iter(loader)
    again = iter(loader)  # while those are busy
    assert len(pids()) == 4
    assert bits(two) == bits(Loader(data, 10))
    again.close()
    assert len(pids()) == 2
    loader.augment = helpers.Noisy()
    list(loader)
    assert len(pids()) == 2 and not pids() & first
    os.kill(min(pids()), signal.SIGKILL)
    time.sleep(0.2)
    assert len(list(loader)) == 11  # a death in between is made good
    for _ in loader:
        break
    copy = pickle.loads(pickle.dumps(loader))
    assert bits(copy) == bits(loader)
    copy.close()
    loader.close()
    loader.close()
    assert pids() == set()


@pytest.mark.parametrize("part", ["whole", "slice", "copy-on-write"])
def test_a_mapped_file_is_not_sent(tmp_path: Path, part: str) -> None:
    images = np.random.default_rng(1).integers(0, 256, (500, 3, 20, 20), dtype=np.uint8)
    np.save(tmp_path / "images.npy", images)
    mode = "c" if part == "copy-on-write" else "r"
    mapped = np.load(tmp_path / "images.npy", mmap_mode=mode)
    if part == "slice":
        mapped, images = mapped[100:], images[100:]
    if part == "copy-on-write":
        mapped[7] = images[7] = 3
    data = ArrayDataset(mapped, np.zeros(len(images), int))
    assert isinstance(data.images, np.memmap)
    assert (len(pickle.dumps(data)) < 10_000) == (part == "whole")
    copy = pickle.loads(pickle.dumps(data))
    indices = np.array([3, 399, 7])
    for made in (data, copy):
        got = made.fetch(indices)
        assert type(got) is np.ndarray and got.flags.writeable
        np.testing.assert_array_equal(got, images[indices])


def test_batches_are_not_pickled(monkeypatch) -> None:
    """What comes through the pipe is a few words a batch, however large the images are."""
    from multiprocessing.connection import Connection

    received = []
    receive = Connection._recv_bytes

    def counted(self, *arguments):
        buffer = receive(self, *arguments)
        received.append(len(buffer.getvalue()))
        return buffer

    monkeypatch.setattr(Connection, "_recv_bytes", counted)
    images = np.random.default_rng(2).integers(0, 256, (30, 3, 100, 100), dtype=np.uint8)
    loader = Loader((images, np.arange(30)), 10, workers=1, worker="process")
    for (x, _), start in zip(loader, (0, 10, 20), strict=True):
        np.testing.assert_array_equal(np.rint(x * 255), images[start : start + 10])
    loader.close()
    assert len(received) == 3 and max(received) < 500


@pytest.mark.parametrize("worker", ["thread", "process"])
@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_a_forked_child_has_workers_of_its_own(data, worker: str) -> None:
    """Also where the parent's wait for the next epoch."""
    loader = Loader(data, 10, workers=2, worker=worker)
    first = bits(loader)
    pid = os.fork()
    if pid == 0:  # a failure must not run the parent's tests
        status = 1
        try:
            assert bits(loader) == first
            assert bits(loader) == first
            loader.close()
            status = 0
        finally:
            os._exit(status)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    assert bits(loader) == first
    loader.close()


@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
def test_any_way_of_starting_processes(tmp_path: Path, method: str) -> None:
    done = run(tmp_path, METHOD, method)
    assert (done.returncode, done.stdout, done.stderr) == (0, "done\n", "")


METHOD = """
import multiprocessing, sys
import numpy as np
from fastconv.data import Loader

def check(queue):
    loader = Loader((np.arange(40)[:, None, None].astype("u1"), np.arange(40)), 9, workers=2, worker="process")
    seen = np.concatenate([np.rint(x.ravel() * 255) for x, _ in loader])
    assert (seen == np.arange(40)).all()
    loader.close()
    queue.put("done")

if __name__ == "__main__":
    multiprocessing.set_start_method(sys.argv[1])
    queue = multiprocessing.Queue()
    check(queue)
    print(queue.get())
    child = multiprocessing.Process(target=check, args=(queue,))
    child.start()
    child.join()
    assert child.exitcode == 0 and queue.get() == "done"
"""

INTERRUPT = """
import os, signal, sys, threading, time
import numpy as np
from fastconv.data import Loader
from tests.data.helpers import slow

if __name__ == "__main__":
    threading.Timer(3.0, os.killpg, (os.getpid(), signal.SIGINT)).start()
    data = np.zeros((4, 2, 2), np.uint8), np.arange(4)
    try:
        next(iter(Loader(data, 1, augment=slow, workers=2, worker=sys.argv[1])))
    except KeyboardInterrupt:
        print("interrupted", time.monotonic())
"""

KILLED = """
import multiprocessing, os, signal
import numpy as np
from fastconv.data import Loader

if __name__ == "__main__":
    batches = iter(Loader((np.zeros((400, 2, 2), np.uint8), np.arange(400)), 1, workers=2,
                          worker="process"))
    next(batches)
    print(*(child.pid for child in multiprocessing.active_children()), flush=True)
    os.kill(os.getpid(), signal.SIGKILL)
"""

KILLED_WITH_A_FORK = """
import multiprocessing, os, signal, time
import numpy as np
from fastconv.data import Loader

if __name__ == "__main__":
    batches = iter(Loader((np.zeros((400, 2, 2), np.uint8), np.arange(400)), 1, workers=2,
                          worker="process"))
    next(batches)
    pids = [child.pid for child in multiprocessing.active_children()]
    if os.fork() == 0:  # which keeps copies of the pipes
        end = time.monotonic() + 20
        while any(os.path.exists(f"/proc/{pid}") for pid in pids) and time.monotonic() < end:
            time.sleep(0.1)
        print(*pids, *(pid for pid in pids if os.path.exists(f"/proc/{pid}")), flush=True)
        os._exit(0)
    os.kill(os.getpid(), signal.SIGKILL)
"""

UNGUARDED = """
import numpy as np
from fastconv.data import Loader
list(Loader((np.zeros((4, 2, 2), np.uint8), np.arange(4)), 1, workers=1, worker="process"))
"""

AT_EXIT = """
import numpy as np
from fastconv.data import Loader
if __name__ == "__main__":
    data = np.zeros((400, 2, 2), np.uint8), np.arange(400)
    whole = Loader(data, 9, workers=2, worker="process")
    list(whole)
    kept = iter(Loader(data, 1, workers=2, worker="process"))
    next(kept)
    print("done")
"""


def run(tmp_path: Path, program: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    path = tmp_path / "program.py"
    path.write_text(program)
    return subprocess.run(
        [sys.executable, str(path), *arguments],
        capture_output=True,
        text=True,
        timeout=100,
        start_new_session=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(p for p in sys.path if p)},
        check=False,
    )


@pytest.mark.parametrize("worker", ["thread", "process"])
def test_interrupt(tmp_path: Path, worker: str) -> None:
    done = run(tmp_path, INTERRUPT, worker)
    assert done.stdout.startswith("interrupted") and done.returncode == 0, done.stderr
    assert done.stderr == ""


@pytest.mark.parametrize("program", [KILLED, KILLED_WITH_A_FORK])
def test_a_killed_parent_leaves_nothing(tmp_path: Path, program: str) -> None:
    before = set(os.listdir("/dev/shm"))
    done = run(tmp_path, program)
    assert done.returncode == -signal.SIGKILL
    deadline = time.monotonic() + 20
    pids = [int(pid) for pid in done.stdout.split()]
    assert len(pids) == 2
    while any(_lives(pid) for pid in pids) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not any(_lives(pid) for pid in pids)
    left = set(os.listdir("/dev/shm")) - before  # blocks of memory have no names
    assert {name for name in left if "psm" in name or "fastconv" in name} == set()


def _lives(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def test_a_script_without_its_guard(tmp_path: Path) -> None:
    done = run(tmp_path, UNGUARDED)
    assert done.returncode == 1 and 'if __name__ == "__main__":' in done.stderr.splitlines()[-1]


def test_end_of_the_process(tmp_path: Path) -> None:
    done = run(tmp_path, AT_EXIT)
    assert (done.returncode, done.stdout, done.stderr) == (0, "done\n", "")
