"""Convolution: every candidate against the float64 reference and PyTorch, gradients, geometry, bits."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import fastconv as fc
import fastconv.functional as F
from fastconv import _core
from tests.cases.conv2d import CASES, TRANSPOSED, Conv2dCase, ConvTranspose2dCase
from tests.support import (
    assert_close,
    check_gradients,
    check_same_bits_for_threads,
    randn,
    rng,
)

LAYOUTS = ("NCHW", "NHWC")
conv_cases = pytest.mark.parametrize("case", CASES, ids=str)
transposed_cases = pytest.mark.parametrize("case", TRANSPOSED, ids=str)


def to_layout(a: Any, layout: str) -> Any:
    return a if layout == "NCHW" else np.ascontiguousarray(a.transpose(0, 2, 3, 1))


def from_layout(a: Any, layout: str) -> Any:
    return a if layout == "NCHW" else a.transpose(0, 3, 1, 2)


def arrays(case: Conv2dCase, dtype: Any = np.float32) -> tuple[Any, Any, Any]:
    g = rng(case.name)
    bias = randn(g, case.k, dtype=dtype) if case.bias else None
    return randn(g, *case.x, dtype=dtype), randn(g, *case.weight, dtype=dtype), bias


def definition(
    x: Any, w: Any, b: Any, stride: Any, padding: Any, dilation: Any, groups: int
) -> Any:
    """The sum over filter taps of shifted, strided input slices, in float64 NumPy: independent of our C++."""
    (k, cg, r, s) = w.shape
    n = x.shape[0]
    (sh, sw) = stride if isinstance(stride, tuple) else (stride, stride)
    (dh, dw) = dilation if isinstance(dilation, tuple) else (dilation, dilation)
    if padding == "same":
        th, tw = dh * (r - 1), dw * (s - 1)
        pads = ((th // 2, th - th // 2), (tw // 2, tw - tw // 2))
    elif padding == "valid":
        pads = ((0, 0), (0, 0))
    else:
        ph, pw = padding if isinstance(padding, tuple) else (padding, padding)
        pads = ((ph, ph), (pw, pw))
    xp = np.pad(x.astype(np.float64), ((0, 0), (0, 0), *pads))
    p = (xp.shape[2] - dh * (r - 1) - 1) // sh + 1
    q = (xp.shape[3] - dw * (s - 1) - 1) // sw + 1
    y = np.zeros((n, groups, k // groups, p, q))
    wg = w.astype(np.float64).reshape(groups, k // groups, cg, r, s)
    for i in range(r):
        for j in range(s):
            piece = xp[:, :, i * dh :: sh, j * dw :: sw][:, :, :p, :q].reshape(n, groups, cg, p, q)
            y += np.einsum("ngcpq,gkc->ngkpq", piece, wg[..., i, j])
    y = y.reshape(n, k, p, q)
    return y if b is None else y + b.astype(np.float64)[:, None, None]


@conv_cases
def test_reference_is_the_definition(case: Conv2dCase) -> None:
    x, w, b = arrays(case, np.float64)
    y = F.conv2d(x, w, b, *case.geometry)
    assert_close(y, definition(x, w, b, *case.geometry), 1e-13)


@conv_cases
def test_reference_gradients_are_adjoint(case: Conv2dCase) -> None:
    """<conv(x, w), g> = <x, dgrad(g)> = <w, wgrad(g)> in float64."""
    x, w, _ = arrays(case, np.float64)
    y = F.conv2d(x, w, None, *case.geometry)
    g = rng(case.name, "g").standard_normal(y.shape)
    inner = float((y * g).sum())
    dx = F.conv2d_input(x.shape, w, g, *case.geometry)
    dw = F.conv2d_weight(x, w.shape, g, *case.geometry)
    scale = float(np.abs(y * g).sum())
    assert abs(float((x * dx).sum()) - inner) <= 1e-12 * scale
    assert abs(float((w * dw).sum()) - inner) <= 1e-12 * scale


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("direction", ["fprop", "dgrad", "wgrad"])
@conv_cases
def test_every_candidate(case: Conv2dCase, direction: str, layout: str) -> None:
    x, w, b = arrays(case)
    y = F.conv2d(*(None if a is None else a.astype(np.float64) for a in (x, w, b)), *case.geometry)
    g = randn(rng(case.name, "g"), *y.shape)
    xl, gl = to_layout(x, layout), to_layout(g, layout)
    geometry = (*case.geometry, layout)
    wide = [a.astype(np.float64) for a in (x, w, g)]
    ran = []
    for name, declined in _core.conv2d_candidates(xl.shape, w.shape, *geometry, direction):
        if declined:
            with pytest.raises(fc.ShapeError, match="declines"):
                _core.conv2d(xl, w, b, *geometry, algorithm=name) if direction == "fprop" else (
                    _core.conv2d_input(xl.shape, w, gl, *geometry, algorithm=name)
                    if direction == "dgrad"
                    else _core.conv2d_weight(xl, w.shape, gl, *geometry, algorithm=name)
                )
            continue
        ran.append(name)
        if direction == "fprop":
            got = from_layout(_core.conv2d(xl, w, b, *geometry, algorithm=name), layout)
            expected = y
        elif direction == "dgrad":
            got = from_layout(
                _core.conv2d_input(xl.shape, w, gl, *geometry, algorithm=name), layout
            )
            expected = F.conv2d_input(x.shape, wide[1], wide[2], *case.geometry)
        else:
            got = _core.conv2d_weight(xl, w.shape, gl, *geometry, algorithm=name)
            expected = F.conv2d_weight(wide[0], w.shape, wide[2], *case.geometry)
        # With eight points the worst value, in a tile's corner, is some four times the mean error off.
        stride = case.stride if isinstance(case.stride, int) else case.stride[0]
        taps = w.shape[3] if name == "winograd_rows" else -(-w.shape[2] // stride)
        many_taps = name.startswith("winograd") and taps > 3
        eight = name == "winograd6" or many_taps
        tol = 2e-5 if eight else 4e-6
        assert_close(got, expected, tol, f"{direction} {name} {layout}")
    assert "implicit_gemm" in ran and "reference" in ran


@pytest.fixture
def direct() -> Iterator[None]:
    """Precision "highest": Winograd's transforms divide by 3 and 15."""
    before = fc.get_precision()
    fc.set_precision("highest")
    yield
    fc.set_precision(before)


