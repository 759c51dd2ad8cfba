"""The part of `functions.TABLE` for functions made of others: activations, other orders of elements, distances,
losses, elements at places."""

import numpy as np

from tests.cases.arguments import (
    ANY,
    ARRAY,
    BOOL,
    CHOICE,
    FLOAT,
    INT,
    LABELS,
    LAYOUT,
    OPTIONAL,
    OPTIONAL_PAIR,
    OPTIONAL_TRIPLE,
    PAIR,
    REDUCTION,
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


TABLE = {
    "threshold": elementwise(threshold=value(FLOAT, 0.1), value=value(FLOAT, -2.0)),
    "hardshrink": elementwise(lambd=value(FLOAT, 0.25)),
    "softshrink": elementwise(lambd=value(FLOAT, 0.25)),
    "softsign": elementwise(),
    "tanhshrink": elementwise(),
    "logsigmoid": elementwise(),
    "softmin": elementwise(dim=value(INT, 1)),
    "glu": Entry({"input": array(2, 6), "dim": value(INT, 1)}),
    "alpha_dropout": elementwise(p=value(FLOAT, 0.5), training=value(BOOL, True)),
    "feature_alpha_dropout": channel_dropout(2, 4, 3, 5),
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
    "normalize": elementwise(p=value(FLOAT, 2.0), dim=value(INT, 1), eps=value(FLOAT, 1e-6)),
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
    "smooth_l1_loss": loss(beta=value(FLOAT, 0.5)),
    "mse_loss": loss(weight=_WEIGHT),
    "l1_loss": loss(weight=_WEIGHT),
    "huber_loss": loss(delta=value(FLOAT, 0.5), weight=_WEIGHT),
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
