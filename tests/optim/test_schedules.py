"""Schedules value by value: closed formulas, PyTorch's values, saving and loading."""

from __future__ import annotations

import json
import math
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import fastconv as fc
from fastconv import nn, optim
from fastconv.optim import schedules


def make(kind: str = "SGD", **options: Any) -> Any:
    groups = [{"params": [nn.Parameter(np.zeros(2, np.float32))]} for _ in range(2)]
    groups[1]["lr"] = 0.02  # type: ignore[assignment]
    return getattr(optim, kind)(groups, lr=0.5, **options)


def follow(schedule: Any, steps: int) -> list[Any]:
    """Learning rates and momenta at start and after each step."""
    optimizer = schedule.optimizer
    rows = []
    for i in range(steps + 1):
        if i:
            schedule.step()
        groups = optimizer.param_groups
        assert schedule.get_last_lr() == [g["lr"] for g in groups]
        rows.append([(g["lr"], g.get("momentum", g.get("betas"))) for g in groups])
    return rows


def rates(schedule: Any, steps: int) -> list[float]:
    return [row[0][0] for row in follow(schedule, steps)]


def test_step_lr() -> None:
    assert rates(optim.StepLR(make(), 2, gamma=0.5), 5) == [0.5, 0.5, 0.25, 0.25, 0.125, 0.125]


def test_cosine() -> None:
    got = rates(optim.CosineAnnealingLR(make(), 4, eta_min=0.1), 8)
    cosine = [0.1 + 0.2 * (1 + math.cos(math.pi * t / 4)) for t in range(9)]
    assert got == pytest.approx(cosine, rel=1e-15)
    assert got[4] == pytest.approx(0.1) and got[8] == pytest.approx(0.5)


def test_lambda_lr() -> None:
    schedule = optim.LambdaLR(make(), [lambda t: 1 / (t + 1), lambda t: 2.0])
    assert [[g[0] for g in row] for row in follow(schedule, 1)] == [[0.5, 0.04], [0.25, 0.04]]
    assert rates(optim.LambdaLR(make(), lambda t: t), 2) == [0.0, 0.5, 1.0]


def test_one_cycle_landmarks() -> None:
    optimizer = make(momentum=0.9)
    rows = follow(
        optim.OneCycleLR(optimizer, max_lr=[1.0, 2.0], total_steps=11, pct_start=4 / 11), 11
    )
    lrs = [row[0][0] for row in rows]
    momenta = [row[0][1] for row in rows]
    assert lrs[0] == pytest.approx(1 / 25) and momenta[0] == pytest.approx(0.95)
    assert lrs[3] == pytest.approx(1.0) and momenta[3] == pytest.approx(0.85)
    assert lrs[10] == pytest.approx(1 / 25e4) and momenta[10] == pytest.approx(0.95)
    assert lrs[11] == lrs[10]
    assert rows[3][1][0] == pytest.approx(2.0)
    assert lrs[:4] == sorted(lrs[:4]) and lrs[3:] == sorted(lrs[3:], reverse=True)


def test_one_cycle_leaves_momentum_alone_when_told() -> None:
    optimizer = make(momentum=0.9)
    rows = follow(optim.OneCycleLR(optimizer, 1.0, total_steps=6, cycle_momentum=False), 6)
    assert {row[0][1] for row in rows} == {0.9}


def test_one_cycle_ends() -> None:
    schedule = optim.OneCycleLR(make(), 1.0, epochs=2, steps_per_epoch=3)
    for _ in range(6):
        schedule.step()
    before = schedule.get_last_lr()
    with pytest.raises(fc.ShapeError, match="past the end of the cycle of 6 steps"):
        schedule.step()
    assert schedule.get_last_lr() == before and schedule.last_epoch == 6


@pytest.mark.parametrize("total", [1, 2, 3])
@pytest.mark.parametrize("pct_start", [0.0, 0.3, 0.5, 1.0])
@pytest.mark.parametrize("three_phase", [False, True])
def test_very_short_cycles_give_rates_in_range(
    total: int, pct_start: float, three_phase: bool
) -> None:
    schedule = optim.OneCycleLR(
        make(), 1.0, total_steps=total, pct_start=pct_start, three_phase=three_phase
    )
    for lr in rates(schedule, total):
        assert 0.0 < lr <= 1.0


def test_warm_up() -> None:
    schedule = optim.LinearWarmup(optim.StepLR(make(), 2, gamma=0.5), 4, start_factor=0.2)
    got = rates(schedule, 8)
    assert got == pytest.approx([0.1, 0.2, 0.3, 0.4, 0.5, 0.5, 0.25, 0.25, 0.125])
    assert rates(optim.LinearWarmup(make(), 2, start_factor=0.0), 3) == [0.0, 0.25, 0.5, 0.5]
    assert rates(optim.LinearWarmup(optim.StepLR(make(), 1), 0), 1) == [0.5, 0.05]
    cycle = optim.OneCycleLR(make(momentum=0.9), 1.0, total_steps=5, pct_start=0.4)
    rows = follow(optim.LinearWarmup(cycle, 2), 6)
    assert rows[0][0][1] == rows[1][0][1] == 0.95 and rows[3][0][1] == pytest.approx(0.85)


