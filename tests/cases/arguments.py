"""Kinds of argument of public functions, and arguments that several of them take."""

from dataclasses import dataclass

import numpy as np


def f32(*shape):
    return np.random.default_rng(len(shape)).standard_normal(shape).astype(np.float32)


def positive(*shape):
    return np.abs(f32(*shape)) + np.float32(0.5)


# Kinds of argument.
ARRAY = "floating array"
OPTIONAL = "floating array or None"
ANY = "array of any type"
LABELS = "integer array"
INT = "integer"
PAIR = "integer or pair"
OPTIONAL_PAIR = "integer, pair or None"
PADDING = "integer, pair, 'same' or 'valid'"
TRIPLE = "integer or triple"
OPTIONAL_TRIPLE = "integer, triple or None"
PADDING_TRIPLE = "integer, triple, 'same' or 'valid'"
FLOAT = "number"
OPTIONAL_FLOAT = "number or None"
BOOL = "bool"
CHOICE = "one of some strings"
SIZES = "sequence of integers"
DIMS = "dimension, several or None"
SEQUENCE = "sequence of arrays"


@dataclass
class Entry:
    """A function's arguments: name -> (kind, how to make a good value)."""

    arguments: dict
    # What else error messages may call it: F.cat is F.concat.
    known_as: str = ""
    # Operators that take a number where an array goes.
    numbers_for_arrays: bool = False
    # Arguments whose NaN and infinity meet padding or means, which only some algorithms multiply by.
    finite: tuple = ()


def array(*shape):
    return ARRAY, lambda: f32(*shape)


def value(kind, v):
    return kind, lambda: v


LAYOUT = value(CHOICE, "NCHW")
IMAGE = array(2, 4, 6, 6)
POSITIVE = ARRAY, lambda: positive(2, 5)
REDUCTION = value(CHOICE, "mean")


def elementwise(**more):
    return Entry({"input": array(2, 5), **more})


def channel_dropout(*shape):
    return Entry(
        {
            "input": array(*shape),
            "p": value(FLOAT, 0.5),
            "training": value(BOOL, True),
            "layout": LAYOUT,
        }
    )


def loss(**more):
    return Entry({"input": array(3, 4), "target": array(3, 4), "reduction": REDUCTION, **more})
