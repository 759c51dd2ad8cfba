"""A network as an estimator of scikit-learn."""

from __future__ import annotations

import pickle
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import fastconv as fc
from fastconv import nn
from fastconv.errors import DTypeError, ShapeError
from fastconv.train import EMA, ConvClassifier
from tests.train.helpers import small_data

NAMES = np.array(["north-west", "north-east", "south-west", "south-east"])


def small(classes: int, shape: tuple[int, int, int]) -> Any:
    return nn.Sequential(
        nn.Flatten(), nn.Linear(int(np.prod(shape)), 16), nn.Tanh(), nn.Linear(16, classes)
    )


def classifier(**options: Any) -> ConvClassifier:
    settings = {"epochs": 8, "batch_size": 8, "learning_rate": 0.02, "random_state": 3}
    return ConvClassifier(small, **{**settings, **options})


def test_fit_predict_score() -> None:
    data, test = small_data(0, 80), small_data(7)
    model = classifier()
    before = fc.random.get_state()
    assert model.fit(data.images, NAMES[data.labels]) is model
    assert fc.random.get_state() == before
    assert list(model.classes_) == sorted(NAMES)
    assert len(model.history_) == 8 and model.n_features_in_ == 36
    answers = model.predict(test.images)
    assert model.score(test.images, NAMES[test.labels]) == np.mean(answers == NAMES[test.labels])
    assert model.score(test.images, NAMES[test.labels]) > 0.9
    shares = model.predict_proba(test.images)
    assert shares.shape == (44, 4)
    np.testing.assert_allclose(shares.sum(axis=1), 1, rtol=1e-12)
    assert np.array_equal(model.classes_[shares.argmax(axis=1)], answers)
    assert np.array_equal(
        model.decision_function(test.images).argmax(axis=1), shares.argmax(axis=1)
    )
    weight = np.arange(44.0)
    assert model.score(test.images, NAMES[test.labels], weight) == np.average(
        answers == NAMES[test.labels], weights=weight
    )
    again = classifier().fit(data.images, NAMES[data.labels])
    assert np.array_equal(again.predict_proba(test.images), shares)
    other = classifier(random_state=4).fit(data.images, NAMES[data.labels])
    assert not np.array_equal(other.predict_proba(test.images), shares)
    thawed = pickle.loads(pickle.dumps(model))
    assert np.array_equal(thawed.predict_proba(test.images), shares)


def test_kinds_of_networks_and_images() -> None:
    data = small_data(0, 40)
    rows = data.images.reshape(40, 36)
    model = classifier(image_shape=(1, 6, 6)).fit(rows, data.labels)
    image = classifier().fit(data.images[:, None], data.labels)
    assert np.array_equal(model.predict_proba(rows), image.predict_proba(data.images))
    fc.manual_seed(0)
    net = small(4, (1, 6, 6))
    weights = {k: a.copy() for k, a in net.state_dict().items()}
    given = ConvClassifier(net, epochs=1, random_state=0).fit(data.images, data.labels)
    assert all(np.array_equal(weights[k], a) for k, a in net.state_dict().items())
    assert given.net_ is not net
    named = ConvClassifier("lenet5", epochs=1, random_state=0)
    large = np.repeat(np.repeat(data.images, 4, axis=1), 4, axis=2)
    assert named.fit(large, data.labels).predict(large).shape == (40,)
    averaged = classifier(callbacks=[EMA(0.9)]).fit(data.images, data.labels)
    assert not np.array_equal(averaged.predict_proba(data.images), image.predict_proba(data.images))
    balanced = classifier(class_weight="balanced").fit(data.images[:30], data.labels[:30])
    weighted = classifier(class_weight={0: 9.0}).fit(data.images[:30], data.labels[:30])
    plain = classifier().fit(data.images[:30], data.labels[:30])
    found = [m.predict_proba(data.images).tobytes() for m in (balanced, weighted, plain)]
    assert len(set(found)) == 3


