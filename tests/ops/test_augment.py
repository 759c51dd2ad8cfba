"""augment: the native passes against plain loops, for every kind of step."""

from __future__ import annotations

import math
import os
import subprocess
import sys
from typing import Any

import numpy as np
import pytest

import fastconv as fc
from fastconv import _core
from tests.ops.test_dropout import philox
from tests.support import check_same_bits_for_threads, rng

UNIT = 4096
MODES = ["constant", "area", "nearest", "reflect", "wrap"]


def images(*shape: int, dtype: Any = np.uint8, key: Any = 0) -> Any:
    drawn = rng("images", shape, key).integers(0, 256, shape, dtype=np.uint8)
    return drawn if dtype == np.uint8 else (drawn / 255).astype(dtype)


def run(x: Any, **steps: Any) -> Any:
    c = x.shape[1]
    arguments: dict[str, Any] = {
        "matrices": None,
        "size": None,
        "interpolation": "bilinear",
        "fill_mode": "area",
        "fill": np.zeros(c),
        "color": None,
        "contrast": None,
        "bounds": (0.0, 1.0),
        "tones": None,
        "boxes": None,
        "paint": None,
    }
    return _core.augment_batch(x, **{**arguments, **steps})


def extended(line: Any, i: int, mode: str) -> float:
    """Element i of a line that goes on for ever."""
    n = len(line)
    if mode == "reflect":
        i %= 2 * n
        return line[i if i < n else 2 * n - 1 - i]
    return line[min(max(i, 0), n - 1)]


def mapped(t: float, n: int, mode: str) -> float | None:
    """Where to look for place t along an axis of n pixels; None for the fill value."""
    if mode == "constant":
        return t if 0 <= t <= n - 1 else None
    if mode == "area":
        return min(max(t, 0.0), n - 1.0) if -0.5 <= t <= n - 0.5 else None
    if mode == "nearest":
        return min(max(t, 0.0), n - 1.0)
    if mode == "wrap" and not 0 <= t <= n - 1:
        if n == 1:
            return 0.0
        return t + (n - 1) * (math.floor(-t / (n - 1)) + 1) if t < 0 else t % (n - 1)
    return t


def look_up(image: Any, x: float, y: float, sampling: str, mode: str, fill: float) -> float:
    """The value of one plane at a place, by definition."""
    height, width = image.shape
    u, v = mapped(x, width, mode), mapped(y, height, mode)
    if u is None or v is None:
        return fill
    if sampling == "nearest":
        u, v = math.floor(u + 0.5), math.floor(v + 0.5)
    j, i = math.floor(u), math.floor(v)
    r, s = u - j, v - i
    columns = [[extended(row, j, mode), extended(row, j + 1, mode)] for row in image]
    rows = [a * (1 - r) + b * r for a, b in columns]
    return extended(rows, i, mode) * (1 - s) + extended(rows, i + 1, mode) * s


def warped(x: Any, matrices: Any, size: Any, sampling: str, mode: str, fill: Any) -> Any:
    """float64 loops; places are rounded to 1/4096 of a pixel, halves to even."""
    n, c = x.shape[:2]
    made = np.empty((n, c, *size))
    for k, ch, i, j in np.ndindex(made.shape):
        place = matrices[k] @ np.array([j, i, 1.0])
        at_x, at_y = np.rint(place * UNIT) / UNIT
        made[k, ch, i, j] = look_up(
            x[k, ch].astype(np.float64), at_x, at_y, sampling, mode, fill[ch]
        )
    return made


def half_up(x: Any) -> Any:
    return np.clip(np.floor(np.asarray(x) + 0.5), 0, 255).astype(np.uint8)


def some_matrices(n: int, *key: Any) -> Any:
    """Turned, stretched and moved, some of them far outside."""
    generator = rng("matrices", n, key)
    made = np.zeros((n, 2, 3))
    made[:, :, :2] = generator.uniform(-1.5, 1.5, (n, 2, 2))
    made[:, :, 2] = generator.uniform(-12, 20, (n, 2))
    return made


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("sampling", ["bilinear", "nearest"])
def test_warp_is_its_definition(sampling: str, mode: str) -> None:
    x = images(4, 2, 7, 9)
    matrices = some_matrices(4, mode)
    matrices[0] = [[0.9, 0.2, -0.3], [-0.2, 0.9, 1.1]]  # mostly inside
    fill = np.array([30.0, 200.0])
    for size in [(7, 9), (11, 6)]:
        expected = warped(x, matrices, size, sampling, mode, fill)
        steps = {"matrices": matrices, "size": size, "interpolation": sampling}
        got = run(x, **steps, fill_mode=mode, fill=fill)
        np.testing.assert_array_equal(got, half_up(expected))
        f = x.astype(np.float32)
        got = run(f, **steps, fill_mode=mode, fill=fill)
        np.testing.assert_allclose(got, expected, atol=1e-4)


