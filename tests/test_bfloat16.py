"""The element type bfloat16: conversion, NumPy and DLPack at the edge, the tape, layers, the missing package."""

from __future__ import annotations

import gc
import subprocess
import sys
import weakref
from typing import Any

import numpy as np
import pytest

import fastconv as fc
import fastconv.functional as F
from fastconv import _core, nn
from tests.support import BFLOAT16, check_same_bits_for_threads, rng, to_bfloat16

ALL = np.arange(1 << 16, dtype=np.uint16)  # every bfloat16 there is
LOWER = (0, 1, 0x7FFF, 0x8000, 0x8001, 0xFFFF)


def rounded(bits: Any) -> Any:
    """The definition, in 64-bit integers: to nearest, ties to even; a NaN keeps its upper half, made quiet."""
    bits = bits.astype(np.int64)
    upper, lower = bits >> 16, bits & 0xFFFF
    up = (lower > 0x8000) | ((lower == 0x8000) & (upper % 2 == 1))
    nan = (bits & 0x7FFFFFFF) > 0x7F800000
    return np.where(nan, upper | 0x40, upper + up).astype(np.uint16)


# Conversion


def test_to_float32_is_exact_for_every_value() -> None:
    wide = _core.from_bfloat16(ALL.view(BFLOAT16))
    assert wide.dtype == np.float32
    np.testing.assert_array_equal(wide.view(np.uint32), ALL.astype(np.uint32) << 16)


@pytest.mark.parametrize("lower", LOWER)
def test_rounding_around_every_value(lower: int) -> None:
    bits = (ALL.astype(np.uint32) << 16) | np.uint32(lower)
    got = _core.to_bfloat16(bits.view(np.float32))
    assert got.dtype == BFLOAT16
    np.testing.assert_array_equal(got.view(np.uint16), rounded(bits))
    number = ~np.isnan(bits.view(np.float32))
    theirs = bits.view(np.float32)[number].astype(BFLOAT16)
    np.testing.assert_array_equal(got[number].view(np.uint16), theirs.view(np.uint16))


@pytest.mark.parametrize("size", [0, 1, 3, 4, 7, 8, 15, 16, 17, 31, 33, 100, 70001])
def test_every_tail_is_converted_and_nothing_more(size: int) -> None:
    x = rng(size).standard_normal(size).astype(np.float32)
    got = _core.to_bfloat16(x)
    np.testing.assert_array_equal(got.view(np.uint16), rounded(x.view(np.uint32)))
    np.testing.assert_array_equal(_core.from_bfloat16(got), got.astype(np.float32))


def test_kernels_load_and_store_every_value() -> None:
    """x * 1 through a kernel's own load and store. Denormal numbers may be taken for zero there."""
    x = ALL.view(BFLOAT16)
    got = F.mul(x, 1.0).view(np.uint16)
    nan = (ALL & 0x7FFF) > 0x7F80
    denormal = ((ALL & 0x7F80) == 0) & ((ALL & 0x7F) != 0)
    np.testing.assert_array_equal(got[nan], ALL[nan] | 0x40)
    np.testing.assert_array_equal(got[~nan & ~denormal], ALL[~nan & ~denormal])
    for size in range(1, 40):
        some = ALL[17000 : 17000 + size]
        np.testing.assert_array_equal(F.mul(some.view(BFLOAT16), 1.0).view(np.uint16), some)


def test_conversion_does_not_depend_on_threads() -> None:
    x = rng("threads").standard_normal(200_003).astype(np.float32)
    check_same_bits_for_threads(lambda: _core.to_bfloat16(x).view(np.uint16))


