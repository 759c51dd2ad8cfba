"""Optimisers of bfloat16 parameters: float32 masters behind them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import fastconv as fc
import fastconv.functional as F
from fastconv import _core, nn, optim
from tests.cases.optimizer import CASES, Case
from tests.support import BFLOAT16, assert_close, check_same_bits_for_threads, rng, to_bfloat16


def steps(case: Case, start: Any, dtype: Any, gradients: list[Any]) -> tuple[Any, Any]:
    """The parameter and its optimiser after a step for each gradient."""
    p = fc.tensor(start, dtype=dtype, requires_grad=True)
    optimizer = getattr(optim, case.optimizer)([p], **case.options)
    for g in gradients:
        p.grad = fc.Tensor(g.astype(dtype))
        optimizer.step()
    return p, optimizer


@pytest.mark.parametrize("size", [0, 1, 7, 4096, 10007])
@pytest.mark.parametrize("case", CASES, ids=str)
def test_the_master_is_what_float32_gives(case: Case, size: int) -> None:
    g = rng(str(case), size)
    start = to_bfloat16(g.standard_normal(size))
    gradients = [to_bfloat16(g.standard_normal(size)) for _ in range(5)]
    narrow, optimizer = steps(case, start, BFLOAT16, gradients)
    wide, _ = steps(case, start, np.float32, gradients)
    state = optimizer.state[narrow]
    assert all(v.dtype == np.float32 for v in state.values() if isinstance(v, np.ndarray))
    # The two loops are compiled apart, and may join other multiplications and additions.
    assert_close(state["master_param"], wide.numpy(), 3e-7)
    assert narrow.dtype == BFLOAT16
    np.testing.assert_array_equal(narrow.numpy(), to_bfloat16(state["master_param"]))


def test_steps_below_the_rounding_add_up() -> None:
    p = fc.tensor(np.ones(5), dtype="bfloat16", requires_grad=True)
    optimizer = optim.SGD([p], lr=1e-3)
    for _ in range(100):  # 1 - 0.001 is 1 in bfloat16
        p.grad = fc.Tensor(to_bfloat16(np.ones(5)))
        optimizer.step()
    np.testing.assert_array_equal(p.numpy(), to_bfloat16(np.full(5, 0.9)))


@pytest.mark.parametrize("optimizer", ["SGD", "Adam", "RMSprop"])
def test_a_parameter_set_by_hand_takes_its_master_along(optimizer: str) -> None:
    p = fc.tensor(np.ones(5000), dtype="bfloat16", requires_grad=True)
    made = getattr(optim, optimizer)([p], lr=1e-3)
    for _ in range(3):
        p.grad = fc.Tensor(to_bfloat16(np.ones(5000)))
        made.step()
    kept = made.state[p]["master_param"][1].copy()
    p.numpy()[0], p.numpy()[4999] = 8, np.nan
    p.grad = fc.Tensor(to_bfloat16(np.zeros(5000)))
    made.step()
    master = made.state[p]["master_param"]
    assert abs(master[0] - 8) < 0.01 and np.isnan(master[4999])
    assert master[1] == kept or (optimizer == "Adam" and abs(master[1] - kept) < 1e-2)
    np.testing.assert_array_equal(p.numpy()[:4999], to_bfloat16(master[:4999]))


@pytest.mark.parametrize("case", [CASES[2], CASES[5], CASES[13]], ids=str)
def test_state_dict_continues_to_the_bit(case: Case) -> None:
    g = rng("resume", str(case))
    start = to_bfloat16(g.standard_normal(300))
    gradients = [to_bfloat16(g.standard_normal(300)) for _ in range(6)]
    whole, _ = steps(case, start, BFLOAT16, gradients)
    half, optimizer = steps(case, start, BFLOAT16, gradients[:3])
    p = fc.tensor(half.numpy(), requires_grad=True)
    resumed = getattr(optim, case.optimizer)([p], **case.options)
    resumed.load_state_dict(optimizer.state_dict())
    assert resumed.state[p]["master_param"].dtype == np.float32
    for gradient in gradients[3:]:
        p.grad = fc.Tensor(gradient)
        resumed.step()
    np.testing.assert_array_equal(p.numpy(), whole.numpy())


def test_options_and_clipping() -> None:
    p = fc.tensor(np.ones(4), dtype="bfloat16", requires_grad=True)
    p.grad = fc.Tensor(to_bfloat16([3.0, 0.0, -4.0, 0.0]))
    assert optim.clip_grad_norm_([p], 1.0) == 5.0
    np.testing.assert_allclose(p.grad.numpy().astype(np.float64), [0.6, 0, -0.8, 0], rtol=2**-8)
    optim.clip_grad_value_([p], 0.5)
    assert p.grad.dtype == BFLOAT16 and float(p.grad.numpy()[2]) == -0.5
    optimizer = optim.SGD([p], lr=1.0, maximize=True)
    optimizer.step()
    assert p.numpy().tolist() == [1.5, 1.0, 0.5, 1.0]
    optimizer.zero_grad(set_to_none=False)
    assert p.grad is not None and p.grad.dtype == BFLOAT16


def test_changing_the_type_under_an_optimiser_is_refused() -> None:
    net = nn.Linear(3, 2)
    optimizer = optim.SGD(net.parameters(), lr=0.1, momentum=0.9)
    for dtype in ("bfloat16", "float32", "float64"):
        net.to(dtype)
        optimizer = optim.SGD(net.parameters(), lr=0.1, momentum=0.9)
        net(fc.tensor(np.ones((1, 3)), dtype=dtype)).sum().backward()
        optimizer.step()
        net.to("float64" if dtype != "float64" else "bfloat16")
        with pytest.raises(fc.DTypeError, match="anew"):
            optimizer.step()
        optimizer.zero_grad()
    p = fc.tensor([1.0, 1.0, 1.0], requires_grad=True)
    p.grad = fc.Tensor(to_bfloat16(np.ones(3)))
    with pytest.raises(fc.DTypeError, match="float32 parameter has a bfloat16 gradient"):
        optim.SGD([p], lr=0.1).step()


def sgd(param: Any, grad: Any, buffer: Any, copy: Any) -> None:
    _core.sgd_step(param, grad, buffer, 0.1, 0.9, 0.0, 0.0, False, False, copy)


def test_bad_arrays_are_refused() -> None:
    p, b = np.ones(4, np.float32), np.ones(4, np.float32)
    g, c = to_bfloat16(np.ones(4)), to_bfloat16(np.ones(4))
    sgd(p, g, b, c)
    sgd(p, b.copy(), b, c)  # a float32 gradient and a copy
    frozen = c.copy()
    frozen.flags.writeable = False
    for bad in [
        (c, g, b, None),  # a bfloat16 parameter
        (p, g, c, None),  # bfloat16 state
        (p, g, b, p.copy()),  # a float32 copy
        (p.astype(np.float64), g, b.astype(np.float64), None),
        (p.astype(np.float64), p.astype(np.float64), b.astype(np.float64), c),
        (p, p.astype(np.float64), b, c),
    ]:
        with pytest.raises(fc.DTypeError, match=r"^sgd_step:"):
            sgd(*bad)
    for bad in [
        (p, g[:3], b, c),
        (p, g, b, c[:3]),
        (p, g, b, c[::-1]),
        (p, g, b, frozen),
        (p, g, b, g),  # one array twice
        (p, g, b, p.view(BFLOAT16)[:4]),
        (p, g, b, p.view(BFLOAT16)[4:]),
        (p, p.view(BFLOAT16)[4:], b, c),
    ]:
        with pytest.raises(fc.ShapeError, match=r"^sgd_step:"):
            sgd(*bad)


def test_same_bits_for_threads() -> None:
    g = rng("threads")
    start, gradient = to_bfloat16(g.standard_normal(50_003)), to_bfloat16(g.standard_normal(50_003))

    def run() -> list[Any]:
        p, optimizer = steps(CASES[5], start, BFLOAT16, [gradient] * 2)
        return [p.numpy().view(np.uint16), optimizer.state[p]["master_param"]]

    check_same_bits_for_threads(run)


def test_a_network_learns() -> None:
    """A line through noisy points, in bfloat16 but for the masters."""
    fc.manual_seed(3)
    g = rng("learns")
    x = g.standard_normal((256, 8))
    y = x @ g.standard_normal((8, 1)) + 0.01 * g.standard_normal((256, 1))
    net = nn.Sequential(nn.Linear(8, 32), nn.Tanh(), nn.Linear(32, 1)).bfloat16()
    optimizer = optim.Adam(net.parameters(), lr=1e-2)
    inputs, targets = (fc.tensor(v, dtype="bfloat16") for v in (x, y))
    losses = []
    for _ in range(150):
        optimizer.zero_grad()
        loss = F.mse_loss(net(inputs), targets)
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.02 * losses[0]