def test_parameters() -> None:
    model = classifier(epochs=3)
    params = model.get_params()
    assert params["epochs"] == 3 and params["net"] is small
    assert ConvClassifier(**params).get_params() == params
    assert model.set_params(epochs=4, optimizer="sgd") is model and model.epochs == 4
    with pytest.raises(
        ShapeError, match="invalid parameter 'depth'; valid parameters are batch_size"
    ):
        model.set_params(depth=3)
    assert repr(ConvClassifier(epochs=2)) == "ConvClassifier(epochs=2)"


X, Y = np.zeros((6, 4, 4), np.float32), np.arange(6) % 2


@pytest.mark.parametrize(
    ("options", "x", "y", "error", "match"),
    [
        ({}, X[0, 0], Y, ShapeError, "Reshape your data"),
        ({}, X[:0], Y[:0], ShapeError, r"0 sample\(s\)"),
        ({}, X, Y[:5], ShapeError, r"inconsistent numbers of samples: \[6, 5\]"),
        ({}, X, np.zeros(6, int), ShapeError, "at least two classes are needed"),
        ({}, X, Y + 0.5, ShapeError, "Unknown label type"),
        ({}, X, np.eye(6), ShapeError, "y should be a 1d array"),
        ({}, X, None, ShapeError, "requires y to be passed"),
        ({}, X * np.nan, Y, ShapeError, "X contains NaN"),
        ({}, X.astype(str), Y, DTypeError, "X must be numbers"),
        ({"image_shape": (1, 4, 5)}, X.reshape(6, 16), Y, ShapeError, r"image_shape=\(1, 4, 5\)"),
        ({"epochs": 0}, X, Y, ShapeError, "epochs must be at least 1"),
        ({"optimizer": "best"}, X, Y, ShapeError, "optimizer must be one of"),
        ({"random_state": "a"}, X, Y, DTypeError, "random_state is a str"),
        ({"class_weight": {7: 1.0}}, X, Y, ShapeError, "class_weight has 7"),
        ({"class_weight": [1.0]}, X, Y, DTypeError, "class_weight must be"),
        ({"net": 3}, X, Y, DTypeError, "net is a int"),
        ({"net": lambda classes, shape: 3}, X, Y, DTypeError, "net gave a int"),
        ({"net": "resnet1"}, X, Y, ShapeError, "no network named 'resnet1'"),
    ],
)
def test_bad_arguments(options: Any, x: Any, y: Any, error: Any, match: str) -> None:
    model = classifier()
    model.set_params(**options)
    with pytest.raises(error, match=match):
        model.fit(x, y)


def test_use_before_fit_and_other_images() -> None:
    with pytest.raises(ValueError, match="predict: this ConvClassifier is not fitted yet"):
        classifier().predict(X)
    model = classifier(epochs=1).fit(X, Y)
    with pytest.raises(ShapeError, match=r"images have shape \(1, 4, 3\), expected \(1, 4, 4\)"):
        model.predict(X[:, :, :3])


