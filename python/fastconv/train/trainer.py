"""The training loop."""

from __future__ import annotations

import copy
import math
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ..data import Loader
from ..errors import FastconvError, ShapeError
from ..nn._args import integer
from ..serialization import PathLike, remove_stale_temporaries, require_safetensors
from .batches import EVALUATION_BATCH, Data, as_loader, batches_of, describe, length, parts_of
from .callbacks import Callback
from .evaluation import evaluate, predict
from .figures import Figures, Metrics, named_metrics, plain_output
from .history import plot_history, write_history
from .interrupts import deferred_interrupt
from .losses import Loss, trainer_loss
from .metrics import Running
from .progress import progress as make_progress
from .rate_finder import LearningRates, find_learning_rate
from .state import RunState

__all__ = ["Trainer"]


class Trainer(RunState):
    """Trains a network: step by step, or whole runs with reports and checkpoints.

    Args:
        net: a `nn.Module`.
        loss: maps (output of the network, labels) to the mean loss of the batch, a one-element
            Tensor, as `functional.cross_entropy` does. For a network with several outputs: task -> loss, and
            labels are dictionaries with those keys; or a sequence, and outputs and labels are tuples. See
            `MultiLoss`.
        optimizer: one of `fastconv.optim` over the network's parameters.
        schedule: a learning-rate schedule of `fastconv.optim`; it steps after every batch.
        loss_weights: the tasks' factors in the sum of their losses; 1 where left out.
        penalties: functions without arguments whose values are added to the loss, such as `soft_sharing` makes.
        targets: makes of a batch's labels what loss and metrics take, for instance
            `lambda labels: {"digit": labels, "parity": labels % 2}`.
        class_weight: {class: weight} or a weight for each class; "balanced": each class counts the same, by
            its share of the training images. Goes into `cross_entropy`'s `weight` in training; evaluation
            is without. With several losses {task: weights}. See `ClassWeighted`.
        metrics: more figures, of evaluation and of each epoch's training batches (as the network answered them
            in training, with dropout, of augmented images): name -> `Metric` object, such as `TopK(5)`, or
            function of (outputs, labels), NumPy arrays of one batch, that gives the batch's mean; or a list of
            these. See `fastconv.train.evaluate`. Of a network with auxiliary outputs they get the `logits`.
        train_metrics: whether metrics are taken over training batches too.
        dtype: "float32" or "float64", of the network's parameters; inputs are converted to it, but for integers
            to a network with an `nn.Embedding`. "bfloat16": the parameters are float32, and the network runs
            inside `autocast`; `predict` and metrics get its output as float32.
        clip_grad_norm: before each update gradients are scaled so that their joint 2-norm is at most this.
        accumulate: a batch is worked through in so many pieces of about equal size, whose gradients add up to
            those of the batch: the memory of one piece. The loss must be a mean over images; batch-norm takes
            its statistics piece by piece.
        recompute: a compiled step does not keep results of batch-norm, activations and sums for backward but
            computes them again: less memory, some more time, the same numbers.
        tune: a compiled step times what each convolution could run, once for each machine, and takes the
            fastest: see `fastconv.choice`.
        compile: whether a step runs as one native call (`fastconv.program`), which is faster. What cannot be
            recorded, because it depends on the contents of arrays, runs function by function after one
            warning. The numbers agree but for rounding; dropout of pictures draws other masks. Arrays that
            `forward` or `loss` make themselves, and numbers in closures, stay what they were when a batch
            shape came first.
        batch_size, seed: of the loader that `fit` makes when it is given a data set.
        out_dir: where `fit` keeps `last.safetensors` (after each epoch and on Ctrl-C),
            `best.safetensors` (highest validation accuracy, or lowest loss where there is none),
            `history.json` and `curves.png`. Without one nothing is written. `evaluate_parts` writes
            `evaluations.json` there, callbacks `history.csv` (`CSVLog`), `tensorboard/` (`TensorBoard`),
            `best-<figure>.safetensors` (`BestCheckpoint`).
        save_every: `last.safetensors` is also written each so many steps, so that no more than these are lost
            when the process is killed.
        callbacks: told what happens during `fit`; see `Callback`. Checkpoints hold their state.
        config: settings of the caller's, plain JSON values, kept in checkpoints.

    Attributes:
        global_step: optimiser steps done in all.
        epoch: complete epochs. batch: batches done of the epoch under way.
        epochs, batches, images_per_epoch: the target of the `fit` under way, and what an epoch has.
        history: one dictionary per complete epoch: `epoch` (from 1), `learning_rate`, `train_loss`,
            `train_accuracy`, `val_loss`, `val_accuracy` (0 to 1), `seconds`, `images_per_second`; with several
            losses those of each task, as `train_<task>_loss`; `train_<name>` and `val_<name>` for each metric.
        running: sums over the epoch under way.

    Raises:
        DTypeError, ShapeError: an argument does not fit.
    """

    def __init__(
        self,
        net: Any,
        loss: Loss | Mapping[str, Loss] | Sequence[Loss],
        optimizer: Any,
        *,
        schedule: Any = None,
        loss_weights: Mapping[str, float] | Sequence[float] | None = None,
        penalties: Sequence[Callable[[], Any]] = (),
        targets: Callable[[Any], Any] | None = None,
        class_weight: Any = None,
        metrics: Metrics | None = None,
        train_metrics: bool = True,
        dtype: str = "float32",
        clip_grad_norm: float | None = None,
        accumulate: int = 1,
        recompute: bool = False,
        tune: bool = False,
        compile: bool = True,
        batch_size: int = 64,
        seed: int = 0,
        out_dir: PathLike | None = None,
        save_every: int | None = None,
        callbacks: Sequence[Callback] = (),
        config: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__(
            net,
            trainer_loss(loss, loss_weights, penalties),
            optimizer,
            schedule=schedule,
            targets=targets,
            class_weight=class_weight,
            dtype=dtype,
            clip_grad_norm=clip_grad_norm,
            accumulate=accumulate,
            recompute=recompute,
            tune=tune,
            compile=compile,
        )
        self.metrics = named_metrics("Trainer", metrics)
        self.train_metrics = bool(train_metrics)
        self.batch_size, self.seed = batch_size, seed
        self.out_dir = None if out_dir is None else Path(out_dir)
        self.callbacks = list(callbacks)
        self.save_every = (
            0 if save_every is None else integer("Trainer", "save_every", save_every, 1)
        )
        self.config = dict(config or {})
        self.epochs = self.batches = self.images_per_epoch = 0
        self._whole = True  # no step is half done
        self._stopping = self._interrupted = False
        self._failure: BaseException | None = None  # what a callback raised
        self._observers: list[Callback] = []
        self._owed: list[str] = []  # files that a full disk kept from being written

    # Whole runs.

    def fit(
        self,
        train: Data,
        val: Data | None = None,
        epochs: int = 1,
        *,
        progress: bool = True,
        class_weight: Any = None,
    ) -> list[dict[str, Any]]:
        """Train until `epochs` epochs are complete in all, those before `load` included.

        The order of epoch e is that of a `Loader`: a function of its seed and e. After `load`, a
        Loader takes over the seed of the run that wrote the checkpoint, and batches that were done
        are not done again, so that the run ends with the very weights of one that was never
        interrupted.

        Ctrl-C lets the step under way finish, writes `last.safetensors` if there is an `out_dir`,
        and raises KeyboardInterrupt; a second Ctrl-C does not wait.

        Args:
            train: a Loader, a data set (shuffled batches are made of it), or an iterable of batches
                (images, labels) that gives the same ones for each epoch. Of a data set with `weights`, and of
                batches (images, labels, weights), images count as much as these say; see `ImageWeighted`.
            val: likewise, for an evaluation after each epoch, in which weights are left aside.
            epochs: how many in all.
            progress: report on the terminal: a bar through tqdm if it is installed, plain lines
                otherwise.
            class_weight: takes the place of the trainer's.

        Returns:
            `history`.

        Raises:
            FastconvError: the loss or a weight is no longer finite (files of good epochs are left
                alone), or the training data is not what the checkpoint was written with.
            ImportError: there is an `out_dir` and safetensors is not installed.
            OSError: a file cannot be written. Older ones are as they were, and nothing of the run is lost: once
                there is room `fit` writes what is missing and goes on.
        """
        if not isinstance(epochs, int) or epochs < 1:
            raise ShapeError(
                f"Trainer.fit: epochs must be an integer of at least 1, got {epochs!r}"
            )
        loader = as_loader(train, self.batch_size, shuffle=True, seed=self.seed)
        if class_weight is not None:
            self.class_weight = class_weight
        self.epochs = epochs
        self.batches = len(loader) if isinstance(loader, Loader) else length(loader)
        self._adopt(loader)
        if self.out_dir is not None:
            require_safetensors("Trainer.fit")
            self.out_dir.mkdir(parents=True, exist_ok=True)
            remove_stale_temporaries(self.out_dir)
            self._write()
        self._observers = [*self.callbacks, *([make_progress()] if progress else [])]
        self._stopping = self._interrupted = False
        self._failure = None
        self._whole = True
        with deferred_interrupt(self._interrupt):
            self._run(loader, val)
        self._plot(say=progress)
        return self.history

    def stopping(self) -> bool:
        """Whether the run ends after the step under way."""
        return self._stopping

    def stop(self) -> None:
        """End `fit` after the step under way, with a checkpoint; for callbacks."""
        self._stopping = True

    def _interrupt(self) -> None:
        self._stopping = self._interrupted = True

    def _run(self, loader: Any, val: Data | None) -> None:
        self._tell("on_fit_start")
        try:
            while self.epoch < self.epochs and not self._stopping:
                self._run_epoch(loader, val)
            if self._failure is not None:
                raise self._failure
            if self._interrupted:
                raise KeyboardInterrupt
            if self._stopping:
                self._write("last.safetensors")
        except BaseException as error:
            ended = isinstance(error, KeyboardInterrupt) or error is self._failure
            if ended and self._whole and self._not_finite() is None:
                self._write("last.safetensors")
            raise
        finally:
            self._tell("on_fit_end")
        if self._failure is not None:
            raise self._failure

    def _tell(self, moment: str, *arguments: Any) -> None:
        """Tell all observers of a moment. What one raises ends the run, once the others have been told."""
        for observer in self._observers:
            try:
                getattr(observer, moment)(self, *arguments)
            except BaseException as error:  # an interrupt too: the others must not miss a step
                self._failure = self._failure or error
                self._stopping = True

    def _run_epoch(self, loader: Any, val: Data | None) -> None:
        """The rest of an epoch, its validation and its files, unless stopped before."""
        self._tell("on_epoch_start")
        if self.stopping():
            return
        self._begin_metrics()
        began, before = time.perf_counter(), self.running.seconds
        for batch in batches_of(loader, self.epoch, self.batch):
            self._whole = False
            done = self._step(*parts_of(batch))
            self.running.add(*done[:4])
            if self._training is not None:
                output = getattr(done.output, "logits", done.output)
                self._training.update(plain_output(output), done.labels, done.images)
            self.running.seconds = before + time.perf_counter() - began
            self.batch += 1
            self._tell("on_step_end", done.loss)
            self._whole = True
            if self.stopping():
                return
            if self.save_every and self.global_step % self.save_every == 0:
                self._check_finite(None)
                self._write("last.safetensors")
        result = None if val is None else self._evaluate(val, watch=True)
        if self.stopping():
            return
        if not self.running.images:
            raise ShapeError("Trainer: the training data has no images")
        self._check_finite(result)
        self._whole = False
        record = self._record(result)
        self.history.append(record)
        self.epoch, self.batch, self.running = self.epoch + 1, 0, Running()
        better = result is not None and self._is_best(result)
        self._tell("on_epoch_end", record)
        self._whole = True
        if self._not_finite() is None:  # a callback may have set weights
            self._write(*(["best.safetensors"] * better), "last.safetensors", "history.json")
        self._tell("on_epoch_saved", record)

    def _begin_metrics(self) -> None:
        """The metrics of an epoch's training: from its beginning, or from where a checkpoint lies. They are
        copies: evaluation uses the trainer's own."""
        if not self.metrics or not self.train_metrics:
            self._training = None
        elif self._training is None or not self.batch:
            self._training = Figures("Trainer", copy.deepcopy(self.metrics), self.loss)
            if self.batch and self._training_state:
                self._training.load_state_dict(self._training_state)
        self._training_state = {}

    def _record(self, result: dict[str, Any] | None) -> dict[str, Any]:
        sums = self.running
        record: dict[str, Any] = {"epoch": self.epoch + 1}
        groups = getattr(self.optimizer, "param_groups", None)
        if groups:
            record["learning_rate"] = float(groups[0]["lr"])
        figures = {} if self._training is None else self._training.results()
        figures = {**sums.figures(), **figures}
        record.update({f"train_{name}": value for name, value in figures.items()})
        for name, value in (result or {}).items():
            if name != "images":
                record[f"val_{name}"] = value
        record["seconds"] = sums.seconds
        record["images_per_second"] = sums.images / max(sums.seconds, 1e-9)
        return record

    def _is_best(self, result: Mapping[str, float]) -> bool:
        score = result.get("accuracy", -result["loss"])
        if self._best is not None and score <= self._best:
            return False
        self._best = score
        return True

    def _check_finite(self, result: Mapping[str, float] | None) -> None:
        if result is not None and not math.isfinite(result["loss"]):
            raise FastconvError(
                f"Trainer: the validation loss is {result['loss']} after epoch {self.epoch + 1}"
            )
        name = self._not_finite()
        if name is not None:
            raise FastconvError(
                f"Trainer: {name!r} is no longer finite after epoch {self.epoch + 1}, "
                f"step {self.global_step}"
            )

    def _not_finite(self) -> str | None:
        """The name of an array of the network with NaN or infinity, if there is one."""
        for name, value in self.net.state_dict().items():
            array = np.asarray(value)
            if array.dtype.kind == "f" and not np.isfinite(array).all():
                return str(name)
        return None

    def _write(self, *names: str) -> None:
        """Write files of the folder. What fails is owed: the next `fit` writes it before it trains."""
        if self.out_dir is None:
            return
        problem: OSError | None = None
        for name in dict.fromkeys((*self._owed, *names)):
            try:
                if name == "history.json":
                    write_history(self.history, self.out_dir / name)
                else:
                    self.save(self.out_dir / name)
            except OSError as error:
                problem = problem or error
                self._owed = [*(n for n in self._owed if n != name), name]
            else:
                self._owed = [n for n in self._owed if n != name]
        if problem is not None:
            raise OSError(
                problem.errno,
                f"Trainer: {', '.join(self._owed)} in {self.out_dir} could not be written and "
                f"are as they were: {problem.strerror or problem}. This trainer holds step "
                f"{self.global_step}: once there is room, `fit` writes them and goes on, or "
                "`save` writes elsewhere",
            ) from problem

    def _plot(self, say: bool) -> None:
        if self.out_dir is None or not self.history:
            return
        try:
            plot_history(self.history, self.out_dir / "curves.png")
        except ImportError as error:
            if say:
                print(f"no curves.png: {error}", file=sys.stderr)

    # Data.

    def _adopt(self, loader: Any) -> None:
        """Take note of the training data, or make it continue what a checkpoint says."""
        if not isinstance(loader, Loader):
            self.images_per_epoch = self._data.get("images", 0)
            return
        if self._resumed and self._data:
            loader.seed = self._data["seed"]
            if self.batch and self._data != describe(loader):
                raise FastconvError(
                    f"Trainer: the checkpoint lies within an epoch of {self._data}, "
                    f"the loader has {describe(loader)}"
                )
        self._data = describe(loader)
        self._resumed = False
        self.images_per_epoch = loader.images_per_epoch
        labels = loader.dataset.labels
        self._all_labels = labels if self.targets is None else self.targets(labels)

    # Evaluation.

    def evaluate(self, data: Data) -> dict[str, Any]:
        """Mean loss, accuracy and `metrics` in evaluation mode; see `fastconv.train.evaluate`."""
        return self._evaluate(data, watch=False)

    def _evaluate(self, data: Data, watch: bool) -> dict[str, Any]:
        with self._evaluated(), self._precision():
            return evaluate(
                self.net,
                self.loss,
                data,
                metrics=self.metrics,
                targets=self._as_targets,
                dtype=self.dtype,
                stopping=lambda: watch and self._stopping,
            )

    def find_learning_rate(
        self,
        data: Data,
        *,
        lowest: float = 1e-6,
        highest: float = 1.0,
        steps: int = 100,
        smoothing: float = 0.9,
    ) -> LearningRates:
        """Train for some steps with a rising rate, and say which rate falls fastest; the trainer is afterwards
        what it was, to the last bit. See `fastconv.train.find_learning_rate`."""
        return find_learning_rate(
            self, data, lowest=lowest, highest=highest, steps=steps, smoothing=smoothing
        )

    def predict(
        self,
        data: Any,
        *,
        batch_size: int = EVALUATION_BATCH,
        probabilities: bool = False,
        tta: Any = None,
        times: int = 8,
    ) -> Any:
        """The network's output in evaluation mode; see `fastconv.train.predict`."""
        with self._evaluated(), self._precision():
            return predict(
                self.net,
                data,
                batch_size=batch_size,
                probabilities=probabilities,
                dtype=self.dtype,
                tta=tta,
                times=times,
            )
