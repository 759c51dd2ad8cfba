"""Every public function of `fastconv.functional` with good arguments and what kinds they are: what the tests of
bad arguments spoil one at a time."""

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


def _elementwise(**more):
    return Entry({"input": array(2, 5), **more})


def _convolution(**arguments):
    return Entry(
        {
            **arguments,
            "stride": value(PAIR, 1),
            "padding": value(PADDING, 1),
            "dilation": value(PAIR, 1),
            "groups": value(INT, 2),
            "layout": LAYOUT,
        },
        finite=("weight",),
    )


def _window_pool(**more):
    return Entry(
        {
            "input": IMAGE,
            "kernel_size": value(PAIR, 2),
            "stride": value(OPTIONAL_PAIR, 2),
            "padding": value(PAIR, 1),
            **more,
            "ceil_mode": value(BOOL, False),
            "layout": LAYOUT,
        }
    )


def _channel_dropout(*shape):
    return Entry(
        {
            "input": array(*shape),
            "p": value(FLOAT, 0.5),
            "training": value(BOOL, True),
            "layout": LAYOUT,
        }
    )


def _loss(**more):
    return Entry({"input": array(3, 4), "target": array(3, 4), "reduction": REDUCTION, **more})


TABLE = {
    "relu": _elementwise(),
    "relu6": _elementwise(),
    "sigmoid": _elementwise(),
    "tanh": _elementwise(),
    "leaky_relu": _elementwise(negative_slope=value(FLOAT, 0.1)),
    "gelu": _elementwise(approximate=value(CHOICE, "tanh")),
    "elu": _elementwise(alpha=value(FLOAT, 1.5)),
    "selu": _elementwise(),
    "celu": _elementwise(alpha=value(FLOAT, 1.5)),
    "hardsigmoid": _elementwise(),
    "hardswish": _elementwise(),
    "hardtanh": _elementwise(min_val=value(FLOAT, -0.5), max_val=value(FLOAT, 0.75)),
    "clamp": _elementwise(min=value(OPTIONAL_FLOAT, -0.5), max=value(OPTIONAL_FLOAT, 0.75)),
    "silu": _elementwise(),
    "softplus": _elementwise(beta=value(FLOAT, 1.5), threshold=value(FLOAT, 20.0)),
    "mish": _elementwise(),
    "prelu": Entry({"input": IMAGE, "weight": array(4), "layout": LAYOUT}),
    "neg": _elementwise(),
    "abs": _elementwise(),
    "exp": _elementwise(),
    "log": Entry({"input": POSITIVE}),
    "sqrt": Entry({"input": POSITIVE}),
    "reciprocal": _elementwise(),
    "erf": _elementwise(),
    "sign": _elementwise(),
    "floor": _elementwise(),
    "ceil": _elementwise(),
    "round": _elementwise(),
    "softmax": _elementwise(dim=value(INT, 1)),
    "log_softmax": _elementwise(dim=value(INT, 0)),
    "dropout": _elementwise(p=value(FLOAT, 0.5), training=value(BOOL, True)),
    "dropout1d": _channel_dropout(3, 4, 6),
    "dropout2d": _channel_dropout(2, 4, 3, 5),
    "dropout3d": _channel_dropout(2, 4, 3, 2, 5),
    "sum": _elementwise(dim=value(DIMS, 1), keepdim=value(BOOL, False)),
    "mean": _elementwise(dim=value(DIMS, (0, 1)), keepdim=value(BOOL, True)),
    "amax": _elementwise(dim=value(DIMS, 1), keepdim=value(BOOL, False)),
    "amin": _elementwise(dim=value(DIMS, (0, 1)), keepdim=value(BOOL, True)),
    "prod": _elementwise(dim=value(DIMS, 0), keepdim=value(BOOL, False)),
    "add": Entry({"input": array(2, 5), "other": array(2, 5)}, numbers_for_arrays=True),
    "mul": Entry({"input": array(2, 5), "other": array(2, 5)}, numbers_for_arrays=True),
    "sub": Entry({"input": array(2, 5), "other": array(2, 5)}, numbers_for_arrays=True),
    "div": Entry({"input": array(2, 5), "other": array(2, 5)}, numbers_for_arrays=True),
    "maximum": Entry({"input": array(2, 5), "other": array(2, 5)}, numbers_for_arrays=True),
    "minimum": Entry({"input": array(2, 5), "other": array(2, 5)}, numbers_for_arrays=True),
    "pow": Entry({"input": POSITIVE, "exponent": array(2, 5)}, numbers_for_arrays=True),
    "linear": Entry(
        {"input": array(3, 5), "weight": array(4, 5), "bias": (OPTIONAL, lambda: f32(4))}
    ),
    "conv2d": _convolution(input=IMAGE, weight=array(6, 2, 3, 3), bias=(OPTIONAL, lambda: f32(6))),
    "conv2d_input": _convolution(
        input_size=value(SIZES, (2, 4, 6, 6)),
        weight=array(6, 2, 3, 3),
        grad_output=array(2, 6, 6, 6),
    ),
    "conv2d_weight": _convolution(
        input=IMAGE, weight_size=value(SIZES, (6, 2, 3, 3)), grad_output=array(2, 6, 6, 6)
    ),
    "conv_transpose2d": Entry(
        {
            "input": IMAGE,
            "weight": array(4, 3, 3, 3),
            "bias": (OPTIONAL, lambda: f32(6)),
            "stride": value(PAIR, 2),
            "padding": value(PAIR, 1),
            "output_padding": value(PAIR, 1),
            "groups": value(INT, 2),
            "dilation": value(PAIR, 1),
            "layout": LAYOUT,
        },
        finite=("weight",),
    ),
    "max_pool2d": _window_pool(dilation=value(PAIR, 1)),
    "avg_pool2d": _window_pool(
        count_include_pad=value(BOOL, True), divisor_override=value("integer or None", 3)
    ),
    "sum_pool2d": _window_pool(),
    "adaptive_avg_pool2d": Entry(
        {"input": IMAGE, "output_size": value(OPTIONAL_PAIR, 3), "layout": LAYOUT}
    ),
    "adaptive_max_pool2d": Entry(
        {"input": IMAGE, "output_size": value(OPTIONAL_PAIR, (2, 3)), "layout": LAYOUT}
    ),
    "global_avg_pool2d": Entry({"input": IMAGE, "layout": LAYOUT}),
    "global_max_pool2d": Entry({"input": IMAGE, "layout": LAYOUT}),
    "batch_norm": Entry(
        {
            "input": IMAGE,
            "running_mean": (OPTIONAL, lambda: f32(4)),
            "running_var": (OPTIONAL, lambda: positive(4)),
            "weight": (OPTIONAL, lambda: f32(4)),
            "bias": (OPTIONAL, lambda: f32(4)),
            "training": value(BOOL, True),
            "momentum": value(FLOAT, 0.1),
            "eps": value(FLOAT, 1e-5),
            "layout": LAYOUT,
        },
        finite=("weight",),
    ),
    "local_response_norm": Entry(
        {
            "input": IMAGE,
            "size": value(INT, 3),
            "alpha": value(FLOAT, 0.1),
            "beta": value(FLOAT, 0.75),
            "k": value(FLOAT, 1.0),
            "layout": LAYOUT,
        }
    ),
    "cross_entropy": Entry(
        {
            "input": array(3, 4),
            "target": (LABELS, lambda: np.array([0, 3, 1])),
            "weight": (OPTIONAL, lambda: positive(4)),
            "ignore_index": value(INT, -100),
            "reduction": REDUCTION,
            "label_smoothing": value(FLOAT, 0.1),
        }
    ),
    "nll_loss": Entry(
        {
            "input": array(3, 4),
            "target": (LABELS, lambda: np.array([0, 3, 1])),
            "weight": (OPTIONAL, lambda: positive(4)),
            "ignore_index": value(INT, -100),
            "reduction": REDUCTION,
        }
    ),
    "mse_loss": _loss(),
    "l1_loss": _loss(),
    "huber_loss": _loss(delta=value(FLOAT, 0.5)),
    "binary_cross_entropy_with_logits": _loss(
        weight=(OPTIONAL, lambda: f32(3, 4)), pos_weight=(OPTIONAL, lambda: positive(4))
    ),
    "reshape": Entry({"input": (ANY, lambda: f32(2, 6)), "shape": value(SIZES, (3, -1))}),
    "flatten": Entry(
        {"input": (ANY, lambda: f32(2, 3, 2)), "start_dim": value(INT, 1), "end_dim": value(INT, 2)}
    ),
    "astype": Entry({"input": (ANY, lambda: f32(2, 6)), "dtype": value(CHOICE, "float32")}),
    "permute": Entry({"input": (ANY, lambda: f32(2, 3, 4)), "dims": value(SIZES, (2, 0, 1))}),
    "transpose": Entry(
        {"input": (ANY, lambda: f32(2, 3, 4)), "dim0": value(INT, 0), "dim1": value(INT, -1)}
    ),
    "concat": Entry({"tensors": (SEQUENCE, lambda: [f32(2, 3), f32(2, 3)]), "dim": value(INT, 1)}),
    "cat": Entry(
        {"tensors": (SEQUENCE, lambda: [f32(2, 3), f32(2, 3)]), "dim": value(INT, 0)},
        known_as="concat",
    ),
    "pad": Entry(
        {
            "input": array(3, 4),
            "pad": value(SIZES, (1, 2, 0, 1)),
            "mode": value(CHOICE, "constant"),
            "value": value(FLOAT, 0.5),
        }
    ),
}
# Products, normalisation within examples, parts of arrays, and resizing.
_CHANNELS = {"weight": (OPTIONAL, lambda: f32(4)), "bias": (OPTIONAL, lambda: f32(4))}
TABLE |= {
    "matmul": Entry({"input": array(2, 3, 4), "other": array(2, 4, 5)}),
    "instance_norm": Entry(
        {
            "input": IMAGE,
            "running_mean": (OPTIONAL, lambda: f32(4)),
            "running_var": (OPTIONAL, lambda: positive(4)),
            **_CHANNELS,
            "use_input_stats": value(BOOL, True),
            "momentum": value(FLOAT, 0.1),
            "eps": value(FLOAT, 1e-5),
            "layout": LAYOUT,
        },
        finite=("weight",),
    ),
    "group_norm": Entry(
        {
            "input": IMAGE,
            "num_groups": value(INT, 2),
            **_CHANNELS,
            "eps": value(FLOAT, 1e-5),
            "layout": LAYOUT,
        },
        finite=("weight",),
    ),
    "layer_norm": Entry(
        {
            "input": IMAGE,
            "normalized_shape": value(SIZES, (6, 6)),
            "weight": (OPTIONAL, lambda: f32(6, 6)),
            "bias": (OPTIONAL, lambda: f32(6, 6)),
            "eps": value(FLOAT, 1e-5),
        },
        finite=("weight",),
    ),
    "split": Entry(
        {
            "input": (ANY, lambda: f32(6, 2)),
            "split_size_or_sections": value(SIZES, (1, 5)),
            "dim": value(INT, 0),
        }
    ),
    "chunk": Entry(
        {"input": (ANY, lambda: f32(6, 2)), "chunks": value(INT, 3), "dim": value(INT, 0)}
    ),
    "narrow": Entry(
        {
            "input": (ANY, lambda: f32(6, 2)),
            "dim": value(INT, 0),
            "start": value(INT, 1),
            "length": value(INT, 2),
        }
    ),
    "slice": Entry(
        {
            "input": (ANY, lambda: f32(6, 2)),
            "dim": value(INT, 0),
            "start": value("integer or None", 1),
            "stop": value("integer or None", 5),
            "step": value(INT, 2),
        }
    ),
    "index_select": Entry(
        {
            "input": (ANY, lambda: f32(2, 5)),
            "dim": value(INT, 1),
            "index": (LABELS, lambda: np.array([0, 3, 1])),
        }
    ),
    "squeeze": Entry({"input": (ANY, lambda: f32(2, 1, 3)), "dim": value(DIMS, 1)}),
    "unsqueeze": Entry({"input": (ANY, lambda: f32(2, 3)), "dim": value(INT, 1)}),
    "expand": Entry({"input": (ANY, lambda: f32(2, 1)), "shape": value(SIZES, (3, 2, 4))}),
    "resample": Entry(
        {
            "input": array(2, 5),
            "dim": value(INT, 1),
            "index": (LABELS, lambda: np.array([0, 3, 1])),
        }
    ),
    "interpolate": Entry(
        {
            "input": IMAGE,
            "size": value(SIZES, (9, 4)),
            "mode": value(CHOICE, "bilinear"),
            "layout": LAYOUT,
        }
    ),
}

