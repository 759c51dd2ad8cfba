"""Callbacks: what each does, and that a resumed run goes on with them as an uninterrupted one."""

from __future__ import annotations

import csv
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import fastconv as fc
from fastconv import functional as F
from fastconv.errors import DTypeError, FastconvError, FormatError, ShapeError
from fastconv.train import (
    EMA,
    BestCheckpoint,
    Callback,
    CSVLog,
    EarlyStopping,
    LearningRateSchedule,
    ReduceOnPlateau,
    TensorBoard,
    Trainer,
    WarmUp,
    load_checkpoint,
)
from tests.train.helpers import (
    StopAt,
    arrays_of,
    assert_same_checkpoint,
    small_data,
    small_loader,
    small_net,
    small_trainer,
    without_times,
)

EPOCHS = 3


def trainer_of(*callbacks: Callback, out: Path | None = None, **options: Any) -> Trainer:
    """Like `small_trainer`, without a schedule."""
    fc.manual_seed(5)
    net = small_net()
    optimizer = fc.optim.SGD(net.parameters(), lr=0.05, momentum=0.9)
    return Trainer(
        net, F.cross_entropy, optimizer, out_dir=out, callbacks=list(callbacks), **options
    )


def fit(trainer: Trainer, epochs: int = EPOCHS) -> Trainer:
    trainer.fit(small_loader(), small_data(7), epochs=epochs, progress=False)
    return trainer


def weights_of(net: Any) -> dict[str, bytes]:
    return {name: np.asarray(a).tobytes() for name, a in net.state_dict().items()}


class Script(Callback):
    """Puts given values into the records."""

    def __init__(self, values: list[float]) -> None:
        self.values = values

    def on_epoch_end(self, trainer: Trainer, record: dict[str, Any]) -> None:
        record["score"] = self.values[record["epoch"] - 1]


@pytest.mark.parametrize(
    ("values", "options", "stopped_after", "best"),
    [
        ([1, 2, 3, 2, 2, 2, 9], {"patience": 2}, 5, 3),
        ([1, 2, 3, 2, 2, 2, 9], {"patience": 3}, 6, 3),
        ([3, 2, 1, 1, 1], {"patience": 2, "mode": "min"}, 5, 1),
        ([1, 1.05, 1.09, 1.3, 1.3, 1.3], {"patience": 2, "min_delta": 0.1}, 3, 1),
        ([1, 2, 1, 2, 1, 2], {"patience": 9}, 6, 2),
    ],
)
def test_early_stopping(values: list[float], options: Any, stopped_after: int, best: float) -> None:
    stopping = EarlyStopping("score", **options)
    trainer = fit(trainer_of(Script(values), stopping), len(values))
    assert len(trainer.history) == stopped_after
    assert stopping.best == best
    assert stopping.stopped == (options["patience"] < 9)


def test_early_stopping_restores_the_best_weights(tmp_path: Path) -> None:
    kept: list[Any] = []

    class Keep(Callback):
        def on_epoch_end(self, trainer: Trainer, record: dict[str, Any]) -> None:
            kept.append(weights_of(trainer.net))

    stopping = EarlyStopping("score", 2, restore_best=True)
    trainer = fit(trainer_of(Script([1, 5, 3, 4, 0]), Keep(), stopping, out=tmp_path), 5)
    assert len(kept) == 4 and kept[1] != kept[3]
    assert weights_of(trainer.net) == kept[1]
    last = load_checkpoint(tmp_path / "last.safetensors")
    assert {k: a.tobytes() for k, a in last.model.items()} == kept[3]
    again = trainer_of(Script([1, 5, 3, 4, 0]), EarlyStopping("score", 2, restore_best=True))
    again.load(tmp_path / "last.safetensors")
    assert weights_of(again.net) == kept[3]
    fit(again, 5)  # is over at once, as it was
    assert len(again.history) == 4 and weights_of(again.net) == kept[1]
    longer = trainer_of(Script([1, 5, 3, 4, 0]), EarlyStopping("score", 3))
    longer.load(tmp_path / "last.safetensors")
    assert len(fit(longer, 5).history) == 5