@pytest.mark.usefixtures("direct")
@conv_cases
def test_small_integers_are_exact(case: Conv2dCase) -> None:
    """Products and sums of small integers fit float32 exactly: any error is a wrong term."""
    g = rng(case.name, "integers")
    x = g.integers(-3, 4, case.x).astype(np.float32)
    w = g.integers(-3, 4, case.weight).astype(np.float32)
    y = F.conv2d(x, w, None, *case.geometry)
    wide = [a.astype(np.float64) for a in (x, w)]
    np.testing.assert_array_equal(y, F.conv2d(*wide, None, *case.geometry))
    dy = g.integers(-3, 4, y.shape).astype(np.float32)
    np.testing.assert_array_equal(
        F.conv2d_input(x.shape, w, dy, *case.geometry),
        F.conv2d_input(x.shape, wide[1], dy.astype(np.float64), *case.geometry),
    )
    np.testing.assert_array_equal(
        F.conv2d_weight(x, w.shape, dy, *case.geometry),
        F.conv2d_weight(wide[0], w.shape, dy.astype(np.float64), *case.geometry),
    )


@conv_cases
def test_same_bits_for_threads(case: Conv2dCase) -> None:
    x, w, b = arrays(case)
    y = F.conv2d(x, w, b, *case.geometry)
    g = randn(rng(case.name, "g"), *y.shape)

    def everything() -> list[Any]:
        results = []
        for layout in LAYOUTS:
            xl, gl = to_layout(x, layout), to_layout(g, layout)
            results += [
                F.conv2d(xl, w, b, *case.geometry, layout=layout),
                F.conv2d_input(xl.shape, w, gl, *case.geometry, layout=layout),
                F.conv2d_weight(xl, w.shape, gl, *case.geometry, layout=layout),
                _core.conv2d_bias(gl, layout),
            ]
        return results

    check_same_bits_for_threads(everything)


