"""Runs of several processes: the same bits from one seed, after kill -9, and on a disk that is full."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import fastconv as fc
from fastconv.data import Loader
from fastconv.errors import FastconvError
from fastconv.train import EMA, Callback, Trainer, load_checkpoint
from tests.train.helpers import (
    BATCH,
    arrays_of,
    assert_same_checkpoint,
    small_data,
    small_loader,
    small_trainer,
    without_times,
)


def flip(images: Any, rng: Any) -> Any:
    """Augmentation: about half of the images mirrored."""
    chosen = rng.random(len(images)) < 0.5
    images[chosen] = images[chosen][..., ::-1]
    return images


def blend(images: Any, labels: Any, rng: Any) -> Any:
    """Mixing, with probabilities for labels."""
    share = np.float32(rng.random())
    order = rng.permutation(len(images))
    soft = np.eye(4, dtype=np.float32)[labels]
    return (
        share * images + (1 - share) * images[order],
        share * soft + (1 - share) * soft[order],
    )


def augmented(**options: Any) -> Loader:
    return Loader(small_data(), BATCH, shuffle=True, seed=3, augment=flip, mix=blend, **options)


class Kill(Callback):
    """kill -9 of this process after a step."""

    def __init__(self, step: int) -> None:
        self.step = step

    def on_step_end(self, trainer: Trainer, loss: float) -> None:
        if trainer.global_step == self.step:
            os.kill(os.getpid(), signal.SIGKILL)


def in_process(code: str, **values: Any) -> subprocess.CompletedProcess[str]:
    """Run code after the imports of this file, in a process of its own."""
    root = str(Path(__file__).parents[2])
    start = f"import sys; sys.path[:0] = [{root!r}]\nfrom tests.train.test_exact import *\n"
    named = "".join(f"{name} = {value!r}\n" for name, value in values.items())
    text = start + named + textwrap.dedent(code)
    return subprocess.run([sys.executable, "-c", text], capture_output=True, text=True, check=False)


FIT = """
    import hashlib
    from pathlib import Path
    fc.set_num_threads(threads)
    trainer = small_trainer(out and Path(out), save_every=2, callbacks=[EMA(0.9)])
    if resume:
        fc.manual_seed(1000)
        trainer.load(Path(out) / "last.safetensors")
        print("from", trainer.global_step)
    if kill:
        trainer.callbacks.append(Kill(kill))
    if kill_in_write:
        real, calls = os.fsync, []
        def fsync(file):
            calls.append(file)
            if len(calls) == kill_in_write:
                os.kill(os.getpid(), signal.SIGKILL)
            real(file)
        os.fsync = fsync
    trainer.fit(augmented(workers=workers), small_data(7), epochs=3, progress=False)
    content = b"".join(v for _, v in sorted(arrays_of(trainer).items()))
    print(hashlib.sha256(content).hexdigest(), [r["val_loss"] for r in trainer.history])
