"""The tape of `Tensor`: accumulation, sharing, freeing, gradient mode."""

import gc
import threading
import weakref
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

import fastconv as fc
import fastconv.functional as F
from fastconv.tensor import as_array, finish
from tests.support import assert_close, check_gradients, leaf, randn, rng

# Accumulation


def test_gradients_add_up_over_backward_calls():
    t = leaf(2, 3)
    for calls in (1, 2, 3):
        (t * 2.0).sum().backward()
        np.testing.assert_array_equal(t.grad.numpy(), np.full((2, 3), 2.0 * calls, np.float32))
    t.grad = None
    t.sum().backward()
    np.testing.assert_array_equal(t.grad.numpy(), np.ones((2, 3), np.float32))


@pytest.mark.parametrize("shape", [(3, 4), (1,)])
def test_the_same_tensor_used_twice(shape):
    t = leaf(*shape, dtype=np.float64)
    (t * t).sum().backward()
    assert_close(t.grad.numpy(), 2 * t.numpy(), 1e-15)
    t.grad = None
    (t + t).sum().backward()
    np.testing.assert_array_equal(t.grad.numpy(), np.full(shape, 2.0))
    t.grad = None
    (t - t).sum().backward()
    np.testing.assert_array_equal(t.grad.numpy(), np.zeros(shape))
    t.grad = None
    F.cat([t, t, t]).sum().backward()
    np.testing.assert_array_equal(t.grad.numpy(), np.full(shape, 3.0))


def test_diamonds_run_each_node_once_with_the_whole_gradient():
    ran = []

    def square(name, x):
        array = as_array(name, "input", x)

        def backward(g, needs):
            ran.append((name, g.copy()))
            return (2 * array * g,)

        return finish(name, array * array, (x,), backward)

    x = leaf(4, dtype=np.float64)
    top = square("top", x)
    left, right = square("left", top), square("right", top)
    (left + right + top * 3.0).sum().backward()
    assert [name for name, _ in ran] == ["right", "left", "top"]
    v = x.numpy()
    assert_close(ran[-1][1], 4 * v**2 + 3, 1e-15)
    assert_close(x.grad.numpy(), (4 * v**2 + 3) * 2 * v, 1e-15)


def test_stacked_diamonds_double_each_time():
    x = leaf(3, dtype=np.float64)
    y = x
    for _ in range(40):  # exponentially many paths, one visit a node
        y = F.add(y, y)
    y.sum().backward()
    np.testing.assert_array_equal(x.grad.numpy(), np.full(3, 2.0**40))


def test_a_shared_subgraph_against_finite_differences():
    def function(a, b):
        shared = F.tanh(F.mul(a, b))
        return F.add(F.mul(shared, a), F.sigmoid(F.add(shared, F.mul(shared, b))))

    g = rng("shared")
    check_gradients(function, [g.standard_normal((2, 3)), g.standard_normal((2, 3))])


def test_an_input_that_needs_no_gradient_gets_none():
    a, b = leaf(3), fc.tensor(np.ones(3, np.float32))
    (a * b + b).sum().backward()
    assert a.grad is not None and b.grad is None
    assert not (b * 2.0).requires_grad and (a * 2.0).requires_grad


def test_only_leaves_get_gradients():
    a = leaf(3)
    middle = a * 2.0
    middle.sum().backward()
    assert a.is_leaf and not middle.is_leaf
    assert middle.grad is None


# Memory of gradients


def _shared_pairs(tensors, others=()):
    arrays = [t.grad.numpy() for t in tensors] + list(others)
    return [
        (i, j)
        for i, a in enumerate(arrays)
        for j, b in enumerate(arrays)
        if i < j and np.shares_memory(a, b)
    ]


SHARING = {
    "add": lambda a, b: F.add(a, b),
    "sub": lambda a, b: a - b,
    "concat": lambda a, b: F.cat([a, b]),
    "reshape": lambda a, b: F.add(a.reshape(9), b.reshape(9)),
    "same reshape": lambda a, b: F.add(a.reshape(3, 3), b.reshape(3, 3)),
    "permute": lambda a, b: F.add(F.permute(a, (1, 0)), F.transpose(b, 0, 1)),
    "flatten": lambda a, b: F.add(F.flatten(a), F.flatten(b)),
    "twice": lambda a, b: F.add(F.add(a, b), F.add(b, a)),
    "number": lambda a, b: F.add(F.add(a, 1.0), F.add(b, 2.0)),
    "dropout off": lambda a, b: F.add(F.dropout(a, training=False), F.dropout(b, 0.0)),
    "sums": lambda a, b: F.add(a.sum(0, True), b.sum(0, True)),
}