@pytest.mark.parametrize(
    "case", [c for c in CASES if np.prod(c.x) * c.kernel[0] * c.k < 40000], ids=str
)
def test_gradients(case: Conv2dCase) -> None:
    g = rng(case.name, "grad")
    inputs = [g.standard_normal(case.x), g.standard_normal(case.weight)]
    if case.bias:
        inputs.append(g.standard_normal(case.k))
    check_gradients(lambda x, w, b=None: F.conv2d(x, w, b, *case.geometry), inputs)


def test_gradients_nhwc() -> None:
    g = rng("nhwc")
    inputs = [
        g.standard_normal((2, 5, 6, 3)),
        g.standard_normal((4, 3, 3, 3)),
        g.standard_normal(4),
    ]
    check_gradients(lambda x, w, b: F.conv2d(x, w, b, 2, 1, layout="NHWC"), inputs)


@pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel")
@conv_cases
def test_against_torch(case: Conv2dCase) -> None:
    torch = pytest.importorskip("torch")
    torch.set_num_threads(1)
    x, w, b = arrays(case)
    tx, tw = (torch.tensor(a, requires_grad=True) for a in (x, w))
    tb = None if b is None else torch.tensor(b, requires_grad=True)
    ty = torch.nn.functional.conv2d(tx, tw, tb, *case.geometry)
    g = randn(rng(case.name, "g"), *ty.shape)
    ty.backward(torch.tensor(g))
    fx, fw = (fc.tensor(a, requires_grad=True) for a in (x, w))
    fb = None if b is None else fc.tensor(b, requires_grad=True)
    fy = F.conv2d(fx, fw, fb, *case.geometry)
    fy.backward(g)
    assert_close(fy, ty.detach().numpy(), 1e-5)
    for ours, theirs in ((fx, tx), (fw, tw), (fb, tb)):
        if ours is not None:
            assert ours.grad is not None
            assert_close(ours.grad, theirs.grad.numpy(), 1e-5)


# ---- transposed ------------------------------------------------------------------------------


@transposed_cases
def test_transposed_is_the_adjoint(case: ConvTranspose2dCase) -> None:
    """<conv_transpose(x, w), g> = <x, conv(g, w)>, with the same weight array."""
    g = rng(case.name)
    x, w = randn(g, *case.x, dtype=np.float64), randn(g, *case.weight, dtype=np.float64)
    y = F.conv_transpose2d(x, w, None, *case.geometry)
    other = randn(g, *y.shape, dtype=np.float64)
    back = F.conv2d(other, w, None, case.stride, case.padding, case.dilation, case.groups)
    a, b = float((y * other).sum()), float((x * back[:, :, : x.shape[2], : x.shape[3]]).sum())
    assert abs(a - b) <= 1e-12 * float(np.abs(y * other).sum())


@pytest.mark.parametrize("layout", LAYOUTS)
@transposed_cases
def test_transposed_float32(case: ConvTranspose2dCase, layout: str) -> None:
    g = rng(case.name)
    x, w, b = randn(g, *case.x), randn(g, *case.weight), randn(g, case.k)
    expected = F.conv_transpose2d(*(a.astype(np.float64) for a in (x, w, b)), *case.geometry)
    got = F.conv_transpose2d(to_layout(x, layout), w, b, *case.geometry, layout=layout)
    assert_close(from_layout(got, layout), expected, 4e-6)


