"""Every public function of `fastconv.functional` with good arguments and what kinds they are: what the tests of
bad arguments spoil one at a time."""

import numpy as np

from tests.cases.arguments import (
    ANY,
    ARRAY,
    BOOL,
    CHOICE,
    DIMS,
    FLOAT,
    IMAGE,
    INT,
    LABELS,
    LAYOUT,
    OPTIONAL,
    OPTIONAL_FLOAT,
    OPTIONAL_PAIR,
    OPTIONAL_TRIPLE,
    PADDING,
    PADDING_TRIPLE,
    PAIR,
    POSITIVE,
    REDUCTION,
    SEQUENCE,
    SIZES,
    TRIPLE,
    Entry,
    array,
    channel_dropout,
    elementwise,
    f32,
    loss,
    positive,
    value,
)
from tests.cases.composed_functions import TABLE as COMPOSED


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


TABLE = {
    "relu": elementwise(),
    "relu6": elementwise(),
    "sigmoid": elementwise(),
    "tanh": elementwise(),
    "leaky_relu": elementwise(negative_slope=value(FLOAT, 0.1)),
    "gelu": elementwise(approximate=value(CHOICE, "tanh")),
    "elu": elementwise(alpha=value(FLOAT, 1.5)),
    "selu": elementwise(),
    "celu": elementwise(alpha=value(FLOAT, 1.5)),
    "hardsigmoid": elementwise(),
    "hardswish": elementwise(),
    "hardtanh": elementwise(min_val=value(FLOAT, -0.5), max_val=value(FLOAT, 0.75)),
    "clamp": elementwise(min=value(OPTIONAL_FLOAT, -0.5), max=value(OPTIONAL_FLOAT, 0.75)),
    "silu": elementwise(),
    "softplus": elementwise(beta=value(FLOAT, 1.5), threshold=value(FLOAT, 20.0)),
    "mish": elementwise(),
    "prelu": Entry({"input": IMAGE, "weight": array(4), "layout": LAYOUT}),
    "neg": elementwise(),
    "abs": elementwise(),
    "exp": elementwise(),
    "log": Entry({"input": POSITIVE}),
    "sqrt": Entry({"input": POSITIVE}),
    "reciprocal": elementwise(),
    "erf": elementwise(),
    "sign": elementwise(),
    "floor": elementwise(),
    "ceil": elementwise(),
    "round": elementwise(),
    "softmax": elementwise(dim=value(INT, 1)),
    "log_softmax": elementwise(dim=value(INT, 0)),
    "dropout": elementwise(p=value(FLOAT, 0.5), training=value(BOOL, True)),
    "dropout1d": channel_dropout(3, 4, 6),
    "dropout2d": channel_dropout(2, 4, 3, 5),
    "dropout3d": channel_dropout(2, 4, 3, 2, 5),
    "sum": elementwise(dim=value(DIMS, 1), keepdim=value(BOOL, False)),
    "mean": elementwise(dim=value(DIMS, (0, 1)), keepdim=value(BOOL, True)),
    "amax": elementwise(dim=value(DIMS, 1), keepdim=value(BOOL, False)),
    "amin": elementwise(dim=value(DIMS, (0, 1)), keepdim=value(BOOL, True)),
    "prod": elementwise(dim=value(DIMS, 0), keepdim=value(BOOL, False)),
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
    "mse_loss": loss(),
    "l1_loss": loss(),
    "huber_loss": loss(delta=value(FLOAT, 0.5)),
    "binary_cross_entropy_with_logits": loss(
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

TABLE |= COMPOSED