@pytest.mark.parametrize("mode", MODES)
def test_images_of_one_pixel_and_one_row(mode: str) -> None:
    fill = np.array([7.0])
    for shape in [(3, 1, 1, 1), (3, 1, 1, 5), (3, 1, 5, 1)]:
        x, matrices = images(*shape), some_matrices(3, shape)
        matrices[:, :, 2] /= 6
        expected = warped(x, matrices, (4, 4), "bilinear", mode, fill)
        got = run(x, matrices=matrices, size=(4, 4), fill_mode=mode, fill=fill)
        np.testing.assert_array_equal(got, half_up(expected))


@pytest.mark.parametrize("mode", ["constant", "nearest", "reflect", "wrap"])
@pytest.mark.parametrize("order", [0, 1])
def test_warp_as_scipy_has_it(order: int, mode: str) -> None:
    """Far from whole pixels' borders, where scipy's rounding of places and ours part."""
    ndimage = pytest.importorskip("scipy.ndimage")
    x = images(20, 1, 8, 11, dtype=np.float32)
    matrices = some_matrices(20, "scipy")
    got = run(
        x,
        matrices=matrices,
        fill_mode=mode,
        interpolation=["nearest", "bilinear"][order],
        fill=np.array([0.3]),
    )
    for k, m in enumerate(matrices):
        swapped = m[::-1, [1, 0]]  # scipy's places are (row, column)
        expected = ndimage.affine_transform(
            x[k, 0], swapped, m[::-1, 2], order=order, mode=mode, cval=0.3
        )
        # A place within 1/4096 of a jump may fall on its other side.
        off = np.abs(got[k, 0] - expected) > 1e-3
        assert off.mean() < 0.02, (k, off.sum())


@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
def test_whole_pixels_are_copied(dtype: Any) -> None:
    x = images(2, 3, 6, 300, dtype=dtype)
    x[0, 0, 0, 0] = 255 if dtype == np.uint8 else np.nan
    identity = np.tile([[1.0, 0, 0], [0, 1, 0]], (2, 1, 1))
    np.testing.assert_array_equal(run(x, matrices=identity), x)
    flipped = np.tile([[-1.0, 0, 299], [0, 1, 0]], (2, 1, 1))
    np.testing.assert_array_equal(run(x, matrices=flipped), x[..., ::-1])
    upside = np.tile([[1.0, 0, 0], [0, -1, 5]], (2, 1, 1))
    np.testing.assert_array_equal(run(x, matrices=upside), x[:, :, ::-1])
    turned = np.tile([[0.0, -1, 299], [1, 0, 0]], (2, 1, 1))
    got = run(x[1:], matrices=turned[1:], size=(300, 6))
    np.testing.assert_array_equal(got, np.rot90(x[1:], 1, (2, 3)))
    moved = np.tile([[1.0, 0, -2], [0, 1, 3]], (2, 1, 1))
    expected = np.zeros_like(x)
    expected[:, :, :3, 2:] = x[:, :, 3:, :-2]
    np.testing.assert_array_equal(run(x, matrices=moved), expected)


def colored(x: Any, before: Any, contrast: Any, after: Any) -> Any:
    """float64, the matrices' product rounded to 1/65536 as the kernel has it."""
    made = np.empty(x.shape)
    c = x.shape[1]
    luma = np.array([0.299, 0.587, 0.114]) if c == 3 else np.full(c, 1 / c)
    for k, image in enumerate(x.astype(np.float64)):
        mean = before[k, :, :c] @ image.mean((1, 2)) + before[k, :, c]
        f = contrast[k]
        shift = (1 - f) * (luma @ mean)
        matrix = f * after[k, :, :c] @ before[k, :, :c]
        constant = after[k, :, :c] @ (f * before[k, :, c] + shift) + after[k, :, c]
        if x.dtype == np.uint8:
            matrix, constant = (np.floor(v * 65536 + 0.5) / 65536 for v in (matrix, constant))
        made[k] = np.einsum("ij,jhw->ihw", matrix, image) + constant[:, None, None]
    return made