def test_best_checkpoint_is_the_whole_state(tmp_path: Path) -> None:
    out = tmp_path / "run"
    plateau = ReduceOnPlateau("score", patience=1, factor=0.5)
    parts = [Script([1, 5, 3]), BestCheckpoint("score"), BestCheckpoint("val_loss", tmp_path / "l")]
    whole = fit(trainer_of(*parts, plateau, out=out))
    best = load_checkpoint(out / "best-score.safetensors")
    assert best.epoch == 2 and len(best.history) == 2
    losses = [r["val_loss"] for r in whole.history]
    assert load_checkpoint(tmp_path / "l").epoch == 1 + losses.index(min(losses))
    again = trainer_of(
        Script([1, 5, 3]),
        BestCheckpoint("score", tmp_path / "b"),
        BestCheckpoint("val_loss", tmp_path / "l2"),
        ReduceOnPlateau("score", patience=1, factor=0.5),
    )
    again.load(out / "best-score.safetensors")
    fit(again)
    assert arrays_of(again) == arrays_of(whole)
    assert again.optimizer.param_groups[0]["lr"] == 0.025
    with pytest.raises(ShapeError, match="BestCheckpoint: needs a path"):
        fit(trainer_of(BestCheckpoint()))


def test_best_checkpoint_that_was_not_written_is_due(tmp_path: Path) -> None:
    """The run ends between the trainer's checkpoint and the callback's."""
    fit(trainer_of(BestCheckpoint("val_loss", tmp_path / "whole")), 1)
    with pytest.raises(OSError):
        fit(trainer_of(BestCheckpoint("val_loss", tmp_path / "no" / "a"), out=tmp_path / "run"), 1)
    rest = trainer_of(BestCheckpoint("val_loss", tmp_path / "b"))
    rest.load(tmp_path / "run" / "last.safetensors")
    fit(rest, 1)
    assert_same_checkpoint(tmp_path / "whole", tmp_path / "b")


@pytest.mark.parametrize(
    ("values", "options", "rates"),
    [
        ([1, 1, 1, 1, 1], {"patience": 2}, [0.05, 0.05, 0.05, 0.025, 0.025]),
        ([1, 1, 1, 1, 1], {"patience": 1}, [0.05, 0.05, 0.025, 0.0125, 0.00625]),
        ([1, 1, 1, 1, 1], {"patience": 1, "cooldown": 1}, [0.05, 0.05, 0.025, 0.025, 0.0125]),
        ([1, 1, 1, 1, 1], {"patience": 1, "min_rate": 0.02}, [0.05, 0.05, 0.025, 0.02, 0.02]),
        ([1, 2, 1, 3, 1], {"patience": 2}, [0.05] * 5),
    ],
)
def test_reduce_on_plateau(values: list[float], options: Any, rates: list[float]) -> None:
    plateau = ReduceOnPlateau("score", factor=0.5, **options)
    trainer = fit(trainer_of(Script(values), plateau), 5)
    np.testing.assert_allclose([r["learning_rate"] for r in trainer.history], rates, rtol=1e-12)


class Rates(Callback):
    def __init__(self) -> None:
        self.seen: list[float] = []

    def on_epoch_start(self, trainer: Trainer) -> None:
        if not self.seen:
            self.seen.append(trainer.optimizer.param_groups[0]["lr"])

    def on_step_end(self, trainer: Trainer, loss: float) -> None:
        self.seen.append(trainer.optimizer.param_groups[0]["lr"])


