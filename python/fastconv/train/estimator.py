"""A classifier with scikit-learn's methods."""

from __future__ import annotations

import copy
import inspect
import operator
import os
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib import import_module
from typing import Any

import numpy as np

from .. import nn, random
from .._arrays import NDArray
from ..data import ArrayDataset, Loader
from ..errors import DTypeError, ShapeError
from ..models import auxiliary_cross_entropy
from ..models.registry import create_for_images
from ..nn._args import integer
from .evaluation import predict
from .image_weights import image_weights
from .keras_style import named_optimizer
from .trainer import Trainer

__all__ = ["ConvClassifier"]


class ConvClassifier:
    """A network as an estimator of scikit-learn: `fit`, `predict`, `predict_proba`, `score`, `get_params`.

    Works with `clone`, `GridSearchCV`, `cross_val_score` and `Pipeline`; scikit-learn itself is needed only by
    those. Images are (N, C, H, W), (N, H, W), or rows of `image_shape`'s values, uint8 or floating; uint8 is
    scaled to 0 to 1. Classes may be integers or text.

    Args:
        net: the name of one of `fastconv.models`, or a function of (num_classes, image_shape) that makes a
            `nn.Module`, or a Module, which is copied, with as many outputs as there are classes.
        image_shape: (C, H, W) of the images in rows (N, C * H * W), as pipelines pass them; without it such
            rows are images of one row of pixels.
        epochs, batch_size: of `fit`, which begins anew each time.
        optimizer: "sgd", "adam", "adamw" or "rmsprop".
        learning_rate: None for the optimiser's default.
        class_weight: None, "balanced" or {class: weight}.
        random_state: seed of the first weights and the order of the images: an integer; None draws one. The global
            random state of `fastconv` is left alone.
        callbacks: of `fastconv.train`, copied for each `fit`.
        verbose: whether to report on the terminal.

    Attributes:
        classes_: the labels, sorted. net_: the trained network. history_: a dictionary for each epoch.
        n_features_in_: values of an image.

    Raises:
        ShapeError, DTypeError: arguments or data do not fit (from `fit` and later).
    """

    _estimator_type = "classifier"

    def __init__(
        self,
        net: Any = "lenet5",
        *,
        image_shape: tuple[int, int, int] | None = None,
        epochs: int = 10,
        batch_size: int = 64,
        optimizer: str = "adam",
        learning_rate: float | None = None,
        class_weight: Any = None,
        random_state: Any = None,
        callbacks: Any = (),
        verbose: bool = False,
    ) -> None:
        self.net = net
        self.image_shape = image_shape
        self.epochs = epochs
        self.batch_size = batch_size
        self.optimizer = optimizer
        self.learning_rate = learning_rate
        self.class_weight = class_weight
        self.random_state = random_state
        self.callbacks = callbacks
        self.verbose = verbose

    # What scikit-learn expects of every estimator.

    @classmethod
    def _names(cls) -> list[str]:
        return sorted(n for n in inspect.signature(cls.__init__).parameters if n != "self")

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """The constructor's arguments by name; `deep` changes nothing, none is an estimator."""
        return {name: getattr(self, name) for name in self._names()}

    def set_params(self, **params: Any) -> ConvClassifier:
        """Set arguments of the constructor; ShapeError for an unknown name."""
        for name, value in params.items():
            if name not in self._names():
                raise ShapeError(
                    f"ConvClassifier: invalid parameter {name!r}; valid parameters are "
                    f"{', '.join(self._names())}"
                )
            setattr(self, name, value)
        return self

    def __sklearn_tags__(self) -> Any:
        utils: Any = import_module("sklearn.utils")
        return utils.Tags(
            estimator_type="classifier",
            target_tags=utils.TargetTags(required=True),
            classifier_tags=utils.ClassifierTags(),
            input_tags=utils.InputTags(two_d_array=True, three_d_array=True),
            non_deterministic=self.random_state is None,
        )

    def __sklearn_is_fitted__(self) -> bool:
        return hasattr(self, "net_")

    def __repr__(self) -> str:
        defaults = inspect.signature(type(self).__init__).parameters
        changed = [
            f"{name}={value!r}"
            for name, value in self.get_params().items()
            if not _same(value, defaults[name].default)
        ]
        return f"{type(self).__name__}({', '.join(changed)})"

    # Training and use.

    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> ConvClassifier:
        """Train a network on images X and their classes y, from new weights.

        Args:
            X, y: images and classes.
            sample_weight: (N,), how much each image counts, at least 0; only their proportions matter, and images
                of weight 0 are left out. Other batches are drawn than of an image that is there twice.

        Raises:
            ShapeError, DTypeError: X, y, the weights or the constructor's arguments do not fit; fewer than two
                classes.
        """
        op = "ConvClassifier.fit"
        if y is None:
            raise ShapeError(f"{op}: requires y to be passed, but the target y is None")
        images = self._images(op, X)
        labels = _classes_of(op, y, len(images))
        weights = None
        if sample_weight is not None:
            weights = _weights_of(op, sample_weight, len(images))
            images, labels, weights = (a[weights > 0] for a in (images, labels, weights))
            weights = weights / weights.mean()
        classes, encoded = np.unique(labels, return_inverse=True)
        if len(classes) < 2:
            raise ShapeError(
                f"{op}: at least two classes are needed, y has one class, {classes[0]!r}"
            )
        epochs = integer("ConvClassifier", "epochs", self.epochs, 1)
        batch = integer("ConvClassifier", "batch_size", self.batch_size, 1)
        seed = _seed(self.random_state)
        data = ArrayDataset(images, encoded.astype(np.int64), weights=weights)
        with _random_state_of(seed):
            net = self._network(len(classes), data.image_shape)
            trainer = Trainer(
                net,
                auxiliary_cross_entropy,
                named_optimizer("ConvClassifier", self.optimizer, net, self.learning_rate),
                class_weight=_encoded_weights(self.class_weight, classes),
                callbacks=copy.deepcopy(list(self.callbacks)),
            )
            loader = Loader(data, batch, shuffle=True, seed=seed)
            trainer.fit(loader, epochs=epochs, progress=bool(self.verbose))
        net.load_state_dict(trainer.evaluated_weights())
        self.net_, self.classes_ = net.eval(), classes
        self.history_ = trainer.history
        self.image_shape_ = data.image_shape
        self.n_features_in_ = int(np.prod(data.image_shape))
        return self

    def decision_function(self, X: Any) -> NDArray:
        """The network's scores (N, classes); of two classes (N,), positive for the second."""
        scores = self._scores("decision_function", X)
        return scores[:, 1] - scores[:, 0] if scores.shape[1] == 2 else scores

    def predict_proba(self, X: Any) -> NDArray:
        """Probabilities (N, classes), in the order of `classes_`."""
        scores = self._scores("predict_proba", X).astype(np.float64)
        shifted = np.exp(scores - scores.max(axis=1, keepdims=True))
        return shifted / shifted.sum(axis=1, keepdims=True)  # type: ignore[no-any-return]

    def predict(self, X: Any) -> NDArray:
        """The most probable class of each image."""
        chosen = self._scores("predict", X).argmax(axis=1)
        return self.classes_[chosen]  # type: ignore[no-any-return]

    def score(self, X: Any, y: Any, sample_weight: Any = None) -> float:
        """The accuracy on images X with classes y, of images with weights where these are given."""
        right = self.predict(X) == np.asarray(y)
        return float(np.average(right, weights=sample_weight))

    def _scores(self, method: str, X: Any) -> NDArray:
        op = f"ConvClassifier.{method}"
        if not self.__sklearn_is_fitted__():
            raise _not_fitted(op)
        images = self._images(op, X)
        data = ArrayDataset(images, np.zeros(len(images), np.int64))
        if data.image_shape != self.image_shape_:
            if np.ndim(X) == 2:
                raise ShapeError(
                    f"{op}: X has {np.shape(X)[1]} features, but ConvClassifier is expecting "
                    f"{self.n_features_in_} features as input"
                )
            raise ShapeError(
                f"{op}: images have shape {data.image_shape}, expected {self.image_shape_}"
            )
        scores: NDArray = predict(self.net_, Loader(data, 256))
        return scores

    def _network(self, classes: int, shape: tuple[int, int, int]) -> Any:
        if isinstance(self.net, nn.Module):
            net: Any = copy.deepcopy(self.net)
        elif isinstance(self.net, str):
            net = create_for_images(self.net, classes, shape)
        elif callable(self.net):
            net = self.net(classes, shape)
        else:
            raise DTypeError(
                f"ConvClassifier: net is a {type(self.net).__name__}, expected a name, a Module or a "
                "function of (num_classes, image_shape)"
            )
        if not isinstance(net, nn.Module):
            raise DTypeError(f"ConvClassifier: net gave a {type(net).__name__}, expected a Module")
        return net

    def _images(self, op: str, X: Any) -> NDArray:
        """Images (N, C, H, W) or (N, H, W), uint8 or float32."""
        if type(X).__module__.startswith("scipy.sparse"):
            raise DTypeError(f"{op}: X is sparse, expected a dense array of images")
        images = np.asarray(X)
        if images.dtype == object:
            try:
                images = images.astype(np.float64)
            except (TypeError, ValueError) as error:
                raise DTypeError(f"{op}: X must be numbers: {error}") from error
        if images.dtype.kind == "c":
            raise ShapeError(f"{op}: Complex data not supported, X is {images.dtype}")
        if images.dtype.kind not in "fiub":
            raise DTypeError(f"{op}: X must be numbers, got {images.dtype}")
        if images.ndim not in (2, 3, 4):
            raise ShapeError(
                f"{op}: X has shape {images.shape}, expected (N, C, H, W), (N, H, W) or rows. "
                "Reshape your data: a single image as X[None]"
            )
        if 0 in images.shape:
            what = "sample" if len(images) == 0 else "feature"
            raise ShapeError(
                f"{op}: Found array with 0 {what}(s) (shape={images.shape}) while a minimum of 1 is required."
            )
        if images.dtype.kind == "f" and not np.isfinite(images).all():
            raise ShapeError(f"{op}: Input X contains NaN or infinity")
        if images.dtype != np.uint8:
            images = images.astype(np.float32)
        return images.reshape(-1, *self._row_shape(op, images)) if images.ndim == 2 else images

    def _row_shape(self, op: str, rows: NDArray) -> tuple[int, ...]:
        shape = getattr(self, "image_shape", None)
        if shape is None:
            return (1, 1, rows.shape[1])
        known = tuple(integer("ConvClassifier", "image_shape", size, 1) for size in shape)
        if len(known) != 3 or int(np.prod(known)) != rows.shape[1]:
            raise ShapeError(
                f"{op}: X has {rows.shape[1]} features, but image_shape={known} has "
                f"{int(np.prod(known))}"
            )
        return known