@transposed_cases
def test_transposed_gradients(case: ConvTranspose2dCase) -> None:
    g = rng(case.name, "grad")
    small = ConvTranspose2dCase(
        case.name,
        (1, case.groups * 2, *case.x[2:]),
        case.groups * 2,
        case.kernel,
        case.stride,
        case.padding,
        case.output_padding,
        case.groups,
        case.dilation,
    )
    if small.groups > 4:
        small = ConvTranspose2dCase(
            small.name,
            (1, 4, 4, 4),
            4,
            case.kernel,
            case.stride,
            case.padding,
            case.output_padding,
            4,
            case.dilation,
        )
    inputs = [
        g.standard_normal(small.x),
        g.standard_normal(small.weight),
        g.standard_normal(small.k),
    ]
    check_gradients(lambda x, w, b: F.conv_transpose2d(x, w, b, *small.geometry), inputs)


@transposed_cases
def test_transposed_against_torch(case: ConvTranspose2dCase) -> None:
    torch = pytest.importorskip("torch")
    g = rng(case.name)
    data = [randn(g, *case.x), randn(g, *case.weight), randn(g, case.k)]
    theirs = [torch.tensor(a, requires_grad=True) for a in data]
    ours = [fc.tensor(a, requires_grad=True) for a in data]
    ty = torch.nn.functional.conv_transpose2d(*theirs, *case.geometry)
    fy = F.conv_transpose2d(*ours, *case.geometry)
    assert_close(fy, ty.detach().numpy(), 1e-5)
    dy = randn(g, *ty.shape)
    ty.backward(torch.tensor(dy))
    fy.backward(dy)
    for a, b in zip(ours, theirs, strict=True):
        assert_close(a.grad, b.grad.numpy(), 1e-5)


# ---- random geometry --------------------------------------------------------------------------


@st.composite
def geometries(draw: Any) -> dict[str, Any]:
    groups = draw(st.sampled_from([1, 1, 2, 3]))
    cg, kg = draw(st.integers(1, 20)), draw(st.integers(1, 20))
    if draw(st.booleans()) and groups > 1:
        cg = kg = 1
    r, s = draw(st.integers(1, 5)), draw(st.integers(1, 5))
    dilation = (draw(st.integers(1, 3)), draw(st.integers(1, 3)))
    padding = (draw(st.integers(0, 4)), draw(st.integers(0, 4)))
    least = [
        max(1, d * (k - 1) + 1 - 2 * p) for d, k, p in zip(dilation, (r, s), padding, strict=True)
    ]
    return {
        "x": (
            draw(st.integers(1, 3)),
            groups * cg,
            least[0] + draw(st.integers(0, 9)),
            least[1] + draw(st.integers(0, 9)),
        ),
        "w": (groups * kg, cg, r, s),
        "geometry": ((draw(st.integers(1, 4)), draw(st.integers(1, 4))), padding, dilation, groups),
    }


@settings(max_examples=150, deadline=None, derandomize=True)
@given(geometries(), st.sampled_from(LAYOUTS), st.integers(0, 2**32 - 1))
def test_random_geometry(case: dict[str, Any], layout: str, seed: int) -> None:
    g = np.random.default_rng(seed)
    x, w = randn(g, *case["x"]), randn(g, *case["w"])
    expected = definition(x, w, None, *case["geometry"])
    y = F.conv2d(to_layout(x, layout), w, None, *case["geometry"], layout=layout)
    assert_close(from_layout(y, layout), expected, 4e-6)
    dy = randn(g, *expected.shape)
    wide = [a.astype(np.float64) for a in (x, w, dy)]
    dx = F.conv2d_input(
        to_layout(x, layout).shape, w, to_layout(dy, layout), *case["geometry"], layout=layout
    )
    dw = F.conv2d_weight(
        to_layout(x, layout), w.shape, to_layout(dy, layout), *case["geometry"], layout=layout
    )
    assert_close(
        from_layout(dx, layout), F.conv2d_input(x.shape, wide[1], wide[2], *case["geometry"]), 4e-6
    )
    assert_close(dw, F.conv2d_weight(wide[0], w.shape, wide[2], *case["geometry"]), 4e-6)