"""
DEFAULTS: dict[str, Any] = {
    **{"threads": 1, "out": None, "resume": False, "kill": 0, "kill_in_write": 0, "workers": 0}
}


def test_a_seed_gives_the_same_bits_in_every_process() -> None:
    outputs = set()
    for threads, workers in ((1, 0), (1, 2), (2, 0), (2, 2)):
        done = in_process(FIT, **{**DEFAULTS, "threads": threads, "workers": workers})
        assert done.returncode == 0, done.stderr
        outputs.add(done.stdout)
    assert len(outputs) == 1 and len(outputs.pop()) > 64


@pytest.mark.parametrize(
    ("how", "begin"),
    [
        ({"kill": 9}, 8),  # within the second epoch
        ({"kill": 3}, 2),
        ({"kill": 13}, 12),
        # Each file is synchronised twice, itself and its folder: inside the fifth.
        ({"kill_in_write": 9}, None),
        ({"kill_in_write": 10}, None),
    ],
)
def test_kill_9_and_resume(tmp_path: Path, how: dict[str, int], begin: int | None) -> None:
    whole = in_process(FIT, **{**DEFAULTS, "out": str(tmp_path / "whole")})
    assert whole.returncode == 0, whole.stderr
    out = tmp_path / "parts"
    killed = in_process(FIT, **{**DEFAULTS, **how, "out": str(out)})
    assert killed.returncode == -signal.SIGKILL and killed.stdout == ""
    rest = in_process(FIT, **{**DEFAULTS, "out": str(out), "resume": True})
    assert rest.returncode == 0, rest.stderr
    first, result = rest.stdout.splitlines()
    if begin is not None:
        assert first == f"from {begin}"
    assert result == whole.stdout.strip()
    for name in ("last", "best"):
        assert_same_checkpoint(*(p / f"{name}.safetensors" for p in (tmp_path / "whole", out)))
    assert not list(out.glob(".*"))  # what the killed process left half-written


@pytest.mark.parametrize("fails", ["best", "last", "history", "all"])
def test_full_disk_then_room(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fails: str) -> None:
    """One clear error; what was there is as it was; the same trainer goes on and ends with the same files."""
    whole = small_trainer(tmp_path / "whole", callbacks=[EMA(0.9)])
    whole.fit(augmented(), small_data(7), epochs=3, progress=False)
    out = tmp_path / "out"
    trainer = small_trainer(out, callbacks=[EMA(0.9)])
    trainer.fit(augmented(), small_data(7), epochs=1, progress=False)
    files = {p.name: p.read_bytes() for p in out.iterdir()}
    real = os.replace

    def full(source: Any, target: Any) -> None:
        if fails == "all" or Path(target).name.startswith(fails):
            raise OSError(errno.ENOSPC, "No space left on device")
        real(source, target)

    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(OSError, match=r"(?s)could not be written and .* No space left") as caught:
        trainer.fit(augmented(), small_data(7), epochs=3, progress=False)
    assert caught.value.errno == errno.ENOSPC
    for name, content in files.items():
        if fails == "all" or name.startswith(fails):
            assert (out / name).read_bytes() == content
    assert not list(out.glob(".*"))
    assert load_checkpoint(out / "last.safetensors").epoch in (1, 2)
    with pytest.raises(OSError, match="No space left"):  # still full: no step is made
        trainer.fit(augmented(), small_data(7), epochs=3, progress=False)
    assert trainer.global_step == 12
    monkeypatch.setattr(os, "replace", real)
    trainer.fit(augmented(), small_data(7), epochs=3, progress=False)
    assert arrays_of(trainer) == arrays_of(whole)
    for name in ("last", "best"):
        assert_same_checkpoint(
            tmp_path / "whole" / f"{name}.safetensors", out / f"{name}.safetensors"
        )


def test_a_file_that_the_system_will_not_let_grow(tmp_path: Path) -> None:
    """The kernel refuses the bytes: the old checkpoint is whole and continues the run."""
    code = """
        import resource
        from pathlib import Path
        trainer = small_trainer(Path(out))
        trainer.fit(augmented(), small_data(7), epochs=1, progress=False)
        before = Path(out, "last.safetensors").read_bytes()
        resource.setrlimit(resource.RLIMIT_FSIZE, (2000, resource.RLIM_INFINITY))
        try:
            trainer.fit(augmented(), small_data(7), epochs=3, progress=False)
        except OSError as error:
            print(error)
        assert Path(out, "last.safetensors").read_bytes() == before
        resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY,) * 2)
        again = small_trainer(Path(out))
        again.load(Path(out, "last.safetensors"))
        again.fit(augmented(), small_data(7), epochs=3, progress=False)
        fresh = small_trainer()
        fresh.fit(augmented(), small_data(7), epochs=3, progress=False)
        assert arrays_of(again) == arrays_of(fresh)
    """
    done = in_process(code, out=str(tmp_path))
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("\n") == 1 and "last.safetensors" in done.stdout
    assert "File too large" in done.stdout


def test_nan_loss_leaves_a_trainer_that_goes_on(tmp_path: Path) -> None:
    """The bad batch changes nothing: without it the run ends as one that never met it."""
    batches = list(small_loader(prefetch=0))
    bad = (np.full_like(batches[0][0], np.nan), batches[0][1])
    whole = small_trainer(compile=True)
    whole.fit(batches, epochs=1, progress=False)
    trainer = small_trainer(tmp_path, save_every=1)
    with pytest.raises(FastconvError, match=r"the loss is nan at step 3 \(epoch 1, batch 4\)"):
        trainer.fit([*batches[:3], bad, *batches[3:]], epochs=1, progress=False)
    last = load_checkpoint(tmp_path / "last.safetensors")
    assert last.global_step == 3
    rest = small_trainer()
    rest.load(tmp_path / "last.safetensors")
    rest.fit(batches, epochs=1, progress=False)
    assert arrays_of(rest) == arrays_of(whole)
    assert without_times(rest.history) == without_times(whole.history)


def test_save_every_writes_within_epochs(tmp_path: Path) -> None:
    steps: list[int] = []

    class Watch(Callback):
        def on_step_end(self, trainer: Trainer, loss: float) -> None:
            path = tmp_path / "last.safetensors"
            steps.append(load_checkpoint(path).global_step if path.exists() else 0)

    trainer = small_trainer(tmp_path, save_every=4, callbacks=[Watch()])
    trainer.fit(small_loader(), epochs=2, progress=False)
    # After 4 and 8 steps, and after the epoch of 6.
    assert steps == [0, 0, 0, 0, 4, 4, 6, 6, 8, 8, 8, 8]


def test_threads_of_the_kernels_do_not_change_the_bits() -> None:
    before = fc.get_num_threads()
    found = []
    try:
        for threads in (1, 2, 4):
            fc.set_num_threads(threads)
            trainer = small_trainer()
            trainer.fit(augmented(), epochs=2, progress=False)
            found.append(arrays_of(trainer))
    finally:
        fc.set_num_threads(before)
    assert found[0] == found[1] == found[2]
