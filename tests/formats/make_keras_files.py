"""Keras writes models, a few inputs and its own results into a folder: `python FILE FOLDER [NAME]`.

tests/formats/data/row.* come from here; the other tests run it where Keras is installed.
"""

from __future__ import annotations

import os
import sys
from typing import Any

os.environ["KERAS_BACKEND"] = "torch"

import keras
import numpy as np
from keras import layers


def row() -> Any:
    return keras.Sequential(
        [
            layers.Input((12, 12, 3)),
            layers.Conv2D(4, 3, name="first"),
            layers.BatchNormalization(),
            layers.ReLU(),
            layers.MaxPooling2D(),
            layers.DepthwiseConv2D(3, depth_multiplier=2, padding="same"),
            layers.SeparableConv2D(5, 2),
            layers.Flatten(),
            layers.BatchNormalization(scale=False),
            layers.Dropout(0.5),
            layers.Dense(7),
            layers.Dense(3),
        ]
    )


def graph() -> Any:
    base = keras.Sequential(
        [
            layers.Input((5, 6, 4)),
            layers.Conv2D(3, 2, use_bias=False, name="deep"),
            layers.BatchNormalization(center=False, epsilon=0.01),
        ],
        name="base",
    )
    given = layers.Input((6, 7, 2))
    x = base(layers.Conv2D(4, 2, name="entry")(given))
    x = layers.Conv2DTranspose(2, 3, strides=2)(x)
    x = layers.Concatenate()([x, layers.PReLU(shared_axes=[1, 2])(x)])
    return keras.Model(given, layers.Dense(5)(layers.Flatten()(x)))


def pooled() -> Any:
    return keras.Sequential(
        [
            layers.Input((8, 8, 4)),
            layers.Conv2D(6, 3, groups=2),
            layers.GlobalAveragePooling2D(),
            layers.Dense(3),
        ]
    )


def line() -> Any:
    return keras.Sequential(
        [layers.Input((9, 2)), layers.Conv1D(4, 3), layers.Flatten(), layers.Dense(3)]
    )


def first() -> Any:
    """Channels first, with both orders of Flatten."""
    given = layers.Input((2, 6, 5))
    x = layers.Conv2D(3, 2, data_format="channels_first")(given)
    y = layers.Dense(4)(layers.Flatten(data_format="channels_first")(x))
    z = layers.Dense(4)(layers.Flatten(data_format="channels_last")(x))
    return keras.Model(given, layers.Concatenate()([y, z]))


def main(folder: str, *names: str) -> None:
    for build in (row, graph, pooled, line, first):
        if names and build.__name__ not in names:
            continue
        model = build()
        random = np.random.default_rng(1)
        model.set_weights(
            [
                random.uniform(0.5, 1.5, w.shape).astype("f4")
                if w.ndim == 1
                else random.normal(0, 1 / np.sqrt(np.prod(w.shape[:-1])), w.shape).astype("f4")
                for w in model.get_weights()
            ]
        )
        x = random.normal(size=(2, *model.input_shape[1:])).astype("f4")
        y = np.asarray(model.predict(x, verbose=0))
        for ending in ("keras", "h5"):
            model.save(f"{folder}/{build.__name__}.{ending}")
        model.save_weights(f"{folder}/{build.__name__}.weights.h5")
        np.savez(f"{folder}/{build.__name__}.npz", x=x, y=y)


if __name__ == "__main__":
    main(*sys.argv[1:])
