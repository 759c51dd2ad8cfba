"""Interrupted and continued runs end with the bits of uninterrupted ones."""

from __future__ import annotations

import os
import signal
import threading
from pathlib import Path
from typing import Any

import pytest

import fastconv as fc
from fastconv.errors import FastconvError
from fastconv.train import Callback, Trainer, load_checkpoint
from tests.train.helpers import (
    StopAt,
    arrays_of,
    assert_same_checkpoint,
    small_data,
    small_loader,
    small_trainer,
    without_times,
)

EPOCHS, STEPS = 3, 18


def run(out: Path, *, resume: Path | None = None, seed: int = 3, **options: Any) -> Trainer:
    """A run in the state of a new process: the random state is another one each time."""
    trainer = small_trainer(out, **options)
    if resume is not None:
        fc.manual_seed(len(str(resume)))
        trainer.load(resume)
    trainer.fit(small_loader(seed=seed), small_data(7), epochs=EPOCHS, progress=False)
    return trainer


@pytest.mark.parametrize(
    ("step", "optimizer"),
    [
        *((step, "SGD") for step in (1, 5, 6, 7, 12, 15, 18)),
        *((step, name) for step in (6, 7) for name in ("Adam", "AdamW", "RMSprop")),
    ],
)
def test_resume_after_any_step(tmp_path: Path, step: int, optimizer: str) -> None:
    whole = run(tmp_path / "whole", optimizer=optimizer)
    stopped = run(tmp_path / "parts", optimizer=optimizer, callbacks=[StopAt(step)])
    assert stopped.global_step == step
    last = tmp_path / "parts" / "last.safetensors"
    resumed = run(tmp_path / "parts", optimizer=optimizer, resume=last)
    assert resumed.global_step == STEPS
    assert arrays_of(resumed) == arrays_of(whole)
    assert without_times(resumed.history) == without_times(whole.history)
    for name in ("last.safetensors", "best.safetensors"):
        assert_same_checkpoint(tmp_path / "whole" / name, tmp_path / "parts" / name)


def test_resume_at_every_epoch_and_many_times(tmp_path: Path) -> None:
    run(tmp_path / "whole")
    out = tmp_path / "parts"
    last = out / "last.safetensors"
    run(out, callbacks=[StopAt(1)])
    for step in range(2, STEPS):
        run(out, resume=last, callbacks=[StopAt(step)])
        assert load_checkpoint(last).global_step == step
    run(out, resume=last)
    assert_same_checkpoint(tmp_path / "whole" / "last.safetensors", last)


def test_best_continues_too(tmp_path: Path) -> None:
    whole = run(tmp_path / "whole")
    best = load_checkpoint(tmp_path / "whole" / "best.safetensors")
    again = run(tmp_path / "again", resume=tmp_path / "whole" / "best.safetensors")
    assert again.global_step == STEPS > best.global_step
    assert arrays_of(again) == arrays_of(whole)


def test_data_that_is_not_a_loader(tmp_path: Path) -> None:
    batches = list(small_loader())
    whole = small_trainer()
    whole.fit(batches, epochs=2, progress=False)
    part = small_trainer(callbacks=[StopAt(8)])
    part.fit(batches, epochs=2, progress=False)
    part.save(tmp_path / "c")
    rest = small_trainer()
    fc.manual_seed(1)
    rest.load(tmp_path / "c")
    rest.fit(batches, epochs=2, progress=False)
    assert arrays_of(rest) == arrays_of(whole)


def test_the_seed_of_the_order_is_the_checkpoints(tmp_path: Path) -> None:
    whole = run(tmp_path / "whole", seed=12)
    run(tmp_path / "parts", seed=12, callbacks=[StopAt(8)])
    resumed = run(tmp_path / "parts", seed=99, resume=tmp_path / "parts" / "last.safetensors")
    assert arrays_of(resumed) == arrays_of(whole)


@pytest.mark.parametrize("change", [{"shuffle": False}, {"drop_last": True}])
def test_other_batches_are_refused_within_an_epoch(tmp_path: Path, change: dict[str, Any]) -> None:
    run(tmp_path, callbacks=[StopAt(8)])
    trainer = small_trainer()
    trainer.load(tmp_path / "last.safetensors")
    loader = small_loader()
    for name, value in change.items():
        setattr(loader, name, value)
    with pytest.raises(FastconvError, match="within an epoch of"):
        trainer.fit(loader, epochs=3, progress=False)


