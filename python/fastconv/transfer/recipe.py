"""Fine-tuning as a recipe: the head first, then all layers at low rates."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from .. import functional as F
from .._arrays import NDArray
from ..data import ArrayDataset, Dataset, Loader
from ..errors import DTypeError, ShapeError
from ..models import auxiliary_cross_entropy
from ..nn import Flatten, Linear, Module, Sequential
from ..nn._args import flag, integer
from ..optim import AdamW
from ..serialization import PathLike
from ..tensor import Tensor, no_grad
from ..train import Trainer
from .features import extract_features
from .freezing import freeze, statistics_frozen, unfreeze
from .heads import auxiliary_heads, find_heads, part_named, replace_head
from .rates import param_groups

__all__ = ["fine_tune"]


def fine_tune(
    net: Module,
    train: Any,
    val: Any = None,
    num_classes: int | None = None,
    head_epochs: int = 10,
    epochs: int = 5,
    *,
    head_lr: float = 1e-3,
    lr: float = 1e-4,
    decay: float = 0.8,
    until: str | None = None,
    keep_statistics: bool = True,
    cache: bool | None = None,
    optimizer: Callable[..., Any] = AdamW,
    loss: Any = None,
    batch_size: int = 32,
    seed: int = 0,
    out_dir: PathLike | None = None,
    progress: bool = False,
    **options: Any,
) -> dict[str, list[dict[str, Any]]]:
    """Teach a trained network another task: first a fresh head alone, then all layers at low rates.

    While the head learns, the other layers are frozen. Where nothing about the images changes from epoch to
    epoch their features are computed once and the head learns on those; dropout in front of it is then left out.
    Steps are compiled, as a `Trainer`'s.

    Args:
        net: a network of `fastconv.models` or a `Sequential`, with its weights; changed in place. Afterwards
            what `until` names is frozen (everything but the head where `epochs` is 0), the rest is not.
        train, val: data sets or Loaders; one with `augment` or `mix` is gone through anew in every epoch.
        num_classes: scores of the new head (`replace_head`); None: the network keeps its head.
        head_epochs, epochs: of the two parts; either may be 0.
        head_lr: learning rate of the head alone.
        lr, decay: the rates of all layers: `param_groups`.
        until: layers up to this one stay frozen in the second part: `freeze`.
        keep_statistics: batch normalisation uses its running statistics in the second part too and leaves them as
            they are, which is the better choice where batches are small or images few.
        cache: whether features are computed once; None: where they can be.
        optimizer: called as optimizer(groups of parameters, lr=...), such as `fastconv.optim.SGD`.
        loss: (outputs, labels) -> mean loss; by default cross-entropy, with auxiliary classifiers'.
        batch_size, seed: of the batches where `train` is a data set.
        out_dir: where `Trainer` keeps its files; the head's are in the folder `head` there.
        progress: report on the terminal.
        options: more arguments of `Trainer`, for both parts.

    Returns:
        {"head": history, "all": history}, as `Trainer.fit` returns them; empty where there were no epochs.

    Raises:
        ShapeError: numbers out of range; no head is found; `cache` is asked for where features cannot be kept.
        DTypeError: an argument is of the wrong type.
        FastconvError, ImportError, OSError: as `Trainer.fit`.

    Source: Yosinski et al., "How transferable are features in deep neural networks?" (2014); Howard & Ruder,
    "Universal language model fine-tuning for text classification" (2018), for the rates.
    """
    op = "fine_tune"
    head_epochs = integer(op, "head_epochs", head_epochs, 0)
    epochs = integer(op, "epochs", epochs, 0)
    if not head_epochs and not epochs:
        raise ShapeError(f"{op}: head_epochs and epochs are both 0, expected one above")
    batch_size = integer(op, "batch_size", batch_size, 1)
    keep_statistics = flag(op, "keep_statistics", keep_statistics)
    cache = None if cache is None else flag(op, "cache", cache)
    for name, data in (("train", train), ("val", val)):
        if not isinstance(data, (Dataset, Loader)) and (name == "train" or data is not None):
            raise DTypeError(
                f"{op}: {name} is a {type(data).__name__}, expected a data set or a Loader"
            )
    find_heads(net)
    if until is not None:
        part_named(op, net, until)
    if num_classes is not None:
        replace_head(net, num_classes)
    if loss is None:
        loss = auxiliary_cross_entropy if auxiliary_heads(net) else F.cross_entropy
    parameter = next(net.parameters())
    options = {"dtype": str(parameter.dtype), "batch_size": batch_size, "seed": seed, **options}
    history: dict[str, list[dict[str, Any]]] = {"head": [], "all": []}
    folder = None if out_dir is None else Path(out_dir)
    if head_epochs:
        freeze(net)
        for _, head in find_heads(net):
            unfreeze(head)
        learnt, learn_from, check_on = _head_alone(op, net, train, val, cache, batch_size)
        learning = [p for p in learnt.parameters() if p.requires_grad]
        trainer = Trainer(
            learnt,
            loss,
            optimizer(learning, lr=head_lr),
            out_dir=None if folder is None else folder / "head",
            **options,
        )
        history["head"] = trainer.fit(learn_from, check_on, head_epochs, progress=progress)
    if epochs:
        unfreeze(net)
        if until is not None:
            freeze(net, until)
        if keep_statistics:
            statistics_frozen(net, True)
        trainer = Trainer(
            net, loss, optimizer(param_groups(net, lr, decay), lr=lr), out_dir=folder, **options
        )
        try:
            history["all"] = trainer.fit(train, val, epochs, progress=progress)
        finally:
            if keep_statistics:
                statistics_frozen(net, False)
                if until is not None:
                    freeze(net, until)
    return history


def _head_alone(
    op: str, net: Module, train: Any, val: Any, cache: bool | None, batch_size: int
) -> tuple[Module, Any, Any]:
    """What learns while the rest is frozen, and its data: the head on features, or the network on images."""
    reason = _why_not_cached(net, train, val)
    if cache and reason:
        raise ShapeError(f"{op}: features cannot be kept: {reason}")
    if cache is False or reason:
        return net, train, val
    head = find_heads(net)[0][1]
    kept = _kept(op, net, train)
    loader: Any = kept
    if isinstance(train, Loader):
        loader = Loader(kept, train.batch_size, train.shuffle, train.seed, train.drop_last)
    return Sequential(Flatten(), head), loader, None if val is None else _kept(op, net, val)


def _why_not_cached(net: Module, train: Any, val: Any) -> str:
    """Why features of images cannot stand for them; "" where they can."""
    if auxiliary_heads(net):
        return "the network has auxiliary classifiers"
    head = find_heads(net)[0][1]
    if not isinstance(head, Linear):
        return "the head is a convolution"
    for data in (train, val):
        if isinstance(data, Loader):
            changing = [n for n in ("augment", "mix", "sampler") if getattr(data, n) is not None]
            if changing:
                return f"a Loader has {changing[0]}"
    first = next(iter(_in_order(train, 2)))[0]
    with no_grad():
        modes = [(part, part.training) for part in net.modules()]
        try:
            output = net.eval()(Tensor(first.astype(head.weight.dtype, copy=False)))
        finally:
            for part, training in modes:
                part.training = training
        features = extract_features(net, [(first, None)])
        if features.ndim != 2:
            return f"the head's input has shape {features.shape}"
        alone = head(Tensor(features))
    if not isinstance(output, Tensor) or output.shape != alone.shape:
        return "the network's output is not its head's"
    a, b = output.numpy(), alone.numpy()
    if not np.allclose(a, b, rtol=1e-3, atol=1e-3 * float(np.abs(a).max())):
        return "the network's output is not its head's"
    return ""


def _in_order(data: Any, batch_size: int) -> Loader:
    """Network input of all images, in the data set's order."""
    if isinstance(data, Loader):
        return Loader(data.dataset, batch_size, transform=data.transform)
    return Loader(data, batch_size)


def _kept(op: str, net: Module, data: Any) -> ArrayDataset:
    """The features of images as a data set."""
    loader = _in_order(data, 64)
    features: NDArray = extract_features(net, loader)
    images = features.astype(np.float32, copy=False)[:, :, np.newaxis, np.newaxis]
    dataset = loader.dataset
    return ArrayDataset(images, dataset.labels, dataset.classes, name=f"{op}: features")
