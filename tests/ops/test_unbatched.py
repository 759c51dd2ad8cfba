"""One example without its batch dimension is a batch of one: convolutions, pooling, in either layout."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import fastconv as fc
import fastconv.functional as F
from fastconv import nn
from tests.support import assert_close, check_gradients, randn, rng

SHAPES = {1: (4, 9), 2: (4, 7, 8), 3: (4, 5, 6, 7)}  # channels first


def weight(count: int) -> Any:
    return randn(rng("weight", count), 4, 4, *(2,) * count)


FUNCTIONS: dict[str, tuple[int, Callable[..., Any]]] = {}
for _n in (1, 2, 3):
    _conv, _back = getattr(F, f"conv{_n}d"), getattr(F, f"conv_transpose{_n}d")
    FUNCTIONS |= {
        f"conv{_n}d": (_n, lambda x, f=_conv, n=_n, **o: f(x, weight(n), **o)),
        f"conv_transpose{_n}d": (_n, lambda x, f=_back, n=_n, **o: f(x, weight(n), **o)),
    }
    for _kind in ("max", "avg"):
        _pool = getattr(F, f"{_kind}_pool{_n}d")
        _even = getattr(F, f"adaptive_{_kind}_pool{_n}d")
        FUNCTIONS |= {
            f"{_kind}_pool{_n}d": (_n, lambda x, f=_pool, **o: f(x, 2, 1, **o)),
            f"adaptive_{_kind}_pool{_n}d": (_n, lambda x, f=_even, **o: f(x, 3, **o)),
        }
    _norm = getattr(F, f"lp_pool{_n}d")
    FUNCTIONS[f"lp_pool{_n}d"] = (_n, lambda x, f=_norm, **o: f(F.abs(x), 2.0, 2, **o))
FUNCTIONS |= {
    "sum_pool2d": (2, lambda x, **o: F.sum_pool2d(x, 2, **o)),
    "global_avg_pool2d": (2, F.global_avg_pool2d),
    "global_max_pool2d": (2, F.global_max_pool2d),
}
# What PyTorch calls by the same arguments.
OURS_ALONE = ("sum_pool2d", "global_avg_pool2d", "global_max_pool2d")


@pytest.mark.parametrize("layout", ["NCHW", "NHWC"])
@pytest.mark.parametrize("name", FUNCTIONS)
def test_it_is_a_batch_of_one(name: str, layout: str) -> None:
    count, function = FUNCTIONS[name]
    x = randn(rng(name), *SHAPES[count])
    if layout == "NHWC":
        x = np.ascontiguousarray(np.moveaxis(x, 0, -1))
    one = function(x, layout=layout)
    np.testing.assert_array_equal(one, function(x[None], layout=layout)[0])
    assert one.ndim == x.ndim
    tensor = fc.tensor(x, requires_grad=True)
    function(tensor, layout=layout).sum().backward()
    batch = fc.tensor(x[None], requires_grad=True)
    function(batch, layout=layout).sum().backward()
    assert tensor.grad is not None and batch.grad is not None
    np.testing.assert_array_equal(tensor.grad.numpy(), batch.grad.numpy()[0])


@pytest.mark.parametrize("name", [n for n in FUNCTIONS if n not in OURS_ALONE])
def test_against_torch(name: str) -> None:
    torch = pytest.importorskip("torch")
    count, function = FUNCTIONS[name]
    x = randn(rng(name), *SHAPES[count])
    theirs = getattr(torch.nn.functional, name)
    value = torch.from_numpy(x)
    if "conv" in name:
        expected = theirs(value, torch.from_numpy(weight(count)))
    elif "adaptive" in name:
        expected = theirs(value, 3)
    elif "lp" in name:
        expected = theirs(value.abs(), 2.0, 2)
    else:
        expected = theirs(value, 2, 1)
    assert_close(function(x), expected.numpy(), 2e-6)


def test_indices_lose_the_dimension_too() -> None:
    x = randn(rng("indices"), 3, 6, 6)
    maxima, places = F.max_pool2d(x, 2, return_indices=True)
    assert maxima.shape == places.shape == (3, 3, 3)
    found = np.take_along_axis(x.reshape(3, 36), places.reshape(3, 9), 1)
    np.testing.assert_array_equal(found, maxima.reshape(3, 9))


def test_gradients() -> None:
    check_gradients(
        lambda x, w: F.conv2d(x, w, padding=1), [randn(rng(1), 2, 4, 3), randn(rng(2), 3, 2, 3, 3)]
    )


def test_by_keyword_and_in_programs() -> None:
    x = randn(rng("keyword"), 3, 8, 8)
    w = randn(rng("w"), 20, 3, 3, 3)
    np.testing.assert_array_equal(F.conv2d(weight=w, input=x), F.conv2d(x, w))
    net = nn.Sequential(nn.Conv2d(3, 20, 3), nn.MaxPool2d(2), nn.InstanceNorm2d(20)).eval()
    assert_close(fc.compile(net, x)(x), np.asarray(net(x)), 1e-5)


def test_other_ranks_are_refused() -> None:
    with pytest.raises(fc.ShapeError, match=r"^conv2d: "):
        F.conv2d(randn(rng(0), 8, 8), weight(2))
    with pytest.raises(fc.ShapeError, match=r"^max_pool1d: input must be"):
        F.max_pool1d(randn(rng(0), 8), 2)