@pytest.mark.parametrize(
    "function",
    [
        F.relu,
        F.gelu,
        F.tanh,
        F.sigmoid,
        F.relu6,
        F.softmax,
        F.log_softmax,
        F.sum,
        F.mean,
        F.elu,
        F.hardtanh,
        F.hardswish,
        F.silu,
        F.softplus,
        F.mish,
        F.exp,
        F.log,
        F.sqrt,
        F.erf,
    ],
)
def test_nan_and_infinity(function: Any) -> None:
    for value in (np.nan, np.inf, -np.inf):
        x = np.linspace(-2, 2, 37)
        x[5] = value
        got = function(to_bfloat16(x)).astype(np.float32)
        expected = function(x.astype(np.float32))
        np.testing.assert_array_equal(np.isnan(got), np.isnan(expected))
        np.testing.assert_array_equal(np.isinf(got), np.isinf(expected))


def test_astype() -> None:
    x = rng("astype").standard_normal((2, 3, 4, 5)).astype(np.float32)
    y = F.astype(x, "bfloat16")
    np.testing.assert_array_equal(y, x.astype(BFLOAT16))
    assert F.astype(y, np.float32).dtype == np.float32
    last = x.transpose(0, 3, 1, 2)
    assert F.astype(last, BFLOAT16).transpose(0, 2, 3, 1).flags.c_contiguous
    for wanted in (np.float64, np.int32, "float16"):
        np.testing.assert_array_equal(F.astype(y, wanted), y.astype(wanted))
    for bad in ("bfloat", None, object, "datetime64[s]", "S3"):
        with pytest.raises(fc.DTypeError, match=r"^astype:"):
            F.astype(x, bad)
    with pytest.raises(fc.DTypeError, match=r"^astype:"):
        F.astype(np.array(["a"]), "bfloat16")


def test_astype_is_differentiated() -> None:
    t = fc.tensor([1.0, 2.0, 3.0], requires_grad=True)
    y = t.astype("bfloat16")
    assert y.dtype == BFLOAT16 and y.requires_grad
    y.backward([1.0, 1 / 3, 2.0])
    assert t.grad is not None and t.grad.dtype == np.float32
    np.testing.assert_array_equal(t.grad.numpy(), to_bfloat16([1.0, 1 / 3, 2.0]).astype(np.float32))
    assert not t.astype(np.int64).requires_grad


# Tensors


def test_tensor() -> None:
    t = fc.tensor([1.0, 2.5, -3.0], dtype="bfloat16", requires_grad=True)
    assert t.dtype == BFLOAT16 and "bfloat16" in repr(t)
    assert fc.tensor(t.numpy()).dtype == BFLOAT16
    assert fc.tensor(t.detach(), dtype=np.float64).numpy().tolist() == [1.0, 2.5, -3.0]
    one = fc.tensor(0.5, dtype=BFLOAT16)
    assert type(one.item()) is float and float(one) == 0.5 and int(one) == 0 and not one.astype(int)
    (t * 2.0 + t / 4.0 - 1.0).sum().backward()
    assert t.grad is not None and t.grad.dtype == BFLOAT16
    assert t.grad.numpy().tolist() == [2.25] * 3


def test_gradients_of_several_uses_add_up() -> None:
    x = to_bfloat16(rng("uses").standard_normal((4, 5, 3, 7)))
    for order in ((0, 1, 2, 3), (0, 2, 3, 1)):
        t = fc.tensor(x, requires_grad=True)
        y = F.mul(t, 1.0)
        parts = [F.permute(F.mul(y, k), order) for k in (1.0, 2.0, 4.0)]
        for part in parts:
            part.sum().backward(retain_graph=True)
        assert t.grad is not None
        np.testing.assert_array_equal(t.grad.numpy(), np.full(x.shape, 7, BFLOAT16))
        F.add(F.add(*parts[:2]), parts[2]).sum().backward()
        np.testing.assert_array_equal(t.grad.numpy(), np.full(x.shape, 14, BFLOAT16))


@pytest.mark.parametrize(
    "memory",
    [
        lambda x: np.ascontiguousarray(x[::-1, ::-1])[::-1, ::-1],
        np.asfortranarray,
        lambda x: np.repeat(x, 2, 1)[:, ::2],
        lambda x: np.frombuffer(b"\0" + x.tobytes(), np.uint8)[1:].view(x.dtype).reshape(x.shape),
    ],
)
def test_any_memory(memory: Any) -> None:
    x = to_bfloat16(rng("memory").standard_normal((5, 6)))
    odd = memory(x)
    odd.flags.writeable = False
    w = to_bfloat16(np.ones((3, 6)))
    for function in (F.gelu, lambda v: F.linear(v, w), lambda v: F.sum(v, 1), F.softmax):
        np.testing.assert_array_equal(
            function(odd).astype(np.float32), function(x).astype(np.float32)
        )