def test_warm_up() -> None:
    rates = Rates()
    fit(trainer_of(WarmUp(4, 0.2), rates), 1)
    np.testing.assert_allclose(
        rates.seen, [0.05 * f for f in (0.2, 0.4, 0.6, 0.8, 1, 1, 1)], rtol=1e-12
    )
    assert rates.seen[-1] == 0.05
    with pytest.raises(ShapeError, match="WarmUp: the trainer has a schedule"):
        small_trainer(callbacks=[WarmUp(3)]).fit(small_loader(), progress=False)


@pytest.mark.parametrize("every", ["step", "epoch"])
def test_learning_rate_schedule(every: str) -> None:
    trainer, rates = trainer_of(), Rates()
    schedule = fc.optim.StepLR(trainer.optimizer, 2, 0.5)
    trainer.callbacks = [LearningRateSchedule(schedule, every), rates]
    fit(trainer)
    expected = [
        0.05 * 0.5 ** (step // 2 if every == "step" else max(step - 1, 0) // 6 // 2)
        for step in range(19)
    ]
    np.testing.assert_allclose(rates.seen, expected, rtol=1e-12)
    other = fc.optim.StepLR(trainer_of().optimizer, 2)
    with pytest.raises(ShapeError, match="another optimiser"):
        fit(trainer_of(LearningRateSchedule(other)))


def test_ema_against_a_loop() -> None:
    seen: list[dict[str, Any]] = []

    class Keep(Callback):
        def on_step_end(self, trainer: Trainer, loss: float) -> None:
            seen.append(
                {n: p.numpy().astype(np.float64) for n, p in trainer.net.named_parameters()}
            )

    for warm_up in (False, True):
        seen.clear()
        ema = EMA(0.9, warm_up=warm_up)
        plain = fit(trainer_of())
        trainer = trainer_of(ema, Keep())
        average = {n: p.numpy().astype(np.float64) for n, p in trainer.net.named_parameters()}
        fit(trainer)
        for step, parameters in enumerate(seen):
            decay = min(0.9, (1 + step) / (10 + step)) if warm_up else 0.9
            for name, value in parameters.items():
                average[name] = decay * average[name] + (1 - decay) * value
        # Training is that without averages; only the evaluation differs.
        assert arrays_of(trainer) == arrays_of(plain)
        result, copied = trainer.evaluate(small_data(7)), small_net()
        copied.load_state_dict(trainer.net.state_dict())
        ema.copy_to(copied)
        for name, parameter in copied.named_parameters():
            np.testing.assert_allclose(parameter.numpy(), average[name], rtol=1e-5, atol=1e-7)
        assert result == fc.train.evaluate(copied, F.cross_entropy, small_data(7))
        assert result["loss"] == trainer.history[-1]["val_loss"]
        assert result["loss"] != plain.evaluate(small_data(7))["loss"]
        x = small_data(7).standardize()(small_data(7).images)
        assert np.array_equal(trainer.predict(x), fc.train.predict(copied, x))


def test_ema_is_saved_and_both_weights_come_back(tmp_path: Path) -> None:
    ema = EMA(0.9)
    trainer = fit(trainer_of(ema, out=tmp_path))
    last = load_checkpoint(tmp_path / "last.safetensors")
    averaged = small_net()
    averaged.load_state_dict(last.model)
    assert weights_of(averaged) == {k: a.tobytes() for k, a in trainer.evaluated_weights().items()}
    assert weights_of(averaged) != weights_of(trainer.net)
    again = trainer_of(EMA(0.9))
    again.load(tmp_path / "last.safetensors")
    assert arrays_of(again) == arrays_of(trainer)
    assert weights_of(averaged) == {k: a.tobytes() for k, a in again.evaluated_weights().items()}
    # A trainer without the callback has the averages.
    plain = trainer_of()
    plain.load(tmp_path / "last.safetensors")
    assert weights_of(plain.net) == weights_of(averaged)
    # A checkpoint that does not fit changes nothing.
    broken = load_checkpoint(tmp_path / "last.safetensors")
    broken.callbacks[0]["state"]["trained"]["0.weight"] = np.zeros((1, 2), np.float32)
    with pytest.raises(FormatError, match=r"EMA: 0\.weight is float32 of shape \(1, 2\)"):
        again.restore(broken)
    assert arrays_of(again) == arrays_of(trainer)
    assert weights_of(averaged) == {k: a.tobytes() for k, a in again.evaluated_weights().items()}


def everything(out: Path) -> list[Callback]:
    return [
        EMA(0.8),
        EarlyStopping("val_loss", 1, min_delta=0.2, restore_best=True),
        ReduceOnPlateau("val_loss", patience=1, min_delta=0.5, factor=0.5),
        WarmUp(8),
        BestCheckpoint("val_accuracy"),
        CSVLog(out / "log.csv"),
    ]


@pytest.mark.parametrize("step", [1, 5, 6, 7, 11, 12, 13, 17])
def test_resumed_runs_go_on_as_uninterrupted_ones(tmp_path: Path, step: int) -> None:
    whole = fit(trainer_of(*everything(tmp_path / "a"), out=tmp_path / "a"), 8)
    assert 12 < whole.global_step < 48  # stopped early
    fit(trainer_of(*everything(tmp_path / "b"), StopAt(step), out=tmp_path / "b"), 8)
    rest = trainer_of(*everything(tmp_path / "b"), out=tmp_path / "b")
    fc.manual_seed(99)
    rest.load(tmp_path / "b" / "last.safetensors")
    assert rest.global_step == step
    fit(rest, 8)
    assert arrays_of(rest) == arrays_of(whole)
    assert without_times(rest.history) == without_times(whole.history)
    for name in ("last", "best", "best-val_accuracy"):
        one, two = (tmp_path / run / f"{name}.safetensors" for run in "ab")
        assert_same_checkpoint(one, two)
        with np.printoptions(threshold=10**6, floatmode="unique"):
            states = [repr(load_checkpoint(p).callbacks[:6]) for p in (one, two)]
        assert states[0] == states[1] and "EMA" in states[0]
    texts = [(tmp_path / run / "log.csv").read_text().splitlines() for run in "ab"]
    tables = [list(csv.DictReader(text)) for text in texts]
    assert without_times(tables[0]) == without_times(tables[1])


def test_csv(tmp_path: Path) -> None:
    confusion = fc.train.ConfusionMatrix(4)
    trainer = fit(trainer_of(CSVLog(), out=tmp_path, metrics={"confusion": confusion}))
    with open(tmp_path / "history.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [int(r["epoch"]) for r in rows] == [1, 2, 3]
    for row, record in zip(rows, trainer.history, strict=True):
        assert list(row) == list(record)
        assert float(row["val_loss"]) == record["val_loss"]
        assert json.loads(row["val_confusion"]) == record["val_confusion"]
    with pytest.raises(ShapeError, match="CSVLog: needs a path"):
        fit(trainer_of(CSVLog()))


def test_tensorboard(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("tensorboardX")
    from tensorboardX.proto import event_pb2
    from tensorboardX.record_writer import RecordWriter  # noqa: F401

    trainer = fit(trainer_of(TensorBoard(every=2), out=tmp_path))
    found: dict[str, dict[int, float]] = {}
    for path in (tmp_path / "tensorboard").iterdir():
        content = path.read_bytes()
        while content:
            size = int.from_bytes(content[:8], "little")
            event = event_pb2.Event.FromString(content[12 : 12 + size])
            content = content[12 + size + 4 :]
            for value in event.summary.value:
                found.setdefault(value.tag, {})[event.step] = value.simple_value
    assert list(found["loss/batch"]) == list(range(2, 19, 2))
    for tag, name in (("loss/val", "val_loss"), ("accuracy/train", "train_accuracy")):
        expected = {6 * r["epoch"]: np.float32(r[name]) for r in trainer.history}
        assert found[tag] == expected
    monkeypatch.setitem(sys.modules, "tensorboardX", None)
    with pytest.raises(ImportError, match=r'pip install "fastconv\[tensorboard\]"'):
        fit(trainer_of(TensorBoard(tmp_path / "x")))


class Fails(Callback):
    def __init__(self, moment: str, error: BaseException, at: int = 8) -> None:
        self.moment, self.error, self.at = moment, error, at

    def _raise(self, trainer: Trainer, moment: str) -> None:
        if moment == self.moment and trainer.global_step >= self.at:
            raise self.error

    def on_epoch_start(self, trainer: Trainer) -> None:
        self._raise(trainer, "epoch_start")

    def on_step_end(self, trainer: Trainer, loss: float) -> None:
        self._raise(trainer, "step")

    def on_epoch_end(self, trainer: Trainer, record: dict[str, Any]) -> None:
        self._raise(trainer, "epoch_end")

    def on_epoch_saved(self, trainer: Trainer, record: dict[str, Any]) -> None:
        self._raise(trainer, "epoch_saved")

    def on_fit_end(self, trainer: Trainer) -> None:
        self._raise(trainer, "fit_end")


@pytest.mark.parametrize("error", [RuntimeError("mine"), KeyboardInterrupt("mine")])
@pytest.mark.parametrize("moment", ["epoch_start", "step", "epoch_end", "epoch_saved", "fit_end"])
def test_an_exception_in_a_callback_loses_nothing(
    tmp_path: Path, moment: str, error: BaseException
) -> None:
    """The callbacks behind it are told as well, and a resumed run ends with the same bits."""
    whole = fit(trainer_of(EMA(0.8), out=tmp_path / "a"))
    ended: list[int] = []

    class Ended(Callback):
        def on_fit_end(self, trainer: Trainer) -> None:
            ended.append(trainer.global_step)

    part = trainer_of(Fails(moment, error), EMA(0.8), Ended(), out=tmp_path / "b")
    with pytest.raises(type(error), match="mine"):
        fit(part)
    state = fc.random.get_state()
    at = {"step": 8, "fit_end": 18}.get(moment, 12)
    assert ended == [at]
    last = load_checkpoint(tmp_path / "b" / "last.safetensors")
    assert last.global_step == at
    assert len(last.history) == at // 6
    rest = trainer_of(EMA(0.8), out=tmp_path / "b")
    rest.load(tmp_path / "b" / "last.safetensors")
    fit(rest)
    assert arrays_of(rest) == arrays_of(whole)
    assert without_times(rest.history) == without_times(whole.history)
    # The trainer itself can go on too.
    part.callbacks = [c for c in part.callbacks if not isinstance(c, Fails)]
    fc.random.set_state(state)
    fit(part)
    assert arrays_of(part) == arrays_of(whole)


def test_a_figure_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(
        FastconvError, match=r"EarlyStopping: .* no number 'val_f1'; there are epoch"
    ):
        fit(trainer_of(EarlyStopping("val_f1"), out=tmp_path))
    assert load_checkpoint(tmp_path / "last.safetensors").epoch == 1


BAD: list[tuple[Callable[[], Any], Any, str]] = [
    (lambda: EarlyStopping(""), ShapeError, "EarlyStopping: monitor"),
    (lambda: EarlyStopping(patience=0), ShapeError, "EarlyStopping: patience must be at least 1"),
    (lambda: EarlyStopping(mode="up"), ShapeError, "EarlyStopping: mode must be one of"),
    (lambda: EarlyStopping(min_delta=-1), ShapeError, "EarlyStopping: min_delta"),
    (lambda: EarlyStopping(restore_best=1), DTypeError, "EarlyStopping: restore_best"),
    (lambda: ReduceOnPlateau(factor=1.0), ShapeError, "ReduceOnPlateau: factor"),
    (lambda: ReduceOnPlateau(cooldown=-1), ShapeError, "ReduceOnPlateau: cooldown"),
    (lambda: WarmUp(0), ShapeError, "WarmUp: steps"),
    (lambda: WarmUp(3, 2.0), ShapeError, "WarmUp: start_factor"),
    (lambda: EMA(1.0), ShapeError, "EMA: decay must be below 1"),
    (lambda: EMA("a"), DTypeError, "EMA: decay must be a number"),
    (lambda: LearningRateSchedule(3), DTypeError, "LearningRateSchedule: schedule is a int"),
    (lambda: TensorBoard(every=-1), ShapeError, "TensorBoard: every"),
    (lambda: trainer_of(save_every=0), ShapeError, "Trainer: save_every"),
]


@pytest.mark.parametrize(("make", "error", "match"), BAD)
def test_bad_arguments(make: Any, error: Any, match: str) -> None:
    with pytest.raises(error, match=match):
        make()


@pytest.mark.parametrize("compile", [True, False])
@pytest.mark.parametrize("trained", [0, 1])
def test_find_learning_rate_leaves_no_trace(trained: int, compile: bool) -> None:
    runs = []
    for look in (False, True):
        ema = EMA(0.9)
        trainer = small_trainer(callbacks=[ema], compile=compile)
        loader = small_loader()
        if trained:
            trainer.fit(loader, epochs=1, progress=False)
        if look:
            before, place = arrays_of(trainer), (loader.epoch, loader.start)
            averages = trainer.evaluated_weights()
            state, mode = fc.random.get_state(), trainer.net.training
            rates, losses, suggestion = trainer.find_learning_rate(loader, highest=50.0, steps=60)
            assert arrays_of(trainer) == before
            after = trainer.evaluated_weights()
            assert all(np.array_equal(after[k], averages[k]) for k in averages)
            assert (loader.epoch, loader.start) == place
            assert fc.random.get_state() == state and trainer.net.training == mode
            assert trainer.global_step == 6 * trained
            assert len(rates) == len(losses) <= 60
            assert rates == sorted(rates) and rates[0] == pytest.approx(1e-6)
            assert rates[0] <= suggestion < 50
        trainer.fit(loader, small_data(7), epochs=3, progress=False)
        runs.append((arrays_of(trainer), without_times(trainer.history)))
    assert runs[0] == runs[1]


def test_find_learning_rate_on_a_parabola(tmp_path: Path) -> None:
    """With SGD on (w - 1)^2 + 1 the loss falls below the rate of 1, beyond which it grows."""
    net = fc.nn.Linear(1, 1, bias=False)
    net.load_state_dict({"weight": np.zeros((1, 1), np.float32)})
    trainer = Trainer(net, F.mse_loss, fc.optim.SGD(net.parameters(), lr=0.1))
    one = np.ones((4, 1), np.float32)
    targets = np.float32([[0], [2], [0], [2]])
    found = trainer.find_learning_rate(
        [(one, targets)], lowest=1e-3, highest=100.0, steps=30, smoothing=0
    )
    assert 1e-3 < found.suggestion < 0.5
    assert found.rates[-1] < 20 and found.losses[-1] > found.losses[0] / 2  # ended as it diverged
    found.plot(tmp_path / "p.png")
    assert (tmp_path / "p.png").read_bytes().startswith(b"\x89PNG")
    for options, match in (
        ({"lowest": 0.0}, "lowest"),
        ({"lowest": 2.0}, "lowest < highest"),
        ({"steps": 3}, "steps"),
        ({"smoothing": 1.0}, "smoothing"),
    ):
        with pytest.raises(ShapeError, match=f"find_learning_rate: .*{match}"):
            trainer.find_learning_rate([(one, one)], **options)
    with pytest.raises(ShapeError, match="no images"):
        trainer.find_learning_rate([])
    with pytest.raises(FastconvError, match="the loss is nan"):
        trainer.find_learning_rate([(one * np.nan, one)])
    assert net.weight.numpy() == 0