@pytest.mark.parametrize("channels", [1, 2, 3, 4, 16])
def test_colors_are_their_definition(channels: int) -> None:
    n = 6
    generator = rng("colors", channels)
    before, after = generator.uniform(-1, 1, (2, n, channels, channels + 1))
    before[..., -1] *= 60
    after[..., -1] *= 60
    contrast = generator.uniform(0, 2, n)
    contrast[0] = 1
    before[1], after[1] = np.eye(channels, channels + 1), np.eye(channels, channels + 1)
    before[2] *= 300  # sums beyond 32 bits
    x = images(n, channels, 9, 37)
    color = np.stack([before, after], 1)
    expected = colored(x, before, contrast, after)
    got = run(x, color=color, contrast=contrast)
    # Where the rounded coefficients lie at a half the last bit is a matter of summing order.
    distance = np.abs(np.clip(expected, 0, 255) - got)
    assert distance.max() <= 0.5 + 1e-3, distance.max()
    color[..., -1] /= 255
    before[..., -1] /= 255
    after[..., -1] /= 255
    f = x.astype(np.float32) / 255
    expected = np.clip(colored(f, before, contrast, after), 0.2, 0.9)
    got = run(f, color=color, contrast=contrast, bounds=(0.2, 0.9))
    np.testing.assert_allclose(got, expected, atol=3e-4)


def test_unchanged_colors_keep_every_value() -> None:
    x = np.arange(256, dtype=np.uint8).reshape(1, 1, 16, 16)
    color = np.tile(np.eye(1, 2), (1, 2, 1, 1))
    np.testing.assert_array_equal(run(x, color=color, contrast=np.array([1.0])), x)
    f = np.linspace(-3, 3, 256, dtype=np.float32).reshape(1, 1, 16, 16)
    np.testing.assert_array_equal(run(f, color=color), f)


def test_tones_as_pillow_has_them() -> None:
    image, ops = pytest.importorskip("PIL.Image"), pytest.importorskip("PIL.ImageOps")
    x = images(40, 3, 12, 13)
    x[:, 1] //= 3
    x[:, 2] = x[:, 2] // 8 + 40
    x[3] = 77
    x[4, :, :6], x[4, :, 6:] = 10, 240
    cases = [(1, bits) for bits in (1, 3, 4, 8)] + [(2, t) for t in (0, 1, 128, 255, 256)]
    cases += [(3, 0), (4, 0)]
    for kind, value in cases:
        got = run(x, tones=np.tile(np.array([kind, value], np.int32), (40, 1)))
        for k in range(40):
            pil = image.fromarray(np.ascontiguousarray(x[k].transpose(1, 2, 0)))
            made = {
                1: lambda p, value=value: ops.posterize(p, value),
                2: lambda p, value=value: ops.solarize(p, value),
                3: ops.autocontrast,
                4: ops.equalize,
            }[kind](pil)
            expected = np.asarray(made).transpose(2, 0, 1).astype(int)
            # Pillow's autocontrast multiplies in floating point and cuts off: integers may come out one lower.
            off = 1 if kind == 3 else 0
            assert np.abs(got[k].astype(int) - expected).max() <= off, (kind, value, k)
    np.testing.assert_array_equal(run(x, tones=np.zeros((40, 2), np.int32)), x)


def test_boxes_are_painted_in_their_order() -> None:
    x = images(3, 2, 8, 9)
    boxes = np.array(
        [
            [[1, 2, 3, 4], [0, 0, 2, 3]],
            [[-2, -3, 5, 5], [7, 8, 9, 9]],
            [[3, 3, 0, 5], [-9, 40, 100, 100]],
        ]
    )
    expected = x.copy()
    for image, rectangles in zip(expected, boxes, strict=True):
        for top, left, height, width in rectangles:
            rows = slice(max(top, 0), max(top + height, 0))
            columns = slice(max(left, 0), max(left + width, 0))
            image[0, rows, columns], image[1, rows, columns] = 9, 201
    got = run(x, boxes=boxes, paint=np.array([9.2, 200.5]))
    np.testing.assert_array_equal(got, expected)