def test_interrupt_from_elsewhere_between_steps(tmp_path: Path) -> None:
    """A KeyboardInterrupt that is raised rather than deferred, as by another signal handler."""
    run(tmp_path / "whole")
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "parts", callbacks=[StopAt(9, "raise")])
    last = tmp_path / "parts" / "last.safetensors"
    assert load_checkpoint(last).global_step == 9
    run(tmp_path / "parts", resume=last)
    assert_same_checkpoint(tmp_path / "whole" / "last.safetensors", last)


def test_interrupt_within_a_step_writes_nothing(tmp_path: Path) -> None:
    """The optimiser may have updated half of the weights: the last checkpoint stays."""
    run(tmp_path / "whole", compile=False)
    trainer = small_trainer(tmp_path / "parts", compile=False)
    step = trainer.optimizer.step

    def interrupted() -> None:
        if trainer.global_step == 9:
            raise KeyboardInterrupt
        step()

    trainer.optimizer.step = interrupted
    with pytest.raises(KeyboardInterrupt):
        trainer.fit(small_loader(), small_data(7), epochs=EPOCHS, progress=False)
    last = tmp_path / "parts" / "last.safetensors"
    assert load_checkpoint(last).global_step == 6
    run(tmp_path / "parts", resume=last, compile=False)
    assert_same_checkpoint(tmp_path / "whole" / "last.safetensors", last)


class Signal(Callback):
    """Sends SIGINT: at a step, or during the validation of the first epoch."""

    def __init__(self, step: int, times: int = 1) -> None:
        self.step, self.times = step, times

    def on_step_end(self, trainer: Trainer, loss: float) -> None:
        if trainer.global_step == self.step:
            for _ in range(self.times):
                os.kill(os.getpid(), signal.SIGINT)


def test_ctrl_c_waits_for_the_step(tmp_path: Path) -> None:
    run(tmp_path / "whole")
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "parts", callbacks=[Signal(8)])
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    last = tmp_path / "parts" / "last.safetensors"
    assert (load_checkpoint(last).epoch, load_checkpoint(last).batch) == (1, 2)
    run(tmp_path / "parts", resume=last)
    assert_same_checkpoint(tmp_path / "whole" / "last.safetensors", last)


def test_ctrl_c_during_the_forward_pass(tmp_path: Path) -> None:
    run(tmp_path / "whole", compile=False)
    trainer = small_trainer(tmp_path / "parts", compile=False)
    loss = trainer.loss

    def interrupted(output: Any, labels: Any) -> Any:
        if trainer.global_step == 8:
            os.kill(os.getpid(), signal.SIGINT)
        return loss(output, labels)

    trainer.loss = interrupted
    with pytest.raises(KeyboardInterrupt):
        trainer.fit(small_loader(), small_data(7), epochs=EPOCHS, progress=False)
    last = tmp_path / "parts" / "last.safetensors"
    assert load_checkpoint(last).global_step == 9
    run(tmp_path / "parts", resume=last, compile=False)
    assert_same_checkpoint(tmp_path / "whole" / "last.safetensors", last)


def test_ctrl_c_during_validation(tmp_path: Path) -> None:
    run(tmp_path / "whole")
    trainer = small_trainer(tmp_path / "parts")

    def metric(outputs: Any, labels: Any) -> float:
        os.kill(os.getpid(), signal.SIGINT)
        return 0.0

    trainer.metrics["signal"], trainer.train_metrics = metric, False
    with pytest.raises(KeyboardInterrupt):
        trainer.fit(small_loader(), small_data(7), epochs=EPOCHS, progress=False)
    last = tmp_path / "parts" / "last.safetensors"
    found = load_checkpoint(last)
    assert (found.epoch, found.batch, found.history) == (0, 6, [])
    run(tmp_path / "parts", resume=last)
    assert_same_checkpoint(tmp_path / "whole" / "last.safetensors", last)


def test_second_ctrl_c_does_not_wait(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path, callbacks=[Signal(8, times=2)])
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_foreign_handlers_are_left_alone(tmp_path: Path) -> None:
    calls: list[int] = []
    before = signal.signal(signal.SIGINT, lambda number, frame: calls.append(number))
    try:
        trainer = run(tmp_path, callbacks=[Signal(8)])
    finally:
        signal.signal(signal.SIGINT, before)
    assert calls == [signal.SIGINT]
    assert trainer.global_step == STEPS
    assert threading.current_thread() is threading.main_thread()