@pytest.mark.parametrize("name", SHARING)
def test_leaf_gradients_never_share_memory(name):
    a, b = leaf(3, 3), leaf(3, 3)
    y = SHARING[name](a, b)
    g = np.ones(y.shape, np.float32)
    y.backward(g)
    assert _shared_pairs([a, b], [g, a.numpy(), b.numpy(), y.numpy()]) == []
    before = b.grad.numpy().copy()
    a.grad.numpy()[...] = 77.0  # must be writable and its own
    np.testing.assert_array_equal(b.grad.numpy(), before)
    np.testing.assert_array_equal(g, np.ones(y.shape, np.float32))


@pytest.mark.parametrize("name", SHARING)
def test_accumulating_does_not_write_into_the_incoming_gradient(name):
    a, b = leaf(3, 3), leaf(3, 3)
    y = SHARING[name](a, b)
    g = np.ones(y.shape, np.float32)
    g.flags.writeable = False
    y.backward(g, retain_graph=True)
    once = a.grad.numpy().copy()
    y.backward(fc.tensor(g))
    np.testing.assert_array_equal(a.grad.numpy(), 2 * once)
    np.testing.assert_array_equal(g, 1)


def test_the_root_may_be_a_leaf():
    t = leaf(3)
    g = np.arange(3, dtype=np.float32)
    t.backward(g)
    assert not np.shares_memory(t.grad.numpy(), g)
    t.backward(g)
    np.testing.assert_array_equal(t.grad.numpy(), 2 * g)
    np.testing.assert_array_equal(g, np.arange(3))


def test_gradients_of_a_shared_broadcast_operand():
    x, bias = leaf(4, 3), leaf(3)
    (x + bias + bias).backward(np.ones((4, 3), np.float32))
    np.testing.assert_array_equal(bias.grad.numpy(), np.full(3, 8.0))
    assert _shared_pairs([x, bias]) == []


# Retaining and freeing


def test_a_second_backward_needs_retain_graph():
    t = leaf(3)
    loss = F.relu(t).sum()
    loss.backward()
    kept = t.grad.numpy().copy()
    with pytest.raises(fc.FastconvError, match="retain_graph=True"):
        loss.backward()
    np.testing.assert_array_equal(t.grad.numpy(), kept)


def test_retain_graph_gives_the_same_gradient_again():
    t = leaf(5)
    loss = (F.tanh(t) * t).sum()
    loss.backward(retain_graph=True)
    once = t.grad.numpy().copy()
    loss.backward(retain_graph=True)
    loss.backward()
    assert_close(t.grad.numpy(), 3 * once, 1e-6)
    with pytest.raises(fc.FastconvError, match="retain_graph=True"):
        loss.backward()


def test_two_losses_over_one_subgraph():
    t = leaf(4)
    shared = F.sigmoid(t)
    one, two = shared.sum(), (shared * 2.0).sum()
    one.backward()
    with pytest.raises(fc.FastconvError, match=r"sigmoid.*retain_graph=True"):
        two.backward()


def test_saved_arrays_are_freed_while_backward_goes():
    alive = []
    watched = []

    def op(name, x):
        array = as_array(name, "input", x)
        saved = array + 1.0
        watched.append(weakref.ref(saved))
        mine = len(watched) - 1

        def backward(g, needs):
            # Those recorded after this one have run and must be gone; those before are still there.
            alive.append((mine, [i for i, w in enumerate(watched) if w() is not None], saved.shape))
            return (g,)

        return finish(name, array * 1.0, (x,), backward)

    y = leaf(3)
    for i in range(6):
        y = op(f"op{i}", y)
    loss = y.sum()
    del y
    gc.disable()  # reference counts alone must do it
    try:
        loss.backward()
        assert [(mine, left) for mine, left, _ in alive] == [
            (i, list(range(i + 1))) for i in range(5, -1, -1)
        ]
        assert all(w() is None for w in watched)
    finally:
        gc.enable()


@pytest.mark.parametrize("differentiate", [True, False], ids=["backward", "dropped"])
def test_the_pool_gets_everything_back(differentiate):
    gc.collect()
    x = randn(rng("pool"), 2, 3, 16, 16)
    w = leaf(4, 3, 3, 3)

    def step():
        h = F.relu(F.conv2d(fc.tensor(x, requires_grad=True), w, padding=1))
        loss = F.tanh(F.max_pool2d(h, 2)).mean()
        if differentiate:
            loss.backward()
            w.grad = None

    step()
    before = fc.memory_stats()["in_use"]
    gc.disable()
    try:
        for _ in range(3):
            step()
        assert fc.memory_stats()["in_use"] == before
    finally:
        gc.enable()


