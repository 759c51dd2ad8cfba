"""instance_norm, group_norm, layer_norm and their layers."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import fastconv as fc
import fastconv.functional as F
from fastconv import nn
from tests.support import assert_close, check_bfloat16, check_gradients, randn, rng


def data(*shapes: Any, dtype: Any = np.float64) -> list[Any]:
    return [randn(rng(i, s), *s, dtype=dtype) for i, s in enumerate(shapes)]


def normalized(x: Any, dims: tuple[int, ...], eps: float = 1e-5) -> Any:
    """By definition, in float64."""
    x = np.asarray(x, np.float64)
    mean = x.mean(dims, keepdims=True)
    return (x - mean) / np.sqrt(((x - mean) ** 2).mean(dims, keepdims=True) + eps)


def along(v: Any, ndim: int) -> Any:
    return np.asarray(v, np.float64).reshape((-1,) + (1,) * (ndim - 2))


SHAPES: list[tuple[int, ...]] = [(2, 6, 5), (3, 6, 5, 4), (1, 6, 2, 3, 4), (2, 12, 9, 7)]


@pytest.mark.parametrize("layout", ["NCHW", "NHWC"])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_instance_norm(shape: Any, layout: str) -> None:
    x, w, b = data(shape, shape[1:2], shape[1:2])
    expected = normalized(x, tuple(range(2, x.ndim))) * along(w, x.ndim) + along(b, x.ndim)
    plain = normalized(x, tuple(range(2, x.ndim)), 0.1)
    if layout == "NHWC":
        x, expected, plain = (np.moveaxis(v, 1, -1) for v in (x, expected, plain))

    def run(x: Any, w: Any, b: Any) -> Any:
        return F.instance_norm(x, weight=w, bias=b, layout=layout)

    assert_close(run(x, w, b), expected, 1e-12)
    assert_close(run(*(v.astype(np.float32) for v in (x, w, b))), expected, 4e-6)
    assert_close(F.instance_norm(x, eps=0.1, layout=layout), plain, 1e-12)
    if x.size < 300:
        check_gradients(run, [x, w, b], tol=1e-5)
    check_bfloat16(run, [x, w, b], slack=3e-3, gradient_slack=2e-2)


@pytest.mark.parametrize("layout", ["NCHW", "NHWC"])
@pytest.mark.parametrize("groups", [1, 2, 3, 6])
@pytest.mark.parametrize("shape", [(4, 12), *SHAPES], ids=str)
def test_group_norm(shape: Any, groups: int, layout: str) -> None:
    x, w, b = data(shape, shape[1:2], shape[1:2])
    grouped = x.reshape(shape[0], groups, -1)
    expected = normalized(grouped, (2,)).reshape(shape) * along(w, x.ndim) + along(b, x.ndim)
    if layout == "NHWC":
        x, expected = (np.moveaxis(v, 1, -1) for v in (x, expected))

    def run(x: Any, w: Any, b: Any) -> Any:
        return F.group_norm(x, groups, w, b, layout=layout)

    assert_close(run(x, w, b), expected, 1e-12)
    assert_close(run(*(v.astype(np.float32) for v in (x, w, b))), expected, 4e-6)
    if x.size < 300:
        check_gradients(run, [x, w, b], tol=1e-5)
    check_bfloat16(run, [x, w, b], slack=1e-4, gradient_slack=1e-3)


@pytest.mark.parametrize(
    ("shape", "last"), [((3, 7), 1), ((2, 3, 4), 2), ((5, 4), 2), ((2, 3, 1), 1), ((7,), 1)]
)
def test_layer_norm(shape: Any, last: int) -> None:
    x, w, b = data(shape, shape[-last:], shape[-last:])
    expected = normalized(x, tuple(range(-last, 0))) * w + b

    def run(x: Any, w: Any, b: Any) -> Any:
        return F.layer_norm(x, w.shape, w, b)

    assert_close(run(x, w, b), expected, 1e-12)
    assert_close(run(*(v.astype(np.float32) for v in (x, w, b))), expected, 4e-6)
    check_gradients(run, [x, w, b], tol=1e-5)
    if shape[-1] > 1:
        check_bfloat16(run, [x, w, b], slack=1e-4, gradient_slack=1e-3)


CALLS: dict[str, Any] = {
    "instance": lambda f, x, w, b: f.instance_norm(x, weight=w, bias=b),
    "group": lambda f, x, w, b: f.group_norm(x, 3, w, b),
    "layer": lambda f, x, w, b: f.layer_norm(x, x.shape[1:], None, None),
}


@pytest.mark.parametrize("name", CALLS)
def test_matches_torch(name: str) -> None:
    torch = pytest.importorskip("torch")
    torch.set_num_threads(1)
    x, w, b = data((3, 6, 5, 4), (6,), (6,), dtype=np.float32)
    ours = [fc.tensor(v, requires_grad=True) for v in (x, w, b)]
    theirs = [torch.from_numpy(v.copy()).requires_grad_() for v in (x, w, b)]
    y, expected = CALLS[name](F, *ours), CALLS[name](torch.nn.functional, *theirs)
    assert_close(y.numpy(), expected.detach().numpy(), 4e-6)
    _, g = data(y.shape, y.shape, dtype=np.float32)
    y.backward(g)
    expected.backward(torch.from_numpy(g))
    for mine, other in zip(ours, theirs, strict=True):
        assert (mine.grad is None) == (other.grad is None)
        if mine.grad is not None:
            assert_close(mine.grad.numpy(), other.grad.numpy(), 1e-5)


def test_given_statistics_and_empty_batches() -> None:
    x, mean, var, w, b = data((2, 3, 4, 5), (3,), (3,), (3,), (3,))
    var = np.abs(var) + 0.5
    got = F.instance_norm(x, mean, var, w, b, use_input_stats=False)
    np.testing.assert_array_equal(got, F.batch_norm(x, mean, var, w, b))
    empty = fc.tensor(x[:0], requires_grad=True)
    for y in (
        F.instance_norm(empty, weight=w, bias=b),
        F.group_norm(empty, 3, w, b),
        F.layer_norm(empty, (4, 5)),
    ):
        assert y.shape == (0, 3, 4, 5)


def test_layers() -> None:
    (x,) = data((2, 6, 5, 4), dtype=np.float32)
    np.testing.assert_array_equal(nn.InstanceNorm2d(6)(x), F.instance_norm(x))
    np.testing.assert_array_equal(
        nn.InstanceNorm2d(4, affine=True, layout="NHWC")(x).numpy(),
        F.instance_norm(x, layout="NHWC"),
    )
    assert list(nn.InstanceNorm2d(6).state_dict()) == []
    assert nn.InstanceNorm1d(6)(x[..., 0]).shape == (2, 6, 5)
    assert nn.InstanceNorm3d(6)(x[..., None]).shape == (2, 6, 5, 4, 1)
    group = nn.GroupNorm(3, 6)
    np.testing.assert_array_equal(group(x).numpy(), F.group_norm(x, 3))
    assert {k: v.shape for k, v in group.state_dict().items()} == {"weight": (6,), "bias": (6,)}
    layer = nn.LayerNorm((5, 4), bias=False)
    np.testing.assert_array_equal(layer(x).numpy(), F.layer_norm(x, (5, 4)))
    assert list(layer.state_dict()) == ["weight"]
    assert repr(nn.LayerNorm(4)) == "LayerNorm((4,), eps=1e-05, elementwise_affine=True)"
    text = "4, eps=1e-05, momentum=0.1, affine=False, track_running_stats=False"
    assert repr(nn.InstanceNorm1d(4)) == f"InstanceNorm1d({text})"
    assert repr(group) == "GroupNorm(3, 6, eps=1e-05, affine=True)"


X = np.zeros((2, 6, 5, 4), np.float32)


@pytest.mark.parametrize(
    ("call", "error", "text"),
    [
        (lambda: F.instance_norm(X[0, 0]), fc.ShapeError, "instance_norm: input must have at"),
        (lambda: F.instance_norm(X[..., :1, :1]), fc.ShapeError, "instance_norm: needs more than"),
        (
            lambda: F.instance_norm(X, use_input_stats=False),
            fc.ShapeError,
            "instance_norm: running_mean is needed",
        ),
        (
            lambda: F.instance_norm(X, weight=X[0, 0, 0]),
            fc.ShapeError,
            r"instance_norm: weight must have shape \(6,\), got \(4,\)",
        ),
        (lambda: F.instance_norm(X, eps=0.0), fc.ShapeError, "instance_norm: eps must be positive"),
        (lambda: F.instance_norm(X, layout="NC"), fc.ShapeError, "instance_norm: layout must be"),
        (lambda: F.instance_norm(X.astype(int)), fc.DTypeError, "instance_norm: input must be"),
        (lambda: F.group_norm(X, 4), fc.ShapeError, "group_norm: num_groups must divide the 6"),
        (lambda: F.group_norm(X, 0), fc.ShapeError, "group_norm: num_groups must divide"),
        (lambda: F.group_norm(X[..., 0, 0], 6), fc.ShapeError, "group_norm: needs more than one"),
        (lambda: F.group_norm(X, 2, np.ones(6)), fc.DTypeError, "group_norm: weight must be float"),
        (lambda: F.layer_norm(X, (4, 5)), fc.ShapeError, r"layer_norm: the input's shape must end"),
        (lambda: F.layer_norm(X, ()), fc.ShapeError, "layer_norm: the input's shape must end"),
        (lambda: F.layer_norm(X, 4.0), fc.DTypeError, "layer_norm: normalized_shape must be an"),
        (lambda: F.layer_norm(X, 4, X), fc.ShapeError, r"layer_norm: weight must have shape \(4,"),
        (lambda: nn.InstanceNorm2d(6, track_running_stats=1), fc.DTypeError, "must be True or"),
        (lambda: F.instance_norm(X, X), fc.ShapeError, r"instance_norm: running_mean must have"),
        (lambda: nn.InstanceNorm2d(5)(X), fc.ShapeError, "InstanceNorm2d: expects 5 channels"),
        (lambda: nn.InstanceNorm1d(6)(X), fc.ShapeError, "InstanceNorm1d: input must have 2 or 3"),
        (lambda: nn.GroupNorm(4, 6), fc.ShapeError, "GroupNorm: num_groups must divide"),
        (lambda: nn.LayerNorm(()), fc.ShapeError, "LayerNorm: normalized_shape must have"),
    ],
)
def test_bad_arguments(call: Any, error: type[Exception], text: str) -> None:
    with pytest.raises(error, match=text):
        call()