def test_without_scikit_learn() -> None:
    root = str(Path(__file__).parents[2])
    code = (
        f"import sys; sys.path[:0] = [{root!r}]; sys.modules['sklearn'] = None\n"
        "from tests.train.test_estimator import *\n"
        "data = small_data()\n"
        "print(classifier().fit(data.images, data.labels).score(data.images, data.labels) > 0.5)\n"
        "try: classifier().predict(data.images)\n"
        "except ShapeError as error: print('not fitted' in str(error))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "True\nTrue\n"


def test_in_scikit_learns_tools() -> None:
    pytest.importorskip("sklearn")
    from sklearn.base import clone, is_classifier
    from sklearn.exceptions import NotFittedError
    from sklearn.model_selection import GridSearchCV, cross_val_score
    from sklearn.pipeline import Pipeline
    from sklearn.preprocessing import StandardScaler

    data = small_data(0, 60)
    model = classifier(epochs=4)
    copied = clone(model)
    assert copied is not model and copied.get_params() == model.get_params()
    assert is_classifier(model)
    with pytest.raises(NotFittedError):
        model.predict(data.images)
    scores = cross_val_score(model, data.images, NAMES[data.labels], cv=3)
    assert scores.shape == (3,) and scores.mean() > 0.6
    search = GridSearchCV(model, {"learning_rate": [1e-6, 0.02]}, cv=2)
    search.fit(data.images, data.labels)
    assert search.best_params_ == {"learning_rate": 0.02}
    assert search.predict(data.images).shape == (60,)
    rows = data.images.reshape(60, 36).astype(np.float64)
    line = Pipeline([("scale", StandardScaler()), ("net", classifier(image_shape=(1, 6, 6)))])
    line.fit(rows, data.labels)
    assert line.score(rows, data.labels) > 0.9
    line.set_params(net__epochs=1)
    assert line.named_steps["net"].epochs == 1


@pytest.mark.filterwarnings("ignore:Estimator ConvClassifier does not inherit")
def test_scikit_learns_own_checks() -> None:
    checks = pytest.importorskip("sklearn.utils.estimator_checks")
    model = ConvClassifier(
        small, epochs=40, batch_size=8, optimizer="adam", learning_rate=0.02, random_state=0
    )
    results = checks.check_estimator(model, on_fail=None, on_skip=None)
    failed = {
        r["check_name"]: str(r["exception"])[:300] for r in results if r["status"] == "failed"
    }
    # Batches are drawn at random: an image of weight two is in one of them, one that is repeated in two.
    failed.pop("check_sample_weight_equivalence_on_dense_data", None)
    assert not failed, failed
    assert sum(r["status"] == "passed" for r in results) > 30


def test_weights_of_images() -> None:
    data = small_data(0, 40)
    weights = np.tile([0.0, 1.0, 2.0, 0.5], 10)[np.random.default_rng(0).permutation(40)]
    there = weights > 0
    scores = []
    for images, labels, given in (
        (data.images, data.labels, weights),
        (data.images, data.labels, (4 * weights).tolist()),
        # Images of no weight are as if they were not there.
        (data.images[there], data.labels[there], weights[there]),
    ):
        model = classifier().fit(images, NAMES[labels], sample_weight=given)
        scores.append(model.decision_function(data.images))
    assert np.array_equal(scores[0], scores[1]) and np.array_equal(scores[0], scores[2])
    for images, labels, given in (
        (data.images, data.labels, np.ones(40)),
        (data.images, data.labels, 3.0),
    ):
        plain = classifier().fit(data.images, NAMES[data.labels])
        model = classifier().fit(images, NAMES[labels], given)
        np.testing.assert_allclose(
            model.decision_function(data.images),
            plain.decision_function(data.images),
            rtol=1e-2,
            atol=1e-3,
        )
    assert not np.allclose(scores[0], plain.decision_function(data.images), atol=0.1)
    # Of contradicting images the heavier ones win.
    images, labels = np.concatenate([data.images] * 2), np.repeat([0, 1], 40)
    heavy = np.repeat([1.0, 20.0], 40)
    assert (classifier().fit(images, labels, heavy).predict(data.images) == 1).all()
    assert (classifier().fit(images, labels, heavy[::-1]).predict(data.images) == 0).all()


@pytest.mark.parametrize(
    ("weights", "error", "match"),
    [
        ([1.0] * 5, ShapeError, r"expected a weight for each of 6 images, got shape \(5,\)"),
        (np.ones((6, 1)), ShapeError, r"got shape \(6, 1\)"),
        ([-1.0] * 6, ShapeError, "finite and not negative"),
        ([np.nan] * 6, ShapeError, "finite and not negative"),
        ([0.0] * 6, ShapeError, "all sample weights are zero"),
        ([1.0, 0.0] * 3, ShapeError, "at least two classes are needed"),
        ("much", DTypeError, "must be numbers"),
    ],
)
def test_bad_weights(weights: Any, error: Any, match: str) -> None:
    with pytest.raises(error, match=match):
        classifier().fit(X, Y, sample_weight=weights)