def test_modules() -> None:
    net = nn.Sequential(
        nn.Conv2d(1, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(64, 3)
    )
    assert net.bfloat16() is net
    assert {p.dtype for p in net.parameters()} == {BFLOAT16}
    x = fc.tensor(rng("net").standard_normal((2, 1, 4, 4)), dtype="bfloat16")
    loss = F.cross_entropy(net(x), np.array([0, 2]))
    loss.backward()
    assert loss.dtype == BFLOAT16
    assert all(p.grad is not None and p.grad.dtype == BFLOAT16 for p in net.parameters())
    net.eval()
    y = net(x).numpy()
    state = {k: v.copy() for k, v in net.state_dict().items()}
    net.to("float32")
    assert net(x.astype("float32")).dtype == np.float32
    net.to("cpu", "bfloat16").load_state_dict(state)
    np.testing.assert_array_equal(net(x).numpy(), y)
    assert nn.Linear(3, 2, dtype="bfloat16").weight.dtype == BFLOAT16


# DLPack


class Producer:
    """The smallest DLPack producer."""

    dtype = "bfloat16"

    def __init__(self, tensor: fc.Tensor, **options: Any) -> None:
        self.tensor, self.options = tensor, options

    def __dlpack__(self, **options: Any) -> Any:
        return self.tensor.__dlpack__(**{**options, **self.options})

    def __dlpack_device__(self) -> tuple[int, int]:
        return self.tensor.__dlpack_device__()


@pytest.mark.parametrize("version", [None, (0, 8), (1, 0), (1, 3)])
@pytest.mark.parametrize("order", [(0, 1, 2), (2, 0, 1)])
def test_dlpack_there_and_back(order: tuple[int, ...], version: Any) -> None:
    x = to_bfloat16(rng("dlpack").standard_normal((3, 4, 5))).transpose(order)
    source = fc.tensor(x).detach()
    back = _core.bfloat16_from_dlpack(source.__dlpack__(max_version=version))
    np.testing.assert_array_equal(back, x)
    assert back.dtype == BFLOAT16 and np.shares_memory(back, source.numpy())
    np.testing.assert_array_equal(F.relu(Producer(source)), F.relu(x))


def test_dlpack_of_views_and_read_only_memory() -> None:
    x = to_bfloat16(rng("views").standard_normal((6, 4)))
    view = fc.Tensor(x[::-2, 1:3])
    np.testing.assert_array_equal(_core.bfloat16_from_dlpack(view.__dlpack__()), x[::-2, 1:3])
    x.flags.writeable = False
    with pytest.raises(BufferError, match="read-only"):
        fc.Tensor(x).__dlpack__()
    back = _core.bfloat16_from_dlpack(fc.Tensor(x).__dlpack__(max_version=(1, 0)))
    assert not back.flags.writeable
    copied = _core.bfloat16_from_dlpack(fc.Tensor(x).__dlpack__(copy=True))
    assert copied.flags.writeable and not np.shares_memory(copied, x)
    empty = fc.Tensor(to_bfloat16(np.zeros((0, 3))))
    assert _core.bfloat16_from_dlpack(empty.__dlpack__()).shape == (0, 3)
    scalar = fc.Tensor(to_bfloat16(2.0))
    assert _core.bfloat16_from_dlpack(scalar.__dlpack__()) == 2


def test_dlpack_keeps_the_memory_and_gives_it_back() -> None:
    class Owned(np.ndarray):  # NumPy's own arrays take no weak references
        pass

    for used in (True, False):
        x = np.ones(4, BFLOAT16).view(Owned)
        alive = weakref.ref(x)
        capsule = _core.bfloat16_to_dlpack(x, used)
        del x
        gc.collect()
        assert alive() is not None
        if used:
            back = _core.bfloat16_from_dlpack(capsule)
            with pytest.raises(fc.DTypeError, match="not a DLPack capsule"):
                _core.bfloat16_from_dlpack(capsule)
            del capsule
            gc.collect()
            assert back.tolist() == [1.0] * 4 and alive() is not None
            del back
        else:
            del capsule
        gc.collect()
        assert alive() is None


def test_dlpack_of_what_is_no_bfloat16() -> None:
    with pytest.raises(fc.DTypeError, match="code 2, 32 bits"):
        _core.bfloat16_from_dlpack(np.ones(3, np.float32).__dlpack__())
    with pytest.raises(fc.DTypeError, match="not a DLPack capsule"):
        _core.bfloat16_from_dlpack(object())
    with pytest.raises(fc.DTypeError, match="expects a bfloat16 array"):
        _core.bfloat16_to_dlpack(np.ones(3, np.float32), False)
    t = fc.tensor(1.0, dtype="bfloat16")
    with pytest.raises(RuntimeError, match="stream"):
        t.__dlpack__(stream=1)
    with pytest.raises(BufferError, match="device"):
        t.__dlpack__(dl_device=(2, 0))


def test_torch() -> None:
    torch = pytest.importorskip("torch")
    torch.set_num_threads(1)
    x = torch.randn(3, 4, dtype=torch.float32).to(torch.bfloat16)
    y = F.relu(x)
    assert type(y) is torch.Tensor and y.dtype == torch.bfloat16
    assert torch.equal(y, torch.relu(x))
    assert F.linear(x, x).shape == (3, 3)
    t = fc.tensor(x)
    assert t.dtype == BFLOAT16 and not np.shares_memory(t.numpy(), fc.tensor(x).numpy())
    back = torch.from_dlpack(t)
    assert back.dtype == torch.bfloat16 and torch.equal(back, x)
    back[0, 0] = 42  # the same memory
    assert float(t.numpy()[0, 0]) == 42
    last = x.reshape(1, 3, 2, 2).to(memory_format=torch.channels_last)
    pooled = F.avg_pool2d(last, 2)
    assert torch.equal(pooled, torch.nn.functional.avg_pool2d(last, 2))
    with pytest.raises(fc.DTypeError, match="detach"):
        F.relu(x.clone().requires_grad_())


# Without ml_dtypes


def run_without_ml_dtypes(code: str) -> str:
    """What the program prints where ml_dtypes cannot be imported."""
    done = subprocess.run(
        [sys.executable, "-c", "import sys\nsys.modules['ml_dtypes'] = None\n" + code],
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_import_does_not_need_ml_dtypes() -> None:
    code = "import sys, fastconv, fastconv.functional; print('ml_dtypes' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert done.stdout == "False\n", done.stderr
    run_without_ml_dtypes(
        "import numpy as np, fastconv.functional as F\nassert F.relu(np.ones(3)).sum() == 3"
    )


@pytest.mark.parametrize(
    ("call", "op"),
    [
        ("fc.tensor([1.0], dtype='bfloat16')", "tensor"),
        ("F.astype(np.ones(3, np.float32), 'bfloat16')", "astype"),
        ("fc.tensor([1.0]).astype('bfloat16')", "astype"),
        ("fc.nn.Linear(2, 2).to('bfloat16')", "to"),
        ("F.relu(Other())", "relu"),
    ],
)
def test_the_missing_package_is_named(call: str, op: str) -> None:
    code = f"""
import numpy as np, fastconv as fc, fastconv.functional as F

class Other:
    dtype = "bfloat16"
    def __dlpack__(self, **options): raise RuntimeError("unknown type")
    def __dlpack_device__(self): return (1, 0)

try:
    {call}
except ImportError as error:
    print(error)
"""
    message = run_without_ml_dtypes(code)
    assert message.startswith(f"{op}: ")
    assert "ml_dtypes, which is not installed" in message and "fastconv[bf16]" in message