# One and three dimensions.
# Small, since padding of a hundred on each side makes large results: one too large to compare.
ROW, VOLUME = array(2, 4, 7), array(1, 2, 4, 6, 6)


def _convolutions_of(rank, image, channels, kernel, number, padding):
    weight = array(channels, channels // 2, *kernel)
    shared = {
        "bias": (OPTIONAL, lambda: f32(channels)),
        "stride": value(number, 2),
        "groups": value(INT, 2),
        "dilation": value(number, 1),
        "layout": LAYOUT,
    }
    return {
        f"conv{rank}d": Entry(
            {
                "input": image,
                "weight": weight,
                **shared,
                "stride": value(number, 1),
                "padding": value(padding, 1),
            },
            finite=("weight",),
        ),
        f"conv_transpose{rank}d": Entry(
            {
                "input": image,
                "weight": weight,
                **shared,
                "padding": value(number, 1),
                "output_padding": value(number, 1),
            },
            finite=("weight",),
        ),
    }


def _pools_of(rank, image, number, optional):
    windows = {
        "input": image,
        "kernel_size": value(number, 2),
        "stride": value(optional, 2),
        "padding": value(number, 1),
        "ceil_mode": value(BOOL, False),
        "layout": LAYOUT,
    }
    even = {"input": image, "output_size": value(optional, 3), "layout": LAYOUT}
    means = {
        "count_include_pad": value(BOOL, True),
        "divisor_override": value("integer or None", 3),
    }
    return {
        f"max_pool{rank}d": Entry({**windows, "dilation": value(number, 1)}),
        f"avg_pool{rank}d": Entry({**windows, **means}),
        f"adaptive_avg_pool{rank}d": Entry(even),
        f"adaptive_max_pool{rank}d": Entry(even),
    }


TABLE |= _convolutions_of(1, ROW, 4, (3,), INT, INT)
TABLE |= _convolutions_of(3, VOLUME, 2, (2, 3, 2), TRIPLE, PADDING_TRIPLE)
TABLE |= _pools_of(1, ROW, INT, "integer or None")
TABLE |= _pools_of(3, VOLUME, TRIPLE, OPTIONAL_TRIPLE)

# Norms of windows, whose inputs are not negative.


def _norms_of(rank, shape, number, optional):
    return {
        f"lp_pool{rank}d": Entry(
            {
                "input": (ARRAY, lambda: np.abs(f32(*shape)) + np.float32(0.1)),
                "norm_type": value(FLOAT, 2.0),
                "kernel_size": value(number, 2),
                "stride": value(optional, 2),
                "ceil_mode": value(BOOL, True),
                "layout": LAYOUT,
            }
        )
    }


TABLE |= _norms_of(1, (2, 4, 7), INT, "integer or None")
TABLE |= _norms_of(2, (2, 4, 6, 5), PAIR, OPTIONAL_PAIR)
TABLE |= _norms_of(3, (2, 4, 4, 3, 5), TRIPLE, OPTIONAL_TRIPLE)

# Functions made of others: activations, other orders of elements, distances, losses.
_VECTORS = array(3, 4)
_SIGNS = ARRAY, lambda: np.sign(f32(3, 4))
_PROBABILITIES = ARRAY, lambda: np.clip(np.abs(f32(3, 4)), 0.1, 0.9)
_PATCHES = {
    "kernel_size": value(PAIR, 2),
    "dilation": value(PAIR, 1),
    "padding": value(PAIR, 1),
    "stride": value(PAIR, 2),
}
_WEIGHT = OPTIONAL, lambda: positive(3, 4)


def _loss_of(names, **more):
    return Entry({**dict.fromkeys(names, _VECTORS), **more, "reduction": REDUCTION})


TABLE |= {
    "threshold": _elementwise(threshold=value(FLOAT, 0.1), value=value(FLOAT, -2.0)),
    "hardshrink": _elementwise(lambd=value(FLOAT, 0.25)),
    "softshrink": _elementwise(lambd=value(FLOAT, 0.25)),
    "softsign": _elementwise(),
    "tanhshrink": _elementwise(),
    "logsigmoid": _elementwise(),
    "softmin": _elementwise(dim=value(INT, 1)),
    "glu": Entry({"input": array(2, 6), "dim": value(INT, 1)}),
    "alpha_dropout": _elementwise(p=value(FLOAT, 0.5), training=value(BOOL, True)),
    "feature_alpha_dropout": _channel_dropout(2, 4, 3, 5),
    "pixel_shuffle": Entry(
        {
            "input": (ANY, lambda: f32(2, 8, 3, 4)),
            "upscale_factor": value(INT, 2),
            "layout": LAYOUT,
        }
    ),
    "pixel_unshuffle": Entry(
        {
            "input": (ANY, lambda: f32(2, 3, 4, 6)),
            "downscale_factor": value(INT, 2),
            "layout": LAYOUT,
        }
    ),
    "channel_shuffle": Entry(
        {"input": (ANY, lambda: f32(2, 6, 4)), "groups": value(INT, 3), "layout": LAYOUT}
    ),
    "unfold": Entry({"input": array(2, 3, 5, 6), **_PATCHES}),
    "fold": Entry({"input": array(2, 12, 12), "output_size": value(PAIR, (5, 6)), **_PATCHES}),
    "normalize": _elementwise(p=value(FLOAT, 2.0), dim=value(INT, 1), eps=value(FLOAT, 1e-6)),
    "cosine_similarity": Entry(
        {"x1": _VECTORS, "x2": _VECTORS, "dim": value(INT, 1), "eps": value(FLOAT, 1e-6)}
    ),
    "pairwise_distance": Entry(
        {
            "x1": _VECTORS,
            "x2": (ARRAY, lambda: f32(3, 4)[::-1].copy()),
            "p": value(FLOAT, 2.0),
            "eps": value(FLOAT, 1e-6),
            "keepdim": value(BOOL, False),
        }
    ),
    "margin_ranking_loss": _loss_of(("input1", "input2"), target=_SIGNS, margin=value(FLOAT, 0.5)),
    "hinge_embedding_loss": _loss_of(("input",), target=_SIGNS, margin=value(FLOAT, 0.5)),
    "cosine_embedding_loss": _loss_of(
        ("input1", "input2"),
        target=(ARRAY, lambda: np.array([1, -1, 1], np.float32)),
        margin=value(FLOAT, 0.5),
    ),
    "triplet_margin_loss": _loss_of(
        ("anchor",),
        positive=(ARRAY, lambda: f32(3, 4)[::-1].copy()),
        negative=(ARRAY, lambda: 2 * f32(3, 4)),
        margin=value(FLOAT, 0.5),
        p=value(FLOAT, 2.0),
        eps=value(FLOAT, 1e-6),
        swap=value(BOOL, True),
    ),
    "smooth_l1_loss": _loss(beta=value(FLOAT, 0.5)),
    "mse_loss": _loss(weight=_WEIGHT),
    "l1_loss": _loss(weight=_WEIGHT),
    "huber_loss": _loss(delta=value(FLOAT, 0.5), weight=_WEIGHT),
    "binary_cross_entropy": _loss_of(
        (), input=_PROBABILITIES, target=_PROBABILITIES, weight=_WEIGHT
    ),
    "kl_div": _loss_of(("input",), target=_PROBABILITIES, log_target=value(BOOL, False)),
    "poisson_nll_loss": _loss_of(
        ("input",),
        target=(ARRAY, lambda: positive(3, 4)),
        log_input=value(BOOL, True),
        full=value(BOOL, True),
        eps=value(FLOAT, 1e-6),
    ),
    "gaussian_nll_loss": Entry(
        {
            "input": _VECTORS,
            "target": (ARRAY, lambda: f32(3, 4)[::-1].copy()),
            "var": (ARRAY, lambda: positive(3, 4)),
            "full": value(BOOL, True),
            "eps": value(FLOAT, 1e-5),
            "reduction": REDUCTION,
        },
        numbers_for_arrays=True,  # for variances
    ),
    "soft_margin_loss": _loss_of(("input",), target=_SIGNS),
    "multilabel_soft_margin_loss": _loss_of(
        ("input",), target=_PROBABILITIES, weight=(OPTIONAL, lambda: positive(4))
    ),
    "multi_margin_loss": Entry(
        {
            "input": _VECTORS,
            "target": (LABELS, lambda: np.array([0, 3, 1])),
            "p": value(INT, 2),
            "margin": value(FLOAT, 0.5),
            "weight": (OPTIONAL, lambda: positive(4)),
            "reduction": REDUCTION,
        }
    ),
    "multilabel_margin_loss": Entry(
        {
            "input": array(4),
            "target": (LABELS, lambda: np.array([0, 3, 3, 0], np.int8)),
            "reduction": REDUCTION,
        }
    ),
}

# Elements at places.


def _unpooled(rank, number, optional, places):
    return {
        f"max_unpool{rank}d": Entry(
            {
                "input": array(2, 3, *places.shape),
                "indices": (LABELS, lambda: np.broadcast_to(places, (2, 3, *places.shape)).copy()),
                "kernel_size": value(number, 2),
                "stride": value(optional, 2),
                "padding": value(number, 0),
                "layout": LAYOUT,
            }
        )
    }


TABLE |= _unpooled(1, INT, "integer or None", np.array([1, 2, 4]))
TABLE |= _unpooled(2, PAIR, OPTIONAL_PAIR, np.array([[1, 2], [9, 14]]))
TABLE |= _unpooled(3, TRIPLE, OPTIONAL_TRIPLE, np.array([[[1, 6], [9, 14]], [[33, 38], [40, 63]]]))
TABLE |= {
    "embedding": Entry(
        {
            "input": (LABELS, lambda: np.array([0, 3, 1])),
            "weight": array(4, 5),
            "padding_idx": value("integer or None", 1),
        }
    ),
    "one_hot": Entry(
        {"input": (LABELS, lambda: np.array([0, 3, 1])), "num_classes": value(INT, 4)}
    ),
    "affine_grid": Entry(
        {
            "theta": array(2, 2, 3),
            "size": value(SIZES, (2, 1, 3, 4)),
        }
    ),
    "grid_sample": Entry(
        {
            "input": array(2, 3, 4, 5),
            "grid": (ARRAY, lambda: f32(2, 3, 2, 2) / 2),
            "mode": value(CHOICE, "bilinear"),
            "padding_mode": value(CHOICE, "border"),
        },
        finite=("grid",),
    ),
}
