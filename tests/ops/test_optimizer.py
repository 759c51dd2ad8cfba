"""The native optimiser steps: 20 steps against the formulas in float64 and against torch.optim."""

from __future__ import annotations

import sys
from typing import Any

import numpy as np
import pytest

import fastconv as fc
from fastconv import _core
from tests.cases.optimizer import CASES, Case
from tests.support import assert_close, check_same_bits_for_threads, randn, rng

STEPS = 20
SIZES = [0, 1, 7, 4096, 10007]


def native(case: Case, x: Any, gradients: list[Any]) -> dict[str, Any]:
    """x and the state after one native step for each gradient."""
    o = case.options
    x = x.copy()
    state = {k: np.zeros_like(x) for k in ("buffer", "first", "second")}
    for step, g in enumerate(gradients, 1):
        decay, momentum = o.get("weight_decay", 0.0), o.get("momentum", 0.0)
        if case.optimizer == "SGD":
            if step == 1:
                state["buffer"].fill(np.nan)  # what it held before the first step does not matter
            _core.sgd_step(
                x,
                g,
                state["buffer"] if momentum else None,
                o["lr"],
                momentum,
                o.get("dampening", 0.0),
                decay,
                o.get("nesterov", False),
                step == 1,
            )
        elif case.optimizer == "RMSprop":
            _core.rmsprop_step(
                x,
                g,
                state["second"],
                state["buffer"] if momentum else None,
                state["first"] if o.get("centered") else None,
                o["lr"],
                o.get("alpha", 0.99),
                o.get("eps", 1e-8),
                decay,
                momentum,
            )
        else:
            beta1, beta2 = o.get("betas", (0.9, 0.999))
            decoupled = case.optimizer == "AdamW"
            eps = o.get("eps", 1e-8)
            first, second = state["first"], state["second"]
            _core.adam_step(x, g, first, second, o["lr"], beta1, beta2, eps, decay, decoupled, step)
    return {"param": x, **state}


def formulas(case: Case, x: Any, gradients: list[Any]) -> Any:
    """The published update rules in float64."""
    o = case.options
    x = x.astype(np.float64)
    lr, decay, momentum = o["lr"], o.get("weight_decay", 0.0), o.get("momentum", 0.0)
    first, second, buffer = np.zeros_like(x), np.zeros_like(x), np.zeros_like(x)
    for step, g in enumerate(gradients, 1):
        g = g.astype(np.float64)
        if case.optimizer == "AdamW":
            x = x - lr * decay * x
        else:
            g = g + decay * x
        if case.optimizer == "SGD":
            if momentum:
                buffer = g if step == 1 else momentum * buffer + (1 - o.get("dampening", 0.0)) * g
                g = g + momentum * buffer if o.get("nesterov") else buffer
            x = x - lr * g
        elif case.optimizer == "RMSprop":
            alpha = o.get("alpha", 0.99)
            second = alpha * second + (1 - alpha) * g * g
            variance = second
            if o.get("centered"):
                first = alpha * first + (1 - alpha) * g
                variance = second - first**2
            update = g / (np.sqrt(variance) + o.get("eps", 1e-8))
            if momentum:
                buffer = momentum * buffer + update
                update = buffer
            x = x - lr * update
        else:
            beta1, beta2 = o.get("betas", (0.9, 0.999))
            first = beta1 * first + (1 - beta1) * g
            second = beta2 * second + (1 - beta2) * g * g
            m, v = first / (1 - beta1**step), second / (1 - beta2**step)
            x = x - lr * m / (np.sqrt(v) + o.get("eps", 1e-8))
    return x


def data(case: Case, size: int, dtype: Any) -> tuple[Any, list[Any]]:
    generator = rng(str(case), size)
    x = randn(generator, size, dtype=dtype)
    # A mean per element keeps the centered variance away from 0.
    return x, [randn(generator, size, dtype=dtype) + dtype(0.1) for _ in range(STEPS)]


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("case", CASES, ids=str)
def test_formulas(case: Case, size: int, dtype: Any) -> None:
    x, gradients = data(case, size, dtype)
    if case.options.get("centered"):
        # The first centered variance is (alpha - alpha^2) g^2: rounding grows by 1 / (1 - alpha).
        gradients = [g + np.sign(g) for g in gradients]
    got = native(case, x, gradients)["param"]
    assert got.dtype == dtype
    tolerance = 5e-6 if dtype == np.float32 else 1e-12
    assert_close(got, formulas(case, x, gradients), tolerance, str(case))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("case", CASES, ids=str)