def _same(value: Any, default: Any) -> bool:
    return value is default or (isinstance(value, (int, float, str, tuple)) and value == default)


def _classes_of(op: str, y: Any, count: int) -> NDArray:
    labels = np.asarray(y)
    if labels.ndim == 2 and labels.shape[1] == 1:
        labels = labels[:, 0]
        warnings.warn(
            f"A column-vector y was passed when a 1d array was expected by {op}",
            _of_scikit_learn("DataConversionWarning", UserWarning),
            stacklevel=3,
        )
    if labels.ndim != 1:
        raise ShapeError(f"{op}: y should be a 1d array, got an array of shape {labels.shape}")
    if len(labels) != count:
        raise ShapeError(
            f"{op}: Found input variables with inconsistent numbers of samples: {[count, len(labels)]}"
        )
    if labels.dtype.kind == "f":
        if not np.isfinite(labels).all():
            raise ShapeError(f"{op}: Input y contains NaN or infinity")
        if (labels != labels.astype(np.int64)).any():
            raise ShapeError(f"{op}: Unknown label type: continuous; y must be classes")
    return labels


def _weights_of(op: str, given: Any, count: int) -> NDArray:
    """Weights of images as scikit-learn gives them, a number for all too."""
    weights = np.asarray(given)
    if weights.ndim == 0:
        weights = np.full(count, weights)
    checked: NDArray = image_weights(op, weights, count, np.float64)
    if not checked.any():
        raise ShapeError(f"{op}: all sample weights are zero")
    return checked