# How each schedule is made from the module that has it and an optimiser; PyTorch's likewise.
SAME: list[tuple[str, Callable[[Any, Any], Any], dict[str, Any]]] = [
    ("step", lambda m, o: m.StepLR(o, 3, 0.3), {}),
    ("cosine", lambda m, o: m.CosineAnnealingLR(o, 7), {}),
    ("cosine-min", lambda m, o: m.CosineAnnealingLR(o, T_max=19, eta_min=0.01), {}),
    ("lambda", lambda m, o: m.LambdaLR(o, lambda t: 0.9**t), {}),
    ("cycle", lambda m, o: m.OneCycleLR(o, 0.7, total_steps=20), {"momentum": 0.9}),
    ("cycle-0", lambda m, o: m.OneCycleLR(o, 0.7, total_steps=20), {}),
    (
        "cycle-linear",
        lambda m, o: m.OneCycleLR(o, [0.7, 0.1], 20, anneal_strategy="linear", pct_start=0.45),
        {"momentum": 0.9},
    ),
    (
        "cycle-three",
        lambda m, o: m.OneCycleLR(
            o, 0.7, epochs=4, steps_per_epoch=5, three_phase=True, pct_start=0.25, div_factor=10.0
        ),
        {"momentum": 0.9},
    ),
    (
        "cycle-options",
        lambda m, o: m.OneCycleLR(
            o, 0.7, 20, base_momentum=[0.5, 0.6], max_momentum=0.8, final_div_factor=7.0
        ),
        {"momentum": 0.9},
    ),
    (
        "cycle-plain",
        lambda m, o: m.OneCycleLR(o, 0.7, 20, cycle_momentum=False),
        {"momentum": 0.9},
    ),
    ("cycle-adam", lambda m, o: m.OneCycleLR(o, 0.7, 20), {"kind": "Adam"}),
]


@pytest.mark.parametrize(
    ("make_schedule", "options"), [s[1:] for s in SAME], ids=[s[0] for s in SAME]
)
def test_values_are_pytorchs(make_schedule: Callable[[Any, Any], Any], options: Any) -> None:
    torch = pytest.importorskip("torch")
    options = dict(options)
    kind = options.pop("kind", "SGD")
    groups = [{"params": [torch.nn.Parameter(torch.zeros(2))]} for _ in range(2)]
    groups[1]["lr"] = 0.02
    theirs = getattr(torch.optim, kind)(groups, lr=0.5, **options)
    expected = []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it asks for optimizer.step() in between
        schedule = make_schedule(torch.optim.lr_scheduler, theirs)
        for i in range(20):
            if i:
                schedule.step()
            expected.append(
                [(g["lr"], g.get("momentum", g.get("betas"))) for g in theirs.param_groups]
            )
    got = follow(make_schedule(schedules, make(kind, **options)), 19)
    for row, other in zip(got, expected, strict=True):
        for (lr, momentum), (their_lr, their_momentum) in zip(row, other, strict=True):
            # PyTorch multiplies step by step where we evaluate a formula.
            assert lr == pytest.approx(their_lr, rel=1e-9, abs=1e-15)
            assert momentum == pytest.approx(their_momentum, rel=1e-12)


def test_warm_up_is_pytorchs_sequence() -> None:
    torch = pytest.importorskip("torch")
    theirs = torch.optim.SGD([torch.nn.Parameter(torch.zeros(2))], lr=0.5)
    lr_scheduler = torch.optim.lr_scheduler
    expected = []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        schedule = lr_scheduler.SequentialLR(
            theirs,
            [
                lr_scheduler.LinearLR(theirs, start_factor=0.25, total_iters=5),
                lr_scheduler.CosineAnnealingLR(theirs, 10),
            ],
            milestones=[5],
        )
        for _ in range(15):
            expected.append(theirs.param_groups[0]["lr"])
            schedule.step()
    ours = optim.LinearWarmup(optim.CosineAnnealingLR(make(), 10), 5, start_factor=0.25)
    assert rates(ours, 14) == pytest.approx(expected, rel=1e-9)


SAVED: list[Callable[[Any], Any]] = [
    lambda o: optim.StepLR(o, 3, 0.3),
    lambda o: optim.CosineAnnealingLR(o, 7, 0.01),
    lambda o: optim.LambdaLR(o, lambda t: 0.9**t),
    lambda o: optim.OneCycleLR(o, [0.7, 0.1], 20, three_phase=True, anneal_strategy="linear"),
    lambda o: optim.LinearWarmup(optim.OneCycleLR(o, 0.7, 14), 6),
    lambda o: optim.LinearWarmup(o, 4),
]


@pytest.mark.parametrize("build", SAVED)
def test_loading_continues_exactly(build: Callable[[Any], Any]) -> None:
    whole = follow(build(make(momentum=0.9)), 20)
    first = build(make(momentum=0.9))
    assert follow(first, 8) == whole[:9]
    state = first.state_dict()
    text = json.loads(json.dumps(state))
    assert text == state
    optimizer = make(momentum=0.9)
    optimizer.load_state_dict(first.optimizer.state_dict())  # its rates are those of step 8
    second = build(optimizer)
    second.load_state_dict(text)
    assert second.state_dict() == state
    assert follow(second, 12) == whole[8:]