# ---- arrays ------------------------------------------------------------------------------------


def test_channels_last_views_stay_channels_last() -> None:
    g = rng("views")
    nhwc, w = randn(g, 2, 9, 8, 17), randn(g, 6, 17, 3, 3)
    view = nhwc.transpose(0, 3, 1, 2)
    y = F.conv2d(view, w, padding=1)
    assert y.shape == (2, 6, 9, 8) and y.transpose(0, 2, 3, 1).flags.c_contiguous
    np.testing.assert_array_equal(
        y, F.conv2d(nhwc, w, padding=1, layout="NHWC").transpose(0, 3, 1, 2)
    )
    t = fc.tensor(view)
    t = fc.Tensor(view, requires_grad=True)
    out = F.conv2d(t, w, padding=1)
    out.backward(randn(g, *out.shape))
    assert t.grad is not None and t.grad.shape == view.shape


@pytest.mark.parametrize(
    "change",
    [
        lambda a: a[::-1],
        lambda a: a[:, ::-1],
        lambda a: np.asfortranarray(a),
        lambda a: a.astype(a.dtype.newbyteorder(">")),
        lambda a: np.broadcast_to(a[:1], a.shape),
    ],
    ids=["negative_stride", "negative_inner", "fortran", "big_endian", "zero_stride"],
)
def test_unusual_arrays_give_the_right_answer(change: Any) -> None:
    g = rng("unusual")
    x, w = randn(g, 2, 5, 6, 7), randn(g, 4, 5, 3, 3)
    np.testing.assert_array_equal(
        F.conv2d(change(x), change(w)),
        F.conv2d(
            np.ascontiguousarray(change(x)).astype("f4"),
            np.ascontiguousarray(change(w)).astype("f4"),
        ),
    )


def test_readonly_and_misaligned_inputs() -> None:
    g = rng("readonly")
    x, w = randn(g, 1, 2, 5, 5), randn(g, 3, 2, 3, 3)
    expected = F.conv2d(x, w)
    x.flags.writeable = False
    np.testing.assert_array_equal(F.conv2d(x, w), expected)
    raw = np.zeros(x.nbytes + 1, np.uint8)
    crooked = raw[1:].view(np.float32).reshape(x.shape)
    crooked[...] = x
    assert not crooked.flags.aligned
    np.testing.assert_array_equal(F.conv2d(crooked, w), expected)


def test_empty_batch() -> None:
    x, w = np.zeros((0, 3, 8, 8), np.float32), np.ones((4, 3, 3, 3), np.float32)
    y = F.conv2d(x, w, padding=1)
    assert y.shape == (0, 4, 8, 8)
    assert F.conv2d_input(x.shape, w, y, 1, 1).shape == x.shape
    np.testing.assert_array_equal(F.conv2d_weight(x, w.shape, y, 1, 1), np.zeros_like(w))
    np.testing.assert_array_equal(_core.conv2d_bias(y, "NCHW"), np.zeros(4, np.float32))


def workspace_bytes(call: Any) -> int:
    """What a call with one thread takes from the memory pool and gives back."""
    threads = fc.get_num_threads()
    try:
        fc.set_num_threads(1)
        _core.empty_cache()
        result = call()
        assert result is not None
        return int(_core.memory_stats()["cached"])
    finally:
        fc.set_num_threads(threads)


def test_workspace_of_wgrad_is_bounded_for_long_rows() -> None:
    x, dy = np.ones((1, 1, 1, 200_002), np.float32), np.ones((1, 32, 1, 200_000), np.float32)
    results = []
    used = workspace_bytes(
        lambda: results.append(F.conv2d_weight(x, (32, 1, 1, 3), dy)) or results[0]
    )
    np.testing.assert_array_equal(results[0], np.full((32, 1, 1, 3), 200_000))
    assert used < x.nbytes + dy.nbytes