def _encoded_weights(given: Any, classes: NDArray) -> Any:
    """Weights by the classes' numbers."""
    if given is None or isinstance(given, str):
        return given
    if not isinstance(given, dict):
        raise DTypeError(
            f"ConvClassifier: class_weight must be 'balanced' or a dictionary, got {type(given).__name__}"
        )
    numbers = {label: number for number, label in enumerate(classes.tolist())}
    unknown = [label for label in given if label not in numbers]
    if unknown:
        raise ShapeError(f"ConvClassifier: class_weight has {unknown[0]!r}, which is no class of y")
    return {numbers[label]: weight for label, weight in given.items()}


def _seed(given: Any) -> int:
    if given is None:
        return int.from_bytes(os.urandom(4), "big")
    draw: Callable[..., Any] | None = getattr(given, "randint", None)
    if draw is not None:
        return int(draw(0, 2**31 - 1))
    try:
        seed = operator.index(given)
    except TypeError:
        raise DTypeError(
            f"ConvClassifier: random_state is a {type(given).__name__}, expected an integer or None"
        ) from None
    if seed < 0:
        raise ShapeError(f"ConvClassifier: random_state must not be negative, got {seed}")
    return seed


@contextmanager
def _random_state_of(seed: int) -> Iterator[None]:
    """Inside, the random state that `seed` gives; afterwards what it was."""
    before = random.get_state()
    try:
        random.manual_seed(seed)
        yield
    finally:
        random.set_state(before)


def _not_fitted(op: str) -> Exception:
    kind = _of_scikit_learn("NotFittedError", ShapeError)
    error: Exception = kind(f"{op}: this ConvClassifier is not fitted yet; call fit first")
    return error


def _of_scikit_learn(name: str, otherwise: Any) -> Any:
    """An exception of scikit-learn's, which its tools look for, where it is installed."""
    try:
        return getattr(import_module("sklearn.exceptions"), name)
    except ImportError:
        return otherwise