def test_matches_torch(case: Case, dtype: Any) -> None:
    torch = pytest.importorskip("torch")
    torch.set_num_threads(1)
    x, gradients = data(case, 1003, dtype)
    parameter = torch.nn.Parameter(torch.from_numpy(x.copy()))
    options = {"foreach": False, **case.options}
    optimizer = getattr(torch.optim, case.optimizer)([parameter], **options)
    for g in gradients:
        parameter.grad = torch.from_numpy(g.copy())
        optimizer.step()
    got = native(case, x, gradients)
    tolerance = 2e-6 if dtype == np.float32 else 1e-13
    assert_close(got["param"], parameter.detach().numpy(), tolerance, str(case))
    theirs = optimizer.state[parameter]
    names = {
        "momentum_buffer": "buffer",
        "exp_avg": "first",
        "exp_avg_sq": "second",
        "square_avg": "second",
        "grad_avg": "first",
    }
    for name, ours in names.items():
        if theirs.get(name) is not None:
            assert_close(got[ours], theirs[name].numpy(), tolerance, name)


@pytest.mark.parametrize("case", CASES, ids=str)
def test_threads(case: Case) -> None:
    generator = rng("threads")
    x, gradients = randn(generator, 3, 50021), [randn(generator, 3, 50021) for _ in range(3)]
    check_same_bits_for_threads(lambda: list(native(case, x, gradients).values()))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("case", CASES, ids=str)
def test_nan_stays_in_its_place(case: Case, dtype: Any) -> None:
    x, gradients = data(case, 40, dtype)
    gradients[3][[1, 39]] = np.nan
    np.testing.assert_array_equal(
        np.flatnonzero(np.isnan(native(case, x, gradients)["param"])), [1, 39]
    )


def test_gradient_in_any_memory_order() -> None:
    x, g = randn(rng("x"), 4, 6), randn(rng("g"), 6, 4)
    results = []
    for gradient in (g.T, g.T.copy(), g.T.astype(">f4")):
        p = x.copy()
        _core.sgd_step(p, gradient, None, 0.1, 0.0, 0.0, 0.0, False, True)
        results.append(p)
    np.testing.assert_array_equal(results[0], results[1])
    np.testing.assert_array_equal(results[0], results[2])


def z(*shape: int, dtype: Any = np.float32) -> Any:
    return np.zeros(shape or (4,), dtype)


def read_only() -> Any:
    a = z()
    a.flags.writeable = False
    return a


def sgd(
    p: Any, g: Any, b: Any = None, lr: Any = 0.1, momentum: Any = 0.0, nesterov: bool = False
) -> None:
    _core.sgd_step(p, g, b, lr, momentum, 0.0, 0.0, nesterov, True)


def adam(p: Any, g: Any, m: Any, v: Any, beta1: Any = 0.9, step: Any = 1, eps: Any = 1e-8) -> None:
    _core.adam_step(p, g, m, v, 0.1, beta1, 0.99, eps, 0.0, False, step)


def rmsprop(p: Any, g: Any, v: Any, b: Any = None, a: Any = None, momentum: Any = 0.0) -> None:
    _core.rmsprop_step(p, g, v, b, a, 0.1, 0.9, 1e-8, 0.0, momentum)


def test_an_order_asked_for_by_name_is_still_native() -> None:
    """NumPy keeps '<' apart from '=' where it comes from newbyteorder()."""
    named = np.dtype("f4").newbyteorder("L" if sys.byteorder == "little" else "B")
    p = np.ones(5, np.float32).view(named)
    assert p.dtype.byteorder != "="
    _core.sgd_step(p, np.full(5, 2, np.float32), None, 0.25, 0.0, 0.0, 0.0, False, True)
    np.testing.assert_array_equal(p, np.full(5, 0.5))