@pytest.mark.parametrize(
    ("x_shape", "w_shape", "padding"),
    [((10000, 8, 1, 1), (9, 8, 17, 17), 8), ((30000, 4, 1, 12), (4, 4, 7, 13), (3, 6))],
)
def test_workspace_is_bounded_for_tiny_images_in_wide_frames(
    x_shape: tuple[int, ...], w_shape: tuple[int, ...], padding: Any
) -> None:
    x, w = np.ones(x_shape, np.float32), np.ones(w_shape, np.float32)
    dy = np.ones((x_shape[0], w_shape[0], *x_shape[2:]), np.float32)
    for call in (
        lambda: F.conv2d(x, w, None, 1, padding),
        lambda: F.conv2d_input(x.shape, w, dy, 1, padding),
        lambda: F.conv2d_weight(x, w.shape, dy, 1, padding),
    ):
        assert workspace_bytes(call) < 6 * dy.nbytes + (20 << 20)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_pixels_that_no_tap_reaches_hold_the_bias(layout: str) -> None:
    x, w = np.ones((2, 2, 2, 3), np.float32), np.ones((3, 4, 1, 1), np.float32)
    bias = np.arange(1, 5, dtype=np.float32)
    if layout == "NCHW":
        x = np.ones((2, 3, 2, 2), np.float32)
    y = from_layout(F.conv_transpose2d(x, w, bias, stride=500, layout=layout), layout)
    assert y.shape == (2, 4, 501, 501)
    expected = np.broadcast_to(bias[:, None, None], y.shape).copy()
    expected[:, :, ::500, ::500] += 3
    np.testing.assert_array_equal(y, expected)


X, W = np.zeros((2, 8, 9, 9), np.float32), np.zeros((6, 8, 3, 3), np.float32)
BIG = 2**62


