"""Update rules against plain NumPy and PyTorch; groups, state and its saving."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import fastconv as fc
from fastconv import nn, optim
from tests.support import assert_close, check_same_bits_for_threads, randn, rng

SHAPES = [(4, 3, 3, 3), (5,), (), (7, 11), (0, 3)]

# (name, options); the same names and options build PyTorch's optimisers.
CASES: list[tuple[str, dict[str, Any]]] = [
    ("SGD", {"lr": 0.1}),
    ("SGD", {"lr": 0.1, "momentum": 0.9}),
    ("SGD", {"lr": 0.1, "momentum": 0.9, "weight_decay": 0.01, "nesterov": True}),
    ("SGD", {"lr": 0.1, "momentum": 0.8, "dampening": 0.3, "weight_decay": 0.1}),
    ("SGD", {"lr": 0.1, "weight_decay": 0.1, "maximize": True}),
    ("Adam", {}),
    ("Adam", {"lr": 0.01, "betas": (0.8, 0.95), "eps": 1e-3, "weight_decay": 0.1}),
    ("Adam", {"lr": 0.01, "betas": (0.0, 0.5), "maximize": True}),
    ("AdamW", {}),
    ("AdamW", {"lr": 0.02, "betas": (0.9, 0.99), "weight_decay": 0.2}),
    ("RMSprop", {}),
    ("RMSprop", {"lr": 0.02, "alpha": 0.9, "eps": 1e-4, "weight_decay": 0.1}),
    ("RMSprop", {"lr": 0.02, "momentum": 0.9}),
    ("RMSprop", {"lr": 0.02, "momentum": 0.5, "centered": True, "weight_decay": 0.01}),
]
IDS = [f"{name}-{'-'.join(options) or 'defaults'}" for name, options in CASES]


def reference(name: str, p: Any, grads: list[Any], options: dict[str, Any]) -> Any:
    """The update rules as the papers and the docstrings write them, in float64."""
    o = {"momentum": 0.0, "dampening": 0.0, "nesterov": False, "maximize": False, **options}
    lr = o.get("lr", {"SGD": 1e-3, "RMSprop": 1e-2}.get(name, 1e-3))
    decay = o.get("weight_decay", 0.01 if name == "AdamW" else 0.0)
    b1, b2 = o.get("betas", (0.9, 0.999))
    eps, alpha = o.get("eps", 1e-8), o.get("alpha", 0.99)
    m = v = mean = buf = 0.0
    for t, g in enumerate(grads, start=1):
        g = -g if o["maximize"] else g
        if name == "AdamW":
            p = p - lr * decay * p
        else:
            g = g + decay * p
        if name == "SGD":
            if o["momentum"]:
                buf = g if t == 1 else o["momentum"] * buf + (1 - o["dampening"]) * g
                g = g + o["momentum"] * buf if o["nesterov"] else buf
            p = p - lr * g
        elif name == "RMSprop":
            v = alpha * v + (1 - alpha) * g * g
            mean = alpha * mean + (1 - alpha) * g
            d = np.sqrt(v - mean * mean if o.get("centered") else v) + eps
            buf = o["momentum"] * buf + g / d
            p = p - lr * buf
        else:
            m = b1 * m + (1 - b1) * g
            v = b2 * v + (1 - b2) * g * g
            p = p - lr * (m / (1 - b1**t)) / (np.sqrt(v / (1 - b2**t)) + eps)
    return p


def start(dtype: Any, *key: Any) -> tuple[list[Any], list[list[Any]]]:
    draw = rng("optimizers", *key)
    values = [randn(draw, *shape, dtype=dtype) for shape in SHAPES]
    grads = [[randn(draw, *shape, dtype=dtype) for _ in range(20)] for shape in SHAPES]
    return values, grads


def run(optimizer: Any, parameters: list[Any], grads: list[list[Any]], steps: Any) -> None:
    for t in steps:
        for p, g in zip(parameters, grads, strict=True):
            p.grad = fc.tensor(g[t])
        optimizer.step()


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(("name", "options"), CASES, ids=IDS)
def test_twenty_steps_follow_the_formula(name: str, options: dict[str, Any], dtype: Any) -> None:
    values, grads = start(dtype, name, options)
    parameters = [nn.Parameter(v.copy()) for v in values]
    memory = [p.numpy() for p in parameters]
    run(getattr(optim, name)(parameters, **options), parameters, grads, range(20))
    # Centred RMSprop divides by a difference that cancels while few gradients have been seen.
    tol = (1e-3 if options.get("centered") else 1e-5) if dtype == np.float32 else 1e-10
    for p, array, v, g in zip(parameters, memory, values, grads, strict=True):
        assert p.numpy() is array
        expected = reference(name, v.astype(np.float64), [x.astype(np.float64) for x in g], options)
        assert_close(p.numpy(), expected, tol, name)


@pytest.mark.parametrize(("name", "options"), CASES, ids=IDS)
def test_twenty_steps_are_pytorchs(name: str, options: dict[str, Any]) -> None:
    torch = pytest.importorskip("torch")
    values, grads = start(np.float64, name, options)
    parameters = [nn.Parameter(v.copy()) for v in values]
    theirs = [torch.nn.Parameter(torch.from_numpy(np.array(v))) for v in values]
    run(getattr(optim, name)(parameters, **options), parameters, grads, range(20))
    optimizer = getattr(torch.optim, name)(theirs, **options)
    for t in range(20):
        for q, g in zip(theirs, grads, strict=True):
            q.grad = torch.from_numpy(np.array(g[t]))
        optimizer.step()
    for p, q in zip(parameters, theirs, strict=True):
        assert_close(p.numpy(), q.detach().numpy(), 1e-10, name)


@pytest.mark.parametrize(("name", "options"), CASES, ids=IDS)
def test_saved_and_loaded_state_continues_with_the_same_bits(
    name: str, options: dict[str, Any]
) -> None:
    values, grads = start(np.float32, name, options)
    kind = getattr(optim, name)
    whole = [nn.Parameter(v.copy()) for v in values]
    run(kind(whole, **options), whole, grads, range(20))

    first = [nn.Parameter(v.copy()) for v in values]
    optimizer = kind(first, **options)
    run(optimizer, first, grads, range(9))
    state = optimizer.state_dict()
    resumed = [nn.Parameter(p.numpy().copy()) for p in first]
    other = kind(resumed, lr=55.0)
    other.load_state_dict(state)
    assert_same_state(other.state_dict(), state)
    run(optimizer, first, grads, range(9, 11))  # loaded arrays are copies: this must not matter
    run(other, resumed, grads, range(9, 20))
    for p, q in zip(whole, resumed, strict=True):
        assert p.numpy().tobytes() == q.numpy().tobytes()


def assert_same_state(a: Any, b: Any) -> None:
    assert type(a) is type(b)
    if isinstance(a, dict):
        assert list(a) == list(b)
        for k in a:
            assert_same_state(a[k], b[k])
    elif isinstance(a, np.ndarray):
        assert a.dtype == b.dtype and a.tobytes() == b.tobytes()
    else:
        assert a == b


def test_state_dict_is_plain() -> None:
    parameters = [nn.Parameter(np.ones(2, np.float32)), nn.Parameter(np.ones(3, np.float32))]
    optimizer = optim.Adam([{"params": parameters[:1], "lr": 0.5}, {"params": parameters[1:]}])
    parameters[1].grad = fc.tensor(np.ones(3, np.float32))
    optimizer.step()
    state = optimizer.state_dict()
    assert list(state["state"]) == [1]
    assert state["state"][1]["step"] == 1
    assert set(state["state"][1]) == {"step", "exp_avg", "exp_avg_sq"}
    assert [g["params"] for g in state["param_groups"]] == [[0], [1]]
    assert [g["lr"] for g in state["param_groups"]] == [0.5, 1e-3]
    # As JSON keeps it: text keys and lists.
    as_text = json.dumps(state, default=lambda array: {"values": array.tolist()})
    loaded = json.loads(as_text)
    for values in loaded["state"].values():
        for k in ("exp_avg", "exp_avg_sq"):
            values[k] = np.array(values[k]["values"], np.float32)
    other = optim.Adam([{"params": parameters[:1]}, {"params": parameters[1:]}])
    other.load_state_dict(loaded)
    assert_same_state(other.state_dict(), state)


def test_pytorchs_state_loads() -> None:
    torch = pytest.importorskip("torch")
    theirs = torch.nn.Parameter(torch.ones(3))
    source = torch.optim.Adam([theirs], lr=0.25)
    theirs.grad = torch.full((3,), 0.5)
    source.step()
    ours = nn.Parameter(theirs.detach().numpy().copy())
    target = optim.Adam([ours])
    target.load_state_dict(source.state_dict())
    assert target.param_groups[0]["lr"] == 0.25
    ours.grad = fc.tensor(np.full(3, -0.5, np.float32))
    theirs.grad = torch.full((3,), -0.5)
    source.step()
    target.step()
    assert_close(ours.numpy(), theirs.detach().numpy(), 1e-6)


def one() -> Any:
    return nn.Parameter(np.ones(2, np.float32))


def stepped() -> tuple[Any, Any]:
    p = one()
    optimizer = optim.SGD([p], lr=0.1, momentum=0.9)
    p.grad = fc.tensor(np.ones(2, np.float32))
    optimizer.step()
    return optimizer, optimizer.state_dict()


def edit(path: list[Any], value: Any) -> Callable[[Any], None]:
    def change(state: Any) -> None:
        for key in path[:-1]:
            state = state[key]
        state[path[-1]] = value

    return change


@pytest.mark.parametrize(
    ("change", "error"),
    [
        (edit(["param_groups"], []), fc.ShapeError),
        (edit(["param_groups", 0, "params"], [0, 1]), fc.ShapeError),
        (edit(["param_groups", 0, "lr"], -1.0), fc.ShapeError),
        (edit(["param_groups", 0, "lr"], "fast"), fc.DTypeError),
        (lambda state: state["param_groups"][0].pop("momentum"), fc.ShapeError),
        (lambda state: state.pop("state"), fc.DTypeError),
        (edit(["state", 4], {}), fc.ShapeError),
        (edit(["state", "x"], {}), fc.DTypeError),
        (edit(["state", 0], [1]), fc.DTypeError),
        (edit(["param_groups"], 3), fc.DTypeError),
        (edit(["param_groups", 0], 3), fc.DTypeError),
        (edit(["state", 0, "momentum_buffer"], np.ones(3, np.float32)), fc.ShapeError),
        (edit(["state", 0, "momentum_buffer"], np.ones(2, np.int64)), fc.DTypeError),
        (edit(["state", 0, "momentum_buffer"], [1.0, 1.0]), fc.DTypeError),
        (edit(["state", 0, "exp_avg"], np.ones(2, np.float32)), fc.ShapeError),
    ],
)
def test_a_bad_state_changes_nothing(change: Callable[[Any], None], error: Any) -> None:
    optimizer, state = stepped()
    kept = optimizer.state_dict()
    buffer = kept["state"][0]["momentum_buffer"].copy()
    change(state)
    with pytest.raises(error, match="load_state_dict"):
        optimizer.load_state_dict(state)
    assert_same_state(optimizer.state_dict(), kept)
    assert np.array_equal(optimizer.state_dict()["state"][0]["momentum_buffer"], buffer)


@pytest.mark.parametrize(
    ("call", "error", "match"),
    [
        (lambda: optim.SGD([], lr=0.1), fc.ShapeError, "no parameters"),
        (lambda: optim.SGD(one(), lr=0.1), fc.DTypeError, "iterable of tensors"),
        (lambda: optim.SGD(3, lr=0.1), fc.DTypeError, "iterable of tensors"),
        (lambda: optim.SGD([np.ones(2)], lr=0.1), fc.DTypeError, "ndarray"),
        (lambda: optim.SGD([one()] * 2, lr=0.1), fc.ShapeError, "given twice"),
        (lambda: optim.SGD([fc.tensor([1, 2])], lr=0.1), fc.ShapeError, "floating leaves"),
        (lambda: optim.SGD([{"lr": 0.1}]), fc.DTypeError, "'params'"),
        (lambda: optim.SGD([{"params": [one()], "lr": -1}]), fc.ShapeError, "lr"),
        (lambda: optim.SGD([{"params": [one()]}, one()]), fc.DTypeError, "'params'"),
        (lambda: optim.SGD([one()], lr=-0.1), fc.ShapeError, "lr must be finite and at least 0"),
        (lambda: optim.SGD([one()], lr=math.nan), fc.ShapeError, "lr"),
        (lambda: optim.SGD([one()], lr="0.1"), fc.DTypeError, "lr must be a number, got str"),
        (lambda: optim.SGD([one()], momentum=-1), fc.ShapeError, "momentum"),
        (lambda: optim.SGD([one()], nesterov=True), fc.ShapeError, "nesterov"),
        (
            lambda: optim.SGD([one()], momentum=0.9, dampening=0.1, nesterov=True),
            fc.ShapeError,
            "nesterov",
        ),
        (lambda: optim.SGD([one()], weight_decay=-1e-4), fc.ShapeError, "weight_decay"),
        (lambda: optim.Adam([one()], betas=(0.9, 1.0)), fc.ShapeError, "below 1"),
        (lambda: optim.Adam([one()], betas=(0.9,)), fc.ShapeError, "two numbers"),
        (lambda: optim.Adam([one()], betas=0.9), fc.DTypeError, "two numbers"),
        (lambda: optim.AdamW([one()], eps=-1.0), fc.ShapeError, "AdamW: eps"),
        (lambda: optim.RMSprop([one()], alpha=1.5), fc.ShapeError, "between 0 and 1"),
        (lambda: optim.RMSprop([one()], momentum=-0.5), fc.ShapeError, "momentum"),
    ],
)
def test_bad_arguments(call: Callable[[], Any], error: Any, match: str) -> None:
    with pytest.raises(error, match=match):
        call()


def test_adam_needs_its_whole_state() -> None:
    p = one()
    p.grad = fc.tensor(np.ones(2, np.float32))
    optimizer = optim.Adam([p])
    optimizer.step()
    for name in ("step", "exp_avg", "exp_avg_sq"):
        state = optimizer.state_dict()
        del state["state"][0][name]
        with pytest.raises(fc.ShapeError, match=f"lacks {name}"):
            optimizer.load_state_dict(state)


def test_computed_tensors_are_refused() -> None:
    p = one()
    with pytest.raises(fc.ShapeError, match="leaves"):
        optim.SGD([fc.functional.relu(p)], lr=0.1)


def test_a_bad_gradient_stops_the_step_before_anything_changes() -> None:
    good, bad = one(), one()
    optimizer = optim.SGD([good, bad], lr=0.1)
    good.grad = fc.tensor(np.ones(2, np.float32))
    for gradient, error in [
        (np.ones(3, np.float32), fc.ShapeError),
        (np.ones(2, np.float64), fc.DTypeError),
    ]:
        bad.grad = fc.tensor(gradient)
        with pytest.raises(error, match="SGD"):
            optimizer.step()
        assert good.numpy().tolist() == [1, 1]


def test_changing_the_element_type_under_an_optimizer_is_an_error() -> None:
    net = nn.Linear(2, 2)
    optimizer = optim.Adam(net.parameters())
    for _ in range(2):
        for p in net.parameters():
            p.grad = fc.tensor(np.ones(p.shape, p.dtype))
        if net.weight.dtype == np.float64:
            with pytest.raises(fc.DTypeError, match="make the optimiser anew"):
                optimizer.step()
        else:
            optimizer.step()
            net.double()


def test_parameters_without_gradients_stay_as_they_are() -> None:
    p, q = one(), one()
    optimizer = optim.SGD([p, q], lr=0.5, weight_decay=0.1)
    p.grad = fc.tensor(np.ones(2, np.float32))
    optimizer.step()
    assert q.numpy().tolist() == [1, 1] and p.numpy().tolist() != [1, 1]


def test_groups_have_their_own_options_and_can_be_added() -> None:
    p, q = one(), one()
    optimizer = optim.SGD([{"params": p}], lr=0.5)
    optimizer.add_param_group({"params": [q], "lr": 0.25})
    for t in (p, q):
        t.grad = fc.tensor(np.ones(2, np.float32))
    optimizer.step()
    assert p.numpy().tolist() == [0.5, 0.5] and q.numpy().tolist() == [0.75, 0.75]
    optimizer.param_groups[0]["lr"] = 0.0
    optimizer.step()
    assert p.numpy().tolist() == [0.5, 0.5] and q.numpy().tolist() == [0.5, 0.5]
    with pytest.raises(fc.ShapeError, match="given twice"):
        optimizer.add_param_group({"params": [p]})
    assert "group 1: 1 parameters, lr=0.25" in repr(optimizer)


def test_zero_grad_and_closure() -> None:
    p = one()
    optimizer = optim.SGD([p], lr=0.5)

    def closure() -> float:
        assert fc.is_grad_enabled()
        p.grad = fc.tensor(np.ones(2, np.float32))
        return 3.0

    with fc.no_grad():
        assert optimizer.step(closure) == 3.0
    assert p.numpy().tolist() == [0.5, 0.5]
    optimizer.zero_grad(set_to_none=False)
    assert p.grad is not None and p.grad.numpy().tolist() == [0, 0]
    optimizer.zero_grad()
    assert p.grad is None
    assert optimizer.step() is None


@pytest.mark.parametrize(("name", "options"), CASES[:1] + CASES[2:3] + CASES[6:7] + CASES[13:])
def test_same_bits_for_threads(name: str, options: dict[str, Any]) -> None:
    draw = rng("threads", name)
    value, gradient = randn(draw, 300_001), randn(draw, 300_001)

    def steps() -> Any:
        p = nn.Parameter(value.copy())
        optimizer = getattr(optim, name)([p], **options)
        for _ in range(2):
            p.grad = fc.tensor(gradient)
            optimizer.step()
        return p.numpy()

    check_same_bits_for_threads(steps)


def gradients(*values: Any) -> list[Any]:
    parameters = []
    for v in values:
        array = np.asarray(v, np.float32)
        p = nn.Parameter(np.zeros_like(array))
        p.grad = fc.tensor(array)
        parameters.append(p)
    return parameters


def test_clip_grad_norm() -> None:
    parameters = [*gradients([3.0, 0.0], [[4.0]]), one()]
    assert optim.clip_grad_norm_(parameters, 10.0) == pytest.approx(5.0)
    assert parameters[0].grad.numpy().tolist() == [3, 0]
    assert optim.clip_grad_norm_(parameters, 1.0) == pytest.approx(5.0)
    assert parameters[0].grad.numpy()[0] == pytest.approx(0.6, rel=1e-6)
    assert optim.clip_grad_norm_(iter(parameters), 1.0) == pytest.approx(1.0)
    assert optim.clip_grad_norm_(gradients([3.0, -4.0]), 1.0, norm_type=1) == pytest.approx(7.0)
    assert optim.clip_grad_norm_(gradients([3.0, -4.0]), 1.0, math.inf) == pytest.approx(4.0)
    assert optim.clip_grad_norm_([], 1.0) == 0.0
    spoilt = gradients([math.nan, 1.0], [1.0])
    assert math.isnan(optim.clip_grad_norm_(spoilt, 1.0))
    assert np.isnan(spoilt[1].grad.numpy()).all()
    with pytest.raises(fc.FastconvError, match="norm of the gradients is inf"):
        optim.clip_grad_norm_(gradients([math.inf]), 1.0, error_if_nonfinite=True)
    for bad in (-1.0, math.nan):
        with pytest.raises(fc.ShapeError, match="max_norm"):
            optim.clip_grad_norm_([], bad)
    with pytest.raises(fc.ShapeError, match="norm_type"):
        optim.clip_grad_norm_([], 1.0, norm_type=0)
    with pytest.raises(fc.DTypeError, match="tensors"):
        optim.clip_grad_norm_([np.ones(2)], 1.0)


def test_clip_grad_value() -> None:
    parameters = gradients([3.0, -0.5, -9.0])
    optim.clip_grad_value_(parameters, 1.0)
    assert parameters[0].grad.numpy().tolist() == [1.0, -0.5, -1.0]
    with pytest.raises(fc.ShapeError, match="clip_value"):
        optim.clip_grad_value_(parameters, -1.0)


@pytest.mark.parametrize("norm_type", [1.0, 2.0, 3.5, math.inf])
@pytest.mark.parametrize("max_norm", [0.0, 0.7, 1e6])
def test_clipping_is_pytorchs(norm_type: float, max_norm: float) -> None:
    torch = pytest.importorskip("torch")
    values = [randn(rng("clip", i), *shape) for i, shape in enumerate([(100, 70), (3,), (70_000,)])]
    parameters = gradients(*values)
    theirs = []
    for v in values:
        q = torch.nn.Parameter(torch.zeros(v.shape))
        q.grad = torch.from_numpy(v.copy())
        theirs.append(q)
    expected = torch.nn.utils.clip_grad_norm_(theirs, max_norm, norm_type).item()
    assert optim.clip_grad_norm_(parameters, max_norm, norm_type) == pytest.approx(
        expected, rel=1e-5
    )
    for p, q in zip(parameters, theirs, strict=True):
        assert_close(p.grad.numpy(), q.grad.numpy(), 1e-5)