def test_backward_frees_activations_though_the_loss_is_kept():
    before = fc.memory_stats()["in_use"]
    t = fc.tensor(np.ones((64, 1024), np.float32), requires_grad=True)
    y = t
    for _ in range(8):
        y = F.tanh(y)
    loss = y.sum()
    del y
    held = fc.memory_stats()["in_use"] - before
    assert held >= 8 * t.numpy().nbytes
    loss.backward()
    left = fc.memory_stats()["in_use"] - before
    assert left <= 2 * t.numpy().nbytes  # the gradient and the loss
    assert np.isfinite(loss.item())


@pytest.mark.parametrize("run_backward", [True, False], ids=["backward", "dropped"])
def test_deep_chains_do_not_recurse(run_backward):
    t = leaf(2, dtype=np.float64)
    y = t
    for _ in range(10_000):
        y = y + 1.0
    if run_backward:
        y.sum().backward()
        np.testing.assert_array_equal(t.grad.numpy(), np.ones(2))
    ref = weakref.ref(y)
    del y
    assert ref() is None


def test_a_deep_chain_of_joins():
    t = leaf(2, dtype=np.float64)
    y = t
    for _ in range(10_000):
        y = y + t
    y.sum().backward()
    np.testing.assert_array_equal(t.grad.numpy(), np.full(2, 10_001.0))


# Gradient mode


def test_no_grad_and_enable_grad_nest():
    t = leaf(3)
    assert fc.is_grad_enabled()
    with fc.no_grad():
        assert not fc.is_grad_enabled()
        assert not (t * 2.0).requires_grad
        assert (t * 2.0).is_leaf
        with fc.enable_grad():
            assert fc.is_grad_enabled() and (t * 2.0).requires_grad
        assert not fc.is_grad_enabled()
    assert fc.is_grad_enabled() and (t * 2.0).requires_grad


def test_gradient_mode_comes_back_after_an_error():
    with pytest.raises(KeyError), fc.no_grad():
        raise KeyError
    assert fc.is_grad_enabled()


def test_gradient_mode_as_a_decorator():
    t = leaf(3)

    @fc.no_grad()
    def off(x):
        """Doubles."""
        return x * 2.0

    @fc.enable_grad()
    def on(x):
        return x * 2.0

    for _ in range(3):  # a decorated function can be called again and again
        assert not off(t).requires_grad
        with fc.no_grad():
            assert on(t).requires_grad
            assert not fc.is_grad_enabled()
        assert fc.is_grad_enabled()
    assert off.__name__ == "off" and off.__doc__ == "Doubles."


def test_gradient_mode_belongs_to_its_thread():
    inside, finished = threading.Event(), threading.Event()
    seen = {}

    def other():
        inside.wait(10)
        seen["start"] = fc.is_grad_enabled()
        seen["records"] = (leaf(2) * 2.0).requires_grad
        with fc.no_grad():
            finished.set()
            seen["off"] = fc.is_grad_enabled()

    thread = threading.Thread(target=other)
    thread.start()
    with fc.no_grad():
        inside.set()
        assert finished.wait(10)
        assert not fc.is_grad_enabled()
    thread.join(10)
    assert seen == {"start": True, "records": True, "off": False}
    assert fc.is_grad_enabled()


def test_backward_in_several_threads_on_graphs_of_their_own():
    def work(i):
        t = fc.tensor(np.full(100, float(i), np.float64), requires_grad=True)
        y = t
        for _ in range(50):
            y = y + t * 0.5
        (y * y).sum().backward()
        return t.grad.numpy()

    serial = [work(i) for i in range(8)]
    with ThreadPoolExecutor(8) as pool:
        for got, expected in zip(pool.map(work, range(8)), serial, strict=True):
            np.testing.assert_array_equal(got, expected)


def test_nothing_is_recorded_during_backward():
    seen = []

    def backward(g, needs):
        seen.append(fc.is_grad_enabled())
        return (g,)

    t = leaf(2)
    finish("probe", t.numpy() * 1.0, (t,), backward).sum().backward()
    assert seen == [False] and fc.is_grad_enabled()


def test_detach_shares_memory_and_cuts_the_tape():
    t = leaf(3)
    y = t * 3.0
    cut = y.detach()
    assert not cut.requires_grad and cut.is_leaf and cut.grad is None
    assert np.shares_memory(cut.numpy(), y.numpy())
    (y * cut).sum().backward()
    assert_close(t.grad.numpy(), 3.0 * y.numpy(), 1e-7)
    with pytest.raises(fc.FastconvError, match="does not require gradients"):
        cut.sum().backward()