@pytest.mark.parametrize(
    ("call", "error", "text"),
    [
        (
            lambda: sgd(z(), z(5)),
            fc.ShapeError,
            r"sgd_step: grad must have shape \(4,\), got \(5,\)",
        ),
        (lambda: sgd(z(), z(dtype=np.float64)), fc.DTypeError, "sgd_step: grad must be float32"),
        (lambda: sgd(z(dtype=int), z(dtype=int)), fc.DTypeError, "sgd_step: param must be float32"),
        (lambda: sgd(z(dtype=np.float16), z()), fc.DTypeError, "sgd_step: param must be"),
        (lambda: sgd(z(dtype=">f4"), z()), fc.ShapeError, "sgd_step: param is updated in place"),
        (lambda: sgd(z(8)[::2], z()), fc.ShapeError, "sgd_step: param is updated in place"),
        (lambda: sgd(z()[::-1], z()), fc.ShapeError, "sgd_step: param is updated in place"),
        (lambda: sgd(read_only(), z()), fc.ShapeError, "sgd_step: param is updated in place"),
        (lambda: sgd([0.0], z(1)), fc.DTypeError, "sgd_step: param must be an array"),
        (lambda: sgd(z(), None), fc.DTypeError, "sgd_step: grad must be an array"),
        (
            lambda: sgd(z(), z(), z(3), momentum=0.9),
            fc.ShapeError,
            "momentum_buffer must have shape",
        ),
        (
            lambda: sgd(z(), z(), read_only(), momentum=0.9),
            fc.ShapeError,
            "momentum_buffer is updated",
        ),
        (lambda: sgd(z(), z(), momentum=0.9), fc.DTypeError, "needs a momentum_buffer"),
        (lambda: sgd(z(), z(), lr=-1.0), fc.ShapeError, "sgd_step: lr must be at least 0"),
        (lambda: sgd(z(), z(), lr=np.inf), fc.ShapeError, "sgd_step: lr must be finite"),
        (lambda: sgd(z(), z(), lr="fast"), fc.DTypeError, "sgd_step: lr must be a number"),
        (lambda: sgd(z(), z(), z(), nesterov=True), fc.ShapeError, "sgd_step: nesterov"),
        (lambda: adam(z(), z(), z(), z(), step=0), fc.ShapeError, "adam_step: step counts from 1"),
        (lambda: adam(z(), z(), z(), z(), step=1.5), fc.DTypeError, "adam_step: step"),
        (
            lambda: adam(z(), z(), z(), z(), beta1=1.0),
            fc.ShapeError,
            "adam_step: beta1 must be below 1",
        ),
        (lambda: adam(z(), z(), z(), z(), eps=-1e-8), fc.ShapeError, "adam_step: eps"),
        (lambda: adam(z(), z(), None, z()), fc.DTypeError, "adam_step: exp_avg must be an array"),
        (
            lambda: adam(z(), z(), z(), z(4, 1)),
            fc.ShapeError,
            "adam_step: exp_avg_sq must have shape",
        ),
        (lambda: rmsprop(z(), z(), z(dtype=float)), fc.DTypeError, "square_avg must be float32"),
        (lambda: rmsprop(z(), z(), z(), momentum=0.5), fc.DTypeError, "needs a momentum_buffer"),
        (lambda: rmsprop(z(), z(), z(), None, z(5)), fc.ShapeError, "grad_avg must have shape"),
    ],
)
def test_bad_arguments(call: Any, error: type[Exception], text: str) -> None:
    with pytest.raises(error, match=text):
        call()


def test_shared_memory_is_refused() -> None:
    p = z(10)
    with pytest.raises(fc.ShapeError, match="grad must not share memory"):
        sgd(p, p)
    with pytest.raises(fc.ShapeError, match="exp_avg_sq must not share memory"):
        adam(z(5), z(5), p[:5], p[4:9])
    adam(z(5), z(5), p[:5], p[5:])