def test_settings_are_loaded_too() -> None:
    first = optim.StepLR(make(), 3, gamma=0.3)
    first.step()
    other = optim.StepLR(make(), 9, gamma=0.9)
    other.load_state_dict(first.state_dict())
    assert rates(other, 5) == rates(first, 5)


@pytest.mark.parametrize(
    ("change", "error"),
    [
        (lambda s: s.pop("last_epoch"), fc.ShapeError),
        (lambda s: s.pop("schedule"), fc.ShapeError),
        (lambda s: s.update(base_lrs=[0.1]), fc.ShapeError),
        (lambda s: s.update(base_lrs=[0.1, "x"]), fc.DTypeError),
        (lambda s: s.update(last_epoch=-1), fc.ShapeError),
        (lambda s: s.update(last_epoch="3"), fc.DTypeError),
        (lambda s: s.update(start_factor=None), fc.DTypeError),
        (lambda s: s["schedule"].update(anneal_strategy=3), fc.ShapeError),
        (lambda s: s["schedule"].update(three_phase=0), fc.DTypeError),
        (lambda s: s["schedule"].update(total_steps=2.5), fc.DTypeError),
        (lambda s: s["schedule"].update(max_lrs=3.0), fc.DTypeError),
        (lambda s: s["schedule"].update(last_epoch=99), fc.ShapeError),
        (lambda s: s["schedule"].update(div_factor=0), fc.ShapeError),
        (lambda s: s.update(last_epoch=99), fc.ShapeError),
        (lambda s: s["schedule"].pop("max_lrs"), fc.ShapeError),
        (lambda s: s.update(schedule=3), fc.DTypeError),
    ],
)
def test_a_bad_state_is_refused_and_changes_nothing(change: Any, error: Any) -> None:
    schedule = optim.LinearWarmup(optim.OneCycleLR(make(momentum=0.9), 0.7, 14), 6)
    state = json.loads(json.dumps(schedule.state_dict()))
    kept = schedule.state_dict()
    state["last_epoch"], state["schedule"]["last_epoch"] = 9, 3
    change(state)
    with pytest.raises(error):
        schedule.load_state_dict(state)
    assert schedule.state_dict() == kept
    with pytest.raises(fc.DTypeError, match="a mapping"):
        schedule.load_state_dict(3)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("call", "error", "match"),
    [
        (lambda: optim.StepLR(3, 1), fc.DTypeError, "an Optimizer is expected"),
        (lambda: optim.StepLR(make(), 0), fc.ShapeError, "step_size"),
        (lambda: optim.StepLR(make(), 1.5), fc.DTypeError, "step_size"),
        (lambda: optim.StepLR(make(), 1, gamma=-1), fc.ShapeError, "gamma"),
        (lambda: optim.CosineAnnealingLR(make(), 0), fc.ShapeError, "T_max"),
        (lambda: optim.LambdaLR(make(), [abs]), fc.ShapeError, "2 functions"),
        (lambda: optim.OneCycleLR(make(), 1.0), fc.ShapeError, "total_steps"),
        (lambda: optim.OneCycleLR(make(), 1.0, epochs=3), fc.ShapeError, "total_steps"),
        (lambda: optim.OneCycleLR(make(), 1.0, 0), fc.ShapeError, "total_steps"),
        (lambda: optim.OneCycleLR(make(), [1.0], 5), fc.ShapeError, "2 values"),
        (lambda: optim.OneCycleLR(make(), -1.0, 5), fc.ShapeError, "max_lr"),
        (lambda: optim.OneCycleLR(make(), "x", 5), fc.DTypeError, "max_lr"),
        (lambda: optim.OneCycleLR(make(), 1.0, 5, pct_start=1.5), fc.ShapeError, "pct_start"),
        (lambda: optim.OneCycleLR(make(), 1.0, 5, anneal_strategy="x"), fc.ShapeError, "'linear'"),
        (lambda: optim.OneCycleLR(make(), 1.0, 5, div_factor=0), fc.ShapeError, "div_factor"),
        (lambda: optim.OneCycleLR(3, 1.0, 5), fc.DTypeError, "Optimizer"),
        (lambda: optim.LinearWarmup(3, 5), fc.DTypeError, "schedule or an optimiser"),
        (lambda: optim.LinearWarmup(make(), -1), fc.ShapeError, "warmup_steps"),
        (lambda: optim.LinearWarmup(make(), 5, start_factor=2), fc.ShapeError, "start_factor"),
    ],
)
def test_bad_arguments(call: Callable[[], Any], error: Any, match: str) -> None:
    with pytest.raises(error, match=match):
        call()


def test_warm_up_wants_a_fresh_schedule() -> None:
    schedule = optim.StepLR(make(), 1)
    schedule.step()
    with pytest.raises(fc.ShapeError, match="has 1 times"):
        optim.LinearWarmup(schedule, 3)