def test_steps_follow_one_another() -> None:
    x, matrices = images(5, 3, 10, 12), some_matrices(5)
    matrices[:, :, :2] *= 0.5
    color = np.tile(np.eye(3, 4) * 1.3, (5, 2, 1, 1))
    tones = np.tile(np.array([2, 100], np.int32), (5, 1))
    boxes = np.tile(np.array([2, 3, 4, 4]), (5, 1, 1))
    together = run(
        x, matrices=matrices, color=color, tones=tones, boxes=boxes, paint=np.full(3, 50.0)
    )
    one = run(run(run(x, matrices=matrices), color=color), tones=tones)
    np.testing.assert_array_equal(together, run(one, boxes=boxes, paint=np.full(3, 50.0)))


def normal_numbers(key: int, count: int) -> Any:
    """Box and Muller's transform of Philox's words, 64 at a time."""
    z = np.empty((count + 63) // 64 * 64)
    for block in range(len(z) // 64):
        words = np.array([philox(16 * block + i, key) for i in range(16)]).T.reshape(64) >> 8
        radius = np.sqrt(-2 * np.log((words[:32] + 1) / 2**24))
        angle = 2 * np.pi * (words[32:] / 2**24 - 0.5)
        z[64 * block : 64 * block + 32] = radius * np.cos(angle)
        z[64 * block + 32 : 64 * block + 64] = radius * np.sin(angle)
    return z[:count]


@pytest.mark.parametrize("shape", [(1, 1, 1, 1), (3, 1, 7, 9), (2, 3, 8, 8)])
def test_noise_is_its_definition(shape: tuple[int, ...]) -> None:
    n, count = shape[0], math.prod(shape[1:])
    keys = np.array([0, -1, 2**62][:n])
    sigma = np.array([40.0, 2.5, 0.0][:n])
    z = np.array([normal_numbers(int(k) % 2**64, count) for k in keys]).reshape(shape)
    x = images(*shape)
    exact = x + 3.5 + sigma[:, None, None, None] * z
    got = _core.gaussian_noise(x, keys, sigma, 3.5, 0.0, 1.0)
    assert np.abs(np.clip(exact, 0, 255) - got).max() <= 0.5 + 1e-4
    f = x.astype(np.float32)
    got = _core.gaussian_noise(f, keys, sigma, 3.5, -math.inf, math.inf)
    np.testing.assert_allclose(got, exact, atol=1e-4)
    got = _core.gaussian_noise(f, keys, sigma, 3.5, 20.0, 200.0)
    np.testing.assert_allclose(got, np.clip(exact, 20, 200), atol=1e-4)


def test_noise_is_normal() -> None:
    x = np.zeros((4, 1, 500, 500), np.float32)
    z = _core.gaussian_noise(x, np.arange(4), np.ones(4), 0.0, -math.inf, math.inf).ravel()
    assert abs(z.mean()) < 5e-3 and abs(z.var() - 1) < 7e-3  # five standard deviations
    assert abs((z**3).mean()) < 0.02 and abs((z**4).mean() - 3) < 0.05
    shares = [(z < v).mean() for v in (-2, -1, 0, 1, 2)]
    np.testing.assert_allclose(shares, [0.02275, 0.15866, 0.5, 0.84134, 0.97725], atol=2.5e-3)
    for lag in (1, 16, 32, 64, 250000):
        assert abs((z[lag:] * z[:-lag]).mean()) < 6e-3


def blurred(x: Any, weights: Any) -> Any:
    reach = weights.shape[1] // 2
    edges = ((0, 0), (0, 0), (reach, reach), (reach, reach))
    padded = np.pad(x.astype(np.float64), edges, mode="reflect")
    made = np.zeros(x.shape)
    for k, ch, i, j in np.ndindex(x.shape):
        window = padded[k, ch, i : i + 2 * reach + 1, j : j + 2 * reach + 1]
        made[k, ch, i, j] = weights[k] @ window @ weights[k]
    return made


@pytest.mark.parametrize("size", [1, 3, 7, 13])
def test_blur_is_its_definition(size: int) -> None:
    x = images(3, 2, 9, 70, key=size)
    weights = np.exp(-0.5 * (np.arange(size) - size // 2) ** 2 / np.array([[0.5], [2.0], [9.0]]))
    weights /= weights.sum(1, keepdims=True)
    f = x.astype(np.float32)
    np.testing.assert_allclose(_core.separable_blur(f, weights), blurred(x, weights), atol=2e-4)
    ends = np.floor(np.cumsum(weights[:, : size // 2], 1) * UNIT + 0.5)
    half = np.diff(ends, prepend=0, axis=1)
    units = np.concatenate([half, UNIT - 2 * half.sum(1, keepdims=True), half[:, ::-1]], 1)
    np.testing.assert_allclose(units / UNIT, weights, atol=1 / UNIT)
    np.testing.assert_array_equal(
        _core.separable_blur(x, weights), half_up(blurred(x, units / UNIT))
    )


@pytest.mark.parametrize("shape", [(4, 2, 8, 9), (4, 1, 2, 5), (4, 1, 1, 1), (4, 1, 3, 40)])
def test_sharpening_is_its_definition(shape: tuple[int, ...]) -> None:
    x, factors = images(*shape), np.array([0.0, 1.0, 1.7, -3.0])
    kernel = np.array([[1, 1, 1], [1, 5, 1], [1, 1, 1]])
    sums = 13.0 * x
    for i, j in np.ndindex(shape[2] - 2 if shape[2] > 2 else 0, max(shape[3] - 2, 0)):
        window = x[:, :, i : i + 3, j : j + 3]
        sums[:, :, i + 1, j + 1] = (window * kernel).sum((2, 3))
    part = np.floor((1 - factors) / 13 * 65536 + 0.5) / 65536
    own = (1 - 13 * part)[:, None, None, None]
    expected = own * x + part[:, None, None, None] * sums
    np.testing.assert_array_equal(_core.sharpen(x, factors, 0.0, 1.0), half_up(expected))
    f = (x / 255).astype(np.float32)
    got = _core.sharpen(f, factors, 0.0, 1.0)
    borders = sums == 13.0 * x
    exact = factors[:, None, None, None] * (x - sums / 13) + sums / 13
    exact = np.where(borders, x, np.clip(exact, 0, 255)) / 255
    np.testing.assert_allclose(got, exact, atol=1e-5)


def test_threads() -> None:
    x, matrices = images(37, 3, 40, 41), some_matrices(37)
    color = np.tile(np.eye(3, 4) * 1.3, (37, 2, 1, 1))
    boxes = np.tile(np.array([2, 3, 9, 9]), (37, 1, 1))
    weights = np.full((37, 5), 0.2)
    f = (x / 255).astype(np.float32)

    def both() -> list[Any]:
        made = []
        for batch in (x, f):
            made += [
                run(
                    batch,
                    matrices=matrices,
                    color=color,
                    contrast=np.full(37, 0.7),
                    boxes=boxes,
                    paint=np.zeros(3),
                ),
                _core.gaussian_noise(batch, np.arange(37), np.full(37, 0.3), 0.0, 0.0, 1.0),
                _core.separable_blur(batch, weights),
                _core.sharpen(batch, np.full(37, 1.4), 0.0, 1.0),
            ]
        return made

    check_same_bits_for_threads(both)


_EVERY_ISA = """
import zlib
import numpy as np
import tests.ops.test_augment as t
x, m = t.images(9, 3, 33, 35), t.some_matrices(9)
color = np.tile(np.eye(3, 4) * 1.3, (9, 2, 1, 1))
made = [t.run(x, matrices=m, fill_mode=mode, color=color, contrast=np.full(9, 0.7)) for mode in t.MODES]
made += [t._core.separable_blur(x, np.full((9, 5), 0.2)), t._core.sharpen(x, np.full(9, 1.4), 0.0, 1.0)]
print(zlib.crc32(b"".join(a.tobytes() for a in made)))
"""


def test_bytes_are_the_same_on_every_isa() -> None:
    seen = set()
    for isa in _core.available_isas():
        environment = {**os.environ, "FASTCONV_ISA": isa, "PYTHONPATH": os.pathsep.join(sys.path)}
        out = subprocess.run(
            [sys.executable, "-c", _EVERY_ISA], env=environment, capture_output=True, check=True
        )
        seen.add(out.stdout)
    assert len(seen) == 1


def test_empty_batches() -> None:
    x = np.zeros((0, 3, 4, 5), np.uint8)
    assert run(x, matrices=np.zeros((0, 2, 3)), size=(7, 8)).shape == (0, 3, 7, 8)
    assert _core.gaussian_noise(x, np.zeros(0, int), np.zeros(0), 0.0, 0.0, 1.0).shape == x.shape
    assert _core.separable_blur(x, np.zeros((0, 3))).shape == x.shape


X = np.zeros((2, 3, 4, 5), np.uint8)
M = np.zeros((2, 2, 3))
COLOR = np.zeros((2, 2, 3, 4))


def with_value(a: Any, value: float) -> Any:
    changed = np.array(a, np.float64)
    changed.flat[-1] = value
    return changed


@pytest.mark.parametrize(
    ("call", "error", "text"),
    [
        (lambda: run(X[0]), fc.ShapeError, "images must have 4 dimensions"),
        (lambda: run(X[..., :0]), fc.ShapeError, "with C, H and W at least 1"),
        (lambda: run(X.astype(np.float64)), fc.DTypeError, "uint8 or float32, got float64"),
        (lambda: run(X, matrices=M[:1]), fc.ShapeError, "matrices"),
        (lambda: run(X, matrices=M.astype(np.float32)), fc.DTypeError, "matrices"),
        (lambda: run(X, matrices=with_value(M, np.nan)), fc.ShapeError, "matrices must be finite"),
        (lambda: run(X, matrices=with_value(M, 1e12)), fc.ShapeError, "within 2\\^31 pixels"),
        (lambda: run(X, size=(3, 3)), fc.ShapeError, "another size need matrices"),
        (lambda: run(X, matrices=M, size=(0, 3)), fc.ShapeError, "size must be at least 1"),
        (lambda: run(X, matrices=M, size=(2**40, 2**40)), fc.ShapeError, "augment_batch"),
        (lambda: run(X, matrices=M, fill=np.zeros(2)), fc.ShapeError, "fill"),
        (lambda: run(X, interpolation="cubic"), fc.ShapeError, "interpolation must be one of"),
        (lambda: run(X, fill_mode="mirror"), fc.ShapeError, "fill_mode must be one of 'constant'"),
        (lambda: run(X, fill_mode=1), fc.DTypeError, "fill_mode must be a string"),
        (lambda: run(X, color=COLOR[:, 0]), fc.ShapeError, "color"),
        (lambda: run(X, color=with_value(COLOR, 1e9)), fc.ShapeError, "beyond 1000"),
        (lambda: run(X, color=COLOR, contrast=np.array([1, 2e3])), fc.ShapeError, "of image 1"),
        (lambda: run(X, contrast=np.ones(2)), fc.ShapeError, "contrast needs color"),
        (lambda: run(X, tones=np.full((2, 2), 9, np.int32)), fc.ShapeError, "no tone curve 9"),
        (
            lambda: run(X.astype(np.float32), tones=np.zeros((2, 2), np.int32)),
            fc.DTypeError,
            "tone curves are for uint8",
        ),
        (
            lambda: run(X, boxes=np.full((2, 1, 4), -1), paint=np.zeros(3)),
            fc.ShapeError,
            "boxes must be",
        ),
        (lambda: run(X, boxes=np.zeros((2, 1, 4), int)), fc.ShapeError, "boxes need paint"),
        (
            lambda: _core.gaussian_noise(X, np.zeros(2, int), np.zeros(3), 0.0, 0.0, 1.0),
            fc.ShapeError,
            "gaussian_noise: sigma",
        ),
        (
            lambda: _core.gaussian_noise(X, None, np.zeros(2), 0.0, 0.0, 1.0),
            fc.DTypeError,
            "keys and sigma must be arrays",
        ),
        (lambda: _core.separable_blur(X, np.full((2, 4), 0.25)), fc.ShapeError, "must be odd"),
        (lambda: _core.separable_blur(X, np.full((2, 9), 1 / 9)), fc.ShapeError, "too small for 9"),
        (lambda: _core.separable_blur(X, np.full((2, 3), 1.0)), fc.ShapeError, "add up to 1"),
        (lambda: _core.sharpen(X, np.array([1.0, 40.0]), 0.0, 1.0), fc.ShapeError, "between -30"),
    ],
)
def test_bad_arguments(call: Any, error: type[Exception], text: str) -> None:
    with pytest.raises(error, match=text):
        call()