@pytest.mark.parametrize(
    ("call", "error", "match"),
    [
        (lambda: F.conv2d(X[0, 0], W), fc.ShapeError, "input must have 4 dimensions"),
        (lambda: F.conv2d(X, W[0]), fc.ShapeError, "weight must have 4 dimensions"),
        (lambda: F.conv2d(X, W[:, :3]), fc.ShapeError, "weight expects 3 input channels per group"),
        (lambda: F.conv2d(X, W, np.zeros(5, "f4")), fc.ShapeError, r"bias must have shape \(6,\)"),
        (lambda: F.conv2d(X, W, stride=0), fc.ShapeError, "stride .*at least 1.*got 0"),
        (lambda: F.conv2d(X, W, stride=-1), fc.ShapeError, "stride"),
        (lambda: F.conv2d(X, W, stride=1.5), fc.DTypeError, "stride must be an integer"),
        (lambda: F.conv2d(X, W, stride=True), fc.DTypeError, "stride"),
        (lambda: F.conv2d(X, W, stride=(1, 2, 3)), fc.ShapeError, "got 3 values"),
        (lambda: F.conv2d(X, W, stride=BIG), fc.ShapeError, "stride"),
        (lambda: F.conv2d(X, W, stride=2**70), fc.ShapeError, "out of range"),
        (lambda: F.conv2d(X, W, stride=10**5000), fc.ShapeError, "stride is out of range"),
        (lambda: F.conv2d(X, W, padding="\ud800"), fc.ShapeError, "padding is not valid text"),
        (
            lambda: F.conv2d(X, W, padding="same", dilation=BIG),
            fc.ShapeError,
            "dilation .*at most",
        ),
        (lambda: _core.conv2d_bias(X[:, :0], "NCHW"), fc.ShapeError, "at least one channel"),
        (lambda: _core.conv2d_bias(X[..., :0], "NHWC"), fc.ShapeError, "at least one channel"),
        (
            lambda: F.conv_transpose2d(np.zeros((0, 6, 2**33 + 1, 1), "f4"), W, stride=(2**31, 1)),
            fc.ShapeError,
            "too large",
        ),
        (lambda: F.conv2d(X, W, padding=-1), fc.ShapeError, "padding .*at least 0.*got -1"),
        (lambda: F.conv2d(X, W, padding=BIG), fc.ShapeError, "padding"),
        (lambda: F.conv2d(X, W, padding="full"), fc.ShapeError, "'same' or 'valid'"),
        (lambda: F.conv2d(X, W, padding="same", stride=2), fc.ShapeError, "needs stride 1"),
        (lambda: F.conv2d(X, W, padding=float("nan")), fc.DTypeError, "padding"),
        (lambda: F.conv2d(X, W, dilation=0), fc.ShapeError, "dilation"),
        (lambda: F.conv2d(X, W, dilation=BIG), fc.ShapeError, "dilation"),
        (lambda: F.conv2d(X, W, dilation=5), fc.ShapeError, "does not fit the input"),
        (lambda: F.conv2d(X, W, groups=0), fc.ShapeError, "groups must be at least 1"),
        (lambda: F.conv2d(X, W, groups=3), fc.ShapeError, "groups=3 must divide"),
        (lambda: F.conv2d(X, W, groups="2"), fc.DTypeError, "groups"),
        (lambda: F.conv2d(X, W, layout="CHWN"), fc.ShapeError, "layout must be"),
        (lambda: F.conv2d(X.astype("f8"), W), fc.DTypeError, "weight must be float64, got float32"),
        (lambda: F.conv2d(X.astype("f2"), W), fc.DTypeError, "got float16"),
        (lambda: F.conv2d(X.astype("i4"), W.astype("i4")), fc.DTypeError, "float64 or bfloat16"),
        (lambda: F.conv2d(X.astype(object), W), fc.DTypeError, "object"),
        (lambda: F.conv2d([[1.0]], W), fc.DTypeError, "input must be an array"),
        (lambda: F.conv2d(X, None), fc.DTypeError, "weight must be an array"),
        (lambda: F.conv2d(X[:, :0], W[:, :0]), fc.ShapeError, "weight must have no empty"),
        (lambda: F.conv2d(X[..., :0], W), fc.ShapeError, "at least one channel and one pixel"),
        (lambda: F.conv2d(X, W[:0]), fc.ShapeError, "no empty dimension"),
        (lambda: F.conv2d(X, W[:, :, :0]), fc.ShapeError, "no empty dimension"),
        (lambda: F.conv2d_input((2, 8, 9, 9), W, X), fc.ShapeError, "grad_output must have shape"),
        (lambda: F.conv2d_input((BIG, BIG, 9, 9), W, X), fc.ShapeError, "too large"),
        (lambda: F.conv2d_input((2, 8, -9, 9), W, X), fc.ShapeError, "negative"),
        (lambda: F.conv2d_input(9, W, X), fc.DTypeError, "input_size must be a sequence"),
        (lambda: F.conv2d_weight(X, (6, 8, 3, 3), X), fc.ShapeError, "grad_output must have shape"),
        (lambda: F.conv2d_weight(X, (6, 8, 3), X), fc.ShapeError, "4 dimensions"),
        (lambda: F.conv_transpose2d(X, W), fc.ShapeError, "weight expects 6 input channels"),
        (
            lambda: F.conv_transpose2d(X[:, :6], W, output_padding=1),
            fc.ShapeError,
            "output_padding",
        ),
        (
            lambda: F.conv_transpose2d(X[:, :6], W, padding=99),
            fc.ShapeError,
            "output height would be",
        ),
        (lambda: F.conv_transpose2d(X[:, :6], W, padding="same"), fc.ShapeError, "padding"),
    ],
)
def test_bad_arguments(call: Any, error: type[Exception], match: str) -> None:
    with pytest.raises(error, match=match):
        call()


def test_backward_refuses_a_gradient_of_another_shape() -> None:
    t = fc.tensor(X, requires_grad=True)
    y = F.conv2d(t, W)
    with pytest.raises(fc.ShapeError, match="gradient must have shape"):
        y.backward(np.zeros((2, 6, 7, 6), np.float32))
